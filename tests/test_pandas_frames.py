from __future__ import annotations

import subprocess
import sys
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from kedro_hydraflow import Run, RunCollection, iter_run_dirs
from kedro_hydraflow.errors import MissingKeyError, MissingPackageError
from kedro_hydraflow.pandas_frames import to_pandas_frame
from tests.conftest import TrackingDir

TEXT = str(pd.Series(["a"]).dtype)
"""The type of text: ``str`` from pandas 3 on, ``object`` before."""

DAY = datetime(2024, 1, 2, 3)

COLUMNS: dict[str, tuple[pl.Series, str, list[Any]]] = {
    "integers": (pl.Series([1, 2]), "int64", [1, 2]),
    "integers and null": (pl.Series([2**53 + 1, None]), "Int64", [2**53 + 1, pd.NA]),
    "small integers": (pl.Series([1, None], dtype=pl.UInt8), "UInt8", [1, pd.NA]),
    "small integers without null": (pl.Series([1, 2], dtype=pl.Int16), "int16", [1, 2]),
    "huge integers": (pl.Series([2**100, None], dtype=pl.Int128), "object", [2**100, None]),
    "floats": (pl.Series([0.5, 1.0]), "float64", [0.5, 1.0]),
    "floats and null": (pl.Series([0.5, None]), "float64", [0.5, np.nan]),
    "floats and NaN": (pl.Series([0.5, np.nan]), "float64", [0.5, np.nan]),
    "booleans": (pl.Series([True, False]), "bool", [True, False]),
    "booleans and null": (pl.Series([True, None]), "boolean", [True, pd.NA]),
    "text": (pl.Series(["a", "b"]), TEXT, ["a", "b"]),
    "nothing": (pl.Series([None, None]), "object", [None, None]),
    "times": (pl.Series([DAY, None]), "datetime64[us]", [pd.Timestamp(DAY), pd.NaT]),
    "times in UTC": (
        pl.Series([DAY.replace(tzinfo=timezone.utc), None]),
        "datetime64[us, UTC]",
        [pd.Timestamp(DAY, tz="UTC"), pd.NaT],
    ),
    "times to the millisecond": (
        pl.Series([0, 5], dtype=pl.Int64).cast(pl.Datetime("ms", "UTC")),
        "datetime64[ms, UTC]",
        [pd.Timestamp(0, tz="UTC"), pd.Timestamp(5, unit="ms", tz="UTC")],
    ),
    "dates": (
        pl.Series([date(2024, 1, 2), None]),
        "datetime64[s]",
        [pd.Timestamp("2024-01-02"), pd.NaT],
    ),
    "durations": (
        pl.Series([timedelta(1), None]),
        "timedelta64[us]",
        [pd.Timedelta(days=1), pd.NaT],
    ),
    "times of day": (pl.Series([time(1), None]), "object", [time(1), None]),
    "lists": (pl.Series([[1, 2], None]), "object", [[1, 2], None]),
    "structs": (pl.Series([{"a": [1]}, None]), "object", [{"a": [1]}, None]),
    "bytes": (pl.Series([b"a", None]), "object", [b"a", None]),
    "decimals": (pl.Series([Decimal("1.5")] * 2), "object", [Decimal("1.5")] * 2),
    "objects": (pl.Series([Path("x"), None], dtype=pl.Object), "object", [Path("x"), None]),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_types_and_values(name: str) -> None:
    series, dtype, values = COLUMNS[name]
    frame = to_pandas_frame(pl.DataFrame([series.alias("x")]))
    assert str(frame["x"].dtype) == dtype
    assert repr(frame["x"].to_list()) == repr(values)
    empty = to_pandas_frame(pl.DataFrame([series.alias("x")[:0]]))
    is_null = dtype[0].isupper() or dtype == "boolean"  # no null is left
    assert str(empty["x"].dtype) == (dtype.lower().replace("boolean", "bool") if is_null else dtype)
    frame["x"] = frame["x"].iloc[::-1].to_list()  # it may be written to
    assert len(frame) == 2


def test_text_and_null() -> None:
    frame = to_pandas_frame(
        pl.DataFrame({"x": ["a", None], "y": pl.Series([None] * 2, dtype=pl.String)})
    )
    assert [str(dtype) for dtype in frame.dtypes] == [TEXT, TEXT]
    assert frame.isna().to_numpy().tolist() == [[False, True], [True, True]]


def test_a_column_may_be_changed_in_place() -> None:
    frame = to_pandas_frame(pl.DataFrame({"x": [1, 2], "y": [0.5, 1.5]}))
    frame.loc[0, ["x", "y"]] = 7
    assert frame.to_numpy().tolist() == [[7, 7], [2, 1.5]]


def test_frames_without_columns_or_rows() -> None:
    assert to_pandas_frame(pl.DataFrame()).shape == (0, 0)
    assert to_pandas_frame(pl.DataFrame({"a": [1], "b": [2]}).clear()).shape == (0, 2)


def test_runs_to_pandas(tracking_dir: TrackingDir) -> None:
    experiment = tracking_dir.add_experiment("train")
    for i, config in enumerate(("seed: 1\nlayers: [1]\nlr: 1\n", "layers: [2]\nlr: 0.5\nodd: x\n")):
        tracking_dir.add_run(experiment, f"r{i}", config, {"loss": f"1 {i} 0\n"})
    runs = Run.load(iter_run_dirs(tracking_dir.root))
    frame = runs.to_pandas()
    assert list(frame.columns) == runs.to_frame().columns
    assert frame["seed"].to_list() == [1, pd.NA]
    assert frame.index.to_list() == [0, 1]
    frame = runs.to_pandas(
        "run_id",
        "*",
        ("none", 3),
        "metrics.*",
        defaults={"seed": 0},
        double=lambda run: run["lr"] * 2,
    )
    assert list(frame.columns) == [
        "run_id", "seed", "layers", "lr", "odd", "none", "metrics.loss", "double",
    ]  # fmt: skip
    assert frame["double"].to_list() == [2, 1]
    assert frame.groupby("lr")["metrics.loss"].mean().to_dict() == {0.5: 1.0, 1.0: 0.0}
    with pytest.raises(MissingKeyError, match="no such key: 'gone'"):
        runs.to_pandas("gone")
    assert runs[:0].to_pandas("run_id").shape == (0, 1)


SCRIPT = """
import sys
sys.modules["pyarrow"] = None
{hide}
from kedro_hydraflow import Run, iter_run_dirs
runs = Run.load(iter_run_dirs(sys.argv[1]), index=False)
assert "pandas" not in sys.modules or sys.modules["pandas"] is None
print(len(runs.to_pandas("*", "info.*", "metrics.*")))
"""


@pytest.mark.parametrize(("hide", "output"), [
    ("", "31"),
    ("sys.modules['pandas'] = None", "pip install 'kedro-hydraflow[pandas]'"),
])  # fmt: skip
def test_without_pyarrow_and_without_pandas(sweep: Path, hide: str, output: str) -> None:
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT.format(hide=hide), str(sweep)]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    assert process.returncode == (1 if hide else 0), process.stderr
    assert output in process.stdout + process.stderr


def test_the_error_comes_before_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    message = (
        r"to_pandas: pandas cannot be imported \(.*\): pip install 'kedro-hydraflow\[pandas\]'"
    )
    with pytest.raises(MissingPackageError, match=message):
        RunCollection([]).to_pandas(called=lambda run: 1 / 0)
