"""A collection of runs: ranked, updated and tabulated."""

from __future__ import annotations

import copy
import reprlib
from datetime import datetime
from functools import partial
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, cast, overload

from typing_extensions import Self, TypeVar

from kedro_hydraflow.collection import Collection, Default, as_list
from kedro_hydraflow.columns import (
    Mode,
    check_columns,
    check_keys,
    check_mode,
    make_series,
    sort_order,
)
from kedro_hydraflow.comparing import find_values, make_diff_frame, make_varying_frame
from kedro_hydraflow.digests import combine_digests, make_digests
from kedro_hydraflow.errors import (
    FilterError,
    Lines,
    OptionError,
    check_flag,
    prefix_error,
    show_count,
    show_lines,
    show_names,
    show_none_has,
)
from kedro_hydraflow.escaping import escape
from kedro_hydraflow.fact_checks import (
    FACT_VALUES,
    MIN_PREFIX,
    TIME_FACTS,
    check_recorded,
    explain_beginning,
    explain_impossible,
    explain_unrecorded,
    is_meant,
    is_whole_id,
    to_fact_value,
)
from kedro_hydraflow.filters import Conditions, advise_filter, parse_filters
from kedro_hydraflow.forks import warn_of_polars
from kedro_hydraflow.frames import (
    add_values,
    check_metrics,
    list_null,
    make_complete_frame,
    make_declared_column,
    make_history_frame,
    make_run_column,
    stack_frames,
    warn_of_absent,
)
from kedro_hydraflow.group_by import GroupBy
from kedro_hydraflow.json_columns import Nested, make_column
from kedro_hydraflow.key_patterns import expand_columns, list_keys
from kedro_hydraflow.keys import parse_key, to_dotted
from kedro_hydraflow.logs import get_logger
from kedro_hydraflow.lookup import (
    explain_lack,
    get_by_spelling,
    get_data,
    get_values,
    warn_of_other_meaning,
)
from kedro_hydraflow.missing import MISSING, to_missing
from kedro_hydraflow.pandas_frames import import_pandas, to_pandas_frame
from kedro_hydraflow.parallel import check_jobs, parallel_map
from kedro_hydraflow.parallel_plot import make_parallel_plot
from kedro_hydraflow.progress import showing_progress
from kedro_hydraflow.recorded import read_entries, to_ordered
from kedro_hydraflow.run import Run, copy_without_credentials
from kedro_hydraflow.run_base import get_configuration
from kedro_hydraflow.run_info import (
    RECORDED_FACTS,
    CredentialRemover,
    connected,
    describe_runs,
    get_place,
    read_fact,
)
from kedro_hydraflow.schemas import parse_schema
from kedro_hydraflow.selecting import Selector
from kedro_hydraflow.summary import make_description, make_over_frame
from kedro_hydraflow.times import to_time, to_utc

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    import pandas as pd
    import plotly.graph_objects as go
    import polars as pl

    from kedro_hydraflow.schemas import Schema, SchemaOption

logger = get_logger(__name__)

_MAX_IDS = 10
"""The maximum number of IDs named in a message."""

R = TypeVar("R", bound=Run[Any, Any], default=Run[Any, Any])


