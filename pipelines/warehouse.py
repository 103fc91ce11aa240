"""Door 2: the warehouse, through SQLAlchemy. One observation is one transaction: diff, versions, ledger row.

Not here: how an observation is recorded (record.py), how tables are made (tables.py), questions (sql/), what each
engine does in its own way (engines.py), how a warehouse is opened and published (publish.py).
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

import duckdb
import psycopg
import pyarrow as pa
from sqlalchemy import Connection, Engine, Table, func, select
from sqlalchemy.exc import SQLAlchemyError
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from pipelines.engines import POSTGRES, ways_of
from pipelines.errors import WarehouseBusyError, WarehouseError, printable
from pipelines.landing import LandedFile
from pipelines.normalize import Normalized
from pipelines.observation import Direction, Listing, Observation
from pipelines.policy_fold import fold_policy
from pipelines.policy_landing import LandedPolicy
from pipelines.record import append, has_drift, listing_values, record, select_open
from pipelines.relations import view_queries
from pipelines.schema import (
    FACTS,
    arrow_schema,
    backup_share_history,
    observations,
    policy_versions,
)
from pipelines.tables import Made, made_version, make_bare_tables, make_tables, relations_of, version_of_ours

T = TypeVar("T")


class Proven(NamedTuple):
    """Where the pages of an observation are that the warehouse holds: file below the landing, and its SHA-256."""

    landing_file: str
    landing_sha256: str
    is_plain: bool
    """Nothing of it was rejected, told in two ways, or not known: what differs from it can be recorded alone."""


@dataclass(frozen=True)
class Ledger:
    """What the warehouse has recorded: which observations, and until when of each listing."""

    observation_ids: frozenset[str]
    last_observed_at: dict[Listing, datetime]
    last_proven: dict[Listing, Proven]

    @classmethod
    def empty(cls) -> "Ledger":
        return cls(frozenset(), {}, {})

    def is_recorded(self, file: LandedFile) -> bool:
        return file.observation_id in self.observation_ids

    def is_too_old(self, file: LandedFile) -> bool:
        """Whether a later observation of the same listing was recorded, so that only a rebuild can use this one."""
        last = self.last_observed_at.get(file.listing)
        return not self.is_recorded(file) and last is not None and file.observed_at <= last


@dataclass(frozen=True)
class Snapshot:
    """One state of the warehouse, asked piece by piece."""

    connection: Connection

    def stream(self, question: str) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
        """The answer's schema, and its rows; to be read to the end before the next question."""
        with warehouse_errors():
            return ways_of(self.connection).stream(self.connection, question)

    def query(self, sql: str, **parameters: Any) -> pa.Table:
        """The answer to a question, as Arrow. `parameters` are bound to $name."""
        with warehouse_errors():
            answer = ways_of(self.connection).ask(self.connection, sql, parameters)
        if answer is None:
            raise WarehouseError("that statement has no answer: ask with SELECT")
        return answer

    def ledger(self) -> Ledger:
        """As of the warehouse."""
        with warehouse_errors():
            return _ledger(self.connection)

    def recorded_policies(self) -> frozenset[str]:
        """As of the warehouse."""
        with warehouse_errors():
            return _recorded_policies(self.connection)

    def facts(self, table: Table) -> pa.Table:
        """As of the warehouse."""
        return _of_table(table, self.query(_all_rows(table)))


