"""Values of any kind as text that people read, much as in YAML."""

from __future__ import annotations

import math
import reprlib
from datetime import date, datetime
from enum import Enum
from itertools import islice
from typing import TYPE_CHECKING, Any

from kedro_hydraflow.columns import to_text
from kedro_hydraflow.config import parse_scalar
from kedro_hydraflow.errors import ConfigError
from kedro_hydraflow.escaping import escape

if TYPE_CHECKING:
    from collections.abc import Mapping

_MAX_COUNTS = 4
"""The maximum number of counts in a ``repr``."""

_SHORT = reprlib.Repr()
_SHORT.maxstring = 40


def show_value(value: Any) -> str:
    """Return a value as text on one line: ``mlp``, ``0.1``, ``true``, ``null``, ``[64, 32]``.

    Text is quoted where it looks like a value of another kind: ``'1'`` is text, ``1`` a number.
    """
    text = _get_text(value)
    if text is None:
        return _show_other(value)
    return text if _is_clear(text) else _quote(text)


def show_short(value: Any) -> str:
    """Return the ``repr`` of a value, cut if it is long."""
    return _SHORT.repr(value)


def show_counts(counts: Mapping[Any, int]) -> str:
    """Return the first of some counts as ``repr`` shows a mapping: ``{'mlp': 19, 'linear': 12}``.

    Others are ``...``, and long values are cut.
    """
    shown = [f"{show_short(value)}: {n}" for value, n in islice(counts.items(), _MAX_COUNTS)]
    more = ["..."] if len(counts) > _MAX_COUNTS else []
    return f"{{{', '.join([*shown, *more])}}}"


def _get_text(value: Any) -> str | None:
    """Return the text of a value that is shown as text, None for one of another kind."""
    if isinstance(value, Enum):
        return value.name
    is_other = value is None or isinstance(value, (bool, int, float, date, list, tuple, dict))
    return None if is_other else to_text(value)


def _show_other(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _show_float(value)
    if isinstance(value, datetime):
        is_short = value.microsecond and value.microsecond % 1000 == 0
        return value.isoformat(sep=" ", timespec="milliseconds" if is_short else "auto")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_show_item(k)}: {_show_item(v)}' for k, v in value.items())}}}"
    return f"[{', '.join(map(_show_item, value))}]" if not isinstance(value, int) else str(value)


def _show_float(value: float) -> str:
    if math.isfinite(value):
        return repr(float(value))
    return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"


def _show_item(value: Any) -> str:
    """Return a value as an item of a list or mapping."""
    text = _get_text(value)
    if text is None:
        return _show_other(value)
    try:
        is_clear = parse_scalar(f"[{text}]") == [text] and parse_scalar(f"{{{text}: 1}}") == {
            text: 1
        }
    except ConfigError:
        is_clear = False
    return text if is_clear and text.isprintable() else _quote(text)


def _is_clear(text: str) -> bool:
    """Whether text is not taken for a value of another kind, nor for text in quotes."""
    if not text.isprintable() or text != text.strip() or text[:1] in ("", "'", '"', "[", "{"):
        return False
    try:
        return isinstance(parse_scalar(text), (str, dict))  # a mapping without braces
    except ConfigError:
        return True


def _quote(text: str) -> str:
    """Return text in quotes, with YAML's escapes of what cannot be printed."""
    if text.isprintable() and "'" not in text:
        return f"'{text}'"
    quotable = text.replace("\\", r"\\").replace('"', r"\"")
    return f'"{escape(quotable)}"'
