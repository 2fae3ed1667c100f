from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from polars.testing import assert_frame_equal

from kedro_hydraflow import Run, RunCollection, iter_run_dirs
from kedro_hydraflow.columns import make_series
from kedro_hydraflow.errors import ConfigError, MetadataError, MissingKeyError, OptionError
from kedro_hydraflow.frames import (
    add_values,
    make_history_frame,
    make_literal,
    stack_frames,
)
from kedro_hydraflow.run_base import get_configuration
from tests.conftest import TrackingDir, write
from tests.test_run_collection import CONFIGS, configs, count_dictconfigs, outcome, written

# frames without Polars' threads --------------------------------------------------------

THING = object()
DAY = datetime(2024, 1, 2)
COLUMNS: dict[str, tuple[list[Any], list[Any]]] = {
    "numbers": ([1, 2], [2.5]),
    "nothing": ([None, None], [None]),
    "nothing and text": ([None, None], ["a"]),
    "truth and numbers": ([True, None], [2]),
    "lists": ([[1], None], [[2.5]]),
    "structs": ([{"a": 1}, None], [{"a": 2.5}]),
    "structs of other fields": ([{"a": 1}, None], [{"b": [2.5]}]),
    "lists of such structs": ([[{"a": 1}], None], [[{"b": 2.5}]]),
    "times": ([DAY, None], [DAY.date()]),
    "time zones": ([DAY.replace(tzinfo=timezone.utc), None], [DAY.replace(tzinfo=timezone.utc)]),
    "bytes": ([b"a", None], [b"b"]),
    "decimals": ([Decimal("1.5"), None], [Decimal("2.25")]),
    "text and numbers": (["a", None], [1]),
    "objects": ([THING, None], [THING]),
    "objects and numbers": ([THING, None], [1]),
    "time zones and none": ([DAY.replace(tzinfo=timezone.utc), None], [DAY]),
}


def describe_frame(make_frame: Callable[[], pl.DataFrame]) -> Any:
    """Return the types and rows of a frame, or the kind of error."""
    try:
        frame = make_frame()
    except (pl.exceptions.PolarsError, TypeError):
        return "an error"
    return list(frame.schema.items()), frame.rows()


@pytest.mark.parametrize("how", ["vertical_relaxed", "diagonal_relaxed"])
@pytest.mark.parametrize("name", COLUMNS)
def test_frames_are_stacked_as_in_polars(name: str, how: Any) -> None:
    def make(values: list[Any]) -> pl.Series:
        return pl.Series("x", values, pl.Object if THING in values else None)

    first, second = map(make, COLUMNS[name])
    other = pl.Series("y", [7])
    for frames in (
        [pl.DataFrame([first]), pl.DataFrame([second])],
        [pl.DataFrame([second, other]), pl.DataFrame([second])],
        [pl.DataFrame([second]), pl.DataFrame([other, second]), pl.DataFrame([first])],
        [pl.DataFrame([first]), pl.DataFrame([second]).clear(), pl.DataFrame()],
        [pl.DataFrame([first])],
    ):
        expected = describe_frame(lambda: pl.concat(frames, how=how))  # noqa: B023
        assert describe_frame(lambda: stack_frames(frames, how)) == expected  # noqa: B023


def test_stacking_leaves_the_frames_alone() -> None:
    frames = [pl.DataFrame({"a": [1]}), pl.DataFrame({"a": [2]})]
    assert stack_frames(frames, "vertical_relaxed").rows() == [(1,), (2,)]
    assert [frame.rows() for frame in frames] == [[(1,)], [(2,)]]


VALUES = {
    "small": 1, "large": 2**31, "negative": -(2**31), "float": 0.5, "text": "a", "none": None,
    "true": True, "bytes": b"a", "list": [1], "struct": {"a": [1]}, "time": DAY,
}  # fmt: skip


@pytest.mark.parametrize("n_rows", [0, 1, 3])
def test_values_are_added_as_in_polars(n_rows: int) -> None:
    frame = pl.DataFrame({"a": [1] * n_rows, "text": [2] * n_rows})
    for values in (VALUES, {}):
        expected = frame.with_columns([make_literal(*item) for item in values.items()])
        assert_frame_equal(add_values(frame, values), expected)


