"""Querying a database on a server through SQLAlchemy.

It is connected to only during a query, or a block with several: runs that are kept hold no
connection. Threads and forked processes never share one. The transaction of a query is read-only,
and its time and size are limited.
"""

from __future__ import annotations

import marshal
import os
import re
import threading
from contextlib import closing, contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from kedro_hydraflow.errors import (
    KedroHydraflowError,
    MissingPackageError,
    NotFoundError,
    OptionError,
    StorageError,
    TrackingDirectoryError,
    UnreachableError,
    describe,
)
from kedro_hydraflow.limits import (
    QUERY_SECONDS_VARIABLE,
    QUERY_SIZE_VARIABLE,
    get_max_query_seconds,
    get_max_query_size,
)
from kedro_hydraflow.redaction import get_safe_cause, redact, redact_url
from kedro_hydraflow.storage.hosts import make_withheld_error

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kedro_hydraflow.source import Source

    Row = tuple[Any, ...]

_CHUNK = 1000
"""The number of rows that are fetched before the size is checked."""

_OPTIONS = {"yield_per": _CHUNK}

_CONNECT_TIMEOUT = 20
"""Seconds to wait for a connection, unless the URL has a ``connect_timeout``."""

_WITH_TIMEOUT = ("psycopg", "psycopg2", "pymysql", "mysqldb")
"""The drivers that have an argument ``connect_timeout``."""

_PACKAGES = {"MySQLdb": "mysqlclient", "psycopg": "psycopg[binary]", "psycopg2": "psycopg2-binary"}
"""The packages of drivers that have another name."""

# Codes of errors: those of MySQL and MariaDB are numbers, those of PostgreSQL texts.
_ABSENT = {1049, "3D000"}
_DENIED = {1044, 1045, 1142, 1143, 1227, 1698, "28000", "28P01", "42501"}
_OTHER_TABLES = {1054, 1146, "42703", "42P01"}
_LATE = {1969, 3024, "57014"}
_INCOMPARABLE = {1267, 1270, 1271}
_BUSY = {1040, 1053, 1203}
_FIRST_OF_CLIENT = 2000
"""The first of the codes of MySQL that are errors of the connection."""

# Drivers of PostgreSQL give no codes for what the server answers to a connection.
_ABSENT_TEXT = re.compile(r'FATAL: +database ".*" does not exist')
_DENIED_TEXT = re.compile(r"FATAL: .*(authentication failed|pg_hba\.conf|permission denied|role )")


class IncomparableTextError(StorageError):
    """A text has characters that a column of the database cannot have."""


