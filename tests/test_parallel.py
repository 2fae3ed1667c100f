from __future__ import annotations

import functools
import multiprocessing
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import joblib
import pytest
from tqdm import tqdm

from kedro_hydraflow import Collection, RunCollection
from kedro_hydraflow.errors import OptionError, StorageError
from kedro_hydraflow.parallel import map_batches, parallel_map, pays

HERE = os.getpid()


def square(number: int) -> int:
    if number < 0:
        raise StorageError(f"cannot read {number}")
    return number * number


def get_worker(number: int) -> tuple[int, int]:
    return os.getpid(), threading.get_ident()


@pytest.mark.parametrize("progress", [False, True])
@pytest.mark.parametrize("backend", [None, "loky", "threading", "multiprocessing"])
@pytest.mark.parametrize("n_jobs", [0, 1, 2, -1])
def test_results_are_in_order(n_jobs: int, backend: str | None, progress: bool) -> None:
    for n in (0, 1, 20):
        results = parallel_map(square, range(n), n_jobs=n_jobs, backend=backend, progress=progress)
        assert results == [i * i for i in range(n)]


@pytest.mark.parametrize("n_jobs", [0, 2])
def test_errors_propagate(n_jobs: int) -> None:
    with pytest.raises(StorageError, match="cannot read -1"):
        parallel_map(square, [1, -1, 2], n_jobs=n_jobs)


@pytest.mark.parametrize(
    ("surrounding", "backend", "in_process", "in_thread"),
    [
        (None, None, False, True),
        ("threading", None, True, False),
        ("multiprocessing", None, False, True),
        ("threading", "loky", False, True),
        ("multiprocessing", "threading", True, False),
    ],
)
def test_where_jobs_run(
    surrounding: str | None, backend: str | None, in_process: bool, in_thread: bool
) -> None:
    context: Any = joblib.parallel_config(backend=surrounding) if surrounding else nullcontext()
    with context:
        workers = parallel_map(get_worker, range(8), n_jobs=2, backend=backend)
        for n_jobs in (0, 1):
            here = parallel_map(get_worker, range(2), n_jobs=n_jobs, backend=backend)
            assert here == [(os.getpid(), threading.get_ident())] * 2
    assert {process == os.getpid() for process, _ in workers} == {in_process}
    if not in_thread:
        assert threading.get_ident() not in {thread for _, thread in workers}


@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize("n_jobs", [0, 2])
@pytest.mark.parametrize("backend", ["loky", "threading", "multiprocessing"])
def test_progress_on_standard_error(
    capsys: pytest.CaptureFixture[str], n_jobs: int, backend: str
) -> None:
    parallel_map(square, [1, 2, 3], n_jobs=n_jobs, backend=backend, progress=True)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "3/3" in shown.err


class Shell:
    """What IPython has of a notebook, or of its own terminal."""

    def __init__(self, *programs: str) -> None:
        self.config = dict.fromkeys(programs)


@pytest.mark.parametrize(
    ("shell", "is_shown"), [(None, False), (Shell(), False), (Shell("IPKernelApp"), True)]
)
def test_progress_is_shown_to_those_who_watch(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    shell: Shell | None,
    is_shown: bool,
) -> None:
    """In logs there is none, and in notebooks it does not matter what standard error is."""
    monkeypatch.setattr("kedro_hydraflow.progress.BAR_DELAY", 0)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setattr("tqdm.auto.tqdm", tqdm)  # without widgets
    parallel_map(square, [1, 2, 3], n_jobs=0, progress=True)
    assert ("3/3" in capsys.readouterr().err) is is_shown


def test_progress_of_what_is_quick_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr("kedro_hydraflow.progress.BAR_DELAY", 3600)
    parallel_map(square, [1, 2, 3], n_jobs=0, progress=True)
    assert capsys.readouterr() == ("", "")


@pytest.mark.usefixtures("terminal")
def test_progress_does_not_wait_for_the_last_job(monkeypatch: pytest.MonkeyPatch) -> None:
    moved = threading.Event()

    class Bar:
        def __init__(self, total: int, **options: Any) -> None:
            assert total == 2

        def close(self) -> None:
            pass

        def update(self, n: int) -> None:
            moved.set()

    def wait(number: int) -> bool:
        return number == 0 or moved.wait(60)

    monkeypatch.setattr("tqdm.auto.tqdm", Bar)
    assert parallel_map(wait, [0, 1], n_jobs=2, backend="threading", progress=True) == [True, True]


def get_process_ids(n_items: int) -> list[int]:
    return parallel_map(get_process_id, range(n_items), n_jobs=2)


def get_process_id(_: object) -> int:
    return os.getpid()


def test_a_child_process_uses_threads() -> None:
    """It would wait at its end for the workers that loky keeps."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        ids = pool.submit(get_process_ids, 4).result()
    assert len(set(ids)) == 1
    assert set(ids) != {HERE}


# Batches ---------------------------------------------------------------------------------


def repeat_process_id(batch: range) -> list[int]:
    return [os.getpid()] * len(batch)


def find_process_ids(n_items: int, **options: Any) -> list[int]:
    """Return the process that each item was in."""
    return [i for batch in map_batches(repeat_process_id, range(n_items), **options) for i in batch]


@pytest.fixture
def estimates(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds for which it was asked whether processes pay; they always do."""
    asked: list[float] = []
    monkeypatch.setattr(
        "kedro_hydraflow.parallel.pays", lambda seconds: asked.append(seconds) or True
    )
    return asked


