"""What a database leaves out of a listing, against the filters themselves."""

from __future__ import annotations

import itertools
import math
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from kedro_hydraflow.errors import KedroHydraflowError
from kedro_hydraflow.filters import Conditions, parse_filters
from kedro_hydraflow.run_info import RunInfo, make_info
from kedro_hydraflow.source import Source
from kedro_hydraflow.stores import open_store

T = 1_767_225_600_000
"""2026-01-01 in milliseconds since 1970."""

TYPES = ("", "TEXT", "INTEGER", "REAL", "NUMERIC", "BLOB", "VARCHAR(20) COLLATE NOCASE")

STATUSES = ["FINISHED", "FAILED", "finished", "3", 3, "", "unknown", None, b"FINISHED", 1.5]
TIMES = [T, T - 1, T + 2, T - 1.0, T + 0.5, str(T), f"{T}.0", 0, -T, 10**14, 10**17, -(10**17),
         -math.inf, math.inf, "null", "", "x", None, b"x"]  # fmt: skip
VALUES = [0.0, 1.0, 1, 0.5, -1.0, sys.float_info.max, -sys.float_info.max, "0.5", "x", None, b"1"]
ARE_NAN = [0, 1, 2, -1, None, "", "x", 0.5, b""]
TEXTS = ["a", "A", "a ", "0.10", 0.1, "0.1", "", None, b"a", "1", 1, "1.0"]

Row = dict[str, Any]

USUAL: Row = {"status": "FINISHED", "start_time": T, "end_time": T, "metric": None, "param": ()}
ROWS: list[Row] = [
    *({**USUAL, "status": value} for value in STATUSES),
    *({**USUAL, name: value} for name in ("start_time", "end_time") for value in TIMES),
    *({**USUAL, "metric": pair} for pair in itertools.product(VALUES, ARE_NAN)),
    *({**USUAL, "param": (value,)} for value in TEXTS),
]
FILTERS = [
    "status == FINISHED", "status in [FAILED, RUNNING]", "start_time > 2026-01-01",
    "start_time >= 2026-01-01", "end_time < 2026-01-01", "end_time <= 2026-01-01",
    "start_time == 2026-01-01 00:00", "end_time >= '2025-12-31 23:59:59.999500'",
    "run_id in [r1, r2]",
    "metrics.m > 0.5", "metrics.m <= 0", "metrics.m == 1", "metrics.m < 9007199254740992",
    "params.p == a", "params.p == '0.10'", "params.p in ['1', b]", "tags.p == a",
]  # fmt: skip


def write(path: Path, rows: list[Row], declared: str = "NUMERIC") -> None:
    """Write a database whose columns are declared as another program might."""
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        run = database.execute
        run("PRAGMA synchronous = OFF")
        run("BEGIN")
        run("CREATE TABLE experiments (experiment_id, name, artifact_location, lifecycle_stage)")
        run("INSERT INTO experiments VALUES (1, 'e', '', 'active')")
        facts = f"status {declared}, start_time {declared}, end_time {declared}"
        others = "run_uuid TEXT, experiment_id, name, artifact_uri, lifecycle_stage"
        run(f"CREATE TABLE runs ({others}, {facts})")
        run(f"CREATE TABLE latest_metrics (key, run_uuid, value {declared}, is_nan {declared})")
        for table in ("params", "tags"):
            run(f"CREATE TABLE {table} (key, run_uuid, value {declared})")
        for i, row in enumerate(rows):
            columns = (f"r{i}", row["status"], row["start_time"], row["end_time"])
            run("INSERT INTO runs VALUES (?, 1, 'n', '', 'active', ?, ?, ?)", columns)
            if row["metric"] is not None:
                run("INSERT INTO latest_metrics VALUES ('m', ?, ?, ?)", (f"r{i}", *row["metric"]))
            for value in row["param"]:
                for table in ("params", "tags"):
                    run(f"INSERT INTO {table} VALUES ('p', ?, ?)", (f"r{i}", value))
        run("COMMIT")


@pytest.fixture(scope="module", params=TYPES)
def odd(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with values of every kind in columns of each type."""
    path = tmp_path_factory.mktemp("odd") / "mlflow.db"
    write(path, ROWS, request.param)
    return path


@pytest.mark.parametrize("text", FILTERS)
def test_no_run_is_left_out_that_may_be_selected_or_is_an_error(odd: Path, text: str) -> None:
    store = open_store(Source(odd))
    experiments = store.find_experiments().matching
    narrowed = store.list_narrowed(experiments, Conditions(parse_filters(text)).clauses)
    assert narrowed is not None
    kept = {name for part in narrowed.experiments for name in part.names}

    found = store.read_runs(store.list_runs(experiments).experiments)
    records = found.records
    assert len(records) + len(found.failures) == len(ROWS)
    name = text.partition(" ")[0]  # a run is only read for its malformed facts if they may matter
    malformed = {f"r{i}" for i, row in enumerate(ROWS) if isinstance(row.get(name), bytes)}
    wanted = {r.run_id for r in records if may_be_wanted(make_info(r, store), text)}
    assert wanted | malformed <= kept
    assert len(kept) < len(ROWS)


def may_be_wanted(info: RunInfo, text: str) -> bool:
    conditions = Conditions(parse_filters(text))
    try:
        selected = conditions.select_infos([info])
    except (KedroHydraflowError, TypeError):  # what is no number
        return True
    return bool(selected.runs or selected.failures)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("status == FINISHED", ["r0"]),
        ("status in [RUNNING, FAILED]", ["r1", "r2"]),
        ("start_time > 2026-01-01", ["r1"]),
        ("end_time < 2026-01-01", ["r0"]),
        ("run_id in [r1, r9]", ["r1"]),
        ("metrics.m > 0.5", ["r1"]),
        ("metrics.m < 0.5", []),
        ("params.p == b", ["r1"]),
        ("params.p in [a, b] and metrics.m > 0.5 and status == FAILED", ["r1"]),
        ("tags.absent == a", []),
    ],
)
def test_what_is_left_out(tmp_path: Path, text: str, expected: list[str]) -> None:
    runs = [
        {"status": status, "start_time": T + i * 9 - 5, "end_time": T + i * 9 - 5, "metric": metric}
        for i, (status, metric) in enumerate(
            [("FINISHED", (0.5, 0)), ("FAILED", (1.0, 0)), ("RUNNING", (0.0, 1))]
        )
    ]
    runs[2] |= {"start_time": None, "end_time": None}
    write(
        tmp_path / "mlflow.db",
        [{**r, "param": p} for r, p in zip(runs, ["a", "b", ""], strict=True)],
    )
    store = open_store(Source(tmp_path / "mlflow.db"))
    experiments = store.find_experiments().matching
    narrowed = store.list_narrowed(experiments, Conditions(parse_filters(text)).clauses)
    assert narrowed is not None
    assert narrowed.is_narrowed
    assert [name for part in narrowed.experiments for name in part.names] == expected
