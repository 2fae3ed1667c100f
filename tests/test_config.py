from __future__ import annotations

import copy
import io
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import assume, example, given
from hypothesis import strategies as st
from omegaconf import ListConfig, OmegaConf
from tests.conftest import write
from tests.fuzz.documents import (
    SPECIAL,
    WORDS,
    Color,
    configs,
    describe,
    dump,
    keys,
    long_texts,
    scalars,
)

from kedro_hydraflow import Run, config
from kedro_hydraflow.config import ConfigReader, build_dictconfig, parse_meta, parse_scalar
from kedro_hydraflow.errors import ConfigError, MetadataError, MissingKeyError

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
