"""Loading many runs: their configurations are read at once, here or in jobs."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from kedro_hydraflow.config import ConfigReader, PlainConfig, merge_config
from kedro_hydraflow.errors import (
    ConfigError,
    Failure,
    KedroHydraflowError,
    OptionError,
    UnreachableError,
    prefix_error,
)
from kedro_hydraflow.finding import (
    RunDirs,
    check_on_error,
    find_experiments,
    read_infos,
    report,
)
from kedro_hydraflow.index import NO_INDEX, SETTLED, Index, Recalled, check_index, open_index
from kedro_hydraflow.parallel import may_stay_here, parallel_map, progress_bar
from kedro_hydraflow.run import C, I, Run
from kedro_hydraflow.run_collection import RunCollection
from kedro_hydraflow.run_info import (
    RunInfo,
    find_missing_stores,
    read_facts,
    warn_of_absent,
)
from kedro_hydraflow.storage import Parsed, Place, group_by_storage, locate
from kedro_hydraflow.stores import ExperimentFilter, open_store
from kedro_hydraflow.stores.record import (
    ExperimentRecord,
    RunNames,
    RunRecord,
    is_finished,
    make_run_record,
)
from kedro_hydraflow.stores.run_folder import NotARunError, explain_strays

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from kedro_hydraflow.impl import ImplFactory
    from kedro_hydraflow.index import IndexOption
    from kedro_hydraflow.storage import Location, Storage
    from kedro_hydraflow.stores import Store

logger = logging.getLogger(__name__)

R = TypeVar("R", bound=Run[Any, Any])

_MIN_BATCH = 32
_MAX_BATCH = 2000
"""Runs that one job reads at a time: enough to be worth shipping, and for progress to show."""

_SAMPLE = 500
"""Runs that are read in this process before it is decided whether the others go to jobs."""

_COST_OF_JOBS = 400_000
"""What has to be left for two jobs to be faster, in configuration values (4 us each): they
take 0.6 s to start, and save 40 to 50 % of the rest."""

_COST_OF_RUN = 10
_COST_OF_REQUEST = 100
_COST_OF_CONFIG_CLASS = 500
"""What a run takes besides the values that no other run has, in the same unit."""


@dataclass(frozen=True)
class LoadedRuns(Generic[R]):
    """Runs with their configurations, and those that could not be read."""

    runs: RunCollection[R]
    failures: list[Failure]


def load_run_dirs(
    run_dirs: Iterable[Location],
    impl_factory: ImplFactory | None,
    *,
    run_class: type[R],
    n_jobs: int,
    progress: bool,
    on_error: str,
    config_class: type | None,
    index: IndexOption,
    storage_options: Mapping[str, Any] | None,
) -> RunCollection[R]:
    """Return the runs of given directories: what ``Run.load`` does with many."""
    check_on_error(on_error)
    check_n_jobs(n_jobs)
    check_index(index)
    opened = open_index(index)
    discovered = False
    if isinstance(run_dirs, RunDirs):
        infos, discovered = list(run_dirs.iter_infos(opened)), True
    else:
        infos = _make_infos(run_dirs, storage_options)
    loaded = load_runs(
        infos,
        impl_factory,
        run_class=run_class,
        n_jobs=n_jobs,
        progress=progress,
        config_class=config_class,
        discovered=discovered,
        index=opened,
    )
    report(loaded.failures, len(infos), on_error)
    return loaded.runs


def _make_infos(
    run_dirs: Iterable[Location], storage_options: Mapping[str, Any] | None
) -> list[RunInfo]:
    """Return what is known of runs by their directories; they share storages and experiments."""
    storages: dict[Hashable, Storage] = {}
    experiments: dict[tuple[int, str], ExperimentRecord] = {}
    infos = []
    for run_dir in run_dirs:
        place = locate(run_dir, storage_options)
        storage = storages.setdefault(place.storage.key, place.storage)
        if storage is not place.storage:
            place = Place(storage, place.path)
        folder, _ = storage.split(place.path)
        experiment = experiments.get((id(storage), folder))
        if experiment is None:
            parent = place.parent
            experiment = ExperimentRecord(parent, parent.name)
            experiments[id(storage), folder] = experiment
        infos.append(RunInfo.from_record(make_run_record(place, experiment), None))
    return infos


def iter_runs(
    tracking_dir: Location | None = None,
    experiment_names: ExperimentFilter = None,
    impl_factory: Callable[[Path], I] | Callable[[Path, C], I] | None = None,
    *,
    batch_size: int = 10_000,
    include_deleted: bool | None = None,
    n_jobs: int = 0,
    progress: bool = False,
    on_error: str = "raise",
    config_class: type[C] | None = None,
    index: IndexOption = None,
    tracking_uri: str | None = None,
    artifact_root: Location | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> Iterator[RunCollection[Run[C, I]]]:
    """Return the runs below a tracking directory a batch at a time, for more than memory holds.

    The batches together are what ``Run.load(iter_run_dirs(...))`` gives, in the same order.
    Of the runs that are not in the current batch, only the names are held. See
    ``docs/scaling.md`` for how to write them to Parquet.

    Args:
        tracking_dir: As for `iter_run_dirs`.
        experiment_names: As for `iter_run_dirs`.
        impl_factory: As for `Run`.
        batch_size: How many runs a batch has at most. It has fewer where runs are left out.
        include_deleted: As for `iter_run_dirs`.
        n_jobs: As for ``Run.load``; each batch is one load.
        progress: Whether to show a progress bar. It moves with each batch.
        on_error: ``"raise"`` raises an error that names what cannot be read: experiments
            before the first batch, runs instead of the batch that they belong to.
            ``"warn"`` logs them and leaves them out.
        config_class: As for `Run`.
        index: As for ``Run.load``; it is asked for one batch at a time.
        tracking_uri: As for `iter_run_dirs`.
        artifact_root: As for `iter_run_dirs`.
        storage_options: As for `iter_run_dirs`.

    Returns:
        An iterator of collections, none of them empty.

    Raises:
        OptionError: At once, for options that are none.
        KedroHydraflowError: As `iter_run_dirs` and ``Run.load`` do, when it is iterated.

    Examples:
        >>> batches = iter_runs("examples/data/mlruns", "train_*", batch_size=10)
        >>> [len(runs) for runs in batches]
        [10, 10, 9]
    """
    check_on_error(on_error)
    check_n_jobs(n_jobs)
    check_batch_size(batch_size)
    check_index(index)
    run_class: type[Run[C, I]] = Run

    def read() -> Iterator[RunCollection[Run[C, I]]]:
        opened = open_index(index)
        store = open_store(
            tracking_dir,
            tracking_uri=tracking_uri,
            artifact_root=artifact_root,
            storage_options=storage_options,
            index=opened,
        )
        listing = store.list_runs(find_experiments(store, experiment_names, on_error))
        total = sum(len(part.names) for part in listing.experiments)
        n_failures = len(listing.failures)
        report(listing.failures, total + n_failures, on_error, what="runs and experiments")
        n_done = 0

        def load(batch: list[RunNames]) -> RunCollection[Run[C, I]]:
            nonlocal n_done
            infos, failures = read_infos(store, batch, include_deleted=include_deleted)
            loaded = load_runs(
                infos,
                impl_factory,
                run_class=run_class,
                n_jobs=n_jobs,
                config_class=config_class,
                discovered=True,
                index=opened,
            )
            n_runs = sum(len(part.names) for part in batch)
            report([*failures, *loaded.failures], n_runs, on_error)
            n_done += n_runs
            move_to(n_done)
            return loaded.runs

        with progress_bar(total, show=progress) as move_to:
            # Nothing here holds a batch while the next one is read.
            yield from filter(None, map(load, _cut(listing.experiments, batch_size)))

    return read()


def _cut(listed: Sequence[RunNames], batch_size: int) -> Iterator[list[RunNames]]:
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


def load_runs(
    infos: Sequence[RunInfo],
    impl_factory: ImplFactory | None = None,
    *,
    run_class: type[R],
    n_jobs: int = 0,
    progress: bool = False,
    config_class: type | None = None,
    discovered: bool = False,
    index: Index = NO_INDEX,
) -> LoadedRuns[R]:
    """Return runs with their configurations read, and those that could not be read.

    A run without a ``.hydra/config.yaml`` has an empty configuration.

    Args:
        infos: The runs to read.
        impl_factory: As for `Run`.
        run_class: `Run`, or a subclass.
        n_jobs: As for ``Run.load``.
        progress: As for ``Run.load``.
        config_class: As for `Run`.
        discovered: Whether the runs were just found by a store. What turns out to be no run, or
            is gone by now, is logged and left out.
        index: What is known of runs.
    """
    check_n_jobs(n_jobs)
    if config_class is not None:  # merged with it, which takes longer than to read them
        index = NO_INDEX
    find_missing_stores(infos)
    configs: list[Any] = [None] * len(infos)
    for store, positions in _group_by_store(infos).items():
        of_store = [infos[i] for i in positions]
        loaded = _load_configs(store, of_store, config_class, n_jobs, progress, index, discovered)
        for i, config in zip(positions, loaded, strict=True):
            configs[i] = config
    runs = []
    failures = []
    absent = []
    empty = merge_config({}, config_class) if None in configs else {}
    for info, config in zip(infos, configs, strict=True):
        if isinstance(config, NotARunError):
            logger.warning("left out: %s", config)
        elif isinstance(config, Exception):
            failures.append(Failure(info.get_config_url(), config))
        elif config is None:
            absent.append(info)
            runs.append(run_class.from_info(info, impl_factory, config_class, empty))
        else:
            runs.append(run_class.from_info(info, impl_factory, config_class, config))
    warn_of_absent(absent)
    return LoadedRuns(RunCollection(runs), failures)


def load_run(
    place: Place, impl_factory: ImplFactory | None, config_class: type | None
) -> Run[Any, Any]:
    """Return the run in a directory, with its configuration read.

    Raises:
        NotARunError: If the directory is none of a run, or is not there.
        KedroHydraflowError: If it cannot be read.
    """
    info = RunInfo.from_record(make_run_record(place), None)
    (config,) = _read_configs(info.get_store(), [info], config_class).values
    if config is None:
        (config,) = explain_strays([place])
    if isinstance(config, Exception):
        raise config
    if config is None:
        config = merge_config({}, config_class)
    return Run.from_info(info, impl_factory, config_class, config)


def _load_configs(
    store: Store,
    infos: Sequence[RunInfo],
    config_class: type | None,
    n_jobs: int,
    progress: bool,
    index: Index,
    discovered: bool,
) -> list[PlainConfig | KedroHydraflowError | None]:
    """Return the configurations of a store's runs, from the index as far as it knows them.

    Returns:
        For each run its configuration, None without one, or why it cannot be read; of what was
        discovered also why it is no run.
    """
    recalled = _recall_configs(store, infos, index, discovered)
    unknown = [infos[i] for i in recalled.unknown]
    n_known = len(infos) - len(unknown)
    parsed = _read_configs(store, unknown, config_class, n_jobs, progress, n_known)
    configs = recalled.complete(parsed.values, _choose_validators(unknown, parsed, index))
    if discovered:
        absent = [i for i, config in enumerate(configs) if config is None]
        strays = store.explain_strays([infos[i].get_record() for i in absent])
        for i, error in zip(absent, strays, strict=True):
            configs[i] = error
    return configs


def _recall_configs(
    store: Store, infos: Sequence[RunInfo], index: Index, discovered: bool
) -> Recalled:
    """Return what the index knows of the configurations of a store's runs.

    Where it assumes that finished runs stay as they are, the facts of all are read first. Runs
    that no listing showed to be there still are not known there.
    """
    places = [info.get_place() for info in infos]
    for storage, positions in group_by_storage(places).items():
        if index.assumes_unchanged(storage):
            if not discovered:
                return NO_INDEX.recall("config", places)
            read_facts([infos[i] for i in positions])
    return index.recall("config", places, store.config_file)


def _choose_validators(
    infos: Sequence[RunInfo], parsed: Parsed[PlainConfig], index: Index
) -> list[str | None]:
    """Return the validators of configurations that were read: that of finished runs remotely."""
    validators = [*parsed.validators]
    for storage, positions in group_by_storage(info.get_place() for info in infos).items():
        if index.assumes_unchanged(storage):
            for i in positions:
                validators[i] = SETTLED if is_finished(infos[i].get_record().facts) else None
    return validators


def _group_by_store(infos: Sequence[RunInfo]) -> dict[Store, list[int]]:
    """Return the positions of the runs of each store."""
    groups: dict[Store, list[int]] = {}
    last = None
    for i, info in enumerate(infos):
        store = info.get_store()
        if store is not last:
            group = groups.setdefault(store, [])
            last = store
        group.append(i)
    return groups


# Reading, here or in jobs --------------------------------------------------------------------


def _read_configs(
    store: Store,
    infos: Sequence[RunInfo],
    config_class: type | None,
    n_jobs: int = 0,
    progress: bool = False,
    n_done: int = 0,
) -> Parsed[PlainConfig]:
    """Return the configurations of a store's runs, None without one, read here or in jobs."""
    records = [info.get_record() for info in infos]
    storages = group_by_storage(record.place for record in records)
    backend = "threading" if any(s.is_process_local for s in storages) else None
    n_sample = min(_SAMPLE, len(records)) if may_stay_here(n_jobs, backend) else 0

    def is_worth_jobs(sample: Parsed[PlainConfig]) -> bool:
        if isinstance(sample.values[-1], UnreachableError):
            return False  # only the loader of this process knows that the storage is down
        cost = _COST_OF_RUN + _count_distinct_values(sample.values) / n_sample
        cost += _COST_OF_REQUEST * any(s.is_remote for s in storages)
        cost += _COST_OF_CONFIG_CLASS * (config_class is not None)
        return (len(records) - n_sample) * cost >= _COST_OF_JOBS

    batches = _make_batches(records, n_sample, n_jobs)
    read = parallel_map(
        _ConfigLoader(store, config_class),
        batches,
        n_jobs=n_jobs,
        backend=backend,
        progress=progress,
        weights=[len(batch) for batch in batches],
        done=n_done,
        is_worth_jobs=is_worth_jobs,
    )
    return Parsed(
        [value for batch in read for value in batch.values],
        [validator for batch in read for validator in batch.validators],
    )


