"""Frames of runs: whole configurations, histories of metrics, literals."""

from __future__ import annotations

from itertools import starmap
from typing import TYPE_CHECKING, Any, Literal

from kedro_hydraflow.columns import SCALARS, make_series
from kedro_hydraflow.config import is_literal, list_leaves
from kedro_hydraflow.forks import warn_of_polars
from kedro_hydraflow.logs import get_logger
from kedro_hydraflow.missing import MISSING
from kedro_hydraflow.nearest import find_nearest
from kedro_hydraflow.nearest_keys import list_metrics
from kedro_hydraflow.run_base import get_configuration
from kedro_hydraflow.run_info import read_histories
from kedro_hydraflow.selecting import Selector

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import polars as pl
    from polars._typing import PolarsDataType

    from kedro_hydraflow.config import Configuration
    from kedro_hydraflow.run_base import RunBase
    from kedro_hydraflow.stores import Point

logger = get_logger(__name__)


def make_complete_frame(runs: Sequence[RunBase], defaults: Mapping[str, Any]) -> pl.DataFrame:
    """Return a frame of ``run_id``, ``job_name`` and every key of the configurations.

    Args:
        runs: The runs.
        defaults: Values for runs that lack a key, by key. A callable is called with the run.
    """
    import polars as pl

    rows = flatten_configs([get_configuration(run) for run in runs])
    keys = dict.fromkeys(key for row in rows for key in row)
    columns = []
    for key in ("run_id", "job_name"):
        pairs = zip(runs, rows, strict=True)
        values = [row[key] if key in row else getattr(run.info, key) for run, row in pairs]
        columns.append(make_series(key, values))
        keys.pop(key, None)
    for key in keys:
        default = defaults.get(key)
        values = [row.get(key, MISSING) for row in rows]
        for i, run in enumerate(runs):
            if values[i] is MISSING:
                values[i] = default(run) if callable(default) else default
        columns.append(make_series(key, values))
    return pl.DataFrame(columns)


def make_history_frame(runs: Sequence[RunBase], names: Sequence[str]) -> pl.DataFrame:
    """Return all values of some metrics as one long frame, sorted by run, then by metric.

    Its columns are ``run_id``, ``metric`` and those of ``Run.metric_history``.
    """
    import polars as pl

    warn_of_polars()
    run_ids: list[str] = []
    metrics: list[str] = []
    points: list[Point] = []
    histories = [read_histories([run.info for run in runs], name) for name in names]
    _warn_of_absent(runs, names, histories)
    for run, *histories_of_run in zip(runs, *histories, strict=True):
        for name, history in zip(names, histories_of_run, strict=True):
            if isinstance(history, Exception):
                raise history
            run_ids += [run.info.run_id] * len(history)
            metrics += [name] * len(history)
            points += history
    steps, timestamps, values = zip(*points, strict=True) if points else ((), (), ())
    return pl.DataFrame(
        [
            _make_ids(run_ids),
            pl.Series("metric", metrics, pl.String),
            pl.Series("step", steps, pl.Int64),
            pl.Series("timestamp", timestamps, pl.Int64).cast(pl.Datetime("ms", "UTC")),
            pl.Series("value", values, pl.Float64),
        ]
    )


def _make_ids(run_ids: list[str]) -> pl.Series:
    """Return the column of run IDs. Polars has no text for names of directories without UTF-8."""
    import polars as pl

    try:
        return pl.Series("run_id", run_ids, pl.String)
    except UnicodeEncodeError:
        return pl.Series("run_id", run_ids, pl.Object)


def _warn_of_absent(
    runs: Sequence[RunBase], names: Sequence[str], histories: Sequence[Sequence[object]]
) -> None:
    """Log the metrics that no run has, with the nearest that some of the runs have."""
    absent = [name for name, found in zip(names, histories, strict=True) if not any(found)]
    if not runs or not absent:
        return
    known = list_metrics(runs)
    for name in absent:
        near = find_nearest(name.removeprefix("metrics."), known)
        logger.warning(
            "%s the metric %r; %s",
            "the run does not have" if len(runs) == 1 else f"none of {len(runs)} runs has",
            name,
            f"the nearest are {', '.join(map(repr, near))}" if near else "there is none like it",
        )


