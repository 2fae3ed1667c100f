"""Choosing the store for a directory or a tracking URI."""

from __future__ import annotations

import os
import re
from itertools import islice
from typing import TYPE_CHECKING

from kedro_hydraflow.errors import (
    KedroHydraflowError,
    OptionError,
    StorageError,
    TrackingDirectoryError,
    show_names,
)
from kedro_hydraflow.index import NO_INDEX, Index
from kedro_hydraflow.logs import get_logger
from kedro_hydraflow.redaction import redact_url
from kedro_hydraflow.source import Source, get_uri_scheme
from kedro_hydraflow.storage import LocalStorage, Place, get_local_path, list_places
from kedro_hydraflow.stores.artifacts_store import ArtifactsStore, iter_run_samples
from kedro_hydraflow.stores.base import (
    CONFIG_FILE,
    DEFAULT_EXPERIMENT_ID,
    HYDRA_FOLDER,
    MODELS_FOLDER,
    SWEEP_FILE,
)
from kedro_hydraflow.stores.belonging import (
    Neighbors,
    RunFolders,
    find_beside,
    find_inside,
)
from kedro_hydraflow.stores.databases import (
    DATABASE_FILE,
    NO_DATABASES,
    Databases,
    find_databases,
    has_database_suffix,
    is_sqlite_file,
)
from kedro_hydraflow.stores.default import find_default, naming_variable
from kedro_hydraflow.stores.file_store import NOT_EXPERIMENTS, ExperimentFolders, FileStore
from kedro_hydraflow.stores.hydra_store import HydraStore
from kedro_hydraflow.stores.meta_file import (
    META_FILE,
    has_run_id,
    is_experiment_meta,
    read_metas,
)
from kedro_hydraflow.stores.output_folders import MAX_DEPTH, find_run_folders, may_be_run
from kedro_hydraflow.stores.record import (
    HYDRA_FOLDERS,
    MLFLOW_FOLDERS,
    find_output_id,
    is_run_id,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kedro_hydraflow.storage import Entry
    from kedro_hydraflow.stores.base import Store
    from kedro_hydraflow.stores.output_folders import OutputTree
    from kedro_hydraflow.stores.run_folder import RunSample
    from kedro_hydraflow.stores.sqlite_store import SqliteStore

logger = get_logger(__name__)

_MAX_SHOWN = 5
"""The maximum number of databases named in a message."""

_DATABASE_SCHEMES = ("postgresql", "postgres", "mysql", "mariadb", "mssql")
"""The schemes of databases on servers, without the driver."""

_DATABRICKS = ("databricks", "databricks-uc")
"""Tracking URIs that are names, not paths."""


def open_store(source: Source, index: Index = NO_INDEX) -> Store:
    """Return the store that tracks the runs of a source.

    A tracking URI names its store. For a directory, the store depends on the content:

    - only experiments or runs with a ``meta.yaml``: the file store;
    - only an MLflow database with runs, in the directory, or beside it if they belong together
      (see `find_beside`): the database;
    - both: the database if it has every run of the file store, as after
      ``mlflow migrate-filestore``, else an error;
    - neither, but ``artifacts`` of runs: a store of artifacts alone, which is logged;
    - neither, but output directories of Hydra, at any depth: a store of these;
    - only an MLflow database without runs: the database;
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
        with naming_variable(source):
            return open_store(find_default(source), index)
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


def _open_uri(uri: str, source: Source, index: Index) -> Store:
    scheme = get_uri_scheme(uri)
    if scheme == "sqlite":
        return _open_sqlite(uri, source)
    if scheme in ("", "file") and uri not in _DATABRICKS:
        place = source.locate_uri()
        if _is_database(place):
            raise OptionError(
                f"tracking_uri: expected a directory, found the database {uri!r}; give it as "
                f"tracking_dir, or as sqlite:///{get_local_path(place) or place.path}"
            )
        folders = ExperimentFolders(place, index)
        _check_is_file_store(folders)
        return FileStore(place, source, folders, index)
    if scheme.partition("+")[0] in _DATABASE_SCHEMES:
        from kedro_hydraflow.stores.sql_store import SqlStore

        return SqlStore(source)
    from kedro_hydraflow.stores.server_store import ServerStore

    return ServerStore(source)


def _is_database(place: Place) -> bool:
    """Whether to open a place as a database, rather than list it as a directory."""
    if has_database_suffix(place.path):
        return not place.is_dir()
    local = get_local_path(place)
    return local is not None and is_sqlite_file(local)


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

    local = get_local_path(place)
    if local is None:
        raise _make_remote_error(place, place.parent)
    return SqliteStore(local, source)


def _make_remote_error(place: Place, artifact_root: Place, otherwise: str = "") -> OptionError:
    return OptionError(
        f"cannot read the database {place.url}: SQLite databases must be local. Copy it, and "
        f"set artifact_root to {artifact_root.url} if the artifacts stay there{otherwise}"
    )


def _choose_store(place: Place, source: Source, index: Index) -> Store:
    """Return the store of a directory, as `open_store` describes."""
    entries = _list_tracking_dir(place, source)
    if source.layout == "hydra" or (source.layout is None and _is_sweep_alone(entries)):
        return _open_outputs(place, entries, index)
    folders = ExperimentFolders(place, index, entries)
    _check_not_inside(folders)
    inside = find_inside(place, source)
    is_tracked = folders.has_experiments or bool(inside.with_runs)
    samples = [] if is_tracked else _sample_runs(folders)
    # Before databases beside the directory, which Hydra's runs do not need: they may be broken.
    is_of_mlflow = is_tracked or bool(samples) or place.name in MLFLOW_FOLDERS
    outputs = None if is_of_mlflow else _find_outputs_alone(folders, source, index)
    if outputs is not None:
        return outputs
    runs = RunFolders(folders)
    beside = find_beside(runs, source) if not inside.with_runs else Neighbors()
    database = inside.get_with_runs() or beside.related.get_with_runs()
    if source.layout is None and (database is not None or is_tracked or samples):
        is_project = not (folders.has_experiments or samples or place.name in MLFLOW_FOLDERS)
        _warn_of_outputs(folders, is_project=is_project)
    if database is not None:
        runs.check_tracked_by(database)
        return database
    if is_tracked or samples:
        _warn_of_databases(place, beside.others)
        if is_tracked or any(sample.is_tracked for sample in samples):
            return _open_files(folders, source, index)
        return _open_artifacts(folders, source)
    outputs = _find_outputs_alone(folders, source, index) if is_of_mlflow else None
    if outputs is not None:
        return outputs
    if folders.default_meta is None:
        database = inside.get_without_runs() or beside.related.get_without_runs()
        if database is not None:
            _check_no_runs_in_mlruns(folders, database)
            return database
        _check_no_remote_database(folders)
        _check_not_elsewhere(folders, source)
        _check_no_files(folders, source)
    return FileStore(place, source, folders, index)


def _open_files(folders: ExperimentFolders, source: Source, index: Index) -> FileStore:
    """Return the file store in a directory."""
    for database in _list_remote_databases(folders):
        _warn_of_remote_database(database)
    return FileStore(folders.place, source, folders, index)


def _open_artifacts(folders: ExperimentFolders, source: Source) -> ArtifactsStore:
    """Return the store of artifacts alone in a directory. Log what it cannot know.

    Raises:
        OptionError: If there may be a database on remote storage, unless ``layout`` is given.
    """
    if source.layout is None:
        _check_no_remote_database(
            folders, ", or set layout='mlflow' to read the artifacts without it"
        )
    logger.warning(
        "%s has artifacts alone: the status, times and metrics of its runs are unknown, and runs "
        "that were deleted in MLflow are included; to know these, give the database or the "
        "tracking_uri of MLflow",
        folders.place.url,
    )
    return ArtifactsStore(folders.place)


def _find_outputs_alone(
    folders: ExperimentFolders, source: Source, index: Index
) -> HydraStore | None:
    """Return the store of Hydra's output directories where nothing of MLflow is, None if none are.

    Raises:
        OptionError: If there is a database of MLflow on remote storage.
    """
    place = folders.place
    if source.layout is not None or place.join("mlruns") in folders.metas:
        return None
    outputs = _find_outputs(place, folders.entries)
    if not outputs.is_of_hydra:
        return None
    databases = _list_remote_databases(folders)
    if any(database.name == DATABASE_FILE for database in databases):
        _check_no_remote_database(
            folders, ", or set layout='hydra' to read the output directories of Hydra"
        )
    for database in databases:  # such as one of a sweeper
        _warn_of_remote_database(database)
    _warn_of_databases_beside_outputs(place)
    return HydraStore(place, outputs, index)


def _list_remote_databases(folders: ExperimentFolders) -> list[Place]:
    """Return the files that are named like databases, but cannot be opened."""
    if isinstance(folders.place.storage, LocalStorage):
        return []
    names = [entry.name for entry in folders.entries if not entry.is_dir]
    found = sorted(filter(has_database_suffix, names), key=lambda name: name != DATABASE_FILE)
    return [folders.place.join(name) for name in found]


def _check_no_remote_database(folders: ExperimentFolders, otherwise: str = "") -> None:
    """Raise OptionError if there may be a database that cannot be opened."""
    databases = _list_remote_databases(folders)
    if databases:
        root = folders.place
        if root.join("mlruns") in folders.metas:
            root = root.join("mlruns")
            otherwise = f", or give {root.url} to read what is there without it"
        raise _make_remote_error(databases[0], root, otherwise)


def _warn_of_remote_database(database: Place) -> None:
    logger.warning("%s is not read: SQLite databases must be local", database.url)


def _warn_of_databases(place: Place, databases: Databases, advice: str = "") -> None:
    """Log that the databases beside a directory do not count for it."""
    stores = databases.with_runs
    if stores:
        logger.warning(
            "%s: the database %s beside it is not read, because it has none of its runs; to read "
            "the database, give it as tracking_dir%s",
            place.url,
            " and ".join(store.where for store in stores[:_MAX_SHOWN]),
            advice,
        )


def _warn_of_databases_beside_outputs(place: Place) -> None:
    """Log that there are databases, except beside a directory that Hydra created by default."""
    local = get_local_path(place)
    if local is None or find_output_id(place) is not None:
        return
    try:
        found = find_databases(os.path.dirname(local))
    except KedroHydraflowError:
        return
    _warn_of_databases(place, found, ", or set layout='hydra' if this is right")


def _list_tracking_dir(place: Place, source: Source) -> list[Entry]:
    try:
        return place.list()
    except StorageError as exc:
        suggestion = source.suggest()
        if not suggestion:
            raise
        raise type(exc)(f"{exc}{suggestion}") from exc


def _sample_runs(folders: ExperimentFolders) -> list[RunSample]:
    """Return a few runs of each folder in which `ArtifactsStore` finds any.

    Elsewhere than on a disk, they are those of the first such folder.
    """
    samples = iter_run_samples(folders.place, folders.entries)
    is_local = isinstance(folders.place.storage, LocalStorage)
    return list(samples if is_local else islice(samples, 1))


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
        TrackingDirectoryError: If the directory is not empty, but has none of Hydra.
    """
    outputs = _find_outputs(place, entries)
    found = _get_directories(entries) or _get_files(entries)
    if found and not outputs.is_of_hydra and not outputs.failures:
        raise TrackingDirectoryError(
            f"{place.url} has no output directories of Hydra: expected {CONFIG_FILE} in "
            f"directories up to {MAX_DEPTH} levels below it, found {show_names(found)}"
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


def _warn_of_outputs(folders: ExperimentFolders, *, is_project: bool) -> None:
    """Log that directories which Hydra created, or may have created, are not searched."""
    outputs = _list_outputs(folders, is_project=is_project)
    if outputs:
        logger.warning(
            "%s: read as a tracking directory of MLflow, without %s, where Hydra may have left "
            "output directories; set layout='hydra' to read these instead, or layout='mlflow' if "
            "this is right",
            folders.place.url,
            show_names(outputs),
        )


def _list_outputs(folders: ExperimentFolders, *, is_project: bool) -> list[str]:
    """Return the directories beside those of MLflow that Hydra created, or creates by default.

    Args:
        folders: The tracking directory.
        is_project: Whether it is the directory of a project with a database, which may be large.
            Only directories with Hydra's default names are looked for in it.
    """
    place = folders.place
    outputs = [name for name in _get_directories(folders.entries) if name in HYDRA_FOLDERS]
    is_sweep = any(entry.name == SWEEP_FILE for entry in folders.entries)
    if place.storage.is_remote or (is_project and not is_sweep):
        return outputs
    known = {folder.name for folder, meta in folders.metas.items() if meta is not None}
    if folders.default_meta is not None:
        known.add(DEFAULT_EXPERIMENT_ID)
    unknown = [
        entry
        for entry in folders.entries
        if entry.is_dir
        and entry.name not in {*known, *HYDRA_FOLDERS, MODELS_FOLDER}
        and (is_sweep or not entry.name.isdecimal())
        and not is_run_id(entry.name)
    ]
    try:
        found = find_run_folders(place, unknown).folders
    except TrackingDirectoryError:
        return outputs  # too many others to look further
    paths = [f"{some.relative}/{name}".lstrip("/") for some in found for name in some.names]
    return [*outputs, *dict.fromkeys(path.partition("/")[0] for path in paths)]


def _get_directories(entries: Sequence[Entry]) -> list[str]:
    return [entry.name for entry in entries if entry.is_dir]


def _get_files(entries: Sequence[Entry]) -> list[str]:
    """Return the names of files, without hidden ones and broken links."""
    return [e.name for e in entries if not (e.is_dir or e.is_broken or e.name.startswith("."))]


def _check_is_file_store(folders: ExperimentFolders) -> None:
    """Raise TrackingDirectoryError if the directory of a tracking URI is something else."""
    place = folders.place
    _check_not_inside(folders)
    if folders.has_experiments or folders.default_meta is not None or _has_numbered(folders):
        return
    hidden = {entry.name for entry in folders.entries if entry.name.startswith(".")}
    names = [e.name for e in folders.entries if e.name not in hidden | NOT_EXPERIMENTS]
    if names:
        raise TrackingDirectoryError(
            f"{place.url} is not a file store of MLflow: expected <experiment_id>/{META_FILE} in "
            f"it, found {show_names(names)}; {_advise_instead(folders)}"
        )


def _has_numbered(folders: ExperimentFolders) -> bool:
    """Whether there are numbered directories, which may be experiments, but no jobs of Hydra."""
    names = [name for name in _get_directories(folders.entries) if name.isdecimal()]
    listings = list_places([folders.place.join(name) for name in names])
    inner = [entry.name for some in listings if isinstance(some, list) for entry in some]
    return bool(names) and HYDRA_FOLDER not in inner


def _advise_instead(folders: ExperimentFolders) -> str:
    """Return what to give instead of a tracking URI that is not the directory of a file store."""
    place = folders.place
    if place.join("mlruns") in folders.metas:
        return f"give {place.join('mlruns').url}"
    try:
        inside = find_inside(place)
    except KedroHydraflowError:
        inside = NO_DATABASES
    for database in (*inside.with_runs, *inside.without_runs):
        return f"give sqlite:///{database.where}"
    return "if it has artifacts alone, or output directories of Hydra, give it as tracking_dir"


def _check_not_inside(folders: ExperimentFolders) -> None:
    """Raise TrackingDirectoryError if the directory is an experiment or a run."""
    place = folders.place
    metas = [meta for meta in folders.metas.values() if isinstance(meta, dict)]
    if isinstance(folders.default_meta, dict):
        metas.append(folders.default_meta)
    if any(map(is_experiment_meta, metas)):
        return  # a `meta.yaml` in it, if there is one, is a stray
    has_runs = any(map(has_run_id, metas))
    if any(entry.name == META_FILE for entry in folders.entries):
        (meta,) = read_metas([place])
        if isinstance(meta, StorageError):
            raise meta
        is_inside = isinstance(meta, dict) and (has_run_id(meta) or is_experiment_meta(meta))
        if (meta is not None and has_runs) or (is_inside and not _has_numbered_runs(folders)):
            raise TrackingDirectoryError(
                f"{place.url} has a {META_FILE}, so it is an experiment or a run, not a "
                "tracking directory; give the tracking directory above it"
            )
    if has_runs:
        raise TrackingDirectoryError(
            f"{place.url} has runs in it, so it is an experiment without a {META_FILE}, not a "
            "tracking directory; give the tracking directory above it"
        )


def _has_numbered_runs(folders: ExperimentFolders) -> bool:
    """Whether runs are in numbered directories, as in a tracking directory alone."""
    numbered = [entry for entry in folders.entries if entry.name.isdecimal()]
    return any(sample.runs for sample in iter_run_samples(folders.place, numbered))


def _check_not_elsewhere(folders: ExperimentFolders, source: Source) -> None:
    """Raise TrackingDirectoryError if the directory has subdirectories, but no experiments."""
    place = folders.place
    names = [folder.name for folder in folders.metas]
    if "mlruns" in names:
        outputs = [name for name in names if name in HYDRA_FOLDERS]
        beside = f", beside {show_names(outputs)}, which layout='hydra' reads" if outputs else ""
        raise TrackingDirectoryError(
            f"{place.url} has no experiments, but a directory 'mlruns'{beside}; "
            f"give {place.join('mlruns').url}"
        )
    others = [name for name in names if not name.startswith(".")]
    if others:
        raise _make_foreign_error(place, f"directories {show_names(others)}", source)


def _check_no_runs_in_mlruns(folders: ExperimentFolders, database: SqliteStore) -> None:
    """Raise TrackingDirectoryError if a database has no runs, but ``mlruns`` beside it has."""
    mlruns = folders.place.join("mlruns")
    if mlruns in folders.metas and _sample_runs(ExperimentFolders(mlruns)):
        raise TrackingDirectoryError(
            f"{folders.place.url} has a database without runs, {database.where}, and runs in "
            f"{mlruns.url}; give that"
        )


def _check_no_files(folders: ExperimentFolders, source: Source) -> None:
    """Raise TrackingDirectoryError if the directory has files, but nothing of MLflow.

    MLflow's database may be an empty file yet.
    """
    files = [name for name in _get_files(folders.entries) if name != DATABASE_FILE]
    if files and NOT_EXPERIMENTS.isdisjoint(_get_directories(folders.entries)):
        raise _make_foreign_error(folders.place, f"files {show_names(files)}", source)


def _make_foreign_error(place: Place, found: str, source: Source) -> TrackingDirectoryError:
    of_hydra, advice = f", or directories with {CONFIG_FILE} in it", ""
    if source.layout == "mlflow":
        of_hydra = ""
        advice = ". With layout='mlflow', output directories of Hydra are not looked for"
    expected = (
        f"<experiment_id>/{META_FILE} or <experiment_id>/<run_id>/artifacts in it, "
        f"{DATABASE_FILE} beside it{of_hydra}"
    )
    return TrackingDirectoryError(
        f"{place.url} is not a tracking directory: expected {expected}; found the {found}{advice}"
    )
