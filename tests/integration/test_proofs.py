"""The proofs of `make prove` for some seconds: MLflow writes beside, and processes are killed."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.integration.places import is_server_required
from tests.prove.writing import prove
from tests.servers import MissingServerError, find_hydraflow, find_program

pytestmark = pytest.mark.integration

SECONDS = 10
N_KILLS = 10


def test_loads_while_mlflow_writes(tmp_path: Path) -> None:
    _require(find_hydraflow)
    counts = prove(tmp_path, SECONDS)
    assert counts["loads"] > 0
    assert counts["finished runs"] > 0
    assert counts["other runs"] > 0


def test_processes_that_are_killed_leave_nothing_wrong_behind() -> None:
    """In a process of its own: those that are forked from it may not find used clients."""
    pytest.importorskip("obstore")
    _require(lambda: find_program("rclone"))
    command = [sys.executable, "-m", "tests.prove.killing", "--kills", str(N_KILLS)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    assert re.search(rf"\b{N_KILLS} killed.*: 0 faults$", done.stdout.strip())


def _require(find: Callable[[], object]) -> None:
    try:
        find()
    except MissingServerError as exc:
        if is_server_required():
            raise
        pytest.skip(str(exc))
