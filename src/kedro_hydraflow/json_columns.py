"""Columns that every format can hold: what no type of Polars describes is JSON text."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Any, Literal, get_args

from omegaconf import DictConfig, ListConfig, OmegaConf

from kedro_hydraflow.columns import SCALARS, make_series, to_plain, to_text
from kedro_hydraflow.errors import OptionError
from kedro_hydraflow.escaping import escape_json, escape_undecodable

if TYPE_CHECKING:
    import polars as pl

Nested = Literal["keep", "json"]
"""How lists, mappings and mixed values are kept: as Polars does it, or as JSON text."""

_KINDS: list[set[type]] = [{int, float}, {str}, {bool}, {datetime}, {date}, {time}]
"""The types of values that a column may have and every format can hold."""

_SHARED = frozenset({dict, list})
_AS_IT_IS = SCALARS | _SHARED


def check_nested(nested: object) -> None:
    """Raise OptionError unless the value is one of `Nested`."""
    if nested not in get_args(Nested):
        raise OptionError(f"nested: expected 'keep' or 'json', found {nested!r}")


def make_column(name: str, values: list[Any], nested: Nested = "keep") -> pl.Series:
    """Return a Polars series of any values.

    Args:
        name: The name of the series.
        values: The values.
        nested: ``"keep"`` for the result of `make_series`. With ``"json"``, values that are all of
            one kind (numbers, text, truth values, times) have the same type as with ``"keep"``.
            Characters in text that are not UTF-8 are escapes. All others are text: lists, mappings,
            values of several kinds, integers of more than 64 bits, bytes, durations and objects,
            each as JSON.

    Raises:
        ImplError: With ``"json"``, if the text of an object cannot be made.
    """
    import polars as pl

    if nested == "keep":
        return make_series(name, values)
    values = [value if type(value) in _AS_IT_IS else to_plain(value) for value in values]
    types = set(map(type, values)) - {type(None)}
    if not types or any(types <= kind for kind in _KINDS):
        series = make_series(name, values)
        if series.dtype != pl.Object and not str(series.dtype).endswith("128"):
            return series
        if types == {str}:
            texts = [None if value is None else escape_undecodable(value) for value in values]
            return pl.Series(series.name, texts, pl.String)
    return pl.Series(escape_undecodable(name), to_json_texts(values), pl.String)


def to_json_texts(values: list[Any]) -> list[str | None]:
    """Return each value as JSON, None for None. What runs share is converted once."""
    known: dict[int, str] = {}
    texts: list[str | None] = []
    for value in values:
        if value is None:
            texts.append(None)
        elif type(value) in _SHARED:
            if id(value) not in known:
                known[id(value)] = to_json_text(value)
            texts.append(known[id(value)])
        else:
            texts.append(to_json_text(value))
    return texts


def to_json_text(value: Any) -> str:
    """Return a value as JSON.

    Times are text in ISO 8601, durations seconds, bytes text in Base64, sets sorted lists. NaN and
    infinities, which JSON lacks, are the texts ``"NaN"``, ``"Infinity"`` and ``"-Infinity"``.
    Other objects are what ``str`` makes of them.
    """
    return dump_json(_to_json(to_plain(value)))


def dump_json(data: Any) -> str:
    """Return data of JSON's types as JSON.

    Characters that a terminal might act on, and those that are no UTF-8, are escaped.
    """
    return escape_json(json.dumps(data, ensure_ascii=False, allow_nan=False))


def _to_json(value: Any) -> Any:
    """Return a value with JSON's types."""
    kind = type(value)
    if kind is float:
        return value if math.isfinite(value) else _show_float(value)
    if value is None or kind in (str, bool, int):
        return value
    if isinstance(value, (DictConfig, ListConfig)):
        value = OmegaConf.to_container(value)
    for types, convert in _CONVERTERS:
        if isinstance(value, types):
            return convert(value)
    return to_text(value)


def _show_float(value: float) -> str:
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _to_key(key: Any) -> str:
    return key.name if isinstance(key, Enum) else key if isinstance(key, str) else str(key)


_CONVERTERS: list[tuple[type | tuple[type, ...], Callable[[Any], Any]]] = [
    (Mapping, lambda value: {_to_key(k): _to_json(v) for k, v in value.items()}),
    ((list, tuple), lambda value: list(map(_to_json, value))),
    ((set, frozenset), lambda value: sorted(map(_to_json, value), key=json.dumps)),
    ((date, datetime, time), lambda value: value.isoformat()),
    (timedelta, lambda value: value.total_seconds()),
    (bytes, lambda value: base64.b64encode(value).decode()),
]
"""What is made of values of some types, the first that fits."""
