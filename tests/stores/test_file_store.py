from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from upath import UPath

from kedro_hydraflow import Run, get_experiment_names, iter_run_dirs, iter_runs
from kedro_hydraflow.errors import (
    ConfigError,
    GitLfsError,
    MetadataError,
    MissingKeyError,
    NotARunError,
    NotFoundError,
    RunLoadError,
    StorageError,
    TrackingDirectoryError,
)
from kedro_hydraflow.finding import Search, find_runs
from kedro_hydraflow.loading import LoadOptions, load_runs
from kedro_hydraflow.source import Source
from kedro_hydraflow.storage import LocalStorage
from tests.conftest import FilesRead, TrackingDir, WebServer, replace_meta, write, write_job
from tests.stores.conftest import find_run_ids

# Experiments ---------------------------------------------------------------------------


def test_experiment_0_is_skipped_by_its_id(tracking_dir: TrackingDir) -> None:
    tracking_dir.add_run(tracking_dir.add_experiment("Default", "0"), "a")
    tracking_dir.add_run(tracking_dir.add_experiment("Default", "7"), "b")
    assert get_experiment_names(tracking_dir.root) == ["Default"]
    assert find_run_ids(tracking_dir.root) == ["b"]


def test_trash_and_models_are_skipped(tracking_dir: TrackingDir) -> None:
    tracking_dir.add_run(tracking_dir.add_experiment("train", "1"), "a")
    for name in (".trash", "models"):
        aside = TrackingDir(tracking_dir.root / name)
        aside.add_run(aside.add_experiment("train", "2"), "b")
        shutil.copy(aside.root / "2" / "meta.yaml", aside.root)
    assert find_run_ids(tracking_dir.root) == ["a"]


def test_deleted_experiment_is_excluded(tracking_dir: TrackingDir) -> None:
    gone = tracking_dir.add_experiment("train", "1", lifecycle_stage="deleted")
    tracking_dir.add_run(gone, "a")
    tracking_dir.add_run(tracking_dir.add_experiment("eval", "2"), "b")
    assert find_run_ids(tracking_dir.root, include_deleted=True) == ["b"]


# Runs ----------------------------------------------------------------------------------


def test_recorded_locations_are_ignored(tracking_dir: TrackingDir) -> None:
    """``TrackingDir`` writes the locations of another machine."""
    tracking_dir.add_run(tracking_dir.add_experiment("train"), "a", "lr: 1")
    (run,) = Run.load(iter_run_dirs(tracking_dir.root))
    assert (run.get("lr"), run.path()) == (1, tracking_dir.root / "1/a/artifacts")


def test_run_without_meta_has_artifacts(tracking_dir: TrackingDir) -> None:
    experiment = tracking_dir.add_experiment("train")
    run_dir = tracking_dir.add_run(experiment, "a", "lr: 1")
    (run_dir / "meta.yaml").unlink()
    (experiment / "no run").mkdir()
    (run,) = Run.load(iter_run_dirs(tracking_dir.root))
    info = run.info
    assert (run.get("lr"), info.run_id, info.job_name) == (1, "a", "train")
    assert [info.status, info.start_time, info.run_name, info.lifecycle_stage] == [None] * 4


def test_artifacts_may_be_a_file(tracking_dir: TrackingDir) -> None:
    run_dir = tracking_dir.add_run(tracking_dir.add_experiment("train"), "a", config=None)
    (run_dir / "artifacts").rmdir()
    (run_dir / "artifacts").write_text("")
    (run,) = Run.load(iter_run_dirs(tracking_dir.root))
    assert run.cfg == {}
    (run_dir / "meta.yaml").unlink()
    assert find_run_ids(tracking_dir.root) == []


def test_links_are_followed_and_broken_ones_reported(tracking_dir: TrackingDir) -> None:
    elsewhere = TrackingDir(tracking_dir.root.parent / "elsewhere")
    run_dir = elsewhere.add_run(elsewhere.add_experiment("other", "9"), "a", "lr: 1")
    experiment = tracking_dir.add_experiment("train", "1")
    (experiment / "a").symlink_to(run_dir)
    (tracking_dir.root / "9").symlink_to(run_dir.parent)
    (experiment / "b").symlink_to(run_dir.parent / "nowhere")
    (experiment / "c").symlink_to(experiment / "c")
    (tracking_dir.root / "8").symlink_to(tracking_dir.root / "nowhere")

    runs = Run.load(iter_run_dirs(tracking_dir.root, on_error="warn"))
    assert [(r.info.job_name, r.get("lr")) for r in runs] == [("other", 1), ("train", 1)]
    with pytest.raises(RunLoadError) as raised:
        find_run_ids(tracking_dir.root)
    assert [str(failure) for failure in raised.value.failures] == [
        f"{tracking_dir.root / name}: broken symbolic link" for name in ("8", "1/b", "1/c")
    ]


