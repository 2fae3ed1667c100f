"""Artifacts that are not in the run directory, for every store that recorded where they were."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest

from kedro_hydraflow import Run, iter_artifact_paths, iter_artifacts_dirs, iter_run_dirs, iter_runs
from kedro_hydraflow.errors import NotFoundError, OptionError, RunLoadError, StorageError
from tests.conftest import Database, TrackingDir, WebServer, write
from tests.stores.conftest import FAKE, FakeClient, Requests

A, B = "a" * 32, "b" * 32


class Records:
    """Records runs of the experiment 7 in one kind of store, in the directory ``folder``."""

    def __init__(self, kind: str, folder: Path, client: FakeClient) -> None:
        self.kind = kind
        self.folder = folder
        self.client = client
        folder.mkdir()
        if kind == "file":
            self.tracking = TrackingDir(folder / "mlruns")
            self.source: dict[str, Any] = {"tracking_dir": folder / "mlruns"}
        elif kind == "sqlite":
            self.database = Database(folder / "mlflow.db")
            self.source = {"tracking_dir": folder / "mlflow.db"}
        else:
            client.runs.clear()
            client.experiments.clear()
            self.source = {"tracking_uri": FAKE}

    def add(self, location: str, *run_ids: str) -> None:
        """Record an experiment and runs in it, without artifacts."""
        uris = {run_id: f"{location}/{run_id}/artifacts" for run_id in run_ids}
        if self.kind == "file":
            experiment = self.tracking.add_experiment("train", "7", artifact_location=location)
            for run_id, uri in uris.items():
                self.tracking.add_run(experiment, run_id, None, artifact_uri=uri)
        elif self.kind == "sqlite":
            self.database.add_experiment("train", 7, artifact_location=location)
            for run_id, uri in uris.items():
                self.database.add_run(7, run_id, artifact_uri=uri)
        else:
            self.client.add_experiment("7", "train")
            self.client.experiments[-1].artifact_location = location
            for run_id, uri in uris.items():
                self.client.add_run("7", run_id)
                self.client.runs[-1].info.artifact_uri = uri
            shutil.rmtree(self.client.root / "7")

    def get_seeds(self, **options: Any) -> list[int | None]:
        """Return the seeds that were read, None without any, after all ways to read agreed."""
        source = {**self.source, **options}
        runs = Run.load(iter_run_dirs(**source))
        seeds = [run.get("seed", None) for run in runs]
        assert [r.get("seed", None) for some in iter_runs(**source) for r in some] == seeds
        paths = list(iter_artifact_paths(artifact_path=".hydra/config.yaml", **source))
        assert [path.exists() for path in paths] == [seed is not None for seed in seeds]
        assert [run.path(".hydra/config.yaml") for run in pickle.loads(pickle.dumps(runs))] == paths
        assert [run.path() for run in runs] == list(iter_artifacts_dirs(**source))
        return seeds


def put(folder: Path, run_id: str, seed: int) -> None:
    """Write the artifacts of a run."""
    write(folder / run_id / "artifacts/.hydra/config.yaml", f"seed: {seed}")


@pytest.fixture(params=["file", "sqlite", "server"])
def records(request: pytest.FixtureRequest, tmp_path: Path, client: FakeClient) -> Records:
    return Records(request.param, tmp_path / "project", client)


@pytest.fixture(params=["file", "sqlite"])
def local_records(request: pytest.FixtureRequest, tmp_path: Path, client: FakeClient) -> Records:
    """The stores that have directories beside them."""
    return Records(request.param, tmp_path / "project", client)


# Directories that are left behind ---------------------------------------------------------

PLACES = {
    "server": ("mlflow-artifacts:/7", "mlartifacts/7"),
    "server with a host": ("mlflow-artifacts://host:5000/7", "mlartifacts/7"),
    "server, own path": ("mlflow-artifacts:/team/custom", "mlartifacts/team/custom"),
    "workspace": ("mlflow-artifacts:/workspaces/w/7", "mlartifacts/workspaces/w/7"),
    "odd names": ("mlflow-artifacts:/team b/c%d", "mlartifacts/team b/c%d"),
    "moved": ("/gone/store/7", "store/7"),
    "moved to the default": ("/gone/store/7", "mlartifacts/7"),
    "bucket": ("s3://gone/team/store", "team/store"),
}


@pytest.mark.parametrize(("location", "place"), PLACES.values(), ids=PLACES)
@pytest.mark.parametrize("left", ["mlruns/7/{}/artifacts", "mlruns/7/{}", "store/7/{}/artifacts/x"])
def test_an_empty_directory_hides_no_artifacts(
    local_records: Records, location: str, place: str, left: str
) -> None:
    """As after ``mlflow migrate-filestore``, which leaves the directories of the file store."""
    records = local_records
    records.add(location, A, B)
    for run_id in (A, B):
        (records.folder / left.format(run_id)).mkdir(parents=True, exist_ok=True)
    put(records.folder / place, A, 7)
    put(records.folder / place, B, 8)
    assert records.get_seeds() == [7, 8]


def test_an_empty_directory_does_not_hide_the_recorded_one(
    local_records: Records, tmp_path: Path
) -> None:
    records = local_records
    records.add(str(tmp_path / "disk/7"), A)
    for place in ("mlruns/7", "mlartifacts/7", "disk/7"):
        (records.folder / place / A / "artifacts").mkdir(parents=True, exist_ok=True)
    put(tmp_path / "disk/7", A, 7)
    assert records.get_seeds() == [7]


def test_an_empty_directory_does_not_hide_a_bucket(
    local_records: Records, memory: str, requests: Requests
) -> None:
    """That is only looked into for runs without artifacts on the disk."""
    records = local_records
    records.add(f"{memory}/7", A, B)
    put(records.folder / "mlruns/7", A, 7)
    (records.folder / "mlruns/7" / B / "artifacts").mkdir(parents=True, exist_ok=True)
    path = f"{memory.removeprefix('memory:/')}/7/{B}/artifacts/.hydra/config.yaml"
    fsspec.filesystem("memory").pipe(path, b"seed: 8")
    runs = Run.load(iter_run_dirs(**records.source))
    assert runs.to_list("seed") == [7, 8]
    assert not any(A in path for path in (*requests.listed, *requests.read))


@pytest.mark.parametrize("level", ["7", "team/custom", "custom", ""])
def test_artifact_root(records: Records, tmp_path: Path, level: str) -> None:
    """Its directories are named by the experiment or as recorded, and some may be empty."""
    records.add("mlflow-artifacts:/team/custom", A, B)
    for folder in ("7", "custom"):
        (tmp_path / "moved" / folder / A / "artifacts").mkdir(parents=True)
    put(tmp_path / "moved" / level, A, 7)
    put(tmp_path / "moved" / level, B, 8)
    assert records.get_seeds(artifact_root=tmp_path / "moved") == [7, 8]


@pytest.mark.parametrize("level", ["7", "team/custom", ""])
def test_artifact_root_in_memory(records: Records, tmp_path: Path, memory: str, level: str) -> None:
    records.add("mlflow-artifacts:/team/custom", A)
    put(tmp_path / "moved" / level, A, 7)
    name = memory.removeprefix("memory:/")
    fsspec.filesystem("memory").put(str(tmp_path / "moved"), name, recursive=True)
    assert records.get_seeds(artifact_root=memory) == [7]


def test_models_in_directories_that_are_left_behind(local_records: Records, tmp_path: Path) -> None:
    records = local_records
    records.add("mlflow-artifacts:/team", A)
    model = {
        "artifact_location": "mlflow-artifacts:/team/models/m-1/artifacts",
        "model_id": "m-1",
        "experiment_id": "7",
        "name": "model",
        "source_run_id": A,
        "lifecycle_stage": "active",
        "status": 2,
    }
    if records.kind == "file":
        text = "".join(f"{key}: {value}\n" for key, value in sorted(model.items()))
        write(records.folder / "mlruns/7/models/m-1/meta.yaml", text)
    else:
        times = {f"{name}_timestamp_ms": 1 for name in ("creation", "last_updated")}
        records.database.insert("logged_models", **model, **times)
    (records.folder / "mlruns/7/models/m-1/artifacts").mkdir(parents=True, exist_ok=True)
    place = records.folder / "mlartifacts/team/models/m-1/artifacts"
    write(place / "MLmodel", "")
    (run,) = Run.load(iter_run_dirs(**records.source))
    assert run.models == {"model": place}


# Symbolic links -----------------------------------------------------------------------------


@pytest.mark.parametrize("location", ["mlflow-artifacts:/7", "/gone/store/7"])
def test_links_to_tracking_data_in_another_directory(
    local_records: Records, tmp_path: Path, location: str
) -> None:
    """The artifacts are beside what the link leads to."""
    records = local_records
    records.add(location, A)
    put(records.folder / "mlartifacts/7", A, 7)
    given = records.source["tracking_dir"]
    (tmp_path / "linked").mkdir()
    link = tmp_path / "linked" / given.name
    link.symlink_to(given)
    assert records.get_seeds(tracking_dir=link) == [7]
    put(tmp_path / "linked/mlartifacts/7", A, 8)
    assert records.get_seeds(tracking_dir=link) == [8]


# Nowhere --------------------------------------------------------------------------------------


@pytest.mark.parametrize("location", ["mlflow-artifacts:/7", "/nas/gone/7", "dbfs:/x/7"])
def test_artifacts_that_are_nowhere_are_logged(
    local_records: Records, location: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Once for a load, with their number, the first run, and where it was looked for."""
    records = local_records
    records.add(location, A, B)
    Run.load(iter_run_dirs(**records.source))
    (message,) = caplog.messages
    assert message.startswith(
        "2 runs have no artifacts, so their configurations are empty. Those of the first, "
        f"{A}, were recorded at '{location}/{A}/artifacts'; looked for "
    )
    assert f"{records.folder} " in message
    assert "'mlartifacts/7', or as recorded" in message
    caplog.clear()
    assert len(list(iter_artifacts_dirs(**records.source))) == 2
    assert caplog.messages == [message]


