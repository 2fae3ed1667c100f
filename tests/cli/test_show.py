from __future__ import annotations

import json
from pathlib import Path

import pytest

from kedro_hydraflow import Run
from kedro_hydraflow.artifacts.listings import FolderListings
from kedro_hydraflow.cli.show import _show_size
from kedro_hydraflow.errors import StorageError
from tests.cli.conftest import fail_with, invoke
from tests.conftest import HYDRA_SWEEP, FilesRead, TrackingDir, write

BEST = "13f42e9535654d01a4143ddd9be02cb7"


def test_a_run(sweep: Path) -> None:
    result = invoke("show", sweep, "13f42e95")
    assert (result.exit_code, result.stderr) == (0, "")
    run_dir = sweep / "755333311138222354" / BEST
    assert (
        result.stdout
        == f"""\
run_id           {BEST}
run_name         nervous-pug-53
job_name         train_digits_v1
experiment_id    755333311138222354
status           FINISHED
start_time       2026-11-23 00:39:24Z
end_time         2026-11-23 00:39:24Z
lifecycle_stage  active
run_dir          {run_dir}

overrides (4)
  model.type=mlp
  model.hidden_size=64
  training.learning_rate=0.01
  seed=1

configuration (12)
  model.type              mlp
  model.hidden_size       64
  model.activation        relu
  training.learning_rate  0.01
  training.batch_size     64
  training.epochs         8
  training.l2             0.0001
  data.test_fraction      0.25
  data.scale              true
  data.classes            [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
  seed                    1
  note                    null

metrics (3)
  accuracy      0.977778
  train/loss    0.00898109
  val/accuracy  0.977778

params (2)
  model.type              mlp
  training.learning_rate  0.01

tags (1)
  stage  sweep

artifacts (6)
  confusion_matrix.json  792 B
  train_digits_v1.log    0 B
  .hydra/config.yaml     262 B
  .hydra/hydra.yaml      3.38 kB
  .hydra/overrides.yaml  79 B
  model/weights.npz      9.27 kB
"""
    )


def test_json_has_all_of_it(sweep: Path) -> None:
    result = invoke("show", sweep, BEST, "--json")
    assert (result.exit_code, len(result.stdout.splitlines())) == (0, 1)
    shown = json.loads(result.stdout)
    run = Run(sweep / "755333311138222354" / BEST)
    assert shown["start_time"] == "2026-11-23T00:39:24.754+00:00"
    assert shown["overrides"] == run.overrides
    assert shown["configuration"] == run.to_dict()
    assert shown["metrics"] == run.metrics
    assert shown["params"] == run.params
    assert shown["tags"] == run.tags
    assert "results" not in shown
    assert shown["artifacts"][0] == {"path": "confusion_matrix.json", "size": 792}


def test_a_run_of_hydra_with_results() -> None:
    run_id = "multirun/2026-11-25/23-01-50/1"  # with which 10 begins, too
    result = invoke("show", HYDRA_SWEEP / "multirun", run_id, "--results", "result.json", "--json")
    shown = json.loads(result.stdout)
    assert shown["run_id"] == run_id
    assert shown["status"] is None
    assert set(shown["results"]) == {"loss", "n_weights"}
    assert shown["configuration"]["title"].startswith("cubic-")  # which is resolved


def test_sections_are_bounded_and_json_is_not(tracking_dir: TrackingDir) -> None:
    config = "".join(f"k{i}: {'x' * 500}\n" for i in range(150))
    tracking_dir.add_run(tracking_dir.add_experiment("train"), "abcd", config)
    lines = invoke("show", tracking_dir.root, "abcd").stdout.splitlines()
    assert "configuration (150)" in lines
    assert "  … 50 more, which --json has" in lines
    assert f"  k0   {'x' * 199}…" in lines
    shown = json.loads(invoke("show", tracking_dir.root, "abcd", "--json").stdout)
    assert len(shown["configuration"]) == 150
    assert shown["configuration"]["k149"] == "x" * 500


