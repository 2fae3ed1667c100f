"""Frames of pandas, made of those of Polars without pyarrow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kedro_hydraflow.errors import MissingPackageError

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl


def to_pandas_frame(frame: pl.DataFrame) -> pd.DataFrame:
    """Return a frame as one of pandas, with the types that pandas itself would give the values.

    Integers and booleans with nulls are of pandas' nullable types, ``Int64`` and ``boolean``, so
    that they stay what they are. In columns of floats and times null is NaN and NaT. Dates become
    times. Lists, mappings, integers of 128 bits, and whatever else pandas has no type for are
    columns of objects.

    Raises:
        MissingPackageError: If pandas is not installed.
    """
    pandas = import_pandas()
    columns = {series.name: _convert(pandas, series) for series in frame.iter_columns()}
    return pandas.DataFrame(columns, index=pandas.RangeIndex(frame.height))


def import_pandas() -> Any:
    """Return the package.

    Raises:
        MissingPackageError: If it is not installed.
    """
    try:
        import pandas
    except ImportError as exc:
        raise MissingPackageError(
            f"to_pandas: pandas cannot be imported ({exc}): pip install 'kedro-hydraflow[pandas]'"
        ) from exc
    return pandas


def _convert(pandas: Any, series: pl.Series) -> Any:
    import polars as pl

    dtype = series.dtype
    name = str(dtype)
    is_integer = dtype.is_integer() and not name.endswith("128")
    if series.null_count() and (is_integer or dtype == pl.Boolean):
        return pandas.Series(series.to_list(), dtype="boolean" if dtype == pl.Boolean else name)
    if isinstance(dtype, pl.Datetime) and dtype.time_zone is not None:
        times = pandas.Series(series.to_numpy(writable=True)).dt.tz_localize("UTC")
        return times.dt.tz_convert(dtype.time_zone)
    if is_integer or dtype.is_float() or (dtype.is_temporal() and dtype != pl.Time):
        return pandas.Series(series.to_numpy(writable=True))
    if dtype == pl.Boolean:
        return pandas.Series(series.to_list(), dtype="bool")
    text = pandas.Series([""]).dtype  # of objects before pandas 3
    return pandas.Series(series.to_list(), dtype=text if dtype == pl.String else "object")
