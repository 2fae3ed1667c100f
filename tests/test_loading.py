from __future__ import annotations

import copy
import os
import pickle
import shutil
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import joblib
import polars as pl
import pytest
from upath import UPath

from kedro_hydraflow import (
    Run,
    RunCollection,
    get_experiment_names,
    iter_artifact_paths,
    iter_artifacts_dirs,
    iter_experiment_dirs,
    iter_run_dirs,
    iter_runs,
    parallel,
)
from kedro_hydraflow.errors import (
    ConfigError,
    NotFoundError,
    OptionError,
    RunLoadError,
    StorageError,
    TrackingDirectoryError,
    UnreachableError,
)
from kedro_hydraflow.finding import find_runs
from kedro_hydraflow.loading import load_runs
from kedro_hydraflow.reading import _ConfigLoader
from kedro_hydraflow.storage import LocalStorage, Parsed
from kedro_hydraflow.stores import open_store
from tests.conftest import TrackingDir, WebServer, write

NAMES = ["eval_digits", "train_digits_v1", "train_digits_v2"]


def describe(run: Run[Any, Any]) -> dict[str, Any]:
    """Everything that can be known about a run, on whatever storage."""
    info = run.info
    facts = (info.run_id, info.job_name, info.experiment_id, info.status, info.run_name)
    return {
        "facts": (*facts, info.start_time, info.end_time, info.lifecycle_stage),
        "config": run.to_dict(),
        "logged": (run.metrics, run.params, run.tags),
        "folders": sorted(path.name for path in run.iterdir()),
        "weights": [path.read_bytes() for path in run.glob("model/*.npz")],
        "hydra": run.path(".hydra/overrides.yaml").read_bytes(),
    }


def surrounding(backend: str | None) -> AbstractContextManager[object]:
    return nullcontext() if backend is None else joblib.parallel_config(backend=backend)


# The same on every kind of storage ------------------------------------------------------


def test_runs_are_the_same_everywhere(sweep: Path, publish: Callable[[Path], str]) -> None:
    location = publish(sweep)
    runs = Run.load(iter_run_dirs(location))
    expected = Run.load(iter_run_dirs(sweep))
    assert len(runs) == 31
    assert [describe(run) for run in runs] == [describe(run) for run in expected]
    assert [describe(run) for run in pickle.loads(pickle.dumps(runs))[:3]] == [
        describe(run) for run in runs[:3]
    ]


@pytest.mark.parametrize("backend", [None, "loky", "threading", "multiprocessing"])
def test_n_jobs_does_not_change_the_result(
    sweep: Path, publish: Callable[[Path], str], backend: str | None
) -> None:
    location = publish(sweep)
    expected = [run.to_dict() for run in Run.load(iter_run_dirs(location))]
    assert len(expected) == 31
    with surrounding(backend):
        for n_jobs in (0, 1, 2, -1):
            runs = Run.load(iter_run_dirs(location), n_jobs=n_jobs)
            assert [run.to_dict() for run in runs] == expected


def test_copies_are_independent_everywhere(sweep: Path, publish: Callable[[Path], str]) -> None:
    runs = Run.load(iter_run_dirs(publish(sweep), "eval_*"))
    for duplicate in (copy.deepcopy(runs), pickle.loads(pickle.dumps(runs))):
        assert isinstance(duplicate, RunCollection)
        assert [run.info for run in duplicate] == [run.info for run in runs]
        duplicate.update("seed", 99, force=True)
        assert set(duplicate.to_list("seed")) == {99}
        assert 99 not in runs.to_list("seed")
        assert (
            duplicate[0].path("confusion_matrix.json").exists()
            == runs[0].path("confusion_matrix.json").exists()
        )


@pytest.mark.parametrize(
    ("experiment_names", "expected"),
    [
        (None, NAMES),
        ("train_*", NAMES[1:]),
        (["eval_*", "train_digits_v1"], NAMES[:2]),
        (lambda name: name.endswith("v2"), NAMES[2:]),
        ("nothing", []),
    ],
)
def test_filters_and_iterators_agree(
    sweep: Path, publish: Callable[[Path], str], experiment_names: Any, expected: list[str]
) -> None:
    location = publish(sweep)
    experiments = list(iter_experiment_dirs(location, experiment_names))
    run_dirs = list(iter_run_dirs(location, experiment_names))
    artifacts_dirs = list(iter_artifacts_dirs(location, experiment_names))
    paths = list(iter_artifact_paths(location, ".hydra/config.yaml", experiment_names))

    assert get_experiment_names(location) == NAMES
    assert [Run(run_dir).info.job_name for run_dir in run_dirs] == sorted(
        Run(run_dir).info.job_name for run_dir in run_dirs
    )
    assert list(dict.fromkeys(Run(run_dir).info.job_name for run_dir in run_dirs)) == expected
    assert list(dict.fromkeys(run_dir.parent for run_dir in run_dirs)) == experiments
    assert [path.parent.name for path in artifacts_dirs] == [path.name for path in run_dirs]
    assert all(isinstance(path, Path) and path.name == "artifacts" for path in artifacts_dirs)
    assert paths == [directory / ".hydra/config.yaml" for directory in artifacts_dirs]
    assert all(path.read_bytes() for path in paths)


