"""The runs below a tracking directory, as a Kedro dataset."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, NewType

from kedro_hydraflow.datasets._base import (
    ReadOnlyDataset,
    import_object,
    is_importable_path,
    to_json,
)
from kedro_hydraflow.errors import OptionError
from kedro_hydraflow.filters import apply_filters, parse_filter
from kedro_hydraflow.index import check_index, open_index
from kedro_hydraflow.loading import (
    check_n_jobs,
    check_on_error,
    load_runs,
    report,
    scan_runs,
    scan_some_runs,
)
from kedro_hydraflow.run import Run
from kedro_hydraflow.run_collection import RunCollection
from kedro_hydraflow.storage import locate
from kedro_hydraflow.stores import make_name_filter, open_store

if TYPE_CHECKING:
    import os

    from kedro_hydraflow.index import IndexOption
    from kedro_hydraflow.stores import ExperimentFilter

logger = logging.getLogger(__name__)

TablePreview = NewType("TablePreview", dict[str, Any])
"""A table as kedro-viz shows it: ``index``, ``columns`` and ``data``. It goes by the name."""


class HydraflowRunCollectionDataset(ReadOnlyDataset[RunCollection[Any]]):
    """The HydraFlow runs below a tracking directory, as a ``RunCollection``.

    Args:
        path: The tracking directory (``mlruns``): a path, in a catalog relative to the
            project, or a URL that fsspec knows.
        experiment_names: Which experiments, by default all: a name or glob, or a list of
            them; or a callable that takes a name, in a catalog by its dotted path. A text
            is such a path if it has dots and starts with the name of a package that can
            be imported; a list always holds names and globs.
        filters: Conditions ``KEY OP VALUE`` that runs have to meet, all of them. ``KEY``
            is what ``Run.get`` takes, ``OP`` one of ``== != < <= > >= in, not in, ~`` (the
            last one for globs), ``VALUE`` is YAML. A run without the key does not meet it.
        impl: A class or function that makes ``run.impl``, in a catalog by its dotted path.
        config_class: A dataclass onto which configurations are merged, in a catalog by its
            dotted path.
        n_jobs: 0 or 1: read in this process; N: in N joblib jobs; -1: in one for each core
            where that pays. Within Kedro's ParallelRunner the jobs are threads.
        progress: Whether to show a progress bar.
        on_error: What to do about experiments and runs that cannot be read. ``raise``
            names all of them in one error, ``warn`` logs each and leaves it out.
        include_deleted: Whether to include runs that were deleted in MLflow. By default
            they are left out where that is known: on the local filesystem, and on remote
            storage where filters need the run's facts. False leaves them out there too, for
            one more request a run.
        index: Where to remember what is read for the next load, as for ``Run.load``: true,
            false, or a directory.
        engine: What reads from S3, Google Cloud Storage and Azure: ``fsspec`` or
            ``obstore``. By default obstore, where it is installed and the other options
            say all that it has to know.
        credentials: Passed on to the fsspec filesystem of a URL.
        fs_args: Passed on to the fsspec filesystem of a URL.
        metadata: Anything; Kedro and this package ignore it.

    Raises:
        OptionError: If an argument has a value that cannot be used.
        FilterError: If a filter cannot be parsed.

    Examples:
        In a catalog::

            sweep_runs:
              type: kedro_hydraflow.HydraflowRunCollectionDataset
              path: s3://ml-team/mlruns
              experiment_names: ["train_*", "eval_*"]
              filters:
                - "status == FINISHED"
                - "training.learning_rate < 0.1"
              impl: my_project.analysis.ModelLoader
              n_jobs: -1
              credentials: dev_s3

        In Python:

        >>> from kedro_hydraflow import HydraflowRunCollectionDataset
        >>> dataset = HydraflowRunCollectionDataset(
        ...     path="examples/data/mlruns",
        ...     experiment_names="train_*",
        ...     filters=["status == FINISHED", "training.learning_rate < 0.1"],
        ... )
        >>> dataset.load()
        RunCollection(Run, n=20)
    """

    def __init__(
        self,
        *,
        path: str | os.PathLike[str],
        experiment_names: ExperimentFilter = None,
        filters: Sequence[str] | None = None,
        impl: str | Callable[..., Any] | None = None,
        config_class: str | type | None = None,
        n_jobs: int = 0,
        progress: bool = False,
        on_error: str = "raise",
        include_deleted: bool | None = None,
        index: IndexOption = None,
        engine: str | None = None,
        credentials: Mapping[str, Any] | None = None,
        fs_args: Mapping[str, Any] | None = None,
        metadata: Any = None,
    ) -> None:
        super().__init__(
            location_option="path",
            location=path,
            impl=impl,
            config_class=config_class,
            engine=engine,
            credentials=credentials,
            fs_args=fs_args,
            metadata=metadata,
        )
        check_n_jobs(n_jobs)
        check_on_error(on_error)
        check_index(index)
        make_name_filter(experiment_names)  # refuses what is none
        self._experiment_names = experiment_names
        self._filters = [parse_filter(text) for text in _check_filters(filters)]
        self._n_jobs = n_jobs
        self._index = index
        self._progress = _check_flag("progress", progress)
        self._on_error = on_error
        self._include_deleted = (
            None if include_deleted is None else _check_flag("include_deleted", include_deleted)
        )

    def load(self) -> RunCollection[Any]:
        """Return the runs, freshly read, sorted by experiment name and run directory.

        Raises:
            DatasetError: If the directory or, with ``on_error: raise``, any run in it
                cannot be read.
        """
        impl = self._load_impl()
        config_class = self._load_config_class()
        index = open_index(self._index)
        store = open_store(self._location, storage_options=self._storage_options, index=index)
        scan = scan_runs(
            store, self._load_experiment_names(), include_deleted=self._include_deleted
        )
        runs, unreadable = load_runs(
            scan.runs,
            impl,
            run_class=Run,
            n_jobs=self._n_jobs,
            progress=self._progress,
            config_class=config_class,
            discovered=True,
            index=index,
        )
        selected, undecided = apply_filters(runs, self._filters)
        if self._include_deleted is None:
            selected = selected.filter(lambda run: not run.info._is_known_as_deleted)
        failures = [*scan.failures, *unreadable, *undecided]
        total = len(scan.runs) + len(scan.failures)
        report(failures, total, self._on_error, what="runs and experiments")
        if not scan.experiments and scan.other_experiments:
            self._warn_no_experiment(scan.other_experiments)
        logger.info(
            "%s: %d runs of %d experiments, %d after filters",
            self._shown_location,
            len(runs),
            len(scan.experiments),
            len(selected),
        )
        return selected

    def preview(self, nrows: int = 5) -> TablePreview:
        """Return a few runs as a table, without reading the others.

        Args:
            nrows: How many runs at most. Filters are not applied.
        """
        some = scan_some_runs(
            open_store(self._location, storage_options=self._storage_options),
            self._load_experiment_names(),
            count=nrows,
            include_deleted=self._include_deleted,
        )
        runs, _ = load_runs(some, run_class=Run, config_class=self._load_config_class())
        frame = runs.to_frame()
        return TablePreview(
            {
                "index": list(range(frame.height)),
                "columns": frame.columns,
                "data": [[to_json(value) for value in row] for row in frame.rows()],
            }
        )

    def _load_experiment_names(self) -> ExperimentFilter:
        names = self._experiment_names
        if not isinstance(names, str) or not is_importable_path(names):
            return names
        advice = f"write [{names!r}] for an experiment of that name"
        try:
            predicate = import_object("experiment_names", names)
        except OptionError as exc:
            raise OptionError(f"{exc}; {advice}") from exc
        if not callable(predicate):
            raise OptionError(
                f"experiment_names: expected a callable, {names!r} is {predicate!r}; {advice}"
            )
        return predicate  # type: ignore[no-any-return]

    def _warn_no_experiment(self, others: list[str]) -> None:
        wanted = self._experiment_names
        near = get_close_matches(wanted, others) if isinstance(wanted, str) else []
        logger.warning(
            "%s: no experiment matches experiment_names=%r; there are %s",
            self._shown_location,
            wanted,
            ", ".join(map(repr, near or others[:10])),
        )

    def _exists(self) -> bool:
        storage, root = locate(self._location, self._storage_options)
        return storage.is_dir(root)

    def _describe(self) -> dict[str, Any]:
        names = self._experiment_names
        return {
            "path": self._shown_location,
            "experiment_names": getattr(names, "__qualname__", names),
            "filters": [f.text for f in self._filters] or None,
            **self._describe_common(),
            "n_jobs": self._n_jobs,
            "on_error": self._on_error,
            "index": None if self._index is None else str(self._index),
        }


def _check_filters(filters: Any) -> list[str]:
    if filters is None:
        return []
    if isinstance(filters, Sequence) and not isinstance(filters, str):
        return list(filters)
    raise OptionError(
        f"filters: expected a list of 'KEY OP VALUE', such as ['status == FINISHED'], "
        f"found {filters!r}"
    )


def _check_flag(option: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise OptionError(f"{option}: expected true or false, found {value!r}")
    return value
