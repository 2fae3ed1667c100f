"""From a path or URL, as users give it, to the storage that holds it."""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from kedro_hydraflow.errors import OptionError
from kedro_hydraflow.storage.local import LocalStorage
from kedro_hydraflow.storage.place import Place

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kedro_hydraflow.storage.base import Location


def locate(location: Location, storage_options: Mapping[str, Any] | None = None) -> Place:
    """Return the place of a path or URL. Nothing is read, and no connection made.

    Args:
        location: A local path, a ``file:`` URI (percent-encoded), a ``UPath``, or a URL
            that fsspec knows, chained ones (``zip://…::s3://…``) included.
        storage_options: Passed on to the fsspec filesystem, but for ``engine``: ``"fsspec"`` or
            ``"obstore"``. By default obstore reads from S3, Google Cloud Storage and Azure
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
    elif isinstance(location, PurePath):
        return _make_local_place(os.fspath(location))
    elif hasattr(location, "__fspath__"):
        return _locate_locally(os.fspath(location))
    elif not hasattr(location, "storage_options"):
        raise OptionError(f"expected a path or a URL, found {location!r}")
    # Imported here, for asyncio and more stand behind it.
    from kedro_hydraflow.storage.connect import make_root, make_storage

    options = dict(storage_options or {})
    engine = options.pop("engine", None)
    root = make_root(location, options)
    if root.protocol in ("file", "local"):
        return _locate_locally(root.path)
    return Place(make_storage(root, engine), root.path.rstrip("/"))


_WHOLE_ARCHIVE = re.compile(r"^(zip|tar|libarchive)(://\*)?::")
"""Spellings of the root of an archive that fsspec takes elsewhere."""

_LOCAL = LocalStorage()


def _locate_locally(path: str) -> Place:
    return _make_local_place(os.fspath(Path(path)))  # without a slash at the end


def _make_local_place(path: str) -> Place:
    return Place(_LOCAL if os.path.isabs(path) else LocalStorage(os.getcwd()), path)


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
    from urllib.request import url2pathname  # 50 ms that others do not need

    path = uri.removeprefix("file:")
    if path.startswith("//"):
        host, slash, rest = path[2:].partition("/")
        path = slash + rest if host in ("", "localhost") else path
    return url2pathname(path)
