"""What becomes of a load when the network or the store fails, injected by the proxy."""

from __future__ import annotations

import logging
import re
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
from kedro.io import DatasetError

from kedro_hydraflow import HydraflowRunCollectionDataset, Run, RunCollection, iter_run_dirs
from kedro_hydraflow.errors import RunLoadError, StorageError
from kedro_hydraflow.storage.bulk import MAX_ATTEMPTS, MAX_CONCURRENCY
from tests.disks import PAGE, mount_small_disk
from tests.integration.behind_proxy import (
    FAILED,
    N_FEW,
    RUNS_EACH,
    WEIGHTS,
    Bucket,
    Fault,
    Proxy,
    Site,
    make_experiment,
    make_run_id,
    serve_sweep,
)
from tests.servers import nginx

pytestmark = pytest.mark.integration

T = TypeVar("T")

N_RUNS = 2 * RUNS_EACH
MOST_ATTEMPTS = 2 * MAX_ATTEMPTS
"""Of one request: aiohttp itself makes it once more where a kept connection was dropped."""

MOST_AFTER_OUTAGE = 2 * MAX_CONCURRENCY * MOST_ATTEMPTS
"""Of the requests in flight then, during which a last answer may still arrive, and of those after
them; 1,500 runs wait behind these, which would take six times as many."""

ONE = make_run_id("101", 3)
"""The run of a few that faults meet."""

CONFIG_OF_ONE = rf"^GET /team/few/101/{ONE}/artifacts/\.hydra/config\.yaml"
A_CONFIG = r"^GET .*config\.yaml"
TRANSIENT = {
    "500": Fault(status=500),
    "503": Fault(status=503),
    "reset in mid-body": Fault("reset"),
    "shorter than its Content-Length": Fault("short"),
    "dropped connection": Fault("drop"),
}


@pytest.fixture(scope="module")
def bucket() -> Iterator[Bucket]:
    with serve_sweep() as bucket:
        yield bucket


