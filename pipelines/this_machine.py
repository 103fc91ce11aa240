"""What a sync finds on this machine: the landing, the policy, the warehouse and its history. Changes nothing.

Not here: what the service does (doctor.py), what is good and what is bad (diagnosis.py).
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path

from pipelines import baseline
from pipelines.auth import Account
from pipelines.diagnosis import Finding, Judgement, State, judge_history, judge_space, misconfigured, short
from pipelines.duckdb_file import current_writer, foreign_log
from pipelines.errors import ConfigurationError, LandingError, WarehouseError, system_words
from pipelines.landing import LandedFile, folder_state, landed_files, read_observation
from pipelines.observation import Direction, Listing, rename_words, renamed_from
from pipelines.policy import checked_policy
from pipelines.policy_landing import landed_policy_names, read_landed_policy
from pipelines.publish import may_be_made, reading, warehouse_file, warehouse_name
from pipelines.rebuild import missing_files
from pipelines.schema import observations, report
from pipelines.settings import Settings
from pipelines.warehouse import Ledger, Warehouse

MOST_NAMES = 10
"""Files that are named one by one."""


def examine_machine(settings: Settings, found: Sequence[Account], now: datetime) -> Iterator[Finding]:
    """Findings on landing, policy and warehouse, as they come. `found`: whose listings the history should know."""
    landing = settings.landing_folder
    about_landing = str(landing)
    yield from _landing_folder(landing)
    yield from _policy(settings)
    try:
        published = warehouse_file(settings.warehouse_address())
        about = warehouse_name(settings.warehouse_address())
    except ConfigurationError as error:
        yield Finding("warehouse", "", misconfigured(error))
        return
    try:
        if published is not None:
            yield from _warehouse_file(published)
        with reading(settings.warehouse_address()) as warehouse:
            if warehouse is None:
                yield Finding("warehouse", about, _none_yet(settings.warehouse_address()))
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
        advice = "close what has it open; if it is damaged, `backup-shares rebuild` makes it again from the landing"
        if published is None:
            advice = "see that server, database and login are there, and that it is the login of a loader or an owner"
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
            yield Finding("policy", about, Judgement(State.OK, f"names {found.counts()}"))
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
            "the next sync records those that wait, `backup-shares rebuild` the others as well; what a wrong clock "
            "stamped, move out of LANDING_DIR before",
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


def _none_yet(address: str) -> Judgement:
    if may_be_made(address):
        return Judgement(State.OK, "there is none yet; the first sync makes it")
    found = "there is none yet, and this login may not make tables"
    return Judgement(State.BROKEN, found, "run `backup-shares migrate` as a migrator, see sql/roles/roles.sql")


def _version(warehouse: Warehouse) -> Judgement:
    made = warehouse.made()
    if made is not None and made.problem:
        return Judgement(State.BROKEN, f"its tables {made.problem}", "see there")
    if missing := warehouse.missing_views():
        found = f"lacks the views {', '.join(missing)}"
        return Judgement(State.ATTENTION, found, "`backup-shares migrate` as their owner or the next sync makes them")
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


def _never_observed(listing: Listing, observed: Collection[Listing], known: Collection[Listing]) -> Judgement:
    region = renamed_from(listing, observed, known)
    told = ("was never observed", "run a sync") if region is None else rename_words(listing.region, region)
    return Judgement(State.ATTENTION, *told)


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
            judgement = _never_observed(listing, observed, known)
        else:
            judgement = judge_history(row["proven_at"], row["held"], row["status"], row["reason"], now)
        yield Finding("history", short(listing), judgement)
    if others and is_open:
        yield Finding(
            "history", "", Judgement(State.OK, f"{len(others)} listings are kept that are not observed any more")
        )
