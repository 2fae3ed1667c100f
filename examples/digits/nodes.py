"""The demo's nodes."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go
import plotly.io
import polars as pl
from matplotlib.figure import Figure

from digits.trained_model import TrainedModel
from kedro_hydraflow import Run, RunCollection

plotly.io.renderers  # noqa: B018 - imports IPython now, not while Matplotlib asks for its version

Runs = RunCollection[Run[Any, TrainedModel]]

_COLORS = {"linear": "#d1603d", "mlp": "#2f6690"}


def make_leaderboard(runs: Runs, metric: str) -> pl.DataFrame:
    """Return the runs, best first, by the final value of a metric."""
    frame = runs.to_frame(
        "run_id",
        "job_name",
        "model.type",  # from the configuration
        "model.hidden_size",
        "training.learning_rate",
        "seed",
        "n_weights",  # from the implementation
        f"metrics.{metric}",  # from MLflow
    )
    ranked = frame.rename({f"metrics.{metric}": metric}).sort(
        metric, "run_id", descending=[True, False], nulls_last=True
    )
    return ranked.with_row_index("rank", offset=1)


def summarize(frame: pl.DataFrame, metric: str) -> pl.DataFrame:
    """Return the mean and the standard deviation of a metric over seeds, by model and rate."""
    values = pl.col(f"metrics.{metric}")
    groups = frame.group_by("model.type", "training.learning_rate")
    means = groups.agg(values.mean().alias("mean"), values.std().alias("std"), pl.len().alias("n"))
    return means.sort("mean", descending=True)


def print_leaderboard(leaderboard: pl.DataFrame, shown: int) -> None:
    """Print the first runs of the leaderboard."""
    table = leaderboard.head(shown).with_columns(pl.col("run_id").str.head(8))
    with pl.Config(tbl_rows=shown, tbl_cols=-1, tbl_width_chars=140, tbl_hide_dataframe_shape=True):
        print(f"\nThe best {table.height} of {leaderboard.height} runs\n{table}\n")


def plot_metric(leaderboard: pl.DataFrame, metric: str) -> Figure:
    """Return a picture of a metric against learning rate, by model."""
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for (model,), runs in leaderboard.group_by("model.type", maintain_order=True):
        color = _COLORS.get(str(model))
        axes.scatter(
            runs["training.learning_rate"], runs[metric], color=color, alpha=0.6, label=model
        )
        mean = (
            runs.group_by("training.learning_rate")
            .agg(pl.col(metric).mean())
            .sort("training.learning_rate")
        )
        axes.plot(mean["training.learning_rate"], mean[metric], color=color)
    axes.set(
        xscale="log",
        xlabel="learning rate",
        ylabel=f"validation {metric}",
        title=f"{leaderboard.height} finished runs, lines through the means",
    )
    axes.grid(alpha=0.3)
    axes.legend(title="model")
    return figure


def plot_parallel(runs: Runs, metric: str) -> go.Figure:
    """Return parallel coordinates of what differs between the runs, coloured by a metric."""
    return runs.plot_parallel(color=f"metrics.{metric}")


def select_best_run(runs: Runs, leaderboard: pl.DataFrame) -> Run[Any, TrainedModel]:
    """Return the first run of the leaderboard."""
    return runs.get(run_id=leaderboard["run_id"][0])


def plot_confusion(run: Run[Any, TrainedModel], metric: str) -> Figure:
    """Return a picture of the confusion matrix of a run."""
    matrix = run.impl.confusion_matrix
    figure = Figure(figsize=(5.5, 5), layout="constrained")
    axes = figure.subplots()
    axes.imshow(np.log1p(matrix), cmap="Blues")  # errors are few: a log makes them visible
    for (row, column), count in np.ndenumerate(matrix):
        if count:
            color = "white" if row == column else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=color)
    axes.set(
        xticks=range(len(matrix)),
        yticks=range(len(matrix)),
        xlabel="predicted digit",
        ylabel="true digit",
        title=f"Run {run.info.run_id[:8]}: {run.get('model.type')}, "
        f"{metric} {run.metrics[metric]:.3f}",
    )
    return figure
