from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from omegaconf import OmegaConf, __version__
from omegaconf.errors import ConfigTypeError, OmegaConfBaseException

from kedro_hydraflow import Run, RunInfo
from kedro_hydraflow.config import ConfigReader, Configuration, PlainConfig, build_dictconfig
from kedro_hydraflow.errors import ConfigError, MissingKeyError, OptionError
from kedro_hydraflow.missing import MISSING
from kedro_hydraflow.run import make_run
from kedro_hydraflow.run_base import get_configuration
from kedro_hydraflow.run_collection import RunCollection
from kedro_hydraflow.selecting import Column, Selector, select_stored
from tests.conftest import write
from tests.fuzz.documents import configs, describe, dump, keys

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


class Source:
    """Where nothing is stored."""

    run_id = "abc"
    url = "abc/config.yaml"

    def read(self) -> PlainConfig:
        return {}


def make_configuration(data: PlainConfig) -> Configuration:
    return Configuration(Source(), None, data)


def select_in_all_ways(data: PlainConfig, key: str) -> list[Any]:
    """Return the outcomes of selecting a value as plain data, alone and as one of many."""
    configuration = make_configuration(data)
    column = outcome(lambda: get_only(Selector().select_column([configuration], key)))
    return [outcome(Selector().select_data, configuration, key), column]


def get_only(column: Column) -> Any:
    if column.error is not None:
        raise column.error
    (value,) = column.values
    assert column.missing == [0] * (value is MISSING)
    return value


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

    if expected == "error":  # MissingKeyError: an index that is no number, say list.x
        with pytest.raises((ConfigError, MissingKeyError)) as error:
            run.get(key)
        assert repr(dotted) in str(error.value)
    elif expected is MISSING:
        with pytest.raises(AttributeError):
            run.get(key)
    else:
        assert outcome(run.get, key) == expected

    data = outcome(lambda: to_data(select_node(cfg, dotted)))
    stored = get_configuration(Run(select_run_dir)).to_plain()
    assert select_in_all_ways(stored, dotted) == [data, data]


def select_node(cfg: Any, key: str) -> Any:
    try:
        return OmegaConf.select(cfg, key, default=MISSING)
    except ConfigTypeError:  # nothing lies below a list by name
        return MISSING


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
    data = outcome(lambda: to_data(select_node(cfg, key)))
    assert select_in_all_ways(plain, key) == [data, data]


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


# Interpolations --------------------------------------------------------------------------

TARGETS: dict[str, Any] = {
    "x": "text",
    "a": {"b": 1, "c": {"d": None, "e": "${..b}", "x": "${x}"}, "l": [1, "${x}", {"k": "${...b}"}]},
    "name": "b",
    "dotted": "a.b",
    "missing": "???",
    "none": None,
    "flag": True,
    "number": 1e-05,
    "bytes": b"hi",
    "path": Path("m/n"),
    "my-key": "dashed",
    "1": "one",
    "dollar": "a$b",
    "back": "a\\b",
    "question": "what???",
    "literal": "\\${x}",
    "oc": {"env": "no resolver"},
    "chain": "${chain2}",
    "chain2": "<${a.c.x}>",
    "whole": "${a.c}",
    "mixed": {1: "one", "k": "${x}"},
    "empty": {},
    "cycle": "${cycle}",
}
REFERENCES = """
    x a.b a.c a.l a.l[0] a.l.1 a.l[1] a.l.2.k a.l[5] a.l[-1] a.l[01] a[b] a[c].d [x] a.c.e a.c.d
    name missing none flag number bytes path my-key 1 dollar back question literal oc.env
    chain chain2 whole whole.e whole.nothing mixed mixed.k mixed.1 empty empty.x nothing x.y
    none.x cycle t .t .x ..x ...x ....x .a ..a.b .u.t ..t . .. t.x whole.x missing.x a.c.x
    ${name} a.${name} a[${name}] a.${nothing} ${dotted} a.${number} ${a.${name}} ..${name}
    a.x${name} x $x é a.l.1.x a.b.c
"""
RESOLVERS = """
    oc.env:SET oc.env:SET,x oc.env:UNSET oc.env:UNSET,default oc.env:UNSET,null oc.env:UNSET,???
    oc.env:UNSET,'a,b' oc.env:${x} oc.env:UNSET,${x} oc.env:UNSET,${oc.env:SET} oc.env:ODD
    oc.env: oc.decode:'[1,2]' oc.decode:1 oc.decode:${oc.env:NUMBER} oc.decode:null
    oc.decode:${number} oc.select:x oc.select:nothing,5 oc.select:a oc.create:${a} oc.dict.keys:a
    oc.dict.values:a test.double:2 test.double:${a.b} test.double:${x} test.parent: unknown:1
    test.list:
"""
register: Any = (
    OmegaConf.register_new_resolver
    if __version__.startswith("2.3")
    else OmegaConf.register_resolver
)
interpolations = st.sampled_from([f"${{{text}}}" for text in f"{REFERENCES} {RESOLVERS}".split()])
between = st.sampled_from(
    [
        "",
        "",
        "a",
        " ",
        "-",
        "/",
        "{",
        "}",
        "$",
        "\\",
        "'",
        '"',
        ",",
        ":",
        "é",
        "\n",
        "???",
        "1",
        "$$",
    ]
)
interpolated = st.lists(interpolations | between, min_size=1, max_size=5).map("".join)


