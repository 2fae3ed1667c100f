"""What differs between runs: the keys whose values are not the same in all of them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeAlias

from typing_extensions import NamedTuple

from kedro_hydraflow.columns import make_series, to_identities
from kedro_hydraflow.config import is_literal
from kedro_hydraflow.errors import ConfigError, KedroHydraflowError, MissingKeyError
from kedro_hydraflow.forks import warn_of_polars
from kedro_hydraflow.frames import make_id_series
from kedro_hydraflow.key_patterns import make_no_match_error, read_columns, read_config_columns
from kedro_hydraflow.keys import identify, is_pattern, parse_key, parse_pattern
from kedro_hydraflow.logs import get_logger
from kedro_hydraflow.lookup import explain_lack, read_values, warn_of_other_meaning
from kedro_hydraflow.missing import MISSING
from kedro_hydraflow.stores.record import is_run_id
from kedro_hydraflow.value_text import show_value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import polars as pl

    from kedro_hydraflow.key_patterns import ConfigColumn
    from kedro_hydraflow.run_base import RunBase

logger = get_logger(__name__)

Find: TypeAlias = "Callable[[str], list[Any]]"
"""Returns the value of a key for each run, None for runs that lack it."""

_HYDRA_ID = re.compile(r"(?:multirun|outputs)/\d{4}-\d\d-\d\d/\d\d-\d\d-\d\d(?:/\d+)?")
"""The ID of a run in a directory that Hydra named after the time."""


class ComparedColumn(NamedTuple):
    """The values of a key, one for each run."""

    name: str
    """The key."""

    values: list[Any]
    """The values, None for runs that lack the key."""

    causes: list[Any]
    """The same, but for values that follow from others: what they follow from. These are equal
    interpolations, and the ID of the run in text."""

    def differs(self) -> bool:
        """Whether the values differ."""
        return len(set(to_identities(self.values))) > 1

    def differs_by_itself(self) -> bool:
        """Whether the values differ, and do not follow from others."""
        return self.causes is self.values or len(set(to_identities(self.causes))) > 1


def make_varying_frame(
    runs: Sequence[RunBase], keys: Sequence[str], find: Find, *, derived: bool
) -> pl.DataFrame:
    """Return a frame of ``run_id`` and of the columns that differ.

    Args:
        runs: The runs.
        keys: Keys and patterns.
        find: Finds the values of a key that is not a pattern.
        derived: Whether to include the values that follow from others.
    """
    import polars as pl

    warn_of_polars()
    columns = find_differing(runs, keys, find, derived=derived)
    return pl.DataFrame(
        [
            make_id_series([run.info.run_id for run in runs]),
            *(make_series(column.name, column.values) for column in columns),
        ]
    )


def make_diff_frame(
    runs: Sequence[RunBase], keys: Sequence[str], find: Find, *, derived: bool
) -> pl.DataFrame:
    """Return a frame with a row for each key whose values differ: ``key``, ``a`` and ``b``.

    Args:
        runs: Two runs.
        keys: As for `make_varying_frame`.
        find: As for `make_varying_frame`.
        derived: As for `make_varying_frame`.
    """
    import polars as pl

    warn_of_polars()
    columns = find_differing(runs, keys, find, derived=derived)
    texts = [[None if v is None else show_value(v) for v in c.values] for c in columns]
    return pl.DataFrame(
        [
            pl.Series("key", [column.name for column in columns], pl.String),
            pl.Series("a", [a for a, _ in texts], pl.String),
            pl.Series("b", [b for _, b in texts], pl.String),
        ]
    )


def find_differing(
    runs: Sequence[RunBase], keys: Sequence[str], find: Find, *, derived: bool
) -> list[ComparedColumn]:
    """Return the columns that differ, which are those of `make_varying_frame`.

    If all that differ follow from others, the log says so.
    """
    columns = [c for c in compare(runs, keys, find) if c.differs()]
    chosen = [c for c in columns if derived or c.differs_by_itself()]
    if columns and not chosen:
        logger.warning(
            "%r differs, but follows from values that are not compared, or from the run's own ID; "
            "with derived=True it is included",
            columns[0].name,
        )
    return chosen


def compare(runs: Sequence[RunBase], keys: Iterable[str], find: Find) -> list[ComparedColumn]:
    """Return the columns of keys and patterns. A key that is given twice comes once.

    Args:
        runs: The runs.
        keys: Keys and patterns. What a key follows from only counts for patterns.
        find: As for `make_varying_frame`.

    Raises:
        MissingKeyError: If there are runs, and none has a key, or one that a pattern matches.
    """
    keys = list(keys)
    named = {identify(key): key for key in keys if not is_pattern(key)}
    columns: dict[tuple[str, str], ComparedColumn] = {}
    for key in keys:
        if not is_pattern(key):
            if identify(key) not in columns:
                values = find(key)
                columns[identify(key)] = ComparedColumn(key, values, values)
            continue
        for column in _read_pattern(runs, key):
            identity = identify(column.name)
            if identity in named and identity not in columns:
                values = find(named[identity])
                column = ComparedColumn(named[identity], values, values)
            columns.setdefault(identity, column)
    return list(columns.values())


def _read_pattern(runs: Sequence[RunBase], pattern: str) -> list[ComparedColumn]:
    ids = [_get_telling_id(run) for run in runs]
    columns = []
    if parse_pattern(pattern).kind == "cfg":
        for name, column in read_config_columns(runs, pattern).items():
            values = _to_none(column.values)
            causes = _find_interpolations(column, values)
            columns.append(ComparedColumn(name, values, _hide_ids(causes, ids)))
    else:
        for name, found in read_columns(runs, pattern).items():
            values = _to_none(found)
            columns.append(ComparedColumn(name, values, _hide_ids(values, ids)))
    if runs and not columns and pattern != "*":
        raise make_no_match_error(runs, pattern)
    return columns


def _to_none(values: list[Any]) -> list[Any]:
    return [None if value is MISSING else value for value in values]


def _find_interpolations(column: ConfigColumn, values: list[Any]) -> list[Any]:
    """Return the interpolations, if all runs with the key have the same one; else the values."""
    written = [None if v is MISSING or v == "???" else v for v in column.written]
    present = {id(value): value for value in written if value is not None}
    if not present or any(map(is_literal, present.values())):
        return values
    return values if len(set(to_identities(present.values()))) > 1 else written


def _get_telling_id(run: RunBase) -> str | None:
    """Return the run's ID, None if it may mean something else in a text."""
    run_id = run.info.run_id
    return run_id if is_run_id(run_id) or _HYDRA_ID.fullmatch(run_id) else None


