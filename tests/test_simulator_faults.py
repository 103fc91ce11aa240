"""Everything that can go wrong with the simulated service, in memory.

Not here: faults of the transport (test_simulator_port.py).
"""

import gzip
import itertools
import json
import zlib
from datetime import timedelta

import pytest

from pipelines.observation import Direction
from pipelines.simulator import faults
from pipelines.simulator.behaviour import Behaviour
from pipelines.simulator.faults import Fault, FaultError, Operation
from pipelines.simulator.records import Record
from pipelines.simulator.service import Service
from pipelines.simulator.world import World
from tests.fakes import NOW, ask, by_id, ids, log_in, make_service, password_identity, rows

OUT, IN = Direction.OUTGOING, Direction.INCOMING


@pytest.fixture(scope="module")
def world() -> World:
    return World()


@pytest.fixture
def service(world: World) -> Service:
    return make_service(world)


# One value for the common ones


def test_a_fault_strikes_the_nth_matching_request_only(world):
    project = world.projects[0]
    fault = Fault(Operation.DETAIL, project, OUT, nth=1, status=503)
    service = make_service(world, faults=[fault])
    asked = [
        ask(service, project),
        ask(service, project, "count"),
        ask(service, project, share_to_me="true"),
        ask(service, world.projects[1]),
        ask(service, project),
        ask(service, project),
    ]
    assert [response.status for response in asked] == [200, 200, 200, 200, 503, 200]
    assert asked[4].json() == {"error": {"code": "VolumeBackup.0900", "message": "The service is unavailable"}}


def test_a_fault_can_strike_a_range_and_set_headers(world):
    fault = Fault(Operation.COUNT, nth=range(1, 3), status=429, headers=(("Retry-After", "7"),))
    service = make_service(world, faults=[fault])
    asked = [ask(service, world.projects[0], "count") for _ in range(4)]
    assert [response.status for response in asked] == [200, 429, 429, 200]
    assert [response.header("Retry-After") for response in asked] == [None, "7", "7", None]
    assert asked[1].json()["error_code"] == "APIG.0308"


def test_a_fault_can_replace_the_body_and_its_type(world):
    html = Fault(Operation.DETAIL, nth=0, body=b"<html>", headers=(("Content-Type", "text/html"),))
    service = make_service(world, faults=[html, Fault(Operation.DETAIL, nth=1, body=b'{"shared": null}')])
    first, second, third = (ask(service, world.projects[0]) for _ in range(3))
    assert (first.status, first.body, first.header("content-type")) == (200, b"<html>", "text/html")
    assert (second.status, second.json()) == (200, {"shared": None})
    assert third.json()["shared"]


def test_a_fault_can_cut_the_body(world):
    service = make_service(world, faults=[Fault(nth=0, truncate=20)])
    assert ask(service, world.projects[0]).body == ask(service, world.projects[0]).body[:20]


def test_delays_add_up_and_use_the_sleep_of_the_caller(world):
    slept: list[float] = []
    service = make_service(world, sleep=slept.append, faults=[Fault(nth=0, delay=2.5), Fault(delay=1.0)])
    ask(service, world.projects[0])
    ask(service, world.projects[0])
    assert slept == [3.5, 1.0]


def test_faults_combine_and_the_first_status_wins(world):
    faults = [Fault(status=500, truncate=9), Fault(status=404, headers=(("X-Gone", "yes"),))]
    response = ask(make_service(world, faults=faults), world.projects[0])
    assert (response.status, response.body, response.header("X-Gone")) == (500, b'{"error":', "yes")


def test_a_failed_log_in_issues_no_token(world):
    service = make_service(world, faults=[Fault(Operation.TOKEN, nth=0, status=500)])
    assert log_in(service, password_identity()).header("X-Subject-Token") is None
    assert log_in(service, password_identity()).status == 201


def test_new_faults_count_from_the_start(world, service):
    ask(service, world.projects[0])
    service.faults = [Fault(nth=0, status=500)]
    assert [ask(service, world.projects[0]).status for _ in range(2)] == [500, 200]


def test_a_withdrawal_between_two_pages_pulls_a_row_back_and_stays(world):
    project = world.projects[0]
    service = make_service(world, faults=[Fault(Operation.DETAIL, nth=1, withdraw_at=(0,))])
    before = ids(sorted(world.listing(0, project, OUT), key=lambda record: record["id"]))
    query = {"sort_key": "id", "sort_dir": "asc", "limit": 5}
    assert ids(rows(service, project, **query)) == before[:5]
    assert ids(rows(service, project, **query, offset=5)) == before[6:11]
    assert ids(rows(service, project, **query)) == before[1:6]
    assert ask(service, project, "count").json()["count"] == len(before) - 1
    assert ask(service, project, before[0]).status == 404
    assert sorted(ids(service.listing(project, OUT))) == before[1:]


