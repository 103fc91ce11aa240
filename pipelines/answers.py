"""What an answer of the service means: a page, a count, or one typed error that says what to do. Pure: bytes in.

JSON is read strictly: UTF-8, no NaN, no key twice where we read, and nothing is taken for empty that is not an empty
list. Errors are understood in all body shapes of this platform (api-facts 5.1); their text is a stranger's.
Not here: requests (client.py), what is repeated (traffic.py), the single records (records.py).
"""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import orjson
from pydantic import SecretStr

from pipelines.errors import (
    ApiError,
    CredentialError,
    EndpointError,
    MalformedResponseError,
    PermanentApiError,
    TransientApiError,
    printable,
)
from pipelines.observation import Direction, Listing
from pipelines.traffic import read_retry_after

MAX_COUNT = 2**63 - 1
"""What a column of the warehouse can hold."""

TRANSIENT = {408, 409, 429, 500, 502, 503, 504}
"""Statuses that may be another one if asked again."""
_OVERLOAD = {500, 502, 503, 504}
_SAME_EVERYWHERE = {405, 406, 407, 501}
_ADVICE = {
    400: "check VBS_PAGE_SIZE and the project id",
    401: "the token is refused: get a new one",
    403: "the credential has no right to list shares in this project: grant it, or remove the project",
    404: "project or endpoint not found: check VBS_ENDPOINT and VBS_PROJECTS",
    405: "this endpoint does not offer backup sharing: check VBS_ENDPOINT",
    406: "something between here and the service refuses what we accept: check VBS_ENDPOINT",
    407: "a proxy stands between and wants authentication: check VBS_ENDPOINT and the network",
    429: "the service throttles: lower VBS_REQUESTS_PER_SECOND and VBS_CONCURRENCY, or run later",
    501: "this endpoint does not offer backup sharing: check VBS_ENDPOINT",
}
_ASK_OPERATOR = "if it stays so, ask the operator of the service, with the request id"


@dataclass(frozen=True)
class Answer:
    """One answer as received. `token` is what was sent to get it; times are this machine's."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    token: SecretStr
    requested_at: datetime
    received_at: datetime

    @property
    def request_id(self) -> str:
        """The service's own id of the request, printable; empty if it gave none."""
        names = ("x-request-id", "x-openstack-request-id", "x-compute-request-id")
        found = (self.headers[name] for name in names if name in self.headers)
        return self.quoted(next(found, ""), 80)

    def quoted(self, text: str, limit: int) -> str:
        """What the service says, for messages: printable, and without the token, which it may quote."""
        return _quoted(text, [self.token.get_secret_value()], limit)

    def error_words(self) -> tuple[str, str, str] | None:
        return error_words(self.body, [self.token.get_secret_value()])

    @property
    def clock_skew(self) -> float | None:
        """Seconds by which the service's clock is ahead, as far as the time of the exchange does not explain it.

        None where the service does not tell its time.
        """
        try:
            date = parsedate_to_datetime(self.headers.get("date", ""))
            # The header has no fractions: it may be up to a second older than it says.
            early, late = (self.requested_at - date).total_seconds() - 1, (date - self.received_at).total_seconds()
        except (ValueError, TypeError, OverflowError):
            return None
        return late if late > 0 else min(0.0, -early)


def _quoted(text: str, secrets: Sequence[str], limit: int) -> str:
    for secret in filter(None, secrets):
        text = _spelt(secret).sub("[secret]", text)
    return printable(text, limit)


def _spelt(secret: str) -> re.Pattern[str]:
    """The secret as it is, or as JSON or a URL may write it: of letters and digits nobody makes anything else."""
    return re.compile(
        "".join(
            sign if sign.isalnum() else rf"(?i:\\?{re.escape(sign)}|\\u{ord(sign):04x}|%{ord(sign):02x})"
            for sign in secret
        )
    )


# --- good answers --------------------------------------------------------------------------------------------------


def read_json(answer: Answer) -> Any:
    """The document: strict JSON in UTF-8; a byte order mark is tolerated.

    Raises TransientApiError if it is none, MalformedResponseError if a key that is read stands twice: parsers take the
    last one without a word.
    """
    body = without_mark(answer.body)
    if (page := _ordinary_page(body)) is not None:
        return page
    document = _strict_json(body)
    # Raised out here: the parser's own error keeps the whole body, and errors keep the error they hide.
    if document is _NOT_JSON:
        start = answer.quoted(answer.body.decode("utf-8", "replace"), 80)
        raise TransientApiError(
            _with_id(f"the answer is not JSON, it begins with: {start}", answer),
            status=200,
            advice="check that VBS_ENDPOINT is the service itself, not a login page or a proxy",
        )
    for key in _READ_KEYS:
        if isinstance(document, dict) and key in document and _stands_twice(body, key):
            raise malformed(answer, f"`{key}` stands twice in the answer")
    return document