class RunCollection(Collection[R]):
    """A sequence of runs, whose values are looked up with ``Run.get``.

    Args:
        runs: The runs.
        get: Another lookup of a key: ``get(run, key, default)``, where ``default`` is
            ``dataclasses.MISSING`` if there is none.

    Examples:
        >>> from kedro_hydraflow import Run, iter_run_dirs
        >>> runs = Run.load(iter_run_dirs("examples/data/mlruns"))
        >>> runs.filter(model__type="mlp").sort("training.learning_rate")
        RunCollection(Run, n=19, job_name={'train_digits_v1': 12, 'train_digits_v2': 5,
        'eval_digits': 2}, status={'FINISHED': 18, 'FAILED': 1})

        The examples of the methods use these ``runs``.
    """

    def __init__(
        self, runs: Iterable[R], get: Callable[[R, str, Default], Any] | None = None
    ) -> None:
        super().__init__(runs, _get_from_run if get is None or get is Run.get else get)

    def __repr__(self) -> str:
        text = super().__repr__()
        known = describe_runs([run.info for run in self._items])
        return f"{text[:-1]}, {known})" if known else text

    def _repr_html_(self) -> str:
        """Return for a notebook how many runs there are, the first ones, and what differs.

        Of runs on remote storage, it is only what has been read. Of local ones, it reads at most
        the facts of a thousand runs, and the logged values of the ten that are shown.
        """
        from kedro_hydraflow.run_html import make_runs_html

        return make_runs_html(super().__repr__(), self._items)

    def _ipython_key_completions_(self) -> list[str]:
        """Return the keys that ``runs["<Tab>`` offers, of what has been read of a few runs."""
        from kedro_hydraflow.run_html import list_known_keys

        return list_known_keys(self._items)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        runs = []
        for run in self._items:  # as copy.deepcopy does it, in half the time
            copied = memo.get(id(run))
            if copied is None:
                copied = memo[id(run)] = run.__deepcopy__(memo)
            runs.append(copied)
        attributes = {k: v for k, v in self.__dict__.items() if k not in ("_items", "_get")}
        collection = self.__new__(type(self))
        collection.__dict__.update(copy.deepcopy(attributes, memo), _items=runs, _get=self._get)
        return collection

    def _get_values(
        self,
        items: Sequence[R],
        key: str,
        default: Default = MISSING,
        advise: Callable[[str], str] | None = None,
    ) -> list[Any]:
        if not self._gets_as_run(items):
            return super()._get_values(items, key, default, advise)
        return get_values(items, key, default, advise)

    def _look_up(
        self,
        items: Sequence[R],
        key: str,
        default: Default = MISSING,
        advise: Callable[[str], str] | None = None,
    ) -> list[Any]:
        if not self._gets_as_run(items):
            return super()._look_up(items, key, default, advise)
        return get_data(items, key, default, advise)

    def _look_up_to_sort(self, key: str) -> list[Any]:
        return to_ordered(key, super()._look_up_to_sort(key))

    def _make_advice(self, wanted: Any = MISSING) -> Callable[[str], str]:
        return partial(advise_filter, wanted=wanted)

    def _gets_as_run(self, items: Sequence[R]) -> bool:
        """Whether keys are looked up by `Run.get` itself, not by a subclass or a function."""
        return self._get is _get_from_run and all(
            kind.get is Run.get for kind in {type(run) for run in items}
        )

    def _matching(self, criterion: Any, candidates: list[int]) -> list[int]:
        if not isinstance(criterion, str):
            return super()._matching(criterion, candidates)
        selected = Conditions(parse_filters(criterion)).select_all(
            [self._items[i] for i in candidates]
        )
        for failure in selected.failures:
            raise failure.error
        kept = set(map(id, selected.runs))
        return [i for i in candidates if id(self._items[i]) in kept]

    def _matching_values(self, key: str, wanted: Any, candidates: list[int]) -> list[int]:
        fact = to_dotted(key)
        runs = [self._items[i] for i in candidates]
        if fact in RECORDED_FACTS and self._gets_as_run(runs):
            wanted = _check_fact(runs, key, fact, wanted)
        matching = super()._matching_values(key, wanted, candidates)
        if fact == "run_id" and isinstance(wanted, str) and not matching:
            _warn_of_beginning(runs, wanted)
        return matching

    def to_list(self, key: str, default: Default = MISSING) -> list[Any]:
        """Return the value of a key for each run: what ``Run.get`` returns.

        Args:
            key: The key.
            default: For runs that lack the key; if callable, called with the run.

        Raises:
            MissingKeyError: If a run lacks the key and there is no default.

        Examples:
            >>> runs[:2].to_list("metrics.accuracy")
            [0.9577777777777777, 0.9777777777777777]
            >>> runs[:2].to_list("training.warmup", lambda run: run.get("training.epochs") // 4)
            [2, 2]
        """
        return super().to_list(key, default)

    def _make_series(
        self, name: str, key: str, values: list[Any], nested: Nested = "keep"
    ) -> pl.Series:
        return make_run_column(self._items, name, key, values, nested)

    def top(
        self,
        n: int,
        by: str | Callable[[R], Any],
        *,
        mode: Mode,
        default: Default = MISSING,
    ) -> Self:
        """Return the ``n`` best runs, the best one first, or all runs if there are fewer.

        Runs without a value, or with NaN, come last. Runs with equal values are in the order
        of their IDs.

        Args:
            n: The number of runs.
            by: The key of a number or a time, or a callable that takes a run and returns a
                number, a time, or None.
            mode: ``"max"``: the largest value is the best one; ``"min"``: the smallest.
            default: For runs that lack the key; if callable, called with the run.

        Raises:
            OptionError: If a value is neither a number nor a time, or no run has a value.

        Examples:
            >>> runs.top(3, by="metrics.accuracy", mode="max").to_list("training.learning_rate")
            [0.01, 0.01, 0.03]
            >>> runs.top(3, by="metrics.train/loss", mode="min").to_list("model.type")
            ['mlp', 'mlp', 'linear']
        """
        _check_count(n)
        order = self._rank(by, mode, default)
        return self._make([self._items[i] for i in order[: int(n)]])

    def best(self, by: str | Callable[[R], Any], *, mode: Mode, default: Default = MISSING) -> R:
        """Return the best run: the first one of `top`.

        Args:
            by: As for `top`: a key, or a callable that takes a run.
            mode: ``"max"``: the largest value is the best one; ``"min"``: the smallest.
            default: For runs that lack the key; if callable, called with the run.

        Raises:
            OptionError: If there are no runs, or as for `top`.

        Examples:
            >>> runs.best(by="metrics.accuracy", mode="max").get("model.hidden_size")
            64
            >>> runs.best(by="end_time", mode="max").info.status  # of the latest run
            'FAILED'
        """
        if not self._items:
            raise OptionError(f"there is no best run by {_show_by(by)}: the collection is empty")
        return self.top(1, by, mode=mode, default=default)[0]

    def _make_groups(
        self, by: tuple[str, ...], groups: dict[Hashable, list[R]]
    ) -> GroupBy[Self, R]:
        made = {key: self._make(runs) for key, runs in groups.items()}
        return GroupBy(by, made, self._find_top_of_groups, self._look_up_in_groups)

    def _find_top_of_groups(
        self,
        groups: Mapping[Any, Self],
        n: int,
        by: str | Callable[[R], Any],
        mode: Mode,
        default: Default,
    ) -> Self:
        """Return the best runs of each group. All values are looked up at once.

        A group without any value is left out, which is logged.
        """
        _check_count(n)
        everything = self._make(run for group in groups.values() for run in group)
        values = everything._get_ranked_values(by, mode, default)
        chosen: list[R] = []
        without = []
        start = 0
        for key, group in groups.items():
            of_group = values[start : start + len(group)]
            start += len(group)
            if all(map(_is_unranked, of_group)):
                without.append(key)
            else:
                order = group._order(of_group, by, mode)
                chosen += [group._items[i] for i in order[: int(n)]]
        if without:
            logger.warning(
                "%d of %d groups are left out, because no run in them has a value for %s: %s",
                len(without),
                len(groups),
                _show_by(by),
                show_names(without),
            )
        return self._make(chosen)

    def _rank(self, by: str | Callable[[R], Any], mode: Mode, default: Default) -> list[int]:
        """Return the positions of the runs, that of the best one first."""
        return self._order(self._get_ranked_values(by, mode, default), by, mode)

    def _order(self, values: list[Any], by: str | Callable[[R], Any], mode: Mode) -> list[int]:
        order = sorted(range(len(self)), key=lambda i: _get_identity(self._items[i]))
        try:
            return sort_order(values, order, reverse=mode == "max")
        except TypeError as exc:
            raise OptionError(f"cannot compare the values of {_show_by(by)}: {exc}") from exc

    def _get_ranked_values(
        self, by: str | Callable[[R], Any], mode: Mode, default: Default
    ) -> list[Any]:
        """Return a number, a time or None for each run, not None or NaN for all of them."""
        check_mode(mode)
        default = to_missing(default)
        if not callable(by):
            values = to_ordered(by, self._look_up_by_spelling(by, default))
        elif default is MISSING:
            values = [by(run) for run in self._items]
        else:
            raise OptionError(
                "default: only valid if by is a key; return the default from the callable instead"
            )
        for run, value in zip(self._items, values, strict=True):
            is_ranked = isinstance(value, (Real, datetime)) and not isinstance(value, bool)
            if value is not None and not is_ranked:
                raise OptionError(
                    f"cannot rank runs by {_show_by(by)}: expected a number or a time, "
                    f"run {run.info.run_id} has {value!r} ({type(value).__name__})"
                )
        if values and all(map(_is_unranked, values)):
            raise self._no_value_error(by, values)
        return list(map(to_utc, values))

    def _look_up_by_spelling(self, key: str, default: Default) -> list[Any]:
        """Return the value of a key for each run, the default or None without one.

        What the key means is decided as in a filter.
        """
        if not self._gets_as_run(self._items):
            return self._look_up(self._items, key, None if default is MISSING else default)
        warn_of_other_meaning(self._items, parse_key(key))
        return [
            None if value is MISSING else value
            for value in get_by_spelling(self._items, key, default)
        ]

    def _no_value_error(self, by: str | Callable[[R], Any], values: list[Any]) -> OptionError:
        n_nan = sum(value is not None for value in values)
        found = f" ({n_nan} have NaN)" if n_nan else ""
        hint = ""
        if not callable(by) and not n_nan:
            key = parse_key(by)
            fact = key.path if key.kind == "fact" else None
            unrecorded = explain_unrecorded(self._items[0].info, fact)
            hint = f"; {unrecorded or explain_lack(self._items, key)}"
        return OptionError(f"{show_none_has(len(self))} a value for {_show_by(by)}{found}{hint}")

    def parents(self) -> Self:
        """Return the runs that are not nested in another run.

        In the interface of MLflow these are the runs at the top level, with or without children.
        It is the same as the filter ``parent_run_id == null``.

        Raises:
            StorageError: If the tags of a run cannot be read.

        Examples:
            >>> runs.parents()  # no run of this sweep is nested
            RunCollection(Run, n=31, ...)
        """
        return self._make(run for run, parent in self._iter_with_parents() if parent is None)

    def children(self, run: Run[Any, Any] | str) -> Self:
        """Return the runs of this collection that were started in another run.

        Args:
            run: The other run, its ID or at least 4 characters that only this one begins with. It
                does not have to be in this collection.

        Raises:
            OptionError: If several IDs begin so.
            StorageError: If the tags of a run cannot be read.

        Examples:
            >>> {run.info.run_id: runs.children(run) for run in runs.parents()[:1]}
            {'2ca54cc607914e0780960fb8ff621108': RunCollection(empty)}
        """
        if not isinstance(run, (str, Run)):
            raise OptionError(f"children: expected a run or the ID of one, found {run!r}")
        pairs = list(self._iter_with_parents())
        if isinstance(run, Run):
            run_id = run.info.run_id
        else:
            known = {each.info.run_id for each in self._items}
            run_id = _complete_id(run, known | {parent for _, parent in pairs if parent})
        return self._make(child for child, parent in pairs if parent == run_id)

    def _iter_with_parents(self) -> Iterator[tuple[R, str | None]]:
        """Yield each run with the ID of its parent; all are read at once."""
        read_fact([run.info for run in self._items], "parent_run_id")
        for run in self._items:
            yield run, run.info.parent_run_id

    def to_frame(  # type: ignore[override]  # no computed column has the name of an option
        self,
        *keys: str | tuple[str, Default],
        defaults: Mapping[str, Default] | None = None,
        schema: SchemaOption | None = None,
        strict: bool = True,
        nested: Nested = "keep",
        n_jobs: int = 0,
        backend: str | None = None,
        progress: bool = False,
        **kwargs: Callable[[R], Any],
    ) -> pl.DataFrame:
        """Return a Polars frame with a row for each run.

        Without any keys, the columns are ``run_id``, ``job_name`` and every key of the
        configurations, as with ``runs.to_frame("info.run_id", "info.job_name", "*")``.

        A **pattern**, with ``*`` or ``?`` in it, stands for all keys that it matches in any run:
        ``metrics.*``, ``params.train_*``, ``info.*``, ``hydra.job.*``, or keys of the
        configurations, such as ``model.*``, or ``*`` for all of them. See `list_keys`. In the
        columns of a pattern, interpolations that cannot be resolved are left as text.

        A **schema** declares columns and their types, so that frames of other runs have the same
        ones: a key that no run has is null. Which values fit which type:
        https://kedro-hydraflow.github.io/kedro-hydraflow/frames/#schemas.

        Args:
            *keys: The columns: keys and patterns, or pairs of a key and its default. Without a
                default, runs that lack the key have null. A key that is given and matches a
                pattern, too, comes once. ``"run"``, ``"cfg"``, ``"impl"`` and ``"info"`` are
                columns of objects.
            defaults: Defaults by key.
            schema: Types by key, such as ``{"model.type": pl.String, "metrics.loss": "Float64"}``.
                Each key is a column, after those of ``keys`` unless it is one of them. Its
                spelling alone says what it means, as in filters.
            strict: Whether a value that does not fit its type is an error. If not, it is null.
            nested: ``"keep"``: lists and mappings become List and Struct columns; values that
                Polars has no type for are kept as objects, which no file can hold. ``"json"``:
                columns of these and of values of several kinds are JSON text, so that every
                frame can be written as CSV or Parquet.
            n_jobs: As for `pmap`, for the computed columns.
            backend: As for `pmap`.
            progress: As for `pmap`.
            **kwargs: Computed columns by name: functions of the run.

        Raises:
            MissingKeyError: If no run has a key, or one that a pattern matches, and there is
                neither a default nor a type for it.
            SchemaError: If a value does not fit the type that is declared for it.

        Examples:
            >>> runs.to_frame("run_name", "model.type", "metrics.accuracy").row(0)
            ('incongruous-cod-24', 'mlp', 0.9577777777777777)
            >>> runs.to_frame("run_name", "model.*", "metrics.acc*").columns
            ['run_name', 'model.type', 'model.hidden_size', 'model.activation', 'metrics.accuracy']
            >>> runs.to_frame().columns[:4]
            ['run_id', 'job_name', 'model.type', 'model.hidden_size']
            >>> import polars as pl
            >>> runs.to_frame(schema={"seed": pl.Int8, "model.dropout": pl.Float64}).row(0)
            (7, None)
            >>> runs.to_frame("data.classes", nested="json").row(0)
            ('[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]',)
        """
        declared = parse_schema(schema, strict=strict, nested=nested)
        with showing_progress(show=progress):
            if declared is not None:
                check_jobs(n_jobs, backend, progress)
                check_columns(keys)
                computed = dict(self._compute(kwargs, n_jobs, backend, progress))
                return self._make_declared_frame(keys, defaults or {}, declared, computed)
            if not keys and not kwargs:
                check_jobs(n_jobs, backend, progress)
                given = {k: v for k, v in (defaults or {}).items() if to_missing(v) is not MISSING}
                return make_complete_frame(self._items, given, nested)
            return super().to_frame(
                *keys,
                defaults=defaults,
                nested=nested,
                n_jobs=n_jobs,
                backend=backend,
                progress=progress,
                **kwargs,
            )

    def _make_declared_frame(
        self,
        keys: Sequence[str | tuple[str, Default]],
        defaults: Mapping[str, Default],
        schema: Schema,
        computed: Mapping[str, list[Any]],
    ) -> pl.DataFrame:
        """Return the frame of `to_frame` with a schema, of which some columns may be computed."""
        import polars as pl

        infos = [run.info for run in self._items]
        columns = self._make_columns(keys, defaults, schema.nested, schema)
        for key in schema.types:
            if key in computed:
                columns[key] = schema.fit(key, computed[key], infos)
            elif key not in columns:
                columns[key] = self._make_declared(schema, key, defaults.get(key, MISSING))
        for name, values in computed.items():
            if name not in schema.types:
                columns[name] = make_column(name, values, schema.nested)
        frame = pl.DataFrame(list(columns.values()))
        if self._gets_as_run(self._items):
            warn_of_absent(self._items, list_null(frame, schema.types))
        return frame

    def _make_declared(self, schema: Schema, key: str, default: Default) -> pl.Series:
        if self._gets_as_run(self._items):
            return make_declared_column(self._items, schema, key, default)
        values = self._look_up_by_spelling(key, default)
        return schema.fit(key, values, [run.info for run in self._items])

    def _make_columns(
        self,
        keys: Iterable[str | tuple[str, Default]],
        defaults: Mapping[str, Default],
        nested: Nested,
        schema: Schema | None = None,
    ) -> dict[str, pl.Series]:
        columns = {}
        with connected(run.info for run in self._items):
            for name, default, values in expand_columns(self._items, keys, defaults):
                key = None if schema is None else schema.find(name)
                if schema is not None and key is not None:
                    columns[key] = self._make_declared(schema, key, default)
                elif values is None:
                    columns[name] = self._make_column(name, default, nested)
                else:
                    columns[name] = make_column(name, values, nested)
        return columns

    def to_pandas(
        self,
        *keys: str | tuple[str, Default],
        defaults: Mapping[str, Default] | None = None,
        schema: SchemaOption | None = None,
        strict: bool = True,
        nested: Nested = "keep",
        n_jobs: int = 0,
        backend: str | None = None,
        progress: bool = False,
        **kwargs: Callable[[R], Any],
    ) -> pd.DataFrame:
        """Return a pandas frame with a row for each run: that of `to_frame`, without pyarrow.

        Integers and booleans with nulls are of the types ``Int64`` and ``boolean``; in columns of
        floats and times, nulls are NaN and NaT. Times are in UTC. Lists and mappings are columns of
        objects.

        Args:
            *keys: As for `to_frame`, as are the other arguments and the errors.
            defaults: As for `to_frame`.
            schema: As for `to_frame`.
            strict: As for `to_frame`.
            nested: As for `to_frame`.
            n_jobs: As for `to_frame`.
            backend: As for `to_frame`.
            progress: As for `to_frame`.
            **kwargs: As for `to_frame`.

        Raises:
            MissingPackageError: If pandas is not installed: it is in the extra ``pandas``.

        Examples:
            >>> frame = runs.to_pandas("model.type", "seed", "metrics.accuracy", "start_time")
            >>> frame.dtypes.astype(str)[1:].to_dict()
            {'seed': 'int64', 'metrics.accuracy': 'float64', 'start_time': 'datetime64[us, UTC]'}
            >>> frame.groupby("model.type")["metrics.accuracy"].mean().round(3).to_dict()
            {'linear': 0.884, 'mlp': 0.933}
        """
        import_pandas()
        frame = self.to_frame(
            *keys,
            defaults=defaults,
            schema=schema,
            strict=strict,
            nested=nested,
            n_jobs=n_jobs,
            backend=backend,
            progress=progress,
            **kwargs,
        )
        return to_pandas_frame(frame)

    def varying(self, *keys: str, derived: bool = False) -> pl.DataFrame:
        """Return a Polars frame of ``run_id`` and the keys whose values differ.

        Null is a value, and a run without a key has null: a key that only some runs have differs.
        NaN is the same as NaN. Numbers are compared by value (``1`` is ``1.0``), lists as a whole.

        Values that only follow from others are left out: an interpolation that is the same in all
        runs that have the key, such as ``${model.type}-${seed}`` or ``${oc.env:USER}``, resolved
        or not; and text that differs only in the run's own ID, such as the path of its directory.
        The ID is that of MLflow, or of a directory that Hydra named after the time.

        Args:
            *keys: Which keys to compare: keys and patterns, which mean what they do in filters,
                see https://kedro-hydraflow.github.io/kedro-hydraflow/keys/. By default all
                keys of the configurations, ``"*"``; ``"params.*"`` is for runs without them. For a
                key that is not a pattern, the values themselves are compared.
            derived: Whether to include the values that only follow from others.

        Returns:
            A row for each run, and the columns in the order of ``to_frame(*keys)``.

        Raises:
            MissingKeyError: If no run has a key, or one that a pattern matches.

        Examples:
            >>> runs.filter(job_name="train_digits_v1").varying().columns
            ['run_id', 'model.type', 'model.hidden_size', 'training.learning_rate', 'seed']
            >>> runs.filter(seed=42).varying("model.*", "metrics.accuracy").columns
            ['run_id', 'model.activation', 'metrics.accuracy']
        """
        check_keys(keys)
        check_flag("derived", derived)
        return make_varying_frame(
            self._items, keys or ["*"], self._find_by_spelling, derived=derived
        )

    def diff(
        self,
        a: Run[Any, Any] | str | int,
        b: Run[Any, Any] | str | int,
        *keys: str,
        derived: bool = False,
    ) -> pl.DataFrame:
        """Return a Polars frame of the keys in which two runs differ.

        Args:
            a: A run, the ID of one of these runs or at least 4 characters that only this one
                begins with, or a position in the collection.
            b: The other run.
            *keys: Which keys to compare, and what differs, is as for `varying`: by default all keys
                of the configurations. ``"*", "metrics.*"`` are also those of the metrics.
            derived: As for `varying`.

        Returns:
            A row for each key with the columns ``key``, ``a`` and ``b``: the values as text in the
            spelling of YAML, null without a value. ``runs[[0, 1]].varying()`` has the values
            themselves.

        Raises:
            OptionError: If there is no such run.
            MissingKeyError: If neither run has a key, or one that a pattern matches.

        Examples:
            >>> runs.diff("cde953df", "13f42e95").rows()
            [('model.hidden_size', '32', '64'), ('seed', '8', '1')]
            >>> runs.diff(0, 1, "seed", "metrics.accuracy").rows()
            [('seed', '7', '8'), ('metrics.accuracy', '0.9577777777777777', '0.9777777777777777')]
        """
        check_keys(keys)
        check_flag("derived", derived)
        both = self._make([self._choose("a", a), self._choose("b", b)])
        return make_diff_frame(both._items, keys or ["*"], both._find_by_spelling, derived=derived)

    def _choose(self, option: str, run: Run[Any, Any] | str | int) -> R:
        """Return a run, or the one with an ID or at a position."""
        if isinstance(run, Run):
            return cast("R", run)
        if isinstance(run, Integral) and not isinstance(run, bool):
            if not -len(self) <= run < len(self):
                count = show_count(len(self), "run")
                raise OptionError(f"{option}: there is no run {run}, of {count}")
            return self._items[int(run)]
        if not isinstance(run, str):
            raise OptionError(
                f"{option}: expected a run, the ID of one or its position, found {run!r}"
            )
        try:
            return find_by_id(self._items, run, "a run of this collection, or its position,")
        except OptionError as exc:
            raise prefix_error(option, exc) from exc

    def describe(self, *keys: str) -> pl.DataFrame:
        """Return a Polars frame with a row for each key: what values the runs have.

        Args:
            *keys: Keys and patterns, which mean what they do in filters, see
                https://kedro-hydraflow.github.io/kedro-hydraflow/keys/. By default all
                keys of the configurations, ``"*"``.

        Returns:
            A frame with the columns

            - ``key``,
            - ``type``: ``int``, ``float``, ``str``, ``bool``, ``list``, …, or several, as in
                ``int | str``; ``null`` if no run has a value,
            - ``distinct``: the number of distinct values, NaN being one,
            - ``missing``: the number of runs without a value, or with null,
            - ``nan``: the number of runs with NaN,
            - ``min``, ``max``: the least and largest of numbers, texts or times, without NaN,
            - ``example``: the first value.

            Values are text in the spelling of YAML.

        Raises:
            MissingKeyError: If no run has a key, or one that a pattern matches.

        Examples:
            >>> runs.describe("model.hidden_size", "metrics.accuracy").rows()
            [('model.hidden_size', 'int', 3, 0, 0, '16', '64', '32'),
             ('metrics.accuracy', 'float', 20, 0, 0,
              '0.7177777777777777', '0.9777777777777777', '0.9577777777777777')]
            >>> runs.describe("note").select("type", "distinct", "missing", "example").rows()
            [('str', 1, 27, 'v2: wider sweep, 2 epochs')]
        """
        check_keys(keys)
        return make_description(self._items, keys or ["*"], self._find_by_spelling)

    def over(
        self,
        key: str | Sequence[str],
        *values: str,
        ignore: str | Sequence[str] = (),
        among: str | Sequence[str] = "*",
    ) -> pl.DataFrame:
        """Return a Polars frame of numbers over the runs that differ only in a key, such as a seed.

        Runs are alike that differ in nothing but ``key`` and ``ignore``. What differs is as for
        `varying`.

        Args:
            key: The key, such as ``seed``, or several.
            *values: The keys of the numbers, or patterns: ``metrics.accuracy``, ``metrics.*``.
            ignore: Other keys, patterns, or mappings of keys in which runs may differ that are
                alike, such as free text.
            among: The keys and patterns that are looked at, by default all of the configurations.
                ``params.*`` is for runs without configurations, ``["job_name", "*"]`` tells jobs
                apart, too.

        Returns:
            For each combination of what else varies, and for each of the ``values``, a row: the
            columns that vary, ``key`` (which of the values), ``mean``, ``std`` (of a sample, null
            for one run), ``min``, ``max`` and ``n``, the number of runs with a value. Runs without
            a value are left out of the numbers. With NaN, ``mean`` and ``std`` are NaN, ``min`` and
            ``max`` those of the other runs. A configuration's key that is named like one of these
            columns is the column ``cfg.KEY``.

            If each combination has one run, a warning names the key that splits them most.

        Raises:
            MissingKeyError: If no run has a key, or one that a pattern matches.
            OptionError: If a value is not a number.

        Examples:
            >>> sweep = runs.filter(job_name="train_digits_v1")
            >>> frame = sweep.over("seed", "metrics.accuracy").sort("mean", descending=True)
            >>> frame.columns
            ['model.type', 'model.hidden_size', 'training.learning_rate',
             'key', 'mean', 'std', 'min', 'max', 'n']
            >>> frame.select("model.type", "training.learning_rate", "min", "max", "n").row(0)
            ('mlp', 0.01, 0.9555555555555556, 0.9777777777777777, 2)
        """
        keys, ignored, patterns = map(_as_keys, (key, ignore, among))
        check_keys([*keys, *values, *ignored, *patterns])
        if not keys or not values:
            raise OptionError(
                "over: give a key such as 'seed', and keys of numbers such as 'metrics.accuracy'"
            )
        return make_over_frame(
            self._items, keys, values, self._find_by_spelling, ignore=ignored, among=patterns
        )

    def _find_by_spelling(self, key: str) -> list[Any]:
        """Return the value of a key for each run, None without one.

        What the key means is decided as in a filter.
        """
        if self._gets_as_run(self._items):
            return find_values(self._items, key)
        return self._get_column(key, MISSING)

    def plot_parallel(self, *keys: str, color: str | None = None) -> go.Figure:
        """Return a Plotly figure of parallel coordinates: a line a run, and an axis for each key.

        Kedro-Viz shows it, if a ``plotly.JSONDataset`` of kedro-datasets saves it. An axis of
        positive numbers over two decades or more is logarithmic. Params and tags that are numbers
        are shown as numbers, all other values as categories. A run without a value is at the tick
        *missing*, and grey without one for the colour; NaN and infinities have ticks of their own.

        Args:
            *keys: The axes: keys and patterns, which mean what they do in filters. By default the
                first ten keys of the configurations that differ, as in `varying`, or else of the
                params, without those of more than 30 texts. A key with the same value in all of
                several runs has no axis. There are at most 20 axes, and 30 categories on each of
                them: more are logged as a warning. Long categories are cut, and what times have in
                common, such as the date, is in the label.
            color: The key of the colours, which is the last axis, too. By default the first
                metric.

        Raises:
            MissingPackageError: If Plotly is not installed: it is in the extra ``plotly``.
            MissingKeyError: If no run has a key, or one that a pattern matches.
            OptionError: If there are no runs, or nothing differs between them.

        Examples:
            >>> figure = runs.plot_parallel("model.*", "training.learning_rate")
            >>> [axis.label for axis in figure.data[0].dimensions]
            ['model.type', 'model.hidden_size', 'model.activation', 'training.learning_rate',
             'metrics.accuracy']
            >>> figure.data[0].dimensions[1].ticktext
            ('16', '32', '64')
        """
        check_keys(keys)
        return make_parallel_plot(self._items, keys, color, self._find_by_spelling)

    def list_keys(self, *patterns: str) -> list[str]:
        """Return the keys that the runs have.

        A key that only some of the runs have is one of them. They work as columns of `to_frame`,
        in filters as text, in ``get``, and wherever else there are keys. A key of the configuration
        that means something else in some of these places is spelled ``cfg.KEY``.

        Args:
            *patterns: Which keys: ``metrics.*``, ``params.train_*``, ``tags.*``, ``info.*``,
                ``hydra.job.*`` or ``results.*``, or, with any other beginning, keys of the
                configurations: ``model.*``. By default all of these, as with ``*``. Wildcards are
                ``*``, which matches dots too, and ``?``. Tags of MLflow itself match only
                patterns that begin like them: ``tags.mlflow.*``.

        Returns:
            The keys in the order of the patterns: those of configurations in order of first
            appearance, what was logged sorted. There are none if nothing matches.

        Examples:
            >>> runs.list_keys("model.*", "metrics.*")
            ['model.type', 'model.hidden_size', 'model.activation',
             'metrics.accuracy', 'metrics.train/loss', 'metrics.val/accuracy']
            >>> len(runs.list_keys())
            12
        """
        check_keys(patterns)
        return list_keys(self._items, patterns or ["*"])

    def preload(
        self,
        *,
        n_jobs: int = 0,
        cfg: bool = True,
        impl: bool = True,
        progress: bool = False,
    ) -> Self:
        """Return this collection, with all configurations read and all `impl` objects built.

        The configurations of runs from `Run.load` are already read. Each ``DictConfig`` is still
        built on first use of ``run.cfg``, because it takes fifty times the memory of plain data.

        Args:
            n_jobs: 0 or 1: one after the other; N: in N threads; -1: in one thread for each core.
            cfg: Whether to read the configurations.
            impl: Whether to build the implementations.
            progress: Whether to show a progress bar, see `Run.load`.

        Examples:
            >>> from kedro_hydraflow import Run, iter_run_dirs
            >>> class Model:
            ...     def __init__(self, artifacts_dir):
            ...         self.size = artifacts_dir.joinpath("model/weights.npz").stat().st_size
            >>> models = Run.load(iter_run_dirs("examples/data/mlruns"), Model)
            >>> max(models.preload(n_jobs=4).to_list("size"))
            9347
        """
        check_flag("cfg", cfg)
        check_flag("impl", impl)

        def build(run: R) -> None:
            if cfg:
                get_configuration(run).read()
            if impl:
                _ = run.impl

        parallel_map(build, self._items, n_jobs=n_jobs, backend="threading", progress=progress)
        return self

    def digest(self, *, logged: bool = False) -> str:
        """Return text that is the same as long as the runs are, in whatever order.

        Args:
            logged: As for `Run.digest`.

        Returns:
            SHA-256 of what `Run.digest` returns for the runs, 64 hexadecimal digits.

        Raises:
            KedroHydraflowError: As for `Run.digest`.

        Examples:
            >>> runs.digest() == runs.sort("seed", reverse=True).digest()
            True
            >>> runs.digest() == runs[1:].digest()
            False
        """
        check_flag("logged", logged)
        return combine_digests(make_digests(self._items, logged=logged))

    def without_credentials(self) -> Self:
        """Return copies of the runs to pickle into a file: without options and logins.

        A pickle of a remote run has the options of its filesystem, secrets included, so that it
        can be read on in another process. The copies have what has been read: after ``Run.load``
        the configurations, and of a database or server the facts, metrics, params and tags. Look
        up what else is needed before: ``runs.to_frame("status", "metrics.loss")`` reads these of
        all runs at once. The copies read no more from remote storage, and ask no server. That is
        a `StorageError`.

        Examples:
            >>> import pickle
            >>> text = pickle.dumps(runs.without_credentials())
            >>> pickle.loads(text).filter(status="FAILED").to_list("seed")
            [42]
        """
        remover = CredentialRemover()
        copied = copy.copy(self)
        copied._items = [copy_without_credentials(run, remover) for run in self._items]
        return copied

    @overload
    def update(self, key: str, value: Any | Callable[[R], Any], *, force: bool = False) -> None: ...

    @overload
    def update(
        self,
        key: tuple[str, ...],
        value: Iterable[Any] | Callable[[R], Iterable[Any]],
        *,
        force: bool = False,
    ) -> None: ...

    def update(self, key: Any, value: Any | Callable[[R], Any], *, force: bool = False) -> None:
        """Set values in the configuration of every run, by default only where there are none.

        Args:
            key: A key, or several.
            value: The value; for several keys, an iterable with one value per key; or a
                callable that takes a run and returns one of these. See `Run.update`.
            force: Whether to replace existing values.

        Examples:
            >>> runs.update("model.dropout", 0.0)  # for runs from before there was dropout
            >>> runs.update("steps", lambda run: run.get("training.epochs") * 21)
            >>> runs.unique("steps").tolist()
            [21, 84, 168]
        """
        keys = key if isinstance(key, (tuple, list)) else [key]
        check_keys(keys)
        if not force:
            for name in keys:
                read_entries([run.info for run in self._items], name)  # at once
        for run in self._items:
            run.update(key, value, force=force)

    def concat(
        self,
        function: Callable[[R], pl.DataFrame],
        *keys: str | tuple[str, Any | Callable[[R], Any]],
    ) -> pl.DataFrame:
        """Concatenate the frames that a function returns for each run.

        Args:
            function: Takes a run, returns a frame.
            *keys: Values of the run to add as columns: keys, pairs of a key and its default, or
                patterns, as for `to_frame`.

        Examples:
            >>> import json
            >>> import polars as pl
            >>> def read_correct(run):
            ...     matrix = json.loads(run.path("confusion_matrix.json").read_text())
            ...     return pl.DataFrame({"correct": [matrix[digit][digit] for digit in range(10)]})
            >>> runs.concat(read_correct, "run_id", "model.type").head(1).rows()
            [(51, '2ca54cc607914e0780960fb8ff621108', 'mlp')]
            >>> runs.concat(read_correct, "model.*").columns
            ['correct', 'model.type', 'model.hidden_size', 'model.activation']
        """
        import polars as pl

        check_columns(keys)
        if not self._items:
            return pl.DataFrame()
        warn_of_polars()
        columns = expand_columns(self._items, keys, {})
        series = {c.name: make_series(c.name, c.values) for c in columns if c.values is not None}
        frames = []
        for i, run in enumerate(self._items):
            values: dict[str, Any] = {name: each.slice(i, 1) for name, each in series.items()}
            for c in columns:
                if c.values is None:
                    (values[c.name],) = get_data([run], c.name, c.default)
            frames.append(add_values(function(run), {c.name: values[c.name] for c in columns}))
        return stack_frames(frames, "vertical_relaxed")

    def metric_histories(
        self, *names: str, keys: str | Sequence[str | tuple[str, Default]] = ()
    ) -> pl.DataFrame:
        """Return all values of metrics of all runs, in one long frame.

        Args:
            *names: The metrics, such as ``train/loss``, or patterns of them, such as ``train/*``;
                at least one.
            keys: Values of the runs to add as columns: keys, pairs of a key and its default, or
                patterns, as for `to_frame`. A key that is named like another column is the column
                ``cfg.KEY``.

        Returns:
            A frame with the columns ``run_id``, ``metric`` and those of `Run.metric_history`,
            then those of the keys, in the order of the runs, then of the names, those of a pattern
            sorted. Runs without a metric have no rows.

        Raises:
            MissingKeyError: If there are runs, and none has a metric of that name, or a key.
            MetadataError: If the record of a metric has an unknown format.
            StorageError: If it cannot be read.

        Examples:
            >>> frame = runs.metric_histories("train/loss", "val/*")
            >>> frame.columns
            ['run_id', 'metric', 'step', 'timestamp', 'value']
            >>> frame.pivot("metric", index=["run_id", "step"], values="value").columns
            ['run_id', 'step', 'train/loss', 'val/accuracy']
            >>> runs.metric_histories("train/*", keys=["training.learning_rate"]).columns[5:]
            ['training.learning_rate']
        """
        check_metrics(names)
        return make_history_frame(self._items, names, self._make_key_columns(keys))

    def _make_key_columns(
        self, keys: str | Sequence[str | tuple[str, Default]]
    ) -> dict[str, pl.Series]:
        """Return the columns of keys for `make_history_frame`."""
        columns = _as_keys(keys)
        check_columns(columns)
        return self._make_columns(columns, {}, "keep")

    def iterdir(self, relative_dir: str = "") -> Iterator[Path]:
        """Yield the paths in the artifacts directory of each run, or in a folder of it.

        Args:
            relative_dir: The folder, by default the artifacts directory itself.

        Examples:
            >>> {path.name for path in runs.iterdir("model")}
            {'weights.npz'}
        """
        for run in self._items:
            yield from run.iterdir(relative_dir)

    def glob(self, pattern: str, relative_dir: str = "") -> Iterator[Path]:
        """Yield the artifacts of each run that match a pattern.

        Args:
            pattern: A pattern of ``pathlib.Path.glob``.
            relative_dir: The folder to look in, by default the artifacts directory.

        Examples:
            >>> sum("ERROR" in path.read_text() for path in runs.glob("*.log"))
            1
        """
        for run in self._items:
            yield from run.glob(pattern, relative_dir)


