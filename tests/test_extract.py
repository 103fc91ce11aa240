"""Observing against the simulator: what is proven is the truth, and a listing that fails fails alone.

Not here: the paging algorithm against hostile lists (test_walk.py), single answers (test_client.py), the file format
(test_landing.py).
"""

import contextlib
import itertools
import json
import re
import threading
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pyarrow.parquet as pq
import pytest

from pipelines.auth import StaticToken
from pipelines.client import ShareClient
from pipelines.errors import LandingError, StoppedError, WarehouseError
from pipelines.extract import Options, nothing_known, observe_listing, observe_listings, side_by_side
from pipelines.landing import LandedFile, landed_files, read_observation, read_pages
from pipelines.observation import Direction, Listing, Observation, ProofStatus, listings
from pipelines.simulator.behaviour import Behaviour, Call
from pipelines.simulator.faults import Fault, Operation, parse
from pipelines.simulator.listings import Query
from pipelines.simulator.scenario import Malformed, Scenario
from pipelines.simulator.service import DEMO_TOKEN, Service
from pipelines.simulator.wire import Response, error
from pipelines.simulator.world import World
from tests.fakes import transport

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
OUT, IN = Direction.OUTGOING, Direction.INCOMING
DETAIL, COUNT = Operation.DETAIL, Operation.COUNT


@pytest.fixture(scope="module")
def world() -> World:
    return World(seed=7, projects=3, shares=90)


def make_service(world: World, **changes) -> Service:
    return Service(world, clock=lambda: NOW, sleep=lambda seconds: None, **changes)


@contextlib.contextmanager
def client_of(service: Service):
    with contextlib.closing(
        ShareClient(
            "http://simulator",
            StaticToken(DEMO_TOKEN),
            transport=transport(service),
            sleep=lambda seconds: None,
            now=lambda: NOW,
        )
    ) as client:
        yield client


def wanted(world: World) -> list[Listing]:
    return listings("eu-de", world.projects)


def observe(service: Service, root: Path, what: list[Listing] | None = None, **options):
    """Everything observed, in order; with small pages, so that there is something between them."""
    return observe_knowing(nothing_known, service, root, what, **options)


def observe_knowing(
    known, service: Service, root: Path, what: list[Listing] | None = None, sync_id: str = "sync-1", **options
):
    """The same, where something was known before."""
    clients = what or wanted(service.world)
    with client_of(service) as client:
        return list(
            observe_listings(
                dict.fromkeys(clients, client),
                root,
                sync_id=sync_id,
                now=lambda: NOW,
                known=known,
                options=Options(**{"page_size": 5, **options}),
            )
        )


def landed_ids(file: LandedFile) -> set[str]:
    return {record["id"] for body in read_pages(file) for record in json.loads(body)["shared"]}


def published_ids(file: LandedFile, observation: Observation) -> set[str]:
    """What the history would take over: the rows of the landed pages, without those that the proof excludes."""
    return landed_ids(file) - set(observation.excluded_ids) if observation.status.is_proven else set()


def true_ids(service: Service, listing: Listing) -> set[str]:
    return {record["id"] for record in service.listing(listing.project_id, listing.direction)}


def assert_true(service: Service, observed, listing: Listing | None = None) -> None:
    """The observation is proven, and what it publishes is the listing as the simulator knows it."""
    file, observation = observed
    truth = true_ids(service, listing or observation.listing)
    assert observation.status.is_proven, observation.reason
    assert published_ids(file, observation) == truth
    assert observation.distinct_ids == len(truth)


def by_listing(observed) -> dict[Listing, tuple[LandedFile, Observation]]:
    return {observation.listing: (file, observation) for file, observation in observed}


# A quiet day


@pytest.mark.parametrize(
    ("page_size", "id_sorts_by"),
    [(5, "share"), (17, "share"), (1000, "share"), (12, "backup"), (1000, "backup")],
)
def test_both_directions_of_every_project_are_observed_as_they_are(world, tmp_path, page_size, id_sorts_by):
    service = make_service(world, id_sorts_by=id_sorts_by)
    observed = observe(service, tmp_path, page_size=page_size)
    assert [observation.listing for _, observation in observed] == wanted(world)
    assert sum(observation.distinct_ids for _, observation in observed) > 90  # own to own stands in two listings
    for one in observed:
        assert_true(service, one)


