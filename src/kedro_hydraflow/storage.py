"""Paths and bytes: listing folders and reading many files, local or through fsspec.

Everything above this module names files by text paths that belong to one `Storage`, and
gets ``pathlib.Path`` or ``UPath`` objects for its users from `Storage.path`.
"""

from __future__ import annotations

import asyncio
import os
import re
import stat
import time
import urllib.parse
import urllib.request
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from typing_extensions import override

from kedro_hydraflow.errors import (
    MissingPackageError,
    NotFoundError,
    OptionError,
    StorageError,
    describe,
)
from kedro_hydraflow.redaction import get_harmless, redact, redact_url

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence

    from upath import UPath

    AnyPath = Path | UPath
    Location = str | os.PathLike[str] | UPath

T = TypeVar("T")

MAX_CONCURRENCY = 64
"""How many reads are in flight at once on an asynchronous filesystem."""

_RETRY_AFTER = (0.1, 0.5, 2.0)
"""Seconds to wait before a request that failed for a transient reason is made again."""


class Entry(NamedTuple):
    """One name in a folder."""

    name: str
    is_dir: bool
    is_broken: bool = False
    """A symbolic link whose target is not there."""


class Storage(ABC):
    """A place that holds files. Paths are text, with `sep` between names."""

    sep = "/"

    @property
    def is_process_local(self) -> bool:
        """Whether only this process sees what is there."""
        return False

    @property
    @abstractmethod
    def key(self) -> Hashable:
        """Equal for two storages if their paths name the same files, in this process.

        Raises:
            StorageError: If the storage cannot be opened.
        """

    @abstractmethod
    def list_dir(self, path: str, limit: int | None = None) -> list[Entry]:
        """Return what a folder holds, freshly listed, sorted by name.

        Args:
            path: The folder.
            limit: How many entries are enough, any of them. A remote folder is always
                listed whole.

        Raises:
            NotFoundError: If there is no such folder.
            StorageError: If it cannot be listed.
        """

    def list_many(
        self, paths: Sequence[str], limit: int | None = None
    ) -> list[list[Entry] | StorageError]:
        """Return as `list_dir` does for each folder, or why it cannot be listed."""
        return [self._try_list_dir(path, limit) for path in paths]

    def _try_list_dir(self, path: str, limit: int | None = None) -> list[Entry] | StorageError:
        try:
            return self.list_dir(path, limit)
        except StorageError as exc:
            return exc

    @abstractmethod
    def read_many(self, paths: Sequence[str]) -> list[bytes | StorageError | None]:
        """Return the content of each file: None if there is none, or why it cannot be read."""

    @abstractmethod
    def is_dir(self, path: str) -> bool:
        """Tell whether a folder exists.

        Raises:
            StorageError: If that cannot be told.
        """

    @abstractmethod
    def path(self, path: str) -> AnyPath:
        """Return a path as the object that users get."""

    @abstractmethod
    def join(self, path: str, *names: str) -> str:
        """Return the path of something inside a folder."""

    @abstractmethod
    def split(self, path: str) -> tuple[str, str]:
        """Return the folder that holds a path, and the path's name in it."""

    @abstractmethod
    def url(self, path: str) -> str:
        """Return a path as text for messages: with its protocol, without credentials."""

    def read(self, path: str) -> bytes | None:
        """Return the content of a file, None if there is none.

        Raises:
            StorageError: If it cannot be read.
        """
        (content,) = self.read_many([path])
        if isinstance(content, StorageError):
            raise content
        return content


