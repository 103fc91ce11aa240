"""Door 1: what is asked, what is asked again, and what counts as a page of shares.

Most answers come from a script behind httpx.MockTransport; where the fault is in the transport, from a socket.
Not here: which page is asked next (test_walk.py), what settings and tokens may hold (test_settings.py, test_auth.py).
"""

import contextlib
import gzip
import json
import logging
import socket
import struct
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest

from pipelines import client as client_module
from pipelines.auth import StaticToken
from pipelines.client import ShareClient
from pipelines.errors import (
    ApiError,
    BackupSharesError,
    CredentialError,
    EndpointError,
    MalformedResponseError,
    PermanentApiError,
    TooLargeError,
    TransientApiError,
)
from pipelines.observation import Direction, Listing
from pipelines.simulator.records import KEY_MATERIAL_MARK
from pipelines.simulator.service import DEMO_TOKEN, Service
from pipelines.simulator.world import World
from pipelines.traffic import Traffic
from tests.fakes import all_texts, transport

TOKEN = "gAAAAABcanaryToken_-"
ENDPOINT = "https://vbs.example.com"
OWN = "0123456789abcdef0123456789abcdef"
OTHER = "fedcba9876543210fedcba9876543210"
OUT = Listing("eu-de", OWN, Direction.OUTGOING)
IN = Listing("eu-de", OWN, Direction.INCOMING)
NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


def share(share_id: str = "s1", giver: str | None = OWN, recipient: str | None = OTHER, **fields) -> dict:
    return {"id": share_id, "backup_id": "b1", "from_project_id": giver, "to_project_id": recipient, **fields}


def page_body(*shares: dict) -> bytes:
    return json.dumps({"shared": list(shares)}).encode()


GOOD = page_body(share())


class Wire:
    """Answers one request after the other from a script, the last answer for ever. Keeps what it was sent."""

    def __init__(self, *answers) -> None:
        self.answers = answers
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers[min(len(self.requests), len(self.answers)) - 1]
        if isinstance(answer, Exception):
            raise answer
        status, body, *headers = answer
        return httpx.Response(status, headers=headers[0] if headers else None, content=body)


class Bench:
    """Clients on a clock that only their sleep moves; `pauses` are the seconds they slept."""

    def __init__(self) -> None:
        self.pauses: list[float] = []
        self.opened: list[ShareClient] = []
        self.time = 0.0

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.time += seconds

    def client(self, carrier: httpx.BaseTransport | None, endpoint: str = ENDPOINT, **changes) -> ShareClient:
        fakes = {"sleep": self.sleep, "clock": lambda: self.time, "now": lambda: NOW, "jitter": lambda: 1.0}
        arguments = {**fakes, **changes}
        client = ShareClient(endpoint, StaticToken(TOKEN), transport=carrier, **arguments)
        self.opened.append(client)
        return client

    def scripted(self, *answers, **changes) -> tuple[Wire, ShareClient]:
        wire = Wire(*answers)
        return wire, self.client(httpx.MockTransport(wire), **changes)


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    for client in bench.opened:
        client.close()


def failure(client: ShareClient, listing: Listing = OUT) -> BackupSharesError:
    """The error of one page; also checks that it is one line, and that the token is nowhere in it."""
    with pytest.raises(BackupSharesError) as caught:
        client.page(listing, 0, 10)
    assert str(caught.value).isprintable()
    assert TOKEN not in all_texts(caught.value)
    return caught.value


# What is asked


def test_a_page_of_outgoing_shares_is_asked_for_without_share_to_me(bench):
    wire, client = bench.scripted((200, GOOD))
    client.page(OUT, 20, 10)
    [request] = wire.requests
    assert (request.method, request.url.host, request.url.scheme) == ("GET", "vbs.example.com", "https")
    assert request.url.path == f"/v2/{OWN}/os-vendor-backup-sharing/detail"
    assert dict(request.url.params) == {"sort_key": "id", "sort_dir": "asc", "limit": "10", "offset": "20"}
    assert len(request.url.params.multi_items()) == 4


def test_a_page_of_incoming_shares_is_asked_for_with_a_lower_case_true(bench):
    wire, client = bench.scripted((200, page_body(share(giver=OTHER, recipient=OWN))))
    client.page(IN, 0, 1000, descending=True)
    assert dict(wire.requests[0].url.params) == {
        "share_to_me": "true",
        "sort_key": "id",
        "sort_dir": "desc",
        "limit": "1000",
        "offset": "0",
    }


