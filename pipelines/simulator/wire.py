"""Requests and answers as plain values, the shapes in which this platform words its errors (api-facts 5.1), and the
steps in which an answer goes over a port.

Not here: which answer a request gets (service.py, iam.py), the port itself (server.py).
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from http import HTTPStatus
from typing import Any, Literal
from urllib.parse import parse_qsl

JSON_TYPE = ("Content-Type", "application/json")

_OPENSTACK_NAMES = {
    400: "badRequest",
    401: "unauthorized",
    403: "forbidden",
    404: "itemNotFound",
    405: "badMethod",
    409: "conflictingRequest",
    413: "overLimit",
    501: "notImplemented",
    503: "serviceUnavailable",
}
_USUAL_MESSAGES = {
    "gateway": "The request was refused on its way to the service",
    "vbs": "The service is unavailable",
}
_KNOWN_STATUSES = frozenset(HTTPStatus)
_GATEWAY_CODES = {401: "APIG.0301", 403: "APIG.0302", 404: "APIG.0101", 429: "APIG.0308", 502: "APIG.0201"}


@dataclass(frozen=True)
class Request:
    """One request. `query` keeps order and repetitions; header names are lower-case."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)
    scheme: str = "http"

    @classmethod
    def received(
        cls,
        method: str,
        path: str,
        query_string: bytes,
        headers: Mapping[str, str],
        body: bytes,
        scheme: str = "http",
    ) -> "Request":
        """From what a server or a test transport has in its hands."""
        query = tuple(parse_qsl(query_string.decode("latin-1"), keep_blank_values=True))
        return cls(method, path, query, {name.lower(): value for name, value in headers.items()}, body, scheme)

    @property
    def token(self) -> str:
        return self.headers.get("x-auth-token", "")


class End(Enum):
    """How the bytes of an answer may end before their time."""

    CLOSE = "the connection is closed in order"
    RESET = "the connection is reset"
    SILENCE = "the connection stays open, and nothing more comes"


@dataclass(frozen=True)
class Pause:
    seconds: float


Step = bytes | Pause | End


def whole(response: "Response") -> Iterator[Step]:
    """As an honest service sends it: everything, with its length."""
    yield response.head(length_of(response))
    if response.status not in (204, 304):
        yield response.body
    if response.status < 200:  # that announces another answer, and none will come
        yield End.CLOSE


def length_of(response: "Response") -> tuple[str, str]:
    return ("content-length", str(len(response.body)))


@dataclass(frozen=True)
class Response:
    """One answer. `delay` is how many seconds it is held back; whoever sends it does the waiting.

    `steps` says how its bytes go over a port. Other steps than `whole` need one: a transport in memory has no bytes.
    """

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = (JSON_TYPE,)
    delay: float = 0.0
    steps: Callable[["Response"], Iterable[Step]] = whole

    def head(self, *more: tuple[str, str]) -> bytes:
        """The status line and the headers, with `more` of them, as they go over the port."""
        phrase = HTTPStatus(self.status).phrase if self.status in _KNOWN_STATUSES else "Unknown"
        lines = [f"HTTP/1.1 {self.status} {phrase}", *(f"{name}: {value}" for name, value in (*self.headers, *more))]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    def with_headers(self, *new: tuple[str, str]) -> "Response":
        """With these headers in place of those of the same names."""
        names = {name.lower() for name, _ in new}
        return replace(self, headers=tuple(header for header in self.headers if header[0].lower() not in names) + new)

    def json(self) -> Any:
        return json.loads(self.body)

    def header(self, name: str) -> str | None:
        """The last header of that name, in any spelling of case."""
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        return values[-1] if values else None


def answer(content: Any, status: int = 200, headers: tuple[tuple[str, str], ...] = ()) -> Response:
    return Response(status, json.dumps(content).encode(), (JSON_TYPE, *headers))


def openstack_error(status: int, message: str) -> Response:
    """The shape of the layer that VBS inherited from OpenStack."""
    name = _OPENSTACK_NAMES.get(status, "computeFault")
    return answer({name: {"code": status, "message": message}}, status)


def vbs_error(status: int, code: str, message: str) -> Response:
    """The shape of the business layer of VBS; `code` like VolumeBackup.0042."""
    return answer({"error": {"code": code, "message": message}}, status)


def gateway_error(status: int, message: str, request_id: str) -> Response:
    """The shape of the API gateway, flat and with the request id in the body."""
    code = _GATEWAY_CODES.get(status, f"APIG.{status:04d}")
    return answer({"error_code": code, "error_msg": message, "request_id": request_id}, status)


def iam_error(status: int, code: str, message: str) -> Response:
    """The shape of IAM for its own refusals; `code` like IAM.0062."""
    return answer({"error_code": code, "error_msg": message}, status)


def keystone_error(status: int, message: str) -> Response:
    """The shape that IAM took over from Keystone."""
    return answer({"error": {"code": status, "message": message, "title": HTTPStatus(status).phrase}}, status)


Shape = Literal[
    "usual", "vbs", "openstack", "gateway", "iam", "keystone", "flat", "camel", "denial", "text", "html", "empty"
]


def error(shape: Shape, status: int, request_id: str, code: str = "", message: str = "") -> Response:
    """An error in one of the shapes that a client can meet; "usual": the one the platform has for this status."""
    if shape == "usual":
        shape = _usual_shape(status)
    code = code or _usual_code(shape, status)
    message = message or _USUAL_MESSAGES.get(shape, "The request failed")
    if shape == "openstack":
        return openstack_error(status, message)
    if shape == "keystone":
        # Not keystone_error: that one has only statuses with a phrase of their own.
        return answer({"error": {"code": status, "message": message, "title": "Error"}}, status)
    if shape == "text":
        return Response(status, message.encode(), (("Content-Type", "text/plain"),))
    if shape == "html":
        page = f"<!DOCTYPE html><html><head><title>{status}</title></head><body><h1>{message}</h1></body></html>"
        return Response(status, page.encode(), (("Content-Type", "text/html; charset=utf-8"),))
    if shape == "empty":
        return Response(status, b"", ())
    bodies: dict[str, Any] = {
        "vbs": {"error": {"code": code, "message": message}},
        "gateway": {"error_code": code, "error_msg": message, "request_id": request_id},
        "iam": {"error_code": code, "error_msg": message},
        "flat": {"code": code, "message": message},
        "camel": {"errorCode": code, "errorMsg": message},
        "denial": {"error_code": code, "error_msg": message, "encoded_authorization_message": "A1b2C3d4" * 8},
    }
    return answer(bodies[shape], status)


def _usual_shape(status: int) -> Shape:
    if status in (401, 403, 404, 429, 502):
        return "gateway"
    return "vbs" if status in (500, 503) else "openstack"


def _usual_code(shape: Shape, status: int) -> str:
    if shape == "gateway":
        return _GATEWAY_CODES.get(status, f"APIG.{status:04d}")
    return "IAM.0002" if shape in ("iam", "denial") else "VolumeBackup.0900"
