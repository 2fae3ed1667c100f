"""What the storage has of a run's artifacts, each folder listed once."""

from __future__ import annotations

import os
import posixpath
import threading
from typing import TYPE_CHECKING

from kedro_hydraflow.errors import NotFoundError, StorageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from kedro_hydraflow.storage import Entry, Place

    Listing = dict[str, Entry]


class FolderListings:
    """The folders of one artifacts directory, listed when first asked about.

    Files and folders are named relative to it, with ``/`` between the names.

    Args:
        place: The artifacts directory.
    """

    __slots__ = ("_known", "_locks", "place")

    def __init__(self, place: Place) -> None:
        self.place = place
        self._known: dict[str, Listing | NotFoundError] = {}
        self._locks: dict[int, threading.Lock] = {}

    @property
    def _lock(self) -> threading.Lock:
        # One for each process: a forked one might inherit a lock that is held for ever.
        return self._locks.setdefault(os.getpid(), threading.Lock())

    def locate(self, relative: str) -> Place:
        """Return where the storage has a file or folder."""
        return self.place.join(relative) if relative else self.place

    def get_url(self, relative: str) -> str:
        """Return the URL of a file or folder, for messages."""
        return self.locate(relative).url

    def get_all(self, folders: Sequence[str]) -> list[Listing | NotFoundError]:
        """Return the listing of each folder, or the error that says that it is absent.

        Raises:
            StorageError: If one of them cannot be listed.
        """
        with self._lock:
            unknown = [folder for folder in folders if folder not in self._known]
            paths = [self.locate(folder).path for folder in unknown]
            listings = self.place.storage.list_many(paths) if paths else []
            for folder, listing in zip(unknown, listings, strict=True):
                if isinstance(listing, NotFoundError):
                    self._known[folder] = listing
                elif isinstance(listing, StorageError):
                    raise listing
                else:
                    self._known[folder] = {e.name: e for e in listing if not e.is_broken}
            return [self._known[folder] for folder in folders]

    def get(self, folder: str) -> Listing:
        """Return the listing of a folder: its entries by name.

        Raises:
            NotFoundError: If there is no such folder.
            StorageError: If it cannot be listed, or holds a name that no local file can have.
        """
        (listing,) = self.get_all([folder])
        if isinstance(listing, NotFoundError):
            raise NotFoundError(f"there is no directory {self.get_url(folder)!r}") from listing
        for name in listing:
            if not is_file_name(name):
                url = self.get_url(folder)
                raise StorageError(f"{url!r} holds {name!r}, which cannot be the name of a file")
        return listing

    def get_if_present(self, folder: str) -> Listing:
        """Return the listing of a folder, which is empty if there is no such folder."""
        try:
            return self.get(folder)
        except NotFoundError:
            return {}

    def get_below(self, top: str) -> dict[str, Listing]:
        """Return the listings of a folder and of all folders below it, by folder."""
        below: dict[str, Listing] = {}
        level = [top]
        while level:
            self.get_all(level)  # in one call, so that the storage can list them in parallel
            found = {folder: self.get_if_present(folder) for folder in level}
            below.update(found)
            level = [
                posixpath.join(folder, name)
                for folder, listing in found.items()
                for name, entry in listing.items()
                if entry.is_dir
            ]
        return below

    def get_entry(self, relative: str) -> Entry | None:
        """Return a file's entry, None unless its folder has been listed and holds it."""
        folder, name = posixpath.split(relative)
        listing = self._known.get(folder)
        return listing.get(name) if isinstance(listing, dict) else None

    def forget(self, folders: Iterable[str]) -> None:
        """Drop the listings of folders, which are listed again when next asked about."""
        with self._lock:
            for folder in folders:
                self._known.pop(folder, None)


def is_file_name(name: str) -> bool:
    """Whether a name from a storage can be that of a local file in the folder listed."""
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        return False
    return os.name != "nt" or not set(name) & set('\\:*?"<>|')
