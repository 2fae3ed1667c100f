"""What works in a process that was forked from one that has used Polars.

A call that waits for Polars' threads would never return there, so each test has a time limit.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import pickle
import re
import signal
import subprocess
import sys
import textwrap
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest
from kedro.io import AbstractDataset, SharedMemoryDataCatalog
from kedro.pipeline import node, pipeline
from kedro.runner import ParallelRunner

from kedro_hydraflow import (
    HydraflowFrameDataset,
    HydraflowRunCollectionDataset,
    HydraflowRunDataset,
    Run,
    iter_run_dirs,
    publish_index,
    scan_runs,
)
from tests.conftest import TrackingDir, write
from tests.datasets.conftest import TEXT, make_artifact_dataset

pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="it names no threads"),
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]

Runs = Any
LIMIT = 60


@pytest.fixture(autouse=True)
def _polars_is_used() -> None:
    """Start Polars' threads in this process."""
    pl.DataFrame({"a": [1, 2]}).group_by("a").agg(pl.len())


def call_in_fork(function: Callable[[], Any]) -> Any:
    """Return the result of a function in a forked process, or the text of its exception."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)

    def send() -> None:
        try:
            sender.send(function())
        except BaseException:
            sender.send(traceback.format_exc())

    child = context.Process(target=send)
    child.start()
    try:
        assert receiver.poll(LIMIT), "the forked process does not answer"
        return receiver.recv()
    finally:
        child.kill()
        child.join()
        receiver.close()
        sender.close()


def list_warnings(function: Callable[[], object]) -> list[str]:
    """Return what a function logs as warnings."""
    messages: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: messages.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("kedro_hydraflow").addHandler(handler)
    try:
        function()
    finally:
        logging.getLogger("kedro_hydraflow").removeHandler(handler)
    return messages


class TableDataset(AbstractDataset[Any, Any]):
    """Loads a frame of Polars or pandas without Polars' threads."""

    def __init__(self, *, filepath: str, library: str = "polars") -> None:
        self._filepath = filepath
        self._make = {"polars": pl.DataFrame, "pandas": pd.DataFrame}[library]

    def load(self) -> Any:
        names, *rows = (line.split(",") for line in Path(self._filepath).read_text().split())
        return self._make({name: [float(row[i]) for row in rows] for i, name in enumerate(names)})

    def save(self, data: Any) -> None:
        raise NotImplementedError

    def _describe(self) -> dict[str, Any]:
        return {}


PLAIN = {"type": f"{__name__}.TableDataset"}
POLARS = {"type": "polars.EagerPolarsDataset", "file_format": "csv"}


@pytest.fixture
def root(tracking_dir: TrackingDir) -> Path:
    """Three runs with values of all kinds, and what was logged."""
    train = tracking_dir.add_experiment("train")
    for i, run_id in enumerate("abc"):
        run_dir = tracking_dir.add_run(
            train,
            run_id,
            f"i: {i}\nlr: {10.0**-i}\nname: n{i % 2}\nlayers: [{i}, 1]\nmodel: {{size: {i}}}\n"
            f"odd: {'[1]' if i else 'text'}\nday: 2026-01-0{i + 1}\n",
            {"loss": "".join(f"{1700000000000 + s} {(i + 1) / (s + 1)} {s}\n" for s in range(3))},
        )
        write(run_dir / "artifacts/metrics.csv", f"epoch,loss\n0,{i}.5\n1,0.25\n")
    return tracking_dir.root


@pytest.fixture
def runs(root: Path) -> Runs:
    return Run.load(iter_run_dirs(root), index=False)


def test_a_shared_index_is_not_used(root: Path, tmp_path: Path) -> None:
    index = (tmp_path / "index").as_uri()
    publish_index(root, index=index)
    for config in root.rglob("config.yaml"):
        config.write_text("i: 7")

    def load_in_fork() -> Any:
        values: list[Any] = []
        load = lambda: values.extend(Run.load(iter_run_dirs(root), index=index).to_list("i"))  # noqa: E731
        return list_warnings(load), values

    (warning,), values = call_in_fork(load_in_fork)
    assert values == [7, 7, 7]
    assert "is not used: this process was forked from one that had used Polars" in warning
    assert "KEDRO_MP_CONTEXT=spawn" in warning
    assert "publish_index would wait forever" in call_in_fork(
        lambda: publish_index(root, index=index)
    )


def read_table(run: Any) -> pl.DataFrame:
    """Return a frame whose types differ from run to run."""
    values = [run.get("i")] * 2 if run.get("i") < 2 else [0.5, None]
    return pl.DataFrame({"x": values, "y": [[1], None]})


