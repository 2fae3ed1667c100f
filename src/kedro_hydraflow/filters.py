"""Filters on runs written as text: ``KEY OP VALUE``, as in a Kedro catalog."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import datetime, timezone
from enum import Enum
from fnmatch import fnmatchcase
from functools import cached_property, lru_cache
from numbers import Real
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from typing_extensions import NamedTuple

from kedro_hydraflow.config import parse_scalar, parse_texts
from kedro_hydraflow.errors import (
    ConfigError,
    Failure,
    FilterError,
    KedroHydraflowError,
    is_denied,
    prefix_error,
)
from kedro_hydraflow.fact_checks import (
    FACT_VALUES,
    check_possible,
    check_recorded,
    to_fact_value,
)
from kedro_hydraflow.lookup import iter_outcomes
from kedro_hydraflow.missing import MISSING
from kedro_hydraflow.nearest_keys import describe_nearest_keys
from kedro_hydraflow.run_info import FACTS, get_place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from typing_extensions import Self

    from kedro_hydraflow.run_base import RunBase


OPERATORS = ("==", "!=", "<", "<=", ">", ">=", "in", "not in", "~", "=", "LIKE", "ILIKE")
"""What can stand between key and value. The last three are MLflow's."""

_FILTER = re.compile(
    r"""\s* (?P<key> (?: [^\s=!<>~"'`] | "[^"]*" | '[^']*' | `[^`]*` )+ )
    (?: \s* (?P<symbol> == | != | <= | >= | = | < | > | ~ )
      | \s+ (?P<word> not\s+in | in | i?like ) \b )
    \s* (?P<value> (?! [<>=!] ) .*? ) \s*""",
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)
_CONJUNCTION = re.compile(r"\s(?:and|or|&&|\|\|)\s", re.IGNORECASE)
_QUOTES = re.compile(r"[\"'`]")
_TO_BE_QUOTED = re.compile(r"[\s=!<>~]")
_ATTRIBUTE = re.compile(r"(?:attributes?|attr|run)\.(.+)")
_MEMBERSHIP = ("==", "!=", "in", "not in")
_PATTERN_OPERATORS = ("~", "like", "ilike")


@dataclass(frozen=True)
class Filter:
    """A condition on runs: how the value of a key compares with a given value."""

    text: str
    """The filter as it was written."""

    key: str
    operator: str
    """One of `OPERATORS` in lower case, but ``==`` for ``=``."""

    value: Any
    texts: Any
    """The value with every scalar in it as text."""

    def look_up(self, runs: Sequence[RunBase]) -> Iterator[Any | KedroHydraflowError]:
        """Yield the value of the key for each run, as `iter_outcomes` does.

        For a fact, no `impl` is built, because that may fail for runs that the filter excludes.
        """
        return iter_outcomes(runs, self.key, self._fact)

    def accepts(self, run: RunBase, actual: Any) -> bool:
        """Whether a run meets the condition.

        Args:
            run: The run, for messages.
            actual: Its value of the key.

        Raises:
            FilterError: If its value and the filter's cannot be compared.
        """
        if isinstance(actual, str) and self._is_text and self.operator in _MEMBERSHIP:
            return self._has_text(actual) is (self.operator in ("==", "in"))
        try:
            return _COMPARE[self.operator](self._convert(actual), self._expected(actual))
        except TypeError:
            raise FilterError(
                f"filter {self.text!r}: run {run.info.run_id} has {actual!r} "
                f"({type(actual).__name__}), which {self.operator!r} cannot compare with "
                f"{self.value!r} ({type(self.value).__name__})"
            ) from None

    def check_recorded(self, run: RunBase) -> None:
        """Raise FilterError if the key is a fact that the run's store does not record."""
        check_recorded(f"filter {self.text!r}", run, self._fact)

    def check_possible(self, seen: Iterable[Any]) -> None:
        """Raise FilterError if a fact is compared with a value that it never has.

        Args:
            seen: The values of runs.
        """
        if self.operator in _MEMBERSHIP:
            wanted = self.value if isinstance(self.value, list) else [self.value]
            check_possible(f"filter {self.text!r}", self._fact, wanted, seen)

    def _convert(self, actual: Any) -> Any:
        """Return a run's value as filters compare it: paths and members of enumerations as text."""
        if isinstance(actual, PurePath):
            return str(actual)
        if isinstance(actual, Enum):
            return actual.name
        if isinstance(actual, str) and self._is_logged and not isinstance(self.value, str):
            return _parse_logged(actual)
        return actual

    @property
    def _is_logged(self) -> bool:
        return self.key.startswith(("params.", "tags."))

    @cached_property
    def _fact(self) -> str | None:
        """The attribute of `RunInfo` that the key names, in MLflow's spelling or ours."""
        attribute = _ATTRIBUTE.fullmatch(self.key)
        name = attribute[1] if attribute else self.key
        return name if name in FACTS else None

    @property
    def _is_text(self) -> bool:
        """Whether the key's values are text, such as IDs, whatever they look like in YAML."""
        return self._is_logged or self._fact is not None

    def _has_text(self, actual: str) -> bool:
        """Whether the filter's value, or one in its list, equals a text.

        A param or tag is also compared as a YAML value: ``0.10`` equals ``0.1``.
        """
        is_list = self.operator in ("in", "not in")
        texts, values = (self.texts, self.value) if is_list else ([self.texts], [self.value])
        if actual in texts:
            return True
        if self._fact in FACT_VALUES:
            return actual in [to_fact_value(self._fact, text) for text in texts]
        others = [value for value in values if not isinstance(value, str)]
        return self._is_logged and any(_equal(_parse_logged(actual), other) for other in others)

    def _expected(self, actual: Any) -> Any:
        """Return the filter's value, as a time where the run's value is one."""
        if not isinstance(actual, datetime):
            return self.value
        if isinstance(self.value, list):
            return [_to_time(value) for value in self.value]
        return _to_time(self.value)


