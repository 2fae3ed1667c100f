"""The commands ``kedro hydraflow``, which Kedro offers in a project."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NoReturn

import click
from typing_extensions import override

from kedro_hydraflow.cli.command import (
    FOUND,
    NOTHING_FOUND,
    Command,
    logs_on_stderr,
    may_have_logged_to_stdout,
    write,
)
from kedro_hydraflow.cli.commands import Select, Where, add_commands
from kedro_hydraflow.cli.index import HELP as INDEX_HELP
from kedro_hydraflow.cli.index import publish_runs
from kedro_hydraflow.cli.output import note
from kedro_hydraflow.errors import show_count
from kedro_hydraflow.escaping import escape
from kedro_hydraflow.progress import is_terminal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kedro.framework.startup import ProjectMetadata

    from kedro_hydraflow.cli.selection import Selection, Wanted
    from kedro_hydraflow.finding import Search
    from kedro_hydraflow.loading import LoadOptions


@click.group(name="Kedro-HydraFlow")
def commands() -> None:
    """The commands that Kedro adds to its own."""


@commands.group()
def hydraflow() -> None:
    """Look at the runs that catalog entries load."""


_ENTRY = click.Argument(["entry"], required=False, metavar="ENTRY")
_ENV = click.Option(
    ["--env", "-e"], metavar="ENV", help="The environment of the project's configuration."
)


class _Entry(Where):
    """An entry of the project's catalog."""

    help = """\
ENTRY is an entry of the catalog with runs: a HydraflowRunCollectionDataset, HydraflowFrameDataset,
HydraflowRunDataset or HydraflowArtifactDataset, also one that a dataset factory makes.
"""

    @override
    def add_parameters(self, arguments: Sequence[click.Argument]) -> list[click.Parameter]:
        return [_ENTRY, *arguments, _ENV]

    @override
    def take(self, command: click.Command, values: dict[str, Any]) -> Select:
        entry, env = values.pop("entry"), values.pop("env")
        metadata: ProjectMetadata = click.get_current_context().obj
        is_data = values.get("csv") or values.get("json")
        if is_data and not is_terminal(sys.stdout) and may_have_logged_to_stdout():
            note(
                "Kedro has logged to standard output before this command began; to get nothing but "
                f"the runs there, use kedro-hydraflow {command.name} --entry {entry}"
            )

        def select(wanted: Wanted) -> Selection:
            from kedro_hydraflow.cli.entries import select_entry

            return select_entry(entry, env, metadata.project_path, wanted)

        return select


add_commands(hydraflow, _Entry())


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


@checkpoint.command(cls=Command, help=_SHOW_HELP, params=[_ENTRY, _ENV])
@click.pass_obj
def show(metadata: ProjectMetadata, entry: str | None, env: str | None) -> NoReturn:
    """Show a checkpoint, as `_SHOW_HELP` says."""
    from kedro_hydraflow.cli.entries import open_checkpoint

    with logs_on_stderr():
        opened = open_checkpoint(entry, env, metadata.project_path)
        run_ids = sorted(opened.read())
        click.echo(f"{opened.place.url}: {show_count(len(run_ids), 'run')} confirmed", err=True)
    write("".join(f"{escape(run_id)}\n" for run_id in run_ids))
    click.get_current_context().exit(FOUND if run_ids else NOTHING_FOUND)


_RESET_HELP = """Remove the checkpoint, so that the next load gives all runs.

\b
Exit codes:
  0  removed, or there was none
  2  an error
"""


@checkpoint.command(cls=Command, help=_RESET_HELP, params=[_ENTRY, _ENV])
@click.pass_obj
def reset(metadata: ProjectMetadata, entry: str | None, env: str | None) -> NoReturn:
    """Remove a checkpoint, as `_RESET_HELP` says."""
    from kedro_hydraflow.cli.entries import open_checkpoint

    with logs_on_stderr():
        opened = open_checkpoint(entry, env, metadata.project_path)
        was_there = opened.remove()
    what = "removed" if was_there else "there is no"
    write(f"{what} {opened.place.url}; all runs are new\n")
    click.get_current_context().exit(FOUND)


_INDEX_HELP = f"""Publish what is known of the runs that a catalog entry loads, in its index.

ENTRY is an entry of the catalog with many runs and the URL of an index, such as
index: s3://team/mlruns/.kedro-hydraflow. Its filters, checkpoint and lock are not applied.
{INDEX_HELP}"""


@hydraflow.command(cls=Command, help=_INDEX_HELP, params=[_ENTRY, _ENV])
@click.option("--refresh", is_flag=True, help="Read all runs again.")
@click.pass_obj
def index(metadata: ProjectMetadata, entry: str | None, env: str | None, refresh: bool) -> NoReturn:
    """Publish runs, as `_INDEX_HELP` says."""

    def select() -> tuple[Search, LoadOptions]:
        from kedro_hydraflow.cli.entries import make_query

        return make_query(entry, env, metadata.project_path)

    publish_runs(select, refresh=refresh)
