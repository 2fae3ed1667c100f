"""MLflow's SQLite database, ``mlflow.db``, the default of recent versions.

`sqlite_file` opens the database.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from typing_extensions import override

from kedro_hydraflow.source import Source
from kedro_hydraflow.storage import locate
from kedro_hydraflow.stores.base import DEFAULT_EXPERIMENT_ID
from kedro_hydraflow.stores.database_store import (
    LOGGED_TABLES,
    DatabaseStore,
    LoggedTable,
    iter_batches,
)
from kedro_hydraflow.stores.locations import RunLocator, list_real_places
from kedro_hydraflow.stores.record import RUN_NAME_TAG, ExperimentRecord
from kedro_hydraflow.stores.recorded_store import RecordedExperiment
from kedro_hydraflow.stores.sql_clauses import write_fact_clause, write_logged_clause
from kedro_hydraflow.stores.sqlite_file import SqliteFile

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from kedro_hydraflow.errors import MetadataError
    from kedro_hydraflow.stores.clauses import Clause
    from kedro_hydraflow.stores.record import RunNames
    from kedro_hydraflow.stores.recorded_store import RecordedRun
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
"""The columns of facts in ``runs``."""

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


class SqliteStore(DatabaseStore):
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
        rows = self._query_by_id(f"SELECT run_uuid FROM runs WHERE {_WANTED}", run_ids)
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
    def _query_run_ids(
        self, experiment_ids: Sequence[str], limit: int | None = None
    ) -> Iterator[Row]:
        if limit is None:
            # One query for all: each is a full scan, as runs are not indexed by experiment.
            yield from self._scan_runs()
            return
        select = (
            "SELECT run_uuid, CAST(experiment_id AS TEXT) FROM runs "
            "WHERE CAST(experiment_id AS TEXT) = ? ORDER BY run_uuid LIMIT ?"
        )
        for experiment_id in experiment_ids:
            yield from self._file.query(select, experiment_id, limit)

    def _scan_runs(self, condition: str = "1", *arguments: str | float) -> Iterator[Row]:
        """Yield the ID and the experiment ID of the runs that meet a condition."""
        columns = f"run_uuid, CAST(experiment_id AS TEXT), {condition}"
        for _, run_id, experiment_id, is_met in self._file.scan("runs", columns, *arguments):
            if is_met:
                yield run_id, experiment_id

    @override
    def _query_narrowed_ids(
        self, experiment_ids: Sequence[str], clauses: Sequence[Clause]
    ) -> Iterator[Row]:
        written = [write_fact_clause(clause) for clause in clauses]
        conditions = " AND ".join(condition for condition, _ in written) or "1"
        return self._scan_runs(conditions, *(value for _, values in written for value in values))

    @override
    def _query_clause(self, run_ids: Sequence[str], clause: Clause) -> Iterator[Row]:
        table = LOGGED_TABLES[clause.kind].name
        condition, values = write_logged_clause(clause)
        select = f"SELECT run_uuid FROM {table} WHERE key = ? AND {condition} AND {_WANTED}"
        return self._query_by_id(select, run_ids, clause.name, *values)

    @override
    def _read_runs(self, listed: Sequence[RunNames]) -> Mapping[str, RecordedRun | MetadataError]:
        runs = super()._read_runs(listed)
        self._check_removed([i for part in listed for i in part.names if i not in runs])
        return runs

    def _check_removed(self, run_ids: Sequence[str]) -> None:
        """Raise TrackingDirectoryError if runs that an index lacks are in the table."""
        if run_ids:
            select = f"SELECT run_uuid FROM runs NOT INDEXED WHERE {_WANTED}"
            for (run_id,) in self._query_by_id(select, run_ids):
                raise self._file.make_damage_error(f"an index lacks the run {run_id}")

    @override
    def _query_runs(self, run_ids: Sequence[str]) -> Iterator[Row]:
        select = f"SELECT run_uuid, artifact_uri, {_FACTS} FROM runs WHERE {_WANTED}"
        return self._query_by_id(select, run_ids)

    @override
    def _query_models(self, run_id: str) -> list[Row]:
        exists = "SELECT 1 FROM sqlite_master WHERE name = 'logged_models'"
        if not self._file.query_schema(exists):
            return []
        select = (
            "SELECT model_id, name, source_run_id, creation_timestamp_ms, artifact_location "
            "FROM logged_models WHERE lifecycle_stage IS NOT 'deleted' "
            "AND source_run_id IS NOT NULL "
            "AND experiment_id = (SELECT experiment_id FROM runs WHERE run_uuid = ?)"
        )
        return self._file.query(select, run_id)

    @override
    def _query_experiment_name(self, run_id: str) -> list[Row]:
        select = (
            "SELECT e.name FROM experiments AS e JOIN runs USING (experiment_id) WHERE run_uuid = ?"
        )
        return self._file.query(select, run_id)

    @override
    def _query_values(self, run_ids: Sequence[str], table: LoggedTable, name: str) -> Iterator[Row]:
        columns = ", ".join(table.columns)
        select = f"SELECT run_uuid, {columns} FROM {table.name} WHERE key = ? AND {_WANTED}"
        return self._query_by_id(select, run_ids, name)

    @override
    def _query_all(self, run_ids: Sequence[str], table: LoggedTable) -> Iterator[Row]:
        columns = ", ".join(table.columns)
        select = f"SELECT run_uuid, key, {columns} FROM {table.name} WHERE {_WANTED}"
        return self._query_by_id(select, run_ids)

    @override
    def _query_history(self, run_ids: Sequence[str], name: str) -> Iterator[Row]:
        select = (
            "SELECT run_uuid, step, timestamp, value, is_nan FROM metrics "
            f"WHERE key = ? AND {_WANTED} ORDER BY step, timestamp, is_nan DESC, value"
        )
        return self._query_by_id(select, run_ids, name)

    def _query_by_id(
        self, select: str, run_ids: Sequence[str], *arguments: str | float
    ) -> Iterator[Row]:
        """Yield the rows of a query about runs, whose IDs it has to return first.

        Its last argument is the list of IDs of `_WANTED`.
        """
        for some in iter_batches(run_ids):
            wanted = frozenset(some)
            for row in self._file.query(select, *arguments, json.dumps(some)):
                if row[0] in wanted:  # exactly, not only for SQLite
                    yield row
