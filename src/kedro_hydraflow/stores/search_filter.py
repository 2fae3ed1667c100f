"""Filters in the language of MLflow's ``search_runs``.

``mlflow/utils/search_utils.py`` defines the language. It has no OR, and no way to escape a quote.
What its servers do with a filter depends on their version and on their database:

- MySQL and SQL Server may compare text without regard to case and trailing spaces. So runs may be
  listed that do not meet ``=``.
- Some versions compare a metric that is NaN as if it were 0.
- A metric, param or tag named ``created`` or ``run name`` is looked for under another name.
- A start time that is not recorded is 0 in the server's answers, but NULL in its database.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING

from kedro_hydraflow.stores.clauses import Clause, Compared, OneOf
from kedro_hydraflow.stores.record import STATUSES

if TYPE_CHECKING:
    from collections.abc import Sequence

_NAME = re.compile(r"[\w\-./: ]+")
_ALIASES = frozenset({"created", "Created", "run name", "Run name", "Run Name"})
_UNQUOTABLE = re.compile(r"['\\]")


def write_search_filter(clauses: Sequence[Clause]) -> str:
    """Return the filter that all runs meet that meet the clauses; empty if there is none.

    It ends before the first clause on a logged value that the language cannot express.
    """
    written = []
    for clause in clauses:
        text = _write(clause)
        if text is not None:
            written.append(text)
        elif clause.kind != "fact":
            break
    return " AND ".join(written)


def _write(clause: Clause) -> str | None:
    """Return a clause in MLflow's language, None if it cannot be expressed."""
    if clause.kind == "fact":
        return _write_on_fact(clause)
    if not _NAME.fullmatch(clause.name) or clause.name in _ALIASES:
        return None
    name = f"{clause.kind}.`{clause.name}`"
    if isinstance(clause, Compared):
        operator = "=" if clause.operator == "==" else clause.operator
        return f"{name} {operator} {_write_number(clause.number)}"
    if len(clause.texts) != 1 or not _is_quotable(clause):
        return None
    return f"{name} = '{clause.texts[0]}'"


def _write_on_fact(clause: Clause) -> str | None:
    name = f"attributes.{clause.name}"
    if isinstance(clause, Compared):
        is_upper_bound = clause.operator == "<="
        if is_upper_bound and clause.name == "start_time":
            return None
        return f"{name} {clause.operator} {_write_number(clause.number)}"
    if not _is_quotable(clause):
        return None
    if clause.name == "status" and len(clause.texts) > 1:
        # MLflow's databases refuse any other status.
        others = [status for status in STATUSES.values() if status not in clause.texts]
        return " AND ".join(f"{name} != '{status}'" for status in others) or None
    quoted = [f"'{text}'" for text in clause.texts]
    return f"{name} = {quoted[0]}" if len(quoted) == 1 else f"{name} IN ({', '.join(quoted)})"


def _write_number(number: float) -> str:
    """Return the digits of a number without an exponent, whose ``+`` is not understood."""
    return format(Decimal(repr(number)), "f")


def _is_quotable(clause: OneOf) -> bool:
    return not any(map(_UNQUOTABLE.search, clause.texts))
