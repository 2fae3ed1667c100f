from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kedro_hydraflow import Run, RunCollection, iter_run_dirs
from kedro_hydraflow.errors import (
    ConfigError,
    MetadataError,
    MissingKeyError,
    OptionError,
    StorageError,
)
from kedro_hydraflow.key_patterns import FACTS_IN_ORDER
from kedro_hydraflow.keys import identify, is_pattern, name_config_key, parse_key, parse_pattern
from kedro_hydraflow.run_base import get_configuration
from kedro_hydraflow.run_info import FACTS
from tests.conftest import HYDRA_SWEEP, FilesRead, TrackingDir, WebServer, write
from tests.test_run_collection import count_dictconfigs

Runs = RunCollection[Run[Any]]

CONFIGS = {
    "a": "model: {type: mlp, opt: {lr: 0.1}}\nseed: 1\ntrain_size: 10\n",
    "b": "seed: 2\nmodel: {depth: 3, type: cnn}\nmodels: 4\n",
    "c": "seed: 3\nmodel: {type: '${name}'}\nname: own\nlater: ???\n",
}
METRICS = {
    "a": {"val/loss": 0.5, "train/loss": 0.25, "accuracy": 0.75},
    "b": {"accuracy": 0.5},
    "c": {"train_acc": 0.5},
}
OF_CONFIGS = [
    "model.type",
    "model.opt.lr",
    "seed",
    "train_size",
    "model.depth",
    "models",
    "name",
    "later",
]
"""The keys of the configurations in order of first appearance."""


@pytest.fixture
def root(tracking_dir: TrackingDir) -> Path:
    experiment = tracking_dir.add_experiment("train")
    for run_id, config in CONFIGS.items():
        metrics = {name: f"1 {value} 0\n" for name, value in METRICS[run_id].items()}
        run_dir = tracking_dir.add_run(experiment, run_id, config, metrics)
        write(run_dir / "artifacts/result.json", '{"loss": 0.125, "by": {"x.y": [1, 2]}}')
        write(run_dir / "params/train_steps", "5")
        write(run_dir / "tags/stage", "sweep")
        write(run_dir / "tags/mlflow.user", "me")
        write(run_dir / "tags/mlflow.log-model.history", "[]")
    write(experiment / "c/params/lr", "0.1")
    write(
        experiment / "b/artifacts/.hydra/hydra.yaml",
        "hydra:\n  job: {name: train, num: '???'}\n  mode: RUN\n",
    )
    return tracking_dir.root


@pytest.fixture
def runs(root: Path) -> Runs:
    return Run.load(iter_run_dirs(root), results="result.json")


LISTED = [
    ("*", OF_CONFIGS),
    ("cfg.*", OF_CONFIGS),
    ("model.*", ["model.type", "model.opt.lr", "model.depth"]),
    ("model__*", ["model.type", "model.opt.lr", "model.depth"]),
    ("cfg.model.*", ["model.type", "model.opt.lr", "model.depth"]),
    ("*.type", ["model.type"]),
    ("model?", ["models"]),
    ("*lr", ["model.opt.lr"]),
    ("metrics.*", ["metrics.accuracy", *(f"metrics.{m}" for m in ("train/loss", "train_acc"))]),
    ("metrics.train*", ["metrics.train/loss", "metrics.train_acc"]),
    ("metrics.train?acc", ["metrics.train_acc"]),
    ("logged.metrics.*loss", ["metrics.train/loss", "metrics.val/loss"]),
    ("metrics__acc*", ["metrics.accuracy"]),
    ("params.*", ["params.lr", "params.train_steps"]),
    ("params.train_*", ["params.train_steps"]),
    ("tags.*", ["tags.stage"]),
    ("tags.m*", []),
    ("tags.mlflow.*", ["tags.mlflow.log-model.history", "tags.mlflow.user"]),
    ("tags.mlflow*", ["tags.mlflow.log-model.history", "tags.mlflow.user"]),
    ("tags.mlflow.u*", ["tags.mlflow.user"]),
    ("info.*", list(FACTS_IN_ORDER)),
    ("info.*_time", ["start_time", "end_time"]),
    ("info__run_*", ["run_id", "run_name", "run_dir"]),
    ("hydra.*", ["hydra.job.name", "hydra.mode"]),
    ("hydra.job.*", ["hydra.job.name"]),
    ("results.*", ["results.loss", "results.by.x.y"]),
    ("results.by.*", ["results.by.x.y"]),
    # no prefix of a namespace
    ("metrics*", []),
    ("m*", ["model.type", "model.opt.lr", "model.depth", "models"]),
    ("run_*", []),
    ("s?atus", []),
    ("attributes.*", []),
    ("overrides*", []),
    ("logged.*", []),
    ("layers[0]*", []),
]
LISTED[8][1].append("metrics.val/loss")


