from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from omegaconf import DictConfig

from conftest import TrackingDir, write
from kedro_hydraflow import Run, RunCollection, iter_run_dirs
from kedro_hydraflow.errors import ConfigError, MissingKeyError, OptionError

Runs = RunCollection[Run[Any, Any]]

CONFIGS = {
    "a": "model: {type: mlp, layers: [1, 2]}\nlr: 1\nbatch_size: 32\n",
    "b": "model: {type: cnn, layers: [3]}\nlr: 0.5\nwidth: 640\nheight: 480\n",
    "c": "model: {type: mlp, layers: []}\nlr: 0.1\nbatch_size: null\nwidth: 2\n",
}


@dataclass
class Impl:
    """An implementation that Polars could take for a Struct."""

    artifacts_dir: Path

    @property
    def accuracy(self) -> float:
        return len(self.artifacts_dir.parent.name) / 10


@pytest.fixture
def root(tracking_dir: TrackingDir) -> Path:
    experiment = tracking_dir.add_experiment("train")
    for i, (run_id, config) in enumerate(CONFIGS.items()):
        metrics = {"loss": f"1 {i} 0\n"} if i else {}
        run_dir = tracking_dir.add_run(experiment, run_id, config, metrics)
        write(run_dir / "artifacts/data/x.txt", run_id)
    return tracking_dir.root


@pytest.fixture
def runs(root: Path) -> Runs:
    return Run[Any, Impl].load(iter_run_dirs(root), Impl)


def square(run: Run[Any, Any]) -> float:
    return float(run.get("lr")) ** 2


def test_repr(runs: Runs) -> None:
    assert repr(runs) == "RunCollection(Run[Impl], n=3)"
    assert repr(runs[:0]) == "RunCollection(empty)"


@pytest.mark.parametrize(
    ("criteria", "kwargs", "expected"),
    [
        ((), {"model__type": "mlp"}, "ac"),
        ((("model.type", ["cnn", "lstm"]),), {}, "b"),
        ((), {"model__type": "mlp", "lr": (0.05, 0.5)}, "c"),
        ((("model.layers", [1, 2]),), {}, "a"),
        ((("model.layers", []),), {}, "c"),
        ((("model", {"type": "cnn", "layers": [3]}),), {}, "b"),
        ((("model.layers", lambda layers: 3 in layers),), {}, "b"),
        ((lambda run: run.get("batch_size", 0) == 32,), {}, "a"),
        (([True, False, True],), {"lr": 1}, "a"),
        ((), {"accuracy": 0.1}, "abc"),
        ((), {"run_id": {"b", "c"}, "status": "FINISHED"}, "bc"),
    ],
)
def test_filter(runs: Runs, criteria: tuple[Any, ...], kwargs: Any, expected: str) -> None:
    assert "".join(runs.filter(*criteria, **kwargs).to_list("run_id")) == expected
    rest = [run_id for run_id in "abc" if run_id not in expected]
    if len(criteria) + len(kwargs) == 1:
        assert runs.exclude(*criteria, **kwargs).to_list("run_id") == rest


def test_filter_refuses_a_key_that_a_run_lacks(runs: Runs) -> None:
    with pytest.raises(MissingKeyError, match="run a: no such key: 'width' in cfg, impl or info"):
        runs.filter(width=2)
    with pytest.raises(OptionError, match=r"cannot compare model__type 'mlp' with \(1, 2\): "):
        runs.filter(model__type=(1, 2))


@pytest.mark.parametrize(
    ("keys", "reverse", "expected"),
    [
        (["lr"], False, "cba"),
        (["lr"], True, "abc"),
        (["model.type", "lr"], False, "bca"),
        (["model.type", "lr"], True, "acb"),
        (["model.layers"], False, "cab"),
        (["run_id"], True, "cba"),
    ],
)
def test_sort(runs: Runs, keys: list[str], reverse: bool, expected: str) -> None:
    assert "".join(runs.sort(*keys, reverse=reverse).to_list("run_id")) == expected


