"""Copies of runs that can be written to disk, as they have no credentials."""

from __future__ import annotations

import base64
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kedro.io import DataCatalog, MemoryDataset, SharedMemoryDataCatalog
from kedro.pipeline import node, pipeline
from kedro.runner import ParallelRunner, SequentialRunner
from kedro_datasets.pickle import PickleDataset

from kedro_hydraflow import HydraflowRunCollectionDataset, Run, RunCollection, iter_run_dirs
from kedro_hydraflow.errors import StorageError, WithheldError
from kedro_hydraflow.run_info import get_place, get_store
from tests.conftest import SWEEP, Database, WebServer, write
from tests.stores.conftest import FAKE, FakeClient
from tests.stores.conftest import client as client  # the fixture

pytest.importorskip("aiohttp")

SECRET = "S3CRET/+=:@%"
HEADERS = {"X-Api-Key": SECRET}
LOGIN = base64.b64encode(f"ann:{SECRET}".encode())


def has_secret(data: bytes) -> bool:
    return b"S3CRET" in data or LOGIN in data


@pytest.fixture
def server(serve: Callable[[Path], WebServer], sweep: Path) -> WebServer:
    return serve(sweep.parent)


@pytest.fixture
def runs(server: WebServer) -> RunCollection[Any]:
    """The runs of an experiment on a web server."""
    url = f"{server.url.replace('//', '//ann:S3CRET%2F%2B%3D%3A%40%25@')}/mlruns"
    run_dirs = iter_run_dirs(url, "eval_*", storage_options={"headers": HEADERS})
    return Run.load(run_dirs)


def test_a_pickle_holds_the_credentials(runs: RunCollection[Any], server: WebServer) -> None:
    copied = pickle.loads(pickle.dumps(runs))
    assert has_secret(pickle.dumps(runs))
    assert copied[0].metrics == runs[0].metrics


def test_a_copy_without_credentials_has_what_was_read(
    runs: RunCollection[Any], server: WebServer
) -> None:
    wanted = runs.to_frame("run_id", "job_name", "status", "seed", "metrics.accuracy", "tags.stage")
    runs[0].update("new", 1)
    data = pickle.dumps(runs.without_credentials())
    assert not has_secret(data)
    server.requests.clear()
    copied = pickle.loads(data)
    assert copied.to_frame(*wanted.columns).equals(wanted)
    assert copied.filter(status="FINISHED").to_list("seed") == runs.to_list("seed")
    assert (copied[0]["new"], copied[0].cfg.model) == (1, runs[0].cfg.model)
    assert str(copied[0].info.run_dir) == f"{server.url}/mlruns/{'/'.join(get_ids(runs[0]))}"
    assert copied[0].info.start_time == runs[0].info.start_time
    assert server.requests == []


def get_ids(run: Run[Any, Any]) -> tuple[str, str]:
    return run.info.experiment_id, run.info.run_id


