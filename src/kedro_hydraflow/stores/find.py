"""From what users give to the store that tracks the runs: by looking."""

from __future__ import annotations

import os
import re
from itertools import groupby
from typing import TYPE_CHECKING, Any

from kedro_hydraflow.errors import OptionError, TrackingDirectoryError
from kedro_hydraflow.index import NO_INDEX, Index
from kedro_hydraflow.redaction import redact_url
from kedro_hydraflow.storage import LocalStorage, Place, list_places, locate
from kedro_hydraflow.stores.artifacts_store import ArtifactsStore, may_hold_artifacts
from kedro_hydraflow.stores.file_store import ExperimentFolders, FileStore
from kedro_hydraflow.stores.meta_file import META_FILE, is_run_meta, read_metas

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from kedro_hydraflow.storage import Location
    from kedro_hydraflow.stores.base import Store
    from kedro_hydraflow.stores.record import ExperimentRecord, RunRecord
    from kedro_hydraflow.stores.sqlite_store import SqliteStore

DATABASE_FILE = "mlflow.db"
"""MLflow's own name for the database, in the directory where ``mlruns`` is."""

_DATABASE_SUFFIXES = (".db", ".sqlite", ".sqlite3")


def open_store(
    tracking_dir: Location | None = None,
    *,
    tracking_uri: str | None = None,
    artifact_root: Location | None = None,
    storage_options: Mapping[str, Any] | None = None,
    index: Index = NO_INDEX,
) -> Store:
    """Return what tracks the runs of a tracking directory, or at a tracking URI.

    A directory is a file store if there are experiments with a ``meta.yaml`` in it. It belongs
    to a database if there is a ``mlflow.db`` with runs in it or beside it. If both is so, the
    database counts if it has all the runs of the file store, as after
    ``mlflow migrate-filestore``. If nothing is, but the directory holds ``artifacts`` of runs,
    these are all that is known.

    Args:
        tracking_dir: A directory or the file of an SQLite database: a path, a URL that fsspec
            knows, or a ``UPath``.
        tracking_uri: As for ``mlflow.set_tracking_uri``, instead of a directory: nothing is
            looked for. ``sqlite:///`` and a path, the URL of a server, a directory.
        artifact_root: Where a database's or server's artifacts are now, if they are neither
            where they were recorded nor beside the database.
        storage_options: As for `locate`.
        index: What is known of runs, for a file store.

    Raises:
        OptionError: If not one of both is given, or it is neither a path nor a URL.
        NotFoundError: If there is no such directory or database.
        TrackingDirectoryError: If the directory is not one of runs, or two stores claim it.
        StorageError: If it cannot be read.
    """
    if tracking_dir is None and tracking_uri is None:
        raise OptionError(
            "expected a path or a URL, found None: a tracking directory or a tracking_uri"
        )
    if tracking_dir is not None and tracking_uri is not None:
        raise OptionError(
            "expected a tracking directory or a tracking_uri, found both: the one is looked into, "
            "the other is taken as it is"
        )
    if tracking_dir is None or _get_scheme(str(tracking_dir)) == "sqlite":
        return _open_uri(tracking_uri or str(tracking_dir), artifact_root, storage_options, index)
    place = locate(tracking_dir, storage_options)
    if _is_database(place):
        return _open_database(place, artifact_root, storage_options)
    store = _look(place, artifact_root, storage_options, index)
    if artifact_root is not None and isinstance(store, (FileStore, ArtifactsStore)):
        raise OptionError(
            f"artifact_root: {place.url} holds the artifacts itself; an artifact_root "
            "goes with a database or a server"
        )
    return store


def find_layout(experiment: ExperimentRecord) -> Store:
    """Return what knows where configurations and artifacts are in a folder of runs.

    Nothing is read. What tracks the runs, `find_stores` finds out.
    """
    return FileStore(experiment.parent)


def find_stores(records: Sequence[RunRecord]) -> list[Store]:
    """Return what tracks each run, where nothing but its directory is known.

    It belongs to a database two or three folders above it if that has the run, and there is
    no ``meta.yaml``; on remote storage no database is looked for. Runs of one store share it.
    """
    stores: list[Store] = []
    file_stores: dict[Place, FileStore] = {}
    for root, some in _cut_by_root(records):
        if root not in file_stores:
            file_stores[root] = FileStore(root)
        of_database = _find_in_databases(root, some)
        stores += [of_database.get(record.run_id, file_stores[root]) for record in some]
    return stores


def _cut_by_root(records: Sequence[RunRecord]) -> Iterator[tuple[Place, list[RunRecord]]]:
    """Yield runs that follow each other and are in one tracking directory, with that."""
    for _, of_experiment in groupby(records, lambda record: id(record.experiment)):
        some = list(of_experiment)
        yield some[0].experiment.parent, some


