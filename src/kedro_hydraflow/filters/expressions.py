"""What a filter consists of, after it has been read."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kedro_hydraflow.keys import Key


class Level(IntEnum):
    """What has to be read of a run to say whether it meets a condition, the cheapest first."""

    EXPERIMENT = 0
    FACT = 1
    LOGGED = 2
    FILE = 3
    CONFIG = 4


_LEVELS = {
    "fact": Level.FACT,
    "metrics": Level.LOGGED,
    "params": Level.LOGGED,
    "tags": Level.LOGGED,
    "overrides": Level.FILE,
    "hydra": Level.FILE,
    "results": Level.FILE,
}

_FACT_LEVELS = {
    "job_name": Level.EXPERIMENT,
    "experiment_id": Level.EXPERIMENT,
    "parent_run_id": Level.LOGGED,  # it is a tag
}


def get_level(key: Key) -> Level:
    """Return what has to be read for the value of a key."""
    if key.kind == "fact" and key.path in _FACT_LEVELS:
        return _FACT_LEVELS[key.path]
    return _LEVELS.get(key.kind, Level.CONFIG)


@dataclass(frozen=True)
class IsNull:
    """Whether a value is missing or null."""

    text: str
    """The expression as it was written; so for the others."""

    key: Key


@dataclass(frozen=True)
class Comparison:
    """A comparison of a value with a literal. It is unknown where the value is missing or null."""

    text: str

    key: Key

    operator: str
    """``==  <  <=  >  >=  in  ~  like  ilike  contains``. ``!=`` and so on are a `Not` of one."""

    value: Any
    """The literal; for ``in``, a list."""

    texts: Any
    """The literal with every scalar in it as text, as it was written."""


@dataclass(frozen=True)
class Not:
    """The opposite of an expression: unknown if that is unknown."""

    text: str

    part: Expression


@dataclass(frozen=True)
class And:
    """Whether all expressions are true."""

    text: str

    parts: Sequence[Expression]


@dataclass(frozen=True)
class Or:
    """Whether one of the expressions is true."""

    text: str

    parts: Sequence[Expression]


Expression = IsNull | Comparison | Not | And | Or


def iter_leaves(expression: Expression) -> Iterator[IsNull | Comparison]:
    """Yield the tests of single values in an expression."""
    if isinstance(expression, (IsNull, Comparison)):
        yield expression
    elif isinstance(expression, Not):
        yield from iter_leaves(expression.part)
    else:
        for part in expression.parts:
            yield from iter_leaves(part)


def iter_keys(expression: Expression) -> Iterator[Key]:
    """Yield the keys in an expression."""
    return (leaf.key for leaf in iter_leaves(expression))


def split_conjunction(expression: Expression) -> Iterator[Expression]:
    """Yield the expressions that all have to be true for an expression to be true."""
    if isinstance(expression, And):
        for part in expression.parts:
            yield from split_conjunction(part)
    elif isinstance(expression, Not) and isinstance(expression.part, Not):
        yield from split_conjunction(expression.part.part)
    elif isinstance(expression, Not) and isinstance(expression.part, Or):
        for part in expression.part.parts:
            yield from split_conjunction(Not(f"not {part.text}", part))
    else:
        yield expression
