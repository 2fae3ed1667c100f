"""The command ``kedro-hydraflow``, which needs no Kedro project."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NoReturn

import click
from typing_extensions import override

from kedro_hydraflow import __version__
from kedro_hydraflow.cli.command import Command, Group
from kedro_hydraflow.cli.commands import Select, Where, add_commands, get_arguments
from kedro_hydraflow.cli.example import example
from kedro_hydraflow.cli.index import HELP as INDEX_HELP
from kedro_hydraflow.cli.index import publish_runs
from kedro_hydraflow.errors import show_count

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kedro_hydraflow.cli.selection import Selection, Wanted
    from kedro_hydraflow.finding import Search
    from kedro_hydraflow.loading import LoadOptions
    from kedro_hydraflow.source import Layout


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="kedro-hydraflow")
def main() -> None:
    """Look at the runs of HydraFlow, MLflow and Hydra."""


_EXPERIMENTS = click.Option(
    ["--experiment", "-x", "experiments"],
    multiple=True,
    metavar="NAME",
    help="Only experiments with this name or glob. Repeat it for more of them.",
)
_LAYOUT = click.Option(
    ["--layout"],
    type=click.Choice(["mlflow", "hydra"]),
    help="What to read in a directory that has runs of both.",
)
_OPTIONS = (
    _EXPERIMENTS,
    click.Option(
        ["--results"],
        metavar="FILE",
        help="A file in each run's artifacts, such as result.json, whose values are keys "
        "results.KEY.",
    ),
    _LAYOUT,
    click.Option(
        ["--entry"],
        metavar="ENTRY",
        help="Instead of PATH_OR_URL: an entry of the catalog of the Kedro project here.",
    ),
    click.Option(["--env", "-e"], metavar="ENV", help="With --entry: the project's environment."),
)
"""The options of a command about the runs of a place or an entry."""


class _Place(Where):
    """A path or URL, an entry of a catalog, or MLflow's default."""

    help = """\
PATH_OR_URL is a directory such as mlruns or multirun, on this machine or in a bucket (s3://...),
a database (mlflow.db), or a tracking URI (https://mlflow.example, sqlite:///mlflow.db). Without
it, the runs are those that MLflow reads by default: at MLFLOW_TRACKING_URI, in ./mlruns, or in
./mlflow.db.
"""

    @override
    def add_parameters(self, arguments: Sequence[click.Argument]) -> list[click.Parameter]:
        # click gives the first value to an argument that may be left out, even if others follow.
        given = click.Argument(["given"], nargs=-1, metavar=_show_usage(arguments))
        return [given, *_OPTIONS]

    @override
    def take(self, command: click.Command, values: dict[str, Any]) -> Select:
        given = list(values.pop("given"))
        arguments = get_arguments(command)
        n_others = len(arguments)
        if len(given) not in (n_others, n_others + 1):
            raise click.UsageError(
                f"expected {_show_usage(arguments)}, found {show_count(len(given), 'argument')}"
            )
        path = given.pop(0) if len(given) > n_others else None
        if path is None and given and arguments[0].name != "file" and os.path.isdir(given[0]):
            found = f"the directory {given[0]!r}{''.join(f' and {text!r}' for text in given[1:])}"
            missing = " ".join(str(each.metavar) for each in arguments[len(given) - 1 :])
            raise click.UsageError(
                f"expected {_show_usage(arguments)}, found {found}; give {missing} (an ID) too, "
                "after the directory that all runs are in"
            )
        values |= {each.name: text for each, text in zip(arguments, given, strict=True)}
        experiments, results, layout, entry, env = (
            values.pop(name) for name in ("experiments", "results", "layout", "entry", "env")
        )
        of_paths = {"PATH_OR_URL": path, "--experiment": experiments, "--results": results}
        _check_options(entry, env, {**of_paths, "--layout": layout})
        if layout == "hydra" and path is None:
            raise click.UsageError("--layout hydra needs PATH_OR_URL")

        def select(wanted: Wanted) -> Selection:
            if entry is not None:
                from kedro_hydraflow.cli.entries import select_entry

                return select_entry(entry, env, wanted=wanted)
            from kedro_hydraflow.cli.paths import select_path

            return select_path(path, experiments, layout, results, wanted)

        return select


def _show_usage(arguments: Sequence[click.Argument]) -> str:
    return " ".join(["[PATH_OR_URL]", *(str(each.metavar) for each in arguments)])


add_commands(main, _Place())
main.add_command(example)

_INDEX_HELP = f"""Publish what is known of the runs of a directory, in an index that a team shares.

PATH_OR_URL is a directory such as mlruns or multirun, on this machine or in a bucket (s3://...).
{INDEX_HELP}"""


@main.command(cls=Command, help=_INDEX_HELP, params=[_EXPERIMENTS, _LAYOUT])
@click.argument("path", metavar="PATH_OR_URL")
@click.option(
    "--to",
    "index",
    required=True,
    metavar="URL",
    help="The index, such as s3://team/mlruns/.kedro-hydraflow or file:///mnt/team/index.",
)
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