def test_what_is_foreign_does_not_act(tracking_dir: TrackingDir) -> None:
    experiment = tracking_dir.add_experiment("train\x1b[2J")
    run_dir = tracking_dir.add_run(experiment, "abcd", '"k\\e[2J": "a\\e[2J\\nb"\n')
    write(run_dir / "artifacts/a\x1b[2J", "")
    result = invoke("show", tracking_dir.root, "abcd")
    assert result.exit_code == 0
    assert "\x1b" not in result.stdout
    for line in ("job_name         train\\x1b[2J", '  k\\x1b[2J  "a\\x1b[2J\\nb"', "  a\\x1b[2J"):
        assert line in "\n".join(each[: len(line)] for each in result.stdout.splitlines())
    shown = json.loads(invoke("show", tracking_dir.root, "abcd", "--json").stdout)
    assert shown["configuration"] == {"k\x1b[2J": "a\x1b[2J\nb"}


def test_nothing_is_read_of_other_runs(tracking_dir: TrackingDir, files_read: FilesRead) -> None:
    tracking_dir.add_runs(5)
    assert invoke("show", tracking_dir.root, "r003").exit_code == 0
    assert {path for path in files_read.paths if "/1/r" in path and "/r003/" not in path} == set()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["zzzz"], "no run has the ID 'zzzz', or one that begins so (with at least 4 characters)"),
        (["13f"], "no run has the ID '13f', or one that begins so (with at least 4 characters)"),
        (["zzzz", "-x", "absent"], "experiment_names: there is no experiment 'absent' in"),
        ([], "no directory '0'"),
    ],
)
def test_runs_that_there_are_not(sweep: Path, arguments: list[str], message: str) -> None:
    result = invoke("show", sweep, *arguments) if arguments else invoke("show", "0", "abcd")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("Error: ")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_beginning_of_several_ids(tracking_dir: TrackingDir) -> None:
    experiment = tracking_dir.add_experiment("train")
    for run_id in ("abcde1", "abcde2", "abcd"):
        tracking_dir.add_run(experiment, run_id)
    result = invoke("show", tracking_dir.root, "abcde")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        "Error: 2 runs have the ID 'abcde', or one that begins so: 'abcde1', 'abcde2'; give more "
        "of the ID\n"
    )
    assert invoke("show", tracking_dir.root, "abcd").stdout.startswith("run_id           abcd\n")


def test_a_malformed_configuration_hides_nothing_else(
    tracking_dir: TrackingDir, caplog: pytest.LogCaptureFixture
) -> None:
    experiment = tracking_dir.add_experiment("train")
    tracking_dir.add_run(experiment, "abcd", "a: [\n", {"loss": "1 0.5 0\n"})
    tracking_dir.add_run(experiment, "efgh", "a: 1\n")
    result = invoke("show", tracking_dir.root, "abcd")
    assert result.exit_code == 2
    assert result.stdout.startswith("run_id           abcd\n")
    assert "\nmetrics (1)\n  loss  0.5\n" in result.stdout
    assert "\nconfiguration" not in result.stdout
    (message,) = [record.getMessage() for record in caplog.records]
    path = tracking_dir.root / "1/abcd/artifacts/.hydra/config.yaml"
    assert message.startswith("configuration cannot be read: ")
    assert str(path) in message
    shown = json.loads(invoke("show", tracking_dir.root, "abcd", "--json").stdout)
    assert shown["configuration"] is None
    assert shown["metrics"] == {"loss": 0.5}
    result = invoke("diff", tracking_dir.root, "abcd", "efgh")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("Error: ")
    assert str(path) in result.stderr


def test_a_run_that_cannot_be_read(tracking_dir: TrackingDir) -> None:
    experiment = tracking_dir.add_experiment("train")
    run_dir = tracking_dir.add_run(experiment, "abcd")
    write(run_dir / "meta.yaml", "run_id: [\n")
    result = invoke("show", tracking_dir.root, "abcd")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Error: the run 'abcd' could not be read: " in result.stderr
    assert "abcd/meta.yaml" in result.stderr