@pytest.mark.parametrize(("listing", "query"), [(OUT, b""), (IN, b"share_to_me=true")])
def test_the_count_is_asked_for_with_the_direction_alone(listing, query, bench):
    wire, client = bench.scripted((200, b'{"count": 3}'))
    assert client.count(listing) == 3
    assert wire.requests[0].url.path == f"/v2/{OWN}/os-vendor-backup-sharing/count"
    assert wire.requests[0].url.query == query


def test_the_path_of_the_endpoint_stays_in_front(bench):
    wire, client = bench.scripted((200, GOOD), endpoint="https://gateway.example.com:8443/vbs")
    client.page(OUT, 0, 10)
    assert str(wire.requests[0].url).startswith(
        f"https://gateway.example.com:8443/vbs/v2/{OWN}/os-vendor-backup-sharing/detail?"
    )


def test_the_headers_are_the_token_and_nothing_that_asks_for_compression(bench):
    wire, client = bench.scripted((200, GOOD))
    client.page(OUT, 0, 10)
    headers = dict(wire.requests[0].headers)
    headers.pop("connection")
    assert headers == {
        "host": "vbs.example.com",
        "accept": "application/json",
        "accept-encoding": "identity",
        "user-agent": "backup-shares",
        "x-auth-token": TOKEN,
    }


def test_the_token_is_asked_for_the_project_with_every_attempt(bench):
    class Renewing:
        asked: tuple[str, ...] = ()

        def token(self, project_id: str) -> str:
            self.asked += (project_id,)
            return f"token-{len(self.asked)}"

        def renewed(self, project_id: str, refused: str) -> str | None:
            raise AssertionError("no token was refused")

    wire, tokens = Wire((503, b""), (200, GOOD)), Renewing()
    client = ShareClient(
        ENDPOINT, tokens, transport=httpx.MockTransport(wire), sleep=bench.pauses.append, jitter=lambda: 0.0
    )
    with contextlib.closing(client):
        client.page(OUT, 0, 10)
    assert tokens.asked == (OWN, OWN)
    assert [request.headers["x-auth-token"] for request in wire.requests] == ["token-1", "token-2"]


def test_requests_are_counted_for_each_listing_with_their_repeats(bench):
    _, client = bench.scripted((503, b""), (200, GOOD), (200, b'{"count": 1}'), (200, b'{"shared": []}'))
    client.page(OUT, 0, 10)
    client.count(OUT)
    client.page(IN, 0, 10)
    assert (client.requests_sent(OUT), client.requests_sent(IN)) == (3, 1)
    assert client.requests_sent(Listing("eu-de", OTHER, Direction.OUTGOING)) == 0


def test_a_reply_is_the_page_as_received_and_its_records(bench):
    moments = iter([NOW, NOW + timedelta(seconds=2)])
    body = page_body(share("s1"), share("s2"))
    _, client = bench.scripted((200, body, {"X-Request-Id": "req-1"}), now=lambda: next(moments))
    reply = client.page(OUT, 20, 10)
    assert reply.records == [share("s1"), share("s2")]
    assert (reply.page.offset, reply.page.limit, reply.page.request_id) == (20, 10, "req-1")
    assert (reply.page.requested_at, reply.page.received_at) == (NOW, NOW + timedelta(seconds=2))
    assert reply.page.body == body


def test_an_empty_page_is_a_page(bench):
    _, client = bench.scripted((200, b'{"shared": []}'))
    assert client.page(OUT, 0, 10).records == []


# Statuses

TRANSIENT = {408: 3, 409: 2, 429: 5, 500: 3, 502: 3, 503: 3, 504: 3}
"""Attempts by status; all others are asked once."""
SAME_FOR_ALL = {405, 406, 407, 501}
"""What no listing of the endpoint will escape."""


@pytest.mark.parametrize(("status", "attempts"), TRANSIENT.items())
def test_a_passing_trouble_is_asked_again_a_limited_number_of_times(status, attempts, bench):
    wire, client = bench.scripted((status, b""))
    error = failure(client)
    assert type(error) is TransientApiError
    assert error.status == status
    assert len(wire.requests) == attempts
    assert len({str(request.url) for request in wire.requests}) == 1
    assert bench.pauses == [0.5, 1.0, 2.0, 4.0][: attempts - 1]


@pytest.mark.parametrize(
    ("status", "attempts", "failures"), [(s, n, k) for s, n in TRANSIENT.items() for k in range(n)]
)
def test_an_attempt_that_succeeds_ends_the_trouble(status, attempts, failures, bench):
    wire, client = bench.scripted(*[(status, b"")] * failures, (200, GOOD))
    assert client.page(OUT, 0, 10).records == [share()]
    assert len(wire.requests) == failures + 1
    assert len(bench.pauses) == failures


def test_the_token_refused_is_an_error_of_its_own_and_asked_once(bench):
    wire, client = bench.scripted((401, b""))
    assert type(failure(client)) is CredentialError
    assert len(wire.requests) == 1