@pytest.fixture(params=["fsspec", "obstore"])
def site(request: pytest.FixtureRequest, bucket: Bucket) -> Iterator[Site]:
    """The server behind a new proxy, with each of the two engines."""
    with bucket.behind() as site:
        site.options["engine"] = request.param
        site.options["config_kwargs"] = {"read_timeout": 1, "connect_timeout": 1}
        yield site


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make requests again at once."""
    monkeypatch.setattr("kedro_hydraflow.storage.bulk.WAIT", 0)


@pytest.fixture(autouse=True)
def no_secrets(caplog: pytest.LogCaptureFixture, bucket: Bucket) -> Iterator[None]:
    """Look for credentials in everything that a test logs."""
    with caplog.at_level(logging.INFO):
        yield
    assert_without_secrets(caplog.text, bucket)


def assert_without_secrets(text: str, bucket: Bucket) -> None:
    for name in ("key", "secret"):
        assert bucket.server.options[name] not in text


def in_time(function: Callable[[], T]) -> T:
    """Return what a function returns; fail if it hangs."""
    results: list[T] = []
    errors: list[BaseException] = []

    def call() -> None:
        try:
            results.append(function())
        except BaseException as exc:
            errors.append(exc)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(120)
    assert not thread.is_alive(), "it hangs"
    if errors:
        raise errors[0]
    return results[0]


def load(site: Site, url: str | None = None, on_error: str = "raise") -> RunCollection[Any]:
    """Load all runs, or those below another URL."""
    dataset = HydraflowRunCollectionDataset(
        path=url or site.url, credentials=site.options, on_error=on_error
    )
    try:
        return in_time(dataset.load)
    except DatasetError as exc:
        raise (exc.__cause__ or exc) from None  # Kedro adds the dataset to an error of ours


def load_few(site: Site, on_error: str = "raise") -> RunCollection[Any]:
    return load(site, site.few_url, on_error)


def assert_complete(runs: RunCollection[Any]) -> None:
    """Each run has the content that was written for it."""
    assert [(run.info.run_id, run.get("seed")) for run in runs] == [
        (make_run_id("101", number), number) for number in range(N_FEW)
    ]


def count_requests(site: Site, pattern: str) -> int:
    return sum(
        re.search(pattern, f"{request.method} {request.target}") is not None
        for request in site.proxy.requests()
    )


# What passes -------------------------------------------------------------------------------


def test_one_503_in_ten_requests_loses_no_run(site, bucket):
    site.proxy.set_faults(Fault(status=503, share=0.1))

    runs = load(site)

    assert len(runs) == N_RUNS
    assert runs.to_list("seed") == 2 * list(range(RUNS_EACH))
    n_requests = sum(site.proxy.counts().values())
    assert N_RUNS * 1.05 < n_requests < N_RUNS * 1.3


@pytest.mark.parametrize("fault", TRANSIENT)
@pytest.mark.parametrize("what", [A_CONFIG, r"^GET .*list-type", r"/101/meta\.yaml"])
def test_what_fails_twice_is_asked_for_three_times(site, fault, what, no_waiting):
    action, status = TRANSIENT[fault].action, TRANSIENT[fault].status
    site.proxy.set_faults(Fault(action, status, match=what, times=2))

    assert_complete(load_few(site))

    faulty = [r for r in site.proxy.requests() if re.search(what, f"{r.method} {r.target}")]
    assert len(faulty) == 3 * len(set(faulty))


def test_an_artifact_whose_download_breaks_off_is_fetched_again(
    site, no_waiting, tmp_path: Path, monkeypatch
):
    monkeypatch.setenv("KEDRO_HYDRAFLOW_CACHE_DIR", str(tmp_path))
    site.proxy.set_faults(Fault("reset", match=r"^GET .*weights\.npz", times=2))
    run = Run(site.run_url(0), storage_options=site.options)

    content = in_time(lambda: run.path("weights.npz").read_bytes())

    files = make_experiment("101", 1)
    assert content == files[f"101/{make_run_id('101', 0)}/artifacts/weights.npz"]
    assert count_requests(site, r"^GET .*weights\.npz") == 3


def test_a_hung_connection_is_given_up_and_asked_again(site, no_waiting):
    site.proxy.set_faults(Fault("hang", match=CONFIG_OF_ONE, times=1))

    assert_complete(load_few(site))

    assert count_requests(site, CONFIG_OF_ONE) == 2


EVERY_FIFTH = {
    "503": Fault(status=503, share=0.2),
    "reset": Fault("reset", share=0.2),
    "shorter than its Content-Length": Fault("short", share=0.2),
    # Nothing tells that a configuration was cut off: there is no other record of its size.
    "cut off, with a Content-Length to match": Fault("cut", share=0.2, match="list-type|weights"),
}


@pytest.mark.parametrize("fault", EVERY_FIFTH)
def test_every_fifth_answer_may_be_bad(site, fault, no_waiting, tmp_path, monkeypatch):
    monkeypatch.setenv("KEDRO_HYDRAFLOW_CACHE_DIR", str(tmp_path))
    site.proxy.set_faults(EVERY_FIFTH[fault])

    runs = load(site)

    expected = [(e, number) for e in ("202", "101") for number in range(RUNS_EACH)]
    assert runs.to_list("run_id") == [make_run_id(e, number) for e, number in expected]
    assert runs.to_list("seed") == [number for _, number in expected]
    assert in_time(lambda: runs.to_list("metrics.accuracy")) == [
        number / RUNS_EACH for _, number in expected
    ]
    statuses = ["FAILED" if number < FAILED else "FINISHED" for _, number in expected]
    assert in_time(lambda: runs.to_list("status")) == statuses
    for run in (runs[0], runs[RUNS_EACH]):
        with np.load(in_time(lambda run=run: run.fetch("weights.npz"))) as archive:
            assert archive["w"].tolist() == WEIGHTS.tolist()


# What does not pass ------------------------------------------------------------------------


def test_a_denied_file_is_asked_for_once(site, bucket):
    site.proxy.set_faults(Fault(status=403, match=CONFIG_OF_ONE))

    with pytest.raises(RunLoadError) as caught:
        load_few(site)

    assert len(caught.value.failures) == 1
    assert f"1 of {N_FEW}" in str(caught.value)
    assert f"{site.few_url}/101/{ONE}" in str(caught.value)
    assert "denied" in str(caught.value)
    assert count_requests(site, CONFIG_OF_ONE) == 1
    assert_without_secrets("".join(traceback.format_exception(caught.value)), bucket)


def test_an_absent_file_is_asked_for_once(site):
    site.proxy.set_faults(Fault(status=404, match=CONFIG_OF_ONE))

    runs = load_few(site)

    assert len(runs) == N_FEW
    assert runs.get(run_id=ONE).cfg == {}
    assert count_requests(site, CONFIG_OF_ONE) == 1


@pytest.mark.parametrize("fault", [*TRANSIENT, "hang"])
def test_one_file_that_always_fails_is_named(site, bucket, fault, no_waiting):
    template = TRANSIENT.get(fault, Fault("hang"))
    site.proxy.set_faults(Fault(template.action, template.status, match=CONFIG_OF_ONE))

    with pytest.raises(RunLoadError) as caught:
        load_few(site)

    assert f"1 of {N_FEW}" in str(caught.value)
    assert f"{site.few_url}/101/{ONE}" in str(caught.value)
    assert 3 <= count_requests(site, CONFIG_OF_ONE) <= MOST_ATTEMPTS
    assert count_requests(site, A_CONFIG) < N_FEW + MOST_ATTEMPTS
    assert_without_secrets("".join(traceback.format_exception(caught.value)), bucket)


@pytest.mark.parametrize("outage", [Fault("drop", after=500), Fault(status=503, after=500)])
def test_a_store_that_stays_down_is_one_error(site, bucket, outage, no_waiting):
    site.proxy.set_faults(outage)

    with pytest.raises(RunLoadError) as caught:
        load(site)

    error = caught.value
    n_failed = len(error.failures)
    assert RUNS_EACH < n_failed < N_RUNS
    assert f"{n_failed} of {N_RUNS} " in str(error)
    run_urls = {failure.path.partition("/artifacts/")[0] for failure in error.failures}
    assert len(run_urls) == n_failed
    assert run_urls <= find_run_urls(bucket)
    assert error.failures[0].path in str(error)
    assert len(site.proxy.requests()) - 500 < MOST_AFTER_OUTAGE
    assert_without_secrets("".join(traceback.format_exception(error)), bucket)


def find_run_urls(bucket: Bucket) -> set[str]:
    """Return the URLs of all runs, asked for without the proxy."""
    url = f"{bucket.server.url}/mlruns"
    return {str(path) for path in iter_run_dirs(url, storage_options=bucket.server.options)}


@pytest.mark.parametrize("outage", [Fault("drop", after=500), Fault(status=503, after=500)])
def test_a_store_that_stays_down_leaves_out_what_was_not_read(site, outage, no_waiting, caplog):
    site.proxy.set_faults(outage)

    runs = load(site, on_error="warn")

    assert 0 < len(runs) < RUNS_EACH
    for run in runs:
        assert run.get("seed") == int(run.info.run_id, 16) % 10_000
    n_failed = N_RUNS - len(runs)
    assert f"{n_failed} of {N_RUNS} " in caplog.text
    left_out = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(left_out) >= 1
    assert len(site.proxy.requests()) - 500 < MOST_AFTER_OUTAGE


@pytest.mark.parametrize("on_error", ["raise", "warn"])
@pytest.mark.parametrize("outage", [Fault("drop"), Fault(status=503), Fault(status=403)])
def test_a_store_that_was_never_up_is_not_empty(site, bucket, outage, on_error, no_waiting):
    site.proxy.set_faults(outage)

    with pytest.raises(StorageError, match=re.escape(site.url)) as caught:
        load(site, on_error=on_error)

    assert not isinstance(caught.value, FileNotFoundError)
    assert len(site.proxy.requests()) <= (1 if outage.status == 403 else MOST_ATTEMPTS)
    assert_without_secrets("".join(traceback.format_exception(caught.value)), bucket)


def test_a_store_that_nothing_listens_for_is_not_empty(site, bucket, no_waiting):
    site.proxy.__exit__(None, None, None)

    with pytest.raises(StorageError, match=re.escape(site.url)) as caught:
        load(site, on_error="warn")

    assert_without_secrets("".join(traceback.format_exception(caught.value)), bucket)


def test_wrong_credentials_say_so_once(site, bucket):
    site.options["secret"] = "a-wrong-secret"

    with pytest.raises(StorageError, match=r"denied.*credentials") as caught:
        load(site)

    assert "a-wrong-secret" not in "".join(traceback.format_exception(caught.value))
    assert len(site.proxy.requests()) == 1


def test_an_artifact_that_does_not_fit_on_the_disk(site, tmp_path, monkeypatch):
    content = make_experiment("101", 1)[f"101/{make_run_id('101', 0)}/artifacts/weights.npz"]
    with mount_small_disk(tmp_path / "disk", 16 * PAGE) as disk:
        monkeypatch.setenv("KEDRO_HYDRAFLOW_CACHE_DIR", str(disk.folder / "cache"))
        run = Run(site.run_url(0), storage_options=site.options)
        for free in range(4):
            disk.leave(free * PAGE)
            with pytest.raises(StorageError, match="cannot write to the artifact cache"):
                in_time(lambda: run.path("weights.npz").read_bytes())
        disk.leave(14 * PAGE)
        assert in_time(lambda: run.path("weights.npz").read_bytes()) == content


# HTTP --------------------------------------------------------------------------------------


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Site]:
    """The few runs on a web server behind the proxy."""
    for path, content in make_experiment("101", N_FEW).items():
        target = tmp_path / "few" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    with nginx(tmp_path) as server:
        host, _, port = server.endpoint.rpartition(":")
        with Proxy(host, int(port), latency=0) as proxy:
            yield Site(proxy.url, f"{proxy.url}/few", server.options, proxy)


@pytest.mark.parametrize("fault", TRANSIENT)
def test_over_http_what_fails_twice_is_asked_for_three_times(web, fault, no_waiting):
    action, status = TRANSIENT[fault].action, TRANSIENT[fault].status
    web.proxy.set_faults(Fault(action, status, match=r"config\.yaml", times=2))
    dirs = [web.run_url(number) for number in range(N_FEW)]

    assert_complete(in_time(lambda: Run.load(dirs, storage_options=web.options)))

    assert count_requests(web, r"config\.yaml") == 3 * N_FEW


def test_over_http_an_outage_is_one_error(web, no_waiting):
    dirs = [web.run_url(number) for number in range(N_FEW)]
    web.proxy.set_faults(Fault("drop"))

    with pytest.raises(RunLoadError, match=f"{N_FEW} of {N_FEW} "):
        in_time(lambda: Run.load(dirs, storage_options=web.options))
