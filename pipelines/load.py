"""Between landing and warehouse: which landed observations are still to be recorded, and recording them in order.

The landing is the truth, the warehouse a fold over it. So a sync records whatever is landed and not recorded yet,
its own observations and those of a sync that was killed or met a warehouse that was down; a fresh warehouse beside an
old landing is filled from the first day on, or from the baseline of a landing that was pruned.
Staging holds normalized tables between two steps of a sync; losing it costs time only.
Not here: what recording does (record.py), what a page means (normalize.py).
"""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa

from pipelines import baseline
from pipelines.delta import CountedPage, compare
from pipelines.errors import (
    BackupSharesError,
    LandingError,
    OutOfOrderError,
    StaleDifferenceError,
    WarehouseError,
    system_words,
)
from pipelines.landing import (
    LandedFile,
    abandoned,
    landed_file,
    landed_files,
    read_counted_pages,
    read_observation,
    read_pages,
    sha256,
)
from pipelines.normalize import Normalized, Since, Tables, normalize_difference, normalize_pages
from pipelines.observation import Listing, Observation
from pipelines.policy_landing import landed_policy_names, read_landed_policy
from pipelines.warehouse import Ledger, Warehouse

_MARK = b"staged"


@dataclass(frozen=True)
class Unloaded:
    """A landed observation that the warehouse does not have, and why."""

    file: LandedFile
    reason: str


def pending_files(landing: Path, ledger: Ledger) -> list[LandedFile]:
    """Landed observations to record, oldest first; without those that only a rebuild can use."""
    files = landed_files(landing)
    return [file for file in files if not ledger.is_recorded(file) and not ledger.is_too_old(file)]


def unrecorded_files(landing: Path, ledger: Ledger, sync_id: str) -> list[Unloaded]:
    """What of a sync is landed and not recorded, and damaged files of any sync: a person has to look at them."""
    found: list[Unloaded] = []
    for file in landed_files(landing):
        if ledger.is_recorded(file):
            continue
        try:
            if read_observation(file).sync_id == sync_id:
                late = "a later observation of its listing was recorded first: only a rebuild can use it"
                found.append(Unloaded(file, late if ledger.is_too_old(file) else "it was not recorded, see the log"))
        except LandingError as error:
            found.append(Unloaded(file, str(error)))
    return found


def known_listings(warehouse: Warehouse | None, landing: Path) -> set[Listing]:
    """All listings that are landed or recorded, as far as that can be told."""
    found = {file.listing for file in landed_files(landing)}
    with suppress(WarehouseError):  # what is wrong with it is told when it is written
        found.update(warehouse.ledger().last_observed_at if warehouse else ())
    return found


def known_shares(warehouse: Warehouse | None, landing: Path) -> Callable[[Listing], dict[str, str]]:
    """What was known of a listing before this sync: its shares, and the backup of each.

    That is what is open in the warehouse, and what landed observations show that are not recorded yet: a share may
    have come with one of them. More than is open does no harm, for it is only asked about again.
    The function raises WarehouseError or LandingError where that cannot be told.
    """
    try:
        files = pending_files(landing, warehouse.ledger() if warehouse else Ledger.empty())
    except WarehouseError as error:
        return _unknown(error)

    def known(listing: Listing) -> dict[str, str]:
        found = warehouse.open_shares(listing) if warehouse else {}
        for file in files:
            if file.listing == listing:
                shares = normalize_landed(file, read_observation(file)).tables.shares
                found |= dict(zip(shares["share_id"].to_pylist(), shares["backup_id"].to_pylist(), strict=True))
        return found

    return known


def _unknown(error: WarehouseError) -> Callable[[Listing], dict[str, str]]:
    def known(_: Listing) -> dict[str, str]:
        raise error

    return known


