"""One artifact of many runs, as a Kedro dataset."""

from __future__ import annotations

import copy
import inspect
import logging
import posixpath
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from kedro.io.core import VERSION_KEY, VERSIONED_FLAG_KEY, parse_dataset_definition
from typing_extensions import override

from kedro_hydraflow.datasets._base import TablePreview, to_table
from kedro_hydraflow.datasets._choice import RunChoice
from kedro_hydraflow.datasets._concat import concat_frames, is_frame, preview_frame
from kedro_hydraflow.datasets._confirming import SearchDataset
from kedro_hydraflow.datasets._preview import make_note_table
from kedro_hydraflow.datasets._search import Query, RunSearch, check_min_runs
from kedro_hydraflow.default_columns import MAX_KEYS
from kedro_hydraflow.errors import (
    ArtifactError,
    Failure,
    Lines,
    NotFoundError,
    OptionError,
    UnreachableError,
    check_flag,
    describe,
    show_lines,
)
from kedro_hydraflow.finding import report
from kedro_hydraflow.forks import check_polars, warn_of_polars
from kedro_hydraflow.frames import add_values, make_frame_by_spelling
from kedro_hydraflow.keys import is_pattern, parse_key
from kedro_hydraflow.logs import get_logger
from kedro_hydraflow.lookup import warn_of_other_meaning
from kedro_hydraflow.pandas_frames import to_pandas_frame
from kedro_hydraflow.parallel import parallel_map
from kedro_hydraflow.redaction import Options, SafeRepr, get_safe_cause, redact
from kedro_hydraflow.run_files import describe_others
from kedro_hydraflow.run_html import make_loader_html
from kedro_hydraflow.run_info import get_artifacts, get_place

if TYPE_CHECKING:
    import os

    from kedro.io import AbstractDataset

    from kedro_hydraflow.columns import Mode
    from kedro_hydraflow.datasets._search import StateFile
    from kedro_hydraflow.errors import OnError
    from kedro_hydraflow.filters import Filters
    from kedro_hydraflow.index import IndexOption
    from kedro_hydraflow.run import Run
    from kedro_hydraflow.run_collection import RunCollection
    from kedro_hydraflow.source import Layout
    from kedro_hydraflow.stores import ExperimentFilter

T = TypeVar("T")

logger = get_logger(f"kedro.{__name__}")  # as in _search.py

MISSING_POLICIES = ("raise", "skip")
"""What to do about runs that lack the artifact."""

_THREADS = 64
"""How many runs' artifacts are asked for at once on remote storage."""

_MAX_SHOWN = 20
"""Maximum number of runs named in an error."""


