"""Making many requests at once: bounded, retried, and given up when nothing answers."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from kedro_hydraflow.errors import describe
from kedro_hydraflow.storage.foreign_errors import is_transient

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

A = TypeVar("A")
T = TypeVar("T")

MAX_CONCURRENCY = 64
"""How many requests are in flight at once, unless a client or its options say less."""

MAX_ATTEMPTS = 8
"""How often a request is made that fails for a transient reason."""

GIVE_UP_AFTER = 60.0
"""Seconds after the first attempt at a request; later than that no other one begins."""

WAIT = 0.2
LONGEST_WAIT = 5.0
"""Seconds before a request is made again: a random part of `WAIT`, which doubles with each
attempt up to `LONGEST_WAIT`."""


class NotTriedError(Exception):
    """A request was not made, because the storage had stopped answering other requests."""


def run_requests(
    make_request: Callable[[A], Awaitable[T]],
    arguments: Sequence[A],
    *,
    concurrency: int,
    timeout: float | None = None,
) -> list[T | Exception]:
    """Make a request for each argument, in fsspec's event loop.

    What fails for a transient reason is tried again, after growing waits. When a request
    has failed for good while none succeeded, the storage is down: all that are left fail
    at once.

    Args:
        make_request: Makes one request. What it raises is its result.
        arguments: One for each request.
        concurrency: How many requests are in flight at once.
        timeout: Seconds for each attempt; None leaves it to the client.

    Returns:
        The result of each request, or why it failed.
    """
    from fsspec.asyn import get_loop, sync

    requests = _Requests(make_request, concurrency, timeout)
    results: list[T | Exception] = sync(get_loop(), requests.run, arguments)
    return results


class _Requests(Generic[A, T]):
    """Many requests of one kind, and whether the storage still answers them."""

    def __init__(
        self,
        make_request: Callable[[A], Awaitable[T]],
        concurrency: int,
        timeout: float | None,
    ) -> None:
        self._make_request = make_request
        self._concurrency = concurrency
        self._timeout = timeout
        self._n_answers = 0
        self._outage: Exception | None = None

    async def run(self, arguments: Sequence[A]) -> list[T | Exception]:
        results: list[Any] = [None] * len(arguments)
        waiting = iter(enumerate(arguments))

        async def work() -> None:
            for i, argument in waiting:
                results[i] = await self._settle(argument)

        await asyncio.gather(*(work() for _ in range(min(self._concurrency, len(arguments)))))
        return results

    async def _settle(self, argument: A) -> T | Exception:
        """Return what came of one request in the end."""
        if self._outage is not None:
            return NotTriedError(f"not tried after others had failed: {describe(self._outage)}")
        n_answers = self._n_answers
        result = await self._try_repeatedly(argument)
        if not _is_transient_failure(result):
            self._n_answers += 1
        elif self._n_answers == n_answers:
            self._outage = cast("Exception", result)
        return result

    async def _try_repeatedly(self, argument: A) -> T | Exception:
        """Return the result of the last attempt."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + GIVE_UP_AFTER
        result = await self._try(argument)
        for n_failures in range(1, MAX_ATTEMPTS):
            if not _is_transient_failure(result) or self._outage is not None:
                break
            longest_wait = min(WAIT * 2 ** (n_failures - 1), LONGEST_WAIT)
            wait = random.uniform(0, longest_wait)  # noqa: S311 - to spread requests
            if clock() + wait >= deadline:
                break
            await asyncio.sleep(wait)
            if self._outage is not None:  # noticed by another request during the wait
                break
            result = await self._try(argument)
        return result

    async def _try(self, argument: A) -> T | Exception:
        try:
            if self._timeout is None:
                return await self._make_request(argument)
            return await asyncio.wait_for(self._make_request(argument), self._timeout)
        except asyncio.TimeoutError as exc:
            # Before Python 3.11 it is not the builtin one, and its text is empty.
            return TimeoutError(str(exc) or f"no answer in {self._timeout} s")
        except Exception as exc:
            return exc


def _is_transient_failure(result: object) -> bool:
    return isinstance(result, Exception) and is_transient(result)
