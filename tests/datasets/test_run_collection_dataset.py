from __future__ import annotations

import logging
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kedro.io import DataCatalog, DatasetError
from upath import UPath

from kedro_hydraflow import HydraflowRunCollectionDataset, Run, RunCollection
from kedro_hydraflow.errors import FilterError, KedroHydraflowError
from tests.conftest import HYDRA_SWEEP, FilesRead, TrackingDir, write
from tests.datasets.conftest import from_catalog, make_again


def test_load(publish: Callable[[Path], str], sweep: Path) -> None:
    runs = from_catalog(path=publish(sweep)).load()
    assert isinstance(runs, RunCollection)
    assert len(runs) == 31
    names = runs.to_list("job_name")
    assert names == sorted(names)


def test_factory(sweep: Path) -> None:
    pattern = {
        "type": "kedro_hydraflow.HydraflowRunCollectionDataset",
        "path": str(sweep),
        "experiment_names": "{experiment}",
    }
    catalog = DataCatalog.from_config({"{experiment}_runs": pattern})
    assert len(catalog["eval_digits_runs"].load()) == 2


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("path", "", "path: expected a path or URL, found ''"),
        ("path", 3, "path: expected a path or URL, found 3"),
        ("experiment_names", 3, "experiment_names: expected a name or glob, a list of them"),
        ("experiment_names", [3], "experiment_names: expected a name or glob, a list of them"),
        ("filters", {"a": 1}, "filters: expected text such as"),
        ("filters", "a", "filter 'a': column 2: expected an operator after 'a'"),
        ("filters", ["a"], "filter 'a': column 2: expected an operator after 'a'"),
        ("impl", 3, "impl: expected a dotted path such as my_project.analysis.Name, found 3"),
        ("impl", "Name", "impl: expected a dotted path"),
        ("config_class", "a b", "config_class: expected a dotted path"),
        ("n_jobs", "all", "n_jobs: expected an integer, found 'all'"),
        ("n_jobs", True, "n_jobs: expected an integer, found True"),
        ("progress", "yes", "progress: expected true or false, found 'yes'"),
        ("on_error", "skip", "on_error: expected 'raise' or 'warn', found 'skip'"),
        ("include_deleted", 1, "include_deleted: expected true or false, found 1"),
        ("fs_args", [1], "fs_args: expected a mapping, found a list"),
        ("credentials", "hush-hush", "credentials: expected a mapping, found a str"),
    ],
)
def test_bad_options_say_which_and_what(option: str, value: Any, message: str) -> None:
    options = {"path": "mlruns", option: value}
    with pytest.raises(KedroHydraflowError) as caught:
        HydraflowRunCollectionDataset(**options)
    assert message in str(caught.value)
    assert "hush" not in str(caught.value)


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(DatasetError, match="unexpected keyword argument 'experiments'"):
        from_catalog(path="mlruns", experiments="a")


def test_survives_pickling_and_keeps_its_options(sweep: Path) -> None:
    dataset = from_catalog(path=str(sweep), experiment_names="eval_*", filters=["seed > 0"])
    restored = pickle.loads(pickle.dumps(dataset))
    assert repr(restored) == repr(dataset)
    assert len(restored.load()) == 2


def test_config_round_trip(sweep: Path) -> None:
    options = {"path": str(sweep), "filters": ["seed > 0"], "n_jobs": 2, "on_error": "warn"}
    config, again = make_again(from_catalog(**options))
    assert options.items() <= config.items()
    assert make_again(again)[0] == config


def test_preview(sweep: Path) -> None:
    preview = from_catalog(path=str(sweep)).preview(nrows=3)
    assert preview["columns"][:3] == ["run_id", "job_name", "status"]
    assert preview["index"] == [0, 1, 2]
    assert [row[1] for row in preview["data"]] == ["eval_digits", "eval_digits", "train_digits_v1"]
    assert HydraflowRunCollectionDataset.preview.__annotations__["return"] == "TablePreview"


