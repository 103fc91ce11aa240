"""A landing that is kept small: whatever is pruned, and wherever a prune is killed, a rebuild gives the same tables.

Expected is always what the whole landing gives, which other files compare with the oracle.
Not here: what a rebuild is (test_load.py), landing files (test_landing.py).
"""

import hashlib
import json
import os
import pkgutil
import random
import re
import shutil
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from pipelines import baseline
from pipelines.cli.frame import UNUSABLE
from pipelines.definitions import build_definitions
from pipelines.doctor import examine
from pipelines.errors import LandingError, WarehouseError
from pipelines.landing import landed_files
from pipelines.load import load_pending
from pipelines.rebuild import rebuild, verify
from pipelines.retention import horizon_of, prune
from pipelines.settings import isolated_settings
from tests.command import run
from tests.crash import House, Killed, Mortal, facts, listening
from tests.oracle import (
    B1,
    B2,
    IN,
    OUT,
    S1,
    S2,
    UNPROVEN,
    Story,
    day,
    land,
    make_observation,
    make_page,
    make_share,
    make_warehouse,
)

ONE, TWO = make_page(make_share(S1, B1)), make_page(make_share(S1, B1), make_share(S2, B2))
BAD = make_page(make_share(S1, B1), make_share(S2, B2, created_at="yesterday"))


def house_in(folder: Path) -> House:
    return House(folder, f"duckdb:///{folder}/warehouse.duckdb")


@pytest.fixture
def house(tmp_path: Path) -> House:
    return house_in(tmp_path / "house")


@pytest.fixture(scope="module")
def week_made_once(tmp_path_factory: pytest.TempPathFactory) -> House:
    house = house_in(tmp_path_factory.mktemp("week"))
    days = [TWO, BAD, ONE, TWO, ONE, ONE, TWO]
    observed = [(make_observation(day(number), distinct_ids=2), (page,)) for number, page in enumerate(days, start=1)]
    observed += [(make_observation(day(1, 7), IN), (ONE,)), (make_observation(day(2, 7), IN, **UNPROVEN), ())]
    house.land(*observed)
    assert house.load() == []
    return house


@pytest.fixture
def week(house: House, week_made_once: House) -> House:
    """Seven days of one listing, two of another, which is not proven on the second; a record that cannot be read."""
    shutil.copytree(week_made_once.folder, house.folder, dirs_exist_ok=True)
    return house


@pytest.fixture(scope="module")
def week_pruned_once(week_made_once: House, tmp_path_factory: pytest.TempPathFactory) -> House:
    house = house_in(tmp_path_factory.mktemp("pruned"))
    shutil.copytree(week_made_once.folder, house.folder, dirs_exist_ok=True)
    prune(house.address, house.landing, day(5))
    return house


@pytest.fixture
def pruned_week(house: House, week_pruned_once: House) -> House:
    """The week without what was before the fifth day."""
    shutil.copytree(week_pruned_once.folder, house.folder, dirs_exist_ok=True)
    return house


Facts = dict[str, list[tuple[Any, ...]]]


def rebuilt(landing: Path) -> Facts:
    """Everything that the landing alone gives."""
    warehouse = make_warehouse()
    assert load_pending(warehouse, landing, landing.parent / "rebuilt") == []
    found = facts(warehouse)
    warehouse.close()
    return found


def contents(folder: Path) -> dict[str, str]:
    """Every file and folder, with rights and a digest."""
    return {
        path.relative_to(folder).as_posix(): f"{path.stat().st_mode:o} "
        + (hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "")
        for path in sorted(folder.rglob("*"))
    }


def names(house: House) -> list[str]:
    return [file.name for file in landed_files(house.landing)]


def told(seed: int, folder: Path) -> tuple[House, Story, Facts]:
    """A generated history, landed and loaded, and every fact of it."""
    story, house = Story(seed), house_in(folder)
    house.land(*((step.observation, step.pages) for step in story.steps if story.is_accepted(step)))
    assert house.load() == []
    return house, story, rebuilt(house.landing)


# --- what a prune leaves is what was there ----------------------------------------------------------------------------


