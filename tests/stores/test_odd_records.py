"""Databases and servers with values of any type in any place.

A load ends in values of the documented types, or in errors that say where the value is.
"""

from __future__ import annotations

import math
import random
import sqlite3
import sys
from contextlib import closing, suppress
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kedro_hydraflow import Run, RunCollection, get_experiment_names, iter_run_dirs
from kedro_hydraflow.errors import (
    KedroHydraflowError,
    MetadataError,
    MissingKeyError,
    RunLoadError,
)
from kedro_hydraflow.finding import Search, find_runs
from kedro_hydraflow.run_info import LOGGED_KINDS, RECORDED_FACTS, read_histories, read_logged
from kedro_hydraflow.source import Source
from tests.conftest import DATABASE_SWEEP
from tests.stores.conftest import FAKE, FakeClient, make_metric

ODD: list[Any] = [
    *(None, "", b"", b"\xff\0", "abc", "é\u2028", "x" * 5000, "a\0b", "..", "../../x", "/etc"),
    *(0, 1, -1, 2**63 - 1, -(2**63), 0.0, -1.5, 1e308, sys.float_info.max, math.inf, math.nan),
    *(
        "0",
        "nan",
        "memory://",
        "http://[",
        "file://%zz/",
        "mlflow-artifacts:/1",
        "dbfs:/x",
        "C:\\x",
    ),
    *("deleted", "active", "RUNNING", "${x}", "~", "\ud800".encode("utf-8", "surrogatepass")),
]

TABLES = {
    "experiments": ("experiment_id", "name", "artifact_location", "lifecycle_stage"),
    "runs": (
        *("run_uuid", "name", "status", "start_time", "end_time", "lifecycle_stage"),
        *("artifact_uri", "experiment_id"),
    ),
    "params": ("key", "value", "run_uuid"),
    "tags": ("key", "value", "run_uuid"),
    "metrics": ("key", "value", "timestamp", "step", "is_nan", "run_uuid"),
    "latest_metrics": ("key", "value", "timestamp", "step", "is_nan", "run_uuid"),
    "logged_models": (
        *("model_id", "name", "source_run_id", "artifact_location", "creation_timestamp_ms"),
        *("lifecycle_stage", "experiment_id"),
    ),
}
"""The columns, here without types, so that SQLite converts nothing."""


