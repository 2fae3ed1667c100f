from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from upath import UPath

from kedro_hydraflow import Run, iter_run_dirs
from kedro_hydraflow.errors import KedroHydraflowError, OptionError, RunLoadError, StorageError
from kedro_hydraflow.storage import Entry, locate
from kedro_hydraflow.storage.remote import Client, RemoteStorage
from tests.conftest import TrackingDir, WebServer, write

# Transient failures ------------------------------------------------------------------------


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
def test_permanent_failures_are_not_retried(
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
    assert len(server.requests) == len(set(server.requests))


def test_unreachable_server_is_an_error(
    tmp_path: Path, serve: Callable[[Path], WebServer], no_waiting: None
) -> None:
    server = serve(tmp_path)
    server.close()
    with pytest.raises(StorageError, match=r"cannot list the directory 'http://127.0.0.1"):
        list(iter_run_dirs(server.url))
    with pytest.raises(RunLoadError, match="1 of 1 runs could not be read"):
        Run.load([f"{server.url}/1/a"])


# Credentials -------------------------------------------------------------------------------


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


class ResponseError(Exception):
    """As aiohttp's, whose repr shows the request, and whose text the server decides."""

    status = 400

    def __repr__(self) -> str:
        return f"ResponseError(headers={{'Authorization': 'Basic {LOGIN}'}})"


LOGIN = base64.b64encode(b"user:SECRET-1").decode()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("text", ["a" * 500_000, LOGIN * 10_000, "x" * 950 + f" '{LOGIN}' " * 99])
def test_what_a_server_answers_is_cut_and_redacted(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    from fsspec.implementations.memory import MemoryFileSystem

    def refuse(self: object, path: str, **kwargs: Any) -> Any:
        raise ResponseError(text)

    monkeypatch.setattr(MemoryFileSystem, "ls", refuse)
    options = {"client_kwargs": {"auth": ("user", "SECRET-1")}}
    with pytest.raises(StorageError) as listing:
        list(iter_run_dirs("memory://bucket/x", storage_options=options))
    shown = str(listing.value)
    assert "ResponseError" in shown
    assert len(shown) < 2_000
    assert LOGIN[:6] not in shown
    assert listing.value.__cause__ is None


def test_every_error_is_one_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a client raises: a denial by its status or class, other errors with their type."""
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
            f"({type(error).__name__}: no); check `credentials` or `storage_options`"
        )
        assert raised.value.__cause__ is error


def test_a_path_below_another_root() -> None:
    storage = locate("http://127.0.0.1:1/a").storage
    with pytest.raises(OptionError, match="is not below"):
        storage.to_path("http://127.0.0.1:2/a")


# Names -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "options", "shown"),
    [
        ("memory://bucket/a b", {}, "memory://bucket/a b"),
        ("ftp://me:SECRET@host/runs", {}, "ftp://host/runs"),
        ("ftp://host:2121/runs", {"username": "me", "password": "SECRET"}, "ftp://host:2121/runs"),
        ("http://me:SECRET@host/runs", {}, "http://host/runs"),
        ("zip://runs::/tmp/a.zip", {}, "zip://runs::/tmp/a.zip"),
        ("zip://r::http://me:SECRET@host/a.zip?sig=SECRET", {}, "zip://r::http://host/a.zip"),
    ],
)
def test_urls_show_the_host_and_no_credentials(
    url: str, options: dict[str, Any], shown: str
) -> None:
    place = locate(url, options)
    assert place.url == shown
    identity = place.storage.get_identity(place.path)
    assert "SECRET" not in identity
    assert identity.startswith(shown)


def test_identities_tell_servers_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    def identify(**options: Any) -> str:
        place = locate("memory://bucket/runs", options)
        return place.storage.get_identity(place.path)

    identities = {
        identify(),
        identify(endpoint_url="http://one"),
        identify(client_kwargs={"endpoint_url": "http://two"}),
        identify(connection_string="AccountName=me;AccountKey=SECRET"),
    }
    assert identify(secret="SECRET") == identify()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://three")
    identities.add(identify())
    text = "AccountName=us;AccountKey=SECRET;EndpointSuffix=core.chinacloudapi.cn"
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", text)
    identities.add(identify())
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", text.replace("china", "gov"))
    identities.add(identify())
    assert len(identities) == 7
    assert "SECRET" not in " ".join(identities)


def test_names_in_folders() -> None:
    storage = locate("memory://bucket/runs").storage
    assert storage.join("bucket/runs", "1", "a") == "bucket/runs/1/a"
    assert storage.join("bucket/", "1") == "bucket/1"
    assert storage.join("", "bucket") == "bucket"
    assert storage.split("/bucket/runs/") == ("/bucket", "runs")


def test_which_storages_need_a_network() -> None:
    def describe(url: str) -> tuple[bool, bool, bool]:
        storage = locate(url).storage
        return storage.is_remote, storage.is_process_local, storage.has_validators

    assert describe("memory://bucket") == (False, True, False)
    assert describe("zip://runs::/tmp/a.zip") == (False, False, False)
    assert describe("http://host/runs") == (True, False, False)
    assert describe("zip://runs::http://host/a.zip") == (True, False, False)


# Names that no path can have ----------------------------------------------------------------


class OddNames(Client):
    """Lists what an object store may have: keys with empty names and dots."""

    concurrency = 1

    async def list_dir(self, path: str) -> list[Entry]:
        names = ["b", "", "..", "a", "."] if path == "odd" else ["c"]
        return [Entry(name, is_dir=True) for name in names]

    async def read(self, path: str, limit: int) -> bytes:
        raise FileNotFoundError(path)

    async def fetch(self, path: str, target: str) -> None:
        raise FileNotFoundError(path)


def test_names_that_no_path_can_have_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    storage = RemoteStorage(UPath("memory://odd"), lambda _: OddNames())
    odd, even = storage.list_many(["odd", "even"])
    assert [[entry.name for entry in entries] for entries in (odd, even)] == [["a", "b"], ["c"]]
    assert caplog.messages == [
        "skipped the keys below memory://odd//, memory://odd/./, memory://odd/../: a name in a key "
        "may not be empty, '.' or '..'"
    ]


@pytest.mark.parametrize("names", [["only.txt"], ["a", "b.txt", "c d"]])
def test_directory_of_files_alone_is_listed(
    tmp_path: Path, serve: Callable[[Path], WebServer], names: list[str]
) -> None:
    for name in names:
        write(tmp_path / "mlruns/files" / name, "1")
    server = serve(tmp_path)
    for url in ("mlruns/files", "mlruns/files/", "mlruns//files"):
        entries = locate(f"{server.url}/{url}").list()
        assert [entry[:2] for entry in entries] == [(name, False) for name in names]
