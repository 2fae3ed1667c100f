from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from kedro_hydraflow import Run, iter_run_dirs
from kedro_hydraflow.errors import StorageError
from tests.cli.conftest import Ls, fail_with, invoke
from tests.conftest import HYDRA_SWEEP, Database, FilesRead, TrackingDir, write


def read_csv(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def get_column(text: str, key: str) -> list[str]:
    return [row[key] for row in read_csv(text)]


# Formats --------------------------------------------------------------------------------


def test_a_table_shows_what_tells_runs_apart(ls: Ls, sweep: Path) -> None:
    result = ls(sweep)
    lines = result.stdout.splitlines()
    assert result.exit_code == 0
    assert lines[0].split() == [
        "run_id",
        "job_name",
        "status",
        "start_time",
        "model.type",
        "model.hidden_size",
        "model.activation",
        "training.learning_rate",
        "metrics.accuracy",
        "metrics.train/loss",
    ]
    assert lines[1].split() == [
        "2ca54cc6",
        "eval_digits",
        "FINISHED",
        "2026-11-23",
        "00:39:32Z",
        "mlp",
        "32",
        "relu",
        "0.01",
        "0.957778",
        "0.0197973",
    ]
    assert len(lines) == 32
    assert "\x1b" not in result.stdout
    assert result.stderr == (
        "not shown: 3 more configuration keys ('training.epochs', 'seed', 'note'), 1 more metric "
        "('metrics.val/accuracy'); choose with --columns\n"
    )


def test_numbers_are_aligned_to_the_right(ls: Ls, sweep: Path) -> None:
    lines = ls(sweep, "-c", "model.type,seed,training.learning_rate").stdout.splitlines()
    assert lines[0] == "model.type  seed  training.learning_rate"
    assert lines[1] == "mlp            7                    0.01"


def test_csv_has_the_values_of_a_frame(ls: Ls, sweep: Path) -> None:
    keys = ["run_id", "model.type", "training.learning_rate", "metrics.accuracy", "note"]
    result = ls(sweep, "--csv", "--columns", ",".join(keys))
    expected = Run.load(iter_run_dirs(sweep)).to_frame(*keys)
    read = pl.read_csv(io.StringIO(result.stdout))
    assert read.equals(expected.select(read.columns), null_equal=True)
    assert result.stdout.startswith(",".join(keys) + "\n")
    assert "\r" not in result.stdout
    assert result.stderr == ""


def test_json_has_the_values_of_a_frame(ls: Ls, sweep: Path) -> None:
    result = ls(sweep, "--json", "-c", "run_id,start_time,data.classes,data.scale,note", "-n", 3)
    rows = json.loads(result.stdout)
    assert len(result.stdout.splitlines()) == 5  # a line for each run, and the brackets
    assert rows[0] == {
        "run_id": "2ca54cc607914e0780960fb8ff621108",
        "start_time": "2026-11-23T00:39:32.864+00:00",
        "data.classes": [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        "data.scale": True,
        "note": None,
    }


def test_markdown(ls: Ls, sweep: Path) -> None:
    result = ls(sweep, "--md", "--columns", "run_id, seed,model.type", "-n", "1")
    assert result.stdout == (
        "| run_id | seed | model.type |\n"
        "| --- | ---: | --- |\n"
        "| 2ca54cc607914e0780960fb8ff621108 | 7 | mlp |\n"
    )


def test_markdown_has_the_beginning_of_very_long_texts(ls: Ls, tracking_dir: TrackingDir) -> None:
    tracking_dir.add_runs(1, lambda i: f"note: {'x' * 5000}\nseed: {10**18}\n")
    row = ls(tracking_dir.root, "--md", "-c", "note,seed").stdout.splitlines()[2]
    assert row == f"| {'x' * 199}… | {10**18} |"


def test_formats_do_not_go_together(ls: Ls, sweep: Path) -> None:
    result = ls(sweep, "--csv", "--json")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.endswith("Error: --csv and --json do not go together\n")


@pytest.mark.parametrize(
    ("options", "output"),
    [
        ([], ""),
        (["--md"], ""),
        (["--json"], "[]\n"),
        (["--csv"], "run_id,job_name,status,start_time\n"),
        (["--csv", "-c", "seed,metrics.*"], "seed\n"),
    ],
)
def test_no_run_matches(
    ls: Ls, sweep: Path, options: list[str], output: str, caplog: pytest.LogCaptureFixture
) -> None:
    result = ls(sweep, "--filter", "status == RUNNING", *options)
    assert result.exit_code == 1
    assert result.stdout == output
    assert "no runs are left of 31: 0 after 'status == RUNNING'" in caplog.text


def test_what_is_not_finite(ls: Ls, tracking_dir: TrackingDir) -> None:
    experiment = tracking_dir.add_experiment("train")
    for run_id, value in (("a", "nan"), ("b", "inf"), ("c", "-inf"), ("d", "0.1")):
        tracking_dir.add_run(experiment, run_id, metrics={"loss": f"1 {value} 0\n"})
    arguments = tracking_dir.root, "-c", "metrics.loss"
    values = [row["metrics.loss"] for row in json.loads(ls(*arguments, "--json").stdout)]
    assert values == [None, None, None, 0.1]
    read = pl.read_csv(io.StringIO(ls(*arguments, "--csv").stdout)).to_series().to_list()
    assert math.isnan(read[0])
    assert read[1:] == [math.inf, -math.inf, 0.1]


FOREIGN = "[red]x[/red] \x1b[2J\x9b\u202e | <b>*a*\n=1+1"


def test_foreign_names_do_not_act(ls: Ls, tracking_dir: TrackingDir) -> None:
    experiment = tracking_dir.add_experiment(FOREIGN)
    tracking_dir.add_run(experiment, "a", f"note: {json.dumps(FOREIGN)}\n")
    arguments = tracking_dir.root, "-c", "job_name,note"
    shown = "[red]x[/red] \\x1b[2J\\x9b\\u202e | <b>*a*\\n=1+1"
    assert ls(*arguments).stdout.splitlines()[1] == f"{shown}  {shown}"
    assert json.loads(ls(*arguments, "--json").stdout) == [{"job_name": FOREIGN, "note": FOREIGN}]
    assert ls(*arguments, "--json").stdout.replace("\n", "").isprintable()
    with_break = shown.replace("\\n", "\n")
    assert read_csv(ls(*arguments, "--csv").stdout) == [
        {"job_name": with_break, "note": with_break}
    ]
    escaped = "\\[red\\]x\\[/red\\] \\\\x1b\\[2J\\\\x9b\\\\u202e \\| \\<b\\>\\*a\\*\\\\n=1+1"
    assert ls(*arguments, "--md").stdout.splitlines()[2] == f"| {escaped} | {escaped} |"


def test_formulas_stay_as_they_are_in_csv(ls: Ls, tracking_dir: TrackingDir) -> None:
    values = ["=1+1", "+1", "-1", "@a"]
    config = f"values: {values}\nfirst: '{values[0]}'\n"
    tracking_dir.add_run(tracking_dir.add_experiment("train"), "a", config)
    rows = read_csv(ls(tracking_dir.root, "--csv", "-c", "first,values").stdout)
    assert rows == [{"first": "=1+1", "values": json.dumps(values)}]


# Which runs -----------------------------------------------------------------------------


def test_filters(ls: Ls, sweep: Path) -> None:
    filters = "-f", "model.type == mlp or seed == 42", "-f", "metrics.accuracy > 0.97"
    result = ls(sweep, "--csv", "-c", "run_id", *filters)
    expected = Run.load(
        iter_run_dirs(sweep, filters="model.type == mlp and metrics.accuracy > 0.97")
    )
    assert get_column(result.stdout, "run_id") == expected.to_list("run_id")
    assert len(expected) == 3


def test_experiments(ls: Ls, sweep: Path) -> None:
    def list_names(*options: str) -> set[str]:
        return set(get_column(ls(sweep, "--csv", "-c", "job_name", *options).stdout, "job_name"))

    assert list_names("-x", "train_*") == {"train_digits_v1", "train_digits_v2"}
    assert list_names("-x", "eval_*", "--experiment", "train_digits_v2") == {
        "eval_digits",
        "train_digits_v2",
    }


def test_results(ls: Ls) -> None:
    result = ls(HYDRA_SWEEP, "--results", "result.json", "-n", "1", "--csv")
    assert get_column(result.stdout, "results.n_weights") == ["4"]
    assert "status" not in result.stdout  # which Hydra does not record


def test_layout(ls: Ls, tmp_path: Path, sweep: Path) -> None:
    result = ls(sweep, "--layout", "hydra")
    assert result.exit_code == 2
    assert "has no output directories of Hydra" in result.stderr
    assert ls(HYDRA_SWEEP, "--layout", "hydra").exit_code == 0


# Order ----------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [None, 31])
def test_the_order_has_runs_without_a_value_last(
    ls: Ls, tracking_dir: TrackingDir, limit: int | None
) -> None:
    experiment = tracking_dir.add_experiment("train")
    for run_id, value in (("a", "2"), ("b", ""), ("c", "nan"), ("d", "10"), ("e", "2")):
        metrics = {"loss": f"1 {value} 0\n"} if value else {}
        tracking_dir.add_run(experiment, run_id, f"run: {ord(run_id)}\n", metrics)
    options = [] if limit is None else ["-n", str(limit)]

    def list_ids(*keys: str) -> str:
        order = [part for key in keys for part in ("--sort", key)]
        result = ls(tracking_dir.root, "--csv", "-c", "run_id", *order, *options)
        return "".join(get_column(result.stdout, "run_id"))

    assert list_ids("metrics.loss") == "aedbc"
    assert list_ids("-metrics.loss") == "daebc"
    assert list_ids("metrics.loss", "-run_id") == "eadcb"
    assert list_ids("-cfg.run") == "edcba"
    assert list_ids("-start_time") == "abcde"  # all are equal


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (
            "accuracy",
            "--sort: none of the 31 runs has the key 'accuracy'; similar keys: 'metrics.accuracy', "
            "'metrics.val/accuracy'",
        ),
        (
            "-metrics.acuracy",
            "--sort: none of the 31 runs has the key 'metrics.acuracy'; similar keys: "
            "'metrics.accuracy', 'metrics.val/accuracy'",
        ),
        (
            "results.loss",
            "--sort: none of the 31 runs has the key 'results.loss'; similar keys: "
            "'metrics.train/loss'; for the results of the application, load the runs with",
        ),
    ],
)
@pytest.mark.parametrize("limit", [[], ["-n", "2"]])
def test_the_key_of_an_order_has_to_exist(
    ls: Ls, sweep: Path, key: str, message: str, limit: list[str]
) -> None:
    result = ls(sweep, "--sort", key, *limit)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"Error: {message}")
    assert result.stderr.count("\n") == 1


