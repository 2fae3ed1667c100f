from __future__ import annotations

import multiprocessing
import os
import threading
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from typing import Any

import joblib
import pytest

from kedro_hydraflow.errors import StorageError
from kedro_hydraflow.parallel import parallel_map


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


@pytest.mark.parametrize("n_jobs", [0, 2])
@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_progress_counts_weights_on_standard_error(
    capsys: pytest.CaptureFixture[str], n_jobs: int, backend: str
) -> None:
    parallel_map(
        square, [1, 2, 3], n_jobs=n_jobs, backend=backend, progress=True, weights=[10, 10, 5]
    )
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "25/25" in shown.err


def get_process_ids(n_items: int) -> list[int]:
    return parallel_map(_get_process_id, range(n_items), n_jobs=2)


def _get_process_id(_: int) -> int:
    return os.getpid()


def test_a_child_process_uses_threads() -> None:
    """It would wait at its end for the workers that loky keeps."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        ids = pool.submit(get_process_ids, 4).result()
    assert len(set(ids)) == 1
    assert set(ids) != {os.getpid()}


@pytest.mark.parametrize("is_worth", [False, True])
def test_first_item_tells_whether_jobs_are_worth_it(
    capsys: pytest.CaptureFixture[str], is_worth: bool
) -> None:
    asked: list[tuple[int, int]] = []

    def is_worth_jobs(result: tuple[int, int]) -> bool:
        asked.append(result)
        return is_worth

    here = (os.getpid(), threading.get_ident())
    results = parallel_map(
        get_worker, range(5), n_jobs=-1, progress=True, is_worth_jobs=is_worth_jobs
    )
    assert asked == [here] == results[:1]
    assert "5/5" in capsys.readouterr().err
    if joblib.effective_n_jobs(-1) > 1:
        assert all((result == here) is not is_worth for result in results[1:])


@pytest.mark.parametrize(
    ("n_jobs", "surrounding", "backend"),
    [(2, None, None), (0, None, None), (-1, "threading", None), (-1, None, "threading")],
)
def test_nobody_asks_where_somebody_chose(
    n_jobs: int, surrounding: str | None, backend: str | None
) -> None:
    context: Any = joblib.parallel_config(backend=surrounding) if surrounding else nullcontext()

    def is_worth_jobs(_: int) -> bool:
        raise AssertionError("not asked")

    with context:
        results = parallel_map(
            square, range(5), n_jobs=n_jobs, backend=backend, is_worth_jobs=is_worth_jobs
        )
    assert results == [0, 1, 4, 9, 16]


def test_nothing_is_worth_no_jobs() -> None:
    assert parallel_map(square, [], n_jobs=-1, is_worth_jobs=lambda _: True) == []
    assert parallel_map(square, [3], n_jobs=-1, is_worth_jobs=lambda _: True) == [9]


def test_a_child_process_stays_alone_where_it_may() -> None:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        assert len(pool.submit(get_worker_ids, 4).result()) == 1


def get_worker_ids(n_items: int) -> set[tuple[int, int]]:
    return {*parallel_map(get_worker, range(n_items), n_jobs=-1, is_worth_jobs=lambda _: True)}
