from __future__ import annotations

from pathlib import PurePosixPath, PureWindowsPath

import pytest

from kedro_hydraflow.storage import file_uris
from kedro_hydraflow.storage.file_uris import get_uri_path
from tests.windows import use_windows


@pytest.mark.parametrize(
    "path",
    ["/", "/runs", "/two words/100%25 done", "/é日本", "/a:b/c::d", "/a\\b", "/C:/runs", "/#?;"],
)
def test_a_path(path: str) -> None:
    uri = PurePosixPath(path).as_uri()
    assert get_uri_path(uri) == path
    assert get_uri_path(uri.replace("file://", "file://localhost")) == path
    assert get_uri_path(uri.replace("file://", "file:")) == path


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("file:runs", "runs"),
        ("file:./a%20b", "./a b"),
        ("file:///runs/", "/runs/"),
        ("file://server/share/runs", "//server/share/runs"),
        ("file:////server/share", "//server/share"),
        ("file:///%FF", "/\udcff"),
        ("FILE:///runs", "/runs"),
    ],
)
def test_other_uris(uri: str, path: str) -> None:
    assert get_uri_path(uri) == path


@pytest.mark.parametrize(
    "path",
    [
        "C:\\",
        "C:\\Users\\me\\mlruns",
        "d:\\two words\\100%25 done",
        "C:\\é日本\\#?;",
        "\\\\server\\share\\runs",
        "\\\\server\\a b\\",
    ],
)
def test_a_path_of_windows(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    use_windows(monkeypatch, file_uris)
    found = get_uri_path(PureWindowsPath(path).as_uri())
    assert PureWindowsPath(found) == PureWindowsPath(path)
    assert found.startswith(path[:2])


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("file:C:/runs", "C:\\runs"),
        ("file:/C:/runs", "C:\\runs"),
        ("file://C:/runs", "C:\\runs"),
        ("file:///C|/runs", "C:\\runs"),
        ("file:C:\\runs\\a", "C:\\runs\\a"),
        ("file://C:\\runs\\a", "C:\\runs\\a"),
        ("file://localhost/C:/runs", "C:\\runs"),
        ("file:///C:/a:b", "C:\\a:b"),
        ("file:////server/share", "\\\\server\\share"),
        ("file:///runs", "\\runs"),
        ("file:runs/a", "runs\\a"),
        ("file:///%5C%5Cserver/share", "\\\\\\server\\share"),
    ],
)
def test_other_uris_on_windows(monkeypatch: pytest.MonkeyPatch, uri: str, path: str) -> None:
    use_windows(monkeypatch, file_uris)
    assert get_uri_path(uri) == path
