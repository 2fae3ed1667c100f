"""MLflow's SQLite database, ``mlflow.db``, the default of recent versions.

``mlflow/store/tracking/dbmodels/models.py`` defines the tables. These columns are used:

- ``experiments(experiment_id, name, artifact_location, lifecycle_stage)``;
- ``runs(run_uuid, name, status, start_time, end_time, lifecycle_stage, artifact_uri,
  experiment_id)``;
- ``params`` and ``tags(key, value, run_uuid)``;
- ``logged_models(model_id, experiment_id, name, source_run_id, artifact_location,
  creation_timestamp_ms, lifecycle_stage)``, since MLflow 3;
- ``metrics`` and ``latest_metrics(key, value, timestamp, step, is_nan, run_uuid)``. NaN is
  stored as 0 with ``is_nan``, infinity as the largest float.

`sqlite_file` opens the database, `foreign_values` converts what is in its columns.
"""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from typing_extensions import override

from kedro_hydraflow.errors import KedroHydraflowError, MetadataError, prefix_error
from kedro_hydraflow.source import Source
from kedro_hydraflow.storage import locate
from kedro_hydraflow.stores.base import DEFAULT_EXPERIMENT_ID
from kedro_hydraflow.stores.foreign_values import (
    make_repeated_error,
    to_integer,
    to_key,
    to_number,
    to_text,
)
from kedro_hydraflow.stores.locations import RunLocator, list_real_places
from kedro_hydraflow.stores.record import (
    RUN_NAME_TAG,
    ExperimentRecord,
    Facts,
    ModelRecord,
    Point,
    RunListing,
    RunNames,
    RunRecord,
)
from kedro_hydraflow.stores.recorded_store import (
    RecordedExperiment,
    RecordedRun,
    RecordedStore,
    finish_values,
)
from kedro_hydraflow.stores.sql_clauses import write_fact_clause, write_logged_clause
from kedro_hydraflow.stores.sqlite_file import SqliteFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from kedro_hydraflow.errors import Failure
    from kedro_hydraflow.stores.clauses import Clause
    from kedro_hydraflow.stores.sqlite_file import Row


_PROBE_TIMEOUT = 3.0
"""Seconds to wait for a lock of a file that may be that of another program."""

_TABLES = (
    "experiments",
    "runs",
    "params",
    "tags",
    "metrics",
    "latest_metrics",
    "logged_models",
)
"""The tables that are read."""

_BATCH_SIZE = 2000
"""The maximum number of runs per query. A query blocks writers, and MLflow waits only seconds."""

_OWN_COLUMNS = (
    "runs.run_uuid",
    "runs.artifact_uri",
    "experiments.experiment_id",
    "experiments.artifact_location",
)
"""Columns by which MLflow's databases are told from others."""

_RUN_NAME = (
    "COALESCE(NULLIF(name, ''), (SELECT value FROM tags "
    f"WHERE tags.run_uuid = runs.run_uuid AND key = '{RUN_NAME_TAG}'))"
)

_FACTS = f"status, {_RUN_NAME}, start_time, end_time, lifecycle_stage"
_FACT_NAMES = ("status", "run_name", "start_time", "end_time", "lifecycle_stage")
"""The columns of facts in ``runs``, and the names of the facts."""

_DEFAULT_RUN = f"""
    CASE WHEN CAST(experiment_id AS TEXT) = '{DEFAULT_EXPERIMENT_ID}' THEN (
        SELECT run_uuid FROM runs
        WHERE CAST(experiment_id AS TEXT) = '{DEFAULT_EXPERIMENT_ID}'
        AND lifecycle_stage IS NOT 'deleted'
        LIMIT 1
    ) END"""
"""A column of ``experiments``: the ID of a run in "Default" that is not deleted."""

_WANTED = "run_uuid IN (SELECT value FROM json_each(?))"
"""A condition on run IDs. Its argument is a JSON list, because SQLite limits the number of
arguments."""


class _Kind(NamedTuple):
    """Where the values of one of the `LOGGED_KINDS` are recorded."""

    table: str
    columns: str
    """The columns of a value."""

    decode: Callable[..., Any]
    """Converts a value. It is None if there is none."""


