"""Runs that the newest HydraFlow writes to MLflow's own server, with its artifacts on S3."""

from __future__ import annotations

import json
import pickle
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from polars.testing import assert_frame_equal

from kedro_hydraflow import (
    HydraflowArtifactDataset,
    HydraflowRunCollectionDataset,
    HydraflowRunDataset,
    Run,
    RunCollection,
    get_experiment_names,
    iter_run_dirs,
)
from kedro_hydraflow.cli.main import main
from kedro_hydraflow.errors import (
    KedroHydraflowError,
    NotFoundError,
    StorageError,
    TrackingDirectoryError,
    UnreachableError,
)
from kedro_hydraflow.run_info import LOGGED_KINDS, read_histories
from kedro_hydraflow.stores.base import Store
from kedro_hydraflow.stores.server_store import ServerStore
from tests import servers
from tests.cli.conftest import RUNNER
from tests.conftest import ROOT, SWEEP
from tests.integration.places import is_server_required

pytestmark = [
    pytest.mark.integration,
    # Clients that live as long as the process do not close their connections at its end.
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Unclosed:ResourceWarning"),
]

PASSWORD = "admin-password-1"

APPLICATION = ROOT / "examples" / "train_digits.py"
JOBS = ["training.learning_rate=0.01,0.99", "training.epochs=2", "model.hidden_size=4"]
"""Two runs, of which the second one fails."""


@dataclass(frozen=True)
class Site:
    """Two servers on one database: the first serves artifacts and has users."""

    proxied: str
    direct: str
    database: Path
    s3: servers.Server

    @property
    def uri(self) -> str:
        """The first server's URL, with the password."""
        return self.proxied.replace("://", f"://admin:{PASSWORD}@")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    pytest.importorskip("s3fs")
    folder = tmp_path_factory.mktemp("mlflow")
    with ExitStack() as stack:
        stack.enter_context(pytest.MonkeyPatch.context()).setenv("DO_NOT_TRACK", "1")
        try:
            servers.find_hydraflow()
            s3 = stack.enter_context(servers.moto())
        except servers.MissingServerError as exc:
            if is_server_required():
                raise
            pytest.skip(str(exc))
        database = folder / "mlflow.db"
        servers.migrate_to_database(SWEEP, database)
        proxied = servers.mlflow_server(
            database, s3, "--artifacts-destination", f"{s3.url}/proxied", password=PASSWORD
        )
        direct = servers.mlflow_server(
            database, s3, "--no-serve-artifacts", "--default-artifact-root", f"{s3.url}/direct"
        )
        site = Site(stack.enter_context(proxied), stack.enter_context(direct), database, s3)
        write_runs(site, folder)
        yield site


def write_runs(site: Site, folder: Path) -> None:
    python, env = servers.find_hydraflow(), servers.get_mlflow_env(site.s3)

    def run_application(uri: str, name: str) -> None:
        command = [python, str(APPLICATION), "-m", f"hydra.job.name={name}", *JOBS]
        (folder / name).mkdir()
        # One of its runs fails, and so does the whole.
        servers.run_with_hydraflow(command, folder / name, {**env, "TURI": uri}, check=False)

    with ThreadPoolExecutor() as threads:
        tasks = [
            threads.submit(run_application, site.uri, "digits"),
            threads.submit(run_application, site.direct, "digits_direct"),
            threads.submit(
                servers.run_with_hydraflow, [python, "-c", ODD_RUNS, site.uri], folder, env
            ),
        ]
        for task in tasks:
            task.result()


ODD_RUNS = """
import math, pathlib, sys
from mlflow import MlflowClient

client = MlflowClient(sys.argv[1])
experiment_id = client.create_experiment("odd")
run_id = client.create_run(experiment_id, run_name="odd").info.run_id
for step, value in enumerate([1.0, math.nan, math.inf, -math.inf]):
    client.log_metric(run_id, "odd", value, step=step)
    client.log_metric(run_id, f"odd/{step}", value)
client.log_param(run_id, "long", "x" * 5000)
client.set_tag(run_id, "text", "ä\\n'")
for key in ("created", "run name", "a b/c.d-e:f", "select", "ä"):
    client.log_param(run_id, key, "x y")
    client.log_metric(run_id, key, -1e-7)
client.log_param(run_id, "number", "0.10")
client.log_text(run_id, "seed: 1\\n", ".hydra/config.yaml")
client.log_text(run_id, "hello", "a b/50+ ä.txt")
deleted = client.create_run(experiment_id).info.run_id
client.delete_run(deleted)
client.delete_experiment(client.create_experiment("deleted"))

experiment_id = client.create_experiment("nested")
parent = client.create_run(experiment_id).info.run_id
child = client.create_run(experiment_id, tags={"mlflow.parentRunId": parent}).info.run_id
for run_id, text in ((parent, "old"), (parent, "new"), (child, "of the child")):
    model_id = client.create_logged_model(experiment_id, "model", run_id).model_id
    pathlib.Path("weights.txt").write_text(text)
    client.log_model_artifact(model_id, "weights.txt")
    client.finalize_logged_model(model_id, "READY")
"""


