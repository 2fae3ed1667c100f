"""The runs that the examples in docstrings are about."""

from __future__ import annotations

import logging
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pytest

from kedro_hydraflow import Run, iter_run_dirs

if TYPE_CHECKING:
    from collections.abc import Iterator

pytest.register_assert_rewrite("tests.pages", "tests.workspace")  # which assert for tests

SWEEP = "examples/data/mlruns"

collect_ignore = ["tests/pyodide/smoke.py"]  # which runs in WebAssembly
"""What cannot be imported here, or not without the packages of an extra."""
if not find_spec("sqlalchemy"):
    collect_ignore.append("src/kedro_hydraflow/stores/sql_queries.py")


@pytest.fixture(autouse=True)
def _examples(request: pytest.FixtureRequest, doctest_namespace: dict[str, Any]) -> Iterator[None]:
    """Define ``runs`` and ``run`` anew for each example, which may update them; log nothing."""
    if isinstance(request.node, pytest.DoctestItem):
        logging.disable(logging.INFO)
        runs = Run.load(iter_run_dirs(SWEEP), index=False)
        doctest_namespace["runs"] = runs
        doctest_namespace["run"] = runs.get(run_id="5b59290f35f943c8863522a4cd371131")
    yield
    logging.disable(logging.NOTSET)
