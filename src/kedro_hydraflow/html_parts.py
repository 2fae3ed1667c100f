"""Parts of HTML for notebooks. All text is foreign: it is escaped, and cut to a length.

There are no links, and no attributes with foreign text. Colours are those of the notebook, so that
it looks right in dark ones, too.
"""

from __future__ import annotations

import html
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal

from kedro_hydraflow.errors import KedroHydraflowError, show_count
from kedro_hydraflow.escaping import escape
from kedro_hydraflow.times import show_time
from kedro_hydraflow.value_text import show_value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

Kind = Literal["number", "text", "whole"]
"""How a column is shown. Numbers and what is whole, times and IDs, are not cut."""

MAX_ROWS = 50
"""The maximum number of rows of a table of keys or groups."""

_MAX_COLUMNS = 12
"""The maximum number of columns of a table."""

_MAX_LENGTH = 80
"""The maximum number of characters of a cell."""

_MAX_NOTE = 1000
"""The maximum number of characters of a note."""

_MAX_ITEMS = 10
"""The number of items of a list or mapping that are looked at."""

_MAX_DEPTH = 3
"""The depth to which lists and mappings are looked at."""

_STYLE = """\
<style>
.kedro-hydraflow { overflow-x: auto; }
.kedro-hydraflow table { border-collapse: collapse; margin: 0.3em 0 0.6em; color: inherit; }
.kedro-hydraflow tr, .kedro-hydraflow thead { background: none !important; }
.kedro-hydraflow th, .kedro-hydraflow td {
  border: 0; border-bottom: 1px solid rgba(128, 128, 128, 0.35); padding: 0.2em 0.8em 0.2em 0;
  text-align: left !important; vertical-align: top; max-width: 30em; overflow-wrap: break-word;
}
.kedro-hydraflow .number { text-align: right !important; font-variant-numeric: tabular-nums; }
.kedro-hydraflow .whole { white-space: nowrap; }
.kedro-hydraflow .note { opacity: 0.7; }
.kedro-hydraflow summary { cursor: pointer; }
</style>"""


def make_html(title: str, *sections: Callable[[], str]) -> str:
    """Return a title, and below it what some functions return, or why one of them fails.

    It never raises an exception, which a notebook would show instead.
    """
    parts = [f"<div><strong>{escape_text(title)}</strong></div>"]
    for section in sections:
        try:
            parts.append(section())
        except KedroHydraflowError as exc:  # noqa: PERF203 - each has its own
            parts.append(make_note(f"cannot be read: {exc}"))
        except Exception as exc:  # its text may have anything in it
            parts.append(make_note(f"cannot be shown: {type(exc).__name__}"))
    body = "\n".join(filter(None, parts))
    return f'<div class="kedro-hydraflow">\n{_STYLE}\n{body}\n</div>'


def make_note(text: str) -> str:
    """Return a line of text of less importance."""
    return f'<div class="note">{escape_text(text, _MAX_NOTE)}</div>'


def make_table(
    names: Sequence[str],
    rows: Iterable[Sequence[Any]],
    n_rows: int,
    kinds: Sequence[Kind] = (),
    *,
    is_cut: bool = False,
) -> str:
    """Return a table of values, as `show_briefly` shows them, or of text.

    Args:
        names: The names of the columns.
        rows: The rows, at most `MAX_ROWS` of which are shown.
        n_rows: How many rows there are.
        kinds: The kinds of the columns, by default text. Numbers are aligned at the right, and
            what is whole is not broken into lines.
        is_cut: Whether there are more rows than `n_rows`.
    """
    kinds = kinds or ["text"] * len(names)
    shown = [_make_row("td", row, kinds) for row in islice(rows, MAX_ROWS)]
    head = _make_row("th", names, kinds)
    table = f"<table>\n<thead>{head}</thead>\n<tbody>\n" + "\n".join(shown) + "\n</tbody>\n</table>"
    notes = []
    if n_rows > len(shown):
        notes.append(make_note(f"… {'at least ' if is_cut else ''}{n_rows - len(shown)} more"))
    if len(names) > _MAX_COLUMNS:
        notes.append(make_note(f"… {show_count(len(names) - _MAX_COLUMNS, 'more column')}"))
    return "\n".join([table, *notes])


def _make_row(tag: str, row: Sequence[Any], kinds: Sequence[Kind]) -> str:
    cells = zip(row[:_MAX_COLUMNS], kinds[:_MAX_COLUMNS], strict=True)
    shown = (
        f'<{tag} class="{kind}">{escape_text(show_briefly(cell))}</{tag}>' for cell, kind in cells
    )
    return f"<tr>{''.join(shown)}</tr>"


def make_details(title: str, content: str, *, is_open: bool = False) -> str:
    """Return content that is shown when its title is clicked."""
    attribute = " open" if is_open else ""
    return f"<details{attribute}><summary>{escape_text(title)}</summary>\n{content}\n</details>"


def show_briefly(value: Any) -> str:
    """Return a value as text, text itself as it is, with no more than the beginning of a long one.

    Of long lists and mappings, only the first items are looked at.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, datetime):
        return show_time(value)
    if type(value) is float:
        return f"{value:.6g}"
    return show_value(_shorten(value, _MAX_DEPTH))


def _shorten(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return value[: _MAX_LENGTH + 1]
    if not isinstance(value, (list, tuple, dict)):
        return value
    if not depth:
        return "…"
    more = len(value) > _MAX_ITEMS
    if isinstance(value, dict):
        first = {k: _shorten(v, depth - 1) for k, v in islice(value.items(), _MAX_ITEMS)}
        return {**first, "…": len(value) - _MAX_ITEMS} if more else first
    return [*(_shorten(item, depth - 1) for item in value[:_MAX_ITEMS]), *(["…"] if more else [])]


def escape_text(text: str, limit: int = _MAX_LENGTH) -> str:
    """Return text for HTML, without its middle if it has more than a number of characters."""
    return html.escape(escape(cut_middle(text, limit)))


def cut_middle(text: str, limit: int) -> str:
    """Return text without its middle if it has more than a number of characters.

    Long texts that differ, such as paths, often do so at the end.
    """
    n_last = limit // 2
    return text if len(text) <= limit else f"{text[: limit - 1 - n_last]}…{text[-n_last:]}"
