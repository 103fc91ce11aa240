"""The SQL that analysts read: every file runs, says what it answers, and tells each share once and by its giver.

All of it on every engine of the warehouse.
Not here: what the rows of a diary are, day by day (test_history.py), the report pack (test_reports.py).
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from pipelines.publish import writing
from pipelines.schema import backup_history, backup_share_history, content_columns, metadata, sql_folder
from pipelines.warehouse import Warehouse
from tests.oracle import (
    ALICE,
    B1,
    B2,
    BOB,
    IN,
    OUT,
    S1,
    S2,
    S3,
    UNPROVEN,
    day,
    make_backup,
    make_observation,
    make_page,
    make_server_warehouse,
    make_share,
    make_warehouse,
    record,
    rows,
)
from tests.test_history import DIARY

FILES = sorted([*sql_folder("views").glob("*.sql"), *(sql_folder("reports") / "internal").glob("*.sql")])
VIEWS = (
    "backup_shares",
    "backups",
    "backup_share_snapshots",
    "backup_snapshots",
    "backup_share_versions",
    "backup_versions",
    "backup_share_changes",
    "backup_changes",
)
"""Those that show shares or backups."""
SILENT = (
    "invariants",
    "share_rejects",
    "schema_drift",
    "new_drift",
    "untrusted_recipients",
    "exceptions_and_expiry",
    "quarantine",
    "policy_in_force",
    "policy_projects_in_force",
    "policy_exceptions_in_force",
)
"""Those that are best when they have nothing to say; and there is no policy."""
ENGINES = ("duckdb", "postgresql")


def name_of(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


@contextmanager
def warehouse_on(engine: str, request: pytest.FixtureRequest) -> Iterator[Warehouse]:
    """An empty warehouse. One process makes one server, whatever the scope of the fixture that asks."""
    if engine == "duckdb":
        warehouse = make_warehouse()
        yield warehouse
        warehouse.close()
        return
    server = request.getfixturevalue("postgres")
    address = make_server_warehouse(server)
    with writing(address) as warehouse:
        yield warehouse
    server.drop_database(address)


@pytest.fixture(params=ENGINES)
def warehouse(request):
    with warehouse_on(request.param, request) as warehouse:
        yield warehouse


@pytest.fixture(scope="module", params=ENGINES)
def diary(request):
    with warehouse_on(request.param, request) as warehouse:
        for (observation, shares), _ in DIARY.values():
            record(warehouse, observation, make_page(*shares))
        yield warehouse


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_file_begins_with_its_question_and_its_grain(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    assert re.fullmatch(r"-- [A-Z].*\?", lines[0]), "the first line is the question"
    assert lines[1].startswith("-- Grain: one row per "), "the second line is the grain"


def run(warehouse, path: Path):
    text = path.read_text(encoding="utf-8")
    wanted = {
        "sync_id": "sync of 03-02 06",
        "share_id": S1,
        "moment": day(3, 23),
        "day": day(4).date(),
        "since": day(1),
        "project": BOB,
        "volume": "none",
    }
    return warehouse.query(text, **{name: value for name, value in wanted.items() if f"${name}" in text})


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_file_runs_on_an_empty_warehouse(warehouse, path):
    assert run(warehouse, path).num_rows == 0


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_file_answers_on_the_diary(diary, path):
    assert (run(diary, path).num_rows > 0) == (path.stem not in SILENT)


def test_every_view_is_made_and_there_is_no_other(diary):
    made = "SELECT table_name FROM information_schema.views WHERE table_schema = current_schema()"
    policy = {"findings", "policy_in_force", "policy_projects_in_force", "policy_exceptions_in_force"}
    more = {
        "listing_coverage",
        "schema_drift",
        "observation_log",
        "quarantine",
        "backup_share_periods",
        "backup_periods",
    }
    wanted = {*VIEWS, *policy, *more}
    # DuckDB counts views of its own.
    assert {name for (name,) in rows(diary, made) if not name.startswith(("duckdb_", "pragma_", "sqlite_"))} == wanted
    assert {path.stem for path in sql_folder("views").glob("*.sql")} == wanted


@pytest.mark.parametrize("path", sorted(sql_folder("views").glob("*.sql")), ids=name_of)
def test_a_view_asks_tables_only_so_that_each_can_be_made_anew_in_any_order(path):
    code = re.sub(r"--.*", "", path.read_text(encoding="utf-8"))
    within = set(re.findall(r"^(?:with )?(\w+)(?: \(\w+\))? as (?:(?:not )?materialized )?\($", code, re.MULTILINE))
    asked = set(re.findall(r"(?<!distinct )(?<!epoch )\b(?:from|join) (\w+)", code)) - within - {"lateral"}
    assert asked <= set(metadata.tables)


def test_the_reports_on_the_diary_are_these(diary):
    def report(name: str) -> list[tuple]:
        table = run(diary, sql_folder("reports") / "internal" / f"{name}.sql")
        return list(zip(*(column.to_pylist() for column in table.columns), strict=True))

    status = report("listing_status")
    assert len(status) == 1
    assert status[0][:9] == (day(2), ALICE, "outgoing", "exact", True, 2, 0, 1, 0)
    proven = report("last_proven")
    assert [row[1:6] for row in proven] == [(ALICE, "outgoing", day(7), day(7), "exact")]
    assert sorted(row[:2] for row in report("known_since")) == [("anything", day(1)), ("project", day(1))]
    assert [row[2] for row in report("known_since") if row[0] == "anything"] == [day(7)]
    current = report("current_shares")
    assert sorted(row[:5] for row in current) == [
        (ALICE, BOB, "nightly", "available", 40),
        (ALICE, BOB, "renamed", "available", 40),
    ]


# --- columns ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_shows_every_column_that_comes_from_the_api(diary, view):
    table = backup_share_history if "share" in view else backup_history
    shown = diary.query(f"SELECT * FROM {view}").column_names
    assert [column.name for column in content_columns(table) if column.name not in shown] == []
    assert [name for name in ("region", "project_id", "direction") if name not in shown] == []


@pytest.mark.parametrize("view", VIEWS)
def test_no_view_shows_the_sentinel_or_the_fingerprint(diary, view):
    table = diary.query(f"SELECT * FROM {view}")
    assert not {"row_hash", "witness_rank"} & set(table.column_names)
    times = [column.to_pylist() for column in table.columns if str(column.type).startswith("timestamp")]
    assert times
    assert all(value is None or value.year < 9999 for column in times for value in column)


FULL_BACKUP = {
    "volume_id": "a volume",
    "snapshot_id": "a snapshot of the volume",
    "name": "a name",
    "status": "restoring",
    "availability_zone": "az-1",
    "container": "a container",
    "description": '{"DESC": "before the upgrade", "INC": 1}',
    "fail_reason": "none really",
    "size": 9007199254740993,
    "object_count": 22,
    "service_metadata": '{"CS": 4, "SS": "40", "DL": 3, "Type": 1, "ST": 5, "BT": 6, "bootable": true}',
    "is_incremental": False,
    "has_dependent_backups": True,
    "created_at": "2026-01-01T00:00:01.000001",
    "updated_at": "2026-01-02T00:00:02",
    "data_timestamp": "2026-01-03 00:00:03",
}
FULL_ROW = {
    "backup_id": B1,
    "volume_id": "a volume",
    "volume_snapshot_id": "a snapshot of the volume",
    "backup_name": "a name",
    "backup_status": "restoring",
    "availability_zone": "az-1",
    "container": "a container",
    "description": '{"DESC": "before the upgrade", "INC": 1}',
    "description_text": "before the upgrade",
    "fail_reason": "none really",
    "size_gb": 9007199254740993,
    "object_count": 22,
    "chain_size_mb": 4,
    "space_saving_percent": 40,
    "dedup_compression_code": 3,
    "backup_type_code": 1,
    "image_type_code": 5,
    "storage_type_code": 6,
    "is_incremental": False,
    "is_incremental_requested": True,
    "has_dependent_backups": True,
    "is_bootable": True,
    "backup_created_at": "2026-01-01 00:00:01.000001+00",
    "backup_updated_at": "2026-01-02 00:00:02+00",
    "data_timestamp": "2026-01-03 00:00:03+00",
}


@pytest.mark.parametrize("relation", ["backup_history", "backups", "backup_snapshots"])
def test_every_field_of_a_backup_stands_in_its_own_column(warehouse, relation):
    record(warehouse, make_observation(day(1)), make_page(make_share(S1, B1, backup=make_backup(B1, **FULL_BACKUP))))
    text = ("backup_created_at", "backup_updated_at", "data_timestamp")
    shown = [f"CAST({name} AS varchar)" if name in text else name for name in FULL_ROW]
    assert set(FULL_ROW) == {column.name for column in content_columns(backup_history)}
    assert rows(warehouse, f"SELECT {', '.join(shown)} FROM {relation}") == [tuple(FULL_ROW.values())]


# --- two witnesses ----------------------------------------------------------------------------------------------------

MINUTE = timedelta(minutes=1)

# The giver says one thing of the share and its backup, the receiver another; both are observed.
BY_GIVER = make_share(S1, B1, updated_at="2026-02-03T00:00:00", backup=make_backup(B1, name="as Alice has it"))
BY_RECEIVER = make_share(S1, B1, updated_at=None, backup=make_backup(B1, name="as Bob sees it"))


def see(warehouse, number: int, given: list | None, received: list | None) -> None:
    """A day's sync of both listings; None is a walk that proves nothing."""
    for hour, listing, shares in ((6, OUT, given), (7, IN, received)):
        proof = UNPROVEN if shares is None else {}
        observation = make_observation(day(number, hour), listing, sync_id=f"sync of day {number}", **proof)
        record(warehouse, observation, make_page(*(shares or [])))


