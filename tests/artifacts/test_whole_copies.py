"""Copies are as long as the storage lists them, and nothing that was listed is left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from upath import UPath

from kedro_hydraflow.artifacts import fetch, make_artifact_path
from kedro_hydraflow.errors import IncompleteCopyError, StorageError
from kedro_hydraflow.storage import Entry, locate
from kedro_hydraflow.storage.bulk import MAX_ATTEMPTS
from kedro_hydraflow.storage.remote import Client, RemoteStorage

ROOT = UPath("memory://whole/run/artifacts")


@pytest.fixture
def artifacts() -> Iterator[Path]:
    ROOT.mkdir(parents=True, exist_ok=True)
    (ROOT / "model.bin").write_bytes(b"x" * 1000)
    (ROOT / "notes.txt").write_bytes(b"notes")
    yield make_artifact_path(locate(ROOT))
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]


@pytest.fixture
def cut(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[str]]:
    """Cut the next copies of ``model.bin``; return the list of files that are requested."""

    def start(n_times: int) -> list[str]:
        requests: list[str] = []

        def get_file(self: Any, path: str, target: str, **_: Any) -> None:
            requests.append(path.rpartition("/")[2])
            content = self.cat_file(path)
            is_cut = requests.count("model.bin") <= n_times and path.endswith("model.bin")
            Path(target).write_bytes(content[:500] if is_cut else content)

        monkeypatch.setattr(MemoryFileSystem, "get_file", get_file)
        return requests

    return start


def test_a_copy_that_is_cut_is_fetched_again(
    artifacts: Path, cut: Callable[[int], list[str]], no_waiting: None
) -> None:
    requests = cut(2)
    assert (artifacts / "model.bin").stat().st_size == 1000
    assert requests == ["model.bin"] * 3


def test_a_copy_that_stays_cut_is_an_error_and_not_kept(
    artifacts: Path, cut: Callable[[int], list[str]], cache: Path, no_waiting: None
) -> None:
    requests = cut(10**6)
    for read in (fetch, lambda path: path.read_bytes(), lambda path: fetch(path.parent)):
        with pytest.raises(IncompleteCopyError) as raised:
            read(artifacts / "model.bin")
        assert str(raised.value) == (
            "cannot fetch 'memory://whole/run/artifacts/model.bin': got 500 of 1,000 bytes"
        )
    assert requests.count("model.bin") == 3 * MAX_ATTEMPTS
    assert not [*cache.rglob("model.bin")]
    assert (artifacts / "notes.txt").read_text() == "notes"
    cut(0)
    assert len((artifacts / "model.bin").read_bytes()) == 1000


def test_a_file_that_has_become_shorter_is_whole(
    artifacts: Path, cut: Callable[[int], list[str]], no_waiting: None
) -> None:
    requests = cut(0)
    assert sorted(path.name for path in artifacts.iterdir()) == ["model.bin", "notes.txt"]
    (ROOT / "model.bin").write_bytes(b"y" * 10)
    assert (artifacts / "model.bin").read_bytes() == b"y" * 10
    assert requests == ["model.bin"] * (MAX_ATTEMPTS + 1)


def test_a_file_that_has_grown_is_whole(artifacts: Path, cut: Callable[[int], list[str]]) -> None:
    requests = cut(0)
    assert sorted(path.name for path in artifacts.iterdir()) == ["model.bin", "notes.txt"]
    (ROOT / "model.bin").write_bytes(b"y" * 2000)
    assert (artifacts / "model.bin").read_bytes() == b"y" * 2000
    assert requests == ["model.bin"]


# Names ---------------------------------------------------------------------------------------


class OddClient(Client):
    """Lists the same in each folder, or the folders in the first one as empty."""

    concurrency = 1

    def __init__(self, entries: list[Entry], *, is_deep: bool) -> None:
        self.entries = entries
        self.is_deep = is_deep

    async def list_dir(self, path: str) -> list[Entry]:
        return self.entries if self.is_deep or path.endswith("artifacts") else []

    async def read(self, path: str, limit: int) -> bytes:
        raise NotImplementedError

    async def fetch(self, path: str, target: str) -> None:
        Path(target).write_bytes(b"content")


def list_as(*entries: Entry, is_deep: bool = False) -> Path:
    place = locate("memory://odd/run/artifacts")
    storage = RemoteStorage(UPath("memory://odd"), lambda _: OddClient([*entries], is_deep=is_deep))
    return make_artifact_path(type(place)(storage, place.path))


GOOD = Entry("good", is_dir=False, size=7, validator="1")
UNNAMEABLE = {
    "an empty name": (Entry("", is_dir=True), "has the entry '', which is not a valid file name"),
    "a dot": (Entry(".", is_dir=True), "has the entry '.', which"),
    "two dots": (Entry("..", is_dir=True), r"has the entry '\.\.', which"),
    "that of a file": (
        Entry("good", is_dir=True),
        "'memory://odd/run/artifacts' has a file and a folder named 'good'; rename it to fetch it",
    ),
}


@pytest.mark.parametrize(("odd", "reason"), UNNAMEABLE.values(), ids=UNNAMEABLE.keys())
def test_what_no_copy_can_have_is_left_out_of_listings_but_not_of_a_fetched_folder(
    odd: Entry, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    artifacts = list_as(GOOD, odd)
    assert [path.name for path in artifacts.iterdir()] == ["good"]
    assert [path.name for path in artifacts.glob("*")] == ["good"]
    assert len(caplog.messages) == 1
    with pytest.raises(StorageError, match=reason):
        fetch(artifacts)
    if odd.name != "good":
        assert (artifacts / "good").read_text() == "content"
    else:
        with pytest.raises(StorageError, match=reason):
            (artifacts / "good").read_text()


@pytest.mark.parametrize("name", ["a/b", "a\0b"])
def test_a_name_that_no_file_can_have_is_an_error(name: str) -> None:
    artifacts = list_as(GOOD, Entry(name, is_dir=False))
    for use in (fetch, lambda path: [*path.iterdir()], lambda path: [*path.glob("*")]):
        with pytest.raises(StorageError, match=r"has the entry .*, which is not a valid file name"):
            use(artifacts)


def test_an_empty_file_marks_a_folder(caplog: pytest.LogCaptureFixture) -> None:
    marked = list_as(Entry("folder", is_dir=False, size=0), Entry("folder", is_dir=True))
    assert [path.name for path in marked.iterdir()] == ["folder"]
    assert (marked / "folder").is_dir()
    assert caplog.messages == []


@pytest.mark.timeout(60)
def test_folders_within_themselves_end() -> None:
    with pytest.raises(StorageError, match="has folders deeper than 200 levels"):
        fetch(list_as(GOOD, Entry("again", is_dir=True), is_deep=True))


@pytest.mark.timeout(60)
def test_ever_more_folders_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEDRO_HYDRAFLOW_MAX_NODES", "1000")
    both = (Entry("one", is_dir=True), Entry("two", is_dir=True))
    with pytest.raises(StorageError, match="more than 1,000 folders, the limit that"):
        fetch(list_as(*both, is_deep=True))
