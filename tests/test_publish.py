"""One writer and any number of readers of a file: what each sees, and what a killed writer leaves behind.

Other processes are real ones; nobody sleeps, they wait for each other's lines.
Not here: what is written (test_warehouse.py).
"""

import os
import shutil
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from pipelines.errors import ConfigurationError, WarehouseBusyError, WarehouseError
from pipelines.publish import reading, warehouse_file, writing
from tests.crash import Killed, Mortal, listening
from tests.oracle import B1, B2, S1, S2, day, make_observation, make_page, make_share, record, rows

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


# --- previous files ---------------------------------------------------------------------------------------------------


def published_days(address: str) -> dict[str, int]:
    """Every warehouse file of the folder, and how many days are recorded in it."""
    found = {}
    for path in sorted(warehouse_file(address).parent.glob("*.duckdb")):
        with reading(f"duckdb:///{path}") as warehouse:
            found[path.name] = rows(warehouse, "SELECT count(*) FROM observations")[0][0]
    return found


def write_day(address: str, number: int, keep: int) -> None:
    with writing(address, keep=keep) as warehouse:
        record(warehouse, make_observation(day(number)), FIRST[1])


def test_as_many_previous_files_stay_as_are_wanted_and_the_youngest_has_no_number(address):
    for number in range(1, 6):
        write_day(address, number, keep=3)
    assert published_days(address) == {
        "warehouse.duckdb": 5,
        "warehouse.previous.duckdb": 4,
        "warehouse.previous-2.duckdb": 3,
        "warehouse.previous-3.duckdb": 2,
    }
    write_day(address, 6, keep=2)
    assert published_days(address) == {
        "warehouse.duckdb": 6,
        "warehouse.previous.duckdb": 5,
        "warehouse.previous-2.duckdb": 4,
    }
    write_day(address, 7, keep=1)
    assert published_days(address) == {"warehouse.duckdb": 7, "warehouse.previous.duckdb": 6}


def test_a_file_of_somebody_else_is_not_taken_for_a_previous_one(address):
    write_day(address, 1, keep=1)
    others = [f"warehouse.{name}.duckdb" for name in ("previous-9x", "previous-", "older-9")]
    for name in others:
        warehouse_file(address).with_name(name).touch()
    write_day(address, 2, keep=1)
    assert set(others) <= set(files_of(address))


def test_the_new_file_is_flushed_before_it_takes_its_place_and_the_folder_after(address):
    """What a kill does not show, and a power loss does."""
    write_day(address, 1, keep=1)
    heard: list[str] = []
    with listening(heard.append):
        write_day(address, 2, keep=1)
    taken = heard.index(f"before os.rename .{warehouse_file(address).name}.writing")
    assert [heard[:taken].count("after fsync"), heard[taken:].count("after fsync")] == [1, 1]


def test_a_sync_killed_while_it_published_costs_no_previous_file(address):
    """At every file operation of the publishing; the next one goes on."""
    for number in range(1, 4):
        write_day(address, number, keep=3)
    points = 1
    at = 0
    while at < points:
        folder = warehouse_file(address).parent.parent / f"killed-{at}"
        shutil.copytree(warehouse_file(address).parent, folder)
        copy = f"duckdb:///{folder}/warehouse.duckdb"
        mortal = Mortal(at, begin="before fsync")
        with suppress(Killed), listening(mortal):
            write_day(copy, 4, keep=3)
        points = max(points, len(mortal.points) + (at < len(mortal.points)))
        assert 3 in published_days(copy).values(), mortal.points[-1]
        assert published_days(copy)["warehouse.duckdb"] in (3, 4)
        write_day(copy, 5, keep=3)
        days = sorted(published_days(copy).values(), reverse=True)
        assert days[0] in (4, 5)
        assert {3, 2, 1} <= set(days) or days[:3] == [5, 4, 3], mortal.points[-1]
        shutil.rmtree(folder)
        at += 1
    assert points > 8


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
        assert "duckdb:////absolute/path/to/file.duckdb" in str(caught.value)
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_the_log_of_another_program_is_not_published_over(address):
    write(address, *FIRST)
    log = warehouse_file(address).with_name("warehouse.duckdb.wal")
    log.write_bytes(b"what somebody wrote")
    with pytest.raises(WarehouseError, match=r"was killed while .*: delete warehouse\.duckdb\.wal"):
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
