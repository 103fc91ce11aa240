"""The landing: a file is there whole or not at all, and a damaged one is never taken for a sound one.

Not here: what the pages mean (test_records.py), how they are received (test_client.py, test_extract.py).
"""

import contextlib
import errno
import hashlib
import os
import random
import resource
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.auth import StaticToken
from pipelines.client import ShareClient
from pipelines.errors import LandingError
from pipelines.extract import observe_listings
from pipelines.landing import (
    LandedFile,
    LandingWriter,
    fsync_folder,
    landed_files,
    read_observation,
    read_pages,
    sha256,
    sweep,
)
from pipelines.observation import Direction, Listing, Observation, Page, ProofStatus, listings
from pipelines.simulator.records import KEY_MATERIAL_MARK
from pipelines.simulator.service import DEMO_TOKEN, Service
from pipelines.simulator.world import World
from tests.fakes import transport

P1 = "0123456789abcdef0123456789abcdef"
P2 = "fedcba9876543210fedcba9876543210"
NOW = datetime(2026, 3, 1, 12, 30, 15, 123456, tzinfo=UTC)
LISTING = Listing("eu-de", P1, Direction.OUTGOING)


def make_page(offset: int = 0, body: bytes = b'{"shared": []}', **changes) -> Page:
    page = Page(offset, 1000, False, body, NOW, NOW + timedelta(seconds=1, microseconds=7), "req-1")
    return replace(page, **changes)


def make_observation(listing: Listing = LISTING, **changes) -> Observation:
    observation = Observation(
        sync_id="sync-1",
        listing=listing,
        observed_at=NOW,
        finished_at=NOW + timedelta(minutes=1, microseconds=1),
        status=ProofStatus.COVERED,
        may_close=True,
        reason="",
        error_code="",
        count_before=2,
        count_after=2,
        distinct_ids=2,
        pass_count=1,
        page_count=2,
        request_count=5,
    )
    return replace(observation, **changes)


def land(root: Path, *pages: Page, **changes) -> LandedFile:
    observation = make_observation(**changes)
    with LandingWriter(root, observation.listing) as writer:
        for page in pages:
            writer.add(page, 1)
        return writer.commit(observation)


def everything_in(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


@pytest.fixture
def root(tmp_path) -> Path:
    return tmp_path / "data" / "landing"


# What is written is read again


def test_pages_come_back_byte_for_byte_in_the_order_of_their_arrival(root):
    bodies = [b'{"shared": []}', b"", b"\x00\xff\n", random.Random(1).randbytes(300_000), "生产\u202e".encode()]
    file = land(root, *(make_page(offset, body) for offset, body in zip((0, 9, 5, 0, 20), bodies, strict=True)))
    assert list(read_pages(file)) == bodies


def test_an_observation_without_a_page_is_landed_too(root):
    file = land(root, status=ProofStatus.FAILED, reason="HTTP 403", error_code="VolumeBackup.0042")
    assert list(read_pages(file)) == []
    assert read_observation(file).status is ProofStatus.FAILED


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"status": ProofStatus.EXACT, "excluded_ids": ("s1", "s2")},
        {"status": ProofStatus.FAILED, "may_close": False, "count_before": None, "count_after": None},
        {"status": ProofStatus.INCOMPLETE, "reason": "生产\n\x00\u202e\ud800'\"", "error_code": "APIG.0308"},
        {"excluded_ids": ("\ud800", "")},
        {"listing": Listing("eu-nl.1", P2, Direction.INCOMING), "sync_id": "x" * 500},
        {"observed_at": datetime(2026, 3, 1, tzinfo=UTC), "finished_at": datetime(2026, 3, 1, tzinfo=UTC)},
        {"count_before": 2**63 - 1, "distinct_ids": 0},
    ],
)
def test_the_proof_comes_back_as_it_was(root, changes):
    file = land(root, make_page(), **changes)
    assert read_observation(file) == make_observation(**changes)


def test_a_reader_without_this_package_finds_the_columns_and_the_proof(root):
    file = land(root, make_page(7, b"body"), make_page(8, b"next", request_id="req-2"))
    table = pq.read_table(file.path)
    assert table.column_names == [
        "page_number",
        "offset",
        "limit",
        "descending",
        "backup_id",
        "requested_at",
        "received_at",
        "request_id",
        "record_count",
        "body",
    ]
    assert table.to_pylist()[1] == {
        "page_number": 1,
        "offset": 8,
        "limit": 1000,
        "descending": False,
        "backup_id": None,
        "record_count": 1,
        "requested_at": NOW,
        "received_at": NOW + timedelta(seconds=1, microseconds=7),
        "request_id": "req-2",
        "body": b"next",
    }
    assert b'"status": "covered"' in pq.read_metadata(file.path).metadata[b"backup_shares.observation"]


