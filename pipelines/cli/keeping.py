"""The commands for whoever keeps the warehouse: `migrate`, `rebuild`, `prune`.

Not here: what they do (warehouse.py, rebuild.py, retention.py).
"""

import sys
from datetime import UTC, datetime

import click

from pipelines.cli.frame import SOME_NOT_PROVEN, main, told_plainly
from pipelines.settings import load_settings


@main.command()
def migrate() -> None:
    """Make the tables and views of the warehouse, as the user who owns them.

    A sync does it too where its user may. Tables of an earlier version are made again by `rebuild`.
    """
    from pipelines.publish import warehouse_name, writing

    with told_plainly():
        settings = load_settings()
        address = settings.warehouse_address()
        with writing(address, wait=settings.warehouse_wait, keep=settings.warehouse_keep):
            pass
        click.echo(f"{warehouse_name(address)} has the tables and views of this version")


@main.command()
@click.option("--verify", is_flag=True, help="Change nothing: compare, and show the first difference.")
@click.option(
    "--accept-loss", is_flag=True, help="Publish although recorded files are gone from the landing, or changed."
)
def rebuild(verify: bool, accept_loss: bool) -> None:
    """Make the warehouse again from the landing, and publish it in one step.

    Exit codes: 0 done, or no difference and nothing waits; 1 a difference, landed files that are not what was recorded
    (SHA-256), or not recorded yet (a warehouse that somebody emptied looks the same), or nothing was published: a
    landed observation cannot be loaded, or what is recorded would be lost.
    """
    from pipelines import rebuild as verb
    from pipelines.publish import warehouse_name

    with told_plainly():
        settings = load_settings()
        address, landing = settings.warehouse_address(), settings.landing_folder
        if not verify:
            wait, keep = settings.warehouse_wait, settings.warehouse_keep
            made = verb.rebuild(address, landing, wait=wait, keep=keep, accept_loss=accept_loss)
            told = ", ".join(f"{count} rows in {name}" for name, count in made.rows.items())
            for name in made.given_up:
                click.echo(f"given up: {name}", err=True)
            for name in made.changed:
                click.echo(f"taken as it is now: {name}", err=True)
            click.echo(f"{warehouse_name(address)} was made again from {landing}: {told}")
            return
        difference = verb.verify(address, landing)
    if difference is not None:
        click.echo(str(difference), err=True)
        sys.exit(SOME_NOT_PROVEN)
    click.echo(f"{warehouse_name(address)} is what {landing} says, row for row")


@main.command()
@click.option("--dry-run", is_flag=True, help="Change nothing: check, and say what would go.")
def prune(dry_run: bool) -> None:
    """Remove raw pages that are older than LANDING_KEEP_DAYS; what they say is frozen before.

    The warehouse stays as it is, and `rebuild` gives it again. Exit codes: 0 done; 1 refused, nothing was removed;
    2 LANDING_KEEP_DAYS is not set.
    """
    from pipelines.retention import prune_as_configured

    with told_plainly():
        settings = load_settings()
        done = prune_as_configured(settings, datetime.now(UTC), dry_run=dry_run)
        click.echo(f"{settings.landing_folder}: {done.told}")
