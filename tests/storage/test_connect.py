from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from upath import UPath

from kedro_hydraflow import Run, iter_run_dirs
from kedro_hydraflow.errors import MissingPackageError, OptionError, StorageError
from kedro_hydraflow.storage import locate
from kedro_hydraflow.storage.connect import make_root
from tests.conftest import TrackingDir, WebServer


def test_unknown_protocol() -> None:
    with pytest.raises(StorageError) as raised:
        list(iter_run_dirs("s4://user:SECRET@bucket/mlruns?token=SECRET"))
    assert str(raised.value) == (
        "cannot open 's4://bucket/mlruns': ValueError: Unsupported filesystem: 's4'"
    )


@pytest.mark.parametrize(
    ("url", "package", "extra"),
    [
        ("s3://bucket/mlruns", "s3fs", "s3"),
        ("gs://bucket/mlruns", "gcsfs", "gcs"),
        ("az://container/mlruns", "adlfs", "azure"),
        ("sftp://user:SECRET@host/mlruns", "sshfs", "sftp"),
        ("webdav+https://user:SECRET@host/mlruns", "webdav4", "webdav"),
        ("http://user:SECRET@host/mlruns", "aiohttp", "http"),
        ("zip://mlruns::s3://bucket/a.zip", "s3fs", "s3"),
    ],
)
@pytest.mark.parametrize(
    "use",
    [
        lambda url: list(iter_run_dirs(url)),
        lambda url: Run.load([url]),
        lambda url: Run.load(url).cfg,
        lambda url: Run(url).info.job_name,
    ],
    ids=["iter_run_dirs", "load", "cfg", "info"],
)
def test_missing_package_names_the_extra(
    url: str, package: str, extra: str, use: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    protocol = url.rpartition("::")[2].partition("://")[0].partition("+")[0]
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, protocol, raising=False)
    for name in (package, "paramiko", f"fsspec.implementations.{protocol}"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingPackageError) as raised:
        use(url)
    assert f"pip install 'kedro-hydraflow[{extra}]'" in str(raised.value)
    assert "SECRET" not in str(raised.value)
    assert isinstance(raised.value, ImportError)


def test_two_hosts_share_a_filesystem_and_no_storage(
    tracking_dir: TrackingDir, serve: Callable[[Path], WebServer]
) -> None:
    tracking_dir.add_run(tracking_dir.add_experiment("train"), "a", "x: 1\n")
    urls = [f"{serve(tracking_dir.root).url}/1/a" for _ in range(2)]
    runs = Run.load(urls)
    assert runs.to_list("x") == [1, 1]
    assert [str(run.info.run_dir) for run in runs] == urls


def test_an_engine_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(MissingPackageError) as raised:
        locate("memory://bucket", {"engine": "obstore"})
    assert str(raised.value).startswith("engine: obstore is not installed (")
    assert str(raised.value).endswith(": pip install 'kedro-hydraflow[obstore]'")


def test_an_unknown_engine() -> None:
    with pytest.raises(OptionError, match=r"engine: expected .*, found 'boto'"):
        locate("memory://bucket", {"engine": "boto"})


def test_a_upath_keeps_its_options() -> None:
    path = UPath("memory://bucket/runs", asynchronous=False)
    assert make_root(path, {}) is path
    assert make_root(path, {"asynchronous": False}) is path
    other = make_root(path, {"batch_size": 3})
    assert other.path == path.path
    assert other.storage_options["batch_size"] == 3


def test_options_are_not_changed() -> None:
    options = {"engine": "fsspec", "batch_size": 3}
    locate("memory://bucket", options)
    assert options == {"engine": "fsspec", "batch_size": 3}
