"""The story of one share, compared with one worked out by hand: which page showed it, what changed, why it ended.

Not here: the bounds of versions (test_sql_bounds.py), when a share counts as withdrawn (test_confirm.py).
"""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pipelines.explain import explain
from pipelines.landing import LandedFile, LandingWriter, landed_files
from pipelines.load import load_pending
from pipelines.observation import Observation, Page
from pipelines.publish import reading, writing
from pipelines.retention import prune
from pipelines.story import FileState, Said, Story, as_data, as_text
from tests.command import run
from tests.oracle import (
    ALICE,
    B1,
    B2,
    BOB,
    IN,
    OUT,
    S1,
    S2,
    S3,
    UNPROVEN,
    day,
    make_backup,
    make_observation,
    make_page,
    make_share,
)

OTHER = make_share(S2, B2)
FIRST = make_share(S1, B1)
CHANGED = make_share(S1, B1, updated_at="2026-03-02T20:00:00.000000", backup=make_backup(B1, name="renamed"))


def land(
    root: Path, observation: Observation, *pages: bytes, evidence: tuple[tuple[str, bytes], ...] = ()
) -> LandedFile:
    """Pages of the walk, then the answers about single backups; a request takes a second."""
    asked = observation.observed_at
    with LandingWriter(root, observation.listing) as writer:
        for number, (backup_id, body) in enumerate([*((None, page) for page in pages), *evidence]):
            at = asked + timedelta(seconds=2 * number)
            request = f"req-{observation.observed_at.day}-{number}"
            page = Page(0, 1000, False, body, at, at + timedelta(seconds=1), request, backup_id)
            writer.add(page, len(json.loads(body)["shared"]))
        return writer.commit(observation)


def land_the_diary(root: Path) -> None:
    """S1 is not there, appears, changes, is lost sight of for two days, vanishes on evidence, and returns."""
    nobody: dict[str, Any] = {"gone_ids": ()}
    land(root, make_observation(day(1), **nobody), make_page(OTHER))
    land(root, make_observation(day(2), **nobody), make_page(OTHER), make_page(OTHER, FIRST))
    land(root, make_observation(day(3), **nobody), make_page(CHANGED, OTHER))
    land(root, make_observation(day(4), **UNPROVEN, **nobody), make_page(OTHER))
    held = {"absent_count": 1, "held_count": 1, "reason": "1 of 2 known shares are absent at once", **nobody}
    land(root, make_observation(day(5), **held), make_page(OTHER))
    answers = ((B2, make_page(OTHER)), (B1, make_page()))
    land(root, make_observation(day(6), absent_count=1, gone_ids=(S1,)), make_page(OTHER), evidence=answers)
    land(root, make_observation(day(7), **nobody), make_page(OTHER, CHANGED))
    bad = make_share(S1, B1, created_at="yesterday")
    land(root, make_observation(day(2), IN, **nobody), make_page(OTHER, bad))


@pytest.fixture
def landing(tmp_path: Path) -> Path:
    return tmp_path / "landing"


