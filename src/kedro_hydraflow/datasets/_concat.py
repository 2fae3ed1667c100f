"""Concatenating the frames of runs, with values of the runs as columns."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from kedro_hydraflow.datasets._base import MAX_COLUMNS, make_table, to_table
from kedro_hydraflow.errors import ArtifactError, describe, show_count
from kedro_hydraflow.frames import stack_frames

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl

    from kedro_hydraflow.datasets._base import TablePreview


def is_frame(value: Any) -> bool:
    """Whether a value is a DataFrame of Polars or pandas."""
    import polars as pl

    return isinstance(value, pl.DataFrame) or _is_pandas(value)


def concat_frames(values: pl.DataFrame, frames: Sequence[Any]) -> Any:
    """Concatenate Polars or pandas frames into one frame of the same library.

    Args:
        values: The columns to put in front, with one row per frame. It is repeated for each row
            of that frame.
        frames: The frames, at least one. A column that a frame lacks is null in its rows.

    Raises:
        ArtifactError: If they cannot be concatenated.
    """
    rows = [i for i, frame in enumerate(frames) for _ in range(len(frame))]
    try:
        if _is_pandas(frames[0]):
            return _concat_pandas(values, frames, rows)
        return _concat_polars(values, frames, rows)
    except Exception as exc:
        raise ArtifactError(
            f"cannot concatenate {show_count(len(frames), 'frame')}: {describe(exc)}"
        ) from exc


def preview_frame(frame: Any, nrows: int) -> TablePreview:
    """Return the first rows of a frame as kedro-viz shows them."""
    if not _is_pandas(frame):
        return to_table(frame.head(nrows))
    shown = frame.iloc[:nrows, :MAX_COLUMNS].to_dict(orient="split")
    n_more = len(frame.columns) - len(shown["columns"])
    return make_table(shown["columns"], shown["data"], n_more)


def _concat_polars(values: pl.DataFrame, frames: Sequence[Any], rows: list[int]) -> Any:
    import polars as pl

    columns = []
    for column in values.iter_columns():
        cells = column.to_list()  # because a column of objects cannot be gathered
        columns.append(pl.Series(column.name, [cells[i] for i in rows], column.dtype))
    return pl.DataFrame([*columns, *stack_frames(frames, "diagonal_relaxed").iter_columns()])


def _concat_pandas(values: pl.DataFrame, frames: Sequence[Any], rows: list[int]) -> Any:
    import pandas as pd

    frame = pd.concat(frames, ignore_index=True)
    for position, column in enumerate(values.iter_columns()):
        cells = column.to_list()
        frame.insert(position, column.name, pd.Series([cells[i] for i in rows], frame.index))
    return frame


def _is_pandas(value: Any) -> bool:
    pandas = sys.modules.get("pandas")  # a pandas frame implies that pandas is imported
    return pandas is not None and isinstance(value, pandas.DataFrame)
