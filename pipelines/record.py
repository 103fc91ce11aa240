"""One observation is recorded: what it opens and closes, what of it could not be read or is not known, its ledger row.

Not here: what opens or closes a version (history.py), transactions (warehouse.py), the engines' ways (engines.py).
"""

from datetime import UTC
from functools import cache
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import ColumnElement, Connection, Select, Table, bindparam, case, func, insert, select

from pipelines.engines import ways_of
from pipelines.errors import OutOfOrderError, StaleDifferenceError, WarehouseError
from pipelines.history import Changes, Doubtful, diff_versions, unreferenced, without_unchanged
from pipelines.landing import LandedFile
from pipelines.normalize import Normalized
from pipelines.observation import Listing, Observation
from pipelines.schema import (
    OPEN_END,
    arrow_schema,
    backup_history,
    backup_share_history,
    observations,
    observed_drift,
    rejected_records,
)


def record(
    connection: Connection, observation: Observation, file: LandedFile, sha256: str, normalized: Normalized
) -> None:
    """All of `Warehouse.record`, within a transaction."""
    ways_of(connection).hold(connection, str(observation.listing))
    if _is_recorded(connection, observation, sha256):
        return
    counts = dict.fromkeys(_COUNTS, 0)
    if observation.status.is_proven:
        counts = _record_changes(connection, observation, normalized)
        _append_of(connection, rejected_records, observation, normalized.tables.rejected)
        _append_of(connection, observed_drift, observation, normalized.tables.drift)
    row = _ledger_row(observation, file, sha256, normalized) | counts
    connection.execute(insert(observations).values(row))


def _of_listing(table: Table, listing: Listing) -> Any:
    return (
        (table.c.region == listing.region)
        & (table.c.project_id == listing.project_id)
        & (table.c.direction == str(listing.direction))
    )


def _is_recorded(connection: Connection, observation: Observation, sha256: str) -> bool:
    """Raises OutOfOrderError where it is not, and can not be any more."""
    mine = _of_listing(observations, observation.listing)
    same = observations.c.observation_id == observation.observation_id
    found = select(
        func.max(case((same, observations.c.landing_sha256))), func.max(case((mine, observations.c.observed_at)))
    ).where(same | mine)
    recorded, last = connection.execute(found).all()[0]
    if recorded is not None and recorded != sha256:
        raise WarehouseError(
            f"observation {observation.observation_id} was recorded from another landing file: "
            "the file was changed afterwards, restore it from a backup"
        )
    if recorded is None and last is not None and observation.observed_at <= last:
        raise OutOfOrderError(
            f"the {observation.listing} were already recorded as of {last.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC, "
            f"this observation is of {observation.observed_at:%Y-%m-%d %H:%M:%S}: only a rebuild can use it"
        )
    return recorded is not None


_COUNTS = (
    "share_count",
    "backup_count",
    "shares_granted",
    "shares_changed",
    "shares_withdrawn",
    "backups_opened",
    "backups_closed",
)


def _record_changes(connection: Connection, observation: Observation, normalized: Normalized) -> dict[str, int]:
    told_shares, told_backups, rejected, _ = normalized.tables
    rejected_shares, rejected_backups = (rejected[key].to_pylist() for key in ("share_id", "backup_id"))
    open_shares = _open_versions(connection, backup_share_history, observation.listing, "backup_id")
    open_backups = _open_versions(connection, backup_history, observation.listing)
    doubtful = _doubtful(connection, observation.listing, normalized, open_shares, open_backups)
    shares = diff_versions(
        doubtful.open_shares,
        told_shares,
        "share_id",
        gone=observation.gone_ids if _may_close(observation, normalized) else (),
        # What some page of this walk showed is not gone, whatever the proven state says; the next sync will tell.
        protected=[*filter(None, rejected_shares), *observation.excluded_ids],
    )
    # A record whose backup cannot be read could refer to any.
    any_backup = None in rejected_backups
    backups = diff_versions(
        doubtful.open_backups,
        told_backups,
        "backup_id",
        gone=() if any_backup else unreferenced(open_shares, shares, open_backups),
        protected=[*filter(None, rejected_backups)],
    )
    backup_ids = [*told_shares["backup_id"].chunks, *doubtful.same_shares["backup_id"].chunks]
    told = pa.chunked_array(backup_ids, pa.string())
    _apply(connection, backup_share_history, observation, open_shares, shares)
    _apply(connection, backup_history, observation, open_backups, backups)
    return {
        "share_count": len(told),
        "backup_count": pc.count_distinct(told).as_py(),
        "shares_granted": shares.appeared_count,
        "shares_changed": shares.changed_count,
        "shares_withdrawn": shares.gone_count,
        "backups_opened": len(backups.opened),
        "backups_closed": len(backups.closed),
    }


def _doubtful(
    connection: Connection, listing: Listing, normalized: Normalized, open_shares: pa.Table, open_backups: pa.Table
) -> Doubtful:
    """All open versions; where the tables only hold what differs, those that may be told in another way."""
    if normalized.since is None:
        return Doubtful(open_shares, open_backups, open_shares.slice(0, 0))
    # What is open is what the earlier observation told if it is the last proven one, all of it could be read,
    # nothing was told in two ways, and nothing else was left open. What was not known then is still there, uncounted.
    names = ("observation_id", "share_count", "backup_count", "rejected_count", "conflict_count")
    last = select(*(observations.c[name] for name in names), has_drift())
    last = last.where(_of_listing(observations, listing), observations.c.is_proven)
    earlier = connection.execute(last.order_by(observations.c.observed_at.desc()).limit(1)).all()
    expected = (normalized.since.observation_id, len(open_shares), len(open_backups), 0, 0, False)
    doubtful = None
    if [tuple(row) for row in earlier] == [expected]:
        told, left_ids = normalized.tables, normalized.since.left_ids
        doubtful = without_unchanged(open_shares, open_backups, told.shares, told.backups, left_ids)
    if doubtful is None:
        raise StaleDifferenceError(f"what differs in the {listing} was read against another state")
    return doubtful


