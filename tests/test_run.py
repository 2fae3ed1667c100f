from __future__ import annotations

import copy
import functools
import os
import pickle
import re
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import MISSING, dataclass, field
from enum import Enum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf import __version__ as omegaconf_version
from omegaconf.errors import ConfigTypeError, InterpolationResolutionError

from kedro_hydraflow import Run, RunCollection, RunInfo, iter_run_dirs
from kedro_hydraflow.config import SharedLock
from kedro_hydraflow.errors import (
    ConfigError,
    ImplError,
    MissingKeyError,
    NotARunError,
    OptionError,
    RunLoadError,
)
from tests.conftest import TrackingDir, WebServer, write


def make_run(tmp_path: Path, config: str, **kwargs: Any) -> Run[Any, Any]:
    write(tmp_path / "run" / "artifacts/.hydra/config.yaml", config)
    return Run(tmp_path / "run", **kwargs)


def get_plain(run: Run[Any, Any], key: str, default: Any = MISSING) -> Any:
    (value,) = RunCollection([run]).to_data(key, default)
    return value


class Impl:
    """An implementation with attributes that hide those of the run, a method among them."""

    label_of_impl = "class attribute"

    def __init__(self, artifacts_dir: Path) -> None:
        self.artifacts_dir = artifacts_dir
        self.seed = "of the implementation"
        self.job_name = "of the implementation"

    def status(self) -> str:
        return "a method"


# get -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("model.type", "mlp"),
        ("model__type", "mlp"),
        ("model", {"type": "mlp", "hidden_size": 64, "layers": [1, 2]}),
        ("model.layers", [1, 2]),
        ("model.layers[1]", 2),
        ("model.layers.0", 1),
        ("nothing", None),
        ("alias", "mlp"),
        ("label", "mlp-42"),
        ("seed", 42),  # of the configuration, though the implementation has one too
        ("label_of_impl", "class attribute"),
        ("job_name", "of the implementation"),
        ("status", "FINISHED"),  # of the info: that of the implementation is a method
        ("run_id", "abc"),
        ("experiment_id", "1"),
        ("metrics.loss", 0.25),
        ("metrics__loss", 0.25),
        ("metrics.val/acc.top1", 0.9),
        ("metrics.a__b", 3.0),
        ("params.model.type", "mlp"),
        ("tags.mlflow.user", "alice"),
        ("metrics", {"loss": 0.25, "val/acc.top1": 0.9, "a__b": 3.0}),
    ],
)
def test_get(run_dir: Path, key: str, expected: Any) -> None:
    run = Run(run_dir, Impl)
    assert run.get(key) == expected
    assert run[key] == expected


def test_get_gives_containers_of_omegaconf(run: Run[Any, Any]) -> None:
    assert isinstance(run.get("model"), DictConfig)
    assert isinstance(run.get("model.layers"), ListConfig)
    assert run.get("model") is run.cfg.model


class CallableImpl:
    def __init__(self, artifacts_dir: Path) -> None:
        self.cfg = self.info = self.run = "an attribute"

    def __call__(self) -> None:
        """Makes the implementation itself callable."""


def test_get_gives_objects_even_if_they_are_callable(run_dir: Path) -> None:
    run = Run(run_dir, CallableImpl)
    assert run.get("impl") is run.impl
    assert run.get("cfg") is run.cfg
    assert run.get("info") is run.info
    assert run.get("run") is run
    assert run.get("run.speed", None) is None


def test_the_configuration_wins_over_objects(tmp_path: Path) -> None:
    run = make_run(tmp_path, "impl: fast\ncfg: {a: 1}\n")
    assert run.get("impl") == "fast"
    assert run.get("cfg") == {"a": 1}


@pytest.mark.parametrize("key", ["unknown", "model.unknown", "seed.unknown", "unset", "to_dict"])
@pytest.mark.parametrize(
    ("default", "expected"), [(None, None), (5, 5), (lambda run: run.get("seed") + 1, 43)]
)
def test_get_default(run: Run[Any, Any], key: str, default: Any, expected: Any) -> None:
    assert run.get(key, default) == expected


