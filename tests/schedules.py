"""Every schedule of changes on a listing of a few rows, as fast as can be.

A schedule says before which request which row comes or goes. All of them are enumerated by depth first. A walk is a
function of the answers it gets: so each run of answers is walked once, and schedules whose changes nobody saw share it.
Not here: what a walk must prove (test_walk.py), listings of any size (model_listing.py).
"""

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import groupby, permutations
from operator import attrgetter
from typing import NamedTuple
from zlib import crc32

from pipelines.observation import ProofStatus
from pipelines.walk import Row, Walk, walk

Rows = tuple[Row, ...]
Request = tuple[int, int, bool]
"""Offset, limit, descending. COUNT stands for the other kind."""
COUNT: Request = (-1, 0, False)
Answer = Rows | int


class Tiny(NamedTuple):
    """A kind of tiny listing: every schedule of `depth` changes is tried on it.

    `counts`: how often the service has a count. Where it has none after a pass, a sound pass is proven at once, so
    that no count can hide an unsound one; one before the pass is what pages are planned with.
    `arrival`: pages are asked for side by side, so many at once, and reach the service in this order.
    """

    order: str
    size: int
    limit: int
    clamp: int
    depth: int = 2
    counts: int = 0
    arrival: tuple[int, ...] = ()
    salt: int = 0

    def walk(self, ask: Callable[[Request], Answer], on_plan: Callable[[], None] = lambda: None) -> Walk:
        counted = 0

        def fetch(offset: int, limit: int, *, descending: bool = False) -> Rows:
            rows = ask((offset, limit, descending))
            assert isinstance(rows, tuple)
            return rows

        def count() -> int | None:
            nonlocal counted
            counted += 1
            answer = ask(COUNT) if counted <= self.counts else None
            assert not isinstance(answer, tuple)
            return answer

        def fetch_many(offsets: Sequence[int], limit: int) -> Iterator[Rows]:
            on_plan()
            width = len(self.arrival)
            for first in range(0, len(offsets), width):
                chunk = offsets[first : first + width]
                pages = {turn: fetch(chunk[turn], limit) for turn in self.arrival if turn < len(chunk)}
                yield from (pages[turn] for turn in range(len(chunk)))

        # With counts throughout, four passes are enough to be proven or given up.
        passes = 1 if self.counts < ALWAYS else 4
        return walk(fetch, count, limit=self.limit, max_passes=passes, fetch_many=fetch_many if self.arrival else None)


ALWAYS = 99


class Node:
    """Where a walk stands after some answers: what it asks next, or what it proved."""

    __slots__ = ("answer", "before", "depth", "next", "request", "result")

    def __init__(self, before: "Node | None" = None, answer: Answer | None = None) -> None:
        self.before, self.answer = before, answer
        self.depth: int = before.depth + 1 if before else 0
        self.request: Request | None = None
        self.result: Walk | None = None
        self.next: dict[Answer, Node] = {}

    def answers(self) -> list[Answer]:
        found, node = [], self
        while node.before is not None:
            assert node.answer is not None
            found.append(node.answer)
            node = node.before
        return found[::-1]


