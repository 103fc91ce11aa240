"""Generated histories against the oracle, after every step: on one engine, and through the landing on all of them.

A story holds `groups` of six shares and three backups that have their walks in common; each group is a history. Many
in one listing are quick, each in a listing of its own meets more plans: both are done.
Not here: histories by hand (test_history.py), the bounds that views show (test_sql_bounds.py), kills (test_crash.py).
"""

from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import OutOfOrderError, WarehouseError
from pipelines.load import load_pending, stage
from pipelines.publish import reading, writing
from pipelines.rebuild import rebuild
from pipelines.relations import view_queries
from pipelines.schema import FACTS, report
from pipelines.warehouse import Warehouse
from tests.oracle import PLANS, Step, Story, land, make_warehouse, record, rows

# --- promises, in the words of DuckDB ---------------------------------------------------------------------------------

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
        WHERE h.closed_by IS NOT NULL
        -- A backup also ends when the last share of it turns to another one.
        AND NOT coalesce(o.is_proven AND (o.may_close OR '{key}' = 'backup_id'), false)
        AND NOT EXISTS (
            SELECT * FROM {history} AS n
            WHERE (n.region, n.project_id, n.direction, n.{key}) = (h.region, h.project_id, h.direction, h.{key})
            AND n.valid_from = h.valid_to
        )
    """,
    "I5 neighbours differ": """
        SELECT region FROM {history}
        WINDOW story AS (PARTITION BY {listing}, {key} ORDER BY valid_from)
        QUALIFY lead(row_hash) OVER story = row_hash AND lead(valid_from) OVER story = valid_to
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

# --- what the oracle says ---------------------------------------------------------------------------------------------

KINDS = {"shares": ("backup_share", "share_id"), "backups": ("backup", "backup_id")}
"""Of each kind the beginning of the relations' names, and the key."""


def by_region(warehouse: Warehouse, sql: str) -> dict[str, list[tuple[Any, ...]]]:
    """Rows without their first column, the region, by that column; sorted."""
    found = defaultdict(list)
    for region, *row in rows(warehouse, sql):
        found[region].append(tuple(row))
    return {region: sorted(table) for region, table in found.items()}


def with_content(kind: str, found: dict[str, list[tuple[Any, ...]]], place: int) -> dict[str, list[tuple[Any, ...]]]:
    """What the oracle calls content stands at `place`: of a share two columns, its backup and when it changed."""
    if kind == "backups":
        return found
    return {
        region: [
            (*row[:place], f"{row[place]} {row[place + 1]:%Y-%m-%dT%H:%M:%S.%f}", *row[place + 2 :]) for row in table
        ]
        for region, table in found.items()
    }


def told_of(warehouse: Warehouse, kind: str, *, views: bool) -> dict[str, dict[str, list[tuple[Any, ...]]]]:
    relation, key = KINDS[kind]
    content = "backup_id, share_updated_at" if kind == "shares" else "backup_name"
    told = f"{key}, {content}, direction"
    versions = f"region, direction, {key}, {content}, valid_from, valid_to, opened_by, coalesce(closed_by, '')"
    current = f"region, {told}, valid_from, last_observed_at"
    snapshots = f"region, snapshot_date, {told}, observed_at"
    # With the place of the content in a row that has lost its region.
    questions = {"history": (f"SELECT {versions} FROM {relation}_history", 2)}
    if views:
        questions["current"] = (f"SELECT {current} FROM {relation}s", 1)
        questions["snapshots"] = (f"SELECT {snapshots} FROM {relation}_snapshots", 2)
    return {name: with_content(kind, by_region(warehouse, sql), place) for name, (sql, place) in questions.items()}


def compare(warehouse: Warehouse, stories: list[Story], number: int, *, views: bool = True) -> None:
    found = {kind: told_of(warehouse, kind, views=views) for kind in KINDS}
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
            expected = {"history": story.history, "current": story.current, "snapshots": story.snapshots}
            for name, told in found[kind].items():
                assert told.get(story.region, []) == expected[name](oracles), f"{name} of {kind}, {where}"
        assert ledger.get(story.region, []) == sorted(story.ledger), f"ledger, {where}"
        assert rejects.get(story.region, []) == sorted(story.rejects), f"rejected_records, {where}"


# --- recorded one by one ----------------------------------------------------------------------------------------------


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
        for relation, key in KINDS.values():
            names = {"history": f"{relation}_history", "key": key, "snapshots": f"{relation}_snapshots"}
            found = rows(warehouse, query.format(listing="region, project_id, direction", **names))
            assert not found, f"{promise}, broken in {relation}_history of {found}"


def closed_rows(warehouse: Warehouse) -> set[tuple[Any, ...]]:
    tables = ("backup_share_history", "backup_history")
    return {row for name in tables for row in rows(warehouse, f"SELECT * FROM {name} WHERE closed_by IS NOT NULL")}


