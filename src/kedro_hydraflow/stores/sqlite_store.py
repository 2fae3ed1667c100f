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

The database is opened read-only, and may be read while MLflow writes to it.
"""

from __future__ import annotations

import json
import math
import os
import sqlite3
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from typing_extensions import override

from kedro_hydraflow.errors import (
    Failure,
    GitLfsError,
    KedroHydraflowError,
    NotFoundError,
    StorageError,
    TrackingDirectoryError,
)
from kedro_hydraflow.source import Source
from kedro_hydraflow.storage import LocalStorage, check_downloaded, locate
from kedro_hydraflow.stores.base import (
    DEFAULT_EXPERIMENT_ID,
    ExperimentFilter,
    make_experiment_filter,
    restore_infinity,
)
from kedro_hydraflow.stores.locations import RunLocator, list_real_places
from kedro_hydraflow.stores.record import (
    RUN_NAME_TAG,
    ExperimentRecord,
    Experiments,
    Facts,
    FoundRuns,
    ModelRecord,
    Point,
    RunListing,
    RunNames,
    RunRecord,
    is_deleted,
)
from kedro_hydraflow.stores.sql_clauses import write_fact_clause, write_logged_clause
from kedro_hydraflow.stores.tracked_store import TrackedStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from kedro_hydraflow.stores.clauses import Clause

_TIMEOUT = 60.0
"""Seconds to wait for a lock. MLflow's transactions take milliseconds."""

_PROBE_TIMEOUT = 3.0
"""Seconds to wait for a lock of a file that may be that of another program."""

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


