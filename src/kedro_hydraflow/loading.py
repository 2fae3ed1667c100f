"""Finding runs below a tracking directory, and reading the configurations of many."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from kedro_hydraflow.config import ConfigReader, PlainConfig, merge_config
from kedro_hydraflow.errors import (
    Failure,
    KedroHydraflowError,
    NotFoundError,
    OptionError,
    RunLoadError,
    StorageError,
    UnreachableError,
)
from kedro_hydraflow.index import NO_INDEX, SETTLED, Index, check_index, open_index
from kedro_hydraflow.parallel import may_stay_here, parallel_map, progress_bar
from kedro_hydraflow.run import (
    CONFIG_FILE,
    C,
    I,
    ImplFactory,
    Run,
    make_artifacts_dir,
)
from kedro_hydraflow.run_collection import RunCollection
from kedro_hydraflow.run_info import (
    ExperimentInfo,
    RunInfo,
    is_settled,
    read_facts,
    warn_of_absent,
)
from kedro_hydraflow.storage import Entry, Place, Storage, group_by_storage, locate
from kedro_hydraflow.stores import ExperimentFilter, Store, open_store
from kedro_hydraflow.stores.meta_file import META_FILE

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
    from pathlib import Path

    from kedro_hydraflow.index import IndexOption
    from kedro_hydraflow.storage import AnyPath, Location

logger = logging.getLogger(__name__)

R = TypeVar("R", bound=Run[Any, Any])

ON_ERROR = ("raise", "warn")
"""What to do about experiments and runs that cannot be read."""

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

_MAX_SHOWN = 100
"""How many failures an error shows one by one."""

_MIN_LOOK = 100
"""How many folders of an experiment are looked at to find a few runs."""


@dataclass
class RunScan:
    """The runs below a tracking directory, and what could not be read."""

    runs: list[RunInfo] = field(default_factory=list)
    """Sorted by experiment name, then by run directory."""

    experiments: list[str] = field(default_factory=list)
    """The names of the experiments that match."""

    other_experiments: list[str] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)


def scan_runs(
    store: Store,
    experiment_names: ExperimentFilter = None,
    *,
    include_deleted: bool | None = None,
) -> RunScan:
    """Return the runs of a store; one that is bad does not hide the others.

    Args:
        store: What tracks them.
        experiment_names: A name or glob, a list of them, or a predicate on the name.
        include_deleted: As for `iter_run_dirs`.

    Raises:
        StorageError: If the experiments cannot be listed.
    """
    experiments = store.find_experiments(experiment_names)
    names, failures = store.list_runs(experiments.matching)
    runs, unreadable = store.read_runs(list(_flatten(names)), include_deleted=include_deleted)
    return RunScan(
        runs,
        experiments=[experiment.name for experiment in experiments.matching],
        other_experiments=sorted(experiments.other_names),
        failures=[*experiments.failures, *failures, *unreadable],
    )


def scan_some_runs(
    store: Store,
    experiment_names: ExperimentFilter = None,
    *,
    count: int,
    include_deleted: bool | None = None,
) -> list[RunInfo]:
    """Return a few runs that can be read, without looking at all of them."""
    limit = max(count, _MIN_LOOK)
    runs: list[RunInfo] = []
    for experiment in store.find_experiments(experiment_names).matching:
        if len(runs) >= count:
            break
        names, _ = store.list_runs([experiment], limit)
        found, _ = store.read_runs(
            list(islice(_flatten(names), limit)), include_deleted=include_deleted
        )
        runs += found
    return runs[:count]


def _flatten(
    names: Sequence[tuple[ExperimentInfo, list[str]]],
) -> Iterator[tuple[ExperimentInfo, str]]:
    return ((experiment, name) for experiment, inner in names for name in inner)


def iter_run_dirs(
    tracking_dir: Location | None = None,
    experiment_names: ExperimentFilter = None,
    *,
    include_deleted: bool | None = None,
    on_error: str = "raise",
    tracking_uri: str | None = None,
    artifact_root: Location | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> RunDirs:
    """Return the run directories below a tracking directory.

    Args:
        tracking_dir: Where the runs are: a path, a URL that fsspec knows, or a ``UPath``. It is
            a directory such as ``mlruns``, of MLflow's file store, of an SQLite database in
            it or beside it, or of artifacts alone; or the file of an SQLite database.
        experiment_names: A name or glob, a list of them, or a predicate on the name. The
            "Default" experiment ``0`` is never included.
        include_deleted: Whether to include runs that were deleted in MLflow. By default
            they are left out on the local filesystem, and not looked for on remote
            storage: False leaves them out there too, for one more request a run.
        on_error: ``"raise"`` raises one error that names all experiments and runs that
            cannot be read, before the first directory is yielded; ``"warn"`` logs them.
        tracking_uri: Instead of ``tracking_dir``, as for ``mlflow.set_tracking_uri``:
            ``sqlite:///`` and the path of a database, the URL of a tracking server (which
            needs the extra ``mlflow``), or a directory.
        artifact_root: Where a database's or server's artifacts are now, if they are neither
            where they were recorded nor beside the database.
        storage_options: Passed on to the fsspec filesystem of a URL, such as credentials;
            but for ``engine``, which is ``"fsspec"`` or ``"obstore"``. Without it, obstore
            reads from S3, Google Cloud Storage and Azure where it is installed and the
            other options say all that it has to know.

    Returns:
        An iterator of run directories, each a ``pathlib.Path``, or a ``UPath`` on remote
        storage; sorted by the experiment's name, then by the run's directory.

    Raises:
        NotFoundError: If there is no such directory.
        TrackingDirectoryError: If it is not a tracking directory, or two stores claim it.
        RunLoadError: If ``on_error`` is ``"raise"`` and something cannot be read.

    Examples:
        >>> dirs = list(iter_run_dirs("examples/data/mlruns", ["train_*", "eval_*"]))
        >>> len(dirs)
        31
    """

    def find(index: Index) -> Iterator[RunInfo]:
        check_on_error(on_error)
        store = open_store(
            tracking_dir,
            tracking_uri=tracking_uri,
            artifact_root=artifact_root,
            storage_options=storage_options,
            index=index,
        )
        scan = scan_runs(store, experiment_names, include_deleted=include_deleted)
        total = len(scan.runs) + len(scan.failures)
        report(scan.failures, total, on_error, what="runs and experiments")
        yield from scan.runs

    return RunDirs(find)


class RunDirs(Iterator["AnyPath"]):
    """An iterator of run directories; `Run.load` takes what is known of the runs instead."""

    def __init__(self, find: Callable[[Index], Iterator[RunInfo]]) -> None:
        self._find = find
        self._infos: Iterator[RunInfo] | None = None

    def iter_infos(self, index: Index = NO_INDEX) -> Iterator[RunInfo]:
        """Return what is left. The index is used where nobody has taken a directory yet."""
        if self._infos is None:
            self._infos = self._find(index)
        return self._infos

    def __next__(self) -> AnyPath:
        return next(self.iter_infos()).run_dir


def iter_experiment_dirs(
    tracking_dir: Location | None = None,
    experiment_names: ExperimentFilter = None,
    *,
    on_error: str = "raise",
    tracking_uri: str | None = None,
    artifact_root: Location | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> Iterator[AnyPath]:
    """Yield the experiment directories below a tracking directory, sorted by name.

    The arguments and errors are those of `iter_run_dirs`.
    """
    store = open_store(
        tracking_dir,
        tracking_uri=tracking_uri,
        artifact_root=artifact_root,
        storage_options=storage_options,
    )
    for experiment in _find_experiments(store, experiment_names, on_error):
        yield experiment.directory


def iter_artifacts_dirs(
    tracking_dir: Location | None = None,
    experiment_names: ExperimentFilter = None,
    *,
    include_deleted: bool | None = None,
    on_error: str = "raise",
    tracking_uri: str | None = None,
    artifact_root: Location | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> Iterator[Path]:
    """Yield the artifacts directory of each run that `iter_run_dirs` yields.

    It is a local path, whatever the storage: see `Run.path`.
    """
    run_dirs = iter_run_dirs(
        tracking_dir,
        experiment_names,
        include_deleted=include_deleted,
        on_error=on_error,
        tracking_uri=tracking_uri,
        artifact_root=artifact_root,
        storage_options=storage_options,
    )
    for info in run_dirs.iter_infos():
        yield make_artifacts_dir(info.get_place())


def iter_artifact_paths(
    tracking_dir: Location | None,
    artifact_path: str,
    experiment_names: ExperimentFilter = None,
    *,
    include_deleted: bool | None = None,
    on_error: str = "raise",
    tracking_uri: str | None = None,
    artifact_root: Location | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> Iterator[Path]:
    """Yield the path of one artifact in each run that `iter_run_dirs` yields.

    Args:
        tracking_dir: As for `iter_run_dirs`.
        artifact_path: The artifact, relative to the artifacts directory. Whether a run has
            it is not looked at.
        experiment_names: As for `iter_run_dirs`.
        include_deleted: As for `iter_run_dirs`.
        on_error: As for `iter_run_dirs`.
        tracking_uri: As for `iter_run_dirs`.
        artifact_root: As for `iter_run_dirs`.
        storage_options: As for `iter_run_dirs`.
    """
    for artifacts_dir in iter_artifacts_dirs(
        tracking_dir,
        experiment_names,
        include_deleted=include_deleted,
        on_error=on_error,
        tracking_uri=tracking_uri,
        artifact_root=artifact_root,
        storage_options=storage_options,
    ):
        yield artifacts_dir / artifact_path


def get_experiment_names(
    tracking_dir: Location | None = None,
    *,
    on_error: str = "raise",
    tracking_uri: str | None = None,
    artifact_root: Location | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> list[str]:
    """Return the names of the experiments below a tracking directory, sorted.

    The arguments and errors are those of `iter_run_dirs`.
    """
    store = open_store(
        tracking_dir,
        tracking_uri=tracking_uri,
        artifact_root=artifact_root,
        storage_options=storage_options,
    )
    return [experiment.name for experiment in _find_experiments(store, None, on_error)]


def _find_experiments(
    store: Store, experiment_names: ExperimentFilter, on_error: str
) -> list[ExperimentInfo]:
    check_on_error(on_error)
    found = store.find_experiments(experiment_names)
    report(found.failures, len(found.matching) + len(found.failures), on_error, what="experiments")
    return found.matching


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
    runs, unreadable = load_runs(
        infos,
        impl_factory,
        run_class=run_class,
        n_jobs=n_jobs,
        progress=progress,
        config_class=config_class,
        discovered=discovered,
        index=opened,
    )
    report(unreadable, len(infos), on_error)
    return runs


def _make_infos(
    run_dirs: Iterable[Location], storage_options: Mapping[str, Any] | None
) -> list[RunInfo]:
    """Return what is known of runs by their directories; they share storages and experiments."""
    storages: dict[Hashable, Storage] = {}
    experiments: dict[tuple[Storage, str], ExperimentInfo] = {}
    infos = []
    for run_dir in run_dirs:
        place = locate(run_dir, storage_options)
        storage, path = place.storage, place.path
        storage = storages.setdefault(storage.key, storage)
        parent = storage.split(path)[0]
        experiment = experiments.get((storage, parent))
        if experiment is None:
            experiment = experiments[storage, parent] = ExperimentInfo(storage, parent)
        infos.append(RunInfo.make(storage, path, experiment))
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
        experiments = _find_experiments(store, experiment_names, on_error)
        names, failures = store.list_runs(experiments)
        total = sum(len(inner) for _, inner in names)
        report(failures, total + len(failures), on_error, what="runs and experiments")
        n_done = 0

        def load(batch: list[tuple[ExperimentInfo, str]]) -> RunCollection[Run[C, I]]:
            nonlocal n_done
            infos, failures = store.read_runs(batch, include_deleted=include_deleted)
            runs, unreadable = load_runs(
                infos,
                impl_factory,
                run_class=run_class,
                n_jobs=n_jobs,
                config_class=config_class,
                discovered=True,
                index=opened,
            )
            report([*failures, *unreadable], len(batch), on_error)
            n_done += len(batch)
            move_to(n_done)
            return runs

        with progress_bar(total, show=progress) as move_to:
            # Nothing here holds a batch while the next one is read.
            yield from filter(None, map(load, _cut(names, batch_size)))

    return read()


def _cut(
    names: Sequence[tuple[ExperimentInfo, list[str]]], batch_size: int
) -> Iterator[list[tuple[ExperimentInfo, str]]]:
    """Yield the runs in batches that may reach over several experiments."""
    flat = _flatten(names)
    while batch := list(islice(flat, batch_size)):
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
) -> tuple[RunCollection[R], list[Failure]]:
    """Return runs with their configurations read, and those that could not be read.

    A run without a ``.hydra/config.yaml`` has an empty configuration.

    Args:
        infos: The runs to read.
        impl_factory: As for `Run`.
        run_class: `Run`, or a subclass.
        n_jobs: As for ``Run.load``.
        progress: As for ``Run.load``.
        config_class: As for `Run`.
        discovered: Whether the runs were just found by a store. If it finds folders, one that
            is gone by now was removed in between: it is logged and left out.
        index: What is known of runs.
    """
    check_n_jobs(n_jobs)
    are_folders = discovered and bool(infos) and infos[0]._get_store().finds_folders
    loader = _ConfigLoader(config_class, are_folders)
    if config_class is not None:  # merged with it, which takes longer than to read them
        index = NO_INDEX
    configs = _recall_configs(infos, index, discovered)
    unknown = [i for i, config in enumerate(configs) if config is None]
    read, stamps = _read_configs(
        [infos[i].get_place() for i in unknown], loader, n_jobs, progress, len(infos) - len(unknown)
    )
    for i, config in zip(unknown, read, strict=True):
        configs[i] = config
    _remember_configs([infos[i] for i in unknown], read, stamps, index)
    runs = []
    failures = []
    empty = []
    for info, config in zip(infos, configs, strict=True):
        if isinstance(config, _NoRunError):
            logger.warning("left out: %s", config)
        elif isinstance(config, Exception):
            failures.append(Failure(info.get_place().join(CONFIG_FILE).url, config))
        else:
            if not config and not are_folders:
                empty.append(info)
            runs.append(run_class.from_info(info, impl_factory, config_class, config))
    warn_of_absent(empty)
    return RunCollection(runs), failures


def _recall_configs(infos: Sequence[RunInfo], index: Index, discovered: bool) -> list[Any]:
    """Return what the index knows of the configuration of each run.

    Where it has to trust that nothing changed, the facts of the runs are recalled with it;
    and those of the others are read, since only who has ended can be remembered.
    """
    configs: list[Any] = [None] * len(infos)
    for storage, positions in group_by_storage(info.get_place() for info in infos).items():
        if index.has_to_trust(storage):
            if not discovered:
                continue  # no listing has told that they are still there
            read_facts([infos[i] for i in positions])
        paths = [infos[i]._path for i in positions]
        known = index.get("config", storage, paths, CONFIG_FILE)
        for i, config in zip(positions, known, strict=True):
            configs[i] = config
    return configs


def _remember_configs(
    infos: Sequence[RunInfo],
    configs: Sequence[_Loaded],
    stamps: Sequence[str | None],
    index: Index,
) -> None:
    """Let the index know what was read, with what the storage told about each file before."""
    for storage, positions in group_by_storage(info.get_place() for info in infos).items():
        told = stamps
        if index.has_to_trust(storage):
            told = [SETTLED if is_settled(info._meta) else None for info in infos]
        runs = [(infos[i]._path, told[i], configs[i]) for i in positions]
        index.put("config", storage, runs)


def _read_configs(
    places: Sequence[Place],
    loader: _ConfigLoader,
    n_jobs: int,
    progress: bool,
    done: int,
) -> tuple[list[_Loaded], list[str | None]]:
    """Return the configurations of runs, here or from jobs, and their stamps."""
    storages = {place.storage for place in places}
    backend = "threading" if any(s.is_process_local for s in storages) else None
    n_sample = min(_SAMPLE, len(places)) if may_stay_here(n_jobs, backend) else 0

    def is_worth_jobs(batch: _LoadedBatch) -> bool:
        sample, _ = batch
        if isinstance(sample[-1], UnreachableError):
            return False  # only the loader of this process knows that the storage is down
        cost = _COST_OF_RUN + _count_distinct_values(sample) / n_sample
        cost += _COST_OF_REQUEST * any(s.is_remote for s in storages)
        cost += _COST_OF_CONFIG_CLASS * (loader.config_class is not None)
        return (len(places) - n_sample) * cost >= _COST_OF_JOBS

    batches = _make_batches(places, n_sample, n_jobs)
    read = parallel_map(
        loader,
        batches,
        n_jobs=n_jobs,
        backend=backend,
        progress=progress,
        weights=[len(batch) for batch in batches],
        done=done,
        is_worth_jobs=is_worth_jobs,
    )
    configs = [config for batch, _ in read for config in batch]
    return configs, [stamp for _, batch in read for stamp in batch]


class _NoRunError(NotFoundError):
    """A folder that a scan found is not a run, or not any more."""


class _ConfigLoader:
    """Reads the configurations of a batch of runs, in this process or in a job."""

    def __init__(self, config_class: type | None, are_folders: bool) -> None:
        self.config_class = config_class
        self._are_folders = are_folders
        self._reader = ConfigReader()
        self._outages: dict[Storage, UnreachableError] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return _ConfigLoader, (self.config_class, self._are_folders)

    def __call__(self, places: Sequence[Place]) -> _LoadedBatch:
        configs: list[_Loaded] = [{}] * len(places)
        stamps: list[str | None] = [None] * len(places)
        for storage, indexes in group_by_storage(places).items():
            loaded = self._load(storage, [places[i].path for i in indexes])
            for i, config, stamp in zip(indexes, *loaded, strict=True):
                configs[i] = config
                stamps[i] = stamp
        return configs, stamps

    def _load(self, storage: Storage, paths: Sequence[str]) -> _LoadedBatch:
        """Return the configurations of runs on one storage."""
        outage = self._outages.get(storage)
        if outage is not None:  # to notice it again would take a while for each batch
            return [outage] * len(paths), [None] * len(paths)
        suffix = _suffix(storage)
        parsed = storage.read_parsed([path + suffix for path in paths], self._parse)
        absent = [i for i, config in enumerate(parsed.values) if config is None]
        empty = merge_config({}, self.config_class) if absent else {}
        loaded: list[_Loaded] = [empty if config is None else config for config in parsed.values]
        last = loaded[-1]
        if isinstance(last, UnreachableError):
            self._outages[storage] = last
        if self._are_folders and absent:
            listings = storage.list_many([paths[i] for i in absent])
            for i, listing in zip(absent, listings, strict=True):
                loaded[i] = _check_is_run(storage, paths[i], listing) or loaded[i]
        return loaded, parsed.validators

    def _parse(self, content: bytes) -> PlainConfig:
        return merge_config(self._reader.read(content), self.config_class)


_Loaded = PlainConfig | KedroHydraflowError
"""A configuration, or why there is none."""

_LoadedBatch = tuple[list[_Loaded], list[str | None]]
"""The configurations of some runs, and what `Storage.stat_many` told before they were read."""


def _check_is_run(
    storage: Storage, path: str, listing: list[Entry] | StorageError
) -> StorageError | None:
    """Return why a folder without a configuration is not taken for a run, None if it is one."""
    if isinstance(listing, NotFoundError):
        return _NoRunError(f"{storage.url(path)} was removed since it was found")
    if isinstance(listing, StorageError):
        return listing
    if {"artifacts", META_FILE}.isdisjoint(entry.name for entry in listing):
        return _NoRunError(f"{storage.url(path)} is not a run: no artifacts and no {META_FILE}")
    return None


def _suffix(storage: Storage) -> str:
    """Return what follows a run directory in the path of its configuration."""
    return storage.sep + storage.sep.join(CONFIG_FILE.split("/"))


def _make_batches(places: Sequence[Place], n_sample: int, n_jobs: int) -> list[Sequence[Place]]:
    """Return the sample, if there is one, and fair shares of the rest."""
    n_left = len(places) - n_sample
    size = _batch_size(n_left, n_jobs)
    starts = range(n_sample, len(places), size)
    return [places[:n_sample]] * (n_sample > 0) + [places[i : i + size] for i in starts]


def _batch_size(n_runs: int, n_jobs: int) -> int:
    if n_jobs in (0, 1):
        return _MAX_BATCH
    from joblib import effective_n_jobs

    jobs: int = effective_n_jobs(n_jobs)
    fair = math.ceil(n_runs / (4 * jobs))
    return min(max(fair, _MIN_BATCH), _MAX_BATCH)


def _count_distinct_values(configs: Sequence[_Loaded]) -> int:
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


def check_on_error(on_error: str) -> None:
    """Refuse anything but `ON_ERROR`."""
    if on_error not in ON_ERROR:
        raise OptionError(f"on_error: expected 'raise' or 'warn', found {on_error!r}")


def report(failures: Sequence[Failure], total: int, on_error: str, *, what: str = "runs") -> None:
    """Raise one error that names all failures, or log each, as ``on_error`` says."""
    if not failures:
        return
    summary = f"{len(failures)} of {total} {what} could not be read"
    if on_error == "raise":
        lines = "".join(f"\n- {failure}" for failure in failures[:_MAX_SHOWN])
        if len(failures) > _MAX_SHOWN:
            lines += f"\n- and {len(failures) - _MAX_SHOWN} more, in `failures` of this error"
        raise RunLoadError(f"{summary}; on_error='warn' would leave them out:{lines}", failures)
    for failure in failures:
        logger.warning("left out: %s", failure)
    logger.warning("%s and left out", summary)
