"""Hydra alone: its output directories, without tracking data."""

from __future__ import annotations

import copy
import json
import logging
import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import joblib
import pytest
from kedro.io import DatasetError
from polars.testing import assert_frame_equal

from kedro_hydraflow import (
    HydraflowArtifactDataset,
    HydraflowRunCollectionDataset,
    HydraflowRunDataset,
    Run,
    RunCollection,
    RunInfo,
    get_experiment_names,
    iter_artifact_paths,
    iter_experiment_dirs,
    iter_run_dirs,
    iter_runs,
)
from kedro_hydraflow.errors import (
    MissingKeyError,
    NotFoundError,
    RunLoadError,
    TrackingDirectoryError,
)
from kedro_hydraflow.run_info import read_config
from kedro_hydraflow.source import Source
from kedro_hydraflow.storage import locate
from kedro_hydraflow.stores import open_store
from kedro_hydraflow.stores.hydra_store import HydraStore
from tests.conftest import HYDRA_SWEEP, FilesRead, write, write_job, write_sweep
from tests.stores.conftest import Requests

SWEEP = "multirun/2026-11-25/23-01-50"
FAILED = "multirun/2026-11-25/23-01-54/1"
IDS = [
    *(f"{SWEEP}/{number}" for number in range(12)),
    "multirun/2026-11-25/23-01-54/0",
    FAILED,
    "multirun/named/optim=long,seed=5",
    "multirun/named/optim=plain,seed=5",
    "outputs/2026-11-25/23-02-10",
    "outputs/2026-11-25/23-02-12",
    "outputs/2026-11-25/23-01-56",  # of another job
]
KEYS = ("run_id", "job_name", "experiment_id", "model.name", "optim.lr", "seed", "title")


def find_ids(*args: Any, **kwargs: Any) -> list[str]:
    """Return the IDs of the runs that a search finds, in order."""
    return [info.run_id for info in iter_run_dirs(*args, **kwargs).iter_infos()]


def load(*args: Any, **kwargs: Any) -> RunCollection[Run[Any, Any]]:
    return Run.load(iter_run_dirs(*args, **kwargs))


def below(url: str, path: str) -> str:
    """Append a path to a URL, in a chain to the first link."""
    link, separator, rest = url.partition("::")
    return f"{link}/{path}{separator}{rest}"


@pytest.fixture
def published(publish: Callable[[Path], str], tmp_path: Path) -> str:
    """The real directories on each kind of storage, in a directory of another name."""
    shutil.copytree(HYDRA_SWEEP, tmp_path / "curve")
    return publish(tmp_path / "curve")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "project"


# Real directories ----------------------------------------------------------------------


def test_all_runs(published: str) -> None:
    runs = load(published)
    assert runs.to_list("run_id") == IDS
    assert runs.to_list("job_name") == ["fit_curve"] * 18 + ["other_job"]
    assert runs[3].cfg == {
        "model": {"name": "cubic", "degree": 3},
        "optim": {"name": "plain", "lr": 0.5, "steps": 40},
        "seed": 2,
        "noise": 0.1,
        "title": "${model.name}-${optim.lr}",
        "started": "${now:%Y-%m-%d}",
    }
    assert runs[3].get("title") == "cubic-0.5"
    assert set(runs.to_list("experiment_id")) == {
        SWEEP,
        "multirun/2026-11-25/23-01-54",
        "multirun/named",
        "outputs/2026-11-25",
    }
    assert json.loads(runs[3].path("result.json").read_text())["n_weights"] == 4
    assert sorted(path.name for path in runs[3].glob("*.csv")) == ["metrics.csv"]


@pytest.mark.parametrize(
    "root",
    [
        "",
        "multirun",
        "outputs",
        "multirun/2026-11-25",
        SWEEP,
        "multirun/named",
        "outputs/2026-11-25",
    ],
)
def test_ids_do_not_depend_on_the_root(published: str, root: str) -> None:
    expected = [run_id for run_id in IDS if run_id.startswith(root)]
    url = below(published, root) if root else published
    runs = load(url)
    assert runs.to_list("run_id") == expected
    assert_frame_equal(
        runs.to_frame(*KEYS),
        load(HYDRA_SWEEP).filter(lambda run: run.info.run_id.startswith(root)).to_frame(*KEYS),
    )


