"""Choosing the store for a directory, a tracking URI or single runs."""

from __future__ import annotations

import logging
import os
import re
from itertools import groupby
from typing import TYPE_CHECKING

from kedro_hydraflow.errors import OptionError, TrackingDirectoryError
from kedro_hydraflow.index import NO_INDEX, Index
from kedro_hydraflow.redaction import redact_url
from kedro_hydraflow.source import get_uri_scheme
from kedro_hydraflow.storage import LocalStorage, Place, list_places, locate, read_parsed_in
from kedro_hydraflow.stores.artifacts_store import ArtifactsStore, may_hold_artifacts
from kedro_hydraflow.stores.base import CONFIG_FILE, SWEEP_FILE
from kedro_hydraflow.stores.file_store import ExperimentFolders, FileStore
from kedro_hydraflow.stores.hydra_store import HydraStore, find_hydra_root
from kedro_hydraflow.stores.meta_file import META_FILE, is_run_meta, read_metas
from kedro_hydraflow.stores.output_folders import MAX_DEPTH, find_run_folders, may_be_run
from kedro_hydraflow.stores.record import HYDRA_FOLDERS, MLFLOW_FOLDERS, is_run_id

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kedro_hydraflow.source import Source
    from kedro_hydraflow.storage import Entry
    from kedro_hydraflow.stores.base import Store
    from kedro_hydraflow.stores.output_folders import OutputTree
    from kedro_hydraflow.stores.record import RunRecord
    from kedro_hydraflow.stores.sqlite_store import SqliteStore

logger = logging.getLogger(__name__)

DATABASE_FILE = "mlflow.db"
"""MLflow's default name for the database, beside ``mlruns``."""

_DATABASE_SUFFIXES = (".db", ".sqlite", ".sqlite3")

_MAX_SHOWN = 5
"""The maximum number of directories named in a message."""


def open_store(source: Source, index: Index = NO_INDEX) -> Store:
    """Return the store that tracks the runs of a source.

    A tracking URI names its store. For a directory, the store depends on the content:

    - only experiments with a ``meta.yaml``: the file store;
    - only a ``mlflow.db`` with runs, in the directory or beside it: the database;
    - both: the database if it has every run of the file store, as after
      ``mlflow migrate-filestore``, else an error;
    - neither, but ``artifacts`` of runs: a store of artifacts alone;
    - neither, but output directories of Hydra, at any depth: a store of these, also if there is
      a ``mlflow.db`` beside the directory;
    - nothing: the file store, without any runs.

    ``layout`` restricts the choice to Hydra's directories, or to those of MLflow.

    Args:
        source: The directory or tracking URI.
        index: The cache for metadata, for a file store.

    Raises:
        OptionError: If an artifact root is given for a directory that holds the artifacts.
        NotFoundError: If there is no such directory or database.
        TrackingDirectoryError: If the directory is not a tracking directory, or if neither the
            file store nor the database has every run.
        StorageError: If the directory or the database cannot be read.
    """
    if source.uri is not None:
        return _open_uri(source.uri, source, index)
    place = source.locate()
    if source.layout != "hydra" and _is_database(place):
        return _open_database(place, source)
    store = _choose_store(place, source, index)
    if source.artifact_root is not None and store.finds_folders:
        raise _make_artifact_root_error(place)
    return store


def find_layouts(records: Sequence[RunRecord]) -> list[Store]:
    """Return a store that locates the configuration and the artifacts of each run.

    No database is opened. A directory that is not named by a run ID of MLflow is looked into: it
    is an output directory of Hydra if it has ``.hydra/config.yaml``, but no
    ``artifacts/.hydra/config.yaml``. `find_stores` returns the stores that track the runs. Runs of
    the same store share one object.
    """
    unsure = [i for i, record in enumerate(records) if not is_run_id(record.name)]
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
    if all(isinstance(folder.storage, LocalStorage) for folder in folders):
        return [os.path.isfile(_get_local(folder.join(file))) for folder in folders]
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
    """Return the database of each run that has no ``meta.yaml``, by run ID."""
    found: dict[str, SqliteStore] = {}
    if not isinstance(root.storage, LocalStorage):
        return found
    local = _get_local(root)
    folders = [folder for folder in (local, os.path.dirname(local)) if _has_database(folder)]
    if not folders:
        return found
    files = [_get_local(record.join(META_FILE)) for record in records]
    run_ids = [r.run_id for r, f in zip(records, files, strict=True) if not os.path.exists(f)]
    for database in map(_find_database, folders) if run_ids else ():
        if database is not None:
            known = database.select_run_ids(run_ids)
            found = {**dict.fromkeys(known, database), **found}
    return found


