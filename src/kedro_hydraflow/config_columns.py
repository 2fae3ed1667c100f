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
        # It keeps the parts alive, because Python reuses the ID of an object that is gone.
        self._data = [configuration.to_plain() for configuration in self._configurations]
        self._parts: dict[tuple[type, Any], _Part] = {}
        self._parts_of: dict[str, dict[tuple[type, Any], None]] = {}
        known: dict[tuple[int, type, Any], int] = {}
        for i, data in enumerate(self._data):
            for name, value in data.items():
                place = type(name), name
                part = self._parts.get(place)
                if part is None:
                    part = self._parts[place] = _Part(len(runs))
                identity = id(value), *place
                position = known.get(identity)
                if position is None:
                    position = known[identity] = len(part.contents)
                    leaves = {
                        ".".join(map(str, path)): (path, leaf)
                        for path, leaf in list_leaves({name: value})
                    }
                    part.contents.append(leaves)
                    for key in leaves:
                        self._parts_of.setdefault(key, {})[place] = None
                part.positions[i] = position
        self.names = list(self._parts_of)

    def get_written(self, name: str) -> WrittenColumn:
        """Return the values of a key as they are stored, with interpolations as text."""
        places = list(self._parts_of[name])
        if len(places) == 1:
            part = self._parts[places[0]]
            leaves = [content.get(name, _LACKING) for content in part.contents]
            return WrittenColumn(leaves, part.positions)
        leaves = [self._find_last(i, name) for i in range(len(self._data))]
        return WrittenColumn(leaves, list(range(len(leaves))))

    def _find_last(self, i: int, name: str) -> Leaf:
        """Return the last one of the leaves of a run that read alike: "a.b", and "b" in "a"."""
        for key in reversed(self._data[i]):
            part = self._parts[type(key), key]
            leaf = part.contents[part.positions[i]].get(name)
            if leaf is not None:
                return leaf
        return _LACKING

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
