"""Compare the time to a frame of runs: the bare files, kedro-hydraflow, HydraFlow and MLflow.

    python benchmarks/compare.py --runs 10000 --kind sweep distinct

Every contender works on the same files, in a new process of its own. The exit status is
not 0 if their results differ.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import polars as pl

    Measured = dict[str, Any]

HERE = Path(__file__).parent
KEYS = ("run_id", "model.type", "training.learning_rate", "seed")

FLOOR = "list and read, no parsing"
TREE = "and parse into trees, rapidyaml"
DICT = "and parse into dicts, yaml-rs"
FLOORS = (FLOOR, TREE, DICT)
"""They make no frame. The fastest YAML libraries disagree with OmegaConf on what is a number."""

OURS = "kedro-hydraflow"
WRITING = "kedro-hydraflow, writing the index"
WARM = "kedro-hydraflow, index warm, new process"
PARALLEL = "kedro-hydraflow, n_jobs=2"
HYDRAFLOW = "hydraflow"
MLFLOW = "mlflow.search_runs"
PEERS = (HYDRAFLOW, MLFLOW)
"""They have an interpreter of their own, and take too long to repeat."""

MISSING_PACKAGE = 3
"""The exit status of a contender that is not installed."""

HOW_TO_INSTALL = """\
There is no {python}, so {peers} are left out. To have them:

    python3.13 -m venv .venv-hydraflow
    .venv-hydraflow/bin/pip install hydraflow==0.20.0
"""


# One contender, in its own process ------------------------------------------------------
#
# Each returns what it measured, and its frame. Nothing is imported above that HydraFlow's
# interpreter does not have.


def measure_floor(
    root: str, parse: Callable[[bytes], object] = lambda content: content
) -> tuple[Measured, None]:
    """List the directories and read the bytes of all configurations: no reader can be faster."""
    measured: Measured = {"imports": 0.0, "version": ""}
    contents = []
    with measuring(measured):
        for experiment in os.scandir(root):
            if experiment.name == "0" or not experiment.is_dir():
                continue
            for run in os.scandir(experiment.path):
                if run.is_dir():
                    path = f"{run.path}/artifacts/.hydra/config.yaml"
                    with open(path, "rb", buffering=0) as file:
                        contents.append(parse(file.read()))
    return measured | {"runs": len(contents)}, None


def measure_rapidyaml(root: str) -> tuple[Measured, None]:
    """Parse with the fastest library, which leaves trees in C++: none of their text is decoded."""
    import ryml

    return measure_floor(root, ryml.parse_in_arena)


def measure_yaml_rs(root: str) -> tuple[Measured, None]:
    """Parse with the fastest library that gives dictionaries; no two runs share any."""
    import yaml_rs

    return measure_floor(root, lambda content: yaml_rs.loads(content.decode()))


def measure_ours(
    root: str, n_jobs: int = 0, index: bool | str = False
) -> tuple[Measured, pl.DataFrame]:
    """Make the frame, then copy the collection as Kedro's MemoryDataset and runners do."""
    import copy
    import gc
    import pickle

    measured: Measured = {}
    with timed(measured, "imports"):
        import polars as pl  # imported on first use otherwise; HydraFlow imports it at once

        import kedro_hydraflow
        from kedro_hydraflow import Run, iter_run_dirs
    measured["version"] = f"{kedro_hydraflow.__version__}, polars {pl.__version__}"
    with measuring(measured):
        runs = Run.load(iter_run_dirs(root), n_jobs=n_jobs, index=index)
        frame = runs.to_frame(*KEYS)
    gc.collect()  # or the first copy would be timed with the garbage of the load
    with timed(measured, "deepcopy"):
        copy.deepcopy(runs)
    with timed(measured, "dumps"):
        pickled = pickle.dumps(runs)
    with timed(measured, "loads"):
        pickle.loads(pickled)
    return measured | {"runs": len(runs), "pickled": len(pickled)}, frame


def measure_writing(root: str) -> tuple[Measured, pl.DataFrame]:
    """Make the frame, and write an index for the next load."""
    with tempfile.TemporaryDirectory() as index:
        return measure_ours(root, index=index)


def measure_warm(root: str) -> tuple[Measured, pl.DataFrame]:
    """Make the frame from the index that another process has filled."""
    with tempfile.TemporaryDirectory() as index:
        fill = (
            "import sys; from kedro_hydraflow import Run, iter_run_dirs; "
            "Run.load(iter_run_dirs(sys.argv[1]), index=sys.argv[2])"
        )
        subprocess.run([sys.executable, "-c", fill, root, index], check=True)
        return measure_ours(root, index=index)