@pytest.mark.parametrize(("pattern", "keys"), LISTED)
def test_what_patterns_mean(runs: Runs, pattern: str, keys: list[str]) -> None:
    assert runs.list_keys(pattern) == keys
    assert runs.to_frame("seed", (pattern, None)).columns == list(dict.fromkeys(["seed", *keys]))
    if keys:
        assert runs.to_frame(pattern).columns == keys
        made = runs.concat(lambda _: pl.DataFrame({"n": [1, 2]}), pattern)
        assert made.columns == ["n", *keys]
        assert made.height == 6
        return
    for look_up in (runs.to_frame, lambda *args: runs.concat(lambda _: pl.DataFrame(), *args)):
        with pytest.raises(MissingKeyError, match="none of the 3 runs has a key that matches"):
            look_up(pattern)


def test_all_facts_are_listed() -> None:
    assert set(FACTS_IN_ORDER) == FACTS
    assert len(FACTS_IN_ORDER) == len(FACTS)


def test_columns_have_the_values_of_their_keys(runs: Runs) -> None:
    patterns = ["info.*", "model.*", "metrics.*", "params.*", "tags.mlflow.*", "results.*"]
    frame = runs.to_frame(*patterns, "hydra.*")
    assert frame.columns == runs.list_keys(*patterns, "hydra.*")
    for key in frame.columns:
        assert frame[key].equals(runs.to_frame(key)[key]), key
        assert frame[key].dtype == runs.to_frame(key)[key].dtype, key
    assert frame["model.type"].to_list() == ["mlp", "cnn", "own"]
    assert frame["metrics.val/loss"].to_list() == [0.5, None, None]
    assert frame["results.by.x.y"].to_list() == [[1, 2]] * 3
    for i, run in enumerate(runs):
        alone = run.to_frame(lambda _: pl.DataFrame({"n": [1]}), "metrics.*", "seed")
        assert alone.columns == ["n", *(f"metrics.{m}" for m in sorted(run.metrics)), "seed"]
        assert alone["seed"].to_list() == [i + 1]


def test_a_key_comes_once_at_its_first_place(runs: Runs) -> None:
    def columns(*keys: Any) -> list[str]:
        return runs.to_frame(*keys).columns

    model = ["model.type", "model.opt.lr", "model.depth"]
    assert columns("model.depth", "model.*") == ["model.depth", *model[:2]]
    assert columns("model.*", "seed", "model.opt.lr") == [*model, "seed"]
    assert columns("model.*", "*") == [*model, *(k for k in OF_CONFIGS if k not in model)]
    assert columns("status", "info.*t*s") == ["status"]
    # in another spelling
    assert columns("model__depth", "model.*") == ["model__depth", *model[:2]]
    assert columns("model.*", "cfg.model.depth") == [*model[:2], "cfg.model.depth"]
    assert columns("metrics.acc*", "logged.metrics.accuracy") == ["logged.metrics.accuracy"]
    assert columns("info.start*", "attributes.start_time") == ["attributes.start_time"]
    assert columns("model.type", "cfg.model.type") == ["model.type", "cfg.model.type"]


