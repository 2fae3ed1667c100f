"""One HydraFlow run: its info, its configuration and its implementation."""

from __future__ import annotations

import copy
import reprlib
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, cast, overload

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from typing_extensions import Self, TypeVar

from kedro_hydraflow.columns import check_columns, check_keys, is_numpy
from kedro_hydraflow.comparing import find_values, make_diff_frame
from kedro_hydraflow.config import SharedLock, check_config_class, flatten_config
from kedro_hydraflow.digests import make_digests
from kedro_hydraflow.errors import OptionError, check_flag, show_count
from kedro_hydraflow.forks import warn_of_polars
from kedro_hydraflow.frames import add_values, check_metrics, make_history_frame, make_literal
from kedro_hydraflow.impl import ImplFactory, build_impl
from kedro_hydraflow.key_patterns import expand_columns
from kedro_hydraflow.keys import is_pattern, to_dotted
from kedro_hydraflow.lookup import get_data, get_value
from kedro_hydraflow.missing import MISSING
from kedro_hydraflow.nearest_keys import RESULTS_HINT
from kedro_hydraflow.progress import showing_progress
from kedro_hydraflow.recorded import get_logged, get_parsed, read_entries
from kedro_hydraflow.run_base import get_config_state, get_configuration
from kedro_hydraflow.run_files import RunFiles
from kedro_hydraflow.run_info import (
    CredentialRemover,
    ReadOptions,
    RunInfo,
    describe_run,
    has_results_file,
    make_info,
    rebuild_info,
    set_options,
)
from kedro_hydraflow.selecting import select
from kedro_hydraflow.source import check_storage_options, is_location, locate_option
from kedro_hydraflow.stores.parsed_files import make_results_file
from kedro_hydraflow.stores.record import make_run_record

if TYPE_CHECKING:
    from pathlib import Path

    import polars as pl
    from polars._typing import PolarsDataType

    from kedro_hydraflow.config import PlainConfig
    from kedro_hydraflow.errors import OnError
    from kedro_hydraflow.index import IndexOption
    from kedro_hydraflow.run_collection import RunCollection
    from kedro_hydraflow.storage import Location

C = TypeVar("C", default=Any)
"""The type of the configuration, for type checkers alone."""

I = TypeVar("I", default=None)  # noqa: E741 - the name that hydraflow uses
"""The type of the implementation."""

D = TypeVar("D", default=Any)
J = TypeVar("J", default=None)
"""`C` and `I` as `Run.load` infers them from its arguments."""

R = TypeVar("R", bound="Run[Any, Any]")

if TYPE_CHECKING:
    # Any, not C: of a class that takes `cfg: Config | None = None`, C would be `Config | None`.
    Factory = Callable[[Path], I] | Callable[[Path, Any], I]


