"""MLflow's default: the runs that it reads without a tracking URI."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from kedro_hydraflow.errors import KedroHydraflowError, NotFoundError, StorageError, describe
from kedro_hydraflow.logs import get_logger
from kedro_hydraflow.stores.databases import DATABASE_FILE, may_have_runs
from kedro_hydraflow.stores.meta_file import META_FILE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kedro_hydraflow.source import Source

logger = get_logger(__name__)

ADVICE_WITHOUT_DEFAULT = "give tracking_dir or tracking_uri"
"""The end of the error if there is no such place: the options of functions and datasets."""

_VARIABLE = "MLFLOW_TRACKING_URI"


def find_default(source: Source) -> Source:
    """Return the source of the runs that MLflow reads by default, in the working directory.

    These are MLflow's own rules (``_get_default_tracking_uri``).

    Args:
        source: A source without a directory or URI, whose other options are kept.

    Raises:
        NotFoundError: If there is none.
    """
    uri = os.environ.get(_VARIABLE)
    folder, database = os.path.abspath("mlruns"), os.path.abspath(DATABASE_FILE)
    if uri:
        return replace(source, tracking_uri=uri)
    if _has_numbered_experiment(folder):
        if may_have_runs(database):
            logger.warning(
                "reading %s, as MLflow does by default; to read the runs of the database beside "
                "it, give tracking_dir=%r",
                folder,
                database,
            )
        return replace(source, tracking_uri=folder)
    if os.path.isfile(database):
        return replace(source, tracking_dir=database)
    raise NotFoundError(
        f"there is no default place with runs: {_VARIABLE} is not set, "
        f"{folder!r} has no <experiment_id>/{META_FILE}, and there is no database {database!r}; "
        f"{ADVICE_WITHOUT_DEFAULT}"
    )


@contextmanager
def naming_variable(source: Source) -> Iterator[None]:
    """Name the environment variable in errors, if a source is the tracking URI in it."""
    try:
        yield
    except KedroHydraflowError as exc:
        if not source.is_default or not os.environ.get(_VARIABLE) or _VARIABLE in str(exc):
            raise
        text = str(exc).removeprefix("tracking_uri: ")
        raise type(exc)(f"{_VARIABLE}: {text}") from exc


def _has_numbered_experiment(folder: str) -> bool:
    """Whether MLflow takes a directory for a file store."""
    try:
        with os.scandir(folder) as entries:
            return any(
                entry.name.isdigit()
                and entry.is_dir()
                and os.path.lexists(os.path.join(entry.path, META_FILE))
                for entry in entries
            )
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as exc:
        raise StorageError(f"cannot list the directory {folder!r}: {describe(exc)}") from exc
