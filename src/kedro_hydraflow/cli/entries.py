"""Entries of the catalog of a Kedro project, and the runs that they load."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from kedro.utils import find_kedro_project

from kedro_hydraflow.cli.selection import (
    EVERYTHING,
    Selection,
    Wanted,
    select_among,
    select_runs,
)
from kedro_hydraflow.datasets import (
    HydraflowArtifactDataset,
    HydraflowFrameDataset,
    HydraflowRunCollectionDataset,
    HydraflowRunDataset,
)
from kedro_hydraflow.errors import NotFoundError, OptionError, show_names
from kedro_hydraflow.logs import get_logger
from kedro_hydraflow.nearest import find_nearest
from kedro_hydraflow.run_collection import RunCollection

if TYPE_CHECKING:
    from kedro.io import DataCatalog

    from kedro_hydraflow.checkpoint import Checkpoint
    from kedro_hydraflow.finding import Search
    from kedro_hydraflow.loading import LoadOptions
    from kedro_hydraflow.run import Run

logger = get_logger(__name__)

_OF_ONE_OR_MANY = (HydraflowArtifactDataset, HydraflowFrameDataset)
_DATASETS = (HydraflowRunCollectionDataset, *_OF_ONE_OR_MANY, HydraflowRunDataset)

_MAX_SHOWN = 20
"""The maximum number of entries named in a message."""


def select_entry(
    name: str | None,
    env: str | None = None,
    project: Path | None = None,
    wanted: Wanted = EVERYTHING,
) -> Selection:
    """Return the runs that a catalog entry loads.

    Args:
        name: The name of the entry, also of one that a dataset factory makes.
        env: The environment of the project, by default that of Kedro.
        project: The directory of the project, if Kedro runs in it. By default it is looked for,
            from the working directory on.
        wanted: Which of the runs to return.

    Raises:
        OptionError: If there is no entry with that name, or it does not load runs.
        NotFoundError: If the working directory is not in a Kedro project.
        KedroHydraflowError: If the runs cannot be loaded.
    """
    selection = _select(_load_dataset(name, env, project), wanted)
    return replace(selection, of_copies="experiment_names in the catalog entry")


def _select(dataset: Any, wanted: Wanted) -> Selection:
    if isinstance(dataset, HydraflowRunDataset):
        return _select_one(dataset.load(), wanted)
    if isinstance(dataset, _OF_ONE_OR_MANY) and dataset.has_one_run:
        return _select_one(dataset.find_run(), wanted)
    locked = dataset.load_locked()
    if locked is not None:
        return select_among(locked, wanted)
    search, options = dataset.make_query()
    return select_runs(search, options, wanted)


def make_query(
    name: str | None, env: str | None = None, project: Path | None = None
) -> tuple[Search, LoadOptions]:
    """Return the search of a catalog entry with many runs, without its filters, and its options.

    Args:
        name: As for `select_entry`.
        env: As for `select_entry`.
        project: As for `select_entry`.

    Raises:
        OptionError: As for `select_entry`, or if the entry loads one run.
        NotFoundError: As for `select_entry`.
    """
    dataset = _load_dataset(name, env, project)
    if isinstance(dataset, HydraflowRunDataset) or (
        isinstance(dataset, _OF_ONE_OR_MANY) and dataset.has_one_run
    ):
        raise OptionError(f"the catalog entry {name!r} loads one run; give one with many runs")
    search, options = dataset.make_query()
    return replace(search, filters=None, keeps=None, on_error="warn"), options


def open_checkpoint(
    name: str | None, env: str | None = None, project: Path | None = None
) -> Checkpoint:
    """Return the checkpoint of a catalog entry.

    Args:
        name: As for `select_entry`.
        env: As for `select_entry`.
        project: As for `select_entry`.

    Raises:
        OptionError: As for `select_entry`, or if the entry has no checkpoint.
        NotFoundError: As for `select_entry`.
    """
    dataset = _load_dataset(name, env, project)
    if isinstance(dataset, HydraflowRunDataset):
        raise OptionError(f"the catalog entry {name!r} loads one run, and has no checkpoint")
    return cast("Checkpoint", dataset.open_checkpoint())


def _select_one(run: Run[Any, Any], wanted: Wanted) -> Selection:
    selection = select_among(RunCollection([run]), wanted)
    if not selection.runs:
        logger.warning("the run %s does not meet the filters", run.info.run_id)
    return selection


def _enter_project() -> Path:
    """Return the directory of the project around the working directory, with Kedro set up for it.

    Raises:
        NotFoundError: If there is none.
    """
    project: Path | None = find_kedro_project(Path.cwd())
    if project is None:
        raise NotFoundError(f"there is no Kedro project in {str(Path.cwd())!r} or above it")
    bootstrap_project(project)
    return project


def _load_catalog(project: Path, env: str | None) -> DataCatalog:
    session = KedroSession.create(project_path=project, env=env, save_on_close=False)
    return cast("DataCatalog", session.load_context().catalog)


def _load_dataset(name: str | None, env: str | None, project: Path | None) -> Any:
    """Return a dataset of the catalog that loads runs."""
    catalog = _load_catalog(project or _enter_project(), env)
    if name is None:
        raise OptionError(f"give the name of a catalog entry; {_list_entries(catalog)}")
    return _get_dataset(catalog, name)


def _get_dataset(catalog: DataCatalog, name: str) -> Any:
    dataset = catalog.get(name)
    if dataset is None:
        near = find_nearest(name, catalog.keys(), "._:@")
        nearest = f"the nearest are {', '.join(map(repr, near))}; " if near else ""
        raise OptionError(f"there is no catalog entry {name!r}; {nearest}{_list_entries(catalog)}")
    if not isinstance(dataset, _DATASETS):
        raise OptionError(
            f"the catalog entry {name!r} has the type {type(dataset).__name__}, which loads no "
            f"runs; {_list_entries(catalog)}"
        )
    return dataset


def _list_entries(catalog: DataCatalog) -> str:
    """Return the entries and dataset factories that load runs, for a message."""
    ours = [f"{each.__module__}.{each.__qualname__}" for each in _DATASETS]
    names = []
    for name in (*catalog.keys(), *catalog.config_resolver.list_patterns()):
        with suppress(Exception):  # a dataset whose package is not installed
            if catalog.get_type(name) in ours:
                names.append(name)
    if not names:
        return "no entry of the catalog loads runs"
    return f"the entries with runs are {show_names(names, _MAX_SHOWN)}"
