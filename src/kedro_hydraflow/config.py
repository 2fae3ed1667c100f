"""Configurations of runs: plain data, and a ``DictConfig`` on demand.

Plain data are nested ``dict`` and ``list`` objects that are **never modified**, as many runs share
the same parts. A ``DictConfig`` is built only on demand, because building one takes a hundred
times longer than reading a value from plain data. `kedro_hydraflow.yaml_reader` reads the files.
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
import os
import re
import threading
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import yaml
from omegaconf import DictConfig, OmegaConf, ValueNode
from omegaconf.errors import OmegaConfBaseException

from kedro_hydraflow.errors import ConfigError, MetadataError, OptionError, prefix_error
from kedro_hydraflow.expansion import check_expansion
from kedro_hydraflow.yaml_reader import (
    SCALAR_TYPES,
    TEXT_LOADER,
    check_limits,
    load_yaml,
    one_line,
)
from kedro_hydraflow.yaml_reader import ConfigReader as ConfigReader
from kedro_hydraflow.yaml_reader import PlainConfig as PlainConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

_TEXT = frozenset({str})

_PLAIN_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,17})")
_PLAIN_FLOAT = re.compile(
    r"-?(0|[1-9][0-9]*)\.[0-9]+(e[-+][0-9]+)?|-?inf|nan"  # as Python logs them
)

_NO_RESOLVER = re.compile(r"Unsupported interpolation type (\S+)")
"""The message of OmegaConf's ``UnsupportedInterpolationType``."""

_OF_HYDRA = {
    "hydra": "of Hydra's own configuration, the keys 'hydra.*' are what was recorded",
    **dict.fromkeys(("now", "python_version"), "what it gave when the run began was not recorded"),
}
"""The resolvers that Hydra registers when it runs an application, and what to say of each. Another
one of that name would give another value than the run had."""

State = tuple["type | None", "PlainConfig | None", "DictConfig | None", "SharedLock"]
"""What a copy of a `Configuration` takes: class, plain data, ``DictConfig``, lock."""


class ConfigSource(Protocol):
    """The place where the configuration of one run is stored."""

    @property
    def run_id(self) -> str:
        """The run ID, for messages."""

    @property
    def url(self) -> str:
        """The file, for messages."""

    def read(self) -> PlainConfig:
        """Return the stored configuration, an empty one if there is none.

        Raises:
            ConfigError: If it is malformed; the message names the file.
            StorageError: If the storage denies access or cannot be reached.
        """


class SharedLock:
    """A reentrant lock, shared by the runs of a load and their copies.

    Runs that are unpickled together share a new one.

    A lock for each of ten thousand runs would double the work of the garbage collector.
    """

    __slots__ = ("_locks",)

    def __init__(self) -> None:
        # One for each process: a forked process may inherit a lock that nobody releases.
        self._locks: dict[int, threading.RLock] = {}

    def __enter__(self) -> None:
        self._locks.setdefault(os.getpid(), threading.RLock()).acquire()

    def __exit__(self, *_: object) -> None:
        self._locks[os.getpid()].release()

    def __reduce__(self) -> tuple[Any, ...]:
        return SharedLock, ()


