"""Door 1: one request in, one checked page of shares (or one typed error) out.

The only module that talks HTTP. It sends the token, keeps deadlines and byte caps, repeats what is worth repeating,
and understands the error bodies of this platform (api-facts 5.1). Redirects are never followed (httpx would carry
the token to another host) and nothing is taken from the process environment (no proxies, no netrc).
Not here: which page to ask next (walk.py), where tokens come from (auth.py), the columns (normalize.py).
"""

import json
import random
import re
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import httpx
import orjson
import tenacity

from pipelines.auth import TokenSource
from pipelines.errors import (
    ApiError,
    CredentialError,
    MalformedResponseError,
    PermanentApiError,
    TransientApiError,
    printable,
)
from pipelines.observation import Direction, Listing, Page
from pipelines.redact import blank_key_material

Transport = httpx.BaseTransport
"""What carries a request; replaced in tests."""

MAX_BODY_BYTES = 32 * 2**20
"""Decoded bytes of one answer; a page of 1000 shares is about 1.3 MB."""
MAX_RETRY_AFTER = 120.0
MAX_COUNT = 2**63 - 1
"""What a column of the warehouse can hold."""
SHARING_PATH = "/v2/{project_id}/os-vendor-backup-sharing/{operation}"

_ATTEMPTS = {429: 5, 409: 2, 200: 2}
"""Attempts by status where it is not 3. 200: an answer that is not JSON."""
_TRANSIENT = {408, 409, 429, 500, 502, 503, 504}
_ADVICE = {
    400: "check VBS_PAGE_SIZE and the project id",
    401: "the token is refused: get a new one",
    403: "the credential has no right to list shares in this project: grant it, or remove the project",
    404: "project or endpoint not found: check VBS_ENDPOINT and VBS_PROJECTS",
    407: "a proxy stands between and wants authentication",
    429: "the service throttles: lower VBS_CONCURRENCY or run later",
    501: "this endpoint does not offer backup sharing",
}


@dataclass(frozen=True)
class Reply:
    """A checked page: as it is landed, and its records as parsed JSON (for the walk only; not kept)."""

    page: Page
    records: list[Any]


