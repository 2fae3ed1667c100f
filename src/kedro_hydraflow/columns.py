"""Columns of any values: Polars series, NumPy arrays, groups and orders."""

from __future__ import annotations

import math
import sys
from collections.abc import Hashable, Iterable, Mapping, Sequence
from datetime import date, datetime, time, timedelta, timezone
from enum import Enum
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from omegaconf import DictConfig, OmegaConf

from kedro_hydraflow.errors import ImplError, OptionError, describe
from kedro_hydraflow.escaping import escape_undecodable
from kedro_hydraflow.forks import warn_of_polars

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray

Mode = Literal["max", "min"]
"""Which value is the best one: the largest or the smallest."""


def check_mode(mode: object) -> None:
    """Raise OptionError unless the mode is one of `Mode`."""
    if mode not in get_args(Mode):
        raise OptionError(f"mode: expected 'max' or 'min', found {mode!r}")


def check_keys(keys: Iterable[object]) -> None:
    """Raise OptionError unless all are text."""
    for key in keys:
        if not isinstance(key, str):
            raise OptionError(f"expected a key as text, found {key!r}{_advise_star(key)}")


def check_columns(keys: Iterable[object]) -> None:
    """Raise OptionError unless each is text, or a pair of text and a default."""
    for key in keys:
        is_pair = isinstance(key, tuple) and len(key) == 2 and isinstance(key[0], str)
        if not is_pair and not isinstance(key, str):
            raise OptionError(
                "expected a key as text, or a pair of a key and its default, found "
                f"{key!r}{_advise_star(key)}"
            )


def _advise_star(key: object) -> str:
    is_several = isinstance(key, Iterable) and not isinstance(key, bytes)
    return "; give several keys one by one, or with a star, as in f(*keys)" if is_several else ""


def make_series(name: str, values: list[Any]) -> pl.Series:
    """Return a Polars series of any values.

    Lists and mappings become List and Struct columns, paths and members of enumerations text.
    Integers among floats become floats, other mixtures of scalars text: ``true`` and ``1`` stay
    different. Values without a Polars type are kept as objects, and so is text that is not UTF-8.

    It neither starts nor needs Polars' threads (see `forks`).
    """
    import polars as pl

    warn_of_polars()
    name = escape_undecodable(name)
    types = set(map(type, values))
    if types <= SCALARS:
        positions = {}
        distinct = values
    else:  # runs share lists and mappings, and Polars is slow with them
        unique = {id(value): value for value in values}
        positions = {key: i for i, key in enumerate(unique)}
        distinct = list(map(to_plain, unique.values()))
        types = set(map(type, distinct))
    if _is_tabular(distinct, types):
        try:
            series = _make_times(name, distinct, types)
            if series is None:
                dtype = pl.String if _is_mixed(types) else None
                series = pl.Series(name, distinct, dtype, strict=False)
        except (TypeError, ValueError, AttributeError, OverflowError, pl.exceptions.PolarsError):
            pass  # bytes among numbers, objects of unknown types among others
        else:
            if len(distinct) == len(values):
                return series
            if series.dtype != pl.Object:
                # `series.gather` would start the threads.
                return series[[positions[id(value)] for value in values]]
    shown = [copy_data(to_plain(value)) for value in values]
    return pl.Series(name, shown, pl.Object)