@pytest.mark.parametrize(
    "key", ["_configuration", "_impl", "get_configuration", "__class__", "model.layers.x"]
)
def test_get_gives_no_internals(run: Run[Any, Any], key: str) -> None:
    assert run.get(key, "default") == "default"


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("model.typ", "cfg, impl or info (similar keys: 'model.type', "),
        ("hidden_size", "cfg, impl or info (similar keys: 'model.hidden_size'"),
        ("job_nam", "cfg, impl or info (similar keys: 'job_name'"),
        ("artifacts_di", "cfg, impl or info (similar keys: 'artifacts_dir'"),
        ("metrics.los", "cfg or the logged metrics (similar keys: 'metrics.loss'"),
        ("params.los", "cfg or the logged params (similar keys: 'metrics.loss'"),
        ("tags.los", "cfg or the logged tags (similar keys: 'metrics.loss'"),
        ("hydra.los", "cfg or Hydra's own configuration ("),
        ("cfg.lrr", "cfg ("),
        ("cfg.model.typ", "cfg (similar keys: 'model.type', "),
        ("info.job_nam", "info (similar keys: 'job_name'"),
        ("impl.artifacts_di", "impl (similar keys: 'artifacts_dir'"),
        ("logged.metrics.los", "the logged metrics (similar keys: 'metrics.loss'"),
        ("zzz", "cfg, impl or info (no similar keys"),
    ],
)
def test_missing_key(run_dir: Path, key: str, nearest: str) -> None:
    with pytest.raises(AttributeError) as raised:
        Run(run_dir, Impl).get(key)
    assert type(raised.value) is MissingKeyError
    message = str(raised.value)
    assert message.startswith(f"run abc: no such key: {key!r} in {nearest}")
    assert message.endswith("; a default, where one can be given, allows for it")


@pytest.mark.parametrize("key", ["broken", "broken.x"])
def test_unresolvable_interpolation(run: Run[Any, Any], key: str) -> None:
    message = f"run abc: cannot resolve the key '{key}': Interpolation key 'nowhere' not found"
    for get in (run.get, functools.partial(get_plain, run)):
        with pytest.raises(ConfigError, match=re.escape(message)):
            get(key, "a default does not hide it")
    assert run.get("seed") == 42


def test_unknown_resolver_concerns_its_key_alone(tmp_path: Path) -> None:
    run = make_run(tmp_path, "home: ${gone:HOME}\nlr: 0.1\npaths: ['${gone:X}']\n")
    assert run.get("lr") == 0.1
    with pytest.raises(ConfigError, match="key 'home': Unsupported interpolation type gone"):
        run.get("home")
    with pytest.raises(ConfigError, match="key 'paths': Unsupported interpolation type gone"):
        get_plain(run, "paths")


REGISTER = "register_new_resolver" if omegaconf_version.startswith("2.3") else "register_resolver"
ADVICE = (
    "there is no resolver '{name}': to read the value, register one before with "
    f'OmegaConf.{REGISTER}("{{name}}", ...)'
)


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        (
            "${now:%Y-%m-%d}",
            "Hydra has the resolver 'now' only in an application: what it gave when the run began "
            "was not recorded",
        ),
        (
            "a/${hydra:job.name}",
            "Hydra has the resolver 'hydra' only in an application: of Hydra's own configuration, "
            "the keys 'hydra.*' are what was recorded",
        ),
        ("${seed.${mine:1}}", ADVICE.format(name="mine")),
        ("${other}", ADVICE.format(name="mine.own")),
    ],
)
def test_an_unknown_resolver_is_named_with_what_to_do(
    tmp_path: Path, text: str, advice: str
) -> None:
    run = make_run(
        tmp_path, f"x: {text}\nother: ${{mine.own:}}\nnested: {{x: ['{text}']}}\nseed: 1\n"
    )
    expected = f"; {advice}"
    runs = RunCollection([run])
    for key, read in (("x", run.get), ("x", runs.to_data), ("nested", runs.to_data)):
        with pytest.raises(ConfigError) as caught:
            read(key)
        message = str(caught.value)
        assert message.startswith(
            f"run run: cannot resolve the key '{key}': Unsupported interpolat"
        )
        assert message.endswith(expected)


def test_a_resolver_may_be_registered_after_the_load(tmp_path: Path) -> None:
    run = make_run(tmp_path, "x: ${registered_later:3}\n")
    with pytest.raises(ConfigError, match="there is no resolver 'registered_later'"):
        run.get("x")
    getattr(OmegaConf, REGISTER)("registered_later", lambda value: value + 1)
    try:
        assert run.get("x") == 4
    finally:
        OmegaConf.clear_resolver("registered_later")


def test_a_run_without_config_is_empty(tmp_path: Path) -> None:
    run = Run(tmp_path)
    assert run.cfg == {}
    assert run.to_dict() == {}
    assert run.get("lr", 1) == 1
    assert run.info.job_name == ""


def test_recorded_values_are_the_callers_own(run: Run[Any, Any]) -> None:
    run.metrics["loss"] = -1.0
    assert run.metrics["loss"] == 0.25


@pytest.mark.parametrize("run_dir_type", [str, Path])
def test_nothing_is_read_in_advance(tmp_path: Path, run_dir_type: Callable[[Path], Any]) -> None:
    run = Run(run_dir_type(tmp_path / "gone"))
    assert run.info.run_id == "gone"
    assert repr(run) == "Run('gone')"
    assert repr(Run(tmp_path / "gone", Impl)) == "Run[Impl]('gone')"
    assert repr(Run(tmp_path / "gone", lambda path: path)) == "Run('gone')"


