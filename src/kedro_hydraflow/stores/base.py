"""The interface of stores, and the helpers that they share."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, TypeVar

from typing_extensions import Self, override

from kedro_hydraflow.errors import KedroHydraflowError, OptionError
from kedro_hydraflow.index import NO_INDEX, Index
from kedro_hydraflow.storage import Parsed, Place, group_positions, read_parsed_in
from kedro_hydraflow.stores.hydra_files import HYDRA_FOLDER as HYDRA_FOLDER
from kedro_hydraflow.stores.record import (
    ModelRecord,
    RunListing,
    RunNames,
    RunStream,
    is_finished,
)

if TYPE_CHECKING:
    from kedro_hydraflow.config import ConfigReader, PlainConfig
    from kedro_hydraflow.errors import Failure
    from kedro_hydraflow.stores.clauses import Clause
    from kedro_hydraflow.stores.parsed_files import ParsedFile
    from kedro_hydraflow.stores.record import (
        ExperimentRecord,
        Experiments,
        Facts,
        FoundRuns,
        Point,
        RunRecord,
    )

T = TypeVar("T")

ExperimentFilter = str | Sequence[str] | Callable[[str], bool] | None
"""The experiments to include: a name or glob, a list of them, a predicate on the name, or all."""

DEFAULT_EXPERIMENT_ID = "0"
"""The ID of the experiment "Default". Every MLflow store has it; HydraFlow never uses it."""

DEFAULT_EXPERIMENT_NAME = "Default"
"""Its name where a store records no names."""

CONFIG_FILE = f"{HYDRA_FOLDER}/config.yaml"
"""The file with a run's configuration, relative to the artifacts directory."""

SWEEP_FILE = "multirun.yaml"
"""The file that Hydra writes into the directory of a sweep."""

MODELS_FOLDER = "models"
"""The folder in an experiment's directory with the models that its runs logged."""

_BATCH_SIZE = 100
"""The number of runs of an experiment to read at a time, to see whether one is not deleted."""

_GLOB = re.compile(r"[*?]|\[(?:!.|[^!])[^\]]*\]", re.DOTALL)
"""Matches a wildcard of `fnmatch`, for which ``[`` is a character unless it is closed."""


