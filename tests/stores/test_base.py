"""The contract of all stores."""

from __future__ import annotations

import math
import pickle
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kedro_hydraflow.config import ConfigReader
from kedro_hydraflow.errors import OptionError
from kedro_hydraflow.source import Source
from kedro_hydraflow.storage import locate
from kedro_hydraflow.stores import Store, make_name_filter, open_store
from kedro_hydraflow.stores.artifacts_store import ArtifactsStore
from kedro_hydraflow.stores.base import CONFIG_FILE, make_experiment_filter, restore_infinity
from kedro_hydraflow.stores.record import ExperimentRecord, RunRecord
from tests.conftest import DATABASE_SWEEP, SWEEP
from tests.stores.conftest import FAKE, FakeClient, find_run_ids, make_metric

# Filters -------------------------------------------------------------------------------


NAMES = ["eval", "train_[a]", "train_a", "train_b*", "Train"]


@pytest.mark.parametrize(
    ("experiment_names", "expected"),
    [
        (None, NAMES),
        ("eval", ["eval"]),
        ("train_*", ["train_[a]", "train_a", "train_b*"]),
        ("train_?", ["train_a"]),
        (["eval", "train_[ab]"], ["eval", "train_a"]),
        (("eval",), ["eval"]),
        ("train_[a]", ["train_[a]", "train_a"]),
        ("train_b*", ["train_b*"]),
        ("train", []),
        ([], []),
        ("", []),
        (lambda name: name.lower().startswith("t"), NAMES[1:]),
    ],
)
def test_experiment_names(experiment_names: object, expected: list[str]) -> None:
    matches = make_name_filter(experiment_names)  # type: ignore[arg-type]
    assert [name for name in NAMES if matches(name)] == expected


@pytest.mark.parametrize("experiment_names", [3, ["a", 3], {"a"}, b"a", Path("a")])
def test_bad_experiment_names_are_refused(tmp_path: Path, experiment_names: object) -> None:
    message = r"experiment_names: expected a name or glob, a list of them, or a callable, found "
    with pytest.raises(OptionError, match=message):
        find_run_ids(tmp_path, experiment_names)


@pytest.mark.parametrize(
    ("experiment_names", "matches", "matches_on_request"),
    [
        ("Default", True, True),
        (["train", "Default"], True, True),
        (("Default",), True, True),
        ("*", False, True),
        ("Defaul?", False, True),
        ("[D]efault", False, True),
        (["D*", "train"], False, True),
        (None, False, True),
        (lambda name: True, False, True),
        (lambda name: False, False, False),
        ("train", False, False),
        ("default", False, False),
        ([], False, False),
    ],
)
def test_experiment_0_matches_its_literal_name(
    experiment_names: Any, matches: bool, matches_on_request: bool
) -> None:
    match = make_experiment_filter(experiment_names, include_default=False)
    assert match("0", "Default") == matches
    assert match("1", "Default") == matches_on_request
    on_request = make_experiment_filter(experiment_names, include_default=True)
    assert on_request("0", "Default") == on_request("1", "Default") == matches_on_request


def test_a_predicate_is_not_asked_about_experiment_0() -> None:
    def fail(name: str) -> bool:
        raise AssertionError(name)

    assert not make_experiment_filter(fail, include_default=False)("0", "Default")


# Every store -----------------------------------------------------------------------------

STORES: dict[str, Callable[[], Store]] = {
    "file": lambda: open_store(Source(SWEEP)),
    "sqlite": lambda: open_store(Source(DATABASE_SWEEP / "mlflow.db")),
    "artifacts": lambda: ArtifactsStore(locate(DATABASE_SWEEP / "mlruns")),
    "server": lambda: open_store(Source(tracking_uri=FAKE)),
}


@pytest.fixture(params=STORES)
def make_store(request: pytest.FixtureRequest, client: FakeClient) -> Callable[[], Store]:
    """Open the same store again with each call."""
    client.histories = {
        (run.info.run_id, name): [make_metric(0.0, 0), make_metric(value, 1)]
        for run in client.runs
        for name, value in run.data.metrics.items()
    }
    return STORES[request.param]


