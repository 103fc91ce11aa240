"""sql/roles/ on a real server: what each group may do, and above all what it may not.

Every forbidden statement must fail for want of a right, not for another reason.
Not here: what recording and rebuilding do (test_warehouse.py).
"""

from collections.abc import Iterator
from contextlib import nullcontext

import psycopg
import pytest
from sqlalchemy.engine import make_url

from pipelines.errors import WarehouseError
from pipelines.publish import reading, writing
from pipelines.rebuild import rebuild
from pipelines.reports import load_report, report_names, run_report, why_empty
from pipelines.schema import POLICY_TABLES, metadata, sql_folder
from pipelines.settings import isolated_settings
from pipelines.this_machine import examine_machine
from tests.oracle import (
    B1,
    B2,
    IN,
    S1,
    S2,
    UNPROVEN,
    day,
    land,
    make_observation,
    make_page,
    make_share,
    record,
)
from tests.postgres import Server, connect, server_or_skip

GROUPS = ("migrator", "loader", "analyst")
VIEWS = sorted(path.stem for path in sql_folder("views").glob("*.sql"))


class House:
    """A warehouse with its roles, and a login in each group."""

    def __init__(self, server: Server) -> None:
        self.server, self._admin = server, server.create_database()
        # Not a superuser: a managed server gives nobody more than this.
        server.execute("CREATE ROLE admin LOGIN CREATEROLE")
        server.execute(f'ALTER DATABASE "{make_url(self._admin).database}" OWNER TO admin')
        self.run("roles", "admin")
        for group in GROUPS:
            self.execute("admin", f"CREATE ROLE a_{group} LOGIN IN ROLE backup_shares_{group}")
        self.run("roles", "admin")
        with writing(self.url("a_migrator")):
            pass

    def url(self, login: str) -> str:
        return make_url(self._admin).set(username=login).render_as_string(hide_password=False)

    def run(self, file: str, login: str) -> None:
        self.execute(login, (sql_folder("roles") / f"{file}.sql").read_text())

    def execute(self, login: str, sql: str) -> None:
        with connect(self.url(login)) as connection:
            connection.execute(sql)

    def rights(self) -> list[str]:
        """Who may do what with which relation, schema and database, and every login's settings."""
        url = self.url("postgres")
        return sorted(
            map(
                str,
                [
                    *self.server.execute(
                        "SELECT relname, relowner::regrole::text, relacl::text[] FROM pg_class "
                        "WHERE relname NOT LIKE 'pg_toast%'",
                        None,
                        url,
                    ),
                    *self.server.execute(
                        "SELECT relname, attname, attacl FROM pg_attribute JOIN pg_class c ON "
                        "c.oid = attrelid WHERE attacl IS NOT NULL ORDER BY 1, 2",
                        None,
                        url,
                    ),
                    *self.server.execute("SELECT nspname, nspacl FROM pg_namespace", None, url),
                    *self.server.execute("SELECT datname, datacl FROM pg_database", None, url),
                    *self.server.execute("SELECT setrole::regrole::text, setconfig FROM pg_db_role_setting", None, url),
                ],
            )
        )


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    # Roles are of the whole server: on the tests' common one they would show in other tests.
    with server_or_skip(durable=False) as server:
        yield House(server)


MAY = {
    "migrator": [
        "CREATE TABLE more (number integer)",
        "CREATE VIEW more AS SELECT count(*) AS versions FROM backup_history",
        "CREATE OR REPLACE VIEW backups AS SELECT *, 1 AS more FROM (TABLE backups) AS before_it LIMIT 0",
        "ALTER TABLE observations ADD COLUMN more text",
        "COMMENT ON TABLE observations IS 'more'",
        "DROP TABLE backup_share_history, backup_history CASCADE",
        "TRUNCATE backup_history",
        "DELETE FROM backup_history",
        "UPDATE schema_version SET version = version",
        "INSERT INTO backup_history TABLE backup_history",
        "CREATE SCHEMA rebuild CREATE TABLE more (number integer)",
        "GRANT SELECT ON backups TO backup_shares_analyst",
        "SELECT FROM backup_shares",
    ],
    "loader": [
        *(
            f"INSERT INTO {table} SELECT * FROM {table} LIMIT 0"
            for table in sorted(metadata.tables.keys() - {"schema_version"})
        ),
        *(f"UPDATE {table.name} SET valid_to = '2026-03-09' WHERE valid_to > '9999-01-01'" for table in POLICY_TABLES),
        "UPDATE backup_share_history SET valid_to = '2026-03-09', closed_by = opened_by WHERE valid_to > '9999-01-01'",
        "UPDATE backup_history SET valid_to = '2026-03-09', closed_by = opened_by WHERE valid_to > '9999-01-01'",
        "SELECT version FROM schema_version",
        "SELECT max(observed_at) FROM observations",
        "SELECT row_hash FROM backup_share_history",
        "COPY (SELECT backup_id, row_hash FROM backup_history) TO STDOUT",
        "SELECT pg_advisory_xact_lock(1), pg_advisory_xact_lock_shared(2)",
        "SELECT FROM backup_share_snapshots",
        "SELECT table_name FROM information_schema.tables WHERE table_name = 'observations'",
    ],
    "analyst": [
        *(f"SELECT * FROM {view}" for view in VIEWS),
        "SELECT FROM backup_shares AS s JOIN backups AS b ON s.backup_id = b.backup_id",
        "COPY (SELECT * FROM backup_shares) TO STDOUT (FORMAT csv, HEADER)",
        "EXPLAIN ANALYZE SELECT * FROM backup_share_changes",
        "DECLARE page CURSOR FOR SELECT * FROM backup_snapshots",
        "PREPARE question AS SELECT * FROM backups WHERE backup_id = $1",
        "SELECT column_name FROM information_schema.columns WHERE table_name = 'backups'",
        "SELECT * FROM backup_shares_as_of(now())",
        "SELECT * FROM backups_as_of('2026-03-02')",
        "SET LOCAL TIME ZONE 'Europe/Berlin'",
        "SET LOCAL statement_timeout = '1h'",
    ],
}

