from __future__ import annotations

import copy
import enum
import io
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, assume, example, given, reject, settings
from hypothesis import strategies as st
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.basecontainer import BaseContainer
from tests.conftest import SWEEP, write

from kedro_hydraflow import Run, config
from kedro_hydraflow.config import ConfigReader, build_dictconfig, parse_meta, parse_scalar
from kedro_hydraflow.errors import ConfigError, MetadataError, MissingKeyError

CHECKED = settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=60,
    suppress_health_check=list(HealthCheck),
)


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


def read(data: bytes) -> DictConfig | None:
    """Return the same, as read by us; a second time from what the reader remembers."""
    reader = ConfigReader()
    try:
        plain = reader.read(data)
    except ConfigError:
        return None
    assert repr(reader.read(data)) == repr(plain)
    return build_dictconfig(plain)


def describe(node: Any) -> Any:
    """Return all that can be seen of a configuration, comparable even with NaN in it."""
    if isinstance(node, DictConfig):
        return "dict", [(type(k).__name__, repr(k), describe(node._get_node(k))) for k in node]
    if isinstance(node, BaseContainer):
        return type(node).__name__, [describe(node._get_node(i)) for i in range(len(node))]
    value = node._value() if hasattr(node, "_value") else node
    return type(value).__name__, repr(value)


def assert_reads_alike(data: bytes) -> None:
    expected, found = load_reference(data), read(data)
    if expected is None or found is None:
        assert expected is found, f"{data!r}: expected {expected}, found {found}"
    else:
        assert describe(found) == describe(expected), data


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


@CHECKED
@given(configs)
def test_read_what_omegaconf_writes(data: Any) -> None:
    assert_reads_alike(dump(data))


@pytest.mark.parametrize("word", WORDS)
def test_read_scalar_in_every_place(word: str) -> None:
    for data in (
        {"key": word},
        {word: 1},
        {"a": {word: {word: word}}},
        {"key": [word, {word: word}, [word, [word]]], "z": 1},
    ):
        try:
            created = OmegaConf.create(data)
        except Exception:
            continue
        assert_reads_alike(OmegaConf.to_yaml(created).encode())
    for text in (f"a: {word}\n", f"a: 0\n{word}: 1\n", f"a:\n- {word}\n- {word}: {word}\nb: 1\n"):
        assert_reads_alike(text.encode())


def test_read_with_remembered_lines_of_other_runs() -> None:
    reader = ConfigReader()
    for path in sorted(SWEEP.glob("*/*/artifacts/.hydra/config.yaml")):
        data = path.read_bytes()
        found = build_dictconfig(reader.read(data))
        assert describe(found) == describe(OmegaConf.load(path))


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


@CHECKED
@given(hand_written, st.sampled_from(["\n", "", "\r\n", "\r", "\n\n"]))
def test_read_what_people_write(text: str, end: str) -> None:
    if end.startswith("\r"):
        text = text.replace("\n", end)
    assert_reads_alike((text + end).encode())


@CHECKED
@given(mutated())
def test_read_mutated_configurations(text: str) -> None:
    assert_reads_alike(text.encode())


@CHECKED
@given(st.sampled_from(REAL), st.integers(0, 80), st.binary(max_size=3))
def test_read_damaged_bytes(text: str, position: int, damage: bytes) -> None:
    data = text.encode()
    assert_reads_alike(data[:position] + damage + data[position:])


@CHECKED
@given(st.sampled_from(REAL), st.integers(0, 200))
def test_read_half_written(text: str, length: int) -> None:
    assert_reads_alike(text.encode()[:length])


# Selecting -------------------------------------------------------------------------------

