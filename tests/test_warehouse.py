"""Recording an observation: exactly once, in order, whole or not at all.

Not here: which versions open and close, by hand (test_history.py), generated histories (test_histories.py), how the
file is published (test_publish.py).
"""

import dataclasses
from datetime import timedelta

import pyarrow as pa
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
    shares = normalized.tables.shares
    twice = dataclasses.replace(
        normalized, tables=normalized.tables._replace(shares=pa.concat_tables([shares, shares[:1]]))
    )
    before = dump(warehouse)
    with pytest.raises(WarehouseError, match=f"would hold two open versions of {S1}: nothing was recorded"):
        record_normalized(warehouse, observation, twice)
    assert dump(warehouse) == before


def test_a_version_that_is_gone_when_it_is_to_be_closed_is_told_and_nothing_is_recorded(warehouse):
    record(warehouse, *FIRST)
    before = dump(warehouse)

    def take_one_away(connection, cursor, statement, *_):
        if statement.startswith("UPDATE backup_share_history"):
            cursor.execute(f"DELETE FROM backup_share_history WHERE share_id = '{S1}'")

    event.listen(warehouse._engine, "before_cursor_execute", take_one_away)
    with pytest.raises(WarehouseError, match="backup_share_history has 1 of 2 versions to close: nothing was recorded"):
        record(warehouse, *SECOND)
    event.remove(warehouse._engine, "before_cursor_execute", take_one_away)
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
