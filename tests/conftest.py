"""What the tests share: the example sweeps, and writers of tracking directories and databases."""

from __future__ import annotations

import json
import math
import shutil
import sqlite3
import sys
import threading
import time
from contextlib import closing
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

import fsspec
import pytest
import yaml
from hypothesis import HealthCheck, settings

from kedro_hydraflow import Run, RunCollection
from kedro_hydraflow.datasets._preview import load_some
from kedro_hydraflow.filters import Conditions, parse_filters
from kedro_hydraflow.index import NO_INDEX, Index, open_local_index
from kedro_hydraflow.loading import LoadOptions
from kedro_hydraflow.storage import LocalStorage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from kedro_hydraflow.errors import Failure
    from kedro_hydraflow.finding import Search
    from kedro_hydraflow.index import IndexOption
    from kedro_hydraflow.run_info import RunInfo

ROOT = Path(__file__).parent.parent
SWEEP = ROOT / "examples" / "data" / "mlruns"
"""A real sweep: 31 runs in three experiments, one of them FAILED."""

SWEEP_NAMES = ["eval_digits", "train_digits_v1", "train_digits_v2"]
"""The names of its experiments."""

DATABASE_SWEEP = ROOT / "examples" / "data" / "sqlite"
"""Another one, in a database: 7 runs in three experiments, one of them FAILED."""

HYDRA_SWEEP = ROOT / "examples" / "data" / "hydra"
"""A real application of Hydra alone: 19 runs, of three sweeps and three single runs. One failed."""

# What passes does not depend on luck: `--hypothesis-profile=default` tries other examples.
settings.register_profile(
    "same",
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=60,
    suppress_health_check=list(HealthCheck),
)
settings.load_profile("same")


def find_first_runs(search: Search, count: int) -> list[RunInfo]:
    """Return the first runs of a search, as previews show them."""
    return [run.info for run in load_some(search, LoadOptions(), count, NO_INDEX).runs]


