"""The paging algorithm: walk a listing that changes while it is read, and say what the walk proves. No I/O.

A walk is one or more passes (passes.py), with a count before, between and after them. What ends it:

- A sound pass, and counts before and after it that agree with what it read: nothing that was alive throughout is
  missing. The status is `covered`.
- A fact that needs no order. Of all rows received before a count and of all rows received after it, those in both were
  alive when it was taken (share ids are not reused). If they are as many as the count says, they are the list at that
  instant: the status is `exact`. So rows may even come by the links of a service that ignores `offset`.

Not here: how one pass reads the pages (passes.py), requests and their failures (client.py), threads and what is done
with the proof (extract.py, history.py).
"""

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from pipelines.observation import ProofStatus
from pipelines.passes import Fetch, FetchMany, Follow, Pass, Service, walk_once
from pipelines.rows import Row

__all__ = ["Count", "Fetch", "FetchMany", "Follow", "Row", "Walk", "walk"]

FLAWED_PASSES = 4
"""Passes after which a list that never gave a sound one is given up."""

Count = Callable[[], int | None]
"""Rows in the list by the service's own count; None where it has none."""


@dataclass(frozen=True)
class Walk:
    """What a walk saw and proves.

    `ids` is the state to publish if `status` is proven; `excluded_ids` were seen but are not part of it.
    `may_close`: no share that is not in `ids` was alive during the whole walk. `reason` says what stands against more.
    """

    status: ProofStatus
    may_close: bool
    reason: str
    ids: frozenset[str]
    excluded_ids: tuple[str, ...]
    count_before: int | None
    count_after: int | None
    pass_count: int


def walk(
    fetch: Fetch,
    count: Count,
    *,
    limit: int = 1000,
    max_passes: int = 12,
    fetch_many: FetchMany | None = None,
    follow: Follow | None = None,
) -> Walk:
    """Walk the list until something is proven, at most `max_passes` times. Exceptions of the callables pass.

    One pass is enough for a list that stands still. One that moves is walked again until a pass finds it quiet or a
    certificate holds; change that would explain a wrong count is no proof, for it could also hide a hidden row.
    `fetch_many` makes long listings quicker, `follow` reads those of a service that ignores `offset`.
    """
    service = Service(fetch, limit, fetch_many, follow)
    counts = [count()]
    passes: list[Pass] = []
    while len(passes) < max_passes:
        passes.append(walk_once(service, counts[-1], by_links=bool(passes) and passes[-1].by_links))
        counts.append(count())
        proof = _proof(passes, counts)
        if proof is not None:
            return proof
        if _is_hopeless(passes, counts):
            break
    return _walk(passes, counts, ProofStatus.INCOMPLETE, passes[-1].ids, _objection(passes, counts))


# --- what the passes prove -----------------------------------------------------------------------------------------

_UNREADABLE = "a record without readable id was met: nothing is known to be absent"


def _proof(passes: list[Pass], counts: list[int | None]) -> Walk | None:
    """The proof that ends the walk, if there is one already."""
    last = passes[-1]
    if last.is_sound and counts[-1] is None:
        return _uncounted_proof(passes, counts)
    if last.is_sound and counts[-2] == counts[-1]:
        uncounted = (counts[-1] or 0) - len(last.ids)
        if uncounted == 0 and not last.unreadable:
            return _walk(passes, counts, ProofStatus.COVERED, last.ids, "", may_close=True)
        if 0 <= uncounted <= last.unreadable:
            return _walk(passes, counts, ProofStatus.COVERED, last.ids, _UNREADABLE)
    for instant in range(1, len(passes)):
        before, after = _all_ids(passes[:instant]), _all_ids(passes[instant:])
        # An empty answer to a list that showed rows is a mishap more likely than a list that emptied and filled.
        if len(before & after) == counts[instant] and (counts[instant] or not before | after):
            return _walk(passes, counts, ProofStatus.EXACT, before & after, "", may_close=True)
    return None


def _uncounted_proof(passes: list[Pass], counts: list[int | None]) -> Walk:
    """A sound pass needs no count; that a whole list went away is more than it is trusted with alone."""
    last = passes[-1]
    reason = "the service has no count to compare with"
    if last.unreadable:
        reason = f"{reason}, and {_UNREADABLE}"
    elif not last.ids:
        reason = f"{reason}: that the listing is empty closes nothing"
    may_close = bool(last.ids) and not last.unreadable
    return _walk(passes, counts, ProofStatus.COVERED, last.ids, reason, may_close=may_close)


def _is_hopeless(passes: list[Pass], counts: list[int | None]) -> bool:
    """Whether walking again cannot prove more."""
    if passes[-1].is_hopeless or _stands_still(passes, counts):
        return True
    # A list that only moves too fast gives sound passes; without any, or without a count, there is little to hope for.
    return len(passes) == FLAWED_PASSES and (counts[-1] is None or not any(one.is_sound for one in passes))


def _stands_still(passes: list[Pass], counts: list[int | None]) -> bool:
    return len(passes) > 1 and passes[-1].ids == passes[-2].ids and len(set(counts[-3:])) == 1


def _objection(passes: list[Pass], counts: list[int | None]) -> str:
    """Why nothing is proven, and what the operator can do about it."""
    last = passes[-1]
    if last.flaw:
        return last.flaw
    read = f"{len(last.ids)} shares were read, the service counts {counts[-1]}"
    if _stands_still(passes, counts):
        return (
            f"{read}, and nothing moves: the listing hides shares, or the count is wrong; report both figures to the "
            "provider"
        )
    return f"{read}: in {len(passes)} passes the listing never stood still; run again at a quieter hour"


def _all_ids(passes: list[Pass]) -> set[str]:
    return set().union(*(seen.ids for seen in passes))


def _walk(
    passes: list[Pass],
    counts: list[int | None],
    status: ProofStatus,
    ids: AbstractSet[str],
    reason: str,
    *,
    may_close: bool = False,
) -> Walk:
    seen = _all_ids(passes)
    return Walk(
        status=status,
        may_close=may_close,
        reason=reason,
        ids=frozenset(ids),
        excluded_ids=tuple(sorted(seen - ids)),
        count_before=counts[0],
        count_after=counts[-1],
        pass_count=len(passes),
    )