def test_values_without_a_frame_are_a_row() -> None:
    assert add_values(pl.DataFrame(), {"a": 1, "b": "x"}).rows() == [(1, "x")]


def test_objects_are_added_to_each_row() -> None:
    frame = add_values(pl.DataFrame({"a": [1, 2]}), {"b": THING, "c": [1, [2]]})
    assert frame.rows() == [(1, THING, [1, [2]]), (2, THING, [1, [2]])]


def test_lazy_frames_stay_lazy(run: Run[Any, Any]) -> None:
    lazy: Any = pl.LazyFrame({"x": [1, 2]})
    frame: Any = RunCollection([run, run]).concat(lambda r: lazy, "seed")
    assert isinstance(frame, pl.LazyFrame)
    assert frame.collect().rows() == [(1, 42), (2, 42)] * 2


# complete frames -----------------------------------------------------------------------


def test_to_frame_without_keys(tracking_dir: TrackingDir) -> None:
    experiment = tracking_dir.add_experiment("train")
    for run_id, config in CONFIGS.items():
        tracking_dir.add_run(experiment, run_id, config)
    runs = Run.load(iter_run_dirs(tracking_dir.root))
    frame = runs.to_frame()
    assert frame.columns == [
        "run_id",
        "job_name",
        "model.type",
        "model.layers",
        "lr",
        "batch_size",
        "width",
        "height",
    ]
    assert frame.row(2) == ("c", "train", "mlp", [], 0.1, None, 2, None)
    filled = runs.to_frame(defaults={"width": 1, "height": lambda run: run.get("lr")})
    assert filled["width"].to_list() == [1, 640, 2]
    assert filled["height"].to_list() == [1.0, 480.0, 0.1]


def test_to_frame_without_keys_of_unusual_configs(tmp_path: Path) -> None:
    config = (
        "a: 1\nalias: ${a}\nhome: ${gone:HOME}\nunset: ???\na.dot: 2\nunder__score: 3\n"
        "list: [1, '${a}']\nbad_list: ['${gone:X}']\nempty: {}\nrun_id: mine\n5: five\n"
    )
    write(tmp_path / "x/artifacts/.hydra/config.yaml", config)
    expected = {
        "job_name": "",
        "a": 1,
        "alias": 1,
        "home": "${gone:HOME}",
        "unset": None,
        "a.dot": 2,
        "under__score": 3,
        "list": [1, 1],
        "bad_list": ["${gone:X}"],
        "empty": {},
        "run_id": "x",
        "cfg.run_id": "mine",
        "5": "five",
    }
    runs = Run.load([tmp_path / "x"])
    assert runs.to_frame().row(0, named=True) == expected
    assert runs[0].cfg.a == 1  # the DictConfig gives the same
    assert runs.to_frame().row(0, named=True) == expected
    with pytest.raises(ConfigError, match="run x: cannot resolve the key 'home'"):
        runs.to_frame("home")


def test_a_complete_frame_builds_no_implementation(sweep: Path) -> None:
    runs = Run.load(iter_run_dirs(sweep), lambda artifacts_dir: 1 / 0)
    assert runs.to_frame().columns[:2] == ["run_id", "job_name"]


def test_a_complete_frame_has_the_run_id_of_every_run(sweep: Path) -> None:
    runs = Run.load(iter_run_dirs(sweep, "eval_*"))
    runs[0].update("run_id", "mine")
    runs[1].update(("job_name", "status", "metrics.x"), ("own", "good", 5))
    frame = runs.to_frame()
    assert frame["run_id"].to_list() == [run.info.run_id for run in runs]
    assert frame["job_name"].unique().to_list() == ["eval_digits"]
    assert frame["cfg.run_id"].to_list() == ["mine", None]
    assert frame["cfg.job_name"].to_list() == [None, "own"]
    assert frame["cfg.status"].to_list() == [None, "good"]
    assert frame["cfg.metrics.x"].to_list() == [None, 5]
    filled = runs.to_frame(defaults={"cfg.status": "none", "run_id": "ignored"})
    assert filled["cfg.status"].to_list() == ["none", "good"]
    assert filled["run_id"].to_list() == frame["run_id"].to_list()


