"""The whole story of one share, found: every version, who told of it where, and why it ended, down to the landed page.

The warehouse says what was recorded; the landed files that it names are opened, compared with the SHA-256 in the
ledger, and searched for the record. What a pruned, missing or changed file said is not guessed.
Not here: what a story holds and how it is told (story.py), when a share counts as withdrawn (confirm.py, history.py),
the bounds of a version (sql/views/).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Table

from pipelines import baseline
from pipelines.errors import LandingError
from pipelines.landing import LandedFile, LandedPage, landed_file, read_landed_pages, read_observation, sha256
from pipelines.schema import LISTING_KEY, backup_history, backup_share_history, content_columns, report
from pipelines.story import (
    Absence,
    BackupVersion,
    Change,
    Closing,
    FileState,
    Look,
    Opening,
    Place,
    Reject,
    Said,
    Source,
    Story,
    Version,
    Witness,
)
from pipelines.warehouse import Warehouse

Row = Mapping[str, Any]


def explain(warehouse: Warehouse, landing: Path, share_id: str) -> Story | None:
    """The story of a share; None when no listing ever told of it. Raises WarehouseError."""

    def ask(name: str) -> dict[tuple[str, ...], list[Row]]:
        return _by_listing(warehouse.query(report(f"share_{name}"), share_id=share_id).to_pylist())

    observations, versions, backups, rejects = map(ask, ("observations", "versions", "backup_versions", "rejects"))
    files = _Files(landing, share_id)
    witnesses = tuple(
        _witness(looks, versions.get(key, []), backups.get(key, []), rejects.get(key, []), files)
        for key, looks in observations.items()
    )
    return Story(share_id, witnesses, (*files.remarks, *files.doubts())) if witnesses else None


def _by_listing(rows: Sequence[Row]) -> dict[tuple[str, ...], list[Row]]:
    found: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        found.setdefault(tuple(row[name] for name in LISTING_KEY), []).append(row)
    return found


class _Files:
    """The landed files, each looked at once, for what they hold of one share."""

    def __init__(self, landing: Path, share_id: str) -> None:
        self._landing, self._share_id = landing, share_id
        self._frozen: baseline.Baseline | None = None
        self._frozen_ids: frozenset[str] = frozenset()
        self.remarks: tuple[str, ...] = ()
        self._sources: dict[str, Source] = {}
        self._held: dict[str, _Held | None] = {}
        try:
            self._frozen = baseline.find(landing)
            if self._frozen:
                self._frozen_ids = self._frozen.observation_ids()
        except LandingError as error:
            self.remarks = (str(error),)

    def source(self, row: Row) -> Source:
        key = row["observation_id"]
        if key not in self._sources:
            self._sources[key], self._held[key] = self._look(row)
        return self._sources[key]

    def held(self, row: Row) -> "_Held | None":
        """What the file holds; None where it is not there whole."""
        self.source(row)
        return self._held[row["observation_id"]]

    def doubts(self) -> list[str]:
        """What the files that were looked for and are not there, or cannot be trusted, have in common: a line each."""
        by_note: dict[str, list[str]] = {}
        for each in self._sources.values():
            if each.file_state in (FileState.MISSING, FileState.CHANGED):
                by_note.setdefault(each.file_note, []).append(each.landing_file)
        return [
            f"{names[0]}{f' and {len(names) - 1} more' if names[1:] else ''}: {note}" for note, names in by_note.items()
        ]

    def _look(self, row: Row) -> "tuple[Source, _Held | None]":
        state, note, held = self._state(row)
        names = ("observation_id", "sync_id", "observed_at", "finished_at", "status", "landing_file", "landing_sha256")
        return Source(**{name: row[name] for name in names}, file_state=state, file_note=note), held

    def _state(self, row: Row) -> "tuple[FileState, str, _Held | None]":
        file = landed_file(self._landing, row["landing_file"])
        if file is None or not file.path.exists():
            if self._frozen and row["observation_id"] in self._frozen_ids:
                return FileState.PRUNED, f"was pruned; what it said is frozen in {self._frozen.name}", None
            return FileState.MISSING, "is missing", None
        try:
            if sha256(file) != row["landing_sha256"]:
                return FileState.CHANGED, "is not the recorded one: its SHA-256 differs from the ledger's", None
            return FileState.WHOLE, "SHA-256 as in the ledger", _held(file, self._share_id)
        except LandingError as error:
            return FileState.CHANGED, str(error), None


@dataclass(frozen=True)
class _Held:
    """What a landed file holds of a share: where walk and evidence show it, how much there is of both."""

    is_called_gone: bool
    is_excluded: bool
    """The walk saw it, and it is no part of the proven state all the same."""
    places: tuple[Place, ...]
    walk_pages: int
    evidence: Mapping[str, tuple[Place, ...]]
    """By the backup that was asked for: the answers."""
    shown_by_evidence: frozenset[str]
    """The backups whose answers show the share."""


def _held(file: LandedFile, share_id: str) -> _Held:
    places: list[Place] = []
    evidence: dict[str, tuple[Place, ...]] = {}
    shown: set[str] = set()
    walk_pages = 0
    for landed in read_landed_pages(file):
        positions = _positions(file, landed, share_id)
        asked = landed.page.backup_id
        if asked is None:
            walk_pages += 1
            places += (_place(landed, position) for position in positions)
        else:
            evidence[asked] = (*evidence.get(asked, ()), _place(landed, None))
            shown |= {asked} if positions else set()
    observation = read_observation(file)
    told = (share_id in observation.gone_ids, share_id in observation.excluded_ids)
    return _Held(*told, tuple(places), walk_pages, evidence, frozenset(shown))


def _positions(file: LandedFile, landed: LandedPage, share_id: str) -> list[int]:
    body = landed.page.body
    if share_id.encode() not in body:  # parsing is dear, and hardly any page holds it
        return []
    try:
        records = json.loads(body)["shared"]
        return [n for n, each in enumerate(records) if isinstance(each, dict) and each.get("id") == share_id]
    except (ValueError, LookupError, TypeError, RecursionError):
        raise LandingError(f"page {landed.number} of landing file {file.name} cannot be read") from None


def _place(landed: LandedPage, position: int | None) -> Place:
    page = landed.page
    return Place(landed.number, position, landed.record_count, page.request_id, page.requested_at, page.received_at)


def _witness(
    observations: Sequence[Row],
    versions: Sequence[Row],
    backups: Sequence[Row],
    rejects: Sequence[Row],
    files: _Files,
) -> Witness:
    told: list[Version] = []
    for number, row in enumerate(versions):
        before = versions[number - 1] if number else None
        after = versions[number + 1] if number + 1 < len(versions) else None
        told.append(_version(row, before, after, observations, backups, rejects, files))
    proven = [row["observed_at"] for row in observations if row["is_proven"]]
    names = ("observed_at", "page_number", "position", "reason")
    return Witness(
        **{name: observations[0][name] for name in LISTING_KEY},
        last_proven_at=max(proven, default=None),
        versions=tuple(told),
        rejects=tuple(Reject(**{name: row[name] for name in names}) for row in rejects),
    )


def _version(
    row: Row,
    before: Row | None,
    after: Row | None,
    observations: Sequence[Row],
    backups: Sequence[Row],
    rejects: Sequence[Row],
    files: _Files,
) -> Version:
    by_id = {each["observation_id"]: each for each in observations}
    by_time = {each["observed_at"]: each for each in observations}
    is_return = before is not None and before["valid_to"] != row["valid_from"]
    unread = {each["observation_id"]: each for each in rejects}

    def looks(start: datetime | None, end: datetime | None) -> tuple[Look, ...]:
        return tuple(
            _look(each, unread.get(each["observation_id"]), files)
            for each in observations
            if (start is None or each["observed_at"] > start) and (end is None or each["observed_at"] < end)
        )

    opening = by_id[row["opened_by"]]
    held = files.held(opening)
    closing = None
    if row["closed_by"] is not None:
        is_change = after is not None and after["valid_from"] == row["valid_to"]
        closing = _closing(by_id[row["closed_by"]], row, is_change, files)
    mine = [each for each in backups if each["share_valid_from"] == row["valid_from"]]
    return Version(
        valid_from=row["valid_from"],
        valid_to=row["valid_to"],
        is_return=is_return,
        appeared_after=row["appeared_after"],
        appeared_before=row["appeared_before"],
        last_seen_at=row["last_seen_at"],
        disappeared_before=row["disappeared_before"],
        content={name: row[name] for name in _content_names(backup_share_history) if name != "share_id"},
        changes=_changes(backup_share_history, before, row),
        backups=tuple(_backup(each, mine[number - 1] if number else None) for number, each in enumerate(mine)),
        absence=_absence(by_time.get(row["appeared_after"]), files) if before is None or is_return else None,
        looks_before=looks(row["appeared_after"], row["valid_from"]) if before is None or is_return else (),
        opening=Opening(files.source(opening), held.places if held else ()),
        seen_last_in=files.source(by_time.get(row["last_seen_at"], opening)),
        looks_after=looks(row["last_seen_at"], row["valid_to"]),
        closing=closing,
    )


def _changes(table: Table, before: Row | None, after: Row) -> tuple[Change, ...]:
    if before is None:
        return ()
    names = [name for name in _content_names(table) if before[name] != after[name]]
    return tuple(Change(name, before[name], after[name]) for name in names)


def _content_names(table: Table) -> list[str]:
    return [column.name for column in content_columns(table)]


def _backup(row: Row, before: Row | None) -> BackupVersion:
    names = ("backup_id", "backup_name", "backup_status", "size_gb", "volume_id", "valid_from", "valid_to")
    return BackupVersion(**{name: row[name] for name in names}, changes=_changes(backup_history, before, row))


def _absence(row: Row | None, files: _Files) -> Absence | None:
    if row is None:
        return None
    source, held = files.source(row), files.held(row)
    return Absence(source, held.walk_pages, len(held.places)) if held else Absence(source)


def _closing(row: Row, version: Row, is_change: bool, files: _Files) -> Closing:
    source = files.source(row)
    if is_change:
        return Closing(source, "changed")
    held = files.held(row)
    if held is None:
        return Closing(source, "withdrawn")
    return Closing(
        source,
        "withdrawn",
        walk_pages=held.walk_pages,
        shown_count=len(held.places),
        is_called_gone=held.is_called_gone,
        evidence=held.evidence.get(version["backup_id"], ()),
        evidence_shows=version["backup_id"] in held.shown_by_evidence,
    )


def _look(row: Row, reject: Row | None, files: _Files) -> Look:
    source = files.source(row)
    if reject is not None:
        where = f"page {reject['page_number']}, position {reject['position']}"
        return Look(source, Said.UNREADABLE, f"its record could not be read ({where}): {reject['reason']}")
    if not row["is_proven"]:
        return Look(source, Said.UNPROVEN, f"{row['status']}: {row['reason']}")
    held = files.held(row)
    if held is None:
        return Look(source, Said.UNKNOWN, f"its pages cannot be looked at: the file {source.file_note}")
    if held.places:
        beside = ", and is no part of the proven state" if held.is_excluded else ""
        return Look(source, Said.SHOWN, f"stands on page {held.places[-1].page_number}{beside}")
    if not row["may_close"]:
        return Look(source, Said.ABSENT, "stands on no page, and the walk does not prove absence")
    told = "its withdrawal was held" if row["held_count"] else "not called gone"
    return Look(
        source, Said.ABSENT, f"stands on no page, {told}: {row['reason'] or 'the service was not asked about it'}"
    )
