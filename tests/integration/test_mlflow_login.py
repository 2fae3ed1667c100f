"""How requests for artifacts log in, with MLflow itself; the server takes everything."""

from __future__ import annotations

import base64
import hashlib
import pickle
import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mlflow", reason="MLflow is not installed")
pytest.importorskip("aiohttp", reason="aiohttp is not installed")

from requests.auth import HTTPDigestAuth

from kedro_hydraflow.errors import ForeignHostError, StorageError
from kedro_hydraflow.storage import Storage, locate
from kedro_hydraflow.storage.mlflow_artifacts import make_artifacts_root
from kedro_hydraflow.storage.mlflow_login import MlflowLogin
from tests.conftest import ArtifactsServer

pytestmark = pytest.mark.integration

VARIABLES = (
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
    "MLFLOW_TRACKING_AUTH",
    "MLFLOW_TRACKING_AWS_SIGV4",
    "MLFLOW_TRACKING_INSECURE_TLS",
    "MLFLOW_TRACKING_SERVER_CERT_PATH",
    "MLFLOW_TRACKING_CLIENT_CERT_PATH",
    "MLFLOW_WORKSPACE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
)


@pytest.fixture(autouse=True)
def no_login(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[Callable[[], ArtifactsServer]]:
    (tmp_path / "server" / "1" / "a b").mkdir(parents=True)
    (tmp_path / "server" / "1" / "50% of a #1?.txt").write_bytes(b"odd")
    servers: list[ArtifactsServer] = []

    def start() -> ArtifactsServer:
        servers.append(ArtifactsServer(tmp_path / "server"))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def server(start_server: Callable[[], ArtifactsServer]) -> ArtifactsServer:
    return start_server()


def make_storage(server: ArtifactsServer, **login: Any) -> Storage:
    return locate(make_artifacts_root(server.url, **login)).storage


def get_login(server: ArtifactsServer) -> str:
    sent = server.headers[-1]["Authorization"] or ""
    kind, _, text = sent.partition(" ")
    return f"{kind} {base64.b64decode(text).decode()}" if kind == "Basic" else sent


def test_logs_in_as_mlflow_does(server, monkeypatch, tmp_path):
    storage = make_storage(server)
    storage.list_dir("1")
    assert get_login(server) == ""

    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "secret-token")
    storage.list_dir("1")
    assert get_login(server) == "Bearer secret-token"

    (tmp_path / ".mlflow").mkdir()
    (tmp_path / ".mlflow" / "credentials").write_text(
        "[mlflow]\nmlflow_tracking_username = filed\nmlflow_tracking_password = 5%%\n"
    )
    storage.list_dir("1")
    assert get_login(server) == "Basic filed:5%"

    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ann")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "pässword")
    storage.list_dir("1")
    assert get_login(server) == "Basic ann:pässword"