@pytest.mark.parametrize(("page_size", "id_sorts_by"), [(1, "share"), (2, "share"), (1, "backup"), (5, "backup")])
def test_pages_too_small_for_a_proof_prove_nothing_wrong(world, tmp_path, page_size, id_sorts_by):
    """All shares of one backup must fit on a page, with one more: else there is nothing to hold on to."""
    service = make_service(world, id_sorts_by=id_sorts_by)
    for file, observation in observe(service, tmp_path, page_size=page_size):
        if observation.status.is_proven:
            assert_true(service, (file, observation))
        else:
            assert (observation.status, observation.may_close) == (ProofStatus.INCOMPLETE, False)
            assert observation.reason


@pytest.mark.parametrize("max_limit", [3, 7])
def test_a_service_that_gives_less_than_asked_for_is_read_to_its_end(world, tmp_path, max_limit):
    service = make_service(world, max_limit=max_limit)
    for one in observe(service, tmp_path, page_size=1000):
        assert_true(service, one)


def test_a_quiet_listing_is_proven_in_one_pass_and_may_close(world, tmp_path):
    service = make_service(world)
    for _, observation in observe(service, tmp_path):
        count = len(service.listing(observation.listing.project_id, observation.listing.direction))
        assert (observation.status, observation.may_close) == (ProofStatus.COVERED, True)
        assert (observation.count_before, observation.count_after, observation.distinct_ids) == (count,) * 3
        assert (observation.pass_count, observation.reason, observation.error_code) == (1, "", "")
        assert observation.excluded_ids == ()


def test_an_empty_listing_is_proven_empty(tmp_path):
    service = make_service(World(projects=1, shares=0))
    for file, observation in observe(service, tmp_path):
        assert (observation.status, observation.may_close) == (ProofStatus.COVERED, True)
        assert (observation.count_before, observation.distinct_ids, observation.page_count) == (0, 0, 1)
        assert landed_ids(file) == set()


def test_no_listing_at_all_is_no_work(world, tmp_path):
    assert list(observe_listings({}, tmp_path, sync_id="s", now=lambda: NOW)) == []


def test_what_is_landed_is_what_was_reported(world, tmp_path):
    observed = observe(make_service(world), tmp_path)
    assert {file.name for file in landed_files(tmp_path)} == {file.name for file, _ in observed}
    for file, observation in observed:
        assert read_observation(file) == observation
        assert len(list(read_pages(file))) == observation.page_count


def test_the_window_of_an_observation_is_from_before_its_first_to_after_its_last_request(world, tmp_path):
    service = make_service(world)
    asked: list[int] = []

    def now() -> datetime:
        asked.append(len(service.requests))
        return NOW + timedelta(seconds=len(asked))

    with client_of(service) as client:
        _, observation = observe_listing(
            wanted(world)[0], client, tmp_path, sync_id="s", now=now, options=Options(page_size=5)
        )
    assert (observation.observed_at, observation.finished_at) == (
        NOW + timedelta(seconds=1),
        NOW + timedelta(seconds=2),
    )
    assert asked == [0, len(service.requests)]


@pytest.mark.parametrize("concurrency", [4, 16])
def test_side_by_side_gives_the_same_as_one_after_the_other(world, tmp_path, concurrency):
    faults = [Fault(DETAIL, world.projects[0], OUT, nth=1, status=500), Fault(DETAIL, world.projects[1], status=403)]
    one_by_one = observe(make_service(world, faults=faults), tmp_path / "1", concurrency=1)
    together = observe(make_service(world, faults=faults), tmp_path / "n", concurrency=concurrency)

    def comparable(observed):
        # The request id, a number that the simulator counts up, depends on who came first.
        return [
            (file.name, replace(observation, reason=observation.reason.split("; request")[0]), list(read_pages(file)))
            for file, observation in observed
        ]

    assert comparable(together) == comparable(one_by_one)


# Requests


def asked_about(service: Service, listing: Listing) -> list[str]:
    """The operations asked for about this listing."""
    return [
        path.rsplit("/", 1)[1]
        for _, path, query in service.requests
        if listing.project_id in path and (query.get("share_to_me") == "true") == (listing.direction is IN)
    ]


