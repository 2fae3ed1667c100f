from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kedro_hydraflow import Run, iter_run_dirs
from kedro_hydraflow.default_columns import Columns, make_columns
from tests.conftest import HYDRA_SWEEP, FilesRead, TrackingDir

FACTS = ["run_id", "job_name", "status", "start_time"]


def make(root: Path, **options: Any) -> Columns:
    return make_columns(list(Run.load(iter_run_dirs(root), **options)), ())


def add_runs(tracking_dir: TrackingDir, *configs: str, **options: Any) -> Path:
    experiment = tracking_dir.add_experiment("train")
    for i, config in enumerate(configs):
        tracking_dir.add_run(experiment, f"r{i:02}", config, **options)
    return tracking_dir.root


def test_what_is_the_same_in_all_runs_has_no_column(tracking_dir: TrackingDir) -> None:
    root = add_runs(tracking_dir, "lr: 1\nseed: 1\nlayers: [1]\n", "lr: 1\nseed: 2\nlayers: [2]\n")
    columns = make(root)
    assert columns.frame.columns == [*FACTS, "seed", "layers"]
    assert columns.frame["layers"].to_list() == [[1], [2]]
    assert columns.omission is None


def test_keys_that_some_runs_lack_differ(tracking_dir: TrackingDir) -> None:
    root = add_runs(tracking_dir, "a: 1\nnothing: null\n", "a: 1\nb: 2\nnothing: null\n")
    assert make(root).frame.columns == [*FACTS, "b"]


def test_without_runs_patterns_have_no_column() -> None:
    runs: list[Run[Any, Any]] = []
    assert make_columns(runs, ["seed", "metrics.*", "model.?"]).frame.columns == ["seed"]
    assert make_columns(runs, ["model.?"]).frame.columns == FACTS


def test_of_one_run_all_keys_are_shown(tracking_dir: TrackingDir) -> None:
    root = add_runs(tracking_dir, "a: 1\nb: {c: 2}\n")
    assert make(root).frame.columns == [*FACTS, "a", "b.c"]


def test_copies_of_another_column_have_none(tracking_dir: TrackingDir) -> None:
    config = "lr: {}\ncopy: ${{lr}}\nseed: {}\n"
    root = add_runs(tracking_dir, config.format(1, 7), config.format(2, 8))
    columns = make(root)
    assert columns.frame.columns == [*FACTS, "lr", "seed"]
    assert columns.omission == "1 more configuration key ('copy')"


def test_rare_keys_come_last(tracking_dir: TrackingDir) -> None:
    rare = [f"only{i}: 1\nseed: {i}\n" for i in range(12)]
    assert make(add_runs(tracking_dir, *rare)).frame.columns[4] == "seed"


def test_there_are_ten_columns(tracking_dir: TrackingDir) -> None:
    metrics = {f"m{i}": "1 0.5 0\n" for i in range(9)}
    metrics["system/cpu"] = "1 0.5 0\n"
    configs = ["".join(f"k{i}: {i * n}\n" for i in range(1, 10)) for n in (1, 2)]
    columns = make(add_runs(tracking_dir, *configs, metrics=metrics))
    assert columns.frame.columns == [*FACTS, "k1", "k2", "k3", "k4", "metrics.m0", "metrics.m1"]
    assert columns.omission == (
        "5 more configuration keys ('k5', 'k6', 'k7', 'k8', 'k9'), 8 more metrics ('metrics.m2', "
        "'metrics.m3', 'metrics.m4', 'metrics.m5', 'metrics.m6' and others)"
    )


def test_metrics_take_the_room_that_differences_leave(tracking_dir: TrackingDir) -> None:
    metrics = {f"m{i}": "1 0.5 0\n" for i in range(9)}
    metrics["a/system"] = "1 0.5 0\n"
    columns = make(add_runs(tracking_dir, "seed: 1\n", "seed: 2\n", metrics=metrics))
    shown = [f"metrics.{name}" for name in ("a/system", "m0", "m1", "m2", "m3")]
    assert columns.frame.columns == [*FACTS, "seed", *shown]


def test_metrics_of_the_system_come_last(tracking_dir: TrackingDir) -> None:
    metrics = dict.fromkeys(("z", "system/cpu", "a/system"), "1 0.5 0\n")
    columns = make(add_runs(tracking_dir, "", metrics=metrics))
    assert columns.frame.columns[4:] == ["metrics.a/system", "metrics.z", "metrics.system/cpu"]


