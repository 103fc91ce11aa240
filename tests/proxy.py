"""A connection to PostgreSQL that breaks where a test wants it to: a TCP proxy that reads along.

It knows of the wire protocol where a message ends and which one says COMMIT. It refuses encryption, so a client that
insists on it cannot pass. A fault strikes once; what comes afterwards passes, unless the line is to stay down.
Not here: the server (postgres.py).
"""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO, Self

from sqlalchemy.engine import make_url

_ENCRYPTION = {80877103, 80877104}
"""Codes with which a client asks for TLS or GSSAPI before it says anything else."""


class Proxy:
    """Clients connect to `url`; `strikes` counts faults that came, `messages` what clients sent since one was set."""

    def __init__(self, url: str) -> None:
        target = make_url(url)
        self._target = (target.host, target.port or 5432)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = target.set(host="127.0.0.1", port=self._listener.getsockname()[1]).render_as_string(
            hide_password=False
        )
        self.strikes = self.messages = 0
        self.swallowed = b""
        self._lock = threading.Lock()
        self._cut_at: int | None = None
        self._forward = self._stay_down = self._is_down = False
        self._at_commit = ""
        self._links: list[_Link] = []
        self._threads: list[threading.Thread] = []

    @classmethod
    @contextmanager
    def before(cls, url: str) -> Iterator[Self]:
        proxy = cls(url)
        acceptor = threading.Thread(target=proxy._accept)
        acceptor.start()
        try:
            yield proxy
        finally:
            proxy._listener.shutdown(socket.SHUT_RDWR)
            proxy._listener.close()
            acceptor.join()
            for link in proxy._links:
                link.cut()
            for thread in proxy._threads:
                thread.join()

    def heal(self) -> None:
        """From now on everything passes; what was counted stays."""
        with self._lock:
            self._cut_at, self._at_commit, self._is_down = None, "", False

    def cut_at(self, message: int, *, forward: bool = False, stay_down: bool = False) -> None:
        """Cut at the n-th message that a client sends from now on, from 1; with `forward` the server still gets it.

        `stay_down`: nobody comes through afterwards.
        """
        self._arm(cut_at=message, forward=forward, stay_down=stay_down)

    def swallow_commit_reply(self, *, stay_down: bool = False) -> None:
        """The server commits the next time it is told to, and the client never hears of it (`swallowed` does)."""
        self._arm(at_commit="swallow", stay_down=stay_down)

    def drop_commit(self, *, stay_down: bool = False) -> None:
        """The next COMMIT never reaches the server."""
        self._arm(at_commit="drop", stay_down=stay_down)

    def _arm(
        self, *, cut_at: int | None = None, forward: bool = False, at_commit: str = "", stay_down: bool = False
    ) -> None:
        with self._lock:
            self.strikes = self.messages = 0
            self.swallowed = b""
            self._cut_at, self._forward, self._at_commit = cut_at, forward, at_commit
            self._stay_down, self._is_down = stay_down, False

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                is_down = self._is_down
            try:
                if is_down:
                    raise ConnectionRefusedError
                server = socket.create_connection(self._target)
            except OSError:
                client.close()
                continue
            for end in (client, server):
                # Else each message waits 40 ms for the one before it to be acknowledged.
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            link = _Link(client, server)
            self._links.append(link)
            for pump in (self._from_client, self._from_server):
                self._threads.append(threading.Thread(target=pump, args=(link,)))
                self._threads[-1].start()

    def _from_client(self, link: "_Link") -> None:
        with link.ends():
            for kind, message in link.client_messages():
                with self._lock:
                    verdict = self._judge(kind, message)
                if verdict == "swallow":
                    link.is_swallowing.set()
                if verdict != "drop":
                    link.server.sendall(message)
                if verdict in ("drop", "forward"):
                    return

    def _judge(self, kind: bytes, message: bytes) -> str:
        self.messages += 1
        verdict = "pass"
        if self._cut_at == self.messages:
            verdict = "forward" if self._forward else "drop"
        elif self._at_commit and _says_commit(kind, message):
            verdict = self._at_commit
        if verdict != "pass":
            self.strikes += 1
            self._cut_at, self._at_commit, self._is_down = None, "", self._stay_down
        return verdict

    def _from_server(self, link: "_Link") -> None:
        with link.ends():
            for kind, message in link.server_messages():
                if not link.is_swallowing.is_set():
                    link.client.sendall(message)
                elif kind in (b"C", b"E"):  # done, or an error
                    self.swallowed = message[5:].rstrip(b"\0")
                    return


class _Link:
    """The two connections of one client."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client, self.server = client, server
        self.is_swallowing = threading.Event()
        self._lock = threading.Lock()
        self._ended = 0

    @contextmanager
    def ends(self) -> Iterator[None]:
        """Both directions end together; the last one closes the door."""
        try:
            with suppress(OSError):
                yield
        finally:
            self.cut()
            with self._lock:
                self._ended += 1
                if self._ended == 2:
                    self.client.close()
                    self.server.close()

    def cut(self) -> None:
        with self._lock:
            for end in (self.client, self.server):
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def client_messages(self) -> Iterator[tuple[bytes, bytes]]:
        with self.client.makefile("rb") as stream:
            # The first message has no letter, and may come after requests for encryption.
            while first := _framed(stream, b""):
                if int.from_bytes(first[4:8], "big") not in _ENCRYPTION:
                    yield b"", first
                    break
                self.client.sendall(b"N")
            yield from _messages(stream)

    def server_messages(self) -> Iterator[tuple[bytes, bytes]]:
        with self.server.makefile("rb") as stream:
            yield from _messages(stream)


def _messages(stream: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    while kind := stream.read(1):
        message = _framed(stream, kind)
        if not message:
            return
        yield kind, message


def _framed(stream: BinaryIO, kind: bytes) -> bytes:
    """The rest of a message: four bytes of length, which count themselves, and what they announce; empty at the end."""
    length = stream.read(4)
    body = stream.read(int.from_bytes(length, "big") - 4) if len(length) == 4 else b""
    whole = kind + length + body
    return whole if len(length) == 4 and len(body) == int.from_bytes(length, "big") - 4 else b""


def _says_commit(kind: bytes, message: bytes) -> bool:
    match kind:
        case b"Q":
            statement = message[5:]
        case b"P":  # the name of the prepared statement comes first
            statement = message[5:].split(b"\0", 1)[1]
        case _:
            return False
    return statement.strip().upper().startswith(b"COMMIT")
