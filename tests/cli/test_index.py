from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from kedro_hydraflow import Run, iter_run_dirs
from kedro_hydraflow.cli.main import main
from tests.cli.conftest import COMMAND, RUNNER, Execute
from tests.conftest import DATABASE_SWEEP, SWEEP, FilesRead, TrackingDir

Index = Callable[..., Result]


@pytest.fixture
def index() -> Index:
    """Run ``kedro-hydraflow index`` in this process."""

    def run(*arguments: object) -> Result:
        return RUNNER.invoke(main, ["index", *map(str, arguments)], prog_name="kedro-hydraflow")

    return run


@pytest.fixture
def url(tmp_path: Path) -> str:
    return (tmp_path / "index").as_uri()


def test_what_was_published_is_not_read_again(
    index: Index, url: str, tmp_path: Path, files_read: FilesRead
) -> None:
    root = shutil.copytree(SWEEP, tmp_path / "mlruns")
    n_eval = len(Run.load(iter_run_dirs(root, "eval_digits"), index=False))
    first = index(root, "--to", url, "-x", "eval_digits")
    assert (first.exit_code, first.stdout) == (0, f"published {n_eval} runs\n")
    again = index(root, "--to", url)
    expected = f"published {31 - n_eval} runs, {n_eval} were published before\n"
    assert (again.exit_code, again.stdout) == (0, expected)
    refreshed = index(root, "--to", url, "--refresh")
    assert (refreshed.exit_code, refreshed.stdout) == (0, "published 31 runs\n")
    assert {done.stderr for done in (first, again, refreshed)} == {""}

    files_read.clear()
    assert len(Run.load(iter_run_dirs(root), index=url)) == 31
    assert not any(path.endswith("config.yaml") for path in files_read.paths)


def test_it_says_what_it_left_out(
    index: Index, url: str, tracking_dir: TrackingDir, caplog: pytest.LogCaptureFixture
) -> None:
    train = tracking_dir.add_experiment("train")
    tracking_dir.add_run(train, "b" * 32, "seed: [")
    tracking_dir.add_run(train, "c" * 32, "seed: 1", status=1, end_time=None)
    done = index(tracking_dir.root, "--to", url)
    expected = "published 0 runs, 1 have not ended or were deleted, 1 could not be read\n"
    assert (done.exit_code, done.stdout) == (2, expected)
    assert "skipped 1 of 2 runs and experiments" in caplog.text


@pytest.mark.parametrize("wrong", ["index", "./index", "data/index", ""])
def test_the_index_has_a_url(
    index: Index, wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = index(SWEEP, "--to", wrong)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == (
        "Error: index: expected the URL of an index to publish in, such as "
        f"s3://team/mlruns/.kedro-hydraflow or file:///mnt/team/index, found {wrong!r}\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_published(index: Index, url: str, tmp_path: Path) -> None:
    for arguments, message in [
        ([tmp_path / "nowhere"], f"there is no directory '{tmp_path}/nowhere'"),
        ([SWEEP, "-x", "trian"], "there is no experiment 'trian' in"),
        ([DATABASE_SWEEP], "are in a database or on a server"),
    ]:
        done = index(*arguments, "--to", url)
        assert (done.exit_code, done.stdout) == (2, "")
        assert message in done.stderr
    assert not (tmp_path / "index").exists()


def test_both_arguments_are_needed(index: Index, url: str) -> None:
    done = index("--to", url)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.endswith("Error: Missing argument 'PATH_OR_URL'.\n")
    done = index(SWEEP)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.endswith("Error: Missing option '--to'.\n")


def test_a_process_of_its_own(execute: Execute, url: str) -> None:
    done = execute(*COMMAND, "index", str(SWEEP), "--to", url)
    assert (done.returncode, done.stdout, done.stderr) == (0, "published 31 runs\n", "")
    assert "0  published\n" in execute(*COMMAND, "index", "--help").stdout
