"""Making the storage of a URL, and choosing its client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kedro_hydraflow.errors import MissingPackageError, StorageError, describe
from kedro_hydraflow.redaction import get_safe_cause, redact, redact_url
from kedro_hydraflow.storage import obstore_client
from kedro_hydraflow.storage.engines import check_engine
from kedro_hydraflow.storage.foreign_errors import make_missing_package_error
from kedro_hydraflow.storage.fsspec_client import FsspecClient
from kedro_hydraflow.storage.remote import RemoteStorage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from upath import UPath

    from kedro_hydraflow.storage.remote import Client


def make_storage(root: UPath, engine: str | None) -> RemoteStorage:
    """Return the storage of a URL.

    Raises:
        OptionError: If the engine cannot serve the URL.
        MissingPackageError: If the engine is not installed.
    """
    return RemoteStorage(root, _choose_client(root, engine))


def _choose_client(root: UPath, engine: str | None) -> Callable[[UPath], Client]:
    check_engine(engine)
    if engine == "obstore":
        try:
            obstore_client.check_options(root.protocol, root.storage_options)
        except ImportError as exc:
            raise MissingPackageError(
                f"engine: obstore is not installed ({exc}): pip install 'kedro-hydraflow[obstore]'"
            ) from exc
        return obstore_client.connect
    if engine is None and obstore_client.can_serve(root.protocol, root.storage_options):
        return obstore_client.connect
    if root.protocol in ("zip", "tar"):
        from kedro_hydraflow.storage.archive_client import ArchiveClient

        return ArchiveClient
    return FsspecClient


def make_root(location: Any, storage_options: Mapping[str, Any]) -> UPath:
    """Return a location as a ``UPath`` with the options of its filesystem.

    Raises:
        MissingPackageError: If the package for the URL's protocol is not installed.
        StorageError: If no filesystem is known for the protocol.
    """
    from upath import UPath

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
