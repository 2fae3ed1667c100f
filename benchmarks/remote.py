"""Compare the time to read 2,000 runs from S3 at a latency: the bare reads and kedro-hydraflow.

    python benchmarks/remote.py --runs 2000 --latency 0.02 --repeat 3

SeaweedFS runs on this machine, behind a proxy that lets each request wait. Every contender
works on the same objects, in a new process of its own. The exit status is not 0 if their
results differ.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import io
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proxy import Proxy

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent / "tests"))  # the servers are those of the tests

from servers import REGION, Server, seaweedfs  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    import polars as pl

    Measured = dict[str, Any]

KEYS = ("run_id", "model.type", "training.learning_rate", "seed")
CONFIG = "artifacts/.hydra/config.yaml"
CONCURRENCY = 64
SAMPLE = 200
"""How many files are read by the contenders that would take a minute for all."""

BARE_S3FS = "bare reads, s3fs"
BARE_OBSTORE = "bare reads, obstore"
OURS_S3FS = "kedro-hydraflow, s3fs"
OURS_OBSTORE = "kedro-hydraflow, obstore"
INDEX_S3FS = "kedro-hydraflow, s3fs, shared index"
INDEX_OBSTORE = "kedro-hydraflow, obstore, shared index"
CAT = "fs.cat(list), s3fs as it is"
ONE_BY_ONE = "one by one, s3fs"
OMEGACONF = "one by one, s3fs, OmegaConf.load"


# One contender, in its own process ------------------------------------------------------
#
# Each gets the storage options and the keys of all configurations, and returns what it
# measured. The time starts before a client is made: connecting counts for all of them.


def measure_bare_s3fs(options: dict[str, Any], keys: Sequence[str]) -> Measured:
    """Get all keys with s3fs, tuned as well as it goes: no reader can be faster with it."""
    import aiobotocore.session  # noqa: F401 - s3fs imports it late
    import s3fs
    from fsspec.asyn import sync

    start = time.perf_counter()
    config_kwargs = {"max_pool_connections": CONCURRENCY}
    fs = s3fs.S3FileSystem(**options, max_concurrency=1, config_kwargs=config_kwargs)
    contents = sync(fs.loop, gather, fs._cat_file, keys)
    return {"seconds": time.perf_counter() - start, **digest(contents)}


def measure_bare_obstore(options: dict[str, Any], keys: Sequence[str]) -> Measured:
    """Get all keys with obstore."""
    import obstore

    start = time.perf_counter()
    store = make_store(keys[0].partition("/")[0], options)

    async def get(key: str) -> bytes:
        found = await obstore.get_async(store, key.partition("/")[2])
        return bytes(await found.bytes_async())

    contents = asyncio.run(gather(get, keys))
    return {"seconds": time.perf_counter() - start, **digest(contents)}


def measure_ours_s3fs(options: dict[str, Any], keys: Sequence[str]) -> Measured:
    """List, read and parse: from the URL to a collection."""
    import s3fs  # noqa: F401

    return measure_ours({**options, "engine": "fsspec"}, keys)


def measure_ours_obstore(options: dict[str, Any], keys: Sequence[str]) -> Measured:
    """List, read and parse: from the URL to a collection."""
    import obstore  # noqa: F401

    return measure_ours({**options, "engine": "obstore"}, keys)


def measure_index_s3fs(options: dict[str, Any], keys: Sequence[str]) -> Measured:
    """List, and read what was published: from the URL to a collection."""
    import s3fs  # noqa: F401

    return measure_ours({**options, "engine": "fsspec"}, keys, has_index=True)


def measure_index_obstore(options: dict[str, Any], keys: Sequence[str]) -> Measured:
    """List, and read what was published: from the URL to a collection."""
    import obstore  # noqa: F401

    return measure_ours({**options, "engine": "obstore"}, keys, has_index=True)


def measure_ours(options: dict[str, Any], keys: Sequence[str], has_index: bool = False) -> Measured:
    """Load the collection; the frame to compare does not count."""
    import polars as pl  # noqa: F401 - imported on first use otherwise

    import kedro_hydraflow
    from kedro_hydraflow import Run, iter_run_dirs

    url = "s3://" + keys[0].removesuffix(f"/{CONFIG}").rsplit("/", 2)[0]
    start = time.perf_counter()
    run_dirs = iter_run_dirs(url, storage_options=options)
    index = get_index_url(url) if has_index else False
    runs = Run.load(run_dirs, storage_options=options, index=index)
    seconds = time.perf_counter() - start
    frame = runs.to_frame(*KEYS)
    return {
        "seconds": seconds,
        "version": kedro_hydraflow.__version__,
        "frame": frame.write_json(),
        "runs": len(runs),
    }


def measure_cat(options: dict[str, Any], keys: Sequence[str]) -> Measured:
    """Get all keys in the one call that fsspec has for it."""
    import aiobotocore.session  # noqa: F401
    import s3fs

    start = time.perf_counter()
    found = s3fs.S3FileSystem(**options).cat(list(keys))
    return {"seconds": time.perf_counter() - start, **digest([found[key] for key in keys])}


def measure_one_by_one(options: dict[str, Any], keys: Sequence[str]) -> Measured:
    """Get a sample of the keys, one after the other."""
    return measure_sample(options, keys, lambda _: None)


def measure_omegaconf(options: dict[str, Any], keys: Sequence[str]) -> Measured:
    """Get and load a sample of the keys, one after the other: what HydraFlow does."""
    from omegaconf import OmegaConf

    return measure_sample(options, keys, lambda content: OmegaConf.load(io.BytesIO(content)))


def measure_sample(
    options: dict[str, Any], keys: Sequence[str], use: Callable[[bytes], object]
) -> Measured:
    """Read a sample of the keys and multiply its time."""
    import aiobotocore.session  # noqa: F401
    import s3fs

    sample = keys[:SAMPLE]
    fs = s3fs.S3FileSystem(**options)
    start = time.perf_counter()
    for key in sample:
        use(fs.cat_file(key))
    seconds = (time.perf_counter() - start) * len(keys) / len(sample)
    return {"seconds": seconds, "runs": len(sample), "sample": len(sample)}


CONTENDERS: dict[str, Callable[[dict[str, Any], Sequence[str]], Measured]] = {
    BARE_S3FS: measure_bare_s3fs,
    OURS_S3FS: measure_ours_s3fs,
    BARE_OBSTORE: measure_bare_obstore,
    OURS_OBSTORE: measure_ours_obstore,
    INDEX_S3FS: measure_index_s3fs,
    INDEX_OBSTORE: measure_index_obstore,
    CAT: measure_cat,
    ONE_BY_ONE: measure_one_by_one,
    OMEGACONF: measure_omegaconf,
}
FLOORS = dict.fromkeys((BARE_OBSTORE, OURS_OBSTORE, INDEX_OBSTORE), BARE_OBSTORE)
"""What a contender is compared with; those that are not here, with `BARE_S3FS`."""


async def gather(get: Callable[[str], Awaitable[bytes]], keys: Sequence[str]) -> list[bytes]:
    """Return what all keys hold, read `CONCURRENCY` at a time."""
    contents = [b""] * len(keys)
    waiting = iter(enumerate(keys))

    async def work() -> None:
        for i, key in waiting:
            contents[i] = await get(key)

    await asyncio.gather(*(work() for _ in range(CONCURRENCY)))
    return contents


def digest(contents: Sequence[bytes]) -> Measured:
    """Return what tells whether all was read."""
    return {"runs": len(contents), "digest": hashlib.sha256(b"".join(contents)).hexdigest()}


def get_index_url(tracking_dir: str) -> str:
    """Return the URL of the index that is shared."""
    return f"{tracking_dir}/.kedro-hydraflow"


def publish(server: Server) -> None:
    """Publish all runs, without the proxy."""
    from kedro_hydraflow import publish_index

    url = f"{server.url}/mlruns"
    publish_index(url, index=get_index_url(url), storage_options=server.options)


def make_store(bucket: str, options: Mapping[str, Any]) -> Any:
    """Return the store of obstore for the options of s3fs."""
    from obstore.store import S3Store

    return S3Store(
        bucket,
        endpoint=options["client_kwargs"]["endpoint_url"],
        access_key_id=options["key"],
        secret_access_key=options["secret"],
        region=REGION,
        client_options={"allow_http": True},
    )


# All of them ----------------------------------------------------------------------------


def upload(server: Server, files: Mapping[str, bytes | Path]) -> None:
    """Write files to an S3 server's bucket, `CONCURRENCY` at a time."""
    import obstore

    store = make_store(server.url.removeprefix("s3://"), server.options)

    async def put_all() -> None:
        waiting = iter(files.items())

        async def work() -> None:
            for name, content in waiting:
                data = content.read_bytes() if isinstance(content, Path) else content
                await obstore.put_async(store, name, data, use_multipart=False)

        await asyncio.gather(*(work() for _ in range(CONCURRENCY)))

    asyncio.run(put_all())


