from __future__ import annotations

import math
from datetime import datetime, timedelta, timezone
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from omegaconf import DictConfig, ListConfig

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
