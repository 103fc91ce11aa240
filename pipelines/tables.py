"""How tables, views and functions are made in a warehouse, and by which version of the program they were.

Not here: columns (schema.py), queries (relations.py), what each engine does in its own way (engines.py).
"""

import hashlib
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from sqlalchemy import Connection, insert, select

from pipelines.engines import EngineWays, ways_of
from pipelines.errors import WarehouseError
from pipelines.relations import comments, function_queries, view_queries
from pipelines.schema import (
    HISTORY_TABLES,
    SCHEMA_VERSION,
    comment_on,
    ddl,
    metadata,
    observations,
    schema_version,
    sql_folder,
)


def make_tables(connection: Connection) -> None:
    ways = ways_of(connection)
    ways.hold(connection, "schema")
    found, wanted = version_of_ours(connection), _definition(connection)
    if (
        found is not None
        and found.definition_sha256 == wanted.sha256
        and wanted.views.keys() <= relations_of(connection)
    ):
        return
    ways.act_as_owner(connection)
    ways.run(connection, wanted.statements)
    for table in HISTORY_TABLES:
        ways.forbid_overlaps(connection, table)
    for name, query in wanted.views.items():
        ways.make_view(connection, name, query, wanted.functions)
    for name, query in wanted.functions.items():
        ways.make_function(connection, name, query)
    ways.run(connection, wanted.comments)
    ways.give_rights(connection, wanted.grants)
    connection.execute(schema_version.delete())
    connection.execute(insert(schema_version).values(version=SCHEMA_VERSION, definition_sha256=wanted.sha256))


class _Definition(NamedTuple):
    """All that is made in a warehouse of one engine."""

    statements: list[str]
    views: dict[str, str]
    functions: dict[str, str]
    comments: list[str]
    grants: str
    sha256: str


_definitions: dict[str, _Definition] = {}


def _definition(connection: Connection) -> _Definition:
    """Put into words once in a process: that takes nearly as long as opening a warehouse."""
    engine = connection.dialect.name
    if engine not in _definitions:
        statements, views, functions = list(ddl(connection.dialect)), view_queries(), function_queries()
        told = list(_comments(ways_of(connection), views, functions))
        grants = (sql_folder("roles") / "grants.sql").read_text(encoding="utf-8")
        text = "\0".join([*statements, *views.values(), *functions.values(), *told, grants])
        sha256 = hashlib.sha256(text.encode()).hexdigest()
        _definitions[engine] = _Definition(statements, views, functions, told, grants, sha256)
    return _definitions[engine]


def make_bare_tables(connection: Connection) -> None:
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
    """What made tables and views: the version of the tables, the SHA-256 of all statements.

    `missing`: tables of this version that somebody has dropped since.
    """

    version: int
    definition_sha256: str
    missing: tuple[str, ...] = ()

    @property
    def problem(self) -> str:
        """Why this program must leave the tables alone, and what to do; empty if it need not."""
        versions = f"({self.version}, this program makes {SCHEMA_VERSION})"
        if self.version > SCHEMA_VERSION:
            return f"are of a newer version {versions}: use the newer program"
        if self.version < SCHEMA_VERSION:
            return f"are of an earlier version {versions}: `backup-shares rebuild` makes them again from the landing"
        if self.missing:
            return f"lack {', '.join(self.missing)}: `backup-shares rebuild` makes them again from the landing"
        return ""


def made_version(connection: Connection) -> Made | None:
    there = relations_of(connection)
    if schema_version.name not in there:
        # The first versions of this program did not write down theirs.
        return Made(0, "") if observations.name in there else None
    rows = connection.execute(select(schema_version.c.version, schema_version.c.definition_sha256)).all()
    missing = tuple(table.name for table in metadata.sorted_tables if table.name not in there)
    return Made(*rows[0], missing) if rows else Made(0, "")


def relations_of(connection: Connection) -> set[str]:
    """The names of tables and views that are there."""
    # Not from information_schema: that hides from an analyst what may not be read, as if nothing were there.
    found = connection.exec_driver_sql(
        "SELECT tablename FROM pg_catalog.pg_tables WHERE schemaname = current_schema() "
        "UNION ALL SELECT viewname FROM pg_catalog.pg_views WHERE schemaname = current_schema()"
    )
    return set(found.scalars().all())


def version_of_ours(connection: Connection) -> Made | None:
    found = made_version(connection)
    if found is not None and (problem := found.problem):
        raise WarehouseError(f"the tables of the warehouse {problem}")
    return found
