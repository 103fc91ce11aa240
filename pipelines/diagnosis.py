"""What is found out about a service, a folder or a history, judged: is it well, and if not, what is to be done. Pure.

Not here: how it is found out (doctor.py, this_machine.py), printing (cli.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from pipelines.errors import ConfigurationError, counted
from pipelines.observation import TOLERATED_SKEW, WRONG_CLOCK, Listing, ProofStatus, clock_words
from pipelines.rows import BY_BACKUP, BY_SHARE, ORDERS, Row, with_ids


class State(StrEnum):
    """How it stands, from best to worst."""

    OK = "ok"
    ATTENTION = "attention"
    """It works; somebody should know, or look."""
    BROKEN = "broken"
    """A sync would fail, or not prove what it should."""


@dataclass(frozen=True)
class Judgement:
    """What was found, and what to do about it. `is_configuration`: a setting must change first."""

    state: State
    found: str
    advice: str = ""
    is_configuration: bool = False


@dataclass(frozen=True)
class Finding:
    """One line of the doctor: which check, of what, and the judgement."""

    check: str
    about: str
    judgement: Judgement

    @property
    def state(self) -> State:
        return self.judgement.state


def misconfigured(error: ConfigurationError) -> Judgement:
    return Judgement(State.BROKEN, str(error), is_configuration=True)


def short(listing: Listing) -> str:
    """A listing as findings name it."""
    return f"{listing.direction} {listing.project_id}"


OLD_PROOF = timedelta(hours=36)
"""A daily sync proves each listing more often than that."""
LITTLE_SPACE, NO_SPACE = 2**30, 100 * 2**20
"""Free bytes of a disk at which somebody should look, and at which a sync may fail."""
_REPORT = "report it to the provider"
_WRONG_COUNT = f"run it again; a listing of which the count stays wrong cannot be proven: {_REPORT}"
_UNORDERED = f"a listing that moves while it is read cannot be proven, one that stands still can: {_REPORT}"


def _well(found: str) -> Judgement:
    return Judgement(State.OK, found)


# --- the service ---------------------------------------------------------------------------------------------------


def judge_listing(count: int | None, rows: Sequence[Row], limit: int) -> Judgement:
    """Its count and its first page of `limit` rows."""
    shown = f"{counted(len(rows), 'share')} on the first page"
    unreadable = len(rows) - len(with_ids(rows))
    if len(rows) > limit:
        return Judgement(State.BROKEN, f"{shown} where {limit} were asked for: limit is ignored", _REPORT)
    if unreadable:
        return Judgement(
            State.ATTENTION,
            f"{unreadable} of {shown} have no readable id",
            f"nothing is recorded as withdrawn meanwhile: {_REPORT}",
        )
    if count is None:
        return Judgement(
            State.ATTENTION,
            f"{shown}; there is no count (404)",
            "nothing, if the cloud is so: `covered` is the most that is proven, and an emptied listing closes nothing",
        )
    if count < len(rows) or (count and not rows):
        state = State.ATTENTION if rows else State.BROKEN
        return Judgement(state, f"{shown}, the count says {count}", _WRONG_COUNT)
    return _well(counted(count, "share") + (", those shown are of this project and direction" if rows else ""))


def judge_page_size(rows: int, wanted: int, answered: int, count: int | None, *, is_more: bool) -> Judgement:
    """A page of `rows` shares came where `wanted` were asked for; `answered` is the limit that was asked in the end.

    `is_more`: the page behind it is not empty.
    """
    if answered < wanted:
        return Judgement(
            State.ATTENTION,
            f"pages of {wanted} are too much for the service, one of {answered} came",
            f"set VBS_PAGE_SIZE={answered}",
        )
    if rows > wanted:
        return Judgement(State.BROKEN, f"a page of {rows} came where {wanted} were asked for", _REPORT)
    if rows < wanted and is_more:
        return _well(f"a page holds at most {rows} shares, whatever is asked for; a sync reckons with that")
    if count is not None and rows < min(wanted, count):
        return Judgement(State.ATTENTION, f"{rows} shares can be read, the count says {count}", _WRONG_COUNT)
    if rows < wanted:
        return _well(f"one page of limit {wanted} holds the longest listing, {counted(rows, 'share')}")
    return _well(f"a page holds {wanted} shares when they are asked for")


def judge_order(rows: Sequence[Row]) -> Judgement:
    """The first rows, which were asked for by ascending id."""
    known = with_ids(rows)
    if len(known) < 2:
        return _well("the order cannot be told of fewer than two shares")
    if BY_SHARE.agrees(known):
        return _well("sort_key=id sorts by the id of the share, ascending")
    if BY_BACKUP.agrees(known):
        return _well("sort_key=id sorts by the id of the backup, ascending")
    if any(order.agrees(known, descending=True) for order in ORDERS):
        return Judgement(State.ATTENTION, "the order is descending where ascending was asked for", _UNORDERED)
    return Judgement(State.ATTENTION, "the order is neither by share nor by backup: sort_key is ignored", _UNORDERED)


def judge_direction(first: Sequence[Row], rows: Sequence[Row]) -> Judgement:
    """The rows that were asked for by descending id, beside the first ones of the ascending order."""
    known = with_ids(rows)
    if len(known) < 2:
        return _well("sort_dir cannot be tried on fewer than two shares")
    if any(order.agrees(known, descending=True) for order in ORDERS) and rows[0] != first[0]:
        return _well("sort_dir is honoured")
    return Judgement(State.ATTENTION, "the order is not descending where that was asked for", _UNORDERED)


def judge_offset(
    first: Sequence[Row], shifted: Sequence[Row], offset: int, *, is_whole: bool, has_links: bool
) -> Judgement:
    """The page at `offset`, beside the first one; `is_whole`: the first page shows the whole listing."""
    links = "; pages link to the next one (shared_links)" if has_links else ""
    if not offset:
        return _well(f"offset cannot be tried on fewer than two shares{links}")
    if list(shifted[:1]) != list(first[:1]):
        return _well(f"offset is honoured{links}")
    found = f"the page at offset {offset} begins with the first share: offset is ignored, or rounded to whole pages"
    if is_whole or has_links:
        advice = f"a listing that outgrows one page can be read by links only, or not at all: {_REPORT}"
        return Judgement(State.ATTENTION, f"{found}{links}", advice)
    return Judgement(State.BROKEN, found, f"listings of more than one page cannot be read: {_REPORT}")


def judge_filter(control: Row, rows: Sequence[Row]) -> Judgement:
    """What the backup_id filter shows of the backup of `control`, a share that was there a moment ago."""
    silent = f"no share is recorded as withdrawn while that is so: {_REPORT}"
    if control not in rows:
        return Judgement(State.BROKEN, "the backup_id filter does not show a share that is there", silent)
    strangers = sum(row.backup_id != control.backup_id for row in rows)
    if strangers:
        return Judgement(
            State.BROKEN, f"the backup_id filter is ignored: it shows {strangers} shares of others", silent
        )
    return _well("the backup_id filter shows what is there, and nothing else")


def judge_clock(skew: float | None) -> Judgement:
    """Seconds by which the service's clock is ahead; None: it did not tell."""
    if skew is None:
        return _well("the service does not tell its time")
    if abs(skew) <= TOLERATED_SKEW:
        return _well("the clocks of the service and of this machine agree")
    if abs(skew) <= WRONG_CLOCK:
        advice = "set it, best with NTP: the history says when this machine saw a thing"
        return Judgement(State.ATTENTION, clock_words(skew), advice)
    return Judgement(State.BROKEN, clock_words(skew), "set it, best with NTP: until then nothing is observed")


