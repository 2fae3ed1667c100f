"""Choosing the store for a directory, a tracking URI or single runs."""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import fsspec
import pytest

from kedro_hydraflow import (
    HydraflowRunDataset,
    Run,
    RunCollection,
    get_experiment_names,
    iter_run_dirs,
    iter_runs,
)
from kedro_hydraflow.errors import (
    KedroHydraflowError,
    NotFoundError,
    OptionError,
    RunLoadError,
    StorageError,
    TrackingDirectoryError,
)
from kedro_hydraflow.run_info import get_store
from kedro_hydraflow.source import Source
from kedro_hydraflow.stores import open_store
from kedro_hydraflow.stores.artifacts_store import ArtifactsStore
from kedro_hydraflow.stores.file_store import FileStore
from kedro_hydraflow.stores.sqlite_store import SqliteStore
from tests.conftest import (
    DATABASE_SWEEP,
    Database,
    TrackingDir,
    WebServer,
    write,
    write_job,
    write_sweep,
)
from tests.stores.conftest import FakeClient, find_run_ids, put

RUN_ID = "8789b6db86fc4cde9444c88819007b9e"


def add_runs(database: Database, *run_ids: str) -> None:
    """Add runs to experiment 1 of a database, with artifacts in ``mlruns`` beside it."""
    for run_id in run_ids:
        database.add_run(1, run_id)
        folder = database.path.parent / f"mlruns/1/{run_id}/artifacts"
        write(folder / ".hydra/config.yaml", "seed: 1")


# Databases -----------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["", "mlflow.db", "mlruns"])
@pytest.mark.parametrize("kind", [Path, str])
def test_where_a_database_is(place: str, kind: type) -> None:
    location = kind(DATABASE_SWEEP / place)
    assert isinstance(open_store(Source(location)), SqliteStore)
    runs = Run.load(iter_run_dirs(location))
    assert len(runs.to_frame("seed", "metrics.accuracy").drop_nulls()) == 7


