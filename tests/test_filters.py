from __future__ import annotations

import re
from datetime import datetime, timezone
from enum import Enum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kedro_hydraflow import Run, RunCollection, iter_run_dirs
from kedro_hydraflow.errors import FilterError
from kedro_hydraflow.filters import parse_filters
from kedro_hydraflow.filters.comparison import Comparer
from kedro_hydraflow.filters.expressions import Comparison
from tests.conftest import TrackingDir, apply_filters, write

CONFIG = """\
model: {type: mlp, hidden_size: 32, classes: [1, 2]}
lr: 0.01
big: true
note: null
path: !!python/object/apply:pathlib.PosixPath [/data/x]
alias: ${lr}
run: {speed: 3}
"""


class Color(Enum):
    RED = 1


@pytest.fixture
def run(tracking_dir: TrackingDir) -> Run[Any]:
    directory = tracking_dir.add_run(
        tracking_dir.add_experiment("train_v1"),
        "abc",
        CONFIG,
        {"accuracy": "1 0.9 0\n", "val/loss": "1 nan 0\n"},
        end_time=None,
    )
    (directory / "params/lr").write_text("0.01")
    (directory / "params/name").write_text("0.10")
    (directory / "params/odd").write_text("[")
    (directory / "tags/mlflow.user").write_text("root")
    run = Run(directory)
    run.update("color", Color.RED)
    return run


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("lr == 0.01", True),
        ("lr == 1e-2", True),
        ("lr != 0.01", False),
        ("lr<0.1", True),
        ("lr >= 0.01", True),
        ("lr > 0.01", False),
        ("lr <= 0.005", False),
        ("alias == 0.01", True),
        ("model.type == mlp", True),
        ("model__type == mlp", True),
        ("model.type == 'mlp'", True),
        ("model.type in [mlp, linear]", True),
        ("model.type not in [mlp, linear]", False),
        ("model.hidden_size in [16, 64]", False),
        ("model.classes == [1, 2]", True),
        ("model.type ~ m*", True),
        ("model.type ~ M*", False),
        ("model.type < zzz", True),
        ("big == true", True),
        ("big == 1", False),
        ("note == null", True),
        ("note != null", False),
        ("note > 3", False),
        ("note ~ *", False),
        ("model.type ~ *p", True),
        ("model.type ~ 3", False),
        ("note == ~", True),
        ("path == /data/x", True),
        ("path ~ /data/*", True),
        ("status == FINISHED", True),
        ("job_name ~ train_*", True),
        ("run_id == abc", True),
        ("run.speed == 3", True),
        ("start_time > 2026-11-22", True),
        ("start_time < 2026-11-22T10:00:00", False),
        ("start_time == 1795394369957", True),
        ("start_time in [1795394369957]", True),
        ("end_time > 2020-01-01", False),
        ("metrics.accuracy > 0.85", True),
        ("metrics.val/loss > 0", False),
        # MLflow's spellings
        ("attributes.status = 'FINISHED'", True),
        ("attribute.status != 'FAILED'", True),
        ("status IN ('FINISHED', 'FAILED')", True),
        ("status NOT IN ('FINISHED')", False),
        ("attributes.run_name LIKE 'upset-%'", True),
        ("attributes.run_name LIKE 'UPSET%'", False),
        ("attributes.run_name ILIKE 'UPSET-turtle-76_'", True),
        ("metrics.`val/loss` < 1", False),
        ("metrics.accuracy = 0.9", True),
        ("params.lr = '0.01'", True),
        ("params.lr < 0.1", True),
        ("params.name == 0.1", True),
        ("params.name == '0.1'", False),
        ("params.odd != 3", True),
        ("params.lr in [auto, 0.010]", True),
        ("params.lr not in [auto, 0.02]", True),
        ("experiment_id == 1", True),
        ("experiment_id in [1, 2]", True),
        ("experiment_id != 1", False),
        ("attributes.experiment_id = 1", True),
        ("metrics.val/loss == .nan", True),
        ("metrics.val/loss != .nan", False),
        ("model.type == '#fff'", False),
        ("start_time == null", False),
        ("color == RED", True),
        ('tags."mlflow.user" = "root"', True),
        ("tags.`mlflow.user` = 'FINISHED and more'", False),
    ],
)
def test_what_a_run_meets(run: Run[Any], text: str, expected: bool) -> None:
    kept, failures, _ = apply_filters(RunCollection([run]), text)
    assert failures == []
    assert list(kept) == [run] * expected


