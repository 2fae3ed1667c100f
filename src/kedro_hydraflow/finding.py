"""Finding runs: the experiments and runs of a tracking directory or URI."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast, overload

from kedro_hydraflow.config import SharedLock
from kedro_hydraflow.errors import (
    Failure,
    KedroHydraflowError,
    NotFoundError,
    OnError,
    OptionError,
    RunLoadError,
    TrackingDirectoryError,
    check_flag,
    check_on_error,
    show_names,
)
from kedro_hydraflow.index import NO_INDEX, Index
from kedro_hydraflow.logs import get_logger
from kedro_hydraflow.nearest import find_nearest
from kedro_hydraflow.redaction import SafeRepr
from kedro_hydraflow.run_files import make_artifacts_dir
from kedro_hydraflow.run_info import (
    RunInfo,
    get_artifacts,
    get_place,
    make_info,
    settle_artifacts,
)
from kedro_hydraflow.source import DirectoryOrNames, Layout, Source, is_location
from kedro_hydraflow.stores import (
    ExperimentFilter,
    Store,
    make_name_filter,
    naming_variable,
    open_store,
)
from kedro_hydraflow.stores.base import DEFAULT_EXPERIMENT_NAME, is_glob, list_patterns

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from kedro_hydraflow.storage import AnyPath, Location
    from kedro_hydraflow.stores.record import Experiments, RunNames

T = TypeVar("T")

logger = get_logger(__name__)

_MAX_SHOWN = 100
"""Maximum number of failures shown in an error."""

_MAX_SHOWN_NAMES = 10
"""Maximum number of experiment names shown in a message."""

_MIN_LOOK = 100
"""Minimum number of folders of an experiment to list, to find a few runs."""


@dataclass(frozen=True, repr=False)
class Search(SafeRepr):
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

    failures: list[Failure]

    n_deleted: int
    """The number of runs that were left out because they were deleted."""

    emptiness: str | None
    """Why there are no runs, for a warning; None if there are some, or if that was logged."""

    @property
    def total(self) -> int:
        """The number of runs and experiments, with those that could not be read."""
        return len(self.runs) + len(self.failures)


def make_search(
    tracking_dir: Location | ExperimentFilter = None,
    experiment_names: ExperimentFilter = None,
    include_deleted: bool | None = None,
    on_error: OnError = "raise",
    tracking_uri: str | None = None,
    artifact_root: Location | None = None,
    storage_options: Mapping[str, Any] | None = None,
    layout: Layout | None = None,
) -> Search:
    """Return the search that the arguments of `iter_run_dirs` mean.

    A list or a callable in the first place can only be experiment names. Whether a text there is a
    directory is decided by `open_search`.
    """
    directory: Any = tracking_dir
    make_source = Source
    if isinstance(tracking_dir, str):
        if experiment_names is None and tracking_uri is None:
            make_source = DirectoryOrNames
    elif not is_location(tracking_dir) and _is_filter(tracking_dir):
        if experiment_names is not None:
            raise _make_names_error(tracking_dir)
        directory, experiment_names = None, cast("ExperimentFilter", tracking_dir)
    source = make_source(directory, tracking_uri, artifact_root, storage_options, layout)
    return Search(source, experiment_names, include_deleted, on_error)


def _is_filter(value: object) -> bool:
    """Whether a value that is no text can be experiment names: a list or a predicate."""
    if isinstance(value, Sequence):
        return not isinstance(value, bytes)
    return callable(value) and not isinstance(value, type)


def _make_names_error(names: object) -> OptionError:
    return OptionError(
        f"experiment_names: given twice, as {names!r} and by name; give a path or URL first, then "
        "experiment_names"
    )


def open_search(search: Search, index: Index = NO_INDEX) -> tuple[Store, Search]:
    """Return the store to search, and the search with the meaning of a text in the first place.

    Raises:
        NotFoundError: If there is no such directory, and no experiment with that name.
        KedroHydraflowError: As for `open_store`.
    """
    source = search.source
    if isinstance(source, DirectoryOrNames) and not source.is_directory():
        return _take_as_names(search, str(source.tracking_dir), "the name of", index)
    try:
        return open_store(source, index), search
    except TrackingDirectoryError as exc:
        if not isinstance(source, DirectoryOrNames) or os.sep in str(source.tracking_dir):
            raise
        raise type(exc)(f"{exc}; {source.suggest_names()}") from exc


def _take_as_names(
    search: Search, names: str, role: str, index: Index = NO_INDEX
) -> tuple[Store, Search]:
    """Return the store that MLflow reads by default, and the search for experiment names in it.

    Args:
        search: A search with a `DirectoryOrNames`, whose directory does not exist.
        names: The name or glob.
        role: How the text of the source relates to an experiment, for messages.
        index: As for `open_store`.

    Raises:
        KedroHydraflowError: If there is no such experiment either.
    """
    source = cast("DirectoryOrNames", search.source)
    text = str(source.tracking_dir)
    search = replace(search, source=source.without_directory(), experiment_names=names)
    try:
        store = open_store(search.source, index)
        found = _find_experiments(store, search)
        if not found.matching:
            raise NotFoundError(_describe_missing(names, store, found))
    except KedroHydraflowError as exc:
        problem = f"there is no directory {text!r}; taken as {role} an experiment"
        raise type(exc)(f"{problem}: {exc}{source.suggest()}") from exc
    return store, search


def find_runs(
    search: Search, index: Index = NO_INDEX, *, include_default: bool = False
) -> Findings:
    """Return the runs that match, and the failures: one bad run does not stop the others.

    Args:
        search: Which runs to find.
        index: The cache of what was read.
        include_default: As for `Store.find_experiments`.

    Raises:
        NotFoundError: If there is no experiment with a name that was given.
        StorageError: If the experiments cannot be listed.
    """
    store, search = open_search(search, index)
    experiments, was_explained = _find_matching(store, search, include_default=include_default)
    listing = store.list_runs(experiments.matching)
    read = read_infos(store, listing.experiments, search)
    emptiness = None
    if not read.runs and not was_explained:
        emptiness = explain_emptiness(store, experiments, read.n_deleted)
    return Findings(
        read.runs,
        experiments=experiments.names,
        failures=[*experiments.failures, *listing.failures, *read.failures],
        n_deleted=read.n_deleted,
        emptiness=emptiness,
    )


def find_first_runs(search: Search, count: int) -> list[RunInfo]:
    """Return the first runs that can be read, without listing all of them."""
    limit = max(count, _MIN_LOOK)
    store, search = open_search(search)
    runs: list[RunInfo] = []
    for experiment in _find_matching(store, search).experiments.matching:
        if len(runs) >= count:
            break
        listing = store.list_runs([experiment], limit)
        some = [part.take(0, limit) for part in listing.experiments]
        runs += read_infos(store, some, search).runs
    return runs[:count]


class ReadInfos(NamedTuple):
    """The runs that match, of those that were listed."""

    runs: list[RunInfo]
    failures: list[Failure]
    n_deleted: int


def read_infos(store: Store, listed: Sequence[RunNames], search: Search) -> ReadInfos:
    """Return those of the listed runs that match, and the failures."""
    found = store.read_runs(listed, include_deleted=search.include_deleted)
    infos = [make_info(record, store) for record in found.records]
    return ReadInfos(infos, found.failures, found.n_deleted)


class Matching(NamedTuple):
    """What a search of experiments found."""

    experiments: Experiments

    was_explained: bool
    """Whether it was logged that no experiment matches, or that "Default" is left out."""


def _find_matching(store: Store, search: Search, *, include_default: bool = False) -> Matching:
    """Return the experiments that match. Log which filters match nothing, and what is left out.

    Raises:
        NotFoundError: If there is no experiment with a name that was given.
    """
    names = search.experiment_names
    found = _find_experiments(store, search, include_default=include_default)
    _check_names(names, store, found)
    defaults = [e for e in found.defaults if _may_mean(names, e.experiment_name or "")]
    is_left_out = bool(defaults) and store.has_active_runs(defaults)
    if is_left_out:
        name = defaults[0].experiment_name
        logger.warning(
            "%s: the runs of the experiment %r are left out; to include them, give its name, as in "
            "experiment_names=[%r, '*']",
            store.where,
            name,
            name,
        )
    return Matching(found, is_left_out or (names is not None and not found.matching))


def _find_experiments(
    store: Store, search: Search, *, include_default: bool = False
) -> Experiments:
    with naming_variable(search.source):
        return store.find_experiments(search.experiment_names, include_default=include_default)


def explain_emptiness(store: Store, found: Experiments, n_deleted: int) -> str:
    """Return why a search finds no runs, for a warning, if `Matching.was_explained` is false.

    Args:
        store: What was searched.
        found: The experiments.
        n_deleted: The number of runs that were left out because they were deleted.
    """
    experiments = found.names
    shown = f"{len(experiments)} experiments" if len(experiments) > 1 else "one experiment"
    shown += f" ({show_names(experiments, _MAX_SHOWN_NAMES)})"
    if not experiments:
        defaults = [e.experiment_name or "" for e in found.defaults]
        besides = f" besides {show_names(defaults, _MAX_SHOWN_NAMES)}" if defaults else ""
        reason = f"there are no experiments{besides}"
    elif n_deleted:
        advice = "set include_deleted=True to include them"
        reason = f"{n_deleted} runs of {shown}, all deleted; {advice}"
    else:
        reason = f"{shown}, without runs"
    n_others = len(found.other_names)
    others = f"; {n_others} more that experiment_names leaves out" if n_others else ""
    return f"no runs in {store.where}: {reason}{others}"


def _check_names(names: ExperimentFilter, store: Store, found: Experiments) -> None:
    """Raise NotFoundError for names that do not exist, log globs and callables without a match."""
    patterns = list_patterns(names)
    matching = {experiment.experiment_name or "" for experiment in found.matching}
    matching.update(found.unlocated)
    unmatched = [p for p in patterns if not any(map(make_name_filter(p), matching))]
    missing = [pattern for pattern in unmatched if not is_glob(pattern)]
    if missing:
        described = "; ".join(_describe_missing(name, store, found) for name in missing)
        raise NotFoundError(f"experiment_names: {described}")
    if unmatched or (names is not None and not matching):
        logger.warning(
            "%s: no experiment matches experiment_names=%s; %s",
            store.where,
            ", ".join(map(repr, unmatched)) or getattr(names, "__qualname__", "[]"),
            _list_names(found),
        )


def _may_mean(names: ExperimentFilter, default: str) -> bool:
    """Whether a filter that leaves "Default" out might be meant to include it."""
    if names is None or callable(names):
        return True
    return make_name_filter(names)(default)


def _describe_missing(name: str, store: Store, found: Experiments) -> str:
    names = {e.experiment_name or "" for e in (*found.matching, *found.defaults)}
    near = find_nearest(name, names.union(found.other_names))
    listed = f"the nearest are {', '.join(map(repr, near))}" if near else _list_names(found)
    failed = [f"; {len(found.failures)} could not be read: {f}" for f in found.failures[:1]]
    renamed = [e.experiment_name for e in found.defaults] if name == DEFAULT_EXPERIMENT_NAME else []
    default = f"; the experiment 0 has the name {renamed[0]!r}" if renamed else ""
    return f"there is no experiment {name!r} in {store.where}; {listed}{default}{''.join(failed)}"


def _list_names(found: Experiments) -> str:
    """Return the first names of experiments for a message, without "Default"."""
    names = sorted({*(e.experiment_name or "" for e in found.matching), *found.other_names})
    return f"found {show_names(names, _MAX_SHOWN_NAMES) or 'no experiments'}"


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
            needs the extra ``mlflow``), or a directory.
        artifact_root: The current location of the artifacts, if they are neither at the recorded
            location nor beside the tracking data. Artifacts in a run directory of a file store
            take precedence over it.
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
        NotFoundError: If there is no such directory, or no experiment with a given name.
        TrackingDirectoryError: If it is not a tracking directory, or several stores hold runs
            for it.
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
    search = make_search(
        tracking_dir,
        experiment_names,
        include_deleted,
        on_error,
        tracking_uri,
        artifact_root,
        storage_options,
        layout,
    )
    return RunDirs(search)


class RunDirs(Iterator["AnyPath"]):
    """An iterator of run directories. `Run.load` uses `iter_infos`, to reuse what was read.

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

    def iter_infos(self, index: Index = NO_INDEX) -> Iterator[RunInfo]:
        """Return an iterator of the remaining runs. Once it has begun, the index is ignored."""
        with self._lock:
            if self._infos is None:
                found = find_runs(self.search, index)
                report(
                    found.failures,
                    found.total,
                    self.search.on_error,
                    what="runs and experiments",
                    caller="iter_run_dirs",
                )
                if found.emptiness is not None and not found.failures:
                    logger.warning(found.emptiness)
                self._infos = iter(found.runs)
            return self._infos

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

    Examples:
        >>> paths = iter_artifact_paths("examples/data/mlruns", "confusion_matrix.json")
        >>> sum(path.exists() for path in paths)
        31
    """
    may_be_names = isinstance(artifact_path, str) and experiment_names is None
    artifact: Any = artifact_path
    if artifact_path is None:  # the artifact alone came first
        tracking_dir, artifact = None, tracking_dir
    elif not isinstance(artifact_path, str) and _is_filter(artifact_path):
        # The artifact came first, then names.
        if experiment_names is not None:
            raise _make_names_error(artifact_path)
        experiment_names = cast("ExperimentFilter", artifact_path)
        tracking_dir, artifact = None, tracking_dir
    if not isinstance(artifact, (str, os.PathLike)):
        raise OptionError(f"artifact_path: expected a relative path, found {artifact!r}")
    options = (tracking_dir, tracking_uri, artifact_root, storage_options, layout)
    is_unclear = may_be_names and isinstance(tracking_dir, str)
    source = DirectoryOrNames(*options, str(artifact)) if is_unclear else Source(*options)
    search = Search(source, experiment_names, include_deleted, on_error)
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
        _, search = _take_as_names(search, artifact_path, "an artifact of")
        artifact_path = str(source.tracking_dir)
    for artifacts_dir in _iter_artifacts_dirs(search):
        yield artifacts_dir / artifact_path


def find_experiments(store: Store, search: Search) -> Matching:
    """Return the experiments that match. Raise or log those that cannot be read."""
    matching = _find_matching(store, search)
    found = matching.experiments
    total = len(found.matching) + len(found.failures)
    report(found.failures, total, search.on_error, what="experiments")
    return matching


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
