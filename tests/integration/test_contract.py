"""What the package promises of runs, wherever they are: the same tests on every storage."""

from __future__ import annotations

import asyncio
import copy
import json
import logging
import multiprocessing
import os
import pickle
import re
import threading
import traceback
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import polars as pl
import pytest
from kedro.io import DataCatalog, DatasetError, SharedMemoryDataCatalog
from kedro.pipeline import node, pipeline
from kedro.runner import ParallelRunner, SequentialRunner, ThreadRunner
from kedro_datasets.pickle import PickleDataset
from polars.testing import assert_frame_equal

from kedro_hydraflow import (
    HydraflowArtifactDataset,
    HydraflowRunCollectionDataset,
    HydraflowRunDataset,
    Run,
    RunCollection,
    get_experiment_names,
    iter_run_dirs,
)
from kedro_hydraflow.errors import NotFoundError, RunLoadError, StorageError
from kedro_hydraflow.source import Source
from tests.cli.conftest import invoke
from tests.conftest import HYDRA_SWEEP, ROOT, SWEEP, TrackingDir, write
from tests.integration.commands import run_commands
from tests.integration.places import BUCKETS, NAMES, S3, WITHOUT_SERVER, Place, Places, choose_sftp
from tests.servers import PRIVATE_BUCKET, get_free_port

pytestmark = [
    # Clients that live as long as the process do not close their connections at its end.
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Unclosed:ResourceWarning"),
]

EXPERIMENT = "383591505513684750"
RUN_ID = "2ca54cc607914e0780960fb8ff621108"
COLUMNS = ("run_id", "job_name", "model.type", "training.learning_rate", "seed")


# Places --------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Places]:
    with Places(tmp_path_factory.mktemp("places")) as places:
        yield places


def _mark(name: str) -> Any:
    return pytest.param(name, marks=() if name in WITHOUT_SERVER else pytest.mark.integration)


@pytest.fixture(params=[_mark(name) for name in NAMES])
def place(request: pytest.FixtureRequest, places: Places) -> Place:
    """A kind of storage with the example sweep on it."""
    place = places.get(request.param)
    choose_sftp(request.param)
    return place


# Which storages cannot do what, and why. Nothing else is left out.
NO_LISTING = {"http-no-listing"}  # it has its own tests at the end
NO_AUTHENTICATION = {
    *WITHOUT_SERVER,
    "gcs",  # fake-gcs-server knows none
    "gcs-obstore",
}
HIDDEN_DOTFILES = {"http"}  # nginx lists none
AMBIGUOUS_ABSENCE = {"http"}  # a server that does not list answers 404 for any directory
ONE_PROCESS = {"memory"}  # no other process sees it
ONE_SFTP_PROCESS = {"sftp-paramiko"}  # in a new process sshfs serves sftp, with other options


def on(*names: str) -> pytest.MarkDecorator:
    """Run a test on these storages alone, in the order of NAMES: sets have none of their own."""
    ordered = sorted(names, key=NAMES.index)  # in which all workers of pytest-xdist must agree
    return pytest.mark.parametrize("place", [_mark(name) for name in ordered], indirect=True)


def everywhere_but(*excluded: set[str]) -> pytest.MarkDecorator:
    """Run a test on all storages but some that the tables above explain."""
    return on(*(name for name in NAMES if name not in set().union(*excluded)))


listing = everywhere_but(NO_LISTING)


@pytest.fixture(scope="session")
def local_runs() -> RunCollection[Run[Any, Any]]:
    """What the sweep is on the local filesystem."""
    return Run.load(iter_run_dirs(SWEEP))


def load(place: Place, url: str | None = None, **kwargs: Any) -> RunCollection[Run[Any, Any]]:
    dirs = iter_run_dirs(url or place.sweep_url, storage_options=place.options)
    return Run.load(dirs, storage_options=place.options, **kwargs)


def load_run(place: Place, *args: Any) -> Run[Any, Any]:
    return Run.load(run_url(place), *args, storage_options=place.options)


def run_url(place: Place) -> str:
    return below(place.sweep_url, f"{EXPERIMENT}/{RUN_ID}")


def below(url: str, path: str) -> str:
    """Append a path to a URL, in a chain to the first link."""
    link, separator, rest = url.partition("::")
    return f"{link}/{path}{separator}{rest}"


# Finding -------------------------------------------------------------------------------


@listing
def test_run_dirs(place: Place) -> None:
    dirs = iter_run_dirs(place.sweep_url, storage_options=place.options)
    assert [path.name for path in dirs] == [path.name for path in iter_run_dirs(SWEEP)]


