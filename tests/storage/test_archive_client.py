from __future__ import annotations

import gzip
import io
import os
import pickle
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from kedro_hydraflow import Run, iter_run_dirs
from kedro_hydraflow.errors import (
    FileSizeError,
    KedroHydraflowError,
    NotFoundError,
    RunLoadError,
    StorageError,
)
from kedro_hydraflow.limits import CACHE_SIZE_VARIABLE, FILE_SIZE_VARIABLE, NODES_VARIABLE
from kedro_hydraflow.storage import Download, Entry, locate
from kedro_hydraflow.storage.archive_client import ArchiveClient
from tests.conftest import TrackingDir, WebServer, write

# Names of members ----------------------------------------------------------------------------


def rename_with_dot(name: str) -> str:
    return f"./{name}"


def rename_with_backslashes(name: str) -> str:
    return name.replace("/", "\\")


def rename_as_absolute(name: str) -> str:
    return f"/{name}"


def rename_with_empty_names(name: str) -> str:
    return name.replace("/", "//")


RENAMES = {
    "plain": str,
    "./": rename_with_dot,
    "backslashes": rename_with_backslashes,
    "absolute": rename_as_absolute,
    "//": rename_with_empty_names,
}


def iter_members(folder: Path, *, with_folders: bool) -> Iterator[tuple[str, Path]]:
    for path in sorted(folder.rglob("*"), reverse=True):  # not in the order of reading
        if path.is_file() or with_folders:
            yield path.relative_to(folder.parent).as_posix(), path


def make_zip(
    folder: Path, archive: Path, rename: Callable[[str], str] = str, *, with_folders: bool = True
) -> None:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for name, path in iter_members(folder, with_folders=with_folders):
            info = zipfile.ZipInfo(rename(f"{name}/" if path.is_dir() else name))
            file.writestr(info, b"" if path.is_dir() else path.read_bytes())


def make_tar(
    folder: Path,
    archive: Path,
    rename: Callable[[str], str] = str,
    *,
    with_folders: bool = True,
    mode: Any = "w",
) -> None:
    with tarfile.open(archive, mode) as file:
        if with_folders:
            file.add(folder.parent, ".", recursive=False)
        for name, path in iter_members(folder, with_folders=with_folders):
            info = file.gettarinfo(str(path))
            info.name = rename(name)
            file.addfile(info, None if path.is_dir() else io.BytesIO(path.read_bytes()))


@pytest.fixture
def runs_dir(tracking_dir: TrackingDir) -> Path:
    """A tracking directory with two runs."""
    experiment = tracking_dir.add_experiment("train")
    for i in range(2):
        run_dir = tracking_dir.add_run(
            experiment, f"run{i}", f"i: {i}", {"val/loss": f"1 {i}.5 0\n"}
        )
        write(run_dir / "artifacts/model/weights.txt", f"weights {i}")
    return tracking_dir.root


def check(url: str) -> None:
    """Check that the runs of `runs_dir` are found whole."""
    runs = Run.load(iter_run_dirs(url))
    rows = [("run0", "train", 0, 0.5, "FINISHED"), ("run1", "train", 1, 1.5, "FINISHED")]
    assert runs.to_frame("run_id", "job_name", "i", "metrics.val/loss", "status").rows() == rows
    for i, run in enumerate(runs):
        assert run.metrics == {"val/loss": i + 0.5}
        assert run.path("model/weights.txt").read_text() == f"weights {i}"
        assert sorted(p.name for p in run.fetch("model").iterdir()) == ["weights.txt"]


@pytest.mark.parametrize("with_folders", [True, False])
@pytest.mark.parametrize("rename", RENAMES.values(), ids=RENAMES)
@pytest.mark.parametrize(("protocol", "make"), [("zip", make_zip), ("tar", make_tar)])
def test_members_are_found_whatever_their_names(
    runs_dir: Path,
    tmp_path: Path,
    protocol: str,
    make: Callable[..., None],
    rename: Callable[[str], str],
    with_folders: bool,
) -> None:
    make(runs_dir, tmp_path / "archive", rename, with_folders=with_folders)
    check(f"{protocol}://mlruns::{tmp_path / 'archive'}")
    check(f"{protocol}://./mlruns/::{tmp_path / 'archive'}")


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("runs.tar", "w"),
        ("runs.tar.gz", "w:gz"),
        ("runs.tgz", "w:gz"),
        ("runs.tar.bz2", "w:bz2"),
        ("runs.tbz2", "w:bz2"),
        ("runs.tar.xz", "w:xz"),
        ("runs.txz", "w:xz"),
        ("runs.backup-2024", "w:gz"),
        ("runs.tar", "w:gz"),
        ("runs.tgz", "w"),
    ],
)
def test_compression_is_found_by_the_content(
    runs_dir: Path, tmp_path: Path, name: str, mode: str
) -> None:
    make_tar(runs_dir, tmp_path / name, rename_with_dot, mode=mode)
    check(f"tar://mlruns::{tmp_path / name}")