def load(uri: str, experiment_names: Any = None, **options: Any) -> RunCollection[Any]:
    dirs = iter_run_dirs(tracking_uri=uri, experiment_names=experiment_names, **options)
    return Run.load(dirs)


def test_experiments(site):
    names = ["digits", "digits_direct", "nested", "odd"]
    of_the_sweep = get_experiment_names(SWEEP)
    assert get_experiment_names(tracking_uri=site.uri) == sorted([*names, *of_the_sweep])


def test_runs_of_the_application(site):
    runs = load(site.uri, "digits")

    assert runs.to_frame("status", "training.learning_rate").sort("status").rows() == [
        ("FAILED", 0.99),
        ("FINISHED", 0.01),
    ]
    run = runs.get(status="FINISHED")
    assert run.cfg.model.hidden_size == 4
    assert (run.info.job_name, run.info.lifecycle_stage) == ("digits", "active")
    assert run.info.start_time < run.info.end_time
    assert run.params == {"model.type": "mlp", "training.learning_rate": "0.01"}
    assert run.tags["stage"] == "sweep"
    assert set(run.metrics) == {"accuracy", "train/loss", "val/accuracy"}
    (history,) = read_histories([run.info], "val/accuracy")
    assert [point.step for point in history] == [0, 1]
    assert history[-1].value == run.metrics["val/accuracy"]


def test_the_terminal_takes_the_url_of_a_server_as_it_is(site):
    result = RUNNER.invoke(
        main, ["ls", site.uri, "-x", "digits", "-s", "status", "--csv", "-c", "status,model.type"]
    )
    assert (result.exit_code, result.stdout) == (
        0,
        "status,model.type\nFAILED,mlp\nFINISHED,mlp\n",
    )
    result = RUNNER.invoke(main, ["ls", site.proxied])
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"Error: the tracking server {site.proxied!r} denies access")


def test_commands(site, tmp_path):
    def run(*arguments: str) -> str:
        result = RUNNER.invoke(main, [arguments[0], site.uri, *arguments[1:]])
        assert (result.exit_code, result.stderr.count("Error")) == (0, 0), result.stderr
        assert PASSWORD not in result.stdout + result.stderr
        return result.stdout

    runs = load(site.uri, "digits")
    finished, failed = runs.get(status="FINISHED"), runs.get(status="FAILED")
    ids = finished.info.run_id, failed.info.run_id
    shown = json.loads(run("show", ids[0], "--json"))
    assert shown["status"] == "FINISHED"
    assert shown["configuration"] == finished.to_dict()
    assert shown["metrics"] == finished.metrics
    assert shown["params"] == finished.params
    assert {"path": "confusion_matrix.json", "size": 792}.keys() <= shown["artifacts"][0].keys()
    assert "confusion_matrix.json" in run("show", ids[0])
    rows = {row["key"]: (row["a"], row["b"]) for row in json.loads(run("diff", *ids, "--json"))}
    assert rows["training.learning_rate"] == (0.01, 0.99)
    best = ["--by", "metrics.accuracy", "--mode", "max", "-x", "digits", "-c", "run_id", "--csv"]
    assert run("best", *best) == f"run_id\n{ids[0]}\n"
    file = tmp_path / "runs.jsonl"
    written = run("export", str(file), "-x", "digits", "-c", "run_id,metrics.*")
    assert written.startswith("wrote 2 runs with ")
    rows = map(json.loads, file.read_text().splitlines())
    assert {row["run_id"] for row in rows} == set(ids)


