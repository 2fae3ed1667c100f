"""Kedro-Viz on the demo, in a browser: each node is opened, and the tables are read."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from kedro_hydraflow import HydraflowRunCollectionDataset
from tests.conftest import ROOT, SWEEP, write
from tests.integration.places import is_server_required

pytestmark = pytest.mark.integration

SECONDS_TO_START = 60

CATALOG = """
sweep_runs:
  type: kedro_hydraflow.HydraflowRunCollectionDataset
  path: examples/data/mlruns
  filters: status == FAILED
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of Kedro-Viz for the demo, where ``sweep_runs`` is one that failed."""
    project = tmp_path_factory.mktemp("project")
    for name in ("conf", "examples"):
        ignored = shutil.ignore_patterns("reporting", "local")
        shutil.copytree(ROOT / name, project / name, ignore=ignored)
    for name in ("pyproject.toml", ".telemetry"):
        shutil.copy(ROOT / name, project)
    write(project / "conf/local/catalog.yml", CATALOG)
    port = find_port()
    command = [sys.executable, "-m", "kedro", "viz", "run", "--no-browser", "--port", str(port)]
    with (
        open(project / "viz.log", "wb") as log,
        subprocess.Popen(
            command,
            cwd=project,
            env={**os.environ, "DO_NOT_TRACK": "1"},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as process,
    ):
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_for(f"{url}/api/main", process, project / "viz.log")
            yield url
        finally:
            with suppress(ProcessLookupError):  # it has ended by itself
                os.killpg(process.pid, 15)


def find_port() -> int:
    """Return a free port of those that Kedro-Viz takes."""
    for port in range(41410, 49151):
        with socket.socket() as listener, suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port
    raise AssertionError("there is no free port for Kedro-Viz")


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + SECONDS_TO_START
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with urlopen(url, timeout=10):
                return
        except (URLError, OSError):  # noqa: PERF203 - it waits
            time.sleep(0.2)
    raise AssertionError(f"Kedro-Viz does not answer:\n{log.read_text()[-3000:]}")


@pytest.fixture(scope="module")
def page() -> Iterator[Any]:
    """A page of Debian's chromium."""
    chromium = shutil.which("chromium")
    if chromium is None:
        if is_server_required():
            raise AssertionError("chromium is missing: apt-get install chromium (on Debian)")
        pytest.skip("chromium is missing: apt-get install chromium (on Debian)")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser.new_page(viewport={"width": 1600, "height": 1000})
        browser.close()


def read_table(page: Any) -> list[list[str]]:
    """Return the texts in the table of a preview, row by row."""
    rows = page.wait_for_selector("table").query_selector_all("tr")
    return [[cell.inner_text() for cell in row.query_selector_all("th, td")] for row in rows]


def test_each_node_can_be_opened(site: str, page: Any, tmp_path: Path) -> None:
    with urlopen(f"{site}/api/main") as answer:
        nodes = json.load(answer)["nodes"]
    assert {"sweep_runs", "sweep_frame", "make_leaderboard"} <= {node["name"] for node in nodes}
    for node in nodes:
        page.goto(f"{site}/?pid=__default__&sid={node['id']}")
        title = page.wait_for_selector(".pipeline-metadata__title")
        assert node["name"].removeprefix("params:") in title.inner_text()
        page.screenshot(path=str(tmp_path / f"{node['id']}.png"))


def test_previews_show_what_a_load_gives(site: str, page: Any) -> None:
    with urlopen(f"{site}/api/main") as answer:
        ids = {node["name"]: node["id"] for node in json.load(answer)["nodes"]}
    page.goto(f"{site}/?pid=__default__&sid={ids['sweep_runs']}")
    header, *rows = read_table(page)
    (run,) = HydraflowRunCollectionDataset(path=SWEEP, filters="status == FAILED").load()
    assert header[:3] == ["run_id", "job_name", "status"]
    assert [row[:3] for row in rows] == [[run.info.run_id, "train_digits_v2", "FAILED"]]
    assert rows[0][header.index("model.type")] == run.get("model.type")
    page.goto(f"{site}/?pid=__default__&sid={ids['sweep_frame']}")
    header, *rows = read_table(page)
    assert header == ["model.type", "training.learning_rate", "seed", "metrics.accuracy"]
    assert len(rows) == 5
