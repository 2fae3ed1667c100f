"""The index: what was read of runs before, so that the next load reads only the rest.

`LocalIndex` is a cache in a file of the user's cache directory. The file may be removed at any
time. If it is damaged, locked or cannot be written, runs are read again; that is never an error.
For the index that a team shares, see `shared_index`.

Each entry has a *validator*, and is valid as long as the validator stays the same:

- Where a storage has validators of files (`Storage.has_validators`), it is that of the file, from
  before it was read.
- On other remote storage the validator is `SETTLED`. It is given to data that is assumed not to
  change any more: the data of a finished run, and the name of an experiment. The assumption may
  be wrong, so this is opt-in (``is_requested``).

Either way nothing is remembered for longer than 90 days.
"""

from __future__ import annotations

import logging
import os
import re
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING, Any, TypeVar

from typing_extensions import override

from kedro_hydraflow.cache_dir import expand_home, get_cache_dir
from kedro_hydraflow.errors import OptionError, StorageError, describe
from kedro_hydraflow.exact_json import no_garbage
from kedro_hydraflow.index_file import FILE_NAME, IndexFile
from kedro_hydraflow.logs import get_logger
from kedro_hydraflow.storage import is_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from kedro_hydraflow.exact_json import Facts
    from kedro_hydraflow.storage import Storage

    IndexOption = bool | str | os.PathLike[str] | None

T = TypeVar("T")

logger = get_logger(__name__)

_LOOKS_LIKE_PATH = re.compile(r"^[.~]|[/\\]")
"""Matches a text that is a path, rather than a mistyped ``true``."""

SETTLED = "settled"
"""The validator of what is assumed not to change any more, where files have none."""


class Index:
    """No index: nothing is remembered. It is also the base class of those that are one."""

    def covers(self, storage: Storage) -> bool:  # noqa: ARG002 - for subclasses
        """Whether it may know runs on a storage."""
        return False

    def assumes_unchanged(self, storage: Storage) -> bool:  # noqa: ARG002 - for subclasses
        """Whether what is known of a storage counts without asking whether it was changed."""
        return False

    def notes_settled(self, storage: Storage) -> bool:  # noqa: ARG002 - for subclasses
        """Whether what is read is remembered if it is `SETTLED`: files have no validators."""
        return False

    def choose_validators(
        self, storage: Storage, validators: Sequence[str | None], are_settled: Iterable[bool]
    ) -> Sequence[str | None]:
        """Return the validators for `Recalled.complete`.

        Args:
            storage: What holds the runs.
            validators: Those of the files.
            are_settled: Whether what was read is assumed not to change any more. That counts
                where files have no validators.
        """
        if not self.notes_settled(storage):
            return validators
        return [SETTLED if is_settled else None for is_settled in are_settled]

    def recall(
        self,
        kind: str,
        storage: Storage,
        run_dirs: Sequence[str],
        file: str | None = None,
        is_valid: Callable[[Facts], bool] | None = None,
    ) -> Recalled:
        """Return the known values of runs, to be completed with `Recalled.complete`.

        Args:
            kind: What of the runs, such as ``config``.
            storage: What holds the runs.
            run_dirs: The run directories.
            file: The file in a run directory whose validator counts. Without one, only what is
                `SETTLED` is known.
            is_valid: Whether an entry can be of the kind: another program may have written the
                index. By default, all can.
        """
        values: list[Facts | None] = [None] * len(run_dirs)
        for i, facts in self._find(kind, storage, run_dirs, file).items():
            if is_valid is None or is_valid(facts):
                values[i] = facts
        return Recalled(self, kind, storage, run_dirs, values)

    def _find(
        self,
        kind: str,  # noqa: ARG002 - for subclasses
        storage: Storage,  # noqa: ARG002
        run_dirs: Sequence[str],  # noqa: ARG002
        file: str | None,  # noqa: ARG002
    ) -> Mapping[int, Facts]:
        """Return what is known by the positions of the runs, for `recall`."""
        return {}

    def put(
        self,
        kind: str,
        storage: Storage,
        runs: Iterable[tuple[str, str | None, Facts | object]],
    ) -> None:
        """Remember data about runs, if the index does: all of it or, if that fails, none.

        Args:
            kind: As for `recall`.
            storage: What holds the runs.
            runs: For each its directory, its validator from before it was read, and what was
                read. Runs without a validator, or of which no mapping was read, are left out.
        """


