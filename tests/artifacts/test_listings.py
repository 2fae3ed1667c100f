"""Listings: each folder is listed once, and a listing may be incomplete."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from kedro_hydraflow.artifacts import ArtifactPath, fetch, make_artifact_path
from kedro_hydraflow.artifacts.listings import FolderListings
from kedro_hydraflow.errors import NotFoundError, StorageError
from kedro_hydraflow.storage import Place
from tests.artifacts.conftest import RUN, FolderStorage, names

# Paths -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["..", ".", "", "../x", "/etc/passwd", "a/b", "a\0b"])
def test_a_remote_key_never_leaves_the_directory(
    artifacts: Path, storage: FolderStorage, cache: Path, name: str
) -> None:
    storage.names[f"{RUN}/model"] = [name]
    model = artifacts / "model"
    for question in (
        lambda: list(model.iterdir()),
        lambda: list(artifacts.rglob("*")),
        lambda: os.listdir(model),
        lambda: fetch(artifacts),
    ):
        with pytest.raises(StorageError, match="is not a valid file name"):
            question()
    assert (model / "c.txt").read_text() == "content of c"
    assert storage.take_requests("GET") == [f"GET {RUN}/model/c.txt"]


# Queries -----------------------------------------------------------------------------------


def test_queries_list_each_folder_once_and_fetch_nothing(
    artifacts: Path, storage: FolderStorage
) -> None:
    for _ in range(3):
        assert artifacts.exists()
        assert artifacts.is_dir()
        assert not artifacts.is_file()
        assert (artifacts / "a.txt").is_file()
        assert not (artifacts / "a.txt").is_dir()
        assert (artifacts / "model").is_dir()
        assert not (artifacts / "absent").exists()
        assert not (artifacts / "absent/file").exists()
        assert not (artifacts / "a.txt").is_symlink()
        assert not (artifacts / "a.txt").is_fifo()
        assert names(artifacts.iterdir()) == [".hydra", "a.txt", "b.csv", "model"]
    assert storage.take_requests() == [f"LIST {RUN}", f"LIST {RUN}/absent"]


# Incomplete listings -----------------------------------------------------------------------


def test_hidden_files_are_found(web: Path) -> None:
    assert names(web.iterdir()) == ["a.txt", "b.csv", "model"]
    assert (web / ".hydra/config.yaml").read_text() == "seed: 1\n"
    assert (web / ".hydra").is_dir()
    assert (web / ".hydra/config.yaml").exists()
    assert os.listdir(web / ".hydra") == ["config.yaml"]
    assert not (web / ".absent").exists()
    assert names(web.glob(".hydra/*.yaml")) == ["config.yaml"]


def test_hidden_files_in_a_folder_are_kept(web: Path, remote: Path) -> None:
    (remote / ".notes").write_text("hidden")
    assert (web / ".notes").read_text() == "hidden"
    assert ".notes" in os.listdir(web)


def test_files_are_read_from_folders_that_cannot_be_listed(
    web: Path, storage: FolderStorage
) -> None:
    storage.cannot_list = {RUN, f"{RUN}/model", f"{RUN}/model/c.txt", f"{RUN}/absent"}
    assert (web / "model/c.txt").read_text() == "content of c"
    assert (web / "model/c.txt").exists()
    assert not (web / "model/absent").exists()
    with pytest.raises(NotFoundError, match="model/absent"):
        open(web / "model/absent")  # noqa: SIM115
    with pytest.raises(StorageError, match="cannot list"):
        list(web.iterdir())
    with pytest.raises(StorageError, match="cannot list"):
        web.exists()


# Renewal -----------------------------------------------------------------------------------


def test_a_later_load_does_not_change_the_paths_of_an_earlier_one(
    artifacts: Path, storage: FolderStorage, remote: Path
) -> None:
    first = artifacts / "model"
    before = names(artifacts.rglob("*"))
    (remote / "model/new.txt").write_text("new")
    (remote / "a.txt").unlink()
    again = make_artifact_path(Place(storage, RUN))
    assert names((again / "model").iterdir()) == ["c.txt", "deep", "new.txt"]
    assert not (again / "a.txt").exists()
    assert names(first.iterdir()) == names((artifacts / "model").iterdir()) == ["c.txt", "deep"]
    assert names(artifacts.rglob("*")) == before
    assert (first.parent / "a.txt").exists()
    pickle.loads(pickle.dumps(artifacts)).exists()
    assert names(artifacts.rglob("*")) == before


def test_a_file_newer_than_the_listing_can_be_opened(artifacts: Path, remote: Path) -> None:
    assert not (artifacts / "new.txt").exists()
    (remote / "new.txt").write_text("new")
    assert (artifacts / "new.txt").read_text() == "new"


def test_a_removed_file_is_dropped_from_the_listing(artifacts: Path, remote: Path) -> None:
    assert (artifacts / "a.txt").exists()
    (remote / "a.txt").unlink()
    with pytest.raises(NotFoundError, match=r"a\.txt"):
        fetch(artifacts)
    assert not (artifacts / "a.txt").exists()
    assert "a.txt" not in os.listdir(artifacts)


# Threads and processes ---------------------------------------------------------------------


FORK = """
import os, sys, threading, time
from pathlib import Path
from kedro_hydraflow.artifacts import make_artifact_path
from kedro_hydraflow.storage import Place
from tests.artifacts.conftest import RUN, FolderStorage

