from __future__ import annotations

import json
import logging
import pickle
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from kedro.io import DataCatalog, DatasetError
from upath import UPath

from kedro_hydraflow import HydraflowRunCollectionDataset, Run, RunCollection
from kedro_hydraflow.errors import KedroHydraflowError, RunLoadError
from kedro_hydraflow.storage import LocalStorage
from tests.conftest import TrackingDir, write

TYPE = "kedro_hydraflow.HydraflowRunCollectionDataset"


class Impl:
    def __init__(self, artifacts_dir: Path) -> None:
        self.names = sorted(path.name for path in artifacts_dir.iterdir())


@dataclass
class Training:
    learning_rate: float = 0.5


@dataclass
class Config:
    training: Training = field(default_factory=Training)
    seed: int = 1


def is_eval(name: str) -> bool:
    return name.startswith("eval")


def from_catalog(**config: Any) -> HydraflowRunCollectionDataset:
    dataset = DataCatalog.from_config({"runs": {"type": TYPE, **config}})["runs"]
    assert isinstance(dataset, HydraflowRunCollectionDataset)
    return dataset


def test_load(publish: Callable[[Path], str], sweep: Path) -> None:
    runs = from_catalog(path=publish(sweep)).load()
    assert isinstance(runs, RunCollection)
    assert len(runs) == 31
    names = runs.to_list("job_name")
    assert names == sorted(names)


@pytest.mark.parametrize(
    ("experiment_names", "expected"),
    [
        ("train_*", 29),
        ("eval_digits", 2),
        (["train_digits_v2", "eval_*"], 7),
        ([], 0),
        (is_eval, 2),
        (f"{__name__}.is_eval", 2),
        ([f"{__name__}.is_eval"], 0),
        ("no.such.package", 0),
    ],
)
def test_experiment_names(sweep: Path, experiment_names: Any, expected: int) -> None:
    dataset = HydraflowRunCollectionDataset(path=sweep, experiment_names=experiment_names)
    assert len(dataset.load()) == expected


def test_a_name_taken_for_a_callable_tells_how_to_write_it(sweep: Path) -> None:
    dataset = HydraflowRunCollectionDataset(
        path=sweep, experiment_names="__main__.no_such_name.either"
    )
    with pytest.raises(DatasetError, match=r"write \['__main__"):
        dataset.load()


