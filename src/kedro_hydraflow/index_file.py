"""The file of the index: an SQLite database of JSON blocks.

A block has up to 2,000 runs of one folder, because that is read faster than a row for each run.
Unlike a pickle, JSON cannot hold code. Entries that would not survive a round trip are left out:
those with bytes, paths, or keys that are not text.

The directory may be shared, so that another user may have written the file. Nothing in its schema
runs, and what a block takes is limited before it is decoded.
"""

from __future__ import annotations

import json
import os
import time
import zlib
from collections import Counter
from contextlib import closing, contextmanager
from hashlib import blake2b
from itertools import chain, repeat
from operator import is_
from typing import TYPE_CHECKING, Any

from kedro_hydraflow.cache_dir import make_private_folder
from kedro_hydraflow.exact_json import (
    CONTAINERS,
    Facts,
    has_few_nodes,
    is_exact,
    to_json,
)
from kedro_hydraflow.foreign_sqlite import QueryLimits, list_files_beside

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Iterator, Mapping, Sequence

Entries = dict[str, tuple[str, Facts]]
"""The validators and facts of the runs of one folder, by the runs' names."""

FILE_NAME = "kedro-hydraflow-index-3.sqlite"
"""The number is the version of the content: each version has its own file."""

MAX_DAYS = 90
"""The maximum age. An older file is emptied."""

MAX_BYTES = 500 * 10**6
"""The maximum size. A larger file is emptied, at most once a day."""

BLOCK_SIZE = 2000
"""How many runs a block has at most. One block at a time is in memory."""

MAX_VALUES = 2_000_000
"""How many values the runs of a block have at most. Few bytes may say that they are all equal."""

MAX_BLOCKS = 10_000
"""How many blocks of a folder are used at most: a damaged table may have no end."""

TIMEOUT = 1.0
"""Seconds to wait for another process. Reading the runs again does not take much longer."""

_APPLICATION_ID = 0x6B686678
"""What marks an SQLite file as this index."""

_PAGE_SIZE = 2**14
"""Four times the default: large blocks are written and read faster."""

_STATEMENTS = (
    """CREATE TABLE blocks (
        id INTEGER PRIMARY KEY, folder INTEGER, first TEXT, last TEXT,
        runs INTEGER, checksum INTEGER, json BLOB
    )""",
    "CREATE INDEX blocks_of_folder ON blocks (folder, last)",
)


class IndexFile:
    """Entries of runs by folder and name, in a file that is open only while it is used.

    Its methods raise whatever SQLite, files and JSON raise.

    Args:
        path: The file, which is created when something is written.
    """

    def __init__(self, path: str) -> None:
        self.path = path

    def read(self, folders: Mapping[str, Collection[str]]) -> Iterator[tuple[str, Entries]]:
        """Yield folders and entries in them, the latest last.

        Args:
            folders: Names of runs by folder, at least one in each.

        Yields:
            The folder of a block that may hold some of the runs, and all entries of the block.
        """
        if not os.path.exists(self.path):
            return
        self._check_kind()
        with _open(self.path) as opened:
            if _is_outdated(opened.connection):
                return
            for folder, names in folders.items():
                for entries in _read_blocks(opened, _number(folder), names):
                    yield folder, entries

    def write(self, folders: Mapping[str, Entries]) -> None:
        """Add entries, by folder: all of them or, if that fails, none."""
        make_private_folder(os.path.dirname(self.path))
        self._check_kind()
        # Readable by this user only: the entries may come from files that others cannot read.
        os.close(os.open(self.path, os.O_RDONLY | os.O_CREAT, 0o600))
        with _open(self.path) as opened:  # which rolls back after an error
            opened.connection.execute("BEGIN IMMEDIATE")
            if _make_room(opened.connection):
                for folder, entries in folders.items():
                    _write_blocks(opened, _number(folder), entries)
            opened.connection.execute("COMMIT")

    def _check_kind(self) -> None:
        """Raise OSError for what is not a regular file: opening a FIFO may take for ever."""
        if os.path.exists(self.path) and not os.path.isfile(self.path):
            raise OSError("it is not a regular file")
        for file in list_files_beside(self.path):
            if os.path.exists(file) and not os.path.isfile(file):
                raise OSError(f"{file} is not a regular file")


