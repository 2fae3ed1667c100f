"""Configurations of many runs: read here, in jobs, or known to the index."""

from __future__ import annotations

import os
import pickle
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import joblib
import pytest

from kedro_hydraflow import HydraflowRunCollectionDataset, Run, iter_run_dirs, iter_runs
from kedro_hydraflow.errors import ConfigError, RunLoadError, StorageError, UnreachableError
from kedro_hydraflow.finding import Search, find_runs
from kedro_hydraflow.index_file import FILE_NAME
from kedro_hydraflow.loading import LoadOptions, load_runs
from kedro_hydraflow.source import Source
from kedro_hydraflow.storage import LocalStorage, Parsed
from kedro_hydraflow.stores.file_store import FileStore
from tests.conftest import (
    SWEEP_NAMES,
    Database,
    FilesRead,
    TrackingDir,
    WebServer,
    replace_meta,
    write,
    write_sweep,
)


def surrounding(backend: str | None) -> AbstractContextManager[object]:
    return nullcontext() if backend is None else joblib.parallel_config(backend=backend)


# The same on every kind of storage ------------------------------------------------------


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


def test_config_may_be_missing_everywhere(
    tracking_dir: TrackingDir, publish: Callable[[Path], str]
) -> None:
    tracking_dir.add_run(tracking_dir.add_experiment("train"), "a", config=None)
    (run_dir,) = iter_run_dirs(publish(tracking_dir.root))
    assert Run.load([run_dir])[0].cfg == {}
    assert Run(run_dir).cfg == {}
    assert Run.load([run_dir / "nowhere"])[0].cfg == {}


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


@dataclass
class Traced:
    """Each run says where its configuration was merged."""

    i: int = 0
    process: int = field(default_factory=os.getpid)
    thread: int = field(default_factory=threading.get_ident)


@pytest.mark.parametrize(
    ("backend", "here"),
    [(None, False), ("loky", False), ("threading", True), ("multiprocessing", False)],
)
def test_jobs_run_on_the_surrounding_backend(
    tracking_dir: TrackingDir, backend: str | None, here: bool
) -> None:
    tracking_dir.add_runs(70)
    with surrounding(backend):
        runs = Run.load(iter_run_dirs(tracking_dir.root), n_jobs=2, config_class=Traced)
    assert runs.to_list("i") == [*range(70)]
    assert all((process == os.getpid()) is here for process in runs.to_list("process"))
    assert threading.get_ident() not in runs.to_list("thread") or not here


def test_each_file_is_read_once(sweep: Path, files_read: FilesRead) -> None:
    """A scan knows the facts, so that filters on them read nothing again."""
    runs = load_runs(find_runs(Search(Source(sweep))).runs, Run, LoadOptions()).runs
    assert {run.info.status for run in runs} == {"FINISHED", "FAILED"}
    assert {run.info.job_name for run in runs} == set(SWEEP_NAMES)
    read = files_read.paths
    assert len(read) == len(set(read)) == 4 + 31 + 31  # of three experiments and "Default"


# Whether jobs pay ------------------------------------------------------------------------


@pytest.fixture
def many_runs(tracking_dir: TrackingDir) -> Path:
    """More runs than are read here to find out whether jobs pay."""
    tracking_dir.add_runs(600)
    return tracking_dir.root


@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize("pays", [True, False])
@pytest.mark.parametrize("backend", [None, "loky", "threading"])
def test_one_job_for_each_core_stays_here_where_jobs_do_not_pay(
    many_runs: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    pays: bool,
    backend: str | None,
) -> None:
    monkeypatch.setattr("kedro_hydraflow.parallel.pays", lambda seconds: pays)
    with surrounding(backend):
        runs = Run.load(iter_run_dirs(many_runs), n_jobs=-1, config_class=Traced, progress=True)
    assert runs.to_list("i") == [*range(600)]
    assert "600/600" in capsys.readouterr().err
    if joblib.effective_n_jobs(-1) > 1:
        in_jobs = {(os.getpid(), threading.get_ident())} != {
            *zip(runs.to_list("process"), runs.to_list("thread"), strict=True)
        }
        assert in_jobs is (pays or backend == "threading")


@pytest.mark.parametrize("pays", [True, False])
def test_unreachable_storage_is_not_asked_again(
    many_runs: Path, monkeypatch: pytest.MonkeyPatch, pays: bool
) -> None:
    """Jobs would find the files: the outage is known in this process alone."""
    monkeypatch.setattr("kedro_hydraflow.parallel.pays", lambda seconds: pays)
    run_dirs = [*iter_run_dirs(many_runs)]
    sizes: list[int] = []

    def read_parsed(self: LocalStorage, paths: list[str], parse: Any) -> Any:
        sizes.append(len(paths))
        return Parsed([UnreachableError("down")] * len(paths), [None] * len(paths))

    monkeypatch.setattr(LocalStorage, "read_parsed", read_parsed)
    with pytest.raises(RunLoadError, match="600 of 600 runs"):
        Run.load(run_dirs, n_jobs=-1)
    assert sizes == [500]