def find(store: Store) -> list[RunRecord]:
    listing = store.list_runs(store.find_experiments().matching)
    found = store.read_runs(listing.experiments)
    assert (listing.failures, found.failures) == ([], [])
    return found.records


def test_stores_of_the_same_data_are_equal(make_store: Callable[[], Store]) -> None:
    store = make_store()
    find(store)
    travelled = pickle.loads(pickle.dumps(store))
    assert store == make_store() == travelled
    assert type(travelled) is type(store)
    assert travelled.where == store.where
    assert {store, make_store(), travelled} == {store}
    others = [make() for make in STORES.values() if make is not make_store]
    assert store not in others
    assert store != store.where


def test_answers_do_not_depend_on_earlier_calls(make_store: Callable[[], Store]) -> None:
    used = make_store()
    records = find(used)
    assert len(records) > 3
    experiments = used.find_experiments().matching
    assert experiments == sorted(experiments, key=ExperimentRecord.sort_key)
    for store in (used, make_store(), pickle.loads(pickle.dumps(used))):
        assert store.find_experiments().matching == experiments
        assert find(store) == records
        listing = store.list_runs(experiments)
        assert listing.experiments == used.list_runs(experiments).experiments
        (*_, last) = listing.experiments
        (record,) = make_store().read_runs([last.take(0, 1)]).records
        assert record in records


def test_experiments_are_named_however_they_were_found(make_store: Callable[[], Store]) -> None:
    used = make_store()
    for record in find(used):
        experiment = record.experiment
        unnamed = replace(record, experiment=replace(experiment, experiment_name=None))
        for store in (used, make_store()):
            assert store.name_experiment(unnamed).experiment_name == experiment.experiment_name
            assert store.name_experiment(record) is experiment


def test_facts_are_those_that_were_found(make_store: Callable[[], Store]) -> None:
    records = find(make_store())
    unread = [replace(record, facts=None) for record in records]
    facts = make_store().read_facts(unread)
    assert facts == [record.facts or {} for record in records]
    assert make_store().read_facts(unread[::-1]) == facts[::-1]
    assert make_store().read_facts([]) == []


@pytest.mark.parametrize("kind", ["metrics", "params", "tags"])
def test_one_value_is_that_of_all(make_store: Callable[[], Store], kind: str) -> None:
    records = [replace(record, logged=None) for record in find(make_store())]
    logged = make_store().read_all(records, kind)
    names = {name for values in logged if isinstance(values, dict) for name in values}
    for name in [*sorted(names), "absent"]:
        values = make_store().read_values(records, kind, name)
        assert values == [of_run.get(name) for of_run in logged if isinstance(of_run, dict)]
    assert make_store().read_all([], kind) == []


def test_the_latest_value_is_the_last_of_the_history(make_store: Callable[[], Store]) -> None:
    records = find(make_store())
    metrics = make_store().read_all(records, "metrics")
    names = {name for values in metrics if isinstance(values, dict) for name in values}
    for name in [*sorted(names), "absent"]:
        histories = make_store().read_histories(records, name)
        latest = [points[-1].value if points else None for points in histories]
        assert latest == make_store().read_values(records, "metrics", name)


def test_configurations_are_where_the_store_says(make_store: Callable[[], Store]) -> None:
    store = make_store()
    records = find(store)
    configs = store.read_configs(records, ConfigReader()).values
    for record, config in zip(records, configs, strict=True):
        file = store.artifacts(record).join(CONFIG_FILE)
        assert file == record.join(store.config_file)
        assert store.config_url(record) == file.url
        assert (config is None) == (file.read() is None)
        assert config is None or isinstance(config, dict)
    assert any(configs)
    assert store.get_run_errors(records) == [None] * len(records)


@pytest.mark.parametrize(
    ("stored", "value"),
    [
        (sys.float_info.max, math.inf),
        (-sys.float_info.max, -math.inf),
        (1e300, 1e300),
        (0.0, 0.0),
        (-0.5, -0.5),
    ],
)
def test_infinity_is_restored(stored: float, value: float) -> None:
    assert restore_infinity(stored) == value
