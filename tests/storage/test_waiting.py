"""Local files are read several at a time where waiting for the disk takes the time."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kedro_hydraflow import Run, RunCollection, iter_run_dirs
from kedro_hydraflow.storage import local, waiting
from kedro_hydraflow.storage.base import Download
from kedro_hydraflow.storage.local import LocalStorage
from kedro_hydraflow.storage.waiting import MAX_IN_FLIGHT, map_waiting
from tests.conftest import write


class Clock:
    """A clock that calls advance: by work, and by waiting for a disk or for the processor."""

    def __init__(self) -> None:
        self.wall = self.work = 0.0
        self.n_waits = self.n_preempted = 0
        self.is_for_processor = False

    def advance(self, work: float, waits: float) -> None:
        self.work += work
        self.wall += work + waits
        self.n_waits += waits > 0 and not self.is_for_processor
        self.n_preempted += waits > 0 and self.is_for_processor


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    times = SimpleNamespace(perf_counter=lambda: clock.wall, thread_time=lambda: clock.work)
    monkeypatch.setattr(waiting, "time", times)
    monkeypatch.setattr(waiting, "_count_switches", lambda: (clock.n_waits, clock.n_preempted))
    return clock


class InFlight:
    """Counts calls, how many there are at a time, and how many are made in the test's thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread = threading.get_ident()
        self._now = self.most = self.calls = self.here = 0

    @contextmanager
    def call(self) -> Iterator[None]:
        with self._lock:
            self._now += 1
            self.calls += 1
            self.here += threading.get_ident() == self._thread
            self.most = max(self.most, self._now)
        try:
            yield
        finally:
            with self._lock:
                self._now -= 1

    def slow(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function as a slow disk has it."""

        def call(*args: Any, **kwargs: Any) -> Any:
            with self.call():
                time.sleep(0.002)
                return function(*args, **kwargs)

        return call


@pytest.mark.parametrize("n", [0, 1, 8, 9, 200])
def test_results_are_in_the_order_of_the_items(n: int) -> None:
    in_flight = InFlight()
    assert list(map_waiting(in_flight.slow(str), range(n))) == list(map(str, range(n)))
    assert in_flight.calls == n
    assert in_flight.most <= MAX_IN_FLIGHT
    assert (in_flight.most > 1) == (n == 200)


def run(clock: Clock, waits: Sequence[float], work: float = 20e-6) -> list[bool]:
    """Return which calls were in this thread, if each waits as long as it says."""
    here = threading.get_ident()
    lock = threading.Lock()

    def call(i: int) -> bool:
        with lock:
            clock.advance(work, waits[i])
        return threading.get_ident() == here

    return list(map_waiting(call, range(len(waits))))


@pytest.mark.parametrize(
    ("waits", "work"),
    [
        (0.0, 20e-6),  # a warm cache
        (40e-6, 20e-6),  # a thread costs more
        (900e-6, 1000e-6),  # most of the time is work, of which threads do no more
    ],
)
def test_nothing_is_in_threads_where_they_do_not_help(
    clock: Clock, waits: float, work: float
) -> None:
    assert all(run(clock, [waits] * 20_000, work))


def test_nothing_is_in_threads_where_others_use_the_processor(clock: Clock) -> None:
    clock.is_for_processor = True
    assert all(run(clock, [1e-3] * 20_000))


def test_waits_count_where_the_system_does_not_count_them(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "_count_switches", lambda: (0, 0))
    assert sum(run(clock, [1e-3] * 20_000)) < 120


def test_nearly_everything_is_in_threads_where_each_call_waits(clock: Clock) -> None:
    are_here = run(clock, [1e-3] * 20_000)
    assert all(are_here[:8])
    assert not any(are_here[8:72])
    assert 8 < sum(are_here) < 120


def test_waiting_that_begins_later_is_noticed(clock: Clock) -> None:
    are_here = run(clock, [*[0.0] * 5000, *[1e-3] * 5000])
    assert all(are_here[:5000])
    assert sum(are_here[5000:]) < 200


def test_waiting_that_ends_is_noticed(clock: Clock) -> None:
    are_here = run(clock, [*[1e-3] * 1000, *[0.0] * 20_000])
    assert sum(are_here[:1000]) < 100
    assert sum(are_here[1000:]) > 15_000


def test_one_slow_call_does_not_count(clock: Clock) -> None:
    are_here = run(clock, [*[0.0] * 100, 2e-3, *[0.0] * 5000])
    assert sum(are_here) > 5000


def test_whoever_stops_early_waits_for_what_was_begun() -> None:
    in_flight = InFlight()
    results = map_waiting(in_flight.slow(int), range(1000))
    assert [next(results) for _ in range(20)] == list(range(20))
    results.close()  # type: ignore[attr-defined] # it is a generator
    assert in_flight.calls < 150
    assert in_flight._now == 0


@pytest.mark.parametrize(
    ("module", "name"),
    [(local, "_read_file"), (os, "stat"), (os, "scandir"), (local, "_open_regular")],
)
def test_all_that_is_done_with_many_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: Any, name: str
) -> None:
    paths = [str(tmp_path / f"run{i:03}/file") for i in range(100)]
    for i, path in enumerate(paths):
        write(Path(path), str(i))
    folders = [os.path.dirname(path) for path in paths]
    targets = [str(tmp_path / f"copy{i}") for i in range(100)]
    in_flight = InFlight()
    monkeypatch.setattr(module, name, in_flight.slow(getattr(module, name)))
    storage = LocalStorage()
    calls: dict[str, Callable[[], Any]] = {
        "_read_file": lambda: storage.read_parsed(paths, int).values,
        "stat": lambda: [validator is None for validator in storage.get_validators(paths)],
        "scandir": lambda: [[e.name for e in found] for found in storage.list_many(folders)],
        "_open_regular": lambda: storage.fetch_many(list(map(Download, paths, targets))),
    }
    expected: dict[str, list[Any]] = {
        "_read_file": list(range(100)),
        "stat": [True] * 100,  # they were written just now
        "scandir": [["file"]] * 100,
        "_open_regular": [None] * 100,
    }
    assert calls[name]() == expected[name]
    assert 1 < in_flight.most <= MAX_IN_FLIGHT
    assert in_flight.calls == 100


def test_many_folders_are_looked_for_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [str(tmp_path / f"run{i:03}") for i in range(100)]
    for path in paths[::2]:
        os.mkdir(path)
    in_flight = InFlight()
    monkeypatch.setattr(os, "stat", in_flight.slow(os.stat))
    assert LocalStorage().are_dirs(paths) == [True, False] * 50
    assert 1 < in_flight.most <= MAX_IN_FLIGHT


def write_artifacts(root: Path, i: int) -> None:
    write(root / f"{i + 1}/{i:032x}/artifacts/.hydra/config.yaml", f"i: {i}\n")


def write_outputs(root: Path, i: int) -> None:
    write(root / f"multirun/2026-01-01/{i:02}-00-00/0/.hydra/config.yaml", f"i: {i}\n")


@pytest.mark.parametrize(
    ("write_run", "module", "name"),
    [
        (write_artifacts, os, "scandir"),
        (write_artifacts, os.path, "lexists"),
        (write_outputs, os, "stat"),
    ],
)
def test_many_folders_are_searched_at_a_time(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    write_run: Callable[[Path, int], None],
    module: Any,
    name: str,
) -> None:
    for i in range(60):
        write_run(tmp_path, i)
    in_flight = InFlight()
    monkeypatch.setattr(module, name, in_flight.slow(getattr(module, name)))
    runs: RunCollection[Any] = Run.load(iter_run_dirs(tmp_path), index=False)
    assert sorted(runs.to_list("i")) == list(range(60))
    assert in_flight.here < in_flight.calls / 4  # the first of each search
