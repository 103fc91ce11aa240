"""The simulator keeps its word: what other tests believe about the API rests on this file.

Not here: the pipeline against the simulator (the tests of each module).
"""

import itertools
import json
import re
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime

import httpx
import pytest

from pipelines.observation import PROJECT_ID, Direction
from pipelines.simulator.faults import Fault, Operation
from pipelines.simulator.iam import Account
from pipelines.simulator.records import KEY_MATERIAL_MARK, Record
from pipelines.simulator.scenario import Malformed, Scenario
from pipelines.simulator.server import passing_days, serve
from pipelines.simulator.service import DEMO_TOKEN, Service
from pipelines.simulator.wire import Request, Response
from pipelines.simulator.world import World
from tests.fakes import transport

NOW = datetime(2026, 3, 1, 12, 30, 15, tzinfo=UTC)
OUT, IN = Direction.OUTGOING, Direction.INCOMING


@pytest.fixture(scope="module")
def world() -> World:
    return World()


@pytest.fixture(scope="module")
def big_world() -> World:
    return World(seed=3, projects=3, shares=1000)


@pytest.fixture
def service(world: World) -> Service:
    return make_service(world)


def make_service(world: World, **changes) -> Service:
    return Service(world, **{"clock": lambda: NOW, "sleep": lambda seconds: None, **changes})


def ask(service: Service, project: str, what: str = "detail", *, token=DEMO_TOKEN, method="GET", **query) -> Response:
    headers = {"x-auth-token": token} if token else {}
    pairs = tuple((name, str(value)) for name, value in query.items())
    return service.handle(Request(method, f"/v2/{project}/os-vendor-backup-sharing/{what}", pairs, headers))


def rows(service: Service, project: str, **query) -> list[Record]:
    response = ask(service, project, **query)
    assert response.status == 200, response.body
    return response.json()["shared"]


def ids(records) -> list[str]:
    return [record["id"] for record in records]


def by_id(records) -> dict[str, Record]:
    return {record["id"]: record for record in records}


def log_in(service: Service, identity: dict, scope: dict | None = None, **query: str) -> Response:
    auth = {"identity": identity} | ({"scope": scope} if scope is not None else {})
    body = json.dumps({"auth": auth}).encode()
    return service.handle(Request("POST", "/v3/auth/tokens", tuple(query.items()), {"host": "iam.example.com"}, body))


def password_identity(password: str = Account().password) -> dict:
    user = {"name": "demo", "password": password, "domain": {"name": "demo-domain"}}
    return {"methods": ["password"], "password": {"user": user}}


# The world


def test_two_worlds_of_one_seed_are_equal_on_every_day():
    one, other = World(seed=11), World(seed=11)
    assert [one.shares(day) for day in range(20)] == [other.shares(day) for day in range(20)]


def test_another_seed_is_another_world():
    assert World(seed=1).projects != World(seed=2).projects


def test_a_day_is_the_same_whatever_was_asked_before():
    straight, jumping = World(), World()
    expected = [straight.shares(day) for day in range(13)]
    assert [jumping.shares(day) for day in (12, 0, 7)] == [expected[day] for day in (12, 0, 7)]


def test_the_world_has_no_day_before_day_0(world):
    with pytest.raises(ValueError, match="no day -1"):
        world.shares(-1)


def test_a_world_has_exactly_the_shares_asked_for_on_day_0(world, big_world):
    assert (len(world.shares(0)), len(big_world.shares(0))) == (60, 1000)


@pytest.mark.parametrize("size", [{"projects": 1, "shares": 1}, {"projects": 1, "shares": 0}, {"projects": 12}])
def test_odd_sizes_live_for_a_month(size):
    world = World(**size)
    for day in range(30):
        assert len(set(ids(world.shares(day)))) == len(world.shares(day))


def test_project_ids_look_like_project_ids(world):
    assert len(world.projects) == 3
    assert all(re.fullmatch(PROJECT_ID, project) for project in world.projects + world.foreign_projects)


