"""Load while MLflow writes, and compare each load with what MLflow had written by then.

    python -m tests.prove.writing --seconds 120

One process of MLflow writes to a file store, another one to an SQLite database. Two readers load
from both, with one index. Each load has to give the final values of every run that finished
before, and of the others values that were true at some time, or an error of this package. The exit
status is 1 if one did not.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import multiprocessing
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from kedro_hydraflow import Run, RunCollection, iter_run_dirs, iter_runs
from kedro_hydraflow.errors import KedroHydraflowError, RunLoadError
from tests.conftest import ROOT
from tests.prove.plan import RESULTS_FILE, Plan
from tests.servers import MissingServerError, find_hydraflow

N_READERS = 2

_SECONDS_TO_START = 180
"""MLflow imports for seconds of a whole core."""

TORN: set[Any] = {""}
"""What MLflow leaves for a moment where it writes a text: an empty file."""


# The writers -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Site:
    """A store that MLflow writes to."""

    name: str
    folder: Path

    @property
    def location(self) -> Path:
        """What the readers give."""
        return self.folder / ("mlruns" if self.name == "file store" else "mlflow.db")

    @property
    def uri(self) -> str:
        """What MLflow is given."""
        is_files = self.name == "file store"
        return self.location.as_uri() if is_files else f"sqlite:///{self.location}"

    @property
    def journal(self) -> Path:
        return self.folder / "journal"

    @property
    def stop(self) -> Path:
        return self.folder / "stop"


@dataclass
class Journal:
    """What MLflow has done until now."""

    numbers: dict[str, int] = field(default_factory=dict)
    finished: set[str] = field(default_factory=set)
    deleting: set[str] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)
    has_ended: bool = False


def read_journal(site: Site) -> Journal:
    journal = Journal()
    if not site.journal.exists():
        return journal
    for line in site.journal.read_text().splitlines(keepends=True):
        if not line.endswith("\n"):
            break
        event = json.loads(line)
        run_id = event["run_id"]
        if event["event"] == "created":
            journal.numbers[run_id] = event["number"]
        elif event["event"] == "end":
            journal.has_ended = True
        else:
            getattr(journal, event["event"]).add(run_id)
    return journal


def start_writer(site: Site) -> subprocess.Popen[bytes]:
    site.folder.mkdir()
    arguments = [site.uri, str(site.journal), str(site.stop)]
    environment = {
        "PYTHONPATH": str(ROOT),
        "MLFLOW_ALLOW_FILE_STORE": "true",
        "DO_NOT_TRACK": "1",
    }
    with (site.folder / "log").open("wb") as log:
        return subprocess.Popen(
            [find_hydraflow(), "-m", "tests.prove.mlflow_writer", *arguments],
            cwd=site.folder,
            stdout=log,
            stderr=log,
            env={**os.environ, **environment},
        )


# One load ----------------------------------------------------------------------------------


class Fault(Exception):
    """A load gave something wrong."""


class Reader:
    """Loads and compares, again and again."""

    def __init__(self, sites: Sequence[Site], index: Path, seed: int) -> None:
        self._sites = sites
        self._index = index
        self._random = random.Random(seed)
        self.counts: Counter[str] = Counter()

    def load_once(self, site: Site | None = None) -> None:
        """Load one of the stores.

        Raises:
            Fault: If the load gives something wrong.
        """
        site = site or self._random.choice(self._sites)
        on_error = self._random.choice(["raise", "warn"])
        how = self._random.choice([load_all, load_batches, load_given])
        index = self._random.choice([self._index, self._index, False])
        before = read_journal(site)
        try:
            runs = how(site.location, on_error=on_error, index=index)
        except RunLoadError as exc:
            self._check_failures(site, before, exc)
            return
        except KedroHydraflowError as exc:
            if before.numbers:
                raise Fault(f"{site.name}: {type(exc).__name__}: {exc}") from exc
            return  # there is nothing yet
        found = self._read(runs)
        after = self._read_journal_of(site, runs)
        self.counts["loads"] += 1
        self._check_set(site, before, after, runs)
        for run, values in zip(runs, found, strict=True):
            self._check_run(site, before, after, run.info.run_id, values)

    def _check_failures(self, site: Site, before: Journal, exc: RunLoadError) -> None:
        self.counts["loads with an error"] += 1
        for failure in exc.failures:
            is_of = [i for i in before.finished - before.deleting if i in failure.path]
            if is_of:
                deleting = read_journal(site).deleting
                if not deleting.issuperset(is_of):
                    raise Fault(f"{site.name}: a finished run cannot be read: {failure}") from exc

    def _read(self, runs: RunCollection[Any]) -> list[dict[str, Any]]:
        """Return what can be read of each run, or the errors; columns first or last."""
        is_column_first = self._random.random() < 0.5
        columns = self._read_columns(runs) if is_column_first else {}
        found = [read_run(run) for run in runs]
        columns = columns or self._read_columns(runs)
        for i, values in enumerate(found):
            values.update({name: column[i] for name, column in columns.items()})
        return found

    def _read_columns(self, runs: RunCollection[Any]) -> dict[str, list[Any]]:
        columns = {}
        for key in ("metrics.loss", "params.number", "tags.stage", "status", "results.number"):
            with contextlib.suppress(KedroHydraflowError):
                columns[f"column {key}"] = runs.to_list(key, default=None)
        return columns

    def _read_journal_of(self, site: Site, runs: RunCollection[Any]) -> Journal:
        """Return the journal, which has all of the runs."""
        deadline = time.monotonic() + 60
        while True:
            journal = read_journal(site)
            unknown = {run.info.run_id for run in runs} - journal.numbers.keys()
            if not unknown:
                return journal
            if time.monotonic() > deadline:
                raise Fault(f"{site.name}: runs that MLflow has not written: {unknown}")
            time.sleep(0.01)

    def _check_set(
        self, site: Site, before: Journal, after: Journal, runs: RunCollection[Any]
    ) -> None:
        found = [run.info.run_id for run in runs]
        if len(set(found)) < len(found):
            raise Fault(f"{site.name}: a run twice: {found}")
        lost = before.finished - after.deleting - set(found)
        if lost:
            raise Fault(f"{site.name}: lost: {lost}")
        back = before.deleted & set(found)
        if back:
            raise Fault(f"{site.name}: they were deleted: {back}")
        keys = [(Plan(after.numbers[run_id]).experiment, run_id) for run_id in found]
        if keys != sorted(keys):
            raise Fault(f"{site.name}: the order is {keys}")

    def _check_run(
        self, site: Site, before: Journal, after: Journal, run_id: str, values: dict[str, Any]
    ) -> None:
        plan = Plan(after.numbers[run_id])
        is_final = run_id in before.finished and run_id not in after.deleting
        self.counts["finished runs" if is_final else "other runs"] += 1
        for name, value in values.items():
            if isinstance(value, Exception):
                self.counts["errors"] += 1
                is_right = not is_final
            else:
                is_right = IS_FINAL[name](plan, value)
                if not is_right and not is_final:
                    is_right = WAS_TRUE[name](plan, value)
            if not is_right:
                state = "finished before" if is_final else "goes on"
                raise Fault(
                    f"{site.name}: run {run_id} of {plan}, which {state}: {name} is {value!r}"
                )


def load_all(location: Path, **options: Any) -> RunCollection[Any]:
    dirs = iter_run_dirs(location, on_error=options["on_error"])
    return Run.load(dirs, results=RESULTS_FILE, **options)


def load_batches(location: Path, **options: Any) -> RunCollection[Any]:
    batches = iter_runs(location, results=RESULTS_FILE, batch_size=50, **options)
    return RunCollection([run for batch in batches for run in batch])


def load_given(location: Path, **options: Any) -> RunCollection[Any]:
    """Load a list of directories, as far as it says enough: not that of a database."""
    if location.suffix == ".db":
        return load_all(location, **options)
    dirs = list(iter_run_dirs(location, on_error=options["on_error"]))
    return Run.load(dirs, results=RESULTS_FILE, **options)


def read_run(run: Run[Any, Any]) -> dict[str, Any]:
    """Return what can be read of a run by name, or the error."""
    values: dict[str, Any] = {}
    for name, read in READ.items():
        try:
            values[name] = read(run)
        except KedroHydraflowError as exc:  # noqa: PERF203
            values[name] = exc
    return values


def read_facts(run: Run[Any, Any]) -> tuple[Any, ...]:
    info = run.info
    times = [t and round(t.timestamp() * 1000) for t in (info.start_time, info.end_time)]
    return (info.status, info.run_name, *times)


def read_history(run: Run[Any, Any]) -> list[tuple[int, int, float]]:
    rows = run.metric_history("val/loss").rows()
    return [(step, round(when.timestamp() * 1000), value) for step, when, value in rows]


READ: dict[str, Callable[[Run[Any, Any]], Any]] = {
    "job_name": lambda run: run.info.job_name,
    "configuration": lambda run: OmegaConf.to_container(run.cfg),
    "facts": read_facts,
    "metrics": lambda run: run.metrics,
    "history": read_history,
    "params": lambda run: run.params,
    "stage": lambda run: run.tags.get("stage"),
    "results": lambda run: run.results,
    "file": lambda run: (
        run.path(RESULTS_FILE).read_text() if run.path(RESULTS_FILE).exists() else None
    ),
}


def get_latest(plan: Plan) -> dict[str, float]:
    return {name: points[-1][2] for name, points in plan.histories.items()}


def is_final_fact(plan: Plan, value: Any) -> bool:
    return value == (plan.status, plan.name, plan.start_time, plan.end_time)


IS_FINAL: dict[str, Callable[[Plan, Any], bool]] = {
    "job_name": lambda plan, value: value == plan.experiment,
    "configuration": lambda plan, value: value == plan.config,
    "facts": is_final_fact,
    "metrics": lambda plan, value: value == get_latest(plan),
    "history": lambda plan, value: value == plan.histories["val/loss"],
    "params": lambda plan, value: value == plan.params,
    "stage": lambda plan, value: value == plan.get_stage(plan.n_steps - 1),
    "results": lambda plan, value: value == plan.results,
    "file": lambda plan, value: value == plan.results_text,
    "column metrics.loss": lambda plan, value: value == plan.histories["loss"][-1][2],
    "column params.number": lambda plan, value: value == f"{plan.number}",
    "column tags.stage": lambda plan, value: value == plan.get_stage(plan.n_steps - 1),
    "column status": lambda plan, value: value == plan.status,
    "column results.number": lambda plan, value: value == plan.number,
}
"""Whether a value is that of a run that has finished."""


def was_stage(plan: Plan, value: Any) -> bool:
    return value is None or value in TORN | {plan.get_stage(i) for i in range(plan.n_steps)}


def was_metrics(plan: Plan, value: dict[str, float]) -> bool:
    allowed = {name: {p[2] for p in points} for name, points in plan.histories.items()}
    return all(name in allowed and one in allowed[name] for name, one in value.items())


WAS_TRUE: dict[str, Callable[[Plan, Any], bool]] = {
    "job_name": lambda plan, value: False,
    "configuration": lambda plan, value: value == {},
    "facts": lambda plan, value: (
        value in ((None,) * 4, ("RUNNING", plan.name, plan.start_time, None))
    ),
    "metrics": was_metrics,
    "history": lambda plan, value: value == plan.histories["val/loss"][: len(value)],
    "params": lambda plan, value: all(
        text in TORN | {plan.params.get(name)} for name, text in value.items()
    ),
    "stage": was_stage,
    "results": lambda plan, value: value == {},
    "file": lambda plan, value: value is None or value in TORN,
    "column metrics.loss": lambda plan, value: (
        value is None or value in {point[2] for point in plan.histories["loss"]}
    ),
    "column params.number": lambda plan, value: value is None or value in TORN,
    "column tags.stage": was_stage,
    "column status": lambda plan, value: value in (None, "RUNNING"),
    "column results.number": lambda plan, value: value is None,
}
"""Whether a value is one that a run which goes on has had."""


# All of it ---------------------------------------------------------------------------------


def read_until(sites: Sequence[Site], index: Path, seed: int, seconds: float, results: Any) -> None:
    """Load for some seconds; put what was counted, or the fault."""
    logging.disable(logging.CRITICAL)
    reader = Reader(sites, index, seed)
    deadline = time.monotonic() + seconds
    try:
        while time.monotonic() < deadline:
            reader.load_once()
    except Exception:
        results.put(traceback.format_exc())
    else:
        results.put(reader.counts)


def prove(folder: Path, seconds: float, n_readers: int = N_READERS) -> Counter[str]:
    """Write and read for some seconds; return what was counted.

    Raises:
        Fault: If a load gave something wrong, or a writer failed.
        MissingServerError: If there is no MLflow.
    """
    sites = [Site(name, folder / name.replace(" ", "-")) for name in ("file store", "database")]
    writers = [start_writer(site) for site in sites]
    try:
        wait_for_runs(sites, writers)
        counts = read_with(sites, folder / "index", seconds, n_readers)
    finally:
        for site, writer in zip(sites, writers, strict=True):
            site.stop.touch()
            writer.wait(_SECONDS_TO_START)
    final = Reader(sites, folder / "index", seed=0)
    for site in sites:
        journal = read_journal(site)
        if not journal.has_ended or journal.finished != journal.numbers.keys():
            raise Fault(f"{site.name}: the writer failed:\n{(site.folder / 'log').read_text()}")
        counts[f"runs written to the {site.name}"] = len(journal.numbers)
        for _ in range(6):
            final.load_once(site)
    return counts + final.counts


def wait_for_runs(sites: Sequence[Site], writers: Sequence[subprocess.Popen[bytes]]) -> None:
    deadline = time.monotonic() + _SECONDS_TO_START
    while not all(read_journal(site).numbers for site in sites):
        if time.monotonic() > deadline or any(writer.poll() is not None for writer in writers):
            logs = "\n".join((site.folder / "log").read_text()[-3000:] for site in sites)
            raise Fault(f"MLflow does not write:\n{logs}")
        time.sleep(0.1)


def read_with(sites: Sequence[Site], index: Path, seconds: float, n_readers: int) -> Counter[str]:
    context = multiprocessing.get_context("spawn")
    results: Any = context.Queue()
    readers = [
        context.Process(target=read_until, args=(sites, index, seed, seconds, results))
        for seed in range(n_readers)
    ]
    for reader in readers:
        reader.start()
    found = [results.get(timeout=seconds + _SECONDS_TO_START) for _ in readers]
    for reader in readers:
        reader.join()
    for result in found:
        if isinstance(result, str):
            raise Fault(result)
    total: Counter[str] = Counter()
    for result in found:
        total += result
    return total


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=120, help="how long")
    parser.add_argument("--readers", type=int, default=N_READERS, help="how many processes read")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="writing-"))
    print(
        f"MLflow writes and {options.readers} processes read for {options.seconds:g} s", flush=True
    )
    try:
        counts = prove(folder, options.seconds, options.readers)
    except Fault as exc:
        sys.exit(f"FAULT; the stores are in {folder}\n{exc}")
    except MissingServerError as exc:
        sys.exit(f"{exc}: `make prove` makes it")
    shutil.rmtree(folder)
    print(", ".join(f"{count:,} {name}" for name, count in counts.items()) + ": 0 faults")


if __name__ == "__main__":
    main()
