"""A client for S3, Google Cloud Storage and Azure that uses obstore, with fsspec's options.

obstore (the Rust crate object_store) reads many small objects in a fraction of the time that the
Python clients take. It looks for credentials in fewer places than they do: what the options lack
is found with their packages (`credentials`).
"""

from __future__ import annotations

import asyncio
import atexit
import functools
import json
import os
import re
import sys
import threading
import time
from collections.abc import Mapping
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from typing_extensions import override

from kedro_hydraflow.errors import KedroHydraflowError, OptionError
from kedro_hydraflow.forks import ADVICE, lacks_threads
from kedro_hydraflow.limits import check_file_size
from kedro_hydraflow.logs import get_logger
from kedro_hydraflow.storage.base import Entry
from kedro_hydraflow.storage.bulk import MAX_CONCURRENCY
from kedro_hydraflow.storage.credentials import find_for_azure, find_for_gcs, find_for_s3
from kedro_hydraflow.storage.fsspec_client import FsspecClient
from kedro_hydraflow.storage.remote import Client

if TYPE_CHECKING:
    from collections.abc import Callable

    from upath import UPath

    from kedro_hydraflow.storage.credentials import Found

logger = get_logger(__name__)

_IGNORED = frozenset(
    {
        "access",
        "asynchronous",
        "cache_timeout",
        "default_block_size",
        "default_cache_type",
        "default_fill_cache",
        "listings_expiry_time",
        "loop",
        "max_concurrency",
        "project",
        "skip_instance_cache",
        "use_listings_cache",
    }
)
"""Options of fsspec's filesystems that have no effect here."""

_BUCKET = re.compile(r"[\w.$-]+", re.ASCII)
"""Matches the name of a bucket. obstore would put other characters into the name of the host."""


def connect(root: UPath, allowed_hosts: frozenset[str] = frozenset()) -> Client:
    """Return a client that uses obstore, or fsspec in a process where obstore would hang.

    Raises:
        ImportError: If fsspec's filesystem is not installed.
    """
    if _can_use_threads():
        return ObstoreClient(root)
    logger.debug("obstore does not work in a forked process; reading with fsspec")
    try:
        return FsspecClient(root, allowed_hosts)
    except ImportError as exc:
        raise ImportError(
            f"{exc}; obstore does not work in this process, which was forked from one that had "
            f"used it: {ADVICE}, or install the package for fsspec"
        ) from exc


def connect_unasked(root: UPath, allowed_hosts: frozenset[str] = frozenset()) -> Client:
    """Return a client that uses obstore if credentials are found, and fsspec otherwise.

    Raises:
        ImportError: If fsspec's filesystem is needed and not installed.
    """
    if _can_use_threads():
        try:
            client = ObstoreClient(root)
        except Exception as exc:  # fsspec raises its own, if it needs what could not be found
            logger.debug("no credentials for obstore (%s); reading with fsspec", type(exc).__name__)
            return FsspecClient(root, allowed_hosts)
        if client.is_complete:
            return _WithFallback(client, functools.partial(FsspecClient, root, allowed_hosts))
    return FsspecClient(root, allowed_hosts)


def _can_use_threads() -> bool:
    return _get_first_process() == os.getpid() and not lacks_threads("obstore")


@functools.cache
def _get_first_process() -> int:
    """Return the ID of the process that connected first. Forked processes inherit the cached ID.

    obstore's threads do not survive a fork: in the child, every request would wait for them.
    """
    return os.getpid()


@functools.cache
def _register_wait() -> None:
    atexit.register(wait_for_workers)


