"""Whatever ends or fails, wherever: what is published is whole, and the next sync puts all right without hands.

On both engines. The states that may be seen are those of a clean load, which the oracle has judged.
Not here: how processes are forked, killed and starved (crash.py), a server that is killed (test_postgres_server.py).
"""

import os
import random
import re
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import WarehouseError
from pipelines.landing import LandedFile, landed_files
from pipelines.load import load_pending
from pipelines.observation import Direction
from pipelines.publish import reading, writing
from pipelines.schema import backup_share_history
from pipelines.simulator.server import serve
from pipelines.simulator.service import Service
from pipelines.simulator.world import World
from tests.crash import (
    FORKS,
    NOBODY,
    Ground,
    House,
    Landed,
    Promise,
    begin,
    call,
    compare_while_syncing,
    duckdb_address,
    ends_whole,
    facts,
    forked,
    full_disks,
    harm_one_after_another,
    hold_open,
    points_of,
    race,
    sync_as_nobody,
    sync_that_dies,
    sync_without_dagster,
    watch,
    whole_sync,
)
from tests.oracle import (
    B1,
    B2,
    B3,
    IN,
    OUT,
    S1,
    S2,
    S3,
    Oracle,
    Story,
    day,
    land,
    make_backup,
    make_id,
    make_observation,
    make_page,
    make_share,
    make_warehouse,
)
from tests.truth import canonical, share_row

pytestmark = pytest.mark.slow

ENGINES = {"duckdb": "DuckDB", "postgresql": "PostgreSQL"}


@pytest.fixture(params=ENGINES)
def engine(request) -> str:
    return request.param


@pytest.fixture
def tell(figures, engine) -> Callable[..., None]:
    """`figures`, with the engine."""
    return lambda what, count=1: figures(f"{what}, {ENGINES[engine]}", count)


@pytest.fixture
def ground(engine, tmp_path, request) -> "Builder":
    builder = Builder(tmp_path, request.getfixturevalue("postgres") if engine == "postgresql" else None)
    yield builder
    builder.tear_down()


class Builder:
    """Makes the houses of a test, on the engine of the test."""

    def __init__(self, folder: Path, postgres: Any) -> None:
        self._folder, self._postgres = folder, postgres
        self._databases: list[str] = []

    def house(self, name: str, *before: Landed) -> House:
        """With what is landed and recorded before."""
        folder = self._folder / name
        folder.mkdir()
        if self._postgres:
            self._databases.append(self._postgres.create_database())
        house = House(folder, self._databases[-1] if self._postgres else duckdb_address(folder))
        if before:
            assert house.sync(*before) == []
        return house

    def ground(self, name: str, *before: Landed) -> Ground:
        admin = self._postgres and self._postgres.admin_url.render_as_string(hide_password=False)
        return Ground(self.house(name, *before), admin)

    def tear_down(self) -> None:
        for database in self._databases:
            self._postgres.drop_database(database)


def states(folder: Path, *observations: Landed) -> Iterator[dict[str, list[tuple[Any, ...]]]]:
    """What a clean load gives: before anything, then after each of these."""
    warehouse = make_warehouse()
    yield facts(warehouse)
    for observation, pages in observations:
        land(folder / "landing", observation, *pages)
        assert load_pending(warehouse, folder / "landing", folder / "staging") == []
        yield facts(warehouse)
    warehouse.close()


def tale(seed: int) -> tuple[Story, list[Landed]]:
    story = Story(seed)
    return story, [(step.observation, step.pages) for step in story.steps if story.is_accepted(step)]


