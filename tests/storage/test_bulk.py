from __future__ import annotations

import asyncio
from typing import Any

import pytest

from kedro_hydraflow.storage import bulk
from kedro_hydraflow.storage.bulk import NotTriedError, run_requests


class Server:
    """Answers requests; some fail first."""

    def __init__(self, failures: dict[int, list[Exception]] | None = None) -> None:
        self.failures = failures or {}
        self.requests: list[int] = []
        self.in_flight = 0
        self.most_in_flight = 0

    async def answer(self, request: int) -> str:
        self.requests.append(request)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        await asyncio.sleep(0)
        self.in_flight -= 1
        if self.failures.get(request):
            raise self.failures[request].pop(0)
        return f"answer {request}"


def ask(server: Any, n: int, concurrency: int = 4, timeout: float | None = None) -> list[Any]:
    return run_requests(server.answer, range(n), concurrency=concurrency, timeout=timeout)


def test_results_are_in_order_and_concurrency_is_limited() -> None:
    server = Server()
    assert ask(server, 20) == [f"answer {i}" for i in range(20)]
    assert server.most_in_flight == 4
    assert ask(server, 0) == []


def test_transient_failures_are_retried(no_waiting: None) -> None:
    server = Server({3: [ConnectionResetError()] * (bulk.MAX_ATTEMPTS - 1)})
    assert ask(server, 5) == [f"answer {i}" for i in range(5)]
    assert server.requests.count(3) == bulk.MAX_ATTEMPTS
    assert server.requests.count(4) == 1


def test_the_last_exception_is_the_result(no_waiting: None) -> None:
    server = Server({1: [PermissionError("no")], 2: [TimeoutError("late")] * 99})
    results = ask(server, 4, concurrency=1)
    assert results[0] == "answer 0"
    assert isinstance(results[1], PermissionError)
    assert server.requests.count(1) == 1
    assert isinstance(results[2], TimeoutError)
    assert server.requests.count(2) == bulk.MAX_ATTEMPTS


def test_no_requests_are_made_after_an_outage(no_waiting: None) -> None:
    server = Server({i: [ConnectionRefusedError("down")] * 99 for i in range(10, 1000)})
    results = ask(server, 1000)
    assert results[:10] == [f"answer {i}" for i in range(10)]
    assert all(isinstance(r, (ConnectionRefusedError, NotTriedError)) for r in results[10:])
    assert sum(isinstance(r, NotTriedError) for r in results) >= 980
    assert str(results[-1]) == "not tried, as other requests failed: ConnectionRefusedError: down"
    assert len(server.requests) <= 10 + 2 * 4 * bulk.MAX_ATTEMPTS


def test_a_single_request_that_always_fails_is_no_outage(no_waiting: None) -> None:
    server = Server({5: [TimeoutError()] * 99})
    results = ask(server, 200)
    assert isinstance(results[5], TimeoutError)
    assert results[6:] == [f"answer {i}" for i in range(6, 200)]


def test_no_attempt_begins_after_the_time_is_up(
    monkeypatch: pytest.MonkeyPatch, no_waiting: None
) -> None:
    monkeypatch.setattr(bulk, "GIVE_UP_AFTER", 0)
    server = Server({0: [TimeoutError()] * 99})
    assert isinstance(ask(server, 1)[0], TimeoutError)
    assert server.requests == [0]


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits between attempts, in seconds. They are skipped."""
    waits: list[float] = []
    sleep = asyncio.sleep

    async def record(delay: float) -> None:
        if delay:  # not that of the server
            waits.append(delay)
        await sleep(0)

    monkeypatch.setattr(asyncio, "sleep", record)
    return waits


@pytest.fixture
def no_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make each wait as long as possible."""
    monkeypatch.setattr("random.uniform", lambda low, high: high)


def test_waits_double_up_to_the_longest(waits: list[float], no_jitter: None) -> None:
    ask(Server({0: [TimeoutError()] * 99}), 1)
    assert waits == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]


def test_waits_are_random(waits: list[float]) -> None:
    ask(Server({i: [TimeoutError()] for i in range(50)}), 50, concurrency=50)
    assert len(set(waits)) == 50
    assert all(0 < wait < bulk.WAIT for wait in waits)


def test_successes_and_permanent_failures_do_not_wait(waits: list[float]) -> None:
    ask(Server({1: [PermissionError("no")]}), 2)
    assert waits == []


def test_no_wait_exceeds_the_time_limit(
    monkeypatch: pytest.MonkeyPatch, waits: list[float], no_jitter: None
) -> None:
    monkeypatch.setattr(bulk, "GIVE_UP_AFTER", bulk.WAIT / 2)
    server = Server({0: [TimeoutError()] * 99})
    assert isinstance(ask(server, 1)[0], TimeoutError)
    assert server.requests == [0]
    assert waits == []


def test_an_outage_during_a_wait_ends_the_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server({i: [ConnectionRefusedError(f"down for {i}")] * 99 for i in range(2)})
    sleep = asyncio.sleep
    waits: list[float] = []

    async def keep_the_first_waiting(delay: float) -> None:
        if delay:
            waits.append(delay)
        is_first = bool(delay) and len(waits) == 1
        for _ in range(1000 if is_first else 1):
            await sleep(0)

    monkeypatch.setattr(asyncio, "sleep", keep_the_first_waiting)
    results = ask(server, 2)

    assert server.requests.count(0) == 1
    assert server.requests.count(1) == bulk.MAX_ATTEMPTS
    assert [str(result) for result in results] == ["down for 0", "down for 1"]


def test_a_request_that_hangs_times_out(no_waiting: None) -> None:
    class Hanging:
        requests = 0

        async def answer(self, request: int) -> None:
            self.requests += 1
            await asyncio.sleep(60)

    server = Hanging()
    (result,) = ask(server, 1, timeout=0.01)
    assert isinstance(result, TimeoutError)
    assert str(result) == "no answer in 0.01 s"
    assert server.requests == bulk.MAX_ATTEMPTS
