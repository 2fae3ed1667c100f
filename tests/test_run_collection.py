from __future__ import annotations

import copy
import math
import pickle
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import MISSING, dataclass  # MISSING as hydraflow's users pass it
from datetime import datetime, timezone
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from kedro_hydraflow import Run, RunCollection, iter_run_dirs
from kedro_hydraflow.columns import make_array, make_series
from kedro_hydraflow.errors import (
    ConfigError,
    FilterError,
    MetadataError,
    MissingKeyError,
    OptionError,
)
from kedro_hydraflow.missing import MISSING as OUR_MISSING
from tests.conftest import FilesRead, TrackingDir, write

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
    facts = "job_name={'train': 3}, status={'FINISHED': 3}"
    assert repr(runs) == f"RunCollection(Run[Impl], n=3, {facts})"
    assert repr(RunCollection([Run(run.info.run_dir) for run in runs])) == "RunCollection(Run, n=3)"
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
    ("criterion", "advice"),
    [
        (2, "runs.filter('width == 2') leaves those runs out"),
        ([2, 640], "runs.filter('width in [2, 640, [2, 640]]') leaves those runs out"),
        ((2, 640), "runs.filter('width >= 2 and width <= 640') leaves those runs out"),
        (lambda width: width > 2, "runs.filter('width is not null') leaves those runs out"),
        (None, "runs.filter('width is null') selects those runs too"),
    ],
)
def test_a_filter_that_few_runs_lack_names_the_text(
    root: Path, criterion: Any, advice: str
) -> None:
    runs = Run.load(iter_run_dirs(root))
    for select in (runs.filter, runs.exclude, runs.get, runs.first):
        with pytest.raises(MissingKeyError) as caught:
            select(width=criterion)
        message = str(caught.value)
        assert message.startswith("run a: no such key: 'width' in cfg, impl or info (")
        assert message.endswith(f"; 1 of 3 runs lack it; {advice}")
    assert len(eval(advice.partition(") ")[0] + ")", {"runs": runs})) == (
        1 if criterion in (2, None) else 2
    )


def test_keys_that_few_runs_lack_in_other_methods(root: Path) -> None:
    runs = Run.load(iter_run_dirs(root))
    left_out = "runs.filter('width is not null') leaves those runs out"
    for look_up, advice in (
        (lambda: runs.sort("lr", "width"), left_out),
        (lambda: runs.group_by("width"), left_out),
        (lambda: runs.to_list("width"), "a default, where one can be given, allows for it"),
        (lambda: runs.unique("width"), "a default, where one can be given, allows for it"),
        (
            lambda: runs.filter(runs.gt("width", 2)),
            "a default, where one can be given, allows for it",
        ),
    ):
        with pytest.raises(MissingKeyError, match=re.escape(advice) + "$"):
            look_up()
    with pytest.raises(MissingKeyError, match=r"; all 3 runs lack it$"):
        runs.sort("depth")
    with pytest.raises(MissingKeyError, match=r"\(no similar keys\)$"):
        runs[:1].filter(depth=2)


def test_advice_for_a_key_of_configurations_that_means_something_else(root: Path) -> None:
    runs = Run.load(iter_run_dirs(root))
    for run in runs[1:]:
        run.update("params.steps", 5)
    with pytest.raises(MissingKeyError, match=r"runs\.filter\('cfg\.params\.steps == 5'\) leaves"):
        runs.filter(("params.steps", 5))
    assert len(runs.filter("cfg.params.steps == 5")) == 2


@pytest.fixture
def timed(tracking_dir: TrackingDir) -> Runs:
    """Return runs that started at 12:00, 13:00 and 14:00 in UTC. The last one goes on."""
    experiment = tracking_dir.add_experiment("train")
    for hour, run_id in enumerate("abc", 12):
        start = int(datetime(2026, 1, 25, hour, tzinfo=timezone.utc).timestamp() * 1000)
        end = None if run_id == "c" else start + 60_000
        tracking_dir.add_run(experiment, run_id, start_time=start, end_time=end)
    return Run.load(iter_run_dirs(tracking_dir.root))