def run_contender(name: str, options: dict[str, Any], keys_file: Path) -> Measured:
    """Return what a contender measured in a new process."""
    command = [sys.executable, __file__, "--contender", name, json.dumps(options), str(keys_file)]
    process = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if process.returncode != 0:
        sys.exit(f"{name} failed with exit status {process.returncode}")
    measured: Measured = json.loads(process.stdout.splitlines()[-1])
    return measured


def compare(
    root: Path, latency: float, repeat: int, contenders: Sequence[str], folder: Path
) -> dict[str, list[Measured]]:
    """Return what each contender measured, with the requests that the proxy counted."""
    results: dict[str, list[Measured]] = {name: [] for name in contenders}
    with seaweedfs() as server:
        print("uploading ...", file=sys.stderr)
        files = sorted(path for path in root.rglob("*") if path.is_file())
        upload(server, {f"mlruns/{p.relative_to(root).as_posix()}": p for p in files})
        if not {INDEX_S3FS, INDEX_OBSTORE}.isdisjoint(contenders):
            print("publishing ...", file=sys.stderr)
            publish(server)
        bucket = server.url.removeprefix("s3://")
        keys = [f"{bucket}/mlruns/{path}" for path in get_config_paths(root)]
        keys_file = folder / "keys.json"
        keys_file.write_text(json.dumps(keys))
        host, _, port = server.endpoint.rpartition(":")
        with Proxy(host, int(port), latency=latency) as proxy:
            client_kwargs = {**server.options["client_kwargs"], "endpoint_url": proxy.url}
            options = {**server.options, "client_kwargs": client_kwargs}
            for turn in range(repeat):  # in turns: a disturbance does not hit one of them only
                for name in contenders:
                    print(f"turn {turn + 1}: {name}", file=sys.stderr)
                    proxy.reset()
                    measured = run_contender(name, options, keys_file)
                    measured["requests"] = proxy.counts()
                    measured["in_flight"] = proxy.max_in_flight()
                    agents = {request.agent.partition("/")[0] for request in proxy.requests()}
                    measured["agents"] = sorted(agents)
                    results[name].append(measured)
    return results


