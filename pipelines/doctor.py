"""Is everything there that a sync needs, and how does the service really behave? Looks everywhere, changes nothing.

Two requests are sent about every listing, and up to five more about the longest one of every cloud to learn how the
service sorts, cuts and filters; logins and repeats come on top, as in a sync. No file is made or touched, and nothing
is recorded. What is broken in one place does not stop the rest.
Not here: what is good and what is bad (diagnosis.py), printing and exit codes (cli.py).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pipelines import baseline
from pipelines.auth import Account, accounts
from pipelines.client import ShareClient, Transport
from pipelines.connect import open_clouds, utc_now
from pipelines.diagnosis import (
    Judgement,
    State,
    judge_clock,
    judge_direction,
    judge_filter,
    judge_history,
    judge_listing,
    judge_offset,
    judge_order,
    judge_page_size,
    judge_space,
)
from pipelines.duckdb_file import current_writer, foreign_log
from pipelines.errors import (
    ApiError,
    BackupSharesError,
    ConfigurationError,
    LandingError,
    MalformedResponseError,
    WarehouseError,
    system_words,
)
from pipelines.filters import Filters
from pipelines.landing import LandedFile, folder_state, landed_files, read_observation
from pipelines.observation import Direction, Listing
from pipelines.policy import checked_policy
from pipelines.policy_landing import landed_policy_names, read_landed_policy
from pipelines.publish import reading, warehouse_file, warehouse_name
from pipelines.rebuild import missing_files
from pipelines.rows import Row, read_rows, with_ids
from pipelines.schema import metadata, observations, report
from pipelines.settings import Settings
from pipelines.warehouse import Ledger, Warehouse

LARGE_PAGE, SMALL_PAGE = 1000, 20
"""Limits that are tried: the largest that is documented, and the smallest that a sync asks for."""
SHIFT = 7
"""The offset that is tried: a change or two in the meantime does not look like an offset that is ignored."""
MOST_NAMES = 10
"""Files that are named one by one."""


@dataclass(frozen=True)
class Finding:
    """One line of the doctor: which check, of what, and the judgement."""

    check: str
    about: str
    judgement: Judgement

    @property
    def state(self) -> State:
        return self.judgement.state


def examine(
    settings: Settings,
    complaints: Sequence[str] = (),
    *,
    find_accounts: Callable[[Settings], list[Account]] = accounts,
    transport: Transport | None = None,
    now: Callable[[], datetime] = utc_now,
) -> Iterator[Finding]:
    """All findings, as they come. `complaints`: what is wrong with the settings already (settings.usable_settings)."""
    yield from _settings(settings, complaints)
    found: list[Account] = []
    try:
        found = find_accounts(settings)
        yield from _clouds(settings, found, transport, now)
    except ConfigurationError as error:
        yield Finding("credential", "", _misconfigured(error))
    yield from _this_machine(settings, found, now())


def _misconfigured(error: ConfigurationError) -> Judgement:
    return Judgement(State.BROKEN, str(error), is_configuration=True)


def _failed(error: BackupSharesError) -> Judgement:
    if not isinstance(error, ApiError):
        return Judgement(State.BROKEN, str(error))
    found = "; ".join(part for part in (*error.args, error.effort) if part)
    return Judgement(State.BROKEN, found, error.advice)


def _settings(settings: Settings, complaints: Sequence[str]) -> Iterator[Finding]:
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
    yield Finding("requests", "", Judgement(State.OK, f"{requests} requests about shares were sent"))


def _name(account: Account) -> str:
    return f"cloud {account.cloud}" if account.cloud else "static token"


def _credential(account: Account) -> Judgement:
    if account.problem:
        return Judgement(State.BROKEN, account.problem)
    if not account.project_ids:
        return Judgement(State.ATTENTION, "VBS_PROJECTS leaves none of its projects", "leave it out of VBS_CLOUDS")
    how = "logged in" if account.cloud else "set"
    return Judgement(State.OK, f"{how}; {len(account.project_ids)} projects in region {account.region}")


def _cloud(about: str, account: Account, client: ShareClient, concurrency: int) -> Iterator[Finding]:
    with ThreadPoolExecutor(concurrency, thread_name_prefix="doctor") as pool:
        seen = list(pool.map(lambda listing: _look_at(listing, client), account.listings()))
    for each in seen:
        yield Finding("listing", _short(each.listing), each.judgement)
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


def _short(listing: Listing) -> str:
    return f"{listing.direction} {listing.project_id}"


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


# --- this machine --------------------------------------------------------------------------------------------------


def _this_machine(settings: Settings, found: Sequence[Account], now: datetime) -> Iterator[Finding]:
    landing = settings.landing_folder
    about_landing = str(landing)
    yield from _landing_folder(landing)
    yield from _policy(settings)
    try:
        published = warehouse_file(settings.warehouse_address())
        about = warehouse_name(settings.warehouse_address())
    except ConfigurationError as error:
        yield Finding("warehouse", "", _misconfigured(error))
        return
    try:
        if published is not None:
            yield from _warehouse_file(published)
        with reading(settings.warehouse_address()) as warehouse:
            if warehouse is None:
                judgement = Judgement(State.OK, "there is none yet; the first sync makes it")
                yield Finding("warehouse", about, judgement)
                ledger = Ledger.empty()
            else:
                version = _version(warehouse)
                yield Finding("warehouse", about, version)
                if version.state is State.BROKEN:
                    return  # nothing else can be asked of it
                yield from _promises(warehouse)
                yield from _history(warehouse, found, now)
                yield from _missing(warehouse, landing)
                ledger = warehouse.ledger()
        if files := landed_files(landing):
            yield Finding("landing", about_landing, _pending(files, ledger))
    except WarehouseError as error:
        advice = "close what has it open; if it is damaged, delete it: the next sync fills it from the landing"
        yield Finding("warehouse", about, Judgement(State.BROKEN, str(error), advice))
    except OSError as error:
        found_out = f"cannot be looked at: {system_words(error)}"
        yield Finding("warehouse", about, Judgement(State.BROKEN, found_out, "give this user the right to"))


def _landing_folder(landing: Path) -> Iterator[Finding]:
    about, state = str(landing), folder_state(landing)
    if state.problem:
        judgement = Judgement(State.BROKEN, state.problem, "make it writable, or set LANDING_DIR or DATA_DIR")
        yield Finding("landing", about, judgement)
        return
    if state.others_can_look:
        judgement = Judgement(State.ATTENTION, "other users can look into it", f"chmod 700 {landing}")
    elif state.exists:
        judgement = Judgement(State.OK, "is there, writable and private")
    else:
        judgement = Judgement(State.OK, "is not there yet; the first sync makes it")
    yield Finding("landing", about, judgement)
    yield Finding("space", about, judge_space(state.free_bytes))
    yield from (Finding("landing", about, each) for each in [*_damaged(landing), *_baseline(landing)])


def _missing(warehouse: Warehouse, landing: Path) -> Iterator[Finding]:
    try:
        missing = missing_files(warehouse, landing)
    except LandingError:
        return  # a damaged baseline, which is told of the landing
    if missing:
        found_out = f"{len(missing)} files that are recorded are here no more, the first is {missing[0]}"
        advice = "bring them back from a backup: a rebuild could not give again what they say"
        yield Finding("landing", str(landing), Judgement(State.BROKEN, found_out, advice))


def _policy(settings: Settings) -> Iterator[Finding]:
    path = settings.policy_path
    about = str(path or "")
    if path is not None:
        found, problems = checked_policy(path)
        judgements = [Judgement(State.BROKEN, problem, "correct it", is_configuration=True) for problem in problems]
        yield from (Finding("policy", about, each) for each in judgements)
        if found is not None:
            told = f"names {len(found.projects)} projects, {len(found.recipients)} recipients"
            yield Finding("policy", about, Judgement(State.OK, f"{told}, {len(found.exceptions)} exceptions"))
    try:
        names = landed_policy_names(settings.landing_folder)
        for name in names:
            read_landed_policy(settings.landing_folder, name)
        if path is None and names:
            advice = "put the file back, or name it in POLICY_FILE"
            found_out = "there is no file; the one that was landed last stays in force"
            yield Finding("policy", "", Judgement(State.ATTENTION, found_out, advice))
    except LandingError as error:
        yield Finding("policy", "", Judgement(State.BROKEN, str(error)))


def _damaged(landing: Path) -> list[Judgement]:
    """What is wrong with landed files, by their proofs; a page that the disk has spoilt is met when it is read."""
    files = landed_files(landing)
    ours = {file.path for file in files}
    pruned = landing / baseline.FOLDER
    strangers = [
        path for path in sorted(landing.glob("**/*.parquet")) if path not in ours and pruned not in path.parents
    ]
    advice = "move it out of LANDING_DIR"
    problems = [
        Judgement(State.ATTENTION, f"{path.relative_to(landing)} is no file of the landing", advice)
        for path in strangers
    ]
    problems += [Judgement(State.BROKEN, problem) for problem in filter(None, map(_damage, files))]
    if more := problems[MOST_NAMES:]:
        worst = State.BROKEN if any(each.state is State.BROKEN for each in more) else State.ATTENTION
        problems[MOST_NAMES:] = [Judgement(worst, f"{len(more)} more files are not as they should be")]
    return problems or (
        [
            Judgement(
                State.OK,
                f"{len(files)} observations are landed, their proofs whole; pages are read by `rebuild --verify`",
            )
        ]
        if files
        else []
    )


def _baseline(landing: Path) -> Iterator[Judgement]:
    try:
        if frozen := baseline.find(landing):
            count = len(frozen.facts()[observations.name])
            yield Judgement(
                State.OK, f"{count} observations before {frozen.horizon:%Y-%m-%d} are frozen in {frozen.name}, whole"
            )
    except LandingError as error:
        yield Judgement(State.BROKEN, str(error))


def _damage(file: LandedFile) -> str:
    try:
        read_observation(file)
    except LandingError as error:
        return str(error)
    return ""


def _pending(files: Iterable[LandedFile], ledger: Ledger) -> Judgement:
    left = [file for file in files if not ledger.is_recorded(file)]
    late = sum(ledger.is_too_old(file) for file in left)
    if late:
        return Judgement(
            State.ATTENTION,
            f"{len(left) - late} landed observations wait to be recorded, {late} are older than what is recorded",
            "the next sync records those that wait, `backup-shares rebuild` the others as well",
        )
    if left:
        return Judgement(State.ATTENTION, f"{len(left)} landed observations are not recorded", "the next sync does it")
    return Judgement(State.OK, "everything that is landed is recorded")


def _warehouse_file(published: Path) -> Iterator[Finding]:
    about, state = str(published), folder_state(published.parent)
    if state.problem:
        yield Finding(
            "warehouse", about, Judgement(State.BROKEN, state.problem, "make it writable, or set WAREHOUSE_URL")
        )
    else:
        # A sync works on a copy.
        size = published.stat().st_size if published.is_file() else 0
        yield Finding("space", about, judge_space(state.free_bytes, size))
    if writer := current_writer(published):
        judgement = Judgement(State.OK, f"process {writer} is writing it; a sync would wait (WAREHOUSE_WAIT)")
        yield Finding("warehouse", about, judgement)
    if log := foreign_log(published):
        found = "another program has it open for writing, or was killed while it had"
        yield Finding("warehouse", about, Judgement(State.BROKEN, found, f"close it, or delete {log}"))


def _version(warehouse: Warehouse) -> Judgement:
    made = warehouse.made()
    if made is not None and made.problem:
        return Judgement(State.BROKEN, f"its tables {made.problem}", "see there")
    for table in metadata.tables.values():
        warehouse.count(table)  # raises where somebody took it away
    version = warehouse.query("SELECT version() AS version").to_pylist()[0]["version"]
    # DuckDB says no more than v2.0.0.
    engine = " ".join(version.split()[:2]) if " " in version else f"DuckDB {version}"
    return Judgement(State.OK, f"can be opened, {engine}")


def _promises(warehouse: Warehouse) -> Iterator[Finding]:
    """What a history must never hold, looked for in the whole of it."""
    if broken := warehouse.query(report("invariants")).to_pylist():
        first = broken[0]
        text = f"{len(broken)} broken promises; {first['promise']}, {first['relation']}: {first['detail']}"
        advice = "`backup-shares rebuild` makes the history again from the landing"
        yield Finding("promises", "", Judgement(State.BROKEN, text, advice))


def _history(warehouse: Warehouse, found: Sequence[Account], now: datetime) -> Iterator[Finding]:
    """The last proof of every listing that is observed; of all, where it cannot be told which are."""
    rows = warehouse.query(report("last_proven")).to_pylist()
    known = {Listing(row["region"], row["project_id"], Direction(row["direction"])): row for row in rows}
    observed = [listing for account in found for listing in account.listings()]
    others = [listing for listing in known if listing not in observed]
    is_open = bool(found) and not any(account.problem for account in found)
    for listing in observed if is_open else [*observed, *others]:
        row = known.get(listing)
        if row is None:
            judgement = Judgement(State.ATTENTION, "was never observed", "run a sync")
        else:
            judgement = judge_history(row["proven_at"], row["held"], row["status"], row["reason"], now)
        yield Finding("history", _short(listing), judgement)
    if others and is_open:
        yield Finding(
            "history", "", Judgement(State.OK, f"{len(others)} listings are kept that are not observed any more")
        )