def test_ids_of_relative_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(HYDRA_SWEEP / SWEEP)
    assert find_ids(".") == IDS[:12]
    assert find_ids("..") == IDS[:14]
    assert [str(path) for path in iter_run_dirs(".")][:2] == ["0", "1"]
    assert Run("3").info.run_id == f"{SWEEP}/3"
    assert Run("../23-01-54/1").info.run_id == FAILED
    monkeypatch.chdir("3")
    assert (Run(".").info.run_id, Run(".").get("seed")) == (f"{SWEEP}/3", 2)


def test_experiments_are_job_names(published: str) -> None:
    assert get_experiment_names(published) == ["fit_curve", "other_job"]
    assert find_ids(published, "other_*") == IDS[-1:]
    assert find_ids(published, ["fit_curve"]) == IDS[:-1]
    assert find_ids(published, lambda name: name.endswith("job")) == IDS[-1:]
    assert find_ids(published, "nothing*") == []
    with pytest.raises(NotFoundError, match=r"there is no experiment .nothing. in .*; found .fit_"):
        find_ids(published, "nothing")
    dirs = [directory.name for directory in iter_experiment_dirs(published)]
    assert dirs == ["23-01-50", "23-01-54", "named", "2026-11-25"]


def test_a_directory_given_as_a_run(published: str) -> None:
    searched = load(published)
    given = Run.load([below(published, run_id) for run_id in IDS])
    assert_frame_equal(given.to_frame(*KEYS), searched.to_frame(*KEYS))
    assert [run.cfg for run in given] == [run.cfg for run in searched]
    for run_id in (IDS[3], IDS[-1], IDS[-4]):
        run = Run.load(below(published, run_id))
        assert (run.info.run_id, run.get("seed")) == (run_id, searched.get(run_id=run_id)["seed"])
        assert run.info.job_name == searched.get(run_id=run_id).info.job_name
        assert run.info.experiment_id == searched.get(run_id=run_id).info.experiment_id
        assert run.path("weights.npz").stat().st_size > 100


def test_nothing_is_recorded(published: str) -> None:
    for run in (load(published)[0], Run(below(published, IDS[0]))):
        info = run.info
        assert (info.status, info.run_name, info.start_time, info.end_time) == (None,) * 4
        assert info.lifecycle_stage is None
        assert (run.metrics, run.params, run.tags) == ({}, {}, {})
        with pytest.raises(MissingKeyError, match="does not have the metric 'loss'"):
            run.metric_history("loss")
    for include_deleted in (True, False, None):
        assert find_ids(published, include_deleted=include_deleted) == IDS


def test_a_job_that_failed_is_a_run(published: str) -> None:
    run = load(published).get(run_id=FAILED)
    assert (run.get("optim.lr"), run.path("metrics.csv").exists()) == (9.0, True)
    assert not run.path("result.json").exists()


class Result:
    """What a job wrote."""

    def __init__(self, artifacts_dir: Path, cfg: Any = None) -> None:
        self.loss = json.loads((artifacts_dir / "result.json").read_text())["loss"]
        self.lr = cfg.optim.lr


def test_an_implementation(published: str) -> None:
    runs = Run.load(iter_run_dirs(below(published, SWEEP)), Result)
    losses = [json.loads((HYDRA_SWEEP / i / "result.json").read_text())["loss"] for i in IDS[:12]]
    assert runs.to_list("loss") == losses
    assert runs.best(by="loss", mode="min").info.run_id == IDS[losses.index(min(losses))]
    assert runs.group_by("model.name").agg(n=len).rows() == [("cubic", 4), ("line", 4), ("high", 4)]
    assert len(runs.filter(optim__lr=0.5, model__name=["line", "high"])) == 4
    assert Run(below(published, IDS[3]), Result).impl.lr == 0.5


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
@pytest.mark.parametrize("is_searched", [True, False])
def test_copies(published: str, duplicate: Callable[[Any], Any], is_searched: bool) -> None:
    dirs = [below(published, run_id) for run_id in IDS]
    runs = load(published) if is_searched else Run.load(dirs)
    copied = duplicate(runs)
    copied.update("seed", 99, force=True)
    assert_frame_equal(runs.to_frame(*KEYS), load(published).to_frame(*KEYS))
    assert copied.to_list("seed") == [99] * 19
    assert copied.to_list("job_name") == runs.to_list("job_name")
    one = duplicate(Run(dirs[3]))
    assert (one.get("seed"), one.info.job_name) == (2, "fit_curve")
    assert one.path("result.json").exists()