@pytest.mark.parametrize("has_zone", [False, True])
def test_times_without_a_time_zone_are_in_utc(timed: Runs, has_zone: bool) -> None:
    def at(hour: int, minute: int = 0) -> datetime:
        return datetime(2026, 1, 25, hour, minute, tzinfo=timezone.utc if has_zone else None)

    def find(criterion: Any, key: str = "start_time") -> str:
        return "".join(timed.filter((key, criterion)).to_list("run_id"))

    for key in ("start_time", "info.start_time"):
        assert find((at(12), at(13)), key) == "ab"
        assert find((at(12, 30), at(23)), key) == "bc"
        assert find(at(13), key) == "b"
        assert find([at(12), at(14)], key) == "ac"
    assert find((at(12), at(13)), "end_time") == "a"
    assert find(None, "end_time") == "c"
    assert get_ids(timed.exclude(start_time=at(13))) == ["a", "c"]
    assert get_ids(timed.filter(timed.gt("start_time", at(12)))) == ["b", "c"]
    assert get_ids(timed.filter(timed.le("end_time", at(13)))) == ["a"]
    assert get_ids(timed.filter(timed.eq("start_time", at(12)))) == ["a"]
    assert get_ids(timed.filter(timed.eq("end_time", None))) == ["c"]
    assert timed.best("end_time", mode="max", default=at(20)).info.run_id == "b"
    latest = timed.best(lambda run: run.info.end_time or at(20), mode="max")
    assert latest.info.run_id == "c"


def test_times_as_in_filters(timed: Runs) -> None:
    assert get_ids(timed.filter(start_time=("2026-01-25", "2026-01-25 13:00"))) == ["a", "b"]
    assert get_ids(timed.filter(start_time="2026-01-25T13:00:00Z")) == ["b"]
    milliseconds = int(datetime(2026, 1, 25, 13, tzinfo=timezone.utc).timestamp() * 1000)
    assert get_ids(timed.filter(start_time=[milliseconds, None])) == ["b"]
    assert get_ids(timed.filter(start_time=("2026-01-25", "now + 99999d"))) == ["a", "b", "c"]
    for criterion in ("yesterday", ("2026-13-01", "now"), 5):
        with pytest.raises(FilterError, match=r"filter start_time=.*: start_time is a time: exp"):
            timed.filter(start_time=criterion)


def test_times_that_are_not_facts_are_left_alone(timed: Runs) -> None:
    class Own:
        def __init__(self, artifacts_dir: Path) -> None:
            self.start_time = 5.0

    dirs = [run.info.run_dir for run in timed]
    assert len(Run.load(dirs, Own).filter(start_time=(4, 6))) == 3
    timed.update("start_time", "early", force=True)
    assert len(timed.filter(start_time="early")) == 3


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
    assert runs.to_data(key, "missing") == runs.to_list(key, "missing")


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


def test_update_refuses_what_is_no_key(runs: Runs) -> None:
    for key in (3, None, ("seed", 3), b"seed"):
        for force in (True, False):
            with pytest.raises(OptionError, match=r"expected a key"):
                runs.update(key, 1, force=force)  # type: ignore[call-overload]


def test_updates_leave_what_runs_recorded(tracking_dir: TrackingDir, files_read: FilesRead) -> None:
    experiment = tracking_dir.add_experiment("train")
    for name, metrics in {"a": {"loss": "1 0.5 0\n"}, "b": {}, "c": {"loss": "1 0.7 0\n"}}.items():
        run_dir = tracking_dir.add_run(experiment, name, "lr: 1\n", metrics)
        write(run_dir / "artifacts/out.json", '{"n": 1}' if name == "b" else "{}")
    runs = Run.load(iter_run_dirs(tracking_dir.root), results="out.json")
    files_read.clear()
    runs.update("metrics.loss", 9.0)
    assert files_read.counts == [3]
    assert runs.to_list("metrics.loss") == [0.5, 9.0, 0.7]
    assert runs.best("metrics.loss", mode="min").info.run_id == "a"
    runs.update(("results.n", "lr"), (0, 2))
    assert runs.to_frame("results.n", "lr").rows() == [(0, 1), (1, 1), (0, 1)]
    runs.update("metrics.loss", 1.0, force=True)
    assert runs.to_list("metrics.loss") == [1.0, 1.0, 1.0]
    write(tracking_dir.root / "1/b/metrics/acc", "not a metric\n")
    with pytest.raises(MetadataError, match="acc"):
        runs.update("metrics.acc", 0)


