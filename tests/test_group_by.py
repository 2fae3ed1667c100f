from __future__ import annotations

import copy
import math
import pickle
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from kedro_hydraflow import Collection, GroupBy, Run, RunCollection, iter_run_dirs
from kedro_hydraflow.errors import OptionError
from tests.conftest import FilesRead, TrackingDir


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
    assert repr(groups) == "GroupBy(by=model.type, n=2, sizes={'b': 2, 'a': 1})"
    assert groups._ipython_key_completions_() == ["b", "a"]
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


@pytest.mark.parametrize("function", ["len", ("n",), ("n", "max", 1), (1, "max"), 3])
def test_agg_takes_functions_and_pairs(runs: RunCollection[Run[Any, Any]], function: Any) -> None:
    message = (
        r"agg: expected a function of a group as n, or a pair such as "
        r"\('metrics.accuracy', 'max'\), found .*; pass a key without a name to list its values"
    )
    with pytest.raises(OptionError, match=message):
        runs.group_by("lr").agg(n=function)


@pytest.mark.parametrize("function", ["maximum", None, 3])
def test_the_functions_of_agg_are_named(runs: RunCollection[Run[Any, Any]], function: Any) -> None:
    message = (
        "agg: n: expected a function or one of mean, std, min, max, median, sum, count, n, "
        f"n_unique, first, last, found {function!r}"
    )
    with pytest.raises(OptionError) as error:
        runs.group_by("lr").agg(n=("n", function))
    assert str(error.value) == message


def test_agg_of_pairs(runs: RunCollection[Run[Any, Any]]) -> None:
    frame = runs.group_by("model.type").agg(
        "lr",
        best=("n", "max"),
        mean=("n", "mean"),
        n=("n", "count"),
        spread=("lr", lambda values: max(values) - min(values)),
        last=("run_id", "last"),
    )
    assert frame.schema == {
        "model.type": pl.String,
        "lr": pl.List(pl.Float64),
        "best": pl.Int64,
        "mean": pl.Float64,
        "n": pl.Int64,
        "spread": pl.Float64,
        "last": pl.String,
    }
    assert frame.rows() == [
        ("b", [0.1, 0.2], 3, 2.0, 2, 0.1, "run2"),
        ("a", [0.1], 2, 2.0, 1, 0.0, "run1"),
    ]


def test_pairs_leave_out_what_is_missing(scored: RunCollection[Run[Any, Any]]) -> None:
    frame = scored.group_by("model").agg(
        n=("metrics.score", "n"),
        kinds=("metrics.score", "n_unique"),
        best=("metrics.score", "max"),
        mean=("metrics.score", "mean"),
        std=("metrics.score", "std"),
        values=("metrics.score", list),
    )
    rows = {row[0]: row[1:] for row in frame.rows()}
    assert rows["b"][:3] == (3, 2, 0.9)
    assert rows["b"][3:] == (pytest.approx(2.3 / 3), pytest.approx(0.230940), [0.5, 0.9, 0.9])
    assert repr(rows["a"]) == "(2, 2, 0.7, nan, nan, [0.7, nan])"  # one of two is NaN
    assert rows["c"] == (0, 0, None, None, None, None)


def test_pairs_of_values_of_any_kind(tmp_path: Path) -> None:
    values = [[1, 2], {"a": 1}, [1, 2], None]
    runs = make_runs(tmp_path, x=values, t=["b", "a", "c", None], g=[1, 1, 1, 2])
    frame = runs.group_by("g").agg(
        n=("x", "n_unique"), first=("x", "first"), low=("t", "min"), last=("t", "last")
    )
    assert frame.rows() == [(1, 2, [1, 2], "a", "c"), (2, 0, None, None, None)]
    message = "agg: m: 't' in the group 1: expected numbers, found 'b' (str)"
    with pytest.raises(OptionError) as error:
        runs.group_by("g").agg(m=("t", "mean"))
    assert str(error.value) == message
    with pytest.raises(OptionError, match="'x' in the group 1: cannot compare values of type dict"):
        runs.group_by("g").agg(m=("x", "max"))


def test_a_key_of_a_pair_that_no_run_has(runs: RunCollection[Run[Any, Any]]) -> None:
    with pytest.raises(AttributeError, match=r"no such key: 'metrics\.acc'"):
        runs.group_by("lr").agg(n=("metrics.acc", "max"))
    assert runs[:0].group_by("lr").agg(n=("metrics.acc", "max")).height == 0


def test_the_values_of_pairs_are_read_at_once(
    scored: RunCollection[Run[Any, Any]], tracking_dir: TrackingDir, files_read: FilesRead
) -> None:
    runs = Run.load(iter_run_dirs(tracking_dir.root))
    groups = runs.group_by("model")
    files_read.clear()
    groups.agg(low=("metrics.score", "min"), high=("metrics.score", "max"))
    assert files_read.counts == [7]


def test_pairs_look_up_as_the_collection_does() -> None:
    words = Collection(["a", "bb", "c"], lambda item, key, default: {"n": len(item)}.get(key, item))
    frame = words.group_by("n").agg(first=("word", "first"), total=("n", "sum"))
    assert frame.rows() == [(1, "a", 2), (2, "bb", 2)]
    groups = GroupBy(("n",), {1: words[[0, 2]]})
    assert groups.agg(last=("word", "last")).rows() == [(1, "c")]


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


