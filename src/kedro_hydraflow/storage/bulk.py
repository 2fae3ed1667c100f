"""Making many requests at once: bounded, retried, and given up when nothing answers."""

from __future__ import annotations

import asyncio
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
"""Seconds after its first attempt when no other one begins."""

WAIT = 0.2
LONGEST_WAIT = 5.0
"""Seconds before a request is made again: at most `WAIT`, doubled each time, up to this."""


class NotTriedError(Exception):
    """A request was not made, because the storage had stopped to answer others."""


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
        begin = asyncio.get_running_loop().time()
        result = await self._try(argument)
        if _is_transient_failure(result):
            result = await self._try_again(argument, result, begin)
        if not _is_transient_failure(result):
            self._n_answers += 1
        elif self._n_answers == n_answers:
            self._outage = cast("Exception", result)
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

    async def _try_again(self, argument: A, failure: T | Exception, begin: float) -> T | Exception:
        # Only here, for it takes as long as reading a small file.
        from tenacity import (
            AsyncRetrying,
            RetryCallState,
            retry_if_result,
            wait_random_exponential,
        )

        outcomes = [failure]  # the first attempt is made already

        async def attempt() -> T | Exception:
            return outcomes.pop() if outcomes else await self._try(argument)

        def is_enough(state: RetryCallState) -> bool:
            waited = asyncio.get_running_loop().time() - begin
            return (
                state.attempt_number >= MAX_ATTEMPTS
                or waited >= GIVE_UP_AFTER
                or self._outage is not None
            )

        retrying = AsyncRetrying(
            retry=retry_if_result(_is_transient_failure),
            wait=wait_random_exponential(multiplier=WAIT, max=LONGEST_WAIT),
            stop=is_enough,
            retry_error_callback=lambda state: state.outcome and state.outcome.result(),
        )
        result: T | Exception = await retrying(attempt)
        return result


def _is_transient_failure(result: object) -> bool:
    return isinstance(result, Exception) and is_transient(result)
