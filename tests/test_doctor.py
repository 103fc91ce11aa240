"""The doctor: what it says of a service, a landing and a warehouse of every kind, and that it changes nothing.

Not here: the answers of the service one by one (test_requests.py), logins (test_login.py).
"""

import fcntl
import json
import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import duckdb
import pytest
import yaml

from pipelines.auth import Account, accounts
from pipelines.connect import open_clouds, utc_now
from pipelines.diagnosis import Finding, State, judge_clock, judge_history, judge_space
from pipelines.doctor import examine
from pipelines.extract import observe_listings
from pipelines.landing import landed_files
from pipelines.load import load_pending
from pipelines.publish import writing
from pipelines.settings import Settings, isolated_settings
from pipelines.simulator.faults import Fault, Operation, parse
from pipelines.simulator.iam import Account as User
from pipelines.simulator.iam import clouds_yaml
from pipelines.simulator.server import serve
from pipelines.simulator.service import Service
from pipelines.simulator.world import World
from tests.command import run_text
from tests.fakes import NOW, make_service, transport

CANARY = "canary-token-5d3e"
ELSEWHERE = "0123456789abcdef0123456789abcdef"


@pytest.fixture(scope="module")
def world() -> World:
    return World(seed=11, projects=2, shares=120)


@pytest.fixture
def service(world: World) -> Service:
    return make_service(world, token=CANARY)


@pytest.fixture
def settings(tmp_path: Path, world: World) -> Settings:
    return isolated_settings(
        vbs_endpoint="http://127.0.0.1:9",
        vbs_token=CANARY,
        vbs_projects=",".join(world.projects),
        vbs_region="eu-de",
        data_dir=tmp_path / "data",
        daily_report=False,
    )


def findings(settings: Settings, service: Service, complaints=(), **how) -> list[Finding]:
    how = {"now": lambda: NOW, **how}
    return list(examine(settings, complaints, transport=transport(service), **how))


def ills(found: list[Finding]) -> list[tuple[str, State]]:
    return [(each.check, each.state) for each in found if each.state is not State.OK]


def told(found: list[Finding], check: str) -> list[str]:
    return [f"{each.state}: {each.judgement.found}; {each.judgement.advice}" for each in found if each.check == check]


def observe(settings: Settings, service: Service, *, at=NOW, sync_id: str = "sync-1") -> None:
    with open_clouds(settings, transport=transport(service), now=lambda: at) as clouds:
        list(observe_listings(clouds.clients, settings.landing_folder, sync_id=sync_id, now=lambda: at))


def record(settings: Settings) -> None:
    with writing(settings.warehouse_address()) as warehouse:
        assert load_pending(warehouse, settings.landing_folder, settings.staging_folder) == []


@pytest.fixture
def synced(settings: Settings, service: Service) -> Settings:
    observe(settings, service)
    record(settings)
    return settings


# The settings


def test_a_variable_that_is_no_setting_is_worth_a_look(settings, service):
    found = findings(settings, service, remarks=["VBS_PROJCETS is no setting: VBS_PROJECTS may be meant"])
    assert ills(found) == [("settings", State.ATTENTION)]
    assert told(found, "settings")[0].endswith("may be meant; take it out, or write it as in README.md")


# The service


def test_of_an_honest_service_all_is_well_and_said(settings, service, world):
    found = findings(settings, service)

    assert ills(found) == []
    held = [len(service.listing(listing.project_id, listing.direction)) for listing in accounts(settings)[0].listings()]
    assert [text.split(" shares")[0] for text in told(found, "listing")] == [f"ok: {count}" for count in held]
    assert told(found, "order") == ["ok: sort_key=id sorts by the id of the share, ascending; "]
    assert told(found, "pages") == [f"ok: one page of limit 1000 holds the longest listing, {max(held)} shares; "]
    for check in ("settings", "credential", "endpoint", "direction", "filter", "offset", "clock", "landing", "space"):
        assert told(found, check), check


def test_two_requests_for_each_listing_and_four_for_the_cloud_are_sent_and_told(settings, service):
    found = findings(settings, service)

    assert len(service.requests) == 4 * 2 + 4
    assert {method for method, _, _ in service.requests} == {"GET"}
    assert told(found, "requests") == ["ok: 12 requests about shares were sent; "]


