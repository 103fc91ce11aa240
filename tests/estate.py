"""An estate of many projects, each struck by a fault of its own, observed day by day through the real client and the
verbs; what must be true of it; and canaries.

Day 0 is healthy and recorded once for all tests. On day 1 every listing but the bystanders is struck, on day 2 all is
well again. Time is virtual: only `sleep` moves the clock.
Not here: which faults there are and what must come of each (test_fault_matrix*.py).
"""

import contextlib
import io
import logging
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from pipelines.client import Reply, ShareClient
from pipelines.errors import BackupSharesError
from pipelines.extract import Options, observe_listings
from pipelines.landing import landed_files, read_pages
from pipelines.load import Unloaded, known_shares, load_pending, pending_files, stage
from pipelines.observation import Direction, Listing, Observation
from pipelines.simulator.behaviour import Behaviour, Call, parameters
from pipelines.simulator.faults import parse
from pipelines.simulator.records import KEY_MATERIAL_MARK
from pipelines.simulator.server import serve
from pipelines.simulator.service import Service
from pipelines.simulator.wire import Response
from pipelines.simulator.world import World
from pipelines.traffic import Traffic
from tests.fakes import all_texts, transport
from tests.oracle import dump, open_warehouse
from tests.truth import backup_row, share_row

REGION = "eu-de"
SHARES, BACKUPS = "backup_share_history", "backup_history"
TOKEN = "gAAAAcanary/token+that-must/never-be=seen"
"""Holds signs that JSON and URLs may write in another way."""
FIRST_DAY = datetime(2026, 3, 1, 6, tzinfo=UTC)
PAGE = 5
"""Rows asked for at once: about four pages a listing."""
WORLD = World(seed=3, projects=26, shares=900, new_rate=0.1, withdrawn_rate=0.07, change_rate=0.1)


def _listings() -> list[Listing]:
    """One of every project, outgoing and incoming in turns."""
    ways = (Direction.OUTGOING, Direction.INCOMING)
    return [Listing(REGION, project, ways[number % 2]) for number, project in enumerate(WORLD.projects)]


LISTINGS = _listings()
BYSTANDERS, TARGETS = LISTINGS[:2], LISTINGS[2:]

# --- rows of the matrix -----------------------------------------------------------------------------------------------

Outcome = Literal["complete", "failed", "incomplete", "quarantined", "read", "never wrong"]
"""complete: the listing is proven, and its history is the truth. failed, incomplete: its history is what it was.
quarantined: complete but for one record, which is kept aside with a reason. read: complete but for one value, which is
read by a rule. never wrong: one of the others; what is proven then has nothing missing and nothing made up."""


@dataclass(frozen=True)
class Row:
    """One line of the fault matrix. `faults` as for `backup-shares simulate --fault`, several of them on lines of their
    own; they strike one listing. `words`: what the operator must be told (of a quarantined record: its reason).
    `position`: of the record that is struck, in the order of the ids. `value`: the column that is read by a rule, and
    what it must hold. `closes`: whether absent shares may be recorded as withdrawn.
    """

    name: str
    faults: str
    outcome: Outcome
    words: tuple[str, ...] = ()
    position: str = "middle"
    value: tuple[str, Any] = ("", None)
    closes: bool = True

    def struck(self, listing: Listing) -> list[Behaviour]:
        faults = [parse(text.strip()) for text in self.faults.splitlines()]
        place = {"project_id": listing.project_id, "direction": listing.direction}
        return [type(fault)(**vars(fault) | place) for fault in faults]


@dataclass
class Found:
    """What came of a row: on day 1 when it was struck, and on day 2."""

    observation: Observation
    is_unchanged: bool
    untrue: str
    """Where the history is not the truth; empty if it is."""
    wrong: str
    """Which shares are missing that were always there, or made up."""
    rejected: list[dict[str, Any]]
    is_victim_untouched: bool
    read: dict[str, Any]
    """The record that was struck, as it stands in the histories."""
    recovered: str
    """What is not as it should be on day 2; empty if nothing."""