def test_the_name_of_a_file_tells_its_listing_its_time_and_its_observation(root):
    file = land(root, make_page())
    id_ = make_observation().observation_id
    assert file.name == f"eu-de/{P1}/outgoing/20260301T123015123456Z_{id_}.parquet"
    assert file.path == root / file.name
    assert landed_files(root) == [LandedFile(root, file.name, LISTING, NOW, id_)] == [file]


def test_files_are_listed_in_the_order_in_which_they_were_observed(root):
    days = [NOW + timedelta(days=day) for day in (2, 0, 1)]
    places = [Listing("eu-de", P2, Direction.INCOMING), LISTING, Listing("a", P2, Direction.OUTGOING)]
    for number, (day, listing) in enumerate(zip(days, places, strict=True)):
        land(root, listing=listing, observed_at=day, sync_id=f"sync-{number}")
    assert [file.observed_at for file in landed_files(root)] == sorted(days)


def test_a_landing_that_is_not_there_yet_is_empty(root):
    assert landed_files(root) == []


def test_the_digest_of_a_file_is_that_of_its_bytes(root, tmp_path):
    file = land(root, make_page())
    file.path.write_bytes(b"abc")
    assert sha256(file) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


# Whole or not at all


def test_before_the_commit_there_is_a_hidden_file_and_nothing_to_load(root):
    with LandingWriter(root, LISTING) as writer:
        writer.add(make_page(), 1)
        [aside] = everything_in(root)
        assert aside.name.startswith(".")
        assert aside.suffix == ".tmp"
        assert landed_files(root) == []
        writer.commit(make_observation())
        assert len(landed_files(root)) == 1
    assert everything_in(root) == [landed_files(root)[0].path]


@pytest.mark.parametrize("pages", [0, 1, 3])
def test_leaving_without_a_commit_leaves_nothing(root, pages):
    with LandingWriter(root, LISTING) as writer:
        for _ in range(pages):
            writer.add(make_page(body=random.Random(2).randbytes(50_000)), 1)
    assert everything_in(root) == []


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_exception_passes_and_leaves_nothing(root, error):
    def fail_in_the_middle() -> None:
        with LandingWriter(root, LISTING) as writer:
            writer.add(make_page(), 1)
            raise error

    with pytest.raises(error):
        fail_in_the_middle()
    assert everything_in(root) == []


def test_the_same_observation_is_written_once(root):
    file = land(root, make_page(body=b"first"))
    with pytest.raises(LandingError, match="exists already"):
        land(root, make_page(body=b"second"))
    assert list(read_pages(file)) == [b"first"]
    assert everything_in(root) == [file.path]


def test_two_writers_of_one_listing_do_not_meet(root):
    with LandingWriter(root, LISTING) as one, LandingWriter(root, LISTING) as other:
        one.add(make_page(body=b"one"), 1)
        other.add(make_page(body=b"other"), 1)
        first = one.commit(make_observation(sync_id="sync-1"))
        second = other.commit(make_observation(sync_id="sync-2"))
    assert [list(read_pages(file)) for file in (first, second)] == [[b"one"], [b"other"]]


# Who may read it


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("mask", [0o022, 0o000, 0o077])
def test_only_the_owner_may_read_files_and_folders(root, mask):
    before = os.umask(mask)
    try:
        with LandingWriter(root, LISTING) as writer:
            assert [mode_of(path) for path in everything_in(root)] == [0o600]
            file = writer.commit(make_observation())
    finally:
        os.umask(before)
    assert mode_of(file.path) == 0o600
    folders = [root, *(path for path in root.rglob("*") if path.is_dir())]
    assert {path.name for path in folders} == {"landing", "eu-de", P1, "outgoing"}
    assert {mode_of(path) for path in folders} == {0o700}


def test_a_landing_folder_that_was_there_keeps_its_rights(root):
    root.mkdir(parents=True)
    root.chmod(0o750)
    land(root)
    assert mode_of(root) == 0o750


