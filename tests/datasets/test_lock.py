from __future__ import annotations

import json
import logging
import multiprocessing
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import pytest
from kedro.io import DatasetError

from kedro_hydraflow import HydraflowFrameDataset, Run, iter_run_dirs
from kedro_hydraflow.errors import OptionError
from tests.conftest import TrackingDir, replace_meta, write
from tests.datasets.conftest import from_catalog, make_artifact_dataset


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    """A lock that is not there yet."""
    return tmp_path / "conf/runs.lock"


@pytest.fixture
def train(tracking_dir: TrackingDir) -> Path:
    """An experiment with the runs c, b and a, as they were created."""
    experiment = tracking_dir.add_experiment("train")
    for number, run_id in enumerate("cba"):
        tracking_dir.add_run(experiment, run_id, f"seed: {number}\n")
    return experiment


@dataclass
class Config:
    seed: int = 0


def list_ids(dataset: Any) -> list[str]:
    return [run.info.run_id for run in dataset.load()]


def test_the_first_load_writes_what_later_ones_give(
    train: Path, tracking_dir: TrackingDir, lock: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    dataset = from_catalog(path=str(train.parent), lock={"filepath": str(lock)})
    assert list_ids(dataset) == ["a", "b", "c"]
    assert f"{lock}: there was no lock: locked 3 runs;" in caplog.text
    runs = Run.load(iter_run_dirs(train.parent))
    assert json.loads(lock.read_text()) == {
        "format": "kedro-hydraflow lock 1",
        "experiment_names": [],
        "filters": [],
        "config_class": None,
        "logged": False,
        "runs": {run.info.run_id: run.digest() for run in runs},
    }
    assert lock.read_text().splitlines()[7].startswith('  "a": "')
    before = lock.read_bytes()
    tracking_dir.add_run(train, "aa")
    write(train / "b/metrics/loss", "1 0.5 0\n")  # what was logged is not in the digests
    assert list_ids(dataset) == ["a", "b", "c"]
    assert "3 runs of one experiment, without 1 new since the lock" in caplog.text
    assert lock.read_bytes() == before
    lock.unlink()
    assert list_ids(dataset) == ["a", "aa", "b", "c"]


def test_the_tree_may_be_elsewhere(train: Path, tmp_path: Path, lock: Path) -> None:
    list_ids(from_catalog(path=str(train.parent), lock=str(lock)))
    moved = train.parent.rename(tmp_path / "moved")
    assert list_ids(from_catalog(path=str(moved), lock=str(lock))) == ["a", "b", "c"]
    url = f"memory://{tmp_path.name}"
    fsspec.filesystem("memory").put(str(moved), f"/{tmp_path.name}/mlruns", recursive=True)
    elsewhere = from_catalog(path=f"{url}/mlruns", lock=str(lock))
    assert list_ids(elsewhere) == ["a", "b", "c"]
    there = from_catalog(path=f"{url}/mlruns", lock=f"{url}/runs.lock")
    assert list_ids(there) == list_ids(there) == ["a", "b", "c"]
    assert fsspec.open(f"{url}/runs.lock").open().read() == lock.read_bytes()


def test_what_is_missing_or_changed_is_listed(train: Path, lock: Path) -> None:
    dataset = from_catalog(path=str(train.parent), lock=str(lock))
    dataset.load()
    shutil.rmtree(train / "a")
    write(train / "b/artifacts/.hydra/config.yaml", "seed: 9\n")
    replace_meta(train / "c", end_time=1795394370024)
    with pytest.raises(DatasetError) as caught:
        dataset.load()
    assert str(caught.value).splitlines()[1:] == [
        f"{lock}: of 3 locked runs, 1 is missing and 2 not the same; restore them, or remove the "
        "file to search again and lock what is found now:",
        "- a is missing",
        f"- b was changed: {train / 'b'}",
        f"- c was changed: {train / 'c'}",
    ]


def test_logged_values_may_be_locked_too(train: Path, lock: Path) -> None:
    write(train / "a/metrics/loss", "1 0.5 0\n")
    options = {"path": str(train.parent), "lock": {"filepath": str(lock), "logged": True}}
    list_ids(from_catalog(**options))
    runs = Run.load(iter_run_dirs(train.parent))
    assert json.loads(lock.read_text())["runs"]["a"] == runs[0].digest(logged=True)
    with pytest.raises(DatasetError, match="logged=True, and the entry has False"):
        from_catalog(path=str(train.parent), lock=str(lock)).load()
    write(train / "a/metrics/loss", "1 0.25 0\n")
    with pytest.raises(DatasetError, match="a was changed"):
        from_catalog(**options).load()


def test_deleted_runs_are_missing(train: Path, lock: Path) -> None:
    dataset = from_catalog(path=str(train.parent), lock=str(lock))
    dataset.load()
    replace_meta(train / "a", lifecycle_stage="deleted")
    with pytest.raises(DatasetError, match="a is missing"):
        dataset.load()


def test_many_problems_are_counted(tracking_dir: TrackingDir, lock: Path) -> None:
    tracking_dir.add_runs(30)
    dataset = from_catalog(path=str(tracking_dir.root), lock=str(lock))
    dataset.load()
    for run_dir in (tracking_dir.root / "1").glob("r*"):
        shutil.rmtree(run_dir)
    tracking_dir.add_run(tracking_dir.root / "1", "new")
    with pytest.raises(DatasetError, match="30 are missing") as caught:
        dataset.load()
    assert len(str(caught.value).splitlines()) == 23
    assert str(caught.value).endswith("- and 10 more")


def test_filters_are_applied_once(train: Path, lock: Path) -> None:
    options = {"path": str(train.parent), "lock": str(lock)}
    dataset = from_catalog(**options, filters=["metrics.loss < 1"])
    write(train / "a/metrics/loss", "1 0.5 0\n")
    assert list_ids(dataset) == ["a"]
    write(train / "a/metrics/loss", "1 2 0\n")  # so that no run meets the filter
    assert list_ids(dataset) == ["a"]


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"filters": "seed > 1"}, "filters=['seed > 0'], and the entry has ['seed > 1']"),
        ({"filters": None}, "locked with filters=['seed > 0'], and the entry has []"),
        ({"config_class": f"{__name__}.Config"}, "config_class=None, and the entry has 'Config'"),
        ({"experiment_names": ["train"]}, "experiment_names=[], and the entry has ['train']"),
    ],
)
def test_another_search_has_another_lock(
    train: Path, lock: Path, other: dict[str, Any], message: str
) -> None:
    options = {"path": str(train.parent), "lock": str(lock), "filters": "seed > 0"}
    from_catalog(**options).load()
    with pytest.raises(DatasetError) as caught:
        from_catalog(**{**options, **other}).load()
    assert message in str(caught.value)
    assert "restore the option, or remove the file to lock what is found now" in str(caught.value)


