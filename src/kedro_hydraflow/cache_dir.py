"""The directory of the caches, which only their owner may read."""

from __future__ import annotations

import os
import stat

from kedro_hydraflow.errors import StorageError

CACHE_DIR_VARIABLE = "KEDRO_HYDRAFLOW_CACHE_DIR"
"""The environment variable that sets one directory for all caches."""

_FOLDER_MODE = 0o700


def get_cache_dir(name: str) -> str:
    """Return the absolute path of a cache's directory.

    Args:
        name: The cache's folder in the user's cache directory. Ignored if `CACHE_DIR_VARIABLE`
            is set.

    Raises:
        StorageError: If it is in the home directory, and the user has none.
    """
    directory = os.environ.get(CACHE_DIR_VARIABLE)
    if directory:
        return os.path.abspath(expand_home(directory, CACHE_DIR_VARIABLE))
    from platformdirs import user_cache_path

    try:
        folder = str(user_cache_path("kedro-hydraflow", appauthor=False) / name)
    except (RuntimeError, KeyError):
        folder = "~"
    if folder.startswith("~"):  # as it is if the user has no home directory
        raise StorageError(
            "the user has no home directory for a cache: set the environment variable "
            f"{CACHE_DIR_VARIABLE} to a directory"
        )
    return os.path.abspath(folder)


def expand_home(path: str, option: str) -> str:
    """Return a path with ``~`` expanded.

    Args:
        path: The path.
        option: What it is given as, for messages.

    Raises:
        StorageError: If the user has no home directory.
    """
    expanded = os.path.expanduser(path)
    if expanded.startswith("~") and not os.path.lexists(expanded):
        raise StorageError(f"{option}: there is no home directory for {path!r}")
    return expanded


def make_private_folder(path: str) -> None:
    """Make a folder, and those above it that do not exist, for their owner alone.

    Raises:
        OSError: If it cannot be made, or is a file.
    """
    if os.path.isdir(path):
        return
    parent = os.path.dirname(path)
    if parent not in ("", path):
        make_private_folder(parent)
    try:
        os.mkdir(path, _FOLDER_MODE)
    except FileExistsError:
        if not os.path.isdir(path):  # as it is if another process was faster
            raise


def narrow(path: str) -> None:
    """Take the permissions of all but the owner from a folder of a cache.

    Raises:
        OSError: If that fails because another user owns it, who may put anything in it.
    """
    status = os.stat(path)
    if os.name == "nt" or not stat.S_IMODE(status.st_mode) & 0o077:
        return
    try:
        os.chmod(path, _FOLDER_MODE)
    except OSError:
        if status.st_uid != os.geteuid():
            raise
        # Otherwise a filesystem without permissions, such as that of a memory card.
