"""YAML documents of every kind, and what OmegaConf reads from them."""

from __future__ import annotations

import enum
import io
from pathlib import Path
from typing import Any

from hypothesis import reject
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf
from omegaconf.basecontainer import BaseContainer

from kedro_hydraflow.errors import ConfigError
from kedro_hydraflow.yaml_reader import ConfigReader


class Color(enum.Enum):
    RED = 1
    light_blue = "x"


def load_reference(data: bytes) -> DictConfig | None:
    """Return what ``OmegaConf.load`` gives for a file, None if it fails or is no mapping."""
    data = data.replace(b"pathlib._local.", b"pathlib.")  # which OmegaConf 2.3 cannot load
    try:
        loaded = OmegaConf.load(io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))
    except Exception:
        return None
    return loaded if isinstance(loaded, DictConfig) else None


def describe(node: Any) -> Any:
    """Return all that can be seen of a configuration, comparable even with NaN in it."""
    if isinstance(node, DictConfig):
        return "dict", [(type(k).__name__, repr(k), describe(node._get_node(k))) for k in node]
    if isinstance(node, BaseContainer):
        return type(node).__name__, [describe(node._get_node(i)) for i in range(len(node))]
    value = node._value() if hasattr(node, "_value") else node
    return type(value).__name__, repr(value)


def find_difference(data: bytes, *readers: ConfigReader) -> str | None:
    """Return how a reading differs from OmegaConf's, by any of the readers, None if none does."""
    reference = load_reference(data)
    expected = None if reference is None else describe(reference)
    compared: set[str] = set()  # to build a DictConfig takes longer than all the rest
    for reader in readers:
        try:
            plain = reader.read(data)
        except ConfigError:
            if expected is not None:
                return f"{data!r}:\nexpected {expected},\nfound    an error"
            continue
        if repr(plain) not in compared:
            compared.add(repr(plain))
            found = describe(OmegaConf.create(plain))
            if found != expected:
                return f"{data!r}:\nexpected {expected},\nfound    {found}"
    return None


# What OmegaConf writes -------------------------------------------------------------------

ODD = """
    yes No ON off y n true False NULL null ~ nan .nan .inf -.inf 1e3 1e-05 1.5e+10 .5 5. -0 0
    00 012 0o14 0x1F 0b1 1_000 1__0 1:30 190:20:30.15 2024-01-01 2024-01-01T00:00:00Z << = -
    -- --- ... ? : # % @ ` ! & * | > ' " [] {} [1] {a:1} a:b a: ,a a, -a -1a 1a +1 -.5 ???
    x??? \\??? a#b s3://bucket/key C:\\x /tmp/x ~/x ${a} ${a.b} ${oc.env:HOME} \\${a} x${a}y é
    日本語 ！ 😀 _1 1_ -a a: !!x &a *a 'a' "a" yEs 1e5 1E5 +.inf .Inf 0. 0.e1 ._1 __ . .. / a.b a/b
"""
WORDS = ODD.split()
WORDS += [
    "",
    " ",
    " a",
    "a ",
    "a b",
    "a  b",
    "a: b",
    "a #b",
    "- a",
    "a\nb",
    "a\n\nb\n",
    "\n",
    "\ta",
]
WORDS += ["a\tb", "a\\nb", "x" * 200, "long text " * 30, "ends with colon:", "it's", "'", '"', "\\"]
WORDS += ["a\r\nb", "\u2028", "\x85", "\ufeffa", "\x07", "\u3000", "\xa0", "a - b", "a -b", "a ?"]

texts = st.sampled_from(WORDS) | st.text(st.characters(codec="utf-8"), max_size=12)
long_texts = st.lists(st.sampled_from(WORDS), min_size=5, max_size=20).map(" ".join)
scalars = (
    texts
    | long_texts
    | st.integers()
    | st.integers(10**20, 10**60)
    | st.floats()
    | st.booleans()
    | st.none()
    | st.binary(max_size=70)
    | st.sampled_from(Color)
    | st.sampled_from(["a", "/data/x y", ".", "../é", "a: b"]).map(Path)
)
keys = (
    st.sampled_from(["a", "b", "model", "lr", "a_b", "A.b", "a-b", "x/y", "_target_"])
    | texts
    | st.integers(-5, 20)
    | st.floats()
    | st.booleans()
    | st.binary(max_size=5)
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=10,
)
configs = st.dictionaries(keys, values, max_size=4)