def test_another_spelling_is_the_same_search(train: Path, lock: Path) -> None:
    options = {"path": str(train.parent), "lock": str(lock)}
    from_catalog(**options, filters="seed > 0", experiment_names=["train", "t*"]).load()
    again = from_catalog(**options, filters=["seed > 0"], experiment_names=["t*", "train"])
    assert list_ids(again) == ["a", "b"]


def test_nothing_is_not_locked(
    train: Path, tracking_dir: TrackingDir, lock: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dataset = from_catalog(path=str(train.parent), lock=str(lock), filters="seed > 9")
    assert list_ids(dataset) == []
    assert "nothing is locked" in caplog.text
    assert not lock.exists()


def test_runs_that_go_on_are_named(
    train: Path, lock: Path, caplog: pytest.LogCaptureFixture
) -> None:
    replace_meta(train / "b", status=1, end_time=None)
    dataset = from_catalog(path=str(train.parent), lock=str(lock))
    dataset.load()
    assert "1 of the locked runs may still change, such as b" in caplog.text
    replace_meta(train / "b", status=3, end_time=1795394370023)
    with pytest.raises(DatasetError, match="b was changed"):
        dataset.load()


def test_copies_of_a_run_cannot_be_locked(
    train: Path, tracking_dir: TrackingDir, lock: Path
) -> None:
    other = tracking_dir.add_experiment("other", "2")
    tracking_dir.add_run(other, "a", "seed: 5\n")
    dataset = from_catalog(path=str(train.parent), lock=str(lock))
    with pytest.raises(DatasetError, match="lock: 4 runs have 3 run IDs: some were copied"):
        dataset.load()
    assert not lock.exists()


def test_what_could_not_be_read_is_missing(train: Path, lock: Path) -> None:
    dataset = from_catalog(path=str(train.parent), lock=str(lock), on_error="warn")
    dataset.load()
    write(train / "a/artifacts/.hydra/config.yaml", "[")
    with pytest.raises(DatasetError, match="a is missing"):
        dataset.load()


@pytest.mark.parametrize("text", ["", "{}", '{"format": "kedro-hydraflow lock 1", "runs": []}'])
def test_a_damaged_lock_is_an_error(train: Path, lock: Path, text: str) -> None:
    write(lock, text)
    with pytest.raises(DatasetError, match="this is no lock of kedro-hydraflow, or it is damaged"):
        from_catalog(path=str(train.parent), lock=str(lock)).load()
    assert lock.read_text() == text


def load(root: str, lock: str) -> list[str]:
    """Return the IDs of the runs. Called in a process of its own."""
    return list_ids(from_catalog(path=root, lock=lock))


def test_processes_lock_at_once(train: Path, lock: Path) -> None:
    context = multiprocessing.get_context("spawn")
    with context.Pool(4) as pool:
        found = pool.starmap(load, [(str(train.parent), str(lock))] * 8)
    assert found == [["a", "b", "c"]] * 8


# Other datasets ------------------------------------------------------------------------------


def test_the_best_of_the_locked_runs(train: Path, tracking_dir: TrackingDir, lock: Path) -> None:
    options = {"path": str(train.parent), "lock": str(lock), "best_by": "seed", "mode": "max"}
    dataset = HydraflowFrameDataset(**options, columns=["run_id"])
    assert dataset.preview()["data"] == [["a"]]
    assert not lock.exists()
    assert dataset.load().item() == "a"
    assert list(json.loads(lock.read_text())["runs"]) == ["a", "b", "c"]
    tracking_dir.add_run(train, "d", "seed: 9\n")
    assert dataset.load().item() == "a"
    assert dataset.preview()["data"] == [["a"]]


def test_artifacts(root: Path, tracking_dir: TrackingDir, lock: Path) -> None:
    dataset = make_artifact_dataset(root, lock=str(lock))
    assert list(dataset.load()) == ["a", "b", "c"]
    tracking_dir.add_run(root / "1", "d")
    assert list(dataset.load()) == ["a", "b", "c"]
    best = make_artifact_dataset(root, lock=str(lock), best_by="lr", mode="max")
    assert best.load()["loss"].to_list() == [0.3] * 3


def test_options_that_do_not_go_with_it() -> None:
    with pytest.raises(OptionError, match="lock: cannot be used with run_id"):
        HydraflowFrameDataset(path="mlruns", lock="x", run_id="abcdefgh")
    with pytest.raises(OptionError, match="lock: cannot be used with lazy: true"):
        HydraflowFrameDataset(path="mlruns", schema={"seed": int}, lazy=True, lock="x")
