"""The metric files of MLflow's file store: one file per metric, one line per value.

A line is ``timestamp value step``. Old files lack the step. New files append the name and the
digest of a dataset. Values may be ``nan``, ``inf`` or ``-inf``. The last line may be incomplete.
``mlflow/store/tracking/file_store.py`` defines the format.
"""

from __future__ import annotations

import math

from kedro_hydraflow.errors import MetadataError
from kedro_hydraflow.stores.record import Point


def parse_points(content: bytes) -> list[Point]:
    """Return the values of a metric in the order of the file, without an incomplete last line.

    Raises:
        MetadataError: If another line is malformed.
    """
    lines = content.decode("utf-8", errors="replace").split("\n")
    unfinished = lines.pop()
    if len(unfinished.split()) >= 3:
        lines.append(unfinished)
    points = []
    for number, line in enumerate(lines, 1):
        fields = line.split()
        if not fields:
            continue
        try:
            step = int(fields[2]) if len(fields) > 2 else 0
            points.append(Point(step, int(fields[0]), float(fields[1])))
        except (IndexError, ValueError) as exc:
            if line is unfinished:
                continue
            raise MetadataError(
                f"line {number}: expected 'timestamp value step', found {line[:80]!r}"
            ) from exc
    return points


def sort_key(point: Point) -> tuple[int, int, bool, float]:
    """Return the step, timestamp and value to sort by, with NaN before all other values."""
    step, timestamp, value = point
    return step, timestamp, not math.isnan(value), value


def parse_latest(content: bytes) -> float | None:
    """Return the value of the last point by `sort_key`, None if there are no points.

    Raises:
        MetadataError: If a line is malformed.
    """
    points = parse_points(content)
    return max(points, key=sort_key).value if points else None