SELECT_CONFIG = r"""
a:
  b: 1
  c: ${a.b}
  d: ${.b}
  e: ${..x}
  l: [1, '${a.b}', {k: v}, '???', [2, 3]]
  none: null
  miss: ???
  empty: {}
x: text
i1: ${x}
i2: ${i1}
to_missing: ${a.miss}
to_nothing: ${nowhere}
to_dict: ${a}
to_list: ${a.l}
to_item: ${a.l[0]}
text: pre-${x}-post
nested: ${a.${name}}
name: b
cycle1: ${cycle2}
cycle2: ${cycle1}
self: ${self}
env: ${oc.env:HYDRAFLOW_TEST_VALUE}
env_default: ${oc.env:HYDRAFLOW_NOT_SET,fallback}
env_missing: ${oc.env:HYDRAFLOW_NOT_SET}
decode: ${oc.decode:'[1, 2]'}
unknown: ${no_such_resolver:1}
escaped: \${x}
escaped_missing: \???
ends: what???
1: one
'2': two
true: t
1.5: f
a b: spaced
é: accent
'': nothing
'x.y': dotted
'[z]': bracket
list: [10, 20]
p: !!python/object/apply:pathlib.PosixPath [m, n]
bytes: !!binary aGk=
null_text: 'null'
"""
NAMES = """
    a b c d e l none miss empty x i1 i2 to_missing to_nothing to_dict to_list to_item text
    nested name cycle1 cycle2 self env env_default env_missing decode unknown escaped
    escaped_missing ends 1 2 true True 1.5 é list p bytes 0 -1 -3 3 5 k null x.y [z] ~ $ ${x}
    \\ a\\.b =
"""
PARTS = [*NAMES.split(), "", "a b", " "]
select_keys = st.lists(st.sampled_from(PARTS), min_size=1, max_size=4).flatmap(
    lambda parts: st.lists(
        st.sampled_from([".{}", ".{}", ".{}", "[{}]", "..{}", "{}", ".{}.", "[{}", "{}]"]),
        min_size=len(parts),
        max_size=len(parts),
    ).map(lambda forms: "".join(map(str.format, forms, parts)).removeprefix("."))
)


def outcome(function: Any, *args: Any, **options: Any) -> Any:
    try:
        value = function(*args, **options)
    except Exception:
        return "error"
    return MISSING if value is MISSING else describe(value)


@pytest.fixture(scope="module", autouse=True)
def environment() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HYDRAFLOW_TEST_VALUE", "from env")
        patch.delenv("HYDRAFLOW_NOT_SET", raising=False)
        yield


def write_run(directory: Path, text: str) -> Run:
    write(directory / "artifacts/.hydra/config.yaml", text)
    return Run(directory)


@pytest.fixture(scope="module")
def select_run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("run")
    write_run(directory, SELECT_CONFIG)
    return directory


@CHECKED
@given(key=select_keys)
@example(key="a__b")
@example(key="a.l[-1]")
@example(key="to_dict.b")
def test_select_as_omegaconf(select_run_dir: Path, key: str) -> None:
    dotted = key.replace("__", ".")
    assume(dotted not in ("info", "cfg", "impl") and not dotted.startswith(("tags", "params")))
    run = Run(select_run_dir)
    cfg = OmegaConf.load(select_run_dir / "artifacts/.hydra/config.yaml")
    expected = outcome(OmegaConf.select, cfg, dotted, default=MISSING)
    plain = run._get_config()

    assert outcome(config.select, plain, dotted) in (expected, describe(config.UNDECIDED))
    if expected == "error":  # MissingKeyError: an index that is no number, say list.x
        with pytest.raises((ConfigError, MissingKeyError)) as error:
            run.get(key)
        assert repr(dotted) in str(error.value)
    elif expected is MISSING:
        with pytest.raises(AttributeError):
            run.get(key)
    else:
        assert outcome(run.get, key) == expected

    data = outcome(lambda: to_data(OmegaConf.select(cfg, dotted, default=MISSING)))
    found = outcome(config.select_plain, plain, dotted)
    assert found in (data, describe(config.UNDECIDED))


def to_data(value: Any) -> Any:
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def test_every_selectable_value(select_run_dir: Path) -> None:
    cfg = OmegaConf.load(select_run_dir / "artifacts/.hydra/config.yaml")
    for part in PARTS:
        for key in (part, f"a.{part}"):
            expected = outcome(OmegaConf.select, cfg, key, default=MISSING)
            run = Run(select_run_dir)
            if expected is MISSING:
                expected = "error"
            assert outcome(run.get, key) == expected, key


@CHECKED
@given(configs, st.lists(keys, min_size=1, max_size=3))
def test_select_in_any_config(data: Any, parts: list[Any]) -> None:
    plain = ConfigReader().read(dump(data))
    key = ".".join(str(part) for part in parts)
    cfg = build_dictconfig(plain)
    expected = outcome(OmegaConf.select, cfg, key, default=MISSING)
    assert outcome(config.select, plain, key) in (expected, describe(config.UNDECIDED))
    data = outcome(lambda: to_data(OmegaConf.select(cfg, key, default=MISSING)))
    assert outcome(config.select_plain, plain, key) in (data, describe(config.UNDECIDED))


