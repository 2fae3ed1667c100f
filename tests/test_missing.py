from __future__ import annotations

import copy
import inspect
import pickle
from collections.abc import Iterator
from dataclasses import MISSING
from pathlib import Path
from types import FunctionType, MethodType
from typing import Any

import pytest

import kedro_hydraflow
from kedro_hydraflow import Run, RunCollection, missing


def iter_signatures() -> Iterator[tuple[str, str]]:
    """Yield the names of all public functions and methods, and what `help` shows."""
    public = [getattr(kedro_hydraflow, name) for name in kedro_hydraflow.__all__]
    for value in public:
        if inspect.isfunction(value):
            yield value.__name__, str(inspect.signature(value))
            continue
        for name, function in inspect.getmembers(value):
            is_public = name == "__init__" or not name.startswith("_")
            if is_public and isinstance(function, (FunctionType, MethodType)):
                yield f"{value.__name__}.{name}", str(inspect.signature(function))


def test_help_shows_defaults_that_can_be_read() -> None:
    signatures = dict(iter_signatures())
    assert [name for name, text in signatures.items() if "object at 0x" in text] == []
    assert {"iter_run_dirs", "Run.get", "Run.load", "GroupBy.agg"} <= set(signatures)
    assert "default: 'Default' = <no default>" in signatures["RunCollection.best"]


@pytest.mark.parametrize("make_copy", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_are_the_same_object(make_copy: Any) -> None:
    assert make_copy(missing.MISSING) is missing.MISSING


def test_missing_of_dataclasses_is_no_default(run_dir: Path) -> None:
    """As hydraflow's users pass it."""
    run = Run(run_dir)
    runs = RunCollection([run])
    assert run.get("seed", MISSING) == 42
    assert runs.to_frame(("seed", MISSING)).rows() == [(42,)]
    for use in (run.get, run.lit, runs.to_list, runs.to_data, runs.to_numpy, runs.n_unique):
        with pytest.raises(AttributeError, match="no such key: 'sed' in cfg, impl or info"):
            use("sed", MISSING)
