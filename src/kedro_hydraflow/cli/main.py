"""The command ``kedro-hydraflow``, which needs no Kedro project."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import click

from kedro_hydraflow import __version__
from kedro_hydraflow.cli.command import Command
from kedro_hydraflow.cli.index import HELP as INDEX_HELP
from kedro_hydraflow.cli.index import publish_runs
from kedro_hydraflow.cli.ls import HELP, ListOptions, list_runs, take_list_options

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kedro_hydraflow.cli.selection import Selection
    from kedro_hydraflow.finding import Search
    from kedro_hydraflow.loading import LoadOptions
    from kedro_hydraflow.source import Layout


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="kedro-hydraflow")
def main() -> None:
    """Look at the runs of HydraFlow, MLflow and Hydra."""


_LS_HELP = f"""List the runs of a tracking directory.

PATH_OR_URL is a directory such as mlruns or multirun, on this machine or in a bucket (s3://...),
a database (mlflow.db), or a tracking URI (https://mlflow.example, sqlite:///mlflow.db). Without
it, the runs are those that MLflow reads by default: at MLFLOW_TRACKING_URI, in ./mlruns, or in
./mlflow.db.
{HELP}"""


_take_experiments = click.option(
    "--experiment",
    "-x",
    "experiments",
    multiple=True,
    metavar="NAME",
    help="Only experiments with this name or glob. Repeat it for more of them.",
)
_take_layout = click.option(
    "--layout",
    type=click.Choice(["mlflow", "hydra"]),
    help="What to read in a directory that has runs of both.",
)


@main.command(cls=Command, help=_LS_HELP)
@click.argument("path", required=False, metavar="[PATH_OR_URL]")
@_take_experiments
@click.option(
    "--results",
    metavar="FILE",
    help="A file in each run's artifacts, such as result.json, whose values are keys results.KEY.",
)
@_take_layout
@click.option(
    "--entry",
    metavar="ENTRY",
    help="Instead of PATH_OR_URL: an entry of the catalog of the Kedro project here.",
)
@click.option("--env", "-e", metavar="ENV", help="With --entry: the project's environment.")
@take_list_options
def ls(
    path: str | None,
    experiments: tuple[str, ...],
    results: str | None,
    layout: Layout | None,
    entry: str | None,
    env: str | None,
    options: ListOptions,
) -> NoReturn:
    """List runs, as `_LS_HELP` says."""
    given = {"PATH_OR_URL": path, "--experiment": experiments, "--results": results}
    _check_options(entry, env, {**given, "--layout": layout})
    if layout == "hydra" and path is None:
        raise click.UsageError("--layout hydra needs PATH_OR_URL")

    def select() -> Selection:
        if entry is not None:
            from kedro_hydraflow.cli.entries import select_entry

            return select_entry(entry, env, wanted=options.wanted)
        from kedro_hydraflow.cli.paths import select_path

        return select_path(path, experiments, layout, results, options.wanted)

    list_runs(select, options)


_INDEX_HELP = f"""Publish what is known of the runs of a directory, in an index that a team shares.

PATH_OR_URL is a directory such as mlruns or multirun, on this machine or in a bucket (s3://...).
{INDEX_HELP}"""


@main.command(cls=Command, help=_INDEX_HELP)
@click.argument("path", metavar="PATH_OR_URL")
@click.option(
    "--to",
    "index",
    required=True,
    metavar="URL",
    help="The index, such as s3://team/mlruns/.kedro-hydraflow or file:///mnt/team/index.",
)
@_take_experiments
@_take_layout
@click.option("--refresh", is_flag=True, help="Read all runs again.")
def index(
    path: str, index: str, experiments: tuple[str, ...], layout: Layout | None, refresh: bool
) -> NoReturn:
    """Publish runs, as `_INDEX_HELP` says."""

    def select() -> tuple[Search, LoadOptions]:
        from kedro_hydraflow.finding import Search
        from kedro_hydraflow.loading import LoadOptions
        from kedro_hydraflow.publishing import check_index_url
        from kedro_hydraflow.source import Source

        check_index_url(index)
        source = Source(path, layout=layout)
        return Search(source, experiments or None, on_error="warn"), LoadOptions(index=index)

    publish_runs(select, refresh=refresh)


def _check_options(entry: str | None, env: str | None, of_paths: Mapping[str, object]) -> None:
    """Raise UsageError for options of catalog entries and of paths that are given together."""
    if entry is None:
        if env is not None:
            raise click.UsageError("--env needs --entry")
        return
    for name, value in of_paths.items():
        if value:
            raise click.UsageError(f"{name} and --entry do not go together")
