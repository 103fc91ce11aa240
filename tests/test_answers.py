"""What an answer means, apart from how it came: strict JSON, links, clocks, and errors of every shape.

Not here: the same bodies through the client (test_client.py).
"""

import contextlib
import json
import unicodedata
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from pipelines.answers import Answer, api_error, next_query, read_count, read_json, shared_list
from pipelines.errors import ApiError, MalformedResponseError, TransientApiError
from pipelines.observation import Direction, Listing

TOKEN = "gAAAAABcanaryToken_-"
OWN = "0123456789abcdef0123456789abcdef"
OUT = Listing("eu-de", OWN, Direction.OUTGOING)
NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


def answer(body: bytes, status: int = 200, took: float = 0.0, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, named, body, SecretStr(TOKEN), NOW, NOW + timedelta(seconds=took))


def records(body: bytes) -> list:
    return shared_list(answer(body), read_json(answer(body)), OUT)


# Keys that stand twice

RECORD = b'{"id": "s1", "from_project_id": "%b"}' % OWN.encode()


@pytest.mark.parametrize(
    "body",
    [
        b'{"shared": [], "shared": [%b]}' % RECORD,
        b'{"shared": [%b], "shared": []}' % RECORD,
        b'{"shared": null, "shared": []}',
        b'{"\\u0073hared": [%b], "shared": []}' % RECORD,
        b'{"sh\\u0061red": [], "shar\\u0065d": []}',
        b'{"shared": [%b], "x": 1, "shared" : []}' % RECORD,
        b' {"shared" : [%b], "shared": [], "x": {}} ' % RECORD,
    ],
)
def test_two_lists_of_shares_are_no_list(body):
    with pytest.raises(MalformedResponseError, match="stands twice"):
        records(body)


@pytest.mark.parametrize(
    "body",
    [
        b'{"shared": [{"id": "shared", "name": "\\"shared\\""}]}',
        b'{"shared": [{"shared": 1}]}',
        b'{"shared": [{"name": "caf\\u00e9 \\u0061"}]}',
        b'{"shared": [{"id": "1", "id": "2"}]}',
        b'{"x": 1, "x": 2, "shared": [{}]}',
        b' \n{ "shared" :[{}]}\n ',
        b'{"shared": [{"name": "\\ud83d", "x": "shared"}]}',
        b'\xef\xbb\xbf{"shared": [{"shared": 1}]}',
        b'{"shared": [{"size": ' + b"9" * 400 + b', "shared": ""}]}',
    ],
)
def test_the_word_may_stand_elsewhere(body):
    assert len(records(body)) == 1


def test_two_counts_are_no_count():
    body = b'{"count": 3, "count": 3}'
    with pytest.raises(MalformedResponseError, match="twice"):
        read_count(answer(body), read_json(answer(body)), OUT)


def test_a_key_that_stands_twice_in_an_error_is_not_believed():
    error = api_error(answer(b'{"error": {"code": "A.1", "code": "A.2", "message": "no"}}', 403))
    assert (error.code, str(error).startswith("HTTP 403; no; ")) == ("", True)


