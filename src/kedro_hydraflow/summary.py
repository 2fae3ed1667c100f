"""Summaries of runs: each key over all runs, and numbers over the runs that are alike."""

from __future__ import annotations

import math
from collections import Counter
from contextlib import suppress
from datetime import date
from fnmatch import fnmatchcase
from itertools import accumulate
from numbers import Real
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from kedro_hydraflow.aggregates import get_max, get_mean, get_min, get_std, to_float
from kedro_hydraflow.columns import make_series, to_identities, to_identity
from kedro_hydraflow.comparing import find_differing, read_values_by_name
from kedro_hydraflow.errors import KedroHydraflowError, OptionError, show_names
from kedro_hydraflow.escaping import escape_undecodable
from kedro_hydraflow.forks import warn_of_polars
from kedro_hydraflow.key_patterns import list_keys, read_columns
from kedro_hydraflow.keys import identify, is_pattern, parse_pattern
from kedro_hydraflow.logs import get_logger
from kedro_hydraflow.nearest_keys import describe_nearest_keys
from kedro_hydraflow.recorded import to_ordered
from kedro_hydraflow.value_text import show_value

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping, Sequence

    import polars as pl

    from kedro_hydraflow.comparing import ComparedColumn, Find
    from kedro_hydraflow.run_base import RunBase

logger = get_logger(__name__)

_ORDERED = (Real, str, bytes, date, PurePath)
"""The types of values that may have an order."""

_MAX_SHOWN = 5
"""The maximum number of keys that a message advises to ignore."""

_OWN_COLUMNS = frozenset({"key", "mean", "std", "min", "max", "n"})
"""The columns of `make_over_frame` beside those of keys."""


# One row for each key ----------------------------------------------------------------------


def make_description(runs: Sequence[RunBase], keys: Iterable[str], find: Find) -> pl.DataFrame:
    """Return a frame with a row for each key: see ``RunCollection.describe``.

    Args:
        runs: The runs.
        keys: Keys and patterns.
        find: Finds the values of a key that is not a pattern.
    """
    import polars as pl

    warn_of_polars()
    rows = [describe_values(*item) for item in read_values_by_name(runs, keys, find).items()]
    schema: dict[str, Any] = {
        "key": pl.String,
        "type": pl.String,
        "distinct": pl.Int64,
        "missing": pl.Int64,
        "nan": pl.Int64,
        "min": pl.String,
        "max": pl.String,
        "example": pl.String,
    }
    return pl.DataFrame(
        [pl.Series(name, [row[name] for row in rows], dtype) for name, dtype in schema.items()]
    )


def describe_values(key: str, values: list[Any]) -> dict[str, Any]:
    """Return the row of a key for `make_description`."""
    counts = Counter(map(id, values))
    objects = {id(value): value for value in values}  # runs share most of them
    present = [value for value in objects.values() if value is not None]
    distinct = {to_identity(value): value for value in present}
    low, high = _find_range(to_ordered(key, list(distinct.values())))
    return {
        "key": escape_undecodable(key),
        "type": " | ".join(sorted(set(map(_name_type, present)))) or "null",
        "distinct": len(distinct),
        "missing": counts[id(None)],
        "nan": sum(counts[id(value)] for value in present if _is_nan(value)),
        "min": low,
        "max": high,
        "example": show_value(present[0]) if present else None,
    }


def _name_type(value: Any) -> str:
    is_path = isinstance(value, PurePath) or hasattr(value, "storage_options")  # a UPath
    return "path" if is_path else type(value).__name__


def _find_range(values: Sequence[Any]) -> tuple[str | None, str | None]:
    """Return the least and the largest of values as text; None if they have no order."""
    ordered = [value for value in values if not _is_nan(value)]
    if not ordered or not all(isinstance(value, _ORDERED) for value in ordered):
        return None, None
    try:
        return show_value(get_min(ordered)), show_value(get_max(ordered))
    except OptionError:  # of several kinds
        return None, None


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


