from __future__ import annotations

import copy
import dataclasses
import json
import math
import pickle
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import DictConfig, ListConfig, OmegaConf

from kedro_hydraflow import Collection
from kedro_hydraflow.errors import MissingKeyError, OptionError


@dataclass
class Item:
    """An item with two keys, and sometimes a third."""

    x: Any
    y: str = ""

    def __post_init__(self) -> None:
        if self.x == 3:
            self.only_three = "3!"


@pytest.fixture
def items() -> Collection[Item]:
    return Collection([Item(x, y) for x in (1, 2, 3) for y in "ab"])


def of(*values: Any) -> Collection[dict[str, Any]]:
    """A collection of mappings ``{"x": value, "i": position}`` with a lookup of its own."""
    return Collection([{"x": v, "i": i} for i, v in enumerate(values)], get_from_mapping)


def get_from_mapping(item: dict[str, Any], key: str, default: Any) -> Any:
    return item.get(key, default)


def square(item: Item) -> int:
    return int(item.x) ** 2


# a sequence ----------------------------------------------------------------------------


def test_is_a_sequence(items: Collection[Item]) -> None:
    assert len(items) == 6
    assert bool(items)
    assert not Collection([])
    assert [item.y for item in items] == ["a", "b"] * 3
    assert items[0] in items
    assert items.index(items[2]) == 2
    assert [item.x for item in reversed(items)][:2] == [3, 3]
    assert repr(items) == "Collection(Item, n=6)"
    assert repr(Collection([])) == "Collection(empty)"
    assert repr(Collection([1, 2])) == "Collection(1, n=2)"


@pytest.mark.parametrize("index", [0, -1, np.int64(3)])
def test_index_one(items: Collection[Item], index: int) -> None:
    assert items[index] is list(items)[index]


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        (slice(1, 3), [1, 2]),
        (slice(None, None, -2), [5, 3, 1]),
        ([4, 0], [4, 0]),
        ((4, 0), [4, 0]),
        (np.array([4, 0]), [4, 0]),
        (range(2), [0, 1]),
        (pl.Series([4, 0]), [4, 0]),
        ([], []),
    ],
)
def test_index_many(items: Collection[Item], index: Any, expected: list[int]) -> None:
    chosen = items[index]
    assert type(chosen) is Collection
    assert list(chosen) == [list(items)[i] for i in expected]


def test_index_key(items: Collection[Item]) -> None:
    assert items["x"].to_list() == [1, 1, 2, 2, 3, 3]
    assert items["x"].name == "x"


@pytest.mark.parametrize("mask", [[True, False] * 3, np.array([True, False] * 3)])
def test_a_mask_is_no_index(items: Collection[Item], mask: Any) -> None:
    with pytest.raises(OptionError, match=r"found truth values; use filter\(mask\)"):
        items[mask]
    assert len(items.filter(mask)) == 3


# filter and its relatives --------------------------------------------------------------


@pytest.mark.parametrize(
    ("criteria", "kwargs", "expected"),
    [
        ((), {}, [0, 1, 2, 3, 4, 5]),
        ((), {"x": 1}, [0, 1]),
        ((), {"x": 1, "y": "b"}, [1]),
        ((lambda item: item.x > 1,), {"y": "a"}, [2, 4]),
        ((("x", 2),), {}, [2, 3]),
        ((("x", [1, 3]),), {}, [0, 1, 4, 5]),
        ((("x", {1, 3}),), {}, [0, 1, 4, 5]),
        ((("x", frozenset({1})),), {}, [0, 1]),
        ((("x", ListConfig([1, 3])),), {}, [0, 1, 4, 5]),
        ((("x", (2, 3)),), {}, [2, 3, 4, 5]),
        ((("x", (2.5, math.inf)),), {}, [4, 5]),
        ((("x", lambda x: x % 2),), {}, [0, 1, 4, 5]),
        (([True, False] * 3,), {}, [0, 2, 4]),
        (((1, 0, 0, 0, 0, 1),), {}, [0, 5]),
        (((i == 5 for i in range(6)),), {}, [5]),
        ((np.arange(6) > 3,), {}, [4, 5]),
        ((pl.Series([True, None, False] * 2),), {}, [0, 3]),
        ((np.arange(6) > 3,), {"y": "a"}, [4]),
    ],
)
def test_filter(
    items: Collection[Item], criteria: tuple[Any, ...], kwargs: Any, expected: list[int]
) -> None:
    found = items.filter(*criteria, **kwargs)
    assert type(found) is Collection
    assert list(found) == [items[i] for i in expected]


