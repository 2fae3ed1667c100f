"""A remote storage over a local folder, and the artifacts of one run on it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from kedro_hydraflow.artifacts import fetch, make_artifact_path
from kedro_hydraflow.cache_dir import CACHE_DIR_VARIABLE
from kedro_hydraflow.errors import NotFoundError, StorageError, UnreachableError
from kedro_hydraflow.storage import Download, Entry, Place, Storage

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence


SECRET = "hunter2-SECRET"


class FolderStorage(Storage):
    """A remote storage over a local folder, with a log of the requests that were made."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.log = root.parent / "requests.log"
        self.password = SECRET
        self.lists_validators = True
        self.hides_dotfiles = False
        self.cannot_list: set[str] = set()
        self.denied: set[str] = set()
        self.is_down = False
        self.seconds = 0.0
        self.stops_halfway = False
        self.names: dict[str, list[str]] = {}
        """More names in the listing of a folder."""

    @property
    def key(self) -> Hashable:
        return self.root

    def list_dir(self, path: str, limit: int | None = None) -> list[Entry]:
        self._request("LIST", path)
        if path in self.cannot_list:
            raise StorageError(f"cannot list the directory {self.get_url(path)!r}: 403")
        folder = self.root / path
        if not folder.is_dir():
            raise NotFoundError(f"there is no directory {self.get_url(path)!r}")
        entries = [Entry(name, is_dir=False) for name in self.names.get(path, [])]
        shown = [f for f in folder.iterdir() if not (self.hides_dotfiles and f.name[0] == ".")]
        return sorted([*entries, *map(self._make_entry, shown)])

    def _make_entry(self, file: Path) -> Entry:
        if file.is_dir():
            return Entry(file.name, is_dir=True)
        status = file.stat()
        validator = f"{status.st_mtime_ns}-{status.st_size}" if self.lists_validators else None
        return Entry(file.name, is_dir=False, size=status.st_size, validator=validator)

    def read_parsed(self, paths: Sequence[str], parse: Any) -> Any:
        raise NotImplementedError

    def fetch_many(self, files: Sequence[Download]) -> list[StorageError | None]:
        return [self._fetch(file.path, file.target) for file in files]

    def _fetch(self, path: str, target: str) -> StorageError | None:
        try:
            self._request("GET", path)
        except StorageError as exc:
            return exc
        if path in self.denied:
            return StorageError(f"cannot fetch {self.get_url(path)!r}: access denied")
        try:
            content = (self.root / path).read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return NotFoundError(f"there is no {self.get_url(path)!r}")
        with open(target, "wb") as stream:
            stream.write(content[: len(content) // 2])
            stream.flush()
            if self.stops_halfway:
                (self.root.parent / "halfway").touch()
                time.sleep(600)
            time.sleep(self.seconds)
            stream.write(content[len(content) // 2 :])
        return None

    def _request(self, method: str, path: str) -> None:
        with open(self.log, "a") as log:
            log.write(f"{method} {path}\n")
        if self.is_down:
            raise UnreachableError(f"cannot reach {self.get_url(path)!r}: no answer")

    def take_requests(self, method: str = "") -> list[str]:
        """Return the requests made since the last call, by any process."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return sorted(line for line in lines if line.startswith(method))

    def is_dir(self, path: str) -> bool:
        raise NotImplementedError

    def to_path(self, path: str) -> Any:
        raise NotImplementedError

    def join(self, path: str, *names: str) -> str:
        return "/".join([path, *names])

    def split(self, path: str) -> tuple[str, str]:
        parent, _, name = path.rpartition("/")
        return parent, name

    def get_url(self, path: str) -> str:
        return f"fake://host/{path}"

    def get_identity(self, path: str) -> str:
        return f"fake://host{self.root}/{path}"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(CACHE_DIR_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def storage(tmp_path: Path) -> FolderStorage:
    (tmp_path / "remote").mkdir()
    return FolderStorage(tmp_path / "remote")


RUN = "exp/27d8a8d3/artifacts"


@pytest.fixture
def remote(storage: FolderStorage) -> Path:
    """The artifacts directory on the remote storage, as a local folder."""
    root = storage.root / RUN
    (root / "model/deep").mkdir(parents=True)
    (root / ".hydra").mkdir()
    (root / ".hydra/config.yaml").write_text("seed: 1\n")
    (root / "a.txt").write_text("content of a")
    (root / "b.csv").write_text("x,y\n1,2\n")
    (root / "model/c.txt").write_text("content of c")
    (root / "model/deep/d.txt").write_text("content of d")
    return root


@pytest.fixture
def artifacts(storage: FolderStorage, remote: Path) -> Path:
    return make_artifact_path(Place(storage, RUN))


def names(paths: Any) -> list[str]:
    return sorted(path.name for path in paths)


# Incomplete listings -----------------------------------------------------------------------


@pytest.fixture
def web(storage: FolderStorage, remote: Path) -> Path:
    """The artifacts on a web server like nginx: its listings lack validators and dotfiles."""
    storage.lists_validators = False
    storage.hides_dotfiles = True
    return make_artifact_path(Place(storage, RUN))


# Renewal -----------------------------------------------------------------------------------


def fetch_named(storage: Storage, name: str) -> Path:
    return fetch(make_artifact_path(Place(storage, RUN)) / name)
