from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from kedro_hydraflow import Run, iter_run_dirs
from kedro_hydraflow.errors import ConfigError, KedroHydraflowError
from kedro_hydraflow.expansion import check_expansion, count_nodes
from kedro_hydraflow.limits import NODES_VARIABLE
from tests.conftest import TrackingDir


def double(first: str, later: str, n: int = 40) -> str:
    """Return YAML in which each key refers to the one before, which is named ``{0}``."""
    lines = [f"z0: {first}", *(f"z{i}: {later.format(f'z{i - 1}')}" for i in range(1, n))]
    return "\n".join([*lines, "small: 1", "sum: ${small}", ""])


LAUGHS = {
    "texts": double("lol", "${{{0}}}${{{0}}}"),
    "texts beside others": double("lol", "a-${{{0}}}-b-${{{0}}}"),
    "three times": double("lol", "${{{0}}}${{{0}}}${{{0}}}", 20),
    "lists": double("[lol, lol]", "[\"${{{0}}}\", \"${{{0}}}\"]"),
    "mappings": double("{a: lol}", "{{a: \"${{{0}}}\", b: \"${{{0}}}\"}}"),
    "a list of texts": double("lol", "[\"${{{0}}}\", \"${{{0}}}\"]"),
    "parts": double("{a: lol}", "{{a: \"${{{0}.a}}${{{0}.a}}\"}}"),
    "relative": double("lol", "${{.{0}}}${{.{0}}}"),
    "selected": double("lol", "${{oc.select:{0}}}${{oc.select:{0}}}"),
    "selected by quoted keys": double("lol", "${{oc.select:'{0}'}}${{oc.select:'{0}',1}}"),
    "decoded": double("lol", "${{oc.decode:${{{0}}}}}${{oc.decode:${{{0}}}}}"),
    "brackets": double("{a: [lol]}", "{{a: [\"${{{0}[a][0]}}${{{0}.a[0]}}\"]}}"),
    "aliases": "x: &x ${z39}\n" + double("lol", "${{{0}}}${{{0}}}") + "y: [*x, *x]\n",
    "by names": "n: a\n" + double("{a: lol}", "{{a: \"${{{0}.${{n}}}}${{{0}.${{n}}}}\"}}"),
    "a long text": f"big: {'x' * 90_000}\n" + double("${big}", "${{{0}}}${{{0}}}", 16),
    "many": "a: x\n" + "b: [" + ", ".join(["'${c}'"] * 900) + "]\nc: ["
    + ", ".join(["'${d}'"] * 900) + "]\nd: ['${a}', 2]\n",
}  # fmt: skip


@pytest.mark.timeout(120)
@pytest.mark.parametrize("text", LAUGHS.values(), ids=LAUGHS.keys())
@pytest.mark.parametrize("how", ["cfg", "get", "frame", "frame of all", "update"])
def test_doubling_interpolations_are_refused(
    tracking_dir: TrackingDir, text: str, how: str
) -> None:
    tracking_dir.add_run(tracking_dir.add_experiment("train"), "run", text)
    runs = Run.load(iter_run_dirs(tracking_dir.root), index=False)
    last = re.findall(r"^(\w+):", text, re.MULTILINE)[-1]
    last = "b" if last == "d" else "z39" if "z39" in text else re.findall(r"z\d+", text)[-1]
    use = {
        "cfg": lambda: OmegaConf.to_container(runs[0].cfg, resolve=True),
        "get": lambda: OmegaConf.to_yaml(OmegaConf.create({"a": runs[0].get(last)}), resolve=True),
        "frame": lambda: runs.to_frame(last),
        "frame of all": lambda: runs.to_frame(),
        "update": lambda: runs.update("new", lambda run: run.cfg[last]),
    }
    with pytest.raises(KedroHydraflowError, match=r"the key '\w[\w.]*': interpolations expand it"):
        use[how]()
    assert runs.to_list("small", None) == [1 if "small" in text else None]


@pytest.mark.parametrize("how", ["cfg", "get", "frame"])
def test_the_limit_is_raised_by_a_variable(
    tracking_dir: TrackingDir, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    text = double("lol", "${{{0}}}${{{0}}}", 12)
    tracking_dir.add_run(tracking_dir.add_experiment("train"), "run", text)
    monkeypatch.setenv(NODES_VARIABLE, "3000")
    (run,) = Run.load(iter_run_dirs(tracking_dir.root), index=False)
    with pytest.raises(ConfigError, match=f"more than 3,000 nodes, .* {NODES_VARIABLE} raises"):
        run.get("z11")
    monkeypatch.setenv(NODES_VARIABLE, "100000")
    assert run.get("z11") == "lol" * 2**11


USUAL = """\
n: 3
name: run-${n}
data: {root: /data, train: "${.root}/train", test: "${data.root}/test", all: [1, 2, "${n}"]}
models: {mlp: {size: 3}, cnn: {size: 4}}
which: mlp
model: ${models.${which}}
size: ${model.size}
copies: ["${data}", "${data}", "${model}"]
home: ${oc.env:HOME,none}
selected: ${oc.select:absent,5}
odd: ${oc.select:"data.root"} ${absent} ${a b} \\${n}
itself: ${itself}
circle: ${other}
other: ${circle}${circle}
"""


def test_usual_interpolations_are_not_refused() -> None:
    config: Any = OmegaConf.to_container(OmegaConf.create(USUAL.replace(" ${a b}", "")))
    check_expansion(config)
    many = {f"part{i}": config for i in range(50)}
    check_expansion({**config, **many})
    cfg = OmegaConf.create({f"k{i}": "${part}" for i in range(100)} | {"part": {"a": [1] * 1000}})
    check_expansion(OmegaConf.to_container(cfg))  # type: ignore[arg-type]


@pytest.mark.timeout(60)
def test_long_chains_and_circles_end() -> None:
    n = 300
    chain = {f"k{i}": f"${{k{i + 1}}}" for i in range(n)}
    check_expansion({**chain, f"k{n}": "end"})
    check_expansion({**chain, f"k{n}": "${k0}${k1}"})
    nested: Any = "${k0}"
    for _ in range(40):
        nested = {"a": [nested]}
    check_expansion({**chain, f"k{n}": nested})


def test_nodes_are_counted_up_to_a_limit() -> None:
    assert count_nodes({"a": [1, 2, {"b": "x" * 250}]}, 100) == 8
    assert count_nodes([[0] * 1000] * 1000, 100) < 2500


@pytest.mark.parametrize("index", ["9" * 5_000, "1" * 90_000])
def test_indexes_of_any_length(tmp_path: Path, index: str) -> None:
    (tmp_path / ".hydra").mkdir()
    (tmp_path / ".hydra/config.yaml").write_text(f"a: [1]\nb: ${{a.{index}}}\n")
    with pytest.raises(ConfigError, match="cannot resolve the key 'b'"):
        Run(tmp_path).get("b")