class _ConfigLoader:
    """Reads the configurations of a batch of a store's runs, in this process or in a job."""

    def __init__(self, store: Store, config_class: type | None) -> None:
        self._store = store
        self._config_class = config_class
        self._reader = ConfigReader()
        self._outage: UnreachableError | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._store, self._config_class)

    def __call__(self, records: Sequence[RunRecord]) -> Parsed[PlainConfig]:
        if self._outage is not None:  # to notice it again would take a while for each batch
            return Parsed([self._outage] * len(records), [None] * len(records))
        parsed = self._store.read_configs(records, self._reader)
        last = parsed.values[-1]
        if isinstance(last, UnreachableError):
            self._outage = last
        if self._config_class is None:
            return parsed
        merged = [
            self._merge(record, value) if isinstance(value, dict) else value
            for record, value in zip(records, parsed.values, strict=True)
        ]
        return Parsed(merged, parsed.validators)

    def _merge(self, record: RunRecord, config: PlainConfig) -> PlainConfig | ConfigError:
        try:
            return merge_config(config, self._config_class)
        except ConfigError as exc:
            return prefix_error(self._store.config_url(record), exc)


def _make_batches(
    records: Sequence[RunRecord], n_sample: int, n_jobs: int
) -> list[Sequence[RunRecord]]:
    """Return the sample, if there is one, and fair shares of the rest."""
    n_left = len(records) - n_sample
    size = _batch_size(n_left, n_jobs)
    starts = range(n_sample, len(records), size)
    return [records[:n_sample]] * (n_sample > 0) + [records[i : i + size] for i in starts]


