"""`Fault`: the things that commonly go wrong with single requests, in one value, for tests.

Not here: everything with a name of its own, for which there is a class in the modules beside.
"""

from dataclasses import replace

from pipelines.simulator.behaviour import Behaviour, Call, parameters
from pipelines.simulator.wire import Response, error


@parameters
class Fault(Behaviour):
    """The first four fields say which requests (None: any), the others what happens to them.

        Fault(Operation.DETAIL, nth=2, status=503)                  the third page fails once
        Fault(Operation.DETAIL, nth=range(2, 5), status=429, headers=(("Retry-After", "1"),))
        Fault(Operation.DETAIL, project_id=p, delay=5.0)            every page of one project is slow
        Fault(nth=0, body=b"<html>", headers=(("Content-Type", "text/html"),))
        Fault(Operation.DETAIL, nth=1, withdraw_at=(0,))            the world changes between two pages, for good

    A status without a body gets the body that the platform would send. Ranks count from 0 in the order the request
    asked for, as it was before the request; a rank beyond the end appends, or withdraws nothing. Several may hit one
    request: delays add up, and bodies are replaced and cut in the order of the faults.
    """

    status: int | None = None
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    truncate: int | None = None
    """The body ends after so many bytes; the length that is announced is that of the rest."""
    delay: float = 0.0
    withdraw_at: tuple[int, ...] = ()
    insert_at: tuple[int, ...] = ()

    def before(self, call: Call) -> None:
        call.drift(withdraw_at=self.withdraw_at, insert_at=self.insert_at)

    def instead(self, call: Call) -> Response | None:
        return None if self.status is None else error("usual", self.status, call.request_id)

    def answered(self, response: Response, call: Call) -> Response:  # noqa: ARG002
        body = response.body if self.body is None else self.body
        changed = replace(
            response,
            body=body if self.truncate is None else body[: self.truncate],
            delay=response.delay + self.delay,
        )
        return changed.with_headers(*self.headers)