@pytest.mark.parametrize("batch_size", [1, 5, 100])
def test_batches(published: str, batch_size: int) -> None:
    batches = list(iter_runs(published, batch_size=batch_size))
    assert [run_id for runs in batches for run_id in runs.to_list("run_id")] == IDS
    assert {len(runs) for runs in batches[:-1]} <= {batch_size}
    (only,) = iter_runs(published, "other_job", layout="hydra")
    assert only.to_list("run_id") == IDS[-1:]


def test_jobs(published: str) -> None:
    with joblib.parallel_config("threading" if published.startswith("memory") else "loky"):
        runs = Run.load(iter_run_dirs(published), n_jobs=2)
    assert_frame_equal(runs.to_frame(*KEYS), load(published).to_frame(*KEYS))


# Datasets ------------------------------------------------------------------------------


def test_dataset_of_runs(published: str) -> None:
    dataset = HydraflowRunCollectionDataset(
        path=published, experiment_names="fit_*", filters=["model.name == high", "seed == 2"]
    )
    assert dataset.load().to_list("run_id") == [f"{SWEEP}/9", f"{SWEEP}/11"]
    assert dataset.exists()
    preview = dataset.preview(2)
    assert [row[0] for row in preview["data"]] == [f"{SWEEP}/9", f"{SWEEP}/11"]
    assert not HydraflowRunCollectionDataset(path=below(published, "absent")).exists()


def test_dataset_of_one_run(published: str) -> None:
    by_path = HydraflowRunDataset(filepath=below(published, f"{SWEEP}/3"))
    by_id = HydraflowRunDataset(path=published, run_id=f"{SWEEP}/1")  # the beginning of others
    for dataset, run_id in ((by_path, f"{SWEEP}/3"), (by_id, f"{SWEEP}/1")):
        assert dataset.load().info.run_id == run_id
        assert dataset.exists()
        assert json.loads(dataset.preview())["info"]["run_id"] == run_id
    begin = HydraflowRunDataset(path=published, run_id="outputs/2026-11-25/23-02-10")
    assert begin.load().get("seed") == 9
    assert not HydraflowRunDataset(path=published, run_id=f"{SWEEP}/99").exists()
    with pytest.raises(DatasetError, match=r"expected one run, found 12 in .*; give a longer"):
        HydraflowRunDataset(path=published, run_id=SWEEP).load()


@pytest.mark.parametrize("path", [SWEEP, "multirun/2026-11-25"])
def test_dataset_of_one_run_refuses_a_directory_above(path: str) -> None:
    with pytest.raises(DatasetError, match=r"is not a run directory: .*RunCollectionDataset"):
        HydraflowRunDataset(filepath=HYDRA_SWEEP / path).load()


def test_dataset_of_artifacts(published: str) -> None:
    options: dict[str, Any] = {"artifact": "result.json", "dataset": "json.JSONDataset"}
    with pytest.raises(DatasetError, match=rf"1 of 19 runs have no artifact .*\n- .*{FAILED}"):
        HydraflowArtifactDataset(path=published, **options).load()
    dataset = HydraflowArtifactDataset(path=published, missing="skip", **options)
    results = (
        pickle.loads(pickle.dumps(dataset.load()))
        if "memory" not in published
        else (dataset.load())
    )
    assert list(results) == [run_id for run_id in IDS if run_id != FAILED]
    assert results[IDS[3]]() == json.loads((HYDRA_SWEEP / IDS[3] / "result.json").read_text())
    curves = HydraflowArtifactDataset(
        path=published,
        artifact="metrics.csv",
        dataset="pandas.CSVDataset",
        concat=True,
        keys=["run_id", "seed"],
    ).load()
    assert list(curves.columns) == ["run_id", "seed", "step", "loss"]
    assert list(dict.fromkeys(curves["run_id"])) == IDS


