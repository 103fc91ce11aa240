"""When a sync is red, and what is said of it. Not here: that the job says it (test_definitions.py)."""

from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from pipelines.landing import landed_file
from pipelines.load import Unloaded
from pipelines.verdict import Finished, remarks, why_red


def row(project: str, **more: Any) -> dict[str, Any]:
    """A listing that was proven, of 100 shares."""
    usual = {"project_id": project, "direction": "outgoing", "status": "exact", "is_proven": True, "reason": ""}
    counts = {"share_count": 100, "withdrawn": 0, "absent": 0, "held": 0, "rejected": 0}
    return usual | counts | more


FAILED = row("b", status="failed", is_proven=False, reason="HTTP 403")
NAME = f"r1/{'c' * 32}/incoming/20260301T060000000000Z_{UUID(int=1)}.parquet"
FILE = landed_file(Path("landing"), NAME)
assert FILE is not None
NOT_RECORDED = Unloaded(FILE, "it is damaged")


def test_a_sync_that_proved_all_its_listings_is_green_and_without_remark() -> None:
    finished = Finished([row("a"), row("b")])
    assert why_red(finished) == ""
    assert remarks(finished) == []
    assert not finished.is_empty


def test_a_sync_that_observed_nothing_is_empty() -> None:
    assert Finished([], lost=["x.parquet"], policy=["it is broken"]).is_empty
    assert not Finished([], unobserved=["cloud shut: no login"]).is_empty
    assert not Finished([], unrecorded=[NOT_RECORDED]).is_empty


@pytest.mark.parametrize(
    ("finished", "told"),
    [
        (
            Finished([row("a"), FAILED]),
            ["1 of 2 listings are not proven; the others are published.", "outgoing b: failed, HTTP 403"],
        ),
        (
            Finished([row("a"), FAILED], unrecorded=[NOT_RECORDED]),
            [
                "2 of 3 listings are not proven; the others are published.",
                "outgoing b: failed, HTTP 403",
                f"{NAME}: it is damaged",
            ],
        ),
        (
            Finished([row("a", held=3, reason="3 are held")], policy=["the policy is broken"]),
            [
                "All 1 listings that were observed are proven and published. Look at this:",
                "the policy is broken",
                "outgoing a: 3 are held",
            ],
        ),
        (Finished([], unobserved=["cloud shut: no login"]), ["No listing was observed.", "cloud shut: no login"]),
    ],
)
def test_what_is_not_as_it_should_be_turns_it_red_in_a_line_each(finished: Finished, told: list[str]) -> None:
    assert why_red(finished).split("\n") == told


@pytest.mark.parametrize(
    ("shares", "rejected", "is_red"),
    [(0, 1, False), (1, 1, False), (95, 5, False), (94, 6, True), (37, 2, True), (38, 2, False)],
)
def test_more_than_one_record_in_twenty_that_cannot_be_read_turns_it_red_and_a_single_one_never(
    shares: int, rejected: int, is_red: bool
) -> None:
    told = why_red(Finished([row("a", share_count=shares, rejected=rejected)]))
    assert (f"outgoing a: {rejected} records could not be read" in told) == is_red == bool(told)


def test_shares_that_are_absent_without_evidence_are_a_remark() -> None:
    listings = [row("a", absent=5, withdrawn=2, held=1, reason="no answer"), row("b", absent=2, withdrawn=2)]
    assert remarks(Finished(listings)) == [
        "outgoing a: 2 absent shares are not recorded as withdrawn; no answer",
    ]
    assert remarks(Finished([FAILED | {"absent": 5}])) == []


def test_files_that_are_gone_and_what_is_new_are_remarks_of_which_the_drift_is_cut_short() -> None:
    field = {"kind": "unknown_field", "path": "shared[].\x1b[2J", "value": "", "record_count": 3}
    value = {"kind": "unknown_value", "path": "backup.status", "value": "melted", "record_count": 1}
    told = remarks(Finished([row("a")], drift=[field, *[value] * 30], lost=["x.parquet", "y.parquet"]))
    assert told[0].startswith("2 files that are recorded are in LANDING_DIR no more, the first is x.parquet: ")
    assert told[1].endswith("see schema_drift: unknown field shared[].\\x1b[2J in 3 records")
    assert told[2].endswith("see schema_drift: unknown value melted of backup.status in 1 record")
    assert len(told) == 21


def test_where_no_listing_is_proven_there_are_no_others() -> None:
    assert why_red(Finished([FAILED])).startswith("1 of 1 listings are not proven; nothing of them is published.")
