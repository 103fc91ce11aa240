"""Composition root: everything that Dagster is told, made by one function.

`build_definitions(...)` takes what tests and the demo replace; the module-level `defs` is what the UI loads.
Not here: what the assets do (defs/assets.py).
"""

from collections.abc import Callable
from datetime import datetime

import dagster as dg

from pipelines.auth import Account, accounts
from pipelines.client import Transport
from pipelines.connect import utc_now
from pipelines.defs.assets import (
    GROUP,
    backup_share_pages,
    daily_report,
    histories,
    history_keeps_its_promises,
    staged_frames,
    sync_report,
)
from pipelines.defs.keeping import PRUNE_JOB_NAME, prune_landing
from pipelines.defs.resources import ClientResource, WarehouseResource
from pipelines.settings import Settings, load_settings
from pipelines.tuning import tune_process

JOB_NAME = "sync_backup_shares"


def build_definitions(
    settings: Callable[[], Settings] = load_settings,
    transport: Transport | None = None,
    now: Callable[[], datetime] = utc_now,
    find_accounts: Callable[[Settings], list[Account]] = accounts,
) -> dg.Definitions:
    """Assets, jobs, schedules. `settings` is read when a step runs; `transport` and `now` are for tests and demo.

    `find_accounts` is for who has logged in already.
    """
    job = dg.define_asset_job(
        JOB_NAME,
        selection=dg.AssetSelection.groups(GROUP),
        description="Observe every configured listing and record what is proven.",
    )
    configured = settings()
    daily = dg.ScheduleDefinition(
        name=f"{JOB_NAME}_daily",
        job=job,
        cron_schedule=f"0 {configured.sync_hour} * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
    )
    # Twelve hours from the sync: it removes nothing that is not recorded, but it would have to look twice.
    weekly = dg.ScheduleDefinition(
        name=f"{PRUNE_JOB_NAME}_weekly",
        job=prune_landing,
        cron_schedule=f"0 {(configured.sync_hour + 12) % 24} * * 0",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING
        if configured.landing_keep_days is not None
        else dg.DefaultScheduleStatus.STOPPED,
    )
    return dg.Definitions(
        assets=[backup_share_pages, staged_frames, histories, sync_report, daily_report],
        asset_checks=[history_keeps_its_promises],
        jobs=[job, prune_landing],
        schedules=[daily, weekly],
        resources={
            "client": ClientResource(settings, find_accounts, transport, now),
            "warehouse": WarehouseResource(settings),
        },
        # A step in a process of its own costs seconds of start-up; side by side is inside the extract asset.
        executor=dg.in_process_executor,
    )


tune_process()

defs = build_definitions()