def test_missing_directory_is_an_error_everywhere(
    tracking_dir: TrackingDir, publish: Callable[[Path], str]
) -> None:
    tracking_dir.add_run(tracking_dir.add_experiment("train"), "a")
    location = publish(tracking_dir.root).replace("mlruns", "nowhere", 1)
    with pytest.raises(NotFoundError, match=r"there is no .*nowhere"):
        list(iter_run_dirs(location))


@pytest.mark.parametrize("folder", ["1", "1/a"])
def test_wrong_directory_is_refused_everywhere(
    tracking_dir: TrackingDir, publish: Callable[[Path], str], folder: str
) -> None:
    tracking_dir.add_run(tracking_dir.add_experiment("train"), "a")
    location = UPath(publish(tracking_dir.root)) / folder
    with pytest.raises(TrackingDirectoryError, match="give the tracking directory above it"):
        list(iter_run_dirs(location))


def test_config_may_be_missing_everywhere(
    tracking_dir: TrackingDir, publish: Callable[[Path], str]
) -> None:
    tracking_dir.add_run(tracking_dir.add_experiment("train"), "a", config=None)
    (run_dir,) = iter_run_dirs(publish(tracking_dir.root))
    assert Run.load([run_dir])[0].cfg == {}
    assert Run(run_dir).cfg == {}
    assert Run.load([run_dir / "nowhere"])[0].cfg == {}


def test_bad_runs_are_reported_everywhere(
    tracking_dir: TrackingDir, publish: Callable[[Path], str]
) -> None:
    experiment = tracking_dir.add_experiment("train")
    for name, config in {"a": "lr: 1", "b": "- 1", "c": "lr: [", "d": "lr: 2"}.items():
        tracking_dir.add_run(experiment, name, config)
    location = publish(tracking_dir.root)
    errors = []
    for n_jobs in (0, 2):
        with pytest.raises(RunLoadError) as raised:
            Run.load(iter_run_dirs(location), n_jobs=n_jobs)
        errors.append(str(raised.value))
        assert [failure.path.partition("::")[0][-29:] for failure in raised.value.failures] == [
            "1/b/artifacts/.hydra/config.yaml"[-29:],
            "1/c/artifacts/.hydra/config.yaml"[-29:],
        ]
        runs = Run.load(iter_run_dirs(location), n_jobs=n_jobs, on_error="warn")
        assert runs.to_list("lr") == [1, 2]
    assert errors[0] == errors[1]


@pytest.mark.parametrize("protocol", ["local", "memory"])
def test_what_was_written_after_a_load_is_seen_by_the_next(
    tracking_dir: TrackingDir, protocol: str
) -> None:
    experiment = tracking_dir.add_experiment("train")
    tracking_dir.add_run(experiment, "a", "lr: 1")
    location = str(tracking_dir.root)
    memory = fsspec.filesystem("memory")
    if protocol == "memory":
        location = f"memory://fresh-{tracking_dir.root.parent.name}/mlruns"

    def load() -> list[tuple[str, Any]]:
        if protocol == "memory":
            memory.put(str(tracking_dir.root), location, recursive=True)
        return [(run.info.job_name, run.get("lr")) for run in Run.load(iter_run_dirs(location))]

    assert load() == [("train", 1)]
    tracking_dir.add_run(experiment, "b", "lr: 2")
    tracking_dir.add_run(tracking_dir.add_experiment("eval", "2"), "c", "lr: 3")
    write(experiment / "a/artifacts/.hydra/config.yaml", "lr: 4")
    if protocol == "memory":
        memory.rm(location, recursive=True)
    assert load() == [("eval", 3), ("train", 4), ("train", 2)]


def test_replaced_archive_is_seen_by_the_next_load(tracking_dir: TrackingDir) -> None:
    experiment = tracking_dir.add_experiment("train")
    archive = tracking_dir.root.parent / "runs"
    for names in ("a", "ab"):
        tracking_dir.add_run(experiment, names[-1])
        shutil.make_archive(str(archive), "zip", tracking_dir.root)
        assert [path.name for path in iter_run_dirs(f"zip://::{archive}.zip")] == list(names)


