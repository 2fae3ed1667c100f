"""Selecting from configurations, with their interpolations resolved.

OmegaConf resolves an interpolation in a ``DictConfig``, which takes milliseconds to build.
What nearly all of them consist of is resolved here in plain data, with the same result:
references to nodes (``${a.b}``, ``${..b}``, ``${a[0]}``, ``${a.${b}}``) and the environment
(``${oc.env:HOME}``), alone or within text. The rest, and every error, is left to OmegaConf.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import ConfigTypeError, MissingMandatoryValue, OmegaConfBaseException

from kedro_hydraflow.config import Configuration, PlainConfig, is_literal, lacks, split_key
from kedro_hydraflow.errors import KedroHydraflowError
from kedro_hydraflow.missing import MISSING

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

UNDECIDED: Any = object()
"""Stands for a value that only OmegaConf can tell."""

Path = tuple[Any, ...]
"""The keys and indexes that lead to a node."""


def select(configuration: Configuration, key: str) -> Any:
    """Return what ``OmegaConf.select(cfg, key, default=MISSING)`` gives for one run.

    The configuration keeps a ``DictConfig`` where one is needed: for nodes, and for what only
    OmegaConf can tell.

    Raises:
        ConfigError: If the configuration cannot be read, or the value cannot be resolved.
        StorageError: If the configuration cannot be read.
    """
    data = configuration.data
    if data is None:
        data = configuration.read()
    if data is not None:
        value = _peek(data, key)
        if value is UNDECIDED:
            value = _Resolver().select(configuration, data, key)
        if value is not UNDECIDED and type(value) not in _CONTAINERS:
            return value
    return _select_from(configuration, configuration.get_dictconfig(), key)


class Column(NamedTuple):
    """The values of a key in many configurations, as far as they can be resolved."""

    values: list[Any]
    """They may be shared: do not modify them."""

    missing: list[int]
    """The positions where there is none."""

    error: KedroHydraflowError | None
    """Why the next one cannot be resolved, or its configuration not be read."""


class Selector:
    """Selects values from the configurations of many runs.

    It remembers what does not depend on them. One selector serves one call: the environment
    may be another in the next.
    """

    def __init__(self) -> None:
        self._resolver = _Resolver()
        self._lender = _Lender()

    def select_data(self, configuration: Configuration, key: str) -> Any:
        """Return a value as plain data with interpolations resolved, MISSING if there is none.

        It may be shared: do not modify it.

        Raises:
            ConfigError: As `select` does.
            StorageError: As `select` does.
        """
        data = configuration.data
        if data is None:
            data = configuration.read()
        if data is not None:
            value = self._resolver.select(configuration, data, key)
            if value is not UNDECIDED:
                return value
        with self._lender.lend(configuration) as cfg:
            return to_data(configuration, key, _select_from(configuration, cfg, key))

    def select_column(
        self, configurations: Iterable[Configuration], key: str, *, as_nodes: bool = False
    ) -> Column:
        """Return the values in many configurations, many times as fast as one by one.

        Args:
            configurations: The configurations.
            key: The key.
            as_nodes: Whether lists and mappings are nodes, as for the function `select`.
        """
        parts = split_key(key) or (_NO_KEY,)
        values: list[Any] = []
        missing: list[int] = []
        error: KedroHydraflowError | None = None
        select_one = self._select_node if as_nodes else self.select_data
        try:
            for configuration in configurations:
                value: Any
                value = data = configuration.data
                for part in parts:  # as `_peek` does, without the time of its call
                    value = value.get(part, UNDECIDED) if type(value) is dict else UNDECIDED
                kind = type(value)
                is_plain = kind in _NUMBERS or (
                    kind is str and "${" not in value and not value.endswith("???")
                )
                if not is_plain:
                    is_absent = value is UNDECIDED and parts[0] is not _NO_KEY
                    if is_absent and data is not None and lacks(data, parts[0]):
                        value = MISSING
                    else:
                        value = select_one(configuration, key)
                    if value is MISSING:
                        missing.append(len(values))
                values.append(value)
        except KedroHydraflowError as exc:
            error = exc
        return Column(values, missing, error)

    def _select_node(self, configuration: Configuration, key: str) -> Any:
        """Return as the function `select` does, but keep a ``DictConfig`` for nodes alone."""
        data = configuration.data
        if data is None:
            data = configuration.read()
        value = UNDECIDED
        if data is not None:
            value = self._resolver.select(configuration, data, key)
        if value is UNDECIDED:
            with self._lender.lend(configuration) as cfg:
                value = _select_from(configuration, cfg, key)
            is_node = isinstance(value, _NODES)
        else:
            is_node = type(value) in _CONTAINERS
        return select(configuration, key) if is_node else value

    def resolve(self, configuration: Configuration, path: Path, unresolved: Any) -> Any:
        """Return what lies at a path as plain data.

        Args:
            configuration: The configuration, which has something at the path.
            path: The keys that lead to it, of any type.
            unresolved: What lies there as it is stored.

        Returns:
            The value; None if it is missing (``???``); ``unresolved`` if it cannot be resolved.
        """
        data = configuration.read()
        if data is not None and configuration.config_class is None:
            value = self._resolver.resolve(data, path)
            if value is not UNDECIDED:
                return None if value is MISSING else value
        with self._lender.lend(configuration) as cfg:
            node: Any = cfg
            try:
                for name in path:
                    node = node[name]
                return (
                    OmegaConf.to_container(node, resolve=True) if isinstance(node, _NODES) else node
                )
            except MissingMandatoryValue:
                return None
            except OmegaConfBaseException:
                return unresolved


def to_data(configuration: Configuration, key: str, value: Any) -> Any:
    """Return the value of a key as plain data, with interpolations resolved.

    Raises:
        ConfigError: If one cannot be resolved.
    """
    if not isinstance(value, _NODES):
        return value
    try:
        return OmegaConf.to_container(value, resolve=True)
    except OmegaConfBaseException as exc:
        raise configuration.make_key_error(key, exc) from exc


def _peek(data: PlainConfig, key: str) -> Any:
    """Return the value if it is a plain scalar, MISSING if there is surely none, or UNDECIDED."""
    parts = split_key(key)
    if parts is None:
        return UNDECIDED
    value: Any = data
    for part in parts:
        value = value.get(part, UNDECIDED) if type(value) is dict else UNDECIDED
    kind = type(value)
    if kind in _NUMBERS:
        return value
    if kind is str:
        return UNDECIDED if "${" in value or value.endswith("???") else value
    return MISSING if value is UNDECIDED and lacks(data, parts[0]) else UNDECIDED


def _select_from(configuration: Configuration, cfg: DictConfig, key: str) -> Any:
    try:
        return OmegaConf.select(cfg, key, default=MISSING)
    except ConfigTypeError:  # a name below a list
        return MISSING
    except OmegaConfBaseException as exc:
        raise configuration.make_key_error(key, exc) from exc


class _Lender:
    """Lends a ``DictConfig`` for each configuration in turn.

    It makes each of the last one: the runs of a sweep differ in a few values.
    """

    def __init__(self) -> None:
        self._last: tuple[PlainConfig, type | None, DictConfig] | None = None

    @contextmanager
    def lend(self, configuration: Configuration) -> Generator[DictConfig, None, None]:
        """Lend the run's own ``DictConfig``, or else one that is gone with the next loan.

        Raises:
            ConfigError: If the configuration does not fit its class.
        """
        data = configuration.read()
        if data is None:
            yield configuration.get_dictconfig()
            return
        cfg = self._make(configuration, data)
        try:
            yield cfg
        finally:
            if any(OmegaConf.get_cache(cfg).values()):  # a resolver's value that is to stay
                configuration.set_dictconfig(cfg)
                self._last = None

    def _make(self, configuration: Configuration, data: PlainConfig) -> DictConfig:
        config_class = configuration.config_class
        last, self._last = self._last, None
        if last is not None and last[1] is config_class:
            old, _, cfg = last
            if old is data or (config_class is None and _change(cfg, old, data)):
                self._last = (data, config_class, cfg)
                return cfg
        cfg = configuration.build_dictconfig(data)
        self._last = (data, config_class, cfg)
        return cfg


class _Resolver:
    """Selects from plain data, and remembers what the environment holds."""

    def __init__(self) -> None:
        self._environment: dict[str, Any] = {}

    def select(self, configuration: Configuration, data: PlainConfig, key: str) -> Any:
        """Return the value of a key, MISSING or UNDECIDED.

        UNDECIDED stands for errors, for interpolations and keys that are unusual, and for
        every interpolation if there is a ``config_class``, whose types convert its value.
        """
        parts = split_key(key)
        if parts is None:
            return UNDECIDED
        if configuration.config_class is None:
            return self.resolve(data, parts)
        return _select_literal(data, parts)

    def resolve(self, config: PlainConfig, path: Path) -> Any:
        """Return what lies at a path, MISSING or UNDECIDED."""
        try:
            node, path = self._find(config, path, 0)
            return node if node is MISSING else self._resolve_all(config, node, path, 0)
        except _UndecidedError:
            return UNDECIDED

    def _find(self, config: PlainConfig, path: Path, depth: int) -> tuple[Any, Path]:
        """Return what lies at a path and its real path, or MISSING.

        They differ where an interpolation leads elsewhere.
        """
        node: Any = config
        found: Path = ()
        for part in path:
            node, step = _step(node, part)
            if node is MISSING:
                return MISSING, ()
            found = (*found, step)
            if type(node) is str and not is_literal(node):
                if node == "???":
                    if len(found) == len(path):
                        return MISSING, ()
                    raise _UndecidedError
                node, found = self._resolve_text(config, node, found, depth)
        return node, found

    def _resolve_text(
        self, config: PlainConfig, text: str, path: Path, depth: int
    ) -> tuple[Any, Path]:
        """Return what an interpolation at a path stands for, and the path of that."""
        tokens = _split(text)
        if tokens is None or depth == _MAX_DEPTH:
            raise _UndecidedError
        if len(tokens) == 1:
            return self._resolve_token(config, tokens[0], path, depth)
        texts = []
        for token in tokens:
            if token.startswith("${"):
                value, _ = self._resolve_token(config, token, path, depth)
                if type(value) in (dict, list):
                    raise _UndecidedError
                texts.append(str(value))
            else:
                texts.append(token)
        return _check("".join(texts)), path

    def _resolve_token(
        self, config: PlainConfig, token: str, path: Path, depth: int
    ) -> tuple[Any, Path]:
        if ":" in token:
            if token not in self._environment:
                self._environment[token] = _resolve_alone(token)
            return _check(self._environment[token]), path
        n_dots, names = _split_reference(token)
        start = path[:-n_dots] if n_dots else ()
        if n_dots > len(path):
            raise _UndecidedError
        parts = []
        for name in names:
            if name.startswith("${"):
                name, _ = self._resolve_token(config, name, path, depth + 1)
                if type(name) is not str or not _NAME.fullmatch(name):
                    raise _UndecidedError
            parts.append(name)
        node, found = self._find(config, (*start, *parts), depth + 1)
        if node is MISSING or path[: len(found)] == found:  # a node may not stand for its parent
            raise _UndecidedError
        return node, found

    def _resolve_all(self, config: PlainConfig, node: Any, path: Path, depth: int) -> Any:
        """Return a node as ``OmegaConf.to_container(..., resolve=True)`` gives it."""
        if is_literal(node) or node == "???":
            return node
        if type(node) is str:
            if depth == _MAX_DEPTH:
                raise _UndecidedError
            node, path = self._resolve_text(config, node, path, depth)
            depth += 1
        if type(node) is dict:
            return {k: self._resolve_all(config, v, (*path, k), depth) for k, v in node.items()}
        if type(node) is list:
            return [self._resolve_all(config, v, (*path, i), depth) for i, v in enumerate(node)]
        return node


def _select_literal(config: PlainConfig, parts: Path) -> Any:
    """Return the value if it is a literal, MISSING or UNDECIDED."""
    node: Any = config
    try:
        for part in parts:
            node, _ = _step(node, part)
            if node is MISSING or node == "???":
                return MISSING
    except _UndecidedError:
        return UNDECIDED
    return node if is_literal(node) else UNDECIDED


class _UndecidedError(Exception):
    """Only OmegaConf can tell the value."""


_NUMBERS = frozenset({int, float, bool, type(None)})
_CONTAINERS = frozenset({dict, list})
_NODES = (DictConfig, ListConfig)

_NO_KEY: Any = object()
"""Stands for the parts of a key that has to be parsed: no mapping has it."""

_MAX_DEPTH = 10
"""Interpolations that lead further lead in circles, and OmegaConf has a message for that."""

_NAME = re.compile(r"[\w/@-]+", re.ASCII)
_REFERENCE = r"\$\{{\.*{name}(?:\.{name}|\[{name}\])*\}}"
_FLAT = _REFERENCE.format(name=_NAME.pattern)
_NESTED = _REFERENCE.format(name=f"(?:{_NAME.pattern}|{_FLAT})")
_ENVIRONMENT = r"\$\{oc\.(?:env|decode):(?:[\w ,./@'-]|\$\{oc\.env:[\w ,./@'-]*\})*\}"
_TOKEN = re.compile(rf"({_ENVIRONMENT}|{_NESTED})|[^$\\]+", re.ASCII)
_PART = re.compile(rf"{_FLAT}|{_NAME.pattern}", re.ASCII)


def _step(node: Any, part: Any) -> tuple[Any, Any]:
    """Return what a mapping or list holds, MISSING if it does not, and its key there."""
    if type(node) is dict:
        if part in node:
            return node[part], part
        if lacks(node, part):
            return MISSING, part
    elif type(node) is list:
        if type(part) is str and part.isascii() and part.isdigit() and str(int(part)) == part:
            part = int(part)
        if type(part) is int and part < len(node):
            return node[part], part
    raise _UndecidedError


@lru_cache(maxsize=4096)
def _split(text: str) -> list[str] | None:
    """Return the interpolations of a text and what is between them.

    None if there is no interpolation, or an unusual one, or a backslash.
    """
    tokens = [match[0] for match in _TOKEN.finditer(text)]
    return tokens if "${" in text and sum(map(len, tokens)) == len(text) else None


@lru_cache(maxsize=4096)
def _split_reference(token: str) -> tuple[int, list[str]]:
    """Return how many dots a reference begins with, and its keys."""
    key = token[2:-1]
    return len(key) - len(key.lstrip(".")), _PART.findall(key)


def _resolve_alone(text: str) -> Any:
    """Return what an interpolation stands for that refers to no node."""
    try:
        return OmegaConf.create({"value": text})["value"]
    except Exception:
        return UNDECIDED


def _check(value: Any) -> Any:
    """Return a value that was made of others, if OmegaConf has nothing to do with it again."""
    if value is UNDECIDED or not is_literal(value) or type(value) in (dict, list):
        raise _UndecidedError
    return value


def _change(cfg: Any, old: PlainConfig, new: PlainConfig) -> bool:
    """Change a ``DictConfig`` from one configuration to another; False if that takes a new one."""
    if list(old) != list(new):
        return False
    for name, value in new.items():
        before = old[name]
        if value is before:
            continue
        if type(value) is not type(before):
            return False
        if type(value) is not dict:
            cfg[name] = value
        elif not _change(cfg[name], before, value):
            return False
    return True
