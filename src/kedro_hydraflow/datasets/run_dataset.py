"""One run, as a Kedro dataset."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NewType

from kedro_hydraflow.comparing import find_values
from kedro_hydraflow.config import take_leaves
from kedro_hydraflow.datasets._base import ReadOnlyDataset, to_json
from kedro_hydraflow.datasets._choice import RunChoice
from kedro_hydraflow.datasets._search import RunSearch
from kedro_hydraflow.default_columns import MAX_KEYS
from kedro_hydraflow.errors import (
    NotARunError,
    NotFoundError,
    OptionError,
    TrackingDirectoryError,
)
from kedro_hydraflow.loading import LoadOptions, load_run
from kedro_hydraflow.recorded import list_entries
from kedro_hydraflow.run import Run
from kedro_hydraflow.run_base import get_configuration
from kedro_hydraflow.selecting import Selector
from kedro_hydraflow.source import Layout, check_location, locate_option, show_location

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping

    from kedro_hydraflow.columns import Mode
    from kedro_hydraflow.errors import OnError
    from kedro_hydraflow.filters import Filters
    from kedro_hydraflow.index import IndexOption
    from kedro_hydraflow.storage import Location
    from kedro_hydraflow.stores import ExperimentFilter

JSONPreview = NewType("JSONPreview", str)
"""A JSON document for a preview. kedro-viz recognises the type by its name."""


class HydraflowRunDataset(ReadOnlyDataset[Run[Any, Any]]):
    """One HydraFlow run, as a ``Run``.

    Give ``filepath`` for a run directory. Otherwise the run is searched for below ``path`` or
    at ``tracking_uri``: the best one by ``best_by``, the one with ``run_id``, or the only one
    that meets ``filters``.

    Args:
        filepath: The run directory (``mlruns/<experiment_id>/<run_id>``): a path, in a
            catalog relative to the project, or a URL that fsspec knows.
        path: The tracking directory, as for `HydraflowRunCollectionDataset`. The options from
            here to ``layout``, but for ``impl`` and ``config_class``, go with it or with
            ``tracking_uri``, not with ``filepath``.
        tracking_uri: Instead of ``path``, as for `HydraflowRunCollectionDataset`.
        artifact_root: As for `HydraflowRunCollectionDataset`.
        experiment_names: As for `HydraflowRunCollectionDataset`.
        filters: As for `HydraflowRunCollectionDataset`.
        run_id: The run ID, or a unique prefix of at least 4 characters.
        best_by: The key of a number or a time, such as ``metrics.accuracy``, by which to choose
            the best run. Of runs with equal values, it is the one whose ID comes first.
        mode: Needed with ``best_by``: ``max`` if the largest value is the best one, ``min`` if
            the smallest.
        impl: A class or function that makes ``run.impl``, in a catalog by its dotted path.
        config_class: A dataclass onto which the configuration is merged, in a catalog by
            its dotted path.
        n_jobs: As for `HydraflowRunCollectionDataset`.
        progress: Whether to show a progress bar, in terminals and notebooks alone.
        on_error: As for `HydraflowRunCollectionDataset`.
        include_deleted: As for `HydraflowRunCollectionDataset`.
        index: As for `HydraflowRunCollectionDataset`.
        layout: As for `HydraflowRunCollectionDataset`.
        results: As for `HydraflowRunCollectionDataset`.
        engine: As for `HydraflowRunCollectionDataset`.
        credentials: Passed on to the fsspec filesystem of a URL.
        fs_args: Passed on to the fsspec filesystem of a URL.
        metadata: Anything; Kedro and this package ignore it.

    Raises:
        OptionError: If an option is invalid.
        FilterError: If a filter cannot be parsed.

    Examples:
        In a catalog:

            best_run:
              type: kedro_hydraflow.HydraflowRunDataset
              path: mlruns
              experiment_names: train_*
              best_by: metrics.accuracy
              mode: max
              impl: my_project.analysis.ModelLoader

            one_run:
              type: kedro_hydraflow.HydraflowRunDataset
              filepath: mlruns/935292330156410202/27d8a8d315344af5a5f844501f50c18b

        In Python:

        >>> from kedro_hydraflow import HydraflowRunDataset
        >>> root = "examples/data/mlruns"
        >>> HydraflowRunDataset(path=root, best_by="metrics.accuracy", mode="max").load()
        Run('13f42e9535654d01a4143ddd9be02cb7', ...)
        >>> HydraflowRunDataset(path=root, run_id="5b59290f").load()
        Run('5b59290f35f943c8863522a4cd371131', ...)
        >>> run_dir = f"{root}/803221166256626715/5b59290f35f943c8863522a4cd371131"
        >>> HydraflowRunDataset(filepath=run_dir).load()
        Run('5b59290f35f943c8863522a4cd371131')
    """

    def __init__(
        self,
        *,
        filepath: str | os.PathLike[str] | None = None,
        path: str | os.PathLike[str] | None = None,
        tracking_uri: str | None = None,
        artifact_root: str | os.PathLike[str] | None = None,
        experiment_names: ExperimentFilter = None,
        filters: Filters = None,
        run_id: str | None = None,
        best_by: str | None = None,
        mode: Mode | None = None,
        impl: str | Callable[..., Any] | None = None,
        config_class: str | type | None = None,
        n_jobs: int = 0,
        progress: bool = False,
        on_error: OnError = "raise",
        include_deleted: bool | None = None,
        index: IndexOption = None,
        layout: Layout | None = None,
        results: str | None = None,
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
        _check_one_given(filepath, path, tracking_uri)
        search = RunSearch(
            path=path if filepath is None else check_location("filepath", filepath),
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
            storage_options=self._storage_options,
        )
        if filepath is not None:
            chosen = {"run_id": run_id, "best_by": best_by, "mode": mode}
            given = [name for name, value in chosen.items() if value is not None]
            _check_unused([*search.list_given(), *given])
        self._choice = RunChoice(run_id, best_by, mode)
        # Not named 'filepath': kedro-viz opens such an attribute without the credentials.
        self._source = search if filepath is None else filepath
        self._results = results

    def load(self) -> Run[Any, Any]:
        """Return the run, with its configuration read.

        Raises:
            DatasetError: If there is no such run, there are several, or its configuration
                cannot be read.
        """
        if isinstance(self._source, RunSearch):
            run = self._find_run(self._source)
        else:
            run = self._load_run(self._source, self._load_impl())
        self._record([run])
        return run

    def preview(self) -> JSONPreview:
        """Return the run's facts, metrics, results and configuration as JSON.

        The value of ``best_by`` comes after the facts. Without a configuration, it has the params.
        Interpolations are resolved, or stay text if that is impossible.
        It has the first thousand keys of each kind. If there are more, a note says so.
        """
        if isinstance(self._source, RunSearch):
            note = self._choice.explain_too_many(self._source)
            if note is not None:
                return JSONPreview(json.dumps({"note": note}))
            run = self._find_run(self._source)
        else:
            run = self._load_run(self._source, None)
        facts = {
            name: getattr(run.info, name)
            for name in ("run_id", "job_name", "status", "run_name", "start_time", "end_time")
        }
        shown: dict[str, Any] = {"info": facts}
        if self._choice.best_by is not None:
            (value,) = find_values([run], self._choice.best_by)
            shown["best_by"] = {self._choice.best_by: value}
        values, notes = _read_values(run)
        shown |= values
        if notes:
            shown["note"] = "; ".join(notes)
        return JSONPreview(json.dumps(to_json(shown), allow_nan=False))

    def _find_run(self, search: RunSearch) -> Run[Any, Any]:
        try:
            return self._choice.load(search, self._load_impl(), self._load_config_class())
        except TrackingDirectoryError as exc:
            advice = "for the directory of one run, give filepath instead of path"
            raise type(exc)(f"{exc}; {advice}") from exc

    def _load_run(self, run_dir: Location, impl: Callable[..., Any] | None) -> Run[Any, Any]:
        place = locate_option("filepath", run_dir, self._storage_options)
        try:
            options = LoadOptions(impl, self._load_config_class(), results=self._results)
            return load_run(place, options)
        except (NotARunError, NotFoundError) as exc:
            advice = (
                "; expected <tracking directory>/<experiment_id>/<run_id>"
                if isinstance(exc, NotFoundError)
                else "; for a tracking directory of many runs, use HydraflowRunCollectionDataset"
            )
            raise type(exc)(f"{exc}{advice}") from exc

    def _exists(self) -> bool:
        """Whether there is the directory and, if ``run_id`` is given, that run below it.

        Filters are not applied.
        """
        if not isinstance(self._source, RunSearch):
            return locate_option("filepath", self._source, self._storage_options).is_dir()
        return self._choice.exists(self._source)

    def _describe(self) -> dict[str, Any]:
        if not isinstance(self._source, RunSearch):
            described = {"filepath": show_location(self._source), **self._describe_common()}
            return described if self._results is None else {**described, "results": self._results}
        return {
            **self._source.describe(),
            **asdict(self._choice),
            **self._describe_common(),
        }


def _read_values(run: Run[Any, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return what a preview shows of a run beside facts, by kind, and notes on what it lacks."""
    configuration = get_configuration(run)
    config = configuration.to_plain()
    read: dict[str, Any] = {}
    for kind in ("metrics", "results", *([] if config else ["params"])):
        (read[kind],) = list_entries([run.info], kind, MAX_KEYS + 1)
    # An interpolation may stand for many keys, so those that are resolved are cut again.
    looked_at = take_leaves(config, MAX_KEYS + 1)
    read["cfg"] = Selector().resolve_all(configuration, looked_at)
    notes = [
        f"{kind} could not be read: {values}"
        for kind, values in read.items()
        if isinstance(values, Exception)
    ]
    known = {k: v for k, v in read.items() if k == "cfg" or (isinstance(v, dict) and v)}
    shown = {kind: take_leaves(values, MAX_KEYS) for kind, values in known.items()}
    if any(shown[kind] is not values for kind, values in known.items()):
        notes.append(f"… of the first {MAX_KEYS:,} keys alone: a preview looks at no more")
    return shown, notes


def _check_one_given(*sources: object) -> None:
    """Raise OptionError unless one of filepath, path and tracking_uri is given."""
    n_given = sum(source is not None for source in sources)
    if n_given != 1:
        raise OptionError(
            "give exactly one of filepath (a run directory), path (a tracking directory) and "
            f"tracking_uri; found {n_given or 'none'} of them"
        )


def _check_unused(options: list[str]) -> None:
    """Raise OptionError if options of a search are given with ``filepath``."""
    if options:
        raise OptionError(
            f"{', '.join(options)}: cannot be used with filepath, the directory of one run; give "
            "path or tracking_uri to search for the run"
        )
