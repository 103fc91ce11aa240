"""Processes that end where we want: a server that forks them, points at which they die or fail, disks that are full.

A process forked from the server has everything imported, so a trial costs its own work only. At every fork the server
has one thread of Python and no connection; the libraries that keep threads of their own see to forks themselves.
A point is a statement of SQLAlchemy or a file operation. Points are counted when they are met: what is written
tomorrow is covered tomorrow.
Not here: what must hold afterwards (test_crash.py), a server of PostgreSQL that is killed (test_postgres_faults.py).
"""

import errno
import functools
import hashlib
import multiprocessing
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pyarrow as pa
from sqlalchemy import Engine, event
from sqlalchemy.engine import RootTransaction
from sqlalchemy.exc import OperationalError, SAWarning

from pipelines.connect import open_clouds, utc_now
from pipelines.errors import BackupSharesError
from pipelines.extract import Options, observe_listings
from pipelines.landing import landed_files, sweep
from pipelines.load import known_shares, load_pending, pending_files, stage
from pipelines.observation import Observation
from pipelines.publish import reading, writing
from pipelines.rebuild import verify
from pipelines.schema import FACTS
from pipelines.settings import Settings
from pipelines.warehouse import Ledger, Warehouse
from tests.oracle import land
from tests.postgres import Postgres

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    [
        "tests.crash",
        "pipelines.cli",
        "pipelines.definitions",
        "pipelines.defs.run",
        # What these import when they are used for the first time: half of the time of a sync.
        "alembic.command",
        "dagster._core.execution.execute_in_process",
        "dagster._core.storage.event_log.sqlite.sqlite_event_log",
        "dagster._core.storage.local_compute_log_manager",
        "dagster._core.storage.runs.sqlite.sqlite_run_storage",
        "dagster._core.storage.schedules.sqlite.sqlite_schedule_storage",
        "dagster._core.storage.sqlite_storage",
        "dagster._daemon.daemon",
        "dagster._grpc.impl",
        "duckdb_engine",
        "pyarrow.pandas_compat",
        "rich.traceback",
        "sqlalchemy.dialects.postgresql.psycopg",
        "upath.implementations.local",
        "watchdog.observers.polling",
    ]
)

Landed = tuple[Observation, tuple[bytes, ...]]
"""An observation and its pages."""


@dataclass(frozen=True)
class House:
    """A landing and the warehouse that it is loaded into, with everything that a sync leaves on the disk."""

    folder: Path
    address: str

    @property
    def landing(self) -> Path:
        return self.folder / "landing"

    @property
    def staging(self) -> Path:
        return self.folder / "staging"

    def land(self, *observations: Landed) -> None:
        """What is there already stays: it was landed before the process died."""
        there = {file.observation_id for file in landed_files(self.landing)}
        for observation, pages in observations:
            if observation.observation_id not in there:
                land(self.landing, observation, *pages)

    def load(self, wait: float = 60.0) -> list[str]:
        """What a sync does with what is landed; the complaints about what could not be recorded."""
        with reading(self.address) as published:
            ledger = published.ledger() if published else Ledger.empty()
        for file in pending_files(self.landing, ledger):
            stage(file, self.staging, ledger)
        with writing(self.address, wait=wait) as warehouse:
            return [unloaded.reason for unloaded in load_pending(warehouse, self.landing, self.staging)]

    def sync(self, *observations: Landed) -> list[str]:
        sweep(self.landing)
        self.land(*observations)
        return self.load()

    def published(self) -> dict[str, list[tuple[Any, ...]]] | None:
        with reading(self.address) as warehouse:
            return facts(warehouse) if warehouse else None

    def leftovers(self) -> list[str]:
        """Hidden files, and staged frames: nothing of a finished sync."""
        staged = self.staging.iterdir() if self.staging.exists() else ()
        found = {path for path in self.folder.rglob(".*") if "dagster_home" not in path.parts} | set(staged)
        return sorted(path.relative_to(self.folder).as_posix() for path in found)

    def contents(self) -> dict[str, bytes]:
        """Every file and a digest of it; not the lock, which names the last writer."""
        found = {}
        for path in sorted(self.folder.rglob("*")):
            if path.suffix != ".lock":
                name = path.relative_to(self.folder).as_posix()
                found[name] = hashlib.blake2b(path.read_bytes()).digest() if path.is_file() else b""
        return found


def facts(warehouse: Warehouse) -> dict[str, list[tuple[Any, ...]]]:
    """Every row that was recorded, in an order that only depends on the rows; the same whatever the engine."""
    found = {}
    for table in FACTS:
        columns = [column.to_pylist() for column in warehouse.facts(table).columns]
        found[table.name] = sorted(zip(*columns, strict=True), key=repr)
    return found


# --- processes --------------------------------------------------------------------------------------------------------


