"""Advice to filter by text, for messages."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from datetime import datetime
from typing import Any

from kedro_hydraflow.config import parse_scalar
from kedro_hydraflow.errors import ConfigError
from kedro_hydraflow.filters.parser import quote_key
from kedro_hydraflow.missing import MISSING

_MAX_VALUES = 10

_WORDS = ("and", "or", "not")


def advise_filter(key: str, wanted: Any = MISSING) -> str:
    """Return advice that names the filter with which runs that lack a key are no error.

    Args:
        key: The key.
        wanted: The condition on its value in ``RunCollection.filter``, MISSING in other methods.
    """
    if wanted is None:
        return f"runs.filter({f'{quote_key(key)} is null'!r}) selects those runs too"
    return f"runs.filter({_write_condition(quote_key(key), wanted)!r}) leaves those runs out"


def _write_condition(key: str, wanted: Any) -> str:
    """Return a filter for a value, a list of alternatives or a range, else ``KEY is not null``."""
    try:
        if isinstance(wanted, tuple):
            low, high = map(_write, wanted)
            return f"{key} >= {low} and {key} <= {high}"
        if isinstance(wanted, (list, set, range)) and 0 < len(wanted) <= _MAX_VALUES:
            alternatives = ", ".join(map(_write, wanted))
            # A value that is this list itself is meant, too.
            whole = f", [{alternatives}]" if isinstance(wanted, list) else ""
            return f"{key} in [{alternatives}{whole}]"
        return f"{key} == {_write(wanted)}"
    except ValueError:
        return f"{key} is not null"


def _write(value: Any) -> str:
    """Return a scalar as a filter reads it. Raise ValueError if it is none, or cannot be equal."""
    if isinstance(value, datetime):
        return value.isoformat(sep=" ")
    if isinstance(value, str):
        return _write_text(value)
    if type(value) in (bool, int) or (type(value) is float and math.isfinite(value)):
        return json.dumps(value)
    raise ValueError


def _write_text(text: str) -> str:
    is_simple = text.replace("_", "").replace("-", "").isalnum() and text not in _WORDS
    for written in (text if is_simple else "", json.dumps(text, ensure_ascii=False)):
        with suppress(ConfigError):
            if parse_scalar(written) == text:
                return written
    raise ValueError