def test_a_complete_frame_keeps_configurations_plain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = "a: 1\nb: {c: '${a}', d: '${b.c}', unset: '???'}\nlist: [1, 2]\n"
    write(tmp_path / "x/artifacts/.hydra/config.yaml", config)
    write(tmp_path / "y/artifacts/.hydra/config.yaml", f"{config}text: a${{a}}\nz.dot: ${{a}}\n")
    runs = Run.load([tmp_path / "x", tmp_path / "y"])
    built = count_dictconfigs(monkeypatch)
    assert runs[:1].to_frame().row(0)[2:] == (1, 1, 1, None, [1, 2])
    assert runs[:1].to_frame(defaults={"b.unset": 5})["b.unset"].to_list() == [None]
    assert runs[1:].to_frame().row(0)[-2:] == ("a1", 1)
    assert not built
    assert not any(get_configuration(run).has_dictconfig() for run in runs)


def resolved(cfg: DictConfig) -> dict[str, Any]:
    """Return what the keys of a configuration hold, as OmegaConf resolves it."""
    flat: dict[str, Any] = {}

    def visit(mapping: dict[Any, Any], path: tuple[Any, ...]) -> None:
        for name, value in mapping.items():
            if isinstance(value, dict) and value:
                visit(value, (*path, name))
                continue
            node: Any = cfg
            try:
                for part in (*path, name):
                    node = node[part]
                node = (
                    OmegaConf.to_container(node, resolve=True)
                    if OmegaConf.is_config(node)
                    else node
                )
            except MissingMandatoryValue:
                node = None
            except OmegaConfBaseException:
                node = value
            flat[".".join(map(str, (*path, name)))] = node

    visit(OmegaConf.to_container(cfg), ())
    return flat


@given(configs)
def test_a_complete_frame_by_definition(configs: list[Any]) -> None:
    with written(configs) as (runs, others):
        rows = [resolved(run.cfg) for run in others]
        frame = runs.to_frame()
        columns = dict.fromkeys(key for row in rows for key in row)
        assert frame.columns == ["run_id", "job_name", *columns]
        for key in columns:
            series = make_series(key, [row.get(key) for row in rows])
            assert outcome(frame.get_column, key) == outcome(lambda series=series: series)
        assert not any(get_configuration(run).has_dictconfig() for run in runs)


# literals ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "default", "dtype", "expected"),
    [
        ("model.type", MISSING, None, "mlp"),
        ("seed", MISSING, pl.Float32, 42.0),
        ("model.layers", MISSING, None, [1, 2]),
        ("model", MISSING, None, {"type": "mlp", "hidden_size": 64, "layers": [1, 2]}),
        ("nothing", MISSING, None, None),
        ("other", 1.5, None, 1.5),
        ("other", lambda run: run.get("seed") + 1, None, 43),
        ("other", Path("a/b"), None, str(Path("a/b"))),
    ],
)
def test_lit(tmp_path: Path, key: str, default: Any, dtype: Any, expected: Any) -> None:
    config = "model: {type: mlp, hidden_size: 64, layers: [1, 2]}\nseed: 42\nnothing: null\n"
    write(tmp_path / "artifacts/.hydra/config.yaml", config)
    run: Run[Any, Any] = Run(tmp_path)
    frame = pl.DataFrame({"x": [1, 2]}).with_columns(run.lit(key, default, dtype=dtype))
    assert frame[key].to_list() == [expected, expected]
    assert dtype is None or frame[key].dtype == dtype


def test_lit_of_mixed_lists(tracking_dir: TrackingDir) -> None:
    run = Run(tracking_dir.add_run(tracking_dir.add_experiment("e"), "a", "x: [1, a]\n"))
    frame = run.to_frame(lambda _: pl.DataFrame({"n": [1, 2]}), "x")
    assert frame["x"].to_list() == [["1", "a"]] * 2


