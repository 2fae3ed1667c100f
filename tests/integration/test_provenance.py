"""Pipelines with `ProvenanceHook` while MLflow, through kedro-mlflow, tracks them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from kedro_hydraflow import Run, iter_run_dirs
from tests import servers
from tests.conftest import write
from tests.integration.places import is_server_required
from tests.projects import read_provenance, run_kedro, write_project

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def python() -> Path:
    """The interpreter of the environment with kedro-mlflow."""
    command = [str(servers.HYDRAFLOW), "-c", "import kedro_datasets, kedro_mlflow, kedro_hydraflow"]
    if not servers.HYDRAFLOW.exists() or subprocess.run(command).returncode:
        if is_server_required():
            raise servers.MissingServerError("kedro-mlflow is not installed")
        pytest.skip("kedro-mlflow is not installed")
    return servers.HYDRAFLOW


@pytest.mark.parametrize(
    ("pipeline", "runner"), [("__default__", "ParallelRunner"), ("failing", "SequentialRunner")]
)
def test_the_active_run_gets_tags_and_the_file(
    python: Path, tmp_path: Path, pipeline: str, runner: str
) -> None:
    project = write_project(tmp_path / "project")
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    write(
        project / "conf/base/mlflow.yml",
        f"server: {{mlflow_tracking_uri: '{uri}'}}\n"
        "tracking: {experiment: {name: pipelines, create_experiment_kwargs: "
        f"{{artifact_location: '{tmp_path}/artifacts'}}}}}}\n",
    )

    process = run_kedro(project, f"--pipeline={pipeline}", f"--runner={runner}", python=python)

    assert bool(process.returncode) == (pipeline == "failing"), process.stdout
    (run,) = Run.load(iter_run_dirs(tracking_uri=uri))
    content = read_provenance(project)
    assert run.info.status == ("FAILED" if pipeline == "failing" else "FINISHED")
    assert (
        run.path(f"kedro_hydraflow/{content['run_id']}.json").read_text()
        == json.dumps(content, indent=1) + "\n"
    )
    expected = {}
    for name, entry in content["entries"].items():
        (load,) = entry["loads"]
        expected[f"kedro_hydraflow.{name.replace('@', '_')}.digest"] = load["digest"]
        expected[f"kedro_hydraflow.{name.replace('@', '_')}.n_runs"] = str(load["n_runs"])
    assert len(expected) == 4
    tags = {name: text for name, text in run.tags.items() if name.startswith("kedro_hydraflow")}
    assert tags == expected
