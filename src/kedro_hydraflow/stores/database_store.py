"""The base class of MLflow's databases: the rows of its tables as records.

``mlflow/store/tracking/dbmodels/models.py`` defines the tables. These columns are used:

- ``experiments(experiment_id, name, artifact_location, lifecycle_stage)``;
- ``runs(run_uuid, name, status, start_time, end_time, lifecycle_stage, artifact_uri,
  experiment_id)``;
- ``params`` and ``tags(key, value, run_uuid)``;
- ``logged_models(model_id, experiment_id, name, source_run_id, artifact_location,
  creation_timestamp_ms, lifecycle_stage)``, since MLflow 3;
- ``metrics`` and ``latest_metrics(key, value, timestamp, step, is_nan, run_uuid)``. NaN is
  stored as 0 with ``is_nan``, infinity as the largest float.

Subclasses query the tables, `foreign_values` converts what is in their columns.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from typing_extensions import override

from kedro_hydraflow.errors import KedroHydraflowError, MetadataError, prefix_error
from kedro_hydraflow.stores.foreign_values import (
    make_repeated_error,
    to_integer,
    to_key,
    to_number,
    to_text,
)
from kedro_hydraflow.stores.record import (
    ExperimentRecord,
    Facts,
    ModelRecord,
    Point,
    RunListing,
    RunNames,
    RunRecord,
)
from kedro_hydraflow.stores.recorded_store import RecordedRun, RecordedStore, finish_values

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from kedro_hydraflow.errors import Failure
    from kedro_hydraflow.stores.clauses import Clause

    Row = tuple[Any, ...]

BATCH_SIZE = 2000
"""The maximum number of runs per query by their IDs. In SQLite a query blocks writers, and MLflow
waits only seconds."""

FACT_NAMES = ("status", "run_name", "start_time", "end_time", "lifecycle_stage")
"""The names of the facts in ``runs``."""


class LoggedTable(NamedTuple):
    """Where the values of one of the `LOGGED_KINDS` are recorded."""

    name: str
    columns: tuple[str, ...]
    """The columns of a value."""

    decode: Callable[..., Any]
    """Converts a value. It is None if there is none."""


class DatabaseStore(RecordedStore):
    """The base class of MLflow's databases."""

    # Queries ---------------------------------------------------------------------------------

    @abstractmethod
    def _query_run_ids(
        self, experiment_ids: Sequence[str], limit: int | None = None
    ) -> Iterable[Row]:
        """Return the ID and the experiment ID of runs in experiments, or in others too.

        Args:
            experiment_ids: The experiments.
            limit: The maximum number of runs per experiment, those with the first IDs.
        """

    @abstractmethod
    def _query_narrowed_ids(
        self, experiment_ids: Sequence[str], clauses: Sequence[Clause]
    ) -> Iterable[Row]:
        """Return the results of `_query_run_ids` that meet clauses on facts."""

    @abstractmethod
    def _query_clause(self, run_ids: Sequence[str], clause: Clause) -> Iterable[Row]:
        """Return the IDs of runs that meet a clause on a logged value."""

    @abstractmethod
    def _query_runs(self, run_ids: Sequence[str]) -> Iterable[Row]:
        """Return the ID, the location and the `FACT_NAMES` of runs."""

    @abstractmethod
    def _query_values(self, run_ids: Sequence[str], table: LoggedTable, name: str) -> Iterable[Row]:
        """Return the ID of runs and the columns of a value in a table."""

    @abstractmethod
    def _query_all(self, run_ids: Sequence[str], table: LoggedTable) -> Iterable[Row]:
        """Return the ID of runs, the key and the columns of each value in a table."""

    @abstractmethod
    def _query_history(self, run_ids: Sequence[str], name: str) -> Iterable[Row]:
        """Return the ID of runs, step, timestamp, value and ``is_nan`` of a metric, sorted.

        They are sorted by step, then by timestamp, then by value, NaN first.
        """

    @abstractmethod
    def _query_models(self, run_id: str) -> Iterable[Row]:
        """Return the models in the experiment of a run that are not deleted.

        They are the ID, name, run, time of creation and location of each; none before MLflow 3.
        """

    @abstractmethod
    def _query_experiment_name(self, run_id: str) -> Sequence[Row]:
        """Return the name of a run's experiment."""

    # Runs ------------------------------------------------------------------------------------

    @override
    def list_runs(
        self, experiments: Sequence[ExperimentRecord], limit: int | None = None
    ) -> RunListing:
        experiment_ids = [experiment.experiment_id for experiment in experiments]
        return self._make_listing(experiments, self._query_run_ids(experiment_ids, limit))

    @override
    def list_narrowed(
        self, experiments: Sequence[ExperimentRecord], clauses: Sequence[Clause]
    ) -> RunListing | None:
        experiment_ids = [experiment.experiment_id for experiment in experiments]
        facts = [clause for clause in clauses if clause.kind == "fact"]
        listing = self._make_listing(experiments, self._query_narrowed_ids(experiment_ids, facts))
        run_ids = [name for part in listing.experiments for name in part.names]
        for clause in clauses:
            if clause.kind != "fact":
                run_ids = [run_id for (run_id,) in self._query_clause(run_ids, clause)]
        kept = frozenset(run_ids)
        listed = [
            RunNames(part.experiment, [name for name in part.names if name in kept])
            for part in listing.experiments
        ]
        return RunListing(listed, listing.failures, is_narrowed=True)

    def _make_listing(
        self, experiments: Sequence[ExperimentRecord], rows: Iterable[Row]
    ) -> RunListing:
        run_ids: dict[str, list[object]] = {e.experiment_id: [] for e in experiments}
        for run_id, experiment_id in sorted(rows, key=_sort_key):
            if experiment_id in run_ids:
                run_ids[experiment_id].append(run_id)
        failures: list[Failure] = []
        names = self._convert_ids(run_ids.values(), failures)
        return RunListing(list(map(RunNames, experiments, names)), failures)

    @override
    def _read_runs(self, listed: Sequence[RunNames]) -> Mapping[str, RecordedRun | MetadataError]:
        return self._read_recorded([run_id for part in listed for run_id in part.names])

    def _read_recorded(self, run_ids: Sequence[str]) -> dict[str, RecordedRun | MetadataError]:
        """Return the runs by ID, or an error where there are several rows."""
        rows: dict[str, RecordedRun] = {}
        numbers: Counter[str] = Counter()
        for run_id, uri, *facts in self._query_runs(run_ids):
            rows[run_id] = RecordedRun(uri, dict(zip(FACT_NAMES, facts, strict=True)))
            numbers[run_id] += 1
        return {
            run_id: run
            if numbers[run_id] == 1
            else make_repeated_error(numbers[run_id], "one run with this ID")
            for run_id, run in rows.items()
        }

    @override
    def _read_uris(self, records: Sequence[RunRecord]) -> list[str | KedroHydraflowError]:
        run_ids = [record.run_id for record in records]
        runs = self._read_recorded(run_ids)
        uris: list[str | KedroHydraflowError] = []
        for run_id in run_ids:
            run = runs.get(run_id, RecordedRun(None, {}))
            if isinstance(run, MetadataError):
                uris.append(prefix_error(f"{self.where}: run {run_id}", run))
            else:
                uris.append(self._convert(run_id, "runs.artifact_uri", _decode_text, run.uri))
        return uris

    @override
    def _read_models(self, record: RunRecord) -> list[ModelRecord]:
        return self._make_models(self._query_models(record.run_id))

    @override
    def _read_experiment_name(self, record: RunRecord) -> str | None:
        rows = self._query_experiment_name(record.run_id)
        if len(rows) > 1:
            what = "one run and experiment with this ID"
            raise prefix_error(
                f"{self.where}: run {record.run_id}", make_repeated_error(len(rows), what)
            )
        for (recorded,) in rows:
            name = self._convert(record.run_id, "experiments.name", to_text, recorded)
            if isinstance(name, Exception):
                raise name
            return name
        return ""

    # Values ----------------------------------------------------------------------------------

    @override
    def read_facts(self, records: Sequence[RunRecord]) -> list[Facts | KedroHydraflowError | None]:
        run_ids = [record.run_id for record in records]
        found = {
            run_id: prefix_error(f"{self.where}: run {run_id}", run)
            if isinstance(run, MetadataError)
            else self._convert_facts(run_id, run.facts)
            for run_id, run in self._read_recorded(run_ids).items()
        }
        return [found.get(run_id, {}) for run_id in run_ids]

    @override
    def read_values(
        self, records: Sequence[RunRecord], kind: str, name: str
    ) -> list[float | str | KedroHydraflowError | None]:
        table = LOGGED_TABLES[kind]
        run_ids = [record.run_id for record in records]
        values: dict[str, Any] = {}
        for run_id, *value in self._query_values(run_ids, table, name):
            try:
                if run_id in values:
                    raise make_repeated_error(2)
                values[run_id] = table.decode(*value)
            except MetadataError as exc:  # noqa: PERF203 - a call for each value takes longer
                values[run_id] = self._locate_error(run_id, f"{table.name}.value of {name!r}", exc)
        return list(map(values.get, run_ids))

    @override
    def read_all(
        self, records: Sequence[RunRecord], kind: str
    ) -> list[dict[str, Any] | KedroHydraflowError]:
        run_ids = [record.run_id for record in records]
        read: dict[str, dict[str, Any] | KedroHydraflowError] = {}
        for some in iter_batches(run_ids):
            read.update(self._read_batch(some, LOGGED_TABLES[kind]))
        return [read[run_id] for run_id in run_ids]

    def _read_batch(
        self, run_ids: Sequence[str], table: LoggedTable
    ) -> dict[str, dict[str, Any] | KedroHydraflowError]:
        """Return the values of runs, which one query takes, by ID and name."""
        found: dict[str, dict[str, Any]] = {run_id: {} for run_id in run_ids}
        malformed: dict[str, list[MetadataError]] = {}
        rows = list(self._query_all(run_ids, table))
        n_values = len(rows)
        for run_id, key, *value in rows:
            try:
                name = key if type(key) is str else to_key(key)
                decoded = table.decode(*value)
            except MetadataError as exc:  # noqa: PERF203 - as above
                n_values -= 1
                error = self._locate_error(run_id, f"{table.name} with the key {key!r}", exc)
                malformed.setdefault(run_id, []).append(error)
            else:
                if decoded is not None:
                    found[run_id][name] = decoded
                else:
                    n_values -= 1
        if n_values > sum(map(len, found.values())):  # rather than looking at each
            for (run_id, key), number in Counter(row[:2] for row in rows).items():
                if number > 1 and key in found[run_id]:
                    del found[run_id][key]
                    field = f"{table.name} with the key {key!r}"
                    error = self._locate_error(run_id, field, make_repeated_error(number))
                    malformed.setdefault(run_id, []).append(error)
        return {
            run_id: finish_values(values, malformed.get(run_id, []))
            for run_id, values in found.items()
        }

    @override
    def read_histories(
        self, records: Sequence[RunRecord], name: str
    ) -> list[list[Point] | KedroHydraflowError]:
        run_ids = [record.run_id for record in records]
        found: dict[str, list[Point]] = {run_id: [] for run_id in run_ids}
        malformed: dict[str, KedroHydraflowError] = {}
        for run_id, step, timestamp, *recorded in self._query_history(run_ids, name):
            try:
                value = decode_metric(*recorded)
                if value is not None:
                    found[run_id].append(Point(to_integer(step), to_integer(timestamp), value))
            except MetadataError as exc:  # noqa: PERF203 - as above
                error = self._locate_error(run_id, f"metrics with the key {name!r}", exc)
                malformed.setdefault(run_id, error)
        return [malformed.get(run_id, found[run_id]) for run_id in run_ids]


def iter_batches(run_ids: Iterable[str]) -> Iterator[list[str]]:
    """Yield the IDs for each query, each ID once."""
    unique = list(dict.fromkeys(run_ids))
    for start in range(0, len(unique), BATCH_SIZE):
        yield unique[start : start + BATCH_SIZE]


def decode_metric(value: object, is_nan: object) -> float | None:
    """Return the value of a metric, None for null."""
    if is_nan:
        return math.nan
    return to_number(value)


def _decode_text(value: object) -> str:
    return value if type(value) is str else to_text(value) or ""


LOGGED_TABLES = {
    "metrics": LoggedTable("latest_metrics", ("value", "is_nan"), decode_metric),
    "params": LoggedTable("params", ("value",), _decode_text),
    "tags": LoggedTable("tags", ("value",), _decode_text),
}
"""The tables of values, by kind."""


def _sort_key(row: Row) -> tuple[int, str]:
    """Return what to sort rows by, whose first column is an ID. IDs that are no text are last."""
    return (0, row[0]) if type(row[0]) is str else (1, "")
