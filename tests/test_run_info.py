from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
import yaml
from upath import UPath

from kedro_hydraflow import Run, RunInfo, iter_run_dirs
from kedro_hydraflow.errors import ConfigError, GitLfsError, MetadataError, StorageError
from kedro_hydraflow.finding import Search, find_runs
from kedro_hydraflow.run_info import (
    FACTS,
    get_record,
    read_facts,
    read_job_names,
    read_parsed_files,
)
from kedro_hydraflow.source import Source
from tests.conftest import (
    SWEEP_NAMES,
    Database,
    FilesRead,
    TrackingDir,
    WebServer,
    apply_filters,
    write,
    write_job,
)


def test_facts(tracking_dir: TrackingDir, publish: Callable[[Path], str]) -> None:
    tracking_dir.add_run(tracking_dir.add_experiment("train", "7"), "a", run_name="quiet-owl-1")
    location = publish(tracking_dir.root)
    (scanned,) = find_runs(Search(Source(location))).runs
    info = RunInfo(next(iter_run_dirs(location)))
    for each in (info, scanned):
        assert {name: getattr(each, name) for name in FACTS} == {
            "run_dir": UPath(location) / "7" / "a",
            "run_id": "a",
            "job_name": "train",
            "experiment_id": "7",
            "status": "FINISHED",
            "run_name": "quiet-owl-1",
            "start_time": datetime(2026, 11, 23, 0, 39, 29, 957000, tzinfo=timezone.utc),
            "end_time": datetime(2026, 11, 23, 0, 39, 30, 23000, tzinfo=timezone.utc),
            "lifecycle_stage": "active",
            "parent_run_id": None,
        }
        assert repr(each) == "RunInfo('a', job_name='train', status='FINISHED')"


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ({"status": 1}, {"status": "RUNNING"}),
        ({"status": 2}, {"status": "SCHEDULED"}),
        ({"status": 3}, {"status": "FINISHED"}),
        ({"status": 4}, {"status": "FAILED"}),
        ({"status": 5}, {"status": "KILLED"}),
        ({"status": "KILLED"}, {"status": "KILLED"}),
        ({"status": 9}, {"status": "9"}),
        ({"end_time": None}, {"end_time": None}),
        ({"start_time": 0}, {"start_time": datetime(1970, 1, 1, tzinfo=timezone.utc)}),
        (
            {"end_time": 253402300799999},
            {"end_time": datetime(9999, 12, 31, 23, 59, 59, 999000, tzinfo=timezone.utc)},
        ),
        ({"run_name": ""}, {"run_name": None}),
        ({"run_name": "null"}, {"run_name": "null"}),
        ({"run_name": "a: b"}, {"run_name": "a: b"}),
        ({"run_name": "1_000"}, {"run_name": "1_000"}),
        ({"run_name": "é" * 90}, {"run_name": "é" * 90}),
        ({"run_uuid": "a"}, {"status": "FINISHED"}),
        ({"lifecycle_stage": "deleted"}, {"lifecycle_stage": "deleted"}),
        ({"artifact_uri": "s3://bucket/it's: # odd"}, {"status": "FINISHED"}),
        ({"user_id": "null"}, {"status": "FINISHED"}),
    ],
)
def test_facts_are_the_same_from_a_scan_and_alone(
    tracking_dir: TrackingDir, entries: dict[str, Any], expected: dict[str, Any]
) -> None:
    run_dir = tracking_dir.add_run(tracking_dir.add_experiment("train"), "a", **entries)
    (scanned,) = find_runs(Search(Source(tracking_dir.root), include_deleted=True)).runs
    alone = RunInfo(run_dir)
    for name in FACTS:
        assert getattr(alone, name) == getattr(scanned, name)
    assert {name: getattr(alone, name) for name in expected} == expected


