"""A listing in memory that changes between requests, honest or not: the independent model that walks are tried on.

It knows nothing of walk.py but the shape of a row. Not here: HTTP (fakes.py), the simulator's world.
"""

import random
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from pipelines.walk import Row


class Change(NamedTuple):
    """Before request number `before` (0-based, counts included): delete the row at `rank`, or insert one there."""

    before: int
    insert: bool
    rank: int


class ModelListing:
    """An honest service: a fixed total order, pages of at most `clamp` rows, a right count."""

    def __init__(
        self,
        size: int,
        changes: Iterable[Change] = (),
        *,
        clamp: int = 1000,
        by_backup: bool = False,
        shares_per_backup: int = 1,
        seed: int = 0,
    ) -> None:
        self.clamp, self.by_backup, self.random = clamp, by_backup, random.Random(seed)
        self.shares_per_backup = shares_per_backup
        self.changes = sorted(changes)
        self.requests = 0
        # Ids are spread out, so that any number of rows can be inserted anywhere.
        self.rows = [self._row((position + 1) * 2.0**20) for position in range(size)]
        self.always_alive = {row.share_id for row in self.rows}
        self.ever_alive = set(self.always_alive)
        self.states: list[frozenset[str | None]] = [self.state()]

    def _row(self, place: float) -> Row:
        backup = int(place / 2.0**20 / self.shares_per_backup) if self.shares_per_backup > 1 else place
        share = self.random.random() if self.by_backup else place
        return Row(f"share {share:030.8f}", f"backup {backup:030.8f}")

    def state(self) -> frozenset[str | None]:
        return frozenset(row.share_id for row in self.rows)

    def apply(self, change: Change) -> None:
        if change.insert:
            self._insert(change.rank % (len(self.rows) + 1))
        elif self.rows:
            self.always_alive.discard(self.rows.pop(change.rank % len(self.rows)).share_id)
        self.states.append(self.state())

    def _insert(self, rank: int) -> None:
        self.inserted = getattr(self, "inserted", 0) + 1
        low = self._place(self.rows[rank - 1]) if rank else 0.0
        high = self._place(self.rows[rank]) if rank < len(self.rows) else low + 2.0**21
        place = (low + high) / 2
        row = Row(f"share {place:030.8f}", f"backup {place:030.8f}")
        if self.by_backup:
            # A new share of a backup that is there: anywhere among its ties.
            near = self.rows[min(rank, len(self.rows) - 1)] if self.rows else row
            row = Row(f"share new {self.inserted:06d} {self.random.random():.8f}", near.backup_id)
        self.rows.insert(rank, row)
        if self.by_backup:
            self.rows.sort(key=lambda each: each.backup_id or "")
        self.ever_alive.add(row.share_id)

    @staticmethod
    def _place(row: Row) -> float:
        return float((row.backup_id or "").removeprefix("backup "))

    def _tick(self) -> None:
        while self.changes and self.changes[0].before <= self.requests:
            self.apply(self.changes.pop(0))
        self.requests += 1

    def ordered(self) -> list[Row]:
        if not self.by_backup:
            return self.rows
        # Ties are redrawn for every request.
        return sorted(self.rows, key=lambda row: (row.backup_id, self.random.random()))

    def fetch(self, offset: int, limit: int, *, descending: bool = False) -> Sequence[Row]:
        self._tick()
        rows = self.ordered()
        if descending:
            rows = rows[::-1]
        return rows[offset : offset + min(limit, self.clamp)]

    def count(self) -> int | None:
        self._tick()
        return len(self.rows)


def random_changes(seed: int, rate: float, requests: int) -> list[Change]:
    """About `rate` changes per request, spread at random over the first `requests` of them."""
    rng = random.Random(seed)
    found = []
    for before in range(1, requests):
        while rng.random() < rate / (1 + rate):
            found.append(Change(before, rng.random() < 0.5, rng.randrange(10**6)))
    return found


Twist = Callable[[ModelListing], ModelListing]