def wait_for_workers(seconds: float = 1.0) -> None:
    """Wait until no thread that Python did not start runs Python code.

    A thread of obstore wakes the event loop when a request is done. If the interpreter ends before
    the thread has returned, Python up to 3.13 ends the thread, and Rust then aborts the process.

    Args:
        seconds: The longest time to wait.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        known = {thread.ident for thread in threading.enumerate()}
        if sys._current_frames().keys() <= known:
            return
        time.sleep(0.001)


class ObstoreClient(Client):
    """A client for all buckets of an object store."""

    def __init__(self, root: UPath) -> None:
        from obstore import store

        _register_wait()
        self._options = _translate(root.protocol, root.storage_options)
        self.is_complete = self._options.is_complete
        """Whether there are credentials, and what else obstore cannot find by itself."""
        self._login = self._options.login
        found = None if self.is_complete else self._options.find()
        if found is not None:
            self.is_complete = True
            self._options.config.update(found.config)
            self._options.set_endpoint("endpoint", found.config.get("endpoint"))
            if found.provider is not None:
                self._login = {"credential_provider": found.provider}
        self._store_class = getattr(store, _STORES[root.protocol][0])
        self._stores: dict[str, Any] = {}
        self._root = root
        self._fallback: FsspecClient | None = None
        self.concurrency = self._options.concurrency

    def _open(self, path: str) -> tuple[Any, str]:
        """Return obstore's store for the bucket of a path, and the rest of the path."""
        bucket, _, key = path.strip("/").partition("/")
        if bucket not in self._stores:
            if _BUCKET.fullmatch(bucket) is None:
                raise FileNotFoundError(f"{bucket!r} cannot be the name of a bucket")
            self._stores[bucket] = self._store_class(
                bucket,
                config=self._options.config,
                client_options=self._options.client,
                # The retries are made in `bulk`, the same for all clients.
                retry_config={"max_retries": 0, "retry_timeout": timedelta(seconds=60)},
                **self._login,
            )
        return self._stores[bucket], key

    @override
    async def list_dir(self, path: str) -> list[Entry]:
        from obstore import list_with_delimiter_async

        store, prefix = self._open(path)
        try:
            found = await list_with_delimiter_async(store, prefix or None)
        except Exception as exc:
            if type(exc).__name__ != "InvalidPathError":
                raise
            return await self._list_with_fsspec(path, exc)
        folders, files = found["common_prefixes"], found["objects"]
        if prefix and not folders and not files:
            raise FileNotFoundError(path)
        entries = [Entry(folder.rpartition("/")[2], is_dir=True) for folder in folders]
        for file in files:
            parent, _, name = file["path"].rpartition("/")
            if parent == prefix and name:  # not the marker of the folder itself
                size = file["size"]
                validator = f"{file['e_tag']} {file['last_modified']} {size}"
                entries.append(Entry(name, is_dir=False, size=size, validator=validator))
        return entries

    async def _list_with_fsspec(self, path: str, exc: Exception) -> list[Entry]:
        """Return the entries of a folder that obstore refuses to list, because of some keys.

        Raises:
            OSError: If fsspec's filesystem is not installed.
        """
        try:
            if self._fallback is None:
                self._fallback = await asyncio.to_thread(FsspecClient, self._root)
        except ImportError as missing:
            raise OSError(
                f"obstore cannot list it, because a key has a name that is empty, '.' or '..' "
                f"({exc}); remove that key, or install the package for engine: fsspec ({missing})"
            ) from exc
        return await self._fallback.list_dir(path)

    @override
    async def read(self, path: str, limit: int) -> bytes:
        from obstore import get_async

        content = await get_async(*self._open(path))
        check_file_size(content.meta["size"], limit)
        return bytes(await content.bytes_async())

    @override
    async def fetch(self, path: str, target: str) -> None:
        from obstore import get_async

        content = await get_async(*self._open(path))
        with open(target, "wb") as file:
            async for chunk in content.stream():
                file.write(chunk)

    @override
    async def write(self, path: str, content: bytes) -> None:
        from obstore import put_async

        store, key = self._open(path)
        await put_async(store, key, content)

    @override
    async def remove(self, path: str) -> None:
        from obstore import delete_async

        await delete_async(*self._open(path))


class _WithFallback(Client):
    """A client in whose place another one is used, unless its first request succeeds.

    There are settings of which only the packages for fsspec know, such as certificates, and
    servers that they get along with, such as those that redirect to another region.
    """

    def __init__(self, first: Client, make_second: Callable[[], Client]) -> None:
        self._client = first
        self._make_second = make_second
        self._second: Client | None = None
        self._is_certain = False
        self.concurrency = first.concurrency

    async def _call(self, method: str, *args: Any) -> Any:
        try:
            result = await getattr(self._client, method)(*args)
        except (FileNotFoundError, KedroHydraflowError):
            raise
        except Exception as exc:
            if self._is_certain:
                raise
            try:
                if self._second is None:
                    self._second = await asyncio.to_thread(self._make_second)
            except ImportError:
                raise exc from None
            result = await getattr(self._second, method)(*args)
            logger.debug("obstore failed (%s); reading with fsspec", type(exc).__name__)
            self._client = self._second
        self._is_certain = True
        return result

    @override
    async def list_dir(self, path: str) -> list[Entry]:
        entries: list[Entry] = await self._call("list_dir", path)
        return entries

    @override
    async def read(self, path: str, limit: int) -> bytes:
        content: bytes = await self._call("read", path, limit)
        return content

    @override
    async def fetch(self, path: str, target: str) -> None:
        await self._call("fetch", path, target)

    @override
    async def write(self, path: str, content: bytes) -> None:
        await self._call("write", path, content)

    @override
    async def remove(self, path: str) -> None:
        await self._call("remove", path)


