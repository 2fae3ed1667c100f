"""Selecting from configurations, with their interpolations resolved.

Building a ``DictConfig`` takes milliseconds. So nearly everything is selected from plain data,
with the same result: values, references to nodes (``${a.b}``, ``${..b}``, ``${a[0]}``,
``${a.${b}}``) and the environment (``${oc.env:HOME}``), alone or within text. OmegaConf is asked
for the rest, and for every error.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import ConfigTypeError, MissingMandatoryValue, OmegaConfBaseException

from kedro_hydraflow.config import Configuration, PlainConfig, is_literal, lacks, split_key
from kedro_hydraflow.errors import ConfigError, KedroHydraflowError, OptionError
from kedro_hydraflow.expansion import CHARACTERS_OF_NODE, count_nodes
from kedro_hydraflow.limits import get_max_nodes
from kedro_hydraflow.missing import MISSING
from kedro_hydraflow.yaml_reader import MAX_DEPTH, NODES_OF_INTERPOLATION

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence

Path = tuple[Any, ...]
"""The keys and indexes that lead to a node."""

_ASK_OMEGACONF: Any = object()
"""Stands for a value that only OmegaConf can determine."""

_NUMBERS = frozenset({int, float, bool, type(None)})
_CONTAINERS = frozenset({dict, list})
_NODES = (DictConfig, ListConfig)
_UNRESOLVABLE = (OmegaConfBaseException, RecursionError, OverflowError)
"""The errors of OmegaConf. It overflows where a class has a float, and the file a huge integer."""

_TEXT = frozenset({str})

_STORED_PART = re.compile(r"""\["([^"]+)"\]|\['([^']+)'\]|\[([^\[\]"']+)\]|([^.\[\]]+)""")
_STORED_KEY = re.compile(r"x+(?:\.x+)*")
"""A key with ``x`` in place of each `_STORED_PART`."""


def select(configuration: Configuration, key: str) -> Any:
    """Return the value of a key as ``OmegaConf.select(cfg, key, default=MISSING)`` does.

    The configuration keeps a ``DictConfig`` if one has to be built.

    Raises:
        ConfigError: If the configuration cannot be read, or the value cannot be resolved.
        StorageError: If the configuration cannot be read.
    """
    data = configuration.read()
    if data is not None:
        value = _get_scalar(data, key)
        if value is _ASK_OMEGACONF:
            value = _PlainSelector().select(configuration, data, key)
        if value is not _ASK_OMEGACONF and type(value) not in _CONTAINERS:
            return value
    return _ask_omegaconf(configuration, configuration.get_dictconfig(), key)


def select_stored(data: Any, key: str) -> Any:
    """Return the value of a key in plain data as it is stored, MISSING without one.

    Interpolations are not resolved. The names in the data may have dots themselves:
    ``val.loss`` is the entry ``loss`` of the mapping ``val``, or the entry ``val.loss``.

    Args:
        data: Mappings, lists and scalars.
        key: Names, and indexes of lists, separated by dots or in brackets: ``a.b``, ``a[b]``,
            ``a["b"]``, ``a.0``.

    Raises:
        OptionError: If the key has another form.
    """
    return _find_stored(data, _split_stored_key(key))


@lru_cache(maxsize=4096)
def _split_stored_key(key: str) -> tuple[str, ...]:
    parts = split_key(key)
    if parts is None:
        if _STORED_KEY.fullmatch(_STORED_PART.sub("x", key)) is None:
            raise OptionError(
                f"cannot read the key {key!r}: expected names with dots between them, or in "
                "brackets, as in choices[db.main]"
            )
        parts = tuple("".join(groups) for groups in _STORED_PART.findall(key))
    return parts


def _find_stored(data: Any, parts: Sequence[str]) -> Any:
    if not parts:
        return data
    if type(data) is list:
        position = parts[0]
        is_index = position.isascii() and position.isdigit() and int(position) < len(data)
        return _find_stored(data[int(position)], parts[1:]) if is_index else MISSING
    if type(data) is not dict:
        return MISSING
    if not _TEXT.issuperset(map(type, data)):  # such as {0: 0.5}
        data = {**{str(name): value for name, value in data.items()}, **data}
    for end in range(1, len(parts) + 1):
        name = ".".join(parts[:end])
        found = _find_stored(data[name], parts[end:]) if name in data else MISSING
        if found is not MISSING:
            return found
    return MISSING


