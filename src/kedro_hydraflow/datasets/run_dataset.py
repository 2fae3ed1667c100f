"""One run, as a Kedro dataset."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NewType

from kedro_hydraflow.datasets._base import ReadOnlyDataset, to_json
from kedro_hydraflow.datasets._search import RunSearch
from kedro_hydraflow.errors import (
    Lines,
    NotARunError,
    NotFoundError,
    OptionError,
    TrackingDirectoryError,
)
from kedro_hydraflow.escaping import escape
from kedro_hydraflow.loading import LoadOptions, load_run
from kedro_hydraflow.run import Run
from kedro_hydraflow.run_collection import check_mode
from kedro_hydraflow.source import Layout, check_location, locate_option, show_location

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping

    from kedro_hydraflow.errors import OnError
    from kedro_hydraflow.filters import Filters
    from kedro_hydraflow.index import IndexOption
    from kedro_hydraflow.run_collection import Mode, RunCollection
    from kedro_hydraflow.run_info import RunInfo
    from kedro_hydraflow.storage import Location
    from kedro_hydraflow.stores import ExperimentFilter

JSONPreview = NewType("JSONPreview", str)
"""A JSON document for a preview. kedro-viz recognises the type by its name."""


_MIN_PREFIX = 4
"""The minimum length of a prefix of a run ID."""

_MAX_SHOWN = 5
"""Maximum number of runs, and of values of each, in the error for too many runs."""

_MAX_LENGTH = 100
"""Maximum length of a value in that error."""


class HydraflowRunDataset(ReadOnlyDataset[Run[Any, Any]]):
    """One HydraFlow run, as a ``Run``.

    Give ``filepath`` for a run directory. Otherwise the run is searched for below ``path`` or
    at ``tracking_uri``: the best one by ``best_by``, the one with ``run_id``, or the only one
    that meets ``filters``.

    Args:
        filepath: The run directory (``mlruns/<experiment_id>/<run_id>``): a path, in a
            catalog relative to the project, or a URL that fsspec knows.
        path: The tracking directory, as for `HydraflowRunCollectionDataset`. The options from
            here to ``layout`` go with it or with ``tracking_uri``, not with ``filepath``.
        tracking_uri: Instead of ``path``, as for `HydraflowRunCollectionDataset`.
        artifact_root: As for `HydraflowRunCollectionDataset`.
        experiment_names: As for `HydraflowRunCollectionDataset`.
        filters: As for `HydraflowRunCollectionDataset`.
        run_id: The run ID, or a unique prefix of at least 4 characters.
        best_by: The key of a number or a time, such as ``metrics.accuracy``, by which to choose
            the best run. Of runs with equal values, it is the one whose ID comes first.
        mode: Needed with ``best_by``: ``max`` if the largest value is the best one, ``min`` if
            the smallest.
        n_jobs: As for `HydraflowRunCollectionDataset`.
        progress: Whether to show a progress bar.
        on_error: As for `HydraflowRunCollectionDataset`.
        include_deleted: As for `HydraflowRunCollectionDataset`.
        index: As for `HydraflowRunCollectionDataset`.
        layout: As for `HydraflowRunCollectionDataset`.
        results: As for `HydraflowRunCollectionDataset`.
        impl: A class or function that makes ``run.impl``, in a catalog by its dotted path.
        config_class: A dataclass onto which the configuration is merged, in a catalog by
            its dotted path.
        engine: As for `HydraflowRunCollectionDataset`.
        credentials: Passed on to the fsspec filesystem of a URL.
        fs_args: Passed on to the fsspec filesystem of a URL.
        metadata: Anything; Kedro and this package ignore it.

    Raises:
        OptionError: If an option is invalid.
        FilterError: If a filter cannot be parsed.

    Examples:
        In a catalog::

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
        Run('13f42e9535654d01a4143ddd9be02cb7')
        >>> HydraflowRunDataset(path=root, run_id="5b59290f").load()
        Run('5b59290f35f943c8863522a4cd371131')
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
        n_jobs: int = 0,
        progress: bool = False,
        on_error: OnError = "raise",
        include_deleted: bool | None = None,
        index: IndexOption = None,
        layout: Layout | None = None,
        results: str | None = None,
        impl: str | Callable[..., Any] | None = None,
        config_class: str | type | None = None,
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
        self._run_id = _check_text("run_id", run_id)
        self._best_by = _check_text("best_by", best_by)
        if filepath is not None:
            chosen = {"run_id": run_id, "best_by": best_by, "mode": mode}
            given = [name for name, value in chosen.items() if value is not None]
            _check_unused([*search.list_given(), *given])
        if run_id is not None and best_by is not None:
            raise OptionError("give best_by or run_id, not both")
        self._mode = _check_mode(mode, best_by)
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
            return self._find_run(self._source)
        return self._load_run(self._source, self._load_impl())

    def preview(self) -> JSONPreview:
        """Return the run's facts and configuration as JSON."""
        if isinstance(self._source, RunSearch):
            run = self._find_run(self._source)
        else:
            run = self._load_run(self._source, None)
        facts = {
            name: getattr(run.info, name)
            for name in ("run_id", "job_name", "status", "run_name", "start_time", "end_time")
        }
        shown = {"info": facts, "cfg": run.to_dict(flatten=False)}
        return JSONPreview(json.dumps(to_json(shown), allow_nan=False))

    def _find_run(self, search: RunSearch) -> Run[Any, Any]:
        try:
            runs = search.load(
                self._load_impl(),
                self._load_config_class(),
                is_wanted=None if self._run_id is None else self._matches_run_id,
            )
        except TrackingDirectoryError as exc:
            advice = "for the directory of one run, give filepath instead of path"
            raise type(exc)(f"{exc}; {advice}") from exc
        if self._run_id is not None:  # a whole ID may be the beginning of another
            runs = runs.filter(lambda run: run.info.run_id == self._run_id) or runs
        if not runs:
            raise OptionError(f"there is no run in {self._show_options()}")
        if self._best_by is not None and self._mode is not None:
            return runs.best(by=self._best_by, mode=self._mode)
        if len(runs) > 1:
            advice = "a longer run_id" if self._run_id else "filters, best_by or run_id"
            if len({run.info.run_id for run in runs}) == 1:
                advice = "experiment_names or filters, as the run was copied,"
            raise OptionError(
                Lines(
                    f"expected one run, found {len(runs)} in {escape(self._show_options())}; "
                    f"give {advice} to choose one:{_list_differences(runs)}"
                )
            )
        return runs[0]

    def _matches_run_id(self, info: RunInfo) -> bool:
        wanted = self._run_id or ""
        return info.run_id == wanted or (
            len(wanted) >= _MIN_PREFIX and info.run_id.startswith(wanted)
        )

    def _show_options(self) -> str:
        """Return the location and the options of the search, for messages."""
        described = HydraflowRunDataset._describe(self)
        options = [
            f"{name}: {described[name]!r}"
            for name in ("experiment_names", "filters", "run_id")
            if described.get(name) is not None
        ]
        where = described.get("path") or described["tracking_uri"]
        shown = f"{where}{' with ' if options else ''}{', '.join(options)}"
        if self._run_id is not None and len(self._run_id) < _MIN_PREFIX:
            shown += f" (a prefix needs at least {_MIN_PREFIX} characters)"
        return shown

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
        if self._run_id is None or not self._source.exists():
            return self._source.exists()
        return any(map(self._matches_run_id, self._source.find()))

    def _describe(self) -> dict[str, Any]:
        if not isinstance(self._source, RunSearch):
            described = {"filepath": show_location(self._source), **self._describe_common()}
            return described if self._results is None else {**described, "results": self._results}
        return {
            **self._source.describe(),
            "run_id": self._run_id,
            "best_by": self._best_by,
            "mode": self._mode,
            **self._describe_common(),
        }


