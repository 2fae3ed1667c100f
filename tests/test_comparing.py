from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given

from kedro_hydraflow import Run, RunCollection, iter_run_dirs
from kedro_hydraflow.config import flatten_config, is_literal
from kedro_hydraflow.errors import MissingKeyError, OptionError, StorageError
from kedro_hydraflow.key_patterns import read_columns
from kedro_hydraflow.missing import MISSING
from kedro_hydraflow.run_base import get_configuration
from tests.conftest import HYDRA_SWEEP, Database, FilesRead, TrackingDir, write
from tests.test_run_collection import configs, count_dictconfigs, written

Runs = RunCollection[Run[Any, Any]]


def load(tracking_dir: TrackingDir, *texts: str, ids: str = "abcdefgh", **options: Any) -> Runs:
    """Write runs with these configurations, and load them."""
    experiment = tracking_dir.add_experiment("train")
    for run_id, text in zip(ids, texts, strict=False):
        tracking_dir.add_run(experiment, run_id, text)
    return Run.load(iter_run_dirs(tracking_dir.root), **options)


# What differs ----------------------------------------------------------------------------


def test_what_varies_is_a_frame(tracking_dir: TrackingDir) -> None:
    runs = load(
        tracking_dir,
        "seed: 1\nmodel: {type: mlp, layers: [1, 2]}\nlr: 1\nfixed: x\n",
        "model: {type: mlp, layers: [1]}\nseed: 2\nlr: 0.5\nfixed: x\nextra: true\n",
    )
    frame = runs.varying()
    assert frame.schema == {
        "run_id": pl.String,
        "seed": pl.Int64,
        "model.layers": pl.List(pl.Int64),
        "lr": pl.Float64,
        "extra": pl.Boolean,
    }
    assert frame.rows() == [("a", 1, [1, 2], 1.0, None), ("b", 2, [1], 0.5, True)]


@pytest.mark.parametrize(
    ("first", "second", "differs"),
    [
        ("x: 1", "x: 1.0", False),
        ("x: 1", "x: true", True),
        ("x: 0", "x: false", True),
        ("x: '1'", "x: 1", True),
        ("x: .nan", "x: .nan", False),
        ("x: .nan", "x: null", True),
        ("x: null", "y: 1", False),  # y differs, x does not: a run without a key has null
        ("x: ???", "x: null", False),
        ("x: ???", "x: 1", True),
        ("y: 1", "x: 1", True),
        ("x: [1, true]", "x: [1, 1]", True),
        ("x: [1, 2]", "x: [1.0, 2.0]", False),
        ("x: [{a: 1, b: 2}]", "x: [{b: 2, a: 1}]", False),
        ("x: [[a, 1]]", "x: [{a: 1}]", True),
        ("x: [.nan]", "x: [.nan]", False),
        ("x: {}", "x: []", True),
        ("x: {}", "x: {}", False),
        (f"x: {10**40}", f"x: {10**40}", False),
        (f"x: {10**40}", f"x: {10**40 + 1}", True),
        (f"x: {2**53}", f"x: {2**53 + 1}", True),
        ("x: 2024-01-01", "x: 2024-01-02", True),
        ("x: ''", "x: null", True),
        ("x: ${y}\ny: 1", "x: ${y}\ny: 2", False),  # y says it
        ("x: ${gone}", "x: ${gone}", False),
        ("x: ${oc.env:GONE_1}", "x: ${oc.env:GONE_2}", True),
        ("x: ${y}\ny: 1", "x: 1\ny: 2", False),
        ("x: ${y}\ny: 1", "x: 2\ny: 2", True),
        ("x: ${y}\ny: 1", "x: ${z}\nz: 1", False),
        ("x: ${y}\ny: 1", "z: 1", True),
        ("x: ['${y}']\ny: 1", "x: ['${y}']\ny: 2", False),
    ],
)
def test_what_counts_as_different(
    tracking_dir: TrackingDir, first: str, second: str, differs: bool
) -> None:
    runs = load(tracking_dir, first, second)
    assert ("x" in runs.varying().columns) is differs
    assert ("x" in runs.diff(0, 1)["key"].to_list()) is differs


def same(one: Any, other: Any) -> bool:
    """Whether values count as the same, by definition."""
    if isinstance(one, bool) or isinstance(other, bool):
        return type(one) is type(other) and one == other
    if isinstance(one, float) and math.isnan(one):
        return isinstance(other, float) and math.isnan(other)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        keys = [(k, o) for k in one for o in other if same(k, o)]
        return len(keys) == len(one) == len(other) and all(same(one[k], other[o]) for k, o in keys)
    return bool(one == other)


