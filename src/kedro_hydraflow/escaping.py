"""Foreign text where it is shown: names of files, keys and experiments, texts of errors."""

from __future__ import annotations


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
