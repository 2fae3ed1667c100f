"""Databases of any name, in a tracking directory or beside it."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from kedro_hydraflow import Run, get_experiment_names, iter_run_dirs
from kedro_hydraflow.errors import KedroHydraflowError, StorageError, TrackingDirectoryError
from kedro_hydraflow.source import Source
from kedro_hydraflow.stores import open_store
from kedro_hydraflow.stores.file_store import FileStore
from kedro_hydraflow.stores.sqlite_store import SqliteStore
from tests.conftest import Database, TrackingDir, write
from tests.stores.conftest import find_run_ids


def make_database(path: Path, *run_ids: str, name: str = "train") -> Database:
    """Write a database with runs in one experiment, and their artifacts in ``mlruns`` beside it."""
    database = Database(path)
    database.add_experiment(name)
    for run_id in run_ids:
        database.add_run(1, run_id)
        write(path.parent / f"mlruns/1/{run_id}/artifacts/.hydra/config.yaml", "seed: 1")
    return database


NAMES = [
    "mlruns.db",
    "tracking.sqlite",
    "runs.sqlite3",
    "backend",
    "a.b.data",
    ".hidden",
    "é 日本.db",
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("place", ["", "mlruns"])
def test_any_name(tmp_path: Path, name: str, place: str) -> None:
    database = make_database(tmp_path / name, "a", "b", "c")
    database.execute("UPDATE runs SET lifecycle_stage = 'deleted' WHERE run_uuid = 'c'")
    runs = Run.load(iter_run_dirs(tmp_path / place))
    assert runs.to_frame("run_id", "status", "seed").rows() == [
        ("a", "FINISHED", 1),
        ("b", "FINISHED", 1),
    ]
    assert find_run_ids(tmp_path / place, include_deleted=True) == ["a", "b", "c"]
    assert [Run(run.info.run_dir).info.status for run in runs] == ["FINISHED"] * 2


def test_in_the_tracking_directory_itself(tmp_path: Path) -> None:
    make_database(tmp_path / "x.db", "a")
    (tmp_path / "x.db").rename(tmp_path / "mlruns/x.db")
    assert find_run_ids(tmp_path / "mlruns") == ["a"]
    assert Run(tmp_path / "mlruns/1/a").info.status == "FINISHED"


# Files that are no databases of MLflow -------------------------------------------------------


def test_other_files_are_ignored(tracking_dir: TrackingDir, tmp_path: Path) -> None:
    tracking_dir.add_run(tracking_dir.add_experiment("files"), "a")
    for name in ("empty.db", "x.sqlite"):
        (tmp_path / name).touch()
    (tmp_path / "text.db").write_bytes(b"x" * 4096)
    (tmp_path / "cut").write_bytes(b"SQLite format 3\0 and then nothing")
    (tmp_path / "folder.db").mkdir()
    (tmp_path / "gone.db").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop.db").symlink_to(tmp_path / "loop.db")
    os.mkfifo(tmp_path / "pipe.db")
    for name, tables in {
        "optuna.db": ["trials (trial_id INTEGER)"],
        "qcodes.db": ["runs (run_id INTEGER)", "experiments (exp_id INTEGER, name TEXT)"],
        "half.db": ["runs (run_uuid TEXT, artifact_uri TEXT)"],
        "swapped.db": ["runs (experiment_id TEXT, artifact_location TEXT)", "experiments (i TEXT)"],
    }.items():
        with closing(sqlite3.connect(tmp_path / name)) as connection, connection:
            for table in tables:
                connection.execute(f"CREATE TABLE {table}")
    assert isinstance(open_store(Source(tracking_dir.root)), FileStore)
    assert find_run_ids(tracking_dir.root) == ["a"]


def test_databases_without_runs_are_ignored(tracking_dir: TrackingDir, tmp_path: Path) -> None:
    tracking_dir.add_run(tracking_dir.add_experiment("files"), "a")
    for name in ("mlflow.db", "other.db"):
        make_database(tmp_path / name)
    assert isinstance(open_store(Source(tracking_dir.root)), FileStore)


# Several databases -------------------------------------------------------------------------


def test_several_databases_are_an_error_that_lists_them(tmp_path: Path) -> None:
    for name in ("mlflow.db", "mlflow-copy.db", "z.sqlite"):
        make_database(tmp_path / name, *([] if name == "z.sqlite" else ["a"]), name=name)
    for place in (tmp_path, tmp_path / "mlruns"):
        with pytest.raises(TrackingDirectoryError) as raised:
            find_run_ids(place)
        assert str(raised.value) == (
            f"{tmp_path} has several MLflow databases with runs: {tmp_path}/mlflow-copy.db, "
            f"{tmp_path}/mlflow.db; give the one to read instead of the directory"
        )
    assert get_experiment_names(tmp_path / "mlflow-copy.db") == ["mlflow-copy.db"]


def test_the_one_with_runs_counts(tmp_path: Path) -> None:
    make_database(tmp_path / "mlflow.db", name="empty")
    make_database(tmp_path / "other.db", "a", name="full")
    assert get_experiment_names(tmp_path / "mlruns") == ["full"]


def test_links_to_one_database_are_one(tmp_path: Path) -> None:
    make_database(tmp_path / "store/x.db", "a")
    for name in ("a.db", "z.db"):
        (tmp_path / "store" / name).symlink_to("x.db")
    assert find_run_ids(tmp_path / "store") == ["a"]


def test_a_database_in_the_directory_counts_before_one_beside_it(tmp_path: Path) -> None:
    make_database(tmp_path / "project/x.db", "a")
    make_database(tmp_path / "y.db", "b")
    assert find_run_ids(tmp_path / "project") == ["a"]


def test_runs_of_two_databases_share_a_directory(tmp_path: Path) -> None:
    """By their IDs, single runs are told apart."""
    make_database(tmp_path / "x.db", "a", "c", name="x")
    make_database(tmp_path / "y.db", "b", "c", name="y")
    runs = Run.load([tmp_path / "mlruns/1/a", tmp_path / "mlruns/1/b"])
    assert runs.to_list("job_name") == ["x", "y"]
    with pytest.raises(TrackingDirectoryError) as raised:
        _ = Run(tmp_path / "mlruns/1/c").info.status
    assert str(raised.value) == (
        f"the run c is in two databases: {tmp_path}/x.db and {tmp_path}/y.db; give one of them as "
        "tracking_dir to find the run"
    )


# What cannot be read -----------------------------------------------------------------------


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("problem", ["broken", "locked"])
def test_a_database_that_cannot_be_read_is_an_error(
    tracking_dir: TrackingDir, tmp_path: Path, problem: str
) -> None:
    tracking_dir.add_run(tracking_dir.add_experiment("files"), "a")
    database = make_database(tmp_path / "x.db", "b")
    with closing(sqlite3.connect(database.path)) as connection:
        if problem == "locked":
            connection.execute("BEGIN EXCLUSIVE")
        else:
            content = database.path.read_bytes()
            database.path.write_bytes(content[:100] + b"\xff" * (len(content) - 100))
        with pytest.raises(KedroHydraflowError, match=r"x\.db"):
            find_run_ids(tracking_dir.root)
        assert find_run_ids(tracking_uri=str(tracking_dir.root)) == ["a", "b"]


@pytest.fixture
def deny(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Deny access to a path, as the operating system does for users other than root."""

    def deny_path(path: Path) -> None:
        def refuse(call: Callable[..., object]) -> Callable[..., object]:
            def check(given: object = ".", *args: object, **kwargs: object) -> object:
                if str(given) == str(path):
                    raise PermissionError(13, "Permission denied", str(path))
                return call(given, *args, **kwargs)

            return check

        module = "kedro_hydraflow.stores.databases"
        monkeypatch.setattr(f"{module}.open", refuse(open), raising=False)
        monkeypatch.setattr(f"{module}.os.scandir", refuse(os.scandir))

    return deny_path


