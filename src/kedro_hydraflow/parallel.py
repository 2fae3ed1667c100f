"""Mapping a function over items with joblib, with a progress bar."""

from __future__ import annotations

import multiprocessing
from itertools import accumulate
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")
R = TypeVar("R")


def parallel_map(
    function: Callable[[T], R],
    items: Sequence[T],
    *,
    n_jobs: int | None,
    backend: str | None = None,
    progress: bool = False,
    weights: Sequence[int] | None = None,
) -> list[R]:
    """Return the function's result for each item, in order.

    Args:
        function: Called with one item. Its exceptions propagate.
        items: The items.
        n_jobs: 0 or 1: one after the other in this process. Otherwise as in
            ``joblib.Parallel``: -1 means one job for each core.
        backend: A backend of joblib. None: that of the surrounding
            ``joblib.parallel_config``, else loky processes.
        progress: Whether to show a progress bar (tqdm) on standard error.
        weights: How far the bar moves for each item, by default by 1.
    """
    if not progress:
        return _map(function, items, n_jobs, backend, lambda _: None)
    from tqdm.auto import tqdm

    reached = list(accumulate([1] * len(items) if weights is None else weights, initial=0))
    with tqdm(total=reached[-1], unit="run") as bar:
        return _map(function, items, n_jobs, backend, lambda n: bar.update(reached[n] - bar.n))


def _map(
    function: Callable[[T], R],
    items: Sequence[T],
    n_jobs: int | None,
    backend: str | None,
    report: Callable[[int], object],
) -> list[R]:
    if n_jobs in (0, 1) or len(items) < 2:
        results = []
        for item in items:
            results.append(function(item))
            report(len(results))
        return results
    from joblib import Parallel, delayed

    if backend is None and _cannot_leave_processes():
        backend = "threading"
    parallel: Any = Parallel(n_jobs=n_jobs, backend=backend)
    # What joblib calls after each finished task.
    parallel.print_progress = lambda: report(parallel.n_completed_tasks)
    return list(parallel(delayed(function)(item) for item in items))


def _cannot_leave_processes() -> bool:
    """Tell whether loky would start processes that keep this one from ending.

    A child process, such as one of Kedro's ParallelRunner, waits at its end for the workers
    that loky keeps for five minutes.
    """
    from joblib.parallel import get_active_backend

    is_loky = type(get_active_backend()[0]).__name__ == "LokyBackend"
    return is_loky and multiprocessing.parent_process() is not None
