"""The contract of one record: which fields, which types, what makes it unreadable; and the exact reader for it.

The fields are taken from schema.py, by the path in the API's answer that each column names. The exact reader is for
pages that the typed reader in normalize.py cannot take; both obey these rules, and a test holds them equal.
Not here: tables (normalize.py). Nothing is repaired by guess: `"1"` is not 1 and true is not 1.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Column

from pipelines.errors import printable
from pipelines.schema import UNREAD_METADATA, arrow_type, backup_history, backup_share_history, content_columns

OBJECT_ID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
"""Ids of shares and backups: lower-case dashed UUIDs in all that is published (api-facts 4.1)."""
PROJECT = r"[0-9A-Za-z_-]{1,64}"
"""Ids of projects, other tenants' included: looser than what we take as configuration."""
SHORTEST_TIME = len("2017-08-08T04:03:27")
FIRST_MICROSECOND = -62135596800000000
"""0001-01-01, the first day that Python, DuckDB and PostgreSQL agree on."""

_METADATA_PREFIX = "shared[].backup.service_metadata."
_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(\.\d{1,6})?(Z|[+-]\d\d:[0-5]\d)?",
    re.ASCII,
)


@dataclass(frozen=True)
class Field:
    """One field of the answer: its path below a record, the name of its flat column, and the column's type."""

    path: tuple[str, ...]
    name: str
    type: pa.DataType


def metadata_key(column: Column[Any]) -> str | None:
    """The key of `service_metadata` that a column is read from; None for other columns."""
    source: str = column.info.get("source", "")
    return source.removeprefix(_METADATA_PREFIX) if source.startswith(_METADATA_PREFIX) else None


def _fields() -> Iterator[Field]:
    for prefix, table in (("share", backup_share_history), ("backup", backup_history)):
        for column in content_columns(table):
            if "source" in column.info and not metadata_key(column):
                path = tuple(column.info["source"].removeprefix("shared[].").split("."))
                yield Field(path, f"{prefix}.{column.name}", arrow_type(column))
    # The spec's table and its example spell this flag in two ways; and the metadata is read further below.
    yield Field(("backup", "has_dependent_backup"), "backup.has_dependent_backup", pa.bool_())
    yield Field(("backup", "service_metadata"), "backup.service_metadata", pa.string())


FLAT_FIELDS = list(_fields())
FLAT_SCHEMA = pa.schema([pa.field(field.name, field.type) for field in FLAT_FIELDS])
REQUIRED = ("share.share_id", "share.backup_id", "share.from_project_id", "share.to_project_id")
SINGULAR, PLURAL = "backup.has_dependent_backup", "backup.has_dependent_backups"
METADATA_COLUMNS = [column for column in content_columns(backup_history) if metadata_key(column)]
KNOWN_METADATA = UNREAD_METADATA.union(filter(None, map(metadata_key, METADATA_COLUMNS)))
"""Keys of `service_metadata` whose meaning is known, whether they are read or not."""


def page_schema() -> pa.Schema:
    """A page as the typed JSON reader has to see it; times are text there."""
    share: list[pa.Field] = []
    backup: list[pa.Field] = []
    for field in FLAT_FIELDS:
        kind = pa.string() if pa.types.is_timestamp(field.type) else field.type
        (backup if field.path[0] == "backup" else share).append(pa.field(field.path[-1], kind))
    record = pa.struct([*share, pa.field("backup", pa.struct(backup))])
    return pa.schema([pa.field("shared", pa.list_(record))])


