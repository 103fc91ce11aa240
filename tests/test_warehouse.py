"""Recording an observation: exactly once, in order, whole or not at all; and generated histories against the oracle.

Not here: which versions open and close, by hand (test_history.py), how the file is published (test_publish.py).
"""

import dataclasses
import functools
import shutil
from collections import defaultdict
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sqlalchemy import event

from pipelines.errors import OutOfOrderError, WarehouseError
from pipelines.normalize import normalize_pages
from pipelines.observation import ProofStatus
from pipelines.schema import backup_share_history
from pipelines.warehouse import Warehouse
from tests.oracle import (
    B1,
    B2,
    B3,
    IN,
    OUT,
    S1,
    S2,
    S3,
    UNPROVEN,
    Step,
    Story,
    day,
    dump,
    histories,
    make_backup,
    make_observation,
    make_page,
    make_share,
    make_warehouse,
    open_warehouse,
    record,
    record_normalized,
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
        "snapshots": by_region(warehouse, f"SELECT region, snapshot_date, {told}, observed_at FROM {view}_snapshots"),
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


@pytest.mark.parametrize("first", range(0, 200, 50))
def test_generated_histories_are_what_the_oracle_says_after_every_step(first):
    live_through(range(first, first + 50))


@pytest.mark.soak
@pytest.mark.parametrize("first", range(1000, 2000, 50))
def test_a_thousand_generated_histories_are_what_the_oracle_says(first):
    live_through(range(first, first + 50))


# --- one observation, one transaction ---------------------------------------------------------------------------------

FIRST = make_observation(day(1)), make_page(make_share(S1, B1), make_share(S2, B2))
# Closes S1, changes S2 and its backup, opens S3, rejects one: every statement that there is.
SECOND = (
    make_observation(day(2)),
    make_page(
        make_share(S2, B2, updated_at="2026-03-01T00:00:00", backup=make_backup(B2, name="renamed")),
        make_share(S3, B3),
        make_share(S1.replace("5", "6"), B3, created_at="yesterday"),
    ),
)


def test_recording_the_same_observation_again_changes_nothing(warehouse):
    record(warehouse, *FIRST)
    record(warehouse, *SECOND)
    before = dump(warehouse)
    record(warehouse, *SECOND)
    record(warehouse, *FIRST)
    assert dump(warehouse) == before


def test_the_same_observation_from_another_file_is_refused(warehouse):
    record(warehouse, *FIRST)
    before = dump(warehouse)
    with pytest.raises(WarehouseError, match="recorded from another landing file"):
        record(warehouse, FIRST[0], make_page(), sha="another")
    assert dump(warehouse) == before


@pytest.mark.parametrize("earlier", [timedelta(0), timedelta(microseconds=1), timedelta(days=3)])
def test_an_observation_that_is_not_newer_than_the_last_of_its_listing_is_refused(warehouse, earlier):
    record(warehouse, *SECOND)
    before = dump(warehouse)
    with pytest.raises(OutOfOrderError, match=r"outgoing shares of project .* as of 2026-03-02 06:00:00 UTC"):
        record(warehouse, make_observation(day(2) - earlier, sync_id="late"), make_page())
    assert dump(warehouse) == before


def test_an_unproven_observation_is_also_the_last_of_its_listing(warehouse):
    record(warehouse, make_observation(day(2), **UNPROVEN))
    with pytest.raises(OutOfOrderError):
        record(warehouse, *FIRST)


def test_listings_do_not_wait_for_each_other(warehouse):
    record(warehouse, *SECOND)
    record(warehouse, make_observation(day(1), IN), make_page(make_share(S1, B1)))
    earlier = "SELECT direction, share_id FROM backup_share_history WHERE valid_from < $at"
    assert rows(warehouse, earlier, at=day(2)) == [("incoming", S1)]


@pytest.mark.parametrize("status", [ProofStatus.INCOMPLETE, ProofStatus.FAILED])
def test_an_unproven_observation_leaves_its_ledger_row_and_nothing_else(warehouse, status):
    record(warehouse, *FIRST)
    before = histories(warehouse)
    # Whatever it says of closing and however many records came with it.
    record(warehouse, make_observation(day(2), status=status, may_close=True), SECOND[1])
    assert histories(warehouse) == before
    assert rows(warehouse, "SELECT observed_at, is_proven, shares_granted, backups_closed FROM observations") == [
        (day(1), True, 2, 0),
        (day(2), False, 0, 0),
    ]


def test_what_is_not_proven_absent_stays_open(warehouse):
    record(warehouse, *FIRST)
    record(warehouse, make_observation(day(2), may_close=False), make_page())
    assert rows(warehouse, "SELECT share_id FROM backup_shares ORDER BY 1") == [(S1,), (S2,)]
    record(warehouse, make_observation(day(3)), make_page())
    assert rows(warehouse, "SELECT share_id FROM backup_shares ORDER BY 1") == []


def test_a_backup_is_kept_while_a_share_refers_to_it_without_telling_of_it(warehouse):
    record(warehouse, *FIRST)
    record(warehouse, make_observation(day(2)), make_page(make_share(S1, B1, backup=None)))
    assert rows(warehouse, "SELECT backup_id FROM backups") == [(B1,)]


@pytest.mark.parametrize(
    ("bad", "open_shares", "open_backups"),
    [
        pytest.param(make_share(S1, B1, created_at="yesterday"), [S1], [B1], id="both ids: these two stay as they are"),
        pytest.param(make_share("the fifth", B1), [S1, S2], [B1, B2], id="no share id: any share may be the one"),
        pytest.param(make_share(S1, "the best"), [S1], [B1, B2], id="no backup id: any backup may be the one"),
        pytest.param("42", [S1, S2], [B1, B2], id="no id at all: nothing is missing for sure"),
    ],
)
def test_what_may_be_behind_an_unreadable_record_stays_open(warehouse, bad, open_shares, open_backups):
    record(warehouse, *FIRST)
    record(warehouse, make_observation(day(2)), make_page(bad))
    assert rows(warehouse, "SELECT share_id FROM backup_shares ORDER BY 1") == [(key,) for key in open_shares]
    assert rows(warehouse, "SELECT backup_id FROM backups ORDER BY 1") == [(key,) for key in open_backups]


def test_the_ledger_says_why_an_unreadable_record_forbade_to_close(warehouse):
    record(warehouse, *FIRST)
    record(warehouse, make_observation(day(2)), make_page("42"))
    assert rows(warehouse, "SELECT may_close, reason FROM observations ORDER BY observed_at") == [
        (True, ""),
        (False, "a record without readable id was met: nothing was recorded as withdrawn"),
    ]


def test_a_share_that_some_page_of_the_walk_showed_is_not_gone(warehouse):
    record(warehouse, *FIRST)
    blinked = make_observation(day(2), status=ProofStatus.EXACT, excluded_ids=(S1,))
    record(warehouse, blinked, make_page(make_share(S1, B1), make_share(S2, B2)))
    assert rows(warehouse, "SELECT share_id FROM backup_shares ORDER BY 1") == [(S1,), (S2,)]
    assert rows(warehouse, "SELECT backup_id FROM backups ORDER BY 1") == [(B1,), (B2,)]
    record(warehouse, make_observation(day(3)), make_page(make_share(S2, B2)))
    assert rows(warehouse, "SELECT share_id FROM backup_shares ORDER BY 1") == [(S2,)]


def test_rejected_records_are_kept_with_their_place_and_reason(warehouse):
    page = make_page(make_share(S1, B1), make_share(S2, B2, created_at="yesterday"), "42")
    record(warehouse, make_observation(day(1)), page)
    (first, second) = rows(
        warehouse, "SELECT page_number, position, share_id, backup_id, reason FROM rejected_records ORDER BY position"
    )
    assert first == (0, 1, S2, B2, "created_at is yesterday, which is not a time")
    assert second[:4] == (0, 2, None, None)
    assert rows(warehouse, "SELECT raw_json FROM rejected_records WHERE position = 2") == [("42",)]


class Killed(BaseException):
    """Not an Exception: like the interrupt of a cancelled run."""


def failpoints(warehouse: Warehouse, failing: int | None, moment: str = "before") -> list[str]:
    """Arm the warehouse to die at the statement of that number; the list fills with the statements as they come."""
    seen: list[str] = []

    def strike(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        seen.append(statement)
        if len(seen) - 1 == failing:
            raise Killed(statement)

    event.listen(warehouse._engine, f"{moment}_cursor_execute", strike)
    return seen


def strike_commit(warehouse: Warehouse) -> None:
    def strike(_connection: Any) -> None:
        raise Killed("COMMIT")

    event.listen(warehouse._engine, "commit", strike)


def statements_of(*observations: Any) -> list[str]:
    """What a recording of the last one of these executes."""
    warehouse = make_warehouse()
    for observation in observations[:-1]:
        record(warehouse, *observation)
    seen = failpoints(warehouse, None)
    record(warehouse, *observations[-1])
    warehouse.close()
    return seen


def test_a_failure_at_any_statement_changes_nothing_and_the_next_try_does_all(tmp_path):
    statements = statements_of(FIRST, SECOND)
    written = [statement.split()[0] for statement in statements]
    assert written.count("UPDATE") == 2, "the observation under test closes shares and backups"
    assert written.count("INSERT") == 4, "and opens both, rejects, and writes the ledger"
    first = tmp_path / "first.duckdb"
    expected = make_warehouse(first)
    record(expected, *FIRST)
    before = dump(expected)
    expected.close()
    points = [(moment, point) for moment in ("before", "after") for point in range(len(statements))]
    after = None
    for moment, point in [("never", 0), ("commit", 0), *points]:
        path = Path(shutil.copyfile(first, tmp_path / f"{moment} {point}.duckdb"))
        warehouse = open_warehouse(path)
        if moment == "never":
            record(warehouse, *SECOND)
            after = dump(warehouse)
            assert after != before
        else:
            arm = strike_commit if moment == "commit" else functools.partial(failpoints, failing=point, moment=moment)
            arm(warehouse)
            with pytest.raises(Killed):
                record(warehouse, *SECOND)
        warehouse.close()
        again = open_warehouse(path)
        assert dump(again) == (after if moment == "never" else before), (moment, statements[point])
        record(again, *SECOND)
        assert dump(again) == after, (moment, statements[point])
        again.close()


def plant_second_open_version(warehouse: Warehouse) -> None:
    with warehouse._engine.begin() as connection:
        connection.exec_driver_sql(
            f"""INSERT INTO backup_share_history BY NAME
            SELECT * REPLACE ('planted' AS row_hash, valid_from - INTERVAL 1 hour AS valid_from)
            FROM backup_share_history WHERE share_id = '{S1}'"""
        )


@pytest.mark.parametrize("page", [FIRST[1], make_page(make_share(S1, B1)), make_page()])
def test_a_history_with_two_open_versions_of_a_key_is_refused_and_left_as_it_is(warehouse, page):
    record(warehouse, *FIRST)
    plant_second_open_version(warehouse)
    before = dump(warehouse)
    with pytest.raises(WarehouseError, match="two open versions of a share_id of the outgoing shares"):
        record(warehouse, make_observation(day(2)), page)
    assert dump(warehouse) == before
    record(warehouse, make_observation(day(2), IN), page)


def test_an_observation_that_would_open_a_key_twice_is_refused(warehouse):
    observation, page = FIRST
    normalized = normalize_pages([page])
    twice = dataclasses.replace(normalized, shares=pd.concat([normalized.shares, normalized.shares.head(1)]))
    before = dump(warehouse)
    with pytest.raises(WarehouseError, match=f"would hold two open versions of {S1}: nothing was recorded"):
        record_normalized(warehouse, observation, twice)
    assert dump(warehouse) == before


def test_a_version_that_ends_before_it_begins_is_refused_by_the_table(warehouse):
    record(warehouse, *FIRST)
    with pytest.raises(Exception, match="CHECK constraint"), warehouse._engine.begin() as connection:
        connection.exec_driver_sql("UPDATE backup_share_history SET valid_to = valid_from")


# --- asking -----------------------------------------------------------------------------------------------------------


def test_the_ledger_knows_the_last_observation_of_every_listing(warehouse):
    assert warehouse.ledger().last_observed_at == {}
    record(warehouse, *FIRST)
    record(warehouse, make_observation(day(3), **UNPROVEN))
    record(warehouse, make_observation(day(2), IN), make_page())
    ledger = warehouse.ledger()
    assert ledger.last_observed_at == {OUT: day(3), IN: day(2)}
    assert len(ledger.observation_ids) == 3


def test_a_question_takes_parameters_as_values_only(warehouse):
    record(warehouse, *FIRST)
    question = "SELECT share_id FROM backup_shares WHERE share_id = $wanted"
    assert rows(warehouse, question, wanted=S1) == [(S1,)]
    assert rows(warehouse, question, wanted="' OR 1=1 --") == []
    assert warehouse.count(backup_share_history) == 2


@pytest.mark.parametrize(
    "question",
    ["SELECT nonsense", "SELEKT", "-- nothing", "SELECT * FROM nowhere", "SELECT $missing"],
)
def test_a_question_that_cannot_be_answered_is_a_warehouse_error_on_one_line(warehouse, question):
    with pytest.raises(WarehouseError) as caught:
        warehouse.query(question)
    assert "\n" not in str(caught.value)


def test_migrating_again_keeps_every_row(warehouse):
    record(warehouse, *FIRST)
    before = dump(warehouse)
    warehouse.migrate()
    assert dump(warehouse) == before


def test_a_warehouse_of_another_version_is_refused_in_words():
    warehouse = open_warehouse(":memory:")
    with warehouse._engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE observations (observation_id TEXT)")
    with pytest.raises(WarehouseError, match=r"an earlier version \(0, .*`backup-shares rebuild` makes them again"):
        warehouse.migrate()
    warehouse.close()
