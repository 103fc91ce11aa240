"""Verb 2: pages -> tables of shares, backups, rejected records, and of what is not known. Pure: bytes in, tables out.

A page goes through pyarrow's typed JSON reader, column by column, without a Python object per field. If anything in
it is out of the ordinary (a wrong type, a doubled key, a time in another shape) that page goes through `records.py`
instead, one record at a time, by the same rules: what is sound is read, what is not is kept with its reason.
The nested backup never meets the share's own fields in one namespace: flattening with one separator would overwrite
`backup_id` with the nested `id`.
Not here: the rules for one record (records.py), what is not known (drift.py), which rows open or close versions
(history.py).
"""

import hashlib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj
from sqlalchemy import Column, Table

from pipelines import drift, records
from pipelines.delta import Difference
from pipelines.schema import (
    arrow_schema,
    backup_history,
    backup_share_history,
    content_columns,
    observed_drift,
    rejected_records,
    tracked_columns,
)

REJECTED_COLUMNS = ["page_number", "position", "share_id", "backup_id", "reason", "raw_json"]
_REJECTED_SCHEMA = arrow_schema([rejected_records.columns[name] for name in REJECTED_COLUMNS])
DRIFT_COLUMNS = ["kind", "path", "value", "record_count", "example", "share_id"]
_DRIFT_SCHEMA = arrow_schema([observed_drift.columns[name] for name in DRIFT_COLUMNS])
_HASH = pa.field("row_hash", pa.string())
_SHARE_COLUMNS = content_columns(backup_share_history)
_PAGE_SCHEMA = records.page_schema()
_DESCRIPTION_COLUMNS = [c for c in content_columns(backup_history) if c.info.get("derived_from") == "description"]


class Tables(NamedTuple):
    """One listing in Arrow; times are microseconds in UTC.

    `shares`: one row per share id; content columns of backup_share_history and `row_hash`.
    `backups`: one row per backup id; content columns of backup_history and `row_hash`.
    `rejected`: one row per record that could not be read; REJECTED_COLUMNS.
    `drift`: one row per field or value in the pages that is not known; DRIFT_COLUMNS.
    """

    shares: pa.Table
    backups: pa.Table
    rejected: pa.Table
    drift: pa.Table


@dataclass(frozen=True)
class Normalized:
    """One listing as tables, and each of them as a pandas frame of the same name on the same memory (`pd.ArrowDtype`).

    `conflict_count`: shares and backups of which the listing told two things; the share told last and the newer
    backup are in the tables.
    `since`: the tables hold only what differs from an earlier observation, this one; None: they hold everything.
    """

    tables: Tables
    conflict_count: int
    since: "Since | None" = None

    @property
    def shares(self) -> pd.DataFrame:
        return _frame(self.tables.shares)

    @property
    def backups(self) -> pd.DataFrame:
        return _frame(self.tables.backups)

    @property
    def rejected(self) -> pd.DataFrame:
        return _frame(self.tables.rejected)

    @property
    def drift(self) -> pd.DataFrame:
        return _frame(self.tables.drift)


@dataclass(frozen=True)
class Since:
    """An earlier observation of the same listing, and the shares of it whose record is not there as it was."""

    observation_id: str
    left_ids: tuple[str, ...]


def normalize_pages(pages: Iterable[bytes], excluded_ids: Collection[str] = ()) -> Normalized:
    """The pages of one observation, in the order of their arrival, as tables.

    A share that stands on several pages counts as it was told last. `excluded_ids` were seen but are not part of
    the proven state. A rejected record takes its share out of `shares`, also where another page told it well.
    """
    bodies = list(pages)
    flat, rejected, is_plain = _flat(bodies)
    bad_ids = {record["share_id"] for record in rejected if record["share_id"]}
    flat, share_conflicts = _latest_of_each_share(flat, bad_ids.union(excluded_ids))
    backups, backup_conflicts, may_drift = _backups(flat)
    # Looking for what is not known costs a Python object per field, so only where there may be some.
    unknown = [] if is_plain and not (may_drift or rejected or excluded_ids) else drift.count_drift(bodies)
    tables = Tables(
        shares=_shares(flat),
        backups=backups,
        rejected=_rejected(rejected),
        drift=pa.Table.from_pylist(unknown, schema=_DRIFT_SCHEMA),
    )
    return Normalized(tables, conflict_count=share_conflicts + backup_conflicts)


