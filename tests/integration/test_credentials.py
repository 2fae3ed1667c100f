"""Credentials that no option gives, on real servers: which engine finds them, and reads."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from kedro_hydraflow import Run, iter_run_dirs
from kedro_hydraflow.errors import RunLoadError, StorageError
from kedro_hydraflow.storage.credentials import find_for_s3
from tests import servers
from tests.integration.behind_proxy import Fault, Proxy, make_experiment
from tests.integration.places import is_server_required

pytest.importorskip("obstore")
pytest.importorskip("s3fs")
pytest.importorskip("gcsfs")
pytest.importorskip("adlfs")

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

pytestmark = [
    pytest.mark.integration,
    # Clients that live as long as the process do not close their connections at its end.
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Unclosed:ResourceWarning"),
]

N_RUNS = 3


@contextmanager
def start_or_skip(
    start: Callable[[], AbstractContextManager[servers.Server]],
) -> Iterator[servers.Server]:
    with ExitStack() as stack:
        try:
            server = stack.enter_context(start())
        except servers.MissingServerError as exc:
            if is_server_required():
                raise
            pytest.skip(str(exc))
        yield server


@pytest.fixture(scope="module")
def server() -> Iterator[servers.Server]:
    with start_or_skip(servers.moto) as server:
        for path, content in make_experiment("101", N_RUNS).items():
            server.write(f"mlruns/{path}", content)
        yield server


@pytest.fixture
def proxy(server: servers.Server) -> Iterator[Proxy]:
    host, _, port = server.endpoint.rpartition(":")
    with Proxy(host, int(port), latency=0.0) as proxy:
        yield proxy


@pytest.fixture(autouse=True)
def aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """Writes the files of ``~/.aws``. Without them nothing is configured on this machine."""
    for name in ("credentials", "config"):
        monkeypatch.setenv(
            "AWS_SHARED_CREDENTIALS_FILE" if name == "credentials" else "AWS_CONFIG_FILE",
            str(tmp_path / name),
        )
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")

    def write(**files: str) -> None:
        for name, text in files.items():
            (tmp_path / name).write_text(text)

    return write


def write_keys(options: dict[str, Any]) -> str:
    return (
        f"[team]\naws_access_key_id = {options['key']}\n"
        f"aws_secret_access_key = {options['secret']}\n"
    )


def load(**options: Any) -> int:
    return len(Run.load(iter_run_dirs("s3://team/mlruns", storage_options=options)))


def get_engines(proxy: Proxy) -> set[str]:
    agents = {request.agent.lower() for request in proxy.requests()}
    return {"obstore" if "object_store" in agent else "fsspec" for agent in agents}


@pytest.mark.parametrize("how", ["environment", "option", "endpoint in an option"])
def test_a_profile(
    server: servers.Server,
    proxy: Proxy,
    aws: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    how: str,
) -> None:
    options: dict[str, Any] = {"profile": "team"}
    endpoint = f"endpoint_url = {proxy.url}\n"
    if how == "environment":
        monkeypatch.setenv("AWS_PROFILE", "team")
        options = {}
    elif how == "endpoint in an option":
        options["endpoint_url"] = proxy.url
        endpoint = ""
    aws(
        credentials=write_keys(server.options),
        config=f"[profile team]\nregion = us-east-1\n{endpoint}",
    )
    assert load(**options) == N_RUNS
    assert get_engines(proxy) == {"obstore"}
    proxy.reset()
    assert load(**options, engine="fsspec") == N_RUNS
    assert get_engines(proxy) == {"fsspec"}
    proxy.reset()
    assert load(**options, engine="obstore") == N_RUNS
    assert get_engines(proxy) == {"obstore"}


def test_keys_go_to_the_server_that_the_profile_names(
    server: servers.Server, proxy: Proxy, aws: Callable[..., None]
) -> None:
    aws(config=f"[default]\nregion = us-east-1\nendpoint_url = {proxy.url}\n")
    options = {"key": server.options["key"], "secret": server.options["secret"]}
    assert load(**options) == N_RUNS
    assert load(**options, client_kwargs={"region_name": "us-east-1"}) == N_RUNS
    assert get_engines(proxy) == {"obstore"}


def test_an_endpoint_in_the_options_comes_before_that_of_the_profile(
    server: servers.Server, proxy: Proxy, aws: Callable[..., None]
) -> None:
    other = f"http://127.0.0.1:{servers.get_free_port()}"
    aws(credentials=write_keys(server.options), config=f"[profile team]\nendpoint_url = {other}\n")
    assert load(profile="team", endpoint_url=proxy.url) == N_RUNS
    assert get_engines(proxy) == {"obstore"}


def test_an_option_without_a_counterpart_is_served_by_fsspec(
    server: servers.Server, proxy: Proxy, aws: Callable[..., None]
) -> None:
    aws(credentials=write_keys(server.options))
    options = {"profile": "team", "endpoint_url": proxy.url}
    assert load(**options, s3_additional_kwargs={"ExpectedBucketOwner": "123456789012"}) == N_RUNS
    assert get_engines(proxy) == {"fsspec"}


def test_what_obstore_fails_at_is_read_by_fsspec(
    server: servers.Server, proxy: Proxy, aws: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here because of wrong keys. Others have certificates or a region of which obstore does
    not know."""
    aws(credentials=write_keys(server.options))

    def find_wrong(*arguments: Any) -> Any:
        found = find_for_s3(*arguments)
        assert found is not None
        return found._replace(provider=lambda: {**wrong, "token": None, "expires_at": None})

    wrong = {"access_key_id": "AKIAWRONG", "secret_access_key": "wrong"}
    monkeypatch.setattr("kedro_hydraflow.storage.obstore_client.find_for_s3", find_wrong)
    assert load(profile="team", endpoint_url=proxy.url) == N_RUNS
    assert get_engines(proxy) == {"obstore", "fsspec"}
    assert ["object_store" in request.agent for request in proxy.requests()].count(True) == 1