class Slow(FolderStorage):
    def list_dir(self, path, limit=None):
        if os.getpid() == parent:
            listing.set()
            time.sleep(60)
        return super().list_dir(path, limit)

parent, listing = os.getpid(), threading.Event()
artifacts = make_artifact_path(Place(Slow(Path(sys.argv[1])), RUN))
threading.Thread(target=artifacts.exists, daemon=True).start()
listing.wait()
child = os.fork()
if child == 0:
    os._exit(0 if (artifacts / "a.txt").read_text() == "content of a" else 1)
os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_fork_while_another_thread_lists(storage: FolderStorage, remote: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-c", FORK, str(storage.root)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run(command, env=environment, timeout=120).returncode == 0


def test_paths_pickled_together_share_their_listings(
    artifacts: Path, storage: FolderStorage
) -> None:
    pickled = pickle.dumps([artifacts / "a.txt", artifacts / "b.csv", artifacts])
    assert all(path.exists() for path in pickle.loads(pickled))
    assert storage.take_requests() == [f"LIST {RUN}"]


def test_pickled_paths_list_afresh(artifacts: Path, remote: Path) -> None:
    assert not (artifacts / "new.txt").exists()
    (remote / "new.txt").write_text("new")
    again = pickle.loads(pickle.dumps(artifacts / "new.txt"))
    assert type(again) is ArtifactPath
    assert again == artifacts / "new.txt"
    assert again.exists()


# The listings themselves -------------------------------------------------------------------


@pytest.fixture
def listings(storage: FolderStorage, remote: Path) -> FolderListings:
    return FolderListings(Place(storage, RUN))


def test_the_tree_of_a_folder(listings: FolderListings, storage: FolderStorage) -> None:
    tree = listings.get_tree("")
    assert {folder: sorted(listing) for folder, listing in tree.items()} == {
        "": [".hydra", "a.txt", "b.csv", "model"],
        ".hydra": ["config.yaml"],
        "model": ["c.txt", "deep"],
        "model/deep": ["d.txt"],
    }
    assert len(storage.take_requests("LIST")) == 4
    assert listings.get_tree("model").keys() == {"model", "model/deep"}
    assert storage.take_requests() == []


def test_an_absent_folder_is_not_listed_again_until_it_is_forgotten(
    listings: FolderListings, storage: FolderStorage, remote: Path
) -> None:
    for _ in range(2):
        assert listings.get_if_present("new") == {}
        with pytest.raises(NotFoundError) as raised:
            listings.get("new")
        assert str(raised.value) == f"there is no directory 'fake://host/{RUN}/new'"
    assert storage.take_requests() == [f"LIST {RUN}/new"]
    (remote / "new").mkdir()
    listings.forget(["new"])
    assert listings.get("new") == {}


def test_an_entry_is_available_once_its_folder_is_listed(
    listings: FolderListings, storage: FolderStorage
) -> None:
    assert listings.get_entry("model/c.txt") is None
    assert storage.take_requests() == []
    listings.get("model")
    entry = listings.get_entry("model/c.txt")
    assert entry is not None
    assert (entry.name, entry.size) == ("c.txt", len("content of c"))
    assert listings.get_entry("model/absent") is None


def test_a_folder_that_could_not_be_listed_is_listed_again(
    listings: FolderListings, storage: FolderStorage
) -> None:
    storage.cannot_list = {f"{RUN}/model"}
    with pytest.raises(StorageError, match=r"cannot list the directory .*model.*: 403"):
        listings.get_all(["", "model"])
    storage.cannot_list.clear()
    assert sorted(listings.get("model")) == ["c.txt", "deep"]
