"""What has been read of runs already, so that the next load reads only the rest.

The index is an SQLite file in the user's cache directory. It is a cache: it may be removed
at any time, and whatever is wrong with it ends in reading runs again, never in an error.

What it holds of a run comes with a *validator*, and counts as long as that stays the same:

- Where a storage has validators of files (`Storage.has_validators`), it is that of the file from
  before it was read.
- On remote storage it is `SETTLED`, by these rules: nobody changes a run that has ended, or
  the name of an experiment. They may be broken, so they are followed only on request.

Either way nothing is remembered for longer than `MAX_DAYS`.

The file has blocks of up to `_BLOCK_SIZE` runs of one folder, each one JSON text, because
that is read faster than a row for each run. JSON holds no code, and what it does
not give back exactly (bytes, paths, keys that are no text) is not remembered.
"""

from __future__ import annotations

import json
import logging
import os
import time
import zlib
from contextlib import closing, contextmanager
from hashlib import blake2b
from itertools import chain
from typing import TYPE_CHECKING, Any

from kedro_hydraflow.cache_dir import get_cache_dir
from kedro_hydraflow.errors import OptionError, describe

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator, Sequence

    from kedro_hydraflow.storage import Storage

    Facts = dict[str, Any]
    """What is remembered of a run: a configuration, or what ``meta.yaml`` says."""

    Entries = dict[str, tuple[str, Facts]]
    """The validators and facts of runs by the runs' names."""

    IndexOption = bool | str | os.PathLike[str] | None

logger = logging.getLogger(__name__)

FILE_NAME = "kedro-hydraflow-index-1.sqlite"
"""Named after the version of what is in it: each version has its own file."""

SETTLED = "settled"
"""The validator of what is not expected to change, on a storage that has none."""

MAX_DAYS = 90
"""The index begins anew after so many days."""

MAX_BYTES = 500 * 10**6
"""The index begins anew, but not twice a day, when it is larger."""

_BLOCK_SIZE = 2000
"""How many runs a block has at most. One block at a time is in memory."""

_TIMEOUT = 1.0
"""Seconds to wait for another process. To read the runs again does not take much longer."""

_APPLICATION_ID = 0x6B686678
"""What marks an SQLite file as this index."""

_SCHEMA = """
    CREATE TABLE blocks (
        id INTEGER PRIMARY KEY, folder INTEGER, first TEXT, last TEXT,
        runs INTEGER, checksum INTEGER, json BLOB
    );
    CREATE INDEX blocks_of_folder ON blocks (folder, last);
"""

_TEXT = frozenset({str})
_CONTAINERS = (dict, list)
_KINDS = frozenset({str, int, float, bool, type(None), *_CONTAINERS})
"""The types that JSON gives back."""


