"""Door 2: the warehouse, through SQLAlchemy. One observation is one transaction: diff, versions, ledger row.

Not here: what opens or closes a version (history.py), columns (schema.py), questions (sql/), what each engine does
in its own way (engines.py), how a warehouse is opened and published (publish.py).
"""

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeVar

import duckdb
import pandas as pd
import psycopg
import pyarrow as pa
from sqlalchemy import ColumnElement, Connection, Engine, Select, Table, case, func, insert, select
from sqlalchemy.exc import SQLAlchemyError
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from pipelines.engines import POSTGRES, EngineWays, ways_of
from pipelines.errors import OutOfOrderError, StaleDifferenceError, WarehouseBusyError, WarehouseError, printable
from pipelines.history import Changes, Doubtful, diff_versions, unreferenced, without_unchanged
from pipelines.landing import LandedFile
from pipelines.normalize import Normalized
from pipelines.observation import Direction, Listing, Observation
from pipelines.policy_fold import fold_policy
from pipelines.policy_landing import LandedPolicy
from pipelines.relations import comments, function_queries, view_queries
from pipelines.schema import (
    FACTS,
    HISTORY_TABLES,
    OPEN_END,
    SCHEMA_VERSION,
    arrow_schema,
    backup_history,
    backup_share_history,
    comment_on,
    ddl,
    observations,
    observed_drift,
    policy_versions,
    rejected_records,
    schema_version,
    sql_folder,
)

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
        self._transact(_make_bare_tables)

    def made(self) -> "Made | None":
        """What made the tables that are there; None where there are none."""
        return self._transact(made_version)

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

        def work(connection: Connection) -> None:
            ways_of(connection).hold(connection, str(observation.listing))
            if _is_recorded(connection, observation, sha256):
                return
            counts = dict.fromkeys(_COUNTS, 0)
            if observation.status.is_proven:
                counts = _record_changes(connection, observation, normalized)
                _append(connection, rejected_records, _rows_of(observation, normalized.rejected, rejected_records))
                _append(connection, observed_drift, _rows_of(observation, normalized.drift, observed_drift))
            row = _ledger_row(observation, file, sha256, normalized) | counts
            connection.execute(insert(observations).values(row))

        self._transact(work)

    def begin_with(self, facts: Mapping[str, pa.Table]) -> None:
        """Take rows of all FACTS, by the table's name, as what was recorded so far; one that is not empty stays."""

        def work(connection: Connection) -> None:
            ways_of(connection).hold(connection, "beginning")
            if not connection.execute(select(func.count()).select_from(observations)).scalar_one():
                for table in FACTS:
                    _append(connection, table, facts[table.name])

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
        query = _select_open(backup_share_history, listing, "share_id", "backup_id")
        shares = self._transact(lambda connection: ways_of(connection).rows(connection, query))
        return dict(zip(*(column.to_pylist() for column in shares.columns), strict=True))

    def count(self, table: Table) -> int:
        query = select(func.count()).select_from(table)
        return self._transact(lambda connection: connection.execute(query).scalar_one())

    def facts(self, table: Table) -> pa.Table:
        """All rows of a table, in no order, with the types of arrow_schema."""
        names = ", ".join(column.name for column in table.columns)
        return self.query(f"SELECT {names} FROM {table.name}").cast(arrow_schema(list(table.columns)))  # noqa: S608 - own names

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
                advice = "; tables and views are made by `backup-shares migrate` as their owner, rights by sql/roles/"
            case _:
                advice = ""
        raise WarehouseError(f"the warehouse refused: {_first_line(error)}{advice}") from None


ATTEMPTS = 3
"""Times that a transaction is begun before the warehouse is taken for broken."""


def make_tables(connection: Connection) -> None:
    ways_of(connection).hold(connection, "schema")
    found = _version_of_ours(connection)
    statements = list(ddl(connection.dialect))
    views, functions = view_queries(), function_queries()
    told = list(_comments(ways_of(connection), views, functions))
    grants = (sql_folder("roles") / "grants.sql").read_text(encoding="utf-8")
    made_by = "\0".join([*statements, *views.values(), *functions.values(), *told, grants])
    definition = hashlib.sha256(made_by.encode()).hexdigest()
    if found is not None and found.definition_sha256 == definition:
        return
    ways_of(connection).run(connection, statements)
    for table in HISTORY_TABLES:
        ways_of(connection).forbid_overlaps(connection, table)
    for name, query in views.items():
        ways_of(connection).make_view(connection, name, query, functions)
    for name, query in functions.items():
        ways_of(connection).make_function(connection, name, query)
    ways_of(connection).run(connection, told)
    ways_of(connection).give_rights(connection, grants)
    connection.execute(schema_version.delete())
    connection.execute(insert(schema_version).values(version=SCHEMA_VERSION, definition_sha256=definition))