def test_results_in_filters(
    publish: Callable[[Path], str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(HYDRA_SWEEP, tmp_path / "jobs")
    write(tmp_path / "jobs/outputs/2026-11-25/23-02-10/result.json", '{"loss": 0.')
    options = {"path": publish(tmp_path / "jobs"), "results": "result.json"}
    filters = ["results.loss < 0.1", "results.n_weights in [4]"]
    with pytest.raises(DatasetError, match=r"(?s)1 of 19 runs .*23-02-10/result\.json.*expected"):
        from_catalog(**options, filters=filters).load()
    runs = from_catalog(**options, filters=filters, on_error="warn").load()
    assert runs.to_list("results.loss") == [0.06534535845515638]
    assert "results: 1 malformed in 19 runs" in caplog.messages
    options["results"] = "other.json"
    with pytest.raises(DatasetError, match=r"none of the 19 runs has the key 'results\.loss'"):
        from_catalog(**options, filters=filters).load()


def test_runs_that_cannot_be_read_are_counted(
    sweep: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    root = shutil.copytree(sweep, tmp_path / "mlruns")
    write(next(root.glob("*/*/artifacts/.hydra/config.yaml")), "a: [")
    assert len(from_catalog(path=str(root), on_error="warn").load()) == 30
    assert f"{root}: 31 runs of 3 experiments, without 1 that could not be read" in caplog.messages


def test_a_upath_is_a_location() -> None:
    dataset = HydraflowRunCollectionDataset(path=UPath("memory://nowhere/mlruns"))
    assert "memory://nowhere/mlruns" in repr(dataset)
    assert not dataset.exists()


def test_preview_of_nothing(tracking_dir: TrackingDir) -> None:
    preview = from_catalog(path=str(tracking_dir.root)).preview()
    assert preview["columns"] == ["run_id", "job_name", "status"]
    assert preview["data"] == [["no runs", None, None]]


def test_preview_shows_what_a_load_gives(sweep: Path) -> None:
    dataset = from_catalog(path=str(sweep), filters="status == FAILED")
    preview = dataset.preview()
    (run,) = dataset.load()
    assert [row[:3] for row in preview["data"]] == [[run.info.run_id, "train_digits_v2", "FAILED"]]
    nothing = from_catalog(path=str(sweep), filters="seed < 0").preview()
    assert [row[0] for row in nothing["data"]] == ["no runs: none of 31 meets the filters"]
    with pytest.raises(FilterError, match="none of the 31 runs has the key 'sead'"):
        from_catalog(path=str(sweep), filters="sead < 0").preview()


def test_preview_shows_what_differs_first(tracking_dir: TrackingDir) -> None:
    experiment = tracking_dir.add_experiment("train")
    for number in range(3):
        tracking_dir.add_run(experiment, f"{number}", f"same: [1]\nseed: {number}\n")
    dataset = from_catalog(path=str(tracking_dir.root))
    assert dataset.preview()["columns"][3:] == ["seed", "same"]


def test_preview_shows_metrics_before_the_configurations(tracking_dir: TrackingDir) -> None:
    experiment = tracking_dir.add_experiment("train")
    names = ["acc", "b", "c", "d", "system/cpu", "val_loss"]
    for number in range(2):
        metrics = dict.fromkeys(names, f"1 {number}.5 0\n")
        tracking_dir.add_run(experiment, f"{number}", "model: cnn\nacc: null\n", metrics)
    preview = from_catalog(path=str(tracking_dir.root)).preview()
    shown = [f"metrics.{name}" for name in names if name != "system/cpu"]
    assert preview["columns"] == ["run_id", "job_name", "status", *shown, "model"]
    assert preview["data"] == [
        ["0", "train", "FINISHED", *[0.5] * 5, "cnn"],
        ["1", "train", "FINISHED", *[1.5] * 5, "cnn"],
        ["… the first 5 metrics and results alone: a preview has no more", *[None] * 8],
    ]


def test_preview_reads_few_of_many_metrics(
    tracking_dir: TrackingDir, files_read: FilesRead
) -> None:
    experiment = tracking_dir.add_experiment("train")
    metrics = {f"m{i:03}": "1 0.5 0\n" for i in range(100)}
    for number in range(6):
        tracking_dir.add_run(experiment, f"{number}", "model: cnn\n", metrics)
    from_catalog(path=str(tracking_dir.root)).preview(nrows=6)
    assert sum("/metrics/" in path for path in files_read.paths) == (3 + 6) * 20 + 6 * 5


def test_preview_of_runs_without_configurations_shows_params(tracking_dir: TrackingDir) -> None:
    experiment = tracking_dir.add_experiment("train")
    for number in range(2):
        run_dir = tracking_dir.add_run(experiment, f"{number}", None, {"acc": "1 0.5 0\n"})
        write(run_dir / "params/batch", "8")
        write(run_dir / "params/lr", f"0.{number}")
    preview = from_catalog(path=str(tracking_dir.root)).preview()
    assert preview["columns"][3:] == ["metrics.acc", "params.lr", "params.batch"]
    assert [row[3:] for row in preview["data"]] == [[0.5, "0.0", "8"], [0.5, "0.1", "8"]]


def test_preview_of_runs_of_hydra_shows_results() -> None:
    dataset = from_catalog(path=str(HYDRA_SWEEP), results="result.json")
    preview = dataset.preview(2)
    assert preview["columns"][:5] == [
        "run_id",
        "job_name",
        "results.loss",
        "results.n_weights",
        "seed",
    ]
    expected = [run.results["loss"] for run in dataset.load()[:2]]
    assert [row[2] for row in preview["data"]] == expected


def test_preview_says_which_metrics_cannot_be_read(tracking_dir: TrackingDir) -> None:
    experiment = tracking_dir.add_experiment("train")
    tracking_dir.add_run(experiment, "a", "seed: 1", {"acc": "1 0.5 0\n"})
    tracking_dir.add_run(experiment, "b", "seed: 2", {"acc": "1 half 0\n"})
    preview = from_catalog(path=str(tracking_dir.root)).preview()
    assert preview["columns"] == ["run_id", "job_name", "status", "metrics.acc", "seed"]
    first, second, (note, *_) = preview["data"]
    assert (first[3:], second[3:]) == ([0.5, 1], [None, 2])
    assert note.startswith("1 value shown as null could not be read, such as ")
    assert "b/metrics/acc" in note


def test_preview_of_many_runs_is_bounded(
    tracking_dir: TrackingDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kedro_hydraflow.datasets._preview.MAX_LOOKED_AT", 150)
    tracking_dir.add_runs(300)
    dataset = from_catalog(path=str(tracking_dir.root), filters="i < 0")
    assert [row[0] for row in dataset.preview()["data"]] == [
        "… of the first 150 runs alone: a preview looks at no more",
    ]


def test_preview_of_new_runs_and_of_locked_ones(tracking_dir: TrackingDir, tmp_path: Path) -> None:
    tracking_dir.add_runs(2)
    options = {"path": str(tracking_dir.root)}
    new = from_catalog(**options, checkpoint=str(tmp_path / "checkpoint.json"))
    locked = from_catalog(**options, lock=str(tmp_path / "lock.json"))
    new.load()
    new.confirm()
    locked.load()
    tracking_dir.add_run(tracking_dir.root / "1", "new", "i: 2\n")
    assert [row[0] for row in new.preview()["data"]] == ["new"]
    assert [row[0] for row in locked.preview()["data"]] == ["r000", "r001"]
    new.load()
    new.confirm()
    assert [row[0] for row in new.preview()["data"]] == [
        "no runs: none of 3 is left by the checkpoint or lock"
    ]


def test_runs_are_plain_runs(sweep: Path) -> None:
    assert type(from_catalog(path=str(sweep)).load()[0]) is Run


def test_preview_says_what_cannot_be_read(tracking_dir: TrackingDir) -> None:
    experiment = tracking_dir.add_experiment("train")
    tracking_dir.add_run(experiment, "a", "a: [")
    dataset = from_catalog(path=str(tracking_dir.root))
    ((note, *_),) = dataset.preview()["data"]
    assert note.startswith("1 of the runs looked at could not be read, such as ")
    assert "a/artifacts/.hydra/config.yaml" in note
    tracking_dir.add_run(experiment, "b", "a: 1")
    assert [row[0] for row in dataset.preview()["data"]] == ["b", note]


def test_preview_of_deleted_runs(tracking_dir: TrackingDir) -> None:
    experiment = tracking_dir.add_experiment("train")
    tracking_dir.add_run(experiment, "a", lifecycle_stage="deleted")
    preview = from_catalog(path=str(tracking_dir.root)).preview()
    assert [row[0] for row in preview["data"]] == ["no runs: 1 were deleted"]


def test_preview_shows_the_first_of_many_runs(tracking_dir: TrackingDir) -> None:
    tracking_dir.add_runs(250)
    preview = from_catalog(path=str(tracking_dir.root)).preview()
    assert [row[0] for row in preview["data"]] == [f"r{i:03}" for i in range(5)]


def test_preview_of_foreign_text_is_cut(tracking_dir: TrackingDir) -> None:
    keys = "".join(f"k{i}: 1\n" for i in range(200))
    config = f'text: "\\e[31m{"x" * 10_000}"\n{keys}'
    tracking_dir.add_run(tracking_dir.add_experiment("train"), "a", config)
    preview = from_catalog(path=str(tracking_dir.root)).preview()
    row, note = preview["data"]
    assert len(preview["columns"]) == len(row) == 100
    assert note[0] == "… and 104 more columns"
    text = row[preview["columns"].index("text")]
    assert text.startswith("\\x1b[31mx")
    assert len(text) < 600


def test_preview_looks_at_a_thousand_keys(tracking_dir: TrackingDir) -> None:
    config = "".join(f"k{i}: 1\n" for i in range(1500))
    tracking_dir.add_run(tracking_dir.add_experiment("train"), "a", config)
    preview = from_catalog(path=str(tracking_dir.root)).preview()
    assert [row[0] for row in preview["data"][1:]] == [
        "… of the first 1,000 keys of a run: a preview looks at no more",
        "… and 903 more columns",
    ]