class LocalIndex(Index):
    """What was read of runs before, in a local file. After a failure, which is logged, it is empty.

    Args:
        directory: Where its file is, or will be.
        is_requested: Whether the user asked for it. Then it covers remote storage too, and a
            failure is a warning.
    """

    def __init__(self, directory: str, *, is_requested: bool) -> None:
        self._file: IndexFile | None = IndexFile(os.path.join(directory, FILE_NAME))
        self._is_requested = is_requested

    @override
    def covers(self, storage: Storage) -> bool:
        return self._file is not None and (
            storage.has_validators or self.assumes_unchanged(storage)
        )

    @override
    def assumes_unchanged(self, storage: Storage) -> bool:
        is_asked = self._file is not None and self._is_requested
        return is_asked and storage.is_remote and not storage.has_validators

    @override
    def notes_settled(self, storage: Storage) -> bool:
        return self.assumes_unchanged(storage)

    @override
    def _find(
        self, kind: str, storage: Storage, run_dirs: Sequence[str], file: str | None
    ) -> Mapping[int, Facts]:
        if not self.covers(storage):
            return {}
        known = self._read(_group_by_kind_and_folder(kind, storage, zip(run_dirs, count())))
        validators: list[str | None] = [SETTLED] * len(known)
        if storage.has_validators and file is not None:
            suffix = storage.sep + file.replace("/", storage.sep)
            validators = storage.get_validators([run_dirs[i] + suffix for i in known])
        pairs = zip(known.items(), validators, strict=True)
        return {i: facts for (i, (old, facts)), validator in pairs if old == validator}

    @override
    def put(
        self,
        kind: str,
        storage: Storage,
        runs: Iterable[tuple[str, str | None, Facts | object]],
    ) -> None:
        file = self._file
        if file is None or not self.covers(storage):
            return
        with self._giving_up(file), no_garbage():
            entries = (
                (run_dir, (validator, facts))
                for run_dir, validator, facts in runs
                if validator is not None and type(facts) is dict
            )
            folders = _group_by_kind_and_folder(kind, storage, entries)
            if folders:
                file.write(folders)

    def _read(self, folders: dict[str, dict[str, int]]) -> dict[int, tuple[str, Facts]]:
        """Return the latest validators and facts of runs by their positions."""
        known: dict[int, tuple[str, Facts]] = {}
        file = self._file
        if file is not None:
            with self._giving_up(file), no_garbage():
                for folder, entries in file.read(folders):
                    positions = folders[folder]
                    known.update(
                        (positions[name], entry)
                        for name, entry in entries.items()
                        if name in positions
                    )
        return known

    @contextmanager
    def _giving_up(self, file: IndexFile) -> Iterator[None]:
        """Log an error that the block raises, and disable the index. Rename a damaged file."""
        import sqlite3  # here, because many loads do not use an index

        path = file.path
        try:
            yield
        except OptionError:
            raise
        except (sqlite3.Error, OSError, ValueError, TypeError, LookupError, RecursionError) as exc:
            # What SQLite, files and JSON raise, whatever the file holds.
            self._file = None
            reason = describe(exc)
            if not isinstance(exc, (sqlite3.OperationalError, OSError)):  # damaged or foreign
                try:
                    os.replace(path, f"{path}.unusable")
                    reason += "; it was renamed to *.unusable, and the next load creates a new one"
                except (OSError, ValueError) as failure:
                    reason += f"; and it cannot be renamed: {describe(failure)}"
            level = logging.WARNING if self._is_requested else logging.DEBUG
            logger.log(level, "the index %s is not used: %s", path, reason)


class Recalled:
    """The cached values of runs, to be completed with those that are read.

    Attributes:
        values: The value of each run, None if it is not cached. Do not modify it: runs share
            parts.
        unknown: The positions of the runs whose value is not cached.
    """

    def __init__(
        self,
        index: Index,
        kind: str,
        storage: Storage,
        run_dirs: Sequence[str],
        values: list[Facts | None],
    ) -> None:
        self._index = index
        self._kind = kind
        self._storage = storage
        self._run_dirs = run_dirs
        self.values = values
        self.unknown = [i for i, value in enumerate(values) if value is None]

    def complete(self, read: Sequence[Any], validators: Sequence[str | None]) -> list[Any]:
        """Return the cached or read value of each run; cache those that were read.

        Args:
            read: What was read of the runs at `unknown`.
            validators: Their validators, from before they were read.
        """
        values: list[Any] = [*self.values]
        for i, value in zip(self.unknown, read, strict=True):
            values[i] = value
        run_dirs = [self._run_dirs[i] for i in self.unknown]
        self._index.put(self._kind, self._storage, zip(run_dirs, validators, read, strict=True))
        return values


NO_INDEX = Index()


def open_local_index(option: IndexOption) -> Index:
    """Return the local index that an option asks for. Its file is open only while it is used.

    Args:
        option: A directory for its file; None or True for the default one, False for none.
    """
    if option is False:
        return NO_INDEX
    is_requested = option is not None
    try:
        if option is None or option is True:
            return LocalIndex(get_cache_dir("index"), is_requested=is_requested)
        return LocalIndex(expand_home(os.fspath(option), "index"), is_requested=True)
    except StorageError as exc:
        _log_unused(exc, is_requested=is_requested)
        return NO_INDEX


def _log_unused(reason: object, *, is_requested: bool) -> None:
    level = logging.WARNING if is_requested else logging.DEBUG
    logger.log(level, "the index is not used: %s", reason)


def check_index(option: Any) -> None:
    """Raise OptionError unless the option is one for an index."""
    if not isinstance(option, (bool, str, os.PathLike, type(None))) or option == "":
        raise OptionError(
            f"index: expected true, false, a directory to keep it in or the URL of a shared one, "
            f"found {option!r}"
        )
    if isinstance(option, str) and not is_url(option) and not _LOOKS_LIKE_PATH.search(option):
        raise OptionError(
            f"index: expected true, false or a directory, found {option!r}; for a directory of "
            f"that name, write './{option}'"
        )


def _group_by_kind_and_folder(
    kind: str, storage: Storage, runs: Iterable[tuple[str, T]]
) -> dict[str, dict[str, T]]:
    """Return what belongs to runs by folder, here with the kind in front, and by name."""
    folders = group_by_folder(storage, runs)
    return {f"{kind} {storage.get_identity(folder)}": names for folder, names in folders.items()}


def group_by_folder(storage: Storage, runs: Iterable[tuple[str, T]]) -> dict[str, dict[str, T]]:
    """Return what belongs to runs, given with their directories, by folder and by name.

    Names that are not ASCII, some of which SQLite cannot hold, are left out.
    """
    folders: dict[str, dict[str, T]] = {}
    sep = storage.sep
    last: str | None = None
    for path, value in runs:
        folder, _, name = path.rpartition(sep)
        if folder != last:  # runs of a folder follow each other
            of_folder, last = folders.setdefault(folder, {}), folder
        if name.isascii():
            of_folder[name] = value
    return {folder: of_folder for folder, of_folder in folders.items() if of_folder}