# Order ---------------------------------------------------------------------------------


def test_order_is_by_experiment_name_then_run_dir(tracking_dir: TrackingDir) -> None:
    for name, experiment_id in {"b": "1", "a": "20", "c": "3"}.items():
        experiment = tracking_dir.add_experiment(name, experiment_id)
        for run_id in ("r2", "r1"):
            tracking_dir.add_run(experiment, run_id)
    tracking_dir.add_run(tracking_dir.add_experiment("a", "10"), "r3")
    relative = [
        run_dir.relative_to(tracking_dir.root).as_posix()
        for run_dir in iter_run_dirs(tracking_dir.root)
    ]
    assert relative == ["10/r3", "20/r1", "20/r2", "1/r1", "1/r2", "3/r1", "3/r2"]
    assert get_experiment_names(tracking_dir.root) == ["a", "a", "b", "c"]


def test_given_run_dirs_keep_their_order_and_kind(tracking_dir: TrackingDir) -> None:
    experiment = tracking_dir.add_experiment("train")
    a, b, c = [tracking_dir.add_run(experiment, name) for name in "abc"]
    fsspec.filesystem("memory").put(str(b), "/order-b", recursive=True)
    runs = Run.load([c, f"{a}/", b.as_uri(), UPath("memory://order-b"), UPath(str(b)), str(a)])
    assert runs.to_list("run_id") == ["c", "a", "b", "order-b", "b", "a"]
    assert [type(run.info.run_dir) is type(a) for run in runs] == [
        True, True, True, False, True, True,
    ]  # fmt: skip
    assert runs[0].info.job_name == runs[1].info.job_name == "train"


# Errors --------------------------------------------------------------------------------


@pytest.mark.parametrize("n_jobs", [0, 2])
@pytest.mark.parametrize(
    "kind", ["directory", "link to itself", "link to nothing", "long name", "link above"]
)
def test_unreadable_config_is_never_an_empty_one(
    tracking_dir: TrackingDir, kind: str, n_jobs: int
) -> None:
    experiment = tracking_dir.add_experiment("train")
    run_dirs = [tracking_dir.add_run(experiment, f"r{i:02}", f"i: {i}") for i in range(40)]
    bad = run_dirs[7]
    config = bad / "artifacts/.hydra/config.yaml"
    config.unlink()
    if kind == "directory":
        config.mkdir()
    elif kind == "link to itself":
        config.symlink_to(config)
    elif kind == "link to nothing":
        config.symlink_to(bad / "unmounted")
    elif kind == "long name":
        run_dirs[7] = bad = experiment / ("x" * 300)
    else:
        shutil.rmtree(bad / "artifacts")
        (bad / "artifacts").symlink_to(bad / "unmounted")

    with pytest.raises(RunLoadError) as raised:
        Run.load(run_dirs, n_jobs=n_jobs)
    (failure,) = raised.value.failures
    assert failure.path == str(bad / "artifacts/.hydra/config.yaml")
    assert str(failure).startswith(f"cannot read {failure.path!r}: ")
    assert str(raised.value).count(failure.path) == 1
    with pytest.raises(StorageError, match="cannot read"):
        _ = Run(bad).cfg
    runs = Run.load(run_dirs, n_jobs=n_jobs, on_error="warn")
    assert runs.to_list("i") == [i for i in range(40) if i != 7]