def test_share_ids_are_lower_case_uuids_and_do_not_follow_creation(big_world):
    records = big_world.shares(0)
    uuid = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
    assert all(re.fullmatch(uuid, record["id"]) for record in records)
    in_time = [record["id"] for record in sorted(records, key=lambda record: record["created_at"])]
    rising = sum(before < after for before, after in itertools.pairwise(in_time))
    assert 400 < rising < 600


def test_about_a_fifth_of_the_shares_is_between_own_projects(big_world):
    own = set(big_world.projects)
    kinds = Counter((r["from_project_id"] in own, r["to_project_id"] in own) for r in big_world.shares(0))
    assert kinds[False, False] == 0
    assert 150 < kinds[True, True] < 260
    assert min(kinds[True, False], kinds[False, True]) > 300


@pytest.mark.parametrize("day", [0, 40])
def test_a_backup_has_one_to_ten_different_recipients(big_world, day):
    recipients: dict[str, list[str]] = {}
    for record in big_world.shares(day):
        recipients.setdefault(record["backup_id"], []).append(record["to_project_id"])
        assert record["from_project_id"] != record["to_project_id"]
    sizes = {len(projects) for projects in recipients.values()}
    assert min(sizes) == 1
    assert 3 <= max(sizes) <= 10
    assert all(len(set(projects)) == len(projects) for projects in recipients.values())


def test_even_a_small_world_has_a_backup_with_three_recipients():
    assert max(Counter(record["backup_id"] for record in World(shares=3).shares(0)).values()) == 3


@pytest.mark.parametrize("day", [0, 25])
def test_all_shares_of_a_backup_carry_the_same_backup_from_one_giver(big_world, day):
    seen: dict[str, tuple[Record, str]] = {}
    for record in big_world.shares(day):
        known = seen.setdefault(record["backup_id"], (record["backup"], record["from_project_id"]))
        assert known == (record["backup"], record["from_project_id"])
        assert record["backup"]["id"] == record["backup_id"]


def test_creation_times_tie_within_and_across_backups(big_world):
    backups: dict[str, set[str]] = {}
    for record in big_world.shares(0):
        backups.setdefault(record["created_at"], set()).add(record["backup_id"])
    assert max(len(tied) for tied in backups.values()) >= 2
    counts = Counter(record["created_at"] for record in big_world.shares(0))
    assert sum(count > 1 for count in counts.values()) > 50


def test_records_have_the_fields_of_the_spec_page(world):
    record = world.shares(0)[0]
    assert sorted(record) == [
        "backup",
        "backup_id",
        "created_at",
        "from_project_id",
        "id",
        "to_project_id",
        "updated_at",
    ]
    assert sorted(record["backup"]) == [
        "availability_zone",
        "container",
        "created_at",
        "data_timestamp",
        "description",
        "fail_reason",
        "has_dependent_backups",
        "id",
        "is_incremental",
        "name",
        "object_count",
        "service_metadata",
        "size",
        "snapshot_id",
        "status",
        "updated_at",
        "volume_id",
    ]


def test_times_have_six_fraction_digits_no_zone_and_lie_before_the_day(world):
    for day in (0, 30):
        dusk = world.moment(day).strftime("%Y-%m-%dT%H:%M:%S.%f")
        for record in world.shares(day):
            times = [record["created_at"], record["updated_at"], record["backup"]["updated_at"]]
            times += [record["backup"]["data_timestamp"], record["backup"]["created_at"]]
            for time in filter(None, times):
                assert re.fullmatch(r"202[4-6]-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}", time)
                assert time < dusk
            assert record["backup"]["created_at"] < record["created_at"]


