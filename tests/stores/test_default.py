"""The experiment "Default", with the ID 0, in every kind of store."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest

from kedro_hydraflow import (
    HydraflowRunCollectionDataset,
    Run,
    get_experiment_names,
    iter_experiment_dirs,
    iter_run_dirs,
    iter_runs,
)
from kedro_hydraflow.errors import NotFoundError, RunLoadError
from kedro_hydraflow.finding import Search, find_runs
from kedro_hydraflow.source import Source
from kedro_hydraflow.stores import open_store
from tests.conftest import Database, TrackingDir, WebServer, find_first_runs, write
from tests.stores.conftest import FAKE, FakeClient, put

ID = "a" * 32
OTHER = "b" * 32

Options = dict[str, Any]


def write_file_store(root: Path, experiment_id: str = "0", name: str = "Default") -> TrackingDir:
    """Write a file store with a run in "Default" and, if its ID is another, one in "train"."""
    tracking = TrackingDir(root)
    tracking.add_run(tracking.add_experiment(name, experiment_id), ID, "seed: 7")
    tracking.add_run(tracking.add_experiment("train", "1"), OTHER, "seed: 1")
    return tracking


@pytest.fixture(params=["file", "memory", "zip", "sqlite", "server", "artifacts", "workspace"])
def options(request: pytest.FixtureRequest, tmp_path: Path) -> Options:
    """A store with one run in "Default" and one in "train", as arguments of `iter_run_dirs`."""
    kind = request.param
    if kind in ("file", "memory", "zip"):
        tracking = write_file_store(tmp_path / "mlruns")
        bucket = f"bucket-{tmp_path.name}"
        if kind == "memory":
            fsspec.filesystem("memory").put(str(tracking.root), f"/{bucket}/mlruns", recursive=True)
        archive = shutil.make_archive(str(tmp_path / "archive"), "zip", tracking.root)
        locations = {"memory": f"memory://{bucket}/mlruns", "zip": f"zip://::{archive}"}
        return {"tracking_dir": locations.get(kind, tracking.root)}
    if kind == "sqlite":
        database = Database(tmp_path / "mlflow.db")
        database.add_run(0, ID)
        database.add_run(database.add_experiment("train"), OTHER)
        put(tmp_path / "mlruns/0", int(ID, 16), seed=7)
        put(tmp_path / "mlruns/1", int(OTHER, 16), seed=1)
        return {"tracking_dir": database.path}
    if kind == "server":
        client: FakeClient = request.getfixturevalue("client")
        client.add_run("0", ID)
        client.runs = [run for run in client.runs if run.info.experiment_id == "0"]
        client.add_run("8", OTHER)
        client.experiments = [e for e in client.experiments if e.name != "train"]
        client.experiments[-1].name = "train"
        return {"tracking_uri": FAKE}
    folder = tmp_path / ("bucket/workspaces/team" if kind == "workspace" else "bucket")
    put(folder / "0", int(ID, 16), seed=7)
    put(folder / "1", int(OTHER, 16), seed=1)
    return {"tracking_dir": tmp_path / "bucket"}


def get_messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what was logged, without what is said of artifacts alone."""
    return [message for message in caplog.messages if "artifacts alone" not in message]


def find(options: Options, names: Any = None, **kwargs: Any) -> list[str]:
    return [path.name for path in iter_run_dirs(**options, experiment_names=names, **kwargs)]