@pytest.fixture(scope="module", autouse=True)
def resolvers() -> Any:
    register("test.double", lambda value: value * 2)
    register("test.parent", lambda *, _parent_: len(_parent_))
    register("test.list", lambda: [1, "x"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SET", "from env")
        patch.setenv("NUMBER", "7")
        patch.setenv("ODD", "a${x}???")
        patch.delenv("UNSET", raising=False)
        yield
    for name in ("double", "parent", "list"):
        OmegaConf.clear_resolver(f"test.{name}")


def make_config(text: str, other: str) -> dict[str, Any]:
    return {**TARGETS, "t": text, "u": {"t": other, "v": {"t": text}, "l": [text, {"t": other}]}}


def is_valid(config: dict[str, Any]) -> bool:
    """Whether it would be read from a file: OmegaConf refuses malformed interpolations."""
    try:
        OmegaConf.create(config)
    except OmegaConfBaseException:
        return False
    return True


def select_data(cfg: Any, key: str) -> Any:
    return to_data(select_node(cfg, key))


def check_interpolations(config: dict[str, Any]) -> None:
    cfg = OmegaConf.create(config)
    for key in ("t", "u.t", "u.v.t", "u.l.0", "u", "t.e"):
        expected = outcome(select_data, cfg, key)
        assert select_in_all_ways(config, key) == [expected, expected], key


@pytest.mark.filterwarnings("ignore:In the sequence")
@given(interpolated, interpolated)
def test_interpolations_as_omegaconf(text: str, other: str) -> None:
    config = make_config(text, other)
    assume(is_valid(config))
    check_interpolations(config)


@pytest.mark.filterwarnings("ignore:In the sequence")
@pytest.mark.parametrize("text", f"{REFERENCES} {RESOLVERS}".split())
def test_every_interpolation_as_omegaconf(text: str) -> None:
    for template in ("${%s}", "<${ %s }>", "${x}${%s}", "\\${%s}", "\\\\${%s}"):
        config = make_config(template % text, "${t}")
        if is_valid(config):
            check_interpolations(config)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${x}", "text"),
        ("${a.c.e}/${number}_${flag}-${none}", "1/1e-05_True-None"),
        ("${a.l[0]}${a.l.1}", "1text"),
        ("${..x}", "text"),
        ("${.v.t}${..a.b}", "u1"),
        ("${a.${name}}", 1),
        ("${whole.e}", 1),
        ("${chain}!", "<text>!"),
        ("${oc.env:SET}/${oc.env:UNSET,default}", "from env/default"),
        ("${oc.decode:${oc.env:NUMBER}}", 7),
        ("${a.c}", {"d": None, "e": 1, "x": "text"}),
        ("${a.l}", [1, "text", {"k": 1}]),
    ],
)
def test_what_is_resolved_without_omegaconf(
    text: str, value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(Configuration, "build_dictconfig")
    config = make_configuration({**TARGETS, "u": {"t": text, "v": {"t": "u"}}})
    assert Selector().select_data(config, "u.t") == value
    assert Selector().select_data(config, "u") == {"t": value, "v": {"t": "u"}}


def test_the_environment_is_read_again_by_each_call(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = make_runs({"home": "${oc.env:SET}"}, 2)
    assert runs.to_list("home") == ["from env", "from env"]
    monkeypatch.setenv("SET", "changed")
    assert runs.to_list("home") == ["changed", "changed"]
    assert runs[0].get("home") == "changed"


# One DictConfig for many runs --------------------------------------------------------------


def make_runs(config: dict[str, Any], n: int) -> RunCollection[Run]:
    infos = [RunInfo(Path(f"no/such/run{i}")) for i in range(n)]
    return RunCollection(
        make_run(Run, info, None, None, {**config, "i": i}) for i, info in enumerate(infos)
    )


# Keys in brackets are left to OmegaConf.


@given(st.lists(configs, min_size=1, max_size=4))
def test_one_selector_selects_as_new_dictconfigs_do(datas: list[Any]) -> None:
    selector = Selector()
    for data in datas:
        try:
            config = ConfigReader().read(dump(data))
        except ConfigError:
            continue
        for variant in (config, {**config, "seed": 1}, {**config, "seed": "${x}"}):
            cfg = build_dictconfig(variant)
            for name in variant:
                expected = outcome(select_data, cfg, f"[{name}]")
                selected = outcome(selector.select_data, make_configuration(variant), f"[{name}]")
                assert selected == expected


@given(st.lists(interpolated, min_size=1, max_size=4))
def test_one_selector_resolves_as_new_dictconfigs_do(texts: list[str]) -> None:
    selector = Selector()
    for text in texts:
        config = make_config(text, "${t}")
        assume(is_valid(config))
        for key in ("[t]", "[u]"):
            expected = outcome(select_data, build_dictconfig(config), key)
            assert outcome(selector.select_data, make_configuration(config), key) == expected


def test_resolvers_are_called_for_each_run() -> None:
    calls: list[int] = []
    register("test.count", lambda: calls.append(1) or len(calls))
    register("test.now", lambda: calls.append(1) or len(calls), use_cache=True)
    try:
        runs = make_runs({"count": "${test.count:}", "now": "${test.now:}"}, 3)
        assert runs.to_list("count") == [1, 2, 3]
        assert runs.to_series("count").to_list() == [4, 5, 6]
        assert runs.to_list("now") == [7, 8, 9]
        assert runs.to_list("now") == [7, 8, 9]  # a cached value is the run's own from then on
        assert [run.get("now") for run in runs] == [run.cfg.now for run in runs] == [7, 8, 9]
    finally:
        OmegaConf.clear_resolver("test.count")
        OmegaConf.clear_resolver("test.now")


@dataclass
class Typed:
    i: int = 0
    text: str = "${i}"


def test_config_class_converts_what_is_resolved(tmp_path: Path) -> None:
    write(tmp_path / "artifacts/.hydra/config.yaml", "i: 3\n")
    run = Run(tmp_path, config_class=Typed)
    assert RunCollection([run]).to_list("text") == ["3"]
    assert RunCollection([run]).to_frame()["text"].to_list() == ["3"]
    assert not get_configuration(run).has_dictconfig()
    assert run.get("text") == "3"


# Plain data as they are stored ------------------------------------------------------------

STORED = {
    "a": {"b": 1, "b.c": 2, "none": None, "text": "${a.b}", "list": [{"x": 3}, [4, 5]]},
    "a.d": {"e": 6},
    "m/e": 7,
    "m@p.q": 8,
    "[odd]": 9,
    0: {True: 10, "1": 11, 0.5: 12},
}


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("a.b", 1),
        ("a[b]", 1),
        ("[a].b", 1),
        ('["a"]["b"]', 1),
        ("a.b.c", 2),
        ("a['b.c']", 2),
        ("a.none", None),
        ("a.text", "${a.b}"),
        ("a.list", [{"x": 3}, [4, 5]]),
        ("a.list.0.x", 3),
        ("a.list[1][0]", 4),
        ("a.d.e", 6),
        ("m/e", 7),
        ("m@p.q", 8),
        ('["[odd]"]', 9),
        ("0.True", 10),
        ("0.1", 11),
        ("0.0.5", 12),
        ("b", MISSING),
        ("a.b.x", MISSING),
        ("a.list.2", MISSING),
        ("a.list.-1", MISSING),
        ("a.list.x", MISSING),
        ("a.none.x", MISSING),
        ("a.\u0665", MISSING),
        ("a.list.\u0661", MISSING),
    ],
)
def test_stored_values(key: str, expected: Any) -> None:
    assert select_stored(STORED, key) == expected


@pytest.mark.parametrize("data", [None, 3, "text", [], {}])
def test_where_nothing_is_stored(data: Any) -> None:
    assert select_stored(data, "a") is MISSING


@pytest.mark.parametrize("key", ["", ".a", "a.", "a..b", "a[", "a]", "a[b", "a[]", "a[[b]]"])
def test_keys_that_are_none(key: str) -> None:
    with pytest.raises(OptionError, match="expected names with dots between them, or in brackets"):
        select_stored(STORED, key)
