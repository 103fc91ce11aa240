"""The commands `demo` and `sync`: runs of the job.

Not here: the job (definitions.py).
"""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipelines.cli.frame import SOME_NOT_PROVEN, console_for_people, main, told_plainly
from pipelines.errors import ConfigurationError
from pipelines.settings import Settings, load_settings, misspelt_settings

if TYPE_CHECKING:
    from rich.console import Console

    from pipelines.auth import Account
    from pipelines.warehouse import Warehouse

DEMO_QUERIES = (
    "SELECT backup_name, to_project_id, share_created_at FROM backup_shares JOIN backups USING (region, backup_id)",
    "SELECT snapshot_date, count(*) AS shares FROM backup_share_snapshots GROUP BY ALL ORDER BY ALL",
    "SELECT observed_at, project_id, direction, status, reason FROM observations WHERE NOT is_proven",
)


@main.command()
@click.option("--days", default=5, show_default=True, type=click.IntRange(1, 30), help="Simulated days.")
def demo(days: int) -> None:
    """Run the real job over several simulated days and show what the warehouse says."""
    from pipelines.demo import make_demo
    from pipelines.publish import reading

    console = console_for_people()
    folder = Path("data/demo") / f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
    with told_plainly():
        made = make_demo(folder.absolute())
        console.print(
            f"{len(made.world.projects)} projects, both directions, {days} simulated days, one sync each.",
            highlight=False,
        )
        for done in made.run(days):
            with reading(made.address) as warehouse:
                line = _day_line(done.day, warehouse, done.outcome.sync_id)
            told = "\n".join([line, *done.outcome.failures]).replace("\n", "\n       ")
            console.print(told, highlight=False, markup=False, soft_wrap=True)
        with reading(made.address) as warehouse:
            _print_demo(console, warehouse)
    console.print(f"The warehouse: {folder / 'warehouse.duckdb'}. Try:\n", highlight=False)
    for query in DEMO_QUERIES:
        line = f'WAREHOUSE_URL={made.address} .venv/bin/backup-shares query "{query}"'
        console.print(line, soft_wrap=True, highlight=False, markup=False)
    page = f"\nThe report of the last day, for a browser: {folder / 'reports' / 'latest.html'}"
    console.print(page, soft_wrap=True, highlight=False, markup=False)


def _day_line(day: int, warehouse: "Warehouse | None", sync_id: str) -> str:
    if warehouse is None:
        return f"day {day}: nothing was published"
    rows = warehouse.query(report("listing_status"), sync_id=sync_id).to_pylist()
    proven = sum(row["is_proven"] for row in rows)
    today = warehouse.query(report("changes_per_day"), since=None).to_pylist()[-1]
    if today["change_date"] != rows[0]["observed_at"].date():
        return f"day {day}: {proven} of {len(rows)} listings proven; nothing changed"
    counts = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in today.items() if name != "change_date")
    return f"day {day}: {proven} of {len(rows)} listings proven; {counts}"


def _print_demo(console: "Console", warehouse: "Warehouse | None") -> None:
    from pipelines.output import print_table

    if warehouse is None:
        raise ConfigurationError("the demo published nothing")
    console.print()
    print_table(console, warehouse.query(report("all_listings")), "What was observed, and with which proof")
    print_table(console, warehouse.query(report("current_shares")), "Shares now, the newest first", most=20)
    print_table(console, warehouse.query(report("changes_per_day"), since=None), "What changed per day")
    found = warehouse.query(report("open_findings")).select(["severity", "rule", "state", "detail"])
    print_table(console, found, "What the sharing policy finds, the gravest first", most=10)


@main.command()
@click.option("--quiet", is_flag=True, help="Show the result only.")
@click.option(
    "--release-held",
    is_flag=True,
    help="Record withdrawals that are held because too many shares are absent at once; look first.",
)
@click.option(
    "--new-region",
    is_flag=True,
    help="Observe projects that are recorded in another region only: it is another cloud.",
)
def sync(quiet: bool, **said: bool) -> None:
    """Run the job once against the configured cloud."""
    with told_plainly():
        settings, found = _checked_settings()
        outcome, rows = _sync(settings, found, "CRITICAL" if quiet else "INFO", said)
    if not (outcome.succeeded and rows and all(row["is_proven"] for row in rows)):
        for failure in outcome.failures:
            click.echo(failure, err=True)
        sys.exit(SOME_NOT_PROVEN)


def _checked_settings() -> "tuple[Settings, list[Account]]":
    """Settings and credentials, everything looked at that a sync needs, before the first request about shares."""
    from pipelines.auth import accounts
    from pipelines.publish import warehouse_url

    settings = load_settings()
    for remark in misspelt_settings():
        click.echo(f"backup-shares: {remark}", err=True)
    warehouse_url(settings.warehouse_address())
    return settings, accounts(settings)


def _sync(settings: Settings, found: "list[Account]", log_level: str, said: dict[str, bool]) -> Any:
    from pipelines.definitions import JOB_NAME, build_definitions
    from pipelines.defs.run import open_home, run_job
    from pipelines.output import print_table
    from pipelines.publish import reading

    # The job goes on with these logins: a second one for the same run would count against the account.
    definitions = build_definitions(lambda: settings, find_accounts=lambda _: found)
    with open_home(settings.dagster_home) as instance:
        outcome = run_job(definitions, JOB_NAME, instance, log_level=log_level, **said)
    with reading(settings.warehouse_address()) as warehouse:
        if warehouse is None:
            return outcome, []
        status = warehouse.query(report("listing_status"), sync_id=outcome.sync_id)
    rows = status.to_pylist()
    if rows:
        # What is not proven has its lines below.
        told = [name for name in SHOWN_WHERE_ANY if any(row[name] for row in rows if row["is_proven"])]
        print_table(console_for_people(), status.select([*SHOWN, *told]))
    return outcome, rows


SHOWN = ["project_id", "direction", "status", "share_count", "granted", "changed", "withdrawn"]
SHOWN_WHERE_ANY = ["absent", "held", "rejected", "reason"]
"""Columns of listing_status at the end of a sync, so that they fit a terminal; observation_log has all."""


def report(name: str) -> str:
    from pipelines.schema import report

    return report(name)
