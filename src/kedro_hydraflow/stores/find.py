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
from kedro_hydraflow.storage import LocalStorage, Place, list_places
from kedro_hydraflow.stores.artifacts_store import ArtifactsStore, iter_run_samples
from kedro_hydraflow.stores.databases import (
    DATABASE_FILE,
    DATABASE_SUFFIXES,
    find_database,
    find_databases_of,
    is_sqlite_file,
    may_have_runs,
)
from kedro_hydraflow.stores.file_store import ExperimentFolders, FileStore
from kedro_hydraflow.stores.meta_file import (
    META_FILE,
    has_run_id,
    is_experiment_meta,
    is_run_meta,
    read_metas,
)
from kedro_hydraflow.stores.run_folder import has_run_meta

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kedro_hydraflow.stores.base import Store
    from kedro_hydraflow.stores.record import ExperimentRecord, RunRecord
    from kedro_hydraflow.stores.sqlite_store import SqliteStore

logger = logging.getLogger(__name__)


def open_store(source: Source, index: Index = NO_INDEX) -> Store:
    """Return the store that tracks the runs of a source.

    A tracking URI names its store. For a directory, the store depends on the content:

    - only experiments or runs with a ``meta.yaml``: the file store;
    - only an MLflow database with runs, in the directory or beside it: the database;
    - both: the database if it has every run of the file store, as after
      ``mlflow migrate-filestore``, else an error;
    - neither, but ``artifacts`` of runs: a store of artifacts alone, which is logged;
    - nothing: the file store, without any runs.

    Args:
        source: The directory or tracking URI, by default that of `find_default`.
        index: The cache for metadata, for a file store.

    Raises:
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
    if _is_database(place):
        return _open_database(place, source)
    try:
        folders = ExperimentFolders(place, index)
    except StorageError as exc:
        suggestion = source.suggest()
        if not suggestion:
            raise
        raise type(exc)(f"{exc}{suggestion}") from exc
    return _choose_store(folders, source, index)


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


def find_layout(experiment: ExperimentRecord) -> Store:
    """Return a store that locates the configurations and artifacts of an experiment's runs.

    Nothing is read. `find_stores` returns the stores that track the runs.
    """
    return FileStore(experiment.parent)


def find_stores(records: Sequence[RunRecord]) -> list[Store]:
    """Return the store that tracks each run, for runs given by their directories.

    The store is a database if the run has no ``meta.yaml``, and an MLflow database in the tracking
    directory or beside it has the run. Otherwise it is the file store. On remote storage,
    databases are not searched. Runs of the same store share one object.
    """
    stores: list[Store] = []
    file_stores: dict[Place, FileStore] = {}
    for root, some in _group_by_root(records):
        if root not in file_stores:
            file_stores[root] = FileStore(root)
        databases = _find_in_databases(root, some)
        stores += [databases.get(record.run_id, file_stores[root]) for record in some]
    return stores


def _group_by_root(records: Sequence[RunRecord]) -> Iterator[tuple[Place, list[RunRecord]]]:
    """Yield each tracking directory with its runs, for consecutive runs of one experiment."""
    for _, of_experiment in groupby(records, lambda record: id(record.experiment)):
        some = list(of_experiment)
        yield some[0].experiment.parent, some


def _find_in_databases(root: Place, records: Sequence[RunRecord]) -> dict[str, SqliteStore]:
    """Return the databases that have runs without a ``meta.yaml``, by run ID."""
    if not isinstance(root.storage, LocalStorage):
        return {}
    files = [_get_local(record.join(META_FILE)) for record in records]
    run_ids = [r.run_id for r, f in zip(records, files, strict=True) if not os.path.exists(f)]
    return find_databases_of(run_ids, _get_neighborhood(root)) if run_ids else {}


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
    if place.path.endswith(DATABASE_SUFFIXES):
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


def _choose_store(folders: ExperimentFolders, source: Source, index: Index) -> Store:
    """Return the store of a directory, as `open_store` describes."""
    place = folders.place
    _check_not_inside(folders)
    file_store = FileStore(place, source, folders, index)
    if isinstance(place.storage, LocalStorage):
        local = _get_local(place)
        for directory in _get_neighborhood(place):
            database = find_database(directory, source, local)
            if database is not None:
                for some in (folders, *_open_inner(folders)):
                    _check_is_superset(database, some)
                return database
    if folders.has_experiments:
        return file_store
    samples = iter_run_samples(place, folders.entries)
    # Elsewhere than on a disk, the first folder with runs has to do.
    found = list(samples if isinstance(place.storage, LocalStorage) else islice(samples, 1))
    if folders.read_default() is not None or any(map(has_run_meta, found)):
        return file_store
    if not found:
        _check_not_elsewhere(folders)
        return file_store
    logger.info(
        "%s has artifacts alone: the status, times, metrics and deletions of its runs are "
        "unknown; give tracking_uri to read them from MLflow",
        place.url,
    )
    return ArtifactsStore(place)


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
        raise TrackingDirectoryError(
            f"{place.url} has no experiments, but a directory 'mlruns'; "
            f"give {place.join('mlruns').url}"
        )
    others = [name for name in names if not name.startswith(".")]
    if others:
        raise TrackingDirectoryError(
            f"{place.url} is not a tracking directory: expected <experiment_id>/{META_FILE} or "
            f"<experiment_id>/<run_id>/artifacts in it, or {DATABASE_FILE} beside it; found the "
            f"directories {', '.join(map(repr, others[:5]))}"
            f"{' and others' if len(others) > 5 else ''}"
        )