def normalize_difference(difference: Difference, earlier_id: str) -> Normalized | None:
    """What differs from the earlier observation as tables, if all of that could be read and is known; else None."""
    new, (left, unread, _) = normalize_pages([difference.new.body]), _flat([difference.left.body])
    left_ids = dict.fromkeys(left.column("share.share_id").to_pylist())
    is_whole = len(new.tables.shares) == difference.new.record_count and len(left_ids) == difference.left.record_count
    if not is_whole or unread or new.conflict_count or len(new.tables.drift):
        return None
    return replace(new, since=Since(earlier_id, tuple(left_ids)))


def _flat(pages: Iterable[bytes]) -> tuple[pa.Table, list[dict[str, Any]], bool]:
    """All records that can be read as one flat table, those that cannot, and whether no page has an unknown field."""
    tables: list[pa.Table] = []
    rejected: list[dict[str, Any]] = []
    # Runs of pages without a surprise are looked at as one: a kernel costs more to call than to run over a page.
    run: list[tuple[int, bytes, pa.StructArray]] = []
    is_plain = True
    for number, body in enumerate(pages):
        shared = _read_typed(body, "error")
        if shared is None:
            is_plain = False
            shared = _read_typed(body, "ignore")
        if shared is not None:
            run.append((number, body, shared))
            continue
        tables += _ordinary_or_exact(run, rejected)
        tables.append(_read_exactly(number, body, rejected))
        run = []
    tables += _ordinary_or_exact(run, rejected)
    return (pa.concat_tables(tables) if tables else records.FLAT_SCHEMA.empty_table()), rejected, is_plain


def _ordinary_or_exact(
    run: list[tuple[int, bytes, pa.StructArray]], rejected: list[dict[str, Any]]
) -> Iterator[pa.Table]:
    if not run:
        return
    flat = _flatten([shared for _, _, shared in run])
    if flat is not None:
        yield flat
    elif len(run) == 1:
        (number, body, _) = run[0]
        yield _read_exactly(number, body, rejected)
    else:
        for page in run:
            yield from _ordinary_or_exact([page], rejected)


def _read_exactly(number: int, body: bytes, rejected: list[dict[str, Any]]) -> pa.Table:
    good, bad = records.read_one_by_one(body)
    rejected.extend({"page_number": number, **record} for record in bad)
    return pa.Table.from_pylist(good, schema=records.FLAT_SCHEMA)


def _rejected(records_: list[dict[str, Any]]) -> pa.Table:
    table = pa.Table.from_pylist(records_, schema=_REJECTED_SCHEMA)
    # Pages overlap by a row on purpose; one bad record is one rejection.
    return _table(_frame(table).drop_duplicates("raw_json")) if len(table) > 1 else table


def _read_typed(body: bytes, unknown_fields: str) -> pa.StructArray | None:
    """The records of a page as the typed reader sees them, or None when a record needs the exact reader.

    `unknown_fields`: "ignore", or "error" for None where there is one.
    """
    if not body.lstrip().startswith(b"{"):
        return None
    try:
        document = pj.read_json(
            pa.BufferReader(body),
            read_options=pj.ReadOptions(use_threads=False, block_size=len(body) + 1),
            parse_options=pj.ParseOptions(
                explicit_schema=_PAGE_SCHEMA,
                unexpected_field_behavior=unknown_fields,
                newlines_in_values=b"\n" in body,
            ),
        )
        shared = document.column("shared").combine_chunks()
        return shared.flatten() if len(shared) == 1 and shared[0].is_valid else None
    except (pa.ArrowInvalid, UnicodeDecodeError):
        return None


def _flatten(pages: list[pa.StructArray]) -> pa.Table | None:
    """The records of some pages as one flat table; None unless every one obeys all the rules of records.py."""
    shared = pa.chunked_array(pages)
    try:
        arrays = []
        for field in records.FLAT_FIELDS:
            values = pc.struct_field(shared, list(field.path))
            arrays.append(_utc(values) if pa.types.is_timestamp(field.type) else values)
    except pa.ArrowInvalid:
        return None
    flat = pa.Table.from_arrays(arrays, schema=records.FLAT_SCHEMA)
    nested = pc.struct_field(shared, ["backup"])
    has_nameless_backup = pc.any(pc.and_(nested.is_valid(), flat.column("backup.backup_id").is_null())).as_py()
    return flat if not has_nameless_backup and _is_ordinary(flat) else None


