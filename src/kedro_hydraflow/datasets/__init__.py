"""The Kedro datasets: one in each module."""

from kedro_hydraflow.datasets._base import ReadOnlyDataset
from kedro_hydraflow.datasets.artifact_dataset import HydraflowArtifactDataset
from kedro_hydraflow.datasets.frame_dataset import HydraflowFrameDataset
from kedro_hydraflow.datasets.run_collection_dataset import HydraflowRunCollectionDataset
from kedro_hydraflow.datasets.run_dataset import HydraflowRunDataset

__all__ = [
    "HydraflowArtifactDataset",
    "HydraflowFrameDataset",
    "HydraflowRunCollectionDataset",
    "HydraflowRunDataset",
    "ReadOnlyDataset",
]