def test_artifacts_on_the_disk_of_a_server(
    tmp_path: Path, client: FakeClient, caplog: pytest.LogCaptureFixture
) -> None:
    records = Records("server", tmp_path / "project", client)
    records.add("/srv/gone/7", A, B)
    Run.load(iter_run_dirs(**records.source))
    assert caplog.messages == [
        "2 runs have no artifacts, so their configurations are empty. Those of the first, "
        f"{A}, were recorded at '/srv/gone/7/{A}/artifacts'; looked for /srv/gone/7/{A}/artifacts"
        "/.hydra/config.yaml. If they are elsewhere, give artifact_root"
    ]


@pytest.mark.parametrize("left", ["mlruns/7", "7"])
def test_an_empty_directory_is_not_what_was_recorded(
    local_records: Records, left: str, caplog: pytest.LogCaptureFixture
) -> None:
    records = local_records
    records.add("mlflow-artifacts:/7", A, B)
    for run_id in (A, B):
        (records.folder / left / run_id / "artifacts").mkdir(parents=True, exist_ok=True)
    put(records.folder / "mlartifacts/7", B, 8)
    assert [run.get("seed", None) for run in Run.load(iter_run_dirs(**records.source))] == [None, 8]
    (message,) = caplog.messages
    assert message.startswith(
        f"run {A} has no artifacts, so its configuration is empty. They were recorded at "
        f"'mlflow-artifacts:/7/{A}/artifacts'; looked for "
    )


