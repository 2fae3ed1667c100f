from __future__ import annotations

import os
from pathlib import Path

import platformdirs
import pytest

from kedro_hydraflow.cache_dir import CACHE_DIR_VARIABLE, get_cache_dir


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