# histories -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("acuracy", "the nearest are 'accuracy', 'val/accuracy'"),
        ("metrics.train/los", "the nearest are 'train/loss'"),
        ("x", "there is none like it"),
    ],
)
def test_a_metric_that_no_run_has_is_an_error(sweep: Path, name: str, near: str) -> None:
    runs = Run.load(iter_run_dirs(sweep, "eval_*"))
    with pytest.raises(MissingKeyError) as caught:
        runs.metric_histories("train/loss", name)
    assert str(caught.value) == f"none of the 2 runs has the metric {name!r}; {near}"
    run = runs[0]
    for look_up in (run.metric_history, run.metric_histories):
        with pytest.raises(MissingKeyError) as caught:
            look_up(name)
        expected = f"run {run.info.run_id} does not have the metric {name!r}; {near}"
        assert str(caught.value) == expected


@pytest.mark.parametrize(
    ("pattern", "near"),
    [
        ("trian/*", "the nearest are 'train/*'"),
        ("metrics.Train/l*", "the nearest are 'train/*'"),
        ("*x", "there is none like it"),
    ],
)
def test_a_pattern_that_matches_no_metric_is_an_error(sweep: Path, pattern: str, near: str) -> None:
    runs = Run.load(iter_run_dirs(sweep, "eval_*"))
    with pytest.raises(MissingKeyError) as caught:
        runs.metric_histories(pattern)
    assert str(caught.value) == f"none of the 2 runs has a metric that matches {pattern!r}; {near}"


@pytest.fixture
def logged(tracking_dir: TrackingDir) -> RunCollection[Run[Any]]:
    """Return runs of which only some have each of the metrics."""
    experiment = tracking_dir.add_experiment("e")
    for run_id, names in (
        ("a", ["val/loss", "train/loss", "train/acc", "train.x"]),
        ("b", ["train/loss", "metrics.odd"]),
        ("c", []),
    ):
        metrics = {name: f"1 0.{i} 0\n" for i, name in enumerate(names, 1)}
        tracking_dir.add_run(experiment, run_id, "{}", metrics)
    return Run.load(iter_run_dirs(tracking_dir.root))


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["train/*"], ["a train/acc", "a train/loss", "b train/loss"]),
        (["*loss"], ["a train/loss", "a val/loss", "b train/loss"]),
        (["train?x"], ["a train.x"]),
        (["val/loss", "*/loss"], ["a val/loss", "a train/loss", "b train/loss"]),
        (["metrics.train/l*", "metrics.val/loss"], ["a train/loss", "a val/loss", "b train/loss"]),
        (["metrics.odd"], ["b metrics.odd"]),
        (["metrics.*"], ["b metrics.odd"]),
        (["metrics.metrics.odd"], ["b metrics.odd"]),
    ],
)
def test_histories_of_patterns(
    logged: RunCollection[Run[Any]], names: list[str], expected: list[str]
) -> None:
    frame = logged.metric_histories(*names)
    found = frame.select("run_id", "metric").rows()
    assert [" ".join(row) for row in found] == expected


def test_histories_of_all_metrics_by_their_keys(logged: RunCollection[Run[Any]]) -> None:
    frame = logged.metric_histories(*logged.list_keys("metrics.*"))
    assert frame.equals(logged.metric_histories("*"))
    assert frame.height == 6
    assert logged[0].metric_histories("train/*").drop("timestamp").rows() == [
        ("train/acc", 0, 0.3),
        ("train/loss", 0, 0.2),
    ]


def test_histories_of_no_run_are_an_empty_frame(logged: RunCollection[Run[Any]]) -> None:
    frame = logged.metric_histories("train/loss")
    assert logged[:0].metric_histories("train/*", "loss").schema == frame.schema
    assert logged[:0].metric_histories("train/*").height == 0


def test_one_history_takes_no_pattern(logged: RunCollection[Run[Any]]) -> None:
    with pytest.raises(OptionError, match=r"one metric, found the pattern 'train/\*'; metric_hist"):
        logged[0].metric_history("train/*")


