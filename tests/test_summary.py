from __future__ import annotations

import logging
import math
import statistics
from datetime import datetime, timezone
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kedro_hydraflow import Run, RunCollection, iter_run_dirs
from kedro_hydraflow.errors import MissingKeyError, OptionError
from kedro_hydraflow.key_patterns import read_columns
from kedro_hydraflow.missing import MISSING
from kedro_hydraflow.value_text import show_value
from tests.conftest import FilesRead, TrackingDir, write
from tests.test_comparing import are_same, same
from tests.test_run_collection import configs, written

Runs = RunCollection[Run[Any, Any]]


def load(tracking_dir: TrackingDir, rows: list[tuple[str, str | None]]) -> Runs:
    """Write runs with these configurations and scores, and load them."""
    experiment = tracking_dir.add_experiment("train")
    for i, (config, score) in enumerate(rows):
        metrics = {} if score is None else {"score": f"1 {score} 0\n"}
        tracking_dir.add_run(experiment, f"r{i}", config, metrics)
    return Run.load(iter_run_dirs(tracking_dir.root))


# One row for each key --------------------------------------------------------------------

COLUMNS = {
    "key": pl.String, "type": pl.String, "distinct": pl.Int64, "missing": pl.Int64,
    "nan": pl.Int64, "min": pl.String, "max": pl.String, "example": pl.String,
}  # fmt: skip


def test_describe(tracking_dir: TrackingDir) -> None:
    first = "a: 1\nb: x\nc: [1]\nd: 1\ne: .nan\nf: null\ng: true\nh: ${gone}\ni: {}\n"
    second = "a: 2.5\nb: w\nc: [1]\nd: x\ne: 3\ng: false\nh: ${gone}\nj: 2024-01-02\n"
    third = f"a: {10**40}\nd: null\ne: .nan\nf: ???\ni: {{}}\nj: '2024'\n"
    frame = load(tracking_dir, [(first, None), (second, None), (third, None)]).describe()
    assert frame.schema == COLUMNS
    assert frame.rows() == [
        ("a", "float | int", 3, 0, 0, "1", str(10**40), "1"),
        ("b", "str", 2, 1, 0, "w", "x", "x"),
        ("c", "list", 1, 1, 0, None, None, "[1]"),
        ("d", "int | str", 2, 1, 0, None, None, "1"),
        ("e", "float | int", 2, 0, 2, "3", "3", ".nan"),
        ("f", "null", 0, 3, 0, None, None, None),
        ("g", "bool", 2, 1, 0, "false", "true", "true"),
        ("h", "str", 1, 1, 0, "${gone}", "${gone}", "${gone}"),
        ("i", "dict", 1, 1, 0, None, None, "{}"),
        ("j", "str", 2, 1, 0, "'2024'", "2024-01-02", "2024-01-02"),
    ]


def test_describe_patterns(sweep: Any) -> None:
    runs = Run.load(iter_run_dirs(sweep))
    frame = runs.describe("metrics.acc*", "info.*", "seed", "s*")
    assert frame["key"].to_list()[:3] == ["metrics.accuracy", "run_id", "run_name"]
    assert frame["key"].to_list()[-2:] == ["run_dir", "seed"]
    rows = {row[0]: row[1:] for row in frame.rows()}
    assert rows["run_dir"][0] == "path"
    assert rows["seed"] == ("int", 5, 0, 0, "1", "42", "7")
    assert rows["parent_run_id"] == ("null", 0, 31, 0, None, None, None)
    assert rows["start_time"][0] == "datetime"
    assert rows["start_time"][4] == "2026-11-23 00:39:19.739+00:00"


@given(configs)
def test_describe_by_definition(configs: list[Any]) -> None:
    with written(configs) as (runs, others):
        columns = read_columns(list(others), "*")
        frame = runs.describe()
    assert frame["key"].to_list() == list(columns)
    for values, row in zip(columns.values(), frame.iter_rows(named=True), strict=True):
        present = [value for value in values if value is not None and value is not MISSING]
        distinct: list[Any] = []
        for value in present:
            if not any(same(value, other) for other in distinct):
                distinct.append(value)
        nan = [value for value in present if isinstance(value, float) and math.isnan(value)]
        assert row["distinct"] == len(distinct)
        assert row["missing"] == len(values) - len(present)
        assert row["nan"] == len(nan)
        assert row["type"] == (" | ".join(sorted({type(v).__name__ for v in present})) or "null")
        assert row["example"] == (show_value(present[0]) if present else None)
        numbers = [value for value in present if isinstance(value, (int, float))]
        if len(numbers) == len(present) > len(nan):
            kept = [value for value in numbers if value == value]
            assert is_text_of(row["min"], min(kept))
            assert is_text_of(row["max"], max(kept))
        elif not present:
            assert row["min"] is row["max"] is None


