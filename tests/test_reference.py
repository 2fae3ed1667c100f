"""The pages under Reference in docs/ say what the code says. Of options: `test_options.py`."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import kedro_hydraflow
from kedro_hydraflow import Run, datasets, errors
from kedro_hydraflow.cache_dir import CACHE_DIR_VARIABLE
from kedro_hydraflow.keys import identify, parse_key
from kedro_hydraflow.limits import (
    CACHE_SIZE_VARIABLE,
    FILE_SIZE_VARIABLE,
    NODES_VARIABLE,
    QUERY_SECONDS_VARIABLE,
    QUERY_SIZE_VARIABLE,
    get_cache_size,
    get_max_file_size,
    get_max_nodes,
    get_max_query_seconds,
    get_max_query_size,
)
from kedro_hydraflow.run_info import FACTS_IN_ORDER
from kedro_hydraflow.storage.obstore_client import _AZURE_SETTINGS
from tests.conftest import ROOT, TrackingDir, write

DOCS = ROOT / "docs"
SOURCES = Path(kedro_hydraflow.__file__).parent


def read_rows(page: str, heading: str = "") -> Iterator[list[str]]:
    """Yield the cells of the tables on a page, or of those below a heading of it."""
    text = (DOCS / page).read_text("utf-8")
    section = text.partition(f"# {heading}\n")[2].partition("\n#")[0] if heading else text
    for line in section.splitlines():
        if line.startswith("| `"):
            yield [cell.strip() for cell in line.strip("|").split(" | ")]


def find_code(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


# Keys --------------------------------------------------------------------------------------

KINDS = {
    "status": "fact",
    "metrics.NAME": "metrics",
    "params.NAME": "params",
    "tags.NAME": "tags",
    "overrides": "overrides",
    "hydra.KEY": "hydra",
    "results.KEY": "results",
    "KEY": "any",
    "impl.NAME": "impl",
}


def test_keys_mean_by_their_spelling_what_the_table_says() -> None:
    rows = {find_code(row[0])[0]: find_code(row[2]) for row in read_rows("keys.md", "By spelling")}
    assert {key: parse_key(key).kind for key in rows} == KINDS
    for key, outright in rows.items():
        assert {identify(other) for other in outright} <= {identify(key)}
        assert all(parse_key(other).is_outright for other in outright)


def test_all_facts_are_listed_in_their_order() -> None:
    assert [find_code(row[0])[0] for row in read_rows("keys.md", "Facts")] == [*FACTS_IN_ORDER]


def test_names_with_dots_spaces_and_underscores(tracking_dir: TrackingDir) -> None:
    names = ("val/acc.top1", "val loss", "a__b")
    metrics = {name: f"1 {i} 0\n" for i, name in enumerate(names)}
    config = "model: {type: mlp}\nservers: {db.main: here}\nlayers: [3, 4]\n"
    run_dir = tracking_dir.add_run(tracking_dir.add_experiment("train"), "abc", config, metrics)
    hydra = "hydra: {runtime: {choices: {hydra/launcher: basic}}}\n"
    write(run_dir / "artifacts/.hydra/hydra.yaml", hydra)
    runs = Run.load([run_dir])
    values = {
        "metrics.val/acc.top1": 0,
        "metrics.val loss": 1,
        "metrics.`val loss`": 1,
        "metrics.'val loss'": 1,
        "model__type": "mlp",
        "metrics.a__b": 2,
        "servers[db.main]": "here",
        "hydra.runtime.choices.hydra/launcher": "basic",
        "layers[1]": 4,
        "layers.1": 4,
    }
    text = (DOCS / "keys.md").read_text("utf-8")
    section = text.partition("## Names with dots, spaces and underscores")[2].partition("\n## ")[0]
    for key, value in values.items():
        assert f"`{key}`" in section or f"`` {key} ``" in section or f'({key}="' in section
        is_quoted = re.search("[`']", key) is not None
        assert is_quoted or runs[0].get(key) == value
        if is_quoted or " " not in key:
            assert len(runs.filter(f"{key} == {value}")) == 1


# Errors ------------------------------------------------------------------------------------


def list_exceptions() -> list[type[Exception]]:
    public = [getattr(errors, name) for name in errors.__all__]
    return [value for value in public if issubclass(value, Exception)]


def test_every_exception_is_public() -> None:
    defined = {
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, errors.KedroHydraflowError)
    }
    assert {*list_exceptions()} == defined


def test_every_exception_is_listed_with_its_bases() -> None:
    rows = {find_code(row[0])[0]: find_code(row[1]) for row in read_rows("errors.md")}
    bases = {
        exception.__name__: sorted(
            base.__name__ for base in exception.__bases__ if base is not errors.KedroHydraflowError
        )
        for exception in list_exceptions()
    }
    assert {name: sorted(shown) for name, shown in rows.items()} == bases


def test_every_row_says_when_and_what_to_do() -> None:
    for name, _, when, *to_do in read_rows("errors.md"):
        assert when, name
        assert to_do or name == "`KedroHydraflowError`"


# Environment variables ---------------------------------------------------------------------

NO_VARIABLES = {
    *("O_BINARY", "O_NOCTTY", "O_NONBLOCK", "RUSAGE_THREAD"),  # of `os` and `resource`
    "PATH_OR_URL",
    "RESOURCE_DOES_NOT_EXIST",  # an error of MLflow's server
}
"""Text in the code that looks like an environment variable and is none."""


def find_variables() -> set[str]:
    """Return what is spelled like an environment variable in the code, but for ``__all__``."""
    found: set[str] = set()
    for path in SOURCES.rglob("*.py"):
        for statement in ast.parse(path.read_text("utf-8")).body:
            if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "__all__":
                continue
            for node in ast.walk(statement):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found |= {
                        *re.findall(r"\A(?:[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+|NETRC)\Z", node.value)
                    }
    return found - NO_VARIABLES | {f"AZURE_STORAGE_{name.upper()}" for name in _AZURE_SETTINGS}


def test_every_environment_variable_is_listed() -> None:
    listed = {name for row in read_rows("environment.md") for name in find_code(row[0])}
    assert listed == find_variables()


def test_the_defaults_of_environment_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    defaults = {
        find_code(row[0])[0]: row[1] for row in read_rows("environment.md", "Of this package")
    }
    limits = {
        CACHE_SIZE_VARIABLE: get_cache_size,
        FILE_SIZE_VARIABLE: get_max_file_size,
        NODES_VARIABLE: get_max_nodes,
        QUERY_SECONDS_VARIABLE: get_max_query_seconds,
        QUERY_SIZE_VARIABLE: get_max_query_size,
    }
    assert {*defaults} == {CACHE_DIR_VARIABLE, *limits}
    for variable, get_limit in limits.items():
        monkeypatch.delenv(variable, raising=False)
        default = get_limit()
        monkeypatch.setenv(variable, defaults[variable].strip("`"))
        assert get_limit() == default


# Python API --------------------------------------------------------------------------------


def test_every_public_name_has_a_page() -> None:
    pages = "\n".join(path.read_text("utf-8") for path in (DOCS / "api").glob("*.md"))
    shown = re.findall(r"^::: kedro_hydraflow\.([\w.]+)$", pages, re.MULTILINE)
    of_package = [name for name in kedro_hydraflow.__all__ if name != "KedroHydraflowError"]
    more = {f"datasets.{name}" for name in datasets.__all__ if name not in of_package}
    assert sorted(shown) == sorted([*of_package, *more, "errors"])  # with all of `errors.__all__`
    assert "KedroHydraflowError" in errors.__all__