def test_order_and_absence_of_entries_do_not_matter(tracking_dir: TrackingDir) -> None:
    run_dir = tracking_dir.add_run(tracking_dir.add_experiment("train"), "a")
    entries = {"status": 4, "other": {"nested": [1]}, "lifecycle_stage": "active"}
    (run_dir / "meta.yaml").write_text(yaml.safe_dump(entries, sort_keys=False))
    (scanned,) = find_runs(Search(Source(tracking_dir.root))).runs
    for info in (RunInfo(run_dir), scanned):
        assert (info.status, info.start_time, info.run_name) == ("FAILED", None, None)


@pytest.mark.parametrize("text", ["soon", "1e400", "9" * 30])
def test_bad_time_names_the_file(tracking_dir: TrackingDir, text: str) -> None:
    run_dir = tracking_dir.add_run(tracking_dir.add_experiment("train"), "a", start_time=text)
    with pytest.raises(MetadataError) as raised:
        _ = RunInfo(run_dir).start_time
    assert str(raised.value) == (f"{run_dir}: expected start_time in milliseconds, found {text!r}")


def test_unreadable_meta_is_an_error(tracking_dir: TrackingDir) -> None:
    experiment = tracking_dir.add_experiment("train")
    run_dir = tracking_dir.add_run(experiment, "a")
    for directory in (experiment, run_dir):
        (directory / "meta.yaml").unlink()
        (directory / "meta.yaml").symlink_to(directory / "meta.yaml")
    info = RunInfo(run_dir)
    for name in ("status", "job_name"):
        with pytest.raises(StorageError, match=r"cannot read '.*meta.yaml'"):
            getattr(info, name)


def test_each_thread_learns_why_facts_cannot_be_read(tracking_dir: TrackingDir) -> None:
    run_dir = tracking_dir.add_run(tracking_dir.add_experiment("train"), "a")
    (run_dir / "meta.yaml").write_text("status: 1\nstatus: 2\n")
    barrier = threading.Barrier(8, timeout=20)

    def ask(info: RunInfo) -> str:
        barrier.wait()
        try:
            return str(info.status)
        except MetadataError:
            return "error"

    with ThreadPoolExecutor(8) as threads:
        for _ in range(50):
            info = RunInfo(run_dir)
            read_facts([info])
            assert set(threads.map(ask, [info] * 8)) == {"error"}


def test_facts_stay_as_they_were_read(tracking_dir: TrackingDir) -> None:
    experiment = tracking_dir.add_experiment("train")
    run_dir = tracking_dir.add_run(experiment, "a")
    info, unread = RunInfo(run_dir), RunInfo(run_dir)
    assert (info.status, info.job_name) == ("FINISHED", "train")
    for directory in (experiment, run_dir):
        (directory / "meta.yaml").write_text("name: eval\nrun_id: a\nstatus: 4\n")
    for same in (info, copy.deepcopy(info), pickle.loads(pickle.dumps(info))):
        assert (same.status, same.job_name) == ("FINISHED", "train")
        assert same == info
        assert hash(same) == hash(info)
    assert (unread.status, unread.job_name) == ("FAILED", "eval")


def test_runs_of_one_load_share_their_experiment(sweep: Path) -> None:
    runs = Run.load(iter_run_dirs(sweep))
    for loaded in (runs, pickle.loads(pickle.dumps(runs))):
        assert len({id(get_record(run.info).experiment) for run in loaded}) == 3


# Malformed facts and logged values ------------------------------------------------------


@pytest.fixture
def malformed(tracking_dir: TrackingDir) -> Path:
    """A tracking directory with three runs, the second of which has malformed metrics."""
    experiment = tracking_dir.add_experiment("train")
    for i, name in enumerate("abc"):
        metrics = {"loss": f"1 {i} 0\n", "val/loss": f"1 {i} 0\n"}
        tracking_dir.add_run(experiment, name, f"i: {i}", metrics)
    for name in ("loss", "val/loss"):
        (experiment / "b/metrics" / name).write_text("1 x 0\n")
    (experiment / "b/metrics/good").write_text("1 5 0\n")
    (experiment / "b/tags/mlflow.parentRunId").write_bytes(b"\xff")
    return tracking_dir.root


