"""Queries of MLflow's tables in SQLAlchemy's language, see `database_store` for the tables.

A database may compare text without regard to case and trailing spaces, as MySQL does by default.
Then a query returns more rows than it should: what is equal in Python is equal in all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, column, false, func, not_, or_, select, table

from kedro_hydraflow.stores.clauses import Clause, Compared
from kedro_hydraflow.stores.sql_clauses import find_excluded_times, list_other_statuses

if TYPE_CHECKING:
    from collections.abc import Sequence


def _make_table(name: str, columns: str) -> Any:
    return table(name, *map(column, columns.split()))


EXPERIMENTS = _make_table("experiments", "experiment_id name artifact_location lifecycle_stage")
RUNS = _make_table(
    "runs",
    "run_uuid name status start_time end_time lifecycle_stage artifact_uri experiment_id",
)
MODELS = _make_table(
    "logged_models",
    "model_id name source_run_id creation_timestamp_ms artifact_location experiment_id "
    "lifecycle_stage",
)
METRICS = _make_table("metrics", "run_uuid key step timestamp value is_nan")


def make_logged_table(name: str) -> Any:
    """Return ``latest_metrics``, ``params`` or ``tags``."""
    return _make_table(name, "run_uuid key value is_nan")


def is_active(rows: Any) -> Any:
    """Return the condition that a row of ``runs`` or ``logged_models`` is not deleted."""
    stage = rows.c.lifecycle_stage
    return or_(stage.is_(None), stage != "deleted")


def select_experiments() -> Any:
    """Return the query for the ID, name, location and stage of all experiments."""
    columns = ("experiment_id", "name", "artifact_location", "lifecycle_stage")
    return select(*(EXPERIMENTS.c[name] for name in columns))


def select_experiment_name(run_id: str) -> Any:
    """Return the query for the ID of a run and the name of its experiment."""
    is_same = EXPERIMENTS.c.experiment_id == RUNS.c.experiment_id
    joined = RUNS.join(EXPERIMENTS, is_same)
    columns = RUNS.c.run_uuid, EXPERIMENTS.c.name
    return select(*columns).select_from(joined).where(RUNS.c.run_uuid == run_id)


def select_run_ids(experiment_ids: Sequence[str]) -> Any:
    """Return the query for the ID and the experiment ID of the runs in experiments."""
    columns = RUNS.c.run_uuid, RUNS.c.experiment_id
    return select(*columns).where(RUNS.c.experiment_id.in_(map(int, experiment_ids)))


def select_runs() -> Any:
    """Return the query for the ID, location and facts of all runs."""
    facts = ("status", "name", "start_time", "end_time", "lifecycle_stage")
    return select(*(RUNS.c[name] for name in ("run_uuid", "artifact_uri", *facts)))


def count_runs(first: str, last: str) -> Any:
    """Return the query for the number of runs between two IDs."""
    between = RUNS.c.run_uuid.between(first, last)
    return select(func.count()).select_from(RUNS).where(between)


def select_models(run_id: str) -> Any:
    """Return the query for the models in the experiment of a run, without deleted ones."""
    columns = ("model_id", "name", "source_run_id", "creation_timestamp_ms", "artifact_location")
    experiment = select(RUNS.c.experiment_id).where(RUNS.c.run_uuid == run_id).scalar_subquery()
    return select(*(MODELS.c[name] for name in columns)).where(
        MODELS.c.experiment_id == experiment,
        MODELS.c.source_run_id.is_not(None),
        is_active(MODELS),
    )


def select_all(logged: Any, *columns: str) -> Any:
    """Return the query for the run ID, key and other columns of a `make_logged_table`."""
    return select(*(logged.c[name] for name in ("run_uuid", "key", *columns)))


def select_key(logged: Any, key: str, *columns: str) -> Any:
    """Return the query for the run ID, key and other columns of the rows with a key."""
    return select_all(logged, *columns).where(logged.c.key == key)


def select_history(key: str) -> Any:
    """Return the query for the values of a metric, sorted, NaN before other values."""
    columns = METRICS.c
    select = select_key(METRICS, key, "step", "timestamp", "value", "is_nan")
    order = columns.step, columns.timestamp, columns.is_nan.desc(), columns.value
    return select.order_by(*order)


def make_fact_condition(clause: Clause) -> Any:
    """Return a condition on a row of ``runs``."""
    if isinstance(clause, Compared):
        fact = RUNS.c[clause.name]
        start, end = find_excluded_times(clause)
        return and_(fact.is_not(None), not_(and_(fact >= start, fact < end)))
    if clause.name == "status":
        return RUNS.c.status.not_in(list_other_statuses(clause))
    name = "run_uuid" if clause.name == "run_id" else clause.name
    return RUNS.c[name].in_(clause.texts)


def make_logged_condition(logged: Any, clause: Clause) -> Any:
    """Return a condition on a row of a `make_logged_table`."""
    value = logged.c.value
    if not isinstance(clause, Compared):
        return value.in_(clause.texts)
    number = float(clause.number)
    is_met = {
        "==": value == number,
        "<": value < number,
        "<=": value <= number,
        ">": value > number,
        ">=": value >= number,
    }[clause.operator]
    return and_(or_(logged.c.is_nan.is_(None), logged.c.is_nan == false()), is_met)
