from __future__ import annotations

import os
import pickle
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest
from upath import UPath

from kedro_hydraflow import Run, iter_run_dirs
from kedro_hydraflow.errors import (
    KedroHydraflowError,
    MissingPackageError,
    NotFoundError,
    OptionError,
    RunLoadError,
    StorageError,
)
from kedro_hydraflow.storage import (
    Entry,
    LocalStorage,
    locate,
)
from kedro_hydraflow.storage.foreign_errors import is_transient
from kedro_hydraflow.storage.remote import RemoteStorage
from tests.conftest import TrackingDir, WebServer, write

ODD_NAMES = ["100%25 done", "two words", "a::b", "[x]", "é日本", "#1?", "it's", "a+b=c&d", "a;b"]


# Locations -----------------------------------------------------------------------------


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
    tracking_dir.add_run(tracking_dir.add_experiment("train"), name, "lr: 1", {name: "1 0.5 1\n"})
    fsspec.filesystem("memory").put(str(tracking_dir.root), f"/{tmp_path.name}", recursive=True)
    (run,) = Run.load(iter_run_dirs(f"memory://{tmp_path.name}"))
    assert (run.info.run_id, run.get("lr"), run.metrics) == (name, 1, {name: 0.5})
    again = pickle.loads(pickle.dumps(run))
    assert (again.info.run_id, again.info.job_name) == (name, "train")
    if "::" not in name:  # UPath takes such a name for a chained URL
        assert again.path(".hydra/config.yaml").read_text() == "lr: 1"


def test_relative_name_with_two_colons_is_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    TrackingDir(tmp_path / "a::b").add_experiment("train")
    assert isinstance(locate("a::b").storage, LocalStorage)
    assert isinstance(locate("zip::/a/b.zip").storage, RemoteStorage)


@pytest.mark.parametrize("location", [None, 3, b"mlruns", object])
def test_what_is_no_location_is_refused(location: Any) -> None:
    with pytest.raises(OptionError, match="expected a path or a URL, found"):
        list(iter_run_dirs(location))


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


# Listing and reading -------------------------------------------------------------------


