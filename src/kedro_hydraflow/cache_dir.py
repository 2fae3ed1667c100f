"""Where caches are kept."""

from __future__ import annotations

import os

CACHE_DIR_VARIABLE = "KEDRO_HYDRAFLOW_CACHE_DIR"
"""The environment variable that names the directory of all caches."""


def get_cache_dir(name: str) -> str:
    """Return the directory of a cache, an absolute path.

    Args:
        name: The folder for it in the user's cache directory. Where the environment variable
            names a directory, all caches are in that.
    """
    directory = os.environ.get(CACHE_DIR_VARIABLE)
    if directory:
        return os.path.abspath(os.path.expanduser(directory))
    from platformdirs import user_cache_path

    return str(user_cache_path("kedro-hydraflow", appauthor=False) / name)
