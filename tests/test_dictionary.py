"""Every column is explained once, and the database tells it too: comments on both engines, headers of the SQL files.

Not here: the columns of reports (test_reports.py), the generated pages (test_docs.py).
"""

from collections.abc import Iterator
from typing import Any

import pytest

from pipelines.publish import reading, rebuilding, writing
from pipelines.relations import explained, function_queries, read_header, view_queries
from pipelines.schema import metadata

QUERIES = {**view_queries(), **function_queries()}
CALLED = {name: name for name in [*metadata.tables, *view_queries()]} | {
    name: f"{name}(TIMESTAMPTZ '2026-03-01 00:00:00+00')" for name in function_queries()
}


@pytest.fixture(scope="module", params=["duckdb", "postgresql"])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def warehouse(engine: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """An empty warehouse that was rebuilt once: comments have to be there afterwards as well."""
    if engine == "duckdb":
        address = f"duckdb:///{tmp_path_factory.mktemp('dictionary') / 'warehouse.duckdb'}"
    else:
        server = request.getfixturevalue("postgres")
        address = server.create_database()
    with writing(address):
        pass
    with rebuilding(address):
        pass
    with reading(address) as opened:
        yield opened
    if engine == "postgresql":
        server.drop_database(address)


COMMENTS = {
    "duckdb": """
        SELECT table_name AS relation, '' AS column_name, comment FROM duckdb_tables()
        UNION ALL SELECT view_name, '', comment FROM duckdb_views() WHERE NOT internal
        UNION ALL SELECT table_name, column_name, comment FROM duckdb_columns() WHERE NOT internal
        UNION ALL SELECT function_name, '', comment FROM duckdb_functions() WHERE NOT internal
    """,
    "postgresql": """
        SELECT c.relname AS relation, coalesce(a.attname, '') AS column_name, d.description AS comment
        FROM pg_class AS c
        INNER JOIN pg_description AS d ON d.objoid = c.oid AND d.classoid = 'pg_class'::regclass
        LEFT JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = d.objsubid AND d.objsubid > 0
        WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'v')
        UNION ALL
        SELECT p.proname, '', obj_description(p.oid) FROM pg_proc AS p
        WHERE p.proname IN ('backup_shares_as_of', 'backups_as_of')
    """,
}


def test_the_database_tells_what_each_relation_and_column_is(warehouse: Any, engine: str) -> None:
    rows = warehouse.query(COMMENTS[engine]).to_pylist()
    told = {(row["relation"], row["column_name"]): row["comment"] for row in rows}
    columns = {(name, column) for name in [*metadata.tables, *view_queries()] for column in explained(name)}
    assert set(told) == columns | {(name, "") for name in CALLED}
    assert all(told.values())
    assert [place for place, comment in told.items() if place[0] in metadata.tables and comment[-1] != "."] == []
    assert told["backup_shares", ""].startswith("One row per share that a listing tells of, unless ")
    assert told["backups_as_of", ""] == "One row per backup."
    assert told["backup_history", "size_gb"] == "Size of the source volume. Unit: GB. From shared[].backup.size."
    assert told["backup_snapshots", "size_gb"] == told["backup_history", "size_gb"]
    assert told["backup_versions", "valid_to"].endswith("null while current")


def test_every_column_is_explained_and_nothing_else_is(warehouse: Any) -> None:
    for relation, called in CALLED.items():
        columns = warehouse.query(f"SELECT * FROM {called}").column_names
        assert list(explained(relation)) == columns, relation
        assert all(each.meaning for each in explained(relation).values()), relation
        if relation in QUERIES:
            assert set(read_header(QUERIES[relation]).columns) <= set(columns), relation


@pytest.mark.parametrize("name", sorted(QUERIES))
def test_the_header_of_a_view_or_function_says_what_it_answers(name: str) -> None:
    header = read_header(QUERIES[name])
    assert header.question.endswith("?")
    assert header.grain.startswith("one row per ")
    assert header.grain.endswith(".")


def test_what_a_header_says_is_read_as_it_stands() -> None:
    header = read_header(
        "-- Who has what?\n"
        "-- Grain: one row per who, and\n"
        "-- what. The rest is said here. And here.\n"
        "-- Parameter: since date = today-30: first day\n"
        "-- Columns as in backups, observations, and:\n"
        "--   who     somebody\n"
        "--           or other\n"
        "--   what    a thing\n"
        "select 1 -- no header\n"
    )
    assert header.question == "Who has what?"
    assert header.grain == "one row per who, and what."
    assert header.remarks == "The rest is said here. And here."
    assert header.parameters == (("since", "date", "today-30", "first day"),)
    assert header.columns == {"who": "somebody or other", "what": "a thing"}
    assert header.columns_as_in == ("backups", "observations")
