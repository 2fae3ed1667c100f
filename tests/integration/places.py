"""The kinds of storage that the contract is tested on, each with the example sweep on it."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fsspec
import pytest
from typing_extensions import Self

from tests import servers
from tests.conftest import HYDRA_SWEEP, SWEEP
from tests.servers import MissingServerError, Server, ServerError

# Read when gcsfs is imported: it would ask each server over gRPC for its kind of buckets.
os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")

S3 = frozenset(
    {
        "s3-moto",
        "s3-rclone",
        "s3-seaweedfs",
        "s3-obstore",
        "s3-seaweedfs-obstore",
    }
)
BUCKETS = S3 | {"gcs", "gcs-obstore", "azure", "azure-obstore"}
WITHOUT_SERVER = ("local", "memory", "zip")
NAMES = (
    *WITHOUT_SERVER,
    "zip-s3",
    *sorted(S3),
    "gcs",
    "gcs-obstore",
    "azure",
    "azure-obstore",
    "sftp-sshfs",
    "sftp-paramiko",
    "webdav",
    "http",
    "http-no-listing",
)


@dataclass
class Place:
    """A kind of storage, and how to put runs on it."""

    name: str
    options: dict[str, Any]
    """What is given as ``storage_options`` or ``credentials``."""

    wrong_options: dict[str, Any] | None
    root: str
    """The URL of a folder or bucket; the tests' tracking directories are below it."""

    publish_as: Callable[[Path, str], str]
    """Puts a local tracking directory there, under a name; gives its URL."""

    server: Server | None = None
    _sweep_url: str | None = field(default=None, repr=False)
    _hydra_url: str | None = field(default=None, repr=False)

    @property
    def sweep_url(self) -> str:
        """The tracking directory of the example sweep, which tests only read."""
        if self._sweep_url is None:
            self._sweep_url = self.publish_as(SWEEP, "sweep")
        return self._sweep_url

    @property
    def hydra_url(self) -> str:
        """The example of Hydra alone, which tests only read."""
        if self._hydra_url is None:
            self._hydra_url = self.publish_as(HYDRA_SWEEP, "hydra-sweep")
        return self._hydra_url

    def publish(self, tracking_dir: Path) -> str:
        """Put a local tracking directory there under a name of its own; give its URL."""
        return self.publish_as(tracking_dir, f"mlruns-{uuid.uuid4().hex[:8]}")

    @property
    def secrets(self) -> list[str]:
        """The credentials, right and wrong, that no message may show."""
        return sorted({*_find_secrets(self.options), *_find_secrets(self.wrong_options or {})})


_SECRET_OPTIONS = {"secret", "account_key", "connection_string", "auth", "Authorization"}


def _find_secrets(options: Mapping[str, Any]) -> Iterator[str]:
    for name, value in options.items():
        if isinstance(value, Mapping):
            yield from _find_secrets(value)
        elif name == "Authorization":
            yield value.split()[-1]
        elif name == "auth":
            yield value[-1]
        elif name in _SECRET_OPTIONS:
            yield value


