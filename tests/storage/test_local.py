from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from kedro_hydraflow.errors import NotFoundError, StorageError
from kedro_hydraflow.storage import Entry, LocalStorage
from tests.conftest import write


def test_a_listing_that_fails_is_not_empty(tmp_path: Path) -> None:
    storage = LocalStorage()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "link").symlink_to(tmp_path / "unmounted")
    for name in ("loop", "link", "link/a", "x" * 300, "\0"):
        with pytest.raises(StorageError, match="cannot list the directory") as raised:
            storage.list_dir(f"{tmp_path}/{name}")
        assert not isinstance(raised.value, NotFoundError)
    assert [entry for entry in storage.list_dir(str(tmp_path)) if entry.is_broken] == [
        Entry("link", is_dir=False, is_broken=True, is_link=True),
        Entry("loop", is_dir=False, is_broken=True, is_link=True),
    ]
    with pytest.raises(StorageError, match="cannot access"):
        storage.is_dir(f"{tmp_path}/loop")


def test_validators_change_with_the_content(tmp_path: Path, later: Callable[[], None]) -> None:
    file = tmp_path / "a.txt"
    file.write_text("one")
    storage = LocalStorage()
    assert storage.get_validators([str(file)]) == [None]  # the next change might not show
    later()
    (before,) = storage.get_validators([str(file)])
    assert before is not None
    assert storage.read_parsed([str(file)], bytes.decode).validators == [before]
    assert storage.get_validators([str(file)]) == [before]
    other = tmp_path / "b.txt"
    other.write_text("two")
    other.replace(file)
    (after,) = storage.get_validators([str(file)])
    assert after not in (None, before)
    assert storage.get_validators([str(tmp_path / "absent")]) == [None]


def test_relative_paths_start_from_the_base(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "in/a.txt", "one")
    monkeypatch.chdir("/")
    storage = LocalStorage(str(tmp_path))
    for each in (storage, pickle.loads(pickle.dumps(storage))):
        assert each == storage
        assert hash(each) == hash(storage)
        assert each.read("in/a.txt") == b"one"
        assert [entry.name for entry in each.list_dir("in")] == ["a.txt"]
        assert each.is_dir("in")
        assert each.is_dir("")
        assert each.get_identity("in") == str(tmp_path / "in")
        assert each.split("") == os.path.split(tmp_path)
    assert storage != LocalStorage()
    assert storage.key != LocalStorage().key
    assert storage.get_url("") == "."


def test_errors_of_reading_and_copying(tmp_path: Path) -> None:
    storage = LocalStorage()
    (tmp_path / "link").symlink_to(tmp_path / "unmounted")
    read = storage.read_many([str(tmp_path), f"{tmp_path}/link/a", f"{tmp_path}/absent"])
    assert read[2] is None
    assert [str(error) for error in read[:2]] == [
        f"cannot read {str(tmp_path)!r}: IsADirectoryError: Is a directory",
        f"cannot read '{tmp_path}/link/a': a symbolic link in the path is broken",
    ]
    with pytest.raises(StorageError, match="cannot read"):
        storage.read(str(tmp_path))
    (error,) = storage.fetch_many([(str(tmp_path), str(tmp_path / "copy"))])
    assert str(error).startswith(f"cannot copy {str(tmp_path)!r}: IsADirectoryError: ")