def _batch_size(n_runs: int, n_jobs: int) -> int:
    if n_jobs in (0, 1):
        return _MAX_BATCH
    from joblib import effective_n_jobs

    jobs: int = effective_n_jobs(n_jobs)
    fair = math.ceil(n_runs / (4 * jobs))
    return min(max(fair, _MIN_BATCH), _MAX_BATCH)


def _count_distinct_values(configs: Sequence[object]) -> int:
    """Return how many values configurations hold, those in shared mappings and lists once."""
    seen: set[int] = set()

    def count(node: Any) -> int:
        kind = type(node)
        if kind is not dict and kind is not list:
            return 1
        if id(node) in seen:
            return 0
        seen.add(id(node))
        return sum(map(count, node.values() if kind is dict else node))

    return sum(map(count, configs))


def check_batch_size(batch_size: int) -> None:
    """Refuse anything but a positive integer."""
    if not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size < 1:
        raise OptionError(f"batch_size: expected a positive integer, found {batch_size!r}")


def check_n_jobs(n_jobs: int) -> None:
    """Refuse anything but an integer, as joblib understands it."""
    if not isinstance(n_jobs, int) or isinstance(n_jobs, bool):
        raise OptionError(
            f"n_jobs: expected an integer, found {n_jobs!r}; 0 is in this process, N in N jobs, "
            "-1 in one for each core"
        )