def test_keys_are_those_of_filters(tracking_dir: TrackingDir) -> None:
    config = "status: s{0}\nmetrics: {{loss: {0}}}\ninfo: {{absent: {1}}}\nseed: {2}\n".format
    root = add_runs(tracking_dir, config(1, 5, 8), config(2, 7, 9), metrics={"loss": "1 0.5 0\n"})
    columns = make(root)
    names = [*FACTS, "cfg.status", "cfg.metrics.loss", "cfg.info.absent", "seed", "metrics.loss"]
    assert columns.frame.columns == names
    assert columns.frame["status"].to_list() == ["FINISHED", "FINISHED"]
    assert columns.frame["cfg.status"].to_list() == ["s1", "s2"]
    assert columns.frame["metrics.loss"].to_list() == [0.5, 0.5]
    assert columns.frame["cfg.metrics.loss"].to_list() == [1, 2]


def test_metrics_are_those_of_runs_that_finished(tracking_dir: TrackingDir) -> None:
    experiment = tracking_dir.add_experiment("train")
    for i in range(9):
        tracking_dir.add_run(experiment, f"failed{i}", status=4)
    tracking_dir.add_run(experiment, "last", metrics={"loss": "1 0.5 0\n"})
    assert make(tracking_dir.root).frame.columns == [*FACTS, "metrics.loss"]


def add_runs_with_a_rare_metric(tracking_dir: TrackingDir) -> Path:
    experiment = tracking_dir.add_experiment("train")
    for i in range(20):
        rare = {"a_test": "1 0.25 0\n"} if i == 9 else {}
        metrics = {"loss": "1 0.5 0\n", **rare}
        tracking_dir.add_run(experiment, f"r{i:02}", metrics=metrics, status=4 if i == 9 else 3)
    return tracking_dir.root


def test_a_metric_that_one_run_has_is_shown_last(tracking_dir: TrackingDir) -> None:
    columns = make(add_runs_with_a_rare_metric(tracking_dir))
    assert columns.frame.columns == [*FACTS, "metrics.loss", "metrics.a_test"]
    assert columns.frame["metrics.a_test"].drop_nulls().to_list() == [0.25]
    assert columns.omission is None


def test_metrics_of_a_few_runs_where_all_runs_have_too_many(
    tracking_dir: TrackingDir, monkeypatch: pytest.MonkeyPatch, files_read: FilesRead
) -> None:
    root = add_runs_with_a_rare_metric(tracking_dir)
    monkeypatch.setattr("kedro_hydraflow.default_columns._MAX_READ", 30)
    runs = Run.load(iter_run_dirs(root))
    columns = make_columns(list(runs), ())
    assert columns.frame.columns == [*FACTS, "metrics.loss"]
    assert columns.omission == "perhaps more metrics (those of 3 of 20 runs were looked at)"
    assert not any("a_test" in path for path in files_read.paths)
    runs.to_frame("metrics.*")
    columns = make_columns(list(runs), ())  # which have been read meanwhile
    assert columns.frame.columns == [*FACTS, "metrics.loss", "metrics.a_test"]
    assert columns.omission is None


def test_results_of_hydra_alone() -> None:
    columns = make(HYDRA_SWEEP, results="result.json")
    assert columns.frame.columns[:2] == ["run_id", "job_name"]  # nothing else is recorded
    assert columns.frame.columns[-2:] == ["results.loss", "results.n_weights"]


def test_the_importance_of_columns(sweep: Path) -> None:
    assert make(sweep).importance == [
        "run_id",
        "job_name",
        "status",
        "model.type",
        "metrics.accuracy",
        "model.hidden_size",
        "metrics.train/loss",
        "start_time",
        "model.activation",
        "training.learning_rate",
    ]


def test_the_keys_of_an_order_are_columns(sweep: Path) -> None:
    runs = list(Run.load(iter_run_dirs(sweep)))
    ordered_by = ["cfg.note", "metrics.val/accuracy", "info.start_time", "tags.stage"]
    columns = make_columns(runs, (), ordered_by=ordered_by)
    assert columns.frame.columns == [
        *FACTS,
        "note",
        "model.type",
        "model.hidden_size",
        "model.activation",
        "metrics.val/accuracy",
        "metrics.accuracy",
        "tags.stage",
    ]
    shown = ["run_id", "note", "metrics.val/accuracy", "start_time", "tags.stage"]
    assert columns.importance[:5] == shown
    assert columns.omission is not None
    assert "'note'" not in columns.omission
    columns = make_columns(runs, ["status", "seed", "run_id"], ordered_by=["cfg.seed"])
    assert columns.importance == ["seed", "status", "run_id"]


@pytest.mark.parametrize("keys", [["seed"], ["seed", "run_id"]])
def test_keys_that_are_given(sweep: Path, keys: list[str]) -> None:
    runs = Run.load(iter_run_dirs(sweep))
    columns = make_columns(runs, keys)
    assert columns.frame.equals(runs.to_frame(*keys))
    assert (columns.importance, columns.omission) == (keys, None)
