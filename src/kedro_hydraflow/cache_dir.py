"""The directory of the caches."""

from __future__ import annotations

import os

CACHE_DIR_VARIABLE = "KEDRO_HYDRAFLOW_CACHE_DIR"
"""The environment variable that sets one directory for all caches."""


def get_cache_dir(name: str) -> str:
    """Return the absolute path of a cache's directory.

    Args:
        name: The cache's folder in the user's cache directory. Ignored if `CACHE_DIR_VARIABLE`
            is set.
    """
    directory = os.environ.get(CACHE_DIR_VARIABLE)
    if directory:
        return os.path.abspath(os.path.expanduser(directory))
    from platformdirs import user_cache_path

    return str(user_cache_path("kedro-hydraflow", appauthor=False) / name)
