"""Compare the time to the histories of a metric from MLflow's server: in bulk and run by run.

    python benchmarks/server.py --mlflow-python .venv-mlflow/bin/python

A proxy counts the requests. Run by run is how kedro-hydraflow reads where the server does not
answer requests for many runs: for these rows, the proxy answers them with 404. The exit status is
not 0 if the frames differ.
"""

from __future__ import annotations

import argparse
import logging
import os
import platform
import shutil
import socket
import sqlite3
import statistics
import subprocess
import sys
import time
import urllib.request
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from compare import HERE
from database import copy_schema, iter_runs, write_runs
from proxy import Fault, Proxy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import polars as pl

CONTENDERS = {
    "in bulk": [],
    "run by run": [Fault(status=404, match="get-history-bulk")],
}


def write_database(directory: Path, n_runs: int, n_values: int) -> None:
    """Write ``mlflow.db``, whose runs have one metric with many values."""
    if directory.exists():
        return
    partial = directory.with_name(f"{directory.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    with closing(sqlite3.connect(partial / "mlflow.db")) as connection, connection:
        copy_schema(connection)
        write_runs(connection, directory, n_runs, n_keys=1)
        connection.executemany(
            "INSERT INTO metrics VALUES ('metric_000', ?, ?, ?, ?, 0)",
            (
                (step / (number + 1), 1_800_000_000_000 + step, run_id, step)
                for number, _, run_id in iter_runs(n_runs)
                for step in range(2, n_values + 1)
            ),
        )
    partial.rename(directory)


@contextmanager
def serve(python: str, database: Path) -> Iterator[int]:
    """Run MLflow's server; yield its port."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    command = [python, "-m", "mlflow", "server", "--port", str(port), "--workers", "2"]
    command += ["--backend-store-uri", f"sqlite:///{database}", "--no-serve-artifacts"]
    command += ["--default-artifact-root", str(database.parent)]
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
    environment.pop("PYTHONPATH", None)  # meant for the other interpreter
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health").close()
                break
            except OSError:
                if process.poll() is not None:
                    sys.exit(f"the server ended: {' '.join(command)}")
                time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait()


def measure(port: int, faults: list[Fault]) -> tuple[float, int, pl.DataFrame]:
    """Return the seconds and the number of requests for the histories, and their frame."""
    from kedro_hydraflow import Run, iter_run_dirs

    logging.disable(logging.WARNING)  # the runs have no configurations
    with Proxy("127.0.0.1", port, faults=faults) as proxy:
        runs = Run.load(iter_run_dirs(tracking_uri=proxy.url), index=False)
        proxy.reset()
        start = time.perf_counter()
        frame = runs.metric_histories("metric_000")
        return time.perf_counter() - start, len(proxy.requests()), frame


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=1_001)
    parser.add_argument("--values", type=int, default=20, help="the values of the metric in a run")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--mlflow-python", required=True, help="an interpreter that has mlflow")
    options = parser.parse_args()

    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    print(f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores{load}\n", flush=True)
    directory = HERE / "data" / f"histories-{options.runs}-{options.values}"
    write_database(directory, options.runs, options.values)
    seconds: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    requests: dict[str, int] = {}
    frames: list[Any] = []
    with serve(options.mlflow_python, directory / "mlflow.db") as port:
        measure(port, CONTENDERS["in bulk"])  # from now on the server is warm
        for _ in range(options.repeat):
            for name, faults in CONTENDERS.items():
                taken, requests[name], frame = measure(port, faults)
                seconds[name].append(taken)
                frames.append(frame)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    print("| histories | runs | values | requests | seconds | ratio |")
    print("|---|--:|--:|--:|--:|--:|")
    for name, median in medians.items():
        print(
            f"| {name} | {options.runs:,} | {len(frames[0]):,} | {requests[name]:,} "
            f"| {median:.2f} | {median / medians['in bulk']:.1f} |"
        )
    is_complete = len(frames[0]) == options.runs * options.values
    if not is_complete or not all(frame.equals(frames[0]) for frame in frames):
        sys.exit("the frames differ, or lack values")


if __name__ == "__main__":
    main()
