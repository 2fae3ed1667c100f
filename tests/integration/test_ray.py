"""Runs on S3, read by the processes of a Ray cluster."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import joblib
import pytest
from polars.testing import assert_frame_equal

from kedro_hydraflow import Run, RunCollection, iter_run_dirs
from kedro_hydraflow.errors import RunLoadError
from tests.integration.behind_proxy import make_experiment, make_run_id
from tests.servers import Server, moto

ray = pytest.importorskip("ray", reason="there are wheels of ray for Python up to 3.13")

pytestmark = [
    pytest.mark.integration,
    # Clients that live as long as the process do not close their connections at its end.
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Unclosed:ResourceWarning"),
]

N_RUNS = 100
KEYS = ("run_id", "job_name", "model.type", "seed")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with moto() as server:
        for path, content in make_experiment("101", N_RUNS).items():
            server.write(f"mlruns/{path}", content)
        yield server


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    from ray.util.joblib import register_ray

    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("RAY_USAGE_STATS_ENABLED", "0")
        address = {"_node_ip_address": "127.0.0.1"}
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, **address)
        register_ray()
        yield
        ray.shutdown()


def load(server: Server, **options: Any) -> RunCollection[Run[Any, Any]]:
    dirs = iter_run_dirs(f"{server.url}/mlruns", storage_options=server.options)
    return Run.load(dirs, **options)


def get_process(run: Run[Any, Any]) -> tuple[int, int]:
    return os.getpid(), run.cfg.seed


@pytest.mark.usefixtures("cluster")
def test_workers_read_and_the_result_is_that_of_one_process(server: Server) -> None:
    expected = load(server).to_frame(*KEYS)
    with joblib.parallel_config(backend="ray"):
        runs = load(server, n_jobs=-1)
    assert_frame_equal(runs.to_frame(*KEYS), expected)
    assert len(runs) == N_RUNS


@pytest.mark.usefixtures("cluster")
def test_functions_of_runs_are_called_by_workers(server: Server) -> None:
    runs = load(server)
    with joblib.parallel_config(backend="ray"):
        called = list(runs.pmap(get_process, n_jobs=2))
    assert [seed for _, seed in called] == list(range(N_RUNS))
    assert os.getpid() not in {process for process, _ in called}


@pytest.mark.usefixtures("cluster")
def test_failures_are_reported_as_usual(server: Server) -> None:
    bad = f"mlruns/101/{make_run_id('101', 50)}/artifacts/.hydra/config.yaml"
    server.write(bad, b"- not a mapping\n")
    with joblib.parallel_config(backend="ray"), pytest.raises(RunLoadError) as raised:
        load(server, n_jobs=-1)
    assert "1 of 100 runs could not be read" in str(raised.value)
    assert f"s3://team/{bad}" in str(raised.value)
    assert server.options["secret"] not in str(raised.value)