def test_a_profile_that_does_not_exist(proxy: Proxy) -> None:
    with pytest.raises(StorageError, match="nobody"):
        load(profile="nobody", endpoint_url=proxy.url)
    assert proxy.requests() == []


def test_denied_is_denied(proxy: Proxy, aws: Callable[..., None]) -> None:
    aws(credentials=write_keys({"key": "AKIAWRONG", "secret": "wrong-secret"}))
    with pytest.raises(StorageError, match="access denied") as raised:
        load(profile="team", endpoint_url=proxy.url)
    assert "wrong-secret" not in str(raised.value)


def test_nothing_is_sent_where_no_credentials_are_found(proxy: Proxy) -> None:
    with pytest.raises((StorageError, RunLoadError)):
        load(endpoint_url=proxy.url)
    assert proxy.requests() == []


class Role:
    """A server that gives credentials which expire at once, as that of a role does."""

    def __init__(self, answer: dict[str, Any]) -> None:
        self.n_given = 0
        self.logins: set[str | None] = set()
        role = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                role.n_given += 1
                role.logins.add(self.headers["Authorization"] or self.headers["X-IDENTITY-HEADER"])
                self.rfile.read(int(self.headers["Content-Length"] or 0))
                expiration = datetime.now(timezone.utc) + timedelta(seconds=1)
                expires = {"Expiration": expiration.strftime("%Y-%m-%dT%H:%M:%SZ")}
                body = json.dumps(answer | expires).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET

            def log_message(self, *arguments: Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/role"

    @contextmanager
    def serving(self) -> Iterator[Role]:
        thread = threading.Thread(target=self.server.serve_forever)
        thread.start()
        try:
            yield self
        finally:
            self.server.shutdown()
            self.server.server_close()
            thread.join()


@pytest.fixture
def role(server: servers.Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Role]:
    keys = {"AccessKeyId": server.options["key"], "SecretAccessKey": server.options["secret"]}
    with Role({**keys, "Token": ""}).serving() as role:  # the server knows no such token
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", role.url)
        monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "of the container")
        yield role