class Column(NamedTuple):
    """The values of a key in many configurations, up to the first error."""

    values: list[Any]
    """They may be shared: do not modify them."""

    missing: list[int]
    """The positions of configurations without the key, whose value is MISSING."""

    error: KedroHydraflowError | None
    """The error of the next configuration, at which `values` ends, None if no error occurred."""


class Selector:
    """Selects values from the configurations of many runs.

    It caches environment variables, which users may change between calls. So use a new one for
    each call.
    """

    def __init__(self) -> None:
        self._plain = _PlainSelector()
        self._temporary = _TemporaryDictConfig()

    def select_data(self, configuration: Configuration, key: str) -> Any:
        """Return a value as plain data with interpolations resolved, MISSING without one.

        It may be shared: do not modify it.

        Raises:
            ConfigError: As `select` does.
            StorageError: As `select` does.
        """
        value = self._select_plain(configuration, key)
        if value is _ASK_OMEGACONF:
            with self._temporary.of(configuration) as cfg:
                return to_data(configuration, key, _ask_omegaconf(configuration, cfg, key))
        return value

    def select_column(
        self, configurations: Iterable[Configuration], key: str, *, as_nodes: bool = False
    ) -> Column:
        """Return the values in many configurations, many times as fast as one by one.

        Args:
            configurations: The configurations.
            key: The key.
            as_nodes: Whether lists and mappings are nodes, as in `select`, or plain data.
        """
        parts = split_key(key) or (_NO_KEY,)
        values: list[Any] = []
        missing: list[int] = []
        error: KedroHydraflowError | None = None
        select_one = self._select_as_node if as_nodes else self.select_data
        try:
            for configuration in configurations:
                value: Any
                value = data = configuration.data
                for part in parts:  # as in `_get_scalar`, whose call would take half of the time
                    value = value.get(part, _ABSENT) if type(value) is dict else _ABSENT
                kind = type(value)
                is_scalar = kind in _NUMBERS or (
                    kind is str and "${" not in value and not value.endswith("???")
                )
                if not is_scalar:
                    is_absent = value is _ABSENT and parts[0] is not _NO_KEY
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

    def resolve_all(
        self, configuration: Configuration, data: dict[Any, Any], path: Path = ()
    ) -> dict[Any, Any]:
        """Return a mapping of a configuration with all of its values as `resolve` returns them.

        Args:
            configuration: The configuration.
            data: The mapping, or a part of it, as it is stored: it is not modified.
            path: The keys that lead to it.
        """
        resolved = {}
        for name, value in data.items():
            place = (*path, name)
            if type(value) is dict and value:
                resolved[name] = self.resolve_all(configuration, value, place)
            elif is_literal(value):
                resolved[name] = value
            else:
                resolved[name] = self.resolve(configuration, place, value)
        return resolved

    def resolve(self, configuration: Configuration, path: Path, unresolved: Any) -> Any:
        """Return the value at a path, as plain data.

        Args:
            configuration: The configuration, which has something at the path.
            path: The keys that lead to it, of any type.
            unresolved: What lies there as it is stored.

        Returns:
            The value; None if it is missing (``???``); ``unresolved`` if it cannot be resolved.
        """
        data = configuration.read()
        if data is not None and configuration.config_class is None:
            value = self._plain.resolve(data, path)
            if value is not _ASK_OMEGACONF:
                return None if value is MISSING else value
        with self._temporary.of(configuration) as cfg:
            node: Any = cfg
            try:
                for name in path:
                    node = node[name]
                return _to_container(node) if isinstance(node, _NODES) else node
            except MissingMandatoryValue:
                return None
            except (*_UNRESOLVABLE, ConfigError):
                return unresolved

    def _select_plain(self, configuration: Configuration, key: str) -> Any:
        data = configuration.read()
        return _ASK_OMEGACONF if data is None else self._plain.select(configuration, data, key)

    def _select_as_node(self, configuration: Configuration, key: str) -> Any:
        """Return the result of `select`. Only nodes make a ``DictConfig`` of the configuration."""
        value = self._select_plain(configuration, key)
        is_node = type(value) in _CONTAINERS
        if value is _ASK_OMEGACONF:
            with self._temporary.of(configuration) as cfg:
                value = _ask_omegaconf(configuration, cfg, key)
            is_node = isinstance(value, _NODES)
        return select(configuration, key) if is_node else value


