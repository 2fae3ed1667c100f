"""What a storage is: folders and bytes, named by text paths."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, NamedTuple

from kedro_hydraflow.errors import StorageError

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Hashable, Sequence
    from pathlib import Path

    from upath import UPath

    AnyPath = Path | UPath
    Location = str | os.PathLike[str] | UPath
    UseContent = Callable[[int, bytes | StorageError | None, str | None], None]


class Entry(NamedTuple):
    """One name in a folder."""

    name: str
    is_dir: bool
    is_broken: bool = False
    """A symbolic link whose target is not there."""

    size: int | None = None
    """In bytes; None if the listing does not tell."""

    version: str | None = None
    """Another one whenever the file's content changes; None if the listing does not tell."""


class Storage(ABC):
    """A place that holds files. Paths are text, with `sep` between names."""

    sep = "/"

    is_remote = False
    """Whether each read is a request over a network, which takes milliseconds."""

    is_process_local = False
    """Whether only this process sees what is there."""

    can_stat = False
    """Whether `stat_many` and `read_each` can tell that a file has not changed."""

    @property
    @abstractmethod
    def key(self) -> Hashable:
        """Equal for two storages if their paths name the same files, in this process."""

    @abstractmethod
    def list_dir(self, path: str, limit: int | None = None) -> list[Entry]:
        """Return what a folder holds, freshly listed, sorted by name.

        Args:
            path: The folder.
            limit: How many entries are enough, any of them. A remote folder is always
                listed whole.

        Raises:
            NotFoundError: If there is no such folder.
            StorageError: If it cannot be listed.
        """

    def list_many(
        self, paths: Sequence[str], limit: int | None = None
    ) -> list[list[Entry] | StorageError]:
        """Return as `list_dir` does for each folder, or why it cannot be listed."""
        return [self._try_list_dir(path, limit) for path in paths]

    def _try_list_dir(self, path: str, limit: int | None = None) -> list[Entry] | StorageError:
        try:
            return self.list_dir(path, limit)
        except StorageError as exc:
            return exc

    @abstractmethod
    def read_each(self, paths: Sequence[str], use: UseContent) -> None:
        """Read files, and use each one as soon as it is there.

        Args:
            paths: The files.
            use: Called with the position of a path; its content, None if there is no file,
                or why it cannot be read; and what `stat_many` gave before. In any order and
                perhaps in another thread, but never twice at a time. It must not read.
        """

    def read_many(self, paths: Sequence[str]) -> list[bytes | StorageError | None]:
        """Return the content of each file: None if there is none, or why it cannot be read."""
        contents: list[bytes | StorageError | None] = [None] * len(paths)

        def use(i: int, content: bytes | StorageError | None, _: str | None) -> None:
            contents[i] = content

        self.read_each(paths, use)
        return contents

    def stat_many(self, paths: Sequence[str]) -> list[str | None]:
        """Return for each file a text that is another one whenever its content changes.

        None where that cannot be told: there is no such file, it was changed so lately that
        the next change may leave no trace, or the storage does not say.
        """
        return [None] * len(paths)

    @abstractmethod
    def fetch_many(self, files: Sequence[tuple[str, str]]) -> list[StorageError | None]:
        """Copy each file to a local path, without holding it in memory.

        A local file that exists is overwritten. One that could not be copied whole may be
        left in part.

        Args:
            files: Pairs of the file's path here, and the local path.

        Returns:
            For each file None, or why it could not be copied.
        """

    @abstractmethod
    def is_dir(self, path: str) -> bool:
        """Tell whether a folder exists.

        Raises:
            StorageError: If that cannot be told.
        """

    @abstractmethod
    def path(self, path: str) -> AnyPath:
        """Return a path as the object that users get."""

    @abstractmethod
    def join(self, path: str, *names: str) -> str:
        """Return the path of something inside a folder."""

    @abstractmethod
    def split(self, path: str) -> tuple[str, str]:
        """Return the folder that holds a path, and the path's name in it."""

    @abstractmethod
    def url(self, path: str) -> str:
        """Return a path as text for messages: with its protocol, without credentials."""

    @abstractmethod
    def identity(self, path: str) -> str:
        """Return text that names a path for all processes and times, without credentials."""

    def read(self, path: str) -> bytes | None:
        """Return the content of a file, None if there is none.

        Raises:
            StorageError: If it cannot be read.
        """
        (content,) = self.read_many([path])
        if isinstance(content, StorageError):
            raise content
        return content
