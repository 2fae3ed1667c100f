from __future__ import annotations

import inspect
import json
import random
from itertools import combinations
from operator import itemgetter
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator
from kedro.io import DataCatalog, DatasetError
from omegaconf import OmegaConf

from kedro_hydraflow import datasets
from tests.catalog_schema import DATASETS, FILE, URL, read_arguments, write_schema
from tests.conftest import ROOT

SCHEMA = json.loads(FILE.read_text(encoding="utf-8"))

COLLECTION = {"type": "kedro_hydraflow.HydraflowRunCollectionDataset", "path": "mlruns"}
RUN = {"type": "kedro_hydraflow.HydraflowRunDataset", "path": "mlruns"}
ARTIFACT = {
    "type": "kedro_hydraflow.HydraflowArtifactDataset",
    "path": "mlruns",
    "artifact": "metrics.csv",
    "dataset": "pandas.CSVDataset",
}
FRAME = {"type": "kedro_hydraflow.HydraflowFrameDataset", "path": "mlruns"}
OF_URI = {"type": COLLECTION["type"], "tracking_uri": "https://mlflow.example"}
BEST = {"best_by": "metrics.accuracy", "mode": "max"}
STATE = {"filepath": "data/runs.json"}


def list_errors(catalog: dict[str, Any]) -> list[str]:
    """Return what is wrong with a catalog, at which key."""
    found = Draft7Validator(SCHEMA).iter_errors(catalog)
    return [f"{'/'.join(map(str, error.absolute_path))}: {error.message}" for error in found]


def is_accepted(entry: dict[str, Any]) -> bool:
    """Whether Kedro makes a dataset of an entry."""
    try:
        DataCatalog.from_config({"entry": dict(entry)})["entry"]
    except DatasetError:
        return False
    return True


def test_the_file_is_up_to_date() -> None:
    text = FILE.read_text(encoding="utf-8")
    assert text == write_schema(), "run python -m tests.catalog_schema"
    Draft7Validator.check_schema(SCHEMA)


def test_the_page_about_editors_names_its_url() -> None:
    page = (ROOT / "docs/editors.md").read_text(encoding="utf-8")
    assert page.count(URL) == 3


def test_every_dataset_and_option_is_in_it() -> None:
    defined = {cls.__name__ for cls in DATASETS}
    assert defined == {name for name in datasets.__all__ if name != "ReadOnlyDataset"}
    for cls in DATASETS:
        options = list(inspect.signature(cls).parameters)
        assert options == list(read_arguments(cls))
        properties = SCHEMA["definitions"][cls.__name__]["properties"]
        assert list(properties) == ["type", "validator", "versioned", *options]
        assert all(properties[option]["description"] for option in options)


def test_a_description_is_whole_where_the_docstring_points_to_another() -> None:
    frame = SCHEMA["definitions"]["HydraflowFrameDataset"]["properties"]
    assert frame["filters"]["description"].startswith("Conditions that the runs have to meet")
    assert frame["best_by"]["description"].startswith("The key of a number or a time")
    texts = [each["description"] for cls in DATASETS for each in get_options(cls)]
    assert not any("`" in text or "Hydraflow" in text for text in texts)


def get_options(cls: type) -> list[dict[str, Any]]:
    properties = SCHEMA["definitions"][cls.__name__]["properties"]
    return [properties[name] for name in properties if name != "type"]