def test_resolver_that_was_removed_is_named(tmp_path: Path) -> None:
    run = write_run(tmp_path, "home: ${oc.env:HOME}\nlr: 0.1\nsub:\n  home: ${home}\n")
    OmegaConf.clear_resolver("oc.env")  # as Kedro's OmegaConfigLoader does
    try:
        assert run.get("lr") == 0.1
        for key in ("home", "sub.home"):
            with pytest.raises(ConfigError, match=rf"'{key}'.*oc\.env"):
                run.get(key)
        assert run.get("lr") == 0.1
    finally:
        OmegaConf.clear_resolvers()


# Updating --------------------------------------------------------------------------------

update_keys = st.lists(
    st.sampled_from([*PARTS, "new", "__class__", "_content", "items"]), min_size=1, max_size=4
).map(".".join)


@CHECKED
@given(update_keys, scalars | st.sampled_from([[1], {"a": 1}, Color.RED, 1.0 + 2j]))
def test_update_as_omegaconf(key: str, value: Any) -> None:
    plain = ConfigReader().read(SELECT_CONFIG.encode())
    before = copy.deepcopy(plain)

    updated = config.update_plain(plain, key, value)

    assert describe(build_dictconfig(plain)) == describe(build_dictconfig(before))
    if updated is not None:
        cfg = build_dictconfig(plain)
        OmegaConf.update(cfg, key, value, force_add=True)
        assert describe(build_dictconfig(updated)) == describe(cfg)


@pytest.mark.parametrize("key", ["x", "a.b", "a.new", "new", "new.deep.er", "i1", "a.miss"])
def test_plain_update_is_used(key: str) -> None:
    plain = ConfigReader().read(SELECT_CONFIG.encode())
    updated = config.update_plain(plain, key, 5)
    assert updated is not None
    assert config.select(updated, key) == 5
    assert updated["list"] is plain["list"]


# meta.yaml -------------------------------------------------------------------------------

meta_texts = (
    st.sampled_from(WORDS) | st.text(st.characters(codec="utf-8"), max_size=30) | long_texts
)
metas = st.dictionaries(
    st.sampled_from(["name", "run_name", "artifact_uri", "experiment_id"]) | meta_texts,
    meta_texts | st.integers() | st.none() | st.floats() | st.booleans() | st.just([]),
    max_size=6,
)


def parse_reference(data: bytes, loader: Any = yaml.BaseLoader) -> dict[str, str] | None:
    try:
        node = yaml.compose(data.decode(), Loader=loader)
    except (yaml.YAMLError, UnicodeDecodeError):
        return None
    if not isinstance(node, yaml.MappingNode):
        return None
    names = [key.value for key, _ in node.value]
    if not all(isinstance(key, yaml.ScalarNode) for key, _ in node.value):
        return None
    if len(set(names)) < len(names):
        return None
    return {k.value: v.value for k, v in node.value if isinstance(v, yaml.ScalarNode)}


def parse(data: bytes) -> dict[str, str] | None:
    try:
        return parse_meta(data)
    except MetadataError:
        return None


@pytest.mark.parametrize(
    "name", ["1e3", "yes", "2024-01-01", "null", "", "it's", "${oc.env:HOME}", "a b " * 50, "é\n"]
)
def test_names_are_text(name: str) -> None:
    assert parse_meta(yaml.safe_dump({"name": name}).encode()) == {"name": name}


@CHECKED
@given(metas, st.booleans())
def test_parse_what_mlflow_writes(meta: dict[str, Any], allow_unicode: bool) -> None:
    text = yaml.safe_dump(meta, default_flow_style=False, allow_unicode=allow_unicode)
    assert parse(text.encode()) == parse_reference(text.encode())


META = "artifact_location: /x/1\nexperiment_id: '1'\nlifecycle_stage: active\nname: a_b\ntags: []\n"


@pytest.mark.parametrize("char", SPECIAL)
def test_parse_mutated_meta(char: str) -> None:
    # MLflow has the C parser too. It reads tabs where the pure parser refuses them.
    loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
    for position in range(len(META) + 1):
        data = (META[:position] + char + META[position:]).encode()
        assert parse(data) == parse_reference(data, loader), data


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"- 1\n",
        b"text\n",
        b"a: 1\na: 2\n",
        b"name: x\nname: y\n",
        b"a: 1\n---\nb: 2\n",
        b"a: 1\n\tb: 2\n",
        b"a: x\0y\n",
        b"a: 'x\0y'\n",
        b"a: 'x\x07y'\n",
        b"a: \xff\n",
        b"[a]: 1\n",
        b"a: *b\n",
        b"a: 'x\n",
        b"a: " + b"[" * 100_000,
    ],
)
def test_damaged_meta_is_an_error(data: bytes) -> None:
    with pytest.raises(MetadataError):
        parse_meta(data)