def choose_connect(
    protocol: str, options: Mapping[str, Any]
) -> Callable[[UPath, frozenset[str]], Client] | None:
    """Return what connects with obstore unasked, None if fsspec has to read.

    That is where obstore is not installed, or an option has no counterpart.
    """
    if protocol not in _STORES:
        return None
    try:
        import obstore  # noqa: F401

        is_complete = _translate(protocol, options).is_complete
    except (ImportError, OptionError):
        return None
    return connect if is_complete else connect_unasked


def check_options(protocol: str, options: Mapping[str, Any]) -> None:
    """Raise OptionError unless obstore can serve a protocol with these options.

    Raises:
        OptionError: If obstore does not support the protocol or an option.
        ImportError: If obstore is not installed.
    """
    import obstore  # noqa: F401

    if protocol not in _STORES:
        raise OptionError(
            f"engine: obstore supports the protocols {', '.join(sorted(_STORES))}, "
            f"found {protocol!r}; leave out engine, or set engine: fsspec"
        )
    _translate(protocol, options)


class _Options:
    """The options for obstore, translated one by one from those of fsspec."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.given = options
        """The options of fsspec."""
        self._left = {k: v for k, v in options.items() if v is not None and k not in _IGNORED}
        self.config: dict[str, Any] = {}
        self.client: dict[str, Any] = {
            "connect_timeout": "10s",
            "read_timeout": "30s",
            "timeout": "1day",  # of a whole transfer, which may be large
            "pool_max_idle_per_host": str(MAX_CONCURRENCY),
        }
        self.concurrency = MAX_CONCURRENCY
        self.login: dict[str, Any] = {}
        """The argument of obstore's store with credentials that are not in `config`."""
        self.is_complete = False
        self.find: Callable[[], Found | None] = lambda: None
        """Finds what the options lack."""

    def take(self, name: str) -> Any:
        """Remove an option and return its value, None if it is unset."""
        return self._left.pop(name, None)

    def rename(self, names: Mapping[str, str]) -> None:
        """Take options that have another name in obstore, and the same values."""
        for name, theirs in names.items():
            if name in self._left:
                self.config[theirs] = self._left.pop(name)

    def merge(self, name: str) -> None:
        """Replace an option that is a mapping with the options in it."""
        for key, value in (self.take(name) or {}).items():
            self._left[key] = value

    def set_endpoint(self, name: str, url: str | None) -> None:
        """Set the URL of the server."""
        if url is not None:
            self.config[name] = url.rstrip("/")
            self.client["allow_http"] = url.startswith("http://")

    def finish(self) -> _Options:
        """Return the translated options.

        Raises:
            OptionError: If an option is left, which obstore does not support.
        """
        self.client.update(self.take("client_options") or {})
        if self._left:
            names = ", ".join(sorted(self._left))
            raise OptionError(
                f"engine: obstore does not support the options {names}; leave them out, "
                "or set engine: fsspec"
            )
        return self


def _translate(protocol: str, options: Mapping[str, Any]) -> _Options:
    return _STORES[protocol][1](_Options(options)).finish()


def _translate_s3(options: _Options) -> _Options:
    options.merge("client_kwargs")
    options.merge("config_kwargs")
    options.rename(
        {
            "username": "access_key_id",
            "key": "access_key_id",
            "aws_access_key_id": "access_key_id",
            "password": "secret_access_key",
            "secret": "secret_access_key",
            "aws_secret_access_key": "secret_access_key",
            "token": "session_token",
            "aws_session_token": "session_token",
            "region_name": "region",
            "anon": "skip_signature",
            "requester_pays": "request_payer",
        }
    )
    options.set_endpoint("endpoint", options.take("endpoint_url"))
    for name in ("connect_timeout", "read_timeout"):
        seconds = options.take(name)
        if seconds is not None:
            options.client[name] = f"{seconds}s"
    options.concurrency = options.take("max_pool_connections") or options.concurrency
    style = (options.take("s3") or {}).get("addressing_style")
    if style is not None:
        options.config["virtual_hosted_style_request"] = style == "virtual"
    verify = options.take("verify")
    if verify is False:
        options.client["allow_invalid_certificates"] = True
    elif isinstance(verify, str):
        options.client["root_certificate"] = Path(verify).read_bytes()
    for name in ("request_checksum_calculation", "response_checksum_validation", "retries"):
        options.take(name)
    if options.take("use_ssl") is False and "endpoint" not in options.config:
        raise OptionError("use_ssl: with engine: obstore, False requires an endpoint_url")
    config = options.config
    profile = options.take("profile")
    has_keys = "access_key_id" in config and (
        "session_token" in config or "AWS_SESSION_TOKEN" not in os.environ
    )
    has_login = has_keys or bool(config.get("skip_signature"))
    has_place = "endpoint" in config
    if find_spec("botocore") is None:  # which else may know an endpoint
        has_place = has_place or "region" in config or "AWS_REGION" in os.environ
    options.is_complete = has_login and has_place
    if has_login or "access_key_id" not in config:
        options.find = functools.partial(find_for_s3, config, profile)
    return options


