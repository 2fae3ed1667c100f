"""The demo on an S3 server gives what it gives on the local disk."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.integration


def test_same_leaderboard(tmp_path: Path) -> None:
    for name in ("conf", "examples"):
        ignored = shutil.ignore_patterns("reporting", "local")
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    (tmp_path / "conf" / "local").mkdir()
    for name in ("pyproject.toml", ".telemetry"):
        shutil.copy(ROOT / name, tmp_path)
    kedro = [sys.executable, "-m", "kedro", "run"]
    show_results = [sys.executable, "examples/show_results.py", "s3", "sweep_runs", "s3"]
    on_s3 = [sys.executable, "examples/on_s3.py", *kedro, "--env", "s3"]

    environment = {
        **os.environ,
        "DO_NOT_TRACK": "1",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    leaderboards = []
    for command in (kedro, on_s3, [*on_s3, "--runner", "ParallelRunner"]):
        shutil.rmtree(tmp_path / "examples/data/reporting", ignore_errors=True)
        done = subprocess.run(
            command,
            cwd=tmp_path,
            env=environment,
            text=True,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "The best 10 of 30 runs" in done.stdout
        assert "demo-secret" not in done.stdout + done.stderr
        (leaderboard,) = tmp_path.glob("examples/data/reporting/*/leaderboard.csv")
        leaderboards.append(leaderboard.read_text())
    assert leaderboards[0] == leaderboards[1] == leaderboards[2]
    shown = subprocess.run(
        [sys.executable, "examples/on_s3.py", *show_results],
        cwd=tmp_path,
        env=environment,
        text=True,
        capture_output=True,
        check=True,
    ).stdout
    assert "Found 31 runs in s3://team/mlruns.\nTook 30: status == FINISHED. Left out 1" in shown
