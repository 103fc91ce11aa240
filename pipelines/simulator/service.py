"""The service: a request in, an answer out. It knows no framework and no network, and sleeps only through `sleep`.

Not here: what an answer holds (listings.py, iam.py), what departs from an honest service (behaviour.py, faults/), the
port (server.py).
"""

import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import format_datetime
from threading import RLock
from typing import Literal

from pipelines.observation import Direction
from pipelines.simulator.behaviour import Behaviour, Call, Operation, Plan, Target
from pipelines.simulator.faults.listing import SortByBackupId
from pipelines.simulator.history import Exchange, History
from pipelines.simulator.iam import Account, Iam
from pipelines.simulator.listings import BadQueryError, Listings, Query, Row, direction_of
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

Due = tuple[Behaviour, Call]
"""A behaviour that strikes, with the call as it sees it."""

_SHARING = re.compile(r"/v2/([^/]+)/os-vendor-backup-sharing(?:/([^/]+))?")
_METHODS = {Operation.TOKEN: "POST"}
"""The one method that an operation takes; the others take GET. Nothing can be shared or withdrawn through the API."""


class Service:
    """VBS and IAM of one region. Safe to use from several threads.

    `day` is a number, or a function that tells it, and may be set at any time. `history` keeps everything that was
    asked, in order, with what was true at that moment.
    """

    def __init__(
        self,
        world: World,
        *,
        day: int | Callable[[], int] = 0,
        token: str = DEMO_TOKEN,
        account: Account | None = None,
        faults: Sequence[Behaviour] = (),
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
        self.history = History()
        self._day = day
        self._scenario = scenario or Scenario()
        self._always = (SortByBackupId(),) if id_sorts_by == "backup" else ()
        self._plan = Plan((*self._always, *faults))
        self._asked: Counter[str] = Counter()
        self._max_limit = max_limit
        self._sleep = sleep
        self.clock = clock
        self._iam = Iam(world.projects, token, account or Account(), lambda: self.clock())
        self._listings = Listings(world, self._scenario)
        self._lock = RLock()

    @property
    def day(self) -> int:
        return self._day() if callable(self._day) else self._day

    @day.setter
    def day(self, day: int | Callable[[], int]) -> None:
        self._day = day

    @property
    def faults(self) -> tuple[Behaviour, ...]:
        """Setting them starts their counts anew, and they forget everything."""
        return self._plan.behaviours[len(self._always) :]

    @faults.setter
    def faults(self, faults: Sequence[Behaviour]) -> None:
        with self._lock:
            self._plan = Plan((*self._always, *faults))

    @property
    def requests(self) -> list[tuple[str, str, dict[str, str]]]:
        """Method, path and parameters of everything that was asked, in order."""
        asked = (exchange.request for exchange in list(self.history))
        return [(request.method, request.path, dict(request.query)) for request in asked]

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
            self._listings.turn_to(self.day)
            call = self._call(request)
            call, due = _as_understood(call, self._plan.due(call))
            for behaviour, its_call in due:
                behaviour.before(its_call)
            held = self._held(call.target)
            instead = (behaviour.instead(its_call) for behaviour, its_call in due)
            response = next(filter(None, instead), None) or self._answer(call, due)
            response = self._with_origin(response, call)
            for behaviour, its_call in due:
                response = behaviour.answered(response, its_call)
            self.history.append(Exchange(request, call.target, response.status, held))
        return response

    def _call(self, request: Request) -> Call:
        target = _target(request)
        text = f"{request.method} {request.path}?{request.query}"
        self._asked[text] += 1
        query, complaint = self._query(target, request)
        return Call(
            request=request,
            request_id=f"{len(self.history) + 1:032x}",
            target=target,
            query=query,
            complaint=complaint,
            now=self.clock(),
            key=f"{text} {self._asked[text]}",
            listings=self._listings,
        )

    def _query(self, target: Target, request: Request) -> tuple[Query | None, str]:
        """What is asked of a listing, and what is wrong with it."""
        if target.direction is None or target.project_id not in self.world.projects:
            return None, ""
        try:
            return Query.parse(dict(request.query), self._max_limit), ""
        except BadQueryError as error:
            return None, str(error)

    def _held(self, target: Target) -> frozenset[str] | None:
        if target.direction is None or target.project_id not in self.world.projects:
            return None
        return self._listings.ids(target.project_id, target.direction)

    def _with_origin(self, response: Response, call: Call) -> Response:
        date = format_datetime(call.now, usegmt=True)
        return replace(response, headers=(*response.headers, ("Date", date), ("X-Request-Id", call.request_id)))

    def _answer(self, call: Call, due: Sequence[Due]) -> Response:
        target, request = call.target, call.request
        if target.operation is Operation.UNKNOWN and not _SHARING.fullmatch(request.path):
            return gateway_error(404, "The API does not exist or has not been published", call.request_id)
        method = _METHODS.get(target.operation, "GET")
        if request.method != method or target.operation is Operation.UNKNOWN:
            return openstack_error(405, f"The method {request.method} is not allowed for this resource")
        if target.operation is Operation.TOKEN:
            return self._iam.log_in(request)
        if target.operation is Operation.PROJECTS:
            return self._iam.projects(request)
        return self._refusal(target, request.token, call.request_id) or self._answer_about_shares(call, due)

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

    def _answer_about_shares(self, call: Call, due: Sequence[Due]) -> Response:
        target = call.target
        if target.operation is Operation.SHOW:
            body = self._listings.share(target.project_id, target.share_id)
            return Response(200, body) if body else openstack_error(404, f"Share {target.share_id} could not be found")
        if call.query is None:
            return openstack_error(400, call.complaint)
        if target.operation is Operation.COUNT:
            return answer({"count": self._count(target.project_id, call.query, due)})
        return Response(200, self._listings.body(self._page(target.project_id, call.query, due)))

    def _count(self, project_id: str, query: Query, due: Sequence[Due]) -> int:
        count = self._listings.count(project_id, query)
        for behaviour, its_call in due:
            count = behaviour.counted(count, query, its_call)
        return count

    def _page(self, project_id: str, query: Query, due: Sequence[Due]) -> list[Row]:
        rows = self._listings.ordered(project_id, query)
        for behaviour, its_call in due:
            rows = behaviour.ordered(rows, query, its_call)
        page: list[Row] = [*rows[query.offset : query.offset + query.limit]]
        for behaviour, its_call in due:
            page = behaviour.page(page, rows, query, its_call)
        return page


def _as_understood(call: Call, due: Sequence[Due]) -> tuple[Call, Sequence[Due]]:
    """With the query that all of them together make of the one that was asked."""
    query = call.query
    if query is None:
        return call, due
    for behaviour, its_call in due:
        query = behaviour.asked(query, its_call)
    return replace(call, query=query), [(behaviour, replace(its_call, query=query)) for behaviour, its_call in due]


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