def _utc(text: pa.ChunkedArray) -> pa.ChunkedArray:
    # Arrow takes a bare date for a time; the shortest time that the contract knows has 19 characters.
    if len(text) > text.null_count and pc.min(pc.binary_length(text)).as_py() < records.SHORTEST_TIME:
        raise pa.ArrowInvalid("not a time")
    times = pc.assume_timezone(text.cast(pa.timestamp("us")), "UTC")
    if len(text) > text.null_count and pc.min(times).value < records.FIRST_MICROSECOND:
        raise pa.ArrowInvalid("before the year 1")
    return times


def _is_ordinary(flat: pa.Table) -> bool:
    """Whether every record obeys all the rules of records.read_record; types were settled by the reader."""
    if any(flat.column(name).null_count for name in records.REQUIRED):
        return False
    ids = [flat.column("share.share_id"), flat.column("share.backup_id")]
    projects = [flat.column("share.from_project_id"), flat.column("share.to_project_id")]
    nested, plural = flat.column("backup.backup_id"), flat.column(records.PLURAL)
    singular = flat.column(records.SINGULAR)
    return (
        all(_all(pc.match_substring_regex(column, f"^{records.OBJECT_ID}$")) for column in ids)
        and all(_all(pc.match_substring_regex(column, f"^{records.PROJECT}$")) for column in projects)
        and _all(pc.equal(nested, ids[1]))
        and _all(pc.equal(singular, plural))
        and not any(_may_hold_nul(column) for column in flat.columns if pa.types.is_string(column.type))
    )


def _may_hold_nul(texts: pa.ChunkedArray) -> bool:
    """NUL in a string is legal JSON, and poison for PostgreSQL and C strings: the exact reader replaces it."""
    data = (chunk.buffers()[2] for chunk in texts.chunks)
    return any(buffer is not None and b"\0" in buffer.to_pybytes() for buffer in data)


def _all(mask: pa.ChunkedArray) -> bool:
    return pc.all(mask).as_py() is not False


def _latest_of_each_share(flat: pa.Table, excluded: Collection[str]) -> tuple[pa.Table, int]:
    """Each share as it was told last, and how many were told otherwise before."""
    ids = flat.column("share.share_id")
    if excluded:
        flat = flat.filter(pc.invert(pc.is_in(ids, pa.array(sorted(excluded), pa.string()))))
        ids = flat.column("share.share_id")
    codes = _codes(ids)
    again = codes.duplicated(keep=False)
    if not again.any():
        return flat, 0
    told = flat.filter(pa.array(again))
    places = pd.Series(np.arange(len(told)), index=codes[again])
    first_places = places[~places.index.duplicated()]
    conflicts = 0
    if not told.equals(told.take(first_places[places.index].to_numpy())):  # comparing them as pandas rows costs more
        conflicts = int(_frame(told).drop_duplicates()["share.share_id"].duplicated().sum())
    return _rows(flat, ~codes.duplicated(keep="last").to_numpy()), conflicts


def _rows(table: pa.Table, wanted: "np.ndarray[Any, np.dtype[np.bool_]]") -> pa.Table:
    """The wanted rows; where nearly all are (pages overlap by one), they are stretches of the table and no copy."""
    others = np.flatnonzero(~wanted)
    if len(others) > len(table) // 100:
        return table.filter(pa.array(wanted))
    stretches = pairwise([-1, *others.tolist(), len(table)])
    return pa.concat_tables([table.slice(before + 1, after - before - 1) for before, after in stretches])


def _codes(values: pa.ChunkedArray) -> "pd.Series[int]":
    """A number for each distinct value, in the order in which they appear: quicker to compare than text."""
    return pd.Series(values.combine_chunks().dictionary_encode().indices.to_numpy())


def _shares(flat: pa.Table) -> pa.Table:
    table = pa.table({column.name: flat.column(f"share.{column.name}") for column in _SHARE_COLUMNS})
    return _with_row_hash(table, backup_share_history)