@pytest.mark.parametrize("id_sorts_by", ["share", "backup"])
@pytest.mark.parametrize("share_to_me", ["true", "false"])
@pytest.mark.parametrize("sort_dir", ["asc", "desc"])
@pytest.mark.parametrize("sort_key", ["id", "created_at", "updated_at", "size", "status", "name"])
def test_an_inserted_share_lands_at_the_rank_asked_for(world, id_sorts_by, share_to_me, sort_dir, sort_key):
    project = world.projects[0]
    service = make_service(world, id_sorts_by=id_sorts_by)
    query = {"sort_key": sort_key, "sort_dir": sort_dir, "share_to_me": share_to_me}
    before = ids(rows(service, project, **query))
    for rank in range(len(before)):
        service = make_service(world, id_sorts_by=id_sorts_by, faults=[Fault(nth=0, insert_at=(rank, rank, 999))])
        after = rows(service, project, **query)
        new = [position for position, record in enumerate(after) if record["id"] not in before]
        assert new == [rank, rank + 1, len(before) + 2]
        assert [share_id for share_id in ids(after) if share_id in before] == before
        assert len({(record["backup_id"], record["to_project_id"]) for record in after}) == len(after)


def test_an_inserted_share_stays_and_belongs_to_the_listing(world):
    project = world.projects[0]
    service = make_service(world, faults=[Fault(nth=0, insert_at=(0,))])
    (new,) = [record for record in rows(service, project) if record not in world.shares(0)]
    assert new["from_project_id"] == project
    assert new["backup"]["id"] == new["backup_id"]
    service.day = 5
    assert new in rows(service, project)
    assert new not in rows(service, project, share_to_me="true")


def test_ranks_mean_the_order_as_it_was_before_the_request(world):
    project = world.projects[0]
    service = make_service(world, faults=[Fault(nth=0, withdraw_at=(0, 2), insert_at=(1, 3))])
    before = ids(sorted(world.listing(0, project, OUT), key=lambda record: record["id"]))
    after = ids(rows(service, project, sort_key="id", sort_dir="asc"))
    assert [share_id in before for share_id in after[:4]] == [False, True, False, True]
    assert [after[1], after[3]] == [before[1], before[3]]


def test_the_world_may_change_while_a_request_fails(world):
    project = world.projects[0]
    service = make_service(world, faults=[Fault(Operation.COUNT, nth=0, status=503, withdraw_at=(0,))])
    assert ask(service, project, "count").status == 503
    assert ask(service, project, "count").json()["count"] == len(world.listing(0, project, OUT)) - 1


def test_the_first_share_can_be_inserted_into_an_empty_listing():
    world = World(projects=1, shares=0)
    service = make_service(world, faults=[Fault(nth=0, insert_at=(0,), withdraw_at=(3,))])
    assert len(rows(service, world.projects[0], sort_key="id")) == 1


# By name


def test_a_fault_is_made_from_its_name_and_takes_texts():
    by_value = faults.named("clamped-pages", rows=5, operation=Operation.DETAIL, direction=OUT, nth=range(2, 5))
    assert by_value == faults.named("clamped-pages", rows="5", operation="detail", direction="outgoing", nth="2-4")
    assert by_value == faults.parse("clamped-pages:rows=5,operation=detail,direction=outgoing,nth=2-4")


def test_a_value_may_hold_commas_colons_and_equals_signs():
    text = 'malformed-record:value={"a": 1, "b=": [2,3]},position=last'
    assert faults.parse(text) == faults.named("malformed-record", value='{"a": 1, "b=": [2,3]}', position="last")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nonsense", 'there is no fault "nonsense"; there are: drift, .*, tls'),
        ("", 'there is no fault ""'),
        (
            "drip:speed=1",
            'the fault drip has no parameter "speed"; it has: bytes_per_second, of, operation',
        ),
        ("drip:of=head", "the fault drip, of: Input should be 'reply' or 'body'"),
        ("drip:of", '"of" in "drip:of" must be key=value'),
        ("drip:of=body,of=reply", "each key once"),
        ("status:nth=one", "the fault status, nth: must be a number, or a range such as 2-4 or 2-"),
        ("status:code=99", "the fault status, code: Input should be greater than or equal to 100"),
        ("status:operation=walk", "the fault status, operation: Input should be 'detail', 'count'"),
    ],
)
def test_a_wrong_name_or_parameter_is_refused_with_those_there_are(text, message):
    with pytest.raises(FaultError, match=message):
        faults.parse(text)