USES: dict[str, tuple[Callable[[Any], Any], Any, int]] = {
    "one metric": (lambda runs: runs.to_list("metrics.loss", None), [0, None, 2], 1),
    "all metrics": (lambda runs: runs[1].metrics, {"good": 5}, 2),
    "frame": (lambda runs: runs.to_frame("metrics.loss").rows(), [(0.0,), (None,), (2.0,)], 1),
    "best": (lambda runs: runs.best("metrics.loss", mode="max").info.run_id, "c", 1),
    "histories": (lambda runs: runs.metric_histories("loss")["value"].to_list(), [0, 2], 1),
    "history": (lambda runs: runs[1:].metric_histories("loss")["value"].to_list(), [2], 1),
    "history of one": (lambda runs: runs[1].metric_history("loss").rows(), [], 1),
    "children": (lambda runs: runs.parents().to_list("run_id"), ["a", "b", "c"], 1),
}


@pytest.mark.parametrize(("use", "expected", "n_malformed"), USES.values(), ids=USES)
def test_malformed_values_are_missing_if_they_are_to_be_logged(
    malformed: Path,
    publish: Callable[[Path], str],
    caplog: pytest.LogCaptureFixture,
    use: Callable[[Any], Any],
    expected: Any,
    n_malformed: int,
) -> None:
    location = publish(malformed)
    with pytest.raises(MetadataError):
        use(Run.load(iter_run_dirs(location)))

    runs = Run.load(iter_run_dirs(location), on_error="warn")
    assert caplog.messages == []
    for same in (runs, copy.deepcopy(runs), pickle.loads(pickle.dumps(runs))[:]):
        assert use(same) == expected
    logged = caplog.messages[: n_malformed + 1]
    for message in logged[:-1]:
        assert message.startswith("taken for missing: ")
        assert "1/b/" in message
    assert f": {n_malformed} malformed in " in logged[-1]


def test_malformed_values_are_read_and_logged_once(
    malformed: Path, caplog: pytest.LogCaptureFixture
) -> None:
    runs = Run.load(iter_run_dirs(malformed), on_error="warn")
    for _ in range(3):
        assert runs.to_frame("metrics.loss")["metrics.loss"].to_list() == [0, None, 2]
    assert caplog.messages == [
        f"taken for missing: {malformed / '1/b/metrics/loss'}: line 1: expected 'timestamp value "
        "step', found '1 x 0'",
        "metrics.loss: 1 malformed in 3 runs",
    ]


def test_malformed_facts_are_missing_if_they_are_to_be_logged(
    tracking_dir: TrackingDir, serve: Callable[[Path], WebServer], caplog: pytest.LogCaptureFixture
) -> None:
    experiment = tracking_dir.add_experiment("train")
    for name in "ab":
        tracking_dir.add_run(experiment, name)
    write(experiment / "b/meta.yaml", "status: 1\nstatus: 2\n")
    tracking_dir.add_run(experiment, "c", start_time="soon")
    dirs = [f"{serve(tracking_dir.root).url}/1/{name}" for name in "abc"]
    with pytest.raises(MetadataError):
        Run.load(dirs).to_list("status")

    runs = Run.load(dirs, on_error="warn")
    write(experiment / "meta.yaml", "name: a\nname: b\n")
    for _ in range(2):
        assert runs.to_list("status") == ["FINISHED", None, "FINISHED"]
        assert [run.info.start_time is None for run in runs] == [False, True, True]
        assert runs.to_list("job_name") == ["", "", ""]
    assert [message for message in caplog.messages if "malformed" in message] == [
        "the facts: 1 malformed in 3 runs",
        "start_time: 1 malformed in 1 run",
        *["job_name: 1 malformed in 1 run"] * 3,
    ]