@contextmanager
def without_privileges() -> Iterator[None]:
    """Do without those of root, who may read everything."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="permissions are of another kind here")
def test_denied_config_is_never_an_empty_one() -> None:
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        tracking_dir = TrackingDir(Path(directory) / "mlruns")
        run_dir = tracking_dir.add_run(tracking_dir.add_experiment("train"), "a")
        run_dirs = list(iter_run_dirs(tracking_dir.root))
        assert len(Run.load(run_dirs)) == 1
        (run_dir / "artifacts").chmod(0)
        try:
            with without_privileges(), pytest.raises(RunLoadError, match="PermissionError"):
                Run.load(run_dirs)
            with without_privileges(), pytest.raises(StorageError, match="PermissionError"):
                Run(run_dir).get("a", 1)
        finally:
            (run_dir / "artifacts").chmod(0o755)


def test_errors_survive_processes_and_pickle(tracking_dir: TrackingDir) -> None:
    tracking_dir.add_run(tracking_dir.add_experiment("train"), "a", "- 1")
    with pytest.raises(RunLoadError) as raised:
        Run.load(iter_run_dirs(tracking_dir.root))
    again = pickle.loads(pickle.dumps(raised.value))
    assert str(again) == str(raised.value)
    assert [str(failure) for failure in again.failures] == [str(f) for f in raised.value.failures]


@pytest.mark.parametrize("n_jobs", ["all", None, 1.5, True])
def test_bad_n_jobs(tracking_dir: TrackingDir, n_jobs: Any) -> None:
    with pytest.raises(OptionError) as raised:
        Run.load([tracking_dir.root], n_jobs=n_jobs)
    assert str(raised.value) == (
        f"n_jobs: expected an integer, found {n_jobs!r}; 0 is in this process, N in N jobs, "
        "-1 in one for each core"
    )


@pytest.mark.parametrize("on_error", ["ignore", None, True, []])
@pytest.mark.parametrize(
    "function",
    [
        lambda root, **kwargs: list(iter_run_dirs(root, **kwargs)),
        lambda root, **kwargs: list(iter_experiment_dirs(root, **kwargs)),
        lambda root, **kwargs: list(iter_artifacts_dirs(root, **kwargs)),
        lambda root, **kwargs: list(iter_artifact_paths(root, "x", **kwargs)),
        lambda root, **kwargs: get_experiment_names(root, **kwargs),
        lambda root, **kwargs: Run.load([root], **kwargs),
    ],
)
def test_bad_on_error(tracking_dir: TrackingDir, function: Any, on_error: Any) -> None:
    with pytest.raises(OptionError) as raised:
        function(tracking_dir.root, on_error=on_error)
    assert str(raised.value) == f"on_error: expected 'raise' or 'warn', found {on_error!r}"


def test_options_are_checked_before_anything_is_read(tracking_dir: TrackingDir) -> None:
    with pytest.raises(OptionError, match="n_jobs"):
        Run.load(iter_run_dirs("nowhere"), n_jobs="x")  # type: ignore[call-overload]


# Jobs ----------------------------------------------------------------------------------


@dataclass
class Config:
    lr: float = 0.1


@pytest.mark.parametrize("n_jobs", [0, 2])
def test_config_class_fits_or_is_reported(tracking_dir: TrackingDir, n_jobs: int) -> None:
    experiment = tracking_dir.add_experiment("train")
    for i in range(40):
        tracking_dir.add_run(experiment, f"r{i:02}", "lr: x" if i == 3 else None if i else "lr: 1")
    with pytest.raises(RunLoadError, match=r"r03.*the configuration does not fit Config") as raised:
        Run.load(iter_run_dirs(tracking_dir.root), config_class=Config, n_jobs=n_jobs)
    assert isinstance(raised.value.failures[0].error, ConfigError)
    runs = Run.load(
        iter_run_dirs(tracking_dir.root), config_class=Config, n_jobs=n_jobs, on_error="warn"
    )
    assert runs.to_list("lr") == [1.0] + [0.1] * 38


@pytest.mark.parametrize(
    ("backend", "here"),
    [(None, False), ("loky", False), ("threading", True), ("multiprocessing", False)],
)
def test_jobs_run_on_the_surrounding_backend(
    tracking_dir: TrackingDir,
    monkeypatch: pytest.MonkeyPatch,
    backend: str | None,
    here: bool,
) -> None:
    """Each job leaves a trace in a file of its own."""
    experiment = tracking_dir.add_experiment("train")
    for i in range(70):
        tracking_dir.add_run(experiment, f"r{i:02}")
    monkeypatch.setattr("kedro_hydraflow.reading._ConfigLoader", TracingLoader)
    with surrounding(backend):
        assert len(Run.load(iter_run_dirs(tracking_dir.root), n_jobs=2)) == 70
    traces = [path.name.split("-")[1:] for path in tracking_dir.root.parent.glob("trace-*")]
    assert traces
    assert all((process == f"{os.getpid()}") is here for process, _ in traces)
    if here:
        assert all(thread != f"{threading.get_ident()}" for _, thread in traces)


class TracingLoader(_ConfigLoader):
    def __call__(self, records: Any) -> Any:
        trace = f"trace-{os.getpid()}-{threading.get_ident()}"
        write(Path(records[0].path).parents[2] / trace, "")
        return super().__call__(records)


@pytest.mark.parametrize("n_jobs", [0, 2])
def test_progress_goes_to_standard_error(
    sweep: Path, capsys: pytest.CaptureFixture[str], n_jobs: int
) -> None:
    Run.load(iter_run_dirs(sweep), n_jobs=n_jobs, progress=True)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "100%" in shown.err
    assert "31/31" in shown.err
    Run.load(iter_run_dirs(sweep), n_jobs=n_jobs)
    assert capsys.readouterr() == ("", "")


def test_each_file_is_read_once(sweep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scan knows the facts, so that filters on them read nothing again."""
    read: list[str] = []
    read_parsed = LocalStorage.read_parsed

    def count(self: LocalStorage, paths: list[str], parse: Any) -> Any:
        read.extend(paths)
        return read_parsed(self, paths, parse)

    monkeypatch.setattr(LocalStorage, "read_parsed", count)
    runs = load_runs(find_runs(open_store(sweep)).runs, run_class=Run).runs
    assert {run.info.status for run in runs} == {"FINISHED", "FAILED"}
    assert {run.info.job_name for run in runs} == set(NAMES)
    assert len(read) == len(set(read)) == 3 + 31 + 31