def test_a_share_seen_from_both_sides_is_one_row_told_by_its_giver(warehouse):
    see(warehouse, 1, [BY_GIVER], [BY_RECEIVER])
    assert rows(warehouse, "SELECT share_id, direction, project_id, valid_from FROM backup_shares") == [
        (S1, "outgoing", ALICE, day(1))
    ]
    assert rows(warehouse, "SELECT backup_id, direction, backup_name FROM backups") == [
        (B1, "outgoing", "as Alice has it")
    ]
    assert rows(warehouse, "SELECT share_id, direction, observed_at FROM backup_share_snapshots") == [
        (S1, "outgoing", day(1))
    ]
    assert rows(warehouse, "SELECT backup_id, backup_name FROM backup_snapshots") == [(B1, "as Alice has it")]
    assert rows(warehouse, "SELECT share_id, change_type, direction FROM backup_share_changes") == [
        (S1, "granted", "outgoing")
    ]


def test_on_a_day_without_proof_of_the_givers_listing_the_receivers_tells_the_share(warehouse):
    see(warehouse, 1, [BY_GIVER], [BY_RECEIVER])
    see(warehouse, 2, None, [BY_RECEIVER])
    see(warehouse, 3, [BY_GIVER], None)
    see(warehouse, 4, None, None)
    shares = "SELECT substr(CAST(snapshot_date AS text), 6), share_id, direction FROM backup_share_snapshots ORDER BY 1"
    assert rows(warehouse, shares) == [
        ("03-01", S1, "outgoing"),
        ("03-02", S1, "incoming"),
        ("03-03", S1, "outgoing"),
    ]
    backups = "SELECT substr(CAST(snapshot_date AS text), 6), backup_name FROM backup_snapshots ORDER BY 1"
    assert rows(warehouse, backups) == [
        ("03-01", "as Alice has it"),
        ("03-02", "as Bob sees it"),
        ("03-03", "as Alice has it"),
    ]
    # Now is what was last proven, whenever that was.
    assert rows(warehouse, "SELECT direction, last_observed_at FROM backup_shares") == [("outgoing", day(3))]


