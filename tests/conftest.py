"""What the tests share: the example sweep, and a writer of tracking directories."""

from __future__ import annotations

import shutil
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fsspec
import pytest
import yaml
from hypothesis import HealthCheck, settings

from kedro_hydraflow.index import Index, open_index

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kedro_hydraflow.index import IndexOption

ROOT = Path(__file__).parent.parent
SWEEP = ROOT / "examples" / "data" / "mlruns"
"""A real sweep: 31 runs in three experiments, one of them FAILED."""

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


def write(path: Path, text: str) -> None:
    """Write a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


@pytest.fixture(scope="session", autouse=True)
def _no_index() -> Iterator[None]:
    """Let tests read what they write; those of the index give its directory."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kedro_hydraflow.loading.open_index", open_given_index)
        patch.setattr("kedro_hydraflow.datasets._search.open_index", open_given_index)
        yield


def open_given_index(option: IndexOption) -> Index:
    return open_index(False if option is None else option)


@pytest.fixture(scope="session", autouse=True)
def _artifact_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep remote artifacts away from the user's cache, in child processes too."""
    with pytest.MonkeyPatch.context() as environment:
        cache_dir = tmp_path_factory.mktemp("cache")
        environment.setenv("KEDRO_HYDRAFLOW_CACHE_DIR", str(cache_dir))
        yield


@pytest.fixture
def tracking_dir(tmp_path: Path) -> TrackingDir:
    """An empty tracking directory to write runs into."""
    return TrackingDir(tmp_path / "mlruns")


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
        web = self

        class Handler(SimpleHTTPRequestHandler):
            def __init__(self, *args: Any) -> None:
                super().__init__(*args, directory=str(directory))

            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                web.requests.append(path)
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


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry requests at once."""
    monkeypatch.setattr("kedro_hydraflow.storage.bulk.WAIT", 0)
