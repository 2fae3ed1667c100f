from __future__ import annotations

from datetime import date, datetime, timezone
from enum import Enum
from pathlib import PurePosixPath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kedro_hydraflow.config import parse_scalar
from kedro_hydraflow.value_text import show_value

Color = Enum("Color", "RED")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (1, "1"),
        (2**200, str(2**200)),
        (1.0, "1.0"),
        (1e-5, "1e-05"),
        (float("nan"), ".nan"),
        (float("-inf"), "-.inf"),
        ("mlp", "mlp"),
        ("two words", "two words"),
        ("v2: more, and more", "v2: more, and more"),
        ("it's", "it's"),
        ("${a.b}", "${a.b}"),
        ("1", "'1'"),
        ("1e3", "'1e3'"),
        ("true", "'true'"),
        ("null", "'null'"),
        ("", "''"),
        (" a", "' a'"),
        ("[1]", "'[1]'"),
        ("'1'", "\"'1'\""),
        ("a\nb", '"a\\nb"'),
        ("a\udcff", '"a\\udcff"'),
        ([], "[]"),
        ([1, "1", "a", "a, b", None, [True]], "[1, '1', a, 'a, b', null, [true]]"),
        ({"a": 1, "1": {}, "x y": "z: 1"}, "{a: 1, '1': {}, x y: 'z: 1'}"),
        (date(2024, 1, 2), "2024-01-02"),
        (datetime(2024, 1, 2, 3), "2024-01-02 03:00:00"),
        (datetime(2024, 1, 2, 3, 4, 5, 6000, timezone.utc), "2024-01-02 03:04:05.006+00:00"),
        (datetime(2024, 1, 2, 3, 4, 5, 6), "2024-01-02 03:04:05.000006"),
        (Color.RED, "RED"),
        (PurePosixPath("a/b"), "a/b"),
    ],
)
def test_values_as_text(value: Any, text: str) -> None:
    assert show_value(value) == text


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=5,
)


@given(values, values)
def test_different_values_have_different_texts(one: Any, other: Any) -> None:
    if repr(one) != repr(other) and not (isinstance(one, dict) and one == other):
        assert show_value(one) != show_value(other)


@given(st.lists(values, max_size=3))
def test_lists_are_read_back(items: list[Any]) -> None:
    text = show_value(items)
    assert text.isprintable()
    assert parse_scalar(text) == items
