"""Whether a value of a run meets a comparison."""

from __future__ import annotations

import math
import re
from datetime import datetime
from enum import Enum
from fnmatch import fnmatchcase
from functools import lru_cache
from numbers import Real
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from kedro_hydraflow.config import parse_scalar
from kedro_hydraflow.errors import ConfigError
from kedro_hydraflow.fact_checks import FACT_VALUES, MIN_PREFIX, TIME_FACTS, to_fact_value
from kedro_hydraflow.times import to_time

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kedro_hydraflow.filters.expressions import Comparison


class Comparer:
    """Compares values of runs with the literal of a comparison.

    Args:
        comparison: The comparison.
        now: The time that ``now`` stands for.
    """

    def __init__(self, comparison: Comparison, now: datetime) -> None:
        key = comparison.key
        self._operator = comparison.operator
        self._is_list = comparison.operator == "in"
        self._fact = key.path if key.kind == "fact" else None
        self._is_logged_text = key.kind in ("params", "tags")
        self.value = comparison.value
        self._text = comparison.texts
        texts = comparison.texts if self._is_list else [comparison.texts]
        if self._fact in TIME_FACTS:
            self.value = self._convert_each(lambda value: to_time(value, now))
        elif self._fact in FACT_VALUES:
            texts = [to_fact_value(self._fact, text) for text in texts]
        self.texts = frozenset(filter(_is_text, texts))
        """The texts to which a value may be equal that is always text, such as a param."""
        wanted = self.value if self._is_list else [self.value]
        is_text = self._fact is not None and self._fact not in TIME_FACTS
        self.kinds = {"text"} if is_text else set(map(get_kind, wanted))
        """The kinds of values that may be equal."""
        self.compares_ids = self._fact == "run_id" and comparison.operator in ("==", "in")
        """Whether run IDs are compared as a whole."""
        self._lengths = {n for n in map(len, self.texts) if self.compares_ids and n >= MIN_PREFIX}
        self._compare = _COMPARE[self._operator]
        self.others = [value for value in wanted if not isinstance(value, str)]
        """The values that are no text, to which a text may be equal too if it looks like them."""

    def _convert_each(self, convert: Callable[[Any], Any]) -> Any:
        return list(map(convert, self.value)) if self._is_list else convert(self.value)

    def meets(self, actual: Any) -> bool:
        """Whether a value that is not null meets the comparison.

        Raises:
            TypeError: If they cannot be compared.
        """
        is_text = self._is_logged_text or self._fact is not None
        actual = _to_text(actual) if is_text else actual
        if is_text and isinstance(actual, str) and self._operator in ("==", "in"):
            # Text whatever it looks like in YAML, such as the ID 1e5. But 0.10 logged is 0.1 too.
            if actual in self.texts:
                return True
            return self._is_logged_text and any(
                _equal(_read_yaml(actual), other) for other in self.others
            )
        if self._fact in FACT_VALUES and isinstance(self.value, str):
            return self._compare(actual.casefold(), self.value.casefold())
        if is_text and self._operator == "contains" and isinstance(self._text, str):
            return self._text in actual
        return self._compare(self.convert(actual), self.value)

    def find_beginning(self, run_id: str) -> str | None:
        """Return the text, if any, that a run ID begins with, but is not equal to."""
        beginnings = (run_id[:length] for length in self._lengths if length < len(run_id))
        return next((beginning for beginning in beginnings if beginning in self.texts), None)

    def convert(self, actual: Any) -> Any:
        """Return a value as it is compared: paths and members of enumerations as text."""
        actual = _to_text(actual)
        if isinstance(actual, str) and self._is_logged_text and self.others:
            return _read_yaml(actual)
        return actual


def _to_text(value: Any) -> Any:
    """Return a path, or a member of an enumeration, as text, and anything else unchanged."""
    if isinstance(value, PurePath) or hasattr(value, "storage_options"):  # a UPath
        return str(value)
    return value.name if isinstance(value, Enum) else value


def get_kind(value: Any) -> str:
    """Return the kind of a value. For values of different kinds, ``==`` is never true."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    for kind, types in (("number", Real), ("text", str), ("time", datetime), ("list", list)):
        if isinstance(value, types):
            return kind
    return "mapping" if isinstance(value, dict) else type(value).__name__


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _read_yaml(text: str) -> Any:
    try:
        return parse_scalar(text)
    except ConfigError:
        return text


def _equal(actual: Any, expected: Any) -> bool:
    """Whether two values are equal, each of its kind. NaN is equal to NaN."""
    if isinstance(actual, bool) is not isinstance(expected, bool):
        return False
    if isinstance(actual, list) and isinstance(expected, list):
        return len(actual) == len(expected) and all(map(_equal, actual, expected))
    if isinstance(actual, dict) and isinstance(expected, dict):
        return actual.keys() == expected.keys() and all(
            _equal(value, expected[key]) for key, value in actual.items()
        )
    if isinstance(actual, float) and isinstance(expected, float) and math.isnan(actual):
        return math.isnan(expected)
    return bool(actual == expected)


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def compare_alike(actual: Any, expected: Any) -> bool:
        kind = get_kind(actual)
        if kind != get_kind(expected) or kind not in ("number", "text", "time"):
            raise TypeError
        return compare(actual, expected)

    return compare_alike


def _glob(actual: Any, pattern: str) -> bool:
    return fnmatchcase(_check_text(actual), pattern)


def _contains(actual: Any, expected: Any) -> bool:
    if isinstance(actual, list):
        return any(_equal(each, expected) for each in actual)
    return _check_text(expected) in _check_text(actual)


def _check_text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _like(flags: int) -> Callable[[Any, str], bool]:
    def match(actual: Any, pattern: str) -> bool:
        return _is_like(_check_text(actual), *_split_like(pattern, flags))

    return match


def _is_like(text: str, parts: Sequence[re.Pattern[str]], last_length: int) -> bool:
    """Whether a text has the parts of a pattern in this order, from its beginning to its end.

    The first occurrence of each part is taken. One regular expression for all of them would try
    all occurrences, which takes exponential time.
    """
    if len(parts) == 1:
        return parts[0].fullmatch(text) is not None
    end = 0
    for i, part in enumerate(parts[:-1]):
        match = part.search(text, end) if i else part.match(text)
        if match is None:
            return False
        end = match.end()
    start = len(text) - last_length
    return start >= end and parts[-1].match(text, start) is not None


@lru_cache(maxsize=256)
def _split_like(pattern: str, flags: int) -> tuple[list[re.Pattern[str]], int]:
    """Return the parts of a pattern between its ``%``, and how many characters the last matches."""
    texts = pattern.split("%")
    regexes = ("".join("." if c == "_" else re.escape(c) for c in text) for text in texts)
    return [re.compile(regex, flags | re.DOTALL) for regex in regexes], len(texts[-1])


_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "==": _equal,
    "<": _ordered(lambda actual, expected: bool(actual < expected)),
    "<=": _ordered(lambda actual, expected: bool(actual <= expected)),
    ">": _ordered(lambda actual, expected: bool(actual > expected)),
    ">=": _ordered(lambda actual, expected: bool(actual >= expected)),
    "in": lambda actual, expected: any(_equal(actual, each) for each in expected),
    "~": _glob,
    "like": _like(0),
    "ilike": _like(re.IGNORECASE),
    "contains": _contains,
}