def test_archives_on_remote_storage_and_in_archives(
    runs_dir: Path, tmp_path: Path, serve: Callable[[Path], WebServer]
) -> None:
    make_tar(runs_dir, tmp_path / "runs.tgz", rename_with_dot, mode="w:gz")
    with zipfile.ZipFile(tmp_path / "outer.zip", "w") as outer:
        outer.write(tmp_path / "runs.tgz", "in/runs.tgz")
    fsspec.filesystem("memory").put(str(tmp_path / "outer.zip"), f"/{tmp_path.name}.zip")
    check(f"tar://mlruns::{serve(tmp_path).url}/runs.tgz")
    check(f"tar://mlruns::zip://in/runs.tgz::{tmp_path / 'outer.zip'}")
    check(f"tar://mlruns::zip://in/runs.tgz::memory://{tmp_path.name}.zip")


def test_later_members_replace_earlier_ones(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name, text in (("a", b"1"), ("./a", b"22"), ("b", b"3"), ("b/c", b"4"), ("b", b"5")):
            info = tarfile.TarInfo(name)
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text))
    root = locate(f"tar://::{tmp_path / 'a.tar'}")
    assert [entry[:4] for entry in root.list()] == [
        ("a", False, False, 2),
        ("b", True, False, None),
    ]
    assert (root.join("a").read(), root.join("b").read()) == (b"22", None)
    assert root.join("b/c").read() == b"4"


def test_links_in_tar_archives(tmp_path: Path) -> None:
    write(tmp_path / "in/a.txt", "a")
    (tmp_path / "in/soft").symlink_to("a.txt")
    (tmp_path / "in/hard").hardlink_to(tmp_path / "in/a.txt")
    (tmp_path / "in/nowhere").symlink_to("../../etc/passwd")
    (tmp_path / "in/folder").symlink_to(".")
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(tmp_path / "in", "in")
    place = locate(f"tar://in::{tmp_path / 'a.tar'}")
    names = ["a.txt", "hard", "soft", "nowhere", "folder", "absent"]
    contents = place.storage.read_many([place.join(name).path for name in names])
    assert contents == [b"a", b"a", b"a", None, None, None]
    again = pickle.loads(pickle.dumps(place))
    assert again.join("soft").read() == b"a"


@pytest.mark.parametrize(
    ("name", "protocol"),
    [("a.zip", "zip"), ("a.tar", "tar"), ("a.tar.GZ", "tar"), ("a.tgz", "tar")],
)
def test_path_of_an_archive_is_no_directory(tmp_path: Path, name: str, protocol: str) -> None:
    path = tmp_path / name
    with pytest.raises(NotFoundError, match=r"there is no directory '[^']*'$"):
        list(iter_run_dirs(path))
    path.touch()
    with pytest.raises(NotFoundError) as raised:
        list(iter_run_dirs(path))
    assert str(raised.value) == (
        f"there is no directory {str(path)!r}; for the content of the archive, give "
        f"'{protocol}://::{path}'"
    )


# What is wrong with an archive ---------------------------------------------------------------


