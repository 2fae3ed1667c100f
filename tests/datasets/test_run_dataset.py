from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kedro.io import DataCatalog, DatasetError

from conftest import TrackingDir
from kedro_hydraflow import HydraflowRunDataset, Run

TYPE = "kedro_hydraflow.HydraflowRunDataset"
RUN = "803221166256626715/5b59290f35f943c8863522a4cd371131"


def from_catalog(**config: Any) -> HydraflowRunDataset:
    dataset = DataCatalog.from_config({"run": {"type": TYPE, **config}})["run"]
    assert isinstance(dataset, HydraflowRunDataset)
    return dataset


def count_artifacts(artifacts_dir: Path, cfg: Any) -> dict[str, int]:
    return {str(cfg.model.type): len(list(artifacts_dir.iterdir()))}


def inside(location: str, path: str) -> str:
    first, *rest = location.split("::")
    return "::".join([f"{first}/{path}", *rest])


def test_load(publish: Callable[[Path], str], sweep: Path) -> None:
    run = from_catalog(
        filepath=inside(publish(sweep), RUN), impl=f"{__name__}.count_artifacts"
    ).load()
    assert isinstance(run, Run)
    assert run.get("model.type") == "mlp"
    assert run.info.job_name == "train_digits_v2"
    assert run.impl == {"mlp": 4}
    assert run.metrics["accuracy"] == 0.9355555555555556


def test_relative_path_is_kept_relative(monkeypatch: pytest.MonkeyPatch, sweep: Path) -> None:
    monkeypatch.chdir(sweep)
    assert from_catalog(filepath=RUN).load().info.run_dir == Path(RUN)


def test_without_configuration(tracking_dir: TrackingDir) -> None:
    run_dir = tracking_dir.add_run(tracking_dir.add_experiment("e"), "a", None)
    assert from_catalog(filepath=str(run_dir)).load().to_dict() == {}


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("803221166256626715/nobody", "there is no run directory '.*nobody.*'; expected <tracking"),
        ("803221166256626715", "is not a run directory: .*HydraflowRunCollectionDataset"),
        ("", "is not a run directory: .*HydraflowRunCollectionDataset"),
    ],
)
def test_what_is_no_run(
    publish: Callable[[Path], str], sweep: Path, path: str, message: str
) -> None:
    location = publish(sweep)
    with pytest.raises(DatasetError, match=f"(?s){message}"):
        from_catalog(filepath=inside(location, path) if path else location).load()


def test_broken_configuration_names_the_file(tracking_dir: TrackingDir) -> None:
    run_dir = tracking_dir.add_run(tracking_dir.add_experiment("e"), "a", "a: [1\n")
    with pytest.raises(DatasetError, match=r"a/artifacts/\.hydra/config\.yaml: while parsing"):
        from_catalog(filepath=str(run_dir)).load()


def test_exists(publish: Callable[[Path], str], sweep: Path) -> None:
    location = publish(sweep)
    assert from_catalog(filepath=inside(location, RUN)).exists()
    assert not from_catalog(filepath=inside(location, "1/2")).exists()


def test_is_read_only(sweep: Path) -> None:
    with pytest.raises(DatasetError) as caught:
        from_catalog(filepath=str(sweep / RUN)).save(object())  # type: ignore[arg-type]
    assert str(caught.value) == "HydraflowRunDataset is a read only dataset type"


def test_survives_pickling(sweep: Path) -> None:
    dataset = from_catalog(filepath=str(sweep / RUN))
    assert pickle.loads(pickle.dumps(dataset)).load().get("seed") == 42


def test_preview(sweep: Path) -> None:
    preview = json.loads(from_catalog(filepath=str(sweep / RUN)).preview())
    assert preview["info"]["status"] == "FINISHED"
    assert preview["cfg"]["model"]["type"] == "mlp"


def test_preview_is_strict_json(tracking_dir: TrackingDir) -> None:
    config = "lr: .nan\nnames: {!!binary YQ==: {1: a}}\n"
    run_dir = tracking_dir.add_run(tracking_dir.add_experiment("e"), "a", config)
    preview = json.loads(from_catalog(filepath=str(run_dir)).preview(), parse_constant=pytest.fail)
    assert preview["cfg"] == {"lr": "nan", "names": {"b'a'": {"1": "a"}}}


def test_a_remote_location_is_not_shown_to_plugins_that_open_it() -> None:
    dataset = from_catalog(filepath="s3://bucket/mlruns/1/a", credentials={"key": "hush"})
    assert not hasattr(dataset, "_filepath")
    assert not hasattr(dataset, "filepath")
    assert "hush" not in repr(dataset)


def test_filepath_is_checked() -> None:
    with pytest.raises(DatasetError, match="filepath: expected a path or URL, found 3"):
        from_catalog(filepath=3)
