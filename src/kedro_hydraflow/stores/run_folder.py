"""Recognising run directories and the artifacts in them.

A run directory holds ``artifacts``, or the ``meta.yaml`` of a run. One that is named by a run ID
may hold only metrics, params or tags: Git, for example, keeps no empty folders.
"""

from __future__ import annotations

import os
from itertools import compress
from typing import TYPE_CHECKING, NamedTuple

from kedro_hydraflow.errors import (
    KedroHydraflowError,
    NotARunError,
    NotFoundError,
    RunNotFoundError,
    StorageError,
)
from kedro_hydraflow.logs import get_logger
from kedro_hydraflow.storage import (
    Entry,
    Place,
    are_dirs,
    get_local_path,
    list_places,
    read_parsed_in,
)
from kedro_hydraflow.storage.waiting import map_waiting
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

    from kedro_hydraflow.stores.meta_file import Meta
    from kedro_hydraflow.stores.record import RunNames

logger = get_logger(__name__)

ARTIFACTS_FOLDER = "artifacts"
"""The directory of an MLflow run's artifacts, with Hydra's files if HydraFlow logged them."""

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
    if has_meta and ARTIFACTS_FOLDER in names:
        return _RUN
    if is_run_id(place.name) and not names.isdisjoint(LOGGED_KINDS):
        return RunFolder(None, has_lost_meta=not has_meta)
    return _RUN if ARTIFACTS_FOLDER in names else RunFolder(_make_error(place, entries))


def inspect_artifacts(folders: Sequence[Place]) -> list[bool | StorageError]:
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
    local = get_local_path(place)
    return local is not None and os.path.isfile(local)


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


class RunSample(NamedTuple):
    """A few of the MLflow runs in one folder."""

    runs: Sequence[Place] = ()

    is_tracked: bool = False
    """Whether any of them has the ``meta.yaml`` of a run, even one that cannot be read."""


def sample_runs(folder: Place, names: Sequence[str]) -> RunSample:
    """Return a few of the runs of MLflow in a folder.

    On remote storage, only a few of the directories are looked at.

    Args:
        folder: The folder.
        names: Its directories that are named like runs.
    """
    sample = _keep_runs(take_sample(folder, names))
    if sample.runs or folder.storage.is_remote:
        return sample
    for name in names:
        place = folder.join(name)
        if have_artifacts([place])[0] and _keep_runs([place]).runs:
            return RunSample([place])
    return sample


def _keep_runs(folders: Sequence[Place]) -> RunSample:
    """Return those of the directories that are runs of MLflow, or that cannot be listed."""
    listings = list_places(folders)
    with_meta = [i for i, entries in enumerate(listings) if _may_have(META_FILE, entries)]
    metas = read_metas([folders[i] for i in with_meta])
    tracked = {i for i, meta in zip(with_meta, metas, strict=True) if _may_be_run(meta)}
    artifacts = [i for i, entries in enumerate(listings) if _may_have(ARTIFACTS_FOLDER, entries)]
    # A job of Hydra may have written a directory of that name.
    unsure = [
        i
        for i in artifacts
        if not isinstance(listings[i], StorageError) and _may_have(HYDRA_FOLDER, listings[i])
    ]
    found = read_parsed_in(
        [folders[i] for i in unsure], f"{ARTIFACTS_FOLDER}/{CONFIG_FILE}", lambda _: True
    ).values
    of_hydra = {i for i, is_found in zip(unsure, found, strict=True) if is_found is None}
    runs = sorted(tracked.union(artifacts) - (of_hydra - tracked))
    return RunSample([folders[i] for i in runs], bool(tracked))


def _may_have(name: str, entries: Sequence[Entry] | StorageError) -> bool:
    """Whether a directory has an entry of this name, as far as it can be listed."""
    if isinstance(entries, NotFoundError):
        return False  # removed in the meantime
    return isinstance(entries, StorageError) or any(entry.name == name for entry in entries)


def _may_be_run(meta: Meta | KedroHydraflowError | None) -> bool:
    """Whether a ``meta.yaml`` may be that of a run, by its content or because it cannot be read."""
    return isinstance(meta, Exception) or (meta is not None and is_run_meta(meta))


def have_artifacts(folders: Sequence[Place]) -> list[bool]:
    """Return whether each directory has ``artifacts``, or cannot be looked into."""
    return [has is not False for has in are_dirs([f.join(ARTIFACTS_FOLDER) for f in folders])]


def take_sample(folder: Place, names: Sequence[str]) -> list[Place]:
    """Return a few of the run directories in a folder: the first, the last and one between.

    On a disk, they are those of the runs with a ``meta.yaml``, if there are any.
    """
    local = get_local_path(folder)
    if local is not None:
        metas = map_waiting(os.path.lexists, [os.path.join(local, n, META_FILE) for n in names])
        names = list(compress(names, metas)) or names
    positions = dict.fromkeys((0, len(names) // 2, len(names) - 1)) if names else ()
    return [folder.join(names[i]) for i in positions]


def warn_of_copies(listed: Sequence[RunNames]) -> None:
    """Log that runs are in several experiments, as after a copy of an experiment's directory."""
    n_names = sum(len(part.names) for part in listed)
    if len(set().union(*(part.names for part in listed))) == n_names:
        return
    experiments: dict[str, list[Place]] = {}
    for part in listed:
        for name in filter(is_run_id, part.names):
            experiments.setdefault(name, []).append(part.experiment)
    copied = [(name, places) for name, places in experiments.items() if len(places) > 1]
    if copied:
        name, (first, second, *_) = copied[0]
        logger.warning(
            "runs in several experiments: %d; the first, %s, is in %s and in %s. They are included "
            "with each experiment; remove what is a copy",
            len(copied),
            name,
            first.url,
            second.url,
        )


def has_run_meta(run_dirs: Sequence[Place]) -> bool:
    """Whether any of the runs has a ``meta.yaml``, even one that cannot be read."""
    return any(map(_may_be_run, read_metas(run_dirs)))
