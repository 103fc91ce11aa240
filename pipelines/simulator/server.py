"""The service on a port of this machine: for tests with real sockets, benchmarks and `backup-shares simulate`.

The bytes of an answer are written step by step (wire.py), so that a fault can cut, delay or reset them. That is why no
web server stands here: they all see to it that an answer arrives.
Not here: any answer (service.py); a test without a port hands requests to `Service.handle` itself.
"""

import asyncio
import contextlib
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from queue import Queue
from urllib.parse import unquote

import h11

from pipelines.simulator.service import Service
from pipelines.simulator.wire import End, Pause, Request, Response

HOST = "127.0.0.1"
"""Never another address: the demo credentials are public."""

_START_TIMEOUT = 10.0
_READ_SIZE = 65_536
_LONGEST_HEAD = 65_536
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
"""Linger for no time: closing throws away what was not sent and sends a reset."""


class _ConnectionEndedError(Exception):
    """Nothing more is to be sent or read."""


@contextlib.contextmanager
def serve(service: Service, port: int = 0) -> Iterator[str]:
    """The service in a thread of its own while the block runs; yields the base URL. Port 0: any free one.

    Faults of the port itself (no listener, TLS) are those that the service has at the start.
    """
    ready: Queue[Callable[[], None]] = Queue()
    with _door(service, port) as door:
        thread = threading.Thread(target=asyncio.run, args=(_run(service, door, ready.put),), daemon=True)
        thread.start()
        stop = ready.get(timeout=_START_TIMEOUT)
        try:
            yield door.url
        finally:
            stop()
            thread.join()


def run(service: Service, port: int = 0, *, on_start: Callable[[str], None] | None = None) -> None:
    """The service until the process is interrupted. `on_start` is told the base URL.

    Raises OSError when the port is taken.
    """
    with _door(service, port) as door, contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_run(service, door, lambda stop: on_start(door.url) if on_start else None))  # noqa: ARG005


def passing_days(first: int, seconds: float) -> Callable[[], int]:
    """For `Service(day=...)`: a day of the world passes every `seconds`, from now on."""
    start = time.monotonic()
    return lambda: first + int((time.monotonic() - start) / seconds)


@dataclass(frozen=True)
class _Door:
    """The port as it is before any request. A socket that nobody listens on refuses connections."""

    listener: socket.socket
    listens: bool
    tls: ssl.SSLContext | None

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://{HOST}:{self.listener.getsockname()[1]}"


@contextlib.contextmanager
def _door(service: Service, port: int) -> Iterator[_Door]:
    contexts = filter(None, (fault.tls() for fault in service.faults))
    listens = not any(fault.refuses_connections for fault in service.faults)
    # The protocol is named: only then asyncio sends small pieces at once (TCP_NODELAY).
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        if listens:
            listener.listen(128)
        yield _Door(listener, listens, next(contexts, None))


async def _run(service: Service, door: _Door, started: Callable[[Callable[[], None]], None]) -> None:
    """Serves until what `started` is given is called, by whatever thread."""
    connections: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if task := asyncio.current_task():
            connections.add(task)
            task.add_done_callback(connections.discard)
        # OSError: the client is gone. Cancelled: the port closes; asyncio would log a task that ends so.
        with contextlib.suppress(OSError, asyncio.CancelledError):
            with contextlib.suppress(_ConnectionEndedError):
                await _Connection(service, reader, writer).answer_all()
            writer.close()
            await writer.wait_closed()
        writer.transport.abort()  # no effect on one that is closed

    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    server = await asyncio.start_server(connected, sock=door.listener, ssl=door.tls) if door.listens else None

    def stop() -> None:
        loop.call_soon_threadsafe(stopped.set)

    started(stop)
    try:
        await stopped.wait()
    finally:
        if server is not None:
            server.close()
        for connection in tuple(connections):
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)


class _Connection:
    """One client: request after request, as long as neither side ends it."""

    def __init__(self, service: Service, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._service = service
        self._reader = reader
        self._writer = writer
        self._scheme = "https" if writer.get_extra_info("sslcontext") else "http"
        # `drain` then waits until everything is on its way: a reset must not overtake what it follows.
        # With TLS the limit is where waiting begins, without it where waiting ends.
        writer.transport.set_write_buffer_limits(high=1 if self._scheme == "https" else 0)

    async def answer_all(self) -> None:
        received = b""
        while True:
            parser = h11.Connection(h11.SERVER, max_incomplete_event_size=_LONGEST_HEAD)
            parser.receive_data(received or await self._read())
            request, is_last = await self._request(parser)
            response = self._service.respond(request)
            await asyncio.sleep(response.delay)  # here, so that other connections go on and a stop does not wait
            await self._send(response)
            if is_last:
                return
            received = parser.trailing_data[0]

    async def _request(self, parser: h11.Connection) -> tuple[Request, bool]:
        """The next request, and whether the client wants it to be the last."""
        head, body = h11.Request(method="GET", target="/", headers=[("host", "")]), b""
        while True:
            try:
                event = parser.next_event()
            except h11.RemoteProtocolError:
                await self._send(Response(400, b"", (("connection", "close"),)))
                raise _ConnectionEndedError from None
            if event is h11.NEED_DATA:
                parser.receive_data(await self._read())
            elif isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                return _request(head, body, self._scheme), parser.our_state is h11.MUST_CLOSE

    async def _read(self) -> bytes:
        data = await self._reader.read(_READ_SIZE)
        if not data:
            raise _ConnectionEndedError
        return data

    async def _send(self, response: Response) -> None:
        for step in response.steps(response):
            if isinstance(step, Pause):
                await asyncio.sleep(step.seconds)
            elif isinstance(step, End):
                await self._end(step)
            else:
                self._writer.write(step)
                await self._writer.drain()

    async def _end(self, end: End) -> None:
        if end is End.RESET:
            self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self._writer.transport.abort()
        while end is End.SILENCE:  # until the client gives up
            await self._read()
        raise _ConnectionEndedError


def _request(head: h11.Request, body: bytes, scheme: str) -> Request:
    path, _, query = head.target.partition(b"?")
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers}
    return Request.received(head.method.decode(), unquote(path.decode("latin-1")), query, headers, body, scheme)