USES: dict[str, Callable[[Run[Any, Any]], Any]] = {
    "status": lambda run: run.info.status,
    "metrics": lambda run: run.metrics,
    "one metric": lambda run: run.get("metrics.accuracy"),
    "history": lambda run: run.metric_history("train/loss"),
    "overrides": lambda run: run.overrides,
    "artifact": lambda run: run.path("confusion_matrix.json").read_bytes(),
    "fetch": lambda run: run.fetch("confusion_matrix.json"),
    "models": lambda run: run.models,
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_a_copy_without_credentials_reads_no_more(
    runs: RunCollection[Any], server: WebServer, use: Callable[[Run[Any, Any]], Any]
) -> None:
    for run in (runs.without_credentials()[0], runs[0].without_credentials()):
        server.requests.clear()
        for copied in (run, pickle.loads(pickle.dumps(run))):
            with pytest.raises(WithheldError) as raised:
                use(copied)
            assert str(raised.value).startswith(f"'{server.url}/mlruns")
            assert (
                "is not read for a copy that `without_credentials` made: it has only what had been "
                "read before; read more before that, or load the runs again"
            ) in str(raised.value)
            assert pickle.loads(pickle.dumps(raised.value)).args == raised.value.args
        assert server.requests == []
    use(runs[0])
    assert server.requests


def test_a_run_that_was_not_read(server: WebServer, runs: RunCollection[Any]) -> None:
    url = f"{server.url}/mlruns/{'/'.join(get_ids(runs[0]))}"
    run = Run(url, storage_options={"headers": HEADERS}).without_credentials()
    assert not has_secret(pickle.dumps(run))
    with pytest.raises(WithheldError):
        _ = run.cfg
    with pytest.raises(WithheldError):
        _ = Run(url).without_credentials().info.job_name


def test_the_original_is_not_changed(runs: RunCollection[Any]) -> None:
    copied = runs.without_credentials()
    copied[0].update("new", 1)
    copied[0].cfg.seed = -1
    assert runs[0].get("new", None) is None
    assert runs[0]["seed"] != -1
    assert runs[0].metrics


def test_what_runs_share_their_copies_share(runs: RunCollection[Any]) -> None:
    copied = runs.without_credentials()
    assert len(pickle.dumps(copied)) < 1.2 * len(pickle.dumps(runs))
    assert len({id(get_place(run.info).storage) for run in copied}) == 1
    assert len({id(get_store(run.info)) for run in copied}) == 1


class Tagged(Run[Any, Any]):
    """A run with an attribute of its own."""


def test_subclasses_and_attributes_are_kept(sweep: Path) -> None:
    run = Tagged(next(iter(iter_run_dirs(sweep))))
    run.note = ["mine"]  # type: ignore[attr-defined]
    copied = run.without_credentials()
    assert type(copied) is Tagged
    assert copied.note == ["mine"]  # type: ignore[attr-defined]
    copied.note.append("other")  # type: ignore[attr-defined]
    assert run.note == ["mine"]  # type: ignore[attr-defined]

    class Runs(RunCollection[Any]):
        pass

    runs = Runs([run], lambda run, key, default: key * 2)
    assert type(runs.without_credentials()) is Runs
    assert runs.without_credentials().to_list("a") == ["aa"]


def test_local_runs_are_read_on(sweep: Path) -> None:
    runs = Run.load(iter_run_dirs(sweep, storage_options={"key": SECRET}))
    data = pickle.dumps(runs.without_credentials())
    assert not has_secret(data)
    copied = pickle.loads(data)
    assert copied.to_list("metrics.accuracy", None) == runs.to_list("metrics.accuracy", None)
    assert copied[0].path("confusion_matrix.json").exists()


def test_memory_and_archives_are_read_on(publish: Callable[[Path], str]) -> None:
    runs = Run.load(iter_run_dirs(publish(SWEEP), "eval_*", storage_options={"secret": SECRET}))
    data = pickle.dumps(runs.without_credentials())
    assert not has_secret(data)
    assert pickle.loads(data)[0].metrics == runs[0].metrics


def test_runs_in_a_database(database: Database, tmp_path: Path) -> None:
    root = tmp_path / "moved"
    run_id = "a" * 32
    database.add_run(
        database.add_experiment("train", artifact_location=f"https://ann:{SECRET}@files.example/1"),
        run_id,
        metrics={"loss": [(0, 0, 0.5)]},
    )
    write(root / f"1/{run_id}/artifacts/.hydra/config.yaml", "seed: 7")
    options = {"key": SECRET}
    runs = Run.load(iter_run_dirs(database.path, artifact_root=root, storage_options=options))
    data = pickle.dumps(runs.without_credentials())
    assert not has_secret(data)
    copied = pickle.loads(data)
    assert copied.to_frame("seed", "status", "metrics.loss").rows() == [(7, "FINISHED", 0.5)]


def test_runs_of_a_server(client: FakeClient) -> None:
    uri = FAKE.replace("//", "//ann:S3CRET@")
    runs = Run.load(iter_run_dirs(tracking_uri=uri, storage_options={"key": SECRET}))
    data = pickle.dumps(runs.without_credentials())
    assert not has_secret(data)
    client.calls.clear()
    copied = pickle.loads(data)
    assert copied.to_list("metrics.loss", None) == runs.to_list("metrics.loss", None)
    assert copied.to_list("status") == ["FINISHED"] * len(runs)
    with pytest.raises(WithheldError, match="'fake://tracking' is not read for a copy"):
        copied[-1].metric_history("loss")
    with pytest.raises(WithheldError, match="'fake://tracking'"):
        _ = copied[0].models
    assert client.calls == []


def test_artifacts_that_a_server_serves(
    client: FakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = "http://ann:S3CRET@127.0.0.1:9"
    monkeypatch.setattr("kedro_hydraflow.stores.server_store.ServerStore._check_server", bool)
    for experiment in client.experiments:
        experiment.artifact_location = "mlflow-artifacts:/7"
    for run in client.runs:
        run.info.artifact_uri = f"mlflow-artifacts:/7/{run.info.run_id}/artifacts"
    run_dir = next(iter(iter_run_dirs(tracking_uri=uri, experiment_names="train")))
    assert has_secret(pickle.dumps(run_dir))
    data = pickle.dumps(Run(run_dir).without_credentials())
    assert not has_secret(data)
    with pytest.raises(
        StorageError, match=r"'mlflow\+http://127.0.0.1:9/7/0+' is not read for a copy"
    ):
        _ = pickle.loads(data).cfg


# In Kedro ------------------------------------------------------------------------------


def leave_out(runs: RunCollection[Any]) -> RunCollection[Any]:
    return runs.without_credentials()


def count(runs: RunCollection[Any]) -> int:
    return len(runs.filter(seed=lambda seed: seed is not None))


@pytest.mark.parametrize("runner", [SequentialRunner, ParallelRunner])
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_runs_are_stored_in_a_pickle_dataset(
    server: WebServer, tmp_path: Path, runner: Callable[[], Any]
) -> None:
    file = tmp_path / "runs.pkl"
    make_catalog = DataCatalog if runner is SequentialRunner else SharedMemoryDataCatalog
    catalog = make_catalog(
        {
            "runs": HydraflowRunCollectionDataset(
                path=f"{server.url}/mlruns",
                experiment_names="eval_*",
                credentials={"headers": HEADERS},
            ),
            "stored": PickleDataset(filepath=str(file)),
            "n": PickleDataset(filepath=str(tmp_path / "n.pkl")),
        }
    )
    nodes = [node(leave_out, "runs", "stored"), node(count, "stored", "n")]
    runner().run(pipeline(nodes), catalog)
    assert catalog["n"].load() == 2
    assert not has_secret(file.read_bytes())


def test_a_memory_dataset_keeps_the_credentials(runs: RunCollection[Any]) -> None:
    dataset = MemoryDataset()
    dataset.save(runs)
    assert dataset.load()[0].metrics == runs[0].metrics
