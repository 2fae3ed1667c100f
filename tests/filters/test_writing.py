from __future__ import annotations

import math
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kedro_hydraflow import Run, RunCollection
from kedro_hydraflow.filters import advise_filter, parse_filters
from kedro_hydraflow.filters.expressions import Comparison
from kedro_hydraflow.missing import MISSING


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (1, "x == 1"),
        (-0.5, "x == -0.5"),
        (True, "x == true"),
        ("mlp", "x == mlp"),
        ("a_b-1", "x == a_b-1"),
        ("a b", 'x == "a b"'),
        ("1", 'x == "1"'),
        ("null", 'x == "null"'),
        ("or", 'x == "or"'),
        ("", 'x == ""'),
        ([1, "b"], "x in [1, b, [1, b]]"),
        ({5}, "x in [5]"),
        (range(2), "x in [0, 1]"),
        ((0.1, 1), "x >= 0.1 and x <= 1"),
        (datetime(2026, 1, 25, 12, tzinfo=timezone.utc), "x == 2026-01-25 12:00:00+00:00"),
        # no such text
        (MISSING, "x is not null"),
        (math.inf, "x is not null"),
        (np.float64(1), "x is not null"),
        ([1, None], "x is not null"),
        ([], "x is not null"),
        (range(100), "x is not null"),
        ({"a": 1}, "x is not null"),
        (lambda value: value, "x is not null"),
    ],
)
def test_advice(wanted: Any, expected: str) -> None:
    advice = advise_filter("x", wanted)
    assert advice == f"runs.filter({expected!r}) leaves those runs out"
    assert parse_filters(expected)


def test_advice_for_null() -> None:
    assert advise_filter("x", None) == "runs.filter('x is null') selects those runs too"
    assert advise_filter("metrics.val loss", 1).startswith("runs.filter('`metrics.val loss` == 1')")


@given(st.one_of(st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=8)))
def test_what_is_advised_means_the_same(value: Any) -> None:
    text = advise_filter("x", value).removeprefix("runs.filter(").rpartition(") leaves")[0]
    (condition,) = parse_filters(eval(text))
    if isinstance(condition.expression, Comparison):
        assert condition.expression.value == value
        assert type(condition.expression.value) is type(value)
    else:
        assert isinstance(value, str) or math.isinf(value)
        assert not isinstance(value, str) or not value.isprintable()


def test_the_advice_works(tmp_path: Path) -> None:
    runs = RunCollection([Run(tmp_path / name) for name in "abcd"])
    for i, run in enumerate(runs):
        run.update(("x", "y") if i else ("x",), [i, f"text {i}"][: 2 if i else 1])
    for criterion, expected in (
        ({"y": "text 1"}, [1]),
        ({"y": ["text 1", "text 3"]}, [1, 3]),
        ({"y": ("text 2", "text 3")}, [2, 3]),
    ):
        with pytest.raises(AttributeError) as caught:
            runs.filter(**criterion)
        text = str(caught.value).partition("; 1 of 4 runs lack it; ")[2]
        call = text.removesuffix(" leaves those runs out")
        assert eval(call, {"runs": runs}).to_list("x") == expected


def test_the_advice_for_a_list_selects_the_list_itself_too(tmp_path: Path) -> None:
    runs = RunCollection([Run(tmp_path / name) for name in "abcd"])
    for run, layers in zip(runs, ([64, 32], 64, [64], None), strict=True):
        run.update("layers", layers)
    advice = advise_filter("layers", [64, 32])
    assert advice == "runs.filter('layers in [64, 32, [64, 32]]') leaves those runs out"
    assert [r.info.run_id for r in runs.filter("layers in [64, 32, [64, 32]]")] == ["a", "b"]
    assert [r.info.run_id for r in runs.filter(layers=[64, 32])] == ["a", "b"]
