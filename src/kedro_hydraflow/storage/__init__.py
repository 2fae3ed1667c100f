"""Listing folders and reading many files, local or remote.

`locate` turns a path or URL into a `Place`: a file or folder on a `Storage`. Calls for many files
are made on the `Storage`, with paths as text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kedro_hydraflow.storage.base import Download, Entry, Parsed, Storage, check_downloaded
from kedro_hydraflow.storage.engines import check_engine
from kedro_hydraflow.storage.local import LocalStorage
from kedro_hydraflow.storage.locate import get_local_path, is_url, locate
from kedro_hydraflow.storage.place import (
    Place,
    are_dirs,
    group_positions,
    list_places,
    read_parsed,
    read_parsed_in,
)

if TYPE_CHECKING:
    from kedro_hydraflow.storage.base import AnyPath as AnyPath
    from kedro_hydraflow.storage.base import Location as Location

__all__ = [
    "Download",
    "Entry",
    "LocalStorage",
    "Parsed",
    "Place",
    "Storage",
    "are_dirs",
    "check_downloaded",
    "check_engine",
    "get_local_path",
    "group_positions",
    "is_url",
    "list_places",
    "locate",
    "read_parsed",
    "read_parsed_in",
]
