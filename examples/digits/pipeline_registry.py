"""The demo's pipelines."""

from kedro.pipeline import Pipeline

import curves.pipeline
import digits.incremental
import digits.pipeline


def register_pipelines() -> dict[str, Pipeline]:
    """Return the pipelines by name."""
    return {
        "__default__": digits.pipeline.create_pipeline(),
        "incremental": digits.incremental.create_pipeline(),  # with --env incremental
        "curves": curves.pipeline.create_pipeline(),  # with --env hydra
    }
