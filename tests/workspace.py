"""A Kedro project with the example data, in which code of the documentation runs."""

from __future__ import annotations

import ast
import logging
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from io import StringIO
from pathlib import Path
from typing import Any

import polars as pl
from kedro.config import MissingConfigException, OmegaConfigLoader
from kedro.io import DataCatalog

import kedro_hydraflow
from tests.blocks import Block
from tests.conftest import HYDRA_SWEEP, SWEEP


class Workspace:
    """A Kedro project with the example data, in which code of the documentation runs.

    Args:
        root: Its directory, which is the working directory.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.names: dict[str, Any] = {}
        """The names that the code has defined; ``_`` is the last value."""
        self.shown = ""
        """What the last block of code has shown."""
        for name in ("conf/base", "conf/local", "src/my_project"):
            (root / name).mkdir(parents=True)
        shutil.copytree(SWEEP, root / "mlruns")
        shutil.copytree(HYDRA_SWEEP / "multirun", root / "multirun")
        (root / "src/my_project/__init__.py").touch()

    def find_run_dir(self, run_id: str) -> Path:
        (directory,) = self.root.glob(f"mlruns/*/{run_id}*")
        return directory

    def write(self, path: str, text: str) -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(text, encoding="utf-8")

    def write_files(self, blocks: list[Block]) -> None:
        """Write the files that blocks are, and make the catalog if one of them is of it."""
        for block in blocks:
            file = block.file or ("conf/base/catalog.yml" if block.language == "yaml" else None)
            if file is not None:
                self.write(file, block.code)
        if any(block.language == "yaml" for block in blocks):
            self.names["catalog"] = self.make_catalog()

    def make_catalog(
        self, env: str | None = None, runtime_params: dict[str, Any] | None = None
    ) -> DataCatalog:
        """Return the catalog of the project, as Kedro makes it."""
        loader = OmegaConfigLoader(
            str(Path.cwd() / "conf"),
            env=env,
            base_env="base",
            default_run_env="local",
            runtime_params=runtime_params,
        )
        with suppress(MissingConfigException):
            return DataCatalog.from_config(loader["catalog"], loader["credentials"])
        return DataCatalog.from_config(loader["catalog"])

    def run(self, block: Block) -> None:
        """Run a block of Python or shell."""
        self.shown = self.run_shell(block.code) if block.language == "sh" else self._run(block)

    def _run(self, block: Block) -> str:
        tree = ast.parse(block.code)
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        stdout = StringIO()
        with redirect_stdout(stdout), without_info():
            exec(compile(tree, "<page>", "exec"), self.names)
            if last is not None:
                code = compile(ast.Expression(last.value), "<page>", "eval")
                self.names["_"] = eval(code, self.names)
        return stdout.getvalue() + ("" if last is None else show(self.names["_"]))

    def run_shell(self, code: str, **variables: str) -> str:
        """Run commands of the shell, with this environment's `kedro`, and return the output."""
        for command in ("kedro", "kedro_hydraflow"):
            script = self.root / "bin" / command.replace("_", "-")
            script.parent.mkdir(exist_ok=True)
            script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m {command} "$@"\n')
            script.chmod(0o755)
        sources = str(Path(kedro_hydraflow.__file__).parent.parent)
        paths = [str(self.root / "bin"), os.environ["PATH"]]
        done = subprocess.run(
            ["sh", "-ec", code],
            env={
                **os.environ,
                "PATH": os.pathsep.join(paths),
                "PYTHONPATH": os.pathsep.join([sources, os.environ.get("PYTHONPATH", "")]),
                "DO_NOT_TRACK": "1",
                **variables,
            },
            text=True,
            capture_output=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@contextmanager
def without_info() -> Iterator[None]:
    """Silence what Kedro logs, on standard output, once it has set up its logs."""
    logging.disable(logging.INFO)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def show(value: Any) -> str:
    """Return a value as the page shows it: frames without borders, and IDs cut."""
    if isinstance(value, pl.DataFrame):
        rows = [value.columns, *(map(show_cell, row) for row in value.rows())]
        return "\n".join("   ".join(row) for row in rows)
    return "" if value is None else str(value)


def show_cell(value: Any) -> str:
    if isinstance(value, str) and re.fullmatch("[0-9a-f]{32}", value):
        return f"{value[:8]}…"
    if value is None:
        return "null"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def check_shown(shown: str, expected: str) -> None:
    """Compare what a block shows with the page. A last line of dots is for more lines."""
    found, wanted = (
        [re.split(" {2,}", line.strip()) for line in text.strip().split("\n")]
        for text in (shown, expected)
    )
    if wanted[-1] == ["…"]:
        wanted.pop()
        assert len(found) > len(wanted)
        found = found[: len(wanted)]
    assert found == wanted


PYPROJECT = """\
[tool.kedro]
package_name = "my_project"
project_name = "my project"
kedro_init_version = "1.0.0"
"""

REGISTRY = """\
from kedro.pipeline import Node, Pipeline

def report(runs):
    print("sweep_runs:", len(runs), "of", *{str(run.info.run_dir.parent.parent) for run in runs})

def report_one(run):
    print("one_run:", run.info.run_id)

def register_pipelines():
    nodes = [Node(report, "sweep_runs", None)]
    if HAS_ONE:
        nodes.append(Node(report_one, "one_run", None))
    return {"__default__": Pipeline(nodes)}
"""


def add_project(workspace: Workspace, *, has_one: bool) -> None:
    """Make it a project that `kedro run` runs."""
    workspace.write("pyproject.toml", PYPROJECT)
    workspace.write(
        "src/my_project/settings.py", 'DISABLE_HOOKS_FOR_PLUGINS = ("kedro-telemetry",)\n'
    )
    workspace.write(
        "src/my_project/pipeline_registry.py", REGISTRY.replace("HAS_ONE", str(has_one))
    )
