from __future__ import annotations

from typing import Any

from hypothesis import given

from kedro_hydraflow import Run, RunCollection
from kedro_hydraflow.config import flatten_config, is_literal, list_leaves
from kedro_hydraflow.config_columns import ConfigColumns
from kedro_hydraflow.missing import MISSING
from kedro_hydraflow.run_base import get_configuration
from kedro_hydraflow.selecting import Selector
from tests.test_run_collection import configs, written


def flatten(run: Run[Any, Any]) -> dict[str, Any]:
    """Return the values of a configuration by dotted key, resolved one by one."""
    configuration = get_configuration(run)
    return {
        ".".join(map(str, path)): (
            value if is_literal(value) else Selector().resolve(configuration, path, value)
        )
        for path, value in list_leaves(configuration.to_plain())
    }


def check(runs: RunCollection[Any], others: RunCollection[Any]) -> None:
    columns = ConfigColumns(list(runs))
    stored = [flatten_config(get_configuration(run).to_plain()) for run in others]
    rows = [flatten(run) for run in others]
    assert columns.names == list(dict.fromkeys(name for row in rows for name in row))
    for name in columns.names:
        column = columns.get_written(name)
        found = column.expand(column.values)
        assert repr(found) == repr([row.get(name, MISSING) for row in stored])
        assert repr(columns.resolve(column)) == repr([row.get(name, MISSING) for row in rows])


@given(configs)
def test_columns_by_definition(configs: list[Any]) -> None:
    with written([*configs, *configs]) as (runs, others):
        check(runs, others)
        for run in runs[::2]:
            assert run.cfg is not None  # builds a DictConfig
        check(runs, others)


def test_keys_that_read_alike() -> None:
    texts: list[dict[Any, Any]] = [
        {"a": {"b": 1}, "a.b": 2, "c": 1},
        {"a.b": 3, "a": {"b": 4}},
        {"a": {"b": 5}},
        {"c": 2},
        {1: "one"},
        {"1": "text"},
    ]
    with written(texts) as (runs, _):
        columns = ConfigColumns(list(runs))
        values = {name: columns.resolve(columns.get_written(name)) for name in columns.names}
    none = MISSING
    assert values == {
        "a.b": [2, 4, 5, none, none, none],
        "c": [1, none, none, 2, none, none],
        "1": [none, none, none, none, "one", "text"],
    }


def test_parts_that_runs_share_are_looked_at_once() -> None:
    part = {"type": "mlp", "size": 1}
    with written([{"model": part, "seed": i % 2} for i in range(20)]) as (runs, _):
        columns = ConfigColumns(list(runs))
        assert len(columns.get_written("model.type").values) == 2  # and one for runs without it
        assert len(columns.get_written("seed").values) == 3
