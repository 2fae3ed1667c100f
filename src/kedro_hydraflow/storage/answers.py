"""Reading the bodies of a server's answers with aiohttp, up to a limit."""

from __future__ import annotations

from typing import Any

from kedro_hydraflow.limits import check_file_size


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


async def read_beginning(response: Any, size: int) -> str:
    """Return the beginning of an answer as text, for messages."""
    beginning = bytearray()
    async for chunk in response.content.iter_any():
        beginning += chunk
        if len(beginning) >= size:
            break
    return beginning.decode("utf-8", errors="replace")