def test_changes_are_told_by_one_side_only_and_by_the_receiver_where_the_giver_never_saw_the_share(warehouse):
    of_others = make_share(S2, B2, from_project_id="some-other-tenant")
    see(warehouse, 1, [], [of_others])
    see(warehouse, 2, [BY_GIVER], [BY_RECEIVER, of_others])
    see(warehouse, 3, [], [])
    changes = "SELECT substr(CAST(change_date AS text), 6), change_type, share_id, direction, is_baseline"
    assert rows(warehouse, f"{changes} FROM backup_share_changes ORDER BY 1, 2, 3") == [
        ("03-01", "granted", S2, "incoming", True),
        ("03-02", "granted", S1, "outgoing", False),
        ("03-03", "withdrawn", S1, "outgoing", False),
        ("03-03", "withdrawn", S2, "incoming", False),
    ]


CHANGES = """
    SELECT substr(CAST(change_date AS text), 6), change_type, share_id, direction
    FROM backup_share_changes ORDER BY 1, 2
"""


def test_what_the_listing_proven_last_says_is_gone_is_gone_now(warehouse):
    see(warehouse, 1, [BY_GIVER], [BY_RECEIVER])
    see(warehouse, 2, [], None)
    assert rows(warehouse, "SELECT share_id FROM backup_shares") == []
    assert rows(warehouse, "SELECT backup_id FROM backups") == []
    assert rows(warehouse, CHANGES) == [("03-01", "granted", S1, "outgoing"), ("03-02", "withdrawn", S1, "outgoing")]