def assert_the_oracle_agrees(story: Story, state: dict[str, list[tuple[Any, ...]]]) -> None:
    """On the shares, every version of them; the rest is compared by test_warehouse.py in the same stories."""
    for step in story.steps:
        story.tell(step)
    names = ("direction", "share_id", "valid_from", "valid_to", "opened_by", "closed_by")
    places = [list(backup_share_history.columns.keys()).index(name) for name in names]
    told = sorted(tuple(row[place] or "" for place in places) for row in state["backup_share_history"])
    assert told == sorted((way, key, *rest) for way, key, _, *rest in story.history(story.shares))
    assert len(state["observations"]) == len(story.ledger)
    assert len(state["rejected_records"]) == len(story.rejects)


# --- every point ------------------------------------------------------------------------------------------------------

BEFORE: list[Landed] = [
    (make_observation(day(1)), (make_page(make_share(S1, B1), make_share(S2, B2)),)),
    (make_observation(day(1), IN), (make_page(make_share(S1, B1)),)),
]
# Closes S1, changes S2 and its backup, opens S3, rejects one: everything that recording does.
NEWS: list[Landed] = [
    (
        make_observation(day(2)),
        (
            make_page(
                make_share(S2, B2, updated_at="2026-03-01T00:00:00", backup=make_backup(B2, name="renamed")),
                make_share(S3, B3),
                make_share(S1.replace("5", "6"), B3, created_at="yesterday"),
            ),
        ),
    ),
    (make_observation(day(2), IN), (make_page(make_share(S3, B3)),)),
]
BEGINNINGS = [
    pytest.param(BEFORE, id="from the second day on"),
    pytest.param([], id="from nothing", marks=pytest.mark.soak),
]


@pytest.fixture
def promise(tmp_path, before) -> Promise:
    """The two listings of the news do not wait for each other: each may be recorded without the other."""
    clean = [*states(tmp_path / "one way", *before, *NEWS)]
    other = [*states(tmp_path / "the other way", *before, NEWS[1])]
    allowed = [*clean[len(before) :], other[-1]]
    return Promise(allowed if before else [None, *allowed], clean[-1])


@pytest.fixture(params=BEGINNINGS)
def before(request) -> list[Landed]:
    return request.param


DEATHS = "deaths at a statement or file operation"


def deaths(ground: Ground, promise: Promise, every: bool, tell: Callable[..., None]) -> int:
    tell(DEATHS, 0)
    with ground.copy() as house:
        points = call(points_of, house, NEWS)
    names = [name for name, _ in points]
    assert sum("INSERT" in name or "UPDATE" in name or "copy" in name for name in names) >= 10, names
    assert sum("fsync" in name for name in names) >= 8, names
    tried = [number for number, (_, kept) in enumerate(points) if every or kept != points[number - 1][1]]
    for number in tried:
        with ground.copy() as house, forked(sync_that_dies, house, NEWS, number) as process:
            begin(process)
            process.join(60)
            assert process.exitcode == -9, names[number]
            assert not promise.broken_by(house, NEWS), f"died {number} {names[number]}"
        tell(DEATHS)
    return len(tried)


def test_a_death_at_any_statement_or_file_operation_leaves_a_whole_state_and_needs_no_hands(
    ground, promise, before, tell
):
    assert deaths(ground.ground("base", *before), promise, False, tell) >= 10


@pytest.mark.soak
@pytest.mark.parametrize("before", [BEFORE], ids=["from the second day on"], indirect=True)
def test_a_death_at_each_single_point_leaves_a_whole_state_and_needs_no_hands(ground, promise, before, tell):
    assert deaths(ground.ground("base", *before), promise, True, tell) >= 100


def test_a_failure_at_any_statement_or_file_operation_leaves_a_whole_state_and_needs_no_hands(
    ground, promise, before, tell
):
    base = ground.ground("base", *before)
    tried, complained, violations = call(harm_one_after_another, base, NEWS, promise, None)
    tell("failures of a statement or file operation", tried)
    assert not violations, "\n".join(violations)
    assert tried >= 100
    assert complained >= tried / 2, "hardly anything that fails matters"


