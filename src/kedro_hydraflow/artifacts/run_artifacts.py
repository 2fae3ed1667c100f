"""The artifacts of a remote run and their copies in the cache.

A *validator*, kept beside each copy, tells whether the copy is current. It has two parts: the
file's version as the storage listed it, and the copy's inode, size and time of change.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import posixpath
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro_hydraflow.artifacts.cache import (
    MINUTE,
    NOT_FETCHED,
    get_cache_size,
    get_run_cache,
    lock_run,
    make_cache_error,
    make_room,
    mark_used,
)
from kedro_hydraflow.artifacts.listings import FolderListings, is_file_name
from kedro_hydraflow.errors import NotFoundError, StorageError
from kedro_hydraflow.storage import Entry

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from kedro_hydraflow.artifacts.listings import Listing
    from kedro_hydraflow.storage import Place


class RunArtifacts:
    """The artifacts of one run: the listings of the storage, and the copies in the cache.

    Files and folders are named relative to the artifacts directory, with ``/`` between the names.
    Pickling keeps none of the listings: another process lists afresh.

    Args:
        place: The artifacts directory.
    """

    __slots__ = ("_files", "_run_cache", "_settled", "_used", "listings", "root")

    def __init__(self, place: Place) -> None:
        self.listings = FolderListings(place)
        self._run_cache = get_run_cache(place)
        names = [*filter(is_file_name, (place.parent.name, place.name))]  # as users know them
        self.root = str(Path(self._run_cache, NOT_FETCHED, *names))
        """The text of the path of the artifacts directory."""
        self._files = os.path.join(self._run_cache, "files", *names)
        self._settled: set[str] = set()
        """Files whose copies were current at some time, or were made since."""
        self._used = time.monotonic() - MINUTE

    def __reduce__(self) -> tuple[Any, ...]:
        return RunArtifacts, (self.listings.place,)

    def covers(self, text: str) -> bool:
        """Whether the text of a path names the artifacts directory or something below it."""
        return text == self.root or text.startswith(self.root + os.sep)

    def to_relative(self, text: str) -> str:
        """Return what the text of a path names, relative to the artifacts directory.

        Raises:
            StorageError: If ``..`` leads out of the directory.
        """
        relative = posixpath.normpath(text[len(self.root) + 1 :].replace(os.sep, "/"))
        if relative.split("/")[0] == ".." or "\0" in relative:
            url = self.listings.get_url("")
            raise StorageError(f"{relative!r} does not lie in the artifacts directory {url!r}")
        return "" if relative == "." else relative

    def find(self, relative: str) -> Entry | None:
        """Return the entry of a file or folder, None if there is none.

        Raises:
            StorageError: If the storage denies an answer or cannot be reached.
        """
        folder, name = posixpath.split(relative)
        try:
            (listing,) = self.listings.get_all([folder])
        except StorageError:
            if not relative:
                raise
            return self._find_file(relative)  # which can perhaps be read
        if isinstance(listing, NotFoundError):
            return None
        if not relative:
            return Entry("", is_dir=True)
        # Web servers hide some names, and list no versions.
        if name in listing or any(entry.version is not None for entry in listing.values()):
            return listing.get(name)
        return self._find_unlisted(relative)

    def _find_unlisted(self, relative: str) -> Entry | None:
        with suppress(StorageError):  # the error of reading it as a file is clearer
            if self.listings.get(relative):
                return Entry(posixpath.basename(relative), is_dir=True)
        return self._find_file(relative)

    def _find_file(self, relative: str) -> Entry | None:
        try:
            self._fetch_files([relative])
        except NotFoundError:
            return None
        return Entry(posixpath.basename(relative), is_dir=False)

    def fetch(self, relative: str) -> str:
        """Return the local path of a file, or of a folder with all that it holds.

        Raises:
            NotFoundError: If there is no such file or folder.
            StorageError: If it cannot be fetched, or the cache cannot be written.
        """
        entry = self.find(relative) or (self._find_unlisted(relative) if relative else None)
        if entry is None:
            raise NotFoundError(f"there is no {self.listings.get_url(relative)!r}")
        if entry.is_dir:
            self._fetch_folder(relative)
        else:
            self._fetch_files([relative])
        return self._get_local(relative)

    def _fetch_folder(self, folder: str) -> None:
        below = self._fetch_below(folder)
        if any(self._iter_others(below)):
            # Removed from the storage, or fetched by a process that listed the folder later.
            self.listings.forget(below)
            below = self._fetch_below(folder)
            with lock_run(self._run_cache):
                for other in list(self._iter_others(below)):
                    _remove(other)

    def _fetch_below(self, folder: str) -> dict[str, Listing]:
        below = self.listings.get_below(folder)
        self._fetch_files(
            posixpath.join(folder, name)
            for folder, listing in below.items()
            for name, entry in listing.items()
            if not entry.is_dir
        )
        for folder in below:
            self.make_folder(folder)
        return below

    def _iter_others(self, below: dict[str, Listing]) -> Iterator[str]:
        """Yield the local paths of what is listed in none of the folders."""
        for folder, listing in below.items():
            local = self._get_local(folder)
            for name in os.listdir(local):
                if name not in listing and posixpath.join(folder, name) not in self._settled:
                    yield os.path.join(local, name)

    def _fetch_files(self, files: Iterable[str]) -> None:
        files = list(files)
        if time.monotonic() - self._used >= MINUTE:
            mark_used(self._run_cache)
            self._used = time.monotonic()
        if not self._settle(files):
            return
        cache_size = get_cache_size()
        with lock_run(self._run_cache):
            self._download(self._settle(files))  # others may have fetched some in the meantime
            self._check_names(files)
        make_room(os.path.dirname(self._run_cache), cache_size)

    def _download(self, files: Sequence[str]) -> None:
        partial = os.path.join(self._run_cache, "partial")
        _remove(partial)  # of a process that was killed
        os.makedirs(partial)
        copies = [os.path.join(partial, str(number)) for number in range(len(files))]
        try:
            paths = [self.listings.locate(file).path for file in files]
            storage = self.listings.place.storage
            outcomes = storage.fetch_many(list(zip(paths, copies, strict=True)))
            for file, copy, outcome in zip(files, copies, outcomes, strict=True):
                if outcome is None:
                    self._keep(file, copy)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        for file, outcome in zip(files, outcomes, strict=True):
            if outcome is not None:
                if self.listings.get_entry(file) is not None:  # it may be gone since
                    self.listings.forget([posixpath.dirname(file)])
                raise self._explain(outcome)

    def _check_names(self, files: Sequence[str]) -> None:
        """Raise StorageError if a copy replaced another whose name differs only by case."""
        for file in files:
            if not self._is_current(file):
                url = self.listings.get_url(file)
                raise StorageError(f"{url!r} and another name are one name in the cache directory")

    def _explain(self, error: StorageError) -> StorageError:
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return make_cache_error(self._run_cache, cause)
        return error

    def _keep(self, file: str, copy: str) -> None:
        """Move a copy to its place. Killed at any point, this leaves no wrong validator."""
        local, validator = self._get_local(file), self._get_validator_path(file)
        self._clear_way(posixpath.dirname(file))
        if os.path.isdir(local):
            _remove(local)
        os.makedirs(os.path.dirname(validator), exist_ok=True)
        _remove(validator)
        if os.name != "nt":  # Windows does not replace a file that is read only
            os.chmod(copy, 0o444)
        os.replace(copy, local)
        entry = self.listings.get_entry(file)
        with open(copy, "w", encoding="utf-8") as stream:
            json.dump([entry and entry.version, _get_local_validator(local)], stream)
        os.replace(copy, validator)
        self._settled.add(file)

    def _settle(self, files: Sequence[str]) -> list[str]:
        """Settle the files whose copies are current, and return the others."""
        current = set(filter(self._is_current, files))
        self._settled |= current
        return [file for file in files if file not in current]

    def _is_current(self, file: str) -> bool:
        """Whether there is a copy of a file: whole, and of the version that is listed."""
        try:
            with open(self._get_validator_path(file), encoding="utf-8") as stream:
                version, local_validator = json.load(stream)
            if local_validator != _get_local_validator(self._get_local(file)):
                return False
        except (OSError, ValueError):
            return False
        if file in self._settled:
            return True
        entry = self.listings.get_entry(file)
        return entry is not None and entry.version is not None and entry.version == version

    def make_folder(self, folder: str) -> str:
        """Return the local path of a folder, made unless it exists. Nothing is fetched."""
        local = self._get_local(folder)
        if not os.path.isdir(local):
            with lock_run(self._run_cache):
                self._clear_way(folder)
        return local

    def _clear_way(self, folder: str) -> None:
        """Make a folder, and remove files of an earlier time that stand in its way."""
        names = folder.split("/")
        for depth in range(1, len(names) + 1):
            local = self._get_local("/".join(names[:depth]))
            if os.path.isfile(local):
                _remove(local)
        os.makedirs(self._get_local(folder), exist_ok=True)

    def _get_local(self, relative: str) -> str:
        return os.path.join(self._files, *relative.split("/")) if relative else self._files

    def _get_validator_path(self, file: str) -> str:
        digest = hashlib.sha256(file.encode("utf-8", "surrogatepass")).hexdigest()
        return os.path.join(self._run_cache, "validators", digest)


def _get_local_validator(local: str) -> list[int]:
    """Return the copy's part of a validator, which changes when the copy is replaced or cut."""
    status = os.stat(local)
    return [status.st_ino, status.st_size, status.st_mtime_ns]


def _remove(local: str) -> None:
    """Remove a file or a folder, if it is there."""
    if os.path.isdir(local):
        shutil.rmtree(local)
    elif os.path.lexists(local):
        os.remove(local)
