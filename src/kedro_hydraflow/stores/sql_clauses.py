"""Clauses in SQL, for MLflow's tables in SQLite.

A column of SQLite may hold values of any type, whatever was declared, and another program than
MLflow may have written them. So what is of an unexpected type is not left out: it may be an error.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from kedro_hydraflow.stores.clauses import Clause, Compared, OneOf
from kedro_hydraflow.stores.record import STATUSES

if TYPE_CHECKING:
    from collections.abc import Iterable

_COLUMNS = {"run_id": "run_uuid"}
"""The columns of ``runs`` that have another name than the fact."""

_END_OF_TIME = 253_402_300_800_000
"""The year 10,000 in milliseconds since 1970. Times from then on are errors."""


class Condition(NamedTuple):
    """A condition on a row, and its arguments."""

    sql: str
    arguments: tuple[str | float, ...]


def write_fact_clause(clause: Clause) -> Condition:
    """Return a condition on a row of ``runs``."""
    column = _COLUMNS.get(clause.name, clause.name)
    if isinstance(clause, Compared):
        is_outside = f"typeof({column}) = 'integer' AND {column} >= ? AND {column} < ?"
        times = find_excluded_times(clause)
        return Condition(f"{column} IS NOT NULL AND NOT ({is_outside})", times)
    if clause.name == "status":
        others = json.dumps(list_other_statuses(clause))
        return Condition("status IS NOT NULL AND NOT status IN " + _ANY_OF, (others,))
    return _write_one_of(column, clause.texts)


def find_excluded_times(clause: Compared) -> tuple[float, float]:
    """Return the first time that does not meet a clause on times, and the first after these.

    Times that are errors are not among them.
    """
    if clause.operator == ">=":
        return 0, clause.number
    return clause.number + 1, _END_OF_TIME


def list_other_statuses(clause: OneOf) -> list[str]:
    """Return the statuses that do not meet a clause. Text in another case may be meant for one."""
    return [status for status in STATUSES.values() if status not in clause.texts]


def write_logged_clause(clause: Clause) -> Condition:
    """Return a condition on a row of ``latest_metrics``, ``params`` or ``tags``."""
    if not isinstance(clause, Compared):
        return _write_one_of("value", clause.texts)
    operator = "=" if clause.operator == "==" else clause.operator
    is_met = f"NOT ifnull(is_nan, 0) AND value {operator} ?"
    sql = f"(typeof(value) NOT IN ('integer', 'real') OR {is_met})"
    return Condition(sql, (clause.number,))


_ANY_OF = "(SELECT value FROM json_each(?))"
"""The values in a JSON list, because SQLite limits the number of arguments."""


def _write_one_of(column: str, texts: Iterable[str]) -> Condition:
    is_one = f"typeof({column}) != 'text' OR {column} IN {_ANY_OF}"
    return Condition(f"{column} IS NOT NULL AND ({is_one})", (json.dumps([*texts]),))