@pytest.mark.parametrize(
    ("fault", "check", "sentence"),
    [
        ("clamped-pages:rows=15", "pages", "ok: a page holds at most 15 shares, whatever is asked for"),
        ("too-many-rows", "listing", "broken: 23 shares on the first page where 20 were asked for"),
        ("sort-by-backup-id", "order", "ok: sort_key=id sorts by the id of the backup"),
        ("ignored-sort-key", "order", "attention: the order is neither by share nor by backup"),
        ("ignored-sort-dir:always=desc", "order", "attention: the order is descending where ascending was"),
        ("ignored-sort-dir:always=asc", "direction", "attention: the order is not descending where that was"),
        ("ignored-offset", "offset", "attention: the page at offset 7 begins with the first share"),
        ("rounded-offset", "offset", "attention: the page at offset 7 begins with the first share"),
        ("next-links", "offset", "ok: offset is honoured; pages link to the next one (shared_links)"),
        ("ignored-filters", "filter", "broken: the backup_id filter is ignored: it shows"),
        ("empty-filters", "filter", "broken: the backup_id filter does not show a share that is there"),
        ("ignored-share-to-me", "listing", "broken: asked for incoming shares of project"),
        ("missing-count", "listing", "attention: 20 shares on the first page; there is no count (404)"),
        ("wrong-count:by=5", "pages", "attention: "),
        ("fixed-count:value=3", "listing", "attention: 20 shares on the first page, the count says 3"),
        ("empty-pages", "listing", "broken: 0 shares on the first page, the count says "),
        ("status:code=405,operation=detail", "listing", "broken: HTTP 405"),
        ("malformed-record:field=id,value=5,position=first", "listing", "attention: 1 of 20 shares on the first page"),
    ],
)
def test_what_a_service_does_otherwise_is_found(settings, service, fault, check, sentence):
    service.faults = [parse(fault)]

    assert any(text.startswith(sentence) for text in told(findings(settings, service), check))


def test_an_offset_that_is_ignored_is_broken_where_a_listing_is_longer_than_a_page(settings, service):
    service.faults = [parse("ignored-offset"), parse("clamped-pages:rows=15")]

    (text,) = told(findings(settings, service), "offset")
    assert text.startswith("broken: the page at offset 7 begins with the first share")


def test_a_service_without_shares_has_nothing_to_try_on(tmp_path, world):
    empty = make_service(World(projects=1, shares=0), token=CANARY)
    settings = isolated_settings(
        vbs_endpoint="http://127.0.0.1:9",
        vbs_token=CANARY,
        vbs_projects=empty.world.projects[0],
        data_dir=tmp_path / "d",
    )
    found = findings(settings, empty)

    assert ills(found) == []
    assert told(found, "pages") == ["ok: no share is shown on which order, pages and filter could be tried; "]
    assert len(empty.requests) == 4


def test_a_closed_project_does_not_stop_the_others(settings, service, world):
    service.faults = [Fault(project_id=world.projects[0], status=403)]
    found = findings(settings, service)

    assert ills(found) == [("listing", State.BROKEN)] * 2
    assert "the credential has no right to list shares in this project" in told(found, "listing")[0]
    assert told(found, "filter") == ["ok: the backup_id filter shows what is there, and nothing else; "]


def test_a_closed_cloud_does_not_stop_the_others(settings, service):
    def find(settings: Settings) -> list[Account]:
        (static,) = accounts(settings)
        closed = replace(static, cloud="closed", project_ids=(), problem="cloud closed: the login was refused")
        return [closed, replace(static, cloud="open")]

    found = findings(settings, service, find_accounts=find)

    assert ills(found) == [("credential", State.BROKEN)]
    assert told(found, "credential")[0] == "broken: cloud closed: the login was refused; "
    assert [each.about for each in found if each.check == "endpoint"] == ["cloud open"]


def test_of_two_clouds_of_clouds_yaml_the_one_with_a_wrong_password_is_told_after_one_login(
    tmp_path, monkeypatch, world
):
    service = Service(world)
    with serve(service) as url:
        good = yaml.safe_load(clouds_yaml(url, User()))["clouds"]["simulated"]
        bad = good | {"auth": good["auth"] | {"password": CANARY}}
        (tmp_path / "clouds.json").write_text(json.dumps({"clouds": {"bad": bad, "good": good}}))
        (tmp_path / "clouds.json").chmod(0o600)
        monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(tmp_path / "clouds.json"))
        found = list(examine(isolated_settings(vbs_clouds="bad,good", data_dir=tmp_path / "data")))

    assert ills(found) == [("credential", State.BROKEN)]
    refused, entered = told(found, "credential")
    assert "refused the login: HTTP 401; IAM.0062; Incorrect user name or password." in refused
    assert entered == "ok: logged in; 2 projects in region eu-de; "
    assert len([path for _, path, _ in service.requests if path == "/v3/auth/tokens"]) == 1 + 1 + 2
    assert CANARY not in "".join(map(repr, found))


