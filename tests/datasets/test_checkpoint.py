from __future__ import annotations

import json
import logging
import multiprocessing
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import fsspec
import pytest
from kedro.io import DataCatalog, DatasetError, SharedMemoryDataCatalog
from kedro.pipeline import node, pipeline
from kedro.runner import ParallelRunner, SequentialRunner, ThreadRunner

from kedro_hydraflow import HydraflowFrameDataset, HydraflowRunCollectionDataset, RunCollection
from kedro_hydraflow.errors import OptionError
from tests.conftest import Database, TrackingDir, replace_meta, write, write_job, write_sweep
from tests.datasets.conftest import TEXT, from_catalog, make_artifact_dataset
from tests.disks import mount_small_disk


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A checkpoint that is not there yet."""
    return tmp_path / "state/checkpoint.json"


@pytest.fixture
def train(tracking_dir: TrackingDir) -> Path:
    """An experiment with the runs a and b, which have ended, and c, which has not."""
    experiment = tracking_dir.add_experiment("train")
    tracking_dir.add_run(experiment, "a", "seed: 1\n")
    tracking_dir.add_run(experiment, "b", "seed: 2\n")
    tracking_dir.add_run(experiment, "c", "seed: 3\n", status=1, end_time=None)
    return experiment


EMPTY = '{"format": "kedro-hydraflow checkpoint 1", "runs": []}'


def list_ids(runs: RunCollection[Any]) -> list[str]:
    return [run.info.run_id for run in runs]


def read(checkpoint: Path) -> list[str]:
    state = json.loads(checkpoint.read_text())
    assert state["format"] == "kedro-hydraflow checkpoint 1"
    return state["runs"]


def test_load_gives_what_was_not_confirmed(
    train: Path, tracking_dir: TrackingDir, checkpoint: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    dataset = from_catalog(path=str(train.parent), checkpoint={"filepath": str(checkpoint)})
    assert list_ids(dataset.load()) == ["a", "b", "c"]
    assert list_ids(dataset.load()) == ["a", "b", "c"]
    assert not checkpoint.parent.exists()
    dataset.confirm()
    assert (
        f"{checkpoint}: confirmed 2 runs; 1 had not ended, or lack artifacts, and will come again"
        in caplog.text
    )
    assert read(checkpoint) == ["a", "b"]
    tracking_dir.add_run(train, "d")
    assert list_ids(dataset.load()) == ["c", "d"]
    replace_meta(train / "c", status=3)
    dataset.confirm()  # c had not ended when it was loaded
    assert read(checkpoint) == ["a", "b", "d"]
    assert list_ids(dataset.load()) == ["c"]
    dataset.confirm()
    caplog.clear()
    assert list_ids(dataset.load()) == []
    assert "0 runs of one experiment, without 4 confirmed" in caplog.text
    dataset.confirm()
    assert read(checkpoint) == ["a", "b", "c", "d"]
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


def test_nothing_is_read_of_confirmed_runs(train: Path, checkpoint: Path) -> None:
    dataset = from_catalog(path=str(train.parent), checkpoint=str(checkpoint))
    dataset.load()
    dataset.confirm()
    for run_id in ("a", "b"):
        write(train / run_id / "meta.yaml", "[")
        write(train / run_id / "artifacts/.hydra/config.yaml", "[")
    assert list_ids(dataset.load()) == ["c"]


def test_what_failed_comes_again(train: Path, checkpoint: Path) -> None:
    config, meta = train / "a/artifacts/.hydra/config.yaml", train / "b/meta.yaml"
    good = meta.read_text()
    write(config, "[")
    write(meta, good.replace("status: 3", "status: ["))
    dataset = from_catalog(path=str(train.parent), checkpoint=str(checkpoint), on_error="warn")
    assert list_ids(dataset.load()) == ["c"]
    dataset.confirm()
    assert not checkpoint.exists()
    write(config, "seed: 1\n")
    write(meta, good)
    assert list_ids(dataset.load()) == ["a", "b", "c"]
    dataset.confirm()
    assert read(checkpoint) == ["a", "b"]


def test_malformed_facts_are_an_error(train: Path, checkpoint: Path) -> None:
    write(train / "b/meta.yaml", "[")
    dataset = from_catalog(path=str(train.parent), checkpoint=str(checkpoint))
    with pytest.raises(
        DatasetError, match=r"1 of 3 runs and experiments could not be read[^$]*b/meta"
    ):
        dataset.load()


def test_each_consumer_has_its_own(train: Path, tmp_path: Path) -> None:
    datasets = [from_catalog(path=str(train.parent), checkpoint=str(tmp_path / n)) for n in "xy"]
    for dataset in datasets:
        dataset.load()
    datasets[0].confirm()
    assert [list_ids(dataset.load()) for dataset in datasets] == [["c"], ["a", "b", "c"]]


def test_filters_are_for_new_runs(
    train: Path, checkpoint: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(train / "a/metrics/loss", "1 0.5 0\n")
    options = {"path": str(train.parent), "checkpoint": str(checkpoint)}
    dataset = from_catalog(**options, filters="metrics.loss < 1")
    assert list_ids(dataset.load()) == ["a"]
    dataset.confirm()
    assert list_ids(dataset.load()) == []  # none has the metric yet, which is no error
    assert "none of the 2 runs has the key 'metrics.loss'" in caplog.text
    write(train / "b/metrics/loss", "1 0.5 0\n")
    assert list_ids(dataset.load()) == ["b"]
    with pytest.raises(DatasetError, match=r"none of the 3 runs has the key 'metrics\.los'"):
        from_catalog(path=str(train.parent), filters="metrics.los < 1").load()


def test_an_object_confirms_what_it_loaded_itself(
    train: Path, tracking_dir: TrackingDir, checkpoint: Path
) -> None:
    dataset = from_catalog(path=str(train.parent), checkpoint=str(checkpoint))
    dataset.load()
    copied = pickle.loads(pickle.dumps(dataset))
    with pytest.raises(DatasetError, match=r"no runs were loaded from .* With ParallelRunner"):
        copied.confirm()
    tracking_dir.add_run(train, "d")
    dataset.release()  # as Kedro does after the last node that loads it
    dataset.confirm()
    assert read(checkpoint) == ["a", "b"]


def test_confirming_twice_and_by_two(
    train: Path, checkpoint: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = (from_catalog(path=str(train.parent), checkpoint=str(checkpoint)) for _ in "12")
    first.load()
    second.load()
    first.confirm()
    first.confirm()
    assert "confirmed by others" not in caplog.text
    second.confirm()
    assert "2 of 2 runs were confirmed by others since they were loaded, such as a" in caplog.text
    assert read(checkpoint) == ["a", "b"]


def test_previews_and_exists_neither_write_nor_confirm(train: Path, checkpoint: Path) -> None:
    dataset = from_catalog(path=str(train.parent), checkpoint=str(checkpoint))
    assert dataset.exists()
    assert len(dataset.preview()["data"]) == 3
    with pytest.raises(DatasetError, match="no runs were loaded from"):
        dataset.confirm()
    assert not checkpoint.exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "JSONDecodeError"),
        ('{"format": "kedro-hydraflow checkpoint 1", "runs": ["a', "JSONDecodeError"),
        ("[]", "expected the format 'kedro-hydraflow checkpoint 1', found []"),
        ('{"format": "kedro-hydraflow lock 1"}', "found 'kedro-hydraflow lock 1'"),
        ('{"format": "kedro-hydraflow checkpoint 1"}', "unexpected runs: None"),
        (f'{EMPTY[:-1]}, "runs": []}}', "the key 'runs' occurs twice"),
        ('{"format": "kedro-hydraflow checkpoint 1", "runs": [1]}', "unexpected runs: [1]"),
    ],
)
def test_a_damaged_file_is_not_taken_for_an_empty_one(
    train: Path, checkpoint: Path, text: str, message: str
) -> None:
    dataset = from_catalog(path=str(train.parent), checkpoint=str(checkpoint))
    dataset.load()
    write(checkpoint, text)
    for use in (dataset.load, dataset.confirm):
        with pytest.raises(DatasetError) as caught:
            use()
        assert f"{checkpoint}: this is no checkpoint of kedro-hydraflow" in str(caught.value)
        assert message in str(caught.value)
        assert "restore it, or remove it" in str(caught.value)
    assert checkpoint.read_text() == text


def test_a_full_disk_leaves_the_old_file(train: Path, tmp_path: Path) -> None:
    with mount_small_disk(tmp_path / "disk", 65536) as disk:
        checkpoint = disk.folder / "checkpoint.json"
        dataset = from_catalog(path=str(train.parent), checkpoint=str(checkpoint))
        dataset.load()
        dataset.confirm()
        before = checkpoint.read_bytes()
        replace_meta(train / "c", status=3)
        dataset.load()
        disk.leave(0)
        with pytest.raises(DatasetError, match=r"cannot write .*checkpoint\.json"):
            dataset.confirm()
        assert checkpoint.read_bytes() == before
        assert {path.name for path in disk.folder.iterdir()} <= {
            "checkpoint.json",
            ".checkpoint.json.lock",
            "filler",
        }
        disk.leave(16384)
        dataset.confirm()
        assert read(checkpoint) == ["a", "b", "c"]


def confirm(root: str, checkpoint: str, name: str) -> None:
    """Confirm the runs of an experiment. Called in a process of its own."""
    dataset = from_catalog(path=root, experiment_names=[name], checkpoint=checkpoint)
    dataset.load()
    dataset.confirm()


def test_processes_confirm_at_once(tracking_dir: TrackingDir, checkpoint: Path) -> None:
    for i in range(8):
        experiment = tracking_dir.add_experiment(f"e{i}", f"{i + 1}")
        tracking_dir.add_run(experiment, f"r{i}")
    context = multiprocessing.get_context("spawn")
    arguments = [(str(tracking_dir.root), str(checkpoint), f"e{i}") for i in range(8)]
    with context.Pool(4) as pool:
        pool.starmap(confirm, arguments)
    assert read(checkpoint) == [f"r{i}" for i in range(8)]


CONFIRM_FOR_EVER = """
import sys
from itertools import count
from kedro_hydraflow.checkpoint import Checkpoint
from kedro_hydraflow.storage import LocalStorage, Place

