"""Frames that every format can hold: what no type of Polars describes is JSON text."""

from __future__ import annotations

import io
import json
from datetime import date, datetime, time, timedelta, timezone
from enum import Enum
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from kedro_hydraflow import Collection, Run, RunCollection, iter_run_dirs
from kedro_hydraflow.errors import OptionError
from kedro_hydraflow.json_columns import make_column
from tests.conftest import Database, TrackingDir, write


class Color(Enum):
    RED = 1


class Thing:
    def __str__(self) -> str:
        return "a thing"


NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)

TYPED: list[tuple[list[Any], Any]] = [
    ([1, None, 2], pl.Int64),
    ([1, 0.5], pl.Float64),
    ([float("nan"), float("-inf")], pl.Float64),
    (["a", None, '"'], pl.String),
    ([True, None], pl.Boolean),
    ([None, None], pl.Null),
    ([date(2026, 1, 2)], pl.Date),
    ([time(1, 2)], pl.Time),
    ([NOW, None], pl.Datetime("us", "UTC")),
    ([Path("a/b"), Path("c")], pl.String),
    ([Color.RED], pl.String),
]


@pytest.mark.parametrize(("values", "dtype"), TYPED)
def test_values_of_one_kind_stay_typed(values: list[Any], dtype: Any) -> None:
    series = make_column("x", values, "json")
    assert series.dtype == dtype
    assert series.equals(make_column("x", values), check_dtypes=True, null_equal=True)


TEXTS: list[tuple[list[Any], list[str | None]]] = [
    ([[1, 2], None, []], ["[1, 2]", None, "[]"]),
    ([{"a": None, "b": [True]}, {}], ['{"a": null, "b": [true]}', "{}"]),
    ([{}], ["{}"]),
    ([1, "1", None], ["1", '"1"', None]),
    ([True, 1], ["true", "1"]),
    ([1, [1]], ["1", "[1]"]),
    ([2**70, 1], ["1180591620717411303424", "1"]),
    ([2**200], [str(2**200)]),
    ([[float("nan"), float("inf"), -float("inf")]], ['["NaN", "Infinity", "-Infinity"]']),
    ([{1: 0, None: 1, Color.RED: 2}], ['{"1": 0, "None": 1, "RED": 2}']),
    ([[Path("a"), Color.RED, date(2026, 1, 2), NOW]],
     ['["a", "RED", "2026-01-02", "2026-01-02T03:04:05+00:00"]']),
    ([NOW, date(2026, 1, 2)], ['"2026-01-02T03:04:05+00:00"', '"2026-01-02"']),
    ([timedelta(minutes=1)], ["60.0"]),
    ([b"a\xff"], ['"Yf8="']),
    ([{"b", "a"}], ['["a", "b"]']),
    ([Thing()], ['"a thing"']),
    ([OmegaConf.create({"a": [1]})], ['{"a": [1]}']),
    (["caf\u00e9", 1], ['"caf\u00e9"', "1"]),
    (["\x1b[31m", 1], ['"\\u001b[31m"', "1"]),
]  # fmt: skip


@pytest.mark.parametrize(("values", "texts"), TEXTS)
def test_other_values_are_json(values: list[Any], texts: list[str | None]) -> None:
    series = make_column("x", values, "json")
    assert series.dtype == pl.String
    assert series.to_list() == texts


def write_and_read(frame: pl.DataFrame) -> None:
    frame.write_csv(io.BytesIO())
    file = io.BytesIO()
    frame.write_parquet(file)
    file.seek(0)
    assert pl.read_parquet(file).equals(frame)


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters())
    | st.binary()
    | st.datetimes()
    | st.datetimes(timezones=st.just(timezone.utc))
    | st.dates()
    | st.timedeltas(),
    lambda values: st.lists(values) | st.dictionaries(st.text() | st.integers(), values),
    max_leaves=5,
)


@given(st.lists(anything, max_size=4))
def test_any_values_can_be_written_and_texts_are_json(values: list[Any]) -> None:
    series = make_column("x", values, "json")
    write_and_read(series.to_frame())
    kinds = {"number" if type(v) in (int, float) else type(v) for v in values if v is not None}
    if len(kinds) > 1:
        for value, text in zip(values, series.to_list(), strict=True):
            assert (text is None) == (value is None)
            json.loads(text or "null")


def make_runs(tracking_dir: TrackingDir) -> RunCollection[Run[Any]]:
    experiment = tracking_dir.add_experiment("train")
    configs = [
        "layers: [1, 2]\nwidth: 64\nopt: {name: sgd}\nbig: 1180591620717411303424\nlr: 0.1\n",
        "layers: []\nwidth: auto\nopt: adam\nbig: 1\nlr: 1\n",
    ]
    for i, config in enumerate(configs):
        tracking_dir.add_run(experiment, f"r{i}", config, {"loss": f"1 {i} 0\n"})
    return Run.load(iter_run_dirs(tracking_dir.root))


