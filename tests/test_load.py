"""From the landing to the warehouse: what is recorded, in which order, what blocks what.

Not here: landing files themselves (test_landing.py), one recording (test_warehouse.py).
"""

import os
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from pipelines.errors import LandingError
from pipelines.landing import landed_files, read_observation
from pipelines.load import (
    load_pending,
    normalize_landed,
    pending_files,
    read_staged,
    stage,
    unrecorded_files,
)
from pipelines.warehouse import Ledger
from tests.oracle import (
    B1,
    B2,
    B3,
    CAROL,
    IN,
    OUT,
    S1,
    S2,
    S3,
    UNPROVEN,
    day,
    dump,
    land,
    make_backup,
    make_observation,
    make_page,
    make_share,
    make_warehouse,
    rows,
)

ONE, TWO = make_page(make_share(S1, B1)), make_page(make_share(S1, B1), make_share(S2, B2))
THREE = make_page(make_share(S1, B1), make_share(S2, B2), make_share(S3, B3))


@pytest.fixture
def warehouse():
    warehouse = make_warehouse()
    yield warehouse
    warehouse.close()


@pytest.fixture
def landing(tmp_path) -> Path:
    return tmp_path / "landing"


@pytest.fixture
def staging(tmp_path) -> Path:
    return tmp_path / "staging"


def recorded(warehouse) -> list[tuple]:
    return rows(warehouse, "SELECT observed_at, direction FROM observations ORDER BY ALL")


# --- order ------------------------------------------------------------------------------------------------------------


def test_what_is_landed_and_not_recorded_is_recorded_oldest_first(warehouse, landing, staging):
    for number in (2, 1, 3):
        land(landing, make_observation(day(number)), TWO if number == 1 else ONE)
    assert [file.observed_at for file in pending_files(landing, warehouse.ledger())] == [day(1), day(2), day(3)]
    assert load_pending(warehouse, landing, staging) == []
    assert pending_files(landing, warehouse.ledger()) == []
    assert rows(warehouse, "SELECT share_id, valid_from FROM backup_share_history ORDER BY 1") == [
        (S1, day(1)),
        (S2, day(1)),
    ]
    assert rows(warehouse, f"SELECT valid_to FROM backup_share_history WHERE share_id = '{S2}'") == [(day(2),)]


def test_observations_of_a_killed_sync_are_loaded_by_the_next_one(warehouse, landing, staging):
    land(landing, make_observation(day(1), sync_id="killed before it could load"), TWO)
    land(landing, make_observation(day(2), sync_id="next"), ONE)
    assert load_pending(warehouse, landing, staging) == []
    question = "SELECT sync_id, shares_granted, shares_withdrawn FROM observations ORDER BY observed_at"
    assert rows(warehouse, question) == [
        ("killed before it could load", 2, 0),
        ("next", 0, 1),
    ]


def test_an_observation_older_than_the_last_recorded_one_is_left_alone_and_named(warehouse, landing, staging):
    land(landing, make_observation(day(2)), ONE)
    load_pending(warehouse, landing, staging)
    before = dump(warehouse)
    late = land(landing, make_observation(day(1), sync_id="late"), TWO)
    other = land(landing, make_observation(day(1), IN, sync_id="late"), TWO)
    assert pending_files(landing, warehouse.ledger()) == [other]
    found = unrecorded_files(landing, warehouse.ledger(), "late")
    assert {unloaded.file.name: unloaded.reason for unloaded in found} == {
        late.name: "a later observation of its listing was recorded first: only a rebuild can use it",
        other.name: "it was not recorded, see the log",
    }
    other.path.unlink()
    assert load_pending(warehouse, landing, staging) == []
    assert dump(warehouse) == before


def test_only_what_the_sync_itself_left_unrecorded_is_named(warehouse, landing):
    land(landing, make_observation(day(1), sync_id="mine"), ONE)
    land(landing, make_observation(day(2), sync_id="another"), ONE)
    found = unrecorded_files(landing, warehouse.ledger(), "mine")
    assert [unloaded.file.observed_at for unloaded in found] == [day(1)]


def test_a_file_that_the_landing_did_not_write_is_not_loaded(warehouse, landing, staging):
    file = land(landing, make_observation(day(1)), ONE)
    for name in ("notes.parquet", ".1-2.tmp", "20260301T060000000000Z_short.parquet"):
        shutil.copy(file.path, file.path.with_name(name))
    assert load_pending(warehouse, landing, staging) == []
    assert recorded(warehouse) == [(day(1), "outgoing")]


def test_pages_of_an_unproven_observation_are_not_even_read(warehouse, landing, staging):
    land(landing, make_observation(day(1), **UNPROVEN), b"whatever was received")
    assert load_pending(warehouse, landing, staging) == []
    assert rows(warehouse, "SELECT is_proven, share_count FROM observations") == [(False, 0)]


