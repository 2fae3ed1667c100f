from __future__ import annotations

import copy
import math
import pickle
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from kedro_hydraflow import Collection, GroupBy, Run, RunCollection
from kedro_hydraflow.errors import OptionError


def make_runs(tmp_path: Path, **columns: list[Any]) -> RunCollection[Run[Any, Any]]:
    """Return runs whose configurations have the columns' values."""
    n = len(next(iter(columns.values())))
    runs = RunCollection([Run(tmp_path / f"run{i}") for i in range(n)])
    for i, run in enumerate(runs):
        for key, values in columns.items():
            run.update(key, values[i])
    return runs


@pytest.fixture
def runs(tmp_path: Path) -> RunCollection[Run[Any, Any]]:
    return make_runs(tmp_path, model__type=["b", "a", "b"], lr=[0.1, 0.1, 0.2], n=[1, 2, 3])


def test_is_a_mapping(runs: RunCollection[Run[Any, Any]]) -> None:
    groups = runs.group_by("model.type")
    assert isinstance(groups, GroupBy)
    assert repr(groups) == "GroupBy(by=model.type, n=2)"
    assert len(groups) == 2
    assert list(groups) == list(groups.keys()) == ["b", "a"]  # in order of appearance
    assert "a" in groups
    assert "c" not in groups
    assert type(groups["b"]) is RunCollection
    assert groups["b"].to_list("n") == [1, 3]
    assert [len(group) for group in groups.values()] == [2, 1]
    assert {key: len(group) for key, group in groups.items()} == {"b": 2, "a": 1}
    with pytest.raises(KeyError, match="c"):
        groups["c"]


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        (("model.type", "lr"), {("b", 0.1): [1], ("a", 0.1): [2], ("b", 0.2): [3]}),
        (("lr", "model__type"), {(0.1, "b"): [1], (0.1, "a"): [2], (0.2, "b"): [3]}),
        (("run_id",), {"run0": [1], "run1": [2], "run2": [3]}),
        ((), {(): [1, 2, 3]}),
    ],
)
def test_by(runs: RunCollection[Run[Any, Any]], by: tuple[str, ...], expected: Any) -> None:
    assert {k: v.to_list("n") for k, v in runs.group_by(*by).items()} == expected


@pytest.mark.parametrize(
    ("values", "keys", "column"),
    [
        ([[1, 2], [3], [1, 2]], [(1, 2), (3,)], [[1, 2], [3]]),
        ([[1, [2]], [3], [1, [2]]], [(1, (2,)), (3,)], [[1, [2]], [3]]),
        ([{"a": 1}, {"a": 2}, {"a": 1}], [(("a", 1),), (("a", 2),)], [{"a": 1}, {"a": 2}]),
        ([None, 1, None], [None, 1], [None, 1]),
        ([math.nan, 1.0, float("nan")], [math.nan, 1.0], [math.nan, 1.0]),
        ([1, 2.5, 1.0], [1, 2.5], [1.0, 2.5]),
        ([Path("x"), Path("y"), Path("x")], [Path("x"), Path("y")], ["x", "y"]),
    ],
)
def test_group_keys_of_any_value(
    tmp_path: Path, values: list[Any], keys: list[Any], column: list[Any]
) -> None:
    groups = make_runs(tmp_path, x=values, n=[1, 2, 3]).group_by("x")
    assert str(list(groups)) == str(keys)  # as text, where NaN equals itself
    assert groups[keys[0]].to_list("n") == [1, 3]
    frame = groups.agg("n")
    assert str(frame["x"].to_list()) == str(column)
    assert frame["n"].to_list() == [[1, 3], [2]]


def test_agg(runs: RunCollection[Run[Any, Any]]) -> None:
    frame = runs.group_by("model.type", "lr").agg(
        "n", "run_id", count=len, best=lambda group: max(group.to_list("n"))
    )
    assert frame.columns == ["model.type", "lr", "n", "run_id", "count", "best"]
    assert frame.row(0) == ("b", 0.1, [1], ["run0"], 1, 1)
    assert frame.shape == (3, 6)


def test_agg_of_nothing_gives_the_keys(runs: RunCollection[Run[Any, Any]]) -> None:
    frame = runs.group_by("model.type").agg()
    assert frame.equals(pl.DataFrame({"model.type": ["b", "a"]}))


def test_agg_of_a_group_key_replaces_it(runs: RunCollection[Run[Any, Any]]) -> None:
    frame = runs.group_by("lr", "model.type").agg("lr", n=len)
    assert frame.columns == ["lr", "model.type", "n"]
    assert frame["lr"].to_list() == [[0.1], [0.1], [0.2]]


@pytest.mark.parametrize("function", ["len", ("metrics.accuracy", "max"), 3])
def test_agg_takes_functions(runs: RunCollection[Run[Any, Any]], function: Any) -> None:
    with pytest.raises(OptionError, match="agg: expected a function of a group as n, found"):
        runs.group_by("lr").agg(n=function)


def test_agg_of_everything(runs: RunCollection[Run[Any, Any]]) -> None:
    assert runs.group_by().agg("n", count=len).rows() == [([1, 2, 3], 3)]


def test_agg_gives_objects_where_polars_has_no_type(runs: RunCollection[Run[Any, Any]]) -> None:
    frame = runs.group_by("lr").agg("run", first=lambda group: group[0])
    assert frame.schema["run"] == frame.schema["first"] == pl.Object
    assert frame["run"][0][0] is frame["first"][0] is runs[0]


def test_groups_are_copied_and_pickled(runs: RunCollection[Run[Any, Any]]) -> None:
    groups = runs.group_by("model.type")
    for copied in (copy.deepcopy(groups), pickle.loads(pickle.dumps(groups))):
        copied["b"].update("n", 9, force=True)
        assert copied["b"].to_list("n") == [9, 9]
        assert groups["b"].to_list("n") == [1, 3]


def test_a_missing_key_is_refused(runs: RunCollection[Run[Any, Any]]) -> None:
    with pytest.raises(AttributeError, match="no such key: 'modle'"):
        runs.group_by("modle")
    with pytest.raises(AttributeError, match="no such key: 'm'"):
        runs.group_by("lr").agg("m")


def test_groups_of_any_collection() -> None:
    groups = Collection(["a", "bb", "c"], lambda item, key, default: len(item)).group_by("length")
    assert {k: list(v) for k, v in groups.items()} == {1: ["a", "c"], 2: ["bb"]}
