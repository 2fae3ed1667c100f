"""A plugin of pytest: notes how long tests take, and runs given tests in a given order."""

from __future__ import annotations

import json
import os
import resource
from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import Phase, settings

MAX_MEMORY = 8 * 2**30
"""In bytes. A mutant may append to a list for ever."""

_seconds: defaultdict[str, float] = defaultdict(float)
_failed: set[str] = set()


def pytest_configure() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
    # The same examples each time; that a test fails is enough, without the simplest example.
    phases = (Phase.explicit, Phase.generate)
    settings.register_profile("mutants", derandomize=True, database=None, phases=phases)
    settings.load_profile("mutants")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the tests that the file $MUTANT_TESTS names."""
    if file := os.environ.get("MUTANT_TESTS"):
        found = {item.nodeid: item for item in items}
        items[:] = [found[name] for name in json.loads(Path(file).read_text()) if name in found]


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _seconds[report.nodeid] += report.duration
    if report.failed:
        _failed.add(report.nodeid)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the seconds of each test that passed into the file $MUTANT_SECONDS."""
    file = os.environ.get("MUTANT_SECONDS")
    if file and not hasattr(session.config, "workerinput"):
        Path(file).write_text(
            json.dumps({name: s for name, s in _seconds.items() if name not in _failed})
        )
