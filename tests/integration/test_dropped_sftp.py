"""An SFTP server that drops its connections, as after a time without requests."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

import pytest

from kedro_hydraflow import Run, iter_run_dirs
from kedro_hydraflow.storage import locate
from tests.conftest import SWEEP
from tests.integration.places import choose_sftp
from tests.servers import for_paramiko, sshd

pytestmark = pytest.mark.integration


class Forwarder:
    """Forwards TCP connections, and drops them on request."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self.port = self._listener.getsockname()[1]
        self.n_connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):  # when it is closed
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
                self._sockets += [client, server]
                self.n_connections += 1
                for pair in ((client, server), (server, client)):
                    threading.Thread(target=self._pump, args=pair, daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        self._close(source, target)

    def _close(self, *sockets: socket.socket) -> None:
        for each in sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def drop(self) -> None:
        self._close(*self._sockets)
        self._sockets.clear()

    def close(self) -> None:
        self._close(self._listener)
        self.drop()


@pytest.mark.parametrize("name", ["sftp-sshfs", "sftp-paramiko"])
def test_a_load_after_the_connection_was_dropped(name: str, no_waiting: None) -> None:
    choose_sftp(name)
    with sshd() as started:
        server = for_paramiko(started) if name == "sftp-paramiko" else started
        url = server.upload(SWEEP, "mlruns")
        host, _, port = server.endpoint.partition(":")
        forwarder = Forwarder((host, int(port)))
        url = url.replace(f":{port}/", f":{forwarder.port}/")
        storage = locate(url, server.options).storage
        path = locate(url, server.options).path
        names = [entry.name for entry in storage.list_dir(path)]
        for _ in range(2):
            forwarder.drop()
            assert [entry.name for entry in storage.list_dir(path)] == names
        runs = Run.load(iter_run_dirs(url, storage_options=server.options))
        assert len(runs) == 31
        forwarder.drop()
        assert runs[0].path(".hydra/config.yaml").read_text().startswith("model:")
        assert runs.to_frame("metrics.accuracy").height == 31
        forwarder.close()
