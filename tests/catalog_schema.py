"""Write the JSON schema of catalog entries, with which editors check and complete them.

``python -m tests.catalog_schema`` makes it of the signatures and docstrings of the datasets.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Mapping
from typing import Any, get_args

from kedro_hydraflow import datasets
from kedro_hydraflow.columns import Mode
from kedro_hydraflow.datasets.artifact_dataset import MISSING_POLICIES
from kedro_hydraflow.datasets.frame_dataset import Library
from kedro_hydraflow.errors import OnError
from kedro_hydraflow.json_columns import Nested
from kedro_hydraflow.source import Layout
from kedro_hydraflow.storage.engines import ENGINES
from tests.conftest import ROOT

FILE = ROOT / "src" / "kedro_hydraflow" / "catalog.schema.json"
URL = "https://kedro-hydraflow.github.io/kedro-hydraflow/catalog.schema.json"

Schema = dict[str, Any]

DATASETS = (
    datasets.HydraflowRunCollectionDataset,
    datasets.HydraflowRunDataset,
    datasets.HydraflowArtifactDataset,
    datasets.HydraflowFrameDataset,
)

EXPRESSION = {"type": "string", "pattern": r"\{.*\}"}
"""A value that Kedro fills in: ``${globals:…}``, or the ``{placeholder}`` of a dataset factory."""

TEXT = {"type": "string", "minLength": 1}
TEXTS = {"type": "array", "items": TEXT, "uniqueItems": True}
MAPPING = {"type": "object"}
FLAG = {"type": "boolean"}
DOTTED_PATH = {"type": "string", "pattern": r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)+$"}


def one_of(values: Any) -> Schema:
    """Return the schema of an option with a few values."""
    return {"enum": list(values)}


def any_of(*schemas: Schema) -> Schema:
    """Return the schema of an option with values of several kinds."""
    return {"anyOf": list(schemas)}


def make_object(*required: str, **properties: Schema) -> Schema:
    """Return the schema of a mapping with these keys and no others."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


BY_NAME = {
    "artifact": {"type": "string", "pattern": r"^(?!/|\.\.(/|$)|\.$)[^*?]+$"},
    "checkpoint": any_of(TEXT, make_object("filepath", filepath=TEXT)),
    "credentials": any_of(TEXT, MAPPING),  # of which Kedro takes the name in credentials.yml
    "dataset": any_of(TEXT, {"type": "object", "required": ["type"], "properties": {"type": TEXT}}),
    "engine": one_of(ENGINES),
    "index": any_of(FLAG, {"type": "string", "pattern": r"^[.~]|[/\\]"}),
    "lock": any_of(TEXT, make_object("filepath", filepath=TEXT, logged=FLAG)),
    "metadata": {},
    "min_runs": {"type": "integer", "minimum": 0},
    "missing": one_of(MISSING_POLICIES),
    "results": {
        "type": "string",
        "pattern": r"^(?!/|(.*/)?\.\./)[^\\]+\.([jJ][sS][oO][nN]|[yY][aA]?[mM][lL])$",
    },
}
"""The schemas of options that say more than their annotations."""

BY_ANNOTATION = {
    "ExperimentFilter": any_of(TEXT, TEXTS),
    "Filters": any_of(TEXT, {"type": "array", "items": TEXT}),
    "Layout": one_of(get_args(Layout)),
    "Library": one_of(get_args(Library)),
    "Mapping[str, Any]": MAPPING,
    "Mode": one_of(get_args(Mode)),
    "Nested": one_of(get_args(Nested)),
    "OnError": one_of(get_args(OnError)),
    "SchemaOption | str": any_of(DOTTED_PATH, {**MAPPING, "minProperties": 1}),
    "Sequence[str]": {**TEXTS, "minItems": 1},
    "bool": FLAG,
    "int": {"type": "integer"},
    "str": TEXT,
    "str | Callable[..., Any]": DOTTED_PATH,
    "str | os.PathLike[str]": TEXT,
    "str | type": DOTTED_PATH,
}
"""The schemas of the other options by their annotations, without ``| None``."""

SOURCES = ("filepath", "path", "tracking_uri")

OF_KEDRO = {
    "validator": {"description": "The schema that Kedro validates the data with (Kedro 1.6)."},
    "versioned": {**one_of([False]), "description": "Runs have no versions."},
}
"""The keys of an entry that Kedro itself takes, besides ``type``."""


def forbid(*options: str) -> Schema:
    """Return a schema without some options."""
    return {"properties": dict.fromkeys(options, False)}


def list_rules(options: Mapping[str, inspect.Parameter]) -> list[Schema]:
    """Return which options go together, as the constructors check it."""
    sources = [name for name in SOURCES if name in options]
    rules: dict[str, Any] = {
        "best_by": {"required": ["mode"], **forbid("run_id")},
        "mode": ["best_by"],
        "checkpoint": forbid("lock", "best_by", "run_id"),
        "lock": forbid("checkpoint", "run_id"),
        "run_id": forbid("best_by", "checkpoint", "lock", "min_runs"),
        "filepath": forbid(
            *(name for name in options if name not in {*OF_ANY_RUN, "filepath"}),
        ),
    }
    exclusive = {"oneOf": [{"required": [name]} for name in sources]}
    known = {name: rule for name, rule in rules.items() if name in options}
    return [exclusive, {"dependencies": known}]