def are_same(values: list[Any]) -> bool:
    return all(same(one, other) for one in values for other in values)


def to_none(values: list[Any]) -> list[Any]:
    return [None if value is MISSING or value == "???" else value for value in values]


@given(configs)
def test_what_varies_by_definition(configs: list[Any]) -> None:
    with written(configs) as (runs, others):
        rows = [flatten_config(get_configuration(run).to_plain()) for run in others]
        resolved = read_columns(list(others), "*")
        expected, derived = [], []
        for name, values in resolved.items():
            stored = to_none([row.get(name.removeprefix("cfg."), MISSING) for row in rows])
            present = [value for value in stored if value is not None]
            is_one = not any(map(is_literal, present)) and are_same(present)  # interpolation
            if not are_same(to_none(values)):
                derived.append(name)
                if not is_one or len(present) < len(stored):
                    expected.append(name)
        assert runs.varying().columns == ["run_id", *expected]
        assert runs.varying(derived=True).columns == ["run_id", *derived]
        if derived:
            shown = runs.varying(derived=True).select(derived)
            assert repr(shown.rows()) == repr(runs.to_frame("*").select(derived).rows())


def test_values_that_follow_from_others(tracking_dir: TrackingDir) -> None:
    texts = [
        f"model: {{type: {kind}, name: '${{model.type}}-${{seed}}'}}\nseed: {seed}\n"
        f"home: ${{oc.env:GONE}}\nout: ${{hydra:runtime.output_dir}}\n"
        for kind, seed in [("mlp", 1), ("cnn", 1)]
    ]
    runs = load(tracking_dir, *texts)
    assert runs.varying().columns == ["run_id", "model.type"]
    assert runs.varying("*", derived=True).rows() == [("a", "mlp", "mlp-1"), ("b", "cnn", "cnn-1")]
    assert runs.varying("model.name").rows() == [("a", "mlp-1"), ("b", "cnn-1")]
    assert runs.varying("model.name", "*").columns == ["run_id", "model.name", "model.type"]
    assert runs.varying("*", "model.name").columns == ["run_id", "model.type", "model.name"]
    assert runs.varying("home", "out").columns == ["run_id"]
    assert runs.diff(0, 1, derived=True)["key"].to_list() == ["model.type", "model.name"]


A, B = "0f" * 16, "a1" * 16


@pytest.mark.parametrize(
    ("first", "second", "differs"),
    [
        (f"/data/mlruns/1/{A}/artifacts", f"/data/mlruns/1/{B}/artifacts", False),
        (A, B, False),
        (f"/data/{A}/x", f"/data/{B}/y", True),
        (f"/data/{B}", f"/data/{A}", True),  # such as the run from which another one goes on
        (f"/data/{A}a", f"/data/{B}a", True),
        (f"/data/{A}", "null", True),
    ],
)
def test_the_id_of_the_run_itself(
    tracking_dir: TrackingDir, first: str, second: str, differs: bool
) -> None:
    experiment = tracking_dir.add_experiment("train")
    for run_id, value in ((A, first), (B, second)):
        tracking_dir.add_run(experiment, run_id, f"out: {value}\n")
    runs = Run.load(iter_run_dirs(tracking_dir.root))
    assert ("out" in runs.varying().columns) is differs
    assert runs.varying(derived=True).columns == ["run_id", "out"]
    assert runs.varying("out").columns == ["run_id", "out"]


def test_short_ids_are_not_looked_for_in_text(tracking_dir: TrackingDir) -> None:
    runs = load(tracking_dir, "model: a\n", "model: b\n")
    assert runs.varying().rows() == [("a", "a"), ("b", "b")]


def test_the_directories_of_hydra() -> None:
    runs = Run.load(iter_run_dirs(HYDRA_SWEEP / "multirun/2026-11-25/23-01-50"))
    columns = runs.varying("hydra.*").columns
    assert "hydra.runtime.output_dir" not in columns
    assert "hydra.job.num" in columns
    assert "hydra.runtime.output_dir" in runs.varying("hydra.*", derived=True).columns


