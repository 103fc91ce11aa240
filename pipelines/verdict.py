"""What is said of a finished sync: is it red and why, and what somebody should look at all the same. Pure.

Not here: how the facts are asked for (defs/assets.py, sql/reports/internal/), the page for people (page/).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.errors import counted, printable
from pipelines.load import Unloaded

TOLERATED_REJECTS = 0.05
"""Share of a listing's records that may be quarantined before the sync turns red; a single one never does."""
SHOWN_DRIFT = 20
"""Lines that may tell what is new in the answers; the view has all of it."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Finished:
    """What is known at the end of a sync.

    `listings`: rows of the report listing_status; `drift`: of new_drift. `unrecorded`: what it landed that is not
    recorded, and why. `unobserved`: why a cloud let nobody in, or listings were not landed. `policy`: what is wrong
    with the policy. `lost`: recorded files that are in the landing no more.
    """

    listings: Sequence[Row]
    drift: Sequence[Row] = ()
    unrecorded: Sequence[Unloaded] = ()
    unobserved: Sequence[str] = ()
    policy: Sequence[str] = ()
    lost: Sequence[str] = ()

    @property
    def is_empty(self) -> bool:
        return not (self.listings or self.unrecorded or self.unobserved)

    @property
    def problems(self) -> list[str]:
        """A line for each listing that is not proven, or proven and not recorded."""
        told = [f"{_name(row)}: {row['status']}, {row['reason']}" for row in self.listings if not row["is_proven"]]
        return told + [f"{each.file.name}: {each.reason}" for each in self.unrecorded]


def why_red(finished: Finished) -> str:
    """What turns the sync red, the most important first; empty if it is green."""
    unread = [
        f"{_name(row)}: {counted(row['rejected'], 'record')} could not be read, see rejected_records"
        for row in finished.listings
        if row["rejected"] > max(1, TOLERATED_REJECTS * (row["share_count"] + row["rejected"]))
    ]
    held = [f"{_name(row)}: {row['reason']}" for row in finished.listings if row["held"]]
    told = [*finished.unobserved, *finished.policy, *finished.problems, *held, *unread]
    return "\n".join([_summary(finished), *told]) if told else ""


def _summary(finished: Finished) -> str:
    unproven = {_name(row) for row in finished.listings if not row["is_proven"]}
    unproven |= {f"{each.file.listing.direction} {each.file.listing.project_id}" for each in finished.unrecorded}
    count = len(unproven | {_name(row) for row in finished.listings})
    if not count:
        return "No listing was observed."
    if unproven:
        rest = "the others are published" if len(unproven) < count else "nothing of them is published"
        return f"{len(unproven)} of {count} listings are not proven; {rest}."
    return f"All {count} listings that were observed are proven and published. Look at this:"


def remarks(finished: Finished) -> list[str]:
    """What somebody should know of a sync, whether it is red or not."""
    told = [
        f"{len(finished.lost)} files that are recorded are in LANDING_DIR no more, the first is {first}: bring them "
        "back from a backup, for a rebuild could not give again what they say"
        for first in finished.lost[:1]
    ]
    for row in finished.listings:
        unconfirmed = row["absent"] - row["withdrawn"] - row["held"]
        if row["is_proven"] and unconfirmed > 0:
            told.append(f"{_name(row)}: {unconfirmed} absent shares are not recorded as withdrawn; {row['reason']}")
    new = [f"new in the answers of the service, see schema_drift: {_drift(row)}" for row in finished.drift]
    return told + new[:SHOWN_DRIFT]


def _drift(row: Row) -> str:
    what = f"field {row['path']}" if row["kind"] == "unknown_field" else f"value {row['value']} of {row['path']}"
    return f"unknown {printable(what)} in {counted(row['record_count'], 'record')}"


def _name(row: Row) -> str:
    return f"{row['direction']} {row['project_id']}"