def test_the_role_of_a_container(proxy: Proxy, role: Role) -> None:
    assert load(endpoint_url=proxy.url) == N_RUNS
    assert get_engines(proxy) == {"obstore"}
    assert role.logins == {"of the container"}


def test_credentials_that_expire_are_requested_again(role: Role) -> None:
    found = find_for_s3({"endpoint": "http://127.0.0.1:1"})
    assert found is not None
    assert found.provider is not None
    for _ in range(3):
        n_given = role.n_given
        assert found.provider()["access_key_id"]
        assert role.n_given > n_given


@pytest.mark.parametrize("engine", ["fsspec", "obstore"])
@pytest.mark.parametrize("is_valid", [True, False], ids=["valid", "expired"])
def test_the_login_of_single_sign_on(
    server: servers.Server,
    aws: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    engine: str,
    is_valid: bool,
) -> None:
    """As after `aws sso login`, in a process of its own, where botocore finds another home."""
    expires = datetime.now(timezone.utc) + timedelta(hours=5 if is_valid else -5)
    login = {"accessToken": "of the login", "expiresAt": expires.strftime("%Y-%m-%dT%H:%M:%SZ")}
    name = hashlib.sha1(b"team", usedforsecurity=False).hexdigest()
    (tmp_path / ".aws/sso/cache").mkdir(parents=True)
    (tmp_path / f".aws/sso/cache/{name}.json").write_text(json.dumps(login))
    aws(
        config="[profile team]\nsso_session = team\nsso_account_id = 123456789012\n"
        f"sso_role_name = reader\nregion = us-east-1\nendpoint_url = http://{server.endpoint}\n"
        "[sso-session team]\nsso_start_url = https://team.example\nsso_region = us-east-1\n"
    )
    keys = {
        "accessKeyId": server.options["key"],
        "secretAccessKey": server.options["secret"],
        "sessionToken": "",
        "expiration": int(expires.timestamp() * 1000),
    }
    code = (
        "from kedro_hydraflow import Run, iter_run_dirs; "
        f"options = {{'profile': 'team', 'engine': {engine!r}}}; "
        "print(len(Run.load(iter_run_dirs('s3://team/mlruns', storage_options=options))))"
    )
    with Role({"roleCredentials": keys}).serving() as portal:
        monkeypatch.setenv("AWS_ENDPOINT_URL_SSO", portal.url)
        monkeypatch.setenv("HOME", str(tmp_path))
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if is_valid:
        assert done.stdout == f"{N_RUNS}\n"
        assert portal.n_given > 0
    else:
        assert "Token has expired and refresh failed" in done.stderr.splitlines()[-1]
        assert portal.n_given == 0


def test_anonymous(server: servers.Server, proxy: Proxy, role: Role) -> None:
    proxy.set_faults(Fault(status=403))  # moto fails at requests without a signature
    with pytest.raises(StorageError, match="access denied"):
        load(endpoint_url=proxy.url, anon=True)
    assert get_engines(proxy) == {"obstore"}
    assert role.n_given == 0


def test_the_default_login_of_google(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("google.auth")
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    with (
        start_or_skip(servers.fake_gcs) as server,
        Role({"access_token": "of google", "expires_in": 3600}).serving() as role,
    ):
        for path, content in make_experiment("101", N_RUNS).items():
            server.write(f"mlruns/{path}", content)
        account = {
            "type": "service_account",
            "client_email": "team@example",
            "private_key": key.decode(),
            "token_uri": role.url,
        }
        (tmp_path / "login.json").write_text(json.dumps(account))
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "login.json"))
        # So that only obstore can read. A proxy has another address, which the server refuses.
        monkeypatch.setitem(sys.modules, "gcsfs", None)
        for protocol in ("gs", "gcs"):
            monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, protocol, raising=False)
        options = {"endpoint_url": server.options["endpoint_url"]}
        dirs = iter_run_dirs(f"{server.url}/mlruns", storage_options=options)
        assert len(Run.load(dirs)) == N_RUNS
    assert role.n_given == 1


# Azure ------------------------------------------------------------------------------------------

