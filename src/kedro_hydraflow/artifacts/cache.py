"""The cache of artifacts: its directories, its size, and its locks."""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import shutil
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from kedro_hydraflow.cache_dir import (
    CACHE_DIR_VARIABLE,
    get_cache_dir,
    make_private_folder,
    narrow,
)
from kedro_hydraflow.errors import StorageError, describe
from kedro_hydraflow.file_locks import hold_lock
from kedro_hydraflow.limits import CACHE_SIZE_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kedro_hydraflow.storage import Place

MINUTE = 60.0

_KEEP_SECONDS = 60 * MINUTE
"""Seconds for which a run's copies are kept after their last use."""

_RUN_CACHE = "run-[0-9a-f]{32}"
"""The pattern of names of the directories of runs in the cache."""

_FILE_MODE = 0o600

NOT_FETCHED = "not-fetched"
"""The folder in the text of an `ArtifactPath`. It never exists."""


def get_run_cache(place: Place) -> str:
    """Return the directory of a run in the cache.

    Args:
        place: The artifacts directory of the run.
    """
    identity = place.storage.get_identity(place.path)
    digest = hashlib.sha256(identity.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return os.path.join(get_cache_dir("artifacts"), f"run-{digest}")


def is_not_fetched(text: str) -> bool:
    """Whether a local path is the text of an `ArtifactPath`, at which there is no file."""
    folders = os.path.normpath(text).split(os.sep)
    return any(
        re.fullmatch(_RUN_CACHE, folder) and name == NOT_FETCHED
        for folder, name in itertools.pairwise(folders)
    )


def ignores_case(run_cache: str) -> bool:
    """Whether the filesystem of a run's directory ignores the case of names."""
    folder, name = os.path.split(run_cache)
    return os.path.exists(os.path.join(folder, name.upper()))


@contextmanager
def lock_run(run_cache: str) -> Iterator[None]:
    """Lock the directory of a run against changes by other threads and processes.

    Raises:
        StorageError: If the local filesystem raises an OSError, here or in the block.
    """
    try:
        make_private_folder(os.path.dirname(run_cache))
        with hold_lock(f"{run_cache}.lock", _FILE_MODE):
            yield
    except StorageError:
        raise
    except (OSError, NotImplementedError, UnicodeEncodeError) as exc:
        # NotImplementedError if files cannot be locked; UnicodeEncodeError for a name that no
        # file can have.
        raise make_cache_error(run_cache, exc) from exc


def make_cache_error(run_cache: str, exc: Exception) -> StorageError:
    """Return the error for a cache that cannot be written to."""
    return StorageError(
        f"cannot write to the artifact cache {os.path.dirname(run_cache)!r}: {describe(exc)}; "
        f"set its directory with the environment variable {CACHE_DIR_VARIABLE} and its size with "
        f"{CACHE_SIZE_VARIABLE}"
    )


def mark_used(run_cache: str) -> None:
    """Keep the copies of a run for another hour."""
    with lock_run(run_cache):  # another process may be removing them
        make_private_folder(run_cache)
        narrow(run_cache)  # it may be of a version that made it readable by others
        os.utime(run_cache)


def make_room(cache_dir: str, cache_size: int) -> None:
    """Remove the copies of the least recently used runs until the cache fits its size limit.

    The cache is measured at most once a minute, by one of the processes that use it.
    """
    measured = Path(cache_dir, "looked-at")
    with suppress(OSError, NotImplementedError):  # another process may remove some too
        if measured.exists() and abs(time.time() - measured.stat().st_mtime) < MINUTE:
            return
        measured.touch(_FILE_MODE)
        names = [name for name in os.listdir(cache_dir) if re.fullmatch(_RUN_CACHE, name)]
        sizes = {path: _measure(path) for path in (os.path.join(cache_dir, n) for n in names)}
        for run_cache in sorted(sizes, key=os.path.getmtime):
            if sum(sizes.values()) <= cache_size:
                break
            if _remove_unused(run_cache):
                del sizes[run_cache]


def _measure(run_cache: str) -> int:
    return sum(
        os.lstat(os.path.join(folder, name)).st_size
        for folder, _, names in os.walk(run_cache)
        for name in names
    )


def _remove_unused(run_cache: str) -> bool:
    """Remove a run's copies unless they are locked or in use; return whether it did."""
    from filelock import FileLock, Timeout

    try:
        with FileLock(f"{run_cache}.lock", timeout=0, mode=_FILE_MODE):
            if time.time() - os.path.getmtime(run_cache) < _KEEP_SECONDS:
                return False
            shutil.rmtree(run_cache)
    except Timeout:
        return False
    return True