def has_drift() -> ColumnElement[bool]:
    """Whether an observation met something that is not known, within a query for observations."""
    return observations.c.observation_id.in_(select(observed_drift.c.observation_id))


def _may_close(observation: Observation, normalized: Normalized) -> bool:
    # A record without readable id could be any share: then nothing is known to be missing.
    return observation.may_close and not normalized.tables.rejected["share_id"].null_count


def _why_nothing_closes(observation: Observation, normalized: Normalized) -> str:
    if observation.may_close and not _may_close(observation, normalized):
        return "a record without readable id was met: nothing was recorded as withdrawn"
    return ""


@cache
def select_open(table: Table, *names: str) -> Select[Any]:
    """What is open of a listing, which its parameters name (`listing_values`)."""
    is_mine = [table.c[name] == bindparam(name) for name in ("region", "project_id", "direction")]
    return select(*(table.c[name] for name in names)).where(*is_mine, table.c.valid_to == OPEN_END)


def _open_versions(connection: Connection, table: Table, listing: Listing, *more: str) -> pa.Table:
    """Key, fingerprint, and the columns asked for besides."""
    key = table.info["key"]
    query = select_open(table, key, "row_hash", *more)
    found = ways_of(connection).rows(connection, query, listing_values(listing))
    if pc.count_distinct(found[key]).as_py() < len(found):
        raise WarehouseError(f"{table.name} holds two open versions of a {key} of the {listing}: rebuild the warehouse")
    return found


def _apply(
    connection: Connection, table: Table, observation: Observation, open_versions: pa.Table, changes: Changes
) -> None:
    _refuse_two_open_versions(table, open_versions, changes)
    if len(changes.closed):
        _close_versions(connection, table, observation, changes.closed)
    if len(changes.opened):
        constants = {
            **listing_values(observation.listing),
            "valid_from": observation.observed_at,
            "valid_to": OPEN_END,
            "opened_by": observation.observation_id,
            "closed_by": None,
        }
        append(connection, table, _with_constants(changes.opened, constants, table))


def _refuse_two_open_versions(table: Table, open_versions: pa.Table, changes: Changes) -> None:
    key = table.info["key"]
    opened, is_open = changes.opened[key], open_versions[key]
    counts = pc.value_counts(opened)
    is_staying = pc.and_not(pc.is_in(is_open, value_set=opened), pc.is_in(is_open, value_set=changes.closed))
    twice = [
        *counts.field("values").filter(pc.greater(counts.field("counts"), 1)).to_pylist(),
        *is_open.filter(is_staying).to_pylist(),
    ]
    if twice:
        raise WarehouseError(f"{table.name} would hold two open versions of {twice[0]}: nothing was recorded")


def _close_versions(connection: Connection, table: Table, observation: Observation, keys: pa.ChunkedArray) -> None:
    key = table.c[table.info["key"]]
    with ways_of(connection).is_among(connection, key, keys.combine_chunks()) as is_closing:
        is_open = _of_listing(table, observation.listing) & (table.c.valid_to == OPEN_END)
        ending = table.update().where(is_open, is_closing)
        done = connection.execute(ending.values(valid_to=observation.observed_at, closed_by=observation.observation_id))
    if done.rowcount != len(keys):
        raise WarehouseError(f"{table.name} has {done.rowcount} of {len(keys)} versions to close: nothing was recorded")


def listing_values(listing: Listing) -> dict[str, str]:
    return {"region": listing.region, "project_id": listing.project_id, "direction": str(listing.direction)}


def _with_constants(rows: pa.Table, constants: dict[str, Any], table: Table) -> pa.Table:
    schema = arrow_schema(list(table.columns))
    columns = [
        pa.repeat(pa.scalar(constants[field.name], field.type), len(rows))
        if field.name in constants
        else rows.column(field.name)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def _append_of(connection: Connection, table: Table, observation: Observation, rows: pa.Table) -> None:
    constants = {
        "observation_id": observation.observation_id,
        **listing_values(observation.listing),
        "observed_at": observation.observed_at,
    }
    if len(rows):
        append(connection, table, _with_constants(rows, constants, table))


def append(connection: Connection, table: Table, rows: pa.Table) -> None:
    if len(rows):
        ways_of(connection).append(connection, table, rows)


_LEDGER_COLUMNS = [column.name for column in observations.columns]


def _ledger_row(observation: Observation, file: LandedFile, sha256: str, normalized: Normalized) -> dict[str, Any]:
    taken = {name: getattr(observation, name) for name in _LEDGER_COLUMNS if hasattr(observation, name)}
    return {
        **taken,
        **listing_values(observation.listing),
        "status": str(observation.status),
        "is_proven": observation.status.is_proven,
        "may_close": _may_close(observation, normalized),
        "reason": observation.reason or _why_nothing_closes(observation, normalized),
        "rejected_count": len(normalized.tables.rejected),
        "conflict_count": normalized.conflict_count,
        "landing_file": file.name,
        "landing_sha256": sha256,
    }
