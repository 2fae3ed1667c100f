"""Declared types of columns, and which values fit them."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kedro_hydraflow import (
    HydraflowFrameDataset,
    Run,
    RunCollection,
    iter_run_dirs,
    iter_runs,
    scan_runs,
)
from kedro_hydraflow.config import parse_scalar
from kedro_hydraflow.errors import ConfigError, OptionError, SchemaError
from kedro_hydraflow.schemas import Schema, parse_schema
from tests.conftest import TrackingDir, write

UTC = timezone.utc
NOON = datetime(2026, 1, 2, 12, 0, 0, 1500)
EAST = timezone(timedelta(hours=2))


class Color(Enum):
    RED = 1


def parse(types: Any, **options: Any) -> Schema:
    schema = parse_schema(types, **options)
    assert schema is not None
    return schema


def fit(dtype: Any, *values: Any, key: str = "x", **options: Any) -> pl.Series:
    return parse({key: dtype}, strict=False, **options).fit(key, list(values), [])


# Which values fit -------------------------------------------------------------------------

FITTING: list[tuple[Any, Any, Any]] = [
    # the type, a value, and what the column holds
    (pl.Boolean, True, True),
    (pl.Int8, -128, -128),
    (pl.Int64, 2**63 - 1, 2**63 - 1),
    (pl.UInt64, 2**64 - 1, 2**64 - 1),
    (pl.Float64, 0.5, 0.5),
    (pl.Float64, 1, 1.0),
    (pl.Float64, float("inf"), float("inf")),
    (pl.Float32, 0.5, 0.5),
    (pl.String, "a", "a"),
    (pl.String, Path("a/b"), str(Path("a/b"))),
    (pl.String, Color.RED, "RED"),
    (pl.Enum(["a", "b"]), "b", "b"),
    (pl.Categorical, "c", "c"),
    (pl.Binary, b"a", b"a"),
    (pl.Date, date(2026, 1, 2), date(2026, 1, 2)),
    (pl.Date, "2026-01-02", date(2026, 1, 2)),
    (pl.Time, time(1, 2), time(1, 2)),
    (pl.Time, "01:02:03.5", time(1, 2, 3, 500_000)),
    (pl.Datetime, NOON, NOON),
    (pl.Datetime, "2026-01-02 12:00:00.0015", NOON),
    (pl.Datetime, "2026-01-02", datetime(2026, 1, 2)),
    (pl.Datetime("ms"), NOON, NOON.replace(microsecond=1000)),
    (pl.Datetime("ns"), NOON, NOON),
    (pl.Datetime("us", "UTC"), NOON.replace(tzinfo=EAST), NOON.replace(hour=10, tzinfo=UTC)),
    (pl.Datetime("us", "UTC"), "2026-01-02T12:00:00.001500Z", NOON.replace(tzinfo=UTC)),
    (pl.Duration, timedelta(1), timedelta(1)),
    (pl.List(pl.Int64), [1, None], [1, None]),
    (pl.List(pl.Float64), [1, 0.5], [1.0, 0.5]),
    (pl.List(pl.String), [], []),
    (pl.List(pl.List(pl.Int64)), [[1], []], [[1], []]),
    (pl.List(pl.Date), ["2026-01-02"], [date(2026, 1, 2)]),
    (pl.Array(pl.Int64, 2), [1, 2], [1, 2]),
    (pl.Array(pl.Float64, (1, 2)), [[1, None]], [[1.0, None]]),
    (pl.Decimal(10, 2), 1, Decimal("1.00")),
    (pl.Decimal(10, 2), 0.1, Decimal("0.10")),
    (pl.Decimal(3, 1), Decimal("-99.9"), Decimal("-99.9")),
    (pl.Decimal(38), 10**37, Decimal(10**37)),
    (pl.Struct({"a": pl.Float64, "b": pl.String}), {"a": 1}, {"a": 1.0, "b": None}),
]


@pytest.mark.parametrize(("dtype", "value", "held"), FITTING)
def test_values_that_fit(dtype: Any, value: Any, held: Any) -> None:
    series = fit(dtype, value, None)
    assert series.dtype == dtype
    found = series.to_list()
    assert found == [held, None]
    assert type(found[0]) is type(held)


UNFIT: list[tuple[Any, Any]] = [
    (pl.Boolean, 1),
    (pl.Boolean, "true"),
    (pl.Int64, True),
    (pl.Int64, 1.0),
    (pl.Int64, "1"),
    (pl.Int64, 2**63),
    (pl.Int8, 128),
    (pl.UInt8, -1),
    (pl.Float64, "0.5"),
    (pl.Float64, True),
    (pl.Float64, 10**400),
    (pl.Float32, 1e39),
    (pl.String, 1),
    (pl.String, True),
    (pl.String, b"a"),
    (pl.String, "\udc80"),
    (pl.String, [1]),
    (pl.Enum(["a"]), "b"),
    (pl.Binary, "a"),
    (pl.Date, NOON),
    (pl.Date, "2026-13-01"),
    (pl.Date, "20260102"),
    (pl.Date, "2026-01-02 12:00"),
    (pl.Time, "noon"),
    (pl.Datetime, date(2026, 1, 2)),
    (pl.Datetime, NOON.replace(tzinfo=UTC)),
    (pl.Datetime, "2026-W01"),
    (pl.Datetime, 1767355200000),
    (pl.Datetime("us", "UTC"), NOON),
    (pl.Datetime("us", "UTC"), "2026-01-02"),
    (pl.Datetime("us", "UTC"), "9999-12-31 23:00:00-05:00"),
    (pl.Datetime("us", "UTC"), "0001-01-01 01:00:00+05:00"),
    (pl.Datetime("ns"), "2262-04-12"),
    (pl.Datetime("ns", "UTC"), "1677-09-20 00:00:00Z"),
    (pl.Duration, 1),
    (pl.Null, 0),
    (pl.List(pl.Int64), [1, 0.5]),
    (pl.List(pl.Int64), 1),
    (pl.List(pl.String), "ab"),
    (pl.List(pl.Date), [1]),
    (pl.List(pl.Date), [[1]]),
    (pl.List(pl.Datetime), [1]),
    (pl.Struct({"a": pl.Duration}), {"a": 1}),
    (pl.Array(pl.Int64, 2), [1]),
    (pl.Array(pl.Int64, 2), [True, False]),
    (pl.Array(pl.Float32, 1), [1e39]),
    (pl.Array(pl.String, 2), {"a": 1, "b": 2}),
    (pl.Decimal(10, 2), 0.125),
    (pl.Decimal(3, 1), 100),
    (pl.Decimal(10, 2), float("nan")),
    (pl.Decimal(10, 2), float("-inf")),
    (pl.Decimal(10, 2), "1"),
    (pl.Decimal(10, 2), True),
    (pl.Struct({"a": pl.Int64}), {"a": 1, "b": 2}),
    (pl.Struct({"a": pl.Int64}), {"a": "x"}),
    (pl.Struct({"a": pl.Int64}), [1]),
]


@pytest.mark.parametrize(("dtype", "value"), UNFIT)
def test_values_that_do_not_fit(dtype: Any, value: Any) -> None:
    series = fit(dtype, value, None)
    assert series.dtype == dtype
    assert series.to_list() == [None, None]


LOGGED: list[tuple[Any, str, Any]] = [
    (pl.Int64, "12", 12),
    (pl.Int64, "1.0", None),
    (pl.Int64, "", None),
    (pl.Float64, "1e-3", 0.001),
    (pl.Float64, "1", 1.0),
    (pl.Float64, "-inf", float("-inf")),
    (pl.Float64, "0.25", 0.25),
    (pl.Float64, "1.5e-07", 1.5e-07),
    (pl.Float64, "1_000.5", 1000.5),
    (pl.Int64, "0x10", 16),
    (pl.Int64, "007", 7),
    (pl.Float64, "x", None),
    (pl.Float64, "[1", None),
    (pl.Boolean, "True", True),
    (pl.Boolean, "false", False),
    (pl.Boolean, "1", None),
    (pl.String, "12", "12"),
    (pl.Date, "2026-01-02", date(2026, 1, 2)),
    (pl.Decimal(10, 2), "0.10", Decimal("0.10")),
    (pl.Decimal(10, 2), "x", None),
]


@pytest.mark.parametrize("key", ["params.x", "logged.tags.x"])
@pytest.mark.parametrize(("dtype", "text", "held"), LOGGED)
def test_params_and_tags_are_text_that_is_read(key: str, dtype: Any, text: str, held: Any) -> None:
    assert fit(dtype, text, key=key).to_list() == [held]


def test_lists_and_mappings_fit_text_as_json() -> None:
    values = ["a", [1, "b"], {"c": None}, 1]
    assert fit(pl.String, *values, nested="json").to_list() == [
        "a",
        '[1, "b"]',
        '{"c": null}',
        None,
    ]


@given(st.integers() | st.floats())
def test_numbers_are_read_as_they_are_logged(number: float) -> None:
    dtype: Any = pl.Float64 if isinstance(number, float) else pl.Int64
    (found,) = fit(dtype, str(number), key="params.x")
    fits = isinstance(number, float) or -(2**63) <= number < 2**63
    assert found == number or (found is None and not fits) or (found != found and number != number)


@given(st.from_regex(r"-?[0-9]{0,3}(\.[0-9]{0,3})?(e[-+]?[0-9]{1,2})?", fullmatch=True))
def test_other_numbers_are_read_as_in_yaml(text: str) -> None:
    value = parse_scalar(text)
    expected = value if isinstance(value, (int, float)) else None
    assert fit(pl.Float64, text, key="params.x").to_list() == [expected]


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters())
TYPES = [*(t for t, _, _ in FITTING if t not in (pl.Categorical,)), pl.Null, pl.Decimal(10, 2)]


@given(st.sampled_from(TYPES), st.lists(scalars | st.lists(scalars) | st.dates(), max_size=5))
def test_a_column_has_the_declared_type_whatever_the_values(dtype: Any, values: list[Any]) -> None:
    """One column is made of all values at once, or of one after the other: it is the same."""
    together = fit(dtype, *values)
    assert together.dtype == dtype
    alone = [fit(dtype, value) for value in values]
    expected = pl.concat(alone) if alone else together
    assert together.equals(expected, null_equal=True)


# Which types there are ----------------------------------------------------------------------

NAMES: list[tuple[Any, Any]] = [
    ("Float64", pl.Float64()),
    (" String ", pl.String()),
    ("pl.Int8", pl.Int8()),
    ("polars.Boolean", pl.Boolean()),
    ("str", pl.String()),
    ("int", pl.Int64()),
    ("float", pl.Float64()),
    ("bool", pl.Boolean()),
    ("datetime", pl.Datetime("us")),
    ("Datetime('ms', 'UTC')", pl.Datetime("ms", "UTC")),
    ("Datetime(time_zone='UTC')", pl.Datetime("us", "UTC")),
    ("List(Int64)", pl.List(pl.Int64)),
    ("List(List(pl.Float64))", pl.List(pl.List(pl.Float64))),
    ("Enum(['a', 'b'])", pl.Enum(["a", "b"])),
    ("Struct({'a': Int64})", pl.Struct({"a": pl.Int64})),
    (str, pl.String()),
    (bool, pl.Boolean()),
    (timedelta, pl.Duration("us")),
    (pl.Int32, pl.Int32()),
    (pl.List(pl.String), pl.List(pl.String)),
]


@pytest.mark.parametrize(("given", "dtype"), NAMES)
def test_types_and_their_names(given: Any, dtype: Any) -> None:
    found = parse({"x": given}).types["x"]
    assert found == dtype
    assert isinstance(found, pl.DataType)


def test_times_of_runs_are_in_utc() -> None:
    schema = parse({"start_time": pl.Datetime, "info.end_time": "Datetime", "at": datetime})
    utc = pl.Datetime("us", "UTC")
    assert schema.types == {"start_time": utc, "info.end_time": utc, "at": pl.Datetime("us")}


BAD: list[tuple[Any, str]] = [
    ({}, r"schema: expected keys and types, such as \{'model.type': pl.String, .*, found \{\}"),
    (["a"], r"schema: expected keys and types, .*, found \['a'\]"),
    ({1: pl.Int64}, "schema: expected a key as text, found 1"),
    ({"": pl.Int64}, "schema: expected a key as text, found ''"),
    ({"model.*": pl.Int64}, r"schema: 'model.\*' is a pattern; name each key"),
    ({"info.name": pl.Int64}, r"'info.name': there is no 'name'; expected one of "),
    ({"x": pl.List}, r"schema: 'x': List needs more, as in List\(Int64\)"),
    ({"x": pl.List(pl.List)}, r"schema: 'x': List needs more, as in List\(Int64\)"),
    ({"x": "Struct({'a': List(Object)})"}, "schema: 'x': lists and structs cannot hold Object"),
    ({"x": pl.Array(pl.Object, 2)}, "schema: 'x': lists and structs cannot hold Object"),
    ({"x": "Enum"}, r"schema: 'x': Enum needs more, as in Enum\(\['a', 'b'\]\)"),
    *(
        ({"x": dtype}, "schema: 'x': expected a type of Polars such as pl.Float64, its name, ")
        for dtype in ("Flot", "col", "Int64.x", "os.system('x')", "Int64(", "1", "", list, 3, None)
    ),
]


@pytest.mark.parametrize(("schema", "message"), BAD)
def test_schemas_are_checked(schema: Any, message: str, tracking_dir: TrackingDir) -> None:
    with pytest.raises(OptionError, match=message):
        RunCollection[Run]([]).to_frame(schema=schema)


# Frames -----------------------------------------------------------------------------------


@pytest.fixture
def runs(tracking_dir: TrackingDir) -> RunCollection[Run[Any]]:
    experiment = tracking_dir.add_experiment("train")
    configs = ["lr: 0.1\nlayers: [1]\n", "lr: 1\nbroken: ${nowhere}\n", "lr: auto\nbroken: 1\n"]
    for i, config in enumerate(configs):
        run_dir = tracking_dir.add_run(experiment, f"r{i}", config, {"loss": f"1 {i} 0\n"})
        write(run_dir / "params/n", f"{i}")
    return Run.load(iter_run_dirs(tracking_dir.root))


def test_a_schema_declares_the_columns(runs: RunCollection[Run[Any]]) -> None:
    schema = {
        "run_id": pl.String,
        "metrics.loss": pl.Float32,
        "params.n": "Int64",
        "nowhere": pl.Date,
        "start_time": datetime,
    }
    frame = runs[:2].to_frame(schema=schema)
    assert frame.schema == {
        "run_id": pl.String,
        "metrics.loss": pl.Float32,
        "params.n": pl.Int64,
        "nowhere": pl.Date,
        "start_time": pl.Datetime("us", "UTC"),
    }
    assert frame.drop("start_time").rows() == [("r0", 0.0, 0, None), ("r1", 1.0, 1, None)]
    assert runs[:0].to_frame(schema=schema).schema == frame.schema


def test_the_error_names_run_key_value_and_type(runs: RunCollection[Run[Any]]) -> None:
    with pytest.raises(SchemaError) as raised:
        runs.to_frame(schema={"lr": pl.Float64})
    assert str(raised.value) == (
        "run r2: 'lr' is 'auto' (str), which does not fit Float64; with strict=False it is null"
    )
    assert isinstance(raised.value, ValueError)
    with pytest.raises(SchemaError) as raised:
        runs.to_frame(schema={"metrics.loss": pl.Int64})
    assert str(raised.value) == (
        "run r0: 'metrics.loss' is 0.0 (float), which does not fit Int64; 3 of 3 runs have such "
        "values; with strict=False it is null"
    )
    frame = runs.to_frame(schema={"lr": pl.Float64}, strict=False)
    assert frame["lr"].to_list() == [0.1, 1.0, None]


@pytest.mark.parametrize(
    ("key", "dtype", "hint"),
    [
        ("start_time", pl.Datetime("ms"), r"; declare Datetime\('us', 'UTC'\) for times with"),
        ("layers", pl.String, "; with nested='json' it is JSON;"),
    ],
)
def test_the_error_says_what_may_be_meant(
    runs: RunCollection[Run[Any]], key: str, dtype: Any, hint: str
) -> None:
    with pytest.raises(SchemaError, match=f"run r0: '{key}' is .*{hint}"):
        runs.to_frame(schema={key: dtype})


def test_all_runs_with_a_list_that_does_not_fit_are_counted(tracking_dir: TrackingDir) -> None:
    tracking_dir.add_runs(5, lambda i: "layers: [1]\n" if i % 2 else "layers: [x]\n")
    runs = Run.load(iter_run_dirs(tracking_dir.root))
    with pytest.raises(SchemaError, match=r"run r000: 'layers' is \['x'\] .*; 3 of 5 runs have"):
        runs.to_frame(schema={"layers": pl.List(pl.Int64)})
    frame = runs.to_frame(schema={"layers": pl.List(pl.Int64)}, strict=False)
    assert frame["layers"].to_list() == [None, [1], None, [1], None]


def test_long_values_are_cut_in_the_error(tracking_dir: TrackingDir) -> None:
    tracking_dir.add_runs(1, lambda i: f"text: {'x' * 5000}\n")
    runs = Run.load(iter_run_dirs(tracking_dir.root))
    with pytest.raises(SchemaError) as raised:
        runs.to_frame(schema={"text": pl.Int64})
    assert len(str(raised.value)) < 300


def test_what_cannot_be_resolved(runs: RunCollection[Run[Any]]) -> None:
    with pytest.raises(ConfigError, match=r"run r1: .*nowhere"):
        runs.to_frame(schema={"broken": pl.Int64})
    frame = runs.to_frame(schema={"broken": pl.Int64}, strict=False)
    assert frame["broken"].to_list() == [None, None, 1]


def test_keys_and_patterns_beside_a_schema(runs: RunCollection[Run[Any]]) -> None:
    some = runs[:2]
    schema = {"lr": pl.Float32, "metrics.loss": pl.Float32, "seed": pl.Int64, "n": pl.Int16}
    frame = some.to_frame("run_id", "l*", ("other", 0), schema=schema, n=lambda run: 7)
    assert frame.columns == ["run_id", "lr", "layers", "other", "metrics.loss", "seed", "n"]
    assert frame.schema["lr"] == pl.Float32
    assert frame.schema["n"] == pl.Int16
    assert frame.schema["layers"] == pl.List(pl.Int64)
    frame = some.to_frame(schema={"cfg.lr": pl.Float32}, x=lambda run: 1)
    assert frame.schema == {"cfg.lr": pl.Float32, "x": pl.Int64}
    with pytest.raises(SchemaError, match="run r0: 'n' is 'x'"):
        some.to_frame(schema=schema, n=lambda run: "x")


def test_defaults_have_to_fit(runs: RunCollection[Run[Any]]) -> None:
    schema = {"seed": pl.Int64}
    frame = runs.to_frame(schema=schema, defaults={"seed": lambda run: len(run.info.run_id)})
    assert frame["seed"].to_list() == [2, 2, 2]
    with pytest.raises(SchemaError, match="run r0: 'seed' is 'no'"):
        runs.to_frame(("seed", "no"), schema=schema)


def test_the_spelling_decides(tracking_dir: TrackingDir, caplog: pytest.LogCaptureFixture) -> None:
    tracking_dir.add_runs(1, lambda i: "status: mine\n")
    runs = Run.load(iter_run_dirs(tracking_dir.root))
    frame = runs.to_frame(schema={"status": pl.String, "cfg.status": pl.String})
    assert frame.rows() == [("FINISHED", "mine")]
    (message,) = caplog.messages
    assert message.startswith("the key 'status' means what was recorded, but the configuration")


def test_collections_with_their_own_lookup(runs: RunCollection[Run[Any]]) -> None:
    own = RunCollection(runs, lambda run, key, default: f"{key} of {run.info.run_id}")
    assert own[:1].to_frame(schema={"lr": pl.String}).row(0) == ("lr of r0",)


def test_batches_fit_together(tracking_dir: TrackingDir) -> None:
    tracking_dir.add_runs(4, lambda i: "early: 1\n" if i < 2 else "late: [x]\n")
    schema = {"i": pl.Int64, "early": pl.Float64, "late": pl.List(pl.String), "none": pl.String}
    batches = iter_runs(tracking_dir.root, batch_size=1)
    frames = [runs.to_frame(schema=schema) for runs in batches]
    assert pl.concat(frames).rows() == [
        (0, 1.0, None, None),
        (1, 1.0, None, None),
        (2, None, ["x"], None),
        (3, None, ["x"], None),
    ]


@pytest.mark.parametrize("strict", ["no", None, 1])
def test_strict_is_a_flag(runs: RunCollection[Run[Any]], strict: Any) -> None:
    with pytest.raises(OptionError, match=f"strict: expected true or false, found {strict!r}"):
        runs.to_frame(schema={"lr": pl.Float64}, strict=strict)


def test_a_misspelt_key_is_named_with_similar_ones(
    tracking_dir: TrackingDir, caplog: pytest.LogCaptureFixture
) -> None:
    experiment = tracking_dir.add_experiment("train")
    for i in range(3):
        tracking_dir.add_run(experiment, f"r{i}", f"seed: {i}\n", {"accuracy": "1 0.5 0\n"})
    schema = {"sed": int, "metrics.acuracy": float, "dropout": float, "end_time": pl.Datetime}
    path = str(tracking_dir.root)
    dataset = HydraflowFrameDataset(path=path, schema={"sed": "Int64", "dropout": "Float64"})
    of_config = "schema: no run has the key 'sed', whose column is null (similar keys: 'seed')"
    of_metric = (
        "schema: no run has the key 'metrics.acuracy', whose column is null "
        "(similar keys: 'metrics.accuracy')"
    )
    runs = Run.load(iter_run_dirs(path))
    for make, expected in (
        (lambda: runs.to_frame(schema=schema), [of_config, of_metric]),
        (dataset.load, [of_config]),
        (scan_runs(path, schema=schema, batch_size=2).collect, [of_config, of_metric]),
        (
            scan_runs(path, schema=schema).filter(pl.col("sed") > 0).select("sed").collect,
            [of_config],
        ),
    ):
        caplog.clear()
        frame = make()
        assert frame["sed"].to_list() == [None] * frame.height
        warnings = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
        assert warnings == expected
    caplog.clear()
    assert runs[:0].to_frame(schema=schema).height == 0
    assert scan_runs(path, schema=schema).head(1).collect().height == 1
    assert caplog.messages == []


def test_the_spelling_of_a_type_is_advised() -> None:
    with pytest.raises(
        OptionError, match=r"'seed': expected a type .*, found 'int64'; write 'Int64'"
    ):
        parse_schema({"seed": "int64"})
