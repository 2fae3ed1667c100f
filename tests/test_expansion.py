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


REFERRING_TO_THEMSELVES = {
    "to a part": '"' + "${a.b}" * 40 + '"',
    "in turn": '"' + "${b.x}" * 40 + '"\nb: "' + "${a.x}" * 40 + '"',
    "nested": '"' + "${a." * 15 + "b" + "}" * 15 + '"',
    "in a mapping": '{x: "' + "${a.x.y}" * 40 + '"}',
    "in a list": '["' + "${a.0.0}${a.0.0.1}" * 20 + '"]',
    "by a resolver": '"' + "${oc.select:a.b}" * 40 + '"',
}


@pytest.mark.parametrize("on_error", ["raise", "warn"])
@pytest.mark.parametrize(
    "value", REFERRING_TO_THEMSELVES.values(), ids=REFERRING_TO_THEMSELVES.keys()
)
def test_values_that_refer_to_themselves_hide_no_others(
    tracking_dir: TrackingDir, value: str, on_error: Any
) -> None:
    experiment = tracking_dir.add_experiment("train")
    tracking_dir.add_run(experiment, "bad", f"a: {value}\nseed: 1\n")
    tracking_dir.add_run(experiment, "good", "a: 2\nseed: 2\n")
    runs = Run.load(iter_run_dirs(tracking_dir.root), index=False, on_error=on_error)
    assert runs.to_list("seed") == [1, 2]
    assert runs.to_frame().height == 2
    assert runs.filter("seed == 2").to_list("a") == [2]
    assert runs[0].cfg.seed == 1
    for use in (
        lambda: runs[:1].to_frame("a"),
        lambda: runs.to_frame("a"),
        lambda: runs.filter("a == 2"),
    ):
        with pytest.raises(KedroHydraflowError, match="run bad: cannot resolve the key 'a'"):
            use()


def nest(opening: str, closing: str, n_keys: int, n_levels: int) -> str:
    """Return YAML of nested values, in each of which the next one is innermost."""
    values = [f"{opening * n_levels}'${{k{i + 1}}}'{closing * n_levels}" for i in range(n_keys)]
    return "".join(f"k{i}: {v}\n" for i, v in enumerate([*values, "1"]))


@pytest.mark.parametrize("n_keys", [5, 25])
@pytest.mark.parametrize(("opening", "closing"), [("{a: ", "}"), ("[", "]")])
def test_values_that_interpolations_nest_too_deeply(
    tracking_dir: TrackingDir, opening: str, closing: str, n_keys: int
) -> None:
    experiment = tracking_dir.add_experiment("train")
    tracking_dir.add_run(experiment, "run", nest(opening, closing, n_keys, 40))
    tracking_dir.add_run(experiment, "small", nest(opening, closing, 2, 40))
    runs = Run.load(iter_run_dirs(tracking_dir.root), index=False)
    with pytest.raises(ConfigError, match=r"run run: cannot resolve the key 'k0': .*(nest|refer)"):
        runs.to_data("k0")
    (value,) = runs[1:].to_data("k0")
    for _ in range(80):
        value = value["a"] if isinstance(value, dict) else value[0]
    assert value == 1
    assert runs.to_frame().height == 2


def through(n_hops: int) -> dict[str, Any]:
    """Return mappings whose value refers twice to that of the one before, through others."""
    config: dict[str, Any] = {"z0": {"a": "lol"}}
    for i in range(1, 40):
        names = [*(f"h{i}_{j}" for j in range(n_hops)), f"z{i - 1}"]
        config |= {name: f"${{{names[j + 1]}}}" for j, name in enumerate(names[:-1])}
        config[f"z{i}"] = {"a": f"${{{names[0]}.a}}${{{names[0]}.a}}"}
    return config


def create() -> dict[str, Any]:
    names = [(f"z{i}", f"z{i - 1}.x") for i in range(1, 40)]
    created = {z: f"${{oc.create:{{x:'${{{x}}}${{{x}}}'}}}}" for z, x in names}
    return {"z0": {"x": "lol"}, **created}


def choose() -> dict[str, Any]:
    config: dict[str, Any] = {"n": "b", "y0": {"a": 1, "b": {"x": "lol"}}}
    for i in range(1, 40):
        config[f"z{i}"] = f"${{y{i - 1}.${{n}}}}"
        config[f"y{i}"] = {"a": 1, "b": {"x": f"${{z{i}.x}}${{z{i}.x}}"}}
    return config


@pytest.mark.parametrize(
    "config", [through(1), through(15), through(50), create(), choose()], ids=lambda c: len(c)
)
def test_parts_of_what_an_interpolation_stands_for(config: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="interpolations expand it to more than 300,000 nodes"):
        check_expansion(config)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "reference",
    ["${oc.select:${n}}", "${a.${n}}", "${a.k%d}", "${b.%d}", "${c.%d}", "${c.x%d}"],
)
def test_many_references_beside_many_keys(reference: str) -> None:
    n = 30_000
    names = {f"k{i}": 1 for i in range(n)}
    parts = {"a": names, "b": [1] * n, "c": dict.fromkeys(range(n), 1)}
    references = [reference.replace("%d", str(i)) for i in range(5_000)]
    others = names if "select" in reference else parts
    check_expansion({**others, "n": "k1", "texts": references})


def test_nodes_are_counted_up_to_a_limit() -> None:
    assert count_nodes({"a": [1, 2, {"b": "x" * 250}]}, 100) == 8
    assert count_nodes([[0] * 1000] * 1000, 100) < 2500


@pytest.mark.parametrize("index", ["9" * 5_000, "1" * 90_000])
def test_indexes_of_any_length(tmp_path: Path, index: str) -> None:
    (tmp_path / ".hydra").mkdir()
    (tmp_path / ".hydra/config.yaml").write_text(f"a: [1]\nb: ${{a.{index}}}\n")
    with pytest.raises(ConfigError, match="cannot resolve the key 'b'"):
        Run(tmp_path).get("b")
