"""One HydraFlow run: its info, its configuration and its implementation."""

from __future__ import annotations

import copy
import inspect
import logging
import os
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import MISSING
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeGuard, cast, overload

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import ConfigTypeError, OmegaConfBaseException
from typing_extensions import Self, TypeVar

from kedro_hydraflow import config as plain
from kedro_hydraflow.columns import SCALARS, is_numpy, make_series
from kedro_hydraflow.errors import (
    ConfigError,
    ImplError,
    MissingKeyError,
    OptionError,
    StorageError,
    UnreachableError,
    describe,
)
from kedro_hydraflow.run_info import (
    FACTS,
    LOGGED_KINDS,
    RECORDED_FACTS,
    RunInfo,
    get_artifacts,
    get_config_url,
    read_config,
    read_facts,
    read_histories,
    read_logged,
    rebuild_info,
)
from kedro_hydraflow.selecting import UNDECIDED, Selector, select_literal
from kedro_hydraflow.storage import LocalStorage, locate
from kedro_hydraflow.stores.record import make_run_record

if TYPE_CHECKING:
    import polars as pl
    from polars._typing import PolarsDataType

    from kedro_hydraflow.index import IndexOption
    from kedro_hydraflow.run_collection import RunCollection
    from kedro_hydraflow.storage import Location, Place
    from kedro_hydraflow.stores import Point

logger = logging.getLogger(__name__)

C = TypeVar("C", default=Any)
"""The type of the configuration, for type checkers alone."""

I = TypeVar("I", default=None)  # noqa: E741 - the name that hydraflow uses
"""The type of the implementation."""

R = TypeVar("R", bound="Run[Any, Any]")

ImplFactory = Callable[..., Any]
"""Builds an implementation from ``(artifacts_dir)`` or ``(artifacts_dir, cfg)``."""

CONFIG_FILE = "artifacts/.hydra/config.yaml"
"""Where HydraFlow logs the run's configuration, below the run directory."""

OBJECTS = frozenset({"cfg", "impl", "info", "run"})
"""The keys that stand for a whole object, whatever attributes the others have."""

_creating_locks = threading.Lock()