# Limits ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "a: " + "[" * 100_000,
        "a: " + "{" * 100_000,
        "[" * 100_000 + "]" * 100_000,
        "a: " + "[" * 60 + "]" * 60,
        "- " * 100_000 + "1",
        "a:\n" + "- " * 60 + "1\n",
        "a:\n  " + "- " * 60 + "b: 1\n",
        "? " * 100_000,
        ": " * 100_000,
        "? - : - " * 30_000,
        "".join(f"{' ' * i}a:\n" for i in range(60)),
        "".join(f"{' ' * i}a:\n" for i in range(1_000)),
        "".join(f"{' ' * i}-\n" for i in range(1_000)),
        "a: &a [*a]\n",
        "a: &a {b: *a}\n",
        "'" + "[" * 100_000 + "'\n",
        'a: "' + "${x:" * 10_000 + '"\n',
    ],
    ids=lambda text: f"{text[:12]!r}-{len(text)}",
)
def test_deep_nesting_is_an_error(text: str) -> None:
    with pytest.raises(ConfigError):
        ConfigReader().read(text.encode())


def test_mapping_that_merges_itself() -> None:
    assert_reads_alike(b"a: &a\n  <<: *a\n  x: 1\n")  # OmegaConf 2.3 reads it


def test_nesting_up_to_the_limit() -> None:
    depth = config.MAX_DEPTH - 2
    block = "".join(f"{' ' * i}a:\n" for i in range(depth)) + f"{' ' * depth}b: 1\n"
    flow = "a: " + "{a: " * (depth - 1) + "{b: 1}" + "}" * (depth - 1) + "\n"
    assert_reads_alike(block.encode())
    assert ConfigReader().read(block.encode()) == ConfigReader().read(flow.encode())


def bomb(levels: int, width: int) -> str:
    lines = [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * width)}]" for i in range(1, levels)]
    return "\n".join(["a0: &a0 [x, y]", *lines, ""])


def merge_bomb(levels: int, width: int) -> str:
    lines = [f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * width)}]}}" for i in range(1, levels)]
    return "\n".join(["a0: &a0 {x: 1, y: 2}", *lines, ""])


@pytest.mark.parametrize("text", [bomb(30, 10), bomb(6, 9), merge_bomb(30, 10), merge_bomb(7, 9)])
def test_alias_bombs_are_an_error(text: str) -> None:
    with pytest.raises(ConfigError):
        ConfigReader().read(text.encode())


def test_size_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "MAX_BYTES", 10)
    with pytest.raises(ConfigError, match="at most 10 bytes, found 12"):
        ConfigReader().read(b"abc: 1234567")


def test_more_nodes_than_omegaconf_allows() -> None:
    data = "".join(f"k{i}: {{a: {i}}}\n" for i in range(3_000)).encode()
    assert ConfigReader().read(data)["k2999"] == {"a": 2999}


def test_recursion_error_never_escapes(tmp_path: Path) -> None:
    text = "".join(f"{' ' * i}a:\n" for i in range(40)) + f"{' ' * 40}b: 1\n"

    def at(depth: int) -> Any:
        if depth:
            return at(depth - 1)
        return build_dictconfig(ConfigReader().read(text.encode()))

    with pytest.raises(ConfigError):
        at(600)


# Intended differences --------------------------------------------------------------------


@pytest.mark.parametrize("module", ["pathlib", "pathlib._local"])
@pytest.mark.parametrize("name", ["Path", "PosixPath", "WindowsPath"])
def test_paths_written_by_any_python_and_system(module: str, name: str) -> None:
    text = f"p: !!python/object/apply:{module}.{name}\n- data\n- x.csv\nq: 1\n"
    assert ConfigReader().read(text.encode()) == {"p": Path("data/x.csv"), "q": 1}


@pytest.mark.parametrize(
    ("text", "found"), [("- 1\n", "list"), ("3\n", "int"), ("'1'\n", "int"), ("[]", "list")]
)
def test_root_must_be_a_mapping(text: str, found: str) -> None:
    with pytest.raises(ConfigError, match=f"expected a mapping at the top, found {found}"):
        ConfigReader().read(text.encode())


@pytest.mark.parametrize("text", ["", "\n", "# nothing\n", "{}\n", "null\n", "---\n"])
def test_empty_is_an_empty_mapping(text: str) -> None:
    assert ConfigReader().read(text.encode()) == {}


