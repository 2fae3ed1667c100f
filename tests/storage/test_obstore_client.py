from __future__ import annotations

import _thread
import asyncio
import json
import os
import subprocess
import sys
import threading
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from kedro_hydraflow.errors import OptionError
from kedro_hydraflow.storage import Entry
from kedro_hydraflow.storage.obstore_client import (
    ObstoreClient,
    check_options,
    choose_connect,
    connect,
    connect_unasked,
    wait_for_workers,
)

KEYS = {"key": "K", "secret": "S"}
NAMED = {"account_name": "n", "account_key": "k"}
THEIR_KEYS = {"access_key_id": "K", "secret_access_key": "S"}


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(("AWS_", "AZURE_")):
            monkeypatch.delenv(name)


class Obstore(ModuleType):
    """In place of obstore, which may not be installed."""

    def __init__(self) -> None:
        super().__init__("obstore")
        self.opened: list[tuple[str, str, dict[str, Any]]] = []
        """The class, bucket and options of each store."""
        self.objects: list[dict[str, Any]] = []
        self.store = ModuleType("obstore.store")
        for name in ("S3Store", "GCSStore", "AzureStore"):
            setattr(self.store, name, self._make_class(name))

    def _make_class(self, name: str) -> Any:
        def open_store(bucket: str, **options: Any) -> str:
            self.opened.append((name, bucket, options))
            return bucket

        return open_store

    async def list_with_delimiter_async(self, store: str, prefix: str | None) -> dict[str, Any]:
        return {"common_prefixes": [f"{prefix}/folder"], "objects": self.objects}


@pytest.fixture(autouse=True)
def obstore(monkeypatch: pytest.MonkeyPatch) -> Obstore:
    obstore = Obstore()
    monkeypatch.setitem(sys.modules, "obstore", obstore)
    monkeypatch.setitem(sys.modules, "obstore.store", obstore.store)
    return obstore


def make_client(protocol: str, options: dict[str, Any]) -> ObstoreClient:
    root: Any = SimpleNamespace(protocol=protocol, storage_options=options)
    return ObstoreClient(root)


def get_store_options(obstore: Obstore, client: ObstoreClient) -> dict[str, Any]:
    """Return the options of the obstore that a client opens for a request."""
    asyncio.run(client.list_dir("bucket/a"))
    ((_, bucket, options),) = obstore.opened
    assert bucket == "bucket"
    return options


def test_entries_of_a_folder(obstore: Obstore) -> None:
    file = {"path": "a/file", "size": 3, "e_tag": "1", "last_modified": "today"}
    marker = {"path": "a/", "size": 0, "e_tag": "2", "last_modified": "today"}
    obstore.objects = [marker, file]
    client = make_client("s3", {})
    folder, before = asyncio.run(client.list_dir("bucket/a"))
    assert folder == Entry("folder", is_dir=True)
    assert before[:2] == ("file", False)
    assert before.size == 3
    for changed in ({"size": 4}, {"e_tag": "3"}, {"last_modified": "tomorrow"}):
        obstore.objects = [{**file, **changed}]
        _, after = asyncio.run(client.list_dir("bucket/a"))
        assert after.validator not in (None, before.validator)
    asyncio.run(client.list_dir("another/a"))
    assert [(name, bucket) for name, bucket, _ in obstore.opened] == [
        ("S3Store", "bucket"),
        ("S3Store", "another"),
    ]


class InvalidPathError(Exception):
    """Raised by obstore where a folder has a key such as ``folder//name``."""


