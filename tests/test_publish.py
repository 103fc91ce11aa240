"""One writer and any number of readers of a file: what each sees, and what a killed writer leaves behind.

Other processes are real ones; nobody sleeps, they wait for each other's lines.
Not here: what is written (test_warehouse.py).
"""

import os
import random
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipelines.errors import ConfigurationError, WarehouseBusyError, WarehouseError
from pipelines.load import load_pending
from pipelines.publish import reading, warehouse_file, writing
from tests.oracle import B1, B2, S1, S2, day, dump, land, make_id, make_observation, make_page, make_share, record, rows

FIRST = make_observation(day(1)), make_page(make_share(S1, B1))
SECOND = make_observation(day(2)), make_page(make_share(S1, B1), make_share(S2, B2))
SHARES = "SELECT share_id FROM backup_shares ORDER BY 1"


@pytest.fixture
def address(tmp_path) -> str:
    return f"duckdb:///{tmp_path / 'house' / 'warehouse.duckdb'}"


def write(address: str, *observation) -> None:
    with writing(address) as warehouse:
        record(warehouse, *observation)


def shares(address: str) -> list[str]:
    with reading(address) as warehouse:
        return [share_id for (share_id,) in rows(warehouse, SHARES)]


def files_of(address: str) -> list[str]:
    return sorted(os.listdir(warehouse_file(address).parent))


PUBLISHED = ["warehouse.duckdb", "warehouse.duckdb.lock"]
WITH_PREVIOUS = ["warehouse.duckdb", "warehouse.duckdb.lock", "warehouse.previous.duckdb"]


@contextmanager
def another_process(code: str, *arguments: str):
    """Python in a process of its own; it speaks by lines, and is gone at the end."""
    command = [sys.executable, "-c", code, *arguments]
    with subprocess.Popen(
        command, cwd=Path(__file__).parent.parent, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def say(process, line: str = "go on") -> None:
    process.stdin.write(line + "\n")
    process.stdin.flush()


READER = """
import sys
from pipelines.publish import reading
with reading(sys.argv[1]) as warehouse:
    for _ in range(2):
        print(warehouse.query("SELECT count(*) AS n FROM backup_shares").to_pylist()[0]["n"], flush=True)
        sys.stdin.readline()
"""

WRITER = """
import sys
from pipelines.publish import writing
with writing(sys.argv[1]) as warehouse:
    print("writing", flush=True)
    sys.stdin.readline()
print("done", flush=True)
"""


# --- readers ----------------------------------------------------------------------------------------------------------


def test_a_reader_in_another_process_and_a_sync_do_not_disturb_each_other(address):
    write(address, *FIRST)
    with another_process(READER, address) as reader:
        assert reader.stdout.readline() == "1\n"
        write(address, *SECOND)
        assert shares(address) == [S1, S2], "a new reader sees the new state"
        say(reader)
        assert reader.stdout.readline() == "1\n", "the reader that was there goes on seeing its own"
        say(reader)
        assert reader.wait(30) == 0


def test_before_anything_was_published_there_is_nothing_to_read(address):
    with reading(address) as warehouse:
        assert warehouse is None


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO observations SELECT * FROM observations",
        "DELETE FROM observations",
        "CREATE TABLE mine (n integer)",
        "COPY observations TO '{folder}/stolen.csv'",
        "ATTACH '{folder}/other.duckdb' AS other",
        "SELECT * FROM read_csv('{folder}/secret.csv')",
        "SELECT * FROM read_text('{folder}/secret.csv')",
        "SELECT * FROM '{folder}/secret.csv'",
        "INSTALL httpfs",
        "SET enable_external_access = true",
    ],
)
def test_a_reader_can_neither_write_nor_touch_another_file(address, tmp_path, statement):
    write(address, *FIRST)
    (tmp_path / "secret.csv").write_text("secret\n1\n")
    before = sorted(path.name for path in tmp_path.rglob("*"))
    with reading(address) as warehouse, pytest.raises(WarehouseError):
        warehouse.query(statement.format(folder=tmp_path))
    assert sorted(path.name for path in tmp_path.rglob("*")) == before
    assert shares(address) == [S1]


def test_a_damaged_file_is_a_warehouse_error_and_not_replaced(address):
    write(address, *FIRST)
    file = warehouse_file(address)
    file.write_bytes(b"this is not a database" * 1000)
    with reading(address) as warehouse, pytest.raises(WarehouseError):
        warehouse.ledger()
    with pytest.raises(WarehouseError):
        write(address, *SECOND)
    assert file.read_bytes().startswith(b"this is not a database")
    assert files_of(address) == PUBLISHED


