"""The local filesystem, read with the operating system's own calls."""

from __future__ import annotations

import os
import shutil
import stat
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from typing_extensions import override

from kedro_hydraflow.errors import NotFoundError, StorageError, describe
from kedro_hydraflow.storage.base import Entry, Storage

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence


class LocalStorage(Storage):
    """The local filesystem.

    Args:
        base: The directory that relative paths start from: the working directory may be
            another one when a file is read, in another process or after ``chdir``.
    """

    sep = os.sep

    def __init__(self, base: str = "") -> None:
        self._base = base

    def _locate(self, path: str) -> str:
        return os.path.join(self._base, path) if self._base else path

    @property
    @override
    def key(self) -> Hashable:
        return "local", self._base

    @override
    def list_dir(self, path: str, limit: int | None = None) -> list[Entry]:
        try:
            with os.scandir(self._locate(path) or ".") as entries:
                return sorted(map(_make_entry, islice(entries, limit)))
        except (FileNotFoundError, NotADirectoryError) as exc:
            if _is_below_broken_link(self._locate(path)):
                raise StorageError(_describe_broken_link("list the directory", path)) from exc
            raise NotFoundError(f"there is no directory {path!r}") from exc
        except (OSError, ValueError) as exc:
            raise StorageError(f"cannot list the directory {path!r}: {describe(exc)}") from exc

    @override
    def read_many(self, paths: Sequence[str]) -> list[bytes | StorageError | None]:
        return [self._read(path) for path in paths]

    def _read(self, path: str) -> bytes | StorageError | None:
        try:
            with open(self._locate(path), "rb", buffering=0) as file:
                return file.read()
        except (FileNotFoundError, NotADirectoryError) as exc:
            if _is_below_broken_link(self._locate(path)):
                return _caused(StorageError(_describe_broken_link("read", path)), exc)
            return None
        except (OSError, ValueError) as exc:
            return _caused(StorageError(f"cannot read {path!r}: {describe(exc)}"), exc)

    @override
    def fetch_many(self, files: Sequence[tuple[str, str]]) -> list[StorageError | None]:
        return [self._fetch(*pair) for pair in files]

    def _fetch(self, path: str, target: str) -> StorageError | None:
        try:
            shutil.copyfile(self._locate(path), target)
        except FileNotFoundError as exc:
            return _caused(NotFoundError(f"there is no file {path!r}"), exc)
        except (OSError, ValueError) as exc:
            return _caused(StorageError(f"cannot copy {path!r}: {describe(exc)}"), exc)
        return None

    @override
    def is_dir(self, path: str) -> bool:
        try:
            return stat.S_ISDIR(os.stat(self._locate(path) or ".").st_mode)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except (OSError, ValueError) as exc:
            raise StorageError(f"cannot look at {path!r}: {describe(exc)}") from exc

    @override
    def path(self, path: str) -> Path:
        return Path(path)

    @override
    def join(self, path: str, *names: str) -> str:
        return os.path.join(path, *names)

    @override
    def split(self, path: str) -> tuple[str, str]:
        if path in ("", os.curdir, os.pardir):
            path = os.path.abspath(self._locate(path))
        return os.path.split(path)

    @override
    def url(self, path: str) -> str:
        return path or "."

    @override
    def identity(self, path: str) -> str:
        return os.path.abspath(self._locate(path))


def _make_entry(entry: os.DirEntry[str]) -> Entry:
    try:
        is_dir = entry.is_dir()
    except OSError:  # a symbolic link to itself
        is_dir = False
    is_broken = not is_dir and entry.is_symlink() and not os.path.exists(entry.path)
    return Entry(entry.name, is_dir, is_broken)


def _is_below_broken_link(path: str) -> bool:
    """Tell whether something is absent only because a link on its path leads nowhere."""
    while path and not os.path.lexists(path):
        path = os.path.dirname(path)
    return os.path.islink(path) and not os.path.exists(path)


def _describe_broken_link(action: str, path: str) -> str:
    return f"cannot {action} {path!r}: a symbolic link on the way leads nowhere"


def _caused(error: StorageError, cause: BaseException) -> StorageError:
    error.__cause__ = cause
    return error
