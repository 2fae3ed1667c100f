"""Catalog entries, in one process that runs Kedro for all of these tests."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import polars as pl
import pytest

from kedro_hydraflow import HydraflowRunCollectionDataset, Run, iter_run_dirs
from kedro_hydraflow.checkpoint import Checkpoint
from kedro_hydraflow.storage import locate
from tests.cli.conftest import Execute
from tests.conftest import ROOT, SWEEP, write

CATALOG = """\
strict_runs:
  type: kedro_hydraflow.HydraflowRunCollectionDataset
  path: examples/data/mlruns
  filters: [model.type == mlp]
  min_runs: 1000
  impl: digits.trained_model.TrainedModel

broken_runs:
  type: kedro_hydraflow.HydraflowRunCollectionDataset
  path: examples/broken
  on_error: {on_error}

malformed_run:
  type: kedro_hydraflow.HydraflowRunDataset
  path: examples/malformed
  run_id: abcd
  on_error: {on_error}

remote_runs:
  type: kedro_hydraflow.HydraflowRunCollectionDataset
  path: memory://no-such-place
  credentials: some

wrong_runs:
  type: kedro_hydraflow.HydraflowRunCollectionDataset
  path: examples/data/mlruns
  n_jobs: many

several_runs:
  type: kedro_hydraflow.HydraflowRunDataset
  path: examples/data/mlruns
  filters: [model.type == mlp]

unavailable:
  type: no.such.Dataset

shared_runs:
  type: kedro_hydraflow.HydraflowRunCollectionDataset
  path: examples/data/mlruns
  filters: [model.type == mlp]
  index: {index}
  min_runs: 1000

shared_artifacts:
  type: kedro_hydraflow.HydraflowArtifactDataset
  path: examples/data/mlruns
  experiment_names: eval_digits
  artifact: confusion_matrix.json
  dataset: json.JSONDataset
  index: {index}-of-some

new_runs:
  type: kedro_hydraflow.HydraflowRunCollectionDataset
  path: examples/data/mlruns
  checkpoint: {{filepath: processed_runs.json}}
  index: {index}-of-new

locked_runs:
  type: kedro_hydraflow.HydraflowRunCollectionDataset
  path: examples/data/mlruns
  filters: [model.type == mlp]
  lock: {{filepath: locked_runs.json}}
  index: {index}-of-locked

broken_shared_runs:
  type: kedro_hydraflow.HydraflowRunCollectionDataset
  path: examples/broken
  index: {index}-of-broken
  on_error: {on_error}

locally_indexed_runs:
  type: kedro_hydraflow.HydraflowRunCollectionDataset
  path: examples/data/mlruns
  index: data/index