@pytest.mark.parametrize(
    ("criteria", "kwargs", "expected"),
    [
        ((), {}, [0, 1, 2, 3, 4, 5]),
        ((), {"x": 1, "y": "b"}, [2, 4]),  # those that match none
        ((np.arange(6) > 3, lambda item: item.x == 1), {}, [2, 3]),
    ],
)
def test_exclude(
    items: Collection[Item], criteria: tuple[Any, ...], kwargs: Any, expected: list[int]
) -> None:
    assert list(items.exclude(*criteria, **kwargs)) == [items[i] for i in expected]


@pytest.mark.parametrize(
    ("criterion", "message"),
    [
        ([True], "expected a mask of 6 truth values, one for each item, found 1"),
        ([True] * 7, "expected a mask of 6 truth values, one for each item, found 7"),
        ("x == 1", "a mask of truth values, found 'x == 1'"),
        (5, "a mask of truth values, found 5"),
        (("x", ("a", "b")), "cannot compare x 1 with ('a', 'b'): "),
    ],
)
@pytest.mark.parametrize("method", ["filter", "exclude"])
def test_filter_refuses(items: Collection[Item], criterion: Any, message: str, method: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        getattr(items, method)(criterion)


@pytest.mark.parametrize(
    ("value", "criterion", "expected"),
    [
        (10, 10, True),
        (10, 10.0, True),
        (None, None, True),
        (None, (1, 2), False),
        (None, [None, 1], True),
        (1.5, (1, 2), True),
        ("b", ("a", "c"), True),
        ("abc", ["abc"], True),
        ("abc", "abc", True),
        (b"abc", [b"abc"], True),
        ([1, 2], [1, 2], True),
        ([1, 2], (1, 2), True),
        ([1, 2], [2, 1], False),
        ([1, 2], 1, False),
        (ListConfig([1, 2]), [1, 2], True),
        ([1, 2], ListConfig([1, 2]), True),
        (ListConfig([1, 2]), ListConfig([1, 2]), True),
        ([], [], True),
        (1, [], False),
        ({"a": 1}, {"a": 1}, True),
        ({"a": 1}, ["a"], False),
        (DictConfig({"a": 1}), {"a": 1}, True),
        ({"a": 1}, DictConfig({"a": 2}), False),
        ("b", {"b": 1}, False),
        (5, lambda value: value > 4, True),
    ],
)
def test_conditions_on_a_value(value: Any, criterion: Any, expected: bool) -> None:
    assert len(of(value).filter(x=criterion)) == expected
    assert len(of(value).exclude(x=criterion)) == (not expected)


METHODS = ["filter", "exclude", "get", "try_get", "first", "last"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("criterion", "advice"),
    [
        ((5, 1), "give (1, 5), or [5, 1] for either value"),
        (("b", "a"), "give ('a', 'b'), or ['b', 'a'] for either value"),
        ((math.inf, 0.5), "give (0.5, inf), or [inf, 0.5] for either value"),
    ],
)
def test_a_reversed_range_is_an_error(criterion: Any, advice: str, method: str) -> None:
    message = f"x: no value is in the range {criterion!r}, whose first end is the larger one; "
    with pytest.raises(OptionError, match=re.escape(message + advice)):
        getattr(of(None, 1), method)(x=criterion)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("criterion", "shown"),
    [((1, 2, 3), "(1, 2, 3) of 3"), ((1,), "(1,) of 1"), ((), "() of 0")],
)
def test_a_tuple_that_is_no_pair_is_an_error(criterion: Any, shown: str, method: str) -> None:
    message = f"x: a list holds alternatives, a pair is a range; found the tuple {shown}"
    with pytest.raises(OptionError, match=re.escape(message)):
        getattr(of(1, 2), method)(x=criterion)


