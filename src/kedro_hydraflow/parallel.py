"""Mapping a function over items with joblib, with a progress bar."""

from __future__ import annotations

import multiprocessing
from contextlib import contextmanager
from itertools import accumulate
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

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
    done: int = 0,
    is_worth_jobs: Callable[[R], bool] | None = None,
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
        done: Where the bar begins.
        is_worth_jobs: Where `may_stay_here`, the first item is done in this process, and
            this tells by its result whether the others are worth to start processes.
    """
    weights = [1] * len(items) if weights is None else weights
    reached = list(accumulate(weights, initial=done))
    results: list[R] = []
    with progress_bar(reached[-1], show=progress, done=done) as move_to:

        def do_here(some: Sequence[T]) -> None:
            for item in some:
                results.append(function(item))
                move_to(reached[len(results)])

        if is_worth_jobs is not None and may_stay_here(n_jobs, backend):
            do_here(items[:1])
            if not results or _cannot_leave_processes() or not is_worth_jobs(results[0]):
                n_jobs = 0
        left = items[len(results) :]
        if n_jobs in (0, 1) or len(left) < 2:
            do_here(left)
            return results
        n_done = len(results)
        return results + _map_in_jobs(
            function, left, n_jobs, backend, lambda n: move_to(reached[n_done + n])
        )


@contextmanager
def progress_bar(total: int, *, show: bool, done: int = 0) -> Iterator[Callable[[int], object]]:
    """Show a bar on standard error; the block calls what it gets with the number reached."""
    if not show:
        yield lambda _: None
        return
    from tqdm.auto import tqdm

    with tqdm(total=total, initial=done, unit="run") as bar:
        yield lambda reached: bar.update(reached - bar.n)


def may_stay_here(n_jobs: int | None, backend: str | None) -> bool:
    """Tell whether a number of jobs leaves it to us: -1, unless a backend was chosen.

    With ``joblib.parallel_config(backend="dask")``, say, -1 is the cluster. loky is what
    joblib takes where nothing is chosen.
    """
    if n_jobs != -1 or backend is not None:
        return False
    return _is_loky_active()


def _map_in_jobs(
    function: Callable[[T], R],
    items: Sequence[T],
    n_jobs: int | None,
    backend: str | None,
    report: Callable[[int], object],
) -> list[R]:
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
    return multiprocessing.parent_process() is not None and _is_loky_active()


def _is_loky_active() -> bool:
    from joblib.parallel import get_active_backend

    return type(get_active_backend()[0]).__name__ == "LokyBackend"
