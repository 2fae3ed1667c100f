"""Runs on S3, read by the processes of a dask.distributed cluster."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from typing import Any

import joblib
import pytest
from polars.testing import assert_frame_equal

from kedro_hydraflow import Run, iter_run_dirs, iter_runs
from kedro_hydraflow.errors import RunLoadError
from kedro_hydraflow.reading import BatchReader
from tests.integration.behind_proxy import make_run_id
from tests.integration.clusters import KEYS, MARKS, load, serve_runs
from tests.servers import Server

distributed = pytest.importorskip("distributed")

pytestmark = MARKS

N_RUNS = 200
N_BATCHES = 7
"""Of 32 runs: 200 over two workers would be 25 each, for four batches a worker."""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serve_runs(N_RUNS) as server:
        yield server


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.fixture
def tasks(client: Any) -> Iterator[list[str]]:
    """The tasks that workers have done since."""
    done: list[str] = []

    class Plugin(distributed.diagnostics.plugin.SchedulerPlugin):  # type: ignore[misc, name-defined]
        def transition(self, key: Any, start: str, finish: str, *args: Any, **kwargs: Any) -> None:
            if (start, finish) == ("processing", "memory"):
                done.append(str(key))

    client.cluster.scheduler.add_plugin(Plugin(), name="done")
    yield done
    client.cluster.scheduler.remove_plugin("done")


@pytest.mark.parametrize("engine", ["fsspec", "obstore"])
@pytest.mark.parametrize("n_jobs", [-1, 2])
def test_workers_read_batches_and_the_result_is_that_of_one_process(
    server: Server, tasks: list[str], n_jobs: int, engine: str
) -> None:
    """-1 means the cluster, which 200 runs would not be worth otherwise."""
    options = {"engine": engine}
    expected = load(server, storage_options=options).to_frame(*KEYS)
    with joblib.parallel_config(backend="dask"):
        runs = load(server, n_jobs=n_jobs, storage_options=options)
    assert_frame_equal(runs.to_frame(*KEYS), expected)
    assert len(runs) == N_RUNS
    # joblib puts several batches into one task where they take less than 0.2 s.
    assert 2 <= len(tasks) <= N_BATCHES


def test_nothing_is_shipped_unasked(server: Server, tasks: list[str]) -> None:
    with joblib.parallel_config(backend="dask"):
        assert len(load(server)) == N_RUNS
    assert tasks == []


def test_batches_of_more_runs_than_memory_holds(server: Server, tasks: list[str]) -> None:
    with joblib.parallel_config(backend="dask"):
        batches = iter_runs(
            f"{server.url}/mlruns", batch_size=80, n_jobs=-1, storage_options=server.options
        )
        seeds = [runs.to_list("seed") for runs in batches]
    assert seeds == [[*range(80)], [*range(80, 160)], [*range(160, 200)]]
    assert len(tasks) >= 3


@pytest.mark.usefixtures("terminal")
def test_progress_counts_runs(
    server: Server, client: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    with joblib.parallel_config(backend="dask"):
        load(server, n_jobs=-1, progress=True)
    assert f"{N_RUNS}/{N_RUNS}" in capsys.readouterr().err


def test_failures_are_reported_as_usual(server: Server, client: Any) -> None:
    bad = f"mlruns/101/{make_run_id('101', 150)}/artifacts/.hydra/config.yaml"
    good = b"model:\n  type: mlp\nseed: 150\n"
    server.write(bad, b"- not a mapping\n")
    try:
        messages = []
        for backend in ("dask", "loky"):
            with joblib.parallel_config(backend=backend), pytest.raises(RunLoadError) as raised:
                load(server, n_jobs=2)
            messages.append(str(raised.value))
        assert messages[0] == messages[1]
        assert "1 of 200 runs could not be read" in messages[0]
        assert f"s3://team/{bad}" in messages[0]
        with joblib.parallel_config(backend="dask"):
            runs = load(server, n_jobs=-1, on_error="warn")
        assert runs.to_list("seed") == [i for i in range(N_RUNS) if i != 150]
    finally:
        server.write(bad, good)


class FailingReader(BatchReader):
    """Fails as nothing should."""

    def __call__(self, records: Any) -> Any:
        raise RuntimeError("something unforeseen")


@pytest.mark.parametrize("engine", ["fsspec", "obstore"])
@pytest.mark.parametrize("kind", ["none", "denied", "unforeseen"])
def test_credentials_are_in_no_log_and_no_error(
    server: Server,
    client: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    kind: str,
    engine: str,
) -> None:
    assert server.wrong_options is not None
    options = {**server.options, "engine": engine}
    dirs = [*iter_run_dirs(f"{server.url}/mlruns", storage_options=options)]
    urls = [str(path) for path in dirs]
    if kind == "denied":
        options = {**server.wrong_options, "engine": engine}
    elif kind == "unforeseen":
        monkeypatch.setattr("kedro_hydraflow.reading.BatchReader", FailingReader)
    shown = ""
    with caplog.at_level("DEBUG"), joblib.parallel_config(backend="dask"):
        try:
            Run.load(urls, n_jobs=-1, storage_options=options)
        except Exception as exc:
            shown = "".join(traceback.format_exception(exc))
    expected = {"none": "", "denied": "access denied", "unforeseen": "something unforeseen"}
    assert expected[kind] in shown
    assert bool(shown) == (kind != "none")
    logs = str(client.cluster.get_logs()) + caplog.text + "".join(capfd.readouterr())
    assert "distributed.worker" in logs
    for secret in (server.options["secret"], server.wrong_options["secret"]):
        assert secret not in shown + logs
