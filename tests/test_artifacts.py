from __future__ import annotations

import copy
import gc
import json
import multiprocessing
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import joblib
import numpy as np
import polars as pl
import pytest
from filelock import FileLock

from kedro_hydraflow.artifacts import (
    CACHE_SIZE_VARIABLE,
    ArtifactPath,
    fetch,
    make_artifact_path,
)
from kedro_hydraflow.artifacts.run_artifacts import RunArtifacts
from kedro_hydraflow.cache_dir import CACHE_DIR_VARIABLE
from kedro_hydraflow.errors import NotFoundError, OptionError, StorageError, UnreachableError
from kedro_hydraflow.storage import Entry, Place, Storage

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

SECRET = "hunter2-SECRET"


class FolderStorage(Storage):
    """A remote storage over a local folder, with a log of the requests that were made."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.log = root.parent / "requests.log"
        self.password = SECRET
        self.tells_versions = True
        self.hides_dotfiles = False
        self.cannot_list: set[str] = set()
        self.denied: set[str] = set()
        self.is_down = False
        self.seconds = 0.0
        self.stops_halfway = False
        self.names: dict[str, list[str]] = {}
        """Names that a folder lists besides."""

    @property
    def key(self) -> Hashable:
        return self.root

    def list_dir(self, path: str, limit: int | None = None) -> list[Entry]:
        self._request("LIST", path)
        if path in self.cannot_list:
            raise StorageError(f"cannot list the directory {self.url(path)!r}: 403")
        folder = self.root / path
        if not folder.is_dir():
            raise NotFoundError(f"there is no directory {self.url(path)!r}")
        entries = [Entry(name, is_dir=False) for name in self.names.get(path, [])]
        shown = [f for f in folder.iterdir() if not (self.hides_dotfiles and f.name[0] == ".")]
        return sorted([*entries, *map(self._make_entry, shown)])

    def _make_entry(self, file: Path) -> Entry:
        if file.is_dir():
            return Entry(file.name, is_dir=True)
        status = file.stat()
        version = f"{status.st_mtime_ns}-{status.st_size}" if self.tells_versions else None
        return Entry(file.name, is_dir=False, size=status.st_size, version=version)

    def read_parsed(self, paths: Sequence[str], parse: Any) -> Any:
        raise NotImplementedError

    def fetch_many(self, files: Sequence[tuple[str, str]]) -> list[StorageError | None]:
        return [self._fetch(*pair) for pair in files]

    def _fetch(self, path: str, target: str) -> StorageError | None:
        try:
            self._request("GET", path)
        except StorageError as exc:
            return exc
        if path in self.denied:
            return StorageError(f"cannot fetch {self.url(path)!r}: access denied")
        try:
            content = (self.root / path).read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return NotFoundError(f"there is no {self.url(path)!r}")
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
            raise UnreachableError(f"cannot ask for {self.url(path)!r}: no answer")

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

    def url(self, path: str) -> str:
        return f"fake://host/{path}"

    def identity(self, path: str) -> str:
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
    """The artifacts directory, as its owner sees it."""
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


# Paths -------------------------------------------------------------------------------------


def test_is_a_path_whose_names_are_those_of_the_run(artifacts: Path) -> None:
    assert isinstance(artifacts, Path)
    assert isinstance(artifacts, os.PathLike)
    assert artifacts.name == "artifacts"
    assert artifacts.parent.name == "27d8a8d3"


DERIVATIONS: dict[str, Callable[[Any], Any]] = {
    "/": lambda p: p / "a.txt",
    "/ Path": lambda p: p / Path("a.txt"),
    "/ of another": lambda p: p / "b.csv" / (p / "a.txt"),
    "str /": lambda p: "/elsewhere" / (p / "a.txt"),
    "Path /": lambda p: Path("/elsewhere") / (p / "a.txt"),
    "joinpath": lambda p: p.joinpath("model", "..", "a.txt"),
    "parent": lambda p: (p / "model").parent,
    "parents": lambda p: (p / "model/deep/d.txt").parents[2],
    "last of parents": lambda p: (p / "model/deep").parents[:2][-1],
    "with_name": lambda p: (p / "x").with_name("a.txt"),
    "with_stem": lambda p: (p / "x.txt").with_stem("a"),
    "with_suffix": lambda p: (p / "a").with_suffix(".txt"),
    "relative_to": lambda p: p / (p / "a.txt").relative_to(p),
    "absolute": lambda p: (p / "a.txt").absolute(),
    "resolve": lambda p: (p / "model" / ".." / "a.txt").resolve(strict=True),
    "expanduser": lambda p: (p / "a.txt").expanduser(),
    "iterdir": lambda p: list(p.iterdir())[1],
    "glob": lambda p: next(p.glob("*.txt")),
    "glob of a name": lambda p: next(p.glob("a.txt")),
    "rglob": lambda p: next(p.rglob("a.txt")),
    "walk": lambda p: next(p.walk())[0],
    "the class": lambda p: type(p)(p / "a.txt"),
    "the class and text": lambda p: type(p)(p, "a.txt"),
    "copy": lambda p: copy.copy(p / "a.txt"),
    "deepcopy": lambda p: copy.deepcopy([p / "a.txt"])[0],
}


@pytest.mark.parametrize("derive", DERIVATIONS.values(), ids=DERIVATIONS)
def test_derived_paths_are_artifact_paths_that_share_the_listings(
    artifacts: Path, storage: FolderStorage, derive: Callable[[Path], Path]
) -> None:
    list(artifacts.rglob("*"))
    storage.take_requests()
    path = derive(artifacts)
    assert type(path) is ArtifactPath
    assert path.exists()
    assert storage.take_requests() == []
    assert path.is_dir() or path.read_text() == "content of a"


def test_paths_compare_as_pathlibs_do(artifacts: Path) -> None:
    file = artifacts / "model" / "c.txt"
    assert file == artifacts / "model/c.txt"
    assert hash(file) == hash(artifacts / "model/c.txt")
    assert file.relative_to(artifacts) == Path("model/c.txt")
    assert type(file.relative_to(artifacts)) is type(Path())
    assert file.is_relative_to(artifacts)
    assert file.match("*.txt")
    assert sorted([file, artifacts]) == [artifacts, file]
    assert list(file.parents) == list(Path(file).parents)


def test_what_lies_elsewhere_is_a_plain_path(artifacts: Path, tmp_path: Path) -> None:
    for path in (artifacts.parent, artifacts.parents[2], artifacts / tmp_path):
        assert type(path) is type(Path())
    assert not artifacts.parent.exists()
    assert (artifacts / tmp_path).is_dir()
    for text in ("elsewhere", str(artifacts), Path(artifacts)):
        assert type(ArtifactPath(text)) is type(Path())
        assert ArtifactPath(text) == Path(text)
    assert [type(path) for path in (artifacts / "a").parents[:2]] == [ArtifactPath, type(Path())]
    with pytest.raises(TypeError):
        1 / artifacts  # type: ignore[operator]


def test_nothing_happens_before_the_first_question(
    storage: FolderStorage, remote: Path, cache: Path
) -> None:
    path = make_artifact_path(Place(storage, RUN)) / "model" / "c.txt"
    repr(path), str(path), hash(path), pickle.dumps(path), path.parent
    assert storage.take_requests() == []
    assert not cache.exists()


def test_text_leads_nowhere_even_when_fetched(artifacts: Path) -> None:
    (artifacts / "a.txt").read_text()
    for path in (str(artifacts / "a.txt"), Path(artifacts / "a.txt")):
        with pytest.raises(FileNotFoundError):
            open(path)  # noqa: SIM115
    with pytest.raises(FileNotFoundError):
        os.listdir(Path(artifacts))


def test_dots_within_the_directory_are_followed(artifacts: Path) -> None:
    assert (artifacts / "model" / ".." / "a.txt").read_text() == "content of a"
    assert (artifacts / "model" / "..").resolve() == artifacts


@pytest.mark.parametrize("name", ["../secret.txt", "model/../../secret.txt", "..", "a\0b"])
def test_no_name_leads_out_of_the_directory(artifacts: Path, storage: Any, name: str) -> None:
    (storage.root / RUN).with_name("secret.txt").write_text("secret")
    path = artifacts / name
    for question in (path.exists, path.read_text, lambda: os.fspath(path), lambda: fetch(path)):
        with pytest.raises(StorageError, match="does not lie in the artifacts directory 'fake"):
            question()
    assert storage.take_requests("GET") == []


@pytest.mark.parametrize("name", ["..", ".", "", "../x", "/etc/passwd", "a/b", "a\0b"])
def test_a_remote_key_never_leaves_the_directory(
    artifacts: Path, storage: FolderStorage, cache: Path, name: str
) -> None:
    storage.names[f"{RUN}/model"] = [name]
    model = artifacts / "model"
    for question in (
        lambda: list(model.iterdir()),
        lambda: list(artifacts.rglob("*")),
        lambda: os.listdir(model),
        lambda: fetch(artifacts),
    ):
        with pytest.raises(StorageError, match="cannot be the name of a file"):
            question()
    assert (model / "c.txt").read_text() == "content of c"
    assert storage.take_requests("GET") == [f"GET {RUN}/model/c.txt"]


# Questions ---------------------------------------------------------------------------------


def test_questions_list_each_folder_once_and_fetch_nothing(
    artifacts: Path, storage: FolderStorage
) -> None:
    for _ in range(3):
        assert artifacts.exists()
        assert artifacts.is_dir()
        assert not artifacts.is_file()
        assert (artifacts / "a.txt").is_file()
        assert not (artifacts / "a.txt").is_dir()
        assert (artifacts / "model").is_dir()
        assert not (artifacts / "absent").exists()
        assert not (artifacts / "absent/file").exists()
        assert not (artifacts / "a.txt").is_symlink()
        assert not (artifacts / "a.txt").is_fifo()
        assert names(artifacts.iterdir()) == [".hydra", "a.txt", "b.csv", "model"]
    assert storage.take_requests() == [f"LIST {RUN}", f"LIST {RUN}/absent"]


PATTERNS = [
    *("*", "*.txt", "**/*.txt", "**", "model/*", "*/c.txt", "**/deep/*", "**/deep/**/*", "*/"),
    *("a.txt", "absent/*", "absent", "[ab].*", ".hydra/config.yaml", "**/**/*.txt", "./*.csv"),
]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_glob_finds_what_pathlib_finds(artifacts: Path, remote: Path, pattern: str) -> None:
    for method in ("glob", "rglob"):
        expected = {str(p.relative_to(remote)) for p in getattr(remote, method)(pattern)}
        found = [str(p.relative_to(artifacts)) for p in getattr(artifacts, method)(pattern)]
        assert len(found) == len(set(found))
        if pattern == "*/" and sys.version_info < (3, 11):  # where it finds files too
            expected = {name for name in expected if (remote / name).is_dir()}
        assert set(found) == expected


def test_glob_refuses_what_pathlib_refuses(artifacts: Path) -> None:
    with pytest.raises(ValueError, match="Unacceptable pattern"):
        list(artifacts.glob(""))
    with pytest.raises(NotImplementedError, match="Non-relative"):
        list(artifacts.glob("/etc/*"))


def test_glob_can_ignore_case(artifacts: Any) -> None:
    assert names(artifacts.glob("A.TXT")) == []
    assert names(artifacts.glob("A.TXT", case_sensitive=False)) == ["a.txt"]


def test_walk_gives_all_folders(artifacts: Any) -> None:
    walked = [(str(d.relative_to(artifacts)), sub, files) for d, sub, files in artifacts.walk()]
    assert walked == [
        (".", [".hydra", "model"], ["a.txt", "b.csv"]),
        (".hydra", [], ["config.yaml"]),
        ("model", ["deep"], ["c.txt"]),
        ("model/deep", [], ["d.txt"]),
    ]
    assert next(iter(artifacts.walk(top_down=False)))[0].name == ".hydra"
    assert list((artifacts / "absent").walk()) == []
    errors: list[OSError] = []
    assert list((artifacts / "absent").walk(on_error=errors.append)) == []
    assert "fake://host/exp/27d8a8d3/artifacts/absent" in str(errors[0])


def test_status_of_a_file_and_of_a_folder(artifacts: Path, storage: FolderStorage) -> None:
    assert (artifacts / "a.txt").stat().st_size == len("content of a")
    assert (artifacts / "a.txt").lstat().st_size == len("content of a")
    assert storage.take_requests("GET") == [f"GET {RUN}/a.txt"]
    assert os.path.isdir(artifacts / "model/deep")
    storage.take_requests()
    assert artifacts.stat().st_mode & 0o40000
    assert storage.take_requests("GET") == []
    with pytest.raises(NotFoundError, match="fake://"):
        (artifacts / "absent").stat()


def test_a_run_without_artifacts(storage: FolderStorage) -> None:
    artifacts = make_artifact_path(Place(storage, "exp/absent/artifacts"))
    assert not artifacts.exists()
    assert list(artifacts.glob("**/*")) == []
    with pytest.raises(NotFoundError, match="fake://host/exp/absent/artifacts"):
        list(artifacts.iterdir())
    with pytest.raises(NotFoundError, match="fake://host/exp/absent/artifacts"):
        fetch(artifacts)


# Readers -----------------------------------------------------------------------------------


def write_samples(root: Path) -> None:
    np.savez(root / "weights.npz", w=np.arange(6))
    np.save(root / "array.npy", np.arange(6))
    pl.DataFrame({"x": [1, 2]}).write_csv(root / "table.csv")
    pl.DataFrame({"x": [1, 2]}).write_parquet(root / "table.parquet")
    joblib.dump({"x": [1, 2]}, root / "model.joblib")
    (root / "data.json").write_text('{"x": [1, 2]}')
    with zipfile.ZipFile(root / "data.zip", "w") as archive:
        archive.writestr("x", "12")


def read_with_open(path: str | Path) -> str:
    with open(path) as stream:
        return stream.read()


def read_json(path: Path) -> Any:
    with path.open() as stream:
        return json.load(stream)


def read_npz(path: Path) -> Any:
    with np.load(path) as arrays:
        return arrays["w"].tolist()


def read_zip(path: Path) -> bytes:
    with zipfile.ZipFile(path) as archive:
        return archive.read("x")


READERS: dict[str, Callable[[Path], Any]] = {
    "open": lambda p: read_with_open(p / "data.json"),
    "Path.open": lambda p: read_json(p / "data.json"),
    "np.load npz": lambda p: read_npz(p / "weights.npz"),
    "np.load mmap": lambda p: np.load(p / "array.npy", mmap_mode="r").tolist(),
    "np.loadtxt": lambda p: np.loadtxt(p / "table.csv", skiprows=1).tolist(),
    "pl.read_csv": lambda p: pl.read_csv(p / "table.csv").to_dicts(),
    "pl.scan_csv": lambda p: pl.scan_csv(p / "table.csv").collect().to_dicts(),
    "pl.read_parquet": lambda p: pl.read_parquet(p / "table.parquet").to_dicts(),
    "pl.scan_parquet": lambda p: pl.scan_parquet(p / "table.parquet").collect().to_dicts(),
    "joined glob": lambda p: pl.read_csv(os.path.join(p, "*.csv")).to_dicts(),
    "joblib.load fetched": lambda p: joblib.load(str(fetch(p / "model.joblib"))),
    "zipfile": lambda p: read_zip(p / "data.zip"),
    "os.listdir": lambda p: sorted(os.listdir(p)),
    "os.scandir": lambda p: sorted(e.name for e in os.scandir(p)),
    "os.walk": lambda p: [sorted(files) for _, _, files in os.walk(p)],
    "os.stat": lambda p: os.stat(p / "data.json").st_size,
    "os.path": lambda p: (os.path.exists(p / "data.json"), os.path.exists(p / "absent")),
    "bytes": lambda p: Path(os.fsdecode(bytes(p / "data.json"))).read_bytes(),
}


@pytest.mark.skipif(
    tuple(map(int, joblib.__version__.split(".")[:2])) < (1, 6),
    reason="joblib before 1.6 takes the text of a Path",
)
def test_joblib_reads_as_it_does_locally(artifacts: Path, remote: Path) -> None:
    joblib.dump({"x": [1, 2]}, remote / "model.joblib")
    assert joblib.load(artifacts / "model.joblib") == {"x": [1, 2]}
    with pytest.raises(NotFoundError):
        joblib.load(artifacts / "absent.joblib")


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
def test_readers_read_as_they_do_locally(storage: FolderStorage, reader: Any) -> None:
    local = storage.root / "exp/run/artifacts"
    local.mkdir(parents=True)
    write_samples(local)
    artifacts = make_artifact_path(Place(storage, "exp/run/artifacts"))
    assert reader(artifacts) == reader(local)


def test_shutil_copies_files_and_folders(artifacts: Path, remote: Path, tmp_path: Path) -> None:
    shutil.copy(artifacts / "a.txt", tmp_path / "a.txt")
    shutil.copytree(artifacts / "model", tmp_path / "copy")
    assert (tmp_path / "a.txt").read_text() == "content of a"
    assert (tmp_path / "copy/deep/d.txt").read_text() == "content of d"


@pytest.mark.skipif(sys.version_info < (3, 14), reason="Path.copy is new in Python 3.14")
def test_pathlib_copies_files_and_folders(artifacts: Any, tmp_path: Path) -> None:
    artifacts.copy(tmp_path / "copy")
    assert (tmp_path / "copy/model/deep/d.txt").read_text() == "content of d"


def test_a_folder_is_fetched_whole_when_its_plain_path_is_taken(
    artifacts: Path, storage: FolderStorage
) -> None:
    text = os.fspath(artifacts / "model")
    assert storage.take_requests("GET") == [f"GET {RUN}/model/c.txt", f"GET {RUN}/model/deep/d.txt"]
    assert Path(text, "deep", "d.txt").read_text() == "content of d"
    assert sorted(os.listdir(artifacts / "model")) == ["c.txt", "deep"]
    assert storage.take_requests() == []


def test_fetch_gives_plain_paths(artifacts: Path, remote: Path, tmp_path: Path) -> None:
    for name in ("a.txt", "model", ""):
        path = fetch(artifacts / name)
        assert type(path) is type(Path())
        assert path.exists()
    assert read_with_open(str(fetch(artifacts / "a.txt"))) == "content of a"
    assert fetch(artifacts).name == "artifacts"
    assert names(fetch(artifacts).rglob("*.txt")) == ["a.txt", "c.txt", "d.txt"]
    assert fetch(fetch(artifacts / "a.txt")) == fetch(artifacts / "a.txt")
    assert fetch(str(fetch(artifacts / "model"))) == fetch(artifacts / "model")


@pytest.mark.parametrize("name", ["", "a.txt", "absent"])
def test_mere_text_cannot_be_fetched(artifacts: Path, storage: FolderStorage, name: str) -> None:
    fetch(artifacts)
    for path in (str(artifacts / name), Path(artifacts / name)):
        with pytest.raises(
            StorageError, match=r"pass the path itself, .* or use Run\.fetch"
        ) as caught:
            fetch(path)
        assert not isinstance(caught.value, NotFoundError)


def test_fetch_takes_local_paths_too(remote: Path, tmp_path: Path) -> None:
    assert fetch(remote / "a.txt") == remote / "a.txt"
    assert fetch(str(remote)) == remote
    with pytest.raises(NotFoundError, match="absent"):
        fetch(tmp_path / "absent")


def test_an_empty_folder_is_there(artifacts: Path, remote: Path) -> None:
    (remote / "empty").mkdir()
    assert os.listdir(artifacts / "empty") == []
    assert fetch(artifacts / "empty").is_dir()


# Refusals ----------------------------------------------------------------------------------


def test_absent_files_are_named_by_their_url(artifacts: Path) -> None:
    path = artifacts / "model" / "absent.npz"
    url = f"there is no 'fake://host/{RUN}/model/absent.npz'"
    for read in (open, fetch, os.fspath, np.load, Path.read_bytes, Path.stat):
        with pytest.raises(FileNotFoundError, match=url) as caught:
            read(path)
        assert isinstance(caught.value, NotFoundError)
    with pytest.raises(NotFoundError):
        path.resolve(strict=True)


def test_unreachable_is_never_absent(artifacts: Path, storage: FolderStorage) -> None:
    storage.is_down = True
    for question in (Path.exists, Path.is_file, Path.is_dir, Path.read_text, fetch, os.fspath):
        for path in (artifacts, artifacts / "a.txt"):
            with pytest.raises(UnreachableError, match="no answer"):
                question(path)
    for listing in (artifacts.iterdir, artifacts.walk, lambda: artifacts.glob("*")):  # type: ignore[attr-defined]
        with pytest.raises(UnreachableError):
            list(listing())
    storage.is_down = False
    assert (artifacts / "a.txt").read_text() == "content of a"


def test_denied_is_never_absent(artifacts: Path, storage: FolderStorage) -> None:
    storage.denied = {f"{RUN}/a.txt"}
    with pytest.raises(StorageError, match="access denied"):
        open(artifacts / "a.txt")  # noqa: SIM115
    with pytest.raises(StorageError, match="access denied"):
        fetch(artifacts)
    assert (artifacts / "b.csv").read_text() == "x,y\n1,2\n"


def test_one_file_that_fails_leaves_the_others_fetched(
    artifacts: Path, storage: FolderStorage
) -> None:
    storage.denied = {f"{RUN}/b.csv"}
    with pytest.raises(StorageError, match="access denied"):
        fetch(artifacts)
    storage.denied, _ = set(), storage.take_requests()
    fetch(artifacts)
    assert storage.take_requests("GET") == [f"GET {RUN}/b.csv"]


def test_nothing_can_be_written(artifacts: Any, storage: FolderStorage, tmp_path: Path) -> None:
    file = artifacts / "a.txt"
    for attempt in (
        lambda: file.write_text("x"),
        lambda: file.write_bytes(b"x"),
        lambda: file.open("a"),
        lambda: file.open(mode="r+b"),
        lambda: (artifacts / "new").open("x"),
        lambda: (artifacts / "new").mkdir(parents=True, exist_ok=True),
        lambda: file.touch(),
        lambda: file.unlink(missing_ok=True),
        lambda: file.rename(tmp_path / "x"),
        lambda: file.replace(tmp_path / "x"),
        lambda: file.chmod(0o777),
        lambda: artifacts.rmdir(),
        lambda: file.symlink_to(tmp_path),
        lambda: file.hardlink_to(tmp_path),
    ):
        with pytest.raises(StorageError, match=r"cannot change 'fake://host/.* are read only"):
            attempt()
    assert storage.take_requests() == []
    assert os.stat(file).st_mode & 0o777 == 0o444


def test_a_copy_that_was_overwritten_is_fetched_again(artifacts: Path) -> None:
    local = fetch(artifacts / "a.txt")
    local.chmod(0o644)
    local.write_text("broken")
    assert (artifacts / "a.txt").read_text() == "content of a"


# Listings that do not show everything ------------------------------------------------------


@pytest.fixture
def web(storage: FolderStorage, remote: Path) -> Path:
    """As nginx has it: no versions, no dotfiles."""
    storage.tells_versions = False
    storage.hides_dotfiles = True
    return make_artifact_path(Place(storage, RUN))


def test_hidden_files_are_found(web: Path) -> None:
    assert names(web.iterdir()) == ["a.txt", "b.csv", "model"]
    assert (web / ".hydra/config.yaml").read_text() == "seed: 1\n"
    assert (web / ".hydra").is_dir()
    assert (web / ".hydra/config.yaml").exists()
    assert os.listdir(web / ".hydra") == ["config.yaml"]
    assert not (web / ".absent").exists()
    assert names(web.glob(".hydra/*.yaml")) == ["config.yaml"]


def test_hidden_files_in_a_folder_stay(web: Path, remote: Path) -> None:
    (remote / ".notes").write_text("hidden")
    assert (web / ".notes").read_text() == "hidden"
    assert ".notes" in os.listdir(web)


def test_files_are_read_where_nothing_can_be_listed(web: Path, storage: FolderStorage) -> None:
    storage.cannot_list = {RUN, f"{RUN}/model", f"{RUN}/model/c.txt", f"{RUN}/absent"}
    assert (web / "model/c.txt").read_text() == "content of c"
    assert (web / "model/c.txt").exists()
    assert not (web / "model/absent").exists()
    with pytest.raises(NotFoundError, match="model/absent"):
        open(web / "model/absent")  # noqa: SIM115
    with pytest.raises(StorageError, match="cannot list"):
        list(web.iterdir())
    with pytest.raises(StorageError, match="cannot list"):
        web.exists()


def test_without_versions_a_file_is_fetched_once_for_each_run_made(
    web: Path, storage: FolderStorage, remote: Path
) -> None:
    for _ in range(3):
        assert (web / "a.txt").read_text() == "content of a"
    assert len(storage.take_requests("GET")) == 1
    (remote / "a.txt").write_text("another of a")
    assert (make_artifact_path(Place(storage, RUN)) / "a.txt").read_text() == "another of a"
    assert len(storage.take_requests("GET")) == 1


# Renewal -----------------------------------------------------------------------------------


def test_an_unchanged_file_is_fetched_once(artifacts: Path, storage: FolderStorage) -> None:
    (artifacts / "a.txt").read_text()
    assert storage.take_requests() == [f"GET {RUN}/a.txt", f"LIST {RUN}"]
    for _ in range(3):
        (artifacts / "a.txt").read_text()
    assert storage.take_requests() == []
    (make_artifact_path(Place(storage, RUN)) / "a.txt").read_text()
    assert storage.take_requests() == [f"LIST {RUN}"]


def test_a_changed_file_is_seen_by_the_next_load(
    artifacts: Path, storage: FolderStorage, remote: Path
) -> None:
    with open(artifacts / "a.txt") as before:
        (remote / "a.txt").write_text("CONTENT OF A")
        assert (artifacts / "a.txt").read_text() == "content of a"
        assert (make_artifact_path(Place(storage, RUN)) / "a.txt").read_text() == "CONTENT OF A"
        assert before.read() == "content of a"


def test_a_later_load_does_not_change_the_paths_of_an_earlier_one(
    artifacts: Path, storage: FolderStorage, remote: Path
) -> None:
    first = artifacts / "model"
    before = names(artifacts.rglob("*"))
    (remote / "model/new.txt").write_text("new")
    (remote / "a.txt").unlink()
    again = make_artifact_path(Place(storage, RUN))
    assert names((again / "model").iterdir()) == ["c.txt", "deep", "new.txt"]
    assert not (again / "a.txt").exists()
    assert names(first.iterdir()) == names((artifacts / "model").iterdir()) == ["c.txt", "deep"]
    assert names(artifacts.rglob("*")) == before
    assert (first.parent / "a.txt").exists()
    pickle.loads(pickle.dumps(artifacts)).exists()
    assert names(artifacts.rglob("*")) == before


def count_run_artifacts() -> int:
    gc.collect()
    return sum(type(thing) is RunArtifacts for thing in gc.get_objects())


def test_nothing_is_kept_of_a_run_whose_paths_are_gone(
    storage: FolderStorage, remote: Path
) -> None:
    before = count_run_artifacts()
    paths = [make_artifact_path(Place(storage, RUN)) / "a.txt" for _ in range(10)]
    for path in paths:
        assert path.read_text() == "content of a"
        assert names(path.parent.glob("*.txt")) == ["a.txt"]
        pickle.loads(pickle.dumps(path)).exists()
    assert count_run_artifacts() == before + 10
    del path, paths
    assert count_run_artifacts() == before


def test_a_file_newer_than_the_listing_can_be_opened(artifacts: Path, remote: Path) -> None:
    assert not (artifacts / "new.txt").exists()
    (remote / "new.txt").write_text("new")
    assert (artifacts / "new.txt").read_text() == "new"


def test_a_file_that_vanished_is_listed_no_more(artifacts: Path, remote: Path) -> None:
    assert (artifacts / "a.txt").exists()
    (remote / "a.txt").unlink()
    with pytest.raises(NotFoundError, match=r"a\.txt"):
        fetch(artifacts)
    assert not (artifacts / "a.txt").exists()
    assert "a.txt" not in os.listdir(artifacts)


def test_a_folder_loses_what_the_storage_lost(
    artifacts: Path, storage: FolderStorage, remote: Path
) -> None:
    fetch(artifacts)
    (remote / "a.txt").unlink()
    shutil.rmtree(remote / "model")
    again = make_artifact_path(Place(storage, RUN))
    assert sorted(os.listdir(again)) == [".hydra", "b.csv"]
    with pytest.raises(NotFoundError):
        open(again / "a.txt")  # noqa: SIM115


def test_an_older_listing_does_not_remove_what_a_newer_one_fetched(
    artifacts: Path, storage: FolderStorage, remote: Path
) -> None:
    fetch(artifacts)
    fetched = fetch_in_process(storage, remote, "new.txt", "new")
    assert "new.txt" in os.listdir(artifacts)
    assert fetched.read_text() == "new"


def fetch_in_process(storage: FolderStorage, remote: Path, name: str, content: str) -> Path:
    (remote / name).write_text(content)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(fetch_named, storage, name).result()


def fetch_named(storage: Storage, name: str) -> Path:
    return fetch(make_artifact_path(Place(storage, RUN)) / name)


def test_a_file_that_became_a_folder_and_back(
    artifacts: Path, storage: FolderStorage, remote: Path
) -> None:
    fetch(artifacts)
    (remote / "a.txt").unlink()
    (remote / "a.txt").mkdir()
    (remote / "a.txt/inner").write_text("inner")
    artifacts = make_artifact_path(Place(storage, RUN))
    assert os.listdir(artifacts / "a.txt") == ["inner"]
    assert (artifacts / "a.txt/inner").read_text() == "inner"
    shutil.rmtree(remote / "a.txt")
    (remote / "a.txt").write_text("a file again")
    artifacts = make_artifact_path(Place(storage, RUN))
    assert (artifacts / "a.txt").read_text() == "a file again"


def test_names_that_are_one_name_here(
    artifacts: Path, remote: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (remote / "A.txt").write_text("CONTENT OF A")
    get_local = RunArtifacts._get_local
    monkeypatch.setattr(
        RunArtifacts, "_get_local", lambda self, name: get_local(self, name).lower()
    )
    for _ in range(2):
        assert (artifacts / "a.txt").read_text() == "content of a"
        assert (artifacts / "A.txt").read_text() == "CONTENT OF A"
    with pytest.raises(StorageError, match=r"'fake://.*[aA]\.txt' and another name are one name"):
        fetch(artifacts)


# Threads and processes ---------------------------------------------------------------------


def test_threads_fetch_a_file_once(artifacts: Path, storage: FolderStorage) -> None:
    storage.seconds = 0.1
    with ThreadPoolExecutor(32) as threads:
        texts = list(threads.map(lambda _: (artifacts / "a.txt").read_text(), range(32)))
    assert texts == ["content of a"] * 32
    assert storage.take_requests() == [f"GET {RUN}/a.txt", f"LIST {RUN}"]


def read_often(storage: FolderStorage) -> list[bytes]:
    artifacts = make_artifact_path(Place(storage, RUN))
    contents = [(artifacts / "big").read_bytes() for _ in range(5)]
    return [*contents, *(Path(os.fspath(artifacts), "big").read_bytes() for _ in range(5))]


def test_processes_fetch_a_file_once(storage: FolderStorage, remote: Path) -> None:
    content = os.urandom(100_000)
    (remote / "big").write_bytes(content)
    storage.seconds = 0.1
    with ProcessPoolExecutor(6, multiprocessing.get_context("spawn")) as pool:
        for future in [pool.submit(read_often, storage) for _ in range(6)]:
            assert future.result() == [content] * 10
    requests = storage.take_requests("GET")
    assert len(requests) == len(set(requests)) == 6


@pytest.mark.skipif(os.name == "nt", reason="there is no kill -9")
def test_kill_in_the_middle_of_a_download(storage: FolderStorage, remote: Path) -> None:
    storage.stops_halfway = True
    child = multiprocessing.get_context("spawn").Process(target=read_often, args=(storage,))
    (remote / "big").write_bytes(b"whole" * 1000)
    child.start()
    while not (storage.root.parent / "halfway").exists():
        assert child.is_alive()
        time.sleep(0.01)
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    storage.stops_halfway = False
    assert list(Path(os.environ[CACHE_DIR_VARIABLE]).glob("run-*/partial/*"))
    assert fetch_named(storage, "big").read_bytes() == b"whole" * 1000
    assert not list(Path(os.environ[CACHE_DIR_VARIABLE]).glob("run-*/partial"))


@pytest.mark.parametrize("step", range(1, 12))
def test_stopped_at_any_step_of_keeping_a_copy(
    storage: FolderStorage, remote: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    fetch_named(storage, "a.txt")
    (remote / "a.txt").write_text("CONTENT OF A")
    calls = 0

    class Killed(BaseException):
        pass

    def count(function: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == step:
                raise Killed
            return function(*args, **kwargs)

        return call

    with monkeypatch.context() as patch:
        for name in ("replace", "remove", "chmod", "makedirs"):
            patch.setattr(os, name, count(getattr(os, name)))
        try:
            fetch_named(storage, "a.txt")
        except Killed:
            pass
        else:
            assert calls < step
    assert fetch_named(storage, "a.txt").read_text() == "CONTENT OF A"
    fetch_named(storage, "a.txt").chmod(0o644)
    fetch_named(storage, "a.txt").write_text("TRUNCATED")
    assert fetch_named(storage, "a.txt").read_text() == "CONTENT OF A"


FORK = """
import os, sys, threading, time
from pathlib import Path
from tests.test_artifacts import FolderStorage, Place, make_artifact_path, RUN

