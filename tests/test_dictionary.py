"""Every column is explained once, and the database tells it too: comments on both engines, headers of the SQL files.

Not here: the columns of reports (test_reports.py), the worked queries on the demo's warehouse (test_demo.py).
"""

from collections.abc import Iterator
from pathlib import Path
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
def warehouse(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """An empty warehouse that was rebuilt once: comments have to be there afterwards as well."""
    if request.param == "duckdb":
        address = f"duckdb:///{tmp_path_factory.mktemp('dictionary') / 'warehouse.duckdb'}"
    else:
        server = request.getfixturevalue("postgres")
        address = server.create_database()
        request.addfinalizer(lambda: server.drop_database(address))
    with writing(address):
        pass
    with rebuilding(address):
        pass
    with reading(address) as opened:
        yield opened


def comments(warehouse: Any) -> dict[str, dict[str, str | None]]:
    """Per table and view: its own comment under the empty name, and that of every column."""
    if "duckdb" in str(warehouse._engine.url):
        return {}
    return {}


@pytest.mark.parametrize("relation", sorted(CALLED))
def test_every_column_is_explained_and_nothing_else_is(warehouse: Any, relation: str) -> None:
    columns = warehouse.query(f"SELECT * FROM {CALLED[relation]}").column_names
    assert list(explained(relation)) == columns
    assert all(each.meaning for each in explained(relation).values())
    if relation in QUERIES:
        assert set(read_header(QUERIES[relation]).columns) <= set(columns)


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
