"""One HydraFlow run: its info, its configuration and its implementation."""

from __future__ import annotations

import copy
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING
from typing import TYPE_CHECKING, Any, Generic, TypeGuard, cast, overload

from omegaconf import DictConfig, OmegaConf
from typing_extensions import Self, TypeVar

from kedro_hydraflow.columns import is_numpy
from kedro_hydraflow.config import Configuration, SharedLock, State, flatten_config
from kedro_hydraflow.errors import OptionError
from kedro_hydraflow.frames import make_history_frame, make_literal
from kedro_hydraflow.impl import ImplFactory, build_impl
from kedro_hydraflow.lookup import get_data, get_logged, get_value, to_dotted
from kedro_hydraflow.run_files import RunFiles
from kedro_hydraflow.run_info import RunInfo, rebuild_info
from kedro_hydraflow.selecting import select
from kedro_hydraflow.storage import locate
from kedro_hydraflow.stores.record import make_run_record

if TYPE_CHECKING:
    from pathlib import Path

    import polars as pl
    from polars._typing import PolarsDataType

    from kedro_hydraflow.config import PlainConfig
    from kedro_hydraflow.index import IndexOption
    from kedro_hydraflow.run_collection import RunCollection
    from kedro_hydraflow.storage import Location

C = TypeVar("C", default=Any)
"""The type of the configuration, for type checkers alone."""

I = TypeVar("I", default=None)  # noqa: E741 - the name that hydraflow uses
"""The type of the implementation."""

R = TypeVar("R", bound="Run[Any, Any]")


