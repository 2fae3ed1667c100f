# ruff: noqa: ARG002 -- the signatures are pathlib's
"""Paths of remote artifacts that any reader of local paths takes."""

from __future__ import annotations

import fnmatch
import os
import posixpath
import re
import sys
from pathlib import Path, PurePath
from typing import IO, TYPE_CHECKING, Any, NoReturn, cast

from kedro_hydraflow.artifacts.copies import Copies
from kedro_hydraflow.errors import NotFoundError, StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from typing_extensions import Self

    from kedro_hydraflow.artifacts.listings import Listing
    from kedro_hydraflow.storage import Entry, Storage

    LocalPath = Path
else:
    LocalPath = type(Path())  # what can be subclassed before Python 3.12


def make_artifact_path(storage: Storage, path: str) -> Path:
    """Return the artifacts directory of a run, which is listed afresh from now on.

    Args:
        storage: What holds the run.
        path: The artifacts directory there.
    """
    copies = Copies(storage, path)
    _COPIES[copies.root] = copies
    return ArtifactPath(copies.root)


def fetch(path: str | os.PathLike[str]) -> Path:
    """Return a plain local path of an artifact: its text is right for every reader.

    Args:
        path: A file, a folder or the whole artifacts directory of a run. What is local
            anyway is returned as it is.

    Raises:
        NotFoundError: If there is no such artifact.
        StorageError: If it cannot be fetched, or not be kept.
    """
    text = str(path)
    copies = _find_copies(text)
    if copies is not None:
        return Path(copies.fetch(_get_relative(copies, text)))
    if not os.path.exists(text):
        raise NotFoundError(f"there is no {text!r}")
    return Path(text)