def is_second(name: str) -> bool:
    return name.endswith("v2")


@listing
@pytest.mark.parametrize(
    "experiment_names",
    ["train_digits_v1", "train_*", ["eval_*", "train_digits_v2"], is_second, "nothing*"],
)
def test_experiment_filter(place: Place, experiment_names: Any) -> None:
    dirs = iter_run_dirs(place.sweep_url, experiment_names, storage_options=place.options)
    expected = [path.name for path in iter_run_dirs(SWEEP, experiment_names)]
    assert [path.name for path in dirs] == expected
    assert bool(expected) == (experiment_names != "nothing*")


@listing
def test_experiment_names(place: Place) -> None:
    names = get_experiment_names(place.sweep_url, storage_options=place.options)
    assert names == ["eval_digits", "train_digits_v1", "train_digits_v2"]


@listing
@pytest.mark.parametrize(("include_deleted", "expected"), [(False, ["a"]), (True, ["a", "b"])])
def test_deleted_runs(
    place: Place, tracking_dir: TrackingDir, include_deleted: bool, expected: list[str]
) -> None:
    experiment = tracking_dir.add_experiment("train")
    tracking_dir.add_run(experiment, "a", "lr: 1")
    tracking_dir.add_run(experiment, "b", "lr: 1", lifecycle_stage="deleted")
    url = place.publish(tracking_dir.root)
    dirs = iter_run_dirs(url, include_deleted=include_deleted, storage_options=place.options)
    assert [path.name for path in dirs] == expected


# Loading -------------------------------------------------------------------------------


@listing
def test_load(place: Place, local_runs: RunCollection[Any]) -> None:
    runs = load(place)
    assert_frame_equal(runs.to_frame(), local_runs.to_frame())
    assert_frame_equal(runs.to_frame(*COLUMNS), local_runs.to_frame(*COLUMNS))


@listing
def test_load_with_options_given_once(place: Place, local_runs: RunCollection[Any]) -> None:
    runs = Run.load(iter_run_dirs(place.sweep_url, storage_options=place.options))
    assert_frame_equal(runs.to_frame(*COLUMNS), local_runs.to_frame(*COLUMNS))


@everywhere_but(NO_LISTING, ONE_SFTP_PROCESS)
def test_load_in_processes(place: Place, local_runs: RunCollection[Any]) -> None:
    assert_frame_equal(load(place, n_jobs=2).to_frame(*COLUMNS), local_runs.to_frame(*COLUMNS))


@listing
def test_load_in_threads(place: Place, local_runs: RunCollection[Any]) -> None:
    with joblib.parallel_config("threading"):
        runs = load(place, n_jobs=4)
    assert_frame_equal(runs.to_frame(*COLUMNS), local_runs.to_frame(*COLUMNS))


def test_one_run_by_url(place: Place) -> None:
    run = load_run(place)
    local = Run(SWEEP / EXPERIMENT / RUN_ID)
    assert run.cfg == local.cfg
    assert run.get("model.type") == local.get("model.type")
    assert run.get("nothing", 5) == 5
    assert run.get("metrics.train/loss") == local.get("metrics.train/loss")
    assert run.get("metrics.nothing", None) is None
    assert (run.info.run_id, run.info.job_name, run.info.status) == (
        RUN_ID,
        local.info.job_name,
        local.info.status,
    )


@on(*BUCKETS)
def test_empty_names_in_a_url(place: Place, local_runs: RunCollection[Any]) -> None:
    bucket, _, name = place.sweep_url.rpartition("/")
    scheme, _, rest = bucket.partition("://")
    for url in (f"{bucket}//{name}", f"{scheme}://{rest.replace('/', '//', 1)}/{name}"):
        runs = load(place, url)
        assert_frame_equal(runs.to_frame(*COLUMNS), local_runs.to_frame(*COLUMNS))
        assert runs[0].metrics == local_runs[0].metrics
        assert list_names(runs[0].path(), place) == list_names(local_runs[0].path(), place)


ODD_KEYS = ["/x", "1//x", "1/a/metrics//x", "1/a/artifacts//x.png", "1/a/artifacts/..x/./x"]


