"""The report pack, the questions as of a moment, the change feeds and the export, on a diary worked out by hand.

One warehouse per engine, read as an analyst does. Alice's outgoing and Bob's incoming listing, 28 February to 5 March:

    02-28  S1 (B1 to Bob), which both listings know from the start
    03-01  nobody looked
    03-02  S2 (B2 to Bob) and S4 (B2 to Carol) are granted
    03-03  a gap: Alice's listing is incomplete, Bob's failed
    03-04  S2 is withdrawn; Alice's side of S1 changes, and B1 is renamed there
    03-05  S5 (B2 to Bob, again) and S6 (B3 to Bob, which Bob's listing does not tell) are granted; Bob's listing tells
           S8, which Alice's does not, of a backup that nobody describes; a record of it cannot be read

Not here: bounds and coverage in depth (test_sql_bounds.py), rights (test_roles.py).
"""

import csv
import io
import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any

import duckdb
import pyarrow.dataset as ds
import pytest
from click.testing import CliRunner

from pipelines.cli import main
from pipelines.export import RELATIONS, export
from pipelines.observation import ProofStatus
from pipelines.publish import reading, rebuilding, writing
from pipelines.reports import load_report, report_names, run_report
from pipelines.schema import backup_history, backup_share_history, tracked_columns
from tests.oracle import (
    ALICE,
    B1,
    B2,
    B3,
    BOB,
    CAROL,
    IN,
    UNPROVEN,
    day,
    make_backup,
    make_id,
    make_observation,
    make_page,
    make_share,
    record,
    rows,
    shortener,
)

S1, S2, S4, S5, S6, S7, S8 = (make_id("5", number) for number in (1, 2, 4, 5, 6, 7, 8))
V1, V2, B9 = make_id("d", 1), make_id("d", 2), make_id("b", 9)
FIRST_DAY = datetime(2026, 2, 28, 6, tzinfo=UTC)
NOW = datetime(2026, 3, 6, 12, tzinfo=UTC)

BACKUP_2 = make_backup(B2, volume_id=V2, size=100)
BACKUP_3 = make_backup(B3, volume_id=V1, size=50, status="error", fail_reason="disk")
RENAMED = make_backup(B1, name="=renamed")
FIRST = make_share(S1, B1)
CHANGED = make_share(S1, B1, updated_at="2026-03-03T20:00:00", backup=RENAMED)
SECOND = make_share(S2, B2, created_at="2026-03-01T12:00:00", backup=BACKUP_2)
CAROLS = make_share(S4, B2, created_at="2026-03-01T13:00:00", to_project_id=CAROL, backup=BACKUP_2)
AGAIN = make_share(S5, B2, created_at="2026-03-04T12:00:00", backup=BACKUP_2)
FAILED = make_share(S6, B3, created_at="2026-03-04T13:00:00", backup=BACKUP_3)
ORPHAN = make_share(S8, B9, created_at="2026-03-04T14:00:00", backup=None)
UNREADABLE = make_share(S7, B1, created_at="yesterday")

BROKEN = {"status": ProofStatus.FAILED, "may_close": False, "reason": "503"}
COUNTED = {"count_before": 4, "count_after": 4, "distinct_ids": 4}
DIARY = [
    (make_observation(FIRST_DAY), [FIRST]),
    (make_observation(FIRST_DAY, IN), [FIRST]),
    (make_observation(day(2)), [FIRST, SECOND, CAROLS]),
    (make_observation(day(2), IN), [FIRST, SECOND]),
    (make_observation(day(3), **UNPROVEN), []),
    (make_observation(day(3), IN, **BROKEN), []),
    (make_observation(day(4)), [CHANGED, CAROLS]),
    (make_observation(day(4), IN), [FIRST]),
    (
        make_observation(day(5), **COUNTED, pass_count=2, page_count=3, request_count=7),
        [CHANGED, CAROLS, AGAIN, FAILED],
    ),
    (make_observation(day(5), IN, distinct_ids=4), [FIRST, AGAIN, ORPHAN, UNREADABLE]),
]


