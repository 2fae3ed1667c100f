"""The columns that say most about runs: facts, what differs, and the first metrics."""

from __future__ import annotations

from collections import Counter
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from typing_extensions import NamedTuple

from kedro_hydraflow.config import flatten_config
from kedro_hydraflow.errors import raise_first, show_count, show_names
from kedro_hydraflow.frames import make_frame_by_spelling
from kedro_hydraflow.json_columns import Nested, make_column
from kedro_hydraflow.key_patterns import read_columns
from kedro_hydraflow.keys import identify, is_pattern, parse_key
from kedro_hydraflow.missing import MISSING
from kedro_hydraflow.recorded import list_entries, read_key
from kedro_hydraflow.run_info import has_results_file, is_read, may_read

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    import polars as pl

    from kedro_hydraflow.run_base import RunBase
    from kedro_hydraflow.run_info import RunInfo

_FACTS = ("run_id", "job_name", "status", "start_time")
"""The facts that are shown if they are known."""

_KINDS = ("cfg", "params", "metrics", "results")
"""The kinds of keys, other than facts, that are shown."""

SHOWN = (*_FACTS, *_KINDS)
"""The names of the facts and the kinds of keys that are shown."""

MAX_KEYS = 1000
"""The maximum number of keys of a run, of each kind, that notebooks and previews look at."""

_MAX_COLUMNS = 10
"""The maximum number of columns."""

_MIN_VALUES = 2
"""The number of columns that are kept for metrics and results, whatever differs."""

_N_BEFORE_TIME = 4
"""The number of differences, metrics and results that are more important than the time."""

_RARE = 0.1
"""The share of runs below which a key is rare: it comes after the others."""

_N_EXAMPLES = 3
"""The number of runs whose metrics and results are listed if those of all runs are too many."""

_MAX_READ = 5000
"""The number of metrics or results that may be read to find their names. Metrics are files."""

_MAX_SHOWN = 5
"""The maximum number of keys named in a message."""


class ValueKeys(NamedTuple):
    """The keys of metrics and results."""

    keys: list[str]
    """The keys, those that say most first."""

    unsure: list[str]
    """For each kind of which not all runs were looked at, a text that says so."""


class Columns(NamedTuple):
    """The columns of a listing."""

    frame: pl.DataFrame

    importance: list[str]
    """The names of the columns, the most important one first."""

    omission: str | None = None
    """Which keys have no column, for a message; None if none is left out."""


def make_columns(
    runs: Sequence[RunBase],
    keys: Sequence[str],
    nested: Nested = "keep",
    ordered_by: Sequence[str] = (),
) -> Columns:
    """Return the columns of some keys, or those of `make_default_columns` without keys.

    Args:
        runs: The runs.
        keys: The keys and patterns.
        nested: Whether lists, mappings and mixed values are kept or JSON, as for ``to_frame``.
        ordered_by: The keys by which the runs were sorted or ranked. Without `keys`, they have a
            column in any case. Their columns are among the most important ones.
    """
    import polars as pl

    if runs and not keys:
        return make_default_columns(runs, nested, ordered_by=ordered_by)
    if runs:
        frame = make_frame_by_spelling(runs, keys, nested)
    else:
        names = [key for key in keys if not is_pattern(key)] or _FACTS
        frame = pl.DataFrame(schema=dict.fromkeys(names, pl.Null))
    return Columns(frame, _put_first(frame.columns, ordered_by))


def make_default_columns(
    runs: Sequence[RunBase],
    nested: Nested = "keep",
    among: Collection[str] = SHOWN,
    ordered_by: Sequence[str] = (),
    max_keys: int | None = None,
) -> Columns:
    """Return the columns that say most about some runs, up to ten.

    They are the facts that are known, the configuration keys (or else the params) whose values
    differ, and the metrics and results (of a few runs, if all runs have too many). Their names are
    keys.

    Args:
        runs: The runs, at least one.
        nested: As for `make_columns`.
        among: Which of `SHOWN` to look at. Nothing else is read.
        ordered_by: As for `make_columns`.
        max_keys: The maximum number of keys of a run to look at, of each kind; by default all.

    Raises:
        KedroHydraflowError: If a run cannot be read.
    """
    import polars as pl

    facts = [
        series
        for name in _FACTS
        if name in among
        for series in [_make_column(runs, f"info.{name}", name, nested)]
        if series.null_count() < len(runs)
    ]
    differing = _list_differing(runs, among, max_keys)
    differing = {key: differing[key] for key in _put_first([*differing], ordered_by)}
    values, unsure = list_value_keys(runs, among, max_keys)
    values = _put_first(values, ordered_by)
    room = _MAX_COLUMNS - len(facts)
    shown = _choose_distinct(differing, room - min(len(values), _MIN_VALUES), nested)
    n_values = room - len(shown)
    # Where the configuration has a key like that of a metric, too, it is not meant.
    logged = [
        _make_column(runs, f"logged.{key}" if key.startswith("metrics.") else key, key, nested)
        for key in values[:n_values]
    ]
    frame = pl.DataFrame([*facts, *shown.values(), *logged])
    present = set(map(identify, frame.columns))
    added = [key for key in dict.fromkeys(ordered_by) if identify(key) not in present]
    if added:
        frame = frame.hstack(make_frame_by_spelling(runs, added, nested))
    others = [key for key in differing if key not in frame.columns]
    omitted = [
        _describe(others, "param" if _are_params(others) else "configuration key"),
        *(
            _describe([key for key in values[n_values:] if key.startswith(f"{what}s.")], what)
            for what in ("metric", "result")
        ),
        *unsure,
    ]
    if max_keys is not None and max(len(differing), len(values)) >= max_keys:
        omitted.append(f"of the first {max_keys:,} keys of each kind")
    ranked = _rank([s.name for s in facts], list(shown), values[:n_values])
    importance = _put_first([*ranked, *added], ["run_id", *ordered_by])
    return Columns(frame, importance, ", ".join(filter(None, omitted)) or None)