class Store(ABC):
    """The interface of a store, which finds runs and reads what was recorded about them.

    Stores take and return records. The results do not depend on earlier calls.

    A method that reads many runs returns one entry per record, in the order of the records. It
    does not raise an error that concerns one run: the entry of that run is the error instead.

    Args:
        *arguments: The arguments of the constructor. Stores of one class with equal arguments are
            equal. Only the arguments are pickled.
    """

    artifacts_folder = "artifacts"
    """The name of the artifacts directory in a run directory; empty if they are the same."""

    records_facts = True
    """Whether it knows the status, times and names of runs, and which were deleted."""

    finds_folders = False
    """Whether the store finds runs by listing directories, some of which may not be runs."""

    has_index = False
    """Whether what is known of its runs can be published in an index."""

    def __init__(self, *arguments: Any) -> None:
        self._arguments = arguments
        self._named: dict[str, ExperimentRecord] = {}
        """The results of `name_experiment`, by path."""
        self._models: dict[str, dict[str, list[ModelRecord]]] = {}
        """The models of experiments by path, those of one by run ID."""

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Store)
            and type(other) is type(self)
            and other._arguments == self._arguments
        )

    def __hash__(self) -> int:
        return hash(self._arguments[0])  # the others may be unhashable

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._arguments

    def connected(self) -> AbstractContextManager[None]:
        """Return a block in which what is read may share a connection."""
        return nullcontext()

    def without_credentials(self) -> Self:
        """Return the same store without credentials. It reads no remote storages and servers."""
        return type(self)(
            *(
                argument.without_credentials()
                if hasattr(argument, "without_credentials")
                else argument
                for argument in self._arguments
            )
        )

    @property
    @abstractmethod
    def where(self) -> str:
        """The path or URL of the tracking data for messages, without credentials."""

    # Finding ---------------------------------------------------------------------------------

    @abstractmethod
    def find_experiments(
        self, experiment_names: ExperimentFilter = None, *, include_default: bool = False
    ) -> Experiments:
        """Return the experiments that match. Deleted experiments are excluded.

        The experiment 0, "Default", matches only its literal name in ``experiment_names``, never
        a glob, a callable or no filter.

        Args:
            experiment_names: The experiments to include.
            include_default: Whether globs, callables and no filter match "Default" too, as for a
                search by run ID.

        Raises:
            StorageError: If the experiments cannot be listed.
        """

    def find_names(self) -> tuple[list[str], list[Failure]]:
        """Return the names of all experiments but "Default", sorted, and the failures.

        They are those of `find_experiments`, but do not depend on where the experiments are.
        Experiments without a name are left out.
        """
        found = self.find_experiments()
        named = [experiment for experiment in found.matching if not experiment.is_nameless]
        return replace(found, matching=named).names, found.failures

    @abstractmethod
    def list_runs(
        self, experiments: Sequence[ExperimentRecord], limit: int | None = None
    ) -> RunListing:
        """Return the names of the runs in each experiment, for `read_runs`.

        An experiment that has been removed in the meantime has no runs.

        Args:
            experiments: The experiments to list.
            limit: The maximum number of names per experiment, by default all.
        """

    def list_narrowed(
        self,
        experiments: Sequence[ExperimentRecord],  # noqa: ARG002 - for others
        clauses: Sequence[Clause],  # noqa: ARG002
    ) -> RunListing | None:
        """Return the names of the runs that may meet all clauses, as `list_runs` does.

        None if the store cannot leave out any before they are read: then call `list_runs`.

        Args:
            experiments: The experiments to list.
            clauses: One or more clauses, of which the first ones may be applied alone.
        """
        return None

    def stream_runs(self, experiments: Sequence[ExperimentRecord]) -> RunStream:
        """Return what `list_runs` returns, in the same order, for runs that may exceed memory.

        A store that gets data with the names lists them in parts, during the iteration.
        """
        return RunStream.make(self.list_runs(experiments))

    @abstractmethod
    def read_runs(
        self, listed: Sequence[RunNames], *, include_deleted: bool | None = None
    ) -> FoundRuns:
        """Return the runs with the given names, in the same order.

        Names that do not belong to a run are skipped.

        Args:
            listed: The result of `list_runs` or `stream_runs`, or parts of it.
            include_deleted: Whether to include runs that were deleted in MLflow. None excludes
                them only if that needs no extra request per run.
        """

    def has_active_runs(self, experiments: Sequence[ExperimentRecord]) -> bool:
        """Whether there are runs in the experiments that are not deleted. Reads up to the first."""
        return any(
            self.read_runs([part.take(start, start + _BATCH_SIZE)]).records
            for part in self.list_runs(experiments).experiments
            for start in range(0, len(part.names), _BATCH_SIZE)
        )

    # Locations -------------------------------------------------------------------------------

    def artifacts(self, record: RunRecord) -> Place:
        """Return the artifacts directory of a run. It does not have to exist."""
        return record.artifacts_dir or self._get_artifacts_in(record)

    def _get_artifacts_in(self, run_dir: Place) -> Place:
        """Return the artifacts directory in a run directory."""
        storage, folder = run_dir.storage, self.artifacts_folder
        return Place(storage, storage.join(run_dir.path, folder) if folder else run_dir.path)

    def may_be_elsewhere(self, record: RunRecord) -> bool:  # noqa: ARG002
        """Whether `find_artifacts` may find another artifacts directory than `artifacts`.

        Nothing is read for the run itself.
        """
        return False

    def find_artifacts(
        self, records: Sequence[RunRecord]
    ) -> Sequence[RunRecord | KedroHydraflowError]:
        """Return the records with the artifacts directories that exist, or the error.

        This takes requests for each run. It is meant for runs that have no configuration in
        their `artifacts`.
        """
        return records

    @property
    def config_file(self) -> str:
        """The path of the configuration, relative to the run directory."""
        return self._get_relative(CONFIG_FILE)

    def _get_relative(self, artifact: str) -> str:
        """Return the path of an artifact, relative to the run directory."""
        folder = self.artifacts_folder
        return f"{folder}/{artifact}" if folder else artifact

    def locate_record(self, record: RunRecord) -> str:
        """Return where the facts of a run are recorded, for messages."""
        return record.url

    def config_url(self, record: RunRecord) -> str:
        """Return the URL of a run's configuration, for messages."""
        return self.artifacts(record).join(CONFIG_FILE).url

    def list_config_locations(self, record: RunRecord) -> list[str]:
        """Return where a run's configuration is looked for, for messages."""
        return [self.config_url(record)]

    def read_configs(
        self, records: Sequence[RunRecord], reader: ConfigReader
    ) -> Parsed[PlainConfig]:
        """Return the configuration of each run.

        Args:
            records: The runs.
            reader: Parses the configurations.

        Returns:
            For each run, its configuration (None if there is none, or the error) and the
            validator of its `config_file`.
        """
        return self._read_artifacts(records, CONFIG_FILE, reader.read)

    def read_parsed_files(
        self, records: Sequence[RunRecord], file: ParsedFile, index: Index = NO_INDEX
    ) -> list[Any | KedroHydraflowError | None]:
        """Return the parsed content of a file in the artifacts of each run, or the error.

        The content is None if there is no such file. Do not modify it: runs share parts of it.

        Args:
            records: The runs.
            file: The file.
            index: The cache of what was read. Like that of configurations, it is not used for
                artifacts outside of the run directories.
        """
        kind = f"{file.kind} {file.path}"
        relative = self._get_relative(file.path)
        parse = file.make_parser()
        contents: list[Any] = [None] * len(records)
        groups = group_positions((r.storage, r.artifacts_dir is None) for r in records)
        for (storage, is_in_place), positions in groups.items():
            group = [records[i] for i in positions]
            used = index if is_in_place else NO_INDEX
            recalled = used.recall(kind, storage, [r.path for r in group], relative)
            unread = [group[i] for i in recalled.unknown]
            parsed = self._read_artifacts(unread, file.path, parse)
            # Unlike `is_settled`: a job of Hydra may write the file at any time.
            are_settled = (is_finished(record.facts) for record in unread)
            validators = used.choose_validators(storage, parsed.validators, are_settled)
            found = recalled.complete(parsed.values, validators)
            for i, content in zip(positions, found, strict=True):
                contents[i] = content
        return contents

    def _read_artifacts(
        self, records: Sequence[RunRecord], file: str, parse: Callable[[bytes], T]
    ) -> Parsed[T]:
        """Read and parse a file in the artifacts directory of each run."""
        if any(record.artifacts_dir is not None for record in records):
            return read_parsed_in([self.artifacts(record) for record in records], file, parse)
        return read_parsed_in(records, self._get_relative(file), parse)

    def get_run_errors(self, records: Sequence[RunRecord]) -> Sequence[KedroHydraflowError | None]:
        """Return an error for each record whose directory is not a run, None for a run.

        See `get_folder_errors` for the types of errors.
        """
        return [None] * len(records)

    def find_models(self, record: RunRecord) -> dict[str, Place]:
        """Return the artifacts directory of each model that a run logged, by name.

        If a name was logged several times, it is that of the newest model. The models of an
        experiment are read at once, and cached under the condition of `name_experiment`.

        Raises:
            StorageError: If the models cannot be read.
        """
        experiment = record.experiment
        models = self._models.get(experiment.path)
        if models is None:
            models = {}
            for model in sorted(self._read_models(record), key=ModelRecord.sort_key):
                models.setdefault(model.run_id, []).append(model)
            if experiment.experiment_id.isdecimal():
                self._models[experiment.path] = models
        newest = {model.name: model for model in models.get(record.run_id, ())}
        return {name: self._locate_model(record, model) for name, model in newest.items()}

    def _read_models(self, record: RunRecord) -> list[ModelRecord]:  # noqa: ARG002 - for others
        """Return the models of all runs in a run's experiment, without deleted ones."""
        return []

    def _locate_model(self, record: RunRecord, model: ModelRecord) -> Place:
        """Return the artifacts directory of a model. It does not have to exist."""
        return record.experiment.join(MODELS_FOLDER, model.model_id, "artifacts")

    # Recorded data ---------------------------------------------------------------------------

    def read_settled(
        self, records: Sequence[RunRecord]
    ) -> Sequence[dict[str, Facts] | KedroHydraflowError | None]:
        """Return what is recorded of each run that is not expected to change, by kind.

        The kinds are those of `index_part`, besides the configuration. None for a run that may
        still change.
        """
        return [None] * len(records)

    def read_experiments(
        self,
        records: Iterable[RunRecord],  # noqa: ARG002 - for others
    ) -> list[tuple[Place, Facts]]:
        """Return what an index is to know of the experiments of runs, with their directories."""
        return []

    def get_run_id(self, experiment: ExperimentRecord, name: str) -> str:  # noqa: ARG002 - for others
        """Return the ID of the run that has a name in an experiment."""
        return name

    def has_unique_ids(self, record: RunRecord) -> bool:  # noqa: ARG002 - for others
        """Whether no run elsewhere has the ID of a run."""
        return True

    def is_settled(self, record: RunRecord) -> bool:
        """Whether the files of a run are not expected to change, by what is known of it."""
        return is_finished(record.facts)

    def name_experiments(
        self, records: Sequence[RunRecord]
    ) -> Sequence[ExperimentRecord | KedroHydraflowError]:
        """Return the experiment of each run, with its name if that is better read for many at once.

        By default, it is not: `name_experiment` reads the name of an experiment once.
        """
        return [record.experiment for record in records]

    def name_experiment(self, record: RunRecord) -> ExperimentRecord:
        """Return a run's experiment with its name, which is empty if it is not recorded.

        The name is cached, with two exceptions. An empty name is read again, because it may be
        about to be written. If the ID is not a number, the name is read for each run, because
        the directory may hold runs of several experiments.

        Raises:
            MetadataError: If the recorded name is malformed.
            StorageError: If the name cannot be read.
        """
        experiment = record.experiment
        if experiment.experiment_name is not None:
            return experiment
        key = experiment.path
        if key in self._named:
            return self._named[key]
        name = self._read_experiment_name(record)
        named = replace(experiment, experiment_name=name or "", is_nameless=name is None)
        if named.experiment_name and experiment.experiment_id.isdecimal():
            self._named[key] = named
        return named

    @abstractmethod
    def _read_experiment_name(self, record: RunRecord) -> str | None:
        """Return the name of a run's experiment, empty if it is not recorded, None for null."""

    @abstractmethod
    def read_facts(self, records: Sequence[RunRecord]) -> list[Facts | KedroHydraflowError | None]:
        """Return the facts of each run, or the error.

        Facts are empty if nothing is recorded. They are None if they are being written and should
        be read again later.
        """

    @abstractmethod
    def read_values(
        self, records: Sequence[RunRecord], kind: str, name: str
    ) -> Sequence[float | str | KedroHydraflowError | None]:
        """Return one metric (the latest value), param or tag of each run, or the error.

        A run that did not log it has None.

        Args:
            records: The runs.
            kind: ``metrics``, ``params`` or ``tags``.
            name: The name of the metric, param or tag.
        """

    @abstractmethod
    def read_all(
        self, records: Sequence[RunRecord], kind: str
    ) -> Sequence[dict[str, Any] | KedroHydraflowError]:
        """Return all metrics (the latest values), params or tags of each run by name, or the error.

        It is a `MalformedValuesError` if some of them are malformed.

        Args:
            records: The runs.
            kind: ``metrics``, ``params`` or ``tags``.
        """

    def read_first(
        self,
        records: Sequence[RunRecord],
        kind: str,
        limit: int,  # noqa: ARG002 - for others
    ) -> Sequence[dict[str, Any] | KedroHydraflowError]:
        """Return the result of `read_all`, or of each run only the first values by name.

        A store that has to open a file for each value leaves out what is beyond the limit.

        Args:
            records: As for `read_all`.
            kind: As for `read_all`.
            limit: The number of values of a run that have to be there, if it has as many.
        """
        return self.read_all(records, kind)

    @abstractmethod
    def read_histories(
        self, records: Sequence[RunRecord], name: str
    ) -> Sequence[list[Point] | KedroHydraflowError]:
        """Return all values of one metric of each run, sorted, or the error.

        The list is empty if the run has no such metric.
        """


