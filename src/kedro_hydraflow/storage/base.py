"""What a storage is: folders and bytes, named by text paths."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from kedro_hydraflow.errors import KedroHydraflowError, StorageError, prefix_error

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Hashable, Sequence
    from pathlib import Path

    from upath import UPath

    AnyPath = Path | UPath
    Location = str | os.PathLike[str] | UPath

T = TypeVar("T")


class Entry(NamedTuple):
    """One name in a folder."""

    name: str
    is_dir: bool
    is_broken: bool = False
    """A symbolic link whose target is not there."""

    size: int | None = None
    """In bytes; None if the listing does not tell."""

    validator: str | None = None
    """The file's validator, see `Storage.get_validators`; None if the listing has none."""


@dataclass(frozen=True, slots=True)
class Parsed(Generic[T]):
    """What many files hold, by their positions in a call."""

    values: list[T | KedroHydraflowError | None]
    """What each file was parsed into; None without a file; or why it cannot be read or parsed."""

    validators: list[str | None]
    """What `Storage.stat_many` gave for each file before it was read."""


class Storage(ABC):
    """Holds files. Paths are text, with `sep` between names."""

    sep = "/"

    is_remote = False
    """Whether each read is a request over a network, which takes milliseconds."""

    is_process_local = False
    """Whether only this process sees what is there."""

    can_stat = False
    """Whether `stat_many` and `read_parsed` give validators of files."""

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
    def read_parsed(self, paths: Sequence[str], parse: Callable[[bytes], T]) -> Parsed[T]:
        """Read and parse many files. No more than a few of them are in memory at a time.

        Args:
            paths: The files.
            parse: Takes the content of a file. What it raises of our own errors is the file's
                value, with the path in front. It is called in any order and perhaps in another
                thread, but never twice at a time, and must not read anything itself.
        """

    def read_many(self, paths: Sequence[str]) -> list[bytes | StorageError | None]:
        """Return the content of each file: None if there is none, or why it cannot be read."""
        return self.read_parsed(paths, _keep).values  # type: ignore[return-value]

    def stat_many(self, paths: Sequence[str]) -> list[str | None]:
        """Return the validator of each file: text that changes whenever its content does.

        None where there is no such file, where it was changed so lately that the next change
        may leave no trace, or where the storage has none.
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
    def to_path(self, path: str) -> AnyPath:
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

    def parse_content(
        self, path: str, content: bytes, parse: Callable[[bytes], T]
    ) -> T | KedroHydraflowError:
        """Return what a file's content is parsed into, or why it cannot be."""
        try:
            return parse(content)
        except KedroHydraflowError as exc:
            return prefix_error(self.url(path), exc)


def _keep(content: bytes) -> bytes:
    return content
