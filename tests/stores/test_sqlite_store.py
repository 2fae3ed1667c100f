"""Runs in a database. test_find.py tests how the database is found."""

from __future__ import annotations

import logging
import math
import os
import pickle
import shutil
import sqlite3
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from kedro_hydraflow import Run, RunCollection, get_experiment_names, iter_run_dirs, iter_runs
from kedro_hydraflow.errors import (
    MissingKeyError,
    NotFoundError,
    RunLoadError,
    StorageError,
    TrackingDirectoryError,
)
from kedro_hydraflow.finding import Search, find_runs
from kedro_hydraflow.run import make_run
from kedro_hydraflow.run_info import get_store, make_info
from kedro_hydraflow.source import Source
from kedro_hydraflow.stores import open_store
from tests.conftest import DATABASE_SWEEP, Database, TrackingDir, find_first_runs, write
from tests.stores.conftest import find_run_ids

CONFIG = "artifacts/.hydra/config.yaml"


def load(database: Database, **kwargs: Any) -> RunCollection[Run]:
    return Run.load(iter_run_dirs(database.path, **kwargs))


def trace_statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list to which each SQL statement from now on is appended."""
    statements: list[str] = []
    connect = sqlite3.connect

    def connect_and_trace(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        connection = connect(*args, **kwargs)
        connection.set_trace_callback(statements.append)
        return connection

    monkeypatch.setattr(sqlite3, "connect", connect_and_trace)
    return statements


# The real one --------------------------------------------------------------------------


def is_query(statement: str) -> bool:
    """Whether a statement may return rows of a table."""
    return statement.startswith("SELECT") and not statement.endswith("LIMIT 0")


def test_a_real_sweep() -> None:
    runs = Run.load(iter_run_dirs(DATABASE_SWEEP / "mlruns"))
    facts = ("experiment_id", "job_name", "status", "seed", "model.type")
    frame = runs.to_frame(*facts, "params.model.type", "tags.stage", "metrics.accuracy")
    assert frame.row(0)[:-1] == ("2", "eval_digits", "FINISHED", 8, "mlp", "mlp", "sweep")
    assert frame.row(0)[-1] == pytest.approx(0.977778, abs=1e-6)
    assert frame["job_name"].to_list() == [
        *["eval_digits"] * 2,
        *["train_digits_v1"] * 4,
        "train_digits_v2",
    ]
    assert [run.info.run_id for run in runs.filter(status="FAILED")] == [
        "8789b6db86fc4cde9444c88819007b9e"
    ]
    run = runs[0]
    assert run.path("model/weights.npz").is_file()
    assert set(run.metrics) == {"accuracy", "train/loss", "val/accuracy"}
    assert run.params == {"model.type": "mlp", "training.learning_rate": "0.01"}
    history = run.metric_history("train/loss")
    assert history["step"].to_list() == sorted(history["step"])
    assert history["value"][-1] == run.metrics["train/loss"]


def test_one_directory_of_a_database() -> None:
    run_dir = DATABASE_SWEEP / "mlruns/3/8789b6db86fc4cde9444c88819007b9e"
    run = Run(run_dir)
    assert (run.info.job_name, run.info.status) == ("train_digits_v2", "FAILED")
    assert run.info.start_time == datetime(2026, 11, 23, 0, 40, 28, 194000, timezone.utc)
    assert run.get("metrics.accuracy") == run.metrics["accuracy"] > 0.8
    (loaded,) = Run.load([str(run_dir)])
    assert loaded.info.job_name == "train_digits_v2"
    assert loaded.tags["stage"] == "sweep"


def test_nothing_is_written(tmp_path: Path) -> None:
    shutil.copytree(DATABASE_SWEEP, tmp_path / "copy")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "copy").rglob("*")}
    runs = Run.load(iter_run_dirs(tmp_path / "copy"))
    runs.to_frame("metrics.accuracy", "status", "params.model.type")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "copy").rglob("*")} == before


def test_mlflow_is_not_imported() -> None:
    code = (
        "import sys; from kedro_hydraflow import *; "
        f"Run.load(iter_run_dirs({str(DATABASE_SWEEP)!r})).to_frame('metrics.accuracy'); "
        "assert 'mlflow' not in sys.modules and 'sqlalchemy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# Experiments and runs ------------------------------------------------------------------


def test_default_experiment_is_skipped_by_its_id(database: Database) -> None:
    database.add_run(0, "a")
    database.add_run(database.add_experiment("Default", 7, workspace="other"), "b")
    assert get_experiment_names(database.path) == ["Default"]
    assert find_run_ids(database.path) == ["b"]


def test_deleted_experiments_and_runs_are_excluded(database: Database) -> None:
    database.add_run(database.add_experiment("gone", 1, lifecycle_stage="deleted"), "a")
    database.add_experiment("train", 2)
    database.add_run(2, "b", lifecycle_stage="deleted")
    database.add_run(2, "c")
    assert get_experiment_names(database.path) == ["train"]
    assert find_run_ids(database.path) == ["c"]
    assert find_run_ids(database.path, include_deleted=True) == ["b", "c"]
    assert load(database, include_deleted=True)[0].info.lifecycle_stage == "deleted"


def test_columns_may_be_null(database: Database) -> None:
    database.add_experiment("train", 1, lifecycle_stage=None, artifact_location=None)
    columns = ("name", "status", "start_time", "end_time", "lifecycle_stage", "artifact_uri")
    database.add_run(1, "a", **dict.fromkeys(columns))
    (run,) = load(database)
    info = run.info
    assert (info.job_name, info.run_name, info.status, info.start_time) == ("train", *[None] * 3)


def test_experiments_of_the_same_name_in_two_workspaces(database: Database) -> None:
    for number, workspace in ((10, "team-a"), (9, "team-b"), (8, "team-c")):
        name = "train" if number != 8 else "eval"
        database.add_experiment(name, number, workspace=workspace)
        database.add_run(number, f"{number}")
    assert get_experiment_names(database.path) == ["eval", "train", "train"]
    assert find_run_ids(database.path, "train") == ["9", "10"]


@pytest.mark.parametrize(
    "name", ["1e3", "null", "${oc.env:HOME}", " a ", "é…日本", "two\nlines", "it's"]
)
def test_names_are_raw_text(database: Database, name: str) -> None:
    database.add_run(database.add_experiment(name), "a", name=name)
    (run,) = load(database, experiment_names=name)
    assert (run.info.job_name, run.info.run_name) == (name, name)


def test_runs_that_are_removed_between_list_and_read(database: Database) -> None:
    database.add_experiment("train")
    for run_id in "abc":
        database.add_run(1, run_id, metrics={"loss": [(0, 0, 1.0)]})
    store = open_store(Source(database.path))
    listing = store.list_runs(store.find_experiments().matching)
    database.execute("DELETE FROM runs WHERE run_uuid = 'b'")
    found = store.read_runs(listing.experiments)
    assert ([run.run_id for run in found.records], found.failures) == (["a", "c"], [])
    assert listing.failures == []

    database.execute("DELETE FROM runs WHERE run_uuid = 'a'", "DELETE FROM latest_metrics")
    infos = [make_info(record, store) for record in found.records]
    assert [make_run(Run, info, None, None, {}).metrics for info in infos] == [{}, {}]


def test_many_experiments_take_one_query(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(1, 20):
        database.add_experiment(f"train_{number:02}", number)
        for inner in range(3):
            database.add_run(number, f"{number:02}{inner}")
    statements = trace_statements(monkeypatch)
    source = Source(database.path)
    assert [info.run_id for info in find_runs(Search(source)).runs] == [
        f"{number:02}{inner}" for number in range(1, 20) for inner in range(3)
    ]
    assert len([s for s in statements if is_query(s)]) == 3
    assert [info.run_id for info in find_first_runs(Search(source, "train_1*"), 4)] == [
        *("100", "101", "102", "110")
    ]


def test_in_batches_and_in_jobs(database: Database) -> None:
    for number in (1, 2):
        database.add_experiment(f"train_{number}", number)
        for inner in range(5):
            run_id = database.add_run(number, f"{number}{inner}")
            write(database.path.parent / f"mlruns/{number}/{run_id}/{CONFIG}", f"seed: {inner}")
    batches = list(iter_runs(database.path, batch_size=4))
    assert [len(batch) for batch in batches] == [4, 4, 2]
    assert [run["seed"] for batch in batches for run in batch] == [0, 1, 2, 3, 4] * 2
    runs = Run.load(iter_run_dirs(database.path), n_jobs=2)
    assert [run["seed"] for run in runs] == [0, 1, 2, 3, 4] * 2
    copied = pickle.loads(pickle.dumps(runs))
    assert copied.to_frame("job_name", "metrics.x", defaults={"metrics.x": None}).height == 10
    assert hash(get_store(copied[0].info)) == hash(get_store(runs[0].info))
    assert get_store(copied[0].info) == get_store(runs[0].info)


# Values --------------------------------------------------------------------------------

VALUES = {
    "zero": 0.0,
    "negative": -1.5,
    "tiny": 5e-324,
    "huge": 1e308,
    "inf": math.inf,
    "-inf": -math.inf,
    "nan": math.nan,
    "train/loss": 1.0,
    "é 日本": 2.0,
    'it\'s "quoted"; --': 3.0,
    "a.b.c": 4.0,
    "UPPER": 5.0,
    "upper": 6.0,
}


def test_metrics(database: Database) -> None:
    database.add_experiment("train")
    database.add_run(1, "a", metrics={key: [(0, 1, value)] for key, value in VALUES.items()})
    (run,) = load(database)
    assert list(run.metrics) == sorted(VALUES)
    assert run.metrics == pytest.approx(VALUES, nan_ok=True, rel=0, abs=0)
    for key, value in VALUES.items():
        (run,) = load(database)
        assert run.get(f"metrics.{key}") == pytest.approx(value, nan_ok=True, rel=0, abs=0)
        assert run.metric_history(key)["value"][0] == pytest.approx(
            value, nan_ok=True, rel=0, abs=0
        )


def test_params_and_tags_are_raw_text(database: Database) -> None:
    params = {"empty": "", "lines": "a\n\nb\n", "group/a b": "1e3", "é": "${oc.env:HOME}", "n": "1"}
    database.add_experiment("train")
    database.add_run(1, "a", params=params, tags={**params, "null": None})
    (run,) = load(database)
    assert run.params == params
    assert run.tags == {**params, "null": ""}
    frame = load(database).to_frame("params.n", "tags.null", "params.é", "tags.group/a b")
    assert frame.rows() == [("1", "", "${oc.env:HOME}", "1e3")]


def test_latest_metric_is_that_of_the_last_step_time_and_value(database: Database) -> None:
    points = {
        "step": [(9, 1, 0.1), (10, 2, 0.2), (1, 3, 0.3)],
        "time": [(1, 1, 0.1), (1, 3, 0.3), (1, 2, 0.2)],
        "value": [(1, 1, 0.1), (1, 1, 0.3), (1, 1, 0.2)],
        "negative": [(-1, 1, 0.1), (-2, 1, 0.2)],
    }
    database.add_experiment("train")
    database.add_run(1, "a", metrics=points)
    (run,) = load(database)
    assert run.metrics == {"step": 0.2, "time": 0.3, "value": 0.3, "negative": 0.1}
    for key in points:
        assert run.metric_history(key)["value"][-1] == run.metrics[key]


def test_histories_are_sorted_and_without_duplicates(database: Database) -> None:
    database.add_experiment("train")
    loss = [(2, 1, 0.5), (0, 5, math.nan), (0, 5, 1.0), (0, 5, 1.0), (-1, 9, math.inf)]
    database.add_run(1, "a", metrics={"loss": loss, "other": [(0, 0, 7.0)]})
    database.add_run(1, "b", metrics={"loss": [(0, 0, 3.0)]})
    database.add_run(1, "c")
    frame = load(database).metric_histories("loss", "other")
    with pytest.raises(MissingKeyError, match="none of the 3 runs has the metric 'missing'"):
        load(database).metric_histories("loss", "missing")
    assert frame.drop("timestamp").rows() == [
        ("a", "loss", -1, math.inf),
        ("a", "loss", 0, pytest.approx(math.nan, nan_ok=True)),
        ("a", "loss", 0, 1.0),
        ("a", "loss", 2, 0.5),
        ("a", "other", 0, 7.0),
        ("b", "loss", 0, 3.0),
    ]
    assert frame["timestamp"][0] == datetime(1970, 1, 1, 0, 0, 0, 9000, timezone.utc)


def test_filters_groups_and_orders(database: Database) -> None:
    database.add_experiment("train")
    for i, run_id in enumerate("abcd"):
        metrics = {"val/loss": [(0, 0, 4.0 - i)]} if run_id != "c" else {}
        database.add_run(1, run_id, metrics=metrics, params={"lr": f"{i % 2}"}, tags={"n": run_id})
    runs = load(database)
    frame = runs.to_frame("run_id", "metrics.val/loss")
    assert frame["metrics.val/loss"].to_list() == [4.0, 3.0, None, 1.0]
    present = runs.filter(lambda run: run.get("metrics.val/loss", None) is not None)
    assert [run.info.run_id for run in present.sort("metrics.val/loss")] == ["d", "b", "a"]
    assert [run.info.run_id for run in runs.filter(("params.lr", "1"))] == ["b", "d"]
    assert [run.info.run_id for run in runs.filter(("tags.n", ["a", "d"]))] == ["a", "d"]
    assert {key: len(group) for key, group in runs.group_by("params.lr").items()} == {
        "0": 2,
        "1": 2,
    }


LOGGED = (
    *("metrics.m0", "metrics.m1", "metrics.m2", "params.p0", "params.p1", "params.p2"),
    *("tags.t0", "tags.t1", "status", "start_time"),
)


@pytest.mark.parametrize("n_runs", [2, 40])
def test_columns_take_a_query_each_however_many_runs(
    database: Database, n_runs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.add_experiment("train")
    for i in range(n_runs):
        run_id = database.add_run(
            *(1, f"{i:03}"),
            metrics={f"m{k}": [(0, 0, float(i))] for k in range(3)},
            params={f"p{k}": f"{i}" for k in range(3)},
            tags={f"t{k}": f"{i}" for k in range(2)},
        )
        # If one configuration has the key itself, the other runs are still read at once.
        text = "params: {p0: own}" if i == 0 else ""
        write(database.path.parent / f"mlruns/1/{run_id}/{CONFIG}", text)
    statements = trace_statements(monkeypatch)
    runs = load(database)
    assert runs.to_frame(*LOGGED).height == n_runs
    runs.filter(("metrics.m0", 1.0))
    load(database).filter(("metrics.m0", 1.0), ("tags.t0", "0"))
    runs.metric_histories("m0", "m1")
    selects = [s for s in statements if is_query(s)]
    assert len(selects) == 3 + 8 + 3 + 2 + 2


def test_more_runs_than_one_query_takes(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    n_runs = 4100
    database.add_experiment("train")
    numbers = f"WITH RECURSIVE n(i) AS (VALUES (0) UNION ALL SELECT i + 1 FROM n LIMIT {n_runs})"
    run_id = "printf('%04d', i)"
    values = f"(run_uuid, key, value, timestamp, step, is_nan) SELECT {run_id}, 'm', i, 0, 0, 0"
    database.execute(
        f"{numbers} INSERT INTO runs (run_uuid, experiment_id, status, lifecycle_stage) "
        f"SELECT {run_id}, 1, 'FINISHED', 'active' FROM n",
        f"{numbers} INSERT INTO latest_metrics {values} FROM n",
        f"{numbers} INSERT INTO metrics {values} FROM n",
        f"{numbers} INSERT INTO tags (run_uuid, key, value) SELECT {run_id}, 't', i FROM n",
    )
    runs = load(database)
    statements = trace_statements(monkeypatch)
    assert runs.to_frame("metrics.m", "tags.t", "status").rows() == [
        (float(i), f"{i}", "FINISHED") for i in range(n_runs)
    ]
    assert len([s for s in statements if is_query(s)]) == 2 * 3
    assert runs.metric_histories("m")["value"].to_list() == [float(i) for i in range(n_runs)]
    assert load(database).to_list("params") == [{}] * n_runs


def test_databases_before_mlflow_3_have_no_models(database: Database) -> None:
    database.execute("DROP TABLE logged_models")
    database.add_run(database.add_experiment("train"), "a")
    (run,) = load(database)
    assert run.models == {}


# Databases that cannot be read ---------------------------------------------------------


def test_file_that_is_not_a_database(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    path.write_bytes(b"This is text. " * 1000)
    with pytest.raises(TrackingDirectoryError) as raised:
        find_run_ids(path)
    assert str(raised.value) == (
        f"cannot read {path} as an MLflow database: file is not a database"
    )


def test_pointer_of_git_lfs(tmp_path: Path) -> None:
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'a' * 64}\nsize 128\n"
    (tmp_path / "mlflow.db").write_text(pointer)
    message = (
        f"cannot read {tmp_path / 'mlflow.db'} as an MLflow database: it is a pointer of Git "
        "LFS, not the file itself; run `git lfs pull` in the repository"
    )
    with pytest.raises(TrackingDirectoryError) as raised:
        find_run_ids(tmp_path / "mlflow.db")
    assert str(raised.value) == message
    with pytest.raises(TrackingDirectoryError) as raised:
        find_run_ids(tmp_path)
    assert str(raised.value).startswith(f"{message}; if it is not an MLflow database")


def test_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    path.write_bytes(b"")
    with pytest.raises(
        TrackingDirectoryError, match=r"mlflow.db is not an MLflow database, or its schema"
    ):
        find_run_ids(path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"there is no database '.*mlflow.db'"):
        find_run_ids(tmp_path / "mlflow.db")
    with pytest.raises(StorageError, match=r"there is no database '.*gone"):
        list(iter_run_dirs(tracking_uri=f"sqlite:///{tmp_path}/gone"))


def test_database_of_another_program(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE runs (id INTEGER)")
    with pytest.raises(TrackingDirectoryError) as raised:
        find_run_ids(path)
    assert str(raised.value) == (
        f"{path} is not an MLflow database, or its schema is too old (no such table: experiments). "
        f"If it is an MLflow database, run `mlflow db upgrade sqlite:///{path}`"
    )


def test_old_schema(database: Database) -> None:
    database.add_run(database.add_experiment("train"), "a", metrics={"loss": [(0, 0, 1.0)]})
    database.execute("ALTER TABLE latest_metrics RENAME COLUMN is_nan TO was_nan")
    (run,) = load(database)
    with pytest.raises(TrackingDirectoryError, match=r"too old \(no such column: is_nan\)"):
        _ = run.metrics


def test_damaged_database(database: Database) -> None:
    database.add_experiment("train")
    for number in range(300):
        database.add_run(1, f"{number:032}")
    content = bytearray(database.path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    database.path.write_bytes(content)
    with pytest.raises(
        TrackingDirectoryError, match=r"cannot read .*mlflow.db as an MLflow database: "
    ):
        find_run_ids(database.path)


@pytest.mark.parametrize("filters", [None, "status == FINISHED"])
def test_runs_that_a_damaged_page_hides(database: Database, filters: str | None) -> None:
    database.add_experiment("train")
    for i in range(80):
        database.add_run(1, f"{i:032x}")
    assert len(list(iter_run_dirs(database.path, filters=filters))) == 80
    with closing(sqlite3.connect(database.path)) as connection:
        (size,) = connection.execute("PRAGMA page_size").fetchone()
        select = "SELECT rootpage FROM sqlite_master WHERE name = 'runs'"
        (root,) = connection.execute(select).fetchone()
    content = bytearray(database.path.read_bytes())
    start = (root - 1) * size
    first, second = struct.unpack_from(">HH", content, start + 12)
    content[start + first : start + first + 4] = content[start + second : start + second + 4]
    database.path.write_bytes(content)
    with pytest.raises(TrackingDirectoryError, match="the rows of the table 'runs' are not in ord"):
        list(iter_run_dirs(database.path, filters=filters, on_error="warn"))


@pytest.mark.parametrize("filters", [None, "status == FINISHED"])
def test_runs_that_a_damaged_index_lacks(database: Database, filters: str | None) -> None:
    columns = "run_uuid, name, status, start_time, end_time, lifecycle_stage, artifact_uri"
    database.execute(
        "DROP TABLE runs",
        f"CREATE TABLE runs ({columns}, source_type, experiment_id)",
        "CREATE INDEX of_runs ON runs (run_uuid)",
    )
    database.add_experiment("train")
    database.add_run(1, "a")
    entry = "FROM sqlite_master WHERE name = 'of_runs'"
    database.execute(
        f"CREATE TABLE kept AS SELECT * {entry}", "PRAGMA writable_schema = ON", f"DELETE {entry}"
    )
    database.add_run(1, "b")  # while there is no index
    database.execute("PRAGMA writable_schema = ON", "INSERT INTO sqlite_master SELECT * FROM kept")
    with pytest.raises(TrackingDirectoryError, match="it is damaged: an index lacks the run b; `"):
        list(iter_run_dirs(database.path, filters=filters, on_error="warn"))


def test_name_that_is_not_utf8(database: Database) -> None:
    database.add_run(database.add_experiment("train"), "a")
    database.add_run(database.add_experiment("eval", 2), "b")
    database.execute("UPDATE experiments SET name = CAST(x'ff' AS TEXT) WHERE experiment_id = 1")
    with pytest.raises(RunLoadError) as raised:
        find_run_ids(database.path)
    (failure,) = raised.value.failures
    assert str(failure) == (
        f"{database.path}: experiment 1: experiments.name: expected text, found b'\\xff'; correct "
        "it there, or go on without it by on_error='warn'"
    )
    assert find_run_ids(database.path, on_error="warn") == ["b"]


# Databases that are written to ---------------------------------------------------------


@contextmanager
def writer(database: Database) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(database.path, isolation_level=None)) as connection:
        yield connection


def test_locked_database_is_waited_for(database: Database) -> None:
    database.add_run(database.add_experiment("train"), "a")
    with writer(database) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        connection.execute("UPDATE runs SET status = 'KILLED'")
        found: list[str | None] = []
        reader = threading.Thread(
            target=lambda: found.extend(run.info.status for run in load(database))
        )
        reader.start()
        reader.join(0.3)
        assert found == []
        connection.execute("COMMIT")
        reader.join()
    assert found == ["KILLED"]


@pytest.mark.usefixtures("impatient")
def test_database_that_stays_locked(database: Database) -> None:
    database.add_run(database.add_experiment("train"), "a")
    with writer(database) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StorageError) as raised:
            load(database)
    assert str(raised.value) == (
        f"cannot read the database '{database.path}': database is locked: another program has "
        "held a lock for 60 seconds; try again when it has finished"
    )


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_uncommitted_runs_do_not_show(database: Database, mode: str) -> None:
    database.add_run(database.add_experiment("train"), "a")
    database.execute(f"PRAGMA journal_mode = {mode}")
    with writer(database) as connection:
        connection.execute("BEGIN IMMEDIATE")
        insert = (
            "INSERT INTO runs (run_uuid, experiment_id, lifecycle_stage) VALUES (?, 1, 'active')"
        )
        connection.execute(insert, ("b",))
        assert find_run_ids(database.path) == ["a"]
        connection.execute("COMMIT")
        assert find_run_ids(database.path) == ["a", "b"]


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_sweep_goes_on_while_it_is_read(database: Database, mode: str) -> None:
    database.add_experiment("train")
    database.execute(f"PRAGMA journal_mode = {mode}")
    errors: list[Exception] = []

    def write_runs() -> None:
        try:
            for number in range(60):
                database.add_run(1, f"{number:03}", metrics={"loss": [(0, 0, float(number))]})
        except Exception as exc:
            errors.append(exc)

    sweep = threading.Thread(target=write_runs)
    sweep.start()
    counts = []
    while sweep.is_alive():
        runs = load(database)
        values = runs.to_frame("run_id", ("metrics.loss", None)).rows()
        assert all(value in (None, float(run_id)) for run_id, value in values)
        counts.append(len(runs))
    sweep.join()
    assert errors == []
    assert counts == sorted(counts)
    assert load(database).to_frame("metrics.loss").height == 60


@contextmanager
def as_nobody() -> Iterator[Path]:
    """Yield a directory that other users than root can reach, for `give_up_rights`."""
    directory = Path(tempfile.mkdtemp())
    try:
        yield directory
    finally:
        if os.geteuid() != os.getuid():
            os.seteuid(os.getuid())
        directory.chmod(0o755)
        shutil.rmtree(directory)


def give_up_rights(directory: Path) -> None:
    for path in directory.iterdir():
        path.chmod(0o444)
    directory.chmod(0o555)
    if os.geteuid() == 0:
        os.seteuid(65534)


def test_write_ahead_log_in_a_read_only_directory() -> None:
    with as_nobody() as directory:
        database = Database(directory / "mlflow.db")
        database.add_run(database.add_experiment("train"), "a")
        database.execute("PRAGMA journal_mode = wal")
        give_up_rights(directory)
        assert not os.access(directory, os.W_OK, effective_ids=True)
        assert find_run_ids(database.path) == ["a"]


def test_data_in_the_log_alone_is_not_overlooked() -> None:
    with as_nobody() as directory:
        database = Database(directory / "mlflow.db")
        database.add_run(database.add_experiment("train"), "a")
        database.execute("PRAGMA journal_mode = wal")
        with writer(database) as connection:
            connection.execute("UPDATE runs SET status = 'KILLED'")
            copy = directory / "copy.db"
            for ending in ("", "-wal"):
                shutil.copy(f"{database.path}{ending}", f"{copy}{ending}")
        give_up_rights(directory)
        with pytest.raises(StorageError) as raised:
            find_run_ids(copy)
        assert str(raised.value) == (
            f"cannot read the database '{copy}': unable to open database file: the program that "
            f"wrote {copy}-wal is still running or was interrupted; open the database once with "
            "MLflow or sqlite3, with write permission for the directory"
        )


def test_interrupted_transaction_is_an_error(database: Database) -> None:
    database.add_experiment("train")
    for number in range(100):
        database.add_run(1, f"{number:032}")
    copy = database.path.with_name("copy.db")
    with writer(database) as connection:
        connection.execute("PRAGMA cache_size = 1")  # so that pages reach the file before the end
        connection.execute("BEGIN EXCLUSIVE")
        connection.execute("UPDATE runs SET name = printf('%0200d', 1)")
        for ending in ("", "-journal"):
            shutil.copy(f"{database.path}{ending}", f"{copy}{ending}")
    with pytest.raises(StorageError) as raised:
        find_run_ids(copy)
    assert f"readonly database: the program that wrote {copy}-journal is" in str(raised.value)
    with closing(sqlite3.connect(copy)) as connection:
        connection.execute("SELECT count(*) FROM runs").fetchone()
    assert len(find_run_ids(copy)) == 100


def test_denied_database() -> None:
    with as_nobody() as directory:
        database = Database(directory / "mlflow.db")
        give_up_rights(directory)
        if os.getuid() == 0:
            os.seteuid(0)
        database.path.chmod(0)
        if os.getuid() == 0:
            os.seteuid(65534)
        with pytest.raises(StorageError, match=r"cannot read the database .*unable to open"):
            find_run_ids(database.path)


# The same in the file store ------------------------------------------------------------


@pytest.fixture
def both(tracking_dir: TrackingDir, tmp_path: Path) -> Callable[[], list[RunCollection[Run]]]:
    """The same runs in a file store and in a database."""
    database = Database(tmp_path / "database/mlflow.db")
    histories = {
        "loss": [(0, 10, 1.0), (2, 30, 0.25), (1, 20, 0.5)],
        "val/é": [(0, 10, math.nan), (0, 10, 2.0), (-1, 10, -math.inf)],
        "end": [(5, 1, math.inf)],
        "nan": [(0, 1, 1.0), (1, 1, math.nan)],
    }
    texts = {"empty": "", "lines": "a\n\nb\n", "group/x": "1e3", "é": "${a}"}
    for number in (1, 2):
        experiment = tracking_dir.add_experiment(f"train_{number}", f"{number}")
        database.add_experiment(f"train_{number}", number)
        for inner in range(3):
            run_id = f"{number}{inner}"
            metrics = dict(list(histories.items())[inner:])
            files = {
                key: "".join(f"{time} {value} {step}\n" for step, time, value in points)
                for key, points in metrics.items()
            }
            status, end = (("3", "FINISHED"), 2), (("1", "RUNNING"), None)
            (code, name), end_time = status if inner else end
            run_dir = tracking_dir.add_run(
                experiment, run_id, f"seed: {inner}", files, status=int(code), end_time=end_time
            )
            for key, text in texts.items():
                write(run_dir / "params" / key, text)
                write(run_dir / "tags" / key, text)
            database.add_run(
                *(number, run_id),
                metrics=metrics,
                params=texts,
                tags=texts,
                status=name,
                end_time=end_time,
            )
            write(database.path.parent / f"mlruns/{number}/{run_id}/{CONFIG}", f"seed: {inner}")
    places = (tracking_dir.root, database.path)
    return lambda: [Run.load(iter_run_dirs(place)) for place in places]


def test_both_stores_return_the_same(both: Callable[[], list[RunCollection[Run]]]) -> None:
    files, rows = both()
    facts = ("run_id", "job_name", "experiment_id", "status", "run_name", "start_time", "end_time")
    assert files.to_frame(*facts).equals(rows.to_frame(*facts))
    assert rows[0].info.status == "RUNNING"
    names = ("loss", "val/é", "end", "nan")
    assert files.metric_histories(*names).equals(rows.metric_histories(*names))
    for of_file, row in zip(files, rows, strict=True):
        assert of_file.metrics == pytest.approx(row.metrics, nan_ok=True)
        assert list(of_file.metrics) == list(row.metrics)
        assert (of_file.params, of_file.tags) == (row.params, row.tags)
        assert of_file["seed"] == row["seed"]
    files, rows = both()
    keys = [*(f"metrics.{name}" for name in names), "params.lines", "params.no", "tags.group/x"]
    defaults = dict.fromkeys(keys)
    assert files.to_frame(*keys, defaults=defaults).equals(rows.to_frame(*keys, defaults=defaults))


# Artifacts -----------------------------------------------------------------------------


def test_runs_without_artifacts_are_logged_once(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    database.add_experiment("train")
    for number in range(50):
        database.add_run(1, f"{number:02}")
    for number in (0, 1):
        (database.path.parent / f"mlruns/1/{number:02}/artifacts").mkdir(parents=True)
    with caplog.at_level(logging.WARNING):
        runs = load(database)
    assert [run.to_dict() for run in runs] == [{}] * 50
    assert caplog.messages == [
        "48 runs have no artifacts, so their configurations are empty. Those of the first, 02, "
        "were recorded at '/somewhere/else/mlruns/1/02/artifacts'; looked for /somewhere/else/"
        f"mlruns/1/02/artifacts/.hydra/config.yaml and below {database.path.parent} (in "
        "'mlruns/1' and 'mlartifacts/1', or as recorded). If they are elsewhere, give artifact_root"
    ]


# Experiments that cannot be located --------------------------------------------------------


@pytest.mark.parametrize(
    "location", ["sftp://files.example/1", "https://files.example/1", "nothing://like/this"]
)
def test_one_experiment_that_cannot_be_located_is_one_failure(
    database: Database, caplog: pytest.LogCaptureFixture, location: str
) -> None:
    for number, (name, place) in enumerate((("other", location), ("train", "./mlruns/2")), 1):
        database.add_experiment(name, number, artifact_location=place)
        database.add_run(number, f"r{number}", artifact_uri=f"{place}/r{number}/artifacts")
    write(database.path.parent / "mlruns/2/r2/artifacts/.hydra/config.yaml", "seed: 1")
    assert get_experiment_names(database.path) == ["other", "train"]
    assert find_run_ids(database.path, "train") == ["r2"]
    assert caplog.messages == []
    with pytest.raises(RunLoadError) as raised:
        find_run_ids(database.path)
    (failure,) = raised.value.failures
    assert failure.path == f"{database.path}: experiment 'other'"
    for names in (None, ["other", "train"]):
        caplog.clear()
        assert find_run_ids(database.path, names, on_error="warn") == ["r2"]
        assert caplog.messages[0].startswith(f"skipped: {database.path}: experiment 'other': ")
    assert find_run_ids(database.path, "other", on_error="warn") == []
    with pytest.raises(NotFoundError, match="there is no experiment 'othr'"):
        find_run_ids(database.path, "othr", on_error="warn")


def test_one_run_that_cannot_be_located_is_one_failure(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    database.add_experiment("train", artifact_location="./mlruns/1")
    database.add_run(1, "a", artifact_uri="./mlruns/1/a/artifacts")
    database.add_run(1, "b", artifact_uri="sftp://files.example/1/b/artifacts")
    write(database.path.parent / "mlruns/1/a/artifacts/.hydra/config.yaml", "seed: 1")
    with pytest.raises(RunLoadError, match="run b: the artifacts were recorded at 'sftp://files"):
        find_run_ids(database.path)
    assert find_run_ids(database.path, on_error="warn") == ["a"]
    assert f"skipped: {database.path}: run b: " in caplog.text
