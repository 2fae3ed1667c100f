"""The runs below a tracking directory, as a Kedro dataset."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kedro_hydraflow.datasets._confirming import SearchDataset
from kedro_hydraflow.datasets._preview import make_collection_table
from kedro_hydraflow.datasets._search import Query, RunSearch, check_min_runs
from kedro_hydraflow.run import Run
from kedro_hydraflow.run_collection import RunCollection

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping

    from kedro_hydraflow.datasets._base import TablePreview
    from kedro_hydraflow.datasets._search import StateFile
    from kedro_hydraflow.errors import OnError
    from kedro_hydraflow.filters import Filters
    from kedro_hydraflow.index import IndexOption
    from kedro_hydraflow.source import Layout
    from kedro_hydraflow.stores import ExperimentFilter


class HydraflowRunCollectionDataset(SearchDataset[RunCollection[Run[Any, Any]]]):
    """The HydraFlow runs below a tracking directory, as a ``RunCollection``.

    Args:
        path: The tracking directory, such as ``mlruns``, or an SQLite database, such as
            ``mlflow.db``: a path, in a catalog relative to the project, or a URL that fsspec
            knows. A directory is an MLflow file store, has an SQLite database in it or beside
            it, holds only artifacts, or has output directories of Hydra, such as ``multirun``.
        tracking_uri: Instead of ``path``, as for ``mlflow.set_tracking_uri``: the URL of a
            tracking server (which needs the extra ``mlflow``), ``sqlite:///`` and the path of
            a database, another database such as ``postgresql://`` (with the extra ``sql``), or a
            directory.
        artifact_root: The current location of the artifacts, if they are neither at the recorded
            location nor beside the tracking data. Artifacts in a run directory of a file store
            take precedence over it.
        experiment_names: Which experiments, by default all: a name or glob, a list of them, or
            a callable that takes a name, in a catalog by its dotted path. A string with dots
            is taken for such a path if its first part can be imported. The strings in a list
            are always names or globs. A name without wildcards has to exist. The "Default"
            experiment ``0`` is only included by its name, never by a glob or a callable.
        filters: Conditions that the runs have to meet, such as ``status == FINISHED and seed > 1``:
            one text, or a list of which all have to hold. See
            https://kedro-hydraflow.github.io/kedro-hydraflow/filters/.
        impl: A class or function that makes ``run.impl``, in a catalog by its dotted path.
        config_class: A dataclass onto which configurations are merged, in a catalog by its
            dotted path.
        n_jobs: 0 or 1 reads in this process, N in N joblib jobs, -1 in one job per core if
            there is enough to read. Within Kedro's ParallelRunner the jobs are threads.
        progress: Whether to show a progress bar, in terminals and notebooks alone.
        on_error: What to do about experiments and runs that cannot be read. ``raise``
            names all of them in one error, ``warn`` logs and skips each. With ``warn``, a
            malformed metric, param, tag, fact, result or file of Hydra that is read after the
            load, as by a filter, is logged and missing. If the storage denies access or cannot
            be reached then, that is always an error.
        include_deleted: Whether to include runs that were deleted in MLflow. False excludes
            them. Null, the default, excludes them unless that needs an extra request per run.
            A file store on remote storage needs one, so deleted runs there are included, unless
            a filter reads their facts.
        index: The cache of what was read, as for ``Run.load``: true, false, a directory, such
            as ``data/index`` or ``./index``, or the URL of one that a team shares.
        min_runs: The number of runs that there have to be after all filters. With fewer, loading
            is an error. By default, an empty collection is logged as a warning.
        layout: What a directory is read as: ``mlflow`` for what MLflow wrote, ``hydra`` for the
            output directories of Hydra. By default, for what is found there; if there is both,
            for what MLflow wrote.
        results: The file with the results that the application itself wrote: a path in each
            run's artifacts directory that ends in ``.json``, ``.yaml`` or ``.yml``. Its values are
            the keys ``results.KEY``, and its content is ``run.results``. Read on first use.
        checkpoint: The file with the runs that were confirmed, which `load` leaves out: a path or
            URL or, so that Kedro takes it relative to the project, ``{filepath: ...}``. A node
            with ``confirms`` adds the runs that `load` gave it and that had ended. Each consumer
            needs its own entry and file. See
            https://kedro-hydraflow.github.io/kedro-hydraflow/incremental/.
        lock: The file that pins the runs, given as ``checkpoint`` is. The first load writes their
            IDs and digests. Later ones give these runs, wherever they are, or an error that names
            what is missing or was changed. To lock what there is now, remove the file.
        engine: The package that reads from S3, Google Cloud Storage and Azure: ``fsspec`` or
            ``obstore``. The default is obstore if it is installed and credentials are found,
            otherwise fsspec.
        credentials: Passed on to the fsspec filesystem of a URL.
        fs_args: Passed on to the fsspec filesystem of a URL.
        metadata: Anything; Kedro and this package ignore it.

    Raises:
        OptionError: If an option is invalid.
        FilterError: If a filter cannot be parsed.

    Examples:
        In a catalog:

            sweep_runs:
              type: kedro_hydraflow.HydraflowRunCollectionDataset
              path: s3://team/mlruns
              experiment_names: ["train_*", "eval_*"]
              filters: status == FINISHED and training.learning_rate < 0.1
              impl: my_project.analysis.ModelLoader
              n_jobs: -1
              credentials: dev_s3

        In Python:

        >>> from kedro_hydraflow import HydraflowRunCollectionDataset
        >>> dataset = HydraflowRunCollectionDataset(
        ...     path="examples/data/mlruns",
        ...     experiment_names="train_*",
        ...     filters="status == FINISHED and training.learning_rate < 0.1",
        ... )
        >>> dataset.load()
        RunCollection(Run, n=20, ...)
    """

    def __init__(
        self,
        *,
        path: str | os.PathLike[str] | None = None,
        tracking_uri: str | None = None,
        artifact_root: str | os.PathLike[str] | None = None,
        experiment_names: ExperimentFilter = None,
        filters: Filters = None,
        impl: str | Callable[..., Any] | None = None,
        config_class: str | type | None = None,
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
        super().__init__(
            impl=impl,
            config_class=config_class,
            engine=engine,
            credentials=credentials,
            fs_args=fs_args,
            metadata=metadata,
        )
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

    def load(self) -> RunCollection[Run[Any, Any]]:
        """Return the runs, sorted by experiment name, then by run directory.

        With ``checkpoint`` only those that are not confirmed yet. Nothing is kept from earlier
        loads, except in the index.

        Raises:
            DatasetError: If the directory or, with ``on_error: raise``, any run in it
                cannot be read.
        """
        impl, config_class = self._load_impl(), self._load_config_class()
        loaded = self._search.load(impl, config_class, min_runs=self._min_runs)
        self._note(loaded, loaded.runs)
        return loaded.runs

    def make_query(self) -> Query:
        """Return which runs `load` gives, whatever ``min_runs`` says; for ``kedro hydraflow``."""
        return self._search.make_query(self._load_impl(), self._load_config_class())

    def preview(self, nrows: int = 5) -> TablePreview:
        """Return the first of the runs that `load` gives as a table.

        After the ID, job name and status come the first five metrics and results, then the keys of
        the configurations, or else the params: those whose values differ, then those that are the
        same in all of the runs. Keys without a value have no column.

        It looks at a thousand runs, and not for longer than five seconds, at the first twenty
        metrics of three runs, and at the first thousand other keys of a run. If there may be other
        runs that meet the filters, or other keys, the last rows of the table say so.

        Args:
            nrows: The maximum number of runs.
        """
        some = self._search.load_some(nrows, self._load_config_class())
        return make_collection_table(some)

    def _exists(self) -> bool:
        return self._search.exists()

    def _describe(self) -> dict[str, Any]:
        described = {**self._search.describe(), **self._describe_common()}
        return {**described, "min_runs": self._min_runs} if self._min_runs else described