def test_a_giver_that_is_not_observed_any_more_does_not_keep_what_the_receiver_proved_gone(warehouse):
    see(warehouse, 1, [BY_GIVER], [BY_RECEIVER])
    see(warehouse, 2, None, [])
    assert rows(warehouse, "SELECT share_id FROM backup_shares") == []
    assert rows(warehouse, CHANGES) == [("03-01", "granted", S1, "outgoing"), ("03-02", "withdrawn", S1, "incoming")]


def test_what_a_giver_showed_after_the_receiver_had_lost_it_is_not_withdrawn_when_the_giver_is_not_proven(warehouse):
    see(warehouse, 1, [BY_GIVER], [BY_RECEIVER])
    see(warehouse, 2, [BY_GIVER], [])
    see(warehouse, 3, [BY_GIVER], [])
    see(warehouse, 4, None, [])
    assert rows(warehouse, "SELECT share_id, direction FROM backup_shares") == [(S1, "outgoing")]
    assert rows(warehouse, "SELECT backup_id, direction FROM backups") == [(B1, "outgoing")]
    now = "SELECT share_id, direction FROM backup_shares_as_of(TIMESTAMPTZ '2026-03-04 12:00:00+00')"
    assert rows(warehouse, now) == [(S1, "outgoing")]
    assert rows(warehouse, CHANGES) == [("03-01", "granted", S1, "outgoing")]
    assert rows(warehouse, "SELECT change_type FROM backup_changes") == [("appeared",)]
    ended = "SELECT rule FROM findings WHERE state = 'resolved' AND rule <> 'first_ever_recipient'"
    assert rows(warehouse, ended) == []


def test_what_is_found_of_a_share_that_its_giver_showed_last_is_not_over_when_the_giver_is_not_proven(warehouse):
    failed = make_share(S1, B1, backup=make_backup(B1, status="error"))
    see(warehouse, 1, [failed], [failed])
    see(warehouse, 2, [failed], [])
    see(warehouse, 3, [failed], [])
    see(warehouse, 4, None, [])
    found = "SELECT state, occurrence_count FROM findings WHERE rule = 'failed_backup_shared'"
    assert rows(warehouse, found) == [("open", 1)]


def test_two_listings_that_differ_in_one_sync_are_a_finding_and_no_withdrawal(warehouse):
    see(warehouse, 1, [BY_GIVER], [BY_RECEIVER])
    see(warehouse, 2, [], [BY_RECEIVER])
    assert rows(warehouse, "SELECT share_id, direction FROM backup_shares") == [(S1, "incoming")]


def test_a_stay_that_only_the_receiver_saw_is_told_from_its_beginning_to_its_end(warehouse):
    see(warehouse, 1, [BY_GIVER], [BY_RECEIVER])
    see(warehouse, 2, [], [])
    see(warehouse, 3, None, [BY_RECEIVER])
    see(warehouse, 4, None, [BY_RECEIVER])
    see(warehouse, 5, [], [])
    assert rows(warehouse, CHANGES) == [
        ("03-01", "granted", S1, "outgoing"),
        ("03-02", "withdrawn", S1, "outgoing"),
        ("03-03", "granted", S1, "incoming"),
        ("03-05", "withdrawn", S1, "incoming"),
    ]
    of_backup = (
        "SELECT substr(CAST(change_date AS text), 6), change_type, direction FROM backup_changes ORDER BY seen_at"
    )
    assert rows(warehouse, of_backup) == [
        ("03-01", "appeared", "outgoing"),
        ("03-02", "disappeared", "outgoing"),
        ("03-03", "appeared", "incoming"),
        ("03-05", "disappeared", "incoming"),
    ]


