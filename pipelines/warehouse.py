"""Door 2: the warehouse, through SQLAlchemy. One observation is one transaction: diff, versions, ledger row.

Not here: what opens or closes a version (history.py), columns (schema.py), questions (sql/),
how the file is copied and published (publish.py).
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

import duckdb
import pandas as pd
import pyarrow as pa
from sqlalchemy import Connection, Engine, Select, Table, column, func, insert, select
from sqlalchemy import table as relation_named
from sqlalchemy.exc import SQLAlchemyError

from pipelines.errors import OutOfOrderError, StaleDifferenceError, WarehouseError, printable
from pipelines.history import Changes, Doubtful, diff_versions, unreferenced, without_unchanged
from pipelines.landing import LandedFile
from pipelines.normalize import Normalized
from pipelines.observation import Direction, Listing, Observation
from pipelines.schema import (
    OPEN_END,
    arrow_schema,
    backup_history,
    backup_share_history,
    ddl,
    metadata,
    observations,
    rejected_records,
    sql_folder,
)


class Proven(NamedTuple):
    """Where the pages of an observation are that the warehouse holds: file below the landing, and its SHA-256."""

    landing_file: str
    landing_sha256: str


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


class Warehouse:
    """An open warehouse. Every method that writes is one transaction; a failed one changes nothing."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def migrate(self) -> None:
        """Make the tables that are missing, and all views anew from sql/views/.

        Raises WarehouseError for tables that another version of this program made.
        """
        with self._transaction() as connection:
            for table in metadata.tables.values():
                _refuse_other_columns(connection, table)
            for statement in ddl(self._engine.dialect):
                connection.exec_driver_sql(statement)
            for name, query in sorted(view_queries().items()):
                connection.exec_driver_sql(f"CREATE OR REPLACE VIEW {name} AS {query}")

    def ledger(self) -> Ledger:
        key = (observations.c.region, observations.c.project_id, observations.c.direction)
        with self._transaction() as connection:
            ids = connection.execute(select(observations.c.observation_id)).scalars().all()
            last = connection.execute(select(*key, func.max(observations.c.observed_at)).group_by(*key)).all()
            proven = select(*key, observations.c.landing_file, observations.c.landing_sha256)
            proven = proven.where(observations.c.is_proven).order_by(observations.c.observed_at)
            return Ledger(
                observation_ids=frozenset(ids),
                last_observed_at={_listing(*where): at for *where, at in last},
                last_proven={
                    _listing(*where): Proven(file, sha256)
                    for *where, file, sha256 in connection.execute(proven).all()  # the last one stays
                },
            )

    def record(self, observation: Observation, file: LandedFile, sha256: str, normalized: Normalized) -> None:
        """Record an observation exactly once: the versions it opens and closes, its rejects, its ledger row.

        One that is not proven leaves the ledger row only. Recording the same again changes nothing.
        Raises OutOfOrderError when it is not newer than the last one of its listing, StaleDifferenceError when
        `normalized` says what differs from another state than the recorded one, WarehouseError when the same
        observation was recorded from another file, or when the result would break the history's promises.
        """
        with self._transaction() as connection:
            if _is_recorded(connection, observation, sha256):
                return
            _refuse_out_of_order(connection, observation)
            counts = dict.fromkeys(_COUNTS, 0)
            if observation.status.is_proven:
                counts = _record_changes(connection, observation, normalized)
                _append(connection, rejected_records, _rejected_rows(observation, normalized))
            row = _ledger_row(observation, file, sha256, normalized) | counts
            connection.execute(insert(observations).values(row))

    def open_shares(self, listing: Listing) -> dict[str, str]:
        """The shares of a listing that are current, and the backup of each."""
        with self._transaction() as connection:
            shares = _answer(connection, _select_open(backup_share_history, listing, "share_id", "backup_id"))
        return dict(zip(*(column.to_pylist() for column in shares.columns), strict=True))

    def count(self, table: Table) -> int:
        with self._transaction() as connection:
            return connection.execute(select(func.count()).select_from(table)).scalar_one()

    def query(self, sql: str, **parameters: Any) -> pa.Table:
        """The answer to a question, as Arrow. `parameters` are bound to $name."""
        with self._transaction() as connection:
            raw: Any = connection.connection.driver_connection
            relation = raw.sql(sql, params=parameters or None)
            if relation is None:
                raise WarehouseError("that statement has no answer: ask with SELECT")
            answer: pa.Table = relation.to_arrow_table()
            return answer

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except (SQLAlchemyError, duckdb.Error) as error:
            raise WarehouseError(f"the warehouse refused: {_first_line(error)}") from None

    def close(self) -> None:
        self._engine.dispose()


def _refuse_other_columns(connection: Connection, table: Table) -> None:
    found = connection.exec_driver_sql(
        f"SELECT column_name FROM information_schema.columns WHERE table_name = '{table.name}'"  # noqa: S608 - own name
    )
    there = set(found.scalars().all())
    missing = [column.name for column in table.columns if column.name not in there]
    if there and missing:
        raise WarehouseError(
            f"{table.name} lacks the column {missing[0]}: another version of this program made the warehouse; "
            "move it aside, and the next sync makes it again from the landing"
        )


def view_queries() -> dict[str, str]:
    """Name and query of every view: file name = view name."""
    return {path.stem: path.read_text(encoding="utf-8") for path in sql_folder("views").glob("*.sql")}


