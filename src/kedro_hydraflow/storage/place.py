"""A file or folder: a storage and a path on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from kedro_hydraflow.redaction import SafeRepr, redact_url
from kedro_hydraflow.storage.base import Parsed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from kedro_hydraflow.errors import KedroHydraflowError, StorageError
    from kedro_hydraflow.storage.base import AnyPath, Entry, Storage

K = TypeVar("K")
T = TypeVar("T")


@dataclass(frozen=True, slots=True, repr=False)
class Place(SafeRepr):
    """A file or folder on a storage.

    Its methods make one request at a time. To read or list many places, use the functions below
    or the methods of the storage.
    """

    storage: Storage
    path: str

    def __str__(self) -> str:
        return self.url

    @property
    def name(self) -> str:
        """The last name in the path, empty for the root of a storage."""
        return self.storage.split(self.path)[1]

    @property
    def parent(self) -> Place:
        """The parent folder."""
        return Place(self.storage, self.storage.split(self.path)[0])

    @property
    def url(self) -> str:
        """The URL for messages, without credentials; a local path as it is."""
        return self.storage.get_url(self.path)

    def join(self, *names: str) -> Place:
        """Return a file or folder in this folder. Names may be relative paths, with ``/``."""
        parts = [part for name in names for part in name.split("/")]
        return Place(self.storage, self.storage.join(self.path, *parts))

    def read(self) -> bytes | None:
        """Return the content of the file, None if there is no such file.

        Raises:
            StorageError: If it cannot be read.
            GitLfsError: If it is a pointer of Git LFS.
        """
        return self.storage.read(self.path)

    def list(self) -> list[Entry]:
        """Return the entries of the folder, listed anew and sorted by name.

        Raises:
            NotFoundError: If there is no such folder.
            StorageError: If it cannot be listed.
        """
        return self.storage.list_dir(self.path)

    def is_dir(self) -> bool:
        """Whether the folder exists.

        Raises:
            StorageError: If the storage denies access or cannot be reached.
        """
        return self.storage.is_dir(self.path)

    @property
    def bare_path(self) -> str:
        """The path without credentials, which it may have on a web server, where it is a URL."""
        return redact_url(self.path) if self.storage.is_remote else self.path

    def without_credentials(self) -> Place:
        """Return the place on a storage without credentials, see `Storage.without_credentials`."""
        return Place(self.storage.without_credentials(), self.bare_path)

    def to_path(self) -> AnyPath:
        """Return the path as a ``pathlib.Path``, or as a ``UPath`` on remote storage."""
        return self.storage.to_path(self.path)


def group_positions(keys: Iterable[K]) -> dict[K, list[int]]:
    """Return the positions of each key.

    Equal neighbours are hashed once: the hash of a storage or store is slow.
    """
    groups: dict[K, list[int]] = {}
    last: object = None
    for i, key in enumerate(keys):
        if i == 0 or (key is not last and key != last):
            last = key
            group = groups.setdefault(key, [])
        group.append(i)
    return groups


def read_parsed(places: Sequence[Place], parse: Callable[[bytes], T]) -> Parsed[T]:
    """Read and parse files on any storages, see `Storage.read_parsed`."""
    return _read_parsed(places, "", parse)


def read_parsed_in(
    folders: Sequence[Place], relative: str, parse: Callable[[bytes], T]
) -> Parsed[T]:
    """Read and parse the file at a relative path in each folder, see `read_parsed`."""
    return _read_parsed(folders, f"/{relative}", parse)


def _read_parsed(places: Sequence[Place], suffix: str, parse: Callable[[bytes], T]) -> Parsed[T]:
    parts = []
    for storage, positions in group_positions(place.storage for place in places).items():
        end = suffix.replace("/", storage.sep)
        part = storage.read_parsed([places[i].path + end for i in positions], parse)
        parts.append((positions, part))
    if len(parts) == 1:
        return parts[0][1]
    values: list[T | KedroHydraflowError | None] = [None] * len(places)
    validators: list[str | None] = [None] * len(places)
    for positions, part in parts:
        for i, value, validator in zip(positions, part.values, part.validators, strict=True):
            values[i] = value
            validators[i] = validator
    return Parsed(values, validators)


def list_places(places: Sequence[Place]) -> list[list[Entry] | StorageError]:
    """Return the entries of folders on any storages, see `Storage.list_many`."""
    listings: list[list[Entry] | StorageError] = [[] for _ in places]
    for storage, positions in group_positions(place.storage for place in places).items():
        for i, entries in zip(
            positions, storage.list_many([places[i].path for i in positions]), strict=True
        ):
            listings[i] = entries
    return listings


def are_dirs(places: Sequence[Place]) -> list[bool | StorageError]:
    """Return whether folders exist on any storages, see `Storage.are_dirs`."""
    answers: list[bool | StorageError] = [False] * len(places)
    for storage, positions in group_positions(place.storage for place in places).items():
        found = storage.are_dirs([places[i].path for i in positions])
        for i, answer in zip(positions, found, strict=True):
            answers[i] = answer
    return answers
