"""What a store is: experiments and runs, and what was recorded about them."""

from __future__ import annotations

import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from kedro_hydraflow.errors import OptionError
from kedro_hydraflow.storage import Parsed, Place, read_parsed_in

if TYPE_CHECKING:
    from kedro_hydraflow.config import ConfigReader, PlainConfig
    from kedro_hydraflow.errors import KedroHydraflowError
    from kedro_hydraflow.stores.record import (
        ExperimentRecord,
        Experiments,
        Facts,
        FoundRuns,
        Point,
        RunListing,
        RunNames,
        RunRecord,
    )

ExperimentFilter = str | Sequence[str] | Callable[[str], bool] | None
"""Which experiments: a name or glob, several of them, a predicate on the name, or all."""

DEFAULT_EXPERIMENT_ID = "0"
"""The ID of the experiment "Default", which every MLflow store has and HydraFlow never uses."""

CONFIG_FILE = ".hydra/config.yaml"
"""Hydra's file of a run's configuration, in the artifacts directory."""


class Store(ABC):
    """What tracked runs: it finds them, and knows what was recorded about them.

    Stores take and return records. Their answers do not depend on earlier calls.

    Args:
        *arguments: Those of the class. Stores of one class that have the same are equal, and
            they are all that is pickled.
    """

    artifacts_folder = "artifacts"
    """The artifacts directory in a run directory."""

    finds_folders = False
    """Whether the runs that it finds are folders, any of which may turn out to be no run."""

    def __init__(self, *arguments: Any) -> None:
        self._arguments = arguments
        self._named: dict[str, ExperimentRecord] = {}
        """The experiments that `name_experiment` returned, by their paths."""

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
        """The path or URL for messages, without credentials."""

    # Finding ---------------------------------------------------------------------------------

    @abstractmethod
    def find_experiments(self, experiment_names: ExperimentFilter = None) -> Experiments:
        """Return the experiments that match, without deleted ones and the "Default" one.

        Raises:
            StorageError: If they cannot be listed.
        """

    @abstractmethod
    def list_runs(
        self, experiments: Sequence[ExperimentRecord], limit: int | None = None
    ) -> RunListing:
        """Return the names of the runs in experiments, as `read_runs` takes them.

        An experiment that was removed since it was found has none.

        Args:
            experiments: Where to look.
            limit: How many of each experiment are enough, by default all.
        """

    @abstractmethod
    def read_runs(
        self, listed: Sequence[RunNames], *, include_deleted: bool | None = None
    ) -> FoundRuns:
        """Return the runs of those names, in that order; names that are no runs are left out.

        Args:
            listed: What `list_runs` gave, or parts of it.
            include_deleted: Whether to include runs that were deleted in MLflow. None: no,
                unless to tell them apart takes a request for each run.
        """

    # Where things are ------------------------------------------------------------------------

    def artifacts(self, record: RunRecord) -> Place:
        """Return the artifacts directory of a run, which need not exist."""
        folder = self.artifacts_folder
        return record.join(folder) if folder else Place(record.storage, record.path)

    @property
    def config_file(self) -> str:
        """Where a run's configuration is in its directory."""
        folder = self.artifacts_folder
        return f"{folder}/{CONFIG_FILE}" if folder else CONFIG_FILE

    def config_url(self, record: RunRecord) -> str:
        """Return the file of a run's configuration, for messages."""
        return self.artifacts(record).join(CONFIG_FILE).url

    def read_configs(
        self, records: Sequence[RunRecord], reader: ConfigReader
    ) -> Parsed[PlainConfig]:
        """Return the configuration of each run.

        Args:
            records: The runs.
            reader: Reads the text of a configuration, and remembers what runs share.

        Returns:
            For each run the configuration, None without one, or why it cannot be read; and
            the validator of its `config_file`.
        """
        return read_parsed_in(records, self.config_file, reader.read)

    def get_run_errors(self, records: Sequence[RunRecord]) -> Sequence[KedroHydraflowError | None]:
        """Return for each of these why it is no run after all, None if it is one."""
        return [None] * len(records)

    # What was recorded -----------------------------------------------------------------------

    def name_experiment(self, record: RunRecord) -> ExperimentRecord:
        """Return a run's experiment with its name, empty if nothing records it.

        It is read once for each experiment that has a folder of its own, named after its ID.
        One that is empty may be about to be written, and is read again.

        Raises:
            MetadataError: If what records it has another format.
            StorageError: If it cannot be read.
        """
        experiment = record.experiment
        if experiment.experiment_name is not None:
            return experiment
        key = experiment.path
        if key in self._named:
            return self._named[key]
        named = replace(experiment, experiment_name=self._read_experiment_name(record))
        if named.experiment_name and experiment.experiment_id.isdecimal():
            self._named[key] = named
        return named

    @abstractmethod
    def _read_experiment_name(self, record: RunRecord) -> str:
        """Return the name of a run's experiment, empty if nothing records it."""

    @abstractmethod
    def read_facts(self, records: Sequence[RunRecord]) -> list[Facts | KedroHydraflowError | None]:
        """Return the facts of runs.

        Returns:
            For each run its facts, empty if nothing is recorded about it; None if they are
            being written, and it is worth to ask again; or why they cannot be read.
        """

    @abstractmethod
    def read_values(
        self, records: Sequence[RunRecord], kind: str, name: str
    ) -> Sequence[float | str | KedroHydraflowError | None]:
        """Return one metric (the latest value), param or tag of runs, read all at once.

        Args:
            records: The runs.
            kind: ``metrics``, ``params`` or ``tags``.
            name: The metric, param or tag.

        Returns:
            For each run the value, None without one, or why it cannot be read.
        """

    @abstractmethod
    def read_all(
        self, records: Sequence[RunRecord], kind: str
    ) -> Sequence[dict[str, Any] | KedroHydraflowError]:
        """Return all metrics (the latest values), params or tags of runs.

        The arguments are those of `read_values`.

        Returns:
            For each run the values by name, or why they cannot be read.
        """

    @abstractmethod
    def read_histories(
        self, records: Sequence[RunRecord], name: str
    ) -> Sequence[list[Point] | KedroHydraflowError]:
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