class Places:
    """Starts each server when a test first asks for it, and ends all at the end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = ExitStack()
        self._servers: dict[str, Server | Exception] = {}
        self._places: dict[str, Place] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stack.close()

    def get(self, name: str) -> Place:
        """Return a place; skip the test where this machine has not got its server."""
        if name not in self._places:
            self._places[name] = self._make(name)
        return self._places[name]

    def _make(self, name: str) -> Place:
        if name == "local":
            return self._make_local()
        if name == "memory":
            return self._make_memory()
        if name == "zip":
            return self._make_zip()
        if name == "zip-s3":
            return self._make_zip_on(self._get_server("s3-moto"))
        if name == "sftp-paramiko":
            return _make_remote(name, servers.for_paramiko(self._get_server("sftp-sshfs")))
        server = self._get_server(_SERVER_OF.get(name, name))
        if name.endswith("-obstore"):
            _require("obstore")
            return _make_remote(name, server, engine="obstore")
        return _make_remote(name, server, engine="fsspec" if name in BUCKETS else None)

    def _get_server(self, name: str) -> Server:
        if name not in self._servers:
            try:
                _require(_CLIENTS[name])
                self._servers[name] = self._stack.enter_context(self._start(name))
            except (MissingServerError, ServerError) as exc:
                self._servers[name] = exc
        server = self._servers[name]
        if isinstance(server, Server):
            return server
        if is_server_required():
            raise server
        pytest.skip(str(server))

    def _start(self, name: str) -> AbstractContextManager[Server]:
        folder = self._folder / name
        folder.mkdir()
        if name == "s3-rclone":
            return servers.rclone_s3(folder)
        if name.startswith("http"):
            return servers.nginx(folder, listing=name == "http")
        starts: dict[str, Callable[[], AbstractContextManager[Server]]] = {
            "s3-moto": servers.moto,
            "s3-seaweedfs": servers.seaweedfs,
            "gcs": servers.fake_gcs,
            "azure": servers.azurite,
            "sftp-sshfs": servers.sshd,
            "webdav": servers.rclone_webdav,
        }
        return starts[name]()

    def _make_local(self) -> Place:
        root = self._folder / "local"
        root.mkdir()

        def publish(tracking_dir: Path, name: str) -> str:
            shutil.copytree(tracking_dir, root / name, dirs_exist_ok=True)
            return str(root / name)

        return Place("local", {}, None, str(root), publish)

    def _make_memory(self) -> Place:
        fs = fsspec.filesystem("memory")
        self._stack.callback(fs.rm, "/contract", recursive=True)
        fs.mkdir("/contract")

        def publish(tracking_dir: Path, name: str) -> str:
            for path in tracking_dir.rglob("*"):
                if path.is_file():
                    relative = path.relative_to(tracking_dir).as_posix()
                    fs.pipe_file(f"/contract/{name}/{relative}", path.read_bytes())
            return f"memory://contract/{name}"

        return Place("memory", {}, None, "memory://contract", publish)

    def _make_zip(self) -> Place:
        root = self._folder / "zip"
        root.mkdir()

        def publish(tracking_dir: Path, name: str) -> str:
            archive = make_archive(tracking_dir, root / name)
            return f"zip://{tracking_dir.name}::{archive}"

        url = publish(SWEEP, "root")
        return Place("zip", {}, None, url.replace("zip://mlruns", "zip://"), publish)

    def _make_zip_on(self, server: Server) -> Place:
        def publish(tracking_dir: Path, name: str) -> str:
            archive = make_archive(tracking_dir, self._folder / name)
            server.write(f"{name}.zip", archive.read_bytes())
            archive.unlink()
            return f"zip://{tracking_dir.name}::{server.url}/{name}.zip"

        url = publish(SWEEP, "root").replace("zip://mlruns", "zip://")
        wrong_options = {"s3": server.wrong_options}
        return Place("zip-s3", {"s3": server.options}, wrong_options, url, publish, server)


_SERVER_OF = {
    "s3-obstore": "s3-moto",
    "s3-seaweedfs-obstore": "s3-seaweedfs",
    "gcs-obstore": "gcs",
    "azure-obstore": "azure",
}
"""Which places share a server."""

_CLIENTS = {
    "s3-moto": "s3fs",
    "s3-rclone": "s3fs",
    "s3-seaweedfs": "s3fs",
    "gcs": "gcsfs",
    "azure": "adlfs",
    "sftp-sshfs": "sshfs",
    "webdav": "webdav4",
    "http": "aiohttp",
    "http-no-listing": "aiohttp",
}


def _make_remote(name: str, server: Server, engine: str | None = None) -> Place:
    extra = {} if engine is None else {"engine": engine}
    wrong = server.wrong_options
    return Place(
        name,
        {**server.options, **extra},
        None if wrong is None else {**wrong, **extra},
        server.url,
        lambda tracking_dir, folder: server.upload(tracking_dir, f"{name}/{folder}"),
        server,
    )


def make_archive(tracking_dir: Path, path: Path) -> Path:
    """Zip a tracking directory, its own name included; return the archive's path."""
    parent, name = tracking_dir.parent, tracking_dir.name
    return Path(shutil.make_archive(str(path), "zip", parent, name))


def is_server_required() -> bool:
    """Tell whether a server that is missing fails the tests instead of skipping them."""
    return os.environ.get("CI") == "true" or os.environ.get("REQUIRE_SERVERS") == "1"


def _require(package: str) -> None:
    try:
        __import__(package)
    except ImportError as exc:
        if is_server_required():
            raise
        pytest.skip(f"the Python package {package} is not installed ({exc})")


def choose_sftp(name: str) -> None:
    """Let the filesystem that a place is named after serve ``sftp`` in this process.

    Where sshfs is installed it has taken the protocol over from fsspec's own, on paramiko.
    """
    if name == "sftp-sshfs":
        from sshfs import SSHFileSystem

        fsspec.register_implementation("sftp", SSHFileSystem, clobber=True)
    elif name == "sftp-paramiko":
        from fsspec.implementations.sftp import SFTPFileSystem

        fsspec.register_implementation("sftp", SFTPFileSystem, clobber=True)
