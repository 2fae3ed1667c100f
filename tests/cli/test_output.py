"""What commands show in a terminal, which the other tests do not have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from rich.text import Text

from tests.cli.conftest import invoke

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
