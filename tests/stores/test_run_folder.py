"""Which directories are run directories, on every kind of storage."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from kedro_hydraflow.errors import MetadataError, NotARunError, RunNotFoundError, StorageError
from kedro_hydraflow.storage import Place, locate
from kedro_hydraflow.stores.run_folder import get_folder_errors
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
