"""Small filesystems for tests: full ones, and ones that cannot be written to."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PAGE = 4096
"""What such a filesystem allocates at least."""


class SmallDisk:
    """A filesystem of its own, in memory.

    Args:
        folder: Where it is mounted.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filler = folder / "filler"

    def leave(self, size: int) -> None:
        """Fill it up to some free bytes."""
        self._filler.unlink(missing_ok=True)
        status = os.statvfs(self.folder)
        self._filler.write_bytes(bytes(max(status.f_bavail * status.f_frsize - size, 0)))

    def set_read_only(self) -> None:
        """Let nobody write to it any more, not even root."""
        _run("mount", "-o", "remount,ro", str(self.folder))


@contextmanager
def mount_small_disk(folder: Path, size: int) -> Iterator[SmallDisk]:
    """Mount a filesystem of some bytes; skip the test where that is not possible."""
    folder.mkdir()
    try:
        _run("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder))
    except (OSError, subprocess.CalledProcessError) as exc:
        reason = getattr(exc, "stderr", None) or exc
        pytest.skip(f"no small filesystem can be mounted, which takes root: {reason}")
    try:
        yield SmallDisk(folder)
    finally:
        _run("umount", "--lazy", str(folder))


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)
