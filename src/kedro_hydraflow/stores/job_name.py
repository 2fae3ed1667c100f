"""Experiment names from Hydra's job name, for runs whose experiment name is not recorded.

HydraFlow names the MLflow experiment after ``hydra.job.name``, which Hydra writes to
``.hydra/hydra.yaml``. If the job name is an interpolation, the resolved name is taken from the
name of Hydra's log file. The name is unknown if the application names the experiment itself. If
the experiment was renamed in MLflow, the job name is the old name.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from kedro_hydraflow.config import parse_texts
from kedro_hydraflow.errors import ConfigError, KedroHydraflowError, StorageError, UnreachableError
from kedro_hydraflow.storage import list_places, read_parsed_in

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kedro_hydraflow.storage import Place

HYDRA_FILE = ".hydra/hydra.yaml"
"""The file with Hydra's own configuration, relative to the artifacts directory."""

_JOB_NAME = re.compile(
    rb"^  job:[ \t]*\r?\n(?:    .*\n)*?    name:(?P<text>.*(?:\n {5,}.*)*)", re.MULTILINE
)
"""Matches ``hydra.job.name`` as OmegaConf writes it, 100 times as fast as the YAML parser."""


def read_job_name(artifacts: Place) -> str:
    """Return the job name in a run's artifacts directory, empty if it is not recorded.

    Raises:
        StorageError: If the name cannot be read.
    """
    (name,) = read_job_names([artifacts])
    if isinstance(name, KedroHydraflowError):
        raise name
    return name


def read_job_names(artifacts: Sequence[Place]) -> list[str | KedroHydraflowError]:
    """Return the job name in each artifacts directory, empty if it is not recorded, or the error.

    Args:
        artifacts: The artifacts directories of runs.
    """
    read = read_parsed_in(artifacts, HYDRA_FILE, _find_name).values
    names = ["" if name is None else name for name in read]
    interpolated = [i for i, name in enumerate(names) if isinstance(name, str) and "${" in name]
    listings = list_places([artifacts[i] for i in interpolated])
    for i, entries in zip(interpolated, listings, strict=True):
        if isinstance(entries, UnreachableError):
            names[i] = entries
        else:
            found = [] if isinstance(entries, StorageError) else entries
            logs = [e.name for e in found if e.name.endswith(".log") and not e.is_dir]
            names[i] = logs[0].removesuffix(".log") if len(logs) == 1 else ""
    return names


def _find_name(content: bytes) -> str:
    match = _JOB_NAME.search(content)
    if match is None:
        return ""
    try:
        name = parse_texts(match["text"].decode("utf-8", errors="replace"))
    except ConfigError:
        return ""
    return name if isinstance(name, str) and name != "null" else ""