def test_every_fault_says_what_it_means():
    assert all(faults.meaning(kind).endswith(".") for kind in faults.FAULTS.values())
    assert len({faults.meaning(kind) for kind in faults.FAULTS.values()}) == len(faults.FAULTS)


@pytest.mark.parametrize("name", faults.FAULTS)
def test_every_fault_strikes_where_it_is_told_and_nowhere_else(name, world):
    service = make_service(world, faults=[faults.named(name, project_id=world.projects[0], nth="0-1")])
    for project in world.projects:
        for query in ({"limit": 5}, {"limit": 5, "offset": 5}, {"limit": 5, "offset": 10}):
            page = ask(service, project, **query, sort_key="id", sort_dir="asc")
        assert ids(page.json()["shared"]) == ids(service.listing(project, OUT) and listed(service, project)[10:15])


@pytest.mark.parametrize("name", faults.FAULTS)
def test_every_fault_copes_with_an_empty_listing_and_requests_that_are_none(name):
    world = World(projects=1, shares=0)
    service = make_service(world, faults=[faults.named(name)])
    for what in ("detail", "count", "nonsense"):
        for query in ({}, {"limit": 0}, {"limit": "x"}, {"share_to_me": "true", "backup_id": "x", "offset": 3}):
            ask(service, world.projects[0], what, **query)
    ask(service, "f" * 32)
    assert len(service.history) == 13


def test_randomness_hangs_on_the_request_and_not_on_the_order_of_requests(world):
    def pages(offsets):
        service = make_service(world, faults=[faults.named("redrawn-order", seed=3)])
        return {offset: ids(rows(service, world.projects[0], limit=5, offset=offset)) for offset in offsets}

    assert pages([0, 5, 10]) == pages([10, 0, 5])


def listed(service: Service, project: str, direction: Direction = OUT) -> list[Record]:
    """What an honest service would list in ascending order of the id."""
    return sorted(service.listing(project, direction), key=lambda record: record["id"])


def struck(world: World, *struck_by: Behaviour | str) -> Service:
    return make_service(world, faults=[faults.parse(fault) if isinstance(fault, str) else fault for fault in struck_by])


def page(service: Service, offset: int = 0, limit: int = 5, **query) -> list[str]:
    """Ids of one page by ascending id, of the first project."""
    query = {"sort_key": "id", "sort_dir": "asc", "limit": limit, "offset": offset} | query
    return ids(rows(service, service.world.projects[0], **query))


def count(service: Service, **query) -> int:
    return ask(service, service.world.projects[0], "count", **query).json()["count"]


def truth(service: Service) -> list[str]:
    return ids(listed(service, service.world.projects[0]))


# Listings


def test_drift_changes_the_listing_at_its_rate_and_the_same_every_time(world):
    def states(seed):
        service = struck(world, f"drift:rate=0.5,seed={seed}")
        for offset in range(200):
            page(service, offset % 20)
        return service.history.states(world.projects[0], OUT)

    seen = states(1)
    changes = sum(len(one ^ other) for one, other in itertools.pairwise(seen))
    assert 60 < changes < 140
    assert seen == states(1)
    assert seen != states(2)


def test_a_change_every_few_requests_is_at_its_rank(world):
    service = struck(world, "change-every:every=2,rank=1")
    before = truth(service)
    assert page(service) == before[:5]
    assert page(service) == [before[0], *before[2:6]]
    assert page(service) == [before[0], *before[2:6]]
    assert page(service) == [before[0], *before[3:7]]


def test_changes_in_turns_leave_the_number_as_it_was(world):
    service = struck(world, "change-every:every=1,kind=turns")
    sizes = [len(truth(service))]
    for _ in range(4):
        page(service)
        sizes.append(len(truth(service)))
    assert sizes == [sizes[0] + grown for grown in (0, 1, 0, 1, 0)]


@pytest.mark.parametrize("sort_dir", ["asc", "desc"])
def test_there_is_room_for_hundreds_of_shares_at_one_rank(sort_dir):
    service = struck(World(projects=1, shares=4), "change-every:every=1,kind=insert,rank=1")
    before = set(truth(service))
    for _ in range(500):
        order = page(service, sort_dir=sort_dir)
        assert order[1] not in before
        before |= set(order)
    assert len(truth(service)) == 504


