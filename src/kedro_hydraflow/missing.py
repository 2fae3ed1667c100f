"""The sentinel for a default that is not given and for a value that is not there."""

from __future__ import annotations

import dataclasses
from enum import Enum
from typing import Any, Final


class Missing(Enum):
    """The type of `MISSING`. An enumeration, so that copies and pickles are the same object."""

    MISSING = "MISSING"

    def __repr__(self) -> str:
        return "<no default>"  # what ``help`` shows in signatures


MISSING: Final = Missing.MISSING
"""Stands for "no default", where a missing key is an error, and for the value of a missing key."""


def to_missing(default: Any) -> Any:
    """Return a user's default, with `MISSING` for ``dataclasses.MISSING``, hydraflow's sentinel."""
    return MISSING if default is dataclasses.MISSING else default


def to_dataclasses(default: Any) -> Any:
    """Return a default for a user's lookup, with ``dataclasses.MISSING`` for `MISSING`."""
    return dataclasses.MISSING if default is MISSING else default