def dump(data: Any) -> bytes:
    """Return the bytes that ``OmegaConf.save`` writes, if OmegaConf takes the data at all."""
    try:
        text = OmegaConf.to_yaml(OmegaConf.create(data))
    except Exception:  # a malformed interpolation, the keys 1 and "1"
        reject()
    return text.encode()


# What people write -----------------------------------------------------------------------

LINES = r"""
a: 1|b: x|c:|- 1|- - 2|- a: 1|- b: 2|key: value|key: [1, 2, {a: b}]|key: {a: 1, b: [x]}|
key: {a:1}|
? a|: 1|? [a]|- ? a|&x a: 1|a: &x 1|b: *x|a: &y|<<: *y|<<: {q: 1}|<<: [*y, *y]|- *x|key: !!str 1|
key: !!int "3"|key: !!bool x|key: !!timestamp x|key: !!set {x}|key: !!binary aGk=|
k: !!omap [a: 1]|
k: !!python/object/apply:pathlib.PosixPath [a, b]|k: !!python/object/apply:pathlib.PosixPath|
- a|- b|---|...|--- a: 1|%YAML 1.1|%TAG ! x|# comment|a: 1 # comment|a: b #c|a: 'x|  y'|a: "x|
  y"|
a: "\x41\u00e9\/"|a: "\ud800"|a: |- |-|a: \||a: >-|  text|    more|a: \|+|a: >2|a: 'it''s'|a: - b|
a: b: c|a:b|a : 1|"a": 1|'a': 1|'1': x|1: x|1.0: y|true: x|yes: y|null: z|'': e|a: ''|a: ???|
- ???|
[a, b]: 1|{a: b}|[a]|a: {|a: [|}|]|a: [1,|, 2]|a: '|a: "|'|"|@a|`a|%a|a: @b|a: %b|a: `b|a: !b|
!b c|
a: ${a}|a: ${|a: $|a: \${b}|- 'x'|-|- -|-a|- -1|--- |--- x|... x|a:  2|a: 1 |a:   |  a: 1|   b: 2|
foo|'k: v'|'1'|"- 1"|3|2024-01-01|a: 2024-01-01|a: 1:30|a: 012|a: 1e3|a: =|=: 1|a: <<|a: é|日本: 語|
key with space: 1|a#b: c|a: b - c|a: b -|a: ?|a: ? b|a: -|a: --- |a: ---|a: ...|a: :b|a: b:|
a: ,|a: :
""".replace("\n", "").replace(r"\|", "\0")
FRAGMENTS = [line.replace("\0", "|") for line in LINES.split("|")]
SPECIAL = list("\t\n\r\0\x07\x85\xa0\u2028\ufeff:-?#&*!|>'\"%@`{}[],. 019aes~<=\\$é😀")
REAL = [
    "seed: 1\nmodel:\n  type: mlp\n  sizes:\n  - 1\n  - 2\n  opts: {}\nlr: 0.01\nnote: null\n",
    "a:\n  b:\n  - c: 1\n    d: x\n  - - 1\n    - 2\n'1': yes\ns: 'a: b'\nt: \"x\\ny\"\ne: []\n",
    "base: &b\n  x: 1\nrun:\n  <<: *b\n  y: 2\ntext: |\n  one\n  two\nfold: >\n  a\n  b\nz: 1\n",
    "p: !!python/object/apply:pathlib.PosixPath\n- /\n- x\nlong: 'aaa\n\n  bb'\n"
    "q: [1, {a: b}]\n1: x\n",
]

hand_written = st.lists(
    st.tuples(
        st.sampled_from(["", "", "", "  ", " ", "    ", "\t", "- "]), st.sampled_from(FRAGMENTS)
    ),
    max_size=7,
).map(lambda lines: "\n".join(indent + line for indent, line in lines))