@pytest.mark.parametrize(
    ("fault", "offset", "expected"),
    [
        ("clamped-pages:rows=3", 4, slice(4, 7)),
        ("ignored-offset", 4, slice(0, 5)),
        ("rounded-offset", 7, slice(5, 10)),
        ("last-row-missing", 4, slice(4, 8)),
        ("too-many-rows:by=2", 4, slice(4, 11)),
        ("empty-pages", 4, slice(0, 0)),
        ("sort-by-backup-id", 0, None),
    ],
)
def test_a_page_is_cut_as_the_fault_says(world, fault, offset, expected):
    service = struck(world, fault)
    if expected is None:
        by_backup = sorted(service.listing(world.projects[0], OUT), key=lambda record: record["backup_id"])
        backups = [record["backup_id"] for record in rows(service, world.projects[0], sort_key="id", sort_dir="asc")]
        assert backups == [record["backup_id"] for record in by_backup]
    else:
        assert page(service, offset) == truth(service)[expected]
    assert count(service) == len(truth(service))


def test_a_default_limit_holds_only_where_none_is_asked_for(world):
    service = struck(world, "default-limit:rows=4")
    assert len(rows(service, world.projects[0])) == 4
    assert len(rows(service, world.projects[0], limit=6)) == 6


def test_an_ignored_sort_dir_is_always_the_same(world):
    service = struck(world, "ignored-sort-dir:always=desc")
    assert page(service) == truth(service)[::-1][:5]


def test_an_ignored_direction_lists_the_outgoing_shares(world):
    service = struck(world, "ignored-share-to-me")
    assert page(service, share_to_me="true") == truth(service)[:5]
    assert count(service, share_to_me="true") == len(truth(service))


def test_one_filter_or_all_of_them_are_ignored(world):
    record = World().listing(0, world.projects[0], OUT)[0]
    query = {"backup_id": record["backup_id"], "to_project_id": record["to_project_id"]}
    assert count(struck(world), **query) == 1
    assert count(struck(world, "ignored-filters:name=to_project_id"), **query) == count(
        struck(world), backup_id=record["backup_id"]
    )
    service = struck(world, "ignored-filters")
    assert count(service, **query) == len(truth(service))
    assert len(page(service, limit=100, **query)) == len(truth(service))


def test_filters_may_find_nothing_whatever_they_ask_for(world):
    service = struck(world, "empty-filters")
    backup_id = service.listing(world.projects[0], OUT)[0]["backup_id"]
    assert page(service, backup_id=backup_id) == []
    assert count(service, backup_id=backup_id) == 0
    assert page(service) == truth(service)[:5]


def test_an_ignored_sort_key_gives_another_fixed_order(world):
    scrambled, created = struck(world, "ignored-sort-key"), struck(world, "ignored-sort-key:order=created_at")
    everything = page(scrambled, limit=100)
    assert everything != truth(scrambled)
    assert sorted(everything) == truth(scrambled)
    assert page(scrambled, 3) == everything[3:8]
    times = [record["created_at"] for record in rows(created, world.projects[0], sort_key="id", sort_dir="asc")]
    assert times == sorted(times)


def test_with_a_jumping_order_one_row_moves_with_every_request(world):
    service = struck(world, "ignored-sort-key:order=jumping")
    orders = [page(service, limit=100) for _ in range(10)]
    for one, other in itertools.pairwise(orders):
        assert any([i for i in one if i != moved] == [i for i in other if i != moved] for moved in one)
    assert len({tuple(order) for order in orders}) > 5


def test_redrawn_ties_keep_the_order_of_the_values(world):
    service = struck(world, "redrawn-ties")
    orders = [rows(service, world.projects[0], sort_key="size", sort_dir="asc") for _ in range(5)]
    for order in orders:
        sizes = [record["backup"]["size"] for record in order]
        assert sizes == sorted(sizes)
    assert len({tuple(ids(order)) for order in orders}) == 5
    assert page(service, limit=100) == page(service, limit=100)


def test_a_redrawn_order_holds_everything_in_an_order_of_its_own(world):
    service = struck(world, "redrawn-order")
    first, second = page(service, limit=100), page(service, limit=100)
    assert first != second
    assert sorted(first) == sorted(second) == truth(service)


def test_stale_pages_show_what_was_and_never_what_was_longer_ago(world):
    service = struck(world, "stale-pages:requests=2", "change-every:every=1")
    before = truth(service)
    shown = [page(service, limit=100) for _ in range(12)]
    ages = [number + 1 - before.index(rows[0]) for number, rows in enumerate(shown)]
    assert set(ages) == {0, 1, 2}
    assert count(service) == len(before) - 13