@pytest.mark.parametrize("engine", ["duckdb"], indirect=True)
def test_a_disk_that_is_full_after_any_number_of_bytes_changes_nothing_and_is_told(ground, promise, before, tell):
    sizes = [*range(0, 2_000, 200), *range(2_000, 16_000, 1_000), *range(16_000, 4_000_000, 160_000)]
    base = ground.ground("base", *before)
    tried, complained, violations = call(harm_one_after_another, base, NEWS, promise, full_disks(sizes))
    tell("full disks, after so many bytes", tried)
    assert not violations, "\n".join(violations)
    assert 20 <= complained < tried


PLACES = {
    "landing": ("landing/*/*/*", 0o500, "cannot write to .*LANDING_DIR"),
    "staging": ("staging", 0o500, r"cannot write to .*staging \(DATA_DIR\): permission denied"),
    "warehouse": ("", 0o500, "cannot write the warehouse .*warehouse.duckdb: permission denied"),
    "published file": ("warehouse.duckdb", 0o000, "the warehouse refused|cannot write the warehouse"),
    "published file, read-only": ("warehouse.duckdb", 0o400, ""),
}


@pytest.mark.parametrize("engine", ["duckdb"], indirect=True)
@pytest.mark.parametrize("before", [BEFORE], ids=["from the second day on"], indirect=True)
@pytest.mark.parametrize("place", PLACES)
def test_a_place_without_the_right_to_write_is_named_and_changes_nothing(ground, promise, before, place):
    pattern, mode, told = PLACES[place]
    warm = ground.house("warm")
    with tempfile.TemporaryDirectory() as open_to_all:  # pytest's folders are closed to other users
        os.chmod(open_to_all, 0o755)
        home = Path(open_to_all) / "home"
        house = House(home, duckdb_address(home))
        home.mkdir()
        assert house.sync(*before) == []
        for path in (home, *home.rglob("*")):
            if os.getuid() == 0:
                os.chown(path, NOBODY, NOBODY)
        struck = list(home.glob(pattern)) if pattern else [home]
        rights = {path: path.stat().st_mode for path in struck}
        for path in struck:
            path.chmod(mode)
        outcome = call(sync_as_nobody, warm, house, NEWS)
        for path in struck:
            path.chmod(rights[path])
        assert re.search(told, outcome) if told else outcome == "", outcome
        assert not promise.broken_by(house, NEWS)


@pytest.mark.parametrize("engine", ["duckdb"], indirect=True)
def test_a_file_that_another_program_has_open_for_writing_is_waited_for_and_then_named(ground, tmp_path):
    house = ground.house("house", *BEFORE)
    before, gone = house.published(), FORKS.Event()
    held = FORKS.Event()
    with forked(hold_open, tmp_path / "house" / "warehouse.duckdb", held, gone) as other:
        begin(other)
        assert held.wait(30)
        naps: list[float] = []
        named = pytest.raises(WarehouseError, match=rf"has .*warehouse\.duckdb open for writing.*PID {other.pid}")
        with named, writing(house.address, wait=60, sleep=naps.append):
            raise AssertionError("two writers at once")
        assert sum(naps) == pytest.approx(60, abs=0.3)

        def end_the_other(_: float) -> None:
            gone.set()
            other.join(30)

        with writing(house.address, sleep=end_the_other):
            pass  # it waited for the other to end
    assert house.published() == before
    assert house.sync(*NEWS) == []


@pytest.mark.parametrize("engine", ["duckdb"], indirect=True)
def test_a_damaged_file_is_refused_and_the_last_good_one_is_named(ground, tmp_path):
    house = ground.house("house", *BEFORE)
    good = house.published()
    assert house.sync(*NEWS) == []
    file = tmp_path / "house" / "warehouse.duckdb"
    file.write_bytes(b"\0" * 1000 + file.read_bytes()[1000:])
    for use in (house.published, house.load):
        with pytest.raises(WarehouseError, match=r"warehouse\.previous\.duckdb is the state before") as told:
            use()
        assert "\n" not in str(told.value)
    file.with_name("warehouse.previous.duckdb").replace(file)
    assert house.published() == good
    assert house.load() == []


