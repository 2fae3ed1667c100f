"""``diff``: two runs side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import click

from kedro_hydraflow.cli.command import FAILED, FOUND, NOTHING_FOUND, logs_on_stderr, write
from kedro_hydraflow.cli.output import get_width, take_format, take_keys, write_frame
from kedro_hydraflow.errors import OptionError
from kedro_hydraflow.escaping import escape

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kedro_hydraflow.cli.output import Format
    from kedro_hydraflow.cli.selection import Selection, Wanted
    from kedro_hydraflow.run import Run

_HELP = """\
Show the keys in which two runs differ: those of the configuration, or else the params, metrics and
results.

RUN is the ID of a run, or at least 4 characters that only this one begins with. Values that only
follow from others, such as paths with the run's ID, are left out, unless with --all.

\b
Exit codes:
  0  the runs differ
  1  they do not
  2  an error, or something of them could not be read
"""

_MAX_ROOM = 200
"""The number of characters of a value that a table shows."""

_MIN_SHOWN = 10
"""The number of characters that are shown of what two long values begin with, and after that."""


@click.command(help=_HELP)
@click.argument("a", metavar="RUN")
@click.argument("b", metavar="RUN")
@take_keys("--keys", "-k", text="Compare these keys and patterns.")
@click.option("--all", "show_all", is_flag=True, help="Show keys with equal values, too.")
@take_format
def diff(
    select: Callable[[Wanted], Selection],
    a: str,
    b: str,
    keys: tuple[str, ...],
    show_all: bool,
    output: Format,
) -> NoReturn:
    """Show two runs side by side, as `_HELP` says."""
    from kedro_hydraflow.cli.selection import Wanted
    from kedro_hydraflow.comparing import are_same, make_pair_frame, make_text_frame
    from kedro_hydraflow.formats import shorten_ids, to_json_array

    with logs_on_stderr():
        selection = select(Wanted(run_ids=(a, b)))
        runs = [selection.find(a), selection.find(b)]
        if runs[0] is runs[1]:
            raise OptionError(f"{a!r} and {b!r} are the same run, {runs[0].info.run_id}")
        values = _compare(runs, keys or _list_patterns(runs), show_all=show_all)
    if output == "json":
        write(to_json_array({"key": key, "a": a, "b": b} for key, (a, b) in values.items()))
    else:
        frame = make_pair_frame(values)
        if output == "table":
            width = get_width()
            room = _MAX_ROOM if width is None else width // 3
            pairs = {key: _cut_beginnings(texts, room) for key, *texts in frame.iter_rows()}
            frame = make_text_frame(pairs)
        if output != "csv":
            ids = shorten_ids([escape(run.info.run_id) for run in runs])
            frame = frame.rename(dict(zip("ab", ids, strict=True)))
        write_frame(frame, output, frame.columns)
    differ = not all(map(are_same, values.values()))
    code = FAILED if selection.is_incomplete else FOUND if differ else NOTHING_FOUND
    click.get_current_context().exit(code)


def _compare(
    runs: Sequence[Run], keys: Sequence[str], *, show_all: bool
) -> dict[str, Sequence[object]]:
    """Return the values of both runs by key."""
    from functools import partial

    from kedro_hydraflow.comparing import find_differing, find_values, read_values_by_name

    find = partial(find_values, runs)
    if show_all:
        return dict(read_values_by_name(runs, keys, find))
    return {column.name: column.values for column in find_differing(runs, keys, find)}


def _list_patterns(runs: Sequence[Run]) -> list[str]:
    """Return the patterns of what there is to compare."""
    from kedro_hydraflow.key_patterns import choose_default_pattern, list_keys

    patterns = [choose_default_pattern(runs), "metrics.*", "results.*"]
    return [pattern for pattern in patterns if list_keys(runs, [pattern])]


def _cut_beginnings(texts: Sequence[str | None], room: int) -> Sequence[str | None]:
    """Return two texts without what both begin with, if all that there is room for is the same.

    A table cuts the end of long texts, which would look alike.
    """
    a, b = texts
    if a is None or b is None or a == b:
        return texts
    pairs = enumerate(zip(a, b, strict=False))
    n_same = next((i for i, (one, other) in pairs if one != other), min(len(a), len(b)))
    start = n_same - _MIN_SHOWN
    return texts if n_same + _MIN_SHOWN < room else [f"…{a[start:]}", f"…{b[start:]}"]
