"""Requests and answers as plain values, and the shapes in which this platform words its errors (api-facts 5.1).

Not here: which answer a request gets (service.py, iam.py).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
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
_GATEWAY_CODES = {401: "APIG.0301", 403: "APIG.0302", 404: "APIG.0101", 429: "APIG.0308", 502: "APIG.0201"}


@dataclass(frozen=True)
class Request:
    """One request. `query` keeps order and repetitions; header names are lower-case."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @classmethod
    def received(
        cls, method: str, path: str, query_string: bytes, headers: Mapping[str, str], body: bytes
    ) -> "Request":
        """From what a server or a test transport has in its hands."""
        query = tuple(parse_qsl(query_string.decode("latin-1"), keep_blank_values=True))
        return cls(method, path, query, {name.lower(): value for name, value in headers.items()}, body)

    @property
    def token(self) -> str:
        return self.headers.get("x-auth-token", "")


@dataclass(frozen=True)
class Response:
    """One answer. `delay` is how many seconds it is held back; whoever sends it does the waiting."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = (JSON_TYPE,)
    delay: float = 0.0

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