class Run(RunFiles, Generic[C, I]):
    """One run of a HydraFlow application.

    Making a ``Run`` reads nothing. Its configuration, facts and implementation are read
    when they are first asked for; `Run.load` with many run directories reads all
    configurations at once.

    Copies (``copy.deepcopy``, ``pickle``) are cheap, and an `update` of one never reaches
    the other. A copy builds its implementation anew when it needs it.

    Args:
        run_dir: The run directory: a path, a URL that fsspec knows, or a ``UPath``.
        impl_factory: Called once, on first use of `impl`, with the artifacts directory
            and, if it takes a second positional parameter, with the configuration.
        config_class: A dataclass onto which the stored configuration is merged: types
            are checked, and fields that old runs lack take their defaults.
        storage_options: Passed on to the fsspec filesystem of a URL.

    Examples:
        >>> run = Run("examples/data/mlruns/803221166256626715/5b59290f35f943c8863522a4cd371131")
        >>> run.get("model.type"), run.get("seed"), run.info.job_name
        ('mlp', 42, 'train_digits_v2')
    """

    __slots__ = (
        "__weakref__",
        "_config",
        "_config_class",
        "_configuration",
        "_impl",
        "_impl_lock",
        "_lock",
        "impl_factory",
    )

    impl_factory: ImplFactory | None
    """What builds `impl`; None if there is no implementation."""

    def __init__(
        self,
        run_dir: Location,
        impl_factory: Callable[[Path], I] | Callable[[Path, C], I] | None = None,
        *,
        config_class: type[C] | None = None,
        storage_options: Mapping[str, Any] | None = None,
    ) -> None:
        record = make_run_record(locate(run_dir, storage_options))
        self._set_up(RunInfo.from_record(record, None), impl_factory, config_class)

    def _set_up(
        self,
        info: RunInfo,
        impl_factory: ImplFactory | None,
        config_class: type | None,
        config: PlainConfig | None = None,
        lock: SharedLock | None = None,
    ) -> None:
        self.info = info
        self.impl_factory = impl_factory
        self._config_class = config_class
        self._config = config
        self._lock = lock or SharedLock()
        # Made on first use, so that a load or a copy of many runs makes few objects.
        self._configuration: Configuration | None = None
        self._artifacts_dir = None
        self._impl: Any = MISSING
        self._impl_lock = None if impl_factory is None else threading.RLock()

    @classmethod
    def from_info(
        cls,
        info: RunInfo,
        impl_factory: ImplFactory | None,
        config_class: type | None,
        config: PlainConfig | None = None,
        lock: SharedLock | None = None,
    ) -> Self:
        """Return the run of an info, with its configuration, merged, where that is known."""
        run = cls.__new__(cls)
        run._set_up(info, impl_factory, config_class, config, lock)
        return run

    def get_configuration(self) -> Configuration:
        """Return the configuration, as the other modules of this package use it."""
        if self._configuration is None:
            with self._lock:
                if self._configuration is None:  # no other thread was faster
                    self._configuration = Configuration(
                        self.info, self._config_class, self._config, self._lock
                    )
        return self._configuration

    def _get_config_state(self) -> State:
        """Return what a copy's configuration is made of."""
        if self._configuration is None:
            return self._config_class, self._config, None, self._lock
        return self._configuration.get_state()

    def __repr__(self) -> str:
        factory = self.impl_factory
        impl_name = f"[{factory.__name__}]" if isinstance(factory, type) else ""
        return f"{type(self).__name__}{impl_name}({self.info.run_id!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        # Flat, because a call for each nested object would double the time.
        return _rebuild_run, (
            type(self),
            self.impl_factory,
            _get_attributes(self),
            *self._get_config_state(),
            *self.info.__reduce__()[1],
        )

    def __copy__(self) -> Self:
        return self.__deepcopy__({})

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        config_class, config, cfg, lock = self._get_config_state()
        run = self.from_info(self.info, self.impl_factory, config_class, config, lock)
        run._artifacts_dir = self._artifacts_dir
        if cfg is not None:
            run.get_configuration().set_dictconfig(copy.deepcopy(cfg, memo))
        attributes = _get_attributes(self)
        if attributes is not None:
            run.__dict__.update(copy.deepcopy(attributes, memo))
        return run

    @property
    def cfg(self) -> C:
        """The configuration, as a ``DictConfig`` of this run's own.

        Empty if the run has no ``.hydra/config.yaml``.

        Raises:
            ConfigError: If it cannot be read, or does not fit ``config_class``.
            StorageError: If the storage denies it or cannot be reached.
        """
        return cast("C", self.get_configuration().get_dictconfig())

    @cfg.setter
    def cfg(self, value: C) -> None:
        if value is None:
            raise OptionError("cfg: expected a configuration, found None")
        cfg = value if OmegaConf.is_config(value) else OmegaConf.create(cast("Any", value))
        self.get_configuration().set_dictconfig(cast("DictConfig", cfg))

    @property
    def impl(self) -> I:
        """What ``impl_factory`` built, None without one.

        Raises:
            ImplError: If the factory raised; its exception is the cause.
        """
        if self._impl is MISSING:
            if self.impl_factory is None:
                return cast("I", None)
            with self._impl_lock or self._lock:  # the latter if the factory was set later
                if self._impl is MISSING:
                    self._impl = build_impl(
                        self.impl_factory, self.info, self.path(), self.get_configuration()
                    )
        return cast("I", self._impl)

    @property
    def metrics(self) -> dict[str, float]:
        """The latest value of each metric: that of the largest step, then timestamp."""
        return dict(get_logged(self.info, "metrics"))

    @property
    def params(self) -> dict[str, str]:
        """The params that were logged to MLflow, as text."""
        return dict(get_logged(self.info, "params"))

    @property
    def tags(self) -> dict[str, str]:
        """The tags of the MLflow run, as text."""
        return dict(get_logged(self.info, "tags"))

    def metric_history(self, name: str) -> pl.DataFrame:
        """Return all values of a metric, sorted by step, then timestamp.

        Args:
            name: The metric, such as ``train/loss``.

        Returns:
            A frame with the columns ``step`` (Int64), ``timestamp`` (Datetime in UTC, to the
            millisecond) and ``value`` (Float64); without rows if there is no such metric.

        Raises:
            MetadataError: If what records it has another format.
            StorageError: If it cannot be read.
        """
        return make_history_frame([self], [name]).drop("run_id", "metric")

    @overload
    @classmethod
    def load(  # type: ignore[overload-overlap] # text is an iterable of text too
        cls,
        run_dir: Location,
        impl_factory: Callable[[Path], I] | Callable[[Path, C], I] | None = None,
        *,
        n_jobs: int = 0,
        progress: bool = False,
        on_error: str = "raise",
        config_class: type[C] | None = None,
        index: IndexOption = None,
        storage_options: Mapping[str, Any] | None = None,
    ) -> Self: ...

    @overload
    @classmethod
    def load(
        cls,
        run_dir: Iterable[Location],
        impl_factory: Callable[[Path], I] | Callable[[Path, C], I] | None = None,
        *,
        n_jobs: int = 0,
        progress: bool = False,
        on_error: str = "raise",
        config_class: type[C] | None = None,
        index: IndexOption = None,
        storage_options: Mapping[str, Any] | None = None,
    ) -> RunCollection[Self]: ...

    @classmethod
    def load(
        cls,
        run_dir: Location | Iterable[Location],
        impl_factory: Callable[[Path], I] | Callable[[Path, C], I] | None = None,
        *,
        n_jobs: int = 0,
        progress: bool = False,
        on_error: str = "raise",
        config_class: type[C] | None = None,
        index: IndexOption = None,
        storage_options: Mapping[str, Any] | None = None,
    ) -> Self | RunCollection[Self]:
        """Load one run, or many.

        One run is read when it is used. Of many, all configurations are read now.

        Args:
            run_dir: A run directory, or an iterable of them.
            impl_factory: As for `Run`.
            n_jobs: For many runs: 0 or 1 reads them in this process, N in N jobs, -1 in
                one job for each core where that pays, which a count of what the first
                runs have in common decides. The jobs run on the backend of the surrounding
                ``joblib.parallel_config``, by default in loky processes. The result does
                not depend on it.
            progress: Whether to show a progress bar for many runs.
            on_error: For many runs: ``"raise"`` raises one error that names every run
                that failed, ``"warn"`` logs each of them and leaves it out.
            config_class: As for `Run`.
            index: For many runs: where to remember what is read, so that the next load
                reads only what is new or changed. By default in the user's cache directory,
                for runs on the local filesystem. A directory keeps it there. True and a
                directory remember runs on remote storage too: those that have ended, as if
                nobody changed them any more. False remembers nothing. Not used with
                ``config_class``. See ``docs/scaling.md``.
            storage_options: As for `Run`.

        Returns:
            A ``Run``, or a ``RunCollection`` in the order of the run directories.

        Raises:
            RunLoadError: If ``on_error`` is ``"raise"`` and some of many runs failed.
        """
        if is_location(run_dir):
            return cls(
                run_dir, impl_factory, config_class=config_class, storage_options=storage_options
            )
        # The one import against the direction of the others: users start here.
        from kedro_hydraflow.loading import load_run_dirs

        return load_run_dirs(
            cast("Iterable[Location]", run_dir),
            impl_factory,
            run_class=cls,
            n_jobs=n_jobs,
            progress=progress,
            on_error=on_error,
            config_class=config_class,
            index=index,
            storage_options=storage_options,
        )

    @overload
    def update(
        self, key: str, value: Any | Callable[[Self], Any], *, force: bool = False
    ) -> None: ...

    @overload
    def update(
        self,
        key: tuple[str, ...],
        value: Iterable[Any] | Callable[[Self], Iterable[Any]],
        *,
        force: bool = False,
    ) -> None: ...

    def update(
        self,
        key: str | tuple[str, ...],
        value: Any | Callable[[Self], Any],
        *,
        force: bool = False,
    ) -> None:
        """Set values in this run's configuration, by default only where there are none.

        Nothing is written to the run directory.

        Args:
            key: A dotted key (``"model.type"`` or ``"model__type"``), or several.
            value: The value, for several keys an iterable of as many, or a callable that
                takes the run and returns that. It is called only if it is needed.
            force: Whether to replace existing values.

        Raises:
            TypeError: If there are several keys, and the value is not an iterable.
            ValueError: If there are more or fewer values than keys.
        """
        if isinstance(key, str):
            dotted = to_dotted(key)
            if force or not self._has(dotted):
                self._set(dotted, value(self) if callable(value) else value)
            return
        keys = list(map(to_dotted, key))
        if not force and all(map(self._has, keys)):
            return
        values = _check_values(keys, value(self) if callable(value) else value)
        for k, v in zip(keys, values, strict=True):
            if force or not self._has(k):
                self._set(k, v)

    def _has(self, key: str) -> bool:
        return select(self.get_configuration(), key) is not MISSING

    def _set(self, key: str, value: Any) -> None:
        # OmegaConf takes nothing of NumPy
        self.get_configuration().update(key, value.tolist() if is_numpy(value) else value)

    def get(self, key: str, default: Any | Callable[[Self], Any] = MISSING) -> Any:
        """Return a value from the configuration, the implementation, the info or the run.

        The first place that has the key counts: the configuration, with the very value
        that ``OmegaConf.select`` gives; then an attribute of `impl`, of `info` or of the
        run itself that is not callable; then, for ``metrics.KEY``, ``params.KEY`` and
        ``tags.KEY``, what was logged to MLflow.

        Args:
            key: A dotted key; ``__`` stands for a dot. Unless the configuration has such a
                key, ``"cfg"``, ``"impl"``, ``"info"`` and ``"run"`` are the objects
                themselves.
            default: Returned if the key is nowhere; if callable, called with the run.

        Raises:
            MissingKeyError: If the key is nowhere and there is no default. It is an
                AttributeError.
            ConfigError: If the value is an interpolation that cannot be resolved.
        """
        return get_value(self, key, default)

    def __getitem__(self, key: str) -> Any:
        return self.get(key)

    def lit(
        self,
        key: str,
        default: Any | Callable[[Self], Any] = MISSING,
        *,
        dtype: PolarsDataType | None = None,
    ) -> pl.Expr:
        """Return a Polars literal with the key's value, named like the key.

        Args:
            key: As for `get`.
            default: As for `get`.
            dtype: The literal's data type, by default what Polars makes of the value.
        """
        (value,) = get_data([self], key, default)
        return make_literal(key, value, dtype)

    def to_frame(
        self,
        function: Callable[[Self], pl.DataFrame],
        *keys: str | tuple[str, Any | Callable[[Self], Any]],
    ) -> pl.DataFrame:
        """Return a frame that a function makes of the run, with the run's values as columns.

        Args:
            function: Takes the run, returns a frame.
            *keys: The columns to add; a tuple is a key with its default.
        """
        columns = [self.lit(k) if isinstance(k, str) else self.lit(k[0], k[1]) for k in keys]
        return function(self).with_columns(columns)

    def to_frame_impl(
        self,
        function: Callable[[I], pl.DataFrame],
        *keys: str | tuple[str, Any | Callable[[Self], Any]],
    ) -> pl.DataFrame:
        """Return as `to_frame` does, of a function that takes the implementation."""
        return self.to_frame(lambda run: function(run.impl), *keys)

    def to_dict(self, flatten: bool = True) -> dict[str, Any]:
        """Return the configuration as a new dictionary, with interpolations as they are.

        Args:
            flatten: Whether nested mappings become dotted keys.

        Raises:
            TypeError: If the configuration was replaced by something else than a mapping.
        """
        data = self.get_configuration().to_container()
        if not isinstance(data, dict):
            raise TypeError(f"expected a mapping as configuration, found {type(data).__name__}")
        if flatten:
            return {k: v for k, v in flatten_config(data).items() if v != {}}
        return {str(k): v for k, v in data.items()}


