from __future__ import annotations

import math
from datetime import datetime, timedelta, timezone
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig, ListConfig
from polars.testing import assert_series_equal

from kedro_hydraflow.columns import make_array, make_series, to_hashable


class Color(Enum):
    RED = 1


class Thing:
    """Something that Polars has no type for."""


NOW = datetime(2024, 1, 2, tzinfo=timezone.utc)
THING = Thing()


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        ([1, None, 2], pl.Int64, None),
        ([1, 2.5], pl.Float64, [1.0, 2.5]),
        ([1] * 200 + [2.5], pl.Float64, [1.0] * 200 + [2.5]),
        ([math.inf, 1], pl.Float64, [math.inf, 1.0]),
        ([True, None], pl.Boolean, None),
        (["a", None], pl.String, None),
        ([1, "a", None, 1.5], pl.String, ["1", "a", None, "1.5"]),
        ([True, 1, None, 0.5], pl.String, ["true", "1", None, "0.5"]),
        ([1] * 200 + [False], pl.String, ["1"] * 200 + ["false"]),
        ([NOW.date(), 3], pl.String, ["2024-01-02", "3"]),
        ([NOW, True], pl.String, ["2024-01-02 00:00:00 UTC", "true"]),
        ([[True, 1]], pl.Object, None),
        ([[1], [True]], pl.Object, None),
        ([{"a": 1}, {"a": False}], pl.Object, None),
        ([[NOW.date()], [3]], pl.Object, None),
        ([b"a"], pl.Binary, None),
        ([2**70, 1], pl.Int128, None),
        ([2**200, 1], pl.Object, None),
        ([1, b"a"], pl.Object, None),
        ([NOW, None], pl.Datetime("us", "UTC"), None),
        ([None, None], pl.Null, None),
        ([], pl.Null, None),
        ([[1], [], None], pl.List(pl.Int64), None),
        ([[1], [2.5]], pl.List(pl.Float64), [[1.0], [2.5]]),
        ([(1, 2)], pl.List(pl.Int64), [[1, 2]]),
        ([{"a": 1}, None], pl.Struct({"a": pl.Int64}), None),
        (
            [{"a": 1}, {"b": "x"}],
            pl.Struct({"a": pl.Int64, "b": pl.String}),
            [{"a": 1, "b": None}, {"a": None, "b": "x"}],
        ),
        ([{"a": 1}, {"a": 2.5}], pl.Struct({"a": pl.Float64}), [{"a": 1.0}, {"a": 2.5}]),
        ([[[1, 2], []], [], [[3], None]], pl.List(pl.List(pl.Int64)), None),
        ([[None], []], pl.List(pl.Null), None),
        ([[1, "a"], [2.5]], pl.List(pl.String), [["1", "a"], ["2.5"]]),
        ([[1]] * 200 + [[2.5, "a"]], pl.List(pl.String), [["1"]] * 200 + [["2.5", "a"]]),
        ([{}, {}], pl.Object, None),
        ([{}, {"a": []}], pl.Struct({"a": pl.List(pl.Null)}), [{"a": None}, {"a": []}]),
        (
            [{"a": 1}] * 200 + [{"a": 2.5, "b": [1]}],
            pl.Struct({"a": pl.Float64, "b": pl.List(pl.Int64)}),
            [{"a": 1.0, "b": None}] * 200 + [{"a": 2.5, "b": [1]}],
        ),
        (
            [{"a": {"b": [{"c": 1}]}}, {"a": {"b": []}}, {"a": None}],
            pl.Struct({"a": pl.Struct({"b": pl.List(pl.Struct({"c": pl.Int64}))})}),
            None,
        ),
        (
            [[{"a": 1}, {"b": "x"}]],
            pl.List(pl.Struct({"a": pl.Int64, "b": pl.String})),
            [[{"a": 1, "b": None}, {"a": None, "b": "x"}]],
        ),
        ([[{"a": 1}, 2]], pl.Object, None),
        ([{"a": 1}, 3], pl.Object, None),
        ([{"a": 1}, {"a": {"b": 1}}], pl.Object, None),
        ([{"a": 1}, {"a": [1]}], pl.Object, None),
        ([[1], 2], pl.Object, None),
        ([[1], [[2]]], pl.Object, None),
        ([[2**200]], pl.Object, None),
        ([{1: 2}], pl.Object, None),
        ([Path("a/b"), None], pl.String, [str(Path("a/b")), None]),
        ([[Path("a")], [Path("b")]], pl.List(pl.String), [["a"], ["b"]]),
        ([{"p": Path("a")}], pl.Struct({"p": pl.String}), [{"p": "a"}]),
        ([Color.RED, None], pl.String, ["RED", None]),
        ([np.float64(1), 2], pl.Float64, [1.0, 2.0]),
        ([np.array([1, 2]), None], pl.List(pl.Int64), [[1, 2], None]),
        ([THING, None], pl.Object, None),
        ([{1, 2}], pl.Object, None),
        ([Color.RED, [1]], pl.Object, ["RED", [1]]),
        ([NOW, timedelta(1)], pl.Object, None),
    ],
)
def test_make_series(values: list[Any], dtype: Any, expected: list[Any] | None) -> None:
    series = make_series("name", values)
    assert series.name == "name"
    assert series.dtype == dtype
    assert series.to_list() == (values if expected is None else expected)


