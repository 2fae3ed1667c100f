"""The artifacts of one remote run: listed on the storage, and fetched into the cache."""

from __future__ import annotations

import errno
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
    get_run_cache,
    lock_run,
    make_cache_error,
    make_room,
    mark_used,
)
from kedro_hydraflow.artifacts.copies import READ_ONLY, RunCopies, remove
from kedro_hydraflow.artifacts.listings import FolderListings, describe_nearest
from kedro_hydraflow.cache_dir import make_private_folder
from kedro_hydraflow.errors import IncompleteCopyError, NotFoundError, StorageError
from kedro_hydraflow.limits import get_cache_size
from kedro_hydraflow.logs import get_logger
from kedro_hydraflow.storage import Download, Entry
from kedro_hydraflow.storage.local import is_file_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from kedro_hydraflow.artifacts.listings import Listing
    from kedro_hydraflow.storage import Place

logger = get_logger(__name__)


class RunArtifacts:
    """The artifacts of one run: their listings, and their copies in the cache.

    Files and folders are given by their paths relative to the artifacts directory, with ``/``
    between names. The listings are not pickled.

    Args:
        place: The artifacts directory.
    """

    __slots__ = ("_copies", "_current", "_used", "listings", "root")

    def __init__(self, place: Place) -> None:
        self.listings = FolderListings(place)
        directory = get_run_cache(place)
        names = [*filter(is_file_name, (place.parent.name, place.name))]  # shown in the paths
        self.root = str(Path(directory, NOT_FETCHED, *names))
        """The text of the artifacts directory's `ArtifactPath`."""
        self._copies = RunCopies(directory, names)
        self._current: set[str] = set()
        """The files whose copy has been current once. From then on, the copy counts as current."""
        self._used = time.monotonic() - MINUTE

    def __reduce__(self) -> tuple[Any, ...]:
        return RunArtifacts, (self.listings.place,)

    def contains(self, text: str) -> bool:
        """Whether a path is the artifacts directory or below it."""
        return text == self.root or text.startswith(self.root + os.sep)

    def to_relative(self, text: str) -> str:
        """Return a path relative to the artifacts directory.

        Raises:
            StorageError: If ``..`` leads out of the directory.
        """
        relative = posixpath.normpath(text[len(self.root) + 1 :].replace(os.sep, "/"))
        if relative.split("/")[0] == ".." or "\0" in relative:
            url = self.listings.get_url("")
            raise StorageError(f"{relative!r} is not in the artifacts directory {url!r}")
        return "" if relative == "." else relative

    def find(self, relative: str) -> Entry | None:
        """Return the entry of a file or folder, None if there is none.

        Raises:
            StorageError: If the storage denies access or cannot be reached.
        """
        folder, name = posixpath.split(relative)
        try:
            (listing,) = self.listings.get_all([folder])
        except StorageError:
            if not relative:
                raise
            # A file may be readable even if its folder cannot be listed.
            return self._find_file(relative)
        if isinstance(listing, NotFoundError):
            return None
        if not relative:
            return Entry("", is_dir=True)
        # Web servers hide some names, and list no validators.
        if name in listing or any(entry.validator is not None for entry in listing.values()):
            return listing.get(name)
        return self._find_unlisted(relative)

    def _find_unlisted(self, relative: str) -> Entry | None:
        with suppress(StorageError):  # fetching it as a file raises a clearer error
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
        """Fetch a file, or a folder with all that it holds, and return the local path.

        Raises:
            NotFoundError: If there is no such file or folder.
            StorageError: If it cannot be fetched, if the cache cannot be written to, or if a
                copy that this object gave out has been overwritten.
        """
        entry = self.find(relative) or (self._find_unlisted(relative) if relative else None)
        if entry is None:
            # Without a request: code may try an artifact that only some runs have.
            hint = describe_nearest(relative, self.listings.list_known())
            url = self.listings.get_url(relative)
            raise NotFoundError(f"there is no {url!r}{'; ' if hint else ''}{hint}")
        if relative:
            self.listings.check_complete(*posixpath.split(relative))
        if entry.is_dir:
            self._fetch_folder(relative)
        else:
            self._fetch_files([relative])
        return self._copies.get_path(relative)

    def _fetch_folder(self, folder: str) -> None:
        tree = self._fetch_tree(folder)
        if any(self._iter_others(tree)):
            # Either removed from the storage, or fetched by a process with a newer listing.
            self.listings.forget(tree)
            tree = self._fetch_tree(folder)
            with lock_run(self._copies.directory):
                for other in sorted(self._iter_others(tree)):
                    if self._copies.is_made_by_cache(other):
                        remove(self._copies.get_path(other))
                    else:
                        self._set_aside(other)

    def _fetch_tree(self, folder: str) -> dict[str, Listing]:
        tree = self.listings.get_tree(folder)
        for listed in tree:
            self.listings.check_complete(listed)
        self._fetch_files(
            posixpath.join(folder, name)
            for folder, listing in tree.items()
            for name, entry in listing.items()
            if not entry.is_dir
        )
        for folder in tree:
            self.make_folder(folder)
        return tree

    def _iter_others(self, tree: dict[str, Listing]) -> Iterator[str]:
        """Yield the local files and folders that are not listed."""
        for folder, listing in tree.items():
            try:
                found = os.listdir(self._copies.get_path(folder))
            except OSError as exc:
                raise make_cache_error(self._copies.directory, exc) from exc
            for name in found:
                other = posixpath.join(folder, name)
                if name not in listing and other not in self._current:
                    yield other

    def _fetch_files(self, files: Iterable[str]) -> None:
        files = list(files)
        if time.monotonic() - self._used >= MINUTE:
            mark_used(self._copies.directory)
            self._used = time.monotonic()
        if not self._update_current(files):
            return
        cache_size = get_cache_size()
        with lock_run(self._copies.directory):
            outdated = self._update_current(files)  # others may have fetched some meanwhile
            self._set_overwritten_aside(outdated)
            self._download(outdated)
            self._check_names(files)
        make_room(os.path.dirname(self._copies.directory), cache_size)

    def _set_overwritten_aside(self, files: Sequence[str]) -> None:
        """Move overwritten copies away, so that they can be fetched again.

        Raises:
            StorageError: If this object handed out one of the copies. The program may have
                written to it, and would continue as if the artifact had changed. For other
                copies, a warning is enough.
        """
        overwritten = [file for file in files if self._copies.check(file).is_overwritten]
        messages = {file: self._set_aside(file) for file in overwritten}
        for file in overwritten:
            if file in self._current:
                raise StorageError(messages[file])

    def _set_aside(self, relative: str) -> str:
        """Move aside a file or folder that the cache did not write; log and return a warning."""
        aside = self._copies.set_aside(relative)
        message = (
            f"{self.listings.get_url(relative)!r} was written to the cache, not to the storage: "
            f"{READ_ONLY}. What was written is now in {aside!r}"
        )
        logger.warning("%s", message)
        return message

    def _download(self, files: Sequence[str]) -> None:
        outcomes = self._try_download(files)
        short = [f for f, error in outcomes.items() if isinstance(error, IncompleteCopyError)]
        changed = self._find_changed(short)
        outcomes |= self._try_download(changed)
        for file, error in outcomes.items():
            if error is not None:
                if self.listings.get_entry(file) is not None:  # it may have been removed
                    self.listings.forget([posixpath.dirname(file)])
                raise self._explain(error)

    def _find_changed(self, files: Sequence[str]) -> list[str]:
        """List folders anew, and return the files that have changed since they were listed."""
        before = {file: self.listings.get_entry(file) for file in files}
        folders = {posixpath.dirname(file) for file in files}
        self.listings.forget(folders)
        with suppress(StorageError):  # the error of fetching the files says more
            self.listings.get_all([*folders])
        return [f for f in files if self.listings.get_entry(f) not in (None, before[f])]

    def _try_download(self, files: Sequence[str]) -> dict[str, StorageError | None]:
        """Fetch files; return for each None, or the error."""
        if not files:
            return {}
        partial = os.path.join(self._copies.directory, "partial")
        remove(partial)  # left by a process that was killed
        make_private_folder(partial)
        targets = [os.path.join(partial, str(number)) for number in range(len(files))]
        try:
            entries = [self.listings.get_entry(file) for file in files]
            downloads = [
                Download(self.listings.get_place(file).path, target, entry and entry.size)
                for file, target, entry in zip(files, targets, entries, strict=True)
            ]
            outcomes = self.listings.place.storage.fetch_many(downloads)
            for file, target, entry, error in zip(files, targets, entries, outcomes, strict=True):
                if error is None:
                    self._copies.add(file, target, entry and entry.validator)
                    self._current.add(file)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return dict(zip(files, outcomes, strict=True))

    def _check_names(self, files: Sequence[str]) -> None:
        """Raise StorageError if the copies of two files have the same local name."""
        for file in files:
            if not self._is_current(file):
                url = self.listings.get_url(file)
                raise StorageError(
                    f"{url!r} and another artifact have the same name in the cache: the local "
                    "filesystem ignores case"
                )

    def _explain(self, error: StorageError) -> StorageError:
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return make_cache_error(self._copies.directory, cause)
        return error

    def _update_current(self, files: Sequence[str]) -> list[str]:
        """Remember the files with a current copy, and return the others."""
        current = set(filter(self._is_current, files))
        self._current |= current
        return [file for file in files if file not in current]

    def _is_current(self, file: str) -> bool:
        """Whether there is a complete copy of a file that matches the listing."""
        copy = self._copies.check(file)
        if not copy.is_whole or file in self._current:
            return copy.is_whole
        entry = self.listings.get_entry(file)
        return (
            entry is not None and entry.validator is not None and entry.validator == copy.validator
        )

    def make_folder(self, folder: str) -> str:
        """Return the local path of a folder, created if needed. Nothing is fetched."""
        local = self._copies.get_path(folder)
        if not os.path.isdir(local):
            with lock_run(self._copies.directory):
                self._copies.make_folder(folder)
        return local
