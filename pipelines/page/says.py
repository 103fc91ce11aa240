"""What the page says: answers of the warehouse in, headline, tables and series out. Nothing is asked or drawn here.

A table that could grow without end is cut, and says by how much.
Not here: the questions (asked.py), what is not known (caveats.py), HTML and charts (look.py, charts.py).
"""

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from pipelines.page.asked import DAYS_SHOWN, Answers, Row, end_of
from pipelines.page.caveats import caveats, listing
from pipelines.page.words import Labels, changed, moment, span

MOST_ROWS = 50
"""Rows of a table of findings, events, listings or caveats."""
MOST_PROJECTS = 12
"""Rows and columns of the matrix; what is beyond is summed up."""
SEVERITIES = ("high", "medium", "low")


@dataclass(frozen=True)
class Figure:
    """`change`: since the day that is compared; empty where there is none."""

    name: str
    value: str
    change: str
    note: str = ""


@dataclass(frozen=True)
class Cut:
    """The first rows of a table, and how many more there are."""

    rows: list[Any]
    more: int


@dataclass(frozen=True)
class Finding:
    """`backup`: its name, `giver`: who shares it, where the sentence does not tell; empty where there is none."""

    severity: str
    rule: str
    is_new: bool
    state: str
    detail: str
    backup: str
    giver: str


@dataclass(frozen=True)
class TrendDay:
    """`shares` and `gb` are None where no listing of that direction was proven; `is_whole`: each of them was."""

    day: date
    direction: str
    shares: int | None
    gb: int | None
    is_whole: bool


@dataclass(frozen=True)
class ChangeDay:
    day: date
    granted: int
    changed: int
    withdrawn: int
    found: int
    is_whole: bool


@dataclass(frozen=True)
class Cell:
    """`weight`: 0 (nothing) to 4, for the shade behind the figures."""

    shares: int
    gb: int
    weight: int


@dataclass(frozen=True)
class Matrix:
    """Givers down, recipients across; `cells` as `givers` by `recipients`."""

    givers: list[str]
    recipients: list[str]
    cells: list[list[Cell]]


@dataclass(frozen=True)
class Coverage:
    """`rows`: listing and its status on each of `days`, the latest first; empty: the day was before its first."""

    days: list[date]
    rows: Cut
    gaps: Cut


@dataclass(frozen=True)
class Fresh:
    listing: str
    proven: str
    age: str
    observed: str
    status: str


@dataclass(frozen=True)
class Page:
    """Everything that stands on the page, in words and figures."""

    day: date
    compared: date | None
    written: str
    observed: str
    verdict: str
    is_proven: bool
    figures: list[Figure]
    caveats: Cut
    findings: Cut
    severities: dict[str, int]
    accepted: int
    resolved: int
    has_policy: bool
    trend: list[TrendDay]
    changes: list[ChangeDay]
    events: Cut
    matrix: Matrix
    coverage: Coverage
    freshness: Cut
    projects: list[tuple[str, str]]


def say(answers: Answers, now: datetime) -> Page:
    """The page of the last observed day, written at `now`."""
    labels = _labels(answers)
    day, before = answers.days["last_day"], answers.days["day_before"]
    observed = answers.days["last_observed_at"]
    statuses = [row["status"] for row in answers.coverage if row["snapshot_date"] == day]
    proven = statuses.count("proven")
    standing = [row for row in answers.findings if row["state"] in ("open", "reopened")]
    by_severity = Counter(row["severity"] for row in standing)
    return Page(
        day=day,
        compared=before,
        written=moment(now),
        observed=f"{moment(observed)}, {span(now - observed)} before this was written",
        verdict=_verdict(proven, len(statuses)),
        is_proven=proven == len(statuses),
        figures=_figures(answers, standing, proven, len(statuses)),
        caveats=_cut(caveats(answers, labels, now)),
        findings=_cut([_finding(row, before, labels) for row in standing]),
        severities={each: by_severity[each] for each in SEVERITIES if by_severity[each]},
        accepted=sum(row["state"] == "accepted" for row in answers.findings),
        resolved=sum(row["state"] == "resolved" for row in answers.findings) if before else 0,
        has_policy=bool(answers.policy),
        trend=_trend(answers),
        changes=_changes(answers),
        events=_cut([_event(row, labels) for row in answers.events]),
        matrix=_matrix(answers.matrix, labels),
        coverage=_coverage(answers, labels),
        freshness=_freshness(answers, labels, now),
        projects=sorted((labels(each), each) for each in labels.ids),
    )