def test_an_explicit_login_counts_before_others(server, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ann")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "password")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "secret-token")
    monkeypatch.setenv("MLFLOW_TRACKING_AUTH", "absent")
    monkeypatch.setenv("MLFLOW_TRACKING_AWS_SIGV4", "true")

    storage = make_storage(server, username="bob", password="own-password")
    storage.list_dir("1")

    assert get_login(server) == "Basic bob:own-password"
    assert "own-password" not in storage.get_url("1") + storage.get_identity("1")
    pickle.loads(pickle.dumps(storage)).list_dir("1")
    assert get_login(server) == "Basic bob:own-password"


def test_a_netrc_counts_before_a_token_as_for_mlflow(server, monkeypatch, tmp_path):
    (tmp_path / ".netrc").write_text("default login ann password from-netrc\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "secret-token")
    make_storage(server).list_dir("1")
    assert get_login(server) == "Basic ann:from-netrc"
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    make_storage(server).list_dir("1")
    assert get_login(server) == "Bearer secret-token"
    monkeypatch.delenv("NETRC")
    make_storage(server, username="bob", password="own").list_dir("1")
    assert get_login(server) == "Basic bob:own"


def test_a_proxy_of_the_environment(start_server, monkeypatch):
    proxy = start_server()
    monkeypatch.setenv("http_proxy", proxy.url)
    monkeypatch.setenv("no_proxy", "")
    locate(make_artifacts_root("http://mlflow.example")).storage.list_dir("")
    assert proxy.targets[-1].startswith("http://mlflow.example/api/2.0/mlflow-artifacts")


def test_where_the_server_redirects(start_server, monkeypatch):
    server, other = start_server(), start_server()
    handler = server.http.RequestHandlerClass
    target = f"{other.url}/api/2.0/mlflow-artifacts/artifacts?path=1"

    def redirect(self: Any) -> None:
        server.headers.append(self.headers)
        self.send_response(307)
        self.send_header("Location", target)
        self.send_header("Content-Length", "0")
        self.end_headers()

    monkeypatch.setattr(handler, "do_GET", redirect)
    with pytest.raises(ForeignHostError, match=f"redirects to '{other.url}/.* is not asked"):
        make_storage(server, username="bob", password="own-password").list_dir("1")
    assert get_login(server) == "Basic bob:own-password"
    assert other.headers == []

    allowed = frozenset({other.url})
    storage = make_storage(server, username="bob", password="own-password", allowed_hosts=allowed)
    assert storage.list_dir("1")
    assert get_login(other) == ""
    assert not any(name.lower().startswith("x-") for name in other.headers[-1])


def test_a_server_that_is_only_allowed_gets_no_login(server, monkeypatch, tmp_path, use_plugin):
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ann")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "password")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "secret-token")
    monkeypatch.setenv("MLFLOW_WORKSPACE", "vision")
    monkeypatch.setenv("MLFLOW_TRACKING_CLIENT_CERT_PATH", str(tmp_path / "none"))
    (tmp_path / ".netrc").write_text("default login ann password from-netrc\n")
    (tmp_path / ".netrc").chmod(0o600)
    use_plugin(None)
    storage = make_storage(server, has_login=False)
    for used in (storage, pickle.loads(pickle.dumps(storage))):
        assert used.list_dir("1")
        names = {name.lower() for name in server.headers[-1]}
        assert names <= {"accept", "accept-encoding", "host", "user-agent"}
        assert server.headers[-1]["User-Agent"].startswith("Python/")  # that of aiohttp


def test_sends_the_workspace_and_who_asks(server, monkeypatch):
    workspaces = pytest.importorskip("mlflow.utils.workspace_utils", reason="MLflow is older")
    monkeypatch.setenv("MLFLOW_WORKSPACE", "vision")
    make_storage(server).list_dir("1")
    assert server.headers[-1][workspaces.WORKSPACE_HEADER_NAME] == "vision"
    assert server.headers[-1]["User-Agent"].startswith("mlflow-python-client/")


class Plugin:
    """One of MLflow's plugins that log in, by a given object of ``requests``."""

    def __init__(self, auth: Any) -> None:
        self._auth = auth

    def get_name(self) -> str:
        return "company"

    def get_auth(self) -> Any:
        return self._auth


@pytest.fixture
def use_plugin(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    from mlflow.tracking.request_auth import registry

    def use(auth: Any) -> None:
        known = registry.RequestAuthProviderRegistry()
        known.register(lambda: Plugin(auth))
        monkeypatch.setattr(registry, "_request_auth_provider_registry", known)
        monkeypatch.setenv("MLFLOW_TRACKING_AUTH", "company")

    return use


def test_a_plugin_signs_what_is_sent(server, use_plugin, monkeypatch):
    def sign(request: Any) -> Any:
        request.headers["Authorization"] = f"Company {request.headers['Authorization']}"
        request.headers["X-Signed"] = request.path_url
        return request

    use_plugin(sign)
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "secret-token")
    storage = make_storage(server)

    assert storage.list_dir("1")
    assert server.headers[-1]["Authorization"] == "Company Bearer secret-token"
    assert server.headers[-1]["X-Signed"] == server.targets[-1]
    assert storage.read("1/50% of a #1?.txt") == b"odd"
    assert server.headers[-1]["X-Signed"] == server.targets[-1]


def test_a_plugin_that_has_to_answer_the_server(server, use_plugin):
    use_plugin(HTTPDigestAuth("ann", "s3cret"))
    server.failures = [(401, "a challenge")]
    with pytest.raises(StorageError, match=r"\(401\): .*=company\. .*artifact_root") as caught:
        make_storage(server).list_dir("1")
    assert "s3cret" not in str(caught.value)


def test_denied(server):
    server.failures = [(403, "no")]
    with pytest.raises(StorageError, match=r"denies access \(403\): set MLFLOW_TRACKING_USERNAME"):
        make_storage(server).list_dir("1")


@pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")
def test_signs_for_aws(server, monkeypatch, tmp_path):
    pytest.importorskip("requests_auth_aws_sigv4")
    auth = pytest.importorskip("botocore.auth")
    awsrequest = pytest.importorskip("botocore.awsrequest")
    credentials = pytest.importorskip("botocore.credentials").Credentials("the-key", "the-secret")
    monkeypatch.setenv("MLFLOW_TRACKING_AWS_SIGV4", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "the-key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "the-secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)

    (tmp_path / "server" / "1" / "a b" / "notes.txt").touch()
    make_storage(server).list_dir("1/a b")

    sent = server.headers[-1]
    assert server.targets[-1].endswith("?path=1%2Fa%20b")
    assert sent["Host"] == "127.0.0.1"
    assert sent["X-Amz-Content-Sha256"] == hashlib.sha256(b"").hexdigest()
    request = awsrequest.AWSRequest(
        "GET",
        server.url + server.targets[-1],
        headers={name: sent[name] for name in ("Host", "X-Amz-Date", "X-Amz-Content-Sha256")},
    )
    request.context["timestamp"] = sent["X-Amz-Date"]
    signer = auth.SigV4Auth(credentials, "execute-api", "eu-west-1")
    signature = signer.signature(
        signer.string_to_sign(request, signer.canonical_request(request)), request
    )
    assert sent["Authorization"].endswith(f"Signature={signature}")


def test_advice_on_aws(server, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_AWS_SIGV4", "true")
    assert "AWS credentials and region" in MlflowLogin(server.url).advice


# Certificates ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file with a certificate of 127.0.0.1, signed by itself, and its key."""
    folder = tmp_path_factory.mktemp("certificate")
    key, file = folder / "key.pem", folder / "both.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(
        [*command, "-keyout", str(key), "-out", str(file)], check=True, capture_output=True
    )
    file.write_text(file.read_text() + key.read_text())
    return str(file)


@pytest.fixture
def tls_server(server: ArtifactsServer, certificate: str) -> ArtifactsServer:
    """A server that wants to see a certificate if a client has one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.load_verify_locations(certificate)
    context.verify_mode = ssl.CERT_OPTIONAL
    get_request = server.http.get_request
    server.peers = []

    def wrap() -> Any:
        connection, address = get_request()
        secured = context.wrap_socket(connection, server_side=True)
        server.peers.append(secured.getpeercert())
        return secured, address

    server.http.get_request = wrap
    server.url = server.url.replace("http://", "https://")
    return server


def test_an_unknown_certificate_is_refused(tls_server, no_waiting):
    with pytest.raises(StorageError, match="certificate verify failed"):
        make_storage(tls_server).list_dir("1")


@pytest.mark.parametrize("name", ["MLFLOW_TRACKING_SERVER_CERT_PATH", "REQUESTS_CA_BUNDLE"])
def test_a_certificate_that_is_known(tls_server, certificate, monkeypatch, name):
    monkeypatch.setenv(name, certificate)
    assert make_storage(tls_server).list_dir("1")
    assert tls_server.peers == [None]


def test_any_certificate(tls_server, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_INSECURE_TLS", "true")
    assert make_storage(tls_server).list_dir("1")


@pytest.mark.parametrize("is_insecure", [False, True])
def test_the_certificate_of_the_client_is_shown(tls_server, certificate, monkeypatch, is_insecure):
    monkeypatch.setenv("MLFLOW_TRACKING_CLIENT_CERT_PATH", certificate)
    if is_insecure:
        monkeypatch.setenv("MLFLOW_TRACKING_INSECURE_TLS", "true")
    else:
        monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", certificate)
    assert make_storage(tls_server).list_dir("1")
    assert [bool(peer) for peer in tls_server.peers] == [True]


def test_a_folder_of_authorities(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(tmp_path))
    context = MlflowLogin("https://mlflow.example").make_ssl_context()
    assert context.cert_store_stats()["x509_ca"] == 0
