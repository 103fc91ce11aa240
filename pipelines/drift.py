"""What the API says that this program does not know: fields without meaning to it, values beside the documented ones.

Nothing of it is lost, for the pages are kept; so it is counted and shown, never a failure. Pure: bytes in, rows out.
Which fields and values are known stands in schema.py. A documented field may be missing (api-facts 4.1): that is no
drift.
Not here: how the quick reader notices that a page has to be looked at (normalize.py), what is done with the rows
(record.py, the view schema_drift).
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.records import (
    FLAT_FIELDS,
    KNOWN_METADATA,
    OBJECT_ID,
    metadata_key,
    number_in,
    object_in,
    split,
    storable,
)
from pipelines.redact import blank_key_material
from pipelines.schema import backup_history, content_columns

UNKNOWN_FIELD, UNKNOWN_VALUE = "unknown_field", "unknown_value"
OTHERS = "(others)"
"""The path under which all is counted beyond the first MOST things of an observation, such as fields named by ids."""
MOST = 100
LONGEST = 200
"""Characters of a name, a value or an example that are kept."""

_PAGE_FIELDS = frozenset({"shared"})
_SHARE_FIELDS = frozenset(field.path[0] for field in FLAT_FIELDS)
_BACKUP_FIELDS = frozenset(field.path[1] for field in FLAT_FIELDS if len(field.path) > 1)
_SHARE, _BACKUP, _METADATA = "shared[].", "shared[].backup.", "shared[].backup.service_metadata."

_ENUMERATED = [column for column in content_columns(backup_history) if "known_values" in column.info]
_KNOWN_CODES = [(key, each.info) for each in _ENUMERATED if (key := metadata_key(each))]
_KNOWN_TEXTS = [
    (each.info["source"].removeprefix(_BACKUP), each.info) for each in _ENUMERATED if metadata_key(each) is None
]
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_:-]+")
_SECRET = re.compile(r"VK|key|secret|passw|token|credential", re.IGNORECASE)
"""What could name a secret: better too much than too little."""
_OPAQUE = re.compile(r"[A-Za-z0-9+/=_]{32}")
"""What could be one. The ids of shares, backups and volumes have dashes."""


class _Thing(NamedTuple):
    kind: str
    path: str
    value: str


class _Held(NamedTuple):
    """What a record holds at a field that is not known; `is_inside`: the field is one of the metadata."""

    name: str
    content: Any
    is_inside: bool


class _Tally:
    """How many records hold each thing, and what one of them held."""

    def __init__(self) -> None:
        self.rows: dict[_Thing, dict[str, Any]] = {}

    def add(self, things: Iterable[tuple[_Thing, _Held | None]], share_id: str | None) -> None:
        """One more record."""
        counted = set()
        for thing, held in things:
            if thing not in self.rows and len(self.rows) >= MOST:
                thing, held = _Thing(thing.kind, OTHERS, ""), None
            if thing not in self.rows:
                example = _example(held) if held else ""
                self.rows[thing] = {**thing._asdict(), "record_count": 0, "example": example, "share_id": share_id}
            self.rows[thing]["record_count"] += thing not in counted
            counted.add(thing)


def count_drift(pages: Sequence[bytes]) -> list[dict[str, Any]]:
    """One row per unknown thing in the pages of an observation, as columns of observed_drift.

    A share that stands on several pages counts once, as it was told last.
    """
    tally = _Tally()
    told: set[str] = set()
    for body in reversed(pages):
        page = _read_page(body)
        tally.add(_unknown_fields(page, _PAGE_FIELDS, ""), None)
        for record in reversed(page["shared"]):
            if not isinstance(record, dict):
                continue
            share_id, identity = record.get("id"), _identity(record)
            if identity not in told:
                told.add(identity)
                is_id = isinstance(share_id, str) and re.fullmatch(OBJECT_ID, share_id)
                tally.add(_things_in(record), share_id if is_id else None)
    return [tally.rows[thing] for thing in sorted(tally.rows)]


def _identity(record: dict[str, Any]) -> str:
    if isinstance(record.get("id"), str):
        return str(record["id"])
    try:
        return repr(record)
    except RecursionError:
        return repr(sorted(record))


def may_drift(backups: pa.Table) -> bool:
    """Whether an enumerated column of backup_history holds a value that is not documented."""
    return any(
        value is not None and value not in column.info["known_values"]
        for column in _ENUMERATED
        for value in pc.unique(backups.column(column.name)).to_pylist()
    )


def _read_page(body: bytes) -> dict[str, Any]:
    try:
        page: dict[str, Any] = orjson.loads(body)
        return page
    except orjson.JSONDecodeError:
        # A record with a lone surrogate, endless digits or the like; what stands beside `shared` is not counted then.
        return {"shared": list(_readable(body))}


def _readable(body: bytes) -> Iterator[Any]:
    for raw in split(body.decode("utf-8")):
        try:
            yield json.loads(raw)
        except (ValueError, RecursionError):
            continue


def _things_in(record: dict[str, Any]) -> Iterator[tuple[_Thing, _Held | None]]:
    yield from _unknown_fields(record, _SHARE_FIELDS, _SHARE)
    backup = record.get("backup")
    if not isinstance(backup, dict):
        return
    yield from _unknown_fields(backup, _BACKUP_FIELDS, _BACKUP)
    text = backup.get("service_metadata")
    metadata = object_in(storable(text)) if isinstance(text, str) else {}
    yield from _unknown_fields(metadata, KNOWN_METADATA, _METADATA)
    # Values as the columns are read: what is no text or no number there was rejected, or read as nothing.
    for name, info in _KNOWN_TEXTS:
        value = backup.get(name)
        if isinstance(value, str) and value not in info["known_values"]:
            yield _Thing(UNKNOWN_VALUE, info["source"], _short(storable(value))), None
    for key, info in _KNOWN_CODES:
        number = number_in(metadata.get(key))
        if number is not None and number not in info["known_values"]:
            yield _Thing(UNKNOWN_VALUE, info["source"], str(number)), None


def _unknown_fields(found: dict[str, Any], known: frozenset[str], where: str) -> Iterator[tuple[_Thing, _Held]]:
    if known.issuperset(found):
        return
    # In an order that depends on the page alone: a rebuild has to stop at the same hundred.
    for name in sorted(found.keys() - known):
        yield _Thing(UNKNOWN_FIELD, where + _shown(name), ""), _Held(name, found[name], where == _METADATA)


def _shown(name: str) -> str:
    """Quoted if it could be taken for a path, steer a terminal, or fill a screen."""
    if len(name) <= LONGEST and _PLAIN_NAME.fullmatch(name):
        return name
    return json.dumps(_short(storable(name)), ensure_ascii=False)


def _example(held: _Held) -> str:
    """A value as JSON, unless it may be a secret. Texts of the metadata tell of the inside of the service."""
    try:
        text = storable(json.dumps(held.content, ensure_ascii=False))
    except RecursionError:
        return '"[withheld: nested too deep]"'
    is_text_inside = held.is_inside and isinstance(held.content, str | list | dict)
    if is_text_inside or _SECRET.search(held.name) or _SECRET.search(text) or _OPAQUE.search(text):
        return f'"[withheld: {len(text)} characters]"'
    return _short(blank_key_material(text.encode()).decode())


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
