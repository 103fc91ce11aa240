"""What a run sends when requests fail: every status at every place, outages, throttling, tokens, slow and fat pages.

All through the real client, most against the simulator behind a fake transport; slow answers over real sockets.
Not here: single answers (test_client.py), the budget alone (test_traffic.py).
"""

import contextlib
import json
import pickle
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime

import httpx
import pytest

from pipelines import client as client_module
from pipelines.auth import StaticToken
from pipelines.client import ShareClient
from pipelines.errors import (
    ApiError,
    ConfigurationError,
    CredentialError,
    EndpointError,
    TooLargeError,
    TransientApiError,
)
from pipelines.extract import Options, observe_listings
from pipelines.filters import Filters
from pipelines.observation import Direction, Listing, Observation, ProofStatus, listings
from pipelines.simulator.faults import Fault, Operation
from pipelines.simulator.service import DEMO_TOKEN, Service
from pipelines.simulator.world import World
from pipelines.traffic import Traffic
from tests.fakes import transport

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
DETAIL, COUNT = Operation.DETAIL, Operation.COUNT
OWN = "0123456789abcdef0123456789abcdef"
OUT = Listing("eu-de", OWN, Direction.OUTGOING)


class Run:
    """Clients of one run on a clock that only their sleep moves."""

    def __init__(self) -> None:
        self.time = 0.0
        self.open: list[ShareClient] = []
        self.traffic = self.make_traffic()

    def make_traffic(self, **options) -> Traffic:
        return Traffic(sleep=self.sleep, clock=lambda: self.time, **options)

    def sleep(self, seconds: float) -> None:
        self.time += seconds

    def client(self, carrier, tokens=None, endpoint="http://simulator", **changes) -> ShareClient:
        fakes = {"sleep": self.sleep, "clock": lambda: self.time, "now": lambda: NOW, "jitter": lambda: 0.5}
        arguments = {"traffic": self.traffic, **fakes, **changes}
        client = ShareClient(endpoint, tokens or StaticToken(DEMO_TOKEN), transport=carrier, **arguments)
        self.open.append(client)
        return client


@pytest.fixture
def run() -> Iterator[Run]:
    run = Run()
    yield run
    for client in run.open:
        client.close()


@pytest.fixture(scope="module")
def world() -> World:
    return World(seed=7, projects=3, shares=90)


def observe(run: Run, service: Service, folder, *, page_size=20, concurrency=1, **changes) -> list[Observation]:
    client = run.client(transport(service), **changes)
    wanted = listings("eu-de", service.world.projects)
    observed = observe_listings(
        dict.fromkeys(wanted, client),
        folder,
        sync_id="s",
        now=lambda: NOW,
        options=Options(page_size=page_size, concurrency=concurrency),
    )
    return [observation for _, observation in observed]


# Every status, at every place, so many times

ATTEMPTS = {408: 3, 409: 2, 429: 5, 500: 3, 502: 3, 503: 3, 504: 3}
FINAL = [201, 204, 206, 302, 400, 401, 403, 404, 405, 406, 407, 410, 418, 501, 505]
PLACES = {"count": (COUNT, 0), "first page": (DETAIL, 0), "middle page": (DETAIL, 2), "last page": (DETAIL, 3)}


@pytest.fixture(scope="module")
def one() -> Service:
    """One project; its outgoing listing takes three pages of 20 and one from the top."""
    return Service(World(seed=3, projects=1, shares=110), clock=lambda: NOW, sleep=lambda seconds: None)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(("status", "failures"), [(s, k) for s, n in ATTEMPTS.items() for k in (1, n - 1, n)])
def test_a_passing_failure_costs_nothing_until_its_attempts_are_used_up(run, one, tmp_path, status, failures, place):
    operation, first = PLACES[place]
    one.faults = [Fault(operation, direction=Direction.OUTGOING, nth=range(first, first + failures), status=status)]
    outgoing, incoming = observe(run, one, tmp_path)
    truth = {direction: len(one.listing(one.world.projects[0], direction)) for direction in Direction}
    assert incoming.status is ProofStatus.COVERED
    assert incoming.distinct_ids == truth[Direction.INCOMING]
    if failures < ATTEMPTS[status]:
        assert (outgoing.status, outgoing.reason) == (ProofStatus.COVERED, "")
        assert outgoing.distinct_ids == truth[Direction.OUTGOING]
    else:
        assert (outgoing.status, outgoing.may_close) == (ProofStatus.FAILED, False)
        assert f"HTTP {status}" in outgoing.reason
        assert f"{failures} attempts in " in outgoing.reason
        assert outgoing.page_count == (first if operation is DETAIL else 0)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("status", FINAL)
