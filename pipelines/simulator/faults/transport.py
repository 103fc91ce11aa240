"""What happens to an answer on its way: connections that are refused, reset, cut, slow or silent, and TLS.

They need a port (`server.serve`); a transport in memory has no way. Of several on one request the last one counts.
Not here: late answers that travel well (SlowAnswer in status.py), certificates (simulator/tls.py).
"""

import ssl
from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from pipelines.simulator import tls
from pipelines.simulator.behaviour import Behaviour, Call, parameters
from pipelines.simulator.wire import End, Pause, Response, Step, length_of, whole

Stretch = Literal["reply", "body"]
"""Where bytes are counted from: the status line, or the begin of the body."""


@parameters
class TransportFault(Behaviour):
    """The answer travels well."""

    def steps(self, response: Response) -> Iterator[Step]:
        yield from whole(response)

    def answered(self, response: Response, call: Call) -> Response:  # noqa: ARG002
        return replace(response, steps=self.steps)


@parameters
class Reset(TransportFault):
    """The connection is reset after so many bytes of the reply, or of its body."""

    after: NonNegativeInt = 0
    of: Stretch = "reply"

    def steps(self, response: Response) -> Iterator[Step]:
        yield from _first(response, self.after, self.of)
        yield End.RESET


@parameters
class Hangup(TransportFault):
    """The connection is closed in order after so many bytes of the reply, or of its body, whatever length was
    announced."""

    after: NonNegativeInt = 0
    of: Stretch = "reply"

    def steps(self, response: Response) -> Iterator[Step]:
        yield from _first(response, self.after, self.of)
        yield End.CLOSE


@parameters
class ShortBody(TransportFault):
    """The last bytes of the body do not come, though its length counts them."""

    missing: PositiveInt = 10

    def steps(self, response: Response) -> Iterator[Step]:
        yield from _first(response, max(0, len(response.body) - self.missing), "body")
        yield End.CLOSE


@parameters
class CutChunks(TransportFault):
    """The body comes in chunks, and the connection is closed before the last one."""

    chunk: PositiveInt = 1000
    chunks: NonNegativeInt = 1
    """So many arrive."""

    def steps(self, response: Response) -> Iterator[Step]:
        yield response.head(("transfer-encoding", "chunked"))
        for start in range(0, self.chunk * self.chunks, self.chunk):
            piece = response.body[start : start + self.chunk]
            if piece:
                yield b"%x\r\n%b\r\n" % (len(piece), piece)
        yield End.CLOSE


@parameters
class UnknownLength(TransportFault):
    """No length is announced, the close ends the body; the last `missing` bytes do not come."""

    missing: NonNegativeInt = 10

    def steps(self, response: Response) -> Iterator[Step]:
        yield response.head(("connection", "close"))
        yield response.body[: max(0, len(response.body) - self.missing)]
        yield End.CLOSE


@parameters
class Drip(TransportFault):
    """The bytes come slowly, ten times a second at most; of the body alone, or of the whole reply."""

    bytes_per_second: PositiveFloat = 10.0
    of: Stretch = "body"

    def steps(self, response: Response) -> Iterator[Step]:
        head, body = _parts(response)
        if self.of == "body":
            yield head
        slow = body if self.of == "body" else head + body
        size = max(1, int(self.bytes_per_second / 10))
        for start in range(0, len(slow), size):
            yield slow[start : start + size]
            yield Pause(size / self.bytes_per_second)


@parameters
class Silence(TransportFault):
    """The request is taken and nothing more comes after so many bytes of the reply, or of its body."""

    after: NonNegativeInt = 0
    of: Stretch = "reply"

    def steps(self, response: Response) -> Iterator[Step]:
        yield from _first(response, self.after, self.of)
        yield End.SILENCE


@parameters
class Garbage(TransportFault):
    """Something answers that does not speak HTTP."""

    def steps(self, response: Response) -> Iterator[Step]:  # noqa: ARG002
        yield b"SSH-2.0-OpenSSH_9.6\r\n\x00\xff\x00\xff"
        yield End.CLOSE


@parameters
class Refused(Behaviour):
    """Nobody listens: every connection to the port is refused."""

    @property
    def refuses_connections(self) -> bool:
        return True


@parameters
class Tls(Behaviour):
    """The port speaks TLS, and its certificate is not to be trusted: by an unknown authority, self-signed, for another
    name, expired; `old-version`: nothing newer than TLS 1.1; `valid`: nothing is wrong."""

    kind: tls.Kind = "self-signed"
    authority_file: str = ""
    """The certificate of the authority is written there; whoever trusts it finds only the fault named in `kind`."""

    def tls(self) -> ssl.SSLContext | None:
        if self.authority_file:
            tls.write_authority(self.authority_file)
        return tls.server_context(self.kind)


def _first(response: Response, count: int, of: Stretch) -> Iterator[Step]:
    """The first bytes of what an honest service would send."""
    head, body = _parts(response)
    yield (head + body)[: count + (len(head) if of == "body" else 0)]


def _parts(response: Response) -> tuple[bytes, bytes]:
    return response.head(length_of(response)), response.body


KINDS = (
    Refused,
    Reset,
    Hangup,
    ShortBody,
    CutChunks,
    UnknownLength,
    Drip,
    Silence,
    Garbage,
    Tls,
)
