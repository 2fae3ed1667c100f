"""Runs on S3, read by the processes of a Ray cluster."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import joblib
import pytest
from polars.testing import assert_frame_equal

from kedro_hydraflow import Run
from kedro_hydraflow.errors import RunLoadError
from tests.integration.behind_proxy import make_run_id
from tests.integration.clusters import KEYS, MARKS, load, serve_runs
from tests.servers import Server

ray = pytest.importorskip("ray", reason="there are wheels of ray for Python up to 3.13")

pytestmark = MARKS

N_RUNS = 100


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serve_runs(N_RUNS) as server:
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