class Index:
    """What is known of runs. Once it fails it says so in the log, and knows nothing.

    Args:
        directory: Where its file is, or will be; None for no index.
        is_requested: Whether the user asked for it: it covers remote storage, too, and a
            failure is a warning.
    """

    def __init__(self, directory: str | None, *, is_requested: bool) -> None:
        self._path = None if directory is None else os.path.join(directory, FILE_NAME)
        self._is_requested = is_requested

    def covers(self, storage: Storage) -> bool:
        """Return whether runs on a storage are remembered."""
        return self._path is not None and (
            storage.has_validators or self.assumes_unchanged(storage)
        )

    def assumes_unchanged(self, storage: Storage) -> bool:
        """Return whether runs on a storage are remembered by rules, for want of validators."""
        is_asked = self._path is not None and self._is_requested
        return is_asked and storage.is_remote and not storage.has_validators

    def choose_validators(
        self, storage: Storage, validators: Sequence[str | None], are_settled: Iterable[bool]
    ) -> Sequence[str | None]:
        """Return the validators for `Recalled.complete`.

        Args:
            storage: What holds the runs.
            validators: Those of the files, which count where there are any.
            are_settled: Whether what was read is not expected to change, by the rules.
        """
        if not self.assumes_unchanged(storage):
            return validators
        return [SETTLED if is_settled else None for is_settled in are_settled]

    def recall(
        self, kind: str, storage: Storage, run_dirs: Sequence[str], file: str | None = None
    ) -> Recalled:
        """Return what is known of runs, to be completed.

        Args:
            kind: What of the runs, such as ``config``.
            storage: What holds the runs.
            run_dirs: The run directories.
            file: The file in a run directory that it is read from, whose validator counts.
                Without one, only what is `SETTLED` is known.
        """
        values: list[Facts | None] = [None] * len(run_dirs)
        if not self.covers(storage):
            return Recalled(self, kind, storage, run_dirs, values)
        known = {}
        for i, (validator, facts) in self._read(_group_by_folder(kind, storage, run_dirs)):
            known[i] = validator
            values[i] = facts
        now: list[str | None] = [SETTLED] * len(known)
        if storage.has_validators and file is not None:
            suffix = storage.sep + file.replace("/", storage.sep)
            now = storage.get_validators([run_dirs[i] + suffix for i in known])
        for (i, validator), validator_now in zip(known.items(), now, strict=True):
            if validator != validator_now:
                values[i] = None
        return Recalled(self, kind, storage, run_dirs, values)

    def put(
        self,
        kind: str,
        storage: Storage,
        runs: Iterable[tuple[str, str | None, Facts | object]],
    ) -> None:
        """Remember something of runs: all of it or, if that fails, nothing.

        Args:
            kind: As for `recall`.
            storage: What holds the runs.
            runs: For each its directory, its validator from before it was read, and what was
                read. Left out are those without a validator, and whatever is no mapping.
        """
        known = [run for run in runs if run[1] is not None and type(run[2]) is dict]
        if not known or not self.covers(storage):
            return
        folders = _group_by_folder(kind, storage, [run_dir for run_dir, _, _ in known])
        self._write(
            (folder, {name: known[i][1:] for name, i in names.items()})  # type: ignore[misc]
            for folder, names in folders.items()
        )

    def _read(self, folders: dict[int, dict[str, int]]) -> Iterator[tuple[int, tuple[str, Facts]]]:
        """Yield what is known of runs by their positions, the latest last."""
        if self._path is None or not os.path.exists(self._path):
            return
        with self._giving_up(), closing(_connect(self._path)) as connection:
            if _is_outdated(connection):
                return
            for folder, names in folders.items():
                for entries in _read_blocks(connection, folder, names):
                    yield from ((names[name], entries[name]) for name in entries if name in names)

    def _write(self, folders: Iterable[tuple[int, Entries]]) -> None:
        if self._path is None:
            return
        with self._giving_up():
            os.makedirs(os.path.dirname(self._path), exist_ok=True)
            # For this user alone: what it holds may come from where others cannot read.
            os.close(os.open(self._path, os.O_RDONLY | os.O_CREAT, 0o600))
            with closing(_connect(self._path)) as connection:  # which rolls back
                connection.execute("BEGIN IMMEDIATE")
                if _make_room(connection):
                    for folder, entries in folders:
                        _write_blocks(connection, folder, entries)
                connection.execute("COMMIT")

    @contextmanager
    def _giving_up(self) -> Iterator[None]:
        """Log the block's failure, put a file aside that is no index, and use it no more."""
        import sqlite3  # not before it is used, as some never do

        path = str(self._path)
        try:
            yield
        except (sqlite3.Error, OSError, ValueError, TypeError, LookupError, RecursionError) as exc:
            # What SQLite, files and JSON raise, whatever the file holds.
            self._path = None
            reason = describe(exc)
            if not isinstance(exc, (sqlite3.OperationalError, OSError)):  # corrupt or foreign
                try:
                    os.replace(path, f"{path}.unusable")
                    reason += "; it was renamed to *.unusable, the next load begins a new one"
                except (OSError, ValueError) as failure:
                    reason += f"; and it cannot be renamed: {describe(failure)}"
            level = logging.WARNING if self._is_requested else logging.DEBUG
            logger.log(level, "the index %s is not used: %s", path, reason)


class Recalled:
    """What an index knows of runs, to be completed by what is read.

    Attributes:
        values: What it knows of each run, None where it knows nothing. Do not modify it: runs
            share parts of it.
        unknown: The positions where it knows nothing.
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
        """Return what is known or was read of each run; remember what was read.

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


NO_INDEX = Index(None, is_requested=False)


def open_index(option: IndexOption) -> Index:
    """Return the index that an option asks for. Its file is open only while it is used.

    Args:
        option: A directory for its file; None or True for the default one, False for none.
    """
    if option is False:
        return NO_INDEX
    directory = get_cache_dir("index") if option is None or option is True else os.fspath(option)
    return Index(os.path.expanduser(directory), is_requested=option is not None)


