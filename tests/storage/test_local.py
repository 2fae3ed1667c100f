from __future__ import annotations

import ntpath
import os
import pickle
import re
import socket
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from kedro_hydraflow import Run, iter_run_dirs
from kedro_hydraflow.errors import (
    FileSizeError,
    KedroHydraflowError,
    NotFoundError,
    OptionError,
    StorageError,
)
from kedro_hydraflow.limits import FILE_SIZE_VARIABLE
from kedro_hydraflow.storage import Download, Entry, LocalStorage, local
from kedro_hydraflow.storage.local import is_file_name
from tests.conftest import TrackingDir, write
from tests.windows import use_windows


def test_a_listing_that_fails_is_not_empty(tmp_path: Path) -> None:
    storage = LocalStorage()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "link").symlink_to(tmp_path / "unmounted")
    for name in ("loop", "link", "link/a", "x" * 300, "\0"):
        with pytest.raises(StorageError, match="cannot list the directory") as raised:
            storage.list_dir(f"{tmp_path}/{name}")
        assert not isinstance(raised.value, NotFoundError)
    assert [entry for entry in storage.list_dir(str(tmp_path)) if entry.is_broken] == [
        Entry("link", is_dir=False, is_broken=True, is_link=True),
        Entry("loop", is_dir=False, is_broken=True, is_link=True),
    ]
    with pytest.raises(StorageError, match="cannot access"):
        storage.is_dir(f"{tmp_path}/loop")


def test_validators_change_with_the_content(tmp_path: Path, later: Callable[[], None]) -> None:
    file = tmp_path / "a.txt"
    file.write_text("one")
    storage = LocalStorage()
    assert storage.get_validators([str(file)]) == [None]  # the next change might not show
    later()
    (before,) = storage.get_validators([str(file)])
    assert before is not None
    assert storage.read_parsed([str(file)], bytes.decode).validators == [before]
    assert storage.get_validators([str(file)]) == [before]
    other = tmp_path / "b.txt"
    other.write_text("two")
    other.replace(file)
    (after,) = storage.get_validators([str(file)])
    assert after not in (None, before)
    assert storage.get_validators([str(tmp_path / "absent")]) == [None]


def fake_status(monkeypatch: pytest.MonkeyPatch, path: Path, **fields: int) -> None:
    """Have the system say other things of a file: time, size or number."""
    status = os.stat(path)
    real = {name: getattr(status, name) for name in dir(status) if name.startswith("st_")}
    fake = SimpleNamespace(**{**real, **fields})
    monkeypatch.setattr(os, "stat", lambda *args, **kwargs: fake)
    monkeypatch.setattr(os, "fstat", lambda file: fake)


FIELDS = ["st_mtime_ns", "st_ctime_ns", "st_size", "st_ino"]


@pytest.mark.parametrize("field", FIELDS)
def test_validators_show_a_change_of_any_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, later: Callable[[], None], field: str
) -> None:
    """One is enough: the times may be set back, the size may stay, a number may be used again."""
    file = tmp_path / "a.txt"
    file.write_text("one")
    later()
    storage = LocalStorage()
    (before,) = storage.get_validators([str(file)])
    fake_status(monkeypatch, file, **{field: getattr(os.stat(file), field) - 1})
    (after,) = storage.get_validators([str(file)])
    assert after not in (None, before)
    assert storage.read_parsed([str(file)], bytes.decode).validators == [after]


@pytest.mark.parametrize("field", ["st_mtime_ns", "st_ctime_ns"])
def test_there_are_no_validators_within_a_step_of_the_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, later: Callable[[], None], field: str
) -> None:
    file = tmp_path / "a.txt"
    file.write_text("one")
    later()
    for seconds in (1, -1):  # lately, and in the future, for clocks differ
        fake_status(monkeypatch, file, **{field: time.time_ns() - seconds * 10**9})
        assert LocalStorage().get_validators([str(file)]) == [None]
        assert LocalStorage().read_parsed([str(file)], bytes.decode).validators == [None]


def test_relative_paths_start_from_the_base(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "in/a.txt", "one")
    monkeypatch.chdir("/")
    storage = LocalStorage(str(tmp_path))
    for each in (storage, pickle.loads(pickle.dumps(storage))):
        assert each == storage
        assert hash(each) == hash(storage)
        assert each.read("in/a.txt") == b"one"
        assert [entry.name for entry in each.list_dir("in")] == ["a.txt"]
        assert each.is_dir("in")
        assert each.is_dir("")
        assert each.get_identity("in") == str(tmp_path / "in")
        assert each.split("") == os.path.split(tmp_path)
    assert storage != LocalStorage()
    assert storage.key != LocalStorage().key
    assert storage.get_url("") == "."