class Run(RunFiles, Generic[C, I]):
    """One run of a HydraFlow application.

    ``Run(...)`` reads nothing. The configuration, the facts and the implementation are read
    on first use. `Run.load` with many run directories reads all configurations at once.

    Copies (``copy.deepcopy``, ``pickle``) are cheap, and an `update` of a copy does not change
    the original. A copy builds an implementation of its own on first use.

    Args:
        run_dir: The run directory: a path, a URL that fsspec knows, or a ``UPath``.
        impl_factory: Called once, on first use of `impl`, with the artifacts directory
            and, if it takes a second positional parameter, with the configuration.
        config_class: A dataclass onto which the stored configuration is merged: types
            are checked, and fields that old runs lack take their defaults.
        storage_options: Passed on to the fsspec filesystem of a URL.
        results: The file with the `results` that the application itself wrote: a path in the
            artifacts directory that ends in ``.json``, ``.yaml`` or ``.yml``.

    Examples:
        >>> from kedro_hydraflow import Run
        >>> run = Run("examples/data/mlruns/803221166256626715/5b59290f35f943c8863522a4cd371131")
        >>> run.get("model.type"), run.get("seed"), run.info.job_name
        ('mlp', 42, 'train_digits_v2')

        The examples of the methods use this ``run``.
    """

    __slots__ = (
        "__weakref__",
        "_impl",
        "_impl_lock",
        "impl_factory",
    )

    impl_factory: ImplFactory | None
    """The callable that builds `impl`; None if there is no implementation."""

    def __init__(
        self,
        run_dir: Location,
        impl_factory: Factory[I] | None = None,
        *,
        config_class: type[C] | None = None,
        storage_options: Mapping[str, Any] | None = None,
        results: str | None = None,
    ) -> None:
        check_storage_options(storage_options)
        check_config_class(config_class)
        options = ReadOptions(results=make_results_file(results))
        info = make_info(make_run_record(locate_option("run_dir", run_dir, storage_options)))
        set_options(info, options)
        self._set_up(info, impl_factory, config_class)

    def _set_up(
        self,
        info: RunInfo,
        impl_factory: ImplFactory | None,
        config_class: type | None,
        config: PlainConfig | None = None,
        lock: SharedLock | None = None,
    ) -> None:
        self._set_up_base(info, config_class, config, lock)
        self.impl_factory = impl_factory
        self._artifacts_dir = None
        self._models = None
        self._impl: Any = MISSING
        self._impl_lock = None if impl_factory is None else SharedLock()

    def __repr__(self) -> str:
        factory = self.impl_factory
        impl_name = f"[{factory.__name__}]" if isinstance(factory, type) else ""
        return f"{type(self).__name__}{impl_name}({describe_run(self.info)})"

    def _repr_html_(self) -> str:
        """Return facts, logged values and the configuration for a notebook.

        Of a run on remote storage, it is only what has been read. Of a local run, all of these are
        read, the configuration only if it is in the run directory.
        """
        from kedro_hydraflow.run_html import make_run_html

        return make_run_html(type(self).__name__, self)

    def _ipython_key_completions_(self) -> list[str]:
        """Return the keys that ``run["<Tab>`` offers, of what `_repr_html_` reads."""
        from kedro_hydraflow.run_html import list_known_keys

        return list_known_keys([self])

    def __reduce__(self) -> tuple[Any, ...]:
        # Flat, because a call for each nested object would double the time.
        return _rebuild_run, (
            type(self),
            self.impl_factory,
            _get_attributes(self),
            *get_config_state(self),
            *self.info.__reduce__()[1],
        )

    def __copy__(self) -> Self:
        return self.__deepcopy__({})

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        config_class, config, cfg, lock = get_config_state(self)
        run = make_run(type(self), self.info, self.impl_factory, config_class, config, lock)
        run._artifacts_dir = self._artifacts_dir
        run._models = self._models
        if cfg is not None:
            get_configuration(run).set_dictconfig(copy.deepcopy(cfg, memo))
        attributes = _get_attributes(self)
        if attributes is not None:
            run.__dict__.update(copy.deepcopy(attributes, memo))
        return run

    @property
    def cfg(self) -> C:
        """The configuration, a ``DictConfig`` that no other run shares.

        Empty if the run has no ``.hydra/config.yaml``.

        Raises:
            ConfigError: If it cannot be read, or does not fit ``config_class``.
            StorageError: If the storage denies access or cannot be reached.

        Examples:
            >>> run.cfg.training
            {'learning_rate': 0.003, 'batch_size': 64, 'epochs': 4, 'l2': 0.0001}
        """
        return cast("C", get_configuration(self).get_dictconfig())

    @cfg.setter
    def cfg(self, value: C) -> None:
        if value is None:
            raise OptionError("cfg: expected a configuration, found None")
        cfg = value if OmegaConf.is_config(value) else OmegaConf.create(cast("Any", value))
        get_configuration(self).set_dictconfig(cast("DictConfig", cfg))

    @property
    def impl(self) -> I:
        """The object that ``impl_factory`` built, None without a factory.

        Raises:
            ImplError: If the factory raised an exception, which is the cause of this one.

        Examples:
            >>> class Model:
            ...     def __init__(self, artifacts_dir):
            ...         self.weights = artifacts_dir / "model/weights.npz"
            >>> Run(run.info.run_dir, Model).impl.weights.stat().st_size
            4853
        """
        if self._impl is MISSING:
            if self.impl_factory is None:
                return cast("I", None)
            with self._impl_lock or self._lock:  # the latter if the factory was set later
                if self._impl is MISSING:
                    self._impl = build_impl(
                        self.impl_factory, self.info, self.path(), get_configuration(self)
                    )
        return cast("I", self._impl)

    @property
    def metrics(self) -> dict[str, float]:
        """The latest value of each metric: the one of the largest step, then timestamp.

        Raises:
            MetadataError: If a metric is malformed.
            NotARunError: If the directory exists, but is not that of a run. The same goes for
                `params`, `tags` and the facts in `info`.
            StorageError: If the metrics cannot be read.

        Examples:
            >>> run.metrics["accuracy"]
            0.9355555555555556
        """
        return dict(get_logged(self.info, "metrics"))

    @property
    def params(self) -> dict[str, str]:
        """The params that were logged to MLflow, as text.

        Examples:
            >>> run.params
            {'model.type': 'mlp', 'training.learning_rate': '0.003'}
        """
        return dict(get_logged(self.info, "params"))

    @property
    def tags(self) -> dict[str, str]:
        """The tags of the MLflow run, as text.

        Examples:
            >>> run.tags["stage"]
            'sweep'
        """
        return dict(get_logged(self.info, "tags"))

    @property
    def overrides(self) -> list[str]:
        """The overrides with which Hydra started the job; empty if they are not recorded.

        Raises:
            ConfigError: If ``.hydra/overrides.yaml`` is malformed.
            StorageError: If it cannot be read.

        Examples:
            >>> run.overrides[:2]
            ['model.type=mlp', 'model.activation=tanh']
        """
        return list(get_parsed(self.info, "overrides") or ())

    @property
    def hydra(self) -> dict[str, Any]:
        """Hydra's own configuration of the job as plain data; empty if it is not recorded.

        Interpolations are not resolved.

        Raises:
            ConfigError: If ``.hydra/hydra.yaml`` is malformed.
            StorageError: If it cannot be read.

        Examples:
            >>> run.hydra["job"]["num"], run.hydra["runtime"]["choices"]["hydra/sweeper"]
            (2, 'basic')
        """
        return copy.deepcopy(get_parsed(self.info, "hydra") or {})

    @property
    def results(self) -> dict[str, Any]:
        """The results that the application wrote, as plain data; empty if it wrote none.

        They are the mapping in the file that the option ``results`` names. Nothing in it is
        resolved: what looks like an interpolation is text.

        Raises:
            OptionError: If the run was loaded without ``results``.
            ConfigError: If the file is malformed.
            StorageError: If it cannot be read.

        Examples:
            >>> job_dir = "examples/data/hydra/multirun/2026-11-25/23-01-50/3"
            >>> job = Run(job_dir, results="result.json")
            >>> job.results
            {'loss': 0.12964880391078842, 'n_weights': 4}
            >>> job.get("results.loss")
            0.12964880391078842
        """
        if not has_results_file(self.info):
            raise OptionError(f"run {self.info.run_id} has no results: {RESULTS_HINT}")
        return copy.deepcopy(get_parsed(self.info, "results") or {})

    def metric_history(self, name: str) -> pl.DataFrame:
        """Return all values of a metric, sorted by step, then timestamp.

        Args:
            name: The metric, such as ``train/loss``.

        Returns:
            A frame with the columns ``step`` (Int64), ``timestamp`` (Datetime in UTC, to the
            millisecond) and ``value`` (Float64).

        Raises:
            MissingKeyError: If the run has no such metric. `RunCollection.metric_histories` takes
                runs of which only some have it.
            MetadataError: If the record of the metric has an unknown format.
            StorageError: If it cannot be read.

        Examples:
            >>> run.metric_history("train/loss").select("step", "value").rows()[-1]
            (3, 0.36566445180629725)
        """
        check_keys([name])
        if is_pattern(name):
            raise OptionError(
                f"metric_history: expected the name of one metric, found the pattern {name!r}; "
                "metric_histories takes patterns"
            )
        return make_history_frame([self], [name])[["step", "timestamp", "value"]]

    def metric_histories(self, *names: str) -> pl.DataFrame:
        """Return all values of metrics, in one long frame.

        Args:
            *names: The metrics, such as ``train/loss``, or patterns of them, such as ``train/*``;
                at least one.

        Returns:
            A frame with the column ``metric`` and those of `metric_history`, in the order of the
            names, those of a pattern sorted.

        Raises:
            MissingKeyError: If the run has no such metric.
            MetadataError: If the record of a metric has an unknown format.
            StorageError: If it cannot be read.

        Examples:
            >>> run.metric_histories("*")["metric"].unique(maintain_order=True).to_list()
            ['accuracy', 'train/loss', 'val/accuracy']
        """
        check_metrics(names)
        frame = make_history_frame([self], names)
        return frame[["metric", "step", "timestamp", "value"]]

    # For one run and for many, three signatures each. To pyright, `Run` in `Run.load` is
    # Run[Any, None] whatever the arguments are, so the first takes the type of the configuration
    # from config_class, the second that of the implementation from the factory. The third is for
    # calls with neither, and for classes that have an implementation: Run[Config, Model], or a
    # subclass of it.
    @overload
    @classmethod
    def load(  # type: ignore[overload-overlap] # text is an iterable of text too
        cls: type[Run[Any, None]],
        run_dir: Location,
        impl_factory: Factory[J] | None = None,
        *,
        n_jobs: int = 0,
        progress: bool = False,
        on_error: OnError = "raise",
        config_class: type[D],
        index: IndexOption = None,
        storage_options: Mapping[str, Any] | None = None,
        results: str | None = None,
    ) -> Run[D, J]: ...

    @overload
    @classmethod
    def load(  # type: ignore[overload-overlap] # text is an iterable of text too
        cls: type[Run[D, None]],
        run_dir: Location,
        impl_factory: Factory[J],
        *,
        n_jobs: int = 0,
        progress: bool = False,
        on_error: OnError = "raise",
        config_class: type[D] | None = None,
        index: IndexOption = None,
        storage_options: Mapping[str, Any] | None = None,
        results: str | None = None,
    ) -> Run[D, J]: ...

    @overload
    @classmethod
    def load(  # type: ignore[overload-overlap] # text is an iterable of text too
        cls,
        run_dir: Location,
        impl_factory: Factory[I] | None = None,
        *,
        n_jobs: int = 0,
        progress: bool = False,
        on_error: OnError = "raise",
        config_class: type[C] | None = None,
        index: IndexOption = None,
        storage_options: Mapping[str, Any] | None = None,
        results: str | None = None,
    ) -> Self: ...

    @overload
    @classmethod
    def load(
        cls: type[Run[Any, None]],
        run_dir: Iterable[Location],
        impl_factory: Factory[J] | None = None,
        *,
        n_jobs: int = 0,
        progress: bool = False,
        on_error: OnError = "raise",
        config_class: type[D],
        index: IndexOption = None,
        storage_options: Mapping[str, Any] | None = None,
        results: str | None = None,
    ) -> RunCollection[Run[D, J]]: ...

    @overload
    @classmethod
    def load(
        cls: type[Run[D, None]],
        run_dir: Iterable[Location],
        impl_factory: Factory[J],
        *,
        n_jobs: int = 0,
        progress: bool = False,
        on_error: OnError = "raise",
        config_class: type[D] | None = None,
        index: IndexOption = None,
        storage_options: Mapping[str, Any] | None = None,
        results: str | None = None,
    ) -> RunCollection[Run[D, J]]: ...

    @overload
    @classmethod
    def load(
        cls,
        run_dir: Iterable[Location],
        impl_factory: Factory[I] | None = None,
        *,
        n_jobs: int = 0,
        progress: bool = False,
        on_error: OnError = "raise",
        config_class: type[C] | None = None,
        index: IndexOption = None,
        storage_options: Mapping[str, Any] | None = None,
        results: str | None = None,
    ) -> RunCollection[Self]: ...

    @classmethod
    def load(
        cls,
        run_dir: Location | Iterable[Location],
        impl_factory: ImplFactory | None = None,
        *,
        n_jobs: int = 0,
        progress: bool = False,
        on_error: OnError = "raise",
        config_class: type | None = None,
        index: IndexOption = None,
        storage_options: Mapping[str, Any] | None = None,
        results: str | None = None,
    ) -> Run[Any, Any] | RunCollection[Any]:
        """Return one run, or a collection of many runs with their configurations read.

        One run is read on first use.

        Args:
            run_dir: A run directory, or an iterable of them.
            impl_factory: As for `Run`.
            n_jobs: For many runs: 0 or 1 reads them in this process, N in N jobs, -1 in
                one job for each core where that is faster, see
                https://kedro-hydraflow.github.io/kedro-hydraflow/scaling/#more-processes. The jobs
                run on the backend of the surrounding ``joblib.parallel_config``, by default in
                loky processes.
            progress: Whether to show a progress bar for many runs, on standard error. There is none
                outside of terminals and notebooks, nor for what takes less than a second.
            on_error: For many runs: ``"raise"`` raises one error that names every run
                that failed, ``"warn"`` logs each of them and leaves it out. With ``"warn"``, a
                malformed metric, param, tag, fact, result or file of Hydra that is read later is
                logged, and missing. A storage that denies access or cannot be reached is always
                an error then.
            config_class: As for `Run`.
            index: For many runs: the cache with which the next load reads only new and
                changed runs. None, the default, uses the user's cache directory, and only for
                local runs. A path uses that directory (text without a separator needs ``./`` in
                front), True the default one; both also cover finished runs on remote storage,
                which are assumed not to change. False turns it off. The URL of an index that
                a team shares is only read, see `publish_index` and
                https://kedro-hydraflow.github.io/kedro-hydraflow/index-and-caches/.
            storage_options: As for `Run`.
            results: As for `Run`. Read on first use, the files of all runs at once.

        Returns:
            A ``Run``, or a ``RunCollection`` in the order of the run directories.

        Raises:
            RunLoadError: If ``on_error`` is ``"raise"`` and some of many runs failed.

        Examples:
            >>> from kedro_hydraflow import Run, iter_run_dirs
            >>> runs = Run.load(iter_run_dirs("examples/data/mlruns", "train_*"))
            >>> runs
            RunCollection(Run, n=29, ...)
        """
        # The only import against the order of the modules, because users start with Run.load.
        from kedro_hydraflow.loading import LoadOptions
        from kedro_hydraflow.run_dirs import load_run_dirs

        options = LoadOptions(
            impl_factory, config_class, n_jobs, progress, on_error, index, results
        )
        if is_location(run_dir):
            return cls(
                run_dir,
                impl_factory,
                config_class=config_class,
                storage_options=storage_options,
                results=results,
            )
        with showing_progress(show=progress):
            return load_run_dirs(cast("Iterable[Location]", run_dir), cls, options, storage_options)

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

        A run that recorded a value, such as ``metrics.accuracy``, has one too. Nothing is written
        to the run directory.

        Args:
            key: A dotted key (``"model.type"`` or ``"model__type"``), or a tuple of keys.
            value: The value; for several keys, an iterable with one value per key; or a
                callable that takes the run and returns one of these. It is called only if there
                is something to set.
            force: Whether to replace existing values.

        Raises:
            TypeError: If there are several keys, and the value is not an iterable.
            OptionError: If there are more or fewer values than keys, or if, without ``force``, a
                value such as ``model: mlp`` is in the way of ``model.dropout``.

        Examples:
            >>> run.update("model.dropout", 0.0)  # a run from before there was dropout
            >>> run.update("steps", lambda run: run.get("training.epochs") * 21)
            >>> run.get("model.dropout"), run.get("steps")
            (0.0, 84)
        """
        check_keys(key if isinstance(key, (tuple, list)) else [key])
        if isinstance(key, str):
            dotted = to_dotted(key)
            if force or self._is_unset(dotted):
                self._set(dotted, value(self) if callable(value) else value)
            return
        keys = list(map(to_dotted, key))
        if not force and all(map(self._has, keys)):
            return
        values = _check_values(keys, value(self) if callable(value) else value)
        for k, v in zip(keys, values, strict=True):
            if force or self._is_unset(k):
                self._set(k, v)

    def _has(self, key: str) -> bool:
        if select(get_configuration(self), key) is not MISSING:
            return True
        (recorded,) = read_entries([self.info], key)
        if isinstance(recorded, Exception):
            raise recorded
        return recorded is not MISSING

    def _is_unset(self, key: str) -> bool:
        """Whether a key has no value.

        Raises:
            OptionError: If it cannot have one, because another value is in its way.
        """
        if self._has(key):
            return False
        parent = key.rpartition(".")[0]
        while parent and (found := select(get_configuration(self), parent)) is MISSING:
            parent = parent.rpartition(".")[0]
        if parent and found is not None and not OmegaConf.is_config(found):
            raise OptionError(
                f"run {self.info.run_id}: cannot set {key!r}, because {parent!r} is {found!r}; "
                "with force=True it is replaced"
            )
        return True

    def _set(self, key: str, value: Any) -> None:
        # OmegaConf does not take arrays and numbers of NumPy.
        plain = value.tolist() if is_numpy(value) else value
        try:
            get_configuration(self).update(key, plain)
        except (OmegaConfBaseException, ValueError, LookupError) as exc:
            text = " ".join(str(exc).split())
            raise OptionError(
                f"run {self.info.run_id}: cannot set {key!r} to {reprlib.repr(value)}: {text}"
            ) from exc

    def get(self, key: str, default: Any | Callable[[Self], Any] = MISSING) -> Any:
        """Return a value from the configuration, the implementation, the info or the run.

        The value comes from the first place that has the key: the configuration, with the value
        of ``OmegaConf.select``; then an attribute of `impl`, of `info` or of the run itself that
        is not callable; then, for ``metrics.KEY``, ``params.KEY`` and ``tags.KEY``, the value
        that was logged to MLflow, for ``hydra.KEY`` that in Hydra's own configuration of the
        job, such as ``hydra.job.num`` or ``hydra.runtime.choices.model``, and for
        ``results.KEY`` that in its `results`. The prefixes ``cfg.``, ``impl.``, ``info.`` and
        ``logged.`` (``logged.metrics.KEY``) say which of these is meant.

        Args:
            key: A dotted key; ``__`` stands for a dot. Unless the configuration has such a
                key, ``"cfg"``, ``"impl"``, ``"info"`` and ``"run"`` are the objects
                themselves.
            default: The value if no place has the key; if callable, called with the run.

        Raises:
            MissingKeyError: If no place has the key and there is no default. It is an
                AttributeError.
            ConfigError: If the value is an interpolation that cannot be resolved.

        Examples:
            >>> run.get("training.learning_rate"), run.get("metrics.accuracy"), run.get("status")
            (0.003, 0.9355555555555556, 'FINISHED')
            >>> run.get("training.warmup", 0), run.get("hydra.job.num")
            (0, 2)
        """
        return get_value(self, key, default)

    __iter__ = None  # else Python would call __getitem__ with numbers

    def __getitem__(self, key: str) -> Any:
        return self.get(key)

    def lit(
        self,
        key: str,
        default: Any | Callable[[Self], Any] = MISSING,
        *,
        dtype: PolarsDataType | None = None,
    ) -> pl.Expr:
        """Return the value of a key as a Polars literal, named after the key.

        Args:
            key: As for `get`.
            default: As for `get`.
            dtype: The data type of the literal, by default the one that Polars infers.

        Examples:
            >>> run.metric_history("train/loss").select("step", run.lit("model.type")).row(0)
            (0, 'mlp')
        """
        (value,) = get_data([self], key, default)
        return make_literal(key, value, dtype)

    def to_frame(
        self,
        function: Callable[[Self], pl.DataFrame],
        *keys: str | tuple[str, Any | Callable[[Self], Any]],
    ) -> pl.DataFrame:
        """Return the frame that a function returns for the run, with values of the run as columns.

        Args:
            function: Takes the run, returns a frame.
            *keys: The columns to add: keys, pairs of a key and its default, or patterns such as
                ``model.*``, as for `RunCollection.to_frame`.

        Examples:
            >>> frame = run.to_frame(lambda run: run.metric_history("train/loss"), "model.type")
            >>> frame.columns
            ['step', 'timestamp', 'value', 'model.type']
        """
        check_columns(keys)
        values = {}
        for name, default, found in expand_columns([self], keys, {}):
            (values[name],) = get_data([self], name, default) if found is None else found
        warn_of_polars()
        return add_values(function(self), values)

    def to_frame_impl(
        self,
        function: Callable[[I], pl.DataFrame],
        *keys: str | tuple[str, Any | Callable[[Self], Any]],
    ) -> pl.DataFrame:
        """Return the frame that a function makes of `impl`, with values of the run as columns.

        Args:
            function: Takes the implementation, returns a frame.
            *keys: As for `to_frame`.

        Examples:
            >>> import polars as pl
            >>> class Log:
            ...     def __init__(self, artifacts_dir):
            ...         self.names = [path.name for path in artifacts_dir.glob("*.json")]
            >>> frame = Run(run.info.run_dir, Log).to_frame_impl(
            ...     lambda log: pl.DataFrame({"file": log.names}), "seed"
            ... )
            >>> frame.rows()
            [('confusion_matrix.json', 42)]
        """
        return self.to_frame(lambda run: function(run.impl), *keys)

    def diff(self, other: Run[Any, Any], *keys: str, derived: bool = False) -> pl.DataFrame:
        """Return a Polars frame of the keys in which this run and another one differ.

        Args:
            other: The other run.
            *keys: As for `RunCollection.diff`: by default all keys of the configurations.
            derived: As for `RunCollection.varying`.

        Returns:
            A row for each key with the columns ``key``, ``a`` (the value of this run) and ``b``
            (that of the other one), as `RunCollection.diff` explains them.

        Raises:
            MissingKeyError: If neither run has a key, or one that a pattern matches.

        Examples:
            >>> folder = "examples/data/mlruns/803221166256626715"
            >>> other = Run(f"{folder}/16188f25c92f4d218507a2809e71ec9f")
            >>> run.diff(other, "training.*", "metrics.accuracy").rows()
            [('training.learning_rate', '0.003', '1.0'),
             ('training.epochs', '4', '1'),
             ('metrics.accuracy', '0.9355555555555556', '0.8777777777777778')]
        """
        check_keys(keys)
        check_flag("derived", derived)
        if not isinstance(other, Run):
            raise OptionError(f"other: expected a run, found {other!r}")
        runs = [self, other]
        return make_diff_frame(runs, keys or ["*"], partial(find_values, runs), derived=derived)

    def digest(self, *, logged: bool = False) -> str:
        """Return text that is the same as long as the run is, wherever it is kept.

        It covers the run ID, the configuration as it is in this object (with what `update` and
        ``config_class`` made of it), the status and the times. So it is equal for a copy of the
        run, on another storage or in a database, on every machine and with every version.

        Args:
            logged: Whether to include the metrics (their latest values), params and tags without
                ``mlflow.*``. A file store has a file for each of them.

        Returns:
            SHA-256, 64 hexadecimal digits. Of what:
            https://kedro-hydraflow.github.io/kedro-hydraflow/pinned-runs/#digests.

        Raises:
            ConfigError: If the configuration cannot be read.
            MetadataError: If a fact or logged value is malformed.
            StorageError: If the storage denies access or cannot be reached.

        Examples:
            >>> run.digest()[:12], run.digest(logged=True)[:12]
            ('db05e0a39894', '17b1ecb11ab4')
        """
        check_flag("logged", logged)
        (digest,) = make_digests([self], logged=logged)
        return digest

    def without_credentials(self) -> Self:
        """Return a copy to pickle into a file: without the options of filesystems, and logins.

        The copy has what has been read, such as the configuration and the facts. It reads no more
        from remote storage, and asks no server.

        Examples:
            >>> import pickle
            >>> copied = pickle.loads(pickle.dumps(run.without_credentials()))
            >>> copied.get("model.type")
            'mlp'
        """
        return copy_without_credentials(self, CredentialRemover())

    def to_dict(self, flatten: bool = True) -> dict[str, Any]:
        """Return the configuration as a new dictionary, interpolations unresolved.

        Args:
            flatten: Whether nested mappings become dotted keys.

        Raises:
            TypeError: If the configuration was replaced, and is not a mapping.

        Examples:
            >>> run.to_dict()["training.epochs"]
            4
            >>> run.to_dict(flatten=False)["model"]
            {'type': 'mlp', 'hidden_size': 32, 'activation': 'tanh'}
        """
        data = get_configuration(self).to_container()
        if not isinstance(data, dict):
            raise TypeError(f"expected a mapping as configuration, found {type(data).__name__}")
        if flatten:
            return {k: v for k, v in flatten_config(data).items() if v != {}}
        return {str(k): v for k, v in data.items()}


def make_run(
    run_class: type[R],
    info: RunInfo,
    impl_factory: ImplFactory | None,
    config_class: type | None,
    config: PlainConfig | None = None,
    lock: SharedLock | None = None,
) -> R:
    """Return the run with this info and, if it has been read, this merged configuration."""
    run = run_class.__new__(run_class)
    run._set_up(info, impl_factory, config_class, config, lock)
    return run


def copy_without_credentials(run: R, remover: CredentialRemover) -> R:
    """Return the result of `Run.without_credentials`. Copies with one remover share more."""
    config_class, config, cfg, lock = get_config_state(run)
    info = remover.remove(run.info)
    copied = make_run(type(run), info, run.impl_factory, config_class, config, lock)
    if cfg is not None:
        get_configuration(copied).set_dictconfig(copy.deepcopy(cfg))
    attributes = _get_attributes(run)
    if attributes is not None:
        copied.__dict__.update(copy.deepcopy(attributes))
    return copied


def _check_values(keys: list[str], values: Any) -> list[Any]:
    if not isinstance(values, Iterable) or isinstance(values, str):
        raise TypeError(
            f"expected an iterable of {show_count(len(keys), 'value')}, found {values!r}"
        )
    found = list(values)
    if len(found) != len(keys):
        raise OptionError(
            f"expected {show_count(len(keys), 'value')} for the keys {', '.join(map(repr, keys))}, "
            f"found {len(found)}"
        )
    return found


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
    run = make_run(run_class, rebuild_info(*info), impl_factory, config_class, config, lock)
    if cfg is not None:
        get_configuration(run).set_dictconfig(cfg)
    if attributes is not None:
        run.__dict__.update(attributes)
    return run


def _get_attributes(run: Run[Any, Any]) -> dict[str, Any] | None:
    """Return the attributes of a subclass without slots, None if it has none."""
    attributes = getattr(run, "__dict__", None)
    if not attributes:
        return None
    # `Run[Config](...)` sets it; a local class in it could not be pickled
    return {name: value for name, value in attributes.items() if name != "__orig_class__"}
