"""What a server that means no good may answer, to each client."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from kedro_hydraflow.errors import (
    FileSizeError,
    ForeignHostError,
    IncompleteCopyError,
    NotFoundError,
    OptionError,
    StorageError,
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
        position = len(SENT)
        SENT.append(0)
        self.end_headers()
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


class Endless(BaseHTTPRequestHandler):
    """Answers everything with a body that does not say its size."""

    protocol_version = "HTTP/1.1"
    status = 200

    def do_GET(self) -> None:
        self.close_connection = True
        self.send_response(self.status)
        self.send_header("Transfer-Encoding", "chunked")
        self.send_header("ETag", '"abc"')
        self.send_header("Last-Modified", "Wed, 21 Oct 2026 07:28:00 GMT")
        self.end_headers()
        chunk = b"x" * 100_000
        SENT.append(0)
        with suppress(OSError):
            while SENT[-1] < 2**31:
                self.wfile.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
                SENT[-1] += len(chunk)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize("kind", ["s3-fsspec", "gs-fsspec"])
def test_an_answer_without_an_end_is_refused(
    kind: str, status: int, start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kedro_hydraflow.storage.answers._MAX_ANSWER", 5_000_000)
    monkeypatch.setenv(FILE_SIZE_VARIABLE, "5MB")
    SENT.clear()
    folder = locate(*make_options(start(type("Endless", (Endless,), {"status": status})), kind))
    for use in (folder.list, folder.join("small").read):
        with pytest.raises(FileSizeError, match="larger than 5,000,000 bytes"):
            use()
    assert sum(SENT) < 200_000_000


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


@pytest.mark.parametrize("kind", ["s3-fsspec", "gs-fsspec", "webdav"])
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


def test_adlfs_follows_no_redirect(start: Any, tmp_path: Path) -> None:
    SENT.clear()
    url = start(type("Redirect", (Redirect,), {"target": start(Handler)}))
    place = locate(*make_options(url, "az-fsspec"))
    small = place.join("small")
    for use in (place.list, place.is_dir, small.read):
        with pytest.raises(StorageError, match="Temporary Redirect"):
            use()
    (error,) = place.storage.fetch_many([Download(small.path, str(tmp_path / "target"))])
    assert "Temporary Redirect" in str(error)
    assert SENT == []


@pytest.mark.parametrize("protocol", ["s3", "az"])
def test_a_redirect_for_an_archive_is_not_followed(protocol: str, start: Any) -> None:
    SENT.clear()
    url = start(type("Redirect", (Redirect,), {"target": start(Handler)}))
    location, options = make_options(url, f"{protocol}-fsspec")
    del options["engine"]
    with pytest.raises(StorageError, match=r"another host, which is not asked|Temporary Redirect"):
        locate(f"zip://::{location}/small", {protocol: options}).list()
    assert SENT == []


class OfOneHost(Handler):
    """Answers below ``/moved``, and sends everybody there."""

    headers_of: ClassVar[list[dict[str, str]]]

    def do_GET(self) -> None:
        self.headers_of.append({name.lower(): value for name, value in self.headers.items()})
        if "/moved/" in self.path:
            super().do_GET()
        else:
            Redirect.do_GET(self)

    target = "/moved"


@pytest.mark.parametrize("kind", ["s3-fsspec", "gs-fsspec"])
def test_a_redirect_on_the_same_host_is_followed(kind: str, start: Any) -> None:
    url = start(type("OfOneHost", (OfOneHost,), {"headers_of": []}))
    assert locate(*make_options(url, kind)).join("small").read() == b"x" * 1000


def test_an_allowed_host_gets_no_login_of_s3(start: Any) -> None:
    heard: list[dict[str, str]] = []
    other = start(type("OfOneHost", (OfOneHost,), {"headers_of": heard}))
    url = start(type("Redirect", (Redirect,), {"target": f"{other}/moved"}))
    location, options = make_options(url, "s3-fsspec")
    for allowed in ([other], ["http://another.example"], []):
        place = locate(location, {**options, "token": "SECRET", "allowed_hosts": allowed})
        with nullcontext() if allowed == [other] else pytest.raises(ForeignHostError):
            assert place.join("small").read() == b"x" * 1000
    (headers,) = heard
    assert headers.keys() <= {"accept", "accept-encoding", "host", "range", "user-agent"}


class OtherRegion(Handler):
    """Sends everybody to the region that their signature does not name, as S3 does."""

    def do_GET(self) -> None:
        if "/eu-west-1/s3/" in self.headers.get("Authorization", ""):
            super().do_GET()
            return
        self.send_response(301)
        self.send_header("x-amz-bucket-region", "eu-west-1")
        body = b"<Error><Code>PermanentRedirect</Code><Message>Elsewhere.</Message></Error>"
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if self.command == "GET" else b"")

    do_HEAD = do_GET


def test_a_bucket_in_another_region_is_read(start: Any) -> None:
    place = locate(*make_options(start(OtherRegion), "s3-fsspec"))
    assert place.join("small").read() == b"x" * 1000


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
