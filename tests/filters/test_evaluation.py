from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import date
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kedro_hydraflow import (
    HydraflowRunCollectionDataset,
    Run,
    RunCollection,
    iter_run_dirs,
    iter_runs,
)
from kedro_hydraflow.errors import FilterError, RunLoadError
from kedro_hydraflow.filters import Conditions, parse_filters
from kedro_hydraflow.filters.expressions import Level
from kedro_hydraflow.keys import Key
from kedro_hydraflow.missing import MISSING
from tests.conftest import HYDRA_SWEEP, SWEEP, FilesRead, TrackingDir, apply_filters, write

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
        ("attribute.status = 'FINISHED' and attr.status = 'FINISHED'", True),
        ("run.status = 'FINISHED'", True),
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
    with pytest.raises(FilterError, match=f"the run does not have the key '{key}'"):
        apply_filters(RunCollection([run]), f"{key} {operator} 3")


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
    ],
)
def test_incomparable_names_filter_and_run(run: Run[Any], text: str, found: str) -> None:
    with pytest.raises(FilterError) as caught:
        apply_filters(RunCollection([run]), text)
    assert str(caught.value).startswith(f"filter {text!r}: run abc has ")
    assert found in str(caught.value)
    assert "cannot compare" in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "job_name > 5",
        "not experiment_id < 2",
        "job_name ~ a or job_name < 1",
        "job_name > 5 and experiment_id == 2",
    ],
)
def test_incomparable_names_of_experiments_are_those_of_runs(
    tracking_dir: TrackingDir, text: str
) -> None:
    experiment = tracking_dir.add_experiment("train")
    assert list(iter_run_dirs(tracking_dir.root, filters=text)) == []
    tracking_dir.add_run(experiment, "abc")
    with pytest.raises(FilterError, match=r"run abc has '(train|1)' \(str\) as .* cannot compare"):
        list(iter_run_dirs(tracking_dir.root, filters=text))
    with pytest.raises(FilterError, match=r"run abc has .* cannot compare"):
        list(iter_runs(tracking_dir.root, filters=text))


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
    message = r"'mlp' \(str\) as 'model\.type', which '<' cannot compare with 3"
    with pytest.raises(FilterError, match=message):
        apply_filters(load(sweep), "model.type < 3")


def test_all_filters_have_to_match(sweep: Path) -> None:
    filters = ["status == FINISHED", "model.type == mlp", "metrics.accuracy > 0.97"]
    kept, _, steps = apply_filters(load(sweep), filters)
    # What was recorded comes before the configurations.
    assert steps == [
        "30 after 'status == FINISHED'",
        "3 after 'metrics.accuracy > 0.97'",
        "3 after 'model.type == mlp'",
    ]
    assert sorted(kept.to_list("metrics.accuracy"), reverse=True)[:2] == [
        0.9777777777777777,
        0.9777777777777777,
    ]
    assert len(kept) == len([a for a in kept.to_list("metrics.accuracy") if a > 0.97]) > 0


def test_conditions_are_asked_one_after_the_other(sweep: Path) -> None:
    runs = load(sweep)
    runs.filter(seed=1)[0].update("only_here", 1)
    assert len(apply_filters(runs, ["only_here == 1", "seed > 1"]).runs) == 0
    with pytest.raises(FilterError, match="none of the 19 runs that are left by then has the key"):
        apply_filters(runs, ["seed > 1", "only_here == 1"])


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


@pytest.mark.parametrize("text", ["status == FINISHED", "metrics.accuracy > 0", "cfg.x == 1"])
def test_what_was_recorded_is_filtered_without_the_implementation(sweep: Path, text: str) -> None:
    runs = Run.load(iter_run_dirs(sweep), lambda artifacts_dir: 1 / 0)
    runs[0].update("x", 1)
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
    assert len(apply_filters(runs, "cfg.status == draft").runs) == 1
    assert len(apply_filters(runs, "cfg.status == neither").runs) == 0
    with pytest.raises(FilterError, match=r"no run can have the status 'draft'.*cfg\.status"):
        apply_filters(runs, "status == draft")


