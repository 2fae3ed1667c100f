"""Which files are read as data, and what is read."""

from __future__ import annotations

import json
import math
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kedro_hydraflow.errors import ConfigError, OptionError
from kedro_hydraflow.limits import NODES_VARIABLE
from kedro_hydraflow.stores.parsed_files import HYDRA_FILES, ParsedFile, make_results_file
from tests.conftest import HYDRA_SWEEP


def parse(content: bytes | str, path: str = "result.json") -> Any:
    file = make_results_file(path)
    assert file is not None
    return file.make_parser()(content.encode() if isinstance(content, str) else content)


# The option ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "path"),
    [
        ("result.json", "result.json"),
        ("./out//a b.YAML", "out/a b.YAML"),
        ("out/metrics.yml", "out/metrics.yml"),
        ("..a/b..json", "..a/b..json"),
        (".hydra/hydra.yaml", ".hydra/hydra.yaml"),
    ],
)
def test_the_option_names_a_file(option: str, path: str) -> None:
    assert make_results_file(option) == ParsedFile("results", path)


def test_no_option_is_no_file() -> None:
    assert make_results_file(None) is None


@pytest.mark.parametrize(
    "option",
    [
        *("", ".", "..", "result", "result.csv", "out/", "../result.json", "a/../result.json"),
        *("/result.json", "//host/result.json", "C:/result.json", "C:result.json", "a\\b.json"),
        *("s3://bucket/result.json", "file:///result.json", 3, True, [], ["a.json"], b"a.json"),
        Path("result.json"),
        PurePosixPath("a.json"),
    ],
)
def test_other_options_are_refused(option: Any) -> None:
    with pytest.raises(OptionError) as raised:
        make_results_file(option)
    assert str(raised.value) == (
        "results: expected the path of a file in each run's artifacts directory that ends in "
        f".json, .yaml or .yml, such as result.json, found {option!r}"
    )


def test_the_files_of_hydra() -> None:
    job = HYDRA_SWEEP / "multirun/2026-11-25/23-01-50/3"
    read = {kind: f.make_parser()((job / f.path).read_bytes()) for kind, f in HYDRA_FILES.items()}
    assert read["hydra"]["job"]["num"] == 3
    assert read["overrides"] == ["model=cubic", "optim.lr=0.5", "seed=2"]


# What is read --------------------------------------------------------------------------------

VALUES: dict[str, Any] = {
    "number": 0.5,
    "whole": 3,
    "text": "1e-3",
    "is_good": False,
    "nothing": None,
    "list": [1, [2.5], {"a": "b"}],
    "mapping": {"val": {"loss": 0.25}, "val.loss": 0.125, "": 1},
    "interpolation": "${seed}",
    "malformed": "${seed",
    "missing": "???",
    "umlaut": "ä",
    "empty": {},
}


@pytest.mark.parametrize("indent", [None, 2])
def test_all_types_of_json(indent: int | None) -> None:
    read = parse(json.dumps(VALUES, indent=indent))
    assert repr(read) == repr(VALUES)
    assert repr(parse(b"\xef\xbb\xbf" + json.dumps(VALUES, ensure_ascii=False).encode())) == (
        repr(VALUES)
    )


def test_the_same_in_yaml() -> None:
    text = (
        'number: 0.5\nwhole: 3\ntext: "1e-3"\nis_good: no\nnothing:\nlist:\n- 1\n- - 2.5\n- a: b\n'
        "mapping:\n  val:\n    loss: 0.25\n  val.loss: 0.125\n  '': 1\ninterpolation: ${seed}\n"
        "malformed: ${seed\nmissing: ???\numlaut: ä\nempty: {}\n"
    )
    assert repr(parse(text, "a.yaml")) == repr(parse(text, "a.YML")) == repr(VALUES)
    assert repr(parse(text.replace("\n", "\r\n"), "a.yaml")) == repr(VALUES)
    assert repr(parse("\ufeff" + json.dumps(VALUES), "a.yaml")) == repr(VALUES)


def test_what_is_not_finite() -> None:
    for text, path in (
        ('{"a": NaN, "b": Infinity, "c": -Infinity, "d": 1e999}', "a.json"),
        ("a: .nan\nb: .inf\nc: -.inf\nd: .Inf\n", "a.yaml"),
    ):
        read = parse(text, path)
        assert math.isnan(read["a"])
        assert (read["b"], read["c"], read["d"]) == (math.inf, -math.inf, math.inf)


def test_keys_and_dates_of_yaml() -> None:
    read = parse("0: 1\n0.5: 2\ntrue: 3\nday: 2026-11-25\nsame: &x [1]\nagain: *x\n", "a.yaml")
    assert read == {0: 1, 0.5: 2, True: 3, "day": "2026-11-25", "same": [1], "again": [1]}


_SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
_DATA = st.dictionaries(
    st.text(),
    st.recursive(_SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)),
)


@given(_DATA)
def test_whatever_json_writes_is_read(data: dict[str, Any]) -> None:
    assert repr(parse(json.dumps(data))) == repr(data)


@pytest.mark.parametrize(
    ("content", "path", "message"),
    [
        (b"", "a.json", r"expected JSON: Expecting value: line 1"),
        (b'{"loss": 0.', "a.json", r"expected JSON: "),
        (b'{"loss": 1}\n{"loss": 2}\n', "a.json", r"expected JSON: Extra data: line 2"),
        (b"loss: 1\n", "a.json", r"expected JSON: "),
        (b'{"a": ' + b"1" * 5000 + b"}", "a.json", r"an integer has more than 4,300 digits"),
        (b"[1, 2]", "a.json", r"expected a mapping at the top, found list"),
        (b"null", "a.json", r"expected a mapping at the top, found null"),
        (b"0.5", "a.json", r"expected a mapping at the top, found float"),
        (b'{"a": 1, "b": {"a": 2, "a": 2}}', "a.json", r"the key 'a' occurs twice"),
        (b'{"b": 1, "a": 2, "a": 2}', "a.json", r"the key 'a' occurs twice"),
        (b'{"a": "\xff"}', "a.json", r"expected UTF-8 text"),
        ('{"a": 1}'.encode("utf-16"), "a.json", r"expected UTF-8 text"),
        (b"", "a.yaml", r"expected a mapping at the top, found null"),
        (b"# nothing\n", "a.yaml", r"expected a mapping at the top, found null"),
        (b"text\n", "a.yaml", r"expected a mapping at the top, found str"),
        (b"- 1\n", "a.yaml", r"expected a mapping at the top, found list"),
        (b"a: 1\na: 1\n", "a.yaml", r"found duplicate key a"),
        (b"a: [1,\n", "a.yaml", r"while parsing"),
        (b"a: \xff\n", "a.yaml", r"expected UTF-8 text"),
        (b"a: 1\n---\nb: 2\n", "a.yaml", r"expected a single document"),
        (b"a: !!timestamp 2026-11-25\n", "a.yaml", r"found a date or another type of YAML"),
        (b"a: !!set {b}\n", "a.yaml", r"found a date or another type of YAML"),
        (b"? [1]\n: 2\n", "a.yaml", r"(?s)."),
        (b"a: &x\n  b: *x\n", "a.yaml", r"recursive|itself"),
    ],
)
def test_no_results(content: bytes, path: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(content, path)


def nest(depth: int) -> bytes:
    return b'{"a":' * (depth - 1) + b"{}" + b"}" * (depth - 1)


@pytest.mark.parametrize("path", ["a.json", "a.yaml"])
def test_the_depth_is_limited(path: str) -> None:
    assert json.dumps(parse(nest(50), path), separators=(",", ":")).encode() == nest(50)
    for depth in (51, 100_000):
        with pytest.raises(ConfigError, match="nested deeper than 50 levels"):
            parse(nest(depth), path)
    with pytest.raises(ConfigError, match="nest"):  # each version of OmegaConf has its own words
        parse(b'{"a":' + b"[" * 200_000, path)


def test_the_size_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NODES_VARIABLE, "10")
    assert parse(json.dumps({"a": list(range(9))})) == {"a": list(range(9))}
    for values in (list(range(10)), [[]] * 10, [{}] * 1_000, ['\\"', "["] * 1_000):
        with pytest.raises(ConfigError, match=f"more than 10 nodes, the limit .* {NODES_VARIABLE}"):
            parse(json.dumps({"a": values}))
    text = ',[{"\\' * 1_000
    assert parse(json.dumps({"a": text})) == {"a": text}


@pytest.mark.parametrize("path", ["a.json", "a.yaml"])
def test_digits_are_limited(path: str) -> None:
    longest = 10**4_300 - 1
    assert parse(f'{{"a": [{longest}]}}', path) == {"a": [longest]}
    with pytest.raises(ConfigError, match=r"an integer has more than 4,300 digits: 9999999999"):
        parse(f'{{"a": [{longest}9]}}', path)


@pytest.mark.timeout(60)
def test_json_that_does_not_end_is_refused_in_linear_time() -> None:
    for piece in ('"', '\\"', "[,", '"\\"', '{"a":"'):
        with pytest.raises(ConfigError):
            parse(f'{{"a": "{piece * 500_000}')
