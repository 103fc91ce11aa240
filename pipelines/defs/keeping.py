"""The job that keeps the landing small: started by hand, and weekly where LANDING_KEEP_DAYS is set.

Not here: what is removed, and when that is refused (retention.py).
"""

import dagster as dg

from pipelines.defs.assets import Client, WarehouseDoor
from pipelines.defs.resources import plain_failures
from pipelines.retention import prune_as_configured

PRUNE_JOB_NAME = "prune_landing"


@dg.op(out=dg.Out(dg.Nothing))
def remove_old_pages(context: dg.OpExecutionContext, client: Client, warehouse: WarehouseDoor) -> None:
    """Freeze what raw pages say that are older than LANDING_KEEP_DAYS, and remove them."""
    with plain_failures():
        done = prune_as_configured(warehouse.load_settings(), client.now())
    context.log.info(done.told)
    context.add_output_metadata(
        {"removed": len(done.files), "bytes": done.size, "kept": done.kept_files, "baseline": done.baseline_name}
    )


@dg.job(name=PRUNE_JOB_NAME, description="Remove raw pages that are older than LANDING_KEEP_DAYS.")
def prune_landing() -> None:
    remove_old_pages()