def _check_one_given(*sources: object) -> None:
    """Raise OptionError unless one of filepath, path and tracking_uri is given."""
    n_given = sum(source is not None for source in sources)
    if n_given != 1:
        raise OptionError(
            "give exactly one of filepath (a run directory), path (a tracking directory) and "
            f"tracking_uri; found {n_given or 'none'} of them"
        )


def _check_mode(mode: Mode | None, best_by: str | None) -> Mode | None:
    """Return the mode. Raise OptionError unless it is given with ``best_by``, and only then."""
    if mode is not None:
        check_mode(mode)
    if (mode is None) != (best_by is None):
        raise OptionError(
            "give best_by and mode together: mode is 'max' if the largest value is the best one, "
            "'min' if the smallest, as for a loss"
        )
    return mode


def _check_unused(options: list[str]) -> None:
    """Raise OptionError if options of a search are given with ``filepath``."""
    if options:
        raise OptionError(
            f"{', '.join(options)}: cannot be used with filepath, the directory of one run; give "
            "path or tracking_uri to search for the run"
        )


def _check_text(option: str, value: Any) -> str | None:
    if value is None or (isinstance(value, str) and value):
        return value
    raise OptionError(f"{option}: expected text, found {value!r}; quote the value in YAML")


def _list_differences(runs: RunCollection[Run[Any, Any]]) -> str:
    """Return a line for each of the first runs, with values in which they differ."""
    some = runs[:_MAX_SHOWN]
    columns = [(c.name, c.to_list()) for c in some.to_frame().iter_columns()]
    telling = [(k, v) for k, v in columns if k != "run_id" and len(set(map(repr, v))) > 1]
    lines = []
    for i, run in enumerate(some):
        values = ", ".join(f"{k}={repr(v[i])[:_MAX_LENGTH]}" for k, v in telling[:_MAX_SHOWN])
        lines.append(f"\n- {escape(run.info.run_id)}: {escape(values)}")
    if len(runs) > len(some):
        lines.append(f"\n- and {len(runs) - len(some)} more")
    return "".join(lines)