# HTTP ----------------------------------------------------------------------------------


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


# Known to the index ------------------------------------------------------------------------


def get_runs_read(files_read: FilesRead) -> list[str]:
    """Return whose configurations were read, and whose ``meta.yaml``, these with a slash."""
    paths = list(map(Path, files_read.paths))
    return [
        path.parents[2].name if path.name == "config.yaml" else f"{path.parent.name}/"
        for path in paths
        if path.name == "config.yaml" or path.parent.name.startswith("run")
    ]


RUNS = ["run0", "run1", "run2"]
METAS = ["run0/", "run1/", "run2/"]


@pytest.fixture
def root(tracking_dir: TrackingDir) -> Path:
    """Three runs, written just now."""
    experiment = tracking_dir.add_experiment("train")
    for i in range(3):
        tracking_dir.add_run(experiment, f"run{i}", f"seed: {i}\nmodel: {{type: mlp}}\n")
    return tracking_dir.root


def seeds(root: Any, index: Any) -> list[int]:
    return Run.load(iter_run_dirs(root), index=index).to_list("seed")


def test_known_runs_are_not_read(
    root: Path, tmp_path: Path, files_read: FilesRead, later: Callable[[], None]
) -> None:
    later()
    assert seeds(root, tmp_path / "index") == [0, 1, 2]
    assert get_runs_read(files_read) == METAS + RUNS
    for _ in range(2):
        runs = Run.load(iter_run_dirs(root), index=tmp_path / "index")
        assert runs.to_list("seed") == [0, 1, 2]
        assert runs.to_list("status") == ["FINISHED"] * 3
    assert len(get_runs_read(files_read)) == 6


def test_given_directories_are_known_too(
    root: Path, tmp_path: Path, files_read: FilesRead, later: Callable[[], None]
) -> None:
    later()
    run_dirs = [root / "1" / run for run in (*RUNS, "run3", "run0")]
    for _ in range(2):
        runs = Run.load(run_dirs, index=tmp_path / "index")
        assert [run.get("seed", None) for run in runs] == [0, 1, 2, None, 0]
    assert get_runs_read(files_read)[:5] == [*RUNS, "run3", "run0"]
    assert sorted(get_runs_read(files_read)[5:]) == ["run0", "run3"]


def test_what_changed_and_what_is_new_is_read(
    root: Path, tmp_path: Path, files_read: FilesRead, later: Callable[[], None]
) -> None:
    later()
    seeds(root, tmp_path / "index")
    config = root / "1/run1/artifacts/.hydra/config.yaml"
    old = config.stat()
    config.write_text("seed: 7\nmodel: {type: mlp}\n")  # of the same size
    os.utime(config, ns=(old.st_atime_ns, old.st_mtime_ns))
    TrackingDir(root).add_run(root / "1", "run3", "seed: 3\n")
    files_read.clear()
    assert seeds(root, tmp_path / "index") == [0, 7, 2, 3]
    assert get_runs_read(files_read) == ["run3/", "run1", "run3"]


def test_a_run_that_was_replaced_or_removed_is_not_known(
    root: Path, tmp_path: Path, later: Callable[[], None]
) -> None:
    later()
    seeds(root, tmp_path / "index")
    (root / "1/run0").rename(tmp_path / "away")
    (root / "1/run2").rename(root / "1/run0")
    assert seeds(root, tmp_path / "index") == [2, 1]


def test_a_run_that_ended_or_was_deleted_is_noticed(
    root: Path, tmp_path: Path, later: Callable[[], None]
) -> None:
    later()
    seeds(root, tmp_path / "index")
    replace_meta(root / "1/run0", status=4)
    replace_meta(root / "1/run1", lifecycle_stage="deleted")
    runs = Run.load(iter_run_dirs(root), index=tmp_path / "index")
    assert runs.to_list("run_id") == ["run0", "run2"]
    assert runs.to_list("status") == ["FAILED", "FINISHED"]


def test_what_was_changed_just_now_is_read_again(
    root: Path, tmp_path: Path, files_read: FilesRead
) -> None:
    seeds(root, tmp_path / "index")
    seeds(root, tmp_path / "index")
    assert get_runs_read(files_read) == (METAS + RUNS) * 2