# The best of each group ------------------------------------------------------------------


@pytest.fixture
def scored(tracking_dir: TrackingDir) -> RunCollection[Run[Any, Any]]:
    """Return runs of three models. One run has no score, one NaN, and those of "c" none at all."""
    experiment = tracking_dir.add_experiment("train")
    for i, (model, score) in enumerate(
        [("b", 0.5), ("a", 0.7), ("b", 0.9), ("c", None), ("a", "nan"), ("b", None), ("b", 0.9)]
    ):
        metrics = {} if score is None else {"score": f"1 {score} 0\n"}
        tracking_dir.add_run(experiment, f"r{i}", f"model: {model}\nn: {i}\n", metrics)
    return Run.load(iter_run_dirs(tracking_dir.root))


LEFT_OUT = "1 of 3 groups are left out, because no run in them has a value for 'metrics.score': 'c'"


def test_the_best_of_each_group(
    scored: RunCollection[Run[Any, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    groups = scored.group_by("model")
    best = groups.best("metrics.score", mode="max")
    assert type(best) is RunCollection
    assert best.to_list("run_id") == ["r2", "r1"]  # of equal runs, the first by ID
    assert caplog.messages == [LEFT_OUT]
    assert groups.best("metrics.score", mode="min").to_list("n") == [0, 1]
    assert best.to_frame("model", "metrics.*").rows() == [("b", 0.9), ("a", 0.7)]


def test_the_top_of_each_group_is_that_of_a_collection(
    scored: RunCollection[Run[Any, Any]],
) -> None:
    groups = scored.filter("model != c").group_by("model")
    for n in range(5):
        for mode in ("max", "min"):
            for by in ("metrics.score", lambda run: run.metrics.get("score")):
                expected = [
                    run.info.run_id
                    for group in groups.values()
                    for run in group.top(n, by, mode=mode)
                ]
                assert groups.top(n, by, mode=mode).to_list("run_id") == expected
    assert groups.top(9, "metrics.score", mode="max").to_list("n") == [2, 6, 0, 5, 1, 4]


def test_defaults_of_groups(
    scored: RunCollection[Run[Any, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    groups = scored.group_by("model")
    best = groups.best("metrics.score", mode="max", default=lambda run: run.get("n"))
    assert best.to_list("n") == [5, 1, 3]
    assert groups.best("metrics.score", mode="min", default=0).to_list("n") == [5, 1, 3]
    assert caplog.messages == []


def test_groups_that_are_left_out_are_named(
    scored: RunCollection[Run[Any, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    groups = scored.group_by("model", "n")
    assert len(groups.best("metrics.score", mode="max")) == 4
    assert caplog.messages == [
        "3 of 7 groups are left out, because no run in them has a value for 'metrics.score': "
        "('c', 3), ('a', 4), ('b', 5)"
    ]


def test_groups_without_any_value_are_an_error(scored: RunCollection[Run[Any, Any]]) -> None:
    groups = scored.group_by("model")
    with pytest.raises(OptionError, match=r"none of the 7 runs has a value for 'metrics\.scor';"):
        groups.best("metrics.scor", mode="max")
    with pytest.raises(OptionError, match=r"cannot rank runs by 'model': expected a number"):
        groups.best("model", mode="max")
    with pytest.raises(OptionError, match=r"mode: expected 'max' or 'min', found 'largest'"):
        groups.best("n", mode="largest")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match=r"n: expected the number of runs, 0 or more, found -1"):
        groups.top(-1, "n", mode="max")
    with pytest.raises(TypeError, match=r"missing 1 required keyword-only argument: 'mode'"):
        groups.best("n")  # type: ignore[call-arg]


def test_no_groups_have_no_best_runs(scored: RunCollection[Run[Any, Any]]) -> None:
    best = scored[:0].group_by("model").best("metrics.score", mode="max")
    assert (type(best), len(best)) == (RunCollection, 0)


def test_values_of_groups_are_read_at_once(
    scored: RunCollection[Run[Any, Any]], tracking_dir: TrackingDir, files_read: FilesRead
) -> None:
    runs = Run.load(iter_run_dirs(tracking_dir.root))
    groups = runs.group_by("model")
    files_read.clear()
    groups.top(2, "metrics.score", mode="max")
    assert files_read.counts == [7]


def test_each_run_is_ranked_once(scored: RunCollection[Run[Any, Any]]) -> None:
    seen: list[str] = []

    def rank(run: Run[Any, Any]) -> int:
        seen.append(run.info.run_id)
        return 1

    scored.group_by("model").top(2, rank, mode="min")
    assert sorted(seen) == [run.info.run_id for run in scored]


def test_the_best_of_copied_groups(scored: RunCollection[Run[Any, Any]]) -> None:
    groups = scored.group_by("model")
    for copied in (copy.deepcopy(groups), pickle.loads(pickle.dumps(groups))):
        del copied.groups["c"]
        assert copied.best("metrics.score", mode="max").to_list("n") == [2, 1]
        assert copied.best("metrics.score", mode="max")[0] is copied["b"][1]
    assert "c" in groups


def test_only_runs_are_ranked() -> None:
    groups = Collection(["a", "bb"], lambda item, key, default: len(item)).group_by("length")
    with pytest.raises(OptionError, match="only runs can be ranked: group a RunCollection"):
        groups.best("length", mode="max")
