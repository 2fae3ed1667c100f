"""Reading YAML bytes as plain data, with the result of ``OmegaConf.load``.

There are two ways, with the same result:

- Hydra writes ``config.yaml`` with ``OmegaConf.save``: block mappings, one entry a line. One
  regular expression splits all lines at once, and their margins show the nesting. The runs of a
  sweep differ in a few lines only, so that a text is cut at its top-level keys, and only pieces
  that occurred in no earlier text are read (`ConfigReader`).
- Everything else is loaded by OmegaConf's own YAML loader, the *complete loader*. It loads
  only the piece that needs it, or the whole text if the piece read on its own might have another
  meaning.
"""

from __future__ import annotations

import re
from enum import Enum
from functools import lru_cache
from pathlib import Path, PureWindowsPath
from typing import Any

import yaml
from omegaconf import OmegaConf

from kedro_hydraflow.errors import ConfigError, prefix_error
from kedro_hydraflow.limits import describe_nodes_limit, get_max_nodes

PlainConfig = dict[Any, Any]
"""A configuration as plain data. Shared between runs: do not modify."""

_Entry = tuple[Any, Any]

NODES_OF_INTERPOLATION = 30
"""The number of nodes that cost as much as an interpolation, which is parsed by ANTLR."""

MAX_INTERPOLATED = 100_000
"""The maximum length of a text with interpolations, which ANTLR parses letter by letter."""

MAX_INTERPOLATION_DEPTH = 20
"""The maximum nesting of interpolations, of which ANTLR looks ahead to the end at each level."""

MAX_SPACES = 1_000
"""The maximum length of white space at the beginning of an interpolation, whose square is the time
that OmegaConf takes."""

MAX_ALIAS_RATIO = 100
"""The maximum factor by which aliases may enlarge a configuration of more than 1,000 nodes. (That
is the rule of OmegaConf 2.4; 2.3 has none.)"""

MAX_DEPTH = 50
"""Deeper nesting is an error. OmegaConf raises RecursionError some 20 levels later, and the C
parser crashes the process at some 100,000."""


MAX_DIGITS = 4_300
"""The maximum number of digits of an integer. Python writes no longer ones: they would be an error
wherever they are shown."""


class ConfigReader:
    """Reads configurations, and keeps the pieces that the runs of a sweep share.

    Use one per load, or per batch in another process, so that the pieces are freed with it.
    Threads may share it.
    """

    def __init__(self) -> None:
        self._pieces: dict[str, Any] = {}
        self._names: dict[str, str] = {}
        self._max_nodes = get_max_nodes()
        # Two characters may begin an interpolation.
        self._max_unchecked = 2 * self._max_nodes // NODES_OF_INTERPOLATION

    def read(self, data: bytes) -> PlainConfig:
        """Return the plain data of a configuration, equal to what ``OmegaConf.load`` reads.

        Args:
            data: The content of a ``.hydra/config.yaml``; an empty one is an empty mapping.

        Raises:
            ConfigError: If OmegaConf cannot load it, if it is not a mapping, or if it exceeds
                the limit of `get_max_nodes`, `MAX_ALIAS_RATIO`, `MAX_INTERPOLATED`,
                `MAX_INTERPOLATION_DEPTH`, `MAX_SPACES`, `MAX_DEPTH` or `MAX_DIGITS`.
        """
        text = decode(data, self._max_nodes)
        if len(text) > self._max_unchecked:
            _check_interpolations(text, self._max_nodes)
        config = self._read_pieces(text)
        return _load_completely(text) if config is None else config

    def read_data(self, data: bytes) -> PlainConfig:
        """Return the mapping in a YAML file that is not a configuration.

        In contrast to `read`, what looks like an interpolation is text, well-formed or not, and an
        empty file is an error.

        Args:
            data: The content of the file.

        Raises:
            ConfigError: If it is not a mapping, has other values than numbers, text, booleans,
                null, bytes, paths, lists and mappings, or exceeds the limits of `read`.
        """
        text = decode(data, self._max_nodes)
        found = self._read_pieces(text)
        return _load_data(text) if found is None else found

    def _read_pieces(self, text: str) -> PlainConfig | None:
        """Return the mapping, None if the complete loader has to read the whole text."""
        if not text.endswith("\n"):  # a block scalar at the end reads differently then
            return None
        if len(text) > self._max_unchecked and "- - - " in text:
            check_limits(text)  # to count lists in lists here would take time for all texts
        known = self._pieces  # another thread may add to it, or begin a new one
        pieces = _PIECE.split(text[:-1])
        if len(known) >= _MAX_PIECES:  # the next runs may share other pieces, or those of this one
            known = {piece: known[piece] for piece in pieces if piece in known}
            self._pieces, self._names = known, {}
        unread = [piece for piece in pieces if piece not in known]
        if unread:
            known.update(zip(unread, self._read_new(unread), strict=True))
        entries = [known[piece] for piece in pieces]
        if None in entries:
            return None
        config: PlainConfig = dict(entries)
        if len(config) < len(pieces):  # a key occurs twice
            return None
        # 1 and "1" are the same key for OmegaConf 2.4, which raises an error then.
        are_text = _TEXT.issuperset(map(type, config))
        return config if are_text or len(set(map(str, config))) == len(config) else None

    def _read_new(self, pieces: list[str]) -> list[_Entry | None]:
        """Return the key and value in each piece, None if only the whole text shows them."""
        try:
            return [*_parse("\n".join(pieces), self._names).items()]  # each piece has one key
        except (_UnusualError, RecursionError):  # the latter deep in the caller's stack
            if len(pieces) == 1:
                return [_load_piece(pieces[0])]
            return [entry for piece in pieces for entry in self._read_new([piece])]


