from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from kedro_hydraflow import Run, RunCollection, iter_run_dirs
from kedro_hydraflow.errors import FilterError, MissingKeyError, OptionError
from kedro_hydraflow.nearest_keys import describe_nearest_keys
from tests.conftest import TrackingDir, apply_filters, write

Runs = RunCollection[Run[Any]]


@pytest.fixture
def runs(tracking_dir: TrackingDir) -> Runs:
    """Return runs of which the first ones failed before they logged anything but a tag."""
    experiment = tracking_dir.add_experiment("train")
    for i in range(9):
        metrics = {"accuracy": "1 0.9 0\n", "val loss": "1 0.5 0\n"} if i > 3 else {}
        run_dir = tracking_dir.add_run(experiment, f"r{i}", "lr: 0.1\nopt: {eps: 1}\n", metrics)
        write(run_dir / "tags/stage", "sweep")
        if i > 3:
            write(run_dir / "params/width", "3")
    return Run.load(iter_run_dirs(tracking_dir.root))


MISTAKES = [
    ("accuracy", "metrics.accuracy"),
    ("metric.accuracy", "metrics.accuracy"),
    ("metrics/accuracy", "metrics.accuracy"),
    ("metrics.acuracy", "metrics.accuracy"),
    ("Metrics.accuracy", "metrics.accuracy"),
    ("param.width", "params.width"),
    ("width", "params.width"),
    ("tag.stage", "tags.stage"),
    ("params.lr", "lr"),
    ("opt.ep", "opt.eps"),
    ("optimizer.eps", "opt.eps"),
]


@pytest.mark.parametrize(("key", "nearest"), MISTAKES)
def test_the_key_that_works_is_named_wherever_a_key_is_given(
    runs: Runs, key: str, nearest: str
) -> None:
    expected = f"similar keys: {nearest!r}"
    for look_up in (runs.sort, runs.to_list, runs.group_by, runs.to_frame, runs[-1].get):
        with pytest.raises(MissingKeyError) as missing:
            look_up(key)
        assert expected in str(missing.value)
    with pytest.raises(MissingKeyError) as missing:
        runs.filter((key, 1))
    assert expected in str(missing.value)
    with pytest.raises(OptionError) as option:
        runs.best(key, mode="max")
    assert str(option.value).startswith(f"none of the 9 runs has a value for {key!r}; {expected}")
    with pytest.raises(FilterError) as in_filter:
        apply_filters(runs, f"{key} > 0.5")
    assert f"none of the 9 runs has the key {key!r}; {expected}" in str(in_filter.value)
    get_by_name = [nearest, *runs[-1:].to_frame(nearest).columns]
    assert get_by_name == [nearest, nearest]


def test_a_filter_is_told_to_quote_a_key_with_a_space(runs: Runs) -> None:
    with pytest.raises(FilterError, match=r"similar keys: '`metrics.val loss`'"):
        apply_filters(runs, "metrics.val_loss > 0")
    assert len(apply_filters(runs, "`metrics.val loss` > 0").runs) == 5
    with pytest.raises(MissingKeyError, match=r"similar keys: 'metrics\.val loss'"):
        runs.sort("metrics.val_loss")


@pytest.mark.parametrize("key", ["parent_run_id", "info.parent_run_id"])
def test_a_key_is_not_similar_to_itself(runs: Runs, key: str) -> None:
    with pytest.raises(OptionError, match=rf"has a value for '{key}'; similar keys: 'run_id'"):
        runs.best(key, mode="max")


def test_overrides_are_not_similar_to_themselves(runs: Runs) -> None:
    with pytest.raises(FilterError, match="the key 'overrides'; no similar keys; 'is null'"):
        runs.filter("overrides == 1")