OPERATIONS: dict[str, Callable[[Runs], Any]] = {
    "to_frame": lambda runs: runs.to_frame(
        "run_id",
        "i",
        "lr",
        "name",
        "layers",
        "model",
        "start_time",
        "status",
        "odd",
        "day",
        "metrics.loss",
        ("none", None),
        n=lambda run: [run.get("lr")],
    ),
    "to_frame of all keys": lambda runs: runs.to_frame(),
    "to_frame of declared columns": lambda runs: runs.to_frame(
        schema={
            "i": "Int8",
            "lr": "Float64",
            "layers": "List(Int64)",
            "model": "String",
            "start_time": "Datetime",
            "status": "Enum(['FINISHED', 'FAILED'])",
            "day": "Date",
            "absent": "Datetime('ms')",
        },
        strict=False,
        nested="json",
    ),
    "to_frame as JSON": lambda runs: runs.to_frame("layers", "model", "odd", nested="json"),
    "to_frame of patterns": lambda runs: runs.to_frame("info.*", "metrics.*", "l*"),
    "to_frame of objects": lambda runs: runs.to_frame("run", "cfg").shape,
    "to_frame in threads": lambda runs: runs.to_frame(
        n_jobs=2, backend="threading", a=lambda run: run.get("i")
    ),
    "concat": lambda runs: runs.concat(
        read_table, "run_id", "i", "layers", "model", "start_time", ("none", None)
    ),
    "concat of patterns": lambda runs: runs.concat(read_table, "info.*", "metrics.*", "*"),
    "concat without keys": lambda runs: runs.concat(read_table),
    "Run.to_frame": lambda runs: runs[1].to_frame(read_table, "i", "lr", "name", "start_time"),
    "to_frame_impl": lambda runs: Run(runs[0].info.run_dir, str).to_frame_impl(
        lambda impl: pl.DataFrame({"n": [len(impl)]}), "i", "lr"
    ),
    "metric_history": lambda runs: runs[0].metric_history("loss"),
    "metric_histories": lambda runs: runs.metric_histories("loss"),
    "metric_histories of patterns": lambda runs: runs.metric_histories("l*"),
    "agg": lambda runs: runs.group_by("name", "odd").agg(
        "i", "model", n=len, last=lambda g: g[-1].get("lr")
    ),
    "agg of pairs": lambda runs: runs.group_by("name").agg(
        best=("metrics.loss", "min"), last=("layers", "last"), total=("i", "sum")
    ),
    "varying": lambda runs: runs.varying("*", "metrics.*", "start_time"),
    "diff": lambda runs: runs.diff("a", runs[1]),
    "Run.diff": lambda runs: runs[0].diff(runs[2], "*", "metrics.*"),
    "describe": lambda runs: runs.describe("*", "info.*", "metrics.*"),
    "over": lambda runs: runs.over(
        "i", "metrics.*", ignore=["lr", "model", "layers", "day", "odd"]
    ),
    "metric_histories with keys": lambda runs: list(
        runs.metric_histories("loss", keys=["lr", "layers", "odd", "start_time"])
    ),
    "to_pandas": lambda runs: [
        (column, str(values.dtype), values.to_list())
        for column, values in runs.to_pandas("*", "start_time", ("none", None)).items()
    ],
    "group_by": lambda runs: {k: len(group) for k, group in runs.group_by("layers").items()},
    "to_series": lambda runs: [runs.to_series(k) for k in ("i", "name", "layers", "start_time")],
    "to_numpy": lambda runs: [runs.to_numpy(k).tolist() for k in ("lr", "layers", "odd")],
    "unique": lambda runs: [runs.unique("name").tolist(), runs.n_unique("model")],
    "sort": lambda runs: runs.sort("name", "lr").to_list("run_id"),
    "best of groups": lambda runs: [
        run.info.run_id for run in runs.group_by("i").best("metrics.loss", mode="min")
    ],
    "best": lambda runs: runs.best(by="metrics.loss", mode="min").info.run_id,
    "filter": lambda runs: runs.filter(runs.to_series("i") > 0, lr=(0, 1)).to_list("run_id"),
    "repr": lambda runs: repr(runs.to_frame("i", "start_time")),
    "rows": lambda runs: runs.to_frame("i", "model", "layers").rows(),
}


def describe(result: Any) -> Any:
    """Return what is in a result, with the types of columns."""
    if isinstance(result, pl.DataFrame):
        return dict(result.schema), result.rows()
    if isinstance(result, pl.Series):
        return result.name, result.dtype, result.to_list()
    return list(map(describe, result)) if isinstance(result, list) else result


@pytest.mark.parametrize("name", OPERATIONS)
def test_runs_give_the_same_as_in_the_parent(runs: Runs, name: str) -> None:
    found = call_in_fork(lambda: describe(OPERATIONS[name](runs)))
    assert found == describe(OPERATIONS[name](runs))