def test_a_sync_at_any_moment_of_a_comparison_is_no_difference(ground):
    told = call(compare_while_syncing, ground.ground("base", *BEFORE), NEWS, 17)
    assert len(told) >= 5
    for point, words in told:
        assert words == "None" or "row for row; landed and not recorded yet: 2" in words, f"{point}: {words}"
    assert any(words != "None" for _, words in told)


# --- killed at random -------------------------------------------------------------------------------------------------


def kill_loads(ground: "Builder", folder: Path, seed: int, wanted: int, tell: Callable[..., None]) -> Counter[str]:
    """Kills of a load that strike, spread over its whole time; how much was published then."""
    tell("kills of a load", 0)
    rng, outcomes = random.Random(seed), Counter[str]()
    number = 0
    while outcomes.total() < wanted:
        story, landed = tale(seed + number)
        half = len(landed) // 2
        clean = [*states(folder / f"clean {number}", *landed)]
        assert_the_oracle_agrees(story, clean[-1])
        base = ground.ground(f"base {number}", *landed[:half])
        base.base.land(*landed)
        promise = Promise([*clean[half:], *([None] if not half else [])], clean[-1])
        lasts = None
        for attempt in range(min(12, wanted)):
            with base.copy() as house, forked(house.load) as process:
                begun = time.monotonic()
                begin(process)
                if lasts is None:
                    process.line.recv()
                    lasts = time.monotonic() - begun
                    continue
                killed_at = rng.uniform(0, lasts)
                process.join(killed_at)
                process.kill()
                process.join()
                where = f"seed {seed}, story {number}, attempt {attempt}, killed after {killed_at:.3f} s"
                found = house.published()
                if process.exitcode == -9:
                    outcomes["after" if found == clean[-1] else "before" if found == clean[half] else "between"] += 1
                assert not promise.broken_by(house, landed), where
                tell("kills of a load", process.exitcode == -9)
        number += 1
    print(f"seed {seed}: published {dict(outcomes)}")
    return outcomes


@pytest.mark.parametrize(("engine", "kills"), [("duckdb", 100), ("postgresql", 50)], indirect=["engine"])
def test_a_load_killed_at_any_moment_leaves_a_whole_state_and_needs_no_hands(ground, engine, kills, tmp_path, tell):
    outcomes = kill_loads(ground, tmp_path, 20260301, kills, tell)
    assert outcomes["before"] > 0
    assert engine == "postgresql" or not outcomes["between"], "a DuckDB file is published at once"


@pytest.mark.parametrize("engine", ["duckdb"], indirect=True)
def test_two_first_syncs_at_once_in_a_new_folder_do_not_make_the_tables_of_dagster_twice(ground):
    house, world = ground.house("house"), World(projects=1, shares=5)
    with serve(Service(world, token="token")) as url, ExitStack() as stack:
        settings = settings_of(house, url, world)
        both = [stack.enter_context(forked(whole_sync, house, settings)) for _ in range(2)]
        for process in both:
            begin(process)
        codes = [process.line.recv() for process in both]
    printed = (house.folder / "printed").read_text()
    # One that was overtaken while it walked says so.
    assert codes == [0, 0] or (0 in codes and "a later observation of its listing was recorded first" in printed), (
        printed
    )
    assert "Traceback" not in printed
    assert house.leftovers() == []
    with reading(house.address) as warehouse:
        assert warehouse.query("SELECT count(*) AS n FROM backup_shares").to_pylist()[0]["n"] > 0


def parts(**counts: int) -> Any:
    """So many tests of an engine: several in a row are better spread over the cores than one that takes long."""
    of_engines = [(engine, part) for engine, count in counts.items() for part in range(count)]
    return pytest.mark.parametrize(("engine", "part"), of_engines, indirect=["engine"])


