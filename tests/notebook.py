"""Runs the notebook of the example sweep; as a script, writes what its cells give into it."""

from __future__ import annotations

import os
from typing import Any

import nbformat
from nbclient import NotebookClient

from tests.conftest import ROOT

NOTEBOOK = ROOT / "examples/sweep.ipynb"


def read_notebook() -> Any:
    """Return the notebook as it is checked in."""
    return nbformat.read(NOTEBOOK, as_version=4)


def execute(notebook: Any) -> None:
    """Run all cells in their order, and put what they give into the notebook.

    Raises:
        CellExecutionError: If a cell fails.
    """
    resources = {"metadata": {"path": str(NOTEBOOK.parent)}}
    # Plotly's figures without Plotly itself, of some megabytes.
    env = {**os.environ, "PLOTLY_RENDERER": "plotly_mimetype"}
    client = NotebookClient(notebook, timeout=120, resources=resources, record_timing=False)
    client.execute(env=env)
    notebook.metadata.pop("language_info")  # the version of Python


if __name__ == "__main__":
    executed = read_notebook()
    execute(executed)
    nbformat.write(executed, NOTEBOOK)