# Over seeds --------------------------------------------------------------------------------


def make_over_frame(
    runs: Sequence[RunBase],
    over: Sequence[str],
    values: Sequence[str],
    find: Find,
    *,
    ignore: Sequence[str],
    among: Sequence[str],
) -> pl.DataFrame:
    """Return a frame of numbers over the runs that are alike: see ``RunCollection.over``.

    Args:
        runs: The runs.
        over: The keys in which runs that are alike may differ.
        values: Keys and patterns of numbers.
        find: Finds the values of a key that is not a pattern.
        ignore: Keys and patterns, or the beginnings of keys, in which they may differ, too.
        among: Keys and patterns that are looked at.
    """
    warn_of_polars()
    numbers = {
        key: _to_numbers(runs, key, column)
        for key, column in read_values_by_name(runs, values, find).items()
    }
    seeds = read_values_by_name(runs, over, find)
    _warn_of_unknown(runs, ignore, among)
    left_out = [*ignore, *seeds, *numbers]
    columns = [
        column
        for column in find_differing(runs, among, find)
        if not any(_covers(key, column.name) for key in left_out)
    ]
    groups = [0] * len(runs)
    for column in columns:
        groups = _split(groups, to_identities(column.causes))
    members = _list_members(groups)
    if len(members) == len(runs) > 1:
        _warn_of_single_runs(len(runs), seeds, columns)
    else:
        _warn_of_several_jobs(runs, columns, members)
    return _average(columns, numbers, members)


def _average(
    columns: Sequence[ComparedColumn],
    numbers: Mapping[str, Sequence[float | None]],
    groups: Sequence[Sequence[int]],
) -> pl.DataFrame:
    """Return a frame with a row for each group of runs and each column of numbers.

    Args:
        columns: The columns in which the groups differ.
        numbers: The columns of numbers by key.
        groups: The positions of the runs of each group.
    """
    import polars as pl

    firsts = [group[0] for group in groups for _ in numbers]
    rows = [
        (escape_undecodable(key), *_summarise([column[i] for i in group]))
        for group in groups
        for key, column in numbers.items()
    ]
    keys, means, stds, lows, highs, counts = zip(*rows, strict=True) if rows else ((),) * 6
    return pl.DataFrame(
        [
            *(
                make_series(_name_column(column.name), [column.causes[i] for i in firsts])
                for column in columns
            ),
            pl.Series("key", keys, pl.String),
            pl.Series("mean", means, pl.Float64),
            pl.Series("std", stds, pl.Float64),
            pl.Series("min", lows, pl.Float64),
            pl.Series("max", highs, pl.Float64),
            pl.Series("n", counts, pl.Int64),
        ]
    )


def _split(groups: Sequence[int], column: Sequence[Hashable]) -> list[int]:
    """Return the numbers of the groups of runs that the values of a column split groups into."""
    numbers: dict[tuple[int, Hashable], int] = {}
    return [numbers.setdefault(pair, len(numbers)) for pair in zip(groups, column, strict=True)]


def _list_members(groups: Sequence[int]) -> list[list[int]]:
    """Return the positions of the runs of each group."""
    members: dict[int, list[int]] = {}
    for i, number in enumerate(groups):
        members.setdefault(number, []).append(i)
    return list(members.values())


def _find_splitting(n_runs: int, columns: Sequence[Sequence[Hashable]]) -> tuple[list[int], int]:
    """Return the column that splits runs most, or several if one alone makes no difference.

    Args:
        n_runs: The number of runs, which the columns split into as many groups.
        columns: The columns.

    Returns:
        The positions of the columns, and the number of groups without them, which is the least
        for one column.
    """
    whole = [0] * n_runs
    before = list(accumulate(columns, _split, initial=whole))
    after = list(accumulate(reversed(columns), _split, initial=whole))[::-1]
    counts = [len(set(zip(before[i], after[i + 1], strict=True))) for i in range(len(columns))]
    if min(counts) < n_runs:
        return [counts.index(min(counts))], min(counts)
    order = sorted(range(len(columns)), key=lambda i: (len(set(columns[i])), -i))
    splits = accumulate((columns[i] for i in order), _split, initial=whole)
    counts = [len(set(split)) for split in splits]
    n_kept = max(i for i, count in enumerate(counts) if count < n_runs)
    return order[n_kept:][::-1], counts[n_kept]


