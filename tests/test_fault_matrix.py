"""The fault matrix: what can go wrong with answers, bodies and pages, and what must come of it.

One row a line, one procedure for all (`check` in estate.py): through the real client and the verbs, every row asserts
the outcome, what the operator is told, that the history is unchanged or the truth, that other listings are published,
that the next healthy day recovers, and that no planted secret is found anywhere.
Not here: faults of the way (test_fault_matrix_transport.py), the whole job (test_fault_matrix_job.py).
"""

import pytest

from tests.estate import Row, check, in_campaigns

# --- 4.1 HTTP status --------------------------------------------------------------------------------------------------

ADVICE = {
    400: "check VBS_PAGE_SIZE and the project id",
    401: "get a new one",
    403: "no right to list shares in this project: grant it",
    404: "project or endpoint not found: check VBS_ENDPOINT and VBS_PROJECTS",
    410: "check VBS_ENDPOINT and VBS_PROJECTS",
    418: "check VBS_ENDPOINT and VBS_PROJECTS",
    429: "the service throttles: lower VBS_REQUESTS_PER_SECOND",
    505: "ask the operator of the service",
}
TRANSIENT = {408: 3, 409: 2, 429: 5, 500: 3, 502: 3, 503: 3, 504: 3}
"""Attempts in all."""
PLACES = {"count": ("count", 0), "first page": ("detail", 0), "middle page": ("detail", 1), "last page": ("detail", 2)}


def struck(code: int, place: str, failures: int | None = None, more: str = "") -> str:
    operation, first = PLACES[place]
    last = "" if failures is None else first + failures - 1
    return f"status:code={code},operation={operation},nth={first}-{last}{more}"


FINAL = [
    Row(f"{code} at the {place}", struck(code, place), "failed", (f"HTTP {code}", ADVICE[code]))
    for code, places in {
        400: [*PLACES],
        401: ["first page", "last page"],
        403: [*PLACES],
        404: ["first page", "middle page", "last page"],
        410: ["middle page"],
        418: ["first page"],
        505: ["last page"],
    }.items()
    for place in places
]
PASSING = [
    Row(f"{code} at the {place}, {failures} times", struck(code, place, failures), "complete")
    for number, (code, attempts) in enumerate(TRANSIENT.items())
    for failures, place in zip(range(1, attempts), [*PLACES][number % 4 :] + [*PLACES][: number % 4], strict=False)
]
LASTING = [
    Row(
        f"{code} at the {place} for ever",
        struck(code, place),
        "failed",
        (f"HTTP {code}", f"{attempts} attempts in ", ADVICE.get(code, "ask the operator of the service")),
    )
    for number, (code, attempts) in enumerate(TRANSIENT.items())
    for place in [[*PLACES][number % 4]]
]
RETRY_AFTER = [
    Row(f"429 with Retry-After {text!r}", f"status:code=429,operation=detail,nth=1-2,retry_after={text}", "complete")
    for text in (
        "0",
        "2",
        "99999999999",
        "-5",
        "Sun, 01 Mar 2026 00:00:00 GMT",
        "soon",
        "99999999999999999999999",
        "1e3",
    )
]
NOT_200 = [
    Row(
        f"{code} instead of a page",
        f"status:code={code},operation=detail,nth=1-",
        "failed",
        (f"HTTP {code}", "only 200 is an answer; if it stays so, ask the operator"),
    )
    for code in (201, 202, 203, 204, 205, 206)
]
REDIRECTS = [
    Row(
        f"{code} to {to}",
        f"redirect:code={code},to={to},operation=detail,nth={nth}",
        "failed",
        (f"HTTP {code}", f"a redirect to {host} was not followed", "give the address that it leads to as VBS_ENDPOINT"),
    )
    for code, to, host, nth in (
        (301, "same-host", "nowhere", "0-"),
        (302, "other-host", "other.example", "1-"),
        (307, "plain-http", "simulator", "0-"),
        (308, "other-host", "other.example", "2-"),
    )
]
OTHERS = [
    Row("a 400 of HTML", "status:code=400,shape=html,operation=detail,nth=1-", "failed", ("HTTP 400", ADVICE[400])),
    Row("404 for the count", "missing-count", "complete", ("no count",)),
    Row("404 for the count and the list", "status:code=404", "failed", ("HTTP 404", ADVICE[404])),
    Row("rights revoked", "revoked", "failed", ("HTTP 403", "VolumeBackup.0042", ADVICE[403])),
    Row("rights revoked in mid-walk", "revoked:operation=detail,nth=2-", "failed", ("HTTP 403", ADVICE[403])),
    Row("pages above a limit fail", "fails-above-limit:limit=4", "failed", ("HTTP 500", "3 attempts")),
    Row("an error quotes the token", "quoted-token:code=403", "failed", ("HTTP 403", "[secret]")),
    Row("the token expires at the first page", "status:code=401,operation=detail,nth=0", "complete"),
    Row("the token expires at the second page", "status:code=401,operation=detail,nth=1", "complete"),
    Row("the token expires at the third page", "status:code=401,operation=detail,nth=2", "complete"),
    Row("the token expires at a count", "status:code=401,operation=count,nth=1", "complete"),
    Row("throttled all the time", "throttled:per_second=0.5,retry_after=2", "complete"),
]
STATUS = [*FINAL, *PASSING, *LASTING, *RETRY_AFTER, *NOT_200, *REDIRECTS, *OTHERS]


