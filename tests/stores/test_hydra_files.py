"""Hydra's own configuration and the overrides, as OmegaConf reads them."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from kedro_hydraflow.errors import ConfigError
from kedro_hydraflow.stores.hydra_files import HydraReader, parse_overrides
from tests.conftest import HYDRA_SWEEP, SWEEP


def list_files(name: str) -> list[Path]:
    files = [file for root in (HYDRA_SWEEP, SWEEP) for file in root.rglob(f".hydra/{name}")]
    assert len(files) == 50
    return files


def test_real_hydra_files() -> None:
    reader = HydraReader()  # which remembers what they share
    for file in list_files("hydra.yaml"):
        expected = OmegaConf.to_container(OmegaConf.load(file))["hydra"]  # type: ignore[index,call-overload]
        assert reader.read(file.read_bytes()) == expected


def test_real_overrides() -> None:
    for file in list_files("overrides.yaml"):
        assert parse_overrides(file.read_bytes()) == OmegaConf.to_container(OmegaConf.load(file))


@pytest.mark.parametrize(
    "text",
    [
        "hydra:\n  job:\n    name: a\n",
        "hydra:\r\n  job:\r\n    name: a\r\n",
        "hydra:\n  help: 'two\n\n    lines'\n  job: {num: 3}\n\n",
        "hydra:\n  a: 1\nb: 2\n",
        "b: 2\nhydra:\n  a: 1\n",
        "hydra:\n    a: 1\n    b: [x, '${a}']\n    c: ???\n",
        "hydra: {a: 1}\n",
        "hydra:\n  a: |\n    text\n    more\n  b: 1",
        "# comment\nhydra:\n  a: 1\n",
        "hydra:\n  # comment\n  a: 1\n",
        "hydra:\n  a: &x {b: 1}\n  c: *x\n",
    ],
)
def test_any_form_of_a_mapping(text: str) -> None:
    expected = OmegaConf.to_container(OmegaConf.create(text.replace("\r", "")))
    assert HydraReader().read(text.encode()) == expected["hydra"]  # type: ignore[index,call-overload]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected a mapping at the key 'hydra', found None"),
        (b"hydra: 3\n", "expected a mapping at the key 'hydra', found 3"),
        (b"hydra:\n", "expected a mapping at the key 'hydra', found None"),
        (b"hydra:\n  null\n", "expected a mapping at the key 'hydra', found None"),
        (b"a: 1\n", "expected a mapping at the key 'hydra', found None"),
        (b"- a\n", "expected a mapping at the top, found list"),
        (b"hydra:\n  a: [\n", "expected"),
        (b"hydra:\n  a: \xff\n", "expected UTF-8 text"),
    ],
)
def test_no_mapping(content: bytes, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        HydraReader().read(content)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[]\n", []),
        ("- seed=5\n- +a.b@c=1e-3\n", ["seed=5", "+a.b@c=1e-3"]),
        ("- seed=5", ["seed=5"]),
        ("- ~model\n- 'a: b'\n- x=[1,2]\n", ["~model", "a: b", "x=[1,2]"]),
        ("- 'title=\"a b\"'\n- 1\n- null\n", ['title="a b"', "1", "null"]),
        ("- '+note=''v2: a\n  folded line'''\n", ["+note='v2: a folded line'"]),
    ],
)
def test_overrides(text: str, expected: list[str]) -> None:
    assert parse_overrides(text.encode()) == expected


@pytest.mark.parametrize("content", [b"", b"a: 1\n", b"text\n", b"- [a]\n", b"- a: 1\n"])
def test_no_overrides(content: bytes) -> None:
    with pytest.raises(ConfigError, match="expected a list of overrides, such as '- seed=5'"):
        parse_overrides(content)


@pytest.mark.parametrize("content", [b"- [\n", b"[" * 200_000, b"- a\x00b\n"])
def test_malformed_overrides(content: bytes) -> None:
    with pytest.raises(ConfigError):
        parse_overrides(content)
