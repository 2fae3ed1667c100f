"""``export``: a file with all columns of runs."""

from __future__ import annotations

import io
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, NoReturn

import click

from kedro_hydraflow.cli.command import FAILED, FOUND, NOTHING_FOUND, logs_on_stderr, write
from kedro_hydraflow.cli.output import take_filters, take_keys
from kedro_hydraflow.errors import NotFoundError, OptionError, show_count

if TYPE_CHECKING:
    from collections.abc import Callable

    import polars as pl

    from kedro_hydraflow.cli.selection import Selection, Wanted
    from kedro_hydraflow.json_columns import Nested
    from kedro_hydraflow.storage import Entry, Place

_SUFFIXES = (".csv", ".parquet", ".json", ".jsonl")
_ENDINGS = f"{', '.join(_SUFFIXES[:-1])} or {_SUFFIXES[-1]}"

_PATTERNS = ("*", "metrics.*", "params.*", "tags.*", "results.*")
"""What is written besides the facts."""

_HELP = f"""\
Write runs to a file, with all their columns.

FILE ends with {_ENDINGS}. It is a path or a URL, and is written as a whole or
not at all. By default, the columns are the facts, the configuration, metrics, params, tags and
results.

\b
Exit codes:
  0  written
  1  no run matches, and nothing is written
  2  an error, or some runs, or values of runs, could not be read
"""


@click.command(help=_HELP)
@click.argument("file", metavar="FILE")
@take_filters
@take_keys("--columns", "-c", text="Write these keys and patterns alone.")
@click.option("--force", is_flag=True, help="Replace the file if there is one.")
def export(
    select: Callable[[Wanted], Selection],
    file: str,
    filters: tuple[str, ...],
    columns: tuple[str, ...],
    force: bool,
) -> NoReturn:
    """Write runs to a file, as `_HELP` says."""
    from kedro_hydraflow.cli.selection import Wanted
    from kedro_hydraflow.frames import make_frame_by_spelling
    from kedro_hydraflow.storage import locate

    suffix = PurePosixPath(file).suffix
    if suffix not in _SUFFIXES:
        raise click.UsageError(f"FILE: expected the ending {_ENDINGS}, found {file!r}")
    with logs_on_stderr():
        place = locate(file)
        _check_absent(place, force=force)
        selection = select(Wanted(filters))
        runs = list(selection.runs)
        if runs:
            nested: Nested = "keep" if suffix.startswith(".json") else "json"
            frame = make_frame_by_spelling(runs, columns or _list_all(), nested)
            content = _to_bytes(frame, suffix)
            _check_absent(place, force=force)  # by now there may be one
            place.storage.write(place.path, content)
    if runs:
        counts = f"{show_count(len(runs), 'run')} with {show_count(frame.width, 'column')}"
        write(f"wrote {counts} to {place.url}\n")
    code = FAILED if selection.is_incomplete else FOUND if runs else NOTHING_FOUND
    click.get_current_context().exit(code)


def _list_all() -> list[tuple[str, None]]:
    """Return all columns, with null for runs without a value.

    The run directory is not among them: its URL may have credentials.
    """
    from kedro_hydraflow.run_info import FACTS_IN_ORDER

    facts = [name for name in FACTS_IN_ORDER if name != "run_dir"]
    return [(key, None) for key in (*facts, *_PATTERNS)]


def _check_absent(place: Place, *, force: bool) -> None:
    """Raise OptionError if there is a directory, or a file that is not to be replaced."""
    found = _find(place)
    if found is not None and found.is_dir:
        inner = place.join(f"runs{PurePosixPath(place.path).suffix}").url
        raise OptionError(f"{place.url!r} is a directory; give a file, such as {inner!r}")
    if found is not None and not force:
        raise OptionError(f"{place.url!r} exists; give --force to replace it")


def _find(place: Place) -> Entry | None:
    """Return what there is at a place. A file is not read, which `Place.read` would do."""
    _, name = place.storage.split(place.path)
    try:
        return next((entry for entry in place.parent.list() if entry.name == name), None)
    except NotFoundError:
        return None


def _to_bytes(frame: pl.DataFrame, suffix: str) -> bytes:
    from kedro_hydraflow.formats import to_csv, to_json, to_json_lines

    if suffix == ".parquet":
        buffer = io.BytesIO()
        frame.write_parquet(buffer)
        return buffer.getvalue()
    if suffix == ".csv":
        return to_csv(frame).encode()
    if suffix == ".json":
        return to_json(frame).encode()
    return to_json_lines(frame.iter_rows(named=True)).encode()
