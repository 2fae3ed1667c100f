from __future__ import annotations

import copy
import logging
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from kedro.io import AbstractDataset, DataCatalog, DatasetError, SharedMemoryDataCatalog
from kedro.pipeline import node, pipeline
from kedro.runner import ParallelRunner, SequentialRunner, ThreadRunner
from polars.testing import assert_frame_equal

from kedro_hydraflow import HydraflowArtifactDataset, Run
from kedro_hydraflow.errors import ArtifactError, NotFoundError, OptionError
from tests.conftest import TrackingDir, WebServer, write
from tests.datasets.conftest import (
    EXPECTED,
    TABLE,
    TEXT,
    TableDataset,
    make_again,
    make_artifact_dataset,
)

TYPE = "kedro_hydraflow.HydraflowArtifactDataset"


class VersionedDataset(TableDataset):
    versioned = True


# A function for each run -----------------------------------------------------------------


def test_load_gives_a_function_for_each_run(publish: Callable[[Path], str], root: Path) -> None:
    loaded = make_artifact_dataset(publish(root)).load()
    assert list(loaded) == ["a", "b", "c"]
    assert_frame_equal(loaded["b"](), EXPECTED[1:3, 2:])


def test_each_call_loads_anew(root: Path) -> None:
    load = make_artifact_dataset(root).load()["a"]
    assert load() is not load()
    write(root / "1/a/artifacts/metrics.csv", "epoch,loss\n7,7.0\n")
    assert load()["epoch"].to_list() == [7]
    (root / "1/a/artifacts/metrics.csv").unlink()
    with pytest.raises(NotFoundError, match=r"there is no '.*/1/a/artifacts/metrics.csv'"):
        load()


def test_functions_can_be_pickled(root: Path) -> None:
    loaded = make_artifact_dataset(
        root, dataset={"type": TABLE, "credentials": {"key": "hush"}}
    ).load()
    assert_frame_equal(pickle.loads(pickle.dumps(loaded))["b"](), loaded["b"]())
    assert "hush" not in repr(loaded)


def test_nothing_is_loaded_before_it_is_asked_for(root: Path) -> None:
    write(root / "1/b/artifacts/metrics.csv", "")
    loaded = make_artifact_dataset(root).load()
    assert loaded["a"]().height == 1
    with pytest.raises(
        ArtifactError, match=rf"run b: {TABLE} cannot load 'metrics.csv': (.|\n)*empty"
    ):
        loaded["b"]()


def test_options_of_the_dataset(root: Path) -> None:
    options = {"separator": "\n", "options": {"used": 1}}
    loaded = make_artifact_dataset(root, dataset={"type": TABLE, **options}).load()
    assert loaded["a"]().columns == loaded["a"]().columns == ["epoch,loss"]
    assert options == {"separator": "\n", "options": {"used": 1}}
    dataset = HydraflowArtifactDataset(path=root, artifact="metrics.csv", dataset=TableDataset)
    assert make_artifact_dataset(root, dataset={"type": TableDataset}).load().keys() == {
        "a",
        "b",
        "c",
    }
    assert repr(dataset).endswith(f"dataset='{TABLE}', concat=False, missing='raise')")


@pytest.mark.parametrize(
    ("artifact", "expected"), [("notes/short.txt", "note of a"), ("./notes/", "short.txt")]
)
def test_a_file_or_folder_for_another_argument(
    publish: Callable[[Path], str], root: Path, artifact: str, expected: str
) -> None:
    dataset = make_artifact_dataset(
        publish(root), artifact=artifact, dataset=TEXT, filepath_arg="where"
    )
    assert dataset.load()["a"]() == expected


def test_options_of_the_search(root: Path) -> None:
    assert list(make_artifact_dataset(root, filters=["lr > 1"], n_jobs=2).load()) == ["b", "c"]
    assert make_artifact_dataset(root, experiment_names="nothing*").load() == {}


