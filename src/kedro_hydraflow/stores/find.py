"""Choosing the store for a directory, a tracking URI or single runs."""

from __future__ import annotations

import logging
import os
import re
from dataclasses import replace
from itertools import groupby, islice
from typing import TYPE_CHECKING

from kedro_hydraflow.errors import (
    NotFoundError,
    OptionError,
    StorageError,
    TrackingDirectoryError,
    describe,
)
from kedro_hydraflow.index import NO_INDEX, Index
from kedro_hydraflow.redaction import redact_url
from kedro_hydraflow.source import Source, get_uri_scheme
from kedro_hydraflow.storage import LocalStorage, Place, list_places, read_parsed_in
from kedro_hydraflow.stores.artifacts_store import ArtifactsStore, iter_run_samples
from kedro_hydraflow.stores.base import CONFIG_FILE, SWEEP_FILE
from kedro_hydraflow.stores.databases import (
    DATABASE_FILE,
    find_database,
    find_databases_of,
    has_database_suffix,
    is_sqlite_file,
    may_have_database,
    may_have_runs,
)
from kedro_hydraflow.stores.file_store import ExperimentFolders, FileStore
from kedro_hydraflow.stores.hydra_store import HydraStore, find_hydra_root
from kedro_hydraflow.stores.meta_file import (
    META_FILE,
    has_run_id,
    is_experiment_meta,
    is_run_meta,
    read_metas,
)
from kedro_hydraflow.stores.output_folders import MAX_DEPTH, find_run_folders, may_be_run
from kedro_hydraflow.stores.record import HYDRA_FOLDERS, MLFLOW_FOLDERS, is_run_id
from kedro_hydraflow.stores.run_folder import has_run_meta

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kedro_hydraflow.storage import Entry
    from kedro_hydraflow.stores.base import Store
    from kedro_hydraflow.stores.output_folders import OutputTree
    from kedro_hydraflow.stores.record import RunRecord
    from kedro_hydraflow.stores.sqlite_store import SqliteStore

logger = logging.getLogger(__name__)

_MAX_SHOWN = 5
"""The maximum number of directories named in a message."""


def open_store(source: Source, index: Index = NO_INDEX) -> Store:
    """Return the store that tracks the runs of a source.

    A tracking URI names its store. For a directory, the store depends on the content:

    - only experiments or runs with a ``meta.yaml``: the file store;
    - only an MLflow database with runs, in the directory or beside it: the database;
    - both: the database if it has every run of the file store, as after
      ``mlflow migrate-filestore``, else an error;
    - neither, but ``artifacts`` of runs: a store of artifacts alone, which is logged;
    - neither, but output directories of Hydra, at any depth: a store of these, also if there is
      a database beside the directory;
    - nothing: the file store, without any runs.

    ``layout`` restricts the choice to Hydra's directories, or to those of MLflow.

    Args:
        source: The directory or tracking URI, by default that of `find_default`.
        index: The cache for metadata, for a file store.

    Raises:
        OptionError: If an artifact root is given for output directories of Hydra.
        NotFoundError: If there is no such directory or database.
        TrackingDirectoryError: If the directory is not a tracking directory, if neither the
            file store nor the database has every run, or if there are several databases.
        StorageError: If the directory or the database cannot be read.
    """
    if source.is_default:
        source = find_default(source)
    if source.uri is not None:
        return _open_uri(source.uri, source, index)
    place = source.locate()
    if source.layout != "hydra" and _is_database(place):
        return _open_database(place, source)
    store = _choose_store(place, source, index)
    if source.artifact_root is not None and isinstance(store, HydraStore):
        raise OptionError(
            f"artifact_root: cannot be used with {place.url}, whose output directories of Hydra "
            "hold the artifacts themselves"
        )
    return store