@pytest.mark.parametrize("file", sorted(ROOT.glob("conf/*/catalog.yml")), ids=str)
def test_the_catalogs_of_the_demo(file: Path) -> None:
    assert list_errors(yaml.safe_load(file.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize("cls", DATASETS)
def test_the_catalogs_of_docstrings(cls: type) -> None:
    doc = inspect.getdoc(cls) or ""
    text = doc.partition("In a catalog:\n")[2].partition("    In Python:")[0]
    catalog = yaml.safe_load(inspect.cleandoc(text))
    assert catalog
    assert list_errors(catalog) == []


OF_OTHERS = """\
_shared: &shared
  type: kedro_hydraflow.HydraflowRunCollectionDataset
  pathh: this is no entry
_text: anything
companies@pandas: {type: pandas.CSVDataset, filepath: a.csv, misspelt: true}
"{namespace}.{name}#csv": {type: pandas.CSVDataset, filepath: "{namespace}/{name}.csv"}
"{default}": {type: kedro.io.MemoryDataset, copy_mode: assign}
my_own: {type: my_project.HydraflowRunDataset, mode: 3}
lookalike: {type: kedro_hydraflow_extras.HydraflowRunDataset, mode: 3}
whole: ${globals:entry}
of_a_type: {type: "${globals:type}", mode: 3}
"""


def test_other_entries_are_not_looked_at() -> None:
    assert list_errors(yaml.safe_load(OF_OTHERS)) == []


OF_OURS = """\
_shared: &shared
  type: kedro_hydraflow.HydraflowRunCollectionDataset
  path: ${globals:place}
runs@hydraflow: {<<: *shared, filters: "status == FINISHED", n_jobs: "${globals:jobs}"}
"{experiment}_runs": {<<: *shared, experiment_names: "{experiment}", min_runs: "{least}"}
named: {<<: *shared, experiment_names: [train_*], filters: [seed > 1, "${globals:filter}"]}
path: {type: kedro_hydraflow.datasets.HydraflowRunDataset, path: mlruns}
by_module: {type: kedro_hydraflow.datasets.run_dataset.HydraflowRunDataset, filepath: mlruns/1/a}
with_all:
  type: kedro_hydraflow.HydraflowFrameDataset
  tracking_uri: https://mlflow.example
  artifact_root: s3://team/artifacts
  columns: "${globals:columns}"
  schema: my_project.SCHEMA
  filters: null
  best_by: metrics.accuracy
  mode: "{mode}"
  strict: false
  include_deleted: null
  index: ./index
  layout: ~
  engine: obstore
  credentials: dev_s3
  fs_args: {client_kwargs: {endpoint_url: "${oc.env:URL}"}}
  metadata: {kedro-viz: {layer: tracking}}
  validator: my_project.schemas.Accuracies
  versioned: false
"""


def test_entries_of_ours() -> None:
    assert list_errors(yaml.safe_load(OF_OURS)) == []


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({**RUN, "best_by": "metrics.accuracy", "mode": "maximum"}, "entry/mode: 'maximum' is not"),
        ({**RUN, "run_idd": "13f4"}, "entry: Additional properties are not allowed ('run_idd' was"),
        ({**COLLECTION, "n_jobs": "four"}, "entry/n_jobs: 'four' is not valid under any of the"),
        ({**COLLECTION, "min_runs": -1}, "entry/min_runs: -1 is not valid under any of the given"),
        ({**COLLECTION, "on_error": "ignore"}, "entry/on_error: 'ignore' is not valid under any"),
        ({**COLLECTION, "filters": {"seed": 1}}, "entry/filters: {'seed': 1} is not valid under"),
        ({**COLLECTION, "experiment_names": 1}, "entry/experiment_names: 1 is not valid under any"),
        ({**COLLECTION, "impl": "Model"}, "entry/impl: 'Model' is not valid under any of"),
        ({**COLLECTION, "layout": "hydr"}, "entry/layout: 'hydr' is not valid under any of the"),
        ({**COLLECTION, "engine": "boto3"}, "entry/engine: 'boto3' is not valid under any of the"),
        ({**COLLECTION, "results": "a.csv"}, "entry/results: 'a.csv' is not valid under any of"),
        ({**COLLECTION, "results": "../a.json"}, "entry/results: '../a.json' is not valid under"),
        ({**COLLECTION, "index": "ture"}, "entry/index: 'ture' is not valid under any of the"),
        ({**COLLECTION, "progress": 1}, "entry/progress: 1 is not valid under any of the given"),
        ({**COLLECTION, "credentials": 1}, "entry/credentials: 1 is not valid under any of the"),
        ({**COLLECTION, "fs_args": "x"}, "entry/fs_args: 'x' is not valid under any of the given"),
        ({**COLLECTION, "versioned": True}, "entry/versioned: True is not valid under any of"),
        ({**COLLECTION, "checkpoint": {"path": "x"}}, "entry/checkpoint: {'path': 'x'} is not"),
        ({**COLLECTION, "tracking_uri": "mlruns"}, "entry/tracking_uri: 'mlruns' is not valid"),
        ({"type": COLLECTION["type"]}, "is not valid under any of the given schemas"),
        ({**COLLECTION, "checkpoint": STATE, "lock": STATE}, "entry/lock: {'filepath': "),
        ({**RUN, "mode": "max"}, "entry: 'best_by' is a required property"),
        ({**RUN, "best_by": "metrics.accuracy"}, "entry: 'mode' is a required property"),
        ({**RUN, **BEST, "run_id": "13f4"}, "entry/best_by: 'metrics.accuracy' is not valid"),
        ({**RUN, "filepath": "mlruns/1/a"}, "entry/path: 'mlruns' is not valid under any of"),
        ({"type": RUN["type"], "filepath": "a", "filters": "a > 1"}, "entry/filters: 'a > 1' is"),
        ({**RUN, "min_runs": 1}, "entry: Additional properties are not allowed ('min_runs' was"),
        ({**ARTIFACT, "artifact": "*.csv"}, "entry/artifact: '*.csv' is not valid under any of"),
        ({**ARTIFACT, "artifact": "../a"}, "entry/artifact: '../a' is not valid under any of the"),
        ({**ARTIFACT, "artifact": "/a.csv"}, "entry/artifact: '/a.csv' is not valid under any of"),
        ({**ARTIFACT, "missing": "ignore"}, "entry/missing: 'ignore' is not valid under any of"),
        ({**ARTIFACT, "dataset": {"load_args": {}}}, "entry/dataset: {'load_args': {}} is not"),
        ({**ARTIFACT, "keys": ["seed"]}, "entry: 'concat' is a required property"),
        ({**ARTIFACT, **BEST, "concat": True}, "entry/concat: True is not valid under any of"),
        ({**ARTIFACT, **BEST, "missing": "skip"}, "entry/missing: 'skip' is not valid under"),
        ({**ARTIFACT, **BEST, "checkpoint": STATE}, "entry/best_by: 'metrics.accuracy' is not"),
        ({k: v for k, v in ARTIFACT.items() if k != "artifact"}, "'artifact' is a required prop"),
        ({**FRAME, "columns": "seed"}, "entry/columns: 'seed' is not valid under any of the given"),
        ({**FRAME, "columns": ["seed", "seed"]}, "entry/columns: ['seed', 'seed'] is not valid"),
        ({**FRAME, "schema": {}}, "entry/schema: {} is not valid under any of the given schemas"),
        ({**FRAME, "library": "dask"}, "entry/library: 'dask' is not valid under any of the given"),
        ({**FRAME, "nested": "yaml"}, "entry/nested: 'yaml' is not valid under any of the given"),
        ({**FRAME, "lazy": True}, "entry: 'schema' is a required property"),
        ({**FRAME, "lazy": True, "schema": {"seed": "Int64"}, "columns": ["seed"]}, "entry/colum"),
        ({**FRAME, "lazy": True, "schema": {"a": "Int8"}, "library": "pandas"}, "entry/library"),
        ({**FRAME, "run_id": "13f4", "min_runs": 1}, "entry/min_runs: 1 is not valid under any of"),
        ({**COLLECTION, "path": None}, "entry: {'type': 'kedro_hydraflow.HydraflowRunCollectionD"),
        ({**RUN, "best_by": "metrics.accuracy", "mode": None}, "entry/mode: None should not be"),
        ({**FRAME, "lazy": True, "schema": None}, "entry/schema: None should not be valid under"),
        ({**ARTIFACT, "concat": False, "keys": []}, "entry/concat: False should not be valid"),
        ({**ARTIFACT, "concat": None}, "entry/concat: None is not valid under any of the given"),
        ({**OF_URI, "layout": "hydra"}, "entry/layout: 'hydra' should not be valid under"),
        ({**COLLECTION, "lock": {**STATE, "logged": None}}, "entry/lock: {'filepath': 'data/runs"),
        ({**ARTIFACT, "filepath_arg": "filepath", "dataset": {"type": "a.B", "filepath": "x"}},
         "entry/dataset: False schema does not allow 'x'"),
        ({**RUN, "type": "kedro_hydraflow.HydraflowRunsDataset"}, "entry/type: 'kedro_hydraflow."),
    ],
)  # fmt: skip
def test_mistakes(entry: dict[str, Any], message: str) -> None:
    assert message in "\n".join(list_errors({"entry": entry}))
    assert not is_accepted(entry)