def _make_bare_tables(connection: Connection) -> None:
    ways_of(connection).run(connection, list(ddl(connection.dialect, commented=False)))
    connection.execute(insert(schema_version).values(version=SCHEMA_VERSION, definition_sha256=""))


def _comments(ways: EngineWays, views: Mapping[str, str], functions: Mapping[str, str]) -> Iterator[str]:
    """What the headers of views and functions say; no engine takes a comment on a column of a function."""
    for name, query in views.items():
        for column, text in comments(name, query):
            yield comment_on(f"VIEW {name}" if column is None else f'COLUMN {name}."{column}"', text)
    for name, query in functions.items():
        _, text = next(comments(name, query))
        yield comment_on(ways.function_named(name), text)


class Made(NamedTuple):
    """What made tables and views: the version of the tables, the SHA-256 of all statements."""

    version: int
    definition_sha256: str

    @property
    def problem(self) -> str:
        """Why this program must leave the tables alone, and what to do; empty if it need not."""
        versions = f"({self.version}, this program makes {SCHEMA_VERSION})"
        if self.version > SCHEMA_VERSION:
            return f"are of a newer version {versions}: use the newer program"
        if self.version < SCHEMA_VERSION:
            return f"are of an earlier version {versions}: `backup-shares rebuild` makes them again from the landing"
        return ""


def made_version(connection: Connection) -> Made | None:
    named = [table.name for table in (schema_version, observations)]
    # Not from information_schema: that hides from an analyst what may not be read, as if nothing were there.
    tables = connection.exec_driver_sql(
        "SELECT tablename FROM pg_catalog.pg_tables "  # noqa: S608 - own names
        f"WHERE schemaname = current_schema() AND tablename IN ('{named[0]}', '{named[1]}')"
    )
    there = set(tables.scalars().all())
    if schema_version.name not in there:
        # The first versions of this program did not write down theirs.
        return Made(0, "") if there else None
    rows = connection.execute(select(schema_version.c.version, schema_version.c.definition_sha256)).all()
    return Made(*rows[0]) if rows else Made(0, "")


def _version_of_ours(connection: Connection) -> Made | None:
    found = made_version(connection)
    if found is not None and (problem := found.problem):
        raise WarehouseError(f"the tables of the warehouse {problem}")
    return found


def _ledger(connection: Connection) -> Ledger:
    _version_of_ours(connection)
    key = (observations.c.region, observations.c.project_id, observations.c.direction)
    ids = connection.execute(select(observations.c.observation_id)).scalars().all()
    last = connection.execute(select(*key, func.max(observations.c.observed_at)).group_by(*key)).all()
    is_plain = (observations.c.rejected_count == 0) & (observations.c.conflict_count == 0) & ~_has_drift()
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


def _first_line(error: Exception) -> str:
    return printable(str(getattr(error, "orig", None) or error).split("\n", 1)[0], 300)


def _of_listing(table: Table, listing: Listing) -> Any:
    return (
        (table.c.region == listing.region)
        & (table.c.project_id == listing.project_id)
        & (table.c.direction == str(listing.direction))
    )


def _is_recorded(connection: Connection, observation: Observation, sha256: str) -> bool:
    """Raises OutOfOrderError where it is not, and can not be any more."""
    mine = _of_listing(observations, observation.listing)
    same = observations.c.observation_id == observation.observation_id
    found = select(
        func.max(case((same, observations.c.landing_sha256))), func.max(case((mine, observations.c.observed_at)))
    ).where(same | mine)
    recorded, last = connection.execute(found).all()[0]
    if recorded is not None and recorded != sha256:
        raise WarehouseError(
            f"observation {observation.observation_id} was recorded from another landing file: "
            "the file was changed afterwards, restore it from a backup"
        )
    if recorded is None and last is not None and observation.observed_at <= last:
        raise OutOfOrderError(
            f"the {observation.listing} were already recorded as of {last.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC, "
            f"this observation is of {observation.observed_at:%Y-%m-%d %H:%M:%S}: only a rebuild can use it"
        )
    return recorded is not None


