"""From a path or URL, as users give it, to the storage that holds it."""

from __future__ import annotations

import os
import re
import urllib.request
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from kedro_hydraflow.errors import OptionError, StorageError, describe
from kedro_hydraflow.redaction import get_harmless, redact, redact_url
from kedro_hydraflow.storage import obstore_client
from kedro_hydraflow.storage.foreign_errors import missing_filesystem
from kedro_hydraflow.storage.fsspec_client import FsspecClient
from kedro_hydraflow.storage.local import LocalStorage
from kedro_hydraflow.storage.remote import RemoteStorage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from upath import UPath

    from kedro_hydraflow.storage.base import Location, Storage
    from kedro_hydraflow.storage.remote import Client

ENGINES = ("fsspec", "obstore")
"""What can talk to an object store."""


def locate(
    location: Location, storage_options: Mapping[str, Any] | None = None
) -> tuple[Storage, str]:
    """Return the storage that holds a location, and the location's path there.

    Args:
        location: A local path, a ``file:`` URI (percent-encoded), a ``UPath``, or a URL
            that fsspec knows, chained ones (``zip://…::s3://…``) included.
        storage_options: Passed on to the fsspec filesystem, but for ``engine``: one of
            `ENGINES`. By default obstore reads from S3, Google Cloud Storage and Azure
            where it is installed and the other options name the credentials.

    Raises:
        OptionError: If it is neither a path nor a URL, or the engine cannot serve it.
        MissingPackageError: If the package for the URL's protocol is not installed.
        StorageError: If no filesystem is known for the protocol.
    """
    if isinstance(location, str):
        if location.startswith("file:"):
            return _locate_locally(_file_uri_to_path(location))
        if not is_url(location):
            return _locate_locally(location)
        location = _WHOLE_ARCHIVE.sub(r"\1://::", location)
    elif isinstance(location, PurePath) or hasattr(location, "__fspath__"):
        return _locate_locally(os.fspath(location))
    elif not hasattr(location, "storage_options"):
        raise OptionError(f"expected a path or a URL, found {location!r}")
    options = dict(storage_options or {})
    engine = options.pop("engine", None)
    root = _make_upath(location, options)
    if root.protocol in ("file", "local"):
        return _locate_locally(root.path)
    return RemoteStorage(root, _choose_client(root, engine)), root.path.rstrip("/")


def _choose_client(root: UPath, engine: str | None) -> Callable[[UPath], Client]:
    if engine not in (None, *ENGINES):
        raise OptionError(f"engine: expected 'fsspec' or 'obstore', found {engine!r}")
    if engine == "obstore":
        try:
            obstore_client.check_options(root.protocol, root.storage_options)
        except ImportError as exc:
            raise missing_filesystem("obstore", exc) from exc
        return obstore_client.connect
    if engine is None and obstore_client.can_serve(root.protocol, root.storage_options):
        return obstore_client.connect
    return FsspecClient


_WHOLE_ARCHIVE = re.compile(r"^(zip|tar|libarchive)(://\*)?::")
"""Spellings of the root of an archive that fsspec takes elsewhere."""

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


def _file_uri_to_path(uri: str) -> str:
    """Return the path of a ``file:`` URI; percent escapes are decoded."""
    path = uri.removeprefix("file:")
    if path.startswith("//"):
        host, slash, rest = path[2:].partition("/")
        path = slash + rest if host in ("", "localhost") else path
    return urllib.request.url2pathname(path)


def _make_upath(location: Any, storage_options: Mapping[str, Any]) -> UPath:
    from upath import UPath

    if isinstance(location, UPath) and storage_options.items() <= location.storage_options.items():
        return location
    try:
        path: UPath = UPath(location, **storage_options)
    except ImportError as exc:
        raise missing_filesystem(str(location), exc) from exc
    except (ValueError, TypeError) as exc:
        shown = redact_url(str(location))
        message = f"cannot open {shown!r}: {redact(describe(exc), storage_options)}"
        raise StorageError(message) from get_harmless(exc, storage_options)
    return path