@on("s3-moto", "s3-obstore")
@pytest.mark.parametrize("key", ODD_KEYS)
def test_odd_keys_hide_no_others(
    place: Place, tracking_dir: TrackingDir, caplog: pytest.LogCaptureFixture, key: str
) -> None:
    experiment = tracking_dir.add_experiment("train")
    for name in "ab":
        run_dir = tracking_dir.add_run(experiment, name, "lr: 1", {"loss": "1 0.5 1\n"})
        write(run_dir / "artifacts/m.csv", "a")
    url = place.publish(tracking_dir.root)
    assert place.server is not None
    place.server.write(f"{url.removeprefix(f'{place.root}/')}/{key}", b"x")
    runs = load(place, url)
    found = [(run.metrics, sorted(p.name for p in run.path().rglob("*.csv"))) for run in runs]
    assert found == [({"loss": 0.5}, ["m.csv"])] * 2
    folder = f"{url}/{key}".rpartition("/")[0]
    assert f"skipped the keys below {folder}/: a name in a key may not be empty" in caplog.text


@listing
def test_info(place: Place, local_runs: RunCollection[Any]) -> None:
    keys = ("job_name", "status", "start_time", "end_time", "run_name")
    assert_frame_equal(load(place).to_frame(*keys), local_runs.to_frame(*keys))


@listing
def test_metrics_params_and_tags(place: Place, local_runs: RunCollection[Any]) -> None:
    for run, local in zip(load(place)[::15], local_runs[::15], strict=True):
        assert run.metrics == local.metrics
        assert run.params == local.params
        assert run.tags == local.tags


@listing
def test_frame_of_metrics(place: Place, local_runs: RunCollection[Any]) -> None:
    keys = ("run_id", "metrics.accuracy", "metrics.train/loss")
    assert_frame_equal(load(place).to_frame(*keys), local_runs.to_frame(*keys))


COMPARED = ("13f42e9535654d01a4143ddd9be02cb7", "cde953dfc57448a1bfe9943c868754db")


@everywhere_but(NO_LISTING, HIDDEN_DOTFILES)  # artifacts are listed
def test_commands(place: Place, tmp_path: Path) -> None:
    expected = run_commands(Source(SWEEP), COMPARED, "metrics.accuracy", tmp_path)
    source = Source(place.sweep_url, storage_options=place.options)
    shown = run_commands(source, COMPARED, "metrics.accuracy", tmp_path)
    for name, output in expected.items():
        assert shown[name] == output


@on(*S3)
def test_commands_find_credentials_in_the_environment(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", place.options["key"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", place.options["secret"])
    monkeypatch.setenv("AWS_ENDPOINT_URL", place.options["client_kwargs"]["endpoint_url"])
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    url = f"{place.publish(SWEEP)}"
    target = f"{url}/exported/runs.csv"
    result = invoke("export", url, target, "-c", "seed")
    assert (result.exit_code, result.stdout) == (0, f"wrote 31 runs with 1 column to {target}\n")
    assert "exists; give --force to replace it" in invoke("export", url, target).stderr
    result = invoke("export", url, f"{url}/exported.csv", "-c", "seed", "--force")
    assert result.exit_code == 0
    assert invoke("diff", url, "13f4", "cde9", "--csv").stdout.count("\n") == 4


@listing
def test_dataset_of_runs_with_filters(place: Place) -> None:
    options: dict[str, Any] = {
        "experiment_names": "train_*",
        "filters": ["status == FINISHED", "metrics.accuracy > 0.9", "training.learning_rate < 0.1"],
    }
    dataset = HydraflowRunCollectionDataset(
        path=place.sweep_url, credentials=place.options, **options
    )
    expected = HydraflowRunCollectionDataset(path=SWEEP, **options).load()
    assert [run.info.run_id for run in dataset.load()] == [run.info.run_id for run in expected]
    assert 0 < len(expected) < 31
    assert dataset.exists()


def test_dataset_of_one_run(place: Place) -> None:
    dataset = HydraflowRunDataset(filepath=run_url(place), credentials=place.options)
    assert dataset.load().get("seed") == Run(SWEEP / EXPERIMENT / RUN_ID).get("seed")


# Hydra alone ---------------------------------------------------------------------------

HYDRA_COLUMNS = ("run_id", "job_name", "experiment_id", "model.name", "optim.lr", "seed")
HYDRA_RUNS = ("multirun/2026-11-25/23-01-50/3", "multirun/named/optim=long,seed=5")


@listing
@pytest.mark.parametrize("folder", ["", "multirun", "multirun/2026-11-25/23-01-50", "outputs"])
def test_output_directories_of_hydra(place: Place, folder: str) -> None:
    local = Run.load(iter_run_dirs(HYDRA_SWEEP / folder))
    runs = load(place, below(place.hydra_url, folder) if folder else place.hydra_url)
    assert_frame_equal(runs.to_frame(*HYDRA_COLUMNS), local.to_frame(*HYDRA_COLUMNS))
    assert len(runs) == len(local) > 2


