"""What differs between runs: the keys whose values are not the same in all of them."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from typing_extensions import NamedTuple

from kedro_hydraflow.columns import make_series, to_identity
from kedro_hydraflow.config import is_literal
from kedro_hydraflow.config_columns import ConfigColumns
from kedro_hydraflow.errors import ConfigError, raise_first
from kedro_hydraflow.escaping import escape_undecodable
from kedro_hydraflow.forks import warn_of_polars
from kedro_hydraflow.frames import make_id_series
from kedro_hydraflow.key_patterns import (
    choose_config_keys,
    make_no_match_error,
    read_columns,
    warn_of_no_configuration,
)
from kedro_hydraflow.keys import identify, is_pattern, name_config_key, parse_key, parse_pattern
from kedro_hydraflow.lookup import check_some_have, read_values, warn_of_other_meaning
from kedro_hydraflow.missing import MISSING
from kedro_hydraflow.stores.record import is_run_id
from kedro_hydraflow.value_text import show_value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import polars as pl

    from kedro_hydraflow.run_base import RunBase

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
    """The same, but for values that follow from others: what they follow from. It is an
    interpolation that is the same for all, and text with the run's own ID left out."""


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
            *(make_series(c.name, c.values) for c in columns if c.name != "run_id"),
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
    columns = find_differing(runs, keys, find, derived=derived)
    return make_pair_frame({column.name: column.values for column in columns})


def make_pair_frame(values: Mapping[str, Sequence[Any]]) -> pl.DataFrame:
    """Return a frame with a row for each key: ``key``, and the values of two runs as text."""
    texts = {
        escape_undecodable(key): [None if value is None else show_value(value) for value in pair]
        for key, pair in values.items()
    }
    return make_text_frame(texts)


def make_text_frame(texts: Mapping[str, Sequence[str | None]]) -> pl.DataFrame:
    """Return a frame with a row for each key: ``key``, and two texts, ``a`` and ``b``."""
    import polars as pl

    warn_of_polars()
    return pl.DataFrame(
        [
            pl.Series("key", list(texts), pl.String),
            pl.Series("a", [a for a, _ in texts.values()], pl.String),
            pl.Series("b", [b for _, b in texts.values()], pl.String),
        ]
    )


def find_differing(
    runs: Sequence[RunBase],
    keys: Iterable[str],
    find: Find,
    *,
    derived: bool = False,
    max_keys: int | None = None,
) -> list[ComparedColumn]:
    """Return the columns of keys and patterns that differ. A key that is given twice comes once.

    Args:
        runs: The runs.
        keys: Keys and patterns. The values of a key that is not a pattern count as they are, never
            as ones that follow from others.
        find: As for `make_varying_frame`.
        derived: As for `make_varying_frame`.
        max_keys: For patterns, as for `read_columns`.

    Raises:
        MissingKeyError: If there are runs, and none has a key, or one that a pattern matches.
    """
    keys = list(keys)
    compare: dict[tuple[str, str], Callable[[], ComparedColumn | None]] = {}
    named: dict[tuple[str, str], Callable[[], ComparedColumn | None]] = {}
    for key in keys:
        if not is_pattern(key) and identify(key) not in named:
            named[identify(key)] = partial(_compare_values, key, find(key))
    for key in keys:
        if is_pattern(key):
            found = _compare_pattern(runs, key, derived=derived, max_keys=max_keys)
        else:
            found = {key: named[identify(key)]}
        for name, function in found.items():
            compare.setdefault(identify(name), named.get(identify(name), function))
    columns = (function() for function in compare.values())
    return [column for column in columns if column is not None]