ZONES = [None, timezone.utc, timezone(timedelta(hours=2))]


@pytest.mark.parametrize("zone", ZONES)
@given(values=st.lists(st.none() | st.datetimes()))
def test_times_are_as_in_polars(values: list[datetime | None], zone: timezone | None) -> None:
    times = [value and value.replace(tzinfo=zone) for value in values]
    assert_series_equal(make_series("name", list(times)), pl.Series("name", times, strict=False))


def test_times_of_several_zones_are_kept_as_they_are() -> None:
    times = [datetime(2024, 1, 2, tzinfo=zone) for zone in ZONES]
    assert make_series("name", list(times)).to_list() == times


def test_make_series_of_shared_lists() -> None:
    shared, other = [1, 2], [3]
    series = make_series("name", [shared, other, None, shared])
    assert series.to_list() == [[1, 2], [3], None, [1, 2]]


def test_columns_of_objects_are_the_callers_own() -> None:
    shared = {"a": [1]}
    make_series("name", [shared, 1])[0]["a"].append(2)
    assert shared == {"a": [1]}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, 2], np.array([1, 2])),
        ([1, 2.5], np.array([1.0, 2.5])),
        (["a", "b"], np.array(["a", "b"])),
        ([[1, 2], [3, 4]], np.array([[1, 2], [3, 4]])),
        ([1, None], np.array([1, None], dtype=object)),
        ([1, "a"], np.array([1, "a"], dtype=object)),
        ([2**63 + 1, -1], np.array([2**63 + 1, -1], dtype=object)),
    ],
)
def test_make_array(values: list[Any], expected: np.ndarray[Any, Any]) -> None:
    array = make_array(values)
    assert array.dtype == expected.dtype
    assert array.tolist() == expected.tolist()


def test_mixed_lists_keep_their_values() -> None:
    assert make_array([[1, "a"], [2, "b"]]).tolist() == [[1, "a"], [2, "b"]]


def test_arrays_of_objects_are_the_callers_own() -> None:
    shared = [{"a": [1]}, {"a": [1]}]
    make_array(shared)[0]["a"].append(2)
    make_array([[shared], [1, 2]])[0].append(3)
    assert shared == [{"a": [1]}, {"a": [1]}]


class Unhashable:
    __hash__ = None  # type: ignore[assignment]

    def __str__(self) -> str:
        return "its text"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, 1),
        (None, None),
        ("a", "a"),
        ([1, [2]], (1, (2,))),
        ((1, [2]), (1, (2,))),
        ({"a": [], "b": {}}, (("a", ()), ("b", ()))),
        (ListConfig([1, [2]]), (1, (2,))),
        (np.array([1, 2]), (1, 2)),
        ({"a": [1]}, (("a", (1,)),)),
        (DictConfig({"a": [1]}), (("a", (1,)),)),
        (float("nan"), math.nan),
        (Unhashable(), "its text"),
    ],
)
def test_to_hashable(value: Any, expected: Any) -> None:
    hashable = to_hashable(value)
    assert hashable == expected or hashable is expected
    assert type(hashable) is type(expected)
    hash(hashable)


# No text, number or list gets lost in a column, whatever else is in it.

numbers = st.integers(-5, 5) | st.floats(allow_nan=False) | st.booleans()
scalars = st.none() | numbers | st.text("a1$", max_size=3) | st.sampled_from([2**63, 2**64, 2**200])
names = st.sampled_from("abc")


def nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3)


columns = st.one_of(
    st.lists(st.recursive(scalars, nested, max_leaves=6), max_size=4),
    st.lists(st.none() | st.lists(st.none() | numbers, max_size=3), max_size=4),
    st.lists(st.none() | st.dictionaries(names, st.none() | numbers, max_size=3), max_size=4),
    st.lists(st.lists(st.dictionaries(names, st.lists(scalars, max_size=2)), max_size=2)),
)


def holds(dtype: Any, got: Any, value: Any) -> bool:
    """Tell whether a column of a type gave a value back as far as the type allows."""
    if value is None or dtype == pl.Object:
        return bool(got == value)
    if isinstance(dtype, pl.List):
        return len(got) == len(value) and all(map(partial(holds, dtype.inner), got, value))
    if isinstance(dtype, pl.Struct):
        return value.keys() <= got.keys() and all(
            holds(field.dtype, got[field.name], value.get(field.name)) for field in dtype.fields
        )
    if dtype == pl.String:
        return type(got) is str and (got == value or type(value) is not str)
    return bool(got == (float(value) if dtype.is_float() else value))


@settings(max_examples=300)
@given(columns)
@example([None, {}])
@example([[{"a": ["x"]}], [{}, {"a": [None, 2**63]}]])
def test_series_hold_all_values(values: list[Any]) -> None:
    series = make_series("name", values)
    assert len(series) == len(values)
    assert all(map(partial(holds, series.dtype), series.to_list(), values))