def test_artifact_paths() -> None:
    paths = list(iter_artifact_paths(HYDRA_SWEEP, "result.json", "fit_curve"))
    assert paths[3] == HYDRA_SWEEP / SWEEP / "3/result.json"
    assert [path.exists() for path in paths].count(False) == 1


# Order and names -----------------------------------------------------------------------


def test_order_is_by_job_name_then_directory_with_numbers_by_value(root: Path) -> None:
    for number in (10, 9, 1):
        write_job(write_sweep(root / "multirun/10") / str(number), name="b")
    write_job(write_sweep(root / "multirun/9") / "0", name="b")
    write_job(root / "outputs/x", name="a")
    write_job(root / "outputs/10-00-00", name="b")
    write_sweep(root / "outputs/11-00-00", 2)
    for number in range(2):
        write_job(root / f"outputs/11-00-00/{number}", name="b")
    write_job(root / "outputs/12-00-00", name="b")
    expected = [
        "outputs/x",
        "multirun/9/0",
        *(f"multirun/10/{number}" for number in (1, 9, 10)),
        "outputs/10-00-00",
        "outputs/11-00-00/0",
        "outputs/11-00-00/1",
        "outputs/12-00-00",
    ]
    assert find_ids(root) == expected
    batches = iter_runs(root, batch_size=2)
    assert [run_id for runs in batches for run_id in runs.to_list("run_id")] == expected


def test_runs_of_nested_directories_alternate(root: Path) -> None:
    sweep = write_sweep(root / "multirun", text="")
    paths = ["1", "a", "a=1/b", "a=1/c/d", "a=1/e", "b"]
    for path in paths:
        write_job(sweep / path)
    assert find_ids(root) == [f"multirun/{path}" for path in paths]


def test_ids_without_a_directory_that_hydra_names(root: Path) -> None:
    for path in ("logs/train/runs/2026-11-25_10-00-00", "logs/eval/multiruns/a/0", "single"):
        write_job(root / path)
    assert find_ids(root) == [
        "logs/eval/multiruns/a/0",
        "logs/train/runs/2026-11-25_10-00-00",
        "single",
    ]
    assert find_ids(root / "logs") == ["eval/multiruns/a/0", "train/runs/2026-11-25_10-00-00"]
    assert find_ids(root / "logs/eval/multiruns/a") == ["0"]
    runs = load(root)
    assert runs.to_list("experiment_id") == ["logs/eval/multiruns/a", "logs/train/runs", ""]
    assert Run(root / "single").info.run_id == "single"


def test_the_last_directory_that_hydra_names_begins_an_id(root: Path) -> None:
    write_job(root / "outputs/app/multirun/a/0")
    write_job(root / "multirun/outputs")
    assert find_ids(root) == ["outputs", "multirun/a/0"]
    assert find_ids(root / "multirun") == ["outputs"]
    assert Run(root / "multirun/outputs").info.run_id == "outputs"


@pytest.mark.parametrize("n_jobs", [1, 7, 8, 9, 40])
def test_jobs_of_a_sweep_with_different_names(root: Path, n_jobs: int) -> None:
    sweep = write_sweep(root / "multirun/a", n_jobs)
    for number in range(n_jobs):
        write_job(sweep / str(number), name=f"name_{number % 2}")
    names = [f"name_{number % 2}" for number in range(n_jobs)]
    assert sorted(names) == load(root).to_list("job_name")
    assert find_ids(root, "*_1") == [f"multirun/a/{i}" for i in range(1, n_jobs, 2)]
    assert get_experiment_names(root) == sorted(set(names))
    assert len(list(iter_experiment_dirs(root))) == 1


