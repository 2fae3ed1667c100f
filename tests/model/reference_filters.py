"""Slow, obvious filters to compare with: docs/filters.md in plain Python.

It shares nothing with the package. It is given what a filter consists of, not its text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import ConfigTypeError

from tests.model.reference import FACTS, RunRead

MISSING = object()
TIMES = ("start_time", "end_time")
FOLDED = ("status", "lifecycle_stage")
KINDS = ("metrics", "params", "tags", "hydra", "overrides", "results", "cfg")
FIRST_FACTS = ("job_name", "experiment_id")


@dataclass(frozen=True)
class Test:
    """A test of one value."""

    __test__ = False

    kind: str
    """``fact``, or one of `KINDS`."""

    name: str
    """The name of the fact, the param and so on, or the key in the configuration."""

    operator: str
    """``is null``, or one of the package's that has no ``not`` in it."""

    value: Any = None
    """The literal; for a time, milliseconds."""

    texts: Any = None
    """The literal with every scalar in it as it was written."""


@dataclass(frozen=True)
class Not:
    part: Expression


@dataclass(frozen=True)
class And:
    parts: Sequence[Expression]


@dataclass(frozen=True)
class Or:
    parts: Sequence[Expression]


Expression = Test | Not | And | Or


@dataclass
class Selection:
    """What filters select."""

    runs: list[RunRead]
    unread: list[RunRead]
    """Those that may be selected too: their configuration cannot be read."""

    errors: set[str] = field(default_factory=set)
    """Why there is an error instead, any of these."""

    lacking: list[Test] = field(default_factory=list)
    """The comparisons with a key that none of the runs has that got there."""


class FilterProblem(Exception):
    """A filter cannot be applied to a run."""


def select(
    runs: Sequence[RunRead],
    unread: Sequence[RunRead],
    filters: Sequence[Expression],
    *,
    records_facts: bool,
) -> Selection:
    """Return the runs for which all filters are true.

    Args:
        runs: The runs.
        unread: More of them, whose configuration cannot be read.
        filters: The filters.
        records_facts: Whether the store knows of a status.
    """
    left = Selection([*runs], [*unread])
    had: dict[int, list[bool]] = {}
    conditions = [part for each in filters for part in split(each)]
    for condition in sorted(conditions, key=get_level):
        is_last = get_level(condition) == LAST

        def meets(run: RunRead, condition: Expression = condition) -> bool:
            try:
                return get_truth(condition, run, had, records_facts) is True
            except FilterProblem as exc:
                left.errors.add(str(exc))
                return False

        left.runs = list(filter(meets, left.runs))
        left.unread = left.unread if is_last else list(filter(meets, left.unread))
    tests = [test for condition in conditions for test in iter_tests(condition)]
    left.lacking = [test for test in tests if id(test) in had and not any(had[id(test)])]
    return left


def split(expression: Expression) -> list[Expression]:
    """Return the conditions that all have to be true."""
    if isinstance(expression, And):
        return [part for each in expression.parts for part in split(each)]
    if isinstance(expression, Not) and isinstance(expression.part, Not):
        return split(expression.part.part)
    if isinstance(expression, Not) and isinstance(expression.part, Or):
        return [part for each in expression.part.parts for part in split(Not(each))]
    return [expression]


LAST = len(KINDS) + 1


def get_level(expression: Expression) -> int:
    """Return when a condition can be applied: configurations are read last."""
    return max(map(_get_level, iter_tests(expression)))


def _get_level(test: Test) -> int:
    if test.kind == "fact" and test.name != "parent_run_id":  # which is a tag
        return 0 if test.name in FIRST_FACTS else 1
    return {"cfg": LAST, "results": 3, "hydra": 3, "overrides": 3}.get(test.kind, 2)


def iter_tests(expression: Expression) -> Iterator[Test]:
    if isinstance(expression, Test):
        yield expression
    elif isinstance(expression, Not):
        yield from iter_tests(expression.part)
    else:
        for part in expression.parts:
            yield from iter_tests(part)


def get_truth(
    expression: Expression, run: RunRead, had: dict[int, list[bool]], records_facts: bool
) -> bool | None:
    """Return whether an expression is true of a run, None if that is unknown.

    Args:
        expression: The expression.
        run: The run.
        had: Gets for each comparison whether the run has its key.
        records_facts: As for `select`.
    """
    if isinstance(expression, Not):
        truth = get_truth(expression.part, run, had, records_facts)
        return None if truth is None else not truth
    if isinstance(expression, (And, Or)):
        decisive = isinstance(expression, Or)
        truths: list[bool | None] = []
        for part in expression.parts:
            truths.append(get_truth(part, run, had, records_facts))
            if truths[-1] is decisive:
                return decisive
        return None if None in truths else not decisive
    value = get_value(run, expression)
    if expression.kind == "fact" and expression.name in FACTS and not records_facts:
        raise FilterProblem("is not recorded")
    is_null = value is None or value is MISSING
    if expression.operator == "is null":
        return is_null
    values = expression.value
    if expression.operator == "in" and None in values and is_null:
        return True
    had.setdefault(id(expression), []).append(value is not MISSING)
    return None if is_null else compare(expression, value)