class LocalStorage(Storage):
    """The local filesystem, read with the operating system's own calls.

    Args:
        base: The directory that relative paths start from: the working directory may be
            another one when a file is read, in another process or after ``chdir``.
    """

    sep = os.sep

    def __init__(self, base: str = "") -> None:
        self._base = base

    def _locate(self, path: str) -> str:
        return os.path.join(self._base, path) if self._base else path

    @property
    @override
    def key(self) -> Hashable:
        return "local", self._base

    @override
    def list_dir(self, path: str, limit: int | None = None) -> list[Entry]:
        try:
            with os.scandir(self._locate(path) or ".") as entries:
                return sorted(map(_make_entry, islice(entries, limit)))
        except (FileNotFoundError, NotADirectoryError) as exc:
            if _is_below_broken_link(self._locate(path)):
                raise StorageError(_describe_broken_link("list the directory", path)) from exc
            raise NotFoundError(f"there is no directory {path!r}") from exc
        except (OSError, ValueError) as exc:
            raise StorageError(f"cannot list the directory {path!r}: {describe(exc)}") from exc

    @override
    def read_many(self, paths: Sequence[str]) -> list[bytes | StorageError | None]:
        return [self._read(path) for path in paths]

    def _read(self, path: str) -> bytes | StorageError | None:
        try:
            with open(self._locate(path), "rb", buffering=0) as file:
                return file.read()
        except (FileNotFoundError, NotADirectoryError) as exc:
            if _is_below_broken_link(self._locate(path)):
                return _caused(StorageError(_describe_broken_link("read", path)), exc)
            return None
        except (OSError, ValueError) as exc:
            return _caused(StorageError(f"cannot read {path!r}: {describe(exc)}"), exc)

    @override
    def is_dir(self, path: str) -> bool:
        try:
            return stat.S_ISDIR(os.stat(self._locate(path) or ".").st_mode)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except (OSError, ValueError) as exc:
            raise StorageError(f"cannot look at {path!r}: {describe(exc)}") from exc

    @override
    def path(self, path: str) -> Path:
        return Path(path)

    @override
    def join(self, path: str, *names: str) -> str:
        return os.path.join(path, *names)

    @override
    def split(self, path: str) -> tuple[str, str]:
        if path in ("", os.curdir, os.pardir):
            path = os.path.abspath(self._locate(path))
        return os.path.split(path)

    @override
    def url(self, path: str) -> str:
        return path or "."


class FsspecStorage(Storage):
    """A filesystem of fsspec, below one URL. Connects on first use."""

    def __init__(self, root: UPath) -> None:
        self._root = root

    @property
    @override
    def is_process_local(self) -> bool:
        return any(link.startswith("memory:") for link in str(self._root).split("::"))

    @property
    def _fs(self) -> Any:
        try:
            return self._root.fs
        except ImportError as exc:
            raise missing_filesystem(str(self._root), exc) from exc
        except Exception as exc:
            raise self._make_error("open", self._root.path, exc) from self._harmless(exc)

    @property
    def _is_http(self) -> bool:
        return self._root.protocol in ("http", "https")

    @property
    @override
    def key(self) -> Hashable:
        return id(self._fs), self._root.anchor  # one filesystem serves many hosts or buckets

    @override
    def list_dir(self, path: str, limit: int | None = None) -> list[Entry]:
        fs = self._fs

        def list_freshly() -> list[dict[str, Any]]:
            fs.invalidate_cache(path)
            listed: list[dict[str, Any]] = fs.ls(path, detail=True)
            # Archives list nothing where there is nothing, or a file.
            if not listed and path and fs.info(path)["type"] == "file":
                raise NotADirectoryError(path)
            return listed

        with self._translating("list the directory", path):
            try:
                listed = _retry(list_freshly)
            except FileNotFoundError as exc:
                if self._is_http:  # there are servers of files that know no directories
                    raise OSError("not found by this server, if it lists directories") from exc
                raise
        here = path.strip("/")
        found = set()
        for entry in listed:
            parent, _, name = entry["name"].strip("/").rpartition("/")
            if parent == here and name and not (self._is_http and name.startswith("?")):
                # HTTP servers list the links of a page, which are percent-encoded
                name = urllib.parse.unquote(name) if self._is_http else name
                found.add(Entry(name, entry["type"] == "directory"))
        if not found and any(e["type"] == "file" and e["name"].strip("/") == here for e in listed):
            raise NotFoundError(f"there is no directory {self.url(path)!r}: it is a file")
        return sorted(found)

    @override
    def list_many(
        self, paths: Sequence[str], limit: int | None = None
    ) -> list[list[Entry] | StorageError]:
        if not self._is_async or len(paths) < 2:
            return super().list_many(paths, limit)
        with ThreadPoolExecutor(min(len(paths), MAX_CONCURRENCY)) as threads:
            return list(threads.map(self._try_list_dir, paths))

    @property
    def _is_async(self) -> bool:
        return getattr(self._fs, "async_impl", False) and not self._fs.asynchronous

    @override
    def read_many(self, paths: Sequence[str]) -> list[bytes | StorageError | None]:
        try:
            contents = self._read_once(paths)
        except StorageError as exc:  # it cannot even be opened
            return [exc for _ in paths]
        for seconds in _RETRY_AFTER:
            again = [i for i, content in enumerate(contents) if _is_transient(content)]
            if not again:
                break
            time.sleep(seconds)
            for i, content in zip(again, self._read_once([paths[i] for i in again]), strict=True):
                contents[i] = content
        return [self._settle(*item) for item in zip(paths, contents, strict=True)]

    def _read_once(self, paths: Sequence[str]) -> list[bytes | Exception]:
        fs = self._fs
        if self._is_async:
            from fsspec.asyn import sync

            contents: list[bytes | Exception] = sync(fs.loop, _gather, fs._cat_file, paths)
            return contents
        return [_try_cat(fs, path) for path in paths]

    def _settle(self, path: str, content: bytes | Exception) -> bytes | StorageError | None:
        if isinstance(content, bytes):
            return content
        if self._is_absence(content):
            return None
        return _caused(self._make_error("read", path, content), self._harmless(content))

    @override
    def is_dir(self, path: str) -> bool:
        try:  # not fs.isdir: that of HTTP says False to a refusal
            self.list_dir(path)
        except NotFoundError:
            return False
        return True

    @override
    def path(self, path: str) -> UPath:
        path = path.strip("/")
        base = self._root
        while not f"{path}/".startswith(prefix := f"{base.path.strip('/')}/".lstrip("/")):
            if base.parent == base:
                raise OptionError(f"{redact_url(path)!r} does not lie below {base}")
            base = base.parent
        relative = path[len(prefix) :]
        return base / relative if relative else base

    @override
    def join(self, path: str, *names: str) -> str:
        return "/".join((path.rstrip("/"), *names)) if path else "/".join(names)

    @override
    def split(self, path: str) -> tuple[str, str]:
        parent, _, name = path.rstrip("/").rpartition("/")
        return parent, name

    @override
    def url(self, path: str) -> str:
        return redact_url(str(self.path(path)))

    @contextmanager
    def _translating(self, action: str, path: str) -> Iterator[None]:
        try:
            yield
        except Exception as exc:
            raise self._make_error(action, path, exc) from self._harmless(exc)

    def _make_error(self, action: str, path: str, exc: Exception) -> StorageError:
        if self._is_absence(exc):
            return NotFoundError(f"there is no {self.url(path)!r}")
        reason = redact(describe(exc), self._root.storage_options)
        if isinstance(exc, PermissionError) or _get_status(exc) in (401, 403):
            reason = f"access denied ({reason}); check `credentials`"
        return StorageError(f"cannot {action} {self.url(path)!r}: {reason}")

    def _harmless(self, exc: Exception) -> Exception | None:
        return get_harmless(exc, self._root.storage_options)

    def _is_absence(self, exc: Exception) -> bool:
        if isinstance(exc, KeyError):  # how some archives say that they have no such member
            return self._root.protocol in ("zip", "tar", "libarchive")
        return isinstance(exc, (FileNotFoundError, NotADirectoryError)) or _get_status(exc) == 404