@pytest.mark.parametrize(
    ("valid", "option", "values"),
    [
        (COLLECTION, "results", ["s3://a/b.json", "file:a.json", "C:/a.json", "C:a.json"]),
        (COLLECTION, "results", ["a/../b.json", "/a.json"]),
        (OF_URI, "tracking_uri", ["localhost:5000", "10.0.0.1:80/mlflow", ""]),
        (
            ARTIFACT,
            "artifact",
            ["a/../../b", "a/..", "./..", "./../a", "./", ".", ".//.", "a/../b"],
        ),
        (ARTIFACT, "dataset", [{"type": "a.B", "filepath": "x"}, {"type": "a.B", "version": None}]),
        (ARTIFACT, "dataset", [{"type": "a.B", "versioned": True}]),
        (FRAME, "schema", [{"a": "Float"}, {"a": "int64"}, {"a": "Nope"}, {"a": "Nope(Int64)"}]),
        (FRAME, "schema", [{"a": "pl.Nope"}, {"a.*": "Int64"}]),
    ],
)
def test_mistakes_in_values(valid: dict[str, Any], option: str, values: list[Any]) -> None:
    for value in values:
        entry = {**valid, option: value}
        assert [error.partition(":")[0] for error in list_errors({"entry": entry})] == [
            f"entry/{option}"
        ]
        assert not is_accepted(entry)


