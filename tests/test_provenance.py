from __future__ import annotations

from pathlib import Path

import pytest

from kedro_hydraflow import Run
from kedro_hydraflow.provenance import LoadRecorder, read_loads
from tests.conftest import TrackingDir


def test_a_load_on_another_machine_is_said_to_be_missing(
    tmp_path: Path, tracking_dir: TrackingDir, caplog: pytest.LogCaptureFixture
) -> None:
    run_dir = tracking_dir.add_run(tracking_dir.add_experiment("train"), "a")
    LoadRecorder("runs", str(tmp_path / "absent")).record([Run(run_dir)])
    assert caplog.messages == [
        "runs: it is not recorded which runs were given, 1 of them: FileNotFoundError: No such "
        "file or directory"
    ]
    assert not (tmp_path / "absent").exists()


def test_a_half_written_record_is_left_out(tmp_path: Path, tracking_dir: TrackingDir) -> None:
    run_dir = tracking_dir.add_run(tracking_dir.add_experiment("train"), "a")
    (tmp_path / ".1-ab.json.0123").write_text('{"entry": "runs", "lo')  # its process was killed
    LoadRecorder("runs", str(tmp_path)).record([Run(run_dir)])
    (load,) = read_loads(str(tmp_path))["runs"]
    assert list(load["runs"]) == ["a"]
