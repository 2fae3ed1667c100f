"""The cache of artifacts: its directories, its size, and the locks of the runs in it."""

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

from kedro_hydraflow.cache_dir import CACHE_DIR_VARIABLE, get_cache_dir
from kedro_hydraflow.errors import OptionError, StorageError, describe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kedro_hydraflow.storage import Place

CACHE_SIZE_VARIABLE = "KEDRO_HYDRAFLOW_CACHE_SIZE"
"""The environment variable for the cache's size, such as ``500MB``."""

_DEFAULT_CACHE_SIZE = "10GB"

MINUTE = 60.0

_IN_USE = 60 * MINUTE
"""Seconds after its last use for which a run's copies are not removed."""


_RUN_CACHE = "run-[0-9a-f]{32}"
"""A pattern of the names of runs' directories in the cache."""

NOT_FETCHED = "not-fetched"
"""The folder that the text of an `ArtifactPath` names. It never exists."""


def get_run_cache(place: Place) -> str:
    """Return the directory in the cache for the artifacts of one run.

    Args:
        place: The artifacts directory of the run.
    """
    identity = place.storage.identity(place.path)
    digest = hashlib.sha256(identity.encode()).hexdigest()[:32]
    return os.path.join(get_cache_dir("artifacts"), f"run-{digest}")


def is_not_fetched(text: str) -> bool:
    """Whether text is that of an `ArtifactPath`, which alone leads to no file."""
    folders = os.path.normpath(text).split(os.sep)
    return any(
        re.fullmatch(_RUN_CACHE, folder) and name == NOT_FETCHED
        for folder, name in itertools.pairwise(folders)
    )


def get_cache_size() -> int:
    """Return how many bytes the cache may hold.

    Raises:
        OptionError: If the environment variable is not a size.
    """
    text = os.environ.get(CACHE_SIZE_VARIABLE) or _DEFAULT_CACHE_SIZE
    match = re.fullmatch(r"(\d+(?:\.\d+)?) *([KMGT]?)(I?)B?", text.strip().upper())
    if match is None:
        raise OptionError(
            f"{CACHE_SIZE_VARIABLE}: expected a size such as '20GB' or '500MB', found {text!r}"
        )
    number, prefix, is_binary = match.groups()
    base = 1024 if is_binary else 1000
    return int(float(number) * base ** " KMGT".index(prefix or " "))


def ignores_case(run_cache: str) -> bool:
    """Whether names that differ only by case are one name in a run's directory."""
    folder, name = os.path.split(run_cache)
    return os.path.exists(os.path.join(folder, name.upper()))


@contextmanager
def lock_run(run_cache: str) -> Iterator[None]:
    """Keep all other threads and processes from changing the copies of one run.

    Raises:
        StorageError: Instead of an OSError of the local filesystem, also within the block.
    """
    from filelock import FileLock  # 20 ms that most processes do not need

    try:
        os.makedirs(os.path.dirname(run_cache), exist_ok=True)
        with FileLock(f"{run_cache}.lock"):  # a new one each time: threads share none
            yield
    except StorageError:
        raise
    except OSError as exc:
        raise make_cache_error(run_cache, exc) from exc


def make_cache_error(run_cache: str, exc: OSError) -> StorageError:
    """Return the error for a cache that cannot be written."""
    return StorageError(
        f"cannot keep artifacts in the cache directory {os.path.dirname(run_cache)!r}: "
        f"{describe(exc)}; the environment variables {CACHE_DIR_VARIABLE} and "
        f"{CACHE_SIZE_VARIABLE} set its place and its size"
    )


def mark_used(run_cache: str) -> None:
    """Keep the copies of a run from being removed for an hour."""
    with lock_run(run_cache):  # they might be removed just now
        os.makedirs(run_cache, exist_ok=True)
        os.utime(run_cache)


def make_room(cache_dir: str, cache_size: int) -> None:
    """Remove the copies of the least recently used runs while the cache is too large.

    The cache is measured once a minute, by one of the processes that use it.
    """
    looked = Path(cache_dir, "looked-at")
    with suppress(OSError):  # another process removes some too
        if looked.exists() and abs(time.time() - looked.stat().st_mtime) < MINUTE:
            return
        looked.touch()
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
    """Remove a run's copies unless they are locked or in use; return whether they are gone."""
    from filelock import FileLock, Timeout

    try:
        with FileLock(f"{run_cache}.lock", timeout=0):
            if time.time() - os.path.getmtime(run_cache) < _IN_USE:
                return False
            shutil.rmtree(run_cache)
    except Timeout:
        return False
    return True
