"""Verb 3: decide. Open versions + what was observed + what may be believed -> which versions to open and to close.

A *version* says: from valid_from (inclusive) until valid_to (exclusive) the listing told this content of this key.

    observed and not open                    -> open a version
    observed, open, same fingerprint         -> nothing
    observed, open, other fingerprint        -> close the old one, open a new one, at the same instant
    open, not observed, gone by evidence     -> close it
    open, not observed, no such evidence     -> nothing: what was not seen is not gone

Of a share the evidence is in the observation (confirm.py); a backup is gone from a listing when no open share of the
listing refers to it any more.

Pure: frames in, frames out. Not here: reading and writing versions (record.py), the proof (walk.py).
"""

from collections.abc import Collection
from dataclasses import dataclass

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc


@dataclass(frozen=True)
class Changes:
    """What one observation does to one history table.

    `opened`: observed rows that become versions, with all their columns: of keys that appeared or changed.
    `closed`: keys whose open version ends: of keys that changed or are gone.
    """

    opened: pd.DataFrame
    closed: "pd.Series[str]"
    appeared_count: int
    changed_count: int
    gone_count: int


def diff_versions(
    open_versions: pd.DataFrame,
    observed: pd.DataFrame,
    key: str,
    *,
    gone: Collection[str] = (),
    protected: Collection[str] = (),
) -> Changes:
    """Compare by content. `open_versions` has `key` and `row_hash`; `observed` has them among its columns.

    Both have one row per key. `gone` are the keys whose absence there is evidence for; observed ones are not gone all
    the same. `protected` keys were met but could not be read: they are neither changed nor closed.
    """
    shielded = list(protected)
    observed = observed[~observed[key].isin(shielded)].reset_index(drop=True)
    before = _looked_up(open_versions, observed[key], key)
    known = before.notna()
    changed = known & (before != observed["row_hash"])
    absent = ~open_versions[key].isin(observed[key]) & ~open_versions[key].isin(shielded)
    ended = open_versions.loc[absent & open_versions[key].isin(list(gone)), key]
    return Changes(
        opened=observed[~known | changed],
        closed=pd.concat([observed.loc[changed, key], ended], ignore_index=True),
        appeared_count=int((~known).sum()),
        changed_count=int(changed.sum()),
        gone_count=len(ended),
    )


def unreferenced(open_shares: pd.DataFrame, shares: Changes, open_backups: pd.DataFrame) -> "pd.Series[str]":
    """Ids of the open backups that no share refers to any more once `shares` is done."""
    staying = open_shares.loc[~open_shares["share_id"].isin(shares.closed), "backup_id"]
    referenced = pd.concat([staying, shares.opened["backup_id"]])
    return open_backups.loc[~open_backups["backup_id"].isin(referenced), "backup_id"]


@dataclass(frozen=True)
class Doubtful:
    """What remains to be decided where only what differs from before was read; `same_shares` are as before."""

    open_shares: pd.DataFrame
    open_backups: pd.DataFrame
    same_shares: pd.DataFrame


def without_unchanged(
    open_shares: pd.DataFrame,
    open_backups: pd.DataFrame,
    new_shares: pd.DataFrame,
    new_backups: pd.DataFrame,
    left_ids: Collection[str],
) -> Doubtful | None:
    """The open versions without those that the observation tells as before, which only read what differs.

    The open versions must be what the earlier observation told: `share_id`, `backup_id`, `row_hash` of the shares,
    `backup_id`, `row_hash` of the backups. `left_ids`: shares whose earlier record is not there as it was.
    None if a share is told twice, or a backup in two ways by a new record and one that is as before.
    """
    is_left = open_shares["share_id"].isin(list(left_ids))
    same = open_shares[~is_left]
    before = _looked_up(open_backups, new_backups["backup_id"], "backup_id")
    differing = new_backups.loc[before.isna() | (before != new_backups["row_hash"]), "backup_id"]
    if same["share_id"].isin(new_shares["share_id"]).any() or differing.isin(same["backup_id"]).any():
        return None
    backups = open_backups["backup_id"]
    is_same = backups.isin(same["backup_id"]) & ~backups.isin(new_backups["backup_id"])
    return Doubtful(open_shares[is_left], open_backups[~is_same], same)


def _looked_up(open_versions: pd.DataFrame, keys: "pd.Series[str]", key: str) -> "pd.Series[str]":
    """The fingerprint of the open version of each key, or null. A merge would make an object of every value."""
    places = pc.index_in(pa.array(keys), value_set=pa.array(open_versions[key]))
    found = pa.chunked_array([pa.array(open_versions["row_hash"])], pa.string()).take(places)
    return pd.Series(found, dtype=pd.ArrowDtype(pa.string()), index=keys.index)