def _hide_ids(values: list[Any], ids: Sequence[str | None]) -> list[Any]:
    """Return values without the run's ID in text; the same list if there is none."""
    hidden = [
        _hide_id(value, own) if type(value) is str and own is not None and own in value else value
        for value, own in zip(values, ids, strict=True)
    ]
    is_same = all(one is other for one, other in zip(values, hidden, strict=True))
    return values if is_same else hidden


def _hide_id(text: str, run_id: str) -> str:
    before, _, after = text.partition(run_id)
    is_longer = after[:1].isalnum()  # the ID of another run, such as that of job 10
    return text if is_longer else f"{before}{{run_id}}{after}"


def find_values(runs: Sequence[RunBase], key: str) -> list[Any]:
    """Return the value of a key of each run, by its spelling alone; None without a value.

    An interpolation that cannot be resolved is the text of it.

    Raises:
        MissingKeyError: If there are runs, and none has the key.
        KedroHydraflowError: If the value of a run cannot be read.
    """
    parsed = parse_key(key)
    warn_of_other_meaning(runs, parsed)
    values = read_values(runs, parsed)
    if any(isinstance(value, ConfigError) for value in values):
        columns = read_config_columns(runs, key) if parsed.kind in ("any", "cfg") else {}
        for column in columns.values():  # one, if it is not a mapping
            values = [
                other if isinstance(value, ConfigError) else value
                for value, other in zip(values, column.values, strict=True)
            ]
    for value in values:
        if isinstance(value, KedroHydraflowError):
            raise value
    if runs and all(value is MISSING for value in values):
        hint = explain_lack(runs, parsed)
        raise MissingKeyError(f"no such key: {key!r} in any of the {len(runs)} runs ({hint})")
    return _to_none(values)
