"""Reading the bodies of a server's answers with aiohttp, up to a limit."""

from __future__ import annotations

import functools
from contextvars import ContextVar
from typing import Any

from kedro_hydraflow.errors import FileSizeError
from kedro_hydraflow.limits import check_file_size, get_max_file_size

FILE_LIMIT: ContextVar[int | None] = ContextVar("limit", default=None)
"""The maximum size in bytes of a file that the current task reads into memory."""

_MAX_ANSWER = 100_000_000
"""The bytes that are read of other answers if files may not be larger: listings, and errors."""


async def read_body(response: Any, limit: int) -> bytes:
    """Return the body of an answer.

    Raises:
        FileSizeError: If it is larger than the limit, in bytes. It may be larger than the header
            says, because it may be compressed.
    """
    check_file_size(response.content_length, limit)
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        check_file_size(len(body), limit)
    return bytes(body)


class _LimitedStream:
    """The body of an answer, of which no more than a limit is read at once."""

    def __init__(self, response: Any, limit: int) -> None:
        self._response = response
        self._stream = response.content
        self._limit = limit

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    async def read(self, n: int = -1) -> bytes:
        if n >= 0:
            return bytes(await self._stream.read(n))
        try:
            return await read_body(self._response, self._limit)
        except FileSizeError:
            self._response.close()
            raise


@functools.cache
def make_size_trace() -> Any:
    """Return what limits the answers of an aiohttp session, an entry of its ``trace_configs``."""
    from aiohttp import TraceConfig

    async def limit_body(session: Any, context: Any, params: Any) -> None:  # noqa: ARG001
        limit = FILE_LIMIT.get()
        if limit is None or params.response.status >= 300:
            limit = max(get_max_file_size(), _MAX_ANSWER)
        if params.method != "HEAD":  # whose header is of a body that it has not
            params.response.content = _LimitedStream(params.response, limit)

    trace = TraceConfig()
    trace.on_request_end.append(limit_body)
    return trace


async def read_beginning(response: Any, size: int) -> str:
    """Return the beginning of an answer as text, for messages."""
    beginning = bytearray()
    async for chunk in response.content.iter_any():
        beginning += chunk
        if len(beginning) >= size:
            break
    return beginning.decode("utf-8", errors="replace")
