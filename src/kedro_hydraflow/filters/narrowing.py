"""The parts of conditions that a store may apply before we do.

A store that leaves out runs must not change what is said of the others. An error about a value, or
about a key that no run has, depends on which runs a condition is asked for. So conditions are given
to the store in the order in which they are applied, up to the first one that might have anything to
say of a run that a later one rules out. And all runs are listed unless one meets all of these
conditions, and so has the keys in them.
"""

from __future__ import annotations

import math
import sys
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from kedro_hydraflow.fact_checks import TIME_FACTS
from kedro_hydraflow.filters.expressions import Comparison, IsNull, Level, iter_leaves
from kedro_hydraflow.keys import to_dotted
from kedro_hydraflow.stores.clauses import Clause, Compared, OneOf
from kedro_hydraflow.stores.record import PARENT_TAG

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kedro_hydraflow.filters.comparison import Comparer
    from kedro_hydraflow.filters.expressions import Expression
    from kedro_hydraflow.filters.parser import Condition

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)

_MAX_INTEGER = 2**53
"""The largest integer up to which floats hold all integers."""

_ORDER = ("==", "<", "<=", ">", ">=")


class Narrowing(NamedTuple):
    """What a store may apply of conditions."""

    clauses: tuple[Clause, ...]

    n_conditions: int
    """The number of conditions, from the first one on, up to the last one with a clause."""

    others: tuple[Condition, ...]
    """Those of these conditions that have no clause."""


def make_narrowing(
    conditions: Sequence[Condition], get_comparer: Callable[[Comparison], Comparer]
) -> Narrowing:
    """Return what a store may apply of conditions.

    Args:
        conditions: The conditions, in the order in which they are applied.
        get_comparer: Returns the comparer of a comparison.
    """
    clauses: list[Clause] = []
    n_conditions = 0
    without: list[Condition] = []
    others: list[Condition] = []
    for i, condition in enumerate(conditions, start=1):
        expression = condition.expression
        made: Sequence[Clause] = ()
        if condition.level in (Level.FACT, Level.LOGGED) and isinstance(expression, Comparison):
            made = _make_clauses(expression, get_comparer(expression))
        if made:
            clauses += made
            n_conditions = i
            others += without
            without = []
        elif _has_a_say(condition.level, expression):
            break
        else:
            without.append(condition)
    return Narrowing(tuple(clauses), n_conditions, tuple(others))


def _has_a_say(level: Level, expression: Expression) -> bool:
    """Whether a condition may raise an error about a run, or one about a key that none has."""
    return level > Level.LOGGED or not all(map(_is_silent, iter_leaves(expression)))


def _is_silent(leaf: IsNull | Comparison) -> bool:
    if isinstance(leaf, IsNull):
        return True
    key = leaf.key
    if key.kind != "fact":
        return False
    # Other facts are texts, to which any text can be compared.
    is_text = leaf.operator in ("==", "in", "~", "like", "ilike") or isinstance(leaf.value, str)
    return key.path in TIME_FACTS or is_text


def _make_clauses(comparison: Comparison, comparer: Comparer) -> Sequence[Clause]:
    """Return what a run that meets a comparison also meets, nothing if that cannot be said."""
    key = comparison.key
    if key.kind == "fact":
        if key.path in TIME_FACTS:
            return _make_time_clauses(key.path, comparison.operator, comparer.value)
        if key.path in ("run_id", "status"):
            return _make_text_clauses(OneOf("fact", key.path, ()), comparison.operator, comparer)
        if key.path == "parent_run_id":
            return _make_text_clauses(OneOf("tags", PARENT_TAG, ()), comparison.operator, comparer)
        return ()
    kind, _, name = key.path.partition(".")
    if to_dotted(name) != name or not name.isprintable():
        return ()  # `metrics.a__b` may be the metric `a.b`
    if kind == "metrics":
        number = comparer.value
        if comparison.operator not in _ORDER or not _is_plain_number(number):
            return ()
        return (Compared("metrics", name, cast("Any", comparison.operator), number),)
    # 0.1 is also the text 0.10.
    if comparer.others:
        return ()
    return _make_text_clauses(OneOf(cast("Any", kind), name, ()), comparison.operator, comparer)


def _make_text_clauses(clause: OneOf, operator: str, comparer: Comparer) -> Sequence[Clause]:
    texts = sorted(comparer.texts)
    if operator not in ("==", "in") or not texts:
        return ()
    if not all(text and text.isprintable() for text in texts):
        return ()
    return (OneOf(clause.kind, clause.name, tuple(texts)),)


def _make_time_clauses(name: str, operator: str, time: Any) -> Sequence[Clause]:
    """Return the bounds of a time, rounded to milliseconds outwards."""
    if not isinstance(time, datetime):  # a list of times
        return ()
    milliseconds = (time - _EPOCH) // timedelta(milliseconds=1)
    lower = Compared("fact", name, ">=", milliseconds)
    upper = Compared("fact", name, "<=", milliseconds + 1)
    if operator == "==":
        return lower, upper
    return (lower,) if operator in (">", ">=") else (upper,)


def _is_plain_number(value: Any) -> bool:
    """Whether a value is a number that databases compare with floats as Python does."""
    if isinstance(value, bool):
        return False
    if isinstance(value, int):
        return abs(value) <= _MAX_INTEGER
    # Databases store infinity as the largest float.
    return isinstance(value, float) and math.isfinite(value) and abs(value) < sys.float_info.max
