"""The ``meta.yaml`` of experiments and runs, as MLflow's file store writes it.

The format is that of ``mlflow/store/tracking/file_store.py``. It is not written atomically:
an empty file is one that is being written.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from kedro_hydraflow.config import parse_meta
from kedro_hydraflow.errors import NotARunError
from kedro_hydraflow.storage import read_parsed_in
from kedro_hydraflow.stores.record import RECORDED_FACTS, Facts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from kedro_hydraflow.errors import KedroHydraflowError
    from kedro_hydraflow.storage import Place

META_FILE = "meta.yaml"

_USUAL_META = re.compile(
    r"artifact_uri: [\w/.](?:[\w/.:%@+-]*[\w/])?\n"
    r"end_time: (?P<end_time>\d+|null)\n"
    r"entry_point_name: ''\n"
    r"experiment_id: (?:'\w+'|\w+)\n"
    r"lifecycle_stage: (?P<lifecycle_stage>\w+)\n"
    r"run_id: \w+\n"
    r"run_name: (?P<run_name>\w(?:[\w.-]*\w)?)\n"
    r"(?:run_uuid: \w+\n)?"
    r"source_name: ''\n"
    r"source_type: \d\n"
    r"source_version: ''\n"
    r"start_time: (?P<start_time>\d+)\n"
    r"status: (?P<status>\d)\n"
    r"tags: \[\]\n"
    r"user_id: \w(?:[\w.-]*\w)?\n",
    re.ASCII,
)
"""What MLflow writes for nearly every run; matched at a tenth of the time of parsing it."""

_ONLY_OF_RUNS = frozenset({"run_id", "run_uuid", "status"})
"""Entries of a run's file that an experiment's has not."""

_MAX_SHOWN = 10
"""How many entries of a file that is none of a run an error shows."""

_EMPTY_META_RETRIES = (0.01, 0.05, 0.2)
"""Seconds to wait before an empty ``meta.yaml``, one that is being written, is read again."""


def parse_entries(content: bytes) -> dict[str, str]:
    """Return the entries of a ``meta.yaml``, none if it is empty.

    Raises:
        MetadataError: If it has another format.
    """
    return parse_meta(content) if content else {}


def read_metas(
    directories: Sequence[Place],
    parse: Callable[[bytes], dict[str, str]] = parse_entries,
) -> list[dict[str, str] | KedroHydraflowError | None]:
    """Return the entries of the ``meta.yaml`` in each directory.

    MLflow does not write these files atomically. One that is empty is read again for a
    quarter of a second.

    Args:
        directories: The directories.
        parse: Gives the entries that are wanted of a file, none of an empty one.

    Returns:
        For each directory its entries, an empty mapping if the file stays empty, None if
        there is no file, or why it cannot be read.
    """
    metas = read_parsed_in(directories, META_FILE, parse).values
    for seconds in _EMPTY_META_RETRIES:
        empty = [i for i, meta in enumerate(metas) if meta == {}]
        if not empty:
            break
        time.sleep(seconds)
        again = read_parsed_in([directories[i] for i in empty], META_FILE, parse).values
        for i, meta in zip(empty, again, strict=True):
            metas[i] = meta
    return metas


def is_run_meta(meta: Mapping[str, str]) -> bool:
    """Return whether the entries of a ``meta.yaml`` are those of a run, or being written."""
    return not meta or not _ONLY_OF_RUNS.isdisjoint(meta)


def parse_run_meta(content: bytes) -> Facts:
    """Return the facts in a run's ``meta.yaml``, none if it is empty.

    Raises:
        NotARunError: If it is that of an experiment, or something else with entries.
        MetadataError: If it has another format.
    """
    usual = _USUAL_META.fullmatch(content.decode("ascii", "replace"))
    if usual is not None:
        return usual.groupdict()
    meta = parse_entries(content)
    if not is_run_meta(meta):
        found = ", ".join(list(meta)[:_MAX_SHOWN])
        raise NotARunError(f"expected the entries of a run, such as run_id, found {found}")
    return {key: meta[key] for key in RECORDED_FACTS if key in meta}