def find_default(source: Source) -> Source:
    """Return the source of the runs that MLflow reads by default, in the working directory.

    These are MLflow's own rules (``_get_default_tracking_uri``).

    Args:
        source: A source without a directory or URI, whose other options are kept.

    Raises:
        NotFoundError: If there is none.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    folder, database = os.path.abspath("mlruns"), os.path.abspath(DATABASE_FILE)
    if uri:
        return replace(source, tracking_uri=uri)
    if _has_numbered_experiment(folder):
        if may_have_runs(database):
            logger.warning(
                "reading %s, as MLflow does by default; to read the runs of the database beside "
                "it, give tracking_dir=%r",
                folder,
                database,
            )
        return replace(source, tracking_uri=folder)
    if os.path.isfile(database):
        return replace(source, tracking_dir=database)
    raise NotFoundError(
        "there is no default place with runs: MLFLOW_TRACKING_URI is not set, "
        f"{folder!r} has no <experiment_id>/{META_FILE}, and there is no database {database!r}; "
        "give tracking_dir or tracking_uri"
    )


def _has_numbered_experiment(folder: str) -> bool:
    """Whether MLflow takes a directory for a file store."""
    try:
        with os.scandir(folder) as entries:
            return any(
                entry.name.isdigit()
                and entry.is_dir()
                and os.path.lexists(os.path.join(entry.path, META_FILE))
                for entry in entries
            )
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as exc:
        raise StorageError(f"cannot list the directory {folder!r}: {describe(exc)}") from exc


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
    """Return the databases that have runs of one experiment without a ``meta.yaml``, by run ID."""
    if not isinstance(root.storage, LocalStorage):
        return {}
    directories = _get_neighborhood(root)
    if len(records) > 1 and not any(map(may_have_database, directories)):
        return {}  # without a look at each run
    folder = _get_local(records[0].experiment)
    run_ids = [
        record.run_id
        for record in records
        if not os.path.exists(os.path.join(folder, record.name, META_FILE))
    ]
    return find_databases_of(run_ids, directories) if run_ids else {}


def _get_neighborhood(root: Place) -> list[str]:
    """Return the local directories to search for a database: the tracking directory first."""
    local = _get_local(root)
    return list(dict.fromkeys([local, os.path.dirname(local)]))


def _get_local(place: Place) -> str:
    """Return the absolute path of a local place."""
    return place.storage.get_identity(place.path)


def _open_uri(uri: str, source: Source, index: Index) -> Store:
    scheme = get_uri_scheme(uri)
    if scheme == "sqlite":
        return _open_sqlite(uri, source)
    if scheme in ("", "file"):
        place = source.locate_uri()
        return FileStore(place, source, ExperimentFolders(place, index), index)
    from kedro_hydraflow.stores.server_store import ServerStore

    return ServerStore(source)


def _is_database(place: Place) -> bool:
    """Whether to open a place as a database, rather than list it as a directory."""
    if has_database_suffix(place.path):
        return not place.is_dir()
    return isinstance(place.storage, LocalStorage) and is_sqlite_file(_get_local(place))


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
    entries = _list_tracking_dir(place, source)
    looks_for_outputs = source.layout is None
    if source.layout == "hydra" or (looks_for_outputs and _is_sweep_alone(entries)):
        return _open_outputs(place, entries, index)
    folders = ExperimentFolders(place, index, entries)
    _check_not_inside(folders)
    local = _get_local(place) if isinstance(place.storage, LocalStorage) else None
    database = None if local is None else find_database(local, source, local)
    is_tracked = folders.has_experiments or database is not None
    runs = [] if is_tracked else _sample_runs(folders)
    if looks_for_outputs:
        if is_tracked or runs:
            _warn_of_outputs(place, entries)
        elif not _is_above_or_of_mlflow(place, entries, local):
            outputs = _find_outputs(place, entries)
            if outputs.is_of_hydra:
                return HydraStore(place, outputs, index)
    if database is None and local is not None:
        database = find_database(os.path.dirname(local), source, local)
    if database is not None:
        for some in (folders, *_open_inner(folders)):
            _check_is_superset(database, some)
        return database
    file_store = FileStore(place, source, folders, index)
    if is_tracked or folders.default_meta is not None or any(map(has_run_meta, runs)):
        return file_store
    if runs:
        logger.info(
            "%s has artifacts alone: the status, times, metrics and deletions of its runs are "
            "unknown; give tracking_uri to read them from MLflow",
            place.url,
        )
        return ArtifactsStore(place)
    _check_not_elsewhere(folders)
    return file_store


def _list_tracking_dir(place: Place, source: Source) -> list[Entry]:
    try:
        return place.list()
    except StorageError as exc:
        suggestion = source.suggest()
        if not suggestion:
            raise
        raise type(exc)(f"{exc}{suggestion}") from exc


def _sample_runs(folders: ExperimentFolders) -> list[list[Place]]:
    """Return a few runs of each folder in which `ArtifactsStore` finds any.

    Elsewhere than on a disk, they are those of the first such folder.
    """
    samples = iter_run_samples(folders.place, folders.entries)
    is_local = isinstance(folders.place.storage, LocalStorage)
    return list(samples if is_local else islice(samples, 1))


def _is_above_or_of_mlflow(place: Place, entries: Sequence[Entry], local: str | None) -> bool:
    """Whether a directory has ``mlruns``, or is ``mlruns`` beside a database."""
    if "mlruns" in _get_directories(entries):
        return True
    if local is None or place.name not in MLFLOW_FOLDERS:
        return False
    return find_database(os.path.dirname(local)) is not None


def _is_sweep_alone(entries: Sequence[Entry]) -> bool:
    """Whether entries are those of a sweep of Hydra, in which nothing of MLflow is.

    Otherwise a ``meta.yaml`` would be looked for in the directory of each job.
    """
    names = {entry.name for entry in entries}
    of_mlflow = not names.isdisjoint({META_FILE, ".trash"})
    return SWEEP_FILE in names and not of_mlflow and not any(map(has_database_suffix, names))


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


def _open_inner(folders: ExperimentFolders) -> list[ExperimentFolders]:
    """Return the content of ``mlruns`` in a directory, which may be a file store too."""
    inner = folders.place.join("mlruns")
    return [ExperimentFolders(inner)] if inner in folders.metas else []


def _check_is_superset(database: SqliteStore, folders: ExperimentFolders) -> None:
    """Raise unless the database has all runs of the file store.

    Raises:
        TrackingDirectoryError: If it lacks some.
        StorageError: If a directory cannot be listed.
    """
    known = database.list_run_ids()
    experiments = [
        folder
        for folder, meta in folders.metas.items()
        if meta is not None or folder.name.isdecimal()
    ]
    if folders.default is not None:
        experiments.append(folders.default)
    unknown = []
    for experiment, entries in zip(experiments, list_places(experiments), strict=True):
        if isinstance(entries, NotFoundError):
            continue  # removed in the meantime
        if isinstance(entries, StorageError):
            raise StorageError(
                f"cannot tell whether the database {database.where} has all runs of the file "
                f"store {folders.place.url}: {entries}. {_advise_choice(database, folders)}"
            ) from entries
        unknown += [experiment.join(e.name) for e in entries if e.is_dir and e.name not in known]
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
            f"{' and others' if len(only_here) > 1 else ''}. {_advise_choice(database, folders)}"
        )


def _advise_choice(database: SqliteStore, folders: ExperimentFolders) -> str:
    return (
        f"Give {database.where} to read the database, or {folders.place.url} as tracking_uri to "
        "read the file store"
    )


def _check_not_inside(folders: ExperimentFolders) -> None:
    """Raise TrackingDirectoryError if the directory is an experiment or a run."""
    place = folders.place
    if any(isinstance(meta, dict) and is_experiment_meta(meta) for meta in folders.metas.values()):
        return  # a `meta.yaml` in it, if there is one, is a stray
    has_runs = any(isinstance(meta, dict) and has_run_id(meta) for meta in folders.metas.values())
    if any(entry.name == META_FILE for entry in folders.entries):
        (meta,) = read_metas([place])
        if isinstance(meta, StorageError):
            raise meta
        if isinstance(meta, dict) and (has_run_id(meta) or is_experiment_meta(meta) or has_runs):
            raise TrackingDirectoryError(
                f"{place.url} has a {META_FILE}, so it is an experiment or a run, not a "
                "tracking directory; give the tracking directory above it"
            )
    if has_runs:
        raise TrackingDirectoryError(
            f"{place.url} has runs in it, so it is an experiment without a {META_FILE}, not a "
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