def test_facts_that_are_not_recorded_are_no_order(ls: Ls) -> None:
    result = ls(HYDRA_SWEEP, "--sort", "start_time")
    assert result.exit_code == 2
    assert "start_time is not recorded in" in result.stderr


def test_values_that_cannot_be_compared_are_no_order(ls: Ls, tracking_dir: TrackingDir) -> None:
    tracking_dir.add_runs(2, lambda i: f"value: {['text', 1][i]}\n")
    result = ls(tracking_dir.root, "-s", "value")
    assert result.exit_code == 2
    assert "--sort: cannot compare the values of 'value'" in result.stderr


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["-s", "-"], "expected KEY or -KEY, found '-'"),
        (["-s", "info.absent"], "'info.absent': there is no 'absent'; expected one of"),
        (["-c", "run_id,,seed"], "expected keys with commas between them, found an empty one"),
        (["-n", "0"], "0 is not in the range x>=1"),
        (["--layout", "both"], "'both' is not one of 'mlflow', 'hydra'"),
        (["-f", "seed ="], "filter 'seed =': column 7: expected a value"),
        (["-c", "accuracy"], "no such key: 'accuracy' in any of the 31 runs (similar keys: 'metr"),
        (["-x", "train"], "there is no experiment 'train' in"),
        (["--results", "a.csv"], "results: expected the path of a file"),
    ],
)
def test_invalid_options(ls: Ls, sweep: Path, option: list[str], message: str) -> None:
    result = ls(sweep, *option)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
    assert "Traceback" not in result.stderr


