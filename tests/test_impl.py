"""Building what an `impl_factory` makes of a run."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from kedro_hydraflow import Run, RunCollection
from kedro_hydraflow.errors import ConfigError, ImplError
from kedro_hydraflow.frames import make_frame_by_spelling
from kedro_hydraflow.impl import takes_config
from tests.conftest import write


class OneParameter:
    def __init__(self, artifacts_dir: Path) -> None:
        self.arguments = (artifacts_dir,)


class KeywordOnly:
    def __init__(self, artifacts_dir: Path, *, cfg: Any = None, device: str = "cpu") -> None:
        assert cfg is None
        self.arguments = (artifacts_dir,)


class TwoParameters:
    def __init__(self, artifacts_dir: Path, cfg: Any, *, device: str = "cpu") -> None:
        self.arguments = (artifacts_dir, cfg)


class OptionalSecond:
    def __init__(self, artifacts_dir: Path, cfg: Any = None) -> None:
        self.arguments = (artifacts_dir, cfg)


@dataclass
class DataclassImpl:
    artifacts_dir: Path
    cfg: Any
    seen: list[int] = field(default_factory=list, init=False)

    @property
    def arguments(self) -> tuple[Any, ...]:
        return (self.artifacts_dir, self.cfg)


class Factory:
    """A callable object."""

    def __call__(self, artifacts_dir: Path, cfg: Any) -> TwoParameters:
        return TwoParameters(artifacts_dir, cfg)

    def from_dir(self, artifacts_dir: Path) -> OneParameter:
        return OneParameter(artifacts_dir)


def with_extra(extra: int, artifacts_dir: Path, cfg: Any) -> TwoParameters:
    return TwoParameters(artifacts_dir, cfg)


def with_rest(artifacts_dir: Path, *rest: Any) -> TwoParameters:
    return TwoParameters(artifacts_dir, *rest)


@pytest.mark.parametrize(
    ("factory", "takes_config"),
    [
        (OneParameter, False),
        (KeywordOnly, False),
        (TwoParameters, True),
        (OptionalSecond, True),
        (DataclassImpl, True),
        (lambda path: OneParameter(path), False),
        (lambda path, cfg: TwoParameters(path, cfg), True),
        (lambda path, **options: OneParameter(path), False),
        (with_rest, True),
        (Factory(), True),
        (Factory().from_dir, False),
        (functools.partial(with_extra, 1), True),
        (functools.partial(OptionalSecond, cfg="bound"), False),
    ],
)
def test_impl_factory(run_dir: Path, factory: Callable[..., Any], takes_config: bool) -> None:
    run = Run(run_dir, factory)
    artifacts_dir, *rest = run.impl.arguments
    assert artifacts_dir == run_dir / "artifacts"
    if takes_config:
        assert rest[0] is run.cfg
    else:
        assert rest in ([], ["bound"])
    assert run.impl is run.impl


@pytest.mark.parametrize("factory", [Path, str])
def test_builtin_types_get_the_directory(run_dir: Path, factory: type) -> None:
    assert Run(run_dir, factory).impl == factory(run_dir / "artifacts")


def test_a_failing_factory_names_the_run_and_is_retried(run_dir: Path) -> None:
    attempts = []

    def fails_once(artifacts_dir: Path) -> str:
        attempts.append(artifacts_dir)
        if len(attempts) == 1:
            raise FileNotFoundError("weights.pt")
        return "built"

    run = Run(run_dir, fails_once)
    with pytest.raises(ImplError) as raised:
        run.get("weights", None)
    assert isinstance(raised.value.__cause__, FileNotFoundError)
    assert re.fullmatch(
        rf"run abc: .*fails_once failed for {re.escape(str(run_dir / 'artifacts'))}: "
        "FileNotFoundError: weights.pt",
        str(raised.value),
    )
    assert run.impl == "built"


class Unshowable:
    def __init__(self, _artifacts_dir: Path | None = None) -> None:
        self.layer = self if _artifacts_dir is None else Unshowable()

    def __repr__(self) -> str:
        raise ValueError("not trained")


def to_frame_by_spelling(runs: RunCollection[Run[Any, Any]], key: str) -> pl.DataFrame:
    return make_frame_by_spelling(list(runs), [key], "json")


def to_frame(runs: RunCollection[Run[Any, Any]], key: str) -> pl.DataFrame:
    return runs.to_frame(key, nested="json")


@pytest.mark.parametrize("make_frame", [to_frame, to_frame_by_spelling])
@pytest.mark.parametrize("key", ["impl", "layer"])
def test_an_object_without_text_names_the_run(
    run_dir: Path, make_frame: Callable[..., pl.DataFrame], key: str
) -> None:
    with pytest.raises(ImplError) as raised:
        make_frame(RunCollection([Run(run_dir, Unshowable)]), key)
    assert isinstance(raised.value.__cause__, ValueError)
    assert str(raised.value) == (
        f"run abc: {key}: an object of Unshowable cannot be shown as text: ValueError: not trained"
    )


def test_differences_of_objects_without_text(run_dir: Path) -> None:
    runs = RunCollection([Run(run_dir, Unshowable), Run(run_dir, Unshowable)])
    with pytest.raises(ImplError, match="an object of Unshowable cannot be shown as text"):
        runs.diff(0, 1, "layer")


def test_objects_do_not_need_a_working_factory(run_dir: Path) -> None:
    run = Run(run_dir, lambda path: 1 / 0)
    assert run.get("cfg") is run.cfg
    assert run.get("seed") == 42


@pytest.mark.parametrize(
    ("factory", "expected"),
    [
        (lambda path: None, False),
        (lambda path, cfg: None, True),
        (lambda path, /, cfg, *, device: None, True),
        (lambda path, *, cfg: None, False),
        (lambda path, **options: None, False),
        (KeywordOnly, False),
        (dict, False),  # which has no signature to look at
    ],
)
def test_what_takes_the_configuration(factory: Callable[..., Any], expected: bool) -> None:
    assert takes_config(factory) is expected


def test_a_factory_without_a_name_is_shown(run_dir: Path) -> None:
    factory = functools.partial(with_extra, 1, cfg=1)
    with pytest.raises(ImplError) as raised:
        _ = Run(run_dir, functools.partial(factory, wrong=1)).impl
    assert str(raised.value).startswith("run abc: functools.partial(<function with_extra at ")
    assert isinstance(raised.value.__cause__, TypeError)


def test_a_bad_configuration_is_no_error_of_the_factory(run_dir: Path) -> None:
    write(run_dir / "artifacts/.hydra/config.yaml", "a: [1\n")
    with pytest.raises(ConfigError, match=r"config\.yaml: while parsing"):
        _ = Run(run_dir, TwoParameters).impl
    assert Run(run_dir, OneParameter).impl.arguments == (run_dir / "artifacts",)
