"""No credential is in what the package gives away, with the clients of all storages and servers.

See ``tests/test_leaks.py``. Here, the clients that only this environment has ask a server that
echoes, and real servers are asked with right and with wrong credentials.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Iterator
from urllib.parse import quote

import pytest

from tests.integration.places import NAMES, Place, Places, choose_sftp
from tests.leaks import Outputs, make_secret
from tests.test_leaks import (
    CALLS,
    ONE,
    STATUSES,
    THREE,
    TWO,
    URL,
    EchoServer,
    Way,
    use,
    with_login,
)
from tests.test_leaks import home as home  # and the other fixtures
from tests.test_leaks import outputs as outputs
from tests.test_leaks import planted as planted
from tests.test_leaks import server as server

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Unclosed:ResourceWarning"),
]

SIGNATURE = make_secret("signature")
KEY = base64.b64encode(make_secret("account").encode()).decode()


def make_s3(url: str, engine: str) -> Way:
    client = {"endpoint_url": url, "region_name": "us-east-1"}
    options = {"key": ONE, "secret": TWO, "token": THREE.replace(" ", "_"), "client_kwargs": client}
    return Way("s3://bucket/mlruns", {**options, "engine": engine})


def make_azure(url: str, engine: str) -> Way:
    text = f"AccountName=ours;AccountKey={KEY};BlobEndpoint={url}/ours"
    return Way("az://bucket/mlruns", {"connection_string": text, "engine": engine})


def make_signed_azure(url: str, engine: str) -> Way:
    signature = f"sv=2024-01-01&sig={quote(SIGNATURE, safe='')}"
    text = f"BlobEndpoint={url}/ours;SharedAccessSignature={signature}"
    return Way("az://bucket/mlruns", {"connection_string": text, "engine": engine})


def make_gcs(url: str, engine: str) -> Way:
    headers = {"Authorization": f"Bearer {ONE}", "X-Thing": TWO}
    return Way(
        "gs://bucket/mlruns",
        {
            "token": "anon",
            "endpoint_url": url,
            "session_kwargs": {"headers": headers},
            "engine": engine,
        },
    )


WAYS: dict[str, Callable[[str], Way]] = {
    "s3fs": lambda url: make_s3(url, "fsspec"),
    "S3 with obstore": lambda url: make_s3(url, "obstore"),
    "s3fs with its variables": lambda url: Way(
        "s3://bucket/mlruns", {"client_kwargs": {"endpoint_url": url}, "engine": "fsspec"}
    ),
    "s3fs with its file": lambda url: Way(
        "s3://bucket/mlruns", {"client_kwargs": {"endpoint_url": url}, "engine": "fsspec"}
    ),
    "adlfs": lambda url: make_azure(url, "fsspec"),
    "signed URLs with adlfs": lambda url: make_signed_azure(url, "fsspec"),
    "signed URLs with obstore": lambda url: make_signed_azure(url, "obstore"),
    "Azure with obstore": lambda url: make_azure(url, "obstore"),
    "gcsfs": lambda url: make_gcs(url, "fsspec"),
    "WebDAV": lambda url: Way(
        f"webdav+{url}/mlruns", {"auth": ("ann", ONE), "headers": {"X-Thing": TWO, "Cookie": "x"}}
    ),
    "WebDAV with a login in its URL": lambda url: Way(f"webdav+{with_login(url)}/mlruns"),
    "MLflow": lambda url: Way(with_login(url), {"key": ONE}, "tracking_uri"),
    "MLflow with its variables": lambda url: Way(url, {"key": ONE}, "tracking_uri"),
    "database": lambda url: Way(  # a driver would wait for a server that speaks HTTP
        f"postgresql://ann:{quote(URL, safe='')}@127.0.0.1:1/mlflow", {}, "tracking_uri"
    ),
}


SLOW = {
    "adlfs": (200, 403),
    "signed URLs with adlfs": (200, 403),
    "gcsfs": (200, 302, 403),
    "WebDAV": (200, 302, 403),
    "WebDAV with a login in its URL": (200, 302, 403),
}
"""The statuses that a client does not answer with long waits, where there are others."""


@pytest.fixture
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr("kedro_hydraflow.storage.bulk.WAIT", 0)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("call", CALLS)
def test_nothing_shows_a_secret(
    call: str,
    way: str,
    outputs: Outputs,
    server: EchoServer,
    impatience: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ours")
    if way == "s3fs with its file":
        forget_variables(monkeypatch, "AWS_")
    forget_variables(monkeypatch, "AZURE_")  # with which options would be in conflict
    if way == "adlfs":  # Azure's client fails where there is both a key and a default of netrc
        monkeypatch.setenv("NETRC", os.devnull)
    if not CALLS[call].takes_uri and WAYS[way]("http://h").option == "tracking_uri":
        return
    server.heard = ""
    for status in SLOW.get(way, STATUSES[1:]):
        server.status, server.echoes = status, True
        use(CALLS[call], WAYS[way](server.url), outputs)
    if way != "database":  # which speaks no HTTP
        assert server.heard


def forget_variables(monkeypatch: pytest.MonkeyPatch, *prefixes: str) -> None:
    for name in [*os.environ]:
        if name.startswith(prefixes):
            monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Places]:
    with Places(tmp_path_factory.mktemp("places")) as places:
        yield places


@pytest.fixture(scope="module", params=NAMES)
def place(request: pytest.FixtureRequest, places: Places) -> Place:
    place = places.get(request.param)
    assert place.sweep_url  # it is put there before there are other credentials
    return place


@pytest.mark.parametrize("call", CALLS)
def test_real_servers(
    call: str, place: Place, outputs: Outputs, impatience: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget_variables(monkeypatch, "AWS_", "AZURE_", "GOOGLE_")
    monkeypatch.setenv("NETRC", os.devnull)
    choose_sftp(place.name)
    outputs.watch(place.secrets)
    for options in (place.options, place.wrong_options):
        if options is None:
            continue
        attempts = 3 if options is place.options else 1
        monkeypatch.setattr("kedro_hydraflow.storage.bulk.MAX_ATTEMPTS", attempts)
        for location in (place.sweep_url, f"{place.sweep_url}/no such folder"):
            used = use(CALLS[call], Way(location, options), outputs)
            if options is place.options and location == place.sweep_url:
                assert used is not None or place.name == "http-no-listing"
