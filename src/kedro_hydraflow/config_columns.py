"""The configurations of many runs as columns by dotted key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from typing_extensions import NamedTuple

from kedro_hydraflow.config import is_literal, list_leaves
from kedro_hydraflow.missing import MISSING
from kedro_hydraflow.run_base import get_configuration
from kedro_hydraflow.selecting import Selector

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kedro_hydraflow.run_base import RunBase

Leaf = tuple[tuple[Any, ...], Any]
"""The path of a value in a configuration, and the value as it is stored."""

_LACKING: Leaf = ((), MISSING)


class _Part:
    """An entry at the top of configurations, such as a group, for all runs."""

    def __init__(self, n_runs: int) -> None:
        self.contents: list[dict[str, Leaf]] = [{}]
        """What different runs have there, by dotted key. The first is for runs without it."""
        self.positions = [0] * n_runs
        """For each run, the position of what it has in `contents`."""


class WrittenColumn(NamedTuple):
    """What is stored under a key. Many runs share a value."""

    leaves: list[Leaf]
    """The different values and others, with MISSING for runs without the key."""

    positions: list[int]
    """For each run, the position of its value in `leaves`."""

    def get_present(self) -> list[Any]:
        """Return the values that some run has."""
        return [value for _, value in self.leaves if value is not MISSING]

    def expand(self, values: Sequence[Any]) -> list[Any]:
        """Return a value for each run, of values for each of the `leaves`."""
        return [values[i] for i in self.positions]


class ConfigColumns:
    """The configurations of runs as columns, made of what is asked for.

    The runs of a sweep share most parts of their configurations: each part is looked at once. The
    values are shared, too: do not modify them.

    Args:
        runs: The runs, whose configurations are read now.

    Attributes:
        names: The dotted keys in the order in which the runs have them first.
    """

    def __init__(self, runs: Sequence[RunBase]) -> None:
        self._configurations = [get_configuration(run) for run in runs]
        self._selector = Selector()
        parts: dict[tuple[type, Any], _Part] = {}
        parts_of: dict[str, dict[int, _Part]] = {}
        known: dict[tuple[int, type, Any], int] = {}
        alive = []  # as Python reuses the ID of an object that is gone
        for i, configuration in enumerate(self._configurations):
            data = configuration.to_plain()
            alive.append(data)
            for name, value in data.items():
                kind = type(name)
                part = parts.get((kind, name))
                if part is None:
                    part = parts[kind, name] = _Part(len(runs))
                position = known.get((id(value), kind, name))
                if position is None:
                    position = known[id(value), kind, name] = len(part.contents)
                    leaves = {
                        ".".join(map(str, path)): (path, leaf)
                        for path, leaf in list_leaves({name: value})
                    }
                    part.contents.append(leaves)
                    for key in leaves:
                        parts_of.setdefault(key, {})[id(part)] = part
                part.positions[i] = position
        self._parts_of = parts_of
        self.names = list(parts_of)

    def get_written(self, name: str) -> WrittenColumn:
        """Return the values of a key as they are stored, with interpolations as text."""
        parts = list(self._parts_of[name].values())
        if len(parts) == 1:
            leaves = [content.get(name, _LACKING) for content in parts[0].contents]
            return WrittenColumn(leaves, parts[0].positions)
        rows = []  # the entry "a.b" and, in "a", the entry "b"
        for i in range(len(self._configurations)):
            found = [part.contents[part.positions[i]].get(name) for part in parts]
            rows.append(next((leaf for leaf in reversed(found) if leaf is not None), _LACKING))
        return WrittenColumn(rows, list(range(len(rows))))

    def resolve(self, column: WrittenColumn) -> list[Any]:
        """Return the values of a column for each run, MISSING for runs without the key.

        Interpolations are resolved, or stay text if that is impossible; missing values (``???``)
        are None.
        """
        values = column.expand([value for _, value in column.leaves])
        literal = [value is MISSING or is_literal(value) for _, value in column.leaves]
        if all(literal):
            return values
        for i, position in enumerate(column.positions):
            if not literal[position]:
                path, value = column.leaves[position]
                values[i] = self._selector.resolve(self._configurations[i], path, value)
        return values
