"""Stored configurations as plain data, equal to what OmegaConf would load.

A configuration is held as nested ``dict`` and ``list`` objects that are **never
modified**: many runs share the same parts. A ``DictConfig`` is built only when somebody
asks for one, because that costs a hundred times more than reading the value.

Reading has two ways that give the same result:

- Hydra writes ``config.yaml`` with ``OmegaConf.save``: block mappings, one entry a line.
  The runs of a sweep differ in a few lines only. Such a text is cut at its top-level
  keys, and each distinct piece and line is read once (`ConfigReader`).
- Everything else goes to OmegaConf's own YAML loader, if possible only the piece that
  holds it.
"""

from __future__ import annotations

import re
from dataclasses import MISSING
from functools import lru_cache
from pathlib import Path, PureWindowsPath
from typing import Any, cast

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from kedro_hydraflow.errors import ConfigError, MetadataError

PlainConfig = dict[Any, Any]
"""A configuration as plain data. Shared between runs: do not modify."""

MAX_BYTES = 64 * 2**20
"""Larger configurations are refused: no Hydra application writes them."""

MAX_NODES = 1_000_000
"""The complete loader refuses more YAML nodes, aliases expanded. (OmegaConf 2.4 refuses
10,000 unless told otherwise, 2.3 has no limit.)"""

MAX_ALIAS_RATIO = 100
"""Aliases may not multiply a configuration of more than 1,000 nodes by more than this.
(That is the rule of OmegaConf 2.4; 2.3 has none.)"""

MAX_DEPTH = 50
"""Deeper nesting is refused. OmegaConf itself ends in a RecursionError some 20 levels
later, and the C parser crashes the process at some 100,000."""

UNDECIDED: Any = object()
"""What `select` returns when only OmegaConf can tell the value."""


class ConfigReader:
    """Reads configurations, and remembers the pieces that runs of a sweep share.

    One reader serves one load, or one batch of a load in another process: what it
    remembers is gone with it.
    """

    def __init__(self) -> None:
        self._lines: dict[str, _Line | None] = {}
        self._pieces: dict[str, PlainConfig | None] = {}

    def read(self, data: bytes) -> PlainConfig:
        """Return the mapping that ``OmegaConf.load`` gives for these bytes, as plain data.

        Args:
            data: The content of a ``.hydra/config.yaml``. Empty means an empty mapping.

        Raises:
            ConfigError: If OmegaConf could not load it either, if it is not a mapping,
                or if it exceeds `MAX_BYTES`, `MAX_NODES`, `MAX_ALIAS_RATIO` or `MAX_DEPTH`.
        """
        if len(data) > MAX_BYTES:
            raise ConfigError(f"expected at most {MAX_BYTES:,} bytes, found {len(data):,}")
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as exc:
            raise ConfigError(f"expected UTF-8 text: {exc}") from exc
        if "\r" in text:  # as a file opened in text mode gives it
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        config = self._read_pieces(text)
        return _load_completely(text) if config is None else config

    def _read_pieces(self, text: str) -> PlainConfig | None:
        """Return the mapping, or None where the complete loader has to read the text."""
        if not text.endswith("\n"):  # a block scalar at the end reads differently then
            return None
        config: PlainConfig = {}
        size = 0
        for piece in _PIECE.split(text[:-1]):
            entries = self._pieces.get(piece, _UNREAD)
            if entries is _UNREAD:
                entries = self._read_piece(piece)
                if entries is None:
                    entries = _load_piece(piece)
                _remember(self._pieces, piece, entries)
            if entries is None:
                return None
            config.update(entries)
            size += len(entries)
        # Less if a key occurs twice, be it as 1 and "1", which OmegaConf 2.4 refuses.
        return config if size == len(config) == len(set(map(str, config))) else None

    def _read_piece(self, piece: str) -> PlainConfig | None:
        """Read block mappings and lists line by line; None where a line is unusual."""
        root: PlainConfig = {}
        box: Any = root  # the mapping or list that the next line belongs to
        column = 0
        enclosing: list[tuple[int, Any]] = []
        pending: _Key = None  # a key of `box` whose value may be on the next lines
        for text in piece.split("\n"):
            line = self._read_line(text)
            if line is None or len(enclosing) >= MAX_DEPTH:
                return None
            indent, dashes, key, value = line
            if pending is not None:
                if indent > column or (dashes and indent == column):
                    enclosing.append((column, box))
                    child: Any = [] if dashes else {}
                    box[pending] = child
                    box, column = child, indent
                pending = None
            while indent != column or bool(dashes) != (type(box) is list):
                if indent > column or not enclosing:
                    return None
                column, box = enclosing.pop()
            for dash in range(1, dashes + 1):
                if dash == dashes and key is None:
                    box.append(value)
                    break
                enclosing.append((column, box))
                child = [] if dash < dashes else {}
                box.append(child)
                box, column = child, column + 2
            if key is None:
                continue
            if key in box:
                return None
            if value is _NEXT_LINES:
                pending = key
                value = None
            box[key] = value
        return root

    def _read_line(self, text: str) -> _Line | None:
        line: _Line | None = self._lines.get(text, _UNREAD)
        if line is _UNREAD:
            line = _read_line(text)
            _remember(self._lines, text, line)
        return line


