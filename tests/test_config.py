from __future__ import annotations

import copy
import dataclasses
import io
from dataclasses import dataclass, field
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import II, MISSING, ListConfig, OmegaConf

from kedro_hydraflow import config
from kedro_hydraflow.config import (
    ConfigMerger,
    ConfigReader,
    build_dictconfig,
    flatten_config,
    merge_config,
    parse_meta,
    parse_scalar,
    take_leaves,
    to_plain,
)
from kedro_hydraflow.errors import ConfigError, MetadataError
from kedro_hydraflow.selecting import select
from tests.fuzz.documents import SPECIAL, WORDS, Color, describe, long_texts, scalars
from tests.test_selecting import PARTS, SELECT_CONFIG, make_configuration

# Updating --------------------------------------------------------------------------------

update_keys = st.lists(
    st.sampled_from([*PARTS, "new", "__class__", "_content", "items"]), min_size=1, max_size=4
).map(".".join)


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
    assert select(make_configuration(updated), key) == 5
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


def parse_reference(data: bytes, loader: Any = yaml.BaseLoader) -> dict[str, str | None] | None:
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
    return {k.value: read_scalar(v) for k, v in node.value if isinstance(v, yaml.ScalarNode)}


def read_scalar(node: yaml.ScalarNode) -> str | None:
    """Return the text of a scalar, None for null without quotes."""
    tag = yaml.SafeLoader("").resolve(yaml.ScalarNode, node.value, (not node.style, False))
    return None if tag == "tag:yaml.org,2002:null" else node.value


def parse(data: bytes) -> dict[str, str | None] | None:
    try:
        return parse_meta(data)
    except MetadataError:
        return None


@pytest.mark.parametrize(
    "name", ["1e3", "yes", "2024-01-01", "null", "", "it's", "${oc.env:HOME}", "a b " * 50, "é\n"]
)
def test_names_are_text(name: str) -> None:
    assert parse_meta(yaml.safe_dump({"name": name}).encode()) == {"name": name}


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


# Building --------------------------------------------------------------------------------


@dataclass
class Schema:
    seed: int = 0
    lr: float = 0.1


def test_build_with_config_class() -> None:
    cfg = build_dictconfig({"seed": 3}, Schema)
    assert (cfg.seed, cfg.lr) == (3, 0.1)


def test_an_escaped_text_stays_escaped() -> None:
    plain = {"a": r"\???", "b": {"c": [r"\???", "???"], 1: "???"}, "d": "${a}"}
    assert to_plain(build_dictconfig(plain)) == plain


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


def test_a_flat_configuration_keeps_empty_mappings() -> None:
    plain = {"a": {"b": 1, "c": {}}, "d": [{"e": 1}], 1: {"x": None}}
    assert flatten_config(plain) == {"a.b": 1, "a.c": {}, "d": [{"e": 1}], "1.x": None}


# Merging many onto a class ---------------------------------------------------------------------


@dataclass
class Inner:
    size: int = 1
    rate: float = 0.5
    names: list[str] = field(default_factory=lambda: ["a"])


@dataclass
class Plain:
    inner: Inner = field(default_factory=Inner)
    seed: int = 0
    rate: float = 1.0
    name: str | None = None
    color: Color = Color.RED
    flag: bool = False
    anything: Any = None
    table: dict[str, int] = field(default_factory=dict)
    needed: int = MISSING


@dataclass
class WithAbsent(Plain):
    maybe: Inner | None = None
    missing: Inner = MISSING


@dataclass
class WithInterpolation(Plain):
    name: str | None = "${seed}"
    link: Inner = field(default_factory=lambda: II("inner"))


@dataclass
class Open(dict[str, Any]):
    seed: int = 0


SHARED: list[Any] = [
    {"size": 3},
    {"size": "4", "names": ["x", "y"]},
    {"rate": 1},
    {"rate": "${rate}"},
    {"size": "${nowhere}"},
    {"size": "no number"},
    {"unknown": 1},
    "${inner}",
    "${name}",
    {"x": "${name}"},
    {"names": "${name}"},
    "???",
    None,
    {"a": 1},
    ["b", 2],
]
SMALL: list[Any] = [
    *(
        0,
        1,
        True,
        2.5,
        1e400,
        10**400,
        "3",
        "yes",
        "RED",
        "light_blue",
        "",
        "${seed}",
        "${a:b}",
        r"\\???",
    ),
    *("???", None, [], {}, b"bytes", Color.light_blue),
]
CLASSES = (Plain, WithAbsent, WithInterpolation, Open)
FIELDS = [f.name for f in dataclasses.fields(Plain)]
VALUES = st.sampled_from([*SHARED, *SMALL])
STORED = st.dictionaries(
    st.sampled_from([*FIELDS, "maybe", "missing", "link", "extra", 1]), VALUES, max_size=4
)


@pytest.mark.parametrize("config_class", CLASSES)
@given(configs=st.lists(STORED, max_size=5))
def test_merging_many_is_like_merging_each(config_class: type, configs: list[Any]) -> None:
    merger = ConfigMerger(config_class)
    for stored in configs:
        try:
            expected: Any = merge_config(stored, config_class)
        except ConfigError as exc:
            expected = exc
        assert repr(merger.merge(stored)) == repr(expected)


class Counted(dict[str, Any]):
    """A mapping that counts how many of its items are looked at."""

    n_looked_at = 0

    def items(self) -> Any:
        for item in super().items():
            self.n_looked_at += 1
            yield item


def test_the_first_leaves_are_taken_without_looking_at_the_others() -> None:
    config = {"a": {"b": 1, "c": {}}, "d": [1, 2], "e": {"f": {"g": 3, "h": 4}}}
    assert take_leaves(config, 1) == {"a": {"b": 1}}
    assert take_leaves(config, 2) == {"a": {"b": 1, "c": {}}}
    assert take_leaves(config, 4) == {**config, "e": {"f": {"g": 3}}}
    assert take_leaves(config, 5) is config
    assert take_leaves(config, 4)["a"] is config["a"]  # what is whole stays shared
    many = Counted({f"k{i}": i for i in range(1000)})
    assert len(take_leaves(many, 10)) == 10
    assert many.n_looked_at == 11