def test_what_the_receiver_told_stays_told_when_the_giver_is_observed_no_more(warehouse):
    changed = make_share(S1, B1, updated_at="2026-02-05T00:00:00")
    told: list[Any] = []
    for number, received in enumerate(([BY_RECEIVER], [], [BY_RECEIVER], [changed], []), start=1):
        see(warehouse, number, [BY_GIVER] if number == 1 else None, received)
        assert rows(warehouse, CHANGES)[: len(told)] == told
        told = rows(warehouse, CHANGES)
    assert told == [
        ("03-01", "granted", S1, "outgoing"),
        ("03-02", "withdrawn", S1, "incoming"),
        ("03-03", "granted", S1, "incoming"),
        ("03-04", "changed", S1, "incoming"),
        ("03-05", "withdrawn", S1, "incoming"),
    ]
    ended = "SELECT occurrence_count, state FROM findings WHERE rule = 'regranted_share'"
    assert rows(warehouse, ended) == [(1, "resolved")]


def test_a_giver_that_was_not_proven_while_the_receiver_lost_a_share_and_shows_it_again_grants_it(warehouse):
    see(warehouse, 1, [BY_GIVER], [BY_RECEIVER])
    see(warehouse, 2, None, [])
    assert rows(warehouse, "SELECT share_id FROM backup_shares") == []
    see(warehouse, 3, None, [])
    see(warehouse, 4, [BY_GIVER], [])
    assert rows(warehouse, "SELECT share_id, direction FROM backup_shares") == [(S1, "outgoing")]
    # It was gone at some instant of the walk of the receiver's listing, and was there at one of the giver's.
    assert rows(warehouse, CHANGES.replace("direction", "direction, not_before, not_after")) == [
        ("03-01", "granted", S1, "outgoing", None, day(1) + MINUTE),
        ("03-02", "withdrawn", S1, "incoming", day(1, 7), day(2, 7) + MINUTE),
        ("03-04", "granted", S1, "outgoing", day(2, 7), day(4) + MINUTE),
    ]


def test_a_change_that_the_giver_missed_is_told_once_by_the_receiver(warehouse):
    old, new = (make_share(S1, B1, updated_at=f"2026-02-0{number}T00:00:00") for number in (3, 5))
    see(warehouse, 1, [old], [old])
    see(warehouse, 2, None, [new])
    see(warehouse, 3, [new], [new])
    see(warehouse, 4, [old], None)
    see(warehouse, 5, [old], [old])
    assert rows(warehouse, CHANGES) == [
        ("03-01", "granted", S1, "outgoing"),
        ("03-02", "changed", S1, "incoming"),
        ("03-04", "changed", S1, "outgoing"),
    ]


@pytest.mark.parametrize("moment", ["9999-12-31 00:00:00+00", "infinity"])
def test_what_has_no_end_is_there_however_late_the_moment(warehouse, moment):
    see(warehouse, 1, [BY_GIVER], None)
    see(warehouse, 2, None, [BY_RECEIVER])
    shares = f"SELECT share_id, direction FROM backup_shares_as_of(TIMESTAMPTZ '{moment}')"
    assert rows(warehouse, shares) == [(S1, "incoming")]
    backups = f"SELECT backup_id, direction FROM backups_as_of(TIMESTAMPTZ '{moment}')"
    assert rows(warehouse, backups) == [(B1, "incoming")]


def test_what_a_later_sync_of_the_same_day_proves_gone_is_gone_though_the_other_listing_was_proven_that_day(warehouse):
    for hour, given, received in ((1, [BY_GIVER], [BY_RECEIVER]), (10, None, [])):
        for minute, listing, shares in ((0, OUT, given), (1, IN, received)):
            at, proof = day(1, hour) + minute * MINUTE, UNPROVEN if shares is None else {}
            observation = make_observation(at, listing, sync_id=f"sync at {hour}", **proof)
            record(warehouse, observation, make_page(*(shares or [])))
    for question in (
        "SELECT share_id FROM backup_shares",
        "SELECT backup_id FROM backups",
        "SELECT share_id FROM backup_shares_as_of(TIMESTAMPTZ '2026-03-01 12:00:00+00')",
        "SELECT backup_id FROM backups_as_of(TIMESTAMPTZ '2026-03-01 12:00:00+00')",
        "SELECT rule FROM findings WHERE state = 'open'",
    ):
        assert rows(warehouse, question) == []
    before = "SELECT share_id FROM backup_shares_as_of(TIMESTAMPTZ '2026-03-01 09:00:00+00')"
    assert rows(warehouse, before) == [(S1,)]
    assert rows(warehouse, CHANGES) == [("03-01", "granted", S1, "outgoing"), ("03-01", "withdrawn", S1, "incoming")]