@contextmanager
def forked(target: Callable[..., Any], *arguments: Any) -> Iterator[Any]:
    """A process that waits at `begin(process)` until it may run `target`; it is gone at the end of the block."""
    ours, theirs = FORKS.Pipe()
    process = FORKS.Process(target=_wait_and_run, args=(theirs, target, arguments))
    process.start()
    theirs.close()
    assert ours.recv() == "ready"
    process.line = ours
    try:
        yield process
    finally:
        process.kill()
        process.join()
        ours.close()


def begin(process: Any) -> None:
    process.line.send("go on")


def _wait_and_run(line: Connection, target: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    os.setsid()  # so that what it starts can be told from others
    signal.signal(signal.SIGINT, signal.default_int_handler)
    line.send("ready")
    line.recv()
    line.send(target(*arguments))


def ends_whole(process: Any, within: float) -> bool:
    """Whether nothing that a process started is left after so many seconds."""
    patience = time.monotonic() + within
    while time.monotonic() < patience:
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


def call(function: Callable[..., Any], *arguments: Any) -> Any:
    """The value of the function, run in a forked process; its error is raised here."""
    with ProcessPoolExecutor(1, mp_context=FORKS) as pool:
        return pool.submit(function, *arguments).result()


# --- points -----------------------------------------------------------------------------------------------------------

_armed: Callable[[str], None] | None = None
_installed = False


@contextmanager
def listening(heard: Callable[[str], None]) -> Iterator[None]:
    """`heard` is told of every point that this process comes to, `before ...` or `after ...`; it may end it there."""
    global _armed
    _install()
    _armed = heard
    try:
        yield
    finally:
        _armed = None


def _point(name: str) -> None:
    global _armed
    heard, _armed = _armed, None  # what the listener itself does is no point
    if heard is None:
        return
    try:
        heard(name)
    finally:
        _armed = heard


_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGES = {"os.rename", "os.link", "os.symlink", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "shutil.copyfile"}
_FOLLOWED = [
    *((os, name) for name in ("rename", "replace", "link", "unlink", "mkdir", "rmdir", "fsync")),
    (shutil, "copyfile"),
    (pa, "OSFile"),
]
"""Functions of which also the end is a point: an audit event comes before."""
_UNAUDITED = {"fsync", "OSFile", "DRIVER copy", "DRIVER execute"}


def _install() -> None:
    """Once in a process: an audit hook stays for ever."""
    global _installed
    if _installed:
        return
    _installed = True
    sys.addaudithook(_audit)
    for module, name in _FOLLOWED:
        setattr(module, name, _followed(getattr(module, name), name))
    event.listen(Engine, "before_cursor_execute", lambda *about: _point(f"before {_short(about[2])}"))
    event.listen(Engine, "after_cursor_execute", lambda *about: _point(f"after {_short(about[2])}"))
    commit = RootTransaction.commit

    def commit_and_tell(transaction: RootTransaction) -> None:
        _point("before COMMIT")
        commit(transaction)
        _point("after COMMIT")

    # What goes past SQLAlchemy.
    for owner, name in ((psycopg.Cursor, "copy"), (psycopg.Connection, "execute")):
        setattr(owner, name, _followed(getattr(owner, name), f"DRIVER {name}"))

    RootTransaction.commit = commit_and_tell  # type: ignore[method-assign]


def _audit(name: str, arguments: tuple[Any, ...]) -> None:
    if _armed is None:
        return
    if name == "open":
        path, _, flags = arguments
        if isinstance(path, str) and flags & _WRITES and not path.startswith(("/dev", "/proc")):
            _point(f"before open {_name_of(path)}")
    elif name in _CHANGES:
        _point(f"before {name} {_name_of(arguments[0])}")


def _followed(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    def follow(*arguments: Any, **more: Any) -> Any:
        if name in _UNAUDITED:
            _point(f"before {name}")
        done = function(*arguments, **more)
        _point(f"after {name}")
        return done

    return follow


def _name_of(path: Any) -> str:
    return os.path.basename(os.fsdecode(path)) if isinstance(path, str | bytes | os.PathLike) else "a file"


def _short(statement: str) -> str:
    return f"SQL {' '.join(statement.split())[:70]}"


def is_statement(point: str) -> bool:
    return point.split(" ", 1)[1].startswith(("SQL", "COMMIT", "DRIVER"))


class Counter:
    """Hears every point, and does something at one of them."""

    def __init__(self, at: int | None = None, act: Callable[[str], None] = lambda point: None) -> None:
        self.points: list[str] = []
        self._at, self._act = at, act

    def __call__(self, point: str) -> None:
        self.points.append(point)
        if len(self.points) - 1 == self._at:
            self._act(point)


class Killed(BaseException):
    """As if the process were gone, within a process that goes on."""


class Mortal:
    """Dies at a file operation, and stays dead: also what would clean up is not done.

    Counted is from the first point on that begins with `begin`; statements are not.
    """

    def __init__(self, at: int | None, begin: str) -> None:
        self.points: list[str] = []
        self._at, self._begin = at, begin

    def __call__(self, point: str) -> None:
        if is_statement(point) or not (self.points or point.startswith(self._begin)):
            return
        self.points.append(point)
        if self._at is not None and len(self.points) > self._at:
            raise Killed(point)


def die(_: str) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def fail(number: int = errno.ENOSPC) -> Callable[[str], None]:
    """Raise what a database or a disk would: for a file operation OSError with this number."""

    def act(point: str) -> None:
        if "DRIVER" in point:
            raise psycopg.errors.InternalError("the server is confused")
        if is_statement(point):
            raise OperationalError(point, None, Exception("the server went away"))
        raise OSError(number, os.strerror(number))

    return act


def sync_that_dies(house: House, observations: Sequence[Landed], at: int) -> None:
    with listening(Counter(at, die)):
        house.sync(*observations)


def points_of(house: House, observations: Sequence[Landed]) -> list[tuple[str, str]]:
    """Every point of a sync, and what the disk and the database would keep if the process died there.

    Where two points keep the same, a death at one is a death at the other. A database keeps what is committed.
    """
    found: list[tuple[str, str]] = []
    commits = 0

    def heard(point: str) -> None:
        nonlocal commits
        commits += point == "after COMMIT"
        state = [*house.contents().items(), commits]
        # The name of what is written aside is different in every run: here it only matters that it is there.
        found.append((point, hashlib.blake2b(repr(state).encode()).hexdigest()))

    with listening(heard):
        assert house.sync(*observations) == []
    return found


# --- disks ------------------------------------------------------------------------------------------------------------


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """In this block no file grows beyond so many bytes: the disk is full (EFBIG stands for ENOSPC)."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


NOBODY = 65534


def sync_as_nobody(warm: House, house: House, observations: Sequence[Landed]) -> str:
    """Rights on files are nothing to root. What failed, empty if all went well; for a forked process only."""
    warm.sync(*observations)  # what is imported on the way may be out of nobody's reach
    if os.getuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    try:
        return "; ".join(house.sync(*observations))
    except BackupSharesError as error:
        return str(error)


def hold_open(file: Path, held: Any, gone: Any) -> None:
    """As another program that writes the file."""
    with duckdb.connect(str(file)):
        held.set()
        gone.wait(60)


# --- trials -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ground:
    """Makes copies of a house as it was at the beginning. `admin`: of a PostgreSQL server, unset for DuckDB files."""

    base: House
    admin: str | None = None

    @contextmanager
    def copy(self) -> Iterator[House]:
        """A house of its own, gone after the block."""
        folder = Path(tempfile.mkdtemp(dir=self.base.folder.parent, prefix="trial-"))
        shutil.rmtree(folder)
        shutil.copytree(self.base.folder, folder)
        server = Postgres(self.admin) if self.admin else None
        address = server.create_database(like=self.base.address) if server else duckdb_address(folder)
        try:
            yield House(folder, address)
        finally:
            if server:
                server.drop_all()
            shutil.rmtree(folder)


def duckdb_address(folder: Path) -> str:
    return f"duckdb:///{folder / 'warehouse.duckdb'}"


@dataclass(frozen=True)
class Promise:
    """What may be published after something went wrong, and what is after a healthy sync."""

    allowed: list[Any]
    final: Any

    def broken_by(self, house: House, news: Sequence[Landed], *, recover: bool = True) -> str:
        """How; empty if it is kept."""
        if house.published() not in self.allowed:
            return "what is published is between two states"
        return self.not_recovered(house, news) if recover else ""

    def not_recovered(self, house: House, news: Sequence[Landed]) -> str:
        if complaints := house.sync(*news):
            return f"the next sync needs hands: {complaints}"
        if house.published() != self.final:
            return "the next sync does not give what a clean one gives"
        return f"left behind: {left}" if (left := house.leftovers()) else ""


Harm = Callable[[], AbstractContextManager[Any]]


def harm_one_after_another(
    ground: Ground, news: Sequence[Landed], promise: Promise, harms: dict[str, Harm] | None
) -> tuple[int, int, list[str]]:
    """Sync under each harm; without any, a failure at each point there is. To be called in a forked process.

    Returns how many were tried, how many of them made the sync complain, and the violations.
    A state that was recovered from is not recovered from again: the healthy sync is always the same.
    """
    warnings.simplefilter("ignore", SAWarning)  # a transaction that fails right after its COMMIT
    harms = failures_at_every_point(ground, news) if harms is None else harms
    complained, violations, recovered = 0, [], set()
    for name, harm in harms.items():
        with ground.copy() as house:
            try:
                with harm():
                    told = "; ".join(house.sync(*news))
            except BackupSharesError as error:
                told = str(error)
            except Exception as error:
                error.add_note(name)
                raise
            complained += bool(told)
            published = house.published()
            landed = [file.name for file in landed_files(house.landing)]
            hidden = [name for name in house.leftovers() if "/." in f"/{name}"]
            if published not in promise.allowed:
                violations.append(f"{name}: what is published is between two states")
            if not told and published != promise.final:
                violations.append(f"{name}: a success was reported, and not all is published")
            if "before fsync" in name and not told:
                violations.append(f"{name}: a success was reported")
            if hidden and "remove" not in name and "rmdir" not in name and "unlink" not in name:
                violations.append(f"{name}: left behind {hidden}")
            state = repr((published, landed))
            if state not in recovered:
                recovered.add(state)
                if complaint := promise.not_recovered(house, news) if not hidden else "":
                    violations.append(f"{name}: {complaint}")
    return len(harms), complained, violations


def failures_at_every_point(ground: Ground, news: Sequence[Landed]) -> dict[str, Harm]:
    counter = Counter()
    with ground.copy() as house, listening(counter):
        assert house.sync(*news) == []
    found = {}
    for number, point in enumerate(counter.points):
        if point.startswith("after") and not is_statement(point):
            continue  # a reply of the database may be lost, a file operation that is done has not failed
        for error in (errno.ENOSPC,) if is_statement(point) else (errno.ENOSPC, errno.EIO):
            name = f"{number} {point}, {errno.errorcode[error]}"
            found[name] = functools.partial(_failing_at, number, error)
    return found


def _failing_at(number: int, error: int) -> AbstractContextManager[None]:
    return listening(Counter(number, fail(error)))


def compare_while_syncing(ground: Ground, news: Sequence[Landed], every: int) -> list[tuple[str, str]]:
    """What a comparison says during which a whole sync goes on at one point, at every so many of them."""
    counter = Counter()
    with ground.copy() as house, listening(counter):
        assert verify(house.address, house.landing) is None
    told = []
    for at in range(0, len(counter.points), every):
        with ground.copy() as house:
            with listening(Counter(at, lambda _, house=house: house.sync(*news))):
                told.append((counter.points[at], str(verify(house.address, house.landing))))
            assert verify(house.address, house.landing) is None
    return told


def full_disks(sizes: Sequence[int]) -> dict[str, Harm]:
    return {f"disk full at {size} bytes": functools.partial(largest_file, size) for size in sizes}


# --- whole syncs ------------------------------------------------------------------------------------------------------


def whole_sync(house: House, environment: dict[str, str]) -> Any:
    """`backup-shares sync` with only these settings; its exit code. What it prints is in `printed`."""
    from pipelines.cli import main

    _move_into(house.folder, environment)
    try:
        main(["sync", "--quiet"])
    except SystemExit as end:
        return end.code
    return 0


def sync_without_dagster(house: House, environment: dict[str, str]) -> int:
    """The verbs that the assets call, from the first request to what is published; 0 where nothing was left over."""
    _move_into(house.folder, environment)
    settings = Settings()
    with open_clouds(settings) as clouds, reading(house.address) as published:
        seen = observe_listings(
            clouds.clients,
            house.landing,
            sync_id=f"process {os.getpid()}",
            now=utc_now,
            known=known_shares(published, house.landing),
            options=Options(concurrency=settings.vbs_concurrency),
        )
        unproven = [str(each.listing) for _, each in seen if not each.status.is_proven]
    complaints = [*unproven, *house.load()]
    print(*complaints, sep="\n", flush=True)
    return len(complaints)


def _move_into(folder: Path, environment: dict[str, str]) -> None:
    for name in [name for name in os.environ if name.startswith(("VBS_", "OS_", "DAGSTER_"))]:
        del os.environ[name]
    os.environ.update(environment)
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    printed = os.open(folder / "printed", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for standard in (1, 2):
        os.dup2(printed, standard)


def race(house: House, start: Any, end: Any, rounds: int) -> list[str]:
    """Load at the same moment as others, round after round; what went wrong."""
    told: list[str] = []
    for _ in range(rounds):
        start.wait(60)
        try:
            told += house.load()
        except BackupSharesError as error:
            told.append(str(error))
        end.wait(60)
    return told


def watch(house: House, question: str, over: Any) -> list[Any]:
    """The answers to a question until it is over, each once, in the order in which they were seen."""
    seen: list[Any] = []
    while not over.wait(0.1):
        with reading(house.address) as warehouse:
            found = warehouse.query(question).to_pylist() if warehouse else None
        if found not in seen[-1:]:
            seen.append(found)
    return seen