def test_every_other_status_is_final(bench):
    others = [status for status in range(100, 600) if status not in {200, 401, *TRANSIENT}]
    for status in others:
        wire, client = bench.scripted((status, GOOD if status < 400 else b""))
        error = failure(client)
        assert type(error) is (EndpointError if status in SAME_FOR_ALL else PermanentApiError), status
        assert (error.status, len(wire.requests)) == (status, 1)
        assert f"HTTP {status}" in str(error)
    assert bench.pauses == []


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (400, "VBS_PAGE_SIZE"),
        (401, "get a new one"),
        (403, "no right to list shares in this project"),
        (404, "VBS_ENDPOINT"),
        (407, "proxy"),
        (429, "VBS_CONCURRENCY"),
        (501, "does not offer backup sharing"),
    ],
)
def test_the_error_says_what_to_do(status, advice, bench):
    _, client = bench.scripted((status, b""))
    assert advice in str(failure(client))


def test_without_a_response_the_error_has_no_status(bench):
    wire, client = bench.scripted(httpx.ConnectTimeout("slow"))
    error = failure(client)
    assert type(error) is TransientApiError
    assert error.status is None
    assert str(error) == (
        "no answer from vbs.example.com: connect timeout; 3 attempts in 2 s; check VBS_ENDPOINT and the network"
    )
    assert len(wire.requests) == 3


def test_an_endpoint_that_is_no_address_is_final(bench):
    wire, client = bench.scripted((200, GOOD), endpoint="https://1.2.3.999")
    assert type(failure(client)) is EndpointError
    assert wire.requests == []


# Pauses


@pytest.mark.parametrize(("jitter", "expected"), [(0.0, [0, 0, 0, 0]), (0.5, [0.25, 0.5, 1, 2]), (1.0, [0.5, 1, 2, 4])])
def test_the_pause_doubles_and_is_drawn_from_its_whole_length(jitter, expected, bench):
    _, client = bench.scripted((429, b""), jitter=lambda: jitter)
    failure(client)
    assert bench.pauses == [pause for pause in expected if pause]


@pytest.mark.parametrize("status", [409, 429, 503])
@pytest.mark.parametrize(
    ("value", "pause"),
    [
        ("0", 0),
        ("2", 2),
        ("007", 7),
        ("119", 119),
        ("121", 120),
        ("99999999999", 120),
        ("99999999999999999999", 120),
        (format_datetime(NOW + timedelta(seconds=7), usegmt=True), 7),
        ("Sunday, 01-Mar-26 12:00:09 GMT", 9),
        ("Sun, 01 Mar 2026 13:00:03 +0100", 3),
        (format_datetime(NOW + timedelta(days=1), usegmt=True), 120),
        (format_datetime(NOW - timedelta(days=1), usegmt=True), 0),
    ],
)
def test_the_pause_that_the_service_asks_for_is_kept_up_to_two_minutes(status, value, pause, bench):
    _, client = bench.scripted((status, b"", {"Retry-After": value}), (200, GOOD))
    client.page(OUT, 0, 10)
    assert bench.time == pause


@pytest.mark.parametrize(
    "value",
    [
        *("", " ", "-5", "+5", "1.5", "1e3", "0x10", "soon", "5 s", "5,6", "nan", "inf", "9" * 21, "9" * 5000),
        *("٥", "²", "５", "\xa05", "\x1b[2J"),
        "Sun, 01 Mar 2026 12:00:07",  # without a zone
        "Sun, 01 Mar 2026 12:00:07 -0000",
        "Sun, 01 Mar 99999999999999999999999 12:00:07 GMT",
        "Sun, 01 Mar 2026 12:00:07 +99999999999999999999",
        "Sun, 32 Mar 2026 99:00:07 GMT",
    ],
)
def test_a_retry_after_that_cannot_be_read_counts_as_missing(value, bench):
    _, client = bench.scripted((503, b"", {"Retry-After": value.encode()}), (200, GOOD))
    client.page(OUT, 0, 10)
    assert bench.pauses == [0.5]


def test_a_final_error_does_not_wait_whatever_the_service_asks_for(bench):
    wire, client = bench.scripted((403, b"", {"Retry-After": "60"}))
    failure(client)
    assert (len(wire.requests), bench.pauses) == (1, [])


# Redirects

REDIRECTS = [300, 301, 302, 303, 305, 307, 308]