def without_mark(body: bytes) -> bytes:
    """The body without the byte order mark that some servers put before it."""
    return body.removeprefix(b"\xef\xbb\xbf")


def shared_list(answer: Answer, document: Any, listing: Listing) -> list[Any]:
    """The records of a page, all of this listing.

    Raises MalformedResponseError if it is no list of shares or holds those of others, PermanentApiError if it is an
    error that came with status 200.
    """
    if not isinstance(document, dict):
        raise malformed(answer, "the answer is not a JSON object")
    shared = document.get("shared")
    if isinstance(shared, list):
        _check_ownership(answer, shared, listing)
        return shared
    if words := answer.error_words():
        code, text, _ = words
        text = _with_id(f"200 with an error: {text or code}", answer)
        raise PermanentApiError(text, status=200, code=code, advice=_ASK_OPERATOR)
    found = "missing" if "shared" not in document else "null" if shared is None else f"a {type(shared).__name__}"
    raise malformed(answer, f"`shared` is {found} where a list was expected; nothing is taken for empty")


def read_count(answer: Answer, document: Any, listing: Listing) -> int:
    """The count; raises MalformedResponseError unless it is a whole number."""
    count = document.get("count") if isinstance(document, dict) else None
    if not isinstance(count, int) or isinstance(count, bool) or not 0 <= count <= MAX_COUNT:
        raise malformed(answer, f"the count of {listing} is not a whole number")
    return count


def next_query(document: Any, limit: int) -> dict[str, str] | None:
    """The query of a `shared_links` entry with rel next: limit (no more than was asked), offset, marker; else None.

    The documented link of the sibling API points to an internal address, so nothing else of it is used (api-facts 2.2).
    """
    links = document.get("shared_links") if isinstance(document, dict) else None
    for link in links if isinstance(links, list) else []:
        if isinstance(link, dict) and link.get("rel") == "next" and isinstance(link.get("href"), str):
            return _place(link["href"], limit)
    return None


def malformed(answer: Answer, what: str) -> MalformedResponseError:
    """The error of an answer that breaks the contract, with what to do."""
    return MalformedResponseError(f"{_with_id(what, answer)}; {_ASK_OPERATOR}")


def _with_id(what: str, answer: Answer) -> str:
    return f"{what}; request {answer.request_id}" if answer.request_id else what


_MARKER = re.compile(r"[!-~]{1,255}")
_DIGITS = re.compile(r"[0-9]{1,10}")


def _place(href: str, limit: int) -> dict[str, str] | None:
    try:
        asked = dict(parse_qsl(urlsplit(href).query, max_num_fields=50))
    except ValueError:
        return None
    place = {
        name: asked[name]
        for name, shape in (("offset", _DIGITS), ("marker", _MARKER))
        if shape.fullmatch(asked.get(name, ""))
    }
    if not place:
        return None
    size = asked.get("limit", "")
    smaller = _DIGITS.fullmatch(size) and 0 < int(size) < limit
    return {"limit": str(int(size)) if smaller else str(limit), **place}


def _check_ownership(answer: Answer, records: list[Any], listing: Listing) -> None:
    side = "from_project_id" if listing.direction is Direction.OUTGOING else "to_project_id"
    for record in records:
        owner = record.get(side) if isinstance(record, dict) else None
        if isinstance(owner, str) and owner != listing.project_id:
            raise MalformedResponseError(
                _with_id(f"asked for {listing}, the answer holds a share with {side} {printable(owner, 40)}", answer)
                + "; the service ignores share_to_me, or the token lists other projects too: use a token of the project"
            )


_READ_KEYS = ("shared", "count")
_PAGE_START = re.compile(rb'\s*\{\s*"shared"\s*:')


def _ordinary_page(body: bytes) -> dict[str, Any] | None:
    """A page with nothing but `shared` in it, as all are that are documented; None for anything else.

    If what stands between the key and the last brace is one JSON value, there is no second key: certainty that costs
    no second look at a megabyte.
    """
    start, end = _PAGE_START.match(body), body.rfind(b"}")
    if not start or body[end + 1 :].strip():
        return None
    try:
        return {"shared": orjson.loads(memoryview(body)[start.end() : end])}
    except orjson.JSONDecodeError:
        return None


