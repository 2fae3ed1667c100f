"""The examples of HydraFlow's page on the Run class, with nothing changed but the import."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kedro_hydraflow import Run, RunCollection, iter_run_dirs
from tests.conftest import TrackingDir

CONFIG = """\
model: {{type: {model}, hidden_size: 64}}
training: {{learning_rate: 0.001, batch_size: 32, epochs: 5}}
seed: 7
learning_rate: {rate}
"""


@dataclass
class ModelConfig:
    type: str
    hidden_size: int


@dataclass
class TrainingConfig:
    learning_rate: float
    batch_size: int
    epochs: int


@dataclass
class Config:
    model: ModelConfig
    training: TrainingConfig
    seed: int = 42


class Model:
    """What the page's weights file holds."""

    def evaluate(self, test_data: list[int]) -> int:
        return sum(test_data)


def load_pickle(path: Path) -> Any:
    with open(path, "rb") as file:
        return pickle.load(file)


torch = SimpleNamespace(load=load_pickle)


class ModelLoader:
    def __init__(self, artifacts_dir: Path):
        self.artifacts_dir = artifacts_dir
        self.accuracy = 0.9  # for run.get("accuracy")

    def load_weights(self):
        """Load the model weights from the artifacts directory."""
        return torch.load(self.artifacts_dir / "weights.pt")

    def evaluate(self, test_data):
        """Evaluate the model on test data."""
        model = self.load_weights()
        return model.evaluate(test_data)


class AdvancedModelLoader:
    def __init__(self, artifacts_dir: Path, cfg: Config | None = None):
        self.artifacts_dir = artifacts_dir
        self.cfg = cfg

    def load_model(self):
        """Load model using configuration parameters."""
        model_type = self.cfg.model.type
        model_path = self.artifacts_dir / f"{model_type}_model.pt"
        return torch.load(model_path)


