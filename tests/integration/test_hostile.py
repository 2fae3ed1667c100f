"""What an object store that means no good may answer, to both engines."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from kedro_hydraflow.errors import FileSizeError, IncompleteCopyError
from kedro_hydraflow.limits import FILE_SIZE_VARIABLE
from kedro_hydraflow.storage import Download, Place, locate

pytestmark = pytest.mark.integration

SIZES = {"small": 1000, "empty": 0, "large": 2**45}
SENT: list[int] = []


class Handler(BaseHTTPRequestHandler):
    """Answers as S3 does, with files of any size."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        size = SIZES[self.path.partition("?")[0].rpartition("/")[2]]
        self.send_response(200)
        for name, value in {
            "Content-Length": str(size),
            "Content-Type": "application/octet-stream",
            "ETag": '"abc"',
            "Last-Modified": "Wed, 21 Oct 2026 07:28:00 GMT",
        }.items():
            self.send_header(name, value)
        self.end_headers()
        SENT.append(0)
        chunk = b"x" * min(size, 100_000)
        try:
            while SENT[-1] < size:
                self.wfile.write(chunk)
                SENT[-1] += len(chunk)
        except OSError:
            self.close_connection = True

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(params=["fsspec", "obstore"])
def folder(request: pytest.FixtureRequest) -> Iterator[Place]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    client = {"endpoint_url": f"http://127.0.0.1:{server.server_port}", "region_name": "x"}
    options = {"key": "k", "secret": "s", "client_kwargs": client, "engine": request.param}
    yield locate("s3://bucket/folder", options)
    server.shutdown()
    server.server_close()


def test_an_object_that_is_too_large_is_refused_by_its_headers(
    folder: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FileSizeError, match=rf"large': .* 100,000,000 bytes.*{FILE_SIZE_VARIABLE}"):
        folder.join("large").read()
    assert SENT[-1] < 50_000_000
    assert folder.join("small").read() == b"x" * 1000
    assert folder.join("empty").read() == b""
    monkeypatch.setenv(FILE_SIZE_VARIABLE, "999")
    with pytest.raises(FileSizeError, match="999 bytes"):
        folder.join("small").read()


def test_a_listing_says_how_long_a_copy_is(folder: Place, no_waiting: None, tmp_path: Path) -> None:
    small = folder.join("small").path
    whole = Download(small, str(tmp_path / "whole"), 1000)
    cut = Download(small, str(tmp_path / "cut"), 1001)
    (error,) = folder.storage.fetch_many([whole])
    assert error is None
    (error,) = folder.storage.fetch_many([cut])
    assert isinstance(error, IncompleteCopyError)
    assert "small': got 1,000 of 1,001 bytes" in str(error)
