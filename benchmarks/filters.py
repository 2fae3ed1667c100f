"""Compare the time of a load with filters that keep one run in a hundred to one of all runs.

    python benchmarks/filters.py

The filters are on what MLflow records (the start time), on a metric and on the configuration. The
runs are in a file store and in a database. Each load is in a new process and without an index. The
exit status is not 0 if a filter leaves other runs than those that meet it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from compare import HERE, measuring, timed
from database import START_MS, write_database
from generate import START_MS as SWEEP_START_MS
from generate import generate

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    Measured = dict[str, Any]

ALL = "no filter"

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def make_sweep(n_runs: int) -> tuple[Path, Mapping[str, str]]:
    """Write a file store, and return it with the filters by what they are on."""
    root = HERE / "data" / f"sweep-{n_runs}"
    generate(root, runs=n_runs, kind="sweep")
    first = n_runs - n_runs // 100
    filters = {
        "start time": f"start_time >= '{make_time(SWEEP_START_MS + 60_000 * first)}'",
        "metric": "metrics.accuracy >= 0.896",  # 400 values from 0.5 to 0.899
        "configuration": f"seed >= {first}",
    }
    return root, filters


def make_database(n_runs: int) -> tuple[Path, Mapping[str, str]]:
    """Do the same with a database, whose configurations are in files."""
    root = HERE / "data" / f"database-{n_runs}"
    write_database(root, n_runs)
    first = n_runs - n_runs // 100
    filters = {
        "start time": f"start_time >= '{make_time(START_MS + first)}'",
        "metric": f"metrics.metric_000 >= {first / n_runs}",
        "configuration": f"seed >= {first}",
    }
    return root, filters


def make_time(milliseconds: int) -> str:
    """Return a time as text in UTC."""
    return (EPOCH + timedelta(milliseconds=milliseconds)).isoformat()


# One load, in its own process -----------------------------------------------------------


def measure(root: str, filters: str) -> None:
    """Print what was measured, and how many runs were left, as JSON."""
    measured: Measured = {}
    with timed(measured, "imports"):
        from kedro_hydraflow import Run, iter_run_dirs
    with measuring(measured):
        runs = Run.load(iter_run_dirs(root, filters=filters or None), index=False)
    print(json.dumps(measured | {"runs": len(runs)}))


# All of them ----------------------------------------------------------------------------


def start(root: Path, filters: str) -> Measured:
    """Return what another process measured."""
    command = [sys.executable, __file__, "--measure", str(root), filters]
    process = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if process.returncode != 0:
        sys.exit(f"failed: {' '.join(command)}")
    measured: Measured = json.loads(process.stdout.splitlines()[-1])
    return measured


def compare(root: Path, filters: Mapping[str, str], repeat: int) -> dict[str, list[Measured]]:
    """Return what was measured, by what the filter is on."""
    texts = {ALL: "", **filters}
    start(root, "")  # from now on the files are cached
    results: dict[str, list[Measured]] = {name: [] for name in texts}
    for _ in range(repeat):  # in turns, so that a disturbance does not hit one filter only
        for name, text in texts.items():
            results[name].append(start(root, text))
    return results


def print_table(what: str, results: Mapping[str, list[Measured]]) -> None:
    """Print the medians as a Markdown table."""

    def median(name: str, key: str) -> float:
        return statistics.median(measured[key] for measured in results[name])

    print(f"\n{what}\n\n| filter | runs | CPU, s | ratio | seconds | ratio |")
    print("|---|--:|--:|--:|--:|--:|")
    for name, (first, *_) in results.items():
        cells = [name, f"{first['runs']:,}"]
        for key in ("cpu", "seconds"):
            value = median(name, key)
            cells += [f"{value:.2f}", f"{value / median(ALL, key):.2f}"]
        print(f"| {' | '.join(cells)} |")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=10_000, help="in the file store")
    parser.add_argument("--database-runs", type=int, default=30_000, help="in the database")
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()

    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    print(f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores{load}", flush=True)
    problems = []
    for what, n_runs, make in (
        ("a file store", options.runs, make_sweep),
        ("a database", options.database_runs, make_database),
    ):
        if n_runs == 0:
            continue
        root, filters = make(n_runs)
        results = compare(root, filters, options.repeat)
        print_table(f"{n_runs:,} runs in {what}", results)
        for name, measured in results.items():
            expected = n_runs if name == ALL else n_runs // 100
            if any(each["runs"] != expected for each in measured):
                problems.append(f"{what}, {name}: expected {expected} runs")
    if problems:
        sys.exit("\n".join(problems))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        measure(*sys.argv[2:])
    else:
        main()
