"""CONTRIBUTING.md names what is there: each module once, existing places, a store that works."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

from kedro_hydraflow import Run
from kedro_hydraflow.loading import LoadOptions, load_runs
from kedro_hydraflow.run_info import make_info
from kedro_hydraflow.storage import locate
from kedro_hydraflow.stores.base import UntrackedStore
from tests.conftest import ROOT, write

PAGE = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
PACKAGE = ROOT / "src" / "kedro_hydraflow"
WAY = PAGE.partition("\n## The way of the data\n")[2].partition("\n##")[0]


def find_file(name: str) -> Path:
    """Return a file that the page names, relative to the package or to the project."""
    (path,) = [folder / name for folder in (PACKAGE, ROOT) if (folder / name).exists()]
    return path


def find_names(body: list[ast.stmt]) -> dict[str, list[ast.stmt]]:
    """Return the names that statements define, each with the body of what it names."""
    names: dict[str, list[ast.stmt]] = {}
    for statement in body:
        match statement:
            case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
                names[statement.name] = statement.body
            case ast.AnnAssign(target=ast.Name(id=name)):
                names[name] = []
            case ast.Assign(targets=targets):
                names.update({t.id: [] for t in targets if isinstance(t, ast.Name)})
    return names


def test_the_way_of_the_data_names_each_module_once() -> None:
    modules = [path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py")]
    expected = Counter(name for name in modules if not name.endswith("__init__.py"))
    assert Counter(re.findall(r"`((?:\w+/)?\w+\.py)`", WAY)) == expected


@pytest.mark.parametrize("place", sorted(set(re.findall(r"`([\w/.]+\.py::[\w.]+)`", PAGE))))
def test_named_places_exist(place: str) -> None:
    file, _, dotted = place.partition("::")
    body = ast.parse(find_file(file).read_text("utf-8")).body
    for name in dotted.split("."):
        names = find_names(body)
        assert name in names, f"{place}: expected one of {sorted(names)}"
        body = names[name]


def test_places_are_named() -> None:
    assert len(re.findall(r"`[\w/.]+\.py::[\w.]+`", PAGE)) > 25


@pytest.mark.parametrize(
    "name", sorted(set(re.findall(r"`((?:tests|docs|conf|examples|benchmarks)/[\w/.]*)`", PAGE)))
)
def test_named_files_exist(name: str) -> None:
    assert (ROOT / name).exists()


def test_named_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z0-9-]+)", PAGE)) - targets == set()


def test_the_worked_example_of_a_store(tmp_path: Path) -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    names: dict[str, type[UntrackedStore]] = {}
    exec(compile(code, "CONTRIBUTING.md", "exec"), names)
    for name, lr in [("train/a", 1), ("train/b", 2), ("eval/a", 3)]:
        write(tmp_path / name / "params.yaml", f"lr: {lr}\n")
    write(tmp_path / "train" / "notes.txt", "no run")
    store = names["PlainStore"](locate(tmp_path))

    found = store.find_experiments("t*")
    assert (found.names, found.other_names) == (["train"], ["eval"])
    listing = store.list_runs(store.find_experiments().matching)
    records = store.read_runs(listing.experiments).records
    runs = load_runs([make_info(record, store) for record in records], Run, LoadOptions()).runs
    assert runs.to_frame("job_name", "run_id", "lr").rows() == [
        ("eval", "a", 3),
        ("train", "a", 1),
        ("train", "b", 2),
    ]