# The short way ---------------------------------------------------------------------------


@pytest.fixture
def completely_read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that went to the complete loader."""
    texts: list[str] = []
    for name in ("_load_completely", "_load_piece"):
        monkeypatch.setattr(config, name, record(texts, getattr(config, name)))
    return texts


def record(texts: list[str], function: Any) -> Any:
    def call(text: str) -> Any:
        texts.append(text)
        return function(text)

    return call


def test_real_sweep_needs_no_complete_loader(completely_read: list[str]) -> None:
    reader = ConfigReader()
    for path in SWEEP.glob("*/*/artifacts/.hydra/config.yaml"):
        reader.read(path.read_bytes())
    assert completely_read == []


ORDINARY = {
    "seed": 1,
    "note": None,
    "name": "v2: wider sweep, 2 epochs",
    "empty": "",
    "model": {
        "_target_": "package.models.ResNet",
        "hidden-sizes": [64, 32],
        "kernel": [[3, 3], [1, 1]],
        "dropout": 0.1,
        "eps": 1e-08,
        "act": "relu",
        "pretrained": False,
        "layers": [{"type": "conv", "size": [3, 3]}, {"type": "pool", "args": {}}, [], None],
        "ckpt": "s3://bucket/models/resnet-18.pt",
        "out": "${data.classes}",
        "todo": "???",
        "items": ["???", "-1", -1, "on", "1e3", "it's", "a, b", "é 日本語", "true"],
    },
    "data": {
        "classes": 10,
        "path": "/data/x/y",
        "labels": {0: "cat", 1: "dog"},
        "ids": {"cat": 0, "null": 2},
        "run_dir": "${oc.env:HOME}/runs",
        "split": {"train": 0.8, "val": 0.1, "test": 0.1},
        "limit": 10**30,
        "inf": float("inf"),
        "url": "sqlite:///mlflow.db",
    },
}


def test_ordinary_configs_need_no_complete_loader(completely_read: list[str]) -> None:
    data = dump(ORDINARY)
    found = ConfigReader().read(data)
    assert completely_read == []
    assert describe(build_dictconfig(found)) == describe(OmegaConf.create(ORDINARY))


def test_only_the_unusual_part_goes_to_the_complete_loader(completely_read: list[str]) -> None:
    prompt = "You are a helpful assistant.\n\nAnswer in one sentence: " + "please " * 30
    reader = ConfigReader()
    for seed in range(3):
        data = dump({**ORDINARY, "seed": seed, "prompts": {"a key": prompt}, "z": 1})
        assert describe(build_dictconfig(reader.read(data))) == describe(load_reference(data))
    assert [text.split(":")[0] for text in completely_read] == ["prompts"]


def test_shared_parts_are_the_same_objects() -> None:
    reader = ConfigReader()
    first = reader.read(dump({"seed": 1, "model": {"type": "mlp"}}))
    second = reader.read(dump({"seed": 2, "model": {"type": "mlp"}}))
    assert first["model"] is second["model"]
    assert (first["seed"], second["seed"]) == (1, 2)


# Building --------------------------------------------------------------------------------


@dataclass
class Schema:
    seed: int = 0
    lr: float = 0.1


def test_build_with_config_class() -> None:
    cfg = build_dictconfig({"seed": 3}, Schema)
    assert (cfg.seed, cfg.lr) == (3, 0.1)


@pytest.mark.parametrize("plain", [{"seed": "x"}, {"other": 1}])
def test_build_refuses_what_does_not_fit(plain: Any) -> None:
    with pytest.raises(ConfigError, match="does not fit Schema"):
        build_dictconfig(plain, Schema)


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", 1), ("1e-3", 0.001), ("[1, x]", [1, "x"]), ("yes", True), ("'yes'", "yes"), ("", None)],
)
def test_parse_scalar(text: str, value: Any) -> None:
    assert parse_scalar(text) == value


@pytest.mark.parametrize("text", ["[1", "{", "!!bool x", "[" * 100_000])
def test_parse_scalar_refuses(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_scalar(text)


def test_lists_are_no_mappings() -> None:
    assert isinstance(OmegaConf.load(io.StringIO("- 1\n")), ListConfig)
    with pytest.raises(ConfigError):
        ConfigReader().read(b"- 1\n")


def test_leaf_keys() -> None:
    plain = {"a": {"b": 1, "c": {}}, "d": [1], 1: {"x": None}}
    assert config.iter_leaf_keys(plain) == ["a.b", "a.c", "d", "1.x"]