def test_copies_of_a_run_are_refused(root: Path, tracking_dir: TrackingDir) -> None:
    copied = tracking_dir.add_run(tracking_dir.add_experiment("train", "3"), "a")
    write(copied / "artifacts/metrics.csv", "epoch\n1\n")
    with pytest.raises(DatasetError, match=r"4 runs in .* have 3 run IDs: some were copied"):
        make_artifact_dataset(root).load()


# Runs without the artifact ---------------------------------------------------------------


def test_missing_artifacts_are_named_in_one_error(
    publish: Callable[[Path], str], root: Path
) -> None:
    (root / "1/b/artifacts/metrics.csv").unlink()
    with pytest.raises(DatasetError) as caught:
        make_artifact_dataset(publish(root), experiment_names=None).load()
    assert isinstance(caught.value.__cause__, NotFoundError)
    text = str(caught.value)
    assert "2 of 4 runs have no artifact 'metrics.csv'; set missing='skip' to skip them" in text
    lines = [line for line in text.split("\n") if line.startswith("- ")]
    assert ["2/z/artifacts/metrics.csv" in lines[0], "1/b/artifacts/metrics.csv" in lines[1]] == [
        True,
        True,
    ]


def test_missing_artifacts_in_a_model_are_named(publish: Callable[[Path], str], root: Path) -> None:
    write(root / "1/models/m-1/artifacts/MLmodel", "flavors: {}")
    write(root / "1/models/m-1/meta.yaml", "name: model\nsource_run_id: a\n")
    with pytest.raises(DatasetError) as caught:
        make_artifact_dataset(publish(root), artifact="model/MLmodel").load()
    last_line = str(caught.value).split("\n")[-1]
    assert last_line.startswith("In the first run, MLflow 3 keeps the model 'model' in ")
    assert "1/models/m-1/artifacts" in last_line
    assert last_line.endswith(": use run.models['model']")


def test_many_missing_artifacts_are_not_all_named(tracking_dir: TrackingDir) -> None:
    experiment = tracking_dir.add_experiment("train")
    for number in range(25):
        tracking_dir.add_run(experiment, f"run{number}")
    with pytest.raises(DatasetError) as caught:
        make_artifact_dataset(tracking_dir.root).load()
    lines = str(caught.value).split("\n")
    assert len([line for line in lines if line.startswith("- ")]) == 21
    assert lines[-2:] == ["- and 5 more", "In the first run, the artifacts are '.hydra'"]


@pytest.mark.parametrize(
    ("artifact", "hint"),
    [
        ("metric.csv", "the nearest artifacts are 'metrics.csv'"),
        ("tables/metrics.csv", "the nearest artifacts are 'metrics.csv'"),
        ("weights.npz", "the nearest artifacts are 'model/weights.npz'"),
        ("modle/weights.npz", "the nearest artifacts are 'model/weights.npz'"),
        ("zzz", "the artifacts are '.hydra', 'metrics.csv', 'model', 'notes'"),
    ],
)
def test_artifacts_that_may_be_meant_are_named(
    publish: Callable[[Path], str], root: Path, artifact: str, hint: str
) -> None:
    write(root / "1/a/artifacts/model/weights.npz", "")
    with pytest.raises(DatasetError) as caught:
        make_artifact_dataset(publish(root), artifact=artifact).load()
    assert str(caught.value).split("\n")[-1] == f"In the first run, {hint}"