def normalize_landed(file: LandedFile, observation: Observation) -> Normalized:
    """The tables of a landed observation; empty where nothing is proven, as nothing of it is published."""
    pages = read_pages(file) if observation.status.is_proven else ()
    try:
        return normalize_pages(pages, observation.excluded_ids)
    except (ValueError, IndexError):
        # Pages were checked before they were landed: the disk has changed one since.
        raise LandingError(
            f"landing file {file.name} is damaged (a page is no page): "
            "restore it from a backup, or move it out of LANDING_DIR to go on without it"
        ) from None


def _difference(file: LandedFile, observation: Observation, ledger: Ledger) -> Normalized | None:
    """What differs from the last proven observation of the listing; None where that cannot be told beyond doubt."""
    proven = ledger.last_proven.get(file.listing)
    before = landed_file(file.root, proven.landing_file) if proven else None
    if not (proven and proven.is_plain and before and before.path.exists() and observation.status.is_proven):
        return None
    try:
        earlier = read_observation(before)
        if sha256(before) != proven.landing_sha256 or observation.excluded_ids or earlier.excluded_ids:
            return None
        found = compare(_counted(before), _counted(file))
    except LandingError:
        return None  # if it is this file that is damaged, reading it whole will say so
    if found is None or found.new.record_count > found.same_count:
        return None
    # A share that is told twice, in two ways, makes more records than ids.
    told = (found.same_count + found.new.record_count, found.same_count + found.left.record_count)
    if told != (observation.distinct_ids, earlier.distinct_ids):
        return None
    try:
        return normalize_difference(found, earlier.observation_id)
    except (ValueError, IndexError):
        return None  # the same


def _counted(file: LandedFile) -> Iterator[CountedPage]:
    return (CountedPage(body, count) for body, count in read_counted_pages(file))


def load_pending(
    warehouse: Warehouse, landing: Path, staging: Path, *, wanted: Callable[[LandedFile], bool] = lambda _: True
) -> list[Unloaded]:
    """Record all pending observations; returns those that could not be, the others are recorded all the same.

    After a failure the later observations of the same listing wait, so that order is kept. `wanted`: which of them,
    all by default. Raises as `begin_from_baseline`.
    """
    for leftover in abandoned(staging.glob(".*-*")):
        shutil.rmtree(leftover, ignore_errors=True)
    ledger = begin_from_baseline(warehouse, landing)
    for staged in staging.glob("[!.]*"):
        if staged.name in ledger.observation_ids:  # a sync was killed right after it had recorded it
            shutil.rmtree(staged, ignore_errors=True)
    unloaded: list[Unloaded] = []
    stuck: set[Listing] = set()
    for file in filter(wanted, pending_files(landing, ledger)):
        if file.listing in stuck:
            unloaded.append(Unloaded(file, "waits for an earlier observation of its listing"))
            continue
        try:
            _record(warehouse, file, staging)
        except BackupSharesError as error:
            stuck.add(file.listing)
            unloaded.append(Unloaded(file, str(error)))
        else:
            shutil.rmtree(staging / file.observation_id, ignore_errors=True)
    return unloaded


def load_policies(warehouse: Warehouse, landing: Path, *, last: str | None = None) -> None:
    """Record all landed policies that are not recorded yet, oldest first; none that came after `last`, if it is given.

    Raises LandingError for one that is damaged: those before it are recorded, the later ones wait. Raises
    OutOfOrderError for one that only a rebuild can use: all others are recorded.
    """
    late: OutOfOrderError | None = None
    for name in unrecorded_policies(warehouse, landing):
        if last is not None and name > last:
            break
        try:
            warehouse.record_policy(read_landed_policy(landing, name))
        except OutOfOrderError as error:
            late = late or error
    if late is not None:
        raise late


def unrecorded_policies(warehouse: Warehouse, landing: Path) -> list[str]:
    """Landed policies that are not recorded, oldest first; raises LandingError where the landing cannot be read."""
    names = landed_policy_names(landing)
    recorded = warehouse.recorded_policies() if names else frozenset()
    return [name for name in names if name not in recorded]