class Slow(FolderStorage):
    def list_dir(self, path, limit=None):
        if os.getpid() == parent:
            listing.set()
            time.sleep(60)
        return super().list_dir(path, limit)

parent, listing = os.getpid(), threading.Event()
artifacts = make_artifact_path(Place(Slow(Path(sys.argv[1])), RUN))
threading.Thread(target=artifacts.exists, daemon=True).start()
listing.wait()
child = os.fork()
if child == 0:
    os._exit(0 if (artifacts / "a.txt").read_text() == "content of a" else 1)
os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_fork_while_another_thread_lists(storage: FolderStorage, remote: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-c", FORK, str(storage.root)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run(command, env=environment, timeout=120).returncode == 0


def read_texts(*paths: Path) -> list[str]:
    assert all(type(path) is ArtifactPath for path in paths)
    return [path.read_text() for path in paths]


def test_paths_pickle_into_other_processes(artifacts: Path, storage: FolderStorage) -> None:
    paths = artifacts / "a.txt", artifacts / "model" / "c.txt"
    assert pickle.loads(pickle.dumps(paths)) == paths
    assert pickle.loads(pickle.dumps(artifacts)) == artifacts
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        assert pool.submit(read_texts, *paths).result() == ["content of a", "content of c"]
    assert len(storage.take_requests("GET")) == 2
    assert read_texts(*paths) == ["content of a", "content of c"]
    assert storage.take_requests("GET") == []


def test_paths_pickled_together_share_their_listings(
    artifacts: Path, storage: FolderStorage
) -> None:
    pickled = pickle.dumps([artifacts / "a.txt", artifacts / "b.csv", artifacts])
    assert all(path.exists() for path in pickle.loads(pickled))
    assert storage.take_requests() == [f"LIST {RUN}"]


def test_pickled_paths_list_afresh(artifacts: Path, remote: Path) -> None:
    assert not (artifacts / "new.txt").exists()
    (remote / "new.txt").write_text("new")
    again = pickle.loads(pickle.dumps(artifacts / "new.txt"))
    assert type(again) is ArtifactPath
    assert again == artifacts / "new.txt"
    assert again.exists()


def test_copies_are_the_same_path(artifacts: Path) -> None:
    assert copy.copy(artifacts) is artifacts
    assert copy.deepcopy([artifacts]) == [artifacts]


# The cache ---------------------------------------------------------------------------------


def test_one_directory_for_each_run(storage: FolderStorage, cache: Path) -> None:
    for run in ("one", "two"):
        (storage.root / run / "artifacts").mkdir(parents=True)
        (storage.root / run / "artifacts/x").write_text(run)
        assert (make_artifact_path(Place(storage, f"{run}/artifacts")) / "x").read_text() == run
    assert len(list(cache.glob("run-*/files"))) == 2


def test_no_credentials_in_the_cache(artifacts: Path, cache: Path) -> None:
    fetch(artifacts)
    assert SECRET not in repr(artifacts)
    for path in cache.rglob("*"):
        assert SECRET not in str(path)
        assert not path.is_file() or SECRET not in path.read_text()


def test_the_place_is_the_users_cache_directory(
    artifacts: Path, storage: FolderStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import platformdirs

    monkeypatch.delenv(CACHE_DIR_VARIABLE)
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda name, **_: tmp_path / "u" / name)
    fetch_named(storage, "a.txt")
    assert list((tmp_path / "u/kedro-hydraflow/artifacts").glob("run-*"))


@pytest.mark.parametrize("size", ["much", "10XB", "-5GB", "GB", "1e9"])
def test_a_size_that_is_none(artifacts: Path, monkeypatch: pytest.MonkeyPatch, size: str) -> None:
    monkeypatch.setenv(CACHE_SIZE_VARIABLE, size)
    with pytest.raises(OptionError, match=f"{CACHE_SIZE_VARIABLE}: expected .* found '{size}'"):
        (artifacts / "a.txt").read_text()


SIZES = {
    "20GB": 20e9,
    "500MB": 5e8,
    "500 mb": 5e8,
    " 2TB ": 2e12,
    "1GiB": 2**30,
    "1.5k": 1500,
    "123": 123,
    "7B": 7,
    "0": 0,
    "": 10e9,
}


@pytest.mark.parametrize(("text", "size"), SIZES.items())
def test_sizes(monkeypatch: pytest.MonkeyPatch, text: str, size: float) -> None:
    from kedro_hydraflow.artifacts.cache import get_cache_size

    monkeypatch.setenv(CACHE_SIZE_VARIABLE, text)
    assert get_cache_size() == size


class Runs:
    """Runs of 1000 bytes each, in a cache that is looked at after each download."""

    def __init__(self, storage: FolderStorage, cache: Path) -> None:
        self.storage = storage
        self.cache = cache

    def fetch(self, name: str, hours_ago: float = 0) -> Path:
        folder = self.storage.root / name / "artifacts"
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "x").exists():
            (folder / "x").write_bytes(b"x" * 1000)
        (self.cache / "looked-at").unlink(missing_ok=True)
        path = fetch(make_artifact_path(Place(self.storage, f"{name}/artifacts")) / "x")
        self.age(path, hours_ago)
        return path

    def age(self, path: Path, hours_ago: float) -> None:
        then = time.time() - 3600 * hours_ago
        os.utime(self.get_home(path), (then, then))

    def get_home(self, path: Path) -> Path:
        return self.cache / path.relative_to(self.cache).parts[0]