def test_errors_of_reading_and_copying(tmp_path: Path) -> None:
    storage = LocalStorage()
    (tmp_path / "link").symlink_to(tmp_path / "unmounted")
    read = storage.read_many([str(tmp_path), f"{tmp_path}/link/a", f"{tmp_path}/absent"])
    assert read[2] is None
    assert [str(error) for error in read[:2]] == [
        f"cannot read {str(tmp_path)!r}: IsADirectoryError: Is a directory",
        f"cannot read '{tmp_path}/link/a': a symbolic link in the path is broken",
    ]
    with pytest.raises(StorageError, match="cannot read"):
        storage.read(str(tmp_path))
    (error,) = storage.fetch_many([Download(str(tmp_path), str(tmp_path / "copy"))])
    assert str(error).startswith(f"cannot copy {str(tmp_path)!r}: IsADirectoryError: ")


def make_fifo(path: Path) -> str:
    os.mkfifo(path)
    return "expected a regular file, found a FIFO"


def link_to_device(path: Path) -> str:
    path.symlink_to("/dev/zero")
    return "expected a regular file, found a device"


def make_socket(path: Path) -> str:
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(path))
    return "No such device or address"


def make_directory(path: Path) -> str:
    path.mkdir()
    return "Is a directory"


SPECIAL = [make_fifo, link_to_device, make_socket, make_directory]

not_on_windows = pytest.mark.skipif(os.name == "nt", reason="Windows has other special files")


@not_on_windows
@pytest.mark.timeout(60)
@pytest.mark.parametrize("make", SPECIAL)
def test_what_is_not_a_regular_file_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], str]
) -> None:
    monkeypatch.chdir(tmp_path)  # the path of a socket has to be short
    reason = make(Path("special"))
    storage = LocalStorage(str(tmp_path))
    (read,) = storage.read_many(["special"])
    assert str(read).startswith("cannot read 'special': ")
    assert reason in str(read)
    (error,) = storage.fetch_many([Download("special", "copy")])
    assert str(error).startswith("cannot copy 'special': ")
    assert reason in str(error)


@not_on_windows
@pytest.mark.timeout(60)
@pytest.mark.parametrize("make", SPECIAL)
@pytest.mark.parametrize(
    "file",
    [
        "meta.yaml",
        "run/meta.yaml",
        "run/artifacts/.hydra/config.yaml",
        "run/artifacts/.hydra/hydra.yaml",
        "run/artifacts/.hydra/overrides.yaml",
        "run/metrics/loss",
        "run/params/lr",
        "run/tags/note",
    ],
)
def test_no_file_of_a_run_hangs(
    tracking_dir: TrackingDir,
    file: str,
    make: Callable[[Path], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    experiment = tracking_dir.add_experiment("train")
    tracking_dir.add_run(experiment, "run", "lr: 1\n", {"acc": "1 0.9 0\n"})
    path = experiment / file
    path.unlink(missing_ok=True)
    path.parent.mkdir(exist_ok=True)
    monkeypatch.chdir(path.parent)
    make(Path(path.name))

    def use_all() -> None:
        (run,) = Run.load(iter_run_dirs(tracking_dir.root), index=False)
        key = file.rpartition("/")[2].partition(".")[0]
        _ = run.info.status, run.metrics, run.params, run.tags, run.cfg
        _ = run.get(key if key in ("hydra", "overrides") else "cfg")
        run.get("hydra.job.name", None)

    if make is make_directory and path.parent.name in ("metrics", "params", "tags"):
        use_all()  # keys may have slashes
    else:
        with pytest.raises(KedroHydraflowError, match=re.escape(path.name)):
            use_all()


# Sizes -------------------------------------------------------------------------------------


@pytest.mark.timeout(60)
def test_a_sparse_file_of_terabytes_is_refused(tmp_path: Path) -> None:
    with open(tmp_path / "config.yaml", "wb") as file:
        file.truncate(2**42)
    (error,) = LocalStorage().read_many([str(tmp_path / "config.yaml")])
    assert isinstance(error, FileSizeError)
    assert str(error) == (
        f"cannot read '{tmp_path / 'config.yaml'}': it is larger than 100,000,000 bytes, the limit "
        "that the environment variable KEDRO_HYDRAFLOW_MAX_FILE_SIZE raises"
    )


def test_the_limit_of_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "file")
    Path(path).write_bytes(b"x" * 1001)
    monkeypatch.setenv(FILE_SIZE_VARIABLE, "1kB")
    with pytest.raises(FileSizeError, match=r"larger than 1,000 bytes"):
        LocalStorage().read(path)
    monkeypatch.setenv(FILE_SIZE_VARIABLE, "1001")
    assert LocalStorage().read(path) == b"x" * 1001
    monkeypatch.setenv(FILE_SIZE_VARIABLE, "large")
    with pytest.raises(OptionError, match=r"MAX_FILE_SIZE: expected a size .* found 'large'"):
        LocalStorage().read(path)


def test_a_file_that_grows_or_hides_its_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "file")
    Path(path).write_bytes(b"x" * 5_000_000)
    whole = os.stat(path)
    before = {name: getattr(whole, name) for name in dir(whole) if name.startswith("st_")}
    monkeypatch.setattr(os, "fstat", lambda file: SimpleNamespace(**{**before, "st_size": 10}))
    assert LocalStorage().read(path) == b"x" * 5_000_000
    monkeypatch.setenv(FILE_SIZE_VARIABLE, "1MB")
    with pytest.raises(FileSizeError):
        LocalStorage().read(path)