@pytest.fixture(scope="module", params=["duckdb", "postgresql"])
def address(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An empty warehouse at first; `diary` fills it."""
    if request.param == "duckdb":
        yield f"duckdb:///{tmp_path_factory.mktemp('reports') / 'warehouse.duckdb'}"
        return
    server = request.getfixturevalue("postgres")
    made = server.create_database()
    yield made
    server.drop_database(made)


@pytest.fixture(scope="module")
def empty(address: str) -> dict[str, int]:
    """How many rows each report has before anything was recorded."""
    with writing(address):
        pass
    with reading(address) as warehouse:
        return {name: run_report(warehouse, load_report(name), {}, NOW).num_rows for name in report_names()}


@pytest.fixture(scope="module")
def diary(address: str, empty: dict[str, int]) -> Iterator[Any]:
    with writing(address) as warehouse:
        for observation, shares in DIARY:
            record(warehouse, observation, make_page(*shares))
    with reading(address) as warehouse:
        yield warehouse


NAMES = {
    **{ALICE: "Alice", BOB: "Bob", CAROL: "Carol", V1: "V1", V2: "V2"},
    **{make_id("5", number): f"S{number}" for number in range(10)},
    **{make_id("b", number): f"B{number}" for number in range(10)},
}
short = shortener(NAMES)


def lines(table: Any, columns: str) -> list[str]:
    return [" ".join(short(row[name]) for name in columns.split()) for row in table.to_pylist()]


def test_every_report_is_empty_where_nothing_was_recorded(empty):
    assert empty == dict.fromkeys(report_names(), 0)


@pytest.mark.parametrize("name", report_names())
def test_the_header_of_a_report_says_what_it_answers(diary, name):
    asked = load_report(name)
    header = asked.header
    assert header.question.endswith("?")
    assert header.grain.startswith("one row per ")
    assert list(header.columns) == run_report(diary, asked, {}, NOW).column_names
    assert all(f"${each.name}" in asked.sql for each in header.parameters)


EXPECTED: dict[str, tuple[dict[str, str], str, list[str]]] = {
    "active_shares": (
        {},
        "from_project_id to_project_id share_id backup_id backup_name size_gb told_by last_observed_at",
        [
            "Alice Bob S8 B9 - - incoming d5",
            "Alice Bob S6 B3 nightly 50 outgoing d5",
            "Alice Bob S5 B2 nightly 100 outgoing d5",
            "Alice Carol S4 B2 nightly 100 outgoing d5",
            "Alice Bob S1 B1 =renamed 40 outgoing d5",
        ],
    ),
    "active_shares of Carol": ({"project": CAROL}, "share_id", ["S4"]),
    "first_ever_recipients": (
        {"since": "2026-03-01"},
        "from_project_id to_project_id first_seen_at is_baseline share_count",
        ["Alice Carol d2 False 1"],
    ),
    "first_ever_recipients from the start": (
        {"since": "2026-02-01"},
        "from_project_id to_project_id first_seen_at is_baseline share_count",
        ["Alice Carol d2 False 1", "Alice Bob d28@06 True 5"],
    ),
    "fan_out": ({}, "backup_id size_gb recipient_count share_count", ["B2 100 2 2"]),
    "top_recipients": (
        {},
        "to_project_id giver_count share_count backup_count gb unknown_count",
        ["Bob 1 4 4 190 1", "Carol 1 1 1 100 0"],
    ),
    "changes_per_day": (
        {},
        "change_date first_seen granted changed withdrawn backups_changed",
        ["02-28 1 0 0 0 0", "03-02 0 2 0 0 0", "03-04 0 0 1 1 1", "03-05 0 3 0 0 0"],
    ),
    "changes_per_day since a day": (
        {"since": "2026-03-04"},
        "change_date first_seen granted changed withdrawn backups_changed",
        ["03-04 0 0 1 1 1", "03-05 0 3 0 0 0"],
    ),
    "stale_shares": ({"days": "30"}, "share_id age_days last_observed_at", ["S1 32 d5"]),
    "giver_receiver_mismatches": (
        {},
        "finding share_id from_project_id to_project_id detail given_at received_at",
        [
            "backup_unknown S8 Alice Bob  d5 d5",
            "not_told_by_giver S8 Alice Bob  d5 d5",
            "not_told_by_receiver S6 Alice Bob  d5 d5",
            "told_differently S1 Alice Bob share_updated_at d5 d5",
        ],
    ),
    "short_lived_shares": ({}, "share_id to_project_id last_seen_at hours_at_most", ["S2 Bob d2 66"]),
    "short_lived_shares of two days": ({"days": "2"}, "share_id", []),
    "regranted_shares": (
        {},
        "backup_id to_project_id withdrawn_at regranted_at days_between share_id previous_share_id",
        ["B2 Bob d4 d5 1 S5 S2"],
    ),
    # A gap: what was known before it, and that it is no proof of the day.
    "exposure_as_of a gap": (
        {"as_of": "2026-03-03"},
        "to_project_id share_id backup_name size_gb last_proven_at is_proven_that_day",
        ["Bob S1 nightly 40 d2 False", "Bob S2 nightly 100 d2 False", "Carol S4 nightly 100 d2 False"],
    ),
    "exposure_as_of a proven day": (
        {"as_of": "2026-03-04", "project": BOB},
        "to_project_id share_id backup_name size_gb last_proven_at is_proven_that_day",
        ["Bob S1 =renamed 40 d4 True"],
    ),
    "exposure_as_of a volume": (
        {"as_of": "2026-03-05", "volume": V2},
        "to_project_id share_id volume_id size_gb is_proven_that_day",
        ["Bob S5 V2 100 True", "Carol S4 V2 100 True"],
    ),
    "exposure_as_of a day before all": ({"as_of": "2026-02-27"}, "share_id", []),
    "volume_exposure": (
        {"volume": V2},
        "backup_id to_project_id size_gb share_count first_seen_at gone_at share_id",
        ["B2 Bob 100 2 d2 - S2", "B2 Carol 100 1 d2 - S4"],
    ),
    "gb_per_project": (
        {},
        "project_id direction month share_count backup_count gb gb_change gb_change_percent",
        [
            "Alice outgoing 02-01 1 1 40 - -",
            "Alice outgoing 03-01 4 3 190 150 375.0",
            "Bob incoming 02-01 1 1 40 - -",
            "Bob incoming 03-01 3 2 140 100 250.0",
        ],
    ),
    "failed_backups_shared": ({}, "backup_id backup_status fail_reason share_id", ["B3 error disk S6"]),
    "coverage_calendar": (
        {"project": BOB},
        "snapshot_date direction status observation_count reason",
        [
            "02-28 incoming proven 1 ",
            "03-01 incoming not_observed 0 ",
            "03-02 incoming proven 1 ",
            "03-03 incoming failed 1 503",
            "03-04 incoming proven 1 ",
            "03-05 incoming proven 1 ",
        ],
    ),
    "sync_runs": (
        {"since": "2026-03-03"},
        "started_at seconds listing_count proven_count page_count request_count other_requests repeated_walks",
        ["d5 60.0 2 2 4 8 4 1", "d4 60.0 2 2 2 2 0 0", "d3 60.0 2 0 2 2 0 0"],
    ),
    "data_quality": (
        {"since": "2026-03-03"},
        "snapshot_date observation_count unproven_count no_absence_count rejected_count rejected_percent",
        ["03-03 2 2 0 0 -", "03-04 2 0 0 0 0.0", "03-05 2 0 0 1 12.5"],
    ),
    "quarantine_reasons": (
        {},
        "snapshot_date project_id direction record_count share_count first_share_id",
        ["03-05 Bob incoming 1 1 S7"],
    ),
    "reconciliation": (
        {"since": "2026-03-05"},
        "observed_at project_id count_before distinct_ids count_after share_count rejected_count unrecorded verdict",
        ["d5 Alice 4 4 4 4 0 0 agrees", "d5 Bob - 4 - 3 1 0 not_told"],
    ),
}


ELSEWHERE = {
    *("open_findings", "untrusted_recipients", "exceptions_and_expiry", "projects"),  # test_findings.py
    "schema_drift",  # test_drift.py
}


def test_every_report_has_an_answer_that_was_worked_out_by_hand():
    assert {case.split()[0] for case in EXPECTED} | ELSEWHERE == set(report_names())


@pytest.mark.parametrize("case", EXPECTED)
def test_the_answer_is_the_one_worked_out_by_hand(diary, case):
    given, columns, expected = EXPECTED[case]
    assert lines(run_report(diary, load_report(case.split()[0]), given, NOW), columns) == expected


# --- as of a moment ---------------------------------------------------------------------------------------------------

OPEN_ON = {
    datetime(2026, 2, 28, 5, 59, tzinfo=UTC): [],
    FIRST_DAY: ["S1 d28@06"],
    day(1): ["S1 d28@06"],
    day(2): ["S1 d2", "S2 d2", "S4 d2"],
    day(3, 18): ["S1 d2", "S2 d2", "S4 d2"],
    day(4): ["S1 d4", "S4 d4"],
    NOW: ["S1 d5", "S4 d5", "S5 d5", "S6 d5", "S8 d5"],
}


@pytest.mark.parametrize("moment", OPEN_ON, ids=str)
def test_as_of_a_moment_is_told_what_was_proven_last_and_when_that_was(diary, moment):
    shares = "SELECT share_id, last_proven_at FROM backup_shares_as_of($moment) ORDER BY share_id"
    assert lines(diary.query(shares, moment=moment), "share_id last_proven_at") == OPEN_ON[moment]


def test_as_of_now_is_what_the_current_views_show(diary):
    for view, function, key in (
        ("backup_shares", "backup_shares_as_of", "share_id"),
        ("backups", "backups_as_of", "backup_id"),
    ):
        now = diary.query(f"SELECT * FROM {view} ORDER BY {key}").to_pylist()
        then = diary.query(f"SELECT * FROM {function}($moment) ORDER BY {key}", moment=NOW).to_pylist()
        assert [tuple(row.values()) for row in then] == [tuple(row.values()) for row in now]
        assert now


def test_as_of_a_moment_a_backup_has_the_name_it_had(diary):
    name = f"SELECT backup_name, direction FROM backups_as_of($moment) WHERE backup_id = '{B1}'"
    assert rows(diary, name, moment=day(3)) == [("nightly", "outgoing")]
    assert rows(diary, name, moment=day(4)) == [("=renamed", "outgoing")]


# --- changes ----------------------------------------------------------------------------------------------------------


def test_a_change_is_told_field_by_field_with_before_and_after(diary):
    columns = "change_date change_type {} changed_field before after"
    shares = diary.query("SELECT * FROM backup_share_changes ORDER BY seen_at, change_type, share_id")
    assert lines(shares, columns.format("share_id")) == [
        "02-28 granted S1 - - -",
        "03-02 granted S2 - - -",
        "03-02 granted S4 - - -",
        "03-04 changed S1 share_updated_at - 2026-03-03 20:00:00+00",
        "03-04 withdrawn S2 - - -",
        "03-05 granted S5 - - -",
        "03-05 granted S6 - - -",
        "03-05 granted S8 - - -",
    ]
    backups = diary.query("SELECT * FROM backup_changes ORDER BY seen_at, change_type, backup_id")
    assert lines(backups, columns.format("backup_id")) == [
        "02-28 appeared B1 - - -",
        "03-02 appeared B2 - - -",
        "03-04 changed B1 backup_name nightly =renamed",
        "03-05 appeared B3 - - -",
    ]
    assert lines(backups.slice(2, 1), "not_before is_baseline") == ["d2 False"]


def test_the_id_of_an_event_is_made_of_the_observation_the_object_and_the_kind(diary):
    of_s1 = f"SELECT event_id FROM backup_share_changes WHERE share_id = '{S1}' ORDER BY seen_at"
    first, changed = DIARY[0][0].observation_id, DIARY[6][0].observation_id
    assert rows(diary, of_s1) == [(f"{first} {S1} granted",), (f"{changed} {S1} changed",)]


def test_after_a_rebuild_the_events_have_the_ids_they_had_and_a_moment_can_be_asked(address, diary):
    events = "SELECT event_id, changed_field FROM {} ORDER BY 1, 2"
    feeds = [events.format(view) for view in ("backup_share_changes", "backup_changes")]
    before = [rows(diary, feed) for feed in feeds]
    with rebuilding(address) as warehouse:
        for observation, shares in DIARY:
            record(warehouse, observation, make_page(*shares))
    with reading(address) as warehouse:
        assert [rows(warehouse, feed) for feed in feeds] == before
        assert len(rows(warehouse, "SELECT * FROM backup_shares_as_of($moment)", moment=NOW)) == 5


@pytest.mark.parametrize(
    ("table", "view"), [(backup_share_history, "backup_share_changes"), (backup_history, "backup_changes")]
)
def test_every_column_that_makes_a_version_is_compared(table, view):
    from pipelines.relations import view_queries

    sql = view_queries()[view]
    fields = sql[sql.index("fields (changed_field)") : sql.index("compared as")]
    wanted = [name for name in tracked_columns(table) if name != table.info["key"]]
    assert [name for name in wanted if f"('{name}')" in fields and sql.count(f"when '{name}' then") == 2] == wanted


# --- export -----------------------------------------------------------------------------------------------------------


def test_an_export_read_back_is_what_the_warehouse_holds(diary, tmp_path):
    folder = tmp_path / "out"
    for _ in range(2):  # the second one takes the place of the first
        counts = export(diary, folder, NOW)
    assert counts == {name: diary.query(f"SELECT * FROM {name}").num_rows for name in RELATIONS}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    for name, time in RELATIONS.items():
        expected = diary.query(f"SELECT * FROM {name}").to_pylist()
        for row in expected:
            row["month"] = f"{row[time]:%Y-%m}"
        by_arrow = ds.dataset(folder / name, partitioning="hive").to_table()
        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            files = f"{folder / name}/*/*.parquet"
            relation = connection.sql("SELECT * FROM read_parquet($1, hive_partitioning = true)", params=[files])
            by_duckdb = relation.to_arrow_table()
        for found in (by_arrow, by_duckdb):
            assert sorted(map(str, map(sorted_items, found.to_pylist()))) == sorted(
                map(str, map(sorted_items, expected))
            )


def sorted_items(row: dict[str, Any]) -> list[tuple[str, Any]]:
    return sorted((name, value.isoformat() if isinstance(value, date) else value) for name, value in row.items())


def test_an_export_does_not_touch_a_folder_of_something_else(diary, tmp_path):
    (tmp_path / "holiday.jpg").write_bytes(b"a picture")
    with pytest.raises(Exception, match="holds something else than an export"):
        export(diary, tmp_path, NOW)
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.jpg"]


def test_an_export_that_fails_leaves_the_one_before(diary, tmp_path, monkeypatch):
    folder = tmp_path / "out"
    export(diary, folder, NOW)
    monkeypatch.setitem(RELATIONS, "quarantine", "no_such_column")
    with pytest.raises(Exception, match="no_such_column"):
        export(diary, folder, NOW)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert ds.dataset(folder / "backup_share_changes", partitioning="hive").count_rows() == 8


# --- command line -----------------------------------------------------------------------------------------------------


@pytest.fixture
def run(address, diary, monkeypatch):
    monkeypatch.setenv("WAREHOUSE_URL", address)
    return lambda *arguments: CliRunner().invoke(main, arguments, catch_exceptions=False)


def test_a_report_comes_in_every_format(run, tmp_path):
    asked = ("report", "active_shares", "-p", f"project={ALICE}", "--format")
    assert "=renamed" in run(*asked, "table").output
    as_csv = list(csv.DictReader(io.StringIO(run(*asked, "csv").output)))
    assert [row["backup_name"] for row in as_csv][-1] == "'=renamed"
    as_json = json.loads(run(*asked, "json").output)
    assert [json.loads(line) for line in run(*asked, "jsonl").output.splitlines()] == as_json
    assert len(as_json) == 5
    run(*asked, "parquet", "--output", str(tmp_path / "out.parquet"))
    assert ds.dataset(tmp_path / "out.parquet").count_rows() == 5


def test_the_list_of_reports_tells_question_and_parameters(run):
    told = json.loads(run("report", "--list", "--format", "json").output)
    assert [row["report"] for row in told] == report_names()
    assert {
        "report": "stale_shares",
        "question": "Which active shares are older than they should be?",
        "parameters": "days=90 as_of=today",
    } in told


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["active_share"], "no report active_share (did you mean active_shares"),
        (["\x1b[2J"], "no report \\x1b[2J"),
        (["../views/backups"], "no report"),
        (["listing_status"], "no report"),
        (["stale_shares", "-p", "day=3"], "no parameter day (did you mean days?): it takes days, as_of"),
        (["fan_out", "-p", "recipients=many"], "write a whole number"),
        (["stale_shares", "-p", "as_of=2026-02-30"], "write a day such as 2026-03-01"),
        (["stale_shares", "-p", "as_of=any"], "write a day such as"),
        (["top_recipients", "-p", "x=1"], "it takes none"),
        (["top_recipients", "-p", "x"], "name=value"),
        (["stale_shares", "-p", "days=1", "-p", "days=2"], "given twice"),
        ([], "name a report"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_words(run, arguments, words):
    done = run("report", *arguments)
    assert done.exit_code == 2
    assert words in done.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["exposure_as_of", "-p", "as_of=2026-02-27"],
            "is known of 2026-02-27: the first proven observation is of 2026-02-28",
        ),
        (
            ["sync_runs", "-p", "since=2026-03-06"],
            "proven since 2026-03-06: the last proven observation is of 2026-03-05; try -p since=2026-02-28",
        ),
        (["first_ever_recipients", "-p", "since=2026-03-05"], ""),
        (
            ["active_shares", "-p", "project=\x1b[2J"],
            "nothing was ever observed of the project \\x1b[2J: look at its id",
        ),
        (["volume_exposure", "-p", f"volume={B9}"], f"nothing was ever observed of the volume {B9}: look at its id"),
        (["volume_exposure", "-p", f"volume={V1}"], ""),
        (["fan_out", "-p", "recipients=9"], ""),
        (["exposure_as_of", "-p", "as_of=2026-02-28", "-p", f"project={CAROL}"], ""),
    ],
)
def test_an_answer_that_is_empty_for_what_was_never_observed_says_so(run, arguments, words):
    done = run("report", *arguments)
    assert done.exit_code == 0
    assert words in done.stderr
    assert bool(done.stderr) == bool(words)


def test_a_value_is_bound_and_never_part_of_the_question(run):
    done = run("report", "active_shares", "-p", "project=' OR 1=1; DROP VIEW backups; --", "--format", "json")
    assert json.loads(done.stdout) == []


def test_the_command_export_tells_what_it_wrote(run, tmp_path):
    done = run("export", str(tmp_path / "out"))
    assert done.exit_code == 0
    assert f"         8 rows  {tmp_path / 'out' / 'backup_share_changes'}" in done.output
