"""Converting the values of databases and servers, which may be of any type.

SQLite stores what it is given in any column. What is unknown is None. What MLflow would show is
kept, such as a number in place of a text. Anything else is a MetadataError.
"""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, TypeVar

from kedro_hydraflow.errors import MetadataError, prefix_error
from kedro_hydraflow.storage.local import is_file_name
from kedro_hydraflow.stores.record import LARGEST_INTEGER

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kedro_hydraflow.stores.record import Facts

T = TypeVar("T")
V = TypeVar("V")

ADVICE = "correct it there, or go on without it by on_error='warn'"
"""What to do about a malformed value in a database or on a server."""

_LARGEST = sys.float_info.max
"""What stands for infinity in MLflow's databases."""

_MAX_SHOWN = 80
"""The maximum number of characters of a value shown in an error."""


def to_text(value: object) -> str | None:
    """Return a text, None for null.

    Raises:
        MetadataError: If the value is neither a text nor a number.
    """
    if value is None or type(value) is str:
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) <= LARGEST_INTEGER:
        return f"{value:.0f}"  # as other programs write times
    if isinstance(value, (int, float)):
        return str(value)
    raise _make_error("text", value)


def to_id(value: object) -> str:
    """Return an ID, which is the name of a directory.

    Raises:
        MetadataError: If the value is no text, or cannot be the name of a directory.
    """
    if type(value) is str and is_file_name(value):
        return value
    raise _make_error("an ID", value)


def to_key(value: object) -> str:
    """Return the name of a metric, param or tag.

    Raises:
        MetadataError: If the value is no text.
    """
    if type(value) is str:
        return value
    raise _make_error("text as key", value)


def to_number(value: object) -> float | None:
    """Return a number, None for null. The largest float stands for infinity.

    Raises:
        MetadataError: If the value is not a number.
    """
    if type(value) is float and -_LARGEST < value < _LARGEST:
        return value  # first, as there are many
    if type(value) is int or isinstance(value, float):
        if abs(value) >= _LARGEST:
            return math.inf if value > 0 else -math.inf
        return float(value)
    if value is None:
        return None
    raise _make_error("a number", value)


def to_integer(value: object) -> int:
    """Return a step or a time.

    Raises:
        MetadataError: If the value is not an integer of 64 bits.
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if type(value) is not int or abs(value) > LARGEST_INTEGER:
        raise _make_error("an integer", value)
    return value


def to_facts(recorded: Mapping[str, object]) -> Facts:
    """Return the facts of a run that are not null.

    Raises:
        MetadataError: If one is neither a text nor a number. The error names the field.
    """
    facts: Facts = {}
    for name, value in recorded.items():
        try:
            text = to_text(value)
        except MetadataError as exc:
            raise prefix_error(f"runs.{name}", exc) from exc
        if text is not None:
            facts[name] = text
    return facts


def attempt(function: Callable[[V], T], value: V) -> T | MetadataError:
    """Return a converted value, or the error of converting it."""
    try:
        return function(value)
    except MetadataError as exc:
        return exc


def make_repeated_error(number: int, what: str = "one row") -> MetadataError:
    """Return the error for rows of which there has to be one, as MLflow's primary keys ensure."""
    return MetadataError(f"expected {what}, found {number}; {ADVICE}")


def _make_error(expected: str, value: object) -> MetadataError:
    if value is None:
        found = "null"
    elif isinstance(value, int) and abs(value) > LARGEST_INTEGER:
        found = "a larger one"  # whose digits take long to compute
    else:
        found = repr(value)
        found = found if len(found) <= _MAX_SHOWN else f"{found[:_MAX_SHOWN]}…"
    return MetadataError(f"expected {expected}, found {found}; {ADVICE}")
