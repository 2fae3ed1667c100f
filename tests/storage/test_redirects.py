from __future__ import annotations

import base64
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("aiohttp")
import aiohttp

from kedro_hydraflow.errors import ForeignHostError
from kedro_hydraflow.storage import Download, Place, locate
from kedro_hydraflow.storage.redirects import check_redirect

LOGIN = f"Basic {base64.b64encode(b'ann:SECRET').decode()}"


class Server:
    """Answers with files, or redirects. Files have bytes, redirects the start of a URL."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.redirect_to: str | None = None
        self.status = 307
        self.headers: list[dict[str, str]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.headers.append({k.lower(): v for k, v in self.headers.items()})
                content = server.files.get(self.path)
                target = server.redirect_to
                if target is not None and not self.path.startswith("/moved"):
                    self.send_response(server.status)
                    self.send_header("Location", f"{target}{self.path}")
                    content = b""
                else:
                    self.send_response(404 if content is None else 200)
                self.send_header("Content-Length", str(len(content or b"")))
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(content or b"")

            do_HEAD = do_GET

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()


@pytest.fixture
def start() -> Iterator[Callable[[], Server]]:
    servers: list[Server] = []

    def start_one() -> Server:
        servers.append(Server())
        return servers[-1]

    yield start_one
    for server in servers:
        server.http.shutdown()
        server.http.server_close()


@pytest.fixture
def server(start: Callable[[], Server]) -> Server:
    return start()


@pytest.fixture
def other(start: Callable[[], Server], tmp_path: Path) -> Server:
    """Another server, which has everything."""
    server = start()
    with zipfile.ZipFile(tmp_path / "m.zip", "w") as archive:
        archive.writestr("m/a.txt", "of other")
    for folder in ("", "/moved"):
        server.files[f"{folder}/m/a.txt"] = b"of other"
        server.files[f"{folder}/m"] = b'<a href="a.txt">a.txt</a>'
        server.files[f"{folder}/m.zip"] = (tmp_path / "m.zip").read_bytes()
    return server


OPTIONS: dict[str, Callable[[], dict[str, Any]]] = {
    "login of the session": lambda: {"client_kwargs": {"auth": aiohttp.BasicAuth("ann", "SECRET")}},
    "login of requests": lambda: {"auth": aiohttp.BasicAuth("ann", "SECRET")},
    "header of the session": lambda: {"client_kwargs": {"headers": {"Authorization": LOGIN}}},
    "headers": lambda: {"headers": {"Authorization": LOGIN, "X-Api-Key": "SECRET", "Cookie": "x"}},
    "cookies": lambda: {"cookies": {"session": "SECRET"}},
}


@pytest.fixture(params=OPTIONS)
def options(request: pytest.FixtureRequest) -> dict[str, Any]:
    return OPTIONS[request.param]()


def read(place: Place) -> bytes | None:
    return place.join("a.txt").read()


def fetch(place: Place) -> bytes:
    target = Path(str(place.storage.__dict__["target"]))
    (error,) = place.storage.fetch_many([Download(place.join("a.txt").path, str(target))])
    if error is not None:
        raise error
    return target.read_bytes()


USES: list[Callable[[Place], Any]] = [Place.list, Place.is_dir, read, fetch]


@pytest.mark.filterwarnings("ignore:BasicAuth is deprecated:DeprecationWarning")
@pytest.mark.parametrize("is_zip", [False, True])
@pytest.mark.parametrize("use", USES)
def test_another_host_is_not_asked(
    server: Server,
    other: Server,
    options: dict[str, Any],
    use: Callable[[Place], Any],
    is_zip: bool,
    tmp_path: Path,
) -> None:
    server.redirect_to = other.url
    url = f"zip://m::{server.url}/m.zip" if is_zip else f"{server.url}/m"
    place = locate(url, {"http": options} if is_zip else options)
    place.storage.__dict__["target"] = tmp_path / "target"
    with pytest.raises(ForeignHostError) as raised:
        use(place)
    assert other.headers == []
    message = str(raised.value)
    assert f"redirects to '{other.url}/m" in message
    assert (
        f"another host, which is not asked; give the URL on that host, or add '{other.url}' to "
        "`allowed_hosts` in `fs_args` or `storage_options` to have it asked, without the login"
    ) in message


@pytest.mark.filterwarnings("ignore:BasicAuth is deprecated:DeprecationWarning")
@pytest.mark.parametrize("is_zip", [False, True])
def test_an_allowed_host_is_asked_without_the_login(
    server: Server, other: Server, options: dict[str, Any], is_zip: bool
) -> None:
    server.redirect_to = other.url
    url = f"zip://m::{server.url}/m.zip" if is_zip else f"{server.url}/m"
    own = {"http": options} if is_zip else options
    place = locate(url, {**own, "allowed_hosts": [other.url]})
    assert read(place) == b"of other"
    assert [entry.name for entry in place.list()] == ["a.txt"]
    assert all({"authorization", "cookie"} & headers.keys() for headers in server.headers)
    usual = {"accept", "accept-encoding", "host", "range", "user-agent", "connection"}
    assert set().union(*other.headers) <= usual


def test_a_login_in_a_url_is_not_sent_to_another_host(server: Server, other: Server) -> None:
    server.redirect_to = other.url
    url = server.url.replace("//", "//ann:SECRET@")
    assert read(locate(f"{url}/m", {"allowed_hosts": [other.url]})) == b"of other"
    assert server.headers[0]["authorization"] == LOGIN
    assert "authorization" not in other.headers[0]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_on_the_same_host_is_followed(other: Server, status: int) -> None:
    other.redirect_to, other.status = "/moved", status
    assert read(locate(f"{other.url}/m", {"headers": {"X-Api-Key": "SECRET"}})) == b"of other"
    assert [headers["x-api-key"] for headers in other.headers] == ["SECRET", "SECRET"]


def test_a_redirect_to_no_url(server: Server) -> None:
    server.redirect_to = "http://[::1"
    with pytest.raises(ForeignHostError, match="redirects to no URL"):
        read(locate(f"{server.url}/m"))


@pytest.mark.parametrize(
    "target",
    [
        "https://files.example/a",
        "http://files.example:81/a",
        "http://www.files.example/a",
        "http://files.example@evil.example/a",
        "http://evil.example\\@files.example/a",
        "file:///etc/passwd",
        "ftp://files.example/a",
    ],
)
def test_what_is_another_host(target: str) -> None:
    url = "http://files.example/m"
    assert check_redirect(url, "http://Files.example:80/other")
    with pytest.raises(ForeignHostError):
        check_redirect(url, target, frozenset({"http://allowed.example"}))
    assert check_redirect(
        url, "http://allowed.example/", frozenset({"http://allowed.example"})
    ) is (False)


def test_no_host_can_be_allowed_for_a_client_that_would_log_in_there() -> None:
    assert check_redirect("http://files.example/m", "http://files.example/n", None)
    with pytest.raises(ForeignHostError, match=r"give the URL on that host$"):
        check_redirect("http://files.example/m", "http://evil.example/n", None)
