"""The pipeline of the demo on Hydra's output directories: runs in, a leaderboard out."""

from kedro.pipeline import Node, Pipeline

from curves.nodes import make_leaderboard, print_leaderboard


def create_pipeline() -> Pipeline:
    """Return the pipeline."""
    return Pipeline(
        [
            Node(make_leaderboard, "curve_runs", "curve_leaderboard"),
            Node(print_leaderboard, ["curve_leaderboard", "params:shown_runs"], None),
        ]
    )