def test_database_uris(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    database.add_experiment("train")
    add_runs(database, "a")
    monkeypatch.chdir(database.path.parent)
    for uri in (
        f"sqlite:///{database.path}",
        "sqlite:///mlflow.db",
        "sqlite:///./mlflow.db?timeout=30",
        "SQLITE:///mlflow.db",
        "sqlite+pysqlite:///mlflow.db",
    ):
        assert find_run_ids(tracking_uri=uri) == ["a"]
        assert find_run_ids(uri) == ["a"]
    assert find_run_ids("mlflow.db") == find_run_ids(".") == find_run_ids("mlruns") == ["a"]
    for uri in ("sqlite://", "sqlite:///", "sqlite:mlflow.db"):
        with pytest.raises(OptionError, match=r"expected sqlite:///<path of a file>, found"):
            find_run_ids(tracking_uri=uri)


def test_one_of_tracking_dir_and_tracking_uri(database: Database) -> None:
    with pytest.raises(OptionError, match=r"give tracking_dir or tracking_uri, not both"):
        find_run_ids(tracking_dir=database.path, tracking_uri="sqlite:///x.db")


@pytest.mark.parametrize(
    "name", ["a?b#c", "100%", "a%20b", "two words", "é 日本", "it's", "a&mode=rw"]
)
def test_odd_paths(tmp_path: Path, name: str) -> None:
    database = Database(tmp_path / name / f"{name}.db")
    database.add_experiment("train")
    add_runs(database, "a")
    assert Run.load(iter_run_dirs(database.path))[0]["seed"] == 1
    shutil.move(database.path, database.path.with_name("mlflow.db"))
    (run,) = Run.load(iter_run_dirs(tmp_path / name / "mlruns"))
    assert (run["seed"], Run(run.info.run_dir).info.job_name) == (1, "train")
    if "?" not in name:
        shutil.move(tmp_path / name / "mlflow.db", tmp_path / name / f"{name}.db")
        assert find_run_ids(tracking_uri=f"sqlite:///{tmp_path}/{name}/{name}.db") == ["a"]


def test_database_of_any_name(database: Database) -> None:
    database.add_experiment("train")
    add_runs(database, "a")
    path = database.path.rename(database.path.with_name("tracking"))
    assert find_run_ids(path) == ["a"]


def test_link_to_a_database(database: Database, tmp_path: Path) -> None:
    database.add_experiment("train")
    add_runs(database, "a")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/mlflow.db").symlink_to(database.path)
    assert find_run_ids(tmp_path / "elsewhere") == ["a"]


def test_remote_database_is_refused(tmp_path: Path) -> None:
    name = tmp_path.name
    fsspec.filesystem("memory").pipe(f"/{name}/mlflow.db", b"")
    with pytest.raises(OptionError) as raised:
        find_run_ids(f"memory://{name}/mlflow.db")
    assert str(raised.value) == (
        f"cannot read the database memory://{name}/mlflow.db: SQLite databases must be local. Copy "
        f"it, and set artifact_root to memory://{name} if the artifacts stay there"
    )


# One directory -------------------------------------------------------------------------


def test_one_run_of_a_database(database: Database, tracking_dir: TrackingDir) -> None:
    database.add_experiment("train")
    add_runs(database, "a", "b")
    database.add_metric("a", "loss", [(0, 0, 0.5)])
    run_dir = tracking_dir.root / "1/a"
    info = Run(run_dir).info
    assert (info.job_name, info.status, Run(run_dir).metrics) == (
        "train",
        "FINISHED",
        {"loss": 0.5},
    )
    shutil.move(database.path, tracking_dir.root)
    assert Run(run_dir).info.job_name == "train"
    runs = Run.load([run_dir, tracking_dir.root / "1/b"])
    assert runs.to_frame("job_name", "metrics.loss").rows() == [("train", 0.5), ("train", None)]


def test_each_of_many_runs_has_the_store_that_tracks_it(
    database: Database, tracking_dir: TrackingDir
) -> None:
    """In one directory, a database has some runs, a file store others, and neither the rest."""
    database.add_run(database.add_experiment("of the database"), "b", status="KILLED")
    experiment = tracking_dir.add_experiment("of the file store")
    tracking_dir.add_run(experiment, "a", "seed: 1", status=4)
    for run_id in "bc":
        write(experiment / f"{run_id}/artifacts/.hydra/config.yaml", "seed: 2")
    other = tracking_dir.add_experiment("another", "2")
    run_dirs = [experiment / "b", experiment / "a", other / "absent", experiment / "c"]
    expected = [
        ("b", "KILLED", "of the database", 2),
        ("a", "FAILED", "of the file store", 1),
        ("absent", None, "another", None),
        ("c", None, "of the file store", 2),
    ]
    for runs in (Run.load(run_dirs), RunCollection([Run(run_dir) for run_dir in run_dirs])):
        frame = runs.to_frame("run_id", "status", "job_name", "seed")
        assert frame.rows() == expected
        stores = [get_store(run.info) for run in runs]
        assert [store.where for store in stores] == [
            str(database.path),
            *[str(tracking_dir.root)] * 3,
        ]
    assert len({id(get_store(run.info)) for run in Run.load(run_dirs)}) == 2


def test_one_run_that_the_database_beside_it_does_not_have(
    database: Database, tracking_dir: TrackingDir
) -> None:
    database.add_run(database.add_experiment("train"), "b")
    write(
        tracking_dir.root / "1/a/artifacts/.hydra/hydra.yaml", "hydra:\n  job:\n    name: other\n"
    )
    info = Run(tracking_dir.root / "1/a").info
    assert (info.job_name, info.status) == ("other", None)


def test_one_run_of_a_file_store_does_not_read_the_database(
    database: Database, tracking_dir: TrackingDir
) -> None:
    run_dir = tracking_dir.add_run(tracking_dir.add_experiment("files"), "a", status=4)
    database.path.write_bytes(b"not a database")
    assert (Run(run_dir).info.job_name, Run(run_dir).info.status) == ("files", "FAILED")


# File store or database ----------------------------------------------------------------


def test_database_without_runs_is_ignored(database: Database, tracking_dir: TrackingDir) -> None:
    tracking_dir.add_run(tracking_dir.add_experiment("files"), "a")
    assert isinstance(open_store(Source(tracking_dir.root)), FileStore)
    database.path.write_bytes(b"")
    assert find_run_ids(tracking_dir.root) == ["a"]


def test_migrated_file_store_is_read_from_the_database(
    database: Database, tracking_dir: TrackingDir
) -> None:
    experiment = tracking_dir.add_experiment("files")
    database.add_experiment("database")
    for run_id in "ab":
        tracking_dir.add_run(experiment, run_id)
        database.add_run(1, run_id)
    assert get_experiment_names(tracking_dir.root) == ["database"]
    add_runs(database, "c")  # a run that was tracked since, without meta.yaml
    assert find_run_ids(tracking_dir.root) == ["a", "b", "c"]
    write(tracking_dir.root / "1/notes/readme.txt", "a folder that is no run")
    assert isinstance(open_store(Source(tracking_dir.root)), SqliteStore)


@pytest.mark.parametrize("meta", [b"run_id: b\nrun_id: b\n", b"run_id: \0", b"\xff"])
def test_a_run_that_cannot_be_read_is_not_hidden_by_a_database(
    database: Database, tracking_dir: TrackingDir, meta: bytes
) -> None:
    experiment = tracking_dir.add_experiment("files")
    database.add_run(database.add_experiment("database"), "a")
    run_dir = tracking_dir.add_run(experiment, "b")
    (run_dir / "meta.yaml").write_bytes(meta)
    with pytest.raises(TrackingDirectoryError, match=r"the database lacks .*/1/b\. Give"):
        find_run_ids(tracking_dir.root)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("problem", ["broken", "locked"])
def test_a_run_directory_beside_a_database_that_cannot_be_read(
    database: Database, tracking_dir: TrackingDir, problem: str
) -> None:
    """Configurations are read from the directory; reading facts from the database fails."""
    database.add_run(database.add_experiment("train"), "a")
    for run_id in "ab":
        write(tracking_dir.root / f"1/{run_id}/artifacts/.hydra/config.yaml", "seed: 1")
    run_dirs = [tracking_dir.root / "1/a", tracking_dir.root / "1/b"]
    with closing(sqlite3.connect(database.path)) as connection:
        if problem == "locked":
            connection.execute("BEGIN EXCLUSIVE")
        else:
            database.path.write_bytes(b"SQLite format 3\0 and nothing else")
        runs = Run.load(run_dirs)
        assert runs.to_list("seed") == [1, 1]
        assert runs[0].path(".hydra/config.yaml").exists()
        run = Run(run_dirs[0])
        run.update("lr", 2)
        assert (run["seed"], run["lr"]) == (1, 2)
        assert HydraflowRunDataset(filepath=str(run_dirs[0])).load()["seed"] == 1
        for info in (run.info, runs[1].info):
            with pytest.raises(KedroHydraflowError, match=r"mlflow\.db"):
                _ = info.status


def test_file_store_that_grew_after_its_migration(
    database: Database, tracking_dir: TrackingDir
) -> None:
    experiment = tracking_dir.add_experiment("files")
    database.add_experiment("database")
    for run_id in "abcd":
        tracking_dir.add_run(experiment, run_id)
    for run_id in "ab":
        database.add_run(1, run_id)
    with pytest.raises(TrackingDirectoryError) as raised:
        find_run_ids(tracking_dir.root)
    assert str(raised.value) == (
        f"cannot choose between the file store {tracking_dir.root} and the database "
        f"{database.path}: the database lacks {tracking_dir.root}/1/c and others. "
        f"Give {database.path} to read the database, or {tracking_dir.root} as tracking_uri to "
        "read the file store"
    )
    assert find_run_ids(database.path) == ["a", "b"]
    assert find_run_ids(tracking_uri=str(tracking_dir.root)) == ["a", "b", "c", "d"]
    assert find_run_ids(tracking_uri=tracking_dir.root.as_uri()) == ["a", "b", "c", "d"]


def test_a_file_is_not_called_absent(database: Database, tmp_path: Path) -> None:
    database.add_experiment("train")
    with pytest.raises(OptionError) as raised:
        find_run_ids(tracking_uri=str(database.path))
    assert str(raised.value) == (
        f"tracking_uri: expected a directory, found the database {str(database.path)!r}; give it "
        f"as tracking_dir, or as sqlite:///{database.path}"
    )
    write(tmp_path / "a.csv", "x")
    with pytest.raises(NotFoundError, match=r"there is no directory '.*a\.csv'; it is a file"):
        find_run_ids(tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("layout", "of_hydra", "advice"),
    [
        (None, ", or directories with .hydra/config.yaml in it", ""),
        ("mlflow", "", ". With layout='mlflow', output directories of Hydra are not looked for"),
    ],
)
def test_a_directory_of_files_alone_is_an_error(
    tmp_path: Path, publish: Callable[[Path], str], layout: Any, of_hydra: str, advice: str
) -> None:
    for name in ("b.csv", "a.csv", ".hidden", "README.md"):
        write(tmp_path / "data" / name, "x,y\n")
    url = publish(tmp_path / "data")
    with pytest.raises(TrackingDirectoryError) as raised:
        find_run_ids(url, layout=layout)
    assert str(raised.value) == (
        f"{url} is not a tracking directory: expected <experiment_id>/meta.yaml or "
        f"<experiment_id>/<run_id>/artifacts in it, mlflow.db beside it{of_hydra}; found the "
        f"files 'README.md', 'a.csv', 'b.csv'{advice}"
    )
    with pytest.raises(TrackingDirectoryError) as raised:
        find_run_ids(url, layout="hydra")
    assert str(raised.value) == (
        f"{url} has no output directories of Hydra: expected .hydra/config.yaml in directories up "
        "to 12 levels below it, found 'README.md', 'a.csv', 'b.csv'"
    )


@pytest.mark.parametrize(
    "names", [(), (".gitkeep",), ("mlflow.db",), ("0/note", "a.txt"), (".trash/note", "a.txt")]
)
def test_a_directory_in_which_runs_are_yet_to_be_is_empty(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    (tmp_path / "mlruns").mkdir()
    for name in names:
        write(tmp_path / "mlruns" / name, "")
    assert find_run_ids(tmp_path / "mlruns") == []


@pytest.mark.parametrize("name", ["mlflow.db", "tracking.sqlite"])
def test_a_database_without_runs_is_empty(tmp_path: Path, name: str) -> None:
    database = Database(tmp_path / "mlruns" / name)
    database.add_experiment("train")
    write(tmp_path / f"mlruns/{name}-wal", "")
    assert find_run_ids(tmp_path / "mlruns") == []


def test_an_experiment_without_runs_is_empty(tracking_dir: TrackingDir) -> None:
    tracking_dir.add_experiment("train")
    write(tracking_dir.root / "notes.txt", "")
    assert find_run_ids(tracking_dir.root) == []


def test_a_sweep_without_jobs_is_empty(tmp_path: Path) -> None:
    write(tmp_path / "sweep/multirun.yaml", "hydra: {}\n")
    for layout in (None, "hydra"):
        assert find_run_ids(tmp_path / "sweep", layout=layout) == []


def test_a_broken_link_alone_is_an_error_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "mlruns").mkdir()
    (tmp_path / "mlruns/1").symlink_to(tmp_path / "gone")
    with pytest.raises(RunLoadError, match="broken symbolic link"):
        find_run_ids(tmp_path / "mlruns")


def test_directory_without_runs_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "data/notes").mkdir(parents=True)
    with pytest.raises(TrackingDirectoryError) as raised:
        find_run_ids(tmp_path / "data")
    assert str(raised.value) == (
        f"{tmp_path}/data is not a tracking directory: expected <experiment_id>/meta.yaml or "
        "<experiment_id>/<run_id>/artifacts in it, mlflow.db beside it, or directories with "
        ".hydra/config.yaml in it; found the directories 'notes'"
    )


