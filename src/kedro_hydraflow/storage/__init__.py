"""Paths and bytes: listing folders and reading many files, local or remote.

Everything above this package names files by text paths that belong to one `Storage`, and
gets ``pathlib.Path`` or ``UPath`` objects for its users from `Storage.path`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kedro_hydraflow.storage.base import Entry, Storage
from kedro_hydraflow.storage.local import LocalStorage
from kedro_hydraflow.storage.locate import check_engine, is_url, locate

if TYPE_CHECKING:
    from kedro_hydraflow.storage.base import AnyPath as AnyPath
    from kedro_hydraflow.storage.base import Location as Location

__all__ = [
    "Entry",
    "LocalStorage",
    "Storage",
    "check_engine",
    "is_url",
    "locate",
]
