"""Functions that make one value of the values of a group: mean, std, min, max and others."""

from __future__ import annotations

import math
import statistics
from numbers import Real
from typing import TYPE_CHECKING, Any, TypeAlias

from kedro_hydraflow.columns import to_identity
from kedro_hydraflow.errors import OptionError
from kedro_hydraflow.times import to_utc

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Aggregate: TypeAlias = "str | Callable[[list[Any]], Any]"
"""The name of a function in `FUNCTIONS`, or a function of a list of values."""


def check_aggregate(option: str, function: object) -> None:
    """Raise OptionError unless the value is an `Aggregate`."""
    if not callable(function) and (not isinstance(function, str) or function not in FUNCTIONS):
        raise OptionError(
            f"{option}: expected a function or one of {', '.join(FUNCTIONS)}, found {function!r}"
        )


def aggregate(values: Sequence[Any], function: Aggregate, what: str) -> Any:
    """Return one value for the values of a group. None is left out.

    Args:
        values: The values.
        function: What to make of them.
        what: What they are, for the error.

    Returns:
        The result. Without any value, 0 for a number of values, and else None.

    Raises:
        OptionError: If the values are not of the kind that a function needs.
    """
    present = [value for value in values if value is not None]
    if not isinstance(function, str):
        return function(present) if present else None
    if not present and function not in _COUNTS:
        return None
    try:
        return FUNCTIONS[function](present)
    except OptionError as exc:
        raise OptionError(f"{what}: {exc}") from exc


def get_mean(values: Sequence[Any]) -> float:
    """Return the mean of numbers, NaN if one of them is NaN."""
    numbers = list(map(to_float, values))
    mean = _get_sum(numbers) / len(numbers)
    # Rounding may lead out of the range.
    return mean if math.isnan(mean) else min(max(mean, min(numbers)), max(numbers))


def get_std(values: Sequence[Any]) -> float | None:
    """Return the standard deviation of a sample; None of one number, NaN if one is not finite."""
    if len(values) < 2:
        return None
    numbers = list(map(to_float, values))
    if not all(map(math.isfinite, numbers)):
        return math.nan
    mean = get_mean(numbers)
    largest = max(abs(number - mean) for number in numbers)
    if largest == 0 or math.isinf(largest):
        return largest
    # The squares of very large and of very small numbers cannot be represented.
    squares = math.fsum(((number - mean) / largest) ** 2 for number in numbers)
    return largest * math.sqrt(squares / (len(numbers) - 1))


def get_min(values: Sequence[Any]) -> Any:
    """Return the least of numbers, texts or times. NaN is only if there is nothing else."""
    return _get_extreme(values, min)


def get_max(values: Sequence[Any]) -> Any:
    """Return the largest of numbers, texts or times. NaN is only if there is nothing else."""
    return _get_extreme(values, max)


def _get_extreme(values: Sequence[Any], choose: Callable[..., Any]) -> Any:
    numbers = [value for value in values if value == value] or values
    try:
        return choose(numbers, key=to_utc)
    except TypeError as exc:
        kinds = sorted({type(value).__name__ for value in values})
        raise OptionError(f"cannot compare values of type {' and '.join(kinds)}") from exc


def _get_median(values: Sequence[Any]) -> float:
    numbers = list(map(to_float, values))
    return math.nan if any(map(math.isnan, numbers)) else statistics.median(numbers)


def _add(values: Sequence[Any]) -> Any:
    if all(isinstance(value, int) for value in values):
        return sum(values)
    return _get_sum(list(map(to_float, values)))


def _get_sum(numbers: Sequence[float]) -> float:
    try:
        return math.fsum(numbers)
    except (OverflowError, ValueError):  # infinities of both signs, or a sum beyond the range
        return sum(numbers)


def to_float(value: Any, what: str = "") -> float:
    """Return a number as a float. Truth values count as 0 and 1.

    Args:
        value: The value.
        what: What it is, for the error.

    Raises:
        OptionError: If it is not a number, or too large.
    """
    prefix = f"{what}: " if what else ""
    if not isinstance(value, Real):
        raise OptionError(f"{prefix}expected numbers, found {value!r} ({type(value).__name__})")
    try:
        return float(value)
    except OverflowError as exc:
        raise OptionError(f"{prefix}expected numbers of 64 bits, found {value!r}") from exc


FUNCTIONS: dict[str, Callable[[list[Any]], Any]] = {
    "mean": get_mean,
    "std": get_std,
    "min": get_min,
    "max": get_max,
    "median": _get_median,
    "sum": _add,
    "count": len,
    "n": len,
    "n_unique": lambda values: len(set(map(to_identity, values))),
    "first": lambda values: values[0],
    "last": lambda values: values[-1],
}
"""The functions by name."""

_COUNTS = ("count", "n", "n_unique")
"""Those that are 0 without any value."""

OF_NUMBERS = ("mean", "std", "min", "max", "median", "sum")
"""Those that calculate with numbers or order them."""