def _check_fact(runs: Sequence[Run[Any, Any]], key: str, fact: str, wanted: Any) -> Any:
    """Return a condition on a fact, with its values in the right case, or as times.

    If a configuration has the key, it is returned unchanged.

    Raises:
        FilterError: If a store does not record the fact, or the fact never has such a value.
    """
    in_configs = Selector().select_column([get_configuration(run) for run in runs], fact)
    if in_configs.error is not None or len(in_configs.missing) < len(runs):
        return wanted
    shown = getattr(wanted, "__qualname__", reprlib.repr(wanted))
    condition = f"filter {key}={shown}"
    seen = get_data(runs, fact)
    for run, value in zip(runs, seen, strict=True):
        if value is None:
            check_recorded(condition, run.info, fact)
    if callable(wanted):
        return wanted
    if fact in TIME_FACTS:
        is_fact = all(value is None or isinstance(value, datetime) for value in seen)
        return _to_times(condition, fact, as_list(wanted)) if is_fact else wanted
    if isinstance(wanted, tuple):  # a range
        return tuple(to_fact_value(fact, value) for value in wanted)
    wanted = as_list(wanted)
    is_list = isinstance(wanted, (list, set))
    values = FACT_VALUES.get(fact, ())
    is_fact = bool(seen) and all(value is None or value in values for value in seen)
    problem = explain_impossible(fact, wanted if is_list else [wanted])
    if problem is not None and is_fact:  # not an attribute of the `impl`
        raise FilterError(f"{condition}: {problem}")
    return [to_fact_value(fact, v) for v in wanted] if is_list else to_fact_value(fact, wanted)