def test_neither_the_token_nor_key_material_reaches_the_disk(root):
    service = Service(World(shares=200), token="gAAAAABcanaryToken")
    client = ShareClient("http://simulator", StaticToken("gAAAAABcanaryToken"), transport=transport(service))
    with contextlib.closing(client):
        wanted = listings("eu-de", service.world.projects)
        landed = list(observe_listings(dict.fromkeys(wanted, client), root, sync_id="sync-1", now=lambda: NOW))
    # The pages are compressed on the disk: both as they lie there and as they are read.
    contents = [path.read_bytes() for path in everything_in(root)]
    contents += [body for file, _ in landed for body in read_pages(file)]
    assert sum(body.count(b'"backup_id"') for body in contents) >= 200
    assert not any(KEY_MATERIAL_MARK.encode() in content for content in contents)
    assert not any(b"gAAAAABcanaryToken" in content or DEMO_TOKEN.encode() in content for content in contents)


# Damage


def outcome(file: LandedFile) -> tuple[Observation, list[bytes]] | None:
    """What is read; None if it is refused. Anything else than LandingError fails the test."""
    try:
        return read_observation(file), list(read_pages(file))
    except LandingError as error:
        text = str(error)
    assert file.name in text
    assert "LANDING_DIR" in text
    assert text.isprintable()
    return None


@pytest.fixture
def sound(root) -> LandedFile:
    bodies = [random.Random(seed).randbytes(2000) for seed in range(3)]
    return land(root, *(make_page(number, body) for number, body in enumerate(bodies)), page_count=3)


@pytest.mark.parametrize(
    "content",
    [b"", b"PAR1", b"PAR1PAR1", b"\x00" * 5000, b"not a table\n" * 100, b"PAR1" + b"\xff" * 100 + b"PAR1", b"{}"],
    ids=lambda content: f"{content[:12]!r}",
)
def test_a_file_that_is_not_parquet_is_refused_by_name(sound, content):
    sound.path.write_bytes(content)
    assert outcome(sound) is None


def test_a_file_cut_anywhere_is_refused(sound):
    whole = sound.path.read_bytes()
    for end in range(0, len(whole), 131):
        sound.path.write_bytes(whole[:end])
        assert outcome(sound) is None, end


def test_a_file_that_vanished_is_refused(sound):
    sound.path.unlink()
    assert outcome(sound) is None


def test_a_folder_in_the_place_of_a_file_is_refused(sound):
    sound.path.unlink()
    sound.path.mkdir()
    assert outcome(sound) is None


def flipped(whole: bytes, position: int, bit: int) -> bytes:
    return whole[:position] + bytes([whole[position] ^ bit]) + whole[position + 1 :]


def footer_begins(whole: bytes) -> int:
    return len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")


def test_a_flipped_bit_in_the_pages_is_noticed(sound):
    whole = sound.path.read_bytes()
    expected = outcome(sound)
    rng = random.Random(3)
    for position in rng.sample(range(4, footer_begins(whole)), 100):
        sound.path.write_bytes(flipped(whole, position, 1 << rng.randrange(8)))
        assert outcome(sound) in (None, expected), position


def test_a_flipped_bit_in_the_footer_is_noticed(sound):
    whole = sound.path.read_bytes()
    expected = outcome(sound)
    rng = random.Random(4)
    for position in rng.sample(range(footer_begins(whole), len(whole)), 100):
        sound.path.write_bytes(flipped(whole, position, 1 << rng.randrange(8)))
        assert outcome(sound) in (None, expected), position


@pytest.mark.parametrize("place", [b'"count_before": 2', b'"page_count": 3', b'"finished_at": "2', b'"reason"'])
def test_another_digit_or_letter_in_the_proof_is_noticed(sound, place):
    """It would still be JSON, and Parquet has no checksum of its footer."""
    whole = sound.path.read_bytes()
    sound.path.write_bytes(flipped(whole, whole.index(place) + len(place) - 1, 1))
    assert outcome(sound) is None


def test_no_flipped_bit_where_the_footer_tells_of_the_bodies_loses_a_page(sound):
    """Some of them make the reader skip a page without a word."""
    whole = sound.path.read_bytes()
    expected = outcome(sound)
    told = whole.index(b"\x04body", whole.index(b"body", footer_begins(whole)) + 4)
    for position in range(told - 20, told + 20):
        for bit in range(8):
            sound.path.write_bytes(flipped(whole, position, 1 << bit))
            assert outcome(sound) in (None, expected), (position, bit)


