"""A warehouse in a DuckDB file: one writer on a private copy, published whole; any number of readers.

DuckDB allows either one writer or many readers of a file. So a sync works on a private copy and publishes it by an
atomic rename: readers never wait for it, it never waits for readers, and a kill at any moment leaves the published
file whole. A lock file admits one writer at a time; previous files are kept beside the published one.
Not here: what is written (warehouse.py), a warehouse on a server (postgres.py).
"""

import fcntl
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import URL

from pipelines.errors import ConfigurationError, WarehouseBusyError, WarehouseError, printable, system_words
from pipelines.landing import fsync_folder
from pipelines.warehouse import Warehouse


@contextmanager
def writing(
    url: URL, *, wait: float, keep: int, sleep: Callable[[float], None], afresh: bool = False
) -> Iterator[Warehouse]:
    """The warehouse for one writer; what it wrote is published when the block ends well, else nothing is.

    `keep`: how many files that were published before stay. `afresh`: the copy begins empty, and what it takes the
    place of is kept under a name of its own: a damaged file must not cost the last good one.
    Raises WarehouseBusyError when another writer does not end within `wait` seconds.
    """
    published = warehouse_file(url)
    try:
        published.parent.mkdir(parents=True, exist_ok=True)
        with _only_writer(published, wait, sleep):
            aside = published.with_name(f".{published.name}.writing")
            warehouse = Warehouse(open_engine(aside, published, config=_PRIVATE_COPY))
            _discard(aside)
            try:
                _outwait_other_programs(published, wait, sleep)
                _refuse_foreign_log(published)
                if published.exists() and not afresh:
                    shutil.copyfile(published, aside)
                warehouse.migrate()
                yield warehouse
                warehouse.close()
                _publish(aside, published, None if afresh else keep)
            finally:
                warehouse.close()
                _discard(aside)
    except OSError as error:
        raise WarehouseError(f"cannot write the warehouse {published}: {system_words(error)}") from None


@contextmanager
def reading(url: URL) -> Iterator[Warehouse | None]:
    """The published warehouse, read-only and shut off from other files; None where nothing was published yet."""
    published = warehouse_file(url)
    if not published.exists():
        yield None
        return
    config = {"enable_external_access": "false", "autoinstall_known_extensions": "false"}
    warehouse = Warehouse(open_engine(published, published, read_only=True, config=config))
    try:
        yield warehouse
    finally:
        warehouse.close()


@contextmanager
def aside(file: Path) -> Iterator[Warehouse]:
    """A warehouse with empty tables and no views in a file that is not there yet; nobody else knows of it."""
    warehouse = Warehouse(open_engine(file, file, config=_PRIVATE_COPY))
    try:
        warehouse.make_bare()
        yield warehouse
    finally:
        warehouse.close()


def current_writer(published: Path) -> str | None:
    """The process that writes the warehouse now; None: nobody does. Nothing is made, and nobody is kept waiting."""
    try:
        with published.with_name(f"{published.name}.lock").open() as lock:
            try:
                # Shared and for an instant only: a sync that comes right then tries again.
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return _holder(lock)
    except OSError:
        return None
    return None


def foreign_log(published: Path) -> str | None:
    """The name of a log beside the warehouse: another program has it open for writing, or was killed while it had."""
    log = _log_of(published)
    return log.name if published.exists() and log.exists() else None


def warehouse_file(url: URL) -> Path:
    """The file that the URL names; raises ConfigurationError where it names none."""
    if not url.database or url.database == ":memory:" or url.host:
        raise ConfigurationError("WAREHOUSE_URL names no file: write duckdb:////absolute/path/to/file.duckdb")
    return Path(url.database).resolve()


OLDEST_CLIENT = "1.4"
"""DuckDB that an analyst needs at least. Older ones open the file, but never come to an end with `findings`."""

_PRIVATE_COPY = {
    "checkpoint_threshold": "4GB",
    "threads": "1",
    "storage_compatibility_version": f"v{OLDEST_CLIENT}.0",
}
"""Nothing of a private copy has to survive a kill: one checkpoint at its end does for many along the way."""


def open_engine(file: Path, published: Path, **connect_args: Any) -> Engine:
    """The engine of a file; `published`: whose earlier states are named where this one cannot be opened."""
    url = URL.create("duckdb", database=str(file))
    engine = create_engine(url, connect_args=connect_args, hide_parameters=True)
    # A statement is put into words once. The dialect forbids it only because nobody there had tried it: its pull
    # request 268.
    type(engine.dialect).supports_statement_cache = True

    @event.listens_for(engine, "do_connect")
    def _name_the_last_good_one(dialect: Any, _: Any, arguments: Any, options: Any) -> Any:
        try:
            return dialect.connect(*arguments, **options)
        except duckdb.Error as error:
            previous, told = previous_file(published), str(error).split("\n", 1)[0]
            if _HELD in told or not previous.exists():
                raise
            advice = f"if the file is damaged: {previous.name} is the state before, put it in its place"
            raise duckdb.IOException(f"{told.rstrip('!. ')}; {advice}") from None

    @event.listens_for(engine, "connect")
    def _speak_utc(connection: Any, _: Any) -> None:
        connection.execute("SET TimeZone = 'UTC'")

    return engine