def measure_parallel(root: str) -> tuple[Measured, pl.DataFrame]:
    """Make the frame with two workers; their start counts, their CPU time and memory do not."""
    return measure_ours(root, n_jobs=2)


def measure_hydraflow(root: str) -> tuple[Measured, pl.DataFrame]:
    """Make the frame with the same two lines of code."""
    from importlib.metadata import version

    measured: Measured = {}
    with timed(measured, "imports"):
        from hydraflow import Run, iter_run_dirs
    measured["version"] = f"{version('hydraflow')}, omegaconf {version('omegaconf')}"
    with measuring(measured):
        runs = Run.load(iter_run_dirs(root))
        frame = runs.to_frame(*KEYS)
    return measured | {"runs": len(runs)}, frame


def measure_mlflow(root: str) -> tuple[Measured, pl.DataFrame]:
    """Make MLflow's frame: it has no configurations, only the params that were logged."""
    measured: Measured = {}
    with timed(measured, "imports"):
        import mlflow
        import polars as pl
    measured["version"] = mlflow.__version__
    mlflow.set_tracking_uri(Path(root).as_uri())
    with measuring(measured):
        found = mlflow.search_runs(search_all_experiments=True)
    frame = pl.DataFrame(
        {"run_id": found["run_id"].tolist(), "model.type": found["params.model.type"].tolist()}
    )
    return measured | {"runs": len(found)}, frame


CONTENDERS: dict[str, Callable[[str], tuple[Measured, pl.DataFrame | None]]] = {
    FLOOR: measure_floor,
    TREE: measure_rapidyaml,
    DICT: measure_yaml_rs,
    OURS: measure_ours,
    WRITING: measure_writing,
    WARM: measure_warm,
    PARALLEL: measure_parallel,
    HYDRAFLOW: measure_hydraflow,
    MLFLOW: measure_mlflow,
}


@contextmanager
def timed(measured: Measured, name: str) -> Iterator[None]:
    """Put the seconds that the block takes into ``measured``."""
    start = time.perf_counter()
    yield
    measured[name] = time.perf_counter() - start


@contextmanager
def measuring(measured: Measured) -> Iterator[None]:
    """Put the block's time, the peak memory, and its growth in the block into ``measured``."""
    before, cpu_before = peak_memory(), time.process_time()
    with timed(measured, "seconds"):
        yield
    measured["cpu"] = time.process_time() - cpu_before
    measured["peak"] = peak_memory()
    measured["growth"] = measured["peak"] - before


def peak_memory() -> float:
    """Return the most memory that this process has had so far, in MB; NaN on Windows."""
    # Linux counts the memory of the process that started this one into ru_maxrss.
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 2**10
    try:
        import resource
    except ImportError:
        return float("nan")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


# All of them ----------------------------------------------------------------------------


def run_contender(name: str, python: Path, root: Path, frame: Path) -> Measured | None:
    """Return what a contender measured in a new process, None if it is not installed."""
    environment = dict(os.environ)
    if name in PEERS:
        environment["MLFLOW_ALLOW_FILE_STORE"] = "true"  # from 3.13 on it refuses them otherwise
        environment["MLFLOW_DISABLE_TELEMETRY"] = "true"
        environment.pop("PYTHONPATH", None)  # meant for the other interpreter
    command = [str(python), __file__, "--contender", name, str(root), str(frame)]
    process = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)
    if process.returncode == MISSING_PACKAGE:
        return None
    if process.returncode != 0:
        sys.exit(f"{name} failed with exit status {process.returncode}: {' '.join(command)}")
    return json.loads(process.stdout.splitlines()[-1])


def compare(root: Path, peer: Path | None, repeat: int, frames: Path) -> dict[str, list[Measured]]:
    """Return what each contender measured, and leave its frame in a file of its name."""
    results: dict[str, list[Measured]] = {}
    here = Path(sys.executable)
    run_contender(FLOOR, here, root, frames / FLOOR)  # from now on the files are cached
    for turn in range(repeat):  # in turns, so that a disturbance does not hit one contender only
        for name in CONTENDERS:
            python = peer if name in PEERS else here
            if python is None or (name in PEERS and turn > 0):
                continue
            measured = run_contender(name, python, root, frames / name)
            if measured is None:
                print(f"{name} is left out: it is not installed for {python}\n")
            else:
                results.setdefault(name, []).append(measured)
    return results