OUTSIDE = [
    "CREATE ROLE friend",
    "ALTER ROLE admin PASSWORD 'known'",
    "CREATE DATABASE another",
    "ALTER SYSTEM SET fsync = off",
    "SET SESSION AUTHORIZATION admin",
    "SET ROLE postgres",
    "DROP SCHEMA public CASCADE",
    "SELECT pg_read_file('postgresql.conf')",
    "SELECT rolpassword FROM pg_authid",
    "COPY (SELECT 1) TO '/tmp/of_the_server'",
    "COPY (SELECT 1) TO PROGRAM 'true'",
    "CREATE FUNCTION run() RETURNS integer LANGUAGE internal AS 'int4pl'",
]
"""What nobody may who is not an administrator of the server."""

MAKING = [
    "CREATE TABLE more (number integer)",
    "CREATE TEMPORARY TABLE more (number integer)",
    "CREATE VIEW more AS SELECT 1 AS number",
    "CREATE OR REPLACE VIEW backups AS SELECT 1 AS number",
    "CREATE SCHEMA more",
    "ALTER TABLE observations ADD COLUMN more text",
    "ALTER VIEW backups OWNER TO CURRENT_USER",
    "DROP VIEW backup_share_snapshots",
    "DROP TABLE rejected_records",
    "COMMENT ON TABLE observations IS 'more'",
    "SET ROLE backup_shares_migrator",
    "CREATE INDEX ON observations (sync_id)",
    "CREATE TRIGGER more BEFORE INSERT ON observations EXECUTE FUNCTION suppress_redundant_updates_trigger()",
]

MAY_NOT = {
    "migrator": OUTSIDE,
    "loader": [
        *OUTSIDE,
        *MAKING,
        *(f"DELETE FROM {table}" for table in sorted(metadata.tables)),
        *(f"TRUNCATE {table} CASCADE" for table in sorted(metadata.tables)),
        "UPDATE observations SET reason = ''",
        "UPDATE rejected_records SET raw_json = ''",
        "UPDATE observed_drift SET record_count = 0",
        "UPDATE schema_version SET version = 0",
        "INSERT INTO schema_version TABLE schema_version",
        *(
            f"UPDATE backup_share_history SET {column} = {column}"
            for column in ("share_id", "to_project_id", "row_hash", "valid_from", "opened_by")
        ),
        "UPDATE backup_history SET backup_name = ''",
        "UPDATE policy_exceptions SET expires_on = '2099-01-01'",
        "UPDATE policy_recipients SET valid_from = '2020-01-01'",
    ],
    "analyst": [
        *OUTSIDE,
        *MAKING,
        *(f"SELECT 1 FROM {table}" for table in sorted(metadata.tables)),
        *(f"INSERT INTO {table} SELECT * FROM {table}" for table in sorted(metadata.tables)),
        *(f"DELETE FROM {table}" for table in sorted(metadata.tables)),
        "UPDATE backup_history SET valid_to = valid_to",
        "TRUNCATE backup_history CASCADE",
        "LOCK TABLE observations",
        "SET ROLE backup_shares_loader",
    ],
}


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_may_do_what_its_work_needs(house, group):
    assert len(MAY[group]) >= 12
    with connect(house.url(f"a_{group}")) as connection:
        for statement in MAY[group]:
            with connection.transaction(force_rollback=True):
                if statement.startswith("COPY"):
                    with connection.cursor() as cursor, cursor.copy(statement) as copy:
                        assert all(copy)
                else:
                    connection.execute(statement)


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_may_do_nothing_else(house, group):
    assert len(MAY_NOT[group]) >= 12
    allowed = []
    with connect(house.url(f"a_{group}")) as connection:
        # Which anybody may switch off: it is no wall.
        connection.execute("SET default_transaction_read_only = off")
        for statement in MAY_NOT[group]:
            in_transaction = not statement.startswith(("CREATE DATABASE", "ALTER SYSTEM"))
            try:
                with connection.transaction(force_rollback=True) if in_transaction else nullcontext():
                    connection.execute(statement)
            except psycopg.errors.InsufficientPrivilege:
                continue
            allowed.append(statement)
    assert allowed == []