def test_a_metric_that_cannot_be_read_is_not_absent(
    logged: RunCollection[Run[Any]], caplog: pytest.LogCaptureFixture
) -> None:
    run_dir = logged[0].info.run_dir
    write(Path(run_dir) / "metrics/val/loss", "garbage\n")
    for name in ("val/loss", "val/*"):
        with pytest.raises(MetadataError, match=r"val/loss"):
            logged.metric_histories(name)
    runs = Run.load([run.info.run_dir for run in logged], on_error="warn")
    assert runs.metric_histories("train/loss", "*")["metric"].n_unique() == 4
    assert any("taken for missing" in message for message in caplog.messages)
    assert runs.metric_histories("val/loss").height == 0


def test_histories_of_no_metric_are_an_error(sweep: Path) -> None:
    with pytest.raises(OptionError, match="give the names of metrics"):
        Run.load(iter_run_dirs(sweep)).metric_histories()


def test_histories_are_in_the_order_of_the_runs_then_of_the_names(
    tracking_dir: TrackingDir,
) -> None:
    experiment = tracking_dir.add_experiment("e")
    first = {"loss": "2 0.2 1\n1 0.5 0\n", "acc": "1 0.9 0\n"}
    runs = [
        Run(tracking_dir.add_run(experiment, "a", "{}", first)),
        Run(tracking_dir.add_run(experiment, "b", "{}", {"loss": "1 nan 0\n"})),
    ]
    frame = make_history_frame(runs, ["loss", "acc"])
    assert frame.select("run_id", "metric", "step", "value").rows()[:3] == [
        ("a", "loss", 0, 0.5),
        ("a", "loss", 1, 0.2),
        ("a", "acc", 0, 0.9),
    ]
    assert frame.height == 4
    assert make_history_frame(runs, []).schema == frame.schema
    assert make_history_frame([], ["loss"]).schema == frame.schema


def test_a_malformed_history_is_logged_and_empty(
    logged: RunCollection[Run[Any]], caplog: pytest.LogCaptureFixture
) -> None:
    write(Path(logged[1].info.run_dir) / "metrics/metrics.odd", "garbage\n")
    run = Run.load([logged[1].info.run_dir], on_error="warn")[0]
    assert run.metric_history("metrics.odd").height == 0
    assert "taken for missing" in caplog.messages[0]


def test_histories_with_keys_of_the_runs(tracking_dir: TrackingDir) -> None:
    experiment = tracking_dir.add_experiment("e")
    for run_id, config, history in (
        ("a", "lr: 1\nmodel: {type: mlp, layers: [1]}\nodd: x\nvalue: 7\n", "1 0.5 0\n2 0.25 1\n"),
        ("b", "lr: 0.5\nmodel: {type: cnn, layers: [2]}\n", None),
        ("c", "lr: 2\nmodel: {type: cnn, layers: []}\nodd: [1]\nvalue: 8\n", "1 1.5 0\n"),
    ):
        metrics = {} if history is None else {"train/loss": history}
        tracking_dir.add_run(experiment, run_id, config, metrics)
    runs = Run.load(iter_run_dirs(tracking_dir.root))
    keys = ["run_id", "lr", "model.*", ("dropout", 0.0), "odd", "value", "status"]
    frame = runs.metric_histories("train/*", keys=keys)
    assert frame.drop("timestamp").to_dict(as_series=False) == {
        "run_id": ["a", "a", "c"],
        "metric": ["train/loss"] * 3,
        "step": [0, 1, 0],
        "value": [0.5, 0.25, 1.5],
        "lr": [1.0, 1.0, 2.0],
        "model.type": ["mlp", "mlp", "cnn"],
        "model.layers": [[1], [1], []],
        "dropout": [0.0] * 3,
        "odd": ["x", "x", [1]],
        "cfg.value": [7, 7, 8],
        "status": ["FINISHED"] * 3,
    }
    assert runs.metric_histories("train/*", keys="lr").columns[5:] == ["lr"]
    assert runs[:0].metric_histories("train/*", keys=["lr", "model.*"]).columns[5:] == ["lr"]
    with pytest.raises(MissingKeyError, match="no such key: 'lrr'"):
        runs.metric_histories("train/*", keys=["lrr"])
    with pytest.raises(OptionError, match="expected a key as text, or a pair"):
        runs.metric_histories("train/*", keys=[3])  # type: ignore[list-item]
