from __future__ import annotations

import json
import pickle
import shutil
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from kedro_hydraflow import Run, iter_run_dirs
from kedro_hydraflow.errors import ConfigError, MetadataError, OptionError
from tests.conftest import HYDRA_SWEEP, Database, TrackingDir, replace_meta, write

CONFIG = "b: 1\na:\n  x: [1, 2.5, null, true]\n  y: ${b}\n"

LARGEST = 1.7976931348623157e308


def make_digest(**entries: Any) -> str:
    """Return the digest that is documented for the entries of the JSON text."""
    text = json.dumps({"format": 1, **entries}, sort_keys=True, separators=(",", ":"))
    return sha256(text.encode("ascii")).hexdigest()


@pytest.fixture
def run_dir(tracking_dir: TrackingDir) -> Path:
    experiment = tracking_dir.add_experiment("train")
    metrics = {"loss": "1 0.5 0\n2 0.25 1\n", "bad": "1 nan 0\n", "far": "1 inf 0\n"}
    directory = tracking_dir.add_run(experiment, "a" * 32, CONFIG, metrics)
    write(directory / "params/lr", "0.1")
    write(directory / "tags/stage", "sweep")
    write(directory / "tags/mlflow.source.name", "/home/ann/train.py")
    return directory


RECORDED = {
    "run_id": "a" * 32,
    "config": {"b": 1, "a": {"x": [1, 2.5, None, True], "y": "${b}"}},
    "status": "FINISHED",
    "start_time": 1795394369957,
    "end_time": 1795394370023,
}
LOGGED = {
    "metrics": {"loss": 0.25, "bad": float("nan"), "far": LARGEST},
    "params": {"lr": "0.1"},
    "tags": {"stage": "sweep"},
}


def test_digest_is_that_of_the_documented_text(run_dir: Path) -> None:
    run = Run(run_dir)
    assert run.digest() == make_digest(**RECORDED)
    assert run.digest(logged=True) == make_digest(**RECORDED, **LOGGED)


def test_a_copy_has_the_same_digest(run_dir: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(run_dir.parent.parent, tmp_path / "copied")
    digests = {Run.load(iter_run_dirs(root)).digest() for root in (run_dir.parent.parent, copied)}
    assert len(digests) == 1


def test_a_run_in_a_database_has_the_same_digest(
    run_dir: Path, tmp_path: Path, database: Database
) -> None:
    metrics = {
        "loss": [(0, 1, 0.5), (1, 2, 0.25)],
        "bad": [(0, 1, float("nan"))],
        "far": [(0, 1, float("inf"))],
    }
    location = str(run_dir / "artifacts")
    tags = {"stage": "sweep", "mlflow.source.name": "elsewhere"}
    experiment = database.add_experiment("train")
    database.add_run(
        experiment,
        "a" * 32,
        metrics=metrics,
        params={"lr": "0.1"},
        tags=tags,
        artifact_uri=location,
    )
    (run,) = Run.load(iter_run_dirs(database.path))
    assert run.digest() == Run(run_dir).digest()
    assert run.digest(logged=True) == Run(run_dir).digest(logged=True)


@pytest.mark.parametrize(
    "change",
    [
        {"status": 4},
        {"end_time": 1795394370024},
        {"end_time": None},
        {"start_time": 1795394369956},
    ],
)
def test_a_changed_fact_changes_it(run_dir: Path, change: dict[str, Any]) -> None:
    before = Run(run_dir).digest()
    replace_meta(run_dir, **change)
    assert Run(run_dir).digest() != before


@pytest.mark.parametrize(
    "config",
    [
        CONFIG.replace("1", "1.0", 1),
        CONFIG.replace("1", "'1'", 1),
        CONFIG.replace("null", "''"),
        CONFIG.replace("true", "1"),
        CONFIG.replace("[1, 2.5", "[2.5, 1"),
        CONFIG + "c: {}\n",
    ],
)
def test_a_changed_configuration_changes_it(run_dir: Path, config: str) -> None:
    before = Run(run_dir).digest()
    write(run_dir / "artifacts/.hydra/config.yaml", config)
    assert Run(run_dir).digest() != before


def test_the_order_of_keys_does_not_change_it(run_dir: Path) -> None:
    before = Run(run_dir).digest()
    write(run_dir / "artifacts/.hydra/config.yaml", "a: {y: '${b}', x: [1, 2.5, ~, true]}\nb: 1\n")
    assert Run(run_dir).digest() == before


def test_an_update_changes_it_and_a_pickle_does_not(run_dir: Path) -> None:
    run = Run(run_dir)
    before = run.digest()
    assert pickle.loads(pickle.dumps(run)).digest() == before
    _ = run.cfg.a.x  # a DictConfig takes the place of the plain data
    assert run.digest() == before
    run.update("c", 1)
    assert run.digest() == make_digest(**{**RECORDED, "config": {**RECORDED["config"], "c": 1}})


def test_what_json_lacks_is_told_apart(run_dir: Path) -> None:
    texts = [
        "a: !!binary aGk=\n",
        "a: hi\n",
        "a: 6869\n",
        "1: a\n",
        "'1': a\n",
        "true: a\n",
    ]
    digests = set()
    for text in texts:
        write(run_dir / "artifacts/.hydra/config.yaml", text)
        digests.add(Run(run_dir).digest())
    assert len(digests) == len(texts)


def test_many_runs(tracking_dir: TrackingDir) -> None:
    tracking_dir.add_runs(5)
    runs = Run.load(iter_run_dirs(tracking_dir.root))
    assert (
        runs.digest()
        == sha256(
            json.dumps(sorted(run.digest() for run in runs), separators=(",", ":")).encode()
        ).hexdigest()
    )
    assert runs[::-1].digest() == runs.digest()
    assert runs[:4].digest() != runs.digest()
    assert runs[:0].digest() == sha256(b"[]").hexdigest()


def test_runs_of_hydra_alone() -> None:
    run = Run.load(iter_run_dirs(HYDRA_SWEEP))[0]
    expected = {"config": run.to_dict(flatten=False), "run_id": run.info.run_id}
    nothing = dict.fromkeys(("status", "start_time", "end_time"))
    assert run.digest() == make_digest(**expected, **nothing)


def test_what_cannot_be_read_is_an_error(run_dir: Path) -> None:
    write(run_dir / "artifacts/.hydra/config.yaml", "a: [")
    with pytest.raises(ConfigError, match=r"config\.yaml"):
        Run(run_dir).digest()
    write(run_dir / "artifacts/.hydra/config.yaml", "a: 1")
    write(run_dir / "metrics/loss", "no number\n")
    assert Run(run_dir).digest()
    with pytest.raises(MetadataError, match="loss"):
        Run(run_dir).digest(logged=True)
    replace_meta(run_dir, start_time="soon")
    with pytest.raises(MetadataError, match="start_time"):
        Run(run_dir).digest()
    with pytest.raises(OptionError, match="logged: expected true or false, found 1"):
        Run(run_dir).digest(logged=1)  # type: ignore[arg-type]


def test_results_are_logged_values(tmp_path: Path) -> None:
    job = tmp_path / "multirun/2026-01-25/10-00-00/0"
    write(job / ".hydra/config.yaml", "seed: 1\n")
    write(job / "result.json", '{"loss": 0.5}')
    with_results = Run(job, results="result.json")
    digest = with_results.digest(logged=True)
    assert digest != Run(job).digest(logged=True)
    assert with_results.digest() == Run(job).digest()
    write(job / "result.json", '{"loss": 0.25}')
    assert Run(job, results="result.json").digest(logged=True) != digest
