"""Filters, order and pages over the shares of one day, as the service sees them.

Sorting and filtering look at the true records; what the scenario breaks is broken only when it is written out.
The text of a record is made once and kept until the record changes, so that a page is a join of bytes.
Not here: who may ask (service.py), where an inserted share sorts (drift.py), services that page wrongly (faults/).
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.observation import Direction
from pipelines.simulator.drift import neighbours, newcomer, placed
from pipelines.simulator.records import Record
from pipelines.simulator.scenario import Scenario
from pipelines.simulator.world import World, project_field

LARGEST_OFFSET = 2**31 - 1
"""The largest integer of the database behind the service; beyond it a number is a bad request."""

Row = Record | bytes
"""One row of a page: a record, or the text that is sent in place of one."""

_FILTERS: dict[str, Callable[[Record, str], bool]] = {
    "volume_id": lambda record, value: record["backup"]["volume_id"] == value,
    "name": lambda record, value: value in (record["backup"]["name"] or ()),
    "status": lambda record, value: record["backup"]["status"] == value,
    "backup_id": lambda record, value: record["backup_id"] == value,
    "from_project_id": lambda record, value: record["from_project_id"] == value,
    "to_project_id": lambda record, value: record["to_project_id"] == value,
    # Misspelt as in the documentation; the right spelling is an unknown parameter and has no effect.
    "avalilability_zone": lambda record, value: record["backup"]["availability_zone"] == value,
}
_UNPUBLISHED = "backup_id"
"""A sort key that nobody can ask for; it is what `id` means on some services."""

_SORT_VALUES: dict[str, Callable[[Record], Any]] = {
    "created_at": lambda record: record["created_at"],
    "updated_at": lambda record: record["updated_at"] or "",
    "id": lambda record: record["id"],
    "backup_id": lambda record: record["backup_id"],
    "name": lambda record: record["backup"]["name"] or "",
    "status": lambda record: record["backup"]["status"],
    "size": lambda record: record["backup"]["size"],
}


class BadQueryError(ValueError):
    """A parameter that the service refuses; the message is the one the client gets."""


@dataclass(frozen=True)
class Query:
    """The parameters of a listing or a count, understood. `sort_key` may be `backup_id`, whatever was asked."""

    direction: Direction
    filters: tuple[tuple[str, str], ...]
    sort_key: str
    descending: bool
    limit: int
    offset: int

    @classmethod
    def parse(cls, parameters: dict[str, str], max_limit: int) -> "Query":
        """Raises BadQueryError. A limit above the maximum is cut without a word, unknown parameters are ignored."""
        sort_key, sort_dir = parameters.get("sort_key", "created_at"), parameters.get("sort_dir", "desc")
        if sort_key not in _SORT_VALUES or sort_key == _UNPUBLISHED:
            raise BadQueryError(f"Invalid sort key: {sort_key}")
        if sort_dir not in ("asc", "desc"):
            raise BadQueryError(f"Unknown sort direction: {sort_dir}, must be one of asc, desc")
        return cls(
            direction=direction_of(parameters),
            filters=tuple(item for item in parameters.items() if item[0] in _FILTERS),
            sort_key=sort_key,
            descending=sort_dir == "desc",
            limit=min(_whole_number(parameters, "limit", max_limit), max_limit),
            offset=_whole_number(parameters, "offset", 0),
        )


def sort_value(sort_key: str) -> Callable[[Record], Any]:
    """What records are compared by under this key."""
    return _SORT_VALUES[sort_key]


def row_text(row: Row) -> bytes:
    return row if isinstance(row, bytes) else json.dumps(row).encode()


def direction_of(parameters: dict[str, str]) -> Direction:
    """Only the lower-case `true` means incoming; `True`, as Python writes it, does not."""
    return Direction.INCOMING if parameters.get("share_to_me") == "true" else Direction.OUTGOING


def _whole_number(parameters: dict[str, str], name: str, default: int) -> int:
    value = parameters.get(name)
    if value is None:
        return default
    if not re.fullmatch(r"[0-9]{1,10}", value) or int(value) > LARGEST_OFFSET:
        raise BadQueryError(f"{name} must be an integer between 0 and {LARGEST_OFFSET}")
    return int(value)


class Listings:
    """The shares as served on one day, which `turn_to` chooses, with all changes that faults have made so far."""

    def __init__(self, world: World, scenario: Scenario) -> None:
        self._world = world
        self._scenario = scenario
        self._day = -1
        self._malformed = scenario.malformed_on(-1)
        self._withdrawn: set[str] = set()
        self._inserted: dict[str, Record] = {}
        self._insertions = 0
        self._records: dict[tuple[str, Direction], list[Record]] = {}
        self._ids: dict[tuple[str, Direction], frozenset[str]] = {}
        self._orders: dict[tuple[str, Direction, str, bool], list[Record]] = {}
        self._texts: dict[str, tuple[Record, bytes]] = {}

    def turn_to(self, day: int) -> None:
        if day != self._day:
            self._world.shares(day)
            self._day = day
            self._malformed = self._scenario.malformed_on(day)
            self._forget_orders()

    def records(self, project_id: str, direction: Direction) -> list[Record]:
        """The true records of one listing, in no particular order."""
        key = (project_id, direction)
        if key not in self._records:
            side = project_field(direction)
            known = self._world.listing(self._day, project_id, direction)
            new = [record for record in self._inserted.values() if record[side] == project_id]
            self._records[key] = [record for record in known + new if record["id"] not in self._withdrawn]
        return self._records[key]

    def ids(self, project_id: str, direction: Direction) -> frozenset[str]:
        """The share ids of one listing; the same object as long as nothing changes."""
        key = (project_id, direction)
        if key not in self._ids:
            self._ids[key] = frozenset(record["id"] for record in self.records(project_id, direction))
        return self._ids[key]

    def body(self, page: Sequence[Row]) -> bytes:
        """The body of one answer of the listing."""
        texts = list(map(self._text, page)) or [b""]
        # Wrapped before the join: afterwards every addition would copy a megabyte.
        texts[0] = b'{"shared": [' + texts[0]
        texts[-1] += b"]}"
        return b", ".join(texts)

    def count(self, project_id: str, query: Query) -> int:
        return len(self._matching(project_id, query))

    def share(self, project_id: str, share_id: str) -> bytes | None:
        """The body for one share that the project gives or receives; None when there is no such share."""
        for direction in Direction:
            for record in self.records(project_id, direction):
                if record["id"] == share_id:
                    return b'{"shared": ' + self._text(record) + b"}"
        return None

    def drift(
        self, project_id: str, query: Query, withdraw_at: Sequence[int] = (), insert_at: Sequence[int] = ()
    ) -> None:
        """Withdraws and inserts at these ranks of the order that the query asks for. It stays so on all days."""
        if not withdraw_at and not insert_at:
            return
        order = list(self.ordered(project_id, query))
        self._withdrawn.update(order[rank]["id"] for rank in withdraw_at if rank < len(order))
        # From the end, so that the ranks of those that follow still mean the order as it was.
        for rank in sorted((min(rank, len(order)) for rank in insert_at), reverse=True):
            record = self._newcomer(project_id, query, order, rank)
            self._inserted[record["id"]] = record
            order.insert(rank, record)
        self._forget_orders()

    def _newcomer(self, project_id: str, query: Query, order: Sequence[Record], rank: int) -> Record:
        self._insertions += 1
        rng = self._world.random(f"drift {self._insertions}")
        record = newcomer(rng, project_id, query.direction, self._world.moment(self._day))
        between = neighbours(order, rank, descending=query.descending)
        return placed(rng, record, between, query.sort_key, _SORT_VALUES[query.sort_key], descending=query.descending)

    def _matching(self, project_id: str, query: Query) -> list[Record]:
        rows = self.records(project_id, query.direction)
        for name, value in query.filters:
            keeps = _FILTERS[name]
            rows = [record for record in rows if keeps(record, value)]
        return rows

    def ordered(self, project_id: str, query: Query) -> list[Record]:
        """Every record that the query fits, in its order, whatever its page. Not to be changed in place."""
        if query.filters:  # too many different ones to be worth keeping
            return self._sorted(self._matching(project_id, query), query)
        key = (project_id, query.direction, query.sort_key, query.descending)
        if key not in self._orders:
            self._orders[key] = self._sorted(self.records(project_id, query.direction), query)
        return self._orders[key]

    def _sorted(self, rows: list[Record], query: Query) -> list[Record]:
        value_of = _SORT_VALUES[query.sort_key]
        # The share id breaks ties: the same question always gets the same order.
        return sorted(rows, key=lambda record: (value_of(record), record["id"]), reverse=query.descending)

    def _text(self, record: Row) -> bytes:
        if isinstance(record, bytes):
            return record
        share_id: str = record.get("id", "")  # a fault may have taken it away
        malformed = self._malformed.get(share_id)
        if malformed is not None:
            return json.dumps(malformed.served(record)).encode()
        known = self._texts.get(share_id)
        # Unchanged records stay the same object from day to day (world.py).
        if known is None or known[0] is not record:
            known = self._texts[share_id] = (record, json.dumps(record).encode())
        return known[1]

    def _forget_orders(self) -> None:
        self._records.clear()
        self._ids.clear()
        self._orders.clear()
