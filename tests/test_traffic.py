"""How often may be asked: the pace, the places, the budget of repeats, and when an endpoint is left alone.

Not here: the same through a client and a whole observation (test_requests.py).
"""

import string
import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipelines.errors import EndpointError, PermanentApiError, TransientApiError
from pipelines.observation import Direction, Listing
from pipelines.traffic import Gate, Lane, Traffic, pause, read_retry_after

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


class Time:
    def __init__(self) -> None:
        self.now = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def traffic(self, **options) -> Traffic:
        return Traffic(sleep=self.sleep, clock=lambda: self.now, **options)

    def lane(self, width: int = 8) -> Lane:
        return Lane(width, sleep=self.sleep, clock=lambda: self.now)


@pytest.fixture
def time() -> Time:
    return Time()


def listing(number: int) -> Listing:
    return Listing("eu-de", f"{number:032d}", Direction.OUTGOING)


# Pace


def test_without_a_limit_nothing_waits(time):
    traffic = time.traffic()
    for _ in range(1000):
        traffic.pace()
    assert time.now == 0


def test_the_pace_is_kept_on_average_after_a_burst_of_five_seconds(time):
    traffic = time.traffic(requests_per_second=4)
    sent_at = []
    for _ in range(101):
        traffic.pace()
        sent_at.append(time.now)
    assert sent_at[:21] == [0.0] * 21
    assert sent_at[21:25] == [0.25, 0.5, 0.75, 1.0]
    assert sent_at[-1] == 20.0


def test_time_that_was_not_used_is_not_saved_up_for_ever(time):
    traffic = time.traffic(requests_per_second=1)
    traffic.pace()
    time.now = 10_000.0
    for _ in range(6):
        traffic.pace()
    assert time.now == 10_000.0
    traffic.pace()
    assert time.now == 10_001.0


