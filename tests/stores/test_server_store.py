from __future__ import annotations

import math
import pickle
import sys
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from kedro_hydraflow import Run, get_experiment_names, iter_run_dirs, iter_runs
from kedro_hydraflow.errors import (
    MissingPackageError,
    OptionError,
    RunLoadError,
    StorageError,
    UnreachableError,
)
from kedro_hydraflow.finding import Search
from kedro_hydraflow.run_info import get_models, get_record, get_store, make_info
from kedro_hydraflow.source import Source
from kedro_hydraflow.storage import LocalStorage
from kedro_hydraflow.stores import open_store
from kedro_hydraflow.stores.record import ExperimentRecord, Point, RunNames, RunRecord
from kedro_hydraflow.stores.server_store import ServerStore
from tests.conftest import find_first_runs
from tests.stores.conftest import FAKE, FakeError, Page, find_run_ids, make_metric

URI = "https://ann:s3cret@mlflow.example/team"


def test_mlflow_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    store = open_store(Source(tracking_uri=URI))  # without an import or a request
    with pytest.raises(MissingPackageError) as caught:
        store.find_experiments()
    assert "reading 'https://mlflow.example/team' needs MLflow" in str(caught.value)
    assert "pip install 'kedro-hydraflow[mlflow]'" in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_stores_with_the_same_arguments_are_equal():
    store = ServerStore(Source(tracking_uri=URI, storage_options={"key": "k"}))
    assert store == pickle.loads(pickle.dumps(store))
    assert hash(store) == hash(pickle.loads(pickle.dumps(store)))
    assert store != ServerStore(Source(tracking_uri=URI, storage_options={"key": "other"}))
    elsewhere = Source(tracking_uri=URI, artifact_root="s3://b", storage_options={"key": "k"})
    assert store != ServerStore(elsewhere)
    assert store.where == "https://mlflow.example/team"


def test_all_pages_are_read(client):
    assert get_experiment_names(tracking_uri=FAKE) == ["eval", "train"]
    assert client.calls == ["experiments"] * 2

    client.calls.clear()
    runs = Run.load(iter_run_dirs(tracking_uri=FAKE, experiment_names="train"))
    assert [run.info.run_id for run in runs] == [f"{i:032x}" for i in range(5)]
    assert runs[3].cfg.name == f"run-{3:032x}"
    assert client.calls == ["experiments"] * 2 + ["runs"] * 3


def test_pages_that_do_not_end(client, monkeypatch):
    def search(**_: object) -> Page:
        page = Page(client.runs[:1])
        page.token = "again"
        return page

    monkeypatch.setattr(client, "search_runs", search)
    with pytest.raises(StorageError, match="pages do not end: it gave the token 'again' twice"):
        list(iter_run_dirs(tracking_uri=FAKE))


def test_a_search_returns_facts_and_logged_values(client):
    runs = Run.load(iter_run_dirs(tracking_uri=FAKE, experiment_names="train"))
    client.calls.clear()

    run = runs[1]
    assert (run.info.job_name, run.info.experiment_id) == ("train", "7")
    assert (run.info.status, run.info.run_name) == ("FINISHED", "name-of-" + run.info.run_id)
    assert run.info.start_time.year == 2026
    assert run.info.end_time is None
    assert run.metrics == {"loss": 0.1, "z": 1.0}
    assert run.params == {"i": "1"}
    assert run.tags == {}
    assert runs.to_frame("metrics.loss")["metrics.loss"].to_list() == [0.0, 0.1, 0.2, 0.3, 0.4]
    assert pickle.loads(pickle.dumps(runs))[2].metrics["loss"] == 0.2
    assert client.calls == []


def test_deleted_runs(client):
    dirs = iter_run_dirs(tracking_uri=FAKE, experiment_names="train", include_deleted=True)
    runs = Run.load(dirs)
    assert [run.info.lifecycle_stage for run in runs] == ["active"] * 5 + ["deleted"]


def test_a_few_runs_take_one_page(client):
    client.largest_page = 100
    store = open_store(Source(tracking_uri=FAKE))
    experiments = store.find_experiments("train").matching
    client.calls.clear()

    listing = store.list_runs(experiments, limit=3)
    (found,) = listing.experiments
    assert (len(found.names), listing.failures) == (3, [])
    assert client.calls == ["runs"]
    assert len(find_first_runs(Search(Source(tracking_uri=FAKE), "train"), 2)) == 2


def stream_ids(**options: Any) -> list[list[str]]:
    batches = iter_runs(tracking_uri=FAKE, batch_size=2, **options)
    return [runs.to_list("run_id") for runs in batches]


