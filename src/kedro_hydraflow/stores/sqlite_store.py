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
from typing import TYPE_CHECKING, Any, NamedTuple

from typing_extensions import override

from kedro_hydraflow.errors import KedroHydraflowError, MetadataError
from kedro_hydraflow.source import Source
from kedro_hydraflow.storage import locate
from kedro_hydraflow.stores.base import DEFAULT_EXPERIMENT_ID
from kedro_hydraflow.stores.foreign_values import (
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
    from collections.abc import Callable, Iterator, Mapping, Sequence

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
    CASE WHEN experiment_id = {DEFAULT_EXPERIMENT_ID} THEN (
        SELECT run_uuid FROM runs
        WHERE experiment_id = experiments.experiment_id AND lifecycle_stage IS NOT 'deleted'
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
            f"SELECT CAST(experiment_id AS TEXT), name, artifact_location, {_DEFAULT_RUN} "
            "FROM experiments WHERE lifecycle_stage IS NOT 'deleted' ORDER BY name, experiment_id"
        )
        return [
            # One name is enough for `has_active_runs`.
            RecordedExperiment(i, name, location, None if run_id is None else (str(run_id),))
            for i, name, location, run_id in rows
        ]

    @override
    def list_runs(
        self, experiments: Sequence[ExperimentRecord], limit: int | None = None
    ) -> RunListing:
        run_ids: dict[str, list[object]] = {e.experiment_id: [] for e in experiments}
        if limit is not None:
            select = "SELECT run_uuid FROM runs WHERE experiment_id = ? ORDER BY run_uuid LIMIT ?"
            for experiment_id in run_ids:
                rows = self._file.query(select, experiment_id, limit)
                run_ids[experiment_id] = [run_id for (run_id,) in rows]
        else:
            # One query for all: each is a full scan, as runs are not indexed by experiment.
            select = "SELECT CAST(experiment_id AS TEXT), run_uuid FROM runs ORDER BY run_uuid"
            for experiment_id, run_id in self._file.query(select):
                if experiment_id in run_ids:
                    run_ids[experiment_id].append(run_id)
        failures: list[Failure] = []
        listed = [
            RunNames(experiment, self._convert_ids(run_ids[experiment.experiment_id], failures))
            for experiment in experiments
        ]
        return RunListing(listed, failures)

    @override
    def list_narrowed(
        self, experiments: Sequence[ExperimentRecord], clauses: Sequence[Clause]
    ) -> RunListing:
        facts = [write_fact_clause(clause) for clause in clauses if clause.kind == "fact"]
        conditions = " AND ".join(condition for condition, _ in facts) or "1"
        select = (
            "SELECT CAST(experiment_id AS TEXT), run_uuid FROM runs "
            f"WHERE {conditions} ORDER BY run_uuid"
        )
        rows = self._file.query(select, *(value for _, values in facts for value in values))
        found: dict[str, list[object]] = {e.experiment_id: [] for e in experiments}
        for experiment_id, run_id in rows:
            if experiment_id in found:
                found[experiment_id].append(run_id)
        failures: list[Failure] = []
        names = {i: self._convert_ids(run_ids, failures) for i, run_ids in found.items()}
        run_ids = [name for listed in names.values() for name in listed]
        for clause in clauses:
            if clause.kind != "fact":
                table = _KINDS[clause.kind].table
                condition, values = write_logged_clause(clause)
                select = f"SELECT run_uuid FROM {table} WHERE key = ? AND {condition} AND {_WANTED}"
                run_ids = [i for (i,) in self._query_runs(select, run_ids, clause.name, *values)]
        kept = frozenset(run_ids)
        listed = [
            RunNames(e, [name for name in names[e.experiment_id] if name in kept])
            for e in experiments
        ]
        return RunListing(listed, failures, is_narrowed=True)

    @override
    def _read_runs(self, listed: Sequence[RunNames]) -> Mapping[str, RecordedRun]:
        select = f"SELECT run_uuid, artifact_uri, {_FACTS} FROM runs WHERE {_WANTED}"
        run_ids = [run_id for part in listed for run_id in part.names]
        return {
            run_id: RecordedRun(uri, _name_facts(facts))
            for run_id, uri, *facts in self._query_runs(select, run_ids)
        }

    @override
    def _read_uris(self, records: Sequence[RunRecord]) -> list[str | KedroHydraflowError]:
        select = f"SELECT run_uuid, artifact_uri FROM runs WHERE {_WANTED}"
        run_ids = [record.run_id for record in records]
        uris: dict[str, object] = dict(self._query_runs(select, run_ids))
        return [
            self._convert(run_id, "runs.artifact_uri", _decode_text, uris.get(run_id))
            for run_id in run_ids
        ]

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
        for (recorded,) in self._file.query(select, record.run_id):
            name = self._convert(record.run_id, "experiments.name", to_text, recorded)
            if isinstance(name, Exception):
                raise name
            return name
        return ""

    @override
    def read_facts(self, records: Sequence[RunRecord]) -> list[Facts | KedroHydraflowError | None]:
        select = f"SELECT run_uuid, {_FACTS} FROM runs WHERE {_WANTED}"
        run_ids = [record.run_id for record in records]
        found = {
            run_id: self._convert_facts(run_id, _name_facts(facts))
            for run_id, *facts in self._query_runs(select, run_ids)
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
                values[run_id] = decode(*value)
            except MetadataError as exc:  # noqa: PERF203 - a call for each value takes longer
                values[run_id] = self._locate_error(run_id, f"{table}.value of {name!r}", exc)
        return list(map(values.get, run_ids))

    @override
    def read_all(
        self, records: Sequence[RunRecord], kind: str
    ) -> list[dict[str, Any] | KedroHydraflowError]:
        table, columns, decode = _KINDS[kind]
        select = f"SELECT run_uuid, key, {columns} FROM {table} WHERE {_WANTED}"
        run_ids = [record.run_id for record in records]
        found: dict[str, dict[str, Any]] = {run_id: {} for run_id in run_ids}
        malformed: dict[str, list[MetadataError]] = {}
        for run_id, key, *value in self._query_runs(select, list(found)):
            if run_id not in found:
                continue  # an ID that only SQLite takes for equal
            try:
                name = key if type(key) is str else to_key(key)
                decoded = decode(*value)
            except MetadataError as exc:
                error = self._locate_error(run_id, f"{table} with the key {key!r}", exc)
                malformed.setdefault(run_id, []).append(error)
            else:
                if decoded is not None:
                    found[run_id][name] = decoded
        finished = {
            run_id: finish_values(values, malformed.get(run_id, []))
            for run_id, values in found.items()
        }
        return [finished[run_id] for run_id in run_ids]

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
        for run_id, step, timestamp, *recorded in self._query_runs(select, list(found), name):
            if run_id not in found:
                continue  # as in `read_all`
            try:
                value = _decode_metric(*recorded)
                if value is not None:
                    found[run_id].append(Point(to_integer(step), to_integer(timestamp), value))
            except MetadataError as exc:
                error = self._locate_error(run_id, f"metrics with the key {name!r}", exc)
                malformed.setdefault(run_id, error)
        return [malformed.get(run_id, found[run_id]) for run_id in run_ids]

    def _query_runs(
        self, select: str, run_ids: Sequence[str], *arguments: str | float
    ) -> Iterator[Row]:
        """Yield the rows of a query. Its last argument is the list of IDs of `_WANTED`."""
        for start in range(0, len(run_ids), _BATCH_SIZE):
            wanted = json.dumps(run_ids[start : start + _BATCH_SIZE])
            yield from self._file.query(select, *arguments, wanted)


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


def _name_facts(values: Sequence[object]) -> dict[str, object]:
    return dict(zip(_FACT_NAMES, values, strict=True))
