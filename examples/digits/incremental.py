"""The pipeline of `make demo-incremental`: each run of it processes what is new in a sweep."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
from kedro.pipeline import Node, Pipeline

from digits.nodes import Runs

Confusion = dict[str, Any]


def create_pipeline() -> Pipeline:
    """Return the pipeline."""
    return Pipeline(
        [
            Node(find_confusions, "new_runs", "confusions", confirms="new_runs"),
            Node(make_table, "confusions", "confusion_table"),
        ]
    )


def find_confusions(runs: Runs) -> dict[str, Confusion]:
    """Return for each run, by its ID, which digit it takes for which other one most often."""
    found = {run.info.run_id: find_confusion(run.impl.confusion_matrix) for run in runs}
    print(f"\nProcessed {len(found)} new runs\n")
    return found


def find_confusion(matrix: np.ndarray[Any, Any]) -> Confusion:
    """Return the largest entry of a confusion matrix beside its diagonal."""
    errors = matrix - np.diag(np.diag(matrix))
    digit, taken_for = np.unravel_index(np.argmax(errors), errors.shape)
    return {"digit": int(digit), "taken_for": int(taken_for), "n": int(errors.max())}


def make_table(confusions: dict[str, Callable[[], Confusion]]) -> pl.DataFrame:
    """Return the confusions of all runs, those of earlier times too."""
    return pl.DataFrame([{"run_id": run_id, **load()} for run_id, load in confusions.items()])
