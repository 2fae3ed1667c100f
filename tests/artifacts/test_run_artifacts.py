"""Fetching artifacts: once, again when they change on the storage, and never in part."""

from __future__ import annotations

import gc
import multiprocessing
import os
import pickle
import shutil
import signal
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from kedro_hydraflow.artifacts import CACHE_SIZE_VARIABLE, fetch, make_artifact_path
from kedro_hydraflow.artifacts.copies import RunCopies
from kedro_hydraflow.artifacts.run_artifacts import RunArtifacts
from kedro_hydraflow.cache_dir import CACHE_DIR_VARIABLE
from kedro_hydraflow.errors import NotFoundError, StorageError, UnreachableError
from kedro_hydraflow.storage import Download, Place
from tests.artifacts.conftest import RUN, FolderStorage, fetch_named, names

if TYPE_CHECKING:
    from collections.abc import Sequence


# Readers -----------------------------------------------------------------------------------


def test_an_empty_folder_can_be_fetched(artifacts: Path, remote: Path) -> None:
    (remote / "empty").mkdir()
    assert os.listdir(artifacts / "empty") == []
    assert fetch(artifacts / "empty").is_dir()


# Errors ------------------------------------------------------------------------------------


def test_unreachable_is_never_absent(artifacts: Path, storage: FolderStorage) -> None:
    storage.is_down = True
    for question in (Path.exists, Path.is_file, Path.is_dir, Path.read_text, fetch, os.fspath):
        for path in (artifacts, artifacts / "a.txt"):
            with pytest.raises(UnreachableError, match="no answer"):
                question(path)
    for listing in (artifacts.iterdir, artifacts.walk, lambda: artifacts.glob("*")):  # type: ignore[attr-defined]
        with pytest.raises(UnreachableError):
            list(listing())
    storage.is_down = False
    assert (artifacts / "a.txt").read_text() == "content of a"


def test_denied_is_never_absent(artifacts: Path, storage: FolderStorage) -> None:
    storage.denied = {f"{RUN}/a.txt"}
    with pytest.raises(StorageError, match="access denied"):
        open(artifacts / "a.txt")  # noqa: SIM115
    with pytest.raises(StorageError, match="access denied"):
        fetch(artifacts)
    assert (artifacts / "b.csv").read_text() == "x,y\n1,2\n"


def test_one_file_that_fails_leaves_the_others_fetched(
    artifacts: Path, storage: FolderStorage
) -> None:
    storage.denied = {f"{RUN}/b.csv"}
    with pytest.raises(StorageError, match="access denied"):
        fetch(artifacts)
    storage.denied, _ = set(), storage.take_requests()
    fetch(artifacts)
    assert storage.take_requests("GET") == [f"GET {RUN}/b.csv"]


# Incomplete listings -----------------------------------------------------------------------


def test_without_validators_a_file_is_fetched_once_for_each_path_made(
    web: Path, storage: FolderStorage, remote: Path
) -> None:
    for _ in range(3):
        assert (web / "a.txt").read_text() == "content of a"
    assert len(storage.take_requests("GET")) == 1
    (remote / "a.txt").write_text("another of a")
    assert (make_artifact_path(Place(storage, RUN)) / "a.txt").read_text() == "another of a"
    assert len(storage.take_requests("GET")) == 1


# Renewal -----------------------------------------------------------------------------------


def test_an_unchanged_file_is_fetched_once(artifacts: Path, storage: FolderStorage) -> None:
    (artifacts / "a.txt").read_text()
    assert storage.take_requests() == [f"GET {RUN}/a.txt", f"LIST {RUN}"]
    for _ in range(3):
        (artifacts / "a.txt").read_text()
    assert storage.take_requests() == []
    (make_artifact_path(Place(storage, RUN)) / "a.txt").read_text()
    assert storage.take_requests() == [f"LIST {RUN}"]


def test_a_changed_file_is_seen_by_the_next_load(
    artifacts: Path, storage: FolderStorage, remote: Path
) -> None:
    with open(artifacts / "a.txt") as before:
        (remote / "a.txt").write_text("CONTENT OF A")
        assert (artifacts / "a.txt").read_text() == "content of a"
        assert (make_artifact_path(Place(storage, RUN)) / "a.txt").read_text() == "CONTENT OF A"
        assert before.read() == "content of a"


