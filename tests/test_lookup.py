from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kedro_hydraflow import Run, RunInfo, iter_run_dirs
from kedro_hydraflow.errors import ConfigError, ImplError, MissingKeyError
from kedro_hydraflow.lookup import (
    are_objects,
    get_data,
    get_value,
    get_values,
    iter_outcomes,
)
from kedro_hydraflow.missing import MISSING
from kedro_hydraflow.run import make_run
from kedro_hydraflow.run_base import get_configuration
from tests.conftest import TrackingDir, write

AnyRun = Run[Any, Any]


def make_runs(*configs: dict[str, Any], impl_factory: Any = None) -> list[AnyRun]:
    """Return runs that are not on disk, with these configurations."""
    infos = [RunInfo(Path(f"nowhere/1/run{i}")) for i in range(len(configs))]
    return [
        make_run(Run, info, impl_factory, None, config)
        for info, config in zip(infos, configs, strict=True)
    ]


class Impl:
    def __init__(self, artifacts_dir: Path) -> None:
        self.score = 0.5
        self.status = "of the implementation"


def fail(artifacts_dir: Path) -> None:
    raise AssertionError("built")


def test_get_data_is_plain_and_resolved() -> None:
    (run,) = runs = make_runs({"a": 1, "b": {"c": "${a}", "d": [1, "${a}"]}, "e": {"f": [2]}})
    assert get_data(runs, "b") == [{"c": 1, "d": [1, 1]}]
    assert type(get_data(runs, "b")[0]["d"]) is list
    assert type(get_data(runs, "e")[0]) is dict
    assert not get_configuration(run).has_dictconfig()
    assert get_data(runs, "cfg")[0] is run.cfg
    assert get_data(runs, "x", None) == [None]


def test_values_are_those_of_one_run() -> None:
    runs = make_runs({"a": {"b": 1}}, {"a": {"b": "${c}"}, "c": 2}, {}, impl_factory=Impl)
    for key in ("a.b", "a__b", "a", "score", "status", "run_id", "absent", "run"):
        expected = [run.get(key, "default") for run in runs]
        assert get_values(runs, key, "default") == expected
        assert [get_value(run, key, "default") for run in runs] == expected
    assert get_values(runs[:1], "a")[0] is runs[0].cfg.a


def test_errors_are_raised_in_the_order_of_the_runs() -> None:
    broken, lacking = {"a": "${nowhere}"}, {"b": 1}
    for look_up in (get_data, get_values):
        with pytest.raises(MissingKeyError, match="run run0: no such key: 'a'"):
            look_up(make_runs(lacking, broken), "a")
        with pytest.raises(ConfigError, match="run run0: cannot resolve the key 'a'"):
            look_up(make_runs(broken, lacking), "a")


def test_a_callable_default_is_called_with_each_run_that_lacks_the_key() -> None:
    runs = make_runs({"a": 1}, {"b": 5}, {"b": 6})
    assert get_data(runs, "a", lambda run: run.get("b")) == [1, 5, 6]


def test_outcomes_tell_what_happened_to_each_run() -> None:
    runs = make_runs({"a": 1}, {"a": "${nowhere}"}, {}, {"a": [2]})
    one, error, absent, many = iter_outcomes(runs, "a")
    assert (one, absent, many) == (1, MISSING, [2])
    assert type(error) is ConfigError
    assert str(error).startswith("run run1: cannot resolve the key 'a': ")


def test_outcomes_build_an_implementation_when_they_come_to_it() -> None:
    built: list[Path] = []
    outcomes = iter_outcomes(make_runs({}, {}, impl_factory=built.append), "a")
    assert next(outcomes) is MISSING
    assert len(built) == 1


def test_outcomes_of_facts_build_no_implementation(tracking_dir: TrackingDir) -> None:
    run = Run(tracking_dir.add_run(tracking_dir.add_experiment("e"), "a", "x: 1\n"), fail)
    assert list(iter_outcomes([run], "status", "status")) == ["FINISHED"]
    assert list(iter_outcomes([run], "attributes.status", "status")) == ["FINISHED"]
    run.update("status", "mine")
    assert list(iter_outcomes([run], "status", "status")) == ["mine"]
    (error,) = iter_outcomes([run], "other")
    assert type(error) is ImplError