def test_a_long_tuple_is_not_shown_whole() -> None:
    with pytest.raises(OptionError, match=r"\(0, 1, 2, 3, 4, 5, \.\.\.\) of 10000"):
        of(1).filter(x=tuple(range(10_000)))


@pytest.mark.parametrize("criterion", [(5, 1), (1, 2, 3), (), ("a", 1)])
def test_a_tuple_equals_a_list(criterion: Any) -> None:
    assert of([1, 5], list(criterion)).filter(x=criterion).to_list("i") == [1]


def test_no_range_includes_none_and_nan() -> None:
    assert of(None, math.nan, 1, None).filter(x=(0, 5)).to_list("i") == [2]
    assert of(1, 2, 3).filter(x=(2, 2)).to_list("x") == [2]
    assert of(1, 2, 3).filter(x=(math.nan, 5)).to_list("x") == []


def test_one_item(items: Collection[Item]) -> None:
    assert items.get(x=1, y="a") is items[0]
    assert items.try_get(x=1, y="a") is items[0]
    assert items.try_get(x=9) is None
    assert items.first(x=2) is items[2]
    assert items.last(x=2) is items[3]
    assert items.first() is items[0]


@pytest.mark.parametrize("method", ["get", "try_get", "first", "last"])
def test_one_item_that_is_falsy(method: str) -> None:
    assert getattr(Collection([0, 5]), method)(lambda item: item == 0) == 0


