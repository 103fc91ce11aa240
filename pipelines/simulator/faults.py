"""What goes wrong with which request, as values that combine.

    Fault(Operation.DETAIL, nth=2, status=503)                  the third page fails once
    Fault(Operation.DETAIL, nth=range(2, 5), status=429, headers=(("Retry-After", "1"),))
    Fault(Operation.DETAIL, project_id=p, delay=5.0)            every page of one project is slow
    Fault(nth=0, body=b"<html>", headers=(("Content-Type", "text/html"),))
    Fault(Operation.DETAIL, nth=1, withdraw_at=(0,))            the world changes between two pages, for good

Every fault counts the requests that fit it by itself, from 0. Several may hit one request: the changes of the world
come first, the first status wins, delays add up, and bodies are replaced and cut in the order of the faults.
Not here: what is wrong for whole days (scenario.py), where an inserted share sorts (drift.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from pipelines.observation import Direction
from pipelines.simulator.wire import Response, gateway_error, openstack_error, vbs_error


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
class Fault:
    """The first four fields say which requests (None: any), the others what happens to them.

    A status without a body gets the body that the platform would send. Ranks count from 0 in the order the request
    asked for, as it was before the request; a rank beyond the end appends, or withdraws nothing.
    """

    operation: Operation | None = None
    project_id: str | None = None
    direction: Direction | None = None
    nth: int | range | None = None

    status: int | None = None
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    truncate: int | None = None
    """The body ends after so many bytes; the length that is announced is that of the rest."""
    delay: float = 0.0
    withdraw_at: tuple[int, ...] = ()
    insert_at: tuple[int, ...] = ()

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

    def applied_to(self, response: Response) -> Response:
        body = response.body if self.body is None else self.body
        return replace(
            response,
            body=body if self.truncate is None else body[: self.truncate],
            headers=_merged(response.headers, self.headers),
            delay=response.delay + self.delay,
        )


class FaultPlan:
    """The faults of a service, each with its own count of the requests that fit it."""

    def __init__(self, faults: Sequence[Fault] = ()) -> None:
        self.faults = tuple(faults)
        self._counts = [0] * len(self.faults)

    def due(self, target: Target) -> list[Fault]:
        """The faults that strike now. Asking counts the request."""
        struck = []
        for index, fault in enumerate(self.faults):
            if fault.is_about(target):
                if fault.is_due(self._counts[index]):
                    struck.append(fault)
                self._counts[index] += 1
        return struck


def failure(faults: Sequence[Fault], request_id: str) -> Response | None:
    """The answer of the first fault that sets a status; None when the service is to answer itself."""
    status = next((fault.status for fault in faults if fault.status is not None), None)
    if status is None:
        return None
    if status in (401, 403, 404, 429, 502):
        return gateway_error(status, "The request was refused on its way to the service", request_id)
    if status in (500, 503):
        return vbs_error(status, "VolumeBackup.0900", "The service is unavailable")
    return openstack_error(status, "The request failed")


def _merged(old: tuple[tuple[str, str], ...], new: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    replaced = {name.lower() for name, _ in new}
    return tuple(header for header in old if header[0].lower() not in replaced) + new