def test_names_that_lead_out_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("a/b", "../evil", "a\\..\\..\\evil", "x/" * 300):
            archive.writestr(zipfile.ZipInfo(name), "1")
    root = locate(f"zip://::{tmp_path / 'a.zip'}")
    assert root.list() == [Entry("a", is_dir=True)]
    assert caplog.messages == [
        f"zip://::{tmp_path / 'a.zip'}: skipped 3 members with names that lead out of the archive "
        "or are too long, such as '../evil'"
    ]
    with pytest.raises(NotFoundError):
        root.join("a", "..").list()
    assert root.join("..", "evil").read() is None


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def spoil(content: bytes) -> bytes:
    """Put something else behind the last member of a tar archive."""
    end = -(-len(content.rstrip(b"\0")) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
    return content[:end] + b"garbage " * 128


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 3\n"


@pytest.mark.parametrize(
    ("protocol", "made", "mode", "change", "reason"),
    [
        ("zip", "zip", "w", cut, "damaged or not a zip archive .*File is not a zip file"),
        ("zip", "tar", "w", bytes, "not a zip archive .*; for a tar archive, give tar://"),
        ("zip", "tar", "w:gz", bytes, "not a zip archive .*; for a tar archive, give tar://"),
        ("tar", "zip", "w", bytes, "it is a zip archive, not a tar archive: give zip://"),
        ("tar", "tar", "w", cut, "damaged or not a tar archive"),
        ("tar", "tar", "w", spoil, "it does not end as tar archives do"),
        ("tar", "tar", "w:gz", cut, "damaged or not a tar archive .*end-of-stream"),
        ("tar", "tar", "w:bz2", cut, "damaged or not a tar archive .*end-of-stream"),
        ("tar", "tar", "w:xz", cut, "damaged or not a tar archive .*end-of-stream"),
        ("tar", "tar", "w", lambda _: b"text " * 200, "damaged or not a tar archive"),
        ("tar", "tar", "w", lambda _: b"\x28\xb5\x2f\xfd" * 20, "compressed with zstd, which"),
        ("tar", "tar", "w", lambda _: POINTER, "pointer of Git LFS.*git lfs pull"),
        ("zip", "zip", "w", lambda _: POINTER, "pointer of Git LFS.*git lfs pull"),
    ],
)
def test_archives_that_cannot_be_read(
    runs_dir: Path,
    tmp_path: Path,
    protocol: str,
    made: str,
    mode: str,
    change: Callable[[bytes], bytes],
    reason: str,
) -> None:
    archive = tmp_path / "archive"
    if made == "zip":
        make_zip(runs_dir, archive)
    else:
        make_tar(runs_dir, archive, mode=mode)
    archive.write_bytes(change(archive.read_bytes()))
    url = f"{protocol}://mlruns::{archive}"
    with pytest.raises(StorageError, match=f"cannot open '{url}': .*{reason}"):
        list(iter_run_dirs(url))
    with pytest.raises(RunLoadError, match=reason):
        Run.load([f"{protocol}://mlruns/1/a::{archive}"])


def test_damaged_members_do_not_hide_others(runs_dir: Path, tmp_path: Path) -> None:
    archive = tmp_path / "runs.zip"
    with zipfile.ZipFile(archive, "w") as file:  # not compressed
        for name, path in iter_members(runs_dir, with_folders=False):
            file.write(path, name)
    archive.write_bytes(archive.read_bytes().replace(b"i: 1", b"i: 7"))
    with pytest.raises(RunLoadError, match="1 of 2 runs") as raised:
        Run.load(iter_run_dirs(f"zip://mlruns::{archive}"))
    assert "the member is damaged (BadZipFile: Bad CRC-32" in str(raised.value)
    (run,) = Run.load(iter_run_dirs(f"zip://mlruns::{archive}"), on_error="warn")
    assert run.get("i") == 0


def test_a_copy_of_a_member_is_whole(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a", b"x" * 10**6)
    place = locate(f"zip://a::{tmp_path / 'a.zip'}")
    assert place.storage.fetch_many([Download("a", str(tmp_path / "copy"))]) == [None]
    assert (tmp_path / "copy").read_bytes() == b"x" * 10**6


def test_archives_have_their_own_client(tmp_path: Path) -> None:
    make_zip(tmp_path, tmp_path / "a.zip")
    storage: Any = locate(f"zip://::{tmp_path / 'a.zip'}").storage
    assert isinstance(storage._connect(), ArchiveClient)
    with pytest.raises(KedroHydraflowError, match="engine: obstore "):
        locate(f"zip://::{tmp_path / 'a.zip'}", {"engine": "obstore"})


# Members that are larger than they look ------------------------------------------------------


def test_a_member_that_is_too_large_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("small", b"x" * 1000)
        archive.writestr("bomb", b"\0" * 50_000_000)
    assert (tmp_path / "a.zip").stat().st_size < 100_000
    monkeypatch.setenv(FILE_SIZE_VARIABLE, "1MB")
    storage = locate(f"zip://::{tmp_path / 'a.zip'}").storage
    small, bomb = storage.read_many(["small", "bomb"])
    assert small == b"x" * 1000
    assert isinstance(bomb, FileSizeError)
    assert "larger than 1,000,000 bytes" in str(bomb)


def test_an_archive_that_is_too_large_when_decompressed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bomb").write_bytes(b"\0" * 50_000_000)
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "bomb", "bomb")
    monkeypatch.setenv(CACHE_SIZE_VARIABLE, "1MB")
    with pytest.raises(FileSizeError, match=r"decompressed, it is larger than 1,000,000 bytes"):
        locate(f"tar://::{tmp_path / 'a.tar.gz'}").list()


# Archives that need more memory than they are large --------------------------------------------


def make_empty_members(archive: Path, names: list[str]) -> str:
    """Make an archive, and return its URL."""
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive, "w") as zip_file:
            for name in names:
                zip_file.writestr(name, b"")
    else:
        with tarfile.open(archive, "w:gz") as tar_file:
            for name in names:
                tar_file.addfile(tarfile.TarInfo(name))
    return f"{archive.suffix[1:]}://::{archive}"