def test_requests_are_counted_with_their_repeats(world, tmp_path):
    faults = [Fault(DETAIL, world.projects[0], OUT, nth=range(1, 3), status=503), Fault(COUNT, nth=0, status=429)]
    service = make_service(world, faults=faults)
    observed = observe(service, tmp_path)
    for _, observation in observed:
        operations = Counter(asked_about(service, observation.listing))
        assert observation.request_count == operations.total()
        repeats = 2 if observation.listing == wanted(world)[0] else 0
        assert observation.page_count == operations["detail"] - repeats
    assert sum(observation.request_count for _, observation in observed) == len(service.requests)


def test_requests_of_an_earlier_sync_are_not_counted_again(world, tmp_path):
    service, listing = make_service(world), wanted(world)[0]
    with client_of(service) as client:
        counts = [
            observe_listing(listing, client, tmp_path, sync_id=sync_id, now=lambda: NOW, options=Options(page_size=5))[
                1
            ].request_count
            for sync_id in ("sync-1", "sync-2")
        ]
    assert counts == [len(service.requests) / 2] * 2


# A listing that fails


def test_a_project_without_rights_fails_with_its_code_and_the_others_are_proven(world, tmp_path):
    revoked = world.projects[1]
    service = make_service(world, scenario=Scenario(revoked={0: (revoked,)}))
    for file, observation in observe(service, tmp_path):
        if observation.listing.project_id != revoked:
            assert_true(service, (file, observation))
            continue
        assert (observation.status, observation.may_close) == (ProofStatus.FAILED, False)
        assert observation.error_code == "VolumeBackup.0042"
        assert observation.reason.startswith("HTTP 403; VolumeBackup.0042; The user does not have the rights")
        assert "grant it, or remove the project" in observation.reason
        assert (observation.page_count, observation.request_count, observation.distinct_ids) == (0, 1, 0)
        assert (observation.count_before, observation.count_after) == (None, None)


@pytest.mark.parametrize(
    ("fault", "words", "code", "attempts"),
    [
        ({"status": 400}, "VBS_PAGE_SIZE", "400", 1),
        ({"status": 401}, "get a new one", "APIG.0301", 1),
        ({"status": 403}, "no right", "APIG.0302", 1),
        ({"status": 404}, "not found", "APIG.0101", 1),
        ({"status": 418}, "HTTP 418", "418", 1),
        ({"status": 429, "headers": (("Retry-After", "1"),)}, "throttles", "APIG.0308", 5),
        ({"status": 500}, "The service is unavailable", "VolumeBackup.0900", 3),
        (
            {"status": 302, "headers": (("Location", "https://evil.example"),)},
            "evil.example was not followed",
            "302",
            1,
        ),
        ({"body": b"<html>Login</html>"}, "not JSON", "", 2),
        ({"truncate": 40}, "not JSON", "", 2),
        ({"body": b'{"shared": null}'}, "null", "", 1),
        ({"body": b'{"error": {"code": "X.1", "message": "in disguise"}}'}, "in disguise", "X.1", 1),
        ({"body": b'{"shared": [{"from_project_id": "somebody"}]}'}, "somebody", "", 1),
    ],
)
@pytest.mark.parametrize("position", [0, 2])
def test_a_listing_that_fails_is_landed_with_the_reason_and_disturbs_no_other(
    world, tmp_path, fault, words, code, attempts, position
):
    broken = wanted(world)[0]
    faults = [Fault(DETAIL, broken.project_id, broken.direction, nth=range(position, 10_000), **fault)]
    service = make_service(world, faults=faults)
    observed = by_listing(observe(service, tmp_path))
    file, observation = observed.pop(broken)
    assert (observation.status, observation.may_close) == (ProofStatus.FAILED, False)
    assert words in observation.reason
    assert DEMO_TOKEN not in observation.reason
    assert observation.error_code == code
    # The count and the pages before the fault are kept, nothing is published.
    assert (observation.page_count, observation.request_count) == (position, 1 + position + attempts)
    assert len(landed_ids(file)) == (0 if position == 0 else 1 + 4 * position)
    assert read_observation(file) == observation
    assert published_ids(file, observation) == set()
    assert len(observed) == 5
    for one in observed.values():
        assert_true(service, one)


def test_a_count_that_fails_fails_the_listing(world, tmp_path):
    broken = wanted(world)[1]
    service = make_service(
        world, faults=[Fault(COUNT, broken.project_id, broken.direction, nth=range(1, 9), status=500)]
    )
    observed = by_listing(observe(service, tmp_path))
    assert observed[broken][1].status is ProofStatus.FAILED
    assert observed[broken][1].page_count > 0
    assert sum(observation.status.is_proven for _, observation in observed.values()) == 5


