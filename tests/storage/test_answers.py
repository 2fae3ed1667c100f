"""Answers of servers that are larger than the limit, or than they say."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from upath import UPath

from kedro_hydraflow.artifacts import fetch, make_artifact_path
from kedro_hydraflow.errors import FileSizeError, StorageError, UnreachableError
from kedro_hydraflow.limits import FILE_SIZE_VARIABLE
from kedro_hydraflow.storage import Place, locate

pytest.importorskip("aiohttp")

from kedro_hydraflow.storage import answers, mlflow_artifacts
from kedro_hydraflow.storage.remote import Client
from tests.storage.test_mlflow_artifacts import NoLogin

BOMB = gzip.compress(b"\0" * 50_000_000)
SENT: list[int] = []
"""How many bytes the server could send of a body without an end."""


class Handler(BaseHTTPRequestHandler):
    """Answers by the last name in the path."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        name = self.path.partition("?")[0].rpartition("/")[2]
        getattr(self, f"send_{name}")()

    def send(self, body: bytes, **headers: Any) -> None:
        self.send_response(200)
        for key, value in {"Content_Length": len(body), **headers}.items():
            self.send_header(key.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(body)

    def send_small(self) -> None:
        self.send(b"x" * 1000)

    def send_announced(self) -> None:
        self.send(b"x", Content_Length=2**50)
        self.close_connection = True

    def send_compressed(self) -> None:
        self.send(BOMB, Content_Encoding="gzip")

    def send_endless(self) -> None:
        self.close_connection = True
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        chunk = b"x" * 100_000
        SENT.append(0)
        try:
            while SENT[-1] < 2**31:
                self.wfile.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
                SENT[-1] += len(chunk)
        except OSError:
            return

    def send_drops(self) -> None:
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Length", "1000000")
        self.end_headers()
        with suppress(OSError):
            while True:
                self.wfile.write(b"x")
                time.sleep(0.01)

    send_artifacts = send_drops  # the listing of an MLflow server

    def send_listing(self) -> None:
        self.send_endless()

    def send_links(self) -> None:
        self.send(b'<a href="small">small</a>' * 100)

    def send_slip(self) -> None:
        self.send(b'<a href="small">small</a><a href="..%2F..%2Fx">small</a>')

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(params=["web server", "MLflow server"])
def folder(request: pytest.FixtureRequest, url: str, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setattr(mlflow_artifacts, "MlflowLogin", NoLogin)
    if request.param == "web server":
        return locate(f"{url}/folder")
    return locate(mlflow_artifacts.make_artifacts_root(url) / "folder")


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", ["announced", "compressed", "endless"])
def test_an_answer_that_is_too_large_is_refused(
    folder: Place, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FILE_SIZE_VARIABLE, "5MB")
    with pytest.raises(FileSizeError) as raised:
        folder.join(name).read()
    assert f"/folder/{name}': it is larger than 5,000,000 bytes" in str(raised.value)
    assert FILE_SIZE_VARIABLE in str(raised.value)
    assert folder.join("small").read() == b"x" * 1000
    assert all(sent < 100_000_000 for sent in SENT)


def test_an_answer_of_the_largest_size_is_read(
    folder: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FILE_SIZE_VARIABLE, "1000")
    assert folder.join("small").read() == b"x" * 1000
    monkeypatch.setenv(FILE_SIZE_VARIABLE, "999")
    with pytest.raises(FileSizeError):
        folder.join("small").read()


@pytest.mark.timeout(60)
def test_an_answer_of_a_byte_at_a_time_has_an_end(
    folder: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Client.timeout == 900
    monkeypatch.setattr(Client, "timeout", 0.3)
    monkeypatch.setattr("kedro_hydraflow.storage.bulk.GIVE_UP_AFTER", 0)
    for use in (folder.join("drops").read, folder.join("drops").list):
        with pytest.raises(UnreachableError, match=r"no answer in 0\.3 s"):
            use()


@pytest.mark.timeout(60)
def test_a_listing_that_is_too_large_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "_MAX_ANSWER", 5_000_000)
    monkeypatch.setenv(FILE_SIZE_VARIABLE, "1000")
    with pytest.raises(FileSizeError, match=r"cannot list .*/listing': it is larger than 5,000,0"):
        locate(f"{url}/listing").list()
    assert all(sent < 100_000_000 for sent in SENT)
    assert [entry.name for entry in locate(f"{url}/links").list()] == ["small"]
    monkeypatch.setenv(FILE_SIZE_VARIABLE, "10MB")
    with pytest.raises(FileSizeError, match="it is larger than 10,000,000 bytes"):
        locate(f"{url}/listing").list()


def test_a_link_that_leads_out_of_its_folder_is_an_error(url: str) -> None:
    folder = make_artifact_path(locate(f"{url}/slip"))
    for use in (lambda: [*folder.iterdir()], lambda: fetch(folder)):
        with pytest.raises(
            StorageError, match=r"has the entry '\.\./\.\./x', which is not a valid"
        ):
            use()


def test_other_filesystems_read_no_more_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    path = UPath("memory://answers/file")
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"x" * 1000)
    monkeypatch.setenv(FILE_SIZE_VARIABLE, "1000")
    assert locate(path).read() == b"x" * 1000
    monkeypatch.setenv(FILE_SIZE_VARIABLE, "999")
    with pytest.raises(FileSizeError, match=r"cannot read 'memory://answers/file': it is larger"):
        locate(path).read()
