"""One sync outside Dagster in this process, for bench.py: prints its CPU seconds per step as JSON."""

import json
import re
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb_engine  # noqa: F401 - loaded by SQLAlchemy when first used; an import is no work

from pipelines.connect import open_clouds
from pipelines.extract import Options, observe_listings
from pipelines.load import known_shares, load_pending, pending_files, stage
from pipelines.publish import reading, writing
from pipelines.settings import Settings
from pipelines.tuning import tune_process
from pipelines.warehouse import Ledger
from tests.bench import cpu_of_this_process


def main(home: Path, day: int) -> None:
    tune_process()
    settings = Settings(data_dir=home, vbs_region="bench", vbs_requests_per_second=0)
    now = datetime(2026, 3, 1, tzinfo=UTC) + timedelta(days=day)
    begun = cpu_of_this_process()
    steps: dict[str, float] = {}

    def step(name: str) -> None:
        steps[name] = cpu_of_this_process() - begun - sum(steps.values())

    with open_clouds(settings) as clouds, reading(settings.warehouse_address()) as published:
        known = known_shares(published, settings.landing_folder)
        # One after the other: side by side is the same work, and two busy cores slow each other down.
        options = Options(concurrency=1)
        observed = observe_listings(
            clouds.clients,
            settings.landing_folder,
            sync_id=f"day {day}",
            now=lambda: now,
            known=known,
            options=options,
        )
        seen = [each for _, each in observed]
    assert all(each.status.is_proven for each in seen)
    step("extract")
    with reading(settings.warehouse_address()) as published:
        ledger = published.ledger() if published else Ledger.empty()
    for file in pending_files(settings.landing_folder, ledger):
        stage(file, settings.staging_folder, ledger)
    step("normalize")
    with writing(settings.warehouse_address()) as warehouse:
        unloaded = load_pending(warehouse, settings.landing_folder, settings.staging_folder)
    assert not unloaded, unloaded
    step("record")
    print(
        json.dumps(
            {
                "work": sum(steps.values()),
                "memory": peak_megabytes(),
                "steps": steps,
                "requests": sum(each.request_count for each in seen),
            }
        )
    )


def peak_megabytes() -> float:
    """Of this program; what the process was before it became this program does not count, as in ru_maxrss it would."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) / 1024 if found else float("nan")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
