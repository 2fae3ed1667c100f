from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import servers
from tests.integration.places import Places


def test_log_of_a_server_that_does_not_start_is_shown() -> None:
    command = ["sh", "-c", "echo the port is taken; exit 3"]
    with (
        pytest.raises(servers.ServerError, match="it ended; its log:\nthe port is taken"),
        servers.running(command, servers.get_free_port()),
    ):
        pass


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_server_ends_when_the_tests_are_killed() -> None:
    port = servers.get_free_port()
    server = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port)]
    script = f"""
        import os, signal, servers
        with servers.running({server!r}, {port}):
            os.kill(os.getpid(), signal.SIGKILL)
    """
    tests = subprocess.run(
        [sys.executable, "-c", "\n".join(line[8:] for line in script.splitlines())],
        cwd=Path(servers.__file__).parent,
    )
    assert tests.returncode == -9
    deadline = time.monotonic() + 10
    while is_listening(port):
        assert time.monotonic() < deadline, "the server is still there"
        time.sleep(0.02)


def is_listening(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize(
    ("variable", "value", "outcome"),
    [
        ("CI", "true", servers.MissingServerError),
        ("REQUIRE_SERVERS", "1", servers.MissingServerError),
        ("CI", "", pytest.skip.Exception),
    ],
)
def test_missing_server_fails_the_tests_where_it_is_required(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    value: str,
    outcome: type[BaseException],
) -> None:
    for name in ("CI", "REQUIRE_SERVERS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, value)

    def find(name: str, *folders: Path) -> str:
        raise servers.MissingServerError(f"the program {name} is not installed")

    monkeypatch.setattr(servers, "find_program", find)
    with Places(tmp_path) as places, pytest.raises(outcome, match="nginx is not installed"):
        places.get("http")