@pytest.mark.parametrize(
    ("key", "default", "expected"),
    [
        ("lr", None, [1, 0.5, 0.1]),
        ("width", 7, [7, 640, 2]),
        ("width", lambda run: run.get("batch_size") * 2, [64, 640, 2]),
        ("model.layers", None, [[1, 2], [3], []]),
        ("metrics.loss", None, [None, 1.0, 2.0]),
    ],
)
def test_values(runs: Runs, key: str, default: Any, expected: list[Any]) -> None:
    assert runs.to_list(key, default) == expected
    assert runs.to_series(key, default).to_list() == expected
    assert runs.to_numpy(key, default).tolist() == expected


@pytest.mark.parametrize(
    "key", ["a", "a.b", "a[0]", "a.0", "b[1]", "b.1", "c.d", "e", "1", "d.e", "", ".a", "a.", "f.x"]
)
def test_columns_equal_get(tmp_path: Path, key: str) -> None:
    config = "a[0]: 1\nb: [5, 6]\nc: {d: '${b[0]}'}\ne: ???\n1: one\nd.e: 2\nf: ${c}\n"
    write(tmp_path / "x/artifacts/.hydra/config.yaml", config)
    runs = Run.load([tmp_path / "x"])
    assert runs._to_data(key, "missing") == runs.to_list(key, "missing")


def test_values_have_the_types_of_get(runs: Runs) -> None:
    assert type(runs.to_list("lr")[0]) is int
    assert runs.to_list("model")[0] is runs[0].cfg.model


# frames --------------------------------------------------------------------------------


def test_to_frame(runs: Runs) -> None:
    frame = runs.to_frame(
        "run_id", "lr", "model.type", "model.layers", "model", "accuracy", "width", sq=square
    )
    assert frame.schema == {
        "run_id": pl.String,
        "lr": pl.Float64,
        "model.type": pl.String,
        "model.layers": pl.List(pl.Int64),
        "model": pl.Struct({"type": pl.String, "layers": pl.List(pl.Int64)}),
        "accuracy": pl.Float64,
        "width": pl.Int64,
        "sq": pl.Float64,
    }
    assert frame.row(1) == ("b", 0.5, "cnn", [3], {"type": "cnn", "layers": [3]}, 0.1, 640, 0.25)
    assert frame["width"].to_list() == [None, 640, 2]


def test_to_frame_of_objects(runs: Runs) -> None:
    frame = runs.to_frame("run_id", "run", "cfg", "impl", "info")
    assert set(frame.dtypes[1:]) == {pl.Object}
    for i, run in enumerate(runs):
        assert frame["run"][i] is run
        assert frame["cfg"][i] is run.cfg
        assert frame["impl"][i] is run.impl
        assert frame["info"][i] is run.info
    assert runs[:0].to_frame("run").schema == {"run": pl.Object}
    assert runs.to_numpy("cfg")[1] is runs[1].cfg
    assert runs["run"][2] is runs[2]


def test_to_frame_takes_a_config_value_named_like_an_object(tmp_path: Path) -> None:
    write(tmp_path / "x/artifacts/.hydra/config.yaml", "run: {speed: 3}\nimpl: fast\n")
    frame = Run.load([tmp_path / "x"]).to_frame("run", "impl")
    assert frame.rows() == [({"speed": 3}, "fast")]


def test_to_frame_defaults(runs: Runs) -> None:
    defaults = {"width": 1, "height": lambda run: run.get("width", 5)}
    frame = runs.to_frame("width", "height", ("batch_size", 8), defaults=defaults)
    assert frame.rows() == [(1, 5, 32), (640, 480, 8), (2, 2, None)]
    assert list(defaults) == ["width", "height"]


def test_to_frame_refuses_a_key_that_no_run_has(runs: Runs) -> None:
    with pytest.raises(MissingKeyError, match="run a: no such key: 'learning_rate'"):
        runs.to_frame("lr", "learning_rate")


def test_to_frame_without_keys(runs: Runs) -> None:
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
        "run_id": "mine",
        "5": "five",
    }
    runs = Run.load([tmp_path / "x"])
    assert runs.to_frame().row(0, named=True) == expected
    assert runs[0].cfg.a == 1  # the DictConfig gives the same
    assert runs.to_frame().row(0, named=True) == expected
    with pytest.raises(ConfigError, match="run x: cannot resolve the key 'home'"):
        runs.to_frame("home")


