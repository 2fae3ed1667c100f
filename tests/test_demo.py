"""The demo, in a copy of the project, under each of Kedro's runners."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("project")
    for name in ("conf", "examples"):
        shutil.copytree(
            ROOT / name, directory / name, ignore=shutil.ignore_patterns("reporting", "local")
        )
    (directory / "conf" / "local").mkdir()
    for name in ("pyproject.toml", ".telemetry"):
        shutil.copy(ROOT / name, directory)
    return directory


def kedro(project: Path, *arguments: str, cwd: str = ".") -> str:
    return subprocess.run(
        [sys.executable, "-m", "kedro", *arguments],
        cwd=project / cwd,
        env={**os.environ, "DO_NOT_TRACK": "1"},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=True,
    ).stdout


@pytest.mark.parametrize("runner", ["SequentialRunner", "ThreadRunner", "ParallelRunner"])
def test_run(project: Path, runner: str) -> None:
    reporting = project / "examples/data/reporting/sweep"
    shutil.rmtree(reporting, ignore_errors=True)
    pyproject = (project / "pyproject.toml").read_bytes()

    output = kedro(project, "run", f"--runner={runner}")

    with open(reporting / "leaderboard.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    accuracies = [float(row["accuracy"]) for row in rows]
    assert len(rows) == 30  # all but the one that failed
    assert accuracies == sorted(accuracies, reverse=True)
    assert rows[0]["run_id"] == "13f42e9535654d01a4143ddd9be02cb7"
    assert rows[0]["n_weights"] == "4736"
    with open(reporting / "summary.csv", encoding="utf-8") as file:
        means = list(csv.DictReader(file))
    assert sum(int(row["n"]) for row in means) == 30
    assert means[0]["model.type"] == "mlp"
    assert "The best 10 of 30 runs" in output
    assert (reporting / "accuracy.png").read_bytes().startswith(PNG)
    assert (reporting / "confusion.png").read_bytes().startswith(PNG)
    figure = json.loads((reporting / "parallel.json").read_text(encoding="utf-8"))
    axes = figure["data"][0]["dimensions"]
    assert (figure["data"][0]["type"], axes[-1]["label"]) == ("parcoords", "metrics.accuracy")
    assert [len(axis["values"]) for axis in axes] == [30] * 8
    assert (project / "pyproject.toml").read_bytes() == pyproject


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        (
            "base sweep_runs sweep",
            [
                "Found 31 runs in examples/data/mlruns.",
                "Took 30: status == FINISHED. Left out 1 FAILED.",
            ],
        ),
        (
            "sqlite sweep_runs sweep",
            [
                "Found 7 runs in examples/data/sqlite.",
                "Took 6: status == FINISHED. Left out 1 FAILED.",
            ],
        ),
        (
            "hydra curve_runs sweep",
            ["Found 18 runs in examples/data/hydra.", "Ranked 17; 1 wrote no result."],
        ),
    ],
)
def test_what_demos_say_at_their_end(project: Path, arguments: str, lines: list[str]) -> None:
    (project / "examples/data/reporting/sweep").mkdir(parents=True, exist_ok=True)
    (project / "examples/data/reporting/sweep/a.csv").touch()
    output = subprocess.run(
        [sys.executable, "examples/show_results.py", *arguments.split()],
        cwd=project,
        text=True,
        capture_output=True,
        check=True,
    )
    assert output.stderr == ""
    assert output.stdout.splitlines()[1:4] == [
        *lines,
        "Written to examples/data/reporting/sweep:",
    ]
    assert "  a.csv" in output.stdout


def test_run_on_a_database(project: Path) -> None:
    output = kedro(project, "run", "--env", "sqlite")
    with open(project / "examples/data/reporting/sqlite/leaderboard.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert "The best 6 of 6 runs" in output
    assert [row["accuracy"] for row in rows] == sorted(
        (row["accuracy"] for row in rows), reverse=True
    )
    assert rows[0]["run_id"] == "daff203740904141992f9b5b5097e777"


def test_run_on_the_directories_of_hydra(project: Path) -> None:
    output = kedro(project, "run", "--env", "hydra", "--pipeline", "curves")
    with open(
        project / "examples/data/reporting/hydra/curve_leaderboard.csv", encoding="utf-8"
    ) as file:
        rows = list(csv.DictReader(file))
    losses = [row["loss"] for row in rows]
    assert "The best 10 of 18 runs" in output
    assert losses[:-1] == sorted(losses[:-1], key=float)
    assert (rows[-1]["run_id"], losses[-1]) == ("multirun/2026-11-25/23-01-54/1", "")  # failed
    results = (project / "examples/data/hydra").rglob("result.json")
    best = min(json.loads(path.read_text())["loss"] for path in results)
    assert float(losses[0]) == best


def test_a_growing_sweep(project: Path) -> None:
    growing = project / "examples/data/reporting/growing"
    command = ["kedro", "run", "--env", "incremental", "--pipeline", "incremental"]
    output = subprocess.run(
        [sys.executable, "examples/growing_sweep.py", sys.executable, "-m", *command],
        cwd=project,
        env={**os.environ, "DO_NOT_TRACK": "1"},
        text=True,
        stdout=subprocess.PIPE,
        check=True,
    ).stdout
    assert re.findall(r"Processed (\d+) new runs", output) == ["11", "10", "9"]
    state = json.loads((growing / "processed_runs.json").read_text())
    with open(growing / "confusions.csv", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    assert sorted(row["run_id"] for row in table) == state["runs"]
    assert len(table) == 30  # all but the one that failed


def test_a_changed_run_is_found(project: Path, tmp_path: Path) -> None:
    changed = tmp_path / "changed"
    shutil.copytree(project, changed)
    run_id = "13f42e9535654d01a4143ddd9be02cb7"
    (config,) = changed.glob(f"examples/data/mlruns/*/{run_id}/artifacts/.hydra/config.yaml")
    text = config.read_text()
    config.write_text(text.replace("learning_rate: ", "learning_rate: 1", 1))
    with pytest.raises(subprocess.CalledProcessError) as caught:
        kedro(changed, "run", "--to-outputs", "leaderboard")
    output = " ".join(caught.value.output.split())
    assert "of 30 locked runs, 0 are missing and 1 not the same" in output
    config.write_text(text)
    kedro(changed, "run", "--to-outputs", "leaderboard")


def test_run_from_a_folder_inside_the_project(project: Path) -> None:
    output = kedro(project, "run", cwd="examples/digits")
    assert "Pipeline execution completed" in output
