"""The fault matrix through the whole Dagster job, and partial estates (4.7): what the operator reads of a run.

A few rows of every section strike on one day, each at a project of its own.
Not here: the rows through the verbs (test_fault_matrix.py).
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from pipelines.cli import main
from pipelines.definitions import JOB_NAME, build_definitions
from pipelines.defs.run import RunOutcome, open_home, run_job
from pipelines.landing import landed_files, read_pages
from pipelines.observation import Direction, Listing
from pipelines.publish import reading
from pipelines.settings import Settings, isolated_settings
from pipelines.simulator.behaviour import Behaviour
from pipelines.simulator.faults import parse
from pipelines.simulator.records import KEY_MATERIAL_MARK
from pipelines.simulator.server import serve
from pipelines.simulator.service import Service
from pipelines.simulator.world import World
from tests.estate import FIRST_DAY, LISTINGS, TOKEN, Telltale, estate_at, spellings
from tests.fakes import transport
from tests.oracle import dump
from tests.truth import canonical, share_row

WORLD = World(seed=9, projects=12, shares=700, new_rate=0.1, withdrawn_rate=0.07, change_rate=0.1)
ROWS = {
    "status:code=403": "HTTP 403; APIG.0302; ",
    "status:code=400,operation=detail,nth=1-": "check VBS_PAGE_SIZE and the project id",
    "redirect:to=other-host": "a redirect to other.example was not followed",
    "error-in-200:operation=detail": "200 with an error: ",
    "wrong-shape:kind=null,operation=detail": "`shared` is null where a list was expected; nothing is taken for empty",
    "repeated-key:operation=count": "`count` stands twice in the answer",
    "empty-pages": "the first page is empty, the service counts ",
    "wrong-count": "the service counts ",
    "malformed-record:position=all,field=backup.size": "could not be read, see rejected_records",
}
"""What strikes, and what the line about its listing says. The projects that are left are healthy."""
HEALTHY = WORLD.projects[len(ROWS) :]


@dataclass
class Days:
    """Three runs of the job in one home, the second one struck."""

    settings: Settings
    service: Service
    outcomes: list[RunOutcome]
    tables: list[dict[str, Any]]
    truths: list[dict[str, Any]]
    printed: str


@pytest.fixture(scope="module")
def days(tmp_path_factory: pytest.TempPathFactory) -> Days:
    folder = tmp_path_factory.mktemp("job")
    service = Service(WORLD, token=TOKEN, clock=lambda: FIRST_DAY, sleep=lambda seconds: None)
    settings = isolated_settings(
        vbs_endpoint="https://vbs.example.com",
        vbs_region="r1",
        vbs_token=TOKEN,
        vbs_projects=",".join(WORLD.projects),
        vbs_page_size=20,
        data_dir=folder / "data",
        vbs_requests_per_second=0,
        daily_report=False,
    )
    found = Days(settings, service, [], [], [], "")
    struck = [strike(text, project) for text, project in zip(ROWS, WORLD.projects, strict=False)]
    printed = folder / "printed"
    with printed.open("w") as out, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "stderr", out)
        for day, faults in enumerate(([], struck, [])):
            service.faults, service.day = [*faults, Telltale()], day
            found.outcomes.append(run(settings, service, FIRST_DAY + timedelta(days=day)))
            with reading(settings.warehouse_address()) as warehouse:
                assert warehouse is not None
                found.tables.append(dump(warehouse))
            found.truths.append(truth(service))
    found.printed = printed.read_text()
    return found


def strike(text: str, project: str) -> Behaviour:
    fault = parse(text)
    return type(fault)(**vars(fault) | {"project_id": project})


def run(settings: Settings, service: Service, now: datetime) -> RunOutcome:
    service.clock = lambda: now
    definitions = build_definitions(lambda: settings, transport=transport(service), now=lambda: now)
    with open_home(settings.data_dir / "dagster_home") as instance:
        return run_job(definitions, JOB_NAME, instance, log_level="DEBUG")


def truth(service: Service) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (project, str(way)): canonical({(project, str(way)): service.listing(project, way)}, share_row, "share_id")
        for project in WORLD.projects
        for way in Direction
    }


def open_shares(tables: dict[str, Any], project: str, way: str) -> set[str]:
    return {
        row[3]
        for row in tables["backup_share_history"]
        if row[1:3] == (project, way) and any(isinstance(each, datetime) and each.year == 9999 for each in row)
    }


def history(tables: dict[str, Any], project: str) -> list[Any]:
    return [row for name in ("backup_share_history", "backup_history") for row in tables[name] if row[1] == project]


def test_a_healthy_day_is_green_and_true(days: Days) -> None:
    for day in (0, 2):
        assert days.outcomes[day].succeeded, days.outcomes[day].failures
        for (project, way), expected in days.truths[day].items():
            assert open_shares(days.tables[day], project, way) == set(expected)


@pytest.mark.parametrize("fault", ROWS)
def test_the_operator_reads_one_line_for_each_listing_that_failed(days: Days, fault: str) -> None:
    project = WORLD.projects[list(ROWS).index(fault)]
    (told,) = days.outcomes[1].failures
    lines = [line for line in told.split("\n") if project in line]
    assert lines
    assert all(line.startswith((f"outgoing {project}: ", f"incoming {project}: ")) for line in lines)
    assert all(ROWS[fault] in line for line in lines), lines
    assert not any(char < " " for line in lines for char in line)


@pytest.mark.parametrize("fault", [fault for fault in ROWS if not fault.startswith("malformed")])
def test_what_failed_changed_nothing(days: Days, fault: str) -> None:
    project = WORLD.projects[list(ROWS).index(fault)]
    assert history(days.tables[1], project) == history(days.tables[0], project)


def test_the_others_are_published_on_the_same_day(days: Days) -> None:
    assert not days.outcomes[1].succeeded
    assert (
        f"{2 * len(ROWS) - 2} of 24 listings are not proven; the others are published." in days.outcomes[1].failures[0]
    )
    for project in HEALTHY:
        for way in ("outgoing", "incoming"):
            assert open_shares(days.tables[1], project, way) == set(days.truths[1][project, way])


def test_no_secret_is_in_anything_that_the_runs_wrote_or_printed(days: Days) -> None:
    looked_at = {"printed": days.printed, "told": repr([outcome.failures for outcome in days.outcomes])}
    looked_at["tables"] = repr(days.tables)
    for path in days.settings.data_dir.rglob("*"):
        if path.is_file():
            looked_at[str(path)] = path.read_bytes().decode("latin-1")
    for file in landed_files(days.settings.landing_folder):
        looked_at[file.name] = b"".join(read_pages(file)).decode()
    assert len(looked_at) > 50
    assert "HTTP 403" in days.printed, "the logs must be among what is looked at"
    for place, text in looked_at.items():
        assert not [each for each in spellings([TOKEN, KEY_MATERIAL_MARK]) if each in text], place


# --- 4.7 Partial estates --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("position", range(4))
def test_one_credential_that_is_revoked_costs_its_own_listing_and_no_other(tmp_path: Path, position: int) -> None:
    with estate_at(tmp_path, LISTINGS[:4]) as estate:
        revoked = LISTINGS[position]
        before = estate.history(revoked)
        seen = estate.sync(1, strike("revoked", revoked.project_id))
        assert [each.status.is_proven for each in seen.observations.values()] == [
            number != position for number in range(4)
        ]
        assert seen.observations[revoked].error_code == "VolumeBackup.0042"
        assert estate.history(revoked) == before
        assert not [complaint for each in LISTINGS[:4] if each != revoked and (complaint := estate.untrue(each))]
        # Its age can be told: the last day on which it was proven.
        [last] = estate.ask(
            "SELECT max(observed_at) AS at FROM observations WHERE is_proven AND project_id = $project",
            project=revoked.project_id,
        )
        assert last["at"] == FIRST_DAY
        estate.sync(2)
        assert not estate.untrue(revoked)
        assert not estate.leaks()


def test_a_project_that_is_taken_out_keeps_its_history_and_nothing_of_it_is_closed(tmp_path: Path) -> None:
    with estate_at(tmp_path, LISTINGS[:3]) as estate:
        before = estate.history(LISTINGS[1])
        estate.wanted.remove(LISTINGS[1])
        estate.sync(1)
        assert estate.history(LISTINGS[1]) == before
        assert not estate.untrue(LISTINGS[0])
        asked = "SELECT count(*) AS n FROM observations WHERE project_id = $project AND observed_at > $day"
        assert estate.ask(asked, project=LISTINGS[1].project_id, day=FIRST_DAY) == [{"n": 0}]
        estate.wanted.append(LISTINGS[1])
        estate.sync(2)
        assert not estate.untrue(LISTINGS[1])


def test_a_project_that_is_added_is_known_from_its_first_observation_on(tmp_path: Path) -> None:
    with estate_at(tmp_path, LISTINGS[:2]) as estate:
        project = LISTINGS[0].project_id
        new = Listing(LISTINGS[0].region, project, Direction.INCOMING)
        estate.wanted.append(new)
        estate.sync(1)
        assert not estate.untrue(new)
        versions = estate.versions("backup_share_history", new) + estate.versions("backup_history", new)
        assert versions
        assert {version["valid_from"] for version in versions} == {FIRST_DAY + timedelta(days=1)}


def test_when_every_listing_fails_the_exit_code_says_so_and_nothing_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(seed=2, projects=2, shares=12)
    service = Service(world, token=TOKEN)
    monkeypatch.chdir(tmp_path)
    values = {"VBS_REGION": "r1", "VBS_TOKEN": TOKEN, "VBS_PROJECTS": ",".join(world.projects), "DATA_DIR": "data"}
    with serve(service) as url:
        for name, value in {**values, "VBS_ENDPOINT": url}.items():
            monkeypatch.setenv(name, value)
        assert CliRunner().invoke(main, ["sync", "--quiet"]).exit_code == 0
        with reading(f"duckdb:///{tmp_path}/data/warehouse.duckdb") as warehouse:
            before = {name: rows for name, rows in dump(warehouse).items() if name != "observations"}
        service.faults = [parse("status:code=403"), Telltale()]
        outcome = CliRunner().invoke(main, ["sync", "--quiet"])
    assert outcome.exit_code == 1
    assert "4 of 4 listings are not proven" in outcome.output
    assert outcome.output.count("HTTP 403") >= 4
    assert TOKEN not in outcome.output
    with reading(f"duckdb:///{tmp_path}/data/warehouse.duckdb") as warehouse:
        assert {name: rows for name, rows in dump(warehouse).items() if name != "observations"} == before


@pytest.mark.slow
def test_a_warehouse_that_names_a_password_is_refused_without_it(tmp_path: Path) -> None:
    password = "p@ss/word+canary"
    environment = {
        "VBS_ENDPOINT": "https://vbs.example.com",
        "VBS_REGION": "r1",
        "VBS_TOKEN": TOKEN,
        "VBS_PROJECTS": LISTINGS[0].project_id,
        "WAREHOUSE_URL": f"postgresql://loader:{password}@db.example.com/backups",
        "PATH": "/usr/bin:/bin",
    }
    script = "from pipelines.cli import main; main()"
    command = [sys.executable, "-c", script, "sync"]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False, timeout=60
    )
    assert done.returncode == 2
    assert "WAREHOUSE_URL is of the kind postgresql" in done.stderr
    assert "canary" not in done.stdout + done.stderr
    assert [*tmp_path.iterdir()] == []


def test_settings_hold_no_secret_in_any_text() -> None:
    settings = isolated_settings(vbs_token=TOKEN, warehouse_url=f"postgresql://loader:{TOKEN}@db/backups")
    assert TOKEN not in repr(settings) + str(settings) + json.dumps(settings.model_dump(mode="json"), default=str)
