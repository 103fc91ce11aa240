"""What each engine of the warehouse does in its own way: rows in bulk, questions, one writer per listing.

Everything else is said in SQLAlchemy or in SQL that DuckDB and PostgreSQL both speak.
Not here: what is read and written (warehouse.py, record.py), how a warehouse is opened and published (publish.py).
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import lru_cache
from typing import Any, Protocol

import duckdb
import psycopg
import pyarrow as pa
import pyarrow.csv as pc_csv
from psycopg import sql as pg_sql
from sqlalchemy import Column, ColumnElement, Connection, Dialect, Select, Table, any_, bindparam, column, func, select
from sqlalchemy import table as relation_named
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.compiler import SQLCompiler

from pipelines.errors import WarehouseError

PIECE = 50_000
"""Rows of an answer that are in memory at once when it is streamed."""


class EngineWays(Protocol):
    """What the warehouse asks of an engine. Every method works inside the transaction of `connection`."""

    def rows(self, connection: Connection, query: Select[Any], parameters: Mapping[str, str]) -> pa.Table:
        """The answer in bulk, without an object for each value; only of text columns. `query` is compiled once."""
        ...

    def ask(self, connection: Connection, question: str, parameters: dict[str, Any]) -> pa.Table | None:
        """The answer to a question in SQL; `parameters` are bound to $name. None: that was no question."""
        ...

    def stream(self, connection: Connection, question: str) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
        """The answer piece by piece, for answers that are larger than the memory; to be read within the transaction."""
        ...

    def append(self, connection: Connection, table: Table, rows: pa.Table) -> None:
        """Insert in bulk, never row by row. `rows` has columns of the table, by name."""
        ...

    def is_among(
        self, connection: Connection, key: Column[Any], keys: pa.Array
    ) -> AbstractContextManager[ColumnElement[bool]]:
        """A condition for statements within the block: the key is one of these, however many."""
        ...

    def run(self, connection: Connection, statements: Sequence[str]) -> None:
        """Run statements that have no answer and no parameters, in the quickest way."""
        ...

    def make_view(self, connection: Connection, name: str, query: str, functions: Iterable[str]) -> None:
        """Make a view anew; its comments go. Of `functions`, which may ask it, those go that are in the way."""
        ...

    def make_function(self, connection: Connection, name: str, query: str) -> None:
        """Make a function of a moment whose rows are the answer to `query`, which names the moment $moment."""
        ...

    def function_named(self, name: str) -> str:
        """What COMMENT ON calls a function that was made here."""
        ...

    def forbid_overlaps(self, connection: Connection, table: Table) -> None:
        """Let the database itself refuse versions of a key that overlap, where it can."""
        ...

    def act_as_owner(self, connection: Connection) -> None:
        """What is made from here on belongs to whom the tables belong to, where this user may see to that."""
        ...

    def give_rights(self, connection: Connection, grants: str) -> None:
        """Let the groups of sql/roles/ do with what was made what `grants` says, where there are groups."""
        ...

    def hold(self, connection: Connection, name: str) -> None:
        """Keep others who hold the same name waiting until the transaction ends, and whoever rebuilds as well."""
        ...

    def will_pass(self, error: BaseException) -> bool:
        """Whether the same transaction, begun anew, may well succeed."""
        ...


class DuckDbWays:
    """Arrow tables are relations of the connection. There is one writer on a private copy: nobody to wait for."""

    def rows(self, connection: Connection, query: Select[Any], parameters: Mapping[str, str]) -> pa.Table:
        compiled = _compiled(query, connection.dialect)
        named = compiled.params | parameters
        values = [named[name] for name in compiled.positiontup or ()]
        answer: pa.Table = _driver(connection).sql(str(compiled), params=values).to_arrow_table()
        return answer

    def ask(self, connection: Connection, question: str, parameters: dict[str, Any]) -> pa.Table | None:
        driver = _driver(connection)
        if len(driver.extract_statements(question)) > 1:  # of several it would answer the last, without a word
            raise WarehouseError("those are several statements: ask one at a time")
        relation = driver.sql(question, params=parameters or None)
        return None if relation is None else relation.to_arrow_table()

    def stream(self, connection: Connection, question: str) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
        reader = _driver(connection).sql(question).to_arrow_reader(PIECE)
        return reader.schema, iter(reader)

    def append(self, connection: Connection, table: Table, rows: pa.Table) -> None:
        with _registered(connection, rows) as incoming:
            connection.exec_driver_sql(f"INSERT INTO {table.name} BY NAME SELECT * FROM {incoming}")  # noqa: S608 - own names

    @contextmanager
    def is_among(self, connection: Connection, key: Column[Any], keys: pa.Array) -> Iterator[ColumnElement[bool]]:
        with _registered(connection, pa.table({key.name: keys})) as among:
            yield key.in_(select(relation_named(among, column(key.name)).c[key.name]))

    def run(self, connection: Connection, statements: Sequence[str]) -> None:
        for statement in statements:  # in one text they take it longer
            _driver(connection).execute(statement)

    def make_view(self, connection: Connection, name: str, query: str, functions: Iterable[str]) -> None:  # noqa: ARG002
        # A macro is text until it is asked: none is ever in the way.
        connection.exec_driver_sql(f"CREATE OR REPLACE VIEW {name} AS {query}")

    def make_function(self, connection: Connection, name: str, query: str) -> None:
        body = query.replace("$moment", "moment")
        connection.exec_driver_sql(f"CREATE OR REPLACE MACRO {name}(moment) AS TABLE {body}")

    def function_named(self, name: str) -> str:
        return f"MACRO TABLE {name}"

    def forbid_overlaps(self, connection: Connection, table: Table) -> None:
        pass

    def act_as_owner(self, connection: Connection) -> None:
        pass

    def give_rights(self, connection: Connection, grants: str) -> None:
        pass

    def hold(self, connection: Connection, name: str) -> None:
        pass

    def will_pass(self, error: BaseException) -> bool:  # noqa: ARG002 - it never does
        return False


@lru_cache(maxsize=100)
def _compiled(query: Select[Any], dialect: Dialect) -> SQLCompiler:
    return query.compile(dialect=dialect)


@contextmanager
def _registered(connection: Connection, rows: pa.Table) -> Iterator[str]:
    """The rows as a relation of this connection."""
    raw = _driver(connection)
    raw.register("incoming_rows", rows)
    try:
        yield "incoming_rows"
    finally:
        # An interrupt has closed the connection by now; it must not be hidden behind that.
        with suppress(duckdb.ConnectionException):
            raw.unregister("incoming_rows")


MAINTENANCE = "maintenance"
"""Held shared by whoever records, and alone by whoever rebuilds."""

_PASSING_STATES = ("08", "40", "53", "57P", "58")
"""How SQLSTATE begins: connection, rollback (deadlock, serialization), resources, server stopped, system.

