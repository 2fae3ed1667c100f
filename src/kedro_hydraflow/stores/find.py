"""Choosing the store for a directory, a tracking URI or single runs."""

from __future__ import annotations

import os
import re
from itertools import groupby
from typing import TYPE_CHECKING

from kedro_hydraflow.errors import OptionError, TrackingDirectoryError
from kedro_hydraflow.index import NO_INDEX, Index
from kedro_hydraflow.redaction import redact_url
from kedro_hydraflow.source import get_uri_scheme
from kedro_hydraflow.storage import LocalStorage, Place, list_places, locate
from kedro_hydraflow.stores.artifacts_store import ArtifactsStore, may_hold_artifacts
from kedro_hydraflow.stores.file_store import ExperimentFolders, FileStore
from kedro_hydraflow.stores.meta_file import META_FILE, is_run_meta, read_metas

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kedro_hydraflow.source import Source
    from kedro_hydraflow.stores.base import Store
    from kedro_hydraflow.stores.record import ExperimentRecord, RunRecord
    from kedro_hydraflow.stores.sqlite_store import SqliteStore

DATABASE_FILE = "mlflow.db"
"""MLflow's default name for the database, beside ``mlruns``."""

_DATABASE_SUFFIXES = (".db", ".sqlite", ".sqlite3")


def open_store(source: Source, index: Index = NO_INDEX) -> Store:
    """Return the store that tracks the runs of a source.

    A tracking URI names its store. For a directory, the store depends on the content:

    - only experiments with a ``meta.yaml``: the file store;
    - only a ``mlflow.db`` with runs, in the directory or beside it: the database;
    - both: the database if it has every run of the file store, as after
      ``mlflow migrate-filestore``, else an error;
    - neither, but ``artifacts`` of runs: a store of artifacts alone;
    - nothing: the file store, without any runs.

    Args:
        source: The directory or tracking URI.
        index: The cache for metadata, for a file store.

    Raises:
        OptionError: If an artifact root is given for a file store or for artifacts alone.
        NotFoundError: If there is no such directory or database.
        TrackingDirectoryError: If the directory is not a tracking directory, or if neither the
            file store nor the database has every run.
        StorageError: If the directory or the database cannot be read.
    """
    if source.uri is not None:
        return _open_uri(source.uri, source, index)
    place = source.locate()
    if _is_database(place):
        return _open_database(place, source)
    store = _choose_store(place, source, index)
    if source.artifact_root is not None and isinstance(store, (FileStore, ArtifactsStore)):
        raise _make_artifact_root_error(place)
    return store


def find_layout(experiment: ExperimentRecord) -> Store:
    """Return a store that locates the configurations and artifacts of an experiment's runs.

    Nothing is read. `find_stores` returns the stores that track the runs.
    """
    return FileStore(experiment.parent)


def find_stores(records: Sequence[RunRecord]) -> list[Store]:
    """Return the store that tracks each run, for runs given by their directories.

    The store is a database if the run has no ``meta.yaml``, and a ``mlflow.db`` in the tracking
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
    folders = ExperimentFolders(place, index)
    _check_not_inside(folders)
    file_store = FileStore(place, folders, index)
    database = None
    if isinstance(place.storage, LocalStorage):
        local = _get_local(place)
        for directory in (local, os.path.dirname(local)):
            database = _find_database(directory, source, local)
            if database is not None:
                break
    if folders.has_experiments:
        if database is None:
            return file_store
        _check_is_superset(database, folders)
        return database
    if database is not None:
        return database
    if may_hold_artifacts(place, folders.entries):
        return ArtifactsStore(place)
    _check_not_elsewhere(folders)
    return file_store


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
