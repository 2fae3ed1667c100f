from __future__ import annotations

import contextlib
import inspect
import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from kedro_hydraflow import yaml_reader
from kedro_hydraflow.config import build_dictconfig
from kedro_hydraflow.errors import ConfigError, OptionError
from kedro_hydraflow.limits import NODES_VARIABLE
from kedro_hydraflow.yaml_reader import ConfigReader, decode, load_yaml, one_line
from tests.conftest import SWEEP
from tests.fuzz.documents import (
    DOCUMENTS,
    REAL,
    WORDS,
    describe,
    dump,
    find_difference,
    load_reference,
)


def assert_reads_alike(data: bytes) -> None:
    """Check a new reader, what it remembers, and one that read similar documents before."""
    new, used = ConfigReader(), ConfigReader()
    for text in REAL:
        used.read(text.encode())
    difference = find_difference(data, new, new, used)
    assert difference is None, difference


@pytest.mark.parametrize("kind", DOCUMENTS)
@given(data=st.data())
def test_read_as_omegaconf(kind: str, data: st.DataObject) -> None:
    assert_reads_alike(data.draw(DOCUMENTS[kind]))


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


def test_tuples_beside_an_escaped_mark_for_a_missing_value() -> None:
    assert_reads_alike(b"a:\n  x: \\???\n  y: !!pairs [a: 1]\n")


def test_quoted_interpolations_are_checked_when_they_are_read() -> None:
    with pytest.raises(ConfigError, match="no viable alternative"):
        ConfigReader().read(b"a: '${'\nb: 1\n")


def test_mapping_that_merges_itself() -> None:
    assert_reads_alike(b"a: &a\n  <<: *a\n  x: 1\n")  # OmegaConf 2.3 reads it


def test_nesting_up_to_the_limit() -> None:
    depth = yaml_reader.MAX_DEPTH - 2
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


@pytest.mark.parametrize("text", [bomb(30, 10), merge_bomb(30, 10)])
def test_alias_bombs_name_the_largest_key(text: str) -> None:
    with pytest.raises(ConfigError, match=r"the key 'a29': aliases expand it to more than 300,000"):
        ConfigReader().read(text.encode())


LARGE = {
    "lines": "".join(f"k{i}: {i}\n" for i in range(1_000)),
    "lines of old computers": "".join(f"k{i}: {i}\r" for i in range(1_000)),
    "empty lines": "a: 1\n" + "\n" * 1_000,
    "items": "a:\n" + "- 1\n" * 1_000,
    "items in a line": "a: [" + "1," * 1_000 + "1]\n",
    "items without a bracket": "a: {" + ",".join(f"k{i}" for i in range(1_000)) + "}\n",
    "a block scalar": "a: |\n" + "  b\n" * 1_000,
    "quoted keys": "".join(f'"k{i}": {i}\n' for i in range(1_000)),
    "interpolations": "a: 1\nb: " + "${a}" * 500 + "\n",
    "dashes": "a:\n" + "- - - - - - 1\n" * 200 + "b: {}",
}


@pytest.mark.parametrize("text", LARGE.values(), ids=LARGE.keys())
def test_nodes_are_limited(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    ConfigReader().read(text.encode())
    monkeypatch.setenv(NODES_VARIABLE, "500")
    with pytest.raises(ConfigError, match=f"500 (nodes|lines), the limit .* {NODES_VARIABLE}"):
        ConfigReader().read(text.encode())
    monkeypatch.setenv(NODES_VARIABLE, "many")
    with pytest.raises(OptionError, match=f"{NODES_VARIABLE}: expected a number .* found 'many'"):
        ConfigReader().read(text.encode())


def test_nodes_are_limited_without_counting_them_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml_reader, "check_limits", lambda text: None)
    monkeypatch.setenv(NODES_VARIABLE, "500")
    with pytest.raises(ConfigError, match="more than 500 nodes"):
        ConfigReader().read(LARGE["items in a line"].encode())


def test_a_text_with_interpolations_is_limited() -> None:
    assert ConfigReader().read(f"a: 1\nb: {'x' * 99_990} ${{a}}\n".encode())["a"] == 1
    with pytest.raises(ConfigError, match=r"has 100,005 characters, at most 100,000 are parsed"):
        ConfigReader().read(f"a: 1\nb: {'x' * 100_000} ${{a}}\n".encode())


