"""The examples in docstrings are there, and the code in the README and docs/ runs.

``pytest --doctest-modules`` runs those in docstrings. What needs a server on a page,
`tests/integration/test_docs.py` runs.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from omegaconf import OmegaConf

from kedro_hydraflow import Collection, GroupBy, Run, RunCollection, RunInfo, iter_run_dirs
from tests.blocks import RUN, SHOWN
from tests.pages import ALL_PAGES, PAGES, PageRunner, forget_project, is_run_somewhere, read_page
from tests.workspace import Workspace

# Kedro registers its resolvers in a way that newer versions of OmegaConf warn of.
pytestmark = pytest.mark.filterwarnings("ignore:register_new_resolver:UserWarning")


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


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path / "src")
    yield Workspace(tmp_path)
    OmegaConf.clear_resolvers()  # Kedro's loader removes `oc.env` and registers its own
    forget_project()


def check_readme(names: dict[str, Any]) -> None:
    assert names["make_leaderboard"](names["runs"]).height == len(names["runs"]) == 31
    catalog = names["catalog"]
    runs = catalog.load("sweep_runs")
    assert set(runs.to_list("status")) == {"FINISHED"}
    assert type(runs[0].impl).__name__ == "Model"
    best_run = catalog.load("best_run")
    assert best_run.metrics["accuracy"] == max(
        Run.load(iter_run_dirs("data/mlruns")).to_list("metrics.accuracy")
    )
    columns = ["run_id", "model.type", "model.hidden_size", "model.activation"]
    assert catalog.load("accuracies").columns[:-1] == [*columns, "training.learning_rate"]
    curves = catalog.load("learning_curves")
    assert list(curves.columns[:5]) == [*columns, "training.learning_rate"]
    assert len(curves) == 31


def check_frames(names: dict[str, Any]) -> None:
    assert "model.hidden_size" in names["curves"].columns
    assert names["table"]["start_time"].notna().all()
    assert "mean_metrics.accuracy" in names["wide"].columns


def check_scaling(names: dict[str, Any]) -> None:
    assert pl.read_parquet("all.parquet").height == 31


CHECKS: dict[str, Callable[[dict[str, Any]], None]] = {
    "README.md": check_readme,
    "docs/frames.md": check_frames,
    "docs/scaling.md": check_scaling,
}
"""What is not shown on the page."""


@pytest.mark.parametrize("page", PAGES)
def test_page(page: str, workspace: Workspace) -> None:
    runner = PageRunner(workspace)
    for block in read_page(page):
        print(f"{page}:{block.line}")  # of a test that fails, pytest shows it
        runner.run(block)
    runner.finish()
    if page in CHECKS:
        CHECKS[page](workspace.names)


@pytest.mark.parametrize("page", ALL_PAGES)
def test_no_block_is_left_out_in_silence(page: str) -> None:
    """A block of Python that needs other servers than the tests have says so, and why."""
    for block in read_page(page):
        where = f"{page}:{block.line}"
        assert block.language in (*RUN, *SHOWN, ""), f"{where}: no language {block.language!r}"
        assert block.reason or is_run_somewhere(block), f"{where}: add <!-- not run: why -->"
