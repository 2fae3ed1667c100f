"""The recipes of docs/recipes.md do what they show, each in a project of its own."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import polars as pl
import pytest
from kedro.io import DatasetError
from kedro.pipeline import Node, Pipeline
from kedro.runner import SequentialRunner
from omegaconf import OmegaConf

from tests.blocks import Block
from tests.recipes import PAGE, PREAMBLE, RECIPES, find_inline_code
from tests.workspace import Workspace, add_project, check_shown

# Kedro registers its resolvers in a way that newer versions of OmegaConf warn of.
pytestmark = pytest.mark.filterwarnings("ignore:register_new_resolver:UserWarning")


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path / "src")
    monkeypatch.setenv("MPLBACKEND", "Agg")
    for name in ("ENDPOINT", "KEY", "SECRET"):
        monkeypatch.setenv(f"TEAM_S3_{name}", f"a {name.lower()}")
    yield Workspace(tmp_path)
    OmegaConf.clear_resolvers()  # Kedro's loader removes `oc.env` and registers its own
    for name in [name for name in sys.modules if name.split(".")[0] == "my_project"]:
        del sys.modules[name]


def nest_runs(workspace: Workspace) -> None:
    """Nest the runs of the second experiment in one of the first."""
    for run_dir in workspace.root.glob("mlruns/803221166256626715/*/"):
        if (run_dir / "tags").is_dir():
            parent = workspace.find_run_dir("cde953df").name
            (run_dir / "tags/mlflow.parentRunId").write_text(parent)


def start_run(workspace: Workspace) -> None:
    """Make a run of the first experiment one that is still running."""
    meta = workspace.find_run_dir("cde953df") / "meta.yaml"
    text = meta.read_text("utf-8").replace("status: 3", "status: 1")
    meta.write_text(re.sub("end_time: .*", "end_time: null", text), "utf-8")


def add_pickles(workspace: Workspace) -> None:
    for hydra in workspace.root.glob("multirun/**/.hydra"):
        (hydra.parent / "model.pkl").write_bytes(b"\x80\x04K\x07.")  # the number 7


PREPARE: dict[str, Callable[[Workspace], None]] = {
    "Load a csv, npz or pickle file of the best run": add_pickles,
    "A sweep that is still running": start_run,
    "Child runs of a parent run": nest_runs,
    "Choose runs with runtime parameters": lambda workspace: add_project(workspace, has_one=True),
    "Catalog entries for files of the best run": add_pickles,
}
"""What the example data lack for a recipe."""


def check_children(workspace: Workspace) -> None:
    names = workspace.names
    assert len(names["parents"]) == 26
    assert len(names["children"]) == len(names["nested"]) == 5
    assert names["_"].columns == ["parent_run_id", "n", "best"]
    assert names["_"].row(0)[1:] == (5, pytest.approx(0.9711, abs=1e-4))


def check_pinned(workspace: Workspace) -> None:
    names = workspace.names
    assert sorted(names["pinned"].to_list("run_id")) == names["IDS"]
    assert sorted(names["catalog"].load("pinned_runs").to_list("run_id")) == names["IDS"]
    shutil.rmtree(workspace.find_run_dir("13f42e95"))
    with pytest.raises(DatasetError, match=r"expected min_runs=2 or more, found .* 1 after"):
        workspace.make_catalog().load("pinned_runs")


def check_going_on(workspace: Workspace) -> None:
    """What a collection keeps, what it reads now, and what is loaded anew."""
    old = workspace.names["runs"].filter(status="RUNNING")
    assert old.to_list("seed") == [8]
    assert old.to_list("metrics.accuracy") == [pytest.approx(0.9777, abs=1e-3)]
    assert len(workspace.names["done"]) == 29

    run_dir = workspace.find_run_dir("cde953df")
    log = old[0].read_log()
    with open(run_dir / "artifacts/eval_digits.log", "a", encoding="utf-8") as file:
        file.write("more")
    meta = (run_dir / "meta.yaml").read_text("utf-8").replace("status: 1", "status: 3")
    (run_dir / "meta.yaml").write_text(meta, "utf-8")
    for name in ("accuracy", "train/loss"):
        with open(run_dir / "metrics" / name, "a", encoding="utf-8") as file:
            file.write("1795394399000 0.5 99\n")
    shutil.copytree(run_dir, run_dir.parent / ("f" * 32))
    new_meta = meta.replace(run_dir.name, "f" * 32)
    (run_dir.parent / ("f" * 32) / "meta.yaml").write_text(new_meta, "utf-8")

    assert old.to_list("status") == ["RUNNING"]
    assert old.to_list("metrics.accuracy") == [pytest.approx(0.9777, abs=1e-3)]
    assert old.metric_histories("train/loss")["value"].to_list()[-1] == 0.5
    assert old[0].read_log() == log + "more"
    (block,) = RECIPES["A sweep that is still running"]
    workspace.run(block)
    assert len(workspace.names["runs"].filter(status="RUNNING")) == 0
    assert len(workspace.names["done"]) == 31
    assert workspace.names["done"].filter(seed=8).to_list("metrics.accuracy") == [0.5, 0.5]


def check_csv(workspace: Workspace) -> None:
    """Both ways write the same."""
    by_shell = pl.read_csv("sweep.csv")
    workspace.run(RECIPES["Export to CSV"][0])
    assert pl.read_csv("runs.csv").equals(by_shell)
    assert by_shell.height == 31
    assert by_shell["data.classes"][0] == "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]"


def check_parquet(workspace: Workspace) -> None:
    frame = pl.read_parquet("runs.parquet")
    assert frame.height == 31
    assert {"start_time", "model.type", "metrics.accuracy", "params.model.type"} < {*frame.columns}
    histories = pl.read_parquet("histories.parquet")
    assert histories["run_id"].n_unique() == 24
    assert histories["metric"].n_unique() == 3


def check_pandas(workspace: Workspace) -> None:
    table = workspace.names["table"]
    assert table.shape == (31, 7)
    assert table["metrics.accuracy"].dtype == "float64"


def check_files(workspace: Workspace) -> None:
    names = workspace.names
    assert names["best"].info.run_id == "multirun/2026-11-25/23-01-50/10"
    assert names["curve"].columns == ["step", "loss"]
    assert names["weights"].shape == (10,)
    assert names["model"] == 7
    assert Path("metrics.csv") in {
        path.relative_to(names["best"].path()) for path in names["best"].glob("**/*")
    }
    curves = names["jobs"].concat(lambda run: pl.read_csv(run.path("metrics.csv")), "optim.lr")
    assert curves.columns == ["step", "loss", "optim.lr"]


def check_scatter(workspace: Workspace) -> None:
    axes = workspace.names["axes"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("training.learning_rate", "metrics.accuracy")
    assert len(axes.collections[0].get_offsets()) == 24
    assert Path("accuracy.png").read_bytes().startswith(b"\x89PNG")


def check_seaborn(workspace: Workspace) -> None:
    legend = {text.get_text() for text in workspace.names["axes"].get_legend().get_texts()}
    assert {"training.learning_rate", "model.type", "linear", "mlp"} <= legend


def check_altair(workspace: Workspace) -> None:
    encoding = workspace.names["chart"].to_dict()["encoding"]
    assert encoding["color"] == {"field": "rate", "type": "nominal"}
    assert "rate" in Path("curves.html").read_text("utf-8")


def check_catalog_files(workspace: Workspace) -> None:
    assert workspace.names["catalog"].load("best_model") == 7


def check_namespaces(workspace: Workspace) -> None:
    registry = import_module("my_project.pipeline_registry")
    pipeline = registry.register_pipelines()["__default__"]
    catalog = workspace.make_catalog()
    catalog["params:metric"] = "metrics.accuracy"
    outputs = SequentialRunner().run(pipeline, catalog)
    rankings = {name: dataset.load() for name, dataset in outputs.items()}
    assert sorted(rankings) == ["train_digits_v1.ranking", "train_digits_v2.ranking"]
    first = rankings["train_digits_v1.ranking"]
    assert first["run_id"][0] == "13f42e9535654d01a4143ddd9be02cb7"
    assert first.columns == ["run_id", "metrics.accuracy"]
    assert rankings["train_digits_v2.ranking"]["run_id"][0].startswith("6a8bb938")
    without = Pipeline([Node(registry.rank, ["runs", "params:metric"], "ranking")], namespace="x")
    assert without.inputs() == {"x.runs", "params:x.metric"}


def check_runtime_params(workspace: Workspace) -> None:
    assert f"sweep_runs: 2 of {workspace.root / 'mlruns'}\n" in workspace.shown
    assert "one_run: cde953dfc57448a1bfe9943c868754db\n" in workspace.shown
    catalog = workspace.make_catalog(runtime_params={"since": "2026-11-23", "max_rate": 0.001})
    assert catalog.load("sweep_runs").to_list("training.learning_rate") == [0.001] * 8
    assert catalog.load("one_run").info.run_id.startswith("13f42e95")


def check_environments(workspace: Workspace) -> None:
    assert len(workspace.make_catalog().load("sweep_runs")) == 31
    on_s3 = workspace.make_catalog("s3").get("sweep_runs")
    assert on_s3._describe()["path"] == "s3://team/mlruns"
    options = {
        "key": "a key",
        "secret": "a secret",
        "client_kwargs": {"endpoint_url": "a endpoint"},
    }
    assert dict(on_s3._storage_options) == options


CHECKS: dict[str, Callable[[Workspace], None]] = {
    "Load a csv, npz or pickle file of the best run": check_files,
    "Local directory and S3 as environments": check_environments,
    "Plot with Polars and Altair": check_altair,
    "Plot with pandas and matplotlib": check_scatter,
    "Plot with seaborn": check_seaborn,
    "A sweep that is still running": check_going_on,
    "Child runs of a parent run": check_children,
    "Choose runs with runtime parameters": check_runtime_params,
    "Export to CSV": check_csv,
    "Export to Parquet": check_parquet,
    "Export to pandas": check_pandas,
    "Catalog entries for files of the best run": check_catalog_files,
    "One pipeline for several experiments with namespaces": check_namespaces,
    "Pin runs by ID": check_pinned,
}
"""What is not shown on the page."""

NEEDS = {
    "Plot with Polars and Altair": "altair",
    "Plot with seaborn": "seaborn",
}
"""The packages that recipes need beyond those of the tests."""

NEEDS_SERVER = {"Local directory and S3 as environments"}
"""Recipes whose commands need a server: `tests/integration/test_recipes.py` runs them."""


@pytest.mark.parametrize("title", RECIPES)
def test_recipe(title: str, workspace: Workspace) -> None:
    if title in NEEDS:
        pytest.importorskip(NEEDS[title])
    if title in PREPARE:
        PREPARE[title](workspace)
    workspace.write_files(RECIPES[title])
    workspace.run(PREAMBLE)
    for block in RECIPES[title]:
        is_code = block.language in ("python", "sh") and block.file is None
        if is_code and not (block.language == "sh" and title in NEEDS_SERVER):
            workspace.run(block)
        if block.output is not None:
            check_shown(workspace.shown, block.output)
    for code in find_inline_code(title):
        workspace.run(Block("python", code, line=0))
    if title in CHECKS:
        CHECKS[title](workspace)
    assert title in CHECKS or any(block.output is not None for block in RECIPES[title])


def test_what_is_in_the_text_between_is_run_too() -> None:
    assert sum(len(find_inline_code(title)) for title in RECIPES) >= 6


def test_there_are_recipes() -> None:
    assert len(RECIPES) >= 24
    assert {*PREPARE, *CHECKS, *NEEDS, *NEEDS_SERVER} <= {*RECIPES}


def test_every_recipe_is_in_the_list_at_the_beginning() -> None:
    text = PAGE.read_text("utf-8")
    linked = re.findall(r"\]\(#([\w-]+)\)", text.split("\n## ")[0])
    anchors = [re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in RECIPES]
    assert sorted(linked) == sorted(anchors)
