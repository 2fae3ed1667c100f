"""No credential is in what the package gives away: errors, logs, reprs, previews, caches.

Secrets are planted in every option, in URLs, in the variables and files of clients. The server
echoes in many encodings what it was sent.
"""

from __future__ import annotations

import base64
import inspect
import json
import logging
import pickle
import shutil
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import fsspec
import polars as pl
import pytest

import kedro_hydraflow
from kedro_hydraflow import (
    HydraflowArtifactDataset,
    HydraflowFrameDataset,
    HydraflowRunCollectionDataset,
    HydraflowRunDataset,
    Run,
    RunCollection,
    get_experiment_names,
    iter_artifact_paths,
    iter_artifacts_dirs,
    iter_experiment_dirs,
    iter_run_dirs,
    iter_runs,
    publish_index,
    scan_runs,
)
from tests.conftest import SWEEP
from tests.leaks import Outputs, make_secret, plant_in_environment, run_and_collect
from tests.stores.conftest import FAKE, FakeClient, FakeError
from tests.stores.conftest import client as client  # the fixture

pytest.importorskip("aiohttp")
import aiohttp

pytestmark = pytest.mark.filterwarnings("ignore:BasicAuth is deprecated:DeprecationWarning")

EXPERIMENT = "803221166256626715"
RUN_ID = "5b59290f35f943c8863522a4cd371131"


# The functions and datasets -------------------------------------------------------------


def read_all(run: Run[Any, Any], outputs: Outputs) -> Run[Any, Any]:
    """Read what a run has, of whatever kind; return the run."""
    reads: list[Callable[[], Any]] = [
        lambda: run.cfg,
        lambda: run.info.status,
        lambda: run.metrics,
        lambda: run.metric_history("train/loss"),
        lambda: run.overrides,
        lambda: list(run.path().iterdir()),
        lambda: run.path("confusion_matrix.json").read_text(),
        lambda: run.fetch("model"),
        lambda: run.fetch("no such artifact"),
        lambda: run.models,
        lambda: run.to_frame("run_id", "status", "metrics.accuracy"),
        lambda: run.get("no_such_key"),
    ]
    for read in reads:
        run_and_collect(read, outputs)
    return run


@dataclass
class Call:
    """A public function or dataset, to be called with credentials."""

    use: Callable[..., Any]
    """Is given the location, as one of the options that the function has for it, the options of
    the filesystem, and as ``outputs`` where to add what else it gives away."""

    takes_run_dir: bool = False
    takes_uri: bool = True


