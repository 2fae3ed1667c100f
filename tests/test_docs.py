"""The examples in docstrings are there, and those in the README and docs/ run on the example data.

``pytest --doctest-modules`` runs those in docstrings.
"""

from __future__ import annotations

import ast
import inspect
import json
import os
import re
import shlex
import shutil
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml
from click.testing import CliRunner
from kedro.io import DataCatalog

from kedro_hydraflow import Collection, GroupBy, Run, RunCollection, RunInfo, iter_run_dirs
from kedro_hydraflow.cli.main import main
from kedro_hydraflow.provenance import describe_load
from tests.conftest import HYDRA_SWEEP, ROOT, SWEEP, write

DOCUMENTS = [
    path.relative_to(ROOT)
    for path in (ROOT / "README.md", *ROOT.glob("docs/*.md"))
    if path.name != "recipes.md"  # each recipe is a test of test_recipes.py
]


def list_methods() -> list[Any]:
    return [
        pytest.param(member, id=f"{cls.__name__}.{name}")
        for cls in (Collection, RunCollection, GroupBy, Run, RunInfo)
        for name, member in inspect.getmembers(cls, inspect.isroutine)
        if not name.startswith("_")
        if member.__module__.startswith("kedro_hydraflow")
    ]


@pytest.mark.parametrize("method", list_methods())
def test_every_method_has_an_example(method: Any) -> None:
    assert "\nExamples:\n    >>> " in (inspect.getdoc(method) or "")


def read_blocks(document: Path, language: str) -> list[str]:
    text = (ROOT / document).read_text(encoding="utf-8")
    text = re.sub(
        r"^<!-- not run: .*? -->\n *```.*?^ *```$", "", text, flags=re.MULTILINE | re.DOTALL
    )
    blocks = re.findall(rf"^( *)```{language}\n(.*?)^\1```$", text, re.MULTILINE | re.DOTALL)
    return [textwrap.dedent(code) for _, code in blocks]


def needs_server(code: str) -> bool:
    """Whether the code, comments apart, has a URL in it."""
    constants = [node.value for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Constant)]
    return any(isinstance(value, str) and "://" in value for value in constants)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory with the example data and the class that the documents name, to work in."""
    for name in ("mlruns", "data/mlruns"):
        shutil.copytree(SWEEP, tmp_path / name)
        for run_dir in iter_run_dirs(tmp_path / name):
            (run_dir / "artifacts/metrics.csv").write_text("step,loss\n1,0.5\n")
    shutil.copytree(HYDRA_SWEEP / "multirun", tmp_path / "multirun")
    (tmp_path / "frames").mkdir()
    loads = [describe_load(Run.load(iter_run_dirs(SWEEP, "eval_*")))]
    provenance = {"entries": {"eval_runs": {"loads": loads}}}
    write(tmp_path / "data/provenance/run.json", json.dumps(provenance))
    (tmp_path / "my_project").mkdir()
    (tmp_path / "my_project/analysis.py").write_text(
        "class Model:\n    def __init__(self, artifacts_dir): self.artifacts_dir = artifacts_dir\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in ("my_project", "my_project.analysis"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_python_in(document: Path, project: Path) -> None:
    run = Run.load(iter_run_dirs("mlruns"))[0]
    names = {  # of which the text speaks
        "Run": Run,
        "iter_run_dirs": iter_run_dirs,
        "np": np,
        "pl": pl,
        "os": os,
        "root": "mlruns",
        "run": run,
        "artifacts_dir": run.path(),
    }
    ran = [
        exec(compile(code, f"{document}, block {i}", "exec"), names)
        for i, code in enumerate(read_blocks(document, "python"))
        if not needs_server(code)
    ]
    at_least = {
        "README.md": 3,
        "docs/frames.md": 8,
        "docs/remote-storage.md": 2,
        "docs/scaling.md": 2,
    }
    assert len(ran) >= at_least.get(document.as_posix(), 0)
    if document.name == "README.md":
        frame = names["make_leaderboard"](names["runs"])
        assert frame.height == len(names["runs"]) == 31
    elif document.name == "frames.md":
        frame = names["frame"].sort("mean", descending=True)
        shown = frame.select("model.type", "training.learning_rate", pl.col("mean").round(6), "n")
        assert shown.row(0) == ("mlp", 0.01, 0.966667, 2)
        assert "model.hidden_size" in names["curves"].columns
        assert names["table"]["start_time"].notna().all()
        assert "mean_metrics.accuracy" in names["wide"].columns
    elif document.name == "scaling.md":
        assert pl.read_parquet(project / "all.parquet").height == 31


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_terminal_in(document: Path, project: Path) -> None:
    blocks = read_blocks(document, "console")
    for block in blocks:
        command, output = block.removeprefix("$ ").split("\n", 1)
        program, *arguments = shlex.split(command)
        assert program == "kedro-hydraflow"
        assert CliRunner().invoke(main, arguments).output == output
    assert len(blocks) >= {"README.md": 1, "docs/terminal.md": 2}.get(document.as_posix(), 0)


def test_the_catalog_in_the_readme(project: Path) -> None:
    (text, *_) = read_blocks(Path("README.md"), "yaml")
    config = yaml.safe_load(text)
    catalog = DataCatalog.from_config(config)
    loaded = {name: catalog.load(name) for name in config}
    runs = loaded["sweep_runs"]
    assert runs
    assert runs.to_list("status") == ["FINISHED"] * len(runs)
    assert type(runs[0].impl).__name__ == "Model"
    assert loaded["best_run"].metrics["accuracy"] == max(
        Run.load(iter_run_dirs("data/mlruns")).to_list("metrics.accuracy")
    )
    columns = ["run_id", "model.type", "model.hidden_size", "model.activation"]
    assert loaded["accuracies"].columns[:-1] == [*columns, "training.learning_rate"]
    assert list(loaded["learning_curves"].columns[:5]) == [*columns, "training.learning_rate"]
    best = loaded["learning_curves"].query(f"run_id == '{loaded['best_run'].info.run_id}'")
    assert loaded["best_curve"].to_dict("list") == best[loaded["best_curve"].columns].to_dict(
        "list"
    )