def test_a_final_status_ends_its_listing_at_once(run, one, tmp_path, status, place):
    operation, first = PLACES[place]
    one.faults = [Fault(operation, direction=Direction.OUTGOING, nth=first, status=status)]
    before = len(one.requests)
    outgoing, incoming = observe(run, one, tmp_path)
    asked = [path for _, path, query in one.requests[before:] if "share_to_me" not in query]
    if (status, place) == (404, "count"):
        assert outgoing.status is ProofStatus.COVERED, "without a count"
        return
    assert (outgoing.status, outgoing.may_close) == (ProofStatus.FAILED, False)
    assert f"HTTP {status}" in outgoing.reason
    assert len(asked) == (1 if operation is COUNT else 2 + first)
    if status in (405, 406, 407, 501):
        assert incoming.reason.startswith(f"not asked, as others failed: HTTP {status}")
        assert incoming.request_count == 0
    else:
        assert incoming.status is ProofStatus.COVERED


# Outages (F20)


def projects(count: int) -> list[str]:
    return [f"{number:031d}a" for number in range(count)]


def wanted(count: int) -> list[Listing]:
    return listings("eu-de", tuple(projects(count)))


@pytest.mark.parametrize("concurrency", [1, 8])
@pytest.mark.parametrize("status", [408, 409, 429, 500, 503])
def test_a_total_outage_is_asked_little_more_than_without_repeats(run, tmp_path, status, concurrency):
    sent: Counter[str] = Counter()

    def away(request: httpx.Request) -> httpx.Response:
        sent[request.url.path] += 1
        return httpx.Response(status)

    client = run.client(httpx.MockTransport(away))
    observed = observe_listings(
        dict.fromkeys(wanted(100), client),
        tmp_path,
        sync_id="s",
        now=lambda: NOW,
        options=Options(concurrency=concurrency),
    )
    assert {observation.status for _, observation in observed} == {ProofStatus.FAILED}
    assert 200 < sent.total() <= 1.3 * 200 + 10


