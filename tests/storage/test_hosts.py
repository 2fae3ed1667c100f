from __future__ import annotations

import pytest

from kedro_hydraflow.storage import file_uris, hosts
from kedro_hydraflow.storage.hosts import get_host, iter_hosts
from tests.windows import use_windows


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://Files.Example/a b", "http://files.example"),
        ("HTTP://files.example:80", "http://files.example"),
        ("http://files.example:443", "http://files.example:443"),
        ("https://ann:p@files.example:443/a@b:1", "https://files.example"),
        ("http://[::1]:5000/x", "http://[::1]:5000"),
        ("webdav+https://files.example", "https://files.example"),
        ("ssh://ann@files.example:22/x", "sftp://files.example"),
        ("file://files.example/x", "file://files.example"),
        ("file://localhost/x", None),
        ("file:///x", None),
        ("abfss://c@Ours.dfs.core.windows.net/x", "https://ours.blob.core.windows.net"),
        ("az://container/x", None),
        ("abfs://c@files.example/x", None),
        ("s3://bucket/x", None),
        ("memory://bucket/x", None),
        ("http://a\\@b/x", None),
        ("http://a b/x", None),
        ("http://a\tb/x", None),
        ("http://a:b/x", None),
        ("http://[::1/x", None),
        ("http://", None),
        ("/local/path", None),
        ("mailto:a@b", None),
    ],
)
def test_the_host_of_a_url(url: str, host: str | None) -> None:
    assert get_host(url) == host


SHARES = [
    r"\\Files.example\m",
    "//files.example/m",
    "file://files.example/m",
    "file:////files.example/m",
    "FILE:////files.example/m",
    "file:///%5C%5Cfiles.example/m",
    r"file:\\files.example\m",
    r"\\?\UNC\files.example\m",
    "//?/unc/files.example/m",
    r"\\\files.example\m",
]


@pytest.mark.parametrize("location", SHARES)
def test_a_share_on_windows_is_a_host(monkeypatch: pytest.MonkeyPatch, location: str) -> None:
    assert get_host(location) in (None, "file://files.example")
    use_windows(monkeypatch, hosts, file_uris)
    assert get_host(location) == "file://files.example"


@pytest.mark.parametrize(
    "location",
    [
        "C:\\m",
        "C:/m",
        "C://m",
        "file:///C:/m",
        "file://C:/m",
        "\\m",
        "m",
        "\\\\?\\C:\\m",
        "//?/C:/m",
    ],
)
def test_a_drive_on_windows_is_no_host(monkeypatch: pytest.MonkeyPatch, location: str) -> None:
    use_windows(monkeypatch, hosts, file_uris)
    assert get_host(location) is None


@pytest.mark.parametrize("location", [r"\\.\pipe\m", r"\\?\GLOBALROOT\Device\m", r"\\?\pipe\m"])
def test_a_device_of_windows_is_no_place_for_artifacts(
    monkeypatch: pytest.MonkeyPatch, location: str
) -> None:
    use_windows(monkeypatch, hosts, file_uris)
    assert get_host(location) in ("file://.", "file://?")


def test_the_hosts_of_a_chain() -> None:
    chain = "zip://m::http://[::1]:81/a.zip"
    assert list(iter_hosts(chain)) == ["http://[::1]:81"]
    assert list(iter_hosts("sftp://ann:a::b@files.example/m")) == ["sftp://files.example"]
