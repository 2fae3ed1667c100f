"""What the tests of clusters share: runs on an S3 server, and how they are loaded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from kedro_hydraflow import Run, RunCollection, iter_run_dirs
from tests.integration.behind_proxy import make_experiment
from tests.servers import Server, moto

MARKS = [
    pytest.mark.integration,
    # Clients that live as long as the process do not close their connections at its end.
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Unclosed:ResourceWarning"),
]

KEYS = ("run_id", "job_name", "model.type", "seed")


@contextmanager
def serve_runs(n_runs: int) -> Iterator[Server]:
    """Start a server with the runs of an experiment."""
    with moto() as server:
        for path, content in make_experiment("101", n_runs).items():
            server.write(f"mlruns/{path}", content)
        yield server


def load(server: Server, **options: Any) -> RunCollection[Run[Any, Any]]:
    """Load the runs. The options are those of ``Run.load``."""
    storage_options = {**server.options, **options.pop("storage_options", {})}
    dirs = iter_run_dirs(f"{server.url}/mlruns", storage_options=storage_options)
    return Run.load(dirs, **options)
