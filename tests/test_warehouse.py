"""Recording an observation: exactly once, in order, whole or not at all; and generated histories against the oracle.

Not here: which versions open and close, by hand (test_history.py), how the file is published (test_publish.py).
"""

from collections import defaultdict
from typing import Any

import pytest

from pipelines.errors import OutOfOrderError, WarehouseError
from pipelines.warehouse import Warehouse
from tests.oracle import (
    Step,
    make_warehouse,
    record,
    rows,
)


@pytest.fixture
def warehouse():
    warehouse = make_warehouse()
    yield warehouse
    warehouse.close()


# --- generated histories ----------------------------------------------------------------------------------------------

_UPDATED = "strftime(share_updated_at, '%Y-%m-%dT%H:%M:%S.%f')"
_NAMES = {
    "shares": ("backup_share_history", "share_id", f"backup_id || ' ' || {_UPDATED}", "backup_share"),
    "backups": ("backup_history", "backup_id", "backup_name", "backup"),
}

INVARIANTS = {
    "I1 valid_from < valid_to": "SELECT region FROM {history} WHERE valid_from >= valid_to OR valid_to IS NULL",
    "I2 at most one open version": """
        SELECT region FROM {history} WHERE valid_to = '9999-12-31 00:00:00+00'
        GROUP BY {listing}, {key} HAVING count(*) > 1
    """,
    "I3 versions never overlap": """
        SELECT a.region FROM {history} AS a INNER JOIN {history} AS b USING ({listing}, {key})
        WHERE a.rowid < b.rowid AND a.valid_from < b.valid_to AND b.valid_from < a.valid_to
    """,
    "I4, I12 a gap is a proven absence": """
        SELECT h.region FROM {history} AS h LEFT JOIN observations AS o ON h.closed_by = o.observation_id
        WHERE h.closed_by IS NOT NULL AND NOT coalesce(o.is_proven AND o.may_close, false) AND NOT EXISTS (
            SELECT * FROM {history} AS n
            WHERE (n.region, n.project_id, n.direction, n.{key}) = (h.region, h.project_id, h.direction, h.{key})
            AND n.valid_from = h.valid_to
        )
    """,
    "I5 neighbours differ": """
        SELECT region FROM {history}
        QUALIFY lead(row_hash) OVER story = row_hash AND lead(valid_from) OVER story = valid_to
        WINDOW story AS (PARTITION BY {listing}, {key} ORDER BY valid_from)
    """,
    "I6, I10 every end of a version is a proven observation of its listing": """
        SELECT h.region FROM {history} AS h
        LEFT JOIN observations AS o ON o.observation_id = h.opened_by
        LEFT JOIN observations AS c ON c.observation_id = h.closed_by
        WHERE NOT coalesce(o.is_proven AND o.observed_at = h.valid_from AND (o.region, o.project_id, o.direction)
            = (h.region, h.project_id, h.direction), false)
        OR (h.closed_by IS NULL) <> (h.valid_to = '9999-12-31 00:00:00+00')
        OR (h.closed_by IS NOT NULL AND NOT coalesce(c.is_proven AND c.observed_at = h.valid_to, false))
    """,
    "I7, I8 one observation per listing and instant": """
        SELECT region FROM observations GROUP BY {listing}, observed_at HAVING count(*) > 1
    """,
    "I15 a quarantined record closes nothing": """
        SELECT h.region FROM {history} AS h INNER JOIN rejected_records AS r
        ON h.closed_by = r.observation_id AND h.{key} = r.{key}
    """,
    "I15 nothing is missing beside a record without readable id": """
        SELECT h.region FROM {history} AS h INNER JOIN rejected_records AS r
        ON h.closed_by = r.observation_id AND r.{key} IS NULL
        WHERE NOT EXISTS (
            SELECT * FROM {history} AS n
            WHERE (n.region, n.project_id, n.direction, n.{key}) = (h.region, h.project_id, h.direction, h.{key})
            AND n.valid_from = h.valid_to
        )
    """,
    "I16 a day and key stand once in the snapshots": """
        SELECT region FROM {snapshots} GROUP BY region, snapshot_date, {key} HAVING count(*) > 1
    """,
    "I16 a snapshot is the history as of its observation": """
        SELECT s.region FROM {snapshots} AS s
        LEFT JOIN {history} AS h ON (s.region, s.project_id, s.direction, s.{key})
            = (h.region, h.project_id, h.direction, h.{key})
            AND s.observed_at >= h.valid_from AND s.observed_at < h.valid_to
        LEFT JOIN observations AS o ON (s.region, s.project_id, s.direction, s.observed_at)
            = (o.region, o.project_id, o.direction, o.observed_at)
        WHERE h.region IS NULL OR NOT coalesce(o.is_proven, false)
        OR s.snapshot_date <> cast(o.observed_at AT TIME ZONE 'UTC' AS date)
    """,
    "I21 the ledger counts what the history holds": """
        SELECT region FROM observations AS o
        WHERE backups_opened <> (SELECT count(*) FROM backup_history AS h WHERE h.opened_by = o.observation_id)
        OR backups_closed <> (SELECT count(*) FROM backup_history AS h WHERE h.closed_by = o.observation_id)
        OR shares_granted + shares_changed
            <> (SELECT count(*) FROM backup_share_history AS h WHERE h.opened_by = o.observation_id)
        OR shares_withdrawn + shares_changed
            <> (SELECT count(*) FROM backup_share_history AS h WHERE h.closed_by = o.observation_id)
    """,
}


