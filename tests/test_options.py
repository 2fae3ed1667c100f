"""No option is forgotten: wherever it belongs, it is taken, checked, documented and shown."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from kedro.io import AbstractDataset

from kedro_hydraflow import (
    HydraflowArtifactDataset,
    HydraflowFrameDataset,
    HydraflowRunCollectionDataset,
    HydraflowRunDataset,
    Run,
    get_experiment_names,
    iter_artifact_paths,
    iter_artifacts_dirs,
    iter_experiment_dirs,
    iter_run_dirs,
    iter_runs,
    scan_runs,
)
from kedro_hydraflow.datasets._search import RunSearch
from kedro_hydraflow.errors import OptionError
from kedro_hydraflow.finding import Search
from kedro_hydraflow.loading import LoadOptions
from kedro_hydraflow.source import Source
from tests.conftest import ROOT

BAD: dict[str, tuple[Any, str]] = {
    "tracking_dir": (3, "tracking_dir: expected a path or URL, found 3"),
    "path": (3, "path: expected a path or URL, found 3"),
    "filepath": (3, "filepath: expected a path or URL, found 3"),
    "tracking_uri": (3, "tracking_uri: expected text, found 3"),
    "artifact_root": (3, "artifact_root: expected a path or URL, found 3"),
    "storage_options": ("key", "storage_options: expected a mapping, found a value of type str"),
    "experiment_names": (3, "experiment_names: expected a name or glob, .* found 3"),
    "include_deleted": ("no", "include_deleted: expected true or false, found 'no'"),
    "on_error": ("ignore", "on_error: expected 'raise' or 'warn', found 'ignore'"),
    "impl_factory": (3, "impl_factory: expected a callable, found 3"),
    "config_class": (3, "config_class: expected a d.*, found 3"),
    "n_jobs": ("2", "n_jobs: expected an integer, found '2'"),
    "progress": ("yes", "progress: expected true or false, found 'yes'"),
    "index": (3, "index: expected .* found 3"),
    "min_runs": (-1, "min_runs: expected an integer, 0 or more, found -1"),
    "batch_size": (0, "batch_size: expected a positive integer, found 0"),
    "filters": (3, "filters: expected text such as .* or a list of such texts, found 3"),
    "impl": (3, "impl: expected a dotted path .* found 3"),
    "engine": ("curl", "engine: expected .* found 'curl'"),
    "credentials": ("secret", "credentials: expected a mapping, found a str"),
    "fs_args": ("secret", "fs_args: expected a mapping, found a str"),
    "run_id": (3, "run_id: expected text, found 3"),
    "best_by": (3, "best_by: expected text, found 3"),
    "mode": ("top", "mode: expected 'max' or 'min', found 'top'"),
    "artifact": (3, "artifact: expected a path .* found 3"),
    "dataset": (3, "dataset: expected the type of a Kedro dataset"),
    "filepath_arg": (3, "filepath_arg: expected the name of an option, found 3"),
    "concat": ("yes", "concat: expected true or false, found 'yes'"),
    "keys": ("lr", "keys: "),
    "layout": ("mlruns", "layout: expected 'hydra' or 'mlflow', found 'mlruns'"),
    "results": ("result.csv", "results: expected the path of a file .* found 'result.csv'"),
    "columns": ("lr", "columns: expected a list of different keys, .* found 'lr'"),
    "schema": (3, "schema: expected keys and types, .* found 3"),
    "strict": ("no", "strict: expected true or false, found 'no'"),
    "library": ("arrow", "library: expected 'polars' or 'pandas', found 'arrow'"),
    "lazy": ("yes", "lazy: expected true or false, found 'yes'"),
    "nested": ("text", "nested: expected 'keep' or 'json', found 'text'"),
    "checkpoint": (3, "checkpoint: expected a path or URL, found 3"),
    "lock": (
        {"file": "x"},
        "lock: expected .* a mapping with the key filepath, and logged",
    ),
    "missing": ("ignore", "missing: expected 'raise' or 'skip', found 'ignore'"),
}
"""For each option a value that is none, and the error."""

OF_MANY_RUNS = ("checkpoint", "lock")
"""The options of datasets that a dataset of one run lacks."""

ANYTHING = {"metadata"}
NEEDED: dict[type, dict[str, Any]] = {
    HydraflowRunCollectionDataset: {"path": "mlruns"},
    HydraflowRunDataset: {"path": "mlruns"},
    HydraflowFrameDataset: {"path": "mlruns"},
    HydraflowArtifactDataset: {"path": "mlruns", "artifact": "a", "dataset": "json.JSONDataset"},
}
DATASETS = list(NEEDED)

FINDING = [iter_run_dirs, iter_artifacts_dirs, iter_artifact_paths]
FINDING_EXPERIMENTS = [iter_experiment_dirs, get_experiment_names]


def get_options(options_class: type) -> dict[str, Any]:
    """Return the defaults of the options by name."""
    return {f.name: f.default for f in dataclasses.fields(options_class)}


def get_defaults(function: Callable[..., Any]) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.name != "self"}


SOURCE = get_options(Source)
OF_DATASETS = ("source", "keeps")
SEARCH = {k: v for k, v in get_options(Search).items() if k not in OF_DATASETS}
LOAD = get_options(LoadOptions)


@pytest.mark.parametrize(
    ("function", "options"),
    [
        *((function, {**SOURCE, **SEARCH}) for function in FINDING),
        *((function, {**SOURCE, "on_error": "raise"}) for function in FINDING_EXPERIMENTS),
        (iter_runs, {**SOURCE, **SEARCH, **LOAD}),
        (scan_runs, {**SOURCE, **SEARCH, **LOAD}),
        (Run.load, {**LOAD, "storage_options": None}),
    ],
)
def test_functions_take_all_options_with_their_defaults(
    function: Callable[..., Any], options: dict[str, Any]
) -> None:
    defaults = get_defaults(function)
    if function is iter_artifact_paths:  # the second argument has no default, nor has the first
        defaults["tracking_dir"] = None
    assert {name: defaults.get(name, "lacking") for name in options} == options


@pytest.mark.parametrize("dataset", DATASETS)
def test_datasets_take_all_options_with_their_defaults(dataset: type) -> None:
    defaults = get_defaults(dataset)
    lacking = ("storage_options", *(OF_MANY_RUNS if dataset is HydraflowRunDataset else ()))
    options = {k: v for k, v in get_options(RunSearch).items() if k not in lacking}
    assert {name: defaults.get(name, "lacking") for name in options} == options


CALLS = [
    *(
        (f, name)
        for f in (*FINDING, *FINDING_EXPERIMENTS, iter_runs, scan_runs)
        for name in get_defaults(f)
    ),
    *((Run.load, name) for name in LOAD),
]


@pytest.mark.parametrize(("function", "option"), CALLS)
def test_functions_check_every_option_at_once(
    function: Callable[..., Any], option: str, sweep: Path
) -> None:
    if option == "artifact_path":
        return
    value, message = BAD[option]
    given: dict[str, Any] = {} if option == "tracking_uri" else {"tracking_dir": sweep}
    if function == Run.load:
        given = {"run_dir": [sweep]}
    if function is iter_artifact_paths:
        given = {"tracking_dir": None, **given, "artifact_path": "a"}
    if function is scan_runs:
        given["schema"] = {"lr": "Float64"}
    with pytest.raises(OptionError, match=message):
        function(**{**given, option: value})


DATASET_OPTIONS = [(dataset, name) for dataset in DATASETS for name in get_defaults(dataset)]


@pytest.mark.parametrize(("dataset", "option"), DATASET_OPTIONS)
def test_datasets_check_every_option(dataset: type, option: str) -> None:
    if option in ANYTHING:
        return
    value, message = BAD[option]
    given = dict(NEEDED[dataset])
    if option in ("tracking_uri", "filepath"):
        del given["path"]
    with pytest.raises(OptionError, match=message):
        dataset(**{**given, option: value})


SHOWN: dict[str, Any] = {
    "path": "elsewhere",
    "tracking_uri": "sqlite:///x.db",
    "artifact_root": "artifacts",
    "experiment_names": ["train"],
    "filters": ["lr > 1"],
    "n_jobs": 7,
    "progress": True,
    "on_error": "warn",
    "include_deleted": True,
    "index": "./index",
    "layout": "mlflow",
    "results": "result.json",
    "checkpoint": "checkpoint.json",
    "lock": "lock.json",
}
"""For each option of a search a value that is not its default."""


def test_every_option_of_a_search_has_a_value_to_try() -> None:
    assert set(SHOWN) | {"storage_options"} == set(get_options(RunSearch))


@pytest.mark.parametrize("option", SHOWN)
@pytest.mark.parametrize("dataset", DATASETS)
def test_datasets_hand_every_option_on_and_show_it(dataset: type, option: str) -> None:
    given = dict(NEEDED[dataset])
    if dataset is HydraflowRunDataset and option in OF_MANY_RUNS:
        return
    if option == "tracking_uri":
        del given["path"]
    described: Mapping[str, Any] = dataset(**{**given, option: SHOWN[option]})._describe()
    assert described[option] == SHOWN[option]


NOT_OF_A_SEARCH = ("path", "tracking_uri", "results", *OF_MANY_RUNS)
OF_A_SEARCH = [name for name in SHOWN if name not in NOT_OF_A_SEARCH]


@pytest.mark.parametrize("option", OF_A_SEARCH)
def test_a_run_directory_goes_without_the_options_of_a_search(option: str) -> None:
    with pytest.raises(OptionError, match=f"{option}: cannot be used with filepath"):
        HydraflowRunDataset(filepath="mlruns/1/a", **{option: SHOWN[option]})


def find_documented(docstring: str) -> list[str]:
    arguments = docstring.partition("Args:\n")[2]
    indent = len(arguments) - len(arguments.lstrip(" "))
    lines = arguments.partition("\n\n")[0].splitlines()
    return [m[1] for line in lines if (m := re.match(rf" {{{indent}}}(\w+): ", line))]


@pytest.mark.parametrize("dataset", DATASETS)
def test_datasets_document_their_options_in_their_order(dataset: type[AbstractDataset]) -> None:
    assert find_documented(inspect.getdoc(dataset) or "") == list(get_defaults(dataset))


@pytest.mark.parametrize(
    "function", [iter_run_dirs, iter_artifact_paths, iter_runs, scan_runs, Run.load]
)
def test_functions_document_their_options(function: Callable[..., Any]) -> None:
    documented = find_documented(inspect.getdoc(function) or "")
    assert sorted(documented) == sorted(get_defaults(function))


SHORT_NAMES = {
    "collection": HydraflowRunCollectionDataset,
    "run": HydraflowRunDataset,
    "frame": HydraflowFrameDataset,
    "artifact": HydraflowArtifactDataset,
}
"""What the datasets are called in the table of docs/options.md."""


def read_options_table() -> dict[str, tuple[list[type], str]]:
    """Return the datasets and the default of each option, in the order of the table."""
    table = {}
    for line in (ROOT / "docs/options.md").read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if option := re.fullmatch(r"`(\w+)`", cells[0]):
            names = SHORT_NAMES if cells[1] == "all" else cells[1].split(", ")
            table[option[1]] = ([SHORT_NAMES[name] for name in names], cells[2])
    return table


@pytest.mark.parametrize("dataset", DATASETS)
def test_the_table_of_options_has_those_of_each_dataset_in_their_order(dataset: type) -> None:
    table = read_options_table()
    assert [name for name, (datasets, _) in table.items() if dataset in datasets] == list(
        get_defaults(dataset)
    )


@pytest.mark.parametrize("dataset", DATASETS)
def test_the_table_of_options_has_their_defaults(dataset: type) -> None:
    shown = {name: default for name, (_, default) in read_options_table().items()}
    for name, default in get_defaults(dataset).items():
        if default is inspect.Parameter.empty:
            assert shown[name] == "required"
        elif default is None:
            assert shown[name] == "–"
        else:
            assert yaml.safe_load(shown[name].strip("`")) == default


# What is not an option's value, but nearly ----------------------------------------------


def test_options_are_copied(sweep: Path) -> None:
    names, filters, options = ["train_*"], ["status == FINISHED"], {"auto_mkdir": True}
    dataset = HydraflowRunCollectionDataset(
        path=str(sweep), experiment_names=names, filters=filters, fs_args=options
    )
    run_dirs = iter_run_dirs(f"file://{sweep}", names, storage_options=options)
    names[:], filters[:] = ["eval_*"], ["garbage"]
    options["no_such_option"] = True
    assert len(dataset.load()) == 28
    assert len(list(run_dirs)) == 29


@pytest.mark.parametrize("location", ["", None, 3, b"mlruns"])
def test_a_run_directory_is_a_path_or_url(location: Any) -> None:
    with pytest.raises(OptionError, match=r"run_dir: expected a path"):
        Run.load(location)
    with pytest.raises(OptionError, match=r"run_dir: expected a path"):
        Run.load([location])


@pytest.mark.parametrize("option", ["config_class", "storage_options", "results"])
def test_a_run_checks_its_options(option: str, sweep: Path) -> None:
    value, message = BAD[option]
    with pytest.raises(OptionError, match=message):
        Run(sweep, **{option: value})


def test_the_engine_is_checked_at_once(sweep: Path) -> None:
    with pytest.raises(OptionError, match=r"engine: expected .* found 'curl'"):
        iter_runs(sweep, storage_options={"engine": "curl"})


def test_no_storage_options_are_none(sweep: Path) -> None:
    assert len(Run.load(iter_run_dirs(sweep), storage_options={})) == 31