# Limits ---------------------------------------------------------------------------------


def count_configs(read: FilesRead) -> int:
    return sum(path.endswith("config.yaml") for path in read.paths)


def test_a_limit_reads_the_first_runs_alone(
    ls: Ls, tracking_dir: TrackingDir, files_read: FilesRead
) -> None:
    tracking_dir.add_runs(9)
    result = ls(tracking_dir.root, "--limit", "3", "--csv", "-c", "i")
    assert get_column(result.stdout, "i") == ["0", "1", "2"]
    assert count_configs(files_read) == 3
    assert not any("r003" in path for path in files_read.paths)


def test_a_limit_goes_on_until_there_are_enough(ls: Ls, tracking_dir: TrackingDir) -> None:
    for number in (1, 2, 3):
        experiment = tracking_dir.add_experiment(f"train_{number}", str(number))
        tracking_dir.add_run(experiment, f"a{number}", lifecycle_stage="deleted")
        tracking_dir.add_run(experiment, f"b{number}", f"i: {number}\n")
        write(experiment / "stray" / "notes.txt", "")

    def list_numbers(*options: str) -> list[str]:
        return get_column(ls(tracking_dir.root, "--csv", "-c", "i", *options).stdout, "i")

    assert list_numbers("-n", "2") == ["1", "2"]
    assert list_numbers("-n", "7") == ["1", "2", "3"]
    assert list_numbers("-n", "1", "-f", "i > 1") == ["2"]
    assert list_numbers("-n", "1", "-f", "job_name == train_3") == ["3"]