def by_region(warehouse: Warehouse, sql: str) -> dict[str, list[tuple[Any, ...]]]:
    """Rows without their first column, the region, by that column; sorted."""
    found = defaultdict(list)
    for region, *row in rows(warehouse, sql):
        found[region].append(tuple(row))
    return {region: sorted(table) for region, table in found.items()}


def told_of(warehouse: Warehouse, kind: str) -> dict[str, dict[str, list[tuple[Any, ...]]]]:
    history, key, content, view = _NAMES[kind]
    told = f"{key}, {content}, direction"
    return {
        "history": by_region(
            warehouse,
            f"SELECT region, direction, {key}, {content}, valid_from, valid_to, opened_by, coalesce(closed_by, '') "
            f"FROM {history}",
        ),
        "current": by_region(warehouse, f"SELECT region, {told}, valid_from, last_observed_at FROM {view}s"),
        "snapshots": by_region(
            warehouse, f"SELECT region, snapshot_date, {told}, observed_at FROM {view}_snapshots"
        ),
    }


def perform(warehouse: Warehouse, step: Step) -> None:
    match step.plan:
        case "forged":
            with pytest.raises(WarehouseError, match="was recorded from another landing file"):
                record(warehouse, step.observation, *step.pages, sha="another")
        case "backdated":
            with pytest.raises(OutOfOrderError, match="only a rebuild can use it"):
                record(warehouse, step.observation, *step.pages)
        case _:
            record(warehouse, step.observation, *step.pages)


def check_invariants(warehouse: Warehouse) -> None:
    for promise, query in INVARIANTS.items():
        for history, key, _, view in _NAMES.values():
            names = {"history": history, "key": key, "snapshots": f"{view}_snapshots"}
            found = rows(warehouse, query.format(listing="region, project_id, direction", **names))
            assert not found, f"{promise}, broken in {history} of {found}"


def closed_rows(warehouse: Warehouse) -> set[tuple[Any, ...]]:
    tables = ("backup_share_history", "backup_history")
    return {row for name in tables for row in rows(warehouse, f"SELECT * FROM {name} WHERE closed_by IS NOT NULL")}


def live_through(seeds: range) -> None:
    """All stories side by side in one warehouse, each in its own region; compared after every step of all."""
    warehouse, stories = make_warehouse(), [Story(seed) for seed in seeds]
    untouched: set[tuple[Any, ...]] = set()
    for number in range(max(len(story.steps) for story in stories)):
        for story in stories:
            for step in story.steps[number : number + 1]:
                try:
                    perform(warehouse, step)
                    story.tell(step)
                except BaseException as error:
                    error.add_note(f"seed {story.seed}, step {number}, {step}")
                    raise
        compare(warehouse, stories, number)
        check_invariants(warehouse)
        closed = closed_rows(warehouse)
        assert closed >= untouched, "I9: a version that had ended was touched again"
        untouched = closed
    warehouse.close()


def compare(warehouse: Warehouse, stories: list[Story], number: int) -> None:
    found = {kind: told_of(warehouse, kind) for kind in _NAMES}
    ledger = by_region(
        warehouse,
        """SELECT region, observation_id, observed_at, status, is_proven, share_count, backup_count, rejected_count,
            shares_granted, shares_changed, shares_withdrawn, backups_opened, backups_closed FROM observations""",
    )
    rejects = by_region(
        warehouse,
        "SELECT region, observation_id, coalesce(share_id, '-'), coalesce(backup_id, '-') FROM rejected_records",
    )
    for story in stories:
        done = story.steps[: number + 1]
        where = f"seed {story.seed}, after step {number}:\n" + "\n".join(map(repr, done))
        for kind, oracles in (("shares", story.shares), ("backups", story.backups)):
            for view, expected in (
                ("history", story.history(oracles)),
                ("current", story.current(oracles)),
                ("snapshots", story.snapshots(oracles)),
            ):
                assert found[kind][view].get(story.region, []) == expected, f"{view} of {kind}, {where}"
        assert ledger.get(story.region, []) == sorted(story.ledger), f"ledger, {where}"
        assert rejects.get(story.region, []) == sorted(story.rejects), f"rejected_records, {where}"


@pytest.mark.parametrize("first", range(0, 200, 25))
def test_generated_histories_are_what_the_oracle_says_after_every_step(first):
    live_through(range(first, first + 25))


@pytest.mark.slow
@pytest.mark.parametrize("first", range(1000, 2000, 50))
def test_a_thousand_generated_histories_are_what_the_oracle_says(first):
    live_through(range(first, first + 50))
