"""How large interpolations make a configuration.

Thirty keys of which each refers twice to the one before, ``b: ${a}${a}``, have a value of a
billion characters. OmegaConf resolves them without a limit. So before it is asked, the size is
estimated from the references in the texts, without resolving anything.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from kedro_hydraflow.errors import ConfigError
from kedro_hydraflow.limits import describe_nodes_limit, get_max_nodes

if TYPE_CHECKING:
    from collections.abc import Iterator

Path = tuple[Any, ...]
"""The keys and indexes that lead to a node."""

CHARACTERS_OF_NODE = 100
"""How many characters of a text count as one node."""

_SELECTING = frozenset({"oc.select", "oc.deprecated", "oc.dict.keys", "oc.dict.values"})
"""The resolvers of OmegaConf whose values are nodes of the configuration."""

_NAME = re.compile(r"[^.\[\]'\"]+")
_USUAL_REFERENCE = re.compile(r"\.*[\w/@-]+(?:[.\[][\w/@-]+\]?)*")


class _Parts(NamedTuple):
    """What the size of a node is the sum of."""

    own: int
    choices: list[list[Path]]
    """Other nodes: of each list, the largest one."""


def check_expansion(config: dict[Any, Any]) -> None:
    """Raise ConfigError if interpolations make a value larger than `get_max_nodes`.

    The error names the key. References in circles are no concern here: OmegaConf refuses them.
    """
    limit = get_max_nodes()
    size, n_references = _measure(config)
    # However they refer to each other, they cannot do it more often than 3 to the power of that.
    if n_references == 0 or 3 ** min(n_references / 3, 40) * size <= limit:
        return
    sizes = _Sizes(config)
    if sizes.get(()) > limit:
        key = ".".join(map(str, sizes.find_first_above(limit)))
        raise ConfigError(
            f"the key {key!r}: interpolations expand it to more than {describe_nodes_limit(limit)}"
        )


def count_nodes(value: Any, limit: int) -> int:
    """Return the number of nodes of plain data, or some number above the limit."""
    count = 0
    values = [value]
    while values and count <= limit:
        value = values.pop()
        count += 1
        if type(value) is dict:
            values += value.values()
        elif type(value) is list:
            values += value
        elif type(value) is str:
            count += len(value) // CHARACTERS_OF_NODE
    return count


def _measure(config: dict[Any, Any]) -> tuple[int, int]:
    """Return the number of nodes, and of references in all texts."""
    size = n_references = 0
    nodes: list[Any] = [config]
    while nodes:
        node = nodes.pop()
        size += 1
        if type(node) is dict:
            nodes += node.values()
        elif type(node) is list:
            nodes += node
        elif type(node) is str:
            size += len(node) // CHARACTERS_OF_NODE
            n_references += node.count("${")
    return size, n_references


class _Sizes:
    """The sizes of nodes with their interpolations resolved."""

    def __init__(self, config: dict[Any, Any]) -> None:
        self._config = config
        self._sizes: dict[Path, int] = {}
        self._parts: dict[Path, _Parts] = {}

    def get(self, path: Path) -> int:
        """Return the size of the node at a path.

        Nodes are visited with a stack of our own: foreign data decide how deep it gets.
        """
        stack = [path]
        while stack:
            last = stack[-1]
            parts = self._parts.get(last)
            if parts is None:
                parts = self._parts[last] = self._analyze(last)
                stack += [p for choice in parts.choices for p in choice if p not in self._parts]
                continue
            stack.pop()
            if last not in self._sizes:  # the sizes of others in a circle are not known yet
                found = ([self._sizes.get(p, 1) for p in choice] for choice in parts.choices)
                self._sizes[last] = parts.own + sum(max(sizes, default=1) for sizes in found)
        return self._sizes[path]

    def find_first_above(self, limit: int) -> Path:
        """Return the path of a node whose size, but not that of its parts, is above a limit.

        It is the largest top-level key if only all of them together are above.
        """
        first = next(path for path, size in self._sizes.items() if size > limit)
        return first or max(((key,) for key in self._config), key=self._sizes.__getitem__)

    def _analyze(self, path: Path) -> _Parts:
        node = self._find(path)
        if type(node) is dict:
            return _Parts(1, [[(*path, key)] for key in node])
        if type(node) is list:
            return _Parts(1, [[(*path, i)] for i in range(len(node))])
        if type(node) is not str:
            return _Parts(1, [])
        texts = node.split("${")[1:]
        own = 1 + len(node) // CHARACTERS_OF_NODE + len(texts)
        return _Parts(own, [self._list_targets(path, text) for text in texts])

    def _find(self, path: Path) -> Any:
        node: Any = self._config
        for part in path:
            node = node[part]
        return node

    def _list_targets(self, path: Path, text: str) -> list[Path]:
        """Return the nodes to which the interpolation at the beginning of a text may refer."""
        reference, is_closed, _ = text.partition("}")
        everything = [(key,) for key in self._config]
        resolver, is_resolver, arguments = reference.partition(":")
        if is_resolver:
            if resolver.strip() not in _SELECTING:
                return []  # of the environment, or of the user
            if not is_closed:
                return everything
            reference = arguments.partition(",")[0]
        name = reference.strip(" '\"")
        n_dots = len(name) - len(name.lstrip("."))
        if n_dots > len(path):
            return []
        names = _NAME.findall(name)
        if not is_closed:  # it goes on with an interpolation: ${a.${b}}
            names = names[: name.count(".", n_dots)]
        found = self._walk(path[:-n_dots] if n_dots else (), names, hops=0)
        if found is None:
            is_absent = is_closed and _USUAL_REFERENCE.fullmatch(name)
            return [] if is_absent else everything
        return [found] if is_closed else [(*found, key) for key in self._iter_keys(found)]

    def _walk(self, start: Path, names: list[str], hops: int) -> Path | None:
        """Return the path that names lead to, None if that is unclear."""
        path = start
        for i, name in enumerate(names):
            node = self._find(path)
            if type(node) is str and hops < len(names) + 10:
                targets = self._list_targets(path, node[2:]) if node.startswith("${") else []
                return self._walk(targets[0], names[i:], hops + 1) if len(targets) == 1 else None
            keys = self._iter_keys(path)
            found = [key for key in keys if str(key) == name]
            if not found:
                return None
            path = (*path, found[0])
        return path

    def _iter_keys(self, path: Path) -> Iterator[Any]:
        node = self._find(path)
        if type(node) is dict:
            yield from node
        elif type(node) is list:
            yield from range(len(node))
