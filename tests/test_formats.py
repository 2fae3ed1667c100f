from __future__ import annotations

import csv
import io
import json
from datetime import date, datetime, timedelta, timezone
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kedro_hydraflow.formats import make_cells, to_csv, to_json, to_markdown

TIME = datetime(2026, 1, 25, 22, 15, 10, 123_000, timezone(timedelta(hours=9)))
TIME_TEXT = "2026-01-25T22:15:10.123+09:00"
DAY, DAY_TEXT = datetime(2026, 1, 25), "2026-01-25T00:00:00.000"

VALUES: list[tuple[Any, str, Any, str]] = [
    ("text", "text", "text", "text"),
    ("", "", "", ""),
    (None, "", None, ""),
    (True, "true", True, "true"),
    (0.1 + 0.2, "0.30000000000000004", 0.1 + 0.2, "0.3"),
    (1e-10, "1e-10", 1e-10, "1e-10"),
    (12345678.9, "12345678.9", 12345678.9, "1.23457e+07"),
    (float("nan"), "NaN", None, "NaN"),
    (float("-inf"), "-inf", None, "-inf"),
    (2**53 + 1, "9007199254740993", 2**53 + 1, "9007199254740993"),
    (TIME, TIME_TEXT, TIME_TEXT, "2026-01-25 13:15:10Z"),
    (DAY, DAY_TEXT, DAY_TEXT, "2026-01-25 00:00:00"),
    (date(2026, 1, 25), "2026-01-25", "2026-01-25", "2026-01-25"),
    ([1, [None, float("nan")]], "[1, [null, null]]", [1, [None, None]], "[1, [null, null]]"),
    ({"a": "b\n"}, '{"a": "b\\n"}', {"a": "b\n"}, '{"a": "b\\n"}'),
    (b"\xff", "b'\\xff'", "b'\\xff'", "b'\\xff'"),
    ("a\tb\nc\rd\x1b", "a\tb\nc\\rd\\x1b", "a\tb\nc\rd\x1b", "a\\tb\\nc\\rd\\x1b"),
]


@pytest.mark.parametrize(("value", "in_csv", "in_json", "in_table"), VALUES)
def test_values(value: Any, in_csv: str, in_json: Any, in_table: str) -> None:
    frame = pl.DataFrame([pl.Series("a", ["x"]), pl.Series("key", [value], dtype=pl.Object)])
    assert list(csv.reader(io.StringIO(to_csv(frame), newline="")))[1] == ["x", in_csv]
    assert json.loads(to_json(frame)) == [{"a": "x", "key": in_json}]
    assert make_cells(frame)[1].cells == [in_table]


PRINTABLE = st.text(st.characters()).filter(str.isprintable)


@given(st.lists(PRINTABLE))
def test_any_printable_text_comes_back(values: list[str]) -> None:
    frame = pl.DataFrame({name: pl.Series(values, dtype=pl.String) for name in ("a", 'b,"')})
    assert list(csv.DictReader(io.StringIO(to_csv(frame)))) == frame.to_dicts()
    assert json.loads(to_json(frame)) == frame.to_dicts()


@given(st.text(min_size=1))
def test_nothing_acts_on_the_terminal(value: str) -> None:
    frame = pl.DataFrame([pl.Series(value, [value], dtype=pl.Object)])
    cells = make_cells(frame)
    texts = [to_csv(frame), to_json(frame), to_markdown(cells), *cells[0].cells]
    for text in texts:
        assert text.replace("\n", "").replace("\t", "").isprintable()
    assert json.loads(to_json(frame)) == [{value: value}]


def test_kinds_of_columns() -> None:
    frame = pl.DataFrame(
        {
            "number": [1.5, None],
            "flag": [True, False],
            "time": [TIME, None],
            "run_id": ["0" * 32, "1" * 32],
            "text": ["1", "2"],
            "absent": [None, None],
        }
    )
    kinds = {column.header: column.kind for column in make_cells(frame)}
    assert kinds == {
        "number": "number",
        "flag": "text",
        "time": "whole",
        "run_id": "whole",
        "text": "text",
        "absent": "text",
    }


@pytest.mark.parametrize(
    ("run_ids", "shown"),
    [
        (["0" * 32, "1" * 32], ["0" * 8, "1" * 8]),
        (["a" * 31 + "0", "a" * 31 + "1"], ["a" * 31 + "0", "a" * 31 + "1"]),
        (["a" * 8 + "0" * 24, "a" * 8 + "1" * 24], ["a" * 8 + "0", "a" * 8 + "1"]),
        (["0" * 32, "0" * 32], ["0" * 8, "0" * 8]),  # a run that was copied
        (["multirun/2026-11-25/23-01-50/0"], ["multirun/2026-11-25/23-01-50/0"]),
    ],
)
def test_short_ids_stay_different(run_ids: list[str], shown: list[str]) -> None:
    frame = pl.DataFrame({"run_id": run_ids, "other": run_ids})
    ids, other = make_cells(frame, short_ids="run_id")
    assert ids.cells == shown
    assert other.cells == run_ids


def test_markdown_means_nothing_in_cells() -> None:
    values = ["train_digits_v1", "_a_", "a|b", "`x`", "<i>", "[a](b)", "~~a~~", "&lt;", "a\\|"]
    frame = pl.DataFrame({"a_b": values, "n": range(len(values))})
    assert to_markdown(make_cells(frame)).splitlines() == [
        "| a_b | n |",
        "| --- | ---: |",
        "| train_digits_v1 | 0 |",
        "| \\_a\\_ | 1 |",
        "| a\\|b | 2 |",
        "| \\`x\\` | 3 |",
        "| \\<i\\> | 4 |",
        "| \\[a\\](b) | 5 |",
        "| \\~\\~a\\~\\~ | 6 |",
        "| \\&lt; | 7 |",
        "| a\\\\\\| | 8 |",
    ]


@pytest.mark.parametrize(
    ("values", "cells"),
    [
        ([0.1 + 0.2, 1.0], ["0.3", "1"]),
        ([0.1 + 0.2, 0.3], ["0.30000000000000004", "0.3"]),
        ([0.12345671, 0.12345672, None], ["0.12345671", "0.12345672", ""]),
        ([float("nan"), float("nan"), 1 / 3], ["NaN", "NaN", "0.333333"]),
        ([1 / 3, 1 / 3], ["0.333333", "0.333333"]),
    ],
)
def test_numbers_have_the_digits_that_tell_them_apart(
    values: list[float | None], cells: list[str]
) -> None:
    (column,) = make_cells(pl.DataFrame({"x": values}))
    assert column.cells == cells
