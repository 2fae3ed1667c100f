"""Recognising run directories and the artifacts in them.

A run directory holds ``artifacts``, or the ``meta.yaml`` of a run. One that is named by a run ID
may hold only metrics, params or tags: Git, for example, keeps no empty folders.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from kedro_hydraflow.errors import (
    KedroHydraflowError,
    NotARunError,
    NotFoundError,
    RunNotFoundError,
    StorageError,
)
from kedro_hydraflow.storage import Entry, LocalStorage, Place, list_places
from kedro_hydraflow.stores.base import CONFIG_FILE, HYDRA_FOLDER, SWEEP_FILE
from kedro_hydraflow.stores.logged_file import is_apple_double, is_foreign_name
from kedro_hydraflow.stores.meta_file import (
    META_FILE,
    is_run_meta,
    read_metas,
)
from kedro_hydraflow.stores.record import HYDRA_FOLDERS, LOGGED_KINDS, is_run_id

if TYPE_CHECKING:
    from collections.abc import Sequence

_ADVICE = (
    "To load all runs, pass the directory above them to iter_run_dirs, and the result to Run.load"
)

_OF_HYDRA = frozenset({SWEEP_FILE, *HYDRA_FOLDERS})
"""Names of what is above output directories of Hydra."""

_MAX_SHOWN = 10
"""The maximum number of entries shown in an error."""


class RunFolder(NamedTuple):
    """What a directory is."""

    error: KedroHydraflowError | None
    """Why it is not a run directory, None for a run directory.

    RunNotFoundError if it does not exist. NotARunError if it is not a run directory. StorageError
    or MetadataError if its entries or its ``meta.yaml`` cannot be read."""

    has_lost_meta: bool = False
    """Whether a file store wrote the run, and its ``meta.yaml`` is lost."""


def get_folder_errors(places: Sequence[Place]) -> list[KedroHydraflowError | None]:
    """Return an error for each directory that is not a run directory: that of `RunFolder`."""
    return [folder.error for folder in inspect_folders(places)]


def inspect_folders(places: Sequence[Place]) -> list[RunFolder]:
    """Return what each directory is. A ``meta.yaml`` is only read if nothing else shows it."""
    folders: list[RunFolder] = []
    unsure = []
    for i, (place, entries) in enumerate(zip(places, list_places(places), strict=True)):
        if isinstance(entries, NotFoundError):
            folders.append(RunFolder(make_absent_error(place)))
        elif isinstance(entries, StorageError):
            folders.append(RunFolder(entries))
        else:
            folder = _inspect(place, entries)
            folders.append(folder)
            if folder.error is not None and any(entry.name == META_FILE for entry in entries):
                unsure.append(i)
    metas = read_metas([places[i] for i in unsure])
    for i, meta in zip(unsure, metas, strict=True):
        if isinstance(meta, KedroHydraflowError):
            folders[i] = RunFolder(meta)
        elif meta is not None and is_run_meta(meta):
            folders[i] = RunFolder(None)
    return folders


_RUN = RunFolder(None)


def _inspect(place: Place, entries: Sequence[Entry]) -> RunFolder:
    """Return what a directory is by its entries."""
    names = {entry.name for entry in entries if entry.is_dir}
    has_meta = any(entry.name == META_FILE for entry in entries)
    if has_meta and "artifacts" in names:
        return _RUN
    if is_run_id(place.name) and not names.isdisjoint(LOGGED_KINDS):
        return RunFolder(None, has_lost_meta=not has_meta)
    return _RUN if "artifacts" in names else RunFolder(_make_error(place, entries))


def have_artifacts(folders: Sequence[Place]) -> list[bool | StorageError]:
    """Return whether each artifacts directory has artifacts, or the error of listing it.

    Files that other programs leave behind, empty folders and broken links are not artifacts.
    """
    found: list[bool | StorageError] = [False] * len(folders)
    unsure = [*enumerate(folders)]
    while unsure:
        inner = []
        listings = list_places([folder for _, folder in unsure])
        for (i, folder), entries in zip(unsure, listings, strict=True):
            if isinstance(entries, StorageError):
                is_removed = isinstance(entries, NotFoundError) and folder is not folders[i]
                found[i] = found[i] if is_removed else entries
                continue
            subfolders = _list_subfolders(entries)
            if subfolders is None:
                found[i] = True
            else:
                inner += [(i, folder.join(name)) for name in subfolders]
        unsure = [(i, folder) for i, folder in inner if found[i] is False]
    return found


def _list_subfolders(entries: Sequence[Entry]) -> list[str] | None:
    """Return the names of the folders in which there may be artifacts, None if there is one here.

    A link to a folder is an artifact: it is not followed.
    """
    subfolders = []
    for entry in entries:
        name = entry.name
        if entry.is_broken or is_foreign_name(name):
            continue
        if name.startswith("._") and is_apple_double(name, {e.name for e in entries}):
            continue
        if not entry.is_dir or entry.is_link:
            return None
        subfolders.append(name)
    return subfolders


def make_absent_error(place: Place) -> NotARunError:
    """Return the error for a directory that does not exist, or that is a file."""
    if _is_local_file(place):
        return NotARunError(f"{place.url} is not a run directory, but a file")
    return RunNotFoundError(f"there is no run directory {place.url!r}")


def _is_local_file(place: Place) -> bool:
    return isinstance(place.storage, LocalStorage) and os.path.isfile(
        place.storage.get_identity(place.path)
    )


def _make_error(place: Place, entries: Sequence[Entry]) -> NotARunError:
    names = ", ".join(entry.name for entry in entries[:_MAX_SHOWN])
    return NotARunError(
        f"{place.url} is not a run directory: expected a directory 'artifacts', a {META_FILE} "
        f"with a run_id, or {CONFIG_FILE}, found {names or 'nothing'}"
    )


def check_not_above(place: Place) -> None:
    """Raise NotARunError if runs are below the directory, one or two levels down."""
    if _is_local_file(place):
        raise make_absent_error(place)
    entries = place.list()
    listings = list_places([place.join(entry.name) for entry in entries if entry.is_dir])
    inner = [entry for some in listings if isinstance(some, list) for entry in some]
    names = {entry.name for entry in inner}
    here = {place.name, *(entry.name for entry in entries)}
    if not names.isdisjoint({SWEEP_FILE, HYDRA_FOLDER}) or not here.isdisjoint(_OF_HYDRA):
        raise NotARunError(
            f"{place.url} is not a run directory, but one with output directories of Hydra below "
            f"it. {_ADVICE}"
        )
    if META_FILE in names or any(e.is_dir and is_run_id(e.name) for e in [*entries, *inner]):
        raise NotARunError(
            f"{place.url} is not a run directory, but one with runs below it: expected "
            f"<tracking directory>/<experiment_id>/<run_id>. {_ADVICE}"
        )


def take_sample(folder: Place, names: Sequence[str]) -> list[Place]:
    """Return a few of the run directories in a folder: the first, the last and one between.

    On a disk, they are those of the runs with a ``meta.yaml``, if there are any.
    """
    if isinstance(folder.storage, LocalStorage):
        local = folder.storage.get_identity(folder.path)
        names = [n for n in names if os.path.lexists(os.path.join(local, n, META_FILE))] or names
    positions = dict.fromkeys((0, len(names) // 2, len(names) - 1)) if names else ()
    return [folder.join(names[i]) for i in positions]


def has_run_meta(run_dirs: Sequence[Place]) -> bool:
    """Whether any of the runs has a ``meta.yaml``, even one that cannot be read."""
    metas = read_metas(run_dirs)
    return any(isinstance(m, Exception) or (m is not None and is_run_meta(m)) for m in metas)
