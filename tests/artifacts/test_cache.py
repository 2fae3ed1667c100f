"""The directory and size of the cache, and which runs are removed from it."""

from __future__ import annotations

import errno
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from kedro_hydraflow.artifacts import CACHE_SIZE_VARIABLE, fetch, make_artifact_path
from kedro_hydraflow.cache_dir import CACHE_DIR_VARIABLE
from kedro_hydraflow.errors import NotFoundError, OptionError, StorageError
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


# Permissions and odd places ------------------------------------------------------------------


def get_modes(folder: Path) -> set[tuple[bool, int]]:
    return {(p.is_dir(), p.stat().st_mode & 0o777) for p in [folder, *folder.rglob("*")]}


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_what_is_cached_is_for_its_owner_alone(artifacts: Path, cache: Path) -> None:
    before = os.umask(0)
    try:
        fetch(artifacts)
        copy = fetch(artifacts / "a.txt")
        copy.unlink()
        copy.write_text("written by mistake")
        fetch(make_artifact_path(artifacts._artifacts.listings.place) / "a.txt")  # type: ignore[attr-defined]
    finally:
        os.umask(before)
    (written,) = cache.glob("run-*/written/*/*")
    written.chmod(0o600)  # made by the program
    assert get_modes(cache) == {(True, 0o700), (False, 0o600), (False, 0o400)}


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_a_cache_that_others_could_read_is_narrowed(
    artifacts: Path, storage: FolderStorage, cache: Path
) -> None:
    fetch(artifacts)
    (run_cache,) = (path for path in cache.iterdir() if path.is_dir())
    cache.chmod(0o755)
    run_cache.chmod(0o755)
    fetch_named(storage, "a.txt")
    assert run_cache.stat().st_mode & 0o777 == 0o700
    assert cache.stat().st_mode & 0o777 == 0o755  # it may be one that the user made


@pytest.mark.parametrize("place", ["/proc/self/cache", "file", "file/cache", "run is a file"])
def test_a_cache_that_cannot_be_written_is_an_error(
    artifacts: Path,
    storage: FolderStorage,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
) -> None:
    (tmp_path / "file").write_text("x")
    if place == "run is a file":
        (tmp_path / "cache").mkdir()
        name = Path(artifacts._artifacts.root).parents[2].name  # type: ignore[attr-defined]
        (tmp_path / "cache" / name).write_text("x")
    else:
        monkeypatch.setenv(CACHE_DIR_VARIABLE, str(tmp_path / place))
    directory = os.environ[CACHE_DIR_VARIABLE]
    for read in (lambda: fetch_named(storage, "a.txt"), lambda: fetch_named(storage, "model")):
        with pytest.raises(StorageError) as raised:
            read()
        assert f"cannot write to the artifact cache '{directory}'" in str(raised.value)
        assert CACHE_DIR_VARIABLE in str(raised.value)


def test_files_that_cannot_be_locked_are_an_error(
    artifacts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import filelock

    def refuse(self: Any, *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError("FileSystem does not appear to support flock")

    monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
    with pytest.raises(StorageError, match=r"cannot write to the artifact cache .* flock"):
        (artifacts / "a.txt").read_text()


@pytest.mark.skipif(sys.platform == "win32", reason="there is no flock")
@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
@pytest.mark.parametrize("waits", [True, False])
def test_locks_that_the_filesystem_lacks_are_not_waited_for(
    artifacts: Path, monkeypatch: pytest.MonkeyPatch, number: int, waits: bool
) -> None:
    import fcntl

    import filelock

    def refuse(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    def wait(self: Any, timeout: float = -1, **_: Any) -> None:
        """As filelock 3 does, which takes each error of the filesystem for a lock of others."""
        assert timeout > 0
        raise filelock.Timeout(self.lock_file)

    monkeypatch.setattr(fcntl, "flock", refuse)
    if waits:
        monkeypatch.setattr(filelock.FileLock, "acquire", wait)
    with pytest.raises(StorageError, match=r"cannot write to the artifact cache .*CACHE_DIR"):
        (artifacts / "a.txt").read_text()


def test_a_lock_of_others_is_waited_for(artifacts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import filelock

    acquire = filelock.FileLock.acquire
    timeouts: list[float] = []

    def wait(self: Any, timeout: float = -1, **_: Any) -> Any:
        timeouts.append(timeout)
        if timeouts in ([5.0], [5.0, 5.0]):
            Path(self.lock_file).touch()
            raise filelock.Timeout(self.lock_file)
        return acquire(self, timeout)

    monkeypatch.setattr(filelock.FileLock, "acquire", wait)
    assert (artifacts / "a.txt").read_text()
    assert timeouts[:3] == [5.0] * 3


def test_a_copy_that_is_removed_while_it_is_opened(
    artifacts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = artifacts / "a.txt"
    local = os.fspath(path)

    def remove(_: Any, *args: Any, **kwargs: Any) -> None:
        os.unlink(local)
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), local)

    monkeypatch.setattr("pathlib.Path.open", remove)
    with pytest.raises(StorageError, match=r"the copy of '.*a.txt' was removed while it was opene"):
        path.open()
    monkeypatch.undo()
    with pytest.raises(NotFoundError):
        (artifacts / "absent").open()
