"""That a load reads only what the index does not know."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import pytest
import yaml

from kedro_hydraflow import HydraflowRunCollectionDataset, Run, iter_run_dirs, iter_runs
from kedro_hydraflow.index import FILE_NAME
from kedro_hydraflow.storage import LocalStorage
from kedro_hydraflow.stores.file_store import FileStore
from tests.conftest import Database, TrackingDir, WebServer, write


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The runs whose configuration was read, and those whose ``meta.yaml`` was, with a slash."""
    opened: list[str] = []
    real = LocalStorage.read_parsed

    def read_and_note(self: LocalStorage, paths: list[str], parse: Any) -> Any:
        for path in map(Path, paths):
            if path.name == "config.yaml":
                opened.append(path.parents[2].name)
            elif path.parent.name.startswith("run"):
                opened.append(f"{path.parent.name}/")
        return real(self, paths, parse)

    monkeypatch.setattr(LocalStorage, "read_parsed", read_and_note)
    return opened


RUNS = ["run0", "run1", "run2"]
METAS = ["run0/", "run1/", "run2/"]


@pytest.fixture
def root(tracking_dir: TrackingDir) -> Path:
    """Three runs, written just now."""
    experiment = tracking_dir.add_experiment("train")
    for i in range(3):
        tracking_dir.add_run(experiment, f"run{i}", f"seed: {i}\nmodel: {{type: mlp}}\n")
    return tracking_dir.root


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Let a minute pass for who asks how old files are."""
    now = time.time_ns
    passed = [0]
    monkeypatch.setattr("kedro_hydraflow.storage.local.time.time_ns", lambda: now() + passed[0])

    def wait() -> None:
        passed[0] += 60 * 10**9

    return wait


def seeds(root: Any, index: Any) -> list[int]:
    return Run.load(iter_run_dirs(root), index=index).to_list("seed")


def test_known_runs_are_not_read(
    root: Path, tmp_path: Path, read: list[str], later: Callable[[], None]
) -> None:
    later()
    assert seeds(root, tmp_path / "index") == [0, 1, 2]
    assert read == METAS + RUNS
    for _ in range(2):
        runs = Run.load(iter_run_dirs(root), index=tmp_path / "index")
        assert runs.to_list("seed") == [0, 1, 2]
        assert runs.to_list("status") == ["FINISHED"] * 3
    assert len(read) == 6


def test_given_directories_are_known_too(
    root: Path, tmp_path: Path, read: list[str], later: Callable[[], None]
) -> None:
    later()
    run_dirs = [root / "1" / run for run in (*RUNS, "run3", "run0")]
    for _ in range(2):
        runs = Run.load(run_dirs, index=tmp_path / "index")
        assert [run.get("seed", None) for run in runs] == [0, 1, 2, None, 0]
    assert read[:5] == [*RUNS, "run3", "run0"]
    assert sorted(read[5:]) == ["run0", "run3"]


def test_what_changed_and_what_is_new_is_read(
    root: Path, tmp_path: Path, read: list[str], later: Callable[[], None]
) -> None:
    later()
    seeds(root, tmp_path / "index")
    config = root / "1/run1/artifacts/.hydra/config.yaml"
    old = config.stat()
    config.write_text("seed: 7\nmodel: {type: mlp}\n")  # of the same size
    os.utime(config, ns=(old.st_atime_ns, old.st_mtime_ns))
    TrackingDir(root).add_run(root / "1", "run3", "seed: 3\n")
    read.clear()
    assert seeds(root, tmp_path / "index") == [0, 7, 2, 3]
    assert read == ["run3/", "run1", "run3"]


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


def replace_meta(run_dir: Path, **entries: Any) -> None:
    meta = run_dir / "meta.yaml"
    meta.write_text(yaml.safe_dump({**yaml.safe_load(meta.read_text()), **entries}))


def test_what_was_changed_just_now_is_read_again(
    root: Path, tmp_path: Path, read: list[str]
) -> None:
    seeds(root, tmp_path / "index")
    seeds(root, tmp_path / "index")
    assert read == (METAS + RUNS) * 2


def test_without_an_index_everything_is_read(
    root: Path, read: list[str], later: Callable[[], None]
) -> None:
    later()
    seeds(root, index=False)
    seeds(root, index=False)
    assert read == (METAS + RUNS) * 2


def test_a_broken_index_costs_a_reading(
    root: Path, tmp_path: Path, read: list[str], later: Callable[[], None]
) -> None:
    later()
    seeds(root, tmp_path / "index")
    (tmp_path / "index" / FILE_NAME).write_bytes(b"no database" * 99)
    assert seeds(root, tmp_path / "index") == [0, 1, 2]
    assert read == (METAS + RUNS) * 2


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
        assert f"{expected}/{expected}" in capsys.readouterr().err
        for i in range(80, 100) if unknown == 80 else ():
            tracking_dir.add_run(experiment, f"run{i}", f"seed: {i}\n")
        later()
        assert sum(loaded) == unknown


def test_batches_are_known(
    root: Path, tmp_path: Path, read: list[str], later: Callable[[], None]
) -> None:
    later()
    for _ in range(2):
        batches = iter_runs(root, batch_size=2, index=tmp_path / "index")
        assert [runs.to_list("seed") for runs in batches] == [[0, 1], [2]]
    assert sorted(read) == sorted(METAS + RUNS)


def test_what_is_merged_with_a_class_is_not_remembered(
    root: Path, tmp_path: Path, later: Callable[[], None]
) -> None:
    later()
    for index in (tmp_path / "index", tmp_path / "index", False):
        runs = Run.load(iter_run_dirs(root), index=index, config_class=Config)
        assert runs.to_list("epochs") == [10, 10, 10]
    assert "epochs" not in Run.load(iter_run_dirs(root), index=tmp_path / "index")[0].cfg


@dataclass
class Config:
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
    root: Path, tmp_path: Path, read: list[str], later: Callable[[], None]
) -> None:
    (root / "1/run1/artifacts/.hydra/config.yaml").write_text("[")
    later()
    for _ in range(2):
        runs = Run.load(iter_run_dirs(root), index=tmp_path / "index", on_error="warn")
        assert runs.to_list("seed") == [0, 2]
    assert read == [*METAS, *RUNS, "run1"]


def count(server: WebServer, name: str) -> int:
    return sum(path.endswith(name) for path in server.requests)


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
    assert count(server, "run0/artifacts/.hydra/config.yaml") == 1
    assert count(server, "run0/meta.yaml") == 1
    assert count(server, "mlruns/1/meta.yaml") == 1
    assert count(server, "run1/artifacts/.hydra/config.yaml") == 2
    assert count(server, "run2/artifacts/.hydra/config.yaml") == 2


def test_on_remote_storage_nothing_is_remembered_unasked(
    root: Path, serve: Callable[[Path], WebServer]
) -> None:
    server = serve(root.parent)
    for _ in range(2):
        Run.load(iter_run_dirs(f"{server.url}/mlruns"))
    assert count(server, "run0/artifacts/.hydra/config.yaml") == 2
    assert count(server, "run0/meta.yaml") == 0


def test_a_bad_option_names_itself() -> None:
    with pytest.raises(ValueError, match="index: expected true, false or a directory"):
        HydraflowRunCollectionDataset(path="mlruns", index=3)  # type: ignore[arg-type]


def test_filters_by_facts_read_nothing_of_known_runs(
    root: Path, tmp_path: Path, serve: Callable[[Path], WebServer]
) -> None:
    server = serve(root.parent)
    for n_files in (7, 0):
        server.requests.clear()
        dataset = HydraflowRunCollectionDataset(
            path=f"{server.url}/mlruns",
            index=tmp_path / "index",
            filters=["status == FINISHED"],
            include_deleted=False,
        )
        assert len(dataset.load()) == 3
        assert sum(path.endswith(".yaml") for path in server.requests) == n_files


def test_given_remote_directories_are_read(
    root: Path, tmp_path: Path, serve: Callable[[Path], WebServer]
) -> None:
    """No listing has told that they are still there."""
    server = serve(root.parent)
    seeds(f"{server.url}/mlruns", tmp_path / "index")
    for _ in range(2):
        Run.load([f"{server.url}/mlruns/1/run0"], index=tmp_path / "index")
    assert count(server, "run0/artifacts/.hydra/config.yaml") == 3


def test_the_option_is_described() -> None:
    assert "index='folder'" in repr(HydraflowRunCollectionDataset(path="mlruns", index="folder"))


def test_what_ended_remote_runs_logged_is_remembered(
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
    counts = [count(server, f"{name}/metrics/loss") for name in ("run0", "run1", "run2", "run3")]
    assert counts == [1, 1, 2, 1]
    for _ in range(2):
        assert repr(load()[1].metrics) == "{'loss': nan}"
    assert count(server, "run1/metrics/loss") == 2


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
    assert count(server, "run0/artifacts/.hydra/config.yaml") == 1
    assert count(server, "run1/artifacts/.hydra/config.yaml") == 2


def test_metrics_on_a_local_disk_are_read_when_they_change(
    tracking_dir: TrackingDir, tmp_path: Path, later: Callable[[], None]
) -> None:
    experiment = tracking_dir.add_experiment("train")
    for name in ("a", "b"):
        tracking_dir.add_run(experiment, name, metrics={"loss": "1 nan 0\n"})
    later()

    def losses() -> str:
        runs = Run.load(iter_run_dirs(tracking_dir.root), index=tmp_path / "index")
        before = len(files)
        column = repr(runs.to_list("metrics.loss"))
        return f"{column}, {len(files) - before} files"

    files: list[str] = []
    real = LocalStorage._read

    def note(self: LocalStorage, path: str) -> Any:
        files.append(path)
        return real(self, path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LocalStorage, "_read", note)
        assert losses() == "[nan, nan], 2 files"
        assert losses() == "[nan, nan], 0 files"
        with (experiment / "b/metrics/loss").open("a") as file:
            file.write("2 0.5 1\n")
        assert losses() == "[nan, 0.5], 1 files"
        assert losses() == "[nan, 0.5], 0 files"
