"""The commands that hand out what the warehouse knows: `report`, `daily-report` and `export`.

Not here: the questions (sql/reports/), how a parameter is read (reports.py), what an export holds (export.py), what the
daily report says (page/).
"""

from datetime import UTC, datetime
from pathlib import Path

import click

from pipelines.cli.frame import answer_options, check_output, deliver, main, published, told_plainly
from pipelines.errors import ConfigurationError, system_words
from pipelines.settings import load_settings


@main.command()
@click.argument("name", required=False)
@click.option("--list", "list_all", is_flag=True, help="Show every report, its question and its parameters.")
@click.option("-p", "--parameter", "given", multiple=True, metavar="NAME=VALUE", help="A parameter; repeatable.")
@answer_options
def report(name: str | None, list_all: bool, given: tuple[str, ...], kind: str, output: Path | None) -> None:
    """Answer one of the questions that the pack knows: `--list` shows them.

    Dates are days in UTC such as 2026-03-01, `today` or `today-30`. `any` where it is the default narrows nothing.
    """
    from pipelines.reports import load_report, pack, run_report, why_empty

    check_output(kind, output)
    if list_all:
        deliver(pack(), kind, output)
        return
    if name is None:
        raise click.UsageError("name a report; --list shows all")
    with told_plainly():
        asked, values, now = load_report(name), _split(given), datetime.now(UTC)
        with published(load_settings()) as warehouse:
            answer = run_report(warehouse, asked, values, now)
            remark = "" if len(answer) else why_empty(warehouse, asked, values, now)
    deliver(answer, kind, output)
    if remark:
        click.echo(f"backup-shares: {remark}", err=True)


def _split(given: tuple[str, ...]) -> dict[str, str]:
    values: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise click.UsageError("-p takes name=value, such as -p since=2026-03-01")
        if name in values:
            raise click.UsageError(f"-p {name} is given twice")
        values[name] = value
    return values


@main.command("daily-report")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write. Unset: DATA_DIR/reports, as the sync does.",
)
def daily_report(output: Path | None) -> None:
    """Write the page of the last observed day, one HTML file that needs nothing else. The sync writes it as well."""
    from pipelines.page.written import make_page, publish_page, write_whole

    with told_plainly():
        settings = load_settings()
        with published(settings) as warehouse:
            page, html = make_page(warehouse, datetime.now(UTC))
        if output is None:
            if page is None:
                raise ConfigurationError("nothing was observed yet: run a sync first")
            output = publish_page(settings.reports_folder, page, html)
        else:
            try:
                write_whole(output, html)
            except OSError as error:
                raise ConfigurationError(f"--output: cannot write {output}: {system_words(error)}") from None
    click.echo(output)


@main.command()
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
def export(folder: Path) -> None:
    """Write the whole history to DIR as Parquet, a folder per relation, partitioned by month.

    DIR is new, or holds an earlier export, which is replaced when the new one is whole.
    """
    from pipelines.export import export as verb

    with told_plainly(), published(load_settings()) as warehouse:
        for relation, count in verb(warehouse, folder, datetime.now(UTC)).items():
            click.echo(f"{count:>10} rows  {folder / relation}")
