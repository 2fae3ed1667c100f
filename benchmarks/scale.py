"""Measure how time and memory grow with the number of runs, loaded at once, in batches and lazily.

    python benchmarks/scale.py

Every row is measured in a new process. The data is written the first time: 20 KB on the disk
for each run, 6 GB for the 300,000 of the largest row. A million runs are made up while they are
read (``generated.py``).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import uuid
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compare import HERE, KEYS, measuring

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Measured = dict[str, Any]
    Results = dict[tuple[int, str], list[Measured]]

SIZES = (1_000, 10_000, 100_000, 300_000)
GENERATED_SIZES = (10_000, 100_000, 1_000_000)
MOST_AT_ONCE = 100_000
GENERATED = "generated://"

AT_ONCE = "Run.load"
IN_BATCHES = "iter_runs"
LAZILY = "scan_runs"


# The data ------------------------------------------------------------------------------


def write_sweep(root: Path, sizes: Sequence[int]) -> None:
    """Write a sweep in which the first experiments have as many runs as each of the sizes.

    A run is the two files that a load reads. A directory that is complete is left as it is.
    """
    from generate import _write_experiment, make_config

    if root.exists():
        return
    print(f"writing {sizes[-1]:,} runs to {root}", file=sys.stderr, flush=True)
    partial = root.with_name(f"{root.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    rng = random.Random(0)
    for first, end in pairwise((0, *sizes)):
        experiment_id = str(rng.randrange(10**17, 10**18))  # as MLflow draws them
        experiment = _write_experiment(partial, root, experiment_id, name_part(end))
        for number in range(first, end):
            run_id = uuid.UUID(int=rng.getrandbits(128), version=4).hex
            values, config = make_config("sweep", number, rng)
            write_run(experiment / run_id, root, number, values, config)
    partial.rename(root)


def write_run(run_dir: Path, root: Path, number: int, values: dict[str, Any], config: str) -> None:
    """Write the ``meta.yaml`` and the configuration of a run."""
    from generate import _make_files, _write_files

    experiment_id, run_id = run_dir.parts[-2:]
    uri = f"{root}/{experiment_id}/{run_id}/artifacts"
    files = _make_files(number, run_id, experiment_id, uri, "train", values)
    wanted = {"meta.yaml": files["meta.yaml"], "artifacts/.hydra/config.yaml": config}
    _write_files(str(run_dir), wanted)


def name_part(end: int) -> str:
    """Return the name of the experiment whose last run is the one with this number."""
    return f"runs-up-to-{end:07}"


# One row, in its own process -----------------------------------------------------------


def measure_at_once(root: str, names: Sequence[str], target: Path) -> Measured:
    """Load all runs, make the frame and write it."""
    from kedro_hydraflow import Run, iter_run_dirs

    measured: Measured = {}
    with measuring(measured):
        runs = Run.load(iter_run_dirs(root, names), index=False)
        runs.to_frame(*KEYS).write_parquet(target / "all.parquet")
    return measured


def measure_in_batches(root: str, names: Sequence[str], target: Path) -> Measured:
    """Write one file for each batch."""
    from kedro_hydraflow import iter_runs

    measured: Measured = {}
    with measuring(measured):
        for number, runs in enumerate(iter_runs(root, names, index=False)):
            runs.to_frame(*KEYS).write_parquet(target / f"{number:05}.parquet")
    return measured


def measure_lazily(root: str, names: Sequence[str], target: Path) -> Measured:
    """Write one file with the streaming engine of Polars."""
    from kedro_hydraflow import scan_runs

    measured: Measured = {}
    with measuring(measured):
        types = dict(zip(KEYS, ("String", "String", "Float64", "Int64"), strict=True))
        lazy = scan_runs(root, names, schema=types, index=False)
        lazy.sink_parquet(target / "all.parquet")
    return measured


WAYS: dict[str, Callable[[str, Sequence[str], Path], Measured]] = {
    AT_ONCE: measure_at_once,
    IN_BATCHES: measure_in_batches,
    LAZILY: measure_lazily,
}


def measure(way: str, root: str, *names: str) -> None:
    """Print what was measured, and a digest of the rows, as JSON."""
    import polars as pl

    if root.startswith(GENERATED):
        import generated  # noqa: F401 - registers the filesystem

    with tempfile.TemporaryDirectory() as folder:
        measured = WAYS[way](root, names, Path(folder))
        frame = pl.read_parquet(f"{folder}/*.parquet")
    digest = hash(tuple(frame.hash_rows()))
    print(json.dumps(measured | {"runs": len(frame), "digest": digest}))


# All of them ---------------------------------------------------------------------------


def start(way: str, root: Path | str, names: Sequence[str]) -> Measured:
    """Return what another process measured."""
    command = [sys.executable, __file__, "--measure", way, str(root), *names]
    process = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    measured: Measured = json.loads(process.stdout.splitlines()[-1])
    return measured


def print_table(results: Results) -> None:
    """Print the medians as a Markdown table."""
    print("| runs | | seconds | us a run | CPU us a run | peak MB | of it added, KB a run |")
    print("|--:|---|--:|--:|--:|--:|--:|")
    for (size, way), repeated in results.items():
        seconds, cpu, peak, growth = (
            statistics.median(measured[key] for measured in repeated)
            for key in ("seconds", "cpu", "peak", "growth")
        )
        print(
            f"| {size:,} | {way} | {seconds:.2f} | {seconds / size * 1e6:.0f} "
            f"| {cpu / size * 1e6:.0f} | {peak:.0f} | {growth * 1024 / size:.2f} |"
        )


def find_differences(results: Results) -> list[str]:
    """Return what is wrong in the results, as text."""
    differences = []
    digests: dict[int, Any] = {}
    for (size, way), repeated in results.items():
        for measured in repeated:
            if measured["runs"] != size:
                differences.append(f"{way} has {measured['runs']} of {size} runs")
            if digests.setdefault(size, measured["digest"]) != measured["digest"]:
                differences.append(f"{way} has another frame of {size} runs")
    return differences


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES, help="in files")
    parser.add_argument("--generated", type=int, nargs="*", default=GENERATED_SIZES)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()

    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    print(f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores{load}", flush=True)
    differences = []
    for what, results in (
        ("In files", compare_files(sorted(options.sizes), options.repeat)),
        ("Generated", compare_generated(options.generated, options.repeat)),
    ):
        if results:
            print(f"\n{what}\n")
            print_table(results)
            differences += find_differences(results)
    if differences:
        sys.exit("\n".join(["The results differ:", *differences]))


def compare_files(sizes: Sequence[int], repeat: int) -> Results:
    """Return what was measured with runs in files."""
    results: Results = {}
    if not sizes:
        return results
    root = HERE / "data" / f"scale-{'-'.join(map(str, sizes))}"
    write_sweep(root, sizes)
    start(IN_BATCHES, root, [name_part(sizes[0])])  # from now on the modules are cached
    for _ in range(repeat):
        for i, size in enumerate(sizes):
            names = [name_part(end) for end in sizes[: i + 1]]
            for way in WAYS:
                if way != AT_ONCE or size <= MOST_AT_ONCE:
                    results.setdefault((size, way), []).append(start(way, root, names))
    return results


def compare_generated(sizes: Sequence[int], repeat: int) -> Results:
    """Return what was measured with runs that are made up while they are read."""
    results: Results = {}
    for _ in range(repeat):
        for size in sizes:
            for way in (IN_BATCHES, LAZILY):
                measured = start(way, f"{GENERATED}{size}", ["train"])
                results.setdefault((size, way), []).append(measured)
    return results


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        measure(*sys.argv[2:])
    else:
        main()