@pytest.mark.soak
@parts(duckdb=7, postgresql=4)
def test_hundreds_of_loads_killed_leave_whole_states(ground, engine, part, tmp_path, tell):
    outcomes = kill_loads(ground, tmp_path, int(time.time()) + part, 100, tell)
    assert outcomes["before"] > 0
    assert engine == "postgresql" or not outcomes["between"], "a DuckDB file is published at once"


# --- syncs, from the first request on, killed and cancelled -----------------------------------------------------------


def settings_of(house: House, url: str, world: World) -> dict[str, str]:
    return {
        "VBS_ENDPOINT": url,
        "VBS_REGION": "r1",
        "VBS_TOKEN": "token",
        "VBS_PROJECTS": ",".join(world.projects),
        "DATA_DIR": str(house.folder),
        "LANDING_DIR": str(house.landing),
        "WAREHOUSE_URL": house.address,
        "DAILY_REPORT": "no",
    }


class Operation:
    """One sync after the other, against the simulator on a port; some are ended before their time.

    `sync`: takes a house and settings, and returns 0 where all went well; for a forked process.
    """

    def __init__(
        self, house: House, seed: int, tell: Callable[..., None], sync: Callable[..., Any], what: str = "whole syncs"
    ) -> None:
        self.house, self.rng, self.seed, self.tell, self.sync = house, random.Random(seed), seed, tell, sync
        self.what = what
        self.world = World(projects=1, shares=30, new_rate=0.2, withdrawn_rate=0.1, change_rate=0.2)
        self.service = Service(self.world, token="token")
        self.outcomes: Counter[str] = Counter()
        self.slowest_stop = 0.0
        self._lasts = 0.0
        self._clean = make_warehouse()
        self._known: set[str] = set()
        self._expected = facts(self._clean)

    def run(self, kills: int, cancels: int = 0) -> None:
        self.tell(f"{self.what} killed", 0)
        with serve(self.service) as url:
            settings = settings_of(self.house, url, self.world)
            self._healthy(settings)
            while self.outcomes["killed"] < kills or self.outcomes["cancelled"] < cancels:
                for _ in range(self.rng.randint(1, 3)):
                    self.service.day += self.rng.random() < 0.7
                    self._ended(settings, self._way_to_end(kills, cancels))
                self._healthy(settings)
        print(f"seed {self.seed}: {dict(self.outcomes)}, stopped within {self.slowest_stop:.1f} s")
        self._clean.close()

    def _way_to_end(self, kills: int, cancels: int) -> str:
        if not cancels:
            return "killed"
        left = [kills - self.outcomes["killed"], cancels - self.outcomes["cancelled"]]
        return "killed" if self.rng.random() * sum(map(abs, left)) < left[0] else "cancelled"

    def _healthy(self, settings: dict[str, str]) -> None:
        with forked(self.sync, self.house, settings) as process:
            begun = time.monotonic()
            begin(process)
            code = process.line.recv()
            self._lasts = time.monotonic() - begun
            process.join(30)
        told = (self.house.folder / "printed").read_text()[-3000:]
        assert code == 0, f"{self._where('a healthy sync')}: {told}"
        self._check("a healthy sync")
        assert self.house.leftovers() == [], self._where("a healthy sync")
        with reading(self.house.address) as warehouse:
            shares = warehouse.query("SELECT * FROM backup_shares").to_pylist()
        expected = self._truth()
        names = next(iter(expected.values()))
        assert {row["share_id"]: {name: row[name] for name in names} for row in shares} == expected
        self.outcomes["healthy"] += 1

    def _truth(self) -> dict[str, dict[str, Any]]:
        (project,) = self.world.projects
        listings = {(project, str(way)): self.service.listing(project, way) for way in Direction}
        return canonical(listings, share_row, "share_id")

    def _ended(self, settings: dict[str, str], way: str) -> None:
        with forked(self.sync, self.house, settings) as process:
            after = self.rng.uniform(0, self._lasts)
            begin(process)
            process.join(after)
            begun = time.monotonic()
            if way == "killed":
                process.kill()
            else:  # by the system, by Dagster, by Ctrl-C
                with suppress(ProcessLookupError):  # it had just ended
                    os.kill(process.pid, self.rng.choice((signal.SIGTERM, signal.SIGINT)))
            process.join(30)
            stopped = time.monotonic() - begun
            what = f"a sync {way} after {after:.3f} s"
            assert process.exitcode is not None, self._where(what)
            assert stopped < 10, self._where(what)
            assert way == "killed" or ends_whole(process, 10 - stopped), self._where(what)
            # The command itself may have answered an interrupt; 0 is that it had ended by then.
            code = process.exitcode or process.line.recv()
            if code != 0:
                self.outcomes[way] += 1
                self.tell(f"{self.what} {way}")
                if way == "cancelled":
                    self.slowest_stop = max(self.slowest_stop, stopped)
        self._check(what)

    def _check(self, what: str) -> None:
        """What is published is what a clean load of those observations gives."""
        with reading(self.house.address) as warehouse:
            if warehouse is None:
                assert not self._known
                return
            recorded = warehouse.ledger().observation_ids
            published = facts(warehouse)
        assert recorded >= self._known, self._where(what)
        landed = landed_files(self.house.landing)
        if self.house.address.startswith("duckdb"):  # a file is published at once
            assert recorded in (self._known, {file.observation_id for file in landed}), self._where(what)
        if recorded > self._known:
            self._load_cleanly([file for file in landed if file.observation_id in recorded - self._known])
            self._known = set(recorded)
        assert published == self._expected, self._where(what)

    def _load_cleanly(self, files: list[LandedFile]) -> None:
        copy = House(self.house.folder / "clean", "")
        for file in files:
            target = copy.landing / file.name
            target.parent.mkdir(parents=True, exist_ok=True)
            os.link(file.path, target)
        assert load_pending(self._clean, copy.landing, copy.staging) == []
        shutil.rmtree(copy.folder)
        self._expected = facts(self._clean)

    def _where(self, what: str) -> str:
        return f"seed {self.seed}, after {dict(self.outcomes)}: {what}"


