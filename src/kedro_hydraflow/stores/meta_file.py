"""The ``meta.yaml`` of experiments and runs, as MLflow's file store writes it.

The format is that of ``mlflow/store/tracking/file_store.py``. It is not written atomically:
an empty file is one that is being written.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from kedro_hydraflow.config import parse_meta
from kedro_hydraflow.errors import MetadataError, StorageError
from kedro_hydraflow.run_info import META_FACTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kedro_hydraflow.storage import Storage

META_FILE = "meta.yaml"

_USUAL_META = re.compile(
    rb"artifact_uri: [\w/.](?:[\w/.:%@+-]*[\w/])?\n"
    rb"end_time: (?P<end_time>\d+|null)\n"
    rb"entry_point_name: ''\n"
    rb"experiment_id: (?:'\w+'|\w+)\n"
    rb"lifecycle_stage: (?P<lifecycle_stage>\w+)\n"
    rb"run_id: \w+\n"
    rb"run_name: (?P<run_name>\w(?:[\w.-]*\w)?)\n"
    rb"(?:run_uuid: \w+\n)?"
    rb"source_name: ''\n"
    rb"source_type: \d\n"
    rb"source_version: ''\n"
    rb"start_time: (?P<start_time>\d+)\n"
    rb"status: (?P<status>\d)\n"
    rb"tags: \[\]\n"
    rb"user_id: \w(?:[\w.-]*\w)?\n"
)
"""What MLflow writes for nearly every run; matched at a tenth of the time of parsing it."""

_EMPTY_META_RETRIES = (0.01, 0.05, 0.2)
"""Seconds to wait before an empty ``meta.yaml``, one that is being written, is read again."""


def read_metas(
    storage: Storage, directories: Sequence[str]
) -> list[dict[str, str] | MetadataError | StorageError | None]:
    """Return the entries of the ``meta.yaml`` in each directory.

    Returns:
        For each directory its entries, an empty mapping if the file stays empty, None if
        there is no file, or why it cannot be read.
    """
    contents = read_meta_files(storage, directories)
    return [
        content
        if content is None or isinstance(content, StorageError)
        else parse_meta_file(storage, storage.join(directory, META_FILE), content)
        for directory, content in zip(directories, contents, strict=True)
    ]


def read_meta_files(
    storage: Storage, directories: Sequence[str]
) -> list[bytes | StorageError | None]:
    """Return the content of the ``meta.yaml`` in each directory.

    MLflow does not write these files atomically. One that is empty is read again for a
    quarter of a second.
    """
    paths = [storage.join(directory, META_FILE) for directory in directories]
    contents = storage.read_many(paths)
    for seconds in _EMPTY_META_RETRIES:
        empty = [i for i, content in enumerate(contents) if content == b""]
        if not empty:
            break
        time.sleep(seconds)
        for i, content in zip(empty, storage.read_many([paths[i] for i in empty]), strict=True):
            contents[i] = content
    return contents


def parse_run_meta(storage: Storage, path: str, content: bytes) -> dict[str, str] | MetadataError:
    """Return what `RunInfo` needs of a run's ``meta.yaml``, or why it cannot be read."""
    usual = _USUAL_META.fullmatch(content)
    if usual is not None:
        return {key: text.decode() for key, text in usual.groupdict().items()}
    meta = parse_meta_file(storage, path, content)
    if isinstance(meta, MetadataError):
        return meta
    return {key: meta[key] for key in META_FACTS if key in meta}


def parse_meta_file(storage: Storage, path: str, content: bytes) -> dict[str, str] | MetadataError:
    """Return the entries of a ``meta.yaml``, none if it is empty, or why it cannot be read."""
    if not content:
        return {}
    try:
        return parse_meta(content)
    except MetadataError as exc:
        error = MetadataError(f"{storage.url(path)}: {exc}")
        error.__cause__ = exc
        return error