def test_without_an_index_everything_is_read(
    root: Path, files_read: FilesRead, later: Callable[[], None]
) -> None:
    later()
    seeds(root, index=False)
    seeds(root, index=False)
    assert get_runs_read(files_read) == (METAS + RUNS) * 2


def test_a_broken_index_costs_a_reading(
    root: Path, tmp_path: Path, files_read: FilesRead, later: Callable[[], None]
) -> None:
    later()
    seeds(root, tmp_path / "index")
    (tmp_path / "index" / FILE_NAME).write_bytes(b"no database" * 99)
    assert seeds(root, tmp_path / "index") == [0, 1, 2]
    assert get_runs_read(files_read) == (METAS + RUNS) * 2


@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize("n_jobs", [0, 2])
def test_only_what_is_not_known_goes_to_jobs(
    tracking_dir: TrackingDir,
    tmp_path: Path,
    later: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    n_jobs: int,
) -> None:
    experiment = tracking_dir.add_experiment("train")
    for i in range(80):
        tracking_dir.add_run(experiment, f"run{i:02}", f"seed: {i}\n")
    later()
    loaded: list[int] = []
    read_configs = FileStore.read_configs

    def read(self: FileStore, records: Any, reader: Any) -> Any:
        loaded.append(len(records))
        return read_configs(self, records, reader)

    monkeypatch.setattr(FileStore, "read_configs", read)
    for expected, unknown in ((80, 80), (100, 20), (100, 0)):
        loaded.clear()
        with joblib.parallel_config(backend="threading"):  # processes would have their own clock
            runs = Run.load(
                iter_run_dirs(tracking_dir.root),
                n_jobs=n_jobs,
                index=tmp_path / "index",
                progress=True,
            )
        assert runs.to_list("seed") == [*range(expected)]
        shown = capsys.readouterr().err
        assert (f"{expected}/{expected} [" in shown) == (unknown > 0)
        assert f"/{expected} [" in shown  # files are looked at in any case
        for i in range(80, 100) if unknown == 80 else ():
            tracking_dir.add_run(experiment, f"run{i}", f"seed: {i}\n")
        later()
        assert sum(loaded) == unknown


def test_batches_are_known(
    root: Path, tmp_path: Path, files_read: FilesRead, later: Callable[[], None]
) -> None:
    later()
    for _ in range(2):
        batches = iter_runs(root, batch_size=2, index=tmp_path / "index")
        assert [runs.to_list("seed") for runs in batches] == [[0, 1], [2]]
    assert sorted(get_runs_read(files_read)) == sorted(METAS + RUNS)


def test_what_is_merged_with_a_class_is_not_remembered(
    root: Path, tmp_path: Path, later: Callable[[], None]
) -> None:
    later()
    for index in (tmp_path / "index", tmp_path / "index", False):
        runs = Run.load(iter_run_dirs(root), index=index, config_class=Defaults)
        assert runs.to_list("epochs") == [10, 10, 10]
    assert "epochs" not in Run.load(iter_run_dirs(root), index=tmp_path / "index")[0].cfg


@dataclass
class Defaults:
    seed: int = 0
    model: Any = None
    epochs: int = 10


def test_an_outage_is_not_remembered(
    root: Path, tmp_path: Path, serve: Callable[[Path], WebServer], no_waiting: None
) -> None:
    server = serve(root.parent)
    server.answers["run1/artifacts/.hydra/config.yaml"] = [503] * 20
    url = f"{server.url}/mlruns"
    runs = Run.load(iter_run_dirs(url), index=tmp_path / "index", on_error="warn")
    assert runs.to_list("seed") == [0, 2]
    server.answers.clear()
    assert seeds(url, tmp_path / "index") == [0, 1, 2]


def test_a_removed_configuration_is_not_known_any_more(
    root: Path, tmp_path: Path, later: Callable[[], None]
) -> None:
    later()
    seeds(root, tmp_path / "index")
    (root / "1/run1/artifacts/.hydra/config.yaml").unlink()
    runs = Run.load(iter_run_dirs(root), index=tmp_path / "index")
    assert [run.get("seed", None) for run in runs] == [0, None, 2]


def test_a_bad_configuration_is_not_remembered(
    root: Path, tmp_path: Path, files_read: FilesRead, later: Callable[[], None]
) -> None:
    (root / "1/run1/artifacts/.hydra/config.yaml").write_text("[")
    later()
    for _ in range(2):
        runs = Run.load(iter_run_dirs(root), index=tmp_path / "index", on_error="warn")
        assert runs.to_list("seed") == [0, 2]
    assert get_runs_read(files_read) == [*METAS, *RUNS, "run1"]