def test_hidden_rows_are_missing_from_the_list_and_not_from_the_count(world):
    service = struck(world, "hidden-rows:part=0.3")
    shown = page(service, limit=100)
    assert set(shown) < set(truth(service)[1:])
    assert count(service) == len(truth(service))
    first = listed(service, world.projects[0])[0]
    assert first["id"] not in page(service, backup_id=first["backup_id"])
    assert count(struck(world, "hidden-rows:part=0.3,from_count=true")) == len(shown)
    seen = struck(world, "hidden-rows:part=0.3,from_filters=false")
    assert first["id"] in page(seen, backup_id=first["backup_id"])


def test_short_pages_hold_one_row_at_least(world):
    service = struck(world, "short-pages")
    sizes = [len(page(service, offset, 10)) for offset in range(15)]
    assert min(sizes) >= 1
    assert len(set(sizes)) > 3
    assert page(service, 1000) == []


def test_byte_pages_end_where_their_bytes_are_spent(world):
    service = struck(world, "byte-pages:bytes=4000")
    records = listed(service, world.projects[0])
    shown = page(service, limit=100)
    assert len(json.dumps(records[: len(shown)])) <= 4100 < len(json.dumps(records[: len(shown) + 1]))
    assert len(page(struck(world, "byte-pages:bytes=1"), limit=100)) == 1


def test_endless_pages_are_full_and_never_the_same(world):
    service = struck(world, "endless-pages")
    size = len(truth(service))
    assert page(service, size - 2)[:2] == truth(service)[-2:]
    made_up = [*page(service, size - 2), *page(service, size + 3), *page(service, size + 100)]
    assert made_up == sorted(set(made_up))
    assert len(made_up) == 15
    assert page(service, size + 3) == made_up[5:10]
    assert count(service) == size


def test_wrapped_pages_begin_again(world):
    service = struck(world, "wrapped-pages")
    assert page(service, len(truth(service)) - 2) == truth(service)[-2:] + truth(service)[:3]


def test_repeated_pages_are_sent_again_and_have_their_limit(world):
    service = struck(world, "repeated-pages:rate=1")
    assert page(service) == page(service, 5) == truth(service)[:5]
    assert page(service, 10, limit=2) == truth(service)[:2]


def test_doubled_rows_stand_in_a_page_twice(world):
    service = struck(world, "doubled-rows")
    assert len(page(service)) == 5
    assert len(set(page(service))) == 4
    assert len(page(service, limit=100)) == len(truth(service)) + 1


def test_next_links_lead_through_the_list_by_offset(world):
    service, query = struck(world, "next-links"), {"limit": "7", "sort_key": "id", "sort_dir": "asc"}
    found, hrefs = followed(service, query)
    assert found == truth(service)
    assert all(href.startswith(f"http://10.0.0.1:8776/{world.projects[0]}/os-vendor") for href in hrefs)
    assert page(service, 7, 7) == truth(service)[7:14]


def test_next_links_by_marker_ignore_the_offset(world):
    service, query = struck(world, "next-links:by=marker"), {"limit": "7", "sort_key": "id", "sort_dir": "asc"}
    assert followed(service, query)[0] == truth(service)
    assert page(service, 7, 7) == truth(service)[:7]


def followed(service: Service, query: dict[str, str]) -> tuple[list[str], list[str]]:
    found, hrefs = [], []
    while True:
        content = ask(service, service.world.projects[0], **query).json()
        found += ids(content["shared"])
        if "shared_links" not in content:
            return found, hrefs
        (link,) = content["shared_links"]
        assert link["rel"] == "next"
        hrefs.append(link["href"])
        query = dict(pair.split("=") for pair in link["href"].partition("?")[2].split("&"))


def test_counts_lie_as_they_are_told(world):
    size = len(World().listing(0, world.projects[0], OUT))
    assert count(struck(world, "wrong-count")) == size + 7
    assert count(struck(world, "wrong-count:by=-1000")) == 0
    assert count(struck(world, "fixed-count")) == 0
    response = ask(struck(world, "missing-count"), world.projects[0], "count")
    assert (response.status, response.json()["error_code"]) == (404, "APIG.0101")


# Answers


