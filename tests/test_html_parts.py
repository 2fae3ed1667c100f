from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from kedro_hydraflow.errors import StorageError
from kedro_hydraflow.html_parts import (
    MAX_ROWS,
    escape_text,
    make_details,
    make_html,
    make_table,
    show_briefly,
)

FOREIGN = "<script>alert(1)</script>"


def fail(error: Exception) -> str:
    raise error


def test_all_text_is_escaped() -> None:
    html = make_html(
        FOREIGN,
        lambda: make_table([FOREIGN], [[FOREIGN], [[FOREIGN]]], 2),
        lambda: make_details(FOREIGN, ""),
        lambda: fail(StorageError(FOREIGN)),
    )
    assert "<script" not in html
    assert html.count("&lt;script&gt;") == 6


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('" onclick="x', "&quot; onclick=&quot;x"),
        ("' style='x", "&#x27; style=&#x27;x"),
        ("a\x1b[2Jb", "a\\x1b[2Jb"),
        ("a\u202eb", "a\\u202eb"),
        ("x" * 60 + "y" * 40, "x" * 39 + "…" + "y" * 40),
        ("&" * 100, "&amp;" * 39 + "…" + "&amp;" * 40),
    ],
)
def test_escape(text: str, shown: str) -> None:
    assert escape_text(text) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("1", "1"),
        (0.1 + 0.2, "0.3"),
        (None, "null"),
        (True, "true"),
        (datetime(2026, 1, 2, 3, 4, 5, 999_000), "2026-01-02 03:04:05"),
        (datetime(2026, 1, 2, 1, tzinfo=timezone(timedelta(hours=2))), "2026-01-01 23:00:00Z"),
        ([1, "2"], "[1, '2']"),
        (list(range(1000)), "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, …]"),
        ([[[[1]]]], "[[[…]]]"),
        (dict.fromkeys("abcdefghijkl"), f"{{{''.join(f'{c}: null, ' for c in 'abcdefghij')}…: 2}}"),
    ],
)
def test_values_are_shown_briefly(value: object, shown: str) -> None:
    assert show_briefly(value) == shown


def test_a_table_has_bounds() -> None:
    html = make_table([f"c{i}" for i in range(20)], [["x"] * 20 for _ in range(100)], 100)
    assert html.count("<tr>") == MAX_ROWS + 1
    assert html.count("<td") == MAX_ROWS * 12
    assert "… 50 more<" in html
    assert "… 8 more columns<" in html


def test_a_section_that_fails_is_shown_as_such() -> None:
    html = make_html(
        "title",
        lambda: fail(StorageError("s3://bucket: denied")),
        lambda: fail(ValueError("password")),
        lambda: "<p>the rest</p>",
    )
    assert "cannot be read: s3://bucket: denied" in html
    assert "cannot be shown: ValueError" in html
    assert "password" not in html
    assert "<p>the rest</p>" in html
