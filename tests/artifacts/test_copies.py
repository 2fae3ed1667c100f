"""Copies are read-only: what is written to one is kept aside, and no reader gets it."""

from __future__ import annotations

import logging
import multiprocessing
import os
import re
import shutil
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

from kedro_hydraflow.artifacts import fetch, make_artifact_path
from kedro_hydraflow.errors import StorageError, UnreachableError
from kedro_hydraflow.storage import Place
from kedro_hydraflow.storage.local import CLOCK_STEP_NS
from tests.artifacts.conftest import RUN, FolderStorage, fetch_named

if TYPE_CHECKING:
    from collections.abc import Callable


def write_with_open(path: Path, mode: str) -> None:
    os.chmod(path, 0o644)  # root needs none of this
    with open(path, mode) as stream:
        stream.write("CONTENT OF A")


def make_file(path: Path) -> Path:
    file = fetch(path).parents[4] / "file"
    file.write_text("CONTENT OF A")
    return file


WRITERS: dict[str, Callable[[Path], Any]] = {
    "open w": lambda path: write_with_open(path, "w"),
    "open r+": lambda path: write_with_open(path, "r+"),  # of the same size
    "open a": lambda path: write_with_open(path, "a"),
    "os.truncate": lambda path: (os.chmod(path, 0o644), os.truncate(path, 3)),
    "os.replace": lambda path: os.replace(make_file(path), path),
    "Path.replace": lambda path: make_file(path).replace(path),
    "shutil.copyfile": lambda path: (os.chmod(path, 0o644), shutil.copyfile(make_file(path), path)),
    "shutil.move": lambda path: shutil.move(make_file(path), path),
    "np.savetxt": lambda path: (os.chmod(path, 0o644), np.savetxt(path, [1.0])),
    "pl.write_csv": lambda path: (
        os.chmod(path, 0o644),
        pl.DataFrame({"x": [1]}).write_csv(path),
    ),
}

ACCESSES: dict[str, Callable[[Path], Any]] = {
    "open": lambda path: open(path),  # noqa: SIM115
    "Path.open": lambda path: path.open(),
    "read_text": lambda path: path.read_text(),
    "os.fspath": os.fspath,
    "stat": lambda path: path.stat(),
    "fetch": fetch,
    "os.listdir": lambda path: os.listdir(path.parent),
}

MESSAGE = (
    rf"'fake://host/{RUN}/a\.txt' was written to the cache, not to the storage: the artifacts of "
    r"a remote run are read-only copies; write elsewhere\. What was written is now in '(.*)'"
)


def get_kept(text: str) -> Path:
    """Return the file that a message names."""
    found = re.fullmatch(MESSAGE, text)
    assert found is not None, text
    return Path(found[1])


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_a_written_copy_is_an_error_for_the_run_that_gave_it_out(
    artifacts: Path, storage: FolderStorage, write: Callable[[Path], Any]
) -> None:
    local = fetch(artifacts / "a.txt")
    write(artifacts / "a.txt")
    written = local.read_bytes()
    storage.take_requests()
    with pytest.raises(StorageError) as caught:
        open(artifacts / "a.txt")  # noqa: SIM115
    assert get_kept(str(caught.value)).read_bytes() == written
    assert storage.take_requests() == []
    for _ in range(2):
        assert (artifacts / "a.txt").read_text() == "content of a"
    assert storage.take_requests() == [f"GET {RUN}/a.txt"]


