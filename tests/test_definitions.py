"""The Dagster graph as a whole, in process, against the simulator behind a mock transport."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from pydantic import SecretStr

from pipelines.definitions import JOB_NAME, build_definitions
from pipelines.defs.run import open_home, prepare_home, run_job
from pipelines.errors import ConfigurationError
from pipelines.landing import landed_files
from pipelines.load import load_pending
from pipelines.observation import Direction
from pipelines.publish import reading, warehouse_file, writing
from pipelines.rebuild import verify
from pipelines.settings import Settings, isolated_settings
from pipelines.simulator.faults import Fault, Operation, parse
from pipelines.simulator.iam import Account
from pipelines.simulator.scenario import Malformed, Scenario
from pipelines.simulator.server import serve
from pipelines.simulator.service import Service
from pipelines.simulator.world import World
from tests.fakes import transport
from tests.postgres import Server
from tests.truth import canonical, share_row

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
CANARY = "gAAAA-canary-token-that-must-never-be-seen"


@pytest.fixture
def world() -> World:
    return World(projects=2, shares=30)


@pytest.fixture
def service(world: World) -> Service:
    return Service(world, token=CANARY, clock=lambda: NOON)


@pytest.fixture
def settings(world: World, tmp_path: Path) -> Settings:
    return isolated_settings(
        vbs_endpoint="https://vbs.example.com",
        vbs_region="r1",
        vbs_token=CANARY,
        vbs_projects=",".join(world.projects),
        data_dir=tmp_path / "data",
        vbs_requests_per_second=0,
        daily_report=False,
    )


def opened(home: Path | None) -> dg.DagsterInstance:
    """Dagster with a home on the disk, or with none: then it keeps nothing of a run, and is quicker."""
    return open_home(home) if home else dg.DagsterInstance.ephemeral()


def sync(settings: Settings, service: Service, now: datetime = NOON, home: Path | None = None, **more: Any) -> Any:
    """One run of the job."""
    service.clock = lambda: now
    definitions = build_definitions(lambda: settings, transport=transport(service), now=lambda: now)
    with opened(home) as instance:
        return run_job(definitions, JOB_NAME, instance, log_level="DEBUG", **more)


def ask(settings: Settings, sql: str) -> list[dict[str, Any]]:
    with reading(settings.warehouse_address()) as warehouse:
        assert warehouse is not None
        return warehouse.query(sql).to_pylist()


def truth(service: Service, world: World) -> dict[str, dict[str, Any]]:
    listings = {
        (project, str(direction)): service.listing(project, direction)
        for project in world.projects
        for direction in Direction
    }
    return canonical(listings, share_row, "share_id")


def test_a_sync_publishes_every_share_of_every_listing(settings: Settings, service: Service, world: World) -> None:
    outcome = sync(settings, service)

    assert outcome.succeeded, outcome.failures
    columns = ", ".join(next(iter(truth(service, world).values())))
    shares = {row["share_id"]: row for row in ask(settings, f"SELECT {columns} FROM backup_shares")}
    assert shares == truth(service, world)
    ledger = ask(settings, "SELECT status, may_close, sync_id FROM observations")
    assert ledger == [{"status": "covered", "may_close": True, "sync_id": outcome.sync_id}] * 4


def test_the_graph_is_one_line_from_pages_to_reports() -> None:
    graph = build_definitions(isolated_settings).resolve_asset_graph()
    parents = {
        key.to_user_string(): sorted(parent.to_user_string() for parent in graph.get(key).parent_keys)
        for key in graph.get_all_asset_keys()
    }

    assert parents == {
        "backup_share_pages": [],
        "staged_backup_shares": ["backup_share_pages"],
        "staged_backups": ["backup_share_pages"],
        "backup_share_history": ["staged_backup_shares", "staged_backups"],
        "backup_history": ["staged_backup_shares", "staged_backups"],
        "sync_report": ["backup_history", "backup_share_history"],
        "daily_report": ["backup_history", "backup_share_history"],
    }


def test_the_schedule_is_daily_in_utc_at_the_configured_hour_and_on() -> None:
    definitions = build_definitions(lambda: isolated_settings(sync_hour=7))
    schedule = definitions.resolve_schedule_def("sync_backup_shares_daily")

    assert schedule.cron_schedule == "0 7 * * *"
    assert schedule.execution_timezone == "UTC"
    assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING


def test_a_failed_listing_turns_the_run_red_after_the_others_are_published(
    settings: Settings, service: Service, world: World
) -> None:
    settings = settings.model_copy(update={"daily_report": True})
    revoked = world.projects[0]
    service.faults = [Fault(Operation.DETAIL, project_id=revoked, status=403)]

    outcome = sync(settings, service)

    assert not outcome.succeeded
    (told,) = outcome.failures
    assert told.startswith("2 of 4 listings are not proven; the others are published.")
    assert f"outgoing {revoked}: failed, HTTP 403" in told
    assert "grant it, or remove the project" in told
    published = {row["project_id"] for row in ask(settings, "SELECT DISTINCT project_id FROM backup_shares")}
    assert published == {world.projects[1]}
    page = (settings.reports_folder / "latest.html").read_text(encoding="utf-8")
    assert "2 of 4 listings are not proven" in page


def test_a_red_day_changes_nothing_of_its_listing_and_the_next_day_recovers(
    settings: Settings, service: Service, world: World
) -> None:
    sync(settings, service)
    before = ask(settings, "SELECT * FROM backup_share_history ORDER BY ALL")
    service.faults = [Fault(status=500)]
    sync(settings, service, NOON + timedelta(days=1))
    during = ask(settings, "SELECT * FROM backup_share_history ORDER BY ALL")
    service.faults = []
    service.day = 2
    recovered = sync(settings, service, NOON + timedelta(days=2))

    assert during == before
    assert recovered.succeeded, recovered.failures
    current = {row["share_id"] for row in ask(settings, "SELECT share_id FROM backup_shares")}
    assert current == set(truth(service, world))


def test_an_unreachable_service_publishes_nothing_and_says_so(settings: Settings, tmp_path: Path) -> None:
    dead = isolated_settings(**settings.model_dump() | {"vbs_endpoint": "http://127.0.0.1:9", "vbs_token": CANARY})
    definitions = build_definitions(lambda: dead, now=lambda: NOON)

    with open_home(tmp_path / "home") as instance:
        outcome = run_job(definitions, JOB_NAME, instance, log_level="CRITICAL")

    assert not outcome.succeeded
    assert "4 of 4 listings are not proven" in outcome.failures[0]
    assert "no answer from 127.0.0.1:9: connection refused; " in outcome.failures[0]
    assert ask(dead, "SELECT count(*) AS n FROM backup_share_history") == [{"n": 0}]


@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        ({"vbs_endpoint": None}, "VBS_ENDPOINT is not set"),
        ({"vbs_projects": ""}, "VBS_PROJECTS is not set"),
        ({"vbs_token": None}, "no credential is set"),
        ({"vbs_token": f"{CANARY}\nX: y"}, "VBS_TOKEN must hold one token"),
    ],
)
def test_bad_configuration_fails_the_run_with_one_sentence_and_no_request(
    settings: Settings, service: Service, broken: dict[str, Any], sentence: str
) -> None:
    bad = isolated_settings(**settings.model_dump() | {"vbs_token": CANARY} | broken)

    outcome = sync(bad, service)

    assert not outcome.succeeded
    assert outcome.failures[0].startswith(sentence)
    assert "\n" not in outcome.failures[0]
    assert service.requests == []


def test_a_failure_that_nobody_foresaw_is_told_with_its_traceback_and_in_a_line(
    settings: Settings, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def broken(_: Any) -> Any:
        raise RuntimeError("nobody foresaw this")

    definitions = build_definitions(lambda: settings, find_accounts=broken, now=lambda: NOON)

    with open_home(tmp_path / "home") as instance:
        outcome = run_job(definitions, JOB_NAME, instance)

    assert outcome.failures == ["backup_share_pages: RuntimeError: nobody foresaw this"]
    told = capfd.readouterr().err
    assert told.count("RuntimeError: nobody foresaw this") == 1
    assert f'File "{__file__}", line' in told


def test_a_run_that_was_interrupted_says_so(
    settings: Settings, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_: Any) -> Any:
        raise dg.DagsterExecutionInterruptedError

    definitions = build_definitions(lambda: settings, find_accounts=interrupted, now=lambda: NOON)

    with open_home(tmp_path / "home") as instance:
        assert not run_job(definitions, JOB_NAME, instance).succeeded

    assert "Execution was interrupted unexpectedly" in capfd.readouterr().err


def test_pages_that_were_landed_but_not_recorded_are_recorded_by_materializing_the_histories(
    settings: Settings, service: Service, world: World
) -> None:
    definitions = build_definitions(lambda: settings, transport=transport(service), now=lambda: NOON)
    with dg.DagsterInstance.ephemeral() as instance:
        job = definitions.resolve_job_def(JOB_NAME)
        pages, histories = dg.AssetKey("backup_share_pages"), ["backup_share_history", "backup_history"]
        assert job.execute_in_process(instance=instance, asset_selection=[pages]).success
        keys = [dg.AssetKey(name) for name in histories]
        assert job.execute_in_process(instance=instance, asset_selection=keys).success

    current = {row["share_id"] for row in ask(settings, "SELECT share_id FROM backup_shares")}
    assert current == set(truth(service, world))


def test_while_the_server_of_the_warehouse_is_down_pages_are_kept_and_the_next_sync_records_both_days(
    settings: Settings, service: Service, world: World, postgres_server: Server
) -> None:
    address = postgres_server.create_database()
    settings = settings.model_copy(update={"warehouse_url": SecretStr(address)})
    assert sync(settings, service).succeeded
    service.day = 1
    postgres_server.stop_immediate()

    outcome = sync(settings, service, NOON + timedelta(days=1))

    assert not outcome.succeeded
    assert any("the warehouse refused: connection failed" in told for told in outcome.failures), outcome.failures
    assert len(landed_files(settings.landing_folder)) == 8, "both days of both directions of two projects"
    postgres_server.restart()
    service.day = 2
    assert sync(settings, service, NOON + timedelta(days=2)).succeeded
    assert verify(address, settings.landing_folder) is None
    told = ask(settings, "SELECT snapshot_date, share_id FROM backup_share_snapshots")
    shown, true = [], []
    for number in range(3):
        service.day, day = number, NOON.date() + timedelta(days=number)
        shown.append({row["share_id"] for row in told if row["snapshot_date"] == day})
        true.append(set(truth(service, world)))
    assert (shown[0], shown[2]) == (true[0], true[2])
    # What had been known could not be told on the second day, so nobody asked about the shares that were gone.
    assert shown[1] == true[0] | true[1]
    quiet, why = (row["reason"] for row in ask(settings, "SELECT DISTINCT reason FROM observations ORDER BY reason"))
    assert quiet == ""
    assert why.startswith("nothing is recorded as withdrawn, for it is not known")


def test_a_promise_of_the_history_that_is_broken_turns_the_run_red_and_is_told(
    settings: Settings, service: Service
) -> None:
    assert sync(settings, service).succeeded
    with writing(settings.warehouse_address()) as warehouse, warehouse._engine.begin() as connection:
        connection.exec_driver_sql("UPDATE observations SET shares_granted = 77 WHERE direction = 'incoming'")

    outcome = sync(settings, service, NOON + timedelta(days=1))

    assert not outcome.succeeded
    (told,) = outcome.failures
    assert told.startswith("2 promises of the history are broken: compare it with `backup-shares rebuild --verify`")
    assert "I21, observations: the ledger counts 77 shares granted" in told


def test_materializations_carry_row_counts_schemas_and_the_table_of_listings(
    settings: Settings, service: Service, world: World
) -> None:
    definitions = build_definitions(lambda: settings, transport=transport(service), now=lambda: NOON)
    with dg.DagsterInstance.ephemeral() as instance:
        result = definitions.resolve_job_def(JOB_NAME).execute_in_process(instance=instance)
    told = [event.step_materialization_data.materialization for event in result.get_asset_materialization_events()]
    seen = {materialization.asset_key.to_user_string(): materialization.metadata for materialization in told}

    rows = sum(len(service.listing(project, way)) for project in world.projects for way in Direction)
    assert seen["backup_share_history"]["dagster/row_count"].value == rows
    assert seen["staged_backup_shares"]["dagster/row_count"].value == rows
    schema = seen["backup_share_history"]["dagster/column_schema"].value
    assert [column.name for column in schema.columns][3:6] == ["share_id", "backup_id", "from_project_id"]
    assert all(column.description for column in schema.columns)
    listed = seen["sync_report"]["listings"].records
    assert [record.data["status"] for record in listed] == ["covered"] * 4
    assert seen["sync_report"]["proven"].value == 4


def test_no_secret_is_found_in_anything_that_a_sync_writes(
    settings: Settings, service: Service, capfd: pytest.CaptureFixture[str]
) -> None:
    service.faults = [Fault(Operation.DETAIL, nth=1, status=401), Fault(Operation.COUNT, nth=2, status=500)]
    sync(settings, service, home=settings.data_dir / "dagster_home")

    written = [path for path in settings.data_dir.rglob("*") if path.is_file()]
    assert len(written) > 5
    for path in written:
        content = path.read_bytes()
        assert CANARY.encode() not in content, path
        assert b"VKSECRET" not in content, path
    assert CANARY not in "".join(capfd.readouterr())


def test_key_material_reaches_neither_landing_nor_quarantine(
    settings: Settings, service: Service, world: World
) -> None:
    """Compressed files hide a secret from a plain search, so they are read as what they are."""
    from pipelines.landing import landed_files, read_pages

    served = [record["backup"]["service_metadata"] or "" for record in world.shares(0)]
    assert any("VKSECRET" in text for text in served), "the world must have key material to lose"
    sync(settings, service)

    bodies = [body for file in landed_files(settings.landing_folder) for body in read_pages(file)]
    assert bodies
    assert all(b"VKSECRET" not in body for body in bodies)


def test_a_damaged_landing_file_is_named_and_blocks_only_its_own_listing(
    settings: Settings, service: Service, world: World
) -> None:
    from pipelines.landing import landed_files

    definitions = build_definitions(lambda: settings, transport=transport(service), now=lambda: NOON)
    with dg.DagsterInstance.ephemeral() as instance:
        job = definitions.resolve_job_def(JOB_NAME)
        job.execute_in_process(instance=instance, asset_selection=[dg.AssetKey("backup_share_pages")])
    damaged = landed_files(settings.landing_folder)[0]
    damaged.path.write_bytes(damaged.path.read_bytes()[:-100])

    outcome = sync(settings, service, NOON + timedelta(days=1))

    assert not outcome.succeeded
    assert f"landing file {damaged.name} is damaged" in outcome.failures[0]
    proven = ask(settings, "SELECT DISTINCT project_id, direction FROM observations")
    assert len(proven) == 3


def test_a_recorded_file_that_is_gone_is_told_by_the_next_sync(settings: Settings, service: Service, capfd) -> None:
    from pipelines.landing import landed_files

    assert sync(settings, service).succeeded
    assert "LANDING_DIR no more" not in capfd.readouterr().err
    lost = landed_files(settings.landing_folder)[0]
    lost.path.unlink()
    outcome = sync(settings, service, NOON + timedelta(days=1))
    assert outcome.succeeded, outcome.failures
    assert f"1 files that are recorded are in LANDING_DIR no more, the first is {lost.name}" in capfd.readouterr().err


def test_a_run_that_observed_nothing_is_not_green(settings: Settings, service: Service) -> None:
    sync(settings, service)
    definitions = build_definitions(lambda: settings, transport=transport(service), now=lambda: NOON)
    with dg.DagsterInstance.ephemeral() as instance:
        result = definitions.resolve_job_def(JOB_NAME).execute_in_process(
            instance=instance, asset_selection=[dg.AssetKey("sync_report")], raise_on_error=False
        )

    assert not result.success


def test_a_listing_with_many_unreadable_records_turns_the_run_red_and_loads_the_others(
    settings: Settings, world: World
) -> None:
    project = world.projects[0]
    outgoing = world.listing(0, project, Direction.OUTGOING)
    broken = [Malformed(record["id"], (0,), backup_fields={"size": "12"}) for record in outgoing[:2]]
    service = Service(world, token=CANARY, clock=lambda: NOON, scenario=Scenario(malformed=tuple(broken)))

    outcome = sync(settings, service)

    assert not outcome.succeeded
    assert f"outgoing {project}: 2 records could not be read, see rejected_records" in outcome.failures[0]
    found = ask(
        settings, f"SELECT share_id FROM backup_shares WHERE project_id = '{project}' AND direction = 'outgoing'"
    )
    assert {row["share_id"] for row in found} == {record["id"] for record in outgoing[2:]}


def test_the_home_of_dagster_is_made_and_keeps_telemetry_off(tmp_path: Path) -> None:
    home = prepare_home(tmp_path / "new" / "home")

    assert home.is_absolute()
    assert "telemetry: {enabled: false}" in (home / "dagster.yaml").read_text()


@pytest.mark.parametrize("name", ["a%41b", "a?b"])
def test_a_home_that_dagster_would_misread_is_refused_in_a_sentence(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match="DATA_DIR or DAGSTER_HOME"):
        prepare_home(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


# Clouds instead of a static token: the login is real, over a port, as keystoneauth1 knows no mock transport


@pytest.fixture
def in_clouds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Settings]:
    """Writes clouds.yaml, from the name to the auth of each cloud, and gives the settings for them."""

    def write(**clouds: dict[str, str]) -> Settings:
        user = {"username": "demo", "password": PASSWORD, "user_domain_name": "demo-domain"}
        content = {name: {"auth": user | auth, "region_name": "eu-de"} for name, auth in clouds.items()}
        path = tmp_path / "clouds.yaml"
        path.write_text(json.dumps({"clouds": content}))
        path.chmod(0o600)
        monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(path))
        return isolated_settings(vbs_clouds=",".join(clouds), data_dir=tmp_path / "data", daily_report=False)

    return write


def run(settings: Settings, home: Path | None = None) -> Any:
    definitions = build_definitions(lambda: settings, now=lambda: NOON)
    with opened(home) as instance:
        return run_job(definitions, JOB_NAME, instance, log_level="DEBUG")


def logins(service: Service) -> int:
    return sum(path == "/v3/auth/tokens" for _, path, _ in service.requests)


PASSWORD = "canary-password-that-must-never-be-seen"
USER = Account(password=PASSWORD)


def test_a_sync_of_two_clouds_publishes_both(in_clouds: Callable[..., Settings]) -> None:
    one, two = (Service(World(seed=seed, projects=2, shares=20), account=USER, clock=lambda: NOON) for seed in (1, 2))
    with serve(one) as first, serve(two) as second:
        settings = in_clouds(one={"auth_url": first}, two={"auth_url": second})
        outcome = run(settings)

    assert outcome.succeeded, outcome.failures
    assert (logins(one), logins(two)) == (3, 3)
    published = {row["share_id"] for row in ask(settings, "SELECT share_id FROM backup_shares WHERE region = 'eu-de'")}
    assert published == set(truth(one, one.world)) | set(truth(two, two.world))


def test_a_cloud_that_refuses_the_login_turns_the_run_red_and_the_others_are_published(
    in_clouds: Callable[..., Settings], service: Service, capfd: pytest.CaptureFixture[str]
) -> None:
    service = Service(service.world, account=USER, clock=lambda: NOON)
    shut = Service(World(seed=2, projects=2, shares=20), account=USER, clock=lambda: NOON)
    with serve(service) as first, serve(shut) as second:
        settings = in_clouds(shut={"auth_url": second, "password": f"wrong-{PASSWORD}"}, open={"auth_url": first})
        outcome = run(settings)

    assert not outcome.succeeded
    (told,) = outcome.failures
    assert told.startswith(
        "All 4 listings that were observed are proven and published. Look at this:\ncloud shut: the identity service"
    )
    assert "refused the login: HTTP 401; IAM.0062" in told
    assert logins(shut) == 1
    assert {row["share_id"] for row in ask(settings, "SELECT share_id FROM backup_shares")} == set(
        truth(service, service.world)
    )
    assert "cloud shut: the identity service" in "".join(capfd.readouterr()), "it is in the log as well"


def test_clouds_that_all_refuse_the_login_leave_the_history_alone_and_say_so(
    in_clouds: Callable[..., Settings], world: World
) -> None:
    service = Service(world, account=USER, clock=lambda: NOON)
    with serve(service) as url:
        settings = in_clouds(sim={"auth_url": url})
        assert run(settings).succeeded
        before = ask(settings, "SELECT * FROM backup_share_history ORDER BY ALL")
        settings = in_clouds(sim={"auth_url": url, "password": "wrong"})
        before_that = len(service.requests)
        outcome = run(settings)

    assert not outcome.succeeded
    assert "cloud sim: the identity service" in outcome.failures[0]
    assert [path for _, path, _ in service.requests[before_that:]] == ["/v3/auth/tokens"]
    assert ask(settings, "SELECT * FROM backup_share_history ORDER BY ALL") == before


# --- withdrawals ------------------------------------------------------------------------------------------------------


def crowd(settings: Settings) -> tuple[World, Settings]:
    """A world in which every listing of the first project is large enough to be worth a question."""
    world = World(projects=1, shares=120)
    return world, settings.model_copy(update={"vbs_projects": world.projects[0]})


def shares_of(settings: Settings, direction: str) -> set[str]:
    told = ask(settings, f"SELECT share_id FROM backup_shares WHERE direction = '{direction}'")
    return {row["share_id"] for row in told}


def test_a_listing_that_loses_very_much_is_held_until_a_person_releases_it(settings: Settings) -> None:
    world, settings = crowd(settings)
    service = Service(world, token=CANARY, clock=lambda: NOON)
    assert sync(settings, service).succeeded
    outgoing, incoming = (shares_of(settings, str(direction)) for direction in Direction)
    assert len(outgoing) > 20

    gone = [parse("empty-pages:rate=1,direction=outgoing"), parse("fixed-count:value=0,direction=outgoing")]
    service.faults = gone
    held = sync(settings, service, NOON + timedelta(days=1))
    assert not held.succeeded
    assert f"{len(outgoing)} of {len(outgoing)} known shares are absent at once" in held.failures[0]
    assert "--release-held" in held.failures[0]
    assert (shares_of(settings, "outgoing"), shares_of(settings, "incoming")) == (outgoing, incoming)
    assert ask(settings, "SELECT max(held_count) AS n FROM observations") == [{"n": len(outgoing)}]

    service.faults = gone
    released = sync(settings, service, NOON + timedelta(days=2), release_held=True)
    assert released.succeeded, released.failures
    assert (shares_of(settings, "outgoing"), shares_of(settings, "incoming")) == (set(), incoming)
    withdrawn = ask(settings, "SELECT share_id, change_date FROM backup_share_changes WHERE change_type = 'withdrawn'")
    assert {row["share_id"] for row in withdrawn} == outgoing
    assert {row["change_date"] for row in withdrawn} == {(NOON + timedelta(days=2)).date()}


def test_a_region_that_was_renamed_records_no_share_twice_until_a_person_says_that_it_is_another(
    settings: Settings, service: Service, world: World
) -> None:
    assert sync(settings, service).succeeded
    count = "SELECT region, count(*) AS shares FROM backup_shares GROUP BY region ORDER BY region"
    before = ask(settings, count)

    renamed = settings.model_copy(update={"vbs_region": "r2"})
    requests = len(service.requests)
    refused = sync(renamed, service, NOON + timedelta(days=1))
    assert refused.failures[0].splitlines() == [
        "No listing was observed.",
        f"{2 * len(world.projects)} listings: the project was never observed in region r2, but in region r1, so "
        "nothing was observed: if that is the same cloud, call it r1 again (VBS_REGION, or region_name in "
        "clouds.yaml); if it is another one, run `backup-shares sync --new-region` once",
    ]
    assert len(service.requests) == requests
    assert ask(settings, count) == before

    assert sync(renamed, service, NOON + timedelta(days=2), new_region=True).succeeded
    assert sync(renamed, service, NOON + timedelta(days=3)).succeeded, "it is known by now"
    assert ask(settings, count) == [*before, {**before[0], "region": "r2"}]
    assert sync(settings, service, NOON + timedelta(days=4)).succeeded, "and the first one still is"


def test_a_region_that_is_landed_and_not_recorded_is_known(settings: Settings, service: Service) -> None:
    assert sync(settings, service).succeeded
    (settings.data_dir / "warehouse.duckdb").unlink()
    refused = sync(settings.model_copy(update={"vbs_region": "r2"}), service, NOON + timedelta(days=1))
    assert "never observed in region r2, but in region r1" in refused.failures[0]


def test_what_is_held_ends_by_itself_when_the_shares_are_back(settings: Settings) -> None:
    world, settings = crowd(settings)
    service = Service(world, token=CANARY, clock=lambda: NOON)
    assert sync(settings, service).succeeded
    before = ask(settings, "SELECT * FROM backup_share_history ORDER BY ALL")
    service.faults = [parse("empty-pages:rate=1"), parse("fixed-count:value=0")]
    assert not sync(settings, service, NOON + timedelta(days=1)).succeeded
    service.faults = []
    assert sync(settings, service, NOON + timedelta(days=2)).succeeded
    assert ask(settings, "SELECT * FROM backup_share_history ORDER BY ALL") == before


def test_a_withdrawal_is_confirmed_and_made_again_from_the_landing_alone(
    settings: Settings, service: Service, world: World
) -> None:
    """No request is needed for a rebuild: what the service said is in the landing."""
    for day in range(4):
        service.day = day
        assert sync(settings, service, NOON + timedelta(days=day)).succeeded
    tables = ("backup_share_history", "backup_history", "observations")
    before = {name: ask(settings, f"SELECT * FROM {name} ORDER BY ALL") for name in tables}
    closed = [row for row in before["backup_share_history"] if row["closed_by"]]
    assert closed
    warehouse_file(settings.warehouse_address()).unlink()
    with writing(settings.warehouse_address()) as warehouse:
        assert load_pending(warehouse, settings.landing_folder, settings.staging_folder) == []
    assert {name: ask(settings, f"SELECT * FROM {name} ORDER BY ALL") for name in tables} == before


def test_no_secret_of_a_cloud_is_found_in_anything_that_a_sync_writes(
    in_clouds: Callable[..., Settings], world: World, capfd: pytest.CaptureFixture[str]
) -> None:
    issued: list[bytes] = []

    class Recording(Service):
        def respond(self, request: Any) -> Any:
            response = super().respond(request)
            issued.append((response.header("X-Subject-Token") or "").encode())
            return response

    service = Recording(world, account=USER)
    with serve(service) as url:
        settings = in_clouds(sim={"auth_url": url})
        home = settings.data_dir / "dagster_home"
        run(settings, home)
        service.faults = [Fault(Operation.DETAIL, nth=1, status=401), Fault(Operation.TOKEN, nth=2, status=503)]
        run(settings, home)
        service.faults = [Fault(Operation.TOKEN, status=401)]
        run(settings, home)

    secrets = [PASSWORD.encode(), *filter(None, issued)]
    assert len(secrets) > 5
    written = [path for path in settings.data_dir.rglob("*") if path.is_file()]
    for content in [path.read_bytes() for path in written] + ["".join(capfd.readouterr()).encode()]:
        assert not any(secret in content for secret in secrets)