def test_an_unreadable_config_is_named(tmp_path: Path) -> None:
    run = make_run(tmp_path, "a: [1\n")
    for use in (lambda: run.cfg, lambda: run.get("a"), run.to_dict):
        with pytest.raises(ConfigError) as raised:
            use()
        assert str(raised.value).startswith(f"{tmp_path / 'run/artifacts/.hydra/config.yaml'}: ")


# impl ----------------------------------------------------------------------------------


@pytest.mark.parametrize("attribute", ["impl", "cfg"])
def test_built_once_in_many_threads(run_dir: Path, attribute: str) -> None:
    barrier = threading.Barrier(8)
    built = []

    def build(artifacts_dir: Path) -> object:
        built.append(artifacts_dir)
        return object()

    run = Run(run_dir, build)

    def use(_: int) -> Any:
        barrier.wait()
        return getattr(run, attribute)

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(use, range(8)))
    assert all(result is results[0] for result in results)
    assert len(built) == (1 if attribute == "impl" else 0)


# config_class --------------------------------------------------------------------------


class Optimizer(Enum):
    SGD = 1
    ADAM = 2


@dataclass
class Training:
    lr: float = 0.1
    epochs: int = 10
    optimizer: Optimizer = Optimizer.SGD


@dataclass
class Config:
    training: Training = field(default_factory=Training)
    seed: int = 1
    data: Path | None = None
    required: str = "???"


# Evaluated by OmegaConf, which cannot read the new syntax on Python 3.10 with 2.3.
Config.__annotations__.update(training=Training, seed=int, required=str)


def test_config_class_merges_defaults_and_converts(tmp_path: Path) -> None:
    run = make_run(tmp_path, "training: {lr: 1, optimizer: ADAM}\n", config_class=Config)
    assert run.get("training.lr") == 1.0
    assert type(run.get("training.lr")) is float
    assert run.get("training.epochs") == 10
    assert run.get("training.optimizer") is Optimizer.ADAM
    assert run.get("required", "missing") == "missing"
    assert OmegaConf.get_type(run.cfg) is Config
    assert run.to_dict()["seed"] == 1


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (
            "training: {epochs: many}",
            "Value 'many' of type 'str' could not be converted to Integer",
        ),
        ("training: {momentum: 1}", "Key 'momentum' not in 'Training'"),
        ("seed: [1]", "seed"),
    ],
)
@pytest.mark.parametrize(
    ("use", "error"),
    [
        (lambda run: run.get("training.lr"), ConfigError),
        (lambda run: Run.load([run.info.run_dir], config_class=Config), RunLoadError),
    ],
)
def test_config_class_names_file_and_key(
    tmp_path: Path, config: str, reason: str, use: Callable[[Any], Any], error: type[Exception]
) -> None:
    run = make_run(tmp_path, config, config_class=Config)
    with pytest.raises(error) as raised:
        use(run)
    message = str(raised.value)
    assert f"{tmp_path / 'run/artifacts/.hydra/config.yaml'}: " in message
    assert "the configuration does not fit Config: " in message
    assert reason in message
    assert "full_key: " in message


def test_config_class_checks_updates(tmp_path: Path) -> None:
    run = make_run(tmp_path, "seed: 3\n", config_class=Config)
    with pytest.raises(ValueError, match="could not be converted to Integer"):
        run.update("seed", "many", force=True)
    run.update("seed", "5", force=True)
    assert run.get("seed") == 5