def locate(
    location: Location, storage_options: Mapping[str, Any] | None = None
) -> tuple[Storage, str]:
    """Return the storage that holds a location, and the location's path there.

    Args:
        location: A local path, a ``file:`` URI (percent-encoded), a ``UPath``, or a URL
            that fsspec knows, chained ones (``zip://…::s3://…``) included.
        storage_options: Passed on to the fsspec filesystem.

    Raises:
        OptionError: If it is neither a path nor a URL.
        MissingPackageError: If the package for the URL's protocol is not installed.
        StorageError: If no filesystem is known for the protocol.
    """
    if isinstance(location, str):
        if location.startswith("file:"):
            return _locate_locally(file_uri_to_path(location))
        if not is_url(location):
            return _locate_locally(location)
    elif isinstance(location, PurePath) or hasattr(location, "__fspath__"):
        return _locate_locally(os.fspath(location))
    elif not hasattr(location, "storage_options"):
        raise OptionError(f"expected a path or a URL, found {location!r}")
    path = _make_upath(location, storage_options)
    if path.protocol in ("file", "local"):
        return _locate_locally(path.path)
    return FsspecStorage(path), path.path.rstrip("/")


_LOCAL = LocalStorage()


def _locate_locally(path: str) -> tuple[LocalStorage, str]:
    path = os.fspath(Path(path))  # without a slash at the end
    return _LOCAL if os.path.isabs(path) else LocalStorage(os.getcwd()), path


def is_url(location: str) -> bool:
    """Tell whether text is a URL of fsspec rather than a local path."""
    if re.match(r"[A-Za-z][\w+.-]*://|file:", location):
        return True
    link, separator, _ = location.partition("::")  # as in zip::s3://…, but a::b is a name
    if not separator or not link.isidentifier():
        return False
    from fsspec import available_protocols

    return link in available_protocols()