@pytest.mark.parametrize("key", ["absent", "metrics.absent", "_lock"])
@pytest.mark.parametrize("operator", ["==", "!=", ">"])
def test_a_key_that_a_run_lacks(run: Run[Any], key: str, operator: str) -> None:
    with pytest.raises(FilterError, match=f"none of the 1 runs has the key '{key}'"):
        apply_filters(RunCollection([run]), f"{key} {operator} 3")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "expected 'KEY OP VALUE' with OP one of ==, !=, <, <=, >, >=, in, not in, ~, ="),
        ("lr", "expected 'KEY OP VALUE'"),
        ("lr ==", "expected 'KEY OP VALUE'"),
        ("lr =< 3", "expected 'KEY OP VALUE'"),
        ("lr is null", "expected 'KEY OP VALUE'"),
        (3, "expected 'KEY OP VALUE'"),
        ({"lr": 3}, "expected 'KEY OP VALUE'"),
        ("lr in 3", "'in' expects a list such as [a, b], found 3"),
        ("lr == [1, 2", "the value '[1, 2' is not YAML: while parsing a flow sequence"),
        ("lr == 'a", 'the value "\'a" is not YAML'),
        ("a = 'x' and b = 'y'", "write each condition as a separate entry"),
        ("a == x and b == y", "write each condition as a separate entry"),
        ("a > 1 OR b > 2", "write each condition as a separate entry"),
        ("a == x && b == y", "write each condition as a separate entry"),
        ("color == #fff", "#fff is a comment in YAML; quote it"),
    ],
)
def test_refuses_what_cannot_be_parsed(text: Any, problem: str) -> None:
    with pytest.raises(FilterError) as caught:
        parse_filters([text])
    assert str(caught.value).startswith(f"filter {text!r}: ")
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("model.type < 3", "'mlp' (str)"),
        ("lr > high", "0.01 (float)"),
        ("big > 0", "True (bool)"),
        ("lr < true", "0.01 (float)"),
        ("lr ~ 0.*", "0.01 (float)"),
        ("lr LIKE '0%'", "0.01 (float)"),
        ("model.classes > 3", "[1, 2] (list)"),
        ("start_time > yesterday", "(datetime)"),
        ("start_time > 1e30", "(datetime)"),
        ("start_time == garbage", "(datetime)"),
        ("start_time in [2020-13-01]", "(datetime)"),
        ("start_time > 20200101", "(datetime)"),
    ],
)
def test_incomparable_names_filter_and_run(run: Run[Any], text: str, found: str) -> None:
    with pytest.raises(FilterError) as caught:
        apply_filters(RunCollection([run]), text)
    assert str(caught.value).startswith(f"filter {text!r}: run abc has ")
    assert found in str(caught.value)
    assert "cannot compare" in str(caught.value)


def load(root: Path) -> RunCollection[Run[Any]]:
    return Run.load(iter_run_dirs(root))


def test_a_run_without_the_key_does_not_match(sweep: Path) -> None:
    runs = load(sweep)
    runs[0].update("only_here", 1)
    kept, failures, _ = apply_filters(runs, "only_here >= 0")
    assert list(kept) == [runs[0]]
    assert failures == []


def test_a_key_that_no_run_has_is_an_error(sweep: Path) -> None:
    with pytest.raises(FilterError) as caught:
        apply_filters(load(sweep), "model.typ == mlp")
    assert "filter 'model.typ == mlp': none of the 31 runs has the key 'model.typ'" in str(
        caught.value
    )
    assert "'model.typ'; similar keys: 'model.type', " in str(caught.value)


