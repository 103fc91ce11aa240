"""How often requests may be sent: pace, concurrency, repeats, and when to stop asking.

`Traffic` is what all clients of one run share; `Lane` is what one client has for itself. Both are thread-safe; clock
and sleep are arguments. What may be repeated, how often, and after which pause is the table at the end.
Not here: sending (client.py), which answer is a failure of which kind (answers.py).
"""

import re
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from email.utils import parsedate_to_datetime

from pipelines.errors import ApiError, EndpointError, TransientApiError
from pipelines.observation import Listing

Clock = Callable[[], float]
Sleep = Callable[[float], None]

RETRY_SHARE = 0.1
"""Repeats that a run may send, as a share of its requests: an outage must not double the load."""
RETRY_FLOOR = 10
"""Repeats that even a small run may send."""
BURST_SECONDS = 5.0
"""Requests that were not sent in this time may be sent at once later: the pace is an average, not a metronome."""
SAME_CAUSE = 3
"""Listings in a row that fail for the same cause of the endpoint before no other one is tried."""


class Gate:
    """At most `width` threads at a time; may be narrowed while in use."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._inside = 0
        self._changed = threading.Condition()

    def __enter__(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._inside < self._width)
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._inside -= 1
            self._changed.notify_all()

    def narrow(self) -> None:
        """From now on one at a time."""
        self._width = 1


class Traffic:
    """What the clients of one run share: the pace, the places per project and the budget of repeats."""

    def __init__(
        self,
        *,
        requests_per_second: float = 0.0,
        project_concurrency: int = 8,
        retry_floor: int = RETRY_FLOOR,
        sleep: Sleep = time.sleep,
        clock: Clock = time.monotonic,
    ) -> None:
        """`requests_per_second`: 0 is as fast as it goes."""
        self._interval = 1 / requests_per_second if requests_per_second else 0.0
        self._retry_floor = retry_floor
        self._sleep, self._clock = sleep, clock
        self._gates: defaultdict[str, Gate] = defaultdict(lambda: Gate(project_concurrency))
        self._lock = threading.Lock()
        self._next = float("-inf")
        self._sent = 0
        self._repeats: Counter[str] = Counter()

    def place(self, project_id: str) -> Gate:
        """The gate that every request about the project passes."""
        with self._lock:
            return self._gates[project_id]

    def pace(self) -> None:
        """Wait until the next request may be sent, and count it."""
        with self._lock:
            now = self._clock()
            self._sent += 1
            # The instant at which an even flow would send it; a flow that was idle may catch up a little.
            self._next = max(self._next, now - BURST_SECONDS)
            wait = self._next - now
            self._next += self._interval
        if wait > 0:
            self._sleep(wait)

    def may_repeat(self, project_id: str) -> bool:
        """Take one repeat from the budget, if there is one left for this project.

        A project gets at most half of what the others have not used, so that one that fails cannot take it all.
        """
        with self._lock:
            budget = max(self._retry_floor, RETRY_SHARE * self._sent)
            own = self._repeats[project_id]
            others = self._repeats.total() - own
            if own >= (budget - others) / 2:
                return False
            self._repeats[project_id] += 1
            return True


class Lane:
    """One client's way to its endpoint: how many at a time, when to rest, and whether to ask at all."""

    def __init__(self, width: int, *, sleep: Sleep, clock: Clock) -> None:
        self._gate = Gate(width)
        self._sleep, self._clock = sleep, clock
        self._rest_until = float("-inf")
        self._closed: EndpointError | None = None
        self._failed: dict[str, tuple[str, set[Listing]]] = {}
        self._lock = threading.Lock()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """The time of one request; begins when there is room and no rest is due."""
        with self._gate:
            if (wait := self._rest_until - self._clock()) > 0:
                self._sleep(wait)
            yield

    def throttle(self, pause: float) -> None:
        """The service said 429: everybody rests so long, and from now on one request goes at a time."""
        self._gate.narrow()
        with self._lock:
            self._rest_until = max(self._rest_until, self._clock() + pause)

    def check(self) -> None:
        """Raises EndpointError when earlier failures tell how this request would end."""
        if self._closed is not None:
            raise _like(self._closed, f"not asked, as others failed: {self._closed.args[0]}")

    def answered(self, operation: str) -> None:
        """An answer of this operation was good."""
        with self._lock:
            self._failed.pop(operation, None)

    def failed(self, listing: Listing, operation: str, error: ApiError) -> None:
        """A request failed for good: the lane is closed if it is clear that all others would."""
        with self._lock:
            if isinstance(error, EndpointError):
                self._closed = error
            if not error.shared_cause:
                return
            cause, listings = self._failed.get(operation, ("", set()))
            if cause != error.shared_cause:
                listings = set()
            listings.add(listing)
            self._failed[operation] = (error.shared_cause, listings)
            if len(listings) >= SAME_CAUSE:
                self._closed = _like(error, error.args[0])


def _like(error: ApiError, message: str) -> EndpointError:
    return EndpointError(message, status=error.status, code=error.code, advice=error.advice)


# --- what is repeated ----------------------------------------------------------------------------------------------

MAX_PAUSE = 30.0
MAX_RETRY_AFTER = 120.0
_ATTEMPTS = {429: 5, 409: 2, 200: 2}
"""Attempts by status where it is not 3. 200: an answer that is not JSON."""


def attempts(error: TransientApiError) -> int:
    """Requests that may be sent in all for one answer, when they fail like this."""
    return _ATTEMPTS.get(error.status or 0, 3)


def pause(error: TransientApiError, failures: int, jitter: float) -> float:
    """Seconds before the next attempt: as the service asks, else a part (`jitter`, 0 to 1) of a doubling time."""
    if error.retry_after is not None:
        return min(error.retry_after, MAX_RETRY_AFTER)
    return jitter * min(MAX_PAUSE, 0.5 * 2.0 ** (failures - 1))


def read_retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds that a Retry-After header asks for: ASCII digits or an HTTP date; anything else counts as absent."""
    if value is None:
        return None
    if re.fullmatch(r"[0-9]{1,20}", value):
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - now).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return None