@pytest.mark.parametrize("status", REDIRECTS)
@pytest.mark.parametrize(
    ("location", "host"),
    [
        ("https://evil.example/login?next=1", "evil.example"),
        ("http://vbs.example.com/v2/", "vbs.example.com"),
        ("//evil.example:8443", "evil.example:8443"),
        ("/elsewhere", "nowhere"),
    ],
)
def test_a_redirect_is_not_followed_and_its_host_is_named(status, location, host, bench):
    wire, client = bench.scripted((status, b"", {"Location": location}), (200, GOOD))
    error = failure(client)
    assert type(error) is PermanentApiError
    assert f"a redirect to {host} was not followed" in str(error)
    assert [request.url.host for request in wire.requests] == ["vbs.example.com"]


@pytest.mark.parametrize("status", REDIRECTS)
@pytest.mark.parametrize(
    "location",
    [
        "",
        "http://[::1",
        "http://[x]/",
        "http://a:port/",
        "https://\u2100.example/",
        "https://\x1b[2J/",
        "\xff",
        "https://",
    ],
)
def test_a_redirect_to_something_unreadable_is_an_error_like_any_other(status, location, bench):
    wire, client = bench.scripted((status, b"", {"Location": location.encode()}))
    assert isinstance(failure(client), ApiError)
    assert {request.url.host for request in wire.requests} == {"vbs.example.com"}


def test_the_host_of_a_redirect_gets_no_connection(bench):
    with RawServer(http_reply(b"{}")) as other:
        location = f"Location: {other.url}/".encode()
        with RawServer(
            b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nConnection: close\r\n" + location + b"\r\n\r\n"
        ) as own:
            failure(bench.client(None, own.url))
    assert (len(own.received), len(other.received)) == (1, 0)


# Bodies of errors


@pytest.mark.parametrize(
    ("body", "code", "text"),
    [
        ({"error": {"code": "VolumeBackup.0042", "message": "no rights"}}, "VolumeBackup.0042", "no rights"),
        ({"badRequest": {"code": 400, "message": "Invalid limit"}}, "400", "Invalid limit"),
        ({"computeFault": {"code": 500, "message": "Oops"}}, "500", "Oops"),
        ({"error_code": "APIG.0302", "error_msg": "refused", "request_id": "r"}, "APIG.0302", "refused"),
        ({"error_code": "IAM.0012", "error_msg": "too often"}, "IAM.0012", "too often"),
        ({"code": "CBR.1", "message": "flat"}, "CBR.1", "flat"),
        ({"errorCode": "X.1", "errorMsg": "camel"}, "X.1", "camel"),
        ({"error": {"code": 401, "message": "Who?", "title": "Unauthorized"}}, "401", "Who?"),
        (
            {"error": {"code": "IAM.0003", "message": "denied"}, "encoded_authorization_message": "Zm9v"},
            "IAM.0003",
            "denied",
        ),
        ({"message": "no code"}, "", "no code"),
        ({"error_code": "A.1"}, "A.1", ""),
        ({"error": {"code": None, "message": None}}, "", ""),
    ],
)
@pytest.mark.parametrize("status", [400, 403, 500])
def test_code_and_text_of_the_service_are_shown_whatever_their_shape(status, body, code, text, bench):
    _, client = bench.scripted((status, json.dumps(body).encode()))
    error = failure(client)
    assert error.code == code
    said = code if code != str(status) else ""  # once is enough
    assert str(error).startswith("; ".join(part for part in (f"HTTP {status}", said, text) if part))


@pytest.mark.parametrize(
    "body",
    [
        *(
            b"",
            b" ",
            b"null",
            b"[]",
            b"42",
            b'"text"',
            b"{}",
            b"<html><body>Blocked</body></html>",
            b"\xff\xfe",
            b"\x00",
        ),
        b'{"error": "text"}',
        b'{"error": null}',
        b'{"unknown": {"a": 1}}',
        b'{"error": {"code": "x", "message": ',
        b'{"error": {"code": {"a": 1}, "message": ["b"]}}',
        b'{"error": {"code": ' + b"9" * 5000 + b', "message": 1}}',
        b'{"error": {"code": 1, "message": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}",
        b'{"error": {"code": 1, "message": ' + b"[" * 990 + b"]" * 990 + b"}}",
    ],
    ids=lambda body: repr(body[:40]),
)
def test_a_body_of_another_shape_leaves_the_status_and_the_advice(body, bench):
    _, client = bench.scripted((403, body))
    error = failure(client)
    assert type(error) is PermanentApiError
    assert str(error).startswith("HTTP 403; ")
    assert "no right to list shares" in str(error)


def test_the_text_of_a_stranger_is_escaped_and_cut(bench):
    text = "\x1b[2J\x07\u202egpj\u2028\r\n\x9b" + "x" * 10_000
    _, client = bench.scripted((400, json.dumps({"error": {"code": "a\x1b" + "y" * 500, "message": text}}).encode()))
    error = failure(client)
    assert r"\x1b[2J\x07\u202egpj\u2028\r\n\x9b" in str(error)
    assert error.code.startswith(r"a\x1by")
    assert error.code.isprintable()
    assert len(str(error)) < 500


