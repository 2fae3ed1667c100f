"""Conditions on facts in Python. `test_filters` has those that are written as text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kedro_hydraflow import Collection, Run, RunCollection, iter_run_dirs
from kedro_hydraflow.errors import FilterError, OptionError
from tests.conftest import TrackingDir, apply_filters, write

Runs = RunCollection[Run[Any]]


@pytest.fixture
def runs(sweep: Path) -> Runs:
    return Run.load(iter_run_dirs(sweep))


@pytest.fixture
def untracked(tmp_path: Path) -> Runs:
    """Return runs of which there are only artifacts."""
    for name in "ab":
        write(tmp_path / f"bucket/1/{name * 32}/artifacts/.hydra/config.yaml", "x: 1\n")
    return Run.load(iter_run_dirs(tmp_path / "bucket"))


@pytest.mark.parametrize(
    ("status", "n_runs"),
    [("FINISHED", 30), ("finished", 30), (["Failed", "finished"], 31), ({"failed"}, 1),
     (np.array(["failed", "KILLED"]), 1), ("killed", 0), ([], 0), (None, 0), (["FAILED", None], 1),
     (lambda status: status[:3] == "FIN", 30), (("FA", "FB"), 1)],
)  # fmt: skip
def test_the_case_of_a_status_does_not_matter(runs: Runs, status: Any, n_runs: int) -> None:
    assert len(runs.filter(status=status)) == n_runs
    assert len(runs.filter(("status", status))) == n_runs
    assert len(runs.exclude(status=status)) == 31 - n_runs


@pytest.mark.parametrize(
    ("status", "unknown"),
    [("finishd", "'finishd'"), (["FINISHED", "done"], "'done'"), ({"ok"}, "'ok'"), (3, "3"),
     ("", "''"), (True, "True")],
)  # fmt: skip
def test_a_status_that_no_run_has_is_an_error(runs: Runs, status: Any, unknown: str) -> None:
    expected = (
        f"filter status={status!r}: no run can have the status {unknown}; expected one of "
        "RUNNING, SCHEDULED, FINISHED, FAILED, KILLED"
    )
    for find in (runs.filter, runs.exclude, runs.first, runs.last, runs.get, runs.try_get):
        with pytest.raises(FilterError) as caught:
            find(status=status)
        assert str(caught.value) == expected
    # Without any run, it may be a key of configurations.
    assert len(runs.filter(lambda run: False, status=status)) == 0


def test_a_range_of_statuses(runs: Runs) -> None:
    assert len(runs.filter(status=("failed", "finished"))) == 31
    assert len(runs.filter(status=("FAILED", "FAILED"))) == 1


def test_the_stage_of_a_run(runs: Runs) -> None:
    assert len(runs.filter(lifecycle_stage="ACTIVE")) == 31
    assert len(runs.filter(lifecycle_stage="deleted")) == 0
    with pytest.raises(
        FilterError, match=r"the lifecycle_stage 'alive'; expected one of active, d"
    ):
        runs.filter(lifecycle_stage="alive")


def test_conditions_that_no_run_reaches_are_no_error(tracking_dir: TrackingDir) -> None:
    experiment = tracking_dir.add_experiment("e")
    tracking_dir.add_run(experiment, "a", "status: active\nseed: 1\n")
    runs = Run.load(iter_run_dirs(tracking_dir.root))
    for some in (["seed == 99", "cfg.status == active"], ["cfg.status == active and seed == 99"]):
        assert len(apply_filters(runs, some).runs) == 0
    assert len(runs.filter(seed=99, status="active")) == 0


def test_a_key_status_of_configurations_may_have_any_value(tracking_dir: TrackingDir) -> None:
    tracking_dir.add_runs(3, lambda i: f"status: {['draft', 'finished', None][i] or 'null'}\n")
    runs = Run.load(iter_run_dirs(tracking_dir.root))
    for status, n_runs in (("draft", 1), ("Draft", 0), ("finished", 1), ("FINISHED", 0), (None, 1)):
        assert len(runs.filter(status=status)) == n_runs
    write(tracking_dir.root / "1/r002/artifacts/.hydra/config.yaml", "{}\n")
    mixed = Run.load(iter_run_dirs(tracking_dir.root), index=False)
    assert mixed.filter(status="draft").to_list("run_id") == ["r000"]
    assert mixed.filter(status="FINISHED").to_list("run_id") == ["r002"]
    assert len(mixed.filter(status="neither")) == 0


def test_a_status_of_the_implementation_may_have_any_value(sweep: Path) -> None:
    class Model:
        def __init__(self, artifacts_dir: Path) -> None:
            self.status = "trained"

    runs = Run.load(iter_run_dirs(sweep, "eval_*"), Model)
    assert len(runs.filter(status="trained")) == 2
    assert len(runs.filter(status="other")) == 0


def test_other_lookups_are_not_checked(runs: Runs) -> None:
    mine = RunCollection(list(runs), lambda run, key, default: "mine")
    assert len(mine.filter(status="mine")) == 31
    assert len(mine.filter(status="other")) == 0
    assert len(Collection(run.info for run in runs).filter(status="other")) == 0


@pytest.mark.parametrize(
    ("fact", "value"),
    [("status", "FINISHED"), ("status", ["FINISHED"]), ("status", None), ("run_name", "a"),
     ("end_time", lambda time: time.year > 2020), ("lifecycle_stage", "active")],
)  # fmt: skip
def test_what_artifacts_alone_do_not_tell_is_an_error(
    untracked: Runs, fact: str, value: Any
) -> None:
    message = (
        rf"^filter {fact}=.*: {fact} is not recorded in .*bucket, but only in what tracks .* out$"
    )
    for find in (untracked.filter, untracked.exclude):
        with pytest.raises(FilterError, match=message):
            find(**{fact: value})
    assert len(untracked.filter(run_id="a" * 32, x=1)) == 1


def test_ranking_by_what_artifacts_alone_do_not_tell(untracked: Runs) -> None:
    with pytest.raises(OptionError) as caught:
        untracked.best("end_time", mode="max")
    assert str(caught.value).startswith(
        "none of the 2 runs has a value for 'end_time'; end_time is not recorded in "
    )


def test_a_running_run_has_no_end(tracking_dir: TrackingDir) -> None:
    tracking_dir.add_run(tracking_dir.add_experiment("e"), "a", "", status=1, end_time=None)
    runs = Run.load(iter_run_dirs(tracking_dir.root))
    assert len(runs.filter(end_time=None, status="running")) == 1
