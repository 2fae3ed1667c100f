from __future__ import annotations

import copy
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from upath import UPath

from kedro_hydraflow.storage import locate
from kedro_hydraflow.storage.fsspec_client import FsspecClient, tune


def test_s3_is_tuned_for_many_small_files() -> None:
    assert tune("s3", {"key": "K"}) == {
        "key": "K",
        "max_concurrency": 1,
        "use_listings_cache": False,
        "config_kwargs": {"max_pool_connections": 64, "retries": {"total_max_attempts": 1}},
    }


@pytest.mark.parametrize(
    "own",
    [
        {"config_kwargs": {"max_pool_connections": 7}},
        {"config_kwargs": {"retries": {"mode": "adaptive"}, "read_timeout": 1}},
        {"max_concurrency": 3, "use_listings_cache": True},
        {"config_kwargs": None},
    ],
)
def test_options_of_the_user_are_kept(own: dict[str, Any]) -> None:
    before = copy.deepcopy(own)
    tuned = tune("s3", own)
    for name, value in own.items():
        if isinstance(value, dict):
            assert {k: v for k, v in tuned[name].items() if k in value}.keys() == value.keys()
            assert tuned[name]["retries"].items() >= value.get("retries", {}).items()
        else:
            assert tuned[name] == value
    assert own == before


@pytest.mark.parametrize(
    ("options", "expected"),
    [({}, 64), ({"config_kwargs": None}, 64), ({"config_kwargs": {"max_pool_connections": 7}}, 7)],
)
def test_concurrency_is_the_size_of_the_pool(options: dict[str, Any], expected: int) -> None:
    pytest.importorskip("aiohttp")
    # HTTP stands for all asynchronous filesystems: it is part of fsspec, and ignores the options.
    assert FsspecClient(UPath("http://host/runs", **options)).concurrency == expected


def test_the_links_of_a_chain_are_tuned() -> None:
    options = {"fo": "b/a.zip", "target_protocol": "s3", "target_options": {"key": "K"}}
    tuned = tune("zip", options)
    assert tuned["target_options"] == tune("s3", {"key": "K"})
    assert (tuned["fo"], options["target_options"]) == ("b/a.zip", {"key": "K"})


def test_http_has_no_timeout_for_a_whole_transfer() -> None:
    timeout = tune("https", {})["client_kwargs"]["timeout"]
    assert (timeout.total, timeout.sock_connect, timeout.sock_read) == (None, 10, 30)
    assert tune("http", {"client_kwargs": {"timeout": 3}})["client_kwargs"]["timeout"] == 3


@pytest.mark.parametrize(
    ("environment", "options", "warned"),
    [
        ({}, {}, False),
        ({}, {"endpoint_url": "http://127.0.0.1:1"}, True),
        ({"STORAGE_EMULATOR_HOST": "http://127.0.0.1:1"}, {}, True),
        ({"GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false"}, {"endpoint_url": "http://h"}, False),
    ],
)
def test_an_emulator_of_gcs_is_a_warning(
    environment: dict[str, str],
    options: dict[str, str],
    warned: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for name in ("STORAGE_EMULATOR_HOST", "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert tune("gs", options)["use_listings_cache"] is False
    assert ("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT=false" in caplog.text) is warned


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"ETag": '"a"', "size": 1}, {"ETag": '"b"', "size": 1}),
        ({"mtime": 1, "size": 1}, {"mtime": 2, "size": 1}),
        ({"mtime": 1, "size": 1}, {"mtime": 1, "size": 2}),
        ({"CRC": 1, "size": 1}, {"CRC": 2, "size": 1}),
    ],
)
def test_validators_differ(
    before: dict[str, Any], after: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert list_validator(monkeypatch, before) != list_validator(monkeypatch, after)
    also = {**before, "StorageClass": "STANDARD"}
    assert list_validator(monkeypatch, before) == list_validator(monkeypatch, also)


def test_a_size_alone_is_no_validator(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list_validator(monkeypatch, {"size": 1, "etag": None}) is None


def list_validator(monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any]) -> str | None:
    """Return the validator of a file that fsspec lists with these fields."""
    listed = [{"name": "/folder/a.txt", "type": "file", **fields}]
    monkeypatch.setattr(MemoryFileSystem, "ls", lambda self, path, **kwargs: listed)
    (entry,) = locate("memory://folder").list()
    return entry.validator
