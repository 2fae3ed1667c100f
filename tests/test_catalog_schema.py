from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator
from kedro.io import DataCatalog, DatasetError

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
        ({**COLLECTION, "versioned": True}, "entry/versioned: True is not one of [False]"),
        ({**COLLECTION, "checkpoint": {"path": "x"}}, "entry/checkpoint: {'path': 'x'} is not"),
        ({**COLLECTION, "tracking_uri": "mlruns"}, "is valid under each of"),
        ({"type": COLLECTION["type"]}, "is not valid under any of the given schemas"),
        ({**COLLECTION, "checkpoint": STATE, "lock": STATE}, "False schema does not allow"),
        ({**RUN, "mode": "max"}, "entry: 'best_by' is a dependency of 'mode'"),
        ({**RUN, "best_by": "metrics.accuracy"}, "entry: 'mode' is a required property"),
        ({**RUN, **BEST, "run_id": "13f4"}, "entry: False schema does not allow"),
        ({**RUN, "filepath": "mlruns/1/a"}, "entry: False schema does not allow 'mlruns'"),
        ({"type": RUN["type"], "filepath": "a", "filters": "a > 1"}, "entry: False schema"),
        ({**RUN, "min_runs": 1}, "entry: Additional properties are not allowed ('min_runs' was"),
        ({**ARTIFACT, "artifact": "*.csv"}, "entry/artifact: '*.csv' is not valid under any of"),
        ({**ARTIFACT, "artifact": "../a"}, "entry/artifact: '../a' is not valid under any of the"),
        ({**ARTIFACT, "artifact": "/a.csv"}, "entry/artifact: '/a.csv' is not valid under any of"),
        ({**ARTIFACT, "missing": "ignore"}, "entry/missing: 'ignore' is not valid under any of"),
        ({**ARTIFACT, "dataset": {"load_args": {}}}, "entry/dataset: {'load_args': {}} is not"),
        ({**ARTIFACT, "keys": ["seed"]}, "entry: 'concat' is a dependency of 'keys'"),
        ({**ARTIFACT, **BEST, "concat": True}, "entry/concat: True is not one of [False]"),
        ({**ARTIFACT, **BEST, "missing": "skip"}, "entry/missing: 'skip' is not one of ['raise']"),
        ({**ARTIFACT, **BEST, "checkpoint": STATE}, "entry: False schema does not allow"),
        ({k: v for k, v in ARTIFACT.items() if k != "artifact"}, "'artifact' is a required prop"),
        ({**FRAME, "columns": "seed"}, "entry/columns: 'seed' is not valid under any of the given"),
        ({**FRAME, "columns": ["seed", "seed"]}, "entry/columns: ['seed', 'seed'] is not valid"),
        ({**FRAME, "schema": {}}, "entry/schema: {} is not valid under any of the given schemas"),
        ({**FRAME, "library": "dask"}, "entry/library: 'dask' is not valid under any of the given"),
        ({**FRAME, "nested": "yaml"}, "entry/nested: 'yaml' is not valid under any of the given"),
        ({**FRAME, "lazy": True}, "entry: 'schema' is a required property"),
        ({**FRAME, "lazy": True, "schema": {"seed": "Int64"}, "columns": ["seed"]}, "False schema"),
        ({**FRAME, "lazy": True, "schema": {"a": "Int8"}, "library": "pandas"}, "entry/library"),
        ({**FRAME, "run_id": "13f4", "min_runs": 1}, "entry: False schema does not allow"),
        ({**RUN, "type": "kedro_hydraflow.HydraflowRunsDataset"}, "entry/type: 'kedro_hydraflow."),
    ],
)  # fmt: skip
def test_mistakes(entry: dict[str, Any], message: str) -> None:
    assert message in "\n".join(list_errors({"entry": entry}))
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
    ],
)
def test_what_kedro_accepts(entry: dict[str, Any]) -> None:
    assert list_errors({"entry": entry}) == []
    assert is_accepted(entry)
