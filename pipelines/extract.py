"""Verb 1: observe. Walk every listing, ask again about shares that are absent, land all of it, and say what it proves.

Listings are observed side by side, and so are the pages of a long one; a listing that fails is landed as failed, with
the reason, and never disturbs another.
Not here: the paging algorithm (walk.py), what counts as gone (confirm.py), HTTP (client.py), the file format
(landing.py).
"""

from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import TypeVar

from pipelines.client import Reply, ShareClient
from pipelines.confirm import Verdict, absent_shares, confirm
from pipelines.errors import ApiError, BackupSharesError, ClockError, MalformedResponseError
from pipelines.filters import Filters
from pipelines.landing import LandedFile, LandingWriter, sweep
from pipelines.observation import Listing, Observation, Page, ProofStatus, clock_words
from pipelines.rows import Row, read_rows
from pipelines.walk import Walk, walk

Now = Callable[[], datetime]
Known = Callable[[Listing], Mapping[str, str]]
"""The shares of a listing that are known so far, and the backup of each; may raise any BackupSharesError."""
A = TypeVar("A")
T = TypeVar("T")

MOST_CONTROLS = 3
"""Shares on which the filter is tried before it counts as broken."""
MOST_PAGES_OF_A_BACKUP = 12
"""A backup has ten recipients at most (api-facts 1.6): this is enough even where a page is cut to one row."""


@dataclass(frozen=True)
class Options:
    """How to observe. `pages_side_by_side`: of each listing. `release_held`: see confirm.py.

    `tolerated_skew`: seconds that our clock may be from the service's, unset for any.
    """

    page_size: int = 1000
    concurrency: int = 4
    pages_side_by_side: int = 1
    release_held: bool = False
    tolerated_skew: float | None = None


def nothing_known(_: Listing) -> Mapping[str, str]:
    return {}


def observe_listings(
    clients: Mapping[Listing, ShareClient],
    landing: Path,
    *,
    sync_id: str,
    now: Now,
    known: Known = nothing_known,
    options: Options = Options(),
    refused: Callable[[ClockError], object] = lambda _: None,
) -> Iterator[tuple[LandedFile, Observation]]:
    """Observe all listings, at most `concurrency` at a time; yields each as landed, in the order given.

    `clients` names the listings, each with the client that asks about it: every account has one of its own.
    `refused` is told why a listing was not landed: our clock is further from the service's than is tolerated.
    Raises LandingError when the landing cannot be written; what was landed before stays and is loaded later.
    """

    def observe(listing: Listing) -> tuple[LandedFile, Observation] | None:
        try:
            return observe_listing(
                listing, clients[listing], landing, sync_id=sync_id, now=now, known=known, options=options
            )
        except ClockError as error:
            refused(error)
            return None

    sweep(landing)
    with ThreadPoolExecutor(max_workers=options.concurrency, thread_name_prefix="observe") as pool:
        try:
            yield from filter(None, pool.map(observe, clients))
        except BaseException:
            # Also when the run is cancelled: what is under way would go on asking for as long as a listing may take.
            for client in set(clients.values()):
                client.stop()
            raise


def observe_listing(
    listing: Listing,
    client: ShareClient,
    landing: Path,
    *,
    sync_id: str,
    now: Now,
    known: Known = nothing_known,
    options: Options = Options(),
) -> tuple[LandedFile, Observation]:
    """Walk one listing and land it. A listing that fails is an observation too: status `failed`, nothing proven.

    Raises ClockError, and lands nothing, where the clocks differ by more than is tolerated: a time that is far ahead
    would stand in the way of everything that is seen until then, one that is far behind would rewrite a day.
    """
    observed_at, sent_before = now(), client.requests_sent(listing)
    client.begin(listing)
    with LandingWriter(landing, listing) as writer:
        reader = _Reader(listing, client, writer, options.pages_side_by_side)
        code, verdict = "", Verdict()
        absent: Mapping[str, str] = {}
        try:
            proof = walk(
                reader.fetch,
                lambda: client.count(listing),
                limit=options.page_size,
                fetch_many=reader.fetch_many if options.pages_side_by_side > 1 else None,
                follow=reader.follow,
            )
            if proof.status.is_proven:
                absent, verdict = _judged(listing, proof, reader, known, options)
        except (ApiError, MalformedResponseError) as error:
            proof = replace(_FAILED, reason=str(error))
            code = error.code if isinstance(error, ApiError) else ""
        _refuse_wrong_clock(client.clock_skew, options.tolerated_skew)
        if verdict.shown_ids:
            proof = replace(proof, status=ProofStatus.INCOMPLETE, may_close=False, reason=_deceived(verdict))
        observation = Observation(
            sync_id=sync_id,
            listing=listing,
            observed_at=observed_at,
            finished_at=now(),
            status=proof.status,
            may_close=proof.may_close,
            reason="; ".join(text for text in (proof.reason, verdict.reason) if text),
            error_code=code,
            count_before=proof.count_before,
            count_after=proof.count_after,
            distinct_ids=len(proof.ids),
            pass_count=proof.pass_count,
            page_count=reader.page_count,
            request_count=client.requests_sent(listing) - sent_before,
            excluded_ids=proof.excluded_ids,
            absent_count=len(absent),
            held_count=verdict.held_count,
            clock_skew_seconds=None if client.clock_skew is None else round(client.clock_skew),
            gone_ids=() if verdict.shown_ids else verdict.gone_ids,
        )
        return writer.commit(observation), observation


