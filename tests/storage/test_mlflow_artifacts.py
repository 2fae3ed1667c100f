from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kedro_hydraflow.errors import (
    MissingPackageError,
    NotFoundError,
    StorageError,
    UnreachableError,
)
from kedro_hydraflow.storage import Download, Entry, Storage, locate
from tests.conftest import ArtifactsServer

pytest.importorskip("aiohttp")

from kedro_hydraflow.storage import mlflow_artifacts
from kedro_hydraflow.storage.mlflow_artifacts import make_artifacts_root
from kedro_hydraflow.storage.mlflow_login import SignedRequest


class NoLogin:
    """Adds nothing to requests. The real login is tested in integration, with MLflow."""

    advice = "log in"

    def __init__(self, *_: str | None) -> None:
        pass

    def sign(self, url: str) -> SignedRequest:
        return SignedRequest(url, {}, None)

    def make_ssl_context(self) -> bool:
        return True


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ArtifactsServer]:
    monkeypatch.setattr(mlflow_artifacts, "MlflowLogin", NoLogin)
    artifacts = tmp_path / "server" / "1" / "abc" / "artifacts"
    (artifacts / "model").mkdir(parents=True)
    (artifacts / "notes.txt").write_bytes(b"hello")
    (artifacts / "50% of a #1?.txt").write_bytes(b"odd")
    (artifacts / "model" / "weights.npz").write_bytes(b"w" * 3_000_000)
    server = ArtifactsServer(tmp_path / "server")
    yield server
    server.close()


def make_storage(server: ArtifactsServer) -> Storage:
    place = locate(make_artifacts_root(server.url + server.prefix))
    storage, path = place.storage, place.path
    assert path == ""
    return storage


ARTIFACTS = "1/abc/artifacts"


def test_lists_reads_and_fetches(server, tmp_path):
    storage = make_storage(server)

    assert storage.list_dir(ARTIFACTS) == [
        Entry("50% of a #1?.txt", is_dir=False, size=3),
        Entry("model", is_dir=True),
        Entry("notes.txt", is_dir=False, size=5),
    ]
    assert storage.list_dir("") == [Entry("1", is_dir=True)]
    names = ["notes.txt", "50% of a #1?.txt", "absent.txt"]
    assert storage.read_many([f"{ARTIFACTS}/{name}" for name in names]) == [b"hello", b"odd", None]
    target = tmp_path / "copy"
    assert storage.fetch_many([Download(f"{ARTIFACTS}/model/weights.npz", str(target))]) == [None]
    assert target.stat().st_size == 3_000_000


def test_absent_files_and_folders(server, tmp_path):
    storage = make_storage(server)

    assert not storage.is_dir("1/other")
    with pytest.raises(NotFoundError, match=rf"there is no 'mlflow\+{server.url}/1/other'"):
        storage.list_dir("1/other")
    (error,) = storage.fetch_many([Download(f"{ARTIFACTS}/absent", str(tmp_path / "copy"))])
    assert isinstance(error, NotFoundError)


def test_a_server_that_fails_on_absent_files(server):
    server.fails_on_absent = True
    storage = make_storage(server)

    assert storage.read(f"{ARTIFACTS}/absent") is None
    assert len(server.headers) == 2  # without retries


def test_a_folder_is_not_a_file(server):
    with pytest.raises(StorageError, match="IsADirectoryError"):
        make_storage(server).read(f"{ARTIFACTS}/model")


def test_paths_are_upaths_that_can_be_pickled(server):
    storage = make_storage(server)
    run_dir = storage.to_path("1/abc")

    assert run_dir.name == "abc"
    assert (run_dir / "artifacts" / "notes.txt").read_text() == "hello"
    assert sorted(path.name for path in (run_dir / "artifacts").iterdir())[-1] == "notes.txt"
    assert (run_dir / "artifacts" / "model").is_dir()
    assert not (run_dir / "nope").exists()
    assert pickle.loads(pickle.dumps(run_dir)) == run_dir
    assert pickle.loads(pickle.dumps(storage)).read(f"{ARTIFACTS}/notes.txt") == b"hello"
    assert locate(run_dir).path == "/1/abc"
    with pytest.raises(NotImplementedError, match="are read-only"):
        (run_dir / "x").write_text("x")


def test_a_server_below_a_prefix(server):
    server.prefix = "/team/mlflow"
    assert make_storage(server).read(f"{ARTIFACTS}/notes.txt") == b"hello"


@pytest.mark.parametrize("status", [500, 503, 429])
def test_transient_failures_are_retried(server, no_waiting, status):
    server.failures = [(status, "busy")]
    assert make_storage(server).list_dir("1") == [Entry("abc", is_dir=True)]

    server.failures = [(status, "busy")] * 20
    with pytest.raises(UnreachableError, match=f"cannot list the directory .*{status}.*busy"):
        make_storage(server).list_dir("1")
    assert len(server.failures) == 12


@pytest.mark.parametrize("status", [401, 403])
def test_denied(server, status):
    server.failures = [(status, "who are you?")]
    with pytest.raises(StorageError, match=rf"denies access \({status}\): log in"):
        make_storage(server).read(f"{ARTIFACTS}/notes.txt")
    assert not server.failures


def test_a_server_that_does_not_serve_artifacts(server):
    server.failures = [
        (503, "disabled due to the mlflow server running with `--no-serve-artifacts`")
    ]
    message = "does not serve artifacts .503.: .*--serve-artifacts.*artifact_root"
    with pytest.raises(StorageError, match=message):
        make_storage(server).read(f"{ARTIFACTS}/notes.txt")


@pytest.mark.parametrize(
    "answer",
    [
        "<html>Welcome</html>",
        "",
        "[]",
        "null",
        '{"files": 5}',
        '{"files": [5]}',
        '{"files": [{}]}',
        '{"files": [{"path": null}]}',
        '{"files": [{"path": "a", "file_size": "large"}]}',
        '{"files": [{"path": "a"}',
        "[" * 100_000,
        '{"files": ' + "9" * 5000 + "}",
    ],
)
def test_a_server_that_is_not_mlflows(server, answer):
    server.failures = [(200, answer)]
    with pytest.raises(StorageError, match=f"check that {server.url} is the URL of an MLflow"):
        make_storage(server).list_dir("1")


def test_mlflow_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    monkeypatch.setitem(sys.modules, "mlflow.utils.credentials", None)
    storage = locate(make_artifacts_root("http://ann:s3cret@127.0.0.1:9")).storage
    with pytest.raises(MissingPackageError, match=r"pip install 'kedro-hydraflow\[mlflow\]'") as e:
        storage.list_dir("1")
    assert "'http://127.0.0.1:9'" in str(e.value)
    assert "s3cret" not in str(e.value)


def test_a_cause_shows_no_headers_of_the_request(server):
    server.failures = [(200, "<html>")]
    with pytest.raises(StorageError, match="as JSON, found other content") as raised:
        make_storage(server).list_dir("1")
    assert "authorization" not in repr(raised.value.__cause__).lower()


def test_a_long_answer_is_cut(server):
    server.failures = [(418, "teapot " * 100_000)]
    with pytest.raises(StorageError, match="teapot") as raised:
        make_storage(server).read(f"{ARTIFACTS}/notes.txt")
    assert len(str(raised.value)) < 2_000
