"""Conditions that a store may apply while it lists runs.

They are the parts of filters that a database or a server can test. What a store lists is tested
again with the whole filters, so it may list too many runs, but never too few: a run is left out
only if it is certain that it does not meet a clause. A run without the value does not meet it. One
whose value may be malformed, or is of an unexpected type, has to be listed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class OneOf:
    """Whether a text is one of several. None of them is empty, and all are printable."""

    kind: Literal["fact", "params", "tags"]

    name: str
    """The name of a fact (``run_id`` or ``status``), a param or a tag. It is printable."""

    texts: tuple[str, ...]
    """The texts; for the status, its names in MLflow."""


@dataclass(frozen=True)
class Compared:
    """The comparison of a metric or a time with a number. NaN is never equal, less or greater."""

    kind: Literal["fact", "metrics"]

    name: str
    """The name of a metric, which is printable, or ``start_time`` or ``end_time``."""

    operator: Literal["==", "<", "<=", ">", ">="]
    """The operator; for a time ``<=`` or ``>=``."""

    number: float
    """A finite number, which a float can hold. Times are in milliseconds since 1970."""


Clause = OneOf | Compared
