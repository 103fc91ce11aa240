"""Which shares exist in the region on which day. Everything follows from the seed: no clock, no I/O.

Day 0 is 2026-03-01. Every further day some shares are withdrawn, some appear, some backups change, and now and
then a share that was withdrawn comes back under its old id. A day is the state at its first moment.
Not here: what a record looks like (records.py), how it is served (listings.py), what goes wrong (scenario.py).
"""

from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from threading import Lock

from pipelines.observation import Direction
from pipelines.simulator.records import (
    Record,
    change_backup,
    make_backup,
    make_project_id,
    make_share,
    make_uuid,
    stamp,
)

FIRST_DAY = datetime(2026, 3, 1, tzinfo=UTC)
RECIPIENT_LIMIT = 10
"""Projects that one backup can be shared with (api-facts 1.6)."""

_YEAR = timedelta(days=365)
_OWN_GIVER = 0.56
"""Part of the backups that an own project gives; the others come from foreign projects."""
_OWN_RECIPIENT = 0.34
"""Part of an own project's shares that go to another own project: together about a fifth of all shares."""
_RECIPIENT_WEIGHTS = (76, 10, 6, 3, 1, 1, 1, 1, 0.5, 0.5)
_REMEMBERED_WITHDRAWALS = 50


class World:
    """One region. `projects` are the ones to configure, `foreign_projects` their partners.

    The rates are parts of `shares`, the size at day 0, so that a long-lived world grows slowly and not
    exponentially. A rate above zero means at least one event a day; zero means none.
    """

    def __init__(
        self,
        seed: int = 7,
        projects: int = 3,
        shares: int = 60,
        *,
        new_rate: float = 0.01,
        withdrawn_rate: float = 0.005,
        change_rate: float = 0.01,
        return_rate: float = 0.25,
    ) -> None:
        """`return_rate` is the chance that a day brings a withdrawn share back, whatever the size of the world."""
        if projects < 1 or shares < 0:
            raise ValueError("a world needs at least one project and no negative number of shares")
        self.seed = seed
        self._new = _at_least_one(new_rate, shares)
        self._withdrawn = _at_least_one(withdrawn_rate, shares)
        self._changed = _at_least_one(change_rate, shares)
        self._return_rate = return_rate
        rng = self.random("day 0")
        self.projects = tuple(make_project_id(rng) for _ in range(projects))
        self.foreign_projects = tuple(make_project_id(rng) for _ in range(RECIPIENT_LIMIT + projects))
        self._region = _Region(self.projects, self.foreign_projects)
        self._region.populate(rng, shares)
        self._days = [self._region.records()]
        self._lock = Lock()

    def random(self, purpose: str) -> Random:
        """A generator of its own for each purpose, so that the order of questions changes no answer."""
        return Random(f"{self.seed}/{purpose}")  # noqa: S311 - a reproducible world is the point, nothing is secret

    def shares(self, day: int) -> Sequence[Record]:
        """All shares of the region on that day; those that did not change are the same objects as the day before."""
        if day < 0:
            raise ValueError(f"the world begins on day 0, there is no day {day}")
        with self._lock:
            while len(self._days) <= day:
                self._pass_day(len(self._days))
            return self._days[day]

    def listing(self, day: int, project_id: str, direction: Direction) -> list[Record]:
        """What one listing truly holds on that day, in no particular order."""
        side = project_field(direction)
        return [record for record in self.shares(day) if record[side] == project_id]

    def moment(self, day: int) -> datetime:
        return FIRST_DAY + timedelta(days=day)

    def _pass_day(self, day: int) -> None:
        rng = self.random(f"day {day}")
        region, dawn, dusk = self._region, self.moment(day - 1), self.moment(day)
        returned = rng.random() < self._return_rate and region.bring_back(rng, dawn, dusk)
        # A return is balanced by one more withdrawal. Changes come after withdrawals so that they can be seen.
        region.withdraw(rng, self._withdrawn + returned, spare=returned)
        region.change(rng, self._changed, dawn, dusk)
        region.share(rng, self._new, dawn, dusk)
        self._days.append(region.records())


def project_field(direction: Direction) -> str:
    """The field of a share that names the project whose listing it stands in."""
    return "from_project_id" if direction is Direction.OUTGOING else "to_project_id"


