"""One frame of many, of Polars or pandas."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from kedro.io import DatasetError

from kedro_hydraflow.datasets._concat import concat_frames, is_frame, preview_frame
from kedro_hydraflow.errors import ArtifactError
from tests.conftest import TrackingDir, write
from tests.datasets.conftest import EXPECTED, TextDataset, make_artifact_dataset


def test_concat_of_different_columns_and_types(tracking_dir: TrackingDir) -> None:
    experiment = tracking_dir.add_experiment("train")
    for run_id, config, table in (
        ("a", "x: 1\ny: 1\nz: [1]\nw: {}\n", "n,m\n1,1\n2,2\n"),
        ("b", "x: 0.5\ny: text\nz: [2, 3]\nw: [1]\n", "n,k\n1.5,x\n"),
        ("c", "x: 2\ny: null\nz: []\nonly: 1\nw: 1\n", "m\n"),
    ):
        run_dir = tracking_dir.add_run(experiment, run_id, config)
        write(run_dir / "artifacts/metrics.csv", table)
    keys = ["x", "y", "z", "only", "w", "info"]
    frame = make_artifact_dataset(tracking_dir.root, concat=True, keys=keys).load()
    assert frame.columns == [*keys, "n", "m", "k"]
    assert frame.drop("w", "info").rows() == [
        (1.0, "1", [1], None, 1.0, "1", None),
        (1.0, "1", [1], None, 2.0, "2", None),
        (0.5, "text", [2, 3], None, 1.5, None, "x"),
    ]
    assert frame["w"].to_list() == [{}, {}, [1]]
    assert [info.run_id for info in frame["info"]] == ["a", "a", "b"]


def test_concat_of_pandas_frames(root: Path) -> None:
    pd = pytest.importorskip("pandas")
    options: dict[str, Any] = {
        "dataset": {"type": "pandas.CSVDataset", "load_args": {"dtype": {"epoch": "int8"}}},
        "concat": True,
        "keys": ["run_id", "lr", "name", "started"],
    }
    config = root / "1/b/artifacts/.hydra/config.yaml"
    write(config, "lr: 0.5\nname: 2\nstarted: 3\n")
    frame = make_artifact_dataset(root, **options).load()
    assert isinstance(frame, pd.DataFrame)
    assert list(frame.columns) == [*options["keys"], "epoch", "loss"]
    assert list(frame.index) == list(range(6))
    assert frame["run_id"].tolist() == EXPECTED["run_id"].to_list()
    assert frame["lr"].tolist() == [1.0, 0.5, 0.5, 3.0, 3.0, 3.0]
    assert frame["name"].tolist() == ["run 1", "2", "2", "run 3", "run 3", "run 3"]
    assert frame["started"].isna().tolist() == [True, False, False, True, True, True]
    assert str(frame["epoch"].dtype) == "int8"
    preview = make_artifact_dataset(root, **options).preview(nrows=2)
    assert preview["columns"] == [*options["keys"], "epoch", "loss"]
    assert preview["data"] == [["a", 1, "run 1", None, 0, 0.1]]
    json.dumps(preview, allow_nan=False)


class MixedDataset(TextDataset):
    def load(self) -> Any:
        number = int(super().load()[-2])
        return pl.DataFrame({"x": [number if number % 2 else [number]]})


def test_frames_that_do_not_fit_together(root: Path) -> None:
    dataset = make_artifact_dataset(
        root, dataset=f"{__name__}.MixedDataset", filepath_arg="where", concat=True
    )
    with pytest.raises(DatasetError, match="cannot concatenate 3 frames: SchemaError"):
        dataset.load()


@pytest.mark.parametrize("value", [1, "text", [1], {"x": [1]}, None, pl.Series([1])])
def test_what_is_no_frame(value: Any) -> None:
    assert not is_frame(value)


def test_rows_repeat_the_values_of_their_frame() -> None:
    values = pl.DataFrame({"run_id": ["a", "b", "c"], "lr": [0.1, None, 0.3]})
    frames = [pl.DataFrame({"x": [1, 2]}), pl.DataFrame({"x": []}), pl.DataFrame({"x": [3.5]})]
    expected = [("a", 0.1, 1.0), ("a", 0.1, 2.0), ("c", 0.3, 3.5)]
    assert all(map(is_frame, frames))
    assert concat_frames(values, frames).rows() == expected
    pd = pytest.importorskip("pandas")
    of_pandas = [pd.DataFrame({"x": frame["x"].to_list()}) for frame in frames]
    assert all(map(is_frame, of_pandas))
    assert [*concat_frames(values, of_pandas[::2]).itertuples(index=False, name=None)] == [
        ("a", 0.1, 1.0),
        ("a", 0.1, 2.0),
        ("b", pytest.approx(float("nan"), nan_ok=True), 3.5),
    ]


def test_frames_of_different_packages_do_not_fit() -> None:
    pd = pytest.importorskip("pandas")
    values = pl.DataFrame({"run_id": ["a", "b"]})
    frames = [pl.DataFrame({"x": [1]}), pd.DataFrame({"x": [1]})]
    with pytest.raises(ArtifactError, match="cannot concatenate 2 frames: "):
        concat_frames(values, frames)


def test_preview_has_the_first_rows() -> None:
    expected = {"index": [0, 1], "columns": ["x"], "data": [["nan"], [1.0]]}
    assert preview_frame(pl.DataFrame({"x": [float("nan"), 1.0, 2.0]}), 2) == expected
    pd = pytest.importorskip("pandas")
    assert preview_frame(pd.DataFrame({"x": [float("nan"), 1.0, 2.0]}), 2) == expected


@pytest.mark.parametrize("library", ["polars", "pandas"])
def test_preview_of_wide_frames_is_cut(library: str) -> None:
    frame = pytest.importorskip(library).DataFrame(
        {f"c{i}": ["\x1b" + "x" * 1000] for i in range(103)}
    )
    preview = preview_frame(frame, 5)
    assert len(preview["columns"]) == 100
    assert preview["data"][0][0].startswith("\\x1bxxx")
    assert len(preview["data"][0][0]) < 600
    assert preview["data"][1][0] == "… and 3 more columns"
