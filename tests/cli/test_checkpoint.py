"""``kedro hydraflow checkpoint``, one command after the other in one process."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kedro_hydraflow import HydraflowRunCollectionDataset
from tests.cli.conftest import Execute
from tests.conftest import SWEEP, write

CATALOG = """\
new_runs:
  type: kedro_hydraflow.HydraflowRunCollectionDataset
  path: examples/data/mlruns
  experiment_names: eval_digits
  checkpoint: {filepath: state/processed.json}

damaged_runs:
  type: kedro_hydraflow.HydraflowFrameDataset
  path: examples/data/mlruns
  checkpoint: {filepath: state/damaged.json}
"""

COMMANDS = {
    "none yet": ["checkpoint", "show", "new_runs"],
    "before": ["ls", "new_runs", "-c", "run_id", "--csv"],
    "confirm": [],
    "some": ["checkpoint", "show", "new_runs"],
    "after": ["ls", "new_runs", "-c", "run_id", "--csv"],
    "reset": ["checkpoint", "reset", "new_runs"],
    "reset again": ["checkpoint", "reset", "new_runs"],
    "all": ["ls", "new_runs", "-c", "run_id", "--csv"],
    "damaged": ["checkpoint", "show", "damaged_runs"],
    "without": ["checkpoint", "show", "sweep_runs"],
    "one run": ["checkpoint", "reset", "one_run"],
    "unknown": ["checkpoint", "reset", "new_run"],
    "no entry": ["checkpoint", "show"],
}

DRIVER = """\
import json, sys
from pathlib import Path
from tests.cli.conftest import RUNNER
from kedro.framework.startup import bootstrap_project
from kedro_hydraflow.cli.entries import _load_dataset
from kedro_hydraflow.cli.project import commands

metadata = bootstrap_project(Path.cwd())
results = {}
for name, arguments in json.load(sys.stdin).items():
    if name == "confirm":
        dataset = _load_dataset("new_runs", "checkpoint", Path.cwd())
        dataset.load()
        dataset.confirm()
        continue
    options = ["--env", "checkpoint"]
    result = RUNNER.invoke(commands, ["hydraflow", *arguments, *options], obj=metadata)
    results[name] = [result.exit_code, result.stdout, result.stderr]
Path("results.json").write_text(json.dumps(results))
"""

Results = dict[str, tuple[int, str, str]]

RUN_IDS = sorted(
    run.info.run_id
    for run in HydraflowRunCollectionDataset(path=SWEEP, experiment_names="eval_digits").load()
)


@pytest.fixture(scope="module")
def results(project: Path, environment: dict[str, str]) -> Results:
    """The exit code, standard output and standard error of each command."""
    write(project / "conf/checkpoint/catalog.yml", CATALOG)
    write(project / "state/damaged.json", "{")
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", DRIVER],
        cwd=project,
        env={**environment, "PYTHONPATH": os.pathsep.join([environment["PYTHONPATH"], *sys.path])},
        input=json.dumps(COMMANDS),
        text=True,
        check=True,
    )
    found = json.loads((project / "results.json").read_text())
    return {name: tuple(result) for name, result in found.items()}


def list_rows(stdout: str) -> list[str]:
    return sorted(stdout.splitlines()[1:])


def test_show(results: Results) -> None:
    assert results["none yet"][:2] == (1, "")
    assert "processed.json: 0 runs confirmed" in results["none yet"][2]
    assert results["some"][:2] == (0, "".join(f"{run_id}\n" for run_id in RUN_IDS))
    assert "processed.json: 2 runs confirmed" in results["some"][2]


def test_ls_lists_what_the_entry_gives(results: Results) -> None:
    assert list_rows(results["before"][1]) == RUN_IDS
    code, stdout, stderr = results["after"]
    assert (code, list_rows(stdout)) == (1, [])
    assert "2 runs of one experiment ('eval_digits'), none of which the checkpoint" in " ".join(
        stderr.split()
    )


def test_reset(results: Results) -> None:
    code, stdout, _ = results["reset"]
    assert (code, stdout.startswith("removed ")) == (0, True)
    assert results["reset again"][:2] == (0, stdout.replace("removed", "there is no", 1))
    assert list_rows(results["all"][1]) == RUN_IDS


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("damaged", "damaged.json: this is no checkpoint of kedro-hydraflow, or it is damaged"),
        ("without", "examples/data/mlruns: the option checkpoint is not given"),
        ("one run", "the catalog entry 'one_run' loads one run, and has no checkpoint"),
        ("unknown", "there is no catalog entry 'new_run'; the nearest are 'new_runs'"),
        ("no entry", "give the name of a catalog entry; the entries with runs are"),
    ],
)
def test_errors(results: Results, name: str, message: str) -> None:
    code, stdout, stderr = results[name]
    assert (code, stdout) == (2, "")
    assert message in stderr


def test_ls_checks_a_lock(execute: Execute, project: Path, tmp_path: Path) -> None:
    changed = tmp_path / "changed"
    shutil.copytree(project, changed)
    ls = (sys.executable, "-W", "ignore", "-m", "kedro_hydraflow", "ls", "--entry", "sweep_runs")
    done = execute(*ls, "--limit", "2", "--csv", "--columns", "run_id", cwd=changed)
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 3)
    run_id = "13f42e9535654d01a4143ddd9be02cb7"
    (run_dir,) = changed.glob(f"examples/data/mlruns/*/{run_id}")
    shutil.rmtree(run_dir)
    done = execute(*ls, cwd=changed)
    assert (done.returncode, done.stdout) == (2, "")
    assert "of 30 locked runs, 1 is missing and 0 not the same" in done.stderr