def test_a_cloud_without_count_is_covered_and_says_so(world, tmp_path):
    service = make_service(world, faults=[Fault(COUNT, status=404)])
    for one in observe(service, tmp_path):
        assert_true(service, one)
        assert (one[1].status, one[1].may_close) == (ProofStatus.COVERED, True)
        assert (one[1].count_before, one[1].count_after) == (None, None)
        assert "no count" in one[1].reason


def test_a_service_that_is_away_fails_every_listing_and_lands_them_all(world, tmp_path):
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    with contextlib.closing(
        ShareClient("http://simulator", StaticToken("t"), transport=httpx.MockTransport(refuse), sleep=lambda s: None)
    ) as client:
        observed = list(observe_listings(dict.fromkeys(wanted(world), client), tmp_path, sync_id="s", now=lambda: NOW))
    assert {observation.status for _, observation in observed} == {ProofStatus.FAILED}
    for _, observation in observed:
        assert observation.reason.startswith("no answer from simulator: connect error; ")
        assert observation.reason.endswith("; check VBS_ENDPOINT and the network")
    assert len(landed_files(tmp_path)) == 6


@pytest.mark.parametrize("concurrency", [1, 4])
def test_a_landing_that_cannot_be_written_ends_the_sync_and_keeps_what_was_landed(world, tmp_path, concurrency):
    blocked = wanted(world)[4].project_id
    (tmp_path / "eu-de").mkdir()
    (tmp_path / "eu-de" / blocked).write_bytes(b"")
    landed = []
    with client_of(make_service(world)) as client:
        observing = observe_listings(
            dict.fromkeys(wanted(world), client),
            tmp_path,
            sync_id="s",
            now=lambda: NOW,
            options=Options(concurrency=concurrency),
        )
        with pytest.raises(LandingError, match="LANDING_DIR"):
            landed.extend(observing)
    assert [observation.listing for _, observation in landed] == wanted(world)[:4]
    assert {file.name for file in landed_files(tmp_path)} == {file.name for file, _ in landed}


# Pages side by side


@pytest.mark.parametrize(("page_size", "id_sorts_by"), [(3, "share"), (24, "backup")])
@pytest.mark.parametrize("width", [2, 8])
def test_pages_side_by_side_are_landed_in_order_and_prove_the_same(tmp_path, page_size, id_sorts_by, width):
    service = make_service(World(seed=7, projects=1, shares=120), id_sorts_by=id_sorts_by)
    for file, observation in observe(service, tmp_path, page_size=page_size, pages_side_by_side=width):
        assert_true(service, (file, observation))
        assert (observation.status, observation.may_close, observation.reason) == (ProofStatus.COVERED, True, "")
        firsts = [json.loads(body)["shared"][0]["id"] for body in read_pages(file)][:-1]  # the last is the top
        assert firsts == sorted(firsts) or id_sorts_by == "backup"
        assert observation.page_count == len(firsts) + 1
        assert observation.request_count == observation.page_count + 2


@pytest.mark.parametrize("moved", [{"withdraw_at": (0,)}, {"insert_at": (0,)}, {"withdraw_at": (0, 4, 8)}])
def test_changes_between_pages_side_by_side_cost_no_other_share(world, tmp_path, moved):
    listing = max(wanted(world), key=lambda one: len(true_ids(make_service(world), one)))
    for nth in range(1, 14):
        fault = Fault(DETAIL, listing.project_id, listing.direction, nth=nth, **moved)
        service = make_service(world, faults=[fault])
        before = true_ids(service, listing)
        options = {"page_size": 4, "pages_side_by_side": 4, "sync_id": str(nth)}
        assert_nothing_lost(service, before, observe(service, tmp_path, [listing], **options)[0])


@pytest.mark.parametrize("position", [3, 5])
def test_a_page_that_fails_beside_others_fails_the_listing_with_its_reason(world, tmp_path, position):
    listing = max(wanted(world), key=lambda one: len(true_ids(make_service(world), one)))
    service = make_service(world, faults=[Fault(DETAIL, nth=position, status=403)])
    file, observation = observe(service, tmp_path, [listing], page_size=4, pages_side_by_side=4)[0]
    assert (observation.status, observation.error_code) == (ProofStatus.FAILED, "APIG.0302")
    assert observation.page_count == len(list(read_pages(file))) <= position
    assert observation.request_count <= 1 + position + 1 + 4