def test_all_threads_keep_one_pace():
    time = Time()
    lock = threading.Lock()

    def sleep(seconds: float) -> None:
        with lock:
            waits.append(seconds)

    waits: list[float] = []
    traffic = Traffic(requests_per_second=10, sleep=sleep, clock=lambda: time.now)
    threads = [threading.Thread(target=lambda: [traffic.pace() for _ in range(25)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # 51 at once, then one every tenth of a second: each thread waits for an instant of its own.
    assert sorted(waits) == pytest.approx([n / 10 for n in range(1, 50)])


# The budget of repeats


def test_a_small_run_may_repeat_ten_requests_and_one_project_half_of_them(time):
    traffic = time.traffic()
    assert [traffic.may_repeat("a") for _ in range(6)] == [True] * 5 + [False]
    assert sum(traffic.may_repeat(project) for project in "abcdefghij" * 10) == 5


def test_a_long_run_may_repeat_a_tenth_of_its_requests(time):
    traffic = time.traffic()
    for _ in range(1000):
        traffic.pace()
    assert sum(traffic.may_repeat("a") for _ in range(200)) == 50
    assert sum(traffic.may_repeat("b") for _ in range(200)) == 25
    assert sum(traffic.may_repeat("c") for _ in range(200)) == 13


@given(st.lists(st.tuples(st.booleans(), st.sampled_from("abcd")), max_size=300))
def test_repeats_never_exceed_their_share_and_nobody_is_left_without(steps):
    traffic = Traffic()
    sent, granted = 0, dict.fromkeys("abcd", 0)
    for is_request, project in steps:
        if is_request:
            traffic.pace()
            sent += 1
        elif traffic.may_repeat(project):
            granted[project] += 1
        total = sum(granted.values())
        assert total <= max(10, 0.1 * sent)
        assert granted["a"] <= max(10, 0.1 * sent) / 2 + 1
    others = sum(granted.values()) - granted["a"]
    if others == 0:
        assert traffic.may_repeat("b"), "a project that fails leaves something for the next"


# Places


def test_a_gate_lets_so_many_in_and_after_narrowing_one():
    gate = Gate(3)
    inside, peak = [0], [0]
    lock, go = threading.Lock(), threading.Barrier(9)

    def work() -> None:
        go.wait()
        for _ in range(50):
            with gate:
                with lock:
                    inside[0] += 1
                    peak[0] = max(peak[0], inside[0])
                with lock:
                    inside[0] -= 1

    for expected in (3, 1):
        peak[0] = 0
        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        go.wait()
        for thread in threads:
            thread.join()
        assert peak[0] <= expected
        gate.narrow()


def test_every_project_has_its_own_places(time):
    traffic = time.traffic(project_concurrency=1)
    with traffic.place("a"), traffic.place("b"):
        assert traffic.place("a") is not traffic.place("b")
    assert traffic.place("a") is traffic.place("a")


def test_after_throttling_the_next_request_waits_whoever_sends_it(time):
    lane = time.lane()
    lane.throttle(60.0)
    with lane.turn():
        assert time.now == 60.0
    with lane.turn():
        assert time.now == 60.0


# Leaving an endpoint alone


def refused() -> TransientApiError:
    return TransientApiError("no answer", advice="check", shared_cause="connection refused")


def test_three_listings_in_a_row_with_the_same_cause_close_the_lane(time):
    lane = time.lane()
    for number in range(3):
        lane.check()
        lane.failed(listing(number), "count", refused())
    with pytest.raises(EndpointError, match=r"^not asked, as others failed: no answer; check$"):
        lane.check()


def test_the_same_listing_three_times_is_one_listing(time):
    lane = time.lane()
    for _ in range(5):
        lane.failed(listing(1), "count", refused())
    lane.check()


def test_an_answer_or_another_cause_in_between_begins_the_row_again(time):
    lane = time.lane()
    other = TransientApiError("no answer", shared_cause="the name of the host is not known")
    for number in range(2):
        lane.failed(listing(number), "count", refused())
    lane.answered("count")
    for number in range(2):
        lane.failed(listing(number), "count", refused())
    lane.failed(listing(2), "count", other)
    for number in range(2):
        lane.failed(listing(number), "count", refused())
    lane.check()


def test_a_good_count_does_not_hide_that_every_page_is_refused(time):
    lane = time.lane()
    for number in range(3):
        lane.answered("count")
        lane.failed(listing(number), "detail", PermanentApiError("HTTP 400", shared_cause="HTTP 400 x"))
    with pytest.raises(EndpointError):
        lane.check()


def test_errors_of_a_listing_alone_never_close_the_lane(time):
    lane = time.lane()
    for number in range(10):
        lane.failed(listing(number), "count", TransientApiError("HTTP 503"))
        lane.failed(listing(number), "count", PermanentApiError("HTTP 403"))
    lane.check()


# Pauses


def test_the_pause_grows_no_longer_than_half_a_minute():
    error = TransientApiError("x")
    assert [pause(error, failures, 1.0) for failures in range(1, 9)] == [0.5, 1, 2, 4, 8, 16, 30, 30]


@given(st.text(st.characters(max_codepoint=0xFF), max_size=40))
@example("²")
def test_no_retry_after_is_more_than_digits_or_a_date(value):
    seconds = read_retry_after(value, NOW)
    assert seconds is None or seconds >= 0
    if not any(char in string.ascii_letters for char in value):
        assert (seconds is not None) == (value.isascii() and value.isdigit() and len(value) <= 20)


@given(st.integers(0, 10**20 - 1))
def test_a_retry_after_in_digits_is_read(number):
    assert read_retry_after(str(number), NOW) == float(number)


@given(st.integers(-(10**8), 10**8))
def test_a_retry_after_as_a_date_is_the_time_until_then(seconds):
    assert read_retry_after(format_datetime(NOW + timedelta(seconds=seconds), usegmt=True), NOW) == max(0, seconds)