class TrackingDir:
    """Writes the tracking directory of an MLflow file store, byte for byte as MLflow does."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)

    def add_experiment(self, name: str, experiment_id: str = "1", **meta: Any) -> Path:
        """Write an experiment and return its directory. ``meta`` replaces entries."""
        directory = self.root / experiment_id
        directory.mkdir()
        entries = {
            "artifact_location": f"/somewhere/else/mlruns/{experiment_id}",
            "creation_time": 1795394369654,
            "experiment_id": experiment_id,
            "last_update_time": 1795394369654,
            "lifecycle_stage": "active",
            "name": name,
            **meta,
        }
        (directory / "meta.yaml").write_text(yaml.safe_dump(entries, allow_unicode=True))
        return directory

    def add_run(
        self,
        experiment: Path,
        run_id: str,
        config: str | None = "",
        metrics: dict[str, str] | None = None,
        **meta: Any,
    ) -> Path:
        """Write a run and return its directory.

        Args:
            experiment: The experiment's directory.
            run_id: The run's ID.
            config: The text of ``.hydra/config.yaml``, None for no such file.
            metrics: The text of metric files by key.
            **meta: Replaces entries of ``meta.yaml``.
        """
        directory = experiment / run_id
        for folder in ("artifacts", "metrics", "params", "tags"):
            (directory / folder).mkdir(parents=True)
        entries = {
            "artifact_uri": f"/somewhere/else/mlruns/{experiment.name}/{run_id}/artifacts",
            "end_time": 1795394370023,
            "entry_point_name": "",
            "experiment_id": experiment.name,
            "lifecycle_stage": "active",
            "run_id": run_id,
            "run_name": "upset-turtle-765",
            "source_name": "",
            "source_type": 4,
            "source_version": "",
            "start_time": 1795394369957,
            "status": 3,
            "tags": [],
            "user_id": "root",
            **meta,
        }
        (directory / "meta.yaml").write_text(yaml.safe_dump(entries, allow_unicode=True))
        if config is not None:
            write(directory / "artifacts/.hydra/config.yaml", config)
        for key, text in (metrics or {}).items():
            write(directory / "metrics" / key, text)
        return directory

    def add_runs(self, n_runs: int, make_config: Callable[[int], str] = lambda i: "") -> None:
        """Write the experiment "train" with runs whose configurations have their number as ``i``.

        Args:
            n_runs: How many.
            make_config: Gives the rest of each configuration.
        """
        experiment = self.add_experiment("train")
        for i in range(n_runs):
            self.add_run(experiment, f"r{i:03}", f"i: {i}\n{make_config(i)}")


class Database:
    """Writes an MLflow database, with the tables that MLflow made."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(DATABASE_SWEEP / "mlflow.db")) as example:
            select = "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY type != 'table'"
            self.execute(*(sql for (sql,) in example.execute(select)))
        self.add_experiment("Default", 0)

    def execute(self, *statements: str | tuple[str, tuple[Any, ...]]) -> None:
        """Run statements, each alone or with its arguments, in one transaction."""
        with closing(sqlite3.connect(self.path)) as connection, connection:
            connection.execute("PRAGMA synchronous = OFF")
            for statement in statements:
                connection.execute(*((statement,) if isinstance(statement, str) else statement))

    def insert(self, table: str, **columns: Any) -> None:
        """Insert a row."""
        marks = ", ".join("?" * len(columns))
        sql = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})"
        self.execute((sql, tuple(columns.values())))

    def add_experiment(self, name: str, experiment_id: int = 1, **columns: Any) -> int:
        """Insert an experiment and return its ID."""
        row = {
            "artifact_location": f"/somewhere/else/mlruns/{experiment_id}",
            "lifecycle_stage": "active",
            "creation_time": 1795394369654,
            "last_update_time": 1795394369654,
        }
        self.insert("experiments", experiment_id=experiment_id, name=name, **{**row, **columns})
        return experiment_id

    def add_run(
        self,
        experiment_id: int,
        run_id: str,
        *,
        metrics: dict[str, list[tuple[int, int, float]]] | None = None,
        params: dict[str, str] | None = None,
        tags: dict[str, str | None] | None = None,
        **columns: Any,
    ) -> str:
        """Insert a run and return its ID.

        Args:
            experiment_id: The experiment's ID.
            run_id: The run's ID.
            metrics: The steps, timestamps and values of metrics by key.
            params: The params.
            tags: The tags.
            **columns: Replaces columns of ``runs``.
        """
        row = {
            "name": "upset-turtle-765",
            "source_type": "UNKNOWN",
            "status": "FINISHED",
            "start_time": 1795394369957,
            "end_time": 1795394370023,
            "lifecycle_stage": "active",
            "artifact_uri": f"/somewhere/else/mlruns/{experiment_id}/{run_id}/artifacts",
        }
        row = {"run_uuid": run_id, "experiment_id": experiment_id, **row, **columns}
        self.insert("runs", **row)
        for key, points in (metrics or {}).items():
            self.add_metric(run_id, key, points)
        for table, values in (("params", params), ("tags", tags)):
            for key, value in (values or {}).items():
                self.insert(table, key=key, value=value, run_uuid=run_id)
        return run_id

    def add_metric(self, run_id: str, key: str, points: list[tuple[int, int, float]]) -> None:
        """Insert the values of a metric as MLflow stores them, and the latest one."""
        rows = []
        for step, timestamp, value in points:
            is_nan = math.isnan(value)
            largest = sys.float_info.max
            stored = 0.0 if is_nan else min(max(value, -largest), largest)
            rows.append((step, timestamp, stored, is_nan))
        table, latest = "INSERT OR IGNORE INTO metrics", "INSERT INTO latest_metrics"
        columns = "(key, run_uuid, step, timestamp, value, is_nan) VALUES (?, ?, ?, ?, ?, ?)"
        self.execute(
            *((f"{table} {columns}", (key, run_id, *row)) for row in rows),
            (f"{latest} {columns}", (key, run_id, *max(rows, key=lambda row: row[:3]))),
        )


def write(path: Path, text: str) -> None:
    """Write a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def write_job(
    directory: Path,
    config: str | None = "seed: 1\n",
    *,
    name: str | None = "train",
    overrides: str = "[]\n",
    log: str | None = "",
) -> Path:
    """Write an output directory of Hydra and return it.

    Args:
        directory: The directory.
        config: The configuration; None for none.
        name: The job name in YAML; None for no ``hydra.yaml``.
        overrides: The overrides in YAML.
        log: The text of the log file; None for no log file.
    """
    hydra = directory / ".hydra"
    write(hydra / "overrides.yaml", overrides)
    if config is not None:
        write(hydra / "config.yaml", config)
    if name is not None:
        write(
            hydra / "hydra.yaml",
            f"hydra:\n  run:\n    dir: outputs\n  job:\n    name: {name}\n    chdir: null\n",
        )
    if log is not None:
        write(directory / "train.log", log)
    return directory


SWEEP_YAML = "hydra:\n  sweep:\n    dir: multirun\n    subdir: ${hydra.job.num}\n"
"""A ``multirun.yaml`` by which the jobs of a sweep have numbered directories, as by default."""


def write_sweep(directory: Path, n_jobs: int = 0, text: str = SWEEP_YAML) -> Path:
    """Write the directory of a sweep with numbered jobs, and return it."""
    write(directory / "multirun.yaml", text)
    for number in range(n_jobs):
        write_job(directory / str(number), f"i: {number}\n")
    return directory


def replace_meta(run_dir: Path, **entries: Any) -> None:
    """Replace entries of a run's ``meta.yaml``."""
    meta = run_dir / "meta.yaml"
    meta.write_text(yaml.safe_dump({**yaml.safe_load(meta.read_text()), **entries}))