class Configuration:
    """The configuration of one run, read on first use.

    It holds plain data until a ``DictConfig`` is requested, then only the ``DictConfig``.

    Args:
        source: Where it is stored.
        config_class: A dataclass onto which the stored configuration is merged.
        data: The plain data, if they have been read: merged, and shared with other runs.
        lock: Held while the data or the ``DictConfig`` are made or changed.
    """

    __slots__ = ("_cfg", "_lock", "_source", "config_class", "data")

    config_class: type | None

    data: PlainConfig | None
    """The plain data, which are shared: do not modify them. None before they are read, and when
    there is a ``DictConfig``."""

    def __init__(
        self,
        source: ConfigSource,
        config_class: type | None = None,
        data: PlainConfig | None = None,
        lock: SharedLock | None = None,
    ) -> None:
        self._source = source
        self.config_class = config_class
        self.data = data
        self._cfg: DictConfig | None = None
        self._lock = lock or SharedLock()

    def get_state(self) -> State:
        """Return the parts of a copy besides its source: class, data, ``DictConfig``, lock."""
        data = self.data  # before the DictConfig, by which another thread may replace it
        return self.config_class, data, self._cfg, self._lock

    def read(self) -> PlainConfig | None:
        """Return the plain data, read on first use; None if there is a ``DictConfig``.

        Raises:
            ConfigError: If the file cannot be parsed, or does not fit ``config_class``.
            StorageError: If the storage denies access or cannot be reached.
        """
        if self.data is None and self._cfg is None:
            with self._lock:
                if self.data is None and self._cfg is None:
                    stored = self._source.read()
                    try:
                        self.data = merge_config(stored, self.config_class)
                    except ConfigError as exc:
                        raise prefix_error(self._source.url, exc) from exc
        return self.data

    def has_dictconfig(self) -> bool:
        """Whether there is a ``DictConfig``."""
        return self._cfg is not None

    def get_dictconfig(self) -> DictConfig:
        """Return the ``DictConfig``, built on first use.

        Raises:
            ConfigError: As `read` does.
            StorageError: As `read` does.
        """
        if self._cfg is None:
            with self._lock:
                data = self.read()
                if data is not None:
                    self.set_dictconfig(self.build_dictconfig(data))
        return cast("DictConfig", self._cfg)

    def build_dictconfig(self, data: PlainConfig) -> DictConfig:
        """Return a new ``DictConfig`` of the plain data.

        Raises:
            ConfigError: If the data do not fit ``config_class``.
        """
        try:
            return build_dictconfig(data, self.config_class)
        except ConfigError as exc:
            raise prefix_error(self._source.url, exc) from exc

    def check_expansion(self, data: PlainConfig) -> None:
        """Raise ConfigError if interpolations make the plain data too large."""
        try:
            check_expansion(data)
        except ConfigError as exc:
            raise prefix_error(self._source.url, exc) from exc

    def set_dictconfig(self, cfg: DictConfig) -> None:
        """Replace the plain data, or the ``DictConfig``, by a ``DictConfig``."""
        with self._lock:
            self._cfg = cfg  # first, so that a reader without the lock always finds one of them
            self.data = None

    def update(self, key: str, value: Any) -> None:
        """Set the value of a key, which may be a new one."""
        with self._lock:
            if self.config_class is None:
                data = self.read()
                updated = None if data is None else update_plain(data, key, value)
                if updated is not None:
                    self.data = updated
                    return
            OmegaConf.update(self.get_dictconfig(), key, value, force_add=True)

    def to_plain(self) -> PlainConfig:
        """Return the plain data, with interpolations as they are: do not modify them."""
        data = self.read()
        return to_plain(self.get_dictconfig()) if data is None else data

    def to_container(self) -> Any:
        """Return new data, as ``OmegaConf.to_container`` does."""
        data = self.read()
        if data is None:
            return OmegaConf.to_container(self.get_dictconfig())
        return copy.deepcopy(data)

    def make_key_error(self, key: str, error: Exception) -> ConfigError:
        """Return an error that names the run and the key of a value that cannot be resolved."""
        text = one_line(error)
        if _TOO_DEEP in text:
            text = "its interpolations refer to themselves, or to too many others in turn"
        advice = _advise_resolver(error)
        return ConfigError(
            f"run {self._source.run_id}: cannot resolve the key {key!r}: {text}{advice}"
        )


_TOO_DEEP = "maximum recursion depth exceeded"
"""The message of a RecursionError, also within that of OmegaConf."""


def _advise_resolver(error: Exception) -> str:
    """Return the end of a message about a resolver that is not registered; empty for others."""
    match = _NO_RESOLVER.match(str(error))
    if match is None:
        return ""
    name = match[1]
    if name in _OF_HYDRA:
        return f"; Hydra has the resolver {name!r} only in an application: {_OF_HYDRA[name]}"
    is_new = "replace" in inspect.signature(OmegaConf.register_resolver).parameters
    function = "register_resolver" if is_new else "register_new_resolver"  # before OmegaConf 2.4
    return (
        f"; there is no resolver {name!r}: to read the value, register one before with "
        f'OmegaConf.{function}("{name}", ...)'
    )


