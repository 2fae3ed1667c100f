"""A client for all filesystems of fsspec."""

from __future__ import annotations

import asyncio
import functools
import os
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from kedro_hydraflow.limits import check_file_size
from kedro_hydraflow.logs import get_logger
from kedro_hydraflow.redaction import Options
from kedro_hydraflow.storage.answers import FILE_LIMIT, make_size_trace, read_body
from kedro_hydraflow.storage.base import Entry
from kedro_hydraflow.storage.bulk import MAX_CONCURRENCY
from kedro_hydraflow.storage.foreign_errors import get_status, is_absence, is_disconnection
from kedro_hydraflow.storage.redirects import (
    check_httpx_response,
    make_s3_session_class,
    make_trace,
    refuse_redirects_of_azure,
)
from kedro_hydraflow.storage.remote import Client

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from upath import UPath

logger = get_logger(__name__)

_THREADS = {"webdav": 16}
"""The number of threads for filesystems that are not asynchronous, by protocol. The default is
one: most of them cannot share a connection, and threads that share a paramiko connection block
each other."""

_WITH_ONE_CONNECTION = frozenset({"sftp", "ssh"})
"""The protocols whose filesystems have one connection, and do not open it again."""

_WITH_TIMEOUTS = frozenset(
    {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "http", "https", "mlflow"}
)
_WITHOUT_FOLDERS = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss"})
"""The protocols of object stores, where a file needs no folder."""

_GCS = frozenset({"gs", "gcs"})
_AZURE = frozenset({"az", "abfs", "abfss", "adl"})
_TIMEOUT = 60.0
_CONNECT_TIMEOUT = 10.0
_READ_TIMEOUT = 30.0
"""Seconds without data from the server."""

_VALIDATOR_FIELDS = (
    "ETag",
    "etag",
    "generation",
    "LastModified",
    "last_modified",
    "modified",
    "mtime",
    "created",
    "CRC",
    "date_time",
)
"""The fields of a listing that change with a file's content. Each filesystem has some of them."""


