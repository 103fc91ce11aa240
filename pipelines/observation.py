"""The words of the domain as plain values: direction, listing, page, observation.

A *listing* is one query (region, project, direction) walked to its end; an *observation* is one walk of one
listing with its proof. Both are the unit of everything: proof, transaction, failure, parallelism.
Not here: how a listing is walked (walk.py), stored (landing.py) or recorded (warehouse.py).
"""

import uuid
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from pipelines.errors import ConfigurationError, printable

PROJECT_ID = r"(?=.*[a-z])[0-9a-z]{32}"
"""A project id: 32 lower-case letters or digits, not digits only (api-facts 1.6). It becomes part of URLs and paths."""

_OBSERVATION_NAMESPACE = uuid.UUID("6e0a1b0e-6d8f-4b52-9f0c-6a3d1f6c2a11")


class Direction(StrEnum):
    """Which side of the sharing the project is on (spec page, `share_to_me`)."""

    OUTGOING = "outgoing"
    """Shared by the project: `share_to_me` omitted."""
    INCOMING = "incoming"
    """Shared with the project: `share_to_me=true`."""


class ProofStatus(StrEnum):
    """How much a walk proves about its listing; ordered from most to least."""

    EXACT = "exact"
    """The rows are the state of the listing at one instant."""
    COVERED = "covered"
    """No share that existed throughout the walk is missing."""
    INCOMPLETE = "incomplete"
    """The walk ended, and something may be missing: nothing is published."""
    FAILED = "failed"
    """The walk did not end: nothing is published."""

    @property
    def is_proven(self) -> bool:
        return self in (ProofStatus.EXACT, ProofStatus.COVERED)


@dataclass(frozen=True, order=True)
class Listing:
    """One query of the sharing endpoint, from its first page to its end."""

    region: str
    project_id: str
    direction: Direction

    def __str__(self) -> str:
        return f"{self.direction} shares of project {self.project_id}"


@dataclass(frozen=True)
class Page:
    """One accepted response. `body` is as received, except that key material is blanked (redact.py).

    `backup_id` is the filter that was asked for; None for a page of the walk.
    """

    offset: int
    limit: int
    descending: bool
    body: bytes
    requested_at: datetime
    received_at: datetime
    request_id: str
    backup_id: str | None = None


@dataclass(frozen=True)
class Observation:
    """One walk of one listing: window, proof, and why. Most fields are columns of `observations` (schema.py).

    Everything that the history needs of the walk beside the pages is here, so that it can be made again from the
    landing alone.
    """

    sync_id: str
    listing: Listing
    observed_at: datetime
    finished_at: datetime
    status: ProofStatus
    may_close: bool
    reason: str
    error_code: str
    count_before: int | None
    count_after: int | None
    distinct_ids: int
    pass_count: int
    page_count: int
    request_count: int
    excluded_ids: tuple[str, ...] = ()
    absent_count: int = 0
    held_count: int = 0
    clock_skew_seconds: int | None = None
    gone_ids: tuple[str, ...] = ()
    """Shares that were known before, are on no page, and of which the service said again that they are gone."""

    @property
    def observation_id(self) -> str:
        """The same sync and listing always give the same id, so that a repeated load is recognised."""
        listing = self.listing
        name = "/".join((self.sync_id, listing.region, listing.project_id, listing.direction))
        return str(uuid.uuid5(_OBSERVATION_NAMESPACE, name))


TOLERATED_SKEW = 60
"""Seconds between the service's clock and ours that are nobody's concern: all times of the history are ours."""
WRONG_CLOCK = 3600
"""Seconds from which on a sync observes nothing: what it sees would stand in the history at another time."""


def clock_words(skew: float) -> str:
    """How the clocks differ. `skew`: seconds by which the service's is ahead of ours."""
    side = "behind" if skew > 0 else "ahead of"
    off = f"{abs(skew):.0f} s" if abs(skew) <= WRONG_CLOCK else f"about {abs(skew) / 3600:,.0f} h"
    return f"the clock of this machine is {off} {side} that of the service"


def renamed_from(listing: Listing, observed: Collection[Listing], known: Collection[Listing]) -> str | None:
    """The region under which the project is known, where nothing is known of it in the region of the listing.

    Most likely that is one cloud by two names: every share would stand in the history twice. A region that is
    observed beside it is another cloud.
    """

    def regions(among: Collection[Listing]) -> set[str]:
        return {each.region for each in among if each.project_id == listing.project_id}

    if listing.region in regions(known):
        return None
    return min(regions(known) - regions(observed), default=None)


def rename_words(region: str, known_region: str) -> tuple[str, str]:
    """What is wrong with a listing of `renamed_from`, and what to do."""
    return (
        f"was never observed in region {region}, but in region {known_region}",
        f"if that is the same cloud, call it {known_region} again (VBS_REGION, or region_name in clouds.yaml); "
        "if it is another one, run `backup-shares sync --new-region` once",
    )


def listings(region: str, project_ids: tuple[str, ...]) -> list[Listing]:
    """Both directions of every project: one alone is never "all shares" (api-facts 0.1).

    Raises ConfigurationError when a project is named twice: its shares would be observed by two racing walks.
    """
    twice = sorted({project for project in project_ids if project_ids.count(project) > 1})
    if twice:
        raise ConfigurationError(f"VBS_PROJECTS names {printable(twice[0])} twice: name every project once")
    return [Listing(region, project, direction) for project in project_ids for direction in Direction]