class Run(Generic[C, I]):
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
        "_artifacts_dir",
        "_cfg",
        "_config",
        "_config_class",
        "_impl",
        "_lock",
        "impl_factory",
        "info",
    )

    info: RunInfo
    """Facts about the run: its ID, directory, job name, status and times."""

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
        info = RunInfo.from_record(make_run_record(locate(run_dir, storage_options)), None)
        self._set_up(info, impl_factory, config_class)

    def _set_up(
        self,
        info: RunInfo,
        impl_factory: ImplFactory | None,
        config_class: type | None,
        config: plain.PlainConfig | None = None,
        cfg: DictConfig | None = None,
    ) -> None:
        self.info = info
        self.impl_factory = impl_factory
        self._config_class = config_class
        self._config = config  # plain and shared; outdated as soon as there is a _cfg
        self._cfg = cfg
        self._impl: Any = MISSING
        self._lock: threading.RLock | None = None
        self._artifacts_dir: Path | None = None

    @classmethod
    def from_info(
        cls,
        info: RunInfo,
        impl_factory: ImplFactory | None,
        config_class: type | None,
        config: plain.PlainConfig | None = None,
        cfg: DictConfig | None = None,
    ) -> Self:
        """Return a run from what is known already."""
        run = cls.__new__(cls)
        run._set_up(info, impl_factory, config_class, config, cfg)
        return run

    def __repr__(self) -> str:
        factory = self.impl_factory
        impl_name = f"[{factory.__name__}]" if isinstance(factory, type) else ""
        return f"{type(self).__name__}{impl_name}({self.info.run_id!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        # Flat, because a call for each nested object would double the time.
        cfg = self._cfg
        info = self.info
        return _rebuild_run, (
            type(self),
            info.__reduce__()[1],
            self.impl_factory,
            self._config_class,
            self._config if cfg is None else None,
            cfg,
            _get_attributes(self),
        )

    def __copy__(self) -> Self:
        return self.__deepcopy__({})

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        cfg = self._cfg if self._cfg is None else copy.deepcopy(self._cfg, memo)
        run = self.from_info(self.info, self.impl_factory, self._config_class, self._config, cfg)
        run._artifacts_dir = self._artifacts_dir
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
        if self._cfg is None:
            with self._get_lock():
                if self._cfg is None:
                    config = self._get_config()
                    try:
                        self._cfg = plain.build_dictconfig(config, self._config_class)
                    except ConfigError as exc:
                        raise self._config_error(exc) from exc
        return cast("C", self._cfg)

    @cfg.setter
    def cfg(self, value: C) -> None:
        is_config = OmegaConf.is_config(value)
        self._cfg = cast("DictConfig", value if is_config else OmegaConf.create(cast("Any", value)))

    @property
    def impl(self) -> I:
        """What ``impl_factory`` built, None without one.

        Raises:
            ImplError: If the factory raised; its exception is the cause.
        """
        if self._impl is MISSING:
            if self.impl_factory is None:
                self._impl = None
            else:
                with self._get_lock():
                    if self._impl is MISSING:
                        self._impl = self._build_impl(self.impl_factory)
        return cast("I", self._impl)

    def _build_impl(self, factory: ImplFactory) -> Any:
        arguments: tuple[Any, ...] = (self.path(),)
        if takes_config(factory):
            arguments = (*arguments, self.cfg)
        try:
            return factory(*arguments)
        except Exception as exc:
            name = getattr(factory, "__qualname__", repr(factory))
            raise ImplError(
                f"run {self.info.run_id}: {name} failed for {get_artifacts(self.info).url}: "
                f"{describe(exc)}"
            ) from exc

    @property
    def metrics(self) -> dict[str, float]:
        """The latest value of each metric: that of the largest step, then timestamp."""
        return dict(self._get_logged("metrics"))

    @property
    def params(self) -> dict[str, str]:
        """The params that were logged to MLflow, as text."""
        return dict(self._get_logged("params"))

    @property
    def tags(self) -> dict[str, str]:
        """The tags of the MLflow run, as text."""
        return dict(self._get_logged("tags"))

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

    def _get_logged(self, kind: str) -> dict[str, Any]:
        """Return all metrics, params or tags by name."""
        (values,) = read_logged([self.info], kind)
        if isinstance(values, Exception):
            raise values
        return cast("dict[str, Any]", values)

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
            if force or self._select(_dotted(key)) is MISSING:
                self._set(_dotted(key), value(self) if callable(value) else value)
            return

        keys = [_dotted(k) for k in key]
        if not force and all(self._select(k) is not MISSING for k in keys):
            return
        values = value(self) if callable(value) else value
        if not isinstance(values, Iterable) or isinstance(values, str):
            raise TypeError(f"expected an iterable of {len(keys)} values, found {values!r}")
        values = list(values)
        if len(values) != len(keys):
            raise OptionError(
                f"expected {len(keys)} values for the keys {', '.join(map(repr, keys))}, "
                f"found {len(values)}"
            )
        for k, v in zip(keys, values, strict=True):
            if force or self._select(k) is MISSING:
                self._set(k, v)

    def _set(self, key: str, value: Any) -> None:
        if is_numpy(value):  # OmegaConf refuses it
            value = value.tolist()
        with self._get_lock():
            if self._cfg is None and self._config_class is None:
                config = plain.update_plain(self._get_config(), key, value)
                if config is not None:
                    self._config = config
                    return
            OmegaConf.update(cast("DictConfig", self.cfg), key, value, force_add=True)

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
        dotted = _dotted(key)
        value = self._select(dotted)
        if value is not MISSING:
            return value
        return self._get_outside_config(key, dotted, default)

    def _get_outside_config(self, key: str, dotted: str, default: Any) -> Any:
        if dotted in OBJECTS:
            return self if dotted == "run" else getattr(self, dotted)
        if _is_logged(dotted):  # no attribute has a dot in its name
            value = self._get_logged_value(key, dotted)
            if value is not MISSING:
                return value
            places: tuple[Any, ...] = ()
        else:
            places = (self.impl, self.info, self)
        for place in places:
            if place is None or (place is not self._impl and dotted.startswith("_")):
                continue
            value = self._get_attribute(place, dotted)
            if value is not MISSING and not callable(value):
                return value
        if default is not MISSING:
            return default(self) if callable(default) else default
        raise MissingKeyError(
            f"run {self.info.run_id}: no such key: {dotted!r} in cfg, impl or info "
            f"({self.describe_nearest_keys(dotted)}); give a default to allow for it"
        )

    def _get_attribute(self, place: Any, name: str) -> Any:
        """Return an attribute, MISSING without one; errors in that of an impl name the run."""
        if place is not self._impl:
            return getattr(place, name, MISSING)
        try:
            value = getattr(place, name, MISSING)
            if value is MISSING and inspect.getattr_static(place, name, MISSING) is not MISSING:
                value = getattr(place, name)  # a property that raises AttributeError itself
        except Exception as exc:
            raise ImplError(
                f"run {self.info.run_id}: {type(place).__qualname__}.{name} failed: {describe(exc)}"
            ) from exc
        return value

    def __getitem__(self, key: str) -> Any:
        return self.get(key)

    def _get_data(self, key: str, default: Any | Callable[[Self], Any] = MISSING) -> Any:
        """Return as `get` does, but a list or mapping as plain, resolved data.

        The result is shared with other runs: do not modify it. The `OBJECTS` stay objects.
        """
        return get_column([self], key, default)[0]

    def _select(self, key: str) -> Any:
        """Return the configuration's value, or MISSING."""
        if self._cfg is None:
            value = self._select_plain(key, Selector())
            if value is not UNDECIDED and type(value) not in (dict, list):
                return value
        return self._select_from(cast("DictConfig", self.cfg), key)

    def _select_plain(self, key: str, selector: Selector) -> Any:
        """Return the value as plain data, MISSING, or `UNDECIDED`."""
        if self._config_class is None:
            return selector.select(self._get_config(), key)
        return select_literal(self._get_config(), key)

    def _select_from(self, cfg: DictConfig, key: str) -> Any:
        try:
            return OmegaConf.select(cfg, key, default=MISSING)
        except ConfigTypeError:  # a name below a list
            return MISSING
        except OmegaConfBaseException as exc:
            raise self._resolution_error(key, exc) from exc

    def _select_of_many(self, key: str, selector: Selector, *, as_data: bool) -> Any:
        """Return as `_select` does, but keep a DictConfig only if it is what is returned."""
        if self._cfg is None:
            value = self._select_plain(key, selector)
            if value is not UNDECIDED:
                is_container = type(value) in (dict, list)
                return self._select(key) if is_container and not as_data else value
        with self._lent_cfg(selector) as cfg:
            value = self._select_from(cfg, key)
            if as_data:
                return self._to_data(key, value)
        return self._select(key) if isinstance(value, _CONFIG_TYPES) else value

    @contextmanager
    def _lent_cfg(self, selector: Selector) -> Generator[DictConfig, None, None]:
        """Lend the run's DictConfig, or else one that is gone with the next loan."""
        if self._cfg is not None:
            yield self._cfg
            return
        try:
            cfg = selector.borrow_dictconfig(self._get_config(), self._config_class)
        except ConfigError as exc:
            raise self._config_error(exc) from exc
        try:
            yield cfg
        finally:
            if any(OmegaConf.get_cache(cfg).values()):  # a resolver's value that is to stay
                self._cfg = cfg
                selector.give_away()

    def _to_data(self, key: str, value: Any) -> Any:
        if not isinstance(value, _CONFIG_TYPES):
            return value
        try:
            return OmegaConf.to_container(value, resolve=True)
        except OmegaConfBaseException as exc:
            raise self._resolution_error(key, exc) from exc

    def _get_config(self) -> plain.PlainConfig:
        if self._config is None:
            with self._get_lock():
                if self._config is None:
                    self._config = self._read_config()
        return self._config

    def _read_config(self) -> plain.PlainConfig:
        config = read_config(self.info)
        try:
            return plain.merge_config(config, self._config_class)
        except ConfigError as exc:
            raise self._config_error(exc) from exc

    def _get_logged_value(self, key: str, dotted: str) -> Any:
        """Return a metric, param or tag, MISSING if none of that name was logged."""
        for spelling in _get_spellings(key, dotted):
            kind, _, name = spelling.partition(".")
            (value,) = read_logged([self.info], spelling)
            if isinstance(value, Exception):
                if isinstance(value, UnreachableError) or not isinstance(value, StorageError):
                    raise value
                value = self._get_logged(kind).get(name)  # it may be a folder
            if value is not None:
                return value
        return MISSING

    def _get_lock(self) -> threading.RLock:
        with _creating_locks:
            if self._lock is None:
                self._lock = threading.RLock()
            return self._lock

    def iter_keys(self) -> Iterator[str]:
        """Yield the dotted key of every value in the configuration."""
        config = self._get_config() if self._cfg is None else plain.to_plain(self._cfg)
        yield from plain.iter_leaf_keys(config)

    def describe_nearest_keys(self, key: str) -> str:
        """Return a phrase that names the existing keys that are most like a missing one."""
        known = [*self.iter_keys(), *sorted(FACTS)]
        known += {k.rpartition(".")[0] for k in known} - {""}
        known += [k for k in getattr(self._impl, "__dict__", ()) if not k.startswith("_")]
        kind = key.partition(".")[0]
        if kind in LOGGED_KINDS:
            known += [f"{kind}.{name}" for name in self._get_logged(kind)]
        near = get_close_matches(key, known, n=3) or [k for k in known if k.endswith(f".{key}")][:3]
        return f"the nearest are {', '.join(map(repr, near))}" if near else "nothing is near"

    def _config_error(self, exc: ConfigError) -> ConfigError:
        return ConfigError(f"{get_config_url(self.info)}: {exc}")

    def _resolution_error(self, key: str, exc: OmegaConfBaseException) -> ConfigError:
        text = " ".join(str(exc).split())
        return ConfigError(f"run {self.info.run_id}: cannot resolve the key {key!r}: {text}")

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
        import polars as pl

        value = self._get_data(key, default)
        if type(value) in SCALARS:
            return pl.lit(value, dtype).alias(key)
        series = make_series(key, [value])
        if series.dtype == pl.Object:
            return pl.lit(series[0], dtype, allow_object=True).alias(key)
        return pl.lit(series if dtype is None else series.cast(dtype)).first().alias(key)

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
        if self._cfg is None:
            data: Any = copy.deepcopy(self._get_config())
        else:
            data = OmegaConf.to_container(self._cfg)
        if not isinstance(data, dict):
            raise TypeError(f"expected a mapping as configuration, found {type(data).__name__}")
        return _flatten(data) if flatten else {str(k): v for k, v in data.items()}

    @contextmanager
    def chdir(self, relative_dir: str = "") -> Generator[Path, None, None]:
        """Change to the artifacts directory, or a folder in it, and back at the end.

        That of a remote run is fetched whole.

        Args:
            relative_dir: A folder in the artifacts directory.

        Yields:
            The directory, as an absolute path.

        Raises:
            NotFoundError: If there is no such folder.
        """
        current = Path.cwd()
        path = self.fetch(relative_dir).absolute()  # a relative one would mean another there
        try:
            os.chdir(path)
            yield path
        finally:
            os.chdir(current)

    def path(self, relative_path: str = "") -> Path:
        """Return the path of an artifact, or of the artifacts directory.

        On remote storage, it is a local path all the same: a file is fetched when it is
        opened. Only ``str(path)`` needs `fetch` first.
        """
        if self._artifacts_dir is None:
            self._artifacts_dir = make_artifacts_dir(get_artifacts(self.info))
        return self._artifacts_dir / relative_path if relative_path else self._artifacts_dir

    def fetch(self, relative_path: str = "") -> Path:
        """Return the local path of an artifact, a folder or all artifacts, fetched now.

        Args:
            relative_path: What to fetch, by default the whole artifacts directory.

        Raises:
            NotFoundError: If there is no such artifact.
            StorageError: If it cannot be fetched.
        """
        from kedro_hydraflow.artifacts import fetch

        return fetch(self.path(relative_path))

    def iterdir(self, relative_dir: str = "") -> Iterator[Path]:
        """Yield what a folder in the artifacts directory holds."""
        yield from self.path(relative_dir).iterdir()

    def glob(self, pattern: str, relative_dir: str = "") -> Iterator[Path]:
        """Yield the artifacts that match a pattern, in a folder of the artifacts directory."""
        yield from self.path(relative_dir).glob(pattern)