def _put_first(names: Sequence[str], keys: Sequence[str]) -> list[str]:
    """Return names with those first that mean one of some keys, in the order of the keys."""
    places = {identify(key): place for place, key in reversed([*enumerate(keys)])}
    return sorted(names, key=lambda name: places.get(identify(name), len(keys)))


def _rank(facts: Sequence[str], differing: Sequence[str], values: Sequence[str]) -> list[str]:
    """Return the names of columns, the most important one first.

    Each difference is followed by a metric or result, and the time comes after some of them.
    """
    mixed = [name for pair in zip_longest(differing, values) for name in pair if name is not None]
    first = [name for name in facts if name != "start_time"]
    times = [name for name in facts if name == "start_time"]
    return [*first, *mixed[:_N_BEFORE_TIME], *times, *mixed[_N_BEFORE_TIME:]]


def _make_column(runs: Sequence[RunBase], key: str, name: str, nested: Nested) -> pl.Series:
    """Return the values of a fact, metric or result, null without one."""
    values = read_key([run.info for run in runs], parse_key(key))
    raise_first(values)
    return make_column(name, [None if value is MISSING else value for value in values], nested)


def _describe(keys: Sequence[str], what: str) -> str:
    """Return a number of keys and the first of them, an empty text for none."""
    return (
        f"{show_count(len(keys), f'more {what}')} ({show_names(keys, _MAX_SHOWN)})" if keys else ""
    )


def _list_differing(
    runs: Sequence[RunBase], among: Collection[str], max_keys: int | None
) -> dict[str, list[Any]]:
    """Return the values of configuration keys that differ, by key; of one run, all of them.

    Where no run has a configuration, they are those of params. Keys that few runs have come last.
    """
    values = read_config_columns(runs, max_keys, among)
    keys = [
        key
        for key, (first, *others) in values.items()
        if not others or any(value is not first and value != first for value in others)
    ]
    keys.sort(key=lambda key: len(runs) - values[key].count(MISSING) < len(runs) * _RARE)
    return {key: [None if value is MISSING else value for value in values[key]] for key in keys}


def read_config_columns(
    runs: Sequence[RunBase], max_keys: int | None = None, among: Collection[str] = SHOWN
) -> dict[str, list[Any]]:
    """Return the values of the configurations by key, or else of params: see `read_columns`.

    Args:
        runs: The runs.
        max_keys: As for `make_default_columns`.
        among: As for `make_default_columns`.
    """
    values = read_columns(runs, "*", max_keys) if "cfg" in among else {}
    if not values and "params" in among:
        values = read_columns(runs, "params.*", max_keys)
    return values


def _choose_distinct(
    differing: Mapping[str, list[Any]], count: int, nested: Nested
) -> dict[str, pl.Series]:
    """Return the first columns, without those that repeat another one, as interpolations do."""
    chosen: dict[str, list[Any]] = {}
    for key, values in differing.items():
        if len(chosen) == count:
            break
        if values not in chosen.values():
            chosen[key] = values
    return {key: make_column(key, values, nested) for key, values in chosen.items()}


def _are_params(keys: Sequence[str]) -> bool:
    return all(parse_key(key).kind == "params" for key in keys)


def list_value_keys(
    runs: Sequence[RunBase], among: Collection[str] = SHOWN, max_keys: int | None = None
) -> ValueKeys:
    """Return the keys of the metrics and results, rare ones and those of the system last.

    They are those of a few runs if all runs have too many, or are on remote storage.

    Args:
        runs: The runs, at least one.
        among: As for `make_default_columns`. With ``status``, finished runs are looked at first.
        max_keys: As for `make_default_columns`.
    """
    infos = [run.info for run in runs]
    finished = []
    if "status" in among:
        statuses = read_key(infos, parse_key("status"))
        finished = [i for i, status in zip(infos, statuses, strict=True) if status == "FINISHED"]
    chosen = finished or infos
    some = chosen[:: max(1, len(chosen) // _N_EXAMPLES)][:_N_EXAMPLES]
    keys: dict[str, bool] = {}
    unsure = []
    for kind in ("metrics", "results"):
        if kind not in among or not (kind == "metrics" or has_results_file(some[0])):
            continue
        names = _list_names(some, kind, max_keys)
        if len(some) < len(infos):
            n_expected = len(infos) * (1 + sum(map(len, names)) / len(some))
            is_quick = may_read(infos) and n_expected <= _MAX_READ
            if is_quick or all(is_read(info, kind) for info in infos):
                names = _list_names(infos, kind, max_keys)
            else:
                looked_at = f"those of {len(some)} of {len(infos):,} runs were looked at"
                unsure.append(f"perhaps more {kind} ({looked_at})")
        counts = Counter(name for of_run in names for name in of_run)
        keys |= {f"{kind}.{name}": n < len(names) * _RARE for name, n in counts.items()}
    return ValueKeys(
        sorted(keys, key=lambda key: (key.startswith("metrics.system/"), keys[key], key)), unsure
    )


def _list_names(infos: Sequence[RunInfo], kind: str, max_keys: int | None) -> list[Collection[str]]:
    """Return the names of the metrics or results of each run, none if they cannot be read."""
    return [
        flatten_config(content) if isinstance(content, dict) else ()
        for content in list_entries(infos, kind, max_keys)
    ]
