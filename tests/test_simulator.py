"""The simulated service keeps its word: what other tests believe about the API rests on this file.

Not here: the world behind it, what can go wrong, the port (test_simulator_*.py).
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from pipelines.observation import Direction
from pipelines.simulator.iam import Account
from pipelines.simulator.scenario import Malformed, Scenario
from pipelines.simulator.server import passing_days
from pipelines.simulator.service import Service
from pipelines.simulator.wire import Request, Response
from pipelines.simulator.world import World
from tests.fakes import NOW, ask, by_id, log_in, make_service, password_identity, rows

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


# Values and threads


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
