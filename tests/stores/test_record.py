"""Records: the return types of stores."""

from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest

from kedro_hydraflow.errors import NotARunError
from kedro_hydraflow.storage import LocalStorage, locate
from kedro_hydraflow.stores.record import (
    ExperimentRecord,
    Experiments,
    Point,
    RunNames,
    find_output_id,
    is_deleted,
    is_finished,
    make_run_record,
)


def make_experiment(experiment_id: str, name: str | None = None) -> ExperimentRecord:
    return ExperimentRecord(LocalStorage(), f"/mlruns/{experiment_id}", experiment_id, name)


def test_experiments_are_sorted_by_name_then_by_id() -> None:
    experiments = [
        make_experiment("3", "b"),
        make_experiment("2", "a"),
        make_experiment("10", "a"),
        make_experiment("4"),
    ]
    ordered = sorted(experiments, key=ExperimentRecord.sort_key)
    assert [experiment.experiment_id for experiment in ordered] == ["4", "10", "2", "3"]


def test_records_are_frozen_values() -> None:
    experiment = make_experiment("1", "train")
    assert experiment == make_experiment("1", "train")
    assert experiment != make_experiment("1", "eval")
    assert replace(experiment, run_names=("a",)) == experiment  # listed while finding it
    assert pickle.loads(pickle.dumps(experiment)) == experiment
    with pytest.raises(FrozenInstanceError):
        experiment.experiment_name = "eval"  # type: ignore[misc]


@pytest.mark.parametrize("location", ["/mlruns/1/a", "memory://bucket/1/a"])
def test_a_run_of_which_only_the_directory_is_known(location: str) -> None:
    place = locate(location)
    record = make_run_record(place)
    assert (record.run_id, record.url) == ("a", location)
    assert record.experiment == make_run_record(place.parent.join("b")).experiment
    assert (record.experiment.experiment_id, record.experiment.experiment_name) == ("1", None)
    assert (record.facts, record.logged) == (None, None)
    assert pickle.loads(pickle.dumps(record)).run_id == "a"
    experiment = make_experiment("7", "train")
    assert make_run_record(place, experiment).experiment is experiment


def test_the_current_directory_has_no_run_id() -> None:
    assert make_run_record(locate(".")).run_id == ""


@pytest.mark.parametrize(
    ("path", "output_id"),
    [
        ("/x/multirun/2026-11-25/23-01-50/3", "multirun/2026-11-25/23-01-50/3"),
        ("/x/outputs/2026-11-25/23-01-50", "outputs/2026-11-25/23-01-50"),
        ("/x/outputs/multirun/named/lr=0.1,seed=5", "multirun/named/lr=0.1,seed=5"),
        ("/x/multirun/a/../../outputs/b", "outputs/b"),
        ("/x/outputs", "outputs"),
        ("/x/logs/runs/3", None),
        ("/x/multiruns/3", None),
        ("/x/outputs/2026-11-25/23-01-50/mlruns/1/abc", None),
        ("/x/mlruns/multirun/3", "multirun/3"),
        ("memory://outputs/x/3", "outputs/x/3"),
        ("memory://bucket/multirun/x/3", "multirun/x/3"),
        ("memory://bucket/3", None),
    ],
)
def test_ids_of_directories_that_hydra_created(path: str, output_id: str | None) -> None:
    assert find_output_id(locate(path)) == output_id


def test_records_of_hydra_and_mlflow_in_the_same_directories() -> None:
    record = make_run_record(locate("/x/multirun/2026-11-25/23-01-50/3"))
    assert record.run_id == "multirun/2026-11-25/23-01-50/3"
    assert record.experiment.experiment_id == "multirun/2026-11-25/23-01-50"
    record = make_run_record(locate(f"/x/outputs/1/{'a' * 32}"))
    assert (record.run_id, record.experiment.experiment_id) == ("a" * 32, "1")
    record = make_run_record(locate("/x/multirun"))
    assert (record.run_id, record.experiment.experiment_id) == ("multirun", "x")


def test_parts_of_an_experiment_have_one_name() -> None:
    matching = [make_experiment("1", "a"), make_experiment("2", "b"), make_experiment("3", "b")]
    assert Experiments(matching, [], []).names == ["a", "b", "b"]
    assert Experiments(matching, [], [], are_parts=True).names == ["a", "b"]


def test_a_slice_of_names_keeps_the_prefetched_data() -> None:
    names = RunNames(make_experiment("1"), ["a", "b", "c"], {"b": 1})
    assert names.take(1, 9) == RunNames(names.experiment, ["b", "c"], {"b": 1})
    assert names.take(0, 0).names == []
    assert names.names == ["a", "b", "c"]


def test_points_order_by_step_then_time_then_value() -> None:
    points = [Point(1, 0, 0.0), Point(0, 2, 0.0), Point(0, 1, 2.0), Point(0, 1, 1.0)]
    assert sorted(points) == points[::-1]


@pytest.mark.parametrize(
    ("facts", "deleted", "finished"),
    [
        ({"status": "3", "lifecycle_stage": "active"}, False, True),
        ({"status": "FAILED", "lifecycle_stage": "active"}, False, True),
        ({"status": "KILLED", "lifecycle_stage": "deleted"}, True, False),
        ({"status": "1", "lifecycle_stage": "active"}, False, False),
        ({"status": "RUNNING", "lifecycle_stage": "active"}, False, False),
        ({"status": "FINISHED"}, False, False),
        ({}, False, False),
        (None, False, False),
        (OSError(), False, False),
    ],
)
def test_deleted_and_finished_facts(facts: Any, deleted: bool, finished: bool) -> None:
    assert (is_deleted(facts), is_finished(facts)) == (deleted, finished)


def test_the_artifacts_directory_is_no_run() -> None:
    run_dir = "mlruns/1/" + "a1" * 16
    with pytest.raises(NotARunError) as raised:
        make_run_record(locate(f"{run_dir}/artifacts"))
    assert str(raised.value) == (
        f"{run_dir}/artifacts is not a run directory, but the artifacts of one; give {run_dir}"
    )
    assert make_run_record(locate("multirun/artifacts")).run_id == "multirun/artifacts"