def seeds(some: int, many: int, first: int = 0) -> list[Any]:
    """Some in the test run, the others in the soak."""
    more = [pytest.param(seed, marks=pytest.mark.soak) for seed in range(first + some, first + many)]
    return [*range(first, first + some), *more]


@pytest.mark.parametrize("seed", seeds(5, 20))
def test_pruned_at_any_point_the_landing_gives_the_same_tables(tmp_path: Path, seed: int) -> None:
    house, _, whole = told(seed, tmp_path / "house")
    points = [file.observed_at for file in landed_files(house.landing)]
    removed = 0
    for number, point in enumerate([*points, points[-1] + timedelta(days=400)]):
        copy = House(tmp_path / str(number), house.address)
        shutil.copytree(house.landing, copy.landing)
        done = prune(house.address, copy.landing, point)
        removed += len(done.files)
        assert len(names(copy)) + len(done.files) == len(points), f"seed {seed}, before {point}"
        assert rebuilt(copy.landing) == whole, f"seed {seed}, before {point}"
        assert verify(house.address, copy.landing) is None
    assert removed, f"seed {seed}: nothing was ever pruned"


@pytest.mark.parametrize("seed", seeds(6, 20, first=20))
def test_pruned_again_and_again_between_syncs_the_landing_gives_the_same_tables(tmp_path: Path, seed: int) -> None:
    chance, story = random.Random(seed), Story(seed)
    house, untouched = house_in(tmp_path / "house"), tmp_path / "untouched"
    pruned: list[str] = []
    for step in filter(story.is_accepted, story.steps):
        land(untouched, step.observation, *step.pages)
        assert house.sync((step.observation, step.pages)) == [], f"seed {seed}"
        horizon = step.observation.observed_at - timedelta(hours=chance.choice((-1, 1, 12, 50)))
        pruned += prune(house.address, house.landing, horizon).files
        assert len(list((house.landing / baseline.FOLDER).glob("*"))) <= 1
    assert house.published() == rebuilt(house.landing) == rebuilt(untouched), f"seed {seed}"
    assert sorted([*pruned, *names(house)]) == [file.name for file in sorted_files(untouched)], f"seed {seed}"
    # Of two observations the later one is too young, or the earlier one is the last proven of its listing.
    assert pruned or len(names(house)) <= 2, f"seed {seed}: nothing was ever pruned"


def sorted_files(landing: Path) -> list[Any]:
    return sorted(landed_files(landing), key=lambda file: file.name)


def test_what_is_old_goes_but_the_last_proven_file_of_a_listing_stays(week: House) -> None:
    done = prune(week.address, week.landing, day(4, 0))
    left = landed_files(week.landing)
    assert [(file.listing, file.observed_at) for file in left] == [
        (IN, day(1, 7)),
        *((OUT, day(number)) for number in (4, 5, 6, 7)),
    ]
    assert (done.kept_files, done.baseline_name) == (5, "_baseline/20260304T000000000000Z")
    before = week.published()
    assert before is not None
    assert len(before["rejected_records"]) == 1, "of a page that is gone"
    assert len(before["observations"]) == 9
    rebuild(week.address, week.landing)
    assert week.published() == before


def test_the_next_sync_still_reads_only_what_differs(week: House) -> None:
    prune(week.address, week.landing, day(20))
    assert [file.observed_at for file in landed_files(week.landing)] == [day(1, 7), day(7)]
    week.land((make_observation(day(21), distinct_ids=2), (TWO,)))
    assert week.load() == []
    assert verify(week.address, week.landing) is None


def test_a_lost_warehouse_is_filled_from_the_baseline_by_an_ordinary_sync(week: House) -> None:
    prune(week.address, week.landing, day(5))
    (week.folder / "warehouse.duckdb").unlink()
    news = (make_observation(day(8), distinct_ids=1), (ONE,))
    assert week.sync(news) == []
    assert week.published() == rebuilt(week.landing)
    assert len(week.published()["observations"]) == 10


