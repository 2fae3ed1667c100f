"""Which directories are run directories, on every kind of storage."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from kedro_hydraflow.errors import (
    MetadataError,
    NotARunError,
    NotFoundError,
    RunNotFoundError,
    StorageError,
)
from kedro_hydraflow.storage import Place, locate
from kedro_hydraflow.stores.run_folder import (
    get_folder_errors,
    inspect_artifacts,
    inspect_folders,
)
from tests.conftest import TrackingDir, write


@pytest.fixture
def experiment(tracking_dir: TrackingDir, publish: Callable[[Path], str]) -> Callable[[], Place]:
    """Return a function that publishes directories of all kinds, and returns their parent."""
    directory = tracking_dir.add_experiment("train")
    tracking_dir.add_run(directory, "whole")
    (directory / "whole/artifacts/.keep").touch()  # an object store has no empty folders
    write(directory / "artifacts alone/artifacts/x", "")
    write(directory / "meta alone/meta.yaml", "run_id: meta\n")
    write(directory / "being written/meta.yaml", "")
    write(directory / "old/meta.yaml", "run_uuid: old\n")
    write(directory / "of an experiment/meta.yaml", "experiment_id: '1'\nname: train\n")
    write(directory / "artifacts is a file/artifacts", "")
    write(directory / "something else/notes.txt", "")
    return lambda: locate(f"{publish(tracking_dir.root).replace('mlruns', 'mlruns/1', 1)}")


RUNS = ["whole", "artifacts alone", "meta alone", "being written", "old"]
STRAYS = ["of an experiment", "artifacts is a file", "something else"]


def test_errors_of_folders(experiment: Callable[[], Place], waits: list[float]) -> None:
    place = experiment()
    names = [*RUNS, *STRAYS, "absent"]
    errors = get_folder_errors([place.join(name) for name in names])
    assert errors[: len(RUNS)] == [None] * len(RUNS)
    for name, error in zip(STRAYS, errors[len(RUNS) :], strict=False):
        assert type(error) is NotARunError
        assert str(error).startswith(f"{place.join(name).url} is not a run directory: expected ")
    assert str(errors[-2]).endswith("found notes.txt")
    assert type(errors[-1]) is RunNotFoundError
    assert str(errors[-1]) == f"there is no run directory {place.join('absent').url!r}"
    assert get_folder_errors([]) == []


@pytest.mark.parametrize("kind", ["params", "metrics", "tags"])
def test_a_directory_named_by_a_run_id_is_one_with_what_was_logged(
    tracking_dir: TrackingDir, publish: Callable[[Path], str], kind: str
) -> None:
    """Other directories may have such folders, too: that of an experiment has its tags."""
    directory = tracking_dir.add_experiment("train")
    for name in ("a" * 32, "notes"):
        write(directory / name / kind / "x", "1")
        write(directory / name / "meta.yaml", "title: x\n" if name == "notes" else "")
    (directory / ("a" * 32) / "meta.yaml").unlink()
    write(directory / ("b" * 32) / kind / "x", "1")
    write(directory / ("b" * 32) / "meta.yaml", "artifact_uri: x\n")
    write(directory / "tags/x", "1")
    experiment = locate(publish(tracking_dir.root).replace("mlruns", "mlruns/1", 1))
    places = [experiment.join(name) for name in ("a" * 32, "b" * 32, "notes")]
    folders = inspect_folders([*places, experiment])
    assert [folder.error is None for folder in folders] == [True, True, False, False]
    assert [folder.has_lost_meta for folder in folders] == [True, False, False, False]


ARTIFACTS = {
    "text.txt": True,
    "sub/text.txt": True,
    "a/b/c/.hydra/config.yaml": True,
    "._x": True,
    ".gitkeep": False,
    "sub/.DS_Store": False,
    "a/Thumbs.db": False,
    "__MACOSX/x": False,
}


@pytest.mark.parametrize("name", ARTIFACTS)
def test_what_are_artifacts(tmp_path: Path, publish: Callable[[Path], str], name: str) -> None:
    write(tmp_path / "mlruns/artifacts" / name, "")
    write(tmp_path / "mlruns/file", "")
    place = locate(publish(tmp_path / "mlruns"))
    has_artifacts, absent, file = inspect_artifacts(
        [place.join(name) for name in ("artifacts", "absent", "file")]
    )
    assert has_artifacts is ARTIFACTS[name]
    assert isinstance(absent, NotFoundError)
    assert isinstance(file, NotFoundError)


def test_folders_without_files_have_no_artifacts(tmp_path: Path) -> None:
    (tmp_path / "empty/a/b").mkdir(parents=True)
    (tmp_path / "empty/broken").symlink_to("nowhere")
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked/up").symlink_to("..")
    (tmp_path / "loop").symlink_to("loop")
    empty, linked, loop = inspect_artifacts(
        [locate(tmp_path / name) for name in ("empty", "linked", "loop")]
    )
    assert (empty, linked) == (False, True)
    assert isinstance(loop, StorageError)
    assert not isinstance(loop, NotFoundError)


def test_malformed_meta_is_an_error(tracking_dir: TrackingDir) -> None:
    directory = tracking_dir.add_experiment("train")
    write(directory / "a/meta.yaml", "run_id: a\nrun_id: b\n")
    (error,) = get_folder_errors([locate(directory / "a")])
    assert type(error) is MetadataError
    assert str(error) == f"{directory / 'a/meta.yaml'}: the key 'run_id' occurs twice"


def test_directory_that_cannot_be_listed_is_an_error(tracking_dir: TrackingDir) -> None:
    directory = tracking_dir.add_experiment("train")
    (directory / "loop").symlink_to(directory / "loop")
    (error,) = get_folder_errors([locate(directory / "loop")])
    assert isinstance(error, StorageError)
    assert not isinstance(error, NotARunError)