_COUNTS = (
    "share_count",
    "backup_count",
    "shares_granted",
    "shares_changed",
    "shares_withdrawn",
    "backups_opened",
    "backups_closed",
)


def _record_changes(connection: Connection, observation: Observation, normalized: Normalized) -> dict[str, int]:
    rejected = normalized.rejected
    open_shares = _open_versions(connection, backup_share_history, observation.listing, "backup_id")
    open_backups = _open_versions(connection, backup_history, observation.listing)
    doubtful = _doubtful(connection, observation.listing, normalized, open_shares, open_backups)
    shares = diff_versions(
        doubtful.open_shares,
        normalized.shares,
        "share_id",
        gone=observation.gone_ids if _may_close(observation, normalized) else (),
        # What some page of this walk showed is not gone, whatever the proven state says; the next sync will tell.
        protected=[*rejected["share_id"].dropna(), *observation.excluded_ids],
    )
    # A record whose backup cannot be read could refer to any.
    any_backup = rejected["backup_id"].isna().any()
    backups = diff_versions(
        doubtful.open_backups,
        normalized.backups,
        "backup_id",
        gone=() if any_backup else list(unreferenced(open_shares, shares, open_backups)),
        protected=list(rejected["backup_id"].dropna()),
    )
    told = pd.concat([normalized.shares[["backup_id"]], doubtful.same_shares[["backup_id"]]])
    _apply(connection, backup_share_history, observation, open_shares, shares)
    _apply(connection, backup_history, observation, open_backups, backups)
    return {
        "share_count": len(told),
        "backup_count": told["backup_id"].nunique(),
        "shares_granted": shares.appeared_count,
        "shares_changed": shares.changed_count,
        "shares_withdrawn": shares.gone_count,
        "backups_opened": len(backups.opened),
        "backups_closed": len(backups.closed),
    }


def _doubtful(
    connection: Connection,
    listing: Listing,
    normalized: Normalized,
    open_shares: pd.DataFrame,
    open_backups: pd.DataFrame,
) -> Doubtful:
    """All open versions; where the frames only hold what differs, those that may be told in another way."""
    if normalized.since is None:
        return Doubtful(open_shares, open_backups, open_shares.head(0))
    # What is open is what the earlier observation told if it is the last proven one, all of it could be read,
    # nothing was told in two ways, and nothing else was left open. What was not known then is still there, uncounted.
    names = ("observation_id", "share_count", "backup_count", "rejected_count", "conflict_count")
    last = select(*(observations.c[name] for name in names), _has_drift())
    last = last.where(_of_listing(observations, listing), observations.c.is_proven)
    earlier = connection.execute(last.order_by(observations.c.observed_at.desc()).limit(1)).all()
    expected = (normalized.since.observation_id, len(open_shares), len(open_backups), 0, 0, False)
    doubtful = None
    if [tuple(row) for row in earlier] == [expected]:
        news = (normalized.shares, normalized.backups, normalized.since.left_ids)
        doubtful = without_unchanged(open_shares, open_backups, *news)
    if doubtful is None:
        raise StaleDifferenceError(f"what differs in the {listing} was read against another state")
    return doubtful


def _has_drift() -> ColumnElement[bool]:
    """Whether an observation met something that is not known, within a query for observations."""
    return observations.c.observation_id.in_(select(observed_drift.c.observation_id))


def _may_close(observation: Observation, normalized: Normalized) -> bool:
    # A record without readable id could be any share: then nothing is known to be missing.
    return observation.may_close and not normalized.rejected["share_id"].isna().any()


def _why_nothing_closes(observation: Observation, normalized: Normalized) -> str:
    if observation.may_close and not _may_close(observation, normalized):
        return "a record without readable id was met: nothing was recorded as withdrawn"
    return ""


def _select_open(table: Table, listing: Listing, *names: str) -> Select[Any]:
    query = select(*(table.c[name] for name in names))
    return query.where(_of_listing(table, listing), table.c.valid_to == OPEN_END)