def test_a_rebuild_on_a_server_begins_from_the_baseline_too(week: House, postgres_url: str) -> None:
    prune(week.address, week.landing, day(5))
    before = week.published()
    server = House(week.folder, postgres_url)
    assert server.load() == [], "an empty warehouse"
    assert server.published() == before
    rebuild(postgres_url, week.landing)
    assert server.published() == before
    assert prune(postgres_url, week.landing, day(7, 0)).files
    assert verify(postgres_url, week.landing) is None


def test_a_warehouse_from_before_the_horizon_is_not_continued(week: House, tmp_path: Path) -> None:
    """Its next observation would be recorded as if nothing had been seen in between."""
    old = house_in(tmp_path / "old")
    for file in landed_files(week.landing)[:3]:
        (old.landing / file.name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file.path, old.landing / file.name)
    assert old.load() == []
    before = old.published()
    prune(week.address, week.landing, day(5))
    shutil.rmtree(old.landing)
    shutil.copytree(week.landing, old.landing)
    with pytest.raises(WarehouseError, match=r"lacks 3 observations before 2026-03-05 .* `backup-shares rebuild`"):
        old.load()
    assert old.published() == before
    rebuild(old.address, old.landing)
    assert old.published() == week.published()


def test_an_observation_older_than_the_baseline_is_named_by_a_rebuild_and_not_passed_over(week: House) -> None:
    prune(week.address, week.landing, day(5))
    before = week.published()
    late = land(week.landing, make_observation(day(3, 9), sync_id="late"), TWO)
    with pytest.raises(LandingError, match=rf"older than what was pruned of their listing.* is {late.name}"):
        rebuild(week.address, week.landing)
    assert week.published() == before
    late.path.unlink()
    rebuild(week.address, week.landing)


# --- refused ----------------------------------------------------------------------------------------------------------


def assert_refused(house: House, horizon: datetime, reason: str) -> None:
    before = contents(house.landing)
    for dry_run in (True, False):
        with pytest.raises(LandingError, match=reason):
            prune(house.address, house.landing, horizon, dry_run=dry_run)
        assert contents(house.landing) == before


def test_a_prune_is_refused_while_an_observation_is_not_recorded(week: House) -> None:
    waiting = land(week.landing, make_observation(day(2), IN, sync_id="late"), TWO)
    assert_refused(week, day(5), rf"1 landed observations .* are not recorded.* is {waiting.name}: only a rebuild")
    rebuild(week.address, week.landing)
    assert prune(week.address, week.landing, day(5)).files
    news = land(week.landing, make_observation(day(9)), TWO)
    assert_refused(week, day(10), rf"is {news.name}: the next sync records it")
    assert prune(week.address, week.landing, day(9)).files, "what is newer than the horizon does not matter"


def test_a_prune_is_refused_where_the_warehouse_is_not_what_the_landing_says(week: House) -> None:
    first = landed_files(week.landing)[0]
    whole = first.path.read_bytes()
    first.path.unlink()
    assert_refused(week, day(5), "is not what the landing says, so nothing was pruned; the first difference: backup_")
    first.path.write_bytes(whole)
    assert prune(week.address, week.landing, day(5)).files


def test_a_prune_is_refused_where_a_landed_file_is_damaged(week: House) -> None:
    first = landed_files(week.landing)[0]
    first.path.write_bytes(first.path.read_bytes()[:-20])
    assert_refused(week, day(5), f"the first is {first.name}: landing file {first.name} is damaged")


def test_what_came_after_an_earlier_prune_is_not_removed_before_it_can_be_frozen(house: House) -> None:
    house.land(*((make_observation(day(number), distinct_ids=2), (TWO,)) for number in (1, 2, 3, 25)))
    assert house.load() == []
    prune(house.address, house.landing, day(20))
    # Out of another landing, say, that was put into this one.
    house.land(*((make_observation(day(number), IN, distinct_ids=1), (ONE,)) for number in (1, 2, 3)))
    assert house.load() == []
    for horizon in (day(10), day(20)):
        assert_refused(house, horizon, "2 landed observations before the horizon came after _baseline/20260320")
    assert len(prune(house.address, house.landing, day(21)).files) == 2
    assert verify(house.address, house.landing) is None


