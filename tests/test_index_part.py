"""A part of a shared index: what goes into its Parquet file comes out again."""

from __future__ import annotations

import io
import math
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kedro_hydraflow.index_part import MAX_ROWS, Part, Row, encode

ALL_KINDS = {
    "config": {"b": {"x": [1, 2.5, None]}, "a": True, "seed": 3},
    "facts": {"status": "3", "start_time": "1700000000000", "run_name": "a b", "end_time": "007"},
    "metrics": {"loss": 0.5, "nan": math.nan, "low": -math.inf},
    "params": {"lr": "1e-3", "start_time": "today"},
    "tags": {"mlflow.runName": "ü\n"},
    "experiment": {"name": "train", "experiment_id": "1"},
    "job_name": {"": "train"},
}


def read_back(rows: list[Row]) -> list[Row]:
    return Part(encode(rows)).make_rows()


def show(rows: list[Row]) -> list[str]:
    """Return rows as text, by which types, the order of keys and NaN are compared too."""
    return [repr((row.folder, row.name, dict(row.kinds))) for row in rows]


def make_row(number: int, **kinds: Any) -> Row:
    return Row("../1", f"run{number}", kinds)


def test_all_kinds_come_back() -> None:
    rows = [Row("../1", "a", ALL_KINDS), Row("../1", "b", {"facts": {}}), Row("..", "1", {})]
    assert show(read_back(rows)) == show(rows)


def test_values_of_one_key_are_read_alone() -> None:
    part = Part(encode([Row("../1", "a", ALL_KINDS), make_row(1, metrics={}), make_row(2)]))
    assert part.get_values("metrics", "loss") == [{"value": 0.5}, {"value": None}, None]
    assert part.get_values("params", "lr") == [{"value": "1e-3"}, None, None]
    assert part.get_values("tags", "unknown") == [{"value": None}, None, None]


def test_rare_keys_come_back() -> None:
    rows = [
        make_row(i, config={f"own_{i}": {"n": i}, "seed": i}, metrics={f"m{i}": float(i)})
        for i in range(100)
    ]
    content = encode(rows)
    assert list(pl.read_parquet_schema(io.BytesIO(content))) == [
        *("folder", "name", "config", "config:rare", "config.seed", "metrics", "metrics:rare")
    ]
    part = Part(content)
    assert show(part.make_rows()) == show(rows)
    assert part.get_values("metrics", "m7")[6:8] == [{"value": None}, {"value": 7.0}]


def test_equal_parts_are_one_object() -> None:
    rows = [make_row(i, config={"model": {"size": i % 2}}) for i in range(4)]
    configs = Part(encode(rows)).get("config")
    models = [config["model"] for config in configs if config is not None]
    assert models == [{"size": 0}, {"size": 1}, {"size": 0}, {"size": 1}]
    assert models[0] is models[2]
    assert models[0] is not models[1]


@pytest.mark.parametrize(
    "config",
    [
        {"a": b"bytes"},
        {1: "an integer as key"},
        {"a": {None: 1}},
        {"a": "half a pair: \ud800"},
        {"a": ["\udfff"]},
        {"\ud800": 1},
        {"a": 10**5000},
        {"a": [10**5000]},
    ],
)
def test_what_would_not_come_back_is_left_out(config: Any) -> None:
    rows = [make_row(0, config=config, facts={"status": "3"}), make_row(1, config={"a": 1})]
    assert show(read_back(rows)) == show([make_row(0, facts={"status": "3"}), rows[1]])


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
)
KEYS = st.text(st.characters(exclude_categories=["Cs"]), max_size=3)
CONFIGS = st.dictionaries(
    KEYS,
    st.recursive(
        SCALARS,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
        max_leaves=8,
    ),
    max_size=4,
)


@given(st.lists(CONFIGS, max_size=6))
def test_any_configurations_come_back(configs: list[dict[str, Any]]) -> None:
    rows = [make_row(i, config=config) for i, config in enumerate(configs)]
    assert show(read_back(rows)) == show(rows)


@given(st.lists(st.dictionaries(KEYS, st.text(max_size=20), max_size=3), max_size=6))
def test_any_facts_come_back(facts: list[dict[str, str]]) -> None:
    times = [{"start_time": value, **of_run} for of_run in facts for value in of_run.values()]
    rows = [make_row(i, facts=of_run) for i, of_run in enumerate([*facts, *times])]
    kept = [
        row if show(read_back([row])) == show([row]) else make_row(i) for i, row in enumerate(rows)
    ]
    assert show(read_back(rows)) == show(kept)


def test_other_tools_find_typed_columns() -> None:
    frame = pl.read_parquet(io.BytesIO(encode([Row("../1", "a", ALL_KINDS)])))
    assert frame.schema["metrics.loss"] == pl.Float64
    assert frame["facts.start_time"].to_list() == [1700000000000]
    assert frame["params.lr"].to_list() == ["1e-3"]
    assert frame["config.b"].str.json_decode(pl.Struct({"x": pl.List(pl.Float64)})).to_list() == [
        {"x": [1.0, 2.5, None]}
    ]


def test_a_sweep_takes_few_bytes_a_run() -> None:
    rows = [
        Row("../1", f"{i * 7919:032x}", {"config": {"model": {"layers": [64] * 20}, "seed": i}})
        for i in range(2000)
    ]
    assert len(encode(rows)) < 40 * len(rows)


def make_file(**columns: Any) -> bytes:
    buffer = io.BytesIO()
    pl.DataFrame(columns).write_parquet(buffer)
    return buffer.getvalue()


def test_a_file_with_too_many_rows_is_refused() -> None:
    nothing = pl.repeat("", MAX_ROWS + 1, eager=True)
    with pytest.raises(ValueError, match="it has more than 1,000,000 rows"):
        Part(make_file(folder=nothing, name=nothing))


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["{", "}"], "Expecting|property name"),
        (["1,2", "3"], "a text is not the JSON of one value"),
        (["[" * 400_000], "KEDRO_HYDRAFLOW_MAX_NODES"),
    ],
)
def test_a_file_of_others_is_refused(texts: list[str], message: str) -> None:
    names = [f"{i}" for i in range(len(texts))]
    keys = ['["a"]'] * len(texts)
    part = Part(make_file(folder=names, name=names, config=keys, **{"config.a": texts}))
    with pytest.raises(ValueError, match=message):
        part.get("config")
