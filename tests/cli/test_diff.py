from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from kedro_hydraflow import Run, iter_run_dirs
from tests.cli.conftest import invoke
from tests.conftest import HYDRA_SWEEP, Database, TrackingDir


def test_a_table(sweep: Path) -> None:
    result = invoke("diff", sweep, "13f4", "cde953df")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == (
        "key                 13f42e95              cde953df\n"
        "model.hidden_size   64                    32\n"
        "seed                1                     8\n"
        "metrics.train/loss  0.008981089297095766  0.013826795311822956\n"
    )


def test_csv_is_the_frame_of_diff(sweep: Path) -> None:
    runs = Run.load(iter_run_dirs(sweep))
    result = invoke("diff", sweep, "cde9", "13f4", "--csv", "--keys", "*,metrics.*")
    rows = [tuple(row.values()) for row in csv.DictReader(io.StringIO(result.stdout))]
    assert rows == runs.diff("cde9", "13f4", "*", "metrics.*").rows()
    assert result.stdout.startswith("key,a,b\n")


def test_json_has_values(sweep: Path) -> None:
    rows = json.loads(invoke("diff", sweep, "13f4", "2ca5", "--json").stdout)
    assert rows[0] == {"key": "model.hidden_size", "a": 64, "b": 32}
    assert rows[-1]["key"] == "metrics.val/accuracy"


def test_markdown(sweep: Path) -> None:
    result = invoke("diff", sweep, "13f4", "cde9", "--md", "-k", "seed")
    assert result.stdout == "| key | 13f42e95 | cde953df |\n| --- | --- | --- |\n| seed | 1 | 8 |\n"


def test_equal_values_are_shown_with_all(sweep: Path) -> None:
    rows = json.loads(invoke("diff", sweep, "13f4", "cde9", "--all", "--json").stdout)
    assert len(rows) == 15
    assert {"key": "note", "a": None, "b": None} in rows
    assert {"key": "model.type", "a": "mlp", "b": "mlp"} in rows


@pytest.mark.parametrize(("options", "output"), [([], ""), (["--json"], "[]\n")])
def test_runs_that_do_not_differ(sweep: Path, options: list[str], output: str) -> None:
    result = invoke("diff", sweep, "13f4", "cde9", "-k", "model.type", *options)
    assert (result.exit_code, result.stdout, result.stderr) == (1, output, "")
    result = invoke("diff", sweep, "13f4", "cde9", "-k", "model.type", "--all")
    assert result.exit_code == 1
    assert result.stdout.splitlines()[1].split() == ["model.type", "mlp", "mlp"]


def test_values_that_follow_from_others_are_shown_with_all(tracking_dir: TrackingDir) -> None:
    experiment = tracking_dir.add_experiment("train")
    for i, run_id in enumerate(["a" * 32, "b" * 32]):
        config = f"seed: {i}\nout: runs/{run_id}\nname: s-${{seed}}\n"
        tracking_dir.add_run(experiment, run_id, config)
    arguments = "diff", tracking_dir.root, "aaaa", "bbbb", "--json"
    assert [row["key"] for row in json.loads(invoke(*arguments).stdout)] == ["seed"]
    rows = json.loads(invoke(*arguments, "--all").stdout)
    assert rows[1:] == [
        {"key": "out", "a": f"runs/{'a' * 32}", "b": f"runs/{'b' * 32}"},
        {"key": "name", "a": "s-0", "b": "s-1"},
    ]


def test_results() -> None:
    ids = [f"multirun/2026-11-25/23-01-50/{number}" for number in (2, 3)]
    arguments = HYDRA_SWEEP / "multirun", *ids, "--results", "result.json", "--json"
    rows = json.loads(invoke("diff", *arguments).stdout)
    assert [row["key"] for row in rows] == ["seed", "results.loss"]


def test_params_where_there_is_no_configuration(database: Database) -> None:
    database.add_experiment("train", 1)
    for number in range(2):
        params = {"lr": f"0.{number}", "seed": "7"}
        database.add_run(1, f"{number:032x}", params=params)
    result = invoke("diff", database.path, f"{0:032x}", f"{1:032x}", "--json")
    assert json.loads(result.stdout) == [{"key": "params.lr", "a": "0.0", "b": "0.1"}]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["13f4", "zzzz"], "no run has the ID 'zzzz', or one that begins so"),
        (["13f4", "13f42e95"], "'13f4' and '13f42e95' are the same run, 13f42e9535654d01a4143"),
        (["13f4", "cde9", "-k", "sead"], "no such key: 'sead'"),
        (["13f4", "cde9", "-k", "sead.*"], "'sead.*'"),
        (["13f4", "cde9", "--csv", "--json"], "--csv and --json do not go together"),
        (["13f4", "cde9", "13f4"], "expected [PATH_OR_URL] RUN RUN, found 4 arguments"),
    ],
)
def test_errors(sweep: Path, arguments: list[str], message: str) -> None:
    result = invoke("diff", sweep, *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_a_run_that_cannot_be_read_is_not_absent(tracking_dir: TrackingDir) -> None:
    experiment = tracking_dir.add_experiment("train")
    tracking_dir.add_run(experiment, "aaaa", "seed: 1\n")
    tracking_dir.add_run(experiment, "bbbb", "seed: [\n")
    result = invoke("diff", tracking_dir.root, "aaaa", "bbbb")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("Error: ")
    assert "/bbbb/artifacts/.hydra/config.yaml: while parsing a flow node" in result.stderr


def test_a_malformed_metric_is_an_error_beside_the_others(
    tracking_dir: TrackingDir, caplog: pytest.LogCaptureFixture
) -> None:
    experiment = tracking_dir.add_experiment("train")
    tracking_dir.add_run(experiment, "aaaa", metrics={"loss": "1 0.5 0\n", "n": "1 1 0\n"})
    tracking_dir.add_run(experiment, "bbbb", metrics={"loss": "garbage\n", "n": "1 2 0\n"})
    result = invoke("diff", tracking_dir.root, "aaaa", "bbbb", "--json")
    assert result.exit_code == 2
    assert json.loads(result.stdout)[1] == {"key": "metrics.n", "a": 1.0, "b": 2.0}
    assert "bbbb/metrics/loss" in caplog.text


def test_values_that_differ_look_different(tracking_dir: TrackingDir) -> None:
    experiment = tracking_dir.add_experiment("train")
    path = f"/mnt/{'x' * 250}"
    for run_id, rate, seed in ("aaaa", "0.12345671", "1"), ("bbbb", "0.12345672", "'1'"):
        config = f"lr: {rate}\nseed: {seed}\npath: {path}/{run_id}\nlong: {path}\n"
        tracking_dir.add_run(experiment, run_id, config)
    arguments = "diff", tracking_dir.root, "aaaa", "bbbb"
    assert [line.split() for line in invoke(*arguments).stdout.splitlines()] == [
        ["key", "aaaa", "bbbb"],
        ["lr", "0.12345671", "0.12345672"],
        ["seed", "1", "'1'"],
        ["path", "…xxxxxxxxx/aaaa", "…xxxxxxxxx/bbbb"],
    ]
    rows = list(csv.DictReader(io.StringIO(invoke(*arguments, "--csv").stdout)))
    assert rows[2] == {"key": "path", "a": f"{path}/aaaa", "b": f"{path}/bbbb"}