def get_config_paths(root: Path) -> list[str]:
    """Return the paths of all configurations below the tracking directory, sorted."""
    return sorted(path.relative_to(root).as_posix() for path in root.glob(f"*/*/{CONFIG}"))


def find_differences(results: dict[str, list[Measured]], root: Path) -> list[str]:
    """Return what is wrong in the contenders' results and clients, as text."""
    expected_digest = digest([(root / path).read_bytes() for path in get_config_paths(root)])
    expected_frame = load_locally(root)
    differences = []
    for name, repeated in results.items():
        agent = "object_store" if FLOORS.get(name) == BARE_OBSTORE else "aiobotocore"
        for measured in repeated:
            if measured["agents"] != [agent]:
                differences.append(f"{name} asked with {measured['agents']}, expected {agent}")
            if "frame" in measured:
                if measured["frame"] != expected_frame.write_json():
                    differences.append(f"{name} has another frame than the files themselves")
            elif "sample" not in measured:
                found = {key: measured[key] for key in expected_digest}
                if found != expected_digest:
                    differences.append(f"{name} read {found}, expected {expected_digest}")
    return differences


def load_locally(root: Path) -> pl.DataFrame:
    """Return the frame of the runs that were uploaded."""
    from kedro_hydraflow import Run, iter_run_dirs

    return Run.load(iter_run_dirs(root)).to_frame(*KEYS)


def print_table(results: dict[str, list[Measured]]) -> None:
    """Print the medians as a Markdown table."""

    def median(name: str) -> float:
        return statistics.median(measured["seconds"] for measured in results[name])

    print("| contender | seconds | low - high | ratio | requests | in flight |")
    print("|---|--:|--:|--:|--:|--:|")
    for name, repeated in results.items():
        seconds = [measured["seconds"] for measured in repeated]
        floor = FLOORS.get(name, BARE_S3FS)
        ratio = f"{median(name) / median(floor):.2f}" if floor in results else ""
        requests = ", ".join(f"{n:,} {kind}" for kind, n in repeated[-1]["requests"].items())
        cells = (
            f"{name} *" if "sample" in repeated[0] else name,
            f"{median(name):.2f}",
            f"{min(seconds):.2f} - {max(seconds):.2f}",
            ratio,
            requests,
            str(max(measured["in_flight"] for measured in repeated)),
        )
        print(f"| {' | '.join(cells)} |")
    if any("sample" in measured for measured, *_ in results.values()):
        print(f"\n\\* measured with {SAMPLE} of the files, and multiplied")
    print("\nratio: to the bare reads with the same client\n")


def main() -> None:
    """Run the command line."""
    from generate import generate

    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--kind", default="sweep", help="as for generate.py")
    parser.add_argument("--latency", type=float, default=0.02, help="seconds for each request")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument(
        "--contenders", choices=CONTENDERS, nargs="+", default=list(CONTENDERS), metavar="NAME"
    )
    options = parser.parse_args()

    root = HERE / "data" / f"{options.kind}-{options.runs}-in-2"
    generate(root, runs=options.runs, kind=options.kind, experiments=2)
    with tempfile.TemporaryDirectory() as folder:
        results = compare(root, options.latency, options.repeat, options.contenders, Path(folder))
    load = os.getloadavg()[0]
    print(f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, load {load:.1f}  ")
    print(f"{get_versions()}\n")
    print(f"{options.runs:,} runs, {options.kind}, {options.latency * 1000:g} ms\n")
    print_table(results)
    differences = find_differences(results, root)
    if differences:
        sys.exit("\n".join(["The results differ:", *differences]))


def get_versions() -> str:
    """Return what was compared, as text."""
    from importlib.metadata import version

    names = ("kedro-hydraflow", "s3fs", "aiobotocore", "obstore", "fsspec")
    packages = ", ".join(f"{name} {version(name)}" for name in names)
    return f"{packages}, Python {platform.python_version()}"


def contend(name: str, options: str, keys_file: str) -> None:
    """Print what a contender measured as JSON."""
    keys = json.loads(Path(keys_file).read_text())
    print(json.dumps(CONTENDERS[name](json.loads(options), keys)))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--contender"]:
        contend(*sys.argv[2:])
    else:
        main()