@pytest.fixture(params=["local", "memory", "zip"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A folder with files and folders, on each kind of storage."""
    folder = tmp_path / "place"
    for name in ("b/x/y", "b.txt", "a/z"):
        write(folder / name, name)
    if request.param == "memory":
        fsspec.filesystem("memory").put(str(folder), f"/{tmp_path.name}/place", recursive=True)
        return f"memory://{tmp_path.name}/place"
    if request.param == "zip":
        with zipfile.ZipFile(tmp_path / "place.zip", "w") as archive:
            for name in ("b/x/y", "b.txt", "a/z"):
                archive.writestr(f"place/{name}", name)
        return f"zip://place::{tmp_path / 'place.zip'}"
    return str(folder)


def test_storage_contract(place: str) -> None:
    found = locate(place)
    storage, path = found.storage, found.path
    assert [entry[:2] for entry in storage.list_dir(path)] == [
        ("a", True),
        ("b", True),
        ("b.txt", False),
    ]
    for absent in ("nowhere", "b.txt", "b.txt/x"):
        with pytest.raises(NotFoundError):
            storage.list_dir(storage.join(path, absent))
        assert not storage.is_dir(storage.join(path, absent))
    assert storage.is_dir(path)
    listings = storage.list_many([storage.join(path, name) for name in ("a", "c", "b")])
    assert [[e[:2] for e in entries] for entries in listings[::2]] == [
        [("z", False)],
        [("x", True)],
    ]
    assert isinstance(listings[1], NotFoundError)

    inner = storage.join(path, "b", "x", "y")
    contents = storage.read_many([inner, storage.join(path, "c"), storage.join(path, "b.txt", "c")])
    assert contents == [b"b/x/y", None, None]
    assert storage.read(inner) == b"b/x/y"
    assert storage.split(inner) == (storage.join(path, "b", "x"), "y")
    assert storage.to_path(inner).read_bytes() == b"b/x/y"
    assert storage.to_path(path) == UPath(place)
    parent = storage.split(path)[0]
    assert storage.to_path(parent) == UPath(place).parent
    assert storage.url(storage.join(parent, "other")) == str(UPath(place).parent / "other")

    again = pickle.loads(pickle.dumps(storage))
    assert again.read(inner) == b"b/x/y"
    assert locate(storage.to_path(inner)).storage.key == storage.key


def test_local_listing_that_fails_is_no_empty_one(tmp_path: Path) -> None:
    storage = LocalStorage()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "link").symlink_to(tmp_path / "unmounted")
    for name in ("loop", "link", "link/a", "x" * 300, "\0"):
        with pytest.raises(StorageError, match="cannot list the directory") as raised:
            storage.list_dir(f"{tmp_path}/{name}")
        assert not isinstance(raised.value, NotFoundError)
    assert [entry for entry in storage.list_dir(str(tmp_path)) if entry.is_broken] == [
        Entry("link", is_dir=False, is_broken=True),
        Entry("loop", is_dir=False, is_broken=True),
    ]
    with pytest.raises(StorageError, match="cannot look at"):
        storage.is_dir(f"{tmp_path}/loop")


# Transient failures --------------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_transient_failures_are_retried(
    tracking_dir: TrackingDir, serve: Callable[[Path], WebServer], status: int, no_waiting: None
) -> None:
    experiment = tracking_dir.add_experiment("train")
    for name in "abc":
        tracking_dir.add_run(experiment, name, f"name: {name}")
    server = serve(tracking_dir.root)
    server.answers = {
        "/1": [status],
        "/a/meta.yaml": [status] * 2,
        "/b/artifacts/.hydra/config.yaml": [status] * 3,
    }
    runs = Run.load(iter_run_dirs(server.url))
    assert runs.to_list("name") == ["a", "b", "c"]
    assert server.requests.count("/1/b/artifacts/.hydra/config.yaml") == 4
    assert server.requests.count("/1/c/artifacts/.hydra/config.yaml") == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_refusals_are_not_retried(
    tracking_dir: TrackingDir, serve: Callable[[Path], WebServer], status: int
) -> None:
    tracking_dir.add_run(tracking_dir.add_experiment("train"), "a")
    server = serve(tracking_dir.root)
    server.answers["config.yaml"] = [status] * 9
    if status == 404:
        assert Run(f"{server.url}/1/a").cfg == {}
    else:
        with pytest.raises(StorageError, match=f"{status}"):
            _ = Run(f"{server.url}/1/a").cfg
    assert len(server.requests) == 1


def test_unreachable_server_is_an_error(
    tmp_path: Path, serve: Callable[[Path], WebServer], no_waiting: None
) -> None:
    server = serve(tmp_path)
    server.close()
    with pytest.raises(StorageError, match=r"cannot list the directory 'http://127.0.0.1"):
        list(iter_run_dirs(server.url))
    with pytest.raises(RunLoadError, match="1 of 1 runs could not be read"):
        Run.load([f"{server.url}/1/a"])


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ConnectionResetError(), True),
        (TimeoutError(), True),
        (FileNotFoundError(), False),
        (PermissionError(), False),
        (OSError(5, "Access Denied"), False),
        (ValueError(), False),
    ],
)
def test_transient_errors(error: object, expected: bool) -> None:
    assert is_transient(error) is expected


# Credentials ---------------------------------------------------------------------------


@pytest.mark.parametrize("n_jobs", [0, 2])
def test_no_credentials_anywhere(
    tracking_dir: TrackingDir,
    serve: Callable[[Path], WebServer],
    caplog: pytest.LogCaptureFixture,
    n_jobs: int,
) -> None:
    experiment = tracking_dir.add_experiment("train")
    for name in "abc":
        tracking_dir.add_run(experiment, name, "lr: [" if name == "a" else "lr: 1")
    server = serve(tracking_dir.root)
    server.answers["/b/artifacts/.hydra/config.yaml"] = [403] * 9
    server.answers["/c/metrics"] = [403] * 9
    root = server.url
    options = {"headers": {"Authorization": "Bearer SECRET"}}
    run_dirs = [f"{root}/1/{name}" for name in "abc"]

    with pytest.raises(RunLoadError) as raised:
        Run.load(run_dirs, storage_options=options, n_jobs=n_jobs)
    assert "access denied" in str(raised.value)
    runs = Run.load(run_dirs, storage_options=options, n_jobs=n_jobs, on_error="warn")
    with pytest.raises(StorageError) as denied:
        _ = runs[0].metrics
    texts = [str(runs), repr(runs), repr(runs[0]), str(runs[0].info), repr(runs[0].info)]
    for error in (raised.value, denied.value, *(f.error for f in raised.value.failures)):
        chain: BaseException | None = error
        while chain is not None:
            texts += [str(chain), repr(chain)]
            chain = chain.__cause__ if chain.__suppress_context__ else chain.__context__
    assert len(caplog.messages) == 3
    assert "SECRET" not in "\n".join([*texts, *caplog.messages])


def test_no_storage_options_in_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    from fsspec.implementations.memory import MemoryFileSystem

    def refuse(self: object, path: str, **kwargs: Any) -> Any:
        raise OSError("400: bad key SECRET-1 for SECRET-3")

    monkeypatch.setattr(MemoryFileSystem, "ls", refuse)
    monkeypatch.setattr(MemoryFileSystem, "cat_file", refuse)
    options = {"secret": "SECRET-1", "client_kwargs": {"aws_session_token": "SECRET-3"}}
    with pytest.raises(StorageError) as listing:
        list(iter_run_dirs("memory://bucket/x", storage_options=options))
    with pytest.raises(RunLoadError) as loading:
        Run.load(["memory://bucket/x"], storage_options=options)
    assert str(listing.value) == (
        "cannot list the directory 'memory://bucket/x': OSError: 400: bad key *** for ***"
    )
    assert "SECRET" not in str(loading.value)


def test_every_error_is_one_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients raise whatever they like: `PermissionError` is denied, the rest says its type."""
    from fsspec.implementations.memory import MemoryFileSystem

    class HttpResponseError(Exception):
        status_code = 403

    for error in (PermissionError("no"), HttpResponseError("no")):

        def refuse(self: object, path: str, error: Exception = error, **kwargs: Any) -> Any:
            raise error

        monkeypatch.setattr(MemoryFileSystem, "ls", refuse)
        with pytest.raises(KedroHydraflowError) as raised:
            list(iter_run_dirs("memory://bucket/mlruns"))
        assert str(raised.value) == (
            "cannot list the directory 'memory://bucket/mlruns': access denied "
            f"({type(error).__name__}: no); check `credentials`"
        )
        assert raised.value.__cause__ is error


def test_two_hosts_share_a_filesystem_and_no_storage(
    tracking_dir: TrackingDir, serve: Callable[[Path], WebServer]
) -> None:
    tracking_dir.add_run(tracking_dir.add_experiment("train"), "a", "x: 1\n")
    urls = [f"{serve(tracking_dir.root).url}/1/a" for _ in range(2)]
    runs = Run.load(urls)
    assert runs.to_list("x") == [1, 1]
    assert [str(run.info.run_dir) for run in runs] == urls


def test_a_path_below_another_root_is_refused() -> None:
    storage = locate("http://127.0.0.1:1/a").storage
    with pytest.raises(OptionError, match="does not lie below"):
        storage.to_path("http://127.0.0.1:2/a")