OF_ANY_RUN = (
    "config_class", "credentials", "engine", "fs_args", "impl", "metadata", "results",
)  # fmt: skip
"""The options of a run dataset that go with ``filepath``."""

MORE_RULES = {
    "HydraflowArtifactDataset": [
        {"dependencies": {"keys": ["concat"]}},
        {"if": {"anyOf": [{"required": ["best_by"]}, {"required": ["run_id"]}]}, "then": {
            "properties": {"concat": one_of([False]), "missing": one_of(["raise"])},
        }},
    ],
    "HydraflowFrameDataset": [
        {"if": {"properties": {"lazy": {"const": True}}, "required": ["lazy"]}, "then": {
            "required": ["schema"],
            "properties": {
                **forbid(
                    "columns", "best_by", "run_id", "min_runs", "checkpoint", "lock"
                )["properties"],
                "library": one_of(["polars"]),
            },
        }},
    ],
}  # fmt: skip


def make_schema() -> Schema:
    """Return the schema of a catalog file, with entries of any datasets."""
    paths = {cls: _make_type_pattern(cls) for cls in DATASETS}
    branches = [
        {
            "if": _is_of_type(pattern),
            "then": {"$ref": f"#/definitions/{cls.__name__}"},
        }
        for cls, pattern in paths.items()
    ]
    names = [f"kedro_hydraflow.{cls.__name__}" for cls in DATASETS]
    known = {
        "pattern": "|".join(paths.values()),
        "patternErrorMessage": f"Expected {', '.join(names[:-1])} or {names[-1]}.",  # of editors
    }
    of_ours = _is_of_type(r"^kedro_hydraflow\.")
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$id": URL,
        "title": "Kedro catalog with runs of HydraFlow",
        "description": "Checks the entries whose type is a dataset of kedro_hydraflow, no others.",
        "type": "object",
        "patternProperties": {"^[^_]": {"$ref": "#/definitions/entry"}},  # Kedro ignores _names
        "definitions": {
            "entry": {
                "properties": {"type": {"anyOf": [one_of(names), {"type": "string"}]}},
                "allOf": [{"if": of_ours, "then": {"properties": {"type": known}}}, *branches],
            },
            **{cls.__name__: _describe_dataset(cls) for cls in DATASETS},
        },
    }


def _make_type_pattern(cls: type) -> str:
    module = cls.__module__.rpartition(".")[2]
    return rf"^kedro_hydraflow\.(datasets\.({module}\.)?)?{cls.__name__}$"


def _is_of_type(pattern: str) -> Schema:
    of_type = {"type": "string", "pattern": pattern}
    return {"type": "object", "properties": {"type": of_type}, "required": ["type"]}


def _describe_dataset(cls: type) -> Schema:
    options = dict(inspect.signature(cls).parameters)
    texts = read_arguments(cls)
    properties = {
        name: {"description": texts[name], **_describe_option(option)}
        for name, option in options.items()
    }
    return {
        "description": (inspect.getdoc(cls) or "").partition("\n")[0],
        "properties": {"type": {}, **OF_KEDRO, **properties},
        "required": ["type", *(n for n, o in options.items() if o.default is o.empty)],
        "additionalProperties": False,
        "allOf": [*list_rules(options), *MORE_RULES.get(cls.__name__, [])],
    }


def _describe_option(option: inspect.Parameter) -> Schema:
    annotation = option.annotation.removesuffix(" | None")
    schema = BY_NAME[option.name] if option.name in BY_NAME else BY_ANNOTATION[annotation]
    kinds = schema.get("anyOf", [schema])
    if option.name in SOURCES or kinds == [{}]:
        return schema
    if TEXT not in kinds:
        kinds = [*kinds, EXPRESSION]
    if option.default is None:
        kinds = [*kinds, {"type": "null"}]
    default = {} if option.default in (None, option.empty) else {"default": option.default}
    return {**(any_of(*kinds) if len(kinds) > 1 else schema), **default}


def read_arguments(cls: type) -> dict[str, str]:
    """Return what the docstring of a dataset says of each argument.

    Where it says "As for `HydraflowRunCollectionDataset`", that follows.
    """
    section = (inspect.getdoc(cls) or "").partition("\nArgs:\n")[2].partition("\n\n")[0]
    parts = re.split(r"^    (\w+): ", section, flags=re.MULTILINE)[1:]
    texts = {
        name: " ".join(text.split()) for name, text in zip(parts[::2], parts[1::2], strict=True)
    }
    for name, text in texts.items():
        other = re.search(r"[Aa]s for `(Hydraflow\w+)`", text)
        if other is not None:
            own = re.sub(r"[^.]*`Hydraflow\w+`[^.]*\. ?", "", text, count=1)
            text = f"{read_arguments(getattr(datasets, other[1]))[name]} {own}".strip()
        texts[name] = re.sub(r"`{1,2}([^`]+)`{1,2}", r"\1", text)
    return texts


def write_schema() -> str:
    """Return the schema as the file has it."""
    return f"{json.dumps(make_schema(), indent=1, ensure_ascii=False)}\n"


if __name__ == "__main__":
    FILE.write_text(write_schema(), encoding="utf-8")
