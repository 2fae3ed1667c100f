"""The listings of a run's artifacts on the storage; each folder is listed once."""

from __future__ import annotations

import os
import posixpath
import threading
from typing import TYPE_CHECKING

from kedro_hydraflow.errors import NotFoundError, StorageError, show_names
from kedro_hydraflow.limits import describe_nodes_limit, get_max_nodes
from kedro_hydraflow.logs import get_logger
from kedro_hydraflow.nearest import find_nearest
from kedro_hydraflow.storage.local import is_file_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from kedro_hydraflow.storage import Entry, Place

    Listing = dict[str, Entry]

logger = get_logger(__name__)

_MAX_DEPTH = 200
"""The maximum number of folders within each other: a link may lead back to a folder above it."""

_MAX_FOLDERS = 20
"""The number of folders that are listed for a message."""


class FolderListings:
    """The listings of the folders of an artifacts directory, each made when it is first needed.

    Files and folders are given by their paths relative to the directory, with ``/`` between names.

    Args:
        place: The artifacts directory.
    """

    __slots__ = ("_left_out", "_listed", "_locks", "place")

    def __init__(self, place: Place) -> None:
        self.place = place
        self._listed: dict[str, Listing | NotFoundError] = {}
        self._left_out: dict[str, dict[str, str]] = {}
        """What the listing of each folder lacks: the reasons, by name."""
        self._locks: dict[int, threading.Lock] = {}

    @property
    def _lock(self) -> threading.Lock:
        # One per process: a lock that is held during a fork would never be released in the child.
        return self._locks.setdefault(os.getpid(), threading.Lock())

    def get_place(self, relative: str) -> Place:
        """Return the place of a file or folder on the storage."""
        return self.place.join(relative) if relative else self.place

    def get_url(self, relative: str) -> str:
        """Return the URL of a file or folder for messages."""
        return self.get_place(relative).url

    def get_all(self, folders: Sequence[str]) -> list[Listing | NotFoundError]:
        """Return the listing of each folder, or the NotFoundError for one that does not exist.

        Raises:
            StorageError: If a folder cannot be listed.
        """
        with self._lock:
            missing = [folder for folder in folders if folder not in self._listed]
            paths = [self.get_place(folder).path for folder in missing]
            listings = self.place.storage.list_all(paths) if paths else []
            for folder, path, listing in zip(missing, paths, listings, strict=True):
                if isinstance(listing, NotFoundError):
                    self._listed[folder] = listing
                elif isinstance(listing, StorageError):
                    raise listing
                else:
                    listing = [e for e in listing if not e.is_broken]
                    kept = self.place.storage.leave_out_unnameable(path, listing)
                    self._listed[folder] = {e.name: e for e in kept}
                    self._left_out[folder] = self._find_left_out(folder, listing, kept)
            return [self._listed[folder] for folder in folders]

    def get(self, folder: str) -> Listing:
        """Return the listing of a folder: its entries by name.

        Raises:
            NotFoundError: If there is no such folder.
            StorageError: If it cannot be listed, or an entry's name is not a valid local file
                name.
        """
        (listing,) = self.get_all([folder])
        if isinstance(listing, NotFoundError):
            raise NotFoundError(f"there is no directory {self.get_url(folder)!r}") from listing
        for name in listing:
            if not is_file_name(name):
                url = self.get_url(folder)
                raise StorageError(
                    f"{url!r} has the entry {name!r}, which is not a valid file name"
                )
        return listing

    def _find_left_out(
        self, folder: str, listed: Sequence[Entry], kept: Sequence[Entry]
    ) -> dict[str, str]:
        """Return why entries of a folder are not in its listing, by name; log what is new."""
        names = {entry.name for entry in kept}
        left_out = {
            entry.name: f"has the entry {entry.name!r}, which is not a valid file name"
            for entry in listed
            if entry.name not in names  # logged by the storage
        }
        folders = {entry.name for entry in kept if entry.is_dir}
        for entry in kept:  # empty files are markers of folders
            if not entry.is_dir and entry.name in folders and entry.size != 0:
                left_out[entry.name] = f"has a file and a folder named {entry.name!r}"
                logger.warning(
                    "%s %s; the file is left out", self.get_url(folder), left_out[entry.name]
                )
        return left_out

    def check_complete(self, folder: str, name: str | None = None) -> None:
        """Raise StorageError if the listing of a folder lacks something that is in it.

        Args:
            folder: A folder that has been listed.
            name: The only name that counts, by default all of them.
        """
        for left_out, reason in self._left_out.get(folder, {}).items():
            if name in (None, left_out):
                raise StorageError(f"{self.get_url(folder)!r} {reason}; rename it to fetch it")

    def get_if_present(self, folder: str) -> Listing:
        """Return the listing of a folder, an empty one if there is no such folder."""
        try:
            return self.get(folder)
        except NotFoundError:
            return {}

    def get_tree(self, top: str) -> dict[str, Listing]:
        """Return the listings of a folder and of all folders below it, by folder."""
        tree: dict[str, Listing] = {}
        level = [top]
        limit = get_max_nodes()
        while level:
            if len(tree) + len(level) > limit or level[0].count("/") > _MAX_DEPTH:
                raise StorageError(
                    f"{self.get_url(top)!r} has folders deeper than {_MAX_DEPTH} levels, or more "
                    f"than {describe_nodes_limit(limit, 'folders')}"
                )
            self.get_all(level)  # in one call, so that the requests are concurrent
            found = {folder: self.get_if_present(folder) for folder in level}
            tree.update(found)
            level = [
                posixpath.join(folder, name)
                for folder, listing in found.items()
                for name, entry in listing.items()
                if entry.is_dir
            ]
        return tree

    def list_some(self, max_folders: int = _MAX_FOLDERS) -> list[str]:
        """Return the files and folders that are found by listing a few folders.

        Raises:
            StorageError: If a folder cannot be listed.
        """
        level, n_listed = [""], 0
        while level and n_listed < max_folders:
            some = level[: max_folders - n_listed]
            n_listed += len(some)
            listed = zip(some, self.get_all(some), strict=True)
            level = [
                posixpath.join(folder, name)
                for folder, listing in listed
                if not isinstance(listing, NotFoundError)
                for name, entry in listing.items()
                if entry.is_dir and is_file_name(name)
            ]
        return self.list_known()

    def list_known(self) -> list[str]:
        """Return the files and folders in what has been listed, those at the top first."""
        known = [
            posixpath.join(folder, name)
            for folder, listing in [*self._listed.items()]
            if not isinstance(listing, NotFoundError)
            for name in listing
            if is_file_name(name)
        ]
        return sorted(known, key=lambda path: (path.count("/"), path))

    def get_entry(self, relative: str) -> Entry | None:
        """Return a file's entry, None if its folder lacks it or has not been listed yet."""
        folder, name = posixpath.split(relative)
        listing = self._listed.get(folder)
        return listing.get(name) if isinstance(listing, dict) else None

    def forget(self, folders: Iterable[str]) -> None:
        """Drop the listings of folders. They are listed again when needed."""
        with self._lock:
            for folder in folders:
                self._listed.pop(folder, None)


def describe_nearest(relative: str, names: Sequence[str]) -> str:
    """Return a phrase with the artifacts that may be meant by an absent one, for messages.

    If none is like it, these are the first ones at the top. The phrase is empty without names.
    """
    near = find_nearest(relative, names)
    if near:
        return f"the nearest artifacts are {', '.join(map(repr, near))}"
    top = [name for name in names if "/" not in name]
    return f"the artifacts are {show_names(top)}" if top else ""