class FsspecClient(Client):
    """A client for a filesystem of fsspec, without a cache of listings."""

    def __init__(self, root: UPath, allowed_hosts: frozenset[str] = frozenset()) -> None:
        options = Options(tune(root.protocol, root.storage_options, allowed_hosts))
        self._options = options
        self._protocol = root.protocol
        fs = self._open()
        self._fs = fs
        self._is_lost = False
        self._reconnecting = asyncio.Lock()
        self._is_http = root.protocol in ("http", "https")
        self._has_folders = root.protocol not in _WITHOUT_FOLDERS
        if root.protocol not in _WITH_TIMEOUTS:
            self.timeout = _TIMEOUT
        self._is_async = getattr(fs, "async_impl", False) and not fs.asynchronous
        self._threads: ThreadPoolExecutor | None = None
        self.concurrency = _THREADS.get(root.protocol, 1)
        if self._is_async:
            self.concurrency = _get_pool_size(options)
            if hasattr(fs, "retries"):  # s3fs would retry each attempt
                fs.retries = 1

    def _open(self, **kwargs: Any) -> Any:
        """Return the filesystem."""
        import fsspec

        fs = fsspec.filesystem(self._protocol, **self._options, **kwargs)
        if hasattr(fs, "ftp"):  # paramiko, which has no timeout of its own
            fs.ftp.get_channel().settimeout(_READ_TIMEOUT)
        refuse_redirects_of_azure(fs)
        return fs

    async def _call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        fs = await self._get_connected()
        try:
            if self._is_async:
                return await getattr(fs, f"_{method}")(*args, **kwargs)
            if self._threads is None:
                self._threads = ThreadPoolExecutor(self.concurrency)
            call = functools.partial(getattr(fs, method), *args, **kwargs)
            return await asyncio.get_running_loop().run_in_executor(self._threads, call)
        except (Exception, asyncio.CancelledError) as exc:
            # It is cancelled where there is no answer in time.
            is_dead = isinstance(exc, asyncio.CancelledError) or is_disconnection(exc)
            if is_dead and self._protocol in _WITH_ONE_CONNECTION and fs is self._fs:
                self._is_lost = True
            raise

    async def _get_connected(self) -> Any:
        """Return the filesystem, a new one if its connection was lost."""
        if self._is_lost:
            async with self._reconnecting:
                if self._is_lost:  # still
                    # In a thread: sshfs waits for the event loop.
                    self._fs = await asyncio.to_thread(self._open, skip_instance_cache=True)
                    self._is_lost = False
        return self._fs

    @override
    async def list_dir(self, path: str) -> list[Entry]:
        self._fs.invalidate_cache(path)
        try:
            listed = await self._call("ls", path, detail=True)
        except Exception as exc:
            answers = {403: "403 Forbidden", 404: "404 Not Found"}
            status = 404 if is_absence(exc) else get_status(exc)
            if self._is_http and status in answers:
                raise OSError(_NO_LISTING.format(answers[status])) from exc
            raise
        if self._is_http:
            return _read_links(path, listed)
        here = path.strip("/")
        entries = list(_iter_entries(here, listed))
        if not entries and path and await self._is_file(here, listed):
            raise NotADirectoryError(path)
        return entries

    async def _is_file(self, path: str, listed: list[dict[str, Any]]) -> bool:
        """Whether a path without entries is a file: archives list a file as an empty folder."""
        if not listed:
            info = await self._call("info", path)
            return bool(info["type"] == "file")
        return any(e["type"] == "file" and e["name"].strip("/") == path for e in listed)

    @override
    async def read(self, path: str, limit: int) -> bytes:
        if self._is_http:
            return await self._read_http(path, limit)
        # With `end`, most asynchronous filesystems send a header that fails for empty files.
        is_cut = not self._is_async or self._protocol in _AZURE
        options = {"end": limit + 1} if is_cut else {}
        if self._protocol == "mlflow":
            options = {"max_size": limit}
        FILE_LIMIT.set(limit)  # for `make_size_trace`
        try:
            content = bytes(await self._call("cat_file", path, **options))
        except Exception as exc:
            if self._protocol in _AZURE and get_status(exc) == 416:
                return b""  # there is no range in an empty file
            raise
        check_file_size(len(content), limit)
        return content

    async def _read_http(self, path: str, limit: int) -> bytes:
        session = await self._fs.set_session()
        async with session.get(self._fs.encode_url(path), **self._fs.kwargs) as response:
            if response.status == 404:
                raise FileNotFoundError(path)
            response.raise_for_status()
            return await read_body(response, limit)

    @override
    async def fetch(self, path: str, target: str) -> None:
        await self._call("get_file", path, target)
        if not os.path.exists(target):  # some filesystems copy nothing for a folder
            raise FileNotFoundError(path)

    @override
    async def write(self, path: str, content: bytes) -> None:
        if self._is_http:
            raise OSError("a web server's files can only be read")
        folder = path.rpartition("/")[0]
        if folder and self._has_folders:
            await self._call("makedirs", folder, exist_ok=True)
        await self._call("pipe_file", path, content)

    @override
    async def remove(self, path: str) -> None:
        await self._call("rm_file", path)


_NO_LISTING = (
    "the server answered with {}: either the directory does not exist, or the server does not "
    "list directories. To find runs, it must list them. A single run can still be read by its URL"
)


def _iter_entries(here: str, listed: Iterable[dict[str, Any]]) -> Iterable[Entry]:
    for info in listed:
        is_folder = info["type"] == "directory"
        parent, _, name = info["name"].strip("/").rpartition("/")
        if is_folder and info["name"].lstrip("/") == f"{here}/":
            yield Entry("", is_dir=True)  # of keys such as `here//name`, in s3fs
        elif parent == here and name:
            if is_folder:
                yield Entry(name, is_dir=True)
            else:
                # What is stored compressed may be sent decompressed.
                is_coded = info.get("contentEncoding") or info.get("content_encoding")
                size = None if is_coded else info.get("size")
                validator = _get_validator(info)
                yield Entry(name, is_dir=False, size=size, validator=validator)


def _get_validator(info: Mapping[str, Any]) -> str | None:
    known = [f"{info[name]}" for name in _VALIDATOR_FIELDS if info.get(name) is not None]
    return " ".join([*known, str(info.get("size"))]) if known else None


def _read_links(path: str, listed: Iterable[dict[str, Any]]) -> list[Entry]:
    """Return the entries that a web server's page for a directory links to."""
    entries = []
    here = path.rstrip("/")
    for info in listed:
        parent, _, name = info["name"].rstrip("/").rpartition("/")
        if parent == here and name and not name.startswith("?"):
            entries.append(Entry(urllib.parse.unquote(name), info["type"] == "directory"))
    if not entries:
        raise OSError(_NO_LISTING.format("a page without links to entries"))
    return entries


