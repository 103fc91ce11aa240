"""The paging algorithm: walk a listing that changes while it is read, and say what the walk proves. No I/O.

Two facts carry the proof.

1. A page is a run of consecutive rows of the list, in its order, at one instant. It shows every row that was alive then
   between its first and its last row. So if everything up to an *edge* has been shown, and the next page begins at or
   before the edge, everything up to that page's end has been shown: each stretch at its own instant, and a row that
   was alive throughout was alive at that instant. A page that begins beyond the edge proves nothing (rows before it
   vanished and pulled it forward): step back and ask again.
2. A page in descending order begins at the top of the list: it shows everything from its last row upwards. When it
   reaches down to the edge, nothing can be missing, however short the pages were cut. A short page is never the end.

Neither fact needs the offset to mean anything, the page size to be constant, or the list to stand still. What they need
is an order: by share id, or by backup id (the API does not say which `id` it sorts by), where the shares of one backup
may come in any order and so the groups at both ends of a page count as cut. The order is watched, not assumed: a walk
is *sound* only if it is proven under every order that no page has contradicted.

A third fact needs no order. Of all rows received before a count and of all rows received after it, those in both were
alive when it was taken (share ids are not reused). If they are as many as the count says, they are the list at that
instant: the status is `exact`.

Not here: requests and their failures (client.py), what is done with the proof (extract.py, history.py).
"""

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple, Protocol

from pipelines.observation import ProofStatus

END_ROWS = 20
"""Rows asked from the top of the list: more than the ten recipients that one backup can have (api-facts 1.6)."""
MAX_STALLS = 4
"""Pages in a row that show nothing new although more is known to be there."""
FLAWED_PASSES = 4
"""Passes after which a list that never gave a sound one is given up."""
UNCOUNTED_PAGES = 10_000
"""Page budget where the service has no count that could say how many to expect."""


class Row(NamedTuple):
    """What the walk sees of a record; None where it cannot be read (the record is quarantined later)."""

    share_id: str | None
    backup_id: str | None


class Fetch(Protocol):
    """One page of the list; ascending order by default."""

    def __call__(self, offset: int, limit: int, *, descending: bool = False) -> Sequence[Row]: ...


Count = Callable[[], int | None]
"""Rows in the list by the service's own count; None where it has none."""


@dataclass(frozen=True)
class Walk:
    """What a walk saw and proves.

    `ids` is the state to publish if `status` is proven; `excluded_ids` were seen but are not part of it.
    `may_close`: a share that is not in `ids` was proven absent. `reason` says what stands against more.
    """

    status: ProofStatus
    may_close: bool
    reason: str
    ids: frozenset[str]
    excluded_ids: tuple[str, ...]
    count_before: int | None
    count_after: int | None
    pass_count: int


def walk(fetch: Fetch, count: Count, *, limit: int = 1000, max_passes: int = 12) -> Walk:
    """Walk the list until something is proven, at most `max_passes` times. Exceptions of `fetch` and `count` pass.

    One pass is enough for a list that stands still. One that moves is walked again until a pass finds it quiet or a
    certificate holds; change that would explain a wrong count is no proof, for it could also hide a hidden row.
    """
    counts = [count()]
    passes: list[_Pass] = []
    while len(passes) < max_passes:
        passes.append(_walk_once(fetch, limit, counts[-1]))
        counts.append(count())
        proof = _proof(passes, counts)
        if proof is not None:
            return proof
        if _is_hopeless(passes, counts):
            break
    return _walk(passes, counts, ProofStatus.INCOMPLETE, passes[-1].ids, _objection(passes, counts))


# --- what the passes prove -----------------------------------------------------------------------------------------


def _proof(passes: list["_Pass"], counts: list[int | None]) -> Walk | None:
    """The proof that ends the walk, if there is one already."""
    last = passes[-1]
    if last.is_sound and counts[-1] is None:
        return _walk(passes, counts, ProofStatus.COVERED, last.ids, "the service has no count to compare with")
    if last.is_sound and counts[-2] == counts[-1]:
        uncounted = (counts[-1] or 0) - len(last.ids)
        if uncounted == 0 and not last.unreadable:
            return _walk(passes, counts, ProofStatus.COVERED, last.ids, "", may_close=True)
        if 0 <= uncounted <= last.unreadable:
            reason = "a record without readable id was met: nothing is known to be absent"
            return _walk(passes, counts, ProofStatus.COVERED, last.ids, reason)
    for instant in range(1, len(passes)):
        before, after = _all_ids(passes[:instant]), _all_ids(passes[instant:])
        # An empty answer to a list that showed rows is a mishap more likely than a list that emptied and filled.
        if len(before & after) == counts[instant] and (counts[instant] or not before | after):
            return _walk(passes, counts, ProofStatus.EXACT, before & after, "", may_close=True)
    return None


