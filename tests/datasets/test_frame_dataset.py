from __future__ import annotations

import copy
import json
import pickle
import sys
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest
from kedro.io import DataCatalog, DatasetError
from kedro.pipeline import Node, Pipeline
from kedro.runner import SequentialRunner

from kedro_hydraflow import HydraflowFrameDataset
from kedro_hydraflow.errors import OptionError
from tests.conftest import FilesRead, TrackingDir
from tests.datasets.conftest import make_again

SCHEMA = {"model.type": pl.String, "metrics.accuracy": pl.Float64}
NO_MAPPING = 3

BEST = "13f42e9535654d01a4143ddd9be02cb7"


def make_dataset(path: Any, **options: Any) -> HydraflowFrameDataset:
    """Return a dataset, as a catalog makes it."""
    config = {"type": "kedro_hydraflow.HydraflowFrameDataset", "path": str(path), **options}
    dataset = DataCatalog.from_config({"frame": config})["frame"]
    assert isinstance(dataset, HydraflowFrameDataset)
    return dataset


def test_columns_and_schema(publish: Callable[[Path], str], sweep: Path) -> None:
    frame = make_dataset(
        publish(sweep),
        columns=["run_id", "model.*", "metrics.accuracy"],
        schema={"model.dropout": "Float64", "start_time": "Datetime", "model.hidden_size": "Int16"},
        filters=["status == FINISHED", "metrics.accuracy > 0.97"],
    ).load()
    utc = pl.Datetime("us", "UTC")
    assert frame.schema == {
        "run_id": pl.String,
        "model.type": pl.String,
        "model.hidden_size": pl.Int16,
        "model.activation": pl.String,
        "metrics.accuracy": pl.Float64,
        "model.dropout": pl.Float64,
        "start_time": utc,
    }
    assert frame.height == 3
    assert frame["metrics.accuracy"].min() > 0.97


def test_without_columns_and_schema_it_has_all_that_was_configured(sweep: Path) -> None:
    frame = make_dataset(sweep).load()
    assert frame.columns[:4] == ["run_id", "job_name", "model.type", "model.hidden_size"]
    assert frame.height == 31
    assert frame["data.classes"][0] == "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]"
    frame.write_csv()
    kept = make_dataset(sweep, nested="keep", columns=["data.classes"]).load()
    assert kept.schema == {"data.classes": pl.List(pl.Int64)}


def test_a_schema_alone_says_all_columns(sweep: Path) -> None:
    schema = {"seed": "Int8", "data.classes": "str", "no.such": "List(Float64)"}
    frame = make_dataset(sweep, schema=schema).load()
    assert [*frame.schema.items()] == [
        ("seed", pl.Int8),
        ("data.classes", pl.String),
        ("no.such", pl.List(pl.Float64)),
    ]
    assert make_dataset(sweep, schema=f"{__name__}.SCHEMA").load().schema == SCHEMA


def test_keys_that_kedro_takes_for_paths(tracking_dir: TrackingDir) -> None:
    tracking_dir.add_runs(1, lambda i: "path: a/b\n")
    config = {
        "type": "kedro_hydraflow.HydraflowFrameDataset",
        "path": str(tracking_dir.root),
        "schema": {"path": "/home/ann/project/String"},  # as Kedro makes of String
    }
    assert DataCatalog.from_config({"frame": config})["frame"].load().rows() == [("a/b",)]


def test_a_value_that_does_not_fit(sweep: Path) -> None:
    with pytest.raises(DatasetError, match=r"run 2ca54cc.*: 'model\.type' is 'mlp' \(str\), which"):
        make_dataset(sweep, schema={"model.type": "Int64"}).load()
    frame = make_dataset(sweep, schema={"model.type": "Int64"}, strict=False).load()
    assert frame["model.type"].null_count() == 31


def test_a_column_that_no_run_has(sweep: Path) -> None:
    with pytest.raises(DatasetError, match=r"no such key: 'model\.typ' in any of the 31 runs"):
        make_dataset(sweep, columns=["model.typ"]).load()


def test_what_the_spelling_of_a_column_means(
    tracking_dir: TrackingDir, caplog: pytest.LogCaptureFixture
) -> None:
    tracking_dir.add_runs(1, lambda i: "status: mine\n")
    frame = make_dataset(tracking_dir.root, columns=["status", "cfg.status"]).load()
    assert frame.rows() == [("FINISHED", "mine")]
    assert any("the key 'status' means what was recorded" in text for text in caplog.messages)


class Impl:
    def __init__(self, artifacts_dir: Path) -> None:
        self.n_files = len(list(artifacts_dir.iterdir()))


def test_attributes_of_the_implementation(sweep: Path) -> None:
    frame = make_dataset(
        sweep, impl=f"{__name__}.Impl", experiment_names="eval_*", columns=["n_files"]
    ).load()
    assert frame["n_files"].to_list() == [4, 4]


