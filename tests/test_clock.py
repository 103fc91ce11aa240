"""Clocks that jump, and days of 23 and 25 hours.

Not here: how a schedule is declared (test_definitions.py), waiting and deadlines (test_client.py).
"""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise, takewhile
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._utils.schedules import schedule_execution_time_iterator

from pipelines.definitions import JOB_NAME, build_definitions
from pipelines.defs.run import RunOutcome, run_job
from pipelines.landing import landed_files
from pipelines.publish import reading
from pipelines.rebuild import rebuild
from pipelines.settings import Settings, isolated_settings
from pipelines.simulator.service import Service
from pipelines.simulator.world import World
from tests.fakes import transport

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR, DAY, YEAR = timedelta(hours=1), timedelta(days=1), timedelta(days=365)


class Clocks:
    """The service's clock, which is right, and ours; syncs at any time of either."""

    def __init__(self, folder: Path) -> None:
        self.world = World(projects=1, shares=20)
        self.right = self.ours = NOON
        self.service = Service(self.world, token="token", clock=lambda: self.right)
        self.settings: Settings = isolated_settings(
            vbs_endpoint="https://vbs.example.com",
            vbs_region="r1",
            vbs_token="token",
            vbs_projects=self.world.projects[0],
            data_dir=folder / "data",
            vbs_requests_per_second=0,
            daily_report=False,
        )

    def sync(self, right: datetime, error: timedelta = timedelta(0)) -> RunOutcome:
        self.right, self.ours = right, right + error
        definitions = build_definitions(lambda: self.settings, transport=transport(self.service), now=lambda: self.ours)
        with dg.DagsterInstance.ephemeral() as instance:
            return run_job(definitions, JOB_NAME, instance, log_level="CRITICAL")

    def ask(self, sql: str) -> list[dict[str, Any]]:
        with reading(self.settings.warehouse_address()) as warehouse:
            assert warehouse is not None
            return warehouse.query(sql).to_pylist()

    def everything(self) -> list[list[dict[str, Any]]]:
        return [self.ask(f"SELECT * FROM {name} ORDER BY ALL") for name in ("observations", "backup_share_history")]


@pytest.fixture
def clocks(tmp_path: Path) -> Clocks:
    return Clocks(tmp_path)


@pytest.mark.parametrize("back", [HOUR / 2, timedelta(0)], ids=["half an hour back", "standing still"])
def test_after_a_clock_that_went_back_nothing_is_recorded_until_it_is_past_the_last_observation(
    clocks: Clocks, back: timedelta
) -> None:
    assert clocks.sync(NOON).succeeded
    before = clocks.everything()
    clocks.service.day = 1
    backwards = clocks.sync(NOON + timedelta(seconds=30), -back - timedelta(seconds=30))
    assert not backwards.succeeded
    refused = "a later observation of its listing was recorded first: only a rebuild can use it"
    assert backwards.failures[0].count(refused) == 2, "both listings"
    assert clocks.everything() == before
    assert clocks.sync(NOON + DAY).succeeded


@pytest.mark.parametrize(
    ("error", "told"),
    [(YEAR, "8,760 h ahead of"), (-DAY, "24 h behind"), (HOUR * 1.1, "1 h ahead of"), (-HOUR * 1.1, "1 h behind")],
)
def test_by_a_clock_that_is_wrong_nothing_is_observed_and_the_next_sync_needs_no_hands(
    clocks: Clocks, error: timedelta, told: str
) -> None:
    assert clocks.sync(NOON).succeeded
    before, landed = clocks.everything(), landed_files(clocks.settings.landing_folder)
    clocks.service.day = 1
    wrong = clocks.sync(NOON + DAY, error)
    assert not wrong.succeeded
    assert f"2 listings: the clock of this machine is about {told} that of the service" in wrong.failures[0]
    assert clocks.everything() == before
    assert landed_files(clocks.settings.landing_folder) == landed
    assert clocks.sync(NOON + 2 * DAY).succeeded
    assert clocks.ask("SELECT count(DISTINCT observed_at) AS days FROM observations") == [{"days": 2}]


def test_by_a_clock_that_is_half_an_hour_off_all_is_recorded_and_the_ledger_tells_it(clocks: Clocks) -> None:
    assert clocks.sync(NOON, HOUR / 2).succeeded
    assert clocks.sync(NOON + DAY).succeeded
    skews = clocks.ask("SELECT DISTINCT clock_skew_seconds AS skew FROM observations ORDER BY skew")
    assert [round(row["skew"], -2) for row in skews] == [-1800, 0], "a Date has whole seconds"


def test_what_was_observed_in_a_year_to_come_can_be_taken_out(clocks: Clocks) -> None:
    """As an earlier version recorded it, or where the service tells no time."""
    assert clocks.sync(NOON).succeeded
    assert clocks.sync(NOON + YEAR).succeeded
    assert not clocks.sync(NOON + 2 * DAY).succeeded, "older than what is recorded"
    for file in landed_files(clocks.settings.landing_folder):
        if file.observed_at > NOON + DAY * 3:
            file.path.unlink()
    rebuild(clocks.settings.warehouse_address(), clocks.settings.landing_folder, accept_loss=True)
    assert clocks.sync(NOON + 3 * DAY).succeeded
    assert clocks.ask("SELECT max(observed_at) AS last FROM observations") == [{"last": NOON + 3 * DAY}]
    assert clocks.ask("SELECT count(DISTINCT observed_at) AS days FROM observations") == [{"days": 3}]


# --- daylight saving --------------------------------------------------------------------------------------------------

ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Sao_Paulo", "Pacific/Apia"]


@pytest.fixture
def in_zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    def move(zone: str) -> None:
        monkeypatch.setenv("TZ", zone)
        time.tzset()

    yield move
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("zone", ZONES)
def test_there_is_one_run_a_day_whatever_the_zone_of_the_machine(in_zone: Callable[[str], None], zone: str) -> None:
    """Two years, with every change of the clock in them: at an hour that some days have twice, and others never."""
    in_zone(zone)
    definitions = build_definitions(lambda: isolated_settings(sync_hour=2))
    schedule = definitions.resolve_schedule_def(f"{JOB_NAME}_daily")
    begin, end = datetime(2025, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
    ticks = schedule_execution_time_iterator(begin.timestamp(), schedule.cron_schedule, schedule.execution_timezone)
    times = list(takewhile(lambda at: at < end, ticks))
    assert len(times) == 730
    assert {later - earlier for earlier, later in pairwise(times)} == {DAY}
    assert len({at.astimezone(UTC).date() for at in times}) == 730
    assert {at.astimezone(UTC).hour for at in times} == {2}


@pytest.mark.parametrize("zone", ZONES[1:3])
def test_the_day_of_a_snapshot_is_the_day_in_utc(clocks: Clocks, in_zone: Callable[[str], None], zone: str) -> None:
    in_zone(zone)
    late = datetime(2026, 3, 29, 23, 30, tzinfo=UTC)  # the next day in Berlin, whose clocks changed that morning
    assert clocks.sync(late).succeeded
    days = clocks.ask("SELECT DISTINCT snapshot_date AS day FROM backup_share_snapshots")
    assert days == [{"day": late.date()}]