def test_deleted_runs_are_excluded_by_default(tracking_dir: TrackingDir) -> None:
    experiment = tracking_dir.add_experiment("train")
    tracking_dir.add_run(experiment, "a")
    run_dir = tracking_dir.add_run(experiment, "b", lifecycle_stage="deleted")
    assert find_run_ids(tracking_dir.root) == ["a"]
    assert find_run_ids(tracking_dir.root, include_deleted=True) == ["a", "b"]
    assert Run(run_dir).info.lifecycle_stage == "deleted"


def test_reserved_folders_are_not_runs(tracking_dir: TrackingDir) -> None:
    experiment = tracking_dir.add_experiment("train")
    tracking_dir.add_run(experiment, "a")
    for name in ("tags", "datasets", "traces", "models"):
        write(experiment / name / "meta.yaml", "status: 3\n")
        write(experiment / name / "artifacts/x", "")
    write(experiment / "models/m-1/meta.yaml", "status: 2\n")
    write(experiment / "models/m-1/artifacts/MLmodel", "")
    assert find_run_ids(tracking_dir.root) == ["a"]


# What vanishes -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("listed", "removed", "left"),
    [("", "1", ["b"]), ("1", "1/a", ["b"]), ("1", "1", ["b"])],
    ids=["experiment", "run", "experiment with its runs"],
)
def test_directories_that_vanish_during_the_scan_are_skipped(
    tracking_dir: TrackingDir,
    monkeypatch: pytest.MonkeyPatch,
    listed: str,
    removed: str,
    left: list[str],
) -> None:
    tracking_dir.add_run(tracking_dir.add_experiment("train", "1"), "a")
    tracking_dir.add_run(tracking_dir.add_experiment("train", "2"), "b")
    list_dir = LocalStorage.list_dir

    def list_then_remove(self: LocalStorage, path: str, limit: int | None = None) -> object:
        entries = list_dir(self, path, limit)
        if Path(path) == tracking_dir.root / listed:
            shutil.rmtree(tracking_dir.root / removed, ignore_errors=True)
        return entries

    monkeypatch.setattr(LocalStorage, "list_dir", list_then_remove)
    assert find_run_ids(tracking_dir.root) == left


def test_broken_links_with_ignored_names_are_ignored(tracking_dir: TrackingDir) -> None:
    experiment = tracking_dir.add_experiment("train", "1")
    tracking_dir.add_run(experiment, "a")
    for link in (tracking_dir.root / ".trash", experiment / "tags", experiment / ".#lock"):
        link.symlink_to("nowhere")
    assert find_run_ids(tracking_dir.root) == ["a"]