def test_output_directories_of_hydra_by_url(place: Place) -> None:
    urls = [below(place.hydra_url, run_id) for run_id in HYDRA_RUNS]
    for run in (
        *Run.load(urls, storage_options=place.options),
        *(Run.load(url, storage_options=place.options) for url in urls),
    ):
        local = Run(HYDRA_SWEEP / run.info.run_id)
        assert run.cfg == local.cfg
        assert (run.info.job_name, run.info.status) == ("fit_curve", None)
        assert run.path("result.json").read_text() == local.path("result.json").read_text()
        assert (run.overrides, run.hydra["job"]) == (local.overrides, local.hydra["job"])
        assert run.read_log() == local.read_log()


@listing
def test_artifacts_of_hydra(place: Place) -> None:
    dataset = HydraflowArtifactDataset(
        path=place.hydra_url,
        artifact="result.json",
        dataset="json.JSONDataset",
        missing="skip",
        credentials=place.options,
    )
    results = dataset.load()
    assert len(results) == 18  # of 19 jobs, of which one failed
    for run_id in HYDRA_RUNS:
        assert results[run_id]() == json.loads((HYDRA_SWEEP / run_id / "result.json").read_text())


# Artifacts -----------------------------------------------------------------------------

WEIGHTS = "model/weights.npz"
MATRIX = "confusion_matrix.json"


def list_names(folder: Path, place: Place) -> list[str]:
    hidden = place.name in HIDDEN_DOTFILES
    return sorted(n for n in os.listdir(folder) if not (hidden and n.startswith(".")))


@listing
def test_artifact_is_read_like_a_local_file(place: Place) -> None:
    run, local = load_run(place), Run(SWEEP / EXPERIMENT / RUN_ID)
    path = run.path(WEIGHTS)
    assert isinstance(path, Path)
    assert path.is_file()
    assert path.name == "weights.npz"
    with np.load(path) as weights, np.load(local.path(WEIGHTS)) as expected:
        assert sorted(weights.files) == sorted(expected.files)
        assert all(np.array_equal(weights[name], expected[name]) for name in expected.files)
    assert run.path(WEIGHTS).read_bytes() == local.path(WEIGHTS).read_bytes()
    with open(run.path(MATRIX), encoding="utf-8") as file:
        assert json.load(file) == json.loads(local.path(MATRIX).read_text())
    with run.path(MATRIX).open("rb") as binary:
        assert binary.read() == local.path(MATRIX).read_bytes()


@listing
def test_artifacts_are_listed_like_a_local_folder(place: Place) -> None:
    run, local = load_run(place), Run(SWEEP / EXPERIMENT / RUN_ID)
    expected = list_names(local.path(), place)
    assert list_names(run.path(), place) == expected
    assert sorted(path.name for path in run.path().iterdir()) == expected
    assert sorted(path.name for path in run.iterdir()) == expected
    assert [path.name for path in run.glob("*.json")] == ["confusion_matrix.json"]
    assert [path.name for path in run.path().glob("model/*.npz")] == ["weights.npz"]
    assert [path.name for path in run.path().rglob("*.npz")] == ["weights.npz"]
    assert all(isinstance(path, Path) for path in run.iterdir())
    assert run.path("model").is_dir()


def test_absent_artifact(place: Place) -> None:
    path = load_run(place).path("nothing.txt")
    assert isinstance(path, Path)
    with pytest.raises(FileNotFoundError, match=r"nothing\.txt"):
        path.read_bytes()
    with pytest.raises(FileNotFoundError, match=r"nothing\.txt"):
        path.open()


def test_fetch_of_a_file(place: Place) -> None:
    path = load_run(place).fetch(MATRIX)
    assert isinstance(path, Path)
    content = Path(str(path)).read_bytes()  # what is asked for is there: also by its text
    assert content == (SWEEP / EXPERIMENT / RUN_ID / "artifacts" / MATRIX).read_bytes()


@listing
@pytest.mark.parametrize("folder", ["model", ""])
def test_fetch_of_a_folder(place: Place, folder: str) -> None:
    root = SWEEP / EXPERIMENT / RUN_ID / "artifacts" / folder
    expected = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    if place.name in HIDDEN_DOTFILES:
        expected = {name for name in expected if not name.startswith(".")}
    fetched = Path(str(load_run(place).fetch(folder)))
    found = {p.relative_to(fetched).as_posix() for p in fetched.rglob("*") if p.is_file()}
    assert found == expected
    assert all((fetched / name).read_bytes() == (root / name).read_bytes() for name in expected)


def test_fetch_of_nothing(place: Place) -> None:
    with pytest.raises(NotFoundError, match="nothing"):
        load_run(place).fetch("nothing")


