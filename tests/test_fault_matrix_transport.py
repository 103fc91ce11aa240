"""The fault matrix: faults of the way, over real sockets. As in test_fault_matrix.py, one row a line where that is
enough; resets at every byte, TLS, dead ports, bombs and too many open files have tests of their own.

Not here: single answers over sockets (test_client.py), the simulator's own port (test_simulator_port.py).
"""

import contextlib
import json
import resource
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.auth import StaticToken
from pipelines.client import ShareClient
from pipelines.errors import TransientApiError
from pipelines.observation import ProofStatus
from pipelines.simulator.behaviour import Behaviour, Call, parameters
from pipelines.simulator.faults import parse
from pipelines.simulator.listings import Query, Row
from pipelines.simulator.records import Record
from pipelines.simulator.server import serve
from pipelines.traffic import Traffic
from tests.estate import LISTINGS, TOKEN, Estate, check, estate_at, in_campaigns
from tests.estate import Row as Line

PAGES = "operation=detail,nth=1-"
ADVICE = "check VBS_ENDPOINT and the network"

ROWS = [
    Line("reset before the reply, once", "reset:operation=detail,nth=1", "complete"),
    Line("reset in the head, twice", "reset:after=40,operation=detail,nth=1-2", "complete"),
    Line("reset in the body of a count", "reset:after=3,of=body,operation=count,nth=0", "complete"),
    Line(
        "reset before the reply for ever",
        f"reset:{PAGES}",
        "failed",
        ("no answer from 127.0.0.1", "3 attempts", ADVICE),
    ),
    Line("reset in the head for ever", f"reset:after=40,{PAGES}", "failed", ("no answer from", "3 attempts", ADVICE)),
    Line("reset in mid-body for ever", f"reset:after=900,of=body,{PAGES}", "failed", ("no answer from", ADVICE)),
    Line("a short body, once", "short-body:operation=detail,nth=1", "complete"),
    Line("a short body for ever", f"short-body:{PAGES}", "failed", ("no answer from", "3 attempts", ADVICE)),
    Line("chunks cut, once", "cut-chunks:operation=detail,nth=2", "complete"),
    Line("chunks cut for ever", f"cut-chunks:{PAGES}", "failed", ("no answer from", "3 attempts", ADVICE)),
    Line("no length and cut, once", "unknown-length:operation=detail,nth=1", "complete"),
    Line("no length and cut for ever", f"unknown-length:{PAGES}", "failed", ("the answer is not JSON", "2 attempts")),
    Line("no length and whole", f"unknown-length:missing=1,{PAGES}", "failed", ("the answer is not JSON",)),
    Line("hung up in the head", f"hangup:after=60,{PAGES}", "failed", ("no answer from", ADVICE)),
    Line("hung up in mid-body, once", "hangup:after=500,of=body,operation=detail,nth=1", "complete"),
    Line("something else answers, once", "garbage:operation=detail,nth=0", "complete"),
    Line("something else answers for ever", f"garbage:{PAGES}", "failed", ("no answer from", ADVICE)),
    Line("silence, once", "silence:operation=detail,nth=1", "complete"),
    Line("silence in the head, once", "silence:after=50,operation=detail,nth=1", "complete"),
    Line(
        "silence in mid-body for ever",
        f"silence:after=700,of=body,{PAGES}",
        "failed",
        ("no answer from", "read timeout"),
    ),
]


@pytest.mark.parametrize(("row", "rows"), [pytest.param(*each, id=each[0].name) for each in in_campaigns(ROWS)])
def test_an_answer_that_does_not_travel_well(row: Line, rows: tuple[Line, ...]) -> None:
    check(row, rows, over_a_port=True)


# --- at every byte --------------------------------------------------------------------------------------------------


@parameters
class OneSmallRecord(Behaviour):
    """The page is one record with nothing but its ids."""

    def page(self, page: list[Row], rows: list[Record], query: Query, call: Call) -> list[Row]:
        return [{key: value for key, value in page[0].items() if key in ("id", "backup_id", "from_project_id")}]


@contextlib.contextmanager
def client_of(url: str, **changes: object) -> Iterator[ShareClient]:
    quick = {"sleep": lambda seconds: None, "jitter": lambda: 0.5}
    traffic = Traffic(retry_floor=10_000, sleep=lambda seconds: None)
    with contextlib.closing(ShareClient(url, StaticToken(TOKEN), traffic=traffic, **quick | changes)) as client:
        yield client


def honest_page(estate: Estate, url: str) -> tuple[bytes, int]:
    """A small page as it arrives, and the bytes of the whole reply."""
    estate.service.faults = [OneSmallRecord()]
    with client_of(url) as client:
        body = client.page(LISTINGS[0], 0, 1).page.body
    response = estate.service.respond(estate.service.history[-1].request)
    return body, len(response.head(("content-length", str(len(body))))) + len(body)