@pytest.mark.parametrize(
    "entry",
    [
        {**COLLECTION, "checkpoint": STATE, "on_error": "warn", "n_jobs": -1, "index": True},
        {**COLLECTION, "lock": {**STATE, "logged": True}, "results": "out/result.JSON"},
        {**COLLECTION, "checkpoint": "data/runs.json", "experiment_names": None},
        {**RUN, "run_id": None, "results": "out/a.b/result.json"},
        {**COLLECTION, "index": "data/index"},
        {**ARTIFACT, "artifact": "./model/weights.npz"},
        {**RUN, **BEST, "impl": "my_project.Model", "engine": "fsspec"},
        {"type": RUN["type"], "filepath": "a", "results": "result.yml", "fs_args": {}},
        {**ARTIFACT, "concat": True, "keys": ["run_id", "model.*"], "missing": "skip"},
        {**ARTIFACT, **BEST, "lock": STATE, "min_runs": 2, "missing": "raise", "concat": False},
        {**ARTIFACT, "dataset": {"type": "pandas.CSVDataset", "load_args": {}}},
        {**FRAME, "lazy": True, "schema": {"seed": "Int64"}, "library": "polars"},
        {**FRAME, **BEST, "columns": ["run_id"], "lock": STATE, "min_runs": 1},
        {**OF_URI, "layout": "mlflow", "path": None},
        {**OF_URI, "tracking_uri": "http://localhost:5000"},
        {**OF_URI, "tracking_uri": "sqlite:///mlflow.db"},
        {**COLLECTION, "tracking_uri": None, "layout": "hydra"},
        {**COLLECTION, "checkpoint": None, "lock": STATE, "versioned": None},
        {**COLLECTION, "experiment_names": ["x", "x"], "results": ".json"},
        {**COLLECTION, "results": "..a/b..json"},
        {**RUN, "best_by": None, "mode": None},
        {**FRAME, "run_id": "13f4", "min_runs": 0, "lock": None},
        {**FRAME, "lazy": True, "schema": {"seed": "int"}, "columns": None, "min_runs": 0},
        {**FRAME, "schema": {"a": "pl.Float64", "b": "List(Int64)", "c": "Enum(['x', 'y'])"}},
        {**ARTIFACT, **BEST, "artifact": "...", "keys": None, "checkpoint": None},
        {**ARTIFACT, "artifact": "..a/.b", "concat": True, "keys": []},
        {**ARTIFACT, "dataset": {"type": "json.JSONDataset", "versioned": False}},
        {**ARTIFACT, "filepath_arg": "path", "dataset": {"type": "a.B", "filepath": "x"}},
        {
            "type": RUN["type"],
            "filepath": "a",
            "path": None,
            "filters": None,
            "n_jobs": 0,
            "progress": False,
            "on_error": "raise",
            "index": None,
            "best_by": None,
        },
    ],
)
def test_what_kedro_accepts(entry: dict[str, Any]) -> None:
    assert list_errors({"entry": entry}) == []
    assert is_accepted(entry)