def to_data(configuration: Configuration, key: str, value: Any) -> Any:
    """Return the value of a key as plain data, with interpolations resolved.

    Raises:
        ConfigError: If one cannot be resolved.
    """
    if not isinstance(value, _NODES):
        return value
    try:
        return _to_container(value)
    except (*_UNRESOLVABLE, ConfigError) as exc:
        raise configuration.make_key_error(key, exc) from exc


def _to_container(node: Any) -> Any:
    """Return a node as plain data, with interpolations resolved.

    Raises:
        ConfigError: If it is nested too deeply then.
    """
    data: Any = OmegaConf.to_container(node, resolve=True)
    level = [data]
    for _ in range(_MAX_RESOLVED_DEPTH):
        children = [c for c in level if type(c) in _CONTAINERS]
        level = [v for c in children for v in (c.values() if type(c) is dict else c)]
    if any(type(child) in _CONTAINERS for child in level):
        raise ConfigError(f"interpolations nest it deeper than {_MAX_RESOLVED_DEPTH} levels")
    return data


# From plain data ---------------------------------------------------------------------------
#
# These return `_ASK_OMEGACONF`, or raise `_AskOmegaConfError`, for all that OmegaConf might see
# in another way, errors included.

_ABSENT: Any = object()
_NO_KEY: Any = object()
"""Stands for the parts of a key that only OmegaConf can split: no mapping has it."""

_MAX_DEPTH = 10
"""Longer chains of interpolations are most likely circles, for which OmegaConf has a message."""

_MAX_RESOLVED_DEPTH = 2 * MAX_DEPTH
"""The maximum depth of a value with its interpolations resolved."""

_NAME = re.compile(r"[\w/@-]+", re.ASCII)
_REFERENCE = r"\$\{{\.*{name}(?:\.{name}|\[{name}\])*\}}"
_FLAT = _REFERENCE.format(name=_NAME.pattern)
_NESTED = _REFERENCE.format(name=f"(?:{_NAME.pattern}|{_FLAT})")
_ENVIRONMENT = r"\$\{oc\.(?:env|decode):(?:[\w ,./@'-]|\$\{oc\.env:[\w ,./@'-]*\})*\}"
_TOKEN = re.compile(rf"({_ENVIRONMENT}|{_NESTED})|[^$\\]+", re.ASCII)
_PART = re.compile(rf"{_FLAT}|{_NAME.pattern}", re.ASCII)


_MAX_CACHED = 1_000
"""The maximum length of texts whose parts are cached."""

_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")


class _AskOmegaConfError(Exception):
    """Plain data do not show the value."""


def _get_scalar(data: PlainConfig, key: str) -> Any:
    """Return a value if it is a scalar without interpolations, MISSING if there is none."""
    parts = split_key(key)
    if parts is None:
        return _ASK_OMEGACONF
    value: Any = data
    for part in parts:
        value = value.get(part, _ABSENT) if type(value) is dict else _ABSENT
    kind = type(value)
    if kind in _NUMBERS:
        return value
    if kind is str:
        return _ASK_OMEGACONF if "${" in value or value.endswith("???") else value
    return MISSING if value is _ABSENT and lacks(data, parts[0]) else _ASK_OMEGACONF


