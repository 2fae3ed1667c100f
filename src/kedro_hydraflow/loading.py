"""Loading many runs: their configurations are read at once, here or in jobs."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from kedro_hydraflow.config import SharedLock, merge_config
from kedro_hydraflow.errors import (
    ConfigError,
    Failure,
    NotARunError,
    NotFoundError,
    OptionError,
)
from kedro_hydraflow.finding import (
    RunDirs,
    check_on_error,
    find_experiments,
    read_infos,
    report,
)
from kedro_hydraflow.index import NO_INDEX, Index, check_index, open_index
from kedro_hydraflow.parallel import progress_bar
from kedro_hydraflow.reading import BulkReader
from kedro_hydraflow.run import C, I, Run
from kedro_hydraflow.run_collection import RunCollection
from kedro_hydraflow.run_info import RunInfo, warn_of_absent
from kedro_hydraflow.storage import Place, locate
from kedro_hydraflow.stores import ExperimentFilter, find_layout, open_store
from kedro_hydraflow.stores.record import ExperimentRecord, RunNames, make_run_record

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from kedro_hydraflow.config import PlainConfig
    from kedro_hydraflow.impl import ImplFactory
    from kedro_hydraflow.index import IndexOption
    from kedro_hydraflow.storage import Location, Storage
    from kedro_hydraflow.stores import Store

logger = logging.getLogger(__name__)

R = TypeVar("R", bound=Run[Any, Any])


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
    folders: dict[tuple[int, str], tuple[ExperimentRecord, Store]] = {}
    layouts: dict[Place, Store] = {}
    infos = []
    for run_dir in run_dirs:
        place = locate(run_dir, storage_options)
        storage = storages.setdefault(place.storage.key, place.storage)
        key = id(storage), storage.split(place.path)[0]
        if key not in folders:
            folder = Place(storage, key[1])
            experiment = ExperimentRecord(storage, folder.path, folder.name)
            layout = layouts.setdefault(folder.parent, find_layout(experiment))
            folders[key] = experiment, layout
        experiment, layout = folders[key]
        record = make_run_record(Place(storage, place.path), experiment)
        infos.append(RunInfo.from_record(record, None, layout))
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

        def load(batch: list[RunNames]) -> RunCollection[Run[C, I]]:
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
            advance(n_runs)
            return loaded.runs

        with progress_bar(total, show=progress) as advance:
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
    reader = BulkReader(config_class, n_jobs, progress, index, discovered)
    configs = reader.read(infos)
    runs = []
    failures = []
    absent = []
    empty = _merge_nothing(config_class) if None in configs else {}
    lock = SharedLock()
    for info, read in zip(infos, configs, strict=True):
        config = empty if read is None else read
        if isinstance(config, NotARunError):
            logger.warning("left out: %s", config)
        elif isinstance(config, Exception):
            failures.append(Failure(info.get_config_url(), config))
        else:
            runs.append(run_class.from_info(info, impl_factory, config_class, config, lock))
            if read is None:
                absent.append(info)
    warn_of_absent(absent)
    return LoadedRuns(RunCollection(runs), failures)


def load_run(
    place: Place, impl_factory: ImplFactory | None, config_class: type | None
) -> Run[Any, Any]:
    """Return the run in a directory, with its configuration read.

    Raises:
        NotFoundError: If there is no such directory.
        NotARunError: If it is not a run directory.
        KedroHydraflowError: If it cannot be read.
    """
    info = RunInfo.from_record(make_run_record(place), None)
    (config,) = BulkReader(config_class, discovered=True).read([info])
    if isinstance(config, NotARunError) and not place.is_dir():
        raise NotFoundError(str(config))
    if config is None:
        config = _merge_nothing(config_class)
    if isinstance(config, Exception):
        raise config
    return Run.from_info(info, impl_factory, config_class, config)


def _merge_nothing(config_class: type | None) -> PlainConfig | ConfigError:
    """Return the configuration of a run that stored none, or why there can be none."""
    try:
        return merge_config({}, config_class)
    except ConfigError as exc:
        return exc


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
