from __future__ import annotations

import pytest

from kedro_hydraflow.filters import Conditions, parse_filters
from kedro_hydraflow.stores.clauses import Clause, Compared, OneOf

DAY = 1_767_225_600_000
"""2026-01-01 in milliseconds since 1970."""


def list_clauses(*filters: str) -> list[Clause]:
    return list(Conditions(parse_filters(filters)).clauses)


FINISHED = OneOf("fact", "status", ("FINISHED",))
ACCURATE = Compared("metrics", "accuracy", ">", 0.9)


@pytest.mark.parametrize(
    ("text", "clause"),
    [
        ("status == finished", FINISHED),
        ("attributes.status = 'FINISHED'", FINISHED),
        ("status in [Finished, FAILED]", OneOf("fact", "status", ("FAILED", "FINISHED"))),
        ("run_id == 1e5", OneOf("fact", "run_id", ("1e5",))),
        ("run_id in [b, a]", OneOf("fact", "run_id", ("a", "b"))),
        ("parent_run_id == a", OneOf("tags", "mlflow.parentRunId", ("a",))),
        ("metrics.accuracy > 0.9", ACCURATE),
        ("logged.metrics.accuracy > 0.9", ACCURATE),
        ("metrics.`val loss` == 1", Compared("metrics", "val loss", "==", 1)),
        ("metrics.x <= -1e30", Compared("metrics", "x", "<=", -1e30)),
        ("metrics.x < 9007199254740992", Compared("metrics", "x", "<", 2**53)),
        ("params.lr == '0.1'", OneOf("params", "lr", ("0.1",))),
        ("params.`model.type` = mlp", OneOf("params", "model.type", ("mlp",))),
        ("tags.a in [x, y]", OneOf("tags", "a", ("x", "y"))),
        ("start_time > 2026-01-01", Compared("fact", "start_time", ">=", DAY)),
        ("start_time >= '2026-01-01 00:00:00.000900'", Compared("fact", "start_time", ">=", DAY)),
        ("end_time < 2026-01-01", Compared("fact", "end_time", "<=", DAY + 1)),
        ("end_time <= '2025-12-31 23:59:59.9999'", Compared("fact", "end_time", "<=", DAY)),
    ],
)
def test_what_a_store_may_apply(text: str, clause: Clause) -> None:
    assert list_clauses(text) == [clause]


def test_a_time_has_two_bounds() -> None:
    assert list_clauses("start_time == 2026-01-01 00:00") == [
        Compared("fact", "start_time", ">=", DAY),
        Compared("fact", "start_time", "<=", DAY + 1),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "status != FINISHED",
        "not status == FINISHED",
        "status is null",
        "status ~ F*",
        "status == FINISHED or metrics.accuracy > 0.9",
        "lifecycle_stage == active",
        "run_name == a",  # databases have it in two places
        "job_name == a",  # is applied to experiments
        "run_id in []",
        "run_id == ''",
        'run_id == "a\\nb"',
        "start_time in [2026-01-01 00:00]",
        "metrics.a__b > 1",  # may be the metric `a.b`
        "metrics.a != 1",
        "metrics.a in [1, 2]",
        "metrics.a > x",
        "metrics.a == true",
        "metrics.a == .nan",
        "metrics.a < .inf",
        "metrics.a < 1.7976931348623157e308",  # databases store infinity as this
        "metrics.a < 9007199254740993",
        "params.lr == 0.1",  # so is the text 0.10
        "params.lr in [auto, 0.1]",
        "params.lr < b",
        "params.lr like 'a%'",
        "params.lr is not null",
        "params.lr == ''",
        'params."a\tb" == c',
        "lr == 1",
        "hydra.job.num == 1",
    ],
)
def test_what_is_left_to_the_filters(text: str) -> None:
    assert list_clauses(text) == []


@pytest.mark.parametrize(
    "between",
    [
        "status != FAILED",
        "run_name ~ a*",
        "run_name == a or run_id like 'b%' or run_id ilike 'C%'",
        "lifecycle_stage in [active]",
        "start_time < now - 7d or end_time is null",
        "params.lr is not null",
        "job_name ~ train_*",
        "job_name contains train or job_name > eval",
    ],
)
def test_conditions_that_have_nothing_to_say_do_not_matter(between: str) -> None:
    assert ACCURATE in list_clauses("metrics.accuracy > 0.9", between)
    assert ACCURATE in list_clauses(between, "metrics.accuracy > 0.9")


@pytest.mark.parametrize(
    "before",
    [
        "params.lr == 0.1",  # may be the last one that has the key
        "metrics.a != 1",
        "metrics.a > 1 or metrics.b > 1",
        "params.lr < 3",  # may be text, which is an error
        "run_name > 3",
        "run_id contains [1]",
        "job_name ~ a* or job_name > 3",
    ],
)
def test_an_error_of_a_condition_is_not_lost_to_a_later_one(before: str) -> None:
    assert list_clauses(before, "metrics.accuracy > 0.9") == []
    assert list_clauses("status == FINISHED", before, "metrics.accuracy > 0.9")[:1] in (
        [FINISHED],
        [],
    )
    assert ACCURATE not in list_clauses("status == FINISHED", before, "metrics.accuracy > 0.9")


def test_clauses_are_in_the_order_of_the_conditions() -> None:
    filters = "lr == 1 and metrics.accuracy > 0.9 and status == FINISHED and tags.a == x"
    assert list_clauses(filters) == [FINISHED, ACCURATE, OneOf("tags", "a", ("x",))]
