"""The return types of stores: frozen records of experiments and runs, and results of searches."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from kedro_hydraflow.storage import Place

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kedro_hydraflow.errors import Failure

RECORDED_FACTS = ("end_time", "lifecycle_stage", "run_name", "start_time", "status")
"""The names of the facts that stores record."""

LOGGED_KINDS = ("metrics", "params", "tags")
"""The kinds of values that an application logs to MLflow, besides artifacts."""

Facts = dict[str, str]
"""The known facts of a run, by name (`RECORDED_FACTS`). All values are strings. Times are in
milliseconds since 1970, UTC. The status is a name or a number, depending on the store. Do not
modify facts: they are shared."""

_FINISHED = frozenset({"3", "4", "5", "FINISHED", "FAILED", "KILLED"})


@dataclass(frozen=True, slots=True)
class ExperimentRecord(Place):
    """One experiment: the place of its directory, and its ID and name."""

    experiment_id: str
    """The ID in MLflow; empty if it is not recorded."""

    experiment_name: str | None = None
    """The name; empty if it is not recorded, None if it has not been read."""

    run_names: tuple[str, ...] | None = field(default=None, compare=False, repr=False)
    """The names of its runs, if they were listed while finding the experiment."""

    artifact_location: str = field(default="", compare=False, repr=False)
    """The recorded location of its artifacts, if a file store has read it."""

    def sort_key(self) -> tuple[str, str]:
        """Return the name, then the ID."""
        return self.experiment_name or "", self.experiment_id


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True)
class FoundRuns:
    """The result of `Store.read_runs`."""

    records: list[RunRecord]
    failures: list[Failure]


def make_run_record(place: Place, experiment: ExperimentRecord | None = None) -> RunRecord:
    """Return a record with only the directory of a run."""
    if experiment is None:
        parent = place.parent
        experiment = ExperimentRecord(parent.storage, parent.path, parent.name)
    name = place.path.rpartition(place.storage.sep)[2]
    run_id = "" if name == "." else name  # like Path(".").name
    return RunRecord(place.storage, place.path, run_id, experiment)


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