"""

LS: dict[str, list[str]] = {
    "a collection": ["sweep_runs", "-f", "model.type == mlp", "-c", "run_id,status"],
    "a factory": ["train_digits_v1_runs", "-c", "run_id,job_name"],
    "no experiment": ["digits_runs"],
    "one run": ["one_run", "-c", "run_id"],
    "the best run": ["the_best_run", "-c", "run_id,metrics.accuracy"],
    "another run": ["the_best_run", "-f", "seed == 1000"],
    "a frame": ["sweep_frame", "-c", "run_id"],
    "an order of one run": ["the_best_run", "-s", "sead"],
    "the artifact of one run": ["the_best_confusion_matrix", "-c", "run_id,metrics.accuracy"],
    "artifacts": ["confusion_matrices", "-n", "3", "-s", "-metrics.accuracy", "-c", "run_id"],
    "an environment": ["sweep_runs", "--env", "sqlite", "-c", "run_id"],
    "results": ["curve_runs", "--env", "hydra", "-n", "1"],
    "no environment": ["sweep_runs", "--env", "nonsense"],
    "too few": ["strict_runs", "--env", "more", "-c", "impl.n_weights", "-n", "1"],
    "broken": ["broken_runs", "--env", "more", "-c", "i"],
    "broken, skipped": ["broken_runs", "--env", "lenient", "-c", "i"],
    "several": ["several_runs", "--env", "more"],
    "wrong": ["wrong_runs", "--env", "more"],
    "remote": ["remote_runs", "--env", "more"],
    "no entry": [],
    "an unknown entry": ["swep_run"],
    "another type": ["leaderboard", "--env", "more"],
    "parameters": ["params:ranking_metric"],
}

INDEX: dict[str, list[str]] = {
    "publishing": ["shared_runs", "--env", "more"],
    "publishing again": ["shared_runs", "--env", "more"],
    "publishing all again": ["shared_runs", "--env", "more", "--refresh"],
    "publishing some": ["shared_artifacts", "--env", "more"],
    "publishing with a checkpoint": ["new_runs", "--env", "more"],
    "publishing with a lock": ["locked_runs", "--env", "more"],
    "publishing broken runs": ["broken_shared_runs", "--env", "more"],
    "publishing without an index": ["sweep_runs"],
    "publishing on this machine": ["locally_indexed_runs", "--env", "more"],
    "publishing one run": ["one_run"],
    "publishing the best run": ["the_best_run"],
    "publishing one artifact": ["the_best_confusion_matrix"],
    "publishing no entry": [],
    "publishing an unknown entry": ["swep_run"],
    "publishing another type": ["leaderboard"],
}

OTHERS: dict[str, list[str]] = {
    "showing": ["show", "sweep_runs", "13f4"],
    "showing what filters leave out": ["show", "strict_runs", "00a3be32", "--env", "more"],
    "showing the run of an entry": ["show", "one_run", "5b59290f", "--json"],
    "showing another run": ["show", "one_run", "13f42e95"],
    "showing a malformed metric": ["show", "malformed_run", "abcd", "--env", "more"],
    "tolerating a malformed metric": ["show", "malformed_run", "abcd", "--env", "lenient"],
    "showing confirmed runs": ["show", "new_runs", "13f42e95", "--env", "more"],
    "showing no run": ["show", "sweep_runs"],
    "a difference": ["diff", "sweep_runs", "13f4", "cde9", "--csv"],
    "the best": ["best", "sweep_runs", "--by", "metrics.accuracy", "--mode", "max", "--csv"],
    "the best of one": ["best", "one_run", "--by", "seed", "--mode", "min", "--csv"],
    "the best without mode": ["best", "sweep_runs", "--by", "metrics.accuracy"],
    "an export": ["export", "curve_runs", "exported.parquet", "--env", "hydra"],
    "an export of an unknown entry": ["export", "swep_run", "other.parquet"],
}

OF_OLD_KEDRO = "Error: InterpolationResolutionError: Globals key 'reporting' not found"
"""What versions of Kedro say of an environment that is not there, which read globals first."""

DRIVER = """\
import json, sys
from pathlib import Path
from tests.cli.conftest import RUNNER
from kedro.framework.startup import bootstrap_project
from kedro_hydraflow.cli.project import commands

metadata = bootstrap_project(Path.cwd())
results = {}
for name, arguments in json.load(sys.stdin).items():
    result = RUNNER.invoke(commands, ["hydraflow", *arguments], obj=metadata)
    results[name] = [result.exit_code, result.stdout, result.stderr]