LOAD = """
import json, sys
from kedro_hydraflow import Run, iter_run_dirs

url, options = sys.argv[1], json.loads(sys.argv[2])
print(len(Run.load(iter_run_dirs(url, storage_options=options))))
"""

IDENTITY_HEADER = "of-the-app-service"


@dataclass
class Azure:
    """An account, and an identity of the machine that may read it."""

    server: servers.Server
    folder: Path
    role: Role
    environment: dict[str, str]
    """The variables of the processes that load."""

    @property
    def account(self) -> dict[str, str]:
        """The options that name the account."""
        name = self.server.options["account_name"]
        return {"account_name": name, "account_host": f"{self.server.endpoint}/{name}"}

    def load(self, **options: Any) -> subprocess.CompletedProcess[str]:
        """Load the runs in a process of its own: clients read certificates when imported."""
        (self.folder / "requests.log").write_bytes(b"")
        return subprocess.run(
            [sys.executable, "-c", LOAD, f"{self.server.url}/mlruns", json.dumps(options)],
            env=self.environment,
            text=True,
            capture_output=True,
            timeout=60,
        )

    def get_engines(self) -> set[str]:
        """Return the engines that have sent requests since the last load began."""
        agents = re.findall(r'"user-agent":"([^"]*)"', (self.folder / "requests.log").read_text())
        return {"obstore" if "object_store" in agent else "fsspec" for agent in agents}


def make_token(**claims: Any) -> str:
    """Return a token that Azurite accepts: it does not check signatures."""
    now = int(time.time())
    claims = {
        "aud": "https://storage.azure.com",
        "iss": "https://sts.windows.net/tenant/",
        "nbf": now - 60,
        "iat": now - 60,
        "exp": now + 3600,
        **claims,
    }
    parts = [json.dumps(part).encode() for part in ({"alg": "none", "typ": "JWT"}, claims)]
    return ".".join(urlsafe_b64encode(part).rstrip(b"=").decode() for part in [*parts, b"signed"])


@pytest.fixture(scope="module")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[servers.Server, Path]]:
    folder = tmp_path_factory.mktemp("azurite")
    with start_or_skip(lambda: servers.azurite_with_tokens(folder)) as server:
        for path, content in make_experiment("101", N_RUNS).items():
            server.write(f"mlruns/{path}", content)
        yield server, folder


def make_identity(token: str) -> dict[str, Any]:
    """Return the answer of App Service to those who ask for a token."""
    return {
        "access_token": token,
        "expires_on": str(int(time.time()) + 3600),
        "resource": "https://storage.azure.com",
        "token_type": "Bearer",
    }


@pytest.fixture
def azure(azurite: tuple[servers.Server, Path]) -> Iterator[Azure]:
    server, folder = azurite
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("AZURE_", "AWS_", "MSI_"))}
    with Role(make_identity(make_token())).serving() as role:
        environment = {
            **kept,
            "SSL_CERT_FILE": str(folder / "ca.pem"),
            "IDENTITY_ENDPOINT": role.url,
            "IDENTITY_HEADER": IDENTITY_HEADER,
        }
        yield Azure(server, folder, role, environment)


def test_the_identity_of_azure(azure: Azure) -> None:
    for engine in ("obstore", "fsspec", None):
        done = azure.load(**azure.account, **({"engine": engine} if engine else {}))
        assert (done.stdout, done.stderr) == (f"{N_RUNS}\n", "")
        assert azure.get_engines() == {engine or "obstore"}
    assert azure.role.logins == {IDENTITY_HEADER}


def make_signature(server: servers.Server) -> str:
    """Return the token of a shared access signature that may read the container."""
    from azure.storage.blob import ContainerSasPermissions, generate_container_sas

    return generate_container_sas(
        server.options["account_name"],
        servers.BUCKET,
        account_key=server.options["account_key"],
        permission=ContainerSasPermissions(read=True, list=True),
        expiry=datetime.now(timezone.utc) + timedelta(hours=1),
    )