def test_an_order_by_a_metric_reads_the_configurations_of_the_first_runs_alone(
    ls: Ls, tracking_dir: TrackingDir, files_read: FilesRead
) -> None:
    experiment = tracking_dir.add_experiment("train")
    for i in range(9):
        metrics = {"loss": f"1 {9 - i} 0\n"}
        tracking_dir.add_run(experiment, f"r{i}", f"i: {i}\n", metrics, status=3 if i else 4)
    options = "-n", "2", "--csv", "-c", "i", "-f", "status == FINISHED"
    result = ls(tracking_dir.root, "--sort", "-metrics.loss", *options)
    assert get_column(result.stdout, "i") == ["1", "2"]
    assert result.stderr == "the first 2 of 8 runs\n"
    assert count_configs(files_read) == 2

    files_read.clear()
    result = ls(tracking_dir.root, "--sort", "-metrics.loss", *options, "-f", "i > 4")
    assert get_column(result.stdout, "i") == ["5", "6"]
    assert result.stderr == "the first 2 of 4 runs\n"

    result = ls(tracking_dir.root, "--sort", "-i", *options)
    assert get_column(result.stdout, "i") == ["8", "7"]
    assert result.stderr == "the first 2 of 8 runs\n"


@pytest.mark.parametrize(
    "options", [["-n", "2"], ["-n", "2", "-s", "start_time"], ["-n", "2", "-s", "seed"]]
)
def test_none_of_few_runs_matches(
    ls: Ls, sweep: Path, options: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    result = ls(sweep, *options, "-f", "model.type == mlp", "-f", "seed > 1000")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "0 after 'seed > 1000'" in caplog.text
    result = ls(sweep, *options, "-f", "sead > 1000")
    assert result.exit_code == 2
    assert "none of the 31 runs has the key 'sead'; similar keys: 'seed'" in result.stderr


@pytest.mark.parametrize("options", [[], ["-n", "2"], ["-n", "2", "-s", "start_time"]])
def test_a_place_without_runs(
    ls: Ls, tracking_dir: TrackingDir, options: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    tracking_dir.add_experiment("train")
    result = ls(tracking_dir.root, *options)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "one experiment ('train'), without runs" in caplog.text


# Failures -------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [[], ["-n", "9"], ["-n", "9", "-s", "start_time"], ["-s", "i"]])
def test_runs_that_cannot_be_read(
    ls: Ls, tracking_dir: TrackingDir, options: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    tracking_dir.add_runs(3)
    write(tracking_dir.root / "1/r001/artifacts/.hydra/config.yaml", "a: [\n")
    result = ls(tracking_dir.root, *options, "--csv", "-c", "i")
    assert get_column(result.stdout, "i") == ["0", "2"]
    assert result.exit_code == 2
    assert "r001/artifacts/.hydra/config.yaml" in caplog.text
    assert "skipped 1 of 3 runs and experiments that could not be read" in caplog.text


def test_experiments_that_cannot_be_read(
    ls: Ls, tracking_dir: TrackingDir, caplog: pytest.LogCaptureFixture
) -> None:
    tracking_dir.add_runs(1)
    write(tracking_dir.add_experiment("broken", "2") / "meta.yaml", "name: [\n")
    for options in ([], ["-n", "1"], ["-n", "1", "-s", "run_id"]):
        caplog.clear()
        result = ls(tracking_dir.root, *options, "--csv", "-c", "i")
        assert get_column(result.stdout, "i") == ["0"]
        assert result.exit_code == 2
        assert "2/meta.yaml" in caplog.text


def test_malformed_metrics_leave_cells_empty(
    ls: Ls, tracking_dir: TrackingDir, caplog: pytest.LogCaptureFixture
) -> None:
    experiment = tracking_dir.add_experiment("train")
    tracking_dir.add_run(experiment, "a", metrics={"loss": "1 0.5 0\n"})
    tracking_dir.add_run(experiment, "b", metrics={"loss": "garbage\n"})
    result = ls(tracking_dir.root, "--csv")
    assert get_column(result.stdout, "metrics.loss") == ["0.5", ""]
    assert result.exit_code == 2
    assert "metrics/loss" in caplog.text
    result = ls(tracking_dir.root, "--csv", "-f", "metrics.loss < 1")
    assert result.exit_code == 2
    assert len(read_csv(result.stdout)) == 1


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (StorageError("denied:\x1b[2J"), 2, "Error: denied:\\x1b[2J\n"),
        (RuntimeError("line\nbreak"), 2, "Error: RuntimeError: line break\n"),
        (ValueError("GET https://a:b@c/d?sig=abcdef"), 2, "Error: ValueError: GET https://c/d\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_errors_are_one_line(
    ls: Ls,
    sweep: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    code: int,
    message: str,
) -> None:
    monkeypatch.setattr("kedro_hydraflow.cli.paths.select_runs", fail_with(error))
    result = ls(sweep)
    assert (result.exit_code, result.stdout, result.stderr) == (code, "", message)


def test_credentials_are_not_shown(ls: Ls) -> None:
    result = ls("unknown://user:hunter22@host/mlruns")
    assert result.exit_code == 2
    assert "unknown" in result.stderr
    assert "hunter22" not in result.stderr


def test_a_closed_pipe_is_no_error(ls: Ls, sweep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kedro_hydraflow.cli.output.write", fail_with(BrokenPipeError()))
    result = ls(sweep)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")


def test_params_that_differ_are_shown_where_there_is_no_configuration(
    ls: Ls, database: Database
) -> None:
    database.add_experiment("train", 1)
    for number in range(3):
        params = {
            "lr": f"0.{number}",
            "seed": "7",
            **{f"p{i:02}": str(number + i) for i in range(9)},
        }
        database.add_run(1, f"{number:032x}", params=params)
    result = ls(database.path, "--json")
    assert result.exit_code == 0
    rows = json.loads(result.stdout)
    assert [row["params.lr"] for row in rows] == ["0.0", "0.1", "0.2"]
    assert "params.seed" not in rows[0]
    assert "not shown: 4 more params ('params.p05'," in ls(database.path).stderr


def test_columns_mean_what_their_spelling_says(ls: Ls, tracking_dir: TrackingDir) -> None:
    experiment = tracking_dir.add_experiment("train")
    for i in range(2):
        config = f"metrics: {{loss: {i + 10}}}\n" + ("only: x\n" if i else "")
        tracking_dir.add_run(experiment, f"r{i}", config, {"loss": f"1 0.{i}5 0\n"})
    columns = "metrics.loss,cfg.metrics.loss,only"
    result = ls(tracking_dir.root, "--columns", columns, "--json")
    assert json.loads(result.stdout) == [
        {"metrics.loss": 0.05, "cfg.metrics.loss": 10, "only": None},
        {"metrics.loss": 0.15, "cfg.metrics.loss": 11, "only": "x"},
    ]


# What differs ---------------------------------------------------------------------------


def test_only_what_differs(ls: Ls, sweep: Path) -> None:
    columns = "-c", "job_name,status,seed,data.scale,data.classes,metrics.accuracy"
    result = ls(sweep, "--csv", "--only-changed", "-n", "3", *columns)
    assert result.stdout.splitlines()[0] == "job_name,seed,metrics.accuracy"
    result = ls(sweep, "--only-changed", "-f", "model.type == mlp", "-f", "status == FINISHED")
    header = result.stdout.splitlines()[0].split()
    assert header[:3] == ["run_id", "job_name", "start_time"]
    assert "metrics.accuracy" in header


def test_nothing_differs(ls: Ls, sweep: Path) -> None:
    options = "--only-changed", "-c", "data.scale,data.classes"
    result = ls(sweep, *options)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "no column differs\n")
    result = ls(sweep, *options, "-n", "1")  # there is nothing from which one run might differ
    assert result.stdout.splitlines()[0] == "data.scale  data.classes"


# The best runs --------------------------------------------------------------------------


def list_best(*arguments: object) -> list[str]:
    return get_column(invoke("best", *arguments, "--csv", "-c", "run_id").stdout, "run_id")


@pytest.mark.parametrize("by", ["metrics.accuracy", "metrics.train/loss", "end_time", "seed"])
@pytest.mark.parametrize("mode", ["max", "min"])
def test_the_best_runs_are_those_of_python(sweep: Path, by: str, mode: Any) -> None:
    runs = Run.load(iter_run_dirs(sweep))
    expected = runs.top(5, by=by, mode=mode).to_list("run_id")
    assert list_best(sweep, "--by", by, "--mode", mode, "-n", "5") == expected
    assert list_best(sweep, "--by", by, "--mode", mode) == expected[:1]
    runs = runs.filter("model.type == linear")
    expected = runs.top(5, by=by, mode=mode).to_list("run_id")
    filters = "-f", "model.type == linear"
    assert list_best(sweep, "--by", by, "--mode", mode, "-n", "5", *filters) == expected


def test_the_key_of_a_ranking_is_a_column(sweep: Path) -> None:
    result = invoke("best", sweep, "--by", "metrics.val/accuracy", "--mode", "max", "-n", "2")
    assert result.exit_code == 0
    header, *rows = result.stdout.splitlines()
    assert "metrics.val/accuracy" in header.split()
    assert len(rows) == 2
    assert result.stderr.splitlines()[0] == "the best 2 of 31 runs"
    assert "metrics.val/accuracy" not in result.stderr
    result = invoke("best", sweep, "--by", "training.l2", "--mode", "min", "-n", "2")
    assert result.stdout.splitlines()[0].split()[-1] == "training.l2"


def test_the_best_run_by_a_metric_reads_its_configuration_alone(
    tracking_dir: TrackingDir, files_read: FilesRead
) -> None:
    experiment = tracking_dir.add_experiment("train")
    for i in range(9):
        tracking_dir.add_run(experiment, f"r{i}", f"i: {i}\n", {"loss": f"1 {9 - i} 0\n"})
    assert list_best(tracking_dir.root, "--by", "metrics.loss", "--mode", "min") == ["r8"]
    assert count_configs(files_read) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--by", "metrics.accuracy"],
            "give --mode max if the largest value of 'metrics.accuracy' is the best one, or --mode "
            "min if the smallest is, as for a loss\n",
        ),
        (["--mode", "max"], "Missing option '--by'"),
        (["--by", "metrics.acuracy", "--mode", "max"], "similar keys: 'metrics.accuracy'"),
        (["--by", "model.type", "--mode", "max"], "expected a number or a time, run"),
        (["--by", "info.absent", "--mode", "max"], "there is no 'absent'; expected one of"),
    ],
)
def test_a_ranking_that_is_impossible(sweep: Path, options: list[str], message: str) -> None:
    result = invoke("best", sweep, *options)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_no_run_is_the_best(sweep: Path) -> None:
    options = "--by", "metrics.accuracy", "--mode", "max", "-f", "status == RUNNING"
    assert invoke("best", sweep, *options).exit_code == 1
    assert invoke("best", sweep, *options[:2], "--mode", "min", "-f", "seed > 999").exit_code == 1