def test_batches_are_listed_page_by_page(client):
    batches = iter_runs(tracking_uri=FAKE, experiment_names="train", batch_size=2)
    assert len(next(batches)) == 2
    # The experiments, whether the server sorts, and the first page.
    assert client.calls == ["experiments"] * 2 + ["runs"] * 2
    assert [len(runs) for runs in batches] == [2, 1]
    assert client.calls == ["experiments"] * 2 + ["runs"] * 4


@pytest.mark.parametrize("refuses", [False, True])
def test_batches_are_sorted_where_the_server_does_not_sort(client, monkeypatch, refuses):
    expected = find_run_ids(tracking_uri=FAKE)
    client.runs.reverse()
    search = client.search_runs

    def refuse(order_by: Any = None, **options: Any) -> Page:
        if order_by == ["attributes.run_id ASC"]:
            raise FakeError("cannot sort by run_id", "INVALID_PARAMETER_VALUE", 400)
        return search(**options)

    if refuses:
        monkeypatch.setattr(client, "search_runs", refuse)
    for filters in (None, "status == FINISHED"):
        found = stream_ids(filters=filters)
        assert [run_id for batch in found for run_id in batch] == expected


def test_a_run_on_two_pages_is_in_one_batch(client):
    client.runs.insert(2, client.runs[1])
    found = stream_ids(experiment_names="train")
    assert found == [[f"{i:032x}" for i in numbers] for numbers in ([0, 1], [2, 3], [4])]


def test_a_run_in_two_experiments_fails_in_a_later_batch(client):
    client.add_run("8", f"{3:032x}")
    with pytest.raises(RunLoadError, match="expected one run with this ID, found 2"):
        stream_ids()
    assert sum(map(len, stream_ids(on_error="warn"))) == 6


def test_a_malformed_id_fails_in_its_batch(client):
    client.runs[1].info.run_id = "../3"
    with pytest.raises(RunLoadError, match=r"run \.\./3: expected an ID, found '\.\./3'"):
        stream_ids()
    assert sum(map(len, stream_ids(on_error="warn"))) == 5


def test_numbers_that_a_database_cannot_hold(client):
    largest = sys.float_info.max
    client.add_run("8", "d" * 32, metrics={"a": math.nan, "b": largest, "c": -largest})
    client.histories["d" * 32, "a"] = [
        make_metric(largest, 2),
        make_metric(math.nan, 1, 5),
        make_metric(1.0, 1, 4),
    ]
    run = Run.load(iter_run_dirs(tracking_uri=FAKE, experiment_names="eval"))[0]

    assert math.isnan(run.metrics["a"])
    assert (run.metrics["b"], run.metrics["c"]) == (math.inf, -math.inf)
    history = get_store(run.info).read_histories([get_record(run.info)], "a")[0]
    assert history[0] == Point(1, 4, 1.0)
    assert math.isnan(history[1].value)
    assert history[2] == Point(2, 0, math.inf)


def test_histories_are_requested_only_for_runs_with_the_metric(client):
    runs = Run.load(iter_run_dirs(tracking_uri=FAKE))
    client.histories["0" * 31 + "2", "loss"] = [make_metric(0.2, 0)]
    client.calls.clear()
    records = [get_record(run.info) for run in runs]

    histories = get_store(runs[0].info).read_histories(records, "loss")
    assert [len(history) for history in histories] == [0, 0, 0, 1, 0, 0]
    assert client.calls == ["history"] * 5


def test_missing_data_is_requested(client):
    (info,) = find_first_runs(Search(Source(tracking_uri=FAKE), "eval"), 1)
    store = get_store(info)
    client.runs[-1].data.params["added"] = "later"
    record = replace(get_record(info), facts=None, logged=None)

    assert store.read_all([record], "params") == [{"added": "later"}]
    assert store.read_values([record], "params", "added") == ["later"]
    assert make_info(record, store).status == "FINISHED"
    client.runs.pop()
    assert store.read_all([record], "params") == [{}]


def test_an_error_of_the_client(client, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "t0ken-of-ann")
    client.error = FakeError("https://x:pw@host said t0ken-of-ann", "INTERNAL_ERROR", 500)
    with pytest.raises(UnreachableError, match="cannot list the experiments") as caught:
        get_experiment_names(tracking_uri=FAKE)
    assert "t0ken-of-ann" not in str(caught.value)
    assert "pw@" not in str(caught.value)
    assert caught.value.__cause__ is None

    client.error = FakeError("no", "PERMISSION_DENIED", 403)
    with pytest.raises(StorageError, match=r"denies access \(403\): set MLFLOW_TRACKING_USERNAME"):
        get_experiment_names(tracking_uri=FAKE)


