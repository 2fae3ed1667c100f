"""What a store is: experiments and runs, and what was recorded about them."""

from __future__ import annotations

import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, NamedTuple

from kedro_hydraflow.errors import Failure, MetadataError, OptionError, StorageError

if TYPE_CHECKING:
    from kedro_hydraflow.run_info import ExperimentInfo, RunInfo

ExperimentFilter = str | Sequence[str] | Callable[[str], bool] | None
"""Which experiments: a name or glob, several of them, a predicate on the name, or all."""

DEFAULT_EXPERIMENT_ID = "0"
"""The ID of the experiment "Default", which every MLflow store has and HydraFlow never uses."""


class Point(NamedTuple):
    """One value of a metric. Points order by step, then timestamp, then value."""

    step: int
    timestamp: int
    """In milliseconds since 1970, UTC."""

    value: float


@dataclass
class Experiments:
    """The experiments of a store that match a filter."""

    matching: list[ExperimentInfo] = field(default_factory=list)
    """Sorted by name, then by ID."""

    other_names: list[str] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)


class Store(ABC):
    """What tracked runs: it finds them, and knows what was recorded about them.

    Args:
        *arguments: Those of the class. Stores of one class that have the same are equal, and
            they are all that is pickled.
    """

    finds_folders = False
    """Whether what it takes for runs are folders, which may turn out not to be any."""

    def __init__(self, *arguments: Any) -> None:
        self._arguments = arguments

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Store)
            and type(other) is type(self)
            and other._arguments == self._arguments
        )

    def __hash__(self) -> int:
        return hash(self._arguments[0])  # the others may be mappings

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._arguments

    @property
    @abstractmethod
    def where(self) -> str:
        """A path or URL for messages, without credentials."""

    @abstractmethod
    def find_experiments(self, experiment_names: ExperimentFilter = None) -> Experiments:
        """Return the experiments that match, but for deleted ones and the "Default" one.

        Raises:
            StorageError: If they cannot be listed.
        """

    @abstractmethod
    def list_runs(
        self, experiments: Sequence[ExperimentInfo], limit: int | None = None
    ) -> tuple[list[tuple[ExperimentInfo, list[str]]], list[Failure]]:
        """Return what `read_runs` takes for each run in experiments, and what failed.

        What was removed since the experiments were found is not a failure.

        Args:
            experiments: Where to look.
            limit: How many of each experiment are enough, by default all.
        """

    @abstractmethod
    def read_runs(
        self,
        names: Sequence[tuple[ExperimentInfo, str]],
        *,
        include_deleted: bool | None = None,
    ) -> tuple[list[RunInfo], list[Failure]]:
        """Return those of the names that are runs, and what cannot be read.

        Args:
            names: Experiments, and names in them that `list_runs` gave.
            include_deleted: Whether to include runs that were deleted in MLflow. None: no,
                unless to tell them apart takes a request for each run.

        Returns:
            The runs in the order of the names.
        """

    @abstractmethod
    def read_experiment_name(self, experiment: ExperimentInfo, run_dir: str) -> str:
        """Return an experiment's name, empty if nothing recorded it.

        Args:
            experiment: The experiment.
            run_dir: One of its runs.

        Raises:
            MetadataError: If what records it has another format.
            StorageError: If it cannot be read.
        """

    @abstractmethod
    def read_facts(self, infos: Sequence[RunInfo]) -> None:
        """Set the ``_meta`` of runs: what is known, or why it cannot be read.

        It has the entries ``status``, ``run_name``, ``start_time``, ``end_time`` (both in
        milliseconds since 1970, UTC) and ``lifecycle_stage``, all as text. Of a run about
        which nothing is recorded it is empty.
        """

    @abstractmethod
    def read_values(
        self, infos: Sequence[RunInfo], kind: str, name: str
    ) -> Sequence[float | str | MetadataError | StorageError | None]:
        """Return one metric (the latest value), param or tag of runs, read all at once.

        Args:
            infos: The runs.
            kind: ``metrics``, ``params`` or ``tags``.
            name: The metric, param or tag.

        Returns:
            For each run the value, None without one, or why it cannot be read.
        """

    @abstractmethod
    def read_all(
        self, infos: Sequence[RunInfo], kind: str
    ) -> Sequence[dict[str, float] | dict[str, str] | MetadataError | StorageError]:
        """Return all metrics (the latest values), params or tags of runs.

        The arguments are those of `read_values`.

        Returns:
            For each run the values by name, or why they cannot be read.
        """

    @abstractmethod
    def read_histories(
        self, infos: Sequence[RunInfo], name: str
    ) -> Sequence[list[Point] | MetadataError | StorageError]:
        """Return all values of one metric of runs, sorted.

        Returns:
            For each run its points, none if it has no such metric, or why they cannot be read.
        """


def make_name_filter(experiment_names: ExperimentFilter) -> Callable[[str], bool]:
    """Return a predicate on experiment names. A pattern also matches as the plain name.

    Raises:
        OptionError: If it is not what `ExperimentFilter` says.
    """
    if experiment_names is None:
        return lambda _: True
    if callable(experiment_names):
        return experiment_names
    patterns = (experiment_names,) if isinstance(experiment_names, str) else experiment_names
    if not isinstance(patterns, Sequence) or not all(isinstance(p, str) for p in patterns):
        raise OptionError(
            "experiment_names: expected a name or glob, a list of them, or a callable, "
            f"found {experiment_names!r}"
        )
    return lambda name: any(name == p or fnmatchcase(name, p) for p in patterns)


def restore_infinity(value: float) -> float:
    """Return a metric of a database of MLflow, which holds the largest float for infinity."""
    return math.copysign(math.inf, value) if abs(value) >= sys.float_info.max else value