# --- damage -----------------------------------------------------------------------------------------------------------


def damage(path: Path, kind: str) -> None:
    whole = path.read_bytes()
    match kind:
        case "empty":
            path.write_bytes(b"")
        case "cut":
            path.write_bytes(whole[: len(whole) // 2])
        case "footer gone":
            path.write_bytes(whole[:-100])
        case "another format":
            path.write_bytes(b"PK\x03\x04" + whole)
        case "another's content":
            other = path.parent.parent / "elsewhere"
            file = land(other, make_observation(day(9)), ONE)
            shutil.copy(file.path, path)
            shutil.rmtree(other)


@pytest.mark.parametrize("kind", ["empty", "cut", "footer gone", "another format", "another's content"])
def test_a_damaged_file_blocks_its_own_listing_only_and_is_named(warehouse, landing, staging, kind):
    land(landing, make_observation(day(1)), ONE)
    bad = land(landing, make_observation(day(2)), TWO)
    waiting = land(landing, make_observation(day(3)), TWO)
    land(landing, make_observation(day(2), IN), TWO)
    whole = bad.path.read_bytes()
    damage(bad.path, kind)
    named, queued = load_pending(warehouse, landing, staging)
    assert named.file == bad
    assert bad.name in named.reason
    assert "restore it from a backup, or move it out of LANDING_DIR" in named.reason
    assert (queued.file, queued.reason) == (waiting, "waits for an earlier observation of its listing")
    assert recorded(warehouse) == [(day(1), "outgoing"), (day(2), "incoming")]
    if kind != "another format":  # its footer is sound: only who reads the pages can know
        left = unrecorded_files(landing, warehouse.ledger(), "a later sync")
        assert [unloaded.file for unloaded in left] == [bad]
    bad.path.write_bytes(whole)
    assert load_pending(warehouse, landing, staging) == []
    assert len(recorded(warehouse)) == 4


@pytest.mark.parametrize(
    "page", [b"", b"{", b'{"shared"', b'{"shared": [{"id": "5', b"[]", b"\xff\xfe", b"not a page", TWO[:-1]]
)
def test_a_page_that_is_none_blocks_its_own_listing_only_and_names_its_file(warehouse, landing, staging, page):
    bad = land(landing, make_observation(day(1)), ONE, page)
    land(landing, make_observation(day(2), IN), TWO)
    (unloaded,) = load_pending(warehouse, landing, staging)
    assert unloaded.file == bad
    assert f"landing file {bad.name} is damaged" in unloaded.reason
    assert recorded(warehouse) == [(day(2), "incoming")]


def test_a_recorded_file_that_was_changed_afterwards_is_not_taken_for_another_observation(warehouse, landing, staging):
    file = land(landing, make_observation(day(1)), ONE)
    load_pending(warehouse, landing, staging)
    before = dump(warehouse)
    file.path.unlink()
    land(landing, make_observation(day(1)), TWO)
    assert load_pending(warehouse, landing, staging) == []
    assert dump(warehouse) == before


# --- what differs from the day before is read alone -------------------------------------------------------------------


def steps_of_a_backup_told_twice(*later: dict) -> list[bytes]:
    first = [make_share(S1, B1), make_share(S2, B1), make_share(S3, B2)]
    return [make_page(*first), make_page(*later, *first[len(later) :])]


@pytest.mark.parametrize(
    "later",
    [
        pytest.param([make_share(S1, B1, backup=make_backup(B1, name="renamed"))], id="one of two shares tells it"),
        pytest.param(
            [make_share(S1, B1, backup=make_backup(B1, name="renamed", updated_at="2026-03-02T00:00:00"))],
            id="and says that it is newer",
        ),
        pytest.param([make_share(S1, B1, backup=None)], id="one of two shares does not tell it any more"),
        pytest.param([make_share(S1, B3)], id="a share changes to a backup that is new"),
        pytest.param([make_share(S1, B2)], id="a share changes to a backup that is known"),
        pytest.param([make_share(S1, B2, backup=make_backup(B2, name="renamed"))], id="and tells it in another way"),
        pytest.param([make_share(S1, B1, to_project_id=CAROL)], id="a share changes, its backup does not"),
    ],
)
def test_a_backup_that_some_shares_tell_as_before_is_read_as_if_all_were_read(tmp_path, later):
    landing, staging = tmp_path / "landing", tmp_path / "staging"
    whole, quick = make_warehouse(), make_warehouse()
    for number, page in enumerate(steps_of_a_backup_told_twice(*later), start=1):
        file = land(landing, make_observation(day(number), distinct_ids=3), page)
        load_pending(whole, landing, staging)
        staged = stage(file, staging, quick.ledger())
        assert load_pending(quick, landing, staging) == []
    assert staged.since is not None
    assert dump(quick) == dump(whole)
    whole.close()
    quick.close()


@pytest.mark.parametrize("name", ["\ud800", "\0", '"}, {"id":'])
def test_a_hostile_name_that_leaves_stops_no_sync(warehouse, landing, staging, name):
    """A stranger chooses it: half a surrogate pair is no text that can be stored, and yet it is JSON."""
    odd = make_share(S2, B2, backup=make_backup(B2, name=name))
    pages = [make_page(make_share(S1, B1), odd, make_share(S3, B3)), make_page(make_share(S1, B1), make_share(S3, B3))]
    for number, page in enumerate(pages, start=1):
        file = land(landing, make_observation(day(number), distinct_ids=4 - number), page)
        stage(file, staging, warehouse.ledger())
        assert load_pending(warehouse, landing, staging) == []
    told = rows(warehouse, "SELECT share_id FROM backup_shares ORDER BY 1")
    assert told == [(S1,), (S3,)]


def test_after_a_backup_was_told_in_two_ways_everything_is_read(tmp_path):
    """Which of the two counts may change although the record that stays is the same bytes."""
    new, old = make_backup(B1, name="new", updated_at="2026-03-01T00:00:00"), make_backup(B1, name="old")
    staying = make_share(S2, B1, backup=old)
    days = [[make_share(S1, B1, backup=new), staying, make_share(S3, B3)], [staying, make_share(S3, B3)]]
    landing, staging = tmp_path / "landing", tmp_path / "staging"
    whole, quick = make_warehouse(), make_warehouse()
    for number, shares in enumerate(days, start=1):
        file = land(landing, make_observation(day(number), distinct_ids=len(shares)), make_page(*shares))
        load_pending(whole, landing, staging)
        stage(file, staging, quick.ledger())
        assert load_pending(quick, landing, staging) == []
    assert dump(quick) == dump(whole)
    assert rows(quick, "SELECT backup_name FROM backups ORDER BY 1")[-1] == ("old",)
    whole.close()
    quick.close()


def test_what_stands_behind_the_list_hides_no_share_that_left(warehouse, landing, staging):
    def linked(*shares: dict) -> bytes:
        return make_page(*shares)[:-1] + b', "shared_links": [{"rel": "next"}]}'

    one, two, three = make_share(S1, B1), make_share(S2, B2), make_share(S3, B3)
    for number, page in enumerate([linked(one, three, two), linked(one)], start=1):
        file = land(landing, make_observation(day(number), distinct_ids=5 - 2 * number), page)
        stage(file, staging, warehouse.ledger())
        assert load_pending(warehouse, landing, staging) == []
    assert rows(warehouse, "SELECT share_id FROM backup_shares") == [(S1,)]
    assert rows(warehouse, "SELECT share_count FROM observations ORDER BY observed_at") == [(3,), (1,)]


def test_after_a_day_with_half_a_surrogate_pair_the_next_day_is_recorded(warehouse, landing, staging):
    """It once ended every sync that followed."""
    odd = make_share(S1, B1, backup=make_backup(B1, name="night\ud800ly"))
    land(landing, make_observation(day(1), distinct_ids=3), make_page(odd, make_share(S2, B2), make_share(S3, B3)))
    load_pending(warehouse, landing, staging)
    later = land(landing, make_observation(day(2), distinct_ids=3), THREE)
    stage(later, staging, warehouse.ledger())
    assert load_pending(warehouse, landing, staging) == []
    told = rows(warehouse, f"SELECT backup_name, valid_from FROM backup_history WHERE backup_id = '{B1}' ORDER BY 2")
    assert told == [("night\ufffdly", day(1)), ("nightly", day(2))]


def test_what_differs_from_another_state_than_the_recorded_one_is_read_whole(warehouse, landing, staging):
    land(landing, make_observation(day(1), distinct_ids=2), TWO)
    load_pending(warehouse, landing, staging)
    third = land(landing, make_observation(day(3), distinct_ids=3), THREE)
    assert stage(third, staging, warehouse.ledger()).since is not None
    land(landing, make_observation(day(2), distinct_ids=1), ONE)  # another sync comes between
    assert load_pending(warehouse, landing, staging) == []
    told = rows(warehouse, "SELECT share_id, valid_from FROM backup_share_history ORDER BY ALL")
    assert told == [(S1, day(1)), (S2, day(1)), (S2, day(3)), (S3, day(3))]


@pytest.mark.parametrize("damage", ["gone", "changed", "another"])
def test_without_the_pages_before_an_observation_is_read_whole(warehouse, landing, staging, damage):
    first = land(landing, make_observation(day(1), distinct_ids=2), TWO)
    load_pending(warehouse, landing, staging)
    if damage == "gone":
        first.path.unlink()
    elif damage == "changed":
        first.path.write_bytes(first.path.read_bytes()[:-1])
    else:
        other = land(landing.with_name("other"), make_observation(day(1), distinct_ids=3), THREE)
        first.path.write_bytes(other.path.read_bytes())
    second = land(landing, make_observation(day(2), distinct_ids=3), THREE)
    assert stage(second, staging, warehouse.ledger()).since is None


# --- staging ----------------------------------------------------------------------------------------------------------

RICH = make_page(
    make_share(S1, B1, updated_at="2026-03-01T00:00:00.123456"),
    make_share(S2, B2, backup=None),
    make_share(S2.replace("5", "6"), B2, created_at="yesterday"),
)


def assert_same(staged, fresh) -> None:
    for name in ("shares", "backups", "rejected"):
        pd.testing.assert_frame_equal(getattr(staged, name), getattr(fresh, name))
    assert staged.conflict_count == fresh.conflict_count


@pytest.mark.parametrize("page", [RICH, make_page()], ids=["rich", "empty"])
def test_staged_frames_are_the_frames_made_fresh(landing, staging, page):
    file = land(landing, make_observation(day(1)), page)
    returned = stage(file, staging, Ledger.empty())
    staged, fresh = read_staged(file, staging), normalize_landed(file, read_observation(file))
    assert staged is not None
    assert_same(staged, fresh)
    assert_same(returned, fresh)


def test_staging_is_used_and_cleared(warehouse, landing, staging):
    file = land(landing, make_observation(day(1)), TWO)
    stage(file, staging, Ledger.empty())
    assert load_pending(warehouse, landing, staging) == []
    assert list(staging.iterdir()) == []
    assert len(rows(warehouse, "SELECT * FROM backup_shares")) == 2


def test_staging_twice_gives_the_same(landing, staging):
    file = land(landing, make_observation(day(1)), TWO)
    stage(file, staging, Ledger.empty())
    stage(file, staging, Ledger.empty())
    assert [path.name for path in staging.iterdir()] == [file.observation_id]


def test_what_a_killed_sync_left_half_staged_is_swept(warehouse, landing, staging):
    ended = subprocess.Popen(["true"])
    ended.wait()
    for pid in (ended.pid, os.getpid()):
        (staging / f".{pid}-half").mkdir(parents=True)
    assert load_pending(warehouse, landing, staging) == []
    assert [path.name for path in staging.iterdir()] == [f".{os.getpid()}-half"]


def test_frames_of_two_syncs_are_never_taken_together(warehouse, landing, staging):
    """One may replace the folder while another reads it."""
    file = land(landing, make_observation(day(1)), TWO)
    stage(file, staging, Ledger.empty())
    other = staging.with_name("other")
    stage(file, other, Ledger.empty())
    shutil.copy(other / file.observation_id / "shares.arrow", staging / file.observation_id)
    assert read_staged(file, staging) is None
    assert load_pending(warehouse, landing, staging) == []


def test_staging_that_cannot_be_written_is_named(landing, staging):
    file = land(landing, make_observation(day(1)), TWO)
    staging.write_text("not a folder")
    with pytest.raises(LandingError, match=r"cannot write to .*/staging \(DATA_DIR\): "):
        stage(file, staging, Ledger.empty())


@pytest.mark.parametrize("part", ["shares.arrow", "backups.arrow", "rejected.arrow", "about.json"])
@pytest.mark.parametrize("kind", ["gone", "empty", "cut"])
def test_damaged_staging_is_ignored(warehouse, landing, staging, part, kind):
    file = land(landing, make_observation(day(1)), TWO)
    stage(file, staging, Ledger.empty())
    path = staging / file.observation_id / part
    if kind == "gone":
        path.unlink()
    else:
        path.write_bytes(b"" if kind == "empty" or part == "about.json" else path.read_bytes()[:-20])
    assert read_staged(file, staging) is None
    assert load_pending(warehouse, landing, staging) == []
    assert len(rows(warehouse, "SELECT * FROM backup_shares")) == 2


def test_listings_of_the_ledger_are_the_listings_of_the_landing(warehouse, landing, staging):
    land(landing, make_observation(day(1)), ONE)
    land(landing, make_observation(day(2), IN), ONE)
    load_pending(warehouse, landing, staging)
    assert warehouse.ledger().last_observed_at == {OUT: day(1), IN: day(2)}
    assert all(warehouse.ledger().is_recorded(file) for file in landed_files(landing))
