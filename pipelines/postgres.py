"""A warehouse on a PostgreSQL server: any number of writers and readers, each observation one transaction.

Not here: what is written (warehouse.py), what is said to PostgreSQL only (engines.py), roles (sql/roles/).
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.exc import IntegrityError, ProgrammingError, SQLAlchemyError

from pipelines.engines import POSTGRES
from pipelines.errors import ConfigurationError, WarehouseError
from pipelines.relations import function_queries, view_queries
from pipelines.schema import LANDED, metadata
from pipelines.tables import made_version, make_tables
from pipelines.warehouse import Warehouse, warehouse_errors

REBUILD = "_rebuild"
"""What the name of the schema ends in where a rebuild is made beside the warehouse's own."""


def check_url(url: URL) -> None:
    """Raises ConfigurationError for a URL that psycopg would misread, never with the URL in its text."""
    if not re.fullmatch(r"[A-Za-z0-9_.:-]*", url.host or "") or "@" in (url.database or ""):
        # Part of a password: the driver would quote it in its message that there is no such host.
        raise ConfigurationError(
            "WAREHOUSE_URL: what stands between @ and / is no host; in user and password write @ as %40, / as %2F"
        )
    if not url.database:
        raise ConfigurationError("WAREHOUSE_URL names no database: postgresql+psycopg://user:password@host/database")


@contextmanager
def writing(url: URL, *, wait: float, sleep: Callable[[float], None]) -> Iterator[Warehouse]:
    """The warehouse for one of its writers; each of its transactions is published when it ends.

    A transaction waits `wait` seconds for another on the same listing, and for a rebuild.
    """
    engine = _engine(url, wait)
    warehouse = Warehouse(engine, sleep)
    try:
        warehouse.migrate()
        yield warehouse
        _gather_statistics(engine)
    finally:
        warehouse.close()


@contextmanager
def reading(url: URL) -> Iterator[Warehouse | None]:
    """The warehouse, read-only; None where there is none. The first question tells if the server is out of reach."""
    warehouse = Warehouse(_engine(url, 0, "SET default_transaction_read_only = on"))
    try:
        try:
            is_made = warehouse.made() is not None
        except WarehouseError:
            is_made = True
        yield warehouse if is_made else None
    finally:
        warehouse.close()


def may_make_tables(url: URL) -> bool:
    """Whether this login may make tables where there are none yet."""
    engine = _engine(url, 0)
    try:
        with warehouse_errors(), engine.connect() as connection:
            asked = "SELECT coalesce(has_schema_privilege(current_schema(), 'CREATE'), false)"
            return bool(connection.exec_driver_sql(asked).scalar_one())
    finally:
        engine.dispose()


@contextmanager
def rebuilding(url: URL, *, wait: float, sleep: Callable[[float], None]) -> Iterator[Warehouse]:
    """An empty warehouse beside the published one, whose rows it takes the place of when the block ends well.

    Nobody records meanwhile. The rows are exchanged in one transaction, and no relation is made anew where the
    tables are of this version: a reader in the middle of a transaction goes on seeing the old rows, rights and
    what others built on the views stay.
    """
    engine = _engine(url, wait)
    try:
        with warehouse_errors(), engine.connect() as connection:
            POSTGRES.hold_alone(connection)
            connection.commit()
            # Made in the schema aside it would go with that, and take the constraint of the published tables along.
            POSTGRES.make_extension(connection)
            live = connection.exec_driver_sql("SELECT current_schema()").scalar_one()
            aside = connection.dialect.identifier_preparer.quote(live + REBUILD)
            connection.exec_driver_sql(f"DROP SCHEMA IF EXISTS {aside} CASCADE")
            connection.exec_driver_sql(f"CREATE SCHEMA {aside}")
            connection.commit()
            warehouse = Warehouse(_engine(url, wait, f"SET search_path TO {aside}"), sleep)
            try:
                warehouse.migrate()
                yield warehouse
            finally:
                warehouse.close()
            _take_over(connection, aside)
            connection.commit()
        _gather_statistics(engine)
    finally:
        engine.dispose()


def _gather_statistics(engine: Engine) -> None:
    """Tell the planner how much there is: until the server does so by itself, a minute later, it guesses far too low.

    The server passes over tables of which this user is not the owner, and those at which another is. What is recorded
    stays recorded if this fails.
    """
    names = ", ".join(table.name for table in metadata.sorted_tables)
    with suppress(SQLAlchemyError, psycopg.Error), engine.begin() as connection:
        connection.exec_driver_sql(f"ANALYZE (SKIP_LOCKED) {names}")


def _take_over(connection: Connection, aside: str) -> None:
    made = made_version(connection)
    if (made is not None and made.problem) or not _are_exchanged(connection, aside):
        for name in function_queries():
            POSTGRES.drop_function(connection, name)
        for name in reversed(view_queries()):
            connection.exec_driver_sql(f"DROP VIEW IF EXISTS {name}")
        for table in reversed(metadata.sorted_tables):
            connection.exec_driver_sql(f"DROP TABLE IF EXISTS {table.name}")
        _exchange(connection, aside)
    connection.exec_driver_sql(f"DROP SCHEMA {aside} CASCADE")


def _are_exchanged(connection: Connection, aside: str) -> bool:
    try:
        with connection.begin_nested():
            _exchange(connection, aside)
    except (ProgrammingError, IntegrityError):
        return False  # somebody has changed the tables: they have to be made anew
    return True


def _exchange(connection: Connection, aside: str) -> None:
    make_tables(connection)
    for table in LANDED:
        names = ", ".join(column.name for column in table.columns)
        connection.exec_driver_sql(f"DELETE FROM {table.name}")  # noqa: S608 - own names
        connection.exec_driver_sql(f"INSERT INTO {table.name} ({names}) SELECT {names} FROM {aside}.{table.name}")  # noqa: S608


def _engine(url: URL, wait: float, *settings: str) -> Engine:
    engine = create_engine(
        url,
        hide_parameters=True,
        pool_pre_ping=True,
        connect_args={"connect_timeout": 10, "application_name": "backup-shares"},
    )

    @event.listens_for(engine, "connect")
    def _speak_utc(connection: Any, _: Any) -> None:
        # Compiling a long question takes longer than answering it: half a minute for the findings of a year.
        always = ("SET TIME ZONE 'UTC'", "SET jit = off", f"SET lock_timeout = {int(wait * 1000) or 1}")
        for setting in (*always, *settings):
            connection.execute(setting)
        connection.commit()

    return engine
