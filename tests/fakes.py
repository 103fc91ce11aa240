"""The simulated service without a port, the same core behind an httpx transport; and what an error could show.

Not here: the simulator itself (pipelines/simulator/).
"""

import json
import traceback
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import httpx

from pipelines.simulator.iam import Account
from pipelines.simulator.records import Record
from pipelines.simulator.service import DEMO_TOKEN, Service
from pipelines.simulator.wire import Request, Response, whole
from pipelines.simulator.world import World

NOW = datetime(2026, 3, 1, 12, 30, 15, tzinfo=UTC)
"""What the clock of `make_service` says, always."""


def transport(service: Service) -> httpx.MockTransport:
    """For `httpx.Client(transport=...)`: every request is answered by `service` in this process.

    Faults of the transport need a port: `with serve(service) as url`.
    """

    def handle(request: httpx.Request) -> httpx.Response:
        response = service.handle(
            Request.received(request.method, request.url.path, request.url.query, dict(request.headers), request.read())
        )
        assert response.steps is whole, "a fault of the transport needs a port: use serve(service)"
        return httpx.Response(response.status, headers=list(response.headers), content=response.body)

    return httpx.MockTransport(handle)


def make_service(world: World, **changes: Any) -> Service:
    return Service(world, **{"clock": lambda: NOW, "sleep": lambda seconds: None, **changes})


def ask(
    service: Service, project: str, what: str = "detail", *, token: str = DEMO_TOKEN, method: str = "GET", **query: Any
) -> Response:
    headers = {"x-auth-token": token} if token else {}
    pairs = tuple((name, str(value)) for name, value in query.items())
    return service.handle(Request(method, f"/v2/{project}/os-vendor-backup-sharing/{what}", pairs, headers))


def rows(service: Service, project: str, **query: Any) -> list[Record]:
    response = ask(service, project, **query)
    assert response.status == 200, response.body
    return response.json()["shared"]


def ids(records: Iterable[Record]) -> list[str]:
    return [record["id"] for record in records]


def by_id(records: Iterable[Record]) -> dict[str, Record]:
    return {record["id"]: record for record in records}


def log_in(service: Service, identity: dict, scope: dict | None = None, **query: str) -> Response:
    auth = {"identity": identity} | ({"scope": scope} if scope is not None else {})
    body = json.dumps({"auth": auth}).encode()
    return service.handle(Request("POST", "/v3/auth/tokens", tuple(query.items()), {"host": "iam.example.com"}, body))


def password_identity(password: str = Account().password) -> dict:
    user = {"name": "demo", "password": password, "domain": {"name": "demo-domain"}}
    return {"methods": ["password"], "password": {"user": user}}


def all_texts(error: BaseException | None) -> str:
    """Everything about the error that could be printed, the errors that it hides among it."""
    texts = []
    while error is not None:
        texts += [str(error), repr(error), repr(vars(error)), *traceback.format_exception(error)]
        error = error.__cause__ or error.__context__
    return "\n".join(texts)
