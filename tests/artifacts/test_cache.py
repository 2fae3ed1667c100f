"""The directory and size of the cache, and which runs are removed from it."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest
from filelock import FileLock

from kedro_hydraflow.artifacts import CACHE_SIZE_VARIABLE, fetch, make_artifact_path
from kedro_hydraflow.cache_dir import CACHE_DIR_VARIABLE
from kedro_hydraflow.errors import OptionError, StorageError
from kedro_hydraflow.storage import Place
from tests.artifacts.conftest import SECRET, FolderStorage, fetch_named

# The cache ---------------------------------------------------------------------------------


def test_one_directory_for_each_run(storage: FolderStorage, cache: Path) -> None:
    for run in ("one", "two"):
        (storage.root / run / "artifacts").mkdir(parents=True)
        (storage.root / run / "artifacts/x").write_text(run)
        assert (make_artifact_path(Place(storage, f"{run}/artifacts")) / "x").read_text() == run
    assert len(list(cache.glob("run-*/files"))) == 2


def test_no_credentials_in_the_cache(artifacts: Path, cache: Path) -> None:
    fetch(artifacts)
    assert SECRET not in repr(artifacts)
    for path in cache.rglob("*"):
        assert SECRET not in str(path)
        assert not path.is_file() or SECRET not in path.read_text()


def test_the_default_is_the_users_cache_directory(
    artifacts: Path, storage: FolderStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import platformdirs

    monkeypatch.delenv(CACHE_DIR_VARIABLE)
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda name, **_: tmp_path / "u" / name)
    fetch_named(storage, "a.txt")
    assert list((tmp_path / "u/kedro-hydraflow/artifacts").glob("run-*"))


@pytest.mark.parametrize("size", ["much", "10XB", "-5GB", "GB", "1e9"])
def test_invalid_sizes(artifacts: Path, monkeypatch: pytest.MonkeyPatch, size: str) -> None:
    monkeypatch.setenv(CACHE_SIZE_VARIABLE, size)
    with pytest.raises(OptionError, match=f"{CACHE_SIZE_VARIABLE}: expected .* found '{size}'"):
        (artifacts / "a.txt").read_text()


SIZES = {
    "20GB": 20e9,
    "500MB": 5e8,
    "500 mb": 5e8,
    " 2TB ": 2e12,
    "1GiB": 2**30,
    "1.5k": 1500,
    "123": 123,
    "7B": 7,
    "0": 0,
    "": 10e9,
}


@pytest.mark.parametrize(("text", "size"), SIZES.items())
def test_sizes(monkeypatch: pytest.MonkeyPatch, text: str, size: float) -> None:
    from kedro_hydraflow.limits import get_cache_size

    monkeypatch.setenv(CACHE_SIZE_VARIABLE, text)
    assert get_cache_size() == size


class Runs:
    """Runs of 1000 bytes each, in a cache that is measured after each download."""

    def __init__(self, storage: FolderStorage, cache: Path) -> None:
        self.storage = storage
        self.cache = cache

    def fetch(self, name: str, hours_ago: float = 0) -> Path:
        folder = self.storage.root / name / "artifacts"
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "x").exists():
            (folder / "x").write_bytes(b"x" * 1000)
        (self.cache / "looked-at").unlink(missing_ok=True)
        path = fetch(make_artifact_path(Place(self.storage, f"{name}/artifacts")) / "x")
        self.age(path, hours_ago)
        return path

    def age(self, path: Path, hours_ago: float) -> None:
        then = time.time() - 3600 * hours_ago
        os.utime(self.get_home(path), (then, then))

    def get_home(self, path: Path) -> Path:
        return self.cache / path.relative_to(self.cache).parts[0]


@pytest.fixture
def runs(storage: FolderStorage, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Runs:
    monkeypatch.setenv(CACHE_SIZE_VARIABLE, "2500")
    return Runs(storage, cache)


def test_the_least_recently_used_are_removed(runs: Runs) -> None:
    old, older, recent = runs.fetch("old", 2), runs.fetch("older", 3), runs.fetch("recent")
    assert not older.exists()
    assert old.exists()
    assert recent.exists()
    assert runs.fetch("older").read_bytes() == b"x" * 1000
    assert not old.exists()


def test_runs_used_within_an_hour_are_kept(runs: Runs) -> None:
    paths = [runs.fetch(name, 0.9) for name in "abcde"]
    assert all(path.exists() for path in paths)


def test_use_without_a_download_counts(runs: Runs) -> None:
    a = runs.fetch("a", 2)
    b = runs.fetch("b", 2)
    runs.age(runs.fetch("a"), 1.5)
    assert runs.fetch("c").exists()
    assert a.exists()
    assert not b.exists()


def test_locked_runs_are_kept(runs: Runs) -> None:
    a = runs.fetch("a", 5)
    b = runs.fetch("b", 4)
    with FileLock(f"{runs.get_home(a)}.lock"):
        runs.fetch("c")
    assert a.exists()
    assert not b.exists()


def test_one_run_may_be_larger_than_the_cache(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_SIZE_VARIABLE, "10")
    assert runs.fetch("a").read_bytes() == b"x" * 1000


def test_only_directories_of_runs_are_removed(runs: Runs) -> None:
    runs.cache.mkdir()
    for name in ("mine", "run-mine"):
        (runs.cache / name).mkdir()
        (runs.cache / name / "x").write_bytes(b"x" * 5000)
        os.utime(runs.cache / name, (0, 0))
    runs.fetch("a", 2)
    runs.fetch("b", 2)
    assert (runs.cache / "mine/x").exists()
    assert (runs.cache / "run-mine/x").exists()


def test_the_cache_is_measured_once_a_minute(runs: Runs) -> None:
    a = runs.fetch("a", 2)
    looked = (runs.cache / "looked-at").stat().st_mtime_ns
    (runs.storage.root / "a/artifacts/y").write_bytes(b"y" * 5000)
    fetch(make_artifact_path(Place(runs.storage, "a/artifacts")) / "y")
    assert (runs.cache / "looked-at").stat().st_mtime_ns == looked
    assert a.exists()


def test_a_removed_run_is_fetched_again(runs: Runs) -> None:
    a = runs.fetch("a", 3)
    path = make_artifact_path(Place(runs.storage, "a/artifacts")) / "x"
    shutil.rmtree(runs.get_home(a))
    assert path.read_bytes() == b"x" * 1000


def test_a_cache_that_cannot_be_written(artifacts: Path, cache: Path) -> None:
    cache.write_text("a file")
    with pytest.raises(
        StorageError, match=f"cannot write to the artifact cache .*{CACHE_DIR_VARIABLE}"
    ):
        (artifacts / "a.txt").read_text()
