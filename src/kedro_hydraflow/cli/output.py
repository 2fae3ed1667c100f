"""Frames on standard output: as tables for people, and as CSV, JSON or Markdown."""

from __future__ import annotations

import functools
import shutil
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click

from kedro_hydraflow.cli.command import write
from kedro_hydraflow.errors import show_names
from kedro_hydraflow.progress import is_terminal

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import polars as pl

F = TypeVar("F", bound=Callable[..., Any])

Format = Literal["table", "csv", "md", "json"]

_MAX_SHOWN = 10
"""The maximum number of columns named in a note."""


def write_frame(
    frame: pl.DataFrame,
    output: Format,
    importance: Sequence[str],
    *,
    short_ids: str | None = None,
    advice: str = "",
) -> None:
    """Write a frame to standard output.

    Args:
        frame: The frame.
        output: How. A table or Markdown of no rows is empty.
        importance: The names of the columns, first that of the column that is left out last where
            there is no room in a terminal.
        short_ids: As for `make_cells`. Where a terminal has no room for all columns otherwise, run
            IDs are cut in any case.
        advice: What to do if columns are left out.
    """
    from kedro_hydraflow.cli.tables import cut_texts, make_plain_table, make_terminal_table
    from kedro_hydraflow.formats import cut_ids, make_cells, to_csv, to_json, to_markdown

    if output == "csv":
        write(to_csv(frame))
    elif output == "json":
        write(to_json(frame))
    elif not frame.is_empty():
        cells = make_cells(frame, short_ids)
        if output == "md":
            write(to_markdown(cut_texts(cells)))
        elif get_width() is None:
            write(make_plain_table(cells))
        else:
            table = make_terminal_table(cells, importance)
            if table.left_out:
                cells = [cut_ids(each) if each.header == "run_id" else each for each in cells]
                table = make_terminal_table(cells, importance)
            write(table.text)
            if table.left_out:
                note(f"no room for {show_names(table.left_out, _MAX_SHOWN)}{advice}")


def get_width() -> int | None:
    """Return the width of the terminal; None if standard output is something else."""
    return shutil.get_terminal_size().columns if is_terminal(sys.stdout) else None


def note(text: str) -> None:
    """Write a line to standard error."""
    click.echo(text, err=True)


def take_format(command: F) -> F:
    """Decorate a command that takes a `Format` as its argument ``output``."""

    @functools.wraps(command)
    def wrapped(*, csv: bool, md: bool, json: bool, **others: Any) -> Any:
        flags: dict[Format, bool] = {"csv": csv, "md": md, "json": json}
        given = [name for name, is_given in flags.items() if is_given]
        if len(given) > 1:
            raise click.UsageError(f"--{given[0]} and --{given[1]} do not go together")
        return command(output=given[0] if given else "table", **others)

    for option in reversed(_FORMATS):
        wrapped = option(wrapped)
    return wrapped  # type: ignore[return-value]


_FORMATS = [
    click.option("--csv", is_flag=True, help="Write CSV."),
    click.option("--md", is_flag=True, help="Write a table in Markdown."),
    click.option("--json", is_flag=True, help="Write a JSON array with an object for each row."),
]


def _parse_keys(
    _ctx: click.Context, _parameter: click.Parameter, texts: Iterable[str]
) -> tuple[str, ...]:
    keys = [key.strip() for text in texts for key in text.split(",")]
    if not all(keys):
        raise click.BadParameter("expected keys with commas between them, found an empty one")
    return tuple(dict.fromkeys(keys))


def take_keys(*names: str, text: str) -> Callable[[F], F]:
    """Return the decorator for an option that is several keys and patterns."""
    return click.option(*names, multiple=True, metavar="KEY,KEY", callback=_parse_keys, help=text)


take_filters = click.option(
    "--filter",
    "-f",
    "filters",
    multiple=True,
    metavar="TEXT",
    help="Only runs that meet this condition. Repeat it for more conditions.",
)