@dataclass
class Campaign:
    """All rows of one estate, and what concerns them all."""

    found: dict[str, Found]
    bystanders: str
    leaks: list[str]
    renewals: dict[str, int]


@cache
def campaign(rows: tuple[Row, ...], page_size: int, over_a_port: bool) -> Campaign:
    """Strike one listing for each row, all on the same day."""
    assert len(rows) <= len(TARGETS)
    targets = dict(zip(rows, TARGETS, strict=False))
    with tempfile.TemporaryDirectory() as folder, estate_at(Path(folder), [*BYSTANDERS, *targets.values()]) as estate:
        before = {row: estate.history(listing) for row, listing in targets.items()}
        faults = [fault for row, listing in targets.items() for fault in row.struck(listing)]
        with serve(estate.service) if over_a_port else contextlib.nullcontext("") as endpoint:
            seen = estate.sync(1, *faults, page_size=page_size, endpoint=endpoint, read_timeout=0.2)
        rejected = estate.ask("SELECT * FROM rejected_records")
        found = {row.name: _found(estate, seen.observations[targets[row]], before[row], row, rejected) for row in rows}
        bystanders = [complaint for each in BYSTANDERS if (complaint := estate.untrue(each))]
        leaks = estate.leaks()
        # Where very much has changed a person is asked, and says yes.
        recovery = estate.sync(2, release_held=True)
        for row, listing in targets.items():
            status = recovery.observations[listing].status
            found[row.name].recovered = estate.untrue(listing) or ("" if status.is_proven else str(status))
        return Campaign(found, "\n".join(bystanders), leaks + estate.leaks(), dict(estate.tokens.renewals))