def parse_meta(data: bytes) -> dict[str, str | None]:
    """Return the scalar entries of a ``meta.yaml``, every value as its text, null as None.

    MLflow's file store writes these files with ``yaml.safe_dump``
    (``mlflow/store/tracking/file_store.py``). The name of a run may look like another type:
    ``1e3``, ``yes``, ``2024-01-01``, ``${oc.env:HOME}``.

    Raises:
        MetadataError: If the file is not one YAML mapping with distinct keys.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise MetadataError(f"expected UTF-8 text: {exc}") from exc
    entries = _META_LINE.findall(text)
    complete = text.endswith("\n") and len(entries) == text.count("\n")
    if complete and len({key for key, _, _ in entries}) == len(entries):
        return {
            key: None if plain in _NULLS else quoted or plain
            for key, quoted, plain in entries
            if plain != "[]"
        }
    try:
        check_limits(text)
        node = yaml.compose(text, Loader=TEXT_LOADER)
    except (yaml.YAMLError, ConfigError) as exc:
        raise MetadataError(one_line(exc)) from exc
    if not isinstance(node, yaml.MappingNode):
        kinds = {yaml.SequenceNode: "a sequence", yaml.ScalarNode: "a scalar"}
        found = kinds.get(type(node), "nothing")
        raise MetadataError(f"expected a YAML mapping, found {found}")
    meta: dict[str, str | None] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise MetadataError(f"expected text as key in line {key.start_mark.line + 1}")
        if key.value in meta:
            raise MetadataError(f"the key {key.value!r} occurs twice")
        if isinstance(value, yaml.ScalarNode):
            is_null = not value.style and value.value in ("", "~", *_NULLS)
            meta[key.value] = None if is_null else value.value
    return meta


def parse_scalar(text: str) -> Any:
    """Return the value of a piece of YAML such as ``[1, 1e-3]``, as OmegaConf reads it.

    Raises:
        ConfigError: If the text is not YAML.
    """
    return load_yaml(text)


def parse_logged(text: str) -> Any:
    """Return the value of a param or tag: a number as Python writes it, ``nan`` too, or else YAML.

    Raises:
        ConfigError: If the text is not YAML.
    """
    if _PLAIN_INTEGER.fullmatch(text):
        return int(text)
    if _PLAIN_FLOAT.fullmatch(text):
        return float(text)
    return _parse_known(text)


@lru_cache(maxsize=4096)
def _parse_known(text: str) -> Any:
    return parse_scalar(text)


def parse_texts(text: str) -> Any:
    """Return the value of a piece of YAML with every scalar as its text: ``["1", "1e-3"]``.

    Raises:
        ConfigError: If the text is not YAML.
    """
    check_limits(text)
    try:
        return yaml.load(text, Loader=TEXT_LOADER)
    except yaml.YAMLError as exc:
        raise ConfigError(one_line(exc)) from exc


def is_plain_scalar(text: str) -> bool:
    """Whether a piece of YAML is a scalar without quotes, and nothing else, such as a comment."""
    try:
        tokens = list(yaml.scan(text, Loader=TEXT_LOADER))
    except (yaml.YAMLError, UnicodeEncodeError):
        return False
    scalars = [token for token in tokens[1:-1] if isinstance(token, yaml.ScalarToken)]
    return len(tokens) == 3 and any(t.plain and t.end_mark.index == len(text) for t in scalars)


def build_dictconfig(config: PlainConfig, config_class: type | None = None) -> DictConfig:
    """Return a new ``DictConfig``, merged onto ``config_class`` if that is given.

    Args:
        config: Plain data.
        config_class: A dataclass. Types are checked, missing fields take its defaults.

    Raises:
        ConfigError: If interpolations make it too large, if a value does not fit the class, or if
            a key is not a field of it.
    """
    check_expansion(config)
    if config_class is None:
        try:
            return OmegaConf.create(config)
        except Exception as exc:  # also a RecursionError, deep in the stack
            raise ConfigError(one_line(exc)) from exc
    try:
        schema = OmegaConf.structured(config_class)
    except Exception as exc:  # such as NameError for an annotation that cannot be resolved
        raise ConfigError(
            f"{config_class.__qualname__} is no config_class for OmegaConf: {one_line(exc)}"
        ) from exc
    try:
        return cast("DictConfig", OmegaConf.merge(schema, OmegaConf.create(config)))
    except Exception as exc:  # also an OverflowError: an integer may be too large for a float
        raise ConfigError(
            f"the configuration does not fit {config_class.__qualname__}: {one_line(exc)}"
        ) from exc


def is_structured(value: object) -> bool:
    """Whether OmegaConf takes a value as a structured config: a class of dataclasses or attrs."""
    return isinstance(value, type) and (
        dataclasses.is_dataclass(value) or hasattr(value, "__attrs_attrs__")
    )


def check_config_class(value: object) -> None:
    """Raise OptionError unless the value is None or such a class."""
    if value is not None and not is_structured(value):
        raise OptionError(f"config_class: expected a dataclass, found {value!r}")


def merge_config(config: PlainConfig, config_class: type | None) -> PlainConfig:
    """Return a stored configuration merged onto ``config_class``, unchanged without one.

    Raises:
        ConfigError: If the configuration does not fit the class.
    """
    return config if config_class is None else to_plain(build_dictconfig(config, config_class))


class ConfigMerger:
    """Merges many configurations onto a class. What several of them share is merged once.

    The results are those of `merge_config`. Each key is merged by itself, except where OmegaConf
    would look at what an interpolation refers to.

    Args:
        config_class: The dataclass.
    """

    def __init__(self, config_class: type) -> None:
        self._config_class = config_class
        self._merged: dict[tuple[str, int | str], tuple[Any, Any]] = {}
        """For a key, with the ID of a mapping or list or with text, the value and the result."""

    def merge(self, config: PlainConfig) -> PlainConfig | ConfigError:
        """Return a configuration merged onto the class, or the error."""
        try:
            merged = self._merge_by_key(config)
            return merge_config(config, self._config_class) if merged is None else merged
        except ConfigError as exc:
            return exc

    @cached_property
    def _schema(self) -> DictConfig:
        return build_dictconfig({}, self._config_class)

    @cached_property
    def _defaults(self) -> PlainConfig:
        return to_plain(self._schema)

    @cached_property
    def _has_interpolations(self) -> bool:
        """Whether defaults have interpolations, which may refer to what is merged."""
        return _may_interpolate(self._defaults)

    def _merge_by_key(self, config: PlainConfig) -> PlainConfig | None:
        """Return a merged configuration; None if it has to be merged as a whole."""
        if self._has_interpolations or not _TEXT.issuperset(map(type, config)):
            return None
        try:
            return {**self._defaults, **{k: self._merge_value(k, v) for k, v in config.items()}}
        except (ConfigError, OmegaConfBaseException, _OutOfContextError):
            return None  # so that an error is that of the whole

    def _merge_value(self, key: str, value: Any) -> Any:
        """Return the value of a key, merged onto the class."""
        node = self._schema._get_node(key)
        is_special = type(value) is str and ("${" in value or value == "???")
        is_plain = type(value) in _SCALARS and not is_special
        if (
            is_plain
            and isinstance(node, ValueNode)
            and node._metadata.ref_type in (Any, type(value))
        ):
            return value  # which neither fails nor is converted
        of_value = value if is_special else id(value)
        known = self._merged.get((key, of_value))
        if known is None:
            if _may_interpolate(value):
                _check_interpolations(node, value)
            known = value, merge_config({key: value}, self._config_class)[key]
            if is_special or type(value) in (dict, list):
                self._merged[key, of_value] = known
        return known[1]


_SCALARS = frozenset({int, float, bool, str})


def _may_interpolate(value: Any) -> bool:
    return "${" in str(value)


class _OutOfContextError(Exception):
    """OmegaConf would look at what an interpolation refers to."""


def _check_interpolations(node: Any, value: Any) -> None:
    """Raise an error if interpolations in a value are where a class has no single value.

    There OmegaConf may look at what they refer to: whether it is None, for example.

    Args:
        node: What the class has in the place of the value.
        value: Plain data.
    """
    if isinstance(value, dict) and isinstance(node, DictConfig) and not node._is_none():
        for key, inner in value.items():
            if _may_interpolate(inner):
                is_known = not node._is_missing() and key in node
                _check_interpolations(node._get_node(key) if is_known else None, inner)
    elif not isinstance(value, str) or not isinstance(node, ValueNode):
        raise _OutOfContextError


def to_plain(config: DictConfig) -> PlainConfig:
    """Return a ``DictConfig`` as plain data, with interpolations left as they are."""
    data = OmegaConf.to_container(config, resolve=False)
    _escape_missing(config, data)
    return cast("PlainConfig", data)


def lacks(mapping: PlainConfig, key: Any) -> bool:
    """Whether a mapping certainly lacks a key.

    False may mean "unknown": if some keys are not text, OmegaConf 2.4 finds the key 1 as "1", and
    2.3 does not.
    """
    return key not in mapping and _TEXT.issuperset(map(type, mapping))


def _escape_missing(config: Any, data: Any) -> None:
    r"""Restore ``\???`` in the data of a config, which OmegaConf 2.4 turns into ``???``."""
    for key, value in data.items() if type(data) is dict else enumerate(data):
        if type(value) in (dict, list):
            _escape_missing(config[key], value)
        elif value == "???" and not OmegaConf.is_missing(config, key):
            data[key] = r"\???"


@lru_cache(maxsize=4096)
def split_key(key: str) -> tuple[str, ...] | None:
    """Return the parts of a dotted key, None if only OmegaConf can split it."""
    if "[" in key or "]" in key or "\\" in key:
        return None
    parts = tuple(key.split("."))
    return parts if all(parts) else None


def is_literal(node: Any) -> bool:
    """Whether plain data are their own value: without interpolations, nothing missing."""
    kind = type(node)
    if kind is str:
        return "${" not in node and not node.endswith("???")
    if kind is dict:
        return all(map(is_literal, node.values()))
    if kind is list:
        return all(map(is_literal, node))
    return kind in SCALAR_TYPES or isinstance(node, Path)


def update_plain(config: PlainConfig, key: str, value: Any) -> PlainConfig | None:
    """Return a copy with one scalar set, which shares everything outside of its path.

    Returns:
        The new configuration, or None if only ``OmegaConf.update`` can set the value.
    """
    parts = split_key(key)
    if parts is None or not all(map(str.isidentifier, parts)):
        return None
    if isinstance(value, (dict, list)) or not is_literal(value):
        return None
    new = node = config.copy()
    for part in parts[:-1]:
        child = node.get(part, {})
        if type(child) is not dict:
            return None
        node[part] = child.copy()
        node = node[part]
    if isinstance(node.get(parts[-1]), (dict, list)):
        return None
    node[parts[-1]] = value
    return new


def list_leaves(
    data: Mapping[Any, Any], path: tuple[Any, ...] = ()
) -> list[tuple[tuple[Any, ...], Any]]:
    """Return the path and value of everything but mappings, unless they are empty."""
    leaves: list[tuple[tuple[Any, ...], Any]] = []
    for name, value in data.items():
        if type(value) is dict and value:
            leaves += list_leaves(value, (*path, name))
        else:
            leaves.append(((*path, name), value))
    return leaves


def take_leaves(data: dict[Any, Any], limit: int) -> dict[Any, Any]:
    """Return the part of a configuration with its first leaves; the same object if that is all.

    The work does not grow with the leaves beyond the limit.

    Args:
        data: The configuration, plain data.
        limit: The maximum number of the leaves that `list_leaves` returns, at least one.
    """
    taken, _ = _take_leaves(data, limit)
    return taken


def _take_leaves(data: dict[Any, Any], limit: int) -> tuple[dict[Any, Any], int]:
    """Return the result of `take_leaves`, and how many leaves it has."""
    taken: dict[Any, Any] = {}
    count = 0
    is_whole = True
    for name, value in data.items():
        if count == limit:
            return taken, count
        if type(value) is dict and value:
            part, n_taken = _take_leaves(value, limit - count)
            is_whole = is_whole and part is value
            taken[name] = part
            count += n_taken
        else:
            taken[name] = value
            count += 1
    return (data if is_whole else taken), count


def flatten_config(data: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the values of `list_leaves` by dotted key."""
    return {".".join(map(str, path)): value for path, value in list_leaves(data)}


_META_LINE = re.compile(
    r"^([a-z_]+): (?:'([ -&(-~]*)'|([\w/.](?:[\w./:@+-]*[\w./@+-])?|\[\]))$",
    re.ASCII | re.MULTILINE,
)
"""Nearly all lines of these files, matched in a tenth of the time of a YAML parser."""

_NULLS = frozenset({"null", "Null", "NULL"})
"""How null is written without quotes; also as ``~`` or nothing."""
