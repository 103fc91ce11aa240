"""The service on a port of this machine: for tests with real sockets, benchmarks and `backup-shares simulate`.

Not here: any answer (service.py); a test without a port hands requests to `Service.handle` itself.
"""

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any

import uvicorn

from pipelines.simulator.service import Service
from pipelines.simulator.wire import Request, Response

HOST = "127.0.0.1"
"""Never another address: the demo credentials are public."""

_START_TIMEOUT = 10.0

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Application:
    """The service as an ASGI application."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        request = await _request(scope, receive)
        response = self._service.respond(request)
        if response.delay:  # wait here, so that other requests go on and a stop does not wait
            await asyncio.sleep(response.delay)
        await _send(response, send)


@contextlib.contextmanager
def serve(service: Service, port: int = 0) -> Iterator[str]:
    """The service in a thread of its own while the block runs; yields the base URL. Port 0: any free one."""
    with _listening_socket(port) as listener:
        server = _Server(_config(service))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            if not server.ready.wait(_START_TIMEOUT):
                raise RuntimeError("the simulator did not start")
            yield _url(listener)
        finally:
            server.should_exit = True
            thread.join()


def run(service: Service, port: int = 0, *, on_start: Callable[[str], None] | None = None) -> None:
    """The service until the process is interrupted. `on_start` is told the base URL.

    Raises OSError when the port is taken.
    """
    with _listening_socket(port) as listener, contextlib.suppress(KeyboardInterrupt):
        server = _Server(_config(service))
        if on_start is not None:
            server.tell = lambda: on_start(_url(listener))
        server.run(sockets=[listener])


def passing_days(first: int, seconds: float) -> Callable[[], int]:
    """For `Service(day=...)`: a day of the world passes every `seconds`, from now on."""
    start = time.monotonic()
    return lambda: first + int((time.monotonic() - start) / seconds)


class _Server(uvicorn.Server):
    """Says when it is ready, so that nobody has to poll."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()
        self.tell: Callable[[], None] = self.ready.set

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.tell()  # from here on an interrupt is uvicorn's to handle


def _config(service: Service) -> uvicorn.Config:
    return uvicorn.Config(
        Application(service),
        access_log=False,
        date_header=False,  # the service dates its answers itself
        interface="asgi3",
        lifespan="off",
        log_config=None,
        log_level="critical",
        server_header=False,
        timeout_graceful_shutdown=1,
        ws="none",
    )


def _listening_socket(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        listener.listen(128)
    except OSError:
        listener.close()
        raise
    return listener


def _url(listener: socket.socket) -> str:
    return f"http://{HOST}:{listener.getsockname()[1]}"


async def _request(scope: Message, receive: Receive) -> Request:
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    return Request.received(scope["method"], scope["path"], scope["query_string"], headers, body)


async def _send(response: Response, send: Send) -> None:
    headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in response.headers]
    headers.append((b"content-length", str(len(response.body)).encode()))
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body})
