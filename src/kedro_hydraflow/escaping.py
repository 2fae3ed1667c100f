"""Foreign text where it is shown: names of files, keys and experiments, texts of errors."""

from __future__ import annotations

import json


def escape(text: str, *, keep: str = "") -> str:
    r"""Return text with control characters and line breaks as escapes, such as ``\x1b``.

    A name may have sequences that clear a terminal, or line breaks after which it goes on like
    another message.

    Args:
        text: The text.
        keep: Characters that stay as they are.
    """
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text
    )


def escape_undecodable(text: str) -> str:
    r"""Return text with what UTF-8 cannot encode as escapes, such as ``\udcff``.

    Python reads such characters in the names of files whose bytes are not UTF-8. Polars and files
    hold UTF-8 alone.
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def escape_json(text: str) -> str:
    r"""Return JSON without control characters, and with those that are not UTF-8 as escapes."""
    return text if text.isprintable() else "".join(map(_escape_in_json, text))


def _escape_in_json(character: str) -> str:
    return character if character.isprintable() else json.dumps(character)[1:-1]
