"""``index``: publishing what is known of runs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn

import click

from kedro_hydraflow.cli.command import FAILED, FOUND, logs_on_stderr, write

if TYPE_CHECKING:
    from collections.abc import Callable

    from kedro_hydraflow.finding import Search
    from kedro_hydraflow.loading import LoadOptions

HELP = """
Whoever loads these runs with the same index (index: URL) reads them in a few requests. Runs that
have not ended yet are left for the next time, and those that were published before are not read
again, unless with --refresh: it is for what was changed in a run after it had ended.

\b
Exit codes:
  0  published
  2  an error, or some runs could not be read
"""
"""The end of the help of a command that publishes runs."""


def publish_runs(select: Callable[[], tuple[Search, LoadOptions]], *, refresh: bool) -> NoReturn:
    """Publish runs, say how many, and end the command.

    Args:
        select: Returns which runs, and the options with the index.
        refresh: Whether to read all runs again.
    """
    from kedro_hydraflow.publishing import publish

    with logs_on_stderr():
        search, options = select()
        done = publish(search, replace(options, progress=True), refresh=refresh)
    write(f"{done}\n")
    click.get_current_context().exit(FAILED if done.n_failed else FOUND)