@pytest.mark.parametrize(
    ("method", "x", "message"),
    [
        (
            "get",
            1,
            "expected one item to match the criteria, found 2 of 6; "
            "add criteria, or use first, last or filter",
        ),
        ("get", 9, "expected one item to match the criteria, found 0 of 6$"),
        ("try_get", 1, "expected one item to match the criteria, found 2 of 6; add criteria"),
        ("first", 9, "none of the 6 items matches the criteria"),
        ("last", 9, "none of the 6 items matches the criteria"),
    ],
)
def test_not_one_item(items: Collection[Item], method: str, x: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        getattr(items, method)(x=x)


@pytest.mark.parametrize(
    ("predicate", "expected"),
    [
        ("eq", [True, False, False]),
        ("ne", [False, True, True]),
        ("gt", [False, False, True]),
        ("lt", [False, True, False]),
        ("ge", [True, False, True]),
        ("le", [True, True, False]),
    ],
)
def test_comparing_two_keys(predicate: str, expected: list[bool]) -> None:
    pairs = [{"a": 1, "b": 1}, {"a": 1, "b": 2}, {"a": 2, "b": 1}]
    collection = Collection(pairs, get_from_mapping)
    assert list(collection.map(getattr(collection, predicate)("a", "b"))) == expected
    compare = getattr(Collection([Item(1)]), predicate)
    assert compare("x", "z", default=1)(Item(1)) is (predicate in ("eq", "ge", "le"))
    with pytest.raises(AttributeError):
        compare("x", "z")(Item(1))


@pytest.mark.parametrize(
    ("predicate", "value", "expected"),
    [
        ("eq", 2, [2, 2.0]),
        ("ne", 2, [1, None, 3.5, math.nan]),
        ("gt", 1.5, [2, 2.0, 3.5]),
        ("lt", 2, [1]),
        ("ge", 2, [2, 2.0, 3.5]),
        ("le", np.float64(2), [1, 2, 2.0]),
        ("eq", None, [None]),
        ("ne", None, [1, 2, 2.0, 3.5, math.nan]),
        ("eq", True, [1]),
        ("gt", None, []),
        ("le", None, []),
    ],
)
def test_predicates_of_a_key_and_a_value(predicate: str, value: Any, expected: list[Any]) -> None:
    items = of(1, 2, None, 2.0, 3.5, math.nan)
    kept = items.filter(getattr(items, predicate)("x", value))
    assert repr(kept.to_list("x")) == repr(expected)  # as text, where NaN equals itself


def test_predicates_with_a_date() -> None:
    midnight = datetime(2026, 11, 23, tzinfo=timezone.utc)
    day = date(2026, 11, 23)
    times = Collection([Item(midnight + timedelta(hours=hours)) for hours in (-1, 0, 1)])
    assert len(times.filter(times.ge("x", day))) == 2
    assert len(times.filter(times.eq("x", day))) == 1
    days = Collection([Item(day)])
    assert len(days.filter(days.eq("x", day))) == 1


def test_predicates_of_a_key_and_a_list() -> None:
    items = of([1, 2], [3])
    assert items.filter(items.eq("x", [1, 2])).to_list("i") == [0]
    assert items.filter(items.gt("x", [2])).to_list("i") == [1]


def test_a_text_in_a_predicate_is_a_key(items: Collection[Item]) -> None:
    with pytest.raises(MissingKeyError) as caught:
        items.filter(items.eq("y", "a"))
    assert str(caught.value) == (
        "'Item' object has no attribute 'a'; the right side is a key, because it is text: give a "
        "number, a boolean, None or a datetime as value, or filter by ('y', 'a')"
    )
    assert len(items.filter(items.eq("y", "a", default="a"))) == 3
    with pytest.raises(AttributeError, match=r"^'Item' object has no attribute 'z'$"):
        items.filter(items.eq("z", 1))


def test_values_that_cannot_be_compared_in_a_predicate(items: Collection[Item]) -> None:
    message = "cannot compare y 'a' with 1: '>' not supported between instances of 'str' and 'int'"
    with pytest.raises(OptionError, match=re.escape(message)):
        items.filter(items.gt("y", 1))


NOON = datetime(2026, 1, 25, 12)
LATER = datetime(2026, 1, 25, 14, tzinfo=timezone(timedelta(hours=1)))  # 13:00 in UTC


def test_times_without_a_time_zone_are_in_utc() -> None:
    aware = NOON.replace(tzinfo=timezone.utc)
    items = of(NOON, aware, LATER, None)

    def find(criterion: Any) -> list[int]:
        return items.filter(x=criterion).to_list("i")

    assert find(NOON) == find(aware) == [0, 1]
    assert find([NOON]) == find({aware, 5}) == [0, 1]
    assert find((NOON, datetime(2026, 1, 25, 13))) == [0, 1, 2]
    assert find((aware, NOON)) == [0, 1]
    assert find((datetime(2026, 1, 25, 12, 30), LATER)) == [2]
    with pytest.raises(OptionError, match="whose first end is the larger one"):
        find((LATER, NOON))
    assert items.filter(items.eq("x", NOON)).to_list("i") == [0, 1]
    assert items.filter(items.ne("x", aware)).to_list("i") == [2, 3]
    assert items.filter(items.gt("x", NOON)).to_list("i") == [2]
    assert items.filter(items.le("x", datetime(2026, 1, 25, 13))).to_list("i") == [0, 1, 2]
    pairs = Collection([{"x": NOON, "y": aware}, {"x": NOON, "y": LATER}], get_from_mapping)
    assert len(pairs.filter(pairs.eq("x", "y"))) == 1
    assert len(pairs.filter(pairs.lt("x", "y"))) == 1


@pytest.mark.parametrize(
    ("predicate", "argument", "options", "expected"),
    [
        ("startswith", "ab", {}, ["abc", "abd"]),
        ("endswith", "c", {}, ["abc"]),
        ("match", "AB[cd]$", {"flags": re.IGNORECASE}, ["abc", "abd"]),
        ("match", re.compile("b"), {}, []),
        ("startswith", "1", {}, [12]),
    ],
)
def test_text_of_a_key(predicate: str, argument: Any, options: Any, expected: list[Any]) -> None:
    collection = of("abc", "abd", "xab", 12)
    found = collection.filter(getattr(collection, predicate)("x", argument, **options))
    assert found.to_list("x") == expected
    assert len(collection.filter(getattr(collection, predicate)("z", "no", default="no"))) == 4


# values --------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["to_list", "to_numpy", "to_series"])
def test_values(items: Collection[Item], method: str) -> None:
    def get(*args: Any) -> list[Any]:
        values = getattr(items, method)(*args)
        return (
            values
            if method == "to_list"
            else values.to_list()
            if method == "to_series"
            else values.tolist()
        )

    assert get("x") == [1, 1, 2, 2, 3, 3]
    assert get("z", 0) == [0] * 6
    assert get("only_three", lambda item: item.y) == ["a", "b", "a", "b", "3!", "3!"]
    with pytest.raises(AttributeError, match="'Item' object has no attribute 'z'"):
        get("z")


@pytest.mark.parametrize("method", ["to_list", "to_data", "to_numpy", "to_series", "unique"])
def test_missing_of_dataclasses_is_no_default(items: Collection[Item], method: str) -> None:
    """As hydraflow's users pass it."""
    with pytest.raises(AttributeError, match="'Item' object has no attribute 'z'"):
        getattr(items, method)("z", dataclasses.MISSING)
    frame = items.to_frame(
        ("only_three", dataclasses.MISSING), "z", defaults={"z": 1, "only_three": 2}
    )
    assert frame.rows() == [(None, 1)] * 4 + [("3!", 1)] * 2


def test_a_lookup_gets_missing_of_dataclasses() -> None:
    """As in hydraflow, where it may come from."""

    def get(item: int, key: str, default: Any) -> Any:
        if default is dataclasses.MISSING:
            raise KeyError(key)
        return default

    items = Collection([1], get)
    assert items.to_list("x", 5) == [5]
    for use in (
        lambda: items.to_list("x"),
        lambda: items.to_series("x"),
        lambda: items.sort("x"),
        lambda: items.group_by("x"),
        lambda: items.filter(x=1),
        lambda: items.filter(x=bool),
        lambda: items.filter(items.eq("x", "y")),
        lambda: items.filter(items.match("x", "y")),
        lambda: items.to_frame("x"),
    ):
        with pytest.raises(KeyError, match="x"):
            use()


def test_plain_data_can_be_modified() -> None:
    cfg = OmegaConf.create({"a": 1, "b": ["${a}", {"c": 2}]})
    data = of(cfg, [1], 5).to_data("x")
    assert json.dumps(data) == '[{"a": 1, "b": [1, {"c": 2}]}, [1], 5]'
    shared = [1, {"a": [2]}]
    items = of(shared, shared)
    items.to_data("x")[0][1]["a"].append(9)
    assert items.to_data("x") == [[1, {"a": [2]}]] * 2
    assert shared == [1, {"a": [2]}]


def test_series_name(items: Collection[Item]) -> None:
    assert items.to_series("x").name == "x"
    assert items.to_series("x", name="X").name == "X"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([3, 1, 2, 1], [1, 2, 3]),
        (["b", "a", "b"], ["a", "b"]),
        ([2, None, 1, None], [1, 2, None]),
        (["b", None, "a"], ["a", "b", None]),
        ([math.nan, 1.0, math.nan], [1.0, math.nan]),
        ([True, False, True], [False, True]),
        ([[2, 1], [1, 2], [2, 1]], [[1, 2], [2, 1]]),
        ([[1], [1, 2], [1]], [[1], [1, 2]]),
        ([1, "a", 1], [1, "a"]),
        ([{"a": 1}, {"a": 1}], [{"a": 1}]),
        ([], []),
    ],
)
def test_unique(values: list[Any], expected: list[Any]) -> None:
    unique = of(*values).unique("x")
    assert str(unique.tolist()) == str(expected)  # as text, where NaN equals itself
    assert of(*values).n_unique("x") == len(expected)


