"""What a behaviour is: a value that says which requests it is about, and hooks in which it departs from an honest
service.

A request passes the hooks in this order; with several behaviours each hook is called for all of them in turn:

    asked      what the service takes the parameters for
    before     the world changes, whatever the answer will be
    instead    an answer in place of the service's own; the first one wins
    ordered    every row that fits, in order
    counted    the number of a count
    page       the rows of one page
    answered   the whole answer, its status, headers, bytes and their way over a port

A behaviour is a value and remembers nothing: what it must know of earlier requests is in `Call.memory`, which belongs
to the service. Not here: the behaviours themselves (faults/), who calls the hooks (service.py).
"""

import re
import ssl
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from random import Random
from typing import Annotated, Any, TypeVar, cast, dataclass_transform

import pydantic.dataclasses
from pydantic import BeforeValidator, ConfigDict

from pipelines.observation import Direction
from pipelines.simulator.listings import Listings, Query, Row
from pipelines.simulator.records import Record
from pipelines.simulator.wire import Request, Response


class Operation(StrEnum):
    DETAIL = "detail"
    COUNT = "count"
    SHOW = "show"
    TOKEN = "token"  # noqa: S105 - the name of an operation
    PROJECTS = "projects"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Target:
    """What a request is about. `direction` is known for listings and counts only."""

    operation: Operation
    project_id: str = ""
    direction: Direction | None = None
    share_id: str = ""


@dataclass(frozen=True)
class Call:
    """One request, as a behaviour sees it.

    `nth` counts, from 0, the requests that the behaviour is about. `key` is the request with the number of times that
    the same was asked before: randomness hangs on it, so that a run side by side draws as one in a row. `query` is
    the one that `asked` has made; None unless the request is a sound one about the listing of an own project;
    `complaint` says what is wrong with its parameters.
    """

    request: Request
    request_id: str
    target: Target
    query: Query | None
    complaint: str
    now: datetime
    key: str
    listings: Listings
    nth: int = 0
    memory: dict[str, Any] = field(default_factory=dict)

    @property
    def parameters(self) -> dict[str, str]:
        return dict(self.request.query)

    @property
    def listing(self) -> tuple[str, Direction | None]:
        return (self.target.project_id, self.target.direction)

    def random(self, seed: int) -> Random:
        return Random(f"{seed}/{self.key}")  # noqa: S311 - a fault that comes back is the point

    def rows(self, query: Query) -> list[Record]:
        """What an honest service would find for the query, all pages of it."""
        return self.listings.ordered(self.target.project_id, query)

    def drift(self, *, withdraw_at: Sequence[int] = (), insert_at: Sequence[int] = ()) -> None:
        """Changes the listing asked for, for good. Ranks count from 0 in the order asked for, as it was before; one
        beyond the end appends, or withdraws nothing.
        """
        if self.query is not None:
            self.listings.drift(self.target.project_id, self.query, withdraw_at, insert_at)


def _requests(value: object) -> object:
    """`2`, `2-4` (the fourth included) or `2-` as people write them."""
    if not isinstance(value, str):
        return value
    found = re.fullmatch(r"(\d{1,9})(-(\d{0,9}))?", value)
    if not found:
        raise ValueError("must be a number, or a range such as 2-4 or 2-")
    first = int(found[1])
    if found[2] is None:
        return first
    last = int(found[3]) if found[3] else sys.maxsize - 1
    if last < first:
        raise ValueError("must not end before it begins")
    return range(first, last + 1)


Requests = Annotated[int | range | None, BeforeValidator(_requests)]

_CONFIG = ConfigDict(arbitrary_types_allowed=True, coerce_numbers_to_str=True)
_Kind = TypeVar("_Kind")


@dataclass_transform(frozen_default=True)
def parameters(kind: type[_Kind]) -> type[_Kind]:
    """Makes a frozen dataclass whose fields take texts as well, so that a command line can set them.

    A wrong value raises pydantic.ValidationError.
    """
    made: Any = pydantic.dataclasses.dataclass(frozen=True, config=_CONFIG)(kind)
    return cast("type[_Kind]", made)


@parameters
class Behaviour:
    """An honest service. The fields say which requests a behaviour is about; None: any."""

    operation: Operation | None = None
    project_id: str | None = None
    direction: Direction | None = None
    nth: Requests = None
    """Which of them, from 0."""

    def is_about(self, target: Target) -> bool:
        return (
            self.operation in (None, target.operation)
            and self.project_id in (None, target.project_id)
            and self.direction in (None, target.direction)
        )

    def is_due(self, count: int) -> bool:
        """Whether it strikes at the matching request with this number."""
        if isinstance(self.nth, range):
            return count in self.nth
        return self.nth in (None, count)

    def asked(self, query: Query, call: Call) -> Query:  # noqa: ARG002
        """For a listing and for a count."""
        return query

    def before(self, call: Call) -> None:
        """Also for a request that will fail."""

    def instead(self, call: Call) -> Response | None:  # noqa: ARG002 - the honest answer
        return None

    def ordered(self, rows: list[Record], query: Query, call: Call) -> list[Record]:  # noqa: ARG002
        """For a listing only. The rows may be a list that others hold: never to be changed in place."""
        return rows

    def counted(self, count: int, query: Query, call: Call) -> int:  # noqa: ARG002
        return count

    def page(self, page: list[Row], rows: list[Record], query: Query, call: Call) -> list[Row]:  # noqa: ARG002
        """`rows` are those of all pages."""
        return page

    def answered(self, response: Response, call: Call) -> Response:  # noqa: ARG002
        return response

    # Of the port and not of a request:

    @property
    def refuses_connections(self) -> bool:
        return False

    def tls(self) -> ssl.SSLContext | None:
        """What the port is wrapped in; None: plain HTTP. May write files."""
        return None


class Plan:
    """The behaviours of one service, each with its own count of the requests that it is about, and its memory."""

    def __init__(self, behaviours: Sequence[Behaviour] = ()) -> None:
        self.behaviours = tuple(behaviours)
        self._counts = [0] * len(self.behaviours)
        self._memories: list[dict[str, Any]] = [{} for _ in self.behaviours]

    def due(self, call: Call) -> list[tuple[Behaviour, Call]]:
        """The behaviours that strike now, each with the call as it sees it. Asking counts the request."""
        struck = []
        for index, behaviour in enumerate(self.behaviours):
            if behaviour.is_about(call.target):
                count = self._counts[index]
                self._counts[index] += 1
                if behaviour.is_due(count):
                    struck.append((behaviour, replace(call, nth=count, memory=self._memories[index])))
        return struck