@pytest.mark.parametrize(("as_given", "expected"), [(list, 3), (iter, 0)])
def test_experiment_of_given_runs_is_read_once(
    sweep: Path,
    monkeypatch: pytest.MonkeyPatch,
    as_given: Callable[[Any], Any],
    expected: int,
) -> None:
    runs = Run.load(as_given(iter_run_dirs(sweep)))
    read: list[str] = []
    read_parsed = LocalStorage.read_parsed

    def count(self: LocalStorage, paths: list[str], parse: Any) -> Any:
        read.extend(paths)
        return read_parsed(self, paths, parse)

    monkeypatch.setattr(LocalStorage, "read_parsed", count)
    assert set(runs.to_list("job_name")) == set(NAMES)
    assert len(read) == expected


# Whether jobs pay ------------------------------------------------------------------------


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many batches went to jobs each time; of small loads, 10 runs are the sample."""
    started: list[int] = []
    map_in_jobs = parallel._map_in_jobs

    def spy(function: Any, items: Any, *args: Any) -> Any:
        started.append(len(items))
        return map_in_jobs(function, items, *args)

    monkeypatch.setattr(parallel, "_map_in_jobs", spy)
    monkeypatch.setattr("kedro_hydraflow.reading._SAMPLE", 10)
    return started


def add_runs(tracking_dir: TrackingDir, n_runs: int, make_config: Callable[[int], str]) -> None:
    experiment = tracking_dir.add_experiment("train")
    for i in range(n_runs):
        tracking_dir.add_run(experiment, f"r{i:03}", f"i: {i}\n{make_config(i)}")


def make_shared_config(i: int) -> str:
    return "shared:\n" + "".join(f"  k{k}: {k}\n" for k in range(20))


def make_distinct_config(i: int) -> str:
    return f"own_{i}:\n" + "".join(f"  k{k}: {i + k / 100}\n" for k in range(20))


@pytest.mark.parametrize(
    ("make_config", "cost_of_jobs", "in_jobs"),
    [
        # 90 runs are left after the sample, each at 10, and at 1 for each value of its own.
        (make_shared_config, 90 * (10 + 1 + 2), True),
        (make_shared_config, 90 * (10 + 1 + 2) + 1, False),
        (make_distinct_config, 90 * (10 + 1 + 20), True),
        (make_distinct_config, 90 * (10 + 1 + 20) + 1, False),
    ],
)
def test_one_job_for_each_core_stays_here_where_jobs_do_not_pay(
    tracking_dir: TrackingDir,
    monkeypatch: pytest.MonkeyPatch,
    jobs: list[int],
    make_config: Callable[[int], str],
    cost_of_jobs: int,
    in_jobs: bool,
) -> None:
    monkeypatch.setattr("kedro_hydraflow.reading._COST_OF_JOBS", cost_of_jobs)
    add_runs(tracking_dir, 100, make_config)
    runs = Run.load(iter_run_dirs(tracking_dir.root), n_jobs=-1)
    assert runs.to_list("i") == [*range(100)]
    assert bool(jobs) == in_jobs


@pytest.mark.parametrize(
    ("n_jobs", "backend", "n_batches"),
    [(-1, None, []), (-1, "loky", []), (-1, "threading", [2]), (2, None, [2]), (2, "loky", [2])],
)
def test_given_number_of_jobs_and_given_backend_are_obeyed(
    tracking_dir: TrackingDir,
    monkeypatch: pytest.MonkeyPatch,
    jobs: list[int],
    n_jobs: int,
    backend: str | None,
    n_batches: list[int],
) -> None:
    monkeypatch.setattr("kedro_hydraflow.reading._MIN_BATCH", 20)
    monkeypatch.setattr("joblib.effective_n_jobs", lambda _: 2)
    add_runs(tracking_dir, 40, make_shared_config)
    with surrounding(backend):
        runs = Run.load(iter_run_dirs(tracking_dir.root), n_jobs=n_jobs)
    assert runs.to_list("i") == [*range(40)]
    assert jobs == n_batches


def test_config_class_and_requests_make_jobs_pay_earlier(
    tracking_dir: TrackingDir,
    monkeypatch: pytest.MonkeyPatch,
    serve: Callable[[Path], WebServer],
    jobs: list[int],
) -> None:
    monkeypatch.setattr("kedro_hydraflow.reading._COST_OF_JOBS", 90 * 100)
    add_runs(tracking_dir, 100, lambda _: "")
    for location, config_class, pays in [
        (str(tracking_dir.root), None, False),
        (str(tracking_dir.root), Numbered, True),
        (serve(tracking_dir.root).url, None, True),
    ]:
        jobs.clear()
        runs = Run.load(iter_run_dirs(location), n_jobs=-1, config_class=config_class)
        assert runs.to_list("i") == [*range(100)]
        assert bool(jobs) == pays


def test_unreachable_storage_is_not_asked_again_by_jobs(
    tracking_dir: TrackingDir, monkeypatch: pytest.MonkeyPatch, jobs: list[int]
) -> None:
    monkeypatch.setattr("kedro_hydraflow.reading._COST_OF_JOBS", 0)
    add_runs(tracking_dir, 100, make_shared_config)
    run_dirs = [*iter_run_dirs(tracking_dir.root)]
    read: list[list[str]] = []

    def read_parsed(self: LocalStorage, paths: list[str], parse: Any) -> Any:
        read.append(paths)
        errors = [UnreachableError(f"cannot read {path!r}") for path in paths]
        return Parsed(errors, [None] * len(paths))

    monkeypatch.setattr(LocalStorage, "read_parsed", read_parsed)
    with pytest.raises(RunLoadError, match="100 of 100 runs"):
        Run.load(run_dirs, n_jobs=-1)
    assert [len(paths) for paths in read] == [10]
    assert jobs == []


@dataclass
class Numbered:
    i: int = 0


def test_progress_counts_the_sample_too(
    tracking_dir: TrackingDir,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    jobs: list[int],
) -> None:
    monkeypatch.setattr("kedro_hydraflow.reading._COST_OF_JOBS", 0)
    add_runs(tracking_dir, 100, make_shared_config)
    Run.load(iter_run_dirs(tracking_dir.root), n_jobs=-1, progress=True)
    assert jobs
    assert "100/100" in capsys.readouterr().err


# A batch at a time -----------------------------------------------------------------------


@pytest.mark.parametrize("names", [None, "train_*"])
@pytest.mark.parametrize("batch_size", [1, 7, 31, 1000])
def test_batches_together_are_what_load_gives(
    sweep: Path, publish: Callable[[Path], str], batch_size: int, names: str | None
) -> None:
    location = publish(sweep)
    runs = Run.load(iter_run_dirs(location, names), ModelDir)
    batches = list(iter_runs(location, names, ModelDir, batch_size=batch_size))
    assert [len(batch) for batch in batches[:-1]] == [batch_size] * (len(batches) - 1)
    together = [run for batch in batches for run in batch]
    assert [describe(run) for run in together] == [describe(run) for run in runs]
    assert [run.impl.path for run in together] == [run.path() for run in runs]


class ModelDir:
    def __init__(self, path: Path) -> None:
        self.path = path


@pytest.mark.parametrize("include_deleted", [None, False, True])
def test_batches_leave_out_what_is_deleted_or_no_run(
    tracking_dir: TrackingDir, publish: Callable[[Path], str], include_deleted: bool | None
) -> None:
    for name in ("a", "b"):
        experiment = tracking_dir.add_experiment(name, name)
        for i in range(5):
            stage = "deleted" if i == 2 else "active"
            tracking_dir.add_run(experiment, f"r{i}", f"i: {i}", lifecycle_stage=stage)
        shutil.copytree(experiment / "r0", experiment / "models" / "m-1")
        write(experiment / "notes" / "todo.txt", "nothing")
    location = publish(tracking_dir.root)
    batches = iter_runs(location, batch_size=2, include_deleted=include_deleted)
    ids = [run.info.run_id for runs in batches for run in runs]
    expected = Run.load(iter_run_dirs(location, include_deleted=include_deleted))
    assert ids == expected.to_list("run_id")
    assert len(ids) == (10 if include_deleted else 8)


def test_batches_read_ahead_of_nothing_and_hold_nothing(
    tracking_dir: TrackingDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_runs(tracking_dir, 40, make_distinct_config)
    read: list[list[str]] = []
    read_parsed = LocalStorage.read_parsed

    def count(self: LocalStorage, paths: list[str], parse: Any) -> Any:
        read.append(paths)
        return read_parsed(self, paths, parse)

    monkeypatch.setattr(LocalStorage, "read_parsed", count)
    batches = iter_runs(tracking_dir.root, batch_size=10)
    assert read == []
    for number in range(1, 5):
        runs = next(batches)
        assert [len(paths) for paths in read] == [1] + [10, 10] * number
        batch = weakref.ref(runs)
        del runs
        assert batch() is None
    assert list(batches) == []


def test_batch_with_bad_runs_is_an_error_or_leaves_them_out(
    tracking_dir: TrackingDir, caplog: pytest.LogCaptureFixture
) -> None:
    experiment = tracking_dir.add_experiment("train")
    for i in range(9):
        tracking_dir.add_run(experiment, f"r{i}", "- 1" if i == 4 else f"i: {i}")
    write(experiment / "r5/meta.yaml", "- 1")
    batches = iter_runs(tracking_dir.root, batch_size=3)
    assert next(batches).to_list("i") == [0, 1, 2]
    with pytest.raises(RunLoadError, match="2 of 3 runs could not be read") as raised:
        next(batches)
    assert [Path(failure.path).relative_to(experiment) for failure in raised.value.failures] == [
        Path("r5"), Path("r4/artifacts/.hydra/config.yaml"),
    ]  # fmt: skip
    batches = iter_runs(tracking_dir.root, batch_size=3, on_error="warn")
    assert [runs.to_list("i") for runs in batches] == [[0, 1, 2], [3], [6, 7, 8]]
    assert "2 of 3 runs could not be read and left out" in caplog.text


def test_batches_report_bad_experiments_first(tracking_dir: TrackingDir) -> None:
    add_runs(tracking_dir, 3, make_shared_config)
    write(tracking_dir.add_experiment("bad", "2") / "meta.yaml", "- 1")
    with pytest.raises(RunLoadError, match="1 of 2 experiments"):
        next(iter_runs(tracking_dir.root))
    assert [len(runs) for runs in iter_runs(tracking_dir.root, on_error="warn")] == [3]


def test_batches_of_what_is_not_there(tracking_dir: TrackingDir) -> None:
    tracking_dir.add_experiment("train")
    assert list(iter_runs(tracking_dir.root)) == []
    assert list(iter_runs(tracking_dir.root, "none")) == []
    with pytest.raises(NotFoundError, match="nowhere"):
        next(iter_runs(tracking_dir.root / "nowhere"))


@pytest.mark.parametrize("batch_size", [0, -1, 1.5, True, "all", None])
def test_bad_batch_size(batch_size: Any) -> None:
    with pytest.raises(OptionError) as raised:
        iter_runs("nowhere", batch_size=batch_size)
    assert str(raised.value) == f"batch_size: expected a positive integer, found {batch_size!r}"


def test_progress_moves_with_each_batch(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in iter_runs(sweep, batch_size=10, progress=True):
        pass
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "31/31" in shown.err


MIXED = ["lr: 1\nn: null\nsizes: [1]\n", "lr: 0.5\nn: 2\nsizes: [0.5]\nextra: x\n"]
"""Configurations that make other types of columns, and other columns."""


def test_batches_are_written_with_a_schema(tracking_dir: TrackingDir, tmp_path: Path) -> None:
    """As docs/scaling.md shows it."""
    experiment = tracking_dir.add_experiment("train")
    for i, config in enumerate(MIXED):
        tracking_dir.add_run(experiment, f"r{i}", config)
    schema: dict[str, Any] = {
        "run_id": pl.String,
        "lr": pl.Float64,
        "n": pl.Int64,
        "sizes": pl.List(pl.Float64),
        "extra": pl.String,
    }
    for number, runs in enumerate(iter_runs(tracking_dir.root, batch_size=1)):
        frame = runs.to_frame(*schema, defaults=dict.fromkeys(schema)).cast(schema)
        frame.write_parquet(tmp_path / f"{number:05}.parquet")
    assert pl.scan_parquet(tmp_path / "*.parquet").collect().to_dict(as_series=False) == {
        "run_id": ["r0", "r1"],
        "lr": [1.0, 0.5],
        "n": [None, 2],
        "sizes": [[1.0], [0.5]],
        "extra": [None, "x"],
    }
    (bad,) = iter_runs(tracking_dir.root, batch_size=10)
    with pytest.raises(pl.exceptions.InvalidOperationError, match="conversion from"):
        bad.to_frame("run_id").cast({"run_id": pl.Int64})


def test_batches_of_all_columns_are_put_together_by_their_common_types(
    tracking_dir: TrackingDir, tmp_path: Path
) -> None:
    """As docs/scaling.md shows it."""
    experiment = tracking_dir.add_experiment("train")
    for i, config in enumerate(MIXED):
        tracking_dir.add_run(experiment, f"r{i}", config)
    for number, runs in enumerate(iter_runs(tracking_dir.root, batch_size=1)):
        runs.to_frame().write_parquet(tmp_path / f"{number:05}.parquet")
    parts = [pl.scan_parquet(path) for path in sorted(tmp_path.glob("*.parquet"))]
    frame = pl.concat(parts, how="diagonal_relaxed").collect()
    together = Run.load(iter_run_dirs(tracking_dir.root)).to_frame()
    assert frame.select(together.columns).equals(together)
    assert frame.schema == together.schema
    with pytest.raises(pl.exceptions.PolarsError):
        pl.scan_parquet(tmp_path / "*.parquet").collect()


# HTTP ----------------------------------------------------------------------------------


def test_run_by_url(sweep: Path, serve: Callable[[Path], WebServer]) -> None:
    server = serve(sweep)
    expected = Run(next(iter_run_dirs(sweep, "train_digits_v1")))
    path = expected.info.run_dir.relative_to(sweep).as_posix()
    run = Run(f"{server.url}/{path}")
    assert run.cfg == expected.cfg
    assert (run.metrics, run.params, run.tags) == (
        expected.metrics,
        expected.params,
        expected.tags,
    )
    assert (run.info.run_id, run.info.status, run.info.job_name) == (
        expected.info.run_id,
        "FINISHED",
        "train_digits_v1",
    )
    assert run.path(".hydra/overrides.yaml").read_bytes()
    runs = Run.load([f"{server.url}/{path}/"] * 2)
    assert [r.cfg for r in runs] == [expected.cfg] * 2


def test_tracking_directory_by_url(sweep: Path, serve: Callable[[Path], WebServer]) -> None:
    runs = Run.load(iter_run_dirs(serve(sweep).url, "train_*"), n_jobs=2)
    assert runs.to_list("run_id") == [path.name for path in iter_run_dirs(sweep, "train_*")]


def test_metric_names_with_spaces_by_url(
    tracking_dir: TrackingDir, serve: Callable[[Path], WebServer]
) -> None:
    metrics = {"val/a b": "1 0.5 1\n"}
    tracking_dir.add_run(tracking_dir.add_experiment("train"), "a", metrics=metrics)
    assert Run(f"{serve(tracking_dir.root).url}/1/a").metrics == {"val/a b": 0.5}


@pytest.mark.parametrize("status", [403, 404])
def test_server_that_does_not_list_directories_has_no_empty_metrics(
    tracking_dir: TrackingDir, serve: Callable[[Path], WebServer], status: int
) -> None:
    tracking_dir.add_run(tracking_dir.add_experiment("train"), "a", "lr: 1")
    server = serve(tracking_dir.root)
    server.answers["/metrics"] = [status] * 9
    run = Run(f"{server.url}/1/a")
    assert run.cfg == {"lr": 1}
    with pytest.raises(StorageError) as raised:
        _ = run.metrics
    assert str(raised.value).startswith(f"cannot list the directory '{server.url}/1/a/metrics': ")
    assert ("access denied" if status == 403 else "list directories") in str(raised.value)


@pytest.mark.parametrize("status", [401, 403, 500])
def test_refused_config_by_url_is_never_an_empty_one(
    tracking_dir: TrackingDir, serve: Callable[[Path], WebServer], status: int, no_waiting: None
) -> None:
    experiment = tracking_dir.add_experiment("train")
    run_dirs = [tracking_dir.add_run(experiment, name) for name in "ab"]
    server = serve(tracking_dir.root)
    server.answers["/b/artifacts/.hydra/config.yaml"] = [status] * 99
    urls = [f"{server.url}/1/{run_dir.name}" for run_dir in run_dirs]
    with pytest.raises(RunLoadError, match=f"1 of 2 runs could not be read(.|\n)*{status}"):
        Run.load(urls)
    with pytest.raises(StorageError, match="access denied" if status < 500 else "cannot read"):
        _ = Run(urls[1]).cfg
