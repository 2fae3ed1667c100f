"""Making the storage of a URL, and choosing its client."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from kedro_hydraflow.errors import MissingPackageError, OptionError, StorageError, describe
from kedro_hydraflow.redaction import (
    Options,
    get_safe_cause,
    redact,
    redact_url,
    split_links,
)
from kedro_hydraflow.storage import obstore_client
from kedro_hydraflow.storage.engines import check_engine
from kedro_hydraflow.storage.foreign_errors import make_missing_package_error
from kedro_hydraflow.storage.fsspec_client import FsspecClient
from kedro_hydraflow.storage.remote import RemoteStorage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from upath import UPath

    from kedro_hydraflow.storage.remote import Client


def make_storage(
    root: UPath, engine: str | None, allowed_hosts: frozenset[str] = frozenset()
) -> RemoteStorage:
    """Return the storage of a URL.

    Args:
        root: The URL, with the options of its filesystem.
        engine: The package that reads.
        allowed_hosts: The other hosts to which servers may redirect.

    Raises:
        OptionError: If the engine cannot serve the URL.
        MissingPackageError: If the engine is not installed.
    """
    make_client = _choose_client(root, engine)
    return RemoteStorage(
        root, _WithHosts(make_client, allowed_hosts) if allowed_hosts else make_client
    )


@dataclass(frozen=True)
class _WithHosts:
    """Makes clients that follow redirects to some hosts."""

    make_client: Callable[..., Client]
    allowed_hosts: frozenset[str]

    def __call__(self, root: UPath) -> Client:
        return self.make_client(root, self.allowed_hosts)


def _choose_client(root: UPath, engine: str | None) -> Callable[..., Client]:
    check_engine(engine)
    options = Options(root.storage_options)
    if engine == "obstore":
        try:
            obstore_client.check_options(root.protocol, options)
        except ImportError as exc:
            raise MissingPackageError(
                f"engine: obstore is not installed ({exc}): pip install 'kedro-hydraflow[obstore]'"
            ) from exc
        return obstore_client.connect
    connect = None if engine else obstore_client.choose_connect(root.protocol, options)
    if connect is not None:
        return connect
    if root.protocol in ("zip", "tar"):
        from kedro_hydraflow.storage.archive_client import ArchiveClient

        return ArchiveClient
    return FsspecClient


def make_root(location: Any, storage_options: Mapping[str, Any]) -> UPath:
    """Return a location as a ``UPath`` with the options of its filesystem.

    Raises:
        OptionError: If a protocol in the URL is not supported.
        MissingPackageError: If the package for the URL's protocol is not installed.
        StorageError: If no filesystem is known for the protocol.
    """
    from upath import UPath

    for link in split_links(str(location)):
        reason = _UNSUPPORTED.get(link.partition(":")[0])
        if reason is not None:
            raise OptionError(f"cannot read {redact_url(str(location))!r}: {reason}")
    _check_form(str(location))
    if str(location).startswith("webdav://") and "base_url" not in storage_options:
        raise OptionError(f"{redact_url(str(location))!r}: expected webdav+https://HOST/PATH")
    moved = _move_login(location, storage_options)
    if moved is not None:
        location, storage_options = moved
    if isinstance(location, UPath) and storage_options.items() <= location.storage_options.items():
        return location
    try:
        path: UPath = UPath(location, **storage_options)
    except ImportError as exc:
        raise make_missing_package_error(str(location), exc) from exc
    except (ValueError, TypeError) as exc:
        shown = redact_url(str(location))
        message = f"cannot open {shown!r}: {redact(describe(exc), storage_options)}"
        raise StorageError(message) from get_safe_cause(exc, storage_options)
    return path


def _check_form(url: str) -> None:
    """Raise OptionError for a URL with parts that would be taken for names.

    Everything shows names, and these parts may be secret.
    """
    scheme, _, rest = url.partition("://")
    if scheme in _BUCKETS and "@" in rest.partition("/")[0]:
        raise OptionError(
            f"{redact_url(url)!r}: expected a bucket, found a login before it; give it as "
            "`credentials` or `storage_options`"
        )
    if scheme in _WEB and set(rest) & set("?#"):
        raise OptionError(
            f"{redact_url(url)!r}: expected the URL of a directory, found a query or fragment "
            "after it; a '?' or '#' in a name is written as %3F or %23"
        )


_BUCKETS = frozenset({"s3", "s3a", "gs", "gcs"})
_WEB = frozenset({"http", "https"})

_NO_CACHES = "leave out the cache, for artifacts are cached anyway"
_UNSUPPORTED = {
    "reference": "'reference' is not supported, because its file would name the hosts to ask",
    "blockcache": _NO_CACHES,
    "cached": _NO_CACHES,
    "filecache": _NO_CACHES,
    "simplecache": _NO_CACHES,
}
"""Why a protocol of fsspec cannot be a link of a URL."""

_WEB_LOGIN = re.compile(
    r"(?P<link>(?:.*::)?(?P<scheme>https?)://)(?P<login>[^/?#]*)@(?P<rest>[^/?#@]*(?:[/?#].*)?)",
    re.DOTALL,
)


def _move_login(
    location: Any, storage_options: Mapping[str, Any]
) -> tuple[str, Mapping[str, Any]] | None:
    """Return a web URL without its user and password, and options with them; None if it has none.

    Everything shows the URL of a ``UPath``, and nothing its options. Those of the caller win.
    """
    match = _WEB_LOGIN.fullmatch(str(location))
    if match is None:
        return None
    user, _, password = match["login"].partition(":")
    login = f"{unquote(user)}:{unquote(password)}"
    try:
        data = login.encode("latin-1")
    except UnicodeEncodeError:
        data = login.encode()
    options = {**getattr(location, "storage_options", {}), **storage_options}
    is_chained = "::" in match["link"]
    of_web = options.get(match["scheme"]) or {} if is_chained else options
    client = of_web.get("client_kwargs") or {}
    headers = {**(client.get("headers") or {}), **(of_web.get("headers") or {})}
    if client.get("auth") is None and "authorization" not in map(str.lower, headers):
        sent = f"Basic {base64.b64encode(data).decode()}"
        headers = {**(client.get("headers") or {}), "Authorization": sent}
        of_web = {**of_web, "client_kwargs": {**client, "headers": headers}}
    options = {**options, match["scheme"]: of_web} if is_chained else of_web
    return match["link"] + match["rest"], Options(options)
