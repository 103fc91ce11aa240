"""How the landing is kept small: what is old is frozen into a baseline, and only then removed.

History is a fold over the landing. The fold up to the horizon is made once more, from the older baseline and the
landed files, in a warehouse of its own; it must be what the published warehouse says of that time, row for row. It
becomes the new baseline, then the files go, then the older baseline: a kill at any moment leaves a landing from which
`rebuild` gives the same tables, for a file that is folded and still lies there is known to be recorded.
Not here: the baseline on the disk (baseline.py), the fold (rebuild.py).
"""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Table

from pipelines import baseline
from pipelines.errors import ConfigurationError, LandingError, system_words
from pipelines.landing import LandedFile, fsync_folder, landed_files
from pipelines.publish import reading
from pipelines.rebuild import first_difference, rebuilt_aside
from pipelines.schema import FACTS, HISTORY_TABLES, OPEN_END
from pipelines.settings import Settings
from pipelines.warehouse import Ledger, Warehouse


@dataclass(frozen=True)
class Pruned:
    """What a prune removed, or would remove. `kept_files`: how many landed files stay; sizes in bytes."""

    horizon: datetime
    files: tuple[str, ...]
    size: int
    kept_files: int
    baseline_name: str
    """Where the history before its horizon stands now, below the landing; empty where nothing was ever frozen."""
    is_done: bool
    """Unset after a dry run."""

    @property
    def told(self) -> str:
        """What it did, in a sentence or two."""
        text = (
            f"{len(self.files)} landed files before {self.horizon:%Y-%m-%d} ({self.size / 1e6:.1f} MB) "
            f"{'were' if self.is_done else 'would be'} removed, {self.kept_files} stay"
        )
        if self.is_done and self.files:
            text += f"; what was removed is frozen in {self.baseline_name}: back it up with the landing"
        return text


def prune_as_configured(settings: Settings, now: datetime, *, dry_run: bool = False) -> Pruned:
    """`prune` by LANDING_KEEP_DAYS; raises ConfigurationError where that is not set, else as `prune`."""
    if settings.landing_keep_days is None:
        raise ConfigurationError("LANDING_KEEP_DAYS is not set: raw pages are kept for ever")
    horizon = horizon_of(now, settings.landing_keep_days)
    return prune(settings.warehouse_address(), settings.landing_folder, horizon, dry_run=dry_run)


def horizon_of(now: datetime, keep_days: int) -> datetime:
    """The first instant that is kept: midnight UTC, so that prunes of one day agree."""
    return datetime.combine(now.astimezone(UTC).date() - timedelta(days=keep_days), time(), UTC)


def prune(address: str, landing: Path, horizon: datetime, *, dry_run: bool = False) -> Pruned:
    """Remove the landed files before the horizon, but for the last proven one of each listing.

    `dry_run` looks and checks as well, and changes nothing. Raises LandingError, and removes nothing, when a file is
    not recorded, the published warehouse is not what the landing says, or anything of it is damaged; WarehouseError
    as `reading`.
    """
    changes_something = landing.is_dir() and not dry_run
    with baseline.only_pruner(landing) if changes_something else nullcontext():
        frozen = baseline.find(landing)
        with reading(address) as published:
            if published is None:
                raise LandingError("nothing was published yet: nothing is pruned before it is recorded")
            ledger = published.ledger()
            files = landed_files(landing)
            old = [file for file in files if file.observed_at < horizon]
            _refuse_unrecorded(old, ledger)
            # The next sync compares with it, byte for byte.
            last_proven = {proven.landing_file for proven in ledger.last_proven.values()}
            going = [file for file in old if file.name not in last_proven]
            folded = frozen.observation_ids() if frozen else frozenset()
            facts = None
            if new := [file for file in going if file.observation_id not in folded]:
                if frozen and horizon <= frozen.horizon:
                    raise LandingError(
                        f"{len(new)} landed observations before the horizon came after {frozen.name} was frozen, so "
                        f"nothing was pruned until the horizon is later than that; the first is {new[0].name}"
                    )
                facts = _checked_fold(landing, horizon, published)
        size = sum(file.path.stat().st_size for file in going)
        if not dry_run:
            if facts is not None:
                frozen = baseline.freeze(landing, horizon, facts)
            _remove(landing, going)
            baseline.drop_older(landing)
        names = tuple(file.name for file in going)
        return Pruned(horizon, names, size, len(files) - len(going), frozen.name if frozen else "", not dry_run)


def _refuse_unrecorded(files: Sequence[LandedFile], ledger: Ledger) -> None:
    unrecorded = [file for file in files if not ledger.is_recorded(file)]
    if not unrecorded:
        return
    first = unrecorded[0]
    late = ledger.is_too_old(first)
    advice = "only a rebuild can use it: `backup-shares rebuild`" if late else "the next sync records it"
    raise LandingError(
        f"{len(unrecorded)} landed observations before the horizon are not recorded, so nothing was pruned; "
        f"the first is {first.name}: {advice}"
    )


def _checked_fold(landing: Path, horizon: datetime, published: Warehouse) -> dict[str, pa.Table]:
    """The rows of FACTS after all observations before the horizon, in the order of their keys."""
    facts = {}
    with rebuilt_aside(landing, wanted=lambda file: file.observed_at < horizon) as rebuilt:
        for table in FACTS:
            rows = rebuilt.facts(table).sort_by([(name, "ascending") for name in table.info["row_key"]])
            found = first_difference(table, as_of(table, published.facts(table), horizon), rows)
            if found is not None:
                raise LandingError(
                    f"the warehouse is not what the landing says, so nothing was pruned; the first difference: {found}"
                )
            facts[table.name] = rows.combine_chunks()
    return facts


def as_of(table: Table, rows: pa.Table, horizon: datetime) -> pa.Table:
    """The rows of one of FACTS as they stood when only what was observed before the horizon was recorded."""
    is_history = table in HISTORY_TABLES
    at = pa.scalar(horizon, pa.timestamp("us", tz="UTC"))
    rows = rows.filter(pc.less(rows.column("valid_from" if is_history else "observed_at"), at))
    if not is_history:
        return rows
    ended_later = pc.greater_equal(rows.column("valid_to"), at)
    for name, value in (("valid_to", OPEN_END), ("closed_by", None)):
        place, column = rows.schema.get_field_index(name), rows.column(name)
        value_then = pc.if_else(ended_later, pa.scalar(value, column.type), column)
        rows = rows.set_column(place, rows.schema.field(place), value_then)
    return rows


def _remove(landing: Path, files: Sequence[LandedFile]) -> None:
    try:
        for file in files:
            file.path.unlink(missing_ok=True)
        for folder in {file.path.parent for file in files}:
            fsync_folder(folder)
    except OSError as error:
        raise LandingError(
            f"cannot remove files of {landing} (LANDING_DIR): {system_words(error)}; "
            "what they say is in the baseline, the next prune removes them"
        ) from None