@pytest.fixture
def runs(storage: FolderStorage, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Runs:
    monkeypatch.setenv(CACHE_SIZE_VARIABLE, "2500")
    return Runs(storage, cache)


def test_the_least_recently_used_are_removed(runs: Runs) -> None:
    old, older, recent = runs.fetch("old", 2), runs.fetch("older", 3), runs.fetch("recent")
    assert not older.exists()
    assert old.exists()
    assert recent.exists()
    assert runs.fetch("older").read_bytes() == b"x" * 1000
    assert not old.exists()


def test_what_was_used_within_an_hour_stays(runs: Runs) -> None:
    paths = [runs.fetch(name, 0.9) for name in "abcde"]
    assert all(path.exists() for path in paths)


def test_use_without_a_download_counts(runs: Runs) -> None:
    a = runs.fetch("a", 2)
    b = runs.fetch("b", 2)
    runs.age(runs.fetch("a"), 1.5)
    assert runs.fetch("c").exists()
    assert a.exists()
    assert not b.exists()


def test_what_is_locked_stays(runs: Runs) -> None:
    a = runs.fetch("a", 5)
    b = runs.fetch("b", 4)
    with FileLock(f"{runs.get_home(a)}.lock"):
        runs.fetch("c")
    assert a.exists()
    assert not b.exists()


def test_one_run_may_be_larger_than_the_cache(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_SIZE_VARIABLE, "10")
    assert runs.fetch("a").read_bytes() == b"x" * 1000


def test_only_what_is_of_the_cache_is_removed(runs: Runs) -> None:
    runs.cache.mkdir()
    for name in ("mine", "run-mine"):
        (runs.cache / name).mkdir()
        (runs.cache / name / "x").write_bytes(b"x" * 5000)
        os.utime(runs.cache / name, (0, 0))
    runs.fetch("a", 2)
    runs.fetch("b", 2)
    assert (runs.cache / "mine/x").exists()
    assert (runs.cache / "run-mine/x").exists()


def test_the_cache_is_looked_at_once_a_minute(runs: Runs) -> None:
    a = runs.fetch("a", 2)
    looked = (runs.cache / "looked-at").stat().st_mtime_ns
    (runs.storage.root / "a/artifacts/y").write_bytes(b"y" * 5000)
    fetch(make_artifact_path(Place(runs.storage, "a/artifacts")) / "y")
    assert (runs.cache / "looked-at").stat().st_mtime_ns == looked
    assert a.exists()


def test_a_removed_run_is_fetched_again(runs: Runs) -> None:
    a = runs.fetch("a", 3)
    path = make_artifact_path(Place(runs.storage, "a/artifacts")) / "x"
    shutil.rmtree(runs.get_home(a))
    assert path.read_bytes() == b"x" * 1000


def test_a_full_disk(
    artifacts: Path, storage: FolderStorage, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch_many(files: Sequence[tuple[str, str]]) -> list[StorageError | None]:
        Path(files[0][1]).write_text("half")
        error = StorageError("cannot fetch 'fake://': OSError: No space left on device")
        error.__cause__ = OSError(28, "No space left on device")
        return [error]

    monkeypatch.setattr(storage, "fetch_many", fetch_many)
    with pytest.raises(StorageError) as caught:
        (artifacts / "a.txt").read_text()
    for text in (str(cache), "No space left", CACHE_DIR_VARIABLE, CACHE_SIZE_VARIABLE):
        assert text in str(caught.value)
    assert not [path for path in cache.glob("run-*/**/*") if path.is_file()]


def test_a_cache_that_cannot_be_written(artifacts: Path, cache: Path) -> None:
    cache.write_text("a file")
    with pytest.raises(StorageError, match=f"cannot keep artifacts .*{CACHE_DIR_VARIABLE}"):
        (artifacts / "a.txt").read_text()


def test_a_name_that_is_too_long_here(artifacts: Path, storage: FolderStorage) -> None:
    name = "x" * 300
    storage.names[RUN] = [name]
    original = storage._fetch
    storage._fetch = lambda path, target: original(f"{RUN}/a.txt", target)  # type: ignore[method-assign]
    with pytest.raises(StorageError, match=r"cannot keep artifacts .* name too long"):
        (artifacts / name).read_text()


def test_a_broken_validator_is_none(artifacts: Path, cache: Path) -> None:
    (artifacts / "a.txt").read_text()
    for validator in cache.glob("run-*/validators/*"):
        validator.write_text("{")
    assert (artifacts / "a.txt").read_text() == "content of a"
