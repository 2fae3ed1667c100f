"""The nodes of the demo on Hydra's output directories."""

from __future__ import annotations

from typing import Any

import polars as pl

from kedro_hydraflow import Run, RunCollection


def make_leaderboard(runs: RunCollection[Run[Any]]) -> pl.DataFrame:
    """Return the runs, best first, by the loss that each job wrote into ``result.json``.

    A job that failed has written none. It is at the end.
    """
    ranked = runs.top(len(runs), by="results.loss", mode="min")
    frame = ranked.to_frame(
        "run_id", "model.name", "optim.lr", "optim.steps", "seed", "results.loss"
    )
    return frame.rename({"results.loss": "loss"}).with_row_index("rank", offset=1)


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