@pytest.mark.parametrize("header", ["X-Request-Id", "x-openstack-request-id", "X-Compute-Request-Id"])
def test_the_request_id_is_shown(header, bench):
    _, client = bench.scripted((403, b"", {header: "req-0815"}))
    assert "; request req-0815;" in str(failure(client))


def test_a_hostile_request_id_is_escaped_and_cut(bench):
    _, client = bench.scripted((403, b"", {"X-Request-Id": b"\x1b[2J" + b"z" * 500}), (200, GOOD))
    assert len(str(failure(client))) < 300
    _, client = bench.scripted((200, GOOD, {"X-Request-Id": b"\x1b[2J" + b"z" * 500}))
    assert client.page(OUT, 0, 10).page.request_id == r"\x1b[2J" + "z" * 75 + "…"


# The count


def test_a_count_of_zero_is_a_count(bench):
    _, client = bench.scripted((200, b'{"count": 0}'))
    assert client.count(OUT) == 0


def test_a_cloud_without_the_count_endpoint_has_no_count(bench):
    wire, client = bench.scripted((404, b""))
    assert client.count(OUT) is None
    assert len(wire.requests) == 1


@pytest.mark.parametrize(
    ("status", "kind"), [(403, PermanentApiError), (401, CredentialError), (500, TransientApiError)]
)
def test_a_count_that_is_refused_is_an_error(status, kind, bench):
    _, client = bench.scripted((status, b""))
    with pytest.raises(kind):
        client.count(OUT)


@pytest.mark.parametrize(
    "body",
    [
        *(b"{}", b"[]", b"3", b"null", b'{"count": null}', b'{"count": "3"}', b'{"count": 3.0}', b'{"count": true}'),
        *(b'{"count": -1}', b'{"count": [3]}', b'{"count": {"a": 3}}', b'{"Count": 3}', b'{"count": 1e3}'),
        *(b'{"count": 9223372036854775808}', b'{"count": ' + b"9" * 100 + b"}", b'{"shared": []}'),
    ],
)
def test_a_count_of_another_shape_is_refused(body, bench):
    wire, client = bench.scripted((200, body))
    with pytest.raises(MalformedResponseError, match="count"):
        client.count(OUT)
    assert len(wire.requests) == 1


# Bodies that are no JSON


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"<!DOCTYPE html><title>Login</title>",
        b"OK",
        GOOD + b"}",
        GOOD + b"\x00",
        GOOD + GOOD,
        GOOD + b"<!-- served by proxy -->",
        GOOD.decode().encode("utf-16"),
        GOOD.decode().encode("utf-16-le"),
        GOOD.decode().encode("utf-32"),
        GOOD.replace(b"s1", b"s\xff"),
        GOOD.replace(b"s1", b"s\xc3"),
        GOOD.replace(b"s1", b"s\xed\xa0\x80"),
        GOOD.replace(b"s1", b"s\xc0\xaf"),
        GOOD.replace(b"s1", b"s\n"),
        GOOD.replace(b'"b1"', b"NaN"),
        GOOD.replace(b'"b1"', b"Infinity"),
        GOOD.replace(b'"b1"', b"-Infinity"),
        GOOD.replace(b'"b1"', b"01"),
        GOOD.replace(b'"b1"', b"'b1'"),
        GOOD.replace(b'"b1"', b'"b1",'),
        b"\xef\xbb\xbf\xef\xbb\xbf" + GOOD,
        gzip.compress(GOOD),
    ],
    ids=lambda body: repr(body[-30:]),
)
def test_an_answer_that_is_not_strict_json_is_asked_for_once_more(body, bench):
    wire, client = bench.scripted((200, body))
    error = failure(client)
    assert type(error) is TransientApiError
    assert (error.status, len(wire.requests)) == (200, 2)
    assert "not JSON" in str(error)
    wire, client = bench.scripted((200, body), (200, GOOD))
    assert client.page(OUT, 0, 10).records == [share()]


def test_a_page_cut_at_any_byte_is_not_a_page(bench):
    for end in range(len(GOOD)):
        wire, client = bench.scripted((200, GOOD[:end]))
        assert type(failure(client)) is TransientApiError, end
        assert len(wire.requests) == 2


def test_the_beginning_of_an_unreadable_answer_is_shown_escaped_and_cut(bench):
    _, client = bench.scripted((200, b"<html>\x1b[2J\r\n" + b"x" * 66 + b"SESSION"))
    assert r"<html>\x1b[2J\r\nxxx" in str(failure(client))
    assert "SESSION" not in str(failure(client))


