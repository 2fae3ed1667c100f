"""A remote run's artifacts as local paths, fetched when a reader needs them.

An `ArtifactPath` is a `pathlib.Path`. It answers questions (``exists``, ``iterdir``, ``glob``)
from listings of the storage, and gives readers (``open``, ``os.fspath``) a local copy. Each run
has a directory of its own in the cache:

``not-fetched/…``
    The text of its paths, as ``str(path)`` returns it. It never exists, so code that has only
    the text cannot read outdated or incomplete artifacts.
``files/…``
    The copies, each moved there whole. `fetch` and ``os.fspath`` return paths in it.
``validators/…``
    The validators of each copy, which show whether it is current; see `copies`.
``written/…``
    What users wrote to copies by mistake.
"""

from __future__ import annotations

from kedro_hydraflow.artifacts.path import ArtifactPath, fetch, make_artifact_path
from kedro_hydraflow.limits import CACHE_SIZE_VARIABLE

__all__ = [
    "CACHE_SIZE_VARIABLE",
    "ArtifactPath",
    "fetch",
    "make_artifact_path",
]