@pytest.mark.parametrize(
    "read",
    [
        lambda runs: runs.to_list("metrics.loss"),
        lambda runs: runs[0].metrics,
        lambda runs: runs.children("p"),
        lambda runs: runs.to_list("status"),
        lambda runs: runs.to_list("job_name"),
        lambda runs: runs.metric_histories("loss"),
    ],
    ids=["metric", "metrics", "parent", "status", "job_name", "history"],
)
def test_what_cannot_be_reached_is_always_an_error(
    tracking_dir: TrackingDir,
    serve: Callable[[Path], WebServer],
    no_waiting: None,
    read: Callable[[Any], Any],
) -> None:
    run_dir = tracking_dir.add_run(
        tracking_dir.add_experiment("train"), "a", metrics={"loss": "1 1 0\n"}
    )
    write(run_dir / "tags/mlflow.parentRunId", "p")
    for status in (403, 500):
        server = serve(tracking_dir.root)
        runs = Run.load([f"{server.url}/1/a"], on_error="warn")
        names = ("meta.yaml", "loss", "metrics", "mlflow.parentRunId")
        server.answers = {name: [status] * 99 for name in names}
        with pytest.raises(StorageError, match=str(status)):
            read(runs)


# Jobs ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("as_given", "expected"), [(list, 3), (iter, 0)])
def test_experiment_of_given_runs_is_read_once(
    sweep: Path,
    files_read: FilesRead,
    as_given: Callable[[Any], Any],
    expected: int,
) -> None:
    runs = Run.load(as_given(iter_run_dirs(sweep)))
    files_read.clear()
    assert set(runs.to_list("job_name")) == set(SWEEP_NAMES)
    assert len(files_read.paths) == expected


# Hydra's files -------------------------------------------------------------------------


def test_hydra_files_are_read_at_once_and_only_when_asked(
    sweep: Path, publish: Callable[[Path], str], files_read: FilesRead
) -> None:
    runs = Run.load(iter_run_dirs(publish(sweep)))
    infos = [run.info for run in runs]
    assert not [path for path in files_read.paths if "overrides" in path]
    files_read.clear()
    overrides = read_parsed_files(infos, "overrides")
    assert len(files_read.counts) <= 1  # none on other storage
    assert [run.overrides for run in runs] == overrides
    assert overrides[0] == yaml.safe_load(
        (sweep / runs[0].info.experiment_id / infos[0].run_id / OVERRIDES).read_text()
    )
    hydra = read_parsed_files(infos, "hydra")
    assert [each["job"]["num"] for each in hydra] == [run.hydra["job"]["num"] for run in runs]
    files_read.clear()
    assert read_parsed_files(infos[::-1], "hydra") == hydra[::-1]
    assert files_read.counts == []
    travelled = pickle.loads(pickle.dumps(runs))
    assert [run.hydra for run in travelled] == hydra
    assert files_read.counts == []


OVERRIDES = "artifacts/.hydra/overrides.yaml"


def test_hydra_files_of_runs_of_all_kinds(tracking_dir: TrackingDir, tmp_path: Path) -> None:
    experiment = tracking_dir.add_experiment("train")
    names = ("whole", "without", "broken")
    dirs = [tracking_dir.add_run(experiment, name, "x: 1\n") for name in names]
    for index, text in ((0, "- x=1\n"), (2, "a: 1\n")):
        (dirs[index] / OVERRIDES).write_text(text)
    dirs.append(write_job(tmp_path / "outputs/a", overrides="- x=2\n"))
    runs = Run.load(dirs)
    values = read_parsed_files([run.info for run in runs], "overrides")
    assert values[:2] == [["x=1"], None]
    assert isinstance(values[2], ConfigError)
    assert str(values[2]) == (
        f"{dirs[2]}/{OVERRIDES}: expected a list of overrides, such as '- seed=5'"
    )
    assert values[3] == ["x=2"]
    assert [runs[i].overrides for i in (0, 1, 3)] == [["x=1"], [], ["x=2"]]
    with pytest.raises(ConfigError, match="expected a list of overrides"):
        _ = runs[2].overrides
    assert [run.hydra for run in runs[:2]] == [{}, {}]
    assert runs[3].hydra["job"] == {"name": "train", "chdir": None}
    assert read_parsed_files([], "hydra") == []