def _covers(key: str, name: str) -> bool:
    """Whether a key or a pattern names a column, or a mapping that the column is in."""
    kind, path = identify(name)
    if is_pattern(key):
        pattern = parse_pattern(key)
        return pattern.kind == kind and fnmatchcase(path, pattern.path.replace("[", "[[]"))
    wanted = identify(key)
    return wanted == (kind, path) or (wanted[0] == kind and path.startswith(f"{wanted[1]}."))


def _name_column(key: str) -> str:
    return f"cfg.{key}" if key in _OWN_COLUMNS else key


def _to_numbers(runs: Sequence[RunBase], key: str, values: list[Any]) -> list[float | None]:
    """Return numbers as floats.

    Raises:
        OptionError: If a value is not a number.
    """
    return [
        None if value is None else to_float(value, f"over: {key!r} of run {run.info.run_id}")
        for run, value in zip(runs, to_ordered(key, values), strict=True)
    ]


def _summarise(
    values: Sequence[float | None],
) -> tuple[float | None, float | None, float | None, float | None, int]:
    """Return the mean, standard deviation, least and largest of numbers, and how many there are."""
    present = [value for value in values if value is not None]
    if not present:
        return None, None, None, None, 0
    return get_mean(present), get_std(present), get_min(present), get_max(present), len(present)


def _warn_of_unknown(runs: Sequence[RunBase], ignore: Sequence[str], among: Sequence[str]) -> None:
    if not runs or not ignore:
        return
    patterns = [key for key in among if is_pattern(key)]
    known = [*(key for key in among if not is_pattern(key)), *list_keys(runs, patterns)]
    for key in ignore:
        if not any(_covers(key, name) for name in known):
            hint = describe_nearest_keys(runs, parse_pattern(key).path)
            logger.warning("over: ignore: none of the keys that are compared is %r (%s)", key, hint)


def _warn_of_single_runs(
    n_runs: int, seeds: Mapping[str, list[Any]], columns: Sequence[ComparedColumn]
) -> None:
    splitting, count = _find_splitting(n_runs, [to_identities(c.causes) for c in columns])
    names = [columns[i].name for i in splitting]
    advice = f": with ignore={names!r} there are {count} combinations"
    logger.warning(
        "over: each combination of %s has one run, so nothing is averaged over %s; %s split%s "
        "most%s",
        show_names([column.name for column in columns]),
        ", ".join(f"{k!r} ({len(set(to_identities(v)))} distinct)" for k, v in seeds.items()),
        show_names(names),
        "" if len(names) > 1 else "s",
        advice if len(names) <= _MAX_SHOWN else "",
    )


def _warn_of_several_jobs(
    runs: Sequence[RunBase], columns: Sequence[ComparedColumn], groups: Sequence[Sequence[int]]
) -> None:
    """Log that runs of different jobs are averaged together, if they are."""
    if any(identify(column.name) == ("fact", "job_name") for column in columns):
        return
    with suppress(KedroHydraflowError):  # what needs them raises the error
        (names,) = read_columns(runs, "info.job_name").values()
        mixed = [group for group in groups if len({names[i] for i in group}) > 1]
        if mixed:
            logger.warning(
                "over: runs of different jobs are averaged together in %d of %d combinations, such "
                "as those of %s: filter by job_name, or tell them apart with "
                "among=['job_name', '*']",
                len(mixed),
                len(groups),
                show_names(sorted({str(names[i]) for i in mixed[0]})),
            )
