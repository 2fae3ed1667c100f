"""The recipes of docs/recipes.md whose commands need a server."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from tests.conftest import ROOT
from tests.recipes import RECIPES
from tests.test_recipes import NEEDS_SERVER
from tests.workspace import Workspace, add_project

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore:register_new_resolver:UserWarning"),
]

KEYS = """\
export TEAM_S3_ENDPOINT="$DEMO_S3_ENDPOINT" TEAM_S3_KEY=demo TEAM_S3_SECRET=demo-secret
"""


def test_a_local_directory_or_s3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (title,) = NEEDS_SERVER
    (commands,) = [block.code for block in RECIPES[title] if block.language == "sh"]
    monkeypatch.chdir(tmp_path)
    workspace = Workspace(tmp_path)
    add_project(workspace, has_one=False)
    workspace.write_files(RECIPES[title])
    OmegaConf.clear_resolvers()
    beside_server = [sys.executable, str(ROOT / "examples/on_s3.py"), "sh", "-ec", KEYS + commands]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    shown = workspace.run_shell(shlex.join(beside_server), PATH=f"{tmp_path / 'bin'}:{path}")
    assert f"sweep_runs: 31 of {tmp_path / 'mlruns'}\n" in shown
    assert "sweep_runs: 31 of s3://team/mlruns\n" in shown
    assert "demo-secret" not in shown
