"""A remote run's artifacts as local paths, fetched when a reader needs them.

An `ArtifactPath` is a `pathlib.Path`. Its questions (``exists``, ``iterdir``, ``glob``) are
answered by listings of the storage, and its readers (``open``, ``os.fspath``) find a local
copy. A run has a directory of its own in the cache:

``not-fetched/…``
    What the text of its paths names. It never exists, so that text alone, as from
    ``str(path)``, leads to no part of the artifacts and to no outdated ones.
``files/…``
    The copies, each moved there whole. `fetch` and ``os.fspath`` give paths into it.
``stamps/…``
    For each copy, of which version it is.
"""

from __future__ import annotations

from kedro_hydraflow.artifacts.cache import CACHE_SIZE_VARIABLE
from kedro_hydraflow.artifacts.path import ArtifactPath, fetch, make_artifact_path

__all__ = [
    "CACHE_SIZE_VARIABLE",
    "ArtifactPath",
    "fetch",
    "make_artifact_path",
]