def test_a_frame_of_everything_can_be_written(tracking_dir: TrackingDir) -> None:
    runs = make_runs(tracking_dir)
    frame = runs.to_frame(nested="json")
    write_and_read(frame)
    assert frame.drop("run_id", "job_name").to_dict(as_series=False) == {
        "layers": ["[1, 2]", "[]"],
        "width": ["64", '"auto"'],
        "opt.name": ["sgd", None],
        "opt": [None, "adam"],
        "big": ["1180591620717411303424", "1"],
        "lr": [0.1, 1.0],
    }
    assert runs.to_frame("opt", nested="json")["opt"].to_list() == ['{"name": "sgd"}', '"adam"']
    write_and_read(runs.to_frame("run", "cfg", "info", "layers", "info.*", "opt", nested="json"))
    assert runs.to_frame("cfg", nested="json")["cfg"][1] == (
        '{"layers": [], "width": "auto", "opt": "adam", "big": 1, "lr": 1}'
    )


def test_without_the_option_lists_stay_lists(tracking_dir: TrackingDir) -> None:
    frame = make_runs(tracking_dir).to_frame("layers", "opt")
    assert frame.schema == {"layers": pl.List(pl.Int64), "opt": pl.Object}


def test_computed_columns_and_other_collections(tracking_dir: TrackingDir) -> None:
    runs = make_runs(tracking_dir)
    frame = runs.to_frame("lr", pair=lambda run: [run.get("lr"), "x"], nested="json")
    assert frame["pair"].to_list() == ['[0.1, "x"]', '[1, "x"]']
    values = Collection([[1], "a"], get=lambda item, key, default: item)
    assert values.to_frame("any", nested="json")["any"].to_list() == ["[1]", '"a"']


@pytest.mark.parametrize("nested", ["text", None, True])
def test_what_the_option_takes(nested: Any, tracking_dir: TrackingDir) -> None:
    runs = make_runs(tracking_dir)
    with pytest.raises(OptionError, match=f"nested: expected 'keep' or 'json', found {nested!r}"):
        runs.to_frame("lr", nested=nested)
    with pytest.raises(OptionError, match="nested: expected 'keep' or 'json'"):
        Collection([1]).to_frame("real", nested=nested)


# The order of columns ---------------------------------------------------------------------

ALL = ("results.*", "info.*", "*", "hydra.job.*", "tags.*", "params.*", "metrics.*")
NAMES = [
    *("results.z", "results.a", "run_id", "run_name", "job_name", "experiment_id", "status"),
    *("start_time", "end_time", "lifecycle_stage", "parent_run_id", "run_dir"),
    *("lr", "opt.name", "seed", "opt.beta", "hydra.job.num", "hydra.job.name"),
    *("tags.a", "tags.b", "params.a", "params.b", "metrics.a", "metrics.b"),
]


def write_results(artifacts: Path) -> None:
    write(artifacts / "result.json", '{"z": 1, "a": 2}')
    write(artifacts / ".hydra/hydra.yaml", "hydra:\n  job:\n    num: 1\n    name: train\n")


@pytest.mark.parametrize("names", ["ab", "ba"])
def test_patterns_over_all_namespaces_have_the_same_order(
    names: str, tmp_path: Path, tracking_dir: TrackingDir
) -> None:
    experiment = tracking_dir.add_experiment("train")
    database = Database(tmp_path / "db/mlflow.db")
    database.add_experiment("train", 1)
    for i, config in enumerate(("lr: 1\nopt: {name: a}\n", "lr: 1\nseed: 2\nopt: {beta: 1}\n")):
        run_dir = tracking_dir.add_run(experiment, f"r{i}", config, dict.fromkeys(names, "1 0 0\n"))
        for kind in ("params", "tags"):
            for name in names:
                write(run_dir / kind / name, "x")
        write_results(run_dir / "artifacts")
        database.add_run(
            1,
            f"r{i}",
            metrics={n: [(0, 1, 0.0)] for n in names},
            params=dict.fromkeys(names, "x"),
            tags=dict.fromkeys(names, "x"),
        )
        artifacts = tmp_path / f"db/mlruns/1/r{i}/artifacts"
        write(artifacts / ".hydra/config.yaml", config)
        write_results(artifacts)
    for root in (tracking_dir.root, tmp_path / "db"):
        runs = Run.load(iter_run_dirs(root), results="result.json")
        assert runs.to_frame(*ALL).columns == NAMES
        assert runs.to_frame(*reversed(ALL)).columns == [
            name for pattern in reversed(ALL) for name in runs.to_frame(pattern).columns
        ]


def test_text_that_is_not_utf_8_leaves_other_text_alone() -> None:
    column = make_column("k\udcff", ["a", None, "b\udcff"], "json")
    assert (column.name, column.to_list()) == ("k\\udcff", ["a", None, "b\\udcff"])
    assert make_column("k\udcff", ["a", "b\udcff"]).to_list() == ["a", "b\udcff"]