def test_job_1_is_not_taken_for_job_10(tmp_path: Path) -> None:
    sweep = tmp_path / "multirun/2026-11-25/23-01-50"
    for number, goal in ((1, 10), (2, 20)):
        for name, text in (("config", f"out: {sweep}/{goal}\n"), ("overrides", "[]\n")):
            write(sweep / str(number) / f".hydra/{name}.yaml", text)
    runs = Run.load(iter_run_dirs(tmp_path / "multirun"))
    assert runs.varying().columns == ["run_id", "out"]


def test_keys_and_patterns_of_all_kinds(tracking_dir: TrackingDir) -> None:
    experiment = tracking_dir.add_experiment("train")
    for i, run_id in enumerate("ab"):
        config = f"lr: {i}\nmetrics: {{loss: {i}}}\nrun_id: own{i}\nfixed: 1\n"
        metrics = {"loss": f"1 {i}.5 0\n", "same": "1 1 0\n"}
        run_dir = tracking_dir.add_run(experiment, run_id, config, metrics, status=3 + i)
        write(run_dir / "params/lr", str(i))
    runs = Run.load(iter_run_dirs(tracking_dir.root))
    assert runs.varying("*").columns == ["run_id", "lr", "cfg.metrics.loss", "cfg.run_id"]
    assert runs.varying("metrics.*", "params.lr", "info.*", "l*").columns == [
        "run_id", "metrics.loss", "params.lr", "status", "run_dir", "lr",
    ]  # fmt: skip
    assert runs.varying("lr", "cfg.lr", "l*").columns == ["run_id", "lr"]
    assert runs.varying("metrics.same", "fixed").rows() == [("a",), ("b",)]
    assert runs.varying("info.run_id", "run_id", derived=True).columns == ["run_id", "info.run_id"]
    rows = runs.diff(0, 1, "metrics.*", "status").rows()
    assert rows == [("metrics.loss", "0.5", "1.5"), ("status", "FINISHED", "FAILED")]


def test_a_key_that_no_run_has(tracking_dir: TrackingDir) -> None:
    runs = load(tracking_dir, "model: {type: a}\n", "model: {type: b}\n")
    message = r"no such key: 'modle.type' in any of the 2 runs \(similar keys: 'model.type'"
    for function in (runs.varying, runs.describe, lambda key: runs.diff(0, 1, key)):
        with pytest.raises(MissingKeyError, match=message):
            function("modle.type")
        with pytest.raises(MissingKeyError, match=r"none of the 2 runs has a key that matches 'x"):
            function("x.*")
        with pytest.raises(OptionError, match=r"expected a key as text, found \['model.type'\]"):
            function(["model.type"])
        with pytest.raises(OptionError, match="the attributes of an implementation"):
            function("impl.*")


@pytest.mark.parametrize("text", ["", "x: 1\n"])
@pytest.mark.parametrize("n_runs", [0, 1, 2])
def test_nothing_differs(tracking_dir: TrackingDir, n_runs: int, text: str) -> None:
    runs = load(tracking_dir, *[text] * n_runs)
    frame = runs.varying()
    assert frame.schema == {"run_id": pl.String}
    assert frame.rows() == [("a",), ("b",)][:n_runs]
    if n_runs:
        frame = runs.diff(0, -1)
        assert frame.schema == {"key": pl.String, "a": pl.String, "b": pl.String}
        assert frame.height == 0


def test_no_runs_have_no_keys() -> None:
    runs: Runs = RunCollection([])
    assert runs.varying("lr", "metrics.*").columns == ["run_id"]
    assert runs.describe("lr").height <= 1


def test_an_interpolation_that_cannot_be_resolved(tracking_dir: TrackingDir) -> None:
    runs = load(tracking_dir, "x: ${gone}\ny: 1\n", "x: 2\ny: 1\n")
    assert runs.varying().rows() == [("a", "${gone}"), ("b", "2")]
    assert runs.varying("x", "y").rows() == [("a", "${gone}"), ("b", "2")]
    assert runs.diff(0, 1).rows() == [("x", "${gone}", "2")]


def test_updated_runs_and_built_configurations(tracking_dir: TrackingDir) -> None:
    runs = load(tracking_dir, "x: 1\ny: ${x}\n", "x: 1\ny: ${x}\n")
    runs[0].cfg.x = 2
    runs[1].update("z.w", 3)
    assert runs.varying().rows() == [("a", 2, None), ("b", 1, 3)]
    assert runs.varying(derived=True).columns == ["run_id", "x", "y", "z.w"]


class Sized:
    def __init__(self, artifacts_dir: Path) -> None:
        self.size = ord(artifacts_dir.parent.name)
        self.array = np.arange(self.size - 96)
        self.fixed = 1