def _get_local(place: Place) -> str:
    """Return the absolute path of a local place."""
    return place.storage.get_identity(place.path)


def _open_uri(uri: str, source: Source, index: Index) -> Store:
    scheme = get_uri_scheme(uri)
    if scheme == "sqlite":
        return _open_sqlite(uri, source)
    if scheme in ("", "file"):
        place = locate(uri)
        if source.artifact_root is not None:
            raise _make_artifact_root_error(place)
        return FileStore(place, ExperimentFolders(place, index), index)
    from kedro_hydraflow.stores.server_store import ServerStore

    return ServerStore(source)


def _make_artifact_root_error(place: Place) -> OptionError:
    return OptionError(
        f"artifact_root: cannot be used with {place.url}, which holds the artifacts itself; give "
        "artifact_root only for a database or a server"
    )


def _is_database(place: Place) -> bool:
    """Whether to open a place as a database, rather than list it as a directory."""
    if place.path.endswith(_DATABASE_SUFFIXES):
        return not place.is_dir()
    if not isinstance(place.storage, LocalStorage) or not os.path.isfile(_get_local(place)):
        return False
    with open(_get_local(place), "rb") as file:
        return file.read(16) == b"SQLite format 3\0"


def _open_sqlite(uri: str, source: Source) -> Store:
    """Return the store of a URI in SQLAlchemy's format, such as ``sqlite:///relative.db``."""
    from kedro_hydraflow.stores.sqlite_store import SqliteStore

    match = re.fullmatch(r"sqlite(?:\+pysqlite)?:///(?P<path>[^?]+)(?:\?.*)?", uri, re.IGNORECASE)
    if match is None:
        raise OptionError(
            f"tracking_uri: expected sqlite:///<path of a file>, found {redact_url(uri)!r}"
        )
    return SqliteStore(match["path"], source)


def _open_database(place: Place, source: Source) -> SqliteStore:
    from kedro_hydraflow.stores.sqlite_store import SqliteStore

    if not isinstance(place.storage, LocalStorage):
        raise OptionError(
            f"cannot read the database {place.url}: SQLite databases must be local. Copy it, and "
            f"set artifact_root to {place.parent.url} if the artifacts stay there"
        )
    return SqliteStore(_get_local(place), source)


def _choose_store(place: Place, source: Source, index: Index) -> Store:
    """Return the store of a directory, as `open_store` describes."""
    entries = place.list()
    looks_for_outputs = source.layout is None
    if source.layout == "hydra" or (looks_for_outputs and _is_sweep_alone(entries)):
        return _open_outputs(place, entries, index)
    folders = ExperimentFolders(place, index, entries)
    _check_not_inside(folders)
    local = _get_local(place) if isinstance(place.storage, LocalStorage) else None
    database = None if local is None else _find_database(local, source, local)
    is_tracked = folders.has_experiments or database is not None
    holds_artifacts = not is_tracked and may_hold_artifacts(place, entries)
    if looks_for_outputs:
        if is_tracked or holds_artifacts:
            _warn_of_outputs(place, entries)
        elif not _is_above_or_of_mlflow(place, entries, local):
            outputs = _find_outputs(place, entries)
            if outputs.is_of_hydra:
                return HydraStore(place, outputs, index)
    if database is None and local is not None:
        database = _find_database(os.path.dirname(local), source, local)
    if folders.has_experiments:
        if database is None:
            return FileStore(place, folders, index)
        _check_is_superset(database, folders)
        return database
    if database is not None:
        return database
    if holds_artifacts:
        return ArtifactsStore(place)
    _check_not_elsewhere(folders)
    return FileStore(place, folders, index)


def _is_above_or_of_mlflow(place: Place, entries: Sequence[Entry], local: str | None) -> bool:
    """Whether a directory has ``mlruns``, or is ``mlruns`` beside a database."""
    if "mlruns" in _get_directories(entries):
        return True
    is_beside = local is not None and _has_database(os.path.dirname(local))
    return is_beside and place.name in MLFLOW_FOLDERS


def _is_sweep_alone(entries: Sequence[Entry]) -> bool:
    """Whether entries are those of a sweep of Hydra, in which nothing of MLflow is.

    Otherwise a ``meta.yaml`` would be looked for in the directory of each job.
    """
    names = {entry.name for entry in entries}
    return SWEEP_FILE in names and names.isdisjoint({DATABASE_FILE, META_FILE, ".trash"})


def _open_outputs(place: Place, entries: Sequence[Entry], index: Index) -> HydraStore:
    """Return the store of Hydra's output directories below a directory.

    Raises:
        TrackingDirectoryError: If the directory has others, but none of Hydra.
    """
    outputs = _find_outputs(place, entries)
    directories = _get_directories(entries)
    if directories and not outputs.is_of_hydra and not outputs.failures:
        raise TrackingDirectoryError(
            f"{place.url} has no output directories of Hydra: expected {CONFIG_FILE} in "
            f"directories up to {MAX_DEPTH} levels below it, found {_show(directories)}"
        )
    return HydraStore(place, outputs, index)