@pytest.mark.parametrize(
    ("validator", "message"),
    [
        ("my_project.Schema", None),
        ({"class": "my_project.Schema", "severity": "warn"}, None),
        ([], "entry/validator: [] is not valid under any of the given schemas"),
        ({}, "entry/validator: {} is not valid under any of the given schemas"),
        (1, "entry/validator: 1 is not valid under any of the given schemas"),
        (None, "entry/validator: None is not valid under any of the given schemas"),
    ],
)
def test_validators(validator: Any, message: str | None) -> None:
    pytest.importorskip("kedro.validation", reason="Kedro 1.6 validates data")
    entry = {**FRAME, "validator": validator}
    assert list_errors({"entry": entry}) == ([] if message is None else [message])
    assert is_accepted(entry) == (message is None)


FILLED_IN = """\
_dataset: json.JSONDataset
_missing: raise
_keys: [seed]
_key: seed
_mode: max
_none: null
_yes: true
_no: false
_uri: https://mlflow.example
_layout: mlflow
_kind: Int64
_library: polars
_least: 0
_shared: &shared
  type: kedro_hydraflow.HydraflowArtifactDataset
  path: mlruns
  artifact: metrics.csv
  dataset: {type: "${_dataset}", versioned: "${_no}"}
missing: {<<: *shared, run_id: 13f42e95, missing: "${_missing}", concat: "${_no}"}
keys: {<<: *shared, concat: "${_yes}", keys: "${_keys}"}
mode: {<<: *shared, best_by: "${_key}", mode: "${_mode}"}
lock: {<<: *shared, lock: {filepath: x.json, logged: "${_yes}"}}
state: {<<: *shared, lock: x.json, checkpoint: "${_none}"}
source: {<<: *shared, tracking_uri: "${_none}", versioned: "${_no}"}
lazy:
  type: kedro_hydraflow.HydraflowFrameDataset
  path: "${_none}"
  tracking_uri: "${_uri}"
  layout: "${_layout}"
  lazy: true
  schema: {seed: "${_kind}"}
  library: "${_library}"
  min_runs: "${_least}"
directory:
  type: kedro_hydraflow.HydraflowRunDataset
  filepath: mlruns/1/a
  n_jobs: "${_least}"
"""


def test_values_that_kedro_fills_in() -> None:
    assert list_errors(yaml.safe_load(FILLED_IN)) == []
    catalog: Any = OmegaConf.to_container(OmegaConf.create(FILLED_IN), resolve=True)
    entries = {name: entry for name, entry in catalog.items() if name[0] != "_"}
    assert {name: is_accepted(entry) for name, entry in entries.items()} == dict.fromkeys(
        ("missing", "keys", "mode", "lock", "state", "source", "lazy", "directory"), True
    )