def test_attributes_of_an_impl(tracking_dir: TrackingDir) -> None:
    runs = load(tracking_dir, "x: 1\n", "x: 1\n", impl_factory=Sized)
    assert runs.varying("size", "impl.fixed").rows() == [("a", 97), ("b", 98)]
    assert runs.varying("array")["array"].to_list() == [[0], [0, 1]]
    assert runs.describe("size", "array").select("type", "distinct", "min", "max").rows() == [
        ("int", 2, "97", "98"),
        ("ndarray", 2, None, None),
    ]
    assert runs.diff(0, 1, "size").rows() == [("size", "97", "98")]


def test_a_lookup_of_ones_own(tracking_dir: TrackingDir) -> None:
    runs = load(tracking_dir, "x: 1\n", "x: 2\n")
    doubled = RunCollection(runs, lambda run, key, default: run.get(key, default) * 2)
    assert doubled.varying("x").rows() == [("a", 2), ("b", 4)]
    assert doubled.diff(0, 1, "x").rows() == [("x", "2", "4")]


# Two runs --------------------------------------------------------------------------------


def test_values_are_written_as_in_yaml(tracking_dir: TrackingDir) -> None:
    first = "a: 1\nb: true\nc: mlp\nd: 0.00001\ne: [1, x, '2']\nf: '1'\ng: {}\nh: 2024-01-02\n"
    second = "a: '1'\nb: 1\nc: ''\nd: .nan\ne: []\nf: null\ng: {x: {y: 1}}\nh: .inf\n"
    rows = load(tracking_dir, first, second).diff(0, 1).rows()
    assert rows == [
        ("a", "1", "'1'"),
        ("b", "true", "1"),
        ("c", "mlp", "''"),
        ("d", "1e-05", ".nan"),
        ("e", "[1, x, '2']", "[]"),
        ("f", "'1'", None),
        ("g", "{}", None),
        ("h", "2024-01-02", ".inf"),
        ("g.x.y", None, "1"),
    ]


def test_runs_are_named_in_many_ways(sweep: Path) -> None:
    runs = Run.load(iter_run_dirs(sweep))
    a, b = runs[0], runs[4]
    expected = a.diff(b).rows()
    assert expected
    for one in (a, 0, -31, np.int64(0), a.info.run_id, a.info.run_id[:6]):
        assert runs.diff(one, b.info.run_id).rows() == expected
    assert runs.filter(seed=1).diff(a, b).rows() == expected  # a is not among them
    assert [(k, y, x) for k, x, y in b.diff(a).rows()] == a.diff(b).rows()


NO_SUCH_RUN = (
    "or one that begins so (with at least 4 characters); to find a run by its name, filter by "
    "run_name"
)


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (31, "a: there is no run 31, of 31 runs"),
        (-32, "a: there is no run -32, of 31 runs"),
        (True, "a: expected a run, the ID of one or its position, found True"),
        (None, "a: expected a run, the ID of one or its position, found None"),
        *((run, f"a: no run has the ID {run!r}, {NO_SUCH_RUN}") for run in ("2ca", "zzzz")),
    ],
)
def test_runs_that_there_are_not(sweep: Path, run: Any, message: str) -> None:
    runs = Run.load(iter_run_dirs(sweep))
    with pytest.raises(OptionError) as error:
        runs.diff(run, 0)
    assert str(error.value) == message
    with pytest.raises(OptionError, match="other: expected a run, found 'abcd'"):
        runs[0].diff("abcd")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="derived: expected true or false, found 'seed'"):
        runs.varying("*", derived="seed")  # type: ignore[arg-type]


def test_the_beginning_of_several_ids(tracking_dir: TrackingDir) -> None:
    experiment = tracking_dir.add_experiment("train")
    for run_id in ("abcd", "abcde", "abcdf"):
        tracking_dir.add_run(experiment, run_id, f"x: {run_id}\n")
    runs = Run.load(iter_run_dirs(tracking_dir.root))
    assert runs.diff("abcd", "abcdf").rows() == [("x", "abcd", "abcdf")]
    with pytest.raises(OptionError, match="b: no run has the ID 'abc'"):
        runs.diff("abcd", "abc")
    with pytest.raises(OptionError) as error:
        runs[1:].diff(0, "abcd")
    assert str(error.value) == (
        "b: 2 runs have the ID 'abcd', or one that begins so: 'abcde', 'abcdf'; give more of the ID"
    )


