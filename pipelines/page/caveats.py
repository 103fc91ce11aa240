"""What the page cannot vouch for: what was not proven on the day, not read, not recorded, or not judged.

Not here: the figures (says.py).
"""

from collections.abc import Iterator
from datetime import datetime, timedelta

from pipelines.observation import TOLERATED_SKEW
from pipelines.page.asked import DAYS_SHOWN, Answers, Row
from pipelines.page.words import Labels, counted, moment, span

LATE = timedelta(hours=36)
"""A daily sync that was observed longer ago than this was missed."""


def caveats(answers: Answers, labels: Labels, now: datetime) -> list[str]:
    """A sentence each, the gravest first; empty on a day on which all was proven, read and recorded."""
    return [
        *_too_old(answers, now),
        *_not_proven(answers, labels),
        *_not_recorded(answers, labels),
        *_not_comparable(answers),
        *_not_read(answers, labels),
        *_not_judged(answers),
    ]


def listing(row: Row, labels: Labels) -> str:
    verb = "gives" if row["direction"] == "outgoing" else "receives"
    return f"what {labels(row['project_id'])} {verb}"


def _too_old(answers: Answers, now: datetime) -> Iterator[str]:
    last = answers.days["last_observed_at"]
    if now - last > LATE:
        yield f"Nothing was observed since {moment(last)}, {span(now - last)} ago: a sync is missing."


def _not_proven(answers: Answers, labels: Labels) -> Iterator[str]:
    proven_at = {_key(row): row["proven_at"] for row in answers.listings}
    seen_lately = {_key(row) for row in answers.coverage if row["status"] != "not_observed"}
    given_up = 0
    for row in answers.coverage:
        if row["snapshot_date"] != answers.days["last_day"] or row["status"] == "proven":
            continue
        if _key(row) not in seen_lately:
            given_up += 1
            continue
        last = proven_at.get(_key(row))
        known = f"the figures hold what was proven {moment(last)}" if last else "nothing was ever proven of it"
        what = {"partial": "incomplete", "failed": "failed"}.get(row["status"], "not observed")
        reason = f": {row['reason']}" if row["reason"] else ""
        yield f"Not proven: {listing(row, labels)} ({what}{reason}); {known}."
    if given_up:
        many = counted(given_up, "listing was", "listings were")
        yield f"{many} not observed for {DAYS_SHOWN} days or more; the figures hold the last proven state."


def _not_recorded(answers: Answers, labels: Labels) -> Iterator[str]:
    for row in answers.observations:
        name = listing(row, labels)
        if row["held_count"]:
            yield f"Held: {counted(row['held_count'], 'withdrawal')} of {name}; {row['reason']}."
        waiting = row["absent_count"] - row["shares_withdrawn"] - row["held_count"]
        if row["is_proven"] and waiting > 0:
            reason = f"; {row['reason']}" if row["reason"] else ""
            yield f"Not recorded as withdrawn: {counted(waiting, 'absent share')} of {name}{reason}."
        elif row["is_proven"] and not row["may_close"]:
            yield f"By {name} nothing could be recorded as withdrawn; {row['reason']}."


def _not_comparable(answers: Answers) -> Iterator[str]:
    day, before = answers.days["last_day"], answers.days["day_before"]
    if before is None:
        yield "This is the first observed day: there is nothing to compare it with."
        return
    if before < day - timedelta(days=1):
        yield f"Nothing was proven on the day before: changes are counted from {before} on."
    unproven = sum(row["snapshot_date"] == before and row["status"] != "proven" for row in answers.coverage)
    if unproven:
        yield (
            f"{counted(unproven, 'listing was', 'listings were')} not proven on {before}, with which this day is "
            "compared: some changes may be older."
        )
    found = sum(row["first_seen"] for row in answers.changes if row["change_date"] == day)
    if found:
        yield (
            f"{counted(found, 'share was', 'shares were')} found by the first observation of a listing: the change "
            "counts them, and they may be older than the day."
        )


def _not_read(answers: Answers, labels: Labels) -> Iterator[str]:
    for row in answers.observations:
        name = listing(row, labels)
        if row["rejected_count"]:
            records = counted(row["rejected_count"], "record")
            yield f"Not read: {records} of {name}; a share that was known stays as it was (view quarantine)."
        if row["conflict_count"]:
            twice = counted(row["conflict_count"], "share or backup", "shares or backups")
            yield f"Of {twice}, {name} told two different things."
        skew = row["clock_skew_seconds"] or 0
        if abs(skew) > TOLERATED_SKEW:
            yield f"The service's clock was {skew:+,d} s from ours while it told {name}."
    unknown = (answers.figures or {}).get("unknown_size_count", 0)
    if unknown:
        yield f"The size of {counted(unknown, 'backup')} is not known: GB are at least what is shown."
    if answers.drift:
        many = counted(len(answers.drift), "field or value", "fields or values")
        yield f"The service told {many} that this program does not know (view schema_drift)."


def _not_judged(answers: Answers) -> Iterator[str]:
    if not answers.policy:
        yield "There is no sharing policy: what nobody allowed is not found."


def _key(row: Row) -> tuple[str, str, str]:
    return row["region"], row["project_id"], row["direction"]