class State:
    """The rows of the list at one instant, and what may become of them. Share ids never come twice."""

    def __init__(self, kind: Tiny, rows: Rows, serial: int) -> None:
        self.kind, self.rows, self.serial = kind, rows, serial
        self.ids = frozenset(row.share_id for row in rows)
        self._answers: dict[tuple[Request, int], Answer] = {}
        self._changed: list[State] = []

    def changed(self) -> list["State"]:
        """By every change: first the deletions by rank, then the insertions."""
        if not self._changed:
            rows = self.rows
            less = [rows[:rank] + rows[rank + 1 :] for rank in range(len(rows))]
            more = [(*rows[:rank], self._new_row(rank), *rows[rank:]) for rank in range(len(rows) + 1)]
            self._changed = [State(self.kind, each, self.serial + 1) for each in less + more]
        return self._changed

    def _new_row(self, rank: int) -> Row:
        order, serial, column = self.kind.order, self.serial + 1, 1 if self.kind.order == "ties" else 0
        low = int(self.rows[rank - 1][column] or 0) if rank else 0
        high = int(self.rows[rank][column] or 0) if rank < len(self.rows) else low + 1990
        if order == "ties" and rank and (serial % 2 or low == high):
            return tiny_row(low, serial, order)  # one more share of the backup before
        return tiny_row((low + high) // 2 + serial, serial, order)

    def answer(self, request: Request, turn: int) -> Answer:
        """By turn, as an order by backup draws its ties anew for each request."""
        key = (request, turn if self.kind.order == "ties" else 0)
        if key not in self._answers:
            self._answers[key] = self._answer(request, turn)
        return self._answers[key]

    def _answer(self, request: Request, turn: int) -> Answer:
        if request == COUNT:
            return len(self.rows)
        offset, limit, descending = request
        rows = self.rows if self.kind.order != "ties" else self._with_ties_redrawn(turn)
        return (rows[::-1] if descending else rows)[offset : offset + min(limit, self.kind.clamp)]

    def _with_ties_redrawn(self, turn: int) -> Rows:
        drawn = crc32(f"{self.kind.salt} {turn} {len(self.rows)} {self.serial}".encode())
        groups = (list(group) for _, group in groupby(self.rows, key=attrgetter("backup_id")))
        return tuple(row for place, group in enumerate(groups) for row in _permuted(group, drawn >> place))


def _permuted(group: list[Row], drawn: int) -> Sequence[Row]:
    if len(group) == 1:
        return group
    orders = list(permutations(group))
    return orders[drawn % len(orders)]


@cache
def tiny_row(place: int, serial: int, order: str) -> Row:
    """Keys are numbers of a fixed length, so that they sort as text."""
    scrambled = place * 7919 % 10007
    if order == "ties":
        return Row(f"{(scrambled + 3557 * serial) % 9973:05d}{serial:02d}", f"{place:05d}")
    return Row(f"{place:05d}", f"{place:05d}" if order == "aligned" else f"{scrambled:05d}")


def first_rows(size: int, order: str) -> Rows:
    """With ties: two shares of each backup."""
    if order == "ties":
        return tuple(tiny_row(1000 * (rank // 2 + 1), 99 - rank, order) for rank in range(size))
    return tuple(tiny_row(1000 * (rank + 1), 0, order) for rank in range(size))


def schedule_count(total: Counter[str]) -> int:
    return sum(total[status.value] for status in ProofStatus)


class Enumeration:
    """All schedules of a kind. Stops with AssertionError at the first walk that is proven and lost a share."""

    def __init__(self, kind: Tiny) -> None:
        self.kind = kind
        self.total: Counter[str] = Counter()
        self.first = State(kind, first_rows(kind.size, kind.order), 0)
        self._root = Node()
        self._walk_on(self._root, self.first)

    def run(self, *, sample: float = 1, seed: int = 0) -> Counter[str]:
        """Try every schedule, or every first change with a `sample` of second ones and all that can follow those."""
        self._sample, self._random = sample, random.Random(seed)
        node = self._root
        while (node := self._step(node, self.first)).result is None:
            for state in self.first.changed():
                self._try(node, state, self.kind.depth - 1, (self.first,))
        return self.total

    def _try(self, node: Node, state: State, changes: int, past: tuple[State, ...]) -> None:
        """Everything that can follow, with so many changes more, where the walk is about to ask."""
        if not changes:
            self._check(node, state, past)
            return
        past = (*past, state)
        while node.result is None:
            for changed in state.changed():
                if changes < self.kind.depth - 1 or self._random.random() < self._sample:
                    self._try(node, changed, changes - 1, past)
            node = self._step(node, state)

    def _check(self, node: Node, state: State, past: tuple[State, ...]) -> None:
        while node.result is None:
            node = self._step(node, state)
        seen = node.result
        self.total[seen.status.value] += 1
        if seen.status is ProofStatus.EXACT:
            states = (*past, state)
            assert any(seen.ids == each.ids for each in states), f"no state at any instant: {self._told(states, seen)}"
        if seen.status is not ProofStatus.INCOMPLETE:
            # Ids never come twice: who was there at first and is there now was there throughout.
            lost = (self.first.ids & state.ids) - seen.ids
            assert not lost, f"silent loss of {lost}: {self._told((*past, state), seen)}"

    def _told(self, states: tuple[State, ...], seen: Walk) -> str:
        return f"{self.kind}, {[each.rows for each in states]}, {seen}"

    def _step(self, node: Node, state: State) -> Node:
        assert node.request is not None
        answer = state.answer(node.request, node.depth)
        if answer not in node.next:
            child = node.next[answer] = Node(node, answer)
            self._walk_on(child, state)
        return node.next[answer]

    def _walk_on(self, until: Node, state: State) -> None:
        """Walk with the answers that lead to `until`, then with those of a list that stands still."""
        known = iter(until.answers())
        at = self._root

        def ask(request: Request) -> Answer:
            nonlocal at
            at.request = at.request or request
            assert at.request == request, "the walk is no function of the answers it gets"
            answer = next(known, None)
            if answer is None:
                answer = state.answer(request, at.depth)
            at = at.next.setdefault(answer, Node(at, answer))
            return answer

        def count_plan() -> None:
            self.total["plans"] += 1

        self.total["walks"] += 1
        at.result = self.kind.walk(ask, count_plan)
