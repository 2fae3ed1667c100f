"""The ``meta.yaml`` of experiments and runs in MLflow's file store.

``mlflow/store/tracking/file_store.py`` defines the format. MLflow does not write the file
atomically: an empty file is still being written.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from kedro_hydraflow.config import parse_meta
from kedro_hydraflow.errors import MetadataError, NotARunError
from kedro_hydraflow.storage import read_parsed_in
from kedro_hydraflow.stores.record import RECORDED_FACTS, Facts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from kedro_hydraflow.errors import KedroHydraflowError
    from kedro_hydraflow.storage import Place

    Meta = Mapping[str, str | None]
    """The entries of a ``meta.yaml``, every value as its text, null as None."""

META_FILE = "meta.yaml"

_USUAL_META = re.compile(
    r"artifact_uri: [\w/.](?:[\w/.:%@+-]*[\w/])?\n"
    r"end_time: (?P<end_time>\d+|null)\n"
    r"entry_point_name: ''\n"
    r"experiment_id: (?:'\w+'|\w+)\n"
    r"lifecycle_stage: (?P<lifecycle_stage>\w+)\n"
    r"run_id: \w+\n"
    r"run_name: (?P<run_name>(?!(?:null|Null|NULL)\n)\w(?:[\w.-]*\w)?)\n"
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
"""Matches what MLflow writes for nearly every run, ten times as fast as the YAML parser."""

_USUAL_ARTIFACT_URI = re.compile(rb"artifact_uri: ([\w/.][\w/.:%@+-]*[\w/])\n(?=\w)", re.ASCII)
"""Matches the first line of what MLflow writes for nearly every run."""

_ONLY_OF_RUNS = frozenset({"artifact_uri", "run_id", "run_uuid", "status"})
"""Entries that only the ``meta.yaml`` of a run has."""

_LAST_ENTRY = "user_id"
"""The last entry that MLflow writes for a run. A file without it may hold half of another one."""

_MAX_SHOWN = 10
"""The maximum number of entries shown in an error."""

_EMPTY_META_RETRIES = (0.01, 0.05, 0.2)
"""Seconds to wait before each further attempt to read an empty ``meta.yaml``."""


def parse_entries(content: bytes) -> Meta:
    """Return the entries of a ``meta.yaml``. An empty file has no entries.

    Raises:
        MetadataError: If the file is malformed.
    """
    return parse_meta(content) if content else {}


def read_metas(
    directories: Sequence[Place],
    parse: Callable[[bytes], Meta] = parse_entries,
) -> list[Meta | KedroHydraflowError | None]:
    """Return the entries of the ``meta.yaml`` in each directory, or the error.

    The entries are None if there is no file. An empty file is read again for a quarter of a
    second. If it stays empty, so are the entries.

    Args:
        directories: The directories.
        parse: Returns the entries in the content of a file, an empty mapping for an empty file.
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


def is_run_meta(meta: Meta) -> bool:
    """Whether a ``meta.yaml`` with these entries is that of a run, or is still being written."""
    return not meta or not _ONLY_OF_RUNS.isdisjoint(meta)


def has_run_id(meta: Meta) -> bool:
    """Whether a ``meta.yaml`` with these entries is certainly that of a run."""
    return "run_id" in meta or "run_uuid" in meta


def is_experiment_meta(meta: Meta) -> bool:
    """Whether a ``meta.yaml`` with these entries is that of an experiment."""
    is_mlflow = "experiment_id" in meta or "artifact_location" in meta
    return is_mlflow and _ONLY_OF_RUNS.isdisjoint(meta)


def parse_artifact_uri(content: bytes) -> Meta:
    """Return the ``artifact_uri`` in the ``meta.yaml`` of a run, maybe with other entries.

    Raises:
        MetadataError: If the file is malformed.
    """
    usual = _USUAL_ARTIFACT_URI.match(content)
    return {"artifact_uri": usual[1].decode()} if usual else parse_entries(content)


def parse_run_meta(content: bytes) -> Facts:
    """Return the facts in the ``meta.yaml`` of a run. An empty file has no facts.

    Raises:
        NotARunError: If the file is not that of a run.
        MetadataError: If the file is malformed.
    """
    usual = _USUAL_META.fullmatch(content.decode("ascii", "replace"))
    if usual is not None:
        facts = usual.groupdict()
        if facts["end_time"] == "null":
            del facts["end_time"]
        return facts
    meta = parse_entries(content)
    if not is_run_meta(meta):
        raise NotARunError(f"expected the entries of a run, such as run_id, found {_show(meta)}")
    if "artifact_uri" in meta and _LAST_ENTRY not in meta:
        raise MetadataError(
            f"the file is cut off: expected the entries up to {_LAST_ENTRY}, found {_show(meta)}"
        )
    known = ((key, meta.get(key)) for key in RECORDED_FACTS)
    return {key: value for key, value in known if value is not None}


def _show(meta: Meta) -> str:
    """Return the first keys for a message."""
    return ", ".join(list(meta)[:_MAX_SHOWN])
