"""The fold over the landing made again: into a fresh warehouse, or to be compared with the one that is there.

The landing alone determines the history. So whatever happened to a warehouse, and whatever a newer program reads in
the pages that an older one could not, a rebuild puts it right, day for day.
Of a landing that was pruned the beginning is the frozen one (baseline.py).
Not here: how a fresh warehouse takes the place of the published one (publish.py).
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
from sqlalchemy import Table

from pipelines import baseline
from pipelines.errors import LandingError, WarehouseError, printable
from pipelines.landing import LandedFile, landed_files
from pipelines.load import load_pending, load_policies, pending_files
from pipelines.policy_landing import landed_policy_names
from pipelines.publish import aside, earlier_addresses, reading, rebuilding
from pipelines.schema import LANDED
from pipelines.warehouse import Ledger, Snapshot, Warehouse


@dataclass(frozen=True)
class Rebuilt:
    """Rows of each table that was made again, and the recorded landing files that are given up: gone, or changed."""

    rows: dict[str, int]
    given_up: list[str]
    changed: list[str]


def rebuild(address: str, landing: Path, *, wait: float = 60.0, keep: int = 1, accept_loss: bool = False) -> Rebuilt:
    """Make the warehouse again from the landing and publish it whole.

    A landing that was pruned begins with its baseline. `keep`: as `writing`. `accept_loss`: also when the published
    warehouse has recorded what the landing has no more, or has from files that were other ones then.

    Raises LandingError, and leaves the published warehouse as it is, when there is nothing landed, when an observation
    cannot be loaded, or when something would be lost; WarehouseBusyError and WarehouseError as `writing`.
    """
    with rebuilding(address, wait=wait, keep=keep) as warehouse:
        _load_all(warehouse, landing)
        lost, changed = _losses(address, landing, warehouse)
        if lost and not accept_loss:
            raise LandingError(
                f"{len(lost)} files that are recorded are in {landing} (LANDING_DIR) no more, nor in its baseline, so "
                f"nothing was published; the first is {lost[0]}: bring them back from a backup, or go on without what "
                "they say with --accept-loss"
            )
        if changed and not accept_loss:
            raise LandingError(
                f"{_changed_words(changed)}, so nothing was published: bring them back from a backup, or go on with "
                "what they say now with --accept-loss"
            )
        return Rebuilt({table.name: warehouse.count(table) for table in LANDED}, lost, changed)


def _losses(address: str, landing: Path, rebuilt: Warehouse) -> tuple[list[str], list[str]]:
    """What was recorded and is gone, and what was recorded from other bytes than are landed now."""
    # Where the published one is gone or cannot be asked any more, one before it knows nearly all that was recorded.
    for each in (address, *earlier_addresses(address)):
        with suppress(WarehouseError), reading(each) as published:
            if published:
                return missing_files(published, landing), changed_files(published, rebuilt)
    return [], []


def changed_files(published: Warehouse | Snapshot, rebuilt: Warehouse) -> list[str]:
    """Landing files that were recorded with another SHA-256 than `rebuilt` found, oldest first."""
    recorded, found = (
        each.query(
            "SELECT observation_id, landing_file, landing_sha256 FROM observations ORDER BY observed_at, landing_file"
        )
        for each in (published, rebuilt)
    )
    now = dict(zip(found["observation_id"].to_pylist(), found["landing_sha256"].to_pylist(), strict=True))
    then = zip(*recorded.to_pydict().values(), strict=True)
    return [name for key, name, sha256 in then if now.get(key, sha256) != sha256]


def _changed_words(changed: Sequence[str]) -> str:
    return (
        f"{len(changed)} landed files are not what was recorded, by their SHA-256 in the ledger; "
        f"the first is {printable(changed[0], 300)}"
    )


def missing_files(published: Warehouse, landing: Path) -> list[str]:
    """Landing files that were recorded and are gone, oldest first: neither in the landing nor frozen in its baseline.

    Raises LandingError where the baseline is damaged, WarehouseError where the tables cannot be asked.
    """
    # In this order: a sync lands before it records, a prune freezes before it removes.
    recorded = published.query(
        "SELECT observation_id, landing_file FROM observations ORDER BY observed_at, landing_file"
    )
    policies = sorted(published.recorded_policies() - set(landed_policy_names(landing)))
    there = {file.observation_id for file in landed_files(landing)}
    if frozen := baseline.find(landing):
        there |= frozen.observation_ids()
    return [name for key, name in zip(*recorded.to_pydict().values(), strict=True) if key not in there] + policies


@dataclass(frozen=True)
class Difference:
    """The first row in which the published warehouse is not what the landing says."""

    table: str
    key: dict[str, Any]
    column: str
    """Empty where one of them lacks the whole row."""
    published: Any
    from_landing: Any

    def __str__(self) -> str:
        where = ", ".join(f"{name} {_shown(value)}" for name, value in self.key.items())
        if not self.column:
            lacking = "the warehouse" if self.published is None else "what the landing says"
            return f"{self.table}: {lacking} lacks the row of {where}"
        return (
            f"{self.table}, row of {where}: {self.column} is {_shown(self.published)} in the warehouse, "
            f"{_shown(self.from_landing)} from the landing"
        )


def _shown(value: Any) -> str:
    return printable(str(value), 200)


@dataclass(frozen=True)
class ChangedFiles:
    """Landed files, at least one, that are not what was recorded: whatever they say now proves nothing."""

    names: tuple[str, ...]

    def __str__(self) -> str:
        return f"{_changed_words(self.names)}: bring them back from a backup; the warehouse says what they said then"


@dataclass(frozen=True)
class NotRecorded:
    """The warehouse is what the landing says of all that it has recorded; these files, at least one, it has not yet."""

    names: tuple[str, ...]

    def __str__(self) -> str:
        return (
            "the warehouse is what was landed before, row for row; landed and not recorded yet: "
            f"{len(self.names)}, the first is {self.names[0]}; the next sync records it, if none is doing so now"
        )


def verify(address: str, landing: Path) -> Difference | ChangedFiles | NotRecorded | None:
    """Compare the published warehouse, as it is now, with a rebuild of what it has recorded, row by row.

    Landed files that were changed, else the first difference, else what is landed and not recorded; None if there is
    nothing of it. A sync may go on meanwhile: what is landed and waits to be recorded is no difference. Changes
    nothing. Raises LandingError as `rebuild` and when nothing is published, WarehouseError when the tables are of
    another version.
    """
    with reading(address) as published:
        if published is None:
            raise LandingError("nothing was published yet: there is nothing to compare the landing with")
        with published.snapshot() as state:
            ledger = state.ledger()
            last_policy = max(state.recorded_policies(), default="")
            with rebuilt_aside(landing, wanted=partial(_is_due, ledger), last_policy=last_policy) as rebuilt:
                if changed := changed_files(state, rebuilt):
                    return ChangedFiles(tuple(changed))
                for table in LANDED:
                    if found := first_difference(table, state.facts(table), rebuilt.facts(table)):
                        return found
    waiting = [file.name for file in pending_files(landing, ledger)]
    waiting += [name for name in landed_policy_names(landing) if name > last_policy]
    return NotRecorded(tuple(waiting)) if waiting else None


def _is_due(ledger: Ledger, file: LandedFile) -> bool:
    """Whether the warehouse must have it: what came later than the last one of its listing may still be recorded."""
    return ledger.is_recorded(file) or ledger.is_too_old(file)


@contextmanager
def rebuilt_aside(
    landing: Path, *, wanted: Callable[[LandedFile], bool] = lambda _: True, last_policy: str | None = None
) -> Iterator[Warehouse]:
    """The tables made from the landing as by `rebuild`, in a file of their own that is gone afterwards.

    `wanted`, `last_policy`: as if only these observations, and no later policy, had been landed.
    """
    with (
        tempfile.TemporaryDirectory(prefix="backup-shares-") as folder,
        aside(Path(folder) / "rebuilt.duckdb") as warehouse,
    ):
        _load_all(warehouse, landing, wanted, last_policy)
        yield warehouse


def _load_all(
    warehouse: Warehouse,
    landing: Path,
    wanted: Callable[[LandedFile], bool] = lambda _: True,
    last_policy: str | None = None,
) -> None:
    frozen = baseline.find(landing)
    if frozen is None and not landed_files(landing):
        raise LandingError(f"nothing is landed in {landing} (LANDING_DIR): there is nothing to rebuild from")
    with tempfile.TemporaryDirectory(prefix="backup-shares-") as staging:
        unloaded = load_pending(warehouse, landing, Path(staging), wanted=wanted)
    if baseline.find(landing) != frozen:
        # Files may have gone before they were read; each is in the newer baseline.
        raise LandingError(f"{landing} was pruned meanwhile, so nothing was published: run it again")
    if unloaded:
        first = unloaded[0]
        raise LandingError(
            f"{len(unloaded)} landed observations cannot be loaded, so nothing was published; "
            f"the first is {first.file.name}: {first.reason}"
        )
    load_policies(warehouse, landing, last=last_policy)
    ledger = warehouse.ledger()
    if late := [file for file in landed_files(landing) if wanted(file) and ledger.is_too_old(file)]:
        raise LandingError(
            f"{len(late)} landed observations are older than what was pruned of their listing, and no part of it, so "
            f"nothing was published; move them out of LANDING_DIR to go on without them; the first is {late[0].name}"
        )


def first_difference(table: Table, published: pa.Table, rebuilt: pa.Table) -> Difference | None:
    """The first row by key that differs; both tables hold all columns of `table`, each key once."""
    keys = _key_columns(table)
    order = [(name, "ascending") for name in keys]
    one, other = published.sort_by(order), rebuilt.sort_by(order)
    if one.equals(other):
        return None
    ours, theirs = (_rows_by_key(each, keys) for each in (one, other))
    for key in sorted(ours.keys() | theirs.keys()):
        mine, its = ours.get(key), theirs.get(key)
        named = dict(zip(keys, key, strict=True))
        if mine is None or its is None:
            return Difference(table.name, named, "", mine, its)
        for column in mine:
            if mine[column] != its[column]:
                return Difference(table.name, named, column, mine[column], its[column])
    return None


def _rows_by_key(rows: pa.Table, keys: list[str]) -> dict[tuple[Any, ...], dict[str, Any]]:
    return {tuple(row[name] for name in keys): row for row in rows.to_pylist()}


def _key_columns(table: Table) -> list[str]:
    names: list[str] = table.info["row_key"]
    return names
