"""Querying an SQLite file that another program wrote, or damaged, or that means no good.

The file is opened read-only, and may be read while another program writes to it. Expressions in
its schema are not evaluated: a view or a generated column may take forever. Nor are virtual tables
read, whose content SQLite's extensions make up. Pages may refer to each other so that a table does
not end, so the time and the size of a query are limited.
"""

from __future__ import annotations

import marshal
import operator
import os
import sqlite3
import stat
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

from kedro_hydraflow.errors import (
    GitLfsError,
    KedroHydraflowError,
    NotFoundError,
    StorageError,
    TrackingDirectoryError,
    describe,
)
from kedro_hydraflow.foreign_sqlite import CHUNK, QueryLimits, list_files_beside
from kedro_hydraflow.storage import check_downloaded

if TYPE_CHECKING:
    from collections.abc import Iterator

    Row = tuple[Any, ...]

TIMEOUT = 60.0
"""Seconds to wait for a lock. MLflow's transactions take milliseconds."""


class SqliteFile:
    """An SQLite file. It is open only during a query.

    Args:
        path: The file.
        tables: The tables that queries read, those of them that exist. They have to be as MLflow
            creates them: no views, no virtual tables and no generated columns.
    """

    def __init__(self, path: str, tables: tuple[str, ...]) -> None:
        self.path = path
        self._tables = tables

    def query(self, select: str, *arguments: str | float, timeout: float = TIMEOUT) -> list[Row]:
        """Return the rows of a query. Text that is not UTF-8 is returned as bytes.

        Args:
            select: The query. SQLite does not interrupt the ``count(*)`` of a table.
            *arguments: Its arguments.
            timeout: The seconds to wait for a lock.

        Raises:
            TrackingDirectoryError: If the file is not an MLflow database, or is damaged.
            StorageError: If the file cannot be read, or the query exceeds a limit.
        """
        with self._open_tables(timeout) as reader:
            return reader.fetch(select, *arguments)

    def scan(self, table: str, columns: str, *arguments: str | float) -> list[Row]:
        """Return columns of all rows of a table, read without its indexes.

        SQLite does not notice all damage. Pages that are there twice, in another order, or in
        place of others show in the numbers of the rows, which are the first column. They are null
        if the table has none.

        Args:
            table: The table.
            columns: The columns, separated by commas.
            *arguments: The arguments of expressions in the columns.

        Raises:
            TrackingDirectoryError: If the file is not an MLflow database, or is damaged.
            StorageError: If the file cannot be read, or the query exceeds a limit.
        """
        with self._open_tables() as reader:
            if not reader.has_rowid(table):
                select = f"SELECT NULL, {columns} FROM {table}"  # noqa: S608 - names of ours
                return reader.fetch(select, *arguments)
            order = f"{table} NOT INDEXED ORDER BY rowid"
            rows = reader.fetch(f"SELECT rowid, {columns} FROM {order}", *arguments)  # noqa: S608
        numbers = [row[0] for row in rows]
        if not all(map(operator.lt, numbers, numbers[1:])):
            raise self.make_damage_error(f"the rows of the table {table!r} are not in order")
        return rows

    def make_damage_error(self, found: str) -> TrackingDirectoryError:
        """Return the error for damage that SQLite has not noticed."""
        return TrackingDirectoryError(
            f"cannot read {self.path} as an MLflow database: it is damaged: {found}; "
            f"`sqlite3 {self.path} 'PRAGMA integrity_check'` shows more"
        )

    @contextmanager
    def _open_tables(self, timeout: float = TIMEOUT) -> Iterator[_Reader]:
        """Open the file, and check the tables."""
        with self._open(timeout) as reader:
            reader.refuse_views()
            for table in self._tables:
                reader.check_table(table)
            yield reader

    def query_schema(self, select: str, *arguments: str, timeout: float = TIMEOUT) -> list[Row]:
        """Return the rows of a query of the schema, see `query`."""
        with self._open(timeout) as reader:
            return reader.fetch(select, *arguments)

    @contextmanager
    def _open(self, timeout: float) -> Iterator[_Reader]:
        """Open the file, and translate SQLite's errors."""
        _check_files(self.path)
        reader = _Reader(self.path, timeout)
        try:
            with closing(reader):
                reader.connect()
                yield reader
        except (sqlite3.Error, UnicodeError, OverflowError, MemoryError) as exc:
            # Of the others, a damaged schema or page is the cause: it may name or demand anything.
            raise reader.explain(exc) from exc