def test_experiment_that_vanishes_before_it_is_listed_is_skipped(
    tracking_dir: TrackingDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = tracking_dir.add_experiment("train", "1")
    tracking_dir.add_run(experiment, "a")

    def remove_when_matched(name: str) -> bool:
        shutil.rmtree(experiment)
        return True

    assert find_run_ids(tracking_dir.root, remove_when_matched) == []


@pytest.mark.parametrize("n_jobs", [0, 2])
def test_run_that_vanishes_after_the_scan_is_logged_and_skipped(
    tracking_dir: TrackingDir, caplog: pytest.LogCaptureFixture, n_jobs: int
) -> None:
    experiment = tracking_dir.add_experiment("train")
    for i in range(40):
        tracking_dir.add_run(experiment, f"r{i:02}", config=None if i == 5 else f"i: {i}")
    scan = find_runs(Search(Source(tracking_dir.root)))
    shutil.rmtree(experiment / "r20")
    loaded = load_runs(scan.runs, Run, LoadOptions(n_jobs=n_jobs), was_searched=True)
    runs = loaded.runs
    assert loaded.failures == []
    assert runs.to_list("run_id") == [f"r{i:02}" for i in range(40) if i != 20]
    assert runs[5].cfg == {}
    assert [record.getMessage() for record in caplog.records] == [
        f"skipped: there is no run directory {str(experiment / 'r20')!r}"
    ]


def test_folder_with_a_foreign_meta_file_is_no_run(tracking_dir: TrackingDir) -> None:
    experiment = tracking_dir.add_experiment("train")
    tracking_dir.add_run(experiment, "a")
    write(experiment / "notes/meta.yaml", "title: x\n")
    assert find_run_ids(tracking_dir.root) == ["a"]
    assert Run.load(iter_run_dirs(tracking_dir.root)).to_list("run_id") == ["a"]
    with pytest.raises(NotARunError, match=r"notes.meta.yaml: expected the entries of a run"):
        _ = Run(experiment / "notes").info.status


@pytest.mark.parametrize("kind", ["params", "metrics", "tags"])
def test_runs_that_lost_their_meta_have_unknown_facts(
    tracking_dir: TrackingDir,
    publish: Callable[[Path], str],
    kind: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One warning names the first. Their artifacts may be in another directory."""
    experiment = tracking_dir.add_experiment("train", artifact_location="mlflow-artifacts:/team")
    run_ids = ["a" * 32, "b" * 32, "c" * 32]
    for i, run_id in enumerate(run_ids):
        uri = f"mlflow-artifacts:/team/{run_id}/artifacts"
        tracking_dir.add_run(experiment, run_id, None, artifact_uri=uri)
        artifacts = tracking_dir.root.parent / "mlartifacts/team" / run_id / "artifacts"
        write(artifacts / ".hydra/config.yaml", f"lr: {i}")
    for run_id in run_ids[:2]:
        shutil.rmtree(experiment / run_id)
        write(experiment / run_id / kind / "x", "1 1 1\n")
    folder = publish(tracking_dir.root.parent)
    location = UPath(folder) / "mlruns"
    runs = Run.load(iter_run_dirs(location))
    assert [run.get("lr") for run in runs] == [0, 1, 2]
    assert [run.info.status for run in runs] == [None, None, "FINISHED"]
    (message,) = caplog.messages
    assert f"/mlruns/1/{run_ids[0]}" in message
    assert message.endswith(
        " and 1 more: there is no meta.yaml, so status, times and name are unknown"
    )


def test_directories_named_by_a_run_id_without_a_run_are_logged_once(
    tracking_dir: TrackingDir, publish: Callable[[Path], str], caplog: pytest.LogCaptureFixture
) -> None:
    for number in ("1", "2"):
        experiment = tracking_dir.add_experiment(f"train_{number}", number)
        tracking_dir.add_run(experiment, number + "a" * 31)
        write(experiment / (number + "b" * 31) / "notes.txt", "")
        write(experiment / "notes/todo.txt", "")
    location = publish(tracking_dir.root)
    assert len(list(iter_run_dirs(location))) == 2
    (message,) = caplog.messages
    assert message.startswith("skipped ")
    assert f"/1/1{'b' * 31}" in message
    assert message.endswith(" and 1 more: named by a run ID, but without anything of a run")
    caplog.clear()
    assert len(list(iter_run_dirs(location, "train_1"))) == 1
    (message,) = caplog.messages
    assert " more: " not in message


def test_a_directory_without_a_run_is_left_out_on_a_server(
    tracking_dir: TrackingDir, serve: Callable[[Path], WebServer]
) -> None:
    experiment = tracking_dir.add_experiment("train")
    tracking_dir.add_run(experiment, "a")
    write(experiment / "notes/todo.txt", "")
    location = f"{serve(tracking_dir.root).url}/"
    assert [run_dir.name for run_dir in iter_run_dirs(location)] == ["a"]


def test_given_directory_that_does_not_exist_has_an_empty_config(tmp_path: Path) -> None:
    (run,) = Run.load([tmp_path / "1/a"])
    assert (run.cfg, run.info.run_id, run.info.job_name) == ({}, "a", "")
    assert (run.metrics, run.params, run.tags) == ({}, {}, {})


# Directories that are not tracking directories ------------------------------------------


def test_empty_directory_has_no_runs(tracking_dir: TrackingDir) -> None:
    assert find_run_ids(tracking_dir.root) == []
    tracking_dir.add_experiment("Default", "0")
    (tracking_dir.root / ".trash").mkdir()
    (tracking_dir.root / "models").mkdir()
    write(tracking_dir.root / "README.md", "")
    assert find_run_ids(tracking_dir.root) == []


def test_missing_directory_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"there is no directory '.*nowhere'"):
        find_run_ids(tmp_path / "nowhere")
    write(tmp_path / "file", "")
    with pytest.raises(FileNotFoundError, match=r"there is no directory '.*file'"):
        find_run_ids(tmp_path / "file")


@pytest.mark.parametrize("folder", ["1", "1/a"])
def test_directory_inside_a_tracking_directory_is_refused(
    tracking_dir: TrackingDir, folder: str
) -> None:
    tracking_dir.add_run(tracking_dir.add_experiment("train"), "a")
    message = r"has a meta.yaml, so it is an experiment or a run, .* give the tracking directory"
    with pytest.raises(TrackingDirectoryError, match=message):
        find_run_ids(tracking_dir.root / folder)


def test_directory_above_is_refused_with_the_one_to_give(tracking_dir: TrackingDir) -> None:
    tracking_dir.add_run(tracking_dir.add_experiment("train"), "a")
    write(tracking_dir.root.parent / "outputs/x", "")
    with pytest.raises(TrackingDirectoryError) as raised:
        find_run_ids(tracking_dir.root.parent)
    assert str(raised.value).endswith(f"give {tracking_dir.root}")


def test_artifacts_of_a_database_beside_a_file_store_are_logged(
    tracking_dir: TrackingDir, caplog: pytest.LogCaptureFixture
) -> None:
    tracking_dir.add_run(tracking_dir.add_experiment("train", "803221"), "a")
    write(tracking_dir.root / "1/0d5e1560/artifacts/x", "")
    assert find_run_ids(tracking_dir.root) == ["a"]
    assert caplog.messages == [
        f"skipped {tracking_dir.root / '1'}: it has no meta.yaml; if a database or a server tracks "
        "its runs, give that as tracking_uri"
    ]


def test_other_directory_is_refused(tmp_path: Path) -> None:
    for name in "fabcdeg":
        (tmp_path / name).mkdir()
    with pytest.raises(TrackingDirectoryError) as raised:
        find_run_ids(tmp_path)
    assert str(raised.value) == (
        f"{tmp_path} is not a tracking directory: expected <experiment_id>/meta.yaml or "
        "<experiment_id>/<run_id>/artifacts in it, mlflow.db beside it, or directories with "
        ".hydra/config.yaml in it; found the directories 'a', 'b', 'c', 'd', 'e' and others"
    )


# Metrics, params and tags ---------------------------------------------------------------


def test_metrics_have_nested_keys_and_need_a_value(tracking_dir: TrackingDir) -> None:
    texts = {
        "loss": "1 1 1\n",
        "val/loss": "1 2 1\n",
        "val/a b/é": "1 3 1\n",
        "no": "",
        "half": "1",
    }
    run_dir = tracking_dir.add_run(tracking_dir.add_experiment("train"), "a", metrics=texts)
    run = Run(run_dir)
    assert run.metrics == {"loss": 1.0, "val/loss": 2.0, "val/a b/é": 3.0}
    assert (run.get("metrics.val/loss"), run["metrics.val/a b/é"]) == (2.0, 3.0)


def test_params_and_tags_are_raw_text(tracking_dir: TrackingDir) -> None:
    run_dir = tracking_dir.add_run(tracking_dir.add_experiment("train"), "a")
    texts = {"empty": "", "lines": "a\n\nb\n", "group/a b": "1e3", "é": "${oc.env:HOME}"}
    for kind in ("params", "tags"):
        for key, text in texts.items():
            write(run_dir / kind / key, text)
    run = Run(run_dir)
    assert run.params == texts
    assert run.tags == texts
    assert run.get("params.group/a b") == "1e3"
    (run_dir / "tags/bad").write_bytes(b"\xff")
    with pytest.raises(MetadataError, match=r"tags.bad: expected UTF-8 text"):
        _ = Run(run_dir).tags


FOREIGN = {
    "desktop.ini": b"[.ShellClassInfo]\r\nIconResource=C:\\x\r\n",
    "Thumbs.db": b"\xd0\xcf\x11\xe0\0\0",
    ".DS_Store": b"\0\0\0\1Bud1\0\n1\n",
    "._good": b"\0\5\x16\7\0\2\0\0Mac OS X        \n\n1\n",
    ".gitkeep": b"",
    ".nfs00000000021a5c3f0000002a": b"1 2 3\n",
    "good~": b"1 2 3\n",
    "~$good.xlsx": b"ann",
    "Icon\r": b"",
    "@eaDir/good@SynoResource": b"1 2 3\n",
    ".ipynb_checkpoints/good": b"1 2 3\n",
    "__MACOSX/._good": b"x",
    "group/desktop.ini": b"[x]\n",
}


@pytest.mark.parametrize("name", FOREIGN)
def test_files_of_other_programs_are_ignored(
    tracking_dir: TrackingDir, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    texts = {"good": "1 0.5 0\n", "group/desktop ini": "1 2 0\n"}
    run_dir = tracking_dir.add_run(tracking_dir.add_experiment("train"), "a", metrics=texts)
    for kind in ("metrics", "params", "tags"):
        path = run_dir / kind / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(FOREIGN[name])
    for kind in ("params", "tags"):
        for key, text in texts.items():
            write(run_dir / kind / key, text)
    run = Run(run_dir)
    assert run.metrics == {"good": 0.5, "group/desktop ini": 2.0}
    assert run.params == run.tags == texts
    assert caplog.messages == []
    assert run.get(f"tags.{name}", None) is run.get(f"metrics.{name}", None) is None


@pytest.mark.parametrize("kind", ["metrics", "params", "tags"])
def test_binary_files_are_skipped_and_logged(
    tracking_dir: TrackingDir, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    run_dir = tracking_dir.add_run(tracking_dir.add_experiment("train"), "a")
    write(run_dir / kind / "good", "1 0.5 0\n")
    binary = run_dir / kind / ".good.swp"
    binary.write_bytes(b"b0VIM 8.2\0\0\n\n1\n")
    message = (
        f"skipped: {binary}: expected text, found binary data: b'b0VIM 8.2\\x00\\x00\\n\\n1\\n'"
    )
    run = Run(run_dir)
    assert list(getattr(run, kind)) == ["good"]
    assert run.get(f"{kind}..good.swp", None) is None
    assert caplog.messages == [message]
    if kind == "metrics":
        with pytest.raises(MissingKeyError, match=r"'\.good\.swp'; the nearest are 'good'"):
            Run(run_dir).metric_history(".good.swp")
        assert caplog.messages[1] == message


def test_a_folder_of_metrics_is_no_metric(
    tracking_dir: TrackingDir, publish: Callable[[Path], str], caplog: pytest.LogCaptureFixture
) -> None:
    metrics = {"train/loss": "1 0.5 0\n", "acc": "1 0.9 0\n"}
    tracking_dir.add_run(tracking_dir.add_experiment("train"), "a", metrics=metrics)
    runs = Run.load(iter_run_dirs(publish(tracking_dir.root)))
    assert runs.metric_histories("acc").height == 1
    with pytest.raises(MissingKeyError, match="does not have the metric 'train'; the nearest are"):
        runs.metric_histories("train", "acc")


def test_hidden_names_that_mlflow_allows_are_kept(tracking_dir: TrackingDir) -> None:
    """A configuration that was flattened with an empty prefix has such names."""
    run_dir = tracking_dir.add_run(tracking_dir.add_experiment("train"), "a")
    params = {"._target_": "a.B", ".lr": "0.1", "a:b c-d.e_f/é": "1"}
    for key, value in params.items():
        write(run_dir / "params" / key, value)
    assert Run(run_dir).params == params


def test_names_of_old_runs_are_cached_with_the_tag(
    tracking_dir: TrackingDir, tmp_path: Path, later: Callable[[], None], files_read: FilesRead
) -> None:
    experiment = tracking_dir.add_experiment("train")
    for name in ("a", "b", "c"):
        run_name = "recorded" if name == "c" else ""
        run_dir = tracking_dir.add_run(experiment, name, run_name=run_name)
        write(run_dir / "tags/mlflow.runName", f"old-{name}")
    later()

    def names() -> str:
        files_read.clear()
        runs = Run.load(iter_run_dirs(tracking_dir.root), index=tmp_path / "index")
        read = [path for path in files_read.paths if path.endswith("mlflow.runName")]
        return f"{runs.to_list('run_name')}, {len(read)} files"

    assert names() == "['old-a', 'old-b', 'recorded'], 2 files"
    assert names() == "['old-a', 'old-b', 'recorded'], 0 files"
    write(experiment / "b/tags/mlflow.runName", "renamed")
    assert names() == "['old-a', 'renamed', 'recorded'], 1 files"


def test_names_of_old_runs_on_a_server_take_one_request_each(
    tracking_dir: TrackingDir, tmp_path: Path, serve: Callable[[Path], WebServer]
) -> None:
    experiment = tracking_dir.add_experiment("train")
    for name in ("run0", "run1", "run2"):
        run_name = "recorded" if name == "run2" else ""
        run_dir = tracking_dir.add_run(experiment, name, run_name=run_name)
        if name != "run1":
            write(run_dir / "tags/mlflow.runName", f"old-{name}")
    server = serve(tracking_dir.root.parent)
    for _ in range(2):
        dirs = iter_run_dirs(f"{server.url}/mlruns")
        runs = Run.load(dirs, index=tmp_path / "index")
        assert runs.to_list("run_name") == ["old-run0", None, "recorded"]
    counts = [server.count(f"{n}/tags/mlflow.runName") for n in ("run0", "run1", "run2")]
    assert counts == [1, 1, 0]


def test_unreadable_name_of_an_old_run_is_reported(tracking_dir: TrackingDir) -> None:
    run_dir = tracking_dir.add_run(tracking_dir.add_experiment("train"), "a", run_name="")
    (run_dir / "tags/mlflow.runName").write_bytes(b"\xff")
    with pytest.raises(RunLoadError, match=r"tags.mlflow.runName: expected UTF-8 text"):
        find_run_ids(tracking_dir.root)


# Models --------------------------------------------------------------------------------


@pytest.fixture
def model_dir(tracking_dir: TrackingDir) -> Path:
    """The directory of a model that the only run logged."""
    experiment = tracking_dir.add_experiment("train")
    tracking_dir.add_run(experiment, "a")
    write(experiment / "models/m-1/artifacts/MLmodel", "flavors: {}")
    write(experiment / "models/m-1/meta.yaml", "name: model\nsource_run_id: a\n")
    return experiment / "models/m-1"


def test_models_on_every_storage(
    tracking_dir: TrackingDir, model_dir: Path, publish: Callable[[Path], str]
) -> None:
    (run,) = Run.load(iter_run_dirs(publish(tracking_dir.root)))
    assert (run.models["model"] / "MLmodel").read_text() == "flavors: {}"
    assert [path.name for path in run.models["model"].iterdir()] == ["MLmodel"]
    with pytest.raises(NotFoundError, match=r"use run.models\['model'\]"):
        run.fetch("model/MLmodel")


def test_models_on_a_web_server(
    tracking_dir: TrackingDir, model_dir: Path, serve: Callable[[Path], WebServer]
) -> None:
    url = serve(tracking_dir.root.parent).url
    (run,) = Run.load(iter_run_dirs(f"{url}/mlruns"))
    assert (run.models["model"] / "MLmodel").read_text() == "flavors: {}"
    shutil.rmtree(model_dir.parent)
    (run,) = Run.load(iter_run_dirs(f"{url}/mlruns"))
    assert run.models == {}


def test_models_that_were_stored_elsewhere(
    tracking_dir: TrackingDir, model_dir: Path, tmp_path: Path
) -> None:
    def get_place() -> Path:
        return Run(tracking_dir.root / "1/a").models["model"]

    elsewhere = tmp_path / "mlartifacts/1/models/m-1/artifacts"
    with (model_dir / "meta.yaml").open("a") as meta:
        meta.write(f"artifact_location: {elsewhere.as_uri()}\n")
    (model_dir / "artifacts").rename(tmp_path / "artifacts")
    assert get_place() == model_dir / "artifacts"
    elsewhere.mkdir(parents=True)
    assert get_place() == elsewhere
    (tmp_path / "artifacts").rename(model_dir / "artifacts")
    assert get_place() == model_dir / "artifacts"


def test_models_beside_the_tracking_directory_or_in_an_artifact_root(
    tracking_dir: TrackingDir, model_dir: Path, tmp_path: Path
) -> None:
    root = tracking_dir.root
    with (model_dir / "meta.yaml").open("a") as meta:
        meta.write("artifact_location: mlflow-artifacts:/1/models/m-1/artifacts\n")
    beside = root.parent / "mlartifacts/1/models/m-1"
    beside.mkdir(parents=True)
    (model_dir / "artifacts").rename(beside / "artifacts")
    (run,) = Run.load(iter_run_dirs(root))
    assert run.models["model"] == beside / "artifacts"
    (root.parent / "mlartifacts").rename(tmp_path / "moved")
    (run,) = Run.load(iter_run_dirs(root, artifact_root=tmp_path / "moved"))
    assert run.models["model"] == tmp_path / "moved/1/models/m-1/artifacts"


def test_malformed_models_hide_no_others(
    tracking_dir: TrackingDir, model_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(model_dir.parent / "m-0/meta.yaml", "name: a\nname: b\n")
    write(model_dir.parent / "m-2/artifacts/x", "")
    write(model_dir.parent / "notes.txt", "")
    (run,) = Run.load(iter_run_dirs(tracking_dir.root))
    assert list(run.models) == ["model"]
    assert caplog.messages == [
        f"skipped: {model_dir.parent / 'm-0/meta.yaml'}: the key 'name' occurs twice"
    ]


def test_unreadable_models_are_an_error(tracking_dir: TrackingDir, model_dir: Path) -> None:
    (model_dir / "meta.yaml").unlink()
    (model_dir / "meta.yaml").symlink_to("nowhere")
    (run,) = Run.load(iter_run_dirs(tracking_dir.root))
    with pytest.raises(
        StorageError, match=r"m-1.meta.yaml': a symbolic link in the path is broken"
    ):
        _ = run.models
    with pytest.raises(
        NotFoundError, match=r"there is no '[^']*model'; the artifacts are '.hydra'$"
    ):
        run.fetch("model")
    shutil.rmtree(model_dir.parent)
    model_dir.parent.symlink_to("nowhere")
    with pytest.raises(StorageError, match=r"models': a symbolic link in the path is broken"):
        _ = Run(tracking_dir.root / "1/a").models


# Git LFS ---------------------------------------------------------------------------------

POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'a' * 64}\nsize 128\n"


@pytest.mark.parametrize(
    "name",
    ["1/meta.yaml", "1/a/meta.yaml", "1/a/artifacts/.hydra/config.yaml"],
)
def test_pointers_of_git_lfs_are_reported(tracking_dir: TrackingDir, name: str) -> None:
    tracking_dir.add_run(tracking_dir.add_experiment("train"), "a", "lr: 1")
    tracking_dir.add_run(tracking_dir.add_experiment("eval", "2"), "b", "lr: 1")
    path = tracking_dir.root / name
    write(path, POINTER)
    with pytest.raises(RunLoadError) as raised:
        Run.load(iter_run_dirs(tracking_dir.root))
    assert f"{path}: it is a pointer of Git LFS, not the file itself; run `git lfs pull`" in str(
        raised.value
    )
    (run,) = Run.load(iter_run_dirs(tracking_dir.root, on_error="warn"), on_error="warn")
    assert run.info.run_id == "b"


def test_pointers_of_git_lfs_in_one_run_are_errors(tracking_dir: TrackingDir) -> None:
    metrics = {"loss": POINTER}
    run_dir = tracking_dir.add_run(tracking_dir.add_experiment("train"), "a", POINTER, metrics)
    write(run_dir / "tags/stage", POINTER)
    run = Run(run_dir)
    with pytest.raises(ConfigError, match=r"config.yaml: it is a pointer of Git LFS"):
        _ = run.cfg
    for kind in ("metrics", "tags"):
        with pytest.raises(MetadataError, match=r"run `git lfs pull`"):
            getattr(run, kind)
    with pytest.raises(GitLfsError, match=r"metrics.loss: it is a pointer"):
        run.metric_history("loss")


def test_metric_histories(tracking_dir: TrackingDir) -> None:
    experiment = tracking_dir.add_experiment("train")
    texts = {
        "loss": "3 0.3 2\n1 nan 0\n1 0.1 0\n1 0.1 0\r\n2 inf 1 data digest\n4 0.4",
        "val/old": "1 0.5\n2 0.25\n",
    }
    tracking_dir.add_run(experiment, "a", metrics=texts)
    tracking_dir.add_run(experiment, "b", metrics={"loss": "1 0.5 0\n"})
    tracking_dir.add_run(experiment, "c")
    runs = Run.load(iter_run_dirs(tracking_dir.root))
    frame = runs.metric_histories("loss", "val/old")
    for absent in ("missing", "../../1/a/metrics/loss"):
        with pytest.raises(MissingKeyError, match=f"none of the 3 runs has the metric '{absent}'"):
            runs.metric_histories("loss", absent)
    assert [str(row) for row in frame.select("run_id", "metric", "step", "value").rows()] == [
        "('a', 'loss', 0, nan)",
        "('a', 'loss', 0, 0.1)",
        "('a', 'loss', 0, 0.1)",
        "('a', 'loss', 1, inf)",
        "('a', 'loss', 2, 0.3)",
        "('a', 'val/old', 0, 0.5)",
        "('a', 'val/old', 0, 0.25)",
        "('b', 'loss', 0, 0.5)",
    ]
    assert runs[0].metric_history("val/old")["value"].to_list() == [0.5, 0.25]
    with pytest.raises(MissingKeyError, match="run c does not have the metric 'loss'"):
        runs[2].metric_history("loss")

    write(tracking_dir.root / "1/b/metrics/loss", "1 0.5 0\nbad\n")
    with pytest.raises(MetadataError, match=r"b.metrics.loss: line 2: expected 'timestamp value"):
        runs.metric_histories("loss")


@pytest.mark.parametrize(
    "name", ["../../b/metrics/loss", "val/../loss", "./loss", "val/./loss", "val//loss", "/loss"]
)
def test_names_lead_to_no_other_file(tracking_dir: TrackingDir, name: str) -> None:
    """MLflow allows no such names, so whoever asks for one gets nothing."""
    experiment = tracking_dir.add_experiment("train")
    for run_id in "ab":
        texts = {"loss": "1 0.5 0\n", "val/loss": "1 0.25 0\n"}
        tracking_dir.add_run(experiment, run_id, metrics=texts)
    run = Run(experiment / "a")
    assert run.get(f"metrics.{name}", None) is None
    with pytest.raises(MissingKeyError, match="does not have the metric"):
        run.metric_history(name)
    assert run.metrics == {"loss": 0.5, "val/loss": 0.25}


def test_logged_columns_are_read_in_bulk(tracking_dir: TrackingDir, files_read: FilesRead) -> None:
    experiment = tracking_dir.add_experiment("train")
    for number in range(20):
        run_dir = tracking_dir.add_run(
            experiment, f"{number:02}", metrics={"loss": f"1 {number} 0\n"}
        )
        write(run_dir / "params/lr", "0.1")
    runs = Run.load(iter_run_dirs(tracking_dir.root))
    files_read.clear()
    frame = runs.to_frame("metrics.loss", "params.lr", "status")
    assert frame.row(19) == (19.0, "0.1", "FINISHED")
    runs.filter(("metrics.loss", 3.0))
    assert files_read.counts == [20, 20]


def test_logged_values_of_finished_remote_runs_are_cached(
    tracking_dir: TrackingDir, tmp_path: Path, serve: Callable[[Path], WebServer]
) -> None:
    experiment = tracking_dir.add_experiment("train")
    values = {"run0": "1 0.5 0\n", "run1": "1 nan 0\n", "run2": "1 0.25 0\n"}
    for name, line in values.items():
        tracking_dir.add_run(experiment, name, metrics={"loss": line})
    tracking_dir.add_run(experiment, "run3")
    replace_meta(experiment / "run2", status=1)
    server = serve(tracking_dir.root.parent)

    def load() -> Any:
        return Run.load(iter_run_dirs(f"{server.url}/mlruns"), index=tmp_path / "index")

    for _ in range(2):
        assert repr(load().to_list("metrics.loss", None)) == "[0.5, nan, 0.25, None]"
    counts = [server.count(f"{name}/metrics/loss") for name in ("run0", "run1", "run2", "run3")]
    assert counts == [1, 1, 2, 1]
    for _ in range(2):
        assert repr(load()[1].metrics) == "{'loss': nan}"
    assert server.count("run1/metrics/loss") == 2


def test_metrics_on_a_local_disk_are_read_when_they_change(
    tracking_dir: TrackingDir, tmp_path: Path, later: Callable[[], None], files_read: FilesRead
) -> None:
    experiment = tracking_dir.add_experiment("train")
    for name in ("a", "b"):
        tracking_dir.add_run(experiment, name, metrics={"loss": "1 nan 0\n"})
    later()

    def losses() -> str:
        runs = Run.load(iter_run_dirs(tracking_dir.root), index=tmp_path / "index")
        files_read.clear()
        column = repr(runs.to_list("metrics.loss"))
        return f"{column}, {len(files_read.paths)} files"

    assert losses() == "[nan, nan], 2 files"
    assert losses() == "[nan, nan], 0 files"
    with (experiment / "b/metrics/loss").open("a") as file:
        file.write("2 0.5 1\n")
    assert losses() == "[nan, 0.5], 1 files"
    assert losses() == "[nan, 0.5], 0 files"


# Directories of other programs, and copies ----------------------------------------------------


@pytest.mark.parametrize(
    "content",
    ["name: x\n", "package:\n  name: x\n", "{% set version = 1 %}\npackage:\n", "", "- 1", "\0"],
)
def test_a_meta_file_of_another_program(
    tracking_dir: TrackingDir,
    publish: Callable[[Path], str],
    caplog: pytest.LogCaptureFixture,
    waits: list[float],
    content: str,
) -> None:
    """Such as that of a conda recipe."""
    tracking_dir.add_run(tracking_dir.add_experiment("train"), "a" * 32)
    write(tracking_dir.root / "recipe/meta.yaml", content)
    write(tracking_dir.root / "recipe/inner/meta.yaml", content)
    location = publish(tracking_dir.root)
    for load in (find_run_ids, get_experiment_names):
        caplog.clear()
        assert load(location) == (["a" * 32] if load is find_run_ids else ["train"])
        (message,) = caplog.messages
        assert message.startswith("skipped ")
        assert "recipe" in message
        assert ": it has no runs, and its meta.yaml is not that of an experiment" in message


@pytest.mark.parametrize("content", ["name: x\n", "- 1"])
def test_an_experiment_with_runs_counts_whatever_its_meta_file(
    tracking_dir: TrackingDir, publish: Callable[[Path], str], content: str
) -> None:
    for name in ("1", "custom"):
        tracking_dir.add_run(tracking_dir.add_experiment(name, name), name[0] * 32)
    write(tracking_dir.root / "custom/meta.yaml", content)
    location = publish(tracking_dir.root)
    if content.startswith("name"):
        assert get_experiment_names(location) == ["1", "x"]
        assert find_run_ids(location, "x") == ["c" * 32]
    else:
        with pytest.raises(RunLoadError, match=r"1 of 2 runs and experiments.*\n.*custom"):
            find_run_ids(location)


def test_nothing_but_a_meta_file_of_another_program(
    tmp_path: Path, publish: Callable[[Path], str]
) -> None:
    """It does not make a file store of what is Hydra's."""
    write(tmp_path / "project/recipe/meta.yaml", "package:\n  name: x\n")
    write_job(tmp_path / "project/runs/a")
    assert find_run_ids(publish(tmp_path / "project")) == ["a"]


@pytest.mark.parametrize("copy", ["6", "5 (copy)"])
def test_copies_of_an_experiment_are_included_with_a_warning(
    tracking_dir: TrackingDir,
    publish: Callable[[Path], str],
    caplog: pytest.LogCaptureFixture,
    copy: str,
) -> None:
    experiment = tracking_dir.add_experiment("train", "5")
    for name in ("a" * 32, "b" * 32):
        tracking_dir.add_run(experiment, name)
    (experiment / "tags").mkdir()
    shutil.copytree(experiment, tracking_dir.root / copy)
    location = publish(tracking_dir.root)
    loads: list[Callable[[], list[str]]] = [
        lambda: find_run_ids(location),
        lambda: [run.info.run_id for runs in iter_runs(location, batch_size=1) for run in runs],
    ]
    for load in loads:
        caplog.clear()
        assert sorted(load()) == ["a" * 32] * 2 + ["b" * 32] * 2
        (message,) = caplog.messages
        assert message.startswith(f"runs in several experiments: 2; the first, {'a' * 32}, is in ")
        assert ". They are included with each experiment; remove what is a copy" in message
        assert copy in message


def test_one_copied_run(tracking_dir: TrackingDir, caplog: pytest.LogCaptureFixture) -> None:
    first, second = (tracking_dir.add_experiment(name, name) for name in ("5", "6"))
    run_dir = tracking_dir.add_run(first, "a" * 32)
    for experiment in (first, second):
        (experiment / "notes").mkdir()
    assert find_run_ids(tracking_dir.root) == ["a" * 32]
    assert caplog.messages == []
    shutil.copytree(run_dir, second / run_dir.name)
    assert find_run_ids(tracking_dir.root, "5") == ["a" * 32]
    assert caplog.messages == []
    assert find_run_ids(tracking_dir.root) == ["a" * 32] * 2
    assert caplog.messages == [
        f"runs in several experiments: 1; the first, {'a' * 32}, is in {first} and in {second}. "
        "They are included with each experiment; remove what is a copy"
    ]