@pytest.mark.parametrize("cause", [ConnectionRefusedError("no"), socket.gaierror("no")])
def test_an_endpoint_that_is_not_there_is_left_alone_after_three_listings(run, tmp_path, cause):
    sent: list[httpx.Request] = []

    def refuse(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        raise httpx.ConnectError("no") from cause

    client = run.client(httpx.MockTransport(refuse))
    observed = [
        o
        for _, o in observe_listings(
            dict.fromkeys(wanted(50), client), tmp_path, sync_id="s", now=lambda: NOW, options=Options(concurrency=1)
        )
    ]
    assert len(sent) <= 3 * 3
    assert [observation.request_count for observation in observed[3:]] == [0] * 97
    assert all("check VBS_ENDPOINT and the network" in observation.reason for observation in observed)
    assert run.time < 120


@pytest.mark.parametrize("status", [405, 406, 407, 501])
def test_what_no_listing_will_escape_is_asked_once(run, tmp_path, status):
    client = run.client(httpx.MockTransport(lambda request: httpx.Response(status)))
    observed = [
        o
        for _, o in observe_listings(
            dict.fromkeys(wanted(5), client), tmp_path, sync_id="s", now=lambda: NOW, options=Options(concurrency=1)
        )
    ]
    assert [observation.request_count for observation in observed] == [1] + [0] * 9


def test_the_same_refusal_of_a_parameter_everywhere_stops_the_run(run, world, tmp_path):
    observed = observe(run, Service(world, faults=[Fault(DETAIL, status=400)]), tmp_path)
    assert [observation.request_count for observation in observed] == [2, 2, 2, 0, 0, 0]
    assert all("check VBS_PAGE_SIZE" in observation.reason for observation in observed)


def test_a_certificate_that_is_not_trusted_stops_the_run(run, tmp_path):
    def refuse(request: httpx.Request) -> httpx.Response:
        error = ssl.SSLCertVerificationError("x")
        error.verify_message = "certificate has expired"
        raise httpx.ConnectError("x") from error

    client = run.client(httpx.MockTransport(refuse))
    with pytest.raises(EndpointError, match="the certificate of simulator is not trusted: certificate has expired; "):
        client.count(OUT)
    with pytest.raises(EndpointError, match="not asked"):
        client.count(OUT)
    assert client.requests_sent(OUT) == 1


def test_a_project_that_always_fails_leaves_repeats_for_the_others(run, world, tmp_path):
    bad, good = world.projects[0], world.projects[2]
    faults = [Fault(project_id=bad, status=503), Fault(DETAIL, good, nth=range(0, 60, 3), status=503)]
    observed = observe(run, Service(world, faults=faults), tmp_path, page_size=1000)
    by_project = {bad: ProofStatus.FAILED, world.projects[1]: ProofStatus.COVERED, good: ProofStatus.COVERED}
    assert [o.status for o in observed] == [by_project[o.listing.project_id] for o in observed]


# Throttling


def test_after_429_one_request_goes_at_a_time_and_everybody_rests(world, tmp_path):
    inside, peak, lock = [0], [0], threading.Lock()
    throttled = threading.Event()
    service = Service(world, clock=lambda: NOW)
    inner = transport(service)

    def handle(request: httpx.Request) -> httpx.Response:
        with lock:
            inside[0] += 1
            if throttled.is_set():
                peak[0] = max(peak[0], inside[0])
        try:
            if not throttled.is_set():
                throttled.set()
                return httpx.Response(429, headers={"Retry-After": "60"})
            return inner.handle_request(request)
        finally:
            with lock:
                inside[0] -= 1

    run = Run()
    client = run.client(httpx.MockTransport(handle), max_connections=4)
    client.count(Listing("eu-de", world.projects[0], Direction.OUTGOING))
    assert run.time == 60.0
    wanted = listings("eu-de", world.projects)
    observed = [
        o
        for _, o in observe_listings(
            dict.fromkeys(wanted, client),
            tmp_path,
            sync_id="s",
            now=lambda: NOW,
            options=Options(page_size=20, concurrency=4),
        )
    ]
    client.close()
    assert {o.status for o in observed} == {ProofStatus.COVERED}
    assert peak[0] == 1


# Tokens


class Login:
    """Gives tokens one after the other; `spent` renewals are refused."""

    def __init__(self, *values: str) -> None:
        self.values = list(values)
        self.refused: list[str] = []

    def token(self, project_id: str) -> str:
        return self.values[0]

    def renewed(self, project_id: str, refused: str) -> str | None:
        self.refused.append(refused)
        if len(self.values) == 1:
            return None
        self.values.pop(0)
        return self.values[0]


@pytest.mark.parametrize("expires_at", range(7))
def test_a_token_that_expires_during_the_walk_is_renewed_and_the_walk_goes_on(run, tmp_path, expires_at):
    service = Service(World(seed=3, projects=1, shares=130), token="new", clock=lambda: NOW)
    inner = transport(service)
    tokens, seen = Login("old", "new"), []

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers["x-auth-token"])
        if len(seen) <= expires_at:
            request.headers["x-auth-token"] = "new"
        return inner.handle_request(request)

    client = run.client(httpx.MockTransport(handle), tokens)
    wanted = [Listing("eu-de", service.world.projects[0], Direction.OUTGOING)]
    [(_, seen_listing)] = observe_listings(
        dict.fromkeys(wanted, client), tmp_path, sync_id="s", now=lambda: NOW, options=Options(page_size=20)
    )
    assert seen_listing.status is ProofStatus.COVERED
    assert seen_listing.distinct_ids == len(service.listing(wanted[0].project_id, wanted[0].direction))
    assert tokens.refused == ["old"]
    assert seen == ["old"] * (expires_at + 1) + ["new"] * (len(seen) - expires_at - 1)


@pytest.mark.parametrize("tokens", [StaticToken("old"), Login("old"), Login("old", "no better")])
def test_a_token_that_is_refused_for_good_ends_the_listing(run, tokens):
    sent: list[str] = []

    def refuse(request: httpx.Request) -> httpx.Response:
        sent.append(request.headers["x-auth-token"])
        return httpx.Response(401)

    with pytest.raises(CredentialError, match="get a new one"):
        run.client(httpx.MockTransport(refuse), tokens).page(OUT, 0, 10)
    assert sent in (["old"], ["old", "no better"])


