"""Door 1: one request in, one checked page of shares (or one typed error) out.

The only module that talks HTTP. It sends the token, keeps deadlines and byte caps, repeats what is worth repeating,
and asks for a smaller page where a large one is too much. Requests go straight to a transport of httpx: there is
nothing that would follow a redirect (and carry the token to another host), keep a cookie, or take a proxy or a netrc
from the process environment, and a request costs a quarter less.
Not here: what an answer means (answers.py), how often it may ask (traffic.py), which page to ask next (walk.py),
where tokens come from (auth.py), the columns (normalize.py).
"""

import contextlib
import logging
import math
import random
import threading
import time
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlencode, urlsplit

import httpcore
import httpx
from pydantic import SecretStr

from pipelines.answers import (
    Answer,
    api_error,
    next_query,
    read_count,
    read_json,
    shared_list,
    without_mark,
)
from pipelines.auth import TokenSource
from pipelines.errors import (
    ApiError,
    PermanentApiError,
    StoppedError,
    TooLargeError,
    TransientApiError,
)
from pipelines.filters import Filters
from pipelines.observation import Direction, Listing, Page
from pipelines.redact import blank_key_material
from pipelines.sockets import Deadline, DeadlineBackend, connection_error, trust
from pipelines.traffic import Clock, Lane, Sleep, Traffic, attempts, pause

_Passing = TransientApiError | TooLargeError
_PASSING = (TransientApiError, TooLargeError)
"""What another request, perhaps a smaller one, may mend."""

Transport = httpx.BaseTransport
"""What carries a request; replaced in tests."""

MAX_BODY_BYTES = 32 * 2**20
"""Decoded bytes of one answer; a page of 1000 shares is about 1.3 MB."""
PIECE_BYTES = 2**20
"""Bytes unpacked at once."""
MAX_ERROR_BYTES = 2**20
"""Bytes of an error that are looked at."""
SMALLEST_PAGE = 20
"""A page is not halved below this: it must hold more than the ten recipients that one backup can have."""
_HEADERS = [
    ("Accept", "application/json"),
    ("Accept-Encoding", "identity"),
    ("Connection", "keep-alive"),
    ("User-Agent", "backup-shares"),
]
SHARING_PATH = "/v2/{project_id}/os-vendor-backup-sharing/{operation}"

# They log addresses with their query, and with DEBUG what is sent.
for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.WARNING)


@dataclass(frozen=True)
class Reply:
    """A checked page: as it is landed, and its records as parsed JSON (for the walk only; not kept).

    `page.limit` is what was asked in the end: after trouble it is less than what the caller wanted.
    `next_query` is where the service's link to the next page points, for `ShareClient.linked_page`; None without one.
    """

    page: Page
    records: list[Any]
    next_query: dict[str, str] | None = None


