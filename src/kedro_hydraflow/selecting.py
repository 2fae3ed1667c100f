"""Selecting from configurations that are plain data, with their interpolations resolved.

OmegaConf resolves an interpolation in a ``DictConfig``, which takes milliseconds to build.
What nearly all of them consist of is resolved here instead, with the same result: references
to nodes (``${a.b}``, ``${..b}``, ``${a[0]}``, ``${a.${b}}``) and the environment
(``${oc.env:HOME}``), alone or within text. The rest, and every error, is left to OmegaConf.
"""

from __future__ import annotations

import re
from dataclasses import MISSING
from functools import lru_cache
from typing import Any

from omegaconf import DictConfig, OmegaConf

from kedro_hydraflow.config import PlainConfig, build_dictconfig, is_literal, lacks, split_key

UNDECIDED: Any = object()
"""What a `Selector` returns when only OmegaConf can tell the value."""

Path = tuple[Any, ...]
"""The keys and indexes that lead to a node."""


class Selector:
    """Selects values from configurations, and remembers what does not depend on them.

    One selector serves one call: the environment may be another in the next.
    """

    def __init__(self) -> None:
        self._environment: dict[str, Any] = {}
        self._last: tuple[PlainConfig, type | None, DictConfig] | None = None

    def select(self, config: PlainConfig, key: str) -> Any:
        """Return what ``OmegaConf.select(cfg, key, default=MISSING)`` gives, as plain data.

        Returns:
            The value, ``dataclasses.MISSING``, or `UNDECIDED` for an error, or an
            interpolation or key that is unusual. It may be shared: do not modify it.
        """
        parts = split_key(key)
        return UNDECIDED if parts is None else self.resolve(config, tuple(parts))

    def resolve(self, config: PlainConfig, path: Path) -> Any:
        """Return what lies at a path as `select` does."""
        try:
            node, path = self._find(config, path, 0)
            return node if node is MISSING else self._resolve_all(config, node, path, 0)
        except _UndecidedError:
            return UNDECIDED

    def borrow_dictconfig(
        self, config: PlainConfig, config_class: type | None = None
    ) -> DictConfig:
        """Return a ``DictConfig`` that stands for a configuration until another is asked for.

        It is made of the last one: the runs of a sweep differ in a few values.

        Raises:
            ConfigError: As `build_dictconfig` does.
        """
        last, self._last = self._last, None
        if last is not None and last[1] is config_class:
            old, _, cfg = last
            if old is config or (config_class is None and _change(cfg, old, config)):
                self._last = (config, config_class, cfg)
                return cfg
        cfg = build_dictconfig(config, config_class)
        self._last = (config, config_class, cfg)
        return cfg

    def give_away(self) -> None:
        """Leave the last ``DictConfig`` to who borrowed it."""
        self._last = None

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


def select_literal(config: PlainConfig, key: str) -> Any:
    """Return as `Selector.select` does, but `UNDECIDED` for every interpolation.

    That is for configurations with a ``config_class``, whose types convert what is resolved.
    """
    node: Any = config
    try:
        for part in split_key(key) or ("",):
            node, _ = _step(node, part)
            if node is MISSING or node == "???":
                return MISSING
    except _UndecidedError:
        return UNDECIDED
    return node if is_literal(node) else UNDECIDED


class _UndecidedError(Exception):
    """Only OmegaConf can tell the value."""


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
