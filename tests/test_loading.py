from __future__ import annotations

import copy
import pickle
import re
import shutil
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import polars as pl
import pytest
from upath import UPath

from kedro_hydraflow import Run, RunCollection, iter_run_dirs, iter_runs
from kedro_hydraflow.errors import (
    ConfigError,
    NotFoundError,
    OptionError,
    RunLoadError,
    StorageError,
)
from tests.conftest import FilesRead, TrackingDir, WebServer, write


def describe(run: Run[Any, Any]) -> dict[str, Any]:
    """Everything that can be known about a run, on whatever storage."""
    info = run.info
    facts = (info.run_id, info.job_name, info.experiment_id, info.status, info.run_name)
    return {
        "facts": (*facts, info.start_time, info.end_time, info.lifecycle_stage),
        "config": run.to_dict(),
        "logged": (run.metrics, run.params, run.tags),
        "folders": sorted(path.name for path in run.iterdir()),
        "weights": [path.read_bytes() for path in run.glob("model/*.npz")],
        "hydra": run.path(".hydra/overrides.yaml").read_bytes(),
    }


# The same on every kind of storage ------------------------------------------------------


def test_runs_are_the_same_everywhere(sweep: Path, publish: Callable[[Path], str]) -> None:
    location = publish(sweep)
    runs = Run.load(iter_run_dirs(location))
    expected = Run.load(iter_run_dirs(sweep))
    assert len(runs) == 31
    assert [describe(run) for run in runs] == [describe(run) for run in expected]
    assert [describe(run) for run in pickle.loads(pickle.dumps(runs))[:3]] == [
        describe(run) for run in runs[:3]
    ]


def test_copies_are_independent_everywhere(sweep: Path, publish: Callable[[Path], str]) -> None:
    runs = Run.load(iter_run_dirs(publish(sweep), "eval_*"))
    for duplicate in (copy.deepcopy(runs), pickle.loads(pickle.dumps(runs))):
        assert isinstance(duplicate, RunCollection)
        assert [run.info for run in duplicate] == [run.info for run in runs]
        duplicate.update("seed", 99, force=True)
        assert set(duplicate.to_list("seed")) == {99}
        assert 99 not in runs.to_list("seed")
        assert (
            duplicate[0].path("confusion_matrix.json").exists()
            == runs[0].path("confusion_matrix.json").exists()
        )


def test_bad_runs_are_reported_everywhere(
    tracking_dir: TrackingDir, publish: Callable[[Path], str]
) -> None:
    experiment = tracking_dir.add_experiment("train")
    for name, config in {"a": "lr: 1", "b": "- 1", "c": "lr: [", "d": "lr: 2"}.items():
        tracking_dir.add_run(experiment, name, config)
    location = publish(tracking_dir.root)
    errors = []
    for n_jobs in (0, 2):
        with pytest.raises(RunLoadError) as raised:
            Run.load(iter_run_dirs(location), n_jobs=n_jobs)
        errors.append(str(raised.value))
        assert [failure.path.partition("::")[0][-29:] for failure in raised.value.failures] == [
            "1/b/artifacts/.hydra/config.yaml"[-29:],
            "1/c/artifacts/.hydra/config.yaml"[-29:],
        ]
        runs = Run.load(iter_run_dirs(location), n_jobs=n_jobs, on_error="warn")
        assert runs.to_list("lr") == [1, 2]
    assert errors[0] == errors[1]


@pytest.mark.parametrize("protocol", ["local", "memory"])
def test_what_was_written_after_a_load_is_seen_by_the_next(
    tracking_dir: TrackingDir, protocol: str
) -> None:
    experiment = tracking_dir.add_experiment("train")
    tracking_dir.add_run(experiment, "a", "lr: 1")
    location = str(tracking_dir.root)
    memory = fsspec.filesystem("memory")
    if protocol == "memory":
        location = f"memory://fresh-{tracking_dir.root.parent.name}/mlruns"

    def load() -> list[tuple[str, Any]]:
        if protocol == "memory":
            memory.put(str(tracking_dir.root), location, recursive=True)
        return [(run.info.job_name, run.get("lr")) for run in Run.load(iter_run_dirs(location))]

    assert load() == [("train", 1)]
    tracking_dir.add_run(experiment, "b", "lr: 2")
    tracking_dir.add_run(tracking_dir.add_experiment("eval", "2"), "c", "lr: 3")
    write(experiment / "a/artifacts/.hydra/config.yaml", "lr: 4")
    if protocol == "memory":
        memory.rm(location, recursive=True)
    assert load() == [("eval", 3), ("train", 4), ("train", 2)]