@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize("backend", [None, "loky", "threading", "multiprocessing"])
@pytest.mark.parametrize("n_jobs", [0, 1, 2, -1])
def test_batches_are_in_order(
    n_jobs: int, backend: str | None, estimates: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    for n in (0, 1, 33, 1500):
        batches = map_batches(
            list, range(n), n_jobs=n_jobs, backend=backend, progress=True, n_done=100
        )
        assert [i for batch in batches for i in batch] == [*range(n)]
        assert (f"{100 + n}/{100 + n}" in capsys.readouterr().err) == (n > 0)


@pytest.mark.parametrize("n_jobs", [0, 1, 2, 4])
def test_batches_are_large_enough_and_small_enough(n_jobs: int) -> None:
    for n, largest in ((10_000, 2000), (30, 32)):
        sizes = map_batches(len, range(n), n_jobs=n_jobs, backend="threading")
        assert sum(sizes) == n
        assert max(sizes) <= largest
    if n_jobs > 1:
        assert len(map_batches(len, range(800), n_jobs=n_jobs, backend="threading")) == 4 * n_jobs


def test_processes_pay_where_much_is_left() -> None:
    assert not pays(0)
    assert not pays(1)
    assert pays(60)


def test_what_is_left_is_estimated_from_a_first_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []
    monkeypatch.setattr("kedro_hydraflow.parallel.pays", lambda seconds: asked.append(seconds))
    monkeypatch.setattr("time.process_time", iter([10.0, 12.0]).__next__)
    assert set(find_process_ids(5_500, n_jobs=-1)) == {HERE}
    assert asked == [20.0]


def test_one_job_for_each_core_starts_processes_if_they_pay(estimates: list[float]) -> None:
    ids = find_process_ids(2_000, n_jobs=-1)
    assert len(estimates) == 1
    assert ids[0] == HERE
    if joblib.effective_n_jobs(-1) > 1:
        assert ids[-1] != HERE


@pytest.mark.parametrize(
    ("n_jobs", "surrounding", "backend"),
    [(2, None, None), (0, None, None), (-1, "threading", None), (-1, None, "threading")],
)
def test_a_choice_is_obeyed(
    n_jobs: int, surrounding: str | None, backend: str | None, estimates: list[float]
) -> None:
    context: Any = joblib.parallel_config(backend=surrounding) if surrounding else nullcontext()
    with context:
        ids = find_process_ids(2_000, n_jobs=n_jobs, backend=backend)
    assert estimates == []
    assert (HERE in ids) is (n_jobs != 2)


def test_a_child_process_stays_alone() -> None:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        ids, estimates = pool.submit(find_process_ids_as_child).result()
    assert len(set(ids)) == 1
    assert estimates == []


def find_process_ids_as_child() -> tuple[list[int], list[float]]:
    with pytest.MonkeyPatch.context() as patch:
        asked: list[float] = []
        patch.setattr("kedro_hydraflow.parallel.pays", lambda s: asked.append(s) or True)
        return find_process_ids(2_000, n_jobs=-1), asked


# Options ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("n_jobs", "all", "n_jobs: expected an integer, found 'all'; use 0 or 1 for this process"),
        ("n_jobs", True, "n_jobs: expected an integer, found True"),
        ("n_jobs", None, "n_jobs: expected an integer, found None"),
        ("n_jobs", 2.0, "n_jobs: expected an integer, found 2.0"),
        ("backend", "treading", "backend: expected one of joblib's backends .*loky, .*'treading'$"),
        ("backend", 3, "backend: expected one of joblib's backends .*, found 3$"),
        ("progress", "yes", "progress: expected true or false, found 'yes'"),
        ("progress", 1, "progress: expected true or false, found 1"),
    ],
)
@pytest.mark.parametrize("n_items", [0, 1, 5])
def test_bad_options_say_which_and_what(
    option: str, value: Any, message: str, n_items: int
) -> None:
    items = Collection(range(n_items))
    runs = RunCollection[Any]([])
    calls: list[Callable[..., Any]] = [
        functools.partial(items.pmap, str),
        functools.partial(items.to_frame, text=str),
        functools.partial(items.to_frame, "real"),
        runs.to_frame,
    ]
    if option != "backend":
        calls.append(runs.preload)
    for call in calls:
        with pytest.raises(OptionError, match=message):
            call(**{option: value})


@pytest.mark.parametrize("backend", ["loky", "threading", "multiprocessing", "sequential", None])
def test_backends_of_joblib_are_taken(backend: str | None) -> None:
    assert Collection([1, 2]).pmap(abs, 0, backend) == [1, 2]


def test_options_of_preload_are_flags() -> None:
    runs = RunCollection[Any]([])
    for option in ("cfg", "impl"):
        with pytest.raises(OptionError, match=f"{option}: expected true or false, found 'no'"):
            runs.preload(**{option: "no"})  # type: ignore[arg-type]