class SqlDatabase:
    """A database on a server.

    Args:
        source: Has the URL, in SQLAlchemy's format, as the tracking URI.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._url = source.uri or ""
        self.where = redact_url(self._url)
        self._idle: dict[tuple[int, int], list[Any]] = {}
        """The open connections that no query uses, for each process and thread in a block."""

    @contextmanager
    def connected(self) -> Iterator[None]:
        """Keep connections open between the queries of this thread in the block.

        Connecting may take longer than a query: PyMySQL reads all certificates for it.
        """
        thread = _get_thread()
        if thread in self._idle:  # in a block of this one
            yield
            return
        self._idle[thread] = []
        try:
            yield
        finally:
            for connection in self._idle.pop(thread):
                connection.close()

    def query(self, *selects: Any) -> Iterator[Row]:
        """Yield the rows of queries, made over one connection.

        Raises:
            UnreachableError: If the database does not respond.
            IncomparableTextError: If a query compares a column with such a text.
            NotFoundError: If there is no such database.
            StorageError: If access is denied, or a query fails or exceeds a limit.
            TrackingDirectoryError: If the database is not MLflow's.
            OptionError: If the URL is malformed.
            MissingPackageError: If the driver is not installed.
        """
        engine = self._engine
        try:
            with self._connect(engine) as connection:
                _restrict(connection)
                for select in selects:
                    with closing(connection.execute(select, execution_options=_OPTIONS)) as result:
                        yield from self._fetch(result)
        except KedroHydraflowError:
            raise
        except Exception as exc:  # drivers raise others than SQLAlchemy's, too
            raise self._explain(exc) from self._get_cause(exc)

    @contextmanager
    def _connect(self, engine: Any) -> Iterator[Any]:
        """Yield a connection, which is open after the block only within one of `connected`."""
        thread = _get_thread()
        idle = self._idle.get(thread)
        connection = idle.pop() if idle else engine.connect()
        is_kept = False
        try:
            yield connection
            connection.rollback()
            is_kept = idle is not None and idle is self._idle.get(thread)
        finally:
            if idle is not None and is_kept:
                idle.append(connection)
            else:
                connection.close()

    def has_table(self, name: str) -> bool:
        """Whether the database has a table. Raises as `query` does."""
        import sqlalchemy

        engine = self._engine
        try:
            return bool(sqlalchemy.inspect(engine).has_table(name))
        except Exception as exc:
            raise self._explain(exc) from self._get_cause(exc)

    @cached_property
    def _engine(self) -> Any:
        import sqlalchemy

        if self._source.is_without_credentials:
            raise make_withheld_error(self.where)
        try:
            url = sqlalchemy.make_url(self._url)
            has_timeout = url.get_dialect().driver in _WITH_TIMEOUT
            given = {} if "connect_timeout" in url.query else {"connect_timeout": _CONNECT_TIMEOUT}
            return sqlalchemy.create_engine(
                url,
                poolclass=sqlalchemy.NullPool,
                hide_parameters=True,
                connect_args=given if has_timeout else {},
            )
        except ImportError as exc:
            name = exc.name or self.where.partition(":")[0].partition("+")[2]
            raise MissingPackageError(
                f"tracking_uri: reading the database {self.where!r} needs its driver {name!r}, "
                f"which cannot be imported ({exc}): "
                f"pip install 'kedro-hydraflow[sql]' '{_PACKAGES.get(name, name)}'"
            ) from exc
        except Exception as exc:  # dialects check the options in the URL
            raise OptionError(
                "tracking_uri: expected the URL of a database, such as "
                f"postgresql://user:password@host/database, found {self.where!r}: "
                f"{self._hide(describe(exc))}"
            ) from self._get_cause(exc)

    def _fetch(self, result: Any) -> Iterator[Row]:
        limit = get_max_query_size()
        size = 0
        for chunk in result.partitions(_CHUNK):
            rows = list(map(tuple, chunk))
            size += _measure(rows)
            if size > limit:
                raise StorageError(
                    f"cannot read the database {self.where!r}: a query returns more than "
                    f"{limit:,} bytes, the limit that the environment variable "
                    f"{QUERY_SIZE_VARIABLE} raises"
                )
            yield from rows

    def _explain(self, exc: Exception) -> KedroHydraflowError:
        """Return the error for an exception of SQLAlchemy or the driver."""
        import sqlalchemy

        error = getattr(exc, "orig", None) or exc
        text = self._hide(describe(error))
        code = _get_code(error)
        if code in _ABSENT or _ABSENT_TEXT.search(text):
            return NotFoundError(f"there is no database {self.where!r}: {text}")
        if code in _DENIED or _DENIED_TEXT.search(text):
            return StorageError(
                f"the database {self.where!r} denies access: {text}; check the user and the "
                "password in the URL, and that the user may read the tables"
            )
        if code in _OTHER_TABLES:
            return TrackingDirectoryError(
                f"{self.where!r} is not an MLflow database, or its schema is too old ({text}). "
                "If it is an MLflow database, run `mlflow db upgrade` with its URL"
            )
        cannot = f"cannot read the database {self.where!r}"
        if code in _LATE:
            return StorageError(
                f"{cannot}: a query took more than {get_max_query_seconds():g} seconds, the limit "
                f"that the environment variable {QUERY_SECONDS_VARIABLE} raises ({text})"
            )
        if code in _INCOMPARABLE:
            return IncomparableTextError(f"{cannot}: {text}")
        is_lost = isinstance(exc, (sqlalchemy.exc.OperationalError, sqlalchemy.exc.InterfaceError))
        if isinstance(code, int):
            is_lost = code >= _FIRST_OF_CLIENT or code in _BUSY
        kind = UnreachableError if is_lost else StorageError
        return kind(f"{cannot}: {text}")

    def _hide(self, text: str) -> str:
        return redact(text, self._source.secrets)

    def _get_cause(self, exc: Exception) -> Exception | None:
        return get_safe_cause(exc, self._source.secrets)


def _restrict(connection: Any) -> None:
    """Make a connection read-only, and limit the time of its queries and the rows in memory."""
    dialect = connection.dialect
    milliseconds = max(1, round(get_max_query_seconds() * 1000))
    if dialect.name == "postgresql":
        # Cursors are planned for a tenth of the rows otherwise.
        connection.exec_driver_sql(
            "SELECT set_config('transaction_read_only', 'on', true), "
            f"set_config('statement_timeout', '{milliseconds}', true), "
            "set_config('cursor_tuple_fraction', '1', true)"
        ).close()
    elif dialect.name in ("mysql", "mariadb"):
        limit = (
            f"max_statement_time = {milliseconds / 1000}"
            if dialect.is_mariadb
            else f"max_execution_time = {milliseconds}"
        )
        connection.exec_driver_sql(f"SET SESSION {limit}")
        connection.exec_driver_sql("SET SESSION TRANSACTION READ ONLY")


def _get_thread() -> tuple[int, int]:
    """Return the IDs of this process and thread."""
    return os.getpid(), threading.get_ident()


def _measure(rows: list[Row]) -> int:
    """Return the size of rows in bytes, about."""
    try:
        return len(marshal.dumps(rows))  # the fastest measure
    except ValueError:  # a type that only the driver knows
        return len(repr(rows))


def _get_code(error: BaseException) -> str | int | None:
    """Return the code of a driver's exception, None if it has none."""
    code = error.args[0] if error.args else None
    if isinstance(code, int):
        return code
    return getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
