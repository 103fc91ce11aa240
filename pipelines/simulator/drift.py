"""Where a share that appears between two pages sorts: it is made so that it lands at the rank asked for.

Not here: when that happens (faults/), what orders there are (listings.py).
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

from pipelines.observation import Direction
from pipelines.simulator.records import Record, make_backup, make_project_id, make_share, make_uuid

_LARGEST_ID = str(UUID(int=2**128 - 1))
_SMALLEST_ID = str(UUID(int=0))
_ID_KEYS = ("id", "backup_id")
_LATE_SERIAL = 10_000
"""Serial number for backups that are not of the world; an ordinary one."""

Neighbours = tuple[Record | None, Record | None]
"""The shares before and after a place, in ascending order; None at an end."""


def newcomer(rng: Random, project_id: str, direction: Direction, now: datetime) -> Record:
    """A share nobody knew before. Its other side is a project of its own, so that it clashes with no other share."""
    backup = make_backup(rng, _LATE_SERIAL, make_uuid(rng), now - timedelta(hours=2))
    sides = [project_id, make_project_id(rng)]
    if direction is Direction.INCOMING:
        sides.reverse()
    return make_share(rng, backup, sides[0], sides[1], now - timedelta(hours=1), now)


def neighbours(order: Sequence[Record], rank: int, *, descending: bool) -> Neighbours:
    before = order[rank - 1] if rank > 0 else None
    after = order[rank] if rank < len(order) else None
    return (after, before) if descending else (before, after)


def placed(
    rng: Random,
    record: Record,
    between: Neighbours,
    sort_key: str,
    value_of: Callable[[Record], Any],
    *,
    descending: bool,
) -> Record:
    """`record` changed so that it sorts between its neighbours: a value of theirs, and an id in the gap.

    The id is close to that of the share that it pushes back, so that thousands find room at one rank.
    """
    low, high = between
    anchor = low or high
    if anchor is None:
        return record
    value = value_of(anchor)
    near_high = high is not None and (low is None or not descending)
    if sort_key in _ID_KEYS and not _tie(low, high, value_of):
        new_id = _between(
            rng, value_of(low) if low else _SMALLEST_ID, value_of(high) if high else _LARGEST_ID, near_high
        )
        return _with_sorting_id(record, new_id, by_backup=sort_key == "backup_id")
    low_id = low["id"] if low and value_of(low) == value else _SMALLEST_ID
    high_id = high["id"] if high and value_of(high) == value else _LARGEST_ID
    return {**_with_value(record, anchor, sort_key), "id": _between(rng, low_id, high_id, near_high)}


def _tie(low: Record | None, high: Record | None, value_of: Callable[[Record], Any]) -> bool:
    return low is not None and high is not None and bool(value_of(low) == value_of(high))


def _with_sorting_id(record: Record, new_id: str, *, by_backup: bool) -> Record:
    if by_backup:
        return {**record, "backup_id": new_id, "backup": {**record["backup"], "id": new_id}}
    return {**record, "id": new_id}


def _with_value(record: Record, anchor: Record, sort_key: str) -> Record:
    if sort_key == "backup_id":  # by backup id, between two shares of one backup: one more share of it
        return {**record, "backup_id": anchor["backup_id"], "backup": anchor["backup"]}
    if sort_key in ("created_at", "updated_at"):
        return {**record, sort_key: anchor[sort_key]}
    return {**record, "backup": {**record["backup"], sort_key: anchor["backup"][sort_key]}}


def _between(rng: Random, low: str, high: str, near_high: bool) -> str:
    """At random: a share that is inserted where another was withdrawn has an id of its own."""
    first, last = UUID(low).int, UUID(high).int
    distance = 1 + rng.randrange(max(1, (last - first) // 64))
    return str(UUID(int=last - distance if near_high else first + distance))