def test_a_warning_says_that_there_are_artifacts_alone(
    tmp_path: Path, publish: Callable[[Path], str], caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path / f"bucket/1/{RUN_ID}/artifacts/.hydra/config.yaml", "seed: 1")
    location = publish(tmp_path / "bucket")
    for options in ({}, {"artifact_root": tmp_path}):
        caplog.clear()
        (run,) = Run.load(iter_run_dirs(location, **options))
        assert run["seed"] == 1
        (record,) = caplog.records
        assert record.levelno == logging.WARNING
        assert record.getMessage().endswith(
            " has artifacts alone: the status, times and metrics of its runs are unknown, and runs "
            "that were deleted in MLflow are included; to know these, give the database or the "
            "tracking_uri of MLflow"
        )
    assert isinstance(open_store(Source(location)), ArtifactsStore)


def test_damaged_database_beside_a_directory_is_an_error(
    database: Database, tracking_dir: TrackingDir
) -> None:
    tracking_dir.add_run(tracking_dir.add_experiment("files"), "a")
    database.path.write_bytes(b"not a database, but more than nothing" * 100)
    with pytest.raises(
        TrackingDirectoryError, match=r"cannot read .*mlflow.db as an MLflow database: "
    ):
        find_run_ids(tracking_dir.root)
    assert find_run_ids(tracking_uri=str(tracking_dir.root)) == ["a"]