# --- this machine --------------------------------------------------------------------------------------------------


def judge_space(free: int, needed: int = 0) -> Judgement:
    """Free bytes of the disk; `needed`: what a sync writes at least."""
    found = f"{_size(free)} free"
    if free < needed + NO_SPACE:
        return Judgement(State.BROKEN, found, f"make room: a sync needs {_size(needed + NO_SPACE)}")
    if free < needed + LITTLE_SPACE:
        return Judgement(State.ATTENTION, found, "make room soon")
    return _well(found)


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def judge_history(proven_at: datetime | None, held: int, status: str, reason: str, now: datetime) -> Judgement:
    """Of one listing: its last proof, and what its last observation said."""
    if proven_at is not None and proven_at - now > timedelta(seconds=WRONG_CLOCK):
        advice = "nothing is recorded until then: a clock was wrong; README says how that day is taken out"
        return Judgement(State.BROKEN, f"proven on {proven_at:%Y-%m-%d}, a day to come", advice)
    last = "never proven" if proven_at is None else f"proven {_age(now - proven_at)} ago"
    said = f"; the last observation was {status}" + (f": {reason}" if reason else "")
    if proven_at is None or now - proven_at > OLD_PROOF or not ProofStatus(status).is_proven:
        return Judgement(State.ATTENTION, f"{last}{said}", "run a sync, and look at what it says of this listing")
    if held:
        advice = "look at rights, project and service, then run `backup-shares sync --release-held`"
        return Judgement(State.ATTENTION, f"{last}; {held} withdrawals are held", advice)
    return _well(last)


def _age(age: timedelta) -> str:
    hours = age.total_seconds() / 3600
    return f"{hours / 24:.0f} days" if hours >= 48 else f"{hours:.0f} h" if hours >= 1 else f"{hours * 60:.0f} min"
