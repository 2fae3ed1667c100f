from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kedro_hydraflow.errors import OptionError
from kedro_hydraflow.storage.obstore_client import _translate

KEYS = {"key": "K", "secret": "S"}
NAMED = {"account_name": "n", "account_key": "k"}
THEIR_KEYS = {"access_key_id": "K", "secret_access_key": "S"}


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_REGION", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)


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
        (
            "az",
            {"account_name": "n", "account_key": "k"},
            {"account_name": "n", "account_key": "k"},
        ),
        ("abfs", {"sas_token": "t"}, {"sas_key": "t"}),
        (
            "az",
            {"connection_string": "AccountName=n;AccountKey=a==;BlobEndpoint=http://h:1/n;"},
            {"account_name": "n", "account_key": "a==", "endpoint": "http://h:1/n"},
        ),
        ("az", {"account_host": "h"}, {"endpoint": "https://h"}),
    ],
)
def test_options_of_fsspec(
    protocol: str, options: dict[str, Any], expected: dict[str, Any]
) -> None:
    before = json.dumps(options)
    assert _translate(protocol, options).config == expected
    assert json.dumps(options) == before


def test_options_of_the_connection(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(b"certificate")
    options = _translate(
        "s3",
        {
            "endpoint_url": "http://127.0.0.1:9",
            "config_kwargs": {"read_timeout": 3, "connect_timeout": 2, "max_pool_connections": 7},
            "client_kwargs": {"verify": str(tmp_path / "ca.pem")},
            "client_options": {"timeout": "9s"},
        },
    )
    assert options.concurrency == 7
    assert options.client["allow_http"] is True
    assert options.client["connect_timeout"] == "2s"
    assert options.client["read_timeout"] == "3s"
    assert options.client["root_certificate"] == b"certificate"
    assert options.client["timeout"] == "9s"


@pytest.mark.parametrize(
    ("protocol", "options", "complaint"),
    [
        ("s3", {"session": object(), **KEYS}, "no counterpart of the options session; leave"),
        ("s3", {"client_kwargs": {"api_version": "x"}}, "options api_version"),
        ("s3", {"use_ssl": False}, "needs an endpoint_url"),
        ("gs", {"token": "browser"}, "expected 'anon', a path to a JSON file or its content"),
        ("az", {"credential": object()}, "options credential"),
    ],
)
def test_what_has_no_counterpart_is_refused(
    protocol: str, options: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(OptionError, match=complaint):
        _translate(protocol, options)


@pytest.mark.parametrize(
    ("protocol", "options", "expected"),
    [
        ("s3", {}, False),
        ("s3", KEYS, False),  # in which region?
        ("s3", {**KEYS, "client_kwargs": {"region_name": "r"}}, True),
        ("s3", {**KEYS, "endpoint_url": "http://h"}, True),
        ("s3", {"endpoint_url": "http://h"}, False),
        ("s3", {"endpoint_url": "http://h", "anon": True}, True),
        ("gs", {}, False),
        ("gs", {"token": "anon"}, True),
        ("az", {"account_name": "n"}, False),
        ("az", {"account_name": "n", "account_key": "k"}, True),
    ],
)
def test_options_that_say_all(protocol: str, options: dict[str, Any], expected: bool) -> None:
    assert _translate(protocol, options).is_complete is expected


def test_the_environment_completes_options_or_spoils_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    assert _translate("s3", KEYS).is_complete
    monkeypatch.setenv("AWS_SESSION_TOKEN", "of other keys")
    assert not _translate("s3", KEYS).is_complete
    assert _translate("s3", {**KEYS, "token": "T"}).is_complete


FORK = """
import os
from kedro_hydraflow.storage import obstore_client

class Obstore:
    def __init__(self, root):
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


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_only_a_process_forked_from_one_that_used_obstore_does_without_it() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-W", "ignore", "-c", FORK]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert (result.stdout, result.stderr) == ("1 True 2\n", "")
