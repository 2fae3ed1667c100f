"""What is known about one run without its configuration."""

from __future__ import annotations

import re
import time
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from kedro_hydraflow.config import parse_meta
from kedro_hydraflow.errors import MetadataError, StorageError
from kedro_hydraflow.storage import Storage, locate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kedro_hydraflow.storage import AnyPath

META_FILE = "meta.yaml"

STATUSES = {"1": "RUNNING", "2": "SCHEDULED", "3": "FINISHED", "4": "FAILED", "5": "KILLED"}
"""``RunStatus`` of MLflow's ``service.proto``, by the number that the file store writes."""

_ENDED = frozenset({"3", "4", "5"})

_META_KEYS = ("end_time", "lifecycle_stage", "run_name", "start_time", "status")

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


def is_settled(meta: object) -> bool:
    """Tell whether a run's ``meta.yaml`` says that it has ended, and was not deleted."""
    if not isinstance(meta, dict):
        return False
    return meta.get("status") in _ENDED and meta.get("lifecycle_stage") == "active"


class ExperimentInfo:
    """One experiment: its directory and, read on first use, its name.

    The runs of one load share it, so that the name is read once.
    """

    __slots__ = ("_name", "_storage", "path")

    path: str
    """The experiment's directory, as the storage names it."""

    def __init__(self, storage: Storage, path: str, name: str | None = None) -> None:
        self._storage = storage
        self.path = path
        self._name = name

    @property
    def experiment_id(self) -> str:
        """The name of the experiment's directory."""
        return self._storage.split(self.path)[1]

    @property
    def name(self) -> str:
        """The experiment's name, empty if nothing recorded it."""
        if self._name is None:
            (meta,) = read_metas(self._storage, [self.path])
            if isinstance(meta, Exception):
                raise meta
            if meta == {}:
                return ""  # still being written: not remembered
            self._name = (meta or {}).get("name", "")
        return self._name

    def __reduce__(self) -> tuple[Any, ...]:
        return ExperimentInfo, (self._storage, self.path, self._name)

    def __deepcopy__(self, memo: dict[int, Any]) -> ExperimentInfo:
        return self


