"""Runs that MLflow itself moved from a file store to a database."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from kedro_hydraflow import HydraflowRunCollectionDataset, Run, iter_run_dirs
from tests import servers
from tests.conftest import SWEEP
from tests.integration.places import is_server_required

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the example sweep as ``mlruns``, and the same runs in ``mlflow.db``."""
    folder = tmp_path_factory.mktemp("migrated")
    shutil.copytree(SWEEP, folder / "mlruns")
    try:
        python = servers.find_hydraflow()
    except servers.MissingServerError as exc:
        if is_server_required():
            raise
        pytest.skip(str(exc))
    target = f"sqlite:///{folder}/mlflow.db"
    command = ["mlflow", "migrate-filestore", "--source", str(folder), "--target", target]
    environment = {**os.environ, "DO_NOT_TRACK": "1"}
    subprocess.run([python, "-m", *command], check=True, capture_output=True, env=environment)
    return folder


@pytest.mark.parametrize("logged", [False, True])
def test_digests_are_equal(migrated: Path, logged: bool) -> None:
    before = Run.load(iter_run_dirs(migrated / "mlruns"))
    after = Run.load(iter_run_dirs(migrated / "mlflow.db", artifact_root=migrated / "mlruns"))
    assert len(before) == len(after) == 31
    assert after.digest(logged=logged) == before.digest(logged=logged)


def test_a_lock_holds(migrated: Path, tmp_path: Path) -> None:
    lock = str(tmp_path / "lock.json")
    HydraflowRunCollectionDataset(path=migrated / "mlruns", lock=lock).load()
    in_database = HydraflowRunCollectionDataset(
        path=migrated / "mlflow.db", artifact_root=migrated / "mlruns", lock=lock
    )
    assert len(in_database.load()) == 31
