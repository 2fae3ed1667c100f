"""Tables for people: aligned text, in the terminal no wider than that."""

from __future__ import annotations

import re
from collections import Counter
from itertools import groupby
from typing import TYPE_CHECKING

from typing_extensions import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kedro_hydraflow.formats import Column

_GAP = "  "

_SEPARATOR = re.compile("[./]")
"""What is between the parts of a key."""

_MIN_WIDTH = 8
"""The width to which texts and headers may be cut."""

_MAX_WIDTH = 200
"""The maximum width of a text, however wide the output is."""

_STATUS_STYLES = {"FINISHED": "green", "FAILED": "red", "KILLED": "red", "RUNNING": "yellow"}


class FittedColumn(NamedTuple):
    """A column and its width in the table."""

    column: Column
    width: int


class Table(NamedTuple):
    """A table as text, for a terminal of some width."""

    text: str

    left_out: list[str]
    """The headers of the columns for which there is no room."""


def cut_texts(columns: Sequence[Column]) -> list[Column]:
    """Return columns without the ends of very long texts, as a plain table has them."""
    return [
        column._replace(cells=_cut_all(column.cells, _MAX_WIDTH))
        if column.kind == "text"
        else column
        for column in columns
    ]


def make_plain_table(columns: Sequence[Column]) -> str:
    """Return a table for files and programs, as wide as it gets."""
    lines = [_GAP.join(row).rstrip() for row in _iter_rows(_fit_freely(columns))]
    return "".join(f"{line}\n" for line in lines)


def make_terminal_table(
    columns: Sequence[Column], importance: Sequence[str], width: int | None = None
) -> Table:
    """Return a table for the terminal, with its colours.

    Args:
        columns: The columns.
        importance: Their headers, first that of the column that is left out last.
        width: The width of the terminal, by default that of this one.
    """
    from rich.console import Console
    from rich.segment import Segment, Segments
    from rich.style import Style

    console = Console(width=width, force_terminal=True)  # the caller knows
    fitted = fit(columns, importance, console.width)
    shown = [each.column.header for each in fitted]
    styles = {name: Style.parse(style) for name, style in _STATUS_STYLES.items()}
    bold = Style.parse("bold")
    is_status = [header == "status" for header in shown]
    segments = []
    for number, row in enumerate(_iter_rows(fitted)):
        cells = [*(cell + _GAP for cell in row[:-1]), row[-1].rstrip()]
        styled = [
            (bold if number == 0 else styles.get(cell.strip()) if may_be else None, cell)
            for cell, may_be in zip(cells, is_status, strict=True)
        ]
        for style, group in groupby(styled, key=lambda pair: pair[0]):
            segments.append(Segment("".join(cell for _, cell in group), style))
        segments.append(Segment.line())
    with console.capture() as capture:
        console.print(Segments(segments), soft_wrap=True, end="")
    return Table(capture.get(), [c.header for c in columns if c.header not in shown])


