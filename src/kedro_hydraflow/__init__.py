"""Find, read and query HydraFlow runs, local or remote, from Python and Kedro."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kedro_hydraflow.collection import Collection
    from kedro_hydraflow.datasets import (
        HydraflowArtifactDataset,
        HydraflowFrameDataset,
        HydraflowRunCollectionDataset,
        HydraflowRunDataset,
    )
    from kedro_hydraflow.errors import KedroHydraflowError
    from kedro_hydraflow.group_by import GroupBy
    from kedro_hydraflow.hooks import ProvenanceHook
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


_MODULES = {
    "Collection": "collection",
    "GroupBy": "group_by",
    "HydraflowArtifactDataset": "datasets",
    "HydraflowFrameDataset": "datasets",
    "HydraflowRunCollectionDataset": "datasets",
    "HydraflowRunDataset": "datasets",
    "KedroHydraflowError": "errors",
    "ProvenanceHook": "hooks",
    "Run": "run",
    "RunCollection": "run_collection",
    "RunInfo": "run_info",
    "get_experiment_names": "run_dirs",
    "iter_artifact_paths": "run_dirs",
    "iter_artifacts_dirs": "run_dirs",
    "iter_experiment_dirs": "run_dirs",
    "iter_run_dirs": "run_dirs",
    "iter_runs": "loading",
    "publish_index": "publishing",
    "scan_runs": "scan",
}
"""Where the public names are."""


def __getattr__(name: str) -> Any:
    """Import a public name on first access.

    Kedro imports this package for its commands whenever it starts, and needs none of the names.
    """
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
