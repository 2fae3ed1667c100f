from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from kedro_hydraflow.cli.paths import make_source, select_path
from kedro_hydraflow.errors import NotFoundError, OptionError, StorageError
from kedro_hydraflow.source import Source
from tests.cli.conftest import Ls, invoke
from tests.conftest import DATABASE_SWEEP, Database, TrackingDir, WebServer, write


def list_ids(path: str | Path | None) -> list[str]:
    return [run.info.run_id for run in select_path(None if path is None else str(path)).runs]


@pytest.mark.parametrize(
    ("path", "source"),
    [
        (None, Source()),
        ("mlruns", Source("mlruns")),
        ("s3://team/mlruns", Source("s3://team/mlruns")),
        ("C:/mlruns", Source("C:/mlruns")),
        ("mysql", Source("mysql")),  # a directory of that name
        ("databricks", Source(tracking_uri="databricks")),
        ("databricks://profile", Source(tracking_uri="databricks://profile")),
        ("postgresql://host/a", Source(tracking_uri="postgresql://host/a")),
        ("mysql+pymysql://host/a", Source(tracking_uri="mysql+pymysql://host/a")),
        ("zip://mlruns::https://host/a.zip", Source("zip://mlruns::https://host/a.zip")),
    ],
)
def test_a_path_or_a_tracking_uri(path: str | None, source: Source) -> None:
    assert make_source(path) == source


def test_directories_and_databases(sweep: Path, publish: Callable[[Path], str]) -> None:
    assert len(list_ids(publish(sweep))) == 31
    assert len(list_ids(DATABASE_SWEEP)) == 7
    database = DATABASE_SWEEP / "mlflow.db"
    assert list_ids(database) == list_ids(f"sqlite:///{database}") == list_ids(DATABASE_SWEEP)


def test_a_web_server_with_files(
    tracking_dir: TrackingDir, serve: Callable[[Path], WebServer], no_waiting: None
) -> None:
    pytest.importorskip("aiohttp")
    tracking_dir.add_runs(2)
    url = serve(tracking_dir.root.parent).url
    assert list_ids(f"{url}/mlruns/") == ["r000", "r001"]
    with pytest.raises(StorageError, match="nowhere"):
        list_ids(f"{url}/nowhere/")


def test_a_tracking_server_needs_mlflow(
    tmp_path: Path,
    serve: Callable[[Path], WebServer],
    no_waiting: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("aiohttp")
    monkeypatch.setitem(__import__("sys").modules, "mlflow", None)
    write(tmp_path / "index.html", "<html>MLflow</html>")
    with pytest.raises(StorageError, match=r"if it is a tracking server: .* needs MLflow, .*pip"):
        list_ids(serve(tmp_path).url)


def test_without_a_path_the_runs_are_those_that_mlflow_reads(
    tracking_dir: TrackingDir, database: Database, monkeypatch: pytest.MonkeyPatch, ls: Ls
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(database.path.parent)
    database.add_run(database.add_experiment("train"), "b" * 32)
    assert list_ids(None) == ["b" * 32]
    tracking_dir.add_runs(1)
    assert list_ids(None) == ["r000"]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    assert list_ids(None) == ["b" * 32]
    assert ls("--csv", "-c", "run_id").stdout == f"run_id\n{'b' * 32}\n"


def test_there_is_no_such_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ls: Ls) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotFoundError, match="there is no default place with runs"):
        select_path(None)
    result = ls("train_*")  # a path, never the name of an experiment
    assert (result.exit_code, result.stderr) == (2, "Error: there is no directory 'train_*'\n")
    with pytest.raises(OptionError, match="expected a path or URL, found ''"):
        select_path("")


def test_options_of_a_path(ls: Ls, sweep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for arguments, message in [
        (["--layout", "hydra"], "--layout hydra needs PATH_OR_URL"),
        (["--env", "base"], "--env needs --entry"),
        ([sweep, "--entry", "a"], "PATH_OR_URL and --entry do not go together"),
        (["-x", "a", "--entry", "a"], "--experiment and --entry do not go together"),
        (["--results", "a.json", "--entry", "a"], "--results and --entry do not go together"),
        (["--layout", "mlflow", "--entry", "a"], "--layout and --entry do not go together"),
    ]:
        result = ls(*arguments)
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr.endswith(f"Error: {message}\n")


def test_without_a_default_the_argument_is_named(
    ls: Ls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    for result in (ls(), invoke("show", "0123456789abcdef")):
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr.startswith("Error: there is no default place with runs: ")
        assert result.stderr.endswith("; give PATH_OR_URL, such as mlruns\n")
