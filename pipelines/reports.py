"""The report pack: what each question in `sql/reports/` asks, of which parameters, and how these are bound.

A report is one SQL file whose header says all: question, grain, parameters with type and default, columns. It reads
views and functions only, so whoever may read those can run it. A further report is a further file.
Not here: the questions of the program itself (sql/reports/internal/), how an answer is printed (output.py).
"""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa

from pipelines.errors import ConfigurationError, printable
from pipelines.relations import Header, Parameter, read_header
from pipelines.schema import report, sql_folder
from pipelines.warehouse import Warehouse

ANY = "any"
"""The default of a parameter that then narrows nothing: bound as null."""


@dataclass(frozen=True)
class Report:
    """A question; its header explains every column, in the order of the answer."""

    name: str
    header: Header
    sql: str


def report_names() -> list[str]:
    return sorted(path.stem for path in sql_folder("reports").glob("*.sql"))


def load_report(name: str) -> Report:
    """Raises ConfigurationError for a name that is none, with those that are like it."""
    if name not in report_names():
        raise ConfigurationError(
            f"there is no report {printable(name, 60)}{_did_you_mean(name, report_names())}; "
            "`backup-shares report --list` shows all"
        )
    sql = report(name)
    return Report(name, read_header(sql), sql)


def pack() -> pa.Table:
    """All reports: name, question, and parameters with their defaults."""
    reports = [load_report(name) for name in report_names()]
    return pa.table(
        {
            "report": [each.name for each in reports],
            "question": [each.header.question for each in reports],
            "parameters": [" ".join(f"{one.name}={one.default}" for one in each.header.parameters) for each in reports],
        }
    )


def run_report(warehouse: Warehouse, asked: Report, given: Mapping[str, str], now: datetime) -> pa.Table:
    """The answer. `given`: values of parameters as a user writes them; those left out have their default."""
    return warehouse.query(asked.sql, **bound_values(asked, given, now))


def why_empty(warehouse: Warehouse, asked: Report, given: Mapping[str, str], now: datetime) -> str:
    """Why an answer without rows may not mean that there is nothing: what was asked for was never observed.

    Empty if nothing speaks for that.
    """
    values = bound_values(asked, given, now)
    named = {thing: values.get(thing) for thing in ("project", "volume")}
    found = warehouse.query(report("known_since"), **named).to_pylist()
    known = {row["thing"]: row for row in found}
    if "anything" not in known:
        return "no listing was proven yet: run a sync"
    first, last = (known["anything"][end].astimezone(UTC).date() for end in ("known_since", "known_until"))
    as_of, since = values.get("as_of"), values.get("since")
    if as_of is not None and as_of < first:
        return f"nothing is known of {as_of}: the first proven observation is of {first}"
    if since is not None and since > last:
        return f"nothing was proven since {since}: the last proven observation is of {last}; try -p since={first}"
    unknown = [f"{thing} {printable(name, 80)}" for thing, name in named.items() if name and thing not in known]
    return f"nothing was ever observed of the {unknown[0]}: look at its id" if unknown else ""


def bound_values(asked: Report, given: Mapping[str, str], now: datetime) -> dict[str, Any]:
    """A value for every parameter. Raises ConfigurationError for an unknown name or a value of another type."""
    names = [each.name for each in asked.header.parameters]
    for name in given:
        if name not in names:
            takes = f"it takes {', '.join(names)}" if names else "it takes none"
            raise ConfigurationError(
                f"the report {asked.name} has no parameter {printable(name, 60)}{_did_you_mean(name, names)}: {takes}"
            )
    return {each.name: _value(each, given.get(each.name, each.default), now) for each in asked.header.parameters}


def _value(parameter: Parameter, text: str, now: datetime) -> Any:
    if text == ANY:
        if parameter.default == ANY:
            return None
    elif parameter.kind == "text":
        return text
    elif parameter.kind == "integer" and re.fullmatch(r"[0-9]{1,9}", text):
        return int(text)
    elif parameter.kind == "date" and (day := _day(text, now)) is not None:
        return day
    expects = {
        "date": "a day such as 2026-03-01, today, or today-30",
        "integer": "a whole number such as 30",
        "text": "a text",
    }
    raise ConfigurationError(
        f"the parameter {parameter.name} is {printable(text, 60)!r}: write {expects[parameter.kind]}"
    )


def _day(text: str, now: datetime) -> date | None:
    """A day in UTC; None where the text is none."""
    try:
        if match := re.fullmatch(r"today(?:-([0-9]{1,5}))?", text):
            return now.astimezone(UTC).date() - timedelta(days=int(match[1] or 0))
        return date.fromisoformat(text) if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text) else None
    except (ValueError, OverflowError):
        return None


def _did_you_mean(name: str, names: list[str]) -> str:
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    return f" (did you mean {' or '.join(near)}?)" if near else ""