def test_an_endpoint_that_shows_nothing_is_broken(settings, service):
    service.faults = [Fault(status=404)]

    assert told(findings(settings, service), "endpoint") == [
        "broken: http://127.0.0.1:9 shows no listing; see the listings"
    ]


def test_a_clock_that_is_wrong_is_found(settings, service):
    (text,) = told(findings(settings, service, now=lambda: NOW - timedelta(minutes=10)), "clock")

    assert text.startswith("attention: the clock of this machine is 600 s behind that of the service; set it")


def test_the_clock_of_a_service_that_tells_none_is_not_judged():
    assert judge_clock(None).found == "the service does not tell its time"
    assert judge_clock(-3600).found.startswith("the clock of this machine is 3600 s ahead of")
    wrong = judge_clock(-31_536_000)
    assert wrong.state is State.BROKEN
    assert wrong.found == "the clock of this machine is about 8,760 h ahead of that of the service"


# Settings


def test_a_wrong_setting_is_a_line_and_the_rest_goes_on(settings, service):
    found = findings(settings, service, ["VBS_PAGE_SIZE is not usable: it is 5"])

    assert ills(found) == [("settings", State.BROKEN)]
    assert found[0].judgement.is_configuration
    assert len(told(found, "listing")) == 4


def test_without_a_credential_the_machine_is_looked_at_all_the_same(synced, service):
    found = findings(synced.model_copy(update={"vbs_token": None}), service)

    assert ills(found) == [("settings", State.BROKEN)]
    assert told(found, "settings")[-1].startswith("broken: no credential is set")
    assert len(told(found, "history")) == 4
    assert told(found, "landing")[-1] == "ok: everything that is landed is recorded; "


# The landing and the warehouse


def test_after_a_sync_all_is_well_and_nothing_on_the_disk_has_changed(synced, service, tmp_path):
    def disk() -> dict[str, tuple[int, int]]:
        return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in tmp_path.rglob("*")}

    before = disk()
    found = findings(synced, service)

    assert ills(found) == []
    assert disk() == before
    assert told(found, "history") == ["ok: proven 0 min ago; "] * 4
    assert any("DuckDB" in text for text in told(found, "warehouse"))


def test_before_the_first_sync_nothing_is_made(settings, service, tmp_path):
    findings(settings, service)

    assert list(tmp_path.iterdir()) == []


def test_a_landing_that_others_can_look_into_is_told(synced, service):
    synced.landing_folder.chmod(0o755)

    assert f"attention: other users can look into it; chmod 700 {synced.landing_folder}" in told(
        findings(synced, service), "landing"
    )


def test_a_landing_where_a_file_stands_in_the_way_is_broken(settings, service, tmp_path):
    (tmp_path / "data").write_text("in the way")

    found = findings(settings, service)

    assert {check for check, _ in ills(found)} == {"landing", "warehouse"}
    assert told(found, "landing")[0].startswith(f"broken: {tmp_path / 'data'} is no folder")


def test_damaged_and_strange_files_are_named(synced, service):
    files = sorted(synced.landing_folder.glob("*/*/*/*.parquet"))
    files[0].write_bytes(files[0].read_bytes()[:-20])
    stranger = files[1].with_name("copy.parquet")
    stranger.write_bytes(files[1].read_bytes())

    lines = told(findings(synced, service), "landing")

    root = synced.landing_folder
    assert f"attention: {stranger.relative_to(root)} is no file of the landing; move it out of LANDING_DIR" in lines
    assert any(f"broken: landing file {files[0].relative_to(root)} is damaged" in line for line in lines)


def test_a_view_that_was_dropped_is_named(synced, service):
    with duckdb.connect(str(synced.data_dir / "warehouse.duckdb")) as connection:
        connection.execute("DROP VIEW quarantine")
    lacks = "lacks the views quarantine; `backup-shares migrate` as their owner or the next sync makes them"
    assert f"attention: {lacks}" in told(findings(synced, service), "warehouse")


def test_a_recorded_file_that_is_gone_is_broken(synced, service):
    gone = landed_files(synced.landing_folder)[0]
    gone.path.unlink()
    found = findings(synced, service)
    assert ills(found) == [("landing", State.BROKEN)]
    lines = told(found, "landing")
    assert any(f"1 files that are recorded are here no more, the first is {gone.name}; bring" in each for each in lines)