def make_rows(number: int) -> dict[str, list[Any]]:
    """Return the rows of a run."""
    run_id = f"{number:032x}"
    return {
        "runs": [run_id, "n", "FINISHED", 1, 2, "active", "", 7000],
        "params": ["p", "v", run_id],
        "tags": ["t", "v", run_id],
        "metrics": ["acc", 0.5, 1, 1, 0, run_id],
        "latest_metrics": ["acc", 0.5, 1, 1, 0, run_id],
        "logged_models": [f"m-{run_id}", "m", run_id, "", 1, "active", 7000],
    }


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A database with a run for each odd value in each column of each table."""
    rows: list[tuple[str, list[Any]]] = [("experiments", [7000, "train", "", "active"])]
    number = 0
    for table, columns in TABLES.items():
        for position in range(len(columns)):
            for odd in ODD:
                number += 1
                if table == "experiments":
                    row = [number + 1, f"e{number}", "", "active"]
                    rows.append((table, [*row[:position], odd, *row[position + 1 :]]))
                    continue
                of_run = make_rows(number)
                of_run[table][position] = odd
                rows += of_run.items()
    path = tmp_path / "mlflow.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA synchronous = OFF")
        for table, columns in TABLES.items():
            connection.execute(f"CREATE TABLE {table} ({', '.join(columns)})")
            if "run_uuid" in columns and table != "runs":
                connection.execute(f"CREATE INDEX i_{table} ON {table} (run_uuid)")
        connection.execute("CREATE INDEX i_runs ON runs (run_uuid)")
        for table, row in rows:
            connection.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", row)
        connection.execute("UPDATE tags SET value = CAST(x'ff41' AS TEXT) WHERE rowid = 7")
    return path


def check_values(runs: RunCollection[Run]) -> None:
    """Assert that what is known of runs has the documented types."""
    infos = [run.info for run in runs]
    for info in infos:
        assert type(info.run_id) is type(info.experiment_id) is str
        for name in ("status", "run_name", "job_name", "lifecycle_stage"):
            assert isinstance(getattr(info, name), (str, type(None))), name
        for name in ("start_time", "end_time"):
            assert isinstance(getattr(info, name), (datetime, type(None))), name
    for kind, of_kind in (("metrics", float), ("params", str), ("tags", str)):
        for values in read_logged(infos, kind):
            assert all(type(key) is str for key in values)
            assert all(type(value) is of_kind for value in values.values()), values
    for points in read_histories(infos, "acc"):
        assert not isinstance(points, Exception)
        assert all([*map(type, point)] == [int, int, float] for point in points or [])
    logged = (("metrics.acc", None), ("params.p", None), ("tags.t", None))
    frame = runs.to_frame("run_id", "job_name", "status", "start_time", "end_time", *logged)
    assert frame.height == len(runs)
    types = [f"{dtype}" for dtype in frame.dtypes]
    times = ["Datetime(time_unit='us', time_zone='UTC')"] * 2
    assert types == ["String", "String", "String", *times, "Float64", "String", "String"]
    assert runs.metric_histories("acc").height > 30


def test_a_database_is_read_as_far_as_it_can_be(
    database: Path, caplog: pytest.LogCaptureFixture
) -> None:
    runs = Run.load(iter_run_dirs(database, on_error="warn"), on_error="warn")
    assert len(runs) > 800
    check_values(runs)
    assert "train" in get_experiment_names(database, on_error="warn")
    logged = "\n".join(caplog.messages)
    for field in (
        *("experiments.experiment_id", "experiments.name", "experiments.artifact_location"),
        *("runs.run_uuid", "runs.artifact_uri", "runs.status", "runs.run_name"),
        *("params with the key 'p'", "tags with the key 't'", "latest_metrics with the key 'acc'"),
        *("metrics with the key 'acc'", "expected text as key", "expected an integer"),
        *("expected start_time in milliseconds", "expected end_time in milliseconds"),
    ):
        assert field in logged, field


def test_an_error_says_where_the_value_is(database: Path) -> None:
    with pytest.raises(RunLoadError) as raised:
        Run.load(iter_run_dirs(database))
    assert all(str(database) in str(failure) for failure in raised.value.failures)
    infos = find_runs(Search(Source(database), on_error="warn")).runs
    found = [value for kind in LOGGED_KINDS for value in read_logged(infos, kind)]
    found += [history for history in read_histories(infos, "acc") if history is not None]
    errors = [value for value in found if type(value) not in (dict, list)]
    assert len(errors) > 50
    for error in errors:
        assert isinstance(error, MetadataError)
        assert str(error).startswith(f"{database}: run ")
        assert ": expected " in str(error)
        assert str(error).endswith("; correct it there, or go on without it by on_error='warn'")


def test_a_database_with_other_bytes(tmp_path: Path) -> None:
    content = (DATABASE_SWEEP / "mlflow.db").read_bytes()
    path = tmp_path / "mlflow.db"
    rng = random.Random(0)
    n_loaded = 0
    errors = []
    for case in range(40):
        changed = bytearray(content[: rng.randrange(len(content)) if case % 8 == 0 else None])
        for _ in range(rng.choice([1, 5, 50, 500])):
            changed[rng.randrange(len(changed))] = rng.choice([0, 255, rng.randrange(256)])
        path.write_bytes(changed)
        try:
            runs = Run.load(iter_run_dirs(path, on_error="warn"), on_error="warn")
            if len(runs):
                runs.to_frame("run_id", "job_name", ("metrics.accuracy", None), ("tags.t", None))
                with suppress(MissingKeyError):
                    runs.metric_histories("accuracy")
            n_loaded += 1
        except KedroHydraflowError as exc:
            errors.append(str(exc))
    assert all(str(path) in error for error in errors)
    assert min(n_loaded, len(errors)) > 5


def test_models_of_odd_records(database: Path) -> None:
    runs = Run.load(iter_run_dirs(database, on_error="warn"), on_error="warn")
    n_columns = sum(len(c) for table, c in TABLES.items() if table != "logged_models")
    n_before = n_columns * len(ODD)
    names: set[object] = set()
    errors = []
    for run in (run for run in runs if run.info.run_id > f"{n_before:032x}"):
        try:
            names.update(run.models)
        except KedroHydraflowError as exc:  # noqa: PERF203 - it is of this run alone
            errors.append(str(exc))
    assert all(type(name) is str for name in names)
    assert {"m", "abc", "1", "-1.5", ""} <= names
    assert all("a host that only the tracking data names" in error for error in errors)


def test_a_server_is_read_as_far_as_it_can_be(
    client: FakeClient, caplog: pytest.LogCaptureFixture
) -> None:
    client.largest_page = 1000
    for number, odd in enumerate(ODD):
        location = str(client.root)
        client.experiments += [
            SimpleNamespace(experiment_id=odd, name="e", artifact_location=location),
            SimpleNamespace(experiment_id=f"{number}1", name=odd, artifact_location=location),
            SimpleNamespace(experiment_id=f"{number}2", name="e", artifact_location=odd),
        ]
        for name in ("run_id", *RECORDED_FACTS, "artifact_uri"):
            make_run(client, **{name: odd})
        for kind in LOGGED_KINDS:
            run = make_run(client)
            getattr(run.data, kind).update({"acc": odd, "p": odd, "t": odd, odd: "v"})
        run_id = make_run(client).info.run_id
        client.histories[run_id, "acc"] = [make_metric(odd, 1), make_metric(0.5, 2)]
        run_id = make_run(client).info.run_id
        client.histories[run_id, "acc"] = [make_metric(0.5, odd), make_metric(0.5, 1)]
    runs = Run.load(iter_run_dirs(tracking_uri=FAKE, on_error="warn"), on_error="warn")
    assert len(runs) > 300
    check_values(runs)
    assert "train" in get_experiment_names(tracking_uri=FAKE, on_error="warn")
    logged = "\n".join(caplog.messages)
    for field in (
        *("experiments.experiment_id", "experiments.name", "experiments.artifact_location"),
        *("runs.run_uuid", "runs.artifact_uri", "runs.status", "metrics with the key 'acc'"),
        *("params with the key 'p'", "expected text as key", "expected an integer"),
    ):
        assert field in logged, field


def make_run(client: FakeClient, **info: Any) -> Any:
    """Add a run to the experiment "train"."""
    run_id = f"{len(client.runs) + 100:032x}"
    recorded = dict.fromkeys(RECORDED_FACTS, None)
    recorded = {**recorded, "run_id": run_id, "experiment_id": "7", "artifact_uri": "", **info}
    recorded["lifecycle_stage"] = info.get("lifecycle_stage", "active")
    data = SimpleNamespace(metrics={"acc": 0.5}, params={"p": "v"}, tags={"t": "v"})
    client.runs.append(SimpleNamespace(info=SimpleNamespace(**recorded), data=data))
    return client.runs[-1]