def test_missing_artifacts_can_be_skipped(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    options: dict[str, Any] = {"experiment_names": None, "missing": "skip"}
    assert list(make_artifact_dataset(root, **options).load()) == ["a", "b", "c"]
    assert f"{root}: 1 of 4 runs have no artifact 'metrics.csv' and are skipped" in caplog.messages
    assert make_artifact_dataset(root, **options, concat=True).load().height == 6
    assert make_artifact_dataset(root, experiment_names="old", missing="skip").load() == {}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_cannot_be_looked_at_is_not_missing(root: Path) -> None:
    (root / "1/b/artifacts/notes").chmod(0)
    with pytest.raises(DatasetError, match="1 of 3 artifacts could not be read"):
        make_artifact_dataset(
            root, artifact="notes/short.txt", dataset=TEXT, filepath_arg="where"
        ).load()


# One frame -------------------------------------------------------------------------------


def test_concat(publish: Callable[[Path], str], root: Path) -> None:
    location = publish(root)
    frame = make_artifact_dataset(location, concat=True, keys=["run_id", "lr"]).load()
    assert_frame_equal(frame, EXPECTED)
    assert_frame_equal(make_artifact_dataset(location, concat=True).load(), EXPECTED.drop("lr"))
    assert_frame_equal(
        make_artifact_dataset(location, concat=True, keys=[]).load(), EXPECTED[:, 2:]
    )


def test_concat_fetches_an_artifact_once(root: Path, serve: Callable[[Path], WebServer]) -> None:
    web = serve(root.parent)
    dataset = make_artifact_dataset(f"{web.url}/mlruns", concat=True, keys=["run_id", "lr"])
    assert_frame_equal(dataset.load(), EXPECTED)
    fetched = [path for path in web.requests if path.endswith("metrics.csv")]
    assert sorted(fetched) == [f"/mlruns/1/{run_id}/artifacts/metrics.csv" for run_id in "abc"]
    listed = [path for path in web.requests if path.endswith("/artifacts/")]
    assert len(listed) == 3


def test_functions_fetch_when_they_are_called(
    root: Path, serve: Callable[[Path], WebServer]
) -> None:
    web = serve(root.parent)
    loaded = make_artifact_dataset(f"{web.url}/mlruns").load()
    assert not [path for path in web.requests if path.endswith("metrics.csv")]
    assert_frame_equal(pickle.loads(pickle.dumps(loaded))["a"](), EXPECTED[:1, 2:])


def test_a_denied_artifact_is_not_missing(
    root: Path, serve: Callable[[Path], WebServer], no_waiting: None
) -> None:
    web = serve(root.parent)
    web.answers = {"/1/b/artifacts/": [403] * 3, "/1/b/artifacts": [403] * 3}
    web.answers["b/artifacts/metrics.csv"] = [403] * 3
    with pytest.raises(DatasetError, match=r"1 of 3 artifacts could not be read(.|\n)*denied"):
        make_artifact_dataset(f"{web.url}/mlruns", missing="skip").load()


def test_a_server_that_is_down_is_not_asked_for_each_run(
    root: Path, serve: Callable[[Path], WebServer], no_waiting: None
) -> None:
    web = serve(root.parent)
    web.answers = {"metrics.csv": [503] * 100}
    with pytest.raises(DatasetError, match=r"cannot fetch '.*metrics.csv': .*503"):
        make_artifact_dataset(f"{web.url}/mlruns", concat=True, on_error="warn").load()


def test_on_error_is_for_artifacts_too(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(root / "1/b/artifacts/metrics.csv", "")
    write(root / "1/c/artifacts/metrics.csv", "")
    with pytest.raises(DatasetError) as caught:
        make_artifact_dataset(root, concat=True).load()
    text = str(caught.value)
    assert "2 of 3 artifacts could not be read; set on_error='warn' to skip them" in text
    for run_id in "bc":
        assert f"\n- run {run_id}: {TABLE} cannot load 'metrics.csv'" in text
    frame = make_artifact_dataset(root, concat=True, keys=["run_id", "lr"], on_error="warn").load()
    assert_frame_equal(frame, EXPECTED[:1])
    assert "skipped 2 of 3 artifacts that could not be read" in caplog.messages


def test_keys_mean_what_their_spelling_says(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = "run_id: own\nlr: 1\nmetrics: {acc: 0.99}\n"
    write(root / "1/a/artifacts/.hydra/config.yaml", config)
    write(root / "1/a/metrics/acc", "1 0.5 0\n")
    keys = ["run_id", "metrics.acc", "cfg.run_id", "cfg.metrics.acc", "info.status", "lr"]
    frame = make_artifact_dataset(root, concat=True, keys=keys).load()
    assert frame.columns == [*keys, "epoch", "loss"]
    assert frame.row(0)[:6] == ("a", 0.5, "own", 0.99, "FINISHED", 1)
    assert frame.row(1)[:6] == ("b", None, None, None, "FINISHED", 2)
    warnings = [m for m in caplog.messages if m.startswith("the key ")]
    assert [m.partition(",")[0] for m in warnings] == [
        "the key 'run_id' means what was recorded",
        "the key 'metrics.acc' means what was recorded",
    ]
    assert "write 'cfg.metrics.acc' for that" in warnings[1]
    caplog.clear()
    frame = make_artifact_dataset(root, concat=True).load()
    assert frame["run_id"].to_list() == [*"abbccc"]
    assert not any(message.startswith("the key ") for message in caplog.messages)


def test_keys_of_patterns(root: Path) -> None:
    write(root / "1/a/metrics/val/loss", "1 0.5 0\n")
    write(root / "1/c/metrics/acc", "1 0.25 0\n")
    keys = ["name", "metrics.*", "*", "info.run_id"]
    frame = make_artifact_dataset(root, concat=True, keys=keys).load()
    expected = ["name", "metrics.acc", "metrics.val/loss", "lr", "info.run_id", "epoch", "loss"]
    assert frame.columns == expected
    assert frame.row(0) == ("run 1", None, 0.5, 1, "a", 0, 0.1)
    assert frame["metrics.acc"].to_list() == [None, None, None, 0.25, 0.25, 0.25]
    preview = make_artifact_dataset(root, concat=True, keys=["metrics.a*", "lr"]).preview(1)
    assert preview["columns"] == ["lr", "epoch", "loss"]  # the first run has no such metric


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"dataset": TEXT, "filepath_arg": "where"},
            r"concat: expected a dataset that loads frames .* gives a str for .*/1/a/artifacts/",
        ),
        ({"keys": ["epoch"]}, r"keys: .*/1/a/artifacts/metrics.csv has a column 'epoch' itself"),
        ({"keys": ["lrr"]}, r"no such key: 'lrr' in any of the 3 runs \(similar keys: 'lr'\)"),
        ({"keys": ["lrr*"]}, r"none of the 3 runs has a key that matches 'lrr\*'; similar keys"),
        ({"keys": ["metrics.x"]}, r"no such key: 'metrics\.x' in any of the 3 runs"),
        (
            {"experiment_names": "nothing*"},
            "concat: found no artifact 'metrics.csv' to load in the runs of ",
        ),
    ],
)
def test_what_makes_no_frame(root: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        make_artifact_dataset(root, concat=True, **{"keys": ["lr"], **options}).load()


def test_a_column_that_a_pattern_matches_too(root: Path) -> None:
    write(root / "1/b/artifacts/.hydra/config.yaml", "lr: 1\nloss: mse\n")
    message = r"a column 'loss' itself; give patterns that do not match it"
    with pytest.raises(DatasetError, match=message):
        make_artifact_dataset(root, concat=True, keys=["l*"]).load()


# What every dataset is -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("path", 3, "path: expected a path or URL, found 3"),
        ("artifact", "", "artifact: expected a path such as metrics.csv, found ''"),
        ("artifact", 3, "artifact: expected a path such as metrics.csv, found 3"),
        ("artifact", "*.csv", "artifact: expected the path of one artifact, found the pattern"),
        ("artifact", "../a", "artifact: expected a path in the artifacts directory, found '../a'"),
        ("artifact", "a/../b", "artifact: expected a path in the artifacts directory, found"),
        ("artifact", "/a", "artifact: expected a path in the artifacts directory, found '/a'"),
        ("artifact", ".", "artifact: expected a path in the artifacts directory, found '.'"),
        ("dataset", 3, "dataset: expected the type of a Kedro dataset, such as pandas.CSVDataset"),
        ("dataset", {"credentials": "hush"}, "found dict with type None"),
        (
            "dataset",
            {"type": TABLE, "versioned": True},
            "dataset: artifacts of runs have no versions",
        ),
        ("dataset", {"type": TABLE, "version": 1}, "artifacts of runs have no versions"),
        ("dataset", {"type": TABLE, "filepath": "a"}, "'filepath' is the path of the artifact"),
        ("filepath_arg", 3, "filepath_arg: expected the name of an option, found 3"),
        ("concat", "yes", "concat: expected true or false, found 'yes'"),
        ("keys", ["a"], "keys: only valid with concat: true; set concat: true"),
        ("missing", "warn", "missing: expected 'raise' or 'skip', found 'warn'"),
        ("filters", 1, "filters: expected text such as"),
        ("on_error", "skip", "on_error: expected 'raise' or 'warn', found 'skip'"),
        ("engine", "boto", "engine: expected 'fsspec' or 'obstore', found 'boto'"),
    ],
)
def test_bad_options_say_which_and_what(option: str, value: Any, message: str) -> None:
    options = {"path": "mlruns", "artifact": "a", "dataset": TABLE, option: value}
    with pytest.raises(OptionError) as caught:
        HydraflowArtifactDataset(**options)
    assert message in str(caught.value)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("keys", ["run_id", [1], ["a", "a"]])