def test_no_run_is_the_best_without_a_number(tracking_dir: TrackingDir) -> None:
    experiment = tracking_dir.add_experiment("train")
    tracking_dir.add_run(experiment, "a", metrics={"loss": "1 nan 0\n"})
    result = invoke("best", tracking_dir.root, "--by", "metrics.loss", "--mode", "min")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "the run does not have a value for 'metrics.loss' (1 have NaN)" in result.stderr


def test_a_malformed_metric_of_one_run_does_not_hide_the_best(
    tracking_dir: TrackingDir, caplog: pytest.LogCaptureFixture
) -> None:
    experiment = tracking_dir.add_experiment("train")
    tracking_dir.add_run(experiment, "a", metrics={"loss": "1 0.5 0\n"})
    tracking_dir.add_run(experiment, "b", metrics={"loss": "1 garbage 0\n"})
    for sort in ("best", "--by", "metrics.loss", "--mode", "min"), ("ls", "-s", "metrics.loss"):
        result = invoke(sort[0], tracking_dir.root, *sort[1:], "-n", "1", "-c", "run_id", "--csv")
        assert (result.exit_code, result.stdout) == (2, "run_id\na\n")
        path = tracking_dir.root / "1/b/metrics/loss"
        assert f"taken for missing: {path}: line 1: expected 'timestamp value step'" in caplog.text
        caplog.clear()


def test_values_that_differ_look_different(tracking_dir: TrackingDir) -> None:
    experiment = tracking_dir.add_experiment("train")
    for i, (seed, layers) in enumerate([("1", "[1, a]"), ("'1'", "['1', a]"), ("true", "[2]")]):
        config = f"lr: 0.1234567{i}\nseed: {seed}\nlayers: {layers}\n"
        tracking_dir.add_run(experiment, f"r{i}", config, {"loss": f"1 0.33333333{i} 0\n"})
    result = invoke("ls", tracking_dir.root, "-c", "lr,seed,metrics.loss,layers")
    assert [line.split(maxsplit=3) for line in result.stdout.splitlines()] == [
        ["lr", "seed", "metrics.loss", "layers"],
        ["0.1234567", "1", "0.33333333", '[1, "a"]'],
        ["0.12345671", '"1"', "0.333333331", '["1", "a"]'],
        ["0.12345672", "true", "0.333333332", "[2]"],
    ]
