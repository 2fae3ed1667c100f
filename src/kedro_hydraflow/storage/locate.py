"""Finding the storage of a path or URL."""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from kedro_hydraflow.errors import OptionError
from kedro_hydraflow.logs import get_logger
from kedro_hydraflow.redaction import Options, redact_url
from kedro_hydraflow.storage.file_uris import get_uri_path
from kedro_hydraflow.storage.hosts import HOSTS_OPTION, WITHHELD_OPTION, check_hosts
from kedro_hydraflow.storage.local import LocalStorage
from kedro_hydraflow.storage.place import Place

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kedro_hydraflow.storage.base import Location


logger = get_logger(__name__)


def locate(location: Location, storage_options: Mapping[str, Any] | None = None) -> Place:
    """Return the place of a path or URL, without reading anything or connecting.

    Args:
        location: A local path, a ``file:`` URI (percent-encoded), a ``UPath``, or a URL of
            fsspec, including chained ones (``zip://…::s3://…``).
        storage_options: Options of the fsspec filesystem, and two others. ``engine`` is
            ``"fsspec"`` or ``"obstore"``. The default for S3, Google Cloud Storage and Azure is
            obstore if it is installed and credentials are found, otherwise fsspec.
            ``allowed_hosts`` lists URLs of hosts that may be asked, though only a record or a
            redirect names them.

    Raises:
        OptionError: If the location is neither a path nor a URL, or the engine cannot serve it.
        MissingPackageError: If the package for the URL's protocol is not installed.
        StorageError: If no filesystem is known for the protocol.
    """
    if isinstance(location, str):
        if location.startswith("file:"):
            return _locate_locally(get_uri_path(location))
        if not is_url(location):
            return _locate_locally(location)
        location = _WHOLE_ARCHIVE.sub(r"\1://::", location)
    elif isinstance(location, PurePath):
        return _make_local_place(os.fspath(location))
    elif hasattr(location, "__fspath__"):
        return _locate_locally(os.fspath(location))
    elif not hasattr(location, "storage_options"):
        raise OptionError(f"expected a path or a URL, found {location!r}")
    # Imported here, because it imports asyncio and more.
    from kedro_hydraflow.storage.connect import make_root, make_storage

    options = Options(storage_options or {})
    engine = options.pop("engine", None)
    allowed_hosts = check_hosts(options.pop(HOSTS_OPTION, None))
    is_withheld = options.pop(WITHHELD_OPTION, False)
    root = make_root(_skip_empty_names(location), options)
    if root.protocol in ("file", "local"):
        return _locate_locally(root.path)
    place = Place(make_storage(root, engine, allowed_hosts), root.path.rstrip("/"))
    return place.without_credentials() if is_withheld else place


def get_local_path(place: Place) -> str | None:
    """Return the absolute path of a place, None if it is not local."""
    is_local = isinstance(place.storage, LocalStorage)
    return place.storage.get_identity(place.path) if is_local else None


_OBJECT_STORES = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl"})
"""The protocols of object stores, where ``a//b`` and ``a/b`` are different keys."""

_WHOLE_ARCHIVE = re.compile(r"^(zip|tar|libarchive)(://\*)?::")
"""Spellings of an archive's root that other functions of fsspec accept."""

_EMPTY_NAMES = re.compile(r"(?<!:)/{2,}")

_LOCAL = LocalStorage()


def _skip_empty_names(location: Any) -> Any:
    """Return the URL of an object store without empty names, as in ``s3://bucket//mlruns``.

    They come from a bucket that was given with a slash at its end. obstore and s3fs read such a
    URL with and without the empty name, depending on the request.
    """
    url = str(location)
    path = url.rstrip("/")
    if url.partition(":")[0] not in _OBJECT_STORES or "::" in url or not _EMPTY_NAMES.search(path):
        return location
    skipped = _EMPTY_NAMES.sub("/", path) + url[len(path) :]
    logger.warning(
        "%s is read as %s: names in the keys of an object store may not be empty",
        redact_url(url),
        redact_url(skipped),
    )
    if isinstance(location, str):
        return skipped
    return type(location)(skipped, **location.storage_options)


def _locate_locally(path: str) -> Place:
    return _make_local_place(os.fspath(Path(path)))  # without a trailing slash


def _make_local_place(path: str) -> Place:
    return Place(_LOCAL if os.path.isabs(path) else LocalStorage(os.getcwd()), path)


def is_url(location: str) -> bool:
    """Whether text is a URL of fsspec rather than a local path."""
    if re.match(r"[A-Za-z][\w+.-]+://|file:", location):  # one letter is a drive of Windows
        return True
    link, separator, _ = location.partition("::")  # zip::s3://… is a URL, a::b is a file name
    if not separator or not link.isidentifier():
        return False
    from fsspec import available_protocols

    return link in available_protocols()