def is_text_of(text: str, value: Any) -> bool:
    """Whether a text is that of a number, or of another one that is equal."""
    return float({"true": "1", "false": "0"}.get(text, text.replace(".inf", "inf"))) == float(value)


def test_describe_no_runs() -> None:
    assert RunCollection([]).describe().schema == COLUMNS


# Over seeds ------------------------------------------------------------------------------

SWEEP = [
    ("lr: 0.1\nseed: 1\n", "0.5"), ("lr: 0.1\nseed: 2\n", "0.75"), ("lr: 0.2\nseed: 1\n", "1"),
    ("lr: 0.2\nseed: 2\n", None), ("lr: 0.1\nseed: 3\n", "1.0"),
]  # fmt: skip
STATISTICS = {
    "key": pl.String, "mean": pl.Float64, "std": pl.Float64, "min": pl.Float64,
    "max": pl.Float64, "n": pl.Int64,
}  # fmt: skip


def test_over_seeds(tracking_dir: TrackingDir, caplog: pytest.LogCaptureFixture) -> None:
    frame = load(tracking_dir, SWEEP).over("seed", "metrics.score")
    assert frame.schema == {"lr": pl.Float64, **STATISTICS}
    assert frame.rows() == [
        (0.1, "metrics.score", 0.75, 0.25, 0.5, 1.0, 3),
        (0.2, "metrics.score", 1.0, None, 1.0, 1.0, 1),
    ]
    assert caplog.messages == []


def test_several_values_and_keys(tracking_dir: TrackingDir) -> None:
    experiment = tracking_dir.add_experiment("train")
    for i in range(8):
        config = f"lr: {i % 2}\nseed: {i // 4}\nfold: {i // 2 % 2}\n"
        metrics = {"a": f"1 {i} 0\n", "b": f"1 {10 * i} 0\n"}
        tracking_dir.add_run(experiment, f"r{i}", config, metrics)
    runs = Run.load(iter_run_dirs(tracking_dir.root))
    frame = runs.over(["seed", "fold"], "metrics.*", "metrics.a")
    assert frame.select("lr", "key", "mean", "n").rows() == [
        (0, "metrics.a", 3.0, 4), (0, "metrics.b", 30.0, 4),
        (1, "metrics.a", 4.0, 4), (1, "metrics.b", 40.0, 4),
    ]  # fmt: skip
    assert runs.over("seed", "metrics.a", ignore="fold").equals(frame.filter(key="metrics.a"))
    assert runs.over("*", "metrics.a").rows()[0][1] == pytest.approx(3.5)


def test_nothing_else_varies(tracking_dir: TrackingDir) -> None:
    frame = load(tracking_dir, [(f"seed: {i}\n", str(i)) for i in range(3)])
    assert frame.over("seed", "metrics.score").rows() == [("metrics.score", 1.0, 1.0, 0.0, 2.0, 3)]


def test_numbers_of_all_kinds(tracking_dir: TrackingDir) -> None:
    rows = [
        ("g: nan\n", "0.5"), ("g: nan\n", "nan"),
        ("g: inf\n", "inf"), ("g: inf\n", "1"),
        ("g: both\n", "inf"), ("g: both\n", "-inf"),
        ("g: huge\n", "1.7e308"), ("g: huge\n", "1.7e308"),
        ("g: none\n", None), ("g: none\n", None),
        ("g: same\n", "0.1"), ("g: same\n", "0.1"), ("g: same\n", "0.1"),
        ("g: tiny\n", "1e-300"), ("g: tiny\n", "3e-300"),
    ]  # fmt: skip
    runs = load(tracking_dir, [(f"{config}seed: {i}\n", s) for i, (config, s) in enumerate(rows)])
    found = {row[0]: row[2:] for row in runs.over("seed", "metrics.score").rows()}
    assert repr(found["nan"]) == "(nan, nan, 0.5, 0.5, 2)"
    assert repr(found["inf"]) == "(inf, nan, 1.0, inf, 2)"
    assert repr(found["both"]) == "(nan, nan, -inf, inf, 2)"
    assert found["none"] == (None, None, None, None, 0)
    assert found["same"] == (0.1, 0.0, 0.1, 0.1, 3)
    assert found["tiny"][:2] == (2e-300, pytest.approx(math.sqrt(2) * 1e-300))
    assert found["huge"][2:] == (1.7e308, 1.7e308, 2)