def parse_filter(text: str) -> Filter:
    """Return the filter of a text ``KEY OP VALUE``.

    ``KEY`` is a key as for ``Run.get``, ``OP`` one of `OPERATORS`, ``VALUE`` is YAML:
    ``training.learning_rate < 1e-2``, ``model.type in [mlp, linear]``, ``note == null``,
    ``job_name ~ train_*``. MLflow's ``attributes.status = 'FINISHED'``,
    ``params.`model.type` LIKE 'm%'`` and ``status IN ('FINISHED', 'FAILED')`` work too.

    Raises:
        FilterError: If the text has another form.
    """
    match = _FILTER.fullmatch(text) if isinstance(text, str) else None
    if match is None or not match["value"]:
        raise FilterError(
            f"filter {text!r}: expected 'KEY OP VALUE' with OP one of {', '.join(OPERATORS)}"
        )
    key = _QUOTES.sub("", match["key"])
    operator = " ".join((match["symbol"] or match["word"]).lower().split())
    operator = "==" if operator == "=" else operator
    source = match["value"]
    if source.startswith("#"):
        raise FilterError(f"filter {text!r}: {source} is a comment in YAML; quote it")
    if operator.endswith("in") and source[0] == "(" and source[-1] == ")":
        source = f"[{source[1:-1]}]"
    problem = None
    try:
        value, texts = parse_scalar(source), parse_texts(source)
    except ConfigError as exc:
        value = texts = None
        problem = f"the value {source!r} is not YAML: {exc}"
    if operator in _PATTERN_OPERATORS and not isinstance(value, str):
        value, texts, problem = source, source, None  # such as *.5, which is an alias in YAML
    if operator in ("in", "not in") and not isinstance(value, list) and problem is None:
        problem = f"{operator!r} expects a list such as [a, b], found {value!r}"
    if _CONJUNCTION.search(source) and (problem or source[0] not in "\"'"):
        parts = _CONJUNCTION.split(source)
        if any(_FILTER.fullmatch(part) for part in parts[1:]):
            problem = "a filter is a single condition; write each condition as a separate entry"
    if problem:
        raise FilterError(f"filter {text!r}: {problem}")
    return Filter(text, key, operator, value, texts)


class AnyRuns(Protocol):
    """What filters need of a collection of runs."""

    def __len__(self) -> int:
        """Return the number of runs."""

    def __iter__(self) -> Iterator[RunBase]:
        """Yield the runs."""

    def __getitem__(self, positions: list[int], /) -> Self:
        """Return the runs at some positions."""


Runs = TypeVar("Runs", bound=AnyRuns)


class Filtered(NamedTuple, Generic[Runs]):
    """The outcome of filters."""

    runs: Runs
    """The runs that meet all of them."""

    failures: list[Failure]
    """The failures of runs whose value cannot be read."""

    counts: list[int]
    """The number of runs after each filter."""