@parts(duckdb=4, postgresql=2)
def test_a_sync_killed_at_any_moment_leaves_a_whole_state_and_needs_no_hands(ground, part, tell):
    what = "syncs without Dagster"
    Operation(ground.house("house"), 20260301 + part, tell, sync_without_dagster, what).run(kills=25)


@pytest.mark.parametrize(("engine", "kills", "cancels"), [("duckdb", 8, 4), ("postgresql", 2, 0)], indirect=["engine"])
def test_whole_syncs_killed_and_cancelled_leave_whole_states_and_need_no_hands(ground, kills, cancels, tell):
    Operation(ground.house("house"), 20260302, tell, whole_sync).run(kills, cancels)


@pytest.mark.soak
@parts(duckdb=6, postgresql=1)
def test_hundreds_of_whole_syncs_killed_and_cancelled_leave_whole_states(ground, part, tell):
    Operation(ground.house("house"), int(time.time()) + part, tell, whole_sync).run(kills=50, cancels=10)


@pytest.mark.soak
@parts(duckdb=10, postgresql=5)
def test_hundreds_of_syncs_killed_leave_whole_states(ground, part, tell):
    what = "syncs without Dagster"
    Operation(ground.house("house"), int(time.time()) + part, tell, sync_without_dagster, what).run(kills=100)


# --- at the same time -------------------------------------------------------------------------------------------------