def _check_values(keys: list[str], values: Any) -> list[Any]:
    if not isinstance(values, Iterable) or isinstance(values, str):
        raise TypeError(f"expected an iterable of {len(keys)} values, found {values!r}")
    found = list(values)
    if len(found) != len(keys):
        raise OptionError(
            f"expected {len(keys)} values for the keys {', '.join(map(repr, keys))}, "
            f"found {len(found)}"
        )
    return found


def is_location(value: object) -> TypeGuard[Location]:
    """Whether a value names one run directory rather than many."""
    return isinstance(value, (str, os.PathLike)) or hasattr(value, "storage_options")


def _rebuild_run(
    run_class: type[R],
    impl_factory: ImplFactory | None,
    attributes: dict[str, Any] | None,
    config_class: type | None,
    config: PlainConfig | None,
    cfg: DictConfig | None,
    lock: SharedLock,
    *info: Any,
) -> R:
    run = run_class.from_info(rebuild_info(*info), impl_factory, config_class, config, lock)
    if cfg is not None:
        run.get_configuration().set_dictconfig(cfg)
    if attributes is not None:
        run.__dict__.update(attributes)
    return run


def _get_attributes(run: Run[Any, Any]) -> dict[str, Any] | None:
    """Return what a subclass without slots keeps besides, None if there is nothing."""
    attributes = getattr(run, "__dict__", None)
    if not attributes:
        return None
    # `Run[Config](...)` sets it; a local class in it could not be pickled
    return {name: value for name, value in attributes.items() if name != "__orig_class__"}