# update --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value", "force", "expected"),
    [
        ("new", 1, False, {"new": 1}),
        ("new.deep.key", "x", False, {"new": {"deep": {"key": "x"}}}),
        ("model__width", 3, False, {"model": {"width": 3}}),
        ("seed", 1, False, {"seed": 42}),
        ("seed", 1, True, {"seed": 1}),
        ("nothing", 1, False, {"nothing": None}),
        ("unset", 1, False, {"unset": 1}),
        ("broken", 1, True, {"broken": 1}),
        ("new", [1, {"a": 2}], False, {"new": [1, {"a": 2}]}),
        ("new", {"a": {"b": [1]}}, False, {"new": {"a": {"b": [1]}}}),
        ("new", "${seed}", False, {"new": "${seed}"}),
        ("new", lambda run: run.get("seed") * 2, False, {"new": 84}),
        ("seed", lambda run: run.get("seed") * 2, True, {"seed": 84}),
        ("seed", lambda run: 1 / 0, False, {"seed": 42}),  # not needed, so not called
        (("seed", "new"), (1, 2), False, {"seed": 42, "new": 2}),
        (("seed", "new"), (1, 2), True, {"seed": 1, "new": 2}),
        (("a__b", "a.c"), lambda run: iter([1, 2]), False, {"a": {"b": 1, "c": 2}}),
        (("seed", "lr"), lambda run: 1 / 0, False, {"seed": 42, "lr": 0.1}),
        (("a", "a.b"), ({"b": 1}, 2), False, {"a": {"b": 1}}),
        ("new", np.float64(0.5), False, {"new": 0.5}),
        ("new", np.arange(3), False, {"new": [0, 1, 2]}),
        ("new", None, False, {"new": None}),
        ("new", Path("x/y"), False, {"new": Path("x/y")}),
    ],
)
@pytest.mark.parametrize("built", [False, True])
def test_update(
    run: Run[Any, Any], key: Any, value: Any, force: bool, expected: dict[str, Any], built: bool
) -> None:
    before = run.to_dict(flatten=False)
    if built:
        assert run.cfg
    run.update(key, value, force=force)
    after = run.to_dict(flatten=False)
    for name, value_after in expected.items():
        if isinstance(value_after, dict) and name in before:
            value_after = {**before[name], **value_after}
        assert after.pop(name) == value_after
        before.pop(name, None)
    assert after == before


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        ("ab", TypeError, "expected an iterable of 2 values, found 'ab'"),
        (lambda run: 5, TypeError, "expected an iterable of 2 values, found 5"),
        ([1], OptionError, "expected 2 values for the keys 'a', 'b', found 1"),
        ([1, 2, 3], OptionError, "expected 2 values for the keys 'a', 'b', found 3"),
    ],
)
def test_update_refuses(
    run: Run[Any, Any], value: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=re.escape(message)):
        run.update(("a", "b"), value)
    assert run.get("a", None) is None  # nothing is half done


@pytest.mark.parametrize(
    ("key", "value"),
    [("metrics.accuracy", 0), ("metrics.5", 0), ("x", object()), (3, 1), (("x", None), (1, 2))],
)
def test_what_cannot_be_set_is_an_error(tmp_path: Path, key: Any, value: Any) -> None:
    write(tmp_path / "artifacts/.hydra/config.yaml", "metrics: [acc, f1]\n")
    with pytest.raises(OptionError):
        Run(tmp_path).update(key, value, force=True)


def test_updates_of_numpy_numbers_stay_plain(run: Run[Any, Any]) -> None:
    run.update("mean", lambda run: np.mean([1, 2]))
    assert type(run.get("mean")) is float
    assert type(run.cfg.mean) is float


names = st.sampled_from(["a", "b", "c"])


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 5),
    st.floats(allow_nan=False),
    st.text("ab $?", max_size=3),
    st.sampled_from(["${a}", "${a.b}", "${b}-${c}", "${nowhere}", "???", "1e3", "no"]),
)


data = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)


keys = st.lists(names, min_size=1, max_size=3).map(".".join)


updates = st.lists(st.tuples(st.integers(0, 3), keys, data, st.booleans()), max_size=6)


def select(cfg: DictConfig, key: str) -> Any:
    """Return what `Run.get` has to give: nothing lies below a list by name."""
    try:
        return OmegaConf.select(cfg, key, default="missing")
    except ConfigTypeError:
        return "missing"
    except (InterpolationResolutionError, RecursionError):
        return "unresolvable"


def get(run: Run[Any, Any], key: str) -> Any:
    try:
        return run.get(key, "missing")
    except ConfigError:
        return "unresolvable"


def has_equal_text(left: Any, right: Any) -> bool:
    return str(left) == str(right)  # equality resolves interpolations, text does not


def test_copies_of_copies_are_independent(tracking_dir: TrackingDir) -> None:
    """Copies share what was read until one of them is used."""
    experiment = tracking_dir.add_experiment("train")
    tracking_dir.add_run(experiment, "a", "model: {type: mlp}\nlr: 1\n")
    (run,) = Run.load(iter_run_dirs(tracking_dir.root))
    runs = [run, copy.deepcopy(run)]
    runs += [copy.copy(runs[1]), copy.deepcopy(runs[1]), pickle.loads(pickle.dumps(runs[1]))]
    runs[2].get("model").type = "cnn"
    runs[3].update("lr", 2, force=True)
    runs[4].cfg.lr = 3
    again = copy.deepcopy(runs[3])
    again.update("lr", 4, force=True)
    found = [(seen.get("model.type"), seen.get("lr")) for seen in (*runs, again)]
    assert found == [("mlp", 1), ("mlp", 1), ("cnn", 1), ("mlp", 2), ("mlp", 3), ("mlp", 4)]
    assert run.get("model") is run.cfg.model


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_does_not_wait_for_a_thread_of_its_parent(tmp_path: Path) -> None:
    lock = SharedLock()
    with lock:  # as another thread would hold it
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            with lock, lock:
                os._exit(0)
        assert os.waitpid(child, 0)[1] == 0


