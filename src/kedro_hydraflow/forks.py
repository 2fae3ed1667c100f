"""Which libraries cannot be used in a forked process, because it lacks their threads.

Polars and obstore start threads of their own on first use. A forked process has a copy of the
thread that called ``fork`` alone, and would wait for the others forever. Kedro's ParallelRunner
forks on Linux before Python 3.14, as joblib's backend ``multiprocessing`` does. See "Forked
processes" in docs/scaling.md.
"""

from __future__ import annotations

import functools
import os
import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from kedro_hydraflow.errors import ForkError
from kedro_hydraflow.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Iterator

logger = get_logger(__name__)

Library = Literal["polars", "obstore"]

_THREADS: dict[Library, re.Pattern[str]] = {
    "polars": re.compile(r"polars-\d+"),
    "obstore": re.compile("tokio-r.*"),  # those of Polars have the same name
}
"""The names of the threads that a library starts."""

_owners: dict[Library, int] = {}
"""The ID of the process in which a library's threads run, noted before a fork."""

ADVICE = (
    "start processes with 'spawn' instead of 'fork': KEDRO_MP_CONTEXT=spawn for Kedro's "
    "ParallelRunner, multiprocessing.get_context('spawn') elsewhere"
)
"""What to do about it."""


def lacks_threads(library: Library) -> bool:
    """Whether this process was forked from one in which the library had started its threads.

    This is known on Linux alone. Does not import the library.
    """
    return _owners.get(library, os.getpid()) != os.getpid()


def warn_of_polars() -> None:
    """Log a warning, once in a process, if most of Polars' functions would never return in it."""
    if lacks_threads("polars"):
        _warn_of_polars(os.getpid())


@functools.cache
def _warn_of_polars(process_id: int) -> None:
    logger.warning(
        "process %d was forked from one that had used Polars, and lacks its threads: frames can be "
        "built, but filter, sort, join, group_by, read_csv and most other functions of Polars wait "
        "forever; %s",
        process_id,
        ADVICE,
    )


def check_polars(user: str) -> None:
    """Raise ForkError if most of Polars' functions would never return in this process.

    Args:
        user: What uses them, for the message.
    """
    if lacks_threads("polars"):
        raise ForkError(
            f"{user} would wait forever: this process was forked from one that had used Polars, "
            f"and lacks its threads; {ADVICE}"
        )


def _note_threads() -> None:
    """Note which libraries have started their threads in this process."""
    libraries = [name for name in _THREADS if name in sys.modules and name not in _owners]
    names = set(_iter_thread_names()) if libraries else set()
    for library in libraries:
        if any(map(_THREADS[library].fullmatch, names)):
            _owners[library] = os.getpid()


def _iter_thread_names() -> Iterator[str]:
    """Yield the names of this process's threads, those of libraries too. None but on Linux."""
    with suppress(OSError):  # another system
        for thread_id in os.listdir("/proc/self/task"):
            with suppress(OSError):  # it has just ended
                yield Path(f"/proc/self/task/{thread_id}/comm").read_text().rstrip("\n")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_note_threads)
