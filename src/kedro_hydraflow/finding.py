"""Finding runs: from a tracking directory or URI to the runs of its experiments."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from kedro_hydraflow.errors import Failure, OptionError, RunLoadError
from kedro_hydraflow.index import NO_INDEX, Index
from kedro_hydraflow.run_files import make_artifacts_dir
from kedro_hydraflow.run_info import RunInfo
from kedro_hydraflow.stores import ExperimentFilter, Store, open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from kedro_hydraflow.storage import AnyPath, Location
    from kedro_hydraflow.stores.record import ExperimentRecord, RunNames

logger = logging.getLogger(__name__)

OnError = Literal["raise", "warn"]
"""What to do about experiments and runs that cannot be read."""

ON_ERROR: tuple[OnError, ...] = get_args(OnError)

_MAX_SHOWN = 100
"""How many failures an error shows one by one."""

_MIN_LOOK = 100
"""How many folders of an experiment are looked at to find a few runs."""


@dataclass(frozen=True)
class Findings:
    """The runs of a store that match a filter, and what could not be read."""

    runs: list[RunInfo]
    """Sorted by experiment name, then by run directory."""

    experiments: list[str]
    """The names of the experiments that match."""

    other_experiments: list[str]
    failures: list[Failure]


def find_runs(
    store: Store,
    experiment_names: ExperimentFilter = None,
    *,
    include_deleted: bool | None = None,
) -> Findings:
    """Return the runs of a store; one that is bad does not hide the others.

    Args:
        store: What tracks them.
        experiment_names: A name or glob, a list of them, or a predicate on the name.
        include_deleted: As for `iter_run_dirs`.

    Raises:
        StorageError: If the experiments cannot be listed.
    """
    experiments = store.find_experiments(experiment_names)
    listing = store.list_runs(experiments.matching)
    runs, unreadable = read_infos(store, listing.experiments, include_deleted=include_deleted)
    return Findings(
        runs,
        experiments=[experiment.experiment_name or "" for experiment in experiments.matching],
        other_experiments=sorted(experiments.other_names),
        failures=[*experiments.failures, *listing.failures, *unreadable],
    )


def find_some_runs(
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
        listing = store.list_runs([experiment], limit)
        some = [part.take(0, limit) for part in listing.experiments]
        found, _ = read_infos(store, some, include_deleted=include_deleted)
        runs += found
    return runs[:count]


def read_infos(
    store: Store, listed: Sequence[RunNames], *, include_deleted: bool | None
) -> tuple[list[RunInfo], list[Failure]]:
    """Return the runs of a store that were listed, and those that cannot be read."""
    found = store.read_runs(listed, include_deleted=include_deleted)
    return [RunInfo.from_record(record, store) for record in found.records], found.failures


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
        found = find_runs(store, experiment_names, include_deleted=include_deleted)
        total = len(found.runs) + len(found.failures)
        report(found.failures, total, on_error, what="runs and experiments")
        yield from found.runs

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
    for experiment in find_experiments(store, experiment_names, on_error):
        yield experiment.to_path()


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
        yield make_artifacts_dir(info.get_artifacts())


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
    experiments = find_experiments(store, None, on_error)
    return [experiment.experiment_name or "" for experiment in experiments]


def find_experiments(
    store: Store, experiment_names: ExperimentFilter, on_error: str
) -> list[ExperimentRecord]:
    """Return the experiments that match; report those that cannot be read."""
    check_on_error(on_error)
    found = store.find_experiments(experiment_names)
    report(found.failures, len(found.matching) + len(found.failures), on_error, what="experiments")
    return found.matching


def check_on_error(on_error: str) -> None:
    """Raise OptionError unless it is one of `ON_ERROR`."""
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
