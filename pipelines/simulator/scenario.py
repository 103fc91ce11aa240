"""What goes wrong on which day, told in advance: records served broken, projects whose rights are revoked.

The world stays as it is; only what is served differs. A test compares both.
Not here: faults of single requests (faults.py).
"""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipelines.observation import Direction
from pipelines.simulator.records import Record
from pipelines.simulator.world import World

_DEMO_DAYS = range(7)


@dataclass(frozen=True)
class Malformed:
    """One record that is served broken on some days: these fields, whatever their true value is."""

    share_id: str
    days: Collection[int]
    share_fields: Mapping[str, Any] = field(default_factory=dict)
    backup_fields: Mapping[str, Any] = field(default_factory=dict)

    def served(self, record: Record) -> Record:
        return {**record, "backup": {**record["backup"], **self.backup_fields}, **self.share_fields}


@dataclass(frozen=True)
class Scenario:
    """`revoked` maps a day to the projects that are answered 403 on that day."""

    malformed: tuple[Malformed, ...] = ()
    revoked: Mapping[int, Collection[str]] = field(default_factory=dict)

    @classmethod
    def demo(cls, world: World) -> "Scenario":
        """A first week with two incidents: a broken record on day 1, a project without rights on day 2.

        The broken record is sound on all other days of the week and really changes on none: whatever a history
        shows of it is made up. Its project is not the revoked one unless there is only one.
        """
        steady = _steadiest_share(world)
        broken = (Malformed(steady["id"], (1,), backup_fields={"size": "twelve"}),) if steady else ()
        return cls(malformed=broken, revoked={2: (world.projects[-1],)})

    def is_revoked(self, day: int, project_id: str) -> bool:
        return project_id in self.revoked.get(day, ())

    def malformed_on(self, day: int) -> dict[str, Malformed]:
        """By share id."""
        return {malformed.share_id: malformed for malformed in self.malformed if day in malformed.days}


def _steadiest_share(world: World) -> Record | None:
    """A share from an own to a foreign project that is the same all week, of a backup with few other shares."""
    week = [{record["id"]: record for record in world.shares(day)} for day in _DEMO_DAYS]
    sharers = [project for project in world.projects if project != world.projects[-1]] or list(world.projects)
    candidates = [
        record
        for project in sharers
        for record in world.listing(0, project, Direction.OUTGOING)
        if record["to_project_id"] in world.foreign_projects and all(day.get(record["id"]) == record for day in week)
    ]
    shares_of = Counter(record["backup_id"] for record in week[0].values())
    return min(candidates, key=lambda record: (shares_of[record["backup_id"]], record["id"]), default=None)