def test_of_many_damaged_files_ten_are_named_and_the_others_counted(settings, service, world):
    folder = settings.landing_folder / "eu-de" / world.projects[0] / "outgoing"
    folder.mkdir(parents=True, mode=0o700)
    for number in range(13):
        name = f"20260301T1230{number:02}000000Z_00000000-0000-0000-0000-{number:012}.parquet"
        (folder / name).write_bytes(b"no parquet")
    settings.landing_folder.chmod(0o700)

    lines = told(findings(settings, service), "landing")

    assert sum("is damaged" in line for line in lines) == 10
    assert "broken: 3 more files are not as they should be; " in lines


def test_observations_that_are_landed_and_not_recorded_are_counted(synced, service):
    observe(synced, service, at=NOW + timedelta(hours=1), sync_id="sync-2")

    found = findings(synced, service)

    assert ills(found) == [("landing", State.ATTENTION)]
    assert told(found, "landing")[-1] == "attention: 4 landed observations are not recorded; the next sync does it"


def test_observations_that_came_too_late_are_told_apart(synced, service):
    observe(synced, service, at=NOW - timedelta(hours=1), sync_id="sync-0")

    assert told(findings(synced, service), "landing")[-1].startswith(
        "attention: 0 landed observations wait to be recorded, 4 are older than what is recorded"
    )


def test_a_listing_without_a_recent_proof_is_told(synced, service):
    later = NOW + timedelta(days=3)
    service_then = make_service(service.world, token=CANARY, clock=lambda: later)

    found = findings(synced, service_then, now=lambda: later)

    assert ills(found) == [("history", State.ATTENTION)] * 4
    assert told(found, "history")[0].startswith("attention: proven 3 days ago; the last observation was covered")


def test_a_listing_whose_last_observation_failed_is_told_though_its_proof_is_young(synced, service, world):
    service.faults = [Fault(Operation.DETAIL, project_id=world.projects[0], status=403)]
    observe(synced, service, at=NOW + timedelta(hours=2), sync_id="sync-2")
    record(synced)
    service.faults = []

    lines = told(findings(synced, service, now=lambda: NOW + timedelta(hours=3)), "history")

    assert [line.split("; HTTP")[0][:80] for line in lines[:2]] == [
        "attention: proven 3 h ago; the last observation was failed: HTTP 403; APIG.0302;"
    ] * 2
    assert lines[2:] == ["ok: proven 1 h ago; "] * 2


def test_listings_that_are_new_and_listings_that_are_left_are_told(synced, service, world):
    fewer = synced.model_copy(update={"vbs_projects": world.projects[0], "vbs_region": "eu-nl"})

    renamed = (
        "attention: was never observed in region eu-nl, but in region eu-de; if that is the same cloud, call it eu-de "
        "again (VBS_REGION, or region_name in clouds.yaml); if it is another one, run "
        "`backup-shares sync --new-region` once"
    )
    assert told(findings(fewer, service), "history") == [
        renamed,
        renamed,
        "ok: 4 listings are kept that are not observed any more; ",
    ]


def test_a_project_that_nothing_is_known_of_asks_for_a_sync(synced, service):
    other = synced.model_copy(update={"vbs_projects": "c13f5220dc1949b0b741ea81a7cd5554"})
    assert told(findings(other, service), "history")[:2] == ["attention: was never observed; run a sync"] * 2


def test_a_proof_of_a_day_to_come_is_broken():
    judged = judge_history(NOW + timedelta(days=3650), 0, "covered", "", NOW)
    assert judged.state is State.BROKEN
    assert judged.found.endswith("a day to come")


def test_held_withdrawals_ask_for_a_look():
    judged = judge_history(NOW - timedelta(hours=5), 31, "covered", "held", NOW)

    assert (judged.state, judged.found) == (State.ATTENTION, "proven 5 h ago; 31 withdrawals are held")
    assert "--release-held" in judged.advice


def test_whoever_writes_the_warehouse_is_named(synced, service):
    lock = synced.data_dir / "warehouse.duckdb.lock"
    lock.write_text("4711")
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert "ok: process 4711 is writing it; a sync would wait (WAREHOUSE_WAIT); " in told(
            findings(synced, service), "warehouse"
        )
    assert ills(findings(synced, service)) == []


def test_a_log_of_another_program_is_broken(synced, service):
    (synced.data_dir / "warehouse.duckdb.wal").write_bytes(b"")

    assert (
        "broken: another program has it open for writing, or was killed while it had; "
        "close it, or delete warehouse.duckdb.wal" in told(findings(synced, service), "warehouse")
    )


def test_a_file_that_is_no_warehouse_is_broken(synced, service):
    (synced.data_dir / "warehouse.duckdb").write_bytes(b"no database" * 1000)

    found = findings(synced, service)

    assert ills(found) == [("warehouse", State.BROKEN)]
    assert told(found, "warehouse")[0].startswith("broken: the warehouse refused: ")


