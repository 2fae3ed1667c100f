"""What a server that means no good may answer, to each client."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from kedro_hydraflow.errors import (
    FileSizeError,
    ForeignHostError,
    IncompleteCopyError,
    NotFoundError,
    OptionError,
)
from kedro_hydraflow.limits import FILE_SIZE_VARIABLE
from kedro_hydraflow.storage import Download, Place, locate

pytestmark = pytest.mark.integration

# Read when gcsfs is imported: it would ask each server over gRPC for its kind of buckets.
os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")

SIZES = {"small": 1000, "empty": 0, "large": 2**45}
SENT: list[int] = []


class Handler(BaseHTTPRequestHandler):
    """Answers as S3, Google Cloud Storage and Azure do, with files of any size."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        whole = size = SIZES[re.split("/|%2F", self.path.partition("?")[0])[-1]]
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("x-ms-range", ""))
        if asked is not None and whole:  # of Azure
            start, end = int(asked[1]), min(int(asked[2]), whole - 1)
            size = end - start + 1
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{end}/{whole}")
        elif asked is not None:
            self.send_response(416)
            self.send_header("x-ms-error-code", "InvalidRange")
        else:
            self.send_response(200)
        for name, value in {
            "Content-Length": str(size),
            "Content-Type": "application/octet-stream",
            "ETag": '"abc"',
            "Last-Modified": "Wed, 21 Oct 2026 07:28:00 GMT",
        }.items():
            self.send_header(name, value)
        self.end_headers()
        position = len(SENT)
        SENT.append(0)
        try:
            while left := size - SENT[position]:
                chunk = b"x" * min(left, 100_000)
                self.wfile.write(chunk)
                SENT[position] += len(chunk)
        except OSError:
            self.close_connection = True

    def log_message(self, *_: Any) -> None:
        pass


def make_options(url: str, kind: str) -> tuple[str, dict[str, Any]]:
    """Return a URL and the options with which a client reads it from a server."""
    protocol, _, engine = kind.partition("-")
    if protocol == "s3":
        client = {"endpoint_url": url, "region_name": "x"}
        options: dict[str, Any] = {"key": "k", "secret": "s", "client_kwargs": client}
    elif protocol == "gs":
        options = {"token": "anon", "endpoint_url": url}
    else:
        endpoint = f"BlobEndpoint={url}/ours"
        options = {"connection_string": f"AccountName=ours;AccountKey=a2V5;{endpoint}"}
    return f"{protocol}://bucket/folder", {**options, "engine": engine}


@pytest.fixture
def start() -> Iterator[Callable[[type[BaseHTTPRequestHandler]], str]]:
    """Start a server; return its URL."""
    servers: list[ThreadingHTTPServer] = []

    def start_one(handler: type[BaseHTTPRequestHandler]) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}"

    yield start_one
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(params=["s3-fsspec", "s3-obstore"])
def folder(request: pytest.FixtureRequest, start: Any) -> Place:
    return locate(*make_options(start(Handler), request.param))


@pytest.mark.parametrize(
    "kind", ["s3-fsspec", "s3-obstore", "gs-fsspec", "gs-obstore", "az-fsspec"]
)
def test_an_object_that_is_too_large_is_refused(
    kind: str, start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = locate(*make_options(start(Handler), kind))
    SENT.clear()
    with pytest.raises(FileSizeError, match=rf"large': .* 100,000,000 bytes.*{FILE_SIZE_VARIABLE}"):
        folder.join("large").read()
    assert sum(SENT) <= (100_000_001 if kind == "az-fsspec" else 50_000_000)
    SENT.clear()
    assert folder.join("small").read() == b"x" * 1000
    assert folder.join("empty").read() == b""
    monkeypatch.setenv(FILE_SIZE_VARIABLE, "999")
    with pytest.raises(FileSizeError, match="999 bytes"):
        folder.join("small").read()
    # A request for each read. The rest of a large answer may be sent late.
    assert len([size for size in SENT if size <= 1000]) == 3


class Redirect(BaseHTTPRequestHandler):
    """Sends everybody to another host."""

    target = ""

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(307)
        self.send_header("Location", f"{self.target}{self.path}")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_PROPFIND = do_GET

    def log_message(self, *_: Any) -> None:
        pass


@pytest.mark.parametrize("kind", ["gs-fsspec", "webdav"])
def test_a_redirect_to_another_host_is_not_followed(kind: str, start: Any, tmp_path: Path) -> None:
    SENT.clear()
    other = start(Handler)
    url = start(type("Redirect", (Redirect,), {"target": other}))
    if kind == "webdav":
        pytest.importorskip("webdav4")
        options = {"auth": ("ann", "SECRET"), "headers": {"X-Api-Key": "SECRET"}}
        place = locate(f"webdav+{url}/folder", options)
    else:
        place = locate(*make_options(url, kind))
    small = place.join("small")
    for use in (place.list, place.is_dir, small.read):
        with pytest.raises(ForeignHostError, match=rf"redirects to '{other}/.*is not asked"):
            use()
    (error,) = place.storage.fetch_many([Download(small.path, str(tmp_path / "target"))])
    assert isinstance(error, ForeignHostError)
    assert SENT == []


@pytest.mark.parametrize("bucket", ["127.0.0.1:1?x=", "127.0.0.1:1#", "a\\b"])
@pytest.mark.parametrize("protocol", ["s3", "gs"])
def test_a_bucket_is_no_host(bucket: str, protocol: str) -> None:
    pytest.importorskip("obstore")
    url, options = make_options("http://127.0.0.1:1", f"{protocol}-obstore")
    if protocol == "s3":
        del options["client_kwargs"]["endpoint_url"]
        options["config_kwargs"] = {"s3": {"addressing_style": "virtual"}}
    place = locate(url.replace("bucket", bucket), options)
    for use in (place.list, place.read):
        with pytest.raises(NotFoundError) if use == place.list else nullcontext():
            assert use() is None


@pytest.mark.parametrize("protocol", ["s3", "gs"])
def test_a_bucket_has_no_login(protocol: str) -> None:
    _, options = make_options("http://127.0.0.1:1", f"{protocol}-obstore")
    with pytest.raises(OptionError, match="expected a bucket, found a login before it"):
        locate(f"{protocol}://ann@127.0.0.1:1/folder", options)


def test_a_listing_says_how_long_a_copy_is(folder: Place, no_waiting: None, tmp_path: Path) -> None:
    small = folder.join("small").path
    whole = Download(small, str(tmp_path / "whole"), 1000)
    cut = Download(small, str(tmp_path / "cut"), 1001)
    (error,) = folder.storage.fetch_many([whole])
    assert error is None
    (error,) = folder.storage.fetch_many([cut])
    assert isinstance(error, IncompleteCopyError)
    assert "small': got 1,000 of 1,001 bytes" in str(error)