@pytest.mark.parametrize(
    "options", [{"best_by": "metrics.accuracy", "mode": "max"}, {"run_id": BEST[:8]}]
)
def test_one_run(sweep: Path, options: dict[str, Any]) -> None:
    dataset = make_dataset(sweep, columns=["run_id", "seed"], **options)
    assert dataset.load().rows() == [(BEST, 1)]
    assert dataset.preview()["data"] == [[BEST, 1]]
    assert dataset.exists()


def test_a_lazy_frame_reads_what_is_needed(
    tracking_dir: TrackingDir, files_read: FilesRead
) -> None:
    tracking_dir.add_runs(20, lambda i: f"lr: {i / 10}\n")
    dataset = make_dataset(
        tracking_dir.root,
        lazy=True,
        schema={"run_id": "String", "lr": "Float64", "i": "Int64"},
        filters="lr > 0.2",
        index=False,
    )
    lazy = dataset.load()
    assert isinstance(lazy, pl.LazyFrame)
    assert files_read.paths == []
    some = lazy.filter((pl.col("run_id") > "r016") & (pl.col("i") < 19)).select("lr").collect()
    assert some["lr"].to_list() == [1.7, 1.8]
    assert sum(path.endswith("config.yaml") for path in files_read.paths) == 3
    assert dataset.preview(2)["columns"] == ["run_id", "lr", "i"]
    assert pickle.loads(pickle.dumps(dataset)).load().collect().height == 17


def test_a_frame_of_pandas(sweep: Path) -> None:
    schema = {"seed": "Int64", "metrics.accuracy": "Float64", "model.dropout": "Int64"}
    options = {"columns": ["model.type", "data.classes"], "schema": schema}
    frame = make_dataset(sweep, library="pandas", **options).load()
    assert isinstance(frame, pd.DataFrame)
    expected = make_dataset(sweep, **options).load()
    assert list(frame.columns) == expected.columns
    assert [str(dtype) for dtype in frame.dtypes[2:]] == ["int64", "float64", "Int64"]
    assert frame["seed"].tolist() == expected["seed"].to_list()
    assert frame["data.classes"][0] == "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]"
    empty = make_dataset(sweep, library="pandas", filters="seed > 99", schema=schema).load()
    assert (len(empty), str(empty["metrics.accuracy"].dtype)) == (0, "float64")