def _find_in_databases(root: Place, records: Sequence[RunRecord]) -> dict[str, SqliteStore]:
    """Return the databases of those runs without a ``meta.yaml`` that one has, by run ID."""
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


def _open_uri(
    uri: str,
    artifact_root: Location | None,
    storage_options: Mapping[str, Any] | None,
    index: Index,
) -> Store:
    scheme = _get_scheme(uri)
    if scheme == "sqlite":
        return _open_sqlite(uri, artifact_root, storage_options)
    if scheme in ("", "file"):
        if artifact_root is not None:
            raise OptionError("artifact_root: a file store holds the artifacts itself")
        place = locate(uri)
        return FileStore(place, ExperimentFolders(place, index), index)
    from kedro_hydraflow.stores.server_store import ServerStore

    return ServerStore(uri, artifact_root, storage_options)


def _get_scheme(uri: str) -> str:
    match = re.match(r"([A-Za-z][\w+.-]+):", uri)  # of two letters or more: C:\ is a drive
    return match[1].lower().removesuffix("+pysqlite") if match else ""


def _is_database(place: Place) -> bool:
    """Return whether to open a place as a database rather than list it as a directory."""
    if place.path.endswith(_DATABASE_SUFFIXES):
        return not place.is_dir()
    if not isinstance(place.storage, LocalStorage) or not os.path.isfile(_get_local(place)):
        return False
    with open(_get_local(place), "rb") as file:
        return file.read(16) == b"SQLite format 3\0"


def _open_sqlite(
    uri: str, artifact_root: Location | None, storage_options: Mapping[str, Any] | None
) -> Store:
    """Return the store of a URI as SQLAlchemy has it: ``sqlite:///relative.db``."""
    from kedro_hydraflow.stores.sqlite_store import SqliteStore

    match = re.fullmatch(r"sqlite(?:\+pysqlite)?:///(?P<path>[^?]+)(?:\?.*)?", uri, re.IGNORECASE)
    if match is None:
        raise OptionError(
            f"tracking_uri: expected sqlite:/// and the path of a file, found {redact_url(uri)!r}"
        )
    return SqliteStore(match["path"], None, artifact_root, storage_options)


def _open_database(
    place: Place,
    artifact_root: Location | None,
    storage_options: Mapping[str, Any] | None,
) -> SqliteStore:
    from kedro_hydraflow.stores.sqlite_store import SqliteStore

    if not isinstance(place.storage, LocalStorage):
        raise OptionError(
            f"{place.url}: a database is read on the local filesystem alone; copy it "
            "there, and give its own directory as artifact_root"
        )
    return SqliteStore(_get_local(place), None, artifact_root, storage_options)


def _look(
    place: Place,
    artifact_root: Location | None,
    storage_options: Mapping[str, Any] | None,
    index: Index,
) -> Store:
    """Return what tracks the runs of a directory."""
    folders = ExperimentFolders(place, index)
    _check_not_inside(folders)
    file_store = FileStore(place, folders, index)
    database = None
    if isinstance(place.storage, LocalStorage):
        local = _get_local(place)
        for directory in (local, os.path.dirname(local)):
            database = _find_database(directory, local, artifact_root, storage_options)
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
    directory: str,
    root: str | None = None,
    artifact_root: Location | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> SqliteStore | None:
    """Return the database in a directory, None without one or if no run is in it."""
    if not _has_database(directory):
        return None
    from kedro_hydraflow.stores.sqlite_store import SqliteStore

    path = os.path.join(directory, DATABASE_FILE)
    store = SqliteStore(path, root, artifact_root, storage_options)
    return store if store.has_runs() else None


def _check_is_superset(database: SqliteStore, folders: ExperimentFolders) -> None:
    """Raise if a file store has runs that the database beside it has not."""
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
            f"two stores claim {where}: it is a file store with runs of its own "
            f"({only_here[0].url}{' and others' if len(only_here) > 1 else ''}), and "
            f"{database.where} is a database of {len(known)} runs. Give {database.where} for the "
            f"database, or {where} as tracking_uri for the file store"
        )


def _check_not_inside(folders: ExperimentFolders) -> None:
    """Raise if a directory lies in a tracking directory."""
    if any(entry.name == META_FILE for entry in folders.entries):
        raise TrackingDirectoryError(
            f"{folders.place.url} is an experiment or a run, it has a {META_FILE} itself; "
            "give the tracking directory above it"
        )


def _check_not_elsewhere(folders: ExperimentFolders) -> None:
    """Raise if a directory holds folders, but nothing of a tracking directory."""
    place = folders.place
    names = [folder.name for folder in folders.metas]
    if "mlruns" in names:
        raise TrackingDirectoryError(
            f"{place.url} has no experiment in it, but a directory 'mlruns'; "
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