def make_list(pairs: Sequence[tuple[str, str]], width: int | None) -> list[str]:
    """Return a line for each name and its value, all values one below the other.

    Args:
        pairs: The names and values.
        width: The width of the lines, to which values and the beginnings of names are cut. Without
            it, only very long ones are cut, as in other tables for files and programs.
    """
    widest = max((_measure(name) for name, _ in pairs), default=0)
    of_names = min(widest, _MAX_WIDTH if width is None else width // 2)
    of_values = _MAX_WIDTH if width is None else width - of_names - len(_GAP)
    shown = [(_cut_start(name, of_names), _cut(value, of_values)) for name, value in pairs]
    return [f"{_pad(name, of_names, 'text')}{_GAP}{value}".rstrip() for name, value in shown]


def fit(columns: Sequence[Column], importance: Sequence[str], width: int) -> list[FittedColumn]:
    """Return as many columns as fit into a width, at least one.

    Texts and headers are narrowed, the widest ones first. If that does not suffice, the least
    important columns are left out.
    """
    for count in range(len(columns), 1, -1):
        shown = [column for column in columns if column.header in importance[:count]]
        room = width - len(_GAP) * (len(shown) - 1)
        narrowest = list(map(_get_narrowest, shown))
        if sum(narrowest) <= room:
            widths = [each.width for each in _fit_freely(shown)]
            return list(map(FittedColumn, shown, _narrow(widths, narrowest, room)))
    first = [column for column in columns if column.header == importance[0]]
    return [FittedColumn(column, min(free, width)) for column, free in _fit_freely(first)]


def _fit_freely(columns: Sequence[Column]) -> list[FittedColumn]:
    widths = [max(map(_measure, [column.header, *column.cells])) for column in columns]
    return [
        FittedColumn(column, min(width, _MAX_WIDTH) if column.kind == "text" else width)
        for column, width in zip(columns, widths, strict=True)
    ]


def _get_narrowest(column: Column) -> int:
    widest = max(map(_measure, column.cells), default=0)
    if column.kind == "text":
        widest = min(widest, _MIN_WIDTH)
    return max(widest, min(_measure(column.header), _MIN_WIDTH))


def _narrow(widths: list[int], narrowest: Sequence[int], room: int) -> list[int]:
    """Return widths that fit into some room: the widest ones get narrower."""
    while sum(widths) > room:
        reducible = [i for i, width in enumerate(widths) if width > narrowest[i]]
        widths[max(reducible, key=widths.__getitem__)] -= 1
    return widths


def _iter_rows(columns: Sequence[FittedColumn]) -> Iterator[tuple[str, ...]]:
    """Yield the header and the rows of a table, each with cells of the right width."""
    cells = []
    for (column, width), text in zip(columns, _cut_headers(columns), strict=True):
        header = _pad(text, width, column.kind)
        shown = _cut_all(column.cells, width)
        cells.append([header, *(_pad(cell, width, column.kind) for cell in shown)])
    yield from zip(*cells, strict=True)


def _cut_headers(columns: Sequence[FittedColumn]) -> list[str]:
    """Return the headers, cut where a part of a key begins unless two look the same then.

    The end of a key such as training.learning_rate says more than its beginning.
    """
    headers = [_cut_key(column.header, width) for column, width in columns]
    counts = Counter(headers)
    return [
        header if counts[header] == 1 else _cut_start(column.header, width)
        for header, (column, width) in zip(headers, columns, strict=True)
    ]


def _cut_key(key: str, width: int) -> str:
    """Return a key that fits into a width, with an ellipsis for its first parts if that does."""
    if _measure(key) <= width:
        return key
    ends = (key[match.end() :] for match in _SEPARATOR.finditer(key))
    fitting = (end for end in ends if end and _measure(end) < width)
    end = next(fitting, None)
    return _cut_start(key, width) if end is None else f"…{end}"


def _pad(text: str, width: int, kind: str) -> str:
    padding = " " * (width - _measure(text))
    return padding + text if kind == "number" else text + padding


def _cut_all(texts: Sequence[str], width: int) -> list[str]:
    """Return texts that fit into a width. The end is kept of texts that begin alike."""
    cut = [_cut(text, width) for text in texts]
    if len(set(cut)) == len(set(texts)):
        return cut
    half = width // 2
    return [
        text if _measure(text) <= width else _cut(text, width - half) + _cut_start(text, half)[1:]
        for text in texts
    ]


def _cut(text: str, width: int) -> str:
    """Return text that fits into a width, with an ellipsis if some of its end is missing."""
    if _measure(text) <= width:
        return text
    if width < 1:
        return ""
    kept = text[: width - 1]
    while _measure(kept) >= width:
        kept = kept[:-1]
    return f"{kept}…"


def _cut_start(text: str, width: int) -> str:
    if _measure(text) <= width:
        return text
    if width < 1:
        return ""
    kept = text[len(text) - width + 1 :]
    while _measure(kept) >= width:
        kept = kept[1:]
    return f"…{kept}"


def _measure(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)
