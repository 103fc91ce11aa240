"""What the page asks of the warehouse, all of one state of it.

Not here: the questions themselves (sql/reports/), what is made of the answers (says.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from pipelines.reports import bound_values, load_report
from pipelines.schema import report
from pipelines.warehouse import Snapshot, Warehouse

Row = Mapping[str, Any]

DAYS_SHOWN = 31
"""Days that charts and calendar reach back, the last observed one included."""


@dataclass(frozen=True)
class Answers:
    """Rows as the question of that name tells them, for the last day that was observed.

    `before`: figures of the last day before it on which anything was proven; None where there is none.
    """

    days: Row
    figures: Row | None
    before: Row | None
    matrix: list[Row]
    trend: list[Row]
    changes: list[Row]
    events: list[Row]
    findings: list[Row]
    observations: list[Row]
    coverage: list[Row]
    listings: list[Row]
    projects: list[Row]
    policy: list[Row]
    drift: list[Row]


def ask(warehouse: Warehouse) -> Answers | None:
    """The answers; None where nothing was ever observed."""
    with warehouse.snapshot() as snapshot:
        days = _first(_rows(snapshot, "page_days"))
        return None if days is None else _ask(snapshot, days)


def _ask(snapshot: Snapshot, days: Row) -> Answers:
    day, day_before = days["last_day"], days["day_before"]
    since = day - timedelta(days=DAYS_SHOWN - 1)
    # Before the first proof nothing was known: an instant that is before all of it.
    moment, moment_before = end_of(day), end_of(day_before or days["first_day"] - timedelta(days=1))
    calendar = load_report("coverage_calendar")
    given = bound_values(calendar, {"since": since.isoformat()}, moment)
    return Answers(
        days=days,
        figures=_first(_rows(snapshot, "page_figures", moment=moment)),
        before=_first(_rows(snapshot, "page_figures", moment=moment_before)) if day_before else None,
        matrix=_rows(snapshot, "page_matrix", moment=moment),
        trend=_rows(snapshot, "page_trend", since=since),
        changes=_rows(snapshot, "changes_per_day", since=since),
        events=_rows(snapshot, "page_events", day=day, moment=moment_before),
        findings=_rows(snapshot, "page_findings", moment=moment_before),
        observations=_rows(snapshot, "page_observations", day=day),
        coverage=snapshot.query(calendar.sql, **given).to_pylist(),
        listings=_rows(snapshot, "last_proven"),
        projects=snapshot.query("SELECT * FROM policy_projects_in_force ORDER BY kind, project_id").to_pylist(),
        policy=snapshot.query("SELECT * FROM policy_in_force").to_pylist(),
        drift=[row for row in _rows(snapshot, "schema_drift") if row["first_seen_at"].astimezone(UTC).date() == day],
    )


def end_of(day: date) -> datetime:
    """The last microsecond of a day in UTC."""
    return datetime.combine(day, time.max, UTC)


def _rows(snapshot: Snapshot, question: str, **parameters: Any) -> list[Row]:
    rows: list[Row] = snapshot.query(report(question), **parameters).to_pylist()
    return rows


def _first(rows: list[Row]) -> Row | None:
    return rows[0] if rows else None
