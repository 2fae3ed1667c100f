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
from contextlib import contextmanager
from functools import cached_property
from hashlib import blake2b
from itertools import count
from typing import TYPE_CHECKING, NamedTuple

from typing_extensions import override

from kedro_hydraflow.errors import (
    KedroHydraflowError,
    NotFoundError,
    StorageError,
    UnreachableError,
    describe,
)
from kedro_hydraflow.forks import ADVICE, lacks_threads
from kedro_hydraflow.index import Index, group_by_folder
from kedro_hydraflow.index_part import LOGGED_KINDS, Part
from kedro_hydraflow.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from kedro_hydraflow.exact_json import Facts
    from kedro_hydraflow.storage import Place, Storage

logger = get_logger(__name__)

_NAME = re.compile(r"runs-1-(?P<number>\d{20})-(?P<digest>[0-9a-f]{32})\.parquet")
"""The name of a part. The first number is the version of the content."""

_ATTEMPTS = 3
"""How often parts are looked for, if some were removed between listing and reading."""


class PublishedPart(NamedTuple):
    """A part in the folder of an index."""

    name: str
    part: Part


class PublishedParts(NamedTuple):
    """The parts in the folder of an index."""

    parts: list[PublishedPart]
    """The newest last."""

    damaged: list[str]
    """The names of those that cannot be read."""

    @property
    def newest(self) -> int:
        """The largest number of a part."""
        matches = (_NAME.fullmatch(published.name) for published in self.parts)
        return max((int(match["number"]) for match in matches if match), default=0)


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
            for folder, names in group_by_folder(storage, zip(run_dirs, count())).items()
        }
        known: dict[int, Facts] = {}
        for published in self._get_parts():
            with self.skipping(published.name):
                known.update(_find_in(published.part, kind, folders))
        return known

    def get_folder(self, storage: Storage, folder: str) -> str:
        """Return what a folder of runs or experiments is called in the parts."""
        url, server = _identify(storage, folder)
        own_url, own_server = self._own
        prefix = f"{own_url.rpartition('/')[0]}/"
        if server == own_server and f"{url}/".startswith(prefix):
            return f"../{url[len(prefix) :]}".rstrip("/")
        return f"{url}{server}"

    @cached_property
    def _own(self) -> tuple[str, str]:
        """The URL and the server of the index."""
        return _identify(self._folder.storage, self._folder.path)

    def _get_parts(self) -> list[PublishedPart]:
        """Return the parts, the newest last, or none if they cannot be read."""
        if self._parts is None:
            self._parts = []
            if lacks_threads("polars"):
                reason = "this process was forked from one that had used Polars, and lacks its "
                self._log_unused(f"{reason}threads; {ADVICE}")
                return []
            try:
                self._parts = self.read_parts().parts
            except NotFoundError:
                self._log_unused("nothing was published there yet; publish_index does it")
            except StorageError as exc:
                self._log_unused(describe(exc))
        return self._parts

    def read_parts(self) -> PublishedParts:
        """Return the parts, read anew. Damaged ones are logged and left out.

        Raises:
            NotFoundError: If there is no such folder.
            StorageError: If it cannot be listed, or the storage does not answer.
        """
        contents: dict[str, bytes | KedroHydraflowError] = {}
        for _ in range(_ATTEMPTS):
            entries = self._folder.list()
            names = [e.name for e in entries if not e.is_dir and _NAME.fullmatch(e.name)]
            unread = [name for name in names if name not in contents]
            places = [self._folder.join(name) for name in unread]
            read = self._folder.storage.read_many([place.path for place in places])
            for name, content in zip(unread, read, strict=True):
                if isinstance(content, UnreachableError):
                    raise content
                if content is not None:
                    contents[name] = content
            if all(content is not None for content in read):
                break
        parts = []
        for name in sorted(contents):
            with self.skipping(name):
                parts.append(PublishedPart(name, _open(name, contents[name])))
        good = {published.name for published in parts}
        return PublishedParts(parts, [name for name in contents if name not in good])

    @contextmanager
    def skipping(self, name: str) -> Iterator[None]:
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

    def write_part(self, content: bytes, number: int) -> None:
        """Write the content of a part.

        Args:
            content: The content.
            number: What is larger for newer parts: nanoseconds since 1970.

        Raises:
            StorageError: If it cannot be written.
        """
        name = f"runs-1-{number:020}-{_digest(content)}.parquet"
        place = self._folder.join(name)
        place.storage.write(place.path, content)

    def remove_part(self, name: str) -> None:
        """Remove a part.

        Raises:
            StorageError: If it cannot be removed.
        """
        place = self._folder.join(name)
        place.storage.remove(place.path)


def _identify(storage: Storage, path: str) -> tuple[str, str]:
    """Return the URL or absolute path of a folder with ``/`` between names, and its server."""
    identity = storage.get_identity(path)
    url = storage.get_url(path) if storage.is_remote else identity
    server = identity.removeprefix(url)
    return url.replace(storage.sep, "/").rstrip("/ "), server.strip()


def _open(name: str, content: bytes | KedroHydraflowError) -> Part:
    """Return a part.

    Raises:
        KedroHydraflowError: If it could not be read.
        ValueError: If it is not whole.
    """
    if isinstance(content, KedroHydraflowError):
        raise content
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