def test_a_giver_that_is_observed_later_does_not_rewrite_what_was_told(warehouse):
    see(warehouse, 1, None, [])
    see(warehouse, 2, None, [BY_RECEIVER])
    before = rows(warehouse, CHANGES)
    see(warehouse, 3, [BY_GIVER], [BY_RECEIVER])
    assert before == [("03-02", "granted", S1, "incoming")]
    assert rows(warehouse, CHANGES) == before


def test_a_day_with_two_observations_is_shown_as_the_later_one_saw_it(warehouse):
    record(warehouse, make_observation(day(1, 6)), make_page(make_share(S1, B1)))
    record(warehouse, make_observation(day(1, 18)), make_page(make_share(S2, B2)))
    record(warehouse, make_observation(day(1, 20), **UNPROVEN))
    assert rows(warehouse, "SELECT share_id, observed_at FROM backup_share_snapshots") == [(S2, day(1, 18))]
    assert rows(warehouse, "SELECT backup_id, observed_at FROM backup_snapshots") == [(B2, day(1, 18))]


def test_the_day_of_a_snapshot_is_a_day_in_utc_whatever_the_zone_of_the_session(warehouse):
    record(warehouse, make_observation(day(1, 0)), make_page(make_share(S1, B1)))
    record(warehouse, make_observation(day(1, 23)), make_page(make_share(S1, B1)))
    with warehouse._engine.begin() as connection:
        connection.exec_driver_sql("SET TimeZone = 'Asia/Kolkata'")
    assert rows(warehouse, "SELECT current_setting('TimeZone')") == [("Asia/Kolkata",)]
    for question in (
        "SELECT substr(CAST(snapshot_date AS text), 6) FROM backup_share_snapshots",
        "SELECT substr(CAST(snapshot_date AS text), 6) FROM backup_snapshots",
        "SELECT substr(CAST(change_date AS text), 6) FROM backup_share_changes",
        "SELECT substr(CAST(snapshot_date AS text), 6) FROM listing_coverage",
    ):
        assert rows(warehouse, question) == [("03-01",)]
    assert len(rows(warehouse, "SELECT * FROM backup_shares")) == 1


def test_a_day_on_which_nothing_is_shared_has_no_rows_and_is_no_gap_in_the_ledger(warehouse):
    record(warehouse, make_observation(day(1)), make_page(make_share(S1, B1)))
    record(warehouse, make_observation(day(2)), make_page())
    assert rows(warehouse, "SELECT substr(CAST(snapshot_date AS text), 6) FROM backup_share_snapshots") == [("03-01",)]
    assert rows(warehouse, "SELECT count(*) FROM observations WHERE is_proven") == [(2,)]


# --- strangers --------------------------------------------------------------------------------------------------------

HOSTILE = [
    "'; DROP TABLE observations; --",
    '"; DELETE FROM backup_history; --',
    "$sync_id ? %s {} :name",
    "<script>alert(1)</script>",
    "=cmd|' /C calc'!A0",
    "line\nbreak\ttab\r\x1b[2J",
    "\u202e\u2028\u0000\U0001f4a3",
    "\\",
    "x" * 100_000,
    "",
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_is_stored_as_it_came_and_harms_nothing(warehouse, text):
    schema = "SELECT table_name, column_name, data_type FROM information_schema.columns ORDER BY 1, 2"
    tables = rows(warehouse, schema)
    record(warehouse, make_observation(day(1)), make_page(make_share(S3, B2)))
    backup = make_backup(B1, name=text, description=text, container=text)
    record(
        warehouse,
        make_observation(day(2), sync_id=text.replace("\0", "")),
        make_page(make_share(S3, B2), make_share(S1, B1, backup=backup), make_share(S2, B2, to_project_id=text)),
    )
    # PostgreSQL cannot store NUL; the sign for it stands in its place.
    stored = text.replace("\0", "\u2400")
    assert rows(warehouse, f"SELECT backup_name, description, container FROM backups WHERE backup_id = '{B1}'") == [
        (stored, stored, stored)
    ]
    assert rows(warehouse, "SELECT share_id FROM rejected_records") == [(S2,)]
    assert rows(warehouse, "SELECT share_id FROM backup_shares ORDER BY 1") == [(S1,), (S3,)]
    assert rows(warehouse, schema) == tables
    for path in FILES:
        # What asks the view of findings sees no more of the text than the view does, and that view takes its time.
        if path.stem == "findings" or "from findings" not in path.read_text(encoding="utf-8"):
            run(warehouse, path)