def test_frames_share_nothing_with_the_runs(tmp_path: Path) -> None:
    for name in "xy":
        write(tmp_path / name / "artifacts/.hydra/config.yaml", "a: {b: [1, {c: [2]}]}\n")
    runs = Run.load([tmp_path / "x", tmp_path / "y"])
    runs.to_frame("a.b")["a.b"][0].append(9)
    runs.to_numpy("a")[0]["b"].append(9)
    runs.to_numpy("a.b")[0, 1]["c"].append(9)
    runs.unique("a")[0]["b"].append(9)
    runs[0].to_dict(flatten=False)["a"]["b"].append(9)
    assert runs.to_list("a.b") == [[1, {"c": [2]}]] * 2


def test_frames_can_be_written_to_csv(tmp_path: Path) -> None:
    write(
        tmp_path / "x/artifacts/.hydra/config.yaml",
        "data: !!python/object/apply:pathlib.PosixPath [/data/x]\n",
    )
    frame = Run.load([tmp_path / "x"]).to_frame("data", "run_dir")
    assert frame.write_csv().splitlines() == ["data,run_dir", f"{Path('/data/x')},{tmp_path / 'x'}"]


def test_concat(runs: Runs) -> None:
    frame = runs.concat(
        lambda run: pl.DataFrame({"x": [run.get("lr"), 2]}),
        "run_id",
        ("width", None),
        ("label", lambda run: run.get("model.type").upper()),
    )
    assert frame.columns == ["x", "run_id", "width", "label"]
    assert frame.rows()[1:4] == [
        (2.0, "a", None, "MLP"),
        (0.5, "b", 640, "CNN"),
        (2.0, "b", 640, "CNN"),
    ]
    assert frame.height == 6


# updates -------------------------------------------------------------------------------


def test_update(runs: Runs) -> None:
    runs.update("width", 1)
    assert runs.to_list("width") == [1, 640, 2]
    runs.update("ratio", lambda run: run.get("width") / run.get("height", 1))
    assert runs.to_list("ratio") == [1.0, 640 / 480, 2.0]
    runs.update(("width", "height"), (5, 6), force=True)
    assert runs.to_frame("width", "height").rows() == [(5, 6)] * 3
    runs.update("lr", 0, force=True)
    assert runs.filter(lr=0).to_list("run_id") == ["a", "b", "c"]


@pytest.mark.parametrize("make_copy", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
@pytest.mark.parametrize("built", [False, True])
def test_copies_are_independent(runs: Runs, make_copy: Callable[[Any], Any], built: bool) -> None:
    if built:
        assert [run.cfg for run in runs]
    copied = make_copy({"all": runs, "some": runs[:1]})
    copied["all"].update("lr", 9, force=True)
    runs.update("model.layers", [9], force=True)
    assert runs.to_list("lr") == [1, 0.5, 0.1]
    assert copied["all"].to_list("lr") == [9, 9, 9]
    assert copied["all"].to_list("model.layers") == [[1, 2], [3], []]
    assert copied["some"][0] is copied["all"][0]  # as in what was copied
    assert copied["all"].to_list("accuracy") == [0.1] * 3


def test_every_kind_of_storage(root: Path, publish: Callable[[Path], str]) -> None:
    runs = Run.load(iter_run_dirs(publish(root)))
    for seen in (runs, copy.deepcopy(runs), pickle.loads(pickle.dumps(runs))):
        assert seen.to_frame("run_id", "lr", "job_name", ("metrics.loss", None)).rows() == [
            ("a", 1.0, "train", None),
            ("b", 0.5, "train", 1.0),
            ("c", 0.1, "train", 2.0),
        ]
        assert [path.read_text() for path in seen.glob("*.txt", "data")] == ["a", "b", "c"]


# the rest ------------------------------------------------------------------------------


@pytest.mark.parametrize("n_jobs", [0, 1, 2])
@pytest.mark.parametrize(("cfg", "impl"), [(True, True), (True, False), (False, True)])
def test_preload(root: Path, n_jobs: int, cfg: bool, impl: bool) -> None:
    built = []
    runs = RunCollection([Run(path, built.append) for path in iter_run_dirs(root)])
    assert runs.preload(n_jobs=n_jobs, cfg=cfg, impl=impl) is runs
    assert len(built) == (3 if impl else 0)
    for name in CONFIGS:
        (root / "1" / name / "artifacts/.hydra/config.yaml").unlink()
    assert runs.to_list("lr", None) == ([1, 0.5, 0.1] if cfg else [None] * 3)
    assert isinstance(runs[0].cfg, DictConfig)


def test_preload_progress(runs: Runs, capsys: pytest.CaptureFixture[str]) -> None:
    runs.preload(progress=True)
    assert "3/3" in capsys.readouterr().err


@pytest.mark.parametrize("backend", [None, "threading"])
def test_pmap(runs: Runs, backend: str | None) -> None:
    assert runs.pmap(square, 2, backend) == [1, 0.25, 0.1**2]
    factor = 10
    assert runs.pmap(lambda run, n: run.get("accuracy") * n * factor, 2, backend, n=2) == [2.0] * 3


def test_files(runs: Runs) -> None:
    assert [path.name for path in runs.iterdir("data")] == ["x.txt"] * 3
    assert [path.read_text() for path in runs.glob("x.*", "data")] == ["a", "b", "c"]
    assert [path.parent.parent.parent.name for path in runs.glob("**/*.txt")] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("use", "expected"),
    [
        (lambda c: c.to_frame().columns, ["run_id", "job_name"]),
        (lambda c: c.to_frame("a", ("b", 1), z=square).shape, (0, 3)),
        (lambda c: c.concat(lambda run: 1 / 0, "a").shape, (0, 0)),
        (lambda c: c.update("a", 1), None),
        (lambda c: c.filter(a=1).sort("a").preload(n_jobs=2).to_list("a"), []),
        (lambda c: list(c.iterdir()) + list(c.glob("*")), []),
        (lambda c: c.group_by("a", "b").agg(n=len).shape, (0, 3)),
        (lambda c: copy.deepcopy(c).to_list("a"), []),
        (lambda c: pickle.loads(pickle.dumps(c)).to_list("a"), []),
    ],
)
def test_empty(use: Callable[[Any], Any], expected: Any) -> None:
    assert use(RunCollection([])) == expected
    assert use(Run.load([])) == expected


