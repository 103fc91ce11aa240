"""Services that page wrongly: rows, their order, their pages and their number.

Not here: damage to single records (records.py), to bodies and answers (bodies.py, status.py).
"""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from random import Random
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt

from pipelines.observation import Direction
from pipelines.simulator.behaviour import Behaviour, Call, Operation, parameters
from pipelines.simulator.drift import newcomer
from pipelines.simulator.listings import Query, Row, row_text, sort_value
from pipelines.simulator.records import Record
from pipelines.simulator.wire import Response, error

Part = Annotated[float, Field(ge=0, le=1)]


# The world changes


@parameters
class Drift(Behaviour):
    """Shares appear and are withdrawn at random ranks before requests, about `rate` changes per request."""

    rate: NonNegativeFloat = 0.1
    seed: int = 7

    def before(self, call: Call) -> None:
        if call.query is None:
            return
        rng = call.random(self.seed)
        while rng.random() < self.rate / (1 + self.rate):
            rank = rng.randrange(len(call.rows(call.query)) + 1)
            if rng.random() < 0.5:
                call.drift(insert_at=(rank,))
            else:
                call.drift(withdraw_at=(rank,))


@parameters
class ChangeEvery(Behaviour):
    """One change at a fixed rank of the order asked for, before every so many requests; `turns`: insert, then
    withdraw."""

    every: PositiveInt = 3
    kind: Literal["withdraw", "insert", "turns"] = "withdraw"
    rank: NonNegativeInt = 0

    def before(self, call: Call) -> None:
        number, rest = divmod(call.nth + 1, self.every)
        if rest:
            return
        if self.kind == "insert" or (self.kind == "turns" and number % 2):
            call.drift(insert_at=(self.rank,))
        else:
            call.drift(withdraw_at=(self.rank,))


# What the parameters are taken for


@parameters
class ClampedPages(Behaviour):
    """A page holds at most `rows` rows, whatever limit was asked for."""

    rows: PositiveInt = 40

    def asked(self, query: Query, call: Call) -> Query:  # noqa: ARG002
        return replace(query, limit=min(query.limit, self.rows))


@parameters
class DefaultLimit(Behaviour):
    """Without a limit a page holds `rows` rows."""

    rows: PositiveInt = 20

    def asked(self, query: Query, call: Call) -> Query:
        return query if "limit" in call.parameters else replace(query, limit=self.rows)


@parameters
class IgnoredOffset(Behaviour):
    """Every page is the first."""

    def asked(self, query: Query, call: Call) -> Query:  # noqa: ARG002
        return replace(query, offset=0)