def get_value(run: RunRead, test: Test) -> Any:
    name = test.name
    if test.kind == "fact":
        own = {name: getattr(run, name) for name in ("run_id", "job_name", "experiment_id")}
        parent = run.logged["tags"].get("mlflow.parentRunId")
        return {**own, "parent_run_id": parent, **run.facts}.get(name)
    if test.kind in run.logged:
        logged = run.logged[test.kind]
        return logged.get(name, logged.get(name.replace("__", "."), MISSING))
    if test.kind == "results":
        return run.results.get(name, MISSING)
    if test.kind == "cfg":
        try:
            value = OmegaConf.select(OmegaConf.create(run.config), name, default=MISSING)
        except ConfigTypeError:  # a name in a list
            return MISSING
        is_node = OmegaConf.is_config(value)
        return OmegaConf.to_container(value, resolve=True) if is_node else value
    content = run.files.get(f".hydra/{test.kind}.yaml")
    if content is None:
        return MISSING
    value: Any = OmegaConf.to_container(OmegaConf.create(content.decode()))
    for part in ["hydra", *name.split(".")] if test.kind == "hydra" else []:
        value = value.get(part, MISSING) if isinstance(value, dict) else MISSING
    return MISSING if value == "???" else value


def compare(test: Test, actual: Any) -> bool:
    """Return whether a value that is not null meets a comparison."""
    value, texts, operator = test.value, test.texts, test.operator
    is_time = test.kind == "fact" and test.name in TIMES
    is_text = test.kind in ("params", "tags") or (test.kind == "fact" and not is_time)
    if test.kind == "fact" and test.name in FOLDED:
        actual = actual.casefold()
        value = value.casefold() if isinstance(value, str) else value
        texts = [(t or "").casefold() for t in texts] if operator == "in" else texts.casefold()
    if operator in ("==", "in"):
        values, spelled = (value, texts) if operator == "in" else ([value], [texts])
        if not is_text:
            return any(is_equal(actual, each) for each in values)
        others = [each for each in values if not isinstance(each, (str, type(None)))]
        if test.kind == "fact":
            others = []
        parsed = parse(actual) if others else None
        return actual in spelled or any(is_equal(parsed, each) for each in others)
    if operator == "contains" and is_text and isinstance(texts, str):
        return texts in actual
    if test.kind in ("params", "tags") and not isinstance(value, str):
        actual = parse(actual)
    if operator == "contains" and isinstance(actual, list):
        return any(is_equal(each, value) for each in actual)
    if operator in TEXT_OPERATORS and isinstance(actual, str) and isinstance(value, str):
        return TEXT_OPERATORS[operator](actual, value)
    is_ordered = isinstance(value, str) or is_number(value)
    if operator in ORDER and is_ordered and get_kind(actual) == get_kind(value):
        return ORDER[operator](actual, value)
    raise FilterProblem("cannot compare")


def parse(text: str) -> Any:
    """Return what OmegaConf reads in a text, or the text if that is no YAML."""
    indented = text.replace("\n", "\n  ")
    try:
        (value,) = OmegaConf.to_container(OmegaConf.create(f"- {indented}"))
    except yaml.YAMLError:
        return text
    return value


def get_kind(value: Any) -> str:
    return "number" if is_number(value) else type(value).__name__


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_equal(one: Any, other: Any) -> bool:
    """Whether two values are equal, each to its kind; NaN is equal to NaN."""
    if get_kind(one) != get_kind(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(is_equal(one[k], other[k]) for k in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(is_equal, one, other))
    if isinstance(one, float) and math.isnan(one):
        return math.isnan(other)
    return bool(one == other)


def is_like(actual: str, pattern: str, flags: int = 0) -> bool:
    wildcards = {"%": ".*", "_": "."}
    regex = "".join(wildcards.get(c, re.escape(c)) for c in pattern)
    return re.fullmatch(regex, actual, flags | re.DOTALL) is not None


ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "<": lambda actual, value: actual < value,
    "<=": lambda actual, value: actual <= value,
    ">": lambda actual, value: actual > value,
    ">=": lambda actual, value: actual >= value,
}
TEXT_OPERATORS: dict[str, Callable[[str, str], bool]] = {
    "~": fnmatchcase,
    "like": is_like,
    "ilike": lambda actual, pattern: is_like(actual, pattern, re.IGNORECASE),
    "contains": lambda actual, value: value in actual,
}
