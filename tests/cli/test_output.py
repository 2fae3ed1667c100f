"""What commands show in a terminal, which the other tests do not have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from rich.text import Text

from kedro_hydraflow import Run, iter_run_dirs
from tests.cli.conftest import invoke
from tests.conftest import HYDRA_SWEEP, write

Show = Callable[..., tuple[list[str], str]]


@pytest.fixture
def show(monkeypatch: pytest.MonkeyPatch) -> Show:
    """Return the lines of standard output in a terminal of some width, and standard error."""
    monkeypatch.setattr("kedro_hydraflow.cli.output.is_terminal", lambda _: True)

    def run(width: int, *arguments: object) -> tuple[list[str], str]:
        monkeypatch.setenv("COLUMNS", str(width))
        result = invoke(*arguments)
        assert result.exit_code == 0, result.stderr
        return Text.from_ansi(result.stdout).plain.splitlines(), result.stderr

    return run


COLUMNS = "run_id,job_name,start_time,seed,training.learning_rate,metrics.accuracy"


def test_ids_are_cut_before_columns_that_were_asked_for(show: Show, sweep: Path) -> None:
    arguments = "ls", sweep, "-n", 2, "-c", COLUMNS
    lines, stderr = show(70, *arguments)
    assert lines[1].split() == [
        *("2ca54cc6", "eval_dig…", "2026-11-23", "00:39:32Z", "7", "0.01", "0.957778")
    ]
    assert "no room" not in stderr
    lines, stderr = show(60, *arguments)
    assert lines[0].split()[:4] == ["run_id", "job_name", "start_time", "seed"]
    assert "no room for 'metrics.accuracy'; choose fewer, or use a wider terminal\n" in stderr


def test_ids_are_whole_where_there_is_room(show: Show, sweep: Path) -> None:
    lines, _ = show(100, "ls", sweep, "-n", 2, "-c", "run_id,seed")
    assert lines[1].split() == ["2ca54cc607914e0780960fb8ff621108", "7"]


@pytest.mark.parametrize("width", [40, 66])
def test_the_keys_of_an_order_are_left_out_last(show: Show, sweep: Path, width: int) -> None:
    lines, stderr = show(width, "ls", sweep, "-n", 2, "-s", "-start_time")
    assert [line.split()[0] for line in lines] == ["run_id", "16188f25", "cde953df"]
    assert "2026-11-23 00:39:35Z" in lines[1]
    assert "no room for" in stderr
    lines, _ = show(width, "best", sweep, "--by", "start_time", "--mode", "max")
    assert "2026-11-23 00:39:35Z" in lines[1]
    options = "-s", "-metrics.val/accuracy", "-s", "seed"
    _, stderr = show(width, "ls", sweep, "-n", 2, *options)
    assert "seed" not in stderr
    assert "val/accuracy" not in stderr
    columns = "job_name,status,end_time,start_time,training.learning_rate,seed,metrics.val/accuracy"
    _, stderr = show(width, "ls", sweep, "-n", 2, *options, "-c", columns)
    assert "no room for" in stderr
    assert "seed" not in stderr
    assert "val/accuracy" not in stderr


def test_how_many_runs_there_are(show: Show, sweep: Path) -> None:
    _, stderr = show(500, "ls", sweep)
    assert stderr.startswith("31 runs\n")
    _, stderr = show(500, "ls", sweep, "-n", 40)
    assert stderr.startswith("31 runs\n")
    _, stderr = show(500, "ls", sweep, "-n", 31)
    assert stderr.startswith("31 runs\n")
    _, stderr = show(500, "ls", sweep, "-n", 30)
    assert stderr.startswith("the first 30 runs; there may be more\n")
    _, stderr = show(500, "ls", sweep, "-n", 2, "-f", "model.type == linear")
    assert stderr.startswith("the first 2 runs; there may be more\n")
    _, stderr = show(500, "ls", sweep, "-n", 9, "-f", "model.type == linear", "-s", "start_time")
    assert stderr.startswith("the first 9 of 12 runs\n")
    _, stderr = show(500, "ls", sweep, "-n", 2, "-s", "-seed")
    assert stderr.startswith("the first 2 of 31 runs\n")
    assert show(500, "ls", sweep, "--csv", "-c", "seed")[1] == ""


@pytest.mark.parametrize("width", [60, 80])
def test_ids_of_hydra_can_be_told_apart(show: Show, width: int) -> None:
    ids = Run.load(iter_run_dirs(HYDRA_SWEEP)).to_list("run_id")
    lines, stderr = show(width, "ls", HYDRA_SWEEP)
    assert "no room" in stderr
    shown = [line.split()[0] for line in lines[1:]]
    assert len(set(shown)) == len(ids)
    assert "…/23-01-50/10" in shown
    for short, run_id in zip(shown, ids, strict=True):
        assert run_id.endswith(short.removeprefix("…"))
    lines, _ = show(width, "show", HYDRA_SWEEP, "…/23-01-50/1")
    assert lines[0] == "run_id         multirun/2026-11-25/23-01-50/1"
    lines, _ = show(200, "ls", HYDRA_SWEEP, "-c", "run_id,seed")
    assert [line.split()[0] for line in lines[1:]] == ids


def test_long_ids_leave_room_for_other_columns(show: Show, tmp_path: Path) -> None:
    for seed in range(2):
        folder = tmp_path / "multirun" / f"{'option=value,' * 9}seed={seed}"
        write(folder / ".hydra/config.yaml", f"seed: {seed}\n")
    lines, _ = show(60, "ls", tmp_path, "-c", "run_id,seed")
    assert len({line.split()[0] for line in lines}) == 3
    assert [line.split()[1] for line in lines] == ["seed", "0", "1"]