def test_nothing_of_a_request_shows_its_token(run):
    kept: list[httpx.Request] = []

    def keep(request: httpx.Request) -> httpx.Response:
        kept.append(request)
        return httpx.Response(503)

    with pytest.raises(TransientApiError) as caught:
        run.client(httpx.MockTransport(keep), StaticToken("canary-token")).page(OUT, 0, 10)
    assert kept[0].headers["x-auth-token"] == "canary-token"
    assert "canary" not in f"{kept[0]!r} {kept[0].headers!r} {vars(kept[0])!r}"
    assert b"canary" not in pickle.dumps(kept[0])
    assert b"canary" not in pickle.dumps(caught.value)
    frame = caught.value.__traceback__
    while frame is not None:
        if "pipelines" in frame.tb_frame.f_code.co_filename:
            assert "canary" not in repr(frame.tb_frame.f_locals)
        frame = frame.tb_next


def test_no_error_keeps_that_of_the_library_with_its_request(run):
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    with pytest.raises(TransientApiError) as caught:
        run.client(httpx.MockTransport(refuse), StaticToken("canary-token")).page(OUT, 0, 10)
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)


# Pages that are too much


def limits(service: Service) -> list[int]:
    return [int(query["limit"]) for _, path, query in service.requests if path.endswith("detail")]


class FailsAbove:
    """The simulator behind something that cannot answer for more than so many rows."""

    def __init__(self, service: Service, most: int, answer) -> None:
        self.inner, self.most, self.answer = transport(service), most, answer
        self.limits: list[int] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        limit = int(request.url.params.get("limit", 0))
        self.limits.append(limit)
        if limit > self.most:
            return self.answer(request)
        return self.inner.handle_request(request)


def answers_503(request: httpx.Request) -> httpx.Response:
    return httpx.Response(503)


def times_out(request: httpx.Request) -> httpx.Response:
    raise httpx.ReadTimeout("slow")


@pytest.mark.parametrize("answer", [answers_503, times_out])
def test_a_page_that_keeps_failing_is_asked_for_in_halves_and_the_size_is_remembered(run, tmp_path, answer):
    service = Service(World(seed=3, projects=1, shares=700), clock=lambda: NOW)
    wire = FailsAbove(service, 250, answer)
    client = run.client(httpx.MockTransport(wire))
    wanted = [Listing("eu-de", service.world.projects[0], Direction.OUTGOING)]
    [(_, observed)] = observe_listings(
        dict.fromkeys(wanted, client), tmp_path, sync_id="s", now=lambda: NOW, options=Options(page_size=1000)
    )
    assert observed.status is ProofStatus.COVERED
    assert observed.distinct_ids == len(service.listing(wanted[0].project_id, wanted[0].direction))
    asked = [limit for limit in wire.limits if limit]
    assert asked[:4] == [1000, 1000, 500, 250]
    assert max(asked[4:]) == 250


def test_the_reply_tells_the_limit_that_was_asked_in_the_end_and_begin_forgets_it(run):
    service = Service(World(seed=3, projects=1, shares=700), clock=lambda: NOW)
    listing = Listing("eu-de", service.world.projects[0], Direction.OUTGOING)
    wire = FailsAbove(service, 250, answers_503)
    client = run.client(httpx.MockTransport(wire))
    reply = client.page(listing, 0, 1000)
    assert (reply.page.limit, len(reply.records)) == (250, 250)
    assert client.page(listing, 250, 1000).page.limit == 250
    assert client.page(listing, 250, 100).page.limit == 100
    wire.most = 1000
    client.begin(listing)
    assert client.page(listing, 0, 1000).page.limit == 1000


def test_no_page_is_asked_for_that_could_not_hold_the_shares_of_a_backup(run):
    run.traffic = run.make_traffic(retry_floor=1000)
    service = Service(World(projects=1, shares=10))
    wire = FailsAbove(service, 0, answers_503)
    with pytest.raises(TransientApiError, match=r"8 attempts in .* s, the last with limit 20; "):
        run.client(httpx.MockTransport(wire)).page(OUT, 0, 1000)
    assert wire.limits == [1000, 1000, 500, 250, 125, 62, 31, 20]
    with pytest.raises(TransientApiError):
        run.client(httpx.MockTransport(wire)).page(OUT, 0, 7)
    assert wire.limits[8:] == [7, 7, 7]


def test_an_answer_that_is_too_large_is_asked_for_in_halves_at_once(run, monkeypatch):
    monkeypatch.setattr(client_module, "MAX_BODY_BYTES", 100_000)
    service = Service(World(seed=3, projects=1, shares=700), clock=lambda: NOW)
    listing = Listing("eu-de", service.world.projects[0], Direction.OUTGOING)
    reply = run.client(transport(service)).page(listing, 0, 1000)
    assert limits(service)[:2] == [1000, 500]
    assert len(set(limits(service))) == len(limits(service))
    assert len(reply.records) == reply.page.limit == limits(service)[-1]
    assert run.time == 0


