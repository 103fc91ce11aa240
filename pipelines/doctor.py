"""Is everything there that a sync needs, and how does the service really behave? Looks everywhere, changes nothing.

Two requests are sent about every listing, and up to five more about the longest one of every cloud to learn how the
service sorts, cuts and filters; logins and repeats come on top, as in a sync. No file is made or touched, and nothing
is recorded. What is broken in one place does not stop the rest.
Not here: what is looked at on this machine (this_machine.py), what is good and what is bad (diagnosis.py), printing and
exit codes (cli.py).
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pipelines.auth import Account, accounts
from pipelines.client import ShareClient, Transport
from pipelines.connect import open_clouds, utc_now
from pipelines.diagnosis import (
    Finding,
    Judgement,
    State,
    judge_clock,
    judge_direction,
    judge_filter,
    judge_listing,
    judge_offset,
    judge_order,
    judge_page_size,
    misconfigured,
    short,
)
from pipelines.errors import (
    ApiError,
    BackupSharesError,
    ConfigurationError,
    MalformedResponseError,
    counted,
)
from pipelines.filters import Filters
from pipelines.observation import Listing
from pipelines.rows import Row, read_rows, with_ids
from pipelines.settings import Settings
from pipelines.this_machine import examine_machine

LARGE_PAGE, SMALL_PAGE = 1000, 20
"""Limits that are tried: the largest that is documented, and the smallest that a sync asks for."""
SHIFT = 7
"""The offset that is tried: a change or two in the meantime does not look like an offset that is ignored."""


def examine(
    settings: Settings,
    complaints: Sequence[str] = (),
    *,
    remarks: Sequence[str] = (),
    find_accounts: Callable[[Settings], list[Account]] = accounts,
    transport: Transport | None = None,
    now: Callable[[], datetime] = utc_now,
) -> Iterator[Finding]:
    """All findings, as they come. `complaints`: what is wrong with the settings already (settings.usable_settings).

    `remarks`: what may be wrong with them (settings.misspelt_settings).
    """
    yield from _settings(settings, complaints, remarks)
    found: list[Account] = []
    try:
        found = find_accounts(settings)
        yield from _clouds(settings, found, transport, now)
    except ConfigurationError as error:
        yield Finding("settings", "", misconfigured(error))
    yield from examine_machine(settings, found, now())


def _failed(error: BackupSharesError) -> Judgement:
    if not isinstance(error, ApiError):
        return Judgement(State.BROKEN, str(error))
    found = "; ".join(part for part in (*error.args, error.effort) if part)
    return Judgement(State.BROKEN, found, error.advice)


def _settings(settings: Settings, complaints: Sequence[str], remarks: Sequence[str]) -> Iterator[Finding]:
    for remark in remarks:
        yield Finding("settings", "", Judgement(State.ATTENTION, remark, "take it out, or write it as in README.md"))
    for complaint in complaints:
        judgement = Judgement(State.BROKEN, complaint, "what follows is as if it were not set", is_configuration=True)
        yield Finding("settings", "", judgement)
    if not complaints:
        names = ", ".join(sorted(name.upper() for name in settings.model_fields_set))
        yield Finding("settings", "", Judgement(State.OK, f"set: {names or 'none'}; the others have their defaults"))


# --- clouds --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Seen:
    """What a listing answered; without `rows` it did not."""

    listing: Listing
    judgement: Judgement
    count: int | None = None
    rows: list[Row] | None = None
    has_links: bool = False

    @property
    def length(self) -> int:
        return self.count if self.count is not None else len(self.rows or ())


def _clouds(
    settings: Settings, found: Sequence[Account], transport: Transport | None, now: Callable[[], datetime]
) -> Iterator[Finding]:
    with open_clouds(settings, find_accounts=lambda _: list(found), transport=transport, now=now) as clouds:
        for account in found:
            about = _name(account)
            yield Finding("credential", about, _credential(account))
            if not account.problem and account.project_ids:
                client = clouds.clients[account.listings()[0]]
                yield from _cloud(about, account, client, settings.vbs_concurrency)
        requests = sum(client.requests_sent(listing) for listing, client in clouds.clients.items())
    yield Finding("requests", "", Judgement(State.OK, f"{counted(requests, 'request')} about shares were sent"))


def _name(account: Account) -> str:
    return f"cloud {account.cloud}" if account.cloud else "static token"


def _credential(account: Account) -> Judgement:
    if account.problem:
        return Judgement(State.BROKEN, account.problem)
    if not account.project_ids:
        return Judgement(State.ATTENTION, "VBS_PROJECTS leaves none of its projects", "leave it out of VBS_CLOUDS")
    how = "logged in" if account.cloud else "set"
    return Judgement(State.OK, f"{how}; {counted(len(account.project_ids), 'project')} in region {account.region}")


def _cloud(about: str, account: Account, client: ShareClient, concurrency: int) -> Iterator[Finding]:
    with ThreadPoolExecutor(concurrency, thread_name_prefix="doctor") as pool:
        seen = list(pool.map(lambda listing: _look_at(listing, client), account.listings()))
    for each in seen:
        yield Finding("listing", short(each.listing), each.judgement)
    answered = [each for each in seen if each.rows is not None]
    if answered:
        yield Finding("endpoint", about, Judgement(State.OK, f"{account.endpoint} answers"))
        longest = max(answered, key=lambda each: each.length)
        for check, judgement in _behaviour(client, longest):
            yield Finding(check, about, judgement)
        yield Finding("clock", about, judge_clock(client.clock_skew))
    else:
        judgement = Judgement(State.BROKEN, f"{account.endpoint} shows no listing", "see the listings")
        yield Finding("endpoint", about, judgement)


def _look_at(listing: Listing, client: ShareClient) -> _Seen:
    """Rights, count, and whose shares it shows; the client refuses those of others."""
    client.begin(listing)
    try:
        count = client.count(listing)
        reply = client.page(listing, 0, SMALL_PAGE)
    except (ApiError, MalformedResponseError) as error:
        return _Seen(listing, _failed(error))
    rows = read_rows(reply.records)
    return _Seen(listing, judge_listing(count, rows, SMALL_PAGE), count, rows, reply.next_query is not None)


def _behaviour(client: ShareClient, seen: _Seen) -> Iterator[tuple[str, Judgement]]:
    """How the service treats what is asked of a listing; a request that fails ends it with what it says."""
    first, count = seen.rows or [], seen.count

    def ask(limit: int, offset: int = 0, **how: Any) -> tuple[list[Row], int]:
        reply = client.page(seen.listing, offset, limit, **how)
        return read_rows(reply.records), reply.page.limit

    if not first:
        yield "pages", Judgement(State.OK, "no share is shown on which order, pages and filter could be tried")
        return
    try:
        # The large page comes last: after trouble with it the client would ask for smaller ones.
        offset = min(SHIFT, len(first) - 1)
        shifted = ask(SMALL_PAGE, offset)[0] if offset else first
        yield "direction", judge_direction(first, ask(SMALL_PAGE, descending=True)[0])
        if known := with_ids(first):
            control = known[len(known) // 2]
            yield "filter", judge_filter(control, ask(SMALL_PAGE, filters=Filters(backup_id=control.backup_id))[0])
        large, limit = ask(LARGE_PAGE)
        yield "order", judge_order(large)
        is_short = count is not None and len(large) < min(LARGE_PAGE, count)
        is_more = is_short and bool(ask(SMALL_PAGE, len(large))[0])
        yield "pages", judge_page_size(len(large), LARGE_PAGE, limit, count, is_more=is_more)
        is_whole = len(large) < LARGE_PAGE if count is None else len(large) >= count
        yield "offset", judge_offset(first, shifted, offset, is_whole=is_whole, has_links=seen.has_links)
    except (ApiError, MalformedResponseError) as error:
        yield "pages", _failed(error)
