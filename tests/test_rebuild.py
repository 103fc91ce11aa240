"""The warehouse made again from the landing, compared with it, and made ready: on every engine, and as commands.

What must stand in the tables afterwards is written by hand; on generated histories it is the oracle's
(test_histories.py).
Not here: landings that were pruned (test_retention.py), kills on the way (test_crash.py, test_postgres_faults.py).
"""

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.exc import IntegrityError
from sqlalchemy.pool import NullPool

from pipelines.cli import main
from pipelines.engines import ways_of
from pipelines.errors import LandingError, OutOfOrderError, WarehouseBusyError, WarehouseError
from pipelines.landing import landed_files, read_observation
from pipelines.load import load_pending
from pipelines.policy_landing import land_policy
from pipelines.publish import reading, writing
from pipelines.rebuild import rebuild, verify
from pipelines.relations import view_queries
from tests.oracle import B1, B2, BOB, OUT, S1, S2, day, dump, land, make_observation, make_page, make_share, rows
from tests.postgres import connect

FIRST, OTHER = make_share(S1, B1), make_share(S2, B2)
CHANGED = make_share(S2, B2, updated_at="2026-03-01T20:00:00")
BAD = make_share("the third", B2)
THREE_DAYS = {1: make_page(FIRST, OTHER), 2: make_page(FIRST, CHANGED, BAD), 3: make_page(CHANGED)}
VERSIONS = [
    (S1, None, day(1), day(3)),
    (S2, None, day(1), day(2)),
    (S2, day(1, 20), day(2), day(1).replace(year=9999, month=12, day=31, hour=0)),
]
"""What these days say: S1 is gone on the third, S2 changed on the second, when another record could not be read."""
COUNTS = {"backup_share_history": 3, "backup_history": 2, "observations": 3, "rejected_records": 1}


@pytest.fixture(params=["duckdb", "postgresql"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "duckdb":
        yield f"duckdb:///{tmp_path}/warehouse.duckdb"
        return
    yield request.getfixturevalue("postgres_url")


@pytest.fixture
def landing(tmp_path: Path) -> Path:
    for number, page in THREE_DAYS.items():
        land(tmp_path / "landing", make_observation(day(number)), page)
    return tmp_path / "landing"


@pytest.fixture
def published(address: str, landing: Path) -> str:
    load(address, landing)
    return address


def load(address: str, landing: Path) -> None:
    with writing(address) as warehouse:
        assert load_pending(warehouse, landing, landing.with_name("staging")) == []


def versions(address: str) -> list[tuple]:
    question = "SELECT share_id, share_updated_at, valid_from, valid_to FROM backup_share_history ORDER BY 1, 3"
    with reading(address) as warehouse:
        return rows(warehouse, question)


def damage(address: str, *statements: str) -> None:
    """As someone would who has the rights, past the program."""
    engine = create_engine(address, poolclass=NullPool)
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    engine.dispose()


def everything(address: str) -> dict[str, list[tuple]]:
    with reading(address) as warehouse:
        return dump(warehouse)


# --- rebuild ----------------------------------------------------------------------------------------------------------


def test_of_a_lost_warehouse_the_landing_gives_every_version_again(address, landing):
    assert {name: count for name, count in rebuild(address, landing).rows.items() if count} == COUNTS
    assert versions(address) == VERSIONS


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM backup_share_history",
        "UPDATE backup_share_history SET to_project_id = 'nobody'",
        f"UPDATE backup_history SET size_gb = 1 WHERE backup_id = '{B1}'",
        "DELETE FROM rejected_records",
        "UPDATE observations SET shares_granted = 7",
    ],
)
def test_whatever_was_done_to_the_warehouse_a_rebuild_puts_it_right(published, landing, statement):
    before = everything(published)
    damage(published, statement)
    assert everything(published) != before
    rebuild(published, landing)
    assert everything(published) == before


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE rejected_records CASCADE",
        "DROP TABLE backup_share_history CASCADE",
        "DROP TABLE schema_version",
        "ALTER TABLE policy_limits RENAME COLUMN max_recipients TO most",
        "DROP VIEW backup_shares CASCADE",
    ],
)
def test_whatever_was_done_to_its_tables_a_rebuild_makes_them_again(published, landing, statement):
    before = everything(published)
    damage(published, statement)
    rebuild(published, landing)
    assert everything(published) == before
    with reading(published) as warehouse:
        for name in view_queries():
            warehouse.query(f"SELECT * FROM {name}")
    land(landing, make_observation(day(4)), make_page(FIRST, CHANGED))
    load(published, landing)