def test_a_byte_order_mark_is_tolerated_and_not_kept(bench):
    _, client = bench.scripted((200, b"\xef\xbb\xbf" + GOOD))
    reply = client.page(OUT, 0, 10)
    assert reply.records == [share()]
    assert reply.page.body == GOOD


def test_the_type_that_an_answer_claims_does_not_matter(bench):
    for claimed in ({}, {"Content-Type": "text/html"}, {"Content-Type": "text/plain; charset=latin-1"}):
        _, client = bench.scripted((200, page_body(share(name="é")), claimed))
        assert client.page(OUT, 0, 10).records == [share(name="é")]


def test_half_a_character_costs_no_page(bench):
    _, client = bench.scripted((200, GOOD.replace(b"b1", rb"\ud83d")))
    assert [record["id"] for record in client.page(OUT, 0, 10).records] == ["s1"]


@pytest.mark.parametrize(
    "value",
    [
        *(b"[" * 100_000 + b"]" * 100_000, b"[" * 100_000, b'{"a":' * 100_000, b"[" * 1000 + b"]" * 1000),
        *(b"9" * 5000, b"-" + b"9" * 4000, b"1" + b"0" * 400 + b".5", b"1e999", b"-1e999", b"1e-999"),
    ],
    ids=lambda value: f"{value[:8]!r} of {len(value)}",
)
@pytest.mark.parametrize("place", ["record", "document", "message"])
def test_an_immense_value_is_an_error_or_a_page_but_no_crash(value, place, bench):
    body = {
        "record": GOOD.replace(b'"b1"', value),
        "document": value,
        "message": b'{"error": {"code": 1, "message": ' + value + b"}}",
    }[place]
    _, client = bench.scripted((200, body))
    with contextlib.suppress(TransientApiError, PermanentApiError, MalformedResponseError):
        assert [record["id"] for record in client.page(OUT, 0, 10).records] == ["s1"]


# JSON that is no page


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{}", "missing"),
        (b'{"Shared": []}', "missing"),
        (b'{"backups": []}', "missing"),
        (b'{"shared": null}', "null"),
        (b'{"shared": {}}', "dict"),
        (b'{"shared": "[]"}', "str"),
        (b'{"shared": 0}', "int"),
        (b'{"shared": false}', "bool"),
        (b"[]", "not a JSON object"),
        (b"null", "not a JSON object"),
        (b'"shared"', "not a JSON object"),
        (b"0", "not a JSON object"),
    ],
)
def test_json_without_a_list_of_shares_is_refused_and_not_taken_for_empty(body, words, bench):
    wire, client = bench.scripted((200, body))
    error = failure(client)
    assert type(error) is MalformedResponseError
    assert words in str(error)
    assert len(wire.requests) == 1


@pytest.mark.parametrize(
    ("body", "code", "text"),
    [
        ({"error": {"code": "VolumeBackup.0042", "message": "no rights"}}, "VolumeBackup.0042", "no rights"),
        ({"error_code": "APIG.0308", "error_msg": "throttled"}, "APIG.0308", "throttled"),
        ({"shared": None, "error": {"code": 500, "message": "broken"}}, "500", "broken"),
    ],
)
def test_an_error_that_comes_with_status_200_is_an_error(body, code, text, bench):
    wire, client = bench.scripted((200, json.dumps(body).encode()))
    error = failure(client)
    assert type(error) is PermanentApiError
    assert error.code == code
    assert text in str(error)
    assert len(wire.requests) == 1


def test_records_that_are_no_objects_are_handed_on(bench):
    """One bad record is quarantined later; it does not cost the page."""
    _, client = bench.scripted((200, b'{"shared": [null, 1, "a", [], {}, {"id": 5}]}'))
    assert client.page(OUT, 0, 10).records == [None, 1, "a", [], {}, {"id": 5}]


# Whose shares


def test_shares_of_another_giver_are_refused(bench):
    _, client = bench.scripted((200, page_body(share("s1"), share("s2", giver=OTHER, recipient=OWN))))
    error = failure(client, OUT)
    assert type(error) is MalformedResponseError
    assert f"from_project_id {OTHER}" in str(error)


def test_a_service_that_ignores_share_to_me_is_noticed(bench):
    _, client = bench.scripted((200, page_body(share("s1", giver=OWN, recipient=OTHER))))
    assert "share_to_me" in str(failure(client, IN))


def test_a_token_that_lists_other_projects_is_noticed(bench):
    """An administrator's token gets the shares of everybody."""
    stranger = "a" * 32
    _, client = bench.scripted((200, page_body(share("s1"), share("s2", giver=stranger))))
    assert "the token lists other projects too" in str(failure(client, OUT))