def test_every_oddity_occurs_in_the_default_world(world):
    backups = list({record["backup_id"]: record["backup"] for record in world.shares(0)}.values())
    names = [backup["name"] for backup in backups]
    text = " ".join(filter(None, names))
    for odd in ("<script>", "\x1b", "\u202e", "=HYPERLINK(", "数据库", "autobk_"):
        assert odd in text
    assert None in names
    assert {"available", "error"} <= {backup["status"] for backup in backups}
    assert all(backup["fail_reason"] for backup in backups if backup["status"] == "error")
    assert any("has_dependent_backup" in backup for backup in backups)
    assert any((backup["description"] or "").startswith('{"DESC"') for backup in backups)
    assert {backup["availability_zone"] for backup in backups} == {"eu-de-01", "eu-de-02"}


def test_service_metadata_is_json_text_and_sometimes_holds_key_material(big_world):
    backups = {record["backup_id"]: record["backup"] for record in big_world.shares(0)}.values()
    texts = [backup["service_metadata"] for backup in backups]
    assert None in texts
    assert any(text and text.startswith("  ") for text in texts)
    parsed = [json.loads(text) for text in texts if text]
    keys = [values["VK"] for values in parsed if values["VK"]]
    assert all(re.fullmatch(KEY_MATERIAL_MARK + "[0-9a-f]{56}", key) for key in keys)
    assert 0.04 < len(keys) / len(texts) < 0.06
    assert all(isinstance(values["BT"], str) and isinstance(values["progress"], str) for values in parsed)


@pytest.mark.parametrize("day", [1, 2, 3, 17, 60])
def test_every_day_of_a_small_world_brings_a_new_a_withdrawn_and_a_changed_share(world, day):
    before, after = by_id(world.shares(day - 1)), by_id(world.shares(day))
    changed = [share for share in before.keys() & after.keys() if before[share]["backup"] != after[share]["backup"]]
    assert after.keys() - before.keys()
    assert before.keys() - after.keys()
    assert changed


def test_days_pass_at_the_rates_asked_for():
    world = World(shares=1000, new_rate=0.02, withdrawn_rate=0.01, change_rate=0.005, return_rate=0.0)
    before, after = by_id(world.shares(0)), by_id(world.shares(1))
    changed = {r["backup_id"] for r in before.values() if r["id"] in after and after[r["id"]]["backup"] != r["backup"]}
    assert len(after.keys() - before.keys()) == 20
    assert len(before.keys() - after.keys()) == 10
    assert len(changed) == 5


def test_rates_of_zero_stop_the_world():
    world = World(new_rate=0, withdrawn_rate=0, change_rate=0, return_rate=0)
    assert world.shares(9) == world.shares(0)


def test_some_content_changes_without_a_new_update_time(world):
    silent = 0
    for day in range(1, 40):
        before = by_id(world.shares(day - 1))
        for record in world.shares(day):
            old = before.get(record["id"], record)["backup"]
            silent += old != record["backup"] and old["updated_at"] == record["backup"]["updated_at"]
    assert silent > 5


def test_a_withdrawn_share_may_return_with_its_id(world):
    gone: set[str] = set()
    returned = 0
    for day in range(1, 40):
        now, before = set(ids(world.shares(day))), set(ids(world.shares(day - 1)))
        returned += len(now & gone)
        gone = (gone | before) - now
    assert 3 <= returned <= 25


def test_a_small_world_neither_dies_out_nor_explodes(world):
    assert 50 < len(world.shares(400)) < 70


def test_a_share_between_own_projects_stands_in_both_listings(world):
    record = next(r for r in world.shares(0) if {r["from_project_id"], r["to_project_id"]} <= set(world.projects))
    assert record in world.listing(0, record["from_project_id"], OUT)
    assert record in world.listing(0, record["to_project_id"], IN)


# Listings: filters, order, pages


def test_a_listing_holds_what_the_world_holds(world, service):
    project = world.projects[0]
    assert by_id(rows(service, project)) == by_id(world.listing(0, project, OUT))
    assert by_id(rows(service, project, share_to_me="true")) == by_id(world.listing(0, project, IN))


@pytest.mark.parametrize("spelling", ["True", "TRUE", "1", "yes", ""])
def test_only_a_lower_case_true_asks_for_incoming_shares(world, service, spelling):
    project = world.projects[0]
    assert rows(service, project, share_to_me=spelling) == rows(service, project)