class RunInfo:
    """Facts about one run. They do not change once they are read.

    The directory is known from the start. Everything else is read on first use from the
    ``meta.yaml`` of the run or of its experiment, and stays as it was read.

    Args:
        run_dir: The run directory: a ``pathlib.Path``, or a ``UPath`` on remote storage.
        experiment: The experiment, where it is known already.
    """

    __slots__ = ("_experiment", "_meta", "_path", "_run_dir", "_storage")

    _meta: dict[str, str] | MetadataError | StorageError | None
    _run_dir: AnyPath | None

    def __init__(self, run_dir: AnyPath, experiment: ExperimentInfo | None = None) -> None:
        self._set_up(*locate(run_dir), experiment, None)
        self._run_dir = run_dir

    def _set_up(
        self,
        storage: Storage,
        path: str,
        experiment: ExperimentInfo | None,
        meta: dict[str, str] | None,
    ) -> None:
        self._storage = storage
        self._path = path
        self._experiment = experiment
        self._meta = meta
        self._run_dir = None  # made on first use: a load of many runs works with text paths

    @classmethod
    def make(
        cls,
        storage: Storage,
        path: str,
        experiment: ExperimentInfo | None = None,
        meta: dict[str, str] | None = None,
    ) -> RunInfo:
        """Return the facts about the run at a storage's path.

        Args:
            storage: What holds the run directory.
            path: The run directory, as the storage names it.
            experiment: The experiment, where it is known already.
            meta: The entries of the run's ``meta.yaml``, where they are known already.
        """
        info = cls.__new__(cls)
        info._set_up(storage, path, experiment, meta)
        return info

    def __repr__(self) -> str:
        return f"RunInfo({self.run_id!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RunInfo) and self.run_dir == other.run_dir

    def __hash__(self) -> int:
        return hash(self.run_dir)

    def __reduce__(self) -> tuple[Any, ...]:
        return RunInfo.make, (self._storage, self._path, self._experiment, self._meta)

    def __deepcopy__(self, memo: dict[int, Any]) -> RunInfo:
        return self

    @property
    def run_dir(self) -> AnyPath:
        """The run directory: a ``pathlib.Path``, or a ``UPath`` on remote storage."""
        if self._run_dir is None:
            self._run_dir = self._storage.path(self._path)
        return self._run_dir

    @property
    def run_id(self) -> str:
        """The MLflow run ID, which is the name of the run directory."""
        name = self._path.rpartition(self._storage.sep)[2]
        return "" if name == "." else name  # as pathlib has it

    @property
    def _location(self) -> tuple[Storage, str]:
        return self._storage, self._path

    @property
    def job_name(self) -> str:
        """The Hydra job name, which HydraFlow uses as the MLflow experiment's name.

        Empty if the run directory does not lie in an experiment with a ``meta.yaml``.
        """
        return self._get_experiment().name

    @property
    def experiment_id(self) -> str:
        """The MLflow experiment ID, which is the name of the experiment's directory."""
        return self._get_experiment().experiment_id

    @property
    def status(self) -> str | None:
        """RUNNING, SCHEDULED, FINISHED, FAILED or KILLED; None if it is not recorded."""
        status = self._fact("status")
        return None if status is None else STATUSES.get(status, status)

    @property
    def run_name(self) -> str | None:
        """The name that MLflow shows for the run; None if it is not recorded."""
        return self._fact("run_name")

    @property
    def start_time(self) -> datetime | None:
        """When the run started, in UTC, to the millisecond; None if it is not recorded."""
        return self._time("start_time")

    @property
    def end_time(self) -> datetime | None:
        """When the run ended, in UTC, to the millisecond; None while it goes on."""
        return self._time("end_time")

    @property
    def lifecycle_stage(self) -> str | None:
        """``active`` or ``deleted``; None if it is not recorded."""
        return self._fact("lifecycle_stage")

    @property
    def _is_known_as_deleted(self) -> bool:
        """Whether it was deleted in MLflow, as far as that has been read."""
        return isinstance(self._meta, dict) and self._meta.get("lifecycle_stage") == "deleted"

    def _get_experiment(self) -> ExperimentInfo:
        if self._experiment is None:
            self._experiment = ExperimentInfo(self._storage, self._storage.split(self._path)[0])
        return self._experiment

    def _fact(self, key: str) -> str | None:
        if self._meta is None:
            read_facts([self])
        meta = self._meta
        if isinstance(meta, Exception):
            self._meta = None  # it is read again the next time
            raise meta
        return None if meta is None else meta.get(key) or None

    def _time(self, key: str) -> datetime | None:
        text = self._fact(key)
        if text in (None, "null"):
            return None
        try:
            return datetime.fromtimestamp(int(text) / 1000, tz=timezone.utc)
        except (ValueError, OverflowError, OSError) as exc:
            raise MetadataError(
                f"{self._storage.url(self._storage.join(self._path, META_FILE))}: "
                f"expected {key} in milliseconds, found {text!r}"
            ) from exc


FACTS = frozenset(
    name
    for name, value in vars(RunInfo).items()
    if isinstance(value, property) and not name.startswith("_")
)
"""The public attributes of `RunInfo`."""


META_FACTS = frozenset(_META_KEYS)
"""Those that take the run's ``meta.yaml``."""


def read_facts(infos: Sequence[RunInfo]) -> None:
    """Read the ``meta.yaml`` of many runs at once, where it has not been read.

    Why one cannot be read is raised when a fact of that run is asked for.
    """
    unknown: dict[Storage, list[RunInfo]] = {}
    for info in infos:
        if info._meta is None:
            unknown.setdefault(info._storage, []).append(info)
    for storage, group in unknown.items():
        contents = _read_meta_files(storage, [info._path for info in group])
        for info, content in zip(group, contents, strict=True):
            if isinstance(content, StorageError):
                info._meta = content
            elif content != b"":  # one that is still being written is not remembered
                path = storage.join(info._path, META_FILE)
                info._meta = {} if content is None else parse_run_meta(storage, path, content)


def read_metas(
    storage: Storage, directories: Sequence[str]
) -> list[dict[str, str] | MetadataError | StorageError | None]:
    """Return the entries of the ``meta.yaml`` in each directory.

    Returns:
        For each directory its entries, an empty mapping if the file stays empty, None if
        there is no file, or why it cannot be read.
    """
    contents = _read_meta_files(storage, directories)
    return [
        content
        if content is None or isinstance(content, StorageError)
        else parse_meta_file(storage, storage.join(directory, META_FILE), content)
        for directory, content in zip(directories, contents, strict=True)
    ]


def _read_meta_files(
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
    return {key: meta[key] for key in _META_KEYS if key in meta}


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