def test_a_parquet_file_of_somebody_else_is_refused(sound):
    pq.write_table(pa.table({"body": [b"x"]}), sound.path)
    assert outcome(sound) is None


def put_footer(file: LandedFile, footer: bytes) -> None:
    """Write the file anew with another footer, as somebody would who knows the format."""
    metadata = {
        b"backup_shares.observation": footer,
        b"backup_shares.observation.sha256": hashlib.sha256(footer).hexdigest().encode(),
    }
    table = pq.read_table(file.path)
    pq.write_table(table.replace_schema_metadata(metadata), file.path)


def footer_of(file: LandedFile) -> bytes:
    return pq.read_metadata(file.path).metadata[b"backup_shares.observation"]


def test_a_file_that_was_written_anew_is_as_good_as_the_first(sound):
    expected = outcome(sound)
    put_footer(sound, footer_of(sound))
    assert outcome(sound) == expected


@pytest.mark.parametrize(
    "footer",
    [
        *(b"", b"{}", b"[]", b"null", b"5", b'"text"', b"\xff", b'{"format": 1}', b'{"format": 2}', b"[" * 100_000),
        b'{"format": 2, "listing": null}',
        b'{"format": 2, "listing": "eu-de"}',
    ],
    ids=lambda footer: repr(footer[:30]),
)
def test_a_footer_that_holds_no_observation_is_refused(sound, footer):
    put_footer(sound, footer)
    assert outcome(sound) is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"format": 2', b'"format": 1'),
        (b'"covered"', b'"certain"'),
        (b'"outgoing"', b'"incoming"'),
        (b'"outgoing"', b'"sideways"'),
        (P1.encode(), P2.encode()),
        (b'"sync-1"', b'"sync-2"'),
        (b'"eu-de"', b'"eu-nl"'),
        (b"2026-03-01T12:30:15", b"2026-03-01T12:30:16"),
        (b"2026-03-01T12:30:15", b"yesterday"),
        (b'"reason"', b'"season"'),
    ],
)
def test_a_footer_with_another_observation_is_refused(sound, old, new):
    footer = footer_of(sound)
    assert old in footer
    put_footer(sound, footer.replace(old, new))
    assert outcome(sound) is None


def test_a_file_that_was_renamed_or_moved_is_refused(sound, root):
    pieces = sound.name.split("/")
    names = {
        "project": f"eu-de/{P2}/outgoing/{pieces[3]}",
        "direction": f"eu-de/{P1}/incoming/{pieces[3]}",
        "region": f"eu-nl/{P1}/outgoing/{pieces[3]}",
        "time": sound.name.replace("20260301T", "20260302T"),
        "id": sound.name.replace(make_observation().observation_id, make_observation(sync_id="s2").observation_id),
    }
    for what, name in names.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(sound.path, root / name)
        [copy] = [file for file in landed_files(root) if file.name == name]
        assert outcome(copy) is None, what


def test_a_damaged_file_does_not_hide_the_others(sound, root):
    other = land(root, observed_at=NOW + timedelta(days=1), sync_id="sync-2")
    sound.path.write_bytes(b"")
    assert landed_files(root) == [sound, other]
    assert outcome(other) is not None


def test_files_that_the_landing_did_not_write_are_ignored(sound, root):
    folder, name = sound.path.parent, sound.path.name
    id_ = make_observation().observation_id
    strays = [
        folder / f".{name}",
        folder / f"{name}.bak",
        folder / f"copy of {name}",
        folder / "20260301T123015Z.parquet",
        folder / f"99999999T999999999999Z_{id_}.parquet",
        folder / f"20260230T123015123456Z_{id_}.parquet",
        folder / f"٢٠٢٦٠٣٠١T123015123456Z_{id_}.parquet",
        folder / f"20260301T123015123456Z_{id_.upper()}.parquet",
        folder / f"{name}\n",
        folder / ".1234-abcd.tmp",
        folder / "deeper" / name,
        folder.parent / name,
        root / name,
        root / "eu-de" / P1 / "sideways" / name,
        root / "eu-de" / "no-project" / "outgoing" / name,
        root / "eu-de" / P1.upper() / "outgoing" / name,
        root / "README.md",
    ]
    for stray in strays:
        stray.parent.mkdir(parents=True, exist_ok=True)
        stray.write_bytes(b"")
    assert landed_files(root) == [sound]