def find_differences(results: dict[str, list[Measured]], root: Path, frames: Path) -> list[str]:
    """Return what is wrong in the contenders' results, as text."""
    import polars as pl
    from omegaconf import OmegaConf

    ours = pl.read_parquet(frames / OURS).sort("run_id")
    differences = []
    for name, (measured, *_) in results.items():
        if measured["runs"] != len(ours):
            differences.append(f"{name} has {measured['runs']} runs, {OURS} {len(ours)}")
        if name not in FLOORS:
            frame = pl.read_parquet(frames / name).sort("run_id")
            same = ours.select(frame.columns)
            if frame.schema != same.schema or not frame.equals(same):
                differences.append(f"{name} has another frame than {OURS}")
    # A sample against OmegaConf itself counts where HydraFlow is not installed.
    for row in ours.gather_every(max(1, len(ours) // 50)).iter_rows(named=True):
        (path,) = root.glob(f"*/{row['run_id']}/artifacts/.hydra/config.yaml")
        config = OmegaConf.load(path)
        expected = {"run_id": row["run_id"]} | {k: OmegaConf.select(config, k) for k in KEYS[1:]}
        if row != expected:
            differences.append(f"{OURS} has {row}, OmegaConf {expected}")
    return differences


def print_table(results: dict[str, list[Measured]]) -> None:
    """Print the medians as a Markdown table."""

    def median(name: str, key: str) -> float:
        return statistics.median(measured[key] for measured in results[name])

    print("| contender | seconds | low - high | ratio | CPU, s | peak MB | KB a run | imports, s |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|")
    for name, repeated in results.items():
        seconds = [measured["seconds"] for measured in repeated]
        cells = (
            name,
            f"{median(name, 'seconds'):.2f}",
            f"{min(seconds):.2f} - {max(seconds):.2f}",
            f"{median(name, 'seconds') / median(OURS, 'seconds'):.2f}",
            f"{median(name, 'cpu'):.2f}",
            f"{median(name, 'peak'):.0f}",
            f"{median(name, 'growth') * 1024 / repeated[0]['runs']:.1f}",
            f"{median(name, 'imports'):.2f}",
        )
        print(f"| {' | '.join(cells)} |")
    copies = (
        f"{name} {median(OURS, name) * 1000:.0f} ms" for name in ("deepcopy", "dumps", "loads")
    )
    size = results[OURS][0]["pickled"] / results[OURS][0]["runs"] / 1024
    print(f"\nThe loaded collection: {', '.join(copies)}; {size:.2f} KB a run pickled\n")


def main() -> None:
    """Run the command line."""
    from generate import KINDS, generate

    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--kind", choices=KINDS, nargs="+", default=KINDS)
    parser.add_argument("--repeat", type=int, default=3, help="hydraflow and mlflow run once")
    parser.add_argument(
        "--hydraflow-python",
        type=Path,
        default=HERE.parent / ".venv-hydraflow/bin/python",
        help="an interpreter with hydraflow 0.20.0, by default that of .venv-hydraflow",
    )
    options = parser.parse_args()

    peer = options.hydraflow_python
    if shutil.which(peer) is None:
        print(HOW_TO_INSTALL.format(python=peer, peers=" and ".join(PEERS)))
        peer = None
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    print(f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores{load}", flush=True)
    differences = []
    for kind in options.kind:
        root = HERE / "data" / f"{kind}-{options.runs}"
        generate(root, runs=options.runs, kind=kind)
        with tempfile.TemporaryDirectory() as frames:
            results = compare(root, peer, options.repeat, Path(frames))
            differences += find_differences(results, root, Path(frames))
        if kind == options.kind[0]:
            for name in (OURS, *PEERS):
                if name in results:
                    measured = results[name][0]
                    print(f"{name} {measured['version']}, Python {measured['python']}")
        print(f"\n{options.runs:,} runs, {kind}\n")
        print_table(results)
    if differences:
        sys.exit("\n".join(["The results differ:", *differences]))


def contend(name: str, root: str, frame_path: str) -> None:
    """Print what a contender measured as JSON, and write its frame."""
    try:
        measured, frame = CONTENDERS[name](root)
    except ModuleNotFoundError as exc:
        print(exc, file=sys.stderr)
        sys.exit(MISSING_PACKAGE)
    if frame is not None:
        frame.write_parquet(frame_path)
    print(json.dumps(measured | {"python": platform.python_version()}))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--contender"]:
        contend(*sys.argv[2:])
    else:
        main()
