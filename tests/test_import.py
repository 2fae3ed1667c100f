from __future__ import annotations

import subprocess
import sys

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


def test_import_leaves_out_what_is_imported_when_it_is_used() -> None:
    code = "import sys, kedro_hydraflow; print(*sys.modules)"
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert set(LATE) & set(output.stdout.split()) == set()