class SqliteStore(TrackedStore):
    """An MLflow database in an SQLite file.

    Args:
        path: The file.
        source: The source with the artifact root and the storage options.
        root: A directory to search for artifacts, besides the directory of the file.
    """

    def __init__(self, path: str, source: Source | None = None, root: str | None = None) -> None:
        self._path = os.path.abspath(path)
        super().__init__(self._path, source, root)
        folders = [place.parent for place in list_real_places(locate(self._path))]
        if root is not None:
            folders += list_real_places(locate(os.path.abspath(root)))
        self._locator = RunLocator(source or Source(self._path), folders)

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
        return self._query(select, *_OWN_COLUMNS, timeout=_PROBE_TIMEOUT) == [(4,)]

    def has_runs(self) -> bool:
        """Whether the database has any runs, including deleted ones. Waits like `is_mlflow`."""
        return bool(self._query("SELECT 1 FROM runs LIMIT 1", timeout=_PROBE_TIMEOUT))

    def select_run_ids(self, run_ids: Sequence[str]) -> frozenset[str]:
        """Return the given run IDs that the database has, including deleted runs."""
        rows = self._query_runs(f"SELECT run_uuid FROM runs WHERE {_WANTED}", run_ids)
        return frozenset(run_id for (run_id,) in rows)

    def list_run_ids(self) -> dict[str, str]:
        """Return the experiment ID of each run by run ID, including deleted runs."""
        return dict(self._query("SELECT run_uuid, CAST(experiment_id AS TEXT) FROM runs"))

    def list_locations(self) -> list[tuple[str, str]]:
        """Return the ID and the recorded location of each experiment, with deleted ones."""
        select = "SELECT CAST(experiment_id AS TEXT), artifact_location FROM experiments"
        return [(experiment_id, location or "") for experiment_id, location in self._query(select)]

    @override
    def has_active_runs(self, experiments: Sequence[ExperimentRecord]) -> bool:
        return any(experiment.run_names for experiment in experiments)

    @override
    def find_experiments(
        self, experiment_names: ExperimentFilter = None, *, include_default: bool = False
    ) -> Experiments:
        matches = make_experiment_filter(experiment_names, include_default=include_default)
        self._locator.check_root()
        matching = []
        other_names = []
        failures = []
        unlocated = []
        defaults = []
        rows = self._query(
            f"SELECT CAST(experiment_id AS TEXT), name, artifact_location, {_DEFAULT_RUN} "
            "FROM experiments WHERE lifecycle_stage IS NOT 'deleted' ORDER BY name, experiment_id"
        )
        for experiment_id, name, location, run_id in rows:
            if matches(experiment_id, name):
                try:
                    place = self._locator.find_experiment(experiment_id, location or "")
                except KedroHydraflowError as exc:
                    if self._locator.has_root:
                        raise  # the same for all
                    failures.append(Failure(f"{self.where}: experiment {name!r}", exc))
                    unlocated.append(name)
                    continue
                known = place.storage, place.path, experiment_id, name
                matching.append(ExperimentRecord(*known, artifact_location=location or ""))
            elif experiment_id == DEFAULT_EXPERIMENT_ID:
                # Its directory is not needed, and may be hard to find.
                names = () if run_id is None else (run_id,)  # enough for `has_active_runs`
                defaults.append(ExperimentRecord(LocalStorage(), "", experiment_id, name, names))
            else:
                other_names.append(name)
        return Experiments(matching, other_names, failures, defaults, unlocated)

    @override
    def find_names(self) -> tuple[list[str], list[Failure]]:
        rows = self._query(
            "SELECT name FROM experiments WHERE lifecycle_stage IS NOT 'deleted' "
            f"AND experiment_id != {DEFAULT_EXPERIMENT_ID} ORDER BY name"
        )
        return [name for (name,) in rows], []

    @override
    def list_runs(
        self, experiments: Sequence[ExperimentRecord], limit: int | None = None
    ) -> RunListing:
        if limit is not None:
            select = "SELECT run_uuid FROM runs WHERE experiment_id = ? ORDER BY run_uuid LIMIT ?"
            rows = [self._query(select, e.experiment_id, limit) for e in experiments]
            names = [[run_id for (run_id,) in found] for found in rows]
            return RunListing(list(map(RunNames, experiments, names)), [])
        run_ids: dict[str, list[str]] = {e.experiment_id: [] for e in experiments}
        # One query for all experiments: each is a full scan, as runs are not indexed by experiment.
        select = "SELECT CAST(experiment_id AS TEXT), run_uuid FROM runs ORDER BY run_uuid"
        for experiment_id, run_id in self._query(select):
            if experiment_id in run_ids:
                run_ids[experiment_id].append(run_id)
        return RunListing([RunNames(e, run_ids[e.experiment_id]) for e in experiments], [])

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
        found = self._query(select, *(value for _, values in facts for value in values))
        run_ids = [run_id for _, run_id in found]
        for clause in clauses:
            if clause.kind != "fact":
                table = _KINDS[clause.kind][0]
                condition, values = write_logged_clause(clause)
                select = f"SELECT run_uuid FROM {table} WHERE key = ? AND {condition} AND {_WANTED}"
                run_ids = [i for (i,) in self._query_runs(select, run_ids, clause.name, *values)]
        kept = frozenset(run_ids)
        names: dict[str, list[str]] = {e.experiment_id: [] for e in experiments}
        for experiment_id, run_id in found:
            if experiment_id in names and run_id in kept:
                names[experiment_id].append(run_id)
        listed = [RunNames(e, names[e.experiment_id]) for e in experiments]
        return RunListing(listed, [], is_narrowed=True)

    @override
    def read_runs(
        self, listed: Sequence[RunNames], *, include_deleted: bool | None = None
    ) -> FoundRuns:
        select = f"SELECT run_uuid, artifact_uri, {_FACTS} FROM runs WHERE {_WANTED}"
        run_ids = [run_id for part in listed for run_id in part.names]
        rows = {
            run_id: (uri or "", _make_facts(values))
            for run_id, uri, *values in self._query_runs(select, run_ids)
        }
        records = []
        failures = []
        n_deleted = 0
        for part in listed:
            for run_id in part.names:
                if run_id not in rows:
                    continue  # removed in the meantime
                uri, facts = rows[run_id]
                if is_deleted(facts) and not include_deleted:
                    n_deleted += 1
                    continue
                try:
                    place = self._locator.find(part.experiment.experiment_id, run_id, uri)
                except KedroHydraflowError as exc:
                    if self._locator.has_root:
                        raise
                    failures.append(Failure(f"{self.where}: run {run_id}", exc))
                    continue
                records.append(RunRecord(place.storage, place.path, run_id, part.experiment, facts))
        return FoundRuns(records, failures, n_deleted)

    @override
    def _get_locator(self, record: RunRecord) -> RunLocator:
        return self._locator

    @override
    def _read_uris(self, records: Sequence[RunRecord]) -> list[str]:
        select = f"SELECT run_uuid, artifact_uri FROM runs WHERE {_WANTED}"
        run_ids = [record.run_id for record in records]
        uris = dict(self._query_runs(select, run_ids))
        return [uris.get(run_id) or "" for run_id in run_ids]

    @override
    def _read_models(self, record: RunRecord) -> list[ModelRecord]:
        # MLflow before 3 has no such table.
        if not self._query("SELECT 1 FROM sqlite_master WHERE name = 'logged_models'"):
            return []
        select = (
            "SELECT model_id, name, source_run_id, creation_timestamp_ms, artifact_location "
            "FROM logged_models WHERE lifecycle_stage IS NOT 'deleted' "
            "AND source_run_id IS NOT NULL "
            "AND experiment_id = (SELECT experiment_id FROM runs WHERE run_uuid = ?)"
        )
        return [ModelRecord(*row) for row in self._query(select, record.run_id)]

    @override
    def _read_experiment_name(self, record: RunRecord) -> str:
        select = (
            "SELECT e.name FROM experiments AS e JOIN runs USING (experiment_id) WHERE run_uuid = ?"
        )
        for (name,) in self._query(select, record.run_id):
            return str(name)
        return ""

    @override
    def read_facts(self, records: Sequence[RunRecord]) -> list[Facts | KedroHydraflowError | None]:
        select = f"SELECT run_uuid, {_FACTS} FROM runs WHERE {_WANTED}"
        run_ids = [record.run_id for record in records]
        rows = {i: _make_facts(values) for i, *values in self._query_runs(select, run_ids)}
        return [rows.get(run_id, {}) for run_id in run_ids]

    @override
    def read_values(
        self, records: Sequence[RunRecord], kind: str, name: str
    ) -> list[float | str | KedroHydraflowError | None]:
        table, columns, decode = _KINDS[kind]
        select = f"SELECT run_uuid, {columns} FROM {table} WHERE key = ? AND {_WANTED}"
        run_ids = [record.run_id for record in records]
        values = {i: decode(*value) for i, *value in self._query_runs(select, run_ids, name)}
        return list(map(values.get, run_ids))

    @override
    def read_all(self, records: Sequence[RunRecord], kind: str) -> list[dict[str, Any]]:
        table, columns, decode = _KINDS[kind]
        select = f"SELECT run_uuid, key, {columns} FROM {table} WHERE {_WANTED}"
        found: dict[str, dict[str, Any]] = {record.run_id: {} for record in records}
        for run_id, key, *value in self._query_runs(select, list(found)):
            found[run_id][key] = decode(*value)
        return [dict(sorted(found[record.run_id].items())) for record in records]

    @override
    def read_histories(self, records: Sequence[RunRecord], name: str) -> list[list[Point]]:
        select = (
            "SELECT run_uuid, step, timestamp, value, is_nan FROM metrics "
            f"WHERE key = ? AND {_WANTED} ORDER BY step, timestamp, is_nan DESC, value"
        )
        found: dict[str, list[Point]] = {record.run_id: [] for record in records}
        rows = self._query_runs(select, list(found), name)
        for run_id, step, timestamp, value, is_nan in rows:
            found[run_id].append(Point(step, timestamp, _decode_metric(value, is_nan)))
        return [found[record.run_id] for record in records]

    def _query_runs(
        self, select: str, run_ids: Sequence[str], *arguments: str | float
    ) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of a query. Its last argument is the list of IDs of `_WANTED`."""
        for start in range(0, len(run_ids), _BATCH_SIZE):
            wanted = json.dumps(run_ids[start : start + _BATCH_SIZE])
            yield from self._query(select, *arguments, wanted)

    def _query(
        self, select: str, *arguments: str | float, timeout: float = _TIMEOUT
    ) -> list[tuple[Any, ...]]:
        """Return the rows of a query.

        Args:
            select: The query.
            *arguments: Its arguments.
            timeout: The seconds to wait for a lock.

        Raises:
            TrackingDirectoryError: If the file is not an MLflow database.
            StorageError: If the file cannot be read.
        """
        try:
            with closing(_connect(self._path, timeout)) as connection:
                return connection.execute(select, arguments).fetchall()
        except sqlite3.OperationalError as exc:
            if "no such table" in str(exc) or "no such column" in str(exc):
                raise TrackingDirectoryError(
                    f"{self._path} is not an MLflow database, or its schema is too old ({exc}). "
                    "If it is an MLflow database, run "
                    f"`mlflow db upgrade sqlite:///{self._path}`"
                ) from exc
            raise StorageError(
                f"cannot read the database {self._path!r}: {_explain(exc, self._path, timeout)}"
            ) from exc
        except sqlite3.DatabaseError as exc:
            raise TrackingDirectoryError(
                f"cannot read {self._path} as an MLflow database: "
                f"{_explain_format(exc, self._path)}"
            ) from exc


def _connect(path: str, timeout: float) -> sqlite3.Connection:
    if not os.path.isfile(path):
        raise NotFoundError(f"there is no database {path!r}")
    uri = f"file:{quote(os.fsencode(path))}?mode=ro"
    connection = sqlite3.connect(uri, uri=True, timeout=timeout, isolation_level=None)
    try:
        connection.execute("PRAGMA schema_version").fetchone()
    except sqlite3.DatabaseError as exc:
        connection.close()
        # In WAL mode, SQLite creates files beside the database even to read it. In a read-only
        # directory, open the file as immutable instead, unless a journal holds part of the data.
        is_denied = isinstance(exc, sqlite3.OperationalError) and "locked" not in str(exc)
        if not is_denied or _find_journal(path):
            raise
        return sqlite3.connect(f"{uri}&immutable=1", uri=True, isolation_level=None)
    return connection


def _find_journal(path: str) -> str | None:
    """Return the WAL or rollback journal of the database, None if there is none or it is empty."""
    files = (f"{path}-wal", f"{path}-journal")
    return next((file for file in files if os.path.exists(file) and os.path.getsize(file)), None)


def _explain(exc: sqlite3.OperationalError, path: str, timeout: float) -> str:
    """Return the message of SQLite, with the cause and the next step if they are known."""
    if "locked" in str(exc):
        return (
            f"{exc}: another program has held a lock for {timeout:g} seconds; try again when it "
            "has finished"
        )
    journal = _find_journal(path)
    if journal is not None:
        return (
            f"{exc}: the program that wrote {journal} is still running or was interrupted; open "
            "the database once with MLflow or sqlite3, with write permission for the directory"
        )
    return str(exc)


def _explain_format(exc: sqlite3.DatabaseError, path: str) -> str:
    """Return the kind of a file that is no database, if it is known, or the message of SQLite."""
    with suppress(OSError), open(path, "rb") as file:
        try:
            check_downloaded(file.read(100))
        except GitLfsError as pointer:
            return str(pointer)
    return str(exc)


def _decode_metric(value: float, is_nan: int) -> float:
    return math.nan if is_nan else restore_infinity(value)


def _decode_text(value: str | None) -> str:
    return "" if value is None else value


_KINDS: dict[str, tuple[str, str, Callable[..., Any]]] = {
    "metrics": ("latest_metrics", "value, is_nan", _decode_metric),
    "params": ("params", "value", _decode_text),
    "tags": ("tags", "value", _decode_text),
}
"""The table of each kind, the columns of a value, and the function that decodes them."""


def _make_facts(values: Sequence[Any]) -> Facts:
    return {name: str(v) for name, v in zip(_FACT_NAMES, values, strict=True) if v is not None}