def get_column(
    runs: Sequence[Run[Any, Any]], key: str, default: Any = MISSING, *, as_data: bool = True
) -> list[Any]:
    """Return what `Run.get` gives for each run, at a fraction of its time.

    Args:
        runs: The runs.
        key: As for `Run.get`.
        default: As for `Run.get`.
        as_data: Whether lists and mappings become plain data, which may be shared.
    """
    dotted = _dotted(key)
    parts = plain.split_key(dotted) or ()
    selector = Selector()
    nowhere = default is not MISSING and not _is_found_outside_config(dotted)
    column: list[Any] = []
    is_read = False
    for run in runs:
        value: Any = UNDECIDED
        if run._cfg is None:
            value = config = run._config or run._get_config()
            for part in parts:
                value = value.get(part, UNDECIDED) if type(value) is dict else UNDECIDED
            if value is UNDECIDED and parts and plain.lacks(config, parts[0]):
                value = MISSING
        kind = type(value)
        is_plain = kind in _NUMBERS or value is MISSING or (kind is str and plain.is_literal(value))
        if not is_plain:
            value = run._select_of_many(dotted, selector, as_data=as_data)
        if value is MISSING:
            if not is_read:
                read_outside_config(runs, key)
                is_read = True
            value = (run.info._logged or _NOTHING).get(key)
            if type(value) is float or type(value) is str:
                pass
            elif nowhere and type(run) is Run and run.impl is None:
                value = default(run) if callable(default) else default
            else:
                value = run._get_outside_config(key, dotted, default)
            if as_data and dotted not in OBJECTS:
                value = run._to_data(key, value)
        column.append(value)
    return column


