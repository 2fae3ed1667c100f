from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any, ClassVar

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from upath import UPath

from kedro_hydraflow.storage import locate
from kedro_hydraflow.storage.base import Entry
from kedro_hydraflow.storage.bulk import run_requests
from kedro_hydraflow.storage.fsspec_client import FsspecClient, tune


@pytest.fixture(autouse=True)
def s3_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the hosts stand for the class of sessions, which needs aiobotocore."""
    name = "kedro_hydraflow.storage.fsspec_client.make_s3_session_class"
    monkeypatch.setattr(name, lambda allowed: f"for {sorted(allowed)}")


def test_s3_is_tuned_for_many_small_files() -> None:
    config = {"max_pool_connections": 64, "retries": {"total_max_attempts": 1}}
    tuned = {"key": "K", "max_concurrency": 1, "use_listings_cache": False}
    for unset in ({}, {"config_kwargs": None}):
        assert tune("s3", {"key": "K", **unset}) == {
            **tuned,
            "config_kwargs": {**config, "http_session_cls": "for []"},
        }
    assert tune("s3", {"key": "K"}, frozenset({"http://h"})) == {
        **tuned,
        "config_kwargs": {**config, "http_session_cls": "for ['http://h']"},
    }


@pytest.mark.parametrize(
    "own",
    [
        {"config_kwargs": {"max_pool_connections": 7}},
        {"config_kwargs": {"retries": {"mode": "adaptive"}, "read_timeout": 1}},
        {"max_concurrency": 3, "use_listings_cache": True},
        {"config_kwargs": {"http_session_cls": "mine"}},
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


class Sftp(MemoryFileSystem):
    """Connects once, as the filesystems of SFTP do, and drops the connection on request."""

    protocol = "sftp"
    cachable = True
    connections: ClassVar[list[Sftp]] = []
    error: ClassVar[Exception | None] = None
    """What a dropped connection raises."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.connections.append(self)

    def ls(self, path: str, detail: bool = True, **_: Any) -> Any:
        if self.error is not None and len(self.connections) < 2:
            raise self.error
        return [{"name": f"{path}/a", "type": "directory"}]


@pytest.fixture
def sftp(monkeypatch: pytest.MonkeyPatch) -> type[Sftp]:
    monkeypatch.setattr(fsspec, "filesystem", lambda _, **options: Sftp(**options))
    Sftp.clear_instance_cache()
    monkeypatch.setattr(Sftp, "connections", [])
    return Sftp


def make_class(name: str) -> Exception:
    error: Exception = type(name, (Exception,), {})("gone")
    return error


@pytest.mark.usefixtures("no_waiting")
@pytest.mark.parametrize(
    "error",
    [
        make_class("SFTPNoConnection"),
        make_class("ConnectionLost"),
        make_class("SSHException"),
        EOFError(),
        ConnectionResetError(),
        OSError("Socket is closed"),
        ValueError("Can't create any SFTP connections!"),
    ],
    ids=repr,
)
def test_a_dropped_connection_of_sftp_is_opened_again(
    sftp: type[Sftp], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    root: Any = SimpleNamespace(protocol="sftp", storage_options={"host": "h"})
    client = FsspecClient(root)
    assert run_requests(client.list_dir, ["/x"], concurrency=1) == [[Entry("a", is_dir=True)]]
    monkeypatch.setattr(sftp, "error", error)
    assert run_requests(client.list_dir, ["/x"], concurrency=1) == [[Entry("a", is_dir=True)]]
    assert len(sftp.connections) == 2
    assert (
        run_requests(client.list_dir, ["/x"] * 3, concurrency=1) == [[Entry("a", is_dir=True)]] * 3
    )
    assert len(sftp.connections) == 2


@pytest.mark.parametrize(
    "error", [FileNotFoundError("/x"), PermissionError("/x"), make_class("PermissionDenied")]
)
def test_other_errors_of_sftp_keep_the_connection(
    sftp: type[Sftp], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    root: Any = SimpleNamespace(protocol="sftp", storage_options={"host": "h"})
    client = FsspecClient(root)
    monkeypatch.setattr(sftp, "error", error)
    assert run_requests(client.list_dir, ["/x", "/y"], concurrency=1) == [error, error]
    assert len(sftp.connections) == 1


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
