"""The contract of all stores."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kedro_hydraflow import Run, get_experiment_names, iter_runs
from kedro_hydraflow.config import ConfigReader
from kedro_hydraflow.errors import NotFoundError, OptionError
from kedro_hydraflow.run_info import get_record, get_store
from kedro_hydraflow.source import Source
from kedro_hydraflow.storage import locate
from kedro_hydraflow.stores import Store, make_name_filter, open_store
from kedro_hydraflow.stores.artifacts_store import ArtifactsStore
from kedro_hydraflow.stores.base import (
    CONFIG_FILE,
    is_glob,
    make_experiment_filter,
)
from kedro_hydraflow.stores.parsed_files import HYDRA_FILES, ParsedFile
from kedro_hydraflow.stores.record import ExperimentRecord, RunRecord
from tests.conftest import DATABASE_SWEEP, HYDRA_SWEEP, SWEEP, FilesRead, apply_filters, write
from tests.stores.conftest import FAKE, FakeClient, Tracker, find_run_ids, make_metric

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
    "hydra": lambda: open_store(Source(HYDRA_SWEEP)),
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


def test_names_of_old_runs_are_tags(tracker: Tracker) -> None:
    tracker.add_run("a", "recorded", mlflow_runName="tagged")
    tracker.add_run("b", "", mlflow_runName="tagged")
    tracker.add_run("c", None, mlflow_runName="null")
    tracker.add_run("d", None, mlflow_user="ann")
    names = ["recorded", "tagged", "null", None]
    runs = tracker.load()
    assert [run.info.run_name for run in runs] == names
    assert runs.to_frame("run_name")["run_name"].to_list() == names
    records = [replace(get_record(run.info), facts=None, logged=None) for run in runs]
    facts = get_store(runs[0].info).read_facts(records)
    assert [of_run.get("run_name") for of_run in facts if isinstance(of_run, dict)] == names


def test_a_null_name_of_an_experiment_is_none(tracker: Tracker) -> None:
    tracker.add_run("a", None)
    tracker.remove_name()
    runs = tracker.load()
    assert [run.info.job_name for run in runs if run.info.run_id == "a"] == [None]
    assert runs.to_frame("run_id", "job_name").filter(run_id="a")["job_name"].to_list() == [None]
    if tracker.kind == "file":
        assert Run(runs[0].info.run_dir).info.job_name is None
    unmet = ("job_name ~ *", "job_name == 'None'", "job_name == ''", "job_name IS NOT NULL")
    for text in ("job_name == null", *unmet):
        kept = apply_filters(runs, text).runs
        assert ("a" in kept.to_list("run_id")) == (text == "job_name == null"), text
        found = find_run_ids(**tracker.location, filters=text)
        assert ("a" in found) == (text == "job_name == null"), text
    for names in ("*", "n*", "N*", lambda name: True):
        assert "a" not in find_run_ids(**tracker.location, experiment_names=names)
    names = get_experiment_names(**tracker.location)
    assert names == (["eval"] if tracker.kind == "server" else [])


def test_parents_and_children(tracker: Tracker) -> None:
    tracker.add_run("a", mlflow_user="ann")
    for run_id, parent in {"b": "a", "c": "a", "d": "c", "e": "elsewhere", "f": ""}.items():
        tracker.add_run(run_id, mlflow_parentRunId=parent)
    runs = tracker.load()
    parents = [None, "a", "a", "c", "elsewhere", None]
    assert [run.info.parent_run_id for run in runs] == parents
    assert tracker.load().to_frame("parent_run_id")["parent_run_id"].to_list() == parents
    assert tracker.load().to_list("parent_run_id") == parents
    assert [run.get("parent_run_id") for run in tracker.load()] == parents
    assert runs.parents().to_list("run_id") == ["a", "f"]
    assert runs.children(runs[0]).to_list("run_id") == ["b", "c"]
    assert runs.children("c").to_list("run_id") == ["d"]
    assert runs[4:].children("elsewhere").to_list("run_id") == ["e"]
    assert runs.children("f").to_list("run_id") == runs.children("").to_list("run_id") == []
    tracker.add_run("nested-1", mlflow_parentRunId="the-parent")
    tracker.add_run("nested-2", mlflow_parentRunId="the-other")
    assert tracker.load().children("the-p").to_list("run_id") == ["nested-1"]
    assert tracker.load().children("the").to_list("run_id") == []  # too short
    message = "several IDs begin with 'the-', such as the-other and the-parent; give more of the ID"
    with pytest.raises(OptionError, match=message):
        tracker.load().children("the-")
    assert runs.filter(parent_run_id="a").to_list("run_id") == ["b", "c"]
    assert pickle.loads(pickle.dumps(runs)).children("a").to_list("run_id") == ["b", "c"]


def test_parents_of_many_runs_are_read_at_once(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20):
        tracker.add_run(f"{number:02}", mlflow_parentRunId=f"{number // 10:02}")
    kinds = []
    runs = tracker.load()
    store = type(get_store(runs[0].info))
    for method in ("read_values", "read_all", "read_facts"):
        read = getattr(store, method)

        def note(self: Store, records: Any, *args: Any, read: Any = read) -> Any:
            kinds.append((len(records), *args))
            return read(self, records, *args)

        monkeypatch.setattr(store, method, note)
    expected = [] if tracker.kind == "server" else [(20, "tags", "mlflow.parentRunId")]
    for use in (
        lambda runs: runs.parents(),
        lambda runs: runs.children("00"),
        lambda runs: runs.to_frame("parent_run_id"),
        lambda runs: runs.to_list("parent_run_id"),
        lambda runs: runs.sort("parent_run_id"),
    ):
        runs = tracker.load()
        kinds.clear()
        use(runs)
        use(runs)
        assert kinds == expected


def test_models(tracker: Tracker) -> None:
    tracker.add_run("a")
    tracker.add_run("b")
    tracker.add_model("m-5", "a")
    tracker.add_model("m-10", "a")
    tracker.add_model("m-7", "a", "other")
    tracker.add_model("m-11", "a", lifecycle_stage="deleted")
    tracker.add_model("m-12", "b", "a b")
    tracker.add_model("m-13", None, "of no run")
    runs = tracker.load()
    for a, b in (runs, pickle.loads(pickle.dumps(runs)), copy.deepcopy(runs)):
        assert {name: path.parent.name for name, path in a.models.items()} == {
            "model": "m-10",
            "other": "m-7",
        }
        assert (a.models["model"] / "MLmodel").read_text() == "of m-10"
        assert list(b.models) == ["a b"]
    a.models.clear()
    assert list(a.models) == ["model", "other"]


def test_models_are_read_once_for_all_runs(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(10):
        tracker.add_run(f"{number:02}")
        tracker.add_model(f"m-{number}", f"{number:02}", f"model{number % 2}")
    runs = tracker.load()
    store = type(get_store(runs[0].info))
    read_models = store._read_models
    calls = []

    def note(self: Store, record: RunRecord) -> Any:
        calls.append(record.run_id)
        return read_models(self, record)

    monkeypatch.setattr(store, "_read_models", note)
    assert [list(run.models) for run in runs] == [[f"model{number % 2}"] for number in range(10)]
    assert calls == ["00"]
    assert len(tracker.load()[3].models) == 1
    assert calls == ["00", "03"]


def test_absent_artifacts_that_are_in_a_model(tracker: Tracker) -> None:
    tracker.add_run("a")
    tracker.add_run("b")
    artifacts = tracker.add_model("m-1", "a")
    a, b = tracker.load()
    for name in ("model", "model/MLmodel"):
        with pytest.raises(NotFoundError) as raised:
            a.fetch(name)
        assert str(raised.value) == (
            f"there is no {str(a.path(name))!r}; MLflow 3 keeps the model 'model' in {artifacts}: "
            "use run.models['model']"
        )
    with pytest.raises(NotFoundError, match="; MLflow 3 keeps the model 'model' in "):
        list(a.iterdir("model"))
    with pytest.raises(NotFoundError, match=r"; run.models has the models that it logged: 'model'"):
        a.fetch("other")
    with pytest.raises(NotFoundError) as raised:
        b.fetch("model")
    assert "MLflow 3" not in str(raised.value)


def test_parsed_files_are_beside_the_configuration(make_store: Callable[[], Store]) -> None:
    store = make_store()
    records = find(store)
    for file in (*HYDRA_FILES.values(), ParsedFile("results", "result.json")):
        contents = store.read_parsed_files(records, file)
        for record, content in zip(records, contents, strict=True):
            assert (content is None) == (store.artifacts(record).join(file.path).read() is None)
        assert store.read_parsed_files([], file) == []
    configs = store.read_configs(records, ConfigReader()).values
    assert store.read_parsed_files(records, ParsedFile("results", CONFIG_FILE)) == configs


def test_results(tracker: Tracker, files_read: FilesRead) -> None:
    for run_id in "abc":
        tracker.add_run(run_id)
    for run in tracker.load()[:2]:
        value = ord(run.info.run_id)
        text = json.dumps({"loss": value, "val": {"loss": value / 2}, "note": "${seed}"})
        write(run.path("out/result.json"), text)
    runs = tracker.load(results="out/result.json")
    files_read.clear()
    assert runs.to_list("results.loss", None) == [97, 98, None]
    assert files_read.counts == [3]
    assert runs.to_frame("results.val.loss", "results.note").rows() == [
        (48.5, "${seed}"),
        (49.0, "${seed}"),
        (None, None),
    ]
    assert [run.results.get("loss") for run in runs] == [97, 98, None]
    assert runs[2].results == {}
    assert files_read.counts == [3]
    assert runs.best("results.loss", mode="min").info.run_id == "a"
    for condition in ("results.loss > 97", "results.val.loss in [1, 49]"):
        kept = apply_filters(tracker.load(results="out/result.json"), condition)
        assert kept.runs.to_list("run_id") == ["b"]
    (batch,) = iter_runs(**tracker.location, results="out/result.json")
    assert batch.to_list("results.loss", 0) == [97, 98, 0]
    alone = Run(runs[0].info.run_dir, results="./out/result.json")
    assert alone.results == runs[0].results


def test_names_of_many_experiments(make_store: Callable[[], Store]) -> None:
    records = find(make_store())
    unnamed = [replace(r, experiment=replace(r.experiment, experiment_name=None)) for r in records]
    for record, named in zip(records, make_store().name_experiments(unnamed), strict=True):
        assert not isinstance(named, Exception)
        assert named.experiment_name in (None, record.experiment.experiment_name)
    assert make_store().name_experiments([]) == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("*", True),
        ("a?", True),
        ("[a]", True),
        ("x[!a]y", True),
        ("[]]", True),
        ("[!]]", True),
        ("[a\nb]", True),
        ("[", False),
        ("train[1", False),
        ("[]", False),
        ("[!]", False),
        ("a]", False),
        ("", False),
    ],
)
def test_what_is_a_glob(name: str, expected: bool) -> None:
    assert is_glob(name) is expected
    if not expected:
        assert fnmatchcase(name, name)


@given(st.text("a[]!*?-", max_size=6))
def test_a_name_without_wildcards_matches_only_itself(name: str) -> None:
    others = [name + "a", "a", "", "b", "[", "]", "!"]
    if not is_glob(name):
        assert [other for other in others if fnmatchcase(other, name)] == [
            other for other in others if other == name
        ]
