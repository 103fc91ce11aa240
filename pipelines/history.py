"""Verb 3: decide. Open versions + what was observed + what may be believed -> which versions to open and to close.

A *version* says: from valid_from (inclusive) until valid_to (exclusive) the listing told this content of this key.

    observed and not open                    -> open a version
    observed, open, same fingerprint         -> nothing
    observed, open, other fingerprint        -> close the old one, open a new one, at the same instant
    open, not observed, gone by evidence     -> close it
    open, not observed, no such evidence     -> nothing: what was not seen is not gone

Of a share the evidence is in the observation (confirm.py); a backup is gone from a listing when no open share of the
listing refers to it any more.

Pure: tables in, tables out, in Arrow alone: most listings are small, and a step of pandas costs more than their rows.
Not here: reading and writing versions (record.py), the proof (walk.py).
"""

from collections.abc import Collection
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc


@dataclass(frozen=True)
class Changes:
    """What one observation does to one history table.

    `opened`: observed rows that become versions, with all their columns: of keys that appeared or changed.
    `closed`: keys whose open version ends: of keys that changed or are gone.
    """

    opened: pa.Table
    closed: pa.ChunkedArray
    appeared_count: int
    changed_count: int
    gone_count: int


def diff_versions(
    open_versions: pa.Table,
    observed: pa.Table,
    key: str,
    *,
    gone: Collection[str] | pa.ChunkedArray = (),
    protected: Collection[str] = (),
) -> Changes:
    """Compare by content. `open_versions` has `key` and `row_hash`; `observed` has them among its columns.

    Both have one row per key. `gone` are the keys whose absence there is evidence for; observed ones are not gone all
    the same. `protected` keys were met but could not be read: they are neither changed nor closed.
    """
    if protected:
        observed = observed.filter(pc.invert(_is_in(observed[key], protected)))
    before = _looked_up(open_versions, observed[key], key)
    appeared, changed = before.is_null(), _differ(before, observed["row_hash"])
    changed_keys = observed[key].filter(changed)
    ended = open_versions[key].filter(_is_in(open_versions[key], gone))
    ended = ended.filter(pc.invert(pc.or_(_is_in(ended, observed[key]), _is_in(ended, protected))))
    return Changes(
        opened=observed.filter(pc.or_(appeared, changed)),
        closed=pa.chunked_array([*changed_keys.chunks, *ended.chunks], pa.string()),
        appeared_count=before.null_count,
        changed_count=len(changed_keys),
        gone_count=len(ended),
    )


def unreferenced(open_shares: pa.Table, shares: Changes, open_backups: pa.Table) -> pa.ChunkedArray:
    """Ids of the open backups that no share refers to any more once `shares` is done."""
    staying = open_shares["backup_id"].filter(pc.invert(_is_in(open_shares["share_id"], shares.closed)))
    backups = open_backups["backup_id"]
    return backups.filter(pc.invert(pc.or_(_is_in(backups, staying), _is_in(backups, shares.opened["backup_id"]))))


@dataclass(frozen=True)
class Doubtful:
    """What remains to be decided where only what differs from before was read; `same_shares` are as before."""

    open_shares: pa.Table
    open_backups: pa.Table
    same_shares: pa.Table


def without_unchanged(
    open_shares: pa.Table,
    open_backups: pa.Table,
    new_shares: pa.Table,
    new_backups: pa.Table,
    left_ids: Collection[str],
) -> Doubtful | None:
    """The open versions without those that the observation tells as before, which only read what differs.

    The open versions must be what the earlier observation told: `share_id`, `backup_id`, `row_hash` of the shares,
    `backup_id`, `row_hash` of the backups. `left_ids`: shares whose earlier record is not there as it was.
    None if a share is told twice, or a backup in two ways by a new record and one that is as before.
    """
    is_left = _is_in(open_shares["share_id"], left_ids)
    same = open_shares.filter(pc.invert(is_left))
    before = _looked_up(open_backups, new_backups["backup_id"], "backup_id")
    is_news = pc.or_(before.is_null(), _differ(before, new_backups["row_hash"]))
    differing = new_backups["backup_id"].filter(is_news)
    if _any(_is_in(same["share_id"], new_shares["share_id"])) or _any(_is_in(differing, same["backup_id"])):
        return None
    backups = open_backups["backup_id"]
    is_same = pc.and_not(_is_in(backups, same["backup_id"]), _is_in(backups, new_backups["backup_id"]))
    return Doubtful(open_shares.filter(is_left), open_backups.filter(pc.invert(is_same)), same)


def _looked_up(open_versions: pa.Table, keys: pa.ChunkedArray, key: str) -> pa.ChunkedArray:
    """The fingerprint of the open version of each key, or null."""
    return open_versions["row_hash"].take(pc.index_in(keys, value_set=open_versions[key]))


def _differ(before: pa.ChunkedArray, after: pa.ChunkedArray) -> pa.ChunkedArray:
    """Where both are there, and not the same."""
    return pc.fill_null(pc.not_equal(before, after), False)


def _is_in(values: pa.ChunkedArray, wanted: Collection[str] | pa.ChunkedArray) -> pa.ChunkedArray:
    if not isinstance(wanted, pa.ChunkedArray):
        wanted = pa.array(list(wanted), pa.string())
    return pc.is_in(values, value_set=wanted)


def _any(mask: pa.ChunkedArray) -> bool:
    return pc.any(mask).as_py() is True
