"""Running commands as users do: in this process, and in processes of their own."""

from __future__ import annotations

import functools
import inspect
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from kedro_hydraflow.cli.main import main
from tests.conftest import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

# Before click 8.2, standard error was not apart by default.
IS_MIXED = "mix_stderr" in inspect.signature(CliRunner).parameters
RUNNER = CliRunner(mix_stderr=False) if IS_MIXED else CliRunner()

Ls = Callable[..., Result]


def invoke(*arguments: object) -> Result:
    """Run ``kedro-hydraflow`` in this process."""
    return RUNNER.invoke(main, list(map(str, arguments)), prog_name="kedro-hydraflow")


def fail_with(error: BaseException) -> Any:
    """Return a function that raises an error."""

    def fail(*arguments: object) -> None:
        raise error

    return fail


@pytest.fixture
def ls() -> Ls:
    """Run ``kedro-hydraflow ls`` in this process."""
    return functools.partial(invoke, "ls")


COMMAND = [sys.executable, "-m", "kedro_hydraflow"]


@pytest.fixture(scope="session")
def entry_points(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The entry points of ``pyproject.toml`` as if this version of it were installed.

    What is installed in editable mode may be older.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    directory = tmp_path_factory.mktemp("installed")
    info = directory / "kedro_hydraflow-0.0.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: kedro-hydraflow\nVersion: 0\n")
    groups = {"console_scripts": project["scripts"], **project["entry-points"]}
    lines = [
        line
        for group, points in groups.items()
        for line in (f"[{group}]", *(f"{name} = {value}" for name, value in points.items()))
    ]
    (info / "entry_points.txt").write_text("\n".join(lines))
    return directory


@pytest.fixture(scope="session")
def environment(entry_points: Path) -> dict[str, str]:
    """The environment variables of child processes."""
    paths = [str(entry_points), *filter(None, [os.environ.get("PYTHONPATH")])]
    kept = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "FORCE_COLOR", "NO_COLOR")}
    return {**kept, "PYTHONPATH": os.pathsep.join(paths), "DO_NOT_TRACK": "1"}


Execute = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def execute(environment: dict[str, str]) -> Execute:
    """Run a command in a process of its own, in some directory."""

    def run(*command: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, cwd=cwd, env=environment, text=True, capture_output=True)

    return run


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the example project."""
    directory = tmp_path_factory.mktemp("project")
    for name in ("conf", "examples"):
        shutil.copytree(
            ROOT / name, directory / name, ignore=shutil.ignore_patterns("reporting", "local")
        )
    (directory / "conf" / "local").mkdir()
    for name in ("pyproject.toml", ".telemetry"):
        shutil.copy(ROOT / name, directory)
    return directory
