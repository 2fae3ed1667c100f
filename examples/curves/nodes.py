"""The nodes of the demo on Hydra's output directories."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import polars as pl

from kedro_hydraflow import Run, RunCollection


def make_leaderboard(
    runs: RunCollection[Run[Any]], results: Mapping[str, Callable[[], dict[str, float]]]
) -> pl.DataFrame:
    """Return the runs, best first, by the loss that each job wrote into ``result.json``.

    A job that failed has written none. It is at the end.
    """
    losses = {run_id: load()["loss"] for run_id, load in results.items()}
    frame = runs.to_frame("run_id", "model.name", "optim.lr", "optim.steps", "seed")
    loss = frame["run_id"].replace_strict(losses, default=None, return_dtype=pl.Float64)
    ranked = frame.with_columns(loss.alias("loss")).sort("loss", "run_id", nulls_last=True)
    return ranked.with_row_index("rank", offset=1)


def print_leaderboard(leaderboard: pl.DataFrame, shown: int) -> None:
    """Print the first runs of the leaderboard."""
    table = leaderboard.head(shown)
    with pl.Config(
        tbl_rows=shown,
        tbl_cols=-1,
        tbl_width_chars=140,
        fmt_str_lengths=40,
        tbl_hide_dataframe_shape=True,
    ):
        print(f"\nThe best {table.height} of {leaderboard.height} runs\n{table}\n")