@dataclass(frozen=True)
class _Question:
    """One request without its token. `limit` is None where there is none, for a count."""

    listing: Listing
    operation: str
    query: dict[str, str]
    limit: int | None = None

    @property
    def parameters(self) -> dict[str, str]:
        direction = {"share_to_me": "true"} if self.listing.direction is Direction.INCOMING else {}
        size = {} if self.limit is None else {"limit": str(self.limit)}
        return {**direction, **size, **self.query}

    def halved(self) -> "_Question | None":
        if self.limit is None or self.limit <= SMALLEST_PAGE:
            return None
        return replace(self, limit=max(SMALLEST_PAGE, self.limit // 2))


@dataclass
class _Trial:
    """How far one question has got."""

    question: _Question
    wanted: int | None
    started: float
    failures: int = 0

    def told(self, now: float, *, is_spent: bool) -> str:
        many = f"{self.failures} attempts in {now - self.started:.0f} s" if self.failures > 1 else ""
        size = f"the last with limit {self.question.limit}" if self.question.limit != self.wanted else ""
        spent = "no repeat is left in the budget of this run" if is_spent else ""
        return ", ".join(part for part in (many, size, spent) if part)


@dataclass
class _Progress:
    """What the client remembers of a listing."""

    sent: int = 0
    largest_page: int | None = None
    deadline_at: float = math.inf


class ShareClient:
    """The sharing endpoint of one region. Thread-safe. `sleep`, `clock`, `now` and `jitter` are arguments for tests.

    `traffic` is shared by the clients of one run. Seconds: `deadline` of one request from its start to its last
    byte, `listing_deadline` from `begin` on. `ca_file`: authorities to trust besides the usual ones.
    """

    def __init__(
        self,
        endpoint: str,
        tokens: TokenSource,
        *,
        traffic: Traffic | None = None,
        connect_timeout: float = 10.0,
        read_timeout: float = 30.0,
        deadline: float = 60.0,
        listing_deadline: float = 900.0,
        max_connections: int = 32,
        ca_file: Path | None = None,
        transport: httpx.BaseTransport | None = None,
        sleep: Sleep = time.sleep,
        clock: Clock = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._endpoint = endpoint
        self._tokens = tokens
        self._seconds, self._listing_seconds = deadline, listing_deadline
        self._sleep, self._clock, self._now, self._jitter = sleep, clock, now, jitter
        self._traffic = traffic or Traffic(sleep=sleep, clock=clock)
        self._lane = Lane(max_connections, sleep=sleep, clock=clock)
        self._progress: defaultdict[Listing, _Progress] = defaultdict(_Progress)
        self._stopped = False
        self._skew: float | None = None
        self._lock = threading.Lock()
        self._deadline = Deadline()
        self._transport = transport or _sockets(max_connections, ca_file, DeadlineBackend(self._deadline, clock))
        # No time limit for a free connection: the lane lets nobody in who would have to wait for one.
        timeout = httpx.Timeout(read_timeout, connect=connect_timeout, pool=None)
        self._extensions = {"timeout": timeout.as_dict()}

    def close(self) -> None:
        self._transport.close()

    def stop(self) -> None:
        """Ask nothing more: every call from now on raises StoppedError. What is under way ends by itself."""
        self._stopped = True

    def begin(self, listing: Listing) -> None:
        """Start the time that the listing has; also forget that its pages had to be small."""
        with self._lock:
            progress = self._progress[listing]
            progress.deadline_at = self._clock() + self._listing_seconds
            progress.largest_page = None

    def page(
        self,
        listing: Listing,
        offset: int,
        limit: int,
        *,
        descending: bool = False,
        filters: Filters | None = None,
        sort_key: str = "id",
    ) -> Reply:
        """One page of the listing, sorted by id and ascending unless told otherwise; fewer rows after trouble.

        What comes back need not match the filters: a service may ignore one (Filters.matches).
        Raises TransientApiError (attempts used up, or the listing's time), CredentialError, PermanentApiError,
        EndpointError, or MalformedResponseError when the answer is not a list of shares or holds those of others.
        """
        query = {"sort_key": sort_key, "sort_dir": "desc" if descending else "asc", "offset": str(offset)}
        return self._page(listing, {**query, **(filters or Filters()).query()}, limit, descending=descending)

    def linked_page(
        self, listing: Listing, next_query: dict[str, str], *, descending: bool = False, filters: Filters | None = None
    ) -> Reply:
        """The page that `Reply.next_query` points to, asked at our own endpoint. Raises as `page`."""
        query = {"sort_key": "id", "sort_dir": "desc" if descending else "asc"}
        place = {name: value for name, value in next_query.items() if name in ("offset", "marker")}
        query = {**query, **place, **(filters or Filters()).query()}
        return self._page(listing, query, int(next_query["limit"]), descending=descending)

    def count(self, listing: Listing, filters: Filters | None = None) -> int | None:
        """Shares in the listing by the count endpoint; None where the cloud has no such endpoint (404)."""
        question = _Question(listing, "count", (filters or Filters()).query())
        try:
            answer, document, _ = self._get(question)
        except PermanentApiError as error:
            if error.status == 404:
                return None
            raise
        return read_count(answer, document, listing)

    def requests_sent(self, listing: Listing) -> int:
        """Requests sent about this listing since the client was made, repeats included."""
        return self._progress[listing].sent

    @property
    def clock_skew(self) -> float | None:
        """Seconds by which the service's clock is ahead of ours (negative: behind): the largest that was seen.

        None where the service never told its time.
        """
        return self._skew

    def _page(self, listing: Listing, query: dict[str, str], limit: int, *, descending: bool) -> Reply:
        known = self._progress[listing].largest_page
        question = _Question(listing, "detail", query, min(limit, known) if known else limit)
        answer, document, asked = self._get(question)
        records = shared_list(answer, document, listing)
        offset, size = int(query.get("offset", 0)), asked.limit or limit
        body = blank_key_material(without_mark(answer.body))
        page = Page(offset, size, descending, body, answer.requested_at, answer.received_at, answer.request_id)
        return Reply(page, records, next_query(document, size))

    # --- one answer: attempts -----------------------------------------------------------------------------------

    def _get(self, question: _Question) -> tuple[Answer, Any, _Question]:
        """The answer, its JSON, and the question as it was asked in the end."""
        trial = _Trial(question, question.limit, self._clock())
        while True:
            if self._stopped:
                raise StoppedError("the sync was stopped")
            self._lane.check()
            try:
                answer, document = self._ask(trial.question)
            except _PASSING as error:
                self._prepare_repeat(trial, error)
            except ApiError as error:
                self._lane.failed(question.listing, question.operation, error)
                raise
            else:
                self._lane.answered(question.operation)
                return answer, document, trial.question

    def _prepare_repeat(self, trial: _Trial, error: _Passing) -> None:
        """Wait, and ask for less where that may help; raises the error when it is not to be repeated."""
        trial.failures += 1
        smaller = trial.question.halved() if _is_too_much(error, trial.failures) else None
        is_allowed = smaller is not None or trial.failures < _attempts(error)
        if not is_allowed or not self._traffic.may_repeat(trial.question.listing.project_id):
            self._give_up(trial, error, is_spent=is_allowed)
        if smaller:
            trial.question = smaller
            self._remember(smaller)
        if isinstance(error, TransientApiError):
            self._wait(trial, error)

    def _wait(self, trial: _Trial, error: TransientApiError) -> None:
        seconds = pause(error, trial.failures, self._jitter())
        if self._clock() + seconds > self._progress[trial.question.listing].deadline_at:
            raise self._overdue()
        if error.status == 429:
            self._lane.throttle(seconds)  # the rest is kept where requests are sent, by all of them
        else:
            self._sleep(seconds)

    def _give_up(self, trial: _Trial, error: _Passing, *, is_spent: bool) -> NoReturn:
        if isinstance(error, TransientApiError):
            error.effort = trial.told(self._clock(), is_spent=is_spent)
            self._lane.failed(trial.question.listing, trial.question.operation, error)
        raise error

    def _remember(self, question: _Question) -> None:
        with self._lock:
            progress = self._progress[question.listing]
            known = progress.largest_page or question.limit
            progress.largest_page = min(known or SMALLEST_PAGE, question.limit or SMALLEST_PAGE)

    # --- one request --------------------------------------------------------------------------------------------

    def _ask(self, question: _Question) -> tuple[Answer, Any]:
        """One attempt: a request, and once more with another token where this one is refused and there is another."""
        project_id = question.listing.project_id
        token = SecretStr(self._tokens.token(project_id))
        answer = self._exchange(question, token)
        if answer.status == 401:
            renewed = self._tokens.renewed(project_id, token.get_secret_value())
            if renewed is not None:
                answer = self._exchange(question, SecretStr(renewed))
        if answer.status != 200:
            raise api_error(answer)
        return answer, read_json(answer)

    def _exchange(self, question: _Question, token: SecretStr) -> Answer:
        listing = question.listing
        with self._traffic.place(listing.project_id), self._lane.turn():
            self._traffic.pace()
            with self._lock:
                progress = self._progress[listing]
                if self._clock() >= progress.deadline_at:
                    raise self._overdue()
                progress.sent += 1
            self._deadline.at = min(self._clock() + self._seconds, progress.deadline_at)
            requested_at = self._now()
            answer = failure = None
            try:
                with self._open(question, token) as response:
                    body = _read(response, question)
                    headers = dict(response.headers)
                    answer = Answer(response.status_code, headers, body, token, requested_at, self._now())
            except (httpx.RequestError, httpx.InvalidURL) as error:
                failure = self._no_answer(error, progress.deadline_at)
        # Raised out here: the library's error keeps the request with its token, and errors keep the error they hide.
        if answer is None:
            raise failure or TypeError("an exchange ends in an answer or a failure")
        self._note_skew(answer.clock_skew)
        return answer

    @contextlib.contextmanager
    def _open(self, question: _Question, token: SecretStr) -> Iterator[httpx.Response]:
        path = SHARING_PATH.format(project_id=question.listing.project_id, operation=question.operation)
        url = f"{self._endpoint}{path}?{urlencode(question.parameters)}".removesuffix("?")
        request = httpx.Request("GET", url, headers=_HEADERS, extensions=self._extensions)
        request.headers = _QuietHeaders([*request.headers.raw, (b"X-Auth-Token", token.get_secret_value().encode())])
        with contextlib.closing(self._transport.handle_request(request)) as response:
            yield response

    def _note_skew(self, skew: float | None) -> None:
        with self._lock:
            self._skew = max((each for each in (self._skew, skew) if each is not None), key=abs, default=None)

    def _no_answer(self, error: httpx.RequestError | httpx.InvalidURL, listing_deadline: float) -> ApiError:
        if isinstance(error, httpx.TimeoutException) and self._clock() >= self._deadline.at:
            if self._clock() >= listing_deadline:
                return self._overdue()
            return TransientApiError(
                f"the answer took longer than {self._seconds:g} s",
                advice="the service is slow: lower VBS_PAGE_SIZE, or raise VBS_REQUEST_DEADLINE",
                is_overload=True,
            )
        return connection_error(error, urlsplit(self._endpoint).netloc)

    def _overdue(self) -> ApiError:
        return ApiError(
            f"the listing took longer than {self._listing_seconds:g} s",
            advice="the service is slow or the listing long: raise VBS_LISTING_DEADLINE, or run at a quieter hour",
        )


def _attempts(error: _Passing) -> int:
    return attempts(error) if isinstance(error, TransientApiError) else 1


def _is_too_much(error: _Passing, failures: int) -> bool:
    return isinstance(error, TooLargeError) or (error.is_overload and failures > 1)


def _read(response: httpx.Response, question: _Question) -> bytes:
    cap = MAX_BODY_BYTES if response.status_code == 200 else MAX_ERROR_BYTES
    chunks: list[bytes] = []
    size = 0
    for chunk in _unpacked(response):
        chunks.append(chunk)
        size += len(chunk)
        if size > cap:
            break
    if size > cap and response.status_code == 200:
        asked = "" if question.limit is None else f" to limit {question.limit}"
        raise TooLargeError(
            f"the answer{asked} is larger than {MAX_BODY_BYTES} bytes: lower VBS_PAGE_SIZE; if it is at its smallest, "
            "ask the operator of the service what it sends"
        )
    return b"".join(chunks)


def _unpacked(response: httpx.Response) -> Iterator[bytes]:
    """The body in pieces of a bounded size: the library would unpack 50 MB at once out of 50 kB.

    It is unpacked although we ask for it as it is: not every gateway listens.
    """
    encoding = response.headers.get("content-encoding", "").strip().lower()
    if response.is_stream_consumed or encoding not in ("gzip", "x-gzip", "deflate"):
        yield from [response.content] if response.is_stream_consumed else response.iter_raw()
        return
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 32)  # whichever of the two it is
    try:
        for packed in response.iter_raw():
            rest = packed
            while rest:
                yield unpacker.decompress(rest, PIECE_BYTES)
                rest = unpacker.unconsumed_tail
    except zlib.error:
        raise httpx.DecodingError("not what it says it is") from None


class _QuietHeaders(httpx.Headers):
    """Headers that show themselves nowhere: the library's own would print the token."""

    def __repr__(self) -> str:
        return "Headers(...)"

    def __reduce__(self) -> tuple[Any, ...]:
        return httpx.Headers, ([(name, value) for name, value in self.raw if name.lower() != b"x-auth-token"],)


def _sockets(max_connections: int, ca_file: Path | None, backend: DeadlineBackend) -> httpx.HTTPTransport:
    context = httpx.create_ssl_context(trust_env=False)
    if ca_file is not None:
        trust(context, ca_file)
    transport = httpx.HTTPTransport(verify=context, trust_env=False)
    # httpx has no argument for the backend of its pool (a test of the deadline notices if this is no longer it).
    transport._pool = httpcore.ConnectionPool(
        ssl_context=context,
        max_connections=max_connections,
        max_keepalive_connections=max_connections,
        keepalive_expiry=5.0,
        network_backend=backend,
    )
    return transport
