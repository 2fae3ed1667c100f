"""What a run of ``train_digits.py`` left in its artifacts directory."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


class TrainedModel:
    """The ``impl`` of a run: its artifacts, loaded with plain numpy and json.

    Args:
        artifacts_dir: The run's artifacts directory.
    """

    def __init__(self, artifacts_dir: Path) -> None:
        self.artifacts_dir = artifacts_dir

    @cached_property
    def weights(self) -> list[NDArray[np.float16]]:
        """One matrix for each layer, of shape (inputs, outputs)."""
        with np.load(self.artifacts_dir / "model" / "weights.npz") as arrays:
            return [arrays[name] for name in sorted(arrays.files)]

    @property
    def n_weights(self) -> int:
        """How many numbers the model has learned, biases apart."""
        return sum(layer.size for layer in self.weights)

    @cached_property
    def confusion_matrix(self) -> NDArray[Any]:
        """How many test images of each digit (row) were taken for which digit (column)."""
        with open(self.artifacts_dir / "confusion_matrix.json", encoding="utf-8") as file:
            return np.array(json.load(file))
