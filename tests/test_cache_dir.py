from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import platformdirs
import pytest

from kedro_hydraflow import Run, iter_run_dirs
from kedro_hydraflow.cache_dir import (
    CACHE_DIR_VARIABLE,
    get_cache_dir,
    make_private_folder,
    narrow,
)
from kedro_hydraflow.errors import StorageError
from tests.conftest import TrackingDir


def test_the_default_is_a_folder_in_the_users_cache_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda name, **_: tmp_path / name)
    for value in (None, ""):
        if value is None:
            monkeypatch.delenv(CACHE_DIR_VARIABLE)
        else:
            monkeypatch.setenv(CACHE_DIR_VARIABLE, value)
        assert get_cache_dir("index") == str(tmp_path / "kedro-hydraflow" / "index")
        assert get_cache_dir("artifacts") == str(tmp_path / "kedro-hydraflow" / "artifacts")
    assert os.listdir(tmp_path) == []


def test_the_variable_sets_the_directory_of_all_caches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CACHE_DIR_VARIABLE, str(tmp_path / "cache"))
    assert get_cache_dir("index") == get_cache_dir("artifacts") == str(tmp_path / "cache")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("value", ["cache", "./cache", "~/cache"])
def test_the_directory_is_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv(CACHE_DIR_VARIABLE, value)
    assert get_cache_dir("index") == str(tmp_path / "cache")


# Homes and permissions -----------------------------------------------------------------------


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A user without a home directory, as in many containers; the working directory."""
    pwd = pytest.importorskip("pwd")

    def find_nobody(uid: int) -> None:
        raise KeyError(f"uid not found: {uid}")

    for name in ("HOME", "USERPROFILE", "XDG_CACHE_HOME", CACHE_DIR_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", find_nobody)
    monkeypatch.setattr(pwd, "getpwnam", find_nobody)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_user_without_a_home_is_told_which_variable_to_set(
    homeless: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(StorageError, match=f"no home directory .* {CACHE_DIR_VARIABLE}"):
        get_cache_dir("artifacts")
    monkeypatch.setenv(CACHE_DIR_VARIABLE, "~/cache")
    with pytest.raises(StorageError, match=f"{CACHE_DIR_VARIABLE}: there is no home .* '~/cache'"):
        get_cache_dir("artifacts")
    monkeypatch.setenv(CACHE_DIR_VARIABLE, "cache")
    assert get_cache_dir("artifacts") == str(homeless / "cache")
    assert os.listdir(homeless) == []


@pytest.mark.parametrize(("option", "n_warnings"), [(None, 0), (True, 1), ("~/index", 1)])
def test_a_user_without_a_home_loads_without_an_index(
    homeless: Path,
    tracking_dir: TrackingDir,
    caplog: pytest.LogCaptureFixture,
    option: Any,
    n_warnings: int,
) -> None:
    tracking_dir.add_runs(3)
    runs = Run.load(iter_run_dirs(tracking_dir.root), index=option)
    assert runs.to_list("i") == [0, 1, 2]
    warnings = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert len(warnings) == n_warnings
    assert all("the index is not used: " in message for message in warnings)
    assert not (homeless / "~").exists()


def test_folders_are_for_their_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        make_private_folder(str(tmp_path / "a/b/c"))
    finally:
        os.umask(before)
    for folder in ("a", "a/b", "a/b/c"):
        assert (tmp_path / folder).stat().st_mode & 0o777 == 0o700
    (tmp_path / "a").chmod(0o755)
    make_private_folder(str(tmp_path / "a/b"))
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o755  # others may have made it
    narrow(str(tmp_path / "a"))
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o700


def test_a_file_in_place_of_a_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path in ("file", "file/folder"):
        with pytest.raises(OSError, match="file"):
            make_private_folder(str(tmp_path / path))


def test_a_folder_that_cannot_be_narrowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o755)

    def refuse(path: str, mode: int) -> None:
        raise PermissionError(1, "Operation not permitted", path)

    monkeypatch.setattr(os, "chmod", refuse)
    narrow(str(tmp_path))  # a filesystem without permissions
    owner = tmp_path.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(PermissionError):
        narrow(str(tmp_path))
