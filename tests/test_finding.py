from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from upath import UPath

from kedro_hydraflow import (
    Run,
    get_experiment_names,
    iter_artifact_paths,
    iter_artifacts_dirs,
    iter_experiment_dirs,
    iter_run_dirs,
)
from kedro_hydraflow.errors import NotFoundError, OptionError, RunLoadError, TrackingDirectoryError
from kedro_hydraflow.finding import Search, find_first_runs, find_runs, report
from kedro_hydraflow.source import Source
from tests.conftest import SWEEP_NAMES, TrackingDir, WebServer, write

# The same on every kind of storage ------------------------------------------------------


@pytest.mark.parametrize(
    ("experiment_names", "expected"),
    [
        (None, SWEEP_NAMES),
        ("train_*", SWEEP_NAMES[1:]),
        (["eval_*", "train_digits_v1"], SWEEP_NAMES[:2]),
        (lambda name: name.endswith("v2"), SWEEP_NAMES[2:]),
        ("nothing", []),
    ],
)
def test_filters_and_iterators_agree(
    sweep: Path, publish: Callable[[Path], str], experiment_names: Any, expected: list[str]
) -> None:
    location = publish(sweep)
    experiments = list(iter_experiment_dirs(location, experiment_names))
    run_dirs = list(iter_run_dirs(location, experiment_names))
    artifacts_dirs = list(iter_artifacts_dirs(location, experiment_names))
    paths = list(iter_artifact_paths(location, ".hydra/config.yaml", experiment_names))

    assert get_experiment_names(location) == SWEEP_NAMES
    assert [Run(run_dir).info.job_name for run_dir in run_dirs] == sorted(
        Run(run_dir).info.job_name for run_dir in run_dirs
    )
    assert list(dict.fromkeys(Run(run_dir).info.job_name for run_dir in run_dirs)) == expected
    assert list(dict.fromkeys(run_dir.parent for run_dir in run_dirs)) == experiments
    assert [path.parent.name for path in artifacts_dirs] == [path.name for path in run_dirs]
    assert all(isinstance(path, Path) and path.name == "artifacts" for path in artifacts_dirs)
    assert paths == [directory / ".hydra/config.yaml" for directory in artifacts_dirs]
    assert all(path.read_bytes() for path in paths)


def test_missing_directory_is_an_error_everywhere(
    tracking_dir: TrackingDir, publish: Callable[[Path], str]
) -> None:
    tracking_dir.add_run(tracking_dir.add_experiment("train"), "a")
    location = publish(tracking_dir.root).replace("mlruns", "nowhere", 1)
    with pytest.raises(NotFoundError, match=r"there is no .*nowhere"):
        list(iter_run_dirs(location))


@pytest.mark.parametrize("folder", ["1", "1/a"])
def test_wrong_directory_is_refused_everywhere(
    tracking_dir: TrackingDir, publish: Callable[[Path], str], folder: str
) -> None:
    tracking_dir.add_run(tracking_dir.add_experiment("train"), "a")
    location = UPath(publish(tracking_dir.root)) / folder
    with pytest.raises(TrackingDirectoryError, match="give the tracking directory above it"):
        list(iter_run_dirs(location))


def test_replaced_archive_is_seen_by_the_next_load(tracking_dir: TrackingDir) -> None:
    experiment = tracking_dir.add_experiment("train")
    archive = tracking_dir.root.parent / "runs"
    for names in ("a", "ab"):
        tracking_dir.add_run(experiment, names[-1])
        shutil.make_archive(str(archive), "zip", tracking_dir.root)
        assert [path.name for path in iter_run_dirs(f"zip://::{archive}.zip")] == list(names)


# Order ---------------------------------------------------------------------------------


def test_order_is_by_experiment_name_then_run_dir(tracking_dir: TrackingDir) -> None:
    for name, experiment_id in {"b": "1", "a": "20", "c": "3"}.items():
        experiment = tracking_dir.add_experiment(name, experiment_id)
        for run_id in ("r2", "r1"):
            tracking_dir.add_run(experiment, run_id)
    tracking_dir.add_run(tracking_dir.add_experiment("a", "10"), "r3")
    relative = [
        run_dir.relative_to(tracking_dir.root).as_posix()
        for run_dir in iter_run_dirs(tracking_dir.root)
    ]
    assert relative == ["10/r3", "20/r1", "20/r2", "1/r1", "1/r2", "3/r1", "3/r2"]
    assert get_experiment_names(tracking_dir.root) == ["a", "a", "b", "c"]


