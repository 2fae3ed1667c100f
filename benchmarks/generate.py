"""Write a tracking directory of many runs, as MLflow's file store and HydraFlow write them.

    python benchmarks/generate.py --runs 10000 --kind sweep benchmarks/data/sweep-10000

The same arguments give the same files. A directory that is complete is left as it is.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import re
import shutil
import sys
import uuid
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

KINDS = ("sweep", "distinct")
"""``sweep``: the runs of a grid, a few values differ. ``distinct``: nothing in common, neither
values nor names, but for the names of the three keys that the comparison asks for."""

N_LEAVES = 60
JOB_NAMES = ("train_mlp", "train_cnn", "finetune", "evaluate_shift")
START_MS = 1_767_225_600_000  # 2026-01-01
MARKER = ".generated.json"
HYDRA_EXAMPLE = Path(__file__).parents[1] / "examples/data/mlruns"

SWEEP_CONFIG = """\
model:
  type: %(model_type)s
  hidden_size: %(hidden_size)d
  num_layers: 4
  num_heads: 8
  activation: gelu
  norm: layer
  dropout: %(dropout)s
  bias: true
  init:
    method: xavier_uniform
    gain: 1.0
    zero_last: false
  pooling:
    type: mean
    window: null
training:
  learning_rate: %(learning_rate)s
  batch_size: %(batch_size)d
  epochs: 50
  gradient_clip: 1.0
  accumulate: 1
  mixed_precision: true
  resume: null
  label_smoothing: 0.1
  early_stopping:
    monitor: val/loss
    mode: min
    patience: 10
    min_delta: 0.0001
optimizer:
  _target_: torch.optim.AdamW
  lr: ${training.learning_rate}
  betas:
  - 0.9
  - 0.999
  eps: 1.0e-08
  weight_decay: 0.01
scheduler:
  _target_: torch.optim.lr_scheduler.CosineAnnealingLR
  T_max: ${training.epochs}
  eta_min: 0.0
  interval: epoch
  warmup:
    steps: 500
    start_factor: 0.1
data:
  name: cifar10
  version: '1.0'
  root: /data/cifar10
  split:
    train: 0.8
    val: 0.1
    test: 0.1
  augment:
    flip: true
    crop: 32
    rotate: 15
    mean:
    - 0.4914
    - 0.4822
    - 0.4465
  shuffle: true
  num_workers: 4
  pin_memory: true
logging:
  level: INFO
  every_n_steps: 50
  save_top_k: 3
  format: '%%(asctime)s: %%(message)s'