def test_an_answer_that_is_always_too_large_is_given_up(run, monkeypatch):
    monkeypatch.setattr(client_module, "MAX_BODY_BYTES", 100)
    client = run.client(httpx.MockTransport(lambda request: httpx.Response(200, content=b" " * 200)))
    with pytest.raises(TooLargeError, match="to limit 20 is larger than 100 bytes"):
        client.page(OUT, 0, 80)
    assert client.requests_sent(OUT) == 3
    with pytest.raises(TooLargeError, match=r"^the answer is larger"):
        client.count(OUT)


# Time


@contextlib.contextmanager
def server_of(*pieces: bytes, pause: float) -> Iterator[str]:
    """A port that sends these pieces to everybody, one after a pause, and then nothing."""
    stop = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            for piece in pieces:
                connection.sendall(piece)
                if stop.wait(pause):
                    return
            stop.wait()

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threads.append(threading.Thread(target=serve, args=(connection,)))
                threads[-1].start()

    threads = [threading.Thread(target=accept)]
    threads[0].start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        stop.set()
        listener.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join()
        listener.close()


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"
SLOW = {
    "nothing": [],
    "headers that drip": [b"HTTP/1.1 200 OK\r\n", *[b"X-A: b\r\n"] * 1000],
    "a body that drips": [HEAD, *[b" "] * 1000],
}


@pytest.mark.parametrize("pieces", SLOW.values(), ids=SLOW)
def test_an_answer_that_drips_ends_at_the_deadline_wherever_it_drips(pieces):
    """With the library's own timeouts this would never end: there is always a byte in time."""
    with (
        server_of(*pieces, pause=0.01) as url,
        contextlib.closing(
            ShareClient(url, StaticToken("t"), deadline=0.15, read_timeout=30.0, sleep=lambda seconds: None)
        ) as client,
        pytest.raises(TransientApiError, match=r"took longer than 0\.15 s; 3 attempts.*VBS_REQUEST_DEADLINE"),
    ):
        client.page(OUT, 0, 10)


def test_an_answer_within_the_deadline_may_drip():
    body = json.dumps({"shared": []}).encode()
    pieces = [
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body),
        *(body[i : i + 1] for i in range(len(body))),
    ]
    with (
        server_of(*pieces, pause=0.001) as url,
        contextlib.closing(ShareClient(url, StaticToken("t"))) as client,
    ):
        assert client.page(OUT, 0, 10).records == []


def test_a_listing_that_takes_too_long_ends_with_a_sentence_and_no_further_request(run):
    def slow(request: httpx.Request) -> httpx.Response:
        run.time += 50
        return httpx.Response(200, json={"shared": []})

    client = run.client(httpx.MockTransport(slow), listing_deadline=120.0)
    client.begin(OUT)
    for _ in range(3):
        client.page(OUT, 0, 10)
    with pytest.raises(ApiError, match=r"the listing took longer than 120 s; .*VBS_LISTING_DEADLINE") as caught:
        client.page(OUT, 0, 10)
    assert not isinstance(caught.value, TransientApiError)
    assert client.requests_sent(OUT) == 3
    client.begin(OUT)
    client.page(OUT, 0, 10)


def test_no_pause_goes_beyond_the_end_of_the_listing(run):
    answers = httpx.MockTransport(lambda request: httpx.Response(503, headers={"Retry-After": "100"}))
    client = run.client(answers, listing_deadline=150.0)
    client.begin(OUT)
    with pytest.raises(ApiError, match="VBS_LISTING_DEADLINE"):
        client.page(OUT, 0, 10)
    assert (run.time, client.requests_sent(OUT)) == (100.0, 2)


def test_the_pace_of_a_run_holds_for_all_its_clients(run):
    run.traffic = run.make_traffic(requests_per_second=2)
    answers = httpx.MockTransport(lambda request: httpx.Response(200, json={"count": 0}))
    first, second = run.client(answers), run.client(answers)
    for _ in range(20):
        first.count(OUT)
        second.count(OUT)
    assert run.time == (40 - 1) / 2 - 5