@pytest.mark.parametrize("direction", list(Direction))
@pytest.mark.parametrize(
    ("parameter", "value_of"),
    [
        ("volume_id", lambda r: r["backup"]["volume_id"]),
        ("status", lambda r: r["backup"]["status"]),
        ("backup_id", lambda r: r["backup_id"]),
        ("from_project_id", lambda r: r["from_project_id"]),
        ("to_project_id", lambda r: r["to_project_id"]),
        ("avalilability_zone", lambda r: r["backup"]["availability_zone"]),
    ],
)
def test_every_filter_keeps_the_equal_ones(big_world, direction, parameter, value_of):
    service, project = make_service(big_world), big_world.projects[1]
    listing = big_world.listing(0, project, direction)
    value = value_of(listing[0])
    query = {"share_to_me": "true"} if direction is IN else {}
    kept = rows(service, project, **query, **{parameter: value})
    assert by_id(kept) == by_id(record for record in listing if value_of(record) == value)
    assert ask(service, project, "count", **query, **{parameter: value}).json() == {"count": len(kept)}


def test_the_name_filter_takes_a_part_of_the_name(big_world):
    service, project = make_service(big_world), big_world.projects[0]
    kept = rows(service, project, name="utobk_")
    assert 0 < len(kept) < len(rows(service, project))
    assert all("utobk_" in record["backup"]["name"] for record in kept)


def test_filters_combine(big_world):
    service, project = make_service(big_world), big_world.projects[0]
    kept = rows(service, project, avalilability_zone="eu-de-01", status="error")
    listing = big_world.listing(0, project, OUT)
    assert kept
    assert by_id(kept) == by_id(
        r for r in listing if r["backup"]["availability_zone"] == "eu-de-01" and r["backup"]["status"] == "error"
    )


@pytest.mark.parametrize("parameter", ["availability_zone", "marker", "share_id"])
def test_an_unknown_parameter_is_ignored(world, service, parameter):
    project = world.projects[0]
    assert rows(service, project, **{parameter: "nowhere"}) == rows(service, project)


def test_the_newest_share_comes_first_unless_asked_otherwise(world, service):
    times = [record["created_at"] for record in rows(service, world.projects[0])]
    assert times == sorted(times, reverse=True)


@pytest.mark.parametrize(
    ("sort_key", "value_of"),
    [
        ("created_at", lambda r: r["created_at"]),
        ("updated_at", lambda r: r["updated_at"] or ""),
        ("id", lambda r: r["id"]),
        ("size", lambda r: r["backup"]["size"]),
        ("status", lambda r: r["backup"]["status"]),
        ("name", lambda r: r["backup"]["name"] or ""),
    ],
)
def test_every_sort_key_sorts_both_ways(world, service, sort_key, value_of):
    rising = rows(service, world.projects[0], sort_key=sort_key, sort_dir="asc")
    assert [value_of(record) for record in rising] == sorted(value_of(record) for record in rising)
    assert rows(service, world.projects[0], sort_key=sort_key, sort_dir="desc") == rising[::-1]


def test_sorting_by_id_can_mean_the_id_of_the_backup(world):
    service = make_service(world, id_sorts_by="backup")
    backups = [record["backup_id"] for record in rows(service, world.projects[0], sort_key="id", sort_dir="asc")]
    assert backups == sorted(backups)
    assert len(set(backups)) < len(backups)


@pytest.mark.parametrize(
    "query",
    [
        {"sort_key": "container_format"},
        {"sort_key": "disk_format"},
        {"sort_key": "volume_id"},
        {"sort_dir": "up"},
        {"limit": "ten"},
        {"limit": "-1"},
        {"limit": "1.5"},
        {"limit": ""},
        {"offset": "-1"},
        {"offset": "x"},
        {"offset": "2147483648"},
        {"offset": "9" * 5000},
    ],
)
@pytest.mark.parametrize("operation", ["detail", "count"])
def test_a_parameter_that_makes_no_sense_is_a_bad_request(world, service, operation, query):
    response = ask(service, world.projects[0], operation, **query)
    assert response.status == 400
    assert response.json()["badRequest"]["code"] == 400