@pytest.mark.parametrize(
    ("shape", "content"),
    [
        ("vbs", {"error": {"code": "VolumeBackup.0900", "message": "The service is unavailable"}}),
        ("openstack", {"serviceUnavailable": {"code": 503, "message": "The request failed"}}),
        ("iam", {"error_code": "IAM.0002", "error_msg": "The request failed"}),
        ("keystone", {"error": {"code": 503, "message": "The request failed", "title": "Error"}}),
        ("flat", {"code": "VolumeBackup.0900", "message": "The request failed"}),
        ("camel", {"errorCode": "VolumeBackup.0900", "errorMsg": "The request failed"}),
    ],
)
def test_an_error_comes_in_the_shape_asked_for(world, shape, content):
    response = ask(struck(world, f"status:shape={shape}"), world.projects[0])
    assert (response.status, response.json()) == (503, content)


@pytest.mark.parametrize("shape", ["text", "html", "empty", "denial", "gateway"])
@pytest.mark.parametrize("code", [100, 204, 302, 400, 429, 500, 599])
def test_every_status_goes_with_every_other_shape(world, code, shape):
    response = ask(struck(world, f"status:code={code},shape={shape}"), world.projects[0])
    assert response.status == code
    assert (response.body == b"") == (shape == "empty")


def test_a_status_carries_its_code_its_message_and_when_to_come_back(world):
    fault = "status:code=429,shape=gateway,error_code=APIG.0308,message=Slow down, please,retry_after=soon"
    response = ask(struck(world, fault), world.projects[0])
    assert response.header("Retry-After") == "soon"
    assert response.json()["error_msg"] == "Slow down, please"


def test_an_error_can_say_200(world):
    response = ask(struck(world, "error-in-200:shape=keystone"), world.projects[0])
    assert (response.status, response.json()["error"]["code"]) == (200, 500)


def test_rights_are_revoked_from_one_request_on_in_one_project(world):
    first, second, _ = world.projects
    service = struck(world, f"revoked:project_id={first},nth=2-")
    asked = [ask(service, project).status for project in (first, first, second, first, second, first)]
    assert asked == [200, 200, 200, 403, 200, 403]
    assert log_in(service, password_identity()).status == 201


def test_throttling_is_a_bucket_that_fills_again_with_time(world):
    now = [NOW]
    service = make_service(world, faults=[faults.parse("throttled:per_second=2,retry_after=1")], clock=lambda: now[0])
    assert [ask(service, world.projects[0]).status for _ in range(4)] == [200, 200, 429, 429]
    now[0] += timedelta(seconds=0.5)
    answers = [ask(service, world.projects[0]) for _ in range(2)]
    assert [answer.status for answer in answers] == [200, 429]
    assert answers[1].header("Retry-After") == "1"
    now[0] += timedelta(seconds=100)
    assert [ask(service, world.projects[0]).status for _ in range(3)] == [200, 200, 429]


def test_large_pages_may_fail_and_small_ones_not(world):
    service = struck(world, "fails-above-limit:limit=4,code=504")
    asked = [ask(service, world.projects[0], **query).status for query in ({"limit": 4}, {"limit": 5}, {})]
    assert asked == [200, 504, 504]
    assert count(service) == len(truth(service))


def test_a_token_expires_after_its_requests_until_the_next_log_in(world):
    service, project = struck(world, "expired-token:after=2"), world.projects[0]

    def token() -> str:
        return log_in(service, password_identity(), {"project": {"id": project}}).header("X-Subject-Token")

    first = token()
    assert [ask(service, project, token=first).status for _ in range(4)] == [200, 200, 401, 401]
    second = token()
    assert [ask(service, project, token=second).status for _ in range(4)] == [200] * 4
    assert ask(service, project, token=first).status == 401
    assert len(service.history.tokens) == 2
    assert sum(one.target.operation is Operation.TOKEN for one in service.history) == 2


def test_a_static_token_expires_for_ever(world):
    service = struck(world, "expired-token:after=1")
    assert [ask(service, world.projects[0]).status for _ in range(4)] == [200, 401, 401, 401]


@pytest.mark.parametrize(
    ("parameters", "location"),
    [
        ("", "/moved/v2/"),
        (":to=other-host,other=http://127.0.0.1:9", "http://127.0.0.1:9/v2/"),
        (":to=plain-http", "http://localhost/v2/"),
    ],
)
def test_a_redirect_leads_to_where_it_is_told(world, parameters, location):
    response = ask(struck(world, f"redirect{parameters}"), world.projects[0], limit=3)
    assert response.status == 302
    assert response.header("Location") == f"{location}{world.projects[0]}/os-vendor-backup-sharing/detail?limit=3"


