"""One sync outside Dagster in this process, for bench.py: prints its CPU seconds per step as JSON."""

import json
import re
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa

from pipelines.auth import accounts
from pipelines.client import ShareClient
from pipelines.extract import observe_listings
from pipelines.load import load_pending, pending_files, stage
from pipelines.publish import reading, writing
from pipelines.settings import Settings
from pipelines.warehouse import Ledger
from tests.bench import cpu_of_this_process


def main(home: Path, day: int) -> None:
    pa.set_memory_pool(pa.system_memory_pool())  # as definitions.py does
    settings = Settings(data_dir=home, vbs_region="bench")
    now = datetime(2026, 3, 1, tzinfo=UTC) + timedelta(days=day)
    begun = cpu_of_this_process()
    steps: dict[str, float] = {}

    def step(name: str) -> None:
        steps[name] = cpu_of_this_process() - begun - sum(steps.values())

    (account,) = accounts(settings)
    client = ShareClient(account.endpoint, account.tokens, max_connections=settings.vbs_concurrency)
    observed = observe_listings(
        dict.fromkeys(account.listings(), client), settings.landing_folder, sync_id=f"day {day}", now=lambda: now
    )
    assert all(seen.status.is_proven for _, seen in observed)
    client.close()
    step("extract")
    with reading(settings.warehouse_address()) as published:
        ledger = published.ledger() if published else Ledger(frozenset(), {})
    for file in pending_files(settings.landing_folder, ledger):
        stage(file, settings.staging_folder)
    step("normalize")
    with writing(settings.warehouse_address()) as warehouse:
        unloaded = load_pending(warehouse, settings.landing_folder, settings.staging_folder)
    assert not unloaded, unloaded
    step("record")
    print(json.dumps({"work": sum(steps.values()), "memory": peak_megabytes(), "steps": steps}))


def peak_megabytes() -> float:
    """Of this program; what the process was before it became this program does not count, as in ru_maxrss it would."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) / 1024 if found else float("nan")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