def test_artifacts_through_the_server(site, tmp_path, monkeypatch):
    monkeypatch.setenv("KEDRO_HYDRAFLOW_CACHE_DIR", str(tmp_path))
    run = load(site.uri, "digits")[0]

    assert len(json.loads(run.path("confusion_matrix.json").read_bytes())) == 10
    assert np.load(run.path("model/weights.npz"))["coef_0"].shape == (64, 4)
    assert [path.name for path in run.path("model").iterdir()] == ["weights.npz"]
    assert not run.path("absent.txt").exists()
    with pytest.raises(FileNotFoundError):
        run.path("absent.txt").read_bytes()
    assert (run.info.run_dir / "artifacts/confusion_matrix.json").read_text().startswith("[")
    assert PASSWORD not in f"{run.path('model')} {run.info.run_dir}"


def test_artifacts_on_s3_itself(site):
    runs = load(site.direct, "digits_direct", storage_options=site.s3.options)

    assert len(runs) == 2
    assert str(runs[0].info.run_dir).startswith(f"{site.s3.url}/direct/")
    assert runs[0].cfg.training.epochs == 2
    assert len(json.loads(runs[0].path("confusion_matrix.json").read_bytes())) == 10


def test_one_server_with_artifacts_in_both_places(site):
    runs = load(site.uri, "digits*", storage_options=site.s3.options)
    assert sorted(runs.to_list("job_name")) == ["digits"] * 2 + ["digits_direct"] * 2
    assert runs.to_list("model.hidden_size") == [4] * 4


def test_filters(site):
    runs = load(site.uri, "digits")
    assert len(runs.filter(("metrics.accuracy", lambda value: value > 0))) == 2
    assert len(runs.filter(("params.model.type", "mlp"), status="FAILED")) == 1


@pytest.mark.parametrize(
    ("filters", "n_runs"),
    [
        ("status == finished and job_name == digits", 1),
        ("status in [FAILED, killed] and metrics.accuracy > 0", None),
        ("metrics.odd == 1", 0),
        ("metrics.odd/0 == 1", 1),
        ("metrics.odd/1 <= 0", 0),  # is NaN
        ("metrics.odd/2 > 1e300", 1),
        ("metrics.odd/3 < -1e300", 1),
        ("metrics.`a b/c.d-e:f` < -0.00000009 and metrics.`a b/c.d-e:f` > -1.1e-7", 1),
        ("metrics.created < 0 and metrics.`run name` < 0 and metrics.select == -1e-7", 1),
        ("params.created == 'x y' and params.`run name` == 'x y' and params.ä == 'x y'", 1),
        ("params.select == 'X Y' or params.`a b/c.d-e:f` = 'x y'", 1),
        ("params.number == 0.1", 1),
        ("params.number == '0.1'", 0),
        ("params.`model.type` == mlp and params.`training.learning_rate` in ['0.01', '1']", None),
        ("tags.text like 'ä%' and params.created == 'x y'", 1),
        ("tags.stage == sweep and start_time > 2026-01-01", None),
        ("start_time > now - 1h and end_time < now + 1h and metrics.accuracy >= 0", None),
        ("end_time <= 2026-12-01 and start_time >= 2026-11-01 and status == FAILED", None),
        ("parent_run_id is not null", 1),
    ],
)
def test_a_server_leaves_out_what_filters_rule_out(site, monkeypatch, filters, n_runs):
    def find() -> list[str]:
        names = ["*"] if n_runs is None else ["odd", "digits", "nested"]
        options = {"experiment_names": names, "include_deleted": True}
        try:
            return list(map(str, iter_run_dirs(tracking_uri=site.uri, filters=filters, **options)))
        except KedroHydraflowError as exc:
            return [str(exc)]

    found = find()
    assert len(found) == n_runs if n_runs is not None else found
    monkeypatch.setattr(ServerStore, "list_narrowed", Store.list_narrowed)
    assert find() == found


def test_a_nested_run_is_found_by_its_parent(site):
    (parent,) = load(site.uri, "nested").parents()
    runs = load(site.uri, "nested", filters=f"parent_run_id == {parent.info.run_id}")
    assert [run.info.parent_run_id for run in runs] == [parent.info.run_id]
    runs = load(site.uri, "nested", filters=f"run_id in [{parent.info.run_id}, {'0' * 32}]")
    assert runs.to_list("run_id") == [parent.info.run_id]


N_MANY = 2_500
"""More than two pages."""