# --- one writer -------------------------------------------------------------------------------------------------------


def test_what_was_published_before_is_kept_and_can_be_read(address):
    write(address, *FIRST)
    assert files_of(address) == PUBLISHED
    write(address, *SECOND)
    assert files_of(address) == WITH_PREVIOUS
    assert shares(address) == [S1, S2]
    assert shares(address.replace("warehouse.duckdb", "warehouse.previous.duckdb")) == [S1]


class Stop(BaseException):
    pass


@pytest.mark.parametrize("error", [ValueError, Stop, KeyboardInterrupt])
def test_nothing_is_published_when_the_block_raises(address, error):
    write(address, *FIRST)
    before = warehouse_file(address).read_bytes()
    with pytest.raises(error), writing(address) as warehouse:  # noqa: PT012 - the block is what is tested
        record(warehouse, *SECOND)
        raise error
    assert warehouse_file(address).read_bytes() == before
    assert files_of(address) == PUBLISHED


def test_nothing_is_published_that_is_still_in_the_log(address):
    write(address, *FIRST)
    not_whole = pytest.raises(WarehouseError, match="not closed whole")
    with not_whole, writing(address) as warehouse:
        held = warehouse._engine.raw_connection()
        record(warehouse, *SECOND)
    held.invalidate()
    assert shares(address) == [S1]
    write(address, *SECOND)
    assert shares(address) == [S1, S2]


@pytest.mark.parametrize("content", [b"", b"half a copy" * 1000])
def test_leftovers_of_a_killed_writer_are_cleaned(address, content):
    write(address, *FIRST)
    folder = warehouse_file(address).parent
    for leftover in (".warehouse.duckdb.writing", ".warehouse.duckdb.writing.wal", ".warehouse.duckdb.keeping"):
        (folder / leftover).write_bytes(content)
    write(address, *SECOND)
    assert shares(address) == [S1, S2]
    assert files_of(address) == WITH_PREVIOUS


def test_a_second_writer_waits_for_the_first(address):
    with another_process(WRITER, address) as first:
        assert first.stdout.readline() == "writing\n"
        naps: list[float] = []

        def sleep(seconds: float) -> None:
            naps.append(seconds)
            say(first)
            assert first.stdout.readline() == "done\n"
            assert first.wait(30) == 0

        with writing(address, sleep=sleep) as warehouse:
            record(warehouse, *FIRST)
    assert len(naps) == 1
    assert shares(address) == [S1]


def test_a_second_writer_gives_up_and_names_the_process_that_holds_it(address):
    with another_process(WRITER, address) as first:
        assert first.stdout.readline() == "writing\n"
        naps: list[float] = []
        busy = pytest.raises(WarehouseBusyError, match=rf"written by process {first.pid}: .* loaded by the next sync")
        with busy, writing(address, wait=60, sleep=naps.append):
            raise AssertionError("two writers at once")
        assert sum(naps) == pytest.approx(60, abs=0.3)
        first.kill()
        first.wait()
        write(address, *FIRST)  # the lock died with its holder
    assert shares(address) == [S1]


# --- killed writers ---------------------------------------------------------------------------------------------------

SYNC = """
import sys
from pathlib import Path
from pipelines.load import load_pending
from pipelines.publish import writing
address, landing, staging = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
print("ready", flush=True)
with writing(address) as warehouse:
    assert load_pending(warehouse, landing, staging) == []
print("published", flush=True)
"""


def dump_of(address: str):
    with reading(address) as warehouse:
        return dump(warehouse)


