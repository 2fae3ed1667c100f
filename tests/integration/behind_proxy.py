"""A sweep of 2,000 runs on a real S3 server, for tests that put the proxy in front of it."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from tests.servers import Server, seaweedfs

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))  # they are no package

from proxy import Fault, Proxy, Request
from remote import upload

__all__ = ["Fault", "Proxy", "Request"]

EXPERIMENTS = {"101": "train_small", "202": "train_large"}
"""The names by ID: sorted by name they are in the other order."""

RUNS_EACH = 1000
N_FEW = 20
FAILED = 100
"""How many runs of each experiment have the status FAILED."""

WEIGHTS = np.arange(1000.0)


@dataclass(frozen=True)
class Bucket:
    """A server with the sweep in it."""

    server: Server

    @contextmanager
    def behind(self, latency: float = 0.0, *faults: Fault) -> Iterator[Site]:
        """Put a new proxy in front: no connection or cached filesystem is left from before."""
        host, _, port = self.server.endpoint.rpartition(":")
        with Proxy(host, int(port), latency=latency, faults=faults) as proxy:
            client_kwargs = {**self.server.options["client_kwargs"], "endpoint_url": proxy.url}
            options = {**self.server.options, "client_kwargs": client_kwargs}
            yield Site(f"{self.server.url}/mlruns", f"{self.server.url}/few", options, proxy)


@dataclass(frozen=True)
class Site:
    """The sweep as a client behind the proxy sees it."""

    url: str
    """The tracking directory: `RUNS_EACH` runs in each of `EXPERIMENTS`."""

    few_url: str
    """A tracking directory with one experiment of `N_FEW` runs."""

    options: dict[str, Any]
    proxy: Proxy

    def run_url(self, number: int) -> str:
        """Return the URL of one of the few runs."""
        return f"{self.few_url}/101/{make_run_id('101', number)}"


@contextmanager
def serve_sweep() -> Iterator[Bucket]:
    """Start a server and upload the sweep."""
    with seaweedfs() as server:
        files = {
            f"mlruns/{path}": content
            for experiment_id in EXPERIMENTS
            for path, content in make_experiment(experiment_id, RUNS_EACH).items()
        }
        files |= {f"few/{path}": text for path, text in make_experiment("101", N_FEW).items()}
        upload(server, files)
        yield Bucket(server)


def make_run_id(experiment_id: str, number: int) -> str:
    """Return the ID of a run."""
    return f"{int(experiment_id) * 10_000 + number:032x}"


def make_experiment(experiment_id: str, runs: int) -> dict[str, bytes]:
    """Return the files of an experiment by path; only the first run has an artifact."""
    meta = {"experiment_id": experiment_id, "name": EXPERIMENTS[experiment_id]}
    files = {f"{experiment_id}/meta.yaml": yaml.safe_dump(meta)}
    for number in range(runs):
        run_id = make_run_id(experiment_id, number)
        run = f"{experiment_id}/{run_id}"
        meta = {
            "experiment_id": experiment_id,
            "lifecycle_stage": "active",
            "run_id": run_id,
            "run_name": f"run-{number}",
            "start_time": 1767225600000 + number,
            "status": 4 if number < FAILED else 3,
        }
        files[f"{run}/meta.yaml"] = yaml.safe_dump(meta)
        files[f"{run}/metrics/accuracy"] = f"1767225600000 {number / RUNS_EACH} 0\n"
        files[f"{run}/artifacts/.hydra/config.yaml"] = f"model:\n  type: mlp\nseed: {number}\n"
    contents = {path: text.encode() for path, text in files.items()}
    archive = io.BytesIO()
    np.savez(archive, w=WEIGHTS)
    first = f"{experiment_id}/{make_run_id(experiment_id, 0)}"
    contents[f"{first}/artifacts/weights.npz"] = archive.getvalue()
    return contents