def test_answers_side_by_side_come_in_order_and_only_a_few_are_asked_for_ahead():
    asked = []
    answers = side_by_side(lambda offset: asked.append(offset) or -offset, range(100), 3)
    assert [next(answers), next(answers)] == [0, -1]
    answers.close()
    assert sorted(asked) == list(range(len(asked)))
    assert len(asked) <= 2 + 3
    assert list(side_by_side(lambda offset: -offset, range(20), 3)) == [-offset for offset in range(20)]
    assert list(side_by_side(lambda offset: -offset, [], 3)) == []


def test_requests_side_by_side_run_at_the_same_time():
    together = threading.Barrier(3, timeout=60)
    assert len(list(side_by_side(lambda offset: together.wait(), range(9), 3))) == 9


def test_the_first_error_side_by_side_ends_it_and_no_more_is_asked():
    asked = []

    def ask(offset: int) -> int:
        asked.append(offset)
        if offset == 2:
            raise RuntimeError("no")
        return offset

    with pytest.raises(RuntimeError, match="no"):
        list(side_by_side(ask, range(100), 4))
    assert len(asked) <= 3 + 4


# Faults that pass


@pytest.mark.parametrize("status", [409, 429, 503])
@pytest.mark.parametrize("operation", [DETAIL, COUNT])
def test_a_fault_that_passes_changes_nothing_but_the_number_of_requests(world, tmp_path, status, operation):
    listing = wanted(world)[0]
    sound = observe(make_service(world), tmp_path / "sound", [listing])[0]
    for nth in range(sound[1].page_count if operation is DETAIL else 2):
        service = make_service(world, faults=[Fault(operation, nth=nth, status=status)])
        file, observation = observe(service, tmp_path / str(nth), [listing])[0]
        assert observation == replace(sound[1], request_count=sound[1].request_count + 1)
        assert list(read_pages(file)) == list(read_pages(sound[0]))


def test_a_page_that_arrives_cut_is_asked_for_again(world, tmp_path):
    service = make_service(world, faults=[Fault(DETAIL, nth=2, truncate=700)])
    for one in observe(service, tmp_path):
        assert_true(service, one)


# Records that are not as promised


def malformed(share_id: str, **changes) -> Scenario:
    return Scenario(malformed=(Malformed(share_id, (0,), **changes),))


@pytest.mark.parametrize(
    "changes",
    [
        {"backup_fields": {"size": "twelve"}},
        {"backup_fields": {"id": None, "created_at": "yesterday"}},
        {"share_fields": {"backup": None}},
        {"share_fields": {"created_at": 5, "to_project_id": None}},
        {"share_fields": {"unknown": [1] * 100}},
    ],
)
def test_a_malformed_record_with_an_id_costs_the_listing_nothing(world, tmp_path, changes):
    listing = wanted(world)[0]
    for share_id in sorted(true_ids(make_service(world), listing))[::8]:
        service = make_service(world, scenario=malformed(share_id, **changes))
        one = observe(service, tmp_path / share_id, [listing])[0]
        assert_true(service, one)
        assert one[1].may_close


@pytest.mark.parametrize("bad_id", [None, "", 5, {}])
def test_a_record_without_a_readable_id_leaves_the_others_proven_but_closes_nothing(world, tmp_path, bad_id):
    listing = wanted(world)[0]
    truth = true_ids(make_service(world), listing)
    # In the middle of the list: what happens at its ends is told in test_walk.py.
    for number, share_id in enumerate(sorted(truth)[2:-2:8]):
        service = make_service(world, scenario=malformed(share_id, share_fields={"id": bad_id}))
        _, observation = observe(service, tmp_path / str(number), [listing])[0]
        assert (observation.status, observation.may_close) == (ProofStatus.COVERED, False)
        assert observation.distinct_ids == len(truth) - 1
        assert "without readable id" in observation.reason


# A listing that moves while it is read


def assert_nothing_lost(service: Service, before: set[str], observed, *, known: set[str] | None = None) -> None:
    """Who was there throughout is published, and who was never there is not."""
    file, observation = observed
    after = true_ids(service, observation.listing)
    assert observation.status.is_proven, observation.reason
    published = published_ids(file, observation)
    assert before & after <= published
    assert published <= before | after | (known or set())
    assert len(published) == observation.distinct_ids


