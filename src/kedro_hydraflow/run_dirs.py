"""Finding run directories, and loading the runs in them: the work of ``Run.load``."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar, cast, overload

from kedro_hydraflow.config import SharedLock
from kedro_hydraflow.errors import Failure, OnError, OptionError
from kedro_hydraflow.filters import NO_CONDITIONS, Conditions, Filters
from kedro_hydraflow.finding import (
    Search,
    find_experiments,
    find_runs,
    is_filter,
    make_names_error,
    make_search,
    open_search,
    report,
    take_as_names,
)
from kedro_hydraflow.index import NO_INDEX, Index
from kedro_hydraflow.loading import LoadOptions, load_runs, load_selected, warn_of_none_left
from kedro_hydraflow.logs import get_logger
from kedro_hydraflow.run import Run
from kedro_hydraflow.run_files import make_artifacts_dir
from kedro_hydraflow.run_info import (
    RunInfo,
    get_artifacts,
    get_place,
    make_info,
    settle_artifacts,
)
from kedro_hydraflow.source import (
    DirectoryOrNames,
    Layout,
    Source,
    check_storage_options,
    locate_option,
)
from kedro_hydraflow.storage import Place
from kedro_hydraflow.stores import ExperimentFilter, find_layouts, naming_variable, open_store
from kedro_hydraflow.stores.record import ExperimentRecord, is_run_id, make_run_record

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence
    from pathlib import Path

    from kedro_hydraflow.run_collection import RunCollection
    from kedro_hydraflow.storage import AnyPath, Location, Storage

R = TypeVar("R", bound=Run[Any, Any])

logger = get_logger(__name__)


def iter_run_dirs(
    tracking_dir: Location | ExperimentFilter = None,
    experiment_names: ExperimentFilter = None,
    *,
    include_deleted: bool | None = None,
    on_error: OnError = "raise",
    tracking_uri: str | None = None,
    artifact_root: Location | None = None,
    storage_options: Mapping[str, Any] | None = None,
    layout: Layout | None = None,
    filters: Filters = None,
) -> RunDirs:
    """Return the run directories below a tracking directory.

    As in HydraFlow 0.21 and later, experiment names may come first: ``iter_run_dirs("train_*")``.
    Then, and without any argument, the runs are those that MLflow reads by default: at
    ``MLFLOW_TRACKING_URI``, in ``./mlruns`` if that is a file store, or in ``./mlflow.db``.

    Args:
        tracking_dir: Where the runs are: a path, a URL that fsspec knows, or a ``UPath``, of a
            directory or of an SQLite database. A directory is such as ``mlruns``: MLflow's file
            store, one with an SQLite database in it or beside it, or one of artifacts alone; or
            such as ``multirun``: one with output directories of Hydra, at any depth. A list or a
            callable is taken as ``experiment_names``, and so is a text that is neither a URL nor
            the path of something that exists.
        experiment_names: A name or glob, a list of them, or a predicate on the name. A name
            without wildcards has to exist. The "Default" experiment ``0`` is only included by
            its name, never by a glob or a predicate.
        include_deleted: Whether to include runs that were deleted in MLflow. False excludes
            them. None, the default, excludes them where that takes no further request: a file
            store on remote storage may still give deleted runs, because to know takes one
            request a run. Where only artifacts are, nothing says that a run was deleted.
        on_error: ``"raise"`` raises one error that names all experiments and runs that cannot
            be read, before the first directory is yielded; ``"warn"`` logs and skips them.
        tracking_uri: Instead of ``tracking_dir``, as for ``mlflow.set_tracking_uri``:
            ``sqlite:///`` and the path of a database, the URL of a tracking server (which
            needs the extra ``mlflow``) or of another database, such as ``postgresql://`` (with
            the extra ``sql``), or a directory.
        artifact_root: The current location of the artifacts, if they are neither at the recorded
            location nor beside the tracking data. Artifacts in a run directory of a file store
            take precedence over it.
        storage_options: Options for the fsspec filesystem of a URL, such as credentials, and
            ``engine``, which is ``"fsspec"`` or ``"obstore"``. The default engine for S3, Google
            Cloud Storage and Azure is obstore if it is installed and credentials are found,
            otherwise fsspec.
        layout: What a directory is read as: ``"mlflow"`` for what MLflow wrote, ``"hydra"`` for
            the output directories of Hydra (``multirun`` and ``outputs``). By default, for what
            is found there; if there is both, for what MLflow wrote.
        filters: Conditions that the runs have to meet, such as ``"status == FINISHED and
            metrics.accuracy > 0.9"``: one text, or a list of which all have to hold. See
            https://kedro-hydraflow.github.io/kedro-hydraflow/filters/. Each is applied as soon as
            what it needs is known. Where it needs configurations, those of the runs that are left
            are read.

    Returns:
        An iterator of run directories, each a ``pathlib.Path``, or a ``UPath`` on remote
        storage; sorted by the experiment's name, then by the run's directory. For Hydra alone,
        the job name is the experiment's name, and job 2 comes before job 10.

        Give it to `Run.load` as it is. A list of the directories loads the same runs, but says
        nothing of a database that is not beside them, or of an ``artifact_root``.

    Raises:
        NotFoundError: If there is no such directory, or no experiment with a given name.
        TrackingDirectoryError: If it is not a tracking directory, or several stores hold runs
            for it.
        FilterError: If a filter cannot be parsed or applied, or no run has a key in it.
        RunLoadError: If ``on_error`` is ``"raise"`` and something cannot be read.

    Examples:
        >>> dirs = list(iter_run_dirs("examples/data/mlruns", ["train_*", "eval_*"]))
        >>> len(dirs)
        31
        >>> filters = "metrics.accuracy > 0.97 and model.hidden_size == 64"
        >>> len(list(iter_run_dirs("examples/data/mlruns", filters=filters)))
        1
        >>> for run_dir in iter_run_dirs("examples/data/hydra/multirun/2026-11-25/23-01-54"):
        ...     print(run_dir)
        examples/data/hydra/multirun/2026-11-25/23-01-54/0
        examples/data/hydra/multirun/2026-11-25/23-01-54/1
    """
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
    return RunDirs(search)


class RunDirs(Iterator["AnyPath"]):
    """An iterator of run directories. `Run.load` uses `take`, to reuse what was read.

    Threads may share it: each run comes once.
    """

    def __init__(self, search: Search) -> None:
        self.search = search
        self._infos: Iterator[RunInfo] | None = None
        self._lock = SharedLock()  # unlike those of threading, it can be copied

    @property
    def has_begun(self) -> bool:
        """Whether the first run has been asked for."""
        return self._infos is not None

    def find(self, index: Index, conditions: Conditions) -> list[RunInfo]:
        """Return the runs, and report what cannot be read. This ends the iteration.

        Args:
            index: The cache of what was read.
            conditions: Those of the search. Only conditions on experiments are applied.
        """
        with self._lock:
            found = find_runs(self.search, index, conditions)
            report(
                found.failures,
                found.total,
                self.search.on_error,
                what="runs and experiments",
                caller="iter_run_dirs",
            )
            if found.emptiness is not None and not found.failures:
                logger.warning(found.emptiness)
            self._infos = iter(())
            return found.runs

    def iter_infos(self) -> Iterator[RunInfo]:
        """Return an iterator of the remaining runs."""
        with self._lock:
            if self._infos is None:
                conditions = self.search.make_conditions()
                infos = self.find(NO_INDEX, conditions)
                if conditions:
                    infos = self._select(infos, conditions)
                self._infos = iter(infos)
            return self._infos

    def _select(self, infos: Sequence[RunInfo], conditions: Conditions) -> list[RunInfo]:
        """Return the runs that meet the conditions. Report those of which that cannot be said."""
        on_error = self.search.on_error
        if conditions.need_configs:
            options = LoadOptions(on_error=on_error)
            loaded = load_selected(infos, Run, options, NO_INDEX, conditions, "iter_run_dirs")
            return [run.info for run in loaded]  # their configurations are read again on use
        selected = conditions.select_infos(infos)
        conditions.check()
        report(selected.failures, len(infos), on_error, caller="iter_run_dirs")
        if infos and not selected.runs and not selected.failures:
            warn_of_none_left(len(infos), conditions)
        return selected.runs

    def __next__(self) -> AnyPath:
        with self._lock:
            return next(self.iter_infos()).run_dir


def iter_experiment_dirs(
    tracking_dir: Location | ExperimentFilter = None,
    experiment_names: ExperimentFilter = None,
    *,
    on_error: OnError = "raise",
    tracking_uri: str | None = None,
    artifact_root: Location | None = None,
    storage_options: Mapping[str, Any] | None = None,
    layout: Layout | None = None,
) -> Iterator[AnyPath]:
    """Return an iterator of the experiment directories below a tracking directory.

    They are sorted by the experiment's name. The arguments and errors are those of
    `iter_run_dirs`.

    Examples:
        >>> for experiment_dir in iter_experiment_dirs("examples/data/mlruns"):
        ...     print(experiment_dir)
        examples/data/mlruns/...
    """
    search = make_search(
        tracking_dir,
        experiment_names,
        None,
        on_error,
        tracking_uri,
        artifact_root,
        storage_options,
        layout,
    )
    return _iter_experiment_dirs(search)


def iter_artifacts_dirs(
    tracking_dir: Location | ExperimentFilter = None,
    experiment_names: ExperimentFilter = None,
    *,
    include_deleted: bool | None = None,
    on_error: OnError = "raise",
    tracking_uri: str | None = None,
    artifact_root: Location | None = None,
    storage_options: Mapping[str, Any] | None = None,
    layout: Layout | None = None,
    filters: Filters = None,
) -> Iterator[Path]:
    """Return an iterator of the artifacts directories of the runs that `iter_run_dirs` finds.

    They are local paths, whatever the storage: see `Run.path`. The arguments and errors are
    those of `iter_run_dirs`.

    Examples:
        >>> artifacts_dir = next(iter_artifacts_dirs("examples/data/mlruns", "train_*"))
        >>> (artifacts_dir / ".hydra" / "config.yaml").exists()
        True
    """
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
    return _iter_artifacts_dirs(search)


@overload
def iter_artifact_paths(
    artifact_path: str | os.PathLike[str],
    experiment_names: ExperimentFilter = None,
    *,
    include_deleted: bool | None = None,
    on_error: OnError = "raise",
    tracking_uri: str | None = None,
    artifact_root: Location | None = None,
    storage_options: Mapping[str, Any] | None = None,
    layout: Layout | None = None,
    filters: Filters = None,
) -> Iterator[Path]: ...


@overload
def iter_artifact_paths(
    tracking_dir: Location | None,
    artifact_path: str | os.PathLike[str],
    experiment_names: ExperimentFilter = None,
    *,
    include_deleted: bool | None = None,
    on_error: OnError = "raise",
    tracking_uri: str | None = None,
    artifact_root: Location | None = None,
    storage_options: Mapping[str, Any] | None = None,
    layout: Layout | None = None,
    filters: Filters = None,
) -> Iterator[Path]: ...


def iter_artifact_paths(  # type: ignore[misc] # the names of positional arguments differ
    tracking_dir: Location | None = None,
    artifact_path: str | os.PathLike[str] | ExperimentFilter = None,
    experiment_names: ExperimentFilter = None,
    *,
    include_deleted: bool | None = None,
    on_error: OnError = "raise",
    tracking_uri: str | None = None,
    artifact_root: Location | None = None,
    storage_options: Mapping[str, Any] | None = None,
    layout: Layout | None = None,
    filters: Filters = None,
) -> Iterator[Path]:
    """Return an iterator of the paths of one artifact, one for each run.

    As in HydraFlow 0.21 and later, the artifact may come first, alone or with experiment names:
    ``iter_artifact_paths("text.txt", ["train_*"])``. The runs are then those of MLflow's default,
    see `iter_run_dirs`. Of two texts, the first is a tracking directory if it exists or is a URL.

    The runs, and the errors, are those of `iter_run_dirs`.

    Args:
        tracking_dir: As for `iter_run_dirs`.
        artifact_path: The artifact, relative to the artifacts directory. Paths are yielded
            whether or not the run has the artifact.
        experiment_names: As for `iter_run_dirs`.
        include_deleted: As for `iter_run_dirs`.
        on_error: As for `iter_run_dirs`.
        tracking_uri: As for `iter_run_dirs`.
        artifact_root: As for `iter_run_dirs`.
        storage_options: As for `iter_run_dirs`.
        layout: As for `iter_run_dirs`.
        filters: As for `iter_run_dirs`.

    Examples:
        >>> paths = iter_artifact_paths("examples/data/mlruns", "confusion_matrix.json")
        >>> sum(path.exists() for path in paths)
        31
    """
    may_be_names = isinstance(artifact_path, str) and experiment_names is None
    artifact: Any = artifact_path
    if artifact_path is None:  # the artifact alone came first
        tracking_dir, artifact = None, tracking_dir
    elif not isinstance(artifact_path, str) and is_filter(artifact_path):
        # The artifact came first, then names.
        if experiment_names is not None:
            raise make_names_error(artifact_path)
        experiment_names = cast("ExperimentFilter", artifact_path)
        tracking_dir, artifact = None, tracking_dir
    if not isinstance(artifact, (str, os.PathLike)):
        raise OptionError(f"artifact_path: expected a relative path, found {artifact!r}")
    options = (tracking_dir, tracking_uri, artifact_root, storage_options, layout)
    is_unclear = may_be_names and isinstance(tracking_dir, str)
    source = DirectoryOrNames(*options, str(artifact)) if is_unclear else Source(*options)
    search = Search(source, experiment_names, include_deleted, on_error, filters)
    return _iter_artifact_paths(search, os.fspath(artifact))


def get_experiment_names(
    tracking_dir: Location | None = None,
    *,
    on_error: OnError = "raise",
    tracking_uri: str | None = None,
    artifact_root: Location | None = None,
    storage_options: Mapping[str, Any] | None = None,
    layout: Layout | None = None,
) -> list[str]:
    """Return the names of the experiments below a tracking directory, sorted.

    The arguments and errors are those of `iter_run_dirs`.

    Examples:
        >>> get_experiment_names("examples/data/mlruns")
        ['eval_digits', 'train_digits_v1', 'train_digits_v2']
    """
    source = Source(tracking_dir, tracking_uri, artifact_root, storage_options, layout)
    search = Search(source, on_error=on_error)
    with naming_variable(source):
        names, failures = open_store(source).find_names()
    report(failures, len(names) + len(failures), search.on_error, what="experiments")
    return names


def _iter_experiment_dirs(search: Search) -> Iterator[AnyPath]:
    store, search = open_search(search)
    # Jobs of Hydra with different names may be in one directory.
    found = find_experiments(store, search).experiments
    yield from dict.fromkeys(experiment.to_path() for experiment in found.matching)


def _iter_artifacts_dirs(search: Search) -> Iterator[Path]:
    infos = list(RunDirs(search).iter_infos())
    errors = settle_artifacts(infos)
    failures = [
        Failure(get_place(info).url, error)
        for info, error in zip(infos, errors, strict=True)
        if error is not None
    ]
    report(failures, len(infos), search.on_error)
    for info, error in zip(infos, errors, strict=True):
        if error is None:
            yield make_artifacts_dir(get_artifacts(info))


def _iter_artifact_paths(search: Search, artifact_path: str) -> Iterator[Path]:
    source = search.source
    if isinstance(source, DirectoryOrNames) and not source.is_directory():
        _, search = take_as_names(search, artifact_path, "an artifact of")
        artifact_path = str(source.tracking_dir)
    for artifacts_dir in _iter_artifacts_dirs(search):
        yield artifacts_dir / artifact_path


def load_run_dirs(
    run_dirs: Iterable[Location],
    run_class: type[R],
    options: LoadOptions,
    storage_options: Mapping[str, Any] | None,
) -> RunCollection[R]:
    """Return the runs in several directories: the work of `Run.load`."""
    check_storage_options(storage_options)
    if not isinstance(run_dirs, Iterable):
        raise OptionError(f"run_dir: expected a path, a URL or several of them, found {run_dirs!r}")
    source = run_dirs.search.source if isinstance(run_dirs, RunDirs) else None
    index = options.open_index(source)
    if not isinstance(run_dirs, RunDirs):
        infos = _make_infos(run_dirs, storage_options)
        loaded = load_runs(infos, run_class, options, index)
        report(loaded.failures, len(infos), options.on_error, caller="Run.load")
        return loaded.runs
    if storage_options and storage_options != run_dirs.search.source.storage_options:
        raise OptionError("storage_options: pass them to iter_run_dirs, not to Run.load")
    if run_dirs.has_begun:
        infos = list(run_dirs.iter_infos())
        conditions = NO_CONDITIONS
        if not infos:
            logger.warning(
                "no runs are loaded: the iterator of run directories has been used before; call "
                "iter_run_dirs again, or pass a list"
            )
    else:
        conditions = run_dirs.search.make_conditions()
        infos = run_dirs.find(index, conditions)
    return load_selected(infos, run_class, options, index, conditions, "Run.load")


def _make_infos(
    run_dirs: Iterable[Location], storage_options: Mapping[str, Any] | None
) -> list[RunInfo]:
    """Return the infos of run directories. Those of one folder share storage and experiment."""
    storages: dict[Hashable, Storage] = {}
    experiments: dict[tuple[int, str, bool], ExperimentRecord] = {}
    records = []
    for run_dir in run_dirs:
        place = locate_option("run_dir", run_dir, storage_options)
        storage = storages.setdefault(place.storage.key, place.storage)
        folder, name = storage.split(place.path)
        key = id(storage), folder, is_run_id(name)
        record = make_run_record(Place(storage, place.path), experiments.get(key))
        experiments.setdefault(key, record.experiment)
        records.append(record)
    layouts = find_layouts(records)
    return [make_info(r, None, lay) for r, lay in zip(records, layouts, strict=True)]