def test_children_takes_a_run_or_an_id(runs: Runs) -> None:
    with pytest.raises(OptionError, match="children: expected a run or the ID of one, found 3"):
        runs.children(3)  # type: ignore[arg-type]


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


@pytest.mark.usefixtures("terminal")
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


def count_dictconfigs(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return a list to which is added what every DictConfig from now on is built of."""
    built: list[Any] = []
    create = OmegaConf.create

    def count(content: Any, *args: Any, **options: Any) -> Any:
        built.append(content)
        return create(content, *args, **options)

    monkeypatch.setattr(OmegaConf, "create", count)
    return built


@pytest.mark.parametrize(
    ("text", "n_built"),
    [
        ("plain", 0),
        ("${i}", 0),
        ("${a.b}-${..i}", 0),
        ("${a.${name}}", 0),
        ("${chain}", 0),
        ("${a}", 0),
        ("${a.l[0]}", 0),
        ("${oc.env:HOME}/${i}", 1),  # a small one for all runs, of the resolver alone
        ("${oc.select:i}", 1),  # the whole one of the first run, changed for each
        ("a\\${i}", 1),
    ],
)
def test_how_many_dictconfigs_many_runs_take(
    text: str, n_built: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    fixed = {"a": {"b": 1, "l": ["x"]}, "name": "b", "chain": "${a.b}!"}
    with written([{**fixed, "i": i, "m": {"key": text}} for i in range(20)]) as (runs, _):
        pass
    monkeypatch.setenv("HOME", "/home")
    built = count_dictconfigs(monkeypatch)
    for key in ("m.key", "m"):
        for function in (
            lambda: runs.to_frame(key),  # noqa: B023 - they are called now
            lambda: runs.to_numpy(key),  # noqa: B023
            lambda: runs.filter((key, [1])),  # noqa: B023
            lambda: runs.group_by(key),  # noqa: B023
            lambda: runs.unique(key),  # noqa: B023
            runs.to_frame,
        ):
            function()
            assert len(built) == n_built
            built.clear()
    if text != "${a}":  # a mapping is a DictConfig of the run's own, and cannot be sorted by
        runs.sort("m.key")
        runs.to_list("m.key")
        assert len(built) == 2 * n_built
        built.clear()
    assert len([run.cfg for run in runs]) == len(built) == 20  # no run has kept one


# every method gives what its definition says -------------------------------------------

names = st.sampled_from(["a", "b", "c.d"]) | st.just(1)
numbers = st.integers(-3, 3) | st.sampled_from([True, False, 0.5, 1.0, 2**63, 2**200])
texts = st.sampled_from(["", "a", "b", "1", "true", "null", "$a", "a???"])
interpolations = st.sampled_from(
    ["${a}", "${a.b}", "${b}", "${b.a}", "${c}", "x${a}", "${nowhere}", "${gone:X}", "???"]
)
scalars = st.none() | numbers | st.floats() | texts
anything = st.recursive(
    st.sampled_from([scalars, interpolations]).flatmap(lambda kind: kind),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)
alike = st.sampled_from([numbers, st.floats() | st.none(), texts, st.lists(numbers, max_size=2)])
"""Values that can mostly be sorted and compared with each other."""

configs = st.one_of(
    st.lists(st.dictionaries(names, anything, max_size=3), max_size=4),
    alike.flatmap(
        lambda kind: st.lists(
            st.fixed_dictionaries({"a": kind, "b": st.sampled_from(["${a}", 1, None])}),
            max_size=6,
        )
    ),
)
keys = st.sampled_from(["a"] * 5 + ["b"] * 3 + ["a.b", "b.a", "c.d", "1", "run_id"])
criteria = st.one_of(
    scalars,
    st.lists(scalars | st.lists(numbers, max_size=2), max_size=3),
    st.sets(numbers | texts, max_size=3),
    st.tuples(st.integers(-3, 0), st.integers(-1, 3)),
    st.tuples(texts, texts),
    st.just(range(-1, 2)),
    st.dictionaries(names, scalars, max_size=2),
    st.sampled_from([lambda value: value is None, lambda value: value == 1]),
)


@contextmanager
def written(configs: list[dict[Any, Any]]) -> Iterator[tuple[Runs, Runs]]:
    """Give the runs of these configurations twice: a `get` builds DictConfigs, which are kept."""
    with TemporaryDirectory() as root:
        for i, config in enumerate(configs):
            text = OmegaConf.to_yaml(OmegaConf.create(config))
            write(Path(root, f"run{i}/artifacts/.hydra/config.yaml"), text)
        run_dirs = [Path(root, f"run{i}") for i in range(len(configs))]
        yield Run.load(run_dirs), Run.load(run_dirs)


def outcome(function: Callable[..., Any], *args: Any, **kwargs: Any) -> str:
    """Return the text of a result, in which NaN is like NaN, or the name of the error."""
    try:
        result = function(*args, **kwargs)
    except (ConfigError, MissingKeyError, OptionError) as exc:
        return type(exc).__name__
    if isinstance(result, RunCollection):
        result = [run.info.run_id for run in result]
    if isinstance(result, pl.Series):
        result = (result.dtype, result.to_list())
    return repr(result)


def value_of(run: Run[Any, Any], key: str, default: Any = MISSING) -> Any:
    value = run.get(key, default)
    try:
        return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
    except OmegaConfBaseException as exc:
        raise ConfigError(key) from exc


def values_of(runs: Runs, key: str, default: Any = MISSING) -> list[Any]:
    return [value_of(run, key, default) for run in runs]


@given(configs, keys, anything)
def test_values_by_definition(configs: list[Any], key: str, default: Any) -> None:
    with written(configs) as (runs, others):
        for args in ((key,), (key, default)):
            wanted = outcome(values_of, others, *args)
            assert outcome(runs.to_data, *args) == wanted
            if wanted[0] == "[":
                wanted_values = values_of(others, *args)
                assert outcome(runs.to_series, *args) == outcome(make_series, key, wanted_values)
                assert outcome(runs.to_numpy, *args) == outcome(make_array, wanted_values)
        assert outcome(runs.to_list, key, default) == outcome(
            lambda: [run.get(key, default) for run in others]
        )


def meets(value: Any, criterion: Any) -> bool:
    if callable(criterion):
        return bool(criterion(value))
    if isinstance(value, (list, dict)):
        return bool(value == (list(criterion) if type(criterion) in (tuple, range) else criterion))
    if isinstance(criterion, (list, set, range)):
        return any(value is one or value == one for one in criterion)
    if isinstance(criterion, tuple) and value is not None:
        low, high = criterion
        if high < low:
            raise OptionError("a reversed range")
        return low <= value <= high
    return bool(value == criterion)


def filtered(runs: Runs, criteria: list[tuple[str, Any]]) -> list[str]:
    kept = list(runs)
    for key, criterion in criteria:
        look_up = Run.get if callable(criterion) else value_of
        found = [(run, look_up(run, key)) for run in kept]
        try:
            kept = [run for run, value in found if meets(value, criterion)]
        except TypeError as exc:
            raise OptionError from exc
    return [run.info.run_id for run in kept]


@given(configs, st.lists(st.tuples(keys, criteria), max_size=3))
def test_filter_by_definition(configs: list[Any], criteria: list[tuple[str, Any]]) -> None:
    with written(configs) as (runs, others):
        wanted = outcome(filtered, others, criteria)
        assert outcome(runs.filter, *criteria) == wanted
        if len(criteria) == 1 and wanted[0] == "[":
            rest = [run_id for run_id in runs.to_list("run_id") if repr(run_id) not in wanted]
            assert runs.exclude(*criteria).to_list("run_id") == rest


def is_absent(value: Any) -> bool:
    return value is None or value != value


def is_in_order(first: list[Any], second: list[Any], reverse: bool) -> bool:
    """Tell whether two neighbours, the values of keys and the position, are sorted."""
    for one, other in zip(first, second, strict=True):
        if is_absent(one) or is_absent(other):
            if not (is_absent(one) and is_absent(other)):
                return is_absent(other)
        elif one != other:
            return bool(one > other) if reverse else bool(one < other)
    raise AssertionError


@given(configs, st.lists(keys, min_size=1, max_size=2), st.booleans())
def test_sort_by_definition(configs: list[Any], keys: list[str], reverse: bool) -> None:
    with written(configs) as (runs, others):
        assume(outcome(lambda: [values_of(others, key) for key in keys])[0] == "[")
        columns = [*(values_of(others, key) for key in keys), range(len(runs))]
        try:
            for values in columns:
                present = [value for value in values if not is_absent(value)]
                assert all(isinstance(x < y, bool) for x in present for y in present)
        except TypeError:
            return  # whether those that cannot be compared meet depends on the algorithm
        assume("nan" not in repr([value for value in columns[0] if type(value) is list]))
        order = [int(run_id[3:]) for run_id in runs.sort(*keys, reverse=reverse).to_list("run_id")]
        assert sorted(order) == list(range(len(runs)))
        rows = [[column[i] for column in columns] for i in order]
        assert all(is_in_order(*pair, reverse) for pair in pairwise(rows))


def as_key(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(map(as_key, value))
    if isinstance(value, dict):
        return tuple((key, as_key(item)) for key, item in value.items())
    return math.nan if value != value else value


def grouped(runs: Runs, by: list[str]) -> list[tuple[Any, list[str]]]:
    groups: list[tuple[Any, list[str]]] = []
    columns = [list(map(as_key, values_of(runs, key))) for key in by]
    for run, values in zip(runs, zip(*columns, strict=True), strict=True):
        key = values[0] if len(by) == 1 else values
        found = [ids for known, ids in groups if known is key or known == key]
        if not found:
            groups.append((key, []))
            found = [groups[-1][1]]
        found[0].append(run.info.run_id)
    return groups


@given(configs, st.lists(keys, min_size=1, max_size=2))
def test_group_by_by_definition(configs: list[Any], by: list[str]) -> None:
    with written(configs) as (runs, others):
        wanted = outcome(grouped, others, by)
        assert wanted == outcome(
            lambda: [(key, runs.to_list("run_id")) for key, runs in runs.group_by(*by).items()]
        )
        if wanted[0] != "[":
            return
        groups = grouped(others, by)
        frame = runs.group_by(*by).agg("run_id", n=len)
        if "run_id" not in by:
            assert frame["run_id"].to_list() == [ids for _, ids in groups]
        assert frame["n"].to_list() == [len(ids) for _, ids in groups]
        first = [int(ids[0][3:]) for _, ids in groups]
        for key in set(by) - {"run_id"}:
            values = values_of(others, key)
            wanted = outcome(make_series, key, [values[i] for i in first])
            assert outcome(frame.get_column, key) == wanted


@given(configs, keys)
def test_unique_by_definition(configs: list[Any], key: str) -> None:
    with written(configs) as (runs, others):
        assume(outcome(values_of, others, key)[0] == "[")
        distinct: list[Any] = []
        for value in values_of(others, key):
            known = [as_key(one) for one in distinct]
            if as_key(value) not in known:
                distinct.append(value)
        assert runs.n_unique(key) == len(distinct)
        unique = runs.unique(key).tolist()
        assert len(unique) == len(distinct)
        assert all(as_key(value) in list(map(as_key, unique)) for value in distinct)
        numbers = [value for value in unique if isinstance(value, (int, float))]
        if len(numbers) == len(unique):
            present = [value for value in numbers if value == value]
            assert numbers[: len(present)] == sorted(present)


@given(configs, st.lists(keys, max_size=4))
def test_to_frame_by_definition(configs: list[Any], keys: list[str]) -> None:
    with written(configs) as (runs, others):
        values = {}
        absent = object()
        try:
            for key in keys:
                column = values_of(others, key, absent)
                if column and all(value is absent for value in column):
                    raise MissingKeyError
                values[key] = [None if value is absent else value for value in column]
        except (ConfigError, MissingKeyError) as exc:
            with pytest.raises(type(exc)):
                runs.to_frame(*keys)
            return
        frame = runs.to_frame(*keys) if keys else pl.DataFrame()
        assert frame.columns == list(values)
        for key, column in values.items():
            assert outcome(frame.get_column, key) == outcome(make_series, key, column)


# Best first ------------------------------------------------------------------------------


def make_scored(scores: dict[str, Any]) -> Runs:
    """Return runs, which are not on disk, with scores in their configurations by run ID."""
    runs = []
    for run_id, score in scores.items():
        run: Run[Any, Any] = Run(f"nowhere/1/{run_id}")
        run.cfg = OmegaConf.create({} if score is MISSING else {"score": score})
        runs.append(run)
    return RunCollection(runs)


def get_ids(runs: Runs) -> list[str]:
    return [run.info.run_id for run in runs]


@given(
    scores=st.dictionaries(
        st.text("abc", min_size=1),
        st.sampled_from([MISSING, None, math.nan, -math.inf, math.inf, 2**60 + 1])
        | st.integers(-2, 2)
        | st.floats(-2, 2),
    ),
    n=st.integers(0, 5),
    mode=st.sampled_from(["max", "min"]),
    seed=st.integers(),
)
def test_top_is_what_its_definition_says(
    scores: dict[str, Any], n: int, mode: str, seed: int
) -> None:
    def rank(run_id: str) -> tuple[Any, ...]:
        score = scores[run_id]
        if score is MISSING or score is None or math.isnan(score):
            return (1, 0, run_id)
        return (0, -score if mode == "max" else score, run_id)

    assume(not scores or any(rank(run_id)[0] == 0 for run_id in scores))
    expected = sorted(scores, key=rank)[:n]
    runs = make_scored(scores)
    for some in (runs, runs.shuffle(seed) if runs else runs):
        assert get_ids(some.top(n, by="score", mode=mode)) == expected
        assert get_ids(some.top(n, by=lambda r: r.get("score", None), mode=mode)) == expected
        if expected:
            assert some.best(by="score", mode=mode).info.run_id == expected[0]


def test_top_by_a_metric_and_a_default(runs: Runs) -> None:
    assert get_ids(runs.top(5, by="metrics.loss", mode="max")) == ["c", "b", "a"]
    assert get_ids(runs.top(5, by="metrics.loss", mode="min", default=MISSING)) == ["b", "c", "a"]
    assert get_ids(runs.top(2, by="metrics.loss", mode="min", default=1.5)) == ["b", "a"]
    assert get_ids(runs.top(1, by="metrics.loss", mode="max", default=lambda run: 9)) == ["a"]
    assert get_ids(runs.top(2, by=lambda run: run.impl.accuracy, mode="max")) == ["a", "b"]
    assert type(runs.top(1, by="lr", mode="max")) is RunCollection
    assert runs.best(by="lr", mode="min") is runs[2]


def test_the_best_is_the_latest_where_the_key_is_a_time(tracking_dir: TrackingDir) -> None:
    experiment = tracking_dir.add_experiment("train")
    for run_id, milliseconds in (("a", 1000), ("b", 3000), ("c", 2000)):
        tracking_dir.add_run(experiment, run_id, start_time=milliseconds)
    runs = Run.load(iter_run_dirs(tracking_dir.root))
    assert get_ids(runs.top(3, by="start_time", mode="max")) == ["b", "c", "a"]
    with pytest.raises(OptionError, match=r"cannot compare the values of .*lambda"):
        runs.top(1, by=lambda run: 1 if run.info.run_id == "a" else run.info.start_time, mode="max")


@pytest.mark.parametrize("kind", ["params", "tags"])
def test_logged_text_is_ordered_by_number_if_all_of_it_is_one(
    tracking_dir: TrackingDir, kind: str
) -> None:
    experiment = tracking_dir.add_experiment("train")
    for run_id, text in (("a", "0.10"), ("b", "1e-3"), ("c", "9"), ("d", "10"), ("e", None)):
        directory = tracking_dir.add_run(experiment, run_id)
        if text is not None:
            write(directory / kind / "lr", text)
            write(directory / kind / "mixed", "adam" if text == "9" else text)
    runs = Run.load(iter_run_dirs(tracking_dir.root))
    assert get_ids(runs.top(5, by=f"{kind}.lr", mode="max")) == ["d", "c", "a", "b", "e"]
    assert get_ids(runs.top(5, by=f"logged.{kind}.lr", mode="min")) == ["b", "a", "c", "d", "e"]
    having = runs.filter(f"{kind}.lr is not null")
    assert get_ids(having.sort(f"{kind}.lr")) == ["b", "a", "c", "d"]
    assert get_ids(having.sort(f"{kind}__lr", reverse=True)) == ["d", "c", "a", "b"]
    assert get_ids(having.sort(f"{kind}.mixed")) == ["a", "d", "b", "c"]
    assert having.to_list(f"{kind}.lr") == ["0.10", "1e-3", "9", "10"]  # it stays text
    with pytest.raises(OptionError, match=r"number or a time, run a has '0\.10'"):
        runs.top(1, by=f"{kind}.mixed", mode="max")


def make_logged(root: TrackingDir, texts: list[str]) -> RunCollection[Run[Any, Any]]:
    experiment = root.add_experiment("train")
    for i, text in enumerate(texts):
        write(root.add_run(experiment, f"r{i}", f"seed: {i}") / "params" / "lr", text)
    return Run.load(iter_run_dirs(root.root))


def test_numbers_that_python_logged_as_nan_and_inf_are_ordered(tracking_dir: TrackingDir) -> None:
    runs = make_logged(tracking_dir, ["nan", "10", "9", "-inf", "inf"])
    assert get_ids(runs.sort("params.lr")) == ["r3", "r2", "r1", "r4", "r0"]
    assert get_ids(runs.top(5, "params.lr", mode="max")) == ["r4", "r1", "r2", "r3", "r0"]


def test_logged_numbers_are_numbers_in_means_and_ranges(tracking_dir: TrackingDir) -> None:
    runs = make_logged(tracking_dir, ["10", "9", "0.5"])
    groups = runs.group_by("job_name")
    found = groups.agg(
        least=("params.lr", "min"),
        largest=("params.lr", "max"),
        mean=("params.lr", "mean"),
        first=("params.lr", "first"),
        texts=("params.lr", " ".join),
    )
    assert found.row(0) == ("train", 0.5, 10, 6.5, "10", "10 9 0.5")
    assert runs.over("seed", "params.lr").select("mean", "min", "max", "n").row(0) == (
        6.5,
        0.5,
        10.0,
        3,
    )
    assert runs.describe("params.lr").select("type", "min", "max").row(0) == ("str", "0.5", "10")


def test_top_of_nothing() -> None:
    assert len(make_scored({}).top(3, by="score", mode="max")) == 0
    with pytest.raises(
        OptionError, match="there is no best run by 'score': the collection is empty"
    ):
        make_scored({}).best(by="score", mode="max")


@pytest.mark.parametrize(
    ("by", "message"),
    [
        ("lrr", r"none of the 3 runs has a value for 'lrr'; similar keys: 'lr'"),
        (
            "model.type",
            r"cannot rank runs by 'model.type': expected a number or a time, run a has "
            r"'mlp' \(str\)",
        ),
        (lambda run: run.info.run_id == "a", r"by .*<lambda>: expected .* True \(bool\)"),
        (lambda run: math.nan, r"none of the 3 runs has a value for .* \(3 have NaN\)"),
    ],
)
def test_what_cannot_be_ranked_says_why(runs: Runs, by: Any, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        runs.best(by=by, mode="max")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": -1}, "n: expected the number of runs, 0 or more, found -1"),
        ({"n": True}, "n: expected the number of runs, 0 or more, found True"),
        ({"n": 1.0}, "n: expected the number of runs, 0 or more, found 1.0"),
        ({"mode": "largest"}, "mode: expected 'max' or 'min', found 'largest'"),
        ({"by": len, "default": 1}, "default: only valid if by is a key; return the default from"),
    ],
)
def test_bad_options_of_top(runs: Runs, options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=re.escape(message)):
        runs.top(**{"n": 1, "by": "lr", "mode": "max", **options})


@pytest.mark.parametrize(("method", "arguments"), [("best", ()), ("top", (3,))])
def test_whether_the_largest_is_the_best_has_to_be_said(
    runs: Runs, method: str, arguments: tuple[int, ...]
) -> None:
    with pytest.raises(TypeError, match=r"missing 1 required keyword-only argument: 'mode'"):
        getattr(runs, method)(*arguments, by="metrics.loss")


def test_top_reads_a_metric_of_all_runs_at_once(root: Path, files_read: FilesRead) -> None:
    runs = Run.load(iter_run_dirs(root))
    files_read.clear()
    assert runs.best(by="metrics.loss", mode="max").info.run_id == "c"
    assert files_read.counts == [3]


@pytest.mark.parametrize("missing", [MISSING, OUR_MISSING])
def test_no_default_for_a_column_of_the_whole_frame(sweep: Path, missing: Any) -> None:
    runs = Run.load(iter_run_dirs(sweep, "eval_*"))
    runs[0].update("model.dropout", 0.5)
    frame = runs.to_frame(defaults={"model.dropout": missing})
    assert frame["model.dropout"].to_list() == [0.5, None]


# Several keys in a list ------------------------------------------------------------------


def test_a_list_of_keys_is_told_how_to_be_given(sweep: Path) -> None:
    runs = Run.load(iter_run_dirs(sweep, "eval_*"))
    keys: Any = ["run_id", "seed"]
    calls: dict[str, Callable[[Any], Any]] = {
        "to_frame": runs.to_frame,
        "sort": runs.sort,
        "group_by": runs.group_by,
        "agg": runs.group_by("seed").agg,
        "concat": lambda keys: runs.concat(lambda run: pl.DataFrame(), keys),
        "Run.to_frame": lambda keys: runs[0].to_frame(lambda run: pl.DataFrame(), keys),
        "metric_histories": runs.metric_histories,
        "metric_history": runs[0].metric_history,
    }
    for call in calls.values():
        for several in (keys, tuple(keys) * 2, np.array(keys)):
            with pytest.raises(OptionError) as caught:
                call(several)
            assert str(caught.value).startswith("expected a key as text")
            assert str(caught.value).endswith(
                f", found {several!r}; give several keys one by one, or with a star, as in f(*keys)"
            )
        with pytest.raises(OptionError, match=r"found 3$"):
            call(3)
    assert runs.to_frame(*keys).columns == keys
    assert runs.to_frame(("run_id", None), ("x", 1)).columns == ["run_id", "x"]
    with pytest.raises(OptionError, match=r"or a pair of a key and its default, found \(3, 4\);"):
        runs.to_frame((3, 4))  # type: ignore[arg-type]


def test_the_beginning_of_an_id_in_place_of_the_id_is_logged(
    sweep: Path, caplog: pytest.LogCaptureFixture
) -> None:
    runs = Run.load(iter_run_dirs(sweep))
    assert len(runs.filter(run_id="13f42e9535654d01a4143ddd9be02cb7")) == 1
    assert not runs.filter(run_id="13f")  # too short
    assert not runs.filter(run_id="elsewhere")
    assert caplog.text == ""
    with pytest.raises(OptionError, match="found 0 of 31"):
        runs.get(run_id="13f42e95")
    assert (
        "filter run_id='13f42e95': run_id is compared as a whole, and '13f42e95' is only the "
        "beginning of 13f42e9535654d01a4143ddd9be02cb7; write 'run_id ~ 13f42e95*' as filter"
    ) in caplog.text
