"""The servers that other tests lean on: what a kill leaves, and that nothing stays behind.

Not here: what is kept in PostgreSQL.
"""

import os
import select
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from tests.postgres import connect


def numbers(url: str) -> list[int]:
    with connect(url) as connection:
        return [number for (number,) in connection.execute("SELECT number FROM numbers ORDER BY 1")]


def add(url: str, number: int) -> None:
    with connect(url) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS numbers (number integer)")
        connection.execute("INSERT INTO numbers VALUES (%s)", [number])


def test_each_database_is_empty_or_like_another_and_goes_with_those_who_are_in_it(postgres, postgres_url):
    add(postgres_url, 1)
    copy, empty = postgres.create_database(like=postgres_url), postgres.create_database()
    assert numbers(copy) == [1]
    with pytest.raises(psycopg.errors.UndefinedTable):
        numbers(empty)
    with connect(copy) as inside:
        assert postgres.backend_pids(copy) == [inside.info.backend_pid]
        assert postgres.backend_pids(empty) == []
        postgres.drop_database(copy)
        with pytest.raises(psycopg.OperationalError):
            inside.execute("SELECT 1")
    postgres.drop_database(empty)
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        connect(empty)


@pytest.mark.slow
def test_what_was_committed_outlives_every_kind_of_kill(postgres_server):
    url = postgres_server.create_database()
    add(url, 1)
    postgres_server.kill()
    with pytest.raises(psycopg.OperationalError):
        connect(url)
    postgres_server.restart()
    add(url, 2)
    postgres_server.stop_immediate()
    postgres_server.restart()
    add(url, 3)
    with connect(url) as open_one:
        postgres_server.kill_backend(open_one.info.backend_pid)
        with pytest.raises(psycopg.OperationalError):
            open_one.execute("SELECT 1")
    assert numbers(url) == [1, 2, 3]


OWNER = """
import sys
from tests.postgres import Server
with Server.start(durable=False) as server:
    print(server._process.pid, server._data.parent, flush=True)
    sys.stdin.readline()
"""


@pytest.mark.slow
@pytest.mark.usefixtures("postgres_server")  # it fails or skips where there are no binaries
@pytest.mark.parametrize("way", ["end", "SIGKILL"])
def test_the_server_ends_with_the_process_that_started_it_however_that_ends(way):
    command = [sys.executable, "-c", OWNER]
    root = Path(__file__).parent.parent
    with subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as owner:
        pid, folder = owner.stdout.readline().split()
        server = os.pidfd_open(int(pid))
        try:
            if way == "end":
                owner.stdin.close()
            else:
                owner.kill()
            assert select.select([server], [], [], 30)[0], "the server runs on"
        finally:
            os.close(server)
    if way == "end":
        assert not Path(folder).exists()
    else:
        subprocess.run(["rm", "-rf", folder], check=True)