def read_outside_config(runs: Sequence[Run[Any, Any]], key: str) -> None:
    """Read what `Run.get` needs for a key that no configuration has, for many runs at once.

    Why it cannot be read for a run is raised when that run is asked for the key.
    """
    dotted = _dotted(key)
    if dotted in RECORDED_FACTS:
        read_facts([run.info for run in runs])
    elif dotted in LOGGED_KINDS:
        read_logged([run.info for run in runs], dotted)
    elif _is_logged(dotted):
        infos = [run.info for run in runs]
        for spelling in _get_spellings(key, dotted):
            read_logged(infos, spelling)
            infos = [info for info in infos if (info._logged or {}).get(spelling) is None]


def _is_logged(key: str) -> bool:
    """Tell whether a dotted key names a metric, param or tag."""
    kind, _, name = key.partition(".")
    return bool(name) and kind in LOGGED_KINDS


def _is_found_outside_config(key: str) -> bool:
    """Tell whether a run without an `impl` may have a dotted key that its configuration lacks."""
    return key in OBJECTS or _is_logged(key) or hasattr(RunInfo, key) or hasattr(Run, key)


def _get_spellings(key: str, dotted: str) -> list[str]:
    """Return what a key may mean: ``__`` is a dot, unless the name itself has it."""
    return [key, dotted] if key != dotted and _is_logged(key) else [dotted]