def _warn_of_beginning(runs: Sequence[Run[Any, Any]], wanted: str) -> None:
    """Log that text to which no run ID is equal is the beginning of one."""
    ids = (run.info.run_id for run in runs)
    longer = next((run_id for run_id in ids if run_id.startswith(wanted)), None)
    if longer is not None and len(wanted) >= MIN_PREFIX:
        logger.warning("filter run_id=%r: %s", wanted, explain_beginning(wanted, longer))


def _match_ids(text: str, ids: set[str]) -> set[str]:
    """Return the ID that a text is, or else those that begin with it."""
    whole = {run_id for run_id in ids if is_whole_id(run_id, text)}
    return whole or {run_id for run_id in ids if is_meant(run_id, text)}


def find_by_id(runs: Iterable[R], text: str, of_copies: str) -> R:
    """Return the run with an ID, or the only one with an ID that begins so.

    Args:
        runs: The runs.
        text: The ID, or the beginning of it.
        of_copies: What to give to choose one of several copies of a run.

    Raises:
        OptionError: If there is none, or there are several.
    """
    runs = list(runs)
    ids = _match_ids(text, {run.info.run_id for run in runs})
    found = [run for run in runs if run.info.run_id in ids]
    if not found:
        raise OptionError(
            f"no run has the ID {text!r}, or one that begins so (with at least {MIN_PREFIX} "
            "characters); to find a run by its name, filter by run_name"
        )
    if len(found) == 1:
        return found[0]
    if len(ids) > 1:
        raise OptionError(
            f"{len(found)} runs have the ID {text!r}, or one that begins so: "
            f"{show_names(sorted(ids), _MAX_IDS)}; give more of the ID"
        )
    copies = [
        f"{escape(run.info.job_name or '')}: {escape(get_place(run.info).url)}"
        for run in found[:_MAX_IDS]
    ]
    raise OptionError(
        Lines(
            f"the run {escape(found[0].info.run_id)} is in {len(found)} experiments; give "
            f"{of_copies} to choose one:{show_lines(copies, len(found) - _MAX_IDS)}"
        )
    )