def test_a_file_that_may_be_a_database_is_denied(
    tracking_dir: TrackingDir, tmp_path: Path, deny: Callable[[Path], None]
) -> None:
    tracking_dir.add_run(tracking_dir.add_experiment("files"), "a")
    make_database(tmp_path / "x.db", "b")
    (tmp_path / "image.raw").write_bytes(b"\0" * 512)
    deny(tmp_path / "image.raw")
    with pytest.raises(TrackingDirectoryError, match="cannot choose between"):
        find_run_ids(tracking_dir.root)
    deny(tmp_path / "x.db")
    with pytest.raises(StorageError) as raised:
        find_run_ids(tracking_dir.root)
    assert str(raised.value) == (
        f"cannot read '{tmp_path}/x.db': PermissionError: Permission denied; if it is not an "
        "MLflow database, move it away, or give the directory of a file store as tracking_uri"
    )
    assert find_run_ids(tracking_uri=str(tracking_dir.root)) == ["a", "b"]


def test_the_directory_above_is_denied(
    tracking_dir: TrackingDir, tmp_path: Path, deny: Callable[[Path], None]
) -> None:
    tracking_dir.add_run(tracking_dir.add_experiment("files"), "a")
    deny(tmp_path)
    with pytest.raises(StorageError) as raised:
        find_run_ids(tracking_dir.root)
    assert str(raised.value) == (
        f"cannot look for a database in '{tmp_path}': PermissionError: Permission denied; give the "
        "database as tracking_dir, or the directory of a file store as tracking_uri"
    )
    assert find_run_ids(tracking_uri=str(tracking_dir.root)) == ["a"]


