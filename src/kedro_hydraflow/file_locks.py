"""Locks that threads and processes of one machine hold by turns, each in a file of its own."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from kedro_hydraflow.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Iterator

    from filelock import BaseFileLock

logger = get_logger(__name__)

_PATIENCE = 5.0
"""Seconds to wait for a lock before a check whether files can be locked at all."""


@contextmanager
def hold_lock(path: str, mode: int) -> Iterator[None]:
    """Wait for a lock as long as another thread or process holds it, and hold it in the block.

    Args:
        path: Its file, which stays there.
        mode: The permissions of the file.

    Raises:
        OSError: If files cannot be locked: some versions of filelock would wait forever.
        NotImplementedError: The same.
    """
    from filelock import FileLock  # takes 20 ms to import

    lock = FileLock(path, mode=mode)  # a new one each time, as threads must not share one
    _acquire(lock)
    try:
        yield
    finally:
        lock.release()


def _acquire(lock: BaseFileLock) -> None:
    from filelock import Timeout

    while not lock.is_locked:
        try:
            lock.acquire(timeout=_PATIENCE)
        except Timeout:  # noqa: PERF203 - seconds apart
            _check_lockable(lock.lock_file)
            logger.info("waiting for another process, which has locked %s", lock.lock_file)


def _check_lockable(path: str) -> None:
    """Raise OSError if a file cannot be locked, for another reason than that it is locked."""
    try:
        import fcntl
    except ImportError:  # on Windows, where filelock raises the errors
        return
    file = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        if exc.errno not in (errno.EACCES, errno.EAGAIN, errno.EWOULDBLOCK):
            raise
    finally:
        os.close(file)
