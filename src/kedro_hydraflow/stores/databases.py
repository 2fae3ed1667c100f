"""Finding MLflow's SQLite databases in a directory, under any name.

A file counts if it begins as SQLite files do and has MLflow's tables. A file that may be one, but
cannot be read, is an error: its runs must not be taken for absent.

Files of any name are opened if their size is that of an SQLite file, and files with a usual suffix
whatever their size: a damaged database may have any.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kedro_hydraflow.errors import (
    KedroHydraflowError,
    StorageError,
    TrackingDirectoryError,
    describe,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from kedro_hydraflow.source import Source
    from kedro_hydraflow.stores.sqlite_store import SqliteStore

DATABASE_FILE = "mlflow.db"
"""MLflow's default name for the database, beside ``mlruns``."""

_SUFFIXES = (".db", ".sqlite", ".sqlite3")
"""The usual suffixes of SQLite files."""

_MAGIC = b"SQLite format 3\0"

_PAGE_SIZE = 512
"""The size of every SQLite file is a multiple of this, unless it is damaged."""

_ADVICE = (
    "if it is not an MLflow database, move it away, or give the directory of a file store as "
    "tracking_uri"
)


@dataclass(frozen=True)
class Databases:
    """The MLflow databases in a directory, sorted by name."""

    directory: str
    with_runs: Sequence[SqliteStore] = ()
    without_runs: Sequence[SqliteStore] = ()

    def get_with_runs(self) -> SqliteStore | None:
        """Return the one with runs, None if there is none.

        Raises:
            TrackingDirectoryError: If there are several.
        """
        return self._get_only(self.with_runs, "with runs")

    def get_without_runs(self) -> SqliteStore | None:
        """Return the one without runs, None if there is none.

        Raises:
            TrackingDirectoryError: If there are several.
        """
        return self._get_only(self.without_runs, "without runs")

    def _get_only(self, stores: Sequence[SqliteStore], which: str) -> SqliteStore | None:
        if len(stores) > 1:
            listed = ", ".join(store.where for store in stores)
            raise TrackingDirectoryError(
                f"{self.directory} has several MLflow databases {which}: {listed}; give the one to "
                "read instead of the directory"
            )
        return stores[0] if stores else None


NO_DATABASES = Databases("")


def find_databases(
    directory: str, source: Source | None = None, root: str | None = None
) -> Databases:
    """Return the databases in a directory.

    Args:
        directory: The directory to search, without its subdirectories.
        source: As for `SqliteStore`.
        root: As for `SqliteStore`.

    Raises:
        TrackingDirectoryError: If a file that may be a database is damaged.
        StorageError: If the directory or a database cannot be read.
    """
    with_runs: list[SqliteStore] = []
    without_runs: list[SqliteStore] = []
    for store in _open_all(directory, source, root):
        with _advising():
            (with_runs if store.has_runs() else without_runs).append(store)
    return Databases(directory, with_runs, without_runs)


def find_databases_of(run_ids: Sequence[str], directories: Iterable[str]) -> dict[str, SqliteStore]:
    """Return the database that has each run, by run ID. Runs of no database are left out.

    Raises:
        TrackingDirectoryError: If several databases in one directory have a run.
        StorageError: If a directory or a database cannot be read.
    """
    owners: dict[str, SqliteStore] = {}
    for directory in directories:
        of_directory: dict[str, SqliteStore] = {}
        for store in _open_all(directory):
            for run_id in store.select_run_ids(run_ids):
                if run_id in of_directory:
                    raise TrackingDirectoryError(
                        f"the run {run_id} is in two databases: {of_directory[run_id].where} and "
                        f"{store.where}; give one of them as tracking_dir to find the run"
                    )
                of_directory[run_id] = store
        owners = {**of_directory, **owners}
    return owners


def may_have_database(directory: str) -> bool:
    """Whether a directory has SQLite files, or cannot be searched for them."""
    try:
        return bool(_list_candidates(directory))
    except StorageError:
        return True


def may_have_runs(path: str) -> bool:
    """Whether a file is a database with runs, or one that cannot be read."""
    if not os.path.isfile(path) or os.path.getsize(path) == 0:
        return False
    from kedro_hydraflow.stores.sqlite_store import SqliteStore

    try:
        return SqliteStore(path).has_runs()
    except KedroHydraflowError:
        return True


def has_database_suffix(path: str) -> bool:
    """Whether a name or path ends as those of SQLite files usually do."""
    return path.endswith(_SUFFIXES)


def is_sqlite_file(path: str) -> bool:
    """Whether a path is a regular file that begins as SQLite files do.

    Raises:
        StorageError: If the file cannot be read.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return False
        with open(path, "rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as exc:
        raise StorageError(f"cannot read {path!r}: {describe(exc)}") from exc


def _open_all(
    directory: str, source: Source | None = None, root: str | None = None
) -> Iterator[SqliteStore]:
    """Yield the databases in a directory, sorted by name."""
    paths = _list_candidates(directory)
    if not paths:
        return
    from kedro_hydraflow.stores.sqlite_store import SqliteStore  # imports sqlite3

    for path in paths:
        store = SqliteStore(path, source, root)
        with _advising():
            # An outdated database of MLflow's own name is an error when it is queried.
            is_mlflow = os.path.basename(path) == DATABASE_FILE or store.is_mlflow()
        if is_mlflow:
            yield store


@contextmanager
def _advising() -> Iterator[None]:
    """Add to errors of reading a database what to do if it is not wanted."""
    try:
        yield
    except KedroHydraflowError as exc:
        raise type(exc)(f"{exc}; {_ADVICE}") from exc


def _list_candidates(directory: str) -> list[str]:
    """Return the files that may be databases, each once if there are links to it."""
    try:
        with os.scandir(directory) as entries:
            paths = sorted(entry.path for entry in entries if _may_be_database(entry))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as exc:
        raise StorageError(
            f"cannot look for a database in {directory!r}: {describe(exc)}; give the database as "
            "tracking_dir, or the directory of a file store as tracking_uri"
        ) from exc
    found = [path for path in paths if os.path.basename(path) == DATABASE_FILE or _has_magic(path)]
    return list({os.path.realpath(path): path for path in reversed(found)}.values())[::-1]


def _may_be_database(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a file of the right name or size, or one that cannot be examined."""
    try:
        size = entry.stat().st_size if entry.is_file() else 0
    except FileNotFoundError:
        return False  # removed in the meantime
    except OSError as exc:
        is_loop = exc.errno == errno.ELOOP  # of symbolic links
        return not is_loop and has_database_suffix(entry.name)
    return size > 0 and (size % _PAGE_SIZE == 0 or has_database_suffix(entry.name))


def _has_magic(path: str) -> bool:
    """Whether a file begins as SQLite files do. Unreadable files count by their suffix."""
    try:
        return is_sqlite_file(path)
    except StorageError as exc:
        if has_database_suffix(path):
            raise StorageError(f"{exc}; {_ADVICE}") from exc
        return False