def _open_versions(connection: Connection, table: Table, listing: Listing, *more: str) -> pd.DataFrame:
    """Key, fingerprint, and the columns asked for besides."""
    key = table.info["key"]
    query = _select_open(table, listing, key, "row_hash", *more)
    frame: pd.DataFrame = ways_of(connection).rows(connection, query).to_pandas(types_mapper=pd.ArrowDtype)
    if frame[key].duplicated().any():
        raise WarehouseError(f"{table.name} holds two open versions of a {key} of the {listing}: rebuild the warehouse")
    return frame


def _recorded_policies(connection: Connection) -> frozenset[str]:
    return frozenset(connection.execute(select(policy_versions.c.landing_file)).scalars().all())


def _apply(
    connection: Connection, table: Table, observation: Observation, open_versions: pd.DataFrame, changes: Changes
) -> None:
    _refuse_two_open_versions(table, open_versions, changes)
    if len(changes.closed):
        _close_versions(connection, table, observation, changes.closed)
    if len(changes.opened):
        constants = {
            **_listing_values(observation.listing),
            "valid_from": observation.observed_at,
            "valid_to": OPEN_END,
            "opened_by": observation.observation_id,
            "closed_by": None,
        }
        _append(connection, table, _with_constants(changes.opened, constants, table))


def _refuse_two_open_versions(table: Table, open_versions: pd.DataFrame, changes: Changes) -> None:
    opened = changes.opened[table.info["key"]]
    touched = open_versions[table.info["key"]]
    touched = touched[touched.isin(opened)]
    twice = pd.concat([opened[opened.duplicated()], touched[~touched.isin(changes.closed)]])
    if len(twice):
        raise WarehouseError(f"{table.name} would hold two open versions of {twice.iloc[0]}: nothing was recorded")


def _close_versions(connection: Connection, table: Table, observation: Observation, keys: "pd.Series[str]") -> None:
    key = table.c[table.info["key"]]
    with ways_of(connection).is_among(connection, key, pa.array(keys, pa.string())) as is_closing:
        is_open = _of_listing(table, observation.listing) & (table.c.valid_to == OPEN_END)
        ending = table.update().where(is_open, is_closing)
        done = connection.execute(ending.values(valid_to=observation.observed_at, closed_by=observation.observation_id))
    if done.rowcount != len(keys):
        raise WarehouseError(f"{table.name} has {done.rowcount} of {len(keys)} versions to close: nothing was recorded")


def _listing(region: str, project_id: str, direction: str) -> Listing:
    return Listing(region, project_id, Direction(direction))


def _listing_values(listing: Listing) -> dict[str, str]:
    return {"region": listing.region, "project_id": listing.project_id, "direction": str(listing.direction)}


def _with_constants(frame: pd.DataFrame, constants: dict[str, Any], table: Table) -> pa.Table:
    rows = pa.Table.from_pandas(frame, preserve_index=False)
    schema = arrow_schema(list(table.columns))
    columns = [
        pa.repeat(pa.scalar(constants[field.name], field.type), len(rows))
        if field.name in constants
        else rows.column(field.name)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def _rows_of(observation: Observation, frame: pd.DataFrame, table: Table) -> pa.Table:
    constants = {
        "observation_id": observation.observation_id,
        **_listing_values(observation.listing),
        "observed_at": observation.observed_at,
    }
    return _with_constants(frame, constants, table)


def _append(connection: Connection, table: Table, rows: pa.Table) -> None:
    if len(rows):
        ways_of(connection).append(connection, table, rows)


_LEDGER_COLUMNS = [column.name for column in observations.columns]


def _ledger_row(observation: Observation, file: LandedFile, sha256: str, normalized: Normalized) -> dict[str, Any]:
    taken = {name: getattr(observation, name) for name in _LEDGER_COLUMNS if hasattr(observation, name)}
    return {
        **taken,
        **_listing_values(observation.listing),
        "status": str(observation.status),
        "is_proven": observation.status.is_proven,
        "may_close": _may_close(observation, normalized),
        "reason": observation.reason or _why_nothing_closes(observation, normalized),
        "rejected_count": len(normalized.rejected),
        "conflict_count": normalized.conflict_count,
        "landing_file": file.name,
        "landing_sha256": sha256,
    }
