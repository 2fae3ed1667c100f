"""Databases and servers apply filters while they list runs: what is read then, and what is said."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kedro_hydraflow import (
    HydraflowRunCollectionDataset,
    HydraflowRunDataset,
    Run,
    iter_run_dirs,
    iter_runs,
)
from kedro_hydraflow.errors import FilterError, RunLoadError
from kedro_hydraflow.stores.base import Store
from kedro_hydraflow.stores.server_store import ServerStore
from kedro_hydraflow.stores.sqlite_file import SqliteFile
from kedro_hydraflow.stores.sqlite_store import SqliteStore
from tests.conftest import Database, write
from tests.stores.conftest import FAKE, FakeClient

CONFIG = "artifacts/.hydra/config.yaml"
N_RUNS = 40

Location = dict[str, str]


def make_id(number: int) -> str:
    return f"{number:032x}"


def fill(database: Database, folder: Path) -> None:
    """Write two experiments: a FAILED run in ten, and deleted ones; half have a metric `loss`."""
    for number, name in ((1, "train"), (2, "eval")):
        database.add_experiment(name, number)
    for i in range(N_RUNS):
        experiment = 1 + i % 2
        database.add_run(
            experiment,
            make_id(i),
            metrics={"loss": [(0, 0, i / N_RUNS)]} if i % 4 < 2 else {},
            params={"model": "mlp" if i % 3 else "MLP", "lr": "auto" if i == 7 else "0.1"},
            status="FAILED" if i % 10 == 0 else "FINISHED",
            start_time=1_767_225_600_000 + i * 86_400_000,
            end_time=None,
            lifecycle_stage="deleted" if i % 20 == 0 else "active",
        )
        write(folder / str(experiment) / make_id(i) / CONFIG, f"seed: {i}\n")


def fill_client(client: FakeClient) -> None:
    """Give the server the same runs."""
    client.experiments.clear()
    client.runs.clear()
    client.add_experiment("1", "train")
    client.add_experiment("2", "eval")
    client.largest_page = 5
    for i in range(N_RUNS):
        client.add_run(
            str(1 + i % 2),
            make_id(i),
            "deleted" if i % 20 == 0 else "active",
            metrics={"loss": i / N_RUNS} if i % 4 < 2 else {},
            params={"model": "mlp" if i % 3 else "MLP", "lr": "auto" if i == 7 else "0.1"},
        )
        info = client.runs[-1].info
        info.status = "FAILED" if i % 10 == 0 else "FINISHED"
        info.start_time = 1_767_225_600_000 + i * 86_400_000
        write(client.root / info.experiment_id / make_id(i) / CONFIG, f"seed: {i}\n")


@pytest.fixture(params=["database", "server"])
def location(request: pytest.FixtureRequest, tmp_path: Path, client: FakeClient) -> Location:
    """The runs in a database, or on a server."""
    if request.param == "server":
        fill_client(client)
        return {"tracking_uri": FAKE}
    database = Database(tmp_path / "db/mlflow.db")
    fill(database, tmp_path / "db/mlruns")
    return {"tracking_uri": f"sqlite:///{database.path}"}


@pytest.fixture
def without_narrowing(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    def turn_off() -> None:
        for store in (SqliteStore, ServerStore):
            monkeypatch.setattr(store, "list_narrowed", Store.list_narrowed)

    return turn_off


def load_seeds(location: Location, filters: Any, **options: Any) -> list[int]:
    return Run.load(iter_run_dirs(**location, filters=filters, **options)).to_list("seed")


# The same runs, whoever leaves some out ---------------------------------------------------


@pytest.mark.parametrize(
    "filters",
    [
        "status == FAILED",
        "status in [failed, RUNNING]",
        "metrics.loss < 0.3",
        "metrics.loss == 0.4",
        "params.model == mlp",
        "params.model == mlp and metrics.loss > 0.5",
        "params.lr == '0.1' and status == FINISHED",
        "start_time > 2026-01-31",
        "start_time >= 2026-01-31 and end_time is null",
        "start_time < 2026-01-05",
        f"run_id in [{make_id(3)}, {make_id(4)}, {make_id(99)}]",
        "job_name == eval and metrics.loss >= 0.5 and seed > 25",
        "status != FAILED and metrics.loss > 0.8",
    ],
)
def test_the_runs_are_the_same(
    location: Location, without_narrowing: Callable[[], None], filters: str
) -> None:
    found = {n: load_seeds(location, filters, include_deleted=n) for n in (None, True)}
    batches = [runs.to_list("seed") for runs in iter_runs(**location, filters=filters)]
    dirs = [path.name for path in iter_run_dirs(**location, filters=filters)]
    without_narrowing()
    assert found == {n: load_seeds(location, filters, include_deleted=n) for n in (None, True)}
    assert [seed for batch in batches for seed in batch] == found[None]
    assert dirs == [make_id(seed) for seed in found[None]]
    assert 0 < len(found[None]) < N_RUNS


# What is read ---------------------------------------------------------------------------------


def test_a_database_gives_only_rows_of_what_is_left(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(database, database.path.parent / "mlruns")
    rows: list[tuple[str, int]] = []
    query = SqliteFile.query

    def note(self: SqliteFile, select: str, *arguments: Any, **options: Any) -> Any:
        found = query(self, select, *arguments, **options)
        tables = re.findall(r"FROM (\w+)\s+WHERE", select)
        rows.append((tables[-1] if tables else "", len(found)))
        return found

    monkeypatch.setattr(SqliteFile, "query", note)

    def load(filters: str) -> list[int]:
        rows.clear()
        return load_seeds({"tracking_dir": str(database.path)}, filters)

    assert load("status == FAILED") == [10, 30]
    assert rows[-1] == ("runs", 4)  # two are deleted
    load("metrics.loss < 0.1 and status == FINISHED")
    assert rows[-3:] == [
        ("latest_metrics", 1),  # narrows
        ("runs", 1),
        ("latest_metrics", 1),  # is compared
    ]
    load("metrics.loss < 0.1 and params.lr == '0.1' and params.model ~ m*")
    assert [n for table, n in rows if table == "params"] == [2, 1, 1]


def test_a_server_sends_only_what_is_left(client: FakeClient) -> None:
    fill_client(client)

    def load(filters: str | None) -> int:
        client.calls.clear()
        client.filters.clear()
        return len(load_seeds({"tracking_uri": FAKE}, filters, experiment_names="train"))

    load(None)
    assert client.calls == ["experiments"] + ["runs"] * 4
    assert client.filters == []
    assert load("status == finished and metrics.loss > 0.8") == 1
    assert client.filters == ["attributes.status = 'FINISHED' AND metrics.`loss` > 0.8"]
    assert client.calls == ["experiments", "runs"]
    assert load("seed > 3 and status != FAILED") == 15
    assert client.filters == []


def test_a_server_of_another_language_sends_all(client: FakeClient) -> None:
    fill_client(client)
    client.refuses_filters = True
    assert load_seeds({"tracking_uri": FAKE}, "status == FAILED") == [10, 30]
    assert client.calls[-8:] == ["runs"] * 8
    client.error = ConnectionError("gone")
    with pytest.raises(Exception, match="cannot list the experiments"):
        load_seeds({"tracking_uri": FAKE}, "status == FAILED")


def test_configurations_are_read_of_what_is_left(
    location: Location, files_read: Any, tmp_path: Path
) -> None:
    assert load_seeds(location, "metrics.loss < 0.1 and seed != 1") == []
    configs = [path for path in files_read.paths if path.endswith("config.yaml")]
    assert [Path(path).parts[-4] for path in configs] == [make_id(1)]


# What is said ---------------------------------------------------------------------------------


def load_dataset(location: Location, caplog: pytest.LogCaptureFixture, **options: Any) -> str:
    """Return the last message of a load."""
    caplog.clear()
    with caplog.at_level(logging.INFO, "kedro"):
        HydraflowRunCollectionDataset(**location, **options).load()
    return str(caplog.messages[-1]).partition(": ")[2]


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ("seed > 30", "38 runs of 2 experiments, without 2 that were deleted, 9 after 'seed > 30'"),
        (
            "status == FAILED",
            "runs of 2 experiments, 2 after 'status == FAILED', without 2 that were deleted",
        ),
        (
            "metrics.loss < 0.5 and status == FINISHED and seed > 3",
            "runs of 2 experiments, 9 after 'status == FINISHED' and 'metrics.loss < 0.5', "
            "8 after 'seed > 3'",
        ),
        (
            ["job_name == eval", "status != FAILED", "metrics.loss < 0.5", "params.lr == 0.1"],
            "runs of one experiment, 5 after 'job_name == eval' and 'status != FAILED' and "
            "'metrics.loss < 0.5', 5 after 'params.lr == 0.1'",
        ),
        # Without a run, all are counted.
        (
            "metrics.loss < 0.5 and status == KILLED",
            "38 runs of 2 experiments, without 2 that were deleted, 0 after 'status == KILLED', "
            "0 after 'metrics.loss < 0.5'",
        ),
        (
            f"run_id == {make_id(20)}",
            "38 runs of 2 experiments, without 2 that were deleted, "
            f"0 after 'run_id == {make_id(20)}'",
        ),
    ],
)
def test_the_counts_are_true(
    location: Location, caplog: pytest.LogCaptureFixture, filters: Any, message: str
) -> None:
    assert load_dataset(location, caplog, filters=filters) == message


def test_deleted_runs_count_when_they_are_included(
    location: Location, caplog: pytest.LogCaptureFixture
) -> None:
    options = {"filters": "status == FAILED", "include_deleted": True}
    message = "runs of 2 experiments, 4 after 'status == FAILED'"
    assert load_dataset(location, caplog, **options) == message


def test_nothing_left_by_a_later_condition_has_no_total(
    location: Location, caplog: pytest.LogCaptureFixture
) -> None:
    steps = "no runs are left: 2 after 'status == FAILED', 0 after 'seed > 99'"
    filters = "status == FAILED and seed > 99"
    assert load_seeds(location, filters) == []
    assert caplog.messages == [steps]
    caplog.clear()
    assert list(iter_runs(**location, filters=filters, batch_size=1)) == []
    assert list(iter_run_dirs(**location, filters=filters)) == []
    assert caplog.messages == [steps, steps]


@pytest.mark.parametrize(
    ("filters", "problem"),
    [
        ("metrics.los < 1", "none of the 38 runs has the key 'metrics.los'; .* 'metrics.loss'"),
        (
            "status == FINISHED and metrics.los < 1",
            "none of the 36 runs that are left by then has the key 'metrics.los'",
        ),
        (
            "metrics.loss < 0.5 and sed == 1",
            "none of the 9 runs that are left by then has the key 'sed'; .*'seed'",
        ),
        (  # which others have, that the first condition rules out
            "start_time in ['2026-01-03 00:00'] and metrics.loss < 1",
            "the run that is left by then does not have the key 'metrics.loss'",
        ),
        (
            "metrics.loss is null and metrics.loss < 1",
            "none of the 20 runs that are left by then has the key 'metrics.loss'",
        ),
        (  # of a run that the second condition rules out
            "params.lr < 1 and metrics.loss > 0.9",
            "has 'auto' .str. as 'params.lr', which '<' cannot compare with 1",
        ),
    ],
)
def test_errors_are_those_of_all_runs(
    location: Location, without_narrowing: Callable[[], None], filters: str, problem: str
) -> None:
    def get_errors() -> list[str]:
        errors = []
        for find in (iter_run_dirs, iter_runs):
            with pytest.raises(FilterError, match=problem) as raised:
                list(find(**location, filters=filters))
            errors.append(str(raised.value))
        return errors

    errors = get_errors()
    without_narrowing()
    assert errors == get_errors()


def test_runs_that_could_not_be_selected_are_no_failures(
    location: Location, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for path in tmp_path.rglob("config.yaml"):
        seed = int(path.parts[-4], 16)
        if seed in (4, 30, 33):  # FINISHED, FAILED, FINISHED
            path.write_text("a: [1\n")
    assert load_seeds(location, "status == FINISHED and metrics.loss > 0.85") == [37, 36]

    with pytest.raises(RunLoadError) as raised:
        load_seeds(location, "status == FAILED")
    assert [failure.path.split("/")[-4] for failure in raised.value.failures] == [make_id(30)]
    assert "1 of 2 runs could not be read (others were ruled out by filters); set on_error=" in (
        str(raised.value)
    )
    dirs = iter_run_dirs(**location, filters="metrics.loss > 0.8 and status != FAILED")
    assert Run.load(dirs, on_error="warn").to_list("seed") == [37, 36]
    assert caplog.messages[-1] == (
        "skipped 1 of 3 runs that could not be read (others were ruled out by filters)"
    )


def test_one_run_is_looked_for_among_all(location: Location) -> None:
    dataset = HydraflowRunDataset(**location, filters="status == FAILED", run_id=make_id(10))
    assert dataset.load().get("seed") == 10
    absent = HydraflowRunDataset(**location, filters="status == FAILED", run_id=make_id(11))
    with pytest.raises(Exception, match=r"there is no run in .* with filters: .*, run_id: "):
        absent.load()