def test_before_anything_is_published_nothing_is_pruned(house: House) -> None:
    land(house.landing, make_observation(day(1)), ONE)
    assert_refused(house, day(5), "nothing was published yet")


def test_a_dry_run_changes_nothing_and_says_what_the_prune_does(week: House) -> None:
    before = contents(week.folder)
    for point in (day(1), day(3), day(6), day(20)):
        promised = prune(week.address, week.landing, point, dry_run=True)
        assert contents(week.folder) == before
        copy = House(week.folder.parent / str(point.day), week.address)
        shutil.copytree(week.landing, copy.landing)
        done = prune(week.address, copy.landing, point)
        assert (promised.files, promised.size, promised.kept_files) == (done.files, done.size, done.kept_files)


# --- damage -----------------------------------------------------------------------------------------------------------

PARTS = [
    "manifest.json",
    "backup_share_history.parquet",
    "backup_history.parquet",
    "observations.parquet",
    "rejected_records.parquet",
    "observed_drift.parquet",
]


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("kind", ["gone", "empty", "cut", "one byte"])
def test_a_damaged_baseline_is_refused_and_named(pruned_week: House, part: str, kind: str) -> None:
    week = pruned_week
    path = week.landing / "_baseline" / "20260305T060000000000Z" / part
    file = week.folder / "warehouse.duckdb"
    published, whole = file.read_bytes(), path.read_bytes()
    match kind:
        case "gone":
            path.unlink()
        case "empty":
            path.write_bytes(b"")
        case "cut":
            path.write_bytes(whole[:-7])
        case "one byte":
            place = len(whole) // 2
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    named = rf"the baseline file _baseline/20260305T060000000000Z/{part} is damaged .*: restore it from a backup"
    for verb in (rebuild, verify):
        with pytest.raises(LandingError, match=named):
            verb(week.address, week.landing)
    assert_refused(week, day(7), named)
    assert file.read_bytes() == published
    findings = [str(each.judgement.found) for each in examine(doctor_settings(week), [])]
    assert any(f"{part} is damaged" in found for found in findings)
    path.write_bytes(whole)
    assert verify(week.address, week.landing) is None


def doctor_settings(house: House) -> Any:
    return isolated_settings(data_dir=house.folder)


def test_every_byte_of_the_manifest_counts(week: House) -> None:
    prune(week.address, week.landing, day(5))
    path = week.landing / "_baseline" / "20260305T060000000000Z" / "manifest.json"
    whole = path.read_bytes()
    meaning = json.loads(whole)
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        try:
            said = json.loads(path.read_bytes())
        except ValueError:
            said = None
        if said != meaning:  # a blank that became another one says the same
            with pytest.raises(LandingError, match=r"manifest\.json is damaged"):
                baseline.find(week.landing)


def test_without_its_baseline_a_pruned_landing_does_not_replace_the_warehouse(pruned_week: House) -> None:
    week, before = pruned_week, pruned_week.published()
    shutil.rmtree(week.landing / "_baseline")
    with pytest.raises(LandingError, match=r"5 files that are recorded are in .* no more, nor in its baseline"):
        rebuild(week.address, week.landing)
    assert week.published() == before


def test_the_doctor_tells_of_the_baseline_and_takes_it_for_no_stranger(week: House) -> None:
    prune(week.address, week.landing, day(5))
    findings = [each.judgement.found for each in examine(doctor_settings(week), []) if each.check == "landing"]
    assert "6 observations before 2026-03-05 are frozen in _baseline/20260305T060000000000Z, whole" in findings
    assert not [found for found in findings if "no file of the landing" in found]


def test_a_baseline_of_another_version_is_not_read(week: House, monkeypatch: pytest.MonkeyPatch) -> None:
    prune(week.address, week.landing, day(5))
    monkeypatch.setattr(baseline, "SCHEMA_VERSION", baseline.SCHEMA_VERSION + 1)
    with pytest.raises(LandingError, match="of the versions 1 and 2, and this program reads 1 and 3: use the one that"):
        rebuild(week.address, week.landing)


