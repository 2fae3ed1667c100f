"""Finding the output directories of Hydra: those that hold ``.hydra/config.yaml``.

Hydra creates ``outputs/<date>/<time>`` for a single run, and ``multirun/<date>/<time>/<number>``
for each job of a sweep, whose directory holds ``multirun.yaml``. The options ``hydra.run.dir``,
``hydra.sweep.dir`` and ``hydra.sweep.subdir`` change these paths to any others, of any depth.

So directories are searched level by level. These are not searched: what is in a run directory,
hidden directories, MLflow's directories, Python environments, and symbolic links to what is
searched anyway.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from kedro_hydraflow.errors import (
    Failure,
    KedroHydraflowError,
    NotARunError,
    NotFoundError,
    StorageError,
    TrackingDirectoryError,
)
from kedro_hydraflow.logs import get_logger
from kedro_hydraflow.storage import LocalStorage, Place, list_places, read_parsed_in
from kedro_hydraflow.stores.base import CONFIG_FILE, HYDRA_FOLDER, SWEEP_FILE
from kedro_hydraflow.stores.meta_file import META_FILE
from kedro_hydraflow.stores.record import MLFLOW_FOLDERS, is_run_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from kedro_hydraflow.storage import Entry

logger = get_logger(__name__)

MAX_DEPTH = 12
"""How many levels below the root are searched. Hydra's defaults have four below a project."""

MAX_FOLDERS = 100_000
"""The maximum number of directories that are listed, besides run directories."""

MAX_FRUITLESS = 2_000
"""The maximum number of directories that are listed before a run or a sweep is found."""

_BATCH_SIZE = 512
"""The number of directories listed at a time, to limit the memory for their listings."""

_MAX_DIGITS = 18
"""The maximum length of a name that is sorted as a number."""

_MAX_SHOWN = 10
"""The maximum number of entries shown in an error."""

_OF_MLFLOW = "artifacts"
"""The directory of an MLflow run's artifacts, with Hydra's files if HydraFlow logged them."""

_NOT_SEARCHED = MLFLOW_FOLDERS | {"__pycache__", "node_modules", "site-packages"}

_ENVIRONMENT_MARKS = frozenset({"pyvenv.cfg", "conda-meta"})
"""Entries of a Python environment."""

_NUMBERED = re.compile(
    rb"^  sweep:[ \t]*\r?\n(?:    .*\n)*?    subdir: ['\"]?\$\{hydra[.:]job\.num\}['\"]?[ \t]*\r?$",
    re.MULTILINE,
)
"""Matches a `SWEEP_FILE` whose jobs have directories named by their numbers, as by default."""


_MAX_READ = 2**20
"""The maximum number of bytes searched for it: each line takes memory meanwhile."""


def _is_numbered(content: bytes) -> bool:
    """Whether the jobs of the sweep with this `SWEEP_FILE` are named by their numbers."""
    return _NUMBERED.search(content, 0, _MAX_READ) is not None


@dataclass(frozen=True)
class RunFolders:
    """The run directories in one directory."""

    place: Place
    """The directory that they are in."""

    relative: str
    """Its path relative to the root, with ``/``; empty for the root."""

    names: list[str]
    """Sorted in natural order, see `natural_key`."""

    sweep: Place | None
    """The directory of the sweep that they belong to; None for single runs."""


@dataclass(frozen=True)
class OutputTree:
    """The run directories below a root."""

    folders: list[RunFolders]
    n_sweeps: int
    strays: list[NotARunError]
    """Directories in a sweep that are named like jobs, but are not run directories."""

    failures: list[Failure]

    @property
    def is_of_hydra(self) -> bool:
        """Whether there is a run or a sweep."""
        return bool(self.folders) or self.n_sweeps > 0


