"""Verb 3: decide. Open versions + what was observed + what may be believed -> which versions to open and to close.

A *version* says: from valid_from (inclusive) until valid_to (exclusive) the listing told this content of this key.

    observed and not open                    -> open a version
    observed, open, same fingerprint         -> nothing
    observed, open, other fingerprint        -> close the old one, open a new one, at the same instant
    open, not observed, absence proven       -> close it
    open, not observed, absence not proven   -> nothing: what was not seen is not gone

Pure: frames in, frames out. Not here: reading and writing versions (warehouse.py), the proof (walk.py).
"""

from collections.abc import Collection
from dataclasses import dataclass

import pandas as pd


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
    open_versions: pd.DataFrame, observed: pd.DataFrame, key: str, *, may_close: bool, protected: Collection[str] = ()
) -> Changes:
    """Compare by content. `open_versions` has `key` and `row_hash`; `observed` has them among its columns.

    Both have one row per key. `protected` keys were met but could not be read: they are neither changed nor closed.
    """
    shielded = list(protected)
    observed = observed[~observed[key].isin(shielded)].reset_index(drop=True)
    before = observed[[key]].merge(open_versions, on=key, how="left")["row_hash"]
    known = before.notna()
    changed = known & (before != observed["row_hash"])
    missing = ~open_versions[key].isin(observed[key]) & ~open_versions[key].isin(shielded)
    gone = open_versions.loc[missing, key] if may_close else open_versions[key].head(0)
    return Changes(
        opened=observed[~known | changed],
        closed=pd.concat([observed.loc[changed, key], gone], ignore_index=True),
        appeared_count=int((~known).sum()),
        changed_count=int(changed.sum()),
        gone_count=len(gone),
    )
