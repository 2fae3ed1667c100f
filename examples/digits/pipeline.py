"""The demo's pipeline: runs in, a leaderboard, a summary and three pictures out."""

from kedro.pipeline import Node, Pipeline

from digits.nodes import (
    make_leaderboard,
    plot_confusion,
    plot_metric,
    plot_parallel,
    print_leaderboard,
    select_best_run,
    summarize,
)


def create_pipeline() -> Pipeline:
    """Return the pipeline."""
    return Pipeline(
        [
            Node(make_leaderboard, ["sweep_runs", "params:ranking_metric"], "leaderboard"),
            Node(summarize, ["sweep_frame", "params:ranking_metric"], "summary"),
            Node(print_leaderboard, ["leaderboard", "params:shown_runs"], None),
            Node(plot_metric, ["leaderboard", "params:ranking_metric"], "accuracy_plot"),
            Node(plot_parallel, ["sweep_runs", "params:ranking_metric"], "parallel_plot"),
            Node(select_best_run, ["sweep_runs", "leaderboard"], "best_run"),
            Node(plot_confusion, ["best_run", "params:ranking_metric"], "confusion_plot"),
        ]
    )
