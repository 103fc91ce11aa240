"""The fault matrix: what can go wrong with answers, bodies and pages, and what must come of it.

One row a line, one procedure for all (`check` in estate.py): through the real client and the verbs, every row asserts
the outcome, what the operator is told, that the history is unchanged or the truth, that other listings are published,
that the next healthy day recovers, and that no planted secret is found anywhere.
Not here: faults of the way (test_fault_matrix_transport.py), the whole job (test_fault_matrix_job.py).
"""

import pytest

from tests.estate import Row, check, in_campaigns

# --- 4.1 HTTP status ---------------------------------------------------------------------------------------------------

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
    for code in (400, 401, 403, 404, 410, 418, 505)
    for place in PLACES
    if (code, place) != (404, "count")
]
PASSING = [
    Row(f"{code} at the {place}, {failures} times", struck(code, place, failures), "complete")
    for number, (code, attempts) in enumerate(TRANSIENT.items())
    for failures, place in zip(
        range(1, attempts), [*PLACES][number % 4 :] + [*PLACES][: number % 4], strict=False
    )
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
    for text in ("0", "2", "99999999999", "-5", "Sun, 01 Mar 2026 00:00:00 GMT", "soon", "99999999999999999999999", "1e3")
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
    Row("an error quotes the token", "quoted-token:code=403", "failed", ("HTTP 403", "[token]")),
    Row("the token expires at the first page", "status:code=401,operation=detail,nth=0", "complete"),
    Row("the token expires at the second page", "status:code=401,operation=detail,nth=1", "complete"),
    Row("the token expires at the third page", "status:code=401,operation=detail,nth=2", "complete"),
    Row("the token expires at a count", "status:code=401,operation=count,nth=1", "complete"),
    Row("throttled all the time", "throttled:per_second=0.5,retry_after=2", "complete"),
]
STATUS = [*FINAL, *PASSING, *LASTING, *RETRY_AFTER, *NOT_200, *REDIRECTS, *OTHERS]


def _table(rows):
    return pytest.mark.parametrize(("row", "rows"), [pytest.param(*each, id=each[0].name) for each in in_campaigns(rows)])


@_table(STATUS)
def test_a_status_that_is_not_200(row: Row, rows: tuple[Row, ...]) -> None:
    check(row, rows)