class UntrackedStore(Store):
    """The base class of stores without tracking data: nothing is recorded about their runs.

    Args:
        place: The directory that holds the runs.
    """

    records_facts = False
    finds_folders = True

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._place = place

    @property
    @override
    def where(self) -> str:
        return self._place.url

    @override
    def list_runs(
        self, experiments: Sequence[ExperimentRecord], limit: int | None = None
    ) -> RunListing:
        failures: list[Failure] = []
        listed = []
        for experiment in experiments:
            names = experiment.run_names
            if names is None:
                names = self._list_names(experiment, failures)
            # Every run refers to this record: do not keep the names of all runs alive with it.
            listed.append(RunNames(replace(experiment, run_names=None), list(names[:limit])))
        return RunListing(listed, failures)

    @abstractmethod
    def _list_names(self, experiment: ExperimentRecord, failures: list[Failure]) -> tuple[str, ...]:
        """Return the names of an experiment's runs, listed anew, and add the failures."""

    @override
    def read_facts(self, records: Sequence[RunRecord]) -> list[Facts | KedroHydraflowError | None]:
        return [{} for _ in records]

    @override
    def read_values(self, records: Sequence[RunRecord], kind: str, name: str) -> list[None]:
        return [None] * len(records)

    @override
    def read_all(self, records: Sequence[RunRecord], kind: str) -> list[dict[str, float]]:
        return [{} for _ in records]

    @override
    def read_histories(self, records: Sequence[RunRecord], name: str) -> list[list[Point]]:
        return [[] for _ in records]