def test_a_table_that_is_gone_is_named_and_what_was_landed_waits(published, landing):
    damage(published, "DROP TABLE rejected_records CASCADE")
    land(landing, make_observation(day(4)), make_page(FIRST, CHANGED))
    with (
        pytest.raises(WarehouseError, match=r"warehouse lack rejected_records: `backup-shares rebuild`"),
        writing(published),
    ):
        pass
    rebuild(published, landing)
    assert (S1, None, day(4), VERSIONS[-1][-1]) in versions(published)


def test_a_view_that_is_gone_is_made_again_by_the_next_sync(published):
    with reading(published) as warehouse:
        before = warehouse.query("SELECT * FROM backup_shares").to_pylist()
    damage(published, "DROP VIEW backup_shares CASCADE")
    with writing(published):
        pass
    with reading(published) as warehouse:
        assert warehouse.query("SELECT * FROM backup_shares").to_pylist() == before


def test_after_a_rebuild_the_next_sync_goes_on(published, landing):
    rebuild(published, landing)
    land(landing, make_observation(day(4)), make_page(FIRST, CHANGED))
    load(published, landing)
    assert (S1, None, day(4), VERSIONS[-1][-1]) in versions(published)


def test_an_observation_that_came_late_is_refused_by_a_load_and_used_by_a_rebuild(published, landing):
    late = make_observation(day(1) + timedelta(hours=6), sync_id="late")
    file = land(landing, late, make_page(OTHER))
    with writing(published) as warehouse:
        with pytest.raises(OutOfOrderError, match="only a rebuild can use it"):
            warehouse.record(late, file, "its sha", None)
        assert load_pending(warehouse, landing, landing.with_name("staging")) == []
    assert versions(published) == VERSIONS
    rebuild(published, landing)
    # S1 was away at noon of the first day, and is back on the second.
    assert versions(published) == [(S1, None, day(1), day(1, 12)), (S1, None, day(2), day(3)), *VERSIONS[1:]]


@pytest.mark.parametrize(("place", "lost"), [(1, 2), (-1, 1)], ids=["and what waits for it", "alone"])
def test_a_damaged_page_is_named_and_nothing_is_published(published, landing, place, lost):
    before = everything(published)
    damaged = sorted(landing.rglob("*.parquet"))[place]
    damaged.write_bytes(damaged.read_bytes()[:-100])
    with pytest.raises(
        LandingError, match=rf"{lost} landed observations cannot be loaded.*{damaged.stem}.* is damaged"
    ):
        rebuild(published, landing)
    assert everything(published) == before


def test_an_empty_landing_is_no_reason_to_publish_an_empty_warehouse(published, tmp_path):
    before = everything(published)
    with pytest.raises(LandingError, match=r"nothing is landed in .*\(LANDING_DIR\)"):
        rebuild(published, tmp_path / "elsewhere")
    assert everything(published) == before


def test_while_somebody_writes_a_file_a_rebuild_waits_and_says_for_whom(tmp_path, landing):
    address = f"duckdb:///{tmp_path}/warehouse.duckdb"
    with writing(address), pytest.raises(WarehouseBusyError, match="is being written by process"):
        rebuild(address, landing, wait=0)


def test_while_an_observation_is_being_recorded_on_a_server_a_rebuild_waits_and_says_for_what(postgres_url, landing):
    load(postgres_url, landing)
    engine = create_engine(postgres_url, poolclass=NullPool)
    with engine.begin() as recording:
        ways_of(recording).hold(recording, str(OUT))
        with pytest.raises(WarehouseBusyError, match="another sync or a rebuild holds the warehouse"):
            rebuild(postgres_url, landing, wait=0.1)


