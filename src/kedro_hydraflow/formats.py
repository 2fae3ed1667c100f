"""A frame as text: CSV, JSON, Markdown, and the cells of tables."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Mapping
from datetime import date, datetime, time
from typing import TYPE_CHECKING, Any

from typing_extensions import NamedTuple

from kedro_hydraflow.escaping import escape
from kedro_hydraflow.json_columns import dump_json
from kedro_hydraflow.stores.record import is_run_id
from kedro_hydraflow.times import show_time

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import polars as pl

    from kedro_hydraflow.html_parts import Kind

_MIN_ID = 8
"""The minimum length of an ID that is cut short."""

_MAX_ID = 40
"""The maximum length of an ID that is shown whole where there is little room."""

_MIN_FOLDERS = 2
"""The minimum number of folders of an ID of Hydra that is cut short."""

_DIGITS = (6, 9, 12)
"""How many digits floats have in tables: the first number that tells them apart, or else all."""

_MARKDOWN = re.compile(r"[\\`*\[\]<>|~&#]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
"""The characters that would mean something in a cell of Markdown."""


class Column(NamedTuple):
    """A column of a table, as text without control characters."""

    header: str
    cells: list[str]
    kind: Kind


def to_csv(frame: pl.DataFrame) -> str:
    """Return a frame as CSV with a header, quoted as in RFC 4180. Lines end with a line feed.

    Missing values are empty, lists and mappings are JSON. Control characters are escapes, except
    for line breaks and tabs.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([escape(name, keep="\n\t") for name in frame.columns])
    for row in frame.iter_rows():
        writer.writerow([escape(_to_text(value), keep="\n\t") for value in row])
    return buffer.getvalue()


def to_json(frame: pl.DataFrame) -> str:
    """Return a frame as a JSON array of objects, one in each line.

    Missing values, NaN and infinities are null, times are text in ISO 8601.
    """
    return to_json_array(frame.iter_rows(named=True))


def to_json_array(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return rows as `to_json` does."""
    lines = list(map(to_json_object, rows))
    return "[\n" + ",\n".join(lines) + "\n]\n" if lines else "[]\n"


def to_json_lines(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return rows as JSON Lines, otherwise as `to_json` does."""
    return "".join(f"{to_json_object(row)}\n" for row in rows)


def to_json_object(values: Mapping[str, Any]) -> str:
    """Return a mapping as JSON in one line, otherwise as `to_json` does."""
    return dump_json(_to_json(values))


def to_markdown(columns: Sequence[Column]) -> str:
    """Return a table in the Markdown of GitHub."""
    headers = [_escape_markdown(column.header) for column in columns]
    rules = ["---:" if column.kind == "number" else "---" for column in columns]
    cells = [map(_escape_markdown, column.cells) for column in columns]
    lines = [headers, rules, *zip(*cells, strict=True)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def make_cells(frame: pl.DataFrame, short_ids: str | None = None) -> list[Column]:
    """Return the columns of a table.

    Args:
        frame: The frame.
        short_ids: The name of a column of run IDs to cut, as far as they stay different.
    """
    columns = []
    for series in frame.iter_columns():
        values = series.to_list()
        present = [value for value in values if value is not None]
        kind = _get_kind(present)
        cells = _to_numbers(values) if kind == "number" else list(map(to_cell, values))
        if series.name == short_ids:
            cells = shorten_ids(cells)
        if series.name == "run_id" and kind == "text":
            kind = "whole"
        columns.append(Column(escape(series.name), cells, kind))
    return columns


def _to_numbers(values: Sequence[Any]) -> list[str]:
    """Return the cells of numbers, with as many digits as it takes to tell them apart."""
    exact = list(map(_to_text, values))
    n_distinct = len(set(exact))
    for digits in _DIGITS:
        cells = [to_cell(value, digits) for value in values]
        if len(set(cells)) == n_distinct:
            return cells
    return exact


def _get_kind(values: Sequence[Any]) -> Kind:
    types = set(map(type, values))
    if types and types <= {int, float}:
        return "number"
    is_id = types == {str} and all(map(is_run_id, values))
    return "whole" if is_id or types == {datetime} else "text"


def shorten_ids(run_ids: list[str]) -> list[str]:
    """Return the beginnings of run IDs, as long as they stay different; others stay whole."""
    if not all(map(is_run_id, run_ids)):
        return run_ids
    count = len(set(run_ids))
    lengths = range(_MIN_ID, len(run_ids[0]))
    length = next((n for n in lengths if len({i[:n] for i in run_ids}) == count), None)
    return [run_id[:length] for run_id in run_ids]


def cut_ids(column: Column) -> Column:
    """Return a column of run IDs as short as they stay different, for a terminal.

    It has the beginnings of MLflow's IDs, and the last folders of those of Hydra.
    """
    cells = _keep_last_folders(shorten_ids(column.cells))
    is_short = max(map(len, cells), default=0) <= _MAX_ID
    return Column(column.header, cells, "whole" if is_short else "text")


def _keep_last_folders(run_ids: list[str]) -> list[str]:
    """Return the ends of paths, as `is_meant` reads them, at least two folders of each."""
    paths = [run_id.split("/") for run_id in run_ids]
    count = len(set(run_ids))
    for n in range(_MIN_FOLDERS, max(map(len, paths), default=0)):
        cut = ["/".join(["…", *path[-n:]] if len(path) > n else path) for path in paths]
        if len(set(cut)) == count:
            return cut
    return run_ids


def to_cell(value: Any, digits: int = _DIGITS[0]) -> str:
    """Return a value for people: floats have some digits, by default six, times are in UTC."""
    if type(value) is float and math.isfinite(value):
        return f"{value:.{digits}g}"
    if type(value) is datetime:
        return show_time(value)
    return escape(_to_text(value))


def _to_text(value: Any) -> str:
    """Return a value for programs."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, float) and math.isnan(value):
        return "NaN"
    if isinstance(value, datetime) and value.microsecond % 1000 == 0:
        return value.isoformat(timespec="milliseconds")
    if isinstance(value, (date, time)):
        return value.isoformat()
    is_json = isinstance(value, (bool, Mapping, list, tuple))
    return dump_json(_to_json(value)) if is_json else str(value)


def _to_json(value: Any) -> Any:
    """Return a value with JSON's types."""
    if isinstance(value, Mapping):
        return {str(key): _to_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_to_json(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (str, bool, int)):
        return value
    return _to_text(value)


def _escape_markdown(text: str) -> str:
    return _MARKDOWN.sub(r"\\\g<0>", text)