@pytest.fixture
def many(site) -> str:
    """The name of an experiment with many runs, of which one in a hundred has failed."""
    with closing(sqlite3.connect(site.database, timeout=60)) as database, database:
        if database.execute("SELECT 1 FROM experiments WHERE name = 'many'").fetchall():
            return "many"
        copied = "workspace, creation_time, last_update_time, lifecycle_stage"
        database.execute(
            f"INSERT INTO experiments (experiment_id, name, artifact_location, {copied}) "
            f"SELECT 4242, 'many', 'mlflow-artifacts:/4242', {copied} FROM experiments LIMIT 1"
        )
        ids = [f"{i:032x}" for i in range(N_MANY)]
        database.executemany(
            "INSERT INTO runs (run_uuid, name, source_type, source_name, entry_point_name, "
            "source_version, user_id, status, start_time, end_time, lifecycle_stage, "
            "artifact_uri, experiment_id) VALUES (?1, 'r', 'LOCAL', '', '', '', 'me', ?2, 1, 2, "
            "'active', 'mlflow-artifacts:/4242/' || ?1 || '/artifacts', 4242)",
            [(i, "FINISHED" if n % 100 else "FAILED") for n, i in enumerate(ids)],
        )
        database.executemany(
            "INSERT INTO latest_metrics (run_uuid, key, value, timestamp, step, is_nan) "
            "VALUES (?, ?, ?, 1, 1, 0)",
            [(i, key, n / N_MANY) for n, i in enumerate(ids) for key in ("accuracy", "loss")],
        )
    return "many"


@pytest.mark.parametrize(
    ("filters", "n_runs", "n_pages"),
    [
        (None, N_MANY, 3),
        ("status == FAILED", 25, 1),
        ("metrics.accuracy >= 0.99", 25, 1),
        ("metrics.accuracy >= 0.2 and status == FINISHED", 1980, 2),
        ("status != FAILED", 2475, 3),
        ("status == KILLED", 0, 3),  # none: so all are counted
    ],
)
def test_how_much_a_server_sends(site, many, monkeypatch, filters, n_runs, n_pages):
    import requests

    sizes = []
    send = requests.Session.send

    def note(self: Any, request: Any, **options: Any) -> Any:
        response = send(self, request, **options)
        if request.url.endswith("/runs/search"):
            sizes.append(len(response.content))
        return response

    monkeypatch.setattr(requests.Session, "send", note)
    dirs = list(iter_run_dirs(tracking_uri=site.uri, experiment_names=many, filters=filters))
    assert len(dirs) == n_runs
    n_empty = filters == "status == KILLED"
    assert len(sizes) == n_pages + n_empty
    assert sum(sizes) < 1_000 * ((n_runs or N_MANY) + 1)


def test_runs_in_another_process(site):
    runs = pickle.loads(pickle.dumps(load(site.uri, "digits")))
    assert runs[0].path("confusion_matrix.json").read_bytes()
    assert runs.to_list("metrics.accuracy") == load(site.uri, "digits").to_list("metrics.accuracy")


def test_odd_values(site):
    (run,) = load(site.uri, "odd")

    (history,) = read_histories([run.info], "odd")
    assert [str(point.value) for point in history] == ["1.0", "nan", "inf", "-inf"]
    assert [str(run.metrics[f"odd/{i}"]) for i in range(4)] == ["1.0", "nan", "inf", "-inf"]
    assert run.params["long"] == "x" * 5000
    assert run.tags["text"] == "ä\n'"
    assert run.path("a b/50+ ä.txt").read_bytes() == b"hello"
    assert [path.name for path in run.path("a b").iterdir()] == ["50+ ä.txt"]


def test_nested_runs_and_their_models(site):
    runs = load(site.uri, "nested")

    (parent,) = runs.parents()
    (child,) = runs.children(parent)
    assert child.info.parent_run_id == parent.info.run_id
    texts = [(run.models["model"] / "weights.txt").read_text() for run in (parent, child)]
    assert texts == ["new", "of the child"]
    with pytest.raises(NotFoundError, match=r"use run.models\['model'\]"):
        parent.fetch("model/weights.txt")
    (run,) = load(site.uri, "odd")
    assert (run.models, run.info.parent_run_id) == ({}, None)


def test_deleted_runs(site):
    stages = load(site.uri, "odd", include_deleted=True).to_list("lifecycle_stage")
    assert sorted(stages) == ["active", "deleted"]


