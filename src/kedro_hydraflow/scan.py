"""Lazy frames of runs, which read what a query needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kedro_hydraflow.errors import OptionError, raise_first
from kedro_hydraflow.filters.expressions import Level, get_level
from kedro_hydraflow.finding import Search, make_search
from kedro_hydraflow.forks import check_polars
from kedro_hydraflow.frames import list_null, make_frame_by_spelling, warn_of_absent
from kedro_hydraflow.keys import Key, parse_key
from kedro_hydraflow.loading import LoadOptions, Need, check_batch_size, iter_batches
from kedro_hydraflow.missing import MISSING
from kedro_hydraflow.recorded import read_key
from kedro_hydraflow.schemas import EXAMPLE, Schema, parse_schema

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import polars as pl

    from kedro_hydraflow.errors import OnError
    from kedro_hydraflow.filters import Filters
    from kedro_hydraflow.impl import ImplFactory
    from kedro_hydraflow.index import IndexOption
    from kedro_hydraflow.json_columns import Nested
    from kedro_hydraflow.run import Run
    from kedro_hydraflow.run_info import RunInfo
    from kedro_hydraflow.schemas import SchemaOption
    from kedro_hydraflow.source import Layout
    from kedro_hydraflow.storage import Location
    from kedro_hydraflow.stores import ExperimentFilter


_MIN_BATCH = 1000
"""The number of runs to read at once, at the least, to find a few that meet filters."""


def scan_runs(
    tracking_dir: Location | ExperimentFilter = None,
    experiment_names: ExperimentFilter = None,
    impl_factory: ImplFactory | None = None,
    *,
    schema: SchemaOption,
    strict: bool = True,
    nested: Nested = "keep",
    batch_size: int = 10_000,
    include_deleted: bool | None = None,
    n_jobs: int = 0,
    progress: bool = False,
    on_error: OnError = "raise",
    config_class: type | None = None,
    index: IndexOption = None,
    tracking_uri: str | None = None,
    artifact_root: Location | None = None,
    storage_options: Mapping[str, Any] | None = None,
    layout: Layout | None = None,
    results: str | None = None,
    filters: Filters = None,
) -> pl.LazyFrame:
    """Return a Polars LazyFrame of the runs below a tracking directory.

    It has a row for each run and the columns of the schema, and reads when it is collected:

    - Configurations only if a column needs them; facts, metrics, params, tags and files of results
      only for their own columns.
    - Of runs, only those that may meet the conditions of the query (``lazy.filter(...)``) on what
      MLflow and Hydra recorded and on results. Of the others, no configuration is read.
    - One batch after the other: ``lazy.head(5)`` reads five runs, and ``lazy.sink_parquet(...)``
      holds few batches at a time.

    What is not read cannot be wrong: a malformed configuration, or a value that does not fit its
    type, is an error only if the query needs it. Otherwise, the result is that of the frames of
    `iter_runs`. Each collect looks for runs anew.

    Args:
        tracking_dir: As for `iter_run_dirs`.
        experiment_names: As for `iter_run_dirs`.
        impl_factory: As for `Run`. The attributes of what it makes are keys.
        schema: The columns and their types by key, as for ``RunCollection.to_frame``.
        strict: As for ``RunCollection.to_frame``.
        nested: As for ``RunCollection.to_frame``: with ``"json"``, lists and mappings fit text.
        batch_size: As for `iter_runs`.
        include_deleted: As for `iter_run_dirs`.
        n_jobs: As for `iter_runs`.
        progress: As for `iter_runs`.
        on_error: As for `iter_runs`.
        config_class: As for `Run`.
        index: As for `iter_runs`.
        tracking_uri: As for `iter_run_dirs`.
        artifact_root: As for `iter_run_dirs`.
        storage_options: As for `iter_run_dirs`.
        layout: As for `iter_run_dirs`.
        results: As for ``Run.load``.
        filters: As for `iter_run_dirs`. They select the runs before anything that the query says.

    Returns:
        The LazyFrame. What it raises when it is collected are the errors of `iter_runs` and of
        ``RunCollection.to_frame``; older versions of Polars raise ComputeError with their text.

    Raises:
        OptionError: If an option is invalid.
        ForkError: If Polars would never return in this process.

    Examples:
        >>> import polars as pl
        >>> from kedro_hydraflow import scan_runs
        >>> lazy = scan_runs(
        ...     "examples/data/mlruns",
        ...     schema={"status": str, "model.type": str, "metrics.accuracy": float},
        ... )
        >>> good = lazy.filter(pl.col("metrics.accuracy") > 0.97)
        >>> good.group_by("model.type").len().collect().rows()
        [('mlp', 3)]
    """
    declared = parse_schema(schema, strict=strict, nested=nested)
    if declared is None:
        raise OptionError(f"schema: expected keys and types, such as {EXAMPLE}, found None")
    check_batch_size(batch_size)
    search = make_search(
        tracking_dir,
        experiment_names,
        include_deleted,
        on_error,
        tracking_uri,
        artifact_root,
        storage_options,
        layout,
        filters,
    )
    options = LoadOptions(impl_factory, config_class, n_jobs, progress, on_error, index, results)
    return make_lazy_frame(Scan(search, options, declared, batch_size))


def make_lazy_frame(scan: Scan) -> pl.LazyFrame:
    """Return the LazyFrame of a scan.

    Raises:
        ForkError: If Polars would never return in this process.
    """
    from polars.io.plugins import register_io_source

    check_polars("scan_runs")
    return register_io_source(scan.read, schema=dict(scan.schema.types))


@dataclass(frozen=True)
class Scan:
    """Where runs are, and the columns of a frame of them."""

    search: Search
    options: LoadOptions
    schema: Schema
    batch_size: int = 10_000

    def read(
        self,
        with_columns: Sequence[str] | None,
        predicate: pl.Expr | None,
        n_rows: int | None,
        batch_size: int | None,  # noqa: ARG002 - a hint
    ) -> Iterator[pl.DataFrame]:
        """Yield frames of the runs, as Polars asks for them.

        Args:
            with_columns: The columns, by default all.
            predicate: What rows have to meet.
            n_rows: The number of rows to read, of which then some may not meet the predicate.
            batch_size: The number of rows that Polars would like in a frame.
        """
        columns = [*self.schema.types] if with_columns is None else [*with_columns]
        asked = [] if predicate is None else predicate.meta.root_names()
        schema = self.schema.select({*columns, *asked})
        size = self.batch_size
        prune = _Pruning(self.schema, [])
        if n_rows is not None:
            least = 1 if self.search.filters is None else _MIN_BATCH
            size = min(size, max(n_rows, least))
        elif predicate is not None:
            prune = make_pruning(self.schema, predicate)
        need = Need(prune, any(not parse_key(key).is_recorded for key in schema.types))
        is_empty = True
        absent = list(schema.types)
        chosen: Sequence[Run[Any, Any]] = ()
        for runs in iter_batches(self.search, self.options, size, need):
            chosen = runs if n_rows is None else runs[:n_rows]
            frame = make_frame_by_spelling(chosen, [], schema=schema)
            absent = list_null(frame, absent)
            if predicate is not None:
                frame = frame.filter(predicate)
            yield frame.select(columns)
            is_empty = False
            if n_rows is not None:
                n_rows -= len(chosen)
                if n_rows <= 0:
                    return
        if need.configs and not prune.conditions:  # then all runs were read
            warn_of_absent(chosen, absent)
        if is_empty:  # older versions of Polars panic without any frame
            yield make_frame_by_spelling([], [], schema=schema).select(columns)


@dataclass(frozen=True)
class _Pruning:
    """Leaves out runs that do not meet conditions on what was recorded."""

    schema: Schema

    conditions: Sequence[pl.Expr]
    """The cheapest first."""

    def __call__(self, infos: Sequence[RunInfo]) -> list[RunInfo]:
        """Return the runs that meet all conditions."""
        import polars as pl

        left = list(infos)
        for condition in self.conditions:
            keys = dict.fromkeys(condition.meta.root_names())
            frame = pl.DataFrame([self._read(left, key) for key in keys])
            (met,) = frame.select(condition.alias("met")).iter_columns()
            left = [info for info, is_met in zip(left, met, strict=True) if is_met]
        return left

    def _read(self, infos: Sequence[RunInfo], key: str) -> pl.Series:
        values = read_key(infos, parse_key(key))
        raise_first(values)
        values = [None if value is MISSING else value for value in values]
        return self.schema.fit(key, values, infos)


def make_pruning(schema: Schema, predicate: pl.Expr) -> _Pruning:
    """Return what leaves out runs that cannot meet a predicate.

    Those parts of a conjunction are applied that need no configuration, each to the runs that are
    left by then.
    """
    levels = []
    for part in _split_conjunction(predicate):
        keys = [parse_key(name) for name in part.meta.root_names()]
        if keys and all(key.is_recorded for key in keys):
            levels.append((max(map(_get_cost, keys)), part))
    levels.sort(key=lambda pair: pair[0])
    return _Pruning(schema, [part for _, part in levels])


def _get_cost(key: Key) -> Level:
    """Return what has to be read for a key. The ID and the directory are known."""
    is_known = key.kind == "fact" and key.path in ("run_id", "run_dir")
    return Level.EXPERIMENT if is_known else get_level(key)


def _split_conjunction(predicate: pl.Expr) -> Iterable[pl.Expr]:
    """Yield the expressions that all have to be true for a predicate to be true."""
    parts = predicate.meta.pop()
    if len(parts) == 2:
        for first, second in (parts, parts[::-1]):
            if (first & second).meta.eq(predicate):
                yield from _split_conjunction(first)
                yield from _split_conjunction(second)
                return
    yield predicate
