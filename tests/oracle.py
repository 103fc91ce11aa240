"""The dumb oracle of the history, and factories: shares as the API tells them, pages, landed observations, dumps.

The oracle knows nothing of the pipeline: it is a dictionary and a loop, and slow on purpose.
Not here: listings that change under the walk (model_listing.py), HTTP (fakes.py).
"""

import copy
import functools
import json
import random
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from pipelines.duckdb_file import open_engine
from pipelines.landing import LandedFile, LandingWriter
from pipelines.normalize import Normalized, normalize_pages
from pipelines.observation import Direction, Listing, Observation, Page, ProofStatus
from pipelines.publish import writing
from pipelines.schema import metadata
from pipelines.warehouse import Warehouse
from tests.postgres import Postgres

REGION = "eu-test-1"
ALICE, BOB, CAROL = "a1" * 16, "b2" * 16, "c3" * 16
OUT, IN = Listing(REGION, ALICE, Direction.OUTGOING), Listing(REGION, BOB, Direction.INCOMING)
"""What Alice shares, and what is shared with Bob."""


def make_id(kind: str, number: int) -> str:
    """`make_id("5", 3)` is the third id of its kind."""
    return str(uuid.UUID(f"{kind * 8}-0000-4000-8000-{number:012d}"))


S1, S2, S3 = (make_id("5", number) for number in (1, 2, 3))
B1, B2, B3 = (make_id("b", number) for number in (1, 2, 3))


def day(number: int, hour: int = 6) -> datetime:
    """Six in the morning of a day of March 2026, UTC."""
    return datetime(2026, 3, number, hour, tzinfo=UTC)


def make_backup(backup_id: str, **changes: Any) -> dict[str, Any]:
    return {
        "id": backup_id,
        "name": "nightly",
        "status": "available",
        "size": 40,
        "volume_id": make_id("d", 1),
        "created_at": "2026-02-01T00:00:00.000000",
        "updated_at": None,
        **changes,
    }


def make_share(share_id: str, backup_id: str, **changes: Any) -> dict[str, Any]:
    """A share of Alice's with Bob; `backup` may be given as a whole, other names replace the share's own fields."""
    return {
        "id": share_id,
        "backup_id": backup_id,
        "from_project_id": ALICE,
        "to_project_id": BOB,
        "created_at": "2026-02-02T00:00:00.000000",
        "updated_at": None,
        "backup": make_backup(backup_id),
        **changes,
    }


def make_page(*shares: dict[str, Any] | str) -> bytes:
    """A page of shares; a string stands for the JSON text of a record that is not one."""
    texts = [share if isinstance(share, str) else json.dumps(share) for share in shares]
    return b'{"shared": [' + ", ".join(texts).encode("utf-8", "surrogatepass") + b"]}"


EVERY_SHARE = tuple(make_id("5", number) for number in range(20))
"""As if the service had said of every share that is on no page that it is gone."""


def make_observation(at: datetime, listing: Listing = OUT, **changes: Any) -> Observation:
    fields: dict[str, Any] = {
        "sync_id": f"sync of {at:%m-%d %H}",
        "listing": listing,
        "observed_at": at,
        "finished_at": at + timedelta(minutes=1),
        "status": ProofStatus.EXACT,
        "may_close": True,
        "reason": "",
        "error_code": "",
        "count_before": None,
        "count_after": None,
        "distinct_ids": 0,
        "pass_count": 1,
        "page_count": 1,
        "request_count": 1,
        "gone_ids": EVERY_SHARE,
    }
    return Observation(**fields | changes)


UNPROVEN: dict[str, Any] = {"status": ProofStatus.INCOMPLETE, "may_close": False, "reason": "rows are missing"}


def land(root: Path, observation: Observation, *pages: bytes) -> LandedFile:
    with LandingWriter(root, observation.listing) as writer:
        for number, body in enumerate(pages):
            times = (observation.observed_at, observation.observed_at)
            page = Page(number * 1000, 1000, False, body, *times, f"req-{number}")
            writer.add(page, _record_count(body))
        return writer.commit(observation)


