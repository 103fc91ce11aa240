"""Answers of the warehouse for people and programs: a table on the terminal, CSV, JSON, Parquet.

Names and descriptions are written by strangers: on the terminal nothing in them steers it, in CSV nothing in them
is a formula. JSON and Parquet carry the values as they are.
Not here: the questions (sql/).
"""

import csv
import io
import json
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipelines.errors import printable

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""A spreadsheet takes text that begins so for a formula; the full-width forms included."""


def print_table(console: Console, answer: pa.Table, title: str = "") -> None:
    """The rows as a table; text that does not fit is cut, control characters are shown as escapes."""
    table = Table(title=title or None, title_justify="left", header_style="bold")
    for field in answer.schema:
        number = pa.types.is_integer(field.type) or pa.types.is_floating(field.type)
        table.add_column(field.name, justify="right" if number else "left", overflow="ellipsis", no_wrap=True)
    for row in rows_of(answer):
        table.add_row(*(Text(printable(_text(value))) for value in row))
    console.print(table)
    console.print(f"{answer.num_rows} {'row' if answer.num_rows == 1 else 'rows'}", style="dim")


def rows_of(answer: pa.Table) -> list[Sequence[Any]]:
    columns = [column.to_pylist() for column in answer.columns]
    return list(zip(*columns, strict=True))


def to_csv(answer: pa.Table) -> bytes:
    """Quoted CSV; text that a spreadsheet would run as a formula gets an apostrophe before it."""
    out = io.StringIO()
    writer = csv.writer(out, quoting=csv.QUOTE_ALL)
    writer.writerow(answer.column_names)
    writer.writerows([[_harmless(value) for value in row] for row in rows_of(answer)])
    return out.getvalue().encode()


def to_json(answer: pa.Table) -> bytes:
    """A list of objects; times are ISO 8601 in UTC."""
    rows = [dict(zip(answer.column_names, map(_plain, row), strict=True)) for row in rows_of(answer)]
    return json.dumps(rows, ensure_ascii=False, indent=2, default=str).encode() + b"\n"


def to_parquet(answer: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(answer, buffer, compression="zstd")
    return buffer.getvalue()


FORMATS = {"csv": to_csv, "json": to_json, "parquet": to_parquet}


def _text(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case datetime():
            return f"{value.astimezone(UTC) if value.tzinfo else value:%Y-%m-%d %H:%M:%S}"
        case _:
            return str(value)


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date | datetime) else value


def _harmless(value: Any) -> str:
    text = "" if value is None else str(_plain(value))
    return f"'{text}" if isinstance(value, str) and text.startswith(FORMULA_STARTS) else text
