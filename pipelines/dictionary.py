"""The generated parts of sql/README.md: what each relation holds, how they hang together, worked questions.

Types, examples and answers come from the world of the demo, observed and loaded here without Dagster: what a reader
gets who asks the warehouse that `make demo` makes. Ids of syncs and what is made of them are other ones there.
Not here: what a column means (schema.py, headers of sql/), the questions (sql/examples/).
"""

import re
from collections import deque
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
from sqlalchemy import Table

from pipelines.connect import open_clouds
from pipelines.demo import Demo, make_demo
from pipelines.errors import printable
from pipelines.extract import Options, observe_listings
from pipelines.load import known_shares, load_pending, load_policies
from pipelines.output import as_text, rows_of
from pipelines.policy_landing import land_policy
from pipelines.publish import reading, writing
from pipelines.relations import explained, function_queries, read_header, view_queries
from pipelines.reports import load_report, report_names
from pipelines.schema import metadata, sql_folder
from pipelines.simulator.server import serve
from pipelines.warehouse import Warehouse

DAYS = 5
"""As many as the demo has."""
MOMENT = "TIMESTAMPTZ '2026-03-05 12:00:00+00'"
LONGEST_EXAMPLE = 60


def example_queries() -> dict[str, str]:
    """Name and text of every worked question, in their order."""
    return {path.stem: path.read_text(encoding="utf-8") for path in sorted(sql_folder("examples").glob("*.sql"))}


def answer_table(answer: pa.Table) -> str:
    """An answer as a table in Markdown; times in UTC."""
    return "\n".join(_table(answer.column_names, [[_cell(as_text(value)) for value in row] for row in rows_of(answer)]))


def worked_section() -> str:
    """Every worked question with its query and answer."""
    return "\n".join(_lines(_worked))


def dictionary_section() -> str:
    """Every table, view and function, column by column."""
    return "\n".join(_lines(_dictionary))


def reports_section() -> str:
    reports = [(name, load_report(name).header) for name in report_names()]
    rows = [
        [
            f"[{name}](reports/{name}.sql)",
            header.question,
            ", ".join(f"`{each.name}`: {each.meaning}" for each in header.parameters),
        ]
        for name, header in reports
    ]
    return "\n".join(_table(["report", "question", "parameters"], rows))


def diagram() -> str:
    """The tables as an entity-relationship diagram in Mermaid: their keys, and what refers to what."""
    lines = ["```mermaid", "erDiagram"]
    for table in metadata.sorted_tables:
        for constraint in sorted(table.foreign_key_constraints, key=lambda each: list(each.column_keys)):
            other = constraint.referred_table.name
            lines.append(f"    {other} ||--o{{ {table.name} : {constraint.column_keys[0]}")
    lines.append("    backup_history }o--o{ backup_share_history : backup_id")
    for table in metadata.sorted_tables:
        if keys := _key_columns(table):
            lines += [f"    {table.name} {{", *(f"        {key}" for key in keys), "    }"]
    return "\n".join([*lines, "```"])


def _key_columns(table: Table) -> list[str]:
    own = table.info.get("row_key", [])
    foreign = [column.name for column in table.columns if column.foreign_keys]
    marks = {
        name: [*(["PK"] if name in own else []), *(["FK"] if name in foreign else [])] for name in [*own, *foreign]
    }
    types = {"TEXT": "text", "DATETIME": "timestamptz", "INTEGER": "integer"}
    return [f"{types[str(table.c[name].type)]} {name} {', '.join(mark)}" for name, mark in marks.items()]


def _worked(warehouse: Warehouse) -> Iterator[str]:
    for number, (name, query) in enumerate(example_queries().items(), 1):
        header = read_header(query)
        body = re.sub(r"\A(--.*\n)+", "", query).rstrip()
        yield f"### {number}. {header.question}\n"
        yield f"{_capital(header.grain)} {header.remarks}".rstrip() + f" ([{name}.sql](examples/{name}.sql))\n"
        yield f"```sql\n{body};\n```\n"
        yield answer_table(warehouse.query(query)) + "\n"