def test_defaults(runs: Runs) -> None:
    assert runs.to_frame(("model.*", 0)).row(2) == ("own", 0, 0)
    frame = runs.to_frame("model.*", defaults={"model.depth": lambda run: run.get("seed") * 10})
    assert frame.row(2) == ("own", None, 30)
    both = runs.to_frame(("model.*", 0), defaults={"model.depth": 5})
    assert both.rows()[1:] == [("cnn", 0, 3), ("own", 0, 5)]
    for exact in (("model.depth", -1), "model.depth"):
        frame = runs.to_frame("model.*", exact, defaults={"model.depth": -1, "model.*": 0})
        assert frame.columns == ["model.type", "model.opt.lr", "model.depth"]
        assert frame.rows() == [("mlp", 0.1, -1), ("cnn", 0.0, 3), ("own", 0.0, -1)]
    frame = runs.to_frame("metrics.*", defaults={"metrics.*": 0})
    assert frame["metrics.val/loss"].to_list() == [0.5, 0.0, 0.0]
    made = runs.concat(lambda _: pl.DataFrame({"n": [1]}), ("metrics.val*", -1.0), "seed")
    assert made.rows() == [(1, 0.5, 1), (1, -1.0, 2), (1, -1.0, 3)]


def test_computed_columns_go_with_patterns(runs: Runs) -> None:
    frame = runs.to_frame("metrics.acc*", double=lambda run: run.get("seed") * 2)
    assert frame.rows() == [(0.75, 2), (0.5, 4), (None, 6)]


def test_columns_of_any_values_in_concatenated_frames(tracking_dir: TrackingDir) -> None:
    experiment = tracking_dir.add_experiment("e")
    for run_id, value in (("a", "1"), ("b", "text"), ("c", "[1, 2]"), ("d", "{x: 1}")):
        tracking_dir.add_run(experiment, run_id, f"k: {value}\nl: [{len(run_id)}]\n")
    runs = Run.load(iter_run_dirs(tracking_dir.root))

    def make(_: Any) -> pl.DataFrame:
        return pl.DataFrame({"n": [1, 2]})

    mixed = runs[:2].concat(make, "k*", "info.start_t*")
    assert mixed["k"].to_list() == ["1", "1", "text", "text"]
    assert mixed["start_time"].to_list()[::2] == [run.info.start_time for run in runs[:2]]
    assert mixed.schema == runs[:2].to_frame(("n", 1), "k*", "info.start_t*").schema
    lists = runs.concat(make, "l*")
    assert lists["l"].to_list() == [[1]] * 8


def test_names_of_configurations_that_mean_something_else(tmp_path: Path) -> None:
    config = (
        "status: good\nmetrics: {accuracy: 0.99}\nhydra: {job: {num: 7}}\nresults: {loss: 1}\n"
        "info: {x: 1}\nimpl: {y: 2}\ncfg: {z: 3}\nlogged: {metrics: {m: 4}}\noverrides: 5\n"
        "attributes: {status: 6, own: 7}\nparams: 8\nrun: 9\nplain: 10\nrun_id: 11\n"
    )
    write(tmp_path / "x/artifacts/.hydra/config.yaml", config)
    write(tmp_path / "x/metrics/accuracy", "1 0.5 0\n")
    runs = Run.load([tmp_path / "x"])
    keys = [
        "cfg.status",
        "cfg.metrics.accuracy",
        "cfg.hydra.job.num",
        "cfg.results.loss",
        "cfg.info.x",
        "cfg.impl.y",
        "cfg.cfg.z",
        "cfg.logged.metrics.m",
        "cfg.overrides",
        "cfg.attributes.status",
        "attributes.own",
        "params",
        "run",
        "plain",
        "cfg.run_id",
    ]
    assert runs.list_keys() == keys
    frame = runs.to_frame("*")
    assert frame.columns == keys
    assert runs.to_frame().columns == ["run_id", "job_name", *keys]
    assert runs.to_frame()["run_id"].to_list() == ["x"]
    both = runs.to_frame("metrics.*", "cfg.metrics.*")
    assert both.row(0, named=True) == {"metrics.accuracy": 0.5, "cfg.metrics.accuracy": 0.99}
    assert runs.list_keys("cfg.attributes.*") == ["cfg.attributes.status", "attributes.own"]
    # the spelling means the same in filters and wherever else there are keys
    for key in keys:
        (value,) = frame[key].to_list()
        shown = f"'{value}'" if isinstance(value, str) else value
        assert len(runs.filter(f"{key} == {shown}")) == 1, key
        assert runs.to_list(key) == [value]
        assert runs[0].get(key) == value