# Beside a file store -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mlflow.db", "other.sqlite"])
def test_a_file_store_that_the_database_lacks(
    tracking_dir: TrackingDir, tmp_path: Path, name: str
) -> None:
    database = make_database(tmp_path / name, "a")
    experiment = tracking_dir.root / "1"
    assert isinstance(open_store(Source(tracking_dir.root)), SqliteStore)

    # A run of the file store counts whether or not its experiment has a meta.yaml.
    aside = TrackingDir(tmp_path / "aside")
    run_dir = aside.add_run(aside.add_experiment("files"), "b")
    run_dir.rename(experiment / "b")
    for place in (tracking_dir.root, tmp_path):
        with pytest.raises(TrackingDirectoryError, match=rf"the database lacks {experiment}/b\. "):
            find_run_ids(place)
    assert find_run_ids(database.path) == ["a"]
    assert find_run_ids(tracking_uri=str(tracking_dir.root)) == ["a", "b"]

    # "Default" too.
    (experiment / "b").rename(tmp_path / "b")
    assert isinstance(open_store(Source(tracking_dir.root)), SqliteStore)
    (tracking_dir.root / "0").mkdir()
    (tmp_path / "b").rename(tracking_dir.root / "0/b")
    with pytest.raises(TrackingDirectoryError, match=r"the database lacks .*/0/b\. Give"):
        find_run_ids(tracking_dir.root)