checkpoint = Checkpoint(Place(LocalStorage(), sys.argv[1]))
for i in count(len(checkpoint.read())):
    checkpoint.add([f"{i:05}"])
    print(i, flush=True)
"""


def test_a_process_that_is_killed_leaves_a_whole_file(checkpoint: Path) -> None:
    n_confirmed = 0
    for _ in range(5):
        command = [sys.executable, "-c", CONFIRM_FOR_EVER, str(checkpoint)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for _ in range(20):
                n_confirmed = int(process.stdout.readline()) + 1
            process.kill()
        found = read(checkpoint)
        assert found == [f"{i:05}" for i in range(len(found))]
        assert len(found) >= n_confirmed


def test_a_checkpoint_on_another_storage(train: Path, tmp_path: Path) -> None:
    url = f"memory://{tmp_path.name}/checkpoint.json"
    dataset = from_catalog(path=str(train.parent), checkpoint=url)
    dataset.load()
    dataset.confirm()
    assert json.loads(fsspec.open(url).open().read())["runs"] == ["a", "b"]
    assert list_ids(dataset.load()) == ["c"]


def test_a_symbolic_link_is_kept(train: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.json"
    link.symlink_to(tmp_path / "elsewhere/checkpoint.json")
    dataset = from_catalog(path=str(train.parent), checkpoint=str(link))
    with pytest.raises(DatasetError, match="a symbolic link in the path is broken"):
        dataset.load()
    write(tmp_path / "elsewhere/checkpoint.json", EMPTY)
    dataset.load()
    dataset.confirm()
    assert link.is_symlink()
    assert read(tmp_path / "elsewhere/checkpoint.json") == ["a", "b"]


def test_runs_in_a_database(tmp_path: Path, database: Database, checkpoint: Path) -> None:
    experiment = database.add_experiment("train")
    database.add_run(experiment, "a")
    database.add_run(experiment, "b", status="RUNNING")
    options = {"path": str(database.path), "artifact_root": str(tmp_path)}
    dataset = from_catalog(**options, checkpoint=str(checkpoint))
    dataset.load()
    dataset.confirm()
    database.add_run(experiment, "c", status="FAILED")
    assert list_ids(dataset.load()) == ["b", "c"]


def test_runs_whose_artifacts_are_lost_come_again(
    tmp_path: Path, database: Database, checkpoint: Path, caplog: pytest.LogCaptureFixture
) -> None:
    disk = tmp_path / "disk"
    artifacts = disk / "1/a/artifacts"
    database.add_run(database.add_experiment("train"), "a", artifact_uri=str(artifacts))
    dataset = from_catalog(path=str(database.path), checkpoint=str(checkpoint))
    assert list_ids(dataset.load()) == ["a"]
    assert "1 run will not be confirmed, because their artifacts cannot be found" in caplog.text
    dataset.confirm()
    write(artifacts / ".hydra/config.yaml", "seed: 1\n")
    assert dataset.load().to_list("seed") == [1]
    dataset.confirm()
    assert list_ids(dataset.load()) == []


def test_jobs_of_hydra_have_ended_when_they_have_results(tmp_path: Path, checkpoint: Path) -> None:
    sweep = write_sweep(tmp_path / "multirun/named", 2)
    write(sweep / "0/result.json", '{"loss": 1}')
    options = {"path": str(tmp_path / "multirun"), "checkpoint": str(checkpoint)}
    dataset = from_catalog(**options, results="result.json")
    assert list_ids(dataset.load()) == ["multirun/named/0", "multirun/named/1"]
    dataset.confirm()
    assert read(checkpoint) == ["multirun/named/0"]
    write_job(sweep / "2")
    write(sweep / "1/result.json", '{"loss": 2}')
    assert list_ids(dataset.load()) == ["multirun/named/1", "multirun/named/2"]
    with pytest.raises(DatasetError, match=r"it is not recorded in .* which runs have ended; give"):
        from_catalog(**options).load()


def test_jobs_of_hydra_have_ended_when_they_have_the_artifact(
    tmp_path: Path, checkpoint: Path
) -> None:
    sweep = write_sweep(tmp_path / "multirun/named", 2)
    write(sweep / "0/note.txt", "done")
    options = {"experiment_names": None, "artifact": "note.txt", "dataset": TEXT}
    options |= {"filepath_arg": "where", "checkpoint": str(checkpoint), "missing": "skip"}
    dataset = make_artifact_dataset(tmp_path / "multirun", **options)
    assert list(dataset.load()) == ["multirun/named/0"]
    dataset.confirm()
    assert read(checkpoint) == ["multirun/named/0"]
    write(sweep / "1/note.txt", "done")
    assert list(dataset.load()) == ["multirun/named/1"]


@pytest.mark.parametrize("option", ["checkpoint", "lock"])
def test_ids_that_others_may_have_are_refused(
    tmp_path: Path, checkpoint: Path, option: str
) -> None:
    write_sweep(tmp_path / "sweep", 2)
    options = {"path": str(tmp_path / "sweep"), option: str(checkpoint), "results": "result.json"}
    with pytest.raises(DatasetError, match=f"{option}: the run IDs in .* are relative to it, such"):
        from_catalog(**options).load()


def test_what_only_one_of_several_loads_gave_comes_again(
    train: Path, tracking_dir: TrackingDir, checkpoint: Path
) -> None:
    dataset = from_catalog(path=str(train.parent), checkpoint=str(checkpoint))
    dataset.load()
    tracking_dir.add_run(train, "d")
    assert list_ids(dataset.load()) == ["a", "b", "c", "d"]
    dataset.confirm()
    assert list_ids(dataset.load()) == ["c", "d"]
    write(train / "d/artifacts/.hydra/config.yaml", "[")
    again = from_catalog(path=str(train.parent), checkpoint=str(checkpoint), on_error="warn")
    again.load()
    write(train / "d/artifacts/.hydra/config.yaml", "seed: 4\n")
    again.load()
    again.confirm()
    assert list_ids(dataset.load()) == ["c", "d"]


def test_the_working_directory_may_change(
    train: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "inner").mkdir()
    monkeypatch.chdir(tmp_path)
    dataset = from_catalog(path=str(train.parent), checkpoint="done.json")
    dataset.load()
    monkeypatch.chdir(tmp_path / "inner")
    dataset.confirm()
    assert read(tmp_path / "done.json") == ["a", "b"]


# Frames and artifacts ------------------------------------------------------------------------


def test_frames(train: Path, checkpoint: Path) -> None:
    options = {"path": str(train.parent), "checkpoint": str(checkpoint)}
    dataset = HydraflowFrameDataset(**options, columns=["run_id", "seed"])
    assert dataset.load()["seed"].to_list() == [1, 2, 3]
    dataset.confirm()
    replace_meta(train / "c", status=3)
    assert dataset.load().rows() == [("c", 3)]
    dataset.confirm()
    assert dataset.load().columns == ["run_id", "seed"]
    typed = HydraflowFrameDataset(**options, schema={"seed": int}, library="pandas").load()
    assert typed.shape == (0, 1)


def test_artifacts(root: Path, checkpoint: Path) -> None:
    dataset = make_artifact_dataset(root, checkpoint=str(checkpoint))
    assert list(dataset.load()) == ["a", "b", "c"]
    dataset.confirm()
    assert read(checkpoint) == ["a", "b", "c"]
    assert dataset.load() == {}


def test_concatenated_artifacts(root: Path, tracking_dir: TrackingDir, checkpoint: Path) -> None:
    write(root / "1/b/artifacts/metrics.csv", "")
    dataset = make_artifact_dataset(
        root, checkpoint=str(checkpoint), concat=True, keys=["run_id", "lr"], on_error="warn"
    )
    assert dataset.load()["run_id"].unique().sort().to_list() == ["a", "c"]
    dataset.confirm()
    assert read(checkpoint) == ["a", "c"]  # b's could not be read
    write(root / "1/b/artifacts/metrics.csv", "epoch,loss\n0,0.5\n")
    assert dataset.load().rows() == [("b", 2, 0, 0.5)]
    dataset.confirm()
    nothing = dataset.load()  # of pandas, as nothing says that the dataset is one of Polars
    assert (list(nothing.columns), len(nothing)) == (["run_id", "lr"], 0)


def test_runs_without_the_artifact_are_done_if_they_may_be_skipped(
    root: Path, checkpoint: Path
) -> None:
    options = {"experiment_names": None, "artifact": "notes/short.txt", "dataset": TEXT}
    options |= {"filepath_arg": "where", "checkpoint": str(checkpoint)}
    dataset = make_artifact_dataset(root, missing="skip", **options)
    assert sorted(dataset.load()) == ["a", "b", "c"]
    dataset.confirm()
    assert read(checkpoint) == ["a", "b", "c", "z"]


# Options -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"checkpoint": ""}, "checkpoint: expected a path or URL, found ''"),
        ({"checkpoint": 3}, "checkpoint: expected a path or URL, found 3"),
        ({"checkpoint": {}}, "expected a path, a URL or a mapping with the key filepath"),
        ({"checkpoint": {"file": "x"}}, "mapping with the key filepath, found one with 'file'"),
        (
            {"checkpoint": {"filepath": ""}},
            "checkpoint: filepath: expected a path or URL, found ''",
        ),
        ({"checkpoint": "x", "lock": "y"}, "give checkpoint or lock, not both"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError) as caught:
        HydraflowRunCollectionDataset(path="mlruns", **options)
    assert message in str(caught.value)


@pytest.mark.parametrize("given", [{"best_by": "seed", "mode": "max"}, {"run_id": "abcdefgh"}])
def test_one_run_has_no_checkpoint(given: dict[str, Any]) -> None:
    message = "checkpoint: cannot be used with best_by or run_id"
    with pytest.raises(OptionError, match=message):
        HydraflowFrameDataset(path="mlruns", checkpoint="x", **given)
    with pytest.raises(DatasetError, match=message):
        make_artifact_dataset("mlruns", checkpoint="x", **given)


def test_lazy_frames_have_none() -> None:
    with pytest.raises(OptionError, match="checkpoint: cannot be used with lazy: true"):
        HydraflowFrameDataset(path="m", schema={"seed": int}, lazy=True, checkpoint="x")


def test_without_a_checkpoint_nothing_can_be_confirmed(train: Path) -> None:
    dataset = from_catalog(path=str(train.parent))
    dataset.load()
    with pytest.raises(DatasetError, match="the option checkpoint is not given, such as"):
        dataset.confirm()


def test_credentials_are_not_shown(train: Path) -> None:
    url = "s3://key:hush-hush@host/bucket/checkpoint.json"
    dataset = from_catalog(path=str(train.parent), checkpoint=url)
    assert "hush" not in repr(dataset)


# Pipelines -----------------------------------------------------------------------------------


def process(runs: RunCollection[Any]) -> int:
    return len(runs)


def pass_on(count: int) -> int:
    return count


@pytest.mark.parametrize("runner", [SequentialRunner, ThreadRunner, ParallelRunner])
def test_a_node_confirms(train: Path, checkpoint: Path, tmp_path: Path, runner: Any) -> None:
    counts = tmp_path / "count.json"
    config = {
        "type": "kedro_hydraflow.HydraflowRunCollectionDataset",
        "path": str(train.parent),
        "checkpoint": {"filepath": str(checkpoint)},
    }
    count = {"type": "json.JSONDataset", "filepath": str(counts)}
    steps = pipeline([node(process, "runs", "count", confirms="runs")])
    found = []
    for _ in range(2):
        make_catalog = SharedMemoryDataCatalog if runner is ParallelRunner else DataCatalog
        runner().run(steps, make_catalog.from_config({"runs": config, "count": count}))
        found.append(json.loads(counts.read_text()))
    assert found == [3, 1]
    assert read(checkpoint) == ["a", "b"]


def test_another_node_confirms(train: Path, checkpoint: Path, tmp_path: Path) -> None:
    config = {
        "type": "kedro_hydraflow.HydraflowRunCollectionDataset",
        "path": str(train.parent),
        "checkpoint": {"filepath": str(checkpoint)},
    }
    numbers = {
        name: {"type": "json.JSONDataset", "filepath": str(tmp_path / name)}
        for name in ("first", "second")
    }
    steps = pipeline(
        [node(process, "runs", "first"), node(pass_on, "first", "second", confirms="runs")]
    )
    catalog = {"runs": config, **numbers}
    with pytest.raises(DatasetError, match="With ParallelRunner, each node has objects of its own"):
        ParallelRunner().run(steps, SharedMemoryDataCatalog.from_config(catalog))
    assert not checkpoint.exists()
    SequentialRunner().run(steps, DataCatalog.from_config(catalog))
    assert read(checkpoint) == ["a", "b"]