def _backups(flat: pa.Table) -> tuple[pa.Table, int, bool]:
    """The backups, how many were told in two ways, and whether there is something in them that is not known."""
    if flat.column("backup.backup_id").null_count:
        flat = flat.filter(flat.column("backup.backup_id").is_valid())
    received = [field.name for field in records.FLAT_FIELDS if field.name.startswith("backup.")]
    table = flat.select(received).rename_columns([name.removeprefix("backup.") for name in received])
    table, has_conflicts = _without_copies(table)
    table = _with_dependency_flag(table)
    table = _with_columns(table, _DESCRIPTION_COLUMNS, records.read_descriptions(_texts(table, "description")))
    metadata, has_unknown_key = records.read_metadata(_texts(table, "service_metadata"))
    table = _with_columns(table, records.METADATA_COLUMNS, metadata)
    table = table.select([column.name for column in content_columns(backup_history)])
    table = _with_row_hash(table, backup_history)
    may_drift = has_unknown_key or drift.may_drift(table)
    table, conflicts = _newest_of_each_backup(table) if has_conflicts else (table, 0)
    return table, conflicts, may_drift


def _without_copies(table: pa.Table) -> tuple[pa.Table, bool]:
    """Each backup once, where all shares of it say the same; else the table as it is, and True."""
    codes = _codes(table.column("backup_id"))
    is_copy = codes.duplicated().to_numpy()
    first_of_code = np.flatnonzero(~is_copy)
    if is_copy.any() and not table.filter(pa.array(is_copy)).equals(table.take(first_of_code[codes[is_copy]])):
        return table, True
    return _rows(table, ~is_copy), False


def _with_dependency_flag(table: pa.Table) -> pa.Table:
    """The API's page spells the flag in two ways; both are read, `_is_ordinary` saw that they do not contradict."""
    both = pc.coalesce(table.column("has_dependent_backups"), table.column("has_dependent_backup"))
    index = table.schema.get_field_index("has_dependent_backups")
    return table.set_column(index, "has_dependent_backups", both)


def _texts(table: pa.Table, name: str) -> list[str | None]:
    texts: list[str | None] = table.column(name).to_pylist()
    return texts


def _with_columns(table: pa.Table, columns: list[Column[Any]], arrays: list[pa.Array]) -> pa.Table:
    for column, values in zip(columns, arrays, strict=True):
        table = table.append_column(column.name, values)
    return table


def _newest_of_each_backup(table: pa.Table) -> tuple[pa.Table, int]:
    """One row per backup. Copies in other shares are alike; where not, the last updated wins, then the hash."""
    frame = _frame(table).drop_duplicates(["backup_id", "row_hash"])
    twice = frame["backup_id"].duplicated(keep=False)
    conflicts = int(frame.loc[twice, "backup_id"].nunique())
    if conflicts:
        frame = frame.sort_values(["backup_updated_at", "row_hash"], na_position="first", kind="stable")
        frame = frame.drop_duplicates("backup_id", keep="last")
    return _table(frame), conflicts


def _with_row_hash(table: pa.Table, target: Table) -> pa.Table:
    return table.append_column(_HASH, fingerprint(table, tracked_columns(target)))


def fingerprint(table: pa.Table, columns: list[str]) -> pa.Array:
    r"""One fingerprint per row: the first 16 bytes of BLAKE2b over `name=value` of all non-null columns, in hex.

    The parts stand in the order of `columns` and are joined by NUL, which no value contains; times are microseconds
    since 1970 UTC, booleans `true` or `false`. It depends on nothing but the row: not on the batch, on types that
    a library infers, or on columns that are null, so a new column changes no old fingerprint. Part of the stored
    history: never change it.
    """
    parts = [pc.binary_join_element_wise(f"{name}=", _as_text(table.column(name)), "") for name in columns]
    joined = pc.binary_join_element_wise(*parts, "\0", null_handling="skip")
    digests = [hashlib.blake2b(row, digest_size=16).digest() for row in joined.cast(pa.binary()).to_pylist()]
    # All in one piece: a text object for each of them would cost as much as the hash.
    width = 2 * 16
    offsets = np.arange(0, width * (len(digests) + 1), width, dtype=np.int32)
    return pa.StringArray.from_buffers(
        len(digests), pa.py_buffer(offsets), pa.py_buffer(b"".join(digests).hex().encode())
    )


def _as_text(values: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_timestamp(values.type):
        values = values.cast(pa.int64())
    return values.cast(pa.string())


def _frame(table: pa.Table) -> pd.DataFrame:
    frame: pd.DataFrame = table.to_pandas(types_mapper=pd.ArrowDtype)
    return frame


def _table(frame: pd.DataFrame) -> pa.Table:
    return pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