def parse_meta(data: bytes) -> dict[str, str]:
    """Return the scalar entries of a ``meta.yaml``, every value as its raw text.

    MLflow's file store writes these files with ``yaml.safe_dump``
    (``mlflow/store/tracking/file_store.py``). Names are text whatever they look like:
    ``1e3``, ``yes``, ``2024-01-01``, ``${oc.env:HOME}``.

    Raises:
        MetadataError: If it is not one YAML mapping with distinct keys.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise MetadataError(f"expected UTF-8 text: {exc}") from exc
    entries = _META_LINE.findall(text)
    complete = text.endswith("\n") and len(entries) == text.count("\n")
    if complete and len({key for key, _, _ in entries}) == len(entries):
        return {key: quoted or plain for key, quoted, plain in entries if plain != "[]"}
    try:
        _check_depth(text)
        node = yaml.compose(text, Loader=_TEXT_LOADER)
    except (yaml.YAMLError, ConfigError) as exc:
        raise MetadataError(_one_line(exc)) from exc
    if not isinstance(node, yaml.MappingNode):
        kinds = {yaml.SequenceNode: "a sequence", yaml.ScalarNode: "a scalar"}
        found = kinds.get(type(node), "nothing")
        raise MetadataError(f"expected a YAML mapping, found {found}")
    meta = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise MetadataError(f"expected text as key in line {key.start_mark.line + 1}")
        if key.value in meta:
            raise MetadataError(f"the key {key.value!r} occurs twice")
        if isinstance(value, yaml.ScalarNode):
            meta[key.value] = value.value
    return meta


def parse_scalar(text: str) -> Any:
    """Return the plain value that OmegaConf reads from a piece of YAML, say ``[1, 1e-3]``.

    Raises:
        ConfigError: If the text is not YAML.
    """
    return _load_yaml(text)


def parse_texts(text: str) -> Any:
    """Return a piece of YAML with every scalar as its text, say ``["1", "1e-3"]``.

    Raises:
        ConfigError: If the text is not YAML.
    """
    try:
        return yaml.load(text, Loader=_TEXT_LOADER)
    except yaml.YAMLError as exc:
        raise ConfigError(_one_line(exc)) from exc


def build_dictconfig(config: PlainConfig, config_class: type | None = None) -> DictConfig:
    """Return a new ``DictConfig``, merged onto ``config_class`` where one is given.

    Args:
        config: Plain data.
        config_class: A dataclass. Types are checked, missing fields take its defaults.

    Raises:
        ConfigError: If a value does not fit the class, or a key is not a field of it.
    """
    if config_class is None:
        try:
            return OmegaConf.create(config)
        except Exception as exc:  # also a RecursionError, deep in the stack
            raise ConfigError(_one_line(exc)) from exc
    try:
        schema = OmegaConf.structured(config_class)
    except Exception as exc:  # a NameError for an annotation that cannot be resolved, say
        raise ConfigError(
            f"{config_class.__qualname__} is no config_class for OmegaConf: {_one_line(exc)}"
        ) from exc
    try:
        return cast("DictConfig", OmegaConf.merge(schema, OmegaConf.create(config)))
    except (OmegaConfBaseException, ValueError, TypeError, RecursionError) as exc:
        raise ConfigError(
            f"the configuration does not fit {config_class.__qualname__}: {_one_line(exc)}"
        ) from exc


def to_plain(config: DictConfig) -> PlainConfig:
    """Return a ``DictConfig`` as plain data, with interpolations left as they are."""
    return cast("PlainConfig", OmegaConf.to_container(config, resolve=False))


def select(config: PlainConfig, key: str) -> Any:
    """Return what ``OmegaConf.select(cfg, key, default=MISSING)`` gives, where that is plain.

    Returns:
        The value, ``dataclasses.MISSING``, or `UNDECIDED` where a container, an
        interpolation that is more than ``${a.b}``, or an unusual key is involved.
    """
    return _select(config, key, 0)


def select_plain(config: PlainConfig, key: str) -> Any:
    """Return as `select` does, but a list or mapping without interpolations as plain data.

    The result is shared: do not modify it.
    """
    node = walk(config, key)
    if type(node) in (dict, list) and is_literal(node):
        return node
    return _select(config, key, 0)


def walk(config: PlainConfig, key: str) -> Any:
    """Return what lies at a key as it is stored, MISSING, or `UNDECIDED` as `select` does."""
    parts = split_key(key)
    if parts is None:
        return UNDECIDED
    node: Any = config
    for part in parts:
        if type(node) is not dict:
            return UNDECIDED
        if part in node:
            node = node[part]
        elif all(type(k) is str for k in node):
            return MISSING
        else:  # OmegaConf 2.4 finds the key 1 as "1", 2.3 does not
            return UNDECIDED
    return node


@lru_cache(maxsize=4096)
def split_key(key: str) -> list[str] | None:
    """Return the parts of a dotted key, None where OmegaConf has more to say about it."""
    if "[" in key or "]" in key or "\\" in key:
        return None
    parts = key.split(".")
    return parts if all(parts) else None


def is_literal(node: Any) -> bool:
    """Tell whether plain data stands for itself: no interpolation, nothing missing."""
    kind = type(node)
    if kind is str:
        return "${" not in node and not node.endswith("???")
    if kind is dict:
        return all(map(is_literal, node.values()))
    if kind is list:
        return all(map(is_literal, node))
    return kind in _SCALAR_TYPES or isinstance(node, Path)


def update_plain(config: PlainConfig, key: str, value: Any) -> PlainConfig | None:
    """Return a copy with one scalar set, sharing all that is not on its path.

    Returns:
        The new configuration, or None where ``OmegaConf.update`` has to do it.
    """
    parts = split_key(key)
    if parts is None or not all(map(str.isidentifier, parts)):
        return None
    if isinstance(value, (dict, list)) or not is_literal(value):
        return None
    new = node = config.copy()
    for part in parts[:-1]:
        child = node.get(part, _EMPTY)
        if type(child) is not dict:
            return None
        node[part] = child.copy()
        node = node[part]
    if isinstance(node.get(parts[-1]), (dict, list)):
        return None
    node[parts[-1]] = value
    return new


def iter_leaf_keys(config: Any, prefix: str = "") -> list[str]:
    """Return the dotted keys of all values that are not non-empty mappings."""
    keys: list[str] = []
    for name, value in config.items():
        key = f"{prefix}{name}"
        if type(value) is dict and value:
            keys.extend(iter_leaf_keys(value, f"{key}."))
        else:
            keys.append(key)
    return keys


_META_LINE = re.compile(
    r"^([a-z_]+): (?:'([ -&(-~]*)'|([\w/.](?:[\w./:@+-]*[\w./@+-])?|\[\]))$",
    re.ASCII | re.MULTILINE,
)
"""The lines that nearly all of these files consist of, at a tenth of the parser's time."""