def find_run_folders(root: Place, entries: Sequence[Entry] | None = None) -> OutputTree:
    """Return the run directories below a directory, which is not looked at as one itself.

    A job directory of a sweep on remote storage is not looked into if Hydra numbered it.

    Args:
        root: The directory.
        entries: Its entries, if they have been listed.

    Raises:
        NotFoundError: If there is no such directory.
        StorageError: If it cannot be listed.
        TrackingDirectoryError: If there are too many directories to search.
    """
    return _Search(root).run(root.list() if entries is None else entries)


def may_be_run(place: Place, entries: Sequence[Entry]) -> bool:
    """Whether a directory with these entries may have ``.hydra``, which web servers do not list.

    They list no validators of files either.
    """
    if any(entry.name == HYDRA_FOLDER and entry.is_dir for entry in entries):
        return True
    return place.storage.is_remote and all(entry.validator is None for entry in entries)


def natural_key(name: str) -> tuple[int, int, str]:
    """Return the key that sorts numbers by value, and before other names."""
    is_number = name.isdecimal() and len(name) <= _MAX_DIGITS
    return (0, int(name), name) if is_number else (1, 0, name)


class _Folder(NamedTuple):
    """A directory to be searched."""

    parent: Place
    parent_relative: str
    name: str
    """Empty for the root."""

    depth: int
    real: str
    """The path without symbolic links, if it is local."""

    sweep: Place | None = None
    is_job: bool = False
    """Whether it is named like a job, by a number, and in the directory of a sweep."""

    @property
    def place(self) -> Place:
        return self.parent.join(self.name) if self.name else self.parent

    @property
    def relative(self) -> str:
        return "/".join(filter(None, (self.parent_relative, self.name)))