@pytest.fixture
def trained_model(monkeypatch: pytest.MonkeyPatch) -> type:
    """The demo's implementation of a run, written for a local directory."""
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    from digits.trained_model import TrainedModel

    return TrainedModel


def test_impl_written_for_local_paths(place: Place, trained_model: type) -> None:
    run = load_run(place, trained_model)
    local = Run(SWEEP / EXPERIMENT / RUN_ID, trained_model)
    assert isinstance(run.impl.artifacts_dir, Path)
    assert run.get("n_weights") == local.get("n_weights")
    assert np.array_equal(run.impl.confusion_matrix, local.impl.confusion_matrix)


@listing
def test_frame_of_impl_attributes(
    place: Place, trained_model: type, local_runs: RunCollection[Any]
) -> None:
    runs = load(place, None, impl_factory=trained_model)[::10]
    local = Run.load((run.info.run_dir for run in local_runs[::10]), trained_model)
    assert_frame_equal(runs.to_frame("run_id", "n_weights"), local.to_frame("run_id", "n_weights"))


# Copies and processes ------------------------------------------------------------------


def by_pickle(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))


@pytest.mark.parametrize("duplicate", [copy.deepcopy, by_pickle])
def test_copy_of_a_run(place: Place, duplicate: Callable[[Any], Any]) -> None:
    run = duplicate(load_run(place))
    assert run.get("model.type") == Run(SWEEP / EXPERIMENT / RUN_ID).get("model.type")
    again = duplicate(run)
    assert again.info.run_id == RUN_ID
    assert again.path(MATRIX).read_bytes().startswith(b"[")


@listing
@pytest.mark.parametrize("duplicate", [copy.deepcopy, by_pickle])
def test_copy_of_a_collection(
    place: Place, duplicate: Callable[[Any], Any], local_runs: RunCollection[Any]
) -> None:
    runs = load(place)
    copied = duplicate(runs)
    copied.update("seed", 99, force=True)
    assert_frame_equal(runs.to_frame(*COLUMNS), local_runs.to_frame(*COLUMNS))
    assert set(copied.to_frame("seed")["seed"]) == {99}
    assert copied[0].metrics == local_runs[0].metrics


def send_metrics(runs: RunCollection[Any], connection: Any) -> None:
    """Run in a child: send what it reads, or why it cannot."""
    try:
        connection.send([run.metrics for run in runs])
    except BaseException:
        connection.send(traceback.format_exc())


@everywhere_but(NO_LISTING, ONE_PROCESS)
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_metrics_in_a_forked_process(place: Place, local_runs: RunCollection[Any]) -> None:
    assert read_in_child("fork", load(place)[:2]) == [run.metrics for run in local_runs[:2]]


@everywhere_but(NO_LISTING, ONE_PROCESS, ONE_SFTP_PROCESS)
def test_metrics_in_a_spawned_process(place: Place, local_runs: RunCollection[Any]) -> None:
    assert read_in_child("spawn", load(place)[:2]) == [run.metrics for run in local_runs[:2]]


@pytest.fixture
def impatience() -> Iterator[None]:
    """End the processes that hang, so that the test fails instead."""

    def kill_children() -> None:
        for child in multiprocessing.active_children():
            child.kill()

    timer = threading.Timer(30, kill_children)
    timer.start()
    yield
    timer.cancel()


def read_in_child(method: str, runs: RunCollection[Any]) -> Any:
    context = multiprocessing.get_context(method)
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=send_metrics, args=(runs, sender))
    child.start()
    try:
        assert receiver.poll(30), f"the {method}ed process does not answer"
        return receiver.recv()
    finally:
        child.kill()
        child.join()
        receiver.close()
        sender.close()


# What is not there ---------------------------------------------------------------------


@everywhere_but(NO_LISTING, AMBIGUOUS_ABSENCE)
def test_missing_tracking_directory(place: Place) -> None:
    url = below(place.sweep_url, "not-there")
    with pytest.raises(NotFoundError, match="not-there"):
        list(iter_run_dirs(url, storage_options=place.options))
    dataset = HydraflowRunCollectionDataset(path=url, credentials=place.options)
    assert not dataset.exists()
    with pytest.raises(DatasetError, match="not-there"):
        dataset.load()


@on(*AMBIGUOUS_ABSENCE)
def test_missing_or_unlisted_tracking_directory(place: Place) -> None:
    url = below(place.sweep_url, "not-there")
    with pytest.raises(StorageError, match="not-there") as raised:
        list(iter_run_dirs(url, storage_options=place.options))
    assert "404" in str(raised.value)


