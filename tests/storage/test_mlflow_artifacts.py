from __future__ import annotations

import base64
import json
import pickle
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from kedro_hydraflow.errors import NotFoundError, StorageError, UnreachableError
from kedro_hydraflow.storage import Entry, Storage, locate

pytest.importorskip("aiohttp")

from kedro_hydraflow.storage.mlflow_artifacts import make_artifacts_root

API = "/api/2.0/mlflow-artifacts/artifacts"
LOGIN = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")


class ArtifactsServer:
    """Answers as MLflow's server does, from a folder."""

    def __init__(self, folder: Path) -> None:
        self.failures: list[tuple[int, str]] = []
        """What to answer first."""
        self.prefix = ""
        self.fails_on_absent = False
        self.headers: list[Any] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.headers.append(self.headers)
                url = urlsplit(self.path)
                path = unquote(url.path).removeprefix(server.prefix)
                if server.failures:
                    self.answer(*server.failures.pop(0))
                elif path == API:
                    self.answer(200, server.list(folder / parse_qs(url.query).get("path", [""])[0]))
                elif not path.startswith(API):
                    self.answer(404, "<html>nothing here</html>")
                elif (file := folder / path.removeprefix(API + "/")).is_dir():
                    self.answer(400, "refers to a directory")
                elif not file.exists():
                    self.answer(500 if server.fails_on_absent else 404, "no such artifact")
                else:
                    self.answer(200, file.read_bytes())

            def answer(self, status: int, content: str | bytes) -> None:
                content = content.encode() if isinstance(content, str) else content
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()

    def list(self, folder: Path) -> str:
        if not folder.is_dir():
            return "{}"
        files = [
            {"path": path.name, "is_dir": True}
            if path.is_dir()
            else {"path": path.name, "is_dir": False, "file_size": str(path.stat().st_size)}
            for path in folder.iterdir()
        ]
        return json.dumps({"files": files} if files else {})


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ArtifactsServer]:
    for name in LOGIN:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    artifacts = tmp_path / "server" / "1" / "abc" / "artifacts"
    (artifacts / "model").mkdir(parents=True)
    (artifacts / "notes.txt").write_bytes(b"hello")
    (artifacts / "50% of a #1?.txt").write_bytes(b"odd")
    (artifacts / "model" / "weights.npz").write_bytes(b"w" * 3_000_000)
    server = ArtifactsServer(tmp_path / "server")
    yield server
    server.http.shutdown()
    server.http.server_close()


def make_storage(server: ArtifactsServer, **login: str) -> Storage:
    place = locate(make_artifacts_root(server.url + server.prefix, **login))
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
    assert storage.fetch_many([(f"{ARTIFACTS}/model/weights.npz", str(target))]) == [None]
    assert target.stat().st_size == 3_000_000


def test_what_is_not_there(server, tmp_path):
    storage = make_storage(server)

    assert not storage.is_dir("1/other")
    with pytest.raises(NotFoundError, match=rf"there is no 'mlflow\+{server.url}/1/other'"):
        storage.list_dir("1/other")
    (error,) = storage.fetch_many([(f"{ARTIFACTS}/absent", str(tmp_path / "copy"))])
    assert isinstance(error, NotFoundError)


def test_a_server_that_fails_on_what_is_not_there(server):
    server.fails_on_absent = True
    storage = make_storage(server)

    assert storage.read(f"{ARTIFACTS}/absent") is None
    assert len(server.headers) == 2  # nothing is tried again


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
    with pytest.raises(NotImplementedError, match="read, not written"):
        (run_dir / "x").write_text("x")


def test_a_server_below_a_prefix(server):
    server.prefix = "/team/mlflow"
    assert make_storage(server).read(f"{ARTIFACTS}/notes.txt") == b"hello"


@pytest.mark.parametrize("status", [500, 503, 429])
def test_what_may_pass_is_tried_again(server, no_waiting, status):
    server.failures = [(status, "busy")]
    assert make_storage(server).list_dir("1") == [Entry("abc", is_dir=True)]

    server.failures = [(status, "busy")] * 20
    with pytest.raises(UnreachableError, match=f"cannot list the directory .*{status}.*busy"):
        make_storage(server).list_dir("1")
    assert len(server.failures) == 12


@pytest.mark.parametrize("status", [401, 403])
def test_denied(server, status):
    server.failures = [(status, "who are you?")]
    with pytest.raises(StorageError, match=rf"denies access \({status}\): set MLFLOW_TRACKING_US"):
        make_storage(server).read(f"{ARTIFACTS}/notes.txt")
    assert not server.failures


def test_a_server_that_does_not_serve_artifacts(server):
    server.failures = [
        (503, "disabled due to the mlflow server running with `--no-serve-artifacts`")
    ]
    message = "does not serve artifacts .503.: .*--serve-artifacts.*artifact_root"
    with pytest.raises(StorageError, match=message):
        make_storage(server).read(f"{ARTIFACTS}/notes.txt")


def test_something_else_than_mlflow(server):
    server.failures = [(200, "<html>Welcome</html>")]
    with pytest.raises(StorageError, match="is it the URL of an MLflow server"):
        make_storage(server).list_dir("1")


def get_login(server: ArtifactsServer) -> str:
    sent = server.headers[-1]["Authorization"] or ""
    kind, _, text = sent.partition(" ")
    return f"{kind} {base64.b64decode(text).decode()}" if kind == "Basic" else sent


def test_logs_in_as_mlflow_does(server, monkeypatch, tmp_path):
    storage = make_storage(server)
    storage.list_dir("1")
    assert get_login(server) == ""

    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "secret-token")
    storage.list_dir("1")
    assert get_login(server) == "Bearer secret-token"

    (tmp_path / ".mlflow").mkdir()
    (tmp_path / ".mlflow" / "credentials").write_text(
        "[mlflow]\nmlflow_tracking_username = filed\nmlflow_tracking_password = 5%\n"
    )
    storage.list_dir("1")
    assert get_login(server) == "Basic filed:5%"

    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ann")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "pässword")
    storage.list_dir("1")
    assert get_login(server) == "Basic ann:pässword"

    own = make_storage(server, username="bob", password="own-password")
    own.list_dir("1")
    assert get_login(server) == "Basic bob:own-password"
    assert "own-password" not in own.url("1") + own.identity("1")


def test_sends_the_workspace(server, monkeypatch):
    monkeypatch.setenv("MLFLOW_WORKSPACE", "vision")
    make_storage(server).list_dir("1")
    assert server.headers[-1]["X-MLFLOW-WORKSPACE"] == "vision"
