"""The commands of the terminal, on runs whose place needs options that only a catalog can have."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from kedro_hydraflow.cli.commands import Select, Where, add_commands
from kedro_hydraflow.cli.selection import select_runs
from kedro_hydraflow.finding import Search
from kedro_hydraflow.loading import LoadOptions
from kedro_hydraflow.source import Source
from tests.cli.conftest import RUNNER


class _At(Where):
    """The runs of a source."""

    help = ""

    def __init__(self, source: Source) -> None:
        self._search = Search(source)

    def add_parameters(self, arguments: Sequence[click.Argument]) -> list[click.Parameter]:
        return list(arguments)

    def take(self, command: click.Command, values: dict[str, Any]) -> Select:
        return lambda wanted: select_runs(self._search, LoadOptions(index=False), wanted)


def run_commands(source: Source, run_ids: tuple[str, str], metric: str, folder: Path) -> Any:
    """Return what show, diff, best, ls and export say of runs; without the directories of runs.

    Args:
        source: Where the runs are.
        run_ids: Two runs that differ.
        metric: The key by which runs are ranked.
        folder: Where to export them to.
    """
    group = click.Group()
    add_commands(group, _At(source))

    def run(*arguments: object) -> str:
        result = RUNNER.invoke(group, list(map(str, arguments)))
        assert (result.exit_code, result.stderr.count("Error")) == (0, 0), result.stderr
        return result.stdout

    shown = [json.loads(run("show", run_id, "--json")) for run_id in run_ids]
    for each in shown:
        assert each["run_id"] in each.pop("run_dir")
    best = ["best", "--by", metric, "--mode", "max"]
    exported = folder / "runs.jsonl"
    written = run("export", exported, "--force")
    return {
        "show": shown,
        "show as text": [_leave_out_run_dir(run("show", run_id)) for run_id in run_ids],
        "diff": json.loads(run("diff", *run_ids, "--json")),
        "diff as text": run("diff", *run_ids, "--all"),
        "best": run(*best, "--limit", 3, "--csv"),
        "best as text": run(*best),
        "ls": run("ls", "--sort", metric, "--filter", f"{metric} > 0", "--md"),
        "export": (written, exported.read_text("utf-8")),
    }


def _leave_out_run_dir(text: str) -> list[str]:
    """Return the lines of text, without that of the run directory."""
    return [line for line in text.splitlines() if not line.startswith("run_dir ")]
