"""``ls`` and ``best``: runs as rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import click

from kedro_hydraflow.cli.command import FAILED, FOUND, NOTHING_FOUND, logs_on_stderr
from kedro_hydraflow.cli.output import (
    get_width,
    note,
    take_filters,
    take_format,
    take_keys,
    write_frame,
)
from kedro_hydraflow.errors import OptionError, show_count

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from kedro_hydraflow.cli.orders import Order, SortKey
    from kedro_hydraflow.cli.output import Format
    from kedro_hydraflow.cli.selection import Selection, Wanted
    from kedro_hydraflow.columns import Mode
    from kedro_hydraflow.default_columns import Columns
    from kedro_hydraflow.json_columns import Nested

_HELP = """\
KEY is a key of runs, such as status, start_time, model.type or metrics.accuracy. A filter is a
condition on keys, such as "metrics.accuracy > 0.9 and model.type == mlp".

\b
Exit codes:
  0  there are runs
  1  no run matches
  2  an error, or some runs, or values of runs, could not be read
"""

_take_columns = take_keys(
    "--columns",
    "-c",
    text="Show these keys, instead of some facts, what differs, and the first metrics.",
)


def _parse_order(
    _ctx: click.Context, _parameter: click.Parameter, texts: Iterable[str]
) -> Order | None:
    from kedro_hydraflow.cli.orders import SortOrder, parse_sort_key

    keys: list[SortKey] = []
    try:
        keys += map(parse_sort_key, texts)
    except OptionError as exc:
        raise click.BadParameter(str(exc)) from exc
    return SortOrder(keys) if keys else None


@click.command(help=f"List runs.\n\n{_HELP}")
@take_filters
@click.option(
    "--sort",
    "-s",
    "order",
    multiple=True,
    metavar="KEY",
    callback=_parse_order,
    help="Sort by this key, or with -KEY from the largest value to the smallest. Repeat it for "
    "runs with equal values. Runs without a value come last.",
)
@_take_columns
@click.option("--only-changed", is_flag=True, help="Only columns that differ between these runs.")
@click.option(
    "--limit",
    "-n",
    type=click.IntRange(min=1),
    metavar="N",
    help="Show the first N runs. The others are not read, unless --sort needs it.",
)
@take_format
def ls(
    select: Callable[[Wanted], Selection],
    filters: tuple[str, ...],
    order: Order | None,
    columns: tuple[str, ...],
    only_changed: bool,
    limit: int | None,
    output: Format,
) -> NoReturn:
    """List runs."""
    from kedro_hydraflow.cli.selection import Wanted

    wanted = Wanted(filters, order, limit)
    _show_runs(select, wanted, columns, output, only_changed=only_changed)


@click.command(
    help="Show the best run, or the best ones. Of runs with equal values, the first is that with "
    f"the first ID.\n\n{_HELP}"
)
@click.option(
    "--by",
    required=True,
    metavar="KEY",
    help="The key of the number or time that says how good a run is, such as metrics.accuracy.",
)
@click.option(
    "--mode",
    type=click.Choice(["max", "min"]),
    help="Whether the largest or the smallest value is the best one. It has to be given.",
)
@take_filters
@_take_columns
@click.option(
    "--limit",
    "-n",
    type=click.IntRange(min=1),
    default=1,
    metavar="N",
    help="Show the N best runs, the best one first. By default, it is one.",
)
@take_format
def best(
    select: Callable[[Wanted], Selection],
    by: str,
    mode: Mode | None,
    filters: tuple[str, ...],
    columns: tuple[str, ...],
    limit: int,
    output: Format,
) -> NoReturn:
    """Show the best runs."""
    if mode is None:
        raise click.UsageError(
            f"give --mode max if the largest value of {by!r} is the best one, or --mode min if the "
            "smallest is, as for a loss"
        )
    from kedro_hydraflow.cli.orders import Ranking
    from kedro_hydraflow.cli.selection import Wanted

    wanted = Wanted(filters, Ranking(by, mode), limit)
    _show_runs(select, wanted, columns, output, which="best")


def _show_runs(
    select: Callable[[Wanted], Selection],
    wanted: Wanted,
    keys: tuple[str, ...],
    output: Format,
    *,
    only_changed: bool = False,
    which: str = "first",
) -> NoReturn:
    """Show runs, and end the command.

    Args:
        select: Returns the runs that are wanted. What it logs goes to standard error.
        wanted: Which runs. The keys of their order are among the columns by default.
        keys: The columns; by default, those that say most.
        output: How to show them.
        only_changed: Whether to leave out columns that do not differ.
        which: What to call the runs if there are others.
    """
    from kedro_hydraflow.default_columns import make_columns

    with logs_on_stderr():
        selection = select(wanted)
        runs = list(selection.runs)
        nested: Nested = "keep" if output == "json" else "json"
        ordered_by = () if wanted.order is None else wanted.order.key_texts
        columns = make_columns(runs, keys, nested, ordered_by)
        if only_changed and len(runs) > 1:
            columns = _drop_same(columns)
    choose = "; choose with --columns"
    short_ids = None if keys else "run_id"
    advice = "; choose fewer, or use a wider terminal" if keys else choose
    write_frame(columns.frame, output, columns.importance, short_ids=short_ids, advice=advice)
    count = _describe_count(len(runs), selection.n_matching, wanted.limit, which)
    if count is None and runs and output == "table" and get_width() is not None:
        count = show_count(len(runs), "run")
    if count is not None:
        note(count)
    if columns.omission is not None:
        note(f"not shown: {columns.omission}{choose}")
    code = FAILED if selection.is_incomplete else FOUND if runs else NOTHING_FOUND
    click.get_current_context().exit(code)


def _describe_count(
    n_shown: int, n_matching: int | None, limit: int | None, which: str
) -> str | None:
    """Return how many runs there are if some are not shown, or may not be."""
    if n_matching is None:
        are_cut = n_shown == limit
        return f"the {which} {show_count(n_shown, 'run')}; there may be more" if are_cut else None
    return f"the {which} {n_shown} of {n_matching} runs" if n_matching > n_shown else None


def _drop_same(columns: Columns) -> Columns:
    """Return the columns whose values differ."""
    from kedro_hydraflow.comparing import are_same

    differing = [each.name for each in columns.frame.iter_columns() if not are_same(each)]
    if not differing:
        note("no column differs")
    importance = [name for name in columns.importance if name in differing]
    return columns._replace(frame=columns.frame.select(differing), importance=importance)
