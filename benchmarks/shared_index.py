"""Time a load of many runs from S3 with an index that was published, beside the bare listing.

    python benchmarks/shared_index.py --runs 100000 --latency 0.02 --repeat 3

All runs are in one experiment, whose listing takes a request for each 1,000, one after the other.
The bucket has one small object for each run, and an index as `publish_index` writes it: nothing
else is read. SeaweedFS runs on this machine, behind a proxy that lets each request wait.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import random
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from generate import START_MS, make_config
from proxy import Proxy
from remote import KEYS, make_store, upload

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent / "tests"))  # the servers are those of the tests

from servers import Server, seaweedfs  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

EXPERIMENT = "100000000000000000"
INDEX = "mlruns/.kedro-hydraflow"

LISTING = "bare listing, obstore"


def make_run_id(number: int) -> str:
    """Return an ID that, like MLflow's, cannot be compressed."""
    return hashlib.md5(str(number).encode()).hexdigest()


def fill(server: Server, n_runs: int) -> int:
    """Write the objects and the index; return the size of the index in bytes."""
    from kedro_hydraflow.config import ConfigReader
    from kedro_hydraflow.index_part import Row, encode
    from kedro_hydraflow.shared_index import SharedIndex
    from kedro_hydraflow.storage import locate

    meta = f"experiment_id: '{EXPERIMENT}'\nlifecycle_stage: active\nname: train\n"
    files = {
        f"mlruns/{EXPERIMENT}/{make_run_id(number)}/meta.yaml": b"{}" for number in range(n_runs)
    }
    upload(server, {**files, f"mlruns/{EXPERIMENT}/meta.yaml": meta.encode()})
    reader, rng = ConfigReader(), random.Random(0)
    rows = [Row("..", EXPERIMENT, {"experiment": {"experiment_id": EXPERIMENT, "name": "train"}})]
    for number in range(n_runs):
        config = reader.read(make_config("sweep", number, rng)[1].encode())
        start = START_MS + 60_000 * number
        facts = {"status": "3", "start_time": f"{start}", "lifecycle_stage": "active"}
        kinds = {"config": config, "facts": facts, "metrics": {"accuracy": rng.random()}}
        rows.append(Row(f"../{EXPERIMENT}", make_run_id(number), kinds))
    content = encode(rows)
    SharedIndex(locate(f"{server.url}/{INDEX}", server.options)).write_part(content, time.time_ns())
    return len(content)


def list_runs(url: str, options: dict[str, Any]) -> int:
    """Return the number of runs in a bare listing."""
    from obstore import list_with_delimiter

    store = make_store(url.removeprefix("s3://").partition("/")[0], options)
    return len(list_with_delimiter(store, f"mlruns/{EXPERIMENT}")["common_prefixes"])


def load(url: str, options: dict[str, Any]) -> int:
    """Return the number of runs in a frame of four keys."""
    from kedro_hydraflow import Run, iter_run_dirs

    dirs = iter_run_dirs(f"{url}/mlruns", storage_options=options)
    return Run.load(dirs, index=f"{url}/{INDEX}").to_frame(*KEYS).height


def main() -> None:
    """Run the command line."""
    import polars  # noqa: F401 - imported on first use otherwise

    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--latency", type=float, default=0.02, help="seconds for each request")
    parser.add_argument("--repeat", type=int, default=3)
    given = parser.parse_args()

    with seaweedfs() as server:
        print("uploading ...", file=sys.stderr)
        size = fill(server, given.runs)
        host, _, port = server.endpoint.rpartition(":")
        with Proxy(host, int(port), latency=given.latency) as proxy:
            client_kwargs = {**server.options["client_kwargs"], "endpoint_url": proxy.url}
            options = {**server.options, "client_kwargs": client_kwargs}
            contenders: dict[str, Callable[[], int]] = {
                LISTING: lambda: list_runs(server.url, options),
                "to a frame, obstore": lambda: load(server.url, {**options, "engine": "obstore"}),
                "to a frame, s3fs": lambda: load(server.url, {**options, "engine": "fsspec"}),
            }
            seconds: dict[str, list[float]] = {name: [] for name in contenders}
            requests = {}
            for _ in range(given.repeat):  # in turns
                for name, measure in contenders.items():
                    proxy.reset()
                    start = time.perf_counter()
                    n_runs = measure()
                    seconds[name].append(time.perf_counter() - start)
                    requests[name] = proxy.counts()
                    if n_runs != given.runs:
                        sys.exit(f"{name} found {n_runs} of {given.runs} runs")
    print(f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, ", end="")
    print(f"load {os.getloadavg()[0]:.1f}; the index has {size / given.runs:.0f} bytes a run\n")
    print(f"{given.runs:,} runs, {given.latency * 1000:g} ms\n")
    print("| | seconds | low - high | ratio | requests |\n|---|--:|--:|--:|--:|")
    floor = statistics.median(seconds[LISTING])
    for name, times in seconds.items():
        median = statistics.median(times)
        counts = ", ".join(f"{n} {kind}" for kind, n in requests[name].items())
        low_high = f"{min(times):.2f} - {max(times):.2f}"
        print(f"| {name} | {median:.2f} | {low_high} | {median / floor:.2f} | {counts} |")


if __name__ == "__main__":
    main()