def test_a_null_in_a_configuration_takes_no_look_at_the_store(
    tracking_dir: TrackingDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracking_dir.add_runs(3, lambda i: "note: null\n")
    runs = load(tracking_dir.root)
    monkeypatch.delattr("kedro_hydraflow.fact_checks.get_store")
    assert len(apply_filters(runs, "note == null").runs) == 3


# Missing values ---------------------------------------------------------------------------


@pytest.fixture
def few(tracking_dir: TrackingDir) -> RunCollection[Run[Any]]:
    configs = ["a: 1\nb: x\n", "a: 2\n", "a: null\nb: y\n", "b: ???\n"]
    tracking_dir.add_runs(4, lambda i: configs[i])
    return load(tracking_dir.root)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a == 1", [0]),
        ("a != 1", [1]),
        ("not a == 1", [1]),
        ("a > 0", [0, 1]),
        ("not a > 1", [0]),
        ("a in [1, 3]", [0]),
        ("a not in [1, 3]", [1]),
        ("a in [1, null]", [0, 2, 3]),
        ("a not in [1, null]", [1]),
        ("b ~ x*", [0]),
        ("not b ~ x*", [2]),
        ("b not like 'x%'", [2]),
        ("a is null", [2, 3]),
        ("a == null", [2, 3]),
        ("a is not null", [0, 1]),
        ("a != null", [0, 1]),
        ("b is null", [1, 3]),
        ("absent is null", [0, 1, 2, 3]),
        ("absent is not null", []),
        ("metrics.absent is null and a == 1", [0]),
        ("a == 1 or b == y", [0, 2]),
        ("not (a == 1 or c is null)", []),
        ("not (a == 1 and b == x)", [1, 2]),  # of the last, both are unknown
        ("a == 1 or b is null", [0, 1, 3]),
        ("a is null and not b is null", [2]),
        ("a > 5 and absent == 1", []),  # no run is asked for the second
        ("parent_run_id is null", [0, 1, 2, 3]),
        ("end_time is null", []),
    ],
)
def test_missing_values(few: RunCollection[Run[Any]], text: str, expected: list[int]) -> None:
    kept, failures, _ = apply_filters(few, text)
    assert list(kept) == [few[i] for i in expected]
    assert failures == []
    assert list(few.filter(text)) == list(kept)
    assert list(few.exclude(text)) == [run for run in few if run not in list(kept)]


def test_a_key_that_no_run_has_is_only_an_error_where_it_is_asked_for(
    few: RunCollection[Run[Any]],
) -> None:
    with pytest.raises(
        FilterError, match="none of the 2 runs that are left by then has the key 'absent'"
    ):
        few.filter("a is null and absent == 1")
    with pytest.raises(
        FilterError, match="none of the 3 runs that are left by then has the key 'absent'"
    ):
        few.filter("a == 1 or absent == 1")
    assert len(few.filter("a > 0 or a is null or absent == 1")) == 4


def test_null_tests_have_no_error_for_an_absent_key(few: RunCollection[Run[Any]]) -> None:
    assert len(few.filter("metrics.nothing == null and params.nothing is null")) == 4


