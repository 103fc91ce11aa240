"""What was asked and what was true at that moment: the judge of a client that read a changing listing.

Not here: what was answered; a service may have lied (faults/).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import reduce

from pipelines.observation import Direction
from pipelines.simulator.behaviour import Target
from pipelines.simulator.wire import Request


@dataclass(frozen=True)
class Exchange:
    """One request, the status of its answer, and the ids that the listing asked for held at that moment.

    `held` is None when the request was not about a listing of an own project.
    """

    request: Request
    target: Target
    status: int
    held: frozenset[str] | None = field(repr=False)


class History(list[Exchange]):
    """Every exchange of a service, in the order of the requests. `since` and `until` are numbers of requests."""

    def about(
        self, project_id: str, direction: Direction, since: int = 0, until: int | None = None
    ) -> Sequence[Exchange]:
        """Those about one listing, its counts included."""
        window = self[since:until]
        return [one for one in window if (one.target.project_id, one.target.direction) == (project_id, direction)]

    def states(
        self, project_id: str, direction: Direction, since: int = 0, until: int | None = None
    ) -> list[frozenset[str]]:
        """What the listing held at each request about it."""
        return [one.held for one in self.about(project_id, direction, since, until) if one.held is not None]

    def alive_throughout(
        self, project_id: str, direction: Direction, since: int = 0, until: int | None = None
    ) -> frozenset[str]:
        """What the listing held from its first request in the window to its last: a sound reading has all of it."""
        states = self.states(project_id, direction, since, until)
        return reduce(frozenset.intersection, states) if states else frozenset()

    def ever_alive(
        self, project_id: str, direction: Direction, since: int = 0, until: int | None = None
    ) -> frozenset[str]:
        """What the listing held at any request in the window: a sound reading has nothing else."""
        return frozenset().union(*self.states(project_id, direction, since, until))

    @property
    def tokens(self) -> set[str]:
        """All tokens that were sent. They are secrets as far as a test is concerned: count them."""
        return {one.request.token for one in self if one.request.token}
