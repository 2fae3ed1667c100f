"""Frames of runs: whole configurations, histories of metrics, literals."""

from __future__ import annotations

from itertools import starmap
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from kedro_hydraflow.columns import SCALARS, check_keys, make_series
from kedro_hydraflow.errors import (
    ConfigError,
    ImplError,
    KedroHydraflowError,
    MissingKeyError,
    OptionError,
    prefix_error,
    show_none_has,
)
from kedro_hydraflow.forks import warn_of_polars
from kedro_hydraflow.json_columns import make_column, to_json_text
from kedro_hydraflow.key_patterns import (
    expand_columns,
    fill,
    list_keys,
    read_columns,
    warn_of_no_configuration,
)
from kedro_hydraflow.keys import is_pattern, parse_key
from kedro_hydraflow.logs import get_logger
from kedro_hydraflow.lookup import (
    are_objects,
    check_some_have,
    explain_lack,
    get_by_spelling,
    get_data,
    read_values,
    warn_of_other_meaning,
)
from kedro_hydraflow.missing import MISSING
from kedro_hydraflow.nearest_keys import NO_SIMILAR_KEYS, describe_nearest_metrics
from kedro_hydraflow.run_base import get_configuration
from kedro_hydraflow.run_info import read_histories

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import polars as pl
    from polars._typing import PolarsDataType

    from kedro_hydraflow.json_columns import Nested
    from kedro_hydraflow.run_base import RunBase
    from kedro_hydraflow.run_info import History
    from kedro_hydraflow.schemas import Schema
    from kedro_hydraflow.stores import Point


logger = get_logger(__name__)


def make_complete_frame(
    runs: Sequence[RunBase],
    defaults: Mapping[str, Any],
    nested: Nested = "keep",
    max_keys: int | None = None,
) -> pl.DataFrame:
    """Return a frame of ``run_id``, ``job_name`` and every key of the configurations.

    Args:
        runs: The runs.
        defaults: Values for runs that lack a key, by key. A callable is called with the run.
        nested: As for `make_column`.
        max_keys: As for `read_columns`.
    """
    import polars as pl

    columns = {}
    for pattern in ("info.run_id", "info.job_name", "*"):
        found = read_columns(runs, pattern, max_keys)
        if runs and not found:
            warn_of_no_configuration(runs)
        for name, values in found.items():
            columns[name] = make_column(name, fill(runs, values, defaults.get(name)), nested)
    return pl.DataFrame(list(columns.values()))


def make_declared_column(
    runs: Sequence[RunBase], schema: Schema, key: str, default: Any
) -> pl.Series:
    """Return a column of the type that a schema declares for a key, by the key's spelling.

    Args:
        runs: The runs.
        schema: The schema.
        key: One of its keys.
        default: The value for runs that lack the key; MISSING for null.

    Raises:
        SchemaError: If the schema is strict, and a value does not fit.
        KedroHydraflowError: If the value of a run cannot be read.
    """
    warn_of_other_meaning(runs, parse_key(key))
    values = read_values(runs, parse_key(key))
    types = set(map(type, values))
    if any(issubclass(kind, KedroHydraflowError) for kind in types):
        for i, (run, value) in enumerate(zip(runs, values, strict=True)):
            if isinstance(value, KedroHydraflowError):
                if schema.strict or not _is_unresolvable(run, value):
                    raise value
                values[i] = None
    if type(MISSING) in types:
        values = fill(runs, values, default)
    return schema.fit(key, values, [run.info for run in runs])


def list_null(frame: pl.DataFrame, keys: Iterable[str]) -> list[str]:
    """Return the columns without any value."""
    return [key for key in keys if frame.get_column(key).null_count() == frame.height]


def warn_of_absent(runs: Sequence[RunBase], keys: Iterable[str]) -> None:
    """Log which of the declared keys none of the runs has, where they have similar ones.

    Args:
        runs: The runs.
        keys: The keys whose columns are null.
    """
    for key in keys:
        parsed = parse_key(key)
        if runs and all(value is MISSING for value in read_values(runs, parsed)):
            hint = explain_lack(runs, parsed)
            if hint != NO_SIMILAR_KEYS:
                logger.warning(
                    "schema: no run has the key %r, whose column is null (%s)",
                    key,
                    hint,
                )


