"""The base class of databases and servers, which say where experiments and runs are."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from typing_extensions import override

from kedro_hydraflow.errors import (
    Failure,
    KedroHydraflowError,
    MetadataError,
    prefix_error,
)
from kedro_hydraflow.logs import get_logger
from kedro_hydraflow.storage import LocalStorage
from kedro_hydraflow.stores.base import (
    DEFAULT_EXPERIMENT_ID,
    ExperimentFilter,
    make_experiment_filter,
)
from kedro_hydraflow.stores.foreign_values import (
    attempt,
    make_repeated_error,
    to_facts,
    to_id,
    to_integer,
    to_text,
)
from kedro_hydraflow.stores.record import (
    ExperimentRecord,
    Experiments,
    FoundRuns,
    MalformedValuesError,
    ModelRecord,
    RunRecord,
    is_deleted,
)
from kedro_hydraflow.stores.tracked_store import TrackedStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from kedro_hydraflow.stores.locations import RunLocator
    from kedro_hydraflow.stores.record import Facts, RunNames

    Logged = Mapping[str, Mapping[str, Any]]

T = TypeVar("T")
V = TypeVar("V")

logger = get_logger(__name__)


class RecordedExperiment(NamedTuple):
    """An experiment as it is recorded, with values of any type."""

    experiment_id: object
    name: object
    location: object
    run_names: tuple[str, ...] | None = None


class RecordedRun(NamedTuple):
    """A run as it is recorded, with values of any type."""

    uri: object
    facts: Mapping[str, object]
    logged: Logged | None = None
    """The values that are not malformed, by kind and name; None if they have not been read."""


class RecordedStore(TrackedStore):
    """The base class of databases and servers, which say where experiments and runs are.

    Args:
        locator: Finds the directories.
        *arguments: The arguments of the constructor, see `Store`.
    """

    def __init__(self, locator: RunLocator, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._locator = locator

    @override
    def _get_locator(self, record: RunRecord) -> RunLocator:
        return self._locator

    # Experiments -----------------------------------------------------------------------------

    @abstractmethod
    def _list_experiments(self) -> list[RecordedExperiment]:
        """Return the experiments that are not deleted, sorted by name, then by ID.

        Others with the same ID are included: they have the same runs.
        """

    @override
    def find_experiments(
        self, experiment_names: ExperimentFilter = None, *, include_default: bool = False
    ) -> Experiments:
        matches = make_experiment_filter(experiment_names, include_default=include_default)
        self._locator.check_root()
        found = Experiments([], [], [])
        experiments = self._make_experiments(found.failures)
        numbers = Counter(experiment.experiment_id for experiment in experiments)
        repeated: dict[str, Failure] = {}
        for experiment in experiments:
            experiment_id, name = experiment.experiment_id, experiment.shown_name
            if not matches(experiment_id, name):
                if experiment_id == DEFAULT_EXPERIMENT_ID:
                    found.defaults.append(experiment)
                else:
                    found.other_names.append(name or experiment_id)
                continue
            if numbers[experiment_id] > 1:
                repeated[experiment_id] = self._fail_repeated(experiment_id, numbers)
                found.unlocated.append(name or "")
                continue
            try:
                found.matching.append(self._locate_experiment(experiment))
            except KedroHydraflowError as exc:
                if self._locator.has_root:
                    raise  # the same for all
                found.failures.append(self._fail("experiment", repr(name or experiment_id), exc))
                found.unlocated.append(name or "")
        found.failures.extend(repeated.values())
        return found

    @override
    def find_names(self) -> tuple[list[str], list[Failure]]:
        names = []
        failures: list[Failure] = []
        experiments = self._make_experiments(failures)
        numbers = Counter(experiment.experiment_id for experiment in experiments)
        failures += [self._fail_repeated(i, numbers) for i, n in numbers.items() if n > 1]
        for experiment in experiments:
            experiment_id = experiment.experiment_id
            is_listed = experiment_id != DEFAULT_EXPERIMENT_ID and not experiment.is_nameless
            if is_listed and numbers[experiment_id] == 1:
                names.append(experiment.experiment_name or "")
        return names, failures

    def _make_experiments(self, failures: list[Failure]) -> list[ExperimentRecord]:
        """Return the experiments, without directories, and add others to the failures."""
        made = []
        for recorded in self._list_experiments():
            experiment = attempt(self._make_experiment, recorded)
            if isinstance(experiment, MetadataError):
                failures.append(self._fail("experiment", recorded.experiment_id, experiment))
            else:
                made.append(experiment)
        return made

    def _fail_repeated(self, experiment_id: str, numbers: Mapping[str, int]) -> Failure:
        error = make_repeated_error(numbers[experiment_id], "one experiment with this ID")
        return self._fail("experiment", experiment_id, error)

    def _make_experiment(self, recorded: RecordedExperiment) -> ExperimentRecord:
        """Return the record of an experiment, without its directory.

        Raises:
            MetadataError: If a value is malformed.
        """
        experiment_id = convert("experiments.experiment_id", to_id, recorded.experiment_id)
        name = convert("experiments.name", to_text, recorded.name)
        location = convert("experiments.artifact_location", to_text, recorded.location)
        return ExperimentRecord(
            LocalStorage(),
            "",
            experiment_id,
            name or "",
            recorded.run_names,
            location or "",
            is_nameless=name is None,
        )

    def _locate_experiment(self, experiment: ExperimentRecord) -> ExperimentRecord:
        """Return the record of an experiment with its directory.

        Raises:
            KedroHydraflowError: If the directory cannot be located.
        """
        location = experiment.artifact_location
        place = self._locator.find_experiment(experiment.experiment_id, location)
        return replace(experiment, storage=place.storage, path=place.path, run_names=None)

    # Runs ------------------------------------------------------------------------------------

    def _convert_ids(
        self, run_ids: Iterable[Iterable[object]], failures: list[Failure]
    ) -> list[list[str]]:
        """Return the IDs of the runs in each experiment.

        Each is in the result once: `_read_runs` returns an error for one that is in two
        experiments.

        Args:
            run_ids: The recorded IDs.
            failures: Where those that are malformed are added.
        """
        converted: list[list[str]] = []
        known: set[str] = set()
        for of_experiment in run_ids:
            names = []
            for run_id in of_experiment:
                name = attempt(to_id, run_id)
                if isinstance(name, MetadataError):
                    failures.append(self._fail("runs.run_uuid", run_id, name))
                elif name not in known:
                    known.add(name)
                    names.append(name)
            converted.append(names)
        return converted

    @abstractmethod
    def _read_runs(
        self, listed: Sequence[RunNames]
    ) -> Mapping[str, RecordedRun | KedroHydraflowError]:
        """Return the listed runs that exist by ID, or the error of reading one."""

    @override
    def read_runs(
        self, listed: Sequence[RunNames], *, include_deleted: bool | None = None
    ) -> FoundRuns:
        recorded = self._read_runs(listed)
        found = FoundRuns([], [])
        n_deleted = 0
        for part in listed:
            for run_id in part.names:
                run = recorded.get(run_id)
                if run is None:
                    continue  # removed in the meantime
                try:
                    uri, facts, logged = _convert_run(run)
                except KedroHydraflowError as exc:
                    found.failures.append(self._fail("run", run_id, exc))
                    continue
                if is_deleted(facts) and not include_deleted:
                    n_deleted += 1
                    continue
                try:
                    place = self._locator.find(part.experiment.experiment_id, run_id, uri)
                except KedroHydraflowError as exc:
                    if self._locator.has_root:
                        raise  # the same for all
                    found.failures.append(self._fail("run", run_id, exc))
                    continue
                known = place.storage, place.path, run_id, part.experiment, facts, logged
                found.records.append(RunRecord(*known))
        return replace(found, n_deleted=n_deleted)

    def _fail(self, what: str, name: object, error: Exception) -> Failure:
        return Failure(f"{self.where}: {what} {name}", error)

    # Values ----------------------------------------------------------------------------------

    def _convert(
        self, run_id: str, field: str, function: Callable[[V], T], value: V
    ) -> T | KedroHydraflowError:
        """Return a converted field of a run, or the error."""
        converted = attempt(function, value)
        if isinstance(converted, MetadataError):
            return self._locate_error(run_id, field, converted)
        return converted

    @override
    def locate_record(self, record: RunRecord) -> str:
        return f"{self.where}: run {record.run_id}"

    def _convert_facts(
        self, run_id: str, recorded: Mapping[str, object]
    ) -> Facts | KedroHydraflowError:
        """Return the facts of a run, or the error."""
        facts = attempt(to_facts, recorded)
        if isinstance(facts, MetadataError):
            return prefix_error(f"{self.where}: run {run_id}", facts)
        return facts

    def _locate_error(self, run_id: str, field: str, error: MetadataError) -> MetadataError:
        """Return the error of converting a field of a run, with the place of the field."""
        return prefix_error(f"{self.where}: run {run_id}: {field}", error)

    def _make_models(self, recorded: Iterable[Sequence[object]]) -> list[ModelRecord]:
        """Return the models, for each its ID, name, run, time of creation and location.

        What is malformed is logged.
        """
        models = []
        for model in recorded:
            converted = attempt(_convert_model, model)
            if isinstance(converted, MetadataError):
                logger.warning("skipped: %s: model %s: %s", self.where, model[0], converted)
            else:
                models.append(converted)
        return models


def finish_values(
    values: dict[str, Any], malformed: list[MetadataError]
) -> dict[str, Any] | KedroHydraflowError:
    """Return the values of a run sorted by name, or the error if others are malformed."""
    ordered = dict(sorted(values.items()))
    return MalformedValuesError.make(ordered, malformed) if malformed else ordered


def _convert_model(recorded: Sequence[object]) -> ModelRecord:
    model_id, name, run_id, created, location = recorded
    return ModelRecord(
        to_id(model_id),
        to_text(name) or "",
        to_text(run_id) or "",
        to_integer(created or 0),
        to_text(location) or "",
    )


def _convert_run(run: RecordedRun | KedroHydraflowError) -> tuple[str, Facts, Logged | None]:
    """Return the recorded location, the facts and the logged values of a run.

    Raises:
        MetadataError: If a value is malformed.
        KedroHydraflowError: If the run could not be read.
    """
    if isinstance(run, KedroHydraflowError):
        raise run
    uri = convert("runs.artifact_uri", to_text, run.uri)
    return uri or "", to_facts(run.facts), run.logged


def convert(field: str, function: Callable[[object], T], value: object) -> T:
    """Return a converted value.

    Raises:
        MetadataError: If the value is malformed. The error names the field.
    """
    try:
        return function(value)
    except MetadataError as exc:
        raise prefix_error(field, exc) from exc
