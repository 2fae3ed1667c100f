"""The demo's pipelines."""

from kedro.pipeline import Pipeline

from digits.pipeline import create_pipeline


def register_pipelines() -> dict[str, Pipeline]:
    """Return the pipelines by name."""
    return {"__default__": create_pipeline()}