def decode(data: bytes, max_lines: int) -> str:
    """Return the text of a file, with line breaks as in a file that is opened as text.

    Raises:
        ConfigError: If it is not UTF-8, or has more lines than the result of `get_max_nodes`.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise ConfigError(f"expected UTF-8 text: {exc}") from exc
    if len(text) > max_lines and text.count("\n") + text.count("\r") > max_lines:
        raise ConfigError(f"it has more than {describe_nodes_limit(max_lines, 'lines')}")
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def _check_interpolations(text: str, limit: int) -> None:
    """Raise ConfigError if a configuration has too many interpolations."""
    if NODES_OF_INTERPOLATION * text.count("${") > limit:
        raise ConfigError(
            f"it has too many interpolations: each counts as {NODES_OF_INTERPOLATION} nodes, and "
            f"together they exceed {describe_nodes_limit(limit)}"
        )


def check_mapping(data: Any) -> PlainConfig:
    """Return loaded data. Raise ConfigError unless they are a mapping."""
    if type(data) is not dict:
        found = "null" if data is None else type(data).__name__
        raise ConfigError(f"expected a mapping at the top, found {found}")
    return data


# The complete loader -------------------------------------------------------------------


def _path(loader: Any, node: yaml.Node) -> Path:
    return Path(*loader.construct_sequence(node))


def _windows_path(loader: Any, node: yaml.Node) -> Path:
    """A path that was written on Windows, readable everywhere (OmegaConf: only there)."""
    return Path(PureWindowsPath(*loader.construct_sequence(node)).as_posix())


def make_digits_error(text: str) -> ConfigError:
    """Return an error for an integer that exceeds `MAX_DIGITS`."""
    return ConfigError(f"an integer has more than {MAX_DIGITS:,} digits: {text[:20]}…")


def _make_loader() -> Any:
    """Return OmegaConf's own YAML loader with our limits.

    It is pure Python in OmegaConf 2.3. The C parser is ten times faster, but accepts other texts,
    such as those with tabs.
    """
    base: Any
    try:
        from omegaconf import _yaml
    except ImportError:  # OmegaConf 2.3
        from omegaconf import _utils

        base = _utils.get_yaml_loader()  # type: ignore[attr-defined, unused-ignore]
    else:
        base = _yaml.get_yaml_loader(max_yaml_expanded_nodes=None)

    class Loader(base):  # type: ignore[misc]
        def __init__(self, stream: str) -> None:
            super().__init__(stream)
            self.max_nodes = get_max_nodes()
            self.n_nodes = 0

        def compose_node(self, parent: Any, index: Any) -> Any:
            """Compose a node. Called by the parser in Python, whose texts no other can count."""
            self.n_nodes += 1
            if self.n_nodes > self.max_nodes:
                raise ConfigError(f"it has more than {describe_nodes_limit(self.max_nodes)}")
            return super().compose_node(parent, index)

        def construct_document(self, node: Any) -> Any:
            _check_aliases(node, self.max_nodes)
            return super().construct_document(node)

    loader: Any = Loader
    construct_int = loader.yaml_constructors[_INTEGER]

    def construct_limited_int(loader: Any, node: Any) -> Any:
        if not isinstance(node, yaml.ScalarNode) or len(node.value) <= MAX_DIGITS // 2:
            return construct_int(loader, node)
        digits = str(node.value).replace("_", "").lstrip("+-")
        # Nor are longer ones in other bases computed, which takes the square of their length.
        is_long = len(digits) > MAX_DIGITS and (digits.isdecimal() or len(digits) > 4 * MAX_DIGITS)
        value = None if is_long else construct_int(loader, node)
        if value is None or abs(value) >= _FIRST_TOO_LARGE:
            error = make_digits_error(node.value)
            raise prefix_error(f"line {node.start_mark.line + 1}", error)
        return value

    loader.add_constructor(_INTEGER, construct_limited_int)
    for module in ("pathlib", "pathlib._local"):
        tag = f"tag:yaml.org,2002:python/object/apply:{module}."
        loader.add_constructor(f"{tag}Path", _path)
        loader.add_constructor(f"{tag}PosixPath", _path)
        loader.add_constructor(f"{tag}WindowsPath", _windows_path)
    return loader


def _check_aliases(node: Any, max_nodes: int) -> None:
    """Raise ConfigError if aliases enlarge a document too much."""
    counted: dict[Any, int] = {}
    count = _count_nodes(node, counted)
    if count > max_nodes:
        reason = f"more than {describe_nodes_limit(max_nodes)}"
    elif count > 1000 and count > MAX_ALIAS_RATIO * len(counted):
        reason = f"{count:,} nodes, more than {MAX_ALIAS_RATIO} times as many as it has"
    else:
        return
    where = ""
    if isinstance(node, yaml.MappingNode):
        key, _ = max(node.value, key=lambda pair: counted[pair[1]])
        where = f"the key {str(key.value)[:100]!r}: "
    raise ConfigError(f"{where}aliases expand it to {reason}")


def _count_nodes(node: Any, counted: dict[Any, int]) -> int:
    if node not in counted:
        counted[node] = 0  # while it is visited: it may refer to itself
        children = node.value if isinstance(node, yaml.CollectionNode) else ()
        if isinstance(node, yaml.MappingNode):
            children = [child for pair in node.value for child in pair]
        counted[node] = 1 + sum(_count_nodes(child, counted) for child in children)
    return counted[node]


_FIRST_TOO_LARGE = 10**MAX_DIGITS
_INTEGER = "tag:yaml.org,2002:int"
_LOADER = _make_loader()
TEXT_LOADER = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
"""Loads every scalar as its text."""


def _load_completely(text: str) -> PlainConfig:
    loaded = load_yaml(text)
    if type(loaded) is str:  # a document that is only a text is YAML again
        loaded = load_yaml(loaded)
        if type(loaded) is str:
            loaded = {loaded: None}
    return {} if loaded is None else _accept(check_mapping(loaded))


def _load_data(text: str) -> PlainConfig:
    """Return the mapping of a text for `ConfigReader.read_data`."""
    loaded = check_mapping(load_yaml(text))
    try:
        is_data = _is_data(loaded)
    except RecursionError as exc:
        raise ConfigError("it is nested too deeply or refers to itself") from exc
    if not is_data:
        raise ConfigError(
            "expected numbers, text, booleans, null, lists and mappings, found a date or another "
            "type of YAML"
        )
    return loaded


def _load_piece(piece: str) -> _Entry | None:
    """Return the key and value in a piece, read by the complete loader; None if they may differ.

    A piece that begins with a key and is valid YAML means the same within its text, unless it
    has anchors, to which other pieces may refer.
    """
    if "&" in piece or not _KEY.match(piece):
        return None
    try:
        loaded = load_yaml(f"{piece}\n")
        if type(loaded) is not dict or len(loaded) != 1:  # such as the keys a and -b
            return None
        (entry,) = _accept(loaded).items()
    except ConfigError:
        return None
    return entry


def _accept(loaded: PlainConfig) -> PlainConfig:
    """Return loaded data unchanged if OmegaConf accepts it.

    Raises:
        ConfigError: If OmegaConf does not accept them: dates, sets, empty keys, malformed
            interpolations.
    """
    try:
        if not _is_plain(loaded):
            OmegaConf.create(loaded)
    except ConfigError:
        raise
    except RecursionError as exc:
        raise ConfigError("it is nested too deeply or refers to itself") from exc
    except Exception as exc:
        raise ConfigError(one_line(exc)) from exc
    return loaded


def load_yaml(text: str) -> Any:
    """Return the data of a text, read by OmegaConf's YAML loader.

    Raises:
        ConfigError: If the text is not YAML, or nested too deeply.
    """
    check_limits(text)
    try:
        return yaml.load(text, Loader=_LOADER)
    except ConfigError:
        raise
    except RecursionError as exc:
        raise ConfigError("it is nested too deeply or refers to itself") from exc
    except Exception as exc:  # constructors raise anything: a KeyError for "!!bool x"
        raise ConfigError(one_line(exc) or type(exc).__name__) from exc


def _is_plain(node: Any) -> bool:
    """Whether OmegaConf accepts loaded data as they are."""
    kind = type(node)
    if kind is dict:
        if not all(map(_is_plain, node.values())):
            return False
        # The keys 1 and "1" in one mapping are an error of OmegaConf 2.4.
        return _KEY_TYPES.issuperset(map(type, node)) and len(set(map(str, node))) == len(node)
    if kind is list:
        return all(map(_is_plain, node))
    if kind is str:
        return "${" not in node or _is_valid_interpolation(node)
    return kind in SCALAR_TYPES or isinstance(node, Path)


def _is_data(node: Any) -> bool:
    """Whether loaded data have only the types that configurations have."""
    kind = type(node)
    if kind is dict:
        return _KEY_TYPES.issuperset(map(type, node)) and all(map(_is_data, node.values()))
    if kind is list:
        return all(map(_is_data, node))
    return kind is str or kind in SCALAR_TYPES or isinstance(node, Path)


_KEY_TYPES = frozenset({str, int, float, bool, bytes})
SCALAR_TYPES = frozenset({int, float, bool, bytes, type(None)})


def _is_valid_interpolation(text: str) -> bool:
    if len(text) > MAX_INTERPOLATED:
        raise ConfigError(
            f"a text with interpolations has {len(text):,} characters, at most "
            f"{MAX_INTERPOLATED:,} are parsed: {text[:50]!r}…"
        )
    if text.count("${") > MAX_INTERPOLATION_DEPTH and _is_too_deep(text):
        raise ConfigError(
            f"interpolations are nested deeper than {MAX_INTERPOLATION_DEPTH} levels: "
            f"{text[:50]!r}…"
        )
    if _SPACES.search(text):
        raise ConfigError(f"an interpolation begins with more than {MAX_SPACES:,} spaces")
    return _parses_cached(text) if len(text) <= _MAX_SCALAR else _parses(text)


def _is_too_deep(text: str) -> bool:
    """Whether interpolations are nested deeper than `MAX_INTERPOLATION_DEPTH`.

    The modes are those of the lexer in OmegaConf's grammar.
    """
    modes = [_Mode.TEXT]
    openings: list[bool] = []
    position = depth = 0
    while match := _MARKS[modes[-1]].search(text, position):
        position = match.end()
        mark = match["mark"]
        if mark is None or len(match["escapes"] or "") % 2:
            continue
        if mark == ":":
            modes[-1] = _Mode.VALUE
        elif mark == "}" or (mark in "'\"" and mark == modes[-1].value):
            modes.pop()
            depth -= openings.pop()
        else:
            modes.append(_Mode(mark))
            openings.append(mark == "${")
            depth += openings[-1]
            if depth > MAX_INTERPOLATION_DEPTH:
                return True
    return False


class _Mode(Enum):
    """Where in a text with interpolations. The values are the marks that open it."""

    TEXT = ""
    REFERENCE = "${"
    VALUE = "{"
    SINGLE = "'"
    DOUBLE = '"'


_MARKS = {
    _Mode.TEXT: re.compile(r"(?<!\\)(?P<escapes>\\*)(?P<mark>\$\{)"),
    _Mode.REFERENCE: re.compile(r"(?P<escapes>)(?P<mark>\$\{|[:}])"),
    _Mode.VALUE: re.compile(r"(?P<escapes>)(?:\\[\\()\[\]{}:=, \t]|(?P<mark>\$\{|[{}'\"]))"),
    _Mode.SINGLE: re.compile(r"(?<!\\)(?P<escapes>\\*)(?P<mark>\$\{|')"),
    _Mode.DOUBLE: re.compile(r"(?<!\\)(?P<escapes>\\*)(?P<mark>\$\{|\")"),
}
_SPACES = re.compile(rf"\$\{{\s{{{MAX_SPACES + 1}}}")


def _parses(text: str) -> bool:
    try:
        OmegaConf.create({"value": text})
    except Exception:  # also a RecursionError
        return False
    return True


_parses_cached = lru_cache(maxsize=4096)(_parses)

_OPENING = re.compile(r"[\[{]|[-?:]\s")


def check_limits(text: str) -> None:
    """Raise ConfigError if a text has too many nodes, or is nested too deeply.

    The composer recurses in C. This parses the text without composing it.
    """
    max_nodes = get_max_nodes()
    may_be_large = 2 * len(text) > max_nodes
    if not may_be_large and sum(1 for _ in _OPENING.finditer(text)) < MAX_DEPTH:
        return
    depth = n_nodes = 0
    try:
        for event in yaml.parse(text, Loader=TEXT_LOADER):
            if isinstance(event, yaml.NodeEvent):
                n_nodes += 1
                if n_nodes > max_nodes:
                    raise ConfigError(f"it has more than {describe_nodes_limit(max_nodes)}")
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
                if depth > MAX_DEPTH:
                    raise ConfigError(f"nested deeper than {MAX_DEPTH} levels")
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
    except yaml.YAMLError:
        return  # the loader has a better message


def one_line(exc: BaseException) -> str:
    """Return an error's message without line breaks.

    Nor does it, or the error from now on, quote the text that is wrong, as PyYAML in pure Python
    does: a server may echo credentials there.
    """
    if isinstance(exc, yaml.MarkedYAMLError):
        for mark in (exc.context_mark, exc.problem_mark):
            if isinstance(mark, yaml.Mark):  # that of libyaml has no text
                mark.buffer = None
    return " ".join(str(exc).split())


# What OmegaConf.save writes ------------------------------------------------------------

_PIECE = re.compile(r"\n(?=[^\s-])")
_KEY = re.compile(r"""(?:\w[^:#\n]*|'[^'\n]*'|"[^"\n]*"):(?: |$)""", re.MULTILINE)
_LINE = re.compile(
    rf"""
    ^ (\ {{0,255}} (?:-\ (?:-\ ){{0,{MAX_DEPTH}}}|))
    (?: ([A-Za-z_][A-Za-z0-9_./-]{{0,255}}) : (?:\ |$)
      | (0|[1-9][0-9]{{0,17}}|'(?![0-9])[\ -&(-~]{{0,255}}') : (?:\ |$)
      | )
    (?: (-?(?:0|[1-9][0-9]{{0,255}}) (?:\.[0-9]+|) (?:e[+-][0-9]+|)) $
      | ([A-Za-z_/][A-Za-z0-9_./+=,()@-]{{0,255}}) $
      | (.*) $ )
    """,
    re.VERBOSE | re.MULTILINE,
)
r"""Any line: its margin with dashes, name or other key, and a number, a word or the rest.

This is written for speed: ``(?:x|)`` is matched faster than ``x?``, and classes faster without
``\w``.
"""

_SCALAR = re.compile(
    r"""
      (?P<words>[A-Za-z_/](?:[\w./+=,()@-]|:(?=[\w/])|\ (?=[\w./+=,()@-]))*)
    | '(?P<text>[\ -&(-~]*)'
    | (?P<other>[^\s&*!|>%@`#].*)
    """,
    re.VERBOSE | re.ASCII,
)
"""The rest of a line: another value, or item of a list, that ends there."""

_KEYWORDS = {
    form(word): value
    for value, words in ((True, "true yes on"), (False, "false no off"), (None, "null"))
    for word in words.split()
    for form in (str.lower, str.title, str.upper)
}
_MAX_PIECES = 2_000
_MAX_NAMES = 1_000
_MAX_SCALAR = 1_000

_EMPTY = {"[]": list, "{}": dict}
_TEXT = frozenset({str})


class _UnusualError(Exception):
    """A text has something that only the complete loader reads."""


def _parse(text: str, names: dict[str, str]) -> PlainConfig:
    """Return the mapping in a text.

    Args:
        text: The text, without the last line break.
        names: Keys of earlier texts, each mapped to itself, so that equal keys are the same
            object.

    Raises:
        _UnusualError: If a line is not a key, an item of a list, or both, with at most a scalar
            that ends there; if their margins do not fit together; or if a key occurs twice.
    """
    # One loop: each call for a line would add a tenth to the time.
    config: PlainConfig = {}
    block: Any = config  # the mapping or list of the last line
    start, is_list = "", False  # as in `_list_blocks`
    outer: list[tuple[Any, str, bool]] = []  # the blocks around it
    key: Any = None
    is_open = False  # whether the last line is a key alone
    room = _MAX_NAMES - len(names)
    for lead, name, other_key, number, word, rest in _LINE.findall(text):
        if lead != start or (is_list and (name or other_key)):
            blocks = _list_blocks(lead, bool(name or other_key))
            if not (is_open and blocks[0][0].startswith(start)):
                while start != blocks[0][0]:
                    if not outer:
                        raise _UnusualError
                    block, start, is_list = outer.pop()
                blocks = blocks[1:]
            for new_start, is_new_list in blocks:
                outer.append((block, start, is_list))
                new: Any = [] if is_new_list else {}
                if is_list:
                    block.append(new)
                else:
                    block[key] = new
                block, start, is_list = new, new_start, is_new_list
            if len(outer) >= MAX_DEPTH:
                raise _UnusualError
        is_open = False
        value: Any
        if number:
            value = float(number) if "." in number or "e" in number else int(number)
        elif word:
            value = _KEYWORDS.get(word, word)
        elif rest:
            value = _EMPTY[rest]() if rest in _EMPTY else _read_scalar(rest)
        elif is_list:
            raise _UnusualError
        else:
            value, is_open = None, True
        if is_list:
            block.append(value)
            continue
        if name:
            key = names.get(name)
            if key is None:
                if name in _KEYWORDS:
                    raise _UnusualError
                key = name
                if room > 0:
                    names[name] = name
                    room -= 1
        elif other_key:
            key = other_key[1:-1] if other_key.startswith("'") else int(other_key)
        else:
            raise _UnusualError
        if key in block:
            raise _UnusualError
        block[key] = value
    return config


@lru_cache(maxsize=1024)
def _list_blocks(lead: str, has_key: bool) -> tuple[tuple[str, bool], ...]:
    """Return the blocks that a line belongs to, outermost first: ``- a: 1`` is in two.

    Returns:
        For each block the beginning of its lines, and whether it is a list.
    """
    margin, _, _ = lead.partition("-")
    blocks = [(f"{margin}{'  ' * i}- ", True) for i in range(lead.count("-"))]
    if has_key:
        blocks.append((" " * len(lead), False))
    if not blocks:
        raise _UnusualError
    return tuple(blocks)


@lru_cache(maxsize=4096)
def _read_scalar(text: str) -> Any:
    # Matching takes a hundred times the memory of the text.
    match = _SCALAR.fullmatch(text) if len(text) <= _MAX_SCALAR else None
    if match is None:
        raise _UnusualError
    kind = match.lastgroup
    if kind == "words":
        return text
    if kind == "text" and "${" not in text:
        return match["text"]
    if not text.isprintable():
        raise _UnusualError
    try:
        (value,) = load_yaml(f"- {text}")
        is_usual = value in ([], {}) or (not isinstance(value, (dict, list)) and _is_plain(value))
    except ConfigError:
        raise _UnusualError from None
    if not is_usual:
        raise _UnusualError
    return value