# Selecting -----------------------------------------------------------------------------

_EMPTY: PlainConfig = {}
_INTERPOLATION = re.compile(r"\$\{([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)\}", re.ASCII)
_MAX_INTERPOLATIONS = 10


def _select(config: PlainConfig, key: str, depth: int) -> Any:
    node = walk(config, key)
    kind = type(node)
    if kind is str:
        if "${" in node:
            match = _INTERPOLATION.fullmatch(node)
            if match is None or depth == _MAX_INTERPOLATIONS:
                return UNDECIDED
            value = _select(config, match[1], depth + 1)
            return UNDECIDED if value is MISSING else value  # OmegaConf has the message
        if node.endswith("???"):
            return MISSING if node == "???" else UNDECIDED
        return node
    if kind is dict or kind is list:
        return UNDECIDED
    return node


# The complete loader -------------------------------------------------------------------


def _path(loader: Any, node: yaml.Node) -> Path:
    return Path(*loader.construct_sequence(node))


def _windows_path(loader: Any, node: yaml.Node) -> Path:
    """A path that was written on Windows, readable everywhere (OmegaConf: only there)."""
    return Path(PureWindowsPath(*loader.construct_sequence(node)).as_posix())


def _make_loader() -> Any:
    """Return OmegaConf's own YAML loader with our limits.

    It is pure Python in OmegaConf 2.3. The C parser is ten times faster, but it accepts
    other texts, say tabs where the pure parser refuses them.
    """
    loader: Any
    try:
        from omegaconf._yaml import get_yaml_loader
    except ImportError:
        loader = _make_loader_23()
    else:
        loader = get_yaml_loader(max_yaml_expanded_nodes=MAX_NODES)
    for module in ("pathlib", "pathlib._local"):
        tag = f"tag:yaml.org,2002:python/object/apply:{module}."
        loader.add_constructor(f"{tag}Path", _path)
        loader.add_constructor(f"{tag}PosixPath", _path)
        loader.add_constructor(f"{tag}WindowsPath", _windows_path)
    return loader


