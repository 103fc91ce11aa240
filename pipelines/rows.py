"""The rows of a listing as the paging proof sees them, and the orders in which they may come. No I/O.

Not here: what is proven with them (passes.py), what a record means otherwise (records.py).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple


class Row(NamedTuple):
    """What a walk sees of a record; None where it cannot be read (the record is quarantined later)."""

    share_id: str | None
    backup_id: str | None


def read_rows(records: Sequence[Any]) -> list[Row]:
    """The rows of the records of a page (parsed JSON), one for each."""
    try:
        # Nearly all pages are like this, and it costs a quarter.
        shares, backups = ([record[key] for record in records] for key in ("id", "backup_id"))
        if set(map(type, shares)) | set(map(type, backups)) <= {str} and all(shares) and all(backups):
            return list(map(Row._make, zip(shares, backups, strict=True)))
    except (LookupError, TypeError):
        pass
    pairs = ((each.get("id"), each.get("backup_id")) if isinstance(each, dict) else (None, None) for each in records)
    return [
        Row(share if type(share) is str and share else None, backup if type(backup) is str and backup else None)
        for share, backup in pairs
    ]


def with_ids(rows: Sequence[Row]) -> list[Row]:
    """Those that both ids can be read of."""
    return [row for row in rows if row.share_id is not None and row.backup_id is not None]


Mark = tuple[str, int]
"""A place in the list: (key, 0) is just before the rows of that key, (key, 1) just behind them."""


@dataclass(frozen=True)
class Order:
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

    def overlap_rows(self, rows: Sequence[Row]) -> int:
        """Rows that two pages should share to join, wherever they are cut, if the whole list is like these rows."""
        return 1 + (max(Counter(self._keys(rows)).values()) if self.ties else 0)

    def _keys(self, rows: Sequence[Row]) -> list[str]:
        return [key for row in rows if (key := row[self.column]) is not None]


BY_SHARE, BY_BACKUP = ORDERS = (Order(column=0, ties=False), Order(column=1, ties=True))
START: Mark = ("", 0)
