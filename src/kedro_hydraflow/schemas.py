"""Declared types of columns, and which values fit them."""

from __future__ import annotations

import ast
import inspect
import math
import re
import reprlib
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from decimal import Context, Decimal
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from kedro_hydraflow.columns import to_plain
from kedro_hydraflow.config import parse_logged
from kedro_hydraflow.errors import ConfigError, OptionError, SchemaError, check_flag
from kedro_hydraflow.fact_checks import TIME_FACTS
from kedro_hydraflow.forks import warn_of_polars
from kedro_hydraflow.json_columns import Nested, check_nested, to_json_text
from kedro_hydraflow.keys import identify, is_pattern, parse_key
from kedro_hydraflow.times import parse_iso

if TYPE_CHECKING:
    import polars as pl
    from polars._typing import PolarsDataType, PythonDataType

    from kedro_hydraflow.run_info import RunInfo

SchemaOption: TypeAlias = "Mapping[str, PolarsDataType | PythonDataType | str]"
"""The types of columns by key: those of Polars or Python, or their names."""

EXAMPLE = "{'model.type': pl.String, 'metrics.accuracy': pl.Float64}"

_PYTHON_TYPES: dict[Any, str] = {
    str: "String",
    int: "Int64",
    float: "Float64",
    bool: "Boolean",
    bytes: "Binary",
    date: "Date",
    datetime: "Datetime",
    time: "Time",
    timedelta: "Duration",
}
TYPE_NAMES = frozenset(
    {
        *(kind.__name__ for kind in _PYTHON_TYPES),
        *_PYTHON_TYPES.values(),
        *(f"{sign}Int{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64, 128)),
        *("Float16", "Float32", "Categorical", "Decimal", "Null", "Object"),
        *("List", "Array", "Struct", "Enum"),
    }
)
"""The names of the types that text may have in it."""

_NEED_ARGUMENTS = {
    "List": "List(Int64)",
    "Array": "Array(Float64, 2)",
    "Struct": "Struct({'x': Int64})",
    "Enum": "Enum(['a', 'b'])",
}
"""The types that are none without arguments, and an example of each."""

_TOO_LARGE = {"Float16": 65520.0, "Float32": 3.4028235677973366e38}
"""The first float that a type rounds to infinity."""

_NANOSECONDS = (
    datetime(1677, 9, 21, 0, 12, 43, 145225, timezone.utc),
    datetime(2262, 4, 11, 23, 47, 16, 854775, timezone.utc),
)
"""The first and the last time that a column of nanoseconds holds."""

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_INTEGER = re.compile(r"(U?)Int(\d+)")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_TIME = re.compile(r"\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?")

_shorten = reprlib.Repr()
_shorten.maxstring = _shorten.maxother = 80


@dataclass(frozen=True)
class Schema:
    """The declared types of the columns of a frame."""

    types: Mapping[str, pl.DataType]
    """By key, which means what its spelling says."""

    strict: bool = True
    """Whether a value that does not fit is an error. Otherwise it is null."""

    nested: Nested = "keep"
    """With ``"json"``, lists and mappings fit text: as JSON."""

    def select(self, keys: Collection[str]) -> Schema:
        """Return the schema of some of the columns, in the same order."""
        types = {key: dtype for key, dtype in self.types.items() if key in keys}
        return Schema(types, self.strict, self.nested)

    def find(self, key: str) -> str | None:
        """Return the key of the schema that means the same as a key; None without one."""
        return key if key in self.types else self._spellings.get(identify(key))

    @cached_property
    def _spellings(self) -> dict[tuple[str, str], str]:
        return {identify(key): key for key in self.types}

    def fit(self, key: str, values: list[Any], infos: Sequence[RunInfo]) -> pl.Series:
        """Return a column of the type that is declared for a key.

        It neither starts nor needs Polars' threads (see `forks`).

        Args:
            key: The key.
            values: The value of each run, None without one.
            infos: The runs.

        Raises:
            SchemaError: If it is strict, and a value does not fit.
        """
        import polars as pl

        warn_of_polars()
        dtype = self.types[key]
        types = set(map(type, values))
        if types <= _DIRECT.get(str(dtype), frozenset()):
            with suppress(TypeError, ValueError, OverflowError, pl.exceptions.PolarsError):
                return pl.Series(key, values, dtype, strict=True)
        if types.isdisjoint((list, dict)):
            return self._convert(key, values, range(len(values)), infos)
        # Runs share lists and mappings, with which Polars is slow.
        distinct = {id(value): value for value in values}
        numbers = {identity: i for i, identity in enumerate(distinct)}
        positions = [numbers[id(value)] for value in values]
        return self._convert(key, list(distinct.values()), positions, infos)[positions]

    def _convert(
        self, key: str, values: list[Any], positions: Sequence[int], infos: Sequence[RunInfo]
    ) -> pl.Series:
        """Return a column of distinct values.

        Args:
            key: The key.
            values: The values.
            positions: For each run, the position of its value.
            infos: The runs.
        """
        dtype = self.types[key]
        is_text = parse_key(key).kind in ("params", "tags")
        convert = _make_converter(dtype, is_text, self.nested)
        fitting: list[Any] = []
        unfit: set[int] = set()
        for i, value in enumerate(values):
            try:
                fitting.append(None if value is None else convert(value))
            except (TypeError, ValueError, OverflowError):  # noqa: PERF203 - it is of this value
                fitting.append(None)
                unfit.add(i)
        if unfit and self.strict:
            runs = [i for i, position in enumerate(positions) if position in unfit]
            value = values[positions[runs[0]]]
            raise _make_error(key, dtype, value, infos[runs[0]], len(runs), len(positions))
        return _make_series(key, fitting, dtype)


def parse_schema(
    schema: SchemaOption | None, *, strict: bool = True, nested: Nested = "keep"
) -> Schema | None:
    """Return the schema that users mean, None for None.

    Raises:
        OptionError: If something in it is no key, or no type.
    """
    check_flag("strict", strict)
    check_nested(nested)
    if schema is None:
        return None
    check_schema(schema)
    return Schema({key: _parse_type(key, dtype) for key, dtype in schema.items()}, strict, nested)


def check_schema(schema: object) -> None:
    """Raise OptionError unless there are keys, and types that are text name some.

    Does not import Polars.
    """
    if not isinstance(schema, Mapping) or not schema:
        raise OptionError(f"schema: expected keys and types, such as {EXAMPLE}, found {schema!r}")
    for key, dtype in schema.items():
        if not isinstance(key, str) or not key:
            raise OptionError(f"schema: expected a key as text, found {key!r}")
        if is_pattern(key):
            raise OptionError(
                f"schema: {key!r} is a pattern; name each key, or give the pattern as a key of "
                "the frame, beside the schema"
            )
        parse_key(key)
        if isinstance(dtype, str) and not _names_types(dtype):
            raise _make_type_error(key, dtype)


# Types ------------------------------------------------------------------------------------


def _parse_type(key: str, dtype: object) -> pl.DataType:
    import polars as pl

    found = _read_type(dtype) if isinstance(dtype, str) else dtype
    if isinstance(found, type) and found in _PYTHON_TYPES:
        found = getattr(pl, _PYTHON_TYPES[found])
    if found is pl.Datetime and parse_key(key).path in TIME_FACTS:
        return pl.Datetime("us", "UTC")
    is_type = isinstance(found, pl.DataType) or (
        inspect.isclass(found) and issubclass(found, pl.DataType)
    )
    if not is_type:
        raise _make_type_error(key, dtype)
    return _complete(key, found)


def _complete(key: str, dtype: Any) -> pl.DataType:
    """Return a type in which no other is a class without arguments, such as ``pl.Date``."""
    import polars as pl

    if inspect.isclass(dtype):
        name = dtype.__name__
        if name in _NEED_ARGUMENTS:
            raise OptionError(f"schema: {key!r}: {name} needs more, as in {_NEED_ARGUMENTS[name]}")
        dtype = dtype()
    if isinstance(dtype, pl.Struct):
        return pl.Struct({f.name: _complete_part(key, f.dtype) for f in dtype.fields})
    if isinstance(dtype, pl.List):
        return pl.List(_complete_part(key, dtype.inner))
    if isinstance(dtype, pl.Array):
        return pl.Array(_complete_part(key, dtype.inner), dtype.size)
    return cast("pl.DataType", dtype)


def _complete_part(key: str, dtype: Any) -> pl.DataType:
    """Return the type of what is in a list or struct."""
    import polars as pl

    if dtype == pl.Object:  # with which Polars would end the process
        raise OptionError(
            f"schema: {key!r}: lists and structs cannot hold Object; write 'Object' for the whole "
            "column"
        )
    return _complete(key, dtype)


def _make_type_error(key: str, dtype: object) -> OptionError:
    meant = [
        name for name in TYPE_NAMES if isinstance(dtype, str) and name.lower() == dtype.lower()
    ]
    advice = f"; write {meant[0]!r}" if meant else ""
    return OptionError(
        f"schema: {key!r}: expected a type of Polars such as pl.Float64, its name, such as "
        f"'Float64' or 'List(Int64)', or a type of Python such as float, found {dtype!r}{advice}"
    )


def _names_types(text: str) -> bool:
    """Whether all names in a text are those of types."""
    try:
        nodes = list(ast.walk(ast.parse(text.strip(), mode="eval")))
    except (SyntaxError, ValueError, RecursionError):
        return False
    names = {node.id for node in nodes if isinstance(node, ast.Name)} - {"pl", "polars"}
    names |= {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    return bool(names) and names <= TYPE_NAMES


def _read_type(text: str) -> Any:
    """Return the type that text such as ``Float64`` or ``List(Int64)`` names, None for others."""
    try:
        return _evaluate(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, TypeError, ValueError, LookupError, RecursionError):
        return None


def _evaluate(node: ast.expr) -> Any:
    """Return the value of an expression that holds nothing but types and literals."""
    import polars as pl

    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        if node.value.id not in ("pl", "polars"):
            raise ValueError
        node = ast.Name(node.attr)
    if isinstance(node, ast.Name):
        python = {kind.__name__: name for kind, name in _PYTHON_TYPES.items()}
        found = getattr(pl, python.get(node.id, node.id), None)
        if not inspect.isclass(found) or not issubclass(found, pl.DataType):
            raise ValueError
        return found
    if isinstance(node, ast.Call):
        named = {str(word.arg): _evaluate(word.value) for word in node.keywords}
        return _evaluate(node.func)(*map(_evaluate, node.args), **named)
    if isinstance(node, ast.List):
        return list(map(_evaluate, node.elts))
    if isinstance(node, ast.Dict):
        names = [ast.literal_eval(key) for key in node.keys if key is not None]
        return dict(zip(names, map(_evaluate, node.values), strict=True))
    return ast.literal_eval(node)


# Values -----------------------------------------------------------------------------------

_NONE = type(None)
_INTEGERS = frozenset({int, _NONE})

_DIRECT: dict[str, frozenset[type]] = {
    "Boolean": frozenset({bool, _NONE}),
    "String": frozenset({str, _NONE}),
    "Float64": frozenset({float, _NONE}),
    "Binary": frozenset({bytes, _NONE}),
    **{f"{sign}Int{bits}": _INTEGERS for sign in ("", "U") for bits in (8, 16, 32, 64, 128)},
}
"""The types of values from which Polars makes a column unchanged, or raises an error."""

Convert: TypeAlias = Callable[[Any], Any]
"""Returns a value as the type of a column holds it; raises an error if it does not fit."""


def _make_converter(dtype: pl.DataType, is_text: bool, nested: Nested) -> Convert:
    """Return what converts values to a type.

    Args:
        dtype: The type.
        is_text: Whether text may stand for a number or truth value, as in params and tags, which
            are always text.
        nested: As for `Schema`.
    """
    import polars as pl

    integer = _INTEGER.fullmatch(str(dtype))
    convert: Convert
    if integer is not None:
        bits = int(integer[2])
        lowest, end = (0, 2**bits) if integer[1] else (-(2 ** (bits - 1)), 2 ** (bits - 1))
        convert = _reading(lambda value: _check_integer(value, lowest, end), is_text)
    elif dtype.is_float():
        too_large = _TOO_LARGE.get(str(dtype), math.inf)
        convert = _reading(lambda value: _to_float(value, too_large), is_text)
    elif isinstance(dtype, pl.Decimal):
        unit = Decimal(1).scaleb(-dtype.scale)
        context = Context(prec=dtype.precision or 38, traps=[])
        convert = _reading(lambda value: _to_decimal(value, unit, context), is_text)
    elif dtype == pl.Boolean:
        convert = _reading(lambda value: _check_type(value, bool), is_text)
    elif dtype == pl.String:
        convert = _to_text if nested == "keep" else _to_text_or_json
    elif isinstance(dtype, pl.Datetime):
        convert = lambda value: _to_datetime(value, dtype)  # noqa: E731
    elif isinstance(dtype, (pl.List, pl.Array)):
        items = _make_converter(cast("pl.DataType", dtype.inner), is_text, nested)
        size = dtype.size if isinstance(dtype, pl.Array) else None
        convert = lambda value: _to_list(value, items, size)  # noqa: E731
    elif isinstance(dtype, pl.Struct):
        fields = {
            field.name: _make_converter(cast("pl.DataType", field.dtype), is_text, nested)
            for field in dtype.fields
        }
        convert = lambda value: _to_struct(value, fields)  # noqa: E731
    else:
        convert = _OTHERS.get(type(dtype).__name__) or (lambda value: _try(value, dtype))
    return convert


def _reading(convert: Convert, is_text: bool) -> Convert:
    """Return a converter that first reads text as `parse_logged` does."""
    return (lambda value: convert(_parse(value))) if is_text else convert


def _parse(value: Any) -> Any:
    try:
        return parse_logged(value) if isinstance(value, str) else value
    except ConfigError as exc:
        raise ValueError from exc


def _check_type(value: Any, kind: type) -> Any:
    value = to_plain(value)
    if type(value) is not kind:
        raise TypeError
    return value


def _check_integer(value: Any, lowest: int, end: int) -> int:
    number: int = _check_type(value, int)
    if not lowest <= number < end:
        raise ValueError
    return number


def _to_float(value: Any, too_large: float) -> float:
    value = to_plain(value)
    if type(value) not in (float, int):
        raise TypeError
    number = float(value)
    if too_large <= abs(number) < math.inf:
        raise ValueError
    return number


def _to_decimal(value: Any, unit: Decimal, context: Context) -> Decimal:
    """Return a number as a multiple of a unit. It has to be one, and is not rounded."""
    value = to_plain(value)
    if type(value) not in (float, int, Decimal):
        raise TypeError
    number = Decimal(repr(value) if type(value) is float else value)
    fitting = number.quantize(unit, context=context)  # NaN if it has too many digits
    if fitting != number:
        raise ValueError
    return fitting


def _to_text(value: Any) -> str:
    text: str = _check_type(value, str)
    text.encode()  # Polars has no other text
    return text


def _to_text_or_json(value: Any) -> str:
    return to_json_text(value) if isinstance(value, (dict, list)) else _to_text(value)


def _to_datetime(value: Any, dtype: pl.Datetime) -> datetime:
    """Return a time in UTC. Whether it has a time zone has to be as declared."""
    has_zone = dtype.time_zone is not None
    is_text = isinstance(value, str) and _DATE.match(value)
    found = parse_iso(value) if is_text else value
    if not isinstance(found, datetime) or (found.tzinfo is not None) is not has_zone:
        raise TypeError
    found = found.astimezone(timezone.utc) if has_zone else found.replace(tzinfo=timezone.utc)
    if dtype.time_unit == "ns" and not _NANOSECONDS[0] <= found <= _NANOSECONDS[1]:
        raise ValueError
    return found


def _to_date(value: Any) -> date:
    if isinstance(value, str) and _DATE.fullmatch(value):
        return date.fromisoformat(value)
    return cast("date", _check_type(value, date))


def _to_time(value: Any) -> time:
    if isinstance(value, str) and _TIME.fullmatch(value):
        text, dot, fraction = value.partition(".")
        return time.fromisoformat(f"{text}.{fraction:0<6}" if dot else text)  # for Python 3.10
    return cast("time", _check_type(value, time))


def _to_list(value: Any, convert: Convert, size: int | None) -> list[Any]:
    items = to_plain(value)
    if not isinstance(items, (list, tuple)) or size not in (None, len(items)):
        raise TypeError
    return [None if item is None else convert(item) for item in items]


def _to_struct(value: Any, fields: Mapping[str, Convert]) -> dict[str, Any]:
    if not isinstance(value, Mapping) or not fields.keys() >= value.keys():
        raise TypeError
    return {
        name: None if value.get(name) is None else convert(value[name])
        for name, convert in fields.items()
    }


def _try(value: Any, dtype: pl.DataType) -> Any:
    """Return a value that Polars itself takes for one of a type."""
    import polars as pl

    value = to_plain(value)
    try:
        pl.Series("", [value], dtype, strict=True)
    except pl.exceptions.PolarsError as exc:
        raise ValueError from exc
    return value


def _refuse(value: Any) -> Any:
    raise TypeError(value)


_OTHERS: dict[str, Convert] = {
    "Binary": lambda value: _check_type(value, bytes),
    "Date": _to_date,
    "Time": _to_time,
    "Duration": lambda value: _check_type(value, timedelta),
    "Categorical": _to_text,
    "Null": _refuse,
    "Object": lambda value: value,
}


def _make_series(name: str, values: list[Any], dtype: pl.DataType) -> pl.Series:
    """Return a series of values that fit."""
    import polars as pl

    if isinstance(dtype, pl.Datetime):  # those of Python would start Polars' threads
        unit = timedelta(milliseconds=1) if dtype.time_unit == "ms" else timedelta(microseconds=1)
        factor = 1000 if dtype.time_unit == "ns" else 1
        ticks = [None if v is None else (v - _EPOCH) // unit * factor for v in values]
        return cast("pl.Series", pl.Series(name, ticks, pl.Int64).cast(dtype))
    return pl.Series(name, values, dtype)


def _make_error(
    key: str, dtype: pl.DataType, value: Any, info: RunInfo, n_unfit: int, n_runs: int
) -> SchemaError:
    """Return the error for a value of a run, and so many others, that does not fit."""
    count = f"; {n_unfit} of {n_runs} runs have such values" if n_unfit > 1 else ""
    return SchemaError(
        f"run {info.run_id}: {key!r} is {_shorten.repr(value)} ({type(value).__name__}), which "
        f"does not fit {dtype}{count}{_explain(value, dtype)}; with strict=False it is null"
    )


def _explain(value: Any, dtype: pl.DataType) -> str:
    """Return what may be meant instead."""
    import polars as pl

    if isinstance(dtype, pl.Datetime) and isinstance(value, datetime):
        has_zone = value.tzinfo is not None
        return "; declare Datetime('us', 'UTC') for times with a time zone" if has_zone else ""
    if dtype == pl.String and isinstance(value, (list, dict)):
        return "; with nested='json' it is JSON"
    return ""
