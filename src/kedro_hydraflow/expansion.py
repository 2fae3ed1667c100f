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
    from collections.abc import Iterable, Iterator

Path = tuple[Any, ...]
"""The keys and indexes that lead to a node."""

CHARACTERS_OF_NODE = 100
"""How many characters of a text count as one node."""

_MAX_HOPS = 20
"""How many interpolations a reference is followed through."""

_SELECTING = frozenset({"oc.select", "oc.deprecated", "oc.dict.keys", "oc.dict.values"})
"""The resolvers of OmegaConf whose values are nodes of the configuration."""

_NAME = re.compile(r"[^.\[\]'\"]+")
_USUAL_REFERENCE = re.compile(r"\.*[\w/@-]+(?:[.\[][\w/@-]+\]?)*")


class _Children(NamedTuple):
    """Stands for the largest of the children of a node."""

    path: Path


_ANY = _Children(())


class _Parts(NamedTuple):
    """What the size of a node is the sum of."""

    own: int
    others: list[Path | _Children]


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
    try:
        size = sizes.get(())
    except RecursionError as exc:  # deep in the caller's stack
        raise ConfigError("its interpolations are nested too deeply") from exc
    if size > limit:
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
    """The sizes of nodes with their interpolations resolved.

    Foreign data decide how deep it gets, and who refers to whom. So nodes are visited with a stack
    of our own, and each node and each reference once.
    """

    def __init__(self, config: dict[Any, Any]) -> None:
        self._config = config
        self._sizes: dict[Path, int] = {}
        self._largest: dict[Path, int] = {}
        """The largest size of the children of each node, of those that are known."""
        self._parts: dict[Path, _Parts] = {}
        self._visited: set[_Children] = set()
        self._names: dict[Path, dict[str, Any]] = {}
        self._targets: dict[Path, Path] = {}

    def get(self, path: Path) -> int:
        """Return the size of the node at a path."""
        stack = [path]
        while stack:
            last = stack[-1]
            parts = self._parts.get(last)
            if parts is None:
                parts = self._parts[last] = self._analyze(last)
                stack += [p for p in self._iter_paths(parts) if p not in self._parts]
                continue
            stack.pop()
            if last not in self._sizes:  # the sizes of others in a circle are not known yet
                size = parts.own + sum(map(self._get_known, parts.others))
                self._sizes[last] = size
                if last:
                    parent = last[:-1]
                    self._largest[parent] = max(size, self._largest.get(parent, 1))
        return self._sizes[path]

    def _iter_paths(self, parts: _Parts) -> Iterator[Path]:
        for other in parts.others:
            if not isinstance(other, _Children):
                yield other
            elif other not in self._visited:
                self._visited.add(other)
                yield from ((*other.path, key) for key in _iter_keys(self._find(other.path)))

    def _get_known(self, other: Path | _Children) -> int:
        if isinstance(other, _Children):
            return self._largest.get(other.path, 1)
        return self._sizes.get(other, 1)

    def find_first_above(self, limit: int) -> Path:
        """Return the path of a node whose size, but not that of its parts, is above a limit.

        It is the largest top-level key if only all of them together are above.
        """
        first = next(path for path, size in self._sizes.items() if size > limit)
        return first or max(((key,) for key in self._config), key=self._sizes.__getitem__)

    def _analyze(self, path: Path) -> _Parts:
        node = self._find(path)
        if type(node) in (dict, list):
            return _Parts(1, [(*path, key) for key in _iter_keys(node)])
        if type(node) is not str:
            return _Parts(1, [])
        texts = node.split("${")[1:]
        found = (self._find_target(path, text, 0) for text in texts)
        own = 1 + len(node) // CHARACTERS_OF_NODE + len(texts)
        return _Parts(own, [target for target in found if target is not None])

    def _find(self, path: Path) -> Any:
        node: Any = self._config
        for part in path:
            node = node[part]
        return node

    def _find_target(self, path: Path, text: str, depth: int) -> Path | _Children | None:
        """Return what the interpolation at the beginning of a text may refer to.

        None if it certainly refers to no node.
        """
        reference, is_closed, _ = text.partition("}")
        resolver, is_resolver, arguments = reference.partition(":")
        if is_resolver:
            if resolver.strip() not in _SELECTING:
                return None  # of the environment, or of the user
            if not is_closed:
                return _ANY
            reference = arguments.partition(",")[0]
        name = reference.strip(" '\"")
        n_dots = len(name) - len(name.lstrip("."))
        if n_dots > len(path):
            return None
        names = _NAME.findall(name)
        if not is_closed:  # it goes on with an interpolation: ${a.${b}}
            names = names[: name.count(".", n_dots)]
        found = self._walk(path[:-n_dots] if n_dots else (), names, depth)
        if found is None:
            is_absent = is_closed and _USUAL_REFERENCE.fullmatch(name)
            return None if is_absent else _ANY
        return found if is_closed else _Children(found)

    def _walk(self, start: Path, names: list[str], depth: int) -> Path | None:
        """Return the path that names lead to, None if there is nothing.

        It is the path of an interpolation on the way if it is unclear where that leads: it is as
        large as what it stands for.
        """
        path, node = start, self._find(start)
        n_left = _MAX_HOPS
        for name in names:
            while type(node) is str and node.startswith("${"):
                target = self._resolve(path, node, depth)
                if target == path or n_left == 0:
                    return path
                path, node = target, self._find(target)
                n_left -= 1
            key = self._find_key(path, node, name)
            if key is None:
                return None
            path, node = (*path, key), node[key]
        return path

    def _resolve(self, path: Path, text: str, depth: int) -> Path:
        """Return the path of the node that an interpolation stands for, its own if unclear."""
        if path not in self._targets:
            self._targets[path] = path  # while it is looked for: it may be in a circle
            if depth < _MAX_HOPS:
                target = self._find_target(path, text[2:], depth + 1)
                if target is not None and not isinstance(target, _Children):
                    self._targets[path] = target
        return self._targets[path]

    def _find_key(self, path: Path, node: Any, name: str) -> Any:
        """Return the key or index that a name means, None if there is none."""
        if type(node) is list:
            index = int(name) if name.isascii() and name.isdigit() and len(name) < 10 else -1
            return index if 0 <= index < len(node) and str(index) == name else None
        if type(node) is not dict:
            return None
        if name not in node and path not in self._names:
            self._names[path] = {str(key): key for key in reversed(node)}
        return name if name in node else self._names[path].get(name)


def _iter_keys(node: Any) -> Iterable[Any]:
    """Return the keys of a mapping or indexes of a list."""
    if type(node) is dict:
        return node
    return range(len(node)) if type(node) is list else ()
