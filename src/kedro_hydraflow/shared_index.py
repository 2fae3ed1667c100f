"""An index that a team shares: what one of them published, all of them read in a few requests.

It is a folder on any storage, with parts (`index_part`) that are never changed. A part's name has
the time of its publication and a digest of its content, so that a half-written one is known as
such, and writers need no locks. Where several parts know a run, the newest counts. A writer that
merges parts removes them only after it has written their content again. A part that is removed
between listing and reading is looked for in a new listing.

Directories are known by their path relative to the index where that is possible, as
``../803221166256626715``, so that a bucket may be copied, or mounted.
"""

from __future__ import annotations

import re
import time
from contextlib import contextmanager
from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple

from typing_extensions import override

from kedro_hydraflow.errors import NotFoundError, StorageError, describe
from kedro_hydraflow.forks import ADVICE, lacks_threads
from kedro_hydraflow.index import Index, group_by_folder
from kedro_hydraflow.index_part import LOGGED_KINDS, Part
from kedro_hydraflow.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from kedro_hydraflow.index_part import Facts
    from kedro_hydraflow.storage import Place, Storage

logger = get_logger(__name__)

_NAME = re.compile(r"runs-1-(?P<time>\d{20})-(?P<digest>[0-9a-f]{32})\.parquet")
"""The name of a part. The first number is the version of the content."""

_ATTEMPTS = 3
"""How often parts are looked for, if some were removed between listing and reading."""


class PublishedPart(NamedTuple):
    """A part in the folder of an index."""

    name: str
    part: Part


class SharedIndex(Index):
    """The index in a folder. What it knows of a run counts for as long as the run is listed.

    Its parts are read once, on first use. If they cannot be read, which is logged, it is empty.

    Args:
        folder: Where its parts are.
    """

    def __init__(self, folder: Place) -> None:
        self._folder = folder
        self._parts: list[PublishedPart] | None = None

    @override
    def covers(self, storage: Storage) -> bool:
        return True

    @override
    def assumes_unchanged(self, storage: Storage) -> bool:
        return True

    @override
    def _find(
        self, kind: str, storage: Storage, run_dirs: Sequence[str], file: str | None
    ) -> Mapping[int, Facts]:
        folders = {
            self.get_folder(storage, folder): names
            for folder, names in group_by_folder(storage, run_dirs).items()
        }
        known: dict[int, Facts] = {}
        for published in self._get_parts():
            with self._skipping(published.name):
                known.update(_find_in(published.part, kind, folders))
        return known

    def get_folder(self, storage: Storage, folder: str) -> str:
        """Return what a folder of runs or experiments is called in the parts."""
        own = self._folder
        path, where = storage.get_identity(folder), own.parent.storage.get_identity(own.parent.path)
        path, where = (text.replace(storage.sep, "/") for text in (path, where))
        # Of a remote storage it is a URL and, after a space, the server.
        url, _, server = path.partition(" ")
        own_url, _, own_server = where.partition(" ")
        if server == own_server and f"{url}/".startswith(prefix := f"{own_url.rstrip('/')}/"):
            return f"../{url[len(prefix) :]}".rstrip("/")
        return path

    def _get_parts(self) -> list[PublishedPart]:
        """Return the parts, the newest last, or none if they cannot be read."""
        if self._parts is None:
            self._parts = []
            if lacks_threads("polars"):
                reason = "this process was forked from one that had used Polars, and lacks its "
                self._log_unused(f"{reason}threads; {ADVICE}")
                return []
            try:
                self._parts = self.read_parts()
            except NotFoundError:
                self._log_unused("nothing was published there yet; publish_index does it")
            except StorageError as exc:
                self._log_unused(describe(exc))
        return self._parts

    def read_parts(self) -> list[PublishedPart]:
        """Return the parts, read anew, the newest last. Damaged ones are logged and left out.

        Raises:
            NotFoundError: If there is no such folder.
            StorageError: If it cannot be listed, or a part cannot be read.
        """
        contents: dict[str, bytes] = {}
        for _ in range(_ATTEMPTS):
            listed = [e.name for e in self._folder.list() if _NAME.fullmatch(e.name)]
            unread = [name for name in listed if name not in contents]
            places = [self._folder.join(name) for name in unread]
            read = self._folder.storage.read_many([place.path for place in places])
            for name, content in zip(unread, read, strict=True):
                if isinstance(content, Exception):
                    raise content
                if content is not None:
                    contents[name] = content
            if all(content is not None for content in read):
                break
        parts = []
        for name in sorted(contents):
            with self._skipping(name):
                parts.append(PublishedPart(name, _open(name, contents[name])))
        return parts

    @contextmanager
    def _skipping(self, name: str) -> Iterator[None]:
        """Log that a part is skipped if the block raises an error, whatever the part holds."""
        try:
            yield
        except BaseException as exc:
            # Polars panics, with a class of its own, at some files that are not Parquet.
            if not isinstance(exc, Exception) and type(exc).__name__ != "PanicException":
                raise
            logger.warning("skipped %s: %s", self._folder.join(name).url, describe(exc))

    def _log_unused(self, reason: str) -> None:
        logger.warning("the index %s is not used: %s", self._folder.url, reason)

    # Writing ---------------------------------------------------------------------------------

    def write_part(self, content: bytes) -> str:
        """Write the content of a part, and return its name.

        Raises:
            StorageError: If it cannot be written.
        """
        name = f"runs-1-{time.time_ns():020}-{_digest(content)}.parquet"
        place = self._folder.join(name)
        place.storage.write(place.path, content)
        return name

    def remove_part(self, name: str) -> None:
        """Remove a part.

        Raises:
            StorageError: If it cannot be removed.
        """
        place = self._folder.join(name)
        place.storage.remove(place.path)


def _open(name: str, content: bytes) -> Part:
    """Return a part.

    Raises:
        ValueError: If it is not whole.
    """
    if not name.endswith(f"-{_digest(content)}.parquet"):
        raise ValueError("its content is not what its name says: it is not whole, or was changed")
    return Part(content)


def _digest(content: bytes) -> str:
    return blake2b(content, digest_size=16).hexdigest()


def _find_in(
    part: Part, kind: str, folders: Mapping[str, Mapping[str, int]]
) -> Iterator[tuple[int, Facts]]:
    """Yield the positions of runs, given by folder and name, with what a part knows of them."""
    found = {folder: names for folder, names in folders.items() if folder in part.positions}
    if not found:
        return
    of_kind, _, key = kind.partition(".")
    values = part.get_values(of_kind, key) if of_kind in LOGGED_KINDS and key else part.get(kind)
    for folder, names in found.items():
        numbers = part.positions[folder]
        for name, i in names.items():
            number = numbers.get(name)
            facts = None if number is None else values[number]
            if facts is not None:
                yield i, {"value": facts} if kind in LOGGED_KINDS else facts