def test_none_is_no_configuration(run_dir: Path) -> None:
    with pytest.raises(OptionError, match=r"cfg: expected a configuration, found None"):
        Run(run_dir).cfg = None


def test_threads_that_use_a_copy_see_one_configuration(tracking_dir: TrackingDir) -> None:
    experiment = tracking_dir.add_experiment("train")
    for i in range(50):
        tracking_dir.add_run(experiment, f"r{i:02}", "model: {type: mlp}\n")
    runs = copy.deepcopy(Run.load(iter_run_dirs(tracking_dir.root)))
    with ThreadPoolExecutor(8) as threads:
        for run in runs:
            barrier = threading.Barrier(8, timeout=20)

            def use(run: Run = run, barrier: threading.Barrier = barrier) -> int:
                barrier.wait()
                return id(run.cfg)

            futures = [threads.submit(use) for _ in range(8)]
            assert {future.result() for future in futures} == {id(run.cfg)}


@given(st.dictionaries(names, data, max_size=3), updates, st.sampled_from(["deepcopy", "pickle"]))
def test_updates_equal_omegaconf_and_reach_no_other_run(
    config: dict[str, Any],
    updates: list[tuple[int, str, Any, bool]],
    way: str,
) -> None:
    text = OmegaConf.to_yaml(OmegaConf.create(config))
    with TemporaryDirectory() as root:
        run_dirs = [Path(root, name) for name in ("x", "y")]
        for run_dir in run_dirs:
            write(run_dir / "artifacts/.hydra/config.yaml", text)
        runs = Run.load(run_dirs)  # which share what they read
    copies = copy.deepcopy(runs) if way == "deepcopy" else pickle.loads(pickle.dumps(runs))
    ours = [*runs, *copies]
    theirs = [OmegaConf.create(config) for _ in ours]

    for i, key, value, force in updates:
        try:
            if force or OmegaConf.select(theirs[i], key, default=MISSING) is MISSING:
                OmegaConf.update(theirs[i], key, value, force_add=True)
        except Exception:
            return  # no result to compare with: a name below a list, say
        try:
            ours[i].update(key, value, force=force)
        except OptionError:  # OmegaConf has replaced the value in the way
            assert not force
            return
        for our, their in zip(ours, theirs, strict=True):
            assert our.to_dict(flatten=False) == OmegaConf.to_container(their)
            assert has_equal_text(get(our, key), select(their, key))
    for our, their in zip(ours, theirs, strict=True):
        assert has_equal_text(our.cfg, their)


# the user's own changes of cfg ---------------------------------------------------------


def test_changes_of_cfg_are_seen_everywhere(run: Run[Any, Any]) -> None:
    run.cfg.model.type = "cnn"
    for seen in (run, copy.deepcopy(run), copy.copy(run), pickle.loads(pickle.dumps(run))):
        assert seen.get("model.type") == "cnn"
        assert get_plain(seen, "model")["type"] == "cnn"
        assert seen.to_dict()["model.type"] == "cnn"
        assert RunCollection([seen]).to_frame("model.type").item() == "cnn"
        assert RunCollection([seen]).to_frame()["model.type"].item() == "cnn"
        assert seen.cfg == run.cfg


@pytest.mark.parametrize(
    "make_copy", [copy.copy, copy.deepcopy, lambda run: pickle.loads(pickle.dumps(run))]
)
@pytest.mark.parametrize("built", [False, True])
def test_a_copy_is_independent(
    run: Run[Any, Any], make_copy: Callable[[Any], Run[Any, Any]], built: bool
) -> None:
    if built:
        assert run.cfg
    copied = make_copy(run)
    copied.update("seed", 1, force=True)
    copied.update("model.layers", [9], force=True)
    run.update("lr", 9, force=True)
    assert (run.get("seed"), run.get("model.layers"), run.get("lr")) == (42, [1, 2], 9)
    assert (copied.get("seed"), copied.get("model.layers"), copied.get("lr")) == (1, [9], 0.1)
    assert copied.info.run_dir == run.info.run_dir


def test_a_copy_builds_its_own_impl_and_keeps_what_was_read(run_dir: Path) -> None:
    run = Run(run_dir, Impl)
    assert run.impl
    assert run.metrics["loss"] == 0.25
    copied = copy.deepcopy(run)
    pickled = pickle.loads(pickle.dumps(run))
    (run_dir / "metrics/loss").unlink()
    for other in (copied, pickled):
        assert isinstance(other.impl, Impl)
        assert other.impl is not run.impl
        assert other.metrics["loss"] == 0.25


C = TypeVar("C")
I = TypeVar("I")  # noqa: E741