def test_a_key_that_cannot_be_selected_says_why(tracking_dir: TrackingDir) -> None:
    config = "classes: {0: cat, 1.5: dog}\na: {b.c: 1}\nlater: ???\n"
    tracking_dir.add_run(tracking_dir.add_experiment("e"), "a", config)
    runs = Run.load(iter_run_dirs(tracking_dir.root))
    assert runs.to_frame().columns[2:] == ["classes.0", "classes.1.5", "a.b.c", "later"]
    reasons = {
        "a.b.c": "the name 'b.c' in it has a dot, .* use run.cfg['a']['b.c']",
        "later": "its value is '???', which stands for a missing one",
    }
    if runs.to_list("classes.0", None) == [None]:  # before OmegaConf 2.4
        reasons["classes.0"] = "the name 0 in it is an integer, .* use run.cfg['classes'][0]"
    else:
        assert runs.to_list("classes.0") == ["cat"]
    for key, reason in reasons.items():
        pattern = r"no such key: .*\(" + r".*".join(map(re.escape, reason.split(".*")))
        with pytest.raises(MissingKeyError, match=pattern):
            runs[0].get(key)
        with pytest.raises(FilterError, match=pattern.removeprefix(r"no such key: .*\(")):
            apply_filters(runs, f"{key} == 1")


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("x[0]", "the name 'x[0]' in it has a bracket, so no key selects it; use run.cfg['x[0]']"),
        ("a__b", "the name 'a__b' in it has '__', which stands for a dot, so no key selects it"),
        ("cfg.a.b", "use run.cfg['a__b']"),
        ("impl.later", "no similar keys"),
        # What no key selects is not named as similar.
        ("x0", "no similar keys"),
        ("dot.tedd", "no similar keys"),
        ("a_b", "no similar keys"),
        ("metrics.*", "the run does not have the key 'metrics.*'; a pattern is for to_frame and"),
        # Other names of what there is
        ("override", "similar keys: 'overrides'"),
        ("overrides.0", "similar keys: 'overrides'"),
        ("attributes.sttus", "similar keys: 'status'"),
        ("experiment_name", "similar keys: 'job_name'"),
        ("attributes.experiment_name", "similar keys: 'job_name'"),
        ("run.start_tme", "similar keys: 'start_time'"),
    ],
)
def test_what_is_named_can_be_used(tracking_dir: TrackingDir, key: str, reason: str) -> None:
    config = "x[0]: 1\ndot.ted: 2\na__b: 3\n1.5: 4\n'': 5\nlater: ???\n"
    tracking_dir.add_run(tracking_dir.add_experiment("e"), "a", config)
    runs = Run.load(iter_run_dirs(tracking_dir.root))
    with pytest.raises(FilterError, match=re.escape(reason)):
        apply_filters(runs, f"{key} == 1")


def test_a_mapping_that_cannot_be_selected_says_why(tracking_dir: TrackingDir) -> None:
    experiment = tracking_dir.add_experiment("e")
    tracking_dir.add_run(experiment, "a", "other: 1\n")
    tracking_dir.add_run(experiment, "b", "layers: {0: {size: 1}, x.y: {z: 2}}\nlater: ???\n")
    runs = Run.load(iter_run_dirs(tracking_dir.root))
    has_integers = runs.to_list("layers.0.size", None) != [None, None]  # from OmegaConf 2.4 on
    for key, reason in (
        ("layers.0", "the name 0 in it is an integer, so no key selects it"),
        ("layers.0.size", "use run.cfg['layers'][0]['size']"),
        ("layers.x.y", "the name 'x.y' in it has a dot"),
        ("cfg.later", "its value is '???', which stands for a missing one"),
    ):
        if has_integers and "0" in key:
            continue
        # Another run says it, even if the first one lacks the key altogether.
        with pytest.raises(OptionError, match=re.escape(reason)):
            runs.best(key, mode="max")
        with pytest.raises(MissingKeyError, match=re.escape(reason)):
            runs.to_frame(key)


def test_nearest_keys_of_the_configuration_are_spelled_for_filters(runs: Runs) -> None:
    for run in runs:
        run.update("params.width_mult", 2)
    with pytest.raises(FilterError, match=r"similar keys: 'cfg\.params\.width_mult'"):
        runs.filter("width_mul > 1")
    assert len(runs.filter("cfg.params.width_mult > 1")) == 9


def test_ranking_names_the_key_of_the_configuration(runs: Runs) -> None:
    for run in runs:
        run.update("metrics.target", 2)
    message = r"none of the 9 runs has a value for 'metrics\.target'; for that of the configuration"
    with pytest.raises(OptionError, match=message + r", write cfg\.metrics\.target$"):
        runs.best("metrics.target", mode="max")
    assert runs.best("cfg.metrics.target", mode="max") is runs[0]


def test_the_impl_counts_if_it_was_built(runs: Runs) -> None:
    def fail(artifacts_dir: Path) -> None:
        raise AssertionError("built")

    class Model:
        def __init__(self, artifacts_dir: Path) -> None:
            self.recall = 0.5

    run_dir = runs[0].info.run_dir
    assert describe_nearest_keys([Run(run_dir, Model)], "recal") == "similar keys: 'recall'"
    for key in ("metrics.recall", "status", "lr"):
        assert describe_nearest_keys([Run(run_dir, fail)], key) == "no similar keys"


def test_what_cannot_be_read_is_no_hint(runs: Runs) -> None:
    write(Path(runs[-1].info.run_dir) / "metrics/accuracy", "not a metric\n")
    write(Path(runs[-1].info.run_dir) / "artifacts/.hydra/config.yaml", "[")
    run = Run(runs[-1].info.run_dir)
    assert describe_nearest_keys([run], "param.width") == "similar keys: 'params.width'"
    assert describe_nearest_keys([run], "opt.ep") == "no similar keys"