@pytest.fixture(autouse=True)
def mlruns(tracking_dir: TrackingDir, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tracking directory ``mlruns`` in the working directory, with the page's names."""
    exp_id = tracking_dir.add_experiment("my_experiment", "exp_id")
    for run_id, model in (("run_id", "mlp"), ("run_id1", "mlp"), ("run_id2", "cnn")):
        run_dir = tracking_dir.add_run(exp_id, run_id, CONFIG.format(model=model, rate=0.001))
        for name in ("weights.pt", "mlp_model.pt"):
            (run_dir / "artifacts" / name).write_bytes(pickle.dumps(Model()))
    for number, name in enumerate(("train_v1", "train_a_v2", "eval_v2", "other"), 2):
        experiment = tracking_dir.add_experiment(name, str(number))
        tracking_dir.add_run(experiment, f"of_{name}", CONFIG.format(model="mlp", rate=0.1))
    monkeypatch.chdir(tracking_dir.root.parent)


@pytest.fixture
def run_dir() -> Path:
    return Path("mlruns/exp_id/run_id")


def test_basic_usage(run_dir: Path) -> None:
    # Using constructor with Path object
    run = Run(run_dir)
    assert run.info.run_dir == run_dir

    # Using load method with string path
    run = Run.load("mlruns/exp_id/run_id")
    assert run.info.run_dir == run_dir


def test_run_information(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = Run(run_dir)
    print(f"Run ID: {run.info.run_id}")
    print(f"Run Directory: {run.info.run_dir}")
    print(f"Job name: {run.info.job_name}")
    assert capsys.readouterr().out == (
        f"Run ID: run_id\nRun Directory: {run_dir}\nJob name: my_experiment\n"
    )
    assert type(run.info.run_dir) is type(Path())


def test_run_configuration(run_dir: Path) -> None:
    run = Run(run_dir, ModelLoader)

    # Access entire configuration
    assert f"Configuration: {run.cfg}" == (
        "Configuration: {'model': {'type': 'mlp', 'hidden_size': 64}, 'training': "
        "{'learning_rate': 0.001, 'batch_size': 32, 'epochs': 5}, 'seed': 7, "
        "'learning_rate': 0.001}"
    )

    # Access configuration by key
    learning_rate = run.get("learning_rate")
    assert learning_rate == 0.001

    # Nested access with dot notation
    model_type = run.get("model.type")
    assert model_type == "mlp"

    # Access implementation attributes or run info
    metric_value = run.get("accuracy")  # From impl or cfg
    run_id = run.get("run_id")  # From RunInfo
    assert (metric_value, run_id) == (0.9, "run_id")


def test_type_safe_configuration_access(run_dir: Path) -> None:
    # Create a typed Run instance
    run = Run[Config](run_dir)

    # Type-safe access with IDE auto-completion
    model_type = run.cfg.model.type
    lr = run.cfg.training.learning_rate
    seed = run.cfg.seed
    assert (model_type, lr, seed) == ("mlp", 0.001, 7)
    assert run.impl is None


def test_custom_implementation_classes(run_dir: Path) -> None:
    test_data = [1, 2, 3]

    # Create a Run with implementation
    run = Run[Config, ModelLoader](run_dir, ModelLoader)

    # Access implementation methods
    weights = run.impl.load_weights()
    results = run.impl.evaluate(test_data)
    assert isinstance(weights, Model)
    assert results == 6


def test_configuration_aware_implementations(run_dir: Path) -> None:
    # The implementation will receive both artifacts_dir and cfg
    run = Run[Config, AdvancedModelLoader](run_dir, AdvancedModelLoader)
    model = run.impl.load_model()  # Uses configuration information
    assert isinstance(model, Model)
    assert run.impl.cfg is run.cfg


def test_loading_multiple_runs() -> None:
    # Load a single run
    run = Run.load("mlruns/exp_id/run_id")
    assert run.get("seed") == 7

    # Load multiple runs to create a RunCollection
    run_dirs = ["mlruns/exp_id/run_id1", "mlruns/exp_id/run_id2"]
    runs = Run.load(run_dirs)
    assert isinstance(runs, RunCollection)
    assert runs.to_list("model.type") == ["mlp", "cnn"]

    # Load runs with parallel processing
    runs = Run.load(run_dirs, n_jobs=4)  # Use 4 parallel jobs for loading
    assert runs.to_list("model.type") == ["mlp", "cnn"]
    runs = Run.load(run_dirs, n_jobs=-1)  # Use all available CPU cores
    assert runs.to_list("model.type") == ["mlp", "cnn"]


def test_finding_runs_with_iter_run_dirs() -> None:
    # Find all runs in the tracking directory
    tracking_dir = "mlruns"
    run_dirs = list(iter_run_dirs(tracking_dir))
    runs = Run.load(run_dirs)
    assert len(runs) == 7

    # Filter runs by experiment name
    # - Use a single experiment name
    runs = Run.load(iter_run_dirs(tracking_dir, "my_experiment"))
    assert runs.to_list("run_id") == ["run_id", "run_id1", "run_id2"]

    # - Use multiple experiment names (with pattern matching)
    runs = Run.load(iter_run_dirs(tracking_dir, ["train_*", "eval_*"]))
    assert runs.to_list("run_id") == ["of_eval_v2", "of_train_a_v2", "of_train_v1"]

    # - Use a custom filtering function
    def filter_experiments(name: str) -> bool:
        return name.startswith("train_") and "v2" in name

    runs = Run.load(iter_run_dirs(tracking_dir, filter_experiments))
    assert runs.to_list("run_id") == ["of_train_a_v2"]


def test_default_values(run_dir: Path) -> None:
    run = Run(run_dir)
    default_value = 1.5
    assert run.get("key", default_value) == 1.5


def test_precedence_is_cfg_impl_info(run_dir: Path) -> None:
    class Impl:
        def __init__(self, artifacts_dir: Path) -> None:
            self.seed = "of the implementation"
            self.run_id = "of the implementation"

    run = Run(run_dir, Impl)
    assert run.get("seed") == 7
    assert run.get("run_id") == "of the implementation"
    assert run.get("job_name") == "my_experiment"