def _make_times(name: str, values: Sequence[Any], types: set[type]) -> pl.Series | None:
    """Return a series of times, as Polars does, but without starting its threads.

    None if the values are not times, or in time zones other than UTC.
    """
    import polars as pl

    if not types <= {datetime, type(None)} or datetime not in types:
        return None
    zones = {value.tzinfo for value in values if value is not None}
    if zones not in ({None}, {timezone.utc}):
        return None
    (zone,) = zones
    start = datetime(1970, 1, 1, tzinfo=zone)
    ticks = [None if v is None else (v - start) // timedelta(microseconds=1) for v in values]
    times: pl.Series = pl.Series(name, ticks, pl.Int64).cast(
        pl.Datetime("us", "UTC" if zone else None)
    )
    return times


def make_array(values: list[Any]) -> NDArray[Any]:
    """Return a NumPy array of the values, with dtype object if they have no common type."""
    import numpy as np

    types = set(map(type, values))
    values = list(map(copy_data, values))
    if types == {str} or types <= _NUMERIC or types <= {list, tuple, np.ndarray}:
        try:
            array = np.array(values)
        except (ValueError, OverflowError):  # lists of different lengths
            pass
        else:
            if _holds(array, values, types):
                return array
    array = np.empty(len(values), dtype=object)
    for i, value in enumerate(values):
        array[i] = value
    return array


def is_numpy(value: Any) -> bool:
    """Whether a value is a NumPy array or scalar. Does not import NumPy."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, (numpy.generic, numpy.ndarray))


def to_hashable(value: Any) -> Hashable:
    """Return a hashable form of a value: a tuple for a list, a tuple of pairs for a mapping."""
    kind = type(value)
    if kind in SCALARS and value == value:
        return cast("Hashable", value)
    if kind is list or kind is tuple:
        return tuple(map(to_hashable, value))
    if kind is dict:
        return tuple((to_hashable(k), to_hashable(v)) for k, v in value.items())
    if isinstance(value, float) and math.isnan(value):
        return math.nan  # always the same object, as no two NaN are equal
    if OmegaConf.is_list(value):
        return tuple(to_hashable(v) for v in value)
    if isinstance(value, Hashable) and not OmegaConf.is_config(value):
        return value
    if is_numpy(value):
        return tuple(value.tolist())
    if isinstance(value, (DictConfig, Mapping)):
        return tuple((to_hashable(k), to_hashable(v)) for k, v in value.items())
    try:
        return tuple(to_hashable(v) for v in value)
    except TypeError:
        return str(value)


def to_identity(value: Any) -> Hashable:
    """Return what is equal for values that count as the same.

    Numbers are compared by value; booleans, texts, lists and mappings each with their kind. NaN is
    the same as NaN. The order of a mapping does not matter.
    """
    kind = type(value)
    if kind is bool:
        return bool, value
    if kind is list or kind is tuple:
        return list, tuple(map(to_identity, value))
    if kind is dict:
        return dict, frozenset((to_identity(k), to_identity(v)) for k, v in value.items())
    return to_hashable(value)


def to_identities(values: Iterable[Any]) -> list[Hashable]:
    """Return the results of `to_identity`. Of an object that comes several times, it is made once.

    A column of runs of a sweep has few different ones.
    """
    values = list(values)
    distinct = {id(value): value for value in values}
    identities = {key: to_identity(value) for key, value in distinct.items()}
    return [identities[id(value)] for value in values]


def sort_order(values: Sequence[Any], order: Iterable[int], *, reverse: bool = False) -> list[int]:
    """Return positions sorted by their values. The sort is stable; None and NaN come last."""
    present: list[int] = []
    absent: list[int] = []
    for i in order:
        value = values[i]
        (absent if value is None or value != value else present).append(i)
    present.sort(key=values.__getitem__, reverse=reverse)
    return present + absent


def _holds(array: NDArray[Any], values: list[Any], types: set[type]) -> bool:
    """Whether an array holds the values unchanged. NumPy may turn numbers into text."""
    if types <= _NUMERIC:  # integers that are too large become floats or objects
        return array.dtype.kind in ("f" if float in types else "biu")
    return types == {str} or bool(array.tolist() == [_to_lists(value) for value in values])


def _to_lists(value: Any) -> Any:
    if is_numpy(value):
        return value.tolist()
    return list(map(_to_lists, value)) if isinstance(value, (list, tuple)) else value


def copy_data(value: Any) -> Any:
    """Return a value that users may modify, with copies of the plain data that runs share."""
    if type(value) is dict:
        return {k: copy_data(v) for k, v in value.items()}
    if type(value) is list:
        return list(map(copy_data, value))
    return value


SCALARS = frozenset({bool, int, float, str, bytes, type(None)})
"""The types of values that hold no others."""

_NUMERIC = frozenset({bool, int, float})
_TEMPORAL = frozenset({date, datetime, time, timedelta})
_INT128 = 2**127
"""The first integer that is too large for the largest type of Polars."""


def to_text(value: object) -> str:
    """Return an object as text, which code of users may make.

    Raises:
        ImplError: If that raises an exception, which is the cause.
    """
    try:
        return str(value)
    except Exception as exc:
        name = type(value).__qualname__
        raise ImplError(f"an object of {name} cannot be shown as text: {describe(exc)}") from exc


def to_plain(value: Any) -> Any:
    """Return a value with the paths and members of enumerations in it as text."""
    kind = type(value)
    if kind in SCALARS:
        return value
    if isinstance(value, PurePath) or hasattr(value, "storage_options"):  # a UPath
        return str(value)
    if isinstance(value, Enum):
        return value.name
    if is_numpy(value):
        return value.tolist()
    if kind is list or kind is tuple:
        return [to_plain(v) for v in value]
    if kind is dict:
        return {k: to_plain(v) for k, v in value.items()}
    return value


def _is_tabular(values: Iterable[Any], types: set[type]) -> bool:
    """Whether one column can hold the values. Otherwise Polars would turn some into null."""
    if dict in types:
        if not types <= {dict, type(None)}:
            return False
        fields: dict[Any, list[Any]] = {}
        for value in values:
            for key, field in (value or {}).items():
                fields.setdefault(key, []).append(field)
        # A struct without fields cannot represent {} and null differently.
        return bool(fields) and all(
            isinstance(key, str) and _can_hold(field) for key, field in fields.items()
        )
    if list in types:
        if not types <= {list, type(None)}:
            return False
        return _can_hold([item for value in values if value is not None for item in value])
    if len(types & _TEMPORAL) > 1:
        return False
    return int not in types or all(type(v) is not int or -_INT128 <= v < _INT128 for v in values)


def _can_hold(values: Iterable[Any]) -> bool:
    """Whether a part of a List or Struct column can hold the values."""
    types = set(map(type, values))
    return not _is_mixed(types) and _is_tabular(values, types)


def _is_mixed(types: set[type]) -> bool:
    """Whether two of numbers, truth values and times are there: Polars would make all numbers."""
    return bool(types & {int, float}) + (bool in types) + bool(types & _TEMPORAL) > 1