# order ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "ascending", "descending"),
    [
        ([2, 3, 1], [2, 0, 1], [1, 0, 2]),
        (["b", "c", "a"], [2, 0, 1], [1, 0, 2]),
        ([2, None, 3, 1], [3, 0, 2, 1], [2, 0, 3, 1]),
        ([2.0, math.nan, 3, 1], [3, 0, 2, 1], [2, 0, 3, 1]),
        ([1, 1, 0], [2, 0, 1], [1, 0, 2]),  # the opposite order among equals, too
        ([[2, 1], [1, 9], [1]], [2, 1, 0], [0, 1, 2]),
        ([True, 0.5, 0], [2, 1, 0], [0, 1, 2]),
        ([None, None], [0, 1], [1, 0]),
        ([], [], []),
    ],
)
def test_sort(values: list[Any], ascending: list[int], descending: list[int]) -> None:
    assert of(*values).sort("x").to_list("i") == ascending
    assert of(*values).sort("x", reverse=True).to_list("i") == descending


def test_sort_by_many(items: Collection[Item]) -> None:
    order = [(item.y, item.x) for item in items.sort("y", "x")]
    assert order == [("a", 1), ("a", 2), ("a", 3), ("b", 1), ("b", 2), ("b", 3)]
    assert [(item.y, item.x) for item in items.sort("y", "x", reverse=True)] == order[::-1]
    assert list(items.sort()) == list(items)


