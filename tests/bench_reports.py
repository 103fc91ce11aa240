"""A year of 100,000 shares in DuckDB, and how long the questions of analysts take. Prints, asserts no clock.

Part of `make bench`. The history is made in SQL, as daily syncs would leave it: 10 projects, both directions, 500
shares a day granted and withdrawn, every share and backup changed about every 100 days. It must keep all promises
(report `invariants`) before any figure counts. Each question is asked several times; the least time counts, as the
machine may have other work. Options: --shares, --days, --rounds.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pipelines.page.asked import ask as ask_for_page
from pipelines.publish import reading, writing
from pipelines.reports import load_report, report_names, run_report
from pipelines.schema import arrow_schema, backup_history, backup_share_history, observations, report
from pipelines.warehouse import Warehouse

FIRST = datetime(2025, 1, 1, 6, tzinfo=UTC)

LIVES = """
    CREATE TEMPORARY TABLE lives AS
    SELECT
        i, md5('share ' || i) AS share_id, md5('backup ' || i) AS backup_id, i % 10 AS giver,
        (i % 10 + 1 + (i // 10) % 9) % 10 AS recipient,
        CASE WHEN i < {shares} THEN 0 ELSE (i - {shares}) // {churn} + 1 END AS born,
        least(i // {churn} + 1, {days}) AS gone
    FROM range({shares} + {churn} * ({days} - 1)) AS t (i)
"""

VERSIONS = """
    CREATE TEMPORARY TABLE versions AS
    SELECT
        l.*, w.direction, md5('project ' || w.project) AS project_id, greatest(born, c.began) AS since,
        least(gone, c.began + 100) AS until
    FROM lives AS l
    CROSS JOIN LATERAL (VALUES ('outgoing', l.giver), ('incoming', l.recipient)) AS w (direction, project)
    CROSS JOIN LATERAL (SELECT i % 100 + 100 * n - 100 AS began FROM range({days} // 100 + 2) AS t (n)) AS c
    WHERE c.began < gone AND c.began + 100 > born
"""

OBSERVED = "TIMESTAMPTZ '{first}' + {day} * INTERVAL 1 DAY"
OBSERVATION_ID = "md5({project} || {direction} || {day})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shares", type=int, default=100_000)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        address = f"duckdb:///{Path(folder) / 'warehouse.duckdb'}"
        with writing(address) as warehouse:
            _fill(warehouse, options.shares, options.days)
        with reading(address) as warehouse:
            assert warehouse is not None
            assert not warehouse.query(report("invariants")).num_rows, "the history breaks promises"
            (count,) = warehouse.query("SELECT count(*) AS n FROM backup_share_history").to_pylist()
            print(f"\n{options.days} days of {options.shares} shares, {count['n']} versions of shares; "
                  f"least of {options.rounds}")  # fmt: skip
            _time(warehouse, FIRST + timedelta(days=options.days - 1), options.rounds)


def _fill(warehouse: Warehouse, shares: int, days: int) -> None:
    """Straight into the tables, in the order of days, as syncs would have done it."""
    sizes = {"shares": shares, "days": days, "churn": max(shares // 200, 1)}
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
        "shares_granted": "count(*) FILTER (WHERE opens AND since = born)",
        "shares_changed": "count(*) FILTER (WHERE opens AND since > born)",
        "shares_withdrawn": "count(*) FILTER (WHERE NOT opens AND until = gone)",
        "backups_opened": "count(*) FILTER (WHERE opens)",
        "backups_closed": "count(*) FILTER (WHERE NOT opens)",
    }
    with warehouse._engine.begin() as connection:
        connection.exec_driver_sql(LIVES.format(**sizes))
        connection.exec_driver_sql(VERSIONS.format(**sizes))
        for table in (backup_share_history, backup_history):
            names = [column.name for column in table.columns]
            values = [name if name in kept else ends.get(name, "NULL") for name in names]
            columns = ", ".join(f"{value} AS {name}" for value, name in zip(values, names, strict=True))
            rows = f"SELECT {columns} FROM versions ORDER BY since"
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
        counts = ", ".join(f"{sql} AS {name}" for name, sql in counted.items())
        connection.exec_driver_sql(
            f"""INSERT INTO observations BY NAME
            WITH events AS (
                SELECT *, since AS day, true AS opens FROM versions
                UNION ALL SELECT *, until AS day, false AS opens FROM versions WHERE until < {days}
            ),
            counts AS (SELECT project_id, direction, day, {counts} FROM events GROUP BY ALL)
            SELECT {columns}
            FROM (SELECT DISTINCT project_id, direction FROM versions) AS l
            CROSS JOIN range({days}) AS d (day)
            LEFT JOIN counts AS c ON l.project_id = c.project_id AND l.direction = c.direction AND c.day = d.day
            ORDER BY d.day"""
        )


def _time(warehouse: Warehouse, last: datetime, rounds: int) -> None:
    middle = last - timedelta(days=100)
    as_of = "SELECT count(*), count(DISTINCT to_project_id), max(last_proven_at) FROM backup_shares_as_of($moment)"
    questions: dict[str, Callable[[], object]] = {
        "shares as of a moment": lambda: warehouse.query(as_of, moment=middle),
        "backups as of a moment": lambda: warehouse.query(
            "SELECT count(*), sum(size_gb) FROM backups_as_of($moment)", moment=middle
        ),
        "shares as of a moment, every row": lambda: warehouse.query(
            "SELECT * FROM backup_shares_as_of($moment)", moment=middle
        ),
        "shares of a day": lambda: warehouse.query(
            "SELECT count(*), count(DISTINCT to_project_id) FROM backup_share_snapshots WHERE snapshot_date = $day",
            day=middle.date(),
        ),
        "backups of a day": lambda: warehouse.query(
            "SELECT count(*), sum(size_gb) FROM backup_snapshots WHERE snapshot_date = $day", day=middle.date()
        ),
    }
    for name in report_names():
        questions[f"report {name}"] = lambda name=name: run_report(warehouse, load_report(name), {}, last)
    questions["the daily report, without its charts"] = lambda: ask_for_page(warehouse)
    for name, ask in questions.items():
        times = []
        for _ in range(rounds):
            before, cpu = time.perf_counter(), time.process_time()
            ask()
            times.append((time.perf_counter() - before, time.process_time() - cpu))
        took, cpu = (1000 * min(figures) for figures in zip(*times, strict=True))
        print(f"  {name:36} {took:7.0f} ms  ({cpu:.0f} ms CPU)")


if __name__ == "__main__":
    main()