_NOT_JSON = object()


def _strict_json(body: bytes) -> Any:
    """The parsed document, or _NOT_JSON."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        pass
    try:
        # orjson refuses a lone surrogate; one bad character must cost one record, not the page.
        return json.loads(body.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return _NOT_JSON


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_ESCAPED_LETTER = re.compile(rb"\\u00[67]")
"""A small letter written as an escape: a key may be spelt so, and then the plain spelling does not show it."""


def _stands_twice(body: bytes, key: str) -> bool:
    """Whether the outermost object has the key twice."""
    if body.count(b'"%b"' % key.encode()) == 1 and not _ESCAPED_LETTER.search(body):
        return False
    try:
        pairs = json.loads(body.decode("utf-8"), object_pairs_hook=tuple, parse_int=str)
    except (ValueError, RecursionError):
        return True  # it cannot be told
    return [name for name, _ in pairs].count(key) != 1


# --- errors --------------------------------------------------------------------------------------------------------


def api_error(answer: Answer) -> ApiError:
    """The error of any status but 200."""
    status = answer.status
    code, text, request_id = answer.error_words() or ("", "", "")
    what = [f"HTTP {status}", code if code != str(status) else "", text]
    if request_id := answer.request_id or request_id:
        what.append(f"request {request_id}")
    if 300 <= status < 400:
        what.append(f"a redirect to {_host_of(answer)} was not followed")
    message = "; ".join(part for part in what if part)
    advice = _ADVICE.get(status) or _general_advice(status)
    if status in TRANSIENT:
        return TransientApiError(
            message,
            status=status,
            code=code,
            advice=advice,
            retry_after=read_retry_after(answer.headers.get("retry-after"), answer.received_at),
            is_overload=status in _OVERLOAD,
        )
    kind = EndpointError if status in _SAME_EVERYWHERE else CredentialError if status == 401 else PermanentApiError
    # A parameter that is refused everywhere is a setting; the same words tell that it is the same one.
    cause = f"HTTP 400 {code} {text}" if status == 400 else ""
    return kind(message, status=status, code=code, advice=advice, shared_cause=cause)


def _general_advice(status: int) -> str:
    if status >= 500 or status in TRANSIENT:
        return f"run again later; {_ASK_OPERATOR}"
    if 300 <= status < 400:
        return "give the address that it leads to as VBS_ENDPOINT, if it is the service"
    if status >= 400:
        return "check VBS_ENDPOINT and VBS_PROJECTS"
    return f"only 200 is an answer; {_ASK_OPERATOR}"


def _host_of(answer: Answer) -> str:
    try:
        # Without the token first: it may hold a slash, which would be taken for the end of the host.
        location = answer.quoted(answer.headers.get("location", ""), 1000).replace("[secret]", "secret")
        return printable(urlsplit(location).netloc.rpartition("@")[2], 80) or "nowhere"
    except ValueError:
        return "an unreadable address"


def _careful_json(body: bytes) -> Any:
    """The parsed body of an error, without keys that stand twice in one object; None if it is no JSON."""
    try:
        return json.loads(body, object_pairs_hook=_unambiguous)
    except (ValueError, RecursionError):
        return None


def _unambiguous(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    counts = Counter(name for name, _ in pairs)
    return {name: value for name, value in pairs if counts[name] == 1}


_CODE_KEYS = ("code", "error_code", "errorCode")
_TEXT_KEYS = ("message", "error_msg", "errorMsg")


def error_words(body: bytes, secrets: Sequence[str]) -> tuple[str, str, str] | None:
    """Code, text and request id of an error body in any of the platform's shapes, printable; None if it is none.

    A service may quote what it was sent: `secrets` are taken out, before anything is cut.
    """
    document = _careful_json(body)
    if not isinstance(document, dict):
        return None
    wrapped = [value for value in document.values() if isinstance(value, dict) and value.keys() & {*_TEXT_KEYS}]
    error = wrapped[0] if wrapped else document
    if not error.keys() & {*_CODE_KEYS, *_TEXT_KEYS}:
        return None

    def first(body: dict[str, Any], names: tuple[str, ...], limit: int) -> str:
        value = next((body[name] for name in names if name in body), None)
        # Anything but text and numbers is left out: what is nested deep enough cannot even be written as text.
        return _quoted(str(value) if isinstance(value, str | int | float) else "", secrets, limit)

    return first(error, _CODE_KEYS, 60), first(error, _TEXT_KEYS, 200), first(document, ("request_id",), 80)
