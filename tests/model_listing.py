"""A listing in memory that changes between requests, honest or not: the independent model that walks are tried on.

It knows nothing of walk.py but the shape of a row. Not here: listings of a few rows and every schedule of changes
(schedules.py), HTTP (fakes.py), the simulator's world.
"""

import random
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from hashlib import sha256
from typing import NamedTuple

from pipelines.walk import Row


class Change(NamedTuple):
    """Before request number `before` (0-based, counts included): delete the row at `rank`, or insert one there."""

    before: int
    insert: bool
    rank: int


class ModelListing:
    """An honest service: a fixed total order, pages of at most `clamp` rows, a right count.

    By share id, backups are as unrelated to the order as in life (or `aligned` with it). By backup id, ties are
    redrawn for every request, and every second new row is one more share of a backup that is there.
    """

    def __init__(
        self,
        size: int,
        changes: Iterable[Change] = (),
        *,
        clamp: int = 1000,
        by_backup: bool = False,
        aligned: bool = False,
        shares_per_backup: int = 1,
        seed: int = 0,
    ) -> None:
        self.clamp, self.by_backup, self.aligned, self.random = clamp, by_backup, aligned, random.Random(seed)
        self.traffic = random.Random(seed)
        self.changes = sorted(changes, key=lambda change: change.before)
        self.shares_per_backup = shares_per_backup
        self.requests = self.serial = 0
        self.rows: list[Row] = []
        self.places: list[float] = []
        self.creation: dict[str | None, float] = {}
        for position in range(size):
            self._put(position, float(position // (shares_per_backup if by_backup else 1) + 1))
            self.creation[self.rows[-1].share_id] = -self.random.random()
        self.always_alive = set(self.state())
        self.ever_alive = set(self.always_alive)
        self.states = [self.state()]

    def state(self) -> frozenset[str | None]:
        return frozenset(row.share_id for row in self.rows)

    def apply(self, change: Change) -> None:
        if change.insert:
            rank = change.rank % (len(self.rows) + 1)
            self._put(rank, self._place_for(rank))
        elif self.rows:
            rank = change.rank % len(self.rows)
            self.always_alive.discard(self.rows.pop(rank).share_id)
            self.places.pop(rank)
        self.states.append(self.state())
        self.ever_alive |= self.states[-1]

    def _place_for(self, rank: int) -> float:
        low = self.places[rank - 1] if rank else 0.0
        high = self.places[rank] if rank < len(self.places) else low + 2
        if self.by_backup and rank and self.serial % 2:
            return low
        assert low < (low + high) / 2 < high or self.by_backup, "no place left between two rows"
        return (low + high) / 2

    def _put(self, rank: int, place: float) -> None:
        self.serial += 1  # in every id, so that no id comes twice
        key = f"{place:036.30f} {self.serial:06d}"
        share, backup = key, key if self.aligned else _scrambled(str(self.serial // self.shares_per_backup))
        if self.by_backup:
            share, backup = _scrambled(key), f"{place:036.30f}"
        self.rows.insert(rank, Row(f"share {share}", f"backup {backup}"))
        self.places.insert(rank, place)
        self.creation[self.rows[rank].share_id] = self.serial

    def tick(self) -> None:
        while self.changes and self.changes[0].before <= self.requests:
            self.apply(self.changes.pop(0))
        self.requests += 1

    def ordered(self) -> list[Row]:
        if not self.by_backup:
            return self.rows
        return sorted(self.rows, key=lambda row: (row.backup_id, self.random.random()))

    def fetch(self, offset: int, limit: int, *, descending: bool = False) -> Sequence[Row]:
        self.tick()
        rows = self.ordered()
        return self.cut(rows[::-1] if descending else rows, offset, limit)

    def cut(self, rows: list[Row], offset: int, limit: int) -> Sequence[Row]:
        return rows[offset : offset + min(limit, self.clamp)]

    def fetch_many(self, offsets: Sequence[int], limit: int) -> Iterator[Sequence[Row]]:
        """Up to eight requests are under way; which of them comes first, and how many at once, is drawn."""
        answers: dict[int, Sequence[Row]] = {}
        for position in range(len(offsets)):
            waiting = [each for each in range(position, min(position + 8, len(offsets))) if each not in answers]
            while waiting and (position not in answers or self.traffic.random() < 0.8):
                arriving = waiting.pop(self.traffic.randrange(len(waiting)))
                answers[arriving] = self.fetch(offsets[arriving], limit)
            yield answers.pop(position)

    def count(self) -> int | None:
        self.tick()
        return len(self.rows)


@cache
def _scrambled(key: str) -> str:
    return sha256(key.encode()).hexdigest()[:12]


def random_changes(seed: int, rate: float, requests: int) -> list[Change]:
    """About `rate` changes per request, spread at random over the first `requests` of them."""
    rng = random.Random(seed)
    found = []
    for before in range(1, requests):
        while rng.random() < rate / (1 + rate):
            found.append(Change(before, rng.random() < 0.5, rng.randrange(10**6)))
    return found


# --- services that misbehave ---------------------------------------------------------------------------------------


class ClampsTo40(ModelListing):
    def cut(self, rows: list[Row], offset: int, limit: int) -> Sequence[Row]:
        return rows[offset : offset + min(limit, 40)]


class ClampsTo1(ModelListing):
    def cut(self, rows: list[Row], offset: int, limit: int) -> Sequence[Row]:
        return rows[offset : offset + 1]


class IgnoresSortKey(ModelListing):
    """A fixed order that has nothing to do with any id."""

    def ordered(self) -> list[Row]:
        return sorted(self.rows, key=lambda row: _scrambled(f"{row.share_id} elsewhere"))


class SortsByCreation(ModelListing):
    def ordered(self) -> list[Row]:
        return sorted(self.rows, key=lambda row: self.creation[row.share_id])


class SortsByMutableKey(ModelListing):
    """With every request some row is renamed and jumps."""

    def ordered(self) -> list[Row]:
        if self.rows:
            self.creation[self.random.choice(self.rows).share_id] = self.random.uniform(-1, 1)
        return sorted(self.rows, key=lambda row: self.creation[row.share_id])


class RedrawsTheOrder(ModelListing):
    def ordered(self) -> list[Row]:
        return self.random.sample(self.rows, len(self.rows))


class RedrawsTies(ModelListing):
    """Honest, but sorted by backup, ten shares each."""

    def __init__(self, size: int, changes: Iterable[Change] = (), **options: object) -> None:
        super().__init__(size, changes, by_backup=True, shares_per_backup=10, seed=int(str(options["seed"])))


class IgnoresOffset(ModelListing):
    def cut(self, rows: list[Row], offset: int, limit: int) -> Sequence[Row]:
        return rows[:limit]


class LinksOnly(IgnoresOffset):
    """Every page but the last links to what sorts behind its last row."""

    link: tuple[Row, int] | None = None

    def fetch(self, offset: int, limit: int, *, descending: bool = False) -> Sequence[Row]:
        page = super().fetch(offset, limit, descending=descending)
        self.link = (page[-1], limit) if page and not descending else None
        return page

    def follow(self) -> Sequence[Row] | None:
        if self.link is None:
            return None
        self.tick()
        last, limit = self.link
        page = self.behind(last)[:limit]
        self.link = (page[-1], limit) if len(page) == limit else None
        return page

    def behind(self, last: Row) -> list[Row]:
        return [row for row in self.ordered() if str(row.share_id) > str(last.share_id)]


class LinksWithoutOrder(LinksOnly):
    """It ignores sort_key, too."""

    def ordered(self) -> list[Row]:
        return sorted(self.rows, key=self._place)

    def behind(self, last: Row) -> list[Row]:
        return [row for row in self.ordered() if self._place(row) > self._place(last)]

    @staticmethod
    def _place(row: Row) -> str:
        return _scrambled(f"{row.share_id} elsewhere")


class LinksInCircles(LinksOnly):
    """The last page links to the first one."""

    def behind(self, last: Row) -> list[Row]:
        return super().behind(last) or self.ordered()


class RoundsOffset(ModelListing):
    """Offsets are taken as numbers of whole pages."""

    def cut(self, rows: list[Row], offset: int, limit: int) -> Sequence[Row]:
        start = offset // limit * limit
        return rows[start : start + limit]


class AlwaysAscending(ModelListing):
    def fetch(self, offset: int, limit: int, *, descending: bool = False) -> Sequence[Row]:
        return super().fetch(offset, limit)


class AlwaysDescending(ModelListing):
    def fetch(self, offset: int, limit: int, *, descending: bool = False) -> Sequence[Row]:
        return super().fetch(offset, limit, descending=True)


class NeverEnds(ModelListing):
    """Past its end it goes on with rows that it makes up."""

    def fetch(self, offset: int, limit: int, *, descending: bool = False) -> Sequence[Row]:
        page = list(super().fetch(offset, limit, descending=descending))
        if descending:
            return page
        start = max(offset, len(self.rows))
        return page + [Row(f"share x{n:09d}", f"backup x{n:09d}") for n in range(start, start + limit - len(page))]


class CutsPagesShort(ModelListing):
    def cut(self, rows: list[Row], offset: int, limit: int) -> Sequence[Row]:
        return rows[offset : offset + self.random.randint(1, limit)]


class CapsByBytes(ModelListing):
    """The records differ in size, and a page ends where its bytes are spent."""

    def cut(self, rows: list[Row], offset: int, limit: int) -> Sequence[Row]:
        page, left = [], 150 * limit
        for row in rows[offset : offset + limit]:
            left -= int(_scrambled(f"{row.share_id} bytes"), 16) % 400
            if page and left < 0:
                break
            page.append(row)
        return page


class HidesFromTheList(ModelListing):
    """About 1 % of the rows, at least one; the count includes them."""

    def ordered(self) -> list[Row]:
        first = {row.share_id for row in self.rows[:1]}
        return [row for row in self.rows if not self.hides(row) and row.share_id not in first]

    @staticmethod
    def hides(row: Row) -> bool:
        return int(_scrambled(f"{row.share_id} hidden"), 16) % 100 == 0


class HidesFromListAndCount(HidesFromTheList):
    def count(self) -> int | None:
        self.tick()
        return len(self.ordered())


class CountsTooMany(ModelListing):
    def count(self) -> int | None:
        return (super().count() or 0) + 7


class CountsTooFew(ModelListing):
    def count(self) -> int | None:
        return max(0, (super().count() or 0) - 7)


class HasNoCount(ModelListing):
    def count(self) -> int | None:
        return None


class CountsNothing(ModelListing):
    def count(self) -> int | None:
        self.tick()
        return 0


class RepeatsPages(ModelListing):
    """Sometimes the answer before is given again."""

    answer: Sequence[Row] = ()

    def fetch(self, offset: int, limit: int, *, descending: bool = False) -> Sequence[Row]:
        page = super().fetch(offset, limit, descending=descending)
        if not self.answer or self.random.random() > 0.1:
            self.answer = page
        return self.answer[:limit]


class AnswersEmptyAtTimes(ModelListing):
    def cut(self, rows: list[Row], offset: int, limit: int) -> Sequence[Row]:
        return [] if self.random.random() < 0.1 else super().cut(rows, offset, limit)


class SendsTooManyRows(ModelListing):
    def cut(self, rows: list[Row], offset: int, limit: int) -> Sequence[Row]:
        return rows[offset : offset + limit + 3]


class DropsLastRows(ModelListing):
    def cut(self, rows: list[Row], offset: int, limit: int) -> Sequence[Row]:
        return super().cut(rows, offset, limit)[:-1]


class DoublesRows(ModelListing):
    def cut(self, rows: list[Row], offset: int, limit: int) -> Sequence[Row]:
        page = list(super().cut(rows, offset, limit))
        at = self.random.randrange(len(page)) if page else 0
        return (page[:at] + page[at : at + 1] + page[at:])[:limit]


class WrapsAround(ModelListing):
    def cut(self, rows: list[Row], offset: int, limit: int) -> Sequence[Row]:
        around = range(offset, offset + min(limit, len(rows)))
        return [rows[position % len(rows)] for position in around]


class LagsBehind(ModelListing):
    """A page may show the list as it was up to three requests ago."""

    def __init__(self, size: int, changes: Iterable[Change] = (), **options: object) -> None:
        super().__init__(size, changes, seed=int(str(options["seed"])))
        self.versions = [list(self.rows)]

    def ordered(self) -> list[Row]:
        self.versions = [*self.versions[-3:], list(self.rows)]
        return self.random.choice(self.versions)


MISBEHAVING = (
    ClampsTo40,
    ClampsTo1,
    IgnoresSortKey,
    SortsByCreation,
    SortsByMutableKey,
    RedrawsTheOrder,
    RedrawsTies,
    IgnoresOffset,
    LinksOnly,
    LinksWithoutOrder,
    LinksInCircles,
    RoundsOffset,
    AlwaysAscending,
    AlwaysDescending,
    NeverEnds,
    CutsPagesShort,
    CapsByBytes,
    HidesFromTheList,
    HidesFromListAndCount,
    CountsTooMany,
    CountsTooFew,
    HasNoCount,
    CountsNothing,
    RepeatsPages,
    AnswersEmptyAtTimes,
    SendsTooManyRows,
    DropsLastRows,
    DoublesRows,
    WrapsAround,
    LagsBehind,
)
