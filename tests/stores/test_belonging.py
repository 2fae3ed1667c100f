"""Databases beside a directory: whether they track its runs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest

from kedro_hydraflow import (
    Run,
    get_experiment_names,
    iter_artifact_paths,
    iter_run_dirs,
    iter_runs,
)
from kedro_hydraflow.errors import KedroHydraflowError, TrackingDirectoryError
from kedro_hydraflow.source import Source
from kedro_hydraflow.stores import open_store
from kedro_hydraflow.stores.sqlite_store import SqliteStore
from tests.conftest import Database, TrackingDir, write, write_job, write_sweep
from tests.stores.conftest import find_run_ids, put, run_id


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with ``mlflow.db`` and its artifacts in ``mlruns``."""
    project = tmp_path / "project"
    database = Database(project / "mlflow.db")
    for number, name in enumerate(("train", "eval"), 1):
        location = str(project / f"mlruns/{number}")
        database.add_experiment(name, number, artifact_location=location)
        database.add_run(number, run_id(number))
        put(project / f"mlruns/{number}", number, name, seed=number)
    monkeypatch.chdir(project)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return project


def get_unread(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [message for message in caplog.messages if "is not read" in message]


# Directories that belong to another program --------------------------------------------------


def test_a_directory_named_like_an_experiment(project: Path) -> None:
    """It never gives the runs of all experiments."""
    assert find_run_ids("train") == [run_id(1)]
    write(project / "train/model/layers.py", "")
    loads: list[Callable[[], Any]] = [
        lambda: find_run_ids("train"),
        lambda: list(iter_runs("train")),
        lambda: Run.load(iter_run_dirs("train")),
        lambda: list(iter_artifact_paths("train", "model.pt", "e*")),
    ]
    for load in loads:
        with pytest.raises(TrackingDirectoryError, match="train is not a tracking directory: "):
            load()
    with pytest.raises(TrackingDirectoryError) as raised:
        find_run_ids("train")
    assert str(raised.value).endswith(
        "; if 'train' is the name of an experiment, give it as experiment_names"
    )
    assert find_run_ids(experiment_names="train") == [run_id(1)]


def test_a_directory_named_like_an_artifact(project: Path) -> None:
    expected = [project / f"mlruns/1/{run_id(1)}/artifacts/model"]
    assert list(iter_artifact_paths("model", "train")) == expected
    write(project / "model/layers/a.py", "")
    with pytest.raises(TrackingDirectoryError) as raised:
        list(iter_artifact_paths("model", "train"))
    assert str(raised.value).endswith(
        "found the directories 'layers'; if 'model' is the artifact, and 'train' the name of an "
        "experiment, give that as experiment_names"
    )
    assert list(iter_artifact_paths("model", experiment_names="train")) == expected
    # With three arguments, the first can only be a directory.
    with pytest.raises(TrackingDirectoryError, match=r"found the directories 'layers'$"):
        list(iter_artifact_paths("model", "train", "eval"))


def test_an_empty_directory_has_no_runs(project: Path) -> None:
    (project / "plots").mkdir()
    assert find_run_ids(project / "plots") == []


@pytest.mark.parametrize("experiment", ["7", ""])
def test_other_artifacts(project: Path, caplog: pytest.LogCaptureFixture, experiment: str) -> None:
    put(project / "bucket" / experiment, 77, "other")
    assert find_run_ids(project / "bucket") == [run_id(77)]
    assert get_unread(caplog) == [
        f"{project}/bucket: the database {project}/mlflow.db beside it is not read, because it has "
        "none of its runs; to read the database, give it as tracking_dir"
    ]
    assert get_experiment_names(project / "bucket") == ["other"]
    assert find_run_ids(project / "mlflow.db") == [run_id(2), run_id(1)]


@pytest.mark.parametrize("name", ["store", "mlruns"])
def test_another_file_store(project: Path, caplog: pytest.LogCaptureFixture, name: str) -> None:
    shutil.rmtree(project / "mlruns")
    tracking = TrackingDir(project / name)
    tracking.add_run(tracking.add_experiment("files"), run_id(5))
    assert find_run_ids(tracking.root) == [run_id(5)]
    assert len(get_unread(caplog)) == 1


def test_output_directories_of_hydra(project: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_sweep(project / "sweeps/a", 2)
    write_job(project / "outputs/2026-11-25/11-00-00")
    assert find_run_ids("outputs") == ["11-00-00"]
    assert caplog.messages == []  # as HydraFlow leaves it, beside the database
    assert find_run_ids("sweeps") == ["0", "1"]
    assert caplog.messages == [
        f"sweeps: the database {project}/mlflow.db beside it is not read, because it has none of "
        "its runs; to read the database, give it as tracking_dir, or set layout='hydra' if this "
        "is right"
    ]
    caplog.clear()
    assert find_run_ids("sweeps", layout="hydra") == ["0", "1"]
    (project / "mlflow.db").write_bytes(b"SQLite format 3\0 and nothing else")
    assert find_run_ids("sweeps") == ["0", "1"]
    assert caplog.messages == []


def test_a_project_beside_the_database_of_another(project: Path) -> None:
    write_sweep(project / "b/multirun/x", 1)
    (project / "b/mlruns").mkdir()
    with pytest.raises(TrackingDirectoryError, match=r"'mlruns', beside 'multirun', which layout"):
        find_run_ids(project / "b")


# Directories that belong to the database ------------------------------------------------------


def test_one_run_in_common_is_enough(project: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever the name of the directory: in it, in ``mlruns`` in it, and for ``.``."""
    (project / "mlruns").rename(project / "moved")
    for number in range(100, 105):
        put(project / "moved/1", number)
    shutil.copytree(project / "moved", project / "inner/mlruns")
    for location in ("moved", "inner", project / "moved", project / "moved/1/.."):
        assert find_run_ids(location) == [run_id(2), run_id(1)]
    os.chdir(project / "moved")
    caplog.clear()
    assert find_run_ids(".") == [run_id(2), run_id(1)]
    assert caplog.messages == [
        f".: 5 run directories are left out, because the database {project}/mlflow.db does not "
        f"have the runs, such as ./1/{run_id(100)}"
    ]


@pytest.mark.parametrize("is_inside", [True, False])
def test_runs_that_the_database_of_mlruns_lacks(
    project: Path, caplog: pytest.LogCaptureFixture, is_inside: bool
) -> None:
    put(project / "mlruns/2", 8)
    (project / f"mlruns/2/{run_id(9)}").mkdir()  # without artifacts, so it is no run
    (project / "mlruns/2/models").mkdir()
    location = project if is_inside else project / "mlruns"
    assert find_run_ids(location) == [run_id(2), run_id(1)]
    assert caplog.messages == [
        f"{location}: 1 run directories are left out, because the database {project}/mlflow.db "
        f"does not have the runs, such as {project}/mlruns/2/{run_id(8)}"
    ]


@pytest.mark.parametrize(
    ("location", "name"),
    [
        ("/elsewhere/store/1", "store"),
        ("/elsewhere/team-a", "team-a"),
        ("file:///elsewhere/store/1/", "store"),
        ("C:\\data\\store\\1", "store"),
        ("s3://bucket/store/1", "store"),
        ("mlflow-artifacts:/1", "mlruns"),
        ("mlflow-artifacts:/1", "mlartifacts"),
    ],
)
@pytest.mark.parametrize("has_files", [True, False])
def test_without_runs_the_name_counts(
    tmp_path: Path, location: str, name: str, has_files: bool
) -> None:
    database = Database(tmp_path / "x.db")
    database.add_experiment("train", artifact_location=location)
    database.add_run(1, run_id(1))
    for directory in (name, "others"):
        (tmp_path / directory / "1").mkdir(parents=True)
        if has_files:
            write(tmp_path / directory / "notes.txt", "")
    assert isinstance(open_store(Source(tmp_path / name)), SqliteStore)
    with pytest.raises(TrackingDirectoryError, match="others is not a tracking directory"):
        open_store(Source(tmp_path / "others"))


def test_the_directory_of_one_of_several_experiments(project: Path) -> None:
    """Like that of a file store, it is none of all experiments."""
    (project / "mlflow.db").rename(project / "mlruns/mlflow.db")
    with pytest.raises(TrackingDirectoryError) as raised:
        find_run_ids(project / "mlruns/1")
    assert str(raised.value) == (
        f"{project}/mlruns/1 has runs in it, so it is an experiment, not a tracking directory: the "
        f"database {project}/mlruns/mlflow.db has others, too; give the database, and the name of "
        "the experiment as experiment_names"
    )
    assert find_run_ids(project / "mlruns/mlflow.db", "train") == [run_id(1)]


def test_the_directory_of_the_only_experiment(tmp_path: Path) -> None:
    database = Database(tmp_path / "x.db")
    database.add_experiment("train", artifact_location=str(tmp_path / "runs"))
    database.add_run(1, run_id(1))
    put(tmp_path / "runs", 1)
    assert get_experiment_names(tmp_path / "runs") == ["train"]
    assert find_run_ids(tmp_path / "runs") == [run_id(1)]


def test_of_several_databases_the_one_that_has_the_runs(
    project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = Database(project / "other.db")
    other.add_experiment("other")
    other.add_run(1, run_id(50))
    put(project / "bucket/1", 50)
    assert find_run_ids("mlruns") == [run_id(2), run_id(1)]
    assert find_run_ids("bucket") == [run_id(50)]
    with pytest.raises(TrackingDirectoryError, match="has several MLflow databases with runs"):
        find_run_ids(project)


# Databases without runs -----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mlflow.db", "tracking.sqlite"])
@pytest.mark.parametrize("place", ["", "mlruns"])
def test_a_database_without_runs_counts_where_nothing_else_is(
    tmp_path: Path, name: str, place: str
) -> None:
    (tmp_path / "mlruns").mkdir()
    database = Database(tmp_path / name)
    assert get_experiment_names(tmp_path / place) == []
    database.add_experiment("train")
    assert get_experiment_names(tmp_path / place) == ["train"]
    assert find_run_ids(tmp_path / place, "train") == []
    put(tmp_path / "mlruns/1", 1, "job")
    assert get_experiment_names(tmp_path / "mlruns") == ["job"]


@pytest.mark.parametrize("name", ["mlflow.db", "tracking.sqlite"])
def test_a_database_without_runs_does_not_hide_those_in_mlruns(
    tracking_dir: TrackingDir, name: str
) -> None:
    experiment = tracking_dir.add_experiment("job")
    for i in range(2):
        tracking_dir.add_run(experiment, f"{i:032x}", f"seed: {i}")
    project = tracking_dir.root.parent
    Database(project / name).add_experiment("train")
    with pytest.raises(TrackingDirectoryError) as raised:
        find_run_ids(project)
    assert str(raised.value) == (
        f"{project} has a database without runs, {project / name}, and runs in "
        f"{tracking_dir.root}; give that"
    )
    assert len(find_run_ids(tracking_dir.root)) == 2


def test_several_databases_without_runs(tmp_path: Path) -> None:
    for name in ("a.db", "b.db"):
        Database(tmp_path / name).add_experiment("train")
    with pytest.raises(TrackingDirectoryError, match=r"databases without runs: .*a\.db, .*b\.db"):
        find_run_ids(tmp_path)


def test_runs_in_workspaces(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    database = Database(tmp_path / "x.db")
    database.add_experiment("train", artifact_location="mlflow-artifacts:/workspaces/a/1")
    database.add_run(1, run_id(1))
    put(tmp_path / "copy/workspaces/a/1", 1)
    put(tmp_path / "other/workspaces/a/1", 2)
    assert find_run_ids(tmp_path / "copy") == [run_id(1)]
    assert caplog.messages == []
    assert find_run_ids(tmp_path / "other") == [run_id(2)]
    assert len(get_unread(caplog)) == 1


# Both, and elsewhere --------------------------------------------------------------------------


def test_other_output_directories_in_mlruns(
    project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """They are announced, whether or not the artifacts are there."""
    write_sweep(project / "mlruns/sweeps/a", 2)
    for name in ("1", "2"):
        assert find_run_ids("mlruns") == [run_id(2), run_id(1)]
        (message,) = caplog.messages
        assert message.startswith("mlruns: read as a tracking directory of MLflow, without ")
        assert "without 'sweeps', where" in message
        caplog.clear()
        shutil.rmtree(project / "mlruns" / name)


def test_a_sweep_with_a_database_in_it(
    project: Path, memory: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The database counts. On remote storage, where it cannot be read, an error says so."""
    write_sweep(project, 2)
    assert find_run_ids(project) == [run_id(2), run_id(1)]
    (message,) = caplog.messages
    assert "without '0', '1', where Hydra may have left output directories" in message
    assert find_run_ids(project, layout="hydra") == ["0", "1"]
    fsspec.filesystem("memory").put(str(project), memory, recursive=True)
    with pytest.raises(KedroHydraflowError, match=r"cannot read the database memory.*mlflow\.db"):
        find_run_ids(memory)
    assert find_run_ids(memory, layout="hydra") == ["0", "1"]