def refuse_to_list(obstore: Obstore, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(store: str, prefix: str | None) -> dict[str, Any]:
        raise InvalidPathError(f'Path "{prefix}//" contained empty path segment')

    monkeypatch.setattr(obstore, "list_with_delimiter_async", refuse)


def test_a_folder_that_obstore_refuses_is_listed_with_fsspec(
    obstore: Obstore, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Fsspec:
        def __init__(self, root: Any) -> None:
            opened.append(root.storage_options)

        async def list_dir(self, path: str) -> list[Entry]:
            return [Entry("", is_dir=True), Entry(path, is_dir=True)]

    opened: list[Any] = []
    monkeypatch.setattr("kedro_hydraflow.storage.obstore_client.FsspecClient", Fsspec)
    refuse_to_list(obstore, monkeypatch)
    client = make_client("s3", KEYS)
    for path in ("bucket/a", "bucket/b"):
        entries = asyncio.run(client.list_dir(path))
        assert [entry.name for entry in entries] == ["", path]
    assert opened == [KEYS]


def test_a_folder_that_obstore_refuses_is_an_error_without_fsspec(
    obstore: Obstore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    refuse_to_list(obstore, monkeypatch)
    with pytest.raises(OSError, match="because a key has a name that is empty") as raised:
        asyncio.run(make_client("s3", KEYS).list_dir("bucket/a"))
    assert 'Path "a//" contained empty path segment' in str(raised.value)
    assert "install the package for engine: fsspec" in str(raised.value)


def test_other_errors_of_a_listing_are_raised(
    obstore: Obstore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def deny(store: str, prefix: str | None) -> dict[str, Any]:
        raise PermissionError(store)

    monkeypatch.setattr(obstore, "list_with_delimiter_async", deny)
    with pytest.raises(PermissionError):
        asyncio.run(make_client("s3", KEYS).list_dir("bucket/a"))


@pytest.mark.parametrize(
    ("protocol", "options", "expected"),
    [
        ("s3", {**KEYS, "token": "T"}, {**THEIR_KEYS, "session_token": "T"}),
        ("s3", {"username": "K", "password": "S"}, THEIR_KEYS),
        ("s3a", {"anon": True}, {"skip_signature": True}),
        (
            "s3",
            {"client_kwargs": {"endpoint_url": "http://h:1/", "region_name": "r"}},
            {"endpoint": "http://h:1", "region": "r"},
        ),
        (
            "s3",
            {"config_kwargs": {"s3": {"addressing_style": "virtual"}, "retries": {}}},
            {"virtual_hosted_style_request": True},
        ),
        ("s3", {"use_listings_cache": False, "default_block_size": 5, "token": None}, {}),
        ("gs", {"token": "anon", "project": "p"}, {"skip_signature": True}),
        ("gcs", {"token": {"a": 1}}, {"service_account_key": json.dumps({"a": 1})}),
        ("gs", {"token": __file__}, {"application_credentials": __file__}),
    ],
)
def test_options_of_fsspec(
    obstore: Obstore, protocol: str, options: dict[str, Any], expected: dict[str, Any]
) -> None:
    before = json.dumps(options)
    client = make_client(protocol, options)
    assert get_store_options(obstore, client)["config"] == expected
    assert json.dumps(options) == before


KEY = {"access_key": "k=="}
SIGNATURE = {"sas_token": "sv=1&sig=a%3D"}
PUBLIC = "https://n.blob.core.windows.net"


@pytest.mark.parametrize(
    ("options", "variables", "endpoint", "login"),
    [
        ({"account_name": "n", "account_key": "k=="}, {}, PUBLIC, KEY),
        ({"account_name": "n", "sas_token": SIGNATURE["sas_token"]}, {}, PUBLIC, SIGNATURE),
        ({"account_name": "n", "account_key": "k==", "sas_token": "s"}, {}, PUBLIC, KEY),
        ({"account_name": "n", "account_key": "k==", "anon": True}, {}, PUBLIC, KEY),
        (
            {"account_name": "n", "account_key": "k==", "account_host": "n.blob.example"},
            {},
            "https://n.blob.example",
            KEY,
        ),
        ({}, {"ACCOUNT_NAME": "n", "ACCOUNT_KEY": "k=="}, PUBLIC, KEY),
        ({"account_name": "n", "sas_token": "s"}, {"ACCOUNT_KEY": "k=="}, PUBLIC, KEY),
        ({"connection_string": "AccountName=n;AccountKey=k==;"}, {}, PUBLIC, KEY),
        ({"connection_string": "accountname=n;ACCOUNTKEY=k=="}, {}, PUBLIC, KEY),
        (
            {"connection_string": "AccountName=n;AccountKey=k==;BlobEndpoint=http://h:1/n/"},
            {"ACCOUNT_NAME": "other", "ACCOUNT_KEY": "other"},
            "http://h:1/n",
            KEY,
        ),
        (
            {"account_name": "other", "account_key": "other"},
            {"CONNECTION_STRING": "AccountName=n;AccountKey=k=="},
            PUBLIC,
            KEY,
        ),
        (
            {
                "connection_string": "DefaultEndpointsProtocol=https;AccountName=n;AccountKey=k==;"
                "EndpointSuffix=core.chinacloudapi.cn"
            },
            {},
            "https://n.blob.core.chinacloudapi.cn",
            KEY,
        ),
        (
            {"connection_string": "DefaultEndpointsProtocol=http;AccountName=n;AccountKey=k=="},
            {},
            PUBLIC,  # as in Azure's SDK
            KEY,
        ),
        (
            {
                "connection_string": f"BlobEndpoint={PUBLIC}/;QueueEndpoint=https://n.queue/;"
                f"SharedAccessSignature={SIGNATURE['sas_token']}"
            },
            {},
            PUBLIC,
            SIGNATURE,
        ),
    ],
)
def test_keys_of_azure(
    obstore: Obstore,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    variables: dict[str, str],
    endpoint: str,
    login: dict[str, str],
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(f"AZURE_STORAGE_{name}", value)
    assert choose_connect("az", options) is connect
    opened = get_store_options(obstore, make_client("az", options))
    assert opened["config"] == {
        "account_name": "n",
        "endpoint": endpoint,
        "skip_signature": False,
        "use_emulator": False,
    }
    assert opened["client_options"]["allow_http"] is endpoint.startswith("http:")
    assert opened["credential_provider"]() == {**login, "expires_at": None}


def test_azure_without_credentials(obstore: Obstore) -> None:
    options = {"account_name": "n", "anon": True}
    assert choose_connect("abfss", options) is connect
    opened = get_store_options(obstore, make_client("abfss", options))
    assert opened["config"]["skip_signature"] is True
    assert "credential_provider" not in opened


SERVICE = {"client_id": "c", "client_secret": "s", "tenant_id": "t"}


def test_a_service_principal_of_azure_with_and_without_adlfs(
    obstore: Obstore, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"account_name": "n", **SERVICE}
    for is_installed in (True, False):
        add_module(monkeypatch, "adlfs", is_installed)
        assert choose_connect("az", options) is (connect_unasked if is_installed else connect)
    opened = get_store_options(obstore, make_client("az", options))
    assert opened["config"].items() >= SERVICE.items()


@pytest.mark.parametrize(
    ("protocol", "name"),
    [
        ("s3", "S3Store"),
        ("s3a", "S3Store"),
        ("gs", "GCSStore"),
        ("gcs", "GCSStore"),
        ("az", "AzureStore"),
        ("abfs", "AzureStore"),
        ("abfss", "AzureStore"),
    ],
)
def test_protocols(obstore: Obstore, protocol: str, name: str) -> None:
    asyncio.run(make_client(protocol, {}).list_dir("bucket/a"))
    assert obstore.opened[0][:2] == (name, "bucket")
    check_options(protocol, {})


def test_a_protocol_that_is_not_supported() -> None:
    assert choose_connect("sftp", {}) is None
    with pytest.raises(OptionError) as raised:
        check_options("sftp", {})
    assert str(raised.value) == (
        "engine: obstore supports the protocols abfs, abfss, az, gcs, gs, s3, s3a, found 'sftp'; "
        "leave out engine, or set engine: fsspec"
    )


def test_options_of_the_connection(obstore: Obstore, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(b"certificate")
    client = make_client(
        "s3",
        {
            "endpoint_url": "http://127.0.0.1:9",
            "config_kwargs": {"read_timeout": 3, "connect_timeout": 2, "max_pool_connections": 7},
            "client_kwargs": {"verify": str(tmp_path / "ca.pem")},
            "client_options": {"timeout": "9s"},
        },
    )
    assert client.concurrency == 7
    options = get_store_options(obstore, client)["client_options"]
    assert options["allow_http"] is True
    assert options["connect_timeout"] == "2s"
    assert options["read_timeout"] == "3s"
    assert options["root_certificate"] == b"certificate"
    assert options["timeout"] == "9s"


@pytest.mark.parametrize(
    ("protocol", "options", "message"),
    [
        (
            "s3",
            {"session": object(), **KEYS},
            "engine: obstore does not support the options session; leave them out, or set "
            "engine: fsspec",
        ),
        (
            "s3",
            {"client_kwargs": {"api_version": "x"}, "lock": 1},
            "engine: obstore does not support the options api_version, lock; leave them out, or "
            "set engine: fsspec",
        ),
        ("s3", {"use_ssl": False}, "use_ssl: with engine: obstore, False requires an endpoint_url"),
        (
            "gs",
            {"token": "browser"},
            "token: with engine: obstore, expected 'anon', the path of a JSON file or its "
            "content; for other tokens set engine: fsspec",
        ),
        (
            "az",
            {"credential": object()},
            "engine: obstore does not support the options credential; leave them out, or set "
            "engine: fsspec",
        ),
    ],
)
def test_options_that_are_not_supported(
    protocol: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(OptionError) as raised:
        check_options(protocol, options)
    assert str(raised.value) == message
    assert choose_connect(protocol, options) is None


@pytest.fixture(params=[False, True], ids=["alone", "with botocore"])
def has_botocore(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    add_module(monkeypatch, "botocore", request.param)
    return bool(request.param)


def add_module(monkeypatch: pytest.MonkeyPatch, name: str, is_installed: bool) -> None:
    """Let a package seem to be installed, or not."""
    module = ModuleType(name)
    module.__spec__ = ModuleSpec(name, None)
    monkeypatch.setitem(sys.modules, name, module if is_installed else None)


@pytest.mark.parametrize(
    ("protocol", "options", "expected"),
    [
        ("s3", {}, False),
        ("s3", {"profile": "p"}, False),
        ("s3", KEYS, False),  # the region is missing
        ("s3", {**KEYS, "endpoint_url": "http://h"}, True),
        ("s3", {"endpoint_url": "http://h"}, False),
        ("s3", {"endpoint_url": "http://h", "anon": True}, True),
        ("gs", {}, False),
        ("gs", {"token": "anon"}, True),
        ("az", {"account_name": "n"}, False),
        ("az", {"account_name": "n", "anon": False}, False),
        ("az", {"connection_string": "UseDevelopmentStorage=true", "anon": True}, False),
        ("az", {"account_name": "n", "account_key": "k"}, True),
    ],
)
def test_nothing_is_looked_for_when_the_options_are_complete(
    has_botocore: bool, protocol: str, options: dict[str, Any], expected: bool
) -> None:
    check_options(protocol, options)
    assert choose_connect(protocol, options) is (connect if expected else connect_unasked)


def test_a_profile_may_have_an_endpoint_where_the_options_have_none(has_botocore: bool) -> None:
    options = {**KEYS, "client_kwargs": {"region_name": "r"}}
    assert choose_connect("s3", options) is (connect_unasked if has_botocore else connect)


def test_the_environment_counts_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "botocore", None)
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    assert choose_connect("s3", KEYS) is connect
    monkeypatch.setenv("AWS_SESSION_TOKEN", "of other keys")
    assert choose_connect("s3", KEYS) is connect_unasked
    assert choose_connect("s3", {**KEYS, "token": "T"}) is connect


def test_without_obstore_nothing_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    assert choose_connect("gs", {"token": "anon"}) is None


FORK = """
import os
from kedro_hydraflow.storage import obstore_client

class Obstore:
    def __init__(self, *arguments):
        pass

class Fsspec(Obstore):
    pass

obstore_client.ObstoreClient, obstore_client.FsspecClient = Obstore, Fsspec

def connect_in_child():
    child = os.fork()
    if child == 0:
        os._exit({Obstore: 1, Fsspec: 2}[type(obstore_client.connect("root"))])
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

before = connect_in_child()
mine = [type(obstore_client.connect("root")) for _ in range(2)]
print(before, mine == [Obstore, Obstore], connect_in_child())
"""


FORK_OF_OTHERS = """
import os, sys, threading
from pathlib import Path
from kedro_hydraflow.storage import obstore_client

def connect_in_child():
    child = os.fork()
    if child == 0:
        try:
            client = obstore_client.connect("root")
        except ImportError as exc:
            print(exc, flush=True)
            os._exit(3)
        os._exit(1 if client == "obstore" else 2)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

def run_thread():  # as obstore does on first use
    Path(f"/proc/self/task/{threading.get_native_id()}/comm").write_text("tokio-rt-worker")
    named.set()
    end.wait()

def raise_error(root, hosts):
    raise ImportError("install s3fs")

obstore_client.ObstoreClient = lambda root: "obstore"
obstore_client.FsspecClient = lambda root, hosts: "fsspec"
named, end = threading.Event(), threading.Event()
threading.Thread(target=run_thread).start()
named.wait()
codes = [connect_in_child()]  # obstore is not imported, so it is another library's thread
sys.modules["obstore"] = sys
codes.append(connect_in_child())
obstore_client.FsspecClient = raise_error
codes.append(connect_in_child())
end.set()
print(codes, obstore_client.connect("root"))
"""


def run_fork(script: str) -> str:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-W", "ignore", "-c", script]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert result.stderr == ""
    return result.stdout


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_fsspec_is_used_after_a_fork() -> None:
    assert run_fork(FORK) == "1 True 2\n"


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="it names no threads")
def test_fsspec_is_used_if_others_had_used_obstore_before_the_fork() -> None:
    message, result = run_fork(FORK_OF_OTHERS).splitlines()
    assert result == "[1, 2, 3] obstore"
    assert message == (
        "install s3fs; obstore does not work in this process, which was forked from one that had "
        "used it: start processes with 'spawn' instead of 'fork': KEDRO_MP_CONTEXT=spawn for "
        "Kedro's ParallelRunner, multiprocessing.get_context('spawn') elsewhere, or install the "
        "package for fsspec"
    )


def test_a_thread_in_python_is_waited_for() -> None:
    """A thread that Python did not start, such as those of obstore, at the end of a process."""
    started, ended = threading.Event(), threading.Event()
    going_on = _thread.allocate_lock()
    going_on.acquire()

    def work() -> None:
        started.set()
        going_on.acquire(timeout=0.2)
        ended.set()

    _thread.start_new_thread(work, ())
    started.wait()
    wait_for_workers(seconds=0.01)
    assert not ended.is_set()
    wait_for_workers(seconds=60)
    assert ended.is_set()