class HydraflowArtifactDataset(SearchDataset[Any]):
    """One artifact of each run below a tracking directory, through any Kedro dataset.

    Loading gives a mapping from run IDs to functions that load the artifact, as a
    ``PartitionedDataset`` does, or with ``concat`` one frame of the runs' frames. With ``best_by``
    or ``run_id``, it gives the artifact of that one run itself. On remote storage, artifacts are
    fetched into the cache, and the dataset gets the local path.

    Args:
        path: Where the runs are, as for `HydraflowRunCollectionDataset`.
        tracking_uri: Instead of ``path``, as for `HydraflowRunCollectionDataset`.
        artifact_root: As for `HydraflowRunCollectionDataset`.
        artifact: The path of the artifact, a file or a folder, in the artifacts directory.
        dataset: The Kedro dataset that loads it: its type, or a mapping with ``type`` and
            further options. It cannot be versioned.
        filepath_arg: The name of that dataset's option for the path.
        concat: Whether to concatenate the artifacts, frames of pandas or Polars, into one
            frame. Its index is new. A column that a run's frame lacks is null in its rows.
        keys: For ``concat``: keys whose values become the first columns, by default ``[run_id]``,
            and patterns such as ``metrics.*``, as for `RunCollection.list_keys`. A key means
            what it does in ``filters``. The values are null for a run that lacks the key.
        missing: ``raise`` names the runs without the artifact in one error, ``skip`` skips
            them.
        experiment_names: As for `HydraflowRunCollectionDataset`.
        filters: As for `HydraflowRunCollectionDataset`.
        run_id: The ID of the one run whose artifact is loaded, as for `HydraflowRunDataset`.
        best_by: The key by which to choose that run, as for `HydraflowRunDataset`. Neither goes
            with ``concat`` or ``missing: skip``.
        mode: As for `HydraflowRunDataset`.
        n_jobs: As for `HydraflowRunCollectionDataset`, to read the configurations.
        progress: Whether to show progress bars, in terminals and notebooks alone.
        on_error: As for `HydraflowRunCollectionDataset`. With ``concat``, also for artifacts
            that cannot be read.
        include_deleted: As for `HydraflowRunCollectionDataset`.
        index: As for `HydraflowRunCollectionDataset`. Artifacts are cached separately.
        min_runs: As for `HydraflowRunCollectionDataset`. Runs without the artifact count.
        layout: As for `HydraflowRunCollectionDataset`.
        results: As for `HydraflowRunCollectionDataset`, for ``filters`` and ``keys``.
        checkpoint: As for `HydraflowRunCollectionDataset`. Not with ``best_by`` or
            ``run_id``. A run whose artifact cannot be read is not confirmed.
        lock: As for `HydraflowRunCollectionDataset`. Not with ``run_id``. Artifacts are not in
            the digests.
        engine: As for `HydraflowRunCollectionDataset`.
        credentials: For the filesystem of the tracking directory, not for ``dataset``.
        fs_args: For the filesystem of the tracking directory, not for ``dataset``.
        metadata: Anything; Kedro and this package ignore it.

    Raises:
        OptionError: If an option is invalid.
        FilterError: If a filter cannot be parsed.

    Examples:
        In a catalog:

            learning_curves:
              type: kedro_hydraflow.HydraflowArtifactDataset
              path: s3://team/mlruns
              filters: status == FINISHED
              artifact: metrics.csv
              dataset:
                type: pandas.CSVDataset
                load_args: {sep: ";"}
              concat: true
              keys: [run_id, model.type, training.learning_rate]
              credentials: dev_s3

            best_predictions:
              type: kedro_hydraflow.HydraflowArtifactDataset
              path: s3://team/mlruns
              best_by: metrics.accuracy
              mode: max
              artifact: predictions.parquet
              dataset: pandas.ParquetDataset
              credentials: dev_s3

        In Python:

        >>> from kedro_hydraflow import HydraflowArtifactDataset
        >>> dataset = HydraflowArtifactDataset(
        ...     path="examples/data/mlruns",
        ...     artifact="confusion_matrix.json",
        ...     dataset="json.JSONDataset",
        ...     filters="status == FINISHED",
        ... )
        >>> load_by_run_id = dataset.load()
        >>> len(load_by_run_id)
        30
        >>> load_by_run_id["13f42e9535654d01a4143ddd9be02cb7"]()[0][:3]
        [52, 0, 0]
    """

    def __init__(
        self,
        *,
        path: str | os.PathLike[str] | None = None,
        tracking_uri: str | None = None,
        artifact_root: str | os.PathLike[str] | None = None,
        artifact: str,
        dataset: str | type[AbstractDataset[Any, Any]] | Mapping[str, Any],
        filepath_arg: str = "filepath",
        concat: bool = False,
        keys: Sequence[str] | None = None,
        missing: str = "raise",
        experiment_names: ExperimentFilter = None,
        filters: Filters = None,
        run_id: str | None = None,
        best_by: str | None = None,
        mode: Mode | None = None,
        n_jobs: int = 0,
        progress: bool = False,
        on_error: OnError = "raise",
        include_deleted: bool | None = None,
        index: IndexOption = None,
        min_runs: int = 0,
        layout: Layout | None = None,
        results: str | None = None,
        checkpoint: StateFile = None,
        lock: StateFile = None,
        engine: str | None = None,
        credentials: Mapping[str, Any] | None = None,
        fs_args: Mapping[str, Any] | None = None,
        metadata: Any = None,
    ) -> None:
        super().__init__(engine=engine, credentials=credentials, fs_args=fs_args, metadata=metadata)
        self._search = RunSearch(
            path=path,
            tracking_uri=tracking_uri,
            artifact_root=artifact_root,
            experiment_names=experiment_names,
            filters=filters,
            n_jobs=n_jobs,
            progress=progress,
            on_error=on_error,
            include_deleted=include_deleted,
            index=index,
            layout=layout,
            results=results,
            checkpoint=checkpoint,
            lock=lock,
            storage_options=self._storage_options,
        )
        self._min_runs = check_min_runs(min_runs)
        self._artifact = _check_artifact(artifact)
        self._dataset = _check_dataset(dataset, filepath_arg)
        self._filepath_arg = filepath_arg
        self._concat = check_flag("concat", concat)
        self._given_keys = _check_keys(keys, concat)
        self._keys = ["run_id"] if concat and keys is None else self._given_keys
        if missing not in MISSING_POLICIES:
            raise OptionError(f"missing: expected 'raise' or 'skip', found {missing!r}")
        self._missing = missing
        self._choice = RunChoice(run_id, best_by, mode)
        if self._choice:
            _check_unused("best_by" if run_id is None else "run_id", concat, missing, min_runs)
        self._choice.check_state(self._search)
        self._progress = progress
        self._on_error = on_error

    def load(self) -> Any:
        """Return functions that load the artifact, by run ID, or one frame with ``concat``.

        With ``best_by`` or ``run_id``, return the artifact of that run.

        The runs are in the order of `HydraflowRunCollectionDataset`. Each call of a function
        loads the artifact anew; the functions can be pickled.

        Raises:
            DatasetError: If runs cannot be read; if runs lack the artifact, unless ``missing``
                is ``skip``; with ``concat``, if an artifact cannot be loaded or is not a frame;
                with ``best_by`` or ``run_id``, if there is no such run or artifact.
        """
        load_artifact = self._load_dataset()  # before anything is read, for it may be wrong
        if self._choice:
            run = self._choose_run(writes_lock=True)
            artifact = load_artifact(run)
            self._record([run])
            return artifact
        loaded = self._search.load(min_runs=self._min_runs, has_artifact=True)
        runs, lacking = self._leave_out_missing(loaded.runs)
        if self._concat:
            runs, frame = self._load_frame(runs, load_artifact)
            self._note(loaded, runs, lacking)
            return frame
        loaders = {run.info.run_id: ArtifactLoader(run, load_artifact) for run in runs}
        if len(loaders) < len(runs):
            raise OptionError(
                f"{len(runs)} runs in {self._search.shown_location} have {len(loaders)} run IDs: "
                "some were copied; choose among them with experiment_names or filters"
            )
        self._note(loaded, runs, lacking)
        return loaders

    def make_query(self) -> Query:
        """Return in which runs `load` looks for the artifact; for ``kedro hydraflow``."""
        return self._search.make_query()

    def preview(self, nrows: int = 5) -> TablePreview:
        """Return a table of the artifact's URLs in a few runs or, with ``concat``, of one frame.

        With ``best_by`` or ``run_id``, it is the URL of the one artifact that `load` gives. It
        looks at as many runs as that of `HydraflowRunCollectionDataset`.

        Args:
            nrows: The maximum number of rows.
        """
        if self._choice:
            note = self._choice.explain_too_many(self._search)
            return self._preview_one(self._choose_run()) if note is None else make_note_table(note)
        some = self._search.load_some(nrows)
        runs = some.runs.filter(self._has_artifact)
        if not self._concat or not runs:
            return some.to_table(runs.to_frame("run_id", artifact=self._get_url))
        run = runs[0]
        keys = [(key, None) for key in self._keys]  # which other runs may have
        values = make_frame_by_spelling([run], keys, max_keys=MAX_KEYS)
        frame = self._check_frame(run, self._load_dataset()(run))
        self._check_columns(run, frame, values.columns)
        return preview_frame(concat_frames(values, [frame]), nrows)

    def _preview_one(self, run: Run[Any, Any]) -> TablePreview:
        keys = ["run_id", *([] if self._choice.best_by is None else [self._choice.best_by])]
        frame = make_frame_by_spelling([run], keys)
        return to_table(add_values(frame, {"artifact": self._get_url(run)}))

    @property
    def has_one_run(self) -> bool:
        """Whether ``best_by`` or ``run_id`` chooses one run."""
        return bool(self._choice)

    def find_run(self, *, writes_lock: bool = False) -> Run[Any, Any]:
        """Return the run of ``best_by`` or ``run_id``, whether or not it has the artifact."""
        return self._choice.load(self._search, min_runs=self._min_runs, writes_lock=writes_lock)

    def _choose_run(self, *, writes_lock: bool = False) -> Run[Any, Any]:
        """Return the run of ``best_by`` or ``run_id``.

        Raises:
            NotFoundError: If it has no such artifact.
        """
        run = self.find_run(writes_lock=writes_lock)
        if not self._has_artifact(run):
            hint = describe_others(run, self._artifact)
            raise NotFoundError(
                f"run {run.info.run_id} has no artifact {self._artifact!r}: there is no "
                f"{self._get_url(run)!r}{f'; {hint}' if hint else ''}"
            )
        return run

    def _load_dataset(self) -> LoadArtifact:
        try:
            dataset_class, options = parse_dataset_definition(self._dataset)
        except TypeError as exc:  # the path is that of a function, for example
            raise OptionError(
                "dataset: expected the class of a Kedro dataset, such as pickle.PickleDataset, "
                f"found {self._dataset['type']!r}: {exc}"
            ) from exc
        name = _get_name(dataset_class)
        if VERSION_KEY in options:
            raise OptionError(f"dataset: {name} is versioned, but the artifacts of runs are not")
        try:
            inspect.signature(dataset_class).bind(**options, **{self._filepath_arg: ""})
        except TypeError as exc:
            raise OptionError(
                f"dataset: {name} does not take these options, with the path as "
                f"filepath_arg={self._filepath_arg!r}: {exc}"
            ) from exc
        return LoadArtifact(self._artifact, dataset_class, Options(options), self._filepath_arg)

    def _leave_out_missing(
        self, runs: RunCollection[Run[Any, Any]]
    ) -> tuple[RunCollection[Any], RunCollection[Any]]:
        """Return the runs that have the artifact, and those that do not."""
        present = self._for_each(self._has_artifact, runs)
        runs, present = self._leave_out_failures(runs, present)
        lacking = runs.filter([not has for has in present])
        if not lacking:
            return runs, lacking
        summary = f"{len(lacking)} of {len(runs)} runs have no artifact {self._artifact!r}"
        if self._missing == "raise":
            shown = map(self._get_url, lacking[:_MAX_SHOWN])
            lines = show_lines(shown, len(lacking) - _MAX_SHOWN)
            hint = describe_others(lacking[0], self._artifact)
            if hint:
                lines += f"\nIn the first run, {hint}"
            advice = "set missing='skip' to skip them"
            raise NotFoundError(Lines(f"{summary}; {advice}:{lines}"))
        level = logging.WARNING if len(lacking) == len(runs) else logging.INFO
        logger.log(level, "%s: %s and are skipped", self._search.shown_location, summary)
        return runs.filter(present), lacking

    def _load_frame(
        self, runs: RunCollection[Any], load_artifact: LoadArtifact
    ) -> tuple[RunCollection[Any], Any]:
        """Return the runs whose artifact can be loaded, and their frame."""
        if any(get_place(run.info).storage.is_remote for run in runs):
            fetched = self._for_each(lambda run: run.fetch(self._artifact), runs)
            runs, _ = self._leave_out_failures(runs, fetched)
        runs, loaded = self._leave_out_failures(
            runs, self._for_each(load_artifact, runs, n_threads=1)
        )
        if not runs and self._search.checkpoint is not None:
            return runs, self._make_empty_frame(load_artifact)
        if not runs:
            raise NotFoundError(
                f"concat: found no artifact {self._artifact!r} to load in the runs of "
                f"{self._search.shown_location}"
            )
        frames = list(map(self._check_frame, runs, loaded))
        for key in self._given_keys:
            if not is_pattern(key):
                warn_of_other_meaning(runs, parse_key(key))
        values = make_frame_by_spelling(runs, self._keys)
        for run, frame in zip(runs, frames, strict=True):
            self._check_columns(run, frame, values.columns)
        return runs, concat_frames(values, frames)

    @override
    def _have_end(self, runs: Sequence[Run[Any, Any]]) -> list[bool]:
        return [True] * len(runs)  # they have the artifact

    def _make_empty_frame(self, load_artifact: LoadArtifact) -> Any:
        """Return a frame of no new runs, which has no columns but the keys."""
        frame = make_frame_by_spelling([], [(k, None) for k in self._keys if not is_pattern(k)])
        return frame if load_artifact.is_of_polars else to_pandas_frame(frame)

    def _check_frame(self, run: Run[Any, Any], value: Any) -> Any:
        """Return what the dataset loaded. Raise OptionError unless it is a frame without keys."""
        if not is_frame(value):
            raise OptionError(
                "concat: expected a dataset that loads frames of pandas or Polars; "
                f"{self._get_dataset_name()} gives a {type(value).__name__} for "
                f"{self._get_url(run)}"
            )
        self._check_columns(run, value, self._keys)
        return value

    def _check_columns(self, run: Run[Any, Any], frame: Any, names: Iterable[str]) -> None:
        """Raise OptionError if a frame has a column of one of these names."""
        for name in names:
            if name in frame.columns:
                is_key = name in self._keys
                advice = "leave the key out" if is_key else "give patterns that do not match it"
                raise OptionError(
                    f"keys: {self._get_url(run)} has a column {name!r} itself; {advice}"
                )

    def _for_each(
        self, function: Callable[[Run[Any, Any]], T], runs: RunCollection[Any], n_threads: int = 0
    ) -> list[T | Failure]:
        """Return the function's result for each run, or the failure."""

        def attempt(run: Run[Any, Any]) -> T | Failure:
            try:
                return function(run)
            except UnreachableError:
                raise  # the others would wait as long
            except (OSError, ArtifactError) as exc:
                return Failure(self._get_url(run), exc)

        is_remote = any(get_place(run.info).storage.is_remote for run in runs)
        return parallel_map(
            attempt,
            runs,
            n_jobs=n_threads or (_THREADS if is_remote else 1),
            backend="threading",
            progress=self._progress,
        )

    def _leave_out_failures(
        self, runs: RunCollection[Any], results: list[T | Failure]
    ) -> tuple[RunCollection[Any], list[T]]:
        """Return the runs that have a result, and their results. Report the failures."""
        failures = [result for result in results if isinstance(result, Failure)]
        report(failures, len(runs), self._on_error, what="artifacts")
        kept = [result for result in results if not isinstance(result, Failure)]
        return runs.filter([not isinstance(result, Failure) for result in results]), kept

    def _has_artifact(self, run: Run[Any, Any]) -> bool:
        return run.path(self._artifact).exists()

    def _get_url(self, run: Run[Any, Any]) -> str:
        return get_artifacts(run.info).join(self._artifact).url

    def _get_dataset_name(self) -> str:
        return _get_name(self._dataset["type"])

    def _exists(self) -> bool:
        """Whether there is the directory and, if ``run_id`` is given, that run below it.

        Filters are not applied, and artifacts are not looked for.
        """
        return self._choice.exists(self._search)

    def _describe(self) -> dict[str, Any]:
        return {
            **self._search.describe(),
            **asdict(self._choice),
            "artifact": self._artifact,
            "dataset": self._get_dataset_name(),  # the options may hold credentials
            "concat": self._concat,
            "keys": self._keys or None,
            "missing": self._missing,
        }


