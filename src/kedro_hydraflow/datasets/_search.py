"""Finding and loading the runs below a tracking directory, as catalog entries describe it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from kedro_hydraflow.datasets._base import (
    check_flag,
    check_location,
    import_object,
    is_importable_path,
    show_location,
)
from kedro_hydraflow.errors import NotFoundError, OptionError
from kedro_hydraflow.filters import apply_filters, parse_filter
from kedro_hydraflow.finding import check_on_error, find_runs, find_some_runs, report
from kedro_hydraflow.index import NO_INDEX, Index, check_index, open_index
from kedro_hydraflow.loading import check_n_jobs, load_runs
from kedro_hydraflow.run import Run
from kedro_hydraflow.run_info import is_known_as_deleted
from kedro_hydraflow.storage import locate
from kedro_hydraflow.stores import Store, make_name_filter, open_store

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kedro_hydraflow.finding import Findings
    from kedro_hydraflow.index import IndexOption
    from kedro_hydraflow.run_collection import RunCollection
    from kedro_hydraflow.run_info import RunInfo
    from kedro_hydraflow.storage import Location
    from kedro_hydraflow.stores import ExperimentFilter

logger = logging.getLogger(__name__)


class RunSearch:
    """The runs that the options of a catalog entry describe.

    Each dataset that takes ``path`` or ``tracking_uri`` has one. Making it checks the options
    and does no I/O. `HydraflowRunCollectionDataset` explains them, where users see it.
    """

    def __init__(
        self,
        *,
        path: Any,
        tracking_uri: str | None,
        artifact_root: Any,
        experiment_names: ExperimentFilter,
        filters: Sequence[str] | None,
        n_jobs: int,
        progress: bool,
        on_error: str,
        include_deleted: bool | None,
        index: IndexOption,
        storage_options: Mapping[str, Any],
    ) -> None:
        check_n_jobs(n_jobs)
        check_on_error(on_error)
        check_index(index)
        make_name_filter(experiment_names)  # refuses what is none
        self._tracking_dir, self._tracking_uri = _check_source(path, tracking_uri)
        self._artifact_root = (
            None if artifact_root is None else check_location("artifact_root", artifact_root)
        )
        self._experiment_names = experiment_names
        self._filters = [parse_filter(text) for text in _check_filters(filters)]
        self._n_jobs = n_jobs
        self._progress = check_flag("progress", progress)
        self._on_error = on_error
        self._include_deleted = (
            None if include_deleted is None else check_flag("include_deleted", include_deleted)
        )
        self._index = index
        self._storage_options = storage_options

    def load(
        self,
        impl: Callable[..., Any] | None = None,
        config_class: type | None = None,
        *,
        is_wanted: Callable[[RunInfo], bool] | None = None,
    ) -> RunCollection[Run[Any, Any]]:
        """Return the runs, freshly read, sorted by experiment name and run directory.

        Args:
            impl: Makes ``run.impl``.
            config_class: A dataclass onto which configurations are merged.
            is_wanted: Runs for which this is false are not even read.
        """
        index = open_index(self._index)
        found = self.find(index)
        infos = found.runs if is_wanted is None else list(filter(is_wanted, found.runs))
        loaded = load_runs(
            infos,
            impl,
            run_class=Run,
            n_jobs=self._n_jobs,
            progress=self._progress,
            config_class=config_class,
            discovered=True,
            index=index,
        )
        selected, undecided = apply_filters(loaded.runs, self._filters)
        if self._include_deleted is None:
            selected = selected.filter(lambda run: not is_known_as_deleted(run.info))
        failures = [*found.failures, *loaded.failures, *undecided]
        total = len(found.runs) + len(found.failures)
        report(failures, total, self._on_error, what="runs and experiments")
        if not found.experiments and found.other_experiments:
            self._warn_no_experiment(found.other_experiments)
        logger.info(
            "%s: %d runs of %d experiments, %d after filters",
            self.shown_location,
            len(loaded.runs),
            len(found.experiments),
            len(selected),
        )
        return selected

    def find(self, index: Index = NO_INDEX) -> Findings:
        """Return the runs of the experiments, before any is read or filtered."""
        return find_runs(
            self._open_store(index),
            self._load_experiment_names(),
            include_deleted=self._include_deleted,
        )

    def _open_store(self, index: Index = NO_INDEX) -> Store:
        return open_store(
            self._tracking_dir,
            tracking_uri=self._tracking_uri,
            artifact_root=self._artifact_root,
            storage_options=self._storage_options,
            index=index,
        )

    def load_some(
        self, count: int, config_class: type | None = None
    ) -> RunCollection[Run[Any, Any]]:
        """Return a few runs that can be read, without reading the others; for previews.

        Filters are not applied.
        """
        infos = find_some_runs(
            self._open_store(),
            self._load_experiment_names(),
            count=count,
            include_deleted=self._include_deleted,
        )
        return load_runs(infos, run_class=Run, config_class=config_class).runs

    def exists(self) -> bool:
        """Tell whether there is what tracks runs, with or without any."""
        directory = self._tracking_dir
        if directory is not None and locate(directory, self._storage_options).is_dir():
            return True
        try:
            self._open_store().find_experiments(())
        except NotFoundError:
            return False
        return True

    @property
    def shown_location(self) -> str:
        """The tracking directory or URI for messages, without credentials."""
        return show_location(self._tracking_dir or self._tracking_uri or "")

    def describe(self) -> dict[str, Any]:
        """Return the options as Kedro shows them."""
        names = self._experiment_names
        return {
            "path" if self._tracking_uri is None else "tracking_uri": self.shown_location,
            "artifact_root": None
            if self._artifact_root is None
            else show_location(self._artifact_root),
            "experiment_names": getattr(names, "__qualname__", names),
            "filters": [f.text for f in self._filters] or None,
            "n_jobs": self._n_jobs,
            "on_error": self._on_error,
            "index": None if self._index is None else str(self._index),
        }

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
            self.shown_location,
            wanted,
            ", ".join(map(repr, near or others[:10])),
        )


def _check_source(path: Any, tracking_uri: Any) -> tuple[Location | None, str | None]:
    """Return the tracking directory, or the tracking URI."""
    if tracking_uri is None:
        return check_location("path", path), None
    if path is not None:
        raise OptionError("expected either path or tracking_uri, found both")
    if not isinstance(tracking_uri, str) or not tracking_uri:
        raise OptionError(f"tracking_uri: expected text, found {tracking_uri!r}")
    return None, tracking_uri


def _check_filters(filters: Any) -> list[str]:
    if filters is None:
        return []
    if isinstance(filters, Sequence) and not isinstance(filters, str):
        return list(filters)
    raise OptionError(
        f"filters: expected a list of 'KEY OP VALUE', such as ['status == FINISHED'], "
        f"found {filters!r}"
    )