# Errors

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=300),
    lambda inside: (
        st.lists(inside, max_size=4)
        | st.dictionaries(
            st.sampled_from(["error", "code", "message", "error_code", "error_msg", "errorMsg", "badRequest", "x"])
            | st.text(max_size=5),
            inside,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@given(json_values.map(json.dumps).map(str.encode) | st.binary(max_size=300), st.integers(100, 599))
def test_an_error_of_any_body_is_one_short_printable_line_that_ends_in_what_to_do(body, status):
    error = api_error(answer(body, status, x_request_id="req-1"))
    assert isinstance(error, ApiError)
    assert not {unicodedata.category(char) for char in str(error)} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert len(str(error)) < 2500
    assert str(error).startswith(f"HTTP {status}")
    assert "request req-1" in str(error)
    assert error.advice
    assert str(error).endswith(error.advice)


@given(st.binary(max_size=200))
def test_no_body_makes_reading_it_crash(body):
    with contextlib.suppress(ApiError, MalformedResponseError):
        assert isinstance(records(body), list)


def test_a_request_id_in_the_body_is_shown_where_no_header_has_one():
    body = json.dumps({"error_code": "APIG.0302", "error_msg": "refused", "request_id": "r-9"}).encode()
    assert str(api_error(answer(body, 403))).startswith("HTTP 403; APIG.0302; refused; request r-9; ")
    assert "request h-1;" in str(api_error(answer(body, 403, x_compute_request_id="h-1")))


def test_a_code_that_only_repeats_the_status_is_not_said_twice():
    body = b'{"itemNotFound": {"code": 404, "message": "no such project"}}'
    assert str(api_error(answer(body, 404))).startswith("HTTP 404; no such project; ")
    assert api_error(answer(body, 404)).code == "404"


@pytest.mark.parametrize("body", [b"<html>", b'{"shared": null}', b'{"shared": [{"from_project_id": "x"}]}'])
def test_a_broken_answer_names_its_request_too(body):
    given_id = answer(body, x_openstack_request_id="req-7")
    with pytest.raises((TransientApiError, MalformedResponseError), match="request req-7; "):
        shared_list(given_id, read_json(given_id), OUT)


@pytest.mark.parametrize("spelt", ["a/b+c==", "a\\/b+c==", "\\u0061/b\\u002bc=="])
def test_a_token_that_the_service_quotes_is_in_no_message_however_it_is_spelt(spelt):
    token = "a/b+c=="
    body = b'{"error_code": "X.1", "error_msg": "%b%b is refused"}' % (b"-" * 190, spelt.encode())
    refused = api_error(Answer(403, {}, body, SecretStr(token), NOW, NOW))
    assert json.loads(body)["error_msg"].count(token) == 1
    assert "a/b" not in str(refused)
    assert "[secre" in str(refused)


# Links


def link(href, rel="next") -> dict:
    return {"shared": [], "shared_links": [{"rel": "self", "href": "x"}, {"rel": rel, "href": href}]}


@pytest.mark.parametrize(
    ("href", "query"),
    [
        ("http://10.1.1.1:8776/v2/x/detail?limit=5&offset=5", {"limit": "5", "offset": "5"}),
        ("https://evil.example/?offset=7&marker=ab-1&admin=1", {"limit": "10", "offset": "7", "marker": "ab-1"}),
        ("?marker=abc", {"limit": "10", "marker": "abc"}),
        ("?marker=abc&limit=5000", {"limit": "10", "marker": "abc"}),
        ("?marker=abc&limit=0", {"limit": "10", "marker": "abc"}),
        ("?offset=-1&marker=a", {"limit": "10", "marker": "a"}),
        ("?limit=5", None),
        ("?offset=٥", None),
        ("?marker=a%0d%0ab", None),
        ("?marker=" + "x" * 300, None),
        ("http://[::1/?offset=5", None),
        ("?" + "a=1&" * 100, None),
        ("", None),
        (5, None),
        (None, None),
    ],
)
def test_of_a_link_nothing_is_taken_but_its_place(href, query):
    assert next_query(link(href), 10) == query


@pytest.mark.parametrize("links", [None, [], {}, "x", [None, 5, {}], [{"rel": "prev", "href": "?offset=1"}]])
def test_what_is_no_next_link_is_none(links):
    assert next_query({"shared_links": links}, 10) is None
    assert next_query([links], 10) is None


# Clocks


@pytest.mark.parametrize(
    ("seconds", "took", "skew"),
    [(0, 0, 0), (-1, 0, 0), (-2, 0, -1), (1, 0, 1), (5, 10, 0), (600, 10, 590), (-600, 10, -599), (10**9, 0, 10**9)],
)
def test_the_clocks_differ_by_what_the_exchange_does_not_explain(seconds, took, skew):
    date = format_datetime(NOW + timedelta(seconds=seconds), usegmt=True)
    assert answer(b"", took=took, date=date).clock_skew == skew


@pytest.mark.parametrize("date", ["", "soon", "Sun, 01 Mar 2026 12:00:07", "9" * 50])
def test_a_date_that_cannot_be_read_tells_nothing(date):
    assert answer(b"", date=date).clock_skew is None


ODD_TOKEN = "gAAAA/B+c=-d.e"


@pytest.mark.parametrize(
    "spelling",
    [
        ODD_TOKEN,
        ODD_TOKEN.replace("/", "\\/"),
        ODD_TOKEN.replace("/", "\\u002f").replace("+", "\\u002B").replace("=", "\\u003d"),
        ODD_TOKEN.replace("/", "%2F").replace("+", "%2b").replace("=", "%3D"),
    ],
)
@pytest.mark.parametrize("status", [200, 403])
def test_a_token_that_the_service_quotes_is_not_repeated_in_whatever_spelling(spelling, status):
    body = f'{{"error": {{"code": "X", "message": "the token {spelling} is no good"}}}}'.encode()
    location = f"https://user:{spelling}@other.example/"
    headers = {"x-request-id": spelling, "location": location}
    quoting = Answer(status, headers, body, SecretStr(ODD_TOKEN), NOW, NOW)
    texts = [quoting.request_id, str(api_error(Answer(302, headers, b"", SecretStr(ODD_TOKEN), NOW, NOW)))]
    with pytest.raises(ApiError, match=r"the token \[secret\] is no good") as told:
        fail_with(quoting)
    quoted = Answer(200, headers, b"{... " + spelling.encode(), SecretStr(ODD_TOKEN), NOW, NOW)
    with pytest.raises(TransientApiError, match=r"it begins with: \{\.\.\. \[secret\]"):
        read_json(quoted)
    texts.append(str(told.value))
    assert not [text for text in texts if "AAAA" in text], texts
    assert "a redirect to other.example was not followed" in texts[1]


def fail_with(answer: Answer) -> None:
    if answer.status != 200:
        raise api_error(answer)
    shared_list(answer, read_json(answer), OUT)
