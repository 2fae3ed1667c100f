"""What the tests of several datasets share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from kedro.io import AbstractDataset, DataCatalog

from kedro_hydraflow import HydraflowArtifactDataset, HydraflowRunCollectionDataset
from tests.conftest import TrackingDir, write


def from_catalog(**config: Any) -> HydraflowRunCollectionDataset:
    """Return a dataset of many runs, as a catalog makes it."""
    config = {"type": "kedro_hydraflow.HydraflowRunCollectionDataset", **config}
    dataset = DataCatalog.from_config({"runs": config})["runs"]
    assert isinstance(dataset, HydraflowRunCollectionDataset)
    return dataset


class TableDataset(AbstractDataset[pl.DataFrame, pl.DataFrame]):
    """Loads a CSV file; what it lacks of a dataset of kedro-datasets is beside the point."""

    def __init__(
        self,
        *,
        filepath: str,
        separator: str = ",",
        options: dict[str, Any] | None = None,
        credentials: dict[str, Any] | None = None,
    ) -> None:
        self._filepath = filepath
        self._separator = separator
        if options is not None:
            options.pop("used")  # as some datasets do

    def load(self) -> pl.DataFrame:
        assert os.path.isfile(self._filepath)
        return pl.read_csv(self._filepath, separator=self._separator)

    def save(self, data: pl.DataFrame) -> None:
        raise NotImplementedError

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self._filepath}


class TextDataset(AbstractDataset[str, str]):
    """Takes the path as `where`, of a file or a folder."""

    def __init__(self, where: str) -> None:
        self._where = Path(where)

    def load(self) -> str:
        if self._where.is_dir():
            return " ".join(sorted(path.name for path in self._where.iterdir()))
        return self._where.read_text()

    def save(self, data: str) -> None:
        raise NotImplementedError

    def _describe(self) -> dict[str, Any]:
        return {}


TABLE = f"{__name__}.TableDataset"
TEXT = f"{__name__}.TextDataset"


@pytest.fixture
def root(tracking_dir: TrackingDir) -> Path:
    """Three runs with a metrics.csv, and an older one without."""
    train = tracking_dir.add_experiment("train", "1")
    for number, run_id in enumerate(["a", "b", "c"], 1):
        run_dir = tracking_dir.add_run(train, run_id, f"lr: {number}\nname: run {number}\n")
        rows = "".join(f"{epoch},{number / 10}\n" for epoch in range(number))
        write(run_dir / "artifacts/metrics.csv", f"epoch,loss\n{rows}")
        write(run_dir / "artifacts/notes/short.txt", f"note of {run_id}")
    tracking_dir.add_run(tracking_dir.add_experiment("old", "2"), "z", "lr: 0.5\n")
    return tracking_dir.root


def make_artifact_dataset(path: Any, **options: Any) -> HydraflowArtifactDataset:
    """Return a dataset of the artifact ``metrics.csv`` of `root`, as a catalog makes it."""
    config = {
        "type": "kedro_hydraflow.HydraflowArtifactDataset",
        "path": str(path),
        "artifact": "metrics.csv",
        "dataset": TABLE,
        "experiment_names": "train",
        **options,
    }
    dataset = DataCatalog.from_config({"metrics": config})["metrics"]
    assert isinstance(dataset, HydraflowArtifactDataset)
    return dataset


EXPECTED = pl.DataFrame(
    {
        "run_id": ["a", "b", "b", "c", "c", "c"],
        "lr": [1, 2, 2, 3, 3, 3],
        "epoch": [0, 0, 1, 0, 1, 2],
        "loss": [0.1, 0.2, 0.2, 0.3, 0.3, 0.3],
    }
)


def make_again(dataset: AbstractDataset[Any, Any]) -> tuple[dict[str, Any], Any]:
    """Return a dataset's entry in a catalog, and the dataset that is made of that."""
    config, credentials, *_ = DataCatalog({"it": dataset}).to_config()
    return config["it"], DataCatalog.from_config(config, credentials)["it"]