class MyRun(Run[C, I]):
    """A subclass with an attribute and a property."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.notes = ["a"]

    @property
    def doubled(self) -> int:
        return 2 * int(self.get("seed"))


def test_a_subclass_keeps_its_class_and_attributes(run_dir: Path) -> None:
    run = MyRun[Config, Any](run_dir)  # typing sets an attribute on it
    for copied in (copy.deepcopy(run), pickle.loads(pickle.dumps(run))):
        assert type(copied) is MyRun
        assert copied.get("doubled") == 84
        copied.notes.append("b")
        assert run.notes == ["a"]
    assert type(MyRun.load(run_dir)) is MyRun
    assert [type(run) for run in MyRun.load([run_dir])] == [MyRun]


# to_dict, to_frame ----------------------------------------------------------------------


def test_to_dict(tmp_path: Path) -> None:
    config = "a: 1\nb: {c: [1, {d: 2}], e: {}}\nf: ${a}\n3: x\n"
    run = make_run(tmp_path, config)
    assert run.to_dict() == {"a": 1, "b.c": [1, {"d": 2}], "f": "${a}", "3": "x"}
    nested = run.to_dict(flatten=False)
    assert nested == {"a": 1, "b": {"c": [1, {"d": 2}], "e": {}}, "f": "${a}", "3": "x"}
    nested["b"]["c"][1]["d"] = 9
    assert run.get("b.c[1].d") == 2


def test_to_dict_refuses_what_is_no_mapping(run: Run[Any, Any]) -> None:
    run.cfg = ListConfig([1, 2])
    with pytest.raises(TypeError, match="expected a mapping as configuration, found list"):
        run.to_dict()


def test_to_frame(run: Run[Any, Any]) -> None:
    frame = run.to_frame(
        lambda r: pl.DataFrame({"x": [r.get("seed"), 2]}),
        "run_id",
        "model.layers",
        ("y", 3),
        ("z", lambda r: r.get("lr")),
        ("seed", 0),
    )
    assert frame.to_dict(as_series=False) == {
        "x": [42, 2],
        "run_id": ["abc", "abc"],
        "model.layers": [[1, 2], [1, 2]],
        "y": [3, 3],
        "z": [0.1, 0.1],
        "seed": [42, 42],
    }
    with pytest.raises(MissingKeyError, match="run abc: no such key: 'other'"):
        run.to_frame(lambda r: frame, "other")


def test_to_frame_impl(run_dir: Path) -> None:
    run = Run(run_dir, Impl)
    frame = run.to_frame_impl(lambda impl: pl.DataFrame({"x": [impl.seed]}), "lr")
    assert frame.rows() == [("of the implementation", 0.1)]


def test_every_kind_of_storage(run_dir: Path, publish: Callable[[Path], str]) -> None:
    (published,) = iter_run_dirs(publish(run_dir.parent.parent))
    run = Run.load(published)
    for seen in (run, copy.deepcopy(run), pickle.loads(pickle.dumps(run))):
        assert seen.get("model.type") == "mlp"
        assert seen.get("job_name") == "train"
        assert seen.get("metrics.loss") == 0.25
        assert [p.name for p in seen.glob("*.txt")] == ["a.txt"]


# A working directory that changes -------------------------------------------------------


@pytest.fixture
def relative_run(tracking_dir: TrackingDir, monkeypatch: pytest.MonkeyPatch) -> Run[Any]:
    """A run at a relative path, which later means something else."""
    experiment = tracking_dir.add_experiment("train")
    tracking_dir.add_run(experiment, "a", "x: 1\n", {"accuracy": "1 0.5 0\n"})
    monkeypatch.chdir(tracking_dir.root.parent)
    run = Run("mlruns/1/a")
    monkeypatch.chdir("/")
    return run


def test_a_relative_run_is_read_from_where_it_was(relative_run: Run[Any]) -> None:
    assert relative_run.info.run_dir == Path("mlruns/1/a")
    assert relative_run.get("x") == 1
    assert relative_run.metrics == {"accuracy": 0.5}
    assert relative_run.info.job_name == "train"


def test_a_pickled_relative_run_is_read_from_where_it_was(relative_run: Run[Any]) -> None:
    assert pickle.loads(pickle.dumps(relative_run)).get("x") == 1


def test_jobs_read_from_the_working_directory_of_the_call(
    tracking_dir: TrackingDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_dirs = [f"mlruns/1/{i}" for i in range(70)]
    for place in ("one", "two"):
        inner = TrackingDir(tracking_dir.root / place / "mlruns")
        experiment = inner.add_experiment("train")
        for i in range(70):
            inner.add_run(experiment, str(i), f"place: {place}\n")
        monkeypatch.chdir(tracking_dir.root / place)
        assert set(Run.load(run_dirs, n_jobs=2).to_list("place")) == {place}


def test_the_current_directory_as_a_run(
    tracking_dir: TrackingDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_dir = tracking_dir.add_run(tracking_dir.add_experiment("train"), "a", "x: 1\n")
    monkeypatch.chdir(run_dir)
    run = Run(".")
    assert (run.get("x"), run.info.status, run.info.job_name) == (1, "FINISHED", "train")


@pytest.mark.parametrize("n_jobs", [None, 0, 2])
def test_a_run_directory_that_is_not_there_is_logged(
    tracking_dir: TrackingDir, caplog: pytest.LogCaptureFixture, n_jobs: int | None
) -> None:
    typo = str(tracking_dir.root / "typo")
    if n_jobs is None:
        assert Run(typo).cfg == {}
        expected = f"there is no run directory {typo}; its configuration is empty"
    else:
        assert Run.load([typo] * 40, n_jobs=n_jobs)[0].cfg == {}
        expected = (
            "there are no run directories for 40 runs; their configurations are empty. The first "
            f"is {typo}"
        )
    assert caplog.messages == [expected]


def test_a_run_without_configuration_is_not_logged(
    tracking_dir: TrackingDir, caplog: pytest.LogCaptureFixture
) -> None:
    run_dir = tracking_dir.add_run(tracking_dir.add_experiment("train"), "a", None)
    assert Run(run_dir).cfg == {}
    assert caplog.messages == []


class Properties:
    def __init__(self, artifacts_dir: Path) -> None:
        self.artifacts_dir = artifacts_dir

    @property
    def score(self) -> float:
        return float((self.artifacts_dir / "score.txt").read_text())

    @property
    def odd(self) -> float:
        return self.artifacts_dir.no_such_attribute  # type: ignore[attr-defined,no-any-return]


@pytest.mark.parametrize(
    ("key", "cause"), [("score", "FileNotFoundError"), ("odd", "AttributeError")]
)
def test_an_error_in_a_property_of_impl_names_the_run(
    tracking_dir: TrackingDir, key: str, cause: str
) -> None:
    run_dir = tracking_dir.add_run(tracking_dir.add_experiment("e"), "a")
    with pytest.raises(ImplError, match=rf"run a: Properties\.{key} failed: {cause}"):
        Run(run_dir, Properties).get(key, 1)


def test_cfg_may_be_replaced_by_a_mapping(tracking_dir: TrackingDir) -> None:
    run = Run(tracking_dir.add_run(tracking_dir.add_experiment("e"), "a", "x: 1\n"))
    run.cfg = {"x": {"y": 2}}
    assert run.get("x.y") == 2


def test_a_config_class_that_omegaconf_refuses_is_named(tracking_dir: TrackingDir) -> None:
    @dataclass
    class Bad:
        x: "NoSuchName"  # type: ignore[name-defined]  # noqa: F821, UP037

    run = Run(tracking_dir.add_run(tracking_dir.add_experiment("e"), "a"), config_class=Bad)
    with pytest.raises(ConfigError, match=r"Bad is no config_class for OmegaConf: .*NoSuchName"):
        run.get("x")


@pytest.mark.parametrize("level", ["", "/1"])
@pytest.mark.parametrize("kind", ["file", "database", "artifacts"])
def test_a_directory_with_runs_below_it_is_not_a_run(
    tracking_dir: TrackingDir, publish: Callable[[Path], str], kind: str, level: str
) -> None:
    run_id = "0" * 32 if kind != "file" else "any name"
    run_dir = tracking_dir.add_run(tracking_dir.add_experiment("train"), run_id, "x: 1\n")
    if kind != "file":
        (run_dir / "meta.yaml").unlink()
        (run_dir.parent / "meta.yaml").unlink()
    location = publish(tracking_dir.root).replace("mlruns", f"mlruns{level}", 1)
    run = Run.load(location)  # nothing is read yet
    message = r"is not a run directory, but one with runs below it: .* to iter_run_dirs"
    for _ in range(2):
        with pytest.raises(NotARunError, match=message):
            _ = run.cfg
        for read in READERS:
            with pytest.raises(NotARunError, match=message):
                read(Run(location))
            with pytest.raises(NotARunError, match=message):
                read(run)
    with pytest.raises(NotARunError, match=message):
        run.get("x", None)


READERS: list[Callable[[Run[Any]], Any]] = [
    lambda run: run.metrics,
    lambda run: run.params,
    lambda run: run.tags,
    lambda run: run.metric_history("loss"),
    lambda run: run.overrides,
    lambda run: run.hydra,
    lambda run: run.info.status,
    lambda run: run.info.run_name,
    lambda run: run.info.start_time,
    lambda run: run.info.end_time,
    lambda run: run.info.lifecycle_stage,
    lambda run: run.info.parent_run_id,
    lambda run: RunInfo(run.info.run_dir).status,
]
"""What is nothing, or an error, where there is no run."""


@pytest.mark.parametrize("read", READERS)
def test_what_is_no_run_has_no_record(
    tmp_path: Path, publish: Callable[[Path], str], read: Callable[[Run[Any]], Any]
) -> None:
    write(tmp_path / "mlruns/notes/todo.txt", "")
    run = Run(publish(tmp_path / "mlruns").replace("mlruns", "mlruns/notes", 1))
    for _ in range(2):
        with pytest.raises(NotARunError, match=r"is not a run directory: .*, found todo\.txt$"):
            read(run)
    with pytest.raises(NotARunError):
        read(pickle.loads(pickle.dumps(run)))


@pytest.mark.parametrize("read", READERS)
def test_a_directory_above_jobs_of_hydra_has_no_record(read: Callable[[Run[Any]], Any]) -> None:
    with pytest.raises(NotARunError, match="with output directories of Hydra below it"):
        read(Run("examples/data/hydra/multirun"))


def test_the_record_of_an_absent_run_is_empty_and_logged_once(
    tracking_dir: TrackingDir, caplog: pytest.LogCaptureFixture
) -> None:
    typo = tracking_dir.root / "1/typo"
    run = Run(typo)
    assert (run.metrics, run.tags, run.info.status) == ({}, {}, None)
    assert caplog.messages == [f"there is no run directory {typo}; its MLflow record is empty"]
    caplog.clear()
    runs = RunCollection(Run(typo) for _ in range(3))
    with pytest.raises(MissingKeyError, match="none of the 3 runs has the metric 'loss'; there"):
        runs.metric_histories("loss")
    assert len(runs.parents()) == 3
    assert caplog.messages == [
        "there are no run directories for 3 runs; their MLflow records are empty. The first is "
        f"{typo}",
    ]
    caplog.clear()
    (loaded,) = Run.load([typo])
    assert (loaded.metrics, loaded.info.status) == ({}, None)
    assert caplog.messages == [f"there is no run directory {typo}; its configuration is empty"]


def test_a_run_is_looked_at_only_if_nothing_is_found(
    tracking_dir: TrackingDir, serve: Callable[[Path], WebServer]
) -> None:
    run_dir = tracking_dir.add_run(
        tracking_dir.add_experiment("train"), "a", "x: 1\n", {"loss": "1 0.5 0\n"}
    )
    write(run_dir / "tags/stage", "sweep")
    web = serve(tracking_dir.root)
    url = f"{web.url}/1/a"

    def count_listings(run: Run[Any]) -> int:
        web.requests.clear()
        assert run.info.parent_run_id is None
        return web.count("/1/a/")

    assert count_listings(Run(url)) == 1
    known = [Run(url) for _ in range(4)]
    assert known[0].metrics == {"loss": 0.5}
    assert known[1].info.status == "FINISHED"
    assert known[2].cfg == {"x": 1}
    assert [count_listings(run) for run in known] == [1, 0, 0, 1]
    assert [count_listings(run) for run in known] == [0, 0, 0, 0]
    assert count_listings(Run.load([url])[0]) == 0
    assert count_listings(Run.load(iter_run_dirs(web.url))[0]) == 0


def test_an_update_destroys_nothing_without_force(tmp_path: Path) -> None:
    run = make_run(tmp_path, "model: mlp\nseed: 42\nnothing: null\nlayers: [1, 2]\n")
    message = r"cannot set 'model.dropout.rate', because 'model' is 'mlp'; with force=True it is re"
    with pytest.raises(OptionError, match=message):
        run.update("model.dropout.rate", 0.0)
    with pytest.raises(OptionError, match="'seed' is 42"):
        run.update(("other", "seed.offset"), (1, 2))
    assert (run.get("model"), run.get("seed")) == ("mlp", 42)
    run.update("nothing.here", 1)
    run.update("model.dropout", 0.5, force=True)
    assert (run.get("nothing.here"), run.get("model.dropout")) == (1, 0.5)


def test_a_file_is_not_a_run(tmp_path: Path) -> None:
    write(tmp_path / "meta.yaml", "")
    with pytest.raises(NotARunError, match=r"meta.yaml is not a run directory, but a file"):
        _ = Run(tmp_path / "meta.yaml").cfg
    with pytest.raises(RunLoadError, match=r"meta.yaml is not a run directory, but a file"):
        Run.load([tmp_path / "meta.yaml"])


def test_a_folder_that_is_no_run_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert Run(tmp_path).cfg == {}
    assert f"{tmp_path} is not a run directory: expected a directory" in caplog.text
    assert "its configuration is empty" in caplog.text


def test_a_run_is_not_iterable(run: Run[Any, Any]) -> None:
    with pytest.raises(TypeError, match="not iterable"):
        iter(run)  # type: ignore[call-overload]
