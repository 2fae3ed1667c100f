"""Find, read and query HydraFlow runs, local or remote, from Python and Kedro."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kedro_hydraflow.collection import Collection
from kedro_hydraflow.errors import KedroHydraflowError
from kedro_hydraflow.group_by import GroupBy
from kedro_hydraflow.loading import iter_runs
from kedro_hydraflow.publishing import publish_index
from kedro_hydraflow.run import Run
from kedro_hydraflow.run_collection import RunCollection
from kedro_hydraflow.run_dirs import (
    get_experiment_names,
    iter_artifact_paths,
    iter_artifacts_dirs,
    iter_experiment_dirs,
    iter_run_dirs,
)
from kedro_hydraflow.run_info import RunInfo
from kedro_hydraflow.scan import scan_runs

if TYPE_CHECKING:
    from kedro_hydraflow.datasets import (
        HydraflowArtifactDataset,
        HydraflowFrameDataset,
        HydraflowRunCollectionDataset,
        HydraflowRunDataset,
    )
    from kedro_hydraflow.hooks import ProvenanceHook

__version__ = "0.2.0"

__all__ = [
    "Collection",
    "GroupBy",
    "HydraflowArtifactDataset",
    "HydraflowFrameDataset",
    "HydraflowRunCollectionDataset",
    "HydraflowRunDataset",
    "KedroHydraflowError",
    "ProvenanceHook",
    "Run",
    "RunCollection",
    "RunInfo",
    "get_experiment_names",
    "iter_artifact_paths",
    "iter_artifacts_dirs",
    "iter_experiment_dirs",
    "iter_run_dirs",
    "iter_runs",
    "publish_index",
    "scan_runs",
]


def __getattr__(name: str) -> Any:
    """Import the datasets or the hook, and Kedro with them, on first access."""
    if name == "ProvenanceHook":
        from kedro_hydraflow.hooks import ProvenanceHook

        return ProvenanceHook
    if name in __all__:  # the other names are here already
        from kedro_hydraflow import datasets

        return getattr(datasets, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