class _PlainSelector:
    """Selects from plain data. It keeps the values of environment variables."""

    def __init__(self) -> None:
        self._environment: dict[str, Any] = {}
        self._max_nodes = get_max_nodes()
        self._n_left = 0
        """The number of nodes that the interpolations of one value may still expand to."""

    def select(self, configuration: Configuration, data: PlainConfig, key: str) -> Any:
        """Return the value of a key, MISSING without one."""
        parts = split_key(key)
        if parts is None:
            return _ASK_OMEGACONF
        if configuration.config_class is None:
            return self.resolve(data, parts)
        return _select_literal(data, parts)  # the class converts the values of interpolations

    def resolve(self, config: PlainConfig, path: Path) -> Any:
        """Return the value at a path, MISSING if there is none."""
        self._n_left = self._max_nodes
        try:
            node, real_path = self._walk(config, path, 0)
            return node if node is MISSING else self._resolve_all(config, node, real_path, 0, 0)
        except (_AskOmegaConfError, RecursionError):  # the latter deep in the caller's stack
            return _ASK_OMEGACONF

    def _spend(self, n_nodes: int) -> None:
        self._n_left -= n_nodes
        if self._n_left < 0:
            raise _AskOmegaConfError

    def _walk(self, config: PlainConfig, path: Sequence[Any], depth: int) -> tuple[Any, Path]:
        """Return the value at a path and its real path; MISSING if there is none.

        The real path is another one if an interpolation on the way leads elsewhere.
        """
        node: Any = config
        real_path: Path = ()
        for part in path:
            node, step = _step(node, part)
            if node is MISSING:
                return MISSING, ()
            real_path = (*real_path, step)
            if type(node) is str and not is_literal(node):
                if node == "???":
                    if len(real_path) == len(path):
                        return MISSING, ()
                    raise _AskOmegaConfError
                node, real_path = self._resolve_text(config, node, real_path, depth)
        return node, real_path

    def _resolve_text(
        self, config: PlainConfig, text: str, path: Path, depth: int
    ) -> tuple[Any, Path]:
        """Return the value of a text with interpolations, and the real path of that value."""
        tokens = _split_text(text)
        if tokens is None or depth == _MAX_DEPTH:
            raise _AskOmegaConfError
        if len(tokens) == 1:
            return self._resolve_interpolation(config, tokens[0], path, depth)
        texts = []
        for token in tokens:
            if token.startswith("${"):
                value, _ = self._resolve_interpolation(config, token, path, depth)
                if type(value) in _CONTAINERS:
                    raise _AskOmegaConfError
                texts.append(str(value))
            else:
                texts.append(token)
        joined = "".join(texts)
        self._spend(len(joined) // CHARACTERS_OF_NODE)
        return _check_scalar(joined), path

    def _resolve_interpolation(
        self, config: PlainConfig, token: str, path: Path, depth: int
    ) -> tuple[Any, Path]:
        """Return the value of one interpolation, and the real path of that value.

        Args:
            config: The configuration.
            token: The interpolation, from ``${`` to ``}``.
            path: Where it is.
            depth: How many interpolations led there.
        """
        self._spend(NODES_OF_INTERPOLATION)
        if ":" in token:
            if token not in self._environment:
                self._environment[token] = _resolve_environment(token)
            return _check_scalar(self._environment[token]), path
        if len(token) > _MAX_CACHED:
            raise _AskOmegaConfError
        n_dots, names = _split_reference(token)
        if n_dots > len(path):
            raise _AskOmegaConfError
        target = [*path[:-n_dots]] if n_dots else []
        for name in names:
            if name.startswith("${"):
                name, _ = self._resolve_interpolation(config, name, path, depth + 1)
                if type(name) is not str or not _NAME.fullmatch(name):
                    raise _AskOmegaConfError
            target.append(name)
        node, real_path = self._walk(config, target, depth + 1)
        if node is MISSING or path[: len(real_path)] == real_path:
            raise _AskOmegaConfError  # a node may not stand for what it is in
        return node, real_path

    def _resolve_all(
        self, config: PlainConfig, node: Any, path: Path, depth: int, level: int
    ) -> Any:
        """Return a node as ``OmegaConf.to_container(..., resolve=True)`` does.

        Args:
            config: The configuration.
            node: The node.
            path: Where it is.
            depth: How many interpolations led there.
            level: How deep it is in the result.
        """
        if is_literal(node) or node == "???":
            return node
        if type(node) is str:
            if depth == _MAX_DEPTH:
                raise _AskOmegaConfError
            node, path = self._resolve_text(config, node, path, depth)
            depth += 1
            if type(node) in _CONTAINERS:
                self._spend(count_nodes(node, self._n_left))
        if level == MAX_DEPTH and type(node) in _CONTAINERS:
            raise _AskOmegaConfError
        resolve = self._resolve_all
        if type(node) is dict:
            return {k: resolve(config, v, (*path, k), depth, level + 1) for k, v in node.items()}
        if type(node) is list:
            return [resolve(config, v, (*path, i), depth, level + 1) for i, v in enumerate(node)]
        return node


def _select_literal(config: PlainConfig, parts: Path) -> Any:
    """Return a value if it has no interpolations, MISSING if there is none."""
    node: Any = config
    try:
        for part in parts:
            node, _ = _step(node, part)
            if node is MISSING or node == "???":
                return MISSING
    except _AskOmegaConfError:
        return _ASK_OMEGACONF
    return node if is_literal(node) else _ASK_OMEGACONF


def _step(node: Any, part: Any) -> tuple[Any, Any]:
    """Return the child of a mapping or list at a key, or MISSING; and its key or index."""
    if type(node) is dict:
        if part in node:
            return node[part], part
        if lacks(node, part):
            return MISSING, part
    elif type(node) is list:
        if type(part) is str and _INDEX.fullmatch(part):
            part = int(part)
        if type(part) is int and part < len(node):
            return node[part], part
    raise _AskOmegaConfError


def _split_text(text: str) -> list[str] | None:
    """Return the interpolations of a text and the texts between them.

    None if there is no interpolation, or an unusual one, or a backslash.
    """
    return _split_cached(text) if len(text) <= _MAX_CACHED else _split_anew(text)


def _split_anew(text: str) -> list[str] | None:
    tokens = [match[0] for match in _TOKEN.finditer(text)]
    return tokens if "${" in text and sum(map(len, tokens)) == len(text) else None


_split_cached = lru_cache(maxsize=4096)(_split_anew)


@lru_cache(maxsize=4096)
def _split_reference(token: str) -> tuple[int, list[str]]:
    """Return the number of dots at the beginning of a reference, and its keys."""
    key = token[2:-1]
    return len(key) - len(key.lstrip(".")), _PART.findall(key)


def _resolve_environment(text: str) -> Any:
    """Return the value of ``${oc.env:…}`` or ``${oc.decode:…}``."""
    try:
        return OmegaConf.create({"value": text})["value"]
    except Exception:
        return _ASK_OMEGACONF


def _check_scalar(value: Any) -> Any:
    """Return the value of an interpolation if it is a scalar without further ones."""
    if value is _ASK_OMEGACONF or not is_literal(value) or type(value) in _CONTAINERS:
        raise _AskOmegaConfError
    return value


# From a DictConfig -------------------------------------------------------------------------


def _ask_omegaconf(configuration: Configuration, cfg: DictConfig, key: str) -> Any:
    try:
        return OmegaConf.select(cfg, key, default=MISSING)
    except ConfigTypeError:  # a name below a list
        return MISSING
    except _UNRESOLVABLE as exc:
        raise configuration.make_key_error(key, exc) from exc


class _TemporaryDictConfig:
    """A ``DictConfig`` that is reused for one configuration after another.

    The runs of a sweep differ in a few values, so that it is changed rather than built again.
    """

    def __init__(self) -> None:
        self._last: tuple[PlainConfig, type | None, DictConfig] | None = None

    @contextmanager
    def of(self, configuration: Configuration) -> Generator[DictConfig, None, None]:
        """Yield the ``DictConfig`` of a configuration, for use in the block alone.

        It is the configuration's own, if that has one.

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
            if any(OmegaConf.get_cache(cfg).values()):  # a resolver with use_cache=True
                configuration.set_dictconfig(cfg)
                self._last = None

    def _make(self, configuration: Configuration, data: PlainConfig) -> DictConfig:
        config_class = configuration.config_class
        last, self._last = self._last, None
        if last is not None and last[1] is config_class:
            old, _, cfg = last
            configuration.check_expansion(data)
            if old is data or (config_class is None and _change(cfg, old, data)):
                self._last = (data, config_class, cfg)
                return cfg
        cfg = configuration.build_dictconfig(data)
        self._last = (data, config_class, cfg)
        return cfg


def _change(cfg: Any, old: PlainConfig, new: PlainConfig) -> bool:
    """Change a ``DictConfig`` from one configuration to another.

    Returns:
        Whether that is possible. If not, it may be changed in part.
    """
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
