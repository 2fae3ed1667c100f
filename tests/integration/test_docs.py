"""The pages of the documentation on which something needs a server: S3, or MLflow's."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from tests import servers
from tests.blocks import TRACKING_SERVER
from tests.conftest import DATABASE_SWEEP, HYDRA_SWEEP
from tests.integration.places import Places, is_server_required
from tests.pages import PAGES, PageRunner, read_page
from tests.servers import Server
from tests.test_docs import workspace
from tests.workspace import Workspace

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore:register_new_resolver:UserWarning"),
]

__all__ = ["workspace"]  # a fixture


def list_pages() -> list[str]:
    """Return the pages with a block that needs a server, and may have it."""
    return [page for page in PAGES if any(b.urls and b.is_served for b in read_page(page))]


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Places(tmp_path_factory.mktemp("servers")) as places:
        server = places.get("s3-moto").server
        assert server is not None
        yield server


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    database = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    shutil.copy(DATABASE_SWEEP / "mlflow.db", database)
    with ExitStack() as stack:
        try:
            server = servers.mlflow_server(database, None, "--no-serve-artifacts")
            url = stack.enter_context(server)
        except servers.MissingServerError as exc:
            if is_server_required():
                raise
            pytest.skip(str(exc))
        yield url


@pytest.mark.parametrize("page", list_pages())
def test_page_with_servers(
    page: str,
    workspace: Workspace,
    s3: Server,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runner = PageRunner(workspace, s3.options)
    s3.upload(Path("mlruns"), "mlruns")
    s3.upload(HYDRA_SWEEP / "multirun", "multirun")
    endpoint = s3.options["client_kwargs"]["endpoint_url"]
    for name, value in {
        "AWS_ACCESS_KEY_ID": s3.options["key"],
        "AWS_SECRET_ACCESS_KEY": s3.options["secret"],
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_REGION": servers.REGION,
        "AWS_ALLOW_HTTP": "true",  # for Polars
        "TEAM_S3_KEY": s3.options["key"],
        "TEAM_S3_SECRET": s3.options["secret"],
        "TEAM_S3_ENDPOINT": endpoint,
    }.items():
        monkeypatch.setenv(name, value)
    for block in read_page(page):
        print(f"{page}:{block.line}")  # of a test that fails, pytest shows it
        if TRACKING_SERVER in block.urls and block.reason is None:
            url = request.getfixturevalue("mlflow")
            runner.run(replace(block, code=block.code.replace(TRACKING_SERVER, url)))
        else:
            runner.run(block)
    runner.finish()
