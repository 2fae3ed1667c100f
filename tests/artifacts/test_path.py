"""Paths of remote artifacts: they behave as pathlib's, and any reader of files can open them."""

from __future__ import annotations

import copy
import json
import multiprocessing
import os
import pickle
import re
import shutil
import sys
import zipfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import joblib
import numpy as np
import polars as pl
import pytest

from kedro_hydraflow.artifacts import ArtifactPath, fetch, make_artifact_path
from kedro_hydraflow.errors import NotFoundError, StorageError
from kedro_hydraflow.storage import Place
from tests.artifacts.conftest import RUN, FolderStorage, names

if TYPE_CHECKING:
    from collections.abc import Callable


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


def test_paths_outside_the_directory_are_plain(artifacts: Path, tmp_path: Path) -> None:
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


def test_nothing_is_requested_before_the_first_query(
    storage: FolderStorage, remote: Path, cache: Path
) -> None:
    path = make_artifact_path(Place(storage, RUN)) / "model" / "c.txt"
    repr(path), str(path), hash(path), pickle.dumps(path), path.parent
    assert storage.take_requests() == []
    assert not cache.exists()


def test_the_text_of_a_path_never_exists(artifacts: Path) -> None:
    (artifacts / "a.txt").read_text()
    for path in (str(artifacts / "a.txt"), Path(artifacts / "a.txt")):
        with pytest.raises(FileNotFoundError):
            open(path)  # noqa: SIM115
    with pytest.raises(FileNotFoundError):
        os.listdir(Path(artifacts))


def test_dots_within_the_directory_are_resolved(artifacts: Path) -> None:
    assert (artifacts / "model" / ".." / "a.txt").read_text() == "content of a"
    assert (artifacts / "model" / "..").resolve() == artifacts


@pytest.mark.parametrize("name", ["../secret.txt", "model/../../secret.txt", "..", "a\0b"])
def test_no_name_leads_out_of_the_directory(artifacts: Path, storage: Any, name: str) -> None:
    (storage.root / RUN).with_name("secret.txt").write_text("secret")
    path = artifacts / name
    for question in (path.exists, path.read_text, lambda: os.fspath(path), lambda: fetch(path)):
        with pytest.raises(StorageError, match="is not in the artifacts directory 'fake"):
            question()
    assert storage.take_requests("GET") == []


# Queries -----------------------------------------------------------------------------------


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
        if pattern == "*/" and sys.version_info < (3, 11):  # which finds files too
            expected = {name for name in expected if (remote / name).is_dir()}
        assert set(found) == expected


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "pattern", ["**/" * 12 + "*.txt", "**/*/" * 6 + "*.txt", "**/a/" * 6 + "**"]
)
def test_patterns_with_many_wildcards_search_each_folder_once(
    artifacts: Path, remote: Path, pattern: str
) -> None:
    for i in range(8):
        folder = remote / "/".join(["a"] * (i + 1))
        folder.mkdir()
        (folder / "x.txt").write_text("x")
    found = [str(p.relative_to(artifacts)) for p in artifacts.glob(pattern)]
    assert "a/a/a/a/a/a/a/a/x.txt" in found or "a/a/a/a/a/a" in found
    assert len(found) == len(set(found))


def test_glob_rejects_the_patterns_that_pathlib_rejects(artifacts: Path) -> None:
    with pytest.raises(ValueError, match="Unacceptable pattern"):
        list(artifacts.glob(""))
    with pytest.raises(NotImplementedError, match="Non-relative"):
        list(artifacts.glob("/etc/*"))


def test_glob_can_ignore_case(artifacts: Any) -> None:
    assert names(artifacts.glob("A.TXT")) == []
    assert names(artifacts.glob("A.TXT", case_sensitive=False)) == ["a.txt"]


def test_walk_yields_all_folders(artifacts: Any) -> None:
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


def test_fspath_of_a_folder_fetches_all_that_it_holds(
    artifacts: Path, storage: FolderStorage
) -> None:
    text = os.fspath(artifacts / "model")
    assert storage.take_requests("GET") == [f"GET {RUN}/model/c.txt", f"GET {RUN}/model/deep/d.txt"]
    assert Path(text, "deep", "d.txt").read_text() == "content of d"
    assert sorted(os.listdir(artifacts / "model")) == ["c.txt", "deep"]
    assert storage.take_requests() == []


def test_fetch_returns_plain_paths(artifacts: Path, remote: Path, tmp_path: Path) -> None:
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
def test_the_text_of_a_path_cannot_be_fetched(
    artifacts: Path, storage: FolderStorage, name: str
) -> None:
    fetch(artifacts)
    for path in (str(artifacts / name), Path(artifacts / name)):
        with pytest.raises(
            StorageError, match=r"pass the path itself, .* or use Run\.fetch"
        ) as caught:
            fetch(path)
        assert not isinstance(caught.value, NotFoundError)


