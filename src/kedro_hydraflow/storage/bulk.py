"""Making many concurrent requests, with retries, and giving up when nothing answers."""

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
"""The maximum number of concurrent requests, unless a client or its options set a lower one."""

MAX_ATTEMPTS = 8
"""The maximum number of attempts for a request that fails for a transient reason."""

GIVE_UP_AFTER = 60.0
"""Seconds from the first attempt at a request after which no further attempt begins."""

WAIT = 0.2
LONGEST_WAIT = 5.0
"""Seconds to wait before a retry: a random part of `WAIT`, which doubles with each attempt up to
`LONGEST_WAIT`."""


class NotTriedError(Exception):
    """A request was not made, because the storage no longer answers."""


def run_requests(
    make_request: Callable[[A], Awaitable[T]],
    arguments: Sequence[A],
    *,
    concurrency: int,
    timeout: float | None = None,
) -> list[T | Exception]:
    """Make a request for each argument, in fsspec's event loop.

    Requests that fail for a transient reason are retried after growing waits. If all attempts
    at a request fail, and no other request gets an answer meanwhile, the storage is down: the
    remaining requests fail at once.

    Args:
        make_request: Makes one request.
        arguments: One for each request.
        concurrency: The number of concurrent requests.
        timeout: Seconds for each attempt; None leaves it to the client.

    Returns:
        The result of each request, or the exception that its last attempt raised.
    """
    from fsspec.asyn import get_loop, sync

    requests = _Requests(make_request, concurrency, timeout)
    results: list[T | Exception] = sync(get_loop(), requests.run, arguments)
    return results


class _Requests(Generic[A, T]):
    """Many requests of one kind, and whether the storage still answers."""

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
                results[i] = await self._complete(argument)

        await asyncio.gather(*(work() for _ in range(min(self._concurrency, len(arguments)))))
        return results

    async def _complete(self, argument: A) -> T | Exception:
        """Return the final result of a request, and watch for an outage."""
        if self._outage is not None:
            return NotTriedError(f"not tried, as other requests failed: {describe(self._outage)}")
        n_answers = self._n_answers
        result = await self._try_with_retries(argument)
        if not _is_transient_failure(result):
            self._n_answers += 1
        elif self._n_answers == n_answers:
            self._outage = cast("Exception", result)
        return result

    async def _try_with_retries(self, argument: A) -> T | Exception:
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
            if self._outage is not None:  # detected by another request during the wait
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