def test_no_matching_experiment_is_logged_with_those_there_are(
    sweep: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from_catalog(path=str(sweep), experiment_names="train_digits_v3").load()
    (record,) = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert "no experiment matches experiment_names='train_digits_v3'" in record.message
    assert "'train_digits_v2'" in record.message


def test_filters(sweep: Path) -> None:
    filters = ["status == FINISHED", "training.learning_rate < 0.1", "metrics.accuracy > 0.9"]
    runs = from_catalog(path=str(sweep), filters=filters).load()
    assert 0 < len(runs) < 31
    assert all(accuracy > 0.9 for accuracy in runs.to_list("metrics.accuracy"))


def test_impl_and_config_class(sweep: Path) -> None:
    config: dict[str, Any] = {"path": str(sweep), "experiment_names": "eval_*"}
    run = from_catalog(**config, impl=f"{__name__}.Impl").load()[0]
    assert "confusion_matrix.json" in run.impl.names
    with pytest.raises(DatasetError, match=r"does not fit Config: Key 'model' not in 'Config'"):
        from_catalog(**config, config_class=f"{__name__}.Config").load()


def test_config_class_gives_defaults(tracking_dir: TrackingDir) -> None:
    tracking_dir.add_run(tracking_dir.add_experiment("old"), "a", "seed: 7\n")
    dataset = HydraflowRunCollectionDataset(path=tracking_dir.root, config_class=Config)
    run = dataset.load()[0]
    assert (run.get("seed"), run.get("training.learning_rate")) == (7, 0.5)


@pytest.mark.parametrize("n_jobs", [0, 1, 2, -1])
def test_n_jobs(sweep: Path, n_jobs: int) -> None:
    runs = from_catalog(path=str(sweep), n_jobs=n_jobs).load()
    assert runs.to_list("run_id") == from_catalog(path=str(sweep)).load().to_list("run_id")


@pytest.fixture
def broken(tracking_dir: TrackingDir) -> Path:
    experiment = tracking_dir.add_experiment("train")
    tracking_dir.add_run(experiment, "good", "a: 1\n")
    tracking_dir.add_run(experiment, "list", "- 1\n")
    tracking_dir.add_run(experiment, "tab", "a:\n\tb: 1\n")
    write(tracking_dir.root / "2" / "meta.yaml", "- 1\n")
    return tracking_dir.root


@pytest.mark.parametrize("n_jobs", [0, 2])
def test_on_error_raise_names_every_failure(broken: Path, n_jobs: int) -> None:
    with pytest.raises(DatasetError) as caught:
        from_catalog(path=str(broken), n_jobs=n_jobs).load()
    assert isinstance(caught.value.__cause__, RunLoadError)
    text = str(caught.value)
    assert "3 of 4 runs and experiments could not be read" in text
    for name in ("1/list/", "1/tab/", "/2"):
        assert name in text


def test_on_error_warn_logs_each_and_counts_them(
    broken: Path, caplog: pytest.LogCaptureFixture
) -> None:
    runs = from_catalog(path=str(broken), on_error="warn").load()
    assert runs.to_list("run_id") == ["good"]
    messages = [r.message for r in caplog.records if r.levelno == logging.WARNING]
    assert len([m for m in messages if m.startswith("left out: ")]) == 3
    assert "3 of 4 runs and experiments could not be read and left out" in messages


def test_failing_filter_follows_on_error(sweep: Path) -> None:
    def fail(artifacts_dir: Path) -> None:
        raise OSError("disk gone")

    options: dict[str, Any] = {"path": sweep, "impl": fail, "filters": ["score > 1"]}
    with pytest.raises(
        DatasetError, match=r"31 of 31 runs and experiments could not be read(.|\n)*disk gone"
    ):
        HydraflowRunCollectionDataset(**options).load()
    assert len(HydraflowRunCollectionDataset(**options, on_error="warn").load()) == 0


def test_deleted_runs(tracking_dir: TrackingDir) -> None:
    experiment = tracking_dir.add_experiment("train")
    tracking_dir.add_run(experiment, "a")
    tracking_dir.add_run(experiment, "b", lifecycle_stage="deleted")
    path = str(tracking_dir.root)
    assert from_catalog(path=path).load().to_list("run_id") == ["a"]
    assert len(from_catalog(path=path, include_deleted=True).load()) == 2


def test_a_run_that_just_finished_is_seen(tracking_dir: TrackingDir) -> None:
    experiment = tracking_dir.add_experiment("train")
    dataset = from_catalog(path=str(tracking_dir.root))
    assert len(dataset.load()) == 0
    tracking_dir.add_run(experiment, "a")
    assert len(dataset.load()) == 1


def test_factory(sweep: Path) -> None:
    pattern = {"type": TYPE, "path": str(sweep), "experiment_names": "{experiment}"}
    catalog = DataCatalog.from_config({"{experiment}_runs": pattern})
    assert len(catalog["eval_digits_runs"].load()) == 2


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("path", "", "path: expected a path or URL, found ''"),
        ("path", 3, "path: expected a path or URL, found 3"),
        ("experiment_names", 3, "experiment_names: expected a name or glob, a list of them"),
        ("experiment_names", [3], "experiment_names: expected a name or glob, a list of them"),
        ("filters", "a == 1", "filters: expected a list of 'KEY OP VALUE'"),
        ("filters", {"a": 1}, "filters: expected a list of 'KEY OP VALUE'"),
        ("filters", ["a"], "filter 'a': expected 'KEY OP VALUE'"),
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


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("impl", "no_such_module.Name", "impl: cannot import 'no_such_module.Name'"),
        ("impl", f"{__name__}.Nobody", "has no attribute 'Nobody'"),
        ("impl", f"{__name__}.TYPE", "impl: expected a class or function"),
        ("config_class", f"{__name__}.Impl", "config_class: expected a dataclass"),
        ("experiment_names", f"{__name__}.nobody", "experiment_names: cannot import"),
        ("experiment_names", f"{__name__}.TYPE", "experiment_names: expected a callable"),
    ],
)
def test_bad_references_show_at_load(sweep: Path, option: str, value: str, message: str) -> None:
    dataset = from_catalog(path=str(sweep), **{option: value})
    with pytest.raises(DatasetError) as caught:
        dataset.load()
    assert message in str(caught.value)


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(DatasetError, match="unexpected keyword argument 'experiments'"):
        from_catalog(path="mlruns", experiments="a")


def test_constructing_does_no_io() -> None:
    dataset = from_catalog(
        path="s3://no-such-bucket/mlruns", impl="no_such.Name", credentials={"key": "a"}
    )
    assert "no-such-bucket" in repr(dataset)