def make_name_filter(experiment_names: ExperimentFilter) -> Callable[[str], bool]:
    """Return a predicate on experiment names. A pattern also matches a name that is equal to it.

    Raises:
        OptionError: If the value is not an `ExperimentFilter`.
    """
    if experiment_names is None:
        return lambda _: True
    if callable(experiment_names):
        return experiment_names
    patterns = list_patterns(experiment_names)
    return lambda name: any(name == p or fnmatchcase(name, p) for p in patterns)


def make_experiment_filter(
    experiment_names: ExperimentFilter, *, include_default: bool
) -> Callable[[str, str | None], bool]:
    """Return a predicate on the ID and name of an experiment, for `Store.find_experiments`.

    The name None, of an experiment without one, matches only if there is no filter.
    """
    matches = make_name_filter(experiment_names)
    patterns = list_patterns(experiment_names)

    def match(experiment_id: str, name: str | None) -> bool:
        if experiment_id == DEFAULT_EXPERIMENT_ID and not include_default:
            return name in patterns  # also a name that is written like a glob
        return experiment_names is None if name is None else matches(name)

    return match


def list_patterns(experiment_names: ExperimentFilter) -> Sequence[str]:
    """Return the names and globs in a filter; none if it is a callable or None.

    Raises:
        OptionError: If the value is not an `ExperimentFilter`.
    """
    if experiment_names is None or callable(experiment_names):
        return ()
    patterns = (experiment_names,) if isinstance(experiment_names, str) else experiment_names
    if not isinstance(patterns, Sequence) or not all(isinstance(p, str) for p in patterns):
        raise OptionError(
            "experiment_names: expected a name or glob, a list of them, or a callable, "
            f"found {experiment_names!r}"
        )
    return patterns


def is_glob(pattern: str) -> bool:
    """Whether a name in ``experiment_names`` has wildcards."""
    return _GLOB.search(pattern) is not None