def test_a_reader_in_the_middle_of_a_transaction_goes_on_seeing_what_it_saw(postgres_url, landing):
    load(postgres_url, landing)
    question = "SELECT share_id, size_gb FROM backup_share_snapshots JOIN backup_snapshots USING (backup_id) ORDER BY 1"
    with connect(postgres_url) as reader:
        reader.autocommit = False
        reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        before = reader.execute(question).fetchall()
        damage(postgres_url, "UPDATE backup_history SET size_gb = 1")
        rebuild(postgres_url, landing)
        assert reader.execute(question).fetchall() == before


def test_on_a_server_what_others_made_of_the_views_and_may_do_outlives_a_rebuild(postgres_url, landing):
    load(postgres_url, landing)
    damage(
        postgres_url,
        "CREATE VIEW given AS SELECT from_project_id, count(*) AS shares FROM backup_shares GROUP BY 1",
        "CREATE ROLE reader_of_given",
        "GRANT SELECT ON given, backup_shares TO reader_of_given",
    )
    try:
        rebuild(postgres_url, landing)
        damage(postgres_url, "SET ROLE reader_of_given", "SELECT * FROM given", "SELECT * FROM backup_shares")
    finally:
        damage(postgres_url, "DROP OWNED BY reader_of_given", "DROP ROLE reader_of_given")


def test_on_a_server_what_others_made_of_the_functions_is_in_no_way_of_a_newer_program(postgres_url, landing):
    load(postgres_url, landing)
    damage(
        postgres_url,
        "CREATE VIEW given AS SELECT share_id FROM backup_shares_as_of(now())",
        "UPDATE schema_version SET definition_sha256 = 'that of another program'",
    )
    load(postgres_url, landing)
    assert everything(postgres_url)["backup_share_history"]


def test_on_a_server_views_and_functions_with_other_columns_are_made_anew(postgres_url, landing):
    load(postgres_url, landing)
    before = everything(postgres_url)
    damage(
        postgres_url,
        "ALTER VIEW observation_log RENAME COLUMN status TO state",
        "DROP FUNCTION backups_as_of(timestamptz)",
        "CREATE FUNCTION backups_as_of(moment timestamptz) RETURNS TABLE (number int) LANGUAGE sql AS 'SELECT 1'",
        "UPDATE schema_version SET definition_sha256 = 'that of another program'",
    )
    load(postgres_url, landing)
    assert everything(postgres_url) == before
    damage(postgres_url, "SELECT status FROM observation_log", "SELECT backup_id FROM backups_as_of(now())")


def test_a_server_that_had_no_warehouse_refuses_overlaps_after_a_rebuild_too(postgres_url, landing):
    rebuild(postgres_url, landing)
    longer = (
        f"UPDATE backup_share_history SET valid_to = '2026-03-09' WHERE share_id = '{S2}' AND valid_to < '2026-04-01'"
    )
    with pytest.raises(IntegrityError, match="backup_share_history_no_overlap"):
        damage(postgres_url, longer)


def test_what_the_landing_has_no_more_is_not_lost_unless_a_person_accepts_it(published, landing):
    before = everything(published)
    second = landed_files(landing)[1]
    second.path.unlink()
    told = rf"1 files that are recorded are in .* no more.*; the first is {re.escape(second.name)}: .*--accept-loss$"
    with pytest.raises(LandingError, match=told):
        rebuild(published, landing)
    assert everything(published) == before
    made = rebuild(published, landing, accept_loss=True)
    assert made.rows["observations"] == 2
    assert made.given_up == [second.name]


def test_a_landed_file_that_was_changed_is_named_and_not_taken_unless_a_person_accepts_it(published, landing):
    before = everything(published)
    second = landed_files(landing)[1]
    observation = read_observation(second)
    second.path.unlink()
    land(landing, observation, make_page(FIRST))
    told = rf"1 landed files are not what was recorded, by their SHA-256 .*; the first is {re.escape(second.name)}"
    assert re.match(told, str(verify(published, landing)))
    with pytest.raises(LandingError, match=rf"{told}, so nothing was published: .*--accept-loss$"):
        rebuild(published, landing)
    assert everything(published) == before
    made = rebuild(published, landing, accept_loss=True)
    assert (made.changed, made.given_up) == ([second.name], [])
    assert verify(published, landing) is None


