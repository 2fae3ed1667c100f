from __future__ import annotations

import copy
import os
import pickle
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import joblib
import pytest
from upath import UPath

from conftest import TrackingDir, WebServer, write
from kedro_hydraflow import (
    Run,
    RunCollection,
    get_experiment_names,
    iter_artifact_paths,
    iter_artifacts_dirs,
    iter_experiment_dirs,
    iter_run_dirs,
)
from kedro_hydraflow.errors import (
    ConfigError,
    NotFoundError,
    OptionError,
    RunLoadError,
    StorageError,
    TrackingDirectoryError,
)
from kedro_hydraflow.loading import _ConfigLoader, load_runs, scan_runs
from kedro_hydraflow.storage import LocalStorage

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
    monkeypatch.setattr("kedro_hydraflow.loading._ConfigLoader", TracingLoader)
    with surrounding(backend):
        assert len(Run.load(iter_run_dirs(tracking_dir.root), n_jobs=2)) == 70
    traces = [path.name.split("-")[1:] for path in tracking_dir.root.parent.glob("trace-*")]
    assert traces
    assert all((process == f"{os.getpid()}") is here for process, _ in traces)
    if here:
        assert all(thread != f"{threading.get_ident()}" for _, thread in traces)


class TracingLoader(_ConfigLoader):
    def __reduce__(self) -> tuple[Any, ...]:
        return TracingLoader, (self._config_class, self._discovered)

    def __call__(self, places: Any) -> Any:
        trace = f"trace-{os.getpid()}-{threading.get_ident()}"
        write(Path(places[0][1]).parents[2] / trace, "")
        return super().__call__(places)


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
    read_many = LocalStorage.read_many

    def count(self: LocalStorage, paths: list[str]) -> Any:
        read.extend(paths)
        return read_many(self, paths)

    monkeypatch.setattr(LocalStorage, "read_many", count)
    runs, _ = load_runs(scan_runs(sweep).runs, run_class=Run)
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
    read_many = LocalStorage.read_many

    def count(self: LocalStorage, paths: list[str]) -> Any:
        read.extend(paths)
        return read_many(self, paths)

    monkeypatch.setattr(LocalStorage, "read_many", count)
    assert set(runs.to_list("job_name")) == set(NAMES)
    assert len(read) == expected


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
