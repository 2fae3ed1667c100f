"""How many files a filter reads, from the cheapest level of conditions to the dearest."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import fsspec
import pytest

from kedro_hydraflow import Run, iter_run_dirs, iter_runs
from kedro_hydraflow.errors import RunLoadError
from tests.conftest import FilesRead, TrackingDir, write
from tests.stores.conftest import Requests

N_EACH = 20
HYDRA_YAML = "hydra:\n  job:\n    name: train\n    num: {number}\n"


def write_runs(tracking_dir: TrackingDir) -> None:
    """Write two experiments: a FAILED run in ten, a metric in half of them, broken configurations.

    Of each experiment, the last ten configurations are malformed.
    """
    for number, name in enumerate(("train", "eval"), start=1):
        experiment = tracking_dir.add_experiment(name, str(number))
        for i in range(N_EACH):
            config = f"seed: {i}\n" if i < 10 else "seed: [\n"
            metrics = {"loss": f"1 {i / N_EACH} 0\n"} if i % 2 else {}
            status = 4 if i % 10 == 0 else 3
            run_id = f"{number * 1000 + i:032x}"
            run_dir = tracking_dir.add_run(experiment, run_id, config, metrics, status=status)
            write(run_dir / "artifacts/.hydra/hydra.yaml", HYDRA_YAML.format(number=i))


def count(paths: list[str]) -> dict[str, int]:
    """Return how many files were read, by the name of the file, of runs and of experiments."""
    names = Counter(
        "experiment" if len(Path(path).parent.name) == 1 else Path(path).name for path in paths
    )
    return dict(names)


ID = f"{1003:032x}"

CASES: list[tuple[str, int, dict[str, int], dict[str, int]]] = [
    # filter, runs, files read locally, files read on remote storage
    (
        "job_name == eval and seed < 9 and run_id ~ '*7d[0-4]'",
        5,
        {"meta.yaml": 20, "config.yaml": 5},
        {"config.yaml": 5},
    ),
    (f"run_id == {ID}", 1, {"meta.yaml": 40, "config.yaml": 1}, {"config.yaml": 1}),
    (
        f"job_name == train and experiment_id == 1 and run_id <= {ID}",
        4,
        {"meta.yaml": 20, "config.yaml": 4},
        {"config.yaml": 4},
    ),
    (
        f"status == FAILED and run_id < {1010:032x}",
        1,
        {"meta.yaml": 40, "config.yaml": 1},
        {"meta.yaml": 40, "config.yaml": 1},
    ),
    (
        f"run_id < {1010:032x} and status == FAILED",
        1,
        {"meta.yaml": 40, "config.yaml": 1},
        {"meta.yaml": 10, "config.yaml": 1},  # conditions of a level are asked one by one
    ),
    (
        "seed == 1 and metrics.loss < 0.2 and status == FINISHED",
        2,
        {"meta.yaml": 40, "loss": 36, "config.yaml": 4},
        {"meta.yaml": 40, "loss": 36, "config.yaml": 4},
    ),
    (
        "hydra.job.num > 2 and metrics.loss < 0.2 and job_name == train",
        1,
        {"meta.yaml": 20, "loss": 20, "hydra.yaml": 2, "config.yaml": 1},
        {"loss": 20, "hydra.yaml": 2, "config.yaml": 1},
    ),
    (
        "params.x is null and status == FINISHED and job_name == train and seed > 7 "
        f"and run_id < {1010:032x}",
        2,
        {"meta.yaml": 20, "x": 9, "config.yaml": 9},
        {"meta.yaml": 20, "x": 9, "config.yaml": 9},
    ),
]


@pytest.mark.parametrize(("filters", "n_runs", "files", "_"), CASES)
def test_local_files(
    tracking_dir: TrackingDir,
    files_read: FilesRead,
    filters: str,
    n_runs: int,
    files: dict[str, int],
    _: object,
) -> None:
    write_runs(tracking_dir)
    runs = Run.load(iter_run_dirs(tracking_dir.root, filters=filters))
    assert len(runs) == n_runs
    assert count(files_read.paths) == {"experiment": 2, **files}
    files_read.clear()
    batches = iter_runs(tracking_dir.root, filters=filters, batch_size=7)
    assert [run.info.run_id for batch in batches for run in batch] == runs.to_list("run_id")
    assert count(files_read.paths) == {"experiment": 2, **files}


@pytest.mark.parametrize(("filters", "n_runs", "_", "files"), CASES)
def test_remote_files(
    tracking_dir: TrackingDir,
    requests: Requests,
    memory: str,
    monkeypatch: pytest.MonkeyPatch,
    filters: str,
    n_runs: int,
    _: object,
    files: dict[str, int],
) -> None:
    monkeypatch.setattr("kedro_hydraflow.storage.remote._IN_PROCESS", frozenset())
    write_runs(tracking_dir)
    fsspec.filesystem("memory").put(str(tracking_dir.root), f"{memory}/mlruns", recursive=True)
    runs = Run.load(iter_run_dirs(f"{memory}/mlruns", filters=filters))
    assert len(runs) == n_runs
    assert count(requests.read) == {"experiment": 2, **files}
    n_experiments = 1 if "job_name" in filters else 2
    assert len(requests.listed) == 1 + n_experiments


@pytest.mark.parametrize("storage", ["local", "memory"])
def test_only_runs_that_could_be_selected_are_failures(
    tracking_dir: TrackingDir,
    memory: str,
    storage: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    write_runs(tracking_dir)
    root = str(tracking_dir.root)
    if storage == "memory":
        fsspec.filesystem("memory").put(root, f"{memory}/mlruns", recursive=True)
        root = f"{memory}/mlruns"

    def find(filters: str, **options: Any) -> list[str]:
        return Run.load(iter_run_dirs(root, filters=filters), **options).to_list("run_id")

    assert len(find("metrics.loss < 0.5 and status == FINISHED")) == 10
    filters = "job_name == train and metrics.loss > 0.8"
    with pytest.raises(RunLoadError) as raised:
        find(filters)
    failed = [failure.path.split("/")[-4] for failure in raised.value.failures]
    assert failed == [f"{1000 + i:032x}" for i in (17, 19)]
    said = "2 of 20 runs could not be read (18 others were ruled out by filters)"
    assert str(raised.value).startswith(said)
    assert find(filters, on_error="warn") == []
    assert caplog.messages[-1] == (
        "skipped 2 of 20 runs that could not be read (18 others were ruled out by filters)"
    )