def test_the_validator_is_from_before_the_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, later: Callable[[], None]
) -> None:
    """Or a file that changes in the meantime would be taken for one that was read whole."""
    file = tmp_path / "a.txt"
    file.write_text("one")
    later()
    storage = LocalStorage()
    read = os.read

    def read_and_write(descriptor: int, size: int) -> bytes:
        content = read(descriptor, size)
        file.write_text("another")
        return content

    monkeypatch.setattr(os, "read", read_and_write)
    parsed = storage.read_parsed([str(file)], bytes.decode)
    assert parsed.values == ["one"]
    assert parsed.validators != storage.get_validators([str(file)])


@pytest.mark.skipif(not hasattr(os, "O_NONBLOCK"), reason="opening waits for nothing here")
def test_a_leased_file_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"content")
    open_really = os.open

    def open_leased(path: str, flags: int) -> int:
        if flags & os.O_NONBLOCK:
            raise BlockingIOError
        return open_really(path, flags)

    monkeypatch.setattr(os, "open", open_leased)
    assert LocalStorage().read(str(tmp_path / "file")) == b"content"


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.txt", True), (".hydra", True), ("...", True), (" ", True), ("a\nb", True), ("a:b", True)]
    + [(name, False) for name in ("", ".", "..", "a/b", "/", "a\0b")],
)
def test_names_that_a_local_file_can_have(name: str, expected: bool) -> None:
    assert is_file_name(name) is expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.txt", True), (".hydra", True), ("a b", True), ("é日本", True)]
    + [(name, False) for name in ("..", "a/b", "a\\b", "\\", "C:", "C:a", "a:b", "a?", "*")],
)
def test_names_that_a_file_of_windows_can_have(
    monkeypatch: pytest.MonkeyPatch, name: str, expected: bool
) -> None:
    use_windows(monkeypatch, local)
    assert is_file_name(name) is expected
    if expected:
        assert ntpath.dirname(ntpath.join("D:\\runs", name)) == "D:\\runs"


@pytest.mark.parametrize(
    "path", ["Z:\\runs\\1", "Z:\\", "Z:", "\\\\server\\share\\runs", "runs\\1"]
)
def test_a_drive_that_there_is_not_is_no_broken_link(
    monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    use_windows(monkeypatch, local)
    storage = LocalStorage()
    with pytest.raises(NotFoundError, match="there is no directory"):
        storage.list_dir(path)


def test_paths_of_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    use_windows(monkeypatch, local)
    storage = LocalStorage("C:\\project")
    assert storage.join("C:\\project\\mlruns", "1", "a b") == "C:\\project\\mlruns\\1\\a b"
    assert storage.split("C:/project/mlruns") == ("C:/project", "mlruns")
    assert storage.get_identity("data/mlruns") == "C:\\project\\data\\mlruns"
    assert storage.get_identity("D:\\mlruns") == "D:\\mlruns"
    assert storage.get_identity("\\\\server\\share\\mlruns") == "\\\\server\\share\\mlruns"