class DoublingRun(Run[Any, Any]):
    """A run with a lookup of its own."""

    def get(self, key: str, default: Any = None) -> Any:
        value = super().get(key, default)
        return value * 2 if key == "lr" else value


class MyRuns(RunCollection[Run[Any, Any]]):
    """A collection with an attribute."""

    note = ""


def test_subclasses_keep_their_class(root: Path) -> None:
    runs = MyRuns(DoublingRun.load(iter_run_dirs(root)))
    runs.note = "mine"
    for other in (
        runs,
        runs[:3],
        runs.filter(model__type=["mlp", "cnn"]),
        runs.sort("run_id"),
        runs.group_by("job_name")["train"],
        copy.deepcopy(runs),
        pickle.loads(pickle.dumps(runs)),
    ):
        assert type(other) is MyRuns
        assert {type(run) for run in other} == {DoublingRun}
        assert other.to_list("lr") == [2, 1.0, 0.2]
        assert other.to_frame("lr")["lr"].to_list() == [2, 1.0, 0.2]
        assert other.filter(lr=2).to_list("run_id") == ["a"]
    assert copy.deepcopy(runs).note == pickle.loads(pickle.dumps(runs)).note == "mine"


@pytest.mark.parametrize("get", [None, Run.get])
def test_the_usual_lookup(root: Path, get: Any) -> None:
    runs = RunCollection([Run(path) for path in iter_run_dirs(root)], get)
    assert pickle.loads(pickle.dumps(runs)).to_list("lr") == [1, 0.5, 0.1]


def test_a_lookup_of_ones_own(runs: Runs) -> None:
    labels = RunCollection(runs, lambda run, key, default: f"{key}:{run.get(key, default)}")
    assert labels.to_frame("lr")["lr"].to_list() == ["lr:1", "lr:0.5", "lr:0.1"]
    assert labels[:1].to_list("lr") == ["lr:1"]


def test_a_complete_frame_builds_no_implementation(sweep: Path) -> None:
    runs = Run.load(iter_run_dirs(sweep), lambda artifacts_dir: 1 / 0)
    assert runs.to_frame().columns[:2] == ["run_id", "job_name"]


def test_a_complete_frame_has_the_run_id_of_every_run(sweep: Path) -> None:
    runs = Run.load(iter_run_dirs(sweep, "eval_*"))
    runs[0].update("run_id", "mine")
    assert runs.to_frame()["run_id"].to_list() == ["mine", runs[1].info.run_id]