def test_what_can_be_read_is_shown(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(FolderListings, "list_some", fail_with(StorageError("denied")))
    arguments = "show", run_dir.parent.parent, run_dir.name
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert "\nconfiguration (" in result.stdout
    assert "\nartifacts" not in result.stdout
    assert "artifacts cannot be read: denied" in caplog.text
    assert json.loads(invoke(*arguments, "--json").stdout)["artifacts"] is None


@pytest.mark.parametrize("arguments", [[], ["a", "b", "c"]])
def test_a_wrong_number_of_arguments(arguments: list[str]) -> None:
    result = invoke("show", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    count = len(arguments)
    assert f"Error: expected [PATH_OR_URL] RUN, found {count} arguments\n" in result.stderr


def test_the_default_place(sweep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(sweep.parent)
    assert invoke("show", "13f42e95").stdout.startswith(f"run_id           {BEST}\n")


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (None, ""),
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (999_400, "999 kB"),
        (999_600, "1 MB"),
        (1_234_567_890, "1.23 GB"),
        (5 * 10**15, "5e+03 TB"),
    ],
)
def test_sizes(size: int | None, text: str) -> None:
    assert _show_size(size) == text


def test_a_malformed_metric_is_left_out(
    tracking_dir: TrackingDir, caplog: pytest.LogCaptureFixture
) -> None:
    metrics = {"loss": "garbage\n", "accuracy": "1 0.5 0\n"}
    tracking_dir.add_run(tracking_dir.add_experiment("train"), "abcd", metrics=metrics)
    result = invoke("show", tracking_dir.root, "abcd")
    assert result.exit_code == 2
    assert "\nmetrics (1)\n  accuracy  0.5\n" in result.stdout
    assert "1/abcd/metrics/loss: line 1: expected 'timestamp value step'" in caplog.text


def test_text_that_looks_like_another_value_is_quoted(tracking_dir: TrackingDir) -> None:
    config = "a: 1\nb: '1'\nc: 'null'\nd: null\ne: 0.1234567891\n"
    tracking_dir.add_run(tracking_dir.add_experiment("train"), "abcd", config)
    lines = invoke("show", tracking_dir.root, "abcd").stdout.splitlines()
    assert {"  a  1", "  b  '1'", "  c  'null'", "  d  null", "  e  0.1234567891"} <= set(lines)


def test_a_run_that_was_copied_to_another_experiment(tracking_dir: TrackingDir) -> None:
    for name, experiment_id in ("train", "1"), ("copy\n", "2"):
        tracking_dir.add_run(tracking_dir.add_experiment(name, experiment_id), "abcd")
    result = invoke("show", tracking_dir.root, "abcd")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        "Error: the run abcd is in 2 experiments; give --experiment NAME to choose one:\n"
        f"- copy\\n: {tracking_dir.root}/2/abcd\n"
        f"- train: {tracking_dir.root}/1/abcd\n"
    )
    shown = invoke("show", tracking_dir.root, "abcd", "-x", "train").stdout
    assert f"run_dir          {tracking_dir.root}/1/abcd\n" in shown


def test_a_directory_without_a_run(sweep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(sweep.parent)
    result = invoke("show", "mlruns")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.endswith(
        "Error: expected [PATH_OR_URL] RUN, found the directory 'mlruns'; give RUN (an ID) too, "
        "after the directory that all runs are in\n"
    )
    result = invoke("diff", "mlruns", "13f42e95")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.endswith(
        "Error: expected [PATH_OR_URL] RUN RUN, found the directory 'mlruns' and '13f42e95'; "
        "give RUN (an ID) too, after the directory that all runs are in\n"
    )


def test_the_name_of_a_run_is_for_filters(sweep: Path) -> None:
    result = invoke("show", sweep, "nervous-pug-53")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        "Error: no run has the ID 'nervous-pug-53', or one that begins so (with at least 4 "
        "characters); to find a run by its name, filter by run_name\n"
    )
    result = invoke("ls", sweep, "-f", "run_name == nervous-pug-53", "-c", "run_id", "--csv")
    assert result.stdout == f"run_id\n{BEST}\n"