class ArtifactPath(LocalPath):
    """A remote artifact, or a folder of them. Made by `make_artifact_path`.

    What is derived from one is another, as long as it lies below the artifacts directory.
    A file is fetched when it is opened; a folder, with all that it holds, when something
    takes its plain path, as ``os.listdir`` and ``os.path.join`` do. Nothing can be written.

    Every method raises `StorageError` if the storage denies an answer or cannot be reached.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:  # noqa: D102
        path = LocalPath(*args)
        if _find_copies(str(path)) is None:
            return cast("Self", path)  # a plain one
        return super().__new__(cls, *args, **kwargs)

    if sys.version_info < (3, 12):  # later versions derive paths through the constructor

        @classmethod
        def _from_parsed_parts(cls, _drive: str, _root: str, parts: Sequence[str]) -> Self:
            return cls(*parts)

    def _locate(self) -> tuple[Copies, str]:
        text = str(self)
        copies = cast("Copies", _find_copies(text))  # __new__ made sure of it
        return copies, _get_relative(copies, text)

    def __fspath__(self) -> str:
        copies, relative = self._locate()
        return copies.fetch(relative)

    def __reduce__(self) -> tuple[Any, ...]:
        copies, relative = self._locate()
        return _restore, (copies.listings.storage, copies.listings.path, relative)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    # Answered without fetching -----------------------------------------------------------

    def _find(self) -> Entry | None:
        copies, relative = self._locate()
        return copies.find(relative)

    def exists(self, *, follow_symlinks: bool = True) -> bool:
        """Tell whether the storage has it."""
        return self._find() is not None

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        """Tell whether it is a file."""
        entry = self._find()
        return entry is not None and not entry.is_dir

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        """Tell whether it is a folder."""
        entry = self._find()
        return entry is not None and entry.is_dir

    def _is_never(self) -> bool:
        return False

    is_symlink = is_junction = is_mount = _is_never
    is_fifo = is_socket = is_block_device = is_char_device = _is_never

    @property
    def info(self) -> Self:
        """What pathlib itself asks since Python 3.14."""
        return self

    def resolve(self, strict: bool = False) -> Self:
        """Return the path without ``..`` in it; there are no symbolic links."""
        if strict and not self.exists():
            os.fspath(self)  # raises
        return type(self)(os.path.normpath(str(self)))

    def _list(self) -> Listing:
        copies, relative = self._locate()
        return copies.listings.get(relative)

    def iterdir(self) -> Generator[Self, None, None]:
        """Yield what a folder holds, sorted by name."""
        for name in self._list():
            yield self / name

    def walk(
        self,
        top_down: bool = True,
        on_error: Callable[[OSError], object] | None = None,
        follow_symlinks: bool = False,
    ) -> Iterator[tuple[Self, list[str], list[str]]]:
        """Yield each folder, with the names of the folders and of the files in it."""
        try:
            listing = self._list()
        except NotFoundError as exc:
            if on_error is not None:
                on_error(exc)
            return
        folders = [name for name, entry in listing.items() if entry.is_dir]
        files = [name for name, entry in listing.items() if not entry.is_dir]
        if top_down:
            yield self, folders, files
        for name in folders:  # those that the caller left in
            yield from (self / name).walk(top_down, on_error)
        if not top_down:
            yield self, folders, files

    def glob(
        self,
        pattern: str | os.PathLike[str],
        *,
        case_sensitive: bool | None = None,
        recurse_symlinks: bool = False,
    ) -> Generator[Self, None, None]:
        """Yield what matches a pattern."""
        parts = PurePath(pattern).parts
        if not parts:
            raise ValueError(f"Unacceptable pattern: {str(pattern)!r}")
        if PurePath(pattern).anchor:
            raise NotImplementedError("Non-relative patterns are unsupported")
        only_folders = str(pattern).endswith(("/", os.sep))
        ignores_case = os.name == "nt" if case_sensitive is None else not case_sensitive
        seen = set()
        for path in self._select(parts, re.IGNORECASE if ignores_case else 0):
            if path not in seen and (not only_folders or path.is_dir()):
                seen.add(path)  # with two ** in a pattern a path is met twice
                yield path

    def rglob(
        self,
        pattern: str | os.PathLike[str],
        *,
        case_sensitive: bool | None = None,
        recurse_symlinks: bool = False,
    ) -> Generator[Self, None, None]:
        """Yield what matches a pattern in this folder or in any below."""
        return self.glob(f"**/{pattern!s}", case_sensitive=case_sensitive)

    def _select(self, patterns: tuple[str, ...], flags: int) -> Iterator[Self]:
        if not patterns:
            yield self
            return
        copies, relative = self._locate()
        first, rest = patterns[0], patterns[1:]
        if first == "**":
            for folder, listing in copies.listings.get_below(relative).items():
                below = self / posixpath.relpath(f"/{folder}", f"/{relative}")
                yield from below._select(rest, flags)
                if not rest and sys.version_info >= (3, 13):
                    yield from (below / name for name, entry in listing.items() if not entry.is_dir)
        elif not flags and not re.search(r"[*?[]", first):
            if (self / first).exists():  # perhaps without being listed
                yield from (self / first)._select(rest, flags)
        else:
            is_match = re.compile(fnmatch.translate(first), flags).match
            for name, entry in copies.listings.get_if_present(relative).items():
                if is_match(name) and (entry.is_dir or not rest):
                    yield from (self / name)._select(rest, flags)

    # Fetched first -----------------------------------------------------------------------

    def open(self, mode: str = "r", *args: Any, **kwargs: Any) -> IO[Any]:  # type: ignore[override]
        """Open a file for reading."""
        if set(mode) & set("wax+"):
            self._refuse()
        return super().open(mode, *args, **kwargs)

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        """Return the status of a file's copy, or of a folder that stands for the remote one."""
        copies, relative = self._locate()
        return os.stat(copies.make_folder(relative) if self.is_dir() else self)

    def lstat(self) -> os.stat_result:
        """Return the same as `stat`."""
        return self.stat()

    # Refused -----------------------------------------------------------------------------

    def _refuse(self, *args: Any, **kwargs: Any) -> NoReturn:
        copies, relative = self._locate()
        url = copies.listings.get_url(relative)
        raise StorageError(f"cannot change {url!r}: the artifacts of a remote run are read only")

    if not TYPE_CHECKING:
        write_text = write_bytes = touch = mkdir = chmod = lchmod = _refuse
        unlink = rmdir = rename = replace = move = move_into = _refuse
        symlink_to = hardlink_to = link_to = _refuse


_COPIES: dict[str, Copies] = {}
"""The runs of which this process has paths, by the text of the artifacts directory's path.

Before Python 3.12 a path cannot hand anything but its text to those derived from it.
"""


def _find_copies(text: str) -> Copies | None:
    """Return what the text of a path belongs to."""
    while text:
        if text in _COPIES:
            return _COPIES[text]
        text = text.rpartition(os.sep)[0]
    return None


def _get_relative(copies: Copies, text: str) -> str:
    """Return what the text of a path names in the artifacts directory."""
    relative = posixpath.normpath(text[len(copies.root) + 1 :].replace(os.sep, "/"))
    if relative.split("/")[0] == ".." or "\0" in relative:
        url = copies.listings.get_url("")
        raise StorageError(f"{relative!r} does not lie in the artifacts directory {url!r}")
    return "" if relative == "." else relative


def _restore(storage: Storage, path: str, relative: str) -> Path:
    """Return a path that was pickled, in a process that may not know its run."""
    copies = Copies(storage, path)
    _COPIES.setdefault(copies.root, copies)
    return ArtifactPath(copies.root, *relative.split("/"))