def _first_line(error: Exception) -> str:
    return printable(str(getattr(error, "orig", None) or error).split("\n", 1)[0], 300)


def _of_listing(table: Table, listing: Listing) -> Any:
    return (
        (table.c.region == listing.region)
        & (table.c.project_id == listing.project_id)
        & (table.c.direction == str(listing.direction))
    )


def _is_recorded(connection: Connection, observation: Observation, sha256: str) -> bool:
    same = observations.c.observation_id == observation.observation_id
    recorded = _value(connection, select(observations.c.landing_sha256).where(same))
    if recorded is not None and recorded != sha256:
        raise WarehouseError(
            f"observation {observation.observation_id} was recorded from another landing file: "
            "the file was changed afterwards, restore it from a backup"
        )
    return recorded is not None


def _refuse_out_of_order(connection: Connection, observation: Observation) -> None:
    mine = _of_listing(observations, observation.listing)
    last = _value(connection, select(func.max(observations.c.observed_at)).where(mine))
    if last is not None and observation.observed_at <= last:
        raise OutOfOrderError(
            f"the {observation.listing} were already recorded as of {last.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC, "
            f"this observation is of {observation.observed_at:%Y-%m-%d %H:%M:%S}: only a rebuild can use it"
        )


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
    _apply(connection, backup_share_history, observation, shares)
    _apply(connection, backup_history, observation, backups)
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
    # nothing was told in two ways, and nothing else was left open.
    names = ("observation_id", "share_count", "backup_count", "rejected_count", "conflict_count")
    last = select(*(observations.c[name] for name in names))
    last = last.where(_of_listing(observations, listing), observations.c.is_proven)
    earlier = connection.execute(last.order_by(observations.c.observed_at.desc()).limit(1)).all()
    expected = (normalized.since.observation_id, len(open_shares), len(open_backups), 0, 0)
    doubtful = None
    if [tuple(row) for row in earlier] == [expected]:
        news = (normalized.shares, normalized.backups, normalized.since.left_ids)
        doubtful = without_unchanged(open_shares, open_backups, *news)
    if doubtful is None:
        raise StaleDifferenceError(f"what differs in the {listing} was read against another state")
    return doubtful


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
    frame: pd.DataFrame = _answer(connection, query).to_pandas(types_mapper=pd.ArrowDtype)
    if frame[key].duplicated().any():
        raise WarehouseError(f"{table.name} holds two open versions of a {key} of the {listing}: rebuild the warehouse")
    return frame


def _value(connection: Connection, query: Select[Any]) -> Any:
    """The first value, or None. The answer is read to its end: DuckDB refuses the next question before that."""
    rows = connection.execute(query).all()
    return rows[0][0] if rows else None


def _answer(connection: Connection, query: Select[Any]) -> pa.Table:
    """The answer in bulk, without an object for each value."""
    compiled = query.compile(dialect=connection.dialect)
    values = [compiled.params[name] for name in compiled.positiontup or ()]
    raw: Any = connection.connection.driver_connection
    answer: pa.Table = raw.sql(str(compiled), params=values).to_arrow_table()
    return answer


def _apply(connection: Connection, table: Table, observation: Observation, changes: Changes) -> None:
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
    _refuse_two_open_versions(connection, table, observation.listing)


def _close_versions(connection: Connection, table: Table, observation: Observation, keys: "pd.Series[str]") -> None:
    key = table.info["key"]
    with _registered(connection, pa.table({key: pa.array(keys, pa.string())})) as closing:
        ending = (
            table.update()
            .where(_of_listing(table, observation.listing), table.c.valid_to == OPEN_END)
            .where(table.c[key].in_(select(relation_named(closing, column(key)).c[key])))
            .values(valid_to=observation.observed_at, closed_by=observation.observation_id)
        )
        connection.execute(ending)


def _refuse_two_open_versions(connection: Connection, table: Table, listing: Listing) -> None:
    key = table.c[table.info["key"]]
    is_open = _of_listing(table, listing) & (table.c.valid_to == OPEN_END)
    twice = select(key).where(is_open).group_by(key).having(func.count() > 1)
    found = _value(connection, twice.limit(1))
    if found is not None:
        raise WarehouseError(f"{table.name} would hold two open versions of {found}: nothing was recorded")


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


def _rejected_rows(observation: Observation, normalized: Normalized) -> pa.Table:
    constants = {
        "observation_id": observation.observation_id,
        **_listing_values(observation.listing),
        "observed_at": observation.observed_at,
    }
    return _with_constants(normalized.rejected, constants, rejected_records)


def _append(connection: Connection, table: Table, rows: pa.Table) -> None:
    """Bulk insert; never row by row."""
    if not len(rows):
        return
    with _registered(connection, rows) as incoming:
        connection.exec_driver_sql(f"INSERT INTO {table.name} BY NAME SELECT * FROM {incoming}")  # noqa: S608 - own names


@contextmanager
def _registered(connection: Connection, rows: pa.Table) -> Iterator[str]:
    """The rows as a relation of this connection."""
    raw: Any = connection.connection.driver_connection
    raw.register("incoming_rows", rows)
    try:
        yield "incoming_rows"
    finally:
        # An interrupt has closed the connection by now; it must not be hidden behind that.
        with suppress(duckdb.ConnectionException):
            raw.unregister("incoming_rows")


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