def test_a_service_may_quote_the_token(world):
    response = ask(struck(world, "quoted-token"), world.projects[0], token="canary")
    assert response.status == 401
    assert b"canary" in response.body
    assert "canary" in response.header("WWW-Authenticate")


def test_an_answer_can_be_late_and_misdated(world):
    slept: list[float] = []
    service = make_service(world, sleep=slept.append, faults=[faults.named("slow-answer"), faults.named("wrong-date")])
    assert ask(service, world.projects[0]).header("Date") == "Sun, 01 Mar 2026 12:40:15 GMT"
    assert slept == [2.0]


# Bodies


def body(world: World, fault: str) -> bytes:
    return ask(struck(world, fault), world.projects[0]).body


def test_a_login_page_has_the_type_asked_for(world):
    for content_type in ("text/html", "application/json", None):
        response = ask(struck(world, f"login-page:content_type={content_type or ''}"), world.projects[0])
        assert (response.status, response.header("Content-Type")) == (200, content_type)
        assert b"session-4711" in response.body


def test_a_right_body_can_have_another_type(world):
    response = ask(struck(world, "content-type"), world.projects[0])
    assert response.header("Content-Type") == "text/plain"
    assert response.json()["shared"]
    assert ask(struck(world, "content-type:type="), world.projects[0]).header("Content-Type") is None


def test_a_body_can_be_encoded_otherwise(world):
    honest = ask(make_service(world), world.projects[0]).body
    assert body(world, "encoding:kind=bom") == b"\xef\xbb\xbf" + honest
    assert body(world, "encoding:kind=utf-16").decode("utf-16").encode() == honest
    with pytest.raises(UnicodeDecodeError):
        body(world, "encoding").decode()


def test_a_body_can_be_cut_or_go_on(world):
    honest = ask(make_service(world), world.projects[0]).body
    assert body(world, "truncated-body:bytes=7") == honest[:7]
    assert body(world, "trailing-text:kind=document") == honest * 2
    assert json.loads(body(world, "trailing-text:kind=blanks")) == json.loads(honest)
    with pytest.raises(json.JSONDecodeError, match="Extra data"):
        json.loads(body(world, "trailing-text"))


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("list", "[]"),
        ("missing", "{}"),
        ("null", '{"shared": null, "count": null}'),
        ("object", '{"shared": {}, "count": {}}'),
        ("null-document", "null"),
        ("no-document", ""),
    ],
)
def test_a_body_can_have_a_wrong_shape(world, kind, content):
    assert body(world, f"wrong-shape:kind={kind}").decode() == content


def test_a_body_can_have_its_key_twice(world):
    pairs = json.loads(body(world, "repeated-key"), object_pairs_hook=list)
    assert [name for name, _ in pairs] == ["shared", "shared"]
    assert pairs[1][1] == []


def test_brackets_can_be_too_deep_for_a_parser(world):
    with pytest.raises(RecursionError):
        json.loads(body(world, "nested-brackets"))
    assert json.loads(body(world, "nested-brackets:depth=3")) == {"shared": [[[[]]]]}


def test_a_small_body_can_hide_a_large_one(world):
    response = ask(struck(world, "gzip-bomb:megabytes=9"), world.projects[0])
    content = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(response.body)
    assert content == gzip.decompress(response.body), "one member: some readers end with the first"
    assert response.header("Content-Encoding") == "gzip"
    assert len(content) > 9_000_000 > 100 * len(response.body)
    assert json.loads(content) == ask(make_service(world), world.projects[0]).json()


def test_a_body_can_be_huge(world):
    assert len(body(world, "huge-body:megabytes=2")) > 2_000_000


# Records


