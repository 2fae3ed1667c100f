"""Compare the time of a load with that of the bare files, where each call for a file takes long.

    python benchmarks/slow_disk.py

Network disks take 0.1 to 5 ms to open, to list or to ask for the status of a file. ``slow_files.c``
lets the calls of each process wait so long. All contenders work on the same files, each in a new
process. The exit status is not 0 if one of them finds other runs.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compare import HERE, measuring
from generate import generate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    Measured = dict[str, Any]

N_THREADS = 32
RUN_ID_LENGTH = 32

READ = "bare files, 32 threads: list, read"
STAT = "bare files, 32 threads: list, stat"
ONE_BY_ONE = "bare files, one by one: list, read"
OURS = "kedro-hydraflow"
WARM = "kedro-hydraflow, index warm"

FLOORS = {READ: READ, OURS: READ, ONE_BY_ONE: READ, STAT: STAT, WARM: STAT}
"""What each contender is compared to: the least that has to be done."""

FILES = ("meta.yaml", "artifacts/.hydra/config.yaml")
"""The files of a run that a load reads, or asks for their status where the index has them."""


# One contender, in its own process ------------------------------------------------------


def list_files(root: str, map_all: Callable[..., Iterable[Any]]) -> list[str]:
    """Return the files of all runs, by listing the experiments."""
    experiments = [f"{root}/{name}" for name in os.listdir(root) if name.isdecimal()]
    return [
        f"{experiment}/{name}/{file}"
        for experiment, names in zip(experiments, map_all(os.listdir, experiments), strict=True)
        for name in names
        if len(name) == RUN_ID_LENGTH
        for file in FILES
    ]


def read(path: str) -> bytes:
    """Return the content of a file, with one call that waits."""
    with open(path, "rb", buffering=0) as file:
        return file.read()


def measure_bare(root: str, function: Callable[[str], object], n_threads: int) -> Measured:
    """Call the function for all files of all runs."""
    measured: Measured = {}
    with measuring(measured), ThreadPoolExecutor(n_threads) as pool:
        map_all = pool.map if n_threads > 1 else map
        results = list(map_all(function, list_files(root, map_all)))
    return measured | {"runs": len(results) // len(FILES)}


def measure_ours(root: str, *, index: str | bool) -> Measured:
    """Load all runs."""
    from kedro_hydraflow import Run, iter_run_dirs

    measured: Measured = {}
    with measuring(measured):
        runs = Run.load(iter_run_dirs(root), index=index)
    return measured | {"runs": len(runs)}


def measure(name: str, root: str, index: str) -> None:
    """Print what a contender measured, as JSON."""
    measured = {
        READ: lambda: measure_bare(root, read, N_THREADS),
        STAT: lambda: measure_bare(root, os.stat, N_THREADS),
        ONE_BY_ONE: lambda: measure_bare(root, read, 1),
        OURS: lambda: measure_ours(root, index=False),
        WARM: lambda: measure_ours(root, index=index),
    }[name]()
    print(json.dumps(measured))


# All of them ----------------------------------------------------------------------------


def compile_library(folder: Path) -> Path:
    """Return the library that lets files wait."""
    library = folder / "slow_files.so"
    source = HERE / "slow_files.c"
    command = ["cc", "-O2", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"]
    subprocess.run(command, check=True)
    return library


def start(name: str, root: Path, index: Path, library: Path, milliseconds: float) -> Measured:
    """Return what a contender measured in a new process."""
    slow = {
        "LD_PRELOAD": str(library),
        "SLOW_PATH": str(root),
        "SLOW_US": str(round(1000 * milliseconds)),
    }
    command = [sys.executable, __file__, "--measure", name, str(root), str(index)]
    process = subprocess.run(command, env=os.environ | slow, stdout=subprocess.PIPE, text=True)
    if process.returncode != 0:
        sys.exit(f"{name} failed: {' '.join(command)}")
    measured: Measured = json.loads(process.stdout.splitlines()[-1])
    return measured


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=2_000)
    parser.add_argument("--milliseconds", type=float, nargs="+", default=[0, 0.1, 1, 5])
    parser.add_argument("--cold-runs", type=int, default=10_000, help="not in memory; 0: none")
    parser.add_argument("--repeat", type=int, default=3, help="but for one by one")
    options = parser.parse_args()
    if not sys.platform.startswith("linux") or shutil.which("cc") is None:
        print("SKIPPED: making files slow takes Linux and a C compiler, cc")
        return

    print(f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores", end="")
    print(f", load {os.getloadavg()[0]:.1f}", flush=True)
    root = HERE / "data" / f"sweep-{options.runs}"
    generate(root, runs=options.runs, kind="sweep")
    with tempfile.TemporaryDirectory() as folder:
        library = compile_library(Path(folder))
        index = Path(folder) / "index"
        for name in (READ, WARM):  # from now on the files are cached, and in the index
            start(name, root, index, library, 0)
        print(f"\n{options.runs:,} runs\n\n| | | seconds | ratio |\n|---|---|--:|--:|")
        for milliseconds in options.milliseconds:
            best: dict[str, float] = {}
            for turn in range(options.repeat):  # in turns, so that a disturbance hits all
                for name in FLOORS:
                    if name == ONE_BY_ONE and turn > 0:
                        continue
                    measured = start(name, root, index, library, milliseconds)
                    check_runs(name, measured, options.runs)
                    best[name] = min(measured["seconds"], best.get(name, float("inf")))
            print_rows(f"{milliseconds:g} ms a call", best)
        if options.cold_runs:
            compare_cold(options.cold_runs, library)


def compare_cold(n_runs: int, library: Path) -> None:
    """Print how long it takes to read files of which the system has no content in memory."""
    root = HERE / "data" / f"sweep-{n_runs}"
    generate(root, runs=n_runs, kind="sweep")
    if not hasattr(os, "posix_fadvise"):
        print("SKIPPED: this Python cannot drop pages from the cache")
        return
    print(f"\n{n_runs:,} runs\n\n| | | seconds | ratio |\n|---|---|--:|--:|")
    seconds = {}
    for name in (READ, OURS):
        drop_pages(root)
        measured = start(name, root, root, library, 0)
        check_runs(name, measured, n_runs)
        seconds[name] = measured["seconds"]
    print_rows("page cache dropped", seconds)


def drop_pages(root: Path) -> None:
    """Let the system forget the contents of all files. It still knows where they are."""
    for path in list_files(str(root), map):
        file = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(file)


def check_runs(name: str, measured: Measured, n_runs: int) -> None:
    """Exit unless a contender found all runs."""
    if measured["runs"] != n_runs:
        sys.exit(f"{name}: found {measured['runs']} of {n_runs} runs")


def print_rows(first: str, seconds: Mapping[str, float]) -> None:
    """Print rows of a Markdown table."""
    for name, taken in seconds.items():
        ratio = taken / seconds[FLOORS[name]]
        print(f"| {first} | {name} | {taken:.2f} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        measure(*sys.argv[2:])
    else:
        main()
