"""The change feed of a cloud of which some listings fail on some days, against the simulator's truth: every share is
told to have come and gone on the first day on which a proven listing could say so, and on no other.

Real requests, pages, confirmations, landing and loading, many days of them. Not here: disagreeing listings, and the
bounds of events (test_sql_bounds.py); the same days through Dagster (test_demo.py).
"""

import contextlib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from random import Random

import pytest

from pipelines.auth import StaticToken
from pipelines.client import ShareClient
from pipelines.extract import Options, observe_listings
from pipelines.load import known_shares, load_pending
from pipelines.observation import Listing, listings
from pipelines.simulator.faults import Fault
from pipelines.simulator.service import DEMO_TOKEN, Service
from pipelines.simulator.world import World
from pipelines.warehouse import Warehouse
from tests.fakes import transport
from tests.oracle import make_warehouse, rows
from tests.test_sql import ENGINES, warehouse_on

DAYS = 14
FAILING = 0.35
"""Part of the listings that are refused on a day."""


def sync(warehouse: Warehouse, folder: Path, world: World, day: int, refused: list[Listing]) -> None:
    """The verbs of a sync on one day of the world, at noon."""
    now = lambda: world.moment(day) + timedelta(hours=12)  # noqa: E731 - said in one line
    faults = [Fault(project_id=each.project_id, direction=each.direction, status=403) for each in refused]
    service = Service(world, day=day, faults=faults, clock=now, sleep=lambda _: None)
    with contextlib.closing(
        ShareClient(
            "http://simulator", StaticToken(DEMO_TOKEN), transport=transport(service), sleep=lambda _: None, now=now
        )
    ) as client:
        seen = observe_listings(
            dict.fromkeys(listings("eu-de", world.projects), client),
            folder / "landing",
            sync_id=f"sync of day {day}",
            now=now,
            known=known_shares(warehouse, folder / "landing"),
            options=Options(page_size=7),
        )
        unproven = [observation.listing for _, observation in seen if not observation.status.is_proven]
    assert sorted(map(str, unproven)) == sorted(map(str, refused))
    assert load_pending(warehouse, folder / "landing", folder / "staging") == []


@contextlib.contextmanager
def warehouse_of(engine: str, folder: Path, request: pytest.FixtureRequest) -> Iterator[Warehouse]:
    """A DuckDB file, as one in memory belongs to the thread that made it: listings are observed by others."""
    if engine == "duckdb":
        with contextlib.closing(make_warehouse(folder / "warehouse.duckdb")) as warehouse:
            yield warehouse
    else:
        with warehouse_on(engine, request) as warehouse:
            yield warehouse


class Witnesses:
    """What listings that can be asked on some days only know of the shares, and the events that follow from it."""

    def __init__(self, world: World) -> None:
        self.world, self.events = world, list[tuple[int, str, str]]()
        self._last_shown: dict[Listing, set[str]] = {each: set() for each in listings("eu-de", world.projects)}
        self.there: set[str] = set()

    def ask(self, day: int, refused: list[Listing]) -> None:
        shown, missed = set(), set()
        for listing in self._last_shown.keys() - set(refused):
            now = {record["id"] for record in self.world.listing(day, listing.project_id, listing.direction)}
            missed |= self._last_shown[listing] - now
            shown |= now
            self._last_shown[listing] = now
        self.events += [(day, "granted", share) for share in shown - self.there]
        self.events += [(day, "withdrawn", share) for share in (missed - shown) & self.there]
        self.there = (self.there - missed) | shown


@pytest.mark.parametrize(("engine", "seed"), [*((ENGINES[0], seed) for seed in (1, 2)), (ENGINES[1], 4)])
def test_every_share_comes_and_goes_on_the_first_day_on_which_a_proven_listing_says_so(engine, seed, tmp_path, request):
    chance = Random(seed)
    world = World(seed, projects=3, shares=40, new_rate=0.1, withdrawn_rate=0.1, return_rate=0.8)
    witnesses = Witnesses(world)
    with warehouse_of(engine, tmp_path, request) as warehouse:
        for day in range(DAYS):
            refused = [each for each in listings("eu-de", world.projects) if chance.random() < FAILING]
            sync(warehouse, tmp_path, world, day, refused)
            witnesses.ask(day, refused)
            feed = rows(warehouse, "SELECT seen_at, change_type, share_id FROM backup_share_changes")
            told = sorted(((at - world.moment(0)).days, kind, share) for at, kind, share in feed if kind != "changed")
            assert told == sorted(witnesses.events), f"seed {seed}, day {day}"
            there = rows(warehouse, "SELECT share_id FROM backup_shares")
            assert sorted(share for (share,) in there) == sorted(witnesses.there), f"seed {seed}, day {day}"
    assert sum(kind == "withdrawn" for _, kind, _ in witnesses.events) > DAYS