@pytest.mark.parametrize("owner", [None, 5, [OTHER], {}])
def test_an_owner_that_cannot_be_read_is_left_to_the_quarantine(owner, bench):
    _, client = bench.scripted((200, page_body(share("s1", giver=owner))))
    assert len(client.page(OUT, 0, 10).records) == 1


@pytest.mark.parametrize("owner", ["", OWN.upper(), OWN + " ", OWN + "\n", "\x1b[2J" + "x" * 1000])
def test_an_owner_that_is_not_exactly_the_project_is_another_one(owner, bench):
    _, client = bench.scripted((200, page_body(share("s1", giver=owner))))
    error = failure(client)
    assert type(error) is MalformedResponseError
    assert len(str(error)) < 300


# Key material


def test_the_key_material_of_no_listing_is_in_a_page():
    service = Service(World(shares=200))
    client = ShareClient("http://simulator", StaticToken(DEMO_TOKEN), transport=transport(service))
    served = kept = b""
    with contextlib.closing(client):
        for project in service.world.projects:
            for direction in Direction:
                truth = service.listing(project, direction)
                served += json.dumps(truth).encode()
                page = client.page(Listing("eu-de", project, direction), 0, 1000).page
                kept += page.body
                assert {record["id"] for record in json.loads(page.body)["shared"]} == {row["id"] for row in truth}
    assert KEY_MATERIAL_MARK.encode() in served
    assert KEY_MATERIAL_MARK.encode() not in kept
    assert b"VK" in kept


# Too large, too slow


def dripping(*chunks: bytes, before_each=lambda: None) -> Iterator[bytes]:
    for chunk in chunks:
        before_each()
        yield chunk


def test_an_answer_as_large_as_allowed_is_read(bench, monkeypatch):
    monkeypatch.setattr(client_module, "MAX_BODY_BYTES", len(GOOD))
    _, client = bench.scripted((200, GOOD))
    assert len(client.page(OUT, 0, 10).records) == 1


def test_an_answer_larger_than_allowed_is_given_up_without_reading_it_all(bench, monkeypatch):
    monkeypatch.setattr(client_module, "MAX_BODY_BYTES", 1000)
    read: list[int] = []
    answer = dripping(*[b" " * 100] * 1000, before_each=lambda: read.append(100))
    wire, client = bench.scripted((200, answer))
    error = failure(client)
    assert type(error) is TooLargeError
    assert "lower VBS_PAGE_SIZE" in str(error)
    assert sum(read) == 1100
    assert len(wire.requests) == 1


def test_a_small_answer_that_unpacks_to_a_large_one_is_given_up(bench, monkeypatch):
    monkeypatch.setattr(client_module, "MAX_BODY_BYTES", 2**20)
    packed = gzip.compress(b" " * 4 * 2**20)
    assert len(packed) < 10_000
    _, client = bench.scripted((200, dripping(packed), {"Content-Encoding": "gzip"}))
    assert type(failure(client)) is TooLargeError


def test_an_answer_that_cannot_be_unpacked_is_asked_for_again(bench):
    def answer():
        return (200, dripping(b"no gzip at all"), {"Content-Encoding": "gzip"})

    wire, client = bench.scripted(answer(), answer(), answer())
    assert type(failure(client)) is TransientApiError
    assert len(wire.requests) == 3


# Faults of the transport, on real sockets


class RawServer:
    """Sends bytes to whoever connects: one script for each connection, the last one for ever.

    A script is what to send before the connection is closed, or a function that gets the socket.
    """

    def __init__(self, *scripts) -> None:
        self.received: list[bytes] = []
        self._scripts = scripts
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread
        self._thread.join()
        self._listener.close()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(5)
                self.received.append(self._request(connection))
                script = self._scripts[min(len(self.received), len(self._scripts)) - 1]
                if callable(script):
                    script(connection)
                else:
                    connection.sendall(script)

    def _request(self, connection: socket.socket) -> bytes:
        request = b""
        while b"\r\n\r\n" not in request and (more := connection.recv(65536)):
            request += more
        return request