def test_a_reply_that_is_reset_or_closed_at_any_byte_is_asked_for_again(tmp_path: Path) -> None:
    with estate_at(tmp_path, LISTINGS[:1]) as estate, serve(estate.service) as url:
        body, size = honest_page(estate, url)
        assert len(body) < 250
        with client_of(url) as client:
            for after in range(size):
                for kind in ("reset", "hangup") if after % 4 == 0 else ("reset",):
                    estate.service.faults = [OneSmallRecord(), parse(f"{kind}:after={after},nth=0")]
                    before = len(estate.service.history)
                    assert client.page(LISTINGS[0], 0, 1).page.body == body, (kind, after)
                    # A connection that was kept open is tried again by nobody but us.
                    assert len(estate.service.history) - before == 2, (kind, after)


def test_a_body_of_unknown_length_that_is_cut_at_any_byte_is_no_page(tmp_path: Path) -> None:
    """The HTTP library takes such an end for a good one; no beginning of a page is a page."""
    with estate_at(tmp_path, LISTINGS[:1]) as estate, serve(estate.service) as url:
        body, _ = honest_page(estate, url)
        with client_of(url) as client:
            for missing in range(1, len(body) + 1):
                estate.service.faults = [OneSmallRecord(), parse(f"unknown-length:missing={missing},nth=0-1")]
                with pytest.raises(TransientApiError, match="not JSON"):
                    client.page(LISTINGS[0], 0, 1)
                assert client.page(LISTINGS[0], 0, 1).page.body == body


# --- the run stops --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("self-signed", "is not trusted: self-signed certificate"),
        ("unknown-authority", "is not trusted: unable to get local issuer certificate"),
        ("wrong-name", "is not trusted: IP address mismatch"),
        ("expired", "is not trusted: certificate has expired"),
    ],
)
def test_without_trust_nothing_is_asked(tmp_path: Path, kind: str, words: str) -> None:
    authority = tmp_path / "authority.pem"
    with estate_at(tmp_path / "estate", LISTINGS[:3]) as estate:
        before = [estate.history(listing) for listing in estate.wanted]
        fault = parse(f"tls:kind={kind},authority_file={authority}")
        estate.service.faults = [fault]
        with serve(estate.service) as url:
            trusted = {} if kind == "unknown-authority" else {"ca_file": authority}
            seen = estate.sync(1, fault, endpoint=url, **trusted)
        first, *others = seen.observations.values()
        assert words in first.reason
        assert "give the authority as VBS_CA_FILE; certificates are always verified" in first.reason
        assert all(each.reason.startswith("not asked, as others failed: ") for each in others)
        assert [each.request_count for each in others] == [0, 0]
        assert seen.sent == 0
        assert_nothing_changed_and_recovered(estate, before)


@pytest.mark.parametrize(
    ("endpoint", "cause"),
    [
        ("refused", "connection refused"),
        ("tls:kind=old-version", "the TLS handshake was cut off"),
        ("http://no-such-host.invalid", "the name of the host is not known"),
    ],
)
def test_an_endpoint_that_is_not_there_is_given_up_after_three_listings(
    tmp_path: Path, endpoint: str, cause: str
) -> None:
    with estate_at(tmp_path, LISTINGS[:5]) as estate:
        before = [estate.history(listing) for listing in estate.wanted]
        estate.service.faults = faults = [] if endpoint.startswith("http") else [parse(endpoint)]
        with serve(estate.service) as url:
            seen = estate.sync(1, *faults, endpoint=url if faults else endpoint)
        asked = [each.request_count for each in seen.observations.values()]
        assert asked == [3, 3, 3, 0, 0]
        assert all(f": {cause}" in each.reason for each in seen.observations.values())
        assert all(ADVICE in each.reason for each in seen.observations.values())
        assert estate.time < 120
        assert_nothing_changed_and_recovered(estate, before)


def assert_nothing_changed_and_recovered(estate: Estate, before: list[object]) -> None:
    assert [estate.history(listing) for listing in estate.wanted] == before
    recovered = estate.sync(2)
    assert all(each.status.is_proven for each in recovered.observations.values())
    assert not [complaint for listing in estate.wanted if (complaint := estate.untrue(listing))]
    assert not estate.leaks()


# --- slow -----------------------------------------------------------------------------------------------------------


