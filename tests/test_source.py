from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from upath import UPath

from kedro_hydraflow import (
    HydraflowRunCollectionDataset,
    HydraflowRunDataset,
    Run,
    RunInfo,
    get_experiment_names,
    iter_run_dirs,
)
from kedro_hydraflow.errors import NotFoundError, OptionError, StorageError
from kedro_hydraflow.finding import Search
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


SFTP = {
    f"{scheme}://files.example{'' if scheme == 'sftp' else ':22'}"
    for scheme in ("http", "https", "ftp", "sftp")
}
"""The hosts that the options ``host`` and ``port`` name: that of a URL with any scheme."""


@pytest.mark.parametrize(
    ("options", "hosts"),
    [
        ({"tracking_dir": "mlruns"}, set()),
        (
            {"tracking_uri": "https://ann:pw@MLflow.example:5000/x"},
            {"https://mlflow.example:5000"},
        ),
        ({"tracking_dir": "zip://::https://files.example/a.zip"}, {"https://files.example"}),
        (
            {"tracking_dir": "mlruns", "artifact_root": "https://files.example"},
            {"https://files.example"},
        ),
        ({"tracking_dir": UPath("sftp://ann:pw@files.example:22/m")}, SFTP),
        (
            {
                "tracking_dir": "mlruns",
                "storage_options": {"client_kwargs": {"endpoint_url": "http://127.0.0.1:9000"}},
            },
            {"http://127.0.0.1:9000"},
        ),
        (
            {"tracking_dir": "mlruns", "storage_options": {"host": "Files.example", "port": 22}},
            SFTP,
        ),
        (
            {"tracking_dir": "m", "storage_options": {"allowed_hosts": ["https://Files.example/"]}},
            {"https://files.example"},
        ),
        (
            {"tracking_dir": "m", "storage_options": {"headers": {"Referer": "https://a.example"}}},
            set(),
        ),
    ],
)
def test_hosts_that_the_user_names(
    options: dict[str, Any], hosts: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_CONNECTION_STRING"):
        monkeypatch.delenv(variable, raising=False)
    assert Source(**options).list_hosts() == hosts


def test_variables_name_the_account_of_azure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "Ours")
    monkeypatch.setenv(
        "AZURE_STORAGE_CONNECTION_STRING", "AccountName=theirs;BlobEndpoint=http://127.0.0.1:1/x"
    )
    assert Source("mlruns").list_hosts() == {
        "https://ours.blob.core.windows.net",
        "https://theirs.blob.core.windows.net",
        "http://127.0.0.1:1",
    }


@pytest.mark.parametrize("value", ["https://files.example", ["files.example"], [3], 3, {"a": "b"}])
def test_allowed_hosts_are_urls(value: Any) -> None:
    with pytest.raises(OptionError, match=r"allowed_hosts: expected a list of URLs such as https"):
        Source("mlruns", storage_options={"allowed_hosts": value})


def test_a_wrong_allowed_host_is_shown_without_its_login() -> None:
    with pytest.raises(OptionError, match="allowed_hosts") as raised:
        Source("mlruns", storage_options={"allowed_hosts": "https://ann:SECRET@files.example"})
    assert "SECRET" not in str(raised.value)


def test_a_repr_shows_no_credentials() -> None:
    source = Source(
        "https://ann:SECRET@files.example/m?sig=SECRET",
        artifact_root="s3://key:SECRET@bucket/a",
        storage_options={"key": "SECRET", "client_kwargs": {"x": "SECRET"}},
    )
    assert repr(source) == (
        "Source(tracking_dir='https://files.example/m', tracking_uri=None, "
        "artifact_root='s3://bucket/a', storage_options=<options: key, client_kwargs>, layout=None)"
    )
    uri = "https://ann:SEC%2FRET@mlflow.example"
    search = Search(Source(tracking_uri=uri), "train")
    assert "tracking_uri='https://mlflow.example'" in repr(search)
    assert "SEC" not in repr(search)
    assert source == Source(**{f.name: getattr(source, f.name) for f in fields(source)})


def test_a_source_without_credentials() -> None:
    source = Source(
        "https://ann:SECRET@files.example/m?sig=SECRET",
        artifact_root=UPath("sftp://ann:SECRET@files.example/a"),
        storage_options={"key": "SECRET"},
        layout="mlflow",
    ).without_credentials()
    assert source.tracking_dir == "https://files.example/m"
    assert source.layout == "mlflow"
    assert b"SECRET" not in pickle.dumps(source)
    uri = Source(tracking_uri="https://ann:SECRET@mlflow.example").without_credentials()
    assert uri.uri == "https://mlflow.example"
    assert Source("/a/b@c", storage_options={}).without_credentials().tracking_dir == "/a/b@c"
    with pytest.raises(StorageError, match="is not read for a copy"):
        source.locate().read()