# --- 4.3 Bodies -------------------------------------------------------------------------------------------------------

PAGES = "operation=detail,nth=1-"
ASK = "if it stays so, ask the operator of the service"
NOT_JSON = ("the answer is not JSON, it begins with: ", "2 attempts", "check that VBS_ENDPOINT is the service itself")


def refused(name: str, fault: str, *words: str, place: str = PAGES) -> Row:
    return Row(name, f"{fault}{',' if ':' in fault else ':'}{place}", "failed", words)


DOCUMENTS = [
    refused("a login page", "login-page", *NOT_JSON, "<!DOCTYPE html><html>"),
    refused("a login page for a count", "login-page", *NOT_JSON, place="operation=count"),
    refused("a login page that says it is JSON", "login-page:content_type=application/json", *NOT_JSON),
    refused("a login page without type", "login-page:content_type=", *NOT_JSON),
    refused("a login page as plain text", "login-page:content_type=text/plain", *NOT_JSON),
    refused("bytes that are no UTF-8", "encoding:kind=invalid-utf8", *NOT_JSON),
    refused("UTF-16", "encoding:kind=utf-16", *NOT_JSON),
    refused("UTF-32", "encoding:kind=utf-32", *NOT_JSON),
    Row("a byte order mark", "encoding:kind=bom", "complete"),
    Row("a page as plain text", "content-type:type=text/plain", "complete"),
    Row("a page without type", "content-type:type=", "complete"),
    Row("blanks behind the page", "trailing-text:kind=blanks", "complete"),
    refused("an empty body", "truncated-body:bytes=0", *NOT_JSON),
    refused("half a page", "truncated-body:bytes=900", *NOT_JSON, '{"shared": [{"'),
    refused("garbage behind the page", "trailing-text:kind=garbage", *NOT_JSON),
    refused("the page twice", "trailing-text:kind=document", *NOT_JSON),
    refused("a list", "wrong-shape:kind=list", "the answer is not a JSON object", ASK),
    refused("no `shared`", "wrong-shape:kind=missing", "`shared` is missing where a list was expected", ASK),
    refused("`shared` is null", "wrong-shape:kind=null", "`shared` is null", "nothing is taken for empty", ASK),
    refused("`shared` is an object", "wrong-shape:kind=object", "`shared` is a dict where a list", ASK),
    refused("`shared` is a text", "wrong-shape:kind=text", "`shared` is a str where a list", ASK),
    refused("`shared` is a number", "wrong-shape:kind=number", "`shared` is a int where a list", ASK),
    refused("null alone", "wrong-shape:kind=null-document", "the answer is not a JSON object", ASK),
    refused("a text alone", "wrong-shape:kind=text-document", "the answer is not a JSON object", ASK),
    refused("nothing at all", "wrong-shape:kind=no-document", *NOT_JSON),
    refused(
        "the count is null", "wrong-shape:kind=null", "the count of ", "is not a whole number", place="operation=count"
    ),
    refused("the count is 0.5", "wrong-shape:kind=number", "is not a whole number", place="operation=count"),
    refused("`shared` twice", "repeated-key", "`shared` stands twice in the answer", ASK),
    refused("two counts", "repeated-key", "`count` stands twice in the answer", ASK, place="operation=count"),
    refused("100,000 brackets", "nested-brackets", *NOT_JSON),
    *(
        refused(f"200 with an error, {shape}", f"error-in-200:shape={shape}", "200 with an error: ", ASK)
        for shape in ("vbs", "usual", "gateway", "openstack")
    ),
    *(
        Row(f"{kind} in {field}", f"odd-number:kind={kind},field={field}", "failed", NOT_JSON)
        for kind, field in (
            ("nan", "backup.size"),
            ("infinity", "backup.object_count"),
            ("minus-infinity", "id"),
            ("leading-zero", "backup.size"),
            ("nan", "backup.unknown"),
            ("huge", "backup.size"),
        )
    ),
    Row(
        "the pages are empty, the count is not",
        "empty-pages",
        "incomplete",
        ("the first page is empty, the service counts ", "run again"),
    ),
    Row("share_to_me is ignored", "ignored-share-to-me", "never wrong"),
]

