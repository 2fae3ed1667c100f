"""The runs of a directory, a database or a tracking URI."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kedro_hydraflow.cli.selection import EVERYTHING, Selection, Wanted, select_runs
from kedro_hydraflow.errors import (
    MissingPackageError,
    NotFoundError,
    StorageError,
    TrackingDirectoryError,
)
from kedro_hydraflow.finding import Search
from kedro_hydraflow.loading import LoadOptions
from kedro_hydraflow.source import Source, get_uri_scheme
from kedro_hydraflow.stores import ADVICE_WITHOUT_DEFAULT, open_store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kedro_hydraflow.source import Layout

_DATABRICKS = ("databricks", "databricks-uc")
_URI_SCHEMES = ("postgresql", "postgres", "mysql", "mariadb", "mssql", "oracle", *_DATABRICKS)
"""The schemes of tracking URIs, which no filesystem has. Those of Databricks may stand alone."""


def select_path(
    path: str | None,
    experiments: Sequence[str] = (),
    layout: Layout | None = None,
    results: str | None = None,
    wanted: Wanted = EVERYTHING,
) -> Selection:
    """Return the runs at a path or URL.

    Args:
        path: A directory, the file of a database, or a URL. Without it, MLflow's default.
        experiments: Names or globs of experiments, by default all.
        layout: As for `iter_run_dirs`.
        results: As for ``Run.load``.
        wanted: Which of the runs to return.

    Raises:
        KedroHydraflowError: As for `make_source` and `select_runs`.
    """
    options = LoadOptions(results=results)
    names = tuple(experiments) or None
    missing = None
    try:
        source = make_source(path, layout)
    except MissingPackageError as exc:  # to ask whether it is a server
        missing, source = exc, Source(path, layout=layout)
    try:
        return select_runs(Search(source, names), options, wanted)
    except (TrackingDirectoryError, StorageError) as exc:
        text = str(exc)
        if missing is not None:
            raise type(exc)(f"{text}; if it is a tracking server: {missing}") from exc
        if path is None and text.endswith(ADVICE_WITHOUT_DEFAULT):
            problem = text.removesuffix(ADVICE_WITHOUT_DEFAULT)
            raise NotFoundError(f"{problem}give PATH_OR_URL, such as mlruns") from exc
        raise


def make_source(path: str | None, layout: Layout | None = None) -> Source:
    """Return the source that a path or URL means, MLflow's default without one.

    An ``http`` or ``https`` URL is a tracking server if an MLflow server answers there, otherwise a
    directory. To find out takes a request, unless there is a layout, which only directories have.

    Raises:
        OptionError: If the layout does not go with it.
        MissingPackageError: If MLflow's client is not installed, for that request.
        UnreachableError: If no server answers.
    """
    if path is None:
        return Source(layout=layout)
    scheme = get_uri_scheme(path).partition("+")[0]
    is_uri = scheme in _URI_SCHEMES or path in _DATABRICKS
    if is_uri or (scheme in ("http", "https") and _is_server(path, layout)):
        return Source(tracking_uri=path, layout=layout)
    return Source(path, layout=layout)


def _is_server(url: str, layout: Layout | None) -> bool:
    """Whether an MLflow server answers at a URL."""
    if layout is not None or "::" in url:  # a directory in any case
        return False
    try:
        open_store(Source(tracking_uri=url)).find_experiments(())
    except TrackingDirectoryError:
        return False
    return True