# The disk says no


@contextlib.contextmanager
def files_limited_to(size: int) -> Iterator[None]:
    """The kernel refuses to let any file of this process grow beyond `size`: what a full disk does, without one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size", [0, 2, 100, 5_000, 20_000, 60_000])
def test_a_full_disk_is_an_error_that_names_the_setting_and_leaves_nothing(root, size):
    pages = [make_page(number, random.Random(number).randbytes(10_000)) for number in range(10)]
    with files_limited_to(size), pytest.raises(LandingError, match=r"\(LANDING_DIR\): file too large$"):
        land(root, *pages)
    assert everything_in(root) == []


def test_a_disk_that_is_full_at_the_very_end_leaves_nothing(root):
    length = land(root, make_page()).path.stat().st_size
    with files_limited_to(length - 1), pytest.raises(LandingError, match=r"\(LANDING_DIR\)"):
        land(root, make_page(), sync_id="sync-2")
    assert len(everything_in(root)) == 1


def test_a_full_disk_is_an_error_even_when_nothing_was_committed(root):
    """The last page may still wait in a buffer when a walk fails and the file is given up."""
    with contextlib.suppress(LandingError), files_limited_to(0), LandingWriter(root, LISTING) as writer:
        writer.add(make_page(), 1)
    assert everything_in(root) == []


@pytest.mark.parametrize("call", ["fsync", "rename"])
def test_a_disk_that_fails_at_the_commit_leaves_nothing(root, call, monkeypatch):
    def fail(*_, **__):
        raise OSError(errno.EIO, "Input/output error")

    with LandingWriter(root, LISTING) as writer:
        writer.add(make_page(), 1)
        with monkeypatch.context() as patch:
            patch.setattr(os, call, fail)
            with pytest.raises(LandingError, match=r"\(LANDING_DIR\): input/output error$"):
                writer.commit(make_observation())
    assert everything_in(root) == []


@pytest.mark.parametrize("reason", [errno.EROFS, errno.EACCES, errno.ENOSPC, errno.EMFILE])
def test_a_folder_that_takes_no_file_is_named(root, reason, monkeypatch):
    def fail(*_, **__):
        raise OSError(reason, os.strerror(reason))

    monkeypatch.setattr(os, "open", fail)
    with pytest.raises(LandingError) as caught:
        LandingWriter(root, LISTING)
    assert str(caught.value) == (
        f"cannot write to the landing folder {root} (LANDING_DIR): {os.strerror(reason).lower()}"
    )


def test_a_file_in_the_place_of_a_folder_is_named(root):
    root.parent.mkdir(parents=True)
    root.write_bytes(b"")
    with pytest.raises(LandingError, match="LANDING_DIR"):
        LandingWriter(root, LISTING)


def test_every_folder_that_is_made_on_the_way_is_flushed_into_the_one_above(root, monkeypatch):
    flushed = []
    fsync = os.fsync

    def note(descriptor):
        flushed.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    with LandingWriter(root, LISTING) as writer:
        file = writer.commit(make_observation())
    made = [path for path in file.path.parents if path.is_relative_to(root.parent)]
    assert flushed[:-2] == [path.parent for path in reversed(made)]
    assert flushed[-1] == file.path.parent


def test_a_folder_that_was_renamed_can_be_flushed(root):
    root.mkdir(parents=True)
    fsync_folder(root)
    with pytest.raises(OSError, match="No such file"):
        fsync_folder(root / "nowhere")


def test_what_a_killed_process_left_half_written_is_swept_away_and_nothing_else(root):
    file = land(root, make_page())
    with subprocess.Popen([sys.executable, "-c", "pass"]) as ended:
        pass
    dead = file.path.with_name(f".{ended.pid}-0a1b2c3d.tmp")
    mine = file.path.with_name(f".{os.getpid()}-0a1b2c3d.tmp")
    for leftover in (dead, mine):
        leftover.write_bytes(b"half")
    sweep(root)
    assert not dead.exists()
    assert mine.exists()
    assert file.path.exists()


def test_a_file_of_another_format_is_not_called_damaged(sound):
    put_footer(sound, footer_of(sound).replace(b'"format": 2', b'"format": 1'))
    with pytest.raises(LandingError, match="is of format 1, and this program reads 2: use the one that wrote it"):
        read_observation(sound)
