"""Verb 1: observe. Walk every listing, land what was received, and say how much it proves.

Listings are observed side by side, and so are the pages of a long one; a listing that fails is landed as failed, with
the reason, and never disturbs another.
Not here: the paging algorithm (walk.py), HTTP (client.py), the file format (landing.py).
"""

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from pipelines.client import ShareClient
from pipelines.errors import ApiError, MalformedResponseError
from pipelines.landing import LandedFile, LandingWriter, sweep
from pipelines.observation import Listing, Observation, Page, ProofStatus
from pipelines.walk import Row, Walk, walk

Now = Callable[[], datetime]
T = TypeVar("T")


def observe_listings(
    listings: Sequence[Listing],
    client: ShareClient,
    landing: Path,
    *,
    sync_id: str,
    now: Now,
    page_size: int = 1000,
    concurrency: int = 4,
    pages_side_by_side: int = 1,
) -> Iterator[tuple[LandedFile, Observation]]:
    """Observe all listings, at most `concurrency` at a time; yields each as landed, in the order given.

    Of each listing at most `pages_side_by_side` pages are asked for at once.

    Raises LandingError when the landing cannot be written; what was landed before stays and is loaded later.
    """

    def observe(listing: Listing) -> tuple[LandedFile, Observation]:
        return observe_listing(
            listing,
            client,
            landing,
            sync_id=sync_id,
            now=now,
            page_size=page_size,
            pages_side_by_side=pages_side_by_side,
        )

    sweep(landing)
    with ThreadPoolExecutor(max_workers=concurrency, thread_name_prefix="observe") as pool:
        yield from pool.map(observe, listings)


def observe_listing(
    listing: Listing,
    client: ShareClient,
    landing: Path,
    *,
    sync_id: str,
    now: Now,
    page_size: int = 1000,
    pages_side_by_side: int = 1,
) -> tuple[LandedFile, Observation]:
    """Walk one listing and land it. A listing that fails is an observation too: status `failed`, nothing proven."""
    observed_at, sent_before = now(), client.requests_sent(listing)
    with LandingWriter(landing, listing) as writer:
        pages = 0

        def ask(offset: int, limit: int, *, descending: bool = False) -> tuple[Page, list[Row]]:
            reply = client.page(listing, offset, limit, descending=descending)
            return reply.page, _rows(reply.records)  # the records themselves would fill the memory

        def land(answer: tuple[Page, list[Row]]) -> list[Row]:
            nonlocal pages
            writer.add(answer[0])
            pages += 1
            return answer[1]

        def fetch(offset: int, limit: int, *, descending: bool = False) -> list[Row]:
            return land(ask(offset, limit, descending=descending))

        def fetch_many(offsets: Sequence[int], limit: int) -> Iterator[list[Row]]:
            with closing(side_by_side(lambda offset: ask(offset, limit), offsets, pages_side_by_side)) as answers:
                yield from map(land, answers)

        try:
            proof = walk(
                fetch,
                lambda: client.count(listing),
                limit=page_size,
                fetch_many=fetch_many if pages_side_by_side > 1 else None,
            )
            reason, code = proof.reason, ""
        except (ApiError, MalformedResponseError) as error:
            proof, reason = _FAILED, str(error)
            code = error.code if isinstance(error, ApiError) else ""
        observation = Observation(
            sync_id=sync_id,
            listing=listing,
            observed_at=observed_at,
            finished_at=now(),
            status=proof.status,
            may_close=proof.may_close,
            reason=reason,
            error_code=code,
            count_before=proof.count_before,
            count_after=proof.count_after,
            distinct_ids=len(proof.ids),
            pass_count=proof.pass_count,
            page_count=pages,
            request_count=client.requests_sent(listing) - sent_before,
            excluded_ids=proof.excluded_ids,
        )
        return writer.commit(observation), observation


def side_by_side(ask: Callable[[int], T], offsets: Sequence[int], width: int) -> Generator[T]:
    """The answers in the order of the offsets; at most `width` more are under way or wait to be taken.

    The first error of any ends it. Then, and when it is closed, no more is asked, and what is under way is waited for.
    """
    todo = iter(offsets)
    with ThreadPoolExecutor(width, thread_name_prefix="page") as pool:
        ahead = deque(pool.submit(ask, offset) for offset in islice(todo, width))
        try:
            while ahead:
                answer = _first(ahead)
                ahead.extend(pool.submit(ask, offset) for offset in islice(todo, 1))
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


def _rows(records: Sequence[Any]) -> list[Row]:
    pairs = ((each.get("id"), each.get("backup_id")) if isinstance(each, dict) else (None, None) for each in records)
    return [
        Row(share if type(share) is str and share else None, backup if type(backup) is str and backup else None)
        for share, backup in pairs
    ]


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