def test_truth_values_count_as_numbers(tracking_dir: TrackingDir) -> None:
    texts = [f"seed: {i}\nconverged: {'true' if i else 'false'}\n" for i in range(4)]
    runs = load(tracking_dir, [(text, None) for text in texts])
    assert runs.over("seed", "converged").select("mean", "n").rows() == [(0.75, 4)]


@pytest.mark.parametrize("value", ["text", "[1]", str(10**400)])
def test_what_is_not_a_number(tracking_dir: TrackingDir, value: str) -> None:
    runs = load(tracking_dir, [(f"seed: {i}\nx: {v}\n", None) for i, v in enumerate(["1", value])])
    with pytest.raises(OptionError, match=r"^over: 'x' of run r1: expected numbers.*, found "):
        runs.over("seed", "x")


def test_keys_that_differ_as_they_are_named(tracking_dir: TrackingDir) -> None:
    rows = [(f"mean: {i}\nn: {i}\nkey: {i}\nseed: {j}\n", "1") for i in (1, 2) for j in (1, 2)]
    frame = load(tracking_dir, rows).over("seed", "metrics.score")
    assert frame.columns == ["cfg.mean", "cfg.n", "cfg.key", *STATISTICS]
    assert frame["n"].to_list() == [2, 2]


def test_values_that_follow_from_the_seed_do_not_split(tracking_dir: TrackingDir) -> None:
    texts = [
        f"lr: {lr}\nseed: {seed}\nname: run-${{seed}}\n{'' if lr else 'old: ${seed}'}\n"
        for lr in (0, 1)
        for seed in (1, 2)
    ]
    frame = load(tracking_dir, [(text, "1") for text in texts]).over("seed", "metrics.score")
    assert frame.select("lr", "old", "n").rows() == [(0, "${seed}", 2), (1, None, 2)]


def test_values_under_other_names(tracking_dir: TrackingDir) -> None:
    runs = load(tracking_dir, [(f"s: {{eed: {i}}}\nlr: 1\nloss: {i}\n", "1") for i in (1, 2)])
    for seed in ("s.eed", "cfg.s.eed", "s__eed", "s"):
        frame = runs.over(seed, "cfg.loss")
        assert frame.rows() == [("cfg.loss", 1.5, pytest.approx(0.5**0.5), 1.0, 2.0, 2)]


@pytest.mark.parametrize(
    "ignore", ["note", ["note"], ("no*",), ["cfg.note"], ["notes", "note"], "*"]
)
def test_ignored_keys(tracking_dir: TrackingDir, ignore: Any) -> None:
    texts = [f"seed: {i}\nnote: text {i}\nnotes: {{who: w{i % 2}}}\n" for i in range(4)]
    frame = load(tracking_dir, [(text, "1") for text in texts]).over(
        "seed", "metrics.score", ignore=ignore
    )
    assert frame["n"].sum() == 4
    is_all = "notes" in ignore or ignore in ("*", ("no*",))
    assert frame["n"].to_list() == ([4] if is_all else [2, 2])


def test_an_ignored_key_that_no_run_has(
    tracking_dir: TrackingDir, caplog: pytest.LogCaptureFixture
) -> None:
    runs = load(tracking_dir, SWEEP)
    assert runs.over("seed", "metrics.score", ignore=["lrr", "x.*"]).height == 2
    assert caplog.messages == [
        "over: ignore: none of the keys that are compared is 'lrr' (similar keys: 'lr')",
        "over: ignore: none of the keys that are compared is 'x.*' (no similar keys)",
    ]


