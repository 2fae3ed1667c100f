from __future__ import annotations

import base64
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from upath import UPath

from kedro_hydraflow import Run, iter_run_dirs
from kedro_hydraflow.errors import MissingPackageError, OptionError, StorageError
from kedro_hydraflow.redaction import redact_url
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
    assert f"reading {redact_url(url)!r} needs" in str(raised.value)
    assert "SECRET" not in str(raised.value)
    assert isinstance(raised.value, ImportError)


def test_webdav_without_the_protocol_below_it() -> None:
    with pytest.raises(OptionError, match=r"'webdav://host/b': expected webdav\+https://HOST/PATH"):
        locate("webdav://host/b")


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


@pytest.mark.parametrize(
    ("url", "options", "moved", "login"),
    [
        ("http://ann:a%2Fb@host/x@y", {}, "http://host/x@y", "ann:a/b"),
        ("https://t0ken@host:81/x", {"timeout": 3}, "https://host:81/x", "t0ken:"),
        ("https://ann:a@b@host/x", {}, "https://host/x", "ann:a@b"),
        ("https://ann:\u4e16@host/x", {}, "https://host/x", "ann:\u4e16"),
        ("zip://a::https://ann:b@host/x.zip", {}, "zip://a::https://host/x.zip", "ann:b"),
    ],
)
def test_a_login_in_a_web_url_becomes_an_option(
    url: str, options: dict[str, Any], moved: str, login: str
) -> None:
    root = make_root(url, options)
    assert str(root) == moved
    of_web = root.storage_options.get("target_options", root.storage_options)
    sent = of_web["client_kwargs"]["headers"]["Authorization"]
    data = base64.b64decode(sent.removeprefix("Basic "))
    assert login in (data.decode("latin-1"), data.decode("utf-8", "replace"))
    again = make_root(UPath(url, **options), {})
    assert (str(again), again.storage_options) == (moved, root.storage_options)
    assert make_root(root, {}) is root


@pytest.mark.parametrize(
    "options",
    [
        {"headers": {"authorization": "mine"}},
        {"client_kwargs": {"headers": {"Authorization": "mine"}}},
        {"client_kwargs": {"auth": "mine"}},
    ],
)
def test_a_login_in_the_options_counts_before_that_in_a_url(options: dict[str, Any]) -> None:
    root = make_root("http://ann:b@host/x", options)
    assert (str(root), root.storage_options) == ("http://host/x", options)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("s3://key:SECRET@bucket/x", "'s3://bucket/x': expected a bucket, found a login before it"),
        ("gs://SECRET@bucket/x", "expected a bucket, found a login before it; give it as"),
        ("https://host/x?sig=SECRET", "'https://host/x': expected the URL of a directory, found a"),
        ("http://host/x#SECRET", "found a query or fragment after it"),
        ("reference::https://a:SECRET@host/x.json", "'reference' is not supported, because its"),
        ("simplecache::https://a:SECRET@host/x", "leave out the cache, for artifacts are cached"),
        ("zip://x::filecache::s3://bucket/x.zip", "leave out the cache"),
    ],
)
def test_urls_that_are_not_taken(url: str, message: str) -> None:
    with pytest.raises(OptionError) as raised:
        locate(url)
    assert message in str(raised.value)
    assert "SECRET" not in str(raised.value)


def test_allowed_hosts_are_a_part_of_the_storage() -> None:
    options = {"allowed_hosts": ["https://a.example", "https://b.example"]}
    place = locate("memory://x", options)
    assert place.storage.key == locate("memory://x", {**options}).storage.key
    assert place.storage.key != locate("memory://x").storage.key
    assert pickle.loads(pickle.dumps(place.storage)).key == place.storage.key
    assert not hasattr(place.to_path(), "allowed_hosts")
    assert place.to_path().storage_options == {}  # type: ignore[union-attr]
