"""Answers other than 200, and answers that are late or misdated.

Not here: what is wrong with the body of an answer that says 200 (bodies.py), the way over a port (transport.py).
"""

import json
from dataclasses import replace
from datetime import timedelta
from email.utils import format_datetime
from typing import Annotated, Literal
from urllib.parse import urlencode

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from pipelines.simulator.behaviour import Behaviour, Call, Operation, parameters
from pipelines.simulator.wire import Response, Shape, error

Code = Annotated[int, Field(ge=100, le=599)]


@parameters
class Status(Behaviour):
    """The request fails with this status, worded in one of the shapes of the platform."""

    code: Code = 503
    shape: Shape = "usual"
    error_code: str = ""
    """The code in the body; empty: one that goes with the status."""
    message: str = ""
    retry_after: str = ""
    """Sent as it is; empty: no such header."""

    def instead(self, call: Call) -> Response | None:
        response = error(self.shape, self.code, call.request_id, self.error_code, self.message)
        return response.with_headers(("Retry-After", self.retry_after)) if self.retry_after else response


@parameters
class ErrorIn200(Behaviour):
    """The status is 200, the body an error."""

    shape: Shape = "vbs"

    def instead(self, call: Call) -> Response | None:
        return replace(error(self.shape, 500, call.request_id), status=200)


@parameters
class Revoked(Behaviour):
    """The rights in the project are gone: 403 to whatever asks about its shares."""

    def instead(self, call: Call) -> Response | None:
        if not call.target.project_id:
            return None
        text = "The user does not have the rights for this operation"
        return error("vbs", 403, call.request_id, "VolumeBackup.0042", text)


@parameters
class Throttled(Behaviour):
    """More than so many requests per second are answered 429; a bucket of one second's requests is full at first."""

    per_second: PositiveFloat = 5.0
    retry_after: str = ""

    def instead(self, call: Call) -> Response | None:
        full = max(1.0, self.per_second)
        passed = (call.now - call.memory.get("at", call.now)).total_seconds()
        left = min(full, call.memory.get("left", full) + max(0.0, passed) * self.per_second)
        call.memory.update(at=call.now, left=left - 1 if left >= 1 else left)
        if left >= 1:
            return None
        return Status(code=429, message="Too many requests", retry_after=self.retry_after).instead(call)


@parameters
class FailsAboveLimit(Behaviour):
    """Pages of more than `limit` rows fail."""

    limit: NonNegativeInt = 250
    code: Code = 500

    def instead(self, call: Call) -> Response | None:
        too_large = (
            call.target.operation is Operation.DETAIL and call.query is not None and call.query.limit > self.limit
        )
        return error("usual", self.code, call.request_id) if too_large else None


@parameters
class ExpiredToken(Behaviour):
    """The first `tokens` tokens of each project are good for so many requests each, then 401 for ever; later tokens
    live on."""

    after: NonNegativeInt = 3
    tokens: PositiveInt = 1

    def instead(self, call: Call) -> Response | None:
        token, project = call.request.token, call.target.project_id
        if not token or not project:
            return None
        uses: dict[str, int] = call.memory.setdefault(project, {})
        if token not in uses and len(uses) >= self.tokens:
            return None
        uses[token] = uses.get(token, 0) + 1
        return None if uses[token] <= self.after else error("gateway", 401, call.request_id, "APIG.0307")


@parameters
class Redirect(Behaviour):
    """The client is sent elsewhere: to another path of the host, to another host, or to the host without TLS."""

    code: Annotated[int, Field(ge=300, le=399)] = 302
    to: Literal["same-host", "other-host", "plain-http"] = "same-host"
    other: str = "http://other.example"
    """The other host."""

    def instead(self, call: Call) -> Response | None:
        request = call.request
        base = {
            "same-host": "/moved",
            "other-host": self.other,
            "plain-http": f"http://{request.headers.get('host', 'localhost')}",
        }[self.to]
        query = f"?{urlencode(request.query)}" if request.query else ""
        return Response(self.code, b"", (("Location", f"{base}{request.path}{query}"),))


@parameters
class QuotedToken(Behaviour):
    """The error quotes the token that it got."""

    code: Code = 401

    def instead(self, call: Call) -> Response | None:
        token = call.request.token
        message = f"The token {token} is not accepted"
        return error("usual", self.code, call.request_id, message=message).with_headers(
            ("WWW-Authenticate", f"Keystone token={json.dumps(token)}")
        )


@parameters
class SlowAnswer(Behaviour):
    """The answer is held back so many seconds."""

    seconds: NonNegativeFloat = 2.0

    def answered(self, response: Response, call: Call) -> Response:  # noqa: ARG002
        return replace(response, delay=response.delay + self.seconds)


@parameters
class WrongDate(Behaviour):
    """The clock of the service is off by so many seconds; its answers are dated so."""

    seconds: float = 600.0

    def answered(self, response: Response, call: Call) -> Response:
        moment = call.now + timedelta(seconds=self.seconds)
        return response.with_headers(("Date", format_datetime(moment, usegmt=True)))


KINDS = (
    Status,
    ErrorIn200,
    Revoked,
    Throttled,
    FailsAboveLimit,
    ExpiredToken,
    Redirect,
    QuotedToken,
    SlowAnswer,
    WrongDate,
)