def _record_count(body: bytes) -> int:
    try:
        return len(json.loads(body)["shared"])
    except (ValueError, LookupError, TypeError):
        return 0  # a page that is none, for a test of what becomes of it


def make_warehouse(path: str | Path = ":memory:") -> Warehouse:
    """A warehouse with its tables, neither copied nor published."""
    if path != ":memory:":
        shutil.copyfile(_template(), path)
        return open_warehouse(path)
    warehouse = open_warehouse(path)
    with warehouse._engine.connect() as connection:
        for statement in (
            f"ATTACH '{_template()}' AS template (READ_ONLY)",
            "COPY FROM DATABASE template TO memory",
            "DETACH template",
        ):
            connection.exec_driver_sql(statement)
            connection.commit()
    return warehouse


@functools.cache
def _template() -> Path:
    """An empty warehouse as `migrate` makes it, to be copied: that takes a fifth of the time."""
    folder = tempfile.TemporaryDirectory(prefix="template-")
    _KEPT.append(folder)
    file = Path(folder.name) / "warehouse.duckdb"
    warehouse = open_warehouse(file)
    warehouse.migrate()
    warehouse.close()
    return file


_KEPT: list[tempfile.TemporaryDirectory[str]] = []


def make_server_warehouse(server: Postgres) -> str:
    """The address of a warehouse with its tables in a database of its own, as quickly."""
    return server.create_database(like=_template_on(server))


@functools.cache
def _template_on(server: Postgres) -> str:
    address = server.create_database()
    with writing(address):
        return address


def open_warehouse(path: str | Path) -> Warehouse:
    return Warehouse(open_engine(Path(path), Path(path)))


def record(warehouse: Warehouse, observation: Observation, *pages: bytes, sha: str = "of the file") -> None:
    """Without a landing, where a test is not about files."""
    record_normalized(warehouse, observation, _normalized(pages, observation.excluded_ids), sha)


_normalized = functools.cache(normalize_pages)


def record_normalized(
    warehouse: Warehouse, observation: Observation, normalized: Normalized, sha: str = "of the file"
) -> None:
    name = f"{observation.observation_id}.parquet"
    file = LandedFile(Path("nowhere"), name, observation.listing, observation.observed_at, observation.observation_id)
    warehouse.record(observation, file, sha, normalized)


def rows(warehouse: Warehouse, sql: str, **parameters: Any) -> list[tuple[Any, ...]]:
    return list(zip(*(column.to_pylist() for column in warehouse.query(sql, **parameters).columns), strict=True))


