"""Mapping a function over items, in this process or in joblib's jobs, with a progress bar."""

from __future__ import annotations

import math
import multiprocessing
import sys
import time
from typing import TYPE_CHECKING, TypeVar

from kedro_hydraflow.errors import OptionError, check_flag
from kedro_hydraflow.progress import is_watched, progress_bar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

T = TypeVar("T")
R = TypeVar("R")

_SAMPLE = 500
"""The size of the batch that shows how long the others will take."""

_MIN_SECONDS = 3.0
"""The CPU time that must be left for processes to be worth starting.

On two cores they take 0.8 s to start and save 44 % of the rest, so that they are faster from 1.9 s
on. (With two jobs, 10,000 configurations with nothing in common take 1.5 s instead of 1.2 s, those
of a sweep 1.0 s instead of 0.4 s.) The margin is for the estimate, which is up to 1.6 times too
high for a sweep, and for the CPU time of processes, which is 30 % higher."""

_BACKENDS = ("loky", "multiprocessing", "threading")
"""joblib's own backends. It has others, too, but takes a tenth of a second to import."""

_MIN_BATCH = 32
_MAX_BATCH = 2000
"""The limits of a batch's size: worth sending to a process, small enough for all to get some."""

_MAX_SHOWN_BATCH = 500
"""The limit with a progress bar, which moves with each batch."""


def check_jobs(n_jobs: object, backend: object, progress: object) -> None:
    """Raise OptionError unless these are options of `parallel_map`."""
    if not isinstance(n_jobs, int) or isinstance(n_jobs, bool):
        raise OptionError(
            f"n_jobs: expected an integer, found {n_jobs!r}; use 0 or 1 for this "
            "process, N for N jobs, -1 for one job per core"
        )
    if backend is not None and backend not in _BACKENDS:
        from joblib.parallel import BACKENDS, EXTERNAL_BACKENDS

        known = sorted({*BACKENDS, *EXTERNAL_BACKENDS})
        if backend not in known:
            raise OptionError(
                f"backend: expected one of joblib's backends {', '.join(known)}, found {backend!r}"
            )
    check_flag("progress", progress)


def parallel_map(
    function: Callable[[T], R],
    items: Sequence[T],
    *,
    n_jobs: int,
    backend: str | None = None,
    progress: bool = False,
) -> list[R]:
    """Return the function's result for each item, in order.

    Args:
        function: Called with one item. Its exceptions propagate.
        items: The items.
        n_jobs: 0 or 1: one after the other in this process. Otherwise as in
            ``joblib.Parallel``: -1 means one job for each core.
        backend: A backend of joblib. None: that of the surrounding
            ``joblib.parallel_config``, else loky processes.
        progress: Whether to show a progress bar (tqdm), as `progress_bar` does.

    Raises:
        OptionError: If an option is invalid.
    """
    check_jobs(n_jobs, backend, progress)
    results = []
    with progress_bar(len(items), show=progress) as advance:
        for result in _iter_results(function, items, n_jobs, backend):
            results.append(result)
            advance(1)
    return results


def map_batches(
    function: Callable[[Sequence[T]], R],
    items: Sequence[T],
    *,
    n_jobs: int,
    backend: str | None = None,
    progress: bool = False,
    n_done: int = 0,
) -> list[R]:
    """Return the function's result for each batch of items, in order.

    Args:
        function: Called with one batch. Its exceptions propagate.
        items: The items of all batches.
        n_jobs: As for `parallel_map`. But if no ``backend`` is given and joblib uses loky, its
            default, -1 starts processes only if that `pays`.
        backend: As for `parallel_map`.
        progress: As for `parallel_map`.
        n_done: Where the progress bar begins.
    """
    results = []
    with progress_bar(n_done + len(items), show=progress, n_done=n_done) as advance:
        if items and n_jobs == -1 and backend is None and _is_loky_active():
            sample, items = items[:_SAMPLE], items[_SAMPLE:]
            start = time.process_time()
            results.append(function(sample))
            pace = (time.process_time() - start) / len(sample)
            advance(len(sample))
            if _is_child() or not pays(pace * len(items)):
                n_jobs = 0
        batches = _make_batches(items, n_jobs, progress)
        read = _iter_results(function, batches, n_jobs, backend)
        for batch, result in zip(batches, read, strict=True):
            results.append(result)
            advance(len(batch))
    return results


def pays(seconds_left: float) -> bool:
    """Whether starting processes is faster than going on in this one.

    Args:
        seconds_left: The CPU time that this one would take. The time that it waits for a storage
            does not count, as many reads are in flight at once.
    """
    return seconds_left > _MIN_SECONDS


def _make_batches(items: Sequence[T], n_jobs: int, progress: bool) -> list[Sequence[T]]:
    size = _MAX_BATCH
    if progress and is_watched():
        size = _MAX_SHOWN_BATCH
    if n_jobs not in (0, 1):
        from joblib import effective_n_jobs

        fair = math.ceil(len(items) / (4 * effective_n_jobs(n_jobs)))
        size = min(max(fair, _MIN_BATCH), size)
    return [items[i : i + size] for i in range(0, len(items), size)]


def _iter_results(
    function: Callable[[T], R], items: Sequence[T], n_jobs: int, backend: str | None
) -> Iterable[R]:
    if n_jobs in (0, 1) or len(items) < 2:
        return map(function, items)
    from joblib import Parallel, delayed

    if backend is None and _is_child() and _is_loky_active():
        # On exit, the child would wait for loky's workers, which stay alive for five minutes.
        backend = "threading"
    try:
        parallel = Parallel(n_jobs=n_jobs, backend=backend, return_as="generator")
    except ValueError:  # a backend without generators, such as multiprocessing
        parallel = Parallel(n_jobs=n_jobs, backend=backend)
    results: Iterable[R] = parallel(delayed(function)(item) for item in items)
    return results


def _is_child() -> bool:
    """Whether this is a child process, such as one of Kedro's ParallelRunner."""
    return multiprocessing.parent_process() is not None


def _is_loky_active() -> bool:
    """Whether joblib takes loky, as it does if no ``joblib.parallel_config`` chose a backend."""
    if "joblib" not in sys.modules:  # it takes a tenth of a second to import
        return True
    from joblib.parallel import get_active_backend

    return type(get_active_backend()[0]).__name__ == "LokyBackend"