def test_pages_are_slices_of_one_order(world, service):
    project = world.projects[0]
    everything = rows(service, project, sort_key="size")
    paged = [
        row for offset in range(0, 60, 7) for row in rows(service, project, sort_key="size", limit=7, offset=offset)
    ]
    assert paged == everything
    assert rows(service, project, offset=1000) == []
    assert rows(service, project, limit=0) == []


def test_a_limit_above_the_maximum_is_cut_without_a_word(world):
    service, project = make_service(world, max_limit=5), world.projects[0]
    assert len(rows(service, project, limit=100)) == 5
    assert len(rows(service, project)) == 5
    assert len(rows(service, project, limit=4)) == 4


def test_without_a_limit_a_thousand_shares_are_the_most():
    world = World(projects=1, shares=1800)
    assert len(world.listing(0, world.projects[0], OUT)) > 1000
    assert len(rows(make_service(world), world.projects[0])) == 1000


def test_the_count_counts_all_pages_and_ignores_paging(world, service):
    project = world.projects[0]
    expected = {"count": len(world.listing(0, project, OUT))}
    assert ask(service, project, "count").json() == expected
    assert ask(service, project, "count", limit=1, offset=3).json() == expected


def test_one_share_is_shown_as_an_object_to_both_sides(world, service):
    record = next(r for r in world.shares(0) if {r["from_project_id"], r["to_project_id"]} <= set(world.projects))
    for project in (record["from_project_id"], record["to_project_id"]):
        assert ask(service, project, record["id"]).json() == {"shared": record}


def test_days_move_when_they_are_set(world, service):
    project = world.projects[0]
    service.day = 30
    assert by_id(rows(service, project)) == by_id(world.listing(30, project, OUT))
    service.day = 0
    assert by_id(rows(service, project)) == by_id(world.listing(0, project, OUT))


def test_days_can_follow_a_clock_of_the_caller(world):
    today = iter([3, 3, 4, 4])
    service = make_service(world, day=lambda: next(today))
    project = world.projects[0]
    assert by_id(rows(service, project)) == by_id(world.listing(3, project, OUT))
    assert by_id(rows(service, project)) == by_id(world.listing(4, project, OUT))


def test_days_pass_by_the_second():
    assert passing_days(5, 1e9)() == 5
    assert passing_days(5, 1e-9)() > 5


def test_every_request_is_remembered_in_order(world, service):
    project = world.projects[0]
    ask(service, project, limit=3)
    ask(service, project, "count")
    path = f"/v2/{project}/os-vendor-backup-sharing"
    assert service.requests == [("GET", f"{path}/detail", {"limit": "3"}), ("GET", f"{path}/count", {})]


# Refusals


def test_every_answer_has_a_request_id_a_date_and_a_type(world, service):
    first, second = ask(service, world.projects[0]), ask(service, "nowhere", token="")
    assert first.header("Date") == second.header("date") == "Sun, 01 Mar 2026 12:30:15 GMT"
    assert first.header("Content-Type") == "application/json"
    assert first.header("X-Request-Id") == "0" * 31 + "1"
    assert second.header("X-Request-Id") == "0" * 31 + "2"


@pytest.mark.parametrize("token", ["", "wrong"])
def test_a_missing_or_unknown_token_is_refused_by_the_gateway(world, service, token):
    response = ask(service, world.projects[0], token=token)
    assert response.status == 401
    assert response.json() == {
        "error_code": "APIG.0301",
        "error_msg": "Incorrect IAM authentication information: invalid token",
        "request_id": response.header("X-Request-Id"),
    }


def test_an_unknown_project_is_not_found(service):
    response = ask(service, "f" * 32)
    assert response.status == 404
    assert response.json()["itemNotFound"]["code"] == 404


def test_a_foreign_project_is_forbidden(world, service):
    response = ask(service, world.foreign_projects[0])
    assert response.status == 403
    assert response.json()["forbidden"]["code"] == 403