# --- killed -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def half_pruned(week: House) -> House:
    """So that there is an older baseline, and more to prune."""
    prune(week.address, week.landing, day(3))
    return week


def kept(folder: Path) -> list[str]:
    """What is in a folder; the names of what is written aside are different in every run."""
    return sorted(f"{re.sub(r'[.][^/]*[.]tmp', 'aside', name)} {told}" for name, told in contents(folder).items())


@pytest.mark.slow
def test_a_prune_that_is_killed_between_any_two_file_operations_loses_nothing(
    half_pruned: House, tmp_path: Path
) -> None:
    whole, final = rebuilt(half_pruned.landing), tmp_path / "final"
    shutil.copytree(half_pruned.landing, final)
    points: list[tuple[str, list[str]]] = []
    mortal = Mortal(None, begin="before os.mkdir .")

    def heard(point: str) -> None:
        """Where two points in a row keep the same, a death at one is a death at the other."""
        mortal(point)
        if len(mortal.points) > len(points):
            points.append((point, kept(final)))

    with listening(heard):
        prune(half_pruned.address, final, day(6))
    assert rebuilt(final) == whole
    tried = [at for at, (_, state) in enumerate(points) if not at or state != points[at - 1][1]]
    assert len(points) > 40
    assert len(tried) > 15
    for at in tried:
        point = points[at][0]
        landing = tmp_path / f"killed-{at}" / "landing"
        shutil.copytree(half_pruned.landing, landing)
        with pytest.raises(Killed), listening(Mortal(at, begin="before os.mkdir .")):
            prune(half_pruned.address, landing, day(6))
        assert rebuilt(landing) == whole, point
        prune(half_pruned.address, landing, day(6))
        # This process lives: what it left aside is swept only when it is gone.
        left = {name: told for name, told in contents(landing).items() if ".tmp" not in name}
        assert left == contents(final), point
        shutil.rmtree(landing.parent)


def test_what_a_killed_prune_left_aside_is_swept(week: House) -> None:
    aside = week.landing / "_baseline" / ".999999999-dead.tmp"
    aside.mkdir(parents=True)
    (aside / "observations.parquet").write_bytes(b"half")
    prune(week.address, week.landing, day(3))
    assert os.listdir(week.landing / "_baseline") == ["20260303T060000000000Z"]


def test_two_prunes_do_not_meet(week: House) -> None:
    with baseline.only_pruner(week.landing), pytest.raises(LandingError, match="another prune is at work"):
        prune(week.address, week.landing, day(3))
    assert not (week.landing / "_baseline").exists(), "nothing was frozen"
    assert prune(week.address, week.landing, day(3)).files


