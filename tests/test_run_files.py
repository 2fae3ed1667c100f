"""The artifacts of a run as files. For remote runs see also tests/artifacts."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest

from kedro_hydraflow import Run, iter_run_dirs
from kedro_hydraflow.artifacts import ArtifactPath
from kedro_hydraflow.errors import NotFoundError, StorageError
from kedro_hydraflow.run_files import make_artifacts_dir
from kedro_hydraflow.storage import locate
from tests.conftest import HYDRA_SWEEP, TrackingDir, write, write_job


def test_chdir(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run_dir.parent)
    run = Run("abc")  # a relative path, which does not hold after chdir
    with run.chdir() as directory:
        assert Path.cwd() == directory == run_dir / "artifacts"
        assert (directory / "a.txt").read_text() == "a.txt"
    with pytest.raises(ZeroDivisionError), run.chdir("plots"):
        assert 1 / (Path("c.txt").read_text() != "plots/c.txt")
    assert Path.cwd() == run_dir.parent


def test_chdir_to_an_absent_directory_names_its_url() -> None:
    run = Run("memory://somewhere/mlruns/1/abc")
    with (
        pytest.raises(NotFoundError, match="there is no 'memory://somewhere/mlruns/1/abc/art"),
        run.chdir(),
    ):
        pass


def test_another_run_of_the_same_directory_does_not_change_the_paths(tmp_path: Path) -> None:
    files = fsspec.filesystem("memory")
    url = f"memory://{tmp_path.name}/mlruns/1/abc"
    files.pipe(f"{url}/artifacts/a.txt", b"a")
    first = Run[Any, Any](url)
    assert [path.name for path in first.iterdir()] == ["a.txt"]
    files.pipe(f"{url}/artifacts/b.txt", b"b")
    assert [path.name for path in Run[Any, Any](url).iterdir()] == ["a.txt", "b.txt"]
    assert [path.name for path in first.iterdir()] == ["a.txt"]
    assert [path.name for path in first.path("a.txt").parent.iterdir()] == ["a.txt"]


def test_paths(run: Run[Any, Any], run_dir: Path) -> None:
    artifacts = run_dir / "artifacts"
    assert run.path() == artifacts
    assert run.path("plots/c.txt") == artifacts / "plots/c.txt"
    assert sorted(p.name for p in run.iterdir()) == [".hydra", "a.txt", "b.csv", "plots"]
    assert list(run.iterdir("plots")) == [artifacts / "plots/c.txt"]
    assert list(run.glob("*.txt")) == [artifacts / "a.txt"]
    assert sorted(run.glob("**/*.txt")) == [artifacts / "a.txt", artifacts / "plots/c.txt"]
    assert list(run.glob("*", "plots")) == [artifacts / "plots/c.txt"]


def test_fetching_local_artifacts_copies_nothing(run: Run[Any, Any], run_dir: Path) -> None:
    assert run.fetch() == run.path() == run_dir / "artifacts"
    assert run.fetch("plots/c.txt") == run_dir / "artifacts/plots/c.txt"
    with pytest.raises(NotFoundError, match="absent"):
        run.fetch("absent")


def test_fetching_remote_artifacts_returns_local_paths(tmp_path: Path) -> None:
    files = fsspec.filesystem("memory")
    url = f"memory://{tmp_path.name}/mlruns/1/abc"
    files.pipe({f"{url}/artifacts/a.txt": b"a", f"{url}/artifacts/plots/c.txt": b"c"})
    run = Run[Any, Any](url)
    assert Path(str(run.fetch("plots/c.txt"))).read_text() == "c"
    assert sorted(path.name for path in Path(str(run.fetch())).iterdir()) == ["a.txt", "plots"]
    with run.chdir("plots") as directory:
        assert (directory.is_absolute(), Path("c.txt").read_text()) == (True, "c")
    with pytest.raises(NotFoundError, match=rf"there is no '{url}/artifacts/absent'"):
        run.fetch("absent")


@pytest.mark.parametrize(
    ("absent", "hint"),
    [
        ("modle/weights.pt", "the nearest artifacts are 'model/weights.npz'"),
        ("weights.npz", "the nearest artifacts are 'model/weights.npz'"),
        ("Model", "the nearest artifacts are 'model'"),
        ("plots/d.txt", "the nearest artifacts are 'plots/c.txt', 'plots'"),
        ("zzz", "the artifacts are 'a.txt', 'model', 'plots'"),
    ],
)
@pytest.mark.parametrize("is_remote", [True, False])
def test_artifacts_that_may_be_meant_are_named(
    tmp_path: Path, absent: str, hint: str, is_remote: bool
) -> None:
    url = f"memory://{tmp_path.name}/mlruns/1/abc" if is_remote else str(tmp_path / "abc")
    for name in ("a.txt", "model/weights.npz", "plots/c.txt"):
        if is_remote:
            fsspec.filesystem("memory").pipe(f"{url}/artifacts/{name}", b"x")
        else:
            write(Path(url) / "artifacts" / name, "x")
    run = Run[Any, Any](url)
    expected = f"there is no '{url}/artifacts/{absent}'; {hint}"

    def change() -> None:
        with run.chdir(absent):
            raise AssertionError("changed")

    for read in (lambda: run.fetch(absent), lambda: list(run.iterdir(absent)), change):
        with pytest.raises(NotFoundError) as caught:
            read()
        assert str(caught.value) == expected


def test_a_run_without_artifacts_or_with_many(tmp_path: Path) -> None:
    (tmp_path / "artifacts").mkdir()
    run = Run[Any, Any](tmp_path)
    with pytest.raises(NotFoundError, match=r"there is no '.*/artifacts/a'$"):
        run.fetch("a")
    for number in range(9):
        write(tmp_path / f"artifacts/{number}{number}", "")
    with pytest.raises(
        NotFoundError, match=r"'; the artifacts are '00', '11', '22', '33', '44' and o"
    ):
        run.fetch("zzz")


def test_only_a_few_folders_are_listed_for_a_message(tmp_path: Path) -> None:
    for number in range(50):
        write(tmp_path / f"artifacts/{number:02}/deep/x.txt", "")
    run = Run[Any, Any](tmp_path)
    with pytest.raises(NotFoundError, match=r"the nearest artifacts are '49'$"):
        run.fetch("4949/49")
    with pytest.raises(NotFoundError, match=r"; the artifacts are '00', "):
        run.fetch("x.txt")


def test_writing_to_a_remote_artifact_is_noticed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = fsspec.filesystem("memory")
    url = f"memory://{tmp_path.name}/mlruns/1/abc"
    files.pipe(f"{url}/artifacts/a.txt", b"a")
    run = Run[Any, Any](url)
    with pytest.raises(StorageError, match=rf"cannot change '{url}/artifacts/a.txt': .* elsewhere"):
        run.path("a.txt").write_text("mine")
    os.chmod(run.path("a.txt"), 0o644)  # as if we were root
    with open(run.path("a.txt"), "w") as stream:
        stream.write("mine")
    assert caplog.messages == []
    with pytest.raises(StorageError, match=r"read-only copies; write elsewhere\. What was"):
        run.path("a.txt").read_text()
    assert run.path("a.txt").read_text() == "a"
    with run.chdir():
        Path("b.txt").write_text("mine")
    assert [path.name for path in run.fetch().iterdir()] == ["a.txt"]
    assert [
        f"'{url}/artifacts/{name}' was" in text
        for name, text in zip(("a.txt", "b.txt"), caplog.messages, strict=True)
    ] == [True, True]


@pytest.mark.parametrize("location", ["/mlruns/1/a/artifacts", "memory://bucket/1/a/artifacts"])
def test_the_artifacts_directory_is_a_path(location: str) -> None:
    path = make_artifacts_dir(locate(location))
    assert isinstance(path, Path)
    assert (type(path) is ArtifactPath) is ("://" in location)
    assert path.name == "artifacts"


# The log -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("logs", "expected"),
    [
        (["train"], "of train"),
        (["train", "debug"], "of train"),
        (["other"], "of other"),  # the experiment was renamed, say
    ],
)
def test_the_log_of_a_run_of_mlflow(
    tracking_dir: TrackingDir,
    publish: Callable[[Path], str],
    logs: list[str],
    expected: str,
) -> None:
    run_dir = tracking_dir.add_run(tracking_dir.add_experiment("train"), "a", "x: 1\n")
    for log in logs:
        write(run_dir / f"artifacts/{log}.log", f"of {log}")
    (run_dir / "artifacts/folder.log").mkdir()
    write(run_dir / "artifacts/folder.log/x", "")
    (run,) = Run.load(iter_run_dirs(publish(tracking_dir.root)))
    assert run.read_log() == expected


def test_the_log_of_a_job_of_hydra(publish: Callable[[Path], str]) -> None:
    runs = Run.load(iter_run_dirs(publish(HYDRA_SWEEP)))
    for run in (runs[0], runs[13], runs[-1]):  # of which one failed, and one has two logs
        local = HYDRA_SWEEP / run.info.run_id / f"{run.info.job_name}.log"
        assert run.read_log() == local.read_text()
    assert "loss" in runs[0].read_log()
    assert runs[13].read_log() == ""


def test_the_log_may_hold_any_bytes(tmp_path: Path) -> None:
    job = write_job(tmp_path / "outputs/a")
    (job / "train.log").write_bytes(b"caf\xe9 \xc3\xa9")
    assert Run(job).read_log() == "caf\ufffd \u00e9"


@pytest.mark.parametrize(
    ("name", "logs", "message"),
    [
        ("train", [], "expected train.log or one other file *.log, found none"),
        ("train", ["a", "b"], "expected train.log or one other file *.log, found a.log, b.log"),
        (None, ["a", "b"], "expected <job name>.log or one other file *.log, found a.log, b.log"),
        ("../secret", [], "expected ../secret.log or one other file *.log, found none"),
    ],
)
def test_no_log(tmp_path: Path, name: str | None, logs: list[str], message: str) -> None:
    job = write_job(tmp_path / "outputs/a", name=name, log=None)
    write(tmp_path / "outputs/secret.log", "")
    for log in logs:
        write(job / f"{log}.log", "")
    with pytest.raises(NotFoundError) as raised:
        Run(job).read_log()
    assert str(raised.value) == f"{job} has no log: {message}"


def test_the_log_of_a_run_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="there is no directory"):
        Run(tmp_path / "absent").read_log()