def _find_outputs(place: Place, entries: Sequence[Entry]) -> OutputTree:
    """Return the output directories of Hydra below a directory.

    Raises:
        TrackingDirectoryError: If the directory is one itself, or has too many others.
    """
    if may_be_run(place, entries) and place.join(CONFIG_FILE).read() is not None:
        raise TrackingDirectoryError(
            f"{place.url} has {CONFIG_FILE}, so it is the output directory of one run, not a "
            "directory of runs; load it with Run, or give the directory above it, or one in it "
            "that has runs"
        )
    return find_run_folders(place, entries)


def _warn_of_outputs(place: Place, entries: Sequence[Entry]) -> None:
    """Log that directories in which Hydra creates others are not searched."""
    outputs = [name for name in _get_directories(entries) if name in HYDRA_FOLDERS]
    if outputs:
        logger.warning(
            "%s: read as a tracking directory of MLflow, without %s, where Hydra may have left "
            "output directories; set layout='hydra' to read these instead, or layout='mlflow' if "
            "this is right",
            place.url,
            _show(outputs),
        )


def _get_directories(entries: Sequence[Entry]) -> list[str]:
    return [entry.name for entry in entries if entry.is_dir]


def _show(names: Sequence[str]) -> str:
    more = " and others" if len(names) > _MAX_SHOWN else ""
    return f"{', '.join(map(repr, names[:_MAX_SHOWN]))}{more}"


def _has_database(directory: str) -> bool:
    path = os.path.join(directory, DATABASE_FILE)
    return os.path.isfile(path) and os.path.getsize(path) > 0


def _find_database(
    directory: str, source: Source | None = None, root: str | None = None
) -> SqliteStore | None:
    """Return the database in a directory, None if there is none or it has no runs."""
    if not _has_database(directory):
        return None
    from kedro_hydraflow.stores.sqlite_store import SqliteStore

    path = os.path.join(directory, DATABASE_FILE)
    store = SqliteStore(path, source, root)
    return store if store.has_runs() else None


def _check_is_superset(database: SqliteStore, folders: ExperimentFolders) -> None:
    """Raise TrackingDirectoryError if the database lacks runs of the file store."""
    known = database.list_run_ids()
    experiments = [folder for folder, meta in folders.metas.items() if meta is not None]
    unknown = [
        experiment.join(entry.name)
        for experiment, entries in zip(experiments, list_places(experiments), strict=True)
        if isinstance(entries, list)
        for entry in entries
        if entry.is_dir and entry.name not in known
    ]
    metas = read_metas(unknown)
    only_here = [
        place
        for place, meta in zip(unknown, metas, strict=True)
        if isinstance(meta, Exception) or (meta and is_run_meta(meta))
    ]
    if only_here:
        where = folders.place.url
        raise TrackingDirectoryError(
            f"cannot choose between the file store {where} and the database {database.where}: "
            f"the database lacks {only_here[0].url}"
            f"{' and others' if len(only_here) > 1 else ''}. Give {database.where} to read the "
            f"database, or {where} as tracking_uri to read the file store"
        )


def _check_not_inside(folders: ExperimentFolders) -> None:
    """Raise TrackingDirectoryError if the directory is an experiment or a run."""
    if any(entry.name == META_FILE for entry in folders.entries):
        raise TrackingDirectoryError(
            f"{folders.place.url} has a {META_FILE}, so it is an experiment or a run, not a "
            "tracking directory; give the tracking directory above it"
        )


def _check_not_elsewhere(folders: ExperimentFolders) -> None:
    """Raise TrackingDirectoryError if the directory has subdirectories, but no experiments."""
    place = folders.place
    names = [folder.name for folder in folders.metas]
    if "mlruns" in names:
        outputs = [name for name in names if name in HYDRA_FOLDERS]
        beside = f", beside {_show(outputs)}, which layout='hydra' reads" if outputs else ""
        raise TrackingDirectoryError(
            f"{place.url} has no experiments, but a directory 'mlruns'{beside}; "
            f"give {place.join('mlruns').url}"
        )
    others = [name for name in names if not name.startswith(".")]
    if others:
        raise TrackingDirectoryError(
            f"{place.url} is not a tracking directory: expected <experiment_id>/{META_FILE} or "
            f"<experiment_id>/<run_id>/artifacts in it, {DATABASE_FILE} beside it, or directories "
            f"with {CONFIG_FILE} in it; found the directories {_show(others)}"
        )
