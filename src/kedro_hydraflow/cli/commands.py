"""The commands about runs, which are there for places and for entries of a catalog."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, TypeAlias

import click

from kedro_hydraflow.cli.command import Command
from kedro_hydraflow.cli.diff import diff
from kedro_hydraflow.cli.export import export
from kedro_hydraflow.cli.ls import best, ls
from kedro_hydraflow.cli.show import show

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kedro_hydraflow.cli.selection import Selection, Wanted

Select: TypeAlias = "Callable[[Wanted], Selection]"
"""Returns the runs that are wanted, as a command takes it. Meanwhile, it may log."""

_COMMANDS = (ls, show, diff, best, export)


class Where(ABC):
    """Where the runs of a command are: how it is given, and what it means."""

    help: str
    """What the parameters mean, for the help of a command."""

    @abstractmethod
    def add_parameters(self, arguments: Sequence[click.Argument]) -> list[click.Parameter]:
        """Return the arguments of a command, with the parameters that say where runs are."""

    @abstractmethod
    def take(self, command: click.Command, values: dict[str, Any]) -> Select:
        """Take the values that say where runs are out of those of all parameters of a command.

        Raises:
            UsageError: If they do not go together.
        """


def add_commands(group: click.Group, where: Where) -> None:
    """Add the commands to a group."""
    for command in _COMMANDS:
        group.add_command(_make_command(command, where))


def _make_command(command: click.Command, where: Where) -> click.Command:
    """Return a command with the parameters that say where its runs are."""

    def run(**values: Any) -> None:
        select = where.take(command, values)
        command.callback(select=select, **values)  # type: ignore[misc]  # each of them has one

    arguments = get_arguments(command)
    options = [each for each in command.params if each not in arguments]
    summary, _, details = (command.help or "").partition("\n\n")
    return Command(
        command.name,
        params=[*where.add_parameters(arguments), *options],
        callback=run,
        help=f"{summary}\n\n{where.help}\n{details}",
    )


def get_arguments(command: click.Command) -> list[click.Argument]:
    """Return the arguments of a command, without its options."""
    return [each for each in command.params if isinstance(each, click.Argument)]
