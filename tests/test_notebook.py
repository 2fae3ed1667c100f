"""The notebook of the example sweep runs, and shows what its checked-in outputs show."""

from __future__ import annotations

import re
from typing import Any

import pytest
from IPython.core.completer import provisionalcompleter
from IPython.core.interactiveshell import InteractiveShell

from kedro_hydraflow import Run, iter_run_dirs
from tests.conftest import SWEEP
from tests.notebook import execute, read_notebook

HTML, FIGURE = "text/html", "application/vnd.plotly.v1+json"


def get_outputs(notebook: Any) -> list[dict[str, Any]]:
    """Return what the code cells give, by type; printed text is ``stream``."""
    return [
        {
            key: value
            for output in cell.outputs
            for key, value in ({"stream": output.text} if "text" in output else output.data).items()
        }
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


def get_axes(output: dict[str, Any]) -> list[dict[str, Any]]:
    return output[FIGURE]["data"][0]["dimensions"] if FIGURE in output else []


def test_the_notebook_gives_its_outputs() -> None:
    notebook = read_notebook()
    written = get_outputs(notebook)
    execute(notebook)
    outputs = get_outputs(notebook)
    assert [set(output) for output in outputs] == [set(output) for output in written]
    for found, expected in zip(outputs, written, strict=True):
        assert found.get("stream") == expected.get("stream")
        assert get_axes(found) == get_axes(expected)
        if "kedro-hydraflow" in expected.get(HTML, ""):
            assert found[HTML] == expected[HTML]


def test_the_outputs_that_are_checked_in() -> None:
    runs, text, best, groups, means, *plots = get_outputs(read_notebook())
    assert "status: FINISHED 30, FAILED 1" in runs[HTML]
    assert text["stream"].startswith("RunCollection(Run, n=31, job_name={'eval_digits': 2, ")
    assert "configuration (12)" in best[HTML]
    assert len(re.findall("<tr>", groups[HTML])) == 6
    assert "<td>0.96" in means[HTML]
    assert [get_axes(plot)[-1]["label"] for plot in plots] == [
        "metrics.accuracy",
        "metrics.train/loss",
    ]


@pytest.mark.parametrize(
    ("text", "completed"),
    [
        ('run["model.ty', "model.type"),
        ('run["metrics.acc', "metrics.accuracy"),
        ('runs["training.lea', "training.learning_rate"),
        ('groups["ml', "mlp"),
    ],
)
def test_keys_are_completed(text: str, completed: str) -> None:
    runs = Run.load(iter_run_dirs(SWEEP), index=False)
    names = {"runs": runs, "run": runs[0], "groups": runs.group_by("model.type")}
    shell = InteractiveShell(user_ns=names)
    shell.Completer.use_jedi = False
    with provisionalcompleter():
        found = [each.text for each in shell.Completer.completions(text, len(text))]
    assert any(completed in each for each in found)