@pytest.mark.parametrize("name", ["a.zip", "a.tar"])
def test_members_are_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(NODES_VARIABLE, "100")
    few = [f"f{i}" for i in range(300)]
    url = make_empty_members(tmp_path / name, few)
    assert [entry.name for entry in locate(url).list()] == sorted(few)
    deep = ["/".join(f"{i}{j}" for j in range(150)) for i in range(3)]
    long = ["/".join(["x" * 200] * 19) + str(i) for i in range(10)]
    for names in ([*few, "more"], deep, long, [f"../{i}" for i in range(301)]):
        url = make_empty_members(tmp_path / f"many-{name}", names)
        with pytest.raises(FileSizeError) as raised:
            locate(url).list()
        assert str(raised.value).endswith(
            f"it has more than 300 members, 3 times the limit that the environment variable "
            f"{NODES_VARIABLE} raises"
        )
    monkeypatch.setenv(NODES_VARIABLE, "101")
    assert len(locate(make_empty_members(tmp_path / f"more-{name}", [*few, "more"])).list()) == 301


def make_pax(length: int) -> bytes:
    return make_tar_of(tarfile.TarInfo("a"), {"comment": "x" * length})


def make_many_pax(n: int) -> bytes:
    return b"".join(
        make_tar_of(tarfile.TarInfo(f"{i}"), {"comment": "x" * 9_000}) for i in range(n)
    )


def make_tar_of(info: tarfile.TarInfo, pax: dict[str, str]) -> bytes:
    info.pax_headers = pax
    return info.tobuf(tarfile.PAX_FORMAT)


def make_global(n: int) -> bytes:
    headers = (tarfile.TarInfo.create_pax_global_header({f"k{i}": "x" * 900}) for i in range(n))
    return b"".join(headers) + tarfile.TarInfo("a").tobuf()


def make_long_name(length: int) -> bytes:
    return tarfile.TarInfo("a" * length).tobuf(tarfile.GNU_FORMAT)


def make_sparse(n_blocks: int) -> bytes:
    """Make a file with gaps of the GNU format, whose parts are in blocks behind the header."""
    info = tarfile.TarInfo("a")
    info.type = tarfile.GNUTYPE_SPARSE
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[482] = 1
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    part = b"%011o\0" % 1 * 2
    block = (part * 21 + b"\1").ljust(tarfile.BLOCKSIZE, b"\0")
    return bytes(header) + block * n_blocks + (part * 21).ljust(tarfile.BLOCKSIZE, b"\0")


@pytest.mark.parametrize(
    ("make", "allowed", "refused"),
    [
        (make_pax, 90_000, 400_000),
        (make_many_pax, 10, 50),
        (make_global, 50, 500),
        (make_long_name, 3_000, 400_000),
        (make_sparse, 3, 1_000),
    ],
)
def test_headers_of_tar_archives_are_limited(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[int], bytes],
    allowed: int,
    refused: int,
) -> None:
    monkeypatch.setenv(FILE_SIZE_VARIABLE, "800kB")
    archive = tmp_path / "a.tar.gz"
    end = bytes(2 * tarfile.BLOCKSIZE)
    archive.write_bytes(gzip.compress(make(allowed) + end))
    assert len(locate(f"tar://::{archive}").list()) >= 1
    archive.write_bytes(gzip.compress(make(refused) + end))
    with pytest.raises(FileSizeError, match=r"larger than 200,000 bytes; .*MAX_FILE_SIZE raises"):
        locate(f"tar://::{archive}").list()


def test_the_directory_of_a_zip_archive_is_limited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = make_empty_members(tmp_path / "a.zip", [f"{'x' * 900}{i}" for i in range(1_000)])
    assert len(locate(url).list()) == 1_000
    monkeypatch.setenv(FILE_SIZE_VARIABLE, "800kB")
    with pytest.raises(FileSizeError, match=r"larger than 800,000 bytes; .*MAX_FILE_SIZE raises"):
        locate(url).list()


def test_members_are_read_without_these_limits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FILE_SIZE_VARIABLE, "200kB")
    (tmp_path / "in").write_bytes(os.urandom(10**6))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as zip_file:
        zip_file.write(tmp_path / "in", "a")
    with tarfile.open(tmp_path / "a.tar", "w") as tar_file:
        tar_file.add(tmp_path / "in", "a")
    for protocol in ("zip", "tar"):
        storage = locate(f"{protocol}://::{tmp_path / f'a.{protocol}'}").storage
        assert storage.fetch_many([Download("a", str(tmp_path / "copy"))]) == [None]
        assert (tmp_path / "copy").read_bytes() == (tmp_path / "in").read_bytes()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("protocol", ["zip", "tar"])
def test_an_archive_that_is_a_fifo_is_an_error(tmp_path: Path, protocol: str) -> None:
    os.mkfifo(tmp_path / "a")
    with pytest.raises(StorageError, match="it is a FIFO, not a regular file"):
        locate(f"{protocol}://::{tmp_path / 'a'}").list()