def test_what_a_run_gives_of_hydra_is_its_own(tmp_path: Path) -> None:
    run = Run(write_job(tmp_path / "outputs/a", overrides="- x=2\n"))
    run.hydra["job"]["name"] = "changed"
    run.overrides.append("changed")
    assert (run.hydra["job"]["name"], run.overrides) == ("train", ["x=2"])


def test_a_database_that_cannot_be_read_does_not_matter_for_hydra_files(
    database: Database, tracking_dir: TrackingDir
) -> None:
    database.add_run(database.add_experiment("train"), "a")
    write(tracking_dir.root / "1/a" / OVERRIDES, "- x=1\n")
    database.path.write_bytes(b"SQLite format 3\0 and nothing else")
    assert Run(tracking_dir.root / "1/a").overrides == ["x=1"]


def test_names_are_read_at_once_where_that_is_faster(tmp_path: Path, files_read: FilesRead) -> None:
    infos = [RunInfo(write_job(tmp_path / f"outputs/{i}", name=f"name{i}")) for i in range(3)]
    write_job(tmp_path / "outputs/1", name="null")
    read_job_names(infos)
    assert files_read.counts == [3]
    assert [info.job_name for info in infos] == ["name0", "", "name2"]
    assert files_read.counts == [3, 1]  # a name that is not there may be about to be written


# Results -------------------------------------------------------------------------------


@pytest.fixture
def jobs(tmp_path: Path) -> Path:
    """The jobs 0 to 4 of Hydra: with results, twice, malformed ones, none, with another entry."""
    texts = ['{"loss": 0.5, "val": {"loss": 1}}', '{"loss": 0.25}', '{"loss": 0.', None, '{"a": 1}']
    for i, text in enumerate(texts):
        write_job(tmp_path / f"outputs/{i}")
        if text is not None:
            write(tmp_path / f"outputs/{i}/result.json", text)
    return tmp_path / "outputs"


def load_jobs(location: Any, **options: Any) -> Any:
    return Run.load(iter_run_dirs(location), **{"results": "result.json", **options})


def test_malformed_results_are_an_error_or_missing(
    jobs: Path, publish: Callable[[Path], str], caplog: pytest.LogCaptureFixture
) -> None:
    location = publish(jobs)
    for use in (
        lambda runs: runs.to_frame("results.loss"),
        lambda runs: runs.to_list("results.loss", None),
        lambda runs: runs[2].results,
        lambda runs: runs.best("results.loss", mode="min"),
    ):
        with pytest.raises(ConfigError, match=r"2/result\.json.*: expected JSON: "):
            use(load_jobs(location))
    runs = load_jobs(location, on_error="warn")
    for same in (runs, copy.deepcopy(runs), pickle.loads(pickle.dumps(runs))):
        assert same.to_list("results.loss", None) == [0.5, 0.25, None, None, None]
        assert same.best("results.loss", mode="min").info.run_id.endswith("1")
        assert same[2].results == {}
    assert caplog.messages[1::2] == ["results: 1 malformed in 5 runs"] * 2  # of two processes
    assert caplog.messages[0].startswith("taken for missing: ")
    assert ": expected JSON: " in caplog.messages[0]


def test_a_file_of_results_that_no_run_has_is_logged(
    jobs: Path, caplog: pytest.LogCaptureFixture
) -> None:
    runs = Run.load(iter_run_dirs(jobs), results="results.json")
    assert {*runs.to_list("results.loss", None)} == {None}
    first = runs[0].info.run_dir
    assert caplog.messages == [
        f"results: none of the {len(runs)} runs has a file 'results.json'; looked for "
        f"{first / 'results.json'}"
    ]
    caplog.clear()
    assert Run(runs[0].info.run_dir, results="results.json").results == {}
    assert caplog.messages == [
        f"results: the run does not have a file 'results.json'; looked for {first / 'results.json'}"
    ]


def test_one_malformed_file_fails_in_a_filter_alone(jobs: Path) -> None:
    filtered = apply_filters(load_jobs(jobs), "results.loss < 1")
    assert [run.info.run_id for run in filtered.runs] == ["outputs/0", "outputs/1"]
    (failure,) = filtered.failures
    assert "outputs/2/result.json: expected JSON" in str(failure)


