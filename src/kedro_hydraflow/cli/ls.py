"""``ls``: runs as a table."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeVar

import click

from kedro_hydraflow.cli.command import (
    EXIT_CODES,
    FAILED,
    FOUND,
    NOTHING_FOUND,
    logs_on_stderr,
    write,
)
from kedro_hydraflow.errors import OptionError, show_names

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kedro_hydraflow.cli.selection import Selection, SortKey, Wanted
    from kedro_hydraflow.default_columns import Columns
    from kedro_hydraflow.json_columns import Nested

F = TypeVar("F", bound=Callable[..., Any])

Format = Literal["table", "csv", "md", "json"]

HELP = f"""
KEY is a key of runs, such as status, start_time, model.type or metrics.accuracy. A filter is a
condition on keys, such as "metrics.accuracy > 0.9 and model.type == mlp".

{EXIT_CODES}"""
"""The end of the help of a command that lists runs."""

_MAX_SHOWN = 10
"""The maximum number of columns named in a note."""


@dataclass(frozen=True)
class ListOptions:
    """Which runs to list, and how to show them."""

    wanted: Wanted
    columns: tuple[str, ...]
    format: Format

    @property
    def is_data(self) -> bool:
        """Whether the output is for programs."""
        return self.format in ("csv", "json")


def list_runs(select: Callable[[], Selection], options: ListOptions) -> NoReturn:
    """Show runs, and end the command.

    Args:
        select: Returns the runs. What is logged meanwhile goes to standard error.
        options: How to show them.
    """
    from kedro_hydraflow.default_columns import make_columns

    with logs_on_stderr():
        selection = select()
        nested: Nested = "json" if options.format == "csv" else "keep"
        columns = make_columns(list(selection.runs), options.columns, nested)
    text, left_out = _render(columns, options)
    write(text)
    n_shown, n_matching = len(selection.runs), selection.n_matching
    if n_matching is not None and n_matching > n_shown:
        _note(f"the first {n_shown} of {n_matching} runs")
    if columns.omission is not None:
        _note(f"not shown: {columns.omission}; choose with --columns")
    if left_out:
        _note(f"no room for {show_names(left_out, _MAX_SHOWN)}; choose with --columns")
    code = FAILED if selection.failures else FOUND if selection.runs else NOTHING_FOUND
    click.get_current_context().exit(code)


def _render(columns: Columns, options: ListOptions) -> tuple[str, list[str]]:
    """Return columns as text, and the names of those for which there is no room."""
    from kedro_hydraflow.cli.tables import make_plain_table, make_terminal_table
    from kedro_hydraflow.formats import make_cells, to_csv, to_json, to_markdown

    frame = columns.frame
    if options.format == "csv":
        return to_csv(frame), []
    if options.format == "json":
        return to_json(frame), []
    if frame.is_empty():
        return "", []
    cells = make_cells(frame, short_ids=None if options.columns else "run_id")
    if options.format == "md":
        return to_markdown(cells), []
    if sys.stdout.isatty():
        return make_terminal_table(cells, columns.importance)
    return make_plain_table(cells), []


def _note(text: str) -> None:
    click.echo(text, err=True)


# The options ------------------------------------------------------------------------------


def take_list_options(command: F) -> F:
    """Decorate a command that takes the options of a listing as its argument ``options``."""

    @functools.wraps(command)
    def wrapped(
        *,
        filters: tuple[str, ...],
        order: tuple[SortKey, ...],
        columns: tuple[str, ...],
        limit: int | None,
        csv: bool,
        md: bool,
        json: bool,
        **others: Any,
    ) -> Any:
        from kedro_hydraflow.cli.selection import Wanted

        wanted = Wanted(filters, order, limit)
        options = ListOptions(wanted, columns, _get_format(csv, md, json))
        return command(options=options, **others)

    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped  # type: ignore[return-value]


def _get_format(csv: bool, md: bool, json: bool) -> Format:
    flags: dict[Format, bool] = {"csv": csv, "md": md, "json": json}
    given = [name for name, is_given in flags.items() if is_given]
    if len(given) > 1:
        raise click.UsageError(f"--{given[0]} and --{given[1]} do not go together")
    return given[0] if given else "table"


def _parse_columns(
    _ctx: click.Context, _parameter: click.Parameter, texts: Iterable[str]
) -> tuple[str, ...]:
    keys = [key.strip() for text in texts for key in text.split(",")]
    if not all(keys):
        raise click.BadParameter("expected keys with commas between them, found an empty one")
    return tuple(dict.fromkeys(keys))


def _parse_order(
    _ctx: click.Context, _parameter: click.Parameter, texts: Iterable[str]
) -> tuple[SortKey, ...]:
    from kedro_hydraflow.cli.selection import parse_sort_key

    try:
        return tuple(map(parse_sort_key, texts))
    except OptionError as exc:
        raise click.BadParameter(str(exc)) from exc


_OPTIONS = [
    click.option(
        "--filter",
        "-f",
        "filters",
        multiple=True,
        metavar="TEXT",
        help="Only runs that meet this condition. Repeat it for more conditions.",
    ),
    click.option(
        "--sort",
        "-s",
        "order",
        multiple=True,
        metavar="KEY",
        callback=_parse_order,
        help="Sort by this key, or with -KEY from the largest value to the smallest. Repeat it for "
        "runs with equal values. Runs without a value come last.",
    ),
    click.option(
        "--columns",
        "-c",
        multiple=True,
        metavar="KEY,KEY",
        callback=_parse_columns,
        help="Show these keys, instead of some facts, what differs, and the first metrics.",
    ),
    click.option(
        "--limit",
        "-n",
        type=click.IntRange(min=1),
        metavar="N",
        help="Show the first N runs. The others are not read, unless --sort needs it.",
    ),
    click.option("--csv", is_flag=True, help="Write CSV."),
    click.option("--md", is_flag=True, help="Write a table in Markdown."),
    click.option("--json", is_flag=True, help="Write a JSON array with an object for each run."),
]