def count_run_artifacts() -> int:
    gc.collect()
    return sum(type(thing) is RunArtifacts for thing in gc.get_objects())


def test_nothing_is_kept_of_a_run_whose_paths_are_gone(
    storage: FolderStorage, remote: Path
) -> None:
    before = count_run_artifacts()
    paths = [make_artifact_path(Place(storage, RUN)) / "a.txt" for _ in range(10)]
    for path in paths:
        assert path.read_text() == "content of a"
        assert names(path.parent.glob("*.txt")) == ["a.txt"]
        pickle.loads(pickle.dumps(path)).exists()
    assert count_run_artifacts() == before + 10
    del path, paths
    assert count_run_artifacts() == before


def test_files_removed_from_the_storage_are_removed_from_the_copy(
    artifacts: Path, storage: FolderStorage, remote: Path
) -> None:
    fetch(artifacts)
    (remote / "a.txt").unlink()
    shutil.rmtree(remote / "model")
    again = make_artifact_path(Place(storage, RUN))
    assert sorted(os.listdir(again)) == [".hydra", "b.csv"]
    with pytest.raises(NotFoundError):
        open(again / "a.txt")  # noqa: SIM115


def test_an_older_listing_does_not_remove_what_a_newer_one_fetched(
    artifacts: Path, storage: FolderStorage, remote: Path
) -> None:
    fetch(artifacts)
    fetched = fetch_in_process(storage, remote, "new.txt", "new")
    assert "new.txt" in os.listdir(artifacts)
    assert fetched.read_text() == "new"


def fetch_in_process(storage: FolderStorage, remote: Path, name: str, content: str) -> Path:
    (remote / name).write_text(content)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(fetch_named, storage, name).result()


def test_a_file_that_became_a_folder_and_back(
    artifacts: Path, storage: FolderStorage, remote: Path
) -> None:
    fetch(artifacts)
    (remote / "a.txt").unlink()
    (remote / "a.txt").mkdir()
    (remote / "a.txt/inner").write_text("inner")
    artifacts = make_artifact_path(Place(storage, RUN))
    assert os.listdir(artifacts / "a.txt") == ["inner"]
    assert (artifacts / "a.txt/inner").read_text() == "inner"
    shutil.rmtree(remote / "a.txt")
    (remote / "a.txt").write_text("a file again")
    artifacts = make_artifact_path(Place(storage, RUN))
    assert (artifacts / "a.txt").read_text() == "a file again"