@pytest.fixture(scope="module")
def short(world) -> Listing:
    """The shortest listing that takes several pages of three."""
    service = make_service(world)
    sizes = {listing: len(true_ids(service, listing)) for listing in wanted(world)}
    listing = min((one for one in sizes if sizes[one] >= 9), key=lambda one: sizes[one])
    assert sizes[listing] < 30
    return listing


@pytest.mark.parametrize("change", ["withdraw_at", "insert_at", "both"])
def test_a_share_that_comes_or_goes_between_two_pages_costs_no_other(world, short, tmp_path, change):
    size = len(true_ids(make_service(world), short))
    for nth in range(size // 2 + 3):
        for rank in range(nth % 2, size + 1, 2):
            fault = Fault(DETAIL, short.project_id, short.direction, nth=nth, **ranks_of(change, rank))
            service = make_service(world, faults=[fault])
            before = true_ids(service, short)
            observed = observe(service, tmp_path, [short], page_size=3, sync_id=f"{nth}-{rank}")[0]
            assert_nothing_lost(service, before, observed)


@pytest.mark.parametrize("change", ["withdraw_at", "insert_at", "both"])
def test_the_same_holds_where_the_service_sorts_by_backup(world, tmp_path, change):
    service = make_service(world, id_sorts_by="backup")
    listing = max(wanted(world), key=lambda one: len(true_ids(service, one)))
    size = len(true_ids(service, listing))
    assert size > 2 * 12
    for nth in range(size // 11 + 3):
        for rank in range(nth % 4, size + 1, 4):
            fault = Fault(DETAIL, listing.project_id, listing.direction, nth=nth, **ranks_of(change, rank))
            service = make_service(world, id_sorts_by="backup", faults=[fault])
            before = true_ids(service, listing)
            observed = observe(service, tmp_path, [listing], page_size=12, sync_id=f"{nth}-{rank}")[0]
            assert_nothing_lost(service, before, observed)


def ranks_of(change: str, rank: int) -> dict[str, tuple[int, ...]]:
    return {"withdraw_at": (rank,), "insert_at": (rank,)} if change == "both" else {change: (rank,)}


@pytest.mark.parametrize("moved", [{"withdraw_at": (0, 1, 2)}, {"insert_at": (0, 1, 2)}, {"withdraw_at": (0, 4, 8)}])
def test_several_changes_at_once_cost_no_other_share(world, short, tmp_path, moved):
    for nth in range(8):
        service = make_service(world, faults=[Fault(DETAIL, short.project_id, short.direction, nth=nth, **moved)])
        before = true_ids(service, short)
        observed = observe(service, tmp_path, [short], page_size=3, sync_id=str(nth))[0]
        assert_nothing_lost(service, before, observed)


@pytest.mark.parametrize("rank", range(0, 12, 2))
@pytest.mark.parametrize("change", ["withdraw_at", "insert_at"])
def test_a_change_before_every_second_page_is_lost_on_nobody(world, short, tmp_path, rank, change):
    fault = Fault(DETAIL, short.project_id, short.direction, nth=range(1, 12, 2), **{change: (rank,)})
    service = make_service(world, faults=[fault])
    before = true_ids(service, short)
    file, observation = observe(service, tmp_path, [short], page_size=3)[0]
    if observation.status.is_proven:
        assert_nothing_lost(service, before, (file, observation))
    else:
        assert (observation.may_close, bool(observation.reason)) == (False, True)


def test_a_change_between_count_and_pages_costs_nothing(world, short, tmp_path):
    for nth, ranks in itertools.product((0, 1), ({"withdraw_at": (0, 5)}, {"insert_at": (0, 5)})):
        service = make_service(world, faults=[Fault(COUNT, short.project_id, short.direction, nth=nth, **ranks)])
        before = true_ids(service, short)
        observed = observe(service, tmp_path, [short], page_size=3, sync_id=f"{nth}-{ranks}")[0]
        assert_nothing_lost(service, before, observed)


# What was known before and is absent now


def held_by(service: Service):
    """What was known before: what the service holds now, by the record."""
    told = {
        listing: {each["id"]: each["backup_id"] for each in service.listing(listing.project_id, listing.direction)}
        for listing in wanted(service.world)
    }
    return told.__getitem__


def evidence(file: LandedFile) -> list[tuple[str, set[str]]]:
    pages = pq.read_table(file.path).select(["backup_id", "body"]).to_pylist()
    asked = [page for page in pages if page["backup_id"] is not None]
    return [(page["backup_id"], {each["id"] for each in json.loads(page["body"])["shared"]}) for page in asked]


@pytest.fixture
def yesterday(world):
    return held_by(make_service(world, day=0))


@pytest.fixture
def withdrawn(world) -> dict[Listing, set[str]]:
    """What the day takes from each listing; the world sees to it that something goes."""
    days = [make_service(world, day=day) for day in (0, 3)]
    gone = {listing: true_ids(days[0], listing) - true_ids(days[1], listing) for listing in wanted(world)}
    assert any(gone.values())
    return gone


@pytest.mark.parametrize("pages_side_by_side", [1, 4])
def test_a_share_that_is_absent_is_gone_once_the_filter_says_so_too(
    world, tmp_path, yesterday, withdrawn, pages_side_by_side
):
    service = make_service(world, day=3)
    for one in observe_knowing(yesterday, service, tmp_path, pages_side_by_side=pages_side_by_side):
        assert_true(service, one)
        file, observation = one
        gone = withdrawn[observation.listing]
        assert (set(observation.gone_ids), observation.absent_count, observation.reason) == (gone, len(gone), "")
        assert read_observation(file) == observation
        # The answers are kept as evidence, and are no part of the listing.
        backups = {yesterday(observation.listing)[share_id] for share_id in gone}
        assert {backup_id for backup_id, _ in evidence(file)} >= backups
        assert all(not ids & gone for _, ids in evidence(file))
        assert observation.page_count == len(list(read_pages(file))) + len(evidence(file))


def test_where_nothing_is_absent_nothing_more_is_asked(world, tmp_path, yesterday):
    plain = observe(make_service(world), tmp_path / "plain")
    again = observe_knowing(yesterday, make_service(world), tmp_path / "again")
    assert [each.request_count for _, each in again] == [each.request_count for _, each in plain]
    assert all((each.absent_count, each.gone_ids) == (0, ()) for _, each in again)


@pytest.mark.parametrize("fault", ["ignored-filters", "ignored-filters:name=backup_id", "empty-filters"])
def test_a_service_without_a_working_filter_loses_no_share_and_says_why(world, tmp_path, yesterday, withdrawn, fault):
    service = make_service(world, day=3, faults=[parse(fault)])
    for one in observe_knowing(yesterday, service, tmp_path):
        assert_true(service, one)
        assert one[1].gone_ids == ()
        assert ("filter does not show a share that is there" in one[1].reason) == bool(withdrawn[one[1].listing])


def test_a_share_that_pages_hide_and_the_filter_shows_takes_the_proof_away(world, tmp_path, yesterday):
    hidden = parse("hidden-rows:part=0.01,from_count=true,from_filters=false")
    for _, observation in observe_knowing(yesterday, make_service(world, faults=[hidden]), tmp_path):
        assert (observation.status, observation.may_close, observation.gone_ids) == (ProofStatus.INCOMPLETE, False, ())
        assert re.search("the pages hid [12] known shares", observation.reason)


def test_a_filter_that_works_on_a_page_only_is_found_out(tmp_path):
    """It filters what it has paged already: it shows the first shares of the list, and nothing that comes later."""

    class FiltersThePage(Behaviour):
        def asked(self, query: Query, call: Call) -> Query:
            call.memory["filters"], bare = query.filters, replace(query, filters=())
            return bare

        def page(self, page, rows, query: Query, call: Call):
            wanted = dict(call.memory["filters"]).get("backup_id")
            return [row for row in page if wanted in (None, row["backup_id"])]

    world = World(seed=7, projects=1, shares=400)
    listing = Listing("eu-de", world.projects[0], OUT)
    hidden = parse("hidden-rows:part=0.01,from_count=true,from_filters=true")
    service = make_service(world, faults=[hidden, FiltersThePage()])
    known = {each["id"]: each["backup_id"] for each in world.listing(0, world.projects[0], OUT)}
    (_, observation) = observe_knowing(lambda _: known, service, tmp_path, [listing], page_size=50)[0]
    assert observation.absent_count > 0
    assert observation.gone_ids == ()
    assert "filter does not show a share that is there" in observation.reason


def test_a_run_that_is_stopped_asks_nothing_more_and_lands_nothing_more(world, tmp_path):
    service = make_service(world)
    with client_of(service) as client:
        observing = observe_listings(
            dict.fromkeys(wanted(world), client),
            tmp_path,
            sync_id="s",
            now=lambda: NOW,
            options=Options(page_size=5, concurrency=1),
        )
        next(observing)
        observing.close()
        asked = len(service.requests)
        with pytest.raises(StoppedError):
            client.page(wanted(world)[0], 0, 10)
    assert len(service.requests) == asked
    assert len(landed_files(tmp_path)) < len(wanted(world))


def test_a_question_that_fails_leaves_the_share_as_it_was_and_the_listing_proven(world, tmp_path, yesterday, withdrawn):
    class FilterFails(Behaviour):
        def instead(self, call: Call) -> Response | None:
            return error("vbs", 503, "VolumeBackup.0900", "no") if "backup_id" in call.parameters else None

    service = make_service(world, day=3, faults=[FilterFails()])
    for one in observe_knowing(yesterday, service, tmp_path):
        assert_true(service, one)
        assert one[1].gone_ids == ()
        assert bool(one[1].reason) == bool(withdrawn[one[1].listing])


def test_a_share_of_a_backup_with_other_shares_is_looked_for_on_all_pages_of_the_answer(tmp_path):
    """A service that cuts pages to two rows hides no recipient of a backup."""
    world = World(seed=7, projects=1, shares=60)
    service = make_service(world, max_limit=2)
    listing = Listing("eu-de", world.projects[0], OUT)
    records = service.listing(listing.project_id, OUT)
    crowded = max(Counter(each["backup_id"] for each in records).items(), key=lambda item: item[1])[0]
    made_up = {"00000000-0000-4000-8000-00000000dead": crowded}
    known = {each["id"]: each["backup_id"] for each in records} | made_up
    (file, observation) = observe_knowing(lambda _: known, service, tmp_path, [listing], page_size=20)[0]
    assert observation.gone_ids == tuple(made_up), observation
    shown = set().union(*(ids for backup_id, ids in evidence(file) if backup_id == crowded))
    assert shown == {each["id"] for each in records if each["backup_id"] == crowded}
    assert len(shown) > 2


def test_what_is_not_known_is_not_gone(world, tmp_path):
    def broken(_: Listing):
        raise WarehouseError("the warehouse refused: no")

    service = make_service(world, day=3)
    for one in observe_knowing(broken, service, tmp_path):
        assert_true(service, one)
        assert one[1].gone_ids == ()
        assert one[1].reason.startswith("nothing is recorded as withdrawn, for it is not known what was there: ")


def test_a_listing_that_empties_at_once_waits_for_a_person(world, tmp_path, yesterday):
    nobody = World(seed=8, projects=3, shares=0)
    many = {f"{number:08d}-0000-4000-8000-000000000000": f"b{number}" for number in range(30)}
    service = make_service(nobody)
    for release, gone in ((False, ()), (True, tuple(many))):
        for _, observation in observe_knowing(lambda _: many, service, tmp_path / str(release), release_held=release):
            assert observation.status is ProofStatus.COVERED
            assert (observation.held_count, observation.gone_ids) == (0 if release else 30, gone)
            assert ("--release-held" in observation.reason) == (not release)


# Links and clocks


def test_a_service_that_pages_by_links_alone_is_read_to_its_end_and_proven_exact(tmp_path):
    """It ignores the offset; its links point to a host that nobody can reach, and only their query is taken."""
    world = World(seed=7, projects=1, shares=60)
    service = make_service(world, faults=[parse("next-links:by=marker")])
    for one in observe(service, tmp_path, page_size=20):
        assert_true(service, one)
        assert one[1].status is (ProofStatus.EXACT if one[1].distinct_ids > 20 else ProofStatus.COVERED)
    assert any("marker" in query for _, _, query in service.requests)


def test_how_far_the_clocks_are_apart_is_recorded(world, tmp_path):
    service = Service(world, clock=lambda: NOW - timedelta(minutes=10), sleep=lambda seconds: None)
    skews = {each.clock_skew_seconds for _, each in observe(service, tmp_path)}
    assert skews <= {-599, -600}, "a Date has whole seconds"