def _compare_pattern(
    runs: Sequence[RunBase], pattern: str, *, derived: bool, max_keys: int | None
) -> dict[str, Callable[[], ComparedColumn | None]]:
    """Return a function for each key that gives its column if the values differ."""
    ids = [None if derived else _get_telling_id(run) for run in runs]
    compare: dict[str, Callable[[], ComparedColumn | None]] = {}
    if parse_pattern(pattern).kind == "cfg":
        columns = ConfigColumns(runs, max_keys)
        for key in choose_config_keys(pattern, columns.names):
            name = name_config_key(key)
            compare[name] = partial(_compare_written, name, key, columns, ids, derived=derived)
    else:
        for name, values in read_columns(runs, pattern, max_keys).items():
            if name != "run_id" or derived:
                compare[name] = partial(_compare_values, name, _to_none(values), ids)
    if runs and not compare:
        _check_is_any(runs, pattern)
    return compare


def _check_is_any(runs: Sequence[RunBase], pattern: str) -> None:
    """Raise MissingKeyError for a pattern without a match, unless it matches all keys.

    Runs without configurations are alike.
    """
    if pattern != "*":
        raise make_no_match_error(runs, pattern)
    warn_of_no_configuration(runs)


def _compare_written(
    name: str, key: str, columns: ConfigColumns, ids: Sequence[str | None], *, derived: bool
) -> ComparedColumn | None:
    """Return the column of a key of the configurations, None if the values do not differ."""
    column = columns.get_written(key)
    written = [None if v is MISSING or v == "???" else v for v in column.values]
    present = [value for value in written if value is not None]
    if derived or any(map(is_literal, present)) or not are_same(present):
        is_resolved = all(map(is_literal, present))
        if is_resolved and are_same([written[i] for i in set(column.positions)]):
            return None
        return _compare_values(name, _to_none(columns.resolve(column)), ids)
    causes = column.expand(written)  # the same interpolation, which some runs may lack
    if are_same(causes):
        return None
    values = _to_none(columns.resolve(column))
    return None if are_same(values) else ComparedColumn(name, values, causes)


def _compare_values(
    name: str, values: list[Any], ids: Sequence[str | None] = ()
) -> ComparedColumn | None:
    """Return a column of values, None if they do not differ.

    Args:
        name: The key.
        values: The values.
        ids: The IDs of the runs that do not count where they are in text; empty for none.
    """
    if are_same(values):
        return None
    causes = _hide_ids(values, ids) if ids else values
    if causes is not values and are_same(causes):
        return None
    return ComparedColumn(name, values, causes)


def are_same(values: Iterable[Any]) -> bool:
    """Whether values are all the same, see `to_identity`."""
    distinct = {id(value): value for value in values}
    identities = ((to_identity(value),) for value in distinct.values())  # NaN is equal in tuples
    first = next(identities, None)
    return all(identity == first for identity in identities)


def _to_none(values: list[Any]) -> list[Any]:
    return [None if value is MISSING else value for value in values]


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


def read_values_by_name(
    runs: Sequence[RunBase], keys: Iterable[str], find: Find
) -> dict[str, list[Any]]:
    """Return the values of keys and patterns for each run, None without a value.

    Args:
        runs: The runs.
        keys: Keys and patterns. A key that is given twice comes once.
        find: As for `make_varying_frame`.

    Raises:
        MissingKeyError: If there are runs, and none has a key, or one that a pattern matches.
    """
    values: dict[tuple[str, str], tuple[str, list[Any]]] = {}
    for key in keys:
        if not is_pattern(key):
            values.setdefault(identify(key), (key, find(key)))
            continue
        found = read_columns(runs, key)
        if runs and not found:
            _check_is_any(runs, key)
        for name, column in found.items():
            values.setdefault(identify(name), (name, _to_none(column)))
    return dict(values.values())


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
        columns = ConfigColumns(runs)
        if parsed.kind in ("any", "cfg") and parsed.path in columns.names:
            resolved = columns.resolve(columns.get_written(parsed.path))
            values = [
                other if isinstance(value, ConfigError) else value
                for value, other in zip(values, resolved, strict=True)
            ]
    raise_first(values)
    check_some_have(runs, parsed, values)
    return _to_none(values)