@pytest.fixture(params=["duckdb", "postgresql"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "duckdb":
        yield f"duckdb:///{tmp_path}/warehouse.duckdb"
    else:
        yield request.getfixturevalue("postgres_url")


@pytest.fixture
def file_address(tmp_path: Path) -> str:
    return f"duckdb:///{tmp_path}/warehouse.duckdb"


def load(address: str, landing: Path) -> None:
    with writing(address) as warehouse:
        assert load_pending(warehouse, landing, landing.parent / "staging") == []


def story_of(address: str, landing: Path, share_id: str = S1) -> Story:
    with reading(address) as warehouse:
        assert warehouse is not None
        story = explain(warehouse, landing, share_id)
    assert story is not None
    return story


def told(address: str, landing: Path, share_id: str = S1) -> str:
    return "\n".join(as_text(story_of(address, landing, share_id)))


def seconds(at: datetime, number: int) -> datetime:
    return at + timedelta(seconds=number)


ENDED = timedelta(minutes=1)
"""How long a walk takes in these tests."""


# --- the diary --------------------------------------------------------------------------------------------------------


def test_the_story_is_the_one_worked_out_by_hand(address: str, landing: Path) -> None:
    land_the_diary(landing)
    load(address, landing)
    giver, receiver = story_of(address, landing).witnesses
    assert (giver.region, giver.project_id, giver.direction) == (OUT.region, ALICE, "outgoing")
    assert giver.last_proven_at == day(7)
    bounds = [
        (
            each.valid_from,
            each.valid_to,
            each.appeared_after,
            each.appeared_before,
            each.last_seen_at,
            each.disappeared_before,
        )
        for each in giver.versions
    ]
    assert bounds == [
        (day(2), day(3), day(1), day(2) + ENDED, day(2), day(3) + ENDED),
        (day(3), day(6), day(2), day(3) + ENDED, day(3), day(6) + ENDED),
        (day(7), None, day(6), day(7) + ENDED, day(7), None),
    ]
    assert [each.is_return for each in giver.versions] == [False, False, True]

    places = [[(at.page_number, at.position, at.request_id) for at in each.opening.places] for each in giver.versions]
    assert places == [[(1, 1, "req-2-1")], [(0, 0, "req-3-0")], [(0, 1, "req-7-0")]]
    first = giver.versions[0].opening.places[0]
    assert (first.record_count, first.requested_at, first.received_at) == (2, seconds(day(2), 2), seconds(day(2), 3))
    sources = [each.opening.source for each in giver.versions]
    assert [(each.observed_at, each.status, each.file_state) for each in sources] == [
        (day(number), "exact", FileState.WHOLE) for number in (2, 3, 7)
    ]

    proofs = [
        each.absence and (each.absence.source.observed_at, each.absence.walk_pages, each.absence.shown_count)
        for each in giver.versions
    ]
    assert proofs == [(day(1), 1, 0), None, (day(6), 1, 0)]
    assert [each.seen_last_in.observed_at for each in giver.versions] == [day(2), day(3), day(7)]

    changes = [[(change.field, change.before, change.after) for change in each.changes] for each in giver.versions]
    assert changes == [[], [("share_updated_at", None, day(2, 20))], []]
    assert giver.versions[0].content["from_project_id"] == ALICE
    assert giver.versions[0].content["to_project_id"] == BOB
    backups = [
        [(b.backup_id, b.backup_name, b.valid_from, b.valid_to) for b in each.backups] for each in giver.versions
    ]
    assert backups == [
        [(B1, "nightly", day(2), day(3))],
        [(B1, "renamed", day(3), day(6))],
        [(B1, "renamed", day(7), None)],
    ]

    looks = [[(look.source.observed_at, look.said, look.why) for look in each.looks_after] for each in giver.versions]
    assert looks == [
        [],
        [
            (day(4), Said.UNPROVEN, "incomplete: rows are missing"),
            (
                day(5),
                Said.ABSENT,
                "stands on no page, its withdrawal was held: 1 of 2 known shares are absent at once",
            ),
        ],
        [],
    ]
    assert all(each.looks_before == () for each in giver.versions)

    change, withdrawal = giver.versions[0].closing, giver.versions[1].closing
    assert change is not None
    assert (change.kind, change.source.observed_at) == ("changed", day(3))
    assert withdrawal is not None
    assert (withdrawal.kind, withdrawal.source.observed_at) == ("withdrawn", day(6))
    assert (withdrawal.walk_pages, withdrawal.shown_count, withdrawal.is_called_gone) == (1, 0, True)
    assert [(e.page_number, e.record_count, e.request_id, e.requested_at) for e in withdrawal.evidence] == [
        (2, 0, "req-6-2", seconds(day(6), 4))
    ]
    assert withdrawal.evidence_shows is False
    assert giver.versions[2].closing is None

    assert (receiver.project_id, receiver.direction, receiver.versions) == (BOB, "incoming", ())
    assert [(each.observed_at, each.page_number, each.position) for each in receiver.rejects] == [(day(2), 0, 1)]
    assert "created_at" in receiver.rejects[0].reason


def test_the_story_as_text_is_this(file_address: str, landing: Path) -> None:
    land_the_diary(landing)
    load(file_address, landing)
    files = {file.observed_at.day: file for file in landed_files(landing) if file.listing == OUT}

    def seen(number: int) -> str:
        file = files[number]
        return (
            f"the observation at 2026-03-0{number} 06:00:00 (exact, {file.observation_id}), file {file.name}: "
            "SHA-256 as in the ledger"
        )

    text = told(file_address, landing)
    giver = text[text.index("outgoing") : text.index("\n\nincoming")]
    assert (
        giver
        == f"""\
outgoing shares of project {ALICE} (region {OUT.region}), proven last at 2026-03-07 06:00:00
  version 1: from 2026-03-02 06:00:00 to 2026-03-03 06:00:00
    appeared after 2026-03-01 06:00:00 and not after 2026-03-02 06:01:00
      proven not to be there by {seen(1)}
        pages of the walk: 1, none shows it
    seen first by {seen(2)}
      page 1, position 1; request req-2-1, asked 2026-03-02 06:00:02, answered 2026-03-02 06:00:03
    content: backup_id {B1}, from_project_id {ALICE}, to_project_id {BOB}, \
share_created_at 2026-02-02 00:00:00, share_updated_at null
    backup {B1}: nightly (available, 40 GB) from 2026-03-02 06:00:00 to 2026-03-03 06:00:00
    seen last at 2026-03-02 06:00:00
    ended by a change, seen by the observation at 2026-03-03 06:00:00
  version 2: from 2026-03-03 06:00:00 to 2026-03-06 06:00:00
    changed after 2026-03-02 06:00:00 and not after 2026-03-03 06:01:00
    seen first by {seen(3)}
      page 0, position 0; request req-3-0, asked 2026-03-03 06:00:00, answered 2026-03-03 06:00:01
    changed: share_updated_at null -> 2026-03-02 20:00:00
    backup {B1}: renamed (available, 40 GB) from 2026-03-03 06:00:00 to 2026-03-06 06:00:00
    seen last at 2026-03-03 06:00:00
      unproven at 2026-03-04 06:00:00: incomplete: rows are missing
      absent at 2026-03-05 06:00:00: stands on no page, its withdrawal was held: 1 of 2 known shares are absent at once
    withdrawn after 2026-03-03 06:00:00 and not after 2026-03-06 06:01:00
    closed by {seen(6)}
      pages of the walk: 1, none shows it
      asked for its backup: page 2, 0 records; request req-6-2, asked 2026-03-06 06:00:04, answered 2026-03-06 06:00:05
      the answers do not show it
      the observation calls it gone
  version 3: from 2026-03-07 06:00:00 on, current
    came back after 2026-03-06 06:00:00 and not after 2026-03-07 06:01:00
      proven not to be there by {seen(6)}
        pages of the walk: 1, none shows it
    seen first by {seen(7)}
      page 0, position 1; request req-7-0, asked 2026-03-07 06:00:00, answered 2026-03-07 06:00:01
    content: as before
    backup {B1}: renamed (available, 40 GB) from 2026-03-07 06:00:00 on
    seen last at 2026-03-07 06:00:00"""
    )
    receiver = text[text.index("incoming") :]
    assert receiver.startswith(
        f"incoming shares of project {BOB} (region {OUT.region}), proven last at 2026-03-02 06:00"
    )
    assert "  unreadable at 2026-03-02 06:00:00 (page 0, position 1): created_at" in receiver
    assert text.startswith(f"share {S1}, told by 2 listings\ntimes are UTC; pages and positions count from 0; ")


# --- backups, looks ---------------------------------------------------------------------------------------------------


def test_a_backup_that_changes_under_a_share_is_told_field_by_field(address: str, landing: Path) -> None:
    backups = [make_backup(B1), make_backup(B1, name="weekly", size=41), make_backup(B1, name="weekly", size=41)]
    for number, backup in enumerate(backups, start=1):
        land(landing, make_observation(day(number)), make_page(make_share(S1, B1, backup=backup)))
    load(address, landing)
    (version,) = story_of(address, landing).witnesses[0].versions
    assert [[(c.field, c.before, c.after) for c in backup.changes] for backup in version.backups] == [
        [],
        [("backup_name", "nightly", "weekly"), ("size_gb", 40, 41)],
    ]
    assert version.appeared_after is None
    text = told(address, landing)
    assert "appeared at a time that is not known, and not after 2026-03-01 06:01:00: no earlier walk proves" in text
    assert "      changed: backup_name nightly -> weekly\n      changed: size_gb 40 -> 41" in text


def test_a_day_that_does_not_say_which_share_was_missing_is_settled_by_its_pages(address: str, landing: Path) -> None:
    """The ledger only counts how many were held; the page shows that it was another one."""
    land(landing, make_observation(day(1)), make_page(FIRST, OTHER))
    held = {"held_count": 1, "absent_count": 1, "reason": "held", "gone_ids": ()}
    land(landing, make_observation(day(2), **held), make_page(FIRST))
    load(address, landing)
    for share_id, said, why in (
        (S1, Said.SHOWN, "stands on page 0"),
        (S2, Said.ABSENT, "stands on no page, its withdrawal was held: held"),
    ):
        (version,) = story_of(address, landing, share_id).witnesses[0].versions
        assert [(look.source.observed_at, look.said, look.why) for look in version.looks_after] == [(day(2), said, why)]


def test_what_an_observation_could_not_say_is_told_with_its_reason(file_address: str, landing: Path) -> None:
    land(landing, make_observation(day(1), may_close=False), make_page(OTHER))
    land(landing, make_observation(day(2), **UNPROVEN), make_page())
    land(landing, make_observation(day(3)), make_page(OTHER, FIRST))
    unread = make_share(S1, B1, created_at="yesterday")
    land(landing, make_observation(day(4), gone_ids=()), make_page(OTHER, unread))
    excluded = {"excluded_ids": (S1,), "gone_ids": ()}
    land(landing, make_observation(day(5), **excluded), make_page(OTHER, FIRST))
    asked = {"absent_count": 1, "gone_ids": (), "reason": "1 absent shares are not recorded as withdrawn"}
    land(landing, make_observation(day(6), **asked), make_page(OTHER))
    load(file_address, landing)
    (version,) = story_of(file_address, landing).witnesses[0].versions
    assert [(look.source.observed_at.day, look.said, look.why) for look in version.looks_before] == [
        (1, Said.ABSENT, "stands on no page, and the walk does not prove absence"),
        (2, Said.UNPROVEN, "incomplete: rows are missing"),
    ]
    after = [(look.source.observed_at.day, look.said, look.why.split(":")[0]) for look in version.looks_after]
    assert after == [
        (4, Said.UNREADABLE, "its record could not be read (page 0, position 1)"),
        (5, Said.SHOWN, "stands on page 0, and is no part of the proven state"),
        (6, Said.ABSENT, "stands on no page, not called gone"),
    ]


def test_of_many_looks_the_text_tells_some_and_how_many_more(file_address: str, landing: Path) -> None:
    land(landing, make_observation(day(1)), make_page(FIRST))
    for number in range(2, 16):
        land(landing, make_observation(day(number), **UNPROVEN), make_page())
    load(file_address, landing)
    text = told(file_address, landing)
    assert text.count("unproven at") == 10
    assert "and 4 more observations that settle nothing" in text
    assert len(story_of(file_address, landing).witnesses[0].versions[0].looks_after) == 14


def test_a_share_on_several_pages_counts_where_it_was_told_last(file_address: str, landing: Path) -> None:
    land(landing, make_observation(day(1)), make_page(FIRST), make_page(OTHER), make_page(OTHER, OTHER, FIRST))
    load(file_address, landing)
    (version,) = story_of(file_address, landing).witnesses[0].versions
    assert [(at.page_number, at.position) for at in version.opening.places] == [(0, 0), (2, 2)]
    assert "page 2, position 2, the last of 2 places" in told(file_address, landing)


# --- the landed file is not there -------------------------------------------------------------------------------------


def test_a_file_that_was_pruned_is_said_to_be_with_the_baseline_that_holds_it(address: str, landing: Path) -> None:
    land_the_diary(landing)
    load(address, landing)
    before = story_of(address, landing)
    prune(address, landing, day(7))
    after = story_of(address, landing)
    (was, _), (now, _) = before.witnesses, after.witnesses
    note = "was pruned; what it said is frozen in _baseline/20260307T060000000000Z"
    first, second, third = now.versions
    assert (first.opening.source.file_state, first.opening.source.file_note) == (FileState.PRUNED, note)
    assert first.opening.places == ()
    assert second.closing is not None
    assert (second.closing.source.file_state, second.closing.walk_pages) == (FileState.PRUNED, None)
    assert [(look.said, look.why) for look in second.looks_after] == [
        (Said.UNPROVEN, "incomplete: rows are missing"),
        (Said.UNKNOWN, f"its pages cannot be looked at: the file {note}"),
    ]
    assert third.absence is not None
    assert (third.absence.source.file_note, third.absence.walk_pages, third.absence.shown_count) == (note, None, None)
    assert replace(third, absence=None) == replace(was.versions[2], absence=None)
    assert [each.content for each in now.versions] == [each.content for each in was.versions]
    assert note in told(address, landing)


@pytest.mark.parametrize(
    ("harm", "state", "note"),
    [
        ("gone", FileState.MISSING, "is missing"),
        ("one byte", FileState.CHANGED, "is not the recorded one: its SHA-256 differs from the ledger's"),
        ("cut", FileState.CHANGED, "is not the recorded one: its SHA-256 differs from the ledger's"),
    ],
)
def test_what_a_file_said_that_is_not_whole_is_not_guessed(
    file_address: str, landing: Path, harm: str, state: FileState, note: str
) -> None:
    land_the_diary(landing)
    load(file_address, landing)
    for file in landed_files(landing):
        whole = file.path.read_bytes()
        if harm == "gone":
            file.path.unlink()
        else:
            file.path.write_bytes(whole[:-9] if harm == "cut" else whole[:40] + bytes([whole[40] ^ 1]) + whole[41:])
    giver = story_of(file_address, landing).witnesses[0]
    for version in giver.versions:
        source = version.opening.source
        assert (source.file_state, source.file_note, version.opening.places) == (state, note, ())
    absence = giver.versions[0].absence
    assert absence is not None
    assert (absence.source.file_state, absence.walk_pages, absence.shown_count) == (state, None, None)
    closing = giver.versions[1].closing
    assert closing is not None
    assert (closing.source.file_state, closing.evidence, closing.is_called_gone) == (state, (), None)
    assert f": {note}\n" in told(file_address, landing)
    assert [remark.split(": ", 1)[1] for remark in story_of(file_address, landing).remarks] == [note]


def test_a_damaged_baseline_is_remarked_and_the_rest_is_told(file_address: str, landing: Path) -> None:
    land_the_diary(landing)
    load(file_address, landing)
    prune(file_address, landing, day(7))
    (manifest,) = landing.glob("_baseline/*/manifest.json")
    manifest.write_bytes(b"")
    story = story_of(file_address, landing)
    assert "manifest.json is damaged" in story.remarks[0]
    assert re.fullmatch(r"eu-test-1/\S+\.parquet and \d+ more: is missing", story.remarks[1])
    assert [each.opening.source.file_state for each in story.witnesses[0].versions] == [
        FileState.MISSING,
        FileState.MISSING,
        FileState.WHOLE,
    ]
    assert "note: the baseline file" in told(file_address, landing)


# --- strangers, the command -------------------------------------------------------------------------------------------


def test_names_of_strangers_do_not_steer_the_terminal(file_address: str, landing: Path) -> None:
    names = ["\x1b[2Jnightly", "night\u202ely"]
    for number, name in enumerate(names, start=1):
        land(landing, make_observation(day(number)), make_page(make_share(S1, B1, backup=make_backup(B1, name=name))))
    load(file_address, landing)
    text = told(file_address, landing)
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert r"\x1b[2Jnightly -> night\u202ely" in text
    backups = as_data(story_of(file_address, landing))["witnesses"][0]["versions"][0]["backups"]
    assert [backup["backup_name"] for backup in backups] == names, "programs get them as they are"


def test_a_share_that_nobody_told_of_has_no_story(address: str, landing: Path) -> None:
    land_the_diary(landing)
    load(address, landing)
    with reading(address) as warehouse:
        assert warehouse is not None
        assert explain(warehouse, landing, S3) is None


def test_the_command_tells_the_story_as_text_and_as_json(tmp_path: Path, file_address: str, landing: Path) -> None:
    land_the_diary(landing)
    load(file_address, landing)
    text = run(tmp_path, "explain", S1, DATA_DIR=".")
    assert (text.returncode, text.stderr) == (0, b"")
    assert text.stdout.decode() == told(file_address, landing) + "\n"
    data = run(tmp_path, "explain", S1.upper(), "--format", "json", DATA_DIR=".")
    assert data.returncode == 0
    said = json.loads(data.stdout)
    assert said == json.loads(json.dumps(as_data(story_of(file_address, landing))))
    assert said["witnesses"][0]["versions"][1]["closing"]["source"]["observed_at"] == "2026-03-06T06:00:00+00:00"
    unknown = run(tmp_path, "explain", S3, DATA_DIR=".")
    assert (unknown.returncode, unknown.stdout) == (1, b"")
    assert f"no listing that was recorded ever told of the share {S3}" in unknown.stderr.decode()


def test_the_command_exits_1_where_a_file_of_the_story_is_not_the_recorded_one(
    tmp_path: Path, file_address: str, landing: Path
) -> None:
    land_the_diary(landing)
    load(file_address, landing)
    file = landed_files(landing)[0]
    file.path.write_bytes(file.path.read_bytes()[:-9])
    for kind in ("table", "json"):
        done = run(tmp_path, "explain", S1, "--format", kind, DATA_DIR=".")
        assert done.returncode == 1
        assert f"{file.name}: is not the recorded one" in done.stdout.decode()
        assert done.stderr == b"backup-shares: 1 note on landing files, see there\n"


@pytest.mark.parametrize("share_id", ["", "1", S1[:-1], f"{S1}'", "../../etc/passwd", "\x1b[2J"])
def test_what_is_no_id_is_a_usage_error(tmp_path: Path, share_id: str) -> None:
    refused = run(tmp_path, "explain", share_id)
    assert (refused.returncode, refused.stdout) == (2, b"")
    assert "that is no id of a share" in refused.stderr.decode()


def test_before_the_first_sync_there_is_nothing_to_explain(tmp_path: Path) -> None:
    refused = run(tmp_path, "explain", S1)
    assert refused.returncode == 2
    assert "there is no warehouse yet" in refused.stderr.decode()
