"""A remote run's artifacts as local paths, fetched when a reader needs them.

An `ArtifactPath` is a `pathlib.Path`. It answers questions (``exists``, ``iterdir``, ``glob``)
from listings of the storage, and gives readers (``open``, ``os.fspath``) a local copy. Each run
has a directory of its own in the cache:

``not-fetched/…``
    The text of its paths. It never exists: text alone, as from ``str(path)``, leads neither to
    a part of the artifacts nor to outdated ones.
``files/…``
    The copies, each moved there whole. `fetch` and ``os.fspath`` give paths into it.
``validators/…``
    What tells whether a copy is current, one for each.
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
