"""Damage to the body of an answer: its type, its bytes, its outermost shape.

Not here: damage to single records (records.py), bodies that do not arrive whole (transport.py).
"""

import json
import zlib
from dataclasses import replace
from functools import cache
from typing import Any, Literal

from pydantic import NonNegativeInt, PositiveInt

from pipelines.simulator.behaviour import Behaviour, Call, parameters
from pipelines.simulator.wire import Response

_MEGABYTE = 1_000_000


@parameters
class LoginPage(Behaviour):
    """200 with the HTML of a login page, which quotes a session."""

    content_type: str = "text/html; charset=utf-8"
    """Empty: none."""
    session: str = "session-4711"

    def answered(self, response: Response, call: Call) -> Response:  # noqa: ARG002
        page = f"<!DOCTYPE html><html><body><form><input name='session' value='{self.session}'></form></body></html>"
        return _typed(replace(response, status=200, body=page.encode()), self.content_type)


@parameters
class ContentType(Behaviour):
    """The body is right, its type is another; empty: none."""

    type: str = "text/plain"

    def answered(self, response: Response, call: Call) -> Response:  # noqa: ARG002
        return _typed(response, self.type)


@parameters
class Encoding(Behaviour):
    """The body is not plain UTF-8. A byte order mark is allowed; `invalid-utf8` breaks a byte in the middle."""

    kind: Literal["invalid-utf8", "utf-16", "utf-32", "bom"] = "invalid-utf8"

    def answered(self, response: Response, call: Call) -> Response:  # noqa: ARG002
        body = response.body
        if self.kind == "bom":
            return replace(response, body=b"\xef\xbb\xbf" + body)
        if self.kind == "invalid-utf8":
            middle = len(body) // 2
            return replace(response, body=body[:middle] + b"\xff" + body[middle + 1 :])
        return replace(response, body=body.decode(errors="replace").encode(self.kind))


@parameters
class TruncatedBody(Behaviour):
    """The body ends after so many bytes, and its length says so."""

    bytes: NonNegativeInt = 100

    def answered(self, response: Response, call: Call) -> Response:  # noqa: ARG002
        return replace(response, body=response.body[: self.bytes])


@parameters
class TrailingText(Behaviour):
    """Behind the body comes more: garbage, the same document again, or harmless blanks."""

    kind: Literal["garbage", "document", "blanks"] = "garbage"

    def answered(self, response: Response, call: Call) -> Response:  # noqa: ARG002
        more = {"garbage": b"\x00}]<!-- served by node 7 -->", "document": response.body, "blanks": b" \r\n\t\n"}
        return replace(response, body=response.body + more[self.kind])


@parameters
class WrongShape(Behaviour):
    """JSON, and not what it should be: a top-level `list`, `shared` missing, null, an object, a text, and so on."""

    kind: Literal[
        "list", "missing", "null", "object", "text", "number", "null-document", "text-document", "no-document"
    ] = "null"

    def answered(self, response: Response, call: Call) -> Response:  # noqa: ARG002
        values: dict[str, Any] = {
            "list": [],
            "missing": {},
            "null": {"shared": None, "count": None},
            "object": {"shared": {}, "count": {}},
            "text": {"shared": "none", "count": "none"},
            "number": {"shared": 0, "count": 0.5},
            "null-document": None,
            "text-document": "none",
        }
        body = b"" if self.kind == "no-document" else json.dumps(values[self.kind]).encode()
        return replace(response, body=body)


@parameters
class RepeatedKey(Behaviour):
    """The outermost object has its key twice, first with the answer, then with nothing in it."""

    def answered(self, response: Response, call: Call) -> Response:  # noqa: ARG002
        body = response.body.rstrip()
        second = b', "shared": []}' if body.startswith(b'{"shared"') else b', "count": 0}'
        return replace(response, body=body[:-1] + second) if body.endswith(b"}") else response


@parameters
class NestedBrackets(Behaviour):
    """The list holds so many brackets, one within the other."""

    depth: PositiveInt = 100_000

    def answered(self, response: Response, call: Call) -> Response:  # noqa: ARG002
        return replace(response, body=b'{"shared": [' + b"[" * self.depth + b"]" * self.depth + b"]}")


@parameters
class GzipBomb(Behaviour):
    """A few kilobytes of gzip that become so many megabytes of blanks before the answer."""

    megabytes: PositiveInt = 50

    def answered(self, response: Response, call: Call) -> Response:  # noqa: ARG002
        # One member: a reader may end with the first.
        blanks, compressor = _blanks(self.megabytes)
        compressor = compressor.copy()
        body = blanks + compressor.compress(response.body) + compressor.flush()
        return replace(response, body=body).with_headers(("Content-Encoding", "gzip"))


@parameters
class HugeBody(Behaviour):
    """So many megabytes of blanks come before the answer."""

    megabytes: PositiveInt = 100

    def answered(self, response: Response, call: Call) -> Response:  # noqa: ARG002
        return replace(response, body=b" " * (self.megabytes * _MEGABYTE) + response.body)


def _typed(response: Response, content_type: str) -> Response:
    if content_type:
        return response.with_headers(("Content-Type", content_type))
    kept = tuple(header for header in response.headers if header[0].lower() != "content-type")
    return replace(response, headers=kept)


@cache
def _blanks(megabytes: int) -> "tuple[bytes, zlib._Compress]":
    """The begin of a gzip file, and what goes on with it."""
    compressor = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    return b"".join(compressor.compress(b" " * _MEGABYTE) for _ in range(megabytes)), compressor


KINDS = (
    LoginPage,
    ContentType,
    Encoding,
    TruncatedBody,
    TrailingText,
    WrongShape,
    RepeatedKey,
    NestedBrackets,
    GzipBomb,
    HugeBody,
)
