"""Time a load and a function of runs in one process, and with four workers of Ray on this machine.

    python benchmarks/cluster.py

The function takes 50 ms a run, as an `impl` that evaluates an artifact does. It waits instead of
computing, so that the workers have no need of cores of their own. The exit status is not 0 if the
results differ.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

from compare import HERE
from generate import generate

if TYPE_CHECKING:
    from kedro_hydraflow import Run

MILLISECONDS = 50
CALLED = (40, 400)
N_WORKERS = 4


def evaluate(run: Run) -> int:
    """Return the seed of a run, after some time."""
    time.sleep(MILLISECONDS / 1000)
    seed: int = run.get("seed")
    return seed


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()

    import joblib
    import ray
    from ray.util.joblib import register_ray

    from kedro_hydraflow import Run, iter_run_dirs

    root = HERE / "data" / f"sweep-{options.runs}"
    generate(root, runs=options.runs, kind="sweep")
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)  # for the workers
    ray.init(
        num_cpus=N_WORKERS,
        _node_ip_address="127.0.0.1",
        include_dashboard=False,
        log_to_driver=False,
    )
    register_ray()

    def load(n_jobs: int) -> list[Any]:
        return Run.load(iter_run_dirs(root), n_jobs=n_jobs, index=False).to_list("seed")

    runs = Run.load(iter_run_dirs(root), index=False)

    def call(number: int, n_jobs: int) -> list[Any]:
        return runs[:number].pmap(evaluate, n_jobs=n_jobs)

    works = {f"Run.load, {options.runs:,} runs": load}
    works |= {f"pmap, {n} runs of {MILLISECONDS} ms": partial(call, n) for n in CALLED}
    load_ = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    print(f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores{load_}\n")
    print("| work | one process, s | Ray, s | ratio |\n|---|--:|--:|--:|")
    for name, work in works.items():
        seconds: dict[str, list[float]] = {"": [], "ray": []}
        results = []
        for i in range(options.repeat + 1):
            for backend, times in seconds.items():
                chosen = joblib.parallel_config(backend=backend) if backend else nullcontext()
                start = time.perf_counter()
                with chosen:
                    results.append(work(-1 if backend else 0))
                if i > 0:  # the workers have started
                    times.append(time.perf_counter() - start)
        if any(result != results[0] for result in results):
            sys.exit(f"the results of {name} differ")
        one, cluster = (statistics.median(times) for times in seconds.values())
        print(f"| {name} | {one:.2f} | {cluster:.2f} | {cluster / one:.2f} |", flush=True)


if __name__ == "__main__":
    main()
