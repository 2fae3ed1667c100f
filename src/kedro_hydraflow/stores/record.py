"""The return types of stores: frozen records of experiments and runs, and results of searches."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from kedro_hydraflow.errors import MetadataError, NotARunError, NotFoundError
from kedro_hydraflow.redaction import SafeRepr
from kedro_hydraflow.storage import LocalStorage, Place

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from kedro_hydraflow.errors import Failure

RECORDED_FACTS = ("end_time", "lifecycle_stage", "run_name", "start_time", "status")
"""The names of the facts that stores record."""

STATUSES = {"1": "RUNNING", "2": "SCHEDULED", "3": "FINISHED", "4": "FAILED", "5": "KILLED"}
"""``RunStatus`` of MLflow's ``service.proto``, by the number that the file store writes."""

RUN_NAME_TAG = "mlflow.runName"
"""The tag with a run's name. MLflow before 1.30 recorded the name nowhere else."""

PARENT_TAG = "mlflow.parentRunId"
"""The tag of a nested run with the ID of its parent."""

LARGEST_INTEGER = 2**63 - 1
"""The largest step or time, which are integers of 64 bits in MLflow."""

LOGGED_KINDS = ("metrics", "params", "tags")
"""The kinds of values that an application logs to MLflow, besides artifacts."""

Facts = dict[str, str]
"""The known facts of a run, by name (`RECORDED_FACTS`). All values are strings. Times are in
milliseconds since 1970, UTC. The status is a name or a number, depending on the store. The name
is the one that MLflow shows, from `RUN_NAME_TAG` if need be. Do not modify facts: they are
shared."""

HYDRA_FOLDERS = ("multirun", "outputs")
"""The folders in which Hydra creates output directories by default, for sweeps and single runs."""

MLFLOW_FOLDERS = frozenset({"mlruns", "mlartifacts"})
"""The folders in which MLflow creates experiments by default."""

_RUN_ID = re.compile("[0-9a-f]{32}")

_FINISHED = frozenset({"3", "4", "5", "FINISHED", "FAILED", "KILLED"})


@dataclass(frozen=True, slots=True, repr=False)
class ExperimentRecord(Place):
    """One experiment: the place of its directory, and its ID and name.

    For Hydra alone, an experiment is the runs in one directory with the same job name.
    """

    experiment_id: str
    """The ID in MLflow; empty if it is not recorded. For Hydra alone, the ID of the directory: see
    `find_output_id`."""

    experiment_name: str | None = None
    """The name; empty if it is not recorded, None if it has not been read."""

    run_names: tuple[str, ...] | None = field(default=None, compare=False, repr=False)
    """The names of its runs, if they were listed while finding the experiment."""

    artifact_location: str = field(default="", compare=False, repr=False)
    """The recorded location of its artifacts, if it has been read."""

    is_nameless: bool = field(default=False, compare=False, repr=False)
    """Whether null is recorded as the name. Then `experiment_name` is empty."""

    @property
    def shown_name(self) -> str | None:
        """The name as users see it: empty if it is not recorded, None if it is null."""
        return None if self.is_nameless else self.experiment_name or ""

    def sort_key(self) -> tuple[str, str]:
        """Return the name, then the ID."""
        return self.experiment_name or "", self.experiment_id


@dataclass(frozen=True, slots=True, repr=False)
class RunRecord(Place):
    """One run: the place of its directory, and the data that has been read."""

    run_id: str
    experiment: ExperimentRecord
    facts: Facts | None = None
    """The facts; None if they have not been read."""

    logged: Mapping[str, Mapping[str, Any]] | None = None
    """Logged values by kind (`LOGGED_KINDS`) and name; None if they have not been read."""

    artifacts_dir: Place | None = None
    """The artifacts directory, if `Store.find_artifacts` found it outside the run directory."""


@dataclass(frozen=True, slots=True, repr=False)
class ModelRecord(SafeRepr):
    """A model that a run logged. MLflow 3 keeps it apart from the artifacts of the run."""

    model_id: str
    name: str
    run_id: str
    created: int
    """Milliseconds since 1970, UTC."""

    location: str
    """The recorded location of its artifacts, which is wrong after a copy."""

    def sort_key(self) -> tuple[int, str]:
        """Return the time of creation, then the ID."""
        return self.created, self.model_id


class MalformedValuesError(MetadataError):
    """Some of a run's metrics, params or tags are malformed.

    Attributes:
        values: The others, by name.
        errors: One for each that is malformed.
    """

    values: dict[str, Any]
    errors: list[MetadataError]

    @classmethod
    def make(cls, values: dict[str, Any], errors: list[MetadataError]) -> MalformedValuesError:
        """Return the error with the text of the first one."""
        error = cls(str(errors[0]))
        error.__cause__ = errors[0]
        error.values = values
        error.errors = errors
        return error


class LostArtifactsError(NotFoundError):
    """A run has no artifacts, and the directory in which they were recorded does not exist.

    Attributes:
        location: The recorded location for messages, without credentials.
    """

    location: str