@pytest.mark.parametrize(
    ("text", "warned"),
    [("a == '1'", True), ("a != x", True), ("a in [x, y]", True), ("a in [x, 1]", False),
     ("a == true", True), ("a == [1]", True), ("b == 3", True), ("b == 'x'", False),
     ("run_id == 3", False), ("experiment_id != 9", False), ("a == null", False),
     ("not (b == 3)", True), ("a == 5", False)],
)  # fmt: skip
def test_a_value_of_a_kind_that_no_run_has_is_logged(
    few: RunCollection[Run[Any]], text: str, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    few.filter(text)
    assert ("because all runs have values of another kind" in caplog.text) is warned


# Three-valued logic, against SQLite ---------------------------------------------------------

LIST_OPERATORS = st.sampled_from(["in", "NOT IN"])
NULL_TESTS = st.sampled_from(["IS NULL", "is not null"])
NAMES = ("n", "m", "t", "u")
LITERALS = {"n": ("1", "2", "-3"), "m": ("0", "1", "2.5"), "t": ("'a'", "'b'"), "u": ("'b'", "''")}


def comparisons() -> st.SearchStrategy[str]:
    def make(name: str) -> st.SearchStrategy[str]:
        literal = st.sampled_from(LITERALS[name])
        operator = st.sampled_from(["==", "=", "!=", "<", "<=", ">", ">="])
        listed = st.lists(literal, min_size=1, max_size=3).map(", ".join)
        forms = [
            st.builds("{} {} {}".format, st.just(name), operator, literal),
            st.builds("{} {} ({})".format, st.just(name), LIST_OPERATORS, listed),
            st.builds("{} {}".format, st.just(name), NULL_TESTS),
        ]
        return st.one_of(forms)

    return st.sampled_from(NAMES).flatmap(make)


EXPRESSIONS = st.recursive(
    comparisons(),
    lambda inner: st.one_of(
        st.builds("({} {} {})".format, inner, st.sampled_from(["and", "OR"]), inner),
        st.builds("{} {} {}".format, inner, st.sampled_from(["AND", "or"]), inner),
        st.builds("not ({})".format, inner),
        st.builds("NOT {}".format, comparisons()),
    ),
    max_leaves=8,
)
NUMBERS = st.sampled_from([None, 1, 2, 2.5, -3])
TEXTS = st.sampled_from([None, "a", "b", ""])
ROWS = st.lists(st.tuples(NUMBERS, NUMBERS, TEXTS, TEXTS), min_size=1, max_size=12)


@given(EXPRESSIONS, ROWS, st.booleans())
def test_three_valued_logic_is_that_of_sql(
    text: str, rows: list[tuple[Any, ...]], is_recorded: bool
) -> None:
    with closing(sqlite3.connect(":memory:")) as database:
        database.execute("CREATE TABLE runs (i, n NUMERIC, m NUMERIC, t TEXT, u TEXT)")
        placed = [(i, *row) for i, row in enumerate(rows)]
        database.executemany("INSERT INTO runs VALUES (?, ?, ?, ?, ?)", placed)
        found = database.execute(f"SELECT i FROM runs WHERE {text} ORDER BY i").fetchall()

    def read(items: Any, key: Key) -> list[Any]:
        values = [rows[i][NAMES.index(key.path)] for i in items]
        return [MISSING if value is None and is_recorded else value for value in values]

    conditions = Conditions(parse_filters(text))
    selected = conditions._select(range(len(rows)), read, Level.EXPERIMENT, Level.CONFIG)
    assert selected.runs == [i for (i,) in found]


# Failures -----------------------------------------------------------------------------------


def test_a_run_that_cannot_be_read_is_no_failure_if_the_rest_decides(sweep: Path) -> None:
    runs = Run.load(iter_run_dirs(sweep, "eval_*"), lambda artifacts_dir: 1 / 0)
    for text in ("score > 1 and cfg.seed == 99", "cfg.seed == 99 and score > 1"):
        kept, failures, _ = apply_filters(runs, text)
        assert (len(kept), len(failures)) == (0, 0 if text.startswith("cfg") else 2)
    kept, failures, _ = apply_filters(runs, "not (score > 1 and cfg.seed == 99)")
    assert (len(kept), failures) == (2, [])
    kept, failures, _ = apply_filters(runs, "score > 1 or cfg.seed != 99")
    assert (len(kept), failures) == (2, [])
    with pytest.raises(FilterError, match=r"filter 'score > 1': run .*: division by zero"):
        runs.filter("score > 1")


def test_a_key_of_the_configuration_that_looks_recorded(few: RunCollection[Run[Any]]) -> None:
    few[0].update("metrics.loss", 3)
    with pytest.raises(FilterError, match=r"; for that of .*, write cfg\.metrics\.loss"):
        few.filter("metrics.loss == 3")
    assert len(few.filter("cfg.metrics.loss == 3")) == 1


def test_a_configuration_that_cannot_be_read_has_no_such_key(tracking_dir: TrackingDir) -> None:
    tracking_dir.add_run(tracking_dir.add_experiment("train"), "abc", "a: [\n")
    with pytest.raises(FilterError, match=r"does not have the key 'metrics\.loss'") as caught:
        list(iter_run_dirs(tracking_dir.root, filters="metrics.loss > 3"))
    assert "cfg.metrics.loss" not in str(caught.value)


def test_a_key_that_could_not_be_read_of_a_run_is_not_denied(tracking_dir: TrackingDir) -> None:
    experiment = tracking_dir.add_experiment("train")
    for name, config in (("a", "x: 1"), ("b", "x: 1"), ("c", "lr: ${nope}")):
        tracking_dir.add_run(experiment, name, config)
    with pytest.raises(FilterError) as caught:
        Run.load(iter_run_dirs(tracking_dir.root)).filter("lr == 1")
    assert str(caught.value).startswith("filter 'lr == 1': none of the 2 runs has the key 'lr'; ")
    assert "; 1 more could not be read: run c: cannot resolve the key 'lr'" in str(caught.value)


# Keys that the configuration has too --------------------------------------------------------


def test_recorded_values_win_and_the_log_says_so(
    tracking_dir: TrackingDir, caplog: pytest.LogCaptureFixture
) -> None:
    experiment = tracking_dir.add_experiment("e")
    for i in range(3):
        config = "metrics: {accuracy: 0.99}\nrun_id: mine\n"
        tracking_dir.add_run(experiment, f"r{i}", config, {"accuracy": f"1 0.{i + 1} 0\n"})
    runs = load(tracking_dir.root)
    assert runs.filter("metrics.accuracy > 0.15 and run_id != r2").to_list("info")[0].run_id == "r1"
    assert "the key 'metrics.accuracy' means what was recorded, but" in caplog.text
    assert "but the configuration has it too, as in run r1: write 'cfg.run_id' for" in caplog.text
    caplog.clear()
    assert len(runs.filter("logged.metrics.accuracy > 0.15 and info.run_id != r2")) == 1
    assert len(runs.filter("cfg.metrics.accuracy > 0.9 and cfg.run_id == mine")) == 3
    assert caplog.text == ""
    assert runs.best(by="metrics.accuracy", mode="max").info.run_id == "r2"
    assert runs.best(by="cfg.metrics.accuracy", mode="max").info.run_id == "r0"
    assert runs.top(1, by="logged.metrics.accuracy", mode="min")[0].info.run_id == "r0"


def test_no_configuration_is_read_to_look_for_the_key(
    tracking_dir: TrackingDir, files_read: FilesRead
) -> None:
    run_dir = tracking_dir.add_run(tracking_dir.add_experiment("e"), "a", metrics={"m": "1 2 0\n"})
    runs = RunCollection([Run(run_dir)])
    assert len(runs.filter("metrics.m == 2 and status == FINISHED")) == 1
    assert [Path(path).name for path in files_read.paths] == ["meta.yaml", "m"]


# Early ---------------------------------------------------------------------------------------


def test_what_filters_rule_out_is_neither_read_nor_reported(
    tracking_dir: TrackingDir, caplog: pytest.LogCaptureFixture
) -> None:
    first = tracking_dir.add_experiment("train")
    second = tracking_dir.add_experiment("eval", "2")
    broken = "a: [1\n"
    tracking_dir.add_run(first, "r0", "a: 1\n", {"loss": "1 0.5 0\n"})
    tracking_dir.add_run(first, "r1", broken, {"loss": "1 0.9 0\n"})
    tracking_dir.add_run(first, "r2", broken, {"loss": "1 0.1 0\n"}, status=4)
    tracking_dir.add_run(second, "r3", broken)
    root = tracking_dir.root

    def ids(filters: Any, **options: Any) -> list[str]:
        by_dir = [run_dir.name for run_dir in iter_run_dirs(root, filters=filters, **options)]
        runs = Run.load(iter_run_dirs(root, filters=filters, **options), **options)
        batches = iter_runs(root, filters=filters, batch_size=1, **options)
        assert [run.info.run_id for runs in batches for run in runs] == by_dir
        assert runs.to_list("run_id") == by_dir
        dataset = HydraflowRunCollectionDataset(path=root, filters=filters, **options)
        assert dataset.load().to_list("run_id") == by_dir
        return by_dir

    filters = "a == 1 and metrics.loss < 0.6 and status == finished and job_name ~ tr*"
    assert ids(filters) == ["r0"]
    assert ids(["a is not null", "job_name == train", "run_id < r1"]) == ["r0"]
    assert [d.name for d in iter_run_dirs(root, filters="job_name == eval")] == ["r3"]
    with pytest.raises(RunLoadError) as raised:
        Run.load(iter_run_dirs(root, filters="a == 1 and status == FINISHED"))
    assert "2 of 4 runs could not be read (1 others were ruled out by filters)" in str(raised.value)
    caplog.clear()
    assert ids("a == 1 and status == FINISHED", on_error="warn") == ["r0"]
    assert "skipped 2 of 4 runs that could not be read" in caplog.text


def test_nothing_is_left_without_a_word(sweep: Path, caplog: pytest.LogCaptureFixture) -> None:
    filters = "status == FINISHED and seed > 99"
    steps = "no runs are left of 31: 30 after 'status == FINISHED', 0 after 'seed > 99'"
    assert len(Run.load(iter_run_dirs(sweep, filters=filters))) == 0
    assert caplog.messages == [steps]
    caplog.clear()
    assert list(iter_run_dirs(sweep, filters=filters)) == []
    assert caplog.messages == [steps]
    caplog.clear()
    assert list(iter_runs(sweep, filters=filters, batch_size=10)) == []
    assert caplog.messages == [steps]
    caplog.clear()
    for find in (iter_run_dirs, iter_runs):
        assert list(find(sweep, filters="job_name == train")) == []
        assert caplog.messages[0].endswith(
            "none of 3 experiments ('eval_digits', 'train_digits_v1', 'train_digits_v2') meets the "
            "filters"
        )
        caplog.clear()
    for _ in range(2):
        with pytest.raises(FilterError, match="none of the 31 runs has the key 'sed'"):
            list(iter_runs(sweep, filters="sed > 1", batch_size=4))
        with pytest.raises(FilterError, match="none of the 31 runs has the key 'sed'"):
            list(iter_run_dirs(sweep, filters="sed > 1"))


def test_filters_in_python_mix_with_other_conditions(sweep: Path) -> None:
    runs = load(sweep)
    mixed = runs.filter("status == FINISHED or seed == 1", ("seed", [1, 2]), model__type="mlp")
    plain = runs.filter(seed=[1, 2], model__type="mlp")
    assert list(mixed) == [r for r in plain if r.info.status == "FINISHED" or r.get("seed") == 1]
    assert runs.first("status == FAILED") is runs.get("status == 'FAILED'")
    assert runs.try_get("seed == 99") is None
    rest = runs.exclude("seed == 1 or model.type == linear")
    assert len(rest) + len(runs.filter("seed == 1 or model.type == linear")) == len(runs)
    some = runs[:3]
    assert list(RunCollection([*some, *some]).filter("seed > 0")) == [*some, *some]


@pytest.mark.parametrize(
    ("text", "beginning"),
    [
        ("run_id == 13f42e95", "13f42e95"),
        ("attributes.run_id = '13f42e95'", "13f42e95"),
        ("run_id in [cde953dfc57448a1bfe9943c868754db, 13f42e95, x]", "13f42e95"),
        ("not run_id == 13f4", "13f4"),
        ("run_id == 13f", None),  # too short
        ("run_id == 3f42e95", None),
        ("run_id == 13f42e9535654d01a4143ddd9be02cb7", None),
        ("run_id ~ 13f42e95*", None),
        ("run_id contains 13f42e95", None),
        ("run_name == 13f42e95", None),
    ],
)
def test_the_beginning_of_an_id_in_place_of_the_id_is_logged(
    text: str, beginning: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    run_id = "13f42e9535654d01a4143ddd9be02cb7"
    expected = (
        f"run_id is compared as a whole, and {beginning!r} is only the beginning of {run_id}; "
        f"write 'run_id ~ {beginning}*' as filter"
    )
    load(SWEEP).filter(text)
    Run.load(iter_run_dirs(SWEEP, filters=text))
    assert caplog.text.count(expected) == (0 if beginning is None else 2)
    assert ("compared as a whole" in caplog.text) == (beginning is not None)


def test_an_id_with_which_another_begins_is_whole(caplog: pytest.LogCaptureFixture) -> None:
    jobs = load(HYDRA_SWEEP / "multirun")
    one = "multirun/2026-11-25/23-01-50/1"
    assert jobs.filter(f"run_id == {one}").to_list("run_id") == [one]
    assert "compared as a whole" not in caplog.text


def test_a_text_sought_in_a_list_names_the_operator_for_it() -> None:
    message = r"contains looks for a whole element of a list$"
    with pytest.raises(FilterError, match=message):
        load(SWEEP).filter("overrides ~ *seed=1*")
    with pytest.raises(FilterError, match="cannot compare with '0%'") as caught:
        load(SWEEP).filter("seed like '0%'")
    assert "contains" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("model == cubic", "; if it is a config group, hydra.runtime.choices.model is the option "
         "that Hydra chose"),
        ("cfg.model in [cubic, line]", "; if it is a config group, hydra.runtime.choices.model "),
        ("overrides == model=cubic", "; write 'overrides contains ...' for an element of it"),
        ("model == 3", "'degree': 3}\n"),
        ("seed == one", "the number 1\n"),
    ],
)  # fmt: skip
def test_a_text_in_place_of_a_group_or_an_element_is_logged_with_what_to_write(
    text: str, advice: str, caplog: pytest.LogCaptureFixture
) -> None:
    jobs = load(HYDRA_SWEEP / "multirun/2026-11-25/23-01-50")
    assert not jobs.filter(text)
    assert len(jobs.filter("hydra.runtime.choices.model == cubic")) > 0
    assert "because all runs have values of another kind" in caplog.text
    assert advice in caplog.text


def test_times_are_compared_with_dates() -> None:
    runs = load(SWEEP)
    assert len(runs.filter(start_time=(date(2026, 11, 23), date(2026, 11, 24)))) == 31
    assert not runs.filter(start_time=(date(2026, 11, 22), date(2026, 11, 23)))
    with pytest.raises(FilterError, match="start_time is a time: expected a time such as"):
        runs.filter(start_time=20261123)