def test_fetch_accepts_local_paths(remote: Path, tmp_path: Path) -> None:
    assert fetch(remote / "a.txt") == remote / "a.txt"
    assert fetch(str(remote)) == remote
    with pytest.raises(NotFoundError, match="absent"):
        fetch(tmp_path / "absent")


# Errors ------------------------------------------------------------------------------------


def test_errors_name_the_url_of_an_absent_file(artifacts: Path) -> None:
    path = artifacts / "model" / "absent.npz"
    url = f"there is no 'fake://host/{RUN}/model/absent.npz'"
    for read in (open, fetch, os.fspath, np.load, Path.read_bytes, Path.stat):
        with pytest.raises(FileNotFoundError, match=url) as caught:
            read(path)
        assert isinstance(caught.value, NotFoundError)
    with pytest.raises(NotFoundError):
        path.resolve(strict=True)


def test_errors_name_what_may_be_meant_without_a_request(
    artifacts: Path, storage: FolderStorage
) -> None:
    absent = f"{RUN}/model/c.text"
    with pytest.raises(
        NotFoundError, match=r"/model/c.text'; the nearest artifacts are 'model/c.txt'"
    ):
        (artifacts / "model/c.text").read_bytes()
    assert storage.take_requests() == [f"GET {absent}", f"LIST {RUN}/model", f"LIST {absent}"]
    with pytest.raises(
        NotFoundError, match=r"/modle/d.txt'; the nearest artifacts are 'model/c.txt'"
    ):
        (artifacts / "modle/d.txt").read_bytes()
    assert f"LIST {RUN}" not in storage.take_requests()


WRITES: dict[str, Callable[[Any], Any]] = {
    "open w": lambda p: (p / "a.txt").open("w"),
    "open a": lambda p: (p / "a.txt").open("a"),
    "open r+b": lambda p: (p / "a.txt").open(mode="r+b"),
    "open x": lambda p: (p / "new").open("x"),
    "write_text": lambda p: (p / "a.txt").write_text("x"),
    "write_text of a new one": lambda p: (p / "new").write_text("x"),
    "write_bytes": lambda p: (p / "a.txt").write_bytes(b"x"),
    "touch": lambda p: (p / "a.txt").touch(),
    "touch of a new one": lambda p: (p / "new").touch(exist_ok=True),
    "mkdir": lambda p: (p / "new").mkdir(),
    "mkdir of an old one": lambda p: (p / "model").mkdir(parents=True, exist_ok=True),
    "unlink": lambda p: (p / "a.txt").unlink(),
    "unlink of none": lambda p: (p / "new").unlink(missing_ok=True),
    "rmdir": lambda p: (p / "model").rmdir(),
    "rename": lambda p: (p / "a.txt").rename(p / "new"),
    "replace": lambda p: (p / "a.txt").replace(p / "b.csv"),
    "chmod": lambda p: (p / "a.txt").chmod(0o777),
    "lchmod": lambda p: (p / "a.txt").lchmod(0o777),
    "symlink_to": lambda p: (p / "new").symlink_to(p / "a.txt"),
    "hardlink_to": lambda p: (p / "new").hardlink_to(p / "a.txt"),
}
if sys.version_info >= (3, 14):
    WRITES |= {
        "move": lambda p: (p / "a.txt").move(p / "new"),
        "move_into": lambda p: (p / "a.txt").move_into(p / "model"),
        "copy": lambda p: (p / "a.txt").copy(p / "new"),
        "copy_into": lambda p: (p / "a.txt").copy_into(p / "model"),
        "copy onto": lambda p: Path(__file__).copy(p / "a.txt"),
    }


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_methods_that_write_raise(
    artifacts: Path, storage: FolderStorage, write: Callable[[Path], Any]
) -> None:
    with pytest.raises(StorageError) as caught:
        write(artifacts)
    assert re.fullmatch(
        rf"cannot change 'fake://host/{RUN}/(a\.txt|new|model(/a\.txt)?)': the artifacts of a "
        "remote run are read-only copies; write elsewhere",
        str(caught.value),
    )
    assert storage.take_requests() == []


def test_copies_are_read_only(artifacts: Path) -> None:
    assert os.stat(artifacts / "a.txt").st_mode & 0o777 == 0o400


@pytest.mark.parametrize(
    "write",
    [
        lambda path: np.savetxt(path, [1.0]),
        os.mkdir,
        lambda path: shutil.copy(__file__, path),
        lambda path: os.link(__file__, path),
    ],
    ids=["np.savetxt", "os.mkdir", "shutil.copy", "os.link"],
)
def test_functions_that_write_find_no_new_file(
    artifacts: Path, write: Callable[[Path], Any]
) -> None:
    with pytest.raises(NotFoundError, match=f"there is no 'fake://host/{RUN}/new'"):
        write(artifacts / "new")


# Threads and processes ---------------------------------------------------------------------


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


def test_copying_a_path_returns_the_path(artifacts: Path) -> None:
    assert copy.copy(artifacts) is artifacts
    assert copy.deepcopy([artifacts]) == [artifacts]
