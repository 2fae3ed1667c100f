"""What the storage has of a run's artifacts, each folder listed once."""

from __future__ import annotations

import os
import posixpath
import threading
from typing import TYPE_CHECKING

from kedro_hydraflow.errors import NotFoundError, StorageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from kedro_hydraflow.storage import Entry, Storage

    Listing = dict[str, Entry]


class Listings:
    """The folders of one artifacts directory, listed when first asked about.

    Files and folders are named relative to it, with ``/`` between the names.

    Args:
        storage: What holds the run.
        path: The artifacts directory there.
    """

    def __init__(self, storage: Storage, path: str) -> None:
        self.storage = storage
        self.path = path
        self._known: dict[str, Listing | NotFoundError] = {}
        self._locks: dict[int, threading.Lock] = {}

    @property
    def _lock(self) -> threading.Lock:
        # One for each process: a forked one might inherit a lock that is held for ever.
        return self._locks.setdefault(os.getpid(), threading.Lock())

    def locate(self, relative: str) -> str:
        """Return the path in the storage."""
        return self.storage.join(self.path, *relative.split("/")) if relative else self.path

    def get_url(self, relative: str) -> str:
        """Return the text for messages."""
        return self.storage.url(self.locate(relative))

    def get_all(self, folders: Sequence[str]) -> list[Listing | NotFoundError]:
        """Return what folders hold, or for one that is absent the error that says so.

        Raises:
            StorageError: If one of them cannot be listed.
        """
        with self._lock:
            unknown = [folder for folder in folders if folder not in self._known]
            listings = self.storage.list_many([self.locate(f) for f in unknown]) if unknown else []
            for folder, listing in zip(unknown, listings, strict=True):
                if isinstance(listing, NotFoundError):
                    self._known[folder] = listing
                elif isinstance(listing, StorageError):
                    raise listing
                else:
                    self._known[folder] = {e.name: e for e in listing if not e.is_broken}
            return [self._known[folder] for folder in folders]

    def get(self, folder: str) -> Listing:
        """Return what a folder holds, by name.

        Raises:
            NotFoundError: If there is no such folder.
            StorageError: If it cannot be listed, or holds a name that no file can have here.
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
        """Return what a folder holds: nothing, if it is absent."""
        try:
            return self.get(folder)
        except NotFoundError:
            return {}

    def get_below(self, top: str) -> dict[str, Listing]:
        """Return what a folder holds and what all folders below it do, by their names."""
        below: dict[str, Listing] = {}
        level = [top]
        while level:
            self.get_all(level)  # asked for at once
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
        """Return what the folder's listing says, None if it was not asked for or says nothing."""
        folder, name = posixpath.split(relative)
        listing = self._known.get(folder)
        return listing.get(name) if isinstance(listing, dict) else None

    def forget(self, folders: Iterable[str]) -> None:
        """List folders once more when they are next asked about."""
        with self._lock:
            for folder in folders:
                self._known.pop(folder, None)


def is_file_name(name: str) -> bool:
    """Tell whether what a storage calls a name is one here, of something in the same folder."""
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        return False
    return os.name != "nt" or not set(name) & set('\\:*?"<>|')
