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

LOG_SUFFIX = ".log"
"""Hydra's log file is named after the job, with this suffix."""

_INTERPOLATION = re.compile(r"\$\{(?:[^{}]|\{[^{}]*\})*\}")
"""Matches an interpolation, with at most one inside it."""

_BATCH_SIZE = 512
"""The number of directories listed at a time, to limit the memory for their listings."""

_MAX_LENGTH = 255
"""The maximum length of a file name on most filesystems."""

_MAX_READ = 2**20
"""The maximum number of bytes searched for the name: each line takes memory meanwhile."""

_JOB_NAME = re.compile(
    rb"^  job:[ \t]*\r?\n(?:    .*\n)*?    name:(?P<text>.*(?:\n {5,}.*)*)", re.MULTILINE
)
"""Matches ``hydra.job.name`` as OmegaConf writes it, 100 times as fast as the YAML parser."""

_USUAL_NAME = re.compile(r" (?P<name>[A-Za-z_][\w-]*)", re.ASCII)
"""Matches most names, which then need no YAML parser."""


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
    recorded = read_parsed_in(artifacts, HYDRA_FILE, parse_job_name).values
    return resolve_job_names(artifacts, ["" if name is None else name for name in recorded])


def parse_job_name(content: bytes) -> str:
    """Return the job name in a `HYDRA_FILE`, maybe an interpolation; empty if there is none."""
    start = max(content.find(b"\n  job:"), 0)
    match = _JOB_NAME.search(content, start, start + _MAX_READ)
    if match is None:
        return ""
    text = match["text"].decode("utf-8", errors="replace")
    usual = _USUAL_NAME.fullmatch(text)
    try:
        name = usual["name"] if usual else parse_texts(text)
    except ConfigError:
        return ""
    return name if isinstance(name, str) and name != "null" else ""


def is_interpolated(name: object) -> bool:
    """Whether a recorded job name is an interpolation. False for errors."""
    return isinstance(name, str) and "${" in name


def resolve_job_names(
    artifacts: Sequence[Place], recorded: Sequence[str | KedroHydraflowError]
) -> list[str | KedroHydraflowError]:
    """Return job names with interpolations resolved: by the name of Hydra's log file.

    A name that cannot be resolved is empty.

    Args:
        artifacts: The artifacts directories of the runs.
        recorded: For each run the result of `parse_job_name`, or an error.
    """
    names = list(recorded)
    interpolated = [i for i, name in enumerate(recorded) if is_interpolated(name)]
    for start in range(0, len(interpolated), _BATCH_SIZE):
        some = interpolated[start : start + _BATCH_SIZE]
        listings = list_places([artifacts[i] for i in some])
        for i, entries in zip(some, listings, strict=True):
            if isinstance(entries, UnreachableError):
                names[i] = entries
            else:
                found = [] if isinstance(entries, StorageError) else entries
                files = [entry.name for entry in found if not entry.is_dir]
                names[i] = _choose_log(str(recorded[i]), files).removesuffix(LOG_SUFFIX)
    return names


def _choose_log(name: str, files: Sequence[str]) -> str:
    """Return Hydra's log file for an interpolated job name, empty if that is unclear."""
    logs = [file for file in files if file.endswith(LOG_SUFFIX)]
    if len(logs) > 1:  # the application may write others
        parts = _INTERPOLATION.split(name[:_MAX_LENGTH])
        logs = [log for log in logs if _contains_in_order(log.removesuffix(LOG_SUFFIX), parts)]
    return logs[0] if len(logs) == 1 else ""


def _contains_in_order(text: str, parts: Sequence[str]) -> bool:
    """Whether text begins with the first part, ends with the last, and has the others between."""
    first, *others = parts
    start, end = len(first), len(text) - len(parts[-1])
    if not text.startswith(first) or not text.endswith(parts[-1]) or start > end:
        return False
    for part in others[:-1]:
        found = text.find(part, start, end)
        if found < 0:
            return False
        start = found + len(part)
    return True