class _Search:
    """One search, level by level. Symbolic links are followed at the end."""

    def __init__(self, root: Place) -> None:
        self._root = root
        self._is_local = isinstance(root.storage, LocalStorage)
        self._links: list[_Folder] = []
        self._visited: set[str] = set()
        """The real paths of the directories that were searched, and of runs."""
        self._real_runs: set[str] = set()
        self._runs: dict[str, tuple[_Folder, list[str]]] = {}
        """By the path of the directory that they are in: one of them, and the names of all."""
        self._n_listed = 0
        self._n_sweeps = 0
        self._too_deep: _Folder | None = None
        self._strays: dict[str, NotARunError] = {}
        """Jobs without a run, by path. There may be runs below them."""
        self._failures: list[Failure] = []

    def run(self, entries: Sequence[Entry]) -> OutputTree:
        identity = self._root.storage.get_identity(self._root.path)
        real = os.path.realpath(identity) if self._is_local else ""
        self._visited.add(real)
        self._search_levels(self._search_listed([(_Folder(self._root, "", "", 0, real), entries)]))
        while self._links:
            links, self._links = self._links, []
            for link in links:
                self._search_levels(self._follow(link))
        if self._too_deep is not None:
            logger.warning(
                "%s: directories more than %d levels down are not searched for runs of Hydra, "
                "such as %s; give a directory further down to search them",
                self._root.url,
                MAX_DEPTH,
                self._too_deep.place.url,
            )
        folders = list(self._make_folders())
        return OutputTree(folders, self._n_sweeps, self._list_strays(), self._failures)

    def _follow(self, link: _Folder) -> Iterator[_Folder]:
        """Yield a directory that a symbolic link leads to, unless it is searched anyway."""
        target = os.path.realpath(link.place.storage.get_identity(link.place.path))
        is_cycle = f"{link.real}{os.sep}".startswith(f"{target.rstrip(os.sep)}{os.sep}")
        is_in_run = not self._real_runs.isdisjoint(_iter_parents(target))
        if not is_cycle and not is_in_run:
            yield link._replace(real=target)

    def _search_levels(self, folders: Iterable[_Folder]) -> None:
        level = list(folders)
        while level:
            level = [inner for some in _cut(level) for inner in self._search(some)]

    def _search(self, folders: Sequence[_Folder]) -> Iterator[_Folder]:
        """Note which directories are those of runs, and yield the directories in the others."""
        others = self._find_others(list(self._leave_out_visited(folders)))
        places = [folder.place for folder in others]
        listed = []
        for folder, place, entries in zip(others, places, list_places(places), strict=True):
            if isinstance(entries, NotFoundError):
                continue  # removed in the meantime
            if isinstance(entries, StorageError):
                self._failures.append(Failure(place.url, entries))
            elif any(entry.name == HYDRA_FOLDER and entry.is_dir for entry in entries):
                self._add_run(folder)
            else:
                listed.append((folder, entries))
        listed = self._leave_out_hidden_runs(listed)
        self._n_listed += len(listed)
        self._check_limits()
        return self._search_listed(listed)

    def _leave_out_visited(self, folders: Sequence[_Folder]) -> Iterator[_Folder]:
        """Yield the directories that were not reached before, and that are not too deep."""
        for folder in folders:
            if folder.depth > MAX_DEPTH:
                self._too_deep = self._too_deep or folder
            elif folder.real not in self._visited or not self._is_local:
                self._visited.add(folder.real)
                yield folder

    def _find_others(self, folders: Sequence[_Folder]) -> list[_Folder]:
        """Note local runs, and return the other directories. On remote storage, return all."""
        if not self._is_local:
            return list(folders)
        others = []
        storage = self._root.storage
        paths = [storage.sep.join((f.parent.path, f.name, HYDRA_FOLDER)) for f in folders]
        found = storage.are_dirs(paths)  # takes less than to list them
        for folder, is_run in zip(folders, found, strict=True):
            if is_run is True:  # listing the others reports errors
                self._add_run(folder)
            else:
                others.append(folder)
        return others

    def _leave_out_hidden_runs(
        self, listed: list[tuple[_Folder, list[Entry]]]
    ) -> list[tuple[_Folder, list[Entry]]]:
        """Note runs whose ``.hydra`` is not listed, and return the other directories."""
        unclear = [i for i, (f, entries) in enumerate(listed) if may_be_run(f.parent, entries)]
        places = [listed[i][0].place for i in unclear]
        found = read_parsed_in(places, CONFIG_FILE, lambda _: True).values
        runs = set()
        for i, place, is_run in zip(unclear, places, found, strict=True):
            if isinstance(is_run, KedroHydraflowError):
                self._failures.append(Failure(place.url, is_run))
            elif is_run:
                self._add_run(listed[i][0])
                runs.add(i)
        return [pair for i, pair in enumerate(listed) if i not in runs]

    def _search_listed(
        self, listed: Sequence[tuple[_Folder, Sequence[Entry]]]
    ) -> Iterator[_Folder]:
        """Yield the directories to be searched in directories that are not those of runs."""
        sweeps = [
            any(entry.name == SWEEP_FILE and not entry.is_dir for entry in entries)
            for _, entries in listed
        ]
        pairs = zip(listed, sweeps, strict=True)
        numbered = self._find_numbered([folder for (folder, _), is_sweep in pairs if is_sweep])
        for (folder, entries), is_sweep in zip(listed, sweeps, strict=True):
            if folder.is_job and not is_sweep:
                self._strays[folder.place.path] = make_stray_error(folder.place, entries)
            if not _is_foreign(folder, entries):
                yield from self._search_entries(
                    folder, entries, is_sweep=is_sweep, is_numbered=folder in numbered
                )

    def _find_numbered(self, sweeps: Sequence[_Folder]) -> set[_Folder]:
        """Return the sweeps on remote storage in which each number is the directory of a job."""
        self._n_sweeps += len(sweeps)
        if self._is_local:
            return set()
        places = [sweep.place for sweep in sweeps]
        found = read_parsed_in(places, SWEEP_FILE, _is_numbered)
        return {sweep for sweep, is_n in zip(sweeps, found.values, strict=True) if is_n is True}

    def _search_entries(
        self, folder: _Folder, entries: Sequence[Entry], *, is_sweep: bool, is_numbered: bool
    ) -> Iterator[_Folder]:
        place, relative = folder.place, folder.relative
        sweep = place if is_sweep else folder.sweep
        for entry in entries:
            if entry.is_broken and not _is_left_out(entry.name):
                self._report_broken_link(place.join(entry.name), in_sweep=is_sweep)
            if not entry.is_dir or _is_left_out(entry.name):
                continue
            is_job = is_sweep and entry.name.isdecimal()
            real = f"{folder.real}{os.sep}{entry.name}" if self._is_local else ""
            inner = _Folder(place, relative, entry.name, folder.depth + 1, real, sweep, is_job)
            if entry.is_link:
                self._links.append(inner)
            elif is_job and is_numbered:
                self._add_run(inner)
            else:
                yield inner

    def _report_broken_link(self, place: Place, *, in_sweep: bool) -> None:
        if in_sweep:  # it stood for a job
            self._failures.append(Failure(place.url, StorageError("broken symbolic link")))
        else:
            logger.warning("skipped %s: broken symbolic link", place.url)

    def _add_run(self, folder: _Folder) -> None:
        if folder.name == _OF_MLFLOW:
            logger.warning(
                "skipped %s: a directory of that name holds the artifacts of an MLflow run",
                folder.place.url,
            )
            return
        self._real_runs.add(folder.real)
        self._runs.setdefault(folder.parent.path, (folder, []))[1].append(folder.name)

    def _check_limits(self) -> None:
        """Raise TrackingDirectoryError if too many directories were listed that are not runs."""
        is_fruitless = not self._runs and not self._n_sweeps
        if self._n_listed > (MAX_FRUITLESS if is_fruitless else MAX_FOLDERS):
            n_runs = sum(len(names) for _, names in self._runs.values())
            raise TrackingDirectoryError(
                f"{self._root.url} has too many directories to search for Hydra's output "
                f"directories, those with {CONFIG_FILE}: found {n_runs or 'none'} beside "
                f"{self._n_listed:,} other directories; give a directory further down"
            )

    def _make_folders(self) -> Iterator[RunFolders]:
        for first, names in self._runs.values():
            names.sort(key=natural_key)
            yield RunFolders(first.parent, first.parent_relative, names, first.sweep)

    def _list_strays(self) -> list[NotARunError]:
        """Return the strays, except for directories that have runs below them."""
        above = set()
        for first, _ in self._runs.values() if self._strays else ():
            place = first.parent
            while place.path not in above and place != self._root:
                above.add(place.path)
                place = place.parent
        return [error for path, error in self._strays.items() if path not in above]


