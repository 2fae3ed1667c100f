"""Kill processes while they load, and look at what they leave behind.

    python -m tests.prove.killing --kills 200

Processes load a local tree and one on an S3 server, with one index, and fetch all artifacts into
one cache. Each is killed (SIGKILL) at a random moment, or just before one of its calls that open,
rename, or remove a file. Between, some of what they read changes. Another process, which runs
meanwhile or afterwards, has to load exactly what is there, in time; and so must every file in the
cache be. The exit status is 1 if not.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import logging
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kedro_hydraflow import Run, iter_run_dirs
from tests.conftest import TrackingDir, write
from tests.servers import MissingServerError, Server, rclone_s3

N_RUNS = 24
"""The runs of each tree. Every other one goes on, so that its files may change."""

N_FILES = 6
"""The artifacts of each run, besides its configuration."""

SECONDS = 120.0
"""How long a load may take before it is said to hang."""

FILE_CALLS = frozenset(
    {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.utime"}
    | {"sqlite3.connect", "shutil.rmtree"}
)
"""Audit events before which a process may be killed."""


PACKAGES = ("filelock", "obstore.store", "s3fs")
"""What the processes need. They are forked after it is imported, and die young."""


class Fault(Exception):
    """A process that was killed has left something wrong behind, or another one hangs."""


@dataclass
class Content:
    """What is in a run, which changes."""

    number: int
    seed: int = 0
    files: dict[str, bytes] = field(default_factory=dict)

    @property
    def is_running(self) -> bool:
        return self.number % 2 == 1

    @property
    def run_id(self) -> str:
        return f"{self.number:032x}"

    @property
    def config(self) -> str:
        return f"number: {self.number}\nseed: {self.seed}\n"


class Trees:
    """A local tree and one in a bucket, with the same runs.

    Args:
        folder: The directory of the local one, of the index and of the cache.
        server: The server of the other.
        rng: What chooses.
    """

    def __init__(self, folder: Path, server: Server, rng: random.Random) -> None:
        self.local = folder / "mlruns"
        self.index = folder / "index"
        self.cache = folder / "cache"
        self.server = server
        self.url = f"{server.url}/mlruns"
        self.runs = [Content(number) for number in range(N_RUNS)]
        self._rng = rng
        directory = TrackingDir(self.local)
        experiment = directory.add_experiment("train")
        for run in self.runs:
            directory.add_run(
                experiment,
                run.run_id,
                run.config,
                {"loss": f"1 {run.number} 0\n"},
                status=1 if run.is_running else 3,
            )
        server.upload(self.local, "mlruns")
        for run in self.runs:
            for name in range(N_FILES):
                self._write_file(run, f"files/{name}.bin")

    def change(self) -> None:
        """Change the artifacts of some runs, and configurations of runs that go on."""
        for run in self._rng.sample(self.runs, N_RUNS // 2):
            for name in self._rng.sample(range(N_FILES), 3):
                self._write_file(run, f"files/{name}.bin")
            if run.is_running:
                run.seed = self._rng.randrange(10)  # of the same size
                path = f"1/{run.run_id}/artifacts/.hydra/config.yaml"
                write(self.local / path, run.config)
                self.server.write(f"mlruns/{path}", run.config.encode())

    def _write_file(self, run: Content, name: str) -> None:
        size = self._rng.choice([0, 10, 10, 50_000])
        run.files[name] = self._rng.randbytes(size)
        self.server.write(f"mlruns/1/{run.run_id}/artifacts/{name}", run.files[name])


# What the processes do ---------------------------------------------------------------------


def load(trees: Trees, engine: str) -> Iterator[tuple[str, Any, Any]]:
    """Load both trees and fetch all artifacts; yield what was found, and what should be."""
    options = {**trees.server.options, "engine": engine}
    for location, storage_options in ((trees.local, None), (trees.url, options)):
        dirs = iter_run_dirs(location, storage_options=storage_options)
        runs = Run.load(dirs, index=trees.index)
        yield "run IDs", runs.to_list("run_id"), [run.run_id for run in trees.runs]
        yield "seeds", runs.to_list("seed"), [run.seed for run in trees.runs]
        yield "metrics", runs.to_list("metrics.loss"), [run.number for run in trees.runs]
        statuses = ["RUNNING" if run.is_running else "FINISHED" for run in trees.runs]
        yield "statuses", runs.to_list("status"), statuses
    for run, content in zip(runs, trees.runs, strict=True):
        folder = run.fetch()
        paths = list(folder.rglob("*.bin"))
        found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
        yield f"artifacts of {content.run_id}", found, content.files


def work(trees: Trees, engine: str) -> None:
    for _ in load(trees, engine):
        pass


def check(trees: Trees, engine: str) -> None:
    """Load everything.

    Raises:
        Fault: If anything is not as it should be.
    """
    for what, found, expected in load(trees, engine):
        if found != expected:
            raise Fault(f"{what}: {shorten(found)}, expected {shorten(expected)}")
    expected_files = {content for run in trees.runs for content in run.files.values()}
    for path in trees.cache.glob("run-*/files/**/*.bin"):
        if path.read_bytes() not in expected_files:
            raise Fault(f"the copy {path} is none of the artifacts")
    aside = list(trees.cache.glob("run-*/written/*"))
    if aside:
        raise Fault(f"copies are taken for overwritten: {aside}")


def shorten(data: Any) -> str:
    text = repr(data)
    return text if len(text) < 500 else f"{text[:500]}…"


def die_at(call: int) -> None:
    """Let this process be killed before one of its calls that change files."""
    count = 0

    def watch(event: str, arguments: Any) -> None:
        nonlocal count
        if event in FILE_CALLS:
            count += 1
            if count == call:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


def count_calls(function: Callable[[], None]) -> int:
    """Return how many such calls a function makes in a process of its own."""
    reader, writer = os.pipe()
    process = os.fork()
    if process == 0:
        with _ending():
            count = 0

            def watch(event: str, arguments: Any) -> None:
                nonlocal count
                count += event in FILE_CALLS

            sys.addaudithook(watch)
            function()
            os.write(writer, str(count).encode())
    os.close(writer)
    with open(reader, "rb") as stream:
        text = stream.read()
    os.waitpid(process, 0)
    return int(text)


# Processes ---------------------------------------------------------------------------------


@contextlib.contextmanager
def _ending() -> Iterator[None]:
    """End this process, which was forked, with the block."""
    status = 1
    try:
        yield
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


class Child:
    """A process that was forked to call a function.

    Args:
        function: What it calls.
        errors: A file for what is raised.
    """

    def __init__(self, function: Callable[[], None], errors: Path) -> None:
        self._errors = errors
        self.process = os.fork()
        if self.process == 0:
            with errors.open("w") as stream, contextlib.redirect_stderr(stream), _ending():
                logging.disable(logging.CRITICAL)
                function()

    def kill(self) -> bool:
        """Kill it; return whether it was still running."""
        os.kill(self.process, signal.SIGKILL)
        return self.wait()

    def wait(self) -> bool:
        """Wait for its end; return whether it was killed.

        Raises:
            Fault: If it hangs, or has raised an error.
        """
        deadline = time.monotonic() + SECONDS
        while True:
            process, status = os.waitpid(self.process, os.WNOHANG)
            if process:
                break
            if time.monotonic() > deadline:
                os.kill(self.process, signal.SIGKILL)
                os.waitpid(self.process, 0)
                raise Fault(f"a load hangs, for {SECONDS:g} s now")
            time.sleep(0.005)
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) != 0:
            raise Fault(self._errors.read_text())
        return os.WIFSIGNALED(status)


# All of it ---------------------------------------------------------------------------------


def prove(folder: Path, n_kills: int, seed: int) -> Counter[str]:
    """Kill so many processes; return what was counted.

    Raises:
        Fault: If something wrong is left behind.
        MissingServerError: If there is no server.
    """
    for name in PACKAGES:
        importlib.import_module(name)
    rng = random.Random(seed)
    bucket = folder / "buckets"
    bucket.mkdir()
    counts: Counter[str] = Counter()
    os.environ["KEDRO_HYDRAFLOW_CACHE_DIR"] = str(folder / "cache")
    with rclone_s3(bucket) as server:
        trees = Trees(folder, server, rng)
        errors = folder / "errors"
        start = time.monotonic()
        n_calls = count_calls(lambda: work(trees, "fsspec"))
        seconds = time.monotonic() - start
        counts["calls that change files"] = n_calls
        while counts["killed"] < n_kills:
            trees.change()
            engine = rng.choice(["fsspec", "obstore"])
            try:
                is_killed = kill_one(trees, engine, rng, seconds, n_calls, errors)
            except Fault as exc:
                raise Fault(f"after {counts['killed']} kills, with {engine}: {exc}") from exc
            counts["killed" if is_killed else "had ended"] += 1
            if is_killed and counts["killed"] % 50 == 0:
                print(f"{counts['killed']} killed", flush=True)
            if counts["had ended"] > 20 + 3 * n_kills:
                raise Fault("the processes end before they can be killed")
    return counts


def kill_one(
    trees: Trees, engine: str, rng: random.Random, seconds: float, n_calls: int, errors: Path
) -> bool:
    """Kill a process that loads, check, and return whether it was still running."""
    other_engine = rng.choice(["fsspec", "obstore"])
    is_beside = rng.random() < 0.5
    # Later loads make fewer calls than the first one, which is counted.
    call = rng.randrange(1, n_calls // 2) if rng.random() < 0.5 else None

    def run() -> None:
        if call is not None:
            die_at(call)
        work(trees, engine)

    victim = Child(run, errors.with_suffix(".victim"))
    other = Child(lambda: check(trees, other_engine), errors) if is_beside else None
    if call is None:
        time.sleep(rng.uniform(0, seconds))
        is_killed = victim.kill()
    else:
        is_killed = victim.wait()
    if other is not None:
        other.wait()
    Child(lambda: check(trees, other_engine), errors).wait()
    return is_killed


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=200, help="how many processes are killed")
    parser.add_argument("--seed", type=int, help="of the changes and the moments, by default any")
    options = parser.parse_args()
    seed = random.randrange(10**6) if options.seed is None else options.seed
    folder = Path(tempfile.mkdtemp(prefix="killing-"))
    print(f"{options.kills} processes are killed, --seed {seed}", flush=True)
    try:
        counts = prove(folder, options.kills, seed)
    except Fault as exc:
        sys.exit(f"FAULT at seed {seed}; the trees are in {folder}\n{exc}")
    except MissingServerError as exc:
        sys.exit(str(exc))
    shutil.rmtree(folder)
    print(", ".join(f"{count:,} {name}" for name, count in counts.items()) + ": 0 faults")


if __name__ == "__main__":
    main()
