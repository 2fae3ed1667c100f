"""Write the JSON schema of catalog entries, with which editors check and complete them.

``python -m tests.catalog_schema`` makes it of the signatures and docstrings of the datasets.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, get_args

from kedro_hydraflow import datasets
from kedro_hydraflow.columns import Mode
from kedro_hydraflow.datasets.artifact_dataset import MISSING_POLICIES
from kedro_hydraflow.datasets.frame_dataset import Library
from kedro_hydraflow.errors import OnError
from kedro_hydraflow.json_columns import Nested
from kedro_hydraflow.schemas import TYPE_NAMES
from kedro_hydraflow.source import Layout
from kedro_hydraflow.storage.engines import ENGINES
from tests.conftest import ROOT

FILE = ROOT / "src" / "kedro_hydraflow" / "catalog.schema.json"
URL = "https://kedro-hydraflow.github.io/kedro-hydraflow/catalog.schema.json"

Schema = dict[str, Any]
"""A JSON schema. ``errorMessage`` and ``patternErrorMessage`` are what editors show."""

DATASETS = (
    datasets.HydraflowRunCollectionDataset,
    datasets.HydraflowRunDataset,
    datasets.HydraflowArtifactDataset,
    datasets.HydraflowFrameDataset,
)

FILLED_IN = {"$ref": "#/definitions/filled_in"}
"""A value that Kedro fills in: ``${globals:…}``, or the ``{placeholder}`` of a dataset factory."""

TEXT = {"type": "string", "minLength": 1}
TEXTS = {"type": "array", "items": TEXT}
KEYS = {**TEXTS, "uniqueItems": True}
MAPPING = {"type": "object"}
FLAG = {"type": "boolean"}
DOTTED_PATH = {"type": "string", "pattern": r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)+$"}


def one_of(values: Any) -> Schema:
    """Return the schema of an option with a few values."""
    return {"enum": list(values)}


def any_of(*schemas: Schema) -> Schema:
    """Return the schema of an option with values of several kinds."""
    return {"anyOf": list(schemas)}


def or_filled_in(schema: Schema) -> Schema:
    """Return the schema of a value that Kedro may fill in."""
    kinds = schema.get("anyOf", [schema])
    return schema if TEXT in kinds or kinds == [{}] else any_of(*kinds, FILLED_IN)


def make_object(*required: str, **properties: Schema) -> Schema:
    """Return the schema of a mapping with these keys and no others."""
    return {
        "type": "object",
        "properties": {name: or_filled_in(schema) for name, schema in properties.items()},
        "required": list(required),
        "additionalProperties": False,
    }


OUTSIDE = r"/|(.*/)?\.\.(/|$)"
"""The beginning of a path that is absolute, or leads out of a directory."""

NO_VERSIONS = one_of([False, None])
TYPE = {"type": "string", "pattern": rf"^((pl|polars)\.)?({'|'.join(sorted(TYPE_NAMES))})(\(|$)"}

BY_NAME = {
    "artifact": {
        "type": "string",
        "pattern": rf"^(?!{OUTSIDE}|\.(/+\.?)*$)[^*?]+$",
        "patternErrorMessage": "Expected a path in the artifacts directory, without ..",
    },
    "checkpoint": any_of(TEXT, make_object("filepath", filepath=TEXT)),
    "credentials": any_of(TEXT, MAPPING),  # of which Kedro takes the name in credentials.yml
    "dataset": any_of(
        TEXT,
        {
            "type": "object",
            "required": ["type"],
            "properties": {"type": TEXT, "versioned": or_filled_in(NO_VERSIONS), "version": False},
        },
    ),
    "engine": one_of(ENGINES),
    "index": any_of(FLAG, {"type": "string", "pattern": r"^[.~]|[/\\]"}),
    "keys": KEYS,
    "lock": any_of(TEXT, make_object("filepath", filepath=TEXT, logged=FLAG)),
    "metadata": {},
    "min_runs": {"type": "integer", "minimum": 0},
    "missing": one_of(MISSING_POLICIES),
    "results": {
        "type": "string",
        "pattern": rf"^(?!{OUTSIDE}|.:|file:|\w[\w+.-]+://)[^\\]*"
        r"\.([jJ][sS][oO][nN]|[yY][aA]?[mM][lL])$",
        "patternErrorMessage": "Expected a path in the artifacts directory, without .., that ends "
        "in .json, .yaml or .yml",
    },
    "tracking_uri": {
        "type": "string",
        "pattern": r"^(?![\w.-]+:\d{1,5}(/\S*)?$).",
        "patternErrorMessage": "Expected a URI with a scheme, such as http://localhost:5000",
    },
}
"""The schemas of options that say more than their annotations."""

BY_ANNOTATION = {
    "ExperimentFilter": any_of(TEXT, TEXTS),
    "Filters": any_of(TEXT, TEXTS),
    "Layout": one_of(get_args(Layout)),
    "Library": one_of(get_args(Library)),
    "Mapping[str, Any]": MAPPING,
    "Mode": one_of(get_args(Mode)),
    "Nested": one_of(get_args(Nested)),
    "OnError": one_of(get_args(OnError)),
    "SchemaOption | str": any_of(
        DOTTED_PATH,
        {
            **MAPPING,
            "minProperties": 1,
            "propertyNames": {"pattern": "^[^*?]+$"},
            "additionalProperties": any_of(one_of(sorted(TYPE_NAMES)), TYPE, FILLED_IN),
        },
    ),
    "Sequence[str]": {**KEYS, "minItems": 1},
    "bool": FLAG,
    "int": {"type": "integer"},
    "str": TEXT,
    "str | Callable[..., Any]": DOTTED_PATH,
    "str | os.PathLike[str]": TEXT,
    "str | type": DOTTED_PATH,
}
"""The schemas of the other options by their annotations, without ``| None``."""

OF_KEDRO = {
    "validator": {
        "description": "The schema that Kedro validates the data with (Kedro 1.6).",
        **any_of(TEXT, {**MAPPING, "required": ["class"], "properties": {"class": TEXT}}),
    },
    "versioned": {"description": "Runs have no versions.", **or_filled_in(NO_VERSIONS)},
}
"""The keys of an entry that Kedro itself takes, besides ``type``."""

SOURCES = ("filepath", "path", "tracking_uri")
"""The options of which one is needed."""

OF_ANY_RUN = (
    "config_class", "credentials", "engine", "fs_args", "impl", "metadata", "results",
)  # fmt: skip
"""The options of a run dataset that go with ``filepath``."""

EXCLUDED = {
    "path": ("tracking_uri",),
    "checkpoint": ("lock", "best_by", "run_id"),
    "lock": ("run_id",),
    "run_id": ("best_by", "min_runs", "concat", "missing"),
    "best_by": ("concat", "missing"),
    "lazy": ("columns", "best_by", "run_id", "min_runs", "checkpoint", "lock", "library"),
}
"""By option, those that keep their defaults if it is given."""

NEEDED = {"best_by": "mode", "mode": "best_by", "keys": "concat", "lazy": "schema"}
"""By option, the one that has to be given with it."""


def list_rules(options: Mapping[str, inspect.Parameter]) -> list[Schema]:
    """Return which options go together, as the constructors check it.

    An option is not given if it has its default. It may be given if Kedro fills it in.
    """
    sources = [option for name, option in options.items() if name in SOURCES]
    rules = [any_of(*map(_may_be_given, sources))]
    excluded: dict[str, Iterable[str]] = {
        **EXCLUDED,
        "filepath": [name for name in options if name not in {"filepath", *OF_ANY_RUN}],
    }
    for name, option in options.items():
        others = [options[other] for other in excluded.get(name, ()) if other in options]
        if others:
            message = f"Cannot be used with {name}."
            defaults = {o.name: _may_be_default(o, errorMessage=message) for o in others}
            rules.append(_if_given(option, {"properties": defaults}))
        if name in NEEDED:
            rules.append(_if_given(option, _may_be_given(options[NEEDED[name]])))
    no_hydra = {"properties": {"layout": {"not": {"const": "hydra"}}}}
    rules.append(_if_given(options["tracking_uri"], no_hydra))
    if "filepath_arg" in options:
        is_filepath = {"properties": {"filepath_arg": {"const": "filepath"}}}
        no_filepath = {"properties": {"dataset": {"properties": {"filepath": False}}}}
        rules.append({"if": is_filepath, "then": no_filepath})
    return rules


def _may_be_default(option: inspect.Parameter, **message: str) -> Schema:
    return any_of({**one_of([option.default]), **message}, FILLED_IN)


def _may_be_given(option: inspect.Parameter) -> Schema:
    return _has(option, {"not": one_of([option.default])})


def _if_given(option: inspect.Parameter, then: Schema) -> Schema:
    return {"if": _has(option, {"not": _may_be_default(option)}), "then": then}


def _has(option: inspect.Parameter, schema: Schema) -> Schema:
    return {"required": [option.name], "properties": {option.name: schema}}


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
        "patternErrorMessage": f"Expected {', '.join(names[:-1])} or {names[-1]}.",
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
            "filled_in": {"type": "string", "pattern": r"\{.*\}"},
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
        "allOf": list_rules(options),
    }


def _describe_option(option: inspect.Parameter) -> Schema:
    annotation = option.annotation.removesuffix(" | None")
    schema = BY_NAME[option.name] if option.name in BY_NAME else BY_ANNOTATION[annotation]
    schema = or_filled_in(schema)
    if option.default is None and schema:
        schema = any_of(*schema.get("anyOf", [schema]), {"type": "null"})
    default = {} if option.default in (None, option.empty) else {"default": option.default}
    return {**schema, **default}


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