# Errors --------------------------------------------------------------------------------


@pytest.mark.parametrize("on_error", ["ignore", None, True, []])
@pytest.mark.parametrize(
    "function",
    [
        lambda root, **kwargs: list(iter_run_dirs(root, **kwargs)),
        lambda root, **kwargs: list(iter_experiment_dirs(root, **kwargs)),
        lambda root, **kwargs: list(iter_artifacts_dirs(root, **kwargs)),
        lambda root, **kwargs: list(iter_artifact_paths(root, "x", **kwargs)),
        lambda root, **kwargs: get_experiment_names(root, **kwargs),
        lambda root, **kwargs: Run.load([root], **kwargs),
    ],
)
def test_bad_on_error(tracking_dir: TrackingDir, function: Any, on_error: Any) -> None:
    with pytest.raises(OptionError) as raised:
        function(tracking_dir.root, on_error=on_error)
    assert str(raised.value) == f"on_error: expected 'raise' or 'warn', found {on_error!r}"


# HTTP ----------------------------------------------------------------------------------


def test_tracking_directory_by_url(sweep: Path, serve: Callable[[Path], WebServer]) -> None:
    runs = Run.load(iter_run_dirs(serve(sweep).url, "train_*"), n_jobs=2)
    assert runs.to_list("run_id") == [path.name for path in iter_run_dirs(sweep, "train_*")]


# What is found, and what cannot be read --------------------------------------------------


def test_findings_name_the_other_experiments(sweep: Path) -> None:
    found = find_runs(Search(Source(sweep), "train_*"))
    assert (found.experiments, found.other_experiments) == (SWEEP_NAMES[1:], SWEEP_NAMES[:1])
    assert len(found.runs) == 29
    assert found.failures == []


@pytest.mark.parametrize("count", [0, 1, 3, 100])
def test_a_few_runs_are_the_first_ones(
    sweep: Path, publish: Callable[[Path], str], count: int
) -> None:
    search = Search(Source(publish(sweep)))
    some = find_first_runs(search, count)
    everything = find_runs(search).runs
    assert [info.run_id for info in some] == [info.run_id for info in everything[:count]]


def test_a_few_runs_are_found_among_bad_ones(tracking_dir: TrackingDir) -> None:
    tracking_dir.add_runs(20)
    for number in range(5):
        write(tracking_dir.root / f"1/r{number:03}/meta.yaml", "- 1")
    some = find_first_runs(Search(Source(tracking_dir.root)), 2)
    assert [info.run_id for info in some] == ["r005", "r006"]


def test_directories_are_found_when_the_first_is_taken(tracking_dir: TrackingDir) -> None:
    run_dirs = iter_run_dirs(tracking_dir.root / "nowhere")
    for _ in range(2):  # it is not empty after an error
        with pytest.raises(NotFoundError, match="nowhere"):
            next(run_dirs)
    run_dirs = iter_run_dirs(tracking_dir.root)
    tracking_dir.add_runs(3)
    assert next(run_dirs).name == "r000"
    assert Run.load(run_dirs).to_list("run_id") == ["r001", "r002"]
    assert list(run_dirs) == []


def test_an_error_shows_a_hundred_failures_and_has_all(tracking_dir: TrackingDir) -> None:
    tracking_dir.add_runs(102)
    for number in range(101):
        write(tracking_dir.root / f"1/r{number:03}/meta.yaml", "- 1")
    with pytest.raises(RunLoadError) as raised:
        list(iter_run_dirs(tracking_dir.root))
    first, *lines = str(raised.value).splitlines()
    assert first == (
        "101 of 102 runs and experiments could not be read; set on_error='warn' in "
        "iter_run_dirs to skip them:"
    )
    assert len(lines) == 101
    assert lines[0].startswith(f"- {tracking_dir.root}/1/r000/meta.yaml: ")
    assert lines[-1] == "- and 1 more, in `failures` of this error"
    assert len(raised.value.failures) == 101


def test_nothing_is_reported_where_nothing_failed(caplog: pytest.LogCaptureFixture) -> None:
    report([], 3, "raise")
    report([], 3, "warn")
    assert caplog.messages == []
