"""The Kedro datasets: one in each module."""

from kedro_hydraflow.datasets.run_collection_dataset import HydraflowRunCollectionDataset
from kedro_hydraflow.datasets.run_dataset import HydraflowRunDataset

__all__ = ["HydraflowRunCollectionDataset", "HydraflowRunDataset"]
