"""Choosing the stores of runs that are given by their directories."""

from __future__ import annotations

import os
from itertools import groupby
from typing import TYPE_CHECKING

from kedro_hydraflow.storage import Place, get_local_path, read_parsed_in
from kedro_hydraflow.storage.waiting import map_waiting
from kedro_hydraflow.stores.base import CONFIG_FILE
from kedro_hydraflow.stores.databases import find_databases_of, may_have_database
from kedro_hydraflow.stores.file_store import FileStore
from kedro_hydraflow.stores.hydra_store import HydraStore, find_hydra_root
from kedro_hydraflow.stores.meta_file import META_FILE
from kedro_hydraflow.stores.record import is_run_id

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kedro_hydraflow.stores.base import Store
    from kedro_hydraflow.stores.record import RunRecord
    from kedro_hydraflow.stores.sqlite_store import SqliteStore


def find_layouts(records: Sequence[RunRecord]) -> list[Store]:
    """Return a store that locates the configuration and the artifacts of each run.

    No database is opened. A directory is an output directory of Hydra if it has
    ``.hydra/config.yaml``, but no ``artifacts/.hydra/config.yaml``. Of those that are named by a
    run ID of MLflow, only the first in each folder is looked into, and the others if it is one. On
    remote storage, none of these is. `find_stores` returns the stores that track the runs. Runs of
    the same store share one object.
    """
    unsure = _find_unsure(records)
    are_outputs = dict(zip(unsure, _are_outputs([records[i] for i in unsure]), strict=True))
    shared: dict[Store, Store] = {}
    stores: list[Store] = []
    last = None
    for i, record in enumerate(records):
        key = (id(record.experiment), are_outputs.get(i, False))
        if key != last:
            last = key
            store: Store
            if key[1]:
                store = HydraStore(find_hydra_root(record))
            else:
                store = FileStore(record.experiment.parent)
            store = shared.setdefault(store, store)
        stores.append(store)
    return stores


def _find_unsure(records: Sequence[RunRecord]) -> list[int]:
    """Return the positions of the directories to look into, see `find_layouts`."""
    unsure = []
    by_folder: dict[int, list[int]] = {}
    for i, record in enumerate(records):
        if not is_run_id(record.name):
            unsure.append(i)
        elif not record.storage.is_remote:
            by_folder.setdefault(id(record.experiment), []).append(i)
    folders = [*by_folder.values()]
    are_of_hydra = _are_outputs([records[positions[0]] for positions in folders])
    for positions, is_of_hydra in zip(folders, are_of_hydra, strict=True):
        unsure += positions if is_of_hydra else ()
    return unsure


def _are_outputs(records: Sequence[RunRecord]) -> list[bool]:
    """Whether each run directory is an output directory of Hydra, not a run of MLflow.

    If that cannot be read, it is taken for a run of MLflow, and reading that raises the error.
    """
    found = _have_configs(records, CONFIG_FILE)
    rest = [i for i, is_found in enumerate(found) if is_found]
    of_mlflow = _have_configs([records[i] for i in rest], f"artifacts/{CONFIG_FILE}")
    for i, is_found in zip(rest, of_mlflow, strict=True):
        found[i] = not is_found
    return found


def _have_configs(folders: Sequence[Place], file: str) -> list[bool]:
    paths = [get_local_path(folder.join(file)) for folder in folders]
    if None not in paths:
        return [path is not None and os.path.isfile(path) for path in paths]
    return [is_found is True for is_found in read_parsed_in(folders, file, lambda _: True).values]


def find_stores(records: Sequence[RunRecord], layouts: Sequence[Store]) -> list[Store]:
    """Return the store that tracks each run, for runs given by their directories.

    For an output directory of Hydra, it is the layout. Otherwise, it is a database if the run has
    no ``meta.yaml``, and a ``mlflow.db`` in the tracking directory or beside it has the run; or
    else the file store. On remote storage, databases are not searched. Runs of the same store
    share one object.

    Args:
        records: The runs.
        layouts: The result of `find_layouts` for them.
    """
    stores = list(layouts)
    file_stores: dict[Place, FileStore] = {}
    tracked = [i for i, layout in enumerate(layouts) if not isinstance(layout, HydraStore)]
    for root, positions in _group_by_root(records, tracked):
        store = file_stores.setdefault(root, FileStore(root))
        databases = _find_in_databases(root, [records[i] for i in positions])
        for i in positions:
            stores[i] = databases.get(records[i].run_id, store)
    return stores


def _group_by_root(
    records: Sequence[RunRecord], positions: Sequence[int]
) -> Iterator[tuple[Place, list[int]]]:
    """Yield each tracking directory with positions of its runs, for runs of one experiment."""
    for _, of_experiment in groupby(positions, lambda i: id(records[i].experiment)):
        some = list(of_experiment)
        yield records[some[0]].experiment.parent, some


def _find_in_databases(root: Place, records: Sequence[RunRecord]) -> dict[str, SqliteStore]:
    """Return the databases that have runs of one experiment without a ``meta.yaml``, by run ID."""
    local, folder = get_local_path(root), get_local_path(records[0].experiment)
    if local is None or folder is None:
        return {}
    directories = list(dict.fromkeys([local, os.path.dirname(local)]))  # the nearest first
    if len(records) > 1 and not any(map(may_have_database, directories)):
        return {}  # without a look at each run
    metas = map_waiting(os.path.exists, [os.path.join(folder, r.name, META_FILE) for r in records])
    run_ids = [r.run_id for r, has_meta in zip(records, metas, strict=True) if not has_meta]
    return find_databases_of(run_ids, directories) if run_ids else {}