def test_an_experiment_that_cannot_be_listed_is_not_taken_for_migrated(
    tracking_dir: TrackingDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = make_database(tmp_path / "x.db", "a")
    experiment = tracking_dir.add_experiment("files", "2")
    scandir = os.scandir

    def refuse(path: object) -> object:
        if str(path) == str(experiment):
            raise PermissionError(13, "Permission denied")
        return scandir(path)  # type: ignore[call-overload]

    monkeypatch.setattr("kedro_hydraflow.storage.local.os.scandir", refuse)
    with pytest.raises(StorageError) as raised:
        find_run_ids(tracking_dir.root)
    assert str(raised.value) == (
        f"cannot tell whether the database {database.path} has all runs of the file store "
        f"{tracking_dir.root}: cannot list the directory '{experiment}': PermissionError: "
        f"Permission denied. Give {database.path} to read the database, or {tracking_dir.root} as "
        "tracking_uri to read the file store"
    )


# Damaged, locked and foreign files -----------------------------------------------------------


@pytest.mark.parametrize("place", ["", "mlruns"])
def test_a_damaged_database_is_not_taken_for_absent(tmp_path: Path, place: str) -> None:
    """Although its size is no longer that of an SQLite file."""
    database = make_database(tmp_path / "tracking.db", "a")
    with database.path.open("ab") as file:
        file.write(b"x" * 100)
    assert find_run_ids(tmp_path / place) == ["a"]  # as SQLite can read it
    for size in (database.path.stat().st_size - 200, 5000, 700):
        os.truncate(database.path, size)
        with pytest.raises(KedroHydraflowError, match=r"tracking\.db"):
            find_run_ids(tmp_path / place)


def break_file(path: Path) -> None:
    path.write_bytes(b"SQLite format 3\0" + b"\xff" * 4080)


def cut_file(path: Path) -> None:
    path.write_bytes(b"SQLite format 3\0 and then nothing")


@pytest.mark.parametrize("damage", [break_file, cut_file])
def test_a_damaged_file_beside_a_file_store_is_an_error_with_advice(
    tracking_dir: TrackingDir, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    tracking_dir.add_run(tracking_dir.add_experiment("files"), "a")
    damage(tmp_path / "cache.db")
    for place in (tracking_dir.root, tmp_path):
        with pytest.raises(TrackingDirectoryError) as raised:
            find_run_ids(place)
        assert str(raised.value).startswith(f"cannot read {tmp_path}/cache.db as an MLflow dat")
        assert str(raised.value).endswith(
            "; if it is not an MLflow database, move it away, or give the directory of a file "
            "store as tracking_uri"
        )
    assert find_run_ids(tracking_uri=str(tracking_dir.root)) == ["a"]


@pytest.mark.parametrize(
    "script",
    [
        "CREATE VIEW runs AS SELECT * FROM gone",
        "CREATE VIEW experiments AS SELECT * FROM gone; CREATE TABLE runs (run_uuid, artifact_uri)",
        "CREATE TABLE experiments (experiment_id, artifact_location); "
        "CREATE VIEW runs AS SELECT 1 AS run_uuid, 2 AS artifact_uri",
    ],
)
def test_views_of_another_program(tracking_dir: TrackingDir, tmp_path: Path, script: str) -> None:
    tracking_dir.add_run(tracking_dir.add_experiment("files"), "a")
    with closing(sqlite3.connect(tmp_path / "other.db")) as connection:
        connection.executescript(script)
    assert find_run_ids(tracking_dir.root) == ["a"]


def test_a_lock_of_another_program_is_waited_for_only_briefly(
    tracking_dir: TrackingDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracking_dir.add_run(tracking_dir.add_experiment("files"), "a")
    waited: list[float] = []
    connect = sqlite3.connect

    def note(*args: Any, timeout: float = 0, **kwargs: Any) -> sqlite3.Connection:
        waited.append(timeout)
        return connect(*args, timeout=0.1, **kwargs)

    with closing(connect(tmp_path / "cookies.sqlite", isolation_level=None)) as connection:
        connection.execute("CREATE TABLE cookies (a)")
        connection.execute("BEGIN EXCLUSIVE")
        monkeypatch.setattr(sqlite3, "connect", note)
        with pytest.raises(StorageError) as raised:
            find_run_ids(tracking_dir.root)
    assert str(raised.value) == (
        f"cannot read the database '{tmp_path}/cookies.sqlite': database is locked: another "
        "program has held a lock for 3 seconds; try again when it has finished; if it is not an "
        "MLflow database, move it away, or give the directory of a file store as tracking_uri"
    )
    assert waited == [3.0]