def check_index(option: Any) -> None:
    """Refuse anything but what `open_index` takes."""
    if not isinstance(option, (bool, str, os.PathLike, type(None))) or option == "":
        raise OptionError(
            f"index: expected true, false or a directory to keep it in, found {option!r}"
        )


def _group_by_folder(
    kind: str, storage: Storage, run_dirs: Sequence[str]
) -> dict[int, dict[str, int]]:
    """Return the positions of runs by a number for the kind and their folder, and their names.

    Left out are names that SQLite may not hold.
    """
    folders: dict[str, dict[str, int]] = {}
    for i, path in enumerate(run_dirs):
        folder, _, name = path.rpartition(storage.sep)
        if name.isascii():
            folders.setdefault(folder, {})[name] = i
    return {
        _number(f"{kind} {storage.get_identity(folder)}"): names
        for folder, names in folders.items()
    }


def _number(text: str) -> int:
    """Return a number that no other text has: 64 bits, as SQLite holds them."""
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


# The file -----------------------------------------------------------------------------------


def _connect(path: str) -> sqlite3.Connection:
    """Open the file, and make the tables of one that is empty."""
    import sqlite3

    connection = sqlite3.connect(path, timeout=_TIMEOUT, isolation_level=None)
    try:
        # No write-ahead log, as it does not work on network folders; and no waiting for the
        # disk, as checksums tell what a power failure left behind.
        connection.execute("PRAGMA synchronous = OFF")
        if _get(connection, "application_id") != _APPLICATION_ID:
            connection.execute("BEGIN IMMEDIATE")
            if _get(connection, "application_id") != _APPLICATION_ID:  # no process was faster
                _make_tables(connection)
            connection.execute("COMMIT")
    except BaseException:
        connection.close()
        raise
    return connection


def _make_tables(connection: sqlite3.Connection) -> None:
    if _get(connection, "schema_version") != 0:
        import sqlite3

        raise sqlite3.DatabaseError("it is the database of another program")
    for statement in _SCHEMA.split(";"):
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {_today()}")


def _get(connection: sqlite3.Connection, pragma: str) -> int:
    return int(connection.execute(f"PRAGMA {pragma}").fetchone()[0])