def test_a_catalog_works_without_the_packages_that_only_one_entry_needs(
    sweep: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("s3fs", "obstore"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, "s3", raising=False)
    catalog = DataCatalog.from_config(
        {
            "here": {
                "type": "kedro_hydraflow.HydraflowRunCollectionDataset",
                "path": str(sweep),
            },
            "there": {
                "type": "kedro_hydraflow.HydraflowRunCollectionDataset",
                "path": "s3://team/mlruns",
                "credentials": "dev_s3",
            },
        },
        {"dev_s3": {"key": "K", "secret": "SECRET-1"}},
    )
    assert len(catalog.load("here")) == 31
    there = catalog["there"]
    assert (
        "SECRET"
        not in f"{there!r} {there!s} {there._describe()} {pickle.loads(pickle.dumps(there))!r}"
    )
    with pytest.raises(DatasetError, match=r"pip install 'kedro-hydraflow\[s3\]'"):
        catalog.load("there")


@pytest.mark.parametrize("remote", [False, True])
def test_deleted_runs_are_left_out_where_they_are_known(
    tracking_dir: TrackingDir, monkeypatch: pytest.MonkeyPatch, remote: bool
) -> None:
    experiment = tracking_dir.add_experiment("train")
    tracking_dir.add_run(experiment, "a", "lr: 1")
    tracking_dir.add_run(experiment, "b", "lr: 1", lifecycle_stage="deleted")
    monkeypatch.setattr(LocalStorage, "is_remote", remote)

    def load(**options: Any) -> list[str]:
        dataset = HydraflowRunCollectionDataset(path=tracking_dir.root, **options)
        return dataset.load().to_list("run_id")

    assert load() == (["a", "b"] if remote else ["a"])
    assert load(filters=["status == FINISHED"]) == ["a"]
    assert load(include_deleted=False) == ["a"]
    assert load(include_deleted=True) == ["a", "b"]
    assert load(include_deleted=True, filters=["status == FINISHED"]) == ["a", "b"]


def test_missing_directory(tmp_path: Path) -> None:
    dataset = from_catalog(path=str(tmp_path / "nowhere"))
    assert not dataset.exists()
    with pytest.raises(DatasetError, match=r"there is no directory '.*nowhere'"):
        dataset.load()


def test_exists(publish: Callable[[Path], str], sweep: Path) -> None:
    location = publish(sweep)
    assert from_catalog(path=location).exists()


def test_is_read_only(sweep: Path) -> None:
    with pytest.raises(DatasetError) as caught:
        from_catalog(path=str(sweep)).save(object())  # type: ignore[arg-type]
    assert str(caught.value) == "HydraflowRunCollectionDataset is a read only dataset type"


def test_survives_pickling_and_keeps_its_options(sweep: Path) -> None:
    dataset = from_catalog(path=str(sweep), experiment_names="eval_*", filters=["seed > 0"])
    restored = pickle.loads(pickle.dumps(dataset))
    assert repr(restored) == repr(dataset)
    assert len(restored.load()) == 2


def test_config_round_trip(sweep: Path) -> None:
    options = {"path": str(sweep), "filters": ["seed > 0"], "n_jobs": 2, "on_error": "warn"}
    config = from_catalog(**options)._init_config()
    assert options.items() <= config.items()
    again = DataCatalog.from_config({"runs": config})["runs"]
    assert again._init_config() == config


def test_secrets_are_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    dataset = from_catalog(
        path="memory://user:hush@host/mlruns?token=hush",
        credentials={"key": "hush"},
        fs_args={"secret": "hush"},
    )
    with pytest.raises(DatasetError) as caught:
        dataset.load()
    for text in (repr(dataset), str(dataset._describe()), str(caught.value), caplog.text):
        assert "hush" not in text


def test_preview(sweep: Path) -> None:
    preview = from_catalog(path=str(sweep)).preview(nrows=3)
    assert preview["columns"][:3] == ["run_id", "job_name", "model.type"]
    assert preview["index"] == [0, 1, 2]
    assert [row[1] for row in preview["data"]] == ["eval_digits", "eval_digits", "train_digits_v1"]
    assert HydraflowRunCollectionDataset.preview.__annotations__["return"] == "TablePreview"


def test_preview_is_strict_json(tracking_dir: TrackingDir) -> None:
    config = "lr: .nan\nnames: {1: a}\nlayers: [1, .inf]\n"
    tracking_dir.add_run(tracking_dir.add_experiment("e"), "a", config)
    dataset = from_catalog(path=str(tracking_dir.root))
    json.dumps(dataset.preview(), allow_nan=False)
    assert dataset.preview()["data"][0][2] == "nan"


def test_a_upath_is_a_location() -> None:
    dataset = HydraflowRunCollectionDataset(path=UPath("memory://nowhere/mlruns"))
    assert "memory://nowhere/mlruns" in repr(dataset)
    assert not dataset.exists()


def test_preview_of_nothing(tracking_dir: TrackingDir) -> None:
    preview = from_catalog(path=str(tracking_dir.root)).preview()
    assert preview == {"index": [], "columns": ["run_id", "job_name"], "data": []}


def test_preview_looks_at_few_of_many_runs(
    tracking_dir: TrackingDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(150):
        name = f"e{number // 75}"
        experiment = tracking_dir.root / str(1 + number // 75)
        if not experiment.exists():
            tracking_dir.add_experiment(name, experiment.name)
        tracking_dir.add_run(experiment, f"run{number}", f"seed: {number}\n")
    read: list[str] = []
    original = LocalStorage.read_parsed

    def read_parsed(self: LocalStorage, paths: Sequence[str], parse: Any) -> Any:
        read.extend(paths)
        return original(self, paths, parse)

    monkeypatch.setattr(LocalStorage, "read_parsed", read_parsed)
    assert len(from_catalog(path=str(tracking_dir.root)).preview(nrows=3)["data"]) == 3
    assert len(read) == 2 + 75 + 3  # names, meta.yaml of one experiment's runs, configurations


def test_runs_are_plain_runs(sweep: Path) -> None:
    assert type(from_catalog(path=str(sweep)).load()[0]) is Run
