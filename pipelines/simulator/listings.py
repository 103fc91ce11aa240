"""Filters, order and pages over the shares of one day, as the service sees them.

Sorting and filtering look at the true records; what the scenario breaks is broken only when it is written out.
The text of a record is made once and kept until the record changes, so that a page is a join of bytes.
Not here: who may ask (service.py), where an inserted share sorts (drift.py).
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pipelines.observation import Direction
from pipelines.simulator.drift import neighbours, newcomer, placed
from pipelines.simulator.faults import Fault
from pipelines.simulator.records import Record
from pipelines.simulator.scenario import Scenario
from pipelines.simulator.world import World, project_field

LARGEST_OFFSET = 2**31 - 1
"""The largest integer of the database behind the service; beyond it a number is a bad request."""

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
_SORT_VALUES: dict[str, Callable[[Record], Any]] = {
    "created_at": lambda record: record["created_at"],
    "updated_at": lambda record: record["updated_at"] or "",
    "id": lambda record: record["id"],
    "name": lambda record: record["backup"]["name"] or "",
    "status": lambda record: record["backup"]["status"],
    "size": lambda record: record["backup"]["size"],
}


class BadQueryError(ValueError):
    """A parameter that the service refuses; the message is the one the client gets."""


@dataclass(frozen=True)
class Query:
    """The parameters of a listing or a count, understood."""

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
        if sort_key not in _SORT_VALUES:
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

    def __init__(self, world: World, scenario: Scenario, id_sorts_by: Literal["share", "backup"]) -> None:
        self._world = world
        self._scenario = scenario
        self._sort_values = dict(_SORT_VALUES)
        if id_sorts_by == "backup":
            self._sort_values["id"] = lambda record: record["backup_id"]
        self._day = -1
        self._malformed = scenario.malformed_on(-1)
        self._withdrawn: set[str] = set()
        self._inserted: dict[str, Record] = {}
        self._insertions = 0
        self._records: dict[tuple[str, Direction], list[Record]] = {}
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

    def page(self, project_id: str, query: Query) -> bytes:
        """The body of one answer of the listing."""
        rows = self._ordered(project_id, query)[query.offset : query.offset + query.limit]
        texts = list(map(self._text, rows)) or [b""]
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

    def drift(self, project_id: str, query: Query, fault: Fault) -> None:
        """Withdraws and inserts at the ranks that the fault names. It stays so on all days."""
        if not fault.withdraw_at and not fault.insert_at:
            return
        order = list(self._ordered(project_id, query))
        self._withdrawn.update(order[rank]["id"] for rank in fault.withdraw_at if rank < len(order))
        # From the end, so that the ranks of those that follow still mean the order as it was.
        for rank in sorted((min(rank, len(order)) for rank in fault.insert_at), reverse=True):
            record = self._newcomer(project_id, query, order, rank)
            self._inserted[record["id"]] = record
            order.insert(rank, record)
        self._forget_orders()

    def _newcomer(self, project_id: str, query: Query, order: Sequence[Record], rank: int) -> Record:
        self._insertions += 1
        rng = self._world.random(f"drift {self._insertions}")
        record = newcomer(rng, project_id, query.direction, self._world.moment(self._day))
        between = neighbours(order, rank, descending=query.descending)
        return placed(record, between, query.sort_key, self._sort_values[query.sort_key])

    def _matching(self, project_id: str, query: Query) -> list[Record]:
        rows = self.records(project_id, query.direction)
        for name, value in query.filters:
            keeps = _FILTERS[name]
            rows = [record for record in rows if keeps(record, value)]
        return rows

    def _ordered(self, project_id: str, query: Query) -> list[Record]:
        if query.filters:  # too many different ones to be worth keeping
            return self._sorted(self._matching(project_id, query), query)
        key = (project_id, query.direction, query.sort_key, query.descending)
        if key not in self._orders:
            self._orders[key] = self._sorted(self.records(project_id, query.direction), query)
        return self._orders[key]

    def _sorted(self, rows: list[Record], query: Query) -> list[Record]:
        value_of = self._sort_values[query.sort_key]
        # The share id breaks ties: the same question always gets the same order.
        return sorted(rows, key=lambda record: (value_of(record), record["id"]), reverse=query.descending)

    def _text(self, record: Record) -> bytes:
        share_id: str = record["id"]
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
        self._orders.clear()