DATASETS: dict[str, Callable[[Path], Any]] = {
    "load": lambda root: (
        HydraflowRunCollectionDataset(
            path=str(root), filters=["lr < 0.5", "status == FINISHED"], index=False
        )
        .load()
        .to_frame("run_id", "metrics.loss")
    ),
    "frame": lambda root: HydraflowFrameDataset(
        path=str(root), columns=["i", "*"], schema={"start_time": "Datetime", "i": "Int8"}
    ).load(),
    "best_by": lambda root: (
        HydraflowRunDataset(path=str(root), best_by="metrics.loss", mode="min").load().info.run_id
    ),
    "preview": lambda root: HydraflowRunCollectionDataset(path=str(root)).preview(),
    "preview of a run": lambda root: HydraflowRunDataset(filepath=str(root / "1/a")).preview(),
    "artifacts": lambda root: {
        run_id: load()
        for run_id, load in make_artifact_dataset(root, dataset=TEXT, filepath_arg="where")
        .load()
        .items()
    },
    "concat": lambda root: make_artifact_dataset(
        root, dataset=PLAIN, concat=True, keys=["run_id", "i", "model", "start_time"]
    ).load(),
    "concat of pandas": lambda root: (
        make_artifact_dataset(
            root, dataset={**PLAIN, "library": "pandas"}, concat=True, keys=["run_id", "i"]
        )
        .load()
        .to_dict()
    ),
    "preview of concat": lambda root: make_artifact_dataset(
        root, dataset=PLAIN, concat=True
    ).preview(),
    "exists": lambda root: make_artifact_dataset(root).exists(),
}


@pytest.mark.parametrize("name", DATASETS)
def test_datasets_give_the_same_as_in_the_parent(root: Path, name: str) -> None:
    found = call_in_fork(lambda: describe(DATASETS[name](root)))
    assert found == describe(DATASETS[name](root))


def test_a_child_of_a_forked_process(runs: Runs) -> None:
    found = call_in_fork(lambda: call_in_fork(lambda: runs.concat(read_table, "i").rows()))
    assert found == runs.concat(read_table, "i").rows()


# What Polars' own functions do -------------------------------------------------------------

WARNING = (
    r"process \d+ was forked from one that had used Polars, and lacks its threads: frames can be "
    r"built, but filter, sort, join, group_by, read_csv and most other functions of Polars wait "
    r"forever; start processes with 'spawn' instead of 'fork': KEDRO_MP_CONTEXT=spawn for Kedro's "
    r"ParallelRunner, multiprocessing.get_context\('spawn'\) elsewhere"
)


@pytest.mark.parametrize(
    "name", ["to_frame", "to_frame of all keys", "concat without keys", "metric_history", "agg"]
)
def test_one_warning_in_a_process(runs: Runs, name: str) -> None:
    def build_twice() -> None:
        OPERATIONS[name](runs)
        OPERATIONS[name](runs)

    (warning,) = call_in_fork(lambda: list_warnings(build_twice))
    assert re.fullmatch(WARNING, warning)
    assert list_warnings(build_twice) == []


def test_a_dataset_of_polars_is_an_error(root: Path) -> None:
    dataset = make_artifact_dataset(root, dataset=POLARS)
    loaded = dataset.load()
    assert loaded["b"]()["loss"].to_list() == [1.5, 0.25]
    message = (
        "kedro_datasets.polars.eager_polars_dataset.EagerPolarsDataset would wait forever: this "
        "process was forked from one that had used Polars, and lacks its threads; start processes "
        "with 'spawn' "
        "instead of 'fork': KEDRO_MP_CONTEXT=spawn for Kedro's ParallelRunner, "
    )
    together = make_artifact_dataset(root, dataset=POLARS, concat=True, on_error="warn")
    for load in (loaded["b"], together.load, together.preview):
        assert message in call_in_fork(load)


def test_a_lazy_frame_is_an_error(root: Path) -> None:
    dataset = HydraflowFrameDataset(path=root, schema={"i": "Int8"}, lazy=True)
    assert dataset.load().collect().height == len(list(iter_run_dirs(root)))
    message = "scan_runs would wait forever: this process was forked from one that had used Polars"
    for load in (dataset.load, lambda: scan_runs(root, schema={"i": "Int8"})):
        assert message in call_in_fork(load)


def test_other_datasets_may_use_polars(root: Path) -> None:
    dataset = make_artifact_dataset(root, dataset=PLAIN)
    (warning,) = call_in_fork(lambda: list_warnings(lambda: dataset.load()["b"]()))
    assert re.fullmatch(WARNING, warning)