class ShareClient:
    """The sharing endpoint of one region. Thread-safe. `sleep`, `clock`, `now` and `jitter` are arguments for tests."""

    def __init__(
        self,
        endpoint: str,
        tokens: TokenSource,
        *,
        connect_timeout: float = 10.0,
        read_timeout: float = 30.0,
        deadline: float = 60.0,
        max_connections: int = 4,
        ca_file: str | None = None,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._endpoint = endpoint
        self._tokens = tokens
        self._deadline = deadline
        self._sleep, self._clock, self._now, self._jitter = sleep, clock, now, jitter
        self._sent: Counter[Listing] = Counter()
        self._lock = threading.Lock()
        self._http = httpx.Client(
            transport=transport,
            timeout=httpx.Timeout(read_timeout, connect=connect_timeout),
            limits=httpx.Limits(max_connections=max_connections),
            headers={"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "backup-shares"},
            follow_redirects=False,
            trust_env=False,
            verify=ssl.create_default_context(cafile=ca_file) if ca_file else True,
        )

    def close(self) -> None:
        self._http.close()

    def page(self, listing: Listing, offset: int, limit: int, *, descending: bool = False) -> Reply:
        """One page of the listing, sorted by id; ascending unless told otherwise.

        Raises TransientApiError (attempts used up), CredentialError, PermanentApiError, or MalformedResponseError
        when the answer is not a list of shares or holds shares of other projects.
        """
        direction = "desc" if descending else "asc"
        query = {"sort_key": "id", "sort_dir": direction, "limit": str(limit), "offset": str(offset)}
        requested_at = self._now()
        answer = self._get(listing, "detail", query)
        records = _shared_list(answer)
        _check_ownership(listing, records)
        body = blank_key_material(answer.body)
        return Reply(Page(offset, limit, descending, body, requested_at, self._now(), answer.request_id), records)

    def count(self, listing: Listing) -> int | None:
        """Shares in the listing by the count endpoint; None where the cloud has no such endpoint (404)."""
        try:
            document = self._get(listing, "count", {}).document
        except PermanentApiError as error:
            if error.status == 404:
                return None
            raise
        count = document.get("count") if isinstance(document, dict) else None
        if not isinstance(count, int) or isinstance(count, bool) or not 0 <= count <= MAX_COUNT:
            raise MalformedResponseError(f"the count of {listing} is not a whole number")
        return count

    def requests_sent(self, listing: Listing) -> int:
        """Requests sent about this listing since the client was made, repeats included."""
        return self._sent[listing]

    def _get(self, listing: Listing, operation: str, query: dict[str, str]) -> "_Answer":
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(TransientApiError),
            stop=lambda state: state.attempt_number >= _attempts(state),
            wait=self._pause,
            sleep=self._sleep,
            reraise=True,
        )
        # The token stays out of the arguments, so that no retry log can show it.
        return retrying(self._send, listing, operation, query)

    def _pause(self, state: tenacity.RetryCallState) -> float:
        error = _failure(state)
        if error.retry_after is not None:
            return min(error.retry_after, MAX_RETRY_AFTER)
        return self._jitter() * min(30.0, 0.5 * 2.0 ** (state.attempt_number - 1))

    def _send(self, listing: Listing, operation: str, query: dict[str, str]) -> "_Answer":
        with self._lock:
            self._sent[listing] += 1
        path = SHARING_PATH.format(project_id=listing.project_id, operation=operation)
        if listing.direction is Direction.INCOMING:
            query = {"share_to_me": "true", **query}
        token = self._tokens.token(listing.project_id)
        answer = self._ask(path, query, token)
        if answer.status == 401 and (other := self._tokens.renewed(listing.project_id, token)):
            with self._lock:
                self._sent[listing] += 1
            answer = self._ask(path, query, other)
        if answer.status != 200:
            raise _api_error(answer, self._now())
        answer.parse()
        return answer

    def _ask(self, path: str, query: dict[str, str], token: str) -> "_Answer":
        headers = {"X-Auth-Token": token}
        try:
            with self._http.stream("GET", self._endpoint + path, params=query, headers=headers) as response:
                return _Answer(response.status_code, response.headers, self._read(response), token)
        except (httpx.RequestError, httpx.InvalidURL) as error:
            raise _transport_error(error, self._endpoint) from None

    def _read(self, response: httpx.Response) -> bytes:
        deadline = self._clock() + self._deadline
        chunks: list[bytes] = []
        size = 0
        for chunk in response.iter_bytes():
            chunks.append(chunk)
            size += len(chunk)
            if size > MAX_BODY_BYTES:
                raise MalformedResponseError(f"the answer is larger than {MAX_BODY_BYTES} bytes: lower VBS_PAGE_SIZE")
            # A read timeout alone never ends an answer that drips (httpx waits for each byte anew).
            if self._clock() > deadline:
                raise TransientApiError(f"the answer took longer than {self._deadline:g} s (VBS_REQUEST_DEADLINE)")
        return b"".join(chunks)


class _Answer:
    def __init__(self, status: int, headers: Mapping[str, str], body: bytes, secret: str) -> None:
        self.status, self.headers, self.body = status, headers, body
        self._secret = secret.encode()
        names = ("x-request-id", "x-openstack-request-id", "x-compute-request-id")
        found = (headers[name] for name in names if name in headers)
        self.request_id = printable(next(found, ""), 80)
        self.document: Any = None

    def quotable(self) -> bytes:
        """The body for messages: a service that quotes the token in its answer must not bring it into one."""
        return self.body.replace(self._secret, b"[token]")

    def parse(self) -> None:
        """Strict JSON in UTF-8; a byte order mark is tolerated. Raises TransientApiError for anything else."""
        self.body = self.body.removeprefix(b"\xef\xbb\xbf")
        self.document = _strict_json(self.body)
        # Raised out here: the parser's own error keeps the whole body, and errors keep the error they hide.
        if self.document is _NOT_JSON:
            start = printable(self.quotable()[:80].decode("utf-8", "replace"), 80)
            raise TransientApiError(f"the answer is not JSON, it begins with: {start}", status=200)


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


def _shared_list(answer: _Answer) -> list[Any]:
    document = answer.document
    if not isinstance(document, dict):
        raise MalformedResponseError("the answer is not a JSON object")
    shared = document.get("shared")
    if isinstance(shared, list):
        return shared
    if code_and_text := _service_error(_json_or_none(answer.quotable())):
        raise PermanentApiError(f"200 with an error: {code_and_text[1]}", status=200, code=code_and_text[0])
    found = "missing" if "shared" not in document else "null" if shared is None else f"a {type(shared).__name__}"
    raise MalformedResponseError(f"`shared` is {found} where a list was expected; nothing is taken for empty")


def _check_ownership(listing: Listing, records: list[Any]) -> None:
    side = "from_project_id" if listing.direction is Direction.OUTGOING else "to_project_id"
    for record in records:
        owner = record.get(side) if isinstance(record, dict) else None
        if isinstance(owner, str) and owner != listing.project_id:
            raise MalformedResponseError(
                f"asked for {listing}, the answer holds a share with {side} {printable(owner, 40)}: "
                "the service ignores share_to_me, or the token lists other projects too"
            )


def _attempts(state: tenacity.RetryCallState) -> int:
    return _ATTEMPTS.get(_failure(state).status or 0, 3)


def _failure(state: tenacity.RetryCallState) -> TransientApiError:
    error = state.outcome.exception() if state.outcome else None
    if not isinstance(error, TransientApiError):
        raise TypeError("only transient errors are repeated")
    return error


def _transport_error(error: httpx.RequestError | httpx.InvalidURL, endpoint: str) -> ApiError:
    # The text of some httpx errors quotes what was sent; the type says enough.
    host = urlsplit(endpoint).netloc
    kind = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(error).__name__).lower()
    if isinstance(error, httpx.UnsupportedProtocol | httpx.LocalProtocolError | httpx.InvalidURL):
        return PermanentApiError(f"the request to {host} could not be made: {kind}")
    return TransientApiError(f"no answer from {host}: {kind}; check VBS_ENDPOINT and the network")