class _Reader:
    """A connection for one query, with its limits.

    Args:
        path: The file.
        timeout: The seconds to wait for a lock.
    """

    def __init__(self, path: str, timeout: float) -> None:
        self._path = path
        self._timeout = timeout
        self._limits = QueryLimits()
        self._connection: sqlite3.Connection | None = None

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def connect(self) -> None:
        try:
            self._connection = self._connect("mode=ro")
            self._connection.execute("PRAGMA schema_version").fetchone()
        except sqlite3.DatabaseError as exc:
            self.close()
            # In WAL mode, SQLite creates files beside the database even to read it. In a read-only
            # directory, open the file as immutable instead, unless a journal holds part of the
            # data.
            is_denied = isinstance(exc, sqlite3.OperationalError) and "locked" not in str(exc)
            if not is_denied or self._limits.is_late or _find_journal(self._path):
                raise
            self._connection = self._connect("mode=ro&immutable=1")

    def _connect(self, options: str) -> sqlite3.Connection:
        uri = f"file:{quote(os.fsencode(self._path))}?{options}"
        connection = sqlite3.connect(uri, uri=True, timeout=self._timeout, isolation_level=None)
        self._limits.apply(connection, self._limits.max_value_size)
        return connection

    def check_table(self, table: str) -> None:
        """Raise TrackingDirectoryError if a table is a virtual one, or has generated columns."""
        columns = self.fetch(f"PRAGMA table_xinfo({table})")
        if not columns:
            return  # there is no such table
        # What SQLite would do: the text of the schema need not say what a table is.
        steps = self.fetch(f"EXPLAIN SELECT * FROM {table}")  # noqa: S608 - a name of ours
        if any(operation == "VOpen" for _, operation, *_ in steps):
            raise TrackingDirectoryError(
                f"{self._path} is not an MLflow database: expected a table {table!r}, found a "
                "virtual table"
            )
        for _, name, *_, hidden in columns:
            if hidden:
                raise TrackingDirectoryError(
                    f"{self._path} is not an MLflow database: expected stored columns in the "
                    f"table {table!r}, found the generated column {name!r}"
                )

    def has_rowid(self, table: str) -> bool:
        """Whether the rows of a table are numbered."""
        try:
            self.fetch(f"SELECT rowid FROM {table} LIMIT 0")  # noqa: S608 - a name of ours
        except sqlite3.OperationalError as exc:
            if "no such column" in str(exc):  # WITHOUT ROWID
                return False
            raise
        return True

    def refuse_views(self) -> None:
        """Let queries of views fail from now on."""
        self._limits.refuse_views(self._get_connection())

    def fetch(self, select: str, *arguments: str | float) -> list[Row]:
        """Return the rows of a query."""
        try:
            return self._fetch(select, arguments)
        except UnicodeEncodeError:  # an argument that no row can have
            return []
        except sqlite3.OperationalError as exc:
            if "Could not decode to UTF-8" not in str(exc):
                raise
        self._get_connection().text_factory = _decode
        return self._fetch(select, arguments)

    def _get_connection(self) -> sqlite3.Connection:
        return cast("sqlite3.Connection", self._connection)

    def _fetch(self, select: str, arguments: tuple[str | float, ...]) -> list[Row]:
        cursor = self._get_connection().execute(select, arguments)
        rows: list[Row] = []
        size = 0
        while chunk := cursor.fetchmany(CHUNK):
            rows += chunk
            size += len(marshal.dumps(chunk))  # the fastest measure
            if size > self._limits.max_size:
                raise self._make_size_error()
        return rows

    def explain(self, exc: Exception) -> KedroHydraflowError:
        """Return the error for an exception of SQLite."""
        cannot = f"cannot read the database {self._path!r}"
        view = self._limits.refused
        if view is not None:
            return TrackingDirectoryError(
                f"{self._path} is not an MLflow database: expected a table {view!r}, found a view"
            )
        if self._limits.is_late:
            return StorageError(f"{cannot}: {self._limits.describe_time()}")
        if isinstance(exc, sqlite3.DataError):
            return self._make_size_error()
        if not isinstance(exc, sqlite3.OperationalError):
            return TrackingDirectoryError(
                f"cannot read {self._path} as an MLflow database: "
                f"{_explain_format(exc, self._path)}"
            )
        if "no such table" in str(exc) or "no such column" in str(exc):
            return TrackingDirectoryError(
                f"{self._path} is not an MLflow database, or its schema is too old ({exc}). "
                f"If it is an MLflow database, run `mlflow db upgrade sqlite:///{self._path}`"
            )
        return StorageError(f"{cannot}: {_explain(exc, self._path, self._timeout)}")

    def _make_size_error(self) -> StorageError:
        reason = self._limits.describe_size()
        return StorageError(f"cannot read the database {self._path!r}: {reason}")