def test_bad_keys(keys: Any) -> None:
    with pytest.raises(OptionError, match="keys: expected a list of different keys, found"):
        HydraflowArtifactDataset(path="mlruns", artifact="a", dataset=TABLE, concat=True, keys=keys)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dataset": "nobody.NoDataset"}, "No module named 'nobody'"),
        ({"dataset": "pathlib.Path"}, "all dataset types must extend 'AbstractDataset'"),
        (
            {"dataset": "numpy.load"},
            r"dataset: expected the class of a Kedro dataset, such as pickle\.PickleDataset, "
            "found 'numpy.load'",
        ),
        ({"dataset": f"{__name__}.VersionedDataset"}, "dataset: .*VersionedDataset is versioned"),
        ({"dataset": {"type": TABLE, "sep": ";"}}, r"does not take these options, .*'sep'"),
        ({"filepath_arg": "where"}, r"TableDataset does not take these options, .*'where'"),
        ({"dataset": "MemoryDataset"}, "does not take these options, .*'filepath'"),
    ],
)
def test_a_wrong_dataset_shows_at_load(root: Path, options: Any, message: str) -> None:
    dataset = make_artifact_dataset(root, **options)
    with pytest.raises(DatasetError, match=message):
        dataset.load()


def test_constructing_does_no_io_and_shows_no_secret() -> None:
    dataset = make_artifact_dataset(
        "s3://no-such-bucket/mlruns",
        dataset={"type": "no_such.Dataset", "credentials": {"key": "hush"}},
        credentials={"key": "hush"},
    )
    assert "no-such-bucket" in repr(dataset)
    assert "hush" not in f"{dataset!r} {dataset}"