_HELD = "Conflicting lock"
"""DuckDB's words where another process has a file open; its number follows."""


@contextmanager
def _only_writer(published: Path, wait: float, sleep: Callable[[float], None]) -> Iterator[None]:
    # The kernel drops the lock when its holder dies, however it dies.
    with published.with_name(f"{published.name}.lock").open("a+") as lock:
        waited = 0.0
        while not _try_lock(lock):
            if waited >= wait:
                raise WarehouseBusyError(
                    f"{published} is being written by process {_holder(lock)}: wait for it to end, or stop it; "
                    "what was observed meanwhile is kept and loaded by the next sync"
                )
            sleep(0.2)
            waited += 0.2
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def _holder(lock: Any) -> str:
    lock.seek(0)
    return printable(lock.read(40)) or "unknown"


def _try_lock(lock: Any) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _outwait_other_programs(published: Path, wait: float, sleep: Callable[[float], None]) -> None:
    """A program that has the file open for writing would go on in a file that is replaced: its work would be lost."""
    waited = 0.0
    while problem := _other_program(published):
        if waited >= wait:
            raise WarehouseError(f"another program has {published} open for writing, close it: {problem}")
        sleep(0.2)
        waited += 0.2


def _other_program(published: Path) -> str:
    """What DuckDB says of the process that has the file open for writing; empty if none has."""
    if not published.exists():
        return ""
    with published.open("rb") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            try:
                duckdb.connect(str(published), read_only=True).close()
            except duckdb.Error as error:
                return printable(str(error).split("\n", 1)[0], 300)
    return ""


def _refuse_foreign_log(published: Path) -> None:
    """A log beside the published file that nobody has open: another program was killed while it wrote there."""
    if name := foreign_log(published):
        raise WarehouseError(f"another program was killed while it had {published} open for writing: delete {name}")
    # A log whose file is gone would spoil the next one.
    _log_of(published).unlink(missing_ok=True)


def previous_file(published: Path, age: int = 1) -> Path:
    """Where the state before the published one is kept; with `age` 2 the one before that, and so on."""
    number = "" if age == 1 else f"-{age}"
    return published.with_name(f"{published.stem}.previous{number}{published.suffix}")


def replaced_file(published: Path) -> Path:
    """Where what a rebuild took the place of is kept."""
    return published.with_name(f"{published.stem}.replaced{published.suffix}")


def earlier_files(published: Path) -> list[Path]:
    """What was published before and is still there: the youngest first, what a rebuild replaced at the end."""
    kept = [path for _, path in sorted(_kept_files(published))]
    return [*kept, *filter(Path.exists, [replaced_file(published)])]


def _kept_files(published: Path) -> Iterator[tuple[int, Path]]:
    """Every previous file and its age."""
    name = re.compile(rf"{re.escape(published.stem)}\.previous(?:-([0-9]+))?{re.escape(published.suffix)}")
    for path in published.parent.iterdir():
        if match := name.fullmatch(path.name):
            yield int(match[1] or 1), path


def _make_room(published: Path, keep: int) -> None:
    """Let every previous file be one older; those beyond `keep` go. A kill on the way leaves a gap in the numbers."""
    previous = previous_file(published)
    if previous.exists() and not previous.samefile(published):  # else a sync was killed after it had kept this one
        for age in range(keep, 1, -1):
            if (younger := previous_file(published, age - 1)).exists():
                younger.replace(previous_file(published, age))
    for age, path in list(_kept_files(published)):
        if age > keep:
            path.unlink(missing_ok=True)


def _publish(aside: Path, published: Path, keep: int | None) -> None:
    """`keep` is unset for a rebuild."""
    if _log_of(aside).exists():
        # DuckDB folds its log into the file when the last connection closes; what is in the log would be lost.
        raise WarehouseError(f"cannot publish {published}: the copy was not closed whole (disk full?)")
    with aside.open("rb+") as file:
        os.fsync(file.fileno())
    if published.exists():
        if keep is not None:
            _make_room(published, keep)
        kept = published.with_name(f".{published.name}.keeping")
        kept.unlink(missing_ok=True)
        os.link(published, kept)
        try:
            kept.replace(replaced_file(published) if keep is None else previous_file(published))
        finally:
            # Two names of one file stay as they are: then a sync was killed after it had kept this one.
            kept.unlink(missing_ok=True)
    aside.replace(published)
    fsync_folder(published.parent)


def _discard(aside: Path) -> None:
    for leftover in (aside, _log_of(aside)):
        leftover.unlink(missing_ok=True)


def _log_of(aside: Path) -> Path:
    return aside.with_name(f"{aside.name}.wal")