def _found(estate: "Estate", observation: Observation, before: Any, row: Row, rejected: Any) -> Found:
    listing = observation.listing
    ids = sorted(record["id"] for record in estate.truth(listing))
    place = {"first": slice(1), "middle": slice(len(ids) // 2, len(ids) // 2 + 1), "last": slice(-1, None)}
    victims = set(ids[place.get(row.position, slice(None))]) if row.outcome in ("quarantined", "read") else set()
    return Found(
        observation=observation,
        is_unchanged=estate.history(listing) == before,
        untrue=estate.untrue(listing, but=victims, closes=row.closes),
        wrong=estate.wrong(listing),
        rejected=[each for each in rejected if each["observation_id"] == observation.observation_id],
        is_victim_untouched=_of(before, victims) == _of(estate.history(listing), victims),
        read=_as_read(estate, listing, victims),
        recovered="not tried",
    )


def _as_read(estate: "Estate", listing: Listing, victims: set[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for share in estate.open_rows(SHARES, listing):
        if share["share_id"] in victims:
            found |= share
    for backup in estate.open_rows(BACKUPS, listing):
        if backup["backup_id"] == found.get("backup_id"):
            found |= backup
    return found


def _of(history: Any, share_ids: Iterable[str]) -> list[Any]:
    return [version for version in history[SHARES] if set(share_ids) & set(version)]


def check(row: Row, rows: tuple[Row, ...], page_size: int = PAGE, *, over_a_port: bool = False) -> Found:
    """All that must hold of a row; `rows`: those that strike on the same day."""
    whole = campaign(rows, page_size, over_a_port)
    found = whole.found[row.name]
    observation = found.observation
    told = observation.reason
    match row.outcome:
        case "complete":
            assert observation.status.is_proven, told
            assert not found.untrue, found.untrue
            assert not found.rejected
        case "failed" | "incomplete":
            assert observation.status == row.outcome, told
            assert not observation.may_close
            assert found.is_unchanged
        case "quarantined":
            assert observation.status.is_proven, told
            assert not found.untrue, found.untrue
            assert found.is_victim_untouched
            assert found.rejected
            told = " | ".join({each["reason"] for each in found.rejected})
        case "read":
            assert observation.status.is_proven, told
            assert not found.untrue, found.untrue
            assert not found.rejected
            column, expected = row.value
            assert found.read[column] == expected
        case "never wrong":
            assert observation.status.is_proven or (found.is_unchanged and told)
            assert not (observation.status.is_proven and found.wrong), found.wrong
    assert all(word in told for word in row.words), told
    assert not any(char < " " or "\x7f" <= char < "\xa0" for char in told)
    assert not found.recovered, found.recovered
    assert not whole.bystanders, whole.bystanders
    assert not whole.leaks, whole.leaks
    return found


# --- the estate -------------------------------------------------------------------------------------------------------


@parameters
class Telltale(Behaviour):
    """Every answer quotes the token that it got: in headers, and in whatever error there is, in two spellings."""

    def answered(self, response: Response, call: Call) -> Response:
        token = call.request.token
        told = response.with_headers(("X-Echo", token), ("Set-Cookie", f"session={token}"))
        if response.status == 200 or not token:
            return told
        slashes = token.replace("/", "\\/")
        body = response.body
        for key in (b'"message": "', b'"error_msg": "', b'"errorMsg": "'):
            body = body.replace(key, key + f"about {token} or {slashes}: ".encode())
        return Response(told.status, body, told.headers, told.delay, told.steps)


class Tokens:
    """Gives the token, and the same again when it is refused; counts how often that is."""

    def __init__(self) -> None:
        self.renewals: dict[str, int] = {}

    def token(self, project_id: str) -> str:
        return TOKEN

    def renewed(self, project_id: str, refused: str) -> str | None:
        self.renewals[project_id] = self.renewals.get(project_id, 0) + 1
        return TOKEN


class WatchedClient(ShareClient):
    """Keeps all that an error could show, before anyone takes the error away."""

    said: list[str]

    def page(self, *args: Any, **kwargs: Any) -> Reply:
        with self._listening():
            return super().page(*args, **kwargs)

    def count(self, *args: Any, **kwargs: Any) -> int | None:
        with self._listening():
            return super().count(*args, **kwargs)

    @contextlib.contextmanager
    def _listening(self) -> Iterator[None]:
        try:
            yield
        except BackupSharesError as error:
            self.said.append(all_texts(error))
            raise


@dataclass
class Seen:
    """What came of one sync; `sent` counts the requests that the service got."""

    observations: dict[Listing, Observation]
    unloaded: list[Unloaded]
    sent: int


class Estate:
    """A service, a landing and a warehouse; `said`: everything that was said aloud, logs, errors, what errors hide."""

    def __init__(self, folder: Path, wanted: Sequence[Listing], **service: Any) -> None:
        self.folder, self.wanted = folder, list(wanted)
        clock = lambda: FIRST_DAY + timedelta(seconds=self.time)  # noqa: E731 - said in one line
        self.service = Service(WORLD, **{"token": TOKEN, "clock": clock, "sleep": self.sleep, **service})
        self.warehouse = open_warehouse(folder / "warehouse.duckdb")
        self.landing, self.staging = folder / "landing", folder / "staging"
        self.said: list[str] = []
        self.tokens = Tokens()
        self.time = 0.0
        self._first = 0
        self._versions: dict[tuple[str, str, str], list[dict[str, Any]]] = {}

    def sleep(self, seconds: float) -> None:
        self.time += seconds

    def sync(
        self,
        day: int,
        *faults: Behaviour,
        endpoint: str = "",
        page_size: int = PAGE,
        retry_floor: int = 10_000,
        release_held: bool = False,
        **arguments: Any,
    ) -> Seen:
        """One day: observe, stage, record; in memory, or over a port where there is an `endpoint`.

        Rows must not take repeats from one another, hence the `retry_floor`.
        """
        self.service.faults = (*faults, Telltale())
        self.service.day = day
        self._first = len(self.service.history)
        now = FIRST_DAY + timedelta(days=day)
        keep = {"sleep": self.sleep, "clock": lambda: self.time}
        carrier = {} if endpoint else {"transport": transport(self.service)}
        arguments = {"now": lambda: now, "jitter": lambda: 0.5, **keep, **carrier, **arguments}
        traffic = Traffic(retry_floor=retry_floor, sleep=arguments["sleep"], clock=arguments["clock"])
        tokens = arguments.pop("tokens", self.tokens)
        client = WatchedClient(endpoint or "http://simulator", tokens, traffic=traffic, **arguments)
        client.said = self.said
        with contextlib.closing(client):
            observed = observe_listings(
                dict.fromkeys(self.wanted, client),
                self.landing,
                sync_id=f"day {day}",
                now=lambda: now,
                known=known_shares(self.warehouse, self.landing),
                options=Options(page_size=page_size, concurrency=1, release_held=release_held),
            )
            seen = {observation.listing: observation for _, observation in observed}
        ledger = self.warehouse.ledger()
        for file in pending_files(self.landing, ledger):
            stage(file, self.staging, ledger)
        unloaded = load_pending(self.warehouse, self.landing, self.staging)
        assert not unloaded
        self._versions = {}
        return Seen(seen, unloaded, len(self.service.history) - self._first)

    # --- what it holds

    def history(self, listing: Listing) -> dict[str, list[tuple[Any, ...]]]:
        """All versions of the listing, open and closed."""
        tables = (SHARES, BACKUPS)
        return {table: [tuple(row.values()) for row in self.versions(table, listing)] for table in tables}

    def versions(self, table: str, listing: Listing) -> list[dict[str, Any]]:
        if not self._versions:
            # All at once: a question costs more than a thousand rows.
            for name in (SHARES, BACKUPS):
                for row in self.ask(f"SELECT * FROM {name} ORDER BY ALL"):
                    self._versions.setdefault((name, row["project_id"], row["direction"]), []).append(row)
        return self._versions.get((table, listing.project_id, str(listing.direction)), [])

    def open_rows(self, table: str, listing: Listing) -> list[dict[str, Any]]:
        return [row for row in self.versions(table, listing) if row["valid_to"].year == 9999]

    def ask(self, sql: str, **values: Any) -> list[dict[str, Any]]:
        return self.warehouse.query(sql, **values).to_pylist()

    # --- what it should hold

    def truth(self, listing: Listing) -> list[Mapping[str, Any]]:
        return self.service.listing(listing.project_id, listing.direction)

    def untrue(self, listing: Listing, *, but: Iterable[str] = (), closes: bool = True) -> str:
        """Where the open versions of the listing are not what it holds now, value by value; empty if nowhere.

        `but`: shares that are not looked at, nor their backups. `closes`: what is gone must not be open.
        """
        skipped = set(but)
        records = [record for record in self.truth(listing) if record["id"] not in skipped]
        shares = [row for row in self.open_rows(SHARES, listing) if row["share_id"] not in skipped]
        aside = {record["backup_id"] for record in self.truth(listing) if record["id"] in skipped}
        backups = [row for row in self.open_rows(BACKUPS, listing) if row["backup_id"] not in aside]
        told = [record for record in records if record["backup_id"] not in aside]
        if not closes:
            shares = [row for row in shares if row["share_id"] in {record["id"] for record in records}]
            backups = [row for row in backups if row["backup_id"] in {record["backup_id"] for record in told}]
        return _differences(shares, map(share_row, records)) or _differences(backups, map(backup_row, told))

    def wrong(self, listing: Listing) -> str:
        """Which open shares were never there during the last sync, or are not open though they always were."""
        held = [
            exchange.held
            for exchange in list(self.service.history)[self._first :]
            if exchange.held is not None
            and (exchange.target.project_id, exchange.target.direction) == (listing.project_id, listing.direction)
        ]
        if not held:
            return ""
        found = {row["share_id"] for row in self.open_rows(SHARES, listing)}
        missing, made_up = frozenset.intersection(*held) - found, found - frozenset.union(*held)
        # What was open before and is not proven to be gone stays open: that is never wrong.
        before = {
            row["share_id"]
            for row in self.versions(SHARES, listing)
            if row["valid_from"] < FIRST_DAY + timedelta(hours=1)
        }
        made_up -= before
        return f"missing {sorted(missing)}, made up {sorted(made_up)}" if missing or made_up else ""

    # --- canaries

    def leaks(self, more: str = "", secrets: Sequence[str] = (TOKEN, KEY_MATERIAL_MARK)) -> list[str]:
        """Where a secret stands: in files, whatever packs them, in tables, in what was said."""
        looked_at = {"what was said": "\n".join([*self.said, more]), "the warehouse": repr(dump(self.warehouse))}
        for file in landed_files(self.landing):
            looked_at[f"the pages of {file.name}"] = b"\n".join(read_pages(file)).decode("utf-8", "replace")
        for path in self.folder.rglob("*"):
            if path.is_file():
                looked_at[path.name] = path.read_bytes().decode("latin-1")
        return [place for place, text in looked_at.items() if any(each in text for each in spellings(secrets))]


def spellings(secrets: Iterable[str]) -> set[str]:
    """The secrets as JSON, URLs and Python may write them."""
    return {each for secret in secrets for each in (secret, secret.replace("/", "\\/"), quote(secret, safe=""))}


def _differences(found: Iterable[Mapping[str, Any]], expected: Iterable[Mapping[str, Any]]) -> str:
    wanted = {_key(row): dict(row) for row in expected}
    columns = next(iter(wanted.values()), {}).keys()
    rows = {_key(row): {name: row[name] for name in columns} for row in found}
    if rows == wanted:
        return ""
    return f"more {rows.keys() - wanted.keys()}, less {wanted.keys() - rows.keys()}, other " + ", ".join(
        f"{key} {name}: {rows[key][name]!r} for {wanted[key][name]!r}"
        for key in rows.keys() & wanted.keys()
        for name in columns
        if rows[key][name] != wanted[key][name]
    )


def _key(row: Mapping[str, Any]) -> str:
    return row["share_id"] if "share_id" in row else row["backup_id"]


@cache
def _day_0() -> Path:
    """Day 0 of all listings as it was recorded: a folder to copy."""
    folder = tempfile.TemporaryDirectory(prefix="estate-")
    _KEPT.append(folder)
    estate = Estate(Path(folder.name), LISTINGS)
    estate.warehouse.migrate()
    seen = estate.sync(0)
    assert all(observation.status.is_proven for observation in seen.observations.values())
    complaints = [complaint for listing in LISTINGS if (complaint := estate.untrue(listing))]
    assert not complaints, complaints
    estate.warehouse.close()
    return Path(folder.name)


_KEPT: list[tempfile.TemporaryDirectory[str]] = []


@contextlib.contextmanager
def estate_at(folder: Path, wanted: Sequence[Listing], **changes: Any) -> Iterator[Estate]:
    """An estate as it was after day 0; everything that is logged is heard, at DEBUG."""
    shutil.copytree(_day_0(), folder, dirs_exist_ok=True)
    for listing in set(LISTINGS) - set(wanted):
        for file in landed_files(folder / "landing"):
            if file.listing == listing:
                file.path.unlink()
    estate = Estate(folder, wanted, **changes)
    with logs_into(estate.said):
        yield estate
    estate.warehouse.close()


@contextlib.contextmanager
def logs_into(said: list[str]) -> Iterator[None]:
    """What is logged, at DEBUG, whoever has set another level for his own."""
    root = logging.getLogger()
    heard = _Heard(said)
    level = root.level
    root.addHandler(heard)
    root.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        root.setLevel(level)
        root.removeHandler(heard)


class _Heard(logging.StreamHandler[io.StringIO]):
    def __init__(self, said: list[str]) -> None:
        super().__init__(io.StringIO())
        self._said = said

    def emit(self, record: logging.LogRecord) -> None:
        self._said.append(self.format(record))


def in_campaigns(rows: Sequence[Row]) -> list[tuple[Row, tuple[Row, ...]]]:
    """Each row with those that strike on the same day."""
    groups = [tuple(rows[start : start + len(TARGETS)]) for start in range(0, len(rows), len(TARGETS))]
    return [(row, group) for group in groups for row in group]
