"""Checks of conditions on facts: whether a run can meet them at all."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from kedro_hydraflow.errors import FilterError
from kedro_hydraflow.escaping import escape
from kedro_hydraflow.run_info import RECORDED_FACTS, STATUSES, get_store
from kedro_hydraflow.times import to_time

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kedro_hydraflow.keys import Key
    from kedro_hydraflow.run_info import RunInfo

FACT_VALUES = {"status": tuple(STATUSES.values()), "lifecycle_stage": ("active", "deleted")}
"""All values of the facts that have only a few. In conditions, their case does not matter."""

_LAST_DAY = "9999-12-31"
_DAY = re.compile(r"\d{4}-\d\d-\d\d")

TIME_FACTS = ("start_time", "end_time")
"""The facts that are times."""

MIN_PREFIX = 4
"""The minimum length of the beginning of a run ID where that may stand for the ID."""


def is_meant(run_id: str, text: str) -> bool:
    """Whether a text is a run ID, or a beginning of it that is long enough.

    Characters that cannot be printed may be escapes in it, as in what is shown. So may the first
    folders of a run of Hydra be missing, as in ``…/23-01-50/3``.
    """
    if is_whole_id(run_id, text):
        return True
    if len(text) < MIN_PREFIX:
        return False
    shown = escape(run_id)
    is_end = text.startswith("…/") and shown.endswith(text[1:])
    return is_end or run_id.startswith(text) or shown.startswith(text)


def is_whole_id(run_id: str, text: str) -> bool:
    """Whether a text is a run ID, with escapes or without."""
    return text in (run_id, escape(run_id))


def check_fact_value(key: Key, operator: str, value: Any, texts: Any) -> str | None:
    """Return why no fact can have a value that it is compared with, None if one can.

    Args:
        key: The key, of a fact or not.
        operator: The operator of a filter.
        value: The value; for ``in`` a list.
        texts: The value with every scalar in it as text.
    """
    if key.kind != "fact":
        return None
    is_list = operator == "in"
    if key.path in FACT_VALUES and operator in ("==", "in"):
        pairs = zip(value, texts, strict=True) if is_list else [(value, texts)]
        problem = explain_impossible(key.path, [text for each, text in pairs if each is not None])
        if problem is None or key.is_outright:
            return problem
        return f"{problem}; for the configuration's, write cfg.{key.path}"
    if key.path in TIME_FACTS:
        if operator in ("~", "like", "ilike", "contains"):
            return f"{key.path} is a time, which {operator!r} cannot compare; use < or >"
        try:
            for each in value if is_list else [value]:
                if each is not None:
                    to_time(each)
        except ValueError as exc:
            return f"{key.path} is a time: {exc}"
        days = filter(_DAY.fullmatch, map(str, texts if is_list else [texts]))
        day = next(days, _LAST_DAY)
        if operator in ("==", "in") and day < _LAST_DAY:
            end = (to_time(day) + timedelta(days=1)).date()
            return (
                f"{key.path} is a time, and {day} the beginning of a day; for the whole day write "
                f"'{key.text} >= {day} and {key.text} < {end}'"
            )
    return None


def explain_unrecorded(info: RunInfo, fact: str | None) -> str | None:
    """Return why a run has no value of a fact; None if its store records it, or it is no fact."""
    if fact not in RECORDED_FACTS:
        return None  # without looking for the store, which may open a database
    store = get_store(info)
    if store.records_facts:
        return None
    return f"{fact} is not recorded in {store.where}, but only in what tracks runs of MLflow"


def check_recorded(condition: str, info: RunInfo, fact: str | None) -> None:
    """Raise FilterError if a condition is on a fact that the run's store does not record.

    Args:
        condition: The condition, for the message.
        info: The run.
        fact: The attribute of `RunInfo` that the condition is on, None for other keys.
    """
    problem = explain_unrecorded(info, fact)
    if problem is not None:
        raise FilterError(
            f"{condition}: {problem}; give the database or the server, or leave the filter out"
        )


def explain_impossible(fact: str, wanted: Iterable[Any]) -> str | None:
    """Return why a fact cannot have a value that it is compared with, None if it can."""
    values = FACT_VALUES.get(fact, ())
    for value in wanted if values else ():
        if value is not None and to_fact_value(fact, value) not in values:
            return f"no run can have the {fact} {value!r}; expected one of {', '.join(values)}"
    return None


def explain_beginning(beginning: str, run_id: str) -> str:
    """Return why the beginning of a run ID is not equal to it, and what to write instead."""
    return (
        f"run_id is compared as a whole, and {beginning!r} is only the beginning of {run_id}; "
        f"write 'run_id ~ {beginning}*' as filter"
    )


def to_fact_value(fact: str | None, value: Any) -> Any:
    """Return the value of a fact that a text is meant for, or else the text itself."""
    if not isinstance(value, str):
        return value
    values = FACT_VALUES.get(fact or "", ())
    return next((v for v in values if v.casefold() == value.casefold()), value)