def test_an_unknown_share_and_one_of_others_are_not_found(world, service):
    project = world.projects[0]
    other = next(r for r in world.shares(0) if project not in (r["from_project_id"], r["to_project_id"]))
    for share_id in ("00000000-0000-4000-8000-000000000000", other["id"]):
        response = ask(service, project, share_id)
        assert response.status == 404
        assert "itemNotFound" in response.json()


@pytest.mark.parametrize(("method", "what"), [("POST", "detail"), ("DELETE", "some-share"), ("PUT", "count")])
def test_another_method_is_not_allowed(world, service, method, what):
    response = ask(service, world.projects[0], what, method=method)
    assert response.status == 405
    assert response.json()["badMethod"]["code"] == 405


@pytest.mark.parametrize(("method", "path"), [("POST", "/v2/p/os-vendor-backup-sharing"), ("GET", "/v3/auth/tokens")])
def test_creating_shares_and_reading_tokens_are_not_offered(service, method, path):
    assert service.handle(Request(method, path)).status == 405


def test_a_path_that_is_no_api_is_unknown_to_the_gateway(service):
    response = service.handle(Request("GET", "/v2/p/somewhere-else"))
    assert (response.status, response.json()["error_code"]) == (404, "APIG.0101")


# IAM


def test_a_password_gives_a_token_for_one_project_only(world, service):
    first, second, _ = world.projects
    response = log_in(service, password_identity(), {"project": {"id": second}})
    token = response.header("X-Subject-Token")
    assert response.status == 201
    assert ask(service, second, token=token).status == 200
    assert ask(service, first, token=token).status == 403


def test_the_token_answer_names_project_expiry_and_endpoints(world, service):
    project = world.projects[0]
    token = log_in(service, password_identity(), {"project": {"name": "eu-de_demo-1"}}).json()["token"]
    assert token["project"]["id"] == project
    assert token["issued_at"] == "2026-03-01T12:30:15.000000Z"
    assert token["expires_at"] == "2026-03-02T12:30:15.000000Z"
    urls = {service["type"]: service["endpoints"][0]["url"] for service in token["catalog"]}
    assert urls["vbsv2"] == f"http://iam.example.com/v2/{project}"
    assert urls["volume-backup"] == "http://iam.example.com/v2"


def test_the_catalogue_can_be_left_out(world, service):
    response = log_in(service, password_identity(), {"project": {"id": world.projects[0]}}, nocatalog="1")
    assert "catalog" not in response.json()["token"]


def test_a_wrong_password_is_refused_in_the_words_of_iam(world, service):
    response = log_in(service, password_identity("guess"), {"project": {"id": world.projects[0]}})
    assert response.status == 401
    assert response.json() == {"error_code": "IAM.0062", "error_msg": "Incorrect user name or password."}
    assert response.header("X-Subject-Token") is None


def application_credential(secret: str = Account().application_credential_secret) -> dict:
    credential = {"id": Account().application_credential_id, "secret": secret}
    return {"methods": ["application_credential"], "application_credential": credential}


def test_an_application_credential_is_for_its_own_project_and_takes_no_scope(world, service):
    response = log_in(service, application_credential())
    assert response.json()["token"]["project"]["id"] == world.projects[0]
    assert ask(service, world.projects[0], token=response.header("X-Subject-Token")).status == 200
    assert log_in(service, application_credential(), {"project": {"id": world.projects[0]}}).status == 401
    assert log_in(service, application_credential("guess")).status == 401


def test_a_token_can_be_exchanged_for_one_of_another_project(world, service):
    first, second, _ = world.projects
    old = log_in(service, password_identity(), {"project": {"id": first}}).header("X-Subject-Token")
    new = log_in(service, {"methods": ["token"], "token": {"id": old}}, {"project": {"id": second}})
    assert ask(service, second, token=new.header("X-Subject-Token")).status == 200
    assert log_in(service, {"methods": ["token"], "token": {"id": "wrong"}}).status == 401