def _labels(answers: Answers) -> Labels:
    ids = {row["project_id"] for row in (*answers.listings, *answers.projects)}
    for row in (*answers.matrix, *answers.events, *answers.findings):
        ids |= {row["from_project_id"], row["to_project_id"]}
    ids |= {row["project_id"] for row in answers.findings}
    names = {row["project_id"]: row["project_name"] for row in answers.projects if row["project_name"]}
    return Labels(ids - {None}, names)


def _verdict(proven: int, listings: int) -> str:
    if proven == listings:
        return f"All {listings:,} listings are proven." if listings > 1 else "The listing is proven."
    if not proven:
        return "No listing is proven on this day. All figures are of earlier days."
    return f"{listings - proven:,} of {listings:,} listings are not proven: what is shown of them is of an earlier day."


def _figures(answers: Answers, standing: list[Row], proven: int, listings: int) -> list[Figure]:
    before = answers.days["day_before"]
    nothing = dict.fromkeys(("share_count", "backup_count", "gb", "giver_count", "recipient_count"), 0)
    then, now = answers.before or nothing, answers.figures or nothing

    def change(name: str) -> str:
        return changed(now[name], then[name]) if before else ""

    new = sum(_is_new(row, before) for row in standing)
    over = sum(row["state"] == "resolved" for row in answers.findings)
    proven_then = sum(row["snapshot_date"] == before and row["status"] == "proven" for row in answers.coverage)
    return [
        Figure("Active shares", f"{now['share_count']:,}", change("share_count")),
        Figure("Shared backups", f"{now['backup_count']:,}", change("backup_count")),
        Figure("GB readable by others", f"{now['gb']:,}", change("gb"), "size of the volumes, each backup once"),
        Figure("Recipients", f"{now['recipient_count']:,}", change("recipient_count")),
        Figure("Open findings", f"{len(standing):,}", f"{new:,} new, {over:,} resolved" if before else ""),
        Figure("Listings proven", f"{proven:,} of {listings:,}", changed(proven, proven_then) if before else ""),
    ]


def _is_new(row: Row, before: date | None) -> bool:
    # Not when it began: by what the service says a share may be older than our first sight of it.
    return before is not None and row["known_since"] > end_of(before)


def _finding(row: Row, before: date | None, labels: Labels) -> Finding:
    detail, giver = labels.within(row["detail"]), row["from_project_id"]
    return Finding(
        severity=row["severity"],
        rule=row["rule"].replace("_", " "),
        is_new=_is_new(row, before),
        state=row["state"],
        detail=detail,
        backup=row["backup_name"] or "",
        giver="" if giver is None or labels(giver) in detail else labels(giver),
    )


def _trend(answers: Answers) -> list[TrendDay]:
    days = []
    for row in answers.trend:
        is_known = row["proven_count"] > 0
        days.append(
            TrendDay(
                day=row["day"],
                direction="given" if row["direction"] == "outgoing" else "received",
                shares=row["share_count"] if is_known else None,
                gb=row["gb"] if is_known else None,
                is_whole=row["proven_count"] >= row["listing_count"] > 0,
            )
        )
    return days


def _changes(answers: Answers) -> list[ChangeDay]:
    """A day each, also those on which nothing changed."""
    told: dict[date, Row] = {row["change_date"]: row for row in answers.changes}
    torn = {row["day"] for row in answers.trend if row["proven_count"] < max(row["listing_count"], 1)}
    days = []
    for day in _days(answers):
        row = told.get(day, {})
        days.append(
            ChangeDay(
                day=day,
                granted=row.get("granted", 0),
                changed=row.get("changed", 0),
                withdrawn=row.get("withdrawn", 0),
                found=row.get("first_seen", 0),
                is_whole=day not in torn,
            )
        )
    return days


