"""The views and functions of `sql/`: their queries, and what the comment at the head of a SQL file says.

A header tells the question, the grain, parameters, and the columns: those that the query makes itself one by one, the
others by the relations that explain them (`Columns as in backup_history, and:`). Reports have the same header.
Not here: the tables (schema.py), how a view is made (engines.py), how a report is asked (reports.py).
"""

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from pipelines.schema import Explanation, explained_columns, metadata, sql_folder


def view_queries() -> dict[str, str]:
    """Name and query of every view: file name = view name."""
    return _queries("views")


def function_queries() -> dict[str, str]:
    """Name and query of every function of a moment: file name = function name. They ask views only."""
    return _queries("functions")


def _queries(folder: str) -> dict[str, str]:
    return {path.stem: path.read_text(encoding="utf-8") for path in sorted(sql_folder(folder).glob("*.sql"))}


class Parameter(NamedTuple):
    """`kind` is date, integer or text; `default` is written as a user writes a value."""

    name: str
    kind: str
    default: str
    meaning: str


@dataclass(frozen=True)
class Header:
    """`grain` is one sentence, `remarks` all that follows it. `columns`: those explained here, in their order; the
    relations in `columns_as_in` explain the others, the first one that has a column of that name."""

    question: str
    grain: str
    remarks: str
    parameters: tuple[Parameter, ...]
    columns: dict[str, str]
    columns_as_in: tuple[str, ...]


_PARAMETER = re.compile(r"Parameter: (\w+) (date|integer|text) = (\S+): (.+)")
_COLUMNS = re.compile(r"Columns(?: as in (\w+(?:, \w+)*?))?(?:, and)?[:.]")
_COLUMN = re.compile(r"  (\w+)  +(\S.*)")
_SENTENCE = re.compile(r"(.+?\.)(?: (.+))?")


def read_header(sql: str) -> Header:
    """What the comment says that a file begins with."""
    commented = itertools.takewhile(lambda line: line.startswith("--"), sql.splitlines())
    question, *lines = [line.removeprefix("--").removeprefix(" ") for line in commented]
    prose = list(itertools.takewhile(lambda line: not _COLUMNS.fullmatch(line), lines))
    listed = lines[len(prose) :]
    parameters = [match.groups() for line in prose if (match := _PARAMETER.fullmatch(line))]
    told = " ".join(line for line in prose if not _PARAMETER.fullmatch(line)).removeprefix("Grain: ")
    sentence = _SENTENCE.fullmatch(told)
    grain, remarks = sentence.groups() if sentence else (told, None)
    others = _COLUMNS.fullmatch(listed[0]) if listed else None
    return Header(
        question=question,
        grain=grain,
        remarks=remarks or "",
        parameters=tuple(Parameter(*each) for each in parameters),
        columns=_columns(listed[1:]),
        columns_as_in=tuple(others[1].split(", ")) if others and others[1] else (),
    )


def _columns(lines: list[str]) -> dict[str, str]:
    """Name and meaning; a line that begins with no name goes on with the meaning of the one before."""
    found: dict[str, str] = {}
    for line in lines:
        if match := _COLUMN.fullmatch(line):
            found[match[1]] = match[2]
        elif found:
            found[next(reversed(found))] += f" {line.strip()}"
    return found


@cache
def explained(relation: str) -> dict[str, Explanation]:
    """What every column of a table, view or function means, in the order of the relation.

    A column that is explained nowhere is missing.
    """
    if relation in metadata.tables:
        return explained_columns(metadata.tables[relation])
    query = {**view_queries(), **function_queries()}[relation]
    header = read_header(query)
    known = {name: Explanation(meaning) for name, meaning in header.columns.items()}
    for other in header.columns_as_in:
        known = explained(other) | known
    return {name: known[name] for name in _selected(query) if name in known}


def _selected(query: str) -> list[str]:
    """Names of the columns that the last `select` of a file hands out: one per line or more, each told by its name."""
    plain = re.sub(r"--.*|'[^']*'", "", query)
    last = plain.rpartition("\nselect\n")[2].split("\nfrom ")[0]
    while (flat := re.sub(r"\([^()]*\)", "", last)) != last:
        last = flat
    return [re.findall(r"\w+", each)[-1] for each in last.split(",")]


def comments(relation: str, query: str) -> Iterator[tuple[str | None, str]]:
    """Column and comment of a view or function: first of itself (None), then of each column."""
    grain = read_header(query).grain
    yield None, grain[:1].upper() + grain[1:]
    for name, told in explained(relation).items():
        yield name, told.comment