@pytest.fixture(scope="session", autouse=True)
def _no_index() -> Iterator[None]:
    """Let tests read what they write; those of the index give its directory."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kedro_hydraflow.loading.open_local_index", open_given_index)
        yield


def open_given_index(option: IndexOption) -> Index:
    return open_local_index(False if option is None else option)


@pytest.fixture(scope="session", autouse=True)
def _caches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep away from the user's caches, in child processes too: ours, and that of the pictures."""
    with pytest.MonkeyPatch.context() as environment:
        for name in ("KEDRO_HYDRAFLOW_CACHE_DIR", "MPLCONFIGDIR"):
            environment.setenv(name, str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def tracking_dir(tmp_path: Path) -> TrackingDir:
    """An empty tracking directory to write runs into."""
    return TrackingDir(tmp_path / "mlruns")


@pytest.fixture
def database(tmp_path: Path) -> Database:
    """An empty database to write runs into: ``mlflow.db`` beside `tracking_dir`."""
    return Database(tmp_path / "mlflow.db")


@pytest.fixture
def sweep() -> Path:
    """The tracking directory of the real example sweep. Tests only read it."""
    return SWEEP


@pytest.fixture(params=["local", "memory", "zip"])
def publish(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[Path], str]]:
    """Put a local tracking directory on each kind of storage; gives its location there."""
    name = f"bucket-{tmp_path.name}"

    def to_local(path: Path) -> str:
        return str(path)

    def to_memory(path: Path) -> str:
        fsspec.filesystem("memory").put(str(path), f"/{name}/mlruns", recursive=True)
        return f"memory://{name}/mlruns"

    def to_zip(path: Path) -> str:
        archive = shutil.make_archive(str(tmp_path / "archive"), "zip", path.parent, path.name)
        return f"zip://{path.name}::{archive}"

    yield {"local": to_local, "memory": to_memory, "zip": to_zip}[request.param]
    if request.param == "memory" and fsspec.filesystem("memory").exists(f"/{name}"):
        fsspec.filesystem("memory").rm(f"/{name}", recursive=True)


class WebServer:
    """Serves a directory over HTTP, as badly as a test wants."""

    def __init__(self, directory: Path) -> None:
        self.answers: dict[str, list[int]] = {}
        """The statuses to answer first to requests whose path ends so."""
        self.requests: list[str] = []
        self.headers: list[dict[str, str]] = []
        """The headers of the requests, with names in lower case."""
        web = self

        class Handler(SimpleHTTPRequestHandler):
            def __init__(self, *args: Any) -> None:
                super().__init__(*args, directory=str(directory))

            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                web.requests.append(path)
                web.headers.append({name.lower(): value for name, value in self.headers.items()})
                for ending, statuses in web.answers.items():
                    if path.endswith(ending) and statuses:
                        self.send_error(statuses.pop(0))
                        return
                super().do_GET()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def count(self, ending: str) -> int:
        """Return how many requests there were for paths that end so."""
        return sum(path.endswith(ending) for path in self.requests)

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def serve() -> Iterator[Callable[[Path], WebServer]]:
    """Serve local directories over HTTP."""
    servers: list[WebServer] = []

    def start(directory: Path) -> WebServer:
        servers.append(WebServer(directory))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


ARTIFACTS_API = "/api/2.0/mlflow-artifacts/artifacts"