def test_an_experiment_whose_place_cannot_be_opened_does_not_hide_the_others(client):
    client.experiments[-1].artifact_location = "mlflow-artifacts:/8"
    with pytest.raises(RunLoadError, match="can only be read through its tracking server: give"):
        list(iter_run_dirs(tracking_uri=FAKE))
    assert len(list(iter_run_dirs(tracking_uri=FAKE, on_error="warn"))) == 5


def test_servers_before_mlflow_3_have_no_models(client, monkeypatch):
    run = Run.load(iter_run_dirs(tracking_uri=FAKE))[0]
    for absent in (
        FakeError("no such endpoint", "ENDPOINT_NOT_FOUND", 404),
        FakeError("<html>not found</html>", "", 404),
    ):
        client.error = absent
        assert get_models(run.info) == {}
        client.error = None
        run = Run.load(iter_run_dirs(tracking_uri=FAKE))[0]
    client.error = FakeError("down", "INTERNAL_ERROR", 500)
    with pytest.raises(UnreachableError, match="cannot list the models"):
        _ = run.models
    client.error = None
    monkeypatch.delattr(type(client), "search_logged_models")
    assert run.models == {}


def test_artifact_root(client, tmp_path):
    for run in client.runs:
        run.info.artifact_uri = f"s3://gone/{run.info.experiment_id}/{run.info.run_id}/artifacts"
    for experiment in client.experiments:
        experiment.artifact_location = f"s3://gone/{experiment.experiment_id}"
    client.models = [
        SimpleNamespace(
            model_id="m-1",
            name="model",
            experiment_id="8",
            source_run_id="e" * 32,
            creation_timestamp=1,
            artifact_location="s3://gone/8/models/m-1/artifacts",
        )
    ]
    runs = Run.load(iter_run_dirs(tracking_uri=FAKE, artifact_root=tmp_path))
    assert runs[0].models == {"model": tmp_path / "8/models/m-1/artifacts"}
    assert [run.cfg.name for run in runs] == [f"run-{run.info.run_id}" for run in runs]


def test_proxied_locations(client):
    pytest.importorskip("aiohttp")
    experiment = ExperimentRecord(LocalStorage(), "", "7", "train")
    run = client.runs[0]

    def find(artifact_uri: str, **options: list[str]) -> RunRecord:
        store = ServerStore(Source(tracking_uri=URI, storage_options=options))
        run.info.artifact_uri = artifact_uri
        listed = RunNames(experiment, [run.info.run_id], {run.info.run_id: run})
        found = store.read_runs([listed])
        if found.failures:
            raise found.failures[0].error
        return found.records[0]

    run_id = run.info.run_id
    for host in ("", "//mlflow.example", "//mlflow.example:443"):
        own = find(f"mlflow-artifacts:{host}/1/{run_id}/artifacts")
        assert own.url.replace(":443", "") == f"mlflow+https://mlflow.example/team/1/{run_id}"
        assert own.to_path().storage_options["password"] == "s3cret"

    location = f"mlflow-artifacts://eve:pw@other:81/1/{run_id}/artifacts"
    with pytest.raises(StorageError) as raised:
        find(location)
    assert str(raised.value) == (
        "the artifacts were recorded at 'mlflow-artifacts://other:81/1', a host that only the "
        "tracking data names, so it is not asked; give artifact_root if they are there, or add "
        "'https://other:81' to `allowed_hosts` in `fs_args` or `storage_options`"
    )
    for options in ({"allowed_hosts": ["http://other:81"]}, {"endpoint_url": "https://other:81"}):
        with pytest.raises(StorageError, match="only the tracking data names"):
            find(location, **options)
    with pytest.raises(StorageError, match="only the tracking data names"):
        find(f"mlflow-artifacts://mlflow.example:81/1/{run_id}/artifacts")

    other = find(location, allowed_hosts=["https://other:81"])
    assert other.url == f"mlflow+https://other:81/team/1/{run_id}"
    assert other.to_path().storage_options["has_login"] is False
    assert "password" not in other.to_path().storage_options


def test_a_scheme_that_mlflow_does_not_know(client, monkeypatch):
    def refuse(uri: str) -> None:
        raise ValueError(f"unknown scheme of {uri}")

    monkeypatch.setattr(sys.modules["mlflow"], "MlflowClient", refuse)
    with pytest.raises(OptionError, match="MLflow cannot open 'odd://h/': ValueError: unknown"):
        get_experiment_names(tracking_uri="odd://ann:s3cret@h/")