@pytest.mark.parametrize("name", ["account_key", "sas_token", "connection_string"])
@pytest.mark.parametrize("how", ["option", "variable"])
def test_a_key_of_azure_comes_before_the_identity(azure: Azure, name: str, how: str) -> None:
    options = {**azure.server.options, "sas_token": make_signature(azure.server)}
    given = {} if name == "connection_string" else azure.account
    if how == "option":
        given = {**given, name: options[name]}
    else:
        azure.environment[f"AZURE_STORAGE_{name.upper()}"] = options[name]
    for engine in ("fsspec", None):
        done = azure.load(**given, **({"engine": engine} if engine else {}))
        assert (done.stdout, done.stderr) == (f"{N_RUNS}\n", "")
        assert azure.get_engines() == {engine or "obstore"}
    assert azure.role.n_given == 0


def test_a_connection_string_with_a_signature_alone(azure: Azure) -> None:
    url = f"https://{azure.account['account_host']}"
    text = f"BlobEndpoint={url};SharedAccessSignature={make_signature(azure.server)}"
    for engine in ("fsspec", None):
        done = azure.load(connection_string=text, **({"engine": engine} if engine else {}))
        assert (done.stdout, done.stderr) == (f"{N_RUNS}\n", "")
        assert azure.get_engines() == {engine or "obstore"}


def test_a_key_in_a_variable_comes_before_a_signature_as_in_adlfs(azure: Azure) -> None:
    wrong = azure.server.wrong_options
    assert wrong is not None
    azure.environment["AZURE_STORAGE_ACCOUNT_KEY"] = wrong["account_key"]
    for engine in ("fsspec", None):
        options = {"sas_token": make_signature(azure.server), "engine": engine}
        done = azure.load(**azure.account, **{k: v for k, v in options.items() if v})
        assert (done.stdout, done.returncode) == ("", 1)
        assert "InvalidAuthenticationInfo" in done.stderr
        assert azure.get_engines() == {engine or "obstore"}


def test_variables_that_only_obstore_knows_change_nothing(azure: Azure) -> None:
    with Role({}).serving() as other:
        azure.environment |= {
            "AZURE_STORAGE_TOKEN": "of-another",
            "AZURE_STORAGE_ACCESS_KEY": "b2YgYW5vdGhlcg==",
            "AZURE_STORAGE_ENDPOINT": other.url,
            "AZURE_SKIP_SIGNATURE": "true",
            "AZURE_STORAGE_USE_EMULATOR": "true",
        }
        done = azure.load(**azure.account)
    assert (done.stdout, done.stderr) == (f"{N_RUNS}\n", "")
    assert azure.get_engines() == {"obstore"}
    assert azure.role.n_given > other.n_given == 0


def test_anonymous_on_azure(azure: Azure) -> None:
    done = azure.load(**azure.account, anon=True)
    assert (done.stdout, done.returncode) == ("", 1)
    assert azure.get_engines() == {"obstore"}
    assert azure.role.n_given == 0


def test_azure_denies_an_identity(azure: Azure) -> None:
    token = make_token(aud="https://vault.azure.net")
    with Role(make_identity(token)).serving() as role:
        azure.environment["IDENTITY_ENDPOINT"] = role.url
        done = azure.load(**azure.account)
    assert (done.stdout, done.returncode) == ("", 1)
    assert "access denied" in done.stderr
    assert azure.get_engines() == {"obstore", "fsspec"}
    assert token not in done.stderr
    assert IDENTITY_HEADER not in done.stderr


def test_there_is_no_identity(azure: Azure) -> None:
    azure.environment["AZURE_TOKEN_CREDENTIALS"] = "ManagedIdentityCredential"  # and no other one
    with Role({"error": "there is none"}).serving() as role:
        azure.environment["IDENTITY_ENDPOINT"] = role.url
        done = azure.load(**azure.account, engine="obstore")  # adlfs would ask for minutes
    assert (done.stdout, done.returncode) == ("", 1)
    assert "access denied" in done.stderr
    assert "Attempted credentials: ManagedIdentityCredential: " in done.stderr
    assert IDENTITY_HEADER not in done.stderr
    assert azure.get_engines() == set()