def _decode(text: bytes) -> str | bytes:
    """Return the text, or the bytes if it is not UTF-8."""
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError:
        return text


def _check_files(path: str) -> None:
    """Raise an error unless the database, and what SQLite opens with it, are regular files.

    To open a FIFO may take forever.

    Raises:
        NotFoundError: If there is no such file.
        StorageError: If a file is not a regular one, or cannot be accessed.
    """
    if _get_size(path, path) is None:
        raise NotFoundError(f"there is no database {path!r}")
    for file in list_files_beside(path):
        _get_size(file, path)


def _get_size(file: str, path: str) -> int | None:
    """Return the size of a file that SQLite opens with a database, None if it does not exist."""
    try:
        status = os.stat(file)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as exc:
        raise StorageError(f"cannot read the database {path!r}: {describe(exc)}") from exc
    if not stat.S_ISREG(status.st_mode):
        kind = "a directory" if stat.S_ISDIR(status.st_mode) else "a FIFO or device"
        which = "" if file == path else f" {file!r}"
        raise StorageError(
            f"cannot read the database {path!r}: expected a regular file{which}, found {kind}"
        )
    return status.st_size


def _find_journal(path: str) -> str | None:
    """Return the WAL or rollback journal of the database, None if there is none or it is empty."""
    wal, journal, _ = list_files_beside(path)
    return next((file for file in (wal, journal) if _get_size(file, path)), None)


def _explain(exc: sqlite3.OperationalError, path: str, timeout: float) -> str:
    """Return the message of SQLite, with the cause and the next step if they are known."""
    if "locked" in str(exc):
        return (
            f"{exc}: another program has held a lock for {timeout:g} seconds; try again when it "
            "has finished"
        )
    journal = _find_journal(path)
    if journal is not None:
        return (
            f"{exc}: the program that wrote {journal} is still running or was interrupted; open "
            "the database once with MLflow or sqlite3, with write permission for the directory"
        )
    return str(exc)


def _explain_format(exc: Exception, path: str) -> str:
    """Return the kind of a file that is no database, if it is known, or the message of SQLite."""
    with suppress(OSError), open(path, "rb") as file:
        try:
            check_downloaded(file.read(100))
        except GitLfsError as pointer:
            return str(pointer)
    return str(exc) or describe(exc)