def test_a_token_without_scope_lists_projects_and_opens_nothing(world, service):
    token = log_in(service, password_identity()).header("X-Subject-Token")
    answer = service.handle(Request("GET", "/v3/auth/projects", (), {"x-auth-token": token}))
    assert [project["id"] for project in answer.json()["projects"]] == list(world.projects)
    assert ask(service, world.projects[0], token=token).status == 403


def test_the_list_of_projects_needs_a_token(service):
    response = service.handle(Request("GET", "/v3/auth/projects"))
    assert (response.status, response.json()["error"]["title"]) == (401, "Unauthorized")


def test_a_token_ends_after_a_day(world):
    now = [NOW]
    service = make_service(world, clock=lambda: now[0])
    token = log_in(service, password_identity(), {"project": {"id": world.projects[0]}}).header("X-Subject-Token")
    now[0] = datetime(2026, 3, 2, 12, 30, 14, tzinfo=UTC)
    assert ask(service, world.projects[0], token=token).status == 200
    now[0] = datetime(2026, 3, 2, 12, 30, 15, tzinfo=UTC)
    assert ask(service, world.projects[0], token=token).status == 401


@pytest.mark.parametrize("scope", [{"project": {"id": "f" * 32}}, {"project": {"name": "nowhere"}}, {"project": {}}])
def test_a_scope_that_names_no_own_project_is_refused(service, scope):
    assert log_in(service, password_identity(), scope).status == 401


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b'{"auth": 1}', b'{"auth": {"identity": {}}}', b"\xff"])
def test_a_log_in_that_is_not_one_is_a_bad_request(service, body):
    response = service.handle(Request("POST", "/v3/auth/tokens", body=body))
    assert (response.status, response.json()["error"]["code"]) == (400, 400)


# Scenarios


def test_a_malformed_record_is_broken_on_its_days_only(world):
    record = world.listing(0, world.projects[0], OUT)[0]
    broken = Malformed(record["id"], (0,), backup_fields={"size": "twelve"}, share_fields={"updated_at": 5})
    service = make_service(world, scenario=Scenario(malformed=(broken,)))
    served = by_id(rows(service, world.projects[0], sort_key="size"))[record["id"]]
    assert served == {**record, "updated_at": 5, "backup": {**record["backup"], "size": "twelve"}}
    assert ask(service, world.projects[0], record["id"]).json() == {"shared": served}
    service.day = 1
    assert by_id(rows(service, world.projects[0])) == by_id(world.listing(1, world.projects[0], OUT))


def test_revoked_rights_are_refused_everywhere_on_their_day_only(world):
    project, other, _ = world.projects
    service = make_service(world, day=2, scenario=Scenario(revoked={2: {project}}))
    for what in ("detail", "count", world.listing(2, project, OUT)[0]["id"]):
        response = ask(service, project, what)
        assert (response.status, response.json()["error"]["code"]) == (403, "VolumeBackup.0042")
    assert ask(service, other).status == 200
    service.day = 3
    assert ask(service, project).status == 200


def test_the_demo_breaks_a_steady_share_on_day_1_and_revokes_a_project_on_day_2(world):
    scenario = Scenario.demo(world)
    service = make_service(world, scenario=scenario)
    (broken,) = scenario.malformed
    project = by_id(world.shares(0))[broken.share_id]["from_project_id"]
    sizes = []
    for service.day in range(7):
        served = by_id(rows(service, project))[broken.share_id]
        sizes.append(served["backup"]["size"])
        assert served["to_project_id"] in world.foreign_projects
    assert sizes[1] == "twelve"
    assert len({sizes[day] for day in (0, 2, 3, 4, 5, 6)}) == 1
    service.day = 2
    statuses = [ask(service, project).status for project in world.projects]
    assert statuses == [200, 200, 403]


def test_the_demo_of_an_empty_world_breaks_nothing():
    assert Scenario.demo(World(projects=1, shares=0)).malformed == ()


# Faults


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


# Doors