@dataclass(frozen=True, repr=False)
class LoadArtifact(SafeRepr):
    """Loads an artifact of a run through a Kedro dataset."""

    artifact: str
    dataset_class: type[AbstractDataset[Any, Any]]
    options: Mapping[str, Any]
    filepath_arg: str

    @property
    def is_of_polars(self) -> bool:
        """Whether the dataset uses Polars."""
        return "polars" in self.dataset_class.__module__.split(".")

    def __call__(self, run: Run[Any, Any]) -> Any:
        """Return the artifact, loaded anew.

        Raises:
            ForkError: If the dataset is one of Polars, which would never return in this process.
        """
        if self.is_of_polars:
            check_polars(_get_name(self.dataset_class))
        warn_of_polars()
        path = str(run.fetch(self.artifact))
        options = copy.deepcopy(Options(self.options))  # some datasets change theirs
        try:
            return self.dataset_class(**options, **{self.filepath_arg: path}).load()
        except Exception as exc:
            raise ArtifactError(
                f"run {run.info.run_id}: {_get_name(self.dataset_class)} cannot load "
                f"{self.artifact!r}: {redact(describe(exc), self.options)}"
            ) from get_safe_cause(exc, self.options)


@dataclass(frozen=True, repr=False)
class ArtifactLoader:
    """What a node calls to load the artifact of one run."""

    run: Run[Any, Any]
    load_artifact: LoadArtifact

    def __repr__(self) -> str:
        return f"ArtifactLoader({self.load_artifact.artifact!r}, {self.run!r})"

    def _repr_html_(self) -> str:
        """Return the artifact and the facts of its run for a notebook.

        The artifact is not read, nor is anything else on remote storage.
        """
        return make_loader_html(
            self.load_artifact.artifact, _get_name(self.load_artifact.dataset_class), self.run.info
        )

    def __call__(self) -> Any:
        """Return the artifact, freshly loaded.

        Raises:
            ArtifactError: If the dataset cannot load it.
            ForkError: If the dataset is one of Polars, which would never return in this process.
            StorageError: If it cannot be fetched, or is no longer there.
        """
        return self.load_artifact(self.run)