def test_incomparable_values_are_an_error_for_all_runs(sweep: Path) -> None:
    with pytest.raises(FilterError, match="'mlp' \\(str\\), which '<' cannot compare with 3"):
        apply_filters(load(sweep), "model.type < 3")


def test_all_filters_have_to_match(sweep: Path) -> None:
    filters = ["status == FINISHED", "model.type == mlp", "metrics.accuracy > 0.97"]
    kept, _, counts = apply_filters(load(sweep), filters)
    assert counts == [30, 18, len(kept)]
    assert sorted(kept.to_list("metrics.accuracy"), reverse=True)[:2] == [
        0.9777777777777777,
        0.9777777777777777,
    ]
    assert len(kept) == len([a for a in kept.to_list("metrics.accuracy") if a > 0.97]) > 0


@pytest.mark.parametrize("texts", [["only_here == 1", "seed > 1"], ["seed > 1", "only_here == 1"]])
def test_the_order_of_filters_does_not_matter(sweep: Path, texts: list[str]) -> None:
    runs = load(sweep)
    runs.filter(seed=1)[0].update("only_here", 1)
    kept, failures, _ = apply_filters(runs, texts)
    assert (len(kept), failures) == (0, [])


def test_no_runs_no_complaint(sweep: Path) -> None:
    kept, failures, _ = apply_filters(load(sweep)[:0], "anything == 1")
    assert (len(kept), failures) == (0, [])


def test_facts_are_filtered_without_building_the_implementation(sweep: Path) -> None:
    def refuse(artifacts_dir: Path) -> None:
        raise AssertionError("built")

    runs = Run.load(iter_run_dirs(sweep), refuse)
    kept, failures, _ = apply_filters(runs, "status == FAILED")
    assert (len(kept), failures) == (1, [])


def test_a_run_whose_implementation_fails_is_a_failure(sweep: Path) -> None:
    runs = Run.load(iter_run_dirs(sweep, "eval_*"), lambda artifacts_dir: 1 / 0)
    kept, failures, _ = apply_filters(runs, "score > 1")
    assert len(kept) == 0
    assert [f.path for f in failures] == [str(run.info.run_dir) for run in runs]
    assert str(failures[0]).startswith("filter 'score > 1': run 2ca54cc607914e0780960fb8ff621108: ")
    assert str(failures[0]).endswith("ZeroDivisionError: division by zero")


@pytest.mark.parametrize("text", ["status == FINISHED", "metrics.accuracy > 0", "params.x == 1"])
def test_what_was_recorded_is_filtered_without_the_implementation(sweep: Path, text: str) -> None:
    runs = Run.load(iter_run_dirs(sweep), lambda artifacts_dir: 1 / 0)
    runs[0].update("params.x", 1)
    kept, failures, _ = apply_filters(runs, text)
    assert len(kept) > 0
    assert failures == []


# Facts that a store does not have -------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["status == FINISHED", "status != FAILED", "start_time > 2026-01-01", "run_name ~ a*",
     "attributes.end_time < 2030-01-01", "lifecycle_stage in [active]"],
)  # fmt: skip
def test_what_artifacts_alone_do_not_tell_is_an_error(tmp_path: Path, text: str) -> None:
    write(tmp_path / f"bucket/1/{'a' * 32}/artifacts/.hydra/config.yaml", "x: 1\n")
    runs = load(tmp_path / "bucket")
    assert len(apply_filters(runs, "x == 1").runs) == 1
    with pytest.raises(FilterError, match=r"is not recorded in .*bucket, but only in "):
        apply_filters(runs, text)