def test_the_file_store_its_database_and_a_server_tell_the_same(site):
    stores = {
        "file store": Run.load(iter_run_dirs(SWEEP)),
        "database": load(f"sqlite:///{site.database}", "*", artifact_root=SWEEP, on_error="warn"),
        "server": load(site.uri, artifact_root=SWEEP, on_error="warn"),
    }
    expected = stores.pop("file store")
    ids = set(expected.to_list("run_id"))
    facts = ("run_id", "job_name", "experiment_id", "status", "run_name", "start_time", "end_time")
    frame = expected.to_frame(*facts[:2], *facts[3:], "model.type").sort("run_id")
    for name, runs in stores.items():
        same = runs.filter(lambda run: run.info.run_id in ids)
        assert_frame_equal(same.to_frame(*frame.columns).sort("run_id"), frame)
        for run in same:
            twin = expected.get(run_id=run.info.run_id)
            for kind in LOGGED_KINDS:
                assert getattr(run, kind) == getattr(twin, kind), (name, kind)
            (history,), (other,) = (read_histories([r.info], "train/loss") for r in (run, twin))
            assert history == other


def test_a_database_whose_server_has_the_artifacts(site):
    runs = load(
        f"sqlite:///{site.database}",
        "digits",
        artifact_root=f"{site.s3.url}/proxied",
        storage_options=site.s3.options,
    )
    assert runs.to_list("model.hidden_size") == [4] * 2


def test_the_bucket_without_a_server(site):
    bucket = f"{site.s3.url}/proxied"
    runs = Run.load(iter_run_dirs(bucket, "digits", storage_options=site.s3.options))
    known = load(site.uri, "digits")
    assert runs.to_list("run_id") == known.to_list("run_id")
    assert runs.to_list("training.learning_rate") == known.to_list("training.learning_rate")
    assert runs.to_list("status") == [None, None]


def test_datasets(site):
    options = {"tracking_uri": site.uri, "experiment_names": "digits"}
    runs = HydraflowRunCollectionDataset(**options, filters=["status == FINISHED"]).load()
    assert runs.to_list("training.learning_rate") == [0.01]

    best = HydraflowRunDataset(**options, best_by="training.learning_rate", mode="max")
    assert best.exists()
    assert best.load().info.status == "FAILED"
    assert PASSWORD not in repr(best)

    artifact = {"artifact": "confusion_matrix.json", "dataset": "json.JSONDataset"}
    loaders = HydraflowArtifactDataset(**options, **artifact).load()
    assert [len(load_matrix()) for load_matrix in loaders.values()] == [10, 10]


def test_login_from_the_environment(site, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)
    runs = load(site.proxied, "digits")
    assert runs[0].path("confusion_matrix.json").read_bytes()

    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "wrong-password")
    with pytest.raises(StorageError, match=r"denies access \(401\): set MLFLOW_TRACKING") as caught:
        load(site.proxied)
    assert "wrong-password" not in str(caught.value)
    with pytest.raises(StorageError, match=r"denies access \(401\)"):
        runs[1].path("confusion_matrix.json").read_bytes()


@pytest.mark.parametrize("user", ["", "admin:wrong-password@"])
def test_denied(site, user):
    with pytest.raises(StorageError, match=r"denies access \(401\)") as caught:
        load(site.proxied.replace("://", f"://{user}"))
    assert not isinstance(caught.value, UnreachableError)
    assert "wrong-password" not in str(caught.value)


def test_a_server_that_does_not_serve_artifacts(site):
    with pytest.raises(KedroHydraflowError, match=r"does not serve artifacts .*artifact_root"):
        load(site.direct, "digits")


def test_no_server():
    port = servers.get_free_port()
    with pytest.raises(UnreachableError, match=r"cannot be reached: .*refused.*is it running") as e:
        load(f"http://ann:pass-of-ann@127.0.0.1:{port}")
    assert f"'http://127.0.0.1:{port}'" in str(e.value)
    assert "pass-of-ann" not in str(e.value)


def test_a_server_that_is_not_mlflow(site):
    with pytest.raises(TrackingDirectoryError, match="is not an MLflow server"):
        load(f"http://{site.s3.endpoint}/moto-api")


def test_nothing_is_left_behind(site, tmp_path, monkeypatch):
    import mlflow

    monkeypatch.chdir(tmp_path)
    before = mlflow.get_tracking_uri()
    load(site.uri, "digits")
    assert mlflow.get_tracking_uri() == before
    assert list(tmp_path.iterdir()) == []
