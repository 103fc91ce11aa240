"""Answers of the warehouse for people and programs: a table on the terminal, CSV, JSON (lines too), Parquet.

Names and descriptions are written by strangers: on the terminal nothing in them steers it, in CSV nothing in them
is a formula. JSON and Parquet carry the values as they are.
Not here: the questions (sql/).
"""

import csv
import io
import json
import math
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipelines.errors import printable

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""A spreadsheet takes text that begins so for a formula; the full-width forms included."""


def print_answer(console: Console, answer: pa.Table) -> None:
    """Every row: as a table, or row after row where the terminal is too narrow for so many columns."""
    rows = _shown_rows(answer)
    lines = [answer.column_names, *rows]
    widths = _widths(lines, console.width)
    if not (rows and console.is_terminal) or widths == _widths(lines, None) or max(widths) >= READABLE:
        print_table(console, answer)
        return
    for number, row in enumerate(rows, start=1):
        table = Table(title=f"row {number} of {len(rows)}", title_justify="left", show_header=False)
        table.add_column(style="bold", no_wrap=True)
        table.add_column(overflow="fold")
        for name, value in zip(answer.column_names, row, strict=True):
            table.add_row(Text(printable(name)), Text(value))
        console.print(table)


def print_table(console: Console, answer: pa.Table, title: str = "", most: int | None = None) -> None:
    """The rows, `most` of them, as a table; control characters are shown as escapes, 200 characters of a text.

    Where the terminal is narrow the long columns give way first; into a file or a pipe no column does.
    """
    rows = _shown_rows(answer.slice(0, most))
    table = Table(title=title or None, title_justify="left", header_style="bold")
    widths = _widths([answer.column_names, *rows], console.width if console.is_terminal else None)
    for field, width in zip(answer.schema, widths, strict=True):
        number = pa.types.is_integer(field.type) or pa.types.is_floating(field.type)
        justify: Literal["left", "right"] = "right" if number else "left"
        table.add_column(field.name, justify=justify, overflow="ellipsis", no_wrap=True, width=width)
    for row in rows:
        table.add_row(*map(Text, row))
    if not console.is_terminal:
        console.width = max(console.width, sum(widths) + 3 * len(widths) + 1)
    console.print(table)
    shown = f"{len(rows)} of " if len(rows) < answer.num_rows else ""
    plural = "row" if answer.num_rows == 1 else "rows"
    console.print(f"{shown}{answer.num_rows} {plural}\n", style="dim", highlight=False)


def _shown_rows(answer: pa.Table) -> list[list[str]]:
    return [[printable(as_text(value)) for value in row] for row in rows_of(answer)]


def _widths(lines: list[list[str]], terminal: int | None) -> list[int]:
    """Cells per column: what it needs, or the largest common limit with which the table fits the terminal."""
    needed = [max(map(cell_len, column)) for column in zip(*lines, strict=True)]
    if terminal is None:
        return needed
    room = terminal - 3 * len(needed) - 1
    limit = max(needed, default=0)
    while limit > NARROWEST and sum(min(width, limit) for width in needed) > room:
        limit -= 1
    return [min(width, limit) for width in needed]


NARROWEST = 4
"""Cells that a column keeps however narrow the terminal is."""

READABLE = 12
"""Cells of a column from which on a value that is cut still says something."""


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
    """A list of objects; times are ISO 8601 in UTC. Raises ValueError where two columns have one name."""
    return json.dumps(_objects(answer), ensure_ascii=False, indent=2, default=str).encode() + b"\n"


def to_jsonl(answer: pa.Table) -> bytes:
    """An object a line; values as in JSON."""
    return b"".join(json.dumps(row, ensure_ascii=False, default=str).encode() + b"\n" for row in _objects(answer))


def _objects(answer: pa.Table) -> list[dict[str, Any]]:
    names = answer.column_names
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"two columns are called {printable(twice[0], 80)}: give one another name with AS")
    return [dict(zip(names, map(_plain, row), strict=True)) for row in rows_of(answer)]


def to_parquet(answer: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(answer, buffer, compression="zstd")
    return buffer.getvalue()


FORMATS = {"csv": to_csv, "json": to_json, "jsonl": to_jsonl, "parquet": to_parquet}


def as_text(value: Any) -> str:
    """A value as people read it: times in UTC, nothing for null."""
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
    match value:
        case date() | datetime():
            return value.isoformat()
        case Decimal():
            return int(value) if value == value.to_integral_value() else float(value)
        case float() if not math.isfinite(value):
            return None  # JSON has no word for it
        case _:
            return value


def _harmless(value: Any) -> str:
    text = "" if value is None else str(_plain(value))
    return f"'{text}" if isinstance(value, str) and text.startswith(FORMULA_STARTS) else text
