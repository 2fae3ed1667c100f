"""Loading many runs: all configurations are read at once, in this process or in jobs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from kedro_hydraflow.config import SharedLock, check_config_class, merge_config
from kedro_hydraflow.errors import (
    ConfigError,
    Failure,
    NotARunError,
    OptionError,
    RunNotFoundError,
    check_on_error,
)
from kedro_hydraflow.filters import NO_CONDITIONS, Conditions, Filters
from kedro_hydraflow.finding import (
    Search,
    explain_emptiness,
    find_experiments,
    iter_streams,
    make_search,
    open_search,
    read_infos,
    report,
)
from kedro_hydraflow.index import NO_INDEX, Index, check_index, open_local_index
from kedro_hydraflow.logs import get_logger
from kedro_hydraflow.parallel import check_jobs
from kedro_hydraflow.progress import progress_bar, showing_progress
from kedro_hydraflow.reading import BulkReader
from kedro_hydraflow.run import C, I, Run, make_run
from kedro_hydraflow.run_collection import RunCollection
from kedro_hydraflow.run_info import (
    ReadOptions,
    RunInfo,
    get_config_url,
    get_place,
    get_record,
    keep_artifacts,
    look_for_artifacts,
    make_info,
    note_run,
    set_options,
    warn_of_absent,
    warn_of_lost,
    warn_of_no_config,
)
from kedro_hydraflow.shared_index import SharedIndex
from kedro_hydraflow.source import Source
from kedro_hydraflow.storage import is_url
from kedro_hydraflow.stores.parsed_files import make_results_file
from kedro_hydraflow.stores.record import LostArtifactsError, RunNames, make_run_record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from kedro_hydraflow.config import PlainConfig
    from kedro_hydraflow.errors import KedroHydraflowError, OnError
    from kedro_hydraflow.impl import ImplFactory
    from kedro_hydraflow.index import IndexOption
    from kedro_hydraflow.run import Factory
    from kedro_hydraflow.source import Layout
    from kedro_hydraflow.storage import Location, Place
    from kedro_hydraflow.stores import ExperimentFilter, Store

logger = get_logger(__name__)

R = TypeVar("R", bound=Run[Any, Any])


@dataclass(frozen=True)
class LoadedRuns(Generic[R]):
    """Runs with their configurations read, and the failures."""

    runs: RunCollection[R]
    failures: list[Failure]
    without_config: list[RunInfo]
    """The infos of the runs without a configuration. Those without a directory, which are logged
    by themselves, and those whose artifacts are lost do not count."""

    lost: list[tuple[RunInfo, LostArtifactsError]]
    """The infos of the runs whose artifacts are lost, and where they were recorded."""

    n_ruled_out: int | None = 0
    """The number of runs that were not read, because they do not meet the conditions on what was
    recorded; None if the store left some out before, without a count."""

    n_found: int = 0
    """The number of runs before any condition."""

    n_deleted: int = 0
    """The number of runs that the search left out because they were deleted."""

    n_left_out: int = 0
    """The number of runs that `Search.keeps` left out."""

    n_unwanted: int = 0
    """The number of runs that `Need.choose` left out."""


@dataclass(frozen=True)
class Need:
    """What is needed of the runs that meet the conditions on what was recorded."""

    choose: Callable[[Sequence[RunInfo]], list[RunInfo]] = list
    """Returns those that are needed at all, in their order."""

    configs: bool = True
    """Whether configurations are. Otherwise, they are read when they are first used."""


EVERYTHING = Need()


class Tally:
    """Counts runs and those without a configuration, for the warnings of one or several loads."""

    def __init__(self) -> None:
        self.n_found = self.n_runs = self.n_deleted = self.n_failures = self.n_unwanted = 0
        self.n_left_out = 0
        self._n_without = self._n_lost = 0
        self._first: RunInfo | None = None
        self._first_lost: tuple[RunInfo, LostArtifactsError] | None = None

    def add(self, loaded: LoadedRuns[R]) -> RunCollection[R]:
        """Count the runs and return them."""
        self.n_found += loaded.n_found
        self.n_runs += len(loaded.runs)
        self.n_deleted += loaded.n_deleted
        self.n_left_out += loaded.n_left_out
        self.n_failures += len(loaded.failures)
        self.n_unwanted += loaded.n_unwanted
        self._n_without += len(loaded.without_config)
        if self._first is None and loaded.without_config:
            self._first = loaded.without_config[0]
        self._n_lost += len(loaded.lost)
        if self._first_lost is None and loaded.lost:
            self._first_lost = loaded.lost[0]
        return loaded.runs

    def warn(self) -> None:
        """Log which artifacts are lost, or that there are runs, but no configuration at all."""
        if self._first_lost is not None:
            warn_of_lost(*self._first_lost, self._n_lost)
        if self._first is not None and self._n_without == self.n_runs:
            warn_of_no_config(self._first, self.n_runs)


@dataclass(frozen=True)
class LoadOptions:
    """How to read the runs that were found. The options are checked here, once.

    `Run.load` explains them.
    """

    impl_factory: ImplFactory | None = None
    config_class: type | None = None
    n_jobs: int = 0
    progress: bool = False
    on_error: OnError = "raise"
    index: IndexOption = None
    results: str | None = None

    def __post_init__(self) -> None:
        if self.impl_factory is not None and not callable(self.impl_factory):
            raise OptionError(f"impl_factory: expected a callable, found {self.impl_factory!r}")
        check_config_class(self.config_class)
        check_jobs(self.n_jobs, None, self.progress)
        check_on_error(self.on_error)
        check_index(self.index)
        make_results_file(self.results)

    def open_index(self, source: Source | None = None) -> Index:
        """Return the index that the options name.

        Args:
            source: Where the runs are. Its options are also for a shared index.
        """
        if isinstance(self.index, str) and is_url(self.index):
            return SharedIndex((source or Source()).locate_artifacts(self.index))
        return open_local_index(self.index)

    def make_read_options(self, index: Index = NO_INDEX) -> ReadOptions:
        """Return the options for what is read after the load."""
        return ReadOptions(self.on_error, make_results_file(self.results), index)


def iter_runs(
    tracking_dir: Location | ExperimentFilter = None,
    experiment_names: ExperimentFilter = None,
    impl_factory: Factory[I] | None = None,
    *,
    batch_size: int = 10_000,
    include_deleted: bool | None = None,
    n_jobs: int = 0,
    progress: bool = False,
    on_error: OnError = "raise",
    config_class: type[C] | None = None,
    index: IndexOption = None,
    tracking_uri: str | None = None,
    artifact_root: Location | None = None,
    storage_options: Mapping[str, Any] | None = None,
    layout: Layout | None = None,
    results: str | None = None,
    filters: Filters = None,
) -> Iterator[RunCollection[Run[C, I]]]:
    """Return an iterator of the runs below a tracking directory, in batches.

    Use it if the runs do not fit into memory: outside the current batch, only their names are
    kept. Together the batches equal ``Run.load(iter_run_dirs(...))``, in the same
    order. How to write them to Parquet:
    https://kedro-hydraflow.github.io/kedro-hydraflow/scaling/#files-that-fit-together.

    Args:
        tracking_dir: As for `iter_run_dirs`.
        experiment_names: As for `iter_run_dirs`.
        impl_factory: As for `Run`.
        batch_size: The maximum number of runs in a batch. Skipped runs make a batch smaller.
        include_deleted: As for `iter_run_dirs`.
        n_jobs: As for ``Run.load``; each batch is one load.
        progress: As for ``Run.load``; the bar moves with each batch.
        on_error: ``"raise"`` raises an error that names what cannot be read: for experiments
            before the first batch, for runs instead of their batch. ``"warn"`` logs and skips
            them, and has the effect of ``Run.load`` on what is read later.
        config_class: As for `Run`.
        index: As for ``Run.load``; looked up once per batch.
        tracking_uri: As for `iter_run_dirs`.
        artifact_root: As for `iter_run_dirs`.
        storage_options: As for `iter_run_dirs`.
        layout: As for `iter_run_dirs`.
        results: As for ``Run.load``.
        filters: As for `iter_run_dirs`. Whether some run has a key is known after the last batch.

    Returns:
        An iterator of collections, none of them empty.

    Raises:
        OptionError: If an option is invalid. It is raised by the call, before iteration.
        KedroHydraflowError: While iterating, the errors of `iter_run_dirs` and ``Run.load``. An
            error ends the iteration.

    Examples:
        >>> batches = iter_runs("examples/data/mlruns", "train_*", batch_size=10)
        >>> [len(runs) for runs in batches]
        [10, 10, 9]
    """
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
    return _skip_empty(iter_batches(search, options, batch_size))


def _skip_empty(batches: Iterator[RunCollection[R]]) -> Iterator[RunCollection[R]]:
    """Yield the batches of which something is left."""
    yield from filter(None, batches)


def iter_batches(
    search: Search, options: LoadOptions, batch_size: int, need: Need = EVERYTHING
) -> Iterator[RunCollection[Run[Any, Any]]]:
    """Yield the runs that a search finds, in batches. No reference to a batch is kept.

    If some of the runs are not needed, nothing is said of keys that none of the others has.
    """
    index = options.open_index(search.source)
    show, options = options.progress, replace(options, progress=False)  # for all batches together
    store, search = open_search(search, index)
    conditions = search.make_conditions()
    with showing_progress(show=show):
        found = find_experiments(store, search, conditions)
    for stream in iter_streams(store, found.experiments.matching, conditions):
        total, n_failures = stream.total, len(stream.failures)
        what = "runs and experiments"
        report(stream.failures, (total or 0) + n_failures, search.on_error, what=what)
        tally = Tally()
        with progress_bar(total, show=show) as advance:
            for batch in _cut(stream.parts, batch_size):
                yield tally.add(_load_batch(store, batch, search, options, index, conditions, need))
                advance(_count(batch))
        if tally.n_failures or (conditions.clauses and conditions.n_met_as_narrowed):
            break
    tally.warn()
    if tally.n_unwanted:
        return
    conditions.check()
    n_failures += tally.n_failures + len(found.experiments.failures)
    if tally.n_runs or n_failures:
        return
    if tally.n_found:
        warn_of_none_left(tally.n_found, conditions)
    elif not found.was_explained:
        logger.warning(explain_emptiness(store, found, tally.n_deleted, tally.n_left_out))


def _load_batch(
    store: Store,
    batch: list[RunNames],
    search: Search,
    options: LoadOptions,
    index: Index,
    conditions: Conditions,
    need: Need,
) -> LoadedRuns[Run[Any, Any]]:
    read = read_infos(store, batch, search)
    loaded = read_runs(
        read.runs, Run, options, index, was_searched=True, conditions=conditions, need=need
    )
    failures = [*read.failures, *loaded.failures]
    report(failures, _count(batch), search.on_error, n_ruled_out=loaded.n_ruled_out)
    return replace(loaded, failures=failures, n_deleted=read.n_deleted, n_left_out=read.n_left_out)


def _count(listed: Sequence[RunNames]) -> int:
    return sum(len(part.names) for part in listed)


def _cut(listed: Iterable[RunNames], batch_size: int) -> Iterator[list[RunNames]]:
    """Yield the names in batches that may reach over several experiments."""
    batch: list[RunNames] = []
    room = batch_size
    for names in listed:
        start = 0
        while start < len(names.names):
            part = names.take(start, start + room)
            batch.append(part)
            start += len(part.names)
            room -= len(part.names)
            if room == 0:
                yield batch
                batch, room = [], batch_size
    if batch:
        yield batch


def load_selected(
    infos: Sequence[RunInfo],
    run_class: type[R],
    options: LoadOptions,
    index: Index,
    conditions: Conditions,
    caller: str,
) -> RunCollection[R]:
    """Return those of the runs that a search found that meet its conditions.

    Args:
        infos: The runs that were found.
        run_class: `Run`, or a subclass.
        options: How to read them.
        index: The cache of what was read.
        conditions: The conditions.
        caller: The function to which the user gives ``on_error``.

    Raises:
        FilterError: If a condition cannot be applied, or no run has a key in it.
        RunLoadError: If a run that may meet the conditions cannot be read.
    """
    loaded = load_runs(infos, run_class, options, index, was_searched=True, conditions=conditions)
    conditions.check()
    report(
        loaded.failures,
        len(infos),
        options.on_error,
        caller=caller,
        n_ruled_out=loaded.n_ruled_out,
    )
    if infos and not loaded.runs and not loaded.failures:
        warn_of_none_left(len(infos), conditions)
    return loaded.runs


def warn_of_none_left(n_found: int, conditions: Conditions) -> None:
    """Log how many runs each condition leaves over, where the last one leaves none."""
    of_all = "" if conditions.is_narrowed else f" of {n_found}"
    if conditions:
        logger.warning("no runs are left%s: %s", of_all, ", ".join(conditions.steps))


def load_runs(
    infos: Sequence[RunInfo],
    run_class: type[R],
    options: LoadOptions,
    index: Index = NO_INDEX,
    *,
    was_searched: bool = False,
    conditions: Conditions = NO_CONDITIONS,
) -> LoadedRuns[R]:
    """Return the result of `read_runs`, and log the warnings of a `Tally`."""
    loaded = read_runs(
        infos, run_class, options, index, was_searched=was_searched, conditions=conditions
    )
    tally = Tally()
    tally.add(loaded)
    tally.warn()
    return loaded


def read_runs(
    infos: Sequence[RunInfo],
    run_class: type[R],
    options: LoadOptions,
    index: Index = NO_INDEX,
    *,
    was_searched: bool = False,
    conditions: Conditions = NO_CONDITIONS,
    need: Need = EVERYTHING,
) -> LoadedRuns[R]:
    """Return the runs with their configurations read, and the failures.

    A run without a ``.hydra/config.yaml`` has an empty configuration.

    Args:
        infos: The runs to read.
        run_class: `Run`, or a subclass.
        options: How to read them.
        index: The cache of what was read.
        was_searched: Whether a search has just found the runs. A folder that is not a run
            directory, or was deleted since, is then logged and skipped. If the caller named
            the directories, one that is not a run directory is a failure, and one that does
            not exist is a run with an empty configuration, as in hydraflow.
        conditions: What the runs have to meet. The configurations of those that do not meet the
            conditions on what was recorded are not read.
        need: What is needed of the runs.
    """
    read_options = options.make_read_options(index if was_searched else NO_INDEX)
    for info in infos:
        set_options(info, read_options)
    selected = conditions.select_infos(infos)
    needed = need.choose(selected.runs)
    if need.configs or conditions.need_configs:
        loaded = _read_all(needed, run_class, options, index, was_searched=was_searched)
    else:
        loaded = _read_none(needed, run_class, options)
    # Whether runs are known to be deleted must not depend on what else is read of them.
    chosen = conditions.select_runs(loaded.runs, leave_out_deleted=need is EVERYTHING)
    return replace(
        loaded,
        runs=RunCollection(chosen.runs),
        failures=[*selected.failures, *loaded.failures, *chosen.failures],
        n_ruled_out=None
        if conditions.is_narrowed
        else len(infos) - len(selected.runs) - len(selected.failures),
        n_found=len(infos),
        n_unwanted=len(selected.runs) - len(needed),
    )


def _read_none(infos: Sequence[RunInfo], run_class: type[R], options: LoadOptions) -> LoadedRuns[R]:
    """Return the runs without reading anything."""
    lock = SharedLock()
    factory, config_class = options.impl_factory, options.config_class
    runs = [make_run(run_class, info, factory, config_class, None, lock) for info in infos]
    return LoadedRuns(RunCollection(runs), [], [], [])


def _read_all(
    infos: Sequence[RunInfo],
    run_class: type[R],
    options: LoadOptions,
    index: Index,
    *,
    was_searched: bool,
) -> LoadedRuns[R]:
    """Return the runs with their configurations read, whatever they meet."""
    config_class = options.config_class
    reader = BulkReader(config_class, options.n_jobs, options.progress, index, was_searched)
    configs = _read_elsewhere(infos, reader.read(infos), options, was_searched=was_searched)
    runs = []
    failures = []
    absent = []
    without_config = []
    lost = []
    empty = _merge_nothing(config_class)
    lock = SharedLock()
    for info, read in zip(infos, configs, strict=True):
        if isinstance(read, NotARunError) and was_searched:
            logger.warning("skipped: %s", read)
            continue
        is_absent = isinstance(read, RunNotFoundError)
        if is_absent:
            absent.append(info)
        elif isinstance(read, LostArtifactsError):
            lost.append((info, read))
        elif read is None:
            without_config.append(info)
        is_empty = read is None or isinstance(read, (RunNotFoundError, LostArtifactsError))
        config = empty if is_empty else read
        if isinstance(config, Exception):
            is_stray = isinstance(config, NotARunError)
            where = get_place(info).url if is_stray else get_config_url(info)
            failures.append(Failure(where, config))
        else:
            note_run(info)
            runs.append(make_run(run_class, info, options.impl_factory, config_class, config, lock))
    warn_of_absent(absent)
    return LoadedRuns(RunCollection(runs), failures, without_config, lost)


def _read_elsewhere(
    infos: Sequence[RunInfo],
    configs: Sequence[PlainConfig | KedroHydraflowError | None],
    options: LoadOptions,
    *,
    was_searched: bool,
) -> list[PlainConfig | KedroHydraflowError | None]:
    """Return the configurations, with those of runs whose artifacts left the run directory.

    That of a run whose artifacts are lost is a LostArtifactsError.
    """
    configs = [*configs]
    without = [i for i, config in enumerate(configs) if config is None]
    keep_artifacts(info for info, config in zip(infos, configs, strict=True) if config is not None)
    for i, error in zip(without, look_for_artifacts([infos[i] for i in without]), strict=True):
        configs[i] = error
    moved = [i for i in without if get_record(infos[i]).artifacts_dir is not None]
    if moved:
        # Without the index, which knows configurations by the run directory.
        reader = BulkReader(options.config_class, options.n_jobs, discovered=was_searched)
        for i, config in zip(moved, reader.read([infos[i] for i in moved]), strict=True):
            configs[i] = config
    return configs


def load_run(place: Place, options: LoadOptions) -> Run[Any, Any]:
    """Return the run in a directory, with its configuration read.

    Raises:
        NotFoundError: If there is no such directory.
        NotARunError: If it is not a run directory.
        KedroHydraflowError: If it cannot be read.
    """
    info = make_info(make_run_record(place), None)
    read = BulkReader(options.config_class, discovered=True).read([info])
    (config,) = _read_elsewhere([info], read, options, was_searched=True)
    if isinstance(config, LostArtifactsError):
        warn_of_lost(info, config, 1)
        config = _merge_nothing(options.config_class)
    elif config is None:
        warn_of_no_config(info, 1)
        config = _merge_nothing(options.config_class)
    if isinstance(config, Exception):
        raise config
    note_run(info)
    set_options(info, options.make_read_options())
    return make_run(Run, info, options.impl_factory, options.config_class, config)


def _merge_nothing(config_class: type | None) -> PlainConfig | ConfigError:
    """Return an empty configuration merged onto the class, or the error."""
    try:
        return merge_config({}, config_class)
    except ConfigError as exc:
        return exc


def check_batch_size(batch_size: int) -> None:
    """Raise OptionError unless it is a positive integer."""
    if not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size < 1:
        raise OptionError(f"batch_size: expected a positive integer, found {batch_size!r}")