def read_one_by_one(body: bytes) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The records of a page: the sound ones flat (FLAT_SCHEMA), the others as columns of rejected_records."""
    good: list[dict[str, Any]] = []
    bad: list[dict[str, Any]] = []
    for position, raw in enumerate(split(body.decode("utf-8"))):
        try:
            good.append(read_record(raw))
        except (ValueError, RecursionError) as error:
            reason = str(error) if isinstance(error, ValueError) else "the record is nested too deep"
            bad.append({"position": position, **_ids_of(raw), "reason": reason, "raw_json": storable(raw)})
    return good, bad


def read_record(raw: str) -> dict[str, Any]:
    """One record of JSON text, flat (FLAT_SCHEMA); raises ValueError with what is wrong with it."""
    record = json.loads(raw, object_pairs_hook=_object, parse_int=_whole_number, parse_constant=_no_constant)
    if not isinstance(record, dict):
        raise ValueError(f"the record is {_kind(record)} where an object was expected")
    backup = record.get("backup")
    if backup is not None and not isinstance(backup, dict):
        raise ValueError(f"backup is {_kind(backup)} where an object was expected")
    flat = {field.name: _value(record, field) for field in FLAT_FIELDS}
    _check(flat, has_backup=backup is not None)
    return flat


def _check(flat: dict[str, Any], *, has_backup: bool) -> None:
    for field in FLAT_FIELDS:
        if field.name in REQUIRED:
            value, pattern = flat[field.name], PROJECT if field.name.endswith("project_id") else OBJECT_ID
            if value is None or not re.fullmatch(pattern, value):
                found = "missing" if value is None else f"{printable(value, 60)}, which is not an id"
                raise ValueError(f"{field.path[-1]} is {found}")
    if has_backup and flat["backup.backup_id"] != flat["share.backup_id"]:
        raise ValueError("backup.id is not the backup_id of the share")
    flags = {flat[SINGULAR], flat[PLURAL]} - {None}
    if len(flags) > 1:
        raise ValueError("has_dependent_backup and has_dependent_backups contradict each other")


def _value(record: dict[str, Any], field: Field) -> Any:
    value: Any = record
    for part in field.path:
        value = value.get(part) if value is not None else None
    if value is None:
        return None
    try:
        return _READERS[field.type](value)
    except ValueError as error:
        raise ValueError(f"{'.'.join(field.path)} is {error}") from None


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{_kind(value)} where a string was expected")
    return storable(value)


def _integer(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{_kind(value)} where a whole number was expected")
    if not -(2**63) <= value < 2**63:
        raise ValueError("a number beyond 64 bits")
    return value


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{_kind(value)} where true or false was expected")
    return value


def _time(value: Any) -> datetime | None:
    """A time in any of the shapes of api-facts 4.3; without zone it is UTC; an empty string is no time."""
    text = _string(value)
    if text == "":
        return None
    match = _TIME.fullmatch(text)
    if not match:
        raise ValueError(f"{printable(text, 40)}, which is not a time")
    day, clock, fraction, zone = match.groups()
    try:
        time = datetime.fromisoformat(f"{day}T{clock}{(fraction or '.0').ljust(7, '0')}{zone or 'Z'}")
        return time.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"{printable(text, 40)}, which is not a time") from None


_READERS = {
    pa.string(): _string,
    pa.int64(): _integer,
    pa.bool_(): _boolean,
    pa.timestamp("us", tz="UTC"): _time,
}


_SURROGATE = re.compile("[\ud800-\udfff]")


def storable(text: str) -> str:
    """Text that every engine can store: NUL and lone surrogates are replaced by the signs that stand for them."""
    return _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text.replace("\0", "\N{SYMBOL FOR NULL}"))


_TWICE = object()
"""Stands for the value of a key that an object has twice: it can be read as nothing."""


def _kind(value: Any) -> str:
    if value is None or value is _TWICE:
        return "given twice" if value is _TWICE else "null"
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", int: "a number", float: "a number"}
    return f"{printable(json.dumps(value, default=_kind), 30)}, {names[type(value)]}"


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        # Only harmful where the key is read: like the typed reader, this one ignores what it does not know.
        counts = Counter(key for key, _ in pairs)
        found.update((key, _TWICE) for key, count in counts.items() if count > 1)
    return found


def _whole_number(digits: str) -> int:
    # Python refuses thousands of digits; 21 are as far beyond 64 bits as all of them.
    return int(digits[:21])


def _no_constant(name: str) -> None:
    raise ValueError(f"the record holds {name}, which is not JSON")


def split(text: str) -> Iterator[str]:
    """The JSON texts of the records, as received. The page was checked when it was received (client.py)."""
    position = _skip(text, 0, "{")
    start = 0
    while text[position] != "}":
        end = _end_of_value(text, position)
        key, position = json.loads(text[position:end]), _skip(text, end, ":")
        if key == "shared":
            start = position  # the last one counts, as it did for the client
        position = _skip(text, _end_of_value(text, position), ",")
    position = _skip(text, start, "[")
    while text[position] != "]":
        end = _end_of_value(text, position)
        yield text[position:end]
        position = _skip(text, end, ",")


_STRING = r'"(?:[^"\\]++|\\.)*+"'
_SCALAR = re.compile(rf"{_STRING}|[^\s,:\]}}]+", re.DOTALL)
_BRACKET = re.compile(rf'(?:[^"\[\]{{}}]++|{_STRING})*+([\[\]{{}}])', re.DOTALL)


def _end_of_value(text: str, position: int) -> int:
    # Not with a JSON reader: it would go down with one record that is nested too deep.
    if text[position] not in "[{":
        return _SCALAR.match(text, position).end()  # type: ignore[union-attr]  # it is JSON
    depth = 0
    for bracket in _BRACKET.finditer(text, position):
        depth += 1 if bracket.group(1) in "[{" else -1
        if depth == 0:
            return bracket.end()
    return len(text)


_BLANKS = re.compile(r"[ \t\n\r]*")


def _skip(text: str, position: int, sign: str) -> int:
    """Past blanks, `sign` if it stands there, and blanks."""
    position = _BLANKS.match(text, position).end()  # type: ignore[union-attr]  # matches everywhere
    if text[position] == sign:
        position += 1
    return _BLANKS.match(text, position).end()  # type: ignore[union-attr]


def _ids_of(raw: str) -> dict[str, str | None]:
    """The ids of a rejected record, as far as they can be read beyond doubt."""
    try:
        # Objects as tuples of pairs: doubled keys stay visible, and a list is something else.
        pairs = json.loads(raw, object_pairs_hook=tuple, parse_int=str)
    except (ValueError, RecursionError):
        pairs = ()
    ids: dict[str, str | None] = {}
    for column, key in {"share_id": "id", "backup_id": "backup_id"}.items():
        found = [value for name, value in pairs if name == key] if isinstance(pairs, tuple) else []
        sound = len(found) == 1 and isinstance(found[0], str) and re.fullmatch(OBJECT_ID, found[0])
        ids[column] = found[0] if sound else None
    return ids


def read_descriptions(texts: list[str | None]) -> list[pa.Array]:
    """The columns description_text and is_incremental_requested."""
    parsed: dict[str | None, tuple[str | None, bool | None]] = {}
    for text in texts:
        if text not in parsed:
            parsed[text] = _read_description(text)
    rows = [parsed[text] for text in texts]
    return [pa.array([note for note, _ in rows], pa.string()), pa.array([asked for _, asked in rows], pa.bool_())]


def _read_description(text: str | None) -> tuple[str | None, bool | None]:
    """description_text and is_incremental_requested: DESC and INC where the text is the JSON that VBS wraps
    around it (api-facts 4.4), else the text itself and null."""
    wrapped = _json_object(text)
    if wrapped is None or not wrapped.keys() & {"DESC", "INC"}:
        return text, None
    note, incremental = wrapped.get("DESC"), wrapped.get("INC")
    requested = {0: False, 1: True}.get(incremental) if isinstance(incremental, int) else None
    return (storable(note) if isinstance(note, str) else None), requested


def read_metadata(texts: list[str | None]) -> tuple[list[pa.Array], bool]:
    """The allowed keys of `service_metadata`, one array per column of METADATA_COLUMNS; null where absent or no use.
    And whether some text holds a key that is not known.

    Clouds send some numbers as strings (api-facts 4.5); everything else in the text stays in the landing.
    """
    keys = [metadata_key(column) or "" for column in METADATA_COLUMNS]
    rows = []
    has_unknown_key = False
    for text in texts:
        found = object_in(text)
        has_unknown_key = has_unknown_key or not KNOWN_METADATA.issuperset(found)
        rows.append([*map(found.get, keys)])
    columns = zip(*rows, strict=True) if rows else ([] for _ in keys)
    arrays = [_lenient(values, arrow_type(column)) for column, values in zip(METADATA_COLUMNS, columns, strict=True)]
    return arrays, has_unknown_key


def object_in(text: str | None) -> dict[str, Any]:
    """The object of JSON text; an empty one where it is none."""
    try:
        found = orjson.loads(text) if text is not None else None
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _json_object(text: str | None) -> dict[str, Any] | None:
    if text is None or not text.lstrip().startswith("{"):
        return None
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None


def _lenient(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    wanted = bool if pa.types.is_boolean(kind) else int
    # Most columns are of one type: asking for the set of types costs a tenth of looking at each value.
    types = set(map(type, values)) - {type(None)}
    if types <= {str} and wanted is int:
        return _numbers_in(pa.array(values, pa.string()))
    try:
        if types <= {wanted}:
            return pa.array(values, kind)
    except OverflowError:
        pass
    if wanted is bool:
        return pa.array([value if isinstance(value, bool) else None for value in values], kind)
    return pa.array([number_in(value) for value in values], kind)


def number_in(value: Any) -> int | None:
    """A whole number of the metadata, also one that is written as text."""
    if type(value) is int:
        return value if -(2**63) <= value < 2**63 else None
    digits = value.strip() if isinstance(value, str) else ""
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= MAX_DIGITS else None


def _numbers_in(texts: pa.Array) -> pa.Array:
    """`number_in` of texts alone, without an object for each."""
    digits = pc.utf8_trim_whitespace(texts)
    is_number = pc.match_substring_regex(digits, f"^[0-9]{{1,{MAX_DIGITS}}}$")
    return pc.if_else(is_number, digits, pa.scalar(None, pa.string())).cast(pa.int64())


MAX_DIGITS = 18
"""Decimal digits that fit 64 bits whatever they are."""