def apply_filters(runs: Runs, filters: Iterable[Filter]) -> Filtered[Runs]:
    """Return the runs that meet all filters.

    A run that lacks a filter's key does not meet it.

    Raises:
        FilterError: If values cannot be compared, if no run at all has the key, or if a fact is
            compared that the store does not record, or with a value that it never has.
        StorageError: If the storage denies access to a value, or cannot be reached. That says
            nothing of the run, so it is not among the failures, which may be skipped.
    """
    everyone = list(runs)
    failures: list[Failure] = []
    counts = []
    for condition in filters:
        kept = []
        candidates = list(runs)
        seen = []
        for i, actual in enumerate(condition.look_up(candidates)):
            run = candidates[i]
            if isinstance(actual, KedroHydraflowError):
                if is_denied(actual):
                    raise prefix_error(f"filter {condition.text!r}", actual)
                error = FilterError(f"filter {condition.text!r}: {actual}")
                error.__cause__ = actual
                failures.append(Failure(get_place(run.info).url, error))
                continue
            seen.append(actual)
            if actual is None:
                condition.check_recorded(run)
            if actual is not MISSING and condition.accepts(run, actual):
                kept.append(i)
        condition.check_possible(seen)
        if seen and all(actual is MISSING for actual in seen):
            _check_has_key(condition, everyone)
        runs = runs[kept]
        counts.append(len(kept))
    return Filtered(runs, failures, counts)


def _check_has_key(condition: Filter, runs: Sequence[RunBase]) -> None:
    """Raise FilterError if none of the runs has the key."""
    if any(actual is not MISSING for actual in condition.look_up(runs)):
        return
    raise FilterError(
        f"filter {condition.text!r}: none of the {len(runs)} runs has the key "
        f"{condition.key!r}; {describe_nearest_keys(runs, condition.key, _quote_key)}"
    )


def _quote_key(key: str) -> str:
    """Return a key as it has to be written in a filter."""
    return f"`{key}`" if _TO_BE_QUOTED.search(key) else key


def _parse_logged(text: str) -> Any:
    try:
        return parse_scalar(text)
    except ConfigError:
        return text


def _equal(actual: Any, expected: Any) -> bool:
    if isinstance(actual, bool) is not isinstance(expected, bool):
        return False
    if isinstance(actual, float) and isinstance(expected, float) and math.isnan(actual):
        return math.isnan(expected)
    return bool(actual == expected)


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def compare_alike(actual: Any, expected: Any) -> bool:
        if actual is None:  # such as a metric or end time that is not there yet
            return False
        kinds = [_get_kind(actual), _get_kind(expected)]
        if kinds[0] is not kinds[1] or kinds[0] is None:
            raise TypeError
        return compare(actual, expected)

    return compare_alike


def _get_kind(value: Any) -> type | None:
    """Return the kind of a value, None if it has no order. Only values of one kind compare."""
    if isinstance(value, bool):
        return None
    return next((kind for kind in (Real, str, datetime) if isinstance(value, kind)), None)


def _glob(actual: Any, pattern: str) -> bool:
    if actual is None:
        return False
    if not isinstance(actual, str):
        raise TypeError
    return fnmatchcase(actual, pattern)


def _like(flags: int) -> Callable[[Any, str], bool]:
    def match(actual: Any, pattern: str) -> bool:
        if actual is None:
            return False
        if not isinstance(actual, str):
            raise TypeError
        return _is_like(actual, *_split_like(pattern, flags))

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
    "!=": lambda actual, expected: not _equal(actual, expected),
    "<": _ordered(lambda actual, expected: bool(actual < expected)),
    "<=": _ordered(lambda actual, expected: bool(actual <= expected)),
    ">": _ordered(lambda actual, expected: bool(actual > expected)),
    ">=": _ordered(lambda actual, expected: bool(actual >= expected)),
    "in": lambda actual, expected: any(_equal(actual, e) for e in expected),
    "not in": lambda actual, expected: not any(_equal(actual, e) for e in expected),
    "~": _glob,
    "like": _like(0),
    "ilike": _like(re.IGNORECASE),
}


_MIN_MILLISECONDS = 10**11
"""A time in 1973. Smaller numbers, such as the date 20260101, are not taken for milliseconds."""


def _to_time(value: Any) -> datetime | None:
    """Return the time of an ISO 8601 text, by default in UTC, or of milliseconds.

    Raises:
        TypeError: If the value is something else, and not None.
    """
    if value is None:
        return None
    try:
        if isinstance(value, int) and value >= _MIN_MILLISECONDS:
            return datetime.fromtimestamp(value / 1000, tz=timezone.utc)
        if isinstance(value, str):
            time = datetime.fromisoformat(value.replace("Z", "+00:00"))
            return time if time.tzinfo else time.replace(tzinfo=timezone.utc)
    except (ValueError, OverflowError, OSError):
        pass
    raise TypeError