@pytest.mark.parametrize("address", ["duckdb"], indirect=True)
def test_a_warehouse_that_cannot_be_asked_any_more_does_not_stop_a_rebuild(published, landing):
    damage(published, "ALTER TABLE observations RENAME COLUMN landing_file TO forgotten")
    rebuild(published, landing)
    assert versions(published) == VERSIONS


@pytest.mark.parametrize("address", ["duckdb"], indirect=True)
@pytest.mark.parametrize("end", ["first bytes", "a table", "the file"])
def test_where_the_warehouse_cannot_tell_what_was_lost_the_file_before_it_does(published, landing, end):
    land(landing, make_observation(day(4)), make_page(FIRST, CHANGED))
    load(published, landing)
    file = Path(make_url(published).database)
    before = file.with_name("warehouse.previous.duckdb").read_bytes()
    match end:
        case "first bytes":
            file.write_bytes(b"?" * 64 + file.read_bytes()[64:])
        case "a table":
            damage(published, "DROP TABLE observations")
        case "the file":
            file.unlink()
    second = landed_files(landing)[1]
    content = second.path.read_bytes()
    second.path.unlink()
    with pytest.raises(LandingError, match=rf"^1 files that are recorded .* the first is {re.escape(second.name)}: "):
        rebuild(published, landing)
    second.path.write_bytes(content)
    assert rebuild(published, landing).rows["observations"] == 4
    assert file.with_name("warehouse.previous.duckdb").read_bytes() == before, "the last good one stays"
    assert file.with_name("warehouse.replaced.duckdb").exists() == (end != "the file")


# --- verify -----------------------------------------------------------------------------------------------------------


def test_a_warehouse_that_is_what_the_landing_says_has_no_difference_and_is_not_touched(published, landing):
    before = everything(published)
    assert verify(published, landing) is None
    assert everything(published) == before


OF_S1 = f"region eu-test-1, project_id {OUT.project_id}, direction outgoing, share_id {S1}, valid_from 2026-03-01"
DIFFERENCES = {
    f"UPDATE backup_share_history SET to_project_id = 'me' WHERE share_id = '{S1}'": (
        rf"backup_share_history, row of {OF_S1}.*: to_project_id is me in the warehouse, {BOB} from the landing"
    ),
    f"DELETE FROM backup_share_history WHERE share_id = '{S1}'": (
        rf"backup_share_history: the warehouse lacks the row of {OF_S1}.*"
    ),
    f"UPDATE backup_share_history SET valid_from = valid_from - interval '1' day WHERE share_id = '{S1}'": (
        r"backup_share_history: what the landing says lacks the row of .*, valid_from 2026-02-28 .*"
    ),
    "UPDATE observations SET reason = 'none'": r"observations, row of observation_id .*: reason is none in .*",
    "DELETE FROM rejected_records": r"rejected_records: the warehouse lacks the row of observation_id .*",
}


@pytest.mark.parametrize("statement", DIFFERENCES)
def test_the_first_difference_is_told_by_row_and_column(published, landing, statement):
    damage(published, statement)
    assert re.fullmatch(DIFFERENCES[statement], str(verify(published, landing)))


def test_what_is_landed_and_waits_for_the_next_sync_is_no_difference_and_is_named(published, landing):
    land(landing, make_observation(day(4)), make_page(FIRST))
    policy_file = landing.with_name("policy.yaml")
    policy_file.write_text(f"projects: [{{id: {BOB}, name: bob, owner: me}}]")
    assert land_policy(policy_file, landing, day(4))
    assert re.search(r"landed and not recorded yet: 2, the first is .*20260304T", str(verify(published, landing)))
    load(published, landing)
    assert "landed and not recorded yet: 1, the first is _policy/20260304T" in str(verify(published, landing))
    damage(published, f"UPDATE backup_share_history SET to_project_id = 'me' WHERE share_id = '{S1}'")
    assert "to_project_id is me in the warehouse" in str(verify(published, landing))


