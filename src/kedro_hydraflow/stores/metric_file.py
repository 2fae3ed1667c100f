"""The files of metrics that MLflow's file store writes: one for each metric, a line a value.

A line is ``timestamp value step``, without the step in old files, with the name and digest of
a dataset behind it in new ones (``mlflow/store/tracking/file_store.py``). Values may be
``nan``, ``inf`` and ``-inf``, and the last line may be half written.
"""

from __future__ import annotations

import math

from kedro_hydraflow.errors import MetadataError
from kedro_hydraflow.stores.record import Point


def parse_points(content: bytes) -> list[Point]:
    """Return the values of a metric in the order of the file.

    Raises:
        MetadataError: If a line has another format.
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
    """Order points; at the same step and time NaN comes before every number."""
    step, timestamp, value = point
    return step, timestamp, not math.isnan(value), value


def parse_latest(content: bytes) -> float | None:
    """Return the value of the last point, None if there is none; it raises as `parse_points`."""
    points = parse_points(content)
    return max(points, key=sort_key).value if points else None