Not 57014: what was cancelled, by a person or for its time, would only take as long again.
"""


class PostgresWays:
    """COPY in both directions, through Arrow's reader and writer of CSV; advisory locks.

    In PostgreSQL's CSV an empty field is null and a quoted empty one is empty text: Arrow writes and reads it so.
    """

    def rows(self, connection: Connection, query: Select[Any], parameters: Mapping[str, str]) -> pa.Table:
        compiled = _compiled(query, connection.dialect)
        names = [each.name for each in query.selected_columns]
        with _driver(connection).cursor() as cursor:
            statement = f"COPY ({compiled}) TO STDOUT (FORMAT csv)"
            with cursor.copy(statement, compiled.params | parameters) as copy:
                text = b"".join(map(bytes, copy))
        if not text:
            return pa.schema([(name, pa.string()) for name in names]).empty_table()
        return pc_csv.read_csv(
            pa.BufferReader(text),
            read_options=pc_csv.ReadOptions(column_names=names, block_size=max(len(text), 1), use_threads=False),
            parse_options=pc_csv.ParseOptions(newlines_in_values=True),
            convert_options=pc_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )

    def ask(self, connection: Connection, question: str, parameters: dict[str, Any]) -> pa.Table | None:
        with _driver(connection).cursor() as cursor:
            # A prepared statement is one statement: nothing can be smuggled in behind it.
            cursor.execute(_with_percent_names(question) if parameters else question, parameters or None, prepare=True)
            if cursor.description is None:
                return None
            return pa.Table.from_arrays(*_arrays(cursor.description, cursor.fetchall()))

    def stream(self, connection: Connection, question: str) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
        driver = _driver(connection)
        # Asked for no rows the server tells their types.
        described = driver.execute(f"SELECT * FROM ({question}) AS answer LIMIT 0").description  # noqa: S608 - own names
        schema = pa.Table.from_arrays(*_arrays(described, [])).schema

        def pieces() -> Iterator[pa.RecordBatch]:
            with driver.cursor(name="stream") as cursor:
                cursor.execute(question)
                while rows := cursor.fetchmany(PIECE):
                    yield pa.RecordBatch.from_arrays(_arrays(described, rows)[0], schema=schema)

        return schema, pieces()

    def append(self, connection: Connection, table: Table, rows: pa.Table) -> None:
        sink = pa.BufferOutputStream()
        # Of an empty chunk Arrow would write whatever stands in its buffer.
        pc_csv.write_csv(rows.combine_chunks(), sink, pc_csv.WriteOptions(include_header=False))
        names = pg_sql.SQL(", ").join(map(pg_sql.Identifier, rows.column_names))
        statement = pg_sql.SQL("COPY {} ({}) FROM STDIN (FORMAT csv)").format(pg_sql.Identifier(table.name), names)
        with _driver(connection).cursor() as cursor, cursor.copy(statement) as copy:
            copy.write(sink.getvalue().to_pybytes())

    @contextmanager
    def is_among(self, connection: Connection, key: Column[Any], keys: pa.Array) -> Iterator[ColumnElement[bool]]:  # noqa: ARG002
        yield key == any_(bindparam("among", keys.to_pylist(), ARRAY(key.type)))

    def run(self, connection: Connection, statements: Sequence[str]) -> None:
        # Without parameters it is sent as it stands, all in one round trip, and a percent sign means itself.
        _driver(connection).execute(";\n".join(statements))

    def make_view(self, connection: Connection, name: str, query: str, functions: Iterable[str]) -> None:
        driver = _driver(connection)
        try:
            with driver.transaction():
                driver.execute(f"CREATE OR REPLACE VIEW {name} AS {query}")
        except psycopg.errors.InvalidTableDefinition:
            # It had other columns. What others have built on it is theirs to take away: then this fails and says so.
            for function in functions:
                self.drop_function(connection, function)
            driver.execute(f"DROP VIEW {name}")
            driver.execute(f"CREATE VIEW {name} AS {query}")

    def drop_function(self, connection: Connection, name: str) -> None:
        connection.exec_driver_sql(f"DROP FUNCTION IF EXISTS {name}(timestamptz)")

    def make_function(self, connection: Connection, name: str, query: str) -> None:
        driver = _driver(connection)
        described = driver.execute(query.replace("$moment", "NULL::timestamptz") + " LIMIT 0").description
        columns = ", ".join(f"{each.name} {_type_name(each.type_code)}" for each in described)
        # A body between BEGIN and END is bound to the views of this schema once and for all, whatever the search path
        # of whoever asks. Being strict it is answered as a whole: taken apart in a query that joins two of them, the
        # planner takes each for a row or two and compares every row with every other.
        body = query.replace("$moment", "moment")
        making = (
            f"CREATE OR REPLACE FUNCTION {name}(moment timestamptz) RETURNS TABLE ({columns}) "
            "LANGUAGE sql STABLE STRICT ROWS 10000 "
            f"BEGIN ATOMIC {body.rstrip()}; END"
        )
        try:
            with driver.transaction():
                driver.execute(making)
        except psycopg.errors.InvalidFunctionDefinition:
            self.drop_function(connection, name)  # as a view with other columns
            driver.execute(making)

    def act_as_owner(self, connection: Connection) -> None:
        # A superuser's view beside the tables of another gets no rights: only their owner's views are ours.
        driver = _driver(connection)
        owner = driver.execute(
            "SELECT tableowner FROM pg_tables "
            "WHERE schemaname = current_schema() AND tablename = 'observations' AND tableowner <> current_user "
            "AND pg_has_role(tableowner, 'MEMBER') AND has_schema_privilege(tableowner, schemaname, 'CREATE')"
        ).fetchone()
        if owner is not None:
            driver.execute(pg_sql.SQL("SET LOCAL ROLE {}").format(pg_sql.Identifier(*owner)))

    def give_rights(self, connection: Connection, grants: str) -> None:
        _driver(connection).execute(grants)

    def function_named(self, name: str) -> str:
        return f"FUNCTION {name}(timestamptz)"

    def forbid_overlaps(self, connection: Connection, table: Table) -> None:
        driver = _driver(connection)
        if not self.make_extension(connection):
            return
        name, key = f"{table.name}_no_overlap", table.info["key"]
        if driver.execute(
            "SELECT FROM pg_constraint WHERE conrelid = %s::regclass AND conname = %s", [table.name, name]
        ).rowcount:
            return
        # By the hash of the key, at a third of the cost. Keys that share all 64 bits would have to be told one by one.
        driver.execute(
            f"ALTER TABLE {table.name} ADD CONSTRAINT {name} EXCLUDE USING gist ("
            f"hashtextextended(region || ' ' || project_id || ' ' || direction || ' ' || {key}, 0) WITH =, "
            "tstzrange(valid_from, valid_to) WITH &&)"
        )

    def make_extension(self, connection: Connection) -> bool:
        """What `forbid_overlaps` needs, in the current schema if it is nowhere yet; False where the server lacks it."""
        driver = _driver(connection)
        if not driver.execute("SELECT FROM pg_available_extensions WHERE name = 'btree_gist'").rowcount:
            return False  # a server without its usual extensions: the loader's own checks have to do
        driver.execute("CREATE EXTENSION IF NOT EXISTS btree_gist")
        return True

    def hold(self, connection: Connection, name: str) -> None:
        connection.execute(select(func.pg_advisory_xact_lock_shared(_lock_key(MAINTENANCE))))
        connection.execute(select(func.pg_advisory_xact_lock(_lock_key(name))))

    def hold_alone(self, connection: Connection) -> None:
        """As the one who rebuilds: nobody records until this connection ends."""
        connection.execute(select(func.pg_advisory_lock(_lock_key(MAINTENANCE))))

    def will_pass(self, error: BaseException) -> bool:
        cause = error.orig if isinstance(error, DBAPIError) else error
        if not isinstance(cause, psycopg.Error):
            return False
        state = cause.sqlstate or ""
        return state.startswith(_PASSING_STATES) or (not state and isinstance(cause, psycopg.OperationalError))


def _lock_key(name: str) -> ColumnElement[int]:
    """Of this warehouse's schema: two warehouses in one database do not wait for each other."""
    return func.hashtextextended(func.current_schema() + " backup_shares " + name, 0)