def test_interpolated_names_are_those_of_the_logs(root: Path) -> None:
    sweep = write_sweep(root / "multirun/a")
    for number in range(20):
        job = write_job(sweep / str(number), name="fit_${model.name}", log=None)
        write(job / f"fit_{'line' if number % 3 else 'high'}.log", "")
        write(job / "debug.log", "")
    write_job(root / "outputs/a", name="fit_${model.name}", log=None)
    assert get_experiment_names(root) == ["", "fit_high", "fit_line"]
    assert len(find_ids(root, "fit_high")) == 7


def test_the_names_of_a_large_sweep_are_not_all_read(root: Path, files_read: FilesRead) -> None:
    write_sweep(root / "multirun/a", 100)
    assert len(find_ids(root)) == 100
    read = [path for path in files_read.paths if path.endswith("hydra.yaml")]
    numbers = sorted(int(path.split("/")[-3]) for path in read)
    assert len(numbers) == 8
    assert (numbers[0], numbers[-1]) == (0, 99)


def test_runs_without_a_name(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_job(root / "outputs/a", name=None)
    write_job(root / "outputs/b", name="null")
    write_job(root / "outputs/c")
    assert load(root).to_list("job_name") == ["", "", "train"]
    assert caplog.messages == []
    assert find_ids(root, "train") == ["outputs/c"]
    assert caplog.messages == [
        f"2 runs without a job name, such as {root}/outputs/a, because it is not in "
        ".hydra/hydra.yaml; experiment_names is matched against an empty name"
    ]


def test_names_of_given_directories_are_read_at_once(root: Path, files_read: FilesRead) -> None:
    dirs = [write_job(root / f"outputs/{number}", name=f"name{number}") for number in range(5)]
    runs = Run.load(dirs)
    files_read.clear()
    assert runs.to_list("job_name") == [f"name{number}" for number in range(5)]
    assert files_read.counts == [5]


# What cannot be read -------------------------------------------------------------------


def test_a_run_that_cannot_be_named_is_reported(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sweep = write_sweep(root / "multirun/a", 30)
    (sweep / "29/.hydra/hydra.yaml").unlink()
    (sweep / "29/.hydra/hydra.yaml").mkdir()
    with pytest.raises(RunLoadError) as raised:
        find_ids(root)
    assert str(raised.value).splitlines() == [
        "1 of 30 runs and experiments could not be read; set on_error='warn' in iter_run_dirs "
        "to skip them:",
        f"- cannot read '{sweep}/29/.hydra/hydra.yaml': IsADirectoryError: Is a directory",
    ]
    assert find_ids(root, on_error="warn") == [f"multirun/a/{i}" for i in range(29)]
    assert "skipped 1 of 30 runs" in caplog.text


def test_a_configuration_that_cannot_be_read_is_reported(root: Path) -> None:
    sweep = write_sweep(root / "multirun/a", 3)
    write(sweep / "1/.hydra/config.yaml", "a: [\n")
    with pytest.raises(RunLoadError, match=rf"- {sweep}/1/\.hydra/config\.yaml: "):
        load(root)
    runs = Run.load(iter_run_dirs(root), on_error="warn")
    assert runs.to_list("run_id") == ["multirun/a/0", "multirun/a/2"]


@pytest.mark.parametrize("n_jobs", [0, 2])
def test_numbered_directories_without_a_run_are_logged(
    root: Path, publish: Callable[[Path], str], caplog: pytest.LogCaptureFixture, n_jobs: int
) -> None:
    sweep = write_sweep(root / "multirun/a", 2)
    write(sweep / "2/notes.txt", "")
    write(sweep / "3/.hydra/hydra.yaml", "")
    url = publish(root / "multirun")
    with joblib.parallel_config("threading"):
        runs = Run.load(iter_run_dirs(url), n_jobs=n_jobs)
    assert runs.to_list("i") == [0, 1]
    assert sorted(caplog.messages) == [
        f"skipped: {below(url, 'a/2')} is not a run directory: expected .hydra/config.yaml, found "
        "notes.txt",
        f"skipped: {below(url, 'a/3')} is not a run directory: it has .hydra, but no "
        ".hydra/config.yaml",
    ]


def test_a_local_search_finds_no_strays(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    sweep = write_sweep(root / "multirun/a", 2)
    write(sweep / "2/notes.txt", "")
    assert find_ids(root) == ["multirun/a/0", "multirun/a/1"]
    assert len(caplog.messages) == 1


def test_runs_that_vanish(root: Path) -> None:
    sweep = write_sweep(root / "multirun/a", 3)
    dirs = iter_run_dirs(root)
    infos = list(dirs.iter_infos())
    shutil.rmtree(sweep / "1")
    assert [read_config(info) for info in infos] == [{"i": 0}, {}, {"i": 2}]
    store = open_store(Source(root))
    listing = store.list_runs(store.find_experiments().matching)
    shutil.rmtree(sweep)
    assert store.list_runs([replace(listing.experiments[0].experiment)]).experiments[0].names == []


def test_empty_sweeps(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_sweep(root / "multirun/2026-11-25/10-00-00")
    for place in (root, root / "multirun", root / "multirun/2026-11-25/10-00-00"):
        assert isinstance(open_store(Source(place)), HydraStore)
        caplog.clear()
        assert find_ids(place) == []
        assert caplog.messages == [f"no runs in {place}: there are no experiments"]
        assert get_experiment_names(place) == []


@pytest.mark.parametrize("layout", [None, "hydra"])
def test_a_run_directory_is_not_searched(published: str, layout: Any) -> None:
    with pytest.raises(TrackingDirectoryError) as raised:
        find_ids(below(published, IDS[3]), layout=layout)
    assert str(raised.value) == (
        f"{below(published, IDS[3])} has .hydra/config.yaml, so it is the output directory of one "
        "run, not a directory of runs; load it with Run, or give the directory above it, or one "
        "in it that has runs"
    )


@pytest.mark.parametrize("path", [SWEEP, "multirun/2026-11-25", "multirun", "outputs", ""])
def test_a_directory_above_runs_is_not_a_run(path: str) -> None:
    with pytest.raises(TrackingDirectoryError) as raised:
        Run(HYDRA_SWEEP / path).cfg  # noqa: B018 - reads it
    assert str(raised.value) == (
        f"{HYDRA_SWEEP / path} is not a run directory, but one with output directories of Hydra "
        "below it. To load all runs, pass the directory above them to iter_run_dirs, and the "
        "result to Run.load"
    )


# The index -----------------------------------------------------------------------------


def test_a_second_load_reads_nothing(
    root: Path, tmp_path: Path, files_read: FilesRead, later: Callable[[], None]
) -> None:
    sweep = write_sweep(root / "multirun/a", 20)
    for number in range(3):
        write_job(root / f"outputs/{number}", f"i: {20 + number}\n", name="single")
    later()
    for expected in (23 + 8 + 3, 0):
        files_read.clear()
        runs = Run.load(iter_run_dirs(root), index=tmp_path / "index")
        assert sorted(runs.to_list("i")) == list(range(23))
        assert len([path for path in files_read.paths if "/.hydra/" in path]) == expected
    write(sweep / "5/.hydra/config.yaml", "i: 99\n")
    write_job(root / "outputs/0", "i: 20\n", name="other")
    later()
    files_read.clear()
    runs = Run.load(iter_run_dirs(root), index=tmp_path / "index")
    assert runs.filter(i=99).to_list("run_id") == ["multirun/a/5"]
    assert runs.filter(i=20).to_list("job_name") == ["other"]
    read = [path.removeprefix(f"{root}/") for path in files_read.paths if "/.hydra/" in path]
    assert sorted(read) == [
        "multirun/a/5/.hydra/config.yaml",
        "outputs/0/.hydra/config.yaml",
        "outputs/0/.hydra/hydra.yaml",
    ]


def test_on_remote_storage_dated_directories_are_not_read_again(
    root: Path, tmp_path: Path, memory: str, requests: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kedro_hydraflow.storage.remote._IN_PROCESS", frozenset())
    write_sweep(root / "multirun/2026-11-25/10-00-00", 3)
    write_job(root / "outputs/2026-11-25/11-00-00", "i: 3\n")
    write_job(root / "outputs/fixed", "i: 4\n")  # another job may use it again
    fsspec.filesystem("memory").put(str(root), memory, recursive=True)
    n_read = []
    for index in (False, tmp_path / "index", tmp_path / "index"):
        requests.read.clear()
        runs = Run.load(iter_run_dirs(memory), index=index)
        assert runs.to_list("i") == list(range(5))
        n_read.append(sum(path.endswith(("config.yaml", "hydra.yaml")) for path in requests.read))
    assert n_read[0] == n_read[1] > n_read[2]
    again = [path for path in requests.read if path.endswith("hydra.yaml")]
    assert again == [f"{memory.removeprefix('memory:/')}/outputs/fixed/.hydra/hydra.yaml"]


# Requests ------------------------------------------------------------------------------


def test_requests_for_a_sweep(root: Path, memory: str, requests: Requests) -> None:
    write_sweep(root / "multirun/2026-11-25/10-00-00", 50)
    fsspec.filesystem("memory").put(str(root), memory, recursive=True)
    assert len(load(memory)) == 50
    assert len(requests.listed) == 4  # no job
    configs = [path for path in requests.read if path.endswith("/.hydra/config.yaml")]
    names = [path for path in requests.read if path.endswith("/.hydra/hydra.yaml")]
    sweeps = [path for path in requests.read if path.endswith("/multirun.yaml")]
    metas = [path for path in requests.read if path.endswith("/meta.yaml")]
    assert (len(configs), len(names), len(sweeps)) == (50, 8, 1)
    assert len(requests.read) == 50 + 8 + 1 + len(metas)
    assert len(metas) == 1  # of multirun, as in a file store
    requests.read.clear()
    assert len(load(f"{memory}/multirun/2026-11-25/10-00-00")) == 50
    assert not any(path.endswith("/meta.yaml") for path in requests.read)


def test_requests_for_one_directory(memory: str, requests: Requests) -> None:
    fsspec.filesystem("memory").put(str(HYDRA_SWEEP), memory, recursive=True)
    assert Run(f"{memory}/{SWEEP}/3").get("seed") == 2
    path = f"{memory.removeprefix('memory:/')}/{SWEEP}/3"
    assert requests.read == [
        f"{path}/.hydra/config.yaml",
        f"{path}/artifacts/.hydra/config.yaml",
        f"{path}/.hydra/config.yaml",
    ]
    assert requests.listed == []


# The store alone -----------------------------------------------------------------------


def test_runs_of_an_experiment_listed_anew(root: Path) -> None:
    sweep = write_sweep(root / "multirun/a", 3)
    write_job(sweep / "1", name="other")
    write_job(sweep / "nested/7", name="train")
    store = open_store(Source(root))
    experiments = store.find_experiments().matching
    unlisted = [replace(experiment, run_names=None) for experiment in experiments]
    for other in (store, pickle.loads(pickle.dumps(store)), HydraStore(locate(root))):
        assert other == store
        assert other.find_experiments().matching == experiments
        assert other.list_runs(unlisted) == store.list_runs(experiments)
    assert {
        part.experiment.experiment_name: part.names
        for part in store.list_runs(unlisted).experiments
        if part.experiment.experiment_id == "multirun/a"
    } == {"other": ["1"], "train": ["0", "2"]}
    assert store.list_runs(experiments, limit=1).experiments[-1].names == ["7"]


def test_infos_of_runs(root: Path) -> None:
    job = write_job(root / "multirun/a/0")
    assert RunInfo(job).job_name == "train"
    assert RunInfo(job) == next(iter_run_dirs(root).iter_infos())


def test_messages_of_a_search(published: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    HydraflowRunCollectionDataset(path=published, filters=["seed == 1"]).load()
    assert caplog.messages == [f"{published}: 19 runs of 2 experiments, 6 after 'seed == 1'"]