def test_credentials_are_not_for_the_inner_dataset(root: Path) -> None:
    make_artifact_dataset(
        root, dataset=TEXT, filepath_arg="where", credentials={"key": "hush"}
    ).load()["a"]()


def test_exists_and_release(publish: Callable[[Path], str], root: Path) -> None:
    dataset = make_artifact_dataset(publish(root))
    assert dataset.exists()
    dataset.release()
    assert not make_artifact_dataset(root / "nowhere").exists()


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda d: pickle.loads(pickle.dumps(d))])
@pytest.mark.parametrize("dataset", [TABLE, {"type": TableDataset, "separator": ","}])
def test_a_copy_loads_the_same(root: Path, dataset: Any, duplicate: Callable[[Any], Any]) -> None:
    original = make_artifact_dataset(root, dataset=dataset, concat=True, keys=["run_id", "lr"])
    copied = duplicate(original)
    assert repr(copied) == repr(original)
    assert_frame_equal(copied.load(), EXPECTED)


def test_config_round_trip(root: Path) -> None:
    options = {"path": str(root), "concat": True, "missing": "skip", "dataset": {"type": TABLE}}
    config, again = make_again(make_artifact_dataset(**options))
    assert options.items() <= config.items()
    assert make_again(again)[0] == config
    assert_frame_equal(again.load(), EXPECTED.drop("lr"))


