from __future__ import annotations

import pytest

from kedro_hydraflow.stores.clauses import Clause, Compared, OneOf
from kedro_hydraflow.stores.search_filter import write_search_filter


@pytest.mark.parametrize(
    ("clause", "text"),
    [
        (OneOf("fact", "status", ("FINISHED",)), "attributes.status = 'FINISHED'"),
        (
            OneOf("fact", "status", ("FAILED", "FINISHED", "KILLED")),
            "attributes.status != 'RUNNING' AND attributes.status != 'SCHEDULED'",
        ),
        (OneOf("fact", "run_id", ("a",)), "attributes.run_id = 'a'"),
        (OneOf("fact", "run_id", ("a", "b")), "attributes.run_id IN ('a', 'b')"),
        (Compared("fact", "start_time", ">=", 5), "attributes.start_time >= 5"),
        (Compared("fact", "end_time", "<=", 5), "attributes.end_time <= 5"),
        (Compared("metrics", "val loss", "==", -0.5), "metrics.`val loss` = -0.5"),
        (Compared("metrics", "a/b", ">", 1e-5), "metrics.`a/b` > 0.00001"),
        (Compared("metrics", "a", "<", 1e21), "metrics.`a` < 1000000000000000000000"),
        (Compared("metrics", "a", "<=", 2**53), "metrics.`a` <= 9007199254740992"),
        (OneOf("params", "model.type", ("a b",)), "params.`model.type` = 'a b'"),
        (OneOf("tags", "ä", ('"日本" ; -- %s',)), "tags.`ä` = '\"日本\" ; -- %s'"),
    ],
)
def test_what_can_be_expressed(clause: Clause, text: str) -> None:
    assert write_search_filter([clause]) == text


NOT_EXPRESSIBLE: list[Clause] = [
    OneOf("params", "a", ("x", "y")),
    OneOf("params", "a", ("it's",)),
    OneOf("params", "a", ("C:\\",)),
    OneOf("params", "a`b", ("x",)),
    OneOf("params", "$a", ("x",)),
    OneOf("params", "created", ("x",)),  # MLflow looks for the param start_time
    OneOf("tags", "Run name", ("x",)),
    Compared("metrics", "run name", ">", 1),
]


@pytest.mark.parametrize("clause", NOT_EXPRESSIBLE)
def test_a_logged_value_that_cannot_be_expressed_ends_the_filter(clause: Clause) -> None:
    status = OneOf("fact", "status", ("FAILED",))
    assert write_search_filter([clause, status]) == ""
    assert write_search_filter([status, clause, clause]) == "attributes.status = 'FAILED'"


@pytest.mark.parametrize(
    "clause",
    [
        OneOf("fact", "run_id", ("it's",)),
        Compared("fact", "start_time", "<=", 5),  # 0 in answers may be NULL in the database
        OneOf("fact", "status", ("FAILED", "FINISHED", "KILLED", "RUNNING", "SCHEDULED")),
    ],
)
def test_a_fact_that_cannot_be_expressed_is_left_out(clause: Clause) -> None:
    metric = Compared("metrics", "a", ">", 1)
    assert write_search_filter([clause, metric]) == "metrics.`a` > 1"
    assert write_search_filter([clause]) == ""
