from __future__ import annotations

import subprocess
import sys

import pytest

import kedro_hydraflow

LATE = (
    "aiohttp",
    "click",
    "filelock",
    "fsspec",
    "joblib",
    "kedro",
    "numpy",
    "plotly",
    "polars",
    "rich",
    "upath",
)
"""What takes long to import, and is not needed to import this package."""


def list_imported(code: str) -> set[str]:
    """Return the modules that a child process has imported after some code."""
    command = [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


def test_import_leaves_out_what_is_imported_when_it_is_used() -> None:
    names = "Run, RunCollection, iter_run_dirs, iter_runs, publish_index, scan_runs"
    assert set(LATE) & list_imported(f"from kedro_hydraflow import {names}") == set()


def test_names_are_imported_when_they_are_used() -> None:
    """For Kedro imports the package for its commands whenever it starts."""
    assert "omegaconf" not in list_imported("import kedro_hydraflow.cli.project")
    assert sorted(kedro_hydraflow._MODULES) == kedro_hydraflow.__all__
    assert set(kedro_hydraflow.__all__) <= set(dir(kedro_hydraflow))
    for name in kedro_hydraflow.__all__:
        assert getattr(kedro_hydraflow, name).__name__ == name
    with pytest.raises(AttributeError, match="module 'kedro_hydraflow' has no attribute 'Runs'"):
        _ = kedro_hydraflow.Runs
