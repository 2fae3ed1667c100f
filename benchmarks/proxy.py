"""A loopback proxy that adds latency, counts requests and injects faults.

    python benchmarks/proxy.py 127.0.0.1:8333 --latency 0.02

Bytes pass through it as they are. A client that signs requests for the proxy's address, as
clients of S3 do, has valid signatures behind it, if the server looks at the `Host` header
and not at its own address. From Python it is a process of its own:

    with Proxy("127.0.0.1", 8333, latency=0.02, faults=[Fault(status=503, share=0.1)]) as proxy:
        read_everything(proxy.url)
        print(proxy.counts())
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import socket
import struct
import subprocess
import sys
import threading
from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from types import TracebackType

    from typing_extensions import Self

HOST = "127.0.0.1"
MAX_HEAD = 2**18
BLOCK = 2**16

CODES = {403: "AccessDenied", 404: "NoSuchKey", 500: "InternalError", 503: "SlowDown"}
"""What S3 calls a status."""

HALVED = ("reset", "short", "cut")
"""The actions that pass on half of the body of an answer."""

LISTING = {"list-type", "prefix", "delimiter", "comp"}
"""Parameters that make a GET a listing on S3, Google Cloud Storage and Azure."""


ACTIONS = ("answer", "reset", "short", "cut", "hang", "drop")
"""What may happen to a request."""


@dataclass(frozen=True)
class Fault:
    """What happens to some requests in place of an answer.

    The first fault of a list that applies to a request counts. Which requests `share`
    chooses follows from the seed and from the request itself, not from their order.
    """

    action: str = "answer"
    """``answer`` with `status`; ``reset`` the connection after half of the body; ``short``: end
    it there as usual, although the head says more; ``cut``: half of the body, and a head that
    says no more, so that it looks whole; ``hang`` and never answer; ``drop`` the connection at
    once, as where a server is down."""

    status: int = 503
    match: str = ""
    """A regular expression to find in ``GET /path?query``."""

    share: float = 1.0
    """The part of the matching requests that is chosen."""

    times: int | None = None
    """How often at most for one and the same request; its later attempts pass."""

    after: int = 0
    """How many of the matching requests pass before the first that is chosen."""

    def __post_init__(self) -> None:
        if self.action not in ACTIONS:
            raise ValueError(f"action: expected {' or '.join(ACTIONS)}, got {self.action!r}")


class Request(NamedTuple):
    """A request that reached the proxy."""

    method: str
    target: str
    """The path with the query."""

    agent: str
    """The `User-Agent`, which tells one client from another."""

    @property
    def kind(self) -> str:
        """``LIST``, or the method."""
        parameters = dict(parse_qsl(urlsplit(self.target).query, keep_blank_values=True))
        is_listing = self.method == "GET" and not LISTING.isdisjoint(parameters)
        return "LIST" if is_listing else self.method


class Proxy:
    """The proxy as a process of its own; it ends with the ``with`` block or this process.

    Args:
        target_host: The server's address.
        target_port: The server's port.
        latency: Seconds that each request waits before it is passed on, however many
            others wait too.
        faults: What to inject, from the start; see `set_faults`.
        seed: Chooses the requests of faults with a `Fault.share`.
    """

    def __init__(
        self,
        target_host: str,
        target_port: int,
        *,
        latency: float = 0.02,
        faults: Iterable[Fault] = (),
        seed: int = 0,
    ) -> None:
        command = [sys.executable, __file__, f"{target_host}:{target_port}", "--controlled"]
        command += [f"--latency={latency}", f"--seed={seed}", f"--faults={_to_json(faults)}"]
        self._command = command
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        try:
            self.url: str = self._receive()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        self.port = urlsplit(self.url).port
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                pipe.close()  # type: ignore[union-attr]

    def counts(self) -> dict[str, int]:
        """Return how many requests of each kind came; a GET that lists is a ``LIST``."""
        return dict(Counter(request.kind for request in self.requests()))

    def requests(self) -> list[Request]:
        """Return the requests in the order in which they came."""
        return [Request(*request) for request in self._ask("requests")]

    def max_in_flight(self) -> int:
        """Return how many requests at most were not answered yet at the same time."""
        return int(self._ask("max_in_flight"))

    def max_connections(self) -> int:
        """Return how many connections at most were open at the same time."""
        return int(self._ask("max_connections"))

    def reset(self) -> None:
        """Forget all requests; faults start to count anew."""
        self._ask("reset")

    def set_faults(self, *faults: Fault) -> None:
        """Inject these faults from now on instead of the ones before; none: pass all."""
        self._ask("set_faults", _to_json(faults))

    def set_latency(self, seconds: float) -> None:
        """Let requests wait so long from now on."""
        self._ask("set_latency", seconds)

    def _ask(self, command: str, *arguments: Any) -> Any:
        with self._lock:
            stdin = self._process.stdin
            assert stdin is not None
            stdin.write(json.dumps([command, *arguments]) + "\n")
            stdin.flush()
            return self._receive()

    def _receive(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the proxy has ended: {' '.join(self._command)}")
        return json.loads(line)


def _to_json(faults: Iterable[Fault]) -> str:
    return json.dumps([asdict(fault) for fault in faults])


# In the process of the proxy ------------------------------------------------------------


class Ended(Exception):  # noqa: N818 - nothing is wrong
    """The connection to the client is of no more use."""


class Traffic:
    """What passes through, what is known of it, and what is to be done to it."""

    def __init__(self, host: str, port: int, latency: float, faults: str, seed: int) -> None:
        self._server = host, port
        self._latency = latency
        self._seed = seed
        self._connections = 0
        self._in_flight = 0
        self.set_faults(faults)
        self.reset()

    def obey(self, command: str, *arguments: Any) -> Any:
        """Return the answer to a command, which is named as in `Proxy`."""
        if command == "reset":
            self.reset()
        elif command == "set_faults":
            self.set_faults(*arguments)
        elif command == "set_latency":
            (self._latency,) = arguments
        else:
            return getattr(self, command)
        return None

    def reset(self) -> None:
        """Forget what has been."""
        self.requests: list[tuple[str, str, str]] = []
        self.max_in_flight = self._in_flight
        self.max_connections = self._connections
        self._start_counting_faults()

    def set_faults(self, faults: str) -> None:
        """Inject other faults from now on."""
        self._faults = [Fault(**fault) for fault in json.loads(faults)]
        self._start_counting_faults()

    def _start_counting_faults(self) -> None:
        self._attempts: Counter[str] = Counter()
        self._matched: Counter[Fault] = Counter()
        self._injected: dict[Fault, Counter[str]] = defaultdict(Counter)

    # Connections

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on the requests of one client's connection over a connection of its own."""
        self._connections += 1
        self.max_connections = max(self.max_connections, self._connections)
        exchange = Exchange(reader, writer, self._server)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self._in_flight += 1
                self.max_in_flight = max(self.max_in_flight, self._in_flight)
                try:
                    await self._handle(exchange, head)
                finally:
                    self._in_flight -= 1
        except (Ended, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            self._connections -= 1
            exchange.close()

    async def _handle(self, exchange: Exchange, head: bytes) -> None:
        method, target, _ = head[: head.index(b"\r\n")].decode("latin-1").split(" ", 2)
        agent = _AGENT.search(head)
        self.requests.append((method, target, agent[1].decode("latin-1") if agent else ""))
        fault = self._choose_fault(f"{method} {target}") if self._faults else None
        if self._latency:
            await asyncio.sleep(self._latency)
        if fault is None:
            await exchange.forward(method, head)
        elif fault.action == "answer":
            await exchange.answer(method, head, fault.status)
        elif fault.action in HALVED:
            await exchange.forward(method, head, fault.action)
        elif fault.action == "hang":
            await exchange.hang()
        else:
            exchange.drop()

    def _choose_fault(self, line: str) -> Fault | None:
        self._attempts[line] += 1
        for fault in self._faults:
            if not re.search(fault.match, line):
                continue
            self._matched[fault] += 1
            if self._matched[fault] <= fault.after:
                continue
            if fault.times is not None and self._injected[fault][line] >= fault.times:
                continue
            drawn = random.Random(f"{self._seed} {line} {self._attempts[line]}").random()
            if drawn < fault.share:
                self._injected[fault][line] += 1
                return fault
        return None


class Exchange:
    """A client's connection, the one to the server that belongs to it, and what passes."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        server: tuple[str, int],
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._address = server
        self._server: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    def close(self) -> None:
        """Close both connections."""
        self._close_server()
        self._writer.close()

    def _close_server(self) -> None:
        if self._server is not None:
            self._server[1].close()
            self._server = None

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._server is not None and self._server[0].at_eof():  # it was idle for too long
            self._close_server()
        if self._server is None:
            self._server = await asyncio.open_connection(*self._address, limit=MAX_HEAD)
        return self._server

    async def forward(self, method: str, head: bytes, action: str | None = None) -> None:
        """Pass a request to the server and its answer back, or half of the answer's body.

        Args:
            method: That of the request.
            head: Its head.
            action: One of `HALVED`, None for the whole body.

        Raises:
            Ended: If there cannot be another request.
        """
        server_reader, server_writer = await self._connect()
        server_writer.write(head)
        sending = None
        if (framing := Framing.of(head)).has_body:
            # Beside the answer: a client may wait for "100 Continue", a server may refuse early.
            sending = asyncio.create_task(relay(framing, self._reader, server_writer))
        try:
            while True:
                answer = await server_reader.readuntil(b"\r\n\r\n")
                status = int(answer[9:12])
                if status >= 200 or status == 101:
                    break
                self._writer.write(answer)
            if method == "HEAD" or status in (204, 304):
                framing = Framing(length=0)
            else:
                framing = Framing.of(answer, is_answer=True)
            if action is not None and framing.has_body:
                await self._halve(server_reader, answer, framing, action)
            await relay(framing, server_reader, self._writer, answer)
            if framing.until_end or is_last(answer) or is_last(head):
                raise Ended
            if sending is not None and not sending.done():
                # The body may still be on its way when the server has answered.
                await asyncio.wait_for(sending, 5)
        except asyncio.TimeoutError:
            raise Ended from None
        finally:
            if sending is not None:
                sending.cancel()
                with suppress(asyncio.CancelledError, OSError, asyncio.IncompleteReadError):
                    await sending

    async def _halve(
        self, reader: asyncio.StreamReader, answer: bytes, framing: Framing, action: str
    ) -> None:
        """Pass on half of a body, in the way of one of `HALVED`.

        Raises:
            Ended: Always.
        """
        if framing.length is not None:
            half = await reader.readexactly(framing.length // 2)
        elif action == "cut":
            body = b"".join([chunk async for chunk in iter_chunks(reader)])
            half = body[: len(body) // 2]
        else:
            half = await reader.read(16)
        if action == "cut":
            is_length = _LENGTH if framing.length is not None else _CHUNKED
            answer = is_length.sub(b"\r\nContent-Length: %d" % len(half), answer)
        self._writer.write(answer + half)
        await self._writer.drain()
        if action == "reset":
            await asyncio.sleep(0.01)  # a reset overtakes what the client has not received yet
            self.drop()
        raise Ended

    def drop(self) -> None:
        """Reset the connection to the client.

        Raises:
            Ended: Always.
        """
        connection = self._writer.get_extra_info("socket")
        with suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()
        raise Ended

    async def hang(self) -> None:
        """Wait until the client gives up.

        Raises:
            Ended: When it did.
        """
        while await self._reader.read(BLOCK):
            pass
        raise Ended

    async def answer(self, method: str, head: bytes, status: int) -> None:
        """Answer a request as S3 does, in place of the server.

        Raises:
            Ended: If the request has a body that is not read.
        """
        code = CODES.get(status, "InternalError")
        body = (
            f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code>'
            f"<Message>injected</Message><RequestId>0</RequestId></Error>"
        )
        has_body = Framing.of(head).has_body
        self._writer.write(
            f"HTTP/1.1 {status} {code}\r\nContent-Type: application/xml\r\n"
            f"Content-Length: {len(body)}\r\n{'Connection: close' if has_body else 'Server: proxy'}"
            f"\r\n\r\n{'' if method == 'HEAD' else body}".encode()
        )
        await self._writer.drain()
        if has_body:
            raise Ended


_LENGTH = re.compile(rb"\r\ncontent-length:\s*(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[^\r]*chunked", re.IGNORECASE)
_AGENT = re.compile(rb"\r\nuser-agent:\s*([^\r]*)", re.IGNORECASE)
_LAST = re.compile(rb"\r\nconnection:\s*close", re.IGNORECASE)


@dataclass(frozen=True)
class Framing:
    """How the end of a body is found (RFC 9112, section 6)."""

    length: int | None = None
    """None: in chunks, or until the connection ends."""

    until_end: bool = False

    @classmethod
    def of(cls, head: bytes, *, is_answer: bool = False) -> Framing:
        """Return what the head of a request or of an answer says about its body."""
        if _CHUNKED.search(head):
            return cls()
        if found := _LENGTH.search(head):
            return cls(length=int(found[1]))
        return cls(until_end=True) if is_answer else cls(length=0)

    @property
    def has_body(self) -> bool:
        """Whether a single byte follows the head."""
        return self.length != 0


def is_last(head: bytes) -> bool:
    """Tell whether the connection ends after a message."""
    return _LAST.search(head) is not None


async def relay(
    framing: Framing,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    before: bytes = b"",
) -> None:
    """Pass on a body as it comes, after the bytes ``before``."""
    if framing.length is not None:
        missing = framing.length
        while missing:
            block = await reader.read(min(missing, BLOCK))
            if not block:
                raise Ended
            missing -= len(block)
            writer.write(before + block)  # a small body leaves together with its head
            before = b""
            await writer.drain()
        writer.write(before)
    elif framing.until_end:
        writer.write(before)
        while block := await reader.read(BLOCK):
            writer.write(block)
            await writer.drain()
    else:
        writer.write(before)
        size = -1
        while size != 0:
            line = await reader.readuntil(b"\r\n")
            size = int(line.partition(b";")[0], 16)
            writer.write(line + (await reader.readexactly(size + 2) if size else b""))
            await writer.drain()
        line = b""
        while line != b"\r\n":  # trailers, such as checksums
            line = await reader.readuntil(b"\r\n")
            writer.write(line)
        await writer.drain()


async def iter_chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """Yield the content of a body in chunks."""
    size = -1
    while size != 0:
        size = int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16)
        yield (await reader.readexactly(size + 2))[:size]


async def run(options: argparse.Namespace) -> None:
    """Serve until the standard input ends, or forever."""
    host, _, port = options.server.rpartition(":")
    traffic = Traffic(host, int(port), options.latency, options.faults, options.seed)
    server = await asyncio.start_server(
        traffic.serve, HOST, options.port, limit=MAX_HEAD, backlog=1024
    )
    url = f"http://{HOST}:{server.sockets[0].getsockname()[1]}"
    if not options.controlled:
        print(f"{url} passes on to {options.server}; Ctrl-C ends it")
        try:
            await asyncio.Event().wait()
        finally:
            print(dict(Counter(Request(*request).kind for request in traffic.requests)))
    print(json.dumps(url), flush=True)
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()

    def obey(line: str) -> None:
        print(json.dumps(traffic.obey(*json.loads(line))), flush=True)

    def read_commands() -> None:
        for line in sys.stdin:
            loop.call_soon_threadsafe(obey, line)
        loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=read_commands, daemon=True).start()
    await ended.wait()


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("server", metavar="HOST:PORT", help="where the requests go")
    parser.add_argument("--port", type=int, default=0, help="where to listen, by default anywhere")
    parser.add_argument("--latency", type=float, default=0.02, help="seconds for each request")
    parser.add_argument("--faults", default="[]", help='JSON: [{"status": 503, "share": 0.1}]')
    parser.add_argument("--seed", type=int, default=0, help="chooses the requests of a share")
    parser.add_argument("--controlled", action="store_true", help="by commands on standard input")
    with suppress(KeyboardInterrupt):
        asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
