"""Many runs: filtered, grouped, sorted, and turned into frames."""

from __future__ import annotations

import copy
from dataclasses import MISSING
from datetime import datetime
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, Literal, get_args, overload

from typing_extensions import Self, TypeVar

from kedro_hydraflow.collection import Collection, Default
from kedro_hydraflow.columns import sort_order
from kedro_hydraflow.errors import OptionError
from kedro_hydraflow.frames import make_complete_frame, make_history_frame
from kedro_hydraflow.lookup import are_objects, describe_nearest_keys, get_data, get_values
from kedro_hydraflow.parallel import parallel_map
from kedro_hydraflow.run import Run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    import polars as pl

R = TypeVar("R", bound=Run[Any, Any], default=Run[Any, Any])

Mode = Literal["max", "min"]
"""Whether the largest value is the best one, or the smallest."""

MODES: tuple[Mode, ...] = get_args(Mode)


class RunCollection(Collection[R]):
    """A sequence of runs. Keys are looked up as ``Run.get`` does.

    Args:
        runs: The runs.
        get: How to look up a key: ``get(run, key, default)``, by default the ``get`` of
            each run.

    Examples:
        >>> from kedro_hydraflow import Run, iter_run_dirs
        >>> runs = Run.load(iter_run_dirs("examples/data/mlruns", "train_*"))
        >>> runs.filter(model__type="mlp").sort("training.learning_rate")
        RunCollection(Run, n=17)
    """

    def __init__(
        self, runs: Iterable[R], get: Callable[[R, str, Default], Any] | None = None
    ) -> None:
        super().__init__(runs, look_up if get is None or get is Run.get else get)

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

    def _look_up(self, items: Sequence[R], key: str, default: Default) -> list[Any]:
        if not self._gets_as_run(items):
            return super()._look_up(items, key, default)
        return get_data(items, key, default)

    def _gets_as_run(self, items: Sequence[R]) -> bool:
        """Whether keys are looked up by `Run.get` itself, not by a subclass or a function."""
        return self._get is look_up and all(
            kind.get is Run.get for kind in {type(run) for run in items}
        )

    def to_list(self, key: str, default: Default = MISSING) -> list[Any]:
        """Return the value of a key for each run, as ``Run.get`` gives it.

        Args:
            key: The key.
            default: For runs that lack the key; if callable, called with the run.
        """
        if not self._gets_as_run(self._items):
            return super().to_list(key, default)
        return get_values(self._items, key, default)

    def _make_series(self, name: str, key: str, values: list[Any]) -> pl.Series:
        if are_objects(self._items, key):
            import polars as pl

            return pl.Series(name, values, pl.Object)
        return super()._make_series(name, key, values)

    def top(
        self,
        n: int,
        by: str | Callable[[R], Any],
        *,
        mode: Mode = "max",
        default: Default = MISSING,
    ) -> Self:
        """Return the ``n`` best runs, the best one first, or all if there are fewer.

        Runs with equal values are in the order of their IDs, whatever their order here.
        Those without a value, or with NaN, come after all others, by their IDs too.

        Args:
            n: How many.
            by: The key of a number or a time, or a callable that takes a run and returns
                one, or None for a run without a value.
            mode: ``"max"`` if the largest value is the best one, ``"min"`` if the smallest.
            default: For runs that lack the key; if callable, called with the run.

        Raises:
            OptionError: If a value is something else than a number or time, or if there are
                runs and none of them has one.

        Examples:
            >>> from kedro_hydraflow import Run, iter_run_dirs
            >>> runs = Run.load(iter_run_dirs("examples/data/mlruns", "train_*"))
            >>> runs.top(3, by="metrics.accuracy").to_list("training.learning_rate")
            [0.01, 0.03, 0.03]
        """
        if not isinstance(n, Integral) or isinstance(n, bool) or n < 0:
            raise OptionError(f"n: expected how many runs, 0 or more, found {n!r}")
        check_mode(mode)
        values = self._get_ranked_values(by, default)
        if values and all(value is None or value != value for value in values):
            raise self._no_value_error(by, values)
        order = sorted(range(len(self)), key=lambda i: _get_identity(self._items[i]))
        try:
            order = sort_order(values, order, reverse=mode == "max")
        except TypeError as exc:
            raise OptionError(f"cannot compare the values of {_show_by(by)}: {exc}") from exc
        return self._make([self._items[i] for i in order[: int(n)]])

    def best(
        self, by: str | Callable[[R], Any], *, mode: Mode = "max", default: Default = MISSING
    ) -> R:
        """Return the best run: the first one of `top`, which explains the arguments.

        Raises:
            OptionError: As `top` does, and if there are no runs.

        Examples:
            >>> from kedro_hydraflow import Run, iter_run_dirs
            >>> runs = Run.load(iter_run_dirs("examples/data/mlruns", "train_*"))
            >>> runs.best(by="metrics.accuracy")
            Run('13f42e9535654d01a4143ddd9be02cb7')
        """
        if not self._items:
            raise OptionError(f"there is no run that could be the best by {_show_by(by)}")
        return self.top(1, by, mode=mode, default=default)[0]

    def _get_ranked_values(self, by: str | Callable[[R], Any], default: Default) -> list[Any]:
        """Return a number, time or None for each run."""
        if not callable(by):
            values = self.to_data(by, None if default is MISSING else default)
        elif default is MISSING:
            values = [by(run) for run in self._items]
        else:
            raise OptionError("default: it is for a key; a callable returns its own default")
        for run, value in zip(self._items, values, strict=True):
            is_ranked = isinstance(value, (Real, datetime)) and not isinstance(value, bool)
            if value is not None and not is_ranked:
                raise OptionError(
                    f"cannot rank runs by {_show_by(by)}: expected a number or a time, "
                    f"run {run.info.run_id} has {value!r} ({type(value).__name__})"
                )
        return values

    def _no_value_error(self, by: str | Callable[[R], Any], values: list[Any]) -> OptionError:
        n_nan = sum(value is not None for value in values)
        found = f" ({n_nan} have NaN)" if n_nan else ""
        near = "" if callable(by) or n_nan else f"; {describe_nearest_keys(self._items[0], by)}"
        return OptionError(
            f"none of the {len(self)} runs has a number as {_show_by(by)}{found}{near}"
        )

    def to_frame(
        self,
        *keys: str | tuple[str, Default],
        defaults: Mapping[str, Default] | None = None,
        n_jobs: int = 0,
        backend: str | None = None,
        progress: bool = False,
        **kwargs: Callable[[R], Any],
    ) -> pl.DataFrame:
        """Return a frame with a row for each run, as ``Collection.to_frame`` does.

        Without any keys, the columns are ``run_id``, ``job_name`` and every key of the
        configurations; interpolations that cannot be resolved are left as their text. The
        keys ``"run"``, ``"cfg"``, ``"impl"`` and ``"info"`` give columns of objects.
        """
        if not keys and not kwargs:
            return make_complete_frame(self._items, defaults or {})
        return super().to_frame(
            *keys, defaults=defaults, n_jobs=n_jobs, backend=backend, progress=progress, **kwargs
        )

    def preload(
        self,
        *,
        n_jobs: int = 0,
        cfg: bool = True,
        impl: bool = True,
        progress: bool = False,
    ) -> Self:
        """Read the configurations and build the `impl` of all runs now.

        Configurations stay plain data: a ``DictConfig`` is built when ``cfg`` is asked for,
        because it takes fifty times the memory and makes lookups and copies slower.

        Args:
            n_jobs: 0 or 1: one after the other; N: in N threads; -1: in one for each core.
            cfg: Whether to read the configurations.
            impl: Whether to build the implementations.
            progress: Whether to show a progress bar.

        Returns:
            This collection.
        """

        def build(run: R) -> None:
            if cfg:
                run.get_configuration().read()
            if impl:
                _ = run.impl

        parallel_map(build, self._items, n_jobs=n_jobs, backend="threading", progress=progress)
        return self

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
        """Set values in the configuration of every run, as ``Run.update`` does."""
        for run in self._items:
            run.update(key, value, force=force)

    def concat(
        self,
        function: Callable[[R], pl.DataFrame],
        *keys: str | tuple[str, Any | Callable[[R], Any]],
    ) -> pl.DataFrame:
        """Return one frame of the frames that a function makes of the runs.

        Args:
            function: Takes a run, returns a frame.
            *keys: The run's values to add as columns; a tuple is a key with its default.
        """
        import polars as pl

        if not self._items:
            return pl.DataFrame()
        return pl.concat(
            [run.to_frame(function, *keys) for run in self._items], how="vertical_relaxed"
        )

    def metric_histories(self, *names: str) -> pl.DataFrame:
        """Return all values of metrics of all runs as one long frame.

        Args:
            *names: The metrics, such as ``train/loss``.

        Returns:
            A frame with the columns ``run_id``, ``metric`` and those of `Run.metric_history`,
            in the order of the runs, then of the names. Runs without a metric have no rows.

        Raises:
            MetadataError: If what records a metric has another format.
            StorageError: If it cannot be read.

        Examples:
            >>> from kedro_hydraflow import Run, iter_run_dirs
            >>> runs = Run.load(iter_run_dirs("examples/data/mlruns", "eval_*"))
            >>> runs.metric_histories("train/loss").columns
            ['run_id', 'metric', 'step', 'timestamp', 'value']
        """
        return make_history_frame(self._items, names)

    def iterdir(self, relative_dir: str = "") -> Iterator[Path]:
        """Yield what a folder in the artifacts directory of each run holds."""
        for run in self._items:
            yield from run.iterdir(relative_dir)

    def glob(self, pattern: str, relative_dir: str = "") -> Iterator[Path]:
        """Yield the artifacts of each run that match a pattern."""
        for run in self._items:
            yield from run.glob(pattern, relative_dir)


def check_mode(mode: str) -> None:
    """Raise OptionError unless the mode is one of `MODES`."""
    if mode not in MODES:
        raise OptionError(f"mode: expected 'max' or 'min', found {mode!r}")


def look_up(run: Run[Any, Any], key: str, default: Default = MISSING) -> Any:
    """Return ``run.get(key, default)``, of the run's own class."""
    return run.get(key, default)


def _get_identity(run: Run[Any, Any]) -> tuple[str, str]:
    """Return what tells a run from all others, its ID first."""
    return run.info.run_id, run.info.get_place().path


def _show_by(by: str | Callable[[Any], Any]) -> str:
    return repr(by) if isinstance(by, str) else getattr(by, "__qualname__", repr(by))