def _dictionary(warehouse: Warehouse) -> Iterator[str]:
    for title, called in _relations().items():
        yield f"### {title}\n"
        for name, call in called.items():
            rows = warehouse.query(f"SELECT * FROM {call}")  # noqa: S608 - own names
            yield f"#### `{name}`\n"
            yield f"{_about(name)}\n"
            yield "\n".join(_column_table(name, rows)) + "\n"


def _relations() -> dict[str, dict[str, str]]:
    """Per kind: name of every relation, and how it is called in a query."""
    return {
        "Views": {name: name for name in view_queries()},
        "Functions": {name: f"{name}({MOMENT})" for name in function_queries()},
        "Tables": {table.name: table.name for table in metadata.sorted_tables},
    }


def _about(name: str) -> str:
    if name in metadata.tables:
        return metadata.tables[name].comment or ""
    header = read_header({**view_queries(), **function_queries()}[name])
    return f"{header.question} {_capital(header.grain)} {header.remarks}".rstrip()


def _column_table(name: str, rows: pa.Table) -> list[str]:
    example = _fullest(rows)
    told = explained(name)
    return _table(
        ["column", "type", "meaning", "unit", "source", "example"],
        [
            [
                f"`{field.name}`",
                _sql_type(field.type),
                _cell(told[field.name].meaning),
                told[field.name].unit,
                f"`{source}`" if (source := told[field.name].source) else "",
                _cell(_shortened(as_text(example.get(field.name)))),
            ]
            for field in rows.schema
        ],
    )


def _fullest(rows: pa.Table) -> dict[str, Any]:
    """The row that says most, of several the first in the order of their text."""
    return min(
        rows.to_pylist(),
        key=lambda row: (-sum(value not in (None, "") for value in row.values()), str(row)),
        default={},
    )


_TYPES: dict[Callable[[pa.DataType], bool], str] = {
    pa.types.is_string: "text",
    pa.types.is_int64: "bigint",
    pa.types.is_int32: "integer",
    pa.types.is_boolean: "boolean",
    pa.types.is_date: "date",
    pa.types.is_timestamp: "timestamptz",
}


def _sql_type(type_: pa.DataType) -> str:
    return next(name for is_it, name in _TYPES.items() if is_it(type_))


def _lines(section: Callable[[Warehouse], Iterator[str]]) -> list[str]:
    with reading(_address()) as warehouse:
        if warehouse is None:
            raise AssertionError("the demo's world was not loaded")
        return list(section(warehouse))


_FOLDERS: list[TemporaryDirectory[str]] = []
"""Kept until the process ends."""


@cache
def _address() -> str:
    _FOLDERS.append(TemporaryDirectory(prefix="backup-shares-"))
    demo = make_demo(Path(_FOLDERS[-1].name))
    observe_and_load(demo)
    return demo.address


def observe_and_load(demo: Demo) -> None:
    """What the job of the demo does on its days, one request after the other and with fixed ids."""
    with serve(demo.service) as url:
        settings = demo.settings(url)
        landing, staging = settings.landing_folder, demo.folder / "staging"
        for day in range(DAYS):
            demo.service.day, now = day, partial(demo.world.moment, day)
            land_policy(demo.folder / "policy.yaml", landing, now())
            with open_clouds(settings, now=now) as clouds, reading(demo.address) as published:
                observed = observe_listings(
                    clouds.clients,
                    landing,
                    sync_id=f"00000000-0000-4000-8000-{day:012}",
                    now=now,
                    known=known_shares(published, landing),
                    options=Options(concurrency=1),
                )
                deque(observed, maxlen=0)
            with writing(demo.address) as warehouse:
                load_policies(warehouse, landing)
                load_pending(warehouse, landing, staging)


def _table(names: list[str], rows: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (names, ["---"] * len(names), *rows)]


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST_EXAMPLE else f"{text[:LONGEST_EXAMPLE]}..."


def _cell(text: str) -> str:
    """Text for a cell: names are written by strangers, and neither Markdown nor HTML nor a control character of theirs
    does anything."""
    return re.sub(r"([*<`|\[\]\\])", r"\\\1", printable(text, 5_000))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