def file_uri_to_path(uri: str) -> str:
    """Return the path of a ``file:`` URI; percent escapes are decoded."""
    path = uri.removeprefix("file:")
    if path.startswith("//"):
        host, slash, rest = path[2:].partition("/")
        path = slash + rest if host in ("", "localhost") else path
    return urllib.request.url2pathname(path)


def missing_filesystem(url: str, exc: ImportError) -> MissingPackageError:
    """Return the error that names the extra to install for a URL."""
    protocols = [link.partition(":")[0] for link in url.split("::")]
    extras = [_EXTRAS[p] for p in (p.partition("+")[0] for p in protocols) if p in _EXTRAS]
    advice = f"pip install 'kedro-hydraflow[{','.join(extras)}]'" if extras else "install it"
    return MissingPackageError(
        f"reading {redact_url(url)!r} needs a package that is not installed ({exc}): {advice}"
    )


_EXTRAS = {
    "s3": "s3",
    "s3a": "s3",
    "gs": "gcs",
    "gcs": "gcs",
    "az": "azure",
    "abfs": "azure",
    "abfss": "azure",
    "adl": "azure",
    "sftp": "sftp",
    "ssh": "sftp",
    "http": "http",
    "https": "http",
    "webdav": "webdav",
}


# Foreign errors ------------------------------------------------------------------------


def _get_status(exc: object) -> int | None:
    """Return the HTTP status in an error of aiohttp, requests, gcsfs or the Azure SDK."""
    for owner in (exc, getattr(exc, "response", None)):
        for name in ("status", "status_code", "code"):
            status = getattr(owner, name, None)
            if isinstance(status, int):
                return status
    return None


def _is_transient(outcome: object) -> bool:
    """Tell whether a request that had this outcome may succeed when it is made again."""
    if not isinstance(outcome, Exception) or isinstance(outcome, FileNotFoundError):
        return False
    if isinstance(outcome, (ConnectionError, TimeoutError, asyncio.TimeoutError)):
        return True
    names = {cls.__name__ for cls in type(outcome).__mro__}
    if names & {"ClientConnectionError", "ClientPayloadError"}:  # of aiohttp
        return True
    return _get_status(outcome) in (408, 429, 500, 502, 503, 504)


def _retry(function: Callable[[], T]) -> T:
    for seconds in _RETRY_AFTER:
        try:
            return function()
        except Exception as exc:
            if not _is_transient(exc):
                raise
        time.sleep(seconds)
    return function()


async def _gather(cat_file: Callable[..., Any], paths: Sequence[str]) -> list[bytes | Exception]:
    free = asyncio.Semaphore(MAX_CONCURRENCY)

    async def read(path: str) -> bytes | Exception:
        async with free:
            try:
                return bytes(await cat_file(path))
            except Exception as exc:
                return exc

    return await asyncio.gather(*map(read, paths))


def _try_cat(fs: Any, path: str) -> bytes | Exception:
    try:
        return bytes(fs.cat_file(path))
    except Exception as exc:
        return exc


def _make_upath(location: Any, storage_options: Mapping[str, Any] | None) -> UPath:
    from upath import UPath

    if isinstance(location, UPath) and not storage_options:
        return location
    try:
        path: UPath = UPath(location, **dict(storage_options or {}))
    except ImportError as exc:
        raise missing_filesystem(str(location), exc) from exc
    except (ValueError, TypeError) as exc:
        options = storage_options or {}
        message = f"cannot open {redact_url(str(location))!r}: {redact(describe(exc), options)}"
        raise StorageError(message) from get_harmless(exc, options)
    return path


def _make_entry(entry: os.DirEntry[str]) -> Entry:
    try:
        is_dir = entry.is_dir()
    except OSError:  # a symbolic link to itself
        is_dir = False
    is_broken = not is_dir and entry.is_symlink() and not os.path.exists(entry.path)
    return Entry(entry.name, is_dir, is_broken)


def _is_below_broken_link(path: str) -> bool:
    """Tell whether something is absent only because a link on its path leads nowhere."""
    while path and not os.path.lexists(path):
        path = os.path.dirname(path)
    return os.path.islink(path) and not os.path.exists(path)


def _describe_broken_link(action: str, path: str) -> str:
    return f"cannot {action} {path!r}: a symbolic link on the way leads nowhere"


def _caused(error: StorageError, cause: BaseException | None) -> StorageError:
    error.__cause__ = cause
    return error