def _iter_parents(path: str) -> Iterator[str]:
    while (parent := os.path.dirname(path)) != path:
        yield parent
        path = parent


def _is_left_out(name: str) -> bool:
    """Whether a directory is not searched because of its name."""
    return name.startswith(".") or name in _NOT_SEARCHED


def _is_foreign(folder: _Folder, entries: Sequence[Entry]) -> bool:
    """Whether a directory is an experiment or a run of MLflow, or a Python environment."""
    names = {entry.name for entry in entries}
    if not _ENVIRONMENT_MARKS.isdisjoint(names):
        return True
    if _OF_MLFLOW in names:
        return META_FILE in names or is_run_id(folder.name)
    return META_FILE in names and (folder.name.isdecimal() or any(map(is_run_id, names)))


def make_stray_error(place: Place, entries: Iterable[Entry]) -> NotARunError:
    """Return the error for a directory that is not a run directory of Hydra."""
    names = [entry.name for entry in entries]
    if HYDRA_FOLDER in names:
        return NotARunError(
            f"{place.url} is not a run directory: it has {HYDRA_FOLDER}, but no {CONFIG_FILE}"
        )
    shown = ", ".join(names[:_MAX_SHOWN])
    return NotARunError(
        f"{place.url} is not a run directory: expected {CONFIG_FILE}, found {shown or 'nothing'}"
    )


def _cut(folders: Sequence[_Folder]) -> Iterator[Sequence[_Folder]]:
    for start in range(0, len(folders), _BATCH_SIZE):
        yield folders[start : start + _BATCH_SIZE]