def test_a_warehouse_that_lacks_a_table_is_broken(synced, service):
    with duckdb.connect(str(synced.data_dir / "warehouse.duckdb")) as connection:
        connection.execute("DROP TABLE rejected_records")

    found = findings(synced, service)

    assert ills(found) == [("warehouse", State.BROKEN)]
    assert "its tables lack rejected_records: `backup-shares rebuild`" in told(found, "warehouse")[-1]


def test_a_history_that_breaks_a_promise_is_told(synced, service):
    with duckdb.connect(str(synced.data_dir / "warehouse.duckdb")) as connection:
        connection.execute("UPDATE observations SET shares_granted = 77 WHERE direction = 'incoming'")

    found = findings(synced, service)

    assert ills(found) == [("promises", State.BROKEN)]
    assert "I21, observations: the ledger counts 77 shares granted" in told(found, "promises")[0]


def test_a_warehouse_of_another_version_is_broken(synced, service):
    with duckdb.connect(str(synced.data_dir / "warehouse.duckdb")) as connection:
        connection.execute("UPDATE schema_version SET version = 99")
        connection.execute("DROP TABLE observed_drift")

    found = findings(synced, service)

    assert ills(found) == [("warehouse", State.BROKEN)]
    assert "newer version (99" in told(found, "warehouse")[-1]


def test_a_disk_that_fills_is_told_in_time():
    sizes = [2**40, 2**29, 2**20]
    assert [judge_space(size).state for size in sizes] == [State.OK, State.ATTENTION, State.BROKEN]
    assert judge_space(2**32, 2**32).state is State.BROKEN, "a sync needs room for a copy"


# The command


def test_the_command_prints_a_line_for_everything_and_exits_0(tmp_path, service):
    service.clock = utc_now  # that of the command
    with serve(service) as url:
        done = run_text(
            tmp_path, "doctor", VBS_ENDPOINT=url, VBS_TOKEN=CANARY, VBS_PROJECTS=",".join(service.world.projects)
        )

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("│ ok ") >= 15
    assert CANARY not in done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_command_exits_1_where_something_is_broken_and_steers_no_terminal(tmp_path, service):
    folder = tmp_path / "data" / "landing"
    folder.mkdir(parents=True, mode=0o700)
    (folder / "\x1b[2J.parquet").write_bytes(b"")
    service.faults = [Fault(Operation.DETAIL, status=403)]
    with serve(service) as url:
        done = run_text(
            tmp_path, "doctor", VBS_ENDPOINT=url, VBS_TOKEN=CANARY, VBS_PROJECTS=",".join(service.world.projects)
        )

    assert done.returncode == 1
    assert done.stdout.count("│ broken ") == 4 + 1
    assert re.search(r"^ok: \d+, attention: 1, broken: 5$", done.stdout, re.MULTILINE)
    assert "\\x1b[2J.parquet is no file of the landing" in done.stdout
    assert "\x1b" not in done.stdout


@pytest.mark.parametrize(
    ("environment", "check", "sentence"),
    [
        ({"VBS_TOKEN": f"{CANARY}\nX"}, "settings", "VBS_TOKEN must hold one token"),
        ({"VBS_CLOUDS": "otc"}, "settings", "VBS_CLOUDS and VBS_TOKEN or VBS_TOKEN_FILE are both set"),
        ({"VBS_ENDPOINT": "http://vbs.example.com"}, "settings", "VBS_ENDPOINT begins with http://"),
        ({"VBS_TOKEN": "", "VBS_CONCURRENCY": "many"}, "settings", "VBS_CONCURRENCY is not usable"),
        ({"VBS_TOKEN": "", "WAREHOUSE_URL": f"oracle://me:{CANARY}@db/x"}, "warehouse", "WAREHOUSE_URL is of the kind"),
    ],
)
def test_bad_configuration_is_a_line_exit_code_2_and_the_other_lines_come(tmp_path, environment, check, sentence):
    usual = {"VBS_ENDPOINT": "http://127.0.0.1:9", "VBS_TOKEN": CANARY, "VBS_PROJECTS": ELSEWHERE}
    done = run_text(tmp_path, "doctor", "--format", "json", **usual | environment)

    lines = json.loads(done.stdout)
    assert done.returncode == 2
    assert [line for line in lines if line["check"] == check and line["found"].startswith(sentence)]
    assert {"settings", "landing", "space", "warehouse"} <= {line["check"] for line in lines}
    is_told = any(line["found"].startswith("no credential is set") for line in lines)
    assert is_told == (environment.get("VBS_TOKEN") == ""), "what else is missing is told beside it"
    assert CANARY not in done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []
