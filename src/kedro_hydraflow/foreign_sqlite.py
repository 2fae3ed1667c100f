"""Opening SQLite files that another program may have written, or damaged."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any

from kedro_hydraflow.limits import (
    QUERY_SECONDS_VARIABLE,
    QUERY_SIZE_VARIABLE,
    get_max_query_seconds,
    get_max_query_size,
)

if TYPE_CHECKING:
    import sqlite3

CHUNK = 64
"""The number of rows that are fetched before the size is checked."""

_STEPS = 1000
"""The number of SQLite's instructions, which take microseconds, between checks of the time."""

_BESIDE = ("-wal", "-journal", "-shm")
"""The suffixes of the files that SQLite opens with a database."""


_get_time = getattr(time, "thread_time", time.perf_counter)
"""Returns the processor time of a thread; where there are no threads, in WebAssembly, the time."""


class QueryLimits:
    """The limits of a connection, whose queries may have no end.

    Attributes:
        max_size: The maximum size of what a query returns, in bytes.
        max_value_size: The maximum size of a value or row.
        is_late: Whether a query was interrupted because it took too long.
        refused: The view or trigger that a statement was refused for.
    """

    def __init__(self) -> None:
        self.max_size = get_max_query_size()
        self.max_value_size = max(self.max_size // CHUNK, 1000)
        self.is_late = False
        self.refused: str | None = None
        self._seconds = get_max_query_seconds()
        self.restart()

    def apply(self, connection: sqlite3.Connection, max_value_size: int) -> None:
        """Limit a connection, with Python 3.11 also its values and rows.

        A larger value is an error even for SQL's ``length``.
        """
        import sqlite3  # here, because many loads do not use it

        connection.set_progress_handler(self.check_time, _STEPS)
        if sys.version_info >= (3, 11):
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, max_value_size)
        # Older versions of SQLite ignore what they do not know.
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA cell_size_check = ON")

    def refuse_views(self, connection: sqlite3.Connection) -> None:
        """Let statements that use views or triggers fail from now on."""
        connection.set_authorizer(self._authorize)

    def restart(self) -> None:
        """Grant the whole time again."""
        self._end = _get_time() + self._seconds

    def check_time(self) -> bool:
        """Whether to interrupt the query."""
        self.is_late = _get_time() > self._end
        return self.is_late

    def describe_time(self) -> str:
        """Return the message about a query that was interrupted."""
        return (
            f"a query took more than {self._seconds:g} seconds, the limit that the environment "
            f"variable {QUERY_SECONDS_VARIABLE} raises"
        )

    def describe_size(self) -> str:
        """Return the message about a query whose result is too large."""
        return (
            f"a query returns more than {self.max_size:,} bytes, or one value of "
            f"{self.max_size // CHUNK:,}, the limits that the environment variable "
            f"{QUERY_SIZE_VARIABLE} raises"
        )

    def _authorize(self, *arguments: Any) -> int:
        """Deny what views and triggers do. For the arguments see ``sqlite3_set_authorizer``."""
        import sqlite3

        name = arguments[4]
        if name is None:
            return sqlite3.SQLITE_OK
        self.refused = name
        return sqlite3.SQLITE_DENY


def list_files_beside(path: str) -> list[str]:
    """Return the WAL, the journal and the shared memory that a database may have."""
    real = os.path.realpath(path)  # SQLite looks beside the target of a symbolic link
    return [real + suffix for suffix in _BESIDE]