def tune(
    protocol: str, options: Mapping[str, Any], allowed_hosts: frozenset[str] = frozenset()
) -> dict[str, Any]:
    """Return the options of a filesystem with defaults for reading many small files.

    Options that the user set are kept. The links of a chained URL are tuned too.

    Args:
        protocol: The protocol of the filesystem.
        options: The options of the user.
        allowed_hosts: The other hosts to which servers may redirect.
    """
    tuned = dict(options)
    if "target_protocol" in tuned:
        target_options = tuned.get("target_options") or {}
        target = tune(tuned["target_protocol"], target_options, allowed_hosts)
        tuned["target_options"] = target
    if protocol in ("s3", "s3a"):
        session = {"http_session_cls": make_s3_session_class(allowed_hosts)}
        tuned["config_kwargs"] = {**session, **(tuned.get("config_kwargs") or {})}
        return _merge(
            {
                # One GET for each file, without a HEAD for its size.
                "max_concurrency": 1,
                "use_listings_cache": False,
                "config_kwargs": {
                    "max_pool_connections": MAX_CONCURRENCY,
                    # The retries are made here, in `bulk`.
                    "retries": {"total_max_attempts": 1},
                },
            },
            tuned,
        )
    if protocol in _GCS:
        _warn_about_emulator(tuned)
        tuned["session_kwargs"] = _add_to_lists(
            tuned.get("session_kwargs"),
            trace_configs=[make_trace(allowed_hosts), make_size_trace()],
        )
        return _merge({"use_listings_cache": False, "requests_timeout": _make_timeout()}, tuned)
    if protocol in _AZURE:
        timeouts = {"connection_timeout": _CONNECT_TIMEOUT, "read_timeout": _READ_TIMEOUT}
        return _merge({"use_listings_cache": False, **timeouts}, tuned)
    if protocol in ("http", "https"):
        tuned = _move_login_to_header(tuned)
        client_options = _move_login_to_header(tuned.get("client_kwargs") or {})
        tuned["client_kwargs"] = _add_to_lists(
            client_options, trace_configs=[make_trace(allowed_hosts), make_size_trace()]
        )
        return _merge({"client_kwargs": {"timeout": _make_timeout()}}, tuned)
    if protocol == "webdav":
        tuned["event_hooks"] = _add_to_lists(
            tuned.get("event_hooks"), response=[check_httpx_response]
        )
    return tuned


def _add_to_lists(options: Mapping[str, Any] | None, **lists: list[Any]) -> dict[str, Any]:
    """Return options with entries added to those that are lists."""
    added = {name: [*((options or {}).get(name) or ()), *more] for name, more in lists.items()}
    return {**(options or {}), **added}


def _move_login_to_header(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of aiohttp's sessions or requests with their login as a header.

    aiohttp sends the login of a session to each host that a server redirects to; the header not.
    """
    moved = dict(options)
    headers = dict(moved.get("headers") or {})
    login: Any = moved.get("auth")
    if hasattr(login, "password") and "authorization" not in map(str.lower, headers):
        del moved["auth"]
        moved["headers"] = {**headers, "Authorization": login.encode()}
    return moved


def _make_timeout() -> Any:
    """Return aiohttp's timeouts, without a limit for a whole transfer, which may be large."""
    from aiohttp import ClientTimeout

    return ClientTimeout(None, sock_connect=_CONNECT_TIMEOUT, sock_read=_READ_TIMEOUT)


def _merge(defaults: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return defaults updated with a user's options, nested mappings included."""
    merged = {**defaults, **options}
    for name, value in defaults.items():
        if isinstance(value, dict) and isinstance(options.get(name), dict):
            merged[name] = _merge(value, options[name])
    return merged


def _get_pool_size(options: Mapping[str, Any]) -> int:
    """Return the number of connections. More requests would only wait and time out."""
    config = options.get("config_kwargs") or {}
    return int(config.get("max_pool_connections", MAX_CONCURRENCY))


def _warn_about_emulator(options: Mapping[str, Any]) -> None:
    endpoint = options.get("endpoint_url") or os.environ.get("STORAGE_EMULATOR_HOST")
    probing = os.environ.get("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "true").lower()
    if endpoint and probing in ("true", "1"):
        logger.warning(
            "gcsfs probes a custom endpoint for features that only Google has, which takes seconds "
            "for each bucket; set GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT=false before Python starts"
        )