def _today() -> int:
    return int(time.time() // 86_400)


def _is_outdated(connection: sqlite3.Connection) -> bool:
    return abs(_today() - _get(connection, "user_version")) > MAX_DAYS


def _make_room(connection: sqlite3.Connection) -> bool:
    """Forget everything when that is due; tell whether there is room."""
    pages = _get(connection, "page_count") - _get(connection, "freelist_count")
    is_full = pages * _get(connection, "page_size") > MAX_BYTES
    if _is_outdated(connection) or (is_full and _get(connection, "user_version") != _today()):
        connection.execute("DELETE FROM blocks")
        connection.execute(f"PRAGMA user_version = {_today()}")
        return True
    return not is_full


def _read_blocks(
    connection: sqlite3.Connection, folder: int, names: Iterable[str]
) -> Iterator[Entries]:
    """Yield all that is in the blocks in which runs may be, the latest last."""
    rows = connection.execute(
        "SELECT checksum, json FROM blocks WHERE folder = ? AND last >= ? AND first <= ?"
        " ORDER BY id",
        (folder, min(names), max(names)),
    )
    for checksum, text in rows:
        if checksum == _checksum(folder, text):
            yield _decode(text)


def _write_blocks(connection: sqlite3.Connection, folder: int, entries: Entries) -> None:
    """Remember what is known of runs, together with what is in blocks that are not larger.

    So many small blocks become a large one, without writing all again for a few runs. What
    a large block has, and is known better by now, stays there until that is most of it.
    """
    old: Entries = {}
    for number in sorted(_find_blocks_to_merge(connection, folder, entries)):
        (row,) = connection.execute("SELECT checksum, json FROM blocks WHERE id = ?", (number,))
        if row[0] == _checksum(folder, row[1]):
            old |= _decode(row[1])
        connection.execute("DELETE FROM blocks WHERE id = ?", (number,))
    _share(old, entries)
    entries = old | entries
    names = sorted(entries)
    for start in range(0, len(names), _BLOCK_SIZE):
        some = names[start : start + _BLOCK_SIZE]
        text = _encode({name: entries[name] for name in some})
        row = (folder, some[0], some[-1], len(some), _checksum(folder, text), text)
        connection.execute("INSERT INTO blocks VALUES (NULL, ?, ?, ?, ?, ?, ?)", row)


def _find_blocks_to_merge(
    connection: sqlite3.Connection, folder: int, entries: Entries
) -> list[int]:
    """Return the blocks that are written again with some runs: the small ones, or all."""
    blocks = connection.execute(
        "SELECT id, runs FROM blocks WHERE folder = ?"
        " AND (runs < ? OR (last >= ? AND first <= ?)) ORDER BY runs",
        (folder, _BLOCK_SIZE // 2, min(entries), max(entries)),
    ).fetchall()
    if sum(runs for _, runs in blocks) <= 2 * len(entries):
        return [number for number, _ in blocks]
    merged = []
    total = len(entries)
    for number, runs in blocks:
        if runs <= total and runs < _BLOCK_SIZE // 2:
            merged.append(number)
            total += runs
    return merged


def _share(old: Entries, new: Entries) -> None:
    """Replace mappings and lists in old entries by the first ones that are equal to them."""
    if not old:
        return
    first: dict[str, Any] = {}
    for _, facts in chain(new.values(), old.values()):
        for value in facts.values():
            if type(value) in _CONTAINERS:
                first.setdefault(repr(value), value)
    for _, facts in old.values():
        facts.update({k: first[repr(v)] for k, v in facts.items() if type(v) in _CONTAINERS})


def _checksum(folder: int, text: bytes) -> int:
    return zlib.crc32(text, folder & 0xFFFFFFFF)


# A block as JSON ----------------------------------------------------------------------------
#
# [shapes, parts, runs]: each run is [name, validator, shape, *values]. Its shape is the number of
# one that has the keys, and tells which values are numbers of parts: of mappings or lists,
# which many runs share.


def _decode(text: bytes) -> Entries:
    shapes, parts, runs = json.loads(text)
    all_keys = [(list(shape), [key for key in shape if shape[key]]) for shape in shapes]
    entries = {}
    for name, validator, shape, *values in runs:
        keys, keys_of_parts = all_keys[shape]
        facts = dict(zip(keys, values, strict=True))
        for key in keys_of_parts:
            facts[key] = parts[facts[key]]
        entries[name] = validator, facts
    return entries


def _encode(entries: Entries) -> bytes:
    """Return the JSON text of a block, without what JSON would not give back."""
    text = _try_encode(entries)
    if text is None:
        singly = {name: _try_encode({name: entry}) for name, entry in entries.items()}
        text = _try_encode({name: entries[name] for name in entries if singly[name] is not None})
    return text or b""


def _try_encode(entries: Entries) -> bytes | None:
    """Return the JSON text of a block, None if JSON would not give back everything."""
    shapes: dict[Any, tuple[int, list[int]]] = {}
    parts: list[Any] = []
    numbers: dict[int, int] = {}
    runs = []
    for name, (validator, facts) in entries.items():
        values = facts.values()
        shape = tuple(facts), tuple(map(type, values))
        if shape not in shapes:
            positions = [i for i, kind in enumerate(shape[1], 3) if kind in _CONTAINERS]
            shapes[shape] = len(shapes), positions
        number, positions = shapes[shape]
        run = [name, validator, number, *values]
        for i in positions:
            part = run[i]
            run[i] = numbers.setdefault(id(part), len(parts))  # it lives on in `facts`
            if run[i] == len(parts):
                parts.append(part)
        runs.append(run)
    if not all(_TEXT.issuperset(map(type, keys)) and _KINDS.issuperset(t) for keys, t in shapes):
        return None
    marked = [dict(zip(keys, map(_CONTAINERS.__contains__, t), strict=True)) for keys, t in shapes]
    try:
        return _to_json([marked, parts, runs]).encode() if _is_exact(parts) else None
    except ValueError:  # half a surrogate pair, or an integer of 5,000 digits
        return None


_to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False).encode


def _is_exact(containers: list[Any]) -> bool:
    """Tell whether JSON gives back mappings and lists; level by level, which is fast."""
    while containers:
        mappings = [value for value in containers if type(value) is dict]
        lists = [value for value in containers if type(value) is list]
        values = [*chain.from_iterable(map(dict.values, mappings)), *chain.from_iterable(lists)]
        if not _TEXT.issuperset(map(type, chain.from_iterable(mappings))):
            return False
        if not _KINDS.issuperset(map(type, values)):
            return False
        containers = [value for value in values if type(value) in _CONTAINERS]
    return True