CHECKSUM = """
SELECT (SELECT count(*) FROM observations) AS observations,
    (SELECT md5(string_agg(direction || share_id || row_hash || opened_by || coalesce(closed_by, '-'), ''
        ORDER BY direction, share_id, opened_by)) FROM backup_share_history) AS shares,
    (SELECT md5(string_agg(direction || backup_id || row_hash || opened_by || coalesce(closed_by, '-'), ''
        ORDER BY direction, backup_id, opened_by)) FROM backup_history) AS backups
"""


def days_of_two_listings(rounds: int, rng: random.Random) -> tuple[list[Landed], dict[Any, Oracle]]:
    """One observation a round, and what the oracle says of the shares."""
    landed: list[Landed] = []
    oracles = {listing: Oracle() for listing in (OUT, IN)}
    for number in range(rounds):
        listing = rng.choice((OUT, IN))
        told = {key: rng.randrange(1, 4) for key in range(6) if rng.random() < 0.7}
        shares = [
            make_share(make_id("5", key), make_id("b", key // 2), updated_at=f"2026-02-1{version}T00:00:00")
            for key, version in told.items()
        ]
        observation = make_observation(day(1) + timedelta(hours=6 * number), listing)
        landed.append((observation, (make_page(*shares),)))
        seen = {make_id("5", key): version for key, version in told.items()}
        gone = {make_id("5", key) for key in range(6)} - seen.keys()
        oracles[listing].observe(observation.observed_at, observation.observation_id, seen, (), gone)
    return landed, oracles


def two_at_once(ground: "Builder", folder: Path, seed: int, rounds: int, tell: Callable[..., None]) -> None:
    tell("rounds of two loads at once, and a reader", 0)
    landed, oracles = days_of_two_listings(rounds, random.Random(seed))
    store = House(folder / "store", "")
    store.land(*landed)
    files = landed_files(store.landing)
    house = ground.house("house")
    start, end, over = FORKS.Barrier(3), FORKS.Barrier(3), FORKS.Event()
    clean = make_warehouse()
    allowed = [None, clean.query(CHECKSUM).to_pylist()]
    with (
        forked(race, house, start, end, rounds) as one,
        forked(race, house, start, end, rounds) as two,
        forked(watch, house, CHECKSUM, over) as reader,
    ):
        for process in (one, two, reader):
            begin(process)
        for file in files:
            target = house.landing / file.name
            target.parent.mkdir(parents=True, exist_ok=True)
            os.link(file.path, target)
            start.wait(60)
            end.wait(60)
            assert load_pending(clean, house.landing, folder / "staging") == []
            allowed.append(clean.query(CHECKSUM).to_pylist())
        over.set()
        complaints = [*one.line.recv(), *two.line.recv()]
        seen = reader.line.recv()
    assert not complaints, f"seed {seed}: {complaints}"
    assert [found for found in seen if found not in allowed] == [], f"seed {seed}"
    assert sorted(seen, key=allowed.index) == seen, "a reader went back in time"
    assert house.published() == facts(clean), f"seed {seed}"
    clean.close()
    versions = Counter((row[2], row[3]) for row in house.published()["backup_share_history"])
    stories = [(way, *story) for way, oracle in oracles.items() for story in oracle.versions.items()]
    expected = {(str(way.direction), key): len(story) for way, key, story in stories}
    assert versions == expected, f"seed {seed}"
    tell("rounds of two loads at once, and a reader", rounds)
    print(f"seed {seed}: the reader saw {len(seen)} states")


@pytest.mark.parametrize(("engine", "rounds"), [("duckdb", 40), ("postgresql", 15)], indirect=["engine"])
def test_two_processes_at_once_give_a_serial_result_and_a_reader_sees_whole_states_only(ground, tmp_path, rounds, tell):
    two_at_once(ground, tmp_path, 20260303, rounds, tell)


@pytest.mark.soak
@parts(duckdb=4, postgresql=2)
def test_thousands_of_rounds_of_two_processes_give_serial_results(ground, tmp_path, part, tell):
    two_at_once(ground, tmp_path, int(time.time()) + part, 250, tell)