def _api_error(answer: _Answer, now: datetime) -> ApiError:
    status = answer.status
    code, text = _service_error(_json_or_none(answer.quotable())) or ("", "")
    parts = [f"HTTP {status}", code, text]
    if answer.request_id:
        parts.append(f"request {answer.request_id}")
    if 300 <= status < 400:
        parts.append(f"a redirect to {_host_of(answer.headers.get('location', ''))} was not followed")
    parts.append(_ADVICE.get(status, ""))
    message = "; ".join(part for part in parts if part)
    if status in _TRANSIENT:
        pause = _retry_after(answer.headers.get("retry-after"), now)
        return TransientApiError(message, status=status, code=code, retry_after=pause)
    kind = CredentialError if status == 401 else PermanentApiError
    return kind(message, status=status, code=code)


def _host_of(location: str) -> str:
    try:
        return printable(urlsplit(location).netloc, 80) or "nowhere"
    except ValueError:
        return "an unreadable address"


def _json_or_none(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _service_error(document: Any) -> tuple[str, str] | None:
    """Code and text of an error body in any of the platform's shapes, printable; None if it is none of them."""
    if not isinstance(document, dict):
        return None
    wrapped = [value for value in document.values() if isinstance(value, dict) and "message" in value]
    body = wrapped[0] if wrapped else document
    code = next((body[key] for key in ("code", "error_code", "errorCode") if key in body), None)
    text = next((body[key] for key in ("message", "error_msg", "errorMsg") if key in body), None)
    if code is None and text is None:
        return None
    # Anything but text and numbers is left out: what is nested deep enough cannot even be written as text.
    code, text = (str(value) if isinstance(value, str | int | float) else "" for value in (code, text))
    return printable(code, 60), printable(text)


def _retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds to wait: ASCII digits or an HTTP date; anything else counts as absent."""
    if value is None:
        return None
    if re.fullmatch(r"[0-9]{1,20}", value):
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - now).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return None
