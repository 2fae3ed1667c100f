"""Many runs on the newest and the oldest supported server of MLflow: which requests reach it."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from polars.testing import assert_frame_equal

from kedro_hydraflow import Run, RunCollection, iter_run_dirs, iter_runs
from tests import servers
from tests.integration.behind_proxy import Fault, Proxy
from tests.integration.places import is_server_required

mlflow = pytest.importorskip("mlflow")

pytestmark = pytest.mark.integration

N_RUNS = 2_100
"""Three pages of a search."""

N_LOGGED = 60
"""Runs with metrics: two requests for histories in bulk."""

N_SMALL = 9
"""Experiments with one run, one more than are requested at a time."""

ODD = [
    (1, 5, float("nan")),
    (1, 4, 1.0),
    (0, 9, float("inf")),
    (0, 9, float("-inf")),
    (2, 1, 0.5),
    (2, 1, 0.1 + 0.2),
]
"""Steps, times and values, in no order and with equal times."""

METRICS = {
    "odd": lambda number: ODD,
    "long": lambda number: [(step, 1, step / 7) for step in range(600)],
    "longest": lambda number: [(step, 1, 0.0) for step in range(5 if number else 30_000)],
}
"""What each run logs. The server sends at most 25,000 values in bulk."""


@dataclass(frozen=True)
class Site:
    uri: str
    proxy: Proxy

    def load(self, **options: Any) -> RunCollection[Any]:
        return Run.load(iter_run_dirs(tracking_uri=self.uri, **options))

    def load_logged(self) -> RunCollection[Any]:
        """Load the runs with metrics, and forget the requests for them."""
        ids = ", ".join(make_id(number) for number in range(N_LOGGED))
        runs = self.load(filters=f"run_id in [{ids}]")
        assert len(runs) == N_LOGGED
        self.count()
        return runs

    def count(self) -> dict[str, int]:
        """Return the number of requests by the last part of their path, and forget them."""
        paths = [request.target.partition("?")[0] for request in self.proxy.requests()]
        self.proxy.reset()
        return dict(Counter(path.rpartition("mlflow/")[2] for path in paths))


@pytest.fixture(scope="module", params=["newest", "oldest"])
def port(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder = tmp_path_factory.mktemp("mlflow")
    database = folder / "mlflow.db"
    python = servers.HYDRAFLOW if request.param == "newest" else servers.OLDEST_MLFLOW
    flags = ("--no-serve-artifacts", "--default-artifact-root", str(folder))
    try:
        with servers.mlflow_server(database, None, *flags, python=python) as url:
            write_runs(url, database)
            yield int(url.rpartition(":")[2])
    except servers.MissingServerError as exc:
        if is_server_required():
            raise
        pytest.skip(str(exc))


@pytest.fixture
def site(port: int) -> Iterator[Site]:
    with Proxy("127.0.0.1", port, latency=0.0) as proxy:
        yield Site(proxy.url, proxy)


def write_runs(url: str, database: Path) -> None:
    client = mlflow.MlflowClient(url)
    many = client.create_experiment("many")
    small = [client.create_experiment(f"small_{i}") for i in range(N_SMALL)]
    ids = [(make_id(number), many) for number in range(N_RUNS)]
    ids += [(make_id(N_RUNS + i), experiment_id) for i, experiment_id in enumerate(small)]
    with closing(sqlite3.connect(database, timeout=60)) as connection, connection:
        connection.executemany(
            "INSERT INTO runs (run_uuid, name, source_type, source_name, entry_point_name, "
            "source_version, user_id, status, start_time, end_time, lifecycle_stage, "
            "artifact_uri, experiment_id) VALUES (?1, 'r', 'LOCAL', '', '', '', 'me', 'FINISHED', "
            "?2, 2, 'active', ?3 || ?1 || '/artifacts', ?4)",
            [(i, N_RUNS - n, f"{database.parent}/", e) for n, (i, e) in enumerate(ids)],
        )
        for name, make in METRICS.items():
            rows = [
                (name, *make_row(value), timestamp, step, run_id)
                for number, (run_id, _) in enumerate(ids[:N_LOGGED])
                for step, timestamp, value in make(number)
            ]
            columns = "(key, value, is_nan, timestamp, step, run_uuid) VALUES (?, ?, ?, ?, ?, ?)"
            connection.executemany(f"INSERT INTO metrics {columns}", rows)
            last = {row[-1]: row for row in rows}
            connection.executemany(f"INSERT INTO latest_metrics {columns}", last.values())


def make_id(number: int) -> str:
    return f"a{number:031x}"  # MLflow 2.14 does not find IDs that are a number with ``IN``


def make_row(value: float) -> tuple[float, bool]:
    """Return a value as MLflow writes it."""
    largest = 1.7976931348623157e308
    return (0.0, True) if value != value else (max(-largest, min(value, largest)), False)


@pytest.mark.parametrize(
    ("name", "n_requests"),
    [
        ("odd", 2),
        ("long", 3),  # of the 50 runs of the first one 41 come whole, and then the others
        ("longest", 3),  # without the run that fills an answer alone
    ],
)
def test_histories_of_many_runs_at_once(site: Site, name: str, n_requests: int) -> None:
    found = site.load_logged().metric_histories(name)
    counts = site.count()
    assert counts.pop("metrics/get-history-bulk") == n_requests
    if name == "longest":  # in pages, which servers before MLflow 3 do not have
        assert counts.pop("metrics/get-history") <= 2
    assert counts == {}
    assert len(found) == sum(len(METRICS[name](number)) for number in range(N_LOGGED))

    site.proxy.set_faults(Fault(status=404, match="get-history-bulk"))
    assert_frame_equal(found, site.load_logged().metric_histories(name), check_exact=True)


@pytest.mark.parametrize("status", [302, 403, 404])
def test_a_server_without_histories_in_bulk_is_not_asked_again(site: Site, status: int) -> None:
    runs = site.load_logged()
    site.proxy.set_faults(Fault(status=status, match="get-history-bulk"))
    assert len(runs.metric_histories("odd")) == N_LOGGED * len(ODD)
    counts = site.count()
    assert counts["metrics/get-history"] == N_LOGGED
    assert counts["metrics/get-history-bulk"] <= 2
    runs.metric_histories("longest")
    assert "metrics/get-history-bulk" not in site.count()


def test_one_history_takes_one_request(site: Site) -> None:
    run = site.load_logged()[3]
    assert len(run.metric_history("odd")) == len(ODD)
    assert site.count() == {"metrics/get-history": 1}


def test_batches_come_before_all_runs_are_listed(site: Site) -> None:
    batches = iter_runs(["many"], tracking_uri=site.uri, batch_size=500)
    assert next(batches).to_list("run_id") == [make_id(number) for number in range(500)]
    # Whether the server sorts, and the first page.
    assert site.count()["runs/search"] == 2
    others = [run_id for runs in batches for run_id in runs.to_list("run_id")]
    assert others == [make_id(number) for number in range(500, N_RUNS)]
    assert site.count() == {"runs/search": 2}


@pytest.mark.parametrize("filters", [None, "status == FINISHED"])
def test_batches_are_in_the_order_of_a_load(site: Site, filters: str | None) -> None:
    batches = iter_runs(batch_size=700, tracking_uri=site.uri, filters=filters)
    found = [run_id for runs in batches for run_id in runs.to_list("run_id")]
    assert found == [make_id(number) for number in range(N_RUNS + N_SMALL)]
    assert found == site.load(filters=filters).to_list("run_id")


def test_the_first_pages_of_some_experiments_are_requested_together(site: Site) -> None:
    batches = iter_runs(["small_*"], tracking_uri=site.uri, batch_size=2)
    assert len(next(batches)) == 2
    assert site.count()["runs/search"] == 1 + 8
    assert sum(len(runs) for runs in batches) == N_SMALL - 2
    assert site.count() == {"runs/search": 1}