def test_the_largest_difference_of_the_clocks_is_told(run):
    dates = iter(["Sun, 01 Mar 2026 12:00:02 GMT", "Sun, 01 Mar 2026 11:50:00 GMT", "Sun, 01 Mar 2026 12:00:00 GMT"])
    client = run.client(
        httpx.MockTransport(lambda request: httpx.Response(200, json={"count": 0}, headers={"Date": next(dates)}))
    )
    seen = []
    for _ in range(3):
        client.count(OUT)
        seen.append(client.clock_skew)
    assert seen == [2.0, -599.0, -599.0]


# Links and filters


def test_a_link_is_followed_to_our_own_endpoint_only(run):
    asked: list[httpx.URL] = []
    link = {"rel": "next", "href": "http://10.0.0.1:8776/x/detail?limit=7&marker=m-1&offset=7&admin=1"}

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(request.url)
        return httpx.Response(200, json={"shared": [], **({"shared_links": [link]} if len(asked) == 1 else {})})

    client = run.client(httpx.MockTransport(handle))
    first = client.page(OUT, 0, 10)
    assert first.next_query == {"limit": "7", "marker": "m-1", "offset": "7"}
    second = client.linked_page(OUT, first.next_query)
    assert (second.next_query, second.page.offset, second.page.limit) == (None, 7, 7)
    assert {url.host for url in asked} == {"simulator"}
    assert asked[1].path == asked[0].path
    assert dict(asked[1].params) == {
        "limit": "7", "sort_key": "id", "sort_dir": "asc", "marker": "m-1", "offset": "7",
    }  # fmt: skip


EVERY = Filters(
    backup_id="b", volume_id="v", name="n&m", status="error", from_project_id="f", to_project_id="t",
    availability_zone="z",
)  # fmt: skip


def test_filters_are_sent_as_documented_with_pages_and_count(run):
    asked: list[dict[str, str]] = []

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(dict(request.url.params))
        return httpx.Response(200, json={"shared": [], "count": 0})

    client = run.client(httpx.MockTransport(handle))
    client.page(OUT, 0, 10, filters=EVERY, sort_key="name", descending=True)
    client.count(OUT, EVERY)
    documented = {
        "backup_id": "b", "volume_id": "v", "name": "n&m", "status": "error", "from_project_id": "f",
        "to_project_id": "t", "avalilability_zone": "z",
    }  # fmt: skip
    paging = {"limit": "10", "sort_key": "name", "sort_dir": "desc", "offset": "0"}
    assert asked == [documented | paging, documented]


RECORD = {
    "id": "s", "backup_id": "b", "from_project_id": "f", "to_project_id": "t",
    "backup": {"id": "b", "volume_id": "v", "name": "The N&M backup", "status": "error", "availability_zone": "z"},
}  # fmt: skip


@pytest.mark.parametrize("field", [None, *EVERY.query()])
def test_a_record_matches_when_all_conditions_hold(field):
    spoilt = json.loads(json.dumps(RECORD).replace("avalil", "avail"))
    name = {"avalilability_zone": "availability_zone"}.get(field or "", field)
    if name:
        (spoilt if name in spoilt else spoilt["backup"])[name] = "other"
    assert EVERY.matches(spoilt) is (field is None)


@pytest.mark.parametrize("record", [None, 5, [], {}, {"backup": None}, {"backup": []}, {"backup": {"name": 5}}])
def test_a_record_that_cannot_be_read_matches_no_condition(record):
    assert not Filters(name="x").matches(record)
    assert not Filters(backup_id="x").matches(record)
    assert Filters().matches(record)


def test_a_share_can_be_confirmed_gone_by_the_backup_filter(run, world):
    service = Service(world)
    listing = Listing("eu-de", world.projects[0], Direction.OUTGOING)
    client = run.client(transport(service))
    backup_id = service.listing(listing.project_id, listing.direction)[0]["backup_id"]
    found = client.page(listing, 0, 1000, filters=Filters(backup_id=backup_id)).records
    assert found
    assert all(Filters(backup_id=backup_id).matches(record) for record in found)
    assert client.page(listing, 0, 1000, filters=Filters(backup_id="gone")).records == []


@pytest.mark.parametrize(("content", "reason"), [(None, "no such file"), (b"no pem", "holds no certificate")])
def test_a_file_of_authorities_that_is_none_is_a_configuration_error(tmp_path, content, reason):
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=f"VBS_CA_FILE cannot be used: {reason}"):
        ShareClient("https://vbs.example.com", StaticToken("t"), ca_file=path)
