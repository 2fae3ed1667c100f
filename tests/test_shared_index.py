"""What a team shares: runs that one has published are read by all from a few files."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from kedro_hydraflow import (
    HydraflowRunCollectionDataset,
    Run,
    iter_run_dirs,
    iter_runs,
    publish_index,
)
from kedro_hydraflow.errors import KedroHydraflowError, OptionError, StorageError
from kedro_hydraflow.finding import find_runs
from kedro_hydraflow.publishing import Publication
from kedro_hydraflow.shared_index import SharedIndex
from kedro_hydraflow.storage import locate
from tests.conftest import DATABASE_SWEEP, HYDRA_SWEEP, SWEEP, FilesRead, TrackingDir, replace_meta

Runs = Any


@pytest.fixture
def index(tmp_path: Path) -> str:
    return (tmp_path / "index").as_uri()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SWEEP, tmp_path / "mlruns"))


def load(root: Path | str, index: Any, **kwargs: Any) -> Runs:
    return Run.load(iter_run_dirs(root, **kwargs), index=index)


def list_parts(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "index").iterdir())


def describe(runs: Runs) -> list[Any]:
    """Return all that is known of runs."""
    patterns = ("info.*", "metrics.*", "params.*", "tags.*")
    return [
        [(run.cfg, list(run.cfg)) for run in runs],
        runs.to_list("metrics.accuracy", None),
        *(runs.to_frame("run_id", pattern).to_dicts() for pattern in patterns),
    ]


def list_read(files_read: FilesRead) -> list[str]:
    """Return what was read in the tracking directory, without what says if "Default" is there."""
    read = [path for path in files_read.paths if "/mlruns/" in path]
    return [path for path in read if not path.endswith("/0/meta.yaml")]


def test_published_runs_are_read_from_the_index_alone(
    root: Path, index: str, files_read: FilesRead
) -> None:
    expected = describe(load(root, index=False))
    assert publish_index(root, index=index) == Publication(31, 0, 0, 0)
    files_read.clear()

    assert describe(load(root, index)) == expected
    assert list_read(files_read) == []


def test_all_ways_to_load_use_it(root: Path, index: str, files_read: FilesRead) -> None:
    publish_index(root, index=index)
    files_read.clear()
    dataset = HydraflowRunCollectionDataset(path=str(root), index=index)

    assert len(dataset.load()) == 31
    assert sum(len(runs) for runs in iter_runs(root, index=index)) == 31
    assert len(load(root, index, filters="status == FAILED and metrics.accuracy < 1")) == 1
    assert list_read(files_read) == []


def test_a_published_run_counts_as_unchanged_while_it_is_listed(root: Path, index: str) -> None:
    publish_index(root, index=index)
    first, second, *_ = load(root, index)
    (first.info.run_dir / "artifacts/.hydra/config.yaml").write_text("changed: true")
    shutil.rmtree(second.info.run_dir)

    again = load(root, index)

    assert len(again) == 30
    assert again[0].cfg == first.cfg
    assert publish_index(root, index=index, refresh=True) == Publication(30, 0, 0, 0)
    assert load(root, index)[0].cfg == {"changed": True}


def test_new_runs_are_read_and_published_next_time(tracking_dir: TrackingDir, index: str) -> None:
    train = tracking_dir.add_experiment("train")
    tracking_dir.add_run(train, "a" * 32, "seed: 1")
    publish_index(tracking_dir.root, index=index)
    tracking_dir.add_run(train, "b" * 32, "seed: 2")

    assert load(tracking_dir.root, index).to_list("seed") == [1, 2]
    assert publish_index(tracking_dir.root, index=index) == Publication(1, 1, 0, 0)
    assert load(tracking_dir.root, index).to_list("seed") == [1, 2]


def test_runs_that_have_not_ended_are_not_published(tracking_dir: TrackingDir, index: str) -> None:
    train = tracking_dir.add_experiment("train")
    ended = tracking_dir.add_run(train, "a" * 32, "seed: 1")
    running = tracking_dir.add_run(train, "b" * 32, "seed: 2", status=1, end_time=None)
    assert publish_index(tracking_dir.root, index=index) == Publication(1, 0, 1, 0)
    for run_dir in (ended, running):
        (run_dir / "artifacts/.hydra/config.yaml").write_text("seed: 3")

    assert load(tracking_dir.root, index).to_list("seed") == [1, 3]
    replace_meta(running, status=3, end_time=1795394370023)
    assert publish_index(tracking_dir.root, index=index) == Publication(1, 1, 0, 0)


def test_a_run_that_cannot_be_read_is_named_and_left_out(
    tracking_dir: TrackingDir, index: str, caplog: pytest.LogCaptureFixture
) -> None:
    train = tracking_dir.add_experiment("train")
    tracking_dir.add_run(train, "a" * 32, "seed: 1")
    tracking_dir.add_run(train, "b" * 32, "seed: [")
    tracking_dir.add_run(train, "c" * 32, "seed: 1", {"loss": "1 x 0\n"})

    assert publish_index(tracking_dir.root, index=index) == Publication(1, 0, 0, 2)
    assert "b" * 32 in caplog.text
    assert "c" * 32 in caplog.text
    with pytest.raises(KedroHydraflowError, match="b" * 32):
        load(tracking_dir.root, index)


def test_small_parts_are_merged_without_what_is_gone(
    tracking_dir: TrackingDir, index: str, tmp_path: Path
) -> None:
    train = tracking_dir.add_experiment("train")
    counts = []
    for i in range(9):
        tracking_dir.add_run(train, f"{i:032x}", f"seed: {i}")
        publish_index(tracking_dir.root, index=index)
        counts.append(len(list_parts(tmp_path)))
    assert counts == [1, 2, 3, 4, 2, 3, 4, 2, 3]  # what was merged, and what is new
    shutil.rmtree(train / f"{3:032x}")
    publish_index(tracking_dir.root, index=index, refresh=True)

    (name,) = list_parts(tmp_path)
    names = pl.read_parquet(tmp_path / "index" / name)["name"].to_list()
    assert sorted(names) == [f"{i:032x}" for i in range(9) if i != 3] + ["1"]
    assert load(tracking_dir.root, index).to_list("seed") == [0, 1, 2, 4, 5, 6, 7, 8]


def test_an_index_beside_the_runs_moves_with_them(root: Path, tmp_path: Path) -> None:
    publish_index(root, index=(root / ".kedro-hydraflow").as_uri())
    moved = root.rename(tmp_path / "moved")
    expected = describe(load(moved, index=False))
    for config in moved.rglob("config.yaml"):
        config.write_text("changed: true")

    assert describe(load(moved, (moved / ".kedro-hydraflow").as_uri())) == expected


def test_refreshing_leaves_nothing_of_runs_that_changed(
    tracking_dir: TrackingDir, index: str
) -> None:
    alone = tracking_dir.add_run(tracking_dir.add_experiment("alone", "2"), "d" * 32, "seed: 0")
    train = tracking_dir.add_experiment("train")
    resumed, unreadable, deleted, kept = (
        tracking_dir.add_run(train, letter * 32, f"seed: {i}") for i, letter in enumerate("abce")
    )
    assert publish_index(tracking_dir.root, index=index).n_published == 5
    replace_meta(resumed, status=1)
    for run_dir in (alone, deleted):
        replace_meta(run_dir, lifecycle_stage="deleted")
    (unreadable / "artifacts/.hydra/config.yaml").write_text("seed: [")
    (resumed / "artifacts/.hydra/config.yaml").write_text("seed: 7")

    assert publish_index(tracking_dir.root, index=index, refresh=True) == Publication(1, 0, 3, 1)
    unreadable.joinpath("artifacts/.hydra/config.yaml").write_text("seed: 8")
    runs = load(tracking_dir.root, index)
    assert runs.to_list("seed") == [7, 8, 3]
    assert runs.to_list("status") == ["RUNNING", "FINISHED", "FINISHED"]
    assert kept.exists()


def test_what_another_one_refreshes_meanwhile_counts(
    tracking_dir: TrackingDir, index: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = tracking_dir.add_experiment("train")
    for i in range(4):
        tracking_dir.add_run(train, f"{i:032x}", "seed: 1")
        publish_index(tracking_dir.root, index=index)
    for config in tracking_dir.root.rglob("config.yaml"):
        config.write_text("seed: 2")

    def refresh_first(*args: Any) -> Any:
        monkeypatch.undo()
        publish_index(tracking_dir.root, index=index, refresh=True)
        return find_runs(*args)

    monkeypatch.setattr("kedro_hydraflow.publishing.find_runs", refresh_first)
    publish_index(tracking_dir.root, index=index)  # which merges what it has read before
    assert load(tracking_dir.root, index).to_list("seed") == [2] * 4


def test_full_parts_are_refreshed_too(
    tracking_dir: TrackingDir, index: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kedro_hydraflow.publishing._MAX_ROWS", 4)
    tracking_dir.add_runs(6, lambda i: f"seed: {i}")
    for _ in range(2):
        publish_index(tracking_dir.root, index=index, refresh=True)
    assert len(list_parts(tmp_path)) == 2
    for config in tracking_dir.root.rglob("config.yaml"):
        config.write_text("seed: 9")
    publish_index(tracking_dir.root, index=index, refresh=True)
    assert len(list_parts(tmp_path)) == 2
    assert set(load(tracking_dir.root, index).to_list("seed")) == {9}


def test_what_was_published_by_a_clock_that_is_fast_is_replaced(
    tracking_dir: TrackingDir, index: str, tmp_path: Path
) -> None:
    tracking_dir.add_runs(1, lambda i: "seed: 1")
    publish_index(tracking_dir.root, index=index)
    (name,) = list_parts(tmp_path)
    fast = f"runs-1-{10**19}-{name.rpartition('-')[2]}"
    (tmp_path / "index" / name).rename(tmp_path / "index" / fast)
    (config,) = tracking_dir.root.rglob("config.yaml")
    config.write_text("seed: 2")
    publish_index(tracking_dir.root, index=index, refresh=True)
    (tmp_path / "index" / name).write_bytes(b"")  # a damaged one beside it
    assert load(tracking_dir.root, index).to_list("seed") == [2]
    publish_index(tracking_dir.root, index=index, refresh=True)
    assert len(list_parts(tmp_path)) == 1


def test_parts_are_small_enough_to_be_read(
    tracking_dir: TrackingDir,
    index: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    files_read: FilesRead,
) -> None:
    def make_text(i: int) -> str:
        return "".join(blake2b(b"%d %d" % (i, j)).hexdigest() for j in range(40))

    tracking_dir.add_runs(60, lambda i: f"text: {make_text(i)}")
    monkeypatch.setenv("KEDRO_HYDRAFLOW_MAX_FILE_SIZE", "200kB")
    publish_index(tracking_dir.root, index=index)
    assert len(list_parts(tmp_path)) > 2
    files_read.clear()
    assert len(load(tracking_dir.root, index)) == 60
    assert list_read(files_read) == []


def test_what_no_reader_would_take_is_not_published(
    tracking_dir: TrackingDir, index: str, caplog: pytest.LogCaptureFixture
) -> None:
    train = tracking_dir.add_experiment("train")
    brackets = "[" * 90_000
    for i in range(40):
        tracking_dir.add_run(train, f"{i:032x}", f"seed: {i}")
    many = "".join(f"{key}: '{brackets}'\n" for key in "abcd")
    tracking_dir.add_run(train, "f" * 32, many)
    publish_index(tracking_dir.root, index=index)
    assert len(load(tracking_dir.root, index)) == 41
    assert publish_index(tracking_dir.root, index=index, refresh=True).n_published == 41
    assert "skipped" not in caplog.text


@pytest.mark.parametrize(
    ("index", "folder", "expected"),
    [
        ("/a b/mlruns/.index", "/a b/mlruns/1", "../1"),
        ("/a b/mlruns/.index", "/a b/mlruns", ".."),
        ("/a b/index", "/a b/mlruns/1 2", "../mlruns/1 2"),
        ("/index", "/mlruns/1", "../mlruns/1"),
        ("/a/index", "/ab/mlruns/1", "/ab/mlruns/1"),
        ("memory://index", "memory://mlruns/1", "../mlruns/1"),
    ],
)
def test_how_folders_are_called(index: str, folder: str, expected: str) -> None:
    place = locate(folder)
    assert SharedIndex(locate(index)).get_folder(place.storage, place.path) == expected


def test_runs_of_another_directory_are_not_taken_for_those(tmp_path: Path, index: str) -> None:
    for name, seed in (("one", 1), ("two", 2)):
        tracking = TrackingDir(tmp_path / "runs" / name)
        tracking.add_run(tracking.add_experiment("train"), "a" * 32, f"seed: {seed}")
    publish_index(tmp_path / "runs/one", index=index)

    assert load(tmp_path / "runs/two", index).to_list("seed") == [2]
    assert publish_index(tmp_path / "runs/two", index=index) == Publication(1, 0, 0, 0)
    assert load(tmp_path / "runs/one", index).to_list("seed") == [1]


def test_hydra_alone(index: str, tmp_path: Path, files_read: FilesRead) -> None:
    root = Path(shutil.copytree(HYDRA_SWEEP, tmp_path / "hydra"))
    expected = load(root, index=False)
    done = publish_index(root, index=index)
    assert done.n_published + done.n_unsettled == len(expected)
    assert done.n_published > 0
    files_read.clear()

    runs = load(root, index)

    assert [run.cfg for run in runs] == [run.cfg for run in expected]
    assert runs.to_list("job_name") == expected.to_list("job_name")
    read = [path for path in files_read.paths if path.endswith("config.yaml")]
    assert len(read) == done.n_unsettled


@dataclass
class Config:
    model: Any = None
    training: Any = None
    seed: int = 0
    data: Any = None
    added: str = field(default="by the class")


def test_configurations_are_merged_onto_a_class(tracking_dir: TrackingDir, index: str) -> None:
    tracking_dir.add_run(tracking_dir.add_experiment("train"), "a" * 32, "seed: 3")
    publish_index(tracking_dir.root, index=index)
    for config in tracking_dir.root.rglob("config.yaml"):
        config.write_text("seed: 4")

    (run,) = Run.load(iter_run_dirs(tracking_dir.root), config_class=Config, index=index)
    assert (run.cfg.seed, run.cfg.added) == (3, "by the class")


# What goes wrong ------------------------------------------------------------------------------


def test_nothing_was_published_yet(
    root: Path, index: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert len(load(root, index)) == 31
    assert "index is not used: nothing was published there yet; publish_index does it" in (
        caplog.text
    )


def cut_off(content: bytes) -> bytes:
    return content[: len(content) // 2]


def replace_content(content: bytes) -> bytes:
    return b"PAR1" + content[4:-4][::-1] + b"PAR1"


@pytest.mark.parametrize("damage", [cut_off, replace_content])
@pytest.mark.parametrize("is_renamed", [False, True])
def test_a_damaged_part_is_skipped(
    root: Path,
    index: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    damage: Callable[[bytes], bytes],
    is_renamed: bool,
) -> None:
    publish_index(root, index=index)
    (name,) = list_parts(tmp_path)
    content = damage((tmp_path / "index" / name).read_bytes())
    (tmp_path / "index" / name).write_bytes(content)
    if is_renamed:  # as if somebody had meant to write this
        digest = blake2b(content, digest_size=16).hexdigest()
        (tmp_path / "index" / name).rename(
            tmp_path / "index" / f"{name.rpartition('-')[0]}-{digest}.parquet"
        )

    assert describe(load(root, index)) == describe(load(root, index=False))
    assert "skipped " in caplog.text
    assert "runs-1-" in caplog.text
    done = publish_index(root, index=index)
    assert done == Publication(31, 0, 0, 0)


def test_other_files_do_not_count(root: Path, index: str, tmp_path: Path) -> None:
    publish_index(root, index=index)
    (tmp_path / "index" / "README").write_text("an index")
    (tmp_path / "index" / "runs-2-0-0.parquet").write_text("of another version")
    assert len(load(root, index)) == 31


def test_a_part_with_values_of_other_types_is_skipped(
    tracking_dir: TrackingDir, index: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tracking_dir.add_run(
        tracking_dir.add_experiment("train"), "a" * 32, "seed: 3", {"loss": "1 2 0"}
    )
    publish_index(tracking_dir.root, index=index)
    (name,) = list_parts(tmp_path)
    frame = pl.read_parquet(tmp_path / "index" / name).with_columns(
        pl.lit(7).alias("config.seed"), pl.lit("text").alias("metrics.loss")
    )
    (tmp_path / "index" / name).unlink()
    frame.write_parquet(tmp_path / "index" / "new")
    content = (tmp_path / "index" / "new").read_bytes()
    digest = blake2b(content, digest_size=16).hexdigest()
    (tmp_path / "index" / f"{name.rpartition('-')[0]}-{digest}.parquet").write_bytes(content)

    runs = load(tracking_dir.root, index)

    assert runs.to_list("seed") == [3]
    assert runs.to_list("metrics.loss") == [2.0]


def test_many_may_publish_and_read_at_the_same_time(tmp_path: Path) -> None:
    tracking, staging = TrackingDir(tmp_path / "mlruns"), TrackingDir(tmp_path / "staging")
    folders = [tracking.add_experiment(f"train{i}", f"{i + 1}") for i in range(4)]
    index = (tmp_path / "index").as_uri()
    is_over = threading.Event()

    def publish(number: int) -> None:
        for i in range(6):
            run_id = f"{number * 100 + i:032x}"
            # As a whole: what is half written is read without a configuration.
            written = staging.add_run(
                tmp_path / "staging" / folders[number].name, run_id, f"seed: {i}"
            )
            written.rename(folders[number] / run_id)
            publish_index(tracking.root, f"train{number}", index=index)

    def read() -> int:
        n_loads = 0
        while not is_over.is_set():
            runs = load(tracking.root, index, filters="status == FINISHED")
            for run in runs:
                assert run.get("seed") == int(run.info.run_id, 16) % 100
            n_loads += 1
        return n_loads

    with ThreadPoolExecutor(5) as threads:
        reader = threads.submit(read)
        writers = [threads.submit(publish, number) for number in range(4)]
        try:
            for writer in writers:
                writer.result()
        finally:
            is_over.set()
        assert reader.result() > 0
    assert publish_index(tracking.root, index=index).n_failed == 0
    for config in tracking.root.rglob("config.yaml"):
        config.write_text("seed: -1")
    assert sorted(load(tracking.root, index).to_list("seed")) == sorted(list(range(6)) * 4)


def test_an_index_is_not_for_databases(index: str) -> None:
    with pytest.raises(OptionError, match="are in a database or on a server"):
        publish_index(DATABASE_SWEEP / "mlflow.db", index=index)


@pytest.mark.parametrize("option", ["data/index", "./index", True, None])
def test_it_is_published_at_a_url(root: Path, option: Any) -> None:
    with pytest.raises(OptionError, match="index: expected the URL of an index"):
        publish_index(root, index=option)


def test_what_cannot_be_written_is_an_error(root: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"cannot (write|list)"):
        publish_index(root, index=(tmp_path / "file" / "index").as_uri())


def test_a_run_whose_path_is_not_utf_8_is_named_and_left_out(
    tmp_path: Path, index: str, caplog: pytest.LogCaptureFixture
) -> None:
    root = tmp_path / "multirun"
    shutil.copytree(HYDRA_SWEEP / "multirun/2026-11-25/23-01-50", root / "2026-11-25/23-01-50")
    (root / "2026-11-25/23-01-50/3").rename(root / "2026-11-25/23-01-50/lr=\udcff")
    publication = publish_index(root, index=index)
    assert (publication.n_published, publication.n_failed) == (11, 1)
    assert "lr=\\udcff: the path is not valid UTF-8" in caplog.text
    loaded, expected = load(root, index), load(root, index=False)
    assert [(r.info.run_id, r.cfg) for r in loaded] == [(r.info.run_id, r.cfg) for r in expected]
