"""The story of one share as plain data, and how it is told: as text for a terminal, as plain values for programs.

Names and reasons are written by strangers: nothing in the text steers the terminal.
Not here: how the story is found (explain.py). Pure.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from pipelines.errors import printable
from pipelines.observation import Direction, Listing


class FileState(StrEnum):
    """What became of a landed file."""

    WHOLE = "whole"
    """It is there, and its SHA-256 is the one in the ledger."""
    PRUNED = "pruned"
    """It was removed by `prune`; what it said is frozen in the baseline."""
    MISSING = "missing"
    CHANGED = "changed"
    """It is there and cannot be trusted: its SHA-256 is another one, or it cannot be read."""


class Said(StrEnum):
    """What an observation says of a share that it neither opened nor closed."""

    SHOWN = "shown"
    ABSENT = "absent"
    """No page shows it, and that was not enough to call it gone, or to say that it was not there yet."""
    UNREADABLE = "unreadable"
    UNPROVEN = "unproven"
    """The walk proves nothing, whatever its pages show."""
    UNKNOWN = "unknown"
    """The pages would have to be looked at, and are not there any more."""


@dataclass(frozen=True)
class Place:
    """Where something stands in a landed file, and the request that brought it. Numbers and positions are from 0."""

    page_number: int
    position: int | None
    """Of the record in the page; None for a page as a whole."""
    record_count: int
    request_id: str
    requested_at: datetime
    received_at: datetime


@dataclass(frozen=True)
class Source:
    """An observation and its landed file."""

    observation_id: str
    sync_id: str
    observed_at: datetime
    finished_at: datetime
    status: str
    landing_file: str
    landing_sha256: str
    file_state: FileState
    file_note: str
    """That state as a sentence."""


@dataclass(frozen=True)
class Opening:
    """The observation that saw a version first. `places`: where its pages hold the share; the last one counts."""

    source: Source
    places: tuple[Place, ...]


@dataclass(frozen=True)
class Absence:
    """The last walk that proves that the share was not there yet. Its `walk_pages` show it `shown_count` times.

    Both None where the file cannot be read.
    """

    source: Source
    walk_pages: int | None = None
    shown_count: int | None = None


@dataclass(frozen=True)
class Closing:
    """The observation that ended a version. `kind`: changed or withdrawn.

    Of a withdrawal: `walk_pages` were read and showed it `shown_count` times; `evidence` are the answers to the
    question for its backup, `evidence_shows` it or not; `is_called_gone`: the observation names it among the gone.
    All None or empty where the file cannot be read.
    """

    source: Source
    kind: str
    walk_pages: int | None = None
    shown_count: int | None = None
    is_called_gone: bool | None = None
    evidence: tuple[Place, ...] = ()
    evidence_shows: bool | None = None


@dataclass(frozen=True)
class Look:
    """An observation between two that settled something: what it says of the share, and why that settles nothing."""

    source: Source
    said: Said
    why: str


@dataclass(frozen=True)
class Change:
    """A field that differs from the version before."""

    field: str
    before: Any
    after: Any


@dataclass(frozen=True)
class BackupVersion:
    """What the listing said of the backup meanwhile; `valid_to` is None while current."""

    backup_id: str
    backup_name: str | None
    backup_status: str | None
    size_gb: int | None
    volume_id: str | None
    valid_from: datetime
    valid_to: datetime | None
    changes: tuple[Change, ...]


@dataclass(frozen=True)
class Version:
    """One content of the share, with bounds as in backup_share_versions.

    `changes`: against the version before; empty for the first and where it came back as it was. `looks_before` and
    `looks_after`: the observations within the bounds of its beginning and of its end; those before a change stand
    with the version that it ended.
    """

    valid_from: datetime
    valid_to: datetime | None
    is_return: bool
    """It had been withdrawn, and came back."""
    appeared_after: datetime | None
    appeared_before: datetime
    last_seen_at: datetime
    disappeared_before: datetime | None
    content: dict[str, Any]
    changes: tuple[Change, ...]
    backups: tuple[BackupVersion, ...]
    absence: Absence | None
    """None for a change, and where no walk proves that it was not there before."""
    looks_before: tuple[Look, ...]
    opening: Opening
    seen_last_in: Source
    looks_after: tuple[Look, ...]
    closing: Closing | None


@dataclass(frozen=True)
class Reject:
    """A record of the share that could not be read."""

    observed_at: datetime
    page_number: int
    position: int
    reason: str


@dataclass(frozen=True)
class Witness:
    """What one listing told."""

    region: str
    project_id: str
    direction: str
    last_proven_at: datetime | None
    versions: tuple[Version, ...]
    rejects: tuple[Reject, ...]

    @property
    def listing(self) -> Listing:
        return Listing(self.region, self.project_id, Direction(self.direction))


@dataclass(frozen=True)
class Story:
    """All that is known of one share. `remarks`: what of it could not be looked at, or is not as it was recorded."""

    share_id: str
    witnesses: tuple[Witness, ...]
    remarks: tuple[str, ...]


MOST_LOOKS = 10
"""Looks of one kind of gap that are told as text; the data holds all."""


def as_data(story: Story) -> dict[str, Any]:
    """The story in plain values: times as ISO 8601 in UTC."""
    plain: dict[str, Any] = _plain(dataclasses.asdict(story))
    return plain


def _plain(value: Any) -> Any:
    match value:
        case dict():
            return {name: _plain(each) for name, each in value.items()}
        case list() | tuple():
            return [_plain(each) for each in value]
        case datetime():
            return value.astimezone(UTC).isoformat()
        case _:
            return value


def as_text(story: Story) -> Iterator[str]:
    """The story line by line, safe for a terminal."""
    count = len(story.witnesses)
    yield f"share {story.share_id}, told by {count} listing{'s' if count > 1 else ''}"
    yield "times are UTC; pages and positions count from 0; files are below LANDING_DIR"
    yield from (f"note: {printable(remark, 1000)}" for remark in story.remarks)
    for witness in story.witnesses:
        yield ""
        proven = f"proven last at {_time(witness.last_proven_at)}" if witness.last_proven_at else "never proven"
        yield f"{witness.listing} (region {_safe(witness.region)}), {proven}"
        for number, version in enumerate(witness.versions, start=1):
            yield f"  version {number}: from {_time(version.valid_from)} " + (
                f"to {_time(version.valid_to)}" if version.valid_to else "on, current"
            )
            yield from (f"    {line}" for line in _version_text(version, is_first=number == 1))
        for reject in witness.rejects:
            where = f"page {reject.page_number}, position {reject.position}"
            yield f"  unreadable at {_time(reject.observed_at)} ({where}): {_safe(reject.reason)}"


def _version_text(version: Version, *, is_first: bool) -> Iterator[str]:
    yield f"{_how_it_came(version, is_first=is_first)}"
    if version.absence:
        yield f"  proven not to be there by {_source_text(version.absence.source)}"
        yield from (f"    {line}" for line in _pages_text(version.absence.walk_pages, version.absence.shown_count))
    yield from _looks_text(version.looks_before)
    yield f"seen first by {_source_text(version.opening.source)}"
    yield from (f"  {line}" for line in _places_text(version.opening))
    if is_first:
        yield "content: " + ", ".join(f"{name} {_safe(value)}" for name, value in version.content.items())
    elif not version.changes:
        yield "content: as before"
    yield from (f"changed: {_change_text(change)}" for change in version.changes)
    for backup in version.backups:
        until = f"to {_time(backup.valid_to)}" if backup.valid_to else "on"
        size = f", {backup.size_gb} GB" if backup.size_gb is not None else ""
        name, status = _safe(backup.backup_name), _safe(backup.backup_status)
        yield f"backup {backup.backup_id}: {name} ({status}{size}) from {_time(backup.valid_from)} {until}"
        yield from (f"  changed: {_change_text(change)}" for change in backup.changes)
    if version.seen_last_in == version.opening.source:
        yield f"seen last at {_time(version.last_seen_at)}"
    else:
        yield f"seen last by {_source_text(version.seen_last_in)}"
    yield from _looks_text(version.looks_after)
    if version.closing:
        yield from _closing_text(version, version.closing)


def _how_it_came(version: Version, *, is_first: bool) -> str:
    before = f"and not after {_time(version.appeared_before)}"
    verb = "appeared" if is_first else "came back" if version.is_return else "changed"
    if version.appeared_after is None:
        return f"{verb} at a time that is not known, {before}: no earlier walk proves that it was not there"
    return f"{verb} after {_time(version.appeared_after)} {before}"


def _source_text(source: Source) -> str:
    return (
        f"the observation at {_time(source.observed_at)} ({source.status}, {source.observation_id}), "
        f"file {_safe(source.landing_file)}: {_safe(source.file_note)}"
    )


def _places_text(opening: Opening) -> Iterator[str]:
    if opening.places:
        place = opening.places[-1]
        often = f", the last of {len(opening.places)} places" if len(opening.places) > 1 else ""
        yield f"page {place.page_number}, position {place.position}{often}; {_request_text(place)}"
    elif opening.source.file_state is FileState.WHOLE:
        yield "no page of the file holds it: `backup-shares rebuild --verify` tells whether the warehouse is right"


def _request_text(place: Place) -> str:
    return (
        f"request {_safe(place.request_id) or 'without id'}, "
        f"asked {_time(place.requested_at)}, answered {_time(place.received_at)}"
    )


def _looks_text(looks: Sequence[Look]) -> Iterator[str]:
    for look in looks[:MOST_LOOKS]:
        yield f"  {look.said} at {_time(look.source.observed_at)}: {_safe(look.why)}"
    if len(looks) > MOST_LOOKS:
        yield f"  and {len(looks) - MOST_LOOKS} more observations that settle nothing (--format json shows all)"


def _closing_text(version: Version, closing: Closing) -> Iterator[str]:
    if closing.kind == "changed":
        yield f"ended by a change, seen by the observation at {_time(closing.source.observed_at)}"
        return
    gone = _time(version.disappeared_before) if version.disappeared_before else "an unknown time"
    yield f"withdrawn after {_time(version.last_seen_at)} and not after {gone}"
    yield f"closed by {_source_text(closing.source)}"
    if closing.walk_pages is None:
        return
    yield from (f"  {line}" for line in _pages_text(closing.walk_pages, closing.shown_count))
    for place in closing.evidence:
        yield f"  asked for its backup: page {place.page_number}, {place.record_count} records; {_request_text(place)}"
    if not closing.evidence:
        yield "  the file holds no answer to the question for its backup"
    elif closing.evidence_shows:
        yield "  the answers show it: they are no evidence"
    else:
        yield "  the answers do not show it"
    yield f"  the observation {'calls' if closing.is_called_gone else 'does not call'} it gone"


def _pages_text(walk_pages: int | None, shown_count: int | None) -> Iterator[str]:
    if walk_pages is not None:
        shows = f"it stands there {shown_count} times" if shown_count else "none shows it"
        yield f"pages of the walk: {walk_pages}, {shows}"


def _change_text(change: Change) -> str:
    return f"{change.field} {_safe(change.before)} -> {_safe(change.after)}"


def _time(value: datetime | None) -> str:
    return "an unknown time" if value is None else f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def _safe(value: Any) -> str:
    match value:
        case None:
            return "null"
        case datetime():
            return _time(value)
        case str():
            return printable(value, 300)
        case _:
            return printable(str(value), 300)
