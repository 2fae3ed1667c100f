"""A process that ends as soon as obstore has answered ends as it should."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import SWEEP
from tests.integration.places import Places
from tests.servers import REGION

pytestmark = pytest.mark.integration


def test_a_command_that_ends_after_a_request_is_not_aborted(tmp_path: Path) -> None:
    with Places(tmp_path) as places:
        place = places.get("s3-obstore")
        environment = {
            **os.environ,
            "AWS_ACCESS_KEY_ID": place.options["key"],
            "AWS_SECRET_ACCESS_KEY": place.options["secret"],
            "AWS_ENDPOINT_URL": place.options["client_kwargs"]["endpoint_url"],
            "AWS_REGION": REGION,
        }
        for number in range(12):  # half of them were
            index = f"{place.root}/index{number}"
            done = subprocess.run(
                [sys.executable, "-m", "kedro_hydraflow", "index", str(SWEEP), "--to", index],
                env=environment,
                capture_output=True,
                text=True,
            )
            assert (done.returncode, done.stdout) == (0, "published 31 runs\n"), done.stderr