WRONG = {
    "string": ("12", "true", "1.5", "{}", '["a"]'),
    "id": ('""', '"' + "x" * 10_000 + '"', '"not-a-uuid"', '"AAAAAAAA-0000-4000-8000-000000000000"', "7", "[]"),
    "project": ('"a/../b"', '""', "7"),
    "whole number": ('"1"', "true", "1.5", "1e3", "9223372036854775808", "1e400", "{}"),
    "true or false": ("0", '"true"', "[]"),
    "time": (
        '"yesterday"',
        '"2026-13-01T00:00:00"',
        '"2026-01-01T00:00:60"',
        '"2026-01-01T24:00:00"',
        '"0000-01-01T00:00:00"',
        '"20170808"',
        '"2026-01-01T00:00:00.0123456789"',
        "1767225600",
        '"infinity"',
    ),
}
FIELDS = {
    "id": "id",
    "backup_id": "id",
    "to_project_id": "project",
    "created_at": "time",
    "updated_at": "time",
    "backup": "string",
    "backup.id": "id",
    "backup.name": "string",
    "backup.status": "string",
    "backup.size": "whole number",
    "backup.object_count": "whole number",
    "backup.volume_id": "string",
    "backup.snapshot_id": "string",
    "backup.availability_zone": "string",
    "backup.container": "string",
    "backup.description": "string",
    "backup.fail_reason": "string",
    "backup.is_incremental": "true or false",
    "backup.has_dependent_backups": "true or false",
    "backup.created_at": "time",
    "backup.updated_at": "time",
    "backup.data_timestamp": "time",
    "backup.service_metadata": "string",
}


def wrong_values() -> list[Row]:
    """Every field once, and every wrong value once, at all positions in turn."""
    rows = []
    taken = dict.fromkeys(WRONG, 0)
    for number, (field, kind) in enumerate(
        [*FIELDS.items(), *[("backup.size", "whole number")] * 3, *[("created_at", "time")] * 4]
    ):
        value = WRONG[kind][taken[kind] % len(WRONG[kind])]
        taken[kind] += 1
        position = ("first", "middle", "last")[number % 3]
        if field == "backup" and value == "{}":
            value = "[]"
        rows.append(
            Row(
                f"{field} is {value[:40]}",
                f"malformed-record:position={position},field={field},value={value}",
                "quarantined",
                (field.rpartition(".")[2],),
                position,
                closes=field not in ("id", "backup_id"),
            )
        )
    return rows


