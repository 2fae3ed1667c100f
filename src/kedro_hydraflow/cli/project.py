"""The commands ``kedro hydraflow``, which Kedro offers in a project."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NoReturn

import click

from kedro_hydraflow.cli.command import Command, may_have_logged_to_stdout
from kedro_hydraflow.cli.index import HELP as INDEX_HELP
from kedro_hydraflow.cli.index import publish_runs
from kedro_hydraflow.cli.ls import HELP, ListOptions, list_runs, take_list_options

if TYPE_CHECKING:
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


@hydraflow.command(cls=Command, help=_LS_HELP)
@click.argument("entry", required=False, metavar="ENTRY")
@click.option("--env", "-e", metavar="ENV", help="The environment of the project's configuration.")
@take_list_options
@click.pass_obj
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


_INDEX_HELP = f"""Publish what is known of the runs that a catalog entry loads, in its index.

ENTRY is an entry of the catalog with many runs and the URL of an index, such as
index: s3://team/mlruns/.kedro-hydraflow. Its filters, checkpoint and lock are not applied.
{INDEX_HELP}"""


@hydraflow.command(cls=Command, help=_INDEX_HELP)
@click.argument("entry", required=False, metavar="ENTRY")
@click.option("--env", "-e", metavar="ENV", help="The environment of the project's configuration.")
@click.option("--refresh", is_flag=True, help="Read all runs again.")
@click.pass_obj
def index(metadata: ProjectMetadata, entry: str | None, env: str | None, refresh: bool) -> NoReturn:
    """Publish runs, as `_INDEX_HELP` says."""

    def select() -> tuple[Search, LoadOptions]:
        from kedro_hydraflow.cli.entries import make_query

        return make_query(entry, env, metadata.project_path)

    publish_runs(select, refresh=refresh)
