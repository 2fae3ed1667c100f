"""Many runs: filtered, grouped, sorted, and turned into frames."""

from __future__ import annotations

import copy
from dataclasses import MISSING
from typing import TYPE_CHECKING, Any, TypeVar, overload

from omegaconf import OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from typing_extensions import Self

from kedro_hydraflow import config as plain
from kedro_hydraflow.collection import Collection, Default
from kedro_hydraflow.columns import make_series
from kedro_hydraflow.parallel import parallel_map
from kedro_hydraflow.run import OBJECTS, Run, get_column
from kedro_hydraflow.selecting import UNDECIDED, Selector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    import polars as pl

R = TypeVar("R", bound=Run[Any, Any])


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
        return get_column(items, key, default)

    def _gets_as_run(self, items: Sequence[R]) -> bool:
        """Tell whether a key is looked up as `Run.get` does, and not a subclass or function."""
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
        return get_column(self._items, key, default, as_data=False)

    def _make_series(self, name: str, key: str, values: list[Any]) -> pl.Series:
        if key in OBJECTS and all(run._select(key) is MISSING for run in self._items):
            import polars as pl

            return pl.Series(name, values, pl.Object)
        return super()._make_series(name, key, values)

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
            return self._to_complete_frame(defaults or {})
        return super().to_frame(
            *keys, defaults=defaults, n_jobs=n_jobs, backend=backend, progress=progress, **kwargs
        )

    def _to_complete_frame(self, defaults: Mapping[str, Default]) -> pl.DataFrame:
        import polars as pl

        rows = _flatten_configs(self._items)
        keys = dict.fromkeys(key for row in rows for key in row)
        columns = []
        for key in ("run_id", "job_name"):
            pairs = zip(self._items, rows, strict=True)
            values = [row[key] if key in row else getattr(run.info, key) for run, row in pairs]
            columns.append(make_series(key, values))
            keys.pop(key, None)
        for key in keys:
            default = defaults.get(key)
            values = [row.get(key, MISSING) for row in rows]
            for i, run in enumerate(self._items):
                if values[i] is MISSING:
                    values[i] = default(run) if callable(default) else default
            columns.append(make_series(key, values))
        return pl.DataFrame(columns)

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
            if cfg and run._cfg is None:
                run._get_config()
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

    def iterdir(self, relative_dir: str = "") -> Iterator[Path]:
        """Yield what a folder in the artifacts directory of each run holds."""
        for run in self._items:
            yield from run.iterdir(relative_dir)

    def glob(self, pattern: str, relative_dir: str = "") -> Iterator[Path]:
        """Yield the artifacts of each run that match a pattern."""
        for run in self._items:
            yield from run.glob(pattern, relative_dir)


def look_up(run: Run[Any, Any], key: str, default: Default = MISSING) -> Any:
    """Return ``run.get(key, default)``, of the run's own class."""
    return run.get(key, default)


def _flatten_configs(runs: Sequence[Run[Any, Any]]) -> list[dict[str, Any]]:
    """Return the value of everything in each run's configuration by dotted key.

    Interpolations are resolved where that is possible, and else left as their text; what is
    missing (``???``) is None. The values are shared: do not modify them. What runs share is
    flattened once.
    """
    shared: dict[tuple[int, Any], dict[str, Any]] = {}
    selector = Selector()
    rows = []
    for run in runs:
        if run._cfg is not None:
            rows.append(_flatten(run, plain.to_plain(run._cfg), (), selector))
            continue
        row: dict[str, Any] = {}
        for name, value in run._get_config().items():
            flat = shared.get((id(value), name))
            if flat is None:
                flat = _flatten(run, {name: value}, (), selector)
                if type(value) is dict and plain.is_literal(value):
                    shared[id(value), name] = flat
            row.update(flat)
        rows.append(row)
    return rows


def _flatten(
    run: Run[Any, Any], config: Any, path: tuple[Any, ...], selector: Selector
) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in config.items():
        inner = (*path, name)
        if type(value) is dict and value:
            flat.update(_flatten(run, value, inner, selector))
        else:
            resolved = value if plain.is_literal(value) else _resolve(run, inner, value, selector)
            flat[".".join(map(str, inner))] = resolved
    return flat


def _resolve(run: Run[Any, Any], path: tuple[Any, ...], unresolved: Any, selector: Selector) -> Any:
    if run._cfg is None and run._config_class is None:
        value = selector.resolve(run._get_config(), path)
        if value is not UNDECIDED:
            return None if value is MISSING else value
    with run._lent_cfg(selector) as cfg:
        node: Any = cfg
        try:
            for name in path:
                node = node[name]
            return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
        except MissingMandatoryValue:
            return None
        except OmegaConfBaseException:
            return unresolved