BEFORE = """
    import logging, os, signal, sys
    import polars as pl
    from tests.test_forks import OPERATIONS, list_warnings
    from kedro_hydraflow import Run, iter_run_dirs

    def build():
        runs = Run.load(iter_run_dirs(sys.argv[1]), index=False)
        for operation in OPERATIONS.values():
            operation(runs)

    build()
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        frame = pl.DataFrame({"a": [2, 1, 2]}).group_by("a").len().sort("a")
        print(frame.rows(), list_warnings(build), flush=True)
        os._exit(0)
    sys.exit(os.waitpid(child, 0)[1])
"""


def run_script(script: str, *args: object, **environment: str) -> str:
    """Return the output of a script, which is killed with its children at the time limit."""
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(script), *map(str, args)]
    variables = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "COLUMNS": "999",
        **environment,
    }
    process = subprocess.Popen(
        command,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=2 * LIMIT)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, output
    return output


def test_frames_start_no_threads_that_a_forked_process_would_lack(root: Path) -> None:
    assert run_script(BEFORE, root).splitlines()[-1] == "[(1, 1), (2, 2)] []"


# Kedro's ParallelRunner --------------------------------------------------------------------


def make_table(runs: Runs, frame: pl.DataFrame, best: Any) -> list[Any]:
    """Use what the datasets of the runs load, in a node."""
    histories = runs.metric_histories("loss")
    table = runs.to_frame("run_id", "lr", "layers", "start_time", "metrics.loss")
    joined = runs.concat(read_table, "run_id", "lr")
    return [table.rows(), histories.rows(), joined.rows(), frame.rows(), best.info.run_id]


def pass_on(runs: Runs) -> Runs:
    return runs


RUNNER = """
    import sys
    import polars as pl
    from tests.test_forks import run_in_parallel

    pl.DataFrame({"a": [1, 2]}).group_by("a").agg(pl.len())  # as a hook of the project may
    run_in_parallel(*sys.argv[1:])
"""


def run_in_parallel(root: str, result: str, dataset: str) -> None:
    """Run a pipeline with the ParallelRunner. Called in a process of its own."""
    kind = "kedro_hydraflow.Hydraflow"
    catalog = SharedMemoryDataCatalog.from_config(
        {
            "runs": {"type": f"{kind}RunCollectionDataset", "path": root},
            "best": {
                "type": f"{kind}RunDataset",
                "path": root,
                "best_by": "metrics.loss",
                "mode": "min",
            },
            "frame": {
                "type": f"{kind}ArtifactDataset",
                "path": root,
                "artifact": "metrics.csv",
                "dataset": json.loads(dataset),
                "concat": True,
            },
            "result": {"type": "pickle.PickleDataset", "filepath": result},
        }
    )
    steps = pipeline(
        [
            node(pass_on, "runs", "same"),
            node(make_table, ["same", "frame", "best"], "result"),
        ]
    )
    ParallelRunner(max_workers=2).run(steps, catalog)


def test_parallel_runner(root: Path, runs: Runs, tmp_path: Path) -> None:
    result = tmp_path / "result.pickle"
    output = run_script(RUNNER, root, result, json.dumps(PLAIN), KEDRO_MP_CONTEXT="fork")
    frame = DATASETS["concat"](root).drop("i", "model", "start_time")
    expected = make_table(runs, frame, runs.best(by="metrics.loss", mode="min"))
    assert pickle.loads(result.read_bytes()) == expected
    assert "KEDRO_MP_CONTEXT=spawn for Kedro's ParallelRunner" in output


def test_the_way_out_that_the_error_names(root: Path, tmp_path: Path) -> None:
    result = tmp_path / "result.pickle"
    arguments = (RUNNER, root, result, json.dumps(POLARS))
    with pytest.raises(
        AssertionError, match=r"with 'spawn' instead of 'fork': KEDRO_MP_CONTEXT=spawn"
    ):
        run_script(*arguments, KEDRO_MP_CONTEXT="fork")
    run_script(*arguments, KEDRO_MP_CONTEXT="spawn")
    assert [row[-1] for row in pickle.loads(result.read_bytes())[3]] == [
        0.5,
        0.25,
        1.5,
        0.25,
        2.5,
        0.25,
    ]


# Locks -------------------------------------------------------------------------------------


def test_an_impl_that_another_thread_is_building(root: Path) -> None:
    begun, end = threading.Event(), threading.Event()
    parent = os.getpid()

    def build(artifacts_dir: Path) -> str:
        if os.getpid() == parent:
            begun.set()
            assert end.wait(LIMIT)
        return artifacts_dir.parent.name

    run = Run(root / "1/a", build)
    with ThreadPoolExecutor(1) as thread:
        impl = thread.submit(lambda: run.impl)
        assert begun.wait(LIMIT)
        assert call_in_fork(lambda: run.impl) == "a"
        end.set()
        assert impl.result() == "a"