_PARAMETER = re.compile(r"\$([a-z_]+)")


def _with_percent_names(question: str) -> str:
    """$name, which DuckDB understands, as psycopg wants it."""
    return _PARAMETER.sub(r"%(\1)s", question.replace("%", "%%"))


def _type_name(oid: int) -> str:
    """Of a type of the tables."""
    return psycopg.adapters.types[oid].name


_ARROW_TYPES: dict[int, pa.DataType] = {
    psycopg.adapters.types[name].oid: type_
    for name, type_ in {
        "bool": pa.bool_(),
        "int2": pa.int64(),
        "int4": pa.int64(),
        "int8": pa.int64(),
        "float4": pa.float64(),
        "float8": pa.float64(),
        "date": pa.date32(),
        "timestamp": pa.timestamp("us"),
        "timestamptz": pa.timestamp("us", tz="UTC"),
    }.items()
}
_NUMERIC = psycopg.adapters.types["numeric"].oid


def _array(oid: int, values: Sequence[Any]) -> pa.Array:
    """A column of an answer. Sums are whole numbers of any length; a type that Arrow does not know becomes text."""
    if oid == _NUMERIC:
        is_whole = all(value is None or value == value.to_integral_value() for value in values)
        return (
            pa.array(values, pa.decimal128(38, 0))
            if is_whole
            else pa.array([value and float(value) for value in values])
        )
    type_ = _ARROW_TYPES.get(oid)
    if type_ is None:
        return pa.array([value if value is None else str(value) for value in values], pa.string())
    return pa.array(values, type_)


def _arrays(described: Sequence[Any], rows: Sequence[Sequence[Any]]) -> tuple[list[pa.Array], list[str]]:
    columns = zip(*rows, strict=True) if rows else [()] * len(described)
    arrays = [_array(each.type_code, values) for each, values in zip(described, columns, strict=True)]
    return arrays, [each.name for each in described]


def _driver(connection: Connection) -> Any:
    return connection.connection.driver_connection


DUCKDB, POSTGRES = DuckDbWays(), PostgresWays()


def ways_of(connection: Connection) -> EngineWays:
    return POSTGRES if connection.dialect.name == "postgresql" else DUCKDB