def test_missing_directory(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"there is no directory"):
        find_run_ids(tmp_path / "gone")


# MLflow's default ------------------------------------------------------------------------


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, in which nothing is set."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path


def test_no_default_place(project: Path, tracking_dir: TrackingDir) -> None:
    (tracking_dir.root / f"1/{RUN_ID}/artifacts").mkdir(parents=True)
    TrackingDir(tracking_dir.root / "named").add_experiment("x", "y")
    with pytest.raises(NotFoundError) as raised:
        find_run_ids()
    assert str(raised.value) == (
        "there is no default place with runs: MLFLOW_TRACKING_URI is not set, "
        f"'{project}/mlruns' has no <experiment_id>/meta.yaml, and there is no database "
        f"'{project}/mlflow.db'; give tracking_dir or tracking_uri"
    )


def test_the_default_is_that_of_mlflow(
    project: Path,
    tracking_dir: TrackingDir,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The environment variable, then the file store, then the database."""
    database = Database(project / "mlflow.db")
    database.add_run(database.add_experiment("database"), "of-database")
    assert find_run_ids() == ["of-database"]
    assert caplog.messages == []
    tracking_dir.add_run(tracking_dir.add_experiment("files"), "of-files")
    assert find_run_ids() == ["of-files"]
    assert caplog.messages == [
        f"reading {project}/mlruns, as MLflow does by default; to read the runs of the database "
        f"beside it, give tracking_dir='{project}/mlflow.db'"
    ]
    other = TrackingDir(project / "other")
    other.add_run(other.add_experiment("other"), "of-variable")
    for uri in ("other", str(other.root), other.root.as_uri(), "$HERE/other"):
        monkeypatch.setenv("HERE", str(project))
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        assert find_run_ids() == ["of-variable"]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    assert find_run_ids() == ["of-database"]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    assert find_run_ids() == ["of-files"]


def test_the_experiment_0_makes_a_file_store_the_default(
    project: Path, tracking_dir: TrackingDir, caplog: pytest.LogCaptureFixture
) -> None:
    tracking_dir.add_experiment("Default", "0")
    database = Database(project / "mlflow.db")
    assert find_run_ids() == []
    assert caplog.messages == [  # nothing of the database, which has no runs
        f"no runs in {tracking_dir.root}: there are no experiments besides 'Default'"
    ]
    database.add_run(database.add_experiment("train"), "a")
    assert find_run_ids() == []
    assert "to read the runs of the database beside it" in caplog.text
    database.path.write_bytes(b"not a database, but it may have been one")
    caplog.clear()
    assert find_run_ids() == []
    assert "to read the runs of the database beside it" in caplog.text


def test_the_default_takes_the_other_options(project: Path) -> None:
    database = Database(project / "mlflow.db")
    database.add_run(database.add_experiment("train"), "a")
    write(project / "moved/1/a/artifacts/.hydra/config.yaml", "seed: 7")
    (run,) = Run.load(iter_run_dirs(artifact_root="moved"))
    assert run["seed"] == 7


# Strays and losses -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    ["", "title: x\n", "name: x\n", "- 1\n", "\0", "a: [", "experiment_id: '1'\nname: x\n"],
)
def test_a_stray_meta_file_in_a_tracking_directory(
    tracking_dir: TrackingDir,
    publish: Callable[[Path], str],
    waits: list[float],
    content: str,
) -> None:
    tracking_dir.add_run(tracking_dir.add_experiment("train"), "a", "lr: 1")
    (tracking_dir.root / "meta.yaml").write_text(content)
    (run,) = Run.load(iter_run_dirs(publish(tracking_dir.root)))
    assert (run["lr"], run.info.job_name) == (1, "train")
    assert waits == []


@pytest.mark.parametrize("content", ["", "title: x\n"])
def test_a_stray_meta_file_alone(
    tmp_path: Path, publish: Callable[[Path], str], waits: list[float], content: str
) -> None:
    write(tmp_path / "bucket/meta.yaml", content)
    with pytest.raises(TrackingDirectoryError, match=r"found the files 'meta\.yaml'$"):
        find_run_ids(publish(tmp_path / "bucket"))
    put(tmp_path / "bucket/1", 1, seed=7)
    (run,) = Run.load(iter_run_dirs(tmp_path / "bucket"))
    assert run["seed"] == 7


@pytest.mark.parametrize("content", [None, "", "title: x\n", "- 1\n"])
def test_an_experiment_is_no_tracking_directory_whatever_its_meta_file(
    tracking_dir: TrackingDir,
    publish: Callable[[Path], str],
    waits: list[float],
    content: str | None,
) -> None:
    experiment = tracking_dir.add_experiment("train")
    tracking_dir.add_run(experiment, "a")
    (experiment / "meta.yaml").unlink()
    if content is not None:
        (experiment / "meta.yaml").write_text(content)
    with pytest.raises(TrackingDirectoryError, match="give the tracking directory above it"):
        find_run_ids(publish(experiment))


def test_a_meta_file_that_cannot_be_read(
    tmp_path: Path, serve: Callable[[Path], WebServer]
) -> None:
    write(tmp_path / "bucket/meta.yaml", "title: x")
    server = serve(tmp_path)
    server.answers = {"/meta.yaml": [403] * 9}
    with pytest.raises(StorageError, match="403"):
        find_run_ids(f"{server.url}/bucket")


@pytest.mark.parametrize("run_ids", ["a", "abcdef"])
@pytest.mark.parametrize("has_others", [True, False])
def test_runs_count_if_the_meta_file_of_their_experiment_is_lost(
    tracking_dir: TrackingDir,
    publish: Callable[[Path], str],
    caplog: pytest.LogCaptureFixture,
    run_ids: str,
    has_others: bool,
) -> None:
    """They keep their facts, their metrics and their deletions."""
    experiment = tracking_dir.add_experiment("train", "2")
    for name in run_ids:
        run_dir = tracking_dir.add_run(experiment, name * 32, "lr: 1", {"acc": "1 0.9 0\n"})
        write(run_dir / "artifacts/.hydra/hydra.yaml", "hydra:\n  job:\n    name: job\n")
    gone = tracking_dir.add_run(experiment, "9" * 32, lifecycle_stage="deleted")
    (experiment / "meta.yaml").unlink()
    if has_others:
        tracking_dir.add_experiment("other", "3")
    location = publish(tracking_dir.root)
    runs = Run.load(iter_run_dirs(location))
    assert runs.to_list("run_id") == [name * 32 for name in run_ids]
    assert set(runs.to_list("status")) == {"FINISHED"}
    assert set(runs.to_list("job_name")) == {"job"}
    assert runs[0].metrics == {"acc": 0.9}
    assert len(caplog.messages) == 1
    assert (
        ": the experiment has no meta.yaml, so its name is Hydra's job name, 'job'" in caplog.text
    )
    assert gone.name in find_run_ids(location, "job", include_deleted=True)


def test_one_of_many_runs_with_its_own_meta_file(tracking_dir: TrackingDir) -> None:
    for number in range(30):
        put(tracking_dir.root / "1", number, seed=number)
    other = TrackingDir(tracking_dir.root.parent / "other")
    run_dir = other.add_run(other.add_experiment("train"), "f" * 32, lifecycle_stage="deleted")
    run_dir.rename(tracking_dir.root / "1" / run_dir.name)
    assert len(find_run_ids(tracking_dir.root)) == 30
    assert len(find_run_ids(tracking_dir.root, include_deleted=True)) == 31


def test_a_lost_experiment_that_cannot_be_listed(
    tracking_dir: TrackingDir, serve: Callable[[Path], WebServer]
) -> None:
    tracking_dir.add_runs(1)
    (tracking_dir.root / "2").mkdir()
    server = serve(tracking_dir.root.parent)
    server.answers = {"/2/": [403] * 9}
    with pytest.raises(RunLoadError, match=r"mlruns/2.*403"):
        find_run_ids(f"{server.url}/mlruns")
    assert len(find_run_ids(f"{server.url}/mlruns", on_error="warn")) == 1


def test_artifacts_alone_that_cannot_be_listed(
    tmp_path: Path, serve: Callable[[Path], WebServer]
) -> None:
    put(tmp_path / "bucket/1", 1)
    server = serve(tmp_path)
    server.answers = {"/1/": [403] * 9}
    with pytest.raises(RunLoadError, match=r"bucket/1.*403"):
        find_run_ids(f"{server.url}/bucket")


# Hydra alone ---------------------------------------------------------------------------


@pytest.fixture
def outputs(tmp_path: Path) -> list[str]:
    """Two output directories of Hydra beside `database` and `tracking_dir`, as their IDs."""
    write_sweep(tmp_path / "multirun/2026-11-25/10-00-00", 1)
    write_job(tmp_path / "outputs/2026-11-25/11-00-00")
    return ["multirun/2026-11-25/10-00-00/0", "outputs/2026-11-25/11-00-00"]


def find_ids(*args: Any, **kwargs: Any) -> list[str]:
    return [info.run_id for info in iter_run_dirs(*args, **kwargs).iter_infos()]


def test_outputs_beside_a_file_store(
    tracking_dir: TrackingDir, outputs: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """As HydraFlow leaves them."""
    tracking_dir.add_run(tracking_dir.add_experiment("train"), "a", "x: 1")
    project = tracking_dir.root.parent
    for layout in (None, "mlflow"):
        with pytest.raises(TrackingDirectoryError) as raised:
            find_ids(project, layout=layout)
        assert str(raised.value) == (
            f"{project} has no experiments, but a directory 'mlruns', beside 'multirun', "
            f"'outputs', which layout='hydra' reads; give {tracking_dir.root}"
        )
    assert find_ids(project, layout="hydra") == outputs
    assert find_ids(tracking_dir.root) == ["a"]
    for name in ("multirun", "outputs"):
        for layout in (None, "hydra"):
            assert find_ids(project / name, layout=layout) == [i for i in outputs if name in i]
    assert caplog.messages == []


def test_outputs_beside_a_database(
    database: Database, outputs: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    database.add_experiment("train")
    add_runs(database, "a")
    project = database.path.parent
    assert find_ids(project) == ["a"]
    assert caplog.messages == [
        f"{project}: read as a tracking directory of MLflow, without 'multirun', 'outputs', where "
        "Hydra may have left output directories; set layout='hydra' to read these instead, or "
        "layout='mlflow' if this is right"
    ]
    caplog.clear()
    assert find_ids(project, layout="mlflow") == ["a"]
    assert find_ids(project, layout="hydra") == outputs
    assert find_ids(project / "multirun") == outputs[:1]
    assert find_ids(project / "outputs/2026-11-25") == outputs[1:]
    assert find_ids(project / "mlruns") == ["a"]
    database.path.write_bytes(b"SQLite format 3\0 and nothing else")
    assert find_ids(project / "multirun") == outputs[:1]
    assert caplog.messages == []


def test_outputs_in_a_file_store(
    tracking_dir: TrackingDir, caplog: pytest.LogCaptureFixture
) -> None:
    tracking_dir.add_run(tracking_dir.add_experiment("train"), "a", "x: 1")
    write_sweep(tracking_dir.root / "multirun/a", 1)
    write(tracking_dir.root / "multirun.yaml", "")  # and a sweep of its own
    write_job(tracking_dir.root / "7")
    (tracking_dir.root / ".trash").mkdir()  # which MLflow always makes
    assert find_ids(tracking_dir.root) == ["a"]
    assert "without 'multirun', '7', where Hydra" in caplog.text
    assert find_ids(tracking_dir.root, layout="hydra") == ["7", "multirun/a/0"]


def test_outputs_beside_artifacts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_job(tmp_path / f"bucket/1/{RUN_ID}/artifacts")
    write_job(tmp_path / "bucket/outputs/a")
    assert find_ids(tmp_path / "bucket") == [RUN_ID]
    assert "without 'outputs', where Hydra" in caplog.text
    assert find_ids(tmp_path / "bucket", layout="hydra") == ["outputs/a"]


@pytest.mark.parametrize("has_sweep_file", [True, False])
def test_a_sweep_is_not_taken_for_artifacts(tmp_path: Path, has_sweep_file: bool) -> None:
    sweep = write_sweep(tmp_path / "sweep", 5)
    if not has_sweep_file:
        (sweep / "multirun.yaml").unlink()
    assert find_ids(sweep) == ["0", "1", "2", "3", "4"]
    assert find_ids(sweep, layout="hydra") == ["0", "1", "2", "3", "4"]
    message = (
        r"is not a tracking directory: .* With layout='mlflow', output directories of Hydra are"
    )
    with pytest.raises(TrackingDirectoryError, match=message):
        find_ids(sweep, layout="mlflow")


def test_layout_of_what_is_no_directory(database: Database, tmp_path: Path) -> None:
    database.add_experiment("train")
    add_runs(database, "a")
    for given in ({"tracking_uri": f"sqlite:///{database.path}"}, {"tracking_dir": "sqlite:///x"}):
        with pytest.raises(OptionError, match=r"layout: 'hydra' is for directories, not for a"):
            find_ids(**given, layout="hydra")
    assert find_ids(tracking_uri=f"sqlite:///{database.path}", layout="mlflow") == ["a"]
    with pytest.raises(NotFoundError, match="there is no directory"):
        find_ids(database.path, layout="hydra")


def test_hydra_layout_without_outputs(tmp_path: Path, tracking_dir: TrackingDir) -> None:
    tracking_dir.add_run(tracking_dir.add_experiment("train"), "a", "x: 1")
    for name in "gfedcba":
        (tmp_path / "data" / name).mkdir(parents=True)
    with pytest.raises(TrackingDirectoryError) as raised:
        find_ids(tmp_path / "data", layout="hydra")
    assert str(raised.value) == (
        f"{tmp_path}/data has no output directories of Hydra: expected .hydra/config.yaml in "
        "directories up to 12 levels below it, found 'a', 'b', 'c', 'd', 'e' and others"
    )
    with pytest.raises(TrackingDirectoryError, match="has no output directories of Hydra"):
        find_ids(tracking_dir.root, layout="hydra")
    (tmp_path / "empty").mkdir()
    assert find_ids(tmp_path / "empty", layout="hydra") == find_ids(tmp_path / "empty") == []


def test_outputs_have_no_artifact_root(outputs: list[str], tmp_path: Path) -> None:
    for layout in (None, "hydra"):
        with pytest.raises(OptionError, match=r"artifact_root: cannot be used with .*multirun"):
            find_ids(tmp_path / "multirun", artifact_root="/somewhere", layout=layout)


def test_directories_of_both_kinds_given_as_runs(
    tracking_dir: TrackingDir, database: Database, outputs: list[str], tmp_path: Path
) -> None:
    tracking_dir.add_run(tracking_dir.add_experiment("files", "2"), "f", "seed: 2")
    database.add_experiment("train")
    add_runs(database, "a", RUN_ID)
    both = write_job(tmp_path / "outputs/both", "seed: 3\n")
    write(both / "artifacts/.hydra/config.yaml", "seed: 4\n")
    dirs = [
        *(tmp_path / run_id for run_id in outputs),
        tracking_dir.root / "2/f",
        tracking_dir.root / "1/a",
        tracking_dir.root / "1" / RUN_ID,
        both,
    ]
    keys = ("run_id", "job_name", "status", "seed", "i")
    expected = [
        (outputs[0], "train", None, None, 0),
        (outputs[1], "train", None, 1, None),
        ("f", "files", "FINISHED", 2, None),
        ("a", "train", "FINISHED", 1, None),
        (RUN_ID, "train", "FINISHED", 1, None),
        ("outputs/both", "", None, 4, None),  # of MLflow, without a record
    ]
    runs = Run.load(dirs)
    assert runs.to_frame(*keys, defaults={"seed": None, "i": None}).rows() == expected
    one_by_one = RunCollection(map(Run, dirs))
    assert one_by_one.to_frame(*keys, defaults={"seed": None, "i": None}).rows() == expected


# Directories named like runs of MLflow -------------------------------------------------------

HEX = ["ab" * 16, "0123456789abcdef" * 2]


@pytest.mark.parametrize("content", ["", "readme.txt", "data/x.bin", "meta.yaml"])
def test_another_directory_named_like_a_run(
    tmp_path: Path,
    publish: Callable[[Path], str],
    caplog: pytest.LogCaptureFixture,
    content: str,
) -> None:
    """Such as that of a cache, even if it is empty."""
    for name in ("10-00-00", "11-00-00"):
        write_job(tmp_path / "outputs/2026-11-25" / name)
    (tmp_path / "outputs" / HEX[0]).mkdir()
    if content:
        write(tmp_path / "outputs" / HEX[0] / content, "title: x\n")
    assert [i[-8:] for i in find_ids(publish(tmp_path / "outputs"))] == ["10-00-00", "11-00-00"]
    assert caplog.messages == []


@pytest.mark.parametrize("folder", ["", "sweeps/a", "1", "2026-11-25"])
@pytest.mark.parametrize("has_artifacts", [True, False])
def test_jobs_of_hydra_named_like_runs(
    tmp_path: Path,
    publish: Callable[[Path], str],
    caplog: pytest.LogCaptureFixture,
    folder: str,
    has_artifacts: bool,
) -> None:
    """They may have written a directory of the name that MLflow uses."""
    for i, name in enumerate(HEX):
        job = write_job(tmp_path / "jobs" / folder / name, f"i: {i}")
        if has_artifacts:
            write(job / "artifacts/model.pt", "")
    runs = Run.load(iter_run_dirs(publish(tmp_path / "jobs")))
    assert runs.to_frame("job_name", "i").sort("i").rows() == [("train", 0), ("train", 1)]
    assert caplog.messages == []
    again = Run.load([tmp_path / "jobs" / folder / name for name in HEX])
    assert again.to_list("i") == [0, 1]
    assert [Run(run.info.run_dir)["i"] for run in again] == [0, 1]


def test_runs_of_mlflow_among_jobs_of_hydra(
    tmp_path: Path, publish: Callable[[Path], str], caplog: pytest.LogCaptureFixture
) -> None:
    """MLflow's are read, and the others announced."""
    outputs = tmp_path / "outputs"
    for i in range(20):
        (outputs / f"{i:032x}").mkdir(parents=True)
    write_job(outputs / f"{20:032x}")
    write_job(outputs / RUN_ID / "artifacts", "seed: 1")
    write_job(outputs / "2026-11-25/10-00-00")
    (run,) = Run.load(iter_run_dirs(publish(outputs)))
    assert (run.info.run_id, run["seed"]) == (RUN_ID, 1)
    shown = [message.partition(": ")[2] for message in caplog.messages]
    assert shown[0].startswith(
        "read as a tracking directory of MLflow, without '2026-11-25', where Hydra may have left"
    )
    assert caplog.messages[-1].startswith(
        "skipped 21 directories that are named like runs, but have no artifacts, such as "
    )


@pytest.mark.parametrize("folder", ["sweeps/a", "runs", "exp/multirun/x"])
def test_other_output_directories_in_a_file_store(
    tracking_dir: TrackingDir,
    publish: Callable[[Path], str],
    caplog: pytest.LogCaptureFixture,
    folder: str,
) -> None:
    tracking_dir.add_run(tracking_dir.add_experiment("train"), RUN_ID)
    tracking_dir.add_experiment("Default", "0")
    write_sweep(tracking_dir.root / folder, 2)
    write(tracking_dir.root / "models/registered/meta.yaml", "name: x")
    location = publish(tracking_dir.root)
    assert find_ids(location) == [RUN_ID]
    (message,) = caplog.messages
    assert f"without '{folder.split('/')[0]}', where Hydra may have left output" in message
    caplog.clear()
    assert find_ids(location, layout="mlflow") == [RUN_ID]
    assert caplog.messages == []


# Databases on remote storage -------------------------------------------------------------------


def upload(directory: Path, memory: str) -> str:
    fsspec.filesystem("memory").put(str(directory), memory, recursive=True)
    return memory


def make_archive(directory: Path, _: str) -> str:
    return f"zip://::{shutil.make_archive(str(directory), 'zip', directory)}"


@pytest.mark.parametrize("name", ["mlflow.db", "tracking.sqlite"])
@pytest.mark.parametrize("place", [upload, make_archive])
def test_a_directory_with_a_database_on_remote_storage(
    tmp_path: Path, memory: str, name: str, place: Callable[[Path, str], str]
) -> None:
    add_runs(Database(tmp_path / "project" / name))
    location = place(tmp_path / "project", memory)
    loads: list[Callable[[], Any]] = [
        lambda: find_run_ids(location),
        lambda: get_experiment_names(location),
        lambda: find_run_ids(location, layout="mlflow"),
    ]
    for load in loads:
        with pytest.raises(OptionError) as raised:
            load()
        message = str(raised.value)
        assert message.startswith("cannot read the database ")
        assert f"{name}" in message.partition(": SQLite databases must be local. Copy it, and ")[0]
        assert message.endswith(f"set artifact_root to {location} if the artifacts stay there")


def test_artifacts_beside_a_database_on_remote_storage(
    tmp_path: Path, memory: str, caplog: pytest.LogCaptureFixture
) -> None:
    put(tmp_path / "project/mlruns/1", 1)
    Database(tmp_path / "project/mlflow.db")
    location = upload(tmp_path / "project", memory)
    with pytest.raises(OptionError) as raised:
        find_run_ids(location)
    assert str(raised.value) == (
        f"cannot read the database {memory}/mlflow.db: SQLite databases must be local. Copy it, "
        f"and set artifact_root to {memory}/mlruns if the artifacts stay there, or give "
        f"{memory}/mlruns to read what is there without it"
    )
    assert len(find_run_ids(f"{memory}/mlruns")) == 1
    fs = fsspec.filesystem("memory")
    fs.copy(f"{memory}/mlflow.db", f"{memory}/mlruns/mlflow.db")
    with pytest.raises(OptionError, match=r"or set layout='mlflow' to read the artifacts without"):
        find_run_ids(f"{memory}/mlruns")
    caplog.clear()
    assert len(find_run_ids(f"{memory}/mlruns", layout="mlflow")) == 1
    assert "runs that were deleted in MLflow are included" in caplog.text


def test_others_beside_a_database_on_remote_storage(
    tmp_path: Path, memory: str, tracking_dir: TrackingDir, caplog: pytest.LogCaptureFixture
) -> None:
    """A file store, and Hydra's sweeper, need no database."""
    tracking_dir.add_run(tracking_dir.add_experiment("train"), RUN_ID)
    write(tracking_dir.root / "mlflow.db", "")
    assert find_ids(upload(tracking_dir.root, f"{memory}/a")) == [RUN_ID]
    write_sweep(tmp_path / "sweep", 2)
    write(tmp_path / "sweep/optuna.db", "")
    assert find_ids(upload(tmp_path / "sweep", f"{memory}/b")) == ["0", "1"]
    assert caplog.messages == [
        f"{memory}/{path} is not read: SQLite databases must be local"
        for path in ("a/mlflow.db", "b/optuna.db")
    ]


# Tracking URIs that are directories -------------------------------------------------------------


def make_project(root: Path) -> Path:
    tracking = TrackingDir(root / "mlruns")
    tracking.add_run(tracking.add_experiment("train"), RUN_ID)
    return root


def make_database_directory(root: Path) -> Path:
    database = Database(root / "tracking")
    database.add_run(database.add_experiment("train"), RUN_ID)
    return root


def make_sweep(root: Path) -> Path:
    return write_sweep(root / "multirun/a", 3)


def make_dates(root: Path) -> Path:
    write_job(root / "2026-11-25/10-00-00")
    return root


def make_experiment(root: Path) -> Path:
    return make_project(root) / "mlruns/1"


def make_files(root: Path) -> Path:
    write(root / "readme.txt", "")
    return root


@pytest.mark.parametrize(
    ("make", "advice"),
    [
        (make_project, "found 'mlruns'; give {place}/mlruns"),
        (make_database_directory, "found 'tracking'; give sqlite:///{place}/tracking"),
        (make_sweep, "if it has artifacts alone, or output directories of Hydra, give it as tra"),
        (make_dates, "found '2026-11-25'; if it has artifacts alone, or output directories of"),
        (make_experiment, "{place} has a meta.yaml, so it is an experiment or a run, not a track"),
        (make_files, "found 'readme.txt'; if it has"),
    ],
)
def test_a_tracking_uri_that_is_another_directory(
    project: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], Path], advice: str
) -> None:
    place = make(project / "given")
    expected = advice.format(place=place)
    for uri in (str(place), place.as_uri(), os.path.relpath(place)):
        with pytest.raises(TrackingDirectoryError) as raised:
            find_run_ids(tracking_uri=uri)
        assert expected.replace(str(place), "") in str(raised.value).replace(
            str(place), ""
        ).replace(os.path.relpath(place), "")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        loads: list[Callable[[], Any]] = [find_run_ids, get_experiment_names]
        for load in loads:
            with pytest.raises(TrackingDirectoryError) as of_variable:
                load()
            assert str(of_variable.value) == f"MLFLOW_TRACKING_URI: {raised.value}"