def _is_hopeless(passes: list["_Pass"], counts: list[int | None]) -> bool:
    """Whether walking again cannot prove more."""
    if passes[-1].is_endless or _stands_still(passes, counts):
        return True
    # A list that only moves too fast gives sound passes; without any, or without a count, there is little to hope for.
    return len(passes) == FLAWED_PASSES and (counts[-1] is None or not any(one.is_sound for one in passes))


def _stands_still(passes: list["_Pass"], counts: list[int | None]) -> bool:
    return len(passes) > 1 and passes[-1].ids == passes[-2].ids and len(set(counts[-3:])) == 1


def _objection(passes: list["_Pass"], counts: list[int | None]) -> str:
    last = passes[-1]
    if last.flaw:
        return last.flaw
    read = f"{len(last.ids)} shares were read, the service counts {counts[-1]}"
    if _stands_still(passes, counts):
        return f"{read}, and nothing moves: the listing hides shares, or the count is wrong"
    return f"{read}: in {len(passes)} passes the listing never stood still; run again at a quieter hour"


def _all_ids(passes: list["_Pass"]) -> set[str]:
    return set().union(*(seen.ids for seen in passes))


def _walk(
    passes: list["_Pass"],
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


# --- one pass ------------------------------------------------------------------------------------------------------

Mark = tuple[str, int]
"""A place in the list: (key, 0) is just before the rows of that key, (key, 1) just behind them."""


@dataclass(frozen=True)
class _Order:
    """An order that the list may have. `column` of Row is its key; `ties`: several rows can have the same key."""

    column: int
    ties: bool

    def agrees(self, rows: Sequence[Row], *, descending: bool = False) -> bool:
        keys = self._keys(rows)
        pairs = pairwise(reversed(keys) if descending else keys)
        return all(low <= high if self.ties else low < high for low, high in pairs)

    def begins(self, rows: Sequence[Row]) -> Mark:
        """From where on an ascending page shows everything; with ties its first group may be cut."""
        return (self._keys(rows)[0], 1 if self.ties else 0)

    def ends(self, rows: Sequence[Row]) -> Mark:
        """Up to where it shows everything; with ties its last group may be cut."""
        return (self._keys(rows)[-1], 0 if self.ties else 1)

    def reaches_down_to(self, rows: Sequence[Row]) -> Mark:
        """From where on a descending page shows everything."""
        return (self._keys(rows)[-1], 1 if self.ties else 0)

    def overlap(self, rows: Sequence[Row]) -> int:
        """Position in the page where the next page should begin: the last row before the page's end mark."""
        last = self._keys(rows)[-1]
        candidates = [
            at for at, row in enumerate(rows) if row[self.column] and (not self.ties or row[self.column] != last)
        ]
        return candidates[-1] if candidates else 0

    def _keys(self, rows: Sequence[Row]) -> list[str]:
        return [key for row in rows if (key := row[self.column]) is not None]


_ORDERS = (_Order(column=0, ties=False), _Order(column=1, ties=True))
_START: Mark = ("", 0)


@dataclass
class _Pass:
    """One way through the list: what was seen, and up to which edge under each order that is still possible."""

    ids: set[str] = field(default_factory=set)
    unreadable_at: set[int] = field(default_factory=set)
    pages: int = 0
    largest: int = 0
    edges: dict[_Order, Mark] = field(default_factory=lambda: dict.fromkeys(_ORDERS, _START))
    is_sound: bool = False
    is_endless: bool = False
    flaw: str = ""

    @property
    def unreadable(self) -> int:
        """Rows without readable id, by their place, as pages overlap."""
        return len(self.unreadable_at)

    def see(self, rows: Sequence[Row], offset: int) -> None:
        self.ids |= {row.share_id for row in rows if row.share_id is not None}
        self.unreadable_at |= {offset + at for at, row in enumerate(rows) if row.share_id is None}
        self.largest = max(self.largest, len(rows))
        self.pages += 1

    def drop_contradicted_orders(self, rows: Sequence[Row]) -> None:
        self.edges = {order: edge for order, edge in self.edges.items() if order.agrees(rows)}

    def joins(self, rows: Sequence[Row]) -> bool:
        """Whether the page begins at or before the edge."""
        return all(order.begins(rows) <= edge for order, edge in self.edges.items())

    def advance(self, rows: Sequence[Row]) -> bool:
        """Move the edges to the end of the page; whether any moved."""
        before = dict(self.edges)
        self.edges = {order: max(edge, order.ends(rows)) for order, edge in self.edges.items()}
        return self.edges != before

    def is_closed_by(self, top: Sequence[Row]) -> bool:
        """Whether a descending page from the top of the list reaches down to the edge."""
        readable = _readable(top)
        if not readable or not all(order.agrees(readable, descending=True) for order in self.edges):
            return False
        # A single row has no direction: if sort_dir were ignored it would be the bottom of the list.
        if len(top) == 1 and readable[0].share_id != max(self.ids):
            return False
        return all(order.reaches_down_to(readable) <= edge for order, edge in self.edges.items())


def _walk_once(fetch: Fetch, limit: int, expected: int | None) -> _Pass:
    seen = _Pass()
    offset = step = stalls = 0
    while seen.pages < _budget(expected, seen.largest):
        rows = fetch(offset, limit)
        seen.see(rows, offset)
        if len(rows) > limit:
            seen.is_endless = True
            return _flawed(seen, f"a page of {len(rows)} shares came where {limit} were asked for")
        if not rows and offset == 0:
            return _empty(seen, fetch, limit, expected)
        readable = _readable(rows)
        seen.drop_contradicted_orders(readable)
        if not seen.edges:
            return _read_on(seen, fetch, limit, expected, offset + len(rows))
        if offset > 0 and not (readable and seen.joins(readable)):
            step = max(2 * step, limit // 10, 1)
            offset = max(0, offset - step)
            continue
        if not readable:
            return _flawed(seen, "a page holds no record with a readable id")
        step = 0
        moved = seen.advance(readable)
        if not moved or _may_be_the_end(seen, rows, limit, expected):
            top = fetch(0, min(END_ROWS, limit), descending=True)
            if seen.is_closed_by(top) or _is_whole(seen, rows, top, fetch, limit, expected):
                seen.ids |= {row.share_id for row in top if row.share_id is not None}
                seen.is_sound = True
                return seen
        stalls = 0 if moved else stalls + 1
        if stalls == MAX_STALLS:
            return _flawed(
                seen,
                "pages bring nothing new, yet there is more: the service ignores offset or cuts pages too short",
            )
        offset += min(order.overlap(rows) for order in seen.edges)
    return _endless(seen)


def _empty(seen: _Pass, fetch: Fetch, limit: int, expected: int | None) -> _Pass:
    """An empty first page shows the whole list, if it is no mishap: the count or the other end must say so too."""
    if expected == 0 or (expected is None and not fetch(0, min(END_ROWS, limit), descending=True)):
        seen.is_sound = True
        return seen
    return _flawed(seen, f"the first page is empty, the service counts {expected}")


def _is_whole(
    seen: _Pass, rows: Sequence[Row], top: Sequence[Row], fetch: Fetch, limit: int, expected: int | None
) -> bool:
    """Whether the list was seen whole from both ends: the shares of one backup, where an order by backup has no edge.

    It takes a service that cuts pages to fewer rows than a backup has recipients to deceive this and the count.
    """
    if seen.pages > 1 or set(rows) != set(top):
        return False
    return expected == len(seen.ids) or not fetch(len(rows), limit)


def _may_be_the_end(seen: _Pass, rows: Sequence[Row], limit: int, expected: int | None) -> bool:
    if len(rows) < seen.largest or (expected is not None and len(seen.ids) >= expected):
        return True
    return expected is None and seen.pages == 1 and len(rows) < limit


def _budget(expected: int | None, largest: int) -> int:
    if expected is None:
        return UNCOUNTED_PAGES
    return 3 * (expected // max(largest - 1, 1)) + 60


def _read_on(seen: _Pass, fetch: Fetch, limit: int, expected: int | None, offset: int) -> _Pass:
    """No order to hold on to: read on to the end all the same, the rows may make a certificate."""
    while seen.pages < _budget(expected, seen.largest):
        rows = fetch(offset, limit)
        known = len(seen.ids)
        seen.see(rows, offset)
        offset += len(rows)
        if not rows or len(seen.ids) == known:
            return _flawed(seen, "the shares are sorted neither by share nor by backup: the service ignores sort_key")
    return _endless(seen)


def _endless(seen: _Pass) -> _Pass:
    seen.is_endless = True
    return _flawed(seen, f"the listing did not end within {seen.pages} pages")


def _flawed(seen: _Pass, flaw: str) -> _Pass:
    seen.flaw = flaw
    return seen


def _readable(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row.share_id is not None and row.backup_id is not None]
