"""What all datasets do with the options that they share, shown with the one of many runs."""

from __future__ import annotations

import copy
import json
import logging
import pickle
import sys
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from kedro.io import AbstractDataset, DataCatalog, DatasetError

from kedro_hydraflow import (
    HydraflowArtifactDataset,
    HydraflowFrameDataset,
    HydraflowRunCollectionDataset,
    HydraflowRunDataset,
)
from kedro_hydraflow.datasets._base import import_object, is_importable_path, to_json
from kedro_hydraflow.errors import OptionError
from tests.conftest import TrackingDir
from tests.datasets.conftest import TABLE, from_catalog

NOT_CALLABLE = "text"


class Impl:
    def __init__(self, artifacts_dir: Path) -> None:
        self.names = sorted(path.name for path in artifacts_dir.iterdir())


@dataclass
class Training:
    learning_rate: float = 0.5


@dataclass
class Config:
    training: Training = field(default_factory=Training)
    seed: int = 1


def test_impl_and_config_class(sweep: Path) -> None:
    config: dict[str, Any] = {"path": str(sweep), "experiment_names": "eval_*"}
    run = from_catalog(**config, impl=f"{__name__}.Impl").load()[0]
    assert "confusion_matrix.json" in run.impl.names
    with pytest.raises(DatasetError, match=r"does not fit Config: Key 'model' not in 'Config'"):
        from_catalog(**config, config_class=f"{__name__}.Config").load()


def test_config_class_gives_defaults(tracking_dir: TrackingDir) -> None:
    tracking_dir.add_run(tracking_dir.add_experiment("old"), "a", "seed: 7\n")
    dataset = HydraflowRunCollectionDataset(path=tracking_dir.root, config_class=Config)
    run = dataset.load()[0]
    assert (run.get("seed"), run.get("training.learning_rate")) == (7, 0.5)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("impl", "no_such_module.Name", "impl: cannot import 'no_such_module.Name'"),
        ("impl", f"{__name__}.Nobody", "has no attribute 'Nobody'"),
        ("impl", f"{__name__}.NOT_CALLABLE", "impl: expected a class or function"),
        ("config_class", f"{__name__}.Impl", "config_class: expected a dataclass"),
        ("experiment_names", f"{__name__}.nobody", "experiment_names: cannot import"),
        ("experiment_names", f"{__name__}.NOT_CALLABLE", "experiment_names: expected a callable"),
    ],
)
def test_bad_references_show_at_load(sweep: Path, option: str, value: str, message: str) -> None:
    dataset = from_catalog(path=str(sweep), **{option: value})
    with pytest.raises(DatasetError) as caught:
        dataset.load()
    assert message in str(caught.value)


def test_constructing_does_no_io() -> None:
    dataset = from_catalog(
        path="s3://no-such-bucket/mlruns", impl="no_such.Name", credentials={"key": "a"}
    )
    assert "no-such-bucket" in repr(dataset)


def test_a_catalog_works_without_the_packages_that_only_one_entry_needs(
    sweep: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("s3fs", "obstore"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, "s3", raising=False)
    catalog = DataCatalog.from_config(
        {
            "here": {
                "type": "kedro_hydraflow.HydraflowRunCollectionDataset",
                "path": str(sweep),
            },
            "there": {
                "type": "kedro_hydraflow.HydraflowRunCollectionDataset",
                "path": "s3://team/mlruns",
                "credentials": "dev_s3",
            },
        },
        {"dev_s3": {"key": "K", "secret": "SECRET-1"}},
    )
    assert len(catalog.load("here")) == 31
    there = catalog["there"]
    assert "SECRET" not in f"{there!r} {there!s} {pickle.loads(pickle.dumps(there))!r}"
    with pytest.raises(DatasetError, match=r"pip install 'kedro-hydraflow\[s3\]'"):
        catalog.load("there")


def test_secrets_are_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    dataset = from_catalog(
        path="memory://user:hush@host/mlruns?token=hush",
        credentials={"key": "hush"},
        fs_args={"secret": "hush"},
    )
    with pytest.raises(DatasetError) as caught:
        dataset.load()
    for text in (repr(dataset), str(dataset), str(caught.value), caplog.text):
        assert "hush" not in text


def test_preview_is_strict_json(tracking_dir: TrackingDir) -> None:
    config = "lr: .nan\nnames: {1: a}\nlayers: [1, .inf]\n"
    tracking_dir.add_run(tracking_dir.add_experiment("e"), "a", config)
    dataset = from_catalog(path=str(tracking_dir.root))
    json.dumps(dataset.preview(), allow_nan=False)
    assert dataset.preview()["data"][0][3] == "nan"


# The same in every dataset ---------------------------------------------------------------


@pytest.fixture(params=["run", "runs", "frame", "artifact"])
def dataset(request: pytest.FixtureRequest) -> AbstractDataset[Any, Any]:
    """One of each class, with credentials."""
    options: dict[str, Any] = {
        "path": "memory://user:hush@host/mlruns?token=hush",
        "credentials": {"key": "hush"},
        "fs_args": {"secret": "hush"},
    }
    if request.param == "run":
        return HydraflowRunDataset(**options, best_by="lr", mode="max")
    if request.param == "runs":
        return HydraflowRunCollectionDataset(**options)
    if request.param == "frame":
        return HydraflowFrameDataset(**options)
    return HydraflowArtifactDataset(**options, artifact="a.csv", dataset=TABLE)


def test_every_dataset_is_read_only(dataset: AbstractDataset[Any, Any]) -> None:
    with pytest.raises(DatasetError) as caught:
        dataset.save(object())
    name = type(dataset).__name__
    assert str(caught.value) == (
        f"{name} is a read only dataset type: runs are written by HydraFlow"
    )


def test_no_dataset_shows_its_credentials(dataset: AbstractDataset[Any, Any]) -> None:
    for each in (dataset, pickle.loads(pickle.dumps(dataset)), copy.deepcopy(dataset)):
        assert "memory://host/mlruns" in repr(each)
        assert "hush" not in f"{each!r} {each}"
    with pytest.raises(DatasetError, match="there is no ") as caught:
        dataset.load()
    assert "hush" not in str(caught.value)


# Previews --------------------------------------------------------------------------------


class Color(Enum):
    RED = 1


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (1.5, 1.5),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        (Color.RED, "RED"),
        (Path("a/b"), "a/b"),
        (b"a", "b'a'"),
        ((1, [float("inf")]), [1, ["inf"]]),
        ({1: {Color.RED: (2,)}}, {"1": {"RED": [2]}}),
    ],
)
def test_values_as_json_can_hold_them(value: Any, expected: Any) -> None:
    assert to_json(value) == expected
    json.dumps(to_json(value), allow_nan=False)


# References ------------------------------------------------------------------------------


def test_references_are_imported() -> None:
    assert import_object("impl", f"{__name__}.Impl") is Impl
    assert import_object("impl", Impl) is Impl
    assert import_object("impl", None) is None
    with pytest.raises(OptionError) as caught:
        import_object("impl", "no_such_module.Name")
    assert str(caught.value) == (
        "impl: cannot import 'no_such_module.Name' (ModuleNotFoundError: No module named "
        "'no_such_module'); expected the dotted path of something that Python can import, such "
        "as my_project.analysis.Name"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("os.path", True),
        ("kedro_hydraflow.nothing", True),
        ("no_such_package.name", False),
        ("os", False),
        ("train v1.0", False),
        ("os.1", False),
        ("os.path.*", False),
    ],
)
def test_what_may_be_a_path_into_a_package(text: str, expected: bool) -> None:
    assert is_importable_path(text) is expected