@on(*BUCKETS)
def test_missing_bucket(place: Place) -> None:
    url = f"{place.root}-not-there/mlruns"
    with pytest.raises(StorageError, match=re.escape(url)):
        list(iter_run_dirs(url, storage_options=place.options))


def test_run_without_configuration(place: Place, tracking_dir: TrackingDir) -> None:
    tracking_dir.add_run(tracking_dir.add_experiment("train"), "a", None, {"loss": "1 0.5 1\n"})
    url = below(place.publish(tracking_dir.root), "1/a")
    run = Run.load(url, storage_options=place.options)
    assert run.cfg == {}
    (loaded,) = Run.load([url], storage_options=place.options)
    assert loaded.cfg == {}


# Denied and unreachable ----------------------------------------------------------------

Use = Callable[[str, str, dict[str, Any]], Any]

USES: dict[str, Use] = {
    "find": lambda url, run, options: list(iter_run_dirs(url, storage_options=options)),
    "load": lambda url, run, options: Run.load([run], storage_options=options),
    "cfg": lambda url, run, options: Run(run, storage_options=options).cfg,
    "metrics": lambda url, run, options: Run(run, storage_options=options).metrics,
    "artifact": lambda url, run, options: (
        Run(run, storage_options=options).path(MATRIX).read_bytes()
    ),
    "fetch": lambda url, run, options: Run(run, storage_options=options).fetch(MATRIX),
    "dataset": lambda url, run, options: HydraflowRunCollectionDataset(
        path=url, credentials=options
    ).load(),
    "run dataset": lambda url, run, options: (
        HydraflowRunDataset(filepath=run, credentials=options).load().cfg
    ),
}

ERRORS = (StorageError, RunLoadError, DatasetError)

with_every_use = pytest.mark.parametrize("use", USES.values(), ids=USES)


@everywhere_but(NO_AUTHENTICATION)
@with_every_use
def test_wrong_credentials(
    place: Place, use: Use, caplog: pytest.LogCaptureFixture, no_waiting: None
) -> None:
    caplog.set_level(logging.DEBUG, "kedro_hydraflow")
    assert place.wrong_options is not None
    with pytest.raises(ERRORS) as raised:
        use(place.sweep_url, run_url(place), place.wrong_options)
    check_message(raised.value, place, caplog)
    assert "access denied" in str(raised.value)
    assert "credentials" in str(raised.value)


@on("s3-seaweedfs", "s3-seaweedfs-obstore")
@with_every_use
def test_denied_bucket(
    place: Place, use: Use, caplog: pytest.LogCaptureFixture, no_waiting: None
) -> None:
    url = f"s3://{PRIVATE_BUCKET}/mlruns"
    with pytest.raises(ERRORS) as raised:
        use(url, f"{url}/{EXPERIMENT}/{RUN_ID}", place.options)
    check_message(raised.value, place, caplog)
    assert "access denied" in str(raised.value)
    assert "credentials" in str(raised.value)


