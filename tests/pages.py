"""Running the README and the pages of docs/, each in a Kedro project with the example data."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import click
import kedro
import yaml
from click.testing import CliRunner

from kedro_hydraflow import Run, iter_run_dirs
from kedro_hydraflow.cli.main import main
from kedro_hydraflow.cli.project import commands
from kedro_hydraflow.provenance import describe_load
from tests.blocks import Block, read_blocks
from tests.conftest import ROOT
from tests.workspace import Workspace, add_project, check_shown

ALL_PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))
)
ELSEWHERE = {
    "docs/recipes.md",  # each recipe is a test of test_recipes.py
    "docs/start.md",  # `make package` follows it, from an empty directory
}
PAGES = [page for page in ALL_PAGES if page not in ELSEWHERE]

OURS = "kedro_hydraflow."
COLLECTION = f"{OURS}HydraflowRunCollectionDataset"
HAS_VALIDATORS = tuple(map(int, kedro.__version__.split(".")[:2])) >= (1, 6)
EXTRAS = set(metadata.metadata("kedro-hydraflow").get_all("Provides-Extra") or ())
TARGETS = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))


def read_page(page: str) -> list[Block]:
    return read_blocks((ROOT / page).read_text("utf-8"))


class PageRunner:
    """Runs the blocks of a page one after the other.

    Args:
        workspace: The project in which they run, which is the working directory.
        credentials: Those of the S3 server. With None, what is on servers is checked without
            connecting.
    """

    def __init__(self, workspace: Workspace, credentials: Mapping[str, Any] | None = None) -> None:
        self._workspace = workspace
        self._credentials = credentials
        self._entries: dict[str, Any] = {}
        add_project(workspace, has_one=False)
        _add_data(workspace)
        collection = {"type": COLLECTION, "path": "mlruns"}
        self._add_entries({"sweep_runs": collection})  # of which pages speak

    def run(self, block: Block) -> None:
        """Run a block, as far as it is meant to be, and compare what it shows."""
        if block.language == "json":
            json.loads(block.code)
        elif block.language == "yaml":
            self._run_yaml(block)
        elif block.language == "console":
            self._run_console(block)
        elif block.reason is None and block.language == "python":
            self._run_python(block)
        elif block.reason is None and block.language == "sh":
            self._run_sh(block)

    def finish(self) -> None:
        """Make the catalogs of the environments that the page has files of."""
        for folder in Path("conf").iterdir():
            if folder.name not in ("base", "local") and folder.is_dir() and self._entries:
                catalog = self._workspace.make_catalog(folder.name)
                for name in self._entries:
                    assert catalog.get(_fill(name)) is not None

    def _can_run(self, block: Block) -> bool:
        return not block.urls or (self._credentials is not None and block.is_served)

    def _run_python(self, block: Block) -> None:
        if block.file is not None:
            self._write(block.file, block.code)
        if self._can_run(block):
            self._workspace.run(block)
            if block.output is not None:
                check_shown(self._workspace.shown, block.output)

    def _run_yaml(self, block: Block) -> None:
        content = yaml.safe_load(block.code)
        if block.file is not None and not block.file.endswith("catalog.yml"):
            self._write(block.file, block.code)
            return
        if block.file is not None and not block.file.startswith("conf/base/"):
            self._write(block.file, block.code)
            return
        if not all(isinstance(entry, dict) and "type" in entry for entry in content.values()):
            content = {"runs": {"type": COLLECTION, "path": "mlruns", **content}}  # options
        entries = {name: entry for name, entry in content.items() if not name.startswith("_")}
        for entry in entries.values():
            if not HAS_VALIDATORS:
                entry.pop("validator", None)
        if block.reason is not None and not all(
            e["type"].startswith(OURS) for e in entries.values()
        ):
            return  # datasets of packages that the tests do not have
        self._add_entries(entries)
        for name, entry in entries.items():
            dataset = self._workspace.names["catalog"].get(_fill(name))
            assert dataset is not None
            if block.reason is None and self._can_load(block, dataset, entry):
                assert dataset.load() is not None

    def _add_entries(self, entries: Mapping[str, Any]) -> None:
        """Add entries to the catalog of the project, and credentials for them."""
        self._entries.update(entries)
        self._write("conf/base/catalog.yml", yaml.safe_dump(self._entries, sort_keys=False))
        file = Path("conf/local/credentials.yml")
        known = yaml.safe_load(file.read_text("utf-8")) if file.exists() else {}
        given = self._credentials or {"key": "a key", "secret": "a secret"}
        for entry in self._entries.values():
            name = entry.get("credentials")
            if isinstance(name, str) and name.isidentifier() and name not in known:
                known[name] = dict(given)
        self._write(str(file), yaml.safe_dump(known))
        self._workspace.names["catalog"] = self._workspace.make_catalog()

    def _can_load(self, block: Block, dataset: Any, entry: Mapping[str, Any]) -> bool:
        """Whether an entry is one of ours whose runs are there. A relative path has to exist."""
        if not entry["type"].startswith(OURS) or not self._can_run(block):
            return False
        described = dataset._describe()
        path = next((described[k] for k in ("path", "filepath") if described.get(k)), None)
        if path is None or "://" in str(path) or os.path.isabs(path):
            return path is None or not os.path.isabs(path) or os.path.exists(path)
        assert os.path.exists(path), f"there is no {path}"
        return True

    def _run_console(self, block: Block) -> None:
        for text in re.split(r"^\$ ", block.code, flags=re.MULTILINE)[1:]:
            command, _, output = text.partition("\n")
            if block.reason is not None or not self._can_run(block):
                _check_commands(command)
                continue
            program, *arguments = shlex.split(command)
            if program == "kedro-hydraflow" and "--entry" not in arguments:
                assert CliRunner().invoke(main, arguments).output == output
            else:
                shown = self._workspace.run_shell(f"({command}) 2>&1")
                assert shown.endswith(output)  # after the logs of Kedro

    def _run_sh(self, block: Block) -> None:
        lines = block.code.replace("\\\n", " ").splitlines()
        for line in lines:
            _check_install(line)
            _check_target(line)
        commands = [line for line in lines if not re.match(r"(pip install|make) ", line)]
        if not self._can_run(block):
            _check_commands("\n".join(commands))
        elif "".join(commands):
            shown = self._workspace.run_shell("\n".join(["{", *commands, "} 2>&1"]))
            _check_in_order(shown, block.output or "")

    def _write(self, path: str, text: str) -> None:
        self._workspace.write(path, text)
        if path.startswith("src/"):
            forget_project()


def forget_project() -> None:
    """Let the modules of the project be imported anew."""
    for name in [name for name in sys.modules if name.split(".")[0] == "my_project"]:
        del sys.modules[name]


def _add_data(workspace: Workspace) -> None:
    """Add what pages name beside the sweeps."""
    shutil.copytree("mlruns", "data/mlruns")
    for run_dir in iter_run_dirs("data/mlruns"):
        (run_dir / "artifacts/metrics.csv").write_text("step,loss\n1,0.5\n")
    loads = [describe_load(Run.load(iter_run_dirs("mlruns", "eval_*")))]
    provenance = {"entries": {"eval_runs": {"loads": loads}}}
    workspace.write("data/provenance/run.json", json.dumps(provenance))
    model = (
        "class Model:\n    def __init__(self, artifacts_dir): self.artifacts_dir = artifacts_dir\n"
    )
    workspace.write("src/my_project/analysis.py", model)


def _fill(name: str) -> str:
    """Return the name of an entry, for a dataset factory that of one that it makes."""
    return re.sub(r"\{\w+\}", "train_digits_v1", name)


def _check_install(line: str) -> None:
    """Check the extras in a command that installs the package."""
    for names in re.findall(r"kedro-hydraflow\[([^\]]*)\]", line):
        assert set(names.split(",")) <= EXTRAS, line


def _check_target(line: str) -> None:
    for name in re.findall(r"^make ([a-z0-9-]+)", line):
        assert name in TARGETS, line


def _check_commands(text: str) -> None:
    """Parse the commands of this package, without running them."""
    for program, rest in re.findall(r"\b(kedro-hydraflow|kedro hydraflow) ([^|;&>#\n]*)", text):
        group = main if program == "kedro-hydraflow" else commands.commands["hydraflow"]
        assert isinstance(group, click.Group)
        _parse(group, shlex.split(rest))


def _parse(group: click.Group, arguments: list[str]) -> None:
    command = group.commands[arguments[0]]
    if isinstance(command, click.Group):
        _parse(command, arguments[1:])
    else:
        command.make_context(arguments[0], arguments[1:])


def _check_in_order(shown: str, expected: str) -> None:
    """Check that the lines of an output are shown, in their order. Dots stand for more of them."""
    rest = shown
    for line in filter(None, (line.strip("… ") for line in expected.splitlines())):
        _, found, rest = rest.partition(line)
        assert found, f"{line!r} is not in\n{shown}"


def is_run_somewhere(block: Block) -> bool:
    """Whether the tests or ``make integration`` run a block, or check it as far as it can be."""
    return block.language in ("yaml", "console", "sh") or block.is_served