def _make_loader_23() -> Any:
    """Return the loader of OmegaConf 2.3 with the limits that 2.4 has."""
    from omegaconf import _utils

    class Loader(_utils.get_yaml_loader()):  # type: ignore[misc, attr-defined, unused-ignore]
        def construct_document(self, node: Any) -> Any:
            counted: dict[Any, int] = {}
            count = _count_nodes(node, counted)
            if count > MAX_NODES or (count > 1000 and count > MAX_ALIAS_RATIO * len(counted)):
                raise yaml.constructor.ConstructorError(
                    None, None, f"aliases expand it to {count:,} nodes", node.start_mark
                )
            return super().construct_document(node)

    return Loader


def _count_nodes(node: Any, counted: dict[Any, int]) -> int:
    if node not in counted:
        counted[node] = 0  # while it is visited: it may refer to itself
        children = node.value if isinstance(node, yaml.CollectionNode) else ()
        if isinstance(node, yaml.MappingNode):
            children = [child for pair in node.value for child in pair]
        counted[node] = 1 + sum(_count_nodes(child, counted) for child in children)
    return counted[node]


_LOADER = _make_loader()
_TEXT_LOADER = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
"""Gives every scalar as its text."""


def _load_completely(text: str) -> PlainConfig:
    loaded = _load_yaml(text)
    if type(loaded) is str:  # a document that is only a text is YAML again
        loaded = _load_yaml(loaded)
        if type(loaded) is str:
            loaded = {loaded: None}
    if loaded is None:
        return {}
    if type(loaded) is not dict:
        raise ConfigError(f"expected a mapping at the top, found {type(loaded).__name__}")
    return _accept(loaded)


def _load_piece(piece: str) -> PlainConfig | None:
    """Return what the complete loader gives for a part of a text, None if that may differ.

    A part that begins with a key, and is complete by itself, means the same within the
    text, unless it refers to another part.
    """
    if "&" in piece or not _KEY.match(piece):
        return None
    try:
        loaded = _load_yaml(f"{piece}\n")
        return _accept(loaded) if type(loaded) is dict else None
    except ConfigError:
        return None


def _accept(loaded: PlainConfig) -> PlainConfig:
    """Return loaded data as OmegaConf takes it.

    It refuses dates, sets, empty keys and malformed interpolations, and has its own way
    with tuples.
    """
    try:
        return loaded if _is_plain(loaded) else to_plain(build_dictconfig(loaded))
    except RecursionError as exc:
        raise ConfigError("the configuration refers to itself") from exc


def _load_yaml(text: str) -> Any:
    _check_depth(text)
    try:
        return yaml.load(text, Loader=_LOADER)
    except RecursionError as exc:
        raise ConfigError("the configuration is nested too deeply or refers to itself") from exc
    except Exception as exc:  # constructors raise anything: a KeyError for "!!bool x"
        raise ConfigError(_one_line(exc) or type(exc).__name__) from exc


