from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest
from upath import UPath

from kedro_hydraflow import Run, iter_run_dirs
from kedro_hydraflow.errors import (
    MissingPackageError,
    NotFoundError,
    OptionError,
    RunLoadError,
    StorageError,
)
from kedro_hydraflow.storage import LocalStorage, is_url, locate
from kedro_hydraflow.storage.remote import RemoteStorage
from tests.conftest import TrackingDir

ODD_NAMES = ["100%25 done", "two words", "a::b", "[x]", "é日本", "#1?", "it's", "a+b=c&d", "a;b"]


@pytest.mark.parametrize("name", ODD_NAMES)
@pytest.mark.parametrize(
    "convert",
    [
        str,
        Path,
        UPath,
        Path.as_uri,
        lambda path: path.as_uri().replace("file://", "file://localhost"),
        lambda path: path.as_uri().replace("file://", "file:"),
        lambda path: f"{path}/",
        lambda path: os.path.relpath(path),
    ],
    ids=["str", "Path", "UPath", "file://", "file://localhost", "file:", "slash", "relative"],
)
def test_odd_names_are_read_from_every_kind_of_location(
    tmp_path: Path, name: str, convert: Callable[[Path], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tracking_dir = TrackingDir(tmp_path / name)
    run_dir = tracking_dir.add_run(tracking_dir.add_experiment("train"), name, "lr: 1")
    (run,) = Run.load(iter_run_dirs(convert(tracking_dir.root)))
    assert (run.info.run_dir.resolve(), run.info.run_id) == (run_dir, name)
    assert (Run(convert(run_dir)).get("lr"), Run(convert(run_dir)).info.run_id) == (1, name)


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names_are_read_remotely(tmp_path: Path, name: str) -> None:
    tracking_dir = TrackingDir(tmp_path / "mlruns")
    metric = "val: 1/two words.é日本"  # as odd as MLflow allows
    tracking_dir.add_run(tracking_dir.add_experiment("train"), name, "lr: 1", {metric: "1 0.5 1\n"})
    fsspec.filesystem("memory").put(str(tracking_dir.root), f"/{tmp_path.name}", recursive=True)
    (run,) = Run.load(iter_run_dirs(f"memory://{tmp_path.name}"))
    assert (run.info.run_id, run.get("lr"), run.metrics) == (name, 1, {metric: 0.5})
    again = pickle.loads(pickle.dumps(run))
    assert (again.info.run_id, again.info.job_name) == (name, "train")
    if "::" not in name:  # UPath takes such a name for a chained URL
        assert again.path(".hydra/config.yaml").read_text() == "lr: 1"


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("s3://team//mlruns", "team/mlruns"),
        ("s3://team/a///b//1/", "team/a/b/1"),
        ("gs://team//mlruns", "team/mlruns"),
        ("az://team//mlruns", "team/mlruns"),
    ],
)
@pytest.mark.parametrize("convert", [str, UPath])
def test_empty_names_in_urls_of_object_stores_are_skipped(
    url: str, path: str, convert: Callable[[str], Any], caplog: pytest.LogCaptureFixture
) -> None:
    try:
        place = locate(convert(url), {"key": "secret"})
    except (ImportError, MissingPackageError) as exc:
        pytest.skip(str(exc))
    assert place.path == path
    scheme = url.partition(":")[0]
    assert place.url == f"{scheme}://{path}"
    assert place.parent.to_path().storage_options == {"key": "secret"}
    (message,) = caplog.messages
    assert message.startswith(url.rstrip("/"))
    assert f" is read as {scheme}://{path}" in message
    assert message.endswith(": names in the keys of an object store may not be empty")


@pytest.mark.parametrize(
    "url", ["s3://team/mlruns/", "s3://team/mlruns//", "memory://a//b", "http://host//a"]
)
def test_other_urls_are_read_as_they_are(url: str, caplog: pytest.LogCaptureFixture) -> None:
    if url.startswith("http"):
        pytest.importorskip("aiohttp")
    assert locate(url).path == UPath(url).path.rstrip("/")
    assert caplog.messages == []


def test_relative_name_with_two_colons_is_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    TrackingDir(tmp_path / "a::b").add_experiment("train")
    assert isinstance(locate("a::b").storage, LocalStorage)
    assert isinstance(locate("zip::/a/b.zip").storage, RemoteStorage)


@pytest.mark.parametrize("location", [3, b"mlruns", object])
def test_invalid_locations(location: Any) -> None:
    with pytest.raises(OptionError, match="tracking_dir: expected a path or URL, found"):
        iter_run_dirs(location)
    with pytest.raises(OptionError, match="expected a path or a URL, found"):
        locate(location)


@pytest.mark.parametrize(
    ("content", "error", "reason"),
    [(None, NotFoundError, "there is no"), (b"text", StorageError, "not a zip file")],
)
def test_bad_archive(
    tmp_path: Path, content: bytes | None, error: type[Exception], reason: str
) -> None:
    archive = tmp_path / "runs.zip"
    if content is not None:
        archive.write_bytes(content)
    with pytest.raises(error, match=f"{reason}"):
        list(iter_run_dirs(f"zip://mlruns::{archive}"))
    with pytest.raises(RunLoadError, match="1 of 1 runs could not be read"):
        Run.load([f"zip://mlruns/1/a::{archive}"])


@pytest.mark.parametrize("link", ["zip://", "zip://*", "zip"])
def test_root_of_an_archive(sweep: Path, tmp_path: Path, link: str) -> None:
    archive = shutil.make_archive(str(tmp_path / "runs"), "zip", sweep)
    assert len(Run.load(iter_run_dirs(f"{link}::{archive}"))) == 31


@pytest.mark.parametrize(
    "path",
    [
        "C:\\runs",
        "C:/runs",
        "C://runs",
        "c:runs",
        "\\\\server\\share",
        "\\\\?\\C:\\runs",
        "C:\\a::b",
    ],
)
def test_a_drive_of_windows_is_no_protocol(path: str) -> None:
    assert not is_url(path)
    assert isinstance(locate(path).storage, LocalStorage)