def test_on_remote_storage_only_ended_runs_are_known(
    root: Path, tmp_path: Path, serve: Callable[[Path], WebServer]
) -> None:
    for run, entry, value in (("run1", "status", 1), ("run2", "lifecycle_stage", "deleted")):
        replace_meta(root / "1" / run, **{entry: value})
    server = serve(root.parent)
    url = f"{server.url}/mlruns"
    for _ in range(2):
        dataset = HydraflowRunCollectionDataset(path=url, index=str(tmp_path / "index"))
        assert dataset.load().to_list("seed") == [0, 1]
    assert server.count("run0/artifacts/.hydra/config.yaml") == 1
    assert server.count("run0/meta.yaml") == 1
    assert server.count("mlruns/1/meta.yaml") == 1
    assert server.count("run1/artifacts/.hydra/config.yaml") == 2
    assert server.count("run2/artifacts/.hydra/config.yaml") == 2


def test_on_remote_storage_nothing_is_remembered_unasked(
    root: Path, serve: Callable[[Path], WebServer]
) -> None:
    server = serve(root.parent)
    for _ in range(2):
        Run.load(iter_run_dirs(f"{server.url}/mlruns"))
    assert server.count("run0/artifacts/.hydra/config.yaml") == 2
    assert server.count("run0/meta.yaml") == 0


def test_given_remote_directories_are_read(
    root: Path, tmp_path: Path, serve: Callable[[Path], WebServer]
) -> None:
    """No listing has told that they are still there."""
    server = serve(root.parent)
    seeds(f"{server.url}/mlruns", tmp_path / "index")
    for _ in range(2):
        Run.load([f"{server.url}/mlruns/1/run0"], index=tmp_path / "index")
    assert server.count("run0/artifacts/.hydra/config.yaml") == 3


def test_configurations_of_ended_runs_of_a_database_are_known(
    tmp_path: Path, serve: Callable[[Path], WebServer]
) -> None:
    database = Database(tmp_path / "mlflow.db")
    experiment = database.add_experiment("train")
    for run_id, status in (("run0", "FINISHED"), ("run1", "RUNNING")):
        database.add_run(experiment, run_id, status=status)
        write(tmp_path / f"bucket/1/{run_id}/artifacts/.hydra/config.yaml", "seed: 3")
    server = serve(tmp_path / "bucket")
    for _ in range(2):
        dirs = iter_run_dirs(database.path, artifact_root=server.url)
        assert Run.load(dirs, index=tmp_path / "index").to_list("seed") == [3, 3]
    assert server.count("run0/artifacts/.hydra/config.yaml") == 1
    assert server.count("run1/artifacts/.hydra/config.yaml") == 2


# Results known to the index ----------------------------------------------------------------


def write_results(root: Path) -> None:
    for i in range(3):
        write(root / f"1/run{i}/artifacts/result.json", f'{{"loss": {i}, "all": [{i}, NaN]}}')


def load_losses(root: Any, index: Any, results: str = "result.json", **options: Any) -> list[Any]:
    runs = Run.load(iter_run_dirs(root), index=index, results=results, **options)
    return runs.to_list("results.loss", None)


def get_results_read(files_read: FilesRead, name: str = "result.json") -> list[str]:
    """Return whose results were read, since the last call."""
    paths = [Path(path) for path in files_read.paths if path.endswith(name)]
    files_read.clear()
    return [path.parents[1].name for path in paths]


def test_known_results_are_not_read(
    root: Path, tmp_path: Path, files_read: FilesRead, later: Callable[[], None]
) -> None:
    write_results(root)
    later()
    for expected in (RUNS, [], []):
        runs = Run.load(iter_run_dirs(root), index=tmp_path / "index", results="result.json")
        assert runs.to_list("results.loss") == [0, 1, 2]
        assert repr(runs[1].results) == "{'loss': 1, 'all': [1, nan]}"
        assert get_results_read(files_read) == expected
    (batch,) = iter_runs(root, index=tmp_path / "index", results="./result.json")
    assert batch.to_list("results.loss") == [0, 1, 2]
    dataset = HydraflowRunCollectionDataset(
        path=str(root), index=str(tmp_path / "index"), results="result.json"
    )
    assert dataset.load().to_list("results.loss") == [0, 1, 2]
    assert get_results_read(files_read) == []
    assert load_losses(root, False) == [0, 1, 2]  # noqa: FBT003 - as in a catalog
    assert get_results_read(files_read) == RUNS


