"""The copies of a run's artifacts: each one whole, and of the version that is listed."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import posixpath
import shutil
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from kedro_hydraflow.artifacts.cache import (
    MINUTE,
    get_cache_size,
    lock_run,
    make_cache_error,
    make_room,
    mark_used,
)
from kedro_hydraflow.artifacts.listings import Listings, is_file_name
from kedro_hydraflow.cache_dir import get_cache_dir
from kedro_hydraflow.errors import NotFoundError, StorageError
from kedro_hydraflow.storage import Entry

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from kedro_hydraflow.artifacts.listings import Listing
    from kedro_hydraflow.storage import Storage


class Copies:
    """The artifacts of one run: what the storage has, and what of it is here.

    Args:
        storage: What holds the run.
        path: The artifacts directory there.
    """

    def __init__(self, storage: Storage, path: str) -> None:
        self.listings = Listings(storage, path)
        digest = hashlib.sha256(storage.identity(path).encode()).hexdigest()[:32]
        self._run_cache = os.path.join(get_cache_dir("artifacts"), f"run-{digest}")
        run_dir, name = storage.split(path)
        names = [*filter(is_file_name, (storage.split(run_dir)[1], name))]  # as users know them
        self.root = os.path.join(self._run_cache, "not-fetched", *names)
        self._files = os.path.join(self._run_cache, "files", *names)
        self._settled: set[str] = set()
        """Files whose copies were of the listed version at some time, or were made since."""
        self._used = time.monotonic() - MINUTE

    def find(self, relative: str) -> Entry | None:
        """Return what the storage has under a name, None if nothing.

        Raises:
            StorageError: If the storage does not tell.
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
        # Web servers hide some names, and tell no versions.
        if name in listing or any(entry.version is not None for entry in listing.values()):
            return listing.get(name)
        return self._find_unlisted(relative)

    def _find_unlisted(self, relative: str) -> Entry | None:
        with suppress(StorageError):  # asking for a file tells more
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
            NotFoundError: If there is nothing of that name.
            StorageError: If it cannot be fetched, or not be kept.
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
        if any(self._iter_others(below)):  # removed there, or put here by who listed later
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
        if all(map(self._is_current, files)):
            return
        cache_size = get_cache_size()
        with lock_run(self._run_cache):
            self._download([file for file in files if not self._is_current(file)])
            self._check_names(files)
        make_room(os.path.dirname(self._run_cache), cache_size)

    def _download(self, files: Sequence[str]) -> None:
        partial = os.path.join(self._run_cache, "partial")
        _remove(partial)  # of a process that was killed
        os.makedirs(partial)
        copies = [os.path.join(partial, str(number)) for number in range(len(files))]
        try:
            pairs = list(zip(map(self.listings.locate, files), copies, strict=True))
            outcomes = self.listings.storage.fetch_many(pairs)
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
        """Raise if a copy took the place of another, as where case makes no difference."""
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
        """Move a copy to its place. Killed at any point, this leaves no wrong stamp."""
        local, stamp = self._get_local(file), self._get_stamp(file)
        self._clear_way(posixpath.dirname(file))
        if os.path.isdir(local):
            _remove(local)
        os.makedirs(os.path.dirname(stamp), exist_ok=True)
        _remove(stamp)
        if os.name != "nt":  # where what is read only cannot be replaced
            os.chmod(copy, 0o444)
        os.replace(copy, local)
        entry = self.listings.get_entry(file)
        with open(copy, "w", encoding="utf-8") as stream:
            json.dump([entry and entry.version, _get_fingerprint(local)], stream)
        os.replace(copy, stamp)
        self._settled.add(file)

    def _is_current(self, file: str) -> bool:
        """Tell whether a file's copy is here, whole, and of the version that is listed."""
        try:
            with open(self._get_stamp(file), encoding="utf-8") as stream:
                version, fingerprint = json.load(stream)
            if fingerprint != _get_fingerprint(self._get_local(file)):
                return False
        except (OSError, ValueError):
            return False
        entry = self.listings.get_entry(file)
        if entry is not None and entry.version is not None and entry.version == version:
            self._settled.add(file)
        return file in self._settled

    def make_folder(self, folder: str) -> str:
        """Return the local path of a folder, which is there, with whatever is in it."""
        local = self._get_local(folder)
        if not os.path.isdir(local):
            with lock_run(self._run_cache):
                self._clear_way(folder)
        return local

    def _clear_way(self, folder: str) -> None:
        """Make a folder, in place of files that became folders."""
        names = folder.split("/")
        for depth in range(1, len(names) + 1):
            local = self._get_local("/".join(names[:depth]))
            if os.path.isfile(local):
                _remove(local)
        os.makedirs(self._get_local(folder), exist_ok=True)

    def _get_local(self, relative: str) -> str:
        return os.path.join(self._files, *relative.split("/")) if relative else self._files

    def _get_stamp(self, file: str) -> str:
        digest = hashlib.sha256(file.encode("utf-8", "surrogatepass")).hexdigest()
        return os.path.join(self._run_cache, "stamps", digest)


def _get_fingerprint(local: str) -> list[int]:
    """Return what tells a copy from any other that takes its place, or from a part of it."""
    status = os.stat(local)
    return [status.st_ino, status.st_size, status.st_mtime_ns]


def _remove(local: str) -> None:
    """Remove a file or a folder, if it is there."""
    if os.path.isdir(local):
        shutil.rmtree(local)
    elif os.path.lexists(local):
        os.remove(local)
