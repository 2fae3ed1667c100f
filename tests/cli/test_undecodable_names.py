"""Directories of runs whose names are not UTF-8, in all commands."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import polars as pl
import pytest

from kedro_hydraflow import HydraflowRunCollectionDataset, Run, iter_run_dirs
from tests.cli.conftest import invoke
from tests.conftest import SWEEP_YAML, write, write_job, write_sweep

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="names are UTF-8 there")

SWEEP = "multirun/2026-01-01/00-00-00"
ODD = f"{SWEEP}/lr=\\udcff"
"""How the ID of the odd run is shown."""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A sweep whose second run has a name that is not UTF-8."""
    text = SWEEP_YAML.replace("job.num", "job.override_dirname")
    sweep = write_sweep(tmp_path / SWEEP, 0, text)
    for seed, name in enumerate([b"lr=1", b"lr=\xff"]):
        directory = write_job(sweep / os.fsdecode(name), f"seed: {seed}\n")
        write(directory / os.fsdecode(b"a\xff.txt"), "")
    return tmp_path / "multirun"


def test_ls(root: Path) -> None:
    assert f"{ODD}  train        1\n" in invoke("ls", root).stdout
    csv = invoke("ls", root, "--csv", "-c", "run_id,seed").stdout
    assert csv == f"run_id,seed\n{SWEEP}/lr=1,0\n{ODD},1\n"
    rows = json.loads(invoke("ls", root, "--json").stdout)
    assert rows[1]["run_id"] == f"{SWEEP}/lr=\udcff"
    assert f"| {SWEEP}/lr=\\\\udcff |" in invoke("ls", root, "--md").stdout


def test_best(root: Path) -> None:
    result = invoke("best", root, "--by", "seed", "--mode", "max", "-c", "run_id")
    assert result.stdout == f"run_id\n{ODD}\n"


@pytest.mark.parametrize("run_id", [ODD, f"{SWEEP}/lr=\udcff", ODD[:-1]])
def test_show(root: Path, run_id: str) -> None:
    """Runs are found by the ID that is shown, too."""
    result = invoke("show", root, run_id)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith(f"run_id         {ODD}\n")
    assert "  a\\udcff.txt" in result.stdout
    assert json.loads(invoke("show", root, run_id, "--json").stdout)["run_id"].endswith("\udcff")


def test_diff(root: Path) -> None:
    arguments = "diff", root, ODD, f"{SWEEP}/lr=1"
    result = invoke(*arguments)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        f"key   {ODD}  {SWEEP}/lr=1",
        f"seed  1{' ' * len(ODD)} 0",
    ]
    assert invoke(*arguments, "-k", "info.run_dir").exit_code == 0
    csv = invoke(*arguments, "-k", "info.run_id", "--all", "--csv").stdout
    assert csv == f'key,a,b\ninfo.run_id,"""{ODD}""",{SWEEP}/lr=1\n'
    assert json.loads(invoke(*arguments, "--json").stdout) == [{"key": "seed", "a": 1, "b": 0}]


def test_export(root: Path, tmp_path: Path) -> None:
    for suffix, read in (("csv", pl.read_csv), ("parquet", pl.read_parquet)):
        file = tmp_path / f"runs.{suffix}"
        assert invoke("export", root, file).exit_code == 0
        assert read(file)["run_id"].to_list() == [f"{SWEEP}/lr=1", ODD]
    file = tmp_path / "runs.jsonl"
    assert invoke("export", root, file).exit_code == 0
    rows = list(map(json.loads, file.read_text().splitlines()))
    assert rows[1]["run_id"] == f"{SWEEP}/lr=\udcff"


def test_frames_and_previews(root: Path) -> None:
    runs = Run.load(iter_run_dirs(root), index=False)
    ids = [f"{SWEEP}/lr=1", f"{SWEEP}/lr=\udcff"]
    assert runs.to_frame("run_id")["run_id"].to_list() == ids
    assert runs.describe("info.run_id")["max"].to_list() == [f'"{ODD}"']
    assert runs.diff(ids[0], ids[1], "info.run_id")["b"].to_list() == [f'"{ODD}"']
    assert runs.to_frame("run_id", nested="json")["run_id"].to_list() == [ids[0], ODD]
    preview = HydraflowRunCollectionDataset(path=str(root)).preview()
    assert [row[0] for row in preview["data"]] == [ids[0], ODD]
