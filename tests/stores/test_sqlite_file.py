"""SQLite files that are damaged, or that mean no good."""

from __future__ import annotations

import os
import sqlite3
import struct
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from kedro_hydraflow.errors import (
    KedroHydraflowError,
    NotFoundError,
    OptionError,
    StorageError,
    TrackingDirectoryError,
)
from kedro_hydraflow.limits import QUERY_SECONDS_VARIABLE, QUERY_SIZE_VARIABLE
from kedro_hydraflow.stores.sqlite_file import SqliteFile

SELECT = "SELECT a FROM runs"


@pytest.fixture
def make(tmp_path: Path) -> Callable[[str], SqliteFile]:
    """Return a file with what a script creates."""

    def run(script: str) -> SqliteFile:
        path = tmp_path / "mlflow.db"
        with closing(sqlite3.connect(path)) as connection:
            try:
                connection.executescript(script)
            except sqlite3.OperationalError as exc:
                if "no such module" in str(exc):
                    pytest.skip(str(exc))
                raise
        return SqliteFile(str(path), ("runs", "tags"))

    return run


def make_endless(path: str) -> None:
    """Let the pages of the table ``runs`` refer to each other, so that it has 40**12 leaves."""
    size, depth, width = 512, 12, 40
    with closing(sqlite3.connect(path)) as connection:
        select = "SELECT rootpage FROM sqlite_master WHERE name = 'runs'"
        (root,) = connection.execute(select).fetchone()
    pages = Path(path).read_bytes()

    def make_page(child: int) -> bytes:
        cells = [struct.pack(">IB", child, key) for key in range(width, 0, -1)]
        start = size - 5 * width
        header = struct.pack(">BHHHBI", 5, 0, width, start, 0, child)
        pointers = struct.pack(f">{width}H", *range(size - 5, start - 1, -5))
        return (header + pointers).ljust(start, b"\0") + b"".join(cells)

    first = len(pages) // size + 1
    added = [pages[(root - 1) * size : root * size]]
    added += [make_page(first + i) for i in range(depth - 1)]
    pages = pages[: (root - 1) * size] + make_page(first + depth - 1) + pages[root * size :]
    pages += b"".join(added)
    Path(path).write_bytes(pages[:28] + struct.pack(">I", len(pages) // size) + pages[32:])


def test_an_endless_table_is_limited(
    make: Callable[[str], SqliteFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = make("PRAGMA page_size = 512; CREATE TABLE runs (a); INSERT INTO runs VALUES ('x')")
    assert file.query(SELECT) == [("x",)]
    make_endless(file.path)
    assert file.query(f"{SELECT} LIMIT 50") == [("x",)] * 50
    monkeypatch.setenv(QUERY_SIZE_VARIABLE, "1MB")
    with pytest.raises(StorageError) as raised:
        file.query(SELECT)
    assert str(raised.value) == (
        f"cannot read the database '{file.path}': a query returns more than 1,000,000 bytes, or "
        "one value of 15,625, the limits that the environment variable "
        "KEDRO_HYDRAFLOW_MAX_QUERY_SIZE raises"
    )
    monkeypatch.setenv(QUERY_SECONDS_VARIABLE, "0.05")
    with pytest.raises(StorageError) as raised:
        file.query("SELECT max(a) FROM runs")
    assert str(raised.value) == (
        f"cannot read the database '{file.path}': a query took more than 0.05 seconds, the limit "
        "that the environment variable KEDRO_HYDRAFLOW_MAX_QUERY_SECONDS raises"
    )


@pytest.mark.skipif(sys.version_info < (3, 11), reason="values cannot be limited")
def test_a_large_value_is_limited(
    make: Callable[[str], SqliteFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = make("CREATE TABLE runs (a); INSERT INTO runs VALUES (hex(zeroblob(50000)))")
    assert file.query("SELECT length(a) FROM runs") == [(100_000,)]
    monkeypatch.setenv(QUERY_SIZE_VARIABLE, "5MB")
    with pytest.raises(StorageError, match=r"one value of 78,125, the limits .*MAX_QUERY_SIZE"):
        file.query(SELECT)


@pytest.mark.parametrize("seconds", ["soon", "-1", "1e3", "inf", "٣"])
def test_a_limit_that_is_no_number(
    make: Callable[[str], SqliteFile], monkeypatch: pytest.MonkeyPatch, seconds: str
) -> None:
    monkeypatch.setenv(QUERY_SECONDS_VARIABLE, seconds)
    with pytest.raises(OptionError) as raised:
        make("CREATE TABLE runs (a)").query(SELECT)
    assert str(
        raised.value
    ) == f"{QUERY_SECONDS_VARIABLE}: expected seconds such as 600, found " + (repr(seconds))


ENDLESS = "WITH RECURSIVE n(a) AS (VALUES (1) UNION ALL SELECT a + 1 FROM n) SELECT a FROM n"


@pytest.mark.parametrize(
    ("script", "found"),
    [
        (f"CREATE VIEW runs AS {ENDLESS}", "expected a table 'runs', found a view"),
        ("CREATE VIEW runs AS SELECT 1 AS a", "expected a table 'runs', found a view"),
        (
            "CREATE TABLE r (a); CREATE VIEW runs AS SELECT a FROM r",
            "expected a table 'runs', found a view",
        ),
        (
            "CREATE TABLE runs (b, a AS (hex(zeroblob(b)) || b))",
            "expected stored columns in the table 'runs', found the generated column 'a'",
        ),
        (
            "CREATE TABLE runs (a); CREATE TABLE tags (a AS (1) STORED, b)",
            "expected stored columns in the table 'tags', found the generated column 'a'",
        ),
    ],
)
def test_expressions_in_the_schema_are_not_evaluated(
    make: Callable[[str], SqliteFile], script: str, found: str
) -> None:
    file = make(script)
    for select in (SELECT, "SELECT count(*) FROM runs"):
        with pytest.raises(TrackingDirectoryError) as raised:
            file.query(select)
        assert str(raised.value) == f"{file.path} is not an MLflow database: {found}"


VIRTUAL = {
    "rtree": "CREATE VIRTUAL TABLE {} USING rtree(id, low, high, +a)",
    "fts5": "CREATE VIRTUAL TABLE {} USING fts5(a)",
    "fts4": "CREATE VIRTUAL TABLE {} USING fts4(a)",
    "dbstat": "CREATE VIRTUAL TABLE {} USING dbstat(main)",
}


@pytest.mark.parametrize("table", ["runs", "tags"])
@pytest.mark.parametrize("module", VIRTUAL)
@pytest.mark.parametrize("is_disguised", [False, True])
def test_virtual_tables_are_not_read(
    make: Callable[[str], SqliteFile], table: str, module: str, is_disguised: bool
) -> None:
    script = VIRTUAL[module].format(table) + "; CREATE TABLE other (a);"
    if table != "runs":
        script += "CREATE TABLE runs (a);"
    if is_disguised:  # as a table with a page
        script += (
            "PRAGMA writable_schema = ON; UPDATE sqlite_master SET rootpage = 2, "
            f"sql = replace(sql, 'CREATE', 'CREATE /**/') WHERE name = '{table}';"
        )
    file = make(script)
    for select in (SELECT, "SELECT count(*) FROM runs"):
        with pytest.raises(TrackingDirectoryError) as raised:
            file.query(select)
        assert str(raised.value) == (
            f"{file.path} is not an MLflow database: expected a table {table!r}, found a virtual "
            "table"
        )


def test_virtual_tables_beside_the_tables_do_not_matter(
    make: Callable[[str], SqliteFile],
) -> None:
    file = make(
        "CREATE TABLE runs (a); INSERT INTO runs VALUES (1);"
        "CREATE VIRTUAL TABLE notes USING dbstat(main)"
    )
    assert file.query(SELECT) == [(1,)]


def test_triggers_and_views_beside_the_tables_do_not_matter(
    make: Callable[[str], SqliteFile],
) -> None:
    file = make(
        "CREATE TABLE runs (a); INSERT INTO runs VALUES (1); CREATE VIEW v AS SELECT * FROM gone; "
        "CREATE TRIGGER t AFTER INSERT ON runs BEGIN DELETE FROM runs; END"
    )
    assert file.query(SELECT) == [(1,)]


def test_text_that_is_not_utf8(make: Callable[[str], SqliteFile]) -> None:
    file = make("CREATE TABLE runs (a); INSERT INTO runs VALUES ('é'), (CAST(x'ff41' AS TEXT))")
    assert file.query(SELECT) == [("é",), (b"\xffA",)]
    assert file.query(f"{SELECT} WHERE a = ?", "é\udcff") == []  # which no text can be
    assert file.query(f"{SELECT} WHERE a = ?", "é") == [("é",)]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no FIFOs")
@pytest.mark.parametrize("suffix", ["", "-wal", "-journal", "-shm"])
@pytest.mark.parametrize("kind", ["FIFO", "directory"])
def test_what_is_not_a_regular_file(
    make: Callable[[str], SqliteFile], suffix: str, kind: str
) -> None:
    file = make("CREATE TABLE runs (a)")
    path = Path(file.path + suffix)
    path.unlink(missing_ok=True)
    if kind == "FIFO":
        os.mkfifo(path)
    else:
        path.mkdir()
    expected = f"expected a regular file{f' {str(path)!r}' if suffix else ''}, found a {kind}"
    with pytest.raises(StorageError) as raised:
        file.query(SELECT)
    assert str(raised.value).startswith(f"cannot read the database '{file.path}': {expected}")


def test_files_beside_the_target_of_a_link(
    make: Callable[[str], SqliteFile], tmp_path: Path
) -> None:
    file = make("PRAGMA journal_mode = wal; CREATE TABLE runs (a)")
    link = tmp_path / "link.db"
    link.symlink_to(file.path)
    assert SqliteFile(str(link), ("runs",)).query(SELECT) == []
    Path(f"{file.path}-wal").unlink(missing_ok=True)
    Path(f"{file.path}-wal").mkdir()
    with pytest.raises(StorageError, match=r"link.db': expected .*mlflow.db-wal', found a dir"):
        SqliteFile(str(link), ("runs",)).query(SELECT)


@pytest.mark.parametrize(
    ("path", "error", "reason"),
    [
        ("gone.db", NotFoundError, "there is no database '"),
        ("loop.db", StorageError, "OSError: Too many levels of symbolic links"),
        ("a\0b.db", StorageError, "ValueError: .*embedded null"),
        ("x" * 300, StorageError, "OSError: File name too long"),
    ],
)
def test_paths_that_cannot_be_opened(
    tmp_path: Path, path: str, error: type[KedroHydraflowError], reason: str
) -> None:
    (tmp_path / "loop.db").symlink_to("loop.db")
    with pytest.raises(error, match=reason):
        SqliteFile(f"{tmp_path}/{path}", ("runs",)).query(SELECT)


@pytest.mark.parametrize("garbage", [b"", b"\0" * 100, b"\xff" * 5000, b"text"])
@pytest.mark.parametrize("suffix", ["-wal", "-shm"])
def test_garbage_in_the_files_beside(
    make: Callable[[str], SqliteFile], suffix: str, garbage: bytes
) -> None:
    file = make("CREATE TABLE runs (a); INSERT INTO runs VALUES (1); PRAGMA journal_mode = wal")
    Path(file.path + suffix).write_bytes(garbage)
    assert file.query(SELECT) == [(1,)]


def patch_children(path: str, patch: Callable[[list[int]], list[int]]) -> None:
    """Change which pages the root of the table ``runs``, which has one level below it, refers to.

    Args:
        path: The file, with pages of 512 bytes.
        patch: Returns the new numbers of the pages, given the old ones.
    """
    with closing(sqlite3.connect(path)) as connection:
        select = "SELECT rootpage FROM sqlite_master WHERE name = 'runs'"
        (root,) = connection.execute(select).fetchone()
    content = bytearray(Path(path).read_bytes())
    start = (root - 1) * 512
    kind, _, n_cells = struct.unpack_from(">BHH", content, start)
    assert kind == 5  # an inner page of a table
    cells = struct.unpack_from(f">{n_cells}H", content, start + 12)
    children = [struct.unpack_from(">I", content, start + cell)[0] for cell in cells]
    for cell, child in zip(cells, patch(children), strict=True):
        struct.pack_into(">I", content, start + cell, child)
    Path(path).write_bytes(content)


ROWS = "WITH RECURSIVE n(a) AS (VALUES (1) UNION ALL SELECT a + 1 FROM n WHERE a < 300)"


@pytest.mark.parametrize(
    "patch",
    [
        lambda pages: [pages[1], *pages[1:]],
        lambda pages: [pages[0], pages[0], *pages[2:]],
        lambda pages: pages[::-1],
    ],
)
def test_pages_in_place_of_others(
    make: Callable[[str], SqliteFile], patch: Callable[[list[int]], list[int]]
) -> None:
    file = make(
        "PRAGMA page_size = 512; CREATE TABLE runs (a, b);"
        f"INSERT INTO runs {ROWS} SELECT a, 'some text' FROM n"
    )
    assert file.scan("runs", "a, b = ?", "x") == [(i, i, 0) for i in range(1, 301)]
    patch_children(file.path, patch)
    assert len(file.query(SELECT)) > 250  # SQLite does not notice
    with pytest.raises(TrackingDirectoryError) as raised:
        file.scan("runs", "a")
    assert str(raised.value) == (
        f"cannot read {file.path} as an MLflow database: it is damaged: the rows of the table "
        f"'runs' are not in order; `sqlite3 {file.path} 'PRAGMA integrity_check'` shows more"
    )


def test_a_table_without_numbers_of_rows(make: Callable[[str], SqliteFile]) -> None:
    file = make(
        "CREATE TABLE runs (a PRIMARY KEY) WITHOUT ROWID; INSERT INTO runs VALUES (2), (1);"
    )
    assert sorted(file.scan("runs", "a")) == [(None, 1), (None, 2)]
    with pytest.raises(TrackingDirectoryError, match="no such column: b"):
        file.scan("runs", "b")
    with pytest.raises(TrackingDirectoryError, match="no such table: other"):
        file.scan("other", "b")