def _days(answers: Answers) -> list[date]:
    last = answers.days["last_day"]
    first = max(answers.days["first_day"], last - timedelta(days=DAYS_SHOWN - 1))
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]


def _event(row: Row, labels: Labels) -> dict[str, str]:
    after = f"after {moment(row['not_before'])}, " if row["not_before"] else ""
    return {
        "what": row["change_type"],
        "giver": labels(row["from_project_id"]),
        "recipient": labels(row["to_project_id"]),
        "backup": row["backup_name"] or "",
        "backup_id": row["backup_id"],
        "gb": "not known" if row["size_gb"] is None else f"{row['size_gb']:,}",
        "when": f"{after}by {moment(row['not_after'])}",
    }


def _matrix(rows: list[Row], labels: Labels) -> Matrix:
    givers, recipients = (_largest(rows, side) for side in ("from_project_id", "to_project_id"))
    shares, gb = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for row in rows:
        giver, recipient = row["from_project_id"], row["to_project_id"]
        place = (giver if giver in givers else OTHERS, recipient if recipient in recipients else OTHERS)
        shares[place] += row["share_count"]
        gb[place] += row["gb"]
    most = max(shares.values(), default=0)

    def cell(giver: str, recipient: str) -> Cell:
        count = shares[giver, recipient]
        return Cell(count, gb[giver, recipient], -(-4 * count // most) if count else 0)

    return Matrix(
        givers=[labels(each) for each in givers],
        recipients=[labels(each) for each in recipients],
        cells=[[cell(giver, recipient) for recipient in recipients] for giver in givers],
    )


OTHERS = "all others"


def _largest(rows: list[Row], side: str) -> list[str]:
    """Projects with the most shares first; those beyond MOST_PROJECTS are one."""
    counts = Counter[str]()
    for row in rows:
        counts[row[side]] += row["share_count"]
    ranked = sorted(counts, key=lambda each: (-counts[each], each))
    if len(ranked) <= MOST_PROJECTS:
        return ranked
    return [*ranked[: MOST_PROJECTS - 1], OTHERS]


def _coverage(answers: Answers, labels: Labels) -> Coverage:
    days = _days(answers)[::-1]
    statuses: dict[tuple[str, str], dict[date, str]] = {}
    gaps = []
    for row in answers.coverage:
        name = (row["region"], listing(row, labels))
        statuses.setdefault(name, {})[row["snapshot_date"]] = row["status"].replace("_", " ")
        if row["status"] != "proven":
            gaps.append(row)
    gaps.sort(key=lambda row: row["snapshot_date"], reverse=True)

    def unproven(name: tuple[str, str]) -> int:
        return sum(status != "proven" for status in statuses[name].values())

    several = len({region for region, _ in statuses}) > 1
    ranked = sorted(statuses, key=lambda name: (-unproven(name), name))
    return Coverage(
        days=days,
        rows=_cut(
            [
                (f"{what}, {region}" if several else what, [statuses[region, what].get(day, "") for day in days])
                for region, what in ranked
            ]
        ),
        gaps=_cut(
            [
                (row["snapshot_date"], listing(row, labels), row["status"].replace("_", " "), row["reason"])
                for row in gaps
            ]
        ),
    )


def _freshness(answers: Answers, labels: Labels, now: datetime) -> Cut:
    stale_first = sorted(answers.listings, key=lambda row: row["proven_at"] or datetime.min.replace(tzinfo=UTC))
    return _cut(
        [
            Fresh(
                listing=listing(row, labels),
                proven=moment(row["proven_at"]) if row["proven_at"] else "never",
                age=span(now - row["proven_at"]) if row["proven_at"] else "",
                observed=moment(row["observed_at"]),
                status=row["status"],
            )
            for row in stale_first
        ]
    )


def _cut(rows: list[Any]) -> Cut:
    return Cut(rows[:MOST_ROWS], max(0, len(rows) - MOST_ROWS))