@pytest.mark.parametrize(
    "names", [None, "*", "[D]efault", "Def*", ["train", "*"], lambda name: True]
)
def test_it_is_left_out_and_that_is_logged_once(
    options: Options, names: Any, caplog: pytest.LogCaptureFixture
) -> None:
    expected = [] if names in ("[D]efault", "Def*") else [OTHER]
    loads: list[Callable[[], list[str]]] = [
        lambda: find(options, names),
        lambda: Run.load(iter_run_dirs(**options, experiment_names=names)).to_list("run_id"),
        lambda: [
            run.info.run_id
            for runs in iter_runs(**options, experiment_names=names, batch_size=1)
            for run in runs
        ],
    ]
    for load in loads:
        caplog.clear()
        assert load() == expected
        (message,) = [text for text in caplog.messages if "are left out" in text]
        assert message.endswith(
            ": the runs of the experiment 'Default' are left out; to include them, give its name, "
            "as in experiment_names=['Default', '*']"
        )
    assert get_experiment_names(**options) == ["train"]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("Default", [ID]),
        (["Default"], [ID]),
        (("Default", "train"), [ID, OTHER]),
        (["Default", "*"], [ID, OTHER]),
        (["t*", "Default"], [ID, OTHER]),
    ],
)
def test_it_is_included_by_its_name(
    options: Options, names: Any, expected: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert find(options, names) == expected
    runs = Run.load(iter_run_dirs(**options, experiment_names=names))
    assert runs[0].info.job_name == "Default"
    assert runs[0].info.experiment_id == "0"
    assert runs[0].cfg
    assert len(list(iter_experiment_dirs(**options, experiment_names=names))) == len(expected)
    assert get_messages(caplog) == []


def test_it_is_included_in_a_search_on_request(options: Options) -> None:
    """As a search by run ID needs it."""
    source = Source(**options)
    for names, expected in ((None, [ID, OTHER]), ("D*", [ID]), ("train", [OTHER])):
        found = find_runs(Search(source, names), include_default=True)
        assert [info.run_id for info in found.runs] == expected


def test_other_names_do_not_mention_it(options: Options, caplog: pytest.LogCaptureFixture) -> None:
    for names in ("train", ["train"], "t*"):
        assert find(options, names) == [OTHER]
    assert get_messages(caplog) == []
    with pytest.raises(NotFoundError, match=r"there is no experiment 'default' .* are 'Default'"):
        find(options, "default")


def test_deleted_runs_in_it_are_not_mentioned(
    tmp_path: Path, client: FakeClient, caplog: pytest.LogCaptureFixture
) -> None:
    tracking = TrackingDir(tmp_path / "files/mlruns")
    tracking.add_run(tracking.add_experiment("Default", "0"), ID, lifecycle_stage="deleted")
    database = Database(tmp_path / "mlflow.db")
    database.add_run(0, ID, lifecycle_stage="deleted")
    client.add_run("0", ID, stage="deleted")
    for options in (
        {"tracking_dir": tracking.root},
        {"tracking_dir": database.path},
        {"tracking_uri": FAKE, "experiment_names": "*"},
    ):
        list(iter_run_dirs(**options))
    assert caplog.messages == [
        f"no runs in {where}: there are no experiments besides 'Default'"
        for where in (tracking.root, database.path)
    ]


# File stores -----------------------------------------------------------------------------


def test_another_experiment_of_that_name_is_a_normal_one(
    tmp_path: Path, publish: Callable[[Path], str]
) -> None:
    tracking = write_file_store(tmp_path / "mlruns", "5")
    location = publish(tracking.root)
    assert find({"tracking_dir": location}) == [ID, OTHER]
    assert find({"tracking_dir": location}, "Def*") == [ID]


def test_both_have_that_name(tmp_path: Path) -> None:
    tracking = write_file_store(tmp_path / "mlruns")
    tracking.add_run(tracking.add_experiment("Default", "5"), "c" * 32)
    assert find({"tracking_dir": tracking.root}, "Default") == [ID, "c" * 32]
    assert find({"tracking_dir": tracking.root}, "D*") == ["c" * 32]


def test_experiment_0_with_another_name_is_included_by_that_name(
    tmp_path: Path, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    tracking = write_file_store(tmp_path / "files/mlruns", "0", "eval")
    database.execute("UPDATE experiments SET name = 'eval'")
    database.add_run(0, ID)
    for location in (tracking.root, database.path):
        assert find({"tracking_dir": location}, "eval") == [ID]
        caplog.clear()
        assert ID not in find({"tracking_dir": location}, "*")
        assert "are left out; to include them, give its name" in caplog.text
        with pytest.raises(NotFoundError, match="there is no experiment 'Default'"):
            find({"tracking_dir": location}, "Default")


@pytest.mark.parametrize("name", ["train_0", "sweep[1]", "what?", "[unclosed"])
def test_a_recorded_name_counts_instead_of_default(
    tmp_path: Path,
    publish: Callable[[Path], str],
    caplog: pytest.LogCaptureFixture,
    name: str,
) -> None:
    tracking = write_file_store(tmp_path / "mlruns", "0", name)
    for location in (publish(tracking.root), make_renamed_database(tmp_path / "x.db", name)):
        options = {"tracking_dir": location}
        for names in (name, [name], [name, "nothing-*"]):
            assert find(options, names) == [ID]
        assert sorted(find(options, [name, "*"])) == [ID, OTHER]
        for names in (None, "*", f"{name[0].replace('[', '[[]')}*", lambda name: True):
            caplog.clear()
            assert ID not in find(options, names)
            assert f"the runs of the experiment {name!r} are left out" in caplog.text
            assert f"as in experiment_names=[{name!r}, '*']" in caplog.text
        caplog.clear()
        assert find(options, "train") == [OTHER]
        assert caplog.messages == []
        with pytest.raises(NotFoundError) as raised:
            find(options, ["Default", "*"])
        assert f"; the experiment 0 has the name {name!r}" in str(raised.value)


def make_renamed_database(path: Path, name: str) -> Path:
    database = Database(path)
    database.execute(("UPDATE experiments SET name = ?", (name,)))
    database.add_run(0, ID)
    database.add_run(database.add_experiment("train"), OTHER)
    return path


def test_many_deleted_runs_hide_no_active_one(
    tmp_path: Path,
    publish: Callable[[Path], str],
    client: FakeClient,
    caplog: pytest.LogCaptureFixture,
) -> None:
    database = Database(tmp_path / "database/x.db")
    tracking = write_file_store(tmp_path / "mlruns", "0")
    (tracking.root / "0" / ID).rename(tracking.root / "0" / ("f" * 32))
    for i in range(120):
        tracking.add_run(tracking.root / "0", f"{i:032x}", None, lifecycle_stage="deleted")
        database.add_run(0, f"{i:032x}", lifecycle_stage="deleted")
        client.add_run("0", f"{i:032x}", stage="deleted")
    location = publish(tracking.root)
    places: list[Options] = [{"tracking_uri": f"sqlite:///{database.path}"}, {"tracking_uri": FAKE}]
    for options in places:
        find(options)
    assert "are left out" not in caplog.text
    database.add_run(0, "f" * 32)
    client.add_run("0", "f" * 32)
    for options in ({"tracking_dir": location}, *places):
        caplog.clear()
        find(options)
        assert "the runs of the experiment 'Default' are left out" in caplog.text


def test_it_may_be_the_only_experiment(
    tmp_path: Path, publish: Callable[[Path], str], caplog: pytest.LogCaptureFixture
) -> None:
    tracking = TrackingDir(tmp_path / "mlruns")
    tracking.add_run(tracking.add_experiment("Default", "0"), ID, "seed: 7")
    location = publish(tracking.root)
    with caplog.at_level(logging.INFO, "kedro_hydraflow"):
        assert len(HydraflowRunCollectionDataset(path=location).load()) == 0
    assert ["Default" in message for message in caplog.messages][:1] == [True]
    assert not any("artifacts alone" in message for message in caplog.messages)
    (run,) = HydraflowRunCollectionDataset(path=location, experiment_names="Default").load()
    assert (run["seed"], run.info.status) == (7, "FINISHED")


@pytest.mark.parametrize("content", ["- 1", "{", "", "artifact_location: x\n"])
def test_its_meta_file_counts_only_if_it_may_be_asked_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, waits: list[float], content: str
) -> None:
    tracking = write_file_store(tmp_path / "mlruns")
    write(tracking.root / "0/meta.yaml", content)
    for names in (None, "train", ["t*"], "*"):
        caplog.clear()
        assert find({"tracking_dir": tracking.root}, names) == [OTHER]
        assert ("give its name, as in experiment_names=['Default', '*']" in caplog.text) == (
            names in (None, "*")
        )
    if not content:
        assert find({"tracking_dir": tracking.root}, "Default") == [ID]
        return
    with pytest.raises((RunLoadError, NotFoundError), match=r"0.meta\.yaml: "):
        find({"tracking_dir": tracking.root}, "Default")
    (tracking.root / "0/meta.yaml").unlink()
    assert find({"tracking_dir": tracking.root}, "Default") == [ID]


def test_without_its_folder_it_takes_no_request(
    tmp_path: Path, serve: Callable[[Path], WebServer]
) -> None:
    tracking = TrackingDir(tmp_path / "mlruns")
    tracking.add_runs(2)
    server = serve(tmp_path)
    assert len(find({"tracking_dir": f"{server.url}/mlruns"})) == 2
    assert not any("/0" in path for path in server.requests)


# A few runs --------------------------------------------------------------------------------


def test_a_preview_leaves_it_out(options: Options) -> None:
    assert [info.run_id for info in find_first_runs(Search(Source(**options)), 3)] == [OTHER]
    store = open_store(Source(**options))
    found = store.find_experiments()
    assert [e.experiment_id for e in found.defaults] == ["0"]
    assert store.has_active_runs(found.defaults)
    assert not store.has_active_runs([])
