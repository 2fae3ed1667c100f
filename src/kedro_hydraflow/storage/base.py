"""The interface of storages: folders and files, named by paths as text."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from kedro_hydraflow.errors import GitLfsError, KedroHydraflowError, StorageError, prefix_error

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Sequence
    from pathlib import Path

    from upath import UPath

    AnyPath = Path | UPath
    Location = str | os.PathLike[str] | UPath

T = TypeVar("T")

_GIT_LFS_POINTER = b"version https://git-lfs.github.com/spec/"
"""The beginning of every pointer, see https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md."""


class Entry(NamedTuple):
    """A file or folder in a listing."""

    name: str
    is_dir: bool
    is_broken: bool = False
    """Whether it is a symbolic link whose target does not exist."""

    size: int | None = None
    """In bytes; None if the listing has none."""

    validator: str | None = None
    """The file's validator, see `Storage.get_validators`; None if the listing has none."""

    is_link: bool = False
    """Whether it is a symbolic link, on the local filesystem."""


class Download(NamedTuple):
    """A file to copy to a local path."""

    path: str
    target: str
    """The local path. An existing file is overwritten."""

    size: int | None = None
    """The size that was listed, in bytes. A shorter copy is not whole."""


@dataclass(frozen=True, slots=True)
class Parsed(Generic[T]):
    """The parsed content of many files, in the order of the call."""

    values: list[T | KedroHydraflowError | None]
    """For each file what its content was parsed into, None if there is no such file, or an error
    if it cannot be read or parsed."""

    validators: list[str | None]
    """The validator of each file from before it was read, see `Storage.get_validators`."""