def test_each_does_its_part_of_a_sync_through_the_product(house):
    with writing(house.url("a_loader")) as warehouse:
        record(warehouse, make_observation(day(1)), make_page(make_share(S1, B1), make_share(S2, B2)))
        changed = make_share(S1, B1, to_project_id="e5" * 16, more=1)
        record(warehouse, make_observation(day(2)), make_page(changed, "42"))
        record(warehouse, make_observation(day(3)), make_page())
    with connect(house.url("a_analyst")) as connection:
        changes = connection.execute("SELECT change_type FROM backup_share_changes ORDER BY change_date, share_id")
        assert [change for (change,) in changes] == ["granted", "granted", "changed", "withdrawn", "withdrawn"]
        assert connection.execute("SELECT path FROM schema_drift").fetchall() == [("shared[].more",)]
    with reading(house.url("a_analyst")) as warehouse:
        assert warehouse.query("SELECT * FROM backup_shares").num_rows == 0
        with pytest.raises(WarehouseError, match="permission denied for table observations"):
            warehouse.query("SELECT * FROM observations")
    with pytest.raises(WarehouseError, match="permission denied for table"), writing(house.url("a_analyst")):
        pass


def test_an_analyst_can_run_every_report(house):
    with reading(house.url("a_analyst")) as warehouse:
        for name in report_names():
            run_report(warehouse, load_report(name), {}, day(4))
            why_empty(warehouse, load_report(name), {}, day(4))


def test_a_login_of_an_analyst_reads_only_and_not_for_ever(house):
    with connect(house.url("a_analyst")) as connection:
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            connection.execute("CREATE TABLE more (number integer)")
        settings = [
            connection.execute(f"SHOW {name}").fetchone()[0]
            for name in (
                "default_transaction_read_only",
                "jit",
                "statement_timeout",
                "idle_in_transaction_session_timeout",
            )
        ]
    assert settings == ["on", "off", "5min", "10min"]


def test_what_a_migrator_makes_belongs_to_the_group(house):
    owners = house.server.execute(
        "SELECT DISTINCT relowner::regrole::text FROM pg_class WHERE relnamespace = 'public'::regnamespace",
        url=house.url("postgres"),
    )
    assert owners == [("backup_shares_migrator",)]


@pytest.mark.parametrize(
    ("login", "told"),
    [
        ("postgres", ("ok", "there is none yet; the first sync makes it")),
        ("a_loader", ("broken", "there is none yet, and this login may not make tables")),
    ],
)
def test_doctor_tries_whether_a_login_may_make_the_first_tables(house, tmp_path, login, told):
    empty = make_url(house.server.create_database()).set(username=login).render_as_string(hide_password=False)
    findings = list(examine_machine(isolated_settings(data_dir=tmp_path, warehouse_url=empty), [], day(1)))
    (about_warehouse,) = [each for each in findings if each.check == "warehouse"]
    assert (str(about_warehouse.state), about_warehouse.judgement.found) == told


def test_a_stranger_whom_the_server_knows_does_not_come_in(house):
    house.execute("admin", "CREATE ROLE stranger LOGIN")
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        connect(house.url("stranger"))


def test_both_files_may_be_run_again_and_change_nothing(house):
    before = house.rights()
    for _ in range(2):
        house.run("roles", "admin")
        house.run("grants", "a_migrator")
        house.run("grants", "postgres")
    assert house.rights() == before


def test_tables_that_a_rebuild_made_anew_give_each_group_its_rights(house, tmp_path):
    before = house.rights()
    land(tmp_path, make_observation(day(1), IN, **UNPROVEN))
    house.execute("a_migrator", "UPDATE schema_version SET version = 0")
    rebuild(house.url("a_migrator"), tmp_path, accept_loss=True)
    assert house.rights() == before


def test_a_view_that_a_superuser_makes_again_gives_each_group_its_rights(house):
    before = house.rights()
    house.execute("postgres", "DROP VIEW schema_drift")
    with writing(house.url("postgres")):
        pass
    assert house.rights() == before


def test_a_view_made_later_is_readable_once_the_grants_are_run(house):
    house.execute("a_migrator", "CREATE VIEW listings AS SELECT DISTINCT region, project_id FROM observations")
    try:
        house.run("grants", "a_migrator")
        house.execute("a_analyst", "SELECT * FROM listings")
    finally:
        house.execute("a_migrator", "DROP VIEW listings")


def test_where_nobody_made_the_groups_the_grants_do_nothing(postgres_url):
    with writing(postgres_url):
        pass
    with connect(postgres_url) as connection:
        connection.execute((sql_folder("roles") / "grants.sql").read_text())
        assert (
            connection.execute("SELECT FROM pg_class WHERE relname = 'observations' AND relacl IS NOT NULL").rowcount
            == 0
        )