def _complete_id(text: str, ids: set[str]) -> str:
    """Return the ID that begins with a text, or the text itself if none does."""
    found = sorted(_match_ids(text, ids))
    if len(found) > 1:
        raise OptionError(
            f"children: several IDs begin with {text!r}, such as {found[0]} and {found[1]}; give "
            "more of the ID"
        )
    return found[0] if found else text


def _to_times(condition: str, fact: str, wanted: Any) -> Any:
    """Return a condition on a time, with its values as times in UTC."""
    try:
        if isinstance(wanted, (list, tuple, set)):
            times = [None if value is None else to_time(value) for value in wanted]
            return tuple(times) if isinstance(wanted, tuple) else times
        return None if wanted is None else to_time(wanted)
    except ValueError as exc:
        raise FilterError(f"{condition}: {fact} is a time: {exc}") from exc


def _check_count(n: object) -> None:
    """Raise OptionError unless the value is a number of runs."""
    if not isinstance(n, Integral) or isinstance(n, bool) or n < 0:
        raise OptionError(f"n: expected the number of runs, 0 or more, found {n!r}")


def _as_keys(keys: Any) -> list[Any]:
    """Return a list of keys, which may be one."""
    return list(keys) if isinstance(keys, (list, tuple, set, frozenset)) else [keys]


def _is_unranked(value: Any) -> bool:
    return value is None or bool(value != value)


def _get_from_run(run: Run[Any, Any], key: str, default: Default) -> Any:
    return run.get(key, default)  # which a subclass may override


def _get_identity(run: Run[Any, Any]) -> tuple[str, str]:
    """Return the run's ID and, as IDs may be equal after copying, its place."""
    return run.info.run_id, get_place(run.info).path


def _show_by(by: str | Callable[[Any], Any]) -> str:
    return repr(by) if isinstance(by, str) else getattr(by, "__qualname__", repr(by))
