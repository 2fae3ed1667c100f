"""What stores return: frozen records of experiments and runs, and the results of searches."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from kedro_hydraflow.storage import Place

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kedro_hydraflow.errors import Failure

RECORDED_FACTS = ("end_time", "lifecycle_stage", "run_name", "start_time", "status")
"""The facts that stores record of a run."""

LOGGED_KINDS = ("metrics", "params", "tags")
"""What an application logs to MLflow besides artifacts."""

Facts = dict[str, str]
"""Facts of a run by name (`RECORDED_FACTS`), those that are known. All are text: times in
milliseconds since 1970, UTC; the status by name or by number, as the store has it. They are
shared: do not modify them."""

_FINISHED = frozenset({"3", "4", "5", "FINISHED", "FAILED", "KILLED"})


@dataclass(frozen=True, slots=True)
class ExperimentRecord(Place):
    """One experiment: the place of its directory, with what is known of it."""

    experiment_id: str
    """Its ID in MLflow; empty if nothing records it."""

    experiment_name: str | None = None
    """Its name; empty if nothing records it, None if it has not been read."""

    run_names: tuple[str, ...] | None = field(default=None, compare=False, repr=False)
    """The names of its runs, where finding the experiment took listing them."""

    def sort_key(self) -> tuple[str, str]:
        """Return what experiments are sorted by: the name, then the ID."""
        return self.experiment_name or "", self.experiment_id


@dataclass(frozen=True, slots=True)
class RunRecord(Place):
    """One run: the place of its directory, with what is known of it."""

    run_id: str
    experiment: ExperimentRecord
    facts: Facts | None = None
    """None if they have not been read."""

    logged: Mapping[str, Mapping[str, Any]] | None = None
    """Values by kind (`LOGGED_KINDS`) and name, where the store had them at hand."""


class Point(NamedTuple):
    """One value of a metric. Points order by step, then timestamp, then value."""

    step: int
    timestamp: int
    """In milliseconds since 1970, UTC."""

    value: float


@dataclass(frozen=True)
class Experiments:
    """The experiments of a store that match a filter."""

    matching: list[ExperimentRecord]
    """Sorted by name, then by ID."""

    other_names: list[str]
    failures: list[Failure]


@dataclass(frozen=True)
class RunNames:
    """Names of runs in one experiment; whether each is a run, reading it shows."""

    experiment: ExperimentRecord
    names: list[str]
    prefetched: Mapping[str, Any] = field(default_factory=dict)
    """Data that the store got while listing, by run name. Only that store can use it."""

    def take(self, start: int, stop: int) -> RunNames:
        """Return some of the names."""
        return replace(self, names=self.names[start:stop])


@dataclass(frozen=True)
class RunListing:
    """The names of the runs of some experiments."""

    experiments: list[RunNames]
    failures: list[Failure]


@dataclass(frozen=True)
class FoundRuns:
    """Runs that were read."""

    records: list[RunRecord]
    failures: list[Failure]


def make_run_record(place: Place, experiment: ExperimentRecord | None = None) -> RunRecord:
    """Return the record of a run about which only its directory is known."""
    if experiment is None:
        parent = place.parent
        experiment = ExperimentRecord(parent.storage, parent.path, parent.name)
    name = place.path.rpartition(place.storage.sep)[2]
    run_id = "" if name == "." else name  # as pathlib has it
    return RunRecord(place.storage, place.path, run_id, experiment)


def is_deleted(facts: object) -> bool:
    """Return whether a run is known as deleted in MLflow."""
    return isinstance(facts, dict) and facts.get("lifecycle_stage") == "deleted"


def is_finished(facts: object) -> bool:
    """Return whether a run is known to have ended, well or not, and was not deleted."""
    if not isinstance(facts, dict):
        return False
    return facts.get("status") in _FINISHED and facts.get("lifecycle_stage") == "active"
