"""Artifacts alone: a bucket or directory without tracking data."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import pytest

from kedro_hydraflow import Run, get_experiment_names, iter_run_dirs
from kedro_hydraflow.errors import MissingKeyError
from kedro_hydraflow.source import Source
from kedro_hydraflow.storage.remote import RemoteStorage
from kedro_hydraflow.stores import open_store
from tests.conftest import DATABASE_SWEEP, write
from tests.stores.conftest import find_run_ids, put, run_id


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[str]:
    name = f"bucket-{tmp_path.name}"
    yield name
    if fsspec.filesystem("memory").exists(f"/{name}"):
        fsspec.filesystem("memory").rm(f"/{name}", recursive=True)


# Names ---------------------------------------------------------------------------------


def test_a_real_sweep(tmp_path: Path, memory: str) -> None:
    fsspec.filesystem("memory").put(str(DATABASE_SWEEP / "mlruns"), f"/{memory}", recursive=True)
    runs = Run.load(iter_run_dirs(f"memory://{memory}"))
    of_database = Run.load(iter_run_dirs(DATABASE_SWEEP))
    keys = ("run_id", "job_name", "experiment_id", "seed", "model.type")
    assert runs.to_frame(*keys).equals(of_database.to_frame(*keys))
    assert len(find_run_ids(f"memory://{memory}", "train_*")) == 5


def test_facts_are_unknown_and_nothing_is_logged(bucket: Path) -> None:
    put(bucket / "1", 1)
    (run,) = Run.load(iter_run_dirs(bucket))
    info = run.info
    assert (info.job_name, info.experiment_id, info.run_id) == ("train", "1", run_id(1))
    assert (info.status, info.run_name, info.start_time, info.end_time) == (None,) * 4
    assert info.lifecycle_stage is None
    assert (run.metrics, run.params, run.tags) == ({}, {}, {})
    with pytest.raises(MissingKeyError, match="does not have the metric 'loss'"):
        run.metric_history("loss")
    assert run.get("metrics.loss", None) is None
    runs = Run.load(iter_run_dirs(bucket))
    frame = runs.to_frame("seed", "status", "metrics.loss", defaults={"metrics.loss": None})
    assert frame.rows() == [(0, None, None)]
    assert Run(info.run_dir).info.job_name == "train"


def test_experiments_without_a_name(bucket: Path, caplog: pytest.LogCaptureFixture) -> None:
    put(bucket / "1", 1)
    put(bucket / "2", 2, None)
    put(bucket / "2", 3, None)
    assert find_run_ids(bucket) == [run_id(2), run_id(3), run_id(1)]
    assert not any("has no name" in message for message in caplog.messages)
    caplog.clear()
    assert find_run_ids(bucket, "train") == [run_id(1)]
    assert caplog.messages[1:] == [
        f"{bucket}/2: the experiment has no name, because none of its runs recorded a Hydra job "
        "name; experiment_names is matched against an empty name. Give tracking_uri to get the "
        "name from MLflow"
    ]


def test_nested_runs_have_the_name_of_others(bucket: Path) -> None:
    for number in range(100):
        put(bucket / "1", number, "train" if number == 70 else None)
    assert get_experiment_names(bucket) == ["train"]
    assert len(find_run_ids(bucket, "train")) == 100


# Where the runs are --------------------------------------------------------------------


def test_what_is_skipped(bucket: Path) -> None:
    put(bucket / "0", 1)
    put(bucket / "1", 2)
    put(bucket / "models", 3)
    (bucket / "1/models/m-0123/artifacts").mkdir(parents=True)
    (bucket / "1" / "notes").mkdir()
    (bucket / "3" / "notes").mkdir(parents=True)
    write(bucket / "1" / run_id(9), "a file")
    write(bucket / "readme.txt", "")
    assert find_run_ids(bucket) == [run_id(2)]


def test_runs_without_an_experiment_level(bucket: Path) -> None:
    put(bucket, 1, "train")
    put(bucket, 2, "eval")
    put(bucket, 3, "train")
    runs = Run.load(iter_run_dirs(bucket))
    assert runs.to_frame("job_name", "run_id", "experiment_id").rows() == [
        ("eval", run_id(2), ""),
        ("train", run_id(1), ""),
        ("train", run_id(3), ""),
    ]
    assert find_run_ids(bucket, "train") == [run_id(1), run_id(3)]


def test_workspaces(bucket: Path) -> None:
    put(bucket / "1", 1, "train")
    put(bucket / "workspaces/team-a/2", 2, "train")
    put(bucket / "workspaces/team-b/3", 3, "eval")
    put(bucket / "workspaces/team-b/0", 4, "eval")
    assert get_experiment_names(bucket) == ["eval", "train", "train"]
    assert find_run_ids(bucket, "train") == [run_id(1), run_id(2)]
    assert find_run_ids(bucket / "workspaces/team-b") == [run_id(3)]


def test_folder_without_artifacts_is_skipped(
    bucket: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put(bucket / "1", 1)
    (bucket / "1" / run_id(2)).mkdir()
    assert [run.info.run_id for run in Run.load(iter_run_dirs(bucket))] == [run_id(1)]
    assert caplog.messages[1:] == [
        f"skipped: {bucket}/1/{run_id(2)} is not a run directory: "
        "expected a directory 'artifacts', a meta.yaml with a run_id, or .hydra/config.yaml, found "
        "nothing"
    ]


def test_stores_are_equal_and_travel(bucket: Path) -> None:
    put(bucket / "1", 1)
    store = open_store(Source(bucket))
    assert store == open_store(Source(bucket)) == pickle.loads(pickle.dumps(store))
    assert len({store, open_store(Source(bucket))}) == 1
    assert store.where == str(bucket)
    runs = pickle.loads(pickle.dumps(Run.load(iter_run_dirs(bucket))))
    assert runs.to_frame("job_name", ("metrics.x", None)).rows() == [("train", None)]


def test_runs_of_one_folder_have_their_own_job_names(bucket: Path) -> None:
    for number, name in ((1, "train"), (2, "eval")):
        put(bucket, number, name)
    run_dirs = sorted(iter_run_dirs(bucket))
    assert Run.load(run_dirs).to_list("job_name") == ["train", "eval"]
    assert [Run(run_dir).info.job_name for run_dir in run_dirs] == ["train", "eval"]


@pytest.mark.parametrize("folder", ["1", ""])
def test_an_equal_store_lists_the_same_runs(bucket: Path, folder: str) -> None:
    """Also if another store has found the experiments."""
    for number, name in ((1, "train"), (2, "eval"), (3, "train")):
        put(bucket / folder, number, "train" if folder else name)
    store = open_store(Source(bucket))
    experiments = store.find_experiments("train").matching
    for other in (store, pickle.loads(pickle.dumps(store)), open_store(Source(bucket))):
        assert other == store
        for found in (experiments, other.find_experiments("train").matching):
            listing = other.list_runs(found)
            (part,) = listing.experiments
            assert part.names == [run_id(n) for n in ((1, 2, 3) if folder else (1, 3))]
            assert listing.failures == []
            unlisted = [replace(experiment, run_names=None) for experiment in found]
            assert other.list_runs(unlisted) == listing
            assert len(other.read_runs([part]).records) == len(part.names)


# Requests ------------------------------------------------------------------------------


@pytest.mark.parametrize("n_runs", [1, 30])
def test_requests_to_storage(
    bucket: Path, memory: str, n_runs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(n_runs):
        put(bucket / "1", number)
        put(bucket / "2", 100 + number)
    fsspec.filesystem("memory").put(str(bucket), f"/{memory}", recursive=True)
    listed: list[str] = []
    read: list[str] = []
    list_many, read_parsed = RemoteStorage.list_many, RemoteStorage.read_parsed

    def count_listing(self: RemoteStorage, paths: Any, limit: int | None = None) -> Any:
        listed.extend(paths)
        return list_many(self, paths, limit)

    def count_reading(self: RemoteStorage, paths: Any, parse: Any) -> Any:
        read.extend(paths)
        return read_parsed(self, paths, parse)

    monkeypatch.setattr(RemoteStorage, "list_many", count_listing)
    monkeypatch.setattr(RemoteStorage, "read_parsed", count_reading)
    assert len(find_run_ids(f"memory://{memory}")) == 2 * n_runs
    names = sorted(path.rpartition("/")[2] for path in listed)
    of_runs = [name for name in names if len(name) == 32]
    assert len(of_runs) == min(n_runs, 3)  # to choose the store, like the experiment of these runs
    assert names[len(of_runs) :] == ["1", "1", "2", memory, memory]
    assert len([path for path in read if path.endswith("hydra.yaml")]) == 2
    assert len(read) == 2 + 2  # and a meta.yaml of each experiment, as in a file store


def test_copied_runs(bucket: Path, caplog: pytest.LogCaptureFixture) -> None:
    for experiment in "12":
        put(bucket / experiment, 1)
    assert find_run_ids(bucket) == [run_id(1)] * 2
    assert caplog.messages[1:] == [
        f"runs in several experiments: 1; the first, {run_id(1)}, is in {bucket}/1 and in "
        f"{bucket}/2. They are included with each experiment; remove what is a copy"
    ]