seed: %(seed)d
device: cuda
deterministic: true
tag: 'v2: wider sweep'
"""

GRID: dict[str, tuple[Any, ...]] = {
    "model_type": ("mlp", "cnn", "transformer"),
    "learning_rate": (0.1, 0.03, 0.01, 0.003, 0.001),
    "batch_size": (32, 64, 128, 256),
    "hidden_size": (128, 256, 512),
    "dropout": (0.0, 0.1, 0.25, 0.5),
}


def generate(
    target: Path, *, runs: int, kind: str, experiments: int = len(JOB_NAMES), seed: int = 0
) -> bool:
    """Write the directory; return False if it was there already.

    It is written beside its place and moved there when it is complete, so that an
    interrupted run leaves nothing that could be taken for data.

    Raises:
        FileExistsError: If the directory holds something else.
    """
    target = target.resolve()
    marker = {"runs": runs, "kind": kind, "experiments": experiments, "seed": seed}
    if target.exists():
        try:
            found = json.loads((target / MARKER).read_text())
        except FileNotFoundError:
            found = "nothing that says so"
        if found == marker:
            return False
        raise FileExistsError(f"{target}: expected {marker}, found {found}; remove it first")

    partial = target.with_name(f"{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    _write_runs(partial, target, random.Random(seed), marker)
    (partial / MARKER).write_text(json.dumps(marker))
    partial.rename(target)
    return True


def _write_runs(root: Path, final_root: Path, rng: random.Random, marker: dict[str, Any]) -> None:
    """Write experiments and runs below ``root``, recording locations in ``final_root``."""
    (root / ".trash").mkdir(parents=True)
    _write_experiment(root, final_root, "0", "Default")
    hydra_yaml = _read_hydra_example()
    n_experiments, n_runs = marker["experiments"], marker["runs"]
    done = 0
    for i in range(n_experiments):
        job_name = JOB_NAMES[i] if i < len(JOB_NAMES) else f"train_v{i}"
        experiment_id = str(rng.randrange(10**17, 10**18))  # as MLflow draws them
        experiment = _write_experiment(root, final_root, experiment_id, job_name)
        hydra = re.sub(r"(\n  job:\n    name: ).*", rf"\g<1>{job_name}", hydra_yaml)
        for run in range(done, n_runs * (i + 1) // n_experiments):
            values, config = make_config(marker["kind"], run, rng)
            if run == done:
                check_config(config)
            run_id = uuid.UUID(int=rng.getrandbits(128), version=4).hex
            uri = f"{final_root}/{experiment_id}/{run_id}/artifacts"
            files = _make_files(run, run_id, experiment_id, uri, job_name, values)
            files["artifacts/.hydra/config.yaml"] = config
            files["artifacts/.hydra/hydra.yaml"] = hydra
            _write_files(f"{experiment}/{run_id}", files)
        done = n_runs * (i + 1) // n_experiments


def make_config(kind: str, run: int, rng: random.Random) -> tuple[dict[str, Any], str]:
    """Return the three values that the comparison asks for, and the text of a configuration."""
    if kind == "sweep":
        values: dict[str, Any] = {"seed": run}
        rest = run
        for name, choices in GRID.items():
            rest, choice = divmod(rest, len(choices))
            values[name] = choices[choice]
        return values, SWEEP_CONFIG % values

    tag = f"{rng.getrandbits(40):010x}"
    values = {
        "model_type": f"net_{tag}",
        "learning_rate": _draw_float(rng),
        "seed": rng.getrandbits(31),
    }
    lines = [
        f"model:\n  type: {values['model_type']}",
        f"training:\n  learning_rate: {values['learning_rate']}",
        f"seed: {values['seed']}",
    ]
    for leaf in range(N_LEAVES - 3):
        if leaf % 10 == 0:
            lines.append(f"group{leaf // 10}_{tag}:")
        if leaf % 10 == 5:
            lines.append(f"  part_{tag}:")
        indent = "  " if leaf % 10 < 5 else "    "
        value = (_draw_float(rng), rng.getrandbits(31), f"text_{tag}", "true", "null")[leaf % 5]
        lines.append(f"{indent}key{leaf}_{tag}: {value}")
    return values, "\n".join(lines) + "\n"


def check_config(text: str) -> None:
    """Refuse to write what differs from the bytes of ``OmegaConf.save``."""
    config = OmegaConf.load(io.StringIO(text))
    saved = io.StringIO()
    OmegaConf.save(config, saved)
    assert saved.getvalue() == text, saved.getvalue()
    assert _count_leaves(OmegaConf.to_container(config)) == N_LEAVES


def _count_leaves(node: Any) -> int:
    if isinstance(node, dict):
        node = list(node.values())
    return sum(map(_count_leaves, node)) if isinstance(node, list) else 1


def _draw_float(rng: random.Random) -> float:
    return round(1 + rng.random(), 6)  # never in a notation that YAML spells otherwise


def _write_experiment(root: Path, final_root: Path, experiment_id: str, name: str) -> Path:
    meta = {
        "artifact_location": f"{final_root}/{experiment_id}",
        "creation_time": START_MS,
        "effective_trace_archival_retention": None,
        "experiment_id": experiment_id,
        "last_update_time": START_MS,
        "lifecycle_stage": "active",
        "name": name,
        "trace_location": None,
        "workspace": "default",
    }
    experiment = root / experiment_id
    _write_files(str(experiment), {"meta.yaml": yaml.safe_dump(meta)})
    return experiment


def _make_files(
    run: int, run_id: str, experiment_id: str, uri: str, job_name: str, values: dict[str, Any]
) -> dict[str, str]:
    """Return what a run holds besides its configuration: text by relative path."""
    start = START_MS + 60_000 * run
    accuracy = 0.5 + run % 400 / 1000
    # A quoted scalar breaks over lines where the directory's path has spaces, as MLflow's does.
    recorded_uri = yaml.safe_dump({"artifact_uri": uri})
    return {
        "meta.yaml": (
            f"{recorded_uri}end_time: {start + 45_000}\nentry_point_name: ''\n"
            f"experiment_id: '{experiment_id}'\nlifecycle_stage: active\nrun_id: {run_id}\n"
            f"run_name: upset-turtle-{run}\nsource_name: ''\nsource_type: 4\nsource_version: ''\n"
            f"start_time: {start}\nstatus: 3\ntags: []\nuser_id: alice\n"
        ),
        "metrics/accuracy": f"{start + 44_000} {accuracy} 0\n",
        "metrics/train/loss": "".join(
            f"{start + 10_000 * step} {1 / step} {step}\n" for step in range(1, 5)
        ),
        "params/model.type": str(values["model_type"]),
        "params/training.learning_rate": str(values["learning_rate"]),
        "tags/mlflow.runName": f"upset-turtle-{run}",
        "tags/mlflow.source.name": "train.py",
        "tags/mlflow.source.type": "LOCAL",
        "tags/mlflow.user": "alice",
        "artifacts/.hydra/overrides.yaml": (
            f"- model.type={values['model_type']}\n"
            f"- training.learning_rate={values['learning_rate']}\n- seed={values['seed']}\n"
        ),
        f"artifacts/{job_name}.log": f"[2026-01-01][{job_name}][INFO] - accuracy {accuracy}\n",
    }


def _read_hydra_example() -> str:
    path = next(HYDRA_EXAMPLE.glob("*/*/artifacts/.hydra/hydra.yaml"), None)
    if path is None:
        raise FileNotFoundError(f"expected the example's runs in {HYDRA_EXAMPLE}, found none")
    return path.read_text()


def _write_files(directory: str, files: dict[str, str]) -> None:
    for folder in dict.fromkeys(os.path.dirname(name) for name in files):
        os.makedirs(f"{directory}/{folder}", exist_ok=True)
    for name, text in files.items():
        # A third of the time of `open` in text mode, with 130,000 files to write.
        file = os.open(f"{directory}/{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.write(file, text.encode())
        os.close(file)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("target", type=Path, help="the tracking directory to write")
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--kind", choices=KINDS, default="sweep")
    parser.add_argument("--experiments", type=int, default=len(JOB_NAMES))
    parser.add_argument("--seed", type=int, default=0)
    options = vars(parser.parse_args())
    target = options.pop("target")
    try:
        written = generate(target, **options)
    except FileExistsError as exc:
        sys.exit(str(exc))
    print(f"{target}: {'written' if written else 'complete already, left as it is'}")


if __name__ == "__main__":
    main()