@given(st.text(st.sampled_from("ab.*?_[]!^-\\d\n"), max_size=8), st.text("ab.*_[]", max_size=6))
def test_only_two_characters_are_wildcards(pattern: str, name: str) -> None:
    """A matcher by hand agrees with the one in use."""
    from kedro_hydraflow.key_patterns import _choose

    def matches(glob: str, text: str) -> bool:
        if not glob:
            return not text
        if glob[0] == "*":
            return any(matches(glob[1:], text[i:]) for i in range(len(text) + 1))
        return bool(text) and glob[0] in ("?", text[0]) and matches(glob[1:], text[1:])

    key = parse_key("cfg.x")._replace(path=pattern)
    assert _choose(key, [name]) == ([name] if matches(pattern, name) else [])


@given(st.text("abcmetrics._info", max_size=12))
def test_a_name_of_a_configuration_key_means_it(key: str) -> None:
    named = name_config_key(key)
    assert named in (key, f"cfg.{key}")
    if key and "__" not in key:
        assert identify(named) == ("cfg", key)
        assert is_pattern(named) is False
        assert parse_pattern(f"{named}*").kind == "cfg"


@pytest.mark.parametrize(
    ("pattern", "near"),
    [
        ("metric.*", "similar keys: 'metrics.*'"),
        ("param.tr*", "similar keys: 'params.lr', 'params.*', 'params.train_steps'"),
        ("modle.*", "similar keys: 'model.*'"),
        ("train/*", "similar keys: 'metrics.train/*'"),
        ("acc*", "similar keys: 'metrics.acc*'"),
        ("metrics.model.*", "similar keys: 'model.*'"),
        ("params.acc*", "similar keys: 'metrics.acc*'"),
        ("metrics.Acc*", "similar keys: 'metrics.accuracy'"),
        ("status*", "similar keys: 'info.status*'"),
        ("*_acc", "similar keys: 'metrics.*_acc'"),
        ("info.lo*", "similar keys: 'results.lo*'"),
        ("info.stat_s*", "similar keys: 'status'"),
        ("tags.m*", "those of MLflow itself match only patterns such as 'tags.mlflow.*'"),
        ("hydra.jobs.*", "similar keys: 'hydra.job"),
        ("zz*zz", "no similar keys"),
    ],
)
def test_a_pattern_that_matches_nothing_is_an_error(runs: Runs, pattern: str, near: str) -> None:
    with pytest.raises(MissingKeyError) as caught:
        runs.to_frame("seed", pattern)
    expected = f"none of the 3 runs has a key that matches {pattern!r}; {near}"
    assert str(caught.value).startswith(expected)
    with pytest.raises(MissingKeyError, match=r"^the run does not have a key that matches"):
        runs[:1].to_frame(pattern)


def test_results_need_the_option(root: Path) -> None:
    runs = Run.load(iter_run_dirs(root))
    assert runs.list_keys("results.*") == []
    with pytest.raises(MissingKeyError, match=r"'results\.\*'; .*load the runs with the option"):
        runs.to_frame("results.*")


def test_the_attributes_of_an_implementation_cannot_be_listed(runs: Runs) -> None:
    for look_up in (runs.to_frame, runs.list_keys):
        with pytest.raises(OptionError, match=r"'impl\.\*': the attributes of an implementation"):
            look_up("impl.*")


def test_what_lists_keys_takes_patterns_alone(runs: Runs) -> None:
    with pytest.raises(OptionError, match=r"a pattern such as 'metrics\.\*', found 'seed'"):
        runs.list_keys("seed")
    with pytest.raises(OptionError, match=r"found \['model\.\*'\]; give several keys one by one"):
        runs.list_keys(["model.*"])  # type: ignore[arg-type]


def test_what_takes_one_key_says_so(runs: Runs) -> None:
    for look_up in (runs.sort, runs.group_by, runs.to_list, runs.to_series, runs[0].get):
        with pytest.raises(MissingKeyError, match=r"; a pattern is for to_frame and list_keys$"):
            look_up("metrics.*")


def test_a_key_with_a_star_in_it_is_its_own_pattern(tmp_path: Path) -> None:
    write(tmp_path / "artifacts/.hydra/config.yaml", "globs: {'*.py': 1, '*.txt': 2, 'x.py': 3}\n")
    runs = Run.load([tmp_path])
    assert runs.to_frame("globs.*.py").columns == ["globs.*.py", "globs.x.py"]