def test_a_drip_ends_at_the_deadline_in_real_time(tmp_path: Path) -> None:
    with estate_at(tmp_path, LISTINGS[:2]) as estate, serve(estate.service) as url:
        before = estate.history(LISTINGS[0])
        drip = [type(fault)(**vars(fault) | {"project_id": LISTINGS[0].project_id}) for fault in [parse("drip")]]
        real = {"clock": time.monotonic, "sleep": estate.sleep, "read_timeout": 5.0, "deadline": 0.3}
        seen = estate.sync(1, *drip, endpoint=url, **real)
        slow = seen.observations[LISTINGS[0]]
        assert slow.status is ProofStatus.FAILED
        assert "the answer took longer than 0.3 s" in slow.reason
        assert "lower VBS_PAGE_SIZE, or raise VBS_REQUEST_DEADLINE" in slow.reason
        assert estate.history(LISTINGS[0]) == before
        assert not estate.untrue(LISTINGS[1])
        estate.sync(2)
        assert not estate.untrue(LISTINGS[0])
        assert not estate.leaks()


# --- processes of their own -----------------------------------------------------------------------------------------

CHILD = """
import contextlib, json, os, resource, sys
from datetime import UTC, datetime
from pathlib import Path
from pipelines.auth import StaticToken
from pipelines.client import ShareClient
from pipelines.extract import Options, observe_listings
from pipelines.observation import Direction, Listing
from pipelines.traffic import Traffic

url, folder, project = sys.argv[1:4]
sleep = lambda seconds: None
listing = Listing("eu-de", project, Direction.OUTGOING)

def observe(tokens, name, page_size=40):
    client = ShareClient(url, tokens, traffic=Traffic(sleep=sleep), sleep=sleep)
    with contextlib.closing(client):
        [(_, seen)] = observe_listings({listing: client}, Path(folder) / name, sync_id=name,
            now=lambda: datetime.now(UTC), options=Options(page_size=page_size, concurrency=1))
    return {"status": seen.status, "reason": seen.reason, "ids": seen.distinct_ids, "requests": seen.request_count}
"""


def child(script: str, *arguments: str) -> dict[str, object]:
    text = CHILD + textwrap.dedent(script)
    command = [sys.executable, "-W", "error", "-c", text, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert TOKEN not in done.stdout + done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["huge-body:megabytes=100", "gzip-bomb:megabytes=50"])
def test_memory_stays_small_whatever_is_sent(tmp_path: Path, fault: str) -> None:
    with estate_at(tmp_path / "estate", LISTINGS[:1]) as estate, serve(estate.service) as url:
        estate.service.faults = [parse(f"{fault},operation=detail")]
        seen = child(
            f"""
            seen = observe(StaticToken({TOKEN!r}), "a")
            # Not ru_maxrss: a new process begins with the peak of its parent.
            [peak] = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")]
            print(json.dumps(seen | {{"peak": int(peak) // 1024}}))
            """,
            url,
            str(tmp_path / "landing"),
            LISTINGS[0].project_id,
        )
        assert seen["status"] == "failed"
        assert f"the answer to limit 20 is larger than {32 * 2**20} bytes: lower VBS_PAGE_SIZE" in str(seen["reason"])
        assert int(str(seen["peak"])) < 300, seen
        assert_nothing_changed_and_recovered(estate, [estate.history(LISTINGS[0])])


@pytest.mark.slow
def test_without_free_files_a_listing_fails_and_is_asked_again_when_there_are_some(tmp_path: Path) -> None:
    script = f"""
        class Hog:
            "Takes all files before a request, and gives them back when it is told."
            held = []
            def token(self, project_id):
                with contextlib.suppress(OSError):
                    while self.greedy:
                        self.held.append(os.open(os.devnull, os.O_RDONLY))
                return {TOKEN!r}
            def renewed(self, project_id, refused):
                return None
        hog = Hog()
        def sleep(seconds):
            if hog.greedy == "once":
                hog.greedy = ""
                while hog.held:
                    os.close(hog.held.pop())
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        hog.greedy = "once"
        once = observe(hog, "a")
        hog.greedy = "for ever"
        try:
            ever = observe(hog, "b")
        except Exception as error:
            ever = {{"status": type(error).__name__, "reason": str(error)}}
        while hog.held:
            os.close(hog.held.pop())
        hog.greedy = ""
        print(json.dumps([once, ever, observe(hog, "c")]))
        """
    with estate_at(tmp_path / "estate", LISTINGS[:1]) as estate, serve(estate.service) as url:
        count = len(estate.truth(LISTINGS[0]))
        once, ever, after = child(script, url, str(tmp_path / "landing"), LISTINGS[0].project_id)
        assert (once["status"], once["ids"], once["reason"]) == ("covered", count, "")
        assert ever["status"] in ("failed", "LandingError"), ever
        assert "no answer from 127.0.0.1" in ever["reason"] or "too many open files" in ever["reason"]
        assert (after["status"], after["ids"]) == ("covered", count)
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 64, "only the child is bound"