def test_pandas_is_needed_for_its_frames(sweep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    dataset = make_dataset(sweep, library="pandas")
    with pytest.raises(DatasetError, match=r"pip install 'kedro-hydraflow\[pandas\]'"):
        dataset.load()


def test_results_are_keys(tracking_dir: TrackingDir) -> None:
    experiment = tracking_dir.add_experiment("train")
    for i in range(2):
        run_dir = tracking_dir.add_run(experiment, f"r{i}", "")
        (run_dir / "artifacts/result.json").write_text(json.dumps({"loss": i}))
    dataset = make_dataset(
        tracking_dir.root, results="result.json", filters="results.loss > 0", columns=["results.*"]
    )
    assert dataset.load().rows() == [(1,)]


def test_no_runs(tracking_dir: TrackingDir, caplog: pytest.LogCaptureFixture) -> None:
    tracking_dir.add_runs(2)
    options = {"filters": "status == FAILED", "schema": {"i": "Int64"}}
    frame = make_dataset(tracking_dir.root, **options).load()
    assert (frame.height, frame.schema) == (0, {"i": pl.Int64})
    with pytest.raises(DatasetError, match="expected min_runs=1 or more, found"):
        make_dataset(tracking_dir.root, **options, min_runs=1).load()


def test_preview_shows_what_the_columns_are_and_reads_a_few_runs(
    tracking_dir: TrackingDir, files_read: FilesRead
) -> None:
    tracking_dir.add_runs(200, lambda i: "layers: [1]\nlr: .nan\n")
    dataset = make_dataset(
        tracking_dir.root, columns=["i", "late", "layers"], schema={"layers": "Int64", "lr": float}
    )
    shown = dataset.preview(nrows=2)
    assert shown["columns"] == ["i", "late", "layers", "lr"]
    assert [row[1:] for row in shown["data"]] == [[None, None, "nan"]] * 2
    configs = [path for path in files_read.paths if path.endswith("config.yaml")]
    assert len(configs) == 2
    assert len(make_dataset(tracking_dir.root).preview()["data"]) == 5
    assert HydraflowFrameDataset.preview.__annotations__["return"] == "TablePreview"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"columns": "metrics.*"}, r"columns: expected a list .* found 'metrics\.\*'"),
        ({"columns": []}, r"columns: expected a list .* found \[\]"),
        ({"columns": ["a", "a"]}, "columns: expected a list of different keys"),
        ({"columns": [["a"]]}, "columns: expected a list of different keys"),
        ({"schema": {"lr": "Flot"}}, "schema: 'lr': expected a type of Polars .* found 'Flot'"),
        ({"schema": {"lr": "List(Flot)"}}, "schema: 'lr': expected a type of Polars"),
        ({"schema": {"m.*": "Int64"}}, r"schema: 'm\.\*' is a pattern"),
        ({"schema": "Int64"}, "schema: expected keys and types"),
        ({"schema": {}}, "schema: expected keys and types"),
        ({"lazy": True}, "lazy: needs a schema"),
        (
            {"lazy": True, "schema": {"lr": "Int8"}, "columns": ["lr"], "min_runs": 1},
            "columns, min_runs: cannot be used with lazy: true; give all columns as schema",
        ),
        (
            {"lazy": True, "schema": {"lr": "Int8"}, "best_by": "lr", "mode": "max"},
            "best_by: cannot be used with lazy: true; remove it, or lazy",
        ),
        (
            {"lazy": True, "schema": {"lr": "Int8"}, "library": "pandas"},
            "library: pandas: cannot be used with lazy: true",
        ),
        ({"best_by": "lr"}, "give best_by and mode together"),
        ({"run_id": "abcd", "min_runs": 1}, "min_runs: cannot be used with run_id"),
    ],
)
def test_options_are_checked(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        HydraflowFrameDataset(path="mlruns", **options)


def test_types_of_text_that_are_none_show_at_load(sweep: Path) -> None:
    for dtype, message in (("List", "List needs more"), ("Int64('x')", "expected a type")):
        dataset = make_dataset(sweep, schema={"lr": dtype})
        with pytest.raises(DatasetError, match=f"schema: 'lr': {message}"):
            dataset.load()


def test_a_dotted_path_is_that_of_a_mapping(sweep: Path) -> None:
    with pytest.raises(DatasetError, match=r"schema: cannot import 'no_such.module'"):
        make_dataset(sweep, schema="no_such.module").load()
    with pytest.raises(DatasetError, match="schema: expected a mapping, found 3 at "):
        make_dataset(sweep, schema=f"{__name__}.NO_MAPPING").load()


def test_it_shows_its_options_and_can_be_made_again(sweep: Path) -> None:
    options = {
        "columns": ["seed"],
        "schema": {"seed": "Int8"},
        "strict": False,
        "nested": "keep",
        "library": "polars",
        "lazy": False,
        "min_runs": 3,
    }
    dataset = make_dataset(sweep, **options)
    assert {name: dataset._describe()[name] for name in options} == options
    config, again = make_again(dataset)
    assert options.items() <= config.items()
    for copied in (again, pickle.loads(pickle.dumps(dataset)), copy.deepcopy(dataset)):
        assert repr(copied) == repr(dataset)
        assert copied.load().equals(dataset.load())


def test_its_options_are_copied(sweep: Path) -> None:
    columns, schema = ["seed"], {"seed": "Int8"}
    dataset = HydraflowFrameDataset(path=sweep, columns=columns, schema=schema)
    columns[:] = ["garbage"]
    schema["garbage"] = "Int8"
    assert dataset.load().columns == ["seed"]


# With Kedro ---------------------------------------------------------------------------------


def test_a_node_gets_a_frame(sweep: Path) -> None:
    dataset = make_dataset(sweep, schema={"start_time": "Datetime"})
    node = Node(lambda frame: frame["start_time"].max(), "frame", "latest")
    catalog = DataCatalog({"frame": dataset})
    outputs = SequentialRunner().run(Pipeline([node]), catalog)
    latest = outputs["latest"].load()
    assert latest > datetime(2026, 1, 1, tzinfo=timezone.utc)


def check_accuracies(frame: pl.DataFrame) -> pl.DataFrame:
    if frame.height > 30:
        raise ValueError("not all runs are finished")
    return frame.rename({"metrics.accuracy": "accuracy"})


@pytest.mark.parametrize("filters", ["status == FINISHED", None])
def test_validators_of_a_catalog(sweep: Path, filters: str | None) -> None:
    exceptions = pytest.importorskip("kedro.validation.exceptions")
    if not hasattr(exceptions, "DataValidationError"):
        pytest.skip("this version of Kedro has no validators of datasets")
    config = {
        "type": "kedro_hydraflow.HydraflowFrameDataset",
        "path": str(sweep),
        "filters": filters,
        "schema": {"metrics.accuracy": "Float64"},
        "validator": {"class": f"{__name__}.check_accuracies", "on": ["load"]},
    }
    catalog = DataCatalog.from_config({"frame": config})
    if filters:
        assert catalog.load("frame").columns == ["accuracy"]
    else:
        with pytest.raises(exceptions.DataValidationError, match="not all runs are finished"):
            catalog.load("frame")


def test_preview_of_a_pattern_reads_the_first_keys(
    tracking_dir: TrackingDir, files_read: FilesRead
) -> None:
    metrics = {f"m{i:04}": "1 0.5 0\n" for i in range(1002)}
    tracking_dir.add_run(tracking_dir.add_experiment("train"), "a", "", metrics)
    preview = make_dataset(tracking_dir.root, columns=["metrics.*"]).preview()
    assert preview["columns"][99] == "metrics.m0099"
    assert preview["data"][2][0] == "… and 900 more columns"
    assert sum("/metrics/" in path for path in files_read.paths) == 1000
