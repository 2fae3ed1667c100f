"""Artifacts that an MLflow server serves, as a filesystem of fsspec.

It uses MLflow's artifact API, see ``mlflow/server/handlers.py``:

- ``GET /api/2.0/mlflow-artifacts/artifacts?path=<folder>`` returns a listing as JSON. That of a
  folder that does not exist is empty, as on an object store.
- ``GET /api/2.0/mlflow-artifacts/artifacts/<file>`` returns the content of a file.

The URLs are ``mlflow://`` and a path; the option ``base_url`` names the server. Importing this
module registers the protocol with fsspec and ``UPath``.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import sys
import urllib.parse
import weakref
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from fsspec import register_implementation
from fsspec.asyn import AsyncFileSystem
from fsspec.implementations.http import HTTPFileSystem
from upath import UPath
from upath.registry import register_implementation as register_path

from kedro_hydraflow.errors import StorageError
from kedro_hydraflow.limits import get_max_file_size
from kedro_hydraflow.redaction import redact_url
from kedro_hydraflow.storage.answers import read_beginning, read_body
from kedro_hydraflow.storage.bulk import MAX_CONCURRENCY
from kedro_hydraflow.storage.mlflow_login import MlflowLogin, NoLogin
from kedro_hydraflow.storage.redirects import make_trace

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PROTOCOL = "mlflow"  # letters only, or UPath takes it for a local folder

_API = "/api/2.0/mlflow-artifacts/artifacts"
_CONNECT_TIMEOUT = 10.0
_READ_TIMEOUT = 120.0
"""Seconds without data from the server, MLflow's own default: the server may first have to fetch
the whole file from its storage."""

_CHUNK = 1 << 20

_MAX_ANSWER = 50_000
"""Bytes read of an answer that is an error."""


class ArtifactsPath(UPath):
    """The path of an artifact on an MLflow server."""

    __slots__ = ()


class ArtifactsFileSystem(AsyncFileSystem):  # type: ignore[misc]
    """The artifacts of an MLflow server, read-only. It logs in with `MlflowLogin`.

    Args:
        base_url: The server: ``https://host:port``, with the path prefix, if there is one.
        username: The user, instead of the login that MLflow would use.
        password: The user's password.
        allowed_hosts: The other hosts to which the server may redirect.
        has_login: Whether the server gets any login, also that which MLflow would use.
        **kwargs: Options of every filesystem of fsspec.

    Raises:
        MissingPackageError: If MLflow is not installed.
    """

    protocol = PROTOCOL
    root_marker = "/"

    def __init__(
        self,
        base_url: str,
        username: str | None = None,
        password: str | None = None,
        allowed_hosts: frozenset[str] = frozenset(),
        has_login: bool = True,
        **kwargs: Any,
    ) -> None:
        import aiohttp

        super().__init__(**kwargs)
        self._aiohttp = aiohttp
        self._base_url = base_url.rstrip("/")
        self._where = redact_url(self._base_url)
        login_class = MlflowLogin if has_login else NoLogin
        self._login = login_class(self._base_url, username, password)
        self._allowed_hosts = allowed_hosts
        self._session: Any = None

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        if isinstance(path, list):
            return [cls._strip_protocol(p) for p in path]
        return "/" + os.fspath(path).removeprefix(f"{PROTOCOL}://").strip("/")

    async def _ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        path = self._strip_protocol(path)
        query = {"path": path.strip("/")} if path != "/" else {}
        async with self._get(path, _API, query) as response:
            body = await read_body(response, get_max_file_size())
        try:
            infos = _parse_listing(path.rstrip("/"), body)
        except (ValueError, AttributeError, TypeError, LookupError, RecursionError) as exc:
            # What JSON raises, and Python for values of other types.
            raise StorageError(
                "expected MLflow's list of artifacts as JSON, found other content; check "
                f"that {self._where} is the URL of an MLflow server"
            ) from exc
        if not infos and path != "/":
            raise FileNotFoundError(path)
        return infos if detail else [info["name"] for info in infos]

    async def _info(self, path: str, **_: Any) -> dict[str, Any]:
        path = self._strip_protocol(path)
        if path == "/":
            return {"name": path, "type": "directory", "size": None}
        for info in await self._ls(path.rpartition("/")[0]):
            if info["name"] == path:
                return dict(info)
        raise FileNotFoundError(path)

    async def _cat_file(
        self,
        path: str,
        start: int | None = None,
        end: int | None = None,
        max_size: int | None = None,
        **_: Any,
    ) -> bytes:
        limit = sys.maxsize if max_size is None else max_size
        async with self._get_content(path) as response:
            return (await read_body(response, limit))[start:end]

    async def _get_file(self, rpath: str, lpath: str, **_: Any) -> None:
        async with self._get_content(rpath) as response:
            with open(lpath, "wb") as file:
                async for chunk in response.content.iter_chunked(_CHUNK):
                    file.write(chunk)

    def _open(self, path: str, mode: str = "rb", **_: Any) -> io.BytesIO:
        if mode != "rb":
            raise NotImplementedError("artifacts on an MLflow server are read-only")
        return io.BytesIO(self.cat_file(path))

    @asynccontextmanager
    async def _get_content(self, path: str) -> AsyncIterator[Any]:
        path = self._strip_protocol(path)
        try:
            async with self._get(path, _API + urllib.parse.quote(path)) as response:
                yield response
        except self._aiohttp.ClientResponseError as exc:
            # With some backends, servers answer with these statuses if a file does not exist.
            if exc.status in (400, 500):
                await self._require_file(path)
            raise

    async def _require_file(self, path: str) -> None:
        if (await self._info(path))["type"] == "directory":
            raise IsADirectoryError(path)

    @asynccontextmanager
    async def _get(
        self, path: str, url: str, query: dict[str, str] | None = None
    ) -> AsyncIterator[Any]:
        """Make a request, and translate its errors."""
        from yarl import URL

        if self._session is None:
            self._session = self._make_session()
            weakref.finalize(self, HTTPFileSystem.close_session, self.loop, self._session)
        if query:  # with each slash quoted, as signatures require
            url += "?" + urllib.parse.urlencode(query, quote_via=urllib.parse.quote)
        request = await asyncio.to_thread(self._login.sign, self._base_url + url)
        target = URL(request.url, encoded=True)
        sent = {"headers": request.headers, "proxy": request.proxy}
        async with self._session.get(target, **sent) as response:
            if response.status >= 400:
                raise await self._explain(response, path, is_listing=query is not None)
            yield response

    def _make_session(self) -> Any:
        timeout = self._aiohttp.ClientTimeout(
            None,
            sock_connect=_CONNECT_TIMEOUT,
            sock_read=float(os.environ.get("MLFLOW_HTTP_REQUEST_TIMEOUT", _READ_TIMEOUT)),
        )
        ssl_context = self._login.make_ssl_context()
        connector = self._aiohttp.TCPConnector(limit=MAX_CONCURRENCY, ssl=ssl_context)
        return self._aiohttp.ClientSession(
            connector=connector,
            timeout=timeout,
            trace_configs=[make_trace(self._allowed_hosts)],
        )

    async def _explain(self, response: Any, path: str, *, is_listing: bool) -> Exception:
        status, text = response.status, await read_beginning(response, _MAX_ANSWER)
        if status == 404 and not is_listing:
            return FileNotFoundError(path)
        if status in (401, 403):
            return StorageError(f"{self._where} denies access ({status}): {self._login.advice}")
        if status == 404 or "serve-artifacts" in text:
            return StorageError(
                f"{self._where} does not serve artifacts ({status}): start it with "
                "`mlflow server --serve-artifacts`, or set artifact_root to their location"
            )
        error: Exception = self._aiohttp.ClientResponseError(
            response.request_info, response.history, status=status, message=text
        )
        return error


def _parse_listing(folder: str, body: bytes) -> list[dict[str, Any]]:
    """Return the entries in an answer of the server, as filesystems of fsspec do."""
    return [
        {
            "name": f"{folder}/{entry['path'].rpartition('/')[2]}",
            "type": "directory" if entry.get("is_dir") else "file",
            "size": None if entry.get("is_dir") else _get_size(entry),
        }
        for entry in json.loads(body).get("files") or []
    ]


def _get_size(entry: dict[str, Any]) -> int | None:
    """Return the size of a file; some of the server's backends do not know it."""
    size = entry.get("file_size")
    return None if size in (None, "") else int(size)


register_implementation(PROTOCOL, ArtifactsFileSystem, clobber=True)
register_path(PROTOCOL, ArtifactsPath, clobber=True)


def make_artifacts_root(
    base_url: str,
    username: str | None = None,
    password: str | None = None,
    allowed_hosts: frozenset[str] = frozenset(),
    *,
    has_login: bool = True,
) -> UPath:
    """Return the root of a server's artifacts. For the arguments see `ArtifactsFileSystem`."""
    options: dict[str, Any] = {"base_url": base_url}
    if username:
        options |= {"username": username, "password": password}
    if allowed_hosts:
        options["allowed_hosts"] = allowed_hosts
    if not has_login:
        options["has_login"] = False
    root: UPath = ArtifactsPath(f"{PROTOCOL}:///", **options)
    return root