# Order ---------------------------------------------------------------------------------


def test_given_run_dirs_keep_their_order_and_kind(tracking_dir: TrackingDir) -> None:
    experiment = tracking_dir.add_experiment("train")
    a, b, c = [tracking_dir.add_run(experiment, name) for name in "abc"]
    fsspec.filesystem("memory").put(str(b), "/order-b", recursive=True)
    runs = Run.load([c, f"{a}/", b.as_uri(), UPath("memory://order-b"), UPath(str(b)), str(a)])
    assert runs.to_list("run_id") == ["c", "a", "b", "order-b", "b", "a"]
    assert [type(run.info.run_dir) is type(a) for run in runs] == [
        True, True, True, False, True, True,
    ]  # fmt: skip
    assert runs[0].info.job_name == runs[1].info.job_name == "train"


# Errors --------------------------------------------------------------------------------


def test_errors_survive_processes_and_pickle(tracking_dir: TrackingDir) -> None:
    tracking_dir.add_run(tracking_dir.add_experiment("train"), "a", "- 1")
    with pytest.raises(RunLoadError) as raised:
        Run.load(iter_run_dirs(tracking_dir.root))
    again = pickle.loads(pickle.dumps(raised.value))
    assert str(again) == str(raised.value)
    assert [str(failure) for failure in again.failures] == [str(f) for f in raised.value.failures]


@pytest.mark.parametrize("n_jobs", ["all", None, 1.5, True])
def test_bad_n_jobs(tracking_dir: TrackingDir, n_jobs: Any) -> None:
    with pytest.raises(OptionError) as raised:
        Run.load([tracking_dir.root], n_jobs=n_jobs)
    assert str(raised.value) == (
        f"n_jobs: expected an integer, found {n_jobs!r}; use 0 or 1 for this process, "
        "N for N jobs, -1 for one job per core"
    )


def test_options_are_checked_before_anything_is_read(tracking_dir: TrackingDir) -> None:
    with pytest.raises(OptionError, match="n_jobs"):
        Run.load(iter_run_dirs("nowhere"), n_jobs="x")  # type: ignore[call-overload]


# Jobs ----------------------------------------------------------------------------------


def test_config_class_that_does_not_work_is_reported_for_runs_without_a_configuration(
    tracking_dir: TrackingDir,
) -> None:
    @dataclass
    class Unsupported:
        seed: complex = 1j

    experiment = tracking_dir.add_experiment("train")
    run_dir = tracking_dir.add_run(experiment, "a", config=None)
    with pytest.raises(RunLoadError, match=r"complex") as raised:
        Run.load(iter_run_dirs(tracking_dir.root), config_class=Unsupported)
    assert [failure.path for failure in raised.value.failures] == [
        str(run_dir / "artifacts/.hydra/config.yaml")
    ]
    runs = Run.load(iter_run_dirs(tracking_dir.root), config_class=Unsupported, on_error="warn")
    assert len(runs) == 0


def test_an_integer_too_large_for_a_float_hides_no_others(tracking_dir: TrackingDir) -> None:
    @dataclass
    class Training:
        rate: float = 0.1
        other: Any = 1

    experiment = tracking_dir.add_experiment("train")
    large = "9" * 400
    tracking_dir.add_run(experiment, "a", f"rate: {large}\n")
    tracking_dir.add_run(experiment, "b", f"rate: ${{other}}\nother: {large}\n")
    tracking_dir.add_run(experiment, "c", "rate: 2\n")
    runs = Run.load(iter_run_dirs(tracking_dir.root), config_class=Training, on_error="warn")
    assert runs.to_list("run_id") == ["b", "c"]
    assert runs[1].get("rate") == 2
    with pytest.raises(ConfigError, match=r"run b: cannot resolve the key 'rate': .*too large"):
        runs[0].get("rate")
    with pytest.raises(RunLoadError, match=r"does not fit .*Training: .*too large"):
        Run.load(iter_run_dirs(tracking_dir.root), config_class=Training)


@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize("n_jobs", [0, 2])
def test_progress_goes_to_standard_error(
    sweep: Path, capsys: pytest.CaptureFixture[str], n_jobs: int
) -> None:
    Run.load(iter_run_dirs(sweep), n_jobs=n_jobs, progress=True)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "100%" in shown.err
    assert "31/31" in shown.err
    Run.load(iter_run_dirs(sweep), n_jobs=n_jobs)
    assert capsys.readouterr() == ("", "")


