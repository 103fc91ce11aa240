"""One pass through a listing that moves while it is read: which page to ask next, and up to where all was seen. No I/O.

Two facts carry it.

1. A page is a run of consecutive rows of the list, in its order, at one instant. It shows every row that was alive then
   between its first and its last row. So if everything up to an *edge* has been shown, and the next page begins at or
   before the edge, everything up to that page's end has been shown: each stretch at its own instant, and a row that
   was alive throughout was alive at that instant. A page that begins beyond the edge proves nothing (rows before it
   vanished and pulled it forward): step back and ask again.
2. A page in descending order begins at the top of the list: it shows everything from its last row upwards. When it
   reaches down to the edge, nothing can be missing, however short the pages were cut. A short page is never the end.
   This is how a pass ends: with the last stretch, as far as the count tells it, read from the top.

Neither fact needs the offset to mean anything, the page size to be constant, or the list to stand still. What they need
is an order: by share id, or by backup id (the API does not say which `id` it sorts by), where the shares of one backup
may come in any order and so the groups at both ends of a page count as cut. The order is watched, not assumed: a pass
is *sound* only if it is proven under every order that no page has contradicted.

Nor do they need the pages to be asked for in their order. A long listing is planned ahead with the count, pages are
asked for side by side, each overlapping its neighbour, and taken in the order of the list: one that joins what is known
moves the edge, one that does not leaves a hole, which is filled step by step until it joins.

Not here: the orders (rows.py), what passes prove together with the counts (walk.py), requests (client.py).
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import count
from typing import NamedTuple, Protocol

from pipelines.rows import ORDERS, START, Mark, Order, Row, with_ids

END_ROWS = 20
"""Rows asked from the top of the list beyond those to come; a backup has ten recipients at most (api-facts 1.6)."""
MAX_STALLS = 4
"""Pages in a row that show nothing new although more is known to be there."""
UNCOUNTED_PAGES = 10_000
"""Page budget where the service has no count that could say how many to expect."""


class Fetch(Protocol):
    """One page of the list; ascending order by default."""

    def __call__(self, offset: int, limit: int, *, descending: bool = False) -> Sequence[Row]: ...


FetchMany = Callable[[Sequence[int], int], Iterator[Sequence[Row]]]
"""The pages at these offsets with this limit, in this order. A few may be asked for ahead of the one that is taken; a
generator is closed when the walk needs no more of them, and always before the next count."""
Follow = Callable[[], Sequence[Row] | None]
"""The page that the last answer linked to; None where it linked to none."""


# --- one pass ------------------------------------------------------------------------------------------------------


class _FlawError(Exception):
    """Why a pass is not sound, and what can be done about it."""


class _StalledError(_FlawError):
    """Offsets lead no further. Links might."""


class _HopelessError(_FlawError):
    """Another pass would end no better."""


class Service(NamedTuple):
    """The list as it can be asked for, `limit` rows at a time."""

    fetch: Fetch
    limit: int
    fetch_many: FetchMany | None
    follow: Follow | None


@dataclass
class Pass:
    """One way through the list: what was seen, and up to which edge under each order that is still possible."""

    service: Service
    expected: int | None
    ids: set[str] = field(default_factory=set)
    unreadable_at: set[int] = field(default_factory=set)
    pages: int = 0
    largest: int = 0
    edges: dict[Order, Mark] = field(default_factory=lambda: dict.fromkeys(ORDERS, START))
    offset: int = 0
    """Where the next page should begin."""
    step: int = 0
    """Rows that the last attempt was stepped back."""
    is_sound: bool = False
    is_hopeless: bool = False
    by_links: bool = False
    flaw: str = ""

    @property
    def unreadable(self) -> int:
        """Rows without readable id, by their place, as pages overlap."""
        return len(self.unreadable_at)

    def page(self, offset: int) -> Sequence[Row]:
        self.spend_a_page()
        rows = self.service.fetch(offset, self.service.limit)
        self.see(rows, offset, self.service.limit)
        return rows

    def top(self, to_come: int = 0) -> Sequence[Row]:
        """The last rows of the list, in descending order: those to come, and some that are known."""
        rows = self.service.fetch(0, min(END_ROWS + to_come, self.service.limit), descending=True)
        last = (self.expected or 0) - 1
        self.note(rows, (last - at for at in range(len(rows))))
        return rows

    def spend_a_page(self) -> None:
        """The page budget: what the count lets expect three times over, and some for very small listings."""
        budget = UNCOUNTED_PAGES
        if self.expected is not None:
            budget = 3 * (self.expected // max(self.largest - 1, 1)) + 60
        if self.pages >= budget:
            raise _HopelessError(
                f"the listing did not end within {self.pages} pages: the service makes pages up or cuts them "
                "too short; report it to the provider"
            )
        self.pages += 1

    def note(self, rows: Sequence[Row], places: Iterable[int]) -> None:
        self.ids |= {row.share_id for row in rows if row.share_id is not None}
        self.unreadable_at |= {at for at, row in zip(places, rows, strict=False) if row.share_id is None}

    def see(self, rows: Sequence[Row], offset: int, limit: int) -> None:
        """Take note of an ascending page, and give up the orders that it contradicts."""
        self.note(rows, count(offset))
        self.largest = max(self.largest, len(rows))
        if len(rows) > limit:
            raise _HopelessError(
                f"a page of {len(rows)} shares came where {limit} were asked for: the service ignores limit; report it "
                "to the provider"
            )
        readable = with_ids(rows)
        self.edges = {order: edge for order, edge in self.edges.items() if order.agrees(readable)}

    def joins(self, rows: Sequence[Row]) -> bool:
        """Whether the page begins at or before the edge."""
        readable = with_ids(rows)
        return bool(readable) and all(order.begins(readable) <= edge for order, edge in self.edges.items())

    def advance(self, rows: Sequence[Row]) -> bool:
        """Move the edges to the end of a page that joins; whether any moved."""
        before, readable = dict(self.edges), with_ids(rows)
        self.edges = {order: max(edge, order.ends(readable)) for order, edge in self.edges.items()}
        self.step = 0
        return self.edges != before

    def step_back(self) -> None:
        """Begin earlier: rows before the offset have vanished."""
        self.step = max(2 * self.step, self.service.limit // 10, 1)
        self.offset = max(0, self.offset - self.step)

    def may_be_the_end(self, rows: Sequence[Row]) -> bool:
        """Whether to ask for the top of the list: after a short page, or when it can show all that is to come."""
        if self.expected is None:
            return len(rows) < (self.largest if self.pages > 1 else self.service.limit)
        return len(rows) < self.largest or self.expected - len(self.ids) <= self.reach(rows)

    def reach(self, rows: Sequence[Row]) -> int:
        """Rows that a page from the top can show beyond those that it must share with this page."""
        return max(0, self.largest - self.overlap_rows(rows))

    def overlap_rows(self, rows: Sequence[Row]) -> int:
        return max(order.overlap_rows(with_ids(rows)) for order in self.edges)

    def offsets_to_come(self, rows: Sequence[Row]) -> range:
        """Where pages of this size should begin to reach the end, as few as can be; the rows to spare overlap.

        None where pages would mostly repeat their neighbours. The last stretch is left to the top.
        """
        size, overlap = len(rows), self.overlap_rows(rows)
        to_come = (self.expected or 0) - self.offset - self.reach(rows)
        pages = -((overlap - to_come) // (size - overlap)) if 2 * overlap <= size else 0
        if pages < 2:
            return range(0)
        spare = (pages * size - to_come) // (pages - 1)
        stride = size - min(spare, max(overlap, END_ROWS))
        return range(self.offset, self.offset + pages * stride, stride)

    def is_closed_by(self, top: Sequence[Row]) -> bool:
        """Whether a descending page from the top of the list reaches down to the edge."""
        readable = with_ids(top)
        if not readable or not all(order.agrees(readable, descending=True) for order in self.edges):
            return False
        # A single row has no direction: if sort_dir were ignored it would be the bottom of the list.
        if len(top) == 1 and readable[0].share_id != max(self.ids):
            return False
        return all(order.reaches_down_to(readable) <= edge for order, edge in self.edges.items())


def walk_once(service: Service, expected: int | None, *, by_links: bool) -> Pass:
    seen = Pass(service, expected, by_links=by_links)
    try:
        if by_links:
            _read_by_links(seen)
        else:
            _read_by_offset(seen)
    except _FlawError as flaw:
        seen.flaw = str(flaw)
        seen.is_hopeless = isinstance(flaw, _HopelessError)
    return seen


def _read_by_offset(seen: Pass) -> None:
    try:
        _read_to_the_top(seen)
    except _StalledError:
        _read_by_links(seen)
        raise


def _read_to_the_top(seen: Pass) -> None:
    """Move the edge up page by page, until the top of the list reaches down to it."""
    stalls = 0
    with closing(_Ahead(seen)) as ahead:
        while True:
            planned = ahead.joining_page()
            at, rows = planned or (seen.offset, seen.page(seen.offset))
            if not rows and at == 0:
                return _check_emptiness(seen)
            if not seen.edges:
                return _read_without_order(seen, seen.offset if planned else at + len(rows))
            if at > 0 and not seen.joins(rows):
                seen.step_back()
                continue
            if not with_ids(rows):
                raise _FlawError("no record of a page has a readable id: look at the raw pages in LANDING_DIR")
            moved = seen.advance(rows)
            if planned and not moved:
                ahead.note_idle_page()
                continue
            if (not moved or (not ahead.left and seen.may_be_the_end(rows))) and _is_at_the_top(seen, rows):
                seen.is_sound = True
                return None
            stalls = 0 if moved else stalls + 1
            if stalls == MAX_STALLS:
                raise _StalledError(
                    "pages bring nothing new, yet there is more: the service ignores offset or sort_dir, or cuts pages "
                    "too short; raise VBS_PAGE_SIZE, and if it stays so report it to the provider"
                )
            seen.offset = at + min(order.overlap(rows) for order in seen.edges)
            if moved:
                ahead.plan(rows)


def _is_at_the_top(seen: Pass, rows: Sequence[Row]) -> bool:
    to_come = (seen.expected or 0) - len(seen.ids)
    top = seen.top(to_come if 0 < to_come <= seen.reach(rows) else 0)
    return seen.is_closed_by(top) or _is_whole(seen, rows, top)


def _is_whole(seen: Pass, rows: Sequence[Row], top: Sequence[Row]) -> bool:
    """Whether the list was seen whole from both ends: the shares of one backup, where an order by backup has no edge.

    It takes a service that cuts pages to fewer rows than a backup has recipients to deceive this and the count.
    """
    if seen.pages > 1 or set(rows) != set(top):
        return False
    if seen.expected == len(seen.ids):
        return True
    rest = seen.service.fetch(len(rows), seen.service.limit)
    seen.note(rest, count(len(rows)))
    return not rest


def _check_emptiness(seen: Pass) -> None:
    """An empty first page shows the whole list, if it is no mishap: the count or the other end must say so too."""
    if seen.expected == 0 or (seen.expected is None and not seen.top()):
        seen.is_sound = True
        return
    other = "the list has a last one" if seen.expected is None else f"the service counts {seen.expected}"
    raise _FlawError(f"the first page is empty, {other}: run again, and if it stays so report it to the provider")


def _read_without_order(seen: Pass, offset: int) -> None:
    """No order to hold on to: read on to the end all the same, the rows may make a certificate."""
    flaw = (
        "the shares are sorted neither by share nor by backup, the service ignores sort_key, and the count did not "
        "confirm what was read: run again at a quieter hour"
    )
    while True:
        known = len(seen.ids)
        rows = seen.page(offset)
        offset += len(rows)
        if not rows:
            raise _FlawError(flaw)
        if len(seen.ids) == known:
            raise _StalledError(flaw)


def _read_by_links(seen: Pass) -> None:
    """Follow the links, if there are any, from the first page to the last. Raises _FlawError after any.

    That proves no order, but the rows may make a certificate.
    """
    if seen.service.follow is None:
        return
    seen.page(0)
    idle = 0
    while rows := seen.service.follow():
        seen.by_links = True
        known = len(seen.ids)
        seen.spend_a_page()
        seen.note(rows, count(seen.pages * seen.service.limit))
        idle = 0 if len(seen.ids) > known else idle + 1
        if idle == MAX_STALLS:
            raise _FlawError(
                "the links to the next page lead round in circles, and offset is ignored: report it to the provider"
            )
    if seen.by_links:
        raise _FlawError(
            f"{len(seen.ids)} shares were read by links, as the service ignores offset, and {seen.expected} were "
            "counted: only a count that agrees twice could prove them; run again at a quieter hour"
        )


# --- pages side by side --------------------------------------------------------------------------------------------


class _Ahead:
    """Pages that were planned with the count. They are taken in the order of the list; one is held over a hole."""

    def __init__(self, seen: Pass) -> None:
        self.left = 0
        """Planned pages that were not taken yet."""
        self._seen = seen
        self._offsets: Iterator[int] = iter(())
        self._pages: Iterator[Sequence[Row]] = iter(())
        self._size = self._last_size = self._idle = 0
        self._held: tuple[int, Sequence[Row]] | None = None
        self._is_new = False

    def plan(self, rows: Sequence[Row]) -> None:
        """After a page that moved the edge: ask for what is to come, if its size can be relied on for several more."""
        seen, size, last_size = self._seen, len(rows), self._last_size
        self._idle, self._last_size = 0, size
        if self.left or seen.service.fetch_many is None or size not in (seen.service.limit, last_size):
            return
        offsets = seen.offsets_to_come(rows)
        if len(offsets) > 1:
            self.close()
            self.left, self._size = len(offsets), size
            self._offsets, self._pages = iter(offsets), seen.service.fetch_many(offsets, size)

    def joining_page(self) -> tuple[int, Sequence[Row]] | None:
        """Offset and rows of the next page that joins. None at a hole, which is then to be filled, and at the end."""
        while (page := self._head()) is not None:
            at, rows = page
            was_new, self._is_new = self._is_new, False
            if self._seen.joins(rows):
                self._drop()
                return page
            if at > self._seen.offset:
                return None
            if was_new:
                self._seen.step_back()
                return None
            self._drop()  # overtaken by what filled the hole
        return None

    def note_idle_page(self) -> None:
        """A page that joined and showed nothing new. After several, the plan is not worth its requests."""
        self._idle += 1
        if self._idle == MAX_STALLS:
            self.close()

    def close(self) -> None:
        if isinstance(self._pages, Generator):
            self._pages.close()
        self.left, self._held = 0, None

    def _head(self) -> tuple[int, Sequence[Row]] | None:
        if self._held is None and self.left:
            self._seen.spend_a_page()
            at, rows = next(self._offsets), next(self._pages)
            self._held, self._is_new = (at, rows), True
            self._seen.see(rows, at, self._size)
        return self._held

    def _drop(self) -> None:
        self._held = None
        self.left -= 1