@pytest.mark.parametrize(
    ("values", "types"),
    [([1, "a", None], "int and str"), ([{"a": 1}, {"a": 2}], "dict"), ([[1], ["a"]], "list")],
)
def test_sort_refuses(values: list[Any], types: str) -> None:
    with pytest.raises(ValueError, match=f"cannot sort by 'x', whose values are of type {types}: "):
        of(*values).sort("x")


@pytest.mark.parametrize("method", [lambda c: c.sample(50, 1), lambda c: c.shuffle(1)])
def test_random_order(method: Callable[[Any], Any]) -> None:
    numbers = Collection(range(100))
    state = random.getstate()
    drawn = list(method(numbers))
    assert random.getstate() == state
    assert drawn == list(method(numbers))
    assert len(set(drawn)) == len(drawn)
    assert drawn != sorted(drawn)
    assert len(numbers.shuffle()) == 100
    assert len(numbers.sample(3)) == 3


@pytest.mark.parametrize(
    ("k", "message"),
    [
        (0, "k: expected the number of items to draw, 1 or more, found 0"),
        (-1, "k: expected the number of items to draw, 1 or more, found -1"),
        (101, "k: cannot draw 101 of 100 items without replacement"),
    ],
)
def test_sample_refuses(k: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Collection(range(100)).sample(k)


# functions -----------------------------------------------------------------------------


def test_map(items: Collection[Item]) -> None:
    assert list(items.map(lambda item, a, b=0: item.x + a + b, 10, b=5)) == [16, 16, 17, 17, 18, 18]


@pytest.mark.parametrize(
    ("n_jobs", "backend"),
    [(0, None), (1, None), (2, None), (2, "threading"), (2, "multiprocessing")],
)
def test_pmap(items: Collection[Item], n_jobs: int, backend: str | None) -> None:
    offset = 10
    result = items.pmap(lambda item, a=0: item.x + a + offset, n_jobs, backend, a=5)
    assert result == [16, 16, 17, 17, 18, 18]
    assert items.pmap(square, n_jobs, backend) == [1, 1, 4, 4, 9, 9]


@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize("n_jobs", [0, 2])
def test_progress(items: Collection[Item], n_jobs: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert items.pmap(square, n_jobs, "threading", progress=True) == [1, 1, 4, 4, 9, 9]
    assert "6/6" in capsys.readouterr().err
    items.to_frame(s=square, n_jobs=n_jobs, backend="threading", progress=True)
    assert "6/6" in capsys.readouterr().err


# frames --------------------------------------------------------------------------------


def test_to_frame(items: Collection[Item]) -> None:
    defaults = {"z": lambda item: item.x * 10, "w": 1}
    frame = items.to_frame(
        "x", "only_three", "z", ("w", 2), ("v", lambda item: item.y), defaults=defaults, s=square
    )
    assert frame.columns == ["x", "only_three", "z", "w", "v", "s"]
    assert frame.row(0) == (1, None, 10, 2, "a", 1)
    assert frame.row(5) == (3, "3!", 30, 2, "b", 9)
    assert set(defaults) == {"z", "w"}
    assert defaults["w"] == 1


@pytest.mark.parametrize(("n_jobs", "backend"), [(0, None), (2, "threading")])
def test_to_frame_without_keys(items: Collection[Item], n_jobs: int, backend: str | None) -> None:
    assert items.to_frame().shape == (0, 0)
    frame = items.to_frame(s=square, n_jobs=n_jobs, backend=backend)
    assert frame.to_dict(as_series=False) == {"s": [1, 1, 4, 4, 9, 9]}


def test_to_frame_refuses_a_key_that_no_item_has(items: Collection[Item]) -> None:
    with pytest.raises(AttributeError, match="'Item' object has no attribute 'z'"):
        items.to_frame("x", "z")
    with pytest.raises(MissingKeyError, match="none of the 2 items has the key 'z'"):
        of(1, 2).to_frame("z")


def test_frames_of_configs_hold_plain_data() -> None:
    cfg = OmegaConf.create({"a": 1, "b": ["${a}", 2]})
    assert of(cfg, cfg).to_frame("x")["x"].to_list() == [{"a": 1, "b": [1, 2]}] * 2
    assert of(cfg).to_frame(x=lambda item: item["x"].b)["x"].to_list() == [[1, 2]]


# the empty one -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("use", "expected"),
    [
        (lambda c: list(c.filter(x=1)), []),
        (lambda c: list(c.filter([])), []),
        (lambda c: list(c.exclude(lambda item: True)), []),
        (lambda c: c.try_get(x=1), None),
        (lambda c: list(c[:3]), []),
        (lambda c: c.to_list("x"), []),
        (lambda c: c.to_numpy("x").tolist(), []),
        (lambda c: c.to_series("x").to_list(), []),
        (lambda c: c["x"].to_list(), []),
        (lambda c: c.unique("x").tolist(), []),
        (lambda c: c.n_unique("x"), 0),
        (lambda c: list(c.sort("x", reverse=True)), []),
        (lambda c: list(c.shuffle()), []),
        (lambda c: list(c.map(str)), []),
        (lambda c: c.pmap(str), []),
        (lambda c: c.to_frame("x", ("y", 1), z=str).shape, (0, 3)),
        (lambda c: c.group_by("x").agg("x", n=len).shape, (0, 2)),
        (lambda c: copy.deepcopy(c).to_list("x"), []),
        (lambda c: pickle.loads(pickle.dumps(c)).to_list("x"), []),
    ],
)
def test_empty(use: Callable[[Any], Any], expected: Any) -> None:
    assert use(Collection([])) == expected


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda c: c.get(), "expected one item to match the criteria, found 0"),
        (lambda c: c.first(), "none of the 0 items matches the criteria"),
        (lambda c: c.sample(1), "k: cannot draw 1 of 0 items without replacement"),
    ],
)
def test_empty_refuses(use: Callable[[Any], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        use(Collection([]))


# group keys, copies --------------------------------------------------------------------


class MyCollection(Collection[Item]):
    """A subclass."""


def test_a_subclass_keeps_its_class() -> None:
    items = MyCollection([Item(1), Item(2)])
    for other in (
        items[:1],
        items[[0]],
        items.filter(x=1),
        items.exclude(x=1),
        items.sort("x"),
        items.shuffle(),
        items.sample(1),
        items.group_by("x")[1],
        copy.deepcopy(items),
        pickle.loads(pickle.dumps(items)),
    ):
        assert type(other) is MyCollection


def test_a_type_error_of_the_item_is_its_own(items: Collection[Item]) -> None:
    def get(item: Item, key: str, default: Any) -> Any:
        raise TypeError("of the item")

    with pytest.raises(TypeError, match="of the item"):
        Collection(list(items), get).filter(x=1)


@pytest.mark.parametrize("criterion", [range(2, 4), {2: "", 3: ""}.keys(), np.array([2, 3])])
def test_any_collection_of_values_is_a_criterion(criterion: Any) -> None:
    assert of(1, 2, 3).filter(x=criterion).to_list("x") == [2, 3]


def test_the_values_of_a_criterion_are_listed_once() -> None:
    assert of(1, 2, 3, 1).filter(x=iter([3, 1])).to_list("x") == [1, 3, 1]
    assert of(0, 1, 10**12).filter(x=range(1, 10**15)).to_list("x") == [1, 10**12]
    assert of(1.0, 1.5, "1", None).filter(x=range(1, 9)).to_list("x") == [1.0]
    assert of([1, 2], [2, 1], 1).filter(x=range(1, 3)).to_list("x") == [[1, 2], 1]


@given(
    st.lists(st.sampled_from([1, True, 1.0, 0, "a", b"a", None, math.nan, float("nan"), 2**70])),
    st.lists(
        st.sampled_from([1, 0.0, "a", "b", None, math.nan, [1], (1,), {"a": 1}, {1}, Path("a")]),
    ),
)
def test_a_list_holds_what_is_in_it(wanted: list[Any], values: list[Any]) -> None:
    items = Collection([{"v": value} for value in values], get=lambda item, key, _: item[key])
    for criterion in (wanted, [*wanted, [1]], [*wanted, Path("a")]):
        expected = [item for item in items if is_in(item["v"], criterion)]
        assert list(map(id, items.filter(v=criterion))) == list(map(id, expected))


def is_in(value: Any, wanted: list[Any]) -> bool:
    if isinstance(value, (list, tuple, set, dict)):
        return value == wanted if isinstance(value, dict) else list(value) == wanted
    return value in wanted


@pytest.mark.parametrize("mask", [["True", "False"], [2, 3], {"a": 1, "b": 2}, [1.0, 0.0]])
def test_a_mask_has_truth_values(mask: Any) -> None:
    with pytest.raises(OptionError, match="expected a mask of truth values, or a predicate"):
        Collection(["a", "b"]).filter(mask)


def test_a_computed_column_is_a_function() -> None:
    with pytest.raises(OptionError, match="default: expected a function of the item, found 0"):
        Collection(["a"]).to_frame(default=0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "wanted", "expected"),
    [
        ([1, 2, None], "1", "other than text, such as 1; a condition with an operator is one text"),
        ([1, 0.5], [">1", "<3"], "other than text, such as 1; a condition"),
        (["1", "2"], 1, "text, such as '1'"),
        (["a", None], [1, True], "text, such as 'a'"),
        (["2026-01-02"], date(2026, 1, 2), "text, such as '2026-01-02'"),
        ([datetime(2026, 1, 2)], date(2026, 1, 2), "times, such as datetime.datetime(2026, 1, 2"),
        ([datetime(2026, 1, 2)], "2026-01-02", "times, such as datetime.datetime(2026, 1, 2"),
        ([date(2026, 1, 2)], date(2026, 1, 3), None),
        ([1, 2], 3, None),
        (["a", 2], "b", None),
        ([1, 2], [3, "b"], None),
        ([None, None], "b", None),
        ([[1], [2]], "b", None),
    ],
)
def test_a_criterion_of_another_kind_is_logged(
    values: list[Any], wanted: Any, expected: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    items = Collection([Item(value) for value in values])
    assert len(items.filter(("x", wanted))) == 0
    start = f"filter: 'x' is never equal to {wanted!r}, because all values are {expected}"
    assert [text[: len(start)] for text in caplog.messages] == ([start] if expected else [])