def make_literal(name: str, value: Any, dtype: PolarsDataType | None = None) -> pl.Expr:
    """Return a Polars literal of any value, by default with the type that `make_series` infers."""
    import polars as pl

    if type(value) in SCALARS:
        return pl.lit(value, dtype).alias(name)
    series = make_series(name, [value])
    if series.dtype == pl.Object:
        return pl.lit(series[0], dtype, allow_object=True).alias(name)
    return pl.lit(series if dtype is None else series.cast(dtype)).first().alias(name)


def add_values(frame: pl.DataFrame, values: Mapping[str, Any]) -> pl.DataFrame:
    """Return a frame with columns of one value each added, in place of those of the same name.

    It is what ``with_columns`` does with `make_literal`, without Polars' threads (see `forks`).
    """
    import polars as pl

    if not isinstance(frame, pl.DataFrame):  # a LazyFrame
        return frame.with_columns(list(starmap(make_literal, values.items())))
    height = frame.height if frame.width else 1
    columns = {column.name: column for column in frame.iter_columns()}
    columns.update((name, _repeat(name, value, height)) for name, value in values.items())
    return pl.DataFrame(list(columns.values()))


def _repeat(name: str, value: Any, n: int) -> pl.Series:
    """Return a series of one value ``n`` times, with the type that `make_literal` gives it."""
    import polars as pl

    is_small = type(value) is int and -(2**31) <= value < 2**31
    one = pl.Series(name, [value], pl.Int32) if is_small else make_series(name, [value])
    if one.dtype == pl.Object:
        return pl.Series(name, one.to_list() * n, pl.Object)
    repeated: pl.Series = one.new_from_index(0, n)
    return repeated


def stack_frames(
    frames: Sequence[pl.DataFrame], how: Literal["vertical_relaxed", "diagonal_relaxed"]
) -> pl.DataFrame:
    """Concatenate frames as ``polars.concat`` does, without Polars' threads (see `forks`)."""
    import polars as pl

    if not all(isinstance(frame, pl.DataFrame) for frame in frames):  # lazy ones
        return pl.concat(frames, how=how)
    # To find the common types takes no threads.
    schema = pl.concat([frame.lazy() for frame in frames], how=how).collect_schema()
    parts = [frame if frame.schema == schema else _fit(frame, schema) for frame in frames]
    stacked = parts[0].clone()
    for part in parts[1:]:
        stacked.vstack(part, in_place=True)
    return stacked


def _fit(frame: pl.DataFrame, schema: Mapping[str, PolarsDataType]) -> pl.DataFrame:
    """Return a frame with the columns of a schema, with null where it has none."""
    import polars as pl

    columns = []
    for name, dtype in schema.items():
        if name not in frame.columns:
            columns.append(pl.Series(name, [None] * frame.height, dtype))
            continue
        column = frame.get_column(name)
        try:
            columns.append(column.cast(dtype))
        except pl.exceptions.InvalidOperationError:  # structs with other fields
            columns.append(pl.Series(name, column.to_list(), dtype))
    return pl.DataFrame(columns)


def flatten_configs(configurations: Sequence[Configuration]) -> list[dict[str, Any]]:
    """Return the values of each configuration by dotted key.

    Interpolations are resolved, or stay text if that is impossible; missing values (``???``) are
    None. The values are shared: do not modify them. Parts that configurations share are flattened
    once.
    """
    # It keeps the parts alive, because Python reuses the ID of an object that is gone.
    shared: dict[tuple[int, Any], tuple[Any, dict[str, Any]]] = {}
    selector = Selector()
    rows = []
    for configuration in configurations:
        is_plain = not configuration.has_dictconfig()
        row: dict[str, Any] = {}
        for name, value in configuration.to_plain().items():
            may_be_shared = is_plain and type(value) is dict
            known = shared.get((id(value), name)) if may_be_shared else None
            if known is not None:
                row.update(known[1])
                continue
            flat = _flatten(configuration, {name: value}, selector)
            if may_be_shared and is_literal(value):
                shared[id(value), name] = value, flat
            row.update(flat)
        rows.append(row)
    return rows


def _flatten(
    configuration: Configuration, part: dict[Any, Any], selector: Selector
) -> dict[str, Any]:
    flat = {}
    for path, value in list_leaves(part):
        resolved = value if is_literal(value) else selector.resolve(configuration, path, value)
        flat[".".join(map(str, path))] = resolved
    return flat