def _check_artifact(artifact: Any) -> str:
    if not isinstance(artifact, str) or not artifact:
        raise OptionError(f"artifact: expected a path such as metrics.csv, found {artifact!r}")
    if set(artifact) & set("*?"):
        raise OptionError(
            f"artifact: expected the path of one artifact, found the pattern {artifact!r}"
        )
    path = posixpath.normpath(artifact)
    if path.startswith("/") or path == "." or ".." in artifact.split("/"):
        raise OptionError(
            f"artifact: expected a path in the artifacts directory, found {artifact!r}"
        )
    return path


def _check_unused(chosen_by: str, concat: bool, missing: str, min_runs: int) -> None:
    """Raise OptionError if options for many runs are given with one that chooses one run."""
    given = {
        "concat": concat,
        "missing: skip": missing == "skip",
        "min_runs": chosen_by == "run_id" and min_runs > 0,
    }
    for option, is_given in given.items():
        if is_given:
            raise OptionError(f"{option}: cannot be used with {chosen_by}, which chooses one run")


def _check_dataset(dataset: Any, filepath_arg: Any) -> dict[str, Any]:
    """Return the definition of a dataset as a mapping, without importing it."""
    if not isinstance(filepath_arg, str):
        raise OptionError(f"filepath_arg: expected the name of an option, found {filepath_arg!r}")
    definition = Options(dataset if isinstance(dataset, Mapping) else {"type": dataset})
    dataset_type = definition.get("type")
    if not (isinstance(dataset_type, str) and dataset_type) and not isinstance(dataset_type, type):
        raise OptionError(  # the options are not shown: they may hold secrets
            "dataset: expected the type of a Kedro dataset, such as pandas.CSVDataset, or a "
            f"mapping with the type and its options, found {type(dataset).__name__} "
            f"with type {dataset_type!r}"
        )
    if definition.get(VERSIONED_FLAG_KEY) or VERSION_KEY in definition:
        raise OptionError(
            "dataset: artifacts of runs have no versions; remove 'versioned', 'version'"
        )
    if filepath_arg in definition:
        raise OptionError(f"dataset: {filepath_arg!r} is the path of the artifact; leave it out")
    return definition


def _check_keys(keys: Any, concat: bool) -> list[str]:
    if keys is None:
        return []
    if not concat:
        raise OptionError("keys: only valid with concat: true; set concat: true, or remove keys")
    is_list = isinstance(keys, Sequence) and not isinstance(keys, str)
    if not is_list or not all(isinstance(k, str) for k in keys) or len(set(keys)) < len(keys):
        raise OptionError(f"keys: expected a list of different keys, found {keys!r}")
    return list(keys)


def _get_name(dataset_type: str | type) -> str:
    if isinstance(dataset_type, str):
        return dataset_type
    return f"{dataset_type.__module__}.{dataset_type.__qualname__}"
