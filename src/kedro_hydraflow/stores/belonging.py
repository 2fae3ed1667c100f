"""Which database tracks the runs of a directory, and whether it has all of them.

MLflow creates its database beside ``mlruns``, but other directories lie beside it, too. So a
database beside a directory counts if they have a run in common. If the directory has no runs, as
when all artifacts are elsewhere, it counts for a directory with one of the names that MLflow uses.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from itertools import compress
from typing import TYPE_CHECKING, NamedTuple

from kedro_hydraflow.errors import NotFoundError, StorageError, TrackingDirectoryError
from kedro_hydraflow.logs import get_logger
from kedro_hydraflow.storage import Place, get_local_path, list_places
from kedro_hydraflow.stores.artifacts_store import WORKSPACES_FOLDER
from kedro_hydraflow.stores.databases import NO_DATABASES, Databases, find_databases
from kedro_hydraflow.stores.file_store import ExperimentFolders
from kedro_hydraflow.stores.meta_file import is_run_meta, read_metas
from kedro_hydraflow.stores.record import MLFLOW_FOLDERS, is_run_id
from kedro_hydraflow.stores.run_folder import have_artifacts

if TYPE_CHECKING:
    from kedro_hydraflow.source import Source
    from kedro_hydraflow.stores.sqlite_store import SqliteStore

logger = get_logger(__name__)


@dataclass(frozen=True)
class Neighbors:
    """The databases beside a tracking directory."""

    related: Databases = NO_DATABASES
    """Those that track its runs."""

    others: Databases = NO_DATABASES


def find_inside(place: Place, source: Source | None = None) -> Databases:
    """Return the databases in a directory; none on remote storage."""
    local = get_local_path(place)
    return NO_DATABASES if local is None else find_databases(local, source, local)


def find_beside(runs: RunFolders, source: Source | None = None) -> Neighbors:
    """Return the databases beside a tracking directory; none on remote storage."""
    local = get_local_path(runs.place)
    above = local and os.path.dirname(local)
    if not above or above == local:
        return Neighbors()
    found = find_databases(above, source, local)
    related = [store for store in found.with_runs if runs.belong_to(store)]
    others = [store for store in found.with_runs if store not in related]
    empty = [store for store in found.without_runs if runs.belong_to(store)]
    return Neighbors(Databases(above, related, empty), Databases(above, others))


class _Experiment(NamedTuple):
    """A directory in which the directories of runs may be."""

    place: Place
    names: list[str]
    """The names of the directories in it."""

    root: Place
    """The tracking directory."""


class RunFolders:
    """The directories of runs in a tracking directory, and in ``mlruns`` in it.

    They are listed on first use.

    Args:
        folders: The content of the tracking directory.
    """

    def __init__(self, folders: ExperimentFolders) -> None:
        self.place = folders.place
        self._folders = folders
        self._listed: list[_Experiment] | None = None
        self._known: dict[str, dict[str, str]] = {}
        """The results of `SqliteStore.list_run_ids`, by the path of the database."""

    def belong_to(self, database: SqliteStore) -> bool:
        """Whether a database tracks the runs: it has one of them, or else the directory's name.

        Raises:
            StorageError: If the directory of an experiment cannot be listed.
        """
        known = self._get_known(database)
        names = {name for experiment in self._list(database) for name in experiment.names}
        names.update(self._direct)
        if not names.isdisjoint(known):
            return True
        name = os.path.basename(get_local_path(self.place) or "")
        return not any(map(is_run_id, names)) and _is_tracked_at(name, database)

    def check_tracked_by(self, database: SqliteStore) -> None:
        """Raise TrackingDirectoryError unless a database has all runs of the file store.

        Other directories of runs that it lacks are logged.

        Raises:
            TrackingDirectoryError: If it lacks some, or if the directory is that of an experiment.
            StorageError: If the directory of an experiment cannot be listed.
        """
        known = self._get_known(database)
        self._check_not_of_experiment(database, known)
        experiments = self._list(database)
        unknown = [
            (experiment, experiment.place.join(name))
            for experiment in experiments
            for name in experiment.names
            if name not in known
        ]
        untracked = [self.place.join(name) for name in self._direct if name not in known]
        metas = read_metas([place for _, place in unknown])
        only_here = []
        for (experiment, place), meta in zip(unknown, metas, strict=True):
            if isinstance(meta, Exception) or (meta is not None and is_run_meta(meta)):
                only_here.append((experiment.root, place))
            elif is_run_id(place.name):
                untracked.append(place)
        if only_here:
            root, first = only_here[0]
            raise TrackingDirectoryError(
                f"cannot choose between the file store {root.url} and the database "
                f"{database.where}: the database lacks {first.url}"
                f"{' and others' if len(only_here) > 1 else ''}. {_advise_choice(database, root)}"
            )
        untracked = list(compress(untracked, have_artifacts(untracked)))
        if untracked:
            logger.warning(
                "%s: %d run directories are left out, because the database %s does not have the "
                "runs, such as %s",
                self.place.url,
                len(untracked),
                database.where,
                untracked[0].url,
            )

    def _check_not_of_experiment(self, database: SqliteStore, known: dict[str, str]) -> None:
        """Raise TrackingDirectoryError if a database beside the directory has other experiments."""
        here = {known[name] for name in self._direct if name in known}
        is_inside = os.path.dirname(database.where) == get_local_path(self.place)
        if here and not is_inside and not here.issuperset(known.values()):
            raise TrackingDirectoryError(
                f"{self.place.url} has runs in it, so it is an experiment, not a tracking "
                f"directory: the database {database.where} has others, too; give the database, "
                "and the name of the experiment as experiment_names"
            )

    def _get_known(self, database: SqliteStore) -> dict[str, str]:
        if database.where not in self._known:
            self._known[database.where] = database.list_run_ids()
        return self._known[database.where]

    @cached_property
    def _direct(self) -> list[str]:
        """The names of the directories of runs that are in the tracking directory itself."""
        return [e.name for e in self._folders.entries if e.is_dir and is_run_id(e.name)]

    def _list(self, database: SqliteStore) -> list[_Experiment]:
        """Return the experiments. The database is named if one of them cannot be listed."""
        if self._listed is None:
            inner = self.place.join("mlruns")
            roots = [self._folders]
            if inner in self._folders.metas:
                roots.append(ExperimentFolders(inner))
            self._listed = [found for root in roots for found in _list_in(root, database)]
        return self._listed


def _list_in(folders: ExperimentFolders, database: SqliteStore) -> list[_Experiment]:
    root = folders.place
    places = [
        place for place, meta in folders.metas.items() if meta is not None or place.name.isdecimal()
    ]
    if folders.default is not None:
        places.append(folders.default)
    places += _list_in_workspaces(folders)
    listed = []
    for place, entries in zip(places, list_places(places), strict=True):
        if isinstance(entries, NotFoundError):
            continue  # removed in the meantime
        if isinstance(entries, StorageError):
            raise StorageError(
                f"cannot tell whether the database {database.where} has all runs of the file "
                f"store {root.url}: {entries}. {_advise_choice(database, root)}"
            ) from entries
        listed.append(_Experiment(place, [e.name for e in entries if e.is_dir], root))
    return listed


def _list_in_workspaces(folders: ExperimentFolders) -> list[Place]:
    """Return the directories of experiments in workspaces, which are numbered."""
    workspaces = folders.place.join(WORKSPACES_FOLDER)
    if workspaces not in folders.metas:
        return []
    return [
        inner
        for workspace in _list_directories(workspaces)
        for inner in _list_directories(workspace)
        if inner.name.isdecimal()
    ]


def _list_directories(place: Place) -> list[Place]:
    return [place.join(entry.name) for entry in place.list() if entry.is_dir]


def _advise_choice(database: SqliteStore, root: Place) -> str:
    return (
        f"Give {database.where} to read the database, or {root.url} as tracking_uri to read the "
        "file store"
    )


def _is_tracked_at(name: str, database: SqliteStore) -> bool:
    """Whether MLflow, or an experiment of the database, has a directory of this name for runs."""
    return name in MLFLOW_FOLDERS or any(
        name == _get_root_name(*experiment) for experiment in database.list_locations()
    )


def _get_root_name(experiment_id: str, location: str) -> str:
    """Return the name of the directory with the experiment, or with its runs, in a location."""
    parts = location.replace("\\", "/").rstrip("/").split("/")
    is_usual = len(parts) > 1 and parts[-1] == experiment_id
    return parts[-2] if is_usual else parts[-1]