@everywhere_but(set(WITHOUT_SERVER))
@with_every_use
def test_unreachable_server(
    place: Place,
    use: Use,
    caplog: pytest.LogCaptureFixture,
    no_waiting: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hurry(monkeypatch)
    # Kedro's handler paints each traceback that gcsfs logs, which takes most of a second.
    monkeypatch.setattr(logging.getLogger(), "handlers", [caplog.handler])
    url, options = move(place, f"127.0.0.1:{get_free_port()}")
    with pytest.raises(ERRORS) as raised:
        use(url, below(url, f"{EXPERIMENT}/{RUN_ID}"), options)
    check_message(raised.value, place, caplog)
    assert "there is no" not in str(raised.value)
    assert "access denied" not in str(raised.value)


def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the clients' own retries wait for hardly any time: there are up to a minute of them."""
    sleep = asyncio.sleep

    async def sleep_briefly(delay: float, result: Any = None) -> Any:
        return await sleep(min(delay, 0.01), result)

    monkeypatch.setattr(asyncio, "sleep", sleep_briefly)


def move(place: Place, endpoint: str) -> tuple[str, dict[str, Any]]:
    """Return a place's URL and options with another endpoint in them."""
    assert place.server is not None
    old = place.server.endpoint

    def replace(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: replace(item) for name, item in value.items()}
        return value.replace(old, endpoint) if isinstance(value, str) else value

    return replace(place.sweep_url), replace(place.options)


def check_message(error: BaseException, place: Place, caplog: pytest.LogCaptureFixture) -> None:
    """Check that an error names the place, and that nothing shows credentials."""
    shown = [*traceback.format_exception(error), caplog.text]
    cause: BaseException | None = error
    while cause is not None:
        failures = [failure.error for failure in getattr(cause, "failures", ())]
        shown += [f"{exc!s} {exc!r}" for exc in (cause, *failures)]
        cause = cause.__cause__
    leaked = [secret for secret in place.secrets if secret in "\n".join(shown)]
    assert leaked == []
    assert "mlruns" in str(error) or "sweep" in str(error)


# New runs, and always the same ones ------------------------------------------------------

READ_ONLY = {"zip", "zip-s3", "http"}
NO_TOKEN = {"gcs-obstore"}  # obstore writes with a token alone, which the server does not give


@listing
def test_digests(place: Place, local_runs: RunCollection[Run[Any, Any]]) -> None:
    assert load(place).digest() == local_runs.digest()


@everywhere_but(NO_LISTING, READ_ONLY, NO_TOKEN)
def test_a_checkpoint(place: Place, tracking_dir: TrackingDir) -> None:
    tracking_dir.add_runs(3)
    url = place.publish(tracking_dir.root)
    options = {"path": url, "credentials": place.options, "checkpoint": f"{url}.state/done.json"}
    dataset = HydraflowRunCollectionDataset(**options, experiment_names="train")
    assert len(dataset.load()) == 3
    dataset.confirm()
    again = HydraflowRunCollectionDataset(**options)
    assert len(again.load()) == 0
    again.confirm()
    assert again.open_checkpoint().read() == {"r000", "r001", "r002"}
    again.open_checkpoint().remove()
    assert len(again.load()) == 3


@everywhere_but(NO_LISTING, READ_ONLY, NO_TOKEN)
def test_a_lock(place: Place) -> None:
    lock = f"{place.root}/locks/{uuid.uuid4().hex}.json"
    options = {"credentials": place.options, "lock": lock, "filters": "status == FINISHED"}
    dataset = HydraflowRunCollectionDataset(path=place.sweep_url, **options)
    assert len(dataset.load()) == len(dataset.load()) == 30
    other = HydraflowRunCollectionDataset(path=place.hydra_url, layout="hydra", **options)
    with pytest.raises(DatasetError, match="30 are missing"):
        other.load()


@on(*READ_ONLY)
def test_storage_that_is_only_read_keeps_no_checkpoint(place: Place) -> None:
    checkpoint = below(place.root, "done.json")
    dataset = HydraflowRunCollectionDataset(
        path=place.sweep_url, credentials=place.options, checkpoint=checkpoint
    )
    assert len(dataset.load()) == 31
    with pytest.raises(DatasetError, match=r"cannot write '.*done\.json"):
        dataset.confirm()


# What was written a moment ago ---------------------------------------------------------


@listing
def test_new_run_and_changed_configuration_are_seen(
    place: Place, tracking_dir: TrackingDir
) -> None:
    experiment = tracking_dir.add_experiment("train")
    first = tracking_dir.add_run(experiment, "a", "lr: 1")
    name = f"fresh-{tracking_dir.root.parent.name}"
    url = place.publish_as(tracking_dir.root, name)
    assert load(place, url).to_list("lr") == [1]
    dataset = HydraflowRunCollectionDataset(path=url, credentials=place.options)
    assert dataset.load().to_list("lr") == [1]

    write(first / "artifacts/.hydra/config.yaml", "lr: 2")
    tracking_dir.add_run(experiment, "b", "lr: 3")
    assert place.publish_as(tracking_dir.root, name) == url
    assert load(place, url).to_list("lr") == [2, 3]
    assert dataset.load().to_list("lr") == [2, 3]

    tracking_dir.add_run(tracking_dir.add_experiment("eval", "2"), "c", "lr: 4")
    place.publish_as(tracking_dir.root, name)
    assert load(place, url).to_list("lr") == [4, 2, 3]
    assert get_experiment_names(url, storage_options=place.options) == ["eval", "train"]


def test_changed_artifact_is_fetched_anew(place: Place, tracking_dir: TrackingDir) -> None:
    run_dir = tracking_dir.add_run(tracking_dir.add_experiment("train"), "a", "lr: 1")
    name = f"changed-{tracking_dir.root.parent.name}"
    for text in ("one", "another"):
        write(run_dir / "artifacts/note.txt", text)
        url = place.publish_as(tracking_dir.root, name)
        run = Run.load(below(url, "1/a"), storage_options=place.options)
        assert run.path("note.txt").read_text() == text
        assert run.fetch("note.txt").read_text() == text


# A server without listings -------------------------------------------------------------


@on("http-no-listing")
@pytest.mark.parametrize(
    "use", [USES["find"], USES["dataset"], USES["metrics"]], ids=["find", "dataset", "metrics"]
)
def test_server_that_does_not_list_says_so(place: Place, use: Use) -> None:
    with pytest.raises(ERRORS) as raised:
        use(place.sweep_url, run_url(place), place.options)
    assert "does not list directories" in str(raised.value)
    assert place.sweep_url in str(raised.value)


# Datasets of artifacts -------------------------------------------------------------------


@on("local", "memory", "zip", "s3-moto", "s3-obstore", "sftp-sshfs", "http")
def test_dataset_of_artifacts(place: Place) -> None:
    options: dict[str, Any] = {
        "artifact": MATRIX,
        "dataset": "json.JSONDataset",
        "experiment_names": "train_digits_v1",
        "missing": "skip",
    }
    dataset = HydraflowArtifactDataset(path=place.sweep_url, credentials=place.options, **options)
    expected = HydraflowArtifactDataset(path=SWEEP, **options).load()
    loaded = by_pickle(dataset.load())
    assert list(loaded) == list(expected)
    assert 0 < len(loaded) < 31
    run_id = next(iter(loaded))
    assert loaded[run_id]() == expected[run_id]()


@on("local", "memory", "zip", "s3-moto", "s3-obstore", "sftp-sshfs", "http")
def test_dataset_of_artifacts_in_one_frame(place: Place, tracking_dir: TrackingDir) -> None:
    experiment = tracking_dir.add_experiment("train")
    for number in range(5):
        run_dir = tracking_dir.add_run(experiment, f"run{number}", f"lr: {number}")
        if number:
            write(run_dir / "artifacts/tables/loss.csv", f"epoch,loss\n1,0.{number}\n2,0.1\n")
    url = place.publish(tracking_dir.root)
    options: dict[str, Any] = {
        "artifact": "tables/loss.csv",
        "dataset": {"type": "polars.EagerPolarsDataset", "file_format": "csv"},
        "concat": True,
        "keys": ["run_id", "lr"],
    }
    dataset = HydraflowArtifactDataset(
        path=url, credentials=place.options, missing="skip", **options
    )
    frame = dataset.load()
    assert frame.columns == ["run_id", "lr", "epoch", "loss"]
    assert frame["lr"].to_list() == [1, 1, 2, 2, 3, 3, 4, 4]
    assert frame["loss"].to_list() == [0.1, 0.1, 0.2, 0.1, 0.3, 0.1, 0.4, 0.1]
    with pytest.raises(DatasetError, match=r"1 of 5 runs have no artifact 'tables/loss.csv'"):
        HydraflowArtifactDataset(path=url, credentials=place.options, **options).load()


@listing
def test_dataset_of_the_best_run(place: Place, local_runs: RunCollection[Any]) -> None:
    dataset = HydraflowRunDataset(
        path=place.sweep_url, best_by="metrics.accuracy", mode="max", credentials=place.options
    )
    best = local_runs.best(by="metrics.accuracy", mode="max")
    assert dataset.load().info.run_id == best.info.run_id


# Kedro's runners -----------------------------------------------------------------------


def pass_on(runs: RunCollection[Any]) -> RunCollection[Any]:
    return runs


def make_table(runs: RunCollection[Any], run: Run[Any, Any]) -> pl.DataFrame:
    return runs.to_frame("run_id", "seed", "metrics.accuracy").with_columns(
        best=pl.lit(run["seed"])
    )


@on(*S3, "local")
@pytest.mark.parametrize("runner_class", [SequentialRunner, ThreadRunner, ParallelRunner])
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_runners(
    place: Place,
    runner_class: type,
    local_runs: RunCollection[Any],
    tmp_path: Path,
    impatience: None,
) -> None:
    catalog_class = SharedMemoryDataCatalog if runner_class is ParallelRunner else DataCatalog
    catalog = catalog_class(
        {
            "runs": HydraflowRunCollectionDataset(
                path=place.sweep_url, experiment_names="train_digits_v1", credentials=place.options
            ),
            "run": HydraflowRunDataset(filepath=run_url(place), credentials=place.options),
            "table": PickleDataset(filepath=str(tmp_path / "table.pickle")),
        }
    )
    steps = pipeline([node(pass_on, "runs", "same"), node(make_table, ["same", "run"], "table")])
    options = {} if runner_class is SequentialRunner else {"max_workers": 2}
    runner_class(**options).run(steps, catalog)
    expected = make_table(
        local_runs.filter(job_name="train_digits_v1"), Run(SWEEP / EXPERIMENT / RUN_ID)
    )
    assert_frame_equal(catalog["table"].load(), expected)