@parameters
class RoundedOffset(Behaviour):
    """The offset is rounded down to whole pages."""

    def asked(self, query: Query, call: Call) -> Query:  # noqa: ARG002
        return replace(query, offset=query.offset // query.limit * query.limit) if query.limit else query


@parameters
class IgnoredSortDir(Behaviour):
    """The order is always ascending, or always descending."""

    always: Literal["asc", "desc"] = "desc"

    def asked(self, query: Query, call: Call) -> Query:  # noqa: ARG002
        return replace(query, descending=self.always == "desc")


@parameters
class SortByBackupId(Behaviour):
    """`sort_key=id` means the id of the backup."""

    def asked(self, query: Query, call: Call) -> Query:  # noqa: ARG002
        return replace(query, sort_key="backup_id") if query.sort_key == "id" else query


@parameters
class IgnoredShareToMe(Behaviour):
    """`share_to_me` is ignored: every listing is the outgoing one."""

    def asked(self, query: Query, call: Call) -> Query:  # noqa: ARG002
        return replace(query, direction=Direction.OUTGOING)


@parameters
class IgnoredFilters(Behaviour):
    """The filter of this name is ignored; without a name all of them are."""

    name: str = ""

    def asked(self, query: Query, call: Call) -> Query:  # noqa: ARG002
        return replace(query, filters=tuple(item for item in query.filters if self.name not in ("", item[0])))


@parameters
class EmptyFilters(Behaviour):
    """Whatever is filtered is empty, its count is 0."""

    def ordered(self, rows: list[Record], query: Query, call: Call) -> list[Record]:  # noqa: ARG002
        return [] if query.filters else rows

    def counted(self, count: int, query: Query, call: Call) -> int:  # noqa: ARG002
        return 0 if query.filters else count


# The order


@parameters
class IgnoredSortKey(Behaviour):
    """The order has nothing to do with the key: `scrambled` for ever, by creation, or `jumping`: with every request
    one row moves."""

    order: Literal["scrambled", "created_at", "jumping"] = "scrambled"
    seed: int = 7

    def ordered(self, rows: list[Record], query: Query, call: Call) -> list[Record]:
        return sorted(rows, key=self._key(rows, call), reverse=query.descending)

    def _key(self, rows: list[Record], call: Call) -> Callable[[Record], Any]:
        if self.order == "created_at":
            return lambda record: (record["created_at"], record["id"])
        if self.order == "scrambled":
            return lambda record: _scrambled(f"{self.seed} {record['id']}")
        rng = call.random(self.seed)
        if rows:
            call.memory[rng.choice(rows)["id"]] = f"{rng.getrandbits(48):012x}"
        return lambda record: call.memory.get(record["id"]) or _scrambled(f"{self.seed} {record['id']}")


@parameters
class RedrawnOrder(Behaviour):
    """Every request gets an order of its own."""

    seed: int = 7

    def ordered(self, rows: list[Record], query: Query, call: Call) -> list[Record]:  # noqa: ARG002
        return call.random(self.seed).sample(rows, len(rows))


@parameters
class RedrawnTies(Behaviour):
    """Rows with equal values under the sort key come in an order of their own for every request."""

    seed: int = 7

    def ordered(self, rows: list[Record], query: Query, call: Call) -> list[Record]:
        drawn = call.random(self.seed).sample(rows, len(rows))
        return sorted(drawn, key=sort_value(query.sort_key), reverse=query.descending)


@parameters
class StalePages(Behaviour):
    """A page shows the list as it was up to so many pages ago."""

    requests: PositiveInt = 3
    seed: int = 7

    def ordered(self, rows: list[Record], query: Query, call: Call) -> list[Record]:
        key = repr((call.listing, query.filters, query.sort_key, query.descending))
        call.memory[key] = [*call.memory.get(key, ())[-self.requests :], rows]
        return list(call.random(self.seed).choice(call.memory[key]))


@parameters
class HiddenRows(Behaviour):
    """The list hides a part of the rows, at least one; the count includes them unless it hides them too."""

    part: Part = 0.01
    from_count: bool = False
    from_filters: bool = True

    def ordered(self, rows: list[Record], query: Query, call: Call) -> list[Record]:
        if query.filters and not self.from_filters:
            return rows
        everything = call.rows(Query(query.direction, (), "id", descending=False, limit=0, offset=0))
        first = everything[0]["id"] if everything else ""
        return [record for record in rows if record["id"] != first and not self._hides(record)]

    def counted(self, count: int, query: Query, call: Call) -> int:
        return len(self.ordered(call.rows(query), query, call)) if self.from_count else count

    def _hides(self, record: Record) -> bool:
        return int(_scrambled(f"{record['id']} hidden"), 16) % 10_000 < self.part * 10_000


# The pages


@parameters
class ShortPages(Behaviour):
    """Pages end at random, after one row at least."""

    seed: int = 7

    def page(self, page: list[Row], rows: list[Record], query: Query, call: Call) -> list[Row]:  # noqa: ARG002
        return page[: call.random(self.seed).randint(1, max(1, len(page)))]


@parameters
class BytePages(Behaviour):
    """A page ends where its bytes are spent, after one row at least."""

    bytes: PositiveInt = 20_000

    def page(self, page: list[Row], rows: list[Record], query: Query, call: Call) -> list[Row]:  # noqa: ARG002
        left = self.bytes
        for number, row in enumerate(page):
            left -= len(row_text(row))
            if left < 0:
                return page[: max(1, number)]
        return page


@parameters
class EndlessPages(Behaviour):
    """Beyond its end the ascending list goes on with rows that are made up."""

    def page(self, page: list[Row], rows: list[Record], query: Query, call: Call) -> list[Row]:
        if query.descending:
            return page
        start = max(query.offset, len(rows))
        numbers = range(start, start + query.limit - len(page))
        return page + [_made_up(number, call.target.project_id, query.direction) for number in numbers]


@parameters
class WrappedPages(Behaviour):
    """Beyond its end the list begins again."""

    def page(self, page: list[Row], rows: list[Record], query: Query, call: Call) -> list[Row]:  # noqa: ARG002
        around = range(query.offset, query.offset + min(query.limit, len(rows)))
        return [rows[position % len(rows)] for position in around]


@parameters
class RepeatedPages(Behaviour):
    """At times the page before is sent again."""

    rate: Part = 0.1
    seed: int = 7

    def page(self, page: list[Row], rows: list[Record], query: Query, call: Call) -> list[Row]:  # noqa: ARG002
        key = repr(call.listing)
        if key not in call.memory or call.random(self.seed).random() >= self.rate:
            call.memory[key] = page
        return list(call.memory[key][: query.limit])


@parameters
class EmptyPages(Behaviour):
    """A page is empty with this chance, whatever the list holds; the count is right."""

    rate: Part = 1.0
    seed: int = 7

    def page(self, page: list[Row], rows: list[Record], query: Query, call: Call) -> list[Row]:  # noqa: ARG002
        return [] if call.random(self.seed).random() < self.rate else page


@parameters
class TooManyRows(Behaviour):
    """A page holds more rows than were asked for, if there are more."""

    by: PositiveInt = 3

    def page(self, page: list[Row], rows: list[Record], query: Query, call: Call) -> list[Row]:  # noqa: ARG002
        end = query.offset + len(page)
        return [*page, *rows[end : end + self.by]]


@parameters
class LastRowMissing(Behaviour):
    """The last row of every page is missing."""

    def page(self, page: list[Row], rows: list[Record], query: Query, call: Call) -> list[Row]:  # noqa: ARG002
        return page[:-1]


@parameters
class DoubledRows(Behaviour):
    """One row of every page stands in it twice, and pushes the last one out of a full page."""

    seed: int = 7

    def page(self, page: list[Row], rows: list[Record], query: Query, call: Call) -> list[Row]:  # noqa: ARG002
        at = call.random(self.seed).randrange(len(page)) if page else 0
        return (page[:at] + page[at : at + 1] + page[at:])[: query.limit]


@parameters
class NextLinks(Behaviour):
    """Every page but the last links to the next in `shared_links`, at a host that cannot be reached; by `marker` the
    offset is ignored."""

    by: Literal["offset", "marker"] = "offset"
    host: str = "http://10.0.0.1:8776"

    def page(self, page: list[Row], rows: list[Record], query: Query, call: Call) -> list[Row]:
        start = query.offset
        if self.by == "marker":
            marker = call.parameters.get("marker")
            ids = [record["id"] for record in rows]
            start = ids.index(marker) + 1 if marker in ids else 0
            page = [*rows[start : start + query.limit]]
        end = start + len(page)
        call.memory["next"] = None
        if page and end < len(rows):
            kept = {name: value for name, value in call.parameters.items() if name not in ("offset", "marker")}
            place = {"marker": rows[end - 1]["id"]} if self.by == "marker" else {}
            # Both in the documented link of the sibling API; a service that goes by the marker ignores the offset.
            call.memory["next"] = {**kept, "limit": str(query.limit), "offset": str(end), **place}
        return page

    def answered(self, response: Response, call: Call) -> Response:
        following = call.memory.pop("next", None)
        if following is None or not response.body.endswith(b"]}"):  # no page after all, or one that is damaged
            return response
        path = f"/{call.target.project_id}/os-vendor-backup-sharing/detail"
        link = {"rel": "next", "href": f"{self.host}{path}?{urlencode(following)}"}
        return replace(response, body=response.body[:-1] + b', "shared_links": ' + json.dumps([link]).encode() + b"}")


# The count


@parameters
class WrongCount(Behaviour):
    """The count is off by so many, though never below 0."""

    by: int = 7

    def counted(self, count: int, query: Query, call: Call) -> int:  # noqa: ARG002
        return max(0, count + self.by)


@parameters
class FixedCount(Behaviour):
    """The count is always the same."""

    value: int = 0

    def counted(self, count: int, query: Query, call: Call) -> int:  # noqa: ARG002
        return self.value


@parameters
class MissingCount(Behaviour):
    """There is no count: 404."""

    def instead(self, call: Call) -> Response | None:
        return error("gateway", 404, call.request_id) if call.target.operation is Operation.COUNT else None


def _scrambled(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:12]


def _made_up(number: int, project_id: str, direction: Direction) -> Record:
    """The same record for the same place, with ids beyond all others."""
    rng = Random(f"made up {number}")  # noqa: S311 - a fault that comes back is the point
    record = newcomer(rng, project_id, direction, datetime(2026, 3, 1, tzinfo=UTC))
    new_id = f"ffffffff-ffff-4fff-bfff-{number:012x}"
    return {**record, "id": new_id, "backup_id": new_id, "backup": {**record["backup"], "id": new_id}}


KINDS = (
    Drift,
    ChangeEvery,
    ClampedPages,
    DefaultLimit,
    IgnoredOffset,
    RoundedOffset,
    IgnoredSortKey,
    IgnoredSortDir,
    SortByBackupId,
    IgnoredShareToMe,
    IgnoredFilters,
    EmptyFilters,
    RedrawnOrder,
    RedrawnTies,
    StalePages,
    HiddenRows,
    ShortPages,
    BytePages,
    EmptyPages,
    EndlessPages,
    WrappedPages,
    RepeatedPages,
    TooManyRows,
    LastRowMissing,
    DoubledRows,
    NextLinks,
    WrongCount,
    FixedCount,
    MissingCount,
)
