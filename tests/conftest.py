"""Fixtures that many test files share: PostgreSQL.

Not here: how a server is found and run (postgres.py).
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.postgres import NoPostgresError, Postgres, Server


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A server for databases of tests, one for each process of pytest; it may lose data when the machine dies."""
    if address := os.environ.get("TEST_DATABASE_URL"):
        given = Postgres(address)
        try:
            yield given
        finally:
            given.drop_all()
        return
    with _own_server(durable=False) as server:
        yield server


@pytest.fixture
def postgres_url(postgres: Postgres) -> Iterator[str]:
    """A fresh empty database."""
    url = postgres.create_database()
    yield url
    postgres.drop_database(url)


@pytest.fixture
def postgres_server() -> Iterator[Server]:
    """A server of the test's own, which may be killed and keeps what was committed."""
    with _own_server(durable=True) as server:
        yield server


@contextmanager
def _own_server(*, durable: bool) -> Iterator[Server]:
    with ExitStack() as stack:
        try:
            server = stack.enter_context(Server.start(durable=durable))
        except NoPostgresError as error:
            if os.environ.get("CI") == "true":
                pytest.fail(str(error))
            pytest.skip(str(error))
        yield server