@pytest.mark.parametrize("position", ["first", "middle", "last"])
def test_the_same_record_is_damaged_on_whatever_page(world, position):
    service = struck(world, f"malformed-record:position={position}")
    size = len(truth(service))
    victim = truth(service)[{"first": 0, "middle": size // 2, "last": -1}[position]]
    for query in ({}, {"limit": 3, "offset": truth(service).index(victim)}):
        served = by_id(rows(service, world.projects[0], sort_key="id", sort_dir="asc", **query))
        assert [share for share, record in served.items() if record["backup"]["size"] == "twelve"] == [victim]


def damaged(world: World, fault: str) -> tuple[Record, Record]:
    """The first record by id, as it is and as it is served."""
    service = struck(world, f"{fault}{',' if ':' in fault else ':'}position=first")
    text = ask(service, world.projects[0], sort_key="id", sort_dir="asc").body
    return listed(service, world.projects[0])[0], json.loads(text)["shared"][0]


@pytest.mark.parametrize("field", ["id", "backup_id", "to_project_id", "backup", "backup.id", "backup.status"])
@pytest.mark.parametrize("value", ["null", "1", "true", '"x"', "[]", "{}", "1.5", '""', '{"a": 1, "b": 2}'])
def test_any_field_can_have_any_value(world, field, value):
    honest, served = damaged(world, f"malformed-record:field={field},value={value}")
    outer, _, inner = field.partition(".")
    expected = {**honest[outer], inner: json.loads(value)} if inner else json.loads(value)
    assert served == {**honest, outer: expected}


def test_a_field_can_be_missing(world):
    honest, served = damaged(world, "missing-field:field=backup.volume_id")
    assert honest["backup"].keys() - served["backup"].keys() == {"volume_id"}
    assert "backup" not in damaged(world, "missing-field:field=backup")[1]


def test_a_number_can_be_none_or_too_long(world):
    texts = {kind: body(world, f"odd-number:kind={kind}") for kind in ("nan", "minus-infinity", "huge")}
    assert b'"size": NaN,' in texts["nan"]
    assert b'"size": -Infinity,' in texts["minus-infinity"]
    with pytest.raises(ValueError, match="4300 digits"):
        json.loads(texts["huge"])


def test_a_record_can_name_a_field_twice(world):
    for field in ("id", "backup.id"):
        text = body(world, f"duplicate-keys:field={field},position=first")
        twice: list[list[str]] = []

        def seen(pairs, twice=twice):
            names = [name for name, _ in pairs]
            twice += [[name for name in names if names.count(name) > 1]] if len(set(names)) < len(names) else []
            return dict(pairs)

        json.loads(text, object_pairs_hook=seen)
        assert twice == [["id", "id"]]


def test_unknown_fields_come_as_many_and_as_long_as_asked(world):
    honest, served = damaged(world, "unknown-fields:count=1000,name_bytes=50")
    new = served.keys() - honest.keys()
    assert (len(new), {len(name) for name in new}) == (1000, {50})
    honest, served = damaged(world, "unknown-fields:where=backup")
    assert len(served["backup"].keys() - honest["backup"].keys()) == 1


def test_a_record_can_contradict_itself(world):
    served = damaged(world, "other-backup-id")[1]
    assert served["backup"]["id"] != served["backup_id"]
    backup = damaged(world, "both-spellings")[1]["backup"]
    assert (backup["has_dependent_backup"], backup["has_dependent_backups"]) == (True, False)


@pytest.mark.parametrize(
    ("kind", "part"),
    [("ansi", "\x1b[2J"), ("bidi", "\u202e"), ("nul", "\x00"), ("surrogate", "\ud800"), ("formula", "=HYPER")],
)
def test_a_text_can_be_hostile(world, kind, part):
    assert part in damaged(world, f"hostile-text:kind={kind}")[1]["backup"]["name"]
    assert part in damaged(world, f"hostile-text:kind={kind},field=id")[1]["id"]


# What was true


def test_history_tells_what_was_alive_throughout_and_ever(world):
    project = world.projects[0]
    service = make_service(world, faults=[Fault(Operation.DETAIL, nth=1, withdraw_at=(0,), insert_at=(2,))])
    before = truth(service)
    for offset in (0, 5, 10):
        page(service, offset)
    count(service)
    after = truth(service)
    history = service.history
    assert history.states(project, OUT) == [set(before), set(after), set(after), set(after)]
    assert history.alive_throughout(project, OUT) == set(before) & set(after)
    assert history.ever_alive(project, OUT) == set(before) | set(after)
    assert history.alive_throughout(project, OUT, since=1) == set(after)
    assert history.alive_throughout(project, OUT, until=1) == set(before)
    assert history.states(project, IN) == []
    assert [one.status for one in history] == [200] * 4


def test_a_state_that_did_not_change_is_kept_once(world):
    service = make_service(world)
    for offset in range(5):
        page(service, offset)
    assert len({id(state) for state in service.history.states(world.projects[0], OUT)}) == 1


def test_history_shows_no_token_and_no_password(world):
    service = make_service(world)
    ask(service, world.projects[0], token="canary-token")
    log_in(service, password_identity("canary-password"))
    assert "canary" not in repr(service.history)


def test_faults_forget_everything_when_they_are_set_again(world):
    fault = faults.named("expired-token", after=1)
    service = make_service(world, faults=[fault])
    for _ in range(2):
        assert [ask(service, world.projects[0]).status for _ in range(2)] == [200, 401]
        service.faults = [fault]
