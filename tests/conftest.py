"""Fixtures that many test files share: PostgreSQL.

Not here: how a server is found and run (postgres.py).
"""

import os
from collections.abc import Iterator

import pytest

from tests.postgres import Postgres, Server, server_or_skip


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
    with server_or_skip(durable=False) as server:
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
    with server_or_skip(durable=True) as server:
        yield server