def test_preview(root: Path) -> None:
    preview = make_artifact_dataset(root, experiment_names=None).preview(nrows=3)
    assert preview["columns"] == ["run_id", "artifact"]
    assert preview["data"] == [
        [run_id, f"{root}/1/{run_id}/artifacts/metrics.csv"] for run_id in "ab"
    ]
    assert HydraflowArtifactDataset.preview.__annotations__["return"] == "TablePreview"


def test_results_as_columns(root: Path) -> None:
    write(root / "1/a/artifacts/result.json", '{"score": 7}')
    options: dict[str, Any] = {"concat": True, "keys": ["results.score"], "results": "result.json"}
    assert set(make_artifact_dataset(root, **options).load()["results.score"]) == {7, None}
    write(root / "1/b/artifacts/result.json", '{"score": ')
    write(root / "1/c/artifacts/result.json", '{"score": 9}')
    with pytest.raises(DatasetError, match=r"b/artifacts/result\.json: expected JSON"):
        make_artifact_dataset(root, **options, filters=["results.score > 7"]).load()
    dataset = make_artifact_dataset(root, **options, on_error="warn", filters=["results.score > 7"])
    assert set(dataset.load()["results.score"]) == {9}
    write(root / "1/b/artifacts/result.json", "[]")
    preview = make_artifact_dataset(root, **options, on_error="warn").preview()
    assert [row[0] for row in preview["data"]] == [7]
    assert preview["columns"][0] == "results.score"


def test_preview_of_a_frame(root: Path) -> None:
    preview = make_artifact_dataset(root, concat=True, keys=["lr", "absent"]).preview(nrows=1)
    assert preview == {
        "index": [0],
        "columns": ["lr", "absent", "epoch", "loss"],
        "data": [[1, None, 0, 0.1]],
    }
    empty = make_artifact_dataset(root, concat=True, experiment_names="nothing*").preview()
    assert empty["columns"] == ["run_id", "artifact"]
    assert empty["data"] == [["no runs", None]]


def add_up(frame: pl.DataFrame, loaded: dict[str, Callable[[], Any]], best: Run) -> str:
    total = sum(load()["loss"].sum() for load in loaded.values())
    return f"{frame['loss'].sum():.1f} {total:.1f} {best.info.run_id}"


def pass_on(value: Any) -> Any:
    return value


class ResultDataset(AbstractDataset[str, str]):
    def __init__(self, filepath: str) -> None:
        self._filepath = Path(filepath)

    def load(self) -> str:
        return self._filepath.read_text()

    def save(self, data: str) -> None:
        self._filepath.write_text(data)

    def _describe(self) -> dict[str, Any]:
        return {}


@pytest.mark.parametrize("runner_class", [SequentialRunner, ThreadRunner, ParallelRunner])
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_runners(
    runner_class: type, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Polars hangs in a process that was forked from one that has used it.
    monkeypatch.setenv("KEDRO_MP_CONTEXT", "spawn")
    common = {"type": TYPE, "path": str(root), "artifact": "metrics.csv", "dataset": TABLE}
    best = {
        "type": "kedro_hydraflow.HydraflowRunDataset",
        "path": str(root),
        "best_by": "lr",
        "mode": "max",
    }
    catalog_class = SharedMemoryDataCatalog if runner_class is ParallelRunner else DataCatalog
    catalog = catalog_class.from_config(
        {
            "frame": {**common, "concat": True, "missing": "skip"},
            "loaders": {**common, "experiment_names": "train"},
            "best": best,
            "result": {"type": f"{__name__}.ResultDataset", "filepath": str(tmp_path / "result")},
        }
    )
    steps = pipeline(
        [
            node(pass_on, "loaders", "same_loaders"),
            node(add_up, ["frame", "same_loaders", "best"], "result"),
        ]
    )
    options = {} if runner_class is SequentialRunner else {"max_workers": 2}
    runner_class(**options).run(steps, catalog)
    assert catalog["result"].load() == "1.4 1.4 c"
