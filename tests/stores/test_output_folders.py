"""Finding the output directories of Hydra, wherever they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import fsspec
import pytest

from kedro_hydraflow.errors import NotFoundError, StorageError, TrackingDirectoryError
from kedro_hydraflow.storage import LocalStorage, locate
from kedro_hydraflow.stores.output_folders import OutputTree, find_run_folders, natural_key
from tests.conftest import HYDRA_SWEEP, TrackingDir, write, write_job, write_sweep
from tests.stores.conftest import Requests


def list_runs(tree: OutputTree) -> list[str]:
    """Return the paths of the runs relative to the root, sorted."""
    return sorted(f"{f.relative}/{name}".strip("/") for f in tree.folders for name in f.names)


def find(root: Path) -> list[str]:
    """Return the paths of the runs relative to the root, where nothing fails."""
    tree = find_run_folders(locate(root))
    assert tree.failures == []
    return list_runs(tree)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "project"


# What is found -------------------------------------------------------------------------


def test_real_directories(publish: Callable[[Path], str]) -> None:
    tree = find_run_folders(locate(publish(HYDRA_SWEEP)))
    assert {f.relative: f.names for f in tree.folders} == {
        "multirun/2026-11-25/23-01-50": [str(number) for number in range(12)],
        "multirun/2026-11-25/23-01-54": ["0", "1"],
        "multirun/named": ["optim=long,seed=5", "optim=plain,seed=5"],
        "outputs/2026-11-25": ["23-01-56", "23-02-10", "23-02-12"],
    }
    assert [f.relative for f in tree.folders if f.sweep is None] == ["outputs/2026-11-25"]
    assert {f.sweep for f in tree.folders} == {None} | {
        f.place for f in tree.folders if f.sweep is not None
    }
    assert (tree.n_sweeps, tree.strays, tree.failures) == (3, [], [])


@pytest.mark.parametrize(
    "subdir",
    [
        "optim=long,seed=5",
        'title="a b",lr=1e-3',
        "data=path/to/a,seed=1",  # as override_dirname gives it
        "a/b/c/d/e",
        "5/mlp",
        "0",
        "é 日本",
        "%20#?&",
        "-1",
    ],
)
def test_any_subdir_of_a_sweep(root: Path, publish: Callable[[Path], str], subdir: str) -> None:
    sweep = write_sweep(root / "mlruns", text="hydra:\n  sweep:\n    subdir: ${name}\n")
    write_job(sweep / subdir)
    write_job(sweep / "other")
    tree = find_run_folders(locate(publish(sweep)))
    assert list_runs(tree) == sorted([subdir, "other"])
    assert {f.sweep for f in tree.folders} == {tree.folders[0].sweep} != {None}
    assert tree.strays == []


def test_numbers_may_be_above_runs(root: Path, publish: Callable[[Path], str]) -> None:
    """With ``subdir: ${seed}/${model}``, a number is not the directory of a job."""
    sweep = write_sweep(root / "mlruns", text="hydra:\n  sweep:\n    subdir: ${seed}/${model}\n")
    for path in ("1/mlp", "1/cnn", "10/mlp"):
        write_job(sweep / path)
    (sweep / "2").mkdir()
    (sweep / "2/.keep").touch()  # an object store has no empty directories
    tree = find_run_folders(locate(publish(sweep)))
    assert list_runs(tree) == ["1/cnn", "1/mlp", "10/mlp"]
    (stray,) = tree.strays
    assert str(stray).endswith("is not a run directory: expected .hydra/config.yaml, found .keep")


@pytest.mark.parametrize(
    "subdir", ["${hydra.job.num}", "'${hydra.job.num}'", "${hydra:job.num}  ", "${hydra.job.num}\r"]
)
def test_numbered_jobs_are_not_listed_on_remote_storage(
    root: Path, memory: str, requests: Requests, subdir: str
) -> None:
    write_sweep(root / "a", 30, f"hydra:\n  sweep:\n    dir: x\n    subdir: {subdir}\n")
    fsspec.filesystem("memory").put(str(root), memory, recursive=True)
    tree = find_run_folders(locate(memory))
    assert tree.folders[0].names == [str(number) for number in range(30)]
    bucket = memory.removeprefix("memory:/")
    assert requests.listed == [bucket, f"{bucket}/a"]
    assert requests.read == [f"{bucket}/a/multirun.yaml"]


def test_nothing_in_a_run_directory_is_searched(root: Path) -> None:
    write_job(root / "outputs/2026-11-25/10-00-00")
    write_job(root / "outputs/2026-11-25/10-00-00/multirun/2026-11-25/10-00-01/0")
    write_sweep(root / "multirun/a", 1)
    write_sweep(root / "multirun/a/0/inner", 3)
    assert find(root) == ["multirun/a/0", "outputs/2026-11-25/10-00-00"]


def test_what_is_not_searched(root: Path) -> None:
    write_job(root / "outputs/a")
    for folder in (".git", ".cache/outputs", "mlruns/1", "mlartifacts/1", "node_modules/x"):
        write_job(root / folder / "b")
    write(root / "env/pyvenv.cfg", "")
    write_job(root / "env/lib/b")
    write(root / "conda/conda-meta/history", "")
    write_job(root / "conda/lib/b")
    write(root / "notes/todo.txt", "")
    write_job(root / "outputs/.hidden/b")
    assert find(root) == ["outputs/a"]


def test_runs_of_mlflow_are_not_those_of_hydra(
    tmp_path: Path, tracking_dir: TrackingDir, caplog: pytest.LogCaptureFixture
) -> None:
    experiment = tracking_dir.add_experiment("train")
    tracking_dir.add_run(experiment, "a" * 32, "x: 1")
    tracking_dir.add_run(experiment, "b", "x: 1")
    tracking_dir.root.rename(tmp_path / "tracking")
    write_job(tmp_path / f"bucket/1/{'c' * 32}/artifacts")
    write_job(tmp_path / "multirun/x/0")
    write_job(tmp_path / f"multirun/x/{'d' * 32}")  # a job's directory may be named by a hash
    write(tmp_path / "multirun/meta.yaml", "of the user")
    assert find(tmp_path) == ["multirun/x/0", f"multirun/x/{'d' * 32}"]
    assert caplog.messages == []
    write_job(tmp_path / "odd/artifacts")
    assert find(tmp_path) == ["multirun/x/0", f"multirun/x/{'d' * 32}"]
    assert caplog.messages == [
        f"skipped {tmp_path}/odd/artifacts: a directory of that name holds the artifacts of an "
        "MLflow run"
    ]


def test_directories_above_may_have_the_name_artifacts(root: Path) -> None:
    write_job(root / "artifacts/2026-11-25/10-00-00")
    assert find(root) == ["artifacts/2026-11-25/10-00-00"]


def test_names_are_sorted_with_numbers_first() -> None:
    names = ["10", "b", "9", "a10", "a9", "", "010", "-1", "²", "٣"]
    assert sorted(names, key=natural_key) == [
        "٣", "9", "010", "10", "", "-1", "a10", "a9", "b", "²",
    ]  # fmt: skip


# Symbolic links ------------------------------------------------------------------------


def test_links_to_what_is_searched_anyway(root: Path) -> None:
    write_sweep(root / "multirun/2026-11-25/10-00-00", 2)
    (root / "multirun/latest").symlink_to("2026-11-25/10-00-00")
    (root / "multirun/2026-11-25/10-00-00/best").symlink_to("1")
    (root / "multirun/2026-11-25/cycle").symlink_to(root)
    (root / "up").symlink_to("..")
    (root / "itself").symlink_to(".")
    assert find(root) == [f"multirun/2026-11-25/10-00-00/{number}" for number in range(2)]
    assert find(root / "multirun/latest") == ["0", "1"]
    assert find(root / "up/project/multirun/latest") == ["0", "1"]


def test_links_to_elsewhere_are_followed_once(root: Path, tmp_path: Path) -> None:
    write_sweep(tmp_path / "scratch/sweep", 2)
    write_job(tmp_path / "scratch/single")
    write_job(root / ".store/kept")
    (root / "multirun").mkdir(parents=True)
    for name, target in (
        ("a", tmp_path / "scratch/sweep"),
        ("b", tmp_path / "scratch/sweep"),
        ("c", tmp_path / "scratch/single"),
        ("d", root / ".store/kept"),  # which is not searched, for it is hidden
        ("e", tmp_path / "scratch"),  # which is above some of these
    ):
        (root / "multirun" / name).symlink_to(target)
    write_sweep(root / "jobs")
    (root / "jobs/0").symlink_to(tmp_path / "scratch/other")
    write_job(tmp_path / "scratch/other")
    write_job(tmp_path / "scratch/more")
    assert find(root) == [
        "jobs/0",
        "multirun/a/0",
        "multirun/a/1",
        "multirun/c",
        "multirun/d",
        "multirun/e/more",
    ]


def test_links_into_a_run_directory_are_not_followed(root: Path, tmp_path: Path) -> None:
    write_job(root / "outputs/a")
    write_job(root / "outputs/a/inner/b")
    (root / "best").symlink_to("outputs/a/inner")
    (root / "again").symlink_to("outputs/a")
    assert find(root) == ["outputs/a"]


def test_links_that_lead_to_each_other(root: Path, tmp_path: Path) -> None:
    for name, other in (("x", "y"), ("y", "x")):
        write_job(tmp_path / name / "0")
        (tmp_path / name / "link").symlink_to(tmp_path / other)
    root.mkdir()
    (root / "first").symlink_to(tmp_path / "x")
    assert find(root) == ["first/0", "first/link/0"]


def test_broken_links(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_sweep(root / "multirun/a", 1)
    for name in ("multirun/a/1", "multirun/a/.hidden", "multirun/latest"):
        (root / name).symlink_to("nowhere")
    tree = find_run_folders(locate(root))
    assert list_runs(tree) == ["multirun/a/0"]
    assert [str(failure) for failure in tree.failures] == [
        f"{root}/multirun/a/1: broken symbolic link"  # which was the directory of a job
    ]
    assert caplog.messages == [f"skipped {root}/multirun/latest: broken symbolic link"]


# What is incomplete --------------------------------------------------------------------


def test_empty_directories_and_sweeps(root: Path) -> None:
    root.mkdir()
    tree = find_run_folders(locate(root))
    assert not tree.is_of_hydra
    write_sweep(root / "multirun/a")
    (root / "multirun/b").mkdir()
    tree = find_run_folders(locate(root))
    assert tree.is_of_hydra
    assert (tree.folders, tree.strays, tree.failures) == ([], [], [])


def test_jobs_that_left_nothing_are_strays(root: Path) -> None:
    sweep = write_sweep(root / "multirun/a", 2)
    (sweep / "2").mkdir()
    write(sweep / "3/notes.txt", "")
    (sweep / "4/.hydra").mkdir(parents=True)
    (sweep / "notes").mkdir()
    (root / "multirun/7").mkdir()  # not in a sweep
    tree = find_run_folders(locate(root))
    assert list_runs(tree) == ["multirun/a/0", "multirun/a/1", "multirun/a/4"]
    assert list(map(str, tree.strays)) == [
        f"{sweep}/2 is not a run directory: expected .hydra/config.yaml, found nothing",
        f"{sweep}/3 is not a run directory: expected .hydra/config.yaml, found notes.txt",
    ]


def test_absent_root(root: Path) -> None:
    with pytest.raises(NotFoundError):
        find_run_folders(locate(root))


def test_a_directory_that_cannot_be_listed_is_a_failure(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_job(root / "outputs/a")
    write_job(root / "denied/b")
    (root / "vanished").mkdir()
    list_dir = LocalStorage.list_dir

    def deny(self: LocalStorage, path: str, limit: int | None = None) -> object:
        if path.endswith("denied"):
            raise StorageError(f"cannot list the directory {path!r}: Permission denied")
        if path.endswith("vanished"):
            raise NotFoundError(f"there is no directory {path!r}")
        return list_dir(self, path, limit)

    monkeypatch.setattr(LocalStorage, "list_dir", deny)
    tree = find_run_folders(locate(root))
    assert list_runs(tree) == ["outputs/a"]
    assert [str(failure) for failure in tree.failures] == [
        f"cannot list the directory '{root}/denied': Permission denied"
    ]


# Limits --------------------------------------------------------------------------------


def test_depth(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    deepest = Path(*"abcdefghijkl")
    write_job(root / deepest)
    write_job(root / "a/b/1/2/3/4/5/6/7/8/9/10/11/too/deep")
    assert find(root) == [deepest.as_posix()]
    assert caplog.messages == [
        f"{root}: directories more than 12 levels down are not searched for runs of Hydra, such "
        f"as {root}/a/b/1/2/3/4/5/6/7/8/9/10/11; give a directory further down to search them"
    ]
    caplog.clear()
    assert find(root / "a/b/1") == ["2/3/4/5/6/7/8/9/10/11/too/deep"]
    assert caplog.messages == []


def test_too_many_directories(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kedro_hydraflow.stores.output_folders.MAX_FRUITLESS", 20)
    monkeypatch.setattr("kedro_hydraflow.stores.output_folders.MAX_FOLDERS", 40)
    for number in range(30):
        (root / f"data/{number}").mkdir(parents=True)
    with pytest.raises(TrackingDirectoryError) as raised:
        find_run_folders(locate(root))
    assert str(raised.value) == (
        f"{root} has too many directories to search for Hydra's output directories, those with "
        ".hydra/config.yaml: found none beside 31 other directories; give a directory further down"
    )
    for number in range(50):
        write_job(root / f"outputs/{number}")
    assert len(find(root)) == 50
    for number in range(10):
        (root / f"data/0/{number}").mkdir()
    with pytest.raises(TrackingDirectoryError, match=r"found 50 beside 42 other directories"):
        find_run_folders(locate(root))
    assert len(find(root / "outputs")) == 50


def test_an_experiment_of_mlflow_is_not_searched(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow's traces may be many."""
    monkeypatch.setattr("kedro_hydraflow.stores.output_folders.MAX_FRUITLESS", 20)
    write(root / "0/meta.yaml", "name: Default")
    for number in range(30):
        write(root / f"0/traces/{number}/trace_info.yaml", "")
    assert find(root) == []


def test_the_real_limits_leave_room(root: Path) -> None:
    for number in range(600):  # of which some are in another batch
        write_job(root / f"outputs/{number:04}/run", log=None)
    assert len(find(root)) == 600