def test_empty_file_stores_as_tracking_uri(project: Path) -> None:
    for name in ("empty", "hidden/.trash", "registry/models"):
        (project / name).mkdir(parents=True)
        assert find_run_ids(tracking_uri=name.split("/")[0]) == []
    TrackingDir(project / "default").add_experiment("Default", "0")
    assert find_run_ids(tracking_uri="default") == []


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("nope", "there is no directory 'nope'"),
        ("localhost:5000", "'localhost:5000' has no scheme; did you mean 'http://localhost:5000'?"),
        ("sqlite:///nope.db", "there is no database '{project}/nope.db'"),
        ("sqlite://nope.db", "expected sqlite:///<path of a file>, found 'sqlite://nope.db'"),
        ("$UNSET/mlruns", "the environment variable UNSET in '$UNSET/mlruns' is not set"),
        ("http://localhost:1", "reading 'http://localhost:1' needs MLflow, which cannot be imp"),
        ("databricks", "reading 'databricks' needs MLflow, which cannot be imported"),
    ],
)
def test_errors_name_the_variable(
    project: Path, monkeypatch: pytest.MonkeyPatch, uri: str, message: str
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    loads: list[Callable[[], Any]] = [
        find_run_ids,
        get_experiment_names,
        lambda: list(iter_runs()),
        lambda: find_run_ids(["train"]),
    ]
    for load in loads:
        with pytest.raises(KedroHydraflowError) as raised:
            load()
        expected = f"MLFLOW_TRACKING_URI: {message.format(project=project)}"
        assert str(raised.value).startswith(expected)
    with pytest.raises(KedroHydraflowError, match=r"the name of an experiment: MLFLOW_TRACKING_U"):
        find_run_ids("train")


def test_names_of_experiments_do_not_name_the_variable(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_project(project)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "mlruns")
    with pytest.raises(NotFoundError, match=r"^experiment_names: there is no experiment 'x'"):
        find_run_ids(["x"])


@pytest.mark.parametrize("uri", ["databricks", "databricks://profile", "databricks-uc", "uc:main"])
def test_databricks(project: Path, client: FakeClient, uri: str) -> None:
    (project / "databricks").mkdir()  # MLflow does not look for a directory either
    assert get_experiment_names(tracking_uri=uri) == ["eval", "train"]


# More strays --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["default", "lost", "artifacts"])
def test_a_stray_meta_file_of_an_experiment(
    tracking_dir: TrackingDir, publish: Callable[[Path], str], kind: str
) -> None:
    """In a tracking directory whose experiments have none, or are "Default" alone."""
    name = "Default" if kind == "default" else "train"
    experiment = tracking_dir.add_experiment(name, "0" if kind == "default" else "1")
    run_dir = tracking_dir.add_run(experiment, RUN_ID, "seed: 1")
    shutil.copy(experiment / "meta.yaml", tracking_dir.root)
    if kind != "default":
        (experiment / "meta.yaml").unlink()
    if kind == "artifacts":
        (run_dir / "meta.yaml").unlink()
    names = "Default" if kind == "default" else None
    (run,) = Run.load(iter_run_dirs(publish(tracking_dir.root), names))
    assert run["seed"] == 1
