"""Calls that may wait for a slow disk: several at a time where waiting takes the time.

A network disk or a cold cache takes up to milliseconds for each file. With a warm cache, threads
would make reading slower. So a few calls are timed, again and again: what they take beside
computing is waiting.
"""

from __future__ import annotations

import time
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

try:
    import resource
except ImportError:  # Windows
    _THREAD = None
else:
    _THREAD = getattr(resource, "RUSAGE_THREAD", None)  # Linux alone has it

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from concurrent.futures import Future, ThreadPoolExecutor

A = TypeVar("A")
T = TypeVar("T")

MAX_IN_FLIGHT = 32
"""The maximum number of calls at a time."""

WORTH_A_THREAD = 50e-6
"""Seconds of waiting for each call from which on threads are faster, which cost some, too."""

_FEW = 8
"""The number of calls that are timed first, and between those in threads."""

_MANY = 64
_MOST = 4096
"""The number of calls in threads before a few are timed again: `_MANY` at first, doubled while
they keep waiting, up to `_MOST`."""


def map_waiting(function: Callable[[A], T], items: Sequence[A]) -> Iterator[T]:
    """Yield the results of a function that may wait for a disk, in the order of the items.

    Not more than a hundred results are held. The function must not raise.
    """
    if len(items) <= _FEW:
        yield from map(function, items)
        return
    from concurrent.futures import ThreadPoolExecutor

    left = iter(items)
    n_timed, n_in_threads = _FEW, _MANY
    with ThreadPoolExecutor(MAX_IN_FLIGHT) as pool:  # starts no thread before it is needed
        while few := list(islice(left, n_timed)):
            results, is_waiting = _time(function, few)
            yield from results
            if is_waiting:
                yield from _map_in_threads(pool, function, islice(left, n_in_threads))
                n_timed, n_in_threads = _FEW, min(2 * n_in_threads, _MOST)
            else:
                n_timed, n_in_threads = min(2 * n_timed, _MANY), _MANY


def _time(function: Callable[[A], T], items: Sequence[A]) -> tuple[list[T], bool]:
    """Return the results, and whether the calls waited longer than they worked."""
    n_waits, n_preempted = _count_switches()
    # WebAssembly has neither threads nor their times. There, nothing seems to wait.
    get_work = getattr(time, "thread_time", time.perf_counter)
    start, work_before = time.perf_counter(), get_work()
    results = list(map(function, items))
    work = get_work() - work_before
    waiting = time.perf_counter() - start - work
    if waiting <= max(work, WORTH_A_THREAD * len(items)):
        return results, False
    n_waits_after, n_preempted_after = _count_switches()
    # Where others use the processor, more threads would not help.
    is_for_processor = n_preempted_after > n_preempted and n_waits_after - n_waits < len(items) / 2
    return results, not is_for_processor


def _count_switches() -> tuple[int, int]:
    """Return how often this thread has waited, and how often it was preempted; zeros if unknown."""
    if _THREAD is None:
        return 0, 0
    usage = resource.getrusage(_THREAD)
    return usage.ru_nvcsw, usage.ru_nivcsw


def _map_in_threads(
    pool: ThreadPoolExecutor, function: Callable[[A], T], items: Iterator[A]
) -> Iterator[T]:
    """Yield the results in order. Twice as many calls are begun as can be made at a time."""
    begun: deque[Future[T]] = deque(
        pool.submit(function, item) for item in islice(items, 2 * MAX_IN_FLIGHT)
    )
    while begun:
        yield begun.popleft().result()
        begun.extend(pool.submit(function, item) for item in islice(items, 1))