def test_before_anything_is_published_there_is_nothing_to_compare(address, landing):
    with pytest.raises(LandingError, match="nothing was published yet"):
        verify(address, landing)


# --- versions ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def of_version(published) -> Callable[[int], str]:
    def make(version: int) -> str:
        damage(published, f"UPDATE schema_version SET version = {version}")
        return published

    return make


def test_tables_of_a_newer_program_are_refused_and_stay_as_they_are(of_version, landing):
    address = of_version(99)
    before = everything(address)
    with (
        pytest.raises(WarehouseError, match=r"are of a newer version \(99, this program makes \d+\): use the newer"),
        writing(address),
    ):
        pass
    assert everything(address) == before


def test_tables_of_an_earlier_program_are_made_again_by_a_rebuild(of_version, landing):
    address, told = of_version(0), "`backup-shares rebuild` makes them again"
    damage(address, "ALTER TABLE rejected_records ADD COLUMN forgotten TEXT", "DROP TABLE observed_drift CASCADE")
    with pytest.raises(WarehouseError, match=told), writing(address):
        pass
    # What a sync asks before it writes.
    with reading(address) as warehouse, pytest.raises(WarehouseError, match=told):
        warehouse.ledger()
    with pytest.raises(WarehouseError, match=told):
        verify(address, landing)
    rebuild(address, landing)
    assert versions(address) == VERSIONS
    assert verify(address, landing) is None


# --- the commands -----------------------------------------------------------------------------------------------------


@pytest.fixture
def command(tmp_path, monkeypatch) -> Callable[..., Result]:
    monkeypatch.chdir(tmp_path)  # where no .env is

    def run(*arguments: str, **settings: str) -> Result:
        return CliRunner().invoke(main, arguments, env=settings)

    return run


def test_the_commands_make_compare_and_make_again(address, landing, command):
    settings = {"WAREHOUSE_URL": address, "LANDING_DIR": str(landing)}
    made = command("migrate", **settings)
    assert made.exit_code == 0, made.stderr
    assert "has the tables and views of this version" in made.stdout
    with reading(address) as warehouse:
        assert all(rows(warehouse, f"SELECT * FROM {name}") == [] for name in view_queries())

    lacks = command("rebuild", "--verify", **settings)
    assert lacks.exit_code == 1
    assert "landed and not recorded yet: 3, the first is eu-test-1/" in lacks.stderr

    again = command("rebuild", **settings)
    assert again.exit_code == 0, again.stderr
    assert "3 rows in backup_share_history, 2 rows in backup_history, 3 rows in observations" in again.stdout
    same = command("rebuild", "--verify", **settings)
    assert (same.exit_code, same.stderr) == (0, "")
    assert "row for row" in same.stdout

    landed_files(landing)[0].path.unlink()
    refused = command("rebuild", **settings)
    assert (refused.exit_code, refused.stdout) == (1, "")
    accepted = command("rebuild", "--accept-loss", **settings)
    assert accepted.exit_code == 0, accepted.stderr
    assert re.fullmatch(r"given up: eu-test-1/\S+\.parquet\n", accepted.stderr)

    damage(address, "DELETE FROM backup_share_history")
    differs = command("rebuild", "--verify", **settings)
    assert differs.exit_code == 1
    assert differs.stderr.startswith("backup_share_history: the warehouse lacks the row of region eu-test-1")

    landed_files(landing)[0].path.unlink()
    less = command("rebuild", **settings)
    assert (less.exit_code, less.stdout) == (1, "")
    assert "go on without what they say with --accept-loss" in less.stderr
    assert command("rebuild", "--accept-loss", **settings).exit_code == 0


def test_a_rebuild_from_nothing_exits_1_and_says_where_it_looked(command, tmp_path):
    done = command("rebuild", LANDING_DIR=str(tmp_path / "none"))
    assert done.exit_code == 1
    assert done.stderr.startswith(f"backup-shares: nothing is landed in {tmp_path}/none (LANDING_DIR)")