def begin_from_baseline(warehouse: Warehouse, landing: Path) -> Ledger:
    """Fill an empty warehouse with what was frozen when the landing was pruned, if it was; returns the ledger then.

    Raises LandingError where the baseline is damaged, WarehouseError for a warehouse that lacks some of it: what is
    landed now would be recorded as if nothing had been before.
    """
    ledger, frozen = warehouse.ledger(), baseline.find(landing)
    if frozen is None:
        return ledger
    if not ledger.observation_ids:
        warehouse.begin_with(frozen.facts())
        ledger = warehouse.ledger()
    if lacking := frozen.observation_ids() - ledger.observation_ids:
        raise WarehouseError(
            f"the warehouse lacks {len(lacking)} observations before {frozen.horizon:%Y-%m-%d} whose pages were pruned "
            f"into {frozen.name}: `backup-shares rebuild` makes it again from there"
        )
    return ledger


def _record(warehouse: Warehouse, file: LandedFile, staging: Path) -> None:
    observation, digest = read_observation(file), sha256(file)
    staged = read_staged(file, staging)
    if staged is not None:
        try:
            return warehouse.record(observation, file, digest, staged)
        except StaleDifferenceError:
            pass  # another sync has recorded meanwhile, or a backup is told in two ways: read everything
    warehouse.record(observation, file, digest, normalize_landed(file, observation))


def stage(file: LandedFile, staging: Path, ledger: Ledger) -> Normalized:
    """Normalize a landed observation and keep the tables for `load_pending`; raises LandingError.

    Where the pages of the observation before are at hand, only what differs from them is read.
    """
    observation = read_observation(file)
    normalized = _difference(file, observation, ledger) or normalize_landed(file, observation)
    try:
        staging.mkdir(parents=True, exist_ok=True, mode=0o700)
        aside = Path(tempfile.mkdtemp(dir=staging, prefix=f".{os.getpid()}-"))
        try:
            _write_tables(normalized, aside)
            final = staging / file.observation_id
            shutil.rmtree(final, ignore_errors=True)
            with suppress(OSError):  # then another sync has just staged the same
                aside.rename(final)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    except OSError as error:
        raise LandingError(f"cannot write to {staging} (DATA_DIR): {system_words(error)}") from None
    return normalized


def _write_tables(normalized: Normalized, folder: Path) -> None:
    # Two syncs may stage the same at once: the mark tells files of one from files of the other.
    mark = folder.name
    for name, table in normalized.tables._asdict().items():
        table = table.replace_schema_metadata({_MARK: mark})
        with pa.OSFile(str(folder / f"{name}.arrow"), "wb") as out, pa.ipc.new_file(out, table.schema) as writer:
            writer.write_table(table)
    since = normalized.since and asdict(normalized.since)
    about = {"mark": mark, "conflict_count": normalized.conflict_count, "since": since}
    (folder / "about.json").write_text(json.dumps(about))


def read_staged(file: LandedFile, staging: Path) -> Normalized | None:
    """The staged tables, or None where they are not there whole: they can always be made again."""
    folder = staging / file.observation_id
    try:
        about = json.loads((folder / "about.json").read_text())
        tables = Tables(*(_read_table(folder / f"{name}.arrow", about["mark"]) for name in Tables._fields))
        since = about["since"] and Since(about["since"]["observation_id"], tuple(about["since"]["left_ids"]))
        return Normalized(tables, conflict_count=about["conflict_count"], since=since)
    except (OSError, ValueError, LookupError, TypeError, pa.ArrowException):
        return None


def _read_table(path: Path, mark: str) -> pa.Table:
    with pa.memory_map(str(path)) as file:
        table = pa.ipc.open_file(file).read_all()
    if (table.schema.metadata or {}).get(_MARK) != mark.encode():
        raise ValueError("of another sync")
    return table.replace_schema_metadata(None)