def make_many(count: int, **changes) -> list:
    return [make_share(make_id("5", n), make_id("b", n // 2), **changes) for n in range(count)]


def sync(address: str, landing: Path, staging: Path) -> None:
    with writing(address) as warehouse:
        assert load_pending(warehouse, landing, staging) == []


@pytest.mark.slow
def test_a_writer_killed_at_any_moment_leaves_the_state_before_or_after_and_needs_no_hands(tmp_path):
    landing, staging = tmp_path / "landing", tmp_path / "staging"
    address = f"duckdb:///{tmp_path / 'before' / 'warehouse.duckdb'}"
    land(landing, make_observation(day(1)), make_page(*make_many(1000)))
    sync(address, landing, staging)
    before = dump_of(address)
    for number in (2, 3, 4):
        changed = make_many(1000 - number, updated_at=f"2026-02-1{number}T00:00:00")
        land(landing, make_observation(day(number)), make_page(*changed))
    shutil.copytree(tmp_path / "before", tmp_path / "after")
    sync(address.replace("/before/", "/after/"), landing, staging)
    after = dump_of(address.replace("/before/", "/after/"))
    assert before != after
    seed = 20260301
    rng, outcomes = random.Random(seed), []
    for attempt in range(15):
        killed_at = rng.uniform(0, 1.2)
        where = f"seed {seed}, attempt {attempt}, killed {killed_at:.3f} s after its start"
        here = address.replace("/before/", f"/{attempt}/")
        shutil.copytree(tmp_path / "before", tmp_path / str(attempt))
        with another_process(SYNC, here, str(landing), str(staging)) as writer:
            assert writer.stdout.readline() == "ready\n"
            try:
                writer.wait(killed_at)
            except subprocess.TimeoutExpired:
                writer.kill()
            writer.wait()
        found = dump_of(here)
        assert found in (before, after), where
        outcomes.append(found == after)
        sync(here, landing, staging)
        assert dump_of(here) == after, where
        assert files_of(here) == WITH_PREVIOUS, where
    assert False in outcomes, "no kill came before the publish: kill earlier"


# --- addresses and places ---------------------------------------------------------------------------------------------


def test_a_folder_that_cannot_be_written_is_a_warehouse_error(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    address = f"duckdb:///{tmp_path / 'file' / 'warehouse.duckdb'}"
    refused = pytest.raises(WarehouseError, match=r"cannot write the warehouse .*/file/warehouse\.duckdb: ")
    with refused, writing(address):
        raise AssertionError("opened a warehouse that cannot be there")


def test_a_disk_that_fills_while_the_copy_is_made_leaves_the_published_file(address, monkeypatch):
    write(address, *FIRST)

    def fill(source, target):
        target.write_bytes(source.read_bytes()[:5000])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pipelines.duckdb_file.shutil.copyfile", fill)
    with pytest.raises(WarehouseError, match="no space left on device"):
        write(address, *SECOND)
    assert shares(address) == [S1]
    assert files_of(address) == PUBLISHED


@pytest.mark.parametrize(
    "password", ["p@canary", "canary@s", "canary@s/ecret", "p@canary:5@x", "p@s:canary", "@canary"]
)
def test_a_password_that_is_not_written_for_a_url_is_not_taken_for_a_host(password):
    address = f"postgresql+psycopg://loader:{password}@db/warehouse"
    with pytest.raises(ConfigurationError, match="WAREHOUSE_URL") as caught, writing(address):
        raise AssertionError("opened")
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("postgresql://loader:canary@db/warehouse", "is of the kind postgresql"),
        ("sqlite:///canary.db", "is of the kind sqlite"),
        ("duckdb://", "names no file"),
        ("duckdb:///", "names no file"),
        ("duckdb:///:memory:", "names no file"),
        ("duckdb://loader:canary@host/warehouse.duckdb", "names no file"),
        ("/var/lib/canary.duckdb", "is not a URL"),
        ("loader:canary@host", "is not a URL"),
        ("duckdb://host:canary/file", "is not a URL"),
        ("", "is not a URL"),
    ],
)
def test_an_address_of_another_kind_is_refused_without_repeating_it(address, reason):
    for use in (writing, reading):
        with pytest.raises(ConfigurationError, match=reason) as caught, use(address):
            raise AssertionError("opened")
        assert "canary" not in str(caught.value)
        assert "duckdb:///path/to/file.duckdb" in str(caught.value)
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_the_log_of_another_program_is_not_published_over(address):
    write(address, *FIRST)
    log = warehouse_file(address).with_name("warehouse.duckdb.wal")
    log.write_bytes(b"what somebody wrote")
    with pytest.raises(WarehouseError, match=r"close it, or delete warehouse\.duckdb\.wal"):
        write(address, *SECOND)
    log.unlink()
    write(address, *SECOND)
    assert shares(address) == [S1, S2]


def test_a_log_whose_warehouse_was_deleted_does_not_spoil_the_next(address):
    write(address, *FIRST)
    warehouse_file(address).rename(warehouse_file(address).with_name("warehouse.duckdb.wal"))
    write(address, *FIRST)
    assert shares(address) == [S1]


def test_a_warehouse_behind_a_link_stays_behind_it(address, tmp_path):
    write(address, *FIRST)
    link = tmp_path / "link.duckdb"
    link.symlink_to(warehouse_file(address))
    write(f"duckdb:///{link}", *SECOND)
    assert link.is_symlink()
    assert shares(address) == [S1, S2]