class _Region:
    """The state of one day, moved on to the next in place."""

    def __init__(self, own: Sequence[str], foreign: Sequence[str]) -> None:
        self._own = own
        self._foreign = foreign
        self._shares: dict[str, Record] = {}
        self._backups: dict[str, Record] = {}
        self._shares_of: dict[str, dict[str, str]] = {}
        """backup id -> recipient -> share id"""
        self._volumes: dict[str, list[str]] = {}
        self._gone: deque[Record] = deque(maxlen=_REMEMBERED_WITHDRAWALS)
        self._serial = 0

    def records(self) -> tuple[Record, ...]:
        return tuple(self._shares.values())

    def populate(self, rng: Random, count: int) -> None:
        dawn = FIRST_DAY - _YEAR
        # The first backup has several recipients in every world, however small.
        count -= self._share_new_backup(rng, self._own[0], min(3, count), dawn, FIRST_DAY)
        self._share_new_backups(rng, count, dawn, FIRST_DAY)

    def share(self, rng: Random, count: int, dawn: datetime, dusk: datetime) -> None:
        """New shares: some of backups that are shared already, most of new ones."""
        if count and self._shares and rng.random() < 0.5:
            known = self._shares[rng.choice(list(self._shares))]
            shared_at = _instant(rng, dawn, dusk)
            count -= self._share_backup(rng, known["backup"], known["from_project_id"], 1, shared_at, dusk)
        self._share_new_backups(rng, count, dawn, dusk)

    def withdraw(self, rng: Random, count: int, *, spare: bool) -> None:
        """`spare` keeps the youngest share: the one that has just come back."""
        candidates = list(self._shares)[: -1 if spare else None]
        for share_id in rng.sample(candidates, min(count, len(candidates))):
            record = self._shares.pop(share_id)
            recipients = self._shares_of[record["backup_id"]]
            del recipients[record["to_project_id"]]
            if not recipients:
                del self._shares_of[record["backup_id"]], self._backups[record["backup_id"]]
            self._gone.append(record)

    def change(self, rng: Random, count: int, dawn: datetime, dusk: datetime) -> None:
        """A backup changes in all shares of it; half the time the shares are marked as updated too."""
        for backup_id in rng.sample(list(self._backups), min(count, len(self._backups))):
            changed_at = _instant(rng, dawn, dusk)
            backup = change_backup(rng, self._backups[backup_id], changed_at)
            self._backups[backup_id] = backup
            mark = {"updated_at": stamp(changed_at)} if rng.random() < 0.5 else {}
            for share_id in self._shares_of[backup_id].values():
                self._shares[share_id] = {**self._shares[share_id], "backup": backup, **mark}

    def bring_back(self, rng: Random, dawn: datetime, dusk: datetime) -> bool:
        """One withdrawn share returns with its id, if there is one that can."""
        possible = [record for record in self._gone if self._is_free(record["backup_id"], record["to_project_id"])]
        if not possible:
            return False
        record = rng.choice(possible)
        self._gone.remove(record)
        updated_at = rng.choice((None, stamp(_instant(rng, dawn, dusk))))
        backup = self._backups.setdefault(record["backup_id"], record["backup"])
        self._add({**record, "backup": backup, "updated_at": updated_at})
        return True

    def _is_free(self, backup_id: str, recipient: str) -> bool:
        recipients = self._shares_of.get(backup_id, {})
        return recipient not in recipients and len(recipients) < RECIPIENT_LIMIT

    def _share_new_backups(self, rng: Random, count: int, dawn: datetime, dusk: datetime) -> None:
        while count > 0:
            giver = rng.choice(self._own if rng.random() < _OWN_GIVER else self._foreign)
            wanted = rng.choices(range(1, RECIPIENT_LIMIT + 1), _RECIPIENT_WEIGHTS)[0]
            count -= self._share_new_backup(rng, giver, min(wanted, count), dawn, dusk)

    def _share_new_backup(self, rng: Random, giver: str, wanted: int, dawn: datetime, dusk: datetime) -> int:
        self._serial += 1
        shared_at = _instant(rng, dawn, dusk)
        created = shared_at - timedelta(seconds=rng.uniform(60, 30 * 86_400))
        backup = make_backup(rng, self._serial, self._volume(rng, giver), created)
        return self._share_backup(rng, backup, giver, wanted, shared_at, dusk)

    def _volume(self, rng: Random, giver: str) -> str:
        """A disk of the giver; every third backup is of a disk that has one already."""
        volumes = self._volumes.setdefault(giver, [])
        if volumes and rng.random() < 0.3:
            return rng.choice(volumes)
        volumes.append(make_uuid(rng))
        return volumes[-1]

    def _share_backup(
        self, rng: Random, backup: Record, giver: str, wanted: int, shared_at: datetime, now: datetime
    ) -> int:
        """One call of the API: up to `wanted` recipients at one instant. Returns how many there were."""
        recipients = self._pick_recipients(rng, giver, set(self._shares_of.get(backup["id"], {})), wanted)
        for recipient in recipients:
            self._backups[backup["id"]] = backup
            self._add(make_share(rng, backup, giver, recipient, shared_at, now))
        return len(recipients)

    def _pick_recipients(self, rng: Random, giver: str, taken: set[str], wanted: int) -> list[str]:
        own = [project for project in self._own if project not in taken and project != giver]
        # Shares between two foreign projects stand in no listing that could be asked for.
        foreign = [project for project in self._foreign if project not in taken] if giver in self._own else []
        chosen: list[str] = []
        room = RECIPIENT_LIMIT - len(taken)
        while (own or foreign) and len(chosen) < min(wanted, room):
            pool = own if own and (not foreign or rng.random() < _OWN_RECIPIENT) else foreign
            chosen.append(pool.pop(rng.randrange(len(pool))))
        return chosen

    def _add(self, record: Record) -> None:
        self._shares[record["id"]] = record
        self._shares_of.setdefault(record["backup_id"], {})[record["to_project_id"]] = record["id"]


def _at_least_one(rate: float, shares: int) -> int:
    return max(1, round(rate * shares)) if rate > 0 else 0


def _instant(rng: Random, dawn: datetime, dusk: datetime) -> datetime:
    """A moment between the two; a quarter falls on the nightly job, so that unrelated shares tie as well."""
    moment = dawn + (dusk - dawn) * rng.random()
    if rng.random() < 0.25:
        return moment.replace(hour=2, minute=0, second=0, microsecond=0)
    return moment
