"""What type checkers infer: mypy and pyright read this file in `make lint`, pytest runs it.

A ``type: ignore`` marks what has to be an error. Both checkers complain of one that is not needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd  # pyright: ignore[reportMissingTypeStubs]
import polars as pl
import pytest
from numpy.typing import NDArray
from typing_extensions import assert_type
from upath import UPath

from kedro_hydraflow import (
    Collection,
    GroupBy,
    HydraflowArtifactDataset,
    HydraflowRunCollectionDataset,
    HydraflowRunDataset,
    Run,
    RunCollection,
    RunInfo,
    get_experiment_names,
    iter_artifact_paths,
    iter_artifacts_dirs,
    iter_experiment_dirs,
    iter_run_dirs,
    iter_runs,
    scan_runs,
)
from kedro_hydraflow.errors import OptionError

SWEEP = Path(__file__).parent.parent / "examples" / "data" / "mlruns"
RUN_DIR = SWEEP / "803221166256626715" / "5b59290f35f943c8863522a4cd371131"
BEST = "13f42e9535654d01a4143ddd9be02cb7"


@dataclass
class ModelConfig:
    type: str
    hidden_size: int
    activation: str


@dataclass
class Config:
    model: ModelConfig
    training: dict[str, float]
    data: dict[str, Any]
    seed: int
    note: str | None = None
    tags: list[str] = field(default_factory=list[str])


class Model:
    def __init__(self, artifacts_dir: Path) -> None:
        self.weights = artifacts_dir / "model" / "weights.npz"

    def has_weights(self) -> bool:
        return self.weights.exists()


class SizedModel(Model):
    def __init__(self, artifacts_dir: Path, cfg: Config) -> None:
        super().__init__(artifacts_dir)
        self.size = cfg.model.hidden_size


class MaybeSizedModel(Model):
    def __init__(self, artifacts_dir: Path, cfg: Config | None = None) -> None:
        super().__init__(artifacts_dir)
        self.size = cfg.model.hidden_size if cfg else None


def load_model(artifacts_dir: Path) -> Model:
    return Model(artifacts_dir)


def load_sized_model(artifacts_dir: Path, cfg: Config) -> SizedModel:
    return SizedModel(artifacts_dir, cfg)


def load_size(artifacts_dir: Path, cfg: Config) -> int:
    return cfg.model.hidden_size


def load_anything(artifacts_dir: Path) -> Any:
    return Model(artifacts_dir)


class TrainedRun(Run[Config, Model]):
    """A subclass that says all of its types."""

    def score(self) -> float:
        return self.metrics["accuracy"]


class NamedRun(Run):
    """A subclass that says none."""

    def name(self) -> str:
        return self.info.run_id[:4]


LoadedRun = Run[Config, Model]
LoadedRuns = RunCollection[LoadedRun]


def get_dirs() -> list[Path | UPath]:
    return assert_type(list(iter_run_dirs(SWEEP, ["train_*"])), list[Path | UPath])


def get_score(run: Run[Any, Any], digits: int = 3, *, key: str = "accuracy") -> float:
    return round(run.metrics[key], digits)


def test_find() -> None:
    names = assert_type(get_experiment_names(SWEEP), list[str])
    assert len(names) == 3
    folders = assert_type(iter_experiment_dirs(SWEEP), Iterator[Path | UPath])
    assert len(list(folders)) == 3
    artifacts_dirs = assert_type(iter_artifacts_dirs(SWEEP), Iterator[Path])
    assert next(artifacts_dirs).name == "artifacts"
    paths = assert_type(iter_artifact_paths(SWEEP, "model/weights.npz"), Iterator[Path])
    assert next(paths).name == "weights.npz"
    assert next(iter_run_dirs(SWEEP)).name


def test_find_as_hydraflow_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", str(SWEEP))
    assert len(assert_type(get_experiment_names(), list[str])) == 3
    names = ["train_digits_v1", "eval_*"]
    for run_dirs in (
        iter_run_dirs(names),
        iter_run_dirs("train_*"),
        iter_run_dirs(lambda name: name.startswith("eval")),
        iter_run_dirs(experiment_names=names),
    ):
        assert assert_type(next(run_dirs), Path | UPath).is_dir()
    assert assert_type(next(iter_experiment_dirs(names)), Path | UPath).is_dir()
    assert assert_type(next(iter_artifacts_dirs("train_*")), Path).is_dir()
    for paths in (
        iter_artifact_paths("model"),
        iter_artifact_paths(Path("model"), names),
        iter_artifact_paths("model", "train_*"),
        iter_artifact_paths("model", lambda name: name.startswith("train")),
        iter_artifact_paths("model", experiment_names=names),
        iter_artifact_paths(None, "model", names),
        iter_artifact_paths(SWEEP, "model", "train_*"),
        iter_artifact_paths(SWEEP, artifact_path=Path("model")),
    ):
        assert assert_type(next(paths), Path).name == "model"
    batches = iter_runs(["train_*"], batch_size=10)
    assert_type(batches, Iterator[RunCollection[Run[Any, None]]])
    assert sum(map(len, batches)) == 29


def test_run() -> None:
    run = assert_type(Run(RUN_DIR), Run[Any, None])
    assert assert_type(run.impl, None) is None
    assert assert_type(run.cfg, Any).seed == 42
    assert assert_type(run.get("seed"), Any) == 42
    assert assert_type(run["model.type"], Any) == "mlp"
    assert assert_type(run.info, RunInfo).run_id == RUN_DIR.name
    assert assert_type(run.info.run_dir, Path | UPath) == RUN_DIR
    assert assert_type(run.info.status, str | None) == "FINISHED"
    assert isinstance(assert_type(run.info.start_time, datetime | None), datetime)
    assert assert_type(run.metrics, dict[str, float])["accuracy"] > 0.9
    assert assert_type(run.tags, dict[str, str])
    assert assert_type(run.path("model"), Path).is_dir()
    assert assert_type(run.to_dict(), dict[str, Any])["seed"] == 42
    assert isinstance(assert_type(run.lit("seed"), pl.Expr), pl.Expr)
    assert assert_type(run.metric_history("train/loss"), pl.DataFrame).height
    frame = run.to_frame(lambda run: run.metric_history("train/loss"), "seed")
    assert assert_type(frame, pl.DataFrame)["seed"].unique().to_list() == [42]
    with run.chdir("model") as folder:
        assert assert_type(folder, Path).name == "model"


def test_run_with_a_factory() -> None:
    run = assert_type(Run(RUN_DIR, Model), Run[Any, Model])
    assert assert_type(run.impl, Model).has_weights()
    assert assert_type(Run(RUN_DIR, SizedModel), Run[Any, SizedModel]).impl.size == 32
    assert assert_type(Run(RUN_DIR, MaybeSizedModel), Run[Any, MaybeSizedModel]).impl.size == 32
    assert assert_type(Run(RUN_DIR, load_model), Run[Any, Model]).impl.has_weights()
    assert assert_type(Run(RUN_DIR, load_sized_model), Run[Any, SizedModel]).impl.size == 32
    assert assert_type(Run(RUN_DIR, load_anything), Run[Any, Any]).impl.has_weights()
    made = assert_type(Run(RUN_DIR, lambda path: Model(path)), Run[Any, Model])
    sized = assert_type(Run(RUN_DIR, lambda path, cfg: SizedModel(path, cfg)), Run[Any, SizedModel])
    assert made.impl.has_weights()
    assert sized.impl.size == 32
    frame = run.to_frame_impl(lambda model: pl.DataFrame({"found": [model.has_weights()]}), "seed")
    assert assert_type(frame, pl.DataFrame).row(0) == (True, 42)


def test_run_with_a_configuration() -> None:
    run = assert_type(Run(RUN_DIR, config_class=Config), Run[Config, None])
    assert assert_type(run.cfg.model.hidden_size, int) == 32
    both = assert_type(Run(RUN_DIR, SizedModel, config_class=Config), Run[Config, SizedModel])
    assert both.impl.size == both.cfg.model.hidden_size
    named = assert_type(Run[Config](RUN_DIR), Run[Config, None])
    assert assert_type(named.cfg.seed, int) == 42
    full = assert_type(Run[Config, Model](RUN_DIR, Model), Run[Config, Model])
    assert full.impl.has_weights()
    assert Run[Config, SizedModel](RUN_DIR, SizedModel).impl.size == 32


def test_load_one() -> None:
    assert assert_type(Run.load(RUN_DIR), Run[Any, None]).get("seed") == 42
    assert assert_type(Run.load(str(RUN_DIR)), Run[Any, None]).get("seed") == 42
    assert assert_type(Run.load(UPath(RUN_DIR)), Run[Any, None]).get("seed") == 42
    assert assert_type(Run.load(RUN_DIR, Model), Run[Any, Model]).impl.has_weights()
    assert assert_type(Run.load(RUN_DIR, config_class=Config), Run[Config, None]).cfg.seed == 42
    run = Run.load(RUN_DIR, SizedModel, config_class=Config)
    assert assert_type(run, Run[Config, SizedModel]).impl.size == 32
    assert assert_type(Run[Config].load(RUN_DIR), Run[Config, None]).cfg.seed == 42
    assert assert_type(Run[Config].load(RUN_DIR, Model), Run[Config, Model]).impl.has_weights()
    full = assert_type(Run[Config, Model].load(RUN_DIR, Model), Run[Config, Model])
    assert full.impl.has_weights()
    results = "confusion.json"
    assert assert_type(Run.load(RUN_DIR, results=results), Run[Any, None]).results == {}
    loaded = Run.load(RUN_DIR, Model, config_class=Config, results=results)
    assert assert_type(loaded.results, dict[str, Any]) == {}
    assert assert_type(Run(RUN_DIR, Model, results=results), Run[Any, Model]).results == {}


def test_load_many() -> None:
    found = assert_type(Run.load(iter_run_dirs(SWEEP)), RunCollection[Run[Any, None]])
    assert len(found) == 31
    dirs = get_dirs()
    assert len(assert_type(Run.load(dirs), RunCollection[Run[Any, None]])) == 29
    assert len(assert_type(Run.load(map(str, dirs)), RunCollection[Run[Any, None]])) == 29
    named = assert_type(Run[Config].load(dirs), RunCollection[Run[Config, None]])
    assert assert_type(named[0].cfg.seed, int) == 1
    checked = assert_type(Run.load(dirs, config_class=Config), RunCollection[Run[Config, None]])
    assert assert_type(checked[0].cfg.tags, list[str]) == []
    again = Run[Config].load(dirs, config_class=Config, on_error="warn", n_jobs=0)
    assert assert_type(again, RunCollection[Run[Config, None]])[0].cfg.tags == []
    having = Run.load(dirs, Model, config_class=Config, results="result.json")
    assert assert_type(having, RunCollection[Run[Config, Model]])[0].results == {}


def test_load_many_with_a_factory() -> None:
    dirs = get_dirs()[:2]
    assert assert_type(Run.load(dirs, Model), RunCollection[Run[Any, Model]])[0].impl.has_weights()
    sized = assert_type(Run.load(dirs, SizedModel), RunCollection[Run[Any, SizedModel]])
    maybe = assert_type(Run.load(dirs, MaybeSizedModel), RunCollection[Run[Any, MaybeSizedModel]])
    assert sized[0].impl.size == maybe[0].impl.size == 16
    loaded = assert_type(Run.load(dirs, load_model), RunCollection[Run[Any, Model]])
    assert loaded[0].impl.has_weights()
    with_cfg = assert_type(Run.load(dirs, load_sized_model), RunCollection[Run[Any, SizedModel]])
    assert with_cfg[0].impl.size == 16
    anything = assert_type(Run.load(dirs, load_anything), RunCollection[Run[Any, Any]])
    assert anything[0].impl.has_weights()
    made = assert_type(Run.load(dirs, lambda p: Model(p)), RunCollection[Run[Any, Model]])
    assert made[0].impl.has_weights()
    two = Run.load(dirs, lambda path, cfg: SizedModel(path, cfg))
    assert assert_type(two, RunCollection[Run[Any, SizedModel]])[0].impl.size == 16

    both = Run.load(dirs, SizedModel, config_class=Config)
    assert assert_type(both, RunCollection[Run[Config, SizedModel]])[0].cfg.seed == 1
    named = assert_type(Run[Config].load(dirs, Model), RunCollection[Run[Config, Model]])
    assert named[0].impl.has_weights()
    full = assert_type(Run[Config, Model].load(dirs, Model), RunCollection[Run[Config, Model]])
    assert full[0].impl.has_weights()


def test_subclasses() -> None:
    dirs = get_dirs()
    assert assert_type(TrainedRun(RUN_DIR, Model), TrainedRun).score() > 0.9
    assert assert_type(TrainedRun.load(RUN_DIR, Model), TrainedRun).impl.has_weights()
    runs = assert_type(TrainedRun.load(dirs, Model), RunCollection[TrainedRun])
    assert assert_type(runs.best(by="metrics.accuracy", mode="max"), TrainedRun).score() > 0.9
    checked = TrainedRun.load(dirs, Model, config_class=Config)
    assert assert_type(checked, RunCollection[TrainedRun])[0].cfg.seed == 1
    assert assert_type(NamedRun.load(dirs), RunCollection[NamedRun])[0].name()


def test_scan_runs() -> None:
    lazy = scan_runs(SWEEP, "train_*", Model, schema={"seed": int, "model.type": pl.String})
    assert assert_type(lazy, pl.LazyFrame).collect().height == 29
    scan_runs(["train_*"], schema={"seed": "Int8"}, tracking_uri=str(SWEEP), strict=False)
    with pytest.raises(TypeError):
        scan_runs(SWEEP)  # type: ignore[call-arg]


def test_iter_runs() -> None:
    batches = assert_type(iter_runs(SWEEP), Iterator[RunCollection[Run[Any, None]]])
    assert sum(map(len, batches)) == 31
    modelled = assert_type(iter_runs(SWEEP, None, Model), Iterator[RunCollection[Run[Any, Model]]])
    assert next(modelled)[0].impl.has_weights()
    made = iter_runs(SWEEP, "train_*", lambda path: Model(path))
    assert_type(made, Iterator[RunCollection[Run[Any, Model]]])
    assert next(made)[0].impl.has_weights()
    both = iter_runs(SWEEP, impl_factory=SizedModel, config_class=Config)
    assert_type(both, Iterator[RunCollection[Run[Config, SizedModel]]])
    run = next(both)[0]
    assert run.impl.size == run.cfg.model.hidden_size
    having = iter_runs(SWEEP, results="result.json")
    assert assert_type(having, Iterator[RunCollection[Run[Any, None]]])


def load_runs() -> LoadedRuns:
    return Run.load(iter_run_dirs(SWEEP, "train_*"), Model, config_class=Config)


def test_the_items_of_a_collection() -> None:
    runs = load_runs()
    for run in runs:
        assert assert_type(run, LoadedRun).impl.has_weights()
    assert assert_type(runs[0], LoadedRun).cfg.seed == 1
    assert len(assert_type(runs[1:], LoadedRuns)) == 28
    assert len(assert_type(runs[[0, 2]], LoadedRuns)) == 2
    assert assert_type(runs["seed"], pl.Series)[0] == 1
    assert assert_type(runs.first(seed=2), LoadedRun).cfg.seed == 2
    assert assert_type(runs.last(), LoadedRun).info.run_id == runs[-1].info.run_id
    assert assert_type(runs.get(run_id=BEST), LoadedRun).info.run_id == BEST
    assert assert_type(runs.try_get(run_id="none"), LoadedRun | None) is None
    assert assert_type(runs.best(by="metrics.accuracy", mode="max"), LoadedRun).info.run_id == BEST
    fewest = runs.best(by=lambda run: run.cfg.model.hidden_size, mode="min")
    assert assert_type(fewest, LoadedRun).cfg.model.hidden_size == 16
    mode: Literal["max", "min"] = "min"
    assert len(assert_type(runs.top(3, "metrics.accuracy", mode=mode), LoadedRuns)) == 3


def is_small(run: LoadedRun) -> bool:
    return run.cfg.model.hidden_size < 32


def test_the_parts_of_a_collection() -> None:
    runs = load_runs()
    assert len(assert_type(runs.filter(is_small), LoadedRuns)) == 12
    assert len(assert_type(runs.filter(model__type="mlp", seed=[1, 2]), LoadedRuns)) == 12
    assert len(assert_type(runs.parents(), LoadedRuns)) == len(runs)
    assert len(assert_type(runs.children(runs[0]), LoadedRuns)) == 0
    assert len(assert_type(runs.children("another run's ID"), LoadedRuns)) == 0
    assert assert_type(runs[0].info.parent_run_id, str | None) is None
    assert assert_type(runs[0].models, dict[str, Path]) == {}
    assert len(assert_type(runs.filter(("seed", 1), [True] * len(runs)), LoadedRuns)) == 12
    assert len(assert_type(runs.filter(runs.eq("seed", "seed")), LoadedRuns)) == 29
    assert len(assert_type(runs.filter(runs.gt("training.l2", 1)), LoadedRuns)) == 0
    assert (
        len(assert_type(runs.filter(runs.lt("start_time", datetime(2026, 1, 1))), LoadedRuns)) == 0
    )
    assert len(assert_type(runs.exclude(seed=1), LoadedRuns)) == 17
    assert assert_type(runs.sort("seed", reverse=True), LoadedRuns)[0].cfg.seed == 42
    assert len(assert_type(runs.sample(2, seed=0), LoadedRuns)) == 2
    assert len(assert_type(runs.shuffle(), LoadedRuns)) == 29
    assert len(assert_type(runs.preload(), LoadedRuns)) == 29

    groups = assert_type(runs.group_by("model.type"), GroupBy[LoadedRuns, LoadedRun])
    assert len(assert_type(groups["mlp"], LoadedRuns)) == 17
    for key, group in groups.items():
        assert assert_type(group, LoadedRuns)[0].cfg.model.type == assert_type(key, Any)
    assert len(assert_type(groups.best("metrics.accuracy", mode="max"), LoadedRuns)) == 2
    smallest = groups.top(2, lambda run: run.cfg.model.hidden_size, mode="min")
    assert assert_type(smallest, LoadedRuns)[0].cfg.model.hidden_size == 16
    frame = groups.agg("seed", n=len, size=lambda group: group[0].cfg.model.hidden_size)
    assert assert_type(frame, pl.DataFrame).columns == ["model.type", "seed", "n", "size"]
    frame = groups.agg(best=("metrics.accuracy", "max"), all=("seed", len), n=len)
    assert assert_type(frame, pl.DataFrame).columns == ["model.type", "best", "all", "n"]


def test_what_is_computed_from_a_collection() -> None:
    runs = load_runs()
    assert next(assert_type(runs.map(lambda run: run.cfg.seed), Iterator[int])) == 1
    assert next(assert_type(runs.map(get_score, 1, key="accuracy"), Iterator[float])) > 0
    assert assert_type(runs.pmap(get_score, 0), list[float])[0] > 0
    assert assert_type(runs.to_list("seed"), list[Any])[0] == 1
    assert assert_type(runs.to_numpy("seed"), NDArray[Any]).dtype == np.int64
    assert assert_type(runs.to_series("seed"), pl.Series).dtype == pl.Int64
    assert len(assert_type(runs.unique("seed"), NDArray[Any])) == assert_type(
        runs.n_unique("seed"), int
    )
    frame = runs.to_frame("run_id", ("lr", 0.1), size=lambda run: run.cfg.model.hidden_size)
    assert assert_type(frame, pl.DataFrame).columns == ["run_id", "lr", "size"]
    schema = {"seed": pl.Int8, "note": pl.String}
    assert runs.to_frame(schema=schema, strict=False, nested="json").columns == [*schema]
    frame = runs.to_frame("run_id", schema={"note": str, "seed": "Int8", "n": pl.List(pl.Int8)})
    assert assert_type(frame, pl.DataFrame).columns == ["run_id", "note", "seed", "n"]
    with pytest.raises(OptionError):
        runs.to_frame(nested="text")  # type: ignore[arg-type]
    with pytest.raises(OptionError):
        runs.to_frame(schema={"seed": 3})  # type: ignore[dict-item]
    histories = runs.concat(lambda run: run.metric_history("train/loss"), "run_id")
    assert assert_type(histories, pl.DataFrame)["run_id"].n_unique() == 29
    assert assert_type(runs.metric_histories("train/loss"), pl.DataFrame).height
    assert assert_type(runs[0].metric_histories("train/*"), pl.DataFrame).height
    assert assert_type(runs.list_keys("metrics.*"), list[str])[0] == "metrics.accuracy"
    assert assert_type(runs.varying("*", derived=True), pl.DataFrame).columns[0] == "run_id"
    assert assert_type(runs.diff(runs[0], "13f42e95", "*", "metrics.*"), pl.DataFrame).width == 3
    assert assert_type(runs.diff(0, -1), pl.DataFrame).height
    assert assert_type(runs[0].diff(runs[1]), pl.DataFrame).height
    assert assert_type(runs.describe("*", "metrics.*"), pl.DataFrame).height
    over = runs.over(["seed"], "metrics.accuracy", ignore="note", among=["*"])
    assert assert_type(over, pl.DataFrame)["n"].sum() == len(runs)
    curves = runs.metric_histories("train/*", keys=["seed", ("lr", 0.1), "model.*"])
    assert assert_type(curves, pl.DataFrame).columns[5] == "seed"
    assert len(assert_type(runs.to_pandas("seed", ("lr", 0.1)), pd.DataFrame)) == len(runs)
    assert next(assert_type(runs.glob("*/weights.npz"), Iterator[Path])).exists()
    runs.update("size", lambda run: run.cfg.model.hidden_size)
    runs.update(("one", "two"), lambda run: [run.cfg.seed, run.impl.has_weights()])
    assert runs[0].get("one") == 1


def test_a_collection_of_other_items() -> None:
    paths = assert_type(Collection([SWEEP, RUN_DIR]), Collection[Path])
    assert assert_type(paths[0], Path) == SWEEP
    assert assert_type(paths.get(name="mlruns"), Path) == SWEEP
    assert len(assert_type(paths.filter(name="mlruns"), Collection[Path])) == 1
    assert list(assert_type(paths.map(str), Iterator[str])) == [str(SWEEP), str(RUN_DIR)]
    groups = assert_type(paths.group_by("name"), GroupBy[Collection[Path], Path])
    assert len(groups["mlruns"]) == 1
    upper = Collection(["a", "b"], lambda item, key, default: getattr(item, key)())
    assert assert_type(upper, Collection[str]).to_list("upper") == ["A", "B"]


def rank(runs: RunCollection) -> Run[Any, Any]:
    """A node of a pipeline, which says no types of configuration and implementation."""
    return assert_type(runs.best(by="metrics.accuracy", mode="max"), Run[Any, Any])


def test_datasets() -> None:
    runs = HydraflowRunCollectionDataset(path=SWEEP).load()
    assert_type(runs, RunCollection[Run[Any, Any]])
    assert rank(runs).info.run_id == BEST
    run = HydraflowRunDataset(path=SWEEP, best_by="metrics.accuracy", mode="max").load()
    assert assert_type(run, Run[Any, Any]).info.run_id == BEST
    tables = HydraflowArtifactDataset(
        path=SWEEP, artifact="confusion_matrix.json", dataset="json.JSONDataset", missing="skip"
    )
    assert assert_type(tables.load(), Any)
    table = HydraflowArtifactDataset(
        path=SWEEP,
        artifact="confusion_matrix.json",
        dataset="json.JSONDataset",
        best_by="metrics.accuracy",
        mode="max",
    )
    assert assert_type(table.load(), Any)


def test_what_has_to_be_an_error() -> None:
    runs = load_runs()
    dirs = get_dirs()
    with pytest.raises(OptionError, match="mode"):
        runs.best(by="seed", mode="largest")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="mode"):
        runs.best(by="seed")  # type: ignore[call-arg]
    with pytest.raises(OptionError, match="mode"):
        runs.top(2, by="seed", mode="largest")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="on_error"):
        Run.load(dirs, on_error="ignore")  # type: ignore[call-overload]
    with pytest.raises(TypeError):
        Run.load(dirs, SizedModel, 4)  # type: ignore[call-overload]
    with pytest.raises(AttributeError):
        _ = runs[0].impl.size  # type: ignore[attr-defined]
    with pytest.raises(AttributeError):
        _ = runs[0].cfg.sed  # type: ignore[attr-defined]
    with pytest.raises(AttributeError):
        _ = Run.load(RUN_DIR).filter(seed=1)  # type: ignore[attr-defined]
    # These run, as the types in brackets are for type checkers alone.
    Run[Config, Model](RUN_DIR, load_size)  # type: ignore[arg-type]
    Run[Config, Model].load(RUN_DIR, load_size)  # type: ignore[arg-type]
    TrainedRun.load(dirs, load_size)  # type: ignore[arg-type]
