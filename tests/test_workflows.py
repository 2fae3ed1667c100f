from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT

FILES = sorted(ROOT.glob(".github/workflows/*.yml"))
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z0-9-]+):", MAKEFILE, re.MULTILINE))


def read_jobs(name: str) -> dict[str, Any]:
    text = (ROOT / ".github/workflows" / name).read_text(encoding="utf-8")
    jobs: dict[str, Any] = yaml.safe_load(text)["jobs"]
    return jobs


def list_commands(jobs: dict[str, Any]) -> list[str]:
    """Return the commands of jobs, with the values of their matrices filled in."""
    return [
        fill(step["run"], values)
        for job in jobs.values()
        for values in iter_matrix(job)
        for step in job.get("steps", [])
        if "run" in step
    ]


def fill(command: str, values: dict[str, str]) -> str:
    for name, value in values.items():
        command = command.replace(f"${{{{ matrix.{name} }}}}", value)
    return command


def iter_matrix(job: dict[str, Any]) -> Iterator[dict[str, str]]:
    matrix = job.get("strategy", {}).get("matrix", {})
    yield from matrix.get("include", [{name: values[0] for name, values in matrix.items()}])


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_the_make_targets_exist(file: Any) -> None:
    commands = "\n".join(list_commands(read_jobs(file.name)))
    lines = re.findall(r"^make (.*)", commands, re.MULTILINE)
    called = {word for line in lines for word in line.split() if "=" not in word}
    assert called
    assert called <= TARGETS


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_workflow_may_read_alone_and_its_actions_have_a_version(file: Any) -> None:
    workflow = yaml.safe_load(file.read_text(encoding="utf-8"))
    assert workflow["permissions"] == {"contents": "read"}
    granted = {
        (name, permission)
        for name, job in workflow["jobs"].items()
        for permission in job.get("permissions", {})
    }
    assert granted <= {("deploy", "pages"), ("deploy", "id-token"), ("publish", "id-token")}
    steps = [step for job in workflow["jobs"].values() for step in job.get("steps", [])]
    used = [step["uses"] for step in steps if "uses" in step]
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@(v\d+|release/v\d+)", action) for action in used)


def test_every_supported_python_is_tested() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    supported = re.findall(r"Python :: (3\.\d+)\"", text)
    assert read_jobs("tests.yml")["test"]["strategy"]["matrix"]["python"] == supported


def test_what_decides_here_runs_there_too() -> None:
    """Whoever has the repository on GitHub sees what ``.ci/run`` sees."""
    here = re.findall(r"^make (.*)|=1 make (.*)", (ROOT / ".ci/run").read_text("utf-8"), re.M)
    targets = {target for pair in here for target in "".join(pair).split()}
    commands = "\n".join(list_commands(read_jobs("tests.yml")))
    there = {word for line in re.findall(r"make (.*)", commands) for word in line.split()}
    assert targets
    assert targets <= there