RECORDS = [
    *wrong_values(),
    Row("a record names its id twice", "duplicate-keys:field=id", "quarantined", ("id is given twice",), closes=False),
    Row(
        "a record names its size twice",
        "duplicate-keys:field=backup.size",
        "quarantined",
        ("backup.size is given twice",),
    ),
    Row(
        "a record without backup_id",
        "missing-field:field=backup_id",
        "quarantined",
        ("backup_id is missing",),
        closes=False,
    ),
    Row("a record without id", "missing-field:field=id", "quarantined", ("id is missing",), closes=False),
    Row(
        "the backup is another one", "other-backup-id", "quarantined", ("backup.id is not the backup_id of the share",)
    ),
    Row("the two flags contradict", "both-spellings", "quarantined", ("contradict each other",)),
    Row("1.000 unknown fields", "unknown-fields:count=1000", "complete"),
    Row("an unknown field in the backup", "unknown-fields:where=backup,position=all", "complete"),
    Row("a name of a field of 1 MB", "unknown-fields:name_bytes=1000000", "complete"),
    Row("no record has an id", "missing-field:field=id,position=all", "incomplete"),
    Row("no record has a name", "missing-field:field=backup.name,position=all", "never wrong"),
    Row(
        "a number as large as can be",
        "malformed-record:field=backup.size,value=9223372036854775807",
        "read",
        value=("size_gb", 2**63 - 1),
    ),
    Row(
        "a number that no float holds",
        "malformed-record:field=backup.size,value=9007199254740993",
        "read",
        value=("size_gb", 2**53 + 1),
    ),
    Row("a negative number", "malformed-record:field=backup.size,value=-1", "read", value=("size_gb", -1)),
    Row("an empty time", 'malformed-record:field=updated_at,value=""', "read", value=("share_updated_at", None)),
    Row("NUL in a name", "hostile-text:kind=nul", "read", value=("backup_name", "night\u2400ly")),
    Row("half a pair in a name", "hostile-text:kind=surrogate", "read", value=("backup_name", "night\ufffdly")),
    Row(
        "escapes in a name",
        "hostile-text:kind=ansi",
        "read",
        value=("backup_name", "\x1b[2J\x1b]0;owned\x07nightly\x9b31m"),
    ),
    Row(
        "a name of 10 MB",
        "hostile-text:kind=long,position=first",
        "read",
        value=("backup_name", "x" * 10_000_000),
        position="first",
    ),
    Row("a name of SQL", "hostile-text:kind=sql", "read", value=("backup_name", "'; DROP TABLE backup_history; --")),
    Row(
        "escapes in a status",
        "hostile-text:kind=ansi,field=to_project_id",
        "quarantined",
        ("to_project_id is ", "which is not an id"),
    ),
]

# --- 4.4 Pages --------------------------------------------------------------------------------------------------------

RATES = (0, 0.01, 0.1, 1)
SERVERS = {
    "honest": "content-type:type=application/json",
    "clamps": "clamped-pages:rows=3",
    "clamps, as a default": "default-limit:rows=4",
    "ignores offset": "ignored-offset",
    "rounds offset": "rounded-offset",
    "ignores sort_key for ever": "ignored-sort-key:order=scrambled",
    "sorts by creation": "ignored-sort-key:order=created_at",
    "sorts by what changes": "ignored-sort-key:order=jumping",
    "ignores sort_dir": "ignored-sort-dir:always=asc",
    "sorts by backup id": "sort-by-backup-id",
    "redraws the order": "redrawn-order",
    "redraws ties": "sort-by-backup-id\nredrawn-ties",
    "shows stale pages": "stale-pages",
    "hides 1 %": "hidden-rows:part=0.01",
    "hides 1 % from pages, not from filters": "hidden-rows:part=0.01,from_count=true,from_filters=false",
    "short pages": "short-pages",
    "caps by bytes": "byte-pages:bytes=3000",
    "at times empty pages": "empty-pages:rate=0.3",
    "endless pages": "endless-pages",
    "begins again": "wrapped-pages",
    "repeats pages": "repeated-pages:rate=0.3",
    "too many rows": "too-many-rows",
    "the last row is missing": "last-row-missing",
    "rows twice": "doubled-rows",
    "links by marker": "next-links:by=marker",
    "count off by 7": "wrong-count",
    "no count": "missing-count",
    "turns": "change-every:every=2,kind=turns",
}
PAGING = [
    Row(f"{name}, {rate:g} changes a request", f"{faults}\ndrift:rate={rate},seed={number}", "never wrong")
    for number, (name, faults) in enumerate(SERVERS.items())
    for rate in RATES
]


def _table(rows):
    return pytest.mark.parametrize(
        ("row", "rows"), [pytest.param(*each, id=each[0].name) for each in in_campaigns(rows)]
    )


@_table(STATUS)
def test_a_status_that_is_not_200(row: Row, rows: tuple[Row, ...]) -> None:
    check(row, rows)


@_table(DOCUMENTS)
def test_a_body_that_is_no_page(row: Row, rows: tuple[Row, ...]) -> None:
    check(row, rows)


@_table(RECORDS)
def test_a_record_that_is_not_as_it_should_be(row: Row, rows: tuple[Row, ...]) -> None:
    check(row, rows)


@pytest.mark.slow
@_table(PAGING)
def test_a_service_that_pages_wrongly(row: Row, rows: tuple[Row, ...]) -> None:
    check(row, rows, page_size=9)


def test_more_than_150_scenarios_are_searched_for_planted_secrets() -> None:
    """F21. Every row is searched through (`check`)."""
    rows = [*STATUS, *DOCUMENTS, *RECORDS, *PAGING]
    assert len({row.name for row in rows}) == len(rows) > 250