def live_through(seeds: range, groups: int = 1) -> None:
    """All stories side by side in one warehouse, each in its own region; compared after every step of all.

    Of many groups the views, which show every earlier day again, and the promises are looked at in the end only.
    """
    warehouse, stories = make_warehouse(), [Story(seed, groups=groups) for seed in seeds]
    untouched: set[tuple[Any, ...]] = set()
    last = max(len(story.steps) for story in stories) - 1
    for number in range(last + 1):
        for story in stories:
            for step in story.steps[number : number + 1]:
                try:
                    perform(warehouse, step)
                    story.tell(step)
                except BaseException as error:
                    error.add_note(f"seed {story.seed}, step {number}, {step}")
                    raise
        whole = groups == 1 or number == last
        compare(warehouse, stories, number, views=whole)
        if whole:
            check_invariants(warehouse)
            closed = closed_rows(warehouse)
            assert closed >= untouched, "I9: a version that had ended was touched again"
            untouched = closed
    warehouse.close()


HISTORIES = "histories against the oracle after every step, DuckDB in memory"
LANDED_HISTORIES = "histories through the landing on both engines, and rebuilt"


@pytest.mark.parametrize("first", range(0, 40, 20))
def test_generated_histories_are_what_the_oracle_says_after_every_step(first, figures):
    figures(HISTORIES, 30)
    live_through(range(first, first + 20))


@pytest.mark.parametrize("seed", range(10_000, 10_020))
def test_a_thousand_histories_in_one_listing_are_what_the_oracle_says_after_every_step(seed, figures):
    figures(HISTORIES, 1000)
    live_through(range(seed, seed + 1), groups=1000)


@pytest.mark.soak
@pytest.mark.parametrize("first", range(1000, 2000, 50))
def test_many_generated_histories_are_what_the_oracle_says_after_every_step(first, figures):
    figures(HISTORIES, 50)
    live_through(range(first, first + 50))


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(11_000, 11_200))
def test_a_thousand_more_histories_in_one_listing_are_what_the_oracle_says(seed, figures):
    figures(HISTORIES, 1000)
    live_through(range(seed, seed + 1), groups=1000)


# --- through the landing, on every engine -----------------------------------------------------------------------------

LANDED = [plan for plan in PLANS if plan not in ("forged", "backdated")]
"""A forged file is not read again, one that comes late waits for a rebuild, which then is not what was live."""


def canonical(address: str) -> dict[str, list[tuple[Any, ...]]]:
    """All that the landing determines and all that the views make of it, in an order that only depends on the rows."""
    with reading(address) as warehouse:
        names = [*(table.name for table in FACTS), *view_queries()]
        return {name: sorted(rows(warehouse, f"SELECT * FROM {name}"), key=repr) for name in names}


def live_on_every_engine(stories: list[Story], folder: Path, addresses: list[str]) -> int:
    """The way of a sync: landed, staged (only what differs, where that is enough), loaded; then made again.

    Returns how many observations were read by what differs only.
    """
    landing, differences = folder / "landing", 0
    for number in range(max(len(story.steps) for story in stories)):
        files = []
        for story in stories:
            for step in story.steps[number : number + 1]:
                if story.is_accepted(step):
                    files.append(land(landing, step.observation, *step.pages))
                    story.tell(step)
        for place, address in enumerate(addresses):
            staging = folder / f"staging-{place}"
            with writing(address) as warehouse:
                ledger = warehouse.ledger()
                for number_of_file, file in enumerate(files):
                    if number_of_file % 5 != 4:  # the fifth as after a kill: nothing is staged
                        differences += stage(file, staging, ledger).since is not None
                assert load_pending(warehouse, landing, staging) == []
                assert load_pending(warehouse, landing, staging) == [], "once more changes nothing"
                compare(warehouse, stories, number)
    live = [canonical(address) for address in addresses]
    assert all(told == live[0] for told in live), "the engines tell different histories"
    for address in addresses:
        with reading(address) as warehouse:
            assert rows(warehouse, report("invariants")) == []
        rebuild(address, landing)
        assert canonical(address) == live[0], "the rebuild tells another history"
    return differences


def tell_on_every_engine(seeds: range, groups: int, folder: Path, postgres_url: str) -> None:
    # Where much changes everything is read.
    stories = [Story(seed, (0.35, 0.02)[seed % 2], groups=groups, plans=LANDED) for seed in seeds]
    differences = live_on_every_engine(stories, folder, [f"duckdb:///{folder}/warehouse.duckdb", postgres_url])
    assert differences >= 4, "hardly any observation was read that way"


def test_histories_through_the_landing_are_the_same_on_every_engine_and_after_a_rebuild(
    tmp_path, postgres_url, figures
):
    figures(LANDED_HISTORIES, 200)
    tell_on_every_engine(range(20_000, 20_010), 20, tmp_path, postgres_url)


@pytest.mark.soak
@pytest.mark.parametrize("first", range(21_000, 21_100, 20))
def test_many_histories_through_the_landing_are_the_same_on_every_engine(first, tmp_path, postgres_url, figures):
    figures(LANDED_HISTORIES, 400)
    tell_on_every_engine(range(first, first + 20), 20, tmp_path, postgres_url)