def make_history_frame(runs: Sequence[Run[Any, Any]], names: Sequence[str]) -> pl.DataFrame:
    """Return all values of metrics of runs as one long frame, in the order of both.

    Its columns are ``run_id``, ``metric`` and those of ``Run.metric_history``.
    """
    import polars as pl

    run_ids: list[str] = []
    metrics: list[str] = []
    points: list[Point] = []
    histories = [read_histories([run.info for run in runs], name) for name in names]
    for run, *of_run in zip(runs, *histories, strict=True):
        for name, history in zip(names, of_run, strict=True):
            if isinstance(history, Exception):
                raise history
            run_ids += [run.info.run_id] * len(history)
            metrics += [name] * len(history)
            points += history
    steps, timestamps, values = zip(*points, strict=True) if points else ((), (), ())
    return pl.DataFrame(
        [
            pl.Series("run_id", run_ids, pl.String),
            pl.Series("metric", metrics, pl.String),
            pl.Series("step", steps, pl.Int64),
            pl.Series("timestamp", timestamps, pl.Int64).cast(pl.Datetime("ms", "UTC")),
            pl.Series("value", values, pl.Float64),
        ]
    )


def make_artifacts_dir(place: Place) -> Path:
    """Return the path of a run's artifacts directory."""
    if isinstance(place.storage, LocalStorage):
        return Path(place.path)
    from kedro_hydraflow.artifacts import make_artifact_path

    return make_artifact_path(place)


def is_location(value: object) -> TypeGuard[Location]:
    """Tell whether a value names one run directory rather than many."""
    return isinstance(value, (str, os.PathLike)) or hasattr(value, "storage_options")


def takes_config(factory: ImplFactory) -> bool:
    """Tell whether an ``impl_factory`` wants the configuration besides the directory.

    It does if it has a second positional parameter, required or not.
    """
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):
        return False
    positional = (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        inspect.Parameter.VAR_POSITIONAL,
    )
    return sum(p.kind in positional for p in parameters) > 1


_NUMBERS = frozenset({int, float, bool, type(None)})
_NOTHING: dict[str, Any] = {}
_CONFIG_TYPES = (DictConfig, ListConfig)


def _rebuild_run(
    run_class: type[R],
    info_state: Any,
    impl_factory: ImplFactory | None,
    config_class: type | None,
    config: plain.PlainConfig | None,
    cfg: DictConfig | None,
    attributes: dict[str, Any] | None,
) -> R:
    info = rebuild_info(*info_state)
    run = run_class.from_info(info, impl_factory, config_class, config, cfg)
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


def _dotted(key: str) -> str:
    return key.replace("__", ".") if "__" in key else key


def _flatten(data: Mapping[Any, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in data.items():
        key = f"{prefix}{name}"
        if isinstance(value, dict):
            flat.update(_flatten(value, f"{key}."))
        else:
            flat[key] = value
    return flat