def use_dataset(dataset_class: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    def use(*, storage_options: Any, outputs: Outputs, **location: Any) -> Any:
        if "tracking_dir" in location:
            location["path"] = location.pop("tracking_dir")
        location["index"] = outputs.index
        dataset = dataset_class(**location, **options, credentials=storage_options)
        outputs.add("description", f"{dataset} {dataset!r} {dataset._describe()}")
        for method in (dataset.exists, dataset.preview):
            outputs.add("preview", str(run_and_collect(method, outputs)))
        return [dataset, dataset.load()]

    return use


def use_function(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    def use(*, outputs: Outputs, **others: Any) -> Any:
        found = list(function(**options, **others))
        outputs.add("what is found", f"{found!r}")
        return found

    return use


def use_lazy_frame(*, outputs: Outputs, **options: Any) -> list[Any]:
    schema = {"run_id": "String", "status": "String", "model.type": "String"}
    lazy = scan_runs(**options, schema=schema, index=outputs.index)
    outputs.add("the plan", f"{lazy!r} {lazy.explain()}")
    wanted = pl.col("status") == "FINISHED"
    frames = [
        run_and_collect(query.collect, outputs)
        for query in (lazy, lazy.filter(wanted), lazy.select("run_id"))
    ]
    return None if frames[0] is None else frames  # type: ignore[return-value]


def publish(
    *,
    outputs: Outputs,
    storage_options: Any,
    tracking_dir: Any,
    **_: Any,
) -> list[Any]:
    index = outputs.index.absolute() / "shared"
    done = publish_index(tracking_dir, index=index.as_uri(), storage_options=storage_options)
    outputs.add("what was done", f"{done!r} {done}")
    for part in index.glob("*.parquet"):
        outputs.add("what was published", f"{part} {pl.read_parquet(part).write_json()}")
    return [done]


CALLS: dict[str, Call] = {
    "publish_index": Call(publish, takes_uri=False),
    "Run": Call(
        lambda *, run_dir, storage_options, outputs: read_all(
            Run(run_dir, storage_options=storage_options), outputs
        ),
        takes_run_dir=True,
        takes_uri=False,
    ),
    "Run.load": Call(
        lambda *, run_dir, storage_options, outputs: [
            read_all(run, outputs)
            for run in Run.load([run_dir], storage_options=storage_options, index=outputs.index)
        ],
        takes_run_dir=True,
        takes_uri=False,
    ),
    "iter_run_dirs": Call(use_function(iter_run_dirs)),
    "iter_artifacts_dirs": Call(use_function(iter_artifacts_dirs)),
    "iter_artifact_paths": Call(
        use_function(
            lambda tracking_dir=None, **options: iter_artifact_paths(
                tracking_dir, "confusion_matrix.json", **options
            )
        )
    ),
    "iter_experiment_dirs": Call(use_function(iter_experiment_dirs)),
    "get_experiment_names": Call(use_function(get_experiment_names)),
    "iter_runs": Call(
        lambda *, outputs, **options: [
            read_all(run, outputs)
            for runs in iter_runs(**options, index=outputs.index)
            for run in runs[:1]
        ]
    ),
    "scan_runs": Call(use_lazy_frame),
    "HydraflowRunCollectionDataset": Call(
        use_dataset(
            HydraflowRunCollectionDataset,
            filters=["status == FINISHED", "metrics.accuracy > 0"],
            on_error="warn",
        )
    ),
    "HydraflowRunDataset": Call(use_dataset(HydraflowRunDataset, run_id=RUN_ID)),
    "HydraflowFrameDataset": Call(
        use_dataset(
            HydraflowFrameDataset,
            columns=["run_dir"],
            schema={"metrics.accuracy": "Float64", "model.type": "String"},
            on_error="warn",
        )
    ),
    "HydraflowArtifactDataset": Call(
        use_dataset(
            HydraflowArtifactDataset,
            artifact="confusion_matrix.json",
            dataset={"type": "json.JSONDataset", "credentials": {"password": make_secret("inner")}},
            missing="skip",
        )
    ),
}
"""All public functions, classes and methods that take credentials."""


def takes_credentials(function: Any) -> bool:
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False
    return not parameters.keys().isdisjoint({"storage_options", "credentials"})


def find_functions() -> set[str]:
    """Return the names of what is public and takes credentials."""
    found = set()
    for name in kedro_hydraflow.__all__:
        thing = getattr(kedro_hydraflow, name)
        if takes_credentials(thing):
            found.add(name)
        for attribute in vars(thing) if isinstance(thing, type) else ():
            if not attribute.startswith("_") and takes_credentials(getattr(thing, attribute)):
                found.add(f"{name}.{attribute}")
    return found


def test_no_function_is_forgotten() -> None:
    assert find_functions() == set(CALLS)


# The server, and where secrets are ----------------------------------------------------------


def echo(headers: Any, path: str) -> str:
    """Return what a request says, as servers repeat it."""
    logins = [value.partition(" ")[2] for value in headers.values()]
    decoded = [
        base64.b64decode(value.partition(" ")[2]).decode("latin-1")
        for value in headers.values()
        if value.startswith("Basic ")
    ]
    return " | ".join(
        [
            *decoded,
            f"GET {path} {unquote(path)}",
            *(f"{name}: {value}" for name, value in headers.items()),
            *logins,
            *(base64.b64encode(value.encode()).decode() for value in headers.values()),
            *(quote(value, safe="") for value in headers.values()),
            *(unquote(value) for value in headers.values()),
            json.dumps(dict(headers.items())),
            repr(dict(headers.items())),
        ]
    )


class EchoServer:
    """Serves the example sweep, or answers with what it was asked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.status = 200
        self.echoes = False
        self.heard = ""
        server = self

        class Handler(SimpleHTTPRequestHandler):
            def __init__(self, *args: Any) -> None:
                super().__init__(*args, directory=str(folder))

            def do_GET(self) -> None:
                if not server.echoes:
                    super().do_GET()
                    return
                said = echo(self.headers, self.path)
                server.heard += said
                text = said.encode("utf-8", "surrogateescape")
                self.send_response(server.status, text[:6000].decode("latin-1").replace("\n", ""))
                self.send_header("Content-Length", str(len(text)))
                self.send_header("Content-Type", "text/html")
                self.send_header("X-Echo", text[:500].decode("latin-1"))
                if server.status == 302:
                    self.send_header("Location", f"http://127.0.0.2:1/?{quote(text[:500])}")
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(text)

            do_POST = do_PROPFIND = do_GET

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EchoServer]:
    folder = tmp_path_factory.mktemp("served")
    for run_id in (RUN_ID,):
        relative = f"{EXPERIMENT}/{run_id}"
        shutil.copytree(SWEEP / relative, folder / "mlruns" / relative)
    shutil.copy(SWEEP / EXPERIMENT / "meta.yaml", folder / "mlruns" / EXPERIMENT)
    shutil.make_archive(str(folder / "archive"), "zip", folder, "mlruns")
    server = EchoServer(folder)
    yield server
    server.close()


@dataclass
class Way:
    """A location with its options, and the secrets in them."""

    location: str
    options: dict[str, Any] = field(default_factory=dict)
    option: str = "tracking_dir"
    others: dict[str, Any] = field(default_factory=dict)


SECRETS = {name: make_secret(name) for name in ("one", "two", "three", "url", "sig", "inner")}
ONE, TWO, THREE, URL, SIG, _ = SECRETS.values()
IN_URL = quote(URL, safe="")
BASIC = base64.b64encode(f"ann:{TWO}".encode()).decode()


def with_login(url: str) -> str:
    return url.replace("//", f"//ann:{IN_URL}@", 1)


WAYS: dict[str, Callable[[str], Way]] = {
    "headers": lambda url: Way(
        f"{url}/mlruns",
        {"headers": {"Authorization": f"Bearer {ONE}", "X-Thing": TWO, "Cookie": f"s={THREE}"}},
    ),
    "headers of the session": lambda url: Way(
        f"{url}/mlruns",
        {"client_kwargs": {"headers": {"Authorization": f"Basic {BASIC}", "X-Api-Key": THREE}}},
    ),
    "login": lambda url: Way(
        f"{url}/mlruns", {"client_kwargs": {"auth": aiohttp.BasicAuth("ann", ONE)}}
    ),
    "cookies": lambda url: Way(f"{url}/mlruns", {"cookies": {"session": ONE.replace(" ", "_")}}),
    "URL": lambda url: Way(f"{with_login(url)}/mlruns"),
    "user in a URL": lambda url: Way(f"{url.replace('//', f'//{IN_URL}@')}/mlruns"),
    "query": lambda url: Way(f"{url}/mlruns?sv=1&sig={quote(SIG, safe='')}"),
    "netrc": lambda url: Way(f"{url}/mlruns", {"client_kwargs": {"trust_env": True}}),
    "unknown option": lambda url: Way(f"{url}/mlruns", {"no_such_secret": ONE}),
    "archive": lambda url: Way(
        f"zip://mlruns::{with_login(url)}/archive.zip", {"http": {"headers": {"X-Thing": ONE}}}
    ),
    "memory": lambda url: Way("memory://leaks/mlruns", {"password": ONE, "some": {"token": TWO}}),
    "disk": lambda url: Way(SWEEP.as_uri(), {"password": ONE}),
    "unknown protocol": lambda url: Way(f"s4://ann:{IN_URL}@bucket/mlruns?sig={SIG}", {"key": ONE}),
    "package that is missing": lambda url: Way(f"sftp://ann:{IN_URL}@127.0.0.1:1/m", {"pw": ONE}),
    "obstore": lambda url: Way(
        "s3://bucket/mlruns",
        {
            "key": ONE,
            "secret": TWO,
            "token": THREE,
            "client_kwargs": {"endpoint_url": with_login(url), "region_name": "x"},
            "engine": "obstore",
        },
    ),
    "s3": lambda url: Way(
        f"s3://ann:{IN_URL}@bucket/mlruns", {"secret": ONE, "client_kwargs": {"x": TWO}}
    ),
    "artifact root": lambda url: Way(
        str(SWEEP), {"headers": {"X-Thing": ONE}}, others={"artifact_root": with_login(url)}
    ),
    "tracking URI": lambda url: Way(
        FAKE.replace("//", f"//ann:{IN_URL}@"), {"key": ONE}, "tracking_uri"
    ),
    "tracking server": lambda url: Way(with_login(url), {"key": ONE}, "tracking_uri"),
    "database": lambda url: Way(
        f"postgresql://ann:{IN_URL}@127.0.0.1:1/mlflow?password={quote(SIG)}", {}, "tracking_uri"
    ),
    "SQLite": lambda url: Way(f"sqlite://ann:{IN_URL}@host/x?token={SIG}", {}, "tracking_uri"),
    "reference": lambda url: Way(f"reference::{with_login(url)}/x.json", {"fo": f"{SIG}"}),
    "wrong allowed host": lambda url: Way(f"{url}/mlruns", {"allowed_hosts": with_login(url)}),
    "wrong engine": lambda url: Way(f"{with_login(url)}/mlruns", {"engine": "obstore", "key": ONE}),
}
"""Where credentials may be given."""

WORKING = {
    *("headers", "headers of the session", "login", "cookies", "URL", "user in a URL", "netrc"),
    *("archive", "memory", "disk"),
}
"""Those with which runs are read."""

SENT = {
    "headers": (ONE, TWO, THREE),
    "headers of the session": (TWO, THREE),
    "login": (ONE,),
    "URL": (URL,),
    "user in a URL": (URL,),
    "netrc": (make_secret("netrc").replace(" ", "_"),),
    "archive": (URL, ONE),
}
"""The secrets that the server has heard in the end, and repeated."""

STATUSES = (None, 200, 302, 403, 500)
"""The statuses with which the server echoes; None for its files."""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    return home


@pytest.fixture
def planted(
    monkeypatch: pytest.MonkeyPatch, home: Path, caplog: pytest.LogCaptureFixture
) -> list[str]:
    """All secrets. Those of the environment are planted there, and requests are made once."""
    monkeypatch.setattr("kedro_hydraflow.storage.bulk.MAX_ATTEMPTS", 1)
    monkeypatch.setenv("KEDRO_HYDRAFLOW_CACHE_DIR", str(home / "cache"))
    for name in ("kedro", "kedro_hydraflow"):  # not those of clients, which log what they send
        caplog.set_level(logging.DEBUG, logger=name)
    return [*SECRETS.values(), *plant_in_environment(monkeypatch, home)]


@pytest.fixture(scope="module")
def memory(server: EchoServer) -> Iterator[None]:
    fs = fsspec.filesystem("memory")
    fs.put(str(server.folder / "mlruns"), "/leaks/mlruns", recursive=True)
    yield
    fs.rm("/leaks", recursive=True)


@pytest.fixture
def outputs(
    planted: list[str],
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    home: Path,
) -> Iterator[Outputs]:
    """Gather what is given away; at the end, look for secrets in it, and in logs and caches."""
    outputs = Outputs(planted, home / "cache/index")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield outputs
    for record in caplog.records:
        if record.name.startswith(("kedro_hydraflow", "kedro", "py.warnings")):
            outputs.add(f"log of {record.name}", caplog.handler.format(record))
    for warning in caught:
        outputs.add("warning", str(warning.message))
    outputs.add("printed", "".join(capfd.readouterr()))
    if (home / "cache").exists():
        outputs.add_files(home / "cache")
    outputs.check()


def use(call: Call, way: Way, outputs: Outputs) -> Any:
    """Return what a call gives, None after an error; add all of it to the outputs."""
    given = {"storage_options": way.options, "outputs": outputs}
    if call.takes_run_dir:
        separator = "::" if way.location.startswith("zip://") else "?"
        head, separator, rest = way.location.partition(separator)
        given["run_dir"] = f"{head}/{EXPERIMENT}/{RUN_ID}{separator}{rest}"
    else:
        given |= {way.option: way.location, **way.others}
    used = run_and_collect(lambda: call.use(**given), outputs)
    for runs in used if isinstance(used, list) else [used]:
        if isinstance(runs, (Run, RunCollection)):
            outputs.add("pickle", pickle.dumps(runs.without_credentials()).decode("latin-1"))
    return used


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("call", CALLS)
def test_nothing_shows_a_secret(
    call: str, way: str, server: EchoServer, outputs: Outputs, client: FakeClient, memory: None
) -> None:
    if not CALLS[call].takes_uri and WAYS[way]("").option == "tracking_uri":
        return  # a run has none
    server.heard = ""
    for status in STATUSES:
        server.status, server.echoes = status or 200, status is not None
        if status is not None:
            login = base64.b64encode(f"ann:{URL}".encode()).decode()
            text = echo({"Authorization": f"Basic {login}", "X-Thing": ONE}, f"/?sig={IN_URL}")
            client.error = FakeError(text, "", status)
        used = use(CALLS[call], WAYS[way](server.url), outputs)
        assert used is not None or status is not None or way not in WORKING
    assert all(secret in server.heard for secret in SENT.get(way, ()))
