"""Checks of conditions on facts: whether a run can meet them at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kedro_hydraflow.errors import FilterError
from kedro_hydraflow.run_info import RECORDED_FACTS, STATUSES, get_store

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kedro_hydraflow.run_base import RunBase

FACT_VALUES = {"status": tuple(STATUSES.values()), "lifecycle_stage": ("active", "deleted")}
"""All values of the facts that have only a few. In conditions, their case does not matter."""


def explain_unrecorded(run: RunBase, fact: str | None) -> str | None:
    """Return why a run has no value of a fact; None if its store records it, or it is no fact."""
    if fact not in RECORDED_FACTS:
        return None  # without looking for the store, which may open a database
    store = get_store(run.info)
    if store.records_facts:
        return None
    return f"{fact} is not recorded in {store.where}, but only in what tracks runs of MLflow"


def check_recorded(condition: str, run: RunBase, fact: str | None) -> None:
    """Raise FilterError if a condition is on a fact that the run's store does not record.

    Args:
        condition: The condition, for the message.
        run: The run.
        fact: The attribute of `RunInfo` that the condition is on, None for other keys.
    """
    problem = explain_unrecorded(run, fact)
    if problem is not None:
        raise FilterError(
            f"{condition}: {problem}; give the database or the server, or leave the filter out"
        )


def check_possible(
    condition: str, fact: str | None, wanted: Iterable[Any], seen: Iterable[Any]
) -> None:
    """Raise FilterError if a fact is compared with a value that it never has.

    Args:
        condition: The condition, for the message.
        fact: The attribute of `RunInfo` that the condition is on, None for other keys.
        wanted: The values that it is compared with.
        seen: The values of runs. If a fact never has one of them, the key is one of
            configurations. Without any, it may be.
    """
    values = FACT_VALUES.get(fact or "")
    if values is None:
        return
    unknown = [v for v in wanted if v is not None and to_fact_value(fact, v) not in values]
    found = [*seen] if unknown else []
    if found and all(actual is None or actual in values for actual in found):
        raise FilterError(
            f"{condition}: no run can have the {fact} {unknown[0]!r}; expected one of "
            f"{', '.join(values)}"
        )


def to_fact_value(fact: str | None, value: Any) -> Any:
    """Return the value of a fact that a text is meant for, or else the text itself."""
    if not isinstance(value, str):
        return value
    values = FACT_VALUES.get(fact or "", ())
    return next((v for v in values if v.casefold() == value.casefold()), value)