class ArtifactsServer:
    """Answers as MLflow's server does, from a folder."""

    def __init__(self, folder: Path) -> None:
        self.failures: list[tuple[int, str]] = []
        """What to answer first."""
        self.prefix = ""
        self.fails_on_absent = False
        self.targets: list[str] = []
        self.headers: list[Any] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.targets.append(self.path)
                server.headers.append(self.headers)
                url = urlsplit(self.path)
                path = unquote(url.path).removeprefix(server.prefix)
                if server.failures:
                    self.answer(*server.failures.pop(0))
                elif path == ARTIFACTS_API:
                    self.answer(200, server.list(folder / parse_qs(url.query).get("path", [""])[0]))
                elif not path.startswith(ARTIFACTS_API):
                    self.answer(404, "<html>nothing here</html>")
                elif (file := folder / path.removeprefix(ARTIFACTS_API + "/")).is_dir():
                    self.answer(400, "refers to a directory")
                elif not file.exists():
                    self.answer(500 if server.fails_on_absent else 404, "no such artifact")
                else:
                    self.answer(200, file.read_bytes())

            def answer(self, status: int, content: str | bytes) -> None:
                content = content.encode() if isinstance(content, str) else content
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()

    def list(self, folder: Path) -> str:
        if not folder.is_dir():
            return "{}"
        files = [
            {"path": path.name, "is_dir": True}
            if path.is_dir()
            else {"path": path.name, "is_dir": False, "file_size": str(path.stat().st_size)}
            for path in folder.iterdir()
        ]
        return json.dumps({"files": files} if files else {})

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Show progress bars at once, as in a terminal."""
    monkeypatch.setattr("kedro_hydraflow.progress.is_watched", lambda: True)
    monkeypatch.setattr("kedro_hydraflow.progress.BAR_DELAY", 0)


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry requests at once."""
    monkeypatch.setattr("kedro_hydraflow.storage.bulk.WAIT", 0)


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Let a minute pass for those who ask how old local files are, with each call."""
    now = time.time_ns
    passed = [0]
    monkeypatch.setattr("kedro_hydraflow.storage.local.time.time_ns", lambda: now() + passed[0])

    def wait() -> None:
        passed[0] += 60 * 10**9

    return wait


class FilesRead:
    """The local files that this process has read, by the call that read them."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []

    @property
    def paths(self) -> list[str]:
        """All of them."""
        return [path for paths in self.calls for path in paths]

    @property
    def counts(self) -> list[int]:
        """How many each call read."""
        return [len(paths) for paths in self.calls]

    def clear(self) -> None:
        """Forget those read until now."""
        self.calls.clear()


@pytest.fixture
def files_read(monkeypatch: pytest.MonkeyPatch) -> FilesRead:
    """Note which local files are read from now on."""
    read = FilesRead()
    read_parsed = LocalStorage.read_parsed

    def note(self: LocalStorage, paths: Sequence[str], parse: Any) -> Any:
        read.calls.append([*paths])
        return read_parsed(self, paths, parse)

    monkeypatch.setattr(LocalStorage, "read_parsed", note)
    return read


RUN_CONFIG = """\
model:
  type: mlp
  hidden_size: 64
  layers: [1, 2]
lr: 0.1
seed: 42
nothing: null
unset: ???
alias: ${model.type}
label: ${model.type}-${seed}
broken: ${nowhere}
cfg_file: &anchor a.yaml
"""


@pytest.fixture
def run_dir(tracking_dir: TrackingDir) -> Path:
    """The directory of a run with a configuration of every kind, logged values, and files."""
    directory = tracking_dir.add_run(
        tracking_dir.add_experiment("train"),
        "abc",
        RUN_CONFIG,
        {"loss": "1 0.5 0\n2 0.25 1\n", "val/acc.top1": "1 0.9 0\n", "a__b": "1 3 0\n"},
    )
    write(directory / "params/model.type", "mlp")
    write(directory / "tags/mlflow.user", "alice")
    for name in ("a.txt", "b.csv", "plots/c.txt"):
        write(directory / "artifacts" / name, name)
    return directory


@pytest.fixture
def run(run_dir: Path) -> Run[Any, Any]:
    """That run."""
    return Run(run_dir)


class Filtered(NamedTuple):
    """The outcome of filters."""

    runs: RunCollection[Run[Any]]
    failures: list[Failure]
    steps: list[str]
    """How many runs each condition left over, in the order in which they were applied."""


def apply_filters(runs: RunCollection[Run[Any]], filters: str | Sequence[str]) -> Filtered:
    """Return the runs that meet filters."""
    conditions = Conditions(parse_filters(filters))
    selected = conditions.select_all(runs)
    return Filtered(RunCollection(selected.runs), selected.failures, conditions.steps)
