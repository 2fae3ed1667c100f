"""The contract of all kinds of storage."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import fsspec
import pytest
from upath import UPath

from kedro_hydraflow.errors import ConfigError, GitLfsError, NotFoundError, StorageError
from kedro_hydraflow.storage import Download, locate
from tests.conftest import write


@pytest.fixture(params=["local", "memory", "zip"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A folder with files and folders, on each kind of storage."""
    folder = tmp_path / "place"
    for name in ("b/x/y", "b.txt", "a/z"):
        write(folder / name, name)
    if request.param == "memory":
        fsspec.filesystem("memory").put(str(folder), f"/{tmp_path.name}/place", recursive=True)
        return f"memory://{tmp_path.name}/place"
    if request.param == "zip":
        with zipfile.ZipFile(tmp_path / "place.zip", "w") as archive:
            for name in ("b/x/y", "b.txt", "a/z"):
                archive.writestr(f"place/{name}", name)
        return f"zip://place::{tmp_path / 'place.zip'}"
    return str(folder)


def test_storage_contract(place: str) -> None:
    found = locate(place)
    storage, path = found.storage, found.path
    assert [entry[:2] for entry in storage.list_dir(path)] == [
        ("a", True),
        ("b", True),
        ("b.txt", False),
    ]
    for absent in ("nowhere", "b.txt", "b.txt/x"):
        with pytest.raises(NotFoundError):
            storage.list_dir(storage.join(path, absent))
        assert not storage.is_dir(storage.join(path, absent))
    assert storage.is_dir(path)
    paths = [storage.join(path, name) for name in ("a", "c", "b.txt", "b")]
    assert storage.are_dirs(paths) == [True, False, False, True]
    listings = storage.list_many([storage.join(path, name) for name in ("a", "c", "b")])
    assert [[e[:2] for e in entries] for entries in listings[::2]] == [
        [("z", False)],
        [("x", True)],
    ]
    assert isinstance(listings[1], NotFoundError)

    inner = storage.join(path, "b", "x", "y")
    contents = storage.read_many([inner, storage.join(path, "c"), storage.join(path, "b.txt", "c")])
    assert contents == [b"b/x/y", None, None]
    assert storage.read(inner) == b"b/x/y"
    assert storage.split(inner) == (storage.join(path, "b", "x"), "y")
    assert storage.to_path(inner).read_bytes() == b"b/x/y"
    assert storage.to_path(path) == UPath(place)
    parent = storage.split(path)[0]
    assert storage.to_path(parent) == UPath(place).parent
    assert storage.get_url(storage.join(parent, "other")) == str(UPath(place).parent / "other")

    again = pickle.loads(pickle.dumps(storage))
    assert again.read(inner) == b"b/x/y"
    assert locate(storage.to_path(inner)).storage.key == storage.key


def test_files_are_copied_whole(place: str, tmp_path: Path) -> None:
    found = locate(place)
    storage = found.storage
    targets = [tmp_path / name for name in ("one", "two", "three")]
    targets[0].write_text("something longer that was there before")
    names = ("b/x/y", "nothing", "b.txt")
    files = [
        Download(storage.join(found.path, *name.split("/")), str(target))
        for name, target in zip(names, targets, strict=True)
    ]
    outcomes = storage.fetch_many(files)
    assert outcomes[::2] == [None, None]
    assert isinstance(outcomes[1], NotFoundError)
    assert str(outcomes[1]).startswith("there is no ")
    assert "place/nothing" in str(outcomes[1])
    assert [target.read_text() for target in targets[::2]] == ["b/x/y", "b.txt"]
    assert storage.fetch_many([]) == []
    (error,) = storage.fetch_many([Download(files[0].path, str(tmp_path / "gone" / "copy"))])
    if place.startswith("memory:"):  # fsspec creates the folder
        assert error is None
    else:
        assert isinstance(error, StorageError)
        assert not isinstance(error, NotFoundError)  # which would say that the storage lacks it
        assert f"there is no folder '{tmp_path / 'gone'}' for the copy" in str(error)


def test_an_error_of_parsing_names_the_file(place: str) -> None:
    def refuse(content: bytes) -> str:
        raise ConfigError("no good")

    file = locate(place).join("b.txt")
    (error,) = file.storage.read_parsed([file.path], refuse).values
    assert type(error) is ConfigError
    assert str(error) == f"{file.url}: no good"


def test_pointers_of_git_lfs_are_not_parsed(tmp_path: Path) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 3\n"
    write(tmp_path / "a/b.yaml", pointer)
    write(tmp_path / "a/c.yaml", f"# {pointer}")
    fsspec.filesystem("memory").put(str(tmp_path / "a"), f"/{tmp_path.name}/a", recursive=True)
    for folder in (str(tmp_path / "a"), f"memory://{tmp_path.name}/a"):
        place = locate(folder)
        paths = [place.join(name).path for name in ("b.yaml", "c.yaml")]
        error, text = place.storage.read_parsed(paths, bytes.decode).values
        assert text == f"# {pointer}"
        assert type(error) is GitLfsError
        assert str(error) == (
            f"{place.join('b.yaml').url}: it is a pointer of Git LFS, not the file itself; run "
            "`git lfs pull` in the repository"
        )
        with pytest.raises(GitLfsError):
            place.join("b.yaml").read()


def test_remote_absent_and_recent_files_have_no_validator(place: str) -> None:
    found = locate(place)
    paths = [found.join("b.txt").path, found.join("nothing").path]
    parsed = found.storage.read_parsed(paths, bytes.decode)
    assert parsed.values == ["b.txt", None]
    assert parsed.validators == [None, None]  # absent, remote, or written just now
    assert found.storage.get_validators(paths) == [None, None]


def test_identities_survive_pickling_and_differ_by_path(place: str) -> None:
    found = locate(place)
    again = pickle.loads(pickle.dumps(found))
    assert again.storage.get_identity(again.path) == found.storage.get_identity(found.path)
    other = found.join("b.txt")
    assert other.storage.get_identity(other.path) != found.storage.get_identity(found.path)