@pytest.mark.parametrize(
    ("text", "n_kept"),
    [("status == finished", 30), ("status in [Finished, failed]", 31), ("status != FAILED", 30),
     ("status not in [failed]", 30), ("status == null", 0), ("attributes.status = 'failed'", 1)],
)  # fmt: skip
def test_the_case_of_a_status_does_not_matter(sweep: Path, text: str, n_kept: int) -> None:
    assert len(apply_filters(load(sweep), text).runs) == n_kept


@pytest.mark.parametrize(
    "text", ["status == finishd", "status != DONE", "status in [FINISHED, ok]", "status == 3"]
)
def test_a_status_that_there_is_not_is_an_error(sweep: Path, text: str) -> None:
    with pytest.raises(FilterError, match=r"no run can have the status .* RUNNING, SCHEDULED, FIN"):
        apply_filters(load(sweep), text)


def test_the_stages_of_a_run(sweep: Path) -> None:
    runs = load(sweep)
    assert len(apply_filters(runs, "lifecycle_stage == Active").runs) == 31
    assert len(apply_filters(runs, "attributes.lifecycle_stage = DELETED").runs) == 0
    with pytest.raises(
        FilterError, match=r"the lifecycle_stage 'alive'; expected one of active, d"
    ):
        apply_filters(runs, "lifecycle_stage != alive")


def test_a_key_status_of_configurations_may_have_any_value(tracking_dir: TrackingDir) -> None:
    tracking_dir.add_runs(2, lambda i: f"status: {['draft', 'done'][i]}\n")
    runs = load(tracking_dir.root)
    assert len(apply_filters(runs, "status == draft").runs) == 1
    assert len(apply_filters(runs, "status == neither").runs) == 0


def test_a_null_in_a_configuration_takes_no_look_at_the_store(
    tracking_dir: TrackingDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracking_dir.add_runs(3, lambda i: "note: null\n")
    runs = load(tracking_dir.root)
    monkeypatch.delattr("kedro_hydraflow.fact_checks.get_store")
    assert len(apply_filters(runs, "note == null").runs) == 3


def accepts(text: str, actual: str) -> bool:
    (condition,) = parse_filters(text)
    expression = condition.expression
    assert isinstance(expression, Comparison)
    return Comparer(expression, datetime.now(timezone.utc)).meets(actual)


@given(st.text("abA%_.*"), st.text("abA\n.", max_size=12))
def test_like_matches_what_one_regular_expression_would(pattern: str, actual: str) -> None:
    wildcards = {"%": ".*", "_": "."}
    regex = "".join(wildcards.get(c, re.escape(c)) for c in pattern)
    expected = re.fullmatch(regex, actual, re.DOTALL) is not None
    assert accepts(f"name LIKE '{pattern}'", actual) is expected
    expected = re.fullmatch(regex, actual, re.DOTALL | re.IGNORECASE) is not None
    assert accepts(f"name ILIKE '{pattern}'", actual) is expected


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("like", "actual"),
    [
        ("%val%loss%best%run%x", "val loss best " * 10_000),
        ("%val%loss%best%run%x", "val loss best run " * 10_000),
        ("%a%a%a%a%a%a%a%a%a%a%b", "a" * 100_000),
        ("%a_a%_a%a_%a%_%_%_b", "a" * 100_000),
        ("%" * 100 + "b", "a" * 100_000),
        ("_%" * 100 + "b", "a" * 100_000),
    ],
)
def test_patterns_on_long_values_do_not_backtrack(like: str, actual: str) -> None:
    glob = like.replace("%", "*").replace("_", "?")
    for text in (actual, actual.upper(), f"{actual}\n"):
        assert not accepts(f"params.x LIKE '{like}'", text)
        assert not accepts(f"params.x ILIKE '{like}'", text)
        assert not accepts(f"params.x ~ '{glob}'", text)
    end = "x" if like.endswith("x") else "b"
    assert accepts(f"params.x LIKE '{like}'", f"{actual}run{end}")
    assert accepts(f"params.x ~ '{glob}'", f"{actual}run{end}")
    assert fnmatchcase(f"{actual}run{end}", glob)