def test_a_pointer_of_git_lfs_is_no_result(jobs: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(jobs / "2/result.json", "version https://git-lfs.github.com/spec/v1\noid sha256:a\n")
    with pytest.raises(GitLfsError, match=r"2/result\.json: it is a pointer of Git LFS"):
        load_jobs(jobs).to_list("results.loss", None)
    runs = load_jobs(jobs, on_error="warn")
    assert runs.to_list("results.loss", None) == [0.5, 0.25, None, None, None]
    assert "it is a pointer of Git LFS" in caplog.messages[0]


@pytest.mark.parametrize("status", [403, 500])
def test_results_that_cannot_be_reached_are_always_an_error(
    jobs: Path, serve: Callable[[Path], WebServer], no_waiting: None, status: int
) -> None:
    server = serve(jobs.parent)
    runs = Run.load([f"{server.url}/outputs/0"], on_error="warn", results="result.json")
    server.answers = {"result.json": [status] * 99}
    for use in (lambda: runs.to_list("results.loss", None), lambda: runs[0].results):
        with pytest.raises(StorageError, match=str(status)):
            use()
    server.answers = {}
    assert runs.to_list("results.loss") == [0.5]  # the error is not kept


def test_results_are_read_at_once_when_they_are_asked_for(
    jobs: Path, files_read: FilesRead
) -> None:
    (jobs / "2/result.json").unlink()
    runs = load_jobs(jobs)
    assert not [path for path in files_read.paths if path.endswith("result.json")]
    files_read.clear()
    for key in ("results.loss", "results.val.loss", "results", "results.other"):
        runs.to_list(key, None)
    assert [run.results for run in runs][1:3] == [{"loss": 0.25}, {}]
    assert files_read.counts == [5]
    assert load_jobs(jobs)[0].results["loss"] == 0.5
    assert files_read.counts[-1] == 1  # its own file alone


def test_without_the_option_nothing_is_read(jobs: Path, files_read: FilesRead) -> None:
    runs = Run.load(iter_run_dirs(jobs))
    files_read.clear()
    assert runs.to_list("results.loss", None) == [None] * 5
    assert runs.to_list("results", None) == [None] * 5
    assert files_read.counts == []


def test_runs_with_different_options_in_one_collection(jobs: Path) -> None:
    write(jobs / "0/other.yaml", "loss: 7\n")
    runs, others = load_jobs(jobs), load_jobs(jobs, results="other.yaml")
    both = type(runs)([runs[0], others[0], runs[1], Run(jobs / "0")])
    assert both.to_list("results.loss", None) == [0.5, 7, 0.25, None]


def test_results_travel_with_their_runs(jobs: Path) -> None:
    (jobs / "2/result.json").unlink()
    read, unread = load_jobs(jobs), load_jobs(jobs)
    losses = [0.5, 0.25, None, None, None]
    assert read.to_list("results.loss", None) == losses
    copies = [copy.deepcopy(read), pickle.loads(pickle.dumps(read)), copy.copy(read[0])]
    assert pickle.loads(pickle.dumps(unread)).to_list("results.loss", None) == losses
    for path in jobs.glob("*/result.json"):
        write(path, '{"loss": 9}')
    assert [each.to_list("results.loss", None) for each in copies[:2]] == [losses] * 2
    assert copies[2].results == pickle.loads(pickle.dumps(read[0])).results == read[0].results
    assert copy.deepcopy(unread).to_list("results.loss", None) == [9, 9, None, None, 9]


def test_what_a_run_gives_of_results_is_its_own(jobs: Path) -> None:
    runs = load_jobs(jobs)[:1]
    runs[0].results["val"]["loss"] = 7
    runs[0].get("results.val")["loss"] = 7
    runs.to_list("results.val")[0]["loss"] = 7
    runs.to_data("results")[0]["val"]["loss"] = 7
    assert runs[0].results == {"loss": 0.5, "val": {"loss": 1}}
    assert runs.to_list("results.val.loss") == [1]
