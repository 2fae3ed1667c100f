# ruff: noqa: ARG002 -- the signatures are pathlib's
"""Paths of remote artifacts that work with any reader of local paths."""

from __future__ import annotations

import fnmatch
import os
import posixpath
import re
import sys
from pathlib import Path, PurePath
from typing import IO, TYPE_CHECKING, Any, NoReturn, TypeVar, cast

from kedro_hydraflow.artifacts.cache import is_not_fetched
from kedro_hydraflow.artifacts.copies import READ_ONLY
from kedro_hydraflow.artifacts.run_artifacts import RunArtifacts
from kedro_hydraflow.errors import NotFoundError, StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from typing_extensions import Self

    from kedro_hydraflow.artifacts.listings import Listing
    from kedro_hydraflow.storage import Entry, Place

    LocalPath = Path
else:
    LocalPath = type(Path())  # before Python 3.12, Path itself cannot be subclassed

P = TypeVar("P", bound=Path)


def make_artifact_path(place: Place) -> Path:
    """Return the path of a run's artifacts directory.

    The paths derived from it share its listings; other paths of the same run do not.

    Args:
        place: The artifacts directory.
    """
    return _make_path(RunArtifacts(place), "")


def fetch(path: str | os.PathLike[str]) -> Path:
    """Fetch an artifact and return its plain local path, whose text is valid too.

    Args:
        path: A file, a folder or the artifacts directory of a run. A local path is returned as
            it is.

    Raises:
        NotFoundError: If there is no such artifact.
        StorageError: If it cannot be fetched, if the cache cannot be written to, or if only the
            text of an `ArtifactPath` is given.
    """
    local = os.fspath(path)  # fetches an ArtifactPath
    if os.path.exists(local):
        return Path(local)
    if is_not_fetched(local):
        raise StorageError(
            f"{local!r} is the text of a remote artifact's path, from which the artifact cannot be "
            "fetched: pass the path itself, not str(path) or Path(path), or use Run.fetch"
        )
    raise NotFoundError(f"there is no {local!r}")


