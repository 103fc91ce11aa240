"""The reference year, and how long the questions of analysts take. Prints, asserts no clock.

Part of `make bench`, with DuckDB. The reference year: 100,000 shares over 10 projects, both directions, a fifth of the
shares seen from both sides, the others shared with or by 50 projects that are not observed; 365 daily syncs, each of
which sees 1 % of the shares granted, 1 % withdrawn and 1 % of the backups changed, so their number stays. --heavy is
worse than real life: every share is seen from both sides, and each share changes as well, about every 100 days.
The history is made in SQL, as daily syncs would leave it. It must keep all promises (report `invariants`) before any
figure counts. Each question is asked several times; the least time counts, as the machine may have other work.
The bar: 50 ms for a moment, a day and what is current, 1 s for a report. What is asked of a whole year has none, nor
has PostgreSQL: there the figures tell whether a question comes to its end.
Options: --shares, --days, --rounds, --heavy, --only (questions whose name holds this), --postgresql (the same year on a
server of its own; filling it takes minutes).
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from hashlib import md5
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipelines.page.asked import ask as ask_for_page
from pipelines.policy import Limits, Policy, Project, Recipient
from pipelines.policy_landing import LandedPolicy
from pipelines.publish import reading, writing
from pipelines.reports import load_report, report_names, run_report
from pipelines.schema import FACTS, arrow_schema, backup_history, backup_share_history, observations, report
from pipelines.warehouse import Warehouse
from tests.postgres import Server

FIRST = datetime(2025, 1, 1, 6, tzinfo=UTC)
OBSERVED_PROJECTS, OTHER_PROJECTS = 10, 50

LIVES = """
    CREATE TEMPORARY TABLE lives AS
    SELECT
        i, md5('share ' || i) AS share_id, md5('backup ' || i) AS backup_id,
        CASE WHEN kind < 3 THEN near ELSE far END AS giver,
        CASE kind WHEN 0 THEN (near + 1 + i // 50 % 9) % 10 WHEN 1 THEN far WHEN 2 THEN far ELSE near END AS recipient,
        CASE WHEN i < {shares} THEN 0 ELSE (i - {shares}) // {churn} + 1 END AS born,
        least(i // {churn} + 1, {days}) AS gone
    FROM (
        SELECT i, CASE WHEN {heavy} THEN 0 ELSE i % 5 END AS kind, i // 5 % 10 AS near, 10 + i // 50 % 50 AS far
        FROM range({shares} + {churn} * ({days} - 1)) AS t (i)
    ) AS t
"""

# A backup changes every 100 days, counted from a day of its own.
BACKUP_VERSIONS = """
    CREATE TEMPORARY TABLE backup_versions_made AS
    SELECT
        l.*, w.direction, md5('project ' || w.project) AS project_id, greatest(born, c.began) AS since,
        least(gone, c.began + 100) AS until
    FROM lives AS l
    CROSS JOIN LATERAL (VALUES ('outgoing', l.giver), ('incoming', l.recipient)) AS w (direction, project)
    CROSS JOIN LATERAL (SELECT i % 100 + 100 * n - 100 AS began FROM range({days} // 100 + 2) AS t (n)) AS c
    WHERE c.began < gone AND c.began + 100 > born AND w.project < 10
"""

SHARE_VERSIONS = """
    CREATE TEMPORARY TABLE share_versions_made AS
    SELECT * FROM backup_versions_made WHERE {heavy}
    UNION ALL
    SELECT l.*, w.direction, md5('project ' || w.project) AS project_id, born AS since, gone AS until
    FROM lives AS l
    CROSS JOIN LATERAL (VALUES ('outgoing', l.giver), ('incoming', l.recipient)) AS w (direction, project)
    WHERE w.project < 10 AND NOT {heavy}
"""

EVENTS = """
    CREATE TEMPORARY TABLE events_made AS
    SELECT project_id, direction, day, {counts}
    FROM (
        SELECT *, since AS day, true AS opens, true AS is_share FROM share_versions_made
        UNION ALL
        SELECT *, until AS day, false AS opens, true AS is_share FROM share_versions_made WHERE until < {days}
        UNION ALL
        SELECT *, since AS day, true AS opens, false AS is_share FROM backup_versions_made
        UNION ALL
        SELECT *, until AS day, false AS opens, false AS is_share FROM backup_versions_made WHERE until < {days}
    ) AS e
    GROUP BY ALL
"""

OBSERVED = "TIMESTAMPTZ '{first}' + {day} * INTERVAL 1 DAY"
OBSERVATION_ID = "md5({project} || {direction} || {day})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shares", type=int, default=100_000)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--heavy", action="store_true")
    parser.add_argument("--only", default="")
    parser.add_argument("--postgresql", action="store_true")
    options = parser.parse_args()
    last = FIRST + timedelta(days=options.days - 1)
    bars = not options.postgresql
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        filled = f"duckdb:///{Path(folder) / 'warehouse.duckdb'}"
        with writing(filled) as warehouse:
            fill(warehouse, options.shares, options.days, heavy=options.heavy)
        with _on_a_server(filled) if options.postgresql else nullcontext(filled) as address:
            with reading(address) as warehouse:
                assert warehouse is not None
                assert not warehouse.query(report("invariants")).num_rows, "the history breaks promises"
                kind = ", heavy" if options.heavy else ""
                print(
                    f"\n{options.days} days of {options.shares} shares{kind}, {address.split(':')[0]}: "
                    f"{warehouse.count(backup_share_history)} versions of shares, {warehouse.count(backup_history)} of "
                    f"backups; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; least of {options.rounds}"
                )
                print(f"  {'question':42} {'wall':>10} {'CPU':>10} {'bar':>10}  {'rows':>8}")
                time_all(questions(warehouse, last), options.rounds, options.only, bars=bars)
            with writing(address) as warehouse:
                warehouse.record_policy(POLICY)
            with reading(address) as warehouse:
                assert warehouse is not None
                time_all(questions_of_policy(warehouse, last), options.rounds, options.only, bars=bars)


@contextmanager
def _on_a_server(filled: str) -> Iterator[str]:
    """The address of a copy of the DuckDB warehouse on a server."""
    with Server.start() as server:
        address = server.create_database()
        with reading(filled) as source, writing(address) as warehouse:
            assert source is not None
            warehouse.begin_with({table.name: source.facts(table) for table in FACTS})
        yield address


def fill(warehouse: Warehouse, shares: int, days: int, *, heavy: bool = False) -> None:
    """Straight into the tables, in the order of days, as syncs would have done it."""
    churn = max(shares // (200 if heavy else 100), 1)
    sizes: dict[str, Any] = {"shares": shares, "days": days, "churn": churn, "heavy": heavy}
    at = lambda day: OBSERVED.format(first=FIRST.isoformat(), day=day)  # noqa: E731 - said in one line
    by = lambda day: OBSERVATION_ID.format(project="project_id", direction="direction", day=day)  # noqa: E731
    ends = {
        "region": "'bench'",
        "valid_from": at("since"),
        "valid_to": f"CASE WHEN until < {days} THEN {at('until')} ELSE TIMESTAMPTZ '9999-12-31 00:00:00+00' END",
        "opened_by": by("since"),
        "closed_by": f"CASE WHEN until < {days} THEN {by('until')} END",
        "row_hash": "md5(share_id || since)",
        "from_project_id": "md5('project ' || giver)",
        "to_project_id": "md5('project ' || recipient)",
        "share_created_at": at("born"),
        "share_updated_at": at("since"),
        "volume_id": "md5('volume ' || i // 20)",
        "backup_name": "'nightly ' || since",
        "backup_status": "CASE WHEN i % 500 = 0 THEN 'error' ELSE 'available' END",
        "size_gb": "i % 1000",
        "backup_created_at": at("born"),
    }
    kept = {"project_id", "direction", "share_id", "backup_id"}
    counted = {
        "shares_granted": "count(*) FILTER (WHERE is_share AND opens AND since = born)",
        "shares_changed": "count(*) FILTER (WHERE is_share AND opens AND since > born)",
        "shares_withdrawn": "count(*) FILTER (WHERE is_share AND NOT opens AND until = gone)",
        "backups_opened": "count(*) FILTER (WHERE NOT is_share AND opens)",
        "backups_closed": "count(*) FILTER (WHERE NOT is_share AND NOT opens)",
    }
    with warehouse._engine.begin() as connection:
        connection.exec_driver_sql(LIVES.format(**sizes))
        connection.exec_driver_sql(BACKUP_VERSIONS.format(**sizes))
        connection.exec_driver_sql(SHARE_VERSIONS.format(**sizes))
        counts = ", ".join(f"{sql} AS {name}" for name, sql in counted.items())
        connection.exec_driver_sql(EVENTS.format(**sizes, counts=counts))
        for table, made in ((backup_share_history, "share_versions_made"), (backup_history, "backup_versions_made")):
            names = [column.name for column in table.columns]
            values = [name if name in kept else ends.get(name, "NULL") for name in names]
            columns = ", ".join(f"{value} AS {name}" for value, name in zip(values, names, strict=True))
            rows = f"SELECT {columns} FROM {made} ORDER BY since"
            connection.exec_driver_sql(f"INSERT INTO {table.name} BY NAME {rows}")
        ledger = {
            "observation_id": OBSERVATION_ID.format(project="l.project_id", direction="l.direction", day="d.day"),
            "sync_id": "'sync ' || d.day",
            "region": "'bench'",
            "project_id": "l.project_id",
            "direction": "l.direction",
            "observed_at": at("d.day"),
            "finished_at": at("d.day") + " + INTERVAL 1 MINUTE",
            "status": "'exact'",
            "is_proven": "true",
            "may_close": "true",
            "clock_skew_seconds": "NULL",
            **{name: f"coalesce(c.{name}, 0)" for name in counted},
            **dict.fromkeys(
                ("count_before", "count_after", "distinct_ids", "share_count", "backup_count"),
                "sum(coalesce(c.shares_granted, 0) - coalesce(c.shares_withdrawn, 0)) OVER "
                "(PARTITION BY l.project_id, l.direction ORDER BY d.day)",
            ),
        }
        text = {field.name for field in arrow_schema(list(observations.columns)) if str(field.type) == "string"}
        columns = ", ".join(
            f"{ledger.get(column.name, repr('') if column.name in text else '1' if 'pass' in column.name else '0')} "
            f"AS {column.name}"
            for column in observations.columns
        )
        connection.exec_driver_sql(
            f"""INSERT INTO observations BY NAME
            SELECT {columns}
            FROM (SELECT DISTINCT project_id, direction FROM backup_versions_made) AS l
            CROSS JOIN range({days}) AS d (day)
            LEFT JOIN events_made AS c ON l.project_id = c.project_id AND l.direction = c.direction AND c.day = d.day
            ORDER BY d.day"""
        )


POLICY = LandedPolicy(
    "policy/bench.yaml",
    FIRST,
    Policy(
        projects=tuple(
            Project(id=md5(f"project {n}".encode()).hexdigest(), name=f"ours {n}", owner="bench")
            for n in range(OBSERVED_PROJECTS)
        ),
        recipients=tuple(
            Recipient(id=md5(f"project {n}".encode()).hexdigest(), name=f"known {n}", owner="bench")
            for n in range(OBSERVED_PROJECTS, OBSERVED_PROJECTS + OTHER_PROJECTS - 2)
        ),
        limits=Limits(max_share_age_days=365, short_lived_hours=24),
    ),
)
"""It knows all projects but two."""

QUICK, REPORT = 50, 1000
"""The bar in milliseconds."""

Questions = dict[str, tuple[Callable[[], Any], int | None]]


def questions(warehouse: Warehouse, last: datetime) -> Questions:
    middle = last - timedelta(days=100)

    def ask(sql: str, bar: int | None = QUICK) -> tuple[Callable[[], Any], int | None]:
        bound = {name: value for name, value in (("moment", middle), ("day", middle.date())) if f"${name}" in sql}
        return lambda: warehouse.query(sql, **bound), bar

    per_recipient = "SELECT to_project_id, count(*) AS n, max(share_created_at) AS newest FROM"
    per_status = "SELECT backup_status, count(*) AS n, sum(size_gb) AS gb FROM"
    every_share = "SELECT * FROM backup_shares_as_of($moment)"
    one_project = "WHERE to_project_id = md5('project 3')"
    return {
        "shares as of a moment, per recipient": ask(f"{per_recipient} backup_shares_as_of($moment) GROUP BY 1"),
        "shares as of a moment, of one project": ask(f"{every_share} {one_project}"),
        "shares as of a moment, every row": ask(every_share, None),
        "backups as of a moment, per status": ask(f"{per_status} backups_as_of($moment) GROUP BY 1"),
        "GB per recipient as of a moment": ask(
            "SELECT s.to_project_id, count(*) AS n, sum(b.size_gb) AS gb FROM backup_shares_as_of($moment) AS s "
            "JOIN backups_as_of($moment) AS b ON s.region = b.region AND s.backup_id = b.backup_id GROUP BY 1",
            None,
        ),
        "shares of a day, per recipient": ask(
            f"{per_recipient} backup_share_snapshots WHERE snapshot_date = $day GROUP BY 1"
        ),
        "backups of a day, per status": ask(f"{per_status} backup_snapshots WHERE snapshot_date = $day GROUP BY 1"),
        "shares now, per recipient": ask(f"{per_recipient} backup_shares GROUP BY 1"),
        "backups now, per status": ask(f"{per_status} backups GROUP BY 1"),
        "share changes of a day": ask("SELECT * FROM backup_share_changes WHERE change_date = $day", REPORT),
        "share changes, whole year, per kind": ask(
            "SELECT change_type, count(DISTINCT event_id) FROM backup_share_changes GROUP BY 1", None
        ),
        "backup changes of a day": ask("SELECT * FROM backup_changes WHERE change_date = $day", REPORT),
        "backup changes, whole year, per kind": ask(
            "SELECT change_type, count(DISTINCT event_id) FROM backup_changes GROUP BY 1", None
        ),
        "share versions, bounds of all": ask(
            "SELECT count(*), min(appeared_after), max(last_seen_at) FROM backup_share_versions", None
        ),
        "backup versions, bounds of all": ask(
            "SELECT count(*), min(appeared_after), max(last_seen_at) FROM backup_versions", None
        ),
        "promises of the history (each sync)": (lambda: warehouse.query(report("invariants")), REPORT),
        "findings, no policy": ask("SELECT rule, state, count(*) FROM findings GROUP BY 1, 2", REPORT),
        **{f"report {name}": _report(warehouse, name, last) for name in report_names()},
        "the daily report, without its charts": (lambda: pa.table({"pages": [ask_for_page(warehouse) and 1]}), None),
    }


def questions_of_policy(warehouse: Warehouse, last: datetime) -> Questions:
    return {
        "findings, a policy": (
            lambda: warehouse.query("SELECT rule, state, count(*) FROM findings GROUP BY 1, 2"),
            REPORT,
        ),
        **{
            f"report {name}, a policy": _report(warehouse, name, last)
            for name in ("exceptions_and_expiry", "open_findings", "projects", "untrusted_recipients")
        },
    }


def _report(warehouse: Warehouse, name: str, last: datetime) -> tuple[Callable[[], Any], int | None]:
    return lambda: run_report(warehouse, load_report(name), {}, last), REPORT


def time_all(asked: Questions, rounds: int, only: str = "", *, bars: bool = True) -> None:
    for name, (ask, bar) in asked.items():
        if only not in name:
            continue
        times, rows = [], 0
        for _ in range(rounds):
            before, cpu = time.perf_counter(), time.process_time()
            rows = ask().num_rows
            times.append((time.perf_counter() - before, time.process_time() - cpu))
        took, cpu = (1000 * min(figures) for figures in zip(*times, strict=True))
        against = "" if bar is None or not bars else f"{bar} ms" + (" MISSED" if took > bar else "")
        print(f"  {name:42} {took:7.0f} ms {cpu:7.0f} ms {against:>10}  {rows:>8}", flush=True)


if __name__ == "__main__":
    main()
