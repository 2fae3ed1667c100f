"""A tracking server, or a database other than SQLite, through MLflow's own client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kedro_hydraflow.errors import MissingPackageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kedro_hydraflow.storage import Location
    from kedro_hydraflow.stores.base import Store


def open_server(
    uri: str, artifact_root: Location | None, storage_options: Mapping[str, Any] | None
) -> Store:
    """Return the store at a tracking URI."""
    raise MissingPackageError(
        f"tracking_uri: {uri!r} cannot be opened", artifact_root, storage_options
    )