def _translate_gcs(options: _Options) -> _Options:
    token = options.take("token")
    if token == "anon":  # noqa: S105 - not a password
        options.config["skip_signature"] = True
    elif isinstance(token, Mapping):
        options.config["service_account_key"] = json.dumps(dict(token))
    elif isinstance(token, str) and Path(token).is_file():
        options.config["application_credentials"] = token
    elif token is not None:
        raise OptionError(
            "token: with engine: obstore, expected 'anon', the path of a JSON file or its content; "
            "for other tokens set engine: fsspec"
        )
    options.set_endpoint("base_url", options.take("endpoint_url"))
    options.is_complete = token is not None
    options.find = find_for_gcs
    return options


def _translate_azure(options: _Options) -> _Options:
    settings = {
        name: options.take(name) or os.environ.get(f"AZURE_STORAGE_{name.upper()}")
        for name in _AZURE_SETTINGS
    }
    anon, host = options.take("anon"), options.take("account_host")
    text = settings["connection_string"]
    if text:  # adlfs then uses nothing else
        settings = _read_connection_string(text)
    elif host or settings["account_name"]:
        host = host or f"{settings['account_name']}.blob.core.windows.net"
        settings["endpoint"] = f"https://{host}"
    config = options.config
    # Else obstore would take these from variables that adlfs does not know.
    config.update({"skip_signature": False, "use_emulator": False})
    options.set_endpoint("endpoint", settings.get("endpoint"))
    for name in ("account_name", "client_id", "client_secret", "tenant_id"):
        if settings.get(name):
            config[name] = settings[name]
    key, signature = settings.get("account_key"), settings.get("sas_token")
    if key or signature:
        login = {"access_key": key} if key else {"sas_token": signature}
        # As a provider, it comes before everything in variables.
        options.login = {"credential_provider": lambda: {**login, "expires_at": None}}
        options.is_complete = True
    elif settings.get("client_id"):
        options.is_complete = find_spec("adlfs") is None  # whose login is used otherwise
    elif anon and not text:
        config["skip_signature"] = options.is_complete = True
    options.find = functools.partial(find_for_azure, options.given)
    return options


_AZURE_SETTINGS = (
    "account_key",
    "account_name",
    "client_id",
    "client_secret",
    "connection_string",
    "sas_token",
    "tenant_id",
)
"""Options of adlfs that may be in variables such as ``AZURE_STORAGE_ACCOUNT_KEY``, too."""


def _read_connection_string(text: str) -> dict[str, str | None]:
    """Return the account, endpoint and key that a connection string of Azure has."""
    parts = {name.upper(): value for name, _, value in (p.partition("=") for p in text.split(";"))}
    name, endpoint = parts.get("ACCOUNTNAME"), parts.get("BLOBENDPOINT")
    if endpoint is None and name is not None:
        scheme, suffix = "https", parts.get("ENDPOINTSUFFIX", "core.windows.net")
        if "ENDPOINTSUFFIX" in parts:
            scheme = parts.get("DEFAULTENDPOINTSPROTOCOL", scheme)
        endpoint = f"{scheme}://{name}.blob.{suffix}"
    if name is None and endpoint is not None:  # obstore needs one
        name = (urlsplit(endpoint).hostname or "").partition(".")[0]
    return {
        "account_name": name,
        "account_key": parts.get("ACCOUNTKEY"),
        "sas_token": parts.get("SHAREDACCESSSIGNATURE"),
        "endpoint": endpoint,
    }


_STORES: dict[str, tuple[str, Callable[[_Options], _Options]]] = {
    "s3": ("S3Store", _translate_s3),
    "s3a": ("S3Store", _translate_s3),
    "gs": ("GCSStore", _translate_gcs),
    "gcs": ("GCSStore", _translate_gcs),
    "az": ("AzureStore", _translate_azure),
    "abfs": ("AzureStore", _translate_azure),
    "abfss": ("AzureStore", _translate_azure),
}
"""For each protocol obstore's class, and the function that translates the options."""