def dump(warehouse: Warehouse) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table in an order that only depends on the rows."""
    return {name: sorted(rows(warehouse, f"SELECT * FROM {name}"), key=repr) for name in metadata.tables}


def histories(warehouse: Warehouse) -> dict[str, list[tuple[Any, ...]]]:
    return {name: table for name, table in dump(warehouse).items() if name != "observations"}


class Oracle:
    """What one listing must look like: key -> list of [from, to, content, opened by, closed by]."""

    def __init__(self) -> None:
        self.versions: dict[str, list[list[Any]]] = {}
        self.snapshots: dict[date, tuple[datetime, dict[str, Any]]] = {}

    def observe(
        self, at: datetime, by: str, seen: dict[str, Any], untouchable: Iterable[str], gone: Iterable[str]
    ) -> None:
        for key in self.versions.keys() | seen.keys():
            versions = self.versions.setdefault(key, [])
            current = versions[-1] if versions and versions[-1][1] is None else None
            if key in untouchable:
                continue
            if current and (seen[key] != current[2] if key in seen else key in gone):
                current[1], current[4] = at, by
                current = None
            if key in seen and not current:
                versions.append([at, None, seen[key], by, None])
        self.snapshots[at.date()] = (at, copy.deepcopy(self.current()))

    def current(self) -> dict[str, Any]:
        return {key: story[-1] for key, story in self.versions.items() if story and story[-1][1] is None}


Clean = Callable[[Any], str]


def shortener(names: dict[Any, str]) -> Clean:
    """Values as a reader of a diary writes them: ids by their nicknames, days as `d4`, null as `-`."""

    def short(value: Any) -> str:
        match value:
            case None:
                return "-"
            case datetime() if value.year == 9999:
                return f"{value:%Y-%m-%d}"
            case datetime():
                return f"d{value.day}" if value == day(value.day) else f"d{value.day}@{value:%H}"
            case date():
                return f"{value:%m-%d}"
            case _:
                return names.get(value, str(value))

    return short


# --- generated histories ----------------------------------------------------------------------------------------------

KEYS_OF_GROUP = 6
CONTENTS = ("2026-02-02T00:00:00.000000", "2026-02-03T00:00:00.000000", "2026-02-04T00:00:00.000000")
PLANS = (
    ["observe"] * 8
    + ["unproven", "unproven", "not closable", "rerun", "rerun", "forged", "backdated", "backdated"]
    + ["unreadable record", "unreadable share id", "unreadable backup id", "not a record"]
)


class Step:
    """One thing that happens to one listing: an observation with its pages, and what must come of it."""

    def __init__(self, plan: str, observation: Observation, pages: tuple[bytes, ...]) -> None:
        self.plan, self.observation, self.pages = plan, observation, pages

    def __repr__(self) -> str:
        return f"{self.plan}: {self.observation.listing.direction} at {self.observation.observed_at:%m-%d %H}"


class Story:
    """A generated history of one or two listings in a region of its own, and the oracle's account of it.

    `steps` is made in advance; `tell(step)` lets the oracle know that the step happened.
    """

    def __init__(
        self,
        seed: int,
        restlessness: float = 0.35,
        *,
        groups: int = 1,
        plans: Sequence[str] = PLANS,
        witnesses: int | None = None,
        togetherness: float = 0,
        length: int | None = None,
        harmony: bool = False,
    ) -> None:
        """`restlessness`: the chance that a share or the name of a backup changes between two observations.

        A group is six shares of three backups. Groups know nothing of each other, but the walks are common to all.
        `witnesses`: the number of listings, else one or two; all tell of the same shares. `togetherness`: the chance
        that a walk belongs to the sync of the walk before it. `length`: the number of steps, else a few.
        `harmony`: all listings are of one world, else each is of its own.
        """
        self.seed, self.region, self.restlessness = seed, f"seed-{seed}", restlessness
        self.togetherness = togetherness
        self.groups, self.keys, self.plans = groups, range(KEYS_OF_GROUP * groups), plans
        self.random = random.Random(seed)
        everybody = [
            Listing(self.region, ALICE, Direction.OUTGOING),
            Listing(self.region, BOB, Direction.INCOMING),
            Listing(self.region, CAROL, Direction.INCOMING),
        ]
        self.listings = everybody[: witnesses or self.random.choice((1, 2))]
        self.shares = {listing: Oracle() for listing in self.listings}
        self.backups = {listing: Oracle() for listing in self.listings}
        self.ledger: list[tuple[Any, ...]] = []
        self.rejects: list[tuple[Any, ...]] = []
        world: dict[int, int] = {}
        self._truth = {listing: world if harmony else {} for listing in self.listings}
        self._names: dict[str, str] = {}
        self._clock = day(1, self.random.randrange(24))
        self._accepted: list[Step] = []
        self._seen: dict[str, tuple[Any, ...]] = {}
        self._told: list[Step] = []
        self.steps = [self._step(number) for number in range(length or min(self.random.randint(5, 12) for _ in "abcd"))]

    def _step(self, number: int) -> Step:
        plan, listing = self.random.choice(self.plans), self.random.choice(self.listings)
        earlier = [step for step in self._accepted if step.observation.listing == listing]
        if not earlier and plan in ("rerun", "forged", "backdated"):
            plan = "observe"
        if plan in ("rerun", "forged"):
            before = self.random.choice(earlier)
            return Step(plan, before.observation, before.pages)
        if plan == "backdated":
            at = earlier[-1].observation.observed_at - timedelta(hours=self.random.choice((0, 0, 1, 50)))
            late = make_observation(at, listing, sync_id=f"late {number}")
            return Step(plan, late, (make_page(),))
        sync_id, elsewhere = f"sync {number}", []
        if self.togetherness and self._accepted and self.random.random() < self.togetherness:
            sync_id = self._accepted[-1].observation.sync_id
            walked = {s.observation.listing for s in self._accepted if s.observation.sync_id == sync_id}
            elsewhere = [each for each in self.listings if each not in walked]
        if elsewhere:
            listing = self.random.choice(elsewhere)
            self._clock += timedelta(seconds=1)
        else:
            sync_id = f"sync {number}"
            self._clock += timedelta(hours=self.random.choice((1, 5, 12, 24, 30, 48)))
        step = self._observe(plan, listing, sync_id)
        self._accepted.append(step)
        return step

    def _observe(self, plan: str, listing: Listing, sync_id: str) -> Step:
        if plan == "unproven":
            status = self.random.choice((ProofStatus.INCOMPLETE, ProofStatus.FAILED))
            # May it close or not: without a proof it is not asked.
            may_close = self.random.random() < 0.5
            return Step(plan, make_observation(self._clock, listing, status=status, may_close=may_close), ())
        truth = self._truth[listing]
        for key in self.keys:
            if self.random.random() < self.restlessness:
                # The keys name backups too, twice as many as there are.
                self._names[make_id("b", key)] = self.random.choice(("one", "one", "two", "three"))
            if self.random.random() < self.restlessness:
                truth[key] = self.random.randrange(len(CONTENTS) + 1)
        told = {key: content for key, content in truth.items() if content < len(CONTENTS)}
        bad = self._bad_record(plan)
        excluded = tuple(make_id("5", key) for key in told if self.random.random() < 0.05 / self.groups)
        seen: tuple[Any, ...] = ({}, {}, set(), set(), bad[1:] if bad else None)
        texts: list[Any] = [bad[0]] if bad else []
        for key, content in told.items():
            share_id, backup_id = make_id("5", key), self._backup_of(key, content)
            backup = (
                make_backup(backup_id, name=self._names.get(backup_id, "one")) if self.random.random() < 0.85 else None
            )
            texts.append(make_share(share_id, backup_id, updated_at=CONTENTS[content], backup=backup))
            if share_id in excluded or (bad and share_id == bad[1]):
                continue
            seen[0][share_id] = f"{backup_id} {CONTENTS[content]}"
            if backup:
                seen[1][backup_id] = backup["name"]
            else:
                seen[3].add(backup_id)
        seen[3].difference_update(seen[1])  # told by another share
        if bad:
            seen[2].update({bad[1]} - {None})
            seen[3].update({bad[2]} - {None})
        status = self.random.choice((ProofStatus.EXACT, ProofStatus.COVERED))
        observation = make_observation(
            self._clock,
            listing,
            sync_id=sync_id,
            status=status,
            may_close=plan != "not closable",
            excluded_ids=excluded,
            gone_ids=tuple(make_id("5", key) for key in self.keys if key not in told and self.random.random() < 0.85),
            distinct_ids=len({make_id("5", key) for key in told} - set(excluded)),
        )
        self._seen[observation.observation_id] = seen
        return Step(plan, observation, self._pages(texts))

    @staticmethod
    def _backup_of(key: int, content: int) -> str:
        """Two shares have one backup; the third content is of another one."""
        group, place = divmod(key, KEYS_OF_GROUP)
        return make_id("b", KEYS_OF_GROUP * group + (place // 2 + (content == 2)) % 3)

    def _bad_record(self, plan: str) -> tuple[Any, str | None, str | None] | None:
        """A record that cannot be read, and which ids of it can."""
        key = self.random.choice(self.keys)
        share_id, backup_id = make_id("5", key), self._backup_of(key, 0)
        match plan:
            case "unreadable record":
                return make_share(share_id, backup_id, created_at="yesterday"), share_id, backup_id
            case "unreadable share id":
                return make_share("the fifth", backup_id), None, backup_id
            case "unreadable backup id":
                return make_share(share_id, "the best", backup=None), share_id, None
            case "not a record":
                return "42", None, None
        return None

    def _pages(self, texts: list[Any]) -> tuple[bytes, ...]:
        self.random.shuffle(texts)
        cut = self.random.randint(0, len(texts))
        # Pages overlap by a row on purpose.
        return make_page(*texts[:cut]), make_page(*texts[max(cut - 1, 0) :])

    def is_accepted(self, step: Step) -> bool:
        return step.plan not in ("rerun", "forged", "backdated")

    def tell(self, step: Step) -> None:
        if not self.is_accepted(step):
            return
        self._told.append(step)
        at, by, listing = step.observation.observed_at, step.observation.observation_id, step.observation.listing
        counts: tuple[int, ...] = (0,) * 8
        if step.plan != "unproven":
            shares, backups, share_shield, backup_shield, bad = self._seen[by]
            # A record without readable id could be any share; what the walk saw all the same is not gone.
            may_close = step.observation.may_close and (not bad or bad[0] is not None)
            gone = step.observation.gone_ids if may_close else ()
            self.shares[listing].observe(at, by, shares, share_shield | set(step.observation.excluded_ids), gone)
            referenced = {content[2].split()[0] for content in self.shares[listing].current().values()}
            readable = not bad or bad[1] is not None
            unreferenced = self.backups[listing].current().keys() - referenced if readable else ()
            self.backups[listing].observe(at, by, backups, backup_shield, unreferenced)
            if bad:
                self.rejects.append((by, bad[0] or "-", bad[1] or "-"))
            counts = (
                len(shares),
                len({told.split()[0] for told in shares.values()}),
                int(bad is not None),
                *self._counts(listing, by),
            )
        self.ledger.append((by, at, str(step.observation.status), step.plan != "unproven", *counts))

    def _counts(self, listing: Listing, by: str) -> tuple[int, ...]:
        opened = {key for key, story in self.shares[listing].versions.items() for v in story if v[3] == by}
        closed = {key for key, story in self.shares[listing].versions.items() for v in story if v[4] == by}
        backups = [version for story in self.backups[listing].versions.values() for version in story]
        return (
            len(opened - closed),
            len(opened & closed),
            len(closed - opened),
            sum(version[3] == by for version in backups),
            sum(version[4] == by for version in backups),
        )

    def history(self, kind: dict[Listing, Oracle]) -> list[tuple[Any, ...]]:
        """Expected rows: direction, key, content, valid_from, valid_to, opened_by, closed_by."""
        return sorted(
            (str(listing.direction), key, content, start, end or FOR_EVER, opened, closed or "")
            for listing, oracle in kind.items()
            for key, story in oracle.versions.items()
            for start, end, content, opened, closed in story
        )

    def current(self, kind: dict[Listing, Oracle]) -> list[tuple[Any, ...]]:
        """Expected rows: key, content, direction, valid_from, last_observed_at.

        Of the listings that ever told of the key those speak that did so in the latest sync, the giver's first. Where
        it is open a listing speaks of it whenever it is proven, else it spoke last when it proved it gone.
        """
        found: dict[str, tuple[Any, ...]] = {}
        syncs = self._syncs()
        number = {step.observation.observation_id: n for n, sync in enumerate(syncs) for step in sync}
        last = self._last_proofs(syncs)
        for listing in self.listings:  # outgoing first
            for key, (start, _, content, _, _) in kind[listing].current().items():
                stories = {each: kind[each].versions[key] for each in self.listings if kind[each].versions.get(key)}
                spoke = [number[story[-1][4]] if story[-1][4] else last[each][0] for each, story in stories.items()]
                if last[listing][0] == max(spoke):
                    found.setdefault(key, (key, content, str(listing.direction), start, last[listing][1]))
        return sorted(found.values())

    def _syncs(self) -> list[list[Step]]:
        """What was told so far, sync by sync."""
        found: dict[str, list[Step]] = {}
        for step in self._told:
            found.setdefault(step.observation.sync_id, []).append(step)
        return list(found.values())

    @staticmethod
    def _last_proofs(syncs: list[list[Step]]) -> dict[Listing, tuple[int, datetime]]:
        """Number of the sync and instant at which each listing was proven last."""
        return {
            step.observation.listing: (number, step.observation.observed_at)
            for number, sync in enumerate(syncs)
            for step in sync
            if step.plan != "unproven"
        }

    def events(self, kind: dict[Listing, Oracle]) -> list[tuple[Any, ...]]:
        """Expected events: key, `+`, `-` or what it changed to, and the observation that tells it.

        Sync by sync: what do all listings that ever told of the key say of it now, and what did they say before?
        """
        found: list[tuple[Any, ...]] = []
        syncs = self._syncs()
        proofs_by = [self._last_proofs(syncs[:number]) for number in range(len(syncs) + 1)]
        for key in sorted({key for oracle in kind.values() for key in oracle.versions}):
            was_there = False
            changes: list[tuple[int, Listing, Any]] = []
            for number in range(len(syncs)):
                before, proofs = proofs_by[number], proofs_by[number + 1]
                by = {s.observation.listing: s.observation for s in syncs[number] if s.plan != "unproven"}
                end = max(step.observation.observed_at for step in syncs[number])
                start = min(step.observation.observed_at for step in syncs[number])
                now = {each: self._content_at(kind[each], key, end) for each in self.listings}
                then = {each: self._content_at(kind[each], key, start, before=True) for each in self.listings}
                gone = [
                    n
                    for n, sync in enumerate(syncs[: number + 1])
                    for step in sync
                    for version in kind[step.observation.listing].versions.get(key, [])
                    if version[4] == step.observation.observation_id and now[step.observation.listing] is None
                ]
                showing = [e for e in self.listings if now[e] is not None and proofs[e][0] >= max(gone, default=0)]
                if showing and not was_there:
                    teller = next((each for each in showing if then[each] is None and each in by), showing[0])
                    found.append((key, "+", by[teller].observation_id))
                elif was_there and not showing:
                    teller = next(e for e in self.listings if e in by and then[e] is not None and now[e] is None)
                    found.append((key, "-", by[teller].observation_id))
                knowing = [e for e in self.listings if e in by and None not in (then[e], now[e])]
                changes += [(number, each, now[each]) for each in knowing if then[each] != now[each]]
                if showing and was_there and knowing and (number, knowing[0], now[knowing[0]]) in changes:
                    teller = knowing[0]
                    missed = range(before[teller][0] + 1, number)
                    if not any(n in missed and e != teller and c == now[teller] for n, e, c in changes):
                        found.append((key, now[teller], by[teller].observation_id))
                was_there = bool(showing)
        return sorted(found)

    @staticmethod
    def _content_at(oracle: Oracle, key: str, at: datetime, *, before: bool = False) -> Any:
        """What the listing said of the key at a moment, or just before it; None: that it is not there."""
        for start, end, content, _, _ in oracle.versions.get(key, []):
            if (start < at if before else start <= at) and (end is None or (at <= end if before else at < end)):
                return content
        return None

    def snapshots(self, kind: dict[Listing, Oracle]) -> list[tuple[Any, ...]]:
        """Expected rows: date, key, content, direction, observed_at."""
        found: dict[tuple[date, str], tuple[Any, ...]] = {}
        for listing in self.listings:
            for of_day, (at, state) in kind[listing].snapshots.items():
                for key, version in state.items():
                    found.setdefault((of_day, key), (of_day, key, version[2], str(listing.direction), at))
        return sorted(found.values())


FOR_EVER = datetime(9999, 12, 31, tzinfo=UTC)