class Warehouse:
    """An open warehouse. Every method that writes is one transaction; a failed one changes nothing.

    A transaction that met a deadlock, or whose connection was lost, is begun anew: what it wants to record is looked
    up first, so one that was committed without our hearing of it is not recorded twice.
    """

    def __init__(self, engine: Engine, sleep: Callable[[float], None] = time.sleep) -> None:
        self._engine = engine
        self._sleep = sleep

    def migrate(self) -> None:
        """Make the tables that are missing and the views from sql/views/, unless all is as this program wants it.

        On a server the groups of sql/roles/ get their rights then.
        Raises WarehouseError for tables that another version of this program made.
        """
        self._transact(make_tables)

    def make_bare(self) -> None:
        """Make the tables only, in an empty warehouse: enough where it is compared with another and thrown away."""
        self._transact(make_bare_tables)

    def made(self) -> Made | None:
        """What made the tables that are there; None where there are none."""
        return self._transact(made_version)

    def missing_views(self) -> list[str]:
        """Views that somebody has dropped, or that the program which made the tables did not know."""
        return sorted(self._transact(lambda connection: view_queries().keys() - relations_of(connection)))

    def ledger(self) -> Ledger:
        """Raises WarehouseError for tables that another version of this program made, as `migrate` does."""
        return self._transact(_ledger)

    def record(self, observation: Observation, file: LandedFile, sha256: str, normalized: Normalized) -> None:
        """Record an observation exactly once: the versions it opens and closes, its rejects and drift, its ledger row.

        One that is not proven leaves the ledger row only. Recording the same again changes nothing.
        Raises OutOfOrderError when it is not newer than the last one of its listing, StaleDifferenceError when
        `normalized` says what differs from another state than the recorded one, WarehouseError when the same
        observation was recorded from another file, or when the result would break the history's promises.
        """
        self._transact(lambda connection: record(connection, observation, file, sha256, normalized))

    def begin_with(self, facts: Mapping[str, pa.Table]) -> None:
        """Take rows of all FACTS, by the table's name, as what was recorded so far; one that is not empty stays."""

        def work(connection: Connection) -> None:
            ways_of(connection).hold(connection, "beginning")
            if not connection.execute(select(func.count()).select_from(observations)).scalar_one():
                for table in FACTS:
                    append(connection, table, facts[table.name])

        self._transact(work)

    def record_policy(self, landed: LandedPolicy) -> None:
        """Record a landed policy exactly once; raises OutOfOrderError when it is not newer than the last one."""

        def work(connection: Connection) -> None:
            ways_of(connection).hold(connection, "policy")
            if landed.name not in _recorded_policies(connection):
                fold_policy(connection, landed)

        self._transact(work)

    def recorded_policies(self) -> frozenset[str]:
        """Landing files of all policies that are recorded."""
        return self._transact(_recorded_policies)

    def open_shares(self, listing: Listing) -> dict[str, str]:
        """The shares of a listing that are current, and the backup of each."""
        query, of_listing = select_open(backup_share_history, "share_id", "backup_id"), listing_values(listing)
        shares = self._transact(lambda connection: ways_of(connection).rows(connection, query, of_listing))
        return dict(zip(*(column.to_pylist() for column in shares.columns), strict=True))

    def count(self, table: Table) -> int:
        query = select(func.count()).select_from(table)
        return self._transact(lambda connection: connection.execute(query).scalar_one())

    def facts(self, table: Table) -> pa.Table:
        """All rows of a table, in no order, with the types of arrow_schema."""
        return _of_table(table, self.query(_all_rows(table)))

    def query(self, sql: str, **parameters: Any) -> pa.Table:
        """The answer to a question, as Arrow. `parameters` are bound to $name."""
        answer = self._transact(lambda connection: ways_of(connection).ask(connection, sql, parameters))
        if answer is None:
            raise WarehouseError("that statement has no answer: ask with SELECT")
        return answer

    @contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        """Answers within the block are all of the same state, whoever records meanwhile."""
        with warehouse_errors(), self._engine.connect() as connection:
            if connection.dialect.name == "postgresql":
                connection = connection.execution_options(isolation_level="REPEATABLE READ")
            with connection.begin():
                yield Snapshot(connection)

    def _transact(self, work: Callable[[Connection], T]) -> T:
        def attempt() -> T:
            with self._engine.begin() as connection:
                return work(connection)

        with warehouse_errors():
            return Retrying(
                retry=retry_if_exception(self._will_pass),
                stop=stop_after_attempt(ATTEMPTS),
                wait=wait_random_exponential(0.2, max=5),
                sleep=self._sleep,
                reraise=True,
            )(attempt)

    def _will_pass(self, error: BaseException) -> bool:
        return self._engine.dialect.name == "postgresql" and POSTGRES.will_pass(error)

    def close(self) -> None:
        self._engine.dispose()


@contextmanager
def warehouse_errors() -> Iterator[None]:
    """What the engine or its driver says becomes a WarehouseError of one line."""
    try:
        yield
    except (SQLAlchemyError, duckdb.Error, psycopg.Error) as error:
        match getattr(getattr(error, "orig", error), "sqlstate", None):
            case "55P03":  # a lock was not to be had in time
                raise WarehouseBusyError(
                    "another sync or a rebuild holds the warehouse: wait for it to end, or stop it; "
                    "what was observed meanwhile is kept and loaded by the next sync"
                ) from None
            case "42501":  # a right is missing
                advice = (
                    "; `backup-shares migrate` and `rebuild` are for the owner of the tables (a migrator), `sync`, "
                    "`explain` and `daily-report` for a loader, views also for an analyst: see sql/roles/roles.sql"
                )
            case _:
                advice = ""
        raise WarehouseError(f"the warehouse refused: {_said(error)}{advice}") from None


ATTEMPTS = 3
"""Times that a transaction is begun before the warehouse is taken for broken."""


def _ledger(connection: Connection) -> Ledger:
    version_of_ours(connection)
    key = (observations.c.region, observations.c.project_id, observations.c.direction)
    ids = connection.execute(select(observations.c.observation_id)).scalars().all()
    last = connection.execute(select(*key, func.max(observations.c.observed_at)).group_by(*key)).all()
    is_plain = (observations.c.rejected_count == 0) & (observations.c.conflict_count == 0) & ~has_drift()
    proven = select(*key, observations.c.landing_file, observations.c.landing_sha256, is_plain)
    proven = proven.where(observations.c.is_proven).order_by(observations.c.observed_at)
    return Ledger(
        observation_ids=frozenset(ids),
        last_observed_at={_listing(*where): at for *where, at in last},
        last_proven={
            _listing(*row[:3]): Proven(*row[3:])
            for row in connection.execute(proven).all()  # the last one stays
        },
    )


def _all_rows(table: Table) -> str:
    names = ", ".join(column.name for column in table.columns)
    return f"SELECT {names} FROM {table.name}"  # noqa: S608 - own names


def _of_table(table: Table, rows: pa.Table) -> pa.Table:
    return rows.cast(arrow_schema(list(table.columns)))


_HINTS = ("Did you mean", "Candidate bindings", "HINT")


def _said(error: Exception) -> str:
    """The first line of what the engine says, and its hint; other lines may quote what was asked."""
    first, *more = str(getattr(error, "orig", None) or error).split("\n")
    return printable(" ".join([first, *(line for line in more if line.startswith(_HINTS))]), 300)


def _recorded_policies(connection: Connection) -> frozenset[str]:
    return frozenset(connection.execute(select(policy_versions.c.landing_file)).scalars().all())


def _listing(region: str, project_id: str, direction: str) -> Listing:
    return Listing(region, project_id, Direction(direction))