def test_no_runs_have_no_keys(runs: Runs) -> None:
    none = runs[:0]
    assert none.list_keys() == none.list_keys("metrics.*") == []
    assert none.to_frame("metrics.*", "model.*").shape == (0, 0)
    assert none.to_frame("info.*").columns == list(FACTS_IN_ORDER)
    assert none.to_frame("seed", "metrics.*").columns == ["seed"]
    assert none.concat(lambda _: pl.DataFrame(), "metrics.*").shape == (0, 0)


def test_everything_is_read_at_once(root: Path, files_read: FilesRead) -> None:
    runs = Run.load(iter_run_dirs(root), results="result.json", index=False)
    files_read.clear()
    runs.to_frame("metrics.*", "results.*", "hydra.*", "info.status", "params.*")
    assert len([p for p in files_read.paths if p.endswith("result.json")]) == 3
    assert [
        c for c, p in zip(files_read.counts, files_read.calls, strict=True) if "json" in p[0]
    ] == [3]
    files_read.clear()
    runs.to_frame("metrics.*", "results.*", "metrics.accuracy")
    runs.list_keys("metrics.*", "results.*", "hydra.*")
    assert files_read.calls == []


def test_keys_are_listed_without_values(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = Run.load(iter_run_dirs(root))
    built = count_dictconfigs(monkeypatch)
    assert runs.list_keys() == OF_CONFIGS
    assert not built
    runs[1].update("model.depth", {"x": 1}, force=True)
    runs[1].update("model.own", "${oc.env:NO_SUCH_VARIABLE}")
    assert runs.list_keys("model.*") == [
        "model.type",
        "model.opt.lr",
        "model.depth.x",
        "model.own",
    ]
    assert get_configuration(runs[1]).has_dictconfig()
    assert runs.to_frame("model.own*")["model.own"].to_list()[1] == "${oc.env:NO_SUCH_VARIABLE}"
    with pytest.raises(ConfigError, match=r"cannot resolve the key 'model\.own'"):
        runs.to_frame("model.own")


def test_a_run_that_cannot_be_read_is_an_error(root: Path, runs: Runs) -> None:
    write(root / "1/b/metrics/accuracy", "garbage\n")
    write(root / "1/b/artifacts/result.json", "{")
    for pattern, error in (("metrics.*", MetadataError), ("results.*", ConfigError)):
        for look_up in (runs.to_frame, runs.list_keys):
            with pytest.raises(error, match="1/b/"):
                look_up(pattern)
    lenient = Run.load(iter_run_dirs(root), results="result.json", on_error="warn")
    assert lenient.to_frame("metrics.acc*")["metrics.accuracy"].to_list() == [0.75, None, None]
    assert lenient.to_frame("results.loss*")["results.loss"].to_list() == [0.125, None, 0.125]


def test_a_denied_run_is_not_empty(
    root: Path, serve: Callable[[Path], WebServer], no_waiting: None
) -> None:
    server = serve(root.parent)
    runs = Run.load([f"{server.url}/mlruns/1/{run_id}" for run_id in "abc"], on_error="warn")
    server.answers = {"1/b/metrics": [403] * 99}
    with pytest.raises(StorageError, match=r"403|denied"):
        runs.list_keys("metrics.*")


def test_keys_of_hydra_alone() -> None:
    runs = Run.load(iter_run_dirs(HYDRA_SWEEP / "multirun"))
    names = runs.list_keys("hydra.runtime.choices.*")
    assert "hydra.runtime.choices.model" in names
    assert runs.list_keys("metrics.*") == runs.list_keys("tags.*") == []
    assert runs.to_frame("info.*")["status"].null_count() == len(runs)


def test_another_lookup_does_not_change_what_patterns_mean(runs: Runs) -> None:
    own = RunCollection(runs, lambda run, key, default: 5)
    assert own.to_frame("seed", "model.d*").rows() == [(5, None), (5, 3), (5, None)]


def test_patterns_build_no_implementation(root: Path) -> None:
    def fail(artifacts_dir: Path) -> None:
        raise AssertionError("built")

    runs = Run.load(iter_run_dirs(root), fail)
    assert runs.to_frame("model.*", "metrics.acc*").height == 3
    with pytest.raises(MissingKeyError, match=r"similar keys: 'model\.\*'"):
        runs.to_frame("modle.*")