def http_reply(body: bytes, *headers: bytes) -> bytes:
    lines = [b"HTTP/1.1 200 OK", b"Content-Length: %d" % len(body), b"Connection: close", *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def reset_after(content: bytes):
    """A script that sends `content` and resets the connection instead of closing it."""

    def run(connection: socket.socket) -> None:
        connection.sendall(content)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    return run


def test_the_request_on_the_wire_is_what_was_meant(bench):
    with RawServer(http_reply(GOOD)) as server:
        bench.client(None, server.url).page(OUT, 0, 10)
    head, *headers = server.received[0].decode().split("\r\n")
    path = f"/v2/{OWN}/os-vendor-backup-sharing/detail"
    assert head == f"GET {path}?limit=10&sort_key=id&sort_dir=asc&offset=0 HTTP/1.1"
    assert f"X-Auth-Token: {TOKEN}" in headers
    assert "Accept-Encoding: identity" in headers


def test_nobody_listening_is_a_passing_trouble(bench):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    client = bench.client(None, url)
    error = failure(client)
    assert type(error) is TransientApiError
    assert str(error) == (
        f"no answer from {url[7:]}: connection refused; 3 attempts in 2 s; check VBS_ENDPOINT and the network"
    )
    assert client.requests_sent(OUT) == 3


def test_a_server_that_never_answers_is_a_passing_trouble(bench):
    with RawServer(lambda connection: connection.recv(1)) as server:
        client = bench.client(None, server.url, read_timeout=0.05)
        error = failure(client)
        assert type(error) is TransientApiError
        assert "read timeout" in str(error)
        client.close()
    assert len(server.received) == 3


BROKEN = {
    "closed at once": b"",
    "reset at once": reset_after(b""),
    "reset in the headers": reset_after(b"HTTP/1.1 200 OK\r\nContent-Le"),
    "reset in the body": reset_after(http_reply(GOOD)[:-20]),
    "body shorter than its length": http_reply(GOOD)[:-1],
    "chunk cut short": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n" + GOOD[:50],
    "last chunk missing": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(GOOD), GOOD),
    "no HTTP": b"SSH-2.0-OpenSSH_9.6\r\n",
    "two lengths": http_reply(GOOD, b"Content-Length: 5"),
    "endless header": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000,
}


@pytest.mark.parametrize("script", BROKEN.values(), ids=BROKEN)
def test_a_broken_connection_is_tried_three_times(script, bench):
    with RawServer(script) as server:
        error = failure(bench.client(None, server.url))
    assert type(error) is TransientApiError
    assert str(error).startswith("no answer from 127.0.0.1:")
    assert len(server.received) == 3
    assert bench.pauses == [0.5, 1.0]


def test_a_body_cut_without_a_length_is_no_json(bench):
    with RawServer(b"HTTP/1.1 200 OK\r\n\r\n" + GOOD[:-1]) as server:
        error = failure(bench.client(None, server.url))
    assert "not JSON" in str(error)
    assert len(server.received) == 2


def test_a_connection_reset_at_any_byte_of_the_answer_is_survived(bench):
    whole = http_reply(GOOD)
    scripts = [script for end in range(len(whole)) for script in (reset_after(whole[:end]), whole)]
    with RawServer(*scripts) as server:
        client = bench.client(None, server.url, traffic=Traffic(retry_floor=10_000))
        for _ in range(len(whole)):
            assert client.page(OUT, 0, 10).records == [share()]
    assert len(server.received) == 2 * len(whole)


# What must not show, and what must not be heard


@pytest.mark.parametrize("script", [http_reply(GOOD), b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", b""])
def test_debug_logs_of_the_libraries_do_not_show_the_token(script, bench, caplog):
    caplog.set_level(logging.DEBUG)
    with RawServer(script) as server, contextlib.suppress(ApiError):
        bench.client(None, server.url).page(OUT, 0, 10)
    assert TOKEN.encode() in server.received[0]
    assert [record for record in caplog.records if record.name.startswith(("httpx", "httpcore"))] == []
    assert TOKEN not in repr([vars(record) for record in caplog.records])


def test_the_client_does_not_show_the_token(bench):
    _, client = bench.scripted((200, GOOD))
    client.page(OUT, 0, 10)
    assert TOKEN not in f"{client!r} {vars(client)!r} {client.page!r}"


def test_proxies_and_passwords_of_the_environment_are_ignored(bench, monkeypatch, tmp_path):
    (tmp_path / ".netrc").write_text(
        "machine 127.0.0.1 login user password secret\ndefault login user password secret\n"
    )
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with RawServer(http_reply(GOOD)) as proxy, RawServer(http_reply(GOOD)) as server:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
            monkeypatch.setenv(name.lower(), proxy.url)
        bench.client(None, server.url).page(OUT, 0, 10)
    assert (len(proxy.received), len(server.received)) == (0, 1)
    assert b"authorization" not in server.received[0].lower()


@pytest.mark.parametrize("status", [200, 403, 500])
@pytest.mark.parametrize("body", ["<p>your token %s is not welcome</p>", '{"error": {"code": "1", "message": "%s?"}}'])
def test_a_token_that_the_service_quotes_is_not_repeated_in_the_message(bench, status, body):
    _, client = bench.scripted((status, (body % TOKEN).encode()))
    assert TOKEN not in str(failure(client))
