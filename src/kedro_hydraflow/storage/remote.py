"""Storages other than the local filesystem, with the same behaviour for all clients."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from typing_extensions import override

from kedro_hydraflow.errors import (
    FileSizeError,
    ForeignHostError,
    IncompleteCopyError,
    KedroHydraflowError,
    MissingPackageError,
    NotFoundError,
    OptionError,
    StorageError,
    UnreachableError,
)
from kedro_hydraflow.escaping import escape
from kedro_hydraflow.limits import get_max_file_size
from kedro_hydraflow.logs import get_logger
from kedro_hydraflow.progress import counting, counting_found
from kedro_hydraflow.redaction import Options, get_safe_cause, redact, redact_url
from kedro_hydraflow.storage.base import Download, Entry, Parsed, Storage, check_folder
from kedro_hydraflow.storage.bulk import NotTriedError, run_requests
from kedro_hydraflow.storage.foreign_errors import (
    describe_foreign,
    find_cause,
    is_absence,
    is_denial,
    is_transient,
    make_missing_package_error,
)
from kedro_hydraflow.storage.hosts import make_withheld_error

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable, Iterator, Mapping, Sequence

    from upath import UPath

A = TypeVar("A")
T = TypeVar("T")

logger = get_logger(__name__)

_UNNAMEABLE = frozenset({"", ".", ".."})
"""What a path cannot have as the name of a file or folder."""

_ARCHIVES = frozenset({"zip", "tar", "libarchive"})
_IN_PROCESS = frozenset({"", "file", "local", "memory", "data"}) | _ARCHIVES
"""Protocols that need no network."""


class Client(ABC):
    """The interface of clients for remote storage. Paths are those of `UPath.path`.

    The methods raise the exceptions of the package that the client uses.
    """

    concurrency: int
    """The number of requests that may be made at once."""

    timeout: float = 900.0
    """Seconds for reading or listing. The timeouts of most packages are for silence alone, and
    never end for a server that answers a byte at a time."""

    @abstractmethod
    async def list_dir(self, path: str) -> list[Entry]:
        """Return the entries of a folder in any order, never from a cache.

        Entries that no path can name, such as that of the key ``folder//file``, may be included.

        Raises:
            FileNotFoundError: If there is no such folder.
        """

    @abstractmethod
    async def read(self, path: str, limit: int) -> bytes:
        """Return the content of a file.

        Raises:
            FileSizeError: If it is larger than the limit, in bytes. Where the size is known
                before the content is read, nothing is read then.
        """

    @abstractmethod
    async def fetch(self, path: str, target: str) -> None:
        """Copy a file to a local path in chunks."""

    async def write(self, path: str, content: bytes) -> None:  # noqa: ARG002 - for others
        """Write a file."""
        raise OSError("files there can only be read")

    async def remove(self, path: str) -> None:  # noqa: ARG002 - for others
        """Remove a file."""
        raise OSError("files there can only be read")


class RemoteStorage(Storage):
    """A remote storage. It connects on first use.

    Args:
        root: A URL on the storage, with the options of its filesystem.
        make_client: Returns the client for the root.
    """

    def __init__(self, root: UPath, make_client: Callable[[UPath], Client]) -> None:
        self._root = root
        self._options = Options(root.storage_options)
        self._make_client = make_client
        self._client: tuple[int, Client] | None = None
        protocols = set(_iter_protocols(root.protocol, root.storage_options))
        self.is_process_local = "memory" in protocols
        self.is_remote = not protocols <= _IN_PROCESS

    def __reduce__(self) -> tuple[Any, ...]:
        return RemoteStorage, (self._root, self._make_client)

    @property
    @override
    def key(self) -> Hashable:
        from fsspec.utils import tokenize

        options = tokenize(dict(self._root.storage_options))
        return self._root.protocol, self._root.anchor, options, self._make_client

    @override
    def list_dir(self, path: str, limit: int | None = None) -> list[Entry]:
        (listing,) = self.list_many([path], limit)
        if isinstance(listing, StorageError):
            raise listing
        return listing

    @override
    def list_many(
        self, paths: Sequence[str], limit: int | None = None
    ) -> list[list[Entry] | StorageError]:
        return [
            listing
            if isinstance(listing, StorageError)
            else self.leave_out_unnameable(path, listing)
            for path, listing in zip(paths, self.list_all(paths), strict=True)
        ]

    @override
    def list_all(self, paths: Sequence[str]) -> list[list[Entry] | StorageError]:
        with counting_found() as advance:

            def get_request(client: Client) -> Callable[[str], Awaitable[list[Entry]]]:
                async def list_dir(path: str) -> list[Entry]:
                    entries = await client.list_dir(path)
                    advance(len(entries))
                    return entries

                return list_dir

            listings = self._request(get_request, paths)
        return [
            self._make_error("list the directory", path, listing)
            if isinstance(listing, Exception)
            else sorted(listing)
            for path, listing in zip(paths, listings, strict=True)
        ]

    @override
    def leave_out_unnameable(self, path: str, entries: list[Entry]) -> list[Entry]:
        left_out = [entry.name for entry in entries if entry.name in _UNNAMEABLE]
        if not left_out:
            return entries
        url = self.get_url(path).rstrip("/")
        logger.warning(
            "skipped the keys below %s: a name in a key may not be empty, '.' or '..'",
            ", ".join(f"{url}/{name}/" for name in left_out),
        )
        return [entry for entry in entries if entry.name not in _UNNAMEABLE]

    @override
    def read_parsed(self, paths: Sequence[str], parse: Callable[[bytes], T]) -> Parsed[T]:
        limit = get_max_file_size()

        with counting(len(paths)) as advance:

            def get_request(client: Client) -> Callable[[str], Awaitable[T | KedroHydraflowError]]:
                async def read(path: str) -> T | KedroHydraflowError:
                    content = await client.read(path, limit)
                    advance(1)
                    return self.parse_content(path, content, parse)

                return read

            results = self._request(get_request, paths)
        values = [
            self._explain_unread(path, result) if isinstance(result, Exception) else result
            for path, result in zip(paths, results, strict=True)
        ]
        return Parsed(values, [None] * len(paths))

    def _explain_unread(self, path: str, exc: Exception) -> KedroHydraflowError | None:
        """Return the error for a file that was not read, None if there is no such file."""
        if isinstance(exc, KedroHydraflowError) and not isinstance(exc, FileSizeError):
            return exc
        return None if self._is_absence(exc) else self._make_error("read", path, exc)

    @override
    def fetch_many(self, files: Sequence[Download]) -> list[StorageError | None]:
        def get_request(client: Client) -> Callable[[Download], Awaitable[None]]:
            async def fetch(file: Download) -> None:
                try:
                    await client.fetch(file.path, file.target)
                    _check_whole(file)
                except FileNotFoundError:
                    check_folder(file)
                    raise

            return fetch

        results = self._request(get_request, files, are_small=False)
        return [
            None if result is None else self._make_error("fetch", file.path, result)
            for file, result in zip(files, results, strict=True)
        ]

    @override
    def write(self, path: str, content: bytes) -> None:
        def get_request(client: Client) -> Callable[[str], Awaitable[None]]:
            return lambda path: client.write(path, content)

        (result,) = self._request(get_request, [path], are_small=False)
        if result is not None:
            raise self._make_error("write", path, result)

    @override
    def remove(self, path: str) -> None:
        (result,) = self._request(lambda client: client.remove, [path])
        if result is not None and not self._is_absence(result):
            raise self._make_error("remove", path, result)

    def _request(
        self,
        get_request: Callable[[Client], Callable[[A], Awaitable[T]]],
        arguments: Sequence[A],
        *,
        are_small: bool = True,
    ) -> list[T | Exception]:
        """Make a request with the client for each argument; return the results or errors."""
        try:
            client = self._connect()
        except StorageError as exc:
            return [exc] * len(arguments)
        return run_requests(
            get_request(client),
            arguments,
            concurrency=client.concurrency,
            timeout=client.timeout if are_small else None,
        )

    def _connect(self) -> Client:
        # A client does not survive a fork.
        if self._client is None or self._client[0] != os.getpid():
            try:
                client = self._make_client(self._root)
            except MissingPackageError:
                raise
            except ImportError as exc:
                url = _add_host(str(self._root), self._root.storage_options)
                raise make_missing_package_error(url, exc) from exc
            except Exception as exc:
                error = self._make_error("open", self._root.path, exc)
                raise error from error.__cause__
            self._client = os.getpid(), client
        return self._client[1]

    @override
    def is_dir(self, path: str) -> bool:
        try:
            self.list_dir(path)
        except NotFoundError:
            return False
        return True

    @override
    def to_path(self, path: str) -> UPath:
        path = path.strip("/")
        base = self._root
        while not f"{path}/".startswith(prefix := f"{base.path.strip('/')}/".lstrip("/")):
            if base.parent == base:
                raise OptionError(f"{redact_url(path)!r} is not below {redact_url(str(base))!r}")
            base = base.parent
        relative = path[len(prefix) :]
        return base / relative if relative else base

    @override
    def without_credentials(self) -> RemoteStorage:
        root = _leave_out_options(self._root)
        return RemoteStorage(root, _refuse if self.is_remote else self._make_client)

    @override
    def join(self, path: str, *names: str) -> str:
        return "/".join((path.rstrip("/"), *names)) if path else "/".join(names)

    @override
    def split(self, path: str) -> tuple[str, str]:
        parent, _, name = path.rstrip("/").rpartition("/")
        return parent, name

    @override
    def get_url(self, path: str) -> str:
        return escape(self._get_raw_url(path))

    def _get_raw_url(self, path: str) -> str:
        root_url, root_path = self._shown_root
        path = path.strip("/")
        if path.startswith(root_path) and "::" not in root_url:
            return redact_url(root_url + path[len(root_path) :])
        return redact_url(_add_host(str(self.to_path(path)), self._root.storage_options))

    @cached_property
    def _shown_root(self) -> tuple[str, str]:
        """The URL and path of the root.

        Cached, because formatting them takes longer than reading a file.
        """
        root_url = _add_host(str(self._root), self._root.storage_options).rstrip("/")
        path = self._root.path.strip("/")
        return (f"{root_url}/", f"{path}/") if path else (f"{root_url}/", "")

    @override
    def get_identity(self, path: str) -> str:
        return f"{self._get_raw_url(path)} {self._server}"

    @cached_property
    def _server(self) -> str:
        return " ".join(_iter_server_settings(self._root.storage_options))

    def _is_absence(self, exc: Exception) -> bool:
        """Whether a client's error means that the path does not exist."""
        if isinstance(exc, StorageError) or find_cause(exc, ForeignHostError) is not None:
            return False
        return is_absence(exc, in_archive=self._root.protocol in _ARCHIVES)

    def _make_error(self, action: str, path: str, exc: Exception) -> StorageError:
        """Return the `StorageError` for a client's error, chained unless that shows credentials."""
        if isinstance(exc, (FileSizeError, IncompleteCopyError)):
            return type(exc)(f"cannot {action} {self.get_url(path)!r}: {exc}")
        if isinstance(exc, StorageError):
            return exc
        refused = find_cause(exc, ForeignHostError)
        if refused is not None:
            return refused
        options = self._options
        reason = redact(describe_foreign(exc), options)
        error: StorageError
        if isinstance(exc, NotTriedError) or is_transient(exc):
            error = UnreachableError(f"cannot {action} {self.get_url(path)!r}: {reason}")
        elif self._is_absence(exc):
            error = NotFoundError(f"there is no {self.get_url(path)!r}")
        elif is_denial(exc):
            advice = f"access denied ({reason}); check `credentials` or `storage_options`"
            error = StorageError(f"cannot {action} {self.get_url(path)!r}: {advice}")
        else:
            error = StorageError(f"cannot {action} {self.get_url(path)!r}: {reason}")
        error.__cause__ = get_safe_cause(exc, options)
        return error