class SqliteStore(RecordedStore):
    """An MLflow database in an SQLite file.

    Args:
        path: The file.
        source: The source with the artifact root and the storage options.
        root: A directory to search for artifacts, besides the directory of the file.
    """

    def __init__(self, path: str, source: Source | None = None, root: str | None = None) -> None:
        self._path = os.path.abspath(path)
        self._file = SqliteFile(self._path, _TABLES)
        folders = [place.parent for place in list_real_places(locate(self._path))]
        if root is not None:
            folders += list_real_places(locate(os.path.abspath(root)))
        locator = RunLocator(source or Source(self._path), folders)
        super().__init__(locator, self._path, source, root)

    @property
    @override
    def where(self) -> str:
        return self._path

    def is_mlflow(self) -> bool:
        """Whether the file has MLflow's tables. Waits only some seconds for a lock."""
        # Only of tables: the columns of a view may need tables that do not exist.
        select = (
            "SELECT count(*) FROM sqlite_master AS t JOIN pragma_table_info(t.name) AS c "
            "WHERE t.type = 'table' AND t.name || '.' || c.name IN (?, ?, ?, ?)"
        )
        rows = self._file.query_schema(select, *_OWN_COLUMNS, timeout=_PROBE_TIMEOUT)
        return rows == [(4,)]

    def has_runs(self) -> bool:
        """Whether the database has any runs, including deleted ones. Waits like `is_mlflow`."""
        return bool(self._file.query("SELECT 1 FROM runs LIMIT 1", timeout=_PROBE_TIMEOUT))

    def select_run_ids(self, run_ids: Sequence[str]) -> frozenset[str]:
        """Return the given run IDs that the database has, including deleted runs."""
        rows = self._query_runs(f"SELECT run_uuid FROM runs WHERE {_WANTED}", run_ids)
        return frozenset(run_ids).intersection(run_id for (run_id,) in rows)

    def list_run_ids(self) -> dict[str, str]:
        """Return the experiment ID of each run by run ID, including deleted runs.

        Runs whose IDs are malformed are left out.
        """
        rows = self._file.query("SELECT run_uuid, CAST(experiment_id AS TEXT) FROM runs")
        return {run_id: str(of_run) for run_id, of_run in rows if type(run_id) is str}

    def list_locations(self) -> list[tuple[str, str]]:
        """Return the ID and the recorded location of each experiment, with deleted ones.

        Locations that are no text are empty.
        """
        select = "SELECT CAST(experiment_id AS TEXT), artifact_location FROM experiments"
        return [
            (str(experiment_id), location if type(location) is str else "")
            for experiment_id, location in self._file.query(select)
        ]

    @override
    def has_active_runs(self, experiments: Sequence[ExperimentRecord]) -> bool:
        return any(experiment.run_names for experiment in experiments)

    @override
    def _list_experiments(self) -> list[RecordedExperiment]:
        rows = self._file.query(
            f"SELECT CAST(experiment_id AS TEXT), name, artifact_location, {_DEFAULT_RUN}, "
            "lifecycle_stage IS NOT 'deleted' FROM experiments ORDER BY name, experiment_id"
        )
        active = {row[0] for row in rows if row[-1]}
        return [
            # One name is enough for `has_active_runs`.
            RecordedExperiment(i, name, location, None if run_id is None else (str(run_id),))
            for i, name, location, run_id, _ in rows
            if i in active
        ]

    @override
    def list_runs(
        self, experiments: Sequence[ExperimentRecord], limit: int | None = None
    ) -> RunListing:
        run_ids: dict[str, list[object]] = {e.experiment_id: [] for e in experiments}
        if limit is not None:
            select = (
                "SELECT run_uuid FROM runs WHERE CAST(experiment_id AS TEXT) = ? "
                "ORDER BY run_uuid LIMIT ?"
            )
            for experiment_id in run_ids:
                rows = self._file.query(select, experiment_id, limit)
                run_ids[experiment_id] = [run_id for (run_id,) in rows]
        else:
            # One query for all: each is a full scan, as runs are not indexed by experiment.
            rows = self._file.scan("runs", "run_uuid, CAST(experiment_id AS TEXT)")
            for _, run_id, experiment_id in _sort_by_id(rows):
                if experiment_id in run_ids:
                    run_ids[experiment_id].append(run_id)
        failures: list[Failure] = []
        names = self._convert_ids(run_ids.values(), failures)
        return RunListing(list(map(RunNames, experiments, names)), failures)

    @override
    def list_narrowed(
        self, experiments: Sequence[ExperimentRecord], clauses: Sequence[Clause]
    ) -> RunListing:
        facts = [write_fact_clause(clause) for clause in clauses if clause.kind == "fact"]
        conditions = " AND ".join(condition for condition, _ in facts) or "1"
        columns = f"run_uuid, CAST(experiment_id AS TEXT), {conditions}"
        values_of_facts = [value for _, values in facts for value in values]
        rows = self._file.scan("runs", columns, *values_of_facts)
        found: dict[str, list[object]] = {e.experiment_id: [] for e in experiments}
        for _, run_id, experiment_id, is_met in _sort_by_id(rows):
            if is_met and experiment_id in found:
                found[experiment_id].append(run_id)
        failures: list[Failure] = []
        names = self._convert_ids(found.values(), failures)
        run_ids = [name for of_experiment in names for name in of_experiment]
        for clause in clauses:
            if clause.kind != "fact":
                table = _KINDS[clause.kind].table
                condition, values = write_logged_clause(clause)
                select = f"SELECT run_uuid FROM {table} WHERE key = ? AND {condition} AND {_WANTED}"
                run_ids = [i for (i,) in self._query_runs(select, run_ids, clause.name, *values)]
        kept = frozenset(run_ids)
        listed = [
            RunNames(experiment, [name for name in of_experiment if name in kept])
            for experiment, of_experiment in zip(experiments, names, strict=True)
        ]
        return RunListing(listed, failures, is_narrowed=True)

    @override
    def _read_runs(self, listed: Sequence[RunNames]) -> Mapping[str, RecordedRun | MetadataError]:
        run_ids = [run_id for part in listed for run_id in part.names]
        rows = self._read_rows(f"artifact_uri, {_FACTS}", run_ids)
        self._check_removed([run_id for run_id in run_ids if run_id not in rows])
        return {
            run_id: row
            if isinstance(row, MetadataError)
            else RecordedRun(row[0], _name_facts(row[1:]))
            for run_id, row in rows.items()
        }

    def _check_removed(self, run_ids: Sequence[str]) -> None:
        """Raise TrackingDirectoryError if runs that an index lacks are in the table."""
        if run_ids:
            select = f"SELECT run_uuid FROM runs NOT INDEXED WHERE {_WANTED}"
            for (run_id,) in self._query_runs(select, run_ids):
                raise self._file.make_damage_error(f"an index lacks the run {run_id}")

    def _read_rows(
        self, columns: str, run_ids: Sequence[str]
    ) -> dict[str, list[Any] | MetadataError]:
        """Return the columns of runs by ID, or an error where there are several rows."""
        select = f"SELECT run_uuid, {columns} FROM runs WHERE {_WANTED}"
        rows: dict[str, list[Any]] = {}
        numbers: Counter[str] = Counter()
        for run_id, *row in self._query_runs(select, run_ids):
            rows[run_id] = row
            numbers[run_id] += 1
        return {
            run_id: row
            if numbers[run_id] == 1
            else make_repeated_error(numbers[run_id], "one run with this ID")
            for run_id, row in rows.items()
        }

    @override
    def _read_uris(self, records: Sequence[RunRecord]) -> list[str | KedroHydraflowError]:
        run_ids = [record.run_id for record in records]
        rows = self._read_rows("artifact_uri", run_ids)
        uris: list[str | KedroHydraflowError] = []
        for run_id in run_ids:
            row = rows.get(run_id, [None])
            if isinstance(row, MetadataError):
                uris.append(prefix_error(f"{self.where}: run {run_id}", row))
            else:
                uris.append(self._convert(run_id, "runs.artifact_uri", _decode_text, row[0]))
        return uris

    @override
    def _read_models(self, record: RunRecord) -> list[ModelRecord]:
        # MLflow before 3 has no such table.
        exists = "SELECT 1 FROM sqlite_master WHERE name = 'logged_models'"
        if not self._file.query_schema(exists):
            return []
        select = (
            "SELECT model_id, name, source_run_id, creation_timestamp_ms, artifact_location "
            "FROM logged_models WHERE lifecycle_stage IS NOT 'deleted' "
            "AND source_run_id IS NOT NULL "
            "AND experiment_id = (SELECT experiment_id FROM runs WHERE run_uuid = ?)"
        )
        return self._make_models(self._file.query(select, record.run_id))

    @override
    def _read_experiment_name(self, record: RunRecord) -> str | None:
        select = (
            "SELECT e.name FROM experiments AS e JOIN runs USING (experiment_id) WHERE run_uuid = ?"
        )
        rows = self._file.query(select, record.run_id)
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

    @override
    def read_facts(self, records: Sequence[RunRecord]) -> list[Facts | KedroHydraflowError | None]:
        run_ids = [record.run_id for record in records]
        found = {
            run_id: prefix_error(f"{self.where}: run {run_id}", row)
            if isinstance(row, MetadataError)
            else self._convert_facts(run_id, _name_facts(row))
            for run_id, row in self._read_rows(_FACTS, run_ids).items()
        }
        return [found.get(run_id, {}) for run_id in run_ids]

    @override
    def read_values(
        self, records: Sequence[RunRecord], kind: str, name: str
    ) -> list[float | str | KedroHydraflowError | None]:
        table, columns, decode = _KINDS[kind]
        select = f"SELECT run_uuid, {columns} FROM {table} WHERE key = ? AND {_WANTED}"
        run_ids = [record.run_id for record in records]
        values: dict[str, Any] = {}
        for run_id, *value in self._query_runs(select, run_ids, name):
            try:
                if run_id in values:
                    raise make_repeated_error(2)
                values[run_id] = decode(*value)
            except MetadataError as exc:  # noqa: PERF203 - a call for each value takes longer
                values[run_id] = self._locate_error(run_id, f"{table}.value of {name!r}", exc)
        return list(map(values.get, run_ids))

    @override
    def read_all(
        self, records: Sequence[RunRecord], kind: str
    ) -> list[dict[str, Any] | KedroHydraflowError]:
        run_ids = [record.run_id for record in records]
        read: dict[str, dict[str, Any] | KedroHydraflowError] = {}
        for some in _iter_batches(run_ids):
            read.update(self._read_batch(some, kind))
        return [read[run_id] for run_id in run_ids]

    def _read_batch(
        self, run_ids: Sequence[str], kind: str
    ) -> dict[str, dict[str, Any] | KedroHydraflowError]:
        """Return the values of runs, which one query takes, by ID and name."""
        table, columns, decode = _KINDS[kind]
        select = f"SELECT run_uuid, key, {columns} FROM {table} WHERE {_WANTED}"
        found: dict[str, dict[str, Any]] = {run_id: {} for run_id in run_ids}
        malformed: dict[str, list[MetadataError]] = {}
        rows = self._file.query(select, json.dumps(run_ids))
        n_values = len(rows)
        for run_id, key, *value in rows:
            if run_id not in found:
                n_values -= 1
                continue  # an ID that only SQLite takes for equal
            try:
                name = key if type(key) is str else to_key(key)
                decoded = decode(*value)
            except MetadataError as exc:
                n_values -= 1
                error = self._locate_error(run_id, f"{table} with the key {key!r}", exc)
                malformed.setdefault(run_id, []).append(error)
            else:
                if decoded is not None:
                    found[run_id][name] = decoded
                else:
                    n_values -= 1
        if n_values > sum(map(len, found.values())):  # rather than looking at each
            for (run_id, key), number in Counter(row[:2] for row in rows).items():
                if number > 1 and key in found.get(run_id, ()):
                    del found[run_id][key]
                    field = f"{table} with the key {key!r}"
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
        select = (
            "SELECT run_uuid, step, timestamp, value, is_nan FROM metrics "
            f"WHERE key = ? AND {_WANTED} ORDER BY step, timestamp, is_nan DESC, value"
        )
        run_ids = [record.run_id for record in records]
        found: dict[str, list[Point]] = {run_id: [] for run_id in run_ids}
        malformed: dict[str, KedroHydraflowError] = {}
        for run_id, step, timestamp, *recorded in self._query_runs(select, run_ids, name):
            try:
                value = _decode_metric(*recorded)
                if value is not None:
                    found[run_id].append(Point(to_integer(step), to_integer(timestamp), value))
            except MetadataError as exc:  # noqa: PERF203 - as above
                error = self._locate_error(run_id, f"metrics with the key {name!r}", exc)
                malformed.setdefault(run_id, error)
        return [malformed.get(run_id, found[run_id]) for run_id in run_ids]

    def _query_runs(
        self, select: str, run_ids: Sequence[str], *arguments: str | float
    ) -> Iterator[Row]:
        """Yield the rows of a query about runs, whose IDs it has to return first.

        Its last argument is the list of IDs of `_WANTED`.
        """
        for some in _iter_batches(run_ids):
            wanted = frozenset(some)
            for row in self._file.query(select, *arguments, json.dumps(some)):
                if row[0] in wanted:  # exactly, not only for SQLite
                    yield row


def _iter_batches(run_ids: Iterable[str]) -> Iterator[list[str]]:
    """Yield the IDs for each query, each ID once."""
    unique = list(dict.fromkeys(run_ids))
    for start in range(0, len(unique), _BATCH_SIZE):
        yield unique[start : start + _BATCH_SIZE]


def _decode_metric(value: object, is_nan: object) -> float | None:
    if is_nan:
        return math.nan
    return to_number(value)


def _decode_text(value: object) -> str:
    return value if type(value) is str else to_text(value) or ""


_KINDS = {
    "metrics": _Kind("latest_metrics", "value, is_nan", _decode_metric),
    "params": _Kind("params", "value", _decode_text),
    "tags": _Kind("tags", "value", _decode_text),
}


def _sort_by_id(rows: list[Row]) -> list[Row]:
    """Return rows, whose second column is an ID, sorted by it. IDs that are no text are last."""
    return sorted(rows, key=lambda row: (0, row[1]) if type(row[1]) is str else (1, ""))


def _name_facts(values: Sequence[object]) -> dict[str, object]:
    return dict(zip(_FACT_NAMES, values, strict=True))