def _is_plain(node: Any) -> bool:
    """Tell whether OmegaConf takes loaded data just as it is."""
    kind = type(node)
    if kind is dict:
        if not all(map(_is_plain, node.values())):
            return False
        # OmegaConf 2.4 refuses the keys 1 and "1" in one mapping.
        return _KEY_TYPES.issuperset(map(type, node)) and len(set(map(str, node))) == len(node)
    if kind is list:
        return all(map(_is_plain, node))
    if kind is str:
        return "${" not in node or _is_valid_interpolation(node)
    return kind in _SCALAR_TYPES or isinstance(node, Path)


_KEY_TYPES = frozenset({str, int, float, bool, bytes})
_SCALAR_TYPES = frozenset({int, float, bool, bytes, type(None)})


@lru_cache(maxsize=4096)
def _is_valid_interpolation(text: str) -> bool:
    try:
        OmegaConf.create({"value": text})
    except Exception:  # also a RecursionError
        return False
    return True


_OPENING = re.compile(r"[\[{]|[-?:]\s")


def _check_depth(text: str) -> None:
    """Refuse deep nesting before the composer, which recurses in C, can see it."""
    if sum(1 for _ in _OPENING.finditer(text)) < MAX_DEPTH:
        return
    depth = 0
    try:
        for event in yaml.parse(text, Loader=_TEXT_LOADER):
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
                if depth > MAX_DEPTH:
                    raise ConfigError(f"nested deeper than {MAX_DEPTH} levels")
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
    except yaml.YAMLError:
        return  # the loader says it better


def _one_line(exc: BaseException) -> str:
    return " ".join(str(exc).split())


# The reader for what OmegaConf.save writes ---------------------------------------------

_PIECE = re.compile(r"\n(?=[^\s-])")
_KEY = re.compile(r"""(?:\w[^:#\n]*|'[^'\n]*'|"[^"\n]*"):(?: |$)""", re.MULTILINE)
_LINE = re.compile(
    r"""
    (?P<indent>\ *) (?P<dashes>(?:-\ ){0,4})
    (?: (?: (?P<name>[A-Za-z_][\w./-]*) | (?P<number>0|[1-9]\d*) | '(?P<quoted>(?!\d)[^']*)' )
        : (?:\ (?=\S)|$) )?
    (?: (?P<int>-?(?:0|[1-9]\d*))
      | (?P<float>-?\d+(?:\.\d+(?:e[+-]\d+)?|e[+-]\d+))
      | (?P<word>[A-Za-z_/](?:[\w./+=,()@-]|:(?=[\w/])|\ (?=[\w./+=,()@-]))*)
      | '(?P<text>[^']*)'
      | (?P<other>[^\s&*!|>%@`#].*)
    )?
    """,
    re.VERBOSE | re.ASCII,
)
"""A line of a block mapping or list whose value is a scalar or on the next lines."""

_KEYWORDS = {
    form(word): value
    for value, words in ((True, "true yes on"), (False, "false no off"), (None, "null"))
    for word in words.split()
    for form in (str.lower, str.title, str.upper)
}
_MAX_LINE = 1000
_MAX_MEMO = 100_000

_Key = str | int | None
_Line = tuple[int, int, _Key, Any]
"""Column, number of dashes, key (None for a list's item that is a scalar), value."""

_NEXT_LINES: Any = object()
_UNREAD: Any = object()


def _remember(memo: dict[str, Any], key: str, value: Any) -> None:
    if len(memo) >= _MAX_MEMO:
        memo.clear()
    memo[key] = value


def _read_line(text: str) -> _Line | None:
    """Read one line; None if it is unusual."""
    match = _LINE.fullmatch(text)
    if match is None or len(text) > _MAX_LINE or not text.isprintable():
        return None
    indent, dashes, name, number, quoted = match.group(1, 2, 3, 4, 5)
    key: _Key = name if number is None else int(number)
    if key is None:
        key = quoted
    if name in _KEYWORDS or (key is None and not dashes):
        return None
    kind = match.lastgroup
    value: Any = match[kind] if kind else None
    if kind == "word":
        value = _KEYWORDS.get(value, value)
    elif kind == "int":
        value = int(value)
    elif kind == "float":
        value = float(value)
    elif kind in ("text", "other"):
        if kind == "other":
            try:
                (value,) = _load_yaml(f"- {value}")
            except ConfigError:
                return None
        if value not in ([], {}) and (isinstance(value, (dict, list)) or not _is_plain(value)):
            return None
    elif key is None:
        return None
    else:
        value = _NEXT_LINES
    return len(indent), len(dashes) // 2, key, value
