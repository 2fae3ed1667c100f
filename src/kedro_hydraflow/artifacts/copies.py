"""The copies of one run's artifacts in the cache.

Two *validators* are kept beside each copy: that of the file, as the storage listed it, and that
of the copy itself, which is its inode, size and time of modification.
"""

from __future__ import annotations

import hashlib
import json
import os
import posixpath
import shutil
import stat
import tempfile
from typing import TYPE_CHECKING, NamedTuple

from kedro_hydraflow.artifacts.cache import ignores_case
from kedro_hydraflow.cache_dir import make_private_folder
from kedro_hydraflow.storage.local import CLOCK_STEP_NS

if TYPE_CHECKING:
    from collections.abc import Sequence

READ_ONLY = "the artifacts of a remote run are read-only copies; write elsewhere"
"""Why artifacts cannot be changed, for messages."""


class Copy(NamedTuple):
    """The state of a file's copy."""

    is_whole: bool = False
    """Whether there is a complete copy, unchanged since the cache wrote it."""

    is_overwritten: bool = False
    """Whether something other than the cache changed or replaced the copy."""

    validator: str | None = None
    """The validator of the file that was copied, None if its storage lists none."""


class RunCopies:
    """The copies of one run. To change them, lock the run with `lock_run`.

    Args:
        directory: The run's directory in the cache.
        names: The names of the folders above the copies.
    """

    __slots__ = ("_files", "directory")

    def __init__(self, directory: str, names: Sequence[str]) -> None:
        self.directory = directory
        self._files = os.path.join(directory, "files", *names)

    def get_path(self, relative: str) -> str:
        """Return the local path of a file or folder, which need not exist."""
        return os.path.join(self._files, *relative.split("/")) if relative else self._files

    def check(self, file: str) -> Copy:
        """Return the state of a file's copy."""
        try:
            with open(self._get_validators_path(file), encoding="utf-8") as stream:
                validator, (inode, size, modified) = json.load(stream)
            status = os.stat(self.get_path(file))
        except (OSError, ValueError, TypeError):
            return Copy()
        if not stat.S_ISREG(status.st_mode):
            return Copy()
        if (status.st_size, status.st_mtime_ns) == (size, modified):
            return Copy(is_whole=status.st_ino == inode, validator=validator)
        # On a filesystem that ignores case, this may be the copy of a file whose name differs only
        # in case.
        may_be_copy = status.st_ino != inode and ignores_case(self.directory)
        return Copy(is_overwritten=not may_be_copy)

    def is_made_by_cache(self, relative: str) -> bool:
        """Whether a file, or each file in a folder, is a whole copy."""
        path = self.get_path(relative)
        if os.path.isdir(path) and not os.path.islink(path):
            names = os.listdir(path)
            return all(self.is_made_by_cache(posixpath.join(relative, name)) for name in names)
        return self.check(relative).is_whole

    def add(self, file: str, downloaded: str, validator: str | None) -> None:
        """Add a copy, by moving a downloaded file.

        If the process is killed at any point, no wrong validator is left.

        Args:
            file: The file.
            downloaded: The local path of its complete content, on the filesystem of the cache.
            validator: The validator of the file, from the listing.
        """
        path, validators_path = self.get_path(file), self._get_validators_path(file)
        self.make_folder(posixpath.dirname(file))
        if os.path.isdir(path):
            remove(path)
        make_private_folder(os.path.dirname(validators_path))
        remove(validators_path)
        _backdate(downloaded)
        if os.name != "nt":  # Windows does not replace read-only files
            os.chmod(downloaded, 0o400)
        os.replace(downloaded, path)
        status = os.stat(path)
        of_copy = [status.st_ino, status.st_size, status.st_mtime_ns]
        with open(downloaded, "w", encoding="utf-8", opener=_open_privately) as stream:
            json.dump([validator, of_copy], stream)
        os.replace(downloaded, validators_path)

    def make_folder(self, folder: str) -> None:
        """Make a folder unless it exists, and remove files that are in its way."""
        names = folder.split("/")
        for depth in range(1, len(names) + 1):
            path = self.get_path("/".join(names[:depth]))
            if os.path.isfile(path):
                remove(path)
        make_private_folder(self.get_path(folder))

    def set_aside(self, relative: str) -> str:
        """Move a file or folder away from the copies, and return its new path."""
        path = self.get_path(relative)
        written = os.path.join(self.directory, "written")
        make_private_folder(written)
        aside = os.path.join(tempfile.mkdtemp(dir=written), os.path.basename(path))
        os.replace(path, aside)
        return aside

    def _get_validators_path(self, file: str) -> str:
        digest = hashlib.sha256(file.encode("utf-8", "surrogatepass")).hexdigest()
        return os.path.join(self.directory, "validators", digest)


def _open_privately(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _backdate(path: str) -> None:
    """Set a file's modification time back, so that any later write changes it.

    The new time is a multiple of the clock's step: a filesystem may round other times later.
    """
    status = os.stat(path)
    modified = (status.st_mtime_ns // CLOCK_STEP_NS - 1) * CLOCK_STEP_NS
    os.utime(path, ns=(status.st_atime_ns, modified))


def remove(path: str) -> None:
    """Remove a file or a folder, if it exists."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.remove(path)
