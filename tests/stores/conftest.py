"""Fixtures for several stores: artifacts alone, and a fake tracking server."""

from __future__ import annotations

import math
import operator
import re
import sqlite3
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import fsspec
import pytest
import yaml

from kedro_hydraflow import Run, RunCollection, iter_run_dirs
from kedro_hydraflow.storage.remote import RemoteStorage
from tests.conftest import Database, TrackingDir, write


def find_run_ids(*args: Any, **kwargs: Any) -> list[str]:
    """Return the run IDs that `iter_run_dirs` finds, in order."""
    return [run_dir.name for run_dir in iter_run_dirs(*args, **kwargs)]


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Replace the waiting for an empty ``meta.yaml``; return the waiting times so far."""
    seconds: list[float] = []
    monkeypatch.setattr("kedro_hydraflow.stores.meta_file.time.sleep", seconds.append)
    return seconds


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make SQLite wait for a lock for only a tenth of a second. Messages do not change."""
    connect = sqlite3.connect

    def connect_without_patience(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        return connect(*args, **{**kwargs, "timeout": 0.1})

    monkeypatch.setattr(sqlite3, "connect", connect_without_patience)


def run_id(number: int) -> str:
    return f"{number:032x}"


def put(
    folder: Path, number: int, name: str | None = "train", *, log: str | None = None, seed: int = 0
) -> Path:
    """Write the artifacts of a run. ``name`` is its job name in YAML, None for no Hydra files."""
    artifacts = folder / run_id(number) / "artifacts"
    artifacts.mkdir(parents=True)
    if name is not None:
        text = f"hydra:\n  job:\n    chdir: null\n    name: {name}\n    override_dirname: ''\n"
        write(artifacts / ".hydra/hydra.yaml", text)
        write(artifacts / ".hydra/config.yaml", f"seed: {seed}")
    if log is not None:
        write(artifacts / log, "")
    return artifacts.parent


@pytest.fixture
def bucket(tmp_path: Path) -> Path:
    return tmp_path / "bucket"


FAKE = "fake://tracking"
"""A scheme like those of MLflow plugins: the store does not check a server or database first."""


class Page(list[Any]):
    token: str | None = None


class FakeError(Exception):
    def __init__(self, text: str, error_code: str, status: int) -> None:
        super().__init__(text)
        self.error_code = error_code
        self._status = status

    def get_http_status_code(self) -> int:
        return self._status


class FakeClient:
    """The methods of MLflow's client that the store uses, on lists."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.experiments: list[Any] = []
        self.runs: list[Any] = []
        self.histories: dict[tuple[str, str], list[Any]] = {}
        self.models: list[Any] = []
        self.calls: list[str] = []
        self.filters: list[str] = []
        """The filters of searches for runs; the worst that a server makes of them is done."""
        self.refuses_filters = False
        self.largest_page = 2
        self.error: Exception | None = None
        self._lock = threading.Lock()

    def add_experiment(self, experiment_id: str, name: str) -> None:
        location = f"{self.root}/{experiment_id}"
        self.experiments.append(
            SimpleNamespace(experiment_id=experiment_id, name=name, artifact_location=location)
        )

    def add_run(
        self, experiment_id: str, run_id: str, stage: str = "active", **logged: Any
    ) -> None:
        config = self.root / experiment_id / run_id / "artifacts" / ".hydra" / "config.yaml"
        config.parent.mkdir(parents=True)
        config.write_text(f"name: run-{run_id}\n")
        info = SimpleNamespace(
            run_id=run_id,
            experiment_id=experiment_id,
            artifact_uri=f"{self.root}/{experiment_id}/{run_id}/artifacts",
            status="FINISHED",
            run_name=f"name-of-{run_id}",
            start_time=1795394369957,
            end_time=None,
            lifecycle_stage=stage,
        )
        data = SimpleNamespace(**{"metrics": {}, "params": {}, "tags": {}, **logged})
        self.runs.append(SimpleNamespace(info=info, data=data))

    def search_experiments(self, max_results: int, page_token: str | None) -> Page:
        self._note("experiments")
        return self._page(self.experiments, max_results, page_token)

    def search_runs(
        self,
        experiment_ids: list[str],
        max_results: int,
        page_token: str | None,
        run_view_type: int,
        filter_string: str = "",
        **_: Any,
    ) -> Page:
        self._note("runs")
        if filter_string:
            self.filters.append(filter_string)
            if self.refuses_filters:
                raise FakeError("no such language", "INVALID_PARAMETER_VALUE", 400)
        clauses = filter_string.split(" AND ") if filter_string else []
        stages = {1: ["active"], 3: ["active", "deleted"]}[run_view_type]
        found = [
            run
            for run in self.runs
            if run.info.experiment_id in experiment_ids
            and run.info.lifecycle_stage in stages
            and all(_meets(run, clause) for clause in clauses)
        ]
        return self._page(found, max_results, page_token)

    def get_run(self, run_id: str) -> Any:
        self._note("run")
        for run in self.runs:
            if run.info.run_id == run_id:
                return run
        raise FakeError(f"no run {run_id}", "RESOURCE_DOES_NOT_EXIST", 404)

    def get_experiment(self, experiment_id: str) -> Any:
        self._note("experiment")
        (found,) = [e for e in self.experiments if e.experiment_id == experiment_id]
        return found

    def search_logged_models(
        self, experiment_ids: list[str], max_results: int, page_token: str | None
    ) -> Page:
        self._note("models")
        found = [model for model in self.models if model.experiment_id in experiment_ids]
        return self._page(found, max_results, page_token)

    def get_metric_history(self, run_id: str, name: str) -> list[Any]:
        self._note("history")
        return self.histories.get((run_id, name), [])

    def _note(self, call: str) -> None:
        with self._lock:
            self.calls.append(call)
        if self.error is not None:
            raise self.error

    def _page(self, found: list[Any], max_results: int, page_token: str | None) -> Page:
        start = int(page_token or 0)
        end = start + min(max_results, self.largest_page)
        page = Page(found[start:end])
        page.token = str(end) if end < len(found) else None
        return page


_CLAUSE = re.compile(r"(\w+)\.`?(.+?)`? (=|!=|<=?|>=?|IN) (.*)")
_COMPARE = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


def _meets(run: Any, clause: str) -> bool:
    """Compare as some databases do: text without case and trailing spaces, NaN as 0."""
    match = _CLAUSE.fullmatch(clause)
    assert match is not None
    kind, name, comparator, literal = match.groups()
    value = getattr(run.info, name) if kind == "attributes" else getattr(run.data, kind).get(name)
    if value is None:
        return False
    if not literal.startswith(("'", "(")):
        number = 0.0 if isinstance(value, float) and math.isnan(value) else value
        return bool(_COMPARE.get(comparator, operator.eq)(number, float(literal)))
    wanted = [text.rstrip().lower() for text in re.findall("'([^']*)'", literal)]
    return (value.rstrip().lower() in wanted) is not (comparator == "!=")


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeClient:
    client = FakeClient(tmp_path)
    module = ModuleType("mlflow")
    module.MlflowClient = lambda uri: client  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mlflow", module)
    client.add_experiment("0", "Default")
    client.add_experiment("7", "train")
    client.add_experiment("8", "eval")
    for i in range(5):
        client.add_run("7", f"{i:032x}", metrics={"loss": i / 10, "z": 1.0}, params={"i": str(i)})
    client.add_run("7", "f" * 32, stage="deleted")
    client.add_run("8", "e" * 32)
    return client


class Tracker:
    """Writes runs of the experiment "train" into one kind of store."""

    def __init__(self, kind: str, root: Path, client: FakeClient) -> None:
        self.kind = kind
        self.root = root
        self.client = client
        self.location: dict[str, Any] = {"tracking_dir": root / "mlruns"}
        if kind == "file":
            self.files = TrackingDir(root / "mlruns")
            self.files.add_experiment("train", "7")
        elif kind == "sqlite":
            self.database = Database(root / "mlflow.db")
            self.database.add_experiment("train", 7)
            self.location = {"tracking_dir": root / "mlflow.db"}
        else:
            client.runs.clear()
            self.location = {"tracking_uri": FAKE}

    def add_run(self, run_id: str, run_name: str | None = "", **tags: str) -> None:
        """Write a run. In the names of tags ``_`` stands for a dot."""
        tags = {key.replace("_", "."): value for key, value in tags.items()}
        if self.kind == "file":
            run_dir = self.files.add_run(self.files.root / "7", run_id, run_name=run_name)
            for key, value in tags.items():
                write(run_dir / "tags" / key, value)
        elif self.kind == "sqlite":
            self.database.add_run(7, run_id, tags={**tags}, name=run_name)
        else:
            self.client.add_run("7", run_id, tags=tags)
            self.client.runs[-1].info.run_name = run_name

    def remove_name(self) -> None:
        """Record null as the name of the experiment."""
        if self.kind == "file":
            meta = self.files.root / "7/meta.yaml"
            meta.write_text(meta.read_text().replace("name: train", "name: null"))
        elif self.kind == "sqlite":
            self.database.execute(
                "PRAGMA writable_schema = ON",
                "UPDATE sqlite_master SET sql = replace(sql, 'name VARCHAR(256) NOT NULL', 'name')",
            )
            self.database.execute("UPDATE experiments SET name = NULL WHERE experiment_id = 7")
        else:
            (experiment,) = [e for e in self.client.experiments if e.experiment_id == "7"]
            experiment.name = None

    def add_model(
        self, model_id: str, run_id: str | None, name: str = "model", **meta: Any
    ) -> Path:
        """Write a model and return its artifacts directory, which is not where it was recorded.

        Args:
            model_id: The ID of the model.
            run_id: The run that logged it.
            name: The name.
            **meta: Replaces what is recorded.
        """
        recorded = {
            "artifact_location": f"/somewhere/else/mlruns/7/models/{model_id}/artifacts",
            "creation_timestamp": int(model_id[2:]),
            "experiment_id": "7",
            "last_updated_timestamp": 1795394369957,
            "lifecycle_stage": "active",
            "model_id": model_id,
            "model_type": None,
            "name": name,
            "source_run_id": run_id,
            "status": 2,
            "status_message": None,
            **meta,
        }
        root = self.client.root if self.kind == "server" else self.root / "mlruns"
        folder = root / "7/models" / model_id
        write(folder / "artifacts/MLmodel", f"of {model_id}")
        if self.kind == "file":
            write(folder / "meta.yaml", yaml.safe_dump(recorded))
        elif self.kind == "sqlite":
            for name in ("creation_timestamp", "last_updated_timestamp"):
                recorded[f"{name}_ms"] = recorded.pop(name)
            self.database.insert("logged_models", **recorded)
        elif recorded["lifecycle_stage"] == "active":  # others are not found
            recorded["artifact_location"] = f"{folder}/artifacts"
            self.client.models.append(SimpleNamespace(**recorded))
        return folder / "artifacts"

    def load(self, **options: Any) -> RunCollection[Run[Any, Any]]:
        return Run.load(iter_run_dirs(**self.location), **options)


@pytest.fixture(params=["file", "sqlite", "server"])
def tracker(request: pytest.FixtureRequest, tmp_path: Path, client: FakeClient) -> Tracker:
    return Tracker(request.param, tmp_path / "tracked", client)


def make_metric(value: float, step: int, timestamp: int = 0) -> Any:
    return SimpleNamespace(value=value, step=step, timestamp=timestamp)


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[str]:
    """The URL of a directory in memory."""
    name = f"bucket-{tmp_path.name}"
    yield f"memory://{name}"
    if fsspec.filesystem("memory").exists(f"/{name}"):
        fsspec.filesystem("memory").rm(f"/{name}", recursive=True)


class Requests:
    """The paths of the directories listed and the files read on storage that is not local."""

    def __init__(self) -> None:
        self.listed: list[str] = []
        self.read: list[str] = []


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> Requests:
    """Note what is listed and read from now on."""
    made = Requests()
    list_many, read_parsed = RemoteStorage.list_many, RemoteStorage.read_parsed

    def note_listing(self: RemoteStorage, paths: Any, limit: int | None = None) -> Any:
        made.listed.extend(paths)
        return list_many(self, paths, limit)

    def note_reading(self: RemoteStorage, paths: Any, parse: Any) -> Any:
        made.read.extend(paths)
        return read_parsed(self, paths, parse)

    monkeypatch.setattr(RemoteStorage, "list_many", note_listing)
    monkeypatch.setattr(RemoteStorage, "read_parsed", note_reading)
    return made
