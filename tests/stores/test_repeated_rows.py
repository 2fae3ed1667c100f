"""Rows that occur twice, in databases without the primary keys that MLflow creates."""

from __future__ import annotations

import copy
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kedro_hydraflow import Run, RunCollection, get_experiment_names, iter_run_dirs
from kedro_hydraflow.errors import MetadataError, RunLoadError
from kedro_hydraflow.run_info import get_record, get_store
from kedro_hydraflow.source import Source
from kedro_hydraflow.stores import database_store, open_store
from tests.stores.conftest import FAKE, FakeClient
from tests.stores.test_odd_records import TABLES

ADVICE = "correct it there, or go on without it by on_error='warn'"
ONE_EXPERIMENT = f"expected one experiment with this ID, found 2; {ADVICE}"
ONE_RUN = f"expected one run with this ID, found 2; {ADVICE}"

Insert = Callable[..., None]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database without primary keys: runs a and b in "train", c in "eval"."""
    path = tmp_path / "mlflow.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        for table, columns in TABLES.items():
            connection.execute(f"CREATE TABLE {table} ({', '.join(columns)})")
    insert = make_insert(path)
    for experiment_id, name in ((1, "train"), (2, "eval")):
        insert("experiments", experiment_id, name, "", "active")
    for run_id, experiment_id in (("a", 1), ("b", 1), ("c", 2)):
        insert("runs", run_id, "n", "FINISHED", 1, 2, "active", f"/x/{run_id}", experiment_id)
        insert("params", "p", "v", run_id)
        insert("tags", "t", "v", run_id)
        for table in ("metrics", "latest_metrics"):
            insert(table, "acc", 0.5, 1, 1, 0, run_id)
    return path


def make_insert(path: Path) -> Insert:
    def insert(table: str, *row: Any) -> None:
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", row)

    return insert


@pytest.fixture
def insert(path: Path) -> Insert:
    return make_insert(path)


def load(path: object, **options: Any) -> RunCollection[Run]:
    found = iter_run_dirs(path, on_error="warn", **options)
    return Run.load(found, on_error="warn")


def get_ids(runs: RunCollection[Run]) -> list[tuple[str, str | None]]:
    return [(run.info.run_id, run.info.job_name) for run in runs]


def get_failures(**options: Any) -> list[str]:
    with pytest.raises(RunLoadError) as raised:
        list(iter_run_dirs(**options))
    return [str(failure) for failure in raised.value.failures]


def test_a_database_without_keys_is_read(path: Path) -> None:
    runs = load(path)
    assert get_ids(runs) == [("c", "eval"), ("a", "train"), ("b", "train")]
    assert [run.metrics for run in runs] == [{"acc": 0.5}] * 3


@pytest.mark.parametrize("experiment_id", [1, "1"])
@pytest.mark.parametrize("name", ["train", "other"])
@pytest.mark.parametrize("stage", ["active", "deleted"])
def test_an_experiment_that_is_there_twice(
    path: Path, insert: Insert, experiment_id: object, name: str, stage: str
) -> None:
    insert("experiments", experiment_id, name, "/y", stage)
    expected = [f"{path}: experiment 1: {ONE_EXPERIMENT}"]
    assert get_failures(tracking_dir=path) == expected
    assert get_failures(tracking_dir=path, experiment_names="train") == expected
    assert get_failures(tracking_dir=path, filters="status == FINISHED") == expected
    assert get_ids(load(path)) == [("c", "eval")]
    assert get_ids(load(path, experiment_names="eval")) == [("c", "eval")]
    assert get_experiment_names(path, on_error="warn") == ["eval"]
    with pytest.raises(RunLoadError, match="expected one experiment with this ID, found 2"):
        get_experiment_names(path)
    assert len(list(iter_run_dirs(path, experiment_names="eval"))) == 1


def test_an_experiment_that_is_deleted_twice_has_no_runs(path: Path, insert: Insert) -> None:
    for name in ("old", "older"):
        insert("experiments", 3, name, "", "deleted")
    insert("runs", "d", "n", "FINISHED", 1, 2, "active", "/x/d", 3)
    assert get_ids(load(path)) == [("c", "eval"), ("a", "train"), ("b", "train")]


@pytest.mark.parametrize("experiment_id", [1, 2])
@pytest.mark.parametrize("status", ["FINISHED", "FAILED"])
def test_a_run_that_is_there_twice(
    path: Path, insert: Insert, experiment_id: int, status: str
) -> None:
    insert("runs", "a", "n", status, 1, 2, "active", "/x/a", experiment_id)
    expected = [f"{path}: run a: {ONE_RUN}"]
    assert get_failures(tracking_dir=path) == expected
    assert get_failures(tracking_dir=path, experiment_names="train") == expected
    assert get_failures(tracking_dir=path, filters="status == FINISHED") == expected
    assert get_failures(tracking_dir=path, filters="metrics.acc > 0 and params.p == v") == expected
    assert get_ids(load(path)) == [("c", "eval"), ("b", "train")]


def test_what_was_read_of_a_run_before_it_was_there_twice(path: Path, insert: Insert) -> None:
    records = [get_record(run.info) for run in load(path, experiment_names="train")]
    store = get_store(load(path)[0].info)
    insert("runs", "a", "n", "FAILED", 1, 2, "active", "/x/a", 1)
    facts = store.read_facts(records)
    assert str(facts[0]) == f"{path}: run a: {ONE_RUN}"
    assert isinstance(facts[1], dict)
    assert facts[1]["status"] == "FINISHED"


@pytest.mark.parametrize(
    ("table", "row", "field", "kind", "shown"),
    [
        ("params", ("p", "other"), "p", "params", "v"),
        ("params", ("p", "v"), "p", "params", "v"),
        ("tags", ("t", None), "t", "tags", "v"),
        ("latest_metrics", ("acc", 0.9, 9, 9, 0), "acc", "metrics", 0.5),
        ("latest_metrics", ("acc", 0.0, 1, 1, 1), "acc", "metrics", 0.5),
    ],
)
def test_a_value_that_is_there_twice(
    path: Path, insert: Insert, table: str, row: tuple[Any, ...], field: str, kind: str, shown: Any
) -> None:
    insert(table, *row, "a")
    insert(table, f"{field}2", *row[1:], "a")
    of_eval, of_a, of_b = runs = Run.load(iter_run_dirs(path))
    with pytest.raises(MetadataError) as raised:
        getattr(of_a, kind)
    error = f"expected one row, found 2; {ADVICE}"
    assert str(raised.value) == f"{path}: run a: {table} with the key {field!r}: {error}"
    key = f"{kind}.{field}"
    for read in (lambda: of_a.get(key), lambda: runs.to_frame(key)):
        with pytest.raises(MetadataError) as raised:
            read()
        assert str(raised.value) == f"{path}: run a: {table}.value of {field!r}: {error}"
    assert getattr(of_eval, kind) == getattr(of_b, kind) == {field: shown}
    others = load(path)  # for which it is a warning
    assert others.to_frame(key).rows() == [(shown,), (None,), (shown,)]
    assert [*getattr(others[1], kind)] == [f"{field}2"]


def test_more_runs_than_one_query_takes(
    path: Path, insert: Insert, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_store, "BATCH_SIZE", 1)
    insert("params", "p", "other", "b")
    of_eval, of_a, of_b = Run.load(iter_run_dirs(path))
    assert of_eval.params == of_a.params == {"p": "v"}
    with pytest.raises(MetadataError, match="run b: params with the key 'p': expected one row"):
        _ = of_b.params
    insert("runs", "a", "n", "FAILED", 1, 2, "active", "/x/a", 2)
    assert get_ids(load(path)) == [("c", "eval"), ("b", "train")]


def test_the_name_of_an_experiment_that_is_there_twice(path: Path, insert: Insert) -> None:
    info = load(path, experiment_names="eval")[0].info
    store, record = get_store(info), get_record(info)
    nameless = replace(record, experiment=replace(record.experiment, experiment_name=None))
    assert store.name_experiment(nameless).experiment_name == "eval"
    insert("experiments", 2, "other", "", "active")
    store = open_store(Source(path))
    with pytest.raises(MetadataError) as raised:
        store.name_experiment(nameless)
    what = "expected one run and experiment with this ID, found 2"
    assert str(raised.value) == f"{path}: run c: {what}; {ADVICE}"


# Servers ----------------------------------------------------------------------------------


def load_served() -> list[tuple[str, str | None]]:
    return get_ids(load(None, tracking_uri=FAKE))


def test_what_is_on_two_pages_is_there_once(client: FakeClient) -> None:
    expected = load_served()
    assert len(expected) == 6
    client.experiments += client.experiments[1:]
    client.runs += copy.deepcopy(client.runs)
    client.runs[-1].info.status = "RUNNING"  # set between the pages
    assert load_served() == expected
    assert len(list(iter_run_dirs(tracking_uri=FAKE))) == 6


@pytest.mark.parametrize("differs", ["name", "artifact_location"])
def test_a_server_with_two_experiments_of_an_id(client: FakeClient, differs: str) -> None:
    other = copy.deepcopy(client.experiments[1])
    setattr(other, differs, "other")
    client.experiments.append(other)
    assert get_failures(tracking_uri=FAKE) == [f"{FAKE}: experiment 7: {ONE_EXPERIMENT}"]
    assert load_served() == [("e" * 32, "eval")]


@pytest.mark.parametrize(("field", "value"), [("experiment_id", "8"), ("artifact_uri", "/other")])
def test_a_server_with_two_runs_of_an_id(client: FakeClient, field: str, value: str) -> None:
    expected = load_served()
    other = copy.deepcopy(client.runs[2])
    setattr(other.info, field, value)
    client.runs += [other, client.runs[2]]
    assert get_failures(tracking_uri=FAKE) == [f"{FAKE}: run {2:032x}: {ONE_RUN}"]
    assert load_served() == [run for run in expected if run[0] != f"{2:032x}"]