@pytest.mark.parametrize("moment", ["pipelines.rebuild.load_pending", "pipelines.load._record"])
def test_a_rebuild_during_which_the_landing_is_pruned_publishes_nothing(
    week: House, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """It may have missed files that went before it came to read them."""
    before, whole = week.published(), pkgutil.resolve_name(moment)

    def prune_first(*arguments: Any, **more: Any) -> Any:
        monkeypatch.undo()
        prune(week.address, week.landing, day(5))
        return whole(*arguments, **more)

    monkeypatch.setattr(moment, prune_first)
    with pytest.raises(LandingError, match="was pruned meanwhile, so nothing was published"):
        rebuild(week.address, week.landing)
    assert week.published() == before
    rebuild(week.address, week.landing)
    assert week.published() == before


# --- the folder, the command ------------------------------------------------------------------------------------------


def test_nobody_else_can_look_into_a_baseline(week: House) -> None:
    before = os.umask(0)
    try:
        prune(week.address, week.landing, day(5))
    finally:
        os.umask(before)
    for path in [week.landing / "_baseline", *(week.landing / "_baseline").rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_the_manifest_tells_a_person_what_was_frozen_and_the_ledger_which_files(week: House) -> None:
    first = landed_files(week.landing)[0]
    sha = hashlib.sha256(first.path.read_bytes()).hexdigest()
    prune(week.address, week.landing, day(5))
    folder = week.landing / "_baseline" / "20260305T060000000000Z"
    said = json.loads((folder / "manifest.json").read_text())["baseline"]
    assert (said["horizon"], said["format"], said["schema_version"]) == ("2026-03-05T06:00:00+00:00", 1, 2)
    assert said["tables"] == {
        path.stem: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.parquet")
    }
    frozen = baseline.find(week.landing)
    assert frozen is not None
    ledger = frozen.facts()["observations"].to_pylist()
    assert {row["landing_file"]: row["landing_sha256"] for row in ledger}[first.name] == sha


@pytest.mark.parametrize("hour", [0, 5, 23])
def test_the_horizon_is_a_midnight_in_utc(hour: int) -> None:
    assert horizon_of(datetime(2026, 3, 20, hour, 59, tzinfo=UTC), 15) == datetime(2026, 3, 5, tzinfo=UTC)


def by_dagster(house: House, keep_days: int | None) -> dg.ExecuteInProcessResult:
    settings = isolated_settings(data_dir=house.folder, landing_keep_days=keep_days)
    job = build_definitions(lambda: settings, now=lambda: day(9)).resolve_job_def("prune_landing")
    return job.execute_in_process(raise_on_error=False)


def test_the_job_of_dagster_prunes_by_the_setting_and_says_what_it_did(week: House) -> None:
    before = week.published()
    done = by_dagster(week, 4)
    assert done.success
    (output,) = [event.step_output_data for event in done.all_events if event.is_successful_output]
    told = {name: value.value for name, value in output.metadata.items()}
    assert (told["removed"], told["kept"]) == (5, 4), "four days of one listing, the unproven one of the other"
    assert told["baseline"].startswith("_baseline")
    assert len(names(week)) == 4
    rebuild(week.address, week.landing)
    assert week.published() == before


def test_the_job_of_dagster_fails_with_one_sentence_and_removes_nothing(week: House) -> None:
    done = by_dagster(week, None)
    (failed,) = done.get_step_failure_events()
    assert failed.step_failure_data.user_failure_data.description == (
        "LANDING_KEEP_DAYS is not set: raw pages are kept for ever"
    )
    assert len(names(week)) == 9


@pytest.mark.parametrize(("keep_days", "runs"), [(None, False), (90, True)])
def test_the_job_is_scheduled_weekly_where_the_setting_is_set(keep_days: int | None, runs: bool) -> None:
    settings = isolated_settings(sync_hour=20, landing_keep_days=keep_days)
    schedule = build_definitions(lambda: settings).resolve_schedule_def("prune_landing_weekly")
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("0 8 * * 0", "UTC")
    assert (schedule.default_status is dg.DefaultScheduleStatus.RUNNING) == runs


def test_the_command_prunes_by_the_setting(week: House) -> None:
    refused = run(week.folder, "prune", DATA_DIR=".")
    assert refused.returncode == UNUSABLE
    assert "LANDING_KEEP_DAYS is not set" in refused.stderr.decode()
    dry = run(week.folder, "prune", "--dry-run", DATA_DIR=".", LANDING_KEEP_DAYS="30")
    assert dry.returncode == 0, dry.stderr.decode()
    assert "7 landed files before" in dry.stdout.decode()
    assert "would be removed" in dry.stdout.decode()
    assert len(names(week)) == 9
    done = run(week.folder, "prune", DATA_DIR=".", LANDING_KEEP_DAYS="30")
    assert done.returncode == 0, done.stderr.decode()
    assert "were removed" in done.stdout.decode()
    assert "what was removed is frozen in _baseline/" in done.stdout.decode()
    assert len(names(week)) == 2
    again = run(week.folder, "prune", DATA_DIR=".", LANDING_KEEP_DAYS="30")
    assert re.search(r"0 landed files before .* were removed, 2 stay\n$", again.stdout.decode())
    verified = run(week.folder, "rebuild", "--verify", DATA_DIR=".")
    assert verified.returncode == 0, verified.stderr.decode()