def _is_unresolvable(run: RunBase, error: KedroHydraflowError) -> bool:
    """Whether an error is that of a value in a configuration that has been read."""
    configuration = get_configuration(run)
    was_read = configuration.data is not None or configuration.has_dictconfig()
    return isinstance(error, ConfigError) and was_read


def make_frame_by_spelling(
    runs: Sequence[RunBase],
    keys: Sequence[str | tuple[str, Any]],
    nested: Nested = "keep",
    schema: Schema | None = None,
    max_keys: int | None = None,
) -> pl.DataFrame:
    """Return a frame of keys and patterns, which mean what their spelling says, as in filters.

    Args:
        runs: The runs.
        keys: Keys, patterns, or pairs of either and a default. Without a default, runs that lack
            a key have null. ``run``, ``info``, ``cfg`` and ``impl`` are columns of objects, unless
            a configuration has such a key.
        nested: As for `make_column`.
        schema: The types of columns, of which those that are not among the keys come last.
        max_keys: For patterns, as for `read_columns`.

    Raises:
        MissingKeyError: If no run has a key, or one that a pattern matches, without a default
            and a type.
        SchemaError: If a value does not fit its type.
    """
    import polars as pl

    columns: dict[str, pl.Series] = {}
    for name, default, values in expand_columns(runs, keys, {}, max_keys):
        key = None if schema is None else schema.find(name)
        if schema is not None and key is not None:
            columns[key] = make_declared_column(runs, schema, key, default)
        elif values is not None:
            columns[name] = make_column(name, values, nested)
        elif are_objects(runs, name):
            columns[name] = make_run_column(runs, name, name, get_data(runs, name), nested)
        else:
            found = get_by_spelling(runs, name, default)
            check_some_have(runs, parse_key(name), found)
            filled = fill(runs, found, None)
            columns[name] = make_run_column(runs, name, name, filled, nested)
    for key in [] if schema is None else schema.types:
        if schema is not None and key not in columns:
            columns[key] = make_declared_column(runs, schema, key, MISSING)
    return pl.DataFrame(list(columns.values()))


def make_run_column(
    runs: Sequence[RunBase], name: str, key: str, values: list[Any], nested: Nested
) -> pl.Series:
    """Return the values of a key as the column that `make_column` makes of them.

    Values that are objects of the runs themselves are kept, even if it would take them for others.

    Raises:
        ImplError: As `make_column` does, with the run.
    """
    import polars as pl

    if nested == "keep" and are_objects(runs, key):
        return pl.Series(name, values, pl.Object)
    try:
        return make_column(name, values, nested)
    except ImplError:
        for run, value in zip(runs, values, strict=True):
            try:
                to_json_text(value)
            except ImplError as exc:  # noqa: PERF203 - the first one is raised
                raise prefix_error(f"run {run.info.run_id}: {key}", exc) from exc.__cause__
        raise


def check_metrics(names: Sequence[object]) -> None:
    """Raise OptionError unless there are names of metrics."""
    check_keys(names)
    if not names:
        raise OptionError("metric_histories: give the names of metrics, such as 'train/loss'")