def _leave_out_options(root: UPath) -> UPath:
    """Return a URL with only those options that are a part of it, without logins in them."""
    from upath import UPath

    options = root.storage_options
    kept = {name: options[name] for name in ("base_url", "host", "port") if name in options}
    if "base_url" in kept:
        kept["base_url"] = redact_url(kept["base_url"])
    stripped: UPath = UPath(redact_url(str(root)), **kept)
    return stripped


def _refuse(root: UPath) -> Client:
    """Raise the error of a storage without credentials."""
    raise make_withheld_error(redact_url(_add_host(str(root), root.storage_options)))


def _check_whole(file: Download) -> None:
    """Raise IncompleteCopyError for a copy that is shorter than the listing says.

    A longer one has grown, or was decompressed on the way.
    """
    size = os.path.getsize(file.target)
    if file.size is not None and size < file.size:
        raise IncompleteCopyError(f"got {size:,} of {file.size:,} bytes")


def _iter_protocols(protocol: str, options: Mapping[str, Any]) -> Iterator[str]:
    """Yield the protocol of each link of a chained URL."""
    yield protocol
    if "target_protocol" in options:
        yield from _iter_protocols(options["target_protocol"], options.get("target_options") or {})


def _add_host(url: str, options: Mapping[str, Any]) -> str:
    """Return a URL with the host from its options, if UPath leaves it out."""
    scheme, separator, path = url.partition("://")
    if separator and path.startswith("/"):
        if "base_url" in options:  # WebDAV
            return f"{scheme}+{options['base_url'].rstrip('/')}{path}"
        if "host" in options:
            port = f":{options['port']}" if "port" in options else ""
            return f"{scheme}://{options['host']}{port}{path}"
    return url


_SERVER_OPTIONS = ("account_host", "account_name", "endpoint", "endpoint_url", "fo", "username")
_SERVER_VARIABLES = (
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AZURE_STORAGE_ACCOUNT_NAME",
    "STORAGE_EMULATOR_HOST",
)


def _iter_server_settings(options: Mapping[str, Any]) -> Iterator[str]:
    """Yield the settings by which servers with the same URLs differ."""
    for name in _SERVER_OPTIONS:
        if isinstance(options.get(name), str):
            yield f"{name}={redact_url(options[name])}"
    yield from _iter_azure_settings(str(options.get("connection_string", "")))
    for name in ("client_kwargs", "target_options"):
        if isinstance(options.get(name), dict):
            yield from _iter_server_settings(options[name])
    for name in _SERVER_VARIABLES:
        if name in os.environ:
            yield f"{name}={redact_url(os.environ[name])}"
    yield from _iter_azure_settings(os.environ.get("AZURE_STORAGE_CONNECTION_STRING", ""))


def _iter_azure_settings(connection_string: str) -> Iterator[str]:
    for part in connection_string.split(";"):
        if part.lower().startswith(("accountname=", "blobendpoint=", "endpointsuffix=")):
            yield redact_url(part)