def test_among_other_keys(tracking_dir: TrackingDir) -> None:
    experiment = tracking_dir.add_experiment("train")
    for i in range(4):
        run_dir = tracking_dir.add_run(experiment, f"r{i}", None, {"score": f"1 {i} 0\n"})
        write(run_dir / "params/lr", str(i % 2))
        write(run_dir / "params/seed", str(i // 2))
    runs = Run.load(iter_run_dirs(tracking_dir.root))
    frame = runs.over("params.seed", "metrics.score", among="params.*")
    assert frame.select("params.lr", "mean").rows() == [("0", 1.0), ("1", 2.0)]
    assert runs.over("params.seed", "metrics.score")["n"].to_list() == [4]
    frame = runs.over("params.seed", "metrics.score", among=["params.lr", "job_name"])
    assert frame["n"].to_list() == [2, 2]


@pytest.mark.parametrize(
    ("seeds", "extra", "message"),
    [
        (
            [1, 1, 1, 1],
            "",
            "over: each combination of 'lr', 'model' has one run, so nothing is averaged over "
            "'seed' (1 distinct); 'lr' splits most: with ignore=['lr'] there are 2 combinations",
        ),
        (
            [1, 2, 1, 2],
            "out: /data/{i}\n",
            "over: each combination of 'lr', 'model', 'out' has one run, so nothing is averaged "
            "over 'seed' (2 distinct); 'out', 'lr' split most: with ignore=['out', 'lr'] there "
            "are 2 combinations",
        ),
    ],
)
def test_groups_of_one_run(
    tracking_dir: TrackingDir,
    caplog: pytest.LogCaptureFixture,
    seeds: list[int],
    extra: str,
    message: str,
) -> None:
    texts = [
        f"lr: {i // 2}\nmodel: m{i % 2}\nseed: {seed}\n{extra.format(i=i)}"
        for i, seed in enumerate(seeds)
    ]
    runs = load(tracking_dir, [(text, str(i)) for i, text in enumerate(texts)])
    frame = runs.over("seed", "metrics.score")
    assert frame["n"].to_list() == [1, 1, 1, 1]
    assert frame["std"].to_list() == [None] * 4
    assert caplog.messages == [message]


def test_two_keys_that_are_different_in_each_run(
    tracking_dir: TrackingDir, caplog: pytest.LogCaptureFixture
) -> None:
    texts = [f"lr: 1\nseed: {i}\nout: /data/{i}\nlog: /log/{i}.txt\n" for i in range(3)]
    load(tracking_dir, [(text, "1") for text in texts]).over("seed", "metrics.score")
    assert "'out', 'log' split most: with ignore=['out', 'log'] there are 1" in caplog.text


def test_one_run_or_none(tracking_dir: TrackingDir, caplog: pytest.LogCaptureFixture) -> None:
    runs = load(tracking_dir, SWEEP[:1])
    assert runs.over("seed", "metrics.score").rows() == [("metrics.score", 0.5, None, 0.5, 0.5, 1)]
    frame = runs[:0].over("seed", "metrics.score")
    assert frame.schema == STATISTICS
    assert frame.height == 0
    assert caplog.messages == []


def test_runs_of_different_jobs(
    tracking_dir: TrackingDir, caplog: pytest.LogCaptureFixture
) -> None:
    for i, name in enumerate(("train", "eval")):
        experiment = tracking_dir.add_experiment(name, str(i + 1))
        for seed in (1, 2):
            metrics = {"score": f"1 {i} 0\n"}
            tracking_dir.add_run(experiment, f"r{i}{seed}", f"seed: {seed}\n", metrics)
    runs = Run.load(iter_run_dirs(tracking_dir.root))
    assert runs.over("seed", "metrics.score")["mean"].to_list() == [0.5]
    assert caplog.messages == [
        "over: runs of different jobs are averaged together in 1 of 1 combinations, such as those "
        "of 'eval', 'train': filter by job_name, or tell them apart with among=['job_name', '*']"
    ]
    caplog.clear()
    frame = runs.over("seed", "metrics.score", among=["job_name", "*"])
    assert frame.select("job_name", "mean").rows() == [("eval", 1.0), ("train", 0.0)]
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("seed",), OptionError, r"over: give a key such as 'seed', and keys of numbers such as"),
        (([], "metrics.score"), OptionError, r"over: give a key such as 'seed'"),
        ((3, "metrics.score"), OptionError, "expected a key as text, found 3"),
        (([3], "metrics.score"), OptionError, "expected a key as text, found 3"),
        (("sed", "metrics.score"), MissingKeyError, r"no such key: 'sed' in any .*'seed'"),
        (("seed", "metrics.scor"), MissingKeyError, r"no such key: 'metrics.scor' .*metrics.score"),
        (("seed", "metrics.x*"), MissingKeyError, r"none of the 5 runs has a key that matches"),
    ],
)
def test_wrong_arguments(
    tracking_dir: TrackingDir, arguments: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        load(tracking_dir, SWEEP).over(*arguments)


def test_values_are_read_at_once(tracking_dir: TrackingDir, files_read: FilesRead) -> None:
    load(tracking_dir, SWEEP)
    runs = Run.load(iter_run_dirs(tracking_dir.root))
    files_read.clear()
    runs.over("seed", "metrics.score")
    assert len(files_read.counts) <= 2  # the metric and the names of jobs


def test_over_on_every_kind_of_storage(tracking_dir: TrackingDir, publish: Any) -> None:
    expected = load(tracking_dir, SWEEP).over("seed", "metrics.score")
    runs = Run.load(iter_run_dirs(publish(tracking_dir.root)))
    assert runs.over("seed", "metrics.score").equals(expected)


kinds = st.sampled_from([0, 1, 1.0, True, "1", "a", None, [1], [True], float("nan")])
sweeps = st.lists(
    st.fixed_dictionaries(
        {"seed": st.integers(0, 2), "x": st.none() | st.integers(-9, 9) | st.floats(-1, 1)},
        optional={"a": kinds, "b": kinds, "c": st.sampled_from(["${seed}", "${a}", "x"])},
    ),
    min_size=1,
    max_size=6,
)


@given(sweeps)
def test_over_by_definition(rows: list[dict[str, Any]]) -> None:
    if all(row["x"] is None for row in rows):
        rows[0]["x"] = 1
    with written(rows) as (runs, _):
        logging.disable(logging.WARNING)
        try:
            frame = runs.over("seed", "x")
        finally:
            logging.disable(logging.NOTSET)
    # Interpolations that are equal count as equal, others by their values.
    texts = {row["c"] for row in rows if "c" in row}
    if len(texts) != 1:
        for row in rows:
            if row.get("c") == "${seed}":
                row["c"] = row["seed"]
            elif row.get("c") == "${a}":
                row["c"] = row.get("a", "${a}")
    groups: list[list[dict[str, Any]]] = []
    for row in rows:
        for group in groups:
            if all(same(row.get(key), group[0].get(key)) for key in "abc"):
                group.append(row)
                break
        else:
            groups.append([row])
    varying = [k for k in "abc" if not are_same([row.get(k) for row in rows])]
    assert set(frame.columns) == {*varying, *STATISTICS}
    assert frame.height == len(groups)
    for group, (mean, std, low, high, n) in zip(
        groups, frame.select("mean", "std", "min", "max", "n").rows(), strict=True
    ):
        values = [float(row["x"]) for row in group if row["x"] is not None]
        assert n == len(values)
        if values:
            assert (low, high) == (min(values), max(values))
            assert mean == pytest.approx(statistics.mean(values), abs=1e-12)
        if len(values) > 1:
            assert std == pytest.approx(statistics.stdev(values), abs=1e-12)
        else:
            assert std is None


def test_times_have_a_range(tracking_dir: TrackingDir) -> None:
    start = datetime(2026, 1, 2, tzinfo=timezone.utc)
    experiment = tracking_dir.add_experiment("train")
    for i in range(2):
        time = int(start.timestamp() * 1000) + i * 1500
        tracking_dir.add_run(experiment, f"r{i}", "", start_time=time)
    runs = Run.load(iter_run_dirs(tracking_dir.root))
    frame = runs.describe("start_time").select("min", "max")
    assert frame.rows() == [("2026-01-02 00:00:00+00:00", "2026-01-02 00:00:01.500+00:00")]