def test_copies_of_a_run_are_told_apart_by_their_places(tracking_dir: TrackingDir) -> None:
    for number in ("1", "2"):
        tracking_dir.add_run(tracking_dir.add_experiment(f"train_{number}", number), "abcd")
    runs = Run.load(iter_run_dirs(tracking_dir.root))
    with pytest.raises(OptionError) as error:
        runs.diff(0, "abcd")
    message = (
        "b: the run abcd is in 2 experiments; give a run of this collection, or its position, to "
        f"choose one:\n- train_1: {tracking_dir.root}/1/abcd\n- train_2: {tracking_dir.root}/2/abcd"
    )
    assert str(error.value) == message


# What is read ----------------------------------------------------------------------------


def test_what_varies_on_every_kind_of_storage(
    tracking_dir: TrackingDir, publish: Any, files_read: FilesRead
) -> None:
    load(tracking_dir, "x: 1\ny: 1\n", "x: 2\ny: 1\n")
    runs = Run.load(iter_run_dirs(publish(tracking_dir.root)))
    files_read.clear()
    assert runs.varying().rows() == [("a", 1), ("b", 2)]
    assert runs[0].diff(runs[1]).rows() == [("x", "1", "2")]
    assert files_read.counts == []


def test_logged_values_are_read_at_once(sweep: Path, files_read: FilesRead) -> None:
    runs = Run.load(iter_run_dirs(sweep))
    files_read.clear()
    runs.varying("*", "metrics.accuracy")
    assert files_read.counts == [31]


def test_a_run_that_cannot_be_read(tracking_dir: TrackingDir, monkeypatch: Any) -> None:
    load(tracking_dir, "x: 1\n")
    run = Run(tracking_dir.root / "1/a")
    config = tracking_dir.root / "1/a/artifacts/.hydra/config.yaml"
    config.unlink()
    config.mkdir()
    with pytest.raises((StorageError, OSError)):
        RunCollection([run]).varying()


def test_no_dictconfigs_are_built(
    tracking_dir: TrackingDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [f"x: {i}\nm: {{type: t, name: '${{m.type}}-${{x}}'}}\n" for i in range(5)]
    runs = load(tracking_dir, *texts)
    built = count_dictconfigs(monkeypatch)
    runs.varying()
    runs.varying(derived=True)
    runs.describe()
    runs.diff(0, 1)
    runs.over("x", "x", ignore="m")
    assert built == []


def test_a_key_that_means_something_else(
    tracking_dir: TrackingDir, caplog: pytest.LogCaptureFixture
) -> None:
    experiment = tracking_dir.add_experiment("train")
    for i, run_id in enumerate("ab"):
        tracking_dir.add_run(experiment, run_id, f"status: s{i}\n")
    runs = Run.load(iter_run_dirs(tracking_dir.root))
    with caplog.at_level(logging.WARNING):
        assert runs.varying("status").columns == ["run_id"]
    assert "the key 'status' means what was recorded, but the configuration has it" in caplog.text
    assert runs.varying("cfg.status").rows() == [("a", "s0"), ("b", "s1")]


# Runs without configurations --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda runs: runs.to_frame().columns, ["run_id", "job_name"]),
        (lambda runs: runs.varying().columns, ["run_id"]),
        (lambda runs: runs.diff(0, 1)["key"].to_list(), []),
        (lambda runs: runs.describe()["key"].to_list(), []),
        (lambda runs: runs.over("params.seed", "metrics.loss")["n"].to_list(), [2]),
        (lambda runs: runs.varying("params.*").columns, ["run_id", "params.lr", "params.seed"]),
    ],
)
def test_where_only_params_were_logged_they_are_named(
    database: Database, caplog: pytest.LogCaptureFixture, call: Any, expected: list[Any]
) -> None:
    database.add_experiment("train", 1)
    for number in range(2):
        params = {"lr": f"0.{number}", "seed": str(number)}
        database.add_run(1, f"{number:032x}", params=params, metrics={"loss": [(0, 0, 1.0)]})
    runs = Run.load(iter_run_dirs(database.path))
    caplog.clear()
    assert call(runs) == expected
    warning = (
        "none of the 2 runs has a configuration; for 'params.lr', 'params.seed' give 'params.*'"
    )
    assert caplog.messages == ([] if "params.lr" in expected else [warning])
    with pytest.raises(MissingKeyError, match=r"matches '\*'; for 'params.lr', .* 'params\.\*'"):
        runs.to_frame("*")