Path("results.json").write_text(json.dumps(results))
"""

Results = dict[str, tuple[int, str, str]]


@pytest.fixture(scope="module")
def results(project: Path, environment: dict[str, str]) -> Results:
    """The exit code, standard output and standard error of each command."""
    broken = project / "examples/broken/1"
    for name, config in (("a", "i: 1\n"), ("b", "i: [\n")):
        write(broken / name / "artifacts/.hydra/config.yaml", config)
        write(broken / name / "meta.yaml", (ROOT / RUN_META).read_text())
    write(broken / "meta.yaml", (ROOT / EXPERIMENT_META).read_text())
    malformed = project / "examples/malformed/1/abcd"
    shutil.copytree(broken / "a", malformed)
    shutil.copy(broken / "meta.yaml", malformed.parent)
    write(malformed / "metrics/loss", "garbage\n")
    write(malformed / "metrics/n", "1 2 0\n")
    for env, on_error in (("more", "raise"), ("lenient", "warn")):
        catalog = CATALOG.format(on_error=on_error, index=(project / "shared").as_uri())
        write(project / f"conf/{env}/catalog.yml", catalog)
        write(project / f"conf/{env}/credentials.yml", "some: {token: hunter22}\n")
    Checkpoint(locate(project / "processed_runs.json")).add(["13f42e9535654d01a4143ddd9be02cb7"])
    HydraflowRunCollectionDataset(
        path=str(SWEEP), filters=["model.type == mlp"], lock=str(project / "locked_runs.json")
    ).load()
    commands = {name: ["ls", *arguments, "--csv"] for name, arguments in LS.items()}
    commands |= {name: ["index", *arguments] for name, arguments in INDEX.items()}
    commands |= OTHERS
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", DRIVER],
        cwd=project,
        env={**environment, "PYTHONPATH": f"{ROOT}{os.pathsep}{environment['PYTHONPATH']}"},
        input=json.dumps(commands),
        text=True,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    read = json.loads((project / "results.json").read_text())
    return {name: tuple(result) for name, result in read.items()}


EXPERIMENT_META = next(SWEEP.glob("8*/meta.yaml")).relative_to(ROOT)
RUN_META = next(SWEEP.glob("8*/*/meta.yaml")).relative_to(ROOT)


def read_csv(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def get_error(result: tuple[int, str, str]) -> str:
    """Return the last paragraph of standard error, after what Kedro logs."""
    code, stdout, stderr = result
    assert (code, stdout) == (2, "")
    assert "Traceback" not in stderr
    return stderr[stderr.index("Error: ") :].removesuffix("\n")


ENTRIES = (
    "the entries with runs are 'sweep_runs', 'sweep_frame', 'the_best_run', "
    "'the_best_confusion_matrix', 'confusion_matrices', 'one_run', '{experiment}_runs'"
)


def test_a_frame(results: Results) -> None:
    code, stdout, _ = results["a frame"]
    assert (code, len(read_csv(stdout))) == (0, 30)


def test_a_collection(results: Results) -> None:
    code, stdout, _ = results["a collection"]
    filters = ["status == FINISHED", "model.type == mlp"]  # those of the entry, too
    expected = Run.load(iter_run_dirs(SWEEP, filters=filters))
    assert code == 0
    assert [row["run_id"] for row in read_csv(stdout)] == expected.to_list("run_id")


def test_a_factory(results: Results) -> None:
    code, stdout, _ = results["a factory"]
    assert code == 0
    assert {row["job_name"] for row in read_csv(stdout)} == {"train_digits_v1"}
    message = get_error(results["no experiment"])
    assert message.startswith("Error: experiment_names: there is no experiment 'digits' in")


def test_one_run(results: Results) -> None:
    assert results["one run"][:2] == (0, "run_id\n5b59290f35f943c8863522a4cd371131\n")
    code, stdout, _ = results["the best run"]
    assert code == 0
    assert [row["run_id"] for row in read_csv(stdout)] == ["13f42e9535654d01a4143ddd9be02cb7"]
    code, stdout, stderr = results["another run"]
    assert (code, stdout) == (1, "run_id,job_name,status,start_time\n")
    assert "does not meet the filters" in " ".join(stderr.split())
    assert "the run does not have the key 'sead'" in get_error(results["an order of one run"])


def test_a_run_that_cannot_be_chosen(results: Results) -> None:
    message = get_error(results["several"])
    assert message.startswith("Error: expected one run, found 19 in ")
    assert message.endswith("\n- and 14 more")


def test_artifacts(results: Results) -> None:
    best = Run.load(iter_run_dirs(SWEEP)).top(3, by="metrics.accuracy", mode="max")
    code, stdout, _ = results["artifacts"]
    assert code == 0
    assert {row["run_id"] for row in read_csv(stdout)} == set(best.to_list("run_id"))


def test_the_artifact_of_one_run(results: Results) -> None:
    code, stdout, _ = results["the artifact of one run"]
    assert (code, stdout) == results["the best run"][:2]
    assert len(read_csv(stdout)) == 1


def test_environments(results: Results) -> None:
    code, stdout, _ = results["an environment"]
    assert (code, len(read_csv(stdout))) == (0, 6)
    code, stdout, _ = results["results"]
    assert code == 0
    assert read_csv(stdout)[0]["results.n_weights"] == "4"
    message = get_error(results["no environment"])
    expected = ("Error: MissingConfigException: Given configuration path either", OF_OLD_KEDRO)
    assert message.startswith(expected)


def test_min_runs_does_not_count_and_impl_does(results: Results) -> None:
    code, stdout, _ = results["too few"]
    assert (code, stdout) == (0, "impl.n_weights\n2368\n")  # 64 * 32 + 32 * 10


def test_runs_that_cannot_be_read(results: Results) -> None:
    code, stdout, stderr = results["broken"]
    assert (code, stdout) == (2, "i\n1\n")
    assert "skipped 1 of 2 runs" in " ".join(stderr.split())
    code, stdout, stderr = results["broken, skipped"]  # as the entry says
    assert (code, stdout) == (0, "i\n1\n")
    assert "skipped 1 of 2 runs" in " ".join(stderr.split())


def test_entries_that_cannot_be_loaded(results: Results) -> None:
    message = get_error(results["wrong"])
    assert message.startswith("Error: n_jobs: expected an integer, found 'many'; use 0 or 1 for")
    message = get_error(results["remote"])
    assert "memory://no-such-place" in message
    assert "hunter22" not in message


def test_no_entry(results: Results) -> None:
    assert get_error(results["no entry"]) == f"Error: give the name of a catalog entry; {ENTRIES}"
    message = get_error(results["an unknown entry"])
    assert message.startswith("Error: there is no catalog entry 'swep_run'; the nearest are 'sweep")
    assert message.endswith(f"; {ENTRIES}")


def test_entries_without_runs(results: Results) -> None:
    assert get_error(results["another type"]).startswith(
        "Error: the catalog entry 'leaderboard' has the type EagerPolarsDataset, which loads no "
        "runs; the entries with runs are 'sweep_runs', "
    )
    assert "has the type MemoryDataset, which loads no runs" in get_error(results["parameters"])


def test_showing(results: Results) -> None:
    code, stdout, _ = results["showing"]
    assert (code, stdout.splitlines()[0].split()[1]) == (0, "13f42e9535654d01a4143ddd9be02cb7")
    code, stdout, _ = results["showing the run of an entry"]
    assert (code, json.loads(stdout)["configuration"]["seed"]) == (0, 42)
    for name, run_id in [
        ("showing what filters leave out", "00a3be32"),
        ("showing another run", "13f42e95"),
        ("showing confirmed runs", "13f42e95"),
    ]:
        assert get_error(results[name]).startswith(f"Error: no run has the ID {run_id!r}, or one")
    code, stdout, stderr = results["showing no run"]
    assert (code, stdout) == (2, "")
    assert "hydraflow show [OPTIONS] ENTRY RUN\n" in stderr


def test_what_is_malformed_is_an_error_unless_the_entry_tolerates_it(results: Results) -> None:
    for name, code in [("showing a malformed metric", 2), ("tolerating a malformed metric", 0)]:
        assert results[name][0] == code
        assert "metrics (1)\n  n  2\n" in results[name][1]
        assert "line 1: expected 'timestamp value step'" in " ".join(results[name][2].split())


def test_a_difference(results: Results) -> None:
    code, stdout, _ = results["a difference"]
    assert code == 0
    assert [row["key"] for row in read_csv(stdout)] == [
        "model.hidden_size",
        "seed",
        "metrics.train/loss",
    ]


def test_the_best(results: Results) -> None:
    code, stdout, _ = results["the best"]
    (row,) = read_csv(stdout)
    assert (code, row["run_id"]) == (0, "13f42e9535654d01a4143ddd9be02cb7")
    code, stdout, _ = results["the best of one"]
    (row,) = read_csv(stdout)
    assert (code, row["run_id"]) == (0, "5b59290f35f943c8863522a4cd371131")
    assert "give --mode max if the largest value" in get_error(results["the best without mode"])


def test_an_export(results: Results, project: Path) -> None:
    code, stdout, _ = results["an export"]
    frame = pl.read_parquet(project / "exported.parquet")
    shown = f"wrote {frame.height} runs with {frame.width} columns to exported.parquet\n"
    assert (code, stdout) == (0, shown)
    assert "results.n_weights" in frame.columns
    message = get_error(results["an export of an unknown entry"])
    assert message == get_error(results["an unknown entry"])
    assert not (project / "other.parquet").exists()


def test_publishing(results: Results, project: Path) -> None:
    """All runs of the experiments are published, whatever filters and `min_runs` say."""
    for name, published in [
        ("publishing", "published 31 runs"),
        ("publishing again", "published 0 runs, 31 were published before"),
        ("publishing all again", "published 31 runs"),
        ("publishing some", "published 2 runs"),
        ("publishing with a checkpoint", "published 31 runs"),
        ("publishing with a lock", "published 31 runs"),
    ]:
        assert results[name][:2] == (0, f"{published}\n")
    for name in ("shared", "shared-of-some", "shared-of-new", "shared-of-locked"):
        assert len(list((project / name).glob("runs-*.parquet"))) == 1


def test_publishing_runs_that_cannot_be_read(results: Results) -> None:
    code, stdout, stderr = results["publishing broken runs"]
    assert (code, stdout) == (2, "published 1 run, 1 could not be read\n")
    assert "skipped 1 of 2 runs and experiments" in " ".join(stderr.split())


def test_entries_that_cannot_be_published(results: Results, project: Path) -> None:
    expected = (
        "Error: index: expected the URL of an index to publish in, such as "
        "s3://team/mlruns/.kedro-hydraflow or file:///mnt/team/index, found "
    )
    assert get_error(results["publishing without an index"]) == f"{expected}None"
    assert get_error(results["publishing on this machine"]) == f"{expected}'data/index'"
    for name, entry in [
        ("publishing one run", "one_run"),
        ("publishing the best run", "the_best_run"),
        ("publishing one artifact", "the_best_confusion_matrix"),
    ]:
        message = f"Error: the catalog entry {entry!r} loads one run; give one with many runs"
        assert get_error(results[name]) == message
    for how in ("no entry", "an unknown entry"):
        assert get_error(results[f"publishing {how}"]) == get_error(results[how])
    message = get_error(results["publishing another type"])
    assert message.startswith("Error: the catalog entry 'leaderboard' has the type")
    assert not (project / "data").exists()


def test_without_a_project(execute: Execute, tmp_path: Path) -> None:
    done = execute(sys.executable, "-m", "kedro_hydraflow", "ls", "--entry", "a", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"Error: there is no Kedro project in {str(tmp_path)!r} or above it" in done.stderr


def test_a_project_without_runs(execute: Execute, tmp_path: Path) -> None:
    write(
        tmp_path / "pyproject.toml",
        textwrap.dedent("""\
            [tool.kedro]
            package_name = "empty"
            project_name = "empty"
            kedro_init_version = "1.0.0"
            source_dir = "."
        """),
    )
    for name in ("empty/__init__.py", "empty/settings.py"):
        write(tmp_path / name, "")
    write(tmp_path / "empty/pipeline_registry.py", "def register_pipelines(): return {}\n")
    for name in ("base", "local"):
        write(tmp_path / "conf" / name / "parameters.yml", "")
        write(tmp_path / "conf" / name / "catalog.yml", "")
    done = execute(sys.executable, "-m", "kedro_hydraflow", "ls", "--entry", "a", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    message = "Error: there is no catalog entry 'a'; no entry of the catalog loads runs\n"
    assert done.stderr.endswith(message)