NESTED = {
    "names": ("${", "}"),
    "parts": ("${a.", "}"),
    "brackets": ("${a[", "]}"),
    "arguments": ("${x:", "}"),
    "later arguments": ("${oc.env:A,", "}"),
    "quoted": ("${x:'", "'}"),
    "quoted doubly": ('${x:"', '"}'),
    "quoted beside closings": ("${x:'}', '", "'}"),
    "lists": ("${x:[", "]}"),
    "mappings": ("${x:{a:", "}}"),
    "escapes": ("${x:\\}, ", "}"),
    "escaped backslashes": ("${x:'\\\\", "'}"),
    "spaces": ("${  a.", "  }"),
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize(("before", "after"), NESTED.values(), ids=NESTED.keys())
def test_nested_interpolations_are_limited(before: str, after: str) -> None:
    def make(depth: int) -> bytes:
        text = f"{before * depth}b{after * depth}".replace("'", "''")
        return f"z: 1\na: 'text {text} {text}'\n".encode()

    assert_reads_alike(make(yaml_reader.MAX_INTERPOLATION_DEPTH))
    for depth in (21, 400, 3_000):
        with pytest.raises(ConfigError, match="interpolations are nested deeper than 20 levels"):
            ConfigReader().read(make(depth))
    for n in (400, 3_000):
        with pytest.raises(ConfigError, match="interpolations are nested deeper than 20 levels"):
            ConfigReader().read(f"a: |-\n  {before * n}\n".encode())


@pytest.mark.parametrize(
    "part",
    [
        "${a}",
        "${a} }",
        "\\${a",
        "\\\\\\${a ",
        "\\\\${a}",
        "${x:'}'}",
        '${x:"}"}',
        "${x:'\\''}",
        "${x:'\\${'}",
        "${x:\\}}",
        "${x:{a: '}'}}",
        "${${a}.${b}}",
        "'${a}",
    ],
)
def test_many_interpolations_beside_each_other(part: str) -> None:
    text = (part * 30).replace("'", "''")
    assert_reads_alike(f"z: 1\na: '{text}'\n".encode())


@pytest.mark.timeout(60)
def test_spaces_in_interpolations_are_limited() -> None:
    assert_reads_alike(b"a: '${" + b" " * 1_000 + b"b}'\nb: 1\n")
    for n in (1_001, 90_000):
        with pytest.raises(ConfigError, match="interpolation begins with more than 1,000 spaces"):
            ConfigReader().read(b"a: '${" + b" " * n + b"b}'\nb: 1\n")


def test_interpolations_of_any_depth_are_text_in_results() -> None:
    for text in ("${" * 40, "${a." * 40 + "b" + "}" * 40, "${" + " " * 2_000 + "a}"):
        assert ConfigReader().read_data(f"a: '{text}'\n".encode()) == {"a": text}


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "text",
    [
        "a: " + "x" * 1_000_000 + "\n",
        'a: "' + "x y" * 300_000 + '"\n',
        "a: '" + "''" * 300_000 + "'\n",
        "a: 1\n# " + "x" * 1_000_000 + "\n",
        "a: " + "/a" * 500_000 + "\n",
        "a: " + "a: " * 500 + "\n",
        "a: " + "-" * 1_000_000 + "\n",
        "a: " + "1" * 1_000_000 + "\n",
        "a" * 1_000_000 + ": 1\n",
    ],
    ids=lambda text: text[:6],
)
def test_long_values_take_memory_in_proportion(text: str) -> None:
    reader = ConfigReader()
    tracemalloc.start()
    try:
        with contextlib.suppress(ConfigError):
            reader.read(text.encode())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 50 * len(text) + 1_000_000


