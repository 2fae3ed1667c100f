from __future__ import annotations

import copy
from typing import Any

import pytest

from kedro_hydraflow.storage.fsspec_client import _get_pool_size, _get_version, tune


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
def test_what_the_user_set_stays(own: dict[str, Any]) -> None:
    before = copy.deepcopy(own)
    tuned = tune("s3", own)
    for name, value in own.items():
        if isinstance(value, dict):
            assert {k: v for k, v in tuned[name].items() if k in value}.keys() == value.keys()
            assert tuned[name]["retries"].items() >= value.get("retries", {}).items()
        else:
            assert tuned[name] == value
    assert own == before


def test_pool_and_concurrency_are_of_one_size() -> None:
    assert _get_pool_size(tune("s3", {})) == 64
    assert _get_pool_size(tune("s3", {"config_kwargs": {"max_pool_connections": 7}})) == 7
    assert _get_pool_size(tune("az", {})) == 64


def test_the_links_of_a_chain_are_tuned() -> None:
    options = {"fo": "b/a.zip", "target_protocol": "s3", "target_options": {"key": "K"}}
    tuned = tune("zip", options)
    assert tuned["target_options"] == tune("s3", {"key": "K"})
    assert (tuned["fo"], options["target_options"]) == ("b/a.zip", {"key": "K"})


def test_http_has_no_limit_for_a_whole_transfer() -> None:
    timeout = tune("https", {})["client_kwargs"]["timeout"]
    assert (timeout.total, timeout.sock_connect, timeout.sock_read) == (None, 10, 30)
    assert tune("http", {"client_kwargs": {"timeout": 3}})["client_kwargs"] == {"timeout": 3}


@pytest.mark.parametrize(
    ("environment", "options", "warned"),
    [
        ({}, {}, False),
        ({}, {"endpoint_url": "http://127.0.0.1:1"}, True),
        ({"STORAGE_EMULATOR_HOST": "http://127.0.0.1:1"}, {}, True),
        ({"GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false"}, {"endpoint_url": "http://h"}, False),
    ],
)
def test_an_emulator_of_gcs_gives_a_hint(
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
def test_versions_differ(before: dict[str, Any], after: dict[str, Any]) -> None:
    assert _get_version(before) != _get_version(after)
    assert _get_version(before) == _get_version({**before, "StorageClass": "STANDARD"})
    assert _get_version({"size": 1, "etag": None}) is None