@pytest.mark.parametrize(
    ("location", "place"),
    [("mlflow-artifacts:/7", "mlartifacts/7"), ("/gone/mlruns/7", "mlruns/7")],
)
def test_runs_that_logged_no_artifacts_are_not_logged(
    local_records: Records, location: str, place: str, caplog: pytest.LogCaptureFixture
) -> None:
    records = local_records
    records.add(location, A, B)
    (records.folder / place / A / "artifacts").mkdir(parents=True, exist_ok=True)
    put(records.folder / place, B, 8)
    assert records.get_seeds() == [None, 8]
    assert caplog.messages == []


@pytest.mark.parametrize("location", ["/gone/store/7", "mlflow-artifacts:/7", "http://gone/7"])
def test_artifacts_without_a_configuration_are_not_lost(
    local_records: Records, location: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Not even if they are not where they were recorded, nor do they have to be opened there."""
    records = local_records
    records.add(location, A, B)
    write(records.folder / "mlruns/7" / A / "artifacts/text.txt", "7")
    put(records.folder / "mlruns/7", B, 8)
    assert records.get_seeds() == [None, 8]
    first, _ = iter_artifact_paths(artifact_path="text.txt", **records.source)
    assert first.read_text() == "7"
    assert caplog.messages == []


def test_artifact_root_without_a_run(
    records: Records, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    records.add("mlflow-artifacts:/7", A, B)
    put(tmp_path / "moved/7", A, 7)
    runs = Run.load(iter_run_dirs(**records.source, artifact_root=tmp_path / "moved"))
    assert [run.get("seed", None) for run in runs] == [7, None]
    (message,) = caplog.messages
    assert message.startswith(f"run {B} has no artifacts")
    assert f" and below artifact_root '{tmp_path}/moved'. " in message


# An artifact root that is none ------------------------------------------------------------------


@pytest.mark.parametrize("on_error", ["raise", "warn"])
def test_an_artifact_root_that_does_not_exist(
    records: Records, tmp_path: Path, memory: str, on_error: Any
) -> None:
    records.add("mlflow-artifacts:/7", A)
    read: list[Callable[..., Any]] = [
        lambda **options: Run.load(iter_run_dirs(**options), on_error=on_error),
        lambda **options: list(iter_artifacts_dirs(**options)),
        lambda **options: list(iter_runs(**options)),
    ]
    write(tmp_path / "file", "")
    for load in read:
        options = {**records.source, "on_error": on_error}
        with pytest.raises(NotFoundError, match=r"^artifact_root: there is no .*typo'$"):
            load(**options, artifact_root=tmp_path / "typo")
        with pytest.raises(NotFoundError, match=r"^artifact_root: there is no .*typo'$"):
            load(**options, artifact_root=f"{memory}/typo")
        with pytest.raises(
            OptionError, match=r"^artifact_root: expected a directory, found the file .*file$"
        ):
            load(**options, artifact_root=tmp_path / "file")


def test_an_artifact_root_that_lists_nothing(
    records: Records, tmp_path: Path, serve: Callable[[Path], WebServer]
) -> None:
    """It can be used if the directory of the experiment can be listed; denied is not absent."""
    records.add("mlflow-artifacts:/7", A)
    put(tmp_path / "web/store/7", A, 7)
    server = serve(tmp_path / "web")
    server.answers = {"/store": [403] * 99, "/store/": [403] * 99}
    root = f"{server.url}/store"
    (run,) = Run.load(iter_run_dirs(**records.source, artifact_root=root))
    assert run["seed"] == 7
    server.answers = {name: [403] * 99 for name in ("/store", "/store/", "/7", "/7/")}
    with pytest.raises((RunLoadError, StorageError), match="403") as raised:
        Run.load(iter_run_dirs(**records.source, artifact_root=root))
    assert not isinstance(raised.value, NotFoundError)
