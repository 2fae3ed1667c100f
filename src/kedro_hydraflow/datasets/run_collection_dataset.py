"""The runs below a tracking directory, as a Kedro dataset."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kedro_hydraflow.datasets._base import ReadOnlyDataset, TablePreview, to_table
from kedro_hydraflow.datasets._search import RunSearch
from kedro_hydraflow.run_collection import RunCollection

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence

    from kedro_hydraflow.errors import OnError
    from kedro_hydraflow.index import IndexOption
    from kedro_hydraflow.stores import ExperimentFilter


class HydraflowRunCollectionDataset(ReadOnlyDataset[RunCollection[Any]]):
    """The HydraFlow runs below a tracking directory, as a ``RunCollection``.

    Args:
        path: Where the runs are: a path, in a catalog relative to the project, or a URL that
            fsspec knows. It is a tracking directory (``mlruns``), of MLflow's file store, of
            an SQLite database in it or beside it, or of artifacts alone; or the file of an
            SQLite database (``mlflow.db``).
        tracking_uri: Instead of ``path``, as for ``mlflow.set_tracking_uri``: the URL of a
            tracking server (which needs the extra ``mlflow``), ``sqlite:///`` and the path of
            a database, or a directory.
        artifact_root: Where a database's or server's artifacts are now, if they are neither
            where they were recorded nor beside the database.
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
        path: str | os.PathLike[str] | None = None,
        tracking_uri: str | None = None,
        artifact_root: str | os.PathLike[str] | None = None,
        experiment_names: ExperimentFilter = None,
        filters: Sequence[str] | None = None,
        impl: str | Callable[..., Any] | None = None,
        config_class: str | type | None = None,
        n_jobs: int = 0,
        progress: bool = False,
        on_error: OnError = "raise",
        include_deleted: bool | None = None,
        index: IndexOption = None,
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
            storage_options=self._storage_options,
        )

    def load(self) -> RunCollection[Any]:
        """Return the runs, freshly read, sorted by experiment name and run directory.

        Raises:
            DatasetError: If the directory or, with ``on_error: raise``, any run in it
                cannot be read.
        """
        return self._search.load(self._load_impl(), self._load_config_class())

    def preview(self, nrows: int = 5) -> TablePreview:
        """Return a few runs as a table, without reading the others.

        Args:
            nrows: How many runs at most. Filters are not applied.
        """
        return to_table(self._search.load_some(nrows, self._load_config_class()).to_frame())

    def _exists(self) -> bool:
        return self._search.exists()

    def _describe(self) -> dict[str, Any]:
        return {**self._search.describe(), **self._describe_common()}
