"""Compare the time to a frame of all columns to one of four, and write rows with little memory.

    python benchmarks/frames.py

The columns are those of runs in a file store, with some 60 values in each configuration. The rows
are those of MLflow's database, which `scan_runs` writes to Parquet. Each row of the tables is
measured in a new process. The exit status is not 0 if a frame lacks rows or columns.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sqlite3
import statistics
import subprocess
import sys
import tempfile
from contextlib import closing
from typing import TYPE_CHECKING, Any

from compare import HERE, KEYS, measuring
from database import copy_schema, write_runs
from generate import generate

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Measured = dict[str, Any]

FOUR = "to_frame(four keys)"
ALL = "to_frame()"
PANDAS = "to_pandas()"
ROWS = "scan_runs"
SHAPES = {FOUR: 4, ALL: 59, PANDAS: 59}
"""How many columns the frames have: `KEYS`, or the ID, the job and each key."""

N_VALUES = 3
"""How many metrics, params and tags a run of the databases has."""

SCHEMA: dict[str, type] = {
    "run_id": str,
    "status": str,
    "metrics.metric_000": float,
    "metrics.metric_002": float,
    "params.param_001": str,
    "tags.tag_001": str,
}


# The data ------------------------------------------------------------------------------


def make_sweep(n_runs: int) -> Path:
    """Write a file store, unless it is there."""
    root = HERE / "data" / f"sweep-{n_runs}"
    generate(root, runs=n_runs, kind="sweep")
    return root


def make_database(n_runs: int) -> Path:
    """Write a database of runs without configurations, unless it is there."""
    path = HERE / "data" / f"rows-{n_runs}" / "mlflow.db"
    if path.exists():
        return path
    print(f"writing {n_runs:,} runs to {path}", file=sys.stderr, flush=True)
    partial = path.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    partial.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(partial, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("BEGIN")
        copy_schema(connection)
        write_runs(connection, path.parent, n_runs, N_VALUES)
        connection.execute("COMMIT")
    partial.rename(path)
    return path


# One row, in its own process -----------------------------------------------------------


def measure_frame(way: str, root: str) -> Measured:
    """Make a frame of runs that have been loaded."""
    import pandas  # noqa: F401 - imported on first use otherwise
    import polars  # noqa: F401

    from kedro_hydraflow import Run, iter_run_dirs

    runs = Run.load(iter_run_dirs(root), index=False)
    make: dict[str, Callable[[], Any]] = {
        FOUR: lambda: runs.to_frame(*KEYS),
        ALL: runs.to_frame,
        PANDAS: runs.to_pandas,
    }
    measured: Measured = {}
    with measuring(measured):
        frame = make[way]()
    return measured | {"shape": frame.shape}


def measure_rows(path: str) -> Measured:
    """Write the rows of a database to Parquet."""
    import polars as pl

    from kedro_hydraflow import scan_runs

    measured: Measured = {}
    with tempfile.TemporaryDirectory() as folder:
        with measuring(measured):
            scan_runs(path, schema=SCHEMA).sink_parquet(f"{folder}/runs.parquet")
        written = pl.scan_parquet(f"{folder}/runs.parquet")
        n_rows = written.select(pl.len()).collect().item()
        return measured | {"shape": (n_rows, len(written.collect_schema()))}


# All of them ---------------------------------------------------------------------------


def start(*arguments: str | Path) -> Measured:
    """Return what another process measured."""
    command = [sys.executable, __file__, "--measure", *map(str, arguments)]
    process = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    measured: Measured = json.loads(process.stdout.splitlines()[-1])
    return measured


def print_table(first: str, results: dict[str, list[Measured]]) -> None:
    """Print the medians as a Markdown table. The ratio is to the first row."""
    print(f"\n| {first} | rows | columns | seconds | CPU, s | ratio | peak MB | of it added |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|")
    base = None
    for name, repeated in results.items():
        seconds, cpu, peak, growth = (
            statistics.median(measured[key] for measured in repeated)
            for key in ("seconds", "cpu", "peak", "growth")
        )
        base = base or cpu
        n_rows, n_columns = repeated[0]["shape"]
        print(
            f"| {name} | {n_rows:,} | {n_columns} | {seconds:.2f} | {cpu:.2f} "
            f"| {cpu / base:.1f} | {peak:.0f} | {growth:.0f} |"
        )


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=10_000, help="in the file store")
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()

    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    print(f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores{load}", flush=True)
    root = make_sweep(options.runs)
    expected: dict[str, list[int]] = {}
    frames: dict[str, list[Measured]] = {}
    for _ in range(options.repeat):
        for way, n_columns in SHAPES.items():
            frames.setdefault(way, []).append(start(way, root))
            expected[way] = [options.runs, n_columns]
    print_table("frame", frames)
    rows: dict[str, list[Measured]] = {}
    for n_rows in options.rows:
        way = f"{ROWS}, {n_rows:,}"
        rows[way] = [start(ROWS, make_database(n_rows)) for _ in range(options.repeat)]
        expected[way] = [n_rows, len(SCHEMA)]
    print_table("rows", rows)
    for way, repeated in (frames | rows).items():
        if any(measured["shape"] != expected[way] for measured in repeated):
            sys.exit(f"{way}: expected {expected[way]}, found {repeated[0]['shape']}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        way, path = sys.argv[2:]
        print(json.dumps(measure_rows(path) if way == ROWS else measure_frame(way, path)))
    else:
        main()