VALUES: dict[str, list[Any]] = {
    "artifact": ["a.csv", "a/../b", "./", "*.csv", 1],
    "artifact_root": ["mlartifacts", None, "", 1],
    "best_by": ["seed", None, "", 1],
    "checkpoint": ["x.json", STATE, None, {"filepath": "x", "logged": True}, ""],
    "columns": [["seed", "a.*"], None, [], ["a", "a"], "a"],
    "concat": [True, False, None],
    "config_class": ["a.B", None, "a", ""],
    "credentials": [{}, None, 1],
    "dataset": ["a.B", {"type": "a.B"}, {"type": "a.B", "filepath": "x"}, {}, ""],
    "engine": ["fsspec", "obstore", None, ""],
    "experiment_names": ["train_*", [], ["a", "a"], None, 1, [1]],
    "filepath": ["mlruns/1/a", None, "", 1],
    "filepath_arg": ["path", "filepath", 1, None],
    "filters": ["seed > 1", [], ["seed > 1", "seed < 3"], None, 1, {}],
    "fs_args": [{"a": 1}, None, "a"],
    "impl": ["a.B", None, "a"],
    "include_deleted": [True, False, None, "yes"],
    "index": [True, False, "./a", None, "a", 1],
    "keys": [["seed", "a.*"], [], None, "a", ["a", "a"]],
    "layout": ["hydra", "mlflow", None, "hydr"],
    "lazy": [True, False, None],
    "library": ["pandas", "polars", None],
    "lock": ["x.json", {**STATE, "logged": True}, None, {"logged": True}, ""],
    "metadata": [{"a": 1}, None, 1],
    "min_runs": [1, 0, -1, None],
    "missing": ["skip", "raise", None],
    "mode": ["max", None, "large"],
    "n_jobs": [2, 0, -1, None, "2"],
    "nested": ["keep", "json", None],
    "on_error": ["warn", "raise", "skip", None],
    "path": ["mlruns", None, "", 1],
    "progress": [True, False, None, 1],
    "results": ["result.json", "../a.json", "s3://a/b.json", None, ""],
    "run_id": ["13f4", None, "", 1],
    "schema": [{"a": "Int64"}, "a.B", None, {}, {"a": "Nope"}, {"a.*": "Int64"}],
    "strict": [False, True, None],
    "tracking_uri": ["https://mlflow.example", None, "", 1],
    "versioned": [False, None, True],
}  # fmt: skip
"""Values of options. The first one is valid, and not the default."""

NEEDED: dict[str, dict[str, Any]] = {
    "best_by": {"mode": "max"},
    "filepath": {"path": None},
    "keys": {"concat": True},
    "lazy": {"schema": {"seed": "Int64"}},
    "mode": {"best_by": "seed"},
    "tracking_uri": {"path": None},
}
"""By option, what is needed beside it."""


def check_entry(valid: dict[str, Any], chosen: dict[str, Any]) -> None:
    """Assert that the schema accepts an entry if, and only if, Kedro does.

    Each value of such an entry may be one that Kedro fills in.
    """
    entry = valid.copy()
    for option in chosen:
        entry |= NEEDED.get(option, {})
    entry |= chosen
    is_valid = is_accepted(entry)
    assert (list_errors({"entry": entry}) == []) == is_valid, entry
    if is_valid:
        for names in (chosen, *([name] for name in chosen)):
            filled_in = entry | dict.fromkeys(names, "${x}")
            assert list_errors({"entry": filled_in}) == [], filled_in


def list_options(valid: dict[str, Any]) -> list[str]:
    """Return the options with values of the dataset of an entry."""
    properties = SCHEMA["definitions"][valid["type"].partition(".")[2]]["properties"]
    return sorted(VALUES.keys() & properties.keys())


EACH_DATASET = pytest.mark.parametrize(
    "valid", [RUN, COLLECTION, ARTIFACT, FRAME], ids=itemgetter("type")
)


@EACH_DATASET
def test_pairs_of_options(valid: dict[str, Any]) -> None:
    for pair in combinations(list_options(valid), 2):
        check_entry(valid, {option: VALUES[option][0] for option in pair})


@EACH_DATASET
def test_random_entries(valid: dict[str, Any]) -> None:
    choose = random.Random(7)
    options = list_options(valid)
    for _ in range(200):
        some = choose.sample(options, choose.randint(1, 4))
        check_entry(valid, {option: choose.choice(VALUES[option]) for option in some})
