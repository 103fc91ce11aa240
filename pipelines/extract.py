"""Verb 1: observe. Walk every listing, land what was received, and say how much it proves.

Listings are observed side by side; one that fails is landed as failed, with the reason, and never disturbs another.
Not here: the paging algorithm (walk.py), HTTP (client.py), the file format (landing.py).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

from pipelines.client import ShareClient
from pipelines.errors import ApiError, MalformedResponseError
from pipelines.landing import LandedFile, LandingWriter, sweep
from pipelines.observation import Listing, Observation, ProofStatus
from pipelines.walk import Row, Walk, walk

Now = Callable[[], datetime]


def observe_listings(
    clients: Mapping[Listing, ShareClient],
    landing: Path,
    *,
    sync_id: str,
    now: Now,
    page_size: int = 1000,
    concurrency: int = 4,
) -> Iterator[tuple[LandedFile, Observation]]:
    """Observe all listings, at most `concurrency` at a time; yields each as landed, in the order given.

    `clients` names the listings, each with the client that asks about it: every account has one of its own.
    Raises LandingError when the landing cannot be written; what was landed before stays and is loaded later.
    """

    def observe(listing: Listing) -> tuple[LandedFile, Observation]:
        return observe_listing(listing, clients[listing], landing, sync_id=sync_id, now=now, page_size=page_size)

    sweep(landing)
    with ThreadPoolExecutor(max_workers=concurrency, thread_name_prefix="observe") as pool:
        yield from pool.map(observe, clients)


def observe_listing(
    listing: Listing, client: ShareClient, landing: Path, *, sync_id: str, now: Now, page_size: int = 1000
) -> tuple[LandedFile, Observation]:
    """Walk one listing and land it. A listing that fails is an observation too: status `failed`, nothing proven."""
    observed_at, sent_before = now(), client.requests_sent(listing)
    with LandingWriter(landing, listing) as writer:
        pages = 0

        def fetch(offset: int, limit: int, *, descending: bool = False) -> list[Row]:
            nonlocal pages
            reply = client.page(listing, offset, limit, descending=descending)
            writer.add(reply.page)
            pages += 1
            return _rows(reply.records)

        try:
            proof = walk(fetch, lambda: client.count(listing), limit=page_size)
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