def _refuse_wrong_clock(skew: float | None, tolerated: float | None) -> None:
    if skew is None or tolerated is None or abs(skew) <= tolerated:
        return
    raise ClockError(f"{clock_words(skew)}, so nothing was observed: set it right, best with NTP")


def _judged(
    listing: Listing, proof: Walk, reader: "_Reader", known: Known, options: Options
) -> tuple[dict[str, str], Verdict]:
    """The known shares that no page showed, and what the service says of them when asked again."""
    try:
        before = known(listing)
    except BackupSharesError as error:
        return {}, Verdict(reason=f"nothing is recorded as withdrawn, for it is not known what was there: {error}")
    controls = [row for row in reader.sample if row.share_id in proof.ids][:MOST_CONTROLS]
    verdict = confirm(before, proof, controls, reader.shares_of, release_held=options.release_held)
    return absent_shares(before, proof), verdict


def _deceived(verdict: Verdict) -> str:
    return (
        f"the pages hid {len(verdict.shown_ids)} known shares, such as {verdict.shown_ids[0]}, which the backup_id "
        "filter shows: the listing cannot be trusted, and nothing of it is published; tell the service's operator"
    )


class _Reader:
    """Asks for the pages of one listing and lands them, in the order in which they are taken."""

    def __init__(self, listing: Listing, client: ShareClient, writer: LandingWriter, width: int) -> None:
        self._listing, self._client, self._writer, self._width = listing, client, writer, width
        self._next_query: dict[str, str] | None = None
        self.page_count = 0
        self.sample: list[Row] = []

    def fetch(self, offset: int, limit: int, *, descending: bool = False) -> list[Row]:
        return self._land(self._seen(self._client.page(self._listing, offset, limit, descending=descending)))

    def fetch_many(self, offsets: Sequence[int], limit: int) -> Iterator[list[Row]]:
        def ask(offset: int) -> _Seen:
            return self._seen(self._client.page(self._listing, offset, limit))

        with closing(side_by_side(ask, offsets, self._width)) as answers:
            yield from map(self._land, answers)

    def follow(self) -> list[Row] | None:
        if self._next_query is None:
            return None
        return self._land(self._seen(self._client.linked_page(self._listing, self._next_query)))

    def shares_of(self, backup_ids: Sequence[str]) -> Iterator[list[Row] | None]:
        """All shares of each backup, by the filter; None where the service does not answer or never ends."""
        with closing(side_by_side(self._shares_of_one, backup_ids, self._width)) as answers:
            for pages, rows in answers:
                for page in pages:
                    self._land(page)
                yield rows

    def _shares_of_one(self, backup_id: str) -> tuple[list["_Seen"], list[Row] | None]:
        pages: list[_Seen] = []
        rows: list[Row] = []
        try:
            while len(pages) < MOST_PAGES_OF_A_BACKUP:
                reply = self._client.page(
                    self._listing, len(rows), FILTERED_LIMIT, filters=Filters(backup_id=backup_id)
                )
                pages.append(self._seen(reply, backup_id))
                if not reply.records:
                    return pages, rows
                rows += pages[-1].rows
        except (ApiError, MalformedResponseError):
            pass
        return pages, None

    def _seen(self, reply: Reply, backup_id: str | None = None) -> "_Seen":
        # The records themselves would fill the memory.
        page = replace(reply.page, backup_id=backup_id)
        return _Seen(page, read_rows(reply.records), reply.next_query)

    def _land(self, seen: "_Seen") -> list[Row]:
        self._writer.add(seen.page, len(seen.rows))
        self._next_query = seen.next_query
        self.page_count += 1
        if seen.page.backup_id is None:
            # The last page is from the far end: a service that filters what it has paged already does not find it.
            self.sample = [row for row in seen.rows[: 2 * MOST_CONTROLS] if row.share_id and row.backup_id]
        return seen.rows


FILTERED_LIMIT = 100
"""Shares of one backup asked for at once: ten times the recipients that it can have."""


@dataclass(frozen=True)
class _Seen:
    """What is kept of a page: what is landed, its rows, and where it links to."""

    page: Page
    rows: list[Row]
    next_query: dict[str, str] | None


def side_by_side(ask: Callable[[A], T], questions: Sequence[A], width: int) -> Generator[T]:
    """The answers in the order of the questions; at most `width` more are under way or wait to be taken.

    The first error of any ends it. Then, and when it is closed, no more is asked, and what is under way is waited for.
    """
    if width == 1:
        yield from map(ask, questions)  # a thread of its own costs a quarter of a small request
        return
    todo = iter(questions)
    with ThreadPoolExecutor(width, thread_name_prefix="page") as pool:
        ahead = deque(pool.submit(ask, question) for question in islice(todo, width))
        try:
            while ahead:
                answer = _first(ahead)
                ahead.extend(pool.submit(ask, question) for question in islice(todo, 1))
                yield answer
        finally:
            pool.shutdown(cancel_futures=True)


def _first(ahead: "deque[Future[T]]") -> T:
    """The first answer, taken from the queue as soon as it is there; the error of another before that."""
    while not ahead[0].done():
        done, _ = wait([future for future in ahead if not future.done()], return_when=FIRST_COMPLETED)
        for future in done:
            future.result()
    return ahead.popleft().result()


_FAILED = Walk(
    status=ProofStatus.FAILED,
    may_close=False,
    reason="",
    ids=frozenset(),
    excluded_ids=(),
    count_before=None,
    count_after=None,
    pass_count=0,
)
