"""The graph: pages -> staged shares and backups -> histories -> reports. Each asset calls a verb and says what it did.

Assets hand each other nothing but the landing and the warehouse, so any of them can be materialized alone: the
histories record whatever is landed and not recorded yet.
Not here: how to observe, normalize, record (extract.py, normalize.py, warehouse.py).
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import Field
from sqlalchemy import Table

from pipelines.defs.resources import ClientResource, WarehouseResource, plain_failures
from pipelines.errors import BackupSharesError, ClockError, LandingError, counted, printable
from pipelines.extract import Options, observe_listings
from pipelines.load import (
    known_listings,
    known_shares,
    load_pending,
    load_policies,
    pending_files,
    stage,
    unrecorded_files,
    unrecorded_policies,
)
from pipelines.observation import TOLERATED_SKEW, WRONG_CLOCK, Listing, rename_words, renamed_from
from pipelines.policy_landing import land_policy
from pipelines.rebuild import missing_files
from pipelines.schema import arrow_type, backup_history, backup_share_history, content_columns, report
from pipelines.verdict import Finished, remarks, why_red
from pipelines.warehouse import Ledger, Warehouse

GROUP = "backup_shares"
UNOBSERVED = "unobserved"
"""Metadata of the pages: why a cloud let nobody in, or listings were not landed, so that the report can turn red."""
POLICY_PROBLEM = "policy_problem"
"""Metadata of the pages: why the policy in force is not what its file says; empty if it is, or if there is no file."""
Client = dg.ResourceParam[ClientResource]
WarehouseDoor = dg.ResourceParam[WarehouseResource]


class SyncConfig(dg.Config):
    """What a person may say of one run."""

    release_held: bool = Field(
        default=False,
        description="Record withdrawals that are held because too many shares are absent at once; look first.",
    )
    new_region: bool = Field(
        default=False,
        description="Observe projects that are recorded in another region only: it is another cloud.",
    )


@dg.asset(group_name=GROUP, kinds={"http", "parquet"})
def backup_share_pages(
    context: dg.AssetExecutionContext, config: SyncConfig, client: Client, warehouse: WarehouseDoor
) -> dg.MaterializeResult[Any]:
    """Raw pages of every listing with their proof, one file per listing in the landing."""
    settings = client.load_settings()
    options = Options(
        page_size=settings.vbs_page_size,
        concurrency=settings.vbs_concurrency,
        pages_side_by_side=settings.vbs_pages_side_by_side,
        release_held=config.release_held,
        tolerated_skew=WRONG_CLOCK,
    )
    refused: list[ClockError | str] = []
    policy_problem = _land_policy(context, client, warehouse)
    with plain_failures(), client.open() as clouds, warehouse.reading() as published:
        for problem in clouds.problems:
            context.log.error(problem)
        known = set() if config.new_region else known_listings(published, warehouse.landing)
        renamed = {each: region for each in clouds.clients if (region := renamed_from(each, clouds.clients, known))}
        refused += [_rename_told(listing, region) for listing, region in renamed.items()]
        observed = observe_listings(
            {listing: client for listing, client in clouds.clients.items() if listing not in renamed},
            warehouse.landing,
            sync_id=context.run.run_id,
            now=client.now,
            known=known_shares(published, warehouse.landing),
            options=options,
            refused=refused.append,
        )
        rows: list[dict[str, Any]] = []
        proven = 0
        for file, seen in observed:
            found = f"{counted(seen.distinct_ids, 'share')} on {counted(seen.page_count, 'page')}"
            line = f"{seen.listing}: {seen.status}, {found}"
            told = f"{line}; {seen.reason}" if seen.reason else line
            (context.log.info if seen.status.is_proven else context.log.warning)(told)
            if abs(seen.clock_skew_seconds or 0) > TOLERATED_SKEW:
                context.log.warning(f"the service's clock is {seen.clock_skew_seconds:+d} s from ours: look at both")
            proven += seen.status.is_proven
            rows.append(
                {
                    "project_id": seen.listing.project_id,
                    "direction": str(seen.listing.direction),
                    "status": str(seen.status),
                    "shares": seen.distinct_ids,
                    "pages": seen.page_count,
                    "requests": seen.request_count,
                    "absent": seen.absent_count,
                    "held": seen.held_count,
                    "reason": seen.reason,
                    "landing_file": file.name,
                }
            )
    refusals = [f"{counted(count, 'listing')}: {reason}" for reason, count in Counter(map(str, refused)).items()]
    for refusal in refusals:
        context.log.error(refusal)
    return dg.MaterializeResult(
        metadata={
            "listings": _table(rows),
            UNOBSERVED: dg.MetadataValue.json([*clouds.problems, *refusals]),
            POLICY_PROBLEM: policy_problem,
            "proven": proven,
            "not_proven": len(rows) - proven,
            "pages": sum(row["pages"] for row in rows),
            "landing": dg.MetadataValue.path(str(warehouse.landing)),
        }
    )


def _rename_told(listing: Listing, region: str) -> str:
    found, advice = rename_words(listing.region, region)
    return f"the project {found}, so nothing was observed: {advice}"


def _land_policy(context: dg.AssetExecutionContext, client: ClientResource, warehouse: WarehouseResource) -> str:
    """Before anything is observed, so that it is in force by then. What is wrong with it stops no share."""
    path = client.load_settings().policy_path
    try:
        if path is not None and land_policy(path, warehouse.landing, client.now()):
            context.log.info(f"the policy {path} is in force from now on")
    except BackupSharesError as error:
        problem = f"the policy is not taken, the last good one stays in force: {error}"
        context.log.error(problem)
        return problem
    return ""


@dg.multi_asset(
    specs=[
        dg.AssetSpec(
            "staged_backup_shares",
            deps=["backup_share_pages"],
            group_name=GROUP,
            kinds={"pandas"},
            description="Shares of the observations landed and not recorded yet, one row per listing and share.",
        ),
        dg.AssetSpec(
            "staged_backups",
            deps=["backup_share_pages"],
            group_name=GROUP,
            kinds={"pandas"},
            description="The backups nested in those shares, one row per listing and backup.",
        ),
    ],
)
def staged_frames(context: dg.AssetExecutionContext, warehouse: WarehouseDoor) -> Iterator[dg.MaterializeResult[Any]]:
    """Normalize what is landed and not recorded yet."""
    with plain_failures():
        shares = backups = rejected = conflicts = 0
        ledger = _ledger(warehouse)
        for file in pending_files(warehouse.landing, ledger):
            try:
                normalized = stage(file, warehouse.staging, ledger)
            except LandingError as error:
                context.log.warning(str(error))
                continue
            shares += len(normalized.tables.shares)
            backups += len(normalized.tables.backups)
            rejected += len(normalized.tables.rejected)
            conflicts += normalized.conflict_count
    yield dg.MaterializeResult(
        asset_key="staged_backup_shares",
        metadata={**_shape(backup_share_history, shares), "rejected_records": rejected},
    )
    yield dg.MaterializeResult(
        asset_key="staged_backups", metadata={**_shape(backup_history, backups), "conflicts": conflicts}
    )


@dg.multi_asset(
    specs=[
        dg.AssetSpec(
            table.name,
            deps=["staged_backup_shares", "staged_backups"],
            group_name=GROUP,
            kinds={"sql"},
            description=table.comment,
        )
        for table in (backup_share_history, backup_history)
    ],
    check_specs=[
        dg.AssetCheckSpec(
            "no_finding_is_open",
            asset=backup_share_history.name,
            description="Every finding is resolved, or accepted by an exception of the policy (view findings).",
        )
    ],
)
def histories(context: dg.AssetExecutionContext, warehouse: WarehouseDoor) -> Iterator[dg.MaterializeResult[Any]]:
    """Record what is landed and not recorded yet, one transaction per observation, and publish it at once."""
    with plain_failures(), warehouse.writing() as open_warehouse:
        try:
            load_policies(open_warehouse, warehouse.landing)
        except BackupSharesError as error:
            context.log.error(str(error))
        for unloaded in load_pending(open_warehouse, warehouse.landing, warehouse.staging):
            context.log.warning(f"{unloaded.file.name} was not recorded: {unloaded.reason}")
        counts = {table.name: open_warehouse.count(table) for table in (backup_share_history, backup_history)}
    checked = {backup_share_history.name: [_no_finding_is_open(warehouse)]}
    for table in (backup_share_history, backup_history):
        yield dg.MaterializeResult(
            asset_key=table.name,
            metadata=_shape(table, counts[table.name], whole=True),
            check_results=checked.get(table.name, []),
        )


def _no_finding_is_open(warehouse: WarehouseResource) -> dg.AssetCheckResult:
    with plain_failures(), warehouse.reading() as published:
        rows = published.query(report("open_findings")).to_pylist() if published else []
    by_rule = Counter(row["rule"] for row in rows)
    return dg.AssetCheckResult(
        passed=not rows,
        asset_key=backup_share_history.name,
        check_name="no_finding_is_open",
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "open_findings": len(rows),
            "by_rule": dg.MetadataValue.json(dict(by_rule.most_common())),
            "first": _table([_plain(row) for row in rows[:MOST_FINDINGS]]),
        },
    )


MOST_FINDINGS = 20
"""Findings that the check shows; all are in the view."""


@dg.asset_check(asset="backup_share_history", additional_deps=["backup_history"], blocking=True)
def history_keeps_its_promises(warehouse: WarehouseDoor) -> dg.AssetCheckResult:
    """No version overlaps another, ends without proof, or lacks its observation; the ledger counts what is there."""
    with plain_failures(), warehouse.reading() as published:
        if published is None:
            raise dg.Failure(description="nothing was published yet: materialize the histories first")
        broken = published.query(report("invariants")).to_pylist()
    told = [f"{row['promise']}, {row['relation']}: {printable(row['detail'], 300)}" for row in broken[:SHOWN_PROMISES]]
    more = f"{len(broken)} promises of the history are broken: compare it with `backup-shares rebuild --verify`"
    return dg.AssetCheckResult(
        passed=not broken,
        description="\n".join([more, *told]) if broken else None,
        metadata={"broken": len(broken)},
    )


SHOWN_PROMISES = 10


@dg.asset(deps=["backup_share_history", "backup_history"], group_name=GROUP, kinds={"sql"})
def sync_report(context: dg.AssetExecutionContext, warehouse: WarehouseDoor) -> dg.MaterializeResult[Any]:
    """What this sync proved per listing. Fails when a listing is not proven; what is proven is published by then."""
    with plain_failures(), warehouse.reading() as published:
        if published is None:
            raise dg.Failure(description="nothing was published yet: materialize the histories first")
        finished = _finished(context, published, warehouse.landing)
        last = max((row["observed_at"] for row in finished.listings), default=None)
        since = last and last.astimezone(UTC).date() - CHANGES_SHOWN
        changes = published.query(report("changes_per_day"), since=since).to_pylist()
    if finished.is_empty:
        raise dg.Failure(description="this run observed nothing: materialize backup_share_pages with it")
    for remark in remarks(finished):
        context.log.warning(remark)
    metadata = {
        "listings": _table([_plain(row) for row in finished.listings]),
        "changes_per_day": _table([_plain(row) for row in changes]),
        "proven": sum(row["is_proven"] for row in finished.listings),
        "not_proven": len(finished.problems),
        "shares": sum(row["share_count"] for row in finished.listings),
        "rejected_records": sum(row["rejected"] for row in finished.listings),
        "new_drift": len(finished.drift),
        "lost_files": len(finished.lost),
    }
    if why := why_red(finished):
        raise dg.Failure(description=why, metadata=metadata, allow_retries=False)
    return dg.MaterializeResult(metadata=metadata)


def _finished(context: dg.AssetExecutionContext, published: Warehouse, landing: Path) -> Finished:
    sync_id, said = context.run.run_id, _said_by_pages(context)
    problem = said.get(POLICY_PROBLEM)
    policies = [f"{name} was not recorded, see the log" for name in unrecorded_policies(published, landing)]
    return Finished(
        listings=published.query(report("listing_status"), sync_id=sync_id).to_pylist(),
        drift=published.query(report("new_drift"), sync_id=sync_id).to_pylist(),
        unrecorded=unrecorded_files(landing, published.ledger(), sync_id),
        unobserved=said.get(UNOBSERVED, []),
        policy=[*filter(None, [problem]), *policies],
        lost=missing_files(published, landing),
    )


def _said_by_pages(context: dg.AssetExecutionContext) -> dict[str, Any]:
    """Metadata of the pages of this run: what lands no listing stands only there."""
    events = context.instance.all_logs(context.run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
    told = [event.asset_materialization for event in events]
    pages = [each for each in told if each is not None and each.asset_key == dg.AssetKey("backup_share_pages")]
    return {name: value.value for name, value in pages[-1].metadata.items()} if pages else {}


@dg.asset(deps=["backup_share_history", "backup_history"], group_name=GROUP, kinds={"html"})
def daily_report(client: Client, warehouse: WarehouseDoor) -> dg.MaterializeResult[Any]:
    """One HTML page for people: what is shared, what changed, what needs a word, and what is not known of the day.

    Beside the sync report and not behind it: a day on which something was not proven needs its page most.
    """
    from pipelines.page.charts import thumbnail
    from pipelines.page.written import make_page, publish_page

    if not client.load_settings().daily_report:
        return dg.MaterializeResult(metadata={"verdict": "switched off (DAILY_REPORT)"})
    with plain_failures(), warehouse.reading() as published:
        if published is None:
            raise dg.Failure(description="nothing was published yet: materialize the histories first")
        page, html = make_page(published, client.now())
        if page is None:
            # Why that is so, the sync report says.
            return dg.MaterializeResult(metadata={"verdict": "nothing was observed yet"})
        file = publish_page(warehouse.reports, page, html)
    return dg.MaterializeResult(
        metadata={
            "page": dg.MetadataValue.path(str(file.absolute())),
            "day": str(page.day),
            "verdict": page.verdict,
            "figures": _table(
                [{"figure": each.name, "value": each.value, "change": each.change} for each in page.figures]
            ),
            "open_findings": sum(page.severities.values()),
            "not_known": len(page.caveats.rows) + page.caveats.more,
            "shares_over_time": dg.MetadataValue.md(thumbnail(page) or "one day was observed so far"),
        }
    )


CHANGES_SHOWN = timedelta(days=30)
"""How far back the table of changes goes in the report of a run."""


def _ledger(warehouse: WarehouseResource) -> Ledger:
    with warehouse.reading() as published:
        return published.ledger() if published else Ledger.empty()


def _shape(table: Table, row_count: int, *, whole: bool = False) -> dict[str, Any]:
    columns = list(table.columns) if whole else content_columns(table)
    described = [dg.TableColumn(column.name, str(arrow_type(column)), description=column.comment) for column in columns]
    return {"dagster/row_count": row_count, "dagster/column_schema": dg.TableSchema(columns=described)}


def _table(rows: Sequence[dict[str, Any]]) -> dg.MetadataValue[Any]:
    if not rows:
        return dg.MetadataValue.text("none")
    return dg.MetadataValue.table([dg.TableRecord(row) for row in rows])


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """A row with values that Dagster can show: times and days as text."""
    return {name: value if isinstance(value, int | str | None) else str(value) for name, value in row.items()}