class Point(NamedTuple):
    """One value of a metric. Points order by step, then timestamp, then value."""

    step: int
    timestamp: int
    """Milliseconds since 1970, UTC."""

    value: float


@dataclass(frozen=True)
class Experiments:
    """The result of `Store.find_experiments`."""

    matching: list[ExperimentRecord]
    """The experiments that match, sorted by name, then by ID."""

    other_names: list[str]
    """The names of the experiments that do not match."""

    failures: list[Failure]

    defaults: list[ExperimentRecord] = field(default_factory=list)
    """The experiment "Default" if it does not match; several if there are workspaces."""

    unlocated: list[str] = field(default_factory=list)
    """The names of the experiments that match, but whose directory is in the failures."""

    are_parts: bool = False
    """Whether experiments with the same name are parts of one, in different directories."""

    @property
    def names(self) -> list[str]:
        """The names of the experiments that match."""
        names = [experiment.experiment_name or "" for experiment in self.matching]
        return list(dict.fromkeys(names)) if self.are_parts else names


@dataclass(frozen=True)
class RunNames:
    """The names of runs in one experiment. `Store.read_runs` skips names that are not runs."""

    experiment: ExperimentRecord
    names: list[str]
    prefetched: Mapping[str, Any] = field(default_factory=dict)
    """Data that the store got while listing, by run name. Only that store can use it."""

    def take(self, start: int, stop: int) -> RunNames:
        """Return a slice of the names."""
        return replace(self, names=self.names[start:stop])


@dataclass(frozen=True)
class RunListing:
    """The result of `Store.list_runs`."""

    experiments: list[RunNames]
    failures: list[Failure]

    is_narrowed: bool = False
    """Whether runs that do not meet the filters were left out."""

    @property
    def total(self) -> int:
        """The number of runs."""
        return sum(len(part.names) for part in self.experiments)


@dataclass(frozen=True)
class RunStream:
    """The result of `Store.stream_runs`: what `RunListing` has, listed during the iteration."""

    parts: Iterator[RunNames]
    """The names in parts, of which an experiment may have several."""

    failures: list[Failure]
    total: int | None
    """The number of runs, None if it is not known before the last part."""

    @classmethod
    def make(cls, listing: RunListing) -> RunStream:
        """Return what has been listed."""
        return cls(iter(listing.experiments), listing.failures, listing.total)


@dataclass(frozen=True)
class FoundRuns:
    """The result of `Store.read_runs`."""

    records: list[RunRecord]
    failures: list[Failure]

    n_deleted: int = 0
    """The number of runs that were left out because they were deleted."""


def make_run_record(place: Place, experiment: ExperimentRecord | None = None) -> RunRecord:
    """Return a record with only the directory of a run. Nothing is read.

    The IDs are those of MLflow, or of Hydra alone below ``multirun`` or ``outputs``.

    Raises:
        NotARunError: If it is the artifacts directory of a run of MLflow.
    """
    name = place.path.rpartition(place.storage.sep)[2]
    if name == "artifacts" and is_run_id(place.parent.name):
        raise NotARunError(
            f"{place.url} is not a run directory, but the artifacts of one; give {place.parent.url}"
        )
    output_id = None if is_run_id(name) else find_output_id(place)
    if experiment is None:
        parent = place.parent
        experiment_id = (output_id or "").rpartition("/")[0] or parent.name
        experiment = ExperimentRecord(parent.storage, parent.path, experiment_id)
    run_id = output_id or ("" if name == "." else name)  # like Path(".").name
    return RunRecord(place.storage, place.path, run_id, experiment)


def find_output_id(place: Place) -> str | None:
    """Return the ID of a directory that Hydra created, None if its path has none.

    It is the part of the path from the last directory named ``multirun`` or ``outputs`` on, such
    as ``multirun/2026-11-25/23-01-50/3``. So it does not depend on the directory that is searched.
    The path of an MLflow run in such a directory has none.
    """
    storage, path = place.storage, place.path
    if isinstance(storage, LocalStorage):
        path = storage.get_identity(path)  # absolute
    parts = path.split(storage.sep)
    for start in range(len(parts) - 1, -1, -1):
        if parts[start] in HYDRA_FOLDERS:
            return "/".join(parts[start:])
        if parts[start] in MLFLOW_FOLDERS:
            return None
    return None


def is_run_id(name: str) -> bool:
    """Whether a name looks like a run ID of MLflow: 32 hexadecimal digits."""
    return _RUN_ID.fullmatch(name) is not None


def is_deleted(facts: object) -> bool:
    """Whether facts say that the run is deleted. False for None and errors."""
    return isinstance(facts, dict) and facts.get("lifecycle_stage") == "deleted"


def is_finished(facts: object) -> bool:
    """Whether facts say that the run finished, failed or was killed, and is not deleted.

    False for None and errors.
    """
    if not isinstance(facts, dict):
        return False
    return facts.get("status") in _FINISHED and facts.get("lifecycle_stage") == "active"
