"""The service: a request in, an answer out. It knows no framework and no network, and sleeps only through `sleep`.

Not here: what an answer holds (listings.py, iam.py), the port (server.py).
"""

import contextlib
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import format_datetime
from threading import RLock
from typing import Literal

from pipelines.observation import Direction
from pipelines.simulator.faults import Fault, FaultPlan, Operation, Target, failure
from pipelines.simulator.iam import Account, Iam
from pipelines.simulator.listings import BadQueryError, Listings, Query, direction_of
from pipelines.simulator.records import Record
from pipelines.simulator.scenario import Scenario
from pipelines.simulator.wire import (
    Request,
    Response,
    answer,
    gateway_error,
    openstack_error,
    vbs_error,
)
from pipelines.simulator.world import World

DEMO_TOKEN = "demo-token"  # noqa: S105 - opens a simulator

_SHARING = re.compile(r"/v2/([^/]+)/os-vendor-backup-sharing(?:/([^/]+))?")
_METHODS = {Operation.TOKEN: "POST"}
"""The one method that an operation takes; the others take GET. Nothing can be shared or withdrawn through the API."""


class Service:
    """VBS and IAM of one region. Safe to use from several threads.

    `day` is a number, or a function that tells it, and may be set at any time. `requests` keeps method, path and
    parameters of everything that was asked, in order.
    """

    def __init__(
        self,
        world: World,
        *,
        day: int | Callable[[], int] = 0,
        token: str = DEMO_TOKEN,
        account: Account | None = None,
        faults: Sequence[Fault] = (),
        scenario: Scenario | None = None,
        max_limit: int = 1000,
        id_sorts_by: Literal["share", "backup"] = "share",
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`clock` dates answers and tokens; the days of the world do not follow it.

        `id_sorts_by`: whose id `sort_key=id` means is published nowhere.
        """
        self.world = world
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self._day = day
        self._scenario = scenario or Scenario()
        self._plan = FaultPlan(faults)
        self._max_limit = max_limit
        self._sleep = sleep
        self._clock = clock
        self._iam = Iam(world.projects, token, account or Account(), clock)
        self._listings = Listings(world, self._scenario, id_sorts_by)
        self._lock = RLock()

    @property
    def day(self) -> int:
        return self._day() if callable(self._day) else self._day

    @day.setter
    def day(self, day: int | Callable[[], int]) -> None:
        self._day = day

    @property
    def faults(self) -> tuple[Fault, ...]:
        """Setting them starts their counts anew."""
        return self._plan.faults

    @faults.setter
    def faults(self, faults: Sequence[Fault]) -> None:
        with self._lock:
            self._plan = FaultPlan(faults)

    def listing(self, project_id: str, direction: Direction) -> list[Record]:
        """What a listing truly holds now: the world on this day and all that faults have inserted or withdrawn."""
        with self._lock:
            self._listings.turn_to(self.day)
            return list(self._listings.records(project_id, direction))

    def handle(self, request: Request) -> Response:
        """The answer, after the delay that a fault may ask for."""
        response = self.respond(request)
        if response.delay:
            self._sleep(response.delay)
        return response

    def respond(self, request: Request) -> Response:
        """The answer at once; for callers that wait in their own way."""
        with self._lock:
            parameters = dict(request.query)
            self.requests.append((request.method, request.path, parameters))
            request_id = f"{len(self.requests):032x}"
            target = _target(request)
            self._listings.turn_to(self.day)
            faults = self._plan.due(target)
            for fault in faults:
                self._drift(target, parameters, fault)
            response = failure(faults, request_id) or self._answer(target, request, request_id)
            response = self._with_origin(response, request_id)
        for fault in faults:
            response = fault.applied_to(response)
        return response

    def _with_origin(self, response: Response, request_id: str) -> Response:
        date = format_datetime(self._clock(), usegmt=True)
        return replace(response, headers=(*response.headers, ("Date", date), ("X-Request-Id", request_id)))

    def _drift(self, target: Target, parameters: dict[str, str], fault: Fault) -> None:
        if target.direction is not None and target.project_id in self.world.projects:
            with contextlib.suppress(BadQueryError):  # then there is no order that ranks could refer to
                self._listings.drift(target.project_id, Query.parse(parameters, self._max_limit), fault)

    def _answer(self, target: Target, request: Request, request_id: str) -> Response:
        if target.operation is Operation.UNKNOWN and not _SHARING.fullmatch(request.path):
            return gateway_error(404, "The API does not exist or has not been published", request_id)
        method = _METHODS.get(target.operation, "GET")
        if request.method != method or target.operation is Operation.UNKNOWN:
            return openstack_error(405, f"The method {request.method} is not allowed for this resource")
        if target.operation is Operation.TOKEN:
            return self._iam.log_in(request)
        if target.operation is Operation.PROJECTS:
            return self._iam.projects(request)
        return self._refusal(target, request.token, request_id) or self._answer_about_shares(target, request)

    def _refusal(self, target: Target, token: str, request_id: str) -> Response | None:
        """None when the token gives the right to ask about this project today."""
        grant = self._iam.grant(token)
        if grant is None:
            return gateway_error(401, "Incorrect IAM authentication information: invalid token", request_id)
        if target.project_id not in self.world.projects + self.world.foreign_projects:
            return openstack_error(404, f"Project {target.project_id} could not be found")
        if target.project_id not in grant.projects:
            return openstack_error(403, "The token is not for this project")
        if self._scenario.is_revoked(self.day, target.project_id):
            return vbs_error(403, "VolumeBackup.0042", "The user does not have the rights for this operation")
        return None

    def _answer_about_shares(self, target: Target, request: Request) -> Response:
        if target.operation is Operation.SHOW:
            body = self._listings.share(target.project_id, target.share_id)
            return Response(200, body) if body else openstack_error(404, f"Share {target.share_id} could not be found")
        try:
            query = Query.parse(dict(request.query), self._max_limit)
        except BadQueryError as error:
            return openstack_error(400, str(error))
        if target.operation is Operation.COUNT:
            return answer({"count": self._listings.count(target.project_id, query)})
        return Response(200, self._listings.page(target.project_id, query))


def _target(request: Request) -> Target:
    if request.path == "/v3/auth/tokens":
        return Target(Operation.TOKEN)
    if request.path == "/v3/auth/projects":
        return Target(Operation.PROJECTS)
    found = _SHARING.fullmatch(request.path)
    if not found or not found[2]:
        return Target(Operation.UNKNOWN)
    project, last = found[1], found[2]
    if last in ("detail", "count"):
        return Target(Operation(last), project, direction_of(dict(request.query)))
    return Target(Operation.SHOW, project, share_id=last)
