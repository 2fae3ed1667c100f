"""The metric files of MLflow's file store: one file per metric, one line per value.

A line is ``timestamp value step``. Old files lack the step. New files append the name and the
digest of a dataset. Values may be ``nan``, ``inf`` or ``-inf``. The last line may be incomplete.
``mlflow/store/tracking/file_store.py`` defines the format.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from kedro_hydraflow.errors import MetadataError
from kedro_hydraflow.stores.record import LARGEST_INTEGER, Point

if TYPE_CHECKING:
    from collections.abc import Iterator


def parse_points(content: bytes) -> list[Point]:
    """Return the values of a metric in the order of the file, without an incomplete last line.

    Raises:
        MetadataError: If another line is malformed.
    """
    return list(_iter_points(content))


def _iter_points(content: bytes) -> Iterator[Point]:
    lines = content.decode("utf-8", errors="replace").split("\n")
    unfinished = lines.pop()
    if len(_split(unfinished)) >= 3:
        lines.append(unfinished)
    for number, line in enumerate(lines, 1):
        fields = _split(line)
        if not fields:
            continue
        try:
            step = int(fields[2]) if len(fields) > 2 else 0
            timestamp = int(fields[0])
            if abs(step) > LARGEST_INTEGER or abs(timestamp) > LARGEST_INTEGER:
                raise ValueError("larger than 64 bits")
            yield Point(step, timestamp, float(fields[1]))
        except (IndexError, ValueError) as exc:
            if line is unfinished:
                continue
            raise MetadataError(
                f"line {number}: expected 'timestamp value step', found {line[:80]!r}"
            ) from exc


def _split(line: str) -> list[str]:
    """Return the first three fields of a line, and the rest of it."""
    return line.split(None, 3)


def sort_key(point: Point) -> tuple[int, int, bool, float]:
    """Return the step, timestamp and value to sort by, with NaN before all other values."""
    step, timestamp, value = point
    return step, timestamp, not math.isnan(value), value


def parse_latest(content: bytes) -> float | None:
    """Return the value of the last point by `sort_key`, None if there are no points.

    Raises:
        MetadataError: If a line is malformed.
    """
    latest = max(_iter_points(content), key=sort_key, default=None)
    return None if latest is None else latest.value
