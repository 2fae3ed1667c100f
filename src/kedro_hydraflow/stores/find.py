"""From what users give to the store that tracks the runs: by looking."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from kedro_hydraflow.errors import OptionError, TrackingDirectoryError
from kedro_hydraflow.index import NO_INDEX, Index
from kedro_hydraflow.redaction import redact_url
from kedro_hydraflow.storage import LocalStorage, Storage, locate
from kedro_hydraflow.stores.artifacts_store import ArtifactsStore, may_hold_artifacts
from kedro_hydraflow.stores.file_store import FileStore, Listing
from kedro_hydraflow.stores.meta_file import META_FILE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kedro_hydraflow.storage import Location
    from kedro_hydraflow.stores.base import Store
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
    storage, root = place.storage, place.path
    if _is_database(storage, root):
        return _open_database(storage, root, artifact_root, storage_options)
    store = _look(storage, root, artifact_root, storage_options, index)
    if artifact_root is not None and isinstance(store, (FileStore, ArtifactsStore)):
        raise OptionError(
            f"artifact_root: {storage.url(root)} holds the artifacts itself; an artifact_root "
            "goes with a database or a server"
        )
    return store


def find_store(storage: Storage, run_dir: str) -> Store:
    """Return what tracks the run in a directory, for who has nothing but the directory.

    It belongs to a database two or three folders above it if that has the run, and there is
    no ``meta.yaml``; on remote storage no database is looked for.
    """
    folder = storage.split(storage.split(run_dir)[0])[0]
    if isinstance(storage, LocalStorage):
        local = storage.identity(run_dir)
        if not os.path.exists(os.path.join(local, META_FILE)):
            run_id = os.path.basename(local)
            above = os.path.dirname(os.path.dirname(local))
            for directory in (above, os.path.dirname(above)):
                database = _find_database(directory)
                if database is not None and database.has_run(run_id):
                    return database
    return FileStore(storage, folder)


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
        listing = Listing(place.storage, place.path, index)
        return FileStore(place.storage, place.path, listing, index)
    from kedro_hydraflow.stores.server_store import ServerStore

    return ServerStore(uri, artifact_root, storage_options)


def _get_scheme(uri: str) -> str:
    match = re.match(r"([A-Za-z][\w+.-]+):", uri)  # of two letters or more: C:\ is a drive
    return match[1].lower().removesuffix("+pysqlite") if match else ""


def _is_database(storage: Storage, path: str) -> bool:
    """Tell whether a path is to be opened as a database rather than listed as a directory."""
    if path.endswith(_DATABASE_SUFFIXES):
        return not storage.is_dir(path)
    local = storage.identity(path)
    if not isinstance(storage, LocalStorage) or not os.path.isfile(local):
        return False
    with open(local, "rb") as file:
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
    storage: Storage,
    path: str,
    artifact_root: Location | None,
    storage_options: Mapping[str, Any] | None,
) -> SqliteStore:
    from kedro_hydraflow.stores.sqlite_store import SqliteStore

    if not isinstance(storage, LocalStorage):
        raise OptionError(
            f"{storage.url(path)}: a database is read on the local filesystem alone; copy it "
            "there, and give its own directory as artifact_root"
        )
    return SqliteStore(storage.identity(path), None, artifact_root, storage_options)


def _look(
    storage: Storage,
    root: str,
    artifact_root: Location | None,
    storage_options: Mapping[str, Any] | None,
    index: Index,
) -> Store:
    """Return what tracks the runs of a directory."""
    listing = Listing(storage, root, index)
    _check_not_inside(storage, root, listing)
    file_store = FileStore(storage, root, listing, index)
    database = None
    if isinstance(storage, LocalStorage):
        local = storage.identity(root)
        for directory in (local, os.path.dirname(local)):
            database = _find_database(directory, local, artifact_root, storage_options)
            if database is not None:
                break
    if listing.has_experiments:
        if database is None:
            return file_store
        _check_is_superset(database, storage, listing)
        return database
    if database is not None:
        return database
    if may_hold_artifacts(storage, root, listing.entries):
        return ArtifactsStore(storage, root)
    _check_not_elsewhere(storage, root, listing)
    return file_store


def _find_database(
    directory: str,
    root: str | None = None,
    artifact_root: Location | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> SqliteStore | None:
    """Return the database in a directory, None without one or if no run is in it."""
    path = os.path.join(directory, DATABASE_FILE)
    if not os.path.isfile(path) or os.path.getsize(path) == 0:
        return None
    from kedro_hydraflow.stores.sqlite_store import SqliteStore

    store = SqliteStore(path, root, artifact_root, storage_options)
    return store if store.has_runs() else None


def _check_is_superset(database: SqliteStore, storage: Storage, listing: Listing) -> None:
    """Refuse a file store that has runs which the database beside it has not."""
    known = set(database.list_run_ids())
    experiments = [path for path, meta in listing.metas.items() if meta is not None]
    unknown = [
        storage.join(path, entry.name)
        for path, entries in zip(experiments, storage.list_many(experiments), strict=True)
        if isinstance(entries, list)
        for entry in entries
        if entry.is_dir and entry.name not in known
    ]
    only_here = [
        path
        for path, content in zip(
            unknown, storage.read_many([storage.join(p, META_FILE) for p in unknown]), strict=True
        )
        if isinstance(content, bytes) and b"run_id:" in content
    ]
    if only_here:
        raise TrackingDirectoryError(
            f"two stores claim {storage.url(listing.root)}: it is a file store with runs of its "
            f"own ({storage.url(only_here[0])}{' and others' if len(only_here) > 1 else ''}), and "
            f"{database.where} is a database of {len(known)} runs. Give {database.where} for the "
            f"database, or {storage.url(listing.root)} as tracking_uri for the file store"
        )


def _check_not_inside(storage: Storage, root: str, listing: Listing) -> None:
    """Refuse a directory that lies in a tracking directory."""
    if any(entry.name == META_FILE for entry in listing.entries):
        raise TrackingDirectoryError(
            f"{storage.url(root)} is an experiment or a run, it has a {META_FILE} itself; "
            "give the tracking directory above it"
        )


def _check_not_elsewhere(storage: Storage, root: str, listing: Listing) -> None:
    """Refuse a directory that holds folders, but nothing of a tracking directory."""
    where = storage.url(root)
    names = [storage.split(path)[1] for path in listing.metas]
    if "mlruns" in names:
        raise TrackingDirectoryError(
            f"{where} has no experiment in it, but a directory 'mlruns'; "
            f"give {storage.url(storage.join(root, 'mlruns'))}"
        )
    others = [name for name in names if not name.startswith(".")]
    if others:
        raise TrackingDirectoryError(
            f"{where} is not a tracking directory: expected <experiment_id>/{META_FILE} or "
            f"<experiment_id>/<run_id>/artifacts in it, or {DATABASE_FILE} beside it; found the "
            f"directories {', '.join(map(repr, others[:5]))}"
            f"{' and others' if len(others) > 5 else ''}"
        )