def test_one_unreadable_run_does_not_hide_the_metrics_of_others(
    tracking_dir: TrackingDir,
) -> None:
    experiment = tracking_dir.add_experiment("e")
    metrics = {"loss": "1 0.5 0\n"}
    run_dirs = [tracking_dir.add_run(experiment, name, "{}", metrics) for name in "ab"]
    write(run_dirs[1] / "metrics/loss", "not a metric\n")
    runs = [Run(run_dir) for run_dir in run_dirs]
    good, bad = iter_outcomes(runs, "metrics.loss")
    assert good == 0.5
    assert isinstance(bad, Exception)
    with pytest.raises(type(bad)):
        get_data(runs, "metrics.loss")


def test_a_metric_whose_name_is_a_folder_is_missing(tracking_dir: TrackingDir) -> None:
    run_dir = tracking_dir.add_run(
        tracking_dir.add_experiment("e"), "a", "{}", {"val/loss": "1 0.5 0\n"}
    )
    runs = [Run(run_dir)]
    assert get_data(runs, "metrics.val", None) == [None]
    assert get_data(runs, "metrics.val/loss") == [0.5]


def test_both_meanings_of_two_underscores(tracking_dir: TrackingDir) -> None:
    experiment = tracking_dir.add_experiment("e")
    runs = [
        Run(tracking_dir.add_run(experiment, "a", "{}", {"x__y": "1 1 0\n", "x.y": "1 2 0\n"})),
        Run(tracking_dir.add_run(experiment, "b", "{}", {"x.y": "1 3 0\n"})),
    ]
    assert get_data(runs, "metrics.x__y") == [1.0, 3.0]
    assert get_data(runs, "metrics__x.y") == [2.0, 3.0]


@dataclass
class Config:
    layers: Any = (1, 2)


def test_an_index_in_a_configuration_with_a_class(tmp_path: Path) -> None:
    write(tmp_path / "artifacts/.hydra/config.yaml", "layers: [3, 4]\n")
    run: AnyRun = Run(tmp_path, config_class=Config)
    assert run.get("layers[1]") == 4
    assert get_data([run], "layers[1]") == get_values([run], "layers.1") == [4]


def test_objects_are_those_that_no_configuration_has() -> None:
    assert are_objects(make_runs({}, {}), "cfg")
    assert not are_objects(make_runs({}, {"cfg": 1}), "cfg")
    assert not are_objects(make_runs({}), "run_id")
    assert are_objects([], "impl")


def test_how_many_runs_lack_a_key(tracking_dir: TrackingDir) -> None:
    experiment = tracking_dir.add_experiment("e")
    for i in range(5):
        metrics = {"loss": "1 0.5 0\n"} if i < 2 else {"val/loss": "1 0.5 0\n"}
        tracking_dir.add_run(experiment, f"r{i}", "a: 1\n" if i else "b: 1\n", metrics)
    runs = Run.load(iter_run_dirs(tracking_dir.root))
    for key, count in (("a", "1 of 5 runs lack it"), ("c", "all 5 runs lack it")):
        with pytest.raises(
            MissingKeyError, match=rf"run r0: no such key: '{key}' .*; {count}; a d"
        ):
            runs.to_list(key)
    for look_up in (runs.sort, runs.group_by, runs.to_data):
        with pytest.raises(MissingKeyError) as caught:
            look_up("metrics.loss")
        assert "run r2: no such key: 'metrics.loss' in cfg, impl or info (similar keys: "
        assert "(similar keys: 'metrics.val/loss'); 3 of 5 runs lack it; a d" in str(caught.value)
    with pytest.raises(MissingKeyError, match=r"'metrics\.val/loss'\); all 2 runs lack it; a d"):
        runs[2:4].to_frame("run_id", "metrics.loss")


def test_runs_are_not_counted_if_that_builds_implementations(tracking_dir: TrackingDir) -> None:
    tracking_dir.add_runs(3)
    built: list[Path] = []
    runs = Run.load(iter_run_dirs(tracking_dir.root), lambda path: built.append(path) or Impl(path))
    with pytest.raises(MissingKeyError, match=r"run r000: .* \(similar keys: 'score'\); a default"):
        runs.to_list("scores")
    assert len(built) == 1


def test_a_run_that_cannot_be_read_is_not_counted(tracking_dir: TrackingDir) -> None:
    tracking_dir.add_runs(3)
    write(tracking_dir.root / "1/r001/metrics/loss", "not a metric\n")
    runs = Run.load(iter_run_dirs(tracking_dir.root))
    with pytest.raises(MissingKeyError, match=r"run r000: .*; 2 of 3 runs lack it"):
        runs.to_list("metrics.loss")
