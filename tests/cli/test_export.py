from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from kedro_hydraflow import Run, iter_run_dirs
from tests.cli.conftest import invoke
from tests.conftest import HYDRA_SWEEP, TrackingDir, write

SUFFIXES = [".csv", ".parquet", ".json", ".jsonl"]


def read(file: Path) -> pl.DataFrame:
    if file.suffix == ".parquet":
        return pl.read_parquet(file)
    if file.suffix == ".csv":
        return pl.read_csv(file, infer_schema_length=None)
    lines = file.read_text().splitlines()
    rows = json.loads(file.read_text()) if file.suffix == ".json" else list(map(json.loads, lines))
    return pl.DataFrame(rows, infer_schema_length=None)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_all_columns(sweep: Path, tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"runs{suffix}"
    result = invoke("export", sweep, file)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == f"wrote 31 runs with 27 columns to {file}\n"
    frame = read(file)
    facts = ["run_id", "run_name", "job_name", "experiment_id", "status"]
    assert frame.columns[:5] == facts
    assert {"note", "data.classes", "params.model.type", "tags.stage"} < set(frame.columns)
    expected = Run.load(iter_run_dirs(sweep)).to_frame("run_id", "model.*", "metrics.*", "seed")
    assert frame.select(expected.columns).equals(expected)
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


def test_columns_and_filters(sweep: Path, tmp_path: Path) -> None:
    file = tmp_path / "new folder" / "runs.parquet"
    arguments = "-f", "model.type == mlp", "-c", "run_id,metrics.*"
    assert invoke("export", sweep, file, *arguments).exit_code == 0
    frame = pl.read_parquet(file)
    runs = Run.load(iter_run_dirs(sweep, filters="model.type == mlp"))
    assert frame.equals(runs.to_frame("run_id", "metrics.*"))


def test_what_parquet_cannot_hold_is_json(tracking_dir: TrackingDir, tmp_path: Path) -> None:
    tracking_dir.add_runs(2, lambda i: f"value: {['[1, {a: 2}]', 'text'][i]}\nrun_id: {i}\n")
    for suffix in (".parquet", ".jsonl"):
        assert invoke("export", tracking_dir.root, tmp_path / f"a{suffix}").exit_code == 0
    frame = pl.read_parquet(tmp_path / "a.parquet")
    assert frame["value"].to_list() == ['[1, {"a": 2}]', '"text"']
    assert frame.select("run_id", "cfg.run_id").rows() == [("r000", 0), ("r001", 1)]
    values = [json.loads(line)["value"] for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert values == [[1, {"a": 2}], "text"]


def test_runs_of_hydra(tmp_path: Path) -> None:
    file = tmp_path / "runs.csv"
    assert (
        invoke("export", HYDRA_SWEEP / "multirun", file, "--results", "result.json").exit_code == 0
    )
    frame = read(file)
    assert frame.columns[-2:] == ["results.loss", "results.n_weights"]
    assert frame["status"].null_count() == frame.height == 16


def test_a_file_is_replaced_with_force_alone(sweep: Path, tmp_path: Path) -> None:
    file = tmp_path / "runs.csv"
    file.write_text("precious\n")
    result = invoke("export", sweep, file)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"Error: '{file}' exists; give --force to replace it\n"
    assert file.read_text() == "precious\n"
    assert invoke("export", sweep, file, "--force", "-c", "seed").exit_code == 0
    assert file.read_text().startswith("seed\n7\n")


def test_no_run_matches(sweep: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "runs.csv"
    result = invoke("export", sweep, file, "-f", "status == RUNNING")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "no runs are left of 31: 0 after 'status == RUNNING'" in caplog.text
    assert not file.exists()


def test_runs_that_cannot_be_read(tracking_dir: TrackingDir, tmp_path: Path) -> None:
    tracking_dir.add_runs(3)
    write(tracking_dir.root / "1/r001/artifacts/.hydra/config.yaml", "a: [\n")
    file = tmp_path / "runs.jsonl"
    result = invoke("export", tracking_dir.root, file, "-c", "i")
    assert (result.exit_code, file.read_text()) == (2, '{"i": 0}\n{"i": 2}\n')
    assert result.stdout == f"wrote 2 runs with 1 column to {file}\n"


@pytest.mark.parametrize(
    ("file", "options", "message"),
    [
        ("runs.xlsx", [], "FILE: expected the ending .csv, .parquet, .json or .jsonl, found 'runs"),
        ("runs", [], "FILE: expected the ending .csv, .parquet, .json or .jsonl, found 'runs'"),
        ("a.csv", ["-c", "sead"], "no such key: 'sead'"),
        (
            "folder.csv",
            [],
            "'folder.csv' is a directory; give a file, such as 'folder.csv/runs.csv'",
        ),
        ("folder.csv", ["--force"], "'folder.csv' is a directory; give a file, such as "),
        ("folder.csv/", [], "'folder.csv' is a directory; give a file, such as "),
    ],
)
def test_errors(
    sweep: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    file: str,
    options: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.csv").mkdir()
    result = invoke("export", sweep, file, *options)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["folder.csv"]


def test_other_storages(sweep: Path) -> None:
    result = invoke("export", sweep, "memory://exported/runs.csv", "-c", "seed", "--force")
    assert (result.exit_code, result.stdout) == (
        0,
        "wrote 31 runs with 1 column to memory://exported/runs.csv\n",
    )
    result = invoke("export", sweep, "memory://exported/runs.csv", "-c", "seed")
    assert "'memory://exported/runs.csv' exists; give --force" in result.stderr


def test_a_malformed_metric_is_null(
    tracking_dir: TrackingDir, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tracking_dir.add_run(tracking_dir.add_experiment("train"), "a", metrics={"x": "garbage\n"})
    file = tmp_path / "runs.csv"
    result = invoke("export", tracking_dir.root, file)
    assert result.exit_code == 2
    assert result.stdout.startswith("wrote 1 run")
    assert "a/metrics/x" in caplog.text
