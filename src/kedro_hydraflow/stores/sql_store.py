"""MLflow's database on a server, such as PostgreSQL or MySQL, read through SQLAlchemy.

SQLAlchemy and the driver of the database are imported on the first access.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from kedro_hydraflow.errors import MissingPackageError
from kedro_hydraflow.stores.database_store import (
    LOGGED_TABLES,
    DatabaseStore,
    LoggedTable,
    iter_batches,
)
from kedro_hydraflow.stores.locations import RunLocator, make_proxied_error
from kedro_hydraflow.stores.record import RUN_NAME_TAG, ExperimentRecord, is_run_id
from kedro_hydraflow.stores.recorded_store import RecordedExperiment
from kedro_hydraflow.stores.sql_database import IncomparableTextError, SqlDatabase

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager

    from kedro_hydraflow.source import Source
    from kedro_hydraflow.storage import Place
    from kedro_hydraflow.stores.clauses import Clause
    from kedro_hydraflow.stores.record import RunListing
    from kedro_hydraflow.stores.sql_database import Row

_FEW = 500
"""The number of runs up to which a query by their IDs is the fastest."""

_SHARE = 4
"""How many times more rows than are needed are still read faster than by the IDs of the runs."""


class SqlStore(DatabaseStore):
    """An MLflow database on a server.

    Args:
        source: The tracking URI of the database, in SQLAlchemy's format. The storage options are
            for the artifacts.
    """

    def __init__(self, source: Source) -> None:
        super().__init__(RunLocator(source, open_proxied=_refuse_proxied), source)
        self._database = SqlDatabase(source)
        self._numbers: dict[tuple[str, str], int] = {}
        """The number of runs between two IDs, counted once, as it decides on speed alone."""

    @property
    @override
    def where(self) -> str:
        return self._database.where

    @override
    def connected(self) -> AbstractContextManager[None]:
        return self._database.connected()

    @property
    def _queries(self) -> Any:
        """The module `sql_queries`, which imports SQLAlchemy."""
        try:
            from kedro_hydraflow.stores import sql_queries
        except ImportError as exc:
            raise MissingPackageError(
                f"tracking_uri: reading the database {self.where!r} needs SQLAlchemy, which cannot "
                f"be imported ({exc}): pip install 'kedro-hydraflow[sql]', and the driver of the "
                "database"
            ) from exc
        return sql_queries

    # Experiments -----------------------------------------------------------------------------

    @override
    def _list_experiments(self) -> list[RecordedExperiment]:
        rows = self._database.query(self._queries.select_experiments())
        active = [row for row in rows if row[-1] != "deleted"]
        # Here, because databases do not agree on the order of text.
        active.sort(key=lambda row: (str(row[1] or ""), row[0]))
        return [RecordedExperiment(str(i), name, location) for i, name, location, _ in active]

    @override
    def has_active_runs(self, experiments: Sequence[ExperimentRecord]) -> bool:
        queries = self._queries
        select = queries.select_run_ids([experiment.experiment_id for experiment in experiments])
        active = select.where(queries.is_active(queries.RUNS)).limit(1)
        return any(True for _ in self._database.query(active))

    # Runs ------------------------------------------------------------------------------------

    @override
    def _query_run_ids(
        self, experiment_ids: Sequence[str], limit: int | None = None
    ) -> Iterator[Row]:
        queries = self._queries
        if limit is None:
            return self._list_run_ids(queries.select_run_ids(experiment_ids))
        ordered = [
            queries.select_run_ids([i]).order_by(queries.RUNS.c.run_uuid).limit(limit)
            for i in experiment_ids
        ]
        return self._list_run_ids(*ordered)

    @override
    def list_narrowed(
        self, experiments: Sequence[ExperimentRecord], clauses: Sequence[Clause]
    ) -> RunListing | None:
        try:
            return super().list_narrowed(experiments, clauses)
        except IncomparableTextError:
            return None

    @override
    def _query_narrowed_ids(
        self, experiment_ids: Sequence[str], clauses: Sequence[Clause]
    ) -> Iterator[Row]:
        queries = self._queries
        conditions = map(queries.make_fact_condition, clauses)
        return self._list_run_ids(queries.select_run_ids(experiment_ids).where(*conditions))

    def _list_run_ids(self, *selects: Any) -> Iterator[Row]:
        for run_id, experiment_id in self._database.query(*selects):
            yield run_id, str(experiment_id)

    @override
    def _query_clause(self, run_ids: Sequence[str], clause: Clause) -> Iterator[Row]:
        queries = self._queries
        logged = queries.make_logged_table(LOGGED_TABLES[clause.kind].name)
        select = queries.select_key(logged, clause.name)
        narrowed = select.where(queries.make_logged_condition(logged, clause))
        for run_id, key in self._query_by_id(narrowed, logged, run_ids):
            if key == clause.name:
                yield (run_id,)

    @override
    def _query_runs(self, run_ids: Sequence[str]) -> Iterator[Row]:
        queries = self._queries
        rows = list(self._query_by_id(queries.select_runs(), queries.RUNS, run_ids))
        nameless = [run_id for run_id, _, _, name, *_ in rows if not name]
        tags = LOGGED_TABLES["tags"]
        tagged: dict[str, object] = {}
        if nameless:
            tagged.update(self._query_values(nameless, tags, RUN_NAME_TAG))
        for run_id, uri, status, name, *others in rows:
            yield run_id, uri, status, name or tagged.get(run_id), *others

    @override
    def _query_models(self, run_id: str) -> Iterator[Row]:
        if not self._database.has_table("logged_models"):
            return iter(())
        return self._database.query(self._queries.select_models(run_id))

    @override
    def _query_experiment_name(self, run_id: str) -> list[Row]:
        rows = self._database.query(self._queries.select_experiment_name(run_id))
        return [(name,) for found, name in rows if found == run_id]

    # Values ----------------------------------------------------------------------------------

    @override
    def _query_values(self, run_ids: Sequence[str], table: LoggedTable, name: str) -> Iterator[Row]:
        logged = self._queries.make_logged_table(table.name)
        select = self._queries.select_key(logged, name, *table.columns)
        return self._query_key(select, logged, run_ids, name)

    @override
    def _query_all(self, run_ids: Sequence[str], table: LoggedTable) -> Iterator[Row]:
        logged = self._queries.make_logged_table(table.name)
        select = self._queries.select_all(logged, *table.columns)
        return self._query_by_id(select, logged, run_ids)

    @override
    def _query_history(self, run_ids: Sequence[str], name: str) -> Iterator[Row]:
        select = self._queries.select_history(name)
        for some in iter_batches(run_ids):  # as a run has many values
            yield from self._query_key(select, self._queries.METRICS, some, name)

    def _query_key(
        self, select: Any, table: Any, run_ids: Sequence[str], name: str
    ) -> Iterator[Row]:
        """Yield the rows of a query about a key, which is its second column, without the key."""
        if not _is_storable(name):
            return
        with suppress(IncomparableTextError):  # as no key has such characters
            for run_id, key, *columns in self._query_by_id(select, table, run_ids):
                if key == name:
                    yield run_id, *columns

    def _query_by_id(self, select: Any, table: Any, run_ids: Sequence[str]) -> Iterator[Row]:
        """Yield the rows of a query that are about runs. Their ID is its first column."""
        wanted = frozenset(run_ids)
        conditions = self._choose_conditions(table.c.run_uuid, run_ids)
        for row in self._database.query(*map(select.where, conditions)):
            if row[0] in wanted:
                yield row

    def _choose_conditions(self, column: Any, run_ids: Sequence[str]) -> list[Any]:
        """Return conditions on IDs. All that are given meet one of them, and maybe others."""
        # Databases agree on the order of such IDs alone.
        if len(run_ids) > _FEW and all(map(is_run_id, run_ids)):
            first, last = min(run_ids), max(run_ids)
            if self._count(first, last) <= _SHARE * len(run_ids):
                return [column.between(first, last)]
        return [column.in_(some) for some in iter_batches(run_ids)]

    def _count(self, first: str, last: str) -> int:
        """Return the number of runs between two IDs."""
        if (first, last) not in self._numbers:
            rows = self._database.query(self._queries.count_runs(first, last))
            ((self._numbers[first, last],),) = rows
        return self._numbers[first, last]


def _refuse_proxied(location: str) -> Place:
    raise make_proxied_error(location)


def _is_storable(name: str) -> bool:
    """Whether a database can have a key. Drivers raise errors of various types otherwise."""
    return "\0" not in name and name.encode("utf-8", "ignore").decode("utf-8") == name