@st.composite
def mutated(draw: st.DrawFn) -> str:
    text = draw(st.sampled_from(REAL))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        stop = start + draw(st.sampled_from([0, 0, 0, 1, 1, 2, 5, 20]))
        new = draw(st.sampled_from(SPECIAL) | st.sampled_from(FRAGMENTS).map(lambda f: f"\n{f}\n"))
        text = text[:start] + new + text[stop:]
    return text


def draw_end(text: str, end: str) -> bytes:
    """Return a document with this line ending, also the last one."""
    if end.startswith("\r"):
        text = text.replace("\n", end)
    return (text + end).encode()


@st.composite
def changed(draw: st.DrawFn, documents: st.SearchStrategy[bytes]) -> bytes:
    text = draw(documents).decode()
    for _ in range(draw(st.integers(1, 3))):
        position = draw(st.integers(0, len(text)))
        new = draw(st.sampled_from([*SPECIAL, "\n", "\n  ", "\n- ", ": ", " #", "  ", "\n\n"]))
        text = text[:position] + new + text[position + draw(st.integers(0, 2)) :]
    return text.encode()


def damage(text: str, position: int, new: bytes, length: int) -> bytes:
    data = text.encode()
    return (data[:position] + new + data[position:])[:length]


# In layouts that the short way takes, so that it has to decide about the words.
LAYOUTS = [
    "a: {0}\nb: {1}\n{2}: x\n",
    "a:\n  b: {0}\n  c:\n    d: {1}\n  {2}: {0}\n",
    "a:\n- {0}\n- b: {1}\n  {2}: {0}\n- - {1}\n",
    "- {0}\n- {1}: {2}\n",
    "a: {0}\n{1}\n{2}\n",
    "a:\n  {0}\n  {1}\nb: {2}\n",
]
numbers = st.from_regex(r"[-+]?[0-9]{1,3}[0-9_.:eExob+-]{0,6}", fullmatch=True) | st.from_regex(
    r"[-+]?[0-9_]{0,4}\.[0-9_]{0,4}([eE][-+]?[0-9]{1,4})?", fullmatch=True
)
words = (
    numbers
    | st.sampled_from(WORDS)
    | st.sampled_from(FRAGMENTS)
    | st.text(st.sampled_from(SPECIAL + list("abcE_/")), max_size=8)
    | st.integers(-(10**400), 10**400).map(str)
    | st.sampled_from([chr(c) for c in range(0x20)] + list("\x7f\x85\xa0\u2028\u2029\ufeff\ufffe"))
)
plain_words = st.sampled_from(
    ["x", "a b", "1", "-2", "0.5", "1.0e-05", "true", "null", "'1'", "[]"]
)
placed = words | plain_words | plain_words
laid_out = st.builds(str.format, st.sampled_from(LAYOUTS), placed, placed, placed)

saved = configs.map(dump)
plain_keys = st.sampled_from(["a", "b", "lr", "model", "A.b", "a-b", "_target_", 0, 12, "a b", ""])
plain_values = st.recursive(
    st.sampled_from(["x", "a b", "s3://b/k", "it's", "1", "${a}", "???", "é", True, None, 7, -0.5])
    | st.integers()
    | st.floats(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(plain_keys, inner, min_size=1, max_size=4)
    ),
    max_leaves=12,
)
plainly_saved = st.dictionaries(plain_keys, plain_values, min_size=1, max_size=6).map(dump)

DOCUMENTS: dict[str, st.SearchStrategy[bytes]] = {
    "saved by OmegaConf": saved,
    "ordinary, saved by OmegaConf": plainly_saved,
    "saved, then changed": changed(saved | plainly_saved),
    "odd words in ordinary layouts": laid_out.map(str.encode),
    "written by hand": st.builds(
        draw_end, hand_written, st.sampled_from(["\n", "", "\r\n", "\r", "\n\n"])
    ),
    "mutated": mutated().map(str.encode),
    "damaged": st.builds(
        damage,
        st.sampled_from(REAL),
        st.integers(0, 80),
        st.binary(max_size=3),
        st.integers(0, 200) | st.just(1000),
    ),
}