def test_rewritten_results_are_read(
    root: Path, tmp_path: Path, files_read: FilesRead, later: Callable[[], None]
) -> None:
    write_results(root)
    later()
    load_losses(root, tmp_path / "index")
    file = root / "1/run1/artifacts/result.json"
    old = file.stat()
    file.write_text('{"loss": 7, "all": [1, NaN]}')  # of the same size
    os.utime(file, ns=(old.st_atime_ns, old.st_mtime_ns))
    (root / "1/run2/artifacts/result.json").unlink()
    files_read.clear()
    assert load_losses(root, tmp_path / "index") == [0, 7, None]
    assert get_results_read(files_read) == ["run1", "run2"]


def test_results_of_another_file_are_not_taken_for_those(
    root: Path, tmp_path: Path, files_read: FilesRead, later: Callable[[], None]
) -> None:
    write_results(root)
    write(root / "1/run0/artifacts/out/result.json", '{"loss": 5}')
    later()
    load_losses(root, tmp_path / "index")
    files_read.clear()
    assert load_losses(root, tmp_path / "index", "out/result.json") == [5, None, None]
    assert load_losses(root, tmp_path / "index", "result.yaml") == [None] * 3
    assert load_losses(root, tmp_path / "index") == [0, 1, 2]
    assert len(get_results_read(files_read)) == 3  # those in `out`


def test_bad_and_absent_results_are_not_remembered(
    root: Path, tmp_path: Path, files_read: FilesRead, later: Callable[[], None]
) -> None:
    write(root / "1/run0/artifacts/result.json", "[")
    later()
    for _ in range(2):
        assert load_losses(root, tmp_path / "index", on_error="warn") == [None] * 3
        assert get_results_read(files_read) == RUNS
    write_results(root)
    assert load_losses(root, tmp_path / "index") == [0, 1, 2]


def test_results_in_a_process_that_got_the_runs_are_read_without_an_index(
    root: Path, tmp_path: Path, files_read: FilesRead, later: Callable[[], None]
) -> None:
    write_results(root)
    later()
    load_losses(root, tmp_path / "index")
    runs = Run.load(iter_run_dirs(root), index=tmp_path / "index", results="result.json")
    travelled = pickle.loads(pickle.dumps(runs))
    assert str(tmp_path / "index").encode() not in pickle.dumps(runs)
    files_read.clear()
    assert travelled.to_list("results.loss") == [0, 1, 2]
    assert get_results_read(files_read) == RUNS


def test_on_remote_storage_results_of_ended_runs_are_known(
    root: Path, tmp_path: Path, serve: Callable[[Path], WebServer]
) -> None:
    write_results(root)
    replace_meta(root / "1/run1", status=1)
    (root / "1/run2/artifacts/result.json").unlink()
    server = serve(root.parent)
    url = f"{server.url}/mlruns"
    for _ in range(2):
        assert load_losses(url, tmp_path / "index") == [0, 1, None]
    assert server.count("run0/artifacts/result.json") == 1
    assert server.count("run1/artifacts/result.json") == 2
    assert server.count("run2/artifacts/result.json") == 2  # it may still be written
    Run.load([f"{url}/1/run0"], index=tmp_path / "index", results="result.json")[0].get("results")
    assert server.count("run0/artifacts/result.json") == 2  # no listing has told that it is there


def test_on_remote_storage_results_of_hydra_are_read(
    tmp_path: Path, serve: Callable[[Path], WebServer]
) -> None:
    """Nothing tells when a job has ended."""
    sweep = write_sweep(tmp_path / "multirun/2026-11-25/23-01-50", 2)
    for i in range(2):
        write(sweep / f"{i}/result.json", f'{{"loss": {i}}}')
    server = serve(tmp_path)
    for _ in range(2):
        assert load_losses(f"{server.url}/multirun", tmp_path / "index") == [0, 1]
    assert server.count("0/result.json") == 2


def test_results_of_hydra_and_of_a_database_are_known(
    tmp_path: Path, files_read: FilesRead, later: Callable[[], None]
) -> None:
    sweep = write_sweep(tmp_path / "multirun/2026-11-25/23-01-50", 2)
    database = Database(tmp_path / "tracked/mlflow.db")
    experiment = database.add_experiment("train")
    for i in range(2):
        database.add_run(experiment, f"run{i}")
        artifacts = tmp_path / f"tracked/mlruns/1/run{i}/artifacts"
        write(artifacts / ".hydra/config.yaml", "{}\n")
        for folder in (sweep / str(i), artifacts):
            write(folder / "result.json", f'{{"loss": {i}}}')
    later()
    for location in (sweep, database.path):
        for count in (2, 0):
            assert load_losses(location, tmp_path / "index") == [0, 1]
            assert len(get_results_read(files_read)) == count