def test_the_port_and_the_transport_answer_byte_for_byte_alike(world):
    project = world.projects[0]
    paths = [
        f"/v2/{project}/os-vendor-backup-sharing/detail?sort_key=id&sort_dir=asc&limit=7&offset=3&name=%E6%95%B0",
        f"/v2/{project}/os-vendor-backup-sharing/detail",
        f"/v2/{project}/os-vendor-backup-sharing/count?share_to_me=true",
        f"/v2/{project}/os-vendor-backup-sharing/detail?limit=x",
        f"/v2/{'f' * 32}/os-vendor-backup-sharing/detail",
        "/elsewhere",
    ]
    headers = {"X-Auth-Token": DEMO_TOKEN}

    def answers(client: httpx.Client, base_url: str) -> list[tuple]:
        taken = [client.get(base_url + path, headers=headers) for path in paths]
        return [(answer.status_code, sorted(answer.headers.items()), answer.content) for answer in taken]

    with serve(make_service(world)) as base_url, httpx.Client(trust_env=False) as client:
        over_the_port = answers(client, base_url)
    with httpx.Client(transport=transport(make_service(world))) as client:
        in_process = answers(client, base_url)
    assert [answer[0] for answer in in_process] == [200, 200, 200, 400, 404, 404]
    assert over_the_port == in_process


def test_a_log_in_works_over_the_port_and_the_catalogue_leads_back_to_it(world):
    body = {"auth": {"identity": password_identity(), "scope": {"project": {"id": world.projects[0]}}}}
    with serve(make_service(world)) as base_url, httpx.Client(trust_env=False) as client:
        answer = client.post(f"{base_url}/v3/auth/tokens", json=body)
        (vbs,) = [service for service in answer.json()["token"]["catalog"] if service["type"] == "vbsv2"]
        url = vbs["endpoints"][0]["url"] + "/os-vendor-backup-sharing/count"
        count = client.get(url, headers={"X-Auth-Token": answer.headers["X-Subject-Token"]})
    assert url.startswith(base_url)
    assert count.status_code == 200


def test_a_slow_answer_over_the_port_holds_up_nobody_else(world):
    arrived = threading.Event()
    order: list[str] = []

    def clock() -> datetime:
        arrived.set()
        return NOW

    def ask_for(client: httpx.Client, url: str) -> None:
        client.get(url, headers={"X-Auth-Token": DEMO_TOKEN})
        order.append(url.rpartition("/")[2])

    service = make_service(world, clock=clock, faults=[Fault(Operation.COUNT, delay=0.3)])
    with serve(service) as base_url, httpx.Client(trust_env=False) as client:
        path = f"{base_url}/v2/{world.projects[0]}/os-vendor-backup-sharing"
        thread = threading.Thread(target=ask_for, args=(client, f"{path}/count"))
        thread.start()
        arrived.wait()
        ask_for(client, f"{path}/detail")
        thread.join()
    assert order == ["detail", "count"]


def test_the_port_is_free_again_after_the_block(world):
    with serve(make_service(world)) as base_url:
        port = int(base_url.rpartition(":")[2])
    with serve(make_service(world), port) as again:
        assert again == base_url


def test_many_threads_get_the_answers_that_one_gets(world):
    expected = {project: rows(make_service(world), project) for project in world.projects}
    service = make_service(world)
    with ThreadPoolExecutor(9) as pool:
        asked = list(world.projects) * 60
        answers = list(pool.map(lambda project: rows(service, project), asked))
    assert answers == [expected[project] for project in asked]
    assert len(service.requests) == 180


def test_going_back_a_day_serves_the_same_bytes_again(world):
    project, service = world.projects[0], make_service(world)
    first = ask(service, project, sort_key="id").body
    service.day = 1
    ask(service, project)
    service.day = 0
    assert ask(service, project, sort_key="id").body == first


def test_a_response_tells_its_last_header_of_a_name():
    response = replace(Response(200), headers=(("A", "1"), ("a", "2")))
    assert response.header("A") == "2"
