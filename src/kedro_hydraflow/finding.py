"""Finding runs: the experiments and runs of a tracking directory or URI."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from kedro_hydraflow.errors import Failure, OnError, OptionError, RunLoadError, check_on_error
from kedro_hydraflow.index import NO_INDEX, Index
from kedro_hydraflow.run_files import make_artifacts_dir
from kedro_hydraflow.run_info import RunInfo, get_artifacts, make_info
from kedro_hydraflow.source import Layout, Source
from kedro_hydraflow.stores import ExperimentFilter, Store, make_name_filter, open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from kedro_hydraflow.storage import AnyPath, Location
    from kedro_hydraflow.stores.record import ExperimentRecord, Experiments, RunNames

T = TypeVar("T")

logger = logging.getLogger(__name__)

_MAX_SHOWN = 100
"""Maximum number of failures shown in an error."""

_MIN_LOOK = 100
"""Minimum number of folders of an experiment to list, to find a few runs."""


@dataclass(frozen=True)
class Search:
    """Which runs to find. The options are checked here, once; nothing is read.

    `iter_run_dirs` explains them.
    """

    source: Source
    experiment_names: ExperimentFilter = None
    include_deleted: bool | None = None
    on_error: OnError = "raise"

    def __post_init__(self) -> None:
        make_name_filter(self.experiment_names)
        names = self.experiment_names
        if isinstance(names, Sequence) and not isinstance(names, str):  # the caller's may change
            object.__setattr__(self, "experiment_names", tuple(names))
        if self.include_deleted is not None:
            check_flag("include_deleted", self.include_deleted)
        check_on_error(self.on_error)


@dataclass(frozen=True)
class Findings:
    """The runs that match a search, and what could not be read."""

    runs: list[RunInfo]
    """Sorted by experiment name, then by run directory."""

    experiments: list[str]
    """The names of the experiments that match."""

    other_experiments: list[str]
    failures: list[Failure]

    @property
    def total(self) -> int:
        """The number of runs and experiments, with those that could not be read."""
        return len(self.runs) + len(self.failures)


def find_runs(search: Search, index: Index = NO_INDEX) -> Findings:
    """Return the runs that match, and the failures: one bad run does not stop the others.

    Raises:
        StorageError: If the experiments cannot be listed.
    """
    store = open_store(search.source, index)
    experiments = store.find_experiments(search.experiment_names)
    listing = store.list_runs(experiments.matching)
    runs, unreadable = read_infos(store, listing.experiments, search)
    return Findings(
        runs,
        experiments=experiments.names,
        other_experiments=sorted(experiments.other_names),
        failures=[*experiments.failures, *listing.failures, *unreadable],
    )


def find_first_runs(search: Search, count: int) -> list[RunInfo]:
    """Return the first runs that can be read, without listing all of them."""
    limit = max(count, _MIN_LOOK)
    store = open_store(search.source)
    runs: list[RunInfo] = []
    for experiment in store.find_experiments(search.experiment_names).matching:
        if len(runs) >= count:
            break
        listing = store.list_runs([experiment], limit)
        some = [part.take(0, limit) for part in listing.experiments]
        found, _ = read_infos(store, some, search)
        runs += found
    return runs[:count]


def read_infos(
    store: Store, listed: Sequence[RunNames], search: Search
) -> tuple[list[RunInfo], list[Failure]]:
    """Return those of the listed runs that match, and the failures."""
    found = store.read_runs(listed, include_deleted=search.include_deleted)
    return [make_info(record, store) for record in found.records], found.failures


def iter_run_dirs(
    tracking_dir: Location | None = None,
    experiment_names: ExperimentFilter = None,
    *,
    include_deleted: bool | None = None,
    on_error: OnError = "raise",
    tracking_uri: str | None = None,
    artifact_root: Location | None = None,
    storage_options: Mapping[str, Any] | None = None,
    layout: Layout | None = None,
) -> RunDirs:
    """Return the run directories below a tracking directory.

    Args:
        tracking_dir: Where the runs are: a path, a URL that fsspec knows, or a ``UPath``, of a
            directory or of an SQLite database. A directory is such as ``mlruns``: MLflow's file
            store, one with an SQLite database in it or beside it, or one of artifacts alone; or
            such as ``multirun``: one with output directories of Hydra, at any depth.
        experiment_names: A name or glob, a list of them, or a predicate on the name. The
            "Default" experiment ``0`` is never included.
        include_deleted: Whether to include runs that were deleted in MLflow. False excludes
            them. None, the default, excludes them where that takes no further request: a file
            store on remote storage may still give deleted runs, because to know takes one
            request a run. Where only artifacts are, nothing says that a run was deleted.
        on_error: ``"raise"`` raises one error that names all experiments and runs that cannot
            be read, before the first directory is yielded; ``"warn"`` logs and skips them.
        tracking_uri: Instead of ``tracking_dir``, as for ``mlflow.set_tracking_uri``:
            ``sqlite:///`` and the path of a database, the URL of a tracking server (which
            needs the extra ``mlflow``), or a directory.
        artifact_root: The current location of the artifacts of a database or server, if they
            are neither at the recorded location nor beside the database.
        storage_options: Options for the fsspec filesystem of a URL, such as credentials, and
            ``engine``, which is ``"fsspec"`` or ``"obstore"``. The default engine for S3, Google
            Cloud Storage and Azure is obstore if it is installed and the other options include
            the credentials, otherwise fsspec.
        layout: What a directory is read as: ``"mlflow"`` for what MLflow wrote, ``"hydra"`` for
            the output directories of Hydra (``multirun`` and ``outputs``). By default, for what
            is found there; if there is both, for what MLflow wrote.

    Returns:
        An iterator of run directories, each a ``pathlib.Path``, or a ``UPath`` on remote
        storage; sorted by the experiment's name, then by the run's directory. For Hydra alone,
        the job name is the experiment's name, and job 2 comes before job 10.

        Give it to `Run.load` as it is. A list of the directories loads the same runs, but says
        nothing of a database that is not beside them, or of an ``artifact_root``.

    Raises:
        NotFoundError: If there is no such directory.
        TrackingDirectoryError: If it is not a tracking directory, or both a file store and a
            database hold runs for it.
        RunLoadError: If ``on_error`` is ``"raise"`` and something cannot be read.

    Examples:
        >>> dirs = list(iter_run_dirs("examples/data/mlruns", ["train_*", "eval_*"]))
        >>> len(dirs)
        31
        >>> for run_dir in iter_run_dirs("examples/data/hydra/multirun/2026-11-25/23-01-54"):
        ...     print(run_dir)
        examples/data/hydra/multirun/2026-11-25/23-01-54/0
        examples/data/hydra/multirun/2026-11-25/23-01-54/1
    """
    source = Source(tracking_dir, tracking_uri, artifact_root, storage_options, layout)
    return RunDirs(Search(source, experiment_names, include_deleted, on_error))


class RunDirs(Iterator["AnyPath"]):
    """An iterator of run directories. `Run.load` uses `iter_infos`, to reuse what was read."""

    def __init__(self, search: Search) -> None:
        self.search = search
        self._infos: Iterator[RunInfo] | None = None

    def iter_infos(self, index: Index = NO_INDEX) -> Iterator[RunInfo]:
        """Return an iterator of the remaining runs. Once it has begun, the index is ignored."""
        if self._infos is None:
            found = find_runs(self.search, index)
            report(
                found.failures,
                found.total,
                self.search.on_error,
                what="runs and experiments",
                caller="iter_run_dirs",
            )
            self._infos = iter(found.runs)
        return self._infos

    def __next__(self) -> AnyPath:
        return next(self.iter_infos()).run_dir


def iter_experiment_dirs(
    tracking_dir: Location | None = None,
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
    source = Source(tracking_dir, tracking_uri, artifact_root, storage_options, layout)
    search = Search(source, experiment_names, on_error=on_error)

    def find_dirs() -> Iterable[AnyPath]:
        # Jobs of Hydra with different names may be in one directory.
        found = find_experiments(open_store(source), search)
        return dict.fromkeys(experiment.to_path() for experiment in found)

    return _iter_lazily(find_dirs)


def iter_artifacts_dirs(
    tracking_dir: Location | None = None,
    experiment_names: ExperimentFilter = None,
    *,
    include_deleted: bool | None = None,
    on_error: OnError = "raise",
    tracking_uri: str | None = None,
    artifact_root: Location | None = None,
    storage_options: Mapping[str, Any] | None = None,
    layout: Layout | None = None,
) -> Iterator[Path]:
    """Return an iterator of the artifacts directories of the runs that `iter_run_dirs` finds.

    They are local paths, whatever the storage: see `Run.path`. The arguments and errors are
    those of `iter_run_dirs`.

    Examples:
        >>> artifacts_dir = next(iter_artifacts_dirs("examples/data/mlruns", "train_*"))
        >>> (artifacts_dir / ".hydra" / "config.yaml").exists()
        True
    """
    source = Source(tracking_dir, tracking_uri, artifact_root, storage_options, layout)
    run_dirs = RunDirs(Search(source, experiment_names, include_deleted, on_error))
    return (make_artifacts_dir(get_artifacts(info)) for info in _iter_lazily(run_dirs.iter_infos))


def iter_artifact_paths(
    tracking_dir: Location | None,
    artifact_path: str,
    experiment_names: ExperimentFilter = None,
    *,
    include_deleted: bool | None = None,
    on_error: OnError = "raise",
    tracking_uri: str | None = None,
    artifact_root: Location | None = None,
    storage_options: Mapping[str, Any] | None = None,
    layout: Layout | None = None,
) -> Iterator[Path]:
    """Return an iterator of the paths of one artifact, one for each run.

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

    Examples:
        >>> paths = iter_artifact_paths("examples/data/mlruns", "confusion_matrix.json")
        >>> sum(path.exists() for path in paths)
        31
    """
    artifacts_dirs = iter_artifacts_dirs(
        tracking_dir,
        experiment_names,
        include_deleted=include_deleted,
        on_error=on_error,
        tracking_uri=tracking_uri,
        artifact_root=artifact_root,
        storage_options=storage_options,
        layout=layout,
    )
    return (artifacts_dir / artifact_path for artifacts_dir in artifacts_dirs)


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
    return _find_experiments(open_store(source), search).names


def _iter_lazily(find: Callable[[], Iterable[T]]) -> Iterator[T]:
    """Yield the items that a function returns. It is called when the first is requested."""
    yield from find()


def find_experiments(store: Store, search: Search) -> list[ExperimentRecord]:
    """Return the experiments that match. Raise or log the failures."""
    return _find_experiments(store, search).matching


def _find_experiments(store: Store, search: Search) -> Experiments:
    found = store.find_experiments(search.experiment_names)
    total = len(found.matching) + len(found.failures)
    report(found.failures, total, search.on_error, what="experiments")
    return found


def check_flag(option: str, value: object) -> bool:
    """Return the value of a flag. Raise OptionError unless it is a boolean."""
    if not isinstance(value, bool):
        raise OptionError(f"{option}: expected true or false, found {value!r}")
    return value


def report(
    failures: Sequence[Failure],
    total: int,
    on_error: OnError,
    *,
    what: str = "runs",
    caller: str | None = None,
) -> None:
    """Raise one error that names all failures, or log each, as ``on_error`` says.

    Args:
        failures: The failures.
        total: The number of all that should have been read.
        on_error: The option.
        what: What was read, for messages.
        caller: The function to which the user gives ``on_error``, if it is not obvious.
    """
    if not failures:
        return
    summary = f"{len(failures)} of {total} {what} could not be read"
    if on_error == "raise":
        lines = "".join(f"\n- {failure}" for failure in failures[:_MAX_SHOWN])
        if len(failures) > _MAX_SHOWN:
            lines += f"\n- and {len(failures) - _MAX_SHOWN} more, in `failures` of this error"
        where = "" if caller is None else f" in {caller}"
        advice = f"set on_error='warn'{where} to skip them"
        raise RunLoadError(f"{summary}; {advice}:{lines}", failures)
    for failure in failures:
        logger.warning("skipped: %s", failure)
    logger.warning("skipped %d of %d %s that could not be read", len(failures), total, what)
