"""Locating the artifacts of a database that was copied or moved."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from kedro_hydraflow import Run, iter_experiment_dirs, iter_run_dirs
from kedro_hydraflow.errors import MissingPackageError, RunLoadError
from kedro_hydraflow.storage import local
from kedro_hydraflow.stores import locations
from tests.conftest import DATABASE_SWEEP, Database, WebServer, write
from tests.windows import use_windows

A, B = "a" * 32, "b" * 32


def put(folder: Path | str, run_id: str, seed: int) -> None:
    """Write the artifacts of a run."""
    write(Path(folder) / run_id / "artifacts/.hydra/config.yaml", f"seed: {seed}")


def record(database: Database, location: str, *run_ids: str, number: int = 1) -> None:
    """Record runs whose artifacts are in a location of the experiment."""
    database.add_experiment(f"train_{number}", number, artifact_location=location)
    for run_id in run_ids:
        database.add_run(number, run_id, artifact_uri=f"{location}/{run_id}/artifacts")


def get_seeds(database: Database, **options: Any) -> list[int | None]:
    return [run.get("seed", None) for run in Run.load(iter_run_dirs(database.path, **options))]


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[str]:
    """The name of a bucket in memory."""
    name = f"bucket-{tmp_path.name}"
    yield name
    if fsspec.filesystem("memory").exists(f"/{name}"):
        fsspec.filesystem("memory").rm(f"/{name}", recursive=True)


# Beside the database -------------------------------------------------------------------

RECORDED = {
    "absolute": ("/gone/project/mlruns/1", "mlruns/1"),
    "file URI": ("file:///gone/project/mlruns/1", "mlruns/1"),
    "percent-encoded": ("file:///gone/my%20project/all%20runs/1", "all runs/1"),
    "not encoded": ("/gone/100%25/all%20runs/1", "all%20runs/1"),
    "Windows": ("file:///C:/Users/me/mlruns/1", "mlruns/1"),
    "Windows path": ("C:\\Users\\me\\mlruns\\1", "mlruns/1"),
    "Windows, as one may write it": ("file:C:\\Users\\me\\store\\1", "store/1"),
    "Windows, as another may": ("file://C:\\Users\\me\\store\\1", "store/1"),
    "Windows, a drive alone": ("C:\\store\\1", "store/1"),
    "Windows, a long path": ("\\\\?\\C:\\store\\1", "store/1"),
    "Windows, a share": ("\\\\server\\share\\store\\1", "share/store/1"),
    "Windows, the URI of a share": ("file://server/share/store/1", "share/store/1"),
    "relative": ("./mlruns/1", "mlruns/1"),
    "relative without a dot": ("mlruns/1", "mlruns/1"),
    "server's folder": ("/gone/mlartifacts/1", "mlartifacts/1"),
    "proxied": ("mlflow-artifacts:/1", "mlartifacts/1"),
    "proxied with a host": ("mlflow-artifacts://host:5000/1", "mlartifacts/1"),
    "moved to mlruns": ("/gone/store/1", "mlruns/1"),
    "custom name": ("/gone/store/1", "store/1"),
    "several custom names": ("/gone/team/store/1", "team/store/1"),
    "no experiment ID": ("/gone/my-artifacts", "my-artifacts"),
    "bucket": ("s3://bucket/mlruns/1", "mlruns/1"),
    "bucket's folder": ("s3://bucket/team/store/1", "store/1"),
    "its own folder": ("/gone/store/1", "1"),
    "odd": ("/gone/../store/1", "mlruns/1"),
}


@pytest.mark.parametrize(("location", "place"), RECORDED.values(), ids=RECORDED)
def test_artifacts_lie_beside_the_database(
    database: Database, tmp_path: Path, location: str, place: str
) -> None:
    record(database, location, A)
    put(tmp_path / place, A, 7)
    (run,) = Run.load(iter_run_dirs(database.path))
    assert (run["seed"], run.info.run_dir) == (7, tmp_path / place / A)
    assert list(iter_experiment_dirs(database.path)) == [tmp_path / place]


@pytest.mark.parametrize(
    "location",
    [
        "mlflow-artifacts:/../../outside/1",
        "mlflow-artifacts:/x/../../../outside/1",
        "C:\\mlruns\\..\\..\\outside\\1",
        "gs+unknown://bucket/../outside/1",
    ],
)
def test_a_recorded_location_leads_nowhere_else(tmp_path: Path, location: str) -> None:
    """A copy is looked for beside the database, wherever the database says that it was."""
    database = Database(tmp_path / "project/mlflow.db")
    for folder in ("mlartifacts/x", "mlruns", "x", "bucket"):
        (tmp_path / "project" / folder).mkdir(parents=True)
    put(tmp_path / "outside/1", A, 7)
    record(database, location, A)
    assert 7 not in get_seeds(database, on_error="warn")


def test_artifacts_lie_in_the_given_directory(database: Database, tmp_path: Path) -> None:
    record(database, "/gone/mlruns/1", A)
    put(tmp_path / "other/1", A, 7)
    (run,) = Run.load(iter_run_dirs(tmp_path / "other"))
    assert run["seed"] == 7


def test_artifacts_beside_the_database_take_precedence(
    database: Database, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    recorded = tmp_path_factory.mktemp("old") / "mlruns/1"
    record(database, str(recorded), A, B)
    put(recorded, A, 1)
    put(recorded, B, 2)
    assert get_seeds(database) == [1, 2]
    put(tmp_path / "mlruns/1", A, 7)
    assert get_seeds(database) == [7, 2]


def test_copied_sweep_is_its_own(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(DATABASE_SWEEP, copy)
    runs = Run.load(iter_run_dirs(copy))
    assert all(run.info.run_dir.is_relative_to(copy) for run in runs)
    assert None not in runs.to_frame("seed")["seed"].to_list()


def test_location_relative_to_the_database(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(database, "./mlruns/1", A)
    put(tmp_path / "mlruns/1", A, 7)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert get_seeds(database) == [7]
    monkeypatch.chdir(tmp_path)
    (run,) = Run.load(iter_run_dirs("mlflow.db"))
    monkeypatch.chdir("/")
    assert run.path(".hydra/config.yaml").is_file()


def test_runs_of_one_experiment_in_two_locations(database: Database, tmp_path: Path) -> None:
    record(database, str(tmp_path / "first/1"), A)
    uri = (tmp_path / "second/é 1").as_uri()
    database.add_run(1, B, artifact_uri=f"{uri}/{B}/artifacts")
    put(tmp_path / "first/1", A, 1)
    put(tmp_path / "second/é 1", B, 2)
    assert get_seeds(database) == [1, 2]


# In storage ----------------------------------------------------------------------------


def test_recorded_location_is_followed(database: Database, memory: str) -> None:
    record(database, f"memory://{memory}/1", A)
    path = f"/{memory}/1/{A}/artifacts/.hydra/config.yaml"
    fsspec.filesystem("memory").pipe(path, b"seed: 7")
    assert get_seeds(database) == [7]


def test_bucket_without_its_package_is_an_error(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(database, "s3://bucket/mlruns/1", A, B)
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.setitem(sys.modules, "obstore", None)
    put(tmp_path / "mlruns/1", A, 7)
    with pytest.raises(MissingPackageError, match=r"kedro-hydraflow\[s3\]"):
        get_seeds(database)
    put(tmp_path / "mlruns/1", B, 8)
    assert get_seeds(database) == [7, 8]  # nothing is read from the bucket


@pytest.mark.parametrize(
    "location",
    [
        "http://files.example/5",
        "https://ann:s3cret@files.example/5",
        "sftp://files.example/5",
        "zip://5::http://files.example/a.zip",
        "zip://5::/local/a.zip",
        "reference://5::http://files.example/a.json",
        "file://files.example/5",
        "abfss://c@theirs.dfs.core.windows.net/5",
        "wasbs://c@theirs.blob.core.windows.net/5",
        "abfss://c@theirs.example/5",
        "s3://files.example?x=/5",
        "s3://ann:s3cret@bucket/5",
        "gs://files.example#/5",
        "hdfs://files.example:8020/5",
        "http://allowed.example@files.example/5",
        "http://files.example\\@allowed.example/5",
        "http://allowed.example:81/5",
        "https://allowed.example/5",
        "http://[::1/5",
        "http://allowed.example:x/5",
    ],
)
def test_a_host_that_only_the_database_names_is_not_asked(
    database: Database, tmp_path: Path, location: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(database, location, A)
    monkeypatch.setattr("socket.socket.connect", None)
    options = {
        "headers": {"Authorization": "s3cret"},
        "account_name": "ours",
        "allowed_hosts": ["http://allowed.example"],
    }
    with pytest.raises(RunLoadError, match="a host that only the tracking data names") as raised:
        get_seeds(database, storage_options=options)
    assert "s3cret" not in str(raised.value)
    assert "so it is not asked; give artifact_root if they are there" in str(raised.value)
    put(tmp_path / "moved", A, 7)
    assert get_seeds(database, artifact_root=tmp_path / "moved") == [7]


def test_a_host_that_the_user_names_is_asked(
    database: Database, tmp_path: Path, serve: Callable[[Path], WebServer]
) -> None:
    server = serve(tmp_path / "web")
    put(tmp_path / "web/store/1", A, 7)
    record(database, f"{server.url}/store/1", A)
    with pytest.raises(RunLoadError) as raised:
        get_seeds(database)
    allow = f"or add '{server.url}' to `allowed_hosts` in `fs_args` or `storage_options`"
    assert allow in str(raised.value)
    assert server.requests == []
    assert get_seeds(database, storage_options={"allowed_hosts": [server.url]}) == [7]
    assert get_seeds(database, artifact_root=f"{server.url}/store") == [7]


def test_a_host_that_is_only_allowed_gets_no_login(
    database: Database, tmp_path: Path, serve: Callable[[Path], WebServer]
) -> None:
    server = serve(tmp_path / "web")
    put(tmp_path / "web/store/1", A, 7)
    record(database, f"{server.url}/store/1", A)
    login = {"client_kwargs": {"headers": {"Authorization": "s3cret", "X-Api-Key": "s3cret"}}}
    options = {**login, "allowed_hosts": [server.url]}
    assert get_seeds(database, storage_options=options) == [7]
    assert server.headers
    assert not {"authorization", "x-api-key"} & set().union(*server.headers)
    server.headers.clear()
    root = f"{server.url}/store"
    assert get_seeds(database, storage_options=options, artifact_root=root) == [7]
    assert all({"authorization", "x-api-key"} <= set(headers) for headers in server.headers)


def test_proxied_artifacts_without_their_server(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    record(database, "mlflow-artifacts:/1", A, B)
    assert get_seeds(database) == [None, None]
    (message,) = caplog.messages
    folder = database.path.parent
    assert message == (
        "2 runs have no artifacts, so their configurations are empty. Those of the first, "
        f"{A}, were recorded at 'mlflow-artifacts:/1/{A}/artifacts'; looked for "
        f"{folder}/mlartifacts/1/{A}/artifacts/.hydra/config.yaml and below {folder} (in "
        "'mlruns/1' and 'mlartifacts/1', or as recorded). If they are elsewhere, give "
        "artifact_root"
    )


@pytest.mark.parametrize("level", ["", "1/"])
@pytest.mark.parametrize("kind", ["path", "str", "memory"])
def test_artifact_root(
    database: Database, tmp_path: Path, memory: str, level: str, kind: str
) -> None:
    record(database, "s3://bucket/1", A)
    put(tmp_path / "mlruns/1", A, 1)  # ignored
    root = tmp_path / "moved"
    put(root / level, A, 7)
    location: Any = {"path": root, "str": str(root), "memory": f"memory://{memory}"}[kind]
    if kind == "memory":
        fsspec.filesystem("memory").put(str(root), f"/{memory}", recursive=True)
    (run,) = Run.load(iter_run_dirs(database.path, artifact_root=location))
    assert run["seed"] == 7
    (run,) = Run.load(
        iter_run_dirs(tracking_uri=f"sqlite:///{database.path}", artifact_root=location)
    )
    assert run["seed"] == 7
    assert run.path(".hydra/config.yaml").read_text() == "seed: 7"


def test_artifact_root_of_many_experiments(database: Database, tmp_path: Path) -> None:
    for number, run_id in ((1, A), (2, B)):
        record(database, f"s3://bucket/{number}", run_id, number=number)
        put(tmp_path / f"moved/{number}", run_id, number)
    assert get_seeds(database, artifact_root=tmp_path / "moved") == [1, 2]


# Windows -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "location",
    [
        "C:\\Users\\me\\store\\1",
        "C:/Users/me/store/1",
        "file:///C:/Users/me/store/1",
        "file:///C%3A/Users/me/store/1",
        "\\\\?\\C:\\Users\\me\\store\\1",
    ],
)
def test_a_drive_is_no_directory_beside_the_database(
    database: Database, tmp_path: Path, location: str
) -> None:
    """On Windows, such a name would lead to the drive, wherever it is."""
    record(database, location, A)
    put(tmp_path / "C:/Users/me/store/1", A, 9)
    assert get_seeds(database) == [None]
    put(tmp_path / "me/store/1", A, 7)
    assert get_seeds(database) == [7]


def test_another_drive_in_a_recorded_path_leads_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    assert locations._split_path("C:/store/1") == ["store", "1"]
    assert locations._split_path("/gone/D:/store/1") == ["gone", "D:", "store", "1"]
    use_windows(monkeypatch, local)
    for location in ("C:/D:/store/1", "/gone/D:/store/1", "/gone/D:store/1", "file:///C:/D:/1"):
        assert locations._split_path(location) == []
    assert locations._split_path("file:///C:/store/1") == ["store", "1"]
