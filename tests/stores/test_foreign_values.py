"""What databases and servers record, which may be of any type."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable

import pytest

from kedro_hydraflow.errors import MetadataError
from kedro_hydraflow.stores.foreign_values import (
    to_facts,
    to_id,
    to_integer,
    to_key,
    to_number,
    to_text,
)

LARGEST = sys.float_info.max


@pytest.mark.parametrize(
    ("convert", "recorded", "value"),
    [
        (to_text, None, None),
        (to_text, "", ""),
        (to_text, "null", "null"),
        (to_text, 5, "5"),
        (to_text, 1795394369957.0, "1795394369957"),
        (to_text, 0.5, "0.5"),
        (to_text, 1e308, "1e+308"),
        (to_text, math.inf, "inf"),
        (to_number, None, None),
        (to_number, 1, 1.0),
        (to_number, 1e300, 1e300),
        (to_number, -0.5, -0.5),
        (to_number, LARGEST, math.inf),
        (to_number, -LARGEST, -math.inf),
        (to_number, 10**400, math.inf),
        (to_number, -(10**400), -math.inf),
        (to_integer, 2**63 - 1, 2**63 - 1),
        (to_integer, -5, -5),
        (to_integer, 3.0, 3),
        (to_id, "0123456789abcdef", "0123456789abcdef"),
        (to_id, "...", "..."),
        (to_key, "group/a b", "group/a b"),
    ],
)
def test_values(convert: Callable[[object], object], recorded: object, value: object) -> None:
    converted = convert(recorded)
    assert (type(converted), converted) == (type(value), value)


def test_nan_is_a_number() -> None:
    assert math.isnan(to_number(math.nan) or 0)


@pytest.mark.parametrize(
    ("convert", "recorded", "problem"),
    [
        (to_text, b"\xff", r"expected text, found b'\xff'"),
        (to_text, ["a"], "expected text, found ['a']"),
        (to_text, b"x" * 1000, "expected text, found b'" + "x" * 78 + "…"),
        (to_number, "abc", "expected a number, found 'abc'"),
        (to_number, "0.5", "expected a number, found '0.5'"),
        (to_number, True, "expected a number, found True"),
        (to_number, {}, "expected a number, found {}"),
        (to_integer, None, "expected an integer, found null"),
        (to_integer, 0.5, "expected an integer, found 0.5"),
        (to_integer, math.nan, "expected an integer, found nan"),
        (to_integer, math.inf, "expected an integer, found inf"),
        (to_integer, 2**63, "expected an integer, found a larger one"),
        (to_integer, 10**400, "expected an integer, found a larger one"),
        (to_integer, 1e300, "expected an integer, found a larger one"),
        (to_id, None, "expected an ID, found null"),
        (to_id, 7, "expected an ID, found 7"),
        (to_id, "", "expected an ID, found ''"),
        (to_id, "..", "expected an ID, found '..'"),
        (to_id, "../../x", "expected an ID, found '../../x'"),
        (to_id, "a\0b", r"expected an ID, found 'a\x00b'"),
        (to_key, 5, "expected text as key, found 5"),
        (
            to_facts,
            {"status": "FINISHED", "end_time": b"1"},
            "runs.end_time: expected text, found b'1'",
        ),
    ],
)
def test_malformed_values(
    convert: Callable[[object], object], recorded: object, problem: str
) -> None:
    with pytest.raises(MetadataError) as raised:
        convert(recorded)
    advice = "; correct it there, or go on without it by on_error='warn'"
    assert str(raised.value) == problem + advice


def test_facts_that_are_null_are_unknown() -> None:
    assert to_facts({"status": "FINISHED", "end_time": None, "start_time": 5}) == {
        "status": "FINISHED",
        "start_time": "5",
    }
