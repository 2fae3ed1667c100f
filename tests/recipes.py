"""Reading the recipes of docs/recipes.md, and running them in a Kedro project."""

from __future__ import annotations

import ast
import logging
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import polars as pl
from kedro.config import OmegaConfigLoader
from kedro.io import DataCatalog

import kedro_hydraflow
from tests.conftest import HYDRA_SWEEP, ROOT, SWEEP

PAGE = ROOT / "docs" / "recipes.md"


@dataclass(frozen=True)
class Block:
    """A block of code, or of what the block before it shows."""

    language: str
    code: str

    @property
    def file(self) -> str | None:
        """The file that a comment in the first line names."""
        found = re.match(r"# ((?:conf|src)/[\w./]+\.(?:py|yml))", self.code)
        if found:
            return found[1]
        return "conf/base/catalog.yml" if self.language == "yaml" else None


def read_sections() -> list[str]:
    """Return the text before the first section, and those of the sections, with their titles."""
    return re.split("^###? ", PAGE.read_text("utf-8"), flags=re.MULTILINE)


def find_inline_code(title: str) -> list[str]:
    """Return the calls in the text of a recipe, between its blocks."""
    (text,) = [section for section in read_sections() if section.startswith(f"{title}\n")]
    text = re.sub("^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    calls = re.findall(r"`((?:jobs|list|runs|sweep)\b[^`]*\))`", text)
    return [call for call in calls if "..." not in call]


def read_recipes() -> tuple[Block, dict[str, list[Block]]]:
    """Return the block that all recipes begin with, and the blocks of each by its title."""
    beginning, *sections = read_sections()
    blocks = {
        section.split("\n", 1)[0]: [
            Block(*found)
            for found in re.findall("^```(.*)\n((?:.*\n)*?)```$", section, re.MULTILINE)
        ]
        for section in sections
    }
    (preamble,) = re.findall("^```python\n((?:.*\n)*?)```$", beginning, re.MULTILINE)
    return Block("python", preamble), {title: found for title, found in blocks.items() if found}


PREAMBLE, RECIPES = read_recipes()


class Kitchen:
    """A Kedro project with the example data, in which recipes run.

    Args:
        root: Its directory, which is the working directory.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.names: dict[str, Any] = {}
        """The names that the code of the recipe has defined; ``_`` is the last value."""
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
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text, encoding="utf-8")

    def write_files(self, blocks: list[Block]) -> None:
        """Write the files that blocks are, and make the catalog if one of them is of it."""
        for block in blocks:
            if block.file is not None:
                self.write(block.file, block.code)
        if any(block.language == "yaml" for block in blocks):
            self.names["catalog"] = self.make_catalog()

    def make_catalog(
        self, env: str | None = None, runtime_params: dict[str, Any] | None = None
    ) -> DataCatalog:
        """Return the catalog of the project, as Kedro makes it."""
        loader = OmegaConfigLoader(
            str(self.root / "conf"),
            env=env,
            base_env="base",
            default_run_env="local",
            runtime_params=runtime_params,
        )
        credentials = loader["credentials"] if env else {}
        return DataCatalog.from_config(loader["catalog"], credentials)

    def run(self, block: Block) -> None:
        """Run a block of Python or shell."""
        self.shown = self.run_shell(block.code) if block.language == "bash" else self._run(block)

    def _run(self, block: Block) -> str:
        tree = ast.parse(block.code)
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        stdout = StringIO()
        with redirect_stdout(stdout), without_info():
            exec(compile(tree, "<recipe>", "exec"), self.names)
            if last is not None:
                code = compile(ast.Expression(last.value), "<recipe>", "eval")
                self.names["_"] = eval(code, self.names)
        return stdout.getvalue() + ("" if last is None else show(self.names["_"]))

    def run_shell(self, code: str, **variables: str) -> str:
        """Run commands of the shell, with this environment's `kedro`, and return the output."""
        for command in ("kedro", "kedro_hydraflow"):
            script = self.root / "bin" / command.replace("_", "-")
            self.write(
                f"bin/{script.name}", f'#!/bin/sh\nexec "{sys.executable}" -m {command} "$@"\n'
            )
            script.chmod(0o755)
        sources = str(Path(kedro_hydraflow.__file__).parent.parent)
        paths = [str(self.root / "bin"), os.environ["PATH"]]
        done = subprocess.run(
            ["sh", "-ec", code],
            cwd=self.root,
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
