"""Full disks, and ones that cannot be written to, below the index and the artifact cache."""

from __future__ import annotations

import logging
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kedro_hydraflow import Run, RunCollection, iter_run_dirs
from kedro_hydraflow.errors import StorageError
from tests.conftest import TrackingDir
from tests.disks import PAGE, SmallDisk, mount_small_disk

N_RUNS = 60
FREE = [0, 1, 2, 3, 4, 5, 8, 15]
"""How many pages are left: for nothing, for a folder or a lock, for part of what is written."""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A filesystem of half a megabyte."""
    with mount_small_disk(tmp_path / "disk", 128 * PAGE) as disk:
        yield disk


# The index -------------------------------------------------------------------------------


@pytest.fixture
def load(
    tracking_dir: TrackingDir, disk: SmallDisk, later: Callable[[], None]
) -> Callable[[], None]:
    """Load runs with an index on the small disk, and check them."""
    rng = random.Random(0)
    texts = [f"{rng.getrandbits(8000):x}" for _ in range(N_RUNS)]  # 120 KB
    tracking_dir.add_runs(N_RUNS, lambda i: f"text: '{texts[i]}'\n")
    later()

    def load() -> None:
        dirs = iter_run_dirs(tracking_dir.root)
        runs: RunCollection[Any] = Run.load(dirs, index=disk.folder / "index")
        assert runs.to_list("i") == list(range(N_RUNS))
        assert runs.to_list("text") == texts
        assert runs.to_list("status") == ["FINISHED"] * N_RUNS

    return load


@pytest.mark.parametrize("free", FREE)
def test_an_index_on_a_full_disk_changes_no_value(
    load: Callable[[], None], disk: SmallDisk, free: int, caplog: pytest.LogCaptureFixture
) -> None:
    disk.leave(free * PAGE)
    for _ in range(2):
        caplog.clear()
        load()
        (record,) = caplog.records
        assert record.levelno == logging.WARNING
        assert record.getMessage().startswith(f"the index {disk.folder}/index")
        assert "is not used" in record.getMessage()
    caplog.clear()
    disk.leave(120 * PAGE)
    load()
    load()
    assert caplog.messages == []


def test_an_index_on_a_disk_that_fills_up_is_used_as_it_is(
    load: Callable[[], None],
    disk: SmallDisk,
    tracking_dir: TrackingDir,
    later: Callable[[], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    load()
    assert caplog.messages == []
    disk.leave(0)
    load()
    assert caplog.messages == []
    config = tracking_dir.root / "1" / "r000" / "artifacts/.hydra/config.yaml"
    config.write_text(config.read_text())
    later()
    load()
    assert "database or disk is full" in caplog.text


def test_an_index_that_cannot_be_made_changes_no_value(
    load: Callable[[], None], disk: SmallDisk, caplog: pytest.LogCaptureFixture
) -> None:
    disk.set_read_only()
    load()
    (message,) = caplog.messages
    assert "is not used: " in message
    assert "Read-only file system" in message


# The artifact cache ----------------------------------------------------------------------


FILES = {f"files/{i}.bin": random.Random(i).randbytes(size) for i, size in enumerate([9, 9000] * 6)}


@pytest.fixture
def run(
    tracking_dir: TrackingDir, disk: SmallDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Run[Any, Any]:
    """A run in an archive, whose copies are on the small disk."""
    monkeypatch.setenv("KEDRO_HYDRAFLOW_CACHE_DIR", str(disk.folder / "cache"))
    run_dir = tracking_dir.add_run(tracking_dir.add_experiment("train"), "abc")
    for name, content in FILES.items():
        path = run_dir / "artifacts" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    archive = shutil.make_archive(str(tmp_path / "archive"), "zip", tracking_dir.root)
    return Run.load(f"zip://1/abc::{archive}")


def read_or_explain(path: Path) -> bytes | StorageError:
    try:
        return path.read_bytes()
    except StorageError as exc:
        return exc


def check_copies(folder: Path) -> None:
    """Each copy that is in the cache is whole."""
    for path in folder.glob("cache/run-*/files/**/*.bin"):
        assert path.read_bytes() == FILES[f"files/{path.name}"]


@pytest.mark.parametrize("free", FREE)
def test_artifacts_that_do_not_fit_are_an_error(
    run: Run[Any, Any], disk: SmallDisk, free: int
) -> None:
    disk.leave(free * PAGE)
    with pytest.raises(StorageError, match=r"cannot write to the artifact cache .* No space left"):
        Path(run.fetch("files"), "9.bin").read_bytes()
    check_copies(disk.folder)

    disk.leave(80 * PAGE)
    for name, content in FILES.items():
        assert run.path(name).read_bytes() == content
    check_copies(disk.folder)
    assert sorted(path.name for path in run.fetch("files").iterdir()) == sorted(
        Path(name).name for name in FILES
    )


def test_artifacts_that_fit_are_read_one_by_one(run: Run[Any, Any], disk: SmallDisk) -> None:
    """Until the disk is full; then those that are there can still be read."""
    disk.leave(25 * PAGE)
    outcomes = {name: read_or_explain(run.path(name)) for name in FILES}
    read = [name for name, outcome in outcomes.items() if outcome == FILES[name]]
    assert 1 < len(read) < len(FILES)
    for name in FILES.keys() - read:
        assert "cannot write to the artifact cache" in str(outcomes[name])
    for name in read:
        assert run.path(name).read_bytes() == FILES[name]


def test_a_cache_that_cannot_be_written_to(run: Run[Any, Any], disk: SmallDisk) -> None:
    assert run.path("files/0.bin").read_bytes() == FILES["files/0.bin"]
    disk.set_read_only()
    assert run.path("files/0.bin").read_bytes() == FILES["files/0.bin"]
    with pytest.raises(
        StorageError,
        match=r"cannot write to the artifact cache .* Read-only file system.*"
        "KEDRO_HYDRAFLOW_CACHE_DIR",
    ):
        run.path("files/1.bin").read_bytes()
