"""A file or folder: the storage that holds it, and its path there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kedro_hydraflow.storage.base import AnyPath, Entry, Storage


@dataclass(frozen=True, slots=True)
class Place:
    """A file or folder.

    Its methods ask for one thing at a time. To read or list many, hand their paths to the
    storage at once.
    """

    storage: Storage
    path: str

    def __str__(self) -> str:
        return self.url

    @property
    def name(self) -> str:
        """The last name in the path; empty for the top of a storage."""
        return self.storage.split(self.path)[1]

    @property
    def parent(self) -> Place:
        """The folder that holds it."""
        return Place(self.storage, self.storage.split(self.path)[0])

    @property
    def url(self) -> str:
        """The path for messages: with its protocol, without credentials."""
        return self.storage.url(self.path)

    def join(self, *names: str) -> Place:
        """Return something inside this folder. A name may be a path with ``/`` between names."""
        parts = [part for name in names for part in name.split("/")]
        return Place(self.storage, self.storage.join(self.path, *parts))

    def read(self) -> bytes | None:
        """Return the content of the file, None if there is none.

        Raises:
            StorageError: If it cannot be read.
        """
        return self.storage.read(self.path)

    def list(self) -> list[Entry]:
        """Return what the folder holds, freshly listed, sorted by name.

        Raises:
            NotFoundError: If there is no such folder.
            StorageError: If it cannot be listed.
        """
        return self.storage.list_dir(self.path)

    def is_dir(self) -> bool:
        """Return whether there is such a folder.

        Raises:
            StorageError: If the storage does not tell.
        """
        return self.storage.is_dir(self.path)

    def to_path(self) -> AnyPath:
        """Return the object that users get: a ``pathlib.Path``, or a ``UPath`` remotely."""
        return self.storage.to_path(self.path)


def group_by_storage(places: Iterable[Place]) -> dict[Storage, list[int]]:
    """Return the positions of the places on each storage."""
    groups: dict[Storage, list[int]] = {}
    for i, place in enumerate(places):
        groups.setdefault(place.storage, []).append(i)
    return groups