def make_history_frame(
    runs: Sequence[RunBase],
    names: Sequence[str],
    columns: Mapping[str, pl.Series] = MappingProxyType({}),
) -> pl.DataFrame:
    """Return all values of some metrics as one long frame, sorted by run, then by metric.

    Its columns are ``run_id``, ``metric`` and those of ``Run.metric_history``.

    Args:
        runs: The runs.
        names: The names of metrics, or patterns of names. A name may be in the spelling of its key,
            ``metrics.train/loss``.
        columns: Columns to add, with a value for each run.

    Raises:
        MissingKeyError: If there are runs, and none of them has a metric of that name.
    """
    import polars as pl

    warn_of_polars()
    positions: list[int] = []
    metrics: list[str] = []
    points: list[Point] = []
    histories: dict[str, list[History]] = {}
    for name in names:
        for metric, found in _find_histories(runs, name).items():
            histories.setdefault(metric, found)
    for i in range(len(runs)):
        for metric, of_runs in histories.items():
            history = of_runs[i]
            if isinstance(history, Exception):
                raise history
            history = history or []
            positions += [i] * len(history)
            metrics += [metric] * len(history)
            points += history
    steps, timestamps, values = zip(*points, strict=True) if points else ((), (), ())
    ids = [run.info.run_id for run in runs]
    own = [
        make_id_series([ids[i] for i in positions]),
        pl.Series("metric", metrics, pl.String),
        pl.Series("step", steps, pl.Int64),
        pl.Series("timestamp", timestamps, pl.Int64).cast(pl.Datetime("ms", "UTC")),
        pl.Series("value", values, pl.Float64),
    ]
    taken = [series.name for series in own]
    return pl.DataFrame(
        [
            *own,
            *(
                _take(series, positions).alias(f"cfg.{name}" if name in taken else name)
                for name, series in columns.items()
                if name != "run_id"
            ),
        ]
    )


def _take(series: pl.Series, positions: list[int]) -> pl.Series:
    """Return the values at some positions, without Polars' threads (see `forks`)."""
    import polars as pl

    if series.dtype == pl.Object:
        values = series.to_list()
        return pl.Series(series.name, [values[i] for i in positions], pl.Object)
    return series[positions]


def make_id_series(run_ids: list[str]) -> pl.Series:
    """Return the column of run IDs. Polars has no text for names of directories without UTF-8."""
    import polars as pl

    try:
        return pl.Series("run_id", run_ids, pl.String)
    except UnicodeEncodeError:
        return pl.Series("run_id", run_ids, pl.Object)


def _find_histories(runs: Sequence[RunBase], name: str) -> dict[str, list[History]]:
    """Return the histories for each run of a metric, or of those that match a pattern, by name."""
    infos = [run.info for run in runs]
    for spelling in dict.fromkeys((name, name.removeprefix("metrics."))):
        metrics = [spelling]
        if is_pattern(spelling):
            keys = list_keys(runs, [f"metrics.{spelling}"])
            metrics = [key.removeprefix("metrics.") for key in keys]
        found = {metric: read_histories(infos, metric) for metric in metrics}
        if any(history is not None for of_runs in found.values() for history in of_runs):
            return found
    if not runs:
        return {}
    what = f"a metric that matches {name!r}" if is_pattern(name) else f"the metric {name!r}"
    some = f"run {runs[0].info.run_id} does not have"
    some = some if len(runs) == 1 else show_none_has(len(runs))
    raise MissingKeyError(f"{some} {what}; {describe_nearest_metrics(runs, name)}")


def make_literal(name: str, value: Any, dtype: PolarsDataType | None = None) -> pl.Expr:
    """Return a Polars literal of any value, by default with the type that `make_series` infers."""
    import polars as pl

    if type(value) in SCALARS:
        return pl.lit(value, dtype).alias(name)
    series = value if isinstance(value, pl.Series) else make_series(name, [value])
    if series.dtype == pl.Object:
        return pl.lit(series[0], dtype, allow_object=True).alias(name)
    return pl.lit(series if dtype is None else series.cast(dtype)).first().alias(name)


def add_values(frame: pl.DataFrame, values: Mapping[str, Any]) -> pl.DataFrame:
    """Return a frame with columns of one value each added, in place of those of the same name.

    It is what ``with_columns`` does with `make_literal`, without Polars' threads (see `forks`).

    Args:
        frame: The frame.
        values: The values by name. A series of one value gives its type, too.
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

    if isinstance(value, pl.Series):
        one = value
    elif type(value) is int and -(2**31) <= value < 2**31:
        one = pl.Series(name, [value], pl.Int32)
    else:
        one = make_series(name, [value])
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
