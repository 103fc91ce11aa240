"""The commands for whoever keeps the warehouse: `migrate`, `rebuild`.

Not here: what they do (warehouse.py, rebuild.py).
"""

import sys

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
        with writing(address, wait=settings.warehouse_wait):
            pass
        click.echo(f"{warehouse_name(address)} has the tables and views of this version")


@main.command()
@click.option("--verify", is_flag=True, help="Change nothing: compare, and show the first difference.")
def rebuild(verify: bool) -> None:
    """Make the warehouse again from the landing, and publish it in one step.

    Exit codes: 0 done, or no difference; 1 a difference, or a landed observation that cannot be loaded (then nothing
    is published).
    """
    from pipelines import rebuild as verb
    from pipelines.publish import warehouse_name

    with told_plainly():
        settings = load_settings()
        address, landing = settings.warehouse_address(), settings.landing_folder
        if not verify:
            rows = verb.rebuild(address, landing, wait=settings.warehouse_wait)
            told = ", ".join(f"{count} rows in {name}" for name, count in rows.items())
            click.echo(f"{warehouse_name(address)} was made again from {landing}: {told}")
            return
        difference = verb.verify(address, landing)
    if difference is not None:
        click.echo(str(difference), err=True)
        sys.exit(SOME_NOT_PROVEN)
    click.echo(f"{warehouse_name(address)} is what {landing} says, row for row")