def _number(folder: str) -> int:
    """Return a number for a folder: a 64-bit hash, which fits SQLite's integers."""
    digest = blake2b(folder.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


# The database ------------------------------------------------------------------------------


class _Opened:
    """The open database, and the limits of its queries."""

    def __init__(self, connection: sqlite3.Connection, limits: QueryLimits) -> None:
        self.connection = connection
        self.limits = limits
        self._size = 0

    def read_block(self, folder: int, number: int) -> Entries | None:
        """Return the entries of a block, None if it is damaged or exceeds a limit."""
        rows = self.connection.execute(
            "SELECT checksum, json FROM blocks"
            " WHERE id = ? AND typeof(json) = 'blob' AND length(json) <= ?",
            (number, self.limits.max_value_size),
        )
        for checksum, text in rows:
            self._add_size(len(text))
            if checksum == _checksum(folder, text) and has_few_nodes(text):
                return _decode(text)
        return None

    def _add_size(self, size: int) -> None:
        """Raise DatabaseError if all blocks together exceed a limit."""
        import sqlite3

        self._size += size
        if self._size > self.limits.max_size:
            raise sqlite3.DatabaseError(self.limits.describe_size())
        if self.limits.check_time():
            raise sqlite3.DatabaseError(self.limits.describe_time())

    def fits(self, text: bytes, *names: str) -> bool:
        """Whether a block of this text would be read again."""
        size = len(text) + sum(map(len, names)) + _REST_SIZE
        return size <= self.limits.max_value_size and has_few_nodes(text)


_REST_SIZE = 100
"""The maximum size of the numbers in a row."""


@contextmanager
def _open(path: str) -> Iterator[_Opened]:
    """Open the file, with tables if it is empty.

    Raises:
        DatabaseError: If the file is not an index, is damaged, or exceeds a limit.
        OperationalError: If it cannot be read or written.
    """
    import sqlite3  # here, because many loads do not use an index

    limits = QueryLimits()
    with closing(sqlite3.connect(path, timeout=TIMEOUT, isolation_level=None)) as connection:
        try:
            limits.apply(connection, limits.max_size)
            limits.refuse_views(connection)
            _prepare(connection)
            yield _Opened(connection, limits)
        except sqlite3.OperationalError as exc:
            if limits.is_late:
                raise sqlite3.DatabaseError(limits.describe_time()) from exc
            raise


def _prepare(connection: sqlite3.Connection) -> None:
    """Make the tables if the database is empty, and check them."""
    # There is no write-ahead log, which does not work on network folders. And nothing waits
    # for the disk, because checksums show what a power failure left behind.
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute(f"PRAGMA page_size = {_PAGE_SIZE}")  # of a file that is still empty
    if _get(connection, "application_id") != _APPLICATION_ID:
        connection.execute("BEGIN IMMEDIATE")
        if _get(connection, "application_id") != _APPLICATION_ID:  # no process was faster
            _make_tables(connection)
        connection.execute("COMMIT")
    rows = connection.execute("SELECT sql FROM sqlite_master LIMIT 3").fetchall()
    if {_normalize(str(sql)) for (sql,) in rows} != set(map(_normalize, _STATEMENTS)):
        import sqlite3

        raise sqlite3.DatabaseError("its tables are not those of an index")


def _normalize(sql: str) -> str:
    return " ".join(sql.split())


def _make_tables(connection: sqlite3.Connection) -> None:
    if _get(connection, "schema_version") != 0:
        import sqlite3

        raise sqlite3.DatabaseError("it is the database of another program")
    for statement in _STATEMENTS:
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
    """Empty the database if that is due; return whether there is room."""
    pages = _get(connection, "page_count") - _get(connection, "freelist_count")
    is_full = pages * _get(connection, "page_size") > MAX_BYTES
    if _is_outdated(connection) or (is_full and _get(connection, "user_version") != _today()):
        # With a condition, SQLite deletes row by row. Without, it descends into pages as deep as
        # they refer to each other, which may end the process.
        connection.execute("DELETE FROM blocks WHERE id IS NOT NULL")
        connection.execute(f"PRAGMA user_version = {_today()}")
        return True
    return not is_full


def _read_blocks(opened: _Opened, folder: int, names: Collection[str]) -> Iterator[Entries]:
    """Yield the entries of each block in which runs may be, the latest last."""
    rows = opened.connection.execute(
        "SELECT id FROM blocks WHERE folder = ? AND last >= ? AND first <= ? ORDER BY id LIMIT ?",
        (folder, min(names), max(names), MAX_BLOCKS),
    )
    for (number,) in rows.fetchall():
        entries = opened.read_block(folder, number)
        if entries is not None:
            yield entries


def _write_blocks(opened: _Opened, folder: int, entries: Entries) -> None:
    """Add entries of a folder, merged with blocks that are not larger.

    In this way, small blocks grow into large ones, and adding a few runs does not rewrite the
    large ones. An outdated entry stays in a large block until most of the block is outdated.
    """
    old: Entries = {}
    for number in sorted(_find_blocks_to_merge(opened, folder, entries)):
        old |= opened.read_block(folder, number) or {}
        opened.connection.execute("DELETE FROM blocks WHERE id = ?", (number,))
    _share(old, entries)
    entries = old | entries
    names = sorted(entries)
    for start in range(0, len(names), BLOCK_SIZE):
        _write_block(opened, folder, names[start : start + BLOCK_SIZE], entries)


def _write_block(opened: _Opened, folder: int, names: Sequence[str], entries: Entries) -> None:
    """Add a block, or several if one would be too large. An entry that is too large is left out."""
    block = {name: entries[name] for name in names}
    text = _encode(block)
    n_values = sum(len(facts) for _, facts in block.values())
    if n_values <= MAX_VALUES and opened.fits(text, names[0], names[-1]):
        opened.limits.restart()
        row = (folder, names[0], names[-1], len(names), _checksum(folder, text), text)
        opened.connection.execute("INSERT INTO blocks VALUES (NULL, ?, ?, ?, ?, ?, ?)", row)
    elif len(names) > 1:
        middle = len(names) // 2
        _write_block(opened, folder, names[:middle], entries)
        _write_block(opened, folder, names[middle:], entries)


def _find_blocks_to_merge(opened: _Opened, folder: int, entries: Entries) -> list[int]:
    """Return the blocks that are written again with new entries: the small ones, or all."""
    blocks = opened.connection.execute(
        "SELECT id, runs, length(json) < ? FROM blocks WHERE folder = ?"
        " AND typeof(runs) = 'integer' AND runs > 0"
        " AND (runs < ? OR (last >= ? AND first <= ?)) ORDER BY runs LIMIT ?",
        (
            opened.limits.max_value_size // 4,
            folder,
            BLOCK_SIZE // 2,
            min(entries),
            max(entries),
            MAX_BLOCKS,
        ),
    ).fetchall()
    if sum(runs for _, runs, _ in blocks) <= 2 * len(entries):
        return [number for number, _, _ in blocks]
    merged = []
    total = len(entries)
    for number, runs, is_small in blocks:
        if is_small and runs <= total and runs < BLOCK_SIZE // 2:
            merged.append(number)
            total += runs
    return merged


def _share(old: Entries, new: Entries) -> None:
    """Replace mappings and lists in old entries by equal ones of other entries."""
    if not old:
        return
    first: dict[str, Any] = {}
    for _, facts in chain(new.values(), old.values()):
        for value in facts.values():
            if type(value) in CONTAINERS:
                first.setdefault(repr(value), value)
    for _, facts in old.values():
        facts.update({k: first[repr(v)] for k, v in facts.items() if type(v) in CONTAINERS})


def _checksum(folder: int, text: bytes) -> int:
    return zlib.crc32(text, folder & 0xFFFFFFFF)


# A block as JSON ---------------------------------------------------------------------------
#
# It is [parts, groups, rows]. Parts are the values that runs share, each one once.
#
# A group has the runs whose facts have the same keys, column by column: [keys, names, validators,
# *values]. A column of texts is one text, joined by a separator; a column with mappings or lists is
# {"parts": numbers of parts}; any other is a list. A column of one value has it for all runs.
#
# A row is a run whose keys no other run has: [name, validator, facts, shared]. The values of the
# keys in the list `shared` are numbers of parts.

_TEXT = frozenset({str})

_SEPARATOR = "\x7f"
"""What separates the texts of a column: JSON does not escape it, and texts hardly have it."""


def _decode(text: bytes) -> Entries:
    parts, groups, rows = json.loads(text)
    entries: Entries = {}
    n_values = 0
    for keys, *encoded in groups:
        columns = [_decode_column(column, parts) for column in encoded]
        n_runs = max(map(len, columns))
        n_values += n_runs * (len(columns) - 2)
        if n_values > MAX_VALUES:
            raise ValueError(f"a block has more than {MAX_VALUES:,} values")
        columns = [column * n_runs if len(column) == 1 else column for column in columns]
        names, validators, *columns = columns
        values = zip(*columns, strict=True) if columns else repeat((), len(names))
        facts = [dict(zip(keys, row, strict=True)) for row in values]
        entries.update(zip(names, zip(validators, facts, strict=True), strict=True))
    for name, validator, mapping, shared in rows:
        dict.update(mapping, {key: parts[mapping[key]] for key in shared})
        entries[name] = validator, mapping
    return entries


def _decode_column(column: Any, parts: list[Any]) -> list[Any]:
    if type(column) is str:
        return column.split(_SEPARATOR)
    if type(column) is dict:
        return list(map(parts.__getitem__, column["parts"]))
    return list(column)


def _encode(entries: Entries) -> bytes:
    """Return the JSON text of a block, without entries that JSON would not give back."""
    text = _try_encode(entries)
    if text is None:
        singly = {name: _try_encode({name: entry}) for name, entry in entries.items()}
        text = _try_encode({name: entries[name] for name in entries if singly[name] is not None})
    return text or b""


def _try_encode(entries: Entries) -> bytes | None:
    """Return the JSON text of a block, None if JSON would not give back all of it."""
    by_keys: dict[tuple[Any, ...], list[str]] = {}
    for name, (_, facts) in entries.items():
        by_keys.setdefault(tuple(facts), []).append(name)
    parts = _Parts()
    groups = []
    single = {}
    for keys, names in by_keys.items():
        if len(names) == 1:
            single[names[0]] = entries[names[0]]
        elif _TEXT.issuperset(map(type, keys)):  # 1 and True are the same key here
            validators, of_runs = zip(*map(entries.__getitem__, names), strict=True)
            columns = names, validators, *zip(*map(dict.values, of_runs), strict=True)
            groups.append([[*keys], *(_encode_column(column, parts) for column in columns)])
        else:
            return None
    rows = _make_rows(single, parts)
    block = [parts.values, groups, rows]
    try:
        return to_json(block).encode() if is_exact(block) else None
    except ValueError:  # half a surrogate pair, or an integer of 5,000 digits
        return None


def _encode_column(values: Sequence[Any], parts: _Parts) -> Any:
    if all(map(is_, values, repeat(values[0]))):
        values = values[:1]
    kinds = set(map(type, values))
    if kinds == _TEXT:
        text = _SEPARATOR.join(values)
        if text.count(_SEPARATOR) == len(values) - 1:
            return text
    elif not kinds.isdisjoint(CONTAINERS):
        return {"parts": parts.number(values)}
    return [*values]


def _make_rows(entries: Entries, parts: _Parts) -> list[Any]:
    of_runs = [facts.values() for _, facts in entries.values()]
    counts = Counter(map(id, chain.from_iterable(of_runs)))
    rows = []
    for name, (validator, facts) in entries.items():
        shared = {
            key: value
            for key, value in facts.items()
            if type(value) in CONTAINERS and (counts[id(value)] > 1 or parts.has(value))
        }
        if shared:
            numbers = parts.number([*shared.values()])
            facts = {**facts, **dict(zip(shared, numbers, strict=True))}
        rows.append([name, validator, facts, [*shared]])
    return rows


class _Parts:
    """The values that runs share, by their identity. Someone else has to keep them alive."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._numbers: dict[int, int] = {}

    def has(self, value: Any) -> bool:
        return id(value) in self._numbers

    def number(self, values: Sequence[Any]) -> list[int]:
        """Return the number of each value. Add those that are new."""
        ids = [*map(id, values)]
        for key, value in dict(zip(ids, values, strict=True)).items():
            if self._numbers.setdefault(key, len(self.values)) == len(self.values):
                self.values.append(value)
        return [*map(self._numbers.__getitem__, ids)]