LONG_INTEGERS = {
    "decimal": "9" * 4_301,
    "negative": "-" + "9" * 4_301,
    "with underscores": "1_" * 4_300 + "1",
    "hexadecimal": "0x" + "f" * 3_572,
    "binary": "0b" + "1" * 14_285,
    "octal": "0" + "7" * 4_762,
    "sexagesimal": "59:" * 2_418 + "59",
    "tagged": "!!int '" + "9" * 5_000 + "'",
    "of great length": "9" * 300_000,
    "of great length in base 60": "1:" * 300_000 + "1",
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("text", LONG_INTEGERS.values(), ids=LONG_INTEGERS.keys())
@pytest.mark.parametrize("place", ["{}", "[1, {}]", "{{? {} : 1}}"])
def test_integers_that_python_does_not_write(text: str, place: str) -> None:
    data = f"z: 1\na: {place.format(text)}\n".encode()
    for read in (ConfigReader().read, ConfigReader().read_data):
        with pytest.raises(ConfigError, match=r"^line 2: an integer has more than 4,300 digits: "):
            read(data)


@pytest.mark.parametrize(
    "text", ["9" * 4_300, "0x" + "f" * 3_570, "0b" + "1" * 14_284, "59:" * 2_400 + "5", "_" * 9_000]
)
def test_integers_up_to_the_limit(text: str) -> None:
    assert_reads_alike(f"a: {text}\nb: 1\n".encode())


@pytest.mark.parametrize("tagged", ["'x" + "y" * 9_000 + "'", "[" + "1, " * 3_000 + "]"])
def test_tagged_values_that_are_no_integers(tagged: str) -> None:
    with pytest.raises(ConfigError, match=r"invalid literal|expected a scalar node"):
        ConfigReader().read(f"a: !!int {tagged}\n".encode())


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
    """The texts that went to the complete loader, but for single scalars."""
    texts: list[str] = []
    load_yaml = yaml_reader.load_yaml

    def load(text: str) -> Any:
        if not text.startswith("- "):
            texts.append(text)
        return load_yaml(text)

    monkeypatch.setattr(yaml_reader, "load_yaml", load)
    return texts


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


NESTED_BLOCKS = {
    "a:\n    b: 1\nc:\n  d: 2\n": {"a": {"b": 1}, "c": {"d": 2}},
    "a:\n  b:\n    c: 1\n  d:\ne: 2\n": {"a": {"b": {"c": 1}, "d": None}, "e": 2},
    "a:\n- 1\nb: 2\n": {"a": [1], "b": 2},
    "a:\n  - 1\n  - b\nc: 2\n": {"a": [1, "b"], "c": 2},
    "a:\n- b: 1\n  c: 2\n- b: 3\n- 4\n": {"a": [{"b": 1, "c": 2}, {"b": 3}, 4]},
    "a:\n- 0: x\n- 1: y\n": {"a": [{0: "x"}, {1: "y"}]},
    "a:\n- b:\n  - 1\n  c:\n- b:\n    d: 2\n": {"a": [{"b": [1], "c": None}, {"b": {"d": 2}}]},
    "a:\n- - 1\n  - 2\n- - - 3\n  - b: 4\n": {"a": [[1, 2], [[3], {"b": 4}]]},
    "a:\n  b: []\n  c: {}\n  d: a b\n  e: x:y\n": {"a": {"b": [], "c": {}, "d": "a b", "e": "x:y"}},
}


@pytest.mark.parametrize(("text", "expected"), NESTED_BLOCKS.items())
def test_nested_blocks_need_no_complete_loader(
    text: str, expected: Any, completely_read: list[str]
) -> None:
    assert repr(ConfigReader().read(text.encode())) == repr(expected)
    assert completely_read == []


UNUSUAL = {
    "a: 1\n-b: 2\nc: 3\n": {"a": 1, "-b": 2, "c": 3},
    "a: x\n  y\nb: 1\n": {"a": "x y", "b": 1},
    "a:\n- x\n  y\nb: 1\n": {"a": ["x y"], "b": 1},
    "a:\n  - x\n  -  y: 1\n": {"a": ["x", {"y": 1}]},
    f"{'a' * 257}: {'b' * 257}\n": {"a" * 257: "b" * 257},
    f"a:\n{' ' * 256}b: 1\n{' ' * 256}c: 2\n": {"a": {"b": 1, "c": 2}},
    "a: 1\n\n\nb:\n\n  c: 2\n": {"a": 1, "b": {"c": 2}},
    "yes: 1\n'yes': 2\n": {True: 1, "yes": 2},
    "a: {b: 1, c: [x]}\nd: 1.\n": {"a": {"b": 1, "c": ["x"]}, "d": 1.0},
}


@pytest.mark.parametrize(("text", "expected"), UNUSUAL.items())
def test_unusual_blocks(text: str, expected: Any) -> None:
    assert repr(ConfigReader().read(text.encode())) == repr(expected)


@pytest.mark.parametrize(
    "text",
    [
        "a:\n    b: 1\nc:\n  d: 1\n    e: 2\n",
        "a:\n    b: 1\n  c: 2\n",
        "a:\n  - 1\n - 2\n",
        "a:\n- 1\nb: 2\n- 3\n",
        "a: x\n- y\n",
        "a: null\n  b: 1\n",
        "a:\n- x\n  b: 1\n",
        "a:\n- b: 1\n c: 2\n",
        "a:\n  b: 1\n- 2\n",
        "  a: 1\nb: 2\n",
        "- 1\nb: 2\n",
        "a: 1\nb: 2\na: 3\n",
        "a:\n  b: 1\n  c:\n    d: 1\n  b:\n    e: 1\n",
        "a:\n- b: 1\n  b: 2\n",
    ],
)
def test_margins_and_keys_that_do_not_fit_are_errors(text: str) -> None:
    reader = ConfigReader()
    reader.read(b"a: 1\nb: 2\nc:\n  d: 1\n")
    with pytest.raises(ConfigError, match=r"line \d+, column \d+|duplicate key"):
        reader.read(text.encode())


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


def test_keys_are_the_same_objects() -> None:
    reader = ConfigReader()
    first, second = (
        next(iter(reader.read(dump({"model": {"learning_rate": rate}}))["model"]))
        for rate in (0.1, 0.2)
    )
    assert first is second


def write_distinct(i: int) -> bytes:
    """Return a configuration of 100 pieces that has nothing in common with others."""
    piece = "k{i}_{k}:\n  x: {i}\n  y{i}_{k}: 0.5\n  z:\n  - {i}\n  - u: {k}\n"
    return "".join(piece.format(i=i, k=k) for k in range(100)).encode()


def test_memory_is_bounded() -> None:
    """It holds the pieces of 20 of these configurations."""
    reader = ConfigReader()
    texts = list(map(write_distinct, range(80)))
    sizes = []
    tracemalloc.start()
    try:
        for text in texts:
            reader.read(text)
            sizes.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert max(sizes[40:]) < 1.2 * max(sizes[:40])


def test_what_all_runs_of_a_large_sweep_have_is_the_same_object() -> None:
    reader = ConfigReader()
    configs = [reader.read(f"seed: {seed}\nmodel:\n  type: mlp\n".encode()) for seed in range(5000)]
    assert [config["seed"] for config in configs] == [*range(5000)]
    assert len({id(config["model"]) for config in configs}) == 1


def test_threads_share_a_reader() -> None:
    reader = ConfigReader()
    texts = list(map(write_distinct, range(40)))
    expected = [ConfigReader().read(text) for text in texts]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            assert list(pool.map(reader.read, texts)) == expected


def test_the_pieces_of_a_sweep_are_read_once(completely_read: list[str]) -> None:
    model = {"type": "mlp", "sizes": [1, 2], "text": "two\nlines\n"}
    documents = [
        {"model": model, "training": {"lr": lr, "resume": None}, "seed": seed, "debug": False}
        for lr in (0.1, 1e-05)
        for seed in range(20)
    ]
    reader = ConfigReader()
    configs = [
        reader.read(OmegaConf.to_yaml(OmegaConf.create(data)).encode()) for data in documents
    ]
    assert configs == documents
    assert len({id(config["model"]) for config in configs}) == 1
    assert len({id(config["training"]) for config in configs}) == 2
    assert [text.split(":")[0] for text in completely_read] == ["model"]


def test_no_recursion_error_deep_in_the_stack() -> None:
    data = "".join(f"{' ' * i}a:\n" for i in range(40)).encode()

    def at(depth: int) -> Any:
        return at(depth - 1) if depth else ConfigReader().read(data)

    with contextlib.suppress(ConfigError):  # how much it needs depends on the Python
        at(sys.getrecursionlimit() - len(inspect.stack(0)) - 60)


# Data that are no configuration ----------------------------------------------------------


@pytest.mark.parametrize("kind", DOCUMENTS)
@given(data=st.data())
def test_data_are_what_the_loader_gives(kind: str, data: st.DataObject) -> None:
    content = data.draw(DOCUMENTS[kind])
    reader = ConfigReader()
    try:
        loaded = load_yaml(decode(content, 10**6))
    except ConfigError:
        loaded = None
    for _ in range(2):  # the second time with what it remembers
        try:
            found = reader.read_data(content)
        except ConfigError:
            found = None
        if type(loaded) is not dict:
            assert found is None
        elif found is None:
            assert not is_accepted(content)
        else:
            assert repr(found) == repr(loaded)


def is_accepted(content: bytes) -> bool:
    try:
        ConfigReader().read(content)
    except ConfigError:
        return False
    return True


@pytest.mark.parametrize("loader", [yaml.SafeLoader, getattr(yaml, "CSafeLoader", yaml.SafeLoader)])
def test_messages_do_not_quote_the_text(loader: type) -> None:
    with pytest.raises(yaml.YAMLError) as raised:
        yaml.load("a: b: my secret", loader)
    assert "line 1, column 5" in one_line(raised.value)
    assert "secret" not in one_line(raised.value) + str(raised.value)