def test_names_that_differ_only_by_case(
    artifacts: Path,
    remote: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (remote / "A.txt").write_text("CONTENT OF A")
    get_path = RunCopies.get_path
    monkeypatch.setattr(RunCopies, "get_path", lambda self, name: get_path(self, name).lower())
    monkeypatch.setattr("kedro_hydraflow.artifacts.copies.ignores_case", lambda run_cache: True)
    for _ in range(2):
        assert (artifacts / "a.txt").read_text() == "content of a"
        assert (artifacts / "A.txt").read_text() == "CONTENT OF A"
    message = r"'fake://.*[aA]\.txt' and another artifact have the same name in the cache"
    with pytest.raises(StorageError, match=message):
        fetch(artifacts)
    assert caplog.records == []


# Threads and processes ---------------------------------------------------------------------


def test_threads_fetch_a_file_once(artifacts: Path, storage: FolderStorage) -> None:
    storage.seconds = 0.1
    with ThreadPoolExecutor(32) as threads:
        texts = list(threads.map(lambda _: (artifacts / "a.txt").read_text(), range(32)))
    assert texts == ["content of a"] * 32
    assert storage.take_requests() == [f"GET {RUN}/a.txt", f"LIST {RUN}"]


def read_often(storage: FolderStorage) -> list[bytes]:
    artifacts = make_artifact_path(Place(storage, RUN))
    contents = [(artifacts / "big").read_bytes() for _ in range(5)]
    return [*contents, *(Path(os.fspath(artifacts), "big").read_bytes() for _ in range(5))]


def test_processes_fetch_a_file_once(storage: FolderStorage, remote: Path) -> None:
    content = os.urandom(100_000)
    (remote / "big").write_bytes(content)
    storage.seconds = 0.1
    with ProcessPoolExecutor(6, multiprocessing.get_context("spawn")) as pool:
        for future in [pool.submit(read_often, storage) for _ in range(6)]:
            assert future.result() == [content] * 10
    requests = storage.take_requests("GET")
    assert len(requests) == len(set(requests)) == 6


@pytest.mark.skipif(os.name == "nt", reason="there is no kill -9")
def test_kill_in_the_middle_of_a_download(storage: FolderStorage, remote: Path) -> None:
    storage.stops_halfway = True
    child = multiprocessing.get_context("spawn").Process(target=read_often, args=(storage,))
    (remote / "big").write_bytes(b"whole" * 1000)
    child.start()
    while not (storage.root.parent / "halfway").exists():
        assert child.is_alive()
        time.sleep(0.01)
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    storage.stops_halfway = False
    assert list(Path(os.environ[CACHE_DIR_VARIABLE]).glob("run-*/partial/*"))
    assert fetch_named(storage, "big").read_bytes() == b"whole" * 1000
    assert not list(Path(os.environ[CACHE_DIR_VARIABLE]).glob("run-*/partial"))


@pytest.mark.parametrize("step", range(1, 12))
def test_killed_at_any_step_of_adding_a_copy(
    storage: FolderStorage,
    remote: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    step: int,
) -> None:
    fetch_named(storage, "a.txt")
    (remote / "a.txt").write_text("CONTENT OF A, which is longer")
    calls = 0

    class Killed(BaseException):
        pass

    def count(function: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == step:
                raise Killed
            return function(*args, **kwargs)

        return call

    with monkeypatch.context() as patch:
        for name in ("replace", "remove", "chmod", "makedirs"):
            patch.setattr(os, name, count(getattr(os, name)))
        try:
            fetch_named(storage, "a.txt")
        except Killed:
            pass
        else:
            assert calls < step
    assert fetch_named(storage, "a.txt").read_text() == "CONTENT OF A, which is longer"
    assert caplog.messages == []  # nobody has written to the copy
    fetch_named(storage, "a.txt").chmod(0o644)
    fetch_named(storage, "a.txt").write_text("TRUNCATED")
    assert fetch_named(storage, "a.txt").read_text() == "CONTENT OF A, which is longer"


# The cache ---------------------------------------------------------------------------------


def test_a_full_disk(
    artifacts: Path, storage: FolderStorage, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch_many(files: Sequence[Download]) -> list[StorageError | None]:
        Path(files[0].target).write_text("half")
        error = StorageError("cannot fetch 'fake://': OSError: No space left on device")
        error.__cause__ = OSError(28, "No space left on device")
        return [error]

    monkeypatch.setattr(storage, "fetch_many", fetch_many)
    with pytest.raises(StorageError) as caught:
        (artifacts / "a.txt").read_text()
    for text in (str(cache), "No space left", CACHE_DIR_VARIABLE, CACHE_SIZE_VARIABLE):
        assert text in str(caught.value)
    assert not [path for path in cache.glob("run-*/**/*") if path.is_file()]


def test_a_name_that_is_too_long_for_the_cache(
    artifacts: Path, storage: FolderStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "x" * 300
    storage.names[RUN] = [name]
    fetch_many = storage.fetch_many
    monkeypatch.setattr(
        storage,
        "fetch_many",
        lambda files: fetch_many([Download(f"{RUN}/a.txt", file.target) for file in files]),
    )
    with pytest.raises(StorageError, match=r"cannot write to the artifact cache .* name too long"):
        (artifacts / name).read_text()


def test_a_file_with_a_broken_validator_is_fetched_again(artifacts: Path, cache: Path) -> None:
    (artifacts / "a.txt").read_text()
    for validator in cache.glob("run-*/validators/*"):
        validator.write_text("{")
    assert (artifacts / "a.txt").read_text() == "content of a"