class Storage(ABC):
    """A filesystem or object store. Paths are text, with `sep` between names."""

    sep = "/"

    is_remote = False
    """Whether each read is a request over a network, which takes milliseconds."""

    is_process_local = False
    """Whether other processes cannot see its files."""

    has_validators = False
    """Whether `get_validators` and `read_parsed` return validators."""

    @property
    @abstractmethod
    def key(self) -> Hashable:
        """A key that is equal for storages on which the same paths name the same files."""

    @abstractmethod
    def list_dir(self, path: str, limit: int | None = None) -> list[Entry]:
        """Return the entries of a folder, listed anew and sorted by name.

        Args:
            path: The folder.
            limit: The maximum number of entries; which ones is undefined. Remote storage
                ignores it.

        Raises:
            NotFoundError: If there is no such folder.
            StorageError: If it cannot be listed.
        """

    def list_many(
        self, paths: Sequence[str], limit: int | None = None
    ) -> list[list[Entry] | StorageError]:
        """Return the entries of each folder as `list_dir` does, or the error of listing it."""
        return [self._try_list_dir(path, limit) for path in paths]

    def list_all(self, paths: Sequence[str]) -> list[list[Entry] | StorageError]:
        """Return the same as `list_many`, with the entries that no path can name.

        Object stores have such: the entry of the key ``folder//file`` has an empty name.
        """
        return self.list_many(paths)

    def leave_out_unnameable(self, path: str, entries: list[Entry]) -> list[Entry]:  # noqa: ARG002
        """Return the entries of a folder that a path can name, and log the others."""
        return entries

    def _try_list_dir(self, path: str, limit: int | None = None) -> list[Entry] | StorageError:
        try:
            return self.list_dir(path, limit)
        except StorageError as exc:
            return exc

    @abstractmethod
    def read_parsed(self, paths: Sequence[str], parse: Callable[[bytes], T]) -> Parsed[T]:
        """Read and parse many files. Only a few of them are in memory at a time.

        Args:
            paths: The files.
            parse: Parses the content of a file. If it raises a `KedroHydraflowError`, the
                error, prefixed with the path, is the file's value. It is called in any order,
                possibly from another thread, but never concurrently. It must not read from a
                storage.
        """

    def read_many(self, paths: Sequence[str]) -> list[bytes | KedroHydraflowError | None]:
        """Return the content of each file, None if there is no such file, or the error."""
        return self.read_parsed(paths, _keep).values

    def get_validators(self, paths: Sequence[str]) -> list[str | None]:
        """Return the validator of each file: text that changes whenever its content does.

        It is None if there is no such file, if the storage has no validators, or if the file was
        changed so recently that its validator might survive the next change.
        """
        return [None] * len(paths)

    @abstractmethod
    def fetch_many(self, files: Sequence[Download]) -> list[StorageError | None]:
        """Copy files to local paths, without holding them in memory.

        A copy that fails may leave a part of the file.

        Returns:
            For each file None, or the error of copying it.
        """

    def write(self, path: str, content: bytes) -> None:  # noqa: ARG002 - for others
        """Write a file. On a local disk and in object stores, it is replaced as a whole.

        Raises:
            StorageError: If it cannot be written.
        """
        raise StorageError(f"cannot write {self.get_url(path)!r}: files there can only be read")

    def create(self, path: str, content: bytes) -> None:
        """Write a file unless there is one. On a local disk, the first of several processes does.

        Raises:
            StorageError: If it cannot be read or written.
        """
        if self.read(path) is None:
            self.write(path, content)

    @contextmanager
    def taking_turns(self, path: str) -> Iterator[None]:  # noqa: ARG002 - for others
        """Let one thread or process of this machine at a time run the block, for the same file.

        Only a local disk does. It has a file beside the other one for that.

        Raises:
            StorageError: If files cannot be locked.
        """
        yield

    def remove(self, path: str) -> None:
        """Remove a file, if it exists.

        Raises:
            StorageError: If it cannot be removed.
        """
        raise StorageError(f"cannot remove {self.get_url(path)!r}: files there can only be read")

    @abstractmethod
    def is_dir(self, path: str) -> bool:
        """Whether a folder exists.

        Raises:
            StorageError: If the storage denies access or cannot be reached.
        """

    def are_dirs(self, paths: Sequence[str]) -> list[bool | StorageError]:
        """Return whether each folder exists, as `is_dir` does, or the error of looking for it."""
        return [self._try_is_dir(path) for path in paths]

    def _try_is_dir(self, path: str) -> bool | StorageError:
        try:
            return self.is_dir(path)
        except StorageError as exc:
            return exc

    @abstractmethod
    def to_path(self, path: str) -> AnyPath:
        """Return a path as a ``pathlib.Path``, or as a ``UPath`` on remote storage."""

    @abstractmethod
    def join(self, path: str, *names: str) -> str:
        """Return the path of a file or folder in a folder."""

    @abstractmethod
    def split(self, path: str) -> tuple[str, str]:
        """Return the parent folder of a path, and its last name."""

    def without_credentials(self) -> Storage:
        """Return a storage with the same URLs and no options. On a remote one, it reads nothing."""
        return self

    @abstractmethod
    def get_url(self, path: str) -> str:
        """Return the URL of a path for messages, without credentials; a local path as it is."""

    @abstractmethod
    def get_identity(self, path: str) -> str:
        """Return text that identifies a path in every process, without credentials."""

    def read(self, path: str) -> bytes | None:
        """Return the content of a file, None if there is no such file.

        Raises:
            StorageError: If it cannot be read.
            GitLfsError: If it is a pointer of Git LFS.
        """
        (content,) = self.read_many([path])
        if isinstance(content, KedroHydraflowError):
            raise content
        return content

    def parse_content(
        self, path: str, content: bytes, parse: Callable[[bytes], T]
    ) -> T | KedroHydraflowError:
        """Return the parsed content of a file, or the parse error, prefixed with the file's URL."""
        try:
            check_downloaded(content)
            return parse(content)
        except KedroHydraflowError as exc:
            return prefix_error(self.get_url(path), exc)
        except MemoryError:
            return StorageError(
                f"{self.get_url(path)}: there is not enough memory to parse its {len(content):,} "
                "bytes"
            )


def check_folder(file: Download) -> None:
    """Raise StorageError if there is no folder for the copy of a file, as after its removal."""
    folder = os.path.dirname(file.target) or os.curdir
    if not os.path.isdir(folder):
        raise StorageError(f"cannot copy {file.path!r}: there is no folder {folder!r} for the copy")


def check_downloaded(content: bytes) -> None:
    """Raise GitLfsError if a file's content, or the beginning of it, is a pointer of Git LFS."""
    if content.startswith(_GIT_LFS_POINTER):
        raise GitLfsError(
            "it is a pointer of Git LFS, not the file itself; run `git lfs pull` in the repository"
        )


def _keep(content: bytes) -> bytes:
    return content
