"""A small Kedro project with `ProvenanceHook`, for tests that run `kedro run`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.conftest import SWEEP, write

CATALOG = f"""
"{{experiment}}_runs":
  type: kedro_hydraflow.HydraflowRunCollectionDataset
  path: {SWEEP}
  experiment_names: "{{experiment}}_*"
  filters: status == FINISHED
best@kedro:
  type: kedro_hydraflow.HydraflowRunDataset
  path: {SWEEP}
  best_by: metrics.accuracy
  mode: max
"""

NODES = """
def count(runs):
    for run in runs:  # provenance is what was given
        run.update("changed", 1)
    return len(runs)


def count_again(runs):
    yield len(runs)


def fail(best, count):
    raise ValueError("this node always fails")
"""

REGISTRY = """
from kedro.pipeline import node, pipeline

from nodes_of import nodes


def register_pipelines():
    first = node(nodes.count, "eval_runs", "n", name="count")
    second = node(nodes.count_again, "eval_runs", "m", name="again")
    inner = pipeline([node(nodes.count, "runs", "n", name="count")])
    inner = pipeline(inner, namespace="inner", inputs={"runs": "train_runs"})
    return {
        "__default__": pipeline([first, second]) + pipeline(inner),
        "failing": pipeline([first, node(nodes.fail, ["best@kedro", "n"], "never", name="fail")]),
    }
"""

BEST = "13f42e9535654d01a4143ddd9be02cb7"
"""The ID of the run that the entry ``best@kedro`` gives."""


def write_project(directory: Path, settings: str = "") -> Path:
    """Write the project, and return its directory.

    Args:
        directory: The directory.
        settings: The end of ``settings.py``.
    """
    write(
        directory / "pyproject.toml",
        "[tool.kedro]\npackage_name = 'nodes_of'\nproject_name = 'small'\n"
        "kedro_init_version = '1.0.0'\nsource_dir = 'src'\n",
    )
    write(directory / "conf/base/catalog.yml", CATALOG)
    write(directory / "conf/local/credentials.yml", "")
    package = directory / "src/nodes_of"
    write(package / "__init__.py", "")
    write(package / "nodes.py", NODES)
    write(package / "pipeline_registry.py", REGISTRY)
    write(
        package / "settings.py",
        "from kedro_hydraflow import ProvenanceHook\n\nHOOKS = (ProvenanceHook(),)\n"
        f"DISABLE_HOOKS_FOR_PLUGINS = ('kedro-telemetry',)\n{settings}",
    )
    return directory


def run_kedro(
    project: Path,
    *arguments: str,
    start_method: str | None = None,
    python: str | Path = sys.executable,
) -> subprocess.CompletedProcess[str]:
    """Run `kedro run` in a folder of the project, and return the process that has ended.

    Args:
        project: The directory of the project.
        *arguments: Those of the command.
        start_method: How processes are started, None for the default of Python.
        python: The interpreter.
    """
    code = (
        "import multiprocessing, sys; from kedro.framework.cli import main; "
        f"multiprocessing.set_start_method({start_method!r}); sys.argv[0] = 'kedro'; main()"
    )
    return subprocess.run(
        [str(python), "-c", code, "run", *arguments],
        cwd=project / "conf",
        env={**os.environ, "DO_NOT_TRACK": "1", "COLUMNS": "1000"},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def read_provenance(project: Path) -> dict[str, Any]:
    """Return the content of the only file in the folder of `ProvenanceHook`."""
    (file,) = (project / "data/provenance").iterdir()
    content: dict[str, Any] = json.loads(file.read_text("utf-8"))
    assert file.name == f"{content['run_id']}.json"
    return content
