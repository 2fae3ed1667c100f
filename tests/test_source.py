from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kedro_hydraflow import (
    HydraflowRunCollectionDataset,
    HydraflowRunDataset,
    Run,
    RunInfo,
    get_experiment_names,
    iter_run_dirs,
)
from kedro_hydraflow.errors import NotFoundError, OptionError, StorageError
from kedro_hydraflow.source import Source
from tests.conftest import Database, TrackingDir, WebServer
from tests.stores.conftest import find_run_ids


@pytest.fixture
def home(tracking_dir: TrackingDir, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home directory with a tracking directory of one run; the working directory is empty."""
    tracking_dir.add_run(tracking_dir.add_experiment("train"), "a")
    monkeypatch.setenv("HOME", str(tracking_dir.root.parent))
    (tracking_dir.root.parent / "empty").mkdir()
    monkeypatch.chdir(tracking_dir.root.parent / "empty")
    return tracking_dir.root.parent


# Paths ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "location",
    ["~/mlruns", "$HOME/mlruns", "${HOME}/mlruns", Path("~/mlruns"), Path("$HOME/mlruns")],
)
def test_home_and_variables_are_expanded(home: Path, location: Any) -> None:
    assert list(iter_run_dirs(location)) == [home / "mlruns/1/a"]
    assert get_experiment_names(tracking_uri=str(location)) == ["train"]
    assert HydraflowRunCollectionDataset(path=location).exists()
    run_dir = location / "1/a" if isinstance(location, Path) else f"{location}/1/a"
    for run in (Run(run_dir), Run.load(run_dir), *Run.load([run_dir])):
        assert run.info.run_dir == RunInfo(run_dir).run_dir == home / "mlruns/1/a"
    assert HydraflowRunDataset(filepath=run_dir).exists()
    assert HydraflowRunDataset(filepath=run_dir).load().info.run_dir == home / "mlruns/1/a"


def test_artifact_root_is_expanded(
    home: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.add_run(database.add_experiment("train"), "a")
    for root in ("~/mlruns", "$HOME/mlruns"):
        (run_dir,) = iter_run_dirs(database.path, artifact_root=root)
        assert run_dir == home / "mlruns/1/a"
    monkeypatch.delenv("HOME")
    with pytest.raises(OptionError, match=r"artifact_root: .* HOME in '\$HOME/x' is not set"):
        list(iter_run_dirs(database.path, artifact_root="$HOME/x"))


@pytest.mark.parametrize("name", ["~", "$HOME", "${HOME}", "$NO_SUCH_VARIABLE"])
def test_a_directory_with_such_a_name_is_taken_as_it_is(home: Path, name: str) -> None:
    inner = TrackingDir(Path(name))
    inner.add_run(inner.add_experiment("inner"), "b")
    assert find_run_ids(name) == find_run_ids(Path(name)) == ["b"]


@pytest.mark.parametrize("location", ["$NO_SUCH_VARIABLE/mlruns", "${NO_SUCH_VARIABLE}/mlruns"])
def test_an_unset_variable_is_named(home: Path, location: str) -> None:
    message = r"tracking_dir: the environment variable NO_SUCH_VARIABLE in '\$.*' is not set"
    with pytest.raises(OptionError, match=message):
        find_run_ids(Path(location))
    with pytest.raises(OptionError, match="tracking_uri: the environment variable NO_SUCH"):
        find_run_ids(tracking_uri=location)


# URLs ----------------------------------------------------------------------------------


def upper(url: str) -> str:
    """Return a URL with its schemes in upper case."""
    for scheme in ("memory", "zip"):
        url = url.replace(f"{scheme}:", f"{scheme.upper()}:")
    return url


def test_schemes_are_taken_in_upper_case(
    tracking_dir: TrackingDir, publish: Callable[[Path], str]
) -> None:
    tracking_dir.add_run(tracking_dir.add_experiment("train"), "a", "lr: 1")
    location = publish(tracking_dir.root)
    locations = [upper(location)]
    if "::" not in location and "://" not in location:
        locations += [f"FILE://{location}", f"File:{location}"]
    for given in locations:
        (run,) = Run.load(iter_run_dirs(given))
        assert run["lr"] == 1


@pytest.mark.parametrize("text", ["localhost:5000", "127.0.0.1:80/team", "mlflow.example.com:443"])
def test_a_server_without_a_scheme(home: Path, text: str) -> None:
    with pytest.raises(NotFoundError) as raised:
        find_run_ids(text)
    assert str(raised.value).endswith(f"; did you mean tracking_uri='http://{text}'?")
    with pytest.raises(NotFoundError, match=r"did you mean tracking_uri='http://"):
        HydraflowRunCollectionDataset(path=text)._search.load()
    with pytest.raises(OptionError) as refused:
        find_run_ids(tracking_uri=text)
    assert str(refused.value) == (
        f"tracking_uri: {text!r} has no scheme; did you mean 'http://{text}'?"
    )


def test_a_web_page_that_lists_nothing(home: Path, serve: Callable[[Path], WebServer]) -> None:
    server = serve(home)
    server.answers = {"/": [404] * 9}
    with pytest.raises(StorageError, match=r"; if it is the URL of a tracking server, give it as"):
        find_run_ids(f"{server.url}/")


# Options -------------------------------------------------------------------------------


def test_storage_options_are_for_storages_of_one_kind() -> None:
    options = {"anon": True}

    def get_options(*args: Any, **kwargs: Any) -> dict[str, Any]:
        source = Source(*args, **kwargs, storage_options=options)
        place = source.locate_artifacts("memory://bucket/1")
        return dict(getattr(place.to_path(), "storage_options", {}))

    assert get_options("mlflow.db") == options
    assert get_options("file:///mlruns") == options
    assert get_options(tracking_uri="http://localhost:5000") == options
    assert get_options("memory://bucket/mlruns") == options
    assert get_options("MEMORY://bucket/mlruns") == options
    assert get_options("s3://bucket/mlruns") == {}
    assert get_options("zip://::memory://archive.zip") == {}


@pytest.mark.parametrize(
    ("options", "hosts"),
    [
        ({"tracking_dir": "mlruns"}, set()),
        ({"tracking_uri": "https://ann:pw@MLflow.example:5000/x"}, {"mlflow.example:5000"}),
        ({"tracking_dir": "zip://::https://files.example/a.zip"}, {"files.example"}),
        ({"tracking_dir": "mlruns", "artifact_root": "https://files.example"}, {"files.example"}),
        (
            {
                "tracking_dir": "mlruns",
                "storage_options": {"client_kwargs": {"endpoint_url": "http://127.0.0.1:9000"}},
            },
            {"127.0.0.1:9000"},
        ),
        ({"tracking_dir": "mlruns", "storage_options": {"host": "Ftp.example"}}, {"ftp.example"}),
    ],
)
def test_hosts_that_the_user_names(options: dict[str, Any], hosts: set[str]) -> None:
    assert Source(**options).list_hosts() == hosts
