"""The commands ``kedro hydraflow``, which Kedro offers in a project."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NoReturn

import click

from kedro_hydraflow.cli.command import (
    FOUND,
    NOTHING_FOUND,
    Command,
    logs_on_stderr,
    may_have_logged_to_stdout,
    write,
)
from kedro_hydraflow.cli.index import HELP as INDEX_HELP
from kedro_hydraflow.cli.index import publish_runs
from kedro_hydraflow.cli.ls import HELP, ListOptions, list_runs, take_list_options
from kedro_hydraflow.escaping import escape

if TYPE_CHECKING:
    from collections.abc import Callable

    from kedro.framework.startup import ProjectMetadata

    from kedro_hydraflow.cli.selection import Selection
    from kedro_hydraflow.finding import Search
    from kedro_hydraflow.loading import LoadOptions


@click.group(name="Kedro-HydraFlow")
def commands() -> None:
    """The commands that Kedro adds to its own."""


@commands.group()
def hydraflow() -> None:
    """Look at the runs that catalog entries load."""


_LS_HELP = f"""List the runs that a catalog entry loads.

ENTRY is an entry of the catalog with runs: a HydraflowRunCollectionDataset, HydraflowFrameDataset,
HydraflowRunDataset or HydraflowArtifactDataset, also one that a dataset factory makes.
{HELP}"""


def _take_entry(command: Callable[..., NoReturn]) -> Callable[..., NoReturn]:
    """Let a command take a project, an entry of its catalog and an environment."""
    where = "The environment of the project's configuration."
    command = click.option("--env", "-e", metavar="ENV", help=where)(command)
    command = click.argument("entry", required=False, metavar="ENTRY")(command)
    return click.pass_obj(command)


@hydraflow.command(cls=Command, help=_LS_HELP)
@take_list_options
@_take_entry
def ls(
    metadata: ProjectMetadata, entry: str | None, env: str | None, options: ListOptions
) -> NoReturn:
    """List runs, as `_LS_HELP` says."""
    is_read_by_program = options.is_data and not sys.stdout.isatty()
    if is_read_by_program and may_have_logged_to_stdout():
        click.echo(
            "Kedro has logged to standard output before this command began; to get nothing but "
            f"the runs there, use kedro-hydraflow ls --entry {entry}",
            err=True,
        )

    def select() -> Selection:
        from kedro_hydraflow.cli.entries import select_entry

        return select_entry(entry, env, metadata.project_path, options.wanted)

    list_runs(select, options)


_CHECKPOINT_HELP = """Show or reset which runs were confirmed.

ENTRY is an entry of the catalog with a checkpoint: the file with the runs that a node with confirms
has processed, which the next load leaves out.
"""


@hydraflow.group(help=_CHECKPOINT_HELP)
def checkpoint() -> None:
    """Look at a checkpoint, as `_CHECKPOINT_HELP` says."""


_SHOW_HELP = """Show the IDs of the runs that were confirmed, a line for each.

\b
Exit codes:
  0  there are some
  1  there are none
  2  an error
"""


@checkpoint.command(cls=Command, help=_SHOW_HELP)
@_take_entry
def show(metadata: ProjectMetadata, entry: str | None, env: str | None) -> NoReturn:
    """Show a checkpoint, as `_SHOW_HELP` says."""
    from kedro_hydraflow.cli.entries import open_checkpoint

    with logs_on_stderr():
        opened = open_checkpoint(entry, env, metadata.project_path)
        run_ids = sorted(opened.read())
        click.echo(f"{opened.place.url}: {len(run_ids)} runs are confirmed", err=True)
    write("".join(f"{escape(run_id)}\n" for run_id in run_ids))
    click.get_current_context().exit(FOUND if run_ids else NOTHING_FOUND)


_RESET_HELP = """Remove the checkpoint, so that the next load gives all runs.

\b
Exit codes:
  0  removed, or there was none
  2  an error
"""


@checkpoint.command(cls=Command, help=_RESET_HELP)
@_take_entry
def reset(metadata: ProjectMetadata, entry: str | None, env: str | None) -> NoReturn:
    """Remove a checkpoint, as `_RESET_HELP` says."""
    from kedro_hydraflow.cli.entries import open_checkpoint

    with logs_on_stderr():
        opened = open_checkpoint(entry, env, metadata.project_path)
        opened.read()  # another file, named by mistake, is not removed
        was_there = opened.remove()
    what = "removed" if was_there else "there is no"
    write(f"{what} {opened.place.url}; all runs are new\n")
    click.get_current_context().exit(FOUND)


_INDEX_HELP = f"""Publish what is known of the runs that a catalog entry loads, in its index.

ENTRY is an entry of the catalog with many runs and the URL of an index, such as
index: s3://team/mlruns/.kedro-hydraflow. Its filters, checkpoint and lock are not applied.
{INDEX_HELP}"""


@hydraflow.command(cls=Command, help=_INDEX_HELP)
@click.option("--refresh", is_flag=True, help="Read all runs again.")
@_take_entry
def index(metadata: ProjectMetadata, entry: str | None, env: str | None, refresh: bool) -> NoReturn:
    """Publish runs, as `_INDEX_HELP` says."""

    def select() -> tuple[Search, LoadOptions]:
        from kedro_hydraflow.cli.entries import make_query

        return make_query(entry, env, metadata.project_path)

    publish_runs(select, refresh=refresh)