class ArtifactPath(LocalPath):
    """The path of a remote artifact or folder. Made by `make_artifact_path`.

    A path derived from it is an `ArtifactPath` if it is in the artifacts directory, otherwise a
    plain path. A path made from text is always plain.

    A file is fetched when it is opened. A folder is fetched, with everything in it, when its
    plain path is requested, for example by ``os.listdir`` or ``os.path.join``.

    Every method raises `StorageError` if the storage denies access or cannot be reached.

    **Artifacts are read-only copies.** The methods that write raise `StorageError`. Functions
    that take a plain path, such as the builtin ``open``, get the path of a file in the cache that
    has no write permission. Root can write to it all the same, and anyone can replace it
    (``os.replace``, ``shutil.move``). This is noticed at the next access to the artifact, by the
    size and time of modification of the copy: what was written is moved aside, a warning says
    where, and the artifact is fetched again. If the copy came from a path of the same ``Run``,
    the program may rely on what it wrote. In this case the next access raises `StorageError`,
    once.

    Not noticed: a copy that is written while a reader has it open, and a copy that is read by a
    plain path from an earlier `fetch` or ``os.fspath``.

    Args:
        segments: As for `pathlib.Path`.
        artifacts: The artifacts of the run, by default those of an `ArtifactPath` in the segments.
    """

    __slots__ = ("_artifacts",)

    _artifacts: RunArtifacts

    def __new__(  # noqa: D102
        cls, *segments: str | os.PathLike[str], artifacts: RunArtifacts | None = None
    ) -> Self:
        for segment in segments:
            if isinstance(segment, ArtifactPath):  # absolute, so that it replaces those before it
                artifacts = segment._artifacts
        plain = LocalPath(*segments)
        if artifacts is None or not artifacts.contains(str(plain)):
            return cast("Self", plain)
        self = super().__new__(cls, *segments)
        self._artifacts = artifacts
        return self

    def with_segments(self, *segments: str | os.PathLike[str]) -> Self:
        """Return a path in the same artifacts directory, or a plain one if it is elsewhere.

        Since Python 3.12, pathlib derives all paths with it.
        """
        return type(self)(*segments, artifacts=self._artifacts)

    def __rtruediv__(self, key: str | os.PathLike[str]) -> Self:
        try:
            return self.with_segments(key, self)
        except TypeError:
            return NotImplemented

    if sys.version_info >= (3, 12):

        def __init__(
            self, *segments: str | os.PathLike[str], artifacts: RunArtifacts | None = None
        ) -> None:
            super().__init__(*segments)

    else:  # pathlib derives paths with these methods

        def _make_child(self, segments: Sequence[str | os.PathLike[str]]) -> Self:
            return self.with_segments(self, *segments)

        def _from_parsed_parts(self, drive: str, root: str, parts: list[str]) -> Self:
            return self.with_segments(*parts)

        @property
        def parents(self) -> Sequence[Self]:
            """The folders above it, the nearest first."""
            return tuple(map(self.with_segments, LocalPath(self).parents))

    def _locate(self) -> tuple[RunArtifacts, str]:
        return self._artifacts, self._artifacts.to_relative(str(self))

    def __fspath__(self) -> str:
        artifacts, relative = self._locate()
        return artifacts.fetch(relative)

    def __reduce__(self) -> tuple[Any, ...]:
        return _make_path, self._locate()

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    # Answered without fetching -----------------------------------------------------------

    def _find(self) -> Entry | None:
        artifacts, relative = self._locate()
        return artifacts.find(relative)

    def exists(self, *, follow_symlinks: bool = True) -> bool:
        """Whether it exists on the storage."""
        return self._find() is not None

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        """Whether it is a file."""
        entry = self._find()
        return entry is not None and not entry.is_dir

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        """Whether it is a folder."""
        entry = self._find()
        return entry is not None and entry.is_dir

    def _is_never(self) -> bool:
        return False

    is_symlink = is_junction = is_mount = _is_never
    is_fifo = is_socket = is_block_device = is_char_device = _is_never

    @property
    def info(self) -> Self:
        """The path itself. It has the methods that pathlib calls since Python 3.14."""
        return self

    def resolve(self, strict: bool = False) -> Self:
        """Return the path with ``..`` resolved; there are no symbolic links."""
        if strict and not self.exists():
            os.fspath(self)  # raises
        return self.with_segments(os.path.normpath(str(self)))

    def _list(self) -> Listing:
        artifacts, relative = self._locate()
        return artifacts.listings.get(relative)

    def iterdir(self) -> Generator[Self, None, None]:
        """Yield the entries of the folder, sorted by name."""
        for name in self._list():
            yield self / name

    def walk(
        self,
        top_down: bool = True,
        on_error: Callable[[OSError], object] | None = None,
        follow_symlinks: bool = False,
    ) -> Iterator[tuple[Self, list[str], list[str]]]:
        """Yield each folder, with the names of its folders and of its files."""
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
        for name in folders:  # without those that the caller removed
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
        """Yield the paths that match a pattern."""
        parts = PurePath(pattern).parts
        if not parts:
            raise ValueError(f"Unacceptable pattern: {str(pattern)!r}")
        if PurePath(pattern).anchor:
            raise NotImplementedError("Non-relative patterns are unsupported")
        only_folders = str(pattern).endswith(("/", os.sep))
        ignores_case = os.name == "nt" if case_sensitive is None else not case_sensitive
        flags = re.IGNORECASE if ignores_case else 0
        for path in _select(self._artifacts, self, parts, flags, set()):
            if not only_folders or path.is_dir():
                yield path

    def rglob(
        self,
        pattern: str | os.PathLike[str],
        *,
        case_sensitive: bool | None = None,
        recurse_symlinks: bool = False,
    ) -> Generator[Self, None, None]:
        """Yield the paths that match a pattern in this folder or in any below."""
        return self.glob(f"**/{pattern!s}", case_sensitive=case_sensitive)

    # Answered from the copy --------------------------------------------------------------

    def open(self, mode: str = "r", *args: Any, **kwargs: Any) -> IO[Any]:  # type: ignore[override]
        """Open a file for reading."""
        if set(mode) & set("wax+"):
            self._refuse()
        try:
            return super().open(mode, *args, **kwargs)
        except (FileNotFoundError, NotADirectoryError) as exc:
            if isinstance(exc, StorageError):  # of the storage, not of the cache
                raise
            artifacts, relative = self._locate()
            url = artifacts.listings.get_url(relative)
            raise StorageError(f"the copy of {url!r} was removed while it was opened") from exc

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        """Return the status of a file's copy, or of a local folder that stands for a remote one."""
        artifacts, relative = self._locate()
        return os.stat(artifacts.make_folder(relative) if self.is_dir() else self)

    def lstat(self) -> os.stat_result:
        """Return the same as `stat`."""
        return self.stat()

    # Not supported -----------------------------------------------------------------------

    def _refuse(self, *args: Any, **kwargs: Any) -> NoReturn:
        artifacts, relative = self._locate()
        url = artifacts.listings.get_url(relative)
        raise StorageError(f"cannot change {url!r}: {READ_ONLY}")

    if not TYPE_CHECKING:
        write_text = write_bytes = touch = mkdir = chmod = lchmod = _refuse
        unlink = rmdir = rename = replace = move = move_into = _refuse
        symlink_to = hardlink_to = link_to = _refuse
        _copy_from = _refuse  # called by pathlib to copy to a path, since Python 3.14


def _make_path(artifacts: RunArtifacts, relative: str) -> Path:
    return ArtifactPath(artifacts.root, relative, artifacts=artifacts)


def _select(
    artifacts: RunArtifacts,
    path: P,
    patterns: tuple[str, ...],
    flags: int,
    seen: set[tuple[P, int]],
) -> Iterator[P]:
    """Yield the paths in a folder that match the parts of a pattern, each once.

    Args:
        artifacts: The artifacts of the run.
        path: The folder.
        patterns: The parts of the pattern.
        flags: Those of the regular expressions.
        seen: The folders searched so far, each with the number of parts. A pattern with several
            ``**`` leads to a folder in many ways.
    """
    if (path, len(patterns)) in seen:
        return
    seen.add((path, len(patterns)))
    if not patterns:
        yield path
        return
    relative = artifacts.to_relative(str(path))
    first, rest = patterns[0], patterns[1:]
    if first == "**":
        for folder, listing in artifacts.listings.get_tree(relative).items():
            below = path / posixpath.relpath(f"/{folder}", f"/{relative}")
            yield from _select(artifacts, below, rest, flags, seen)
            if not rest and sys.version_info >= (3, 13):
                for name, entry in listing.items():
                    if not entry.is_dir:
                        yield from _select(artifacts, below / name, (), flags, seen)
    elif not flags and not re.search(r"[*?[]", first):
        if (path / first).exists():  # some servers do not list all files
            yield from _select(artifacts, path / first, rest, flags, seen)
    else:
        is_match = re.compile(fnmatch.translate(first), flags).match
        for name, entry in artifacts.listings.get_if_present(relative).items():
            if is_match(name) and (entry.is_dir or not rest):
                yield from _select(artifacts, path / name, rest, flags, seen)