def test_logs_have_no_progress(
    sweep: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kedro_hydraflow.progress.BAR_DELAY", 0)
    Run.load(iter_run_dirs(sweep), progress=True)
    for _ in iter_runs(sweep, progress=True):
        pass
    assert capsys.readouterr() == ("", "")


# A batch at a time -----------------------------------------------------------------------


@pytest.mark.parametrize("names", [None, "train_*"])
@pytest.mark.parametrize("batch_size", [1, 7, 31, 1000])
def test_batches_together_are_what_load_gives(
    sweep: Path, publish: Callable[[Path], str], batch_size: int, names: str | None
) -> None:
    location = publish(sweep)
    runs = Run.load(iter_run_dirs(location, names), ModelDir)
    batches = list(iter_runs(location, names, ModelDir, batch_size=batch_size))
    assert [len(batch) for batch in batches[:-1]] == [batch_size] * (len(batches) - 1)
    together = [run for batch in batches for run in batch]
    assert [describe(run) for run in together] == [describe(run) for run in runs]
    assert [run.impl.path for run in together] == [run.path() for run in runs]


class ModelDir:
    def __init__(self, path: Path) -> None:
        self.path = path


@pytest.mark.parametrize("include_deleted", [None, False, True])
def test_batches_leave_out_what_is_deleted_or_no_run(
    tracking_dir: TrackingDir, publish: Callable[[Path], str], include_deleted: bool | None
) -> None:
    for name in ("a", "b"):
        experiment = tracking_dir.add_experiment(name, name)
        for i in range(5):
            stage = "deleted" if i == 2 else "active"
            tracking_dir.add_run(experiment, f"r{i}", f"i: {i}", lifecycle_stage=stage)
        shutil.copytree(experiment / "r0", experiment / "models" / "m-1")
        write(experiment / "notes" / "todo.txt", "nothing")
    location = publish(tracking_dir.root)
    batches = iter_runs(location, batch_size=2, include_deleted=include_deleted)
    ids = [run.info.run_id for runs in batches for run in runs]
    expected = Run.load(iter_run_dirs(location, include_deleted=include_deleted))
    assert ids == expected.to_list("run_id")
    assert len(ids) == (10 if include_deleted else 8)


def test_batches_read_ahead_of_nothing_and_hold_nothing(
    tracking_dir: TrackingDir, files_read: FilesRead
) -> None:
    tracking_dir.add_runs(40)
    batches = iter_runs(tracking_dir.root, batch_size=10)
    assert files_read.calls == []
    for number in range(1, 5):
        runs = next(batches)
        assert files_read.counts == [1] + [10, 10] * number
        batch = weakref.ref(runs)
        del runs
        assert batch() is None
    assert list(batches) == []


def test_batch_with_bad_runs_is_an_error_or_leaves_them_out(
    tracking_dir: TrackingDir, caplog: pytest.LogCaptureFixture
) -> None:
    experiment = tracking_dir.add_experiment("train")
    for i in range(9):
        tracking_dir.add_run(experiment, f"r{i}", "- 1" if i == 4 else f"i: {i}")
    write(experiment / "r5/meta.yaml", "- 1")
    batches = iter_runs(tracking_dir.root, batch_size=3)
    assert next(batches).to_list("i") == [0, 1, 2]
    with pytest.raises(RunLoadError, match="2 of 3 runs could not be read") as raised:
        next(batches)
    assert [Path(failure.path).relative_to(experiment) for failure in raised.value.failures] == [
        Path("r5"), Path("r4/artifacts/.hydra/config.yaml"),
    ]  # fmt: skip
    batches = iter_runs(tracking_dir.root, batch_size=3, on_error="warn")
    assert [runs.to_list("i") for runs in batches] == [[0, 1, 2], [3], [6, 7, 8]]
    assert "skipped 2 of 3 runs that could not be read" in caplog.text


def test_batches_report_bad_experiments_first(tracking_dir: TrackingDir) -> None:
    tracking_dir.add_runs(3)
    write(tracking_dir.add_experiment("bad", "2") / "meta.yaml", "- 1")
    with pytest.raises(RunLoadError, match="1 of 2 experiments"):
        next(iter_runs(tracking_dir.root))
    assert [len(runs) for runs in iter_runs(tracking_dir.root, on_error="warn")] == [3]


def test_batches_of_what_is_not_there(tracking_dir: TrackingDir) -> None:
    tracking_dir.add_experiment("train")
    assert list(iter_runs(tracking_dir.root)) == []
    assert list(iter_runs(tracking_dir.root, "none*")) == []
    with pytest.raises(NotFoundError, match=r"there is no experiment 'none' in .*; found 'train'"):
        next(iter_runs(tracking_dir.root, "none"))
    with pytest.raises(NotFoundError, match="nowhere"):
        next(iter_runs(tracking_dir.root / "nowhere"))


@pytest.mark.parametrize("batch_size", [0, -1, 1.5, True, "all", None])
def test_bad_batch_size(batch_size: Any) -> None:
    with pytest.raises(OptionError) as raised:
        iter_runs("nowhere", batch_size=batch_size)
    assert str(raised.value) == f"batch_size: expected a positive integer, found {batch_size!r}"


@pytest.mark.usefixtures("terminal")
def test_progress_moves_with_each_batch(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in iter_runs(sweep, batch_size=10, progress=True):
        pass
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "31/31" in shown.err


MIXED = ["lr: 1\nn: null\nsizes: [1]\n", "lr: 0.5\nn: 2\nsizes: [0.5]\nextra: x\n"]
"""Configurations that make other types of columns, and other columns."""


def test_batches_are_written_with_a_schema(tracking_dir: TrackingDir, tmp_path: Path) -> None:
    """As docs/scaling.md shows it."""
    experiment = tracking_dir.add_experiment("train")
    for i, config in enumerate(MIXED):
        tracking_dir.add_run(experiment, f"r{i}", config)
    schema: dict[str, Any] = {
        "run_id": pl.String,
        "lr": pl.Float64,
        "n": pl.Int64,
        "sizes": pl.List(pl.Float64),
        "extra": pl.String,
    }
    for number, runs in enumerate(iter_runs(tracking_dir.root, batch_size=1)):
        frame = runs.to_frame(*schema, defaults=dict.fromkeys(schema)).cast(schema)
        frame.write_parquet(tmp_path / f"{number:05}.parquet")
    assert pl.scan_parquet(tmp_path / "*.parquet").collect().to_dict(as_series=False) == {
        "run_id": ["r0", "r1"],
        "lr": [1.0, 0.5],
        "n": [None, 2],
        "sizes": [[1.0], [0.5]],
        "extra": [None, "x"],
    }
    (bad,) = iter_runs(tracking_dir.root, batch_size=10)
    with pytest.raises(pl.exceptions.InvalidOperationError, match="conversion from"):
        bad.to_frame("run_id").cast({"run_id": pl.Int64})


def test_batches_of_all_columns_are_put_together_by_their_common_types(
    tracking_dir: TrackingDir, tmp_path: Path
) -> None:
    """As docs/scaling.md shows it."""
    experiment = tracking_dir.add_experiment("train")
    for i, config in enumerate(MIXED):
        tracking_dir.add_run(experiment, f"r{i}", config)
    for number, runs in enumerate(iter_runs(tracking_dir.root, batch_size=1)):
        runs.to_frame().write_parquet(tmp_path / f"{number:05}.parquet")
    parts = [pl.scan_parquet(path) for path in sorted(tmp_path.glob("*.parquet"))]
    frame = pl.concat(parts, how="diagonal_relaxed").collect()
    together = Run.load(iter_run_dirs(tracking_dir.root)).to_frame()
    assert frame.select(together.columns).equals(together)
    assert frame.schema == together.schema
    with pytest.raises(pl.exceptions.PolarsError):
        pl.scan_parquet(tmp_path / "*.parquet").collect()


# HTTP ----------------------------------------------------------------------------------


def test_run_by_url(sweep: Path, serve: Callable[[Path], WebServer]) -> None:
    server = serve(sweep)
    expected = Run(next(iter_run_dirs(sweep, "train_digits_v1")))
    path = expected.info.run_dir.relative_to(sweep).as_posix()
    run = Run(f"{server.url}/{path}")
    assert run.cfg == expected.cfg
    assert (run.metrics, run.params, run.tags) == (
        expected.metrics,
        expected.params,
        expected.tags,
    )
    assert (run.info.run_id, run.info.status, run.info.job_name) == (
        expected.info.run_id,
        "FINISHED",
        "train_digits_v1",
    )
    assert run.path(".hydra/overrides.yaml").read_bytes()
    runs = Run.load([f"{server.url}/{path}/"] * 2)
    assert [r.cfg for r in runs] == [expected.cfg] * 2


def test_metric_names_with_spaces_by_url(
    tracking_dir: TrackingDir, serve: Callable[[Path], WebServer]
) -> None:
    metrics = {"val/a b": "1 0.5 1\n"}
    tracking_dir.add_run(tracking_dir.add_experiment("train"), "a", metrics=metrics)
    assert Run(f"{serve(tracking_dir.root).url}/1/a").metrics == {"val/a b": 0.5}


@pytest.mark.parametrize("status", [403, 404])
def test_server_that_does_not_list_directories_has_no_empty_metrics(
    tracking_dir: TrackingDir, serve: Callable[[Path], WebServer], status: int
) -> None:
    tracking_dir.add_run(tracking_dir.add_experiment("train"), "a", "lr: 1")
    server = serve(tracking_dir.root)
    server.answers["/metrics"] = [status] * 9
    run = Run(f"{server.url}/1/a")
    assert run.cfg == {"lr": 1}
    with pytest.raises(StorageError) as raised:
        _ = run.metrics
    assert str(raised.value).startswith(f"cannot list the directory '{server.url}/1/a/metrics': ")
    assert ("access denied" if status == 403 else "list directories") in str(raised.value)


# Folders that are no runs ----------------------------------------------------------------


def test_a_list_of_what_a_search_finds_gives_the_same_runs(
    tracking_dir: TrackingDir, publish: Callable[[Path], str]
) -> None:
    experiment = tracking_dir.add_experiment("train")
    tracking_dir.add_run(experiment, "a", "x: 1\n")
    tracking_dir.add_run(experiment, "parent", None)
    write(experiment / "parent/artifacts/note.txt", "a run without a configuration")
    write(experiment / "notes/todo.txt", "no run")
    write(experiment / ".ipynb_checkpoints/x/y.txt", "nor this")
    location = publish(tracking_dir.root)
    found = Run.load(iter_run_dirs(location))
    listed = Run.load(list(iter_run_dirs(location)))
    assert found.to_list("run_id") == listed.to_list("run_id") == ["a", "parent"]
    assert [run.to_dict() for run in listed] == [run.to_dict() for run in found]


@pytest.mark.parametrize("n_jobs", [0, 2])
def test_a_folder_given_as_a_run_is_an_error(
    tracking_dir: TrackingDir,
    publish: Callable[[Path], str],
    caplog: pytest.LogCaptureFixture,
    n_jobs: int,
) -> None:
    experiment = tracking_dir.add_experiment("train")
    tracking_dir.add_run(experiment, "a", "x: 1\n")
    write(experiment / "notes/todo.txt", "no run")
    location = publish(tracking_dir.root)
    names = ("a", "notes", "absent")
    run_dirs = [location.replace("mlruns", f"mlruns/1/{name}", 1) for name in names]
    with pytest.raises(RunLoadError, match=r"1 of 3 runs") as raised:
        Run.load(run_dirs, n_jobs=n_jobs)
    lines = str(raised.value).splitlines()
    assert re.match(r"- \S*1/notes\S* is not a run directory: expected a directory ", lines[1])
    caplog.clear()
    runs = Run.load(run_dirs, n_jobs=n_jobs, on_error="warn")
    assert runs.to_list("run_id") == ["a", "absent"]
    assert [run.to_dict() for run in runs] == [{"x": 1}, {}]
    assert "there is no run directory " in caplog.text  # on every storage


def test_options_of_a_search_are_given_to_the_search(tracking_dir: TrackingDir) -> None:
    tracking_dir.add_runs(1)
    url = f"file://{tracking_dir.root}"
    options = {"auto_mkdir": False}
    with pytest.raises(OptionError, match="storage_options: pass them to iter_run_dirs"):
        Run.load(iter_run_dirs(url), storage_options=options)
    runs = Run.load(iter_run_dirs(url, storage_options=options), storage_options=options)
    assert len(runs) == 1


@pytest.mark.parametrize("n_jobs", [None, 0])
def test_a_run_without_configuration_on_a_server_that_lists_nothing(
    tracking_dir: TrackingDir, serve: Callable[[Path], WebServer], n_jobs: int | None
) -> None:
    tracking_dir.add_run(tracking_dir.add_experiment("train"), "a", config=None)
    server = serve(tracking_dir.root)
    server.answers = {"/1/a": [403] * 9, "/1/a/": [403] * 9}
    url = f"{server.url}/1/a"
    run = Run(url) if n_jobs is None else Run.load([url], n_jobs=n_jobs)[0]
    assert run.cfg == {}
    assert run.info.status == "FINISHED"
