"""The configurations of many runs as columns by dotted key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from typing_extensions import NamedTuple

from kedro_hydraflow.config import is_literal, list_leaves, take_leaves
from kedro_hydraflow.missing import MISSING
from kedro_hydraflow.run_base import get_configuration
from kedro_hydraflow.selecting import Selector

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kedro_hydraflow.run_base import RunBase

Path = tuple[Any, ...]
"""The keys that lead to a value in a configuration."""


class _Content(NamedTuple):
    """What a run has at one place at the top of its configuration, by dotted key."""

    values: dict[str, Any]
    """The values as they are stored."""

    paths: dict[str, Path]
    """The paths of interpolations and of ``???``."""


class _Part:
    """An entry at the top of configurations, such as a group, for all runs."""

    def __init__(self, n_runs: int) -> None:
        self.contents = [_Content({}, {})]
        """What different runs have there. The first is for runs without it."""
        self.positions = [0] * n_runs
        """For each run, the position of what it has in `contents`."""
        self.keys: set[str] = set()
        """The dotted keys in all of the `contents`."""


class WrittenColumn(NamedTuple):
    """What is stored under a key. Many runs share a value."""

    values: list[Any]
    """What different runs have, with MISSING for runs without the key."""

    paths: list[Path | None]
    """For each of the `values` its path if it is an interpolation or ``???``, else None."""

    positions: list[int]
    """For each run, the position of its value in `values`."""

    def expand(self, values: Sequence[Any]) -> list[Any]:
        """Return a value for each run, of values for each of the `values`."""
        return [values[i] for i in self.positions]


class ConfigColumns:
    """The configurations of runs as columns, made of what is asked for.

    The runs of a sweep share most parts of their configurations: each part is looked at once. The
    values are shared, too: do not modify them.

    Args:
        runs: The runs, whose configurations are read now.
        max_keys: The maximum number of keys to look at in each configuration, the first ones. By
            default, it is all of them.

    Attributes:
        names: The dotted keys in the order in which the runs have them first.
    """

    def __init__(self, runs: Sequence[RunBase], max_keys: int | None = None) -> None:
        self._configurations = [get_configuration(run) for run in runs]
        self._selector = Selector()
        # It keeps the parts alive, because Python reuses the ID of an object that is gone.
        self._data = [configuration.to_plain() for configuration in self._configurations]
        if max_keys is not None:
            self._data = [take_leaves(data, max_keys) for data in self._data]
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
                    content = _flatten({name: value})
                    part.contents.append(content)
                    if not content.values.keys() <= part.keys:
                        for key in content.values:  # in their order
                            self._parts_of.setdefault(key, {})[place] = None
                        part.keys.update(content.values)
                part.positions[i] = position
        self.names = list(self._parts_of)

    def get_written(self, name: str) -> WrittenColumn:
        """Return the values of a key as they are stored, with interpolations as text."""
        places = list(self._parts_of[name])
        if len(places) == 1:
            part = self._parts[places[0]]
            contents, positions = part.contents, part.positions
        else:
            contents = [self._find_last(i, name) for i in range(len(self._data))]
            positions = list(range(len(contents)))
        values = [content.values.get(name, MISSING) for content in contents]
        return WrittenColumn(values, [content.paths.get(name) for content in contents], positions)

    def _find_last(self, i: int, name: str) -> _Content:
        """Return the last content of a run that has a key: both "a.b" and "a" may have "a.b"."""
        for key in reversed(self._data[i]):
            part = self._parts[type(key), key]
            content = part.contents[part.positions[i]]
            if name in content.values:
                return content
        return _Content({}, {})

    def resolve(self, column: WrittenColumn) -> list[Any]:
        """Return the values of a column for each run, MISSING for runs without the key.

        Interpolations are resolved, or stay text if that is impossible; missing values (``???``)
        are None.
        """
        values = column.expand(column.values)
        if any(path is not None for path in column.paths):
            for i, path in enumerate(column.expand(column.paths)):
                if path is not None:
                    values[i] = self._selector.resolve(self._configurations[i], path, values[i])
        return values


def _flatten(part: dict[Any, Any]) -> _Content:
    values = {}
    paths = {}
    for path, value in list_leaves(part):
        name = ".".join(map(str, path))
        values[name] = value
        if not is_literal(value):
            paths[name] = path
        elif paths:
            paths.pop(name, None)  # of a key that reads alike
    return _Content(values, paths)