def test_shutil_copy_notices_it_itself(artifacts: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("CONTENT OF A")
    os.chmod(artifacts / "a.txt", 0o644)
    with pytest.raises(StorageError) as caught:
        shutil.copy(tmp_path / "file", artifacts / "a.txt")
    assert get_kept(str(caught.value)).read_text() == "CONTENT OF A"


@pytest.mark.parametrize("access", ACCESSES.values(), ids=ACCESSES)
def test_every_access_notices_a_written_copy(
    artifacts: Path, access: Callable[[Path], Any]
) -> None:
    for text in ("CONTENT OF A", "CONTENT OF A, again"):
        local = fetch(artifacts / "a.txt")
        local.chmod(0o644)
        local.write_text(text)
        with pytest.raises(StorageError) as caught:
            access(artifacts / "a.txt")
        assert get_kept(str(caught.value)).read_text() == text


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_other_readers_get_a_warning_and_the_artifact(
    artifacts: Path,
    storage: FolderStorage,
    write: Callable[[Path], Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    local = fetch(artifacts / "a.txt")
    write(artifacts / "a.txt")
    written = local.read_bytes()
    storage.take_requests()
    for _ in range(2):
        path = make_artifact_path(Place(storage, RUN)) / "a.txt"
        assert path.read_text() == "content of a"
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert get_kept(record.getMessage()).read_bytes() == written
    assert storage.take_requests("GET") == [f"GET {RUN}/a.txt"]


def test_another_process_reads_the_artifact(artifacts: Path, storage: FolderStorage) -> None:
    write_with_open(artifacts / "a.txt", "w")
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        local = pool.submit(fetch_named, storage, "a.txt").result()
    assert local.read_text() == "content of a"


def test_a_writer_that_is_not_done_disturbs_no_reader(
    artifacts: Path, storage: FolderStorage, caplog: pytest.LogCaptureFixture
) -> None:
    os.chmod(artifacts / "a.txt", 0o644)
    with open(artifacts / "a.txt", "w") as stream:
        stream.write("the first half")
        stream.flush()
        assert fetch_named(storage, "a.txt").read_text() == "content of a"
        stream.write(" and the second")
    assert fetch_named(storage, "a.txt").read_text() == "content of a"
    (record,) = caplog.records
    assert get_kept(record.getMessage()).read_text() == "the first half and the second"


def test_all_written_copies_of_a_folder_are_kept(
    artifacts: Path, storage: FolderStorage, caplog: pytest.LogCaptureFixture
) -> None:
    fetch(artifacts)
    for name in ("a.txt", "model/c.txt"):
        write_with_open(artifacts / name, "w")
    with pytest.raises(StorageError, match=r"/a\.txt' was written to the cache"):
        fetch(artifacts)
    messages = [record.getMessage() for record in caplog.records]
    assert ["/a.txt' was" in messages[0], "/model/c.txt' was" in messages[1]] == [True, True]
    storage.take_requests()
    assert Path(fetch(artifacts), "model/c.txt").read_text() == "content of c"
    assert storage.take_requests() == [f"GET {RUN}/a.txt", f"GET {RUN}/model/c.txt"]


def test_a_written_copy_is_kept_though_the_storage_is_down(
    artifacts: Path, storage: FolderStorage, caplog: pytest.LogCaptureFixture
) -> None:
    write_with_open(artifacts / "a.txt", "w")
    other = make_artifact_path(Place(storage, RUN)) / "a.txt"
    assert other.exists()
    storage.is_down = True
    with pytest.raises(UnreachableError, match="no answer"):
        other.read_text()
    (record,) = caplog.records
    assert get_kept(record.getMessage()).read_text() == "CONTENT OF A"
    storage.is_down = False
    assert other.read_text() == "content of a"


def test_files_written_into_a_folder_are_kept(
    artifacts: Path, storage: FolderStorage, caplog: pytest.LogCaptureFixture
) -> None:
    folder = fetch(artifacts)
    (folder / "new.txt").write_text("new")
    (folder / "plots").mkdir()
    (folder / "plots/new.txt").write_text("new plot")
    (folder / "empty").mkdir()
    assert sorted(os.listdir(artifacts)) == [".hydra", "a.txt", "b.csv", "model"]
    first, second = (record.getMessage() for record in caplog.records)
    assert first.startswith(f"'fake://host/{RUN}/new.txt' was written to the cache, not to the")
    assert second.startswith(f"'fake://host/{RUN}/plots' was written to the cache, not to the")
    assert Path(first.split("'")[-2]).read_text() == "new"
    assert Path(second.split("'")[-2], "new.txt").read_text() == "new plot"


def test_files_removed_from_the_storage_are_no_warning(
    artifacts: Path, storage: FolderStorage, remote: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fetch(artifacts)
    (remote / "a.txt").unlink()
    shutil.rmtree(remote / "model")
    again = make_artifact_path(Place(storage, RUN))
    assert sorted(os.listdir(again)) == [".hydra", "b.csv"]
    assert caplog.records == []


def test_a_copy_that_was_removed_is_fetched_again(
    artifacts: Path, storage: FolderStorage, caplog: pytest.LogCaptureFixture
) -> None:
    fetch(artifacts / "a.txt").unlink()
    storage.take_requests()
    assert (artifacts / "a.txt").read_text() == "content of a"
    assert storage.take_requests() == [f"GET {RUN}/a.txt"]
    assert caplog.records == []


def test_copies_restored_from_a_backup_are_fetched_again(
    artifacts: Path, storage: FolderStorage, caplog: pytest.LogCaptureFixture
) -> None:
    local = fetch(artifacts / "a.txt")
    shutil.copy2(local, local.with_name("backup"))
    local.with_name("backup").replace(local)
    storage.take_requests()
    assert (artifacts / "a.txt").read_text() == "content of a"
    assert storage.take_requests() == [f"GET {RUN}/a.txt"]
    assert caplog.records == []


def test_a_write_is_noticed_though_the_clock_stands_still(artifacts: Path) -> None:
    local = fetch(artifacts / "a.txt")
    now = time.time_ns() // CLOCK_STEP_NS * CLOCK_STEP_NS  # as a filesystem may note it
    assert local.stat().st_mtime_ns < now
    write_with_open(local, "r+")
    os.utime(local, ns=(now, now))
    with pytest.raises(StorageError, match="was written to the cache"):
        (artifacts / "a.txt").read_text()


def test_a_write_is_noticed_though_the_time_is_set_back(artifacts: Path) -> None:
    local = fetch(artifacts / "a.txt")
    time_ns = local.stat().st_mtime_ns
    write_with_open(local, "a")
    os.utime(local, ns=(time_ns, time_ns))
    with pytest.raises(StorageError, match="was written to the cache"):
        (artifacts / "a.txt").read_text()


def test_a_write_is_noticed_where_names_differ_only_by_case(
    artifacts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kedro_hydraflow.artifacts.copies.ignores_case", lambda run_cache: True)
    write_with_open(fetch(artifacts / "a.txt"), "w")
    with pytest.raises(StorageError, match="was written to the cache"):
        (artifacts / "a.txt").read_text()
